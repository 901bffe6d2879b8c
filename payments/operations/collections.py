"""The collect run: charges every AutoPay bill that is due, set by set, and survives the death of any worker.

A run is planned once, into chunks of customers. A worker takes a chunk: one transaction claims its bills, reserves them
and commits a 999 attempt for each (nothing was said to anybody yet); then the processor is spoken to; then the answers
are settled. A worker that finds a chunk whose owner died sends nothing again: it lets answered attempts take effect and
leaves the open ones to recovery.

Source: PAY-1 to PAY-8, PAY-12.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from billing import audit, sets
from billing.actors import Actor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import (
    Biller,
    Chunk,
    ChunkState,
    CustomerStatus,
    Run,
    RunKind,
    RunState,
)
from payments.gateways.base import ChargeRequest, Command, Lost, Misconfigured, NotSent
from payments.models import Channel, Route
from payments.operations import settlements
from payments.operations.routes import open_route

CHUNK_SIZE = 5_000
# After this a chunk's worker counts as dead. Longer than any batch may take at a processor (PAY-22: 600 s).
LEASE = datetime.timedelta(seconds=900)
_TRIES = 4


class RunRefused(DomainError):
    """The run cannot be started; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a collect run takes (PAY-6).

    ``start`` and ``end`` bound the collection date, both included. ``rebill`` takes any open bill whatever its date.
    ``minimum`` of ``None`` is the biller's. ``limit`` is the most bills to take, for trying out.
    """

    start: datetime.date
    end: datetime.date
    status: str = CustomerStatus.ACTIVE
    route_id: int | None = None
    tender: str = ""
    rebill: bool = False
    minimum: Decimal | None = None
    limit: int | None = None
    # Tells a run apart from an earlier one with the same options on the same day.
    repeat: str = ""

    @classmethod
    def usual(cls, today: datetime.date, **others: Any) -> Options:
        """Give the default window: collection dates of today and yesterday."""
        return cls(start=today - datetime.timedelta(days=1), end=today, **others)


def plan(
    *,
    biller: Biller,
    options: Options,
    actor: Actor,
    now: datetime.datetime,
    dry_run: bool = False,
    chunk_size: int = CHUNK_SIZE,
) -> Run:
    """Plan a run: count what is due, cut it into chunks of customers, and give the run.

    The same biller, day and options give the same run again, whatever became of it. A dry run is planned and closed at
    once: it reserves and charges nothing, and its one chunk shows what would be collected.

    :raises RunRefused: the biller's charging is stopped.
    """
    if biller.charging_stopped:
        raise RunRefused("Charging is stopped for this biller. Allow it again before collecting.")
    today = biller.business_date(now)
    params = {key: str(value) if value is not None else None for key, value in asdict(options).items()}
    digest = hashlib.sha256(json.dumps([params, dry_run], sort_keys=True).encode()).hexdigest()[:16]
    repeat = f":{now:%H%M%S%f}" if dry_run else ""
    with transaction.atomic(durable=True):
        run, new = Run.objects.get_or_create(
            biller=biller,
            key=f"collect:{today}:{digest}{repeat}",
            defaults={
                "kind": RunKind.COLLECT,
                "business_date": today,
                "params": params,
                "asked_by": actor.label[:120],
                "dry_run": dry_run,
                "created_at": now,
            },
        )
        if not new:
            return run
        _cut(run, biller, options, today, chunk_size)
        if dry_run:
            Run.objects.filter(pk=run.pk).update(state=RunState.DONE, started_at=now, finished_at=now)
            Chunk.objects.filter(run=run).update(state=ChunkState.DONE, finished_at=now)
        audit.record(
            actor=actor,
            event="run.started",
            biller_id=biller.pk,
            subject=f"run:{run.pk}",
            facts={"kind": "dry collect" if dry_run else "collect", **params},
        )
    run.refresh_from_db()
    return run


def options_of(run: Run) -> Options:
    """Give back the options that a run was planned with."""
    given = run.params
    return Options(
        start=datetime.date.fromisoformat(given["start"]),
        end=datetime.date.fromisoformat(given["end"]),
        status=given["status"],
        route_id=int(given["route_id"]) if given["route_id"] else None,
        tender=given["tender"],
        rebill=given["rebill"] == "True",
        minimum=Decimal(given["minimum"]) if given["minimum"] else None,
        limit=int(given["limit"]) if given["limit"] else None,
        repeat=given["repeat"],
    )


@dataclass(frozen=True, slots=True)
class _Due:
    """The SQL that says which bills a run may take; the same for planning, counting and claiming."""

    sql: str
    params: list[Any] = field(default_factory=list)


def _due(biller: Biller, options: Options, today: datetime.date) -> _Due:
    conditions = [
        "i.biller_id = %s AND i.kind = 'bill' AND i.open > 0 AND i.reserved = 0 AND i.open >= %s",
        "c.id = i.customer_id AND c.status = ANY(%s)",
        "e.customer_id = i.customer_id AND e.ended_at IS NULL",
        "n.id = e.instrument_id AND n.state = 'active' AND (n.expires_on IS NULL OR n.expires_on >= %s)",
        "NOT (n.kind = 'card' AND c.blocks_card) AND NOT (n.kind = 'bank' AND c.blocks_bank)",
        "r.id = n.route_id AND r.active",
    ]
    statuses = [options.status] if options.status == CustomerStatus.ACTIVE else ["inactive", "closed"]
    params: list[Any] = [
        biller.pk,
        options.minimum or biller.minimum_collected,
        statuses,
        today,
    ]
    if not options.rebill:
        conditions.append("i.collect_on BETWEEN %s AND %s")
        params += [options.start, options.end]
    if options.route_id is not None:
        conditions.append("n.route_id = %s")
        params.append(options.route_id)
    if options.tender:
        conditions.append("n.kind = %s")
        params.append("bank" if options.tender == "ach" else options.tender)
    return _Due(" AND ".join(conditions), params)


_FROM = "billing_customer c, payments_autopayenrolment e, payments_instrument n, payments_route r"


def _cut(run: Run, biller: Biller, options: Options, today: datetime.date, chunk_size: int) -> None:
    """Cut what is due into chunks of whole customers, about ``chunk_size`` bills each."""
    due = _due(biller, options, today)
    limit = f"LIMIT {int(options.limit)}" if options.limit is not None else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO billing_chunk (biller_id, run_id, number, first, last, expected, state, expected_total)
            SELECT %s, %s, part + 1, min(customer_id), max(customer_id), count(*), 'waiting', sum(open)
            FROM (
                SELECT customer_id, open, (rank() OVER (ORDER BY customer_id) - 1) / %s AS part
                FROM (
                    SELECT i.customer_id, i.open FROM billing_item i, {_FROM} WHERE {due.sql} ORDER BY i.customer_id {limit}
                ) due
            ) parts
            GROUP BY part
            """,
            [biller.pk, run.pk, chunk_size, *due.params],
        )


