"""Reservations: what payments on their way hold of items, so that no other payment takes it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal

from django.db import connection

from billing import sets
from billing.models import Item
from payments.models import Allocation


def reserve(*, payment_id: uuid.UUID, biller_id: int, items: Sequence[Item], amount: Decimal) -> None:
    """Hold as much of the items, oldest first, as the amount covers; the caller has locked them."""
    left = amount
    for item in items:
        part = min(left, item.open - item.reserved)
        if part <= 0:
            continue
        item.reserved += part
        item.save(update_fields=["reserved"])
        Allocation.objects.create(biller_id=biller_id, payment_id=payment_id, item=item, amount=part)
        left -= part


def release(payment_ids: Sequence[uuid.UUID | str]) -> None:
    """Void the pending allocations of payments and give back what they reserved; the caller holds the payments."""
    ids = sets.array(payment_ids)
    with connection.cursor() as cursor:
        # A load of invoices moves pending allocations to newer items, holding the customers: look at them after it.
        cursor.execute(
            "SELECT id FROM billing_customer WHERE id IN (SELECT customer_id FROM payments_payment WHERE id = ANY(%s::uuid[]))"
            " ORDER BY id FOR NO KEY UPDATE",
            [ids],
        )
        cursor.execute(
            """
            UPDATE billing_item i SET reserved = i.reserved - v.amount
            FROM (
                SELECT item_id, sum(amount) AS amount FROM payments_allocation
                WHERE payment_id = ANY(%s::uuid[]) AND state = 'pending' GROUP BY 1
            ) v
            WHERE i.id = v.item_id
            """,
            [ids],
        )
        cursor.execute(
            "UPDATE payments_allocation SET state = 'void' WHERE payment_id = ANY(%s::uuid[]) AND state = 'pending'",
            [ids],
        )
