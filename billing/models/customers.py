"""Customers: the accounts that owe."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models.functions import Lower, Now

from billing.models.billers import Biller, CollectRule
from billing.models.pay_types import PayType
from billing.models.tenants import TenantQuerySet


class CustomerStatus(models.TextChoices):
    """Whether an account is served; inactive and closed ones are collected by runs of their own."""

    ACTIVE = "active", "Active"
    INACTIVE = "inactive", "Inactive"
    CLOSED = "closed", "Closed"


class CustomerQuerySet(TenantQuerySet["Customer"]):
    """Customers, which their linked payers may see."""

    path_to_customer = "pk"


class Customer(models.Model):
    """One account at a biller. ``number`` is base-sub as the invoice file writes it; ``balance`` is kept equal to its open items.

    A positive balance is owed; a negative one is a credit.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, related_name="customers", db_index=False)
    number = models.CharField("account number", max_length=40)
    display_number = models.CharField(max_length=40, blank=True)
    base = models.CharField(max_length=20, blank=True)
    sub = models.CharField(max_length=20, blank=True)
    name = models.CharField(max_length=120)
    address1 = models.CharField(max_length=120, blank=True)
    address2 = models.CharField(max_length=120, blank=True)
    city = models.CharField(max_length=60, blank=True)
    state = models.CharField(max_length=40, blank=True)
    zip = models.CharField("ZIP code", max_length=12, blank=True)
    phone = models.CharField(
        max_length=20,
        blank=True,
        help_text="E.164. From the invoice file; never used for texts.",
    )
    email = models.EmailField(blank=True)
    language = models.CharField(max_length=2, default="en", choices=[("en", "English"), ("es", "Español")])
    service_location = models.CharField(max_length=40, blank=True)
    status = models.CharField(max_length=8, choices=CustomerStatus, default=CustomerStatus.ACTIVE)
    segment = models.CharField(
        max_length=20,
        blank=True,
        db_default="",
        help_text="The biller's own word for a kind of customer, by which rules of fees tell them apart.",
    )
    paperless = models.BooleanField(default=False)
    blocks_card = models.BooleanField("card payments blocked", default=False)
    blocks_bank = models.BooleanField("bank account payments blocked", default=False)
    cis_blocks_card = models.BooleanField(
        "card payments blocked by the biller’s system", default=False, db_default=False, editable=False
    )
    cis_blocks_bank = models.BooleanField(
        "bank account payments blocked by the biller’s system", default=False, db_default=False, editable=False
    )
    prepaid_threshold = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        null=True,
        blank=True,
        help_text="A prepaid balance below it makes a notice; empty: the biller’s own.",
    )
    collect_rule = models.CharField(
        max_length=12,
        choices=CollectRule,
        blank=True,
        help_text="Empty: the biller's rule (PAY-12).",
    )
    collect_days = models.PositiveSmallIntegerField(null=True, blank=True)
    pay_type = models.ForeignKey(
        PayType,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        limit_choices_to={"use": "account"},
        help_text="How the account pays, where no run may collect from it (PAY-38). Empty: as it is enrolled.",
    )
    balance = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"), editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    # Equality and ranges on a stored column may use an index below row security; lower(name) may not.
    search_name = models.GeneratedField(
        expression=Lower("name"),
        output_field=models.CharField(max_length=120),
        db_persist=True,
    )
    # The last word of the name, by which people are asked for on the telephone.
    search_surname = models.GeneratedField(
        expression=models.Func(
            Lower("name"),
            models.Value(r"^.*\s(?=\S)"),
            models.Value(""),
            function="regexp_replace",
            output_field=models.TextField(),
        ),
        output_field=models.CharField(max_length=120),
        db_persist=True,
    )

    objects = CustomerQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "number"], name="customer_number_once")]
        indexes = [
            models.Index(fields=["biller", "search_name", "id"], name="customer_by_name"),
            models.Index(fields=["biller", "search_surname", "id"], name="customer_by_surname"),
            models.Index(
                fields=["biller", "email"],
                name="customer_by_email",
                condition=~models.Q(email=""),
            ),
            models.Index(
                fields=["biller", "phone"],
                name="customer_by_phone",
                condition=~models.Q(phone=""),
            ),
            models.Index(
                fields=["biller", "display_number"],
                name="customer_by_display_number",
                condition=~models.Q(display_number=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.shown_number})"

    @property
    def shown_number(self) -> str:
        """The account number as people know it."""
        return self.display_number or self.number

    def blocks(self, kind: str) -> bool:
        """Tell whether the account may not be paid with a kind of method, ``card`` or ``bank``, whoever says so (MSP-4, MSP-25)."""
        if kind == "card":
            return self.blocks_card or self.cis_blocks_card
        return self.blocks_bank or self.cis_blocks_bank
