"""The run that makes scheduled payments on their day; ``runs`` says how it survives its workers.

What is due is looked at when the chunk is claimed, with the customers and their items locked: a payment that was made or is
on its way, by AutoPay or by hand, leaves less or nothing to take. Each try has a request key of its own, so that the
database itself keeps one from being made twice.

Nothing due: it ends as not needed. A method that cannot be charged, a decline, or a day long past: it fails, and is not
tried again, because the payer chose that day; they are told at once. A processor that was not reached did nothing, and the
next run tries again.

Source: MSP-15; PAY-1 to PAY-3.
"""

from __future__ import annotations

import datetime
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.utils.translation import gettext_noop

from billing import sets
from billing.actors import Actor
from billing.models import Biller, Chunk, Customer, Item, NoticeKind, Run, RunKind
from billing.models.ids import fresh_ids
from payments.gateways.base import ChargeRequest, Command
from payments.models import (
    Allocation,
    Attempt,
    Channel,
    Checkpoint,
    Instrument,
    InstrumentKind,
    InstrumentState,
    Payment,
    ScheduledPayment,
)
from payments.models import ScheduledState as State
from payments.operations import charges, declines, dues, runs, scheduled_outcomes

CHUNK_SIZE = 1_000
# Taken so many days after its day where no run could before; later it would surprise, and fails.
MOST_DAYS_LATE = 7

_LATE = gettext_noop("It could not be made on its day, and that is too long ago.")
_NOT_COLLECTED = gettext_noop("This account is not paid by scheduled payments.")
_BLOCKED = gettext_noop("This account cannot be paid this way. Choose another method.")
_UNUSABLE = gettext_noop("This method cannot be used. Choose another one.")


@dataclass(frozen=True, slots=True)
class Options:
    """What a run of scheduled payments takes: those whose day is ``until`` or an earlier one.

    ``limit`` is the most payments to take, for trying out.
    """

    until: datetime.date
    limit: int | None = None
    # Tells a run apart from an earlier one with the same options on the same day.
    repeat: str = ""

    @classmethod
    def usual(cls, today: datetime.date, **others: Any) -> Options:
        """Give the default: everything whose day has come."""
        return cls(until=today, **others)


def plan(
    *,
    biller: Biller,
    options: Options,
    actor: Actor,
    now: datetime.datetime,
    dry_run: bool = False,
    chunk_size: int = CHUNK_SIZE,
) -> Run:
    """Plan a run: count what has its day, cut it into chunks of customers, and give the run.

    The same biller, day and options give the same run again, whatever became of it. A dry run is planned and closed at
    once. A day that has not come is never taken.

    :raises payments.operations.runs.RunRefused: the biller's charging is stopped.
    """
    limit = f" LIMIT {options.limit:d}" if options.limit is not None else ""
    return runs.plan(
        biller=biller,
        kind=RunKind.SCHEDULED,
        options=options,
        actor=actor,
        now=now,
        dry_run=dry_run,
        cut=lambda run: runs.cut(
            run=run,
            source="SELECT s.customer_id, s.amount FROM payments_scheduledpayment s WHERE s.biller_id = %s"
            f" AND s.ended_at IS NULL AND s.state = 'scheduled' AND s.pay_on <= %s ORDER BY s.customer_id{limit}",
            params=[biller.pk, _until(options, run)],
            chunk_size=chunk_size,
        ),
    )


def options_of(run: Run) -> Options:
    """Give back the options that a run was planned with."""
    given = run.params
    return Options(
        until=datetime.date.fromisoformat(given["until"]),
        limit=int(given["limit"]) if given["limit"] else None,
        repeat=given["repeat"],
    )


def _until(options: Options, run: Run) -> datetime.date:
    return min(options.until, run.business_date)


def work(*, run: Run, actor: Actor, now: datetime.datetime | None = None) -> Iterator[Chunk]:
    """Work off a run's waiting chunks until none is left or somebody asks it to stop; gives each when it is done.

    Any number of workers may do this at once, of any number of runs.
    """
    biller = run.biller

    def take(chunk: Chunk) -> bool:
        return runs.send_chunk(
            biller=biller,
            run=run,
            chunk=chunk,
            actor=actor,
            now=now,
            checkpoint=lambda biller, run, chunk, now: _checkpoint(biller, run, chunk, actor, now),
        )

    return runs.work(run=run, actor=actor, take=take)


@dataclass(frozen=True, slots=True)
class _Take:
    """What is taken of one scheduled payment now, and of which items."""

    scheduled: ScheduledPayment
    account: str
    amount: Decimal
    parts: Sequence[tuple[Item, Decimal]]


