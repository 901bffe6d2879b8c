"""Adjustments: why an account owes more or less than its bills say."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models.functions import Now

from billing.models.billers import Biller
from billing.models.customers import Customer
from billing.models.invoices import Item
from billing.models.tenants import CustomerOwnedQuerySet


class AdjustmentSource(models.TextChoices):
    """Where an adjustment came from."""

    BALANCE = "balance", "Balance of the biller’s system"
    FILE = "file", "File"
    API = "api", "API"
    PORTAL = "portal", "Portal"
    CLOUD = "cloud", "CloudPay"


class AdjustmentQuerySet(CustomerOwnedQuerySet["Adjustment"]):
    """What can be asked of adjustments."""

    def open(self) -> Self:
        """Narrow to those of which something is still owed, or still to the customer's credit; oldest first."""
        return self.exclude(item__open=0).order_by("pk")


class Adjustment(models.Model):
    """What a signed item of kind adjustment stands for. ``reference`` is the sender's own, once per customer.

    The amount is the item's: a debit is positive, a credit negative.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="adjustments", db_index=False)
    item = models.OneToOneField(Item, on_delete=models.PROTECT, related_name="adjustment")
    source = models.CharField(max_length=7, choices=AdjustmentSource)
    reference = models.CharField(max_length=80)
    reason = models.CharField(max_length=200)
    made_by = models.CharField(max_length=120)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = AdjustmentQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "reference"], name="adjustment_once")]

    def __str__(self) -> str:
        return f"{self.reference}: {self.reason}"
