"""Lines: the numbers that billers text from, and how each phone stands with a biller."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now

from billing.models import Biller
from billing.models.tenants import TenantQuerySet
from billing.secrets import EncryptedTextField
from sms.models.programmes import EVERYTHING


class Line(models.Model):
    """One number of a biller at a text provider: the driver, its options and its secret.

    ``guid`` binds the encrypted secret to this row and stands in the address of the provider's webhook. ``stopped_for``
    says why nothing is sent; empty, texts go out. ``warned_of`` is for somebody to look into; texts go out meanwhile.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, related_name="lines")
    guid = models.UUIDField(default=uuid.uuid4, editable=False, unique=True)
    number = models.CharField(max_length=16, validators=[RegexValidator(r"^(\+[1-9][0-9]{6,14}|[1-9][0-9]{2,7})$")])
    driver = models.CharField(max_length=30)
    options = models.JSONField(default=dict, blank=True, help_text="The driver's own settings.")
    secret = EncryptedTextField(bound_to=("guid",), blank=True)
    active = models.BooleanField(default=True)
    stopped_for = models.CharField(max_length=200, blank=True)
    warned_of = models.CharField(
        max_length=200, blank=True, db_default="", help_text="What a carrier last held against our words or sender."
    )

    objects = TenantQuerySet["Line"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "number"], name="line_number_once")]

    def __str__(self) -> str:
        return self.number


class Phone(models.Model):
    """How one phone stands with a biller, whichever accounts it serves, and how far their conversation has come.

    A phone that opted out of a programme gets nothing of it but the one confirmation (PBT-15); one that is suspended gets
    nothing until a person has looked at it. ``failures`` counts texts in a row that its carrier blocked.

    ``accounts`` are the customers it serves, in the order that it was told; ``told`` is what each was said to owe. One worker
    at a time hears what a phone says: until ``busy_until`` nobody else does.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, related_name="texted_phones", db_index=False)
    number = models.CharField(max_length=16)
    opted_out_of = ArrayField(
        models.CharField(max_length=20),
        default=list,
        db_default=[],
        blank=True,
        help_text="Programmes that it said STOP to; * for every one.",
    )
    opted_out_at = models.DateTimeField(null=True, blank=True)
    opted_out_by = models.CharField(max_length=120, blank=True, help_text="The rule or the door that it came by.")
    suspended_for = models.CharField(max_length=200, blank=True)
    failures = models.PositiveSmallIntegerField(default=0, db_default=0)
    known_since = models.DateTimeField(db_default=Now())
    language = models.CharField(max_length=2, blank=True, db_default="")
    accounts = ArrayField(models.BigIntegerField(), default=list, db_default=[], blank=True)
    told = models.JSONField(default=dict, db_default={}, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)
    bill_offered = models.BooleanField(default=False, db_default=False)
    question = models.JSONField(null=True, blank=True)
    guided_at = models.DateTimeField(null=True, blank=True)
    busy_until = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["Phone"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "number"], name="phone_once")]

    def __str__(self) -> str:
        return f"•••• {self.number[-4:]}"

    def refuses(self, programme: str) -> bool:
        """Say whether the phone opted out of a programme, or of all."""
        return programme in self.opted_out_of or EVERYTHING in self.opted_out_of
