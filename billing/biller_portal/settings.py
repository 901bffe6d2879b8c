"""The settings of a biller: look and contact, payment rules, the stop switch, API keys. Every change is audited."""

from __future__ import annotations

import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from billing import formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.links import url_if_any
from billing.errors import DomainError
from billing.forms import DayField, MoneyField, PhoneField, WordsField
from billing.models import ApiToken, Biller, CollectRule, GuestSecret, Scope
from billing.money import ZERO
from billing.operations import api_tokens, billers
from billing.permissions import Permission

TABS = (
    ("Look and contact", "biller-settings"),
    ("Payment rules", "biller-rules"),
    ("Fees", "biller-fee-rules"),
    ("Cards and bank accounts", "biller-method-rules"),
    ("Stop switch", "biller-charging"),
    ("DataPump", "biller-datapump-settings"),
    ("Text programme", "biller-text-settings"),
    ("People", "biller-people"),
    ("Your own portal", "biller-portal"),
    ("API keys", "biller-api-keys"),
    ("Audit", "biller-audit"),
)


def settings_tabs(current: str) -> list[dict[str, Any]]:
    """Give the tabs of the settings; ``current`` is the URL name of the open one."""
    return [
        {"label": label, "url": url, "current": name == current} for label, name in TABS if (url := url_if_any(name))
    ]


def answer_refusal(form: forms.Form, refused: DomainError) -> None:
    """Show an operation's refusal at the field it names, else above the form."""
    form.add_error(refused.field if refused.field in form.fields else None, str(refused))


class LookForm(forms.Form):
    """How the portals look."""

    name = WordsField(label="Name", max_length=120, help_text="As payers read it on every page, bill and receipt.")
    accent = forms.CharField(
        label="Accent colour",
        widget=forms.TextInput(attrs={"type": "color"}),
        help_text="Of buttons and links. It is darkened or lightened where text in it could not be read.",
    )
    logo = forms.FileField(
        label="Logo", required=False, help_text="PNG, JPEG or WebP, at most 512 kB, on a clear ground."
    )
    remove_logo = forms.BooleanField(label="Use no logo", required=False)
    phone = PhoneField(label="Phone for payers", required=False)
    email = forms.EmailField(label="E-mail address for payers", required=False)


@biller_page(Permission.CHANGE_SETTINGS)
def look(request: BillerRequest) -> HttpResponse:
    """Draw and change the look and the contact."""
    biller = request.biller
    initial = {"name": biller.name, "accent": biller.accent, "phone": biller.phone, "email": biller.email}
    form = LookForm(request.POST or None, request.FILES or None, initial=initial)
    if not biller.logo:
        del form.fields["remove_logo"]
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        file = given["logo"]
        try:
            changed = billers.change_look(
                biller=biller,
                look=billers.Look(given["name"], given["accent"], given["phone"], given["email"]),
                # One byte more than is allowed is enough to refuse it.
                logo=file.read(billers.LOGO_LARGEST + 1) if file else None,
                remove_logo=given.get("remove_logo", False),
                actor=request.actor,
            )
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(request, "Saved." if changed else "Nothing was different, so nothing was changed.")
            return redirect("biller-settings")
    return _page(request, "biller_portal/settings/look.html", "biller-settings", "Look and contact", form=form)


