"""Verifications: asking a processor whether a method is good, without taking money for it."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Biller, Customer
from billing.models.ids import UUID7
from billing.models.tenants import CustomerOwnedQuerySet, TenantQuerySet
from payments.models.instruments import Instrument, InstrumentKind
from payments.models.payments import CHECKPOINT
from payments.models.routes import Route


class MethodRules(models.Model):
    """What a biller asks of methods before they are charged (PAY-14 to PAY-16, PAY-18); without a row, what a new one says."""

    biller = models.OneToOneField(Biller, on_delete=models.CASCADE, related_name="method_rules")
    verify_cards = models.BooleanField(default=True)
    verify_banks = models.BooleanField(default=True)
    require_cvv = models.BooleanField(default=True)
    bank_days = models.PositiveSmallIntegerField(
        null=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="A bank account that was not verified for so many days is verified again before it is charged.",
    )

    objects = TenantQuerySet["MethodRules"].as_manager()

    class Meta:
        verbose_name_plural = "method rules"

    def __str__(self) -> str:
        return f"Method rules of {self.biller_id}"


class Check(models.TextChoices):
    """What a processor can check beside the number."""

    AVS = "avs", "Address"
    CVV = "cvv", "Security code"


class CheckAnswer(models.Model):
    """What an answer to a check means to us, in the card networks' letters: an administrator edits these (PAY-14).

    A letter that is not here fails its check.
    """

    # What a letter can mean: the method passes, or fails by address, country, ZIP code or security code.
    RESULTS = (0, 2, 3, 4, 12)

    about = models.CharField(max_length=3, choices=Check)
    answer = models.CharField(max_length=2, help_text="The networks’ letter, such as Y or N.")
    result = models.PositiveSmallIntegerField(help_text="0 lets the method pass; 2, 3, 4 and 12 refuse it.")
    words = models.CharField(max_length=120, help_text="What it means, for staff.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["about", "answer"], name="check_answer_once"),
            models.CheckConstraint(condition=Q(result__in=[0, 2, 3, 4, 12]), name="check_answer_result"),
        ]

    def __str__(self) -> str:
        return f"{self.about} {self.answer}"


class VerificationPurpose(models.TextChoices):
    """Why a method was verified (PAY-15)."""

    ENROLMENT = "enrolment", "Put on file"
    PAYMENT = "payment", "One payment"
    RENEWAL = "renewal", "Verified again"


class VerificationState(models.TextChoices):
    """What became of a verification."""

    OPEN = "open", "No answer"
    PASSED = "passed", "Passed"
    FAILED = "failed", "Failed"
    ABANDONED = "abandoned", "Given up"


class Verification(models.Model):
    """One question to a processor about one method, committed before it is asked (PAY-2, PAY-14).

    ``id`` is our reference at the processor. Of a method that failed only ``masked`` is kept, asterisks and the last four
    digits, and never a token (PAY-17). ``amount`` is zero, or that of the small authorization that is never deposited where
    the processor has no other way. ``avs`` and ``cvv`` are what it said of address and security code, in the networks' letters.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="verifications", db_index=False)
    route = models.ForeignKey(Route, on_delete=models.PROTECT, related_name="+", db_index=False)
    instrument = models.ForeignKey(
        Instrument, null=True, on_delete=models.PROTECT, related_name="verifications", db_index=False
    )
    kind = models.CharField(max_length=4, choices=InstrumentKind)
    brand = models.CharField(max_length=30, blank=True)
    masked = models.CharField(max_length=20)
    purpose = models.CharField(max_length=9, choices=VerificationPurpose)
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    state = models.CharField(max_length=9, choices=VerificationState, default=VerificationState.OPEN)
    result = models.PositiveSmallIntegerField(default=CHECKPOINT)
    avs = models.CharField(max_length=2, blank=True)
    cvv = models.CharField(max_length=2, blank=True)
    message = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True)

    objects = CustomerOwnedQuerySet["Verification"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="verification_result_fits_state",
                condition=Q(state__in=["open", "abandoned"], result=CHECKPOINT)
                | Q(state="passed", result=0)
                | (Q(state="failed", result__lt=CHECKPOINT) & ~Q(result=0)),
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "-created_at"], name="verification_by_customer"),
            models.Index(fields=["biller", "created_at"], condition=Q(state="open"), name="verification_open"),
        ]

    def __str__(self) -> str:
        return f"{(self.brand or self.get_kind_display()).title()} {self.masked}"
