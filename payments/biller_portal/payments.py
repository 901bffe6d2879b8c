"""Payments: the list of them all, those of one account, one payment with all that is known of it, its receipt."""

from __future__ import annotations

import uuid
from typing import Any

import django_filters
from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from billing import formats, lists, statuses
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.biller_portal.accounts import AccountList, account_url, drawn
from billing.biller_portal.links import url_if_any
from billing.errors import DomainError
from billing.models import AuditEntry, Customer, PayType
from billing.money import ZERO
from billing.papers.answers import answer
from billing.permissions import Permission
from datapump.models import Record
from payments import receipts
from payments.gateways.base import GatewayError
from payments.models import (
    AllocationState,
    Attempt,
    AttemptState,
    Authorization,
    Case,
    CaseState,
    Channel,
    Fee,
    Payment,
    PaymentState,
    Route,
    Tender,
    UnconfirmedPayment,
    UnconfirmedState,
)
from payments.models.payments import PaymentQuerySet
from payments.operations import authorizations
from payments.reports.payments import confirmation_bounds
from payments.reports.unresolved_attempts import UNRESOLVED_AFTER
from payments.results import in_words


def attempt_status(attempt: Attempt) -> str:
    """Give an attempt's status as ``billing.statuses`` knows it: one long open has an unknown outcome."""
    age = timezone.now() - (attempt.sent_at or attempt.created_at)
    return "unresolved" if attempt.state == AttemptState.OPEN and age > UNRESOLVED_AFTER else str(attempt.state)


class PaymentFilters(lists.Filters):
    """The filters of the list of payments."""

    q = django_filters.CharFilter(label="Account or confirmation", method="search")
    state = lists.AnyOf(label="Status", choices=statuses.choices("payment"))
    tender = lists.AnyOf(label="Tender", choices=Tender.choices)
    pay_type = django_filters.ModelChoiceFilter(
        label="Pay type",
        queryset=lambda _request: PayType.objects.exclude(tender=""),
        empty_label="Any",
        method="narrow_to_type",
    )
    unconfirmed = django_filters.ChoiceFilter(
        label="Confirmed by the bank",
        field_name="unconfirmed__state",
        choices=UnconfirmedState.choices,
        empty_label="Any",
    )
    channel = lists.AnyOf(label="Channel", choices=Channel.choices)
    route = django_filters.ModelChoiceFilter(
        label="Route",
        queryset=lambda request: Route.objects.filter(biller=request.biller).order_by("name"),
        empty_label="Any",
    )
    start = lists.FromDay(label="From", field_name="created_at")
    end = lists.ToDay(label="To", field_name="created_at")
    least = django_filters.NumberFilter(label="Amount from", field_name="amount", lookup_expr="gte")
    most = django_filters.NumberFilter(label="Amount to", field_name="amount", lookup_expr="lte")
    by = django_filters.CharFilter(label="Made by", field_name="made_by", lookup_expr="icontains")
    run = django_filters.NumberFilter(label="Run", field_name="run_id", widget=forms.HiddenInput)
    periods = (("start", "end"),)

    def narrow_to_type(self, rows: PaymentQuerySet, name: str, value: PayType) -> QuerySet[Payment]:
        """Narrow to payments of a pay type."""
        return rows.of_pay_type(value.pk)

    def search(self, rows: QuerySet[Payment], name: str, value: str) -> QuerySet[Payment]:
        """Narrow to a payment by its confirmation number, or to an account's payments."""
        if (bounds := confirmation_bounds(value)) is not None:
            return rows.filter(pk__gte=bounds[0], pk__lte=bounds[1])
        value = value.strip()
        mine = Customer.objects.filter(biller=self.request.biller)
        accounts = [*mine.filter(number=value).values_list("pk", flat=True)[:50]]
        accounts += mine.filter(display_number=value).values_list("pk", flat=True)[:50]
        return rows.filter(customer_id__in=accounts)


def _failure(payment: Payment) -> str | None:
    words = unconfirmed_words(payment) if payment.state == PaymentState.POSTED else ""
    return payment.failure.rstrip(".") or words or None


def unconfirmed_words(payment: Payment) -> str:
    """Say where a payment stands that was posted before its bank had confirmed it; empty for any other."""
    found: UnconfirmedPayment | None = getattr(payment, "unconfirmed", None)
    if found is None:
        return ""
    match found.state:
        case UnconfirmedState.WAITING:
            return f"not confirmed yet, until {formats.day(found.until)}"
        case UnconfirmedState.FAILED:
            return f"Failed before it was confirmed: {found.reason}"
        case UnconfirmedState.GIVEN_BACK:
            return "Given back before it was confirmed"
    by = f" by {found.ended_by}" if found.ended_by else ""
    return f"confirmed{by} on {formats.day(found.ended_at)}" if found.ended_at else ""


