"""Cases: what a person must look at, because no rule may decide it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Biller, Customer
from billing.models.ids import UUID7
from billing.models.tenants import TenantQuerySet
from payments.models.payments import Attempt


class CaseKind(models.TextChoices):
    """Why a person must look."""

    UNKNOWN_OUTCOME = "unknown", "Unknown outcome"
    CONFLICTING_ANSWER = "conflict", "Conflicting answer"
    UNBOOKED_CHARGE = "unbooked", "Charge that our book does not have"
    MISSING_CHARGE = "missing", "Charge that the processor does not name"


class CaseState(models.TextChoices):
    """Whether somebody has looked."""

    OPEN = "open", "Open"
    DONE = "done", "Done"


class Case(models.Model):
    """One attempt whose outcome nobody knows, on which the processor contradicted itself, or that it does not name.

    A charge that only the processor knows has no attempt here: ``key`` is its name there, and ``facts`` are what the
    processor says of it (``amount``, ``currency``, ``account``, ``command``, ``reference``, ``route``, ``at``).
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, db_index=False)
    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, null=True, related_name="cases", db_constraint=False)
    key = models.CharField(max_length=64, blank=True, default="", db_default="")
    facts = models.JSONField(default=dict, db_default={}, blank=True)
    kind = models.CharField(max_length=8, choices=CaseKind)
    reason = models.CharField(max_length=200)
    state = models.CharField(max_length=4, choices=CaseState, default=CaseState.OPEN)
    opened_at = models.DateTimeField(db_default=Now(), editable=False)
    closed_at = models.DateTimeField(null=True)
    closed_by = models.CharField(max_length=120, blank=True)
    outcome = models.CharField(max_length=200, blank=True)

    objects = TenantQuerySet["Case"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["attempt", "kind"], condition=Q(state="open"), name="one_open_case_per_attempt"
            ),
            models.UniqueConstraint(
                fields=["biller", "key"], condition=~Q(key=""), name="one_case_per_unbooked_charge"
            ),
        ]
        indexes = [models.Index(fields=["biller", "state", "-opened_at", "-id"], name="case_by_state")]

    def __str__(self) -> str:
        return self.reason
