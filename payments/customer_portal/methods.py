"""The payer's methods of payment: what is on file for each account, adding, choosing the default one, confirming, removing."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from billing import formats
from billing.customer_portal.access import AccountRequest, PayerRequest, account_page, payer_page, refuse_viewer
from billing.errors import DomainError
from billing.models import Customer
from billing.throttles import TooManyTries
from payments.customer_portal import card_entry
from payments.models import AutoPayEnrolment, Instrument, InstrumentKind
from payments.operations import instruments

_NEXT = {"autopay": "customer-autopay-account", "scheduled": "customer-schedule"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A method on file as the page shows it; ``status`` is of the noun ``instrument``."""

    instrument: Instrument
    status: str
    expires: str
    autopay: bool


@dataclass(frozen=True, slots=True)
class AccountMethods:
    """An account, its methods, and the kinds that can be added."""

    customer: Customer
    methods: list[Shown]
    kinds: list[str]


@payer_page
def methods(request: PayerRequest) -> HttpResponseBase:
    """Show what is on file for each account."""
    by_autopay = set(
        request.theirs(AutoPayEnrolment.objects.filter(ended_at=None)).values_list("instrument_id", flat=True)
    )
    shown: list[AccountMethods] = []
    for customer in request.theirs(Customer.objects.select_related("biller")).order_by("biller__name", "number"):
        today = customer.biller.business_date(timezone.now())
        on_file = Instrument.objects.filter(customer=customer).on_file().order_by("-is_default", "-created_at", "-pk")
        rows = [
            Shown(
                instrument=one,
                status="expired" if one.expired(today) else one.state,
                expires=formats.month(one.expires_on) if one.expires_on else "",
                autopay=one.pk in by_autopay,
            )
            for one in on_file
        ]
        shown.append(AccountMethods(customer, rows, card_entry.kinds_for(customer)))
    context = {"title": _("Payment methods"), "section": "methods", "accounts": shown}
    return render(request, "customer_portal/methods.html", context)


@account_page
def add(request: AccountRequest, kind: str) -> HttpResponseBase:
    """Put a card or bank account on file, entered in the processor's own fields."""
    customer = request.customer
    if kind not in card_entry.kinds_for(customer):
        raise Http404("This account cannot use such a method.")
    then = request.GET.get("then", "")
    here = reverse("customer-method-add", kwargs={"customer_id": customer.pk, "kind": kind})
    here += f"?then={then}" if then in _NEXT else ""
    back_url = _after(customer, then)
    context: dict[str, Any] = {
        "title": _("Add a card") if kind == InstrumentKind.CARD else _("Add a bank account"),
        "section": "methods",
        "customer": customer,
        "back_url": back_url,
    }
    status = 200
    token = request.POST.get("token", "") if request.method == "POST" else request.GET.get("token", "")
    if request.method == "POST" or token:
        if (refused := refuse_viewer(request)) is not None:
            return refused
        try:
            added = card_entry.accept(request, token=token, kind=kind, keep=True)
        except DomainError as error:
            context["error"] = str(error)
            status = 429 if isinstance(error, TooManyTries) else 422
        else:
            messages.success(request, _("%(method)s is now on file.") % {"method": str(added)})
            return redirect(back_url)
    context["fields"] = card_entry.fields(request, kind=kind, return_url=here)
    return render(request, "customer_portal/method_entry.html", context, status=status)


@require_POST
@account_page
def make_default(request: AccountRequest, instrument_id: uuid.UUID) -> HttpResponseBase:
    """Make a method the one that is offered first."""
    instrument = _found(request, instrument_id)
    try:
        instruments.make_default(instrument=instrument, actor=request.actor)
    except DomainError as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, _("%(method)s is now offered first.") % {"method": str(instrument)})
    return redirect("customer-methods")


@require_POST
@account_page
def confirm(request: AccountRequest, instrument_id: uuid.UUID) -> HttpResponseBase:
    """Say that a method which the bank declined is good."""
    instrument = _found(request, instrument_id)
    try:
        instruments.confirm(instrument=instrument, actor=request.actor)
    except DomainError as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, _("%(method)s is confirmed and can be charged again.") % {"method": str(instrument)})
    return redirect("customer-methods")


@account_page
def remove(request: AccountRequest, instrument_id: uuid.UUID) -> HttpResponseBase:
    """Ask, then take a method off file."""
    instrument = _found(request, instrument_id)
    if request.method == "POST":
        try:
            instruments.remove(instrument=instrument, actor=request.actor)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            messages.success(request, _("%(method)s was removed.") % {"method": str(instrument)})
        return redirect("customer-methods")
    context = {
        "title": _("Remove this payment method?"),
        "section": "methods",
        "question": _("Payments that were made with it stay in your history."),
        "facts": [(_("Payment method"), str(instrument)), (_("Account"), request.customer.shown_number)],
        "button": _("Remove"),
        "danger": True,
        "back_url": reverse("customer-methods"),
    }
    return render(request, "customer_portal/confirm.html", context)


def _found(request: AccountRequest, instrument_id: uuid.UUID) -> Instrument:
    on_file = Instrument.objects.filter(customer=request.customer).on_file()
    found = request.theirs(on_file).filter(pk=instrument_id).first()
    if found is None:
        raise Http404("Not a method of this account.")
    return found


def _after(customer: Customer, then: str) -> str:
    if then in _NEXT:
        return reverse(_NEXT[then], kwargs={"customer_id": customer.pk})
    return reverse("customer-methods")
