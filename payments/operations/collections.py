"""The collect run: charges every AutoPay bill that is due, set by set; ``runs`` says how it survives its workers.

Source: PAY-1 to PAY-6, PAY-8, PAY-12.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from billing import sets
from billing.actors import Actor
from billing.models import Biller, Chunk, CustomerStatus, Run, RunKind
from billing.money import ZERO
from payments.gateways.base import ChargeRequest, Command
from payments.models import Channel, Instrument
from payments.operations import declines, groups, runs
from payments.operations.groups import Bill, Charge
from payments.operations.runs import CHUNK_SIZE


@dataclass(frozen=True, slots=True)
class Options:
    """What a collect run takes (PAY-6).

    ``start`` and ``end`` bound the collection date, both included; where each bill stands for itself (the biller's accounts
    are open-item, no balance is carried forward) the start date alone does, and a bill is never taken before its day.
    ``status`` is that of the accounts. ``rebill`` takes any open bill whatever its date. ``minimum`` of ``None`` is the
    biller's. ``limit`` is the most bills to take, for trying out.
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
    once: it reserves and charges nothing, and its chunks show what would be collected.

    :raises payments.operations.runs.RunRefused: the biller's charging is stopped, or the window ends before it starts.
    """
    if options.end < options.start and not options.rebill:
        raise runs.RunRefused("The last collection date must be the first one or a later one.")
    if options.limit is not None and options.limit < 1:
        raise runs.RunRefused("The most bills to take are one or more.")
    if options.minimum is not None and options.minimum < 0:
        raise runs.RunRefused("The least amount is not below zero.")
    return runs.plan(
        biller=biller,
        kind=RunKind.COLLECT,
        options=options,
        actor=actor,
        now=now,
        dry_run=dry_run,
        cut=lambda run: _cut(run, biller, options, run.business_date, chunk_size),
    )


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
        "c.id = i.customer_id AND c.status = %s",
        "e.customer_id = i.customer_id AND e.ended_at IS NULL",
        "n.id = e.instrument_id AND n.state = 'active' AND (n.expires_on IS NULL OR n.expires_on >= %s)",
        "NOT (n.kind = 'card' AND (c.blocks_card OR c.cis_blocks_card))",
        "NOT (n.kind = 'bank' AND (c.blocks_bank OR c.cis_blocks_bank))",
        "r.id = n.route_id AND r.active AND CASE n.kind WHEN 'bank' THEN 'ach' ELSE 'card' END = ANY(r.tenders)",
        # How the account pays says that nobody collects from it (PAY-38), or the biller's system that it pays before it uses.
        "c.pay_type_id IS NULL",
        "NOT EXISTS (SELECT FROM datapump_balance b WHERE b.customer_id = c.id AND b.prepaid AND b.answered_at IS NOT NULL)",
    ]
    params: list[Any] = [
        biller.pk,
        biller.minimum_collected if options.minimum is None else options.minimum,
        options.status,
        today,
    ]
    if options.rebill:
        # What was declined today is not asked again the same day.
        conditions.append("(n.declined_at IS NULL OR n.declined_at < %s)")
        params.append(biller.day_begins(today))
    else:
        conditions.append("i.collect_on BETWEEN %s AND %s")
        params += [options.start, options.end if biller.balance_forward else today]
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
    runs.cut(
        run=run,
        source=f"SELECT i.customer_id, i.open FROM billing_item i, {_FROM} WHERE {due.sql} ORDER BY i.customer_id {limit}",
        params=due.params,
        chunk_size=chunk_size,
    )


def work(*, run: Run, actor: Actor, now: datetime.datetime | None = None) -> Iterator[Chunk]:
    """Work off a run's waiting chunks until none is left or somebody asks it to stop; gives each when it is done.

    Any number of workers may do this at once. Payments are dated ``now`` where it is given, else when they are made.
    """
    biller = run.biller
    return runs.work(
        run=run,
        actor=actor,
        take=lambda chunk: collect_chunk(biller=biller, run=run, chunk=chunk, actor=actor, now=now),
    )


def collect_chunk(
    *, biller: Biller, run: Run, chunk: Chunk, actor: Actor, now: datetime.datetime | None = None
) -> bool:
    """Collect one claimed chunk; gives False where the processor cannot be reached and the run should stop."""
    return runs.send_chunk(
        biller=biller,
        run=run,
        chunk=chunk,
        actor=actor,
        now=now,
        checkpoint=lambda biller, run, chunk, now: _checkpoint(biller, run, chunk, actor, now),
    )


def _checkpoint(biller: Biller, run: Run, chunk: Chunk, actor: Actor, now: datetime.datetime) -> runs.Requests:
    """Claim, reserve and commit a 999 attempt for each bill of the chunk; gives the messages to send, by route."""
    options = options_of(run)
    due = _due(biller, options, run.business_date)
    held = runs.held(
        biller=biller,
        chunk=chunk,
        customers=lambda: _customers(biller, due, chunk),
        methods=_methods,
        actor=actor,
        now=now,
    )
    if held:
        due = _Due(f"{due.sql} AND i.customer_id <> ALL(%s::bigint[])", [*due.params, sets.array(held)])
    # A run with a limit takes the first so many bills of all, so each chunk looks at the whole again.
    among = ""
    if options.limit is not None:
        first = (
            f"SELECT i.id FROM billing_item i, {_FROM} WHERE {due.sql} ORDER BY i.customer_id LIMIT {options.limit:d}"
        )
        among = f"AND i.id IN ({first})"
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        which = f"{due.sql} {among}"
        params = [*due.params, *(due.params if among else [])]
        grouping = groups.Grouping()
        if groups.allowed(biller):
            grouping = groups.grouping(
                cursor=cursor, biller=biller, first=chunk.first, last=chunk.last, tables=_FROM, due=which, params=params
            )
        claimed = _claim(
            cursor,
            f"{which} AND i.customer_id BETWEEN %s AND %s AND i.id <> ALL(%s::bigint[])",
            [*params, chunk.first, chunk.last, list(grouping.elsewhere)],
            now,
        )
        if grouping.besides:
            claimed += _claim(cursor, f"{which} AND i.id = ANY(%s::bigint[])", [*params, list(grouping.besides)], now)
        least = biller.minimum_collected if options.minimum is None else options.minimum
        bills, charges = groups.charges(_within_what_is_due(cursor, claimed, least), grouping.keys)
        bills, charges, limited = _within_limits(cursor, biller, bills, charges, now)
        if bills:
            _insert(cursor, biller, run, chunk, bills, charges, now)
        cursor.execute(
            "UPDATE billing_chunk SET sent_count = sent_count + %s, sent_total = sent_total + %s, limited_count = %s"
            " WHERE id = %s",
            [len(bills), sum((bill.amount for bill in bills), ZERO), limited, chunk.pk],
        )
    requests: runs.Requests = {}
    for bill, amount, _covers in charges:
        requests.setdefault(bill.route, []).append(
            ChargeRequest(
                bill.attempt,
                Command.CHARGE,
                amount,
                biller.currency,
                bill.token,
                bill.kind,
                "recurring",
                bill.account,
                payment=bill.payment,
                debit_method=bill.debit_method,
            )
        )
    return requests


def _claim(cursor: Any, which: str, params: Sequence[Any], now: datetime.datetime) -> list[tuple[Any, ...]]:
    """Reserve bills and give what is needed to charge each, the customer's balance last.

    The update locks each bill and looks at it again: one that another payment took meanwhile is not among them.
    """
    cursor.execute(
        f"""
        UPDATE billing_item i SET reserved = i.open
        FROM {_FROM}
        WHERE {which}
        RETURNING i.id, i.customer_id, i.open, n.id::text, n.kind, n.token, n.route_id,
                  coalesce(nullif(c.display_number, ''), c.number), uuidv7()::text, uuidv7()::text,
                  n.declined_at > %s, n.debit_method, c.balance
        """,
        [*params, declines.lately(now)],
    )
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _customers(biller: Biller, due: _Due, chunk: Chunk) -> list[int]:
    """Give whose bills the chunk may take: its own customers', and those that are collected in one group with them."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT i.customer_id FROM billing_item i, {_FROM} WHERE {due.sql} AND i.customer_id BETWEEN %s AND %s",
            [*due.params, chunk.first, chunk.last],
        )
        customers = [pk for (pk,) in cursor.fetchall()]
        if groups.allowed(biller):
            beside = groups.grouping(
                cursor=cursor,
                biller=biller,
                first=chunk.first,
                last=chunk.last,
                tables=_FROM,
                due=due.sql,
                params=due.params,
            ).besides
            cursor.execute("SELECT customer_id FROM billing_item WHERE id = ANY(%s::bigint[])", [sets.array(beside)])
            customers += [pk for (pk,) in cursor.fetchall()]
    return customers


