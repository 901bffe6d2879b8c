"""Pay by text as the payer turns it on, confirms it from the phone, changes its number and turns it off.

Source: PBT-3 (customer portal), PBT-13 to PBT-15, PBT-17; the design's evidence 3.4.
"""

from __future__ import annotations

import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from billing import formats, throttles
from billing.customer_portal.access import AccountRequest, account_page
from billing.errors import DomainError
from billing.forms import PhoneField
from billing.throttles import Limit, TooManyTries
from sms.models import Phone, SmsMode
from sms.operations import enrolments, orders, programmes

# Each number that is entered gets a text: a payer mistypes twice, and nobody may have strangers' phones ring.
NUMBERS_OF_ACCOUNT = Limit("text-number", 6, datetime.timedelta(hours=1))
NUMBERS_FROM_ADDRESS = Limit("text-number-from", 20, datetime.timedelta(hours=1))
TEXTS_TO_NUMBER = Limit("text-number-to", 6, datetime.timedelta(hours=1))
_HOW = "In the customer portal."


class NumberForm(forms.Form):
    """The number of the phone that texts go to, and the payer's agreement to the terms that stand above."""

    number = PhoneField(
        label=gettext_lazy("Mobile number"),
        help_text=gettext_lazy("With its area code, such as (555) 555-0123. We send a text to it."),
        error_messages={"required": gettext_lazy("Enter your mobile number")},
    )
    agreed = forms.BooleanField(
        label=gettext_lazy("I have read these terms and agree to them"),
        error_messages={"required": gettext_lazy("Agree to the terms of pay by text first.")},
    )


@account_page
def text(request: AccountRequest) -> HttpResponseBase:
    """Show how the account stands: off, on, or waiting for the phone's word."""
    customer, now = request.customer, timezone.now()
    mode = SmsMode.objects.filter(customer=customer).first()
    voice, line = programmes.voice_of(request.biller), programmes.line_of(request.biller)
    waiting = mode is not None and mode.pending_until is not None and mode.pending_until > now
    if waiting and "HX-Request" in request.headers:
        return HttpResponse(status=204)  # nothing has changed, and whoever reads or types is left alone
    method = orders.default_method(customer)
    context: dict[str, Any] = {
        "title": _("Check your phone") if waiting else _("Pay by text"),
        "section": "home",
        "customer": customer,
        "currency": request.biller.currency,
        "mode": mode,
        "waiting": waiting,
        "line": line,
        "programme": voice.programme,
        "offered": line is not None and not voice.programme.stopped,
        "opted_out": _opted_out(mode, voice.programme.kind),
        "method": method,
        "expired": method is not None and method.expired(request.biller.business_date(now)),
        "parts": request.biller.allow_partial_payments,
    }
    return render(request, "customer_portal/text.html", context)


@account_page
def number(request: AccountRequest) -> HttpResponseBase:
    """Read the terms, give a number and agree; the phone is then asked."""
    customer = request.customer
    try:
        voice, line = programmes.offered(request.biller)
    except programmes.NotOffered:
        return redirect("customer-text", customer.pk)
    mode = SmsMode.objects.filter(customer=customer).first()
    form = NumberForm(request.POST or None)
    language = get_language() or "en"
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                _count(request, form.cleaned_data["number"])
                enrolled = enrolments.enrol(
                    customer=customer,
                    number=form.cleaned_data["number"],
                    consent=enrolments.consent_to(voice.programme, how=_HOW, language=language),
                    actor=request.actor,
                )
            except TooManyTries as refused:
                form.add_error(None, str(refused))
                status = 429
            except DomainError as refused:
                form.add_error(refused.field if refused.field in form.fields else None, str(refused))
            else:
                if enrolled.registered and not enrolled.pending_number:
                    messages.info(request, _("Pay by text is already on with this number."))
                return redirect("customer-text", customer.pk)
    known = mode is not None and (mode.registered or mode.pending_number)
    context = {
        "title": _("Change the mobile number") if known else _("Turn pay by text on"),
        "section": "home",
        "customer": customer,
        "currency": request.biller.currency,
        "mode": mode,
        "known": known,
        "form": form,
        "line": line,
        "programme": voice.programme,
        "terms": enrolments.terms(voice.programme, language=language),
        "back_url": reverse("customer-text" if known else "customer-home", args=[customer.pk] if known else []),
    }
    return render(request, "customer_portal/text_number.html", context, status=status)


@require_POST
@account_page
def again(request: AccountRequest) -> HttpResponseBase:
    """Send the text that asks the phone once more."""
    try:
        enrolments.ask_again(customer=request.customer, actor=request.actor)
    except DomainError as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, _("We sent the text again."))
    return redirect("customer-text", request.customer.pk)


@require_POST
@account_page
def keep(request: AccountRequest) -> HttpResponseBase:
    """Give up the new number; the old one goes on serving."""
    try:
        enrolments.keep_number(customer=request.customer, actor=request.actor)
    except DomainError as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, _("Your number stays as it was."))
    return redirect("customer-text", request.customer.pk)


@account_page
def end(request: AccountRequest) -> HttpResponseBase:
    """Ask, then turn pay by text off."""
    customer = request.customer
    mode = SmsMode.objects.filter(customer=customer).first()
    if mode is None or not (mode.registered or mode.pending_number):
        messages.error(request, str(enrolments.NotEnrolled()))
        return redirect("customer-text", customer.pk)
    if request.method == "POST":
        try:
            enrolments.unenrol(customer=customer, actor=request.actor)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            messages.success(request, _("Pay by text is off. You get no more bills by text."))
        return redirect("customer-text", customer.pk)
    phone = mode.number if mode.registered else mode.pending_number
    context = {
        "title": _("Turn pay by text off?"),
        "section": "home",
        "question": _(
            "You will get no more bills by text and cannot pay by replying. AutoPay and paperless billing stay as they are."
        ),
        "facts": [(_("Account"), customer.shown_number), (_("Mobile number"), formats.masked_phone(phone))],
        "button": _("Turn pay by text off"),
        "danger": True,
        "back_url": reverse("customer-text", args=[customer.pk]),
    }
    return render(request, "customer_portal/confirm.html", context)


def _opted_out(mode: SmsMode | None, programme: str) -> str:
    """Give the account's number where its phone said STOP: only the phone takes that back."""
    if mode is None or mode.registered or mode.pending_number or not mode.number:
        return ""
    phone = Phone.objects.filter(biller_id=mode.biller_id, number=mode.number).first()
    return mode.number if phone is not None and phone.refuses(programme) else ""


def _count(request: AccountRequest, phone: str) -> None:
    tries = [
        (NUMBERS_OF_ACCOUNT, str(request.customer.pk)),
        (NUMBERS_FROM_ADDRESS, request.actor.address or ""),
        (TEXTS_TO_NUMBER, f"{request.biller.pk}:{phone}"),
    ]
    throttles.count(tries=tries, now=timezone.now())
