"""Invoice files, the invoices in them, and the items that are owed."""

from __future__ import annotations

from decimal import Decimal

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.billers import Biller
from billing.models.customers import Customer
from billing.models.tenants import CustomerOwnedQuerySet, TenantQuerySet


class FileState(models.TextChoices):
    """Where an invoice file stands, from its arrival to its end."""

    RECEIVED = "received", "Received"
    READING = "reading", "Reading"
    CHECKING = "checking", "Checking"
    LOADING = "loading", "Loading"
    LOADED = "loaded", "Loaded"
    REFUSED = "refused", "Refused"
    WITHDRAWN = "withdrawn", "Withdrawn"


class InvoiceFile(models.Model):
    """One invoice file as it came in, its control totals and what came of it (MSP-21, MSP-23)."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, related_name="invoice_files")
    name = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    body = models.FileField(upload_to="invoice-files/%Y/%m/", max_length=300)
    source = models.CharField(
        max_length=8,
        choices=[
            ("portal", "Portal"),
            ("api", "API"),
            ("command", "Command"),
            ("drop", "Drop folder"),
        ],
    )
    state = models.CharField(max_length=10, choices=FileState, default=FileState.RECEIVED)
    refusal = models.CharField(
        max_length=300,
        blank=True,
        help_text="Why the whole file was refused, in one sentence.",
    )
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    received_from = models.CharField(max_length=120, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    # What the file header says, and what was found.
    made_on = models.DateTimeField(null=True, blank=True, help_text="FileCreationDate of the header.")
    stated_count = models.PositiveIntegerField(null=True, blank=True)
    stated_total = models.DecimalField(max_digits=16, decimal_places=2, null=True, blank=True)
    found_count = models.PositiveIntegerField(default=0)
    found_total = models.DecimalField(max_digits=16, decimal_places=2, default=Decimal("0.00"))
    # Progress and outcome.
    bytes_read = models.PositiveBigIntegerField(default=0)
    loaded_count = models.PositiveIntegerField(default=0)
    loaded_total = models.DecimalField(max_digits=16, decimal_places=2, default=Decimal("0.00"))
    repeated_count = models.PositiveIntegerField(default=0, help_text="Invoices that were on file already.")
    carried_total = models.DecimalField(max_digits=16, decimal_places=2, default=Decimal("0.00"))
    error_count = models.PositiveIntegerField(default=0)
    left_out_count = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Values that were left out while their invoices were loaded."
    )
    claims = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False, help_text="How many workers have taken it up so far."
    )

    objects = TenantQuerySet["InvoiceFile"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["biller", "sha256"],
                condition=~Q(state__in=["refused", "withdrawn"]),
                name="invoice_file_once",
            )
        ]
        indexes = [
            models.Index(fields=["biller", "-received_at", "-id"], name="invoice_file_by_time"),
            models.Index(
                fields=["received_at"],
                condition=Q(state__in=["received", "reading", "checking", "loading"]),
                name="invoice_file_waiting",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class InvoiceFileError(models.Model):
    """One fault in a file: where it is, what is wrong, and the value as it stood (cut short).

    A fault keeps its invoice from being loaded, except where only the value was ``left_out``.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    file = models.ForeignKey(InvoiceFile, on_delete=models.CASCADE, related_name="errors", db_index=False)
    line = models.PositiveIntegerField()
    field = models.CharField(max_length=40, blank=True)
    reason = models.CharField(max_length=200)
    value = models.CharField(max_length=80, blank=True)
    left_out = models.BooleanField(default=False, db_default=False)

    objects = TenantQuerySet["InvoiceFileError"].as_manager()

    class Meta:
        indexes = [models.Index(fields=["file", "line", "id"], name="invoice_file_error_by_line")]

    def __str__(self) -> str:
        return f"Line {self.line}: {self.reason}"


