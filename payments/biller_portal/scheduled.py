"""Scheduled payments of an account, as a CSR makes, changes and cancels them for a caller."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from billing import formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import customer_or_404, frame
from billing.errors import DomainError
from billing.permissions import Permission
from payments.biller_portal.enrolments import HOW
from payments.forms import ScheduleForm, usable_methods
from payments.models import ScheduledPayment
from payments.operations import dues, scheduled_payments


class ConsentForm(forms.Form):
    """How the customer agreed."""

    how = forms.ChoiceField(label="How the customer agreed", choices=list(HOW.items()), widget=forms.RadioSelect)
    agreed = forms.BooleanField(
        label="The customer agreed to exactly these terms",
        error_messages={"required": "A scheduled payment needs the customer’s consent. Read the terms out first."},
    )


@biller_page(Permission.TAKE_PAYMENT)
def schedule(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Ask for day, amount and method; then show the terms to read out, and schedule or change the payment."""
    customer = customer_or_404(request, customer_id)
    current = scheduled_payments.live_of(customer)
    methods = usable_methods(customer)
    due = dues.due(customer=customer)
    stops = ""
    if not customer.biller.allow_scheduled_payments:
        stops = "Scheduled payments are switched off. An administrator can allow them in the payment rules."
    elif due.full <= 0:
        stops = "Nothing is due on this account."
    elif not methods:
        stops = "A scheduled payment needs a method on file."
    posted = request.method == "POST" and not stops
    given = request.POST if posted else None
    form = None if stops else ScheduleForm(given, customer=customer, methods=methods, current=current)
    consent = ConsentForm(given if posted and "review" in request.POST else None)
    asked = form.asked if form is not None and posted and form.is_valid() and "back" not in request.POST else None
    if form is not None and asked is not None and consent.is_valid():
        refused = _do(request, current, form, HOW[consent.cleaned_data["how"]])
        if refused is None:
            return redirect("biller-account-enrolments", customer.pk)
        form.add_error(refused.field if refused.field in form.fields else None, str(refused))
        asked = None
    context = frame(
        request,
        customer,
        "biller-account-enrolments",
        form=form,
        consent=consent,
        asked=asked,
        current=current,
        stops=stops,
        kept=form.kept() if form is not None else [],
        terms=scheduled_payments.consent_text(
            biller_name=customer.biller.name,
            method=str(asked.instrument),
            pay_on=asked.pay_on,
            amount=asked.amount,
            currency=customer.biller.currency,
        )
        if asked
        else "",
    )
    wrong = consent.is_bound if asked else bool(form is not None and form.errors)
    return render(request, "biller_portal/accounts/schedule.html", context, status=422 if wrong else 200)


def _do(request: BillerRequest, current: ScheduledPayment | None, form: ScheduleForm, how: str) -> DomainError | None:
    """Schedule or change it; gives the refusal, where it is refused."""
    asked, key = form.asked, form.cleaned_data["request_key"]
    given: dict[str, Any] = {
        "pay_on": asked.pay_on,
        "amount": asked.amount,
        "instrument": asked.instrument,
        "actor": request.actor,
        "how": how,
    }
    try:
        if current is None or current.request_key == key:
            made = scheduled_payments.schedule(customer=form.customer, request_key=key, **given)
        else:
            made = scheduled_payments.change(scheduled=current, **given)
    except DomainError as refused:
        return refused
    messages.success(request, f"The payment is scheduled for {formats.day(made.pay_on)} with {made.instrument}.")
    return None


@biller_page(Permission.TAKE_PAYMENT)
def cancel(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Ask, then cancel the account's scheduled payment."""
    customer = customer_or_404(request, customer_id)
    back = reverse("biller-account-enrolments", args=[customer.pk])
    current = scheduled_payments.live_of(customer)
    if current is None:
        messages.info(request, "No payment is scheduled for this account.")
        return redirect(back)
    if request.method == "POST":
        try:
            scheduled_payments.cancel(scheduled=current, actor=request.actor)
            messages.success(request, "The scheduled payment is cancelled. Nothing was taken.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect(back)
    context = {
        "title": "Cancel the scheduled payment?",
        "section": "search",
        "question": "The customer is told, and the bill waits to be paid.",
        "rows": [
            ("Account", str(customer), ""),
            ("Day", formats.day(current.pay_on), ""),
            ("Amount", formats.money(current.amount, current.currency), ""),
            ("Paid with", str(current.instrument), ""),
        ],
        "button": "Cancel the payment",
        "danger": True,
        "back_url": back,
    }
    return render(request, "biller_portal/confirm.html", context)
