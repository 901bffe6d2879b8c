"""Methods of payment on file: a processor's token and what may be shown of it."""

from __future__ import annotations

import datetime

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Biller, Customer
from billing.models.ids import UUID7
from billing.models.tenants import CustomerOwnedQuerySet
from payments.models.routes import Route


class InstrumentKind(models.TextChoices):
    """What a method of payment is."""

    CARD = "card", "Card"
    BANK = "bank", "Bank account"


class InstrumentState(models.TextChoices):
    """Whether a method can be charged."""

    ACTIVE = "active", "Active"
    ONE_TIME = "one_time", "Used once"
    REMOVED = "removed", "Removed"
    BAD = "bad", "Declined for good"


class DebitMethod(models.TextChoices):
    """How the holder of a bank account agreed to be debited, in the processors' letters (PAY-18)."""

    INTERNET = "I", "On the internet"
    TELEPHONE = "T", "By telephone"
    WRITTEN = "W", "In writing"
    POINT_OF_PURCHASE = "P", "By check, at the counter"
    RECEIVABLE = "A", "By check, by mail"


class InstrumentQuerySet(CustomerOwnedQuerySet["Instrument"]):
    """Methods of payment, which their customer's payers may see."""

    def on_file(self) -> InstrumentQuerySet:
        """Narrow to methods that their customer keeps, usable or not."""
        return self.filter(state__in=[InstrumentState.ACTIVE, InstrumentState.BAD])

    def usable(self, today: datetime.date) -> InstrumentQuerySet:
        """Narrow to methods that can be charged on that day, by a route that takes them."""
        served = Q(kind=InstrumentKind.CARD, route__tenders__contains=["card"])
        served |= Q(kind=InstrumentKind.BANK, route__tenders__contains=["ach"])
        return self.filter(
            served,
            Q(expires_on__isnull=True) | Q(expires_on__gte=today),
            state=InstrumentState.ACTIVE,
            route__active=True,
        )


class Instrument(models.Model):
    """One card or bank account of a customer, as a token that ends in its last four digits (PAY-17).

    ``declined_at`` is when a charge of its token was last declined, at whichever account. After a hard decline it is ``bad``,
    and nothing charges it until its payer or a CSR confirms or replaces it (PAY-5). ``verified_at`` is when the processor last
    found it good. A bank account says how its holder agreed, and what of it the processor wants to know (PAY-18).
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="instruments")
    route = models.ForeignKey(Route, on_delete=models.PROTECT, related_name="instruments")
    kind = models.CharField(max_length=4, choices=InstrumentKind)
    token = models.CharField(max_length=120)
    brand = models.CharField(max_length=30, blank=True)
    last4 = models.CharField(max_length=4)
    holder = models.CharField(max_length=120, blank=True)
    expires_on = models.DateField(null=True, blank=True)
    nickname = models.CharField(max_length=40, blank=True)
    state = models.CharField(max_length=8, choices=InstrumentState, default=InstrumentState.ACTIVE)
    is_default = models.BooleanField(default=False)
    declined_at = models.DateTimeField(null=True, editable=False)
    verified_at = models.DateTimeField(null=True, editable=False)
    debit_method = models.CharField(max_length=1, choices=DebitMethod, blank=True, db_default="")
    debit_facts = models.JSONField(default=dict, blank=True, db_default={})
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = InstrumentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer"], condition=Q(is_default=True, state="active"), name="one_default_instrument"
            ),
        ]
        indexes = [
            models.Index(fields=["biller", "id"], name="instrument_by_biller"),
            models.Index(fields=["biller", "token"], name="instrument_by_token"),
        ]

    def __str__(self) -> str:
        return f"{(self.brand or self.get_kind_display()).title()} •••• {self.last4}"

    @property
    def served(self) -> bool:
        """Whether its route takes methods of its kind: direct debit is turned off where it does not take them (PAY-18)."""
        return self.route.active and ("card" if self.kind == InstrumentKind.CARD else "ach") in self.route.tenders

    @property
    def purged(self) -> bool:
        """Whether its token is gone: nothing can be charged or refunded with it (PAY-17)."""
        return self.token.startswith("*")

    def expired(self, today: datetime.date) -> bool:
        """Say whether a card's last month is over."""
        return self.expires_on is not None and self.expires_on < today