def work(*, run: Run, actor: Actor, now: datetime.datetime | None = None) -> Iterator[Chunk]:
    """Work off a run's waiting chunks until none is left or somebody asks it to stop; gives each when it is done.

    Any number of workers may do this at once. Payments are dated ``now`` where it is given, else when they are made.
    """
    biller = run.biller
    while (chunk := _claim(run)) is not None:
        if not collect_chunk(biller=biller, run=run, chunk=chunk, actor=actor, now=now):
            break
        chunk.refresh_from_db()
        yield chunk
    _finish(run, actor)


def collect_chunk(
    *, biller: Biller, run: Run, chunk: Chunk, actor: Actor, now: datetime.datetime | None = None
) -> bool:
    """Collect one claimed chunk; gives False where the processor cannot be reached and the run should stop.

    A chunk that an earlier worker had begun is only finished: nothing of it is sent a second time.
    """
    if chunk.sent_count:
        _take_over(biller, chunk, actor)
        _close(chunk)
        return True
    # Before anything is held: a route that is set up wrongly must not leave attempts behind.
    try:
        gateways = {route.pk: open_route(route) for route in Route.objects.filter(biller=biller, active=True)}
    except Misconfigured as error:
        _fail_run(run, f"A route is set up wrongly: {error}. Nothing was charged for the bills not sent.")
        Chunk.objects.filter(pk=chunk.pk).update(state=ChunkState.WAITING, claimed_at=None)
        return False
    requests = _checkpoint(biller, run, chunk, now)
    failpoint("collect.checkpointed")
    reached = True
    for route_id, batch in requests.items():
        gateway = gateways[route_id]
        for begin in range(0, len(batch), gateway.batch_limit):
            results = list(gateway.send(batch[begin : begin + gateway.batch_limit]))
            failpoint("collect.answered")
            unsent = sum(isinstance(one, Lost) and isinstance(one.error, NotSent) for one in results)
            reached = reached and unsent < len(results)
            settlements.settle(
                biller=biller,
                answers=settlements.answers_of(results),
                actor=actor,
                now=now or timezone.now(),
            )
    failpoint("collect.settled")
    _close(chunk)
    if not reached:
        _fail_run(run, "The payment processor could not be reached. Nothing was charged for the bills not sent.")
    return reached