def _methods(customers: Iterable[int]) -> QuerySet[Instrument]:
    return Instrument.objects.filter(
        autopay_enrolments__customer_id__in=customers, autopay_enrolments__ended_at__isnull=True
    )


def _within_what_is_due(cursor: Any, rows: Sequence[tuple[Any, ...]], least: Decimal) -> list[Bill]:
    """Leave of each customer's bills what credits and adjustments leave due, the oldest first; what is less is let go."""
    taken: dict[int, Decimal] = {}
    owed: dict[int, Decimal] = {}
    for _item, customer, amount, *_others, balance in rows:
        taken[customer] = taken.get(customer, ZERO) + amount
        owed[customer] = balance
    # Where all that a customer owes is these bills, as nearly everywhere, there is nothing to look up.
    unlike = [customer for customer, amount in taken.items() if amount != owed[customer]]
    over: dict[int, Decimal] = {}
    if unlike:
        cursor.execute(
            "SELECT customer_id, sum(greatest(reserved, 0)) - sum(open) FROM billing_item"
            " WHERE customer_id = ANY(%s::bigint[]) AND open <> 0 GROUP BY 1",
            [sets.array(unlike)],
        )
        over = {customer: excess for customer, excess in cursor.fetchall() if excess > 0}
    if not over:
        return [Bill(*row[:-1]) for row in rows]
    kept, changed = [], {}
    for item, customer, amount, *others, _balance in sorted(rows, reverse=True):
        left = amount - min(amount, over.get(customer, ZERO))
        if left != amount:
            over[customer] -= amount - left
            left = changed[item] = left if left >= least else ZERO
        if left:
            kept.append(Bill(item, customer, left, *others))
    cursor.execute(
        "UPDATE billing_item i SET reserved = v.amount FROM unnest(%s::bigint[], %s::numeric[]) AS v(id, amount)"
        " WHERE i.id = v.id",
        [sets.array(changed), sets.array(changed.values())],
    )
    return kept[::-1]


