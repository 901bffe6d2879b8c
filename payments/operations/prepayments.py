"""Prepaid accounts: what is left at the biller's system, money added to it, and the word that little is left.

An account is prepaid where the biller's system says so with its balance (``remainingBalance``). What is left there is the
customer's own money and no debt: our books follow it not. Money added here pays what is open in our books first, oldest
first; the rest is the customer's credit, and the biller's system hears of all of it.

**The word that little is left.** A balance under the account's threshold, its own or the biller's, makes one notice, and no
other until a balance at or above the threshold was read. ``Balance.low_at`` keeps that: empty while it is waited for.

Source: MSP-3, MSP-33
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from decimal import Decimal

from django.db import connection, transaction
from django.db.models.functions import Coalesce, Greatest
from django.utils.translation import gettext_lazy as _

from billing import audit, formats, sets
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Customer, NoticeKind
from billing.money import ZERO, quantise
from billing.operations import notices
from datapump.models import Balance, Endpoint, Purpose

EVERY = datetime.timedelta(hours=1)
"""How old what is left of a prepaid account may get before it is asked for by itself."""

AT_ONCE = 100
"""Accounts of one biller that are asked for in its turn."""

SECONDS_OF_TURN = 10.0


class ThresholdRefused(DomainError):
    """No such threshold."""


def is_prepaid(customer: Customer) -> bool:
    """Tell whether the biller's system said last that the account is prepaid."""
    return Balance.objects.filter(customer=customer, prepaid=True, answered_at__isnull=False).exists()


def left_on(customers: Sequence[int]) -> dict[int, Decimal] | None:
    """Give what the biller's system said last is left on these accounts; nothing where not all of them are prepaid."""
    known = Balance.objects.filter(customer__in=customers, prepaid=True, answered_at__isnull=False)
    left = dict(known.values_list("customer_id", "due"))
    return left if len(left) == len(set(customers)) else None


def threshold_of(customer: Customer) -> Decimal | None:
    """Give the balance under which the customer is told: their own, else the biller's; nothing where nobody is told."""
    own = customer.prepaid_threshold
    return own if own is not None else customer.biller.prepaid_threshold


@transaction.atomic(durable=True)
def choose_threshold(*, customer: Customer, threshold: Decimal | None, actor: Actor) -> bool:
    """Choose the balance under which the customer is told; nothing means the biller's own. Gives whether it was another.

    :raises ThresholdRefused: it is below zero, or above what may be added at once.
    """
    customer = (
        Customer.objects.select_for_update(of=("self",), no_key=True).select_related("biller").get(pk=customer.pk)
    )
    biller = customer.biller
    if threshold is not None:
        threshold = quantise(threshold, biller.currency)
        if not ZERO <= threshold <= biller.prepaid_most:
            words = _("Enter an amount from 0 to %(most)s.") % {
                "most": formats.money(biller.prepaid_most, biller.currency)
            }
            raise ThresholdRefused(words, field="threshold")
    if threshold == customer.prepaid_threshold:
        return False
    customer.prepaid_threshold = threshold
    customer.save(update_fields=["prepaid_threshold"])
    audit.record(
        actor=actor,
        event="customer.threshold_chosen",
        biller_id=biller.pk,
        customer_id=customer.pk,
        subject=f"customer:{customer.pk}",
        facts={"threshold": f"{threshold} {biller.currency}" if threshold is not None else "the biller’s"},
    )
    return True


def tell_low(customers: Iterable[int]) -> None:
    """Tell whoever crossed their threshold, of customers whose balance was read just now, and forget who rose above it.

    The caller is in the transaction that keeps these balances, and holds the customers.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE datapump_balance b
            SET low_at = CASE WHEN b.due < v.threshold THEN b.answered_at END,
                low_texted = CASE WHEN b.due < v.threshold THEN false ELSE b.low_texted END
            FROM (
                SELECT c.id, coalesce(c.prepaid_threshold, m.prepaid_threshold) AS threshold
                FROM billing_customer c JOIN billing_biller m ON m.id = c.biller_id
                WHERE c.id = ANY(%s::bigint[])
            ) v
            WHERE b.customer_id = v.id AND b.prepaid AND v.threshold IS NOT NULL
              AND (b.due < v.threshold) <> (b.low_at IS NOT NULL)
            RETURNING b.customer_id, b.low_at IS NOT NULL
            """,
            [sets.array(customers)],
        )
        low = sorted(pk for pk, is_low in cursor.fetchall() if is_low)
    if low:
        notices.write_from(kind=NoticeKind.PREPAID_LOW, source=_LOW, params=[sets.array(low)])


_LOW = """
SELECT c.biller_id, c.id AS customer_id, 'prepaid:' || c.id || ':' || b.low_at AS key, NULL AS email,
       jsonb_strip_nulls(jsonb_build_object(
           'balance', b.due::text, 'days', trim_scale(b.remaining_days)::text,
           'threshold', coalesce(c.prepaid_threshold, m.prepaid_threshold)::text)) AS facts
FROM datapump_balance b JOIN billing_customer c ON c.id = b.customer_id JOIN billing_biller m ON m.id = c.biller_id
WHERE b.customer_id = ANY(%s::bigint[])
"""


def stale(*, biller_id: int, now: datetime.datetime, most: int = AT_ONCE) -> list[int]:
    """Give prepaid accounts whose balance nobody asked for in ``EVERY``, those that waited longest first."""
    asked = Greatest("answered_at", Coalesce("failed_at", "answered_at"))
    known = Balance.objects.filter(biller_id=biller_id, prepaid=True, answered_at__isnull=False)
    waiting = known.annotate(asked=asked).filter(asked__lte=now - EVERY).order_by("asked", "customer_id")
    return list(waiting.values_list("customer_id", flat=True)[:most])


def billers_with_some() -> list[Biller]:
    """Give the billers in scope whose system can be asked and that have prepaid accounts."""
    endpoints = Endpoint.objects.filter(purpose=Purpose.BALANCES, paused=False).exclude(url="")
    prepaid = Balance.objects.filter(prepaid=True).order_by().values("biller_id")
    return list(Biller.objects.filter(pk__in=endpoints.values("biller_id")).filter(pk__in=prepaid).order_by("pk"))