def _fail_run(run: Run, why: str) -> None:
    Run.objects.filter(pk=run.pk).update(failure=why[:300])


def _claim(run: Run) -> Chunk | None:
    """Take the next chunk that waits or whose worker is dead; none where the run is to stop."""
    now = timezone.now()
    with transaction.atomic(durable=True):
        stopped = Run.objects.filter(pk=run.pk, stop_requested=True).exists()
        if stopped or Biller.objects.filter(pk=run.biller_id, charging_stopped=True).exists():
            return None
        chunk = (
            Chunk.objects.filter(run=run)
            .exclude(state=ChunkState.DONE)
            .exclude(state=ChunkState.WORKING, claimed_at__gt=now - LEASE)
            .order_by("number")
            .select_for_update(skip_locked=True)
            .first()
        )
        if chunk is None:
            return None
        chunk.state, chunk.claimed_at = ChunkState.WORKING, now
        chunk.save(update_fields=["state", "claimed_at"])
        Run.objects.filter(pk=run.pk, state=RunState.PLANNED).update(state=RunState.WORKING, started_at=now)
    return chunk


def _checkpoint(
    biller: Biller, run: Run, chunk: Chunk, now: datetime.datetime | None
) -> dict[int, list[ChargeRequest]]:
    """Claim, reserve and commit a 999 attempt for each bill of the chunk; gives the messages to send, by route."""
    for left in reversed(range(_TRIES)):
        try:
            return _checkpoint_once(biller, run, chunk, now or timezone.now())
        except OperationalError as error:
            if left == 0 or getattr(error.__cause__, "sqlstate", "") != "40P01":
                raise
    raise AssertionError("unreachable")


def _checkpoint_once(biller: Biller, run: Run, chunk: Chunk, now: datetime.datetime) -> dict[int, list[ChargeRequest]]:
    options = options_of(run)
    due = _due(biller, options, run.business_date)
    # A run with a limit takes the first so many bills of all, so each chunk looks at the whole again.
    among = ""
    if options.limit is not None:
        first = (
            f"SELECT i.id FROM billing_item i, {_FROM} WHERE {due.sql} ORDER BY i.customer_id LIMIT {options.limit:d}"
        )
        among = f"AND i.id IN ({first})"
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # The update locks each bill and looks at it again: one that another payment took meanwhile is not among them.
        cursor.execute(
            f"""
            UPDATE billing_item i SET reserved = i.open
            FROM {_FROM}
            WHERE {due.sql} AND i.customer_id BETWEEN %s AND %s
              {among}
            RETURNING i.id, i.customer_id, i.open, n.id::text, n.kind, n.token, n.route_id,
                      coalesce(nullif(c.display_number, ''), c.number), uuidv7()::text, uuidv7()::text
            """,
            [*due.params, chunk.first, chunk.last, *(due.params if among else [])],
        )
        rows = cursor.fetchall()
        if rows:
            _insert(cursor, biller, run, chunk, rows, now)
        cursor.execute(
            "UPDATE billing_chunk SET sent_count = sent_count + %s, sent_total = sent_total + %s WHERE id = %s",
            [len(rows), sum((row[2] for row in rows), Decimal("0.00")), chunk.pk],
        )
    requests: dict[int, list[ChargeRequest]] = {}
    for (
        _item,
        _customer,
        amount,
        _instrument,
        kind,
        token,
        route_id,
        account,
        _payment,
        attempt,
    ) in rows:
        requests.setdefault(route_id, []).append(
            ChargeRequest(
                attempt,
                Command.CHARGE,
                amount,
                biller.currency,
                token,
                kind,
                "recurring",
                account,
            )
        )
    return requests


