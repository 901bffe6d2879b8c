"""Payments, the attempts to move their money, and the allocations that tie them to items."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Self

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing import formats
from billing.actors import Requestor
from billing.models import Biller, Customer, PayType
from billing.models.ids import UUID7
from billing.models.tenants import CustomerOwnedQuerySet, TenantQuerySet
from payments.models.instruments import Instrument
from payments.models.routes import Route


class PaymentState(models.TextChoices):
    """Where a payment stands."""

    PROCESSING = "processing", "Processing"
    AUTHORIZED = "authorized", "Authorized"
    POSTED = "posted", "Paid"
    FAILED = "failed", "Failed"
    REVERSED = "reversed", "Reversed"


class Tender(models.TextChoices):
    """What was paid with, as the biller's system hears it."""

    CARD = "card", "Card"
    ACH = "ach", "Bank account"
    ECHECK = "echeck", "eCheck"
    CASH = "cash", "Cash"


# The pay type of a payment whose tender says it all (PAY-38).
PAY_TYPE_OF: dict[str, int] = {Tender.CARD: 10003, Tender.ACH: 10005, Tender.CASH: 10011, Tender.ECHECK: 10012}


# That of one that was posted before its bank had confirmed it, and failed (PAY-34).
FAILED_TYPE = 10017


class Channel(models.IntegerChoices):
    """Where a payment was made (PAY-44)."""

    UNSPECIFIED = 0, "Unspecified"
    WEB = 1, "Customer portal"
    CSR = 2, "Biller portal"
    AUTOPAY = 3, "AutoPay"
    SCHEDULED = 4, "Scheduled"
    TEXT = 5, "Text"
    API = 6, "API"
    IVR = 7, "Phone (IVR)"
    OUTBOUND_CALL = 8, "Outbound call"
    KIOSK = 9, "Kiosk"
    LOCKBOX = 10, "Lockbox"
    GUEST = 11, "Guest pay"


class PaymentQuerySet(CustomerOwnedQuerySet["Payment"]):
    """Payments, which their customer's payers may see."""

    def of_pay_type(self, number: int) -> Self:
        """Narrow to the payments of a pay type, by its number."""
        tender = next((one for one, own in PAY_TYPE_OF.items() if own == number), None)
        if tender is None:
            return self.filter(other_type=number)
        return self.filter(tender=tender, other_type__isnull=True)

    def charged_with(self, payment: Payment) -> Self:
        """Narrow to the payments that one attempt moved together with this one, itself among them; none where it went alone."""
        mates = self.filter(group_id__isnull=False, group_id=payment.group_id)
        return mates.select_related("customer").order_by("customer__number", "pk")


