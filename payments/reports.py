"""Reads over several models of payments: daily totals, payments by day, the AutoPay forecast, a run's state, queues."""

from __future__ import annotations

import datetime
import re
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count, Min, Q, QuerySet, Sum

from billing.models import Biller, Chunk, ChunkState, LedgerAccount, PostingKind, Run, RunKind
from billing.models.tenants import TenantQuerySet
from payments import results
from payments.gateways.base import Command
from payments.models import (
    Attempt,
    AttemptState,
    Authorization,
    Case,
    CaseState,
    Payment,
    PaymentState,
    Verification,
    VerificationState,
)

_ZERO = Decimal("0.00")
_CONFIRMATION = re.compile(r"[0-9a-f]{15}")
# What is longer without an answer is no longer "under way" to whoever looks at it.
UNRESOLVED_AFTER = datetime.timedelta(minutes=5)


# ---- Finding payments ------------------------------------------------------------------------------------


def payments_matching(*, biller: Biller, text: str, limit: int) -> list[Payment]:
    """Find payments by confirmation number, in any spelling, or by the e-mail address a guest gave; newest first."""
    chosen = (
        Payment.objects.filter(biller=biller).select_related("customer", "instrument").order_by("-created_at", "-pk")
    )
    if (bounds := confirmation_bounds(text)) is not None:
        return list(chosen.filter(pk__gte=bounds[0], pk__lte=bounds[1])[:limit])
    if "@" in text and "\x00" not in text:
        return list(chosen.filter(email__in={text.strip(), text.strip().lower()}).exclude(email="")[:limit])
    return []


def confirmation_bounds(text: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    """Give the first and last payment id that a confirmation number can stand for; nothing where the text is none."""
    digits = re.sub(r"[\s-]", "", text).lower()
    if not _CONFIRMATION.fullmatch(digits):
        return None
    begins = f"{digits[:12]}7{digits[12:]}"
    return uuid.UUID(begins + "0" * 16), uuid.UUID(begins + "f" * 16)


# ---- Daily totals ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Total:
    """What the journal says came in on one business day by one route and tender; ``amount`` is without ``fees``.

    ``back`` is what went back that day of payments of any day, with their fees; what was won back is taken off.
    """

    day: datetime.date
    route_id: int | None
    route: str
    tender: str
    count: int
    amount: Decimal
    fees: Decimal
    currency: str
    back: Decimal = _ZERO

    @property
    def taken(self) -> Decimal:
        """The money that the processor took: amount and fees, as its settlement report has it."""
        return self.amount + self.fees


@dataclass(frozen=True, slots=True)
class DayCheck:
    """One business day in three books: the journal, the payments, and what the biller's system has accepted.

    ``told`` is what it has accepted, ``coming`` what is still on its way to it or failed there. Fees are apart: the
    biller's system hears of amounts without them (MSP-6).
    """

    day: datetime.date
    journal_count: int
    journal: Decimal
    journal_fees: Decimal
    payments_count: int
    payments: Decimal
    payments_fees: Decimal
    told_count: int
    told: Decimal
    coming_count: int

    @property
    def agrees(self) -> bool:
        """Whether the journal and the payments say the same."""
        journal = (self.journal_count, self.journal, self.journal_fees)
        return journal == (self.payments_count, self.payments, self.payments_fees)

    @property
    def journal_taken(self) -> Decimal:
        """What the journal says the processors took: amounts and fees."""
        return self.journal + self.journal_fees

    @property
    def payments_taken(self) -> Decimal:
        """What the payments say the processors took: amounts and fees."""
        return self.payments + self.payments_fees

    @property
    def all_told(self) -> bool:
        """Whether the biller's system has accepted every payment of the day."""
        return (self.told_count, self.told) == (self.payments_count, self.payments)


def daily_totals(*, biller: Biller, start: datetime.date, end: datetime.date) -> list[Total]:
    """Give what came in by business day, route and tender, both days included, newest first; from the journal alone.

    A day ends at the biller's cut-off (``Biller.business_date``); what goes back counts on the day on which it is booked.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT p.effective_on, e.route_id, coalesce(r.name, ''), e.tender, e.currency,
                   coalesce(sum(e.count) FILTER (WHERE e.account = %s AND p.kind <> %s), 0),
                   coalesce(sum(e.amount) FILTER (WHERE p.kind <> %s), 0.00),
                   coalesce(-sum(e.amount) FILTER (WHERE e.account = %s AND p.kind <> %s), 0.00),
                   coalesce(-sum(e.amount) FILTER (WHERE e.account = %s AND p.kind = %s), 0.00)
            FROM billing_posting p
            JOIN billing_entry e ON e.posting_id = p.id AND e.account IN (%s, %s)
            LEFT JOIN payments_route r ON r.id = e.route_id
            WHERE p.biller_id = %s AND p.effective_on BETWEEN %s AND %s
            GROUP BY 1, 2, 3, 4, 5 ORDER BY 1 DESC, 3, 4
            """,
            [
                *(LedgerAccount.CLEARING, PostingKind.REVERSAL, PostingKind.REVERSAL),
                *(LedgerAccount.FEES, PostingKind.REVERSAL, LedgerAccount.CLEARING, PostingKind.REVERSAL),
                *(LedgerAccount.CLEARING, LedgerAccount.FEES, biller.pk, start, end),
            ],
        )
        return [
            Total(day, route_id, route, tender, count, amount, fees, currency, back)
            for day, route_id, route, tender, currency, count, amount, fees, back in cursor.fetchall()
        ]


