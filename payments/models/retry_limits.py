"""What the card networks allow of a card that was declined."""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q


class RetryLimit(models.Model):
    """How many charges of one card or bank account may be declined in a rolling day and in thirty days before no other is
    tried (PAY-5); the same for every biller, and an administrator edits it.

    ``brand`` is a card's brand as its processor names it, ``card`` for every other card or ``bank`` for bank accounts.
    """

    brand = models.CharField(
        max_length=30,
        unique=True,
        help_text="A brand as the processor names it, such as visa; “card” is every other card, “bank” a bank account.",
    )
    per_day = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Declined charges in 24 hours. Empty: no limit.",
    )
    per_month = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Declined charges in 30 days. Empty: no limit.",
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=(Q(per_day__isnull=True) | Q(per_day__gt=0))
                & (Q(per_month__isnull=True) | Q(per_month__gt=0)),
                name="retry_limit_allows_one",
            )
        ]

    def __str__(self) -> str:
        return self.brand
