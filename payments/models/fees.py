"""Fees: what billers charge for payments that fail or are returned and for late bills, by which rules, and what was waived."""

from __future__ import annotations

from decimal import Decimal
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing import formats
from billing.models import Biller, Customer, Invoice, Item
from billing.models.ids import UUID7
from billing.models.tenants import CustomerOwnedQuerySet, TenantQuerySet
from payments.models.payments import Payment


class FeeOccasion(models.TextChoices):
    """What a fee rule is for."""

    FAILED = "failed", "A payment is declined"
    RETURNED = "returned", "A bank returns a payment"
    BOTH = "both", "Both"


class Rule(models.Model):
    """What fee rules and late rules share: whom they are for, how much they charge, and in which words payers read it.

    A fee is an ``amount`` or a ``percent`` of what it is charged for, then at least ``least`` and at most ``most``. Without
    ``segments`` a rule is for every account.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, related_name="+", db_index=False)
    words = models.CharField(max_length=120, help_text="What payers read, such as “Returned payment fee”.")
    words_es = models.CharField(
        "words in Spanish",
        max_length=120,
        blank=True,
        default="",
        db_default="",
        help_text="What payers read who read Spanish. Empty: the same words.",
    )
    segments = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    amount = models.DecimalField(max_digits=14, decimal_places=2, null=True, blank=True)
    percent = models.DecimalField(max_digits=5, decimal_places=2, null=True, blank=True)
    least = models.DecimalField(max_digits=14, decimal_places=2, null=True, blank=True)
    most = models.DecimalField(max_digits=14, decimal_places=2, null=True, blank=True)
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.words

    @property
    def fee(self) -> str:
        """Say how much it charges, in words for staff; empty where it charges nothing."""
        currency = self.biller.currency
        if self.amount is not None:
            return formats.money(self.amount, currency)
        if self.percent is None:
            return ""
        parts = [f"{self.percent.normalize():f} %"]
        if self.least is not None:
            parts.append(f"at least {formats.money(self.least, currency)}")
        if self.most is not None:
            parts.append(f"at most {formats.money(self.most, currency)}")
        return ", ".join(parts)


# Exactly one of the two, and limits only of a percentage.
_CHARGES = Q(amount__gt=0, percent__isnull=True, least__isnull=True, most__isnull=True) | (
    Q(amount__isnull=True, percent__gt=0, percent__lte=100)
    & (Q(least__isnull=True) | Q(least__gt=0))
    & (Q(most__isnull=True) | Q(most__gt=0))
    & (Q(least__isnull=True) | Q(most__isnull=True) | Q(least__lte=F("most")))
)
_CHARGES_NOTHING = Q(amount__isnull=True, percent__isnull=True, least__isnull=True, most__isnull=True)


class FeeRule(Rule):
    """When a biller charges a fee for a payment that failed or was returned (PAY-36).

    What is empty is no condition: ``least_payment`` and ``most_payment`` (the payment's amount), ``tenders``, ``channels``,
    ``results`` (of declines) and ``return_codes`` (the banks' own). Failures that are not financial are never charged for.
    """

    occasion = models.CharField(max_length=8, choices=FeeOccasion)
    least_payment = models.DecimalField(max_digits=14, decimal_places=2, null=True, blank=True)
    most_payment = models.DecimalField(max_digits=14, decimal_places=2, null=True, blank=True)
    tenders = ArrayField(models.CharField(max_length=8), default=list, blank=True)
    channels = ArrayField(models.PositiveSmallIntegerField(), default=list, blank=True)
    results = ArrayField(models.PositiveSmallIntegerField(), default=list, blank=True)
    return_codes = ArrayField(models.CharField(max_length=64), default=list, blank=True)

    objects = TenantQuerySet["FeeRule"].as_manager()

    class Meta:
        constraints = [models.CheckConstraint(condition=_CHARGES, name="fee_rule_charges")]
        indexes = [models.Index(fields=["biller"], name="fee_rule_by_biller")]


class LateAction(models.TextChoices):
    """What a late rule does."""

    FEE = "fee", "Charge a fee"
    INACTIVE = "inactive", "Set the account inactive"


class LateRule(Rule):
    """What a biller does ``days`` days after the due date of a bill of which ``minimum`` or more is still owed (PAY-35).

    Only bills due on ``due_from`` or later are looked at, so that a new rule does not reach back.
    """

    action = models.CharField(max_length=8, choices=LateAction)
    days = models.PositiveSmallIntegerField()
    minimum = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.01"))
    due_from = models.DateField()

    objects = TenantQuerySet["LateRule"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=(Q(action="fee") & _CHARGES) | (Q(action="inactive") & _CHARGES_NOTHING),
                name="late_rule_charges",
            ),
            models.CheckConstraint(condition=Q(minimum__gt=0), name="late_rule_has_minimum"),
        ]
        indexes = [models.Index(fields=["biller"], name="late_rule_by_biller")]


class LateBill(models.Model):
    """What a late rule did about one bill, once; ``owed`` is what was still owed of it then.

    The ``id`` is that of the record by which the biller's system hears that the account is inactive.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="late_bills")
    rule = models.ForeignKey(LateRule, on_delete=models.PROTECT, related_name="bills")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="late_bills", db_index=False)
    owed = models.DecimalField(max_digits=14, decimal_places=2)
    day = models.DateField(help_text="The biller's business day.")
    done_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = CustomerOwnedQuerySet["LateBill"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["invoice", "rule"], name="late_bill_once_per_rule")]

    def __str__(self) -> str:
        return f"{self.owed} late on {self.day}"


