"""Payments: found by what a person types, and counted by day and channel."""

from __future__ import annotations

import datetime
import re
import uuid
from decimal import Decimal

from django.db import connection

from billing.models import Biller
from payments.models import Payment

_CONFIRMATION = re.compile(r"[0-9a-f]{15}")


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
