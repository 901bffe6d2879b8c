"""Records of what the biller's system must hear, the changes they tell of, and each try to tell it."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.actors import Requestor
from billing.models import Biller, Customer
from billing.models.ids import UUID7
from billing.models.tenants import CustomerOwnedQuerySet, TenantQuerySet
from datapump.models.endpoints import Endpoint


class RecordType(models.IntegerChoices):
    """What a record tells; 11 and 12 have their numbers from the requirement (PBT-6), the others are ours."""

    PAYMENT = 1, "Payment"
    PAPERLESS = 2, "Paperless"
    AUTOPAY = 3, "AutoPay"
    SCHEDULED = 4, "Scheduled payment"
    REVERSAL = 5, "Reversal"
    FEE = 6, "Fee"
    INACTIVE = 7, "Account inactive"
    PAY_BY_TEXT = 11, "Pay by text"
    PENDING = 12, "Pending"


class RecordState(models.TextChoices):
    """Where a record stands; on hold is not stored, it follows from the records before."""

    WAITING = "waiting", "Waiting"
    SENDING = "sending", "Sending"
    RETRYING = "retrying", "Retrying"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"
    SKIPPED = "skipped", "Skipped"
    WITHHELD = "withheld", "Will not send"


LIVE = (RecordState.WAITING, RecordState.SENDING, RecordState.RETRYING)


class Outcome(models.TextChoices):
    """How one try ended; of a record, its last try where that was no success."""

    DELIVERED = "delivered", "Delivered"
    NOT_SENT = "not_sent", "Not sent"
    UNKNOWN = "unknown", "Unknown"
    REFUSED = "refused", "Refused"
    SETUP = "setup", "Set-up is wrong"


class OptionalSetting(models.IntegerChoices):
    """Whether a record tells of a first row or of a change to one (PBT-5)."""

    INSERTED = 0, "Inserted"
    UPDATED = 1, "Updated"


class Record(models.Model):
    """One update for the biller's system, written in the transaction that made it true.

    The ``id`` of a payment's record is the payment's own, so that a payment can be told only once. ``facts`` are what the
    connector writes; ``before`` and ``after`` are what a CSR reads. ``claimed_at`` is the lease of the delivery loop.
    """

    id = models.UUIDField(primary_key=True, db_default=UUID7(), editable=False)
    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, null=True, db_index=False, db_constraint=False)
    type = models.PositiveSmallIntegerField(choices=RecordType)
    optional_setting = models.PositiveSmallIntegerField(
        choices=OptionalSetting, default=OptionalSetting.INSERTED, db_default=OptionalSetting.INSERTED
    )
    state = models.CharField(max_length=9, choices=RecordState, default=RecordState.WAITING)
    requestor = models.PositiveSmallIntegerField(choices=[(r.value, r.name.title()) for r in Requestor])
    made_by = models.CharField(max_length=120)
    facts = models.JSONField(default=dict)
    before = models.CharField(max_length=120, blank=True)
    after = models.CharField(max_length=120, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    due_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    refusals = models.PositiveSmallIntegerField(default=0, db_default=0)
    delivered_at = models.DateTimeField(null=True)
    failure = models.CharField(max_length=300, blank=True, help_text="The last result, in words.")
    trouble = models.CharField(
        max_length=9, choices=Outcome, blank=True, default="", db_default="", help_text="What kind of failure it was."
    )
    closed_by = models.CharField(max_length=120, blank=True, help_text="Who skipped it.")

    objects = CustomerOwnedQuerySet["Record"].as_manager()

    # Set by reports on the rows of a page: the earlier update that this one waits behind.
    blocked_by: uuid.UUID | None = None

    class Meta:
        indexes = [
            # Without the id, which orders the few of one moment and would be a third of every entry: PostgreSQL sorts those
            # few as it reads.
            models.Index(fields=["biller", "created_at"], name="record_by_time"),
            models.Index(fields=["biller", "type", "state", "created_at"], name="record_by_type_and_state"),
            models.Index(fields=["biller", "customer", "created_at"], name="record_by_customer"),
            # Few have a trouble, so that theirs may hold all that a list of them is narrowed by, and is read alone.
            models.Index(
                fields=["biller", "trouble", "state", "created_at"],
                include=["id", "type", "requestor"],
                condition=~Q(trouble=""),
                name="record_by_trouble",
            ),
            models.Index(
                fields=["endpoint", "customer", "created_at"],
                condition=Q(state__in=["waiting", "sending", "retrying"]),
                name="record_live",
            ),
            models.Index(
                fields=["endpoint", "customer", "created_at"],
                condition=Q(state="failed"),
                name="record_failed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_type_display()} {self.id}"


class ChangeLog(models.Model):
    """One field that changed: old and new value, who asked and when. Without a record it belongs to no update (PBT-7)."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, db_index=False)
    record = models.ForeignKey(Record, on_delete=models.PROTECT, null=True, blank=True, related_name="change_logs")
    field = models.CharField(max_length=40)
    old = models.CharField(max_length=120, blank=True)
    new = models.CharField(max_length=120, blank=True)
    requestor = models.PositiveSmallIntegerField(choices=[(r.value, r.name.title()) for r in Requestor])
    made_by = models.CharField(max_length=120)
    at = models.DateTimeField(db_default=Now())

    objects = CustomerOwnedQuerySet["ChangeLog"].as_manager()

    class Meta:
        indexes = [models.Index(fields=["customer", "-at", "-id"], name="change_log_by_customer")]

    def __str__(self) -> str:
        return f"{self.field}: {self.old} → {self.new}"

    @property
    def datapump_id(self) -> str:
        """The id of the update that it belongs to; 0 where it belongs to none (PBT-7)."""
        return str(self.record_id or 0)


class Envelope(models.Model):
    """One call to an endpoint: what was sent and what came back, credentials masked. Aged out; its deliveries stay.

    ``failures`` is how many of its records it did not deliver.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    operation = models.CharField(max_length=60)
    at = models.DateTimeField()
    milliseconds = models.PositiveIntegerField()
    status = models.PositiveSmallIntegerField(null=True)
    request = models.TextField()
    answer = models.TextField(blank=True)
    failures = models.PositiveSmallIntegerField(default=0, db_default=0)

    objects = TenantQuerySet["Envelope"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["endpoint", "-at"], name="envelope_by_endpoint"),
            models.Index(fields=["endpoint", "-at"], condition=Q(failures__gt=0), name="envelope_failed"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.at:%Y-%m-%d %H:%M:%S}"


class Delivery(models.Model):
    """One try to tell one record, and how it ended. Its envelope may have been aged out."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    record = models.ForeignKey(
        Record, on_delete=models.PROTECT, related_name="deliveries", db_index=False, db_constraint=False
    )
    envelope = models.ForeignKey(Envelope, on_delete=models.DO_NOTHING, null=True, db_index=False, db_constraint=False)
    at = models.DateTimeField()
    milliseconds = models.PositiveIntegerField()
    status = models.PositiveSmallIntegerField(null=True)
    outcome = models.CharField(max_length=10, choices=Outcome)
    words = models.CharField(max_length=300, blank=True)

    objects = TenantQuerySet["Delivery"].as_manager()

    class Meta:
        indexes = [models.Index(fields=["record", "at"], name="delivery_by_record")]
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} {self.at:%Y-%m-%d %H:%M:%S}"
