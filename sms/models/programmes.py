"""Programmes: what a biller texts about, in whose name, at which hours and in which words."""

from __future__ import annotations

from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from billing.models import Biller
from billing.models.tenants import TenantQuerySet
from sms.conversations import Language, Message

EVERYTHING = "*"
"""Stands among the programmes that a phone refuses for all that there are."""


class ProgrammeKind(models.TextChoices):
    """What a programme is for; consent is given and taken back for each on its own."""

    PAY_BY_TEXT = "pay_by_text", "Pay by Text"


class Programme(models.Model):
    """One programme of a biller, as it is registered with the carriers.

    Texts that nobody asked for go out between ``opens`` and ``closes``, hours of every zone that the phone may be in, and at
    most ``most_a_day`` to a phone in 24 hours. ``fee`` comes on top of each payment by text.
    """

    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, related_name="programmes", db_index=False)
    kind = models.CharField(max_length=20, choices=ProgrammeKind, default=ProgrammeKind.PAY_BY_TEXT)
    name = models.CharField(max_length=40, help_text="Begins every text. Twenty characters leave room for one part.")
    contact = models.CharField(max_length=40, blank=True, help_text="The phone number that a payer may call.")
    stopped = models.BooleanField(
        default=False, help_text="Nothing is sent and nothing is charged by text while this is on. STOP is still heard."
    )
    opens = models.PositiveSmallIntegerField(
        default=8, validators=[MaxValueValidator(23)], help_text="The first hour in which texts go out."
    )
    closes = models.PositiveSmallIntegerField(
        default=21,
        validators=[MinValueValidator(1), MaxValueValidator(24)],
        help_text="The hour from which none go out until the next morning.",
    )
    most_a_day = models.PositiveSmallIntegerField(
        default=6, help_text="Texts that nobody asked for, to one phone in 24 hours."
    )
    fee = models.DecimalField(
        max_digits=6, decimal_places=2, default=Decimal("0.00"), validators=[MinValueValidator(Decimal("0.00"))],
        help_text="On top of a payment by text; the payer is asked to CONFIRM it.",
    )  # fmt: skip
    stop_ends_everything = models.BooleanField(
        default=True, help_text="STOP to this programme ends every programme of the biller for the phone."
    )
    campaign = models.CharField(
        max_length=40, blank=True, help_text="The campaign's id at the carriers' registry (10DLC)."
    )
    terms = models.TextField(blank=True, help_text="What a payer agrees to. Empty: the words that come with Ratepayer.")

    objects = TenantQuerySet["Programme"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["biller", "kind"], name="programme_once"),
            models.CheckConstraint(
                condition=models.Q(opens__lt=models.F("closes")), name="programme_opens_before_it_closes"
            ),
            models.CheckConstraint(condition=models.Q(fee__gte=0), name="programme_fee_is_no_gift"),
        ]

    def __str__(self) -> str:
        return self.name


class Wording(models.Model):
    """A biller's own words for one message in one language."""

    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, related_name="wordings", db_index=False)
    programme = models.CharField(max_length=20, choices=ProgrammeKind, default=ProgrammeKind.PAY_BY_TEXT)
    message = models.CharField(
        max_length=30, choices=[(message.value, message.value.replace("_", " ").capitalize()) for message in Message]
    )
    language = models.CharField(
        max_length=2, choices=[(language.value, language.name.title()) for language in Language]
    )
    body = models.CharField(max_length=640)

    objects = TenantQuerySet["Wording"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["biller", "programme", "message", "language"], name="wording_once")
        ]

    def __str__(self) -> str:
        return f"{self.get_message_display()} ({self.language})"
