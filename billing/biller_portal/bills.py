"""Bills: the list of them all, the bills of one account, and one bill with what was paid of it."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from billing import formats, lists, reports
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.biller_portal.accounts import AccountList, account_url
from billing.biller_portal.links import url_if_any
from billing.models import Customer, Invoice, Item
from billing.papers.answers import answer
from billing.permissions import Permission
from datapump.operations import printed_bills
from datapump.operations.printed_bills import BillUnavailable
from payments.models import Allocation, AllocationState


class BillFilters(lists.Filters):
    """The filters of the list of bills."""

    q = django_filters.CharFilter(label="Bill or account number", method="search")
    least = django_filters.NumberFilter(label="Amount from", field_name="amount", lookup_expr="gte")
    most = django_filters.NumberFilter(label="Amount to", field_name="amount", lookup_expr="lte")
    due_from = django_filters.DateFilter(
        label="Due from", field_name="due_on", lookup_expr="gte", widget=lists.FromDay().field.widget
    )
    due_to = django_filters.DateFilter(
        label="Due to", field_name="due_on", lookup_expr="lte", widget=lists.FromDay().field.widget
    )
    file = django_filters.NumberFilter(label="File", widget=django_filters.widgets.forms.HiddenInput())
    periods = (("due_from", "due_to"),)

    def search(self, rows: QuerySet[Invoice], name: str, value: str) -> QuerySet[Invoice]:
        """Narrow to a bill by its number, or to an account's bills."""
        value = value.strip()
        accounts = list(
            Customer.objects.filter(biller=self.request.biller, number=value).values_list("pk", flat=True)[:50]
        )
        accounts += Customer.objects.filter(biller=self.request.biller, display_number=value).values_list(
            "pk", flat=True
        )[:50]
        return rows.filter(customer_id__in=accounts) if accounts else rows.filter(number=value)


def with_items(rows: QuerySet[Invoice]) -> QuerySet[Invoice]:
    """Read with each invoice what is owed of it, for ``item_of``."""
    return rows.prefetch_related(Prefetch("items", queryset=Item.objects.order_by("pk")))


def item_of(invoice: Invoice) -> Item | None:
    """Give what is owed of an invoice."""
    return next(iter(invoice.items.all()), None)


def _standing(invoice: Invoice) -> tuple[str, Any]:
    return reports.standing(invoice, item_of(invoice), timezone.localdate())


def _open(invoice: Invoice) -> Any:
    item = item_of(invoice)
    return item.open if item else None


_ACCOUNT: lists.Link[Invoice] = lists.Link(
    "account", "Account", "customer.shown_number", url=lambda one: account_url(one.customer_id), nowrap=True
)
_COMMON: tuple[lists.Column[Invoice], ...] = (
    lists.Link("bill", "Bill", "number", url=lambda one: reverse("biller-bill", args=[one.pk]), nowrap=True),
    lists.Day("issued", "Issued", "issued_on"),
    lists.Day("due", "Due", "due_on"),
    lists.Tag(
        "status",
        "Status",
        lambda one: _standing(one)[0],
        noun="invoice",
        detail=lambda one: formats.day(due) if (due := _standing(one)[1]) and _standing(one)[0] == "overdue" else None,
    ),
    lists.Amount("amount", "Amount", "amount", currency="biller.currency"),
    lists.Amount("open", "Open", _open, currency="biller.currency"),
)


class BillList(StaffPage, lists.ListPage[Invoice]):
    """Every bill of the biller."""

    name, title, section = "bills", "Bills", "bills"
    filters = BillFilters
    orders = (
        lists.Order("newest", "Newest first", ("-created_at", "-id")),
        lists.Order("oldest", "Oldest first", ("created_at", "id")),
    )
    columns = (
        _COMMON[0],
        _ACCOUNT,
        lists.Column("name", "Name", "customer.name"),
        *_COMMON[1:],
        lists.Column("currency", "Currency", "biller.currency", shown=False),
    )
    empty_heading = "No bills yet"
    empty_text = "Bills come in with invoice files."

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's bills."""
        rows = Invoice.objects.visible_to(request.user).filter(biller=self.request.biller)
        return with_items(rows.select_related("customer", "biller"))


