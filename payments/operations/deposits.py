"""The deposit run: takes the money of payments that were authorized before; ``runs`` says how it survives its workers.

Source: PAY-7, PAY-8.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from billing.actors import Actor
from billing.models import Biller, Chunk, Run, RunKind
from payments.gateways.base import Command
from payments.operations import authorizations, runs
from payments.operations.authorizations import DEPOSITABLE, HELD
from payments.operations.runs import CHUNK_SIZE

# Authorizations of so many days are deposited, yesterday's the last.
USUAL_DAYS = 30


@dataclass(frozen=True, slots=True)
class Options:
    """What a deposit run takes: ``start`` and ``end`` bound the business day of the authorization, both included.

    ``limit`` is the most payments to take, for trying out.
    """

    start: datetime.date
    end: datetime.date
    route_id: int | None = None
    limit: int | None = None
    # Tells a run apart from an earlier one with the same options on the same day.
    repeat: str = ""

    @classmethod
    def usual(cls, today: datetime.date, **others: Any) -> Options:
        """Give the default window: the last thirty days up to yesterday."""
        day = datetime.timedelta(days=1)
        return cls(start=today - USUAL_DAYS * day, end=today - day, **others)


def plan(
    *,
    biller: Biller,
    options: Options,
    actor: Actor,
    now: datetime.datetime,
    dry_run: bool = False,
    chunk_size: int = CHUNK_SIZE,
) -> Run:
    """Plan a run: count what waits for a deposit, cut it into chunks of customers, and give the run.

    The same biller, day and options give the same run again, whatever became of it. A dry run deposits nothing.

    :raises payments.operations.runs.RunRefused: the biller's charging is stopped, or the window ends before it starts.
    """
    if options.end < options.start:
        raise runs.RunRefused("The last day of authorization must be the first one or a later one.")
    held, params = _held(options)
    source = f"SELECT z.customer_id, p.amount FROM {HELD} WHERE {DEPOSITABLE} AND {held} ORDER BY z.customer_id"
    limit = f" LIMIT {options.limit:d}" if options.limit is not None else ""
    return runs.plan(
        biller=biller,
        kind=RunKind.DEPOSIT,
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
        start=datetime.date.fromisoformat(given["start"]),
        end=datetime.date.fromisoformat(given["end"]),
        route_id=int(given["route_id"]) if given["route_id"] else None,
        limit=int(given["limit"]) if given["limit"] else None,
        repeat=given["repeat"],
    )


def _held(options: Options) -> tuple[str, list[Any]]:
    """Give the SQL that says which of them a run may take; the same for planning and claiming."""
    sql, params = "z.authorized_on BETWEEN %s AND %s", [options.start, options.end]
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
        take=lambda chunk: deposit_chunk(biller=biller, run=run, chunk=chunk, actor=actor, now=now),
    )


def deposit_chunk(
    *, biller: Biller, run: Run, chunk: Chunk, actor: Actor, now: datetime.datetime | None = None
) -> bool:
    """Deposit one claimed chunk; gives False where the processor cannot be reached and the run should stop."""
    return runs.send_chunk(biller=biller, run=run, chunk=chunk, actor=actor, now=now, checkpoint=_checkpoint)


@transaction.atomic(durable=True)
def _checkpoint(biller: Biller, run: Run, chunk: Chunk, now: datetime.datetime) -> runs.Requests:
    """Claim and commit a 999 deposit for each held payment of the chunk; gives the messages to send, by route."""
    options = options_of(run)
    held, params = _held(options)
    where, given = f"{held} AND z.customer_id BETWEEN %s AND %s", [*params, chunk.first, chunk.last]
    # A run with a limit takes the first so many of all, so each chunk looks at the whole again.
    if options.limit is not None:
        first = f"SELECT z.payment_id FROM {HELD} WHERE {DEPOSITABLE} AND {held} ORDER BY z.customer_id"
        where += f" AND z.payment_id IN ({first} LIMIT {options.limit:d})"
        given += [biller.pk, *params]
    return authorizations.take_chunk(command=Command.DEPOSIT, run=run, chunk=chunk, where=where, params=given, now=now)
