"""The audit trail and its seals."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from billing.actors import Requestor
from billing.models.billers import Biller
from billing.models.customers import Customer
from billing.models.tenants import CustomerOwnedQuerySet


class AuditEntry(models.Model):
    """One business fact: who did what to whom. Appended in the transaction that did it; never changed or deleted."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, null=True, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, db_index=False)
    at = models.DateTimeField(db_default=Now())
    event = models.CharField(max_length=60)
    requestor = models.PositiveSmallIntegerField(choices=[(r.value, r.name.title()) for r in Requestor])
    actor = models.CharField(max_length=120)
    user_id = models.BigIntegerField(null=True)
    address = models.GenericIPAddressField(null=True)
    subject = models.CharField(max_length=80, blank=True)
    facts = models.JSONField(default=dict)

    objects = CustomerOwnedQuerySet["AuditEntry"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["biller", "-id"], name="audit_by_biller"),
            models.Index(fields=["customer", "-id"], name="audit_by_customer"),
        ]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return self.event


class Seal(models.Model):
    """A link of the hash chain over audit entries: ``digest`` covers ``previous`` and every entry from ``first`` to ``last``."""

    first = models.BigIntegerField()
    last = models.BigIntegerField(unique=True)
    count = models.PositiveIntegerField()
    previous = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64)
    sealed_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"
