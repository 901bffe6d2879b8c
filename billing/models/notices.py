"""The outbox that tells payers: a notice is what must be said, a delivery is one channel that says it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.billers import Biller
from billing.models.customers import Customer
from billing.models.ids import UUID7
from billing.models.tenants import CustomerOwnedQuerySet


class NoticeKind(models.TextChoices):
    """What a payer is told of."""

    BILL_READY = "bill_ready", "Bill ready"
    RECEIPT = "receipt", "Receipt"
    AUTOPAY_ON = "autopay_on", "AutoPay on"
    AUTOPAY_OFF = "autopay_off", "AutoPay off"
    AUTOPAY_FAILED = "autopay_failed", "AutoPay failed"
    PAYMENT_FAILED = "payment_failed", "Payment failed"
    REFUNDED = "refunded", "Payment given back"
    RETURNED = "returned", "Payment returned"
    FEE = "fee", "Fee charged"
    FEE_WAIVED = "fee_waived", "Fee taken back"
    INACTIVE = "inactive", "Account set inactive"
    METHOD_DECLINED = "method_declined", "Payment method declined"
    METHOD_EXPIRED = "method_expired", "Card expired"
    SCHEDULED = "scheduled", "Payment scheduled"
    RESCHEDULED = "rescheduled", "Scheduled payment changed"
    UNSCHEDULED = "unscheduled", "Scheduled payment cancelled"
    SCHEDULED_FAILED = "scheduled_failed", "Scheduled payment failed"
    NOTHING_DUE = "nothing_due", "Scheduled payment not needed"
    PAPERLESS_ON = "paperless_on", "Paperless on"
    PAPERLESS_OFF = "paperless_off", "Paperless off"
    PREPAID_LOW = "prepaid_low", "Prepaid balance low"
    EMAIL_CHANGED = "email_changed", "E-mail address changed"
    PASSWORD_CHANGED = "password_changed", "Password changed"


class Notice(models.Model):
    """One thing that a customer must be told. ``key`` keeps the same thing from being said twice."""

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(
        Customer, on_delete=models.PROTECT, related_name="notices", db_index=False, db_constraint=False
    )
    kind = models.CharField(max_length=16, choices=NoticeKind)
    key = models.CharField(max_length=80)
    facts = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = CustomerOwnedQuerySet["Notice"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "key"], name="notice_once")]
        indexes = [models.Index(fields=["customer", "-created_at", "-id"], name="notice_by_customer")]

    def __str__(self) -> str:
        return self.get_kind_display()


class NoticeChannel(models.TextChoices):
    """How a payer is told."""

    EMAIL = "email", "E-mail"
    TEXT = "text", "Text"


class NoticeState(models.TextChoices):
    """Where a notice's delivery stands."""

    WAITING = "waiting", "Waiting"
    SENDING = "sending", "Sending"
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed"


class NoticeDelivery(models.Model):
    """One notice on one channel, until it is sent or has failed for good."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, db_index=False)
    notice = models.ForeignKey(Notice, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    channel = models.CharField(max_length=8, choices=NoticeChannel, default=NoticeChannel.EMAIL)
    address = models.CharField(max_length=254)
    state = models.CharField(max_length=8, choices=NoticeState, default=NoticeState.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    due_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=200, blank=True)
    subject = models.CharField(max_length=200, blank=True)
    text = models.TextField(blank=True, help_text="What was sent, as it was sent.")

    objects = CustomerOwnedQuerySet["NoticeDelivery"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["notice", "channel"], name="notice_delivery_once")]
        indexes = [
            models.Index(fields=["biller", "due_at", "id"], condition=Q(state="waiting"), name="notice_due_by_biller"),
            models.Index(fields=["claimed_at"], condition=Q(state="sending"), name="notice_being_sent"),
            models.Index(fields=["customer", "-id"], name="notice_delivery_by_customer"),
            models.Index(fields=["biller", "-id"], name="notice_delivery_by_biller"),
        ]
        verbose_name_plural = "notice deliveries"

    def __str__(self) -> str:
        return f"{self.get_channel_display()} {self.state}"