def _authorization(payment: Payment) -> Authorization | None:
    return getattr(payment, "authorization", None)


def late_words(payment: Payment) -> str:
    """Say that a payment's authorization had expired when it was deposited; empty where it had not or there was none."""
    held = _authorization(payment)
    return "Deposited after the authorization had expired: costs more" if held is not None and held.expired else ""


_COMMON: tuple[lists.Column[Payment], ...] = (
    lists.Moment("when", "When", "created_at"),
    lists.Link(
        "confirmation",
        "Confirmation",
        "confirmation",
        url=lambda one: reverse("biller-payment", args=[one.pk]),
        nowrap=True,
    ),
    lists.Tag("status", "Status", "state", noun="payment", detail=_failure),
    lists.Amount("amount", "Amount", "amount"),
    lists.Column("method", "Method", "instrument"),
    lists.Column("channel", "Channel", "get_channel_display"),
    lists.Column("made_by", "Made by", "made_by"),
)
_IN_THE_FILE: tuple[lists.Column[Payment], ...] = (
    lists.Column("tender", "Tender", "get_tender_display", shown=False),
    lists.Column("pay_type", "Pay type", lambda one: f"{one.pay_type_id} {one.pay_type}", shown=False),
    lists.Column("currency", "Currency", "currency", shown=False),
    lists.Column("fee", "Fee", "fee", shown=False),
    lists.Column("total", "Total", "total", shown=False),
    lists.Column("route", "Route", "route", shown=False),
    lists.Moment("settled", "Settled", "settled_at", shown=False),
    lists.Column("approval_code", "Approval code", "approval_code", shown=False),
    lists.Column("result", "Result", lambda one: in_words(one.result), shown=False),
    lists.Column("deposit", "Deposit", late_words, shown=False),
    lists.Column("unconfirmed", "Confirmed by the bank", unconfirmed_words, shown=False),
    lists.Column("payment", "Payment", "id", shown=False),
)


class PaymentList(StaffPage, lists.ListPage[Payment]):
    """Every payment of the biller."""

    name, title, section = "payments", "Payments", "payments"
    filters = PaymentFilters
    orders = (
        lists.Order("newest", "Newest first", ("-created_at", "-id")),
        lists.Order("oldest", "Oldest first", ("created_at", "id")),
    )
    columns = (
        _COMMON[0],
        lists.Link(
            "account", "Account", "customer.shown_number", url=lambda one: account_url(one.customer_id), nowrap=True
        ),
        lists.Column("name", "Name", "customer.name"),
        *_COMMON[1:],
        *_IN_THE_FILE,
    )
    empty_heading = "No payments yet"
    empty_text = "Payments appear here as they are made, whether they went through or not."
    template_name = "biller_portal/payments/list.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the biller's payments."""
        mine = Payment.objects.visible_to(request.user).filter(biller=self.request.biller)
        return mine.select_related("customer", "instrument", "route", "authorization", "other_type", "unconfirmed")


class AccountPayments(AccountList[Payment]):
    """The payments of one account."""

    name, title, tab = "account-payments", "Payments", "biller-account-payments"
    orders = (lists.Order("newest", "Newest first", ("-created_at", "-id")),)
    columns = (*_COMMON, *_IN_THE_FILE)
    empty_heading = "No payments yet"
    empty_text = "Payments of this account appear here as they are made."

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the account's payments."""
        return Payment.objects.filter(customer=self.customer).select_related(
            "instrument", "route", "authorization", "other_type", "unconfirmed"
        )


def payment_or_404(request: BillerRequest, payment_id: uuid.UUID) -> Payment:
    """Give the biller's payment; another biller's is not found, like one that does not exist."""
    mine = Payment.objects.visible_to(request.user).filter(biller=request.biller)
    return get_object_or_404(
        mine.select_related(
            "customer__biller", "instrument", "route", "biller", "authorization", "other_type", "unconfirmed"
        ),
        pk=payment_id,
    )


