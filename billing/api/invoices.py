"""Invoices: what was billed, and what is open of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.views import Account, ApiView, Currency, Money, PdfView, PeriodQuery, Shape, in_period, page_of
from billing.models import Invoice, Item
from billing.money import ZERO
from billing.papers.answers import answer
from datapump.operations import printed_bills


class InvoiceQuery(PeriodQuery):
    """Which invoices."""

    account = Account(required=False)
    number = serializers.CharField(required=False, max_length=40, help_text="Invoice number; unique for each account.")
    file = serializers.IntegerField(
        required=False, min_value=1, max_value=2**63 - 1, help_text="The invoice file that brought them."
    )
    withdrawn = serializers.BooleanField(
        required=False, default=False, help_text="True: those that were withdrawn instead."
    )


class CustomerRef(Shape):
    """Whose something is."""

    id = serializers.IntegerField()
    number = serializers.CharField()
    name = serializers.CharField()


class InvoiceShape(Shape):
    """One bill as the biller made it, and what has become of it."""

    id = serializers.IntegerField()
    number = serializers.CharField()
    customer = CustomerRef()
    kind = serializers.CharField(help_text="Invoice type; mostly empty.")
    issued_on = serializers.DateField()
    due_on = serializers.DateField()
    amount = Money(help_text="Total amount due, as billed.")
    past_due = Money()
    minimum_due = Money(allow_null=True)
    open = serializers.SerializerMethodField(help_text="What is still to be paid of it.")
    in_flight = serializers.SerializerMethodField(help_text="Held by payments on their way.")
    paid = serializers.SerializerMethodField(help_text="Settled by payments.")
    carried = serializers.SerializerMethodField(help_text="Moved to a newer invoice that carries it.")
    currency = Currency()
    file = serializers.IntegerField(source="file_id", allow_null=True)
    withdrawn = serializers.BooleanField()
    pdf = serializers.SerializerMethodField(help_text="Address of the bill as PDF, for the same key.")
    created_at = serializers.DateTimeField()

    def get_pdf(self, invoice: Invoice) -> str:
        """Give where the PDF is."""
        return reverse("api-invoice-pdf", args=[invoice.pk])

    @extend_schema_field(Money())
    def get_open(self, invoice: Invoice) -> str:
        """Add up what is open."""
        return _sum(invoice, "open")

    @extend_schema_field(Money())
    def get_in_flight(self, invoice: Invoice) -> str:
        """Add up what is reserved."""
        return _sum(invoice, "reserved")

    @extend_schema_field(Money())
    def get_paid(self, invoice: Invoice) -> str:
        """Add up what was allocated."""
        return _sum(invoice, "allocated")

    @extend_schema_field(Money())
    def get_carried(self, invoice: Invoice) -> str:
        """Add up what was transferred."""
        return _sum(invoice, "transferred")


def _sum(invoice: Invoice, field: str) -> str:
    items: list[Item] = list(invoice.items.all())
    total: Decimal = sum((getattr(item, field) for item in items), ZERO)
    return str(total)


def shown(invoices: QuerySet[Invoice]) -> QuerySet[Invoice]:
    """Give the invoices with what the shape shows beside their own columns."""
    return invoices.select_related("customer").prefetch_related("items")


class InvoicesView(ApiView):
    """The invoices of the biller."""

    @extend_schema(
        operation_id="invoices_list", parameters=[InvoiceQuery], responses=page_of(InvoiceShape), tags=["invoices"]
    )
    def get(self, request: Request) -> Response:
        """Give invoices, those loaded last first."""
        chosen = self.query(InvoiceQuery)
        rows = shown(Invoice.objects.filter(biller=self.biller, withdrawn=chosen["withdrawn"], **_exact(chosen)))
        rows = in_period(self.of_account(rows, chosen.get("account")), chosen)
        return self.page(rows, InvoiceShape, order=("-created_at", "-pk"), chosen=chosen)


class InvoiceView(ApiView):
    """One invoice."""

    @extend_schema(operation_id="invoices_read", responses=InvoiceShape, tags=["invoices"])
    def get(self, request: Request, pk: int) -> Response:
        """Give an invoice."""
        return self.show(InvoiceShape, self.find(shown(Invoice.objects.all()), pk=pk))


class InvoicePdfView(PdfView):
    """One invoice as PDF."""

    @extend_schema(
        operation_id="invoices_pdf",
        responses={(200, "application/pdf"): OpenApiTypes.BINARY},
        tags=["invoices"],
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        """Give the bill as PDF: the biller's own where its print server gives it, else one of ours.

        503 says that the print server does not give it at the moment.
        """
        invoice = self.find(Invoice.objects.select_related("customer__biller"), pk=pk)
        language = invoice.customer.language
        return answer(printed_bills.open_bill(invoice=invoice, language=language, now=timezone.now()))


def _exact(chosen: dict[str, Any]) -> dict[str, Any]:
    return {
        column: chosen[name]
        for name, column in (("number", "number"), ("file", "file_id"))
        if chosen.get(name) is not None
    }