class Invoice(models.Model):
    """One bill as the biller made it. It is never changed after loading: what is open of it stands on its item.

    ``number`` is unique per customer, not per biller (MSP-22). ``custom2`` … ``custom10`` are the file's own columns.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invoices", db_index=False)
    file = models.ForeignKey(
        InvoiceFile,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="invoices",
        db_index=False,
    )
    line = models.PositiveIntegerField(null=True, blank=True)
    number = models.CharField(max_length=40)
    kind = models.CharField(max_length=20, blank=True, help_text="Invoice type, such as a donation.")
    issued_on = models.DateField()
    due_on = models.DateField()
    amount = models.DecimalField("total amount due", max_digits=14, decimal_places=2)
    past_due = models.DecimalField(max_digits=14, decimal_places=2, default=Decimal("0.00"))
    minimum_due = models.DecimalField(max_digits=14, decimal_places=2, null=True, blank=True)
    allow_partial_payments = models.BooleanField(null=True, blank=True, help_text="Empty: the biller's rule.")
    autopay_on = models.DateField(null=True, blank=True, help_text="AutoPayCollectionDate of the file.")
    notify_on = models.DateField(null=True, blank=True)
    notify_again_on = models.DateField(null=True, blank=True)
    notify_last_on = models.DateField(null=True, blank=True)
    payable_until = models.DateField(null=True, blank=True)
    payable_until_message = models.CharField(max_length=200, blank=True)
    format_guid = models.UUIDField(null=True, blank=True)
    custom2 = models.CharField(max_length=60, blank=True)
    custom3 = models.CharField(max_length=60, blank=True)
    custom4 = models.CharField(max_length=60, blank=True)
    custom9 = models.CharField(max_length=60, blank=True)
    custom10 = models.CharField(max_length=60, blank=True)
    withdrawn = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = CustomerOwnedQuerySet["Invoice"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "number"],
                condition=Q(withdrawn=False),
                name="invoice_number_once_per_customer",
            ),
        ]
        indexes = [
            models.Index(fields=["biller", "-created_at", "-id"], name="invoice_by_time"),
            models.Index(fields=["customer", "-issued_on", "-id"], name="invoice_by_customer"),
            models.Index(fields=["biller", "number"], name="invoice_by_number"),
            models.Index(fields=["file"], name="invoice_by_file"),
        ]

    def __str__(self) -> str:
        return f"Invoice {self.number}"


class ItemKind(models.TextChoices):
    """What an item is."""

    BILL = "bill", "Bill"
    CREDIT = "credit", "Credit"
    ADJUSTMENT = "adjustment", "Adjustment"
    RETURNED = "returned", "Returned payment"
    FEE = "fee", "Fee"


class ItemQuerySet(CustomerOwnedQuerySet["Item"]):
    """Items, which their customer's payers may see."""

    def open(self) -> ItemQuerySet:
        """Narrow to items of which something is open."""
        return self.exclude(open=0)


class Item(models.Model):
    """One signed amount owed (positive) or to the customer's credit (negative): the sub-ledger of receivables.

    ``allocated`` was settled by payments, ``transferred`` moved to a newer invoice that carries it, ``reserved`` is held for
    payments on their way; all three have the sign of ``amount``. ``open`` is what is left. ``collect_on`` is the day on
    which AutoPay would take it; a decline moves or clears it. ``declined_on`` is the business day of the first decline, from
    which the days of trying again are counted.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="items", db_index=False)
    invoice = models.ForeignKey(
        Invoice,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="items",
        db_index=False,
    )
    payment_id = models.UUIDField(
        null=True,
        blank=True,
        help_text="The payment whose unallocated rest this credit is.",
    )
    posting = models.ForeignKey(
        "billing.Posting",
        on_delete=models.PROTECT,
        related_name="items",
        db_index=False,
        db_constraint=False,
    )
    kind = models.CharField(max_length=10, choices=ItemKind, default=ItemKind.BILL)
    amount = models.DecimalField(max_digits=14, decimal_places=2)
    allocated = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        default=Decimal("0.00"),
        db_default=Decimal("0.00"),
    )
    transferred = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        default=Decimal("0.00"),
        db_default=Decimal("0.00"),
    )
    reserved = models.DecimalField(
        max_digits=14,
        decimal_places=2,
        default=Decimal("0.00"),
        db_default=Decimal("0.00"),
    )
    currency = models.CharField(max_length=3)
    open = models.GeneratedField(
        expression=F("amount") - F("allocated") - F("transferred"),
        output_field=models.DecimalField(max_digits=14, decimal_places=2),
        db_persist=True,
    )
    transferred_to = models.ForeignKey(
        Invoice,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="carried_items",
        db_index=False,
    )
    due_on = models.DateField(null=True, blank=True)
    collect_on = models.DateField(null=True, blank=True)
    collect_tries = models.PositiveSmallIntegerField(default=0, db_default=0)
    declined_on = models.DateField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ItemQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="item_settled_within_amount",
                condition=Q(
                    amount__gt=0,
                    allocated__gte=0,
                    transferred__gte=0,
                    amount__gte=F("allocated") + F("transferred"),
                )
                | Q(
                    amount__lt=0,
                    allocated__lte=0,
                    transferred__lte=0,
                    amount__lte=F("allocated") + F("transferred"),
                ),
            ),
            models.CheckConstraint(
                name="item_reserved_within_open",
                condition=Q(
                    amount__gt=0,
                    reserved__gte=0,
                    amount__gte=F("allocated") + F("transferred") + F("reserved"),
                )
                | Q(
                    amount__lt=0,
                    reserved__lte=0,
                    amount__lte=F("allocated") + F("transferred") + F("reserved"),
                ),
            ),
        ]
        indexes = [
            # Neither has in it what a payment changes, so that paying an item touches no index.
            models.Index(fields=["customer", "id"], name="item_by_customer"),
            models.Index(
                fields=["biller", "collect_on", "customer"],
                condition=Q(collect_on__isnull=False),
                name="item_to_collect",
            ),
            # Bills come in the order of their days: a few pages say where those due in some week are.
            BrinIndex(fields=["due_on"], pages_per_range=32, name="item_by_due_day"),
            models.Index(
                fields=["invoice"],
                condition=Q(invoice__isnull=False),
                name="item_by_invoice",
            ),
            models.Index(
                fields=["payment_id"],
                condition=Q(payment_id__isnull=False),
                name="item_by_payment",
            ),
            models.Index(
                fields=["transferred_to"],
                condition=Q(transferred_to__isnull=False),
                name="item_by_transferred_to",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.amount}"