class Payment(models.Model):
    """Money that a customer gives. ``id`` is the payment's GUID for good, at the biller's system too.

    ``amount`` is without the convenience ``fee``: it is what pays items and what the biller's system hears (MSP-6).
    ``posting_id`` names the posting that booked it, whose day is the biller's business day of the payment.
    ``request_key`` is the caller's: the same key again is the same payment, with other input an error.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(
        Customer, on_delete=models.PROTECT, related_name="payments", db_index=False, db_constraint=False
    )
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, null=True, db_index=False, db_constraint=False)
    route = models.ForeignKey(Route, on_delete=models.PROTECT, null=True, db_index=False, db_constraint=False)
    tender = models.CharField(max_length=8, choices=Tender)
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    fee = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"), db_default=Decimal("0.00"))
    currency = models.CharField(max_length=3)
    state = models.CharField(max_length=10, choices=PaymentState, default=PaymentState.PROCESSING)
    channel = models.PositiveSmallIntegerField(choices=Channel)
    requestor = models.PositiveSmallIntegerField(choices=[(r.value, r.name.title()) for r in Requestor])
    made_by = models.CharField(max_length=120)
    user_id = models.BigIntegerField(null=True)
    email = models.EmailField(blank=True, help_text="Where a guest wants the receipt.")
    language = models.CharField(
        max_length=5, blank=True, db_default="", help_text="In which a guest paid; else the customer's own is used."
    )
    run_id = models.BigIntegerField(null=True)
    chunk_id = models.BigIntegerField(null=True)
    request_key = models.CharField(max_length=64, null=True)
    request_hash = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    settled_at = models.DateTimeField(null=True)
    posting_id = models.BigIntegerField(null=True)
    result = models.PositiveSmallIntegerField(null=True)
    failure = models.CharField(max_length=200, blank=True)
    approval_code = models.CharField(max_length=60, blank=True)
    kiosk = models.CharField(
        max_length=40, blank=True, db_default="", help_text="The kiosk's id, as its maker gave it (MSP-9)."
    )
    group_id = models.UUIDField(
        null=True, help_text="The first payment of those that one attempt moves together; empty where it goes alone."
    )

    undone = models.DecimalField(
        max_digits=14, decimal_places=2, null=True, help_text="How much of the amount went back; empty where none did."
    )

    other_type = models.ForeignKey(
        PayType,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
        help_text="Its pay type, where that is not the tender's own.",
    )

    objects = PaymentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0, fee__gte=0), name="payment_is_positive"),
            models.CheckConstraint(
                # Nothing more than was paid can go back (PAY-32).
                condition=Q(undone__isnull=True) | Q(undone__gte=0, undone__lte=F("amount")),
                name="payment_undone_within_amount",
            ),
            models.CheckConstraint(
                condition=~Q(state="posted") | Q(posting_id__isnull=False), name="posted_payment_has_posting"
            ),
            models.UniqueConstraint(
                fields=["biller", "request_key"], condition=Q(request_key__isnull=False), name="payment_request_once"
            ),
        ]
        indexes = [
            # None of these has the state in it, so that settling a payment touches no index; ascending, so that new
            # payments go to the end of each biller's part.
            models.Index(fields=["biller", "created_at"], name="payment_by_time"),
            models.Index(fields=["customer", "created_at"], name="payment_by_customer"),
            models.Index(fields=["biller", "email"], condition=~Q(email=""), name="payment_by_email"),
            # Postings rise with time as payments do: a few pages say where those of some days are.
            BrinIndex(fields=["posting_id"], pages_per_range=32, name="payment_by_posting"),
            models.Index(fields=["group_id"], condition=Q(group_id__isnull=False), name="payment_by_group"),
        ]

    def __str__(self) -> str:
        return f"Payment {self.confirmation}"

    @property
    def total(self) -> Decimal:
        """What the processor is asked for: the amount with the fee."""
        return self.amount + self.fee

    @property
    def pay_type_id(self) -> int:
        """The number of its pay type (PAY-38)."""
        return self.other_type_id or PAY_TYPE_OF[self.tender]

    @property
    def pay_type(self) -> str:
        """Its pay type in words."""
        return str(self.other_type or self.get_tender_display())

    @property
    def leading_id(self) -> uuid.UUID:
        """The payment that has the attempts: its own, or those of the first payment of its group."""
        return self.group_id or self.pk

    @property
    def confirmation(self) -> str:
        """The confirmation number: the first fifteen digits of the id that tell payments apart, in groups of five."""
        return confirmation_of(self.id)


def confirmation_of(payment_id: uuid.UUID) -> str:
    """Give a payment's confirmation number."""
    return formats.confirmation(payment_id)


class AttemptState(models.TextChoices):
    """Where an attempt stands."""

    OPEN = "open", "Open"
    ANSWERED = "answered", "Answered"
    APPLIED = "applied", "Applied"
    ABANDONED = "abandoned", "Abandoned"


CHECKPOINT = 999


class AttemptQuerySet(TenantQuerySet["Attempt"]):
    """Attempts, and which of them are unfinished."""

    def unfinished(self) -> Self:
        """Narrow to attempts that are open or answered: 999, and everything at 1000 or above (PAY-3)."""
        return self.filter(pk__in=Checkpoint.objects.values("attempt_id"))