def day_checks(*, biller: Biller, start: datetime.date, end: datetime.date) -> list[DayCheck]:
    """Compare the journal with the payments themselves and with what was delivered to the biller's system, day by day.

    Payments count for the day of the posting that booked them. Deliveries go on all the time: theirs is as of now.
    """
    journal: dict[datetime.date, tuple[int, Decimal, Decimal]] = {}
    for total in daily_totals(biller=biller, start=start, end=end):
        count, amount, fees = journal.get(total.day, (0, _ZERO, _ZERO))
        journal[total.day] = (count + total.count, amount + total.amount, fees + total.fees)
    with connection.cursor() as cursor:
        # The range of posting ids first: payments have a small index by it, and none by day.
        cursor.execute(
            "SELECT min(id), max(id) FROM billing_posting WHERE biller_id = %s AND effective_on BETWEEN %s AND %s"
            " AND kind = 'receipts'",
            [biller.pk, start, end],
        )
        first, last = cursor.fetchone()
        cursor.execute(
            """
            SELECT b.effective_on, count(*), sum(p.amount), sum(p.fee),
                   count(r.id) FILTER (WHERE r.state = 'delivered'),
                   coalesce(sum(p.amount) FILTER (WHERE r.state = 'delivered'), 0),
                   count(r.id) FILTER (WHERE r.state NOT IN ('delivered', 'skipped', 'withheld'))
            FROM payments_payment p
            JOIN billing_posting b ON b.id = p.posting_id
            LEFT JOIN datapump_record r ON r.id = p.id
            WHERE p.biller_id = %s AND p.posting_id BETWEEN %s AND %s AND b.effective_on BETWEEN %s AND %s
              AND p.state IN ('posted', 'reversed')
            GROUP BY 1
            """,
            [biller.pk, first, last, start, end],
        )
        paid = {row[0]: row[1:] for row in cursor.fetchall()}
    nothing = (0, _ZERO, _ZERO, 0, _ZERO, 0)
    return [
        DayCheck(day, *journal.get(day, (0, _ZERO, _ZERO)), *paid.get(day, nothing))
        for day in sorted({*journal, *paid}, reverse=True)
    ]


# ---- Payments by day and channel, AutoPay ahead ----------------------------------------------------------


def by_day_and_channel(
    *, biller: Biller, start: datetime.date, end: datetime.date
) -> dict[tuple[datetime.date, int], tuple[int, Decimal]]:
    """Give number and money of payments that went through by calendar day of the biller's zone and channel, both days included.

    The money is without fees. What went back since counts on its day as well.
    """
    zone = biller.zone
    since = datetime.datetime.combine(start, datetime.time.min, tzinfo=zone)
    until = datetime.datetime.combine(end + datetime.timedelta(days=1), datetime.time.min, tzinfo=zone)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (created_at AT TIME ZONE %s)::date, channel, count(*), sum(amount) FROM payments_payment
            WHERE biller_id = %s AND created_at >= %s AND created_at < %s AND state IN ('posted', 'reversed') GROUP BY 1, 2
            """,
            [biller.time_zone, biller.pk, since, until],
        )
        return {(day, channel): (count, amount) for day, channel, count, amount in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What AutoPay would collect on one day."""

    day: datetime.date
    count: int
    amount: Decimal


