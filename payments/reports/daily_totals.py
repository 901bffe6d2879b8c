"""Daily totals: what came in and went back by business day, and whether the three books say the same of it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection

from billing.models import Biller, LedgerAccount, PostingKind
from billing.money import ZERO


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
    back: Decimal = ZERO

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
        count, amount, fees = journal.get(total.day, (0, ZERO, ZERO))
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
    nothing = (0, ZERO, ZERO, 0, ZERO, 0)
    return [
        DayCheck(day, *journal.get(day, (0, ZERO, ZERO)), *paid.get(day, nothing))
        for day in sorted({*journal, *paid}, reverse=True)
    ]