ANSWERED_OFFSET = 1000


class Attempt(models.Model):
    """One message about money to a processor; its ``id`` is our reference there and the key of every resend (PAY-1, PAY-2).

    It moves its payment, or all ``covers`` payments of the group whose first payment that is (MSP-26).
    ``result`` is 999 from before the processor is spoken to, 1000 + code once it answered, the code once the payment is
    recorded. While it is open or answered it has a :class:`Checkpoint`.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    payment = models.ForeignKey(
        Payment, on_delete=models.PROTECT, related_name="attempts", db_index=False, db_constraint=False
    )
    route = models.ForeignKey(Route, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    command = models.CharField(max_length=10)
    transaction_type = models.CharField(max_length=10)
    sequence = models.PositiveSmallIntegerField(default=1, db_default=1)
    covers = models.PositiveSmallIntegerField(default=1, db_default=1)
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    state = models.CharField(max_length=9, choices=AttemptState, default=AttemptState.OPEN)
    result = models.PositiveSmallIntegerField(default=CHECKPOINT, db_default=CHECKPOINT)
    approval_code = models.CharField(max_length=60, blank=True)
    processor_reference = models.CharField(max_length=60, blank=True)
    message = models.CharField(max_length=200, blank=True)
    voided = models.BooleanField(
        null=True, help_text="Of a refund: whether the charge was taken back before it settled."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    sent_at = models.DateTimeField(null=True, help_text="When it was last sent; the settle time counts from here.")
    answered_at = models.DateTimeField(null=True)
    looked_up_at = models.DateTimeField(null=True)
    lookups = models.PositiveSmallIntegerField(default=0, db_default=0)

    objects = AttemptQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="attempt_result_fits_state",
                condition=Q(state__in=["open", "abandoned"], result__in=[777, 888, 999])
                | Q(state="answered", result__gte=ANSWERED_OFFSET, result__lt=2 * ANSWERED_OFFSET)
                | Q(state="applied", result__lt=CHECKPOINT),
            ),
        ]
        indexes = [models.Index(fields=["payment"], name="attempt_by_payment")]

    def __str__(self) -> str:
        return f"{self.command} {self.amount}"


class Checkpoint(models.Model):
    """The mark of a payment with an unfinished attempt: made with the attempt, taken away when it has its effect.

    Its key makes a second live attempt of the same payment impossible, and the table is the list of what recovery must
    look at: short, however many attempts there ever were, so that attempts themselves need no index on their state.
    """

    payment = models.OneToOneField(
        Payment, on_delete=models.PROTECT, primary_key=True, related_name="checkpoint", db_constraint=False
    )
    attempt = models.ForeignKey(
        Attempt, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False, db_constraint=False)

    objects = TenantQuerySet["Checkpoint"].as_manager()

    def __str__(self) -> str:
        return f"Checkpoint of {self.payment_id}"


class AllocationState(models.TextChoices):
    """Whether an allocation holds, pays or has let go."""

    PENDING = "pending", "Pending"
    POSTED = "posted", "Posted"
    VOID = "void", "Void"


class Allocation(models.Model):
    """A part of a payment that settles an item: pending holds the item's money, posted pays it, void lets go."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    payment = models.ForeignKey(
        Payment, on_delete=models.PROTECT, related_name="allocations", db_index=False, db_constraint=False
    )
    item = models.ForeignKey(
        "billing.Item", on_delete=models.PROTECT, related_name="allocations", db_index=False, db_constraint=False
    )
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    state = models.CharField(max_length=7, choices=AllocationState, default=AllocationState.PENDING)

    objects = TenantQuerySet["Allocation"].as_manager()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="allocation_is_positive")]
        indexes = [
            models.Index(fields=["payment"], name="allocation_by_payment"),
            models.Index(fields=["item"], name="allocation_by_item"),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.state}"
