"""Enrolments of customers in AutoPay. Paperless is a flag of the customer; both are changed in ``operations.enrolments``."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.actors import Requestor
from billing.models import Biller, Customer
from billing.models.tenants import CustomerOwnedQuerySet
from payments.models.instruments import Instrument


class AutoPayEnrolment(models.Model):
    """A customer's consent to be charged for every bill: what was agreed to, by whom, when and from where.

    The row stays when the enrolment ends; a customer has at most one that has not ended.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="autopay_enrolments")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="autopay_enrolments")
    consent_version = models.CharField(max_length=20)
    consent_text = models.TextField()
    consent_by = models.CharField(max_length=120)
    consent_requestor = models.PositiveSmallIntegerField(choices=[(r.value, r.name.title()) for r in Requestor])
    consent_address = models.GenericIPAddressField(null=True)
    consented_at = models.DateTimeField(db_default=Now(), editable=False)
    first_collection_on = models.DateField(null=True, help_text="What the payer was told.")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=120, blank=True)

    objects = CustomerOwnedQuerySet["AutoPayEnrolment"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer"], condition=Q(ended_at__isnull=True), name="one_autopay_enrolment"
            )
        ]
        indexes = [models.Index(fields=["biller", "-id"], name="autopay_by_biller")]

    def __str__(self) -> str:
        return f"AutoPay of {self.customer_id}"
