"""Lines: the numbers that billers text from, and how each phone stands with a biller."""

from __future__ import annotations

import uuid

from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now

from billing.models import Biller
from billing.models.tenants import TenantQuerySet
from billing.secrets import EncryptedTextField


class Line(models.Model):
    """One number of a biller at a text provider: the driver, its options and its secret.

    ``guid`` binds the encrypted secret to this row and stands in the address of the provider's webhook. ``stopped_for``
    says why nothing is sent; empty, texts go out.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, related_name="lines")
    guid = models.UUIDField(default=uuid.uuid4, editable=False, unique=True)
    number = models.CharField(max_length=16, validators=[RegexValidator(r"^(\+[1-9][0-9]{6,14}|[1-9][0-9]{2,7})$")])
    driver = models.CharField(max_length=30)
    options = models.JSONField(default=dict, blank=True, help_text="The driver's own settings.")
    secret = EncryptedTextField(bound_to=("guid",), blank=True)
    active = models.BooleanField(default=True)
    stopped_for = models.CharField(max_length=200, blank=True)

    objects = TenantQuerySet["Line"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "number"], name="line_number_once")]

    def __str__(self) -> str:
        return self.number


class Phone(models.Model):
    """How one phone stands with a biller, whichever accounts it serves.

    A phone that opted out gets nothing but the one confirmation of it (PBT-15); one that is suspended gets nothing until a
    person has looked at it. ``failures`` counts texts in a row that its carrier blocked.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, related_name="texted_phones", db_index=False)
    number = models.CharField(max_length=16)
    opted_out_at = models.DateTimeField(null=True, blank=True)
    opted_out_by = models.CharField(max_length=120, blank=True, help_text="The rule or the door that it came by.")
    suspended_for = models.CharField(max_length=200, blank=True)
    failures = models.PositiveSmallIntegerField(default=0, db_default=0)
    known_since = models.DateTimeField(db_default=Now())

    objects = TenantQuerySet["Phone"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "number"], name="phone_once")]

    def __str__(self) -> str:
        return f"•••• {self.number[-4:]}"
