"""The release run: has processors let go of money that was authorized and that nobody deposited in time.

``runs`` says how it survives its workers, ``authorizations`` what becomes of each. Card networks charge for authorizations
that are neither deposited nor released, and payers miss the money that their bank holds.

Source: PAY-7, PAY-8
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from billing.actors import Actor
from billing.models import Biller, Chunk, Run, RunKind
from payments.gateways.base import Command
from payments.operations import authorizations, runs
from payments.operations.authorizations import DEPOSITABLE, HELD
from payments.operations.runs import CHUNK_SIZE


@dataclass(frozen=True, slots=True)
class Options:
    """What a release run takes: ``start`` and ``end`` bound the business day of the authorization, both included.

    ``expired`` takes beside these the authorizations of any day whose time is over at the processor. ``limit`` is the most
    payments to take, for trying out.
    """

    start: datetime.date | None
    end: datetime.date
    expired: bool = False
    route_id: int | None = None
    limit: int | None = None
    # Tells a run apart from an earlier one with the same options on the same day.
    repeat: str = ""

    @classmethod
    def usual(cls, biller: Biller, now: datetime.datetime, **others: Any) -> Options:
        """Give the default window: everything that is older than the biller's days."""
        return cls(start=None, end=last_day(biller, now), **others)


def last_day(biller: Biller, now: datetime.datetime) -> datetime.date:
    """Give the last business day whose authorizations are older than the biller's days."""
    return biller.business_date(now) - datetime.timedelta(days=biller.release_days + 1)


def due(*, biller: Biller, options: Options, now: datetime.datetime) -> bool:
    """Say whether a run with these options would take anything."""
    late, params = _late(options, now)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {HELD} WHERE {DEPOSITABLE} AND {late})", [biller.pk, *params])
        return bool(cursor.fetchone()[0])


def plan(
    *,
    biller: Biller,
    options: Options,
    actor: Actor,
    now: datetime.datetime,
    dry_run: bool = False,
    chunk_size: int = CHUNK_SIZE,
) -> Run:
    """Plan a run: count what is to be released, cut it into chunks of customers, and give the run.

    The same biller, day and options give the same run again, whatever became of it. A dry run releases nothing.

    :raises payments.operations.runs.RunRefused: the biller's charging is stopped, or the window ends before it starts.
    """
    if options.start is not None and options.end < options.start:
        raise runs.RunRefused("The last day of authorization must be the first one or a later one.")
    late, params = _late(options, now)
    source = f"SELECT z.customer_id, p.amount FROM {HELD} WHERE {DEPOSITABLE} AND {late} ORDER BY z.customer_id"
    limit = f" LIMIT {options.limit:d}" if options.limit is not None else ""
    return runs.plan(
        biller=biller,
        kind=RunKind.RELEASE,
        options=options,
        actor=actor,
        now=now,
        dry_run=dry_run,
        cut=lambda run: runs.cut(run=run, source=source + limit, params=[biller.pk, *params], chunk_size=chunk_size),
    )


def options_of(run: Run) -> Options:
    """Give back the options that a run was planned with."""
    given = run.params
    return Options(
        start=datetime.date.fromisoformat(given["start"]) if given["start"] else None,
        end=datetime.date.fromisoformat(given["end"]),
        expired=given["expired"] == "True",
        route_id=int(given["route_id"]) if given["route_id"] else None,
        limit=int(given["limit"]) if given["limit"] else None,
        repeat=given["repeat"],
    )


def _late(options: Options, now: datetime.datetime) -> tuple[str, list[Any]]:
    """Give the SQL that says which of them a run may take; the same for planning and claiming."""
    sql, params = "z.authorized_on BETWEEN %s AND %s", [options.start or datetime.date.min, options.end]
    if options.expired:
        sql, params = f"({sql} OR z.expires_at <= %s)", [*params, now]
    if options.route_id is None:
        return sql, params
    return f"{sql} AND p.route_id = %s", [*params, options.route_id]


def work(*, run: Run, actor: Actor, now: datetime.datetime | None = None) -> Iterator[Chunk]:
    """Work off a run's waiting chunks until none is left or somebody asks it to stop; gives each when it is done.

    Any number of workers may do this at once, of any number of runs.
    """
    biller = run.biller
    return runs.work(
        run=run,
        actor=actor,
        take=lambda chunk: runs.send_chunk(
            biller=biller, run=run, chunk=chunk, actor=actor, now=now, checkpoint=_checkpoint
        ),
    )


@transaction.atomic(durable=True)
def _checkpoint(biller: Biller, run: Run, chunk: Chunk, now: datetime.datetime) -> runs.Requests:
    """Claim and commit a 999 release for each held payment of the chunk; gives the messages to send, by route."""
    options = options_of(run)
    # As late as when it was planned, so that a part that waited takes no more than was counted.
    late, params = _late(options, run.created_at)
    where, given = f"{late} AND z.customer_id BETWEEN %s AND %s", [*params, chunk.first, chunk.last]
    if options.limit is not None:
        first = f"SELECT z.payment_id FROM {HELD} WHERE {DEPOSITABLE} AND {late} ORDER BY z.customer_id"
        where += f" AND z.payment_id IN ({first} LIMIT {options.limit:d})"
        given += [biller.pk, *params]
    return authorizations.take_chunk(command=Command.RELEASE, run=run, chunk=chunk, where=where, params=given, now=now)
