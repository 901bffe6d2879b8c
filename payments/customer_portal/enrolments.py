"""AutoPay and paperless billing as the payer turns them on and off."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.customer_portal.access import AccountRequest, PayerRequest, account_page, payer_page
from billing.errors import DomainError
from billing.models import Customer
from billing.operations import payers
from payments.customer_portal import card_entry
from payments.models import AutoPayEnrolment, Instrument, InstrumentKind
from payments.operations import enrolments, groups


@dataclass(frozen=True, slots=True)
class AccountEnrolment:
    """An account and its AutoPay, where it is on."""

    customer: Customer
    autopay: AutoPayEnrolment | None


class ConsentForm(forms.Form):
    """The payer's agreement to the terms that stand above it, and for which accounts besides this one."""

    agreed = forms.BooleanField(
        label=gettext_lazy("I have read these terms and agree to them"),
        error_messages={"required": gettext_lazy("Agree to the AutoPay terms first")},
    )
    others = forms.ModelMultipleChoiceField(
        label=gettext_lazy("Also turn AutoPay on for these accounts"),
        queryset=Customer.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=gettext_lazy("They are billed together with this account, and are charged in one payment."),
    )

    def __init__(self, *args: Any, companions: Sequence[Customer], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not companions:
            del self.fields["others"]
            return
        others = cast("forms.ModelMultipleChoiceField[Customer]", self.fields["others"])
        others.queryset = Customer.objects.filter(pk__in=[one.pk for one in companions]).order_by("number")
        others.initial = [one.pk for one in companions]


@payer_page
def autopay(request: PayerRequest) -> HttpResponseBase:
    """Show for each account whether AutoPay is on."""
    customers = list(request.theirs(Customer.objects.select_related("biller")).order_by("biller__name", "number"))
    running = {
        one.customer_id: one
        for one in request.theirs(AutoPayEnrolment.objects.filter(ended_at=None).select_related("instrument"))
    }
    accounts = [AccountEnrolment(customer, running.get(customer.pk)) for customer in customers]
    context = {"title": _("AutoPay"), "section": "autopay", "accounts": accounts}
    return render(request, "customer_portal/autopay.html", context)


@account_page
def autopay_account(request: AccountRequest) -> HttpResponseBase:
    """Choose the method for AutoPay, read the terms for it, and agree."""
    customer, biller = request.customer, request.biller
    now = timezone.now()
    running = _running(customer)
    companions = _companions(request)
    # The method that AutoPay has already may still be chosen for more accounts.
    usable = [one for one in _usable(request) if companions or running is None or one.pk != running.instrument_id]
    chosen = _chosen(request, usable)
    context: dict[str, Any] = {
        "title": _("Change the AutoPay method") if running else _("Turn AutoPay on"),
        "section": "autopay",
        "customer": customer,
        "running": running,
        "usable": usable,
        "chosen": chosen,
        "add_urls": [
            (
                _("Add a card") if kind == InstrumentKind.CARD else _("Add a bank account"),
                reverse("customer-method-add", kwargs={"customer_id": customer.pk, "kind": kind}) + "?then=autopay",
            )
            for kind in card_entry.kinds_for(customer)
        ],
        "back_url": reverse("customer-autopay"),
    }
    if chosen is None:
        return render(request, "customer_portal/autopay_method.html", context)
    form = ConsentForm(request.POST or None, companions=companions)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            agreed: dict[str, Any] = {
                "customer": customer, "instrument": chosen, "agreed": form.cleaned_data["agreed"],
                "actor": request.actor, "now": now,
            }  # fmt: skip
            try:
                if others := list(form.cleaned_data.get("others", [])):
                    enrolments.enrol_together(others=others, **agreed)
                else:
                    enrolments.enrol_autopay(**agreed)
            except DomainError as refused:
                form.add_error(refused.field if refused.field in form.fields else None, str(refused))
            else:
                messages.success(request, _("AutoPay is on with %(method)s.") % {"method": str(chosen)})
                return redirect("customer-autopay")
    context |= {
        "form": form,
        "terms": enrolments.consent_text(biller_name=biller.name, method=str(chosen)),
        "together": enrolments.together_text(customers=[customer, *companions]) if companions else "",
        "first": enrolments.first_collection(customer=customer, now=now),
        "balance": customer.balance,
        "currency": biller.currency,
    }
    return render(request, "customer_portal/autopay_terms.html", context, status=status)


@account_page
def autopay_end(request: AccountRequest) -> HttpResponseBase:
    """Ask, then turn AutoPay off."""
    customer = request.customer
    running = _running(customer)
    if running is None:
        messages.info(request, _("AutoPay is not on for this account."))
        return redirect("customer-autopay")
    if request.method == "POST":
        try:
            enrolments.end_autopay(customer=customer, actor=request.actor)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            words = _("AutoPay is off. Your bills are not paid by themselves any more.")
            messages.success(request, words)
        return redirect("customer-autopay")
    context = {
        "title": _("Turn AutoPay off?"),
        "section": "autopay",
        "question": _(
            "Bills that are due will wait for you to pay them. A payment that is already on its way is not called back."
        ),
        "facts": [(_("Account"), customer.shown_number), (_("Paid with"), str(running.instrument))],
        "button": _("Turn AutoPay off"),
        "danger": True,
        "back_url": reverse("customer-autopay"),
    }
    return render(request, "customer_portal/confirm.html", context)


@payer_page
def paperless(request: PayerRequest) -> HttpResponseBase:
    """Show for each account whether its bills come on paper."""
    customers = request.theirs(Customer.objects.select_related("biller")).order_by("biller__name", "number")
    context = {"title": _("Paperless billing"), "section": "paperless", "customers": customers}
    return render(request, "customer_portal/paperless.html", context)


@account_page
def paperless_account(request: AccountRequest) -> HttpResponseBase:
    """Ask, then turn paperless billing on or off."""
    customer, payer = request.customer, request.payer
    turn_on = not customer.paperless
    if request.method == "POST":
        form = WantedForm(request.POST)
        if not form.is_valid():
            messages.error(request, _("Choose again how your bills come."))
            return redirect("customer-paperless")
        wanted = form.cleaned_data["wanted"] == "on"
        try:
            if wanted and not customer.email and payer is not None:
                payers.lend_email(customer=customer, user=payer, actor=request.actor)
            changed = enrolments.set_paperless(customer=customer, enrolled=wanted, actor=request.actor)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            if changed:
                on, off = _("Paperless billing is on."), _("Paperless billing is off. Your next bill comes by mail.")
                messages.success(request, on if wanted else off)
        return redirect("customer-paperless")
    address = customer.email or (payer.email if payer else "")
    on = _("Your bills will come by e-mail and no longer on paper. Each e-mail says what is due and when.")
    off = _("Your bills will come on paper again, by mail, to the address below.")
    where = (_("E-mail address"), address) if turn_on else (_("Address"), _address(customer))
    context = {
        "title": _("Turn paperless billing on?") if turn_on else _("Turn paperless billing off?"),
        "section": "paperless",
        "question": on if turn_on else off,
        "facts": [(_("Account"), customer.shown_number), where],
        "button": _("Turn paperless on") if turn_on else _("Turn paperless off"),
        "form": WantedForm(initial={"wanted": "on" if turn_on else "off"}),
        "back_url": reverse("customer-paperless"),
    }
    return render(request, "customer_portal/confirm.html", context)


class WantedForm(forms.Form):
    """What the button was drawn for, so that a page left open does the opposite of nothing."""

    wanted = forms.ChoiceField(choices=[("on", "on"), ("off", "off")], widget=forms.HiddenInput)


def _address(customer: Customer) -> str:
    lines = (customer.address1, customer.address2, f"{customer.city} {customer.state} {customer.zip}".strip())
    return ", ".join(line for line in lines if line)


def _running(customer: Customer) -> AutoPayEnrolment | None:
    return AutoPayEnrolment.objects.filter(customer=customer, ended_at=None).select_related("instrument").first()


def _usable(request: AccountRequest) -> list[Instrument]:
    customer = request.customer
    today = request.biller.business_date(timezone.now())
    blocked = [kind for kind in InstrumentKind if customer.blocks(kind)]
    usable = Instrument.objects.filter(customer=customer).usable(today).exclude(kind__in=blocked)
    return list(usable.order_by("-is_default", "-created_at", "-pk"))


def _companions(request: AccountRequest) -> list[Customer]:
    """Give the payer's other accounts that are billed in one group with this one."""
    if request.payer is None:
        return []
    mine = set(request.theirs(Customer.objects.all()).values_list("pk", flat=True))
    return [one for one in groups.companions(customer=request.customer) if one.pk in mine]


def _chosen(request: AccountRequest, usable: list[Instrument]) -> Instrument | None:
    """Give the method of the query string; with one alone there is nothing to choose."""
    asked = request.GET.get("method", "")
    try:
        wanted = uuid.UUID(asked)
    except ValueError:
        return usable[0] if len(usable) == 1 and not asked else None
    return next((one for one in usable if one.pk == wanted), None)