def _within_limits(
    cursor: Any, biller: Biller, bills: Sequence[Bill], charges: list[Charge], now: datetime.datetime
) -> tuple[Sequence[Bill], list[Charge], int]:
    """Leave out what is charged to a method that the card network lets nobody charge yet, and say how many bills that is.

    Nothing is asked where no method of the chunk was declined lately, as nearly everywhere.
    """
    watched = {one.first.token for one in charges if one.first.declined}
    if not watched:
        return bills, charges, 0
    standings = declines.standings(biller=biller, tokens=watched, now=now, lock=True)
    left = {token: standing.left for token, standing in standings.items() if standing.left is not None}
    allowed: list[Charge] = []
    for one in charges:
        token = one.first.token
        if token in left:
            left[token] -= 1
            if left[token] < 0:
                continue
        allowed.append(one)
    leading = {one.first.payment for one in allowed}
    kept = [bill for bill in bills if (bill.group or bill.payment) in leading]
    if len(kept) < len(bills):
        # The usual run would not come back to a day that is over: each waits for the first on which a try is allowed.
        tomorrow = biller.business_date(now) + datetime.timedelta(days=1)
        days = {
            token: biller.business_date(standing.until) if standing.until is not None else tomorrow
            for token, standing in standings.items()
        }
        charged = {bill.item for bill in kept}
        free = {bill.item: days.get(bill.token, tomorrow) for bill in bills if bill.item not in charged}
        cursor.execute(
            "UPDATE billing_item i SET reserved = 0,"
            " collect_on = CASE WHEN i.collect_on IS NOT NULL THEN greatest(i.collect_on, v.day) END"
            " FROM unnest(%s::bigint[], %s::date[]) AS v(id, day) WHERE i.id = v.id",
            [sets.array(free), sets.array(free.values())],
        )
    return kept, allowed, len(bills) - len(kept)


def _insert(
    cursor: Any,
    biller: Biller,
    run: Run,
    chunk: Chunk,
    bills: Sequence[Bill],
    charges: Sequence[Charge],
    now: datetime.datetime,
) -> None:
    # Each column is written once and used by several statements.
    items, customers, amounts, instruments, kinds, _tokens, routes, _accounts, payments, attempts, *_others = (
        sets.array(column) for column in zip(*bills, strict=True)
    )
    in_groups = sets.array(bill.group or "NULL" for bill in bills)
    # A moment of its own for each payment: lists are read by an index that ends at the moment (docs/adr/0008).
    cursor.execute(
        """
        INSERT INTO payments_payment
               (id, biller_id, customer_id, instrument_id, route_id, tender, amount, currency, state, channel, requestor,
                made_by, email, run_id, chunk_id, request_hash, created_at, failure, approval_code, group_id)
        SELECT v.id, %s, v.customer, v.instrument, v.route, CASE v.kind WHEN 'bank' THEN 'ach' ELSE 'card' END,
               v.amount, %s, 'processing', %s, 4, 'AutoPay', '', %s, %s, '', %s + (v.n - 1) * interval '1 microsecond', '',
               '', v.of_group
        FROM unnest(%s::uuid[], %s::bigint[], %s::uuid[], %s::bigint[], %s::text[], %s::numeric[], %s::uuid[])
             WITH ORDINALITY AS v(id, customer, instrument, route, kind, amount, of_group, n)
        """,
        [
            *(biller.pk, biller.currency, Channel.AUTOPAY, run.pk, chunk.pk, now),
            *(payments, customers, instruments, routes, kinds, amounts, in_groups),
        ],
    )
    cursor.execute(
        """
        INSERT INTO payments_attempt
               (id, biller_id, payment_id, route_id, command, transaction_type, amount, covers, state, approval_code,
                processor_reference, message, created_at, sent_at)
        SELECT v.id, %s, v.payment, v.route, 'charge', 'recurring', v.amount, v.covers, 'open', '', '', '', %s, %s
        FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::numeric[], %s::smallint[])
             AS v(id, payment, route, amount, covers)
        """,
        [
            *(biller.pk, now, now),
            *(sets.array(one.first.attempt for one in charges), sets.array(one.first.payment for one in charges)),
            *(sets.array(one.first.route for one in charges), sets.array(one.amount for one in charges)),
            sets.array(one.covers for one in charges),
        ],
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
