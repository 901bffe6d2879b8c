"""Double entry with control accounts: items and payments are the sub-ledgers, entries are their totals."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.billers import Biller
from billing.models.runs import Run
from billing.models.tenants import TenantQuerySet


class PostingKind(models.TextChoices):
    """What a posting books."""

    INVOICES = "invoices", "Invoices loaded"
    WITHDRAWAL = "withdrawal", "Invoice file withdrawn"
    RECEIPTS = "receipts", "Payments received"
    REVERSAL = "reversal", "Payments reversed"
    ADJUSTMENT = "adjustment", "Adjustment"
    FEES = "fees", "Fees charged"


class LedgerAccount(models.TextChoices):
    """The chart of accounts, one set per biller; clearing and fees are kept per route."""

    RECEIVABLE = "receivable", "Receivable"
    BILLED = "billed", "Billed"
    CLEARING = "clearing", "Clearing"
    SUSPENSE = "suspense", "Suspense"
    FEES = "fees", "Fees"
    ADJUSTMENTS = "adjustments", "Adjustments"
    LOSSES = "losses", "Losses"
    CHARGED_FEES = "charged_fees", "Charged fees"


class Posting(models.Model):
    """One balanced set of entries. ``key`` makes the event that it books bookable only once."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    key = models.CharField(max_length=80)
    kind = models.CharField(max_length=12, choices=PostingKind)
    effective_on = models.DateField(help_text="The biller's business day.")
    run = models.ForeignKey(Run, on_delete=models.PROTECT, null=True, blank=True, db_index=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = TenantQuerySet["Posting"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "key"], name="posting_once")]
        indexes = [models.Index(fields=["biller", "effective_on"], name="posting_by_day")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.effective_on}"


class Entry(models.Model):
    """One total on one ledger account: debits positive, credits negative. Never changed, never deleted.

    ``route_id`` and ``tender`` split clearing and fees the way a settlement report does; ``count`` is how many payments it sums.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    posting = models.ForeignKey(Posting, on_delete=models.PROTECT, related_name="entries")
    account = models.CharField(max_length=12, choices=LedgerAccount)
    route_id = models.BigIntegerField(null=True, blank=True)
    tender = models.CharField(max_length=8, blank=True)
    amount = models.DecimalField(max_digits=16, decimal_places=2)
    currency = models.CharField(max_length=3)
    count = models.PositiveIntegerField(default=0)

    objects = TenantQuerySet["Entry"].as_manager()

    class Meta:
        constraints = [models.CheckConstraint(condition=~Q(amount=0), name="entry_is_not_zero")]
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.get_account_display()} {self.amount} {self.currency}"
