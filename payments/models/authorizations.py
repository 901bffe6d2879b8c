"""Authorizations: money that a processor holds for a payment until it is deposited."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from billing.models import Biller, Customer
from billing.models.tenants import CustomerOwnedQuerySet
from payments.models.payments import Payment


class Authorization(models.Model):
    """That a payment's money is held first and deposited later; made with the attempt that asks for it (PAY-7).

    ``authorized_on`` is the biller's business day of it, ``expires_at`` until when the processor holds the money.
    ``ended_at`` is when the payment was posted, failed or released. ``expired`` marks a deposit that was sent after
    ``expires_at``, which costs more.
    """

    payment = models.OneToOneField(Payment, on_delete=models.PROTECT, primary_key=True, related_name="authorization")
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+", db_index=False)
    authorized_on = models.DateField()
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    expired = models.BooleanField(default=False, db_default=False)

    objects = CustomerOwnedQuerySet["Authorization"].as_manager()

    class Meta:
        indexes = [
            # What a deposit run takes, and what it took late: both short, however many authorizations there ever were.
            models.Index(fields=["biller", "customer"], condition=Q(ended_at__isnull=True), name="authorization_live"),
            models.Index(fields=["biller", "authorized_on"], condition=Q(expired=True), name="authorization_expired"),
        ]

    def __str__(self) -> str:
        return f"Authorization of {self.payment_id}"
