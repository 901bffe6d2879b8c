"""Reversals: money of a payment that goes back."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.actors import Requestor
from billing.models import Biller, Customer
from billing.models.ids import UUID7
from billing.models.tenants import CustomerOwnedQuerySet, TenantQuerySet
from payments.models.payments import Attempt, Payment
from payments.models.routes import Route


class ReversalKind(models.TextChoices):
    """How money goes back, or comes again."""

    VOID = "void", "Voided"
    REFUND = "refund", "Refunded"
    RETURN = "return", "Returned by the bank"
    CHARGEBACK = "chargeback", "Charged back"
    WON = "won", "Chargeback won"


class ReversalState(models.TextChoices):
    """Where it stands; what a processor tells us of has happened already."""

    PROCESSING = "processing", "Processing"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class Reversal(models.Model):
    """Money of one payment that goes back: given back by us, returned by a bank, or charged back (PAY-32, PAY-33).

    ``amount`` opens again what the payment paid, ``fee`` is what goes back of its fee, and ``loss`` what went back beyond
    both and is the biller's loss. ``charged`` is the part of the amount for which no bill could be opened again, so that it is
    due by itself. ``attempt`` is ours to the processor; ``reference`` is the processor's name of what it told us of.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="reversals", db_index=False)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="reversals")
    route = models.ForeignKey(Route, on_delete=models.PROTECT, db_index=False)
    attempt = models.OneToOneField(Attempt, on_delete=models.PROTECT, null=True, related_name="reversal")
    kind = models.CharField(max_length=10, choices=ReversalKind)
    state = models.CharField(max_length=10, choices=ReversalState, default=ReversalState.PROCESSING)
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    fee = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"))
    loss = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"))
    charged = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"))
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=200)
    code = models.CharField(max_length=64, blank=True, help_text="The bank's or the network's own.")
    reference = models.CharField(max_length=64, blank=True)
    requestor = models.PositiveSmallIntegerField(choices=[(r.value, r.name.title()) for r in Requestor])
    made_by = models.CharField(max_length=120)
    user_id = models.BigIntegerField(null=True)
    request_key = models.CharField(max_length=64, null=True)
    request_hash = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    settled_at = models.DateTimeField(null=True)
    posting_id = models.BigIntegerField(null=True)
    result = models.PositiveSmallIntegerField(null=True)
    failure = models.CharField(max_length=200, blank=True)

    objects = CustomerOwnedQuerySet["Reversal"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="reversal_is_positive",
                condition=Q(amount__gte=0, fee__gte=0, loss__gte=0, charged__gte=0, charged__lte=F("amount"))
                & (Q(amount__gt=0) | Q(fee__gt=0) | Q(loss__gt=0)),
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | Q(posting_id__isnull=False), name="reversal_done_has_posting"
            ),
            models.UniqueConstraint(
                fields=["biller", "request_key"], condition=Q(request_key__isnull=False), name="reversal_request_once"
            ),
            models.UniqueConstraint(
                fields=["route", "reference", "payment"], condition=~Q(reference=""), name="reversal_told_once"
            ),
        ]
        indexes = [
            models.Index(fields=["biller", "-created_at", "-id"], name="reversal_by_time"),
            models.Index(fields=["customer", "-created_at"], name="reversal_by_customer"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.total}"

    @property
    def total(self) -> Decimal:
        """What moves at the processor."""
        return self.amount + self.fee + self.loss


class ReversalDebit(models.Model):
    """An item that is due because of a reversal, where no bill could be opened again for it."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    reversal = models.ForeignKey(Reversal, on_delete=models.PROTECT, related_name="debits")
    item = models.OneToOneField("billing.Item", on_delete=models.PROTECT, primary_key=True, related_name="+")

    objects = TenantQuerySet["ReversalDebit"].as_manager()

    def __str__(self) -> str:
        return f"Debit of {self.reversal_id}"
