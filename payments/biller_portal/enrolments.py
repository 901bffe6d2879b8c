"""Enrolments of an account: AutoPay with the consent that was given, paperless billing; on and off for a caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from billing import formats
from billing.actors import Requestor
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import DOORS, customer_or_404, frame
from billing.errors import DomainError
from billing.models import CollectRule, Customer, PayType, PayTypeUse
from billing.permissions import Permission
from payments.biller_portal.methods import on_file
from payments.models import AutoPayEnrolment, ScheduledPayment
from payments.operations import enrolments, groups

HOW = {
    "phone": "On the telephone: the terms were read out and the customer agreed.",
    "person": "In person: the customer read the terms and agreed.",
    "paper": "In writing: a signed form is on file.",
}


class ConsentForm(forms.Form):
    """How the customer agreed."""

    how = forms.ChoiceField(label="How the customer agreed", choices=list(HOW.items()), widget=forms.RadioSelect)
    agreed = forms.BooleanField(
        label="The customer agreed to exactly these terms",
        error_messages={"required": "AutoPay needs the customer’s consent. Read the terms out first."},
    )
    others = forms.ModelMultipleChoiceField(
        label="Also turn AutoPay on for these accounts of the owner",
        queryset=Customer.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="They are billed together with this account, and are charged in one payment.",
    )

    def __init__(self, *args: Any, companions: Sequence[Customer], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not companions:
            del self.fields["others"]
            return
        others = cast("forms.ModelMultipleChoiceField[Customer]", self.fields["others"])
        others.queryset = Customer.objects.filter(pk__in=[one.pk for one in companions]).order_by("number")
        others.initial = [one.pk for one in companions]
        self.order_fields(["others", "how", "agreed"])


@biller_page(Permission.VIEW)
def enrolled(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Draw what the account is enrolled in, with the evidence of consent, and what it was enrolled in before."""
    customer = customer_or_404(request, customer_id)
    every = list(AutoPayEnrolment.objects.filter(customer=customer).select_related("instrument").order_by("-pk")[:20])
    current = next((one for one in every if one.ended_at is None), None)
    context = frame(
        request,
        customer,
        "biller-account-enrolments",
        autopay=current,
        consent=_consent(current) if current else [],
        earlier=[one for one in every if one.ended_at is not None],
        scheduled=_scheduled(customer),
        collection=_collection(customer),
        next_on=enrolments.first_collection(customer=customer, now=timezone.now()) if current else None,
    )
    return render(request, "biller_portal/accounts/enrolments.html", context)


def _collection(customer: Customer) -> str:
    """Say whether and when AutoPay collects the account's bills."""
    if customer.pay_type is not None:
        return f"No run collects from this account: it pays as {customer.pay_type} ({customer.pay_type_id})."
    rule = CollectRule(customer.collect_rule or customer.biller.collect_rule)
    days = customer.collect_days if customer.collect_rule else customer.biller.collect_days
    words = f"{days or 0} days before its due date" if rule == CollectRule.BEFORE_DUE else rule.label.lower()
    return f"A bill is collected {words}{'' if customer.collect_rule else ', as the payment rules say'}."


def _scheduled(customer: Customer) -> list[ScheduledPayment]:
    """Give the account's scheduled payments, what has not ended first."""
    rows = ScheduledPayment.objects.filter(customer=customer).select_related("instrument", "invoice", "payment")
    return sorted(rows.order_by("-created_at", "-pk")[:20], key=lambda one: one.ended_at is not None)


def _consent(enrolment: AutoPayEnrolment) -> list[tuple[str, object]]:
    facts = [
        ("Method", str(enrolment.instrument)),
        (
            "Consent recorded by" if enrolment.consent_requestor == Requestor.CSR else "Consent given by",
            enrolment.consent_by,
        ),
        ("Through", DOORS[Requestor(enrolment.consent_requestor)]),
        ("On", formats.moment(enrolment.consented_at)),
        ("From", enrolment.consent_address or ""),
        ("Terms", f"Version {enrolment.consent_version}"),
        (
            "First collection as told",
            formats.day(enrolment.first_collection_on) if enrolment.first_collection_on else "With the next bill",
        ),
    ]
    return [(label, value) for label, value in facts if value]


