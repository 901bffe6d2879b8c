"""Pay types: the numbered kinds of money, and of accounts that no run collects from."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q

# Up to here the numbers are reserved; an administrator's own pay types have higher ones.
LAST_RESERVED = 100_000


class PayTypeUse(models.TextChoices):
    """What a pay type is said of."""

    PAYMENT = "payment", "A payment: what it was made with"
    ACCOUNT = "account", "An account: how it pays, so that no run collects from it"


class PayType(models.Model):
    """One kind of money or of account, known by its number to every biller (PAY-38: the guide's payment methods).

    Those up to ``LAST_RESERVED`` are fixed. ``tender`` is what a payment of the type is booked and told as; without one no
    payment can be recorded with it. An administrator's own may say what must be given: ``reference_pattern`` is a regular
    expression for the whole approval code, ``channels`` are where it may be taken (none: anywhere), amounts are in the
    biller's currency.
    """

    id = models.PositiveIntegerField("number", primary_key=True, editable=False)
    name = models.CharField(max_length=60, unique=True)
    use = models.CharField(max_length=7, choices=PayTypeUse, default=PayTypeUse.PAYMENT)
    tender = models.CharField(
        max_length=8, blank=True, help_text="As what the biller’s books and system take a payment of this type."
    )
    reference_pattern = models.CharField(
        max_length=100,
        blank=True,
        help_text="A regular expression that the whole reference must match, such as [A-Z]{2}[0-9]{6}. Empty: any.",
    )
    least = models.DecimalField(
        max_digits=14, decimal_places=2, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    most = models.DecimalField(
        max_digits=14, decimal_places=2, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    channels = ArrayField(
        models.PositiveSmallIntegerField(),
        default=list,
        blank=True,
        help_text="Where it may be taken. None chosen: anywhere.",
    )
    active = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(use="payment")
                | Q(tender="", reference_pattern="", channels=[], least__isnull=True, most__isnull=True),
                name="pay_type_of_account_takes_nothing",
            ),
            models.CheckConstraint(
                condition=Q(least__isnull=True) | Q(most__isnull=True) | Q(least__lte=F("most")),
                name="pay_type_amounts_in_order",
            ),
        ]
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name

    @property
    def reserved(self) -> bool:
        """Whether the number is one of the fixed ones."""
        return self.id <= LAST_RESERVED
