"""Bills as their payer sees them: the list, each on a page that prints well, and as PDF."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

import django_filters
from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from billing import formats, lists
from billing.customer_portal.access import AccountRequest, PayerPage, PayerRequest, account_page
from billing.models import Customer, Invoice, Item
from billing.papers.answers import answer
from datapump.operations import printed_bills
from datapump.operations.printed_bills import BillUnavailable
from payments.models import Allocation, AllocationState, Payment


def standing(invoice: Invoice, items: Sequence[Item], today: datetime.date) -> tuple[str, str]:
    """Say what has become of a bill: a status of the noun ``invoice`` and the detail that completes its words."""
    if invoice.withdrawn:
        return "withdrawn", ""
    still_open = sum((item.open for item in items), Decimal("0.00"))
    if invoice.amount < 0:
        return "credit", ""
    if still_open > 0:
        if invoice.due_on < today:
            return "overdue", formats.day(invoice.due_on)
        if any(item.allocated for item in items):
            return "part_paid", ""
        return "due", formats.day(invoice.due_on)
    if any(item.transferred for item in items):
        return "carried", ""
    return "paid", ""


def _items(invoice: Invoice) -> list[Item]:
    return list(invoice.items.all())


def _open(invoice: Invoice) -> Decimal:
    return sum((item.open for item in _items(invoice)), Decimal("0.00"))


def _standing(invoice: Invoice) -> tuple[str, str]:
    biller = invoice.customer.biller
    return standing(invoice, _items(invoice), timezone.now().astimezone(biller.zone).date())


def accounts_of(request: Any) -> Any:
    """Give the accounts that a payer may choose between."""
    return cast("PayerRequest", request).theirs(Customer.objects.all()).order_by("number")


class BillFilters(lists.Filters):
    """A payer with several accounts may look at one of them."""

    account = django_filters.ModelChoiceFilter(
        label=gettext_lazy("Account"),
        field_name="customer",
        queryset=accounts_of,
        empty_label=gettext_lazy("All"),
    )


class BillList(PayerPage, lists.ListPage[Invoice]):
    """Every bill of the payer's accounts, newest first."""

    name, title, section = "my-bills", gettext_lazy("Bills"), "bills"
    template_name = "customer_portal/list.html"
    filters = BillFilters
    orders = (lists.Order("newest", gettext_lazy("Newest first"), ("-issued_on", "-id")),)
    empty_heading = gettext_lazy("No bills yet")
    empty_text = gettext_lazy("Your next bill will appear here.")
    columns = (
        lists.Link(
            "bill",
            gettext_lazy("Bill"),
            "number",
            url=lambda bill: reverse("customer-bill", args=[bill.customer_id, bill.pk]),
        ),
        lists.Column("account", gettext_lazy("Account"), "customer.shown_number"),
        lists.Day("issued", gettext_lazy("Issued"), "issued_on"),
        lists.Day("due", gettext_lazy("Due"), "due_on"),
        lists.Tag(
            "status",
            gettext_lazy("Status"),
            lambda bill: _standing(bill)[0],
            noun="invoice",
            detail=lambda bill: _standing(bill)[1],
        ),
        lists.Amount("amount", gettext_lazy("Amount"), "amount", currency="customer.biller.currency"),
        lists.Amount("open", gettext_lazy("Still open"), _open, currency="customer.biller.currency"),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the payer's bills, without those that were withdrawn."""
        bills = self.request.theirs(Invoice.objects.filter(withdrawn=False))
        return bills.select_related("customer__biller").prefetch_related("items")


@account_page
def bill(request: AccountRequest, invoice_id: int) -> HttpResponseBase:
    """Show one bill on paper, with what was paid towards it."""
    return _draw(request, _found(request, invoice_id))


@account_page
def bill_pdf(request: AccountRequest, invoice_id: int) -> HttpResponseBase:
    """Give one bill as PDF; where it cannot be had, the bill's page says so."""
    found, door = _found(request, invoice_id), request.door
    try:
        pdf = printed_bills.open_bill(
            invoice=found,
            language=get_language() or "en",
            now=timezone.now(),
            guest_number=request.account_number if door.guest else "",
            # Who came by a link in a text has not shown that they know the account: the link may have been passed on.
            printed=not door.masked,
        )
    except BillUnavailable as fault:
        return _draw(request, found, fault)
    return answer(pdf)


def _found(request: AccountRequest, invoice_id: int) -> Invoice:
    items = Prefetch("items", Item.objects.order_by("pk"))
    found = (
        request.theirs(Invoice.objects.select_related("customer__biller"))
        .filter(pk=invoice_id, customer=request.customer, withdrawn=False)
        .prefetch_related(items)
        .first()
    )
    if found is None:
        raise Http404("Not a bill of this account.")
    return found


def _draw(request: AccountRequest, found: Invoice, fault: BillUnavailable | None = None) -> HttpResponse:
    its_items = _items(found)
    paid = Allocation.objects.filter(item__in=its_items, state=AllocationState.POSTED).order_by("pk")
    payments = {payment.pk: payment for payment in Payment.objects.filter(pk__in=[part.payment_id for part in paid])}
    payable = request.customer.balance > 0 and not request.viewing_as
    state, detail = _standing(found)
    context = {
        "title": _("Bill %(number)s") % {"number": found.number},
        "section": "bills",
        "bill": found,
        "customer": request.customer,
        "currency": request.biller.currency,
        "open": _open(found),
        "state": state,
        "detail": detail,
        # A guest learns what was paid, not when and with what.
        "paid": [(part.amount, payments[part.payment_id]) for part in paid if part.payment_id in payments],
        "carried_to": next((item.transferred_to for item in its_items if item.transferred_to_id), None),
        "back_url": request.door.url("pay", request.customer) if request.door.guest else reverse("customer-bills"),
        "pay_url": request.door.url("pay", request.customer) if payable and not request.door.guest else "",
        "schedule_url": reverse("customer-schedule", args=[request.customer.pk])
        if payable and not request.door.guest and request.biller.allow_scheduled_payments
        else "",
        "guest": bool(request.door.guest),
        "pdf_url": request.door.url("bill-pdf", request.customer, invoice_id=found.pk),
        "no_pdf": fault is not None,
    }
    status = 200 if fault is None else 504 if fault.late else 502
    return render(request, "customer_portal/bill.html", context, status=status)