def _insert(
    cursor: Any,
    biller: Biller,
    run: Run,
    chunk: Chunk,
    rows: Sequence[tuple[Any, ...]],
    now: datetime.datetime,
) -> None:
    # Each column is written once and used by several statements.
    items, customers, amounts, instruments, kinds, _tokens, routes, _accounts, payments, attempts = (
        sets.array(column) for column in zip(*rows, strict=True)
    )
    cursor.execute(
        """
        INSERT INTO payments_payment
               (id, biller_id, customer_id, instrument_id, route_id, tender, amount, currency, state, channel, requestor,
                made_by, email, run_id, chunk_id, request_hash, created_at, failure, approval_code)
        SELECT v.id, %s, v.customer, v.instrument, v.route, CASE v.kind WHEN 'bank' THEN 'ach' ELSE 'card' END,
               v.amount, %s, 'processing', %s, 4, 'AutoPay', '', %s, %s, '', %s, '', ''
        FROM unnest(%s::uuid[], %s::bigint[], %s::uuid[], %s::bigint[], %s::text[], %s::numeric[])
             AS v(id, customer, instrument, route, kind, amount)
        """,
        [
            *(biller.pk, biller.currency, Channel.AUTOPAY, run.pk, chunk.pk, now),
            *(payments, customers, instruments, routes, kinds, amounts),
        ],
    )
    cursor.execute(
        """
        INSERT INTO payments_attempt
               (id, biller_id, payment_id, route_id, command, transaction_type, amount, state, approval_code,
                processor_reference, message, created_at, sent_at)
        SELECT v.id, %s, v.payment, v.route, 'charge', 'recurring', v.amount, 'open', '', '', '', %s, %s
        FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::numeric[]) AS v(id, payment, route, amount)
        """,
        [biller.pk, now, now, attempts, payments, routes, amounts],
    )
    cursor.execute(
        """
        INSERT INTO payments_checkpoint (payment_id, attempt_id, biller_id)
        SELECT v.payment, v.attempt, %s FROM unnest(%s::uuid[], %s::uuid[]) AS v(payment, attempt)
        """,
        [biller.pk, payments, attempts],
    )
    cursor.execute(
        """
        INSERT INTO payments_allocation (biller_id, payment_id, item_id, amount, state)
        SELECT %s, v.payment, v.item, v.amount, 'pending'
        FROM unnest(%s::uuid[], %s::bigint[], %s::numeric[]) AS v(payment, item, amount)
        """,
        [biller.pk, payments, items, amounts],
    )


def _take_over(biller: Biller, chunk: Chunk, actor: Actor) -> None:
    """Let what a dead worker's chunk had been answered take effect; what is open stays for recovery."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.id FROM payments_checkpoint k JOIN payments_attempt a ON a.id = k.attempt_id"
            " JOIN payments_payment p ON p.id = k.payment_id"
            " WHERE k.biller_id = %s AND a.state = 'answered' AND p.chunk_id = %s",
            [biller.pk, chunk.pk],
        )
        answered: list[uuid.UUID] = [pk for (pk,) in cursor.fetchall()]
    if answered:
        settlements.take_effect(biller=biller, attempt_ids=answered, actor=actor, now=timezone.now())


def _close(chunk: Chunk) -> None:
    Chunk.objects.filter(pk=chunk.pk).update(state=ChunkState.DONE, finished_at=timezone.now())


def _finish(run: Run, actor: Actor) -> None:
    """Close a run none of whose chunks is left, or that was asked to stop, or that could not reach the processor."""
    with transaction.atomic(durable=True):
        run = Run.objects.select_for_update().get(pk=run.pk)
        if run.state not in {RunState.PLANNED, RunState.WORKING}:
            return
        left = Chunk.objects.filter(run=run).exclude(state=ChunkState.DONE)
        if run.failure:
            state = RunState.FAILED
        elif run.stop_requested:
            state = RunState.STOPPED
        elif left.exists():
            return
        else:
            state = RunState.DONE
        if left.filter(state=ChunkState.WORKING).exists():
            return
        run.state, run.finished_at = state, timezone.now()
        run.save(update_fields=["state", "finished_at"])
        audit.record(
            actor=actor,
            event="run.finished",
            biller_id=run.biller_id,
            subject=f"run:{run.pk}",
        )


@transaction.atomic(durable=True)
def stop(*, run: Run, actor: Actor) -> None:
    """Ask a run to stop after the chunks that are under way.

    :raises RunRefused: it has ended already.
    """
    run = Run.objects.select_for_update().get(pk=run.pk)
    if run.state not in {RunState.PLANNED, RunState.WORKING}:
        raise RunRefused("This run has ended already.")
    run.stop_requested = True
    run.save(update_fields=["stop_requested"])
    audit.record(
        actor=actor,
        event="run.stopped",
        biller_id=run.biller_id,
        subject=f"run:{run.pk}",
    )
