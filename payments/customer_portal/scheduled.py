"""Scheduled payments as the payer makes, changes and cancels them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from billing import formats
from billing.customer_portal.access import AccountRequest, PayerRequest, account_page, payer_page
from billing.errors import DomainError
from billing.models import Customer
from payments.customer_portal import card_entry
from payments.forms import Asked, ScheduleForm, usable_methods
from payments.models import InstrumentKind, ScheduledPayment
from payments.operations import dues, scheduled_payments

_EARLIER_MOST = 20


@dataclass(frozen=True, slots=True)
class AccountSchedule:
    """An account, what is scheduled for it, and whether something can be."""

    customer: Customer
    live: ScheduledPayment | None
    earlier: list[ScheduledPayment]
    offered: bool


@payer_page
def scheduled(request: PayerRequest) -> HttpResponseBase:
    """Show for each account what is scheduled and what became of what was."""
    shown = []
    for customer in request.theirs(Customer.objects.select_related("biller")).order_by("biller__name", "number"):
        rows = ScheduledPayment.objects.filter(customer=customer).select_related("instrument", "payment")
        newest = list(rows.order_by("-created_at", "-pk")[:_EARLIER_MOST])
        live = next((one for one in newest if one.ended_at is None), None)
        offered = customer.biller.allow_scheduled_payments and customer.balance > 0
        shown.append(AccountSchedule(customer, live, [one for one in newest if one.ended_at is not None], offered))
    context = {"title": _("Scheduled payments"), "section": "scheduled", "accounts": shown}
    return render(request, "customer_portal/scheduled.html", context)


@account_page
def schedule(request: AccountRequest) -> HttpResponseBase:
    """Ask for day, amount and method, show them with the words that are agreed to, and schedule or change the payment."""
    customer, biller = request.customer, request.biller
    current = scheduled_payments.live_of(customer)
    methods = usable_methods(customer)
    context: dict[str, Any] = {
        "title": _("Change the scheduled payment") if current else _("Schedule a payment"),
        "section": "scheduled",
        "customer": customer,
        "currency": biller.currency,
        "current": current,
        "due": dues.due(customer=customer),
        "methods": methods,
        "back_url": reverse("customer-scheduled"),
        "add_urls": [
            (
                _("Add a card") if kind == InstrumentKind.CARD else _("Add a bank account"),
                reverse("customer-method-add", kwargs={"customer_id": customer.pk, "kind": kind}) + "?then=scheduled",
            )
            for kind in card_entry.kinds_for(customer)
        ],
    }
    if not biller.allow_scheduled_payments or context["due"].full <= 0:
        words = str(scheduled_payments.SchedulingOff() if not biller.allow_scheduled_payments else _("Nothing is due."))
        messages.info(request, words)
        return redirect("customer-scheduled")
    if not methods:
        return render(request, "customer_portal/schedule.html", context)
    if request.method != "POST":
        context["form"] = ScheduleForm(customer=customer, methods=methods, current=current)
        return render(request, "customer_portal/schedule.html", context)
    form = ScheduleForm(request.POST, customer=customer, methods=methods, current=current)
    context["form"] = form
    if form.is_valid() and "back" not in request.POST:
        if "agreed" not in request.POST:
            return _review(request, context, form)
        refused = _do(request, current, form)
        if refused is None:
            return redirect("customer-scheduled")
        form.add_error(refused.field if refused.field in form.fields else None, str(refused))
    status = 200 if "back" in request.POST and form.is_valid() else 422
    return render(request, "customer_portal/schedule.html", context, status=status)


def _do(request: AccountRequest, current: ScheduledPayment | None, form: ScheduleForm) -> DomainError | None:
    """Schedule or change it; gives the refusal, where it is refused."""
    asked = form.asked
    key = form.cleaned_data["request_key"]
    given: dict[str, Any] = {
        "pay_on": asked.pay_on,
        "amount": asked.amount,
        "instrument": asked.instrument,
        "actor": request.actor,
    }
    try:
        if current is None or current.request_key == key:
            made = scheduled_payments.schedule(customer=request.customer, request_key=key, **given)
        else:
            made = scheduled_payments.change(scheduled=current, **given)
    except DomainError as refused:
        return refused
    messages.success(request, _("Your payment is scheduled for %(day)s.") % {"day": formats.day(made.pay_on)})
    return None


def _review(request: AccountRequest, context: dict[str, Any], form: ScheduleForm) -> HttpResponse:
    asked, biller = form.asked, request.biller
    context |= {
        "title": _("Check your scheduled payment"),
        "rows": [
            (_("To"), biller.name, ""),
            (_("Account"), f"{request.customer.shown_number} · {request.customer.name}", ""),
            (_("Day"), formats.day(asked.pay_on), ""),
            (_("Amount"), amount_words(asked, biller.currency), ""),
            (_("Paid with"), str(asked.instrument), ""),
        ],
        "terms": scheduled_payments.consent_text(
            biller_name=biller.name,
            method=str(asked.instrument),
            pay_on=asked.pay_on,
            amount=asked.amount,
            currency=biller.currency,
        ),
        "kept": form.kept(),
    }
    return render(request, "customer_portal/schedule_review.html", context)


def amount_words(asked: Asked, currency: str) -> str:
    """Say how much is taken."""
    amount = formats.money(asked.planned, currency)
    if asked.amount is None:
        return _("All that is due on that day; today that is %(amount)s") % {"amount": amount}
    return _("%(amount)s, or what is due then where that is less") % {"amount": amount}


@account_page
def cancel(request: AccountRequest) -> HttpResponseBase:
    """Ask, then cancel the scheduled payment of the account."""
    current = scheduled_payments.live_of(request.customer)
    if current is None:
        messages.info(request, _("No payment is scheduled for this account."))
        return redirect("customer-scheduled")
    if request.method == "POST":
        try:
            scheduled_payments.cancel(scheduled=current, actor=request.actor)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            messages.success(request, _("The scheduled payment is cancelled. No money has been taken."))
        return redirect("customer-scheduled")
    context = {
        "title": _("Cancel the scheduled payment?"),
        "section": "scheduled",
        "question": _("Your bill waits for you to pay it."),
        "facts": [
            (_("Account"), request.customer.shown_number),
            (_("Day"), formats.day(current.pay_on)),
            (_("Amount"), formats.money(current.amount, current.currency)),
            (_("Paid with"), str(current.instrument)),
        ],
        "button": _("Cancel the payment"),
        "danger": True,
        "back_url": reverse("customer-scheduled"),
    }
    return render(request, "customer_portal/confirm.html", context)