def _checkpoint(biller: Biller, run: Run, chunk: Chunk, actor: Actor, now: datetime.datetime) -> runs.Requests:
    """Make sure of the chunk's accounts, then claim; gives the messages to send, by route."""
    held = runs.held(
        biller=biller,
        chunk=chunk,
        customers=lambda: _found(biller, run, chunk).values_list("customer_id", flat=True),
        methods=lambda _: Instrument.objects.filter(scheduled_payments__in=_found(biller, run, chunk)),
        actor=actor,
        now=now,
    )
    return _claim(biller, run, chunk, held, actor, now)


def _found(biller: Biller, run: Run, chunk: Chunk) -> QuerySet[ScheduledPayment]:
    """Give what waits in a chunk and has its day."""
    options = options_of(run)
    found = ScheduledPayment.objects.filter(
        biller=biller, state=State.SCHEDULED, ended_at__isnull=True, pay_on__lte=_until(options, run)
    )
    # A run with a limit takes the first so many of all, so each chunk looks at the whole again.
    if options.limit is not None:
        found = found.filter(pk__in=list(found.order_by("customer_id").values_list("pk", flat=True)[: options.limit]))
    return found.filter(customer_id__gte=chunk.first, customer_id__lte=chunk.last)


@transaction.atomic(durable=True)
def _claim(
    biller: Biller, run: Run, chunk: Chunk, held: Sequence[int], actor: Actor, now: datetime.datetime
) -> runs.Requests:
    """Claim, reserve and commit a 999 attempt for each payment of the chunk but of accounts that are held."""
    found = _found(biller, run, chunk).exclude(customer_id__in=held)
    customers = {
        customer.pk: customer
        for customer in Customer.objects.filter(pk__in=found.values("customer_id"))
        .order_by("pk")
        .select_for_update(no_key=True)
    }
    items: dict[int, list[Item]] = defaultdict(list)
    for item in (
        Item.objects.filter(customer_id__in=list(customers))
        .open()
        .select_related("invoice")
        .order_by("pk")
        .select_for_update(of=("self",), no_key=True)
    ):
        items[item.customer_id].append(item)
    # Looked at after the customers are held: what was changed or cancelled meanwhile is seen as it is now.
    waiting = found.filter(customer_id__in=list(customers)).order_by("pk").select_for_update(of=("self",))
    takes: list[_Take] = []
    closed: dict[State, list[tuple[uuid.UUID, str]]] = {State.NOTHING_DUE: [], State.FAILED: []}
    mine = list(waiting.select_related("instrument__route"))
    left = _tries_left(biller, mine, now)
    for one in mine:
        due = dues.reckon(biller, items[one.customer_id])
        free = due.full - due.in_flight
        if due.full <= 0:
            closed[State.NOTHING_DUE].append((one.pk, ""))
        elif free <= 0:
            continue  # all of it is on its way: what becomes of that decides, at the next run
        elif why := _why_not(one, customers[one.customer_id], run.business_date):
            closed[State.FAILED].append((one.pk, why))
        elif left.get(one.instrument.token, 1) <= 0:
            closed[State.FAILED].append((one.pk, declines.HELD_WORDS))
        else:
            amount = free if one.whole else min(one.amount, free)
            if one.instrument.token in left:
                left[one.instrument.token] -= 1
            account = customers[one.customer_id].shown_number
            takes.append(_Take(one, account, amount, _parts(items[one.customer_id], amount)))
    for state, those in closed.items():
        _close(those, state, actor, now)
    Chunk.objects.filter(pk=chunk.pk).update(
        sent_count=F("sent_count") + len(takes), sent_total=F("sent_total") + sum(take.amount for take in takes)
    )
    return _take(biller, run, chunk, takes, now) if takes else {}


def _tries_left(biller: Biller, mine: Sequence[ScheduledPayment], now: datetime.datetime) -> dict[str, int]:
    """Give how often the card networks let those methods be charged that were declined lately, by token (PAY-5)."""
    since = declines.lately(now)
    methods = [one.instrument for one in mine]
    tokens = [one.token for one in methods if one.declined_at is not None and one.declined_at > since]
    found = declines.standings(biller=biller, tokens=tokens, now=now, lock=True)
    return {token: standing.left for token, standing in found.items() if standing.left is not None}


def _why_not(one: ScheduledPayment, customer: Customer, today: datetime.date) -> str:
    """Say why its method cannot be charged, or it is too late; empty where it can be made."""
    method = one.instrument
    if one.pay_on < today - datetime.timedelta(days=MOST_DAYS_LATE):
        return _LATE
    if customer.pay_type_id is not None:
        return _NOT_COLLECTED
    if customer.blocks(method.kind):
        return _BLOCKED
    if method.state != InstrumentState.ACTIVE or method.expired(today) or not method.served:
        return _UNUSABLE
    return ""


