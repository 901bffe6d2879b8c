"""Scheduled payments: one payment of an account on a day to come, by a method on file."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.actors import Requestor
from billing.models import Biller, Customer, Invoice
from billing.models.ids import UUID7
from billing.models.tenants import CustomerOwnedQuerySet
from payments.models.instruments import Instrument
from payments.models.payments import Payment


class ScheduledState(models.TextChoices):
    """Where a scheduled payment stands."""

    SCHEDULED = "scheduled", "Scheduled"
    PROCESSING = "processing", "Processing"
    PAID = "paid", "Paid"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    NOTHING_DUE = "nothing_due", "Nothing was due"


class ScheduledPayment(models.Model):
    """A payment that the account's payer wants made on ``pay_on``, a business day of the biller's (MSP-15).

    ``whole`` is for whatever is due on that day, and ``amount`` then what was due when it was last told; else ``amount`` is
    the most that is taken. ``invoice`` is the bill that the account was at: it follows the account when a new bill carries
    the old balance. ``payment`` is the latest payment that was made of it, and ``tries`` how many there were. An account
    has at most one that has not ended.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="scheduled_payments", db_index=False)
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="+", db_index=False)
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="scheduled_payments")
    pay_on = models.DateField()
    whole = models.BooleanField()
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    currency = models.CharField(max_length=3)
    state = models.CharField(max_length=11, choices=ScheduledState, default=ScheduledState.SCHEDULED)
    payment = models.OneToOneField(
        Payment, on_delete=models.PROTECT, null=True, related_name="scheduled", db_constraint=False
    )
    tries = models.PositiveSmallIntegerField(default=0, db_default=0)
    failure = models.CharField(max_length=200, blank=True)
    consent_version = models.CharField(max_length=20)
    consent_text = models.TextField()
    requestor = models.PositiveSmallIntegerField(choices=[(r.value, r.name.title()) for r in Requestor])
    made_by = models.CharField(max_length=120)
    user_id = models.BigIntegerField(null=True)
    request_key = models.CharField(max_length=64)
    request_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    changed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=120, blank=True)

    objects = CustomerOwnedQuerySet["ScheduledPayment"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="scheduled_is_positive"),
            models.CheckConstraint(
                condition=Q(state__in=["scheduled", "processing"], ended_at__isnull=True)
                | Q(state__in=["paid", "failed", "cancelled", "nothing_due"], ended_at__isnull=False),
                name="scheduled_ends_once",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["processing", "paid"]) | Q(payment__isnull=False),
                name="scheduled_has_payment",
            ),
            models.UniqueConstraint(
                fields=["customer"], condition=Q(ended_at__isnull=True), name="one_scheduled_payment"
            ),
            models.UniqueConstraint(fields=["biller", "request_key"], name="scheduled_request_once"),
        ]
        indexes = [
            # What a run takes and what a load of invoices takes along: as short as what has not ended.
            models.Index(fields=["biller", "pay_on"], condition=Q(ended_at__isnull=True), name="scheduled_live"),
            models.Index(fields=["biller", "created_at", "id"], name="scheduled_by_time"),
            models.Index(fields=["customer", "created_at"], name="scheduled_by_customer"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} on {self.pay_on}"

    @property
    def live(self) -> bool:
        """Whether it may still be changed or cancelled."""
        return self.state == ScheduledState.SCHEDULED
