"""Forecasts: what AutoPay would collect on the days ahead, as the books stand now."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection

from billing.models import Biller


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
