"""Where a biller's own system listens, and what it wants to hear."""

from __future__ import annotations

import uuid

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from billing.models import Biller
from billing.models.tenants import TenantQuerySet
from billing.secrets import EncryptedTextField


class Configuration(models.Model):
    """Which updates a biller wants. A switch that is off makes no record; history keeps what was made before."""

    biller = models.OneToOneField(Biller, on_delete=models.CASCADE, related_name="datapump")
    payments = models.BooleanField(default=True)
    paperless = models.BooleanField("paperless changes", default=True)
    autopay = models.BooleanField("AutoPay changes", default=True)
    scheduled_payments = models.BooleanField("scheduled payments", default=False, db_default=False)
    pay_by_text_changes = models.BooleanField("Pay By Text Changes", default=False)

    objects = TenantQuerySet["Configuration"].as_manager()

    def __str__(self) -> str:
        return f"DataPump of {self.biller}"


class Purpose(models.TextChoices):
    """What an endpoint is for; each has its own settings by number (MSP-35)."""

    BALANCES = "balances", "Balances (settings 8-10)"
    PAYMENTS = "payments", "Payments (settings 11-13)"
    PAPERLESS = "paperless", "Paperless (settings 14-16)"
    AUTOPAY = "autopay", "AutoPay, scheduled payments, pay by text (settings 17-19)"


class Endpoint(models.Model):
    """One address of the biller's system, how to speak to it, and how well it is.

    ``options`` are the connector's own: service version (setting 35), modes (64, 65), header fields. The columns from
    ``failures_in_a_row`` on are written by delivery alone: while ``closed_until`` lies ahead nothing is sent and nothing
    counts as a try. ``paused_for`` says why delivery paused it by itself; empty where a person did. ``retired_password``
    is the one before, which is good until ``retired_until``.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, related_name="endpoints")
    purpose = models.CharField(max_length=10, choices=Purpose)
    connector = models.CharField(max_length=20, default="multispeak")
    url = models.URLField(max_length=300)
    username = models.CharField(max_length=100, blank=True)
    password = EncryptedTextField(bound_to=("id",), blank=True)
    retired_password = EncryptedTextField(bound_to=("id",), blank=True, default="", db_default="")
    retired_until = models.DateTimeField(null=True, editable=False)
    options = models.JSONField(default=dict, blank=True)
    per_envelope = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1)], help_text="Updates of different accounts that may share one call."
    )
    in_flight = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(1)], help_text="Calls that may be under way at once."
    )
    timeout_seconds = models.PositiveSmallIntegerField(
        default=20, validators=[MinValueValidator(1), MaxValueValidator(120)]
    )
    attempts_allowed = models.PositiveSmallIntegerField(
        default=10, validators=[MinValueValidator(1)], help_text="Refusals of one update after which it has failed."
    )
    hold_after_failure = models.BooleanField(
        default=False, help_text="A failed update holds the customer's later ones until somebody acts."
    )
    reuse_seconds = models.PositiveIntegerField(
        default=60,
        db_default=60,
        validators=[MaxValueValidator(86_400)],
        help_text="How long a balance that was read counts as fresh.",
    )
    known_hours = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,
        validators=[MaxValueValidator(720)],
        help_text="Where a balance cannot be read, one of the last so many hours is used for charging; 0: nothing is charged.",
    )
    booked_minutes = models.PositiveSmallIntegerField(
        default=15,
        db_default=15,
        validators=[MaxValueValidator(10_080)],
        help_text="How long after it was told of a payment the biller’s system may take to show it in a balance.",
    )
    paused = models.BooleanField(default=False)
    paused_for = models.CharField(max_length=300, blank=True, default="", db_default="", editable=False)
    failures_in_a_row = models.PositiveIntegerField(default=0, editable=False)
    closed_until = models.DateTimeField(null=True, editable=False)
    closed_since = models.DateTimeField(null=True, editable=False)
    last_success_at = models.DateTimeField(null=True, editable=False)
    last_failure_at = models.DateTimeField(null=True, editable=False)
    last_failure = models.CharField(max_length=300, blank=True, editable=False)
    window_from = models.DateTimeField(null=True, editable=False)
    window_calls = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    window_failures = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    note = models.CharField(
        max_length=300,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="What the operator should hear of although updates go out.",
    )
    noted_at = models.DateTimeField(null=True, editable=False)

    objects = TenantQuerySet["Endpoint"].as_manager()

    # Set by the operation that made a secret: this once it may be shown.
    new_secret: str = ""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["biller", "purpose"], name="endpoint_once_per_purpose"),
            models.CheckConstraint(condition=Q(per_envelope__gte=1, in_flight__gte=1), name="endpoint_limits"),
        ]

    def __str__(self) -> str:
        return self.short_name

    @classmethod
    def unsaved(cls, biller_id: int, purpose: str) -> Endpoint:
        """Make an endpoint as it begins: a person waits for a balance, and nobody for a delivery."""
        endpoint = cls(biller_id=biller_id, purpose=purpose)
        if purpose == Purpose.BALANCES:
            endpoint.timeout_seconds = 2
        return endpoint

    @property
    def short_name(self) -> str:
        """The purpose without its settings' numbers, as history shows it."""
        return self.get_purpose_display().partition(" (")[0]
