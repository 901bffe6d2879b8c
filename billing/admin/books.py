"""Customers, invoices and the books, to read: only operations change them."""

from __future__ import annotations

from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from billing.admin.pages import ReadOnly, each, operator
from billing.models import (
    Chunk,
    Customer,
    Entry,
    Invoice,
    InvoiceFile,
    InvoiceFileError,
    Item,
    Posting,
    Run,
    RunKind,
)
from datapump.operations import resends
from payments.operations import runs


@admin.register(Customer)
class CustomerAdmin(ReadOnly):
    """Accounts."""

    list_display = ("number", "name", "biller", "balance", "status", "paperless", "email")
    list_select_related = ("biller",)
    list_filter = ("biller",)
    search_fields = ("number", "display_number", "email", "phone")


@admin.register(InvoiceFile)
class InvoiceFileAdmin(ReadOnly):
    """Invoice files and what came of them; withdrawn in the biller's portal."""

    list_display = ("name", "biller", "source", "state", "received_at", "found_count", "loaded_count", "error_count")
    list_select_related = ("biller",)
    list_filter = ("state", "biller")
    search_fields = ("name", "sha256")
    hidden = ("body",)


@admin.register(InvoiceFileError)
class InvoiceFileErrorAdmin(ReadOnly):
    """Faults in invoice files."""

    list_display = ("file", "line", "field", "reason", "value", "left_out")
    list_select_related = ("file",)
    search_fields = ("file",)


@admin.register(Invoice)
class InvoiceAdmin(ReadOnly):
    """Bills as billers made them."""

    list_display = ("number", "customer", "biller", "issued_on", "due_on", "amount", "withdrawn")
    list_select_related = ("customer", "biller")
    list_filter = ("biller",)
    search_fields = ("number", "customer")


@admin.register(Item)
class ItemAdmin(ReadOnly):
    """What is owed."""

    list_display = (
        "id",
        "customer",
        "biller",
        "kind",
        "amount",
        "open",
        "reserved",
        "currency",
        "due_on",
        "collect_on",
    )
    list_select_related = ("customer", "biller")
    list_filter = ("kind", "biller")
    search_fields = ("customer", "payment_id")


@admin.register(Posting)
class PostingAdmin(ReadOnly):
    """Balanced sets of entries."""

    list_display = ("id", "biller", "kind", "effective_on", "key", "created_at")
    list_select_related = ("biller",)
    list_filter = ("kind", "biller")
    search_fields = ("key",)


@admin.register(Entry)
class EntryAdmin(ReadOnly):
    """Totals on ledger accounts."""

    list_display = ("id", "biller", "posting", "account", "tender", "amount", "currency", "count")
    list_select_related = ("biller", "posting")
    list_filter = ("account", "biller")
    search_fields = ("posting",)


@admin.register(Run)
class RunAdmin(ReadOnly):
    """Long work, and how far it is."""

    list_display = (
        "id",
        "biller",
        "kind",
        "business_date",
        "state",
        "asked_by",
        "created_at",
        "finished_at",
        "failure",
    )
    list_select_related = ("biller",)
    list_filter = ("kind", "state", "biller")
    actions = ("stop",)

    @admin.action(description="Stop after what is under way")
    def stop(self, request: HttpRequest, queryset: models.QuerySet[Run]) -> None:
        """Ask each run to stop."""

        def stop(run: Run) -> None:
            operation = resends.stop if run.kind == RunKind.RESEND else runs.stop
            operation(run=run, actor=operator(request))

        each(request, queryset, stop, "Asked to stop")


@admin.register(Chunk)
class ChunkAdmin(ReadOnly):
    """Parts of runs."""

    list_display = (
        "run",
        "number",
        "state",
        "expected",
        "sent_count",
        "passed_count",
        "passed_total",
        "declined_count",
        "unreached_count",
    )
    list_select_related = ("run",)
    search_fields = ("run",)