def autopay_forecast(*, biller: Biller, start: datetime.date, end: datetime.date) -> list[Forecast]:
    """Give what AutoPay would collect by collection date, both days included, as the books stand now.

    It counts what a collect run would take: active accounts with a usable method that is not blocked, bills of at
    least the biller's minimum that no payment on its way holds.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT i.collect_on, count(*), sum(i.open)
            FROM billing_item i
            JOIN billing_customer c ON c.id = i.customer_id AND c.status = 'active'
            JOIN payments_autopayenrolment e ON e.customer_id = i.customer_id AND e.ended_at IS NULL
            JOIN payments_instrument n ON n.id = e.instrument_id AND n.state = 'active'
                 AND (n.expires_on IS NULL OR n.expires_on >= i.collect_on)
                 AND NOT (n.kind = 'card' AND (c.blocks_card OR c.cis_blocks_card))
                 AND NOT (n.kind = 'bank' AND (c.blocks_bank OR c.cis_blocks_bank))
            JOIN payments_route r ON r.id = n.route_id AND r.active
                 AND CASE n.kind WHEN 'bank' THEN 'ach' ELSE 'card' END = ANY(r.tenders)
            WHERE i.biller_id = %s AND i.kind = 'bill' AND i.open > 0 AND i.open >= %s AND i.reserved = 0
              AND c.pay_type_id IS NULL AND NOT EXISTS (
                  SELECT FROM datapump_balance b WHERE b.customer_id = c.id AND b.prepaid AND b.answered_at IS NOT NULL)
              AND i.collect_on BETWEEN %s AND %s
            GROUP BY 1 ORDER BY 1
            """,
            [biller.pk, biller.minimum_collected, start, end],
        )
        return [Forecast(*row) for row in cursor.fetchall()]


# ---- Runs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What came of payments that runs sent; ``unreached`` are those that no bank decided about, so that none said no."""

    sent: int = 0
    sent_total: Decimal = _ZERO
    passed: int = 0
    passed_total: Decimal = _ZERO
    declined: int = 0
    declined_total: Decimal = _ZERO
    unreached: int = 0
    unreached_total: Decimal = _ZERO

    @property
    def settled(self) -> int:
        """Payments of which it is known what came of them."""
        return self.passed + self.declined + self.unreached

    @property
    def unknown(self) -> int:
        """Payments that were sent and have no result yet."""
        return max(0, self.sent - self.settled)

    @property
    def unknown_total(self) -> Decimal:
        """Their money."""
        return max(_ZERO, self.sent_total - self.passed_total - self.declined_total - self.unreached_total)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTotals(Outcomes):
    """A run as its chunks add up; ``held`` are accounts whose balance was not known.

    ``limited`` are bills whose method was declined too often to be charged again yet.
    """

    chunks: int
    chunks_done: int
    expected: int
    expected_total: Decimal
    held: int = 0
    limited: int = 0

    @property
    def waiting(self) -> int:
        """Bills that were planned and are not sent."""
        return max(0, self.expected - self.sent)


def run_totals(run: Run) -> RunTotals:
    """Add up a run's chunks."""
    sums = Chunk.objects.filter(run=run).aggregate(
        chunks=Count("pk"),
        chunks_done=Count("pk", filter=Q(state=ChunkState.DONE)),
        **{
            name: Sum(name, default=_ZERO if name.endswith("total") else 0)
            for name in (
                *("expected", "expected_total", "sent_count", "sent_total", "passed_count", "passed_total"),
                *("declined_count", "declined_total", "unreached_count", "unreached_total"),
                *("held_count", "limited_count"),
            )
        },
    )
    return RunTotals(
        chunks=sums["chunks"],
        chunks_done=sums["chunks_done"],
        expected=sums["expected"],
        expected_total=sums["expected_total"],
        sent=sums["sent_count"],
        sent_total=sums["sent_total"],
        passed=sums["passed_count"],
        passed_total=sums["passed_total"],
        declined=sums["declined_count"],
        declined_total=sums["declined_total"],
        unreached=sums["unreached_count"],
        unreached_total=sums["unreached_total"],
        held=sums["held_count"],
        limited=sums["limited_count"],
    )


@dataclass(frozen=True, slots=True)
class RunDay(Outcomes):
    """What a biller's runs of one business day did, trials apart."""

    day: datetime.date = field(kw_only=True)