@biller_page(Permission.VIEW)
def payment(request: BillerRequest, payment_id: uuid.UUID) -> HttpResponse:
    """Draw one payment: what was paid with what, what it settled, each attempt, and what the biller's system heard."""
    found = payment_or_404(request, payment_id)
    attempts = [
        {"attempt": one, "status": attempt_status(one), "result": in_words(one.result)}
        for one in Attempt.objects.filter(payment=found.leading_id).select_related("route").order_by("sequence")
    ]
    open_cases = list(
        Case.objects.filter(attempt__payment=found.leading_id, state=CaseState.OPEN).order_by("opened_at")
    )
    allocations = found.allocations.exclude(state=AllocationState.VOID).select_related("item__invoice").order_by("pk")
    settled = list(allocations)
    record = Record.objects.filter(pk=found.pk).first()
    entries = AuditEntry.objects.filter(customer=found.customer_id, subject=str(found.pk)).order_by("-pk")[:20]
    context = {
        "title": f"Payment {found.confirmation}",
        "section": "payments",
        "payment": found,
        "status_detail": _failure(found),
        "attempts": attempts,
        "allocations": settled,
        "credit": found.amount - (found.undone or ZERO) - sum(one.amount for one in settled),
        "facts": _facts(found),
        "together": list(Payment.objects.charged_with(found)),
        "record": record,
        "record_url": url_if_any("biller-datapump-record", record.pk) if record else "",
        "entries": [drawn(entry) for entry in entries],
        "money": money_words(found),
        "late": late_words(found),
        "may_take": request.may(Permission.TAKE_PAYMENT) and not open_cases,
        "open_cases": open_cases,
        "waiting": _waits(found),
        "may_confirm": request.may(Permission.GIVE_BACK) and _waits(found),
        "reversals": list(found.reversals.order_by("pk")),
        "may_give_back": request.may(Permission.GIVE_BACK) and _can_go_back(found),
    }
    return render(request, "biller_portal/payments/payment.html", context)


def _waits(payment: Payment) -> bool:
    found: UnconfirmedPayment | None = getattr(payment, "unconfirmed", None)
    return found is not None and found.state == UnconfirmedState.WAITING


def _can_go_back(payment: Payment) -> bool:
    return payment.route_id is not None and payment.state == PaymentState.POSTED


def money_words(payment: Payment) -> str:
    """Say what happened to the money of a payment."""
    amount = formats.money(payment.total, payment.currency)
    if payment.fee:
        amount += f" (a fee of {formats.money(payment.fee, payment.currency)} included)"
    match payment.state:
        case PaymentState.POSTED if payment.undone:
            back = formats.money(payment.undone, payment.currency)
            return f"{amount} was taken and is booked; {back} of it went back."
        case PaymentState.POSTED:
            return f"{amount} was taken and is booked."
        case PaymentState.FAILED:
            return "No money has been taken."
        case PaymentState.AUTHORIZED:
            return (
                f"The bank holds {amount} and nothing has been taken. The bill is kept for this payment until the money is"
                " deposited or released."
            )
        case PaymentState.REVERSED:
            return f"{amount} was taken and went back. What it had paid is open again."
    unknown = f"It is not known yet whether {amount} was taken. The processor is asked until it is."
    return f"{unknown} Do not take the payment again."


def _facts(payment: Payment) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("Amount", formats.money(payment.amount, payment.currency)),
        ("Fee", formats.money(payment.fee, payment.currency) if payment.fee else "None"),
        ("Total", formats.money(payment.total, payment.currency) if payment.fee else ""),
        *_charged_for(payment),
        ("Method", str(payment.instrument) if payment.instrument else ""),
        ("Tender", payment.get_tender_display()),
        ("Pay type", f"{payment.pay_type} ({payment.pay_type_id})"),
        ("Channel", payment.get_channel_display()),
        ("Made by", payment.made_by),
        ("Made", formats.moment(payment.created_at)),
        *_held(payment),
        ("Settled", formats.moment(payment.settled_at) if payment.settled_at else ""),
        ("Result", in_words(payment.result)),
        ("Approval code", payment.approval_code),
        ("Confirmed by the bank", unconfirmed_words(payment).capitalize()),
        ("Route", str(payment.route) if payment.route else ""),
        ("Receipt to", payment.email),
        ("Payment id", str(payment.pk)),
    ]
    return [(label, value) for label, value in facts if value]


def _charged_for(payment: Payment) -> list[tuple[str, object]]:
    mine = payment.fees.select_related("item", "waiver").order_by("item_id")
    return [
        ("Charged for it", f"{formats.money(fee.item.amount, fee.item.currency)}, {fee.words}{_taken_back(fee)}")
        for fee in mine
    ]