def _parts(items: Sequence[Item], amount: Decimal) -> list[tuple[Item, Decimal]]:
    """Say how much of each item an amount holds, oldest first."""
    parts = []
    for item in items:
        if item.kind not in dues.OWED or (part := min(amount, item.open - item.reserved)) <= 0:
            continue
        parts.append((item, part))
        amount -= part
    return parts


def _close(those: Sequence[tuple[uuid.UUID, str]], state: State, actor: Actor, now: datetime.datetime) -> None:
    """End what will not be made: the biller's system hears that it is cancelled, the payer why."""
    if not those:
        return
    ids = [pk for pk, _why in those]
    before = scheduled_outcomes.words_of(ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payments_scheduledpayment s SET state = %s, failure = v.why, ended_at = %s, ended_by = %s"
            " FROM unnest(%s::uuid[], %s::text[]) AS v(id, why) WHERE s.id = v.id",
            [state, now, actor.label[:120], ids, [why for _pk, why in those]],
        )
    scheduled_outcomes.tell(ids, "cancelled", actor=actor, before=before)
    kind = NoticeKind.NOTHING_DUE if state == State.NOTHING_DUE else NoticeKind.SCHEDULED_FAILED
    scheduled_outcomes.notify(ids, kind, now=now)


def _take(biller: Biller, run: Run, chunk: Chunk, takes: Sequence[_Take], now: datetime.datetime) -> runs.Requests:
    """Commit to what is taken, in the caller's transaction, before the processor hears of it."""
    payments = Payment.objects.bulk_create(
        Payment(
            id=pk,
            biller=biller,
            customer_id=take.scheduled.customer_id,
            instrument_id=take.scheduled.instrument_id,
            route_id=take.scheduled.instrument.route_id,
            tender=charges.TENDER_OF[InstrumentKind(take.scheduled.instrument.kind)],
            amount=take.amount,
            currency=biller.currency,
            channel=Channel.SCHEDULED,
            requestor=take.scheduled.requestor,
            made_by=take.scheduled.made_by,
            user_id=take.scheduled.user_id,
            run_id=run.pk,
            chunk_id=chunk.pk,
            request_key=f"scheduled:{take.scheduled.pk}:{take.scheduled.tries + 1}",
            # A moment of its own for each: lists are read by an index that ends at the moment (docs/adr/0008).
            created_at=now + datetime.timedelta(microseconds=n),
        )
        for n, (pk, take) in enumerate(zip(fresh_ids(len(takes)), takes, strict=True))
    )
    attempts = Attempt.objects.bulk_create(
        Attempt(
            id=pk,
            biller=biller,
            payment=payment,
            route_id=take.scheduled.instrument.route_id,
            command=Command.CHARGE,
            transaction_type=charges.TRANSACTION_TYPE[Channel.SCHEDULED],
            amount=payment.amount,
            created_at=now,
            sent_at=now,
        )
        for pk, payment, take in zip(fresh_ids(len(takes)), payments, takes, strict=True)
    )
    Checkpoint.objects.bulk_create(
        Checkpoint(payment=attempt.payment, attempt=attempt, biller=biller) for attempt in attempts
    )
    Allocation.objects.bulk_create(
        Allocation(biller=biller, payment=payment, item=item, amount=part)
        for payment, take in zip(payments, takes, strict=True)
        for item, part in take.parts
    )
    held = [(item.pk, part) for take in takes for item, part in take.parts]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_item i SET reserved = i.reserved + v.part"
            " FROM unnest(%s::bigint[], %s::numeric[]) AS v(id, part) WHERE i.id = v.id",
            [sets.array(pk for pk, _part in held), sets.array(part for _pk, part in held)],
        )
        cursor.execute(
            "UPDATE payments_scheduledpayment s SET state = 'processing', payment_id = v.payment, tries = s.tries + 1,"
            " failure = '' FROM unnest(%s::uuid[], %s::uuid[]) AS v(id, payment) WHERE s.id = v.id",
            [sets.array(take.scheduled.pk for take in takes), sets.array(payment.pk for payment in payments)],
        )
    requests: runs.Requests = {}
    for take, attempt in zip(takes, attempts, strict=True):
        requests.setdefault(attempt.route_id, []).append(
            ChargeRequest(
                key=str(attempt.pk),
                command=Command.CHARGE,
                amount=attempt.amount,
                currency=biller.currency,
                token=take.scheduled.instrument.token,
                tender=take.scheduled.instrument.kind,
                transaction_type=attempt.transaction_type,
                account=take.account,
                payment=str(attempt.payment_id),
                debit_method=take.scheduled.instrument.debit_method,
            )
        )
    return requests
