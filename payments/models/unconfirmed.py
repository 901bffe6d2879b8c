"""Unconfirmed payments: posted at once, and confirmed or failed later."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from billing.models import Biller, Customer
from billing.models.tenants import CustomerOwnedQuerySet
from payments.models.payments import Payment


class UnconfirmedState(models.TextChoices):
    """Whether the bank has made good a payment that was posted before it could say."""

    WAITING = "waiting", "Not confirmed yet"
    CONFIRMED = "confirmed", "Confirmed"
    FAILED = "failed", "Failed"
    GIVEN_BACK = "given_back", "Given back"


class UnconfirmedPayment(models.Model):
    """That a payment was posted before its bank had confirmed it, and what came of that (PAY-34).

    ``until`` is the last banking day on which a return is waited for. One that failed keeps why, and its payment is
    reversed: that is the record of the failed payment. ``ended_by`` is the person who said so, empty where time or the
    processor did.
    """

    payment = models.OneToOneField(Payment, on_delete=models.PROTECT, primary_key=True, related_name="unconfirmed")
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+", db_index=False)
    until = models.DateField()
    state = models.CharField(max_length=10, choices=UnconfirmedState, default=UnconfirmedState.WAITING)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=120, blank=True)
    reason = models.CharField(max_length=200, blank=True)

    objects = CustomerOwnedQuerySet["UnconfirmedPayment"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state="waiting", ended_at__isnull=True) | (~Q(state="waiting") & Q(ended_at__isnull=False)),
                name="unconfirmed_has_ended_or_waits",
            )
        ]
        indexes = [models.Index(fields=["biller", "until"], condition=Q(state="waiting"), name="unconfirmed_waiting")]

    def __str__(self) -> str:
        return f"{self.get_state_display()}: {self.payment_id}"
