"""Routes: a processor and the merchant account that a biller has there."""

from __future__ import annotations

import uuid
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q

from billing.models import Biller
from billing.models.tenants import TenantQuerySet
from billing.secrets import EncryptedTextField
from payments.gateways.descriptors import LONGEST, PHONE_LONGEST, check_descriptor, check_phone


def require_descriptor(given: str) -> None:
    """Refuse a descriptor that no statement can show, in its own words."""
    try:
        check_descriptor(given)
    except ValueError as wrong:
        raise ValidationError(str(wrong)) from None


def require_phone(given: str) -> None:
    """Refuse a number that does not fit a statement, in its own words."""
    try:
        check_phone(given)
    except ValueError as wrong:
        raise ValidationError(str(wrong)) from None


class RouteQuerySet(TenantQuerySet["Route"]):
    """Routes, and which of them a biller's money may go."""

    def usable(self, biller: Biller) -> Self:
        """Narrow to the active routes of a biller in its currency, the default one first (PAY-20)."""
        return self.filter(biller=biller, active=True, currency=biller.currency).order_by("pk")


class Route(models.Model):
    """One way for one biller's money: gateway driver, merchant, secret, and what tenders it takes (PAY-20).

    ``guid`` binds the encrypted secret to this row. What the processor promises about repeats is declared by the driver.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, related_name="routes")
    guid = models.UUIDField(default=uuid.uuid4, editable=False, unique=True)
    name = models.CharField(max_length=60)
    driver = models.CharField(max_length=30)
    merchant = models.CharField(max_length=60)
    currency = models.CharField(max_length=3, default="USD", validators=[RegexValidator(r"^[A-Z]{3}$")])
    tenders = ArrayField(models.CharField(max_length=8), default=list, help_text="Tenders it takes: card, ach.")
    options = models.JSONField(default=dict, blank=True, help_text="The driver's own settings.")
    secret = EncryptedTextField(bound_to=("guid",), blank=True)
    descriptor = models.CharField(
        max_length=LONGEST,
        blank=True,
        validators=[require_descriptor],
        help_text="What payers' statements say: a name of 3, 7 or 12 characters, an asterisk, and what is paid for, such as"
        " MFW*Water bill. Empty: what the processor keeps of the merchant.",
    )
    descriptor_phone = models.CharField(
        max_length=PHONE_LONGEST,
        blank=True,
        validators=[require_phone],
        help_text="The number to call, shown there in place of the city: 800-555-0123 or 800-CITYWTR.",
    )
    confirmation_days = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,
        validators=[MaxValueValidator(60)],
        help_text="Banking days for which payments from bank accounts, though posted at once, count as not confirmed, because the"
        " bank may return them. 0: they are confirmed when they are posted.",
    )
    active = models.BooleanField(default=True)
    reversals_read_until = models.DateTimeField(
        null=True, editable=False, help_text="Returns and chargebacks before it were read."
    )

    # What the processor's heartbeat says (PAY-22); nothing before it was asked for the first time.
    answered = models.BooleanField(null=True, editable=False, help_text="Whether it answered when it was last asked.")
    connection_since = models.DateTimeField(
        null=True, editable=False, help_text="Since when it has (not) been answering."
    )
    heard_at = models.DateTimeField(null=True, editable=False)
    failed_at = models.DateTimeField(null=True, editable=False)
    failure = models.CharField(max_length=200, blank=True, editable=False, help_text="Why it did not answer, last.")

    objects = RouteQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["biller", "name"], name="route_name_once"),
            models.CheckConstraint(
                condition=Q(descriptor="", descriptor_phone="")
                | Q(descriptor__regex=r"^([^*]{3}|[^*]{7}|[^*]{12})\*[^*]+$"),
                name="route_descriptor_is_shown",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def connection(self) -> str:
        """Give the state of its connection: off, unasked, answers or silent."""
        if not self.active:
            return "off"
        return {None: "unasked", True: "answers", False: "silent"}[self.answered]


class AnswerCode(models.Model):
    """What a processor's own answer code means to us (PAY-4): an administrator edits these; what is not here is a hard decline."""

    driver = models.CharField(max_length=30)
    code = models.CharField(max_length=60)
    result = models.PositiveSmallIntegerField(validators=[MinValueValidator(0), MaxValueValidator(899)])
    words = models.CharField(
        max_length=120,
        blank=True,
        help_text="What a payer is told, and how pages call it, where the result is one of your own (18 and above).",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["driver", "code"], name="answer_code_once"),
            models.CheckConstraint(
                condition=Q(result__lt=1000) & ~Q(result__in=[777, 888, 999]), name="answer_code_is_no_checkpoint"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.driver} {self.code}"
