"""Methods on file of an account: added through the processor's own fields, made the default, confirmed, removed."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from billing import throttles
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import customer_or_404, frame
from billing.biller_portal.settings import answer_refusal
from billing.errors import DomainError
from billing.forms import WordsField
from billing.models import Customer
from billing.permissions import Permission
from payments.customer_portal.card_entry import TOKEN_LONGEST, kinds_for, route_for
from payments.gateways.base import GatewayError, HostedFields
from payments.hosted_pages import hosted_fields
from payments.models import DebitMethod, Instrument, InstrumentKind, Route, Verification
from payments.operations import debits, declines, instruments
from payments.operations.debits import Agreement
from payments.results import in_words

# A CSR on the telephone enters a card every few minutes; whoever tries stolen ones enters many.
CARD_ENTRY = throttles.Limit("csr-card-entry", 60, datetime.timedelta(minutes=30))

# So many of the latest verifications are shown.
VERIFICATIONS = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a new method is entered: the route that will charge it and the processor's own fields."""

    kind: str
    route: Route
    fields: HostedFields


class TokenForm(forms.Form):
    """What comes back from the processor's fields: a token and never a number; of a bank account also how its holder agreed."""

    token = forms.CharField(max_length=TOKEN_LONGEST, widget=forms.HiddenInput)
    keep = forms.BooleanField(
        label="Keep it on file for this account",
        required=False,
        help_text="The customer can use it again, and AutoPay can.",
    )

    def __init__(self, *args: Any, kind: str, kept: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if kept:
            del self.fields["keep"]
        if kind == InstrumentKind.BANK:
            # A check agrees to one debit, and is never kept.
            ways = [(value, label) for value, label in DebitMethod.choices if not (kept and debits.MANDATORY[value])]
            self.fields["debit_method"] = forms.ChoiceField(
                label="How the holder agreed to be debited",
                choices=[one for one in ways if one[0] != DebitMethod.INTERNET],
                initial=DebitMethod.TELEPHONE,
            )
            if not kept:
                for name, label in debits.LABELS.items():
                    self.fields[name] = WordsField(
                        label=label, required=False, max_length=debits.LONGEST, help_text="Of a check only."
                    )

    @property
    def agreement(self) -> Agreement:
        """How the holder agreed, as it was entered."""
        given = self.cleaned_data
        return Agreement(
            given.get("debit_method", ""), {name: given[name] for name in debits.LABELS if given.get(name)}
        )


def entry(request: BillerRequest, customer: Customer, kind: str, *, back_to: str) -> Entry:
    """Give the fields for a new method of a kind; without JavaScript the processor comes back to ``back_to``.

    :raises Http404: the account takes no method of this kind.
    :raises instruments.ProcessorUnavailable: the route is set up wrongly.
    """
    route = route_for(request.biller, kind) if kind in kinds_for(customer) else None
    if route is None:
        raise Http404("Not a kind of method for this account.")
    try:
        fields = hosted_fields(request, route=route, customer=customer, kind=kind, return_url=back_to, language="en")
    except GatewayError as error:
        raise instruments.ProcessorUnavailable from error
    return Entry(kind, route, fields)


def add_from(
    request: BillerRequest, customer: Customer, asked: Entry, form: TokenForm, *, keep: bool
) -> Instrument | None:
    """Add what a token stands for; where it is refused the form says why and nothing is given."""
    now = timezone.now()
    try:
        throttles.count(tries=[(CARD_ENTRY, f"{request.biller.pk}:{request.user.pk}")], now=now)
        return instruments.add(
            customer=customer,
            route=asked.route,
            token=form.cleaned_data["token"],
            keep=keep,
            actor=request.actor,
            agreement=form.agreement,
        )
    except debits.AgreementRefused as refused:
        answer_refusal(form, refused)
    except DomainError as refused:
        form.add_error(None, f"{refused} No money has been taken.")
        # A token serves once: the fields must be filled in again.
        form.data = {name: value for name, value in form.data.items() if name != "token"}
    return None


def on_file(customer: Customer) -> list[dict[str, Any]]:
    """Give an account's methods with how each stands: ready, expired, blocked, not usable."""
    now = timezone.now()
    today = customer.biller.business_date(now)
    found = []
    for one in (
        Instrument.objects.filter(customer=customer).on_file().select_related("route").order_by("-is_default", "-pk")
    ):
        state = "expired" if one.state == "active" and one.expired(today) else one.state
        blocked = customer.blocks(one.kind)
        usable = state == "active" and not blocked and one.served
        why = declines.words(one, declines.standing(instrument=one, now=now))
        found.append({"method": one, "state": state, "blocked": blocked, "usable": usable, "why": why})
    return found


@biller_page(Permission.VIEW)
def methods(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Draw the methods on file."""
    customer = customer_or_404(request, customer_id)
    context = frame(
        request,
        customer,
        "biller-account-methods",
        methods=on_file(customer),
        kinds=kinds_for(customer) if request.may(Permission.ENTER_CARD) else [],
        verifications=[
            (one, in_words(one.result))
            for one in Verification.objects.filter(customer=customer).order_by("-created_at")[:VERIFICATIONS]
        ],
    )
    return render(request, "biller_portal/accounts/methods.html", context)


@biller_page(Permission.ENTER_CARD)
def add(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Draw the processor's fields for a new method; a POST brings the token."""
    customer = customer_or_404(request, customer_id)
    kind = request.GET.get("kind", "card")
    here = f"{reverse('biller-account-method-add', args=[customer.pk])}?{urlencode({'kind': kind})}"
    back = reverse("biller-account-methods", args=[customer.pk])
    form = TokenForm(
        request.POST if request.method == "POST" else None,
        initial={"token": request.GET.get("token", "")},
        kind=kind,
        kept=True,
    )
    try:
        asked = entry(request, customer, kind, back_to=here)
    except DomainError as refused:
        messages.error(request, str(refused))
        return redirect(back)
    if request.method == "POST" and form.is_valid():
        added = add_from(request, customer, asked, form, keep=True)
        if added is not None:
            messages.success(request, f"{added} is on file.")
            return redirect(back)
    context = frame(
        request,
        customer,
        "biller-account-methods",
        form=form,
        entry=asked,
        back_url=back,
        came_back="token" in request.GET,
        button="Keep on file",
    )
    return render(request, "biller_portal/accounts/method_add.html", context, status=422 if form.is_bound else 200)


@require_POST
@biller_page(Permission.CHANGE_ENROLMENT)
def make_default(request: BillerRequest, customer_id: int, instrument_id: uuid.UUID) -> HttpResponse:
    """Make a method the default one."""
    customer, instrument = _method_or_404(request, customer_id, instrument_id)
    try:
        instruments.make_default(instrument=instrument, actor=request.actor)
        messages.success(request, f"{instrument} is the default method.")
    except DomainError as refused:
        messages.error(request, str(refused))
    return redirect("biller-account-methods", customer.pk)


@require_POST
@biller_page(Permission.CHANGE_ENROLMENT)
def confirm(request: BillerRequest, customer_id: int, instrument_id: uuid.UUID) -> HttpResponse:
    """Say for the customer that a method which the bank declined is good."""
    customer, instrument = _method_or_404(request, customer_id, instrument_id)
    try:
        instruments.confirm(instrument=instrument, actor=request.actor)
        messages.success(request, f"{instrument} is confirmed and may be charged again.")
    except DomainError as refused:
        messages.error(request, str(refused))
    return redirect("biller-account-methods", customer.pk)


@biller_page(Permission.CHANGE_ENROLMENT)
def remove(request: BillerRequest, customer_id: int, instrument_id: uuid.UUID) -> HttpResponse:
    """Ask, then take a method off file."""
    customer, instrument = _method_or_404(request, customer_id, instrument_id)
    back = reverse("biller-account-methods", args=[customer.pk])
    if request.method == "POST":
        try:
            instruments.remove(instrument=instrument, actor=request.actor)
            messages.success(request, f"{instrument} is not on file any more.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect(back)
    context = {
        "title": f"Remove {instrument}?",
        "section": "search",
        "question": "It cannot be charged any more. Payments that were made with it stay as they are.",
        "rows": [
            ("Account", str(customer), ""),
            ("Method", str(instrument), ""),
            ("Holder", instrument.holder or "–", ""),
        ],
        "button": "Remove the method",
        "danger": True,
        "back_url": back,
    }
    return render(request, "biller_portal/confirm.html", context)


def _method_or_404(request: BillerRequest, customer_id: int, instrument_id: uuid.UUID) -> tuple[Customer, Instrument]:
    customer = customer_or_404(request, customer_id)
    return customer, get_object_or_404(Instrument.objects.filter(customer=customer).on_file(), pk=instrument_id)
