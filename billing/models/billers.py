"""Billers and their numbered settings."""

from __future__ import annotations

import datetime
import uuid
import zoneinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models.functions import Now

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from billing.models.users import User


# A name without scheme or path, with its port where that is not the usual one.
RETURN_HOST = (
    r"^(?=[^:]{1,113}(:|$))[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[1-9][0-9]{0,4})?\Z"
)


class CollectRule(models.TextChoices):
    """When AutoPay collects a bill (PAY-12)."""

    FINALIZED = "finalized", "When the bill is made"
    DUE = "due", "On its due date"
    BEFORE_DUE = "before_due", "Days before its due date"


class GuestSecret(models.TextChoices):
    """What a guest must know beside the account number to see a bill."""

    ZIP = "zip", "ZIP code of the account"
    PHONE = "phone", "Last four digits of the phone number"
    LAST_AMOUNT = "amount", "Amount of the latest bill"


class BillerQuerySet(models.QuerySet["Biller"]):
    """Billers, narrowed to those a user has to do with."""

    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Narrow to the billers whose staff or payer the user is."""
        if not user.is_authenticated:
            return self.none()
        if user.is_superuser:
            return self
        return self.filter(pk__in=user.biller_ids)


class Biller(models.Model):
    """One utility or other sender of bills: the tenant. ``guid`` and ``number`` (its BID) name it in invoice files."""

    guid = models.UUIDField("GUID", unique=True, default=uuid.uuid4)
    number = models.PositiveIntegerField("BID", unique=True, help_text="Begins the names of its invoice files.")
    name = models.CharField(max_length=120)
    slug = models.SlugField(unique=True, help_text="The biller's address in the customer portal.")
    time_zone = models.CharField(
        max_length=64,
        default="America/New_York",
        choices=[(zone, zone) for zone in sorted(zoneinfo.available_timezones())],
    )
    currency = models.CharField(max_length=3, default="USD", validators=[RegexValidator(r"^[A-Z]{3}$")])
    cut_off = models.TimeField(
        default=datetime.time(0, 0),
        help_text="Payments from this time of day on count for the next business day; midnight means calendar days.",
    )
    logo = models.FileField(upload_to="logos/", blank=True)
    accent = models.CharField(
        max_length=7,
        default="#0b5394",
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$")],
    )
    phone = models.CharField(max_length=20, blank=True)
    email = models.EmailField(blank=True)
    charging_stopped = models.BooleanField(
        default=False,
        help_text="Nothing is charged while this is on: no run, no portal payment.",
    )
    restored_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When the database turned out to be restored. Nothing is charged until it is reconciled.",
    )
    reconcile_since = models.DateTimeField(
        null=True, editable=False, help_text="From when on charges are to be compared with the processors'."
    )
    allow_partial_payments = models.BooleanField(default=True)
    allow_scheduled_payments = models.BooleanField(
        default=True,
        db_default=True,
        help_text="Payers and CSRs may have a payment made on a later day.",
    )
    minimum_collected = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        default=Decimal("2.00"),
        validators=[MinValueValidator(Decimal("0.01"))],
    )
    prepaid_least = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        default=Decimal("5.00"),
        db_default=Decimal("5.00"),
        validators=[MinValueValidator(Decimal("0.01"))],
        help_text="The least that a payer may add to a prepaid account at once.",
    )
    prepaid_most = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        default=Decimal("1000.00"),
        db_default=Decimal("1000.00"),
        validators=[MinValueValidator(Decimal("0.01"))],
        help_text="The most that a payer may add to a prepaid account at once.",
    )
    prepaid_threshold = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        null=True,
        blank=True,
        default=Decimal("20.00"),
        db_default=Decimal("20.00"),
        validators=[MinValueValidator(Decimal("0.00"))],
        help_text="A prepaid balance below it makes a notice, where the customer chose no other. Empty: no notice.",
    )
    collect_rule = models.CharField(max_length=12, choices=CollectRule, default=CollectRule.FINALIZED)
    collect_days = models.PositiveSmallIntegerField(default=0)
    retry_days = ArrayField(
        models.PositiveSmallIntegerField(),
        default=list,
        blank=True,
        help_text="Days after the first soft decline on which AutoPay tries again, such as 3,5. Empty: never.",
    )
    rebill_weekly = models.BooleanField(
        default=False,
        db_default=False,
        help_text="On Mondays AutoPay tries every open bill of active accounts again, whatever its collection date.",
    )
    rebill_monthly = models.BooleanField(
        default=False,
        db_default=False,
        help_text="On the first of a month AutoPay tries every open bill of inactive and closed accounts.",
    )
    release_days = models.PositiveSmallIntegerField(
        default=30,
        db_default=30,
        validators=[MaxValueValidator(365)],
        help_text="Authorizations older than so many days that nobody deposited are released; 0 releases none by itself.",
    )
    guest_secret = models.CharField(max_length=8, choices=GuestSecret, default=GuestSecret.ZIP)
    wire_account_template = models.CharField(
        max_length=80,
        default="{custom2}{custom3}",
        help_text="How the biller's own system writes an account, from {base}, {sub}, {custom2} and {custom3}.",
    )
    invoice_layout = models.JSONField(
        default=dict,
        blank=True,
        help_text="Column order of the invoice file by field id; empty for the default order.",
    )
    load_good_rows = models.BooleanField(
        default=False,
        help_text="Load the good rows of an invoice file and report the others.",
    )
    balance_forward = models.BooleanField(
        default=True,
        help_text="A new invoice carries the old balance; older ones close by transfer.",
    )
    return_hosts = ArrayField(
        models.CharField(
            max_length=120,
            validators=[RegexValidator(RETURN_HOST, "Enter hosts such as cis.example or cis.example:8443.")],
        ),
        default=list,
        db_default=[],
        blank=True,
        help_text="Hosts of the biller’s own that a CloudPay page may lead back to, such as cis.example. Empty: none.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = BillerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The biller's time zone."""
        return zoneinfo.ZoneInfo(self.time_zone)

    def business_date(self, moment: datetime.datetime) -> datetime.date:
        """Give the business day that a moment counts for: from the cut-off on, the next one."""
        local = moment.astimezone(self.zone)
        late = self.cut_off != datetime.time(0, 0) and local.time() >= self.cut_off
        return local.date() + datetime.timedelta(days=1 if late else 0)

    def day_begins(self, day: datetime.date) -> datetime.datetime:
        """Give the moment with which a business day begins: its midnight, or the cut-off of the day before."""
        if self.cut_off != datetime.time(0, 0):
            day -= datetime.timedelta(days=1)
        return datetime.datetime.combine(day, self.cut_off, tzinfo=self.zone)


class Setting(models.Model):
    """The value of one numbered setting of one biller; the registry says what it means (MSP-35)."""

    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, related_name="settings")
    number = models.PositiveSmallIntegerField()
    value = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "number"], name="setting_once_per_biller")]

    def __str__(self) -> str:
        return f"Setting {self.number}"
