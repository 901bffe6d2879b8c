"""Money that moved with a balance: from an older bill to the newer one that carries it."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from billing.models import Biller, Invoice, Item
from billing.models.tenants import TenantQuerySet
from payments.models.payments import Payment


class CarryoverKind(models.TextChoices):
    """What the money was on the older bill."""

    POSTED = "posted", "A payment of it"
    PENDING = "pending", "A payment on its way"
    CREDIT = "credit", "What was left of a payment"


class Carryover(models.Model):
    """A part of a payment that the biller's system had not heard of when it made a new bill, credited to that bill
    (MSP-24).

    ``amount`` came from ``from_item``; ``moved`` of it found room on the new bill, by ``to_allocation``; where it had
    been posted, the rest is the credit ``credit_item``. A withdrawn file gives everything back.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="carryovers")
    kind = models.CharField(max_length=7, choices=CarryoverKind)
    invoice = models.ForeignKey(
        Invoice, on_delete=models.PROTECT, related_name="carryovers", help_text="The new bill that carries the balance."
    )
    from_item = models.ForeignKey(Item, on_delete=models.PROTECT, related_name="+", db_index=False)
    to_allocation_id = models.BigIntegerField(null=True)
    credit_item_id = models.BigIntegerField(null=True)
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    moved = models.DecimalField(max_digits=14, decimal_places=2)
    made_at = models.DateTimeField(db_default=Now(), editable=False)
    returned_at = models.DateTimeField(null=True)

    objects = TenantQuerySet["Carryover"].as_manager()

    def __str__(self) -> str:
        return f"{self.amount} {self.kind}"