def _taken_back(fee: Fee) -> str:
    return " (taken back)" if hasattr(fee, "waiver") else ""


def _held(payment: Payment) -> list[tuple[str, object]]:
    held = _authorization(payment)
    if held is None:
        return []
    until = formats.moment(held.expires_at)
    return [
        ("Authorized on", formats.day(held.authorized_on)),
        (
            "Authorization until",
            f"{until}, expired" if held.ended_at is None and held.expires_at < timezone.now() else until,
        ),
        ("Deposit", late_words(payment)),
        ("Deposited in", f"Run {payment.run_id}" if payment.run_id and payment.state == PaymentState.POSTED else ""),
    ]


@require_POST
@biller_page(Permission.TAKE_PAYMENT)
def deposit(request: BillerRequest, payment_id: uuid.UUID) -> HttpResponse:
    """Take the money of an authorized payment now."""
    found = payment_or_404(request, payment_id)
    try:
        taken = authorizations.deposit(payment=found, actor=request.actor)
    except DomainError as refused:
        messages.error(request, str(refused))
    except GatewayError:
        messages.error(request, "The way to the payment processor is set up wrongly. Tell an administrator.")
    else:
        if taken.state == PaymentState.AUTHORIZED:
            messages.error(request, f"{taken.failure} The money is still held; deposit it later.")
        elif taken.state == PaymentState.POSTED:
            messages.success(request, "The money was taken.")
        elif taken.state == PaymentState.FAILED:
            messages.error(request, f"{taken.failure} No money has been taken.")
    return redirect("biller-payment", found.pk)


@biller_page(Permission.TAKE_PAYMENT)
def release(request: BillerRequest, payment_id: uuid.UUID) -> HttpResponse:
    """Ask, then give up an authorized payment."""
    found = payment_or_404(request, payment_id)
    back = reverse("biller-payment", args=[found.pk])
    if request.method == "POST":
        try:
            given_up = authorizations.release(payment=found, actor=request.actor)
        except DomainError as refused:
            messages.error(request, str(refused))
        except GatewayError:
            messages.error(request, "The way to the payment processor is set up wrongly. Tell an administrator.")
        else:
            if given_up.state == PaymentState.AUTHORIZED:
                messages.error(request, f"{given_up.failure} The money is still held; release it later.")
            elif given_up.state == PaymentState.FAILED:
                messages.success(request, "The payment was released. Nothing is taken.")
        return redirect(back)
    held = _authorization(found)
    until = f" by {formats.moment(held.expires_at)}" if held else " later"
    context = {
        "title": f"Release payment {found.confirmation}?",
        "section": "payments",
        "question": "The bill is free to be paid otherwise, and this payment is never taken. The processor is told to let the"
        f" held money go; where it will not, the bank gives it back{until}. The payer is told.",
        "rows": [
            ("Account", str(found.customer), ""),
            ("Amount", formats.money(found.total, found.currency), ""),
            ("Method", str(found.instrument or ""), ""),
        ],
        "button": "Release the payment",
        "danger": True,
        "back_url": back,
    }
    return render(request, "biller_portal/confirm.html", context)


@biller_page(Permission.VIEW)
def receipt(request: BillerRequest, payment_id: uuid.UUID) -> HttpResponse:
    """Draw the receipt of a payment that went through, to print."""
    return _draw_receipt(request, _paid(request, payment_id))


def _draw_receipt(request: BillerRequest, found: Payment, *, no_pdf: str = "") -> HttpResponse:
    context = {"title": "Receipt", "section": "payments", "payment": found, "no_pdf": no_pdf}
    return render(request, "biller_portal/payments/receipt.html", context, status=502 if no_pdf else 200)


@biller_page(Permission.VIEW)
def receipt_pdf(request: BillerRequest, payment_id: uuid.UUID) -> HttpResponse:
    """Give the receipt of a payment that went through as PDF, in the customer's language."""
    found = _paid(request, payment_id)
    together = list(Payment.objects.charged_with(found))
    try:
        return answer(receipts.receipt(found, language=found.customer.language, together=together))
    except receipts.ReceiptUnavailable as fault:
        return _draw_receipt(request, found, no_pdf=str(fault))


def _paid(request: BillerRequest, payment_id: uuid.UUID) -> Payment:
    found = payment_or_404(request, payment_id)
    if found.state not in receipts.PAID:
        raise Http404("No receipt: nothing was paid.")
    return found
