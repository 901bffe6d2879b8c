"""CloudPay: payments that the biller's own system opened for one of its CSRs or for a payer."""

from __future__ import annotations

import datetime
import uuid

from django.db import models
from django.db.models.functions import Now

from billing.models import Biller, Customer, Invoice
from billing.models.tenants import CustomerOwnedQuerySet


class CloudPayer(models.TextChoices):
    """For whom the biller's system opened a payment."""

    CSR = "csr", "CSR"
    PAYER = "payer", "Payer"


class CloudPayment(models.Model):
    """One payment of one account and amount, opened by a call of the biller's system (MSP-27); it never changes.

    ``balance_due`` is what the call said that the account owes, nothing where it left that to our books. Whoever has the
    link may pay until ``expires_at``. What came of it says the payment itself, which has a request key of this row's id.
    ``request_key`` is the call's own: the same one again is the same row.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="cloud_payments")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, null=True, db_index=False)
    who = models.CharField(max_length=5, choices=CloudPayer)
    user_name = models.CharField(max_length=80, blank=True, help_text="Of the biller’s system: who opened it there.")
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    balance_due = models.DecimalField(max_digits=14, decimal_places=2, null=True)
    currency = models.CharField(max_length=3)
    return_url = models.CharField(max_length=500, blank=True)
    email = models.EmailField(blank=True, help_text="Where the receipt goes; empty for the customer’s own address.")
    opened_by = models.CharField(max_length=120, help_text="The machine, by the name of its key.")
    request_key = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()

    objects = CustomerOwnedQuerySet["CloudPayment"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="cloud_payment_is_positive"),
            models.UniqueConstraint(fields=["biller", "request_key"], name="cloud_payment_once"),
        ]

    def __str__(self) -> str:
        return f"CloudPay {self.amount} {self.currency}"

    @property
    def by_csr(self) -> bool:
        """Whether a CSR of the biller pays, and not the payer."""
        return self.who == CloudPayer.CSR

    @property
    def made_by(self) -> str:
        """Who makes the payment, as every list and report shows it."""
        return f"{self.user_name or 'Payer'} by web service"

    def expired(self, now: datetime.datetime) -> bool:
        """Whether it can no longer be paid."""
        return now >= self.expires_at