class RulesForm(forms.Form):
    """What payments are taken."""

    allow_partial_payments = forms.BooleanField(
        label="Payers may pay a part of a bill",
        required=False,
        help_text="A bill’s own rule in the invoice file goes before this.",
    )
    allow_scheduled_payments = forms.BooleanField(
        label="Payers may schedule a payment for a later day",
        required=False,
        help_text="What is scheduled already is still made.",
    )
    guest_secret = forms.ChoiceField(
        label="What a guest must know",
        choices=GuestSecret.choices,
        help_text="Beside the account number, to pay without signing in.",
    )
    collect_rule = forms.ChoiceField(label="AutoPay collects a bill", choices=CollectRule.choices)
    collect_days = forms.IntegerField(
        label="Days before the due date",
        min_value=0,
        max_value=60,
        widget=forms.NumberInput(attrs={"class": "width-4"}),
    )
    retry_days = forms.CharField(
        label="Try again after a soft decline",
        required=False,
        help_text="Days after the first decline, such as 3, 5. Empty: AutoPay does not try again.",
        widget=forms.TextInput(attrs={"class": "width-10", "inputmode": "numeric"}),
    )

    rebill_weekly = forms.BooleanField(
        label="Every Monday, try every open bill of active accounts again",
        required=False,
        help_text="Whatever its collection date: also what was declined for good once its method is confirmed or replaced.",
    )
    rebill_monthly = forms.BooleanField(
        label="On the first of every month, try every open bill of inactive and closed accounts",
        required=False,
    )
    release_days = forms.IntegerField(
        label="Days after which an authorization that nobody deposited is released",
        min_value=0,
        max_value=365,
        help_text="The deposit runs that start by themselves take those of the last 30 days. 0: none is released by itself.",
        widget=forms.NumberInput(attrs={"class": "width-4"}),
    )
    return_hosts = forms.CharField(
        label="Hosts that CloudPay may lead back to",
        required=False,
        max_length=1000,
        help_text="Of your own system, such as cis.example, separated by commas. Empty: none.",
    )

    def __init__(self, *args: Any, biller: Biller, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["minimum_collected"] = MoneyField(
            label="Least that AutoPay collects",
            currency=biller.currency,
            help_text="Smaller bills wait for the next one.",
        )
        self.fields["prepaid_least"] = MoneyField(
            label="Least that is added to a prepaid account", currency=biller.currency
        )
        self.fields["prepaid_most"] = MoneyField(
            label="Most that is added to a prepaid account at once", currency=biller.currency
        )
        self.fields["prepaid_threshold"] = MoneyField(
            label="Tell prepaid customers when their balance falls below",
            currency=biller.currency,
            least=ZERO,
            required=False,
            help_text="Where they chose no other amount. Empty: nobody is told who chose none.",
        )
        self.order_fields(
            [
                "allow_partial_payments",
                "allow_scheduled_payments",
                "guest_secret",
                "collect_rule",
                "collect_days",
                "minimum_collected",
                "retry_days",
                "rebill_weekly",
                "rebill_monthly",
                "release_days",
                "return_hosts",
            ]
        )

    def clean_return_hosts(self) -> list[str]:
        """Read the hosts."""
        return sorted(set(self.cleaned_data["return_hosts"].lower().replace(",", " ").split()))

    def clean_retry_days(self) -> list[int]:
        """Read the days."""
        text = self.cleaned_data["retry_days"].replace(",", " ")
        try:
            return [int(word) for word in text.split()]
        except ValueError:
            raise forms.ValidationError("Enter numbers of days, such as 3, 5.") from None


@biller_page(Permission.CHANGE_SETTINGS)
def rules(request: BillerRequest) -> HttpResponse:
    """Draw and change the payment rules."""
    biller = request.biller
    initial = {
        "allow_partial_payments": biller.allow_partial_payments,
        "allow_scheduled_payments": biller.allow_scheduled_payments,
        "guest_secret": biller.guest_secret,
        "collect_rule": biller.collect_rule,
        "collect_days": biller.collect_days,
        "minimum_collected": biller.minimum_collected,
        "prepaid_least": biller.prepaid_least,
        "prepaid_most": biller.prepaid_most,
        "prepaid_threshold": biller.prepaid_threshold,
        "retry_days": ", ".join(str(day) for day in biller.retry_days),
        "rebill_weekly": biller.rebill_weekly,
        "rebill_monthly": biller.rebill_monthly,
        "release_days": biller.release_days,
        "return_hosts": ", ".join(biller.return_hosts),
    }
    form = RulesForm(request.POST or None, biller=biller, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            changed = billers.change_rules(biller=biller, rules=billers.Rules(**form.cleaned_data), actor=request.actor)
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(request, "Saved." if changed else "Nothing was different, so nothing was changed.")
            return redirect("biller-rules")
    return _page(
        request, "biller_portal/settings/form.html", "biller-rules", "Payment rules", form=form, button="Save the rules"
    )


class StopForm(forms.Form):
    """Why charging is stopped."""

    reason = WordsField(
        label="Reason", max_length=200, help_text="Kept in the audit trail, and seen by your colleagues."
    )


@biller_page(Permission.CHANGE_SETTINGS)
def charging(request: BillerRequest) -> HttpResponse:
    """Draw the stop switch."""
    return _page(request, "biller_portal/settings/charging.html", "biller-charging", "Stop switch")


@biller_page(Permission.CHANGE_SETTINGS)
def stop_charging(request: BillerRequest) -> HttpResponse:
    """Ask for the reason, then stop everything that charges."""
    form = StopForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            billers.stop_charging(biller=request.biller, reason=form.cleaned_data["reason"], actor=request.actor)
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.warning(request, "All charging is stopped. Nothing is charged until somebody allows it again.")
            return redirect("biller-charging")
    context = {
        "title": "Stop all charging?",
        "section": "settings",
        "question": "Nobody is charged while charging is stopped: no AutoPay, no payment in a portal, no API.",
        "facts": [
            ("Runs", "A run that is under way ends after the part it is at."),
            ("Payments on their way", "Their results are still taken in; no money is lost."),
            ("Payers", "They read that no payments are taken at the moment."),
        ],
        "form": form,
        "button": "Stop all charging",
        "danger": True,
        "back_url": reverse("biller-charging"),
    }
    return render(request, "biller_portal/confirm.html", context, status=422 if form.is_bound else 200)


@biller_page(Permission.CHANGE_SETTINGS)
def allow_charging(request: BillerRequest) -> HttpResponse:
    """Ask, then let charging go on."""
    if request.method == "POST":
        try:
            billers.allow_charging(biller=request.biller, actor=request.actor)
            messages.success(request, "Charging is allowed again.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect("biller-charging")
    context = {
        "title": "Allow charging again?",
        "section": "settings",
        "question": "Payments are taken again at once, and AutoPay collects what is due with its next run.",
        "button": "Allow charging",
        "back_url": reverse("biller-charging"),
    }
    return render(request, "biller_portal/confirm.html", context)


class KeyForm(forms.Form):
    """A new API key."""

    name = WordsField(label="Name", max_length=60, help_text="The system that will use it, such as “Website”.")
    expires_on = DayField(
        label="Ends on", required=False, help_text="Empty: it works until it is revoked. For example, 11/22/2027"
    )
    scopes = forms.MultipleChoiceField(
        label="What it may do",
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=[Scope.READ],
        help_text="As little as the system needs. A key is not changed later: make another one.",
        error_messages={"required": "Choose what the key may do."},
    )


@biller_page(Permission.CHANGE_SETTINGS)
def api_keys(request: BillerRequest) -> HttpResponse:
    """Draw the biller's API keys; a POST makes one and shows it, this once."""
    form = KeyForm(request.POST or None)
    made: api_tokens.Made | None = None
    if request.method == "POST" and form.is_valid():
        last = form.cleaned_data["expires_on"]
        ends = (
            datetime.datetime.combine(last + datetime.timedelta(days=1), datetime.time.min, tzinfo=request.biller.zone)
            if last
            else None
        )
        try:
            made = api_tokens.make(
                biller=request.biller,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires_at=ends,
                actor=request.actor,
            )
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            form = KeyForm()
    now = timezone.now()
    keys = [
        {
            "key": key,
            "live": key.revoked_at is None and (key.expires_at is None or key.expires_at > now),
            "may": "everything" if set(key.scopes) == set(Scope.values) else ", ".join(key.scopes),
        }
        for key in ApiToken.objects.visible_to(request.user)
        .filter(biller=request.biller)
        .order_by("revoked_at", "-pk")[:200]
    ]
    response = _page(
        request, "biller_portal/settings/api_keys.html", "biller-api-keys", "API keys", form=form, keys=keys, made=made
    )
    # The one page in the portal that holds a secret must not lie in anybody's cache.
    response["Cache-Control"] = "no-store"
    return response


@biller_page(Permission.CHANGE_SETTINGS)
def revoke_api_key(request: BillerRequest, token_id: int) -> HttpResponse:
    """Ask, then revoke an API key."""
    mine = ApiToken.objects.visible_to(request.user).filter(biller=request.biller)
    token = get_object_or_404(mine, pk=token_id)
    if request.method == "POST":
        try:
            api_tokens.revoke(token=token, actor=request.actor)
            messages.success(request, f"The key “{token.name}” does not work any more.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect("biller-api-keys")
    used = formats.day(token.last_used_on) if token.last_used_on else "Never"
    context = {
        "title": f"Revoke the key “{token.name}”?",
        "section": "settings",
        "question": "Whoever uses it is refused from now on. It cannot be brought back.",
        "rows": [
            ("Begins with", token.prefix, ""),
            ("May", ", ".join(token.scopes), ""),
            ("Made by", token.created_by, ""),
            ("Last used", used, ""),
        ],
        "button": "Revoke the key",
        "danger": True,
        "back_url": reverse("biller-api-keys"),
    }
    return render(request, "biller_portal/confirm.html", context)


def _page(request: BillerRequest, template: str, tab: str, title: str, **context: Any) -> HttpResponse:
    form = context.get("form")
    wrong = isinstance(form, forms.Form) and form.is_bound and bool(form.errors)
    whole = {"title": title, "section": "settings", "tabs": settings_tabs(tab), **context}
    return render(request, template, whole, status=422 if wrong else 200)