@biller_page(Permission.CHANGE_ENROLMENT)
def autopay(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Turn AutoPay on, or move it to another method: first the method, then its terms to read out and the consent."""
    customer = customer_or_404(request, customer_id)
    methods = on_file(customer)
    picked = next(
        (one["method"] for one in methods if one["usable"] and str(one["method"].pk) == request.GET.get("method")), None
    )
    companions = groups.companions(customer=customer)
    form = ConsentForm(request.POST if request.method == "POST" else None, companions=companions)
    if request.method == "POST" and picked is not None and form.is_valid():
        agreed: dict[str, Any] = {
            "customer": customer, "instrument": picked, "agreed": form.cleaned_data["agreed"],
            "how": HOW[form.cleaned_data["how"]], "actor": request.actor,
        }  # fmt: skip
        try:
            if others := list(form.cleaned_data.get("others", [])):
                made = enrolments.enrol_together(others=others, **agreed)[0]
            else:
                made = enrolments.enrol_autopay(**agreed)
        except DomainError as refused:
            form.add_error(refused.field if refused.field in form.fields else None, str(refused))
        else:
            first = f"on {formats.day(made.first_collection_on)}" if made.first_collection_on else "with the next bill"
            messages.success(request, f"AutoPay is on with {picked}. The first collection is {first}.")
            return redirect("biller-account-enrolments", customer.pk)
    context = frame(
        request,
        customer,
        "biller-account-enrolments",
        methods=methods,
        picked=picked,
        form=form,
        terms=enrolments.consent_text(biller_name=customer.biller.name, method=str(picked)) if picked else "",
        together=enrolments.together_text(customers=[customer, *companions]) if companions else "",
        first_on=enrolments.first_collection(customer=customer, now=timezone.now()),
        may_enter=request.may(Permission.ENTER_CARD),
    )
    return render(request, "biller_portal/accounts/autopay.html", context, status=422 if form.is_bound else 200)


class CollectionForm(forms.Form):
    """When AutoPay collects the account's bills."""

    rule = forms.ChoiceField(label="AutoPay collects a bill", required=False, widget=forms.RadioSelect)
    days = forms.IntegerField(
        label="Days before the due date",
        min_value=0,
        max_value=60,
        required=False,
        help_text="For “Days before its due date”.",
        widget=forms.NumberInput(attrs={"class": "width-4"}),
    )

    pay_type = forms.ModelChoiceField(
        label="How the account pays",
        queryset=PayType.objects.filter(use=PayTypeUse.ACCOUNT),
        required=False,
        empty_label="By AutoPay where it is enrolled, else each bill",
        help_text="With any other choice no run ever collects from it; payments that somebody makes are taken as before.",
    )

    def __init__(self, *args: Any, customer: Customer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        usual = CollectRule(customer.biller.collect_rule).label.lower()
        rule = cast("forms.ChoiceField", self.fields["rule"])
        rule.choices = [("", f"As the payment rules say: {usual}"), *CollectRule.choices]

    def clean(self) -> dict[str, Any]:
        """Want days where they count."""
        given = super().clean() or self.cleaned_data
        if given.get("rule") == CollectRule.BEFORE_DUE and given.get("days") is None and "days" not in self.errors:
            self.add_error("days", "Enter a number of days")
        return given


@biller_page(Permission.CHANGE_ENROLMENT)
def collection(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Choose when AutoPay collects the account's bills (PAY-12)."""
    customer = customer_or_404(request, customer_id)
    back = reverse("biller-account-enrolments", args=[customer.pk])
    initial = {"rule": customer.collect_rule, "days": customer.collect_days, "pay_type": customer.pay_type_id}
    form = CollectionForm(request.POST if request.method == "POST" else None, customer=customer, initial=initial)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            changed = enrolments.choose_collection(
                customer=customer,
                rule=CollectRule(given["rule"]) if given["rule"] else None,
                days=given["days"] or 0,
                pay_type=given["pay_type"],
                actor=request.actor,
            )
        except DomainError as refused:
            form.add_error(refused.field if refused.field in form.fields else None, str(refused))
        else:
            messages.success(request, "Saved." if changed else "Nothing was different, so nothing was changed.")
            return redirect(back)
    context = frame(request, customer, "biller-account-enrolments", form=form, back_url=back)
    return render(request, "biller_portal/accounts/collection.html", context, status=422 if form.is_bound else 200)


@biller_page(Permission.CHANGE_ENROLMENT)
def end_autopay(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Ask, then turn AutoPay off."""
    customer = customer_or_404(request, customer_id)
    back = reverse("biller-account-enrolments", args=[customer.pk])
    if request.method == "POST":
        try:
            enrolments.end_autopay(customer=customer, actor=request.actor)
            messages.success(request, "AutoPay is off.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect(back)
    return _question(
        request,
        customer,
        "Turn AutoPay off?",
        "Bills are no longer collected; the customer pays each one. A payment on its way still goes through.",
        "Turn AutoPay off",
        danger=True,
    )


@biller_page(Permission.CHANGE_ENROLMENT)
def paperless(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Ask, then turn paperless billing on or off, whichever it is not."""
    customer = customer_or_404(request, customer_id)
    wanted = not customer.paperless
    if request.method == "POST":
        # The page said which way; a second press of its button must not turn it back.
        form = _Direction(request.POST)
        if not form.is_valid():
            messages.error(request, "Choose again whether bills come on paper.")
            return redirect("biller-account-enrolments", customer.pk)
        asked = form.cleaned_data["to"] == "on"
        try:
            changed = enrolments.set_paperless(customer=customer, enrolled=asked, actor=request.actor)
            words = "on" if asked else "off"
            messages.success(
                request, f"Paperless billing is {words}." if changed else f"Paperless billing was {words} already."
            )
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect("biller-account-enrolments", customer.pk)
    return _question(
        request,
        customer,
        "Turn paperless billing on?" if wanted else "Turn paperless billing off?",
        f"Bills go to {customer.email or 'an e-mail address, which this account does not have'} instead of on paper."
        if wanted
        else "Bills go out on paper again.",
        "Turn paperless on" if wanted else "Turn paperless off",
        form=_Direction(initial={"to": "on" if wanted else "off"}),
    )


class _Direction(forms.Form):
    to = forms.ChoiceField(choices=[("on", "on"), ("off", "off")], widget=forms.HiddenInput)


def _question(
    request: BillerRequest, customer: Customer, title: str, question: str, button: str, **more: Any
) -> HttpResponse:
    context = {
        "title": title,
        "section": "search",
        "question": question,
        "rows": [("Account", str(customer), "")],
        "button": button,
        "back_url": reverse("biller-account-enrolments", args=[customer.pk]),
        **more,
    }
    return render(request, "biller_portal/confirm.html", context)
