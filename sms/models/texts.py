"""Texts: what was said to phones and by them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Biller, Customer
from billing.models.ids import UUID7
from billing.models.tenants import CustomerOwnedQuerySet
from sms.models.lines import Line

OPT_OUT_CONFIRMATION = "opt_out_confirmation"
"""The one kind of text that a phone may still get after it opted out."""


class Direction(models.TextChoices):
    """Which way a text went."""

    OUT = "out", "To the phone"
    IN = "in", "From the phone"


class TextState(models.TextChoices):
    """Where a text stands."""

    WAITING = "waiting", "Waiting"
    SENDING = "sending", "Sending"
    UNKNOWN = "unknown", "Not known yet"
    ACCEPTED = "accepted", "With the provider"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"
    ARRIVED = "arrived", "Arrived"
    ACTING = "acting", "Being dealt with"
    AWAITING = "awaiting", "Waiting for a payment"
    RECEIVED = "received", "Received"


class Text(models.Model):
    """One text. ``key`` keeps the same thing from being said, or heard, twice.

    ``status`` and ``code`` are the provider's last word; ``reason`` is ours for why it failed. The outcome of a text that
    may have gone is unknown until its provider tells: it is not sent again where that could say it twice.

    A text from a phone has arrived, is dealt with (``action`` says what its words ask for, kept before it is done), and is
    received. ``kind`` is then what it was taken for, ``rule`` why, and ``review`` why a CSR should read it.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    line = models.ForeignKey(Line, on_delete=models.PROTECT, related_name="texts", db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, related_name="texts", db_index=False)
    direction = models.CharField(max_length=3, choices=Direction)
    phone = models.CharField(max_length=16)
    kind = models.CharField(max_length=30, help_text="What it is about.")
    body = models.CharField(max_length=1600)
    key = models.CharField(max_length=120)
    state = models.CharField(max_length=9, choices=TextState, default=TextState.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    due_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    provider_id = models.CharField(max_length=80, blank=True)
    status = models.CharField(max_length=12, blank=True)
    reason = models.CharField(max_length=20, blank=True)
    code = models.CharField(max_length=40, blank=True)
    segments = models.PositiveSmallIntegerField(null=True)
    expires_at = models.DateTimeField(null=True, help_text="Later than this it is not sent.")
    media = models.PositiveSmallIntegerField(default=0, db_default=0)
    acted_on = models.CharField(
        max_length=5, blank=True, db_default="", help_text="The keyword on which the provider acted by itself."
    )
    answered = models.BooleanField(default=False, db_default=False, help_text="The provider answers it by itself.")
    rule = models.CharField(max_length=80, blank=True, db_default="")
    action = models.JSONField(null=True)
    payment_id = models.UUIDField(null=True)
    review = models.CharField(max_length=20, blank=True, db_default="")
    reviewed_at = models.DateTimeField(null=True)
    reviewed_by = models.CharField(max_length=120, blank=True, db_default="")
    review_note = models.CharField(max_length=200, blank=True, db_default="", help_text="What was done about it.")

    objects = CustomerOwnedQuerySet["Text"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "key"], name="text_once")]
        indexes = [
            models.Index(fields=["line", "due_at", "id"], condition=Q(state="waiting"), name="text_due"),
            models.Index(fields=["claimed_at"], condition=Q(state="sending"), name="text_being_sent"),
            models.Index(
                fields=["biller", "phone", "id"], condition=Q(state__in=["arrived", "acting"]), name="text_unheard"
            ),
            models.Index(fields=["payment_id"], condition=Q(state="awaiting"), name="text_awaiting"),
            models.Index(
                fields=["biller", "id"], condition=~Q(review="") & Q(reviewed_at__isnull=True), name="text_to_review"
            ),
            models.Index(fields=["biller", "created_at", "id"], name="text_by_time"),
            models.Index(fields=["biller", "phone", "created_at"], name="text_by_phone"),
            models.Index(fields=["customer", "created_at"], name="text_by_customer"),
            models.Index(fields=["line", "provider_id"], condition=~Q(provider_id=""), name="text_by_provider_id"),
        ]

    def __str__(self) -> str:
        return f"{self.get_direction_display()}: {self.kind}"