def runs_by_day(*, biller: Biller, start: datetime.date) -> list[RunDay]:
    """Add up a biller's runs by business day, from a day on; days without runs are left out.

    It reads the runs by their index of time, and the parts of each by theirs.
    """
    since = datetime.datetime.combine(start, datetime.time.min, tzinfo=biller.zone) - datetime.timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT r.business_date, sum(c.sent_count), sum(c.sent_total), sum(c.passed_count), sum(c.passed_total),
                   sum(c.declined_count), sum(c.declined_total), sum(c.unreached_count), sum(c.unreached_total)
            FROM billing_run r JOIN billing_chunk c ON c.run_id = r.id
            WHERE r.biller_id = %s AND r.created_at >= %s AND r.business_date >= %s AND NOT r.dry_run AND r.kind = ANY(%s)
            GROUP BY 1 ORDER BY 1
            """,
            [biller.pk, since, start, [str(RunKind.COLLECT), str(RunKind.DEPOSIT), str(RunKind.SCHEDULED)]],
        )
        return [RunDay(*sums, day=day) for day, *sums in cursor.fetchall()]


# A payment is authorized in a run only where its deposit did not come about.
_CAME_TO_NOTHING = (PaymentState.FAILED, PaymentState.AUTHORIZED)


@dataclass(frozen=True, slots=True)
class Failures:
    """Payments of a run that came to nothing for one reason."""

    result: int | None
    words: str
    count: int
    amount: Decimal

    @property
    def code(self) -> str:
        """The result code in words for staff."""
        return results.in_words(self.result)


def run_failures(run: Run) -> list[Failures]:
    """Give a run's payments that came to nothing by reason, the most frequent first.

    It reads the payments that the biller got while the run worked, by the index of time: none knows its run or state. What
    a deposit run takes was made before it, on the days that its options name.
    """
    if run.kind == RunKind.RELEASE:
        # Released ones came to what they should; what is still held is found among the few that are.
        held = Authorization.objects.filter(biller_id=run.biller_id, ended_at__isnull=True)
        return _by_reason(Payment.objects.filter(pk__in=held.values("payment_id"), run_id=run.pk, result__gt=0))
    made = {"created_at__gte": run.created_at}
    if run.kind == RunKind.DEPOSIT:
        first = datetime.datetime.combine(datetime.date.fromisoformat(run.params["start"]), datetime.time.min)
        # A business day may begin up to a day before the date in UTC.
        made = {"created_at__gte": first.replace(tzinfo=datetime.UTC) - datetime.timedelta(days=1)}
    if run.finished_at is not None:
        made["created_at__lte"] = run.finished_at
    return _by_reason(
        Payment.objects.filter(biller_id=run.biller_id, run_id=run.pk, state__in=_CAME_TO_NOTHING, **made)
    )


def _by_reason(payments: QuerySet[Payment]) -> list[Failures]:
    rows = (
        payments.values_list("result", "failure")
        .annotate(count=Count("pk"), amount=Sum("amount"))
        .order_by("-count", "failure")
    )
    return [Failures(*row) for row in rows]


def late_deposits(run: Run) -> tuple[int, Decimal]:
    """Count what a run deposited of authorizations that had expired, which costs more, and add it up (PAY-7)."""
    late = Authorization.objects.filter(biller_id=run.biller_id, expired=True, payment__run_id=run.pk)
    sums = late.aggregate(count=Count("pk"), amount=Sum("payment__amount", default=_ZERO))
    return sums["count"], sums["amount"]


# ---- Queues ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Queues:
    """How much waits for a person; each figure stops at the cap plus one."""

    cases: int
    unresolved: int


def queues(*, biller: Biller, now: datetime.datetime, cap: int) -> Queues:
    """Count open cases and attempts without a result, up to just over the cap."""
    return Queues(
        cases=_capped(Case.objects.filter(biller=biller, state=CaseState.OPEN), cap),
        unresolved=_capped(unresolved_attempts(biller=biller, now=now), cap),
    )


def unresolved_attempts(*, biller: Biller, now: datetime.datetime) -> TenantQuerySet[Attempt]:
    """Give the attempts without a result for five minutes or more: 777, 888, 999 and everything at 1000 or above."""
    return Attempt.objects.unfinished().filter(biller=biller, created_at__lt=now - UNRESOLVED_AFTER)


# How old the unresolved are, in bands: each ends where the next begins, the last one never.
AGES: tuple[tuple[str, datetime.timedelta | None], ...] = (
    ("Under an hour", datetime.timedelta(hours=1)),
    ("Under a day", datetime.timedelta(days=1)),
    ("Under 7 days", datetime.timedelta(days=7)),
    ("Older", None),
)
# Every kind of attempt in words, in the order in which summaries name them.
KINDS: dict[str, str] = {
    Command.VERIFY: "Verifications",
    Command.AUTHORIZE: "Authorizations",
    Command.CHARGE: "Charges",
    Command.DEPOSIT: "Deposits",
    Command.RELEASE: "Releases",
    Command.REFUND: "Refunds",
}


@dataclass(frozen=True, slots=True)
class Unresolved:
    """One kind of attempt without a result: open ones (999) in number, money and age bands; and answered ones (1000 and above)."""

    command: str
    open: int = 0
    open_total: Decimal = _ZERO
    answered: int = 0
    answered_total: Decimal = _ZERO
    oldest: datetime.datetime | None = None
    ages: tuple[int, ...] = (0,) * len(AGES)

    @property
    def kind(self) -> str:
        """The kind in words."""
        return KINDS.get(self.command, self.command)

    @property
    def bands(self) -> list[tuple[str, int]]:
        """How many are how old, in words."""
        return [(words, count) for (words, _until), count in zip(AGES, self.ages, strict=True)]

    @property
    def count(self) -> int:
        """Open and answered together."""
        return self.open + self.answered

    @property
    def total(self) -> Decimal:
        """The money of both."""
        return self.open_total + self.answered_total


def unresolved_by_command(
    *,
    biller: Biller,
    now: datetime.datetime,
    limit: int | None = None,
    older_than: datetime.timedelta = UNRESOLVED_AFTER,
) -> list[Unresolved]:
    """Count what has had no result for so long by kind, every kind named (PAY-9).

    With a ``limit`` only the oldest so many are counted.
    """
    chosen = Attempt.objects.unfinished().filter(biller=biller, created_at__lt=now - older_than)
    if limit is not None:
        chosen = Attempt.objects.filter(pk__in=chosen.order_by("created_at", "pk").values("pk")[:limit])
    open_, answered = Q(state=AttemptState.OPEN), Q(state=AttemptState.ANSWERED)
    bands: dict[str, Count] = {}
    since: datetime.timedelta | None = None
    for number, (_words, until) in enumerate(AGES):
        band = Q() if since is None else Q(created_at__lte=now - since)
        if until is not None:
            band &= Q(created_at__gt=now - until)
        bands[f"band_{number}"] = Count("pk", filter=band)
        since = until
    rows: dict[str, dict[str, Any]] = {
        row["command"]: {**row}
        for row in chosen.order_by()
        .values("command")
        .annotate(
            open=Count("pk", filter=open_),
            open_total=Sum("amount", filter=open_, default=_ZERO),
            answered=Count("pk", filter=answered),
            answered_total=Sum("amount", filter=answered, default=_ZERO),
            oldest=Min("created_at"),
            **bands,
        )
    }
    found = []
    rows[Command.VERIFY] = _open_verifications(biller, now - older_than, bands, limit)
    for command in (*KINDS, *(one for one in rows if one not in KINDS)):
        row = rows.get(command, {"command": command})
        ages = tuple(row.pop(name, 0) for name in bands)
        found.append(Unresolved(ages=ages, **row))
    return found


def _open_verifications(
    biller: Biller, before: datetime.datetime, bands: dict[str, Count], limit: int | None
) -> dict[str, Any]:
    """Count the verifications that were never answered, as one kind among the attempts: they have no payment."""
    chosen = Verification.objects.filter(biller=biller, state=VerificationState.OPEN, created_at__lt=before)
    if limit is not None:
        chosen = Verification.objects.filter(pk__in=chosen.order_by("created_at", "pk").values("pk")[:limit])
    sums = chosen.aggregate(
        open=Count("pk"), open_total=Sum("amount", default=_ZERO), oldest=Min("created_at"), **bands
    )
    return {"command": Command.VERIFY.value, **sums}


def _capped(rows: QuerySet[Any, Any], cap: int) -> int:
    return rows.order_by()[: cap + 1].count()
