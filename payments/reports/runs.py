"""Runs: what they planned and sent, what came of it, and why payments of theirs came to nothing."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from decimal import Decimal

from django.db import connection
from django.db.models import Count, Q, QuerySet, Sum

from billing.models import Biller, Chunk, ChunkState, Run, RunKind
from billing.money import ZERO
from payments import results
from payments.models import Authorization, Payment, PaymentState


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What came of payments that runs sent; ``unreached`` are those that no bank decided about, so that none said no."""

    sent: int = 0
    sent_total: Decimal = ZERO
    passed: int = 0
    passed_total: Decimal = ZERO
    declined: int = 0
    declined_total: Decimal = ZERO
    unreached: int = 0
    unreached_total: Decimal = ZERO

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
        return max(ZERO, self.sent_total - self.passed_total - self.declined_total - self.unreached_total)


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
            name: Sum(name, default=ZERO if name.endswith("total") else 0)
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
    sums = late.aggregate(count=Count("pk"), amount=Sum("payment__amount", default=ZERO))
    return sums["count"], sums["amount"]
