"""Balances: what the biller's own system said last that an account owes."""

from __future__ import annotations

from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from billing.models import Biller, Customer
from billing.models.tenants import CustomerOwnedQuerySet


class Balance(models.Model):
    """The last answer about one account, and the last failure to get one. Amounts are in the biller's currency.

    ``asked_at`` and ``answered_at`` are of the last answer that could be read, by PostgreSQL's clock; empty where there was
    none yet, and then the values mean nothing. ``failure`` is newer than the answer or empty. What the answer blocks stands
    on the customer.
    """

    customer = models.OneToOneField(Customer, on_delete=models.CASCADE, primary_key=True, related_name="live_balance")
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    asked_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True)
    due = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"), db_default=Decimal("0.00"))
    past_due = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"), db_default=Decimal("0.00"))
    prepaid = models.BooleanField(default=False, db_default=False)
    remaining_days = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    due_on = models.DateField(null=True)
    disconnect_on = models.DateField(null=True)
    last_payment = models.DecimalField(max_digits=14, decimal_places=2, null=True)
    last_paid_on = models.DateField(null=True)
    transaction_types = ArrayField(models.CharField(max_length=60), default=list, db_default=[])
    low_at = models.DateTimeField(
        null=True, help_text="When a prepaid balance was first read under its threshold; empty once it is above again."
    )
    low_texted = models.BooleanField(
        default=False, db_default=False, help_text="The phone was told of it, or needs not."
    )
    failed_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=300, blank=True, default="", db_default="")

    objects = CustomerOwnedQuerySet["Balance"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["biller", "answered_at"], condition=Q(prepaid=True), name="balance_prepaid"),
            models.Index(
                fields=["customer"], condition=Q(low_at__isnull=False, low_texted=False), name="balance_to_text"
            ),
        ]

    def __str__(self) -> str:
        return f"Balance of customer {self.customer_id}"