class AccountBills(AccountList[Invoice]):
    """The bills of one account."""

    name, title, tab = "account-bills", "Bills", "biller-account-bills"
    orders = (lists.Order("newest", "Newest first", ("-issued_on", "-id")),)
    columns = _COMMON
    empty_heading = "No bills yet"
    empty_text = "Bills of this account appear here when an invoice file brings them."

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the account's bills."""
        return with_items(Invoice.objects.filter(customer=self.customer).select_related("biller"))


@biller_page(Permission.VIEW)
def bill(request: BillerRequest, invoice_id: int) -> HttpResponse:
    """Draw one bill: what it says, what is open of it, what was paid and where the rest went."""
    return _draw(request, _found(request, invoice_id))


@biller_page(Permission.VIEW)
def bill_pdf(request: BillerRequest, invoice_id: int) -> HttpResponse:
    """Give one bill as PDF, in the customer's language; where it cannot be had, the bill's page says why."""
    found = _found(request, invoice_id)
    try:
        pdf = printed_bills.open_bill(invoice=found, language=found.customer.language, now=timezone.now())
    except BillUnavailable as fault:
        return _draw(request, found, fault)
    return answer(pdf)


def _found(request: BillerRequest, invoice_id: int) -> Invoice:
    mine = Invoice.objects.visible_to(request.user).filter(biller=request.biller)
    return get_object_or_404(mine.select_related("customer__biller", "file"), pk=invoice_id)


def _draw(request: BillerRequest, invoice: Invoice, fault: BillUnavailable | None = None) -> HttpResponse:
    currency = request.biller.currency
    item = Item.objects.filter(invoice=invoice).select_related("transferred_to").order_by("pk").first()
    standing, detail = reports.standing(invoice, item, timezone.localdate())
    paid = (
        Allocation.objects.filter(item=item).exclude(state=AllocationState.VOID) if item else Allocation.objects.none()
    )
    carried = Item.objects.filter(transferred_to=invoice).select_related("invoice").order_by("pk")[:25]
    context = {
        "title": f"Bill {invoice.number}",
        "section": "bills",
        "invoice": invoice,
        "item": item,
        "standing": standing,
        "standing_detail": formats.day(detail) if detail else None,
        "currency": currency,
        "facts": _facts(invoice, item, currency),
        "allocations": list(paid.select_related("payment__instrument").order_by("-pk")[:100]),
        "carried": list(carried),
        "may_pay": request.may(Permission.TAKE_PAYMENT) and item is not None and item.open > 0,
        "no_pdf": str(fault) if fault else "",
    }
    status = 200 if fault is None else 504 if fault.late else 502
    return render(request, "biller_portal/bill.html", context, status=status)


def _facts(invoice: Invoice, item: Item | None, currency: str) -> list[tuple[str, object]]:
    file_url = url_if_any("biller-file", invoice.file_id) if invoice.file_id else ""
    file_name = invoice.file.name if invoice.file else ""
    facts: list[tuple[str, object]] = [
        ("Issued", formats.day(invoice.issued_on)),
        ("Due", formats.day(invoice.due_on)),
        ("Past due on the bill", formats.money(invoice.past_due, currency) if invoice.past_due else ""),
        ("Least that is taken", formats.money(invoice.minimum_due, currency) if invoice.minimum_due else ""),
        ("AutoPay takes it on", formats.day(item.collect_on) if item and item.collect_on and item.open > 0 else ""),
        ("Kind", invoice.kind),
        ("Location", invoice.custom4),
        ("Arrived", formats.moment(invoice.created_at)),
        ("File", format_html('<a href="{}">{}</a>', file_url, file_name) if file_url else file_name),
        ("Line", formats.number(invoice.line) if invoice.line else ""),
        ("Bill control", invoice.custom10),
    ]
    return [(label, value) for label, value in facts if value]