class FeeQuerySet(CustomerOwnedQuerySet["Fee"]):
    """What can be asked of fees."""

    def open(self) -> Self:
        """Narrow to those of which something is still owed; oldest first."""
        return self.exclude(item__open=0).select_related("item").order_by("item_id")


class Fee(models.Model):
    """One fee that a customer was charged, beside the bills: for a payment by a fee rule, or for a late bill.

    The ``id`` is that of the record by which the biller's system hears of it; the amount is the item's. ``words`` are the
    rule's and ``reason`` what happened, all as they were then.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="fees", db_index=False)
    item = models.OneToOneField(Item, on_delete=models.PROTECT, related_name="fee")
    rule = models.ForeignKey(FeeRule, on_delete=models.PROTECT, null=True, related_name="fees")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, null=True, related_name="fees", db_index=False)
    late_bill = models.OneToOneField(LateBill, on_delete=models.PROTECT, null=True, related_name="fee")
    words = models.CharField(max_length=120)
    words_es = models.CharField("words in Spanish", max_length=120, blank=True, default="", db_default="")
    reason = models.CharField(max_length=200)
    charged_at = models.DateTimeField(editable=False)

    objects = FeeQuerySet.as_manager()

    class Meta:
        constraints = [
            # Once for each failed payment and rule, whoever finds it failed (invariant 48).
            models.UniqueConstraint(fields=["payment", "rule"], name="fee_once_per_payment_and_rule"),
            models.CheckConstraint(
                condition=Q(payment__isnull=False, rule__isnull=False, late_bill__isnull=True)
                | Q(payment__isnull=True, rule__isnull=True, late_bill__isnull=False),
                name="fee_is_for_something",
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "-charged_at", "-id"], name="fee_by_customer"),
            models.Index(fields=["biller", "-charged_at", "-id"], name="fee_by_time"),
        ]

    def __str__(self) -> str:
        return self.words

    @property
    def spoken(self) -> str:
        """What the payer reads, in the language spoken now."""
        return formats.spoken(self.words, self.words_es)


class FeeWaiverQuerySet(CustomerOwnedQuerySet["FeeWaiver"]):
    """What can be asked of waivers."""

    def open(self) -> Self:
        """Narrow to those that are still to the customer's credit; oldest first."""
        return self.exclude(item__open=0).select_related("item", "fee").order_by("item_id")


class FeeWaiver(models.Model):
    """A fee that was taken back: an item of its own that the customer is credited.

    ``set_off`` is how much of it closed the fee itself; the rest is the customer's credit. The ``id`` is that of its record.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="fee_waivers")
    fee = models.OneToOneField(Fee, on_delete=models.PROTECT, related_name="waiver")
    item = models.OneToOneField(Item, on_delete=models.PROTECT, related_name="fee_waiver")
    set_off = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"))
    reason = models.CharField(max_length=200)
    made_by = models.CharField(max_length=120)
    waived_at = models.DateTimeField(editable=False)

    objects = FeeWaiverQuerySet.as_manager()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(set_off__gte=0), name="fee_waiver_set_off_is_positive")]

    def __str__(self) -> str:
        return self.reason
