"""The rules of fees and late bills among a biller's settings, and taking one fee back (PAY-35, PAY-36)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from billing import formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import customer_or_404
from billing.biller_portal.settings import answer_refusal, settings_tabs
from billing.errors import DomainError
from billing.forms import DayField, MoneyField, WordsField
from billing.models import Biller
from billing.permissions import Permission
from payments import results
from payments.models import Channel, Fee, FeeOccasion, FeeRule, LateAction, LateRule
from payments.operations import fee_rules, fees
from payments.operations.fee_rules import FeeTerms, LateTerms

# Of what payers do not see fail, and so would have to be told why they are charged.
_AT_FIRST = (Channel.AUTOPAY, Channel.SCHEDULED)


def _words_in(text: str) -> list[str]:
    return list(dict.fromkeys(" ".join(word.split()) for word in text.split(",") if word.strip()))


class RuleForm(forms.Form):
    """What fee rules and late rules share: how much is charged, to whom, in which words."""

    order: tuple[str, ...] = ()
    lists: tuple[str, ...] = ("segments",)

    words = WordsField(
        label="What payers read",
        max_length=120,
        help_text="On their account and in the notice, such as “Returned payment fee” or “Late fee”.",
    )
    words_es = WordsField(
        label="The same in Spanish",
        required=False,
        max_length=120,
        help_text="For payers who read Spanish, such as “Cargo por pago devuelto”. Empty: the words above.",
        widget=forms.TextInput(attrs={"lang": "es"}),
    )
    percent = forms.DecimalField(
        label="Or a percentage of it",
        required=False,
        min_value=Decimal("0.01"),
        max_value=Decimal(100),
        decimal_places=2,
        widget=forms.NumberInput(attrs={"class": "width-4", "step": "0.01"}),
    )
    segments = WordsField(
        label="Only accounts of these segments",
        required=False,
        max_length=400,
        help_text="Separated by commas, as they stand on the accounts. Empty: every account.",
    )
    active = forms.BooleanField(label="The rule is on", required=False, initial=True)

    def __init__(self, data: Any, *, biller: Biller, rule: FeeRule | LateRule | None) -> None:
        super().__init__(data, initial=self._starting(rule))
        optional: dict[str, Any] = {"currency": biller.currency, "required": False}
        self.fields["amount"] = MoneyField(label="Fee", **optional)
        self.fields["least"] = MoneyField(label="Then at least", **optional)
        self.fields["most"] = MoneyField(label="And at most", **optional)
        if rule is None:
            del self.fields["active"]

    def _starting(self, rule: FeeRule | LateRule | None) -> dict[str, Any]:
        if rule is None:
            return {}
        given: dict[str, Any] = {
            name: getattr(rule, name) for name in (*self.base_fields, *_MONEY) if hasattr(rule, name)
        }
        return {**given, **{name: ", ".join(given[name]) for name in self.lists}}

    def clean_segments(self) -> list[str]:
        """Read the segments."""
        return _words_in(self.cleaned_data["segments"])


_MONEY = ("amount", "least", "most", "least_payment", "most_payment", "minimum")


class FeeRuleForm(RuleForm):
    """One rule of fees for payments."""

    lists = ("segments", "return_codes")
    order = (
        "words", "words_es", "occasion", "amount", "percent", "least", "most", "least_payment", "most_payment", "tenders",
        "channels", "results", "return_codes", "segments", "active",
    )  # fmt: skip

    occasion = forms.ChoiceField(label="When", choices=FeeOccasion.choices, initial=FeeOccasion.RETURNED)
    tenders = forms.MultipleChoiceField(
        label="Paid with",
        choices=[(one.value, one.label) for one in fee_rules.TENDERS],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: either.",
    )
    channels = forms.TypedMultipleChoiceField(
        label="Paid through",
        choices=[(one.value, one.label) for one in Channel if one != Channel.UNSPECIFIED],
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        initial=_AT_FIRST,
        help_text="None ticked: any. A payer who tries twice in the customer portal is declined twice.",
    )
    return_codes = WordsField(
        label="Codes of returns",
        required=False,
        max_length=400,
        help_text="As banks give them, such as R01, R09. Empty: every return for want of funds or of an account.",
    )

    def __init__(self, data: Any, *, biller: Biller, rule: FeeRule | LateRule | None) -> None:
        super().__init__(data, biller=biller, rule=rule)
        optional: dict[str, Any] = {"currency": biller.currency, "required": False}
        self.fields["least_payment"] = MoneyField(label="Only payments of at least", **optional)
        self.fields["most_payment"] = MoneyField(label="And at most, of the payment", **optional)
        self.fields["results"] = forms.TypedMultipleChoiceField(
            label="Declines",
            choices=[(one, results.in_words(one)) for one in fee_rules.results_to_choose()],
            coerce=int,
            required=False,
            widget=forms.CheckboxSelectMultiple,
            help_text="None ticked: 5, 7 and 8. A soft decline counts once it is not tried again.",
        )
        self.order_fields(self.order)

    def clean_return_codes(self) -> list[str]:
        """Read the codes."""
        return _words_in(self.cleaned_data["return_codes"])


class LateRuleForm(RuleForm):
    """One rule of late bills."""

    order = (
        "words", "words_es", "action", "days", "minimum", "due_from", "amount", "percent", "least", "most", "segments", "active",
    )  # fmt: skip

    action = forms.ChoiceField(label="What is done", choices=LateAction.choices)
    days = forms.IntegerField(
        label="Days after the due date",
        min_value=1,
        max_value=365,
        widget=forms.NumberInput(attrs={"class": "width-4"}),
    )
    due_from = DayField(
        label="For bills due from", help_text="What was due before is left alone. For example, 11/22/2026"
    )

    def __init__(self, data: Any, *, biller: Biller, rule: FeeRule | LateRule | None) -> None:
        super().__init__(data, biller=biller, rule=rule)
        self.fields["minimum"] = MoneyField(
            label="Where at least so much is owed of the bill",
            currency=biller.currency,
            help_text="After the account’s credits, which go to the oldest bill first.",
        )
        self.fields["amount"].help_text = "Empty where the account is set inactive."
        if rule is None:
            self.initial["due_from"] = biller.business_date(timezone.now())
        self.order_fields(self.order)


@biller_page(Permission.CHANGE_SETTINGS)
def rules(request: BillerRequest) -> HttpResponse:
    """Draw the biller's rules of fees and of late bills."""
    mine = {"biller": request.biller}
    context = {
        "title": "Fees and late bills",
        "section": "settings",
        "tabs": settings_tabs("biller-fee-rules"),
        "fee_rules": [
            {"rule": one, "when": _when(one)}
            for one in FeeRule.objects.filter(**mine).select_related("biller").order_by("-active", "pk")[:200]
        ],
        "late_rules": list(
            LateRule.objects.filter(**mine).select_related("biller").order_by("-active", "days", "pk")[:200]
        ),
    }
    return render(request, "biller_portal/settings/fees.html", context)


def _when(rule: FeeRule) -> str:
    """Say in words which payments a fee rule is for."""
    currency = rule.biller.currency
    both = rule.occasion == FeeOccasion.BOTH
    parts = ["A payment is declined, or a bank returns it" if both else rule.get_occasion_display()]
    if rule.least_payment is not None:
        parts.append(f"from {formats.money(rule.least_payment, currency)}")
    if rule.most_payment is not None:
        parts.append(f"up to {formats.money(rule.most_payment, currency)}")
    tenders = {one.value: one.label for one in fee_rules.TENDERS}
    parts += [str(tenders[one]) for one in rule.tenders]
    parts += [str(Channel(one).label) for one in rule.channels]
    parts += [results.in_words(one) for one in rule.results]
    return ", ".join([*parts, *rule.return_codes, *rule.segments])


@biller_page(Permission.CHANGE_SETTINGS)
def add_fee_rule(request: BillerRequest) -> HttpResponse:
    """Ask for a rule of fees, and add it."""

    def keep(given: dict[str, Any]) -> None:
        fee_rules.add_fee_rule(biller=request.biller, terms=FeeTerms(**given), actor=request.actor)

    form = FeeRuleForm(request.POST or None, biller=request.biller, rule=None)
    return _edit(request, form, "Add a rule for fees", keep, "Added.")


@biller_page(Permission.CHANGE_SETTINGS)
def fee_rule(request: BillerRequest, rule_id: int) -> HttpResponse:
    """Draw a rule of fees and change it."""
    rule = get_object_or_404(FeeRule.objects.visible_to(request.user).filter(biller=request.biller), pk=rule_id)

    def keep(given: dict[str, Any]) -> None:
        active = given.pop("active")
        fee_rules.change_fee_rule(rule=rule, terms=FeeTerms(**given), active=active, actor=request.actor)

    form = FeeRuleForm(request.POST or None, biller=request.biller, rule=rule)
    return _edit(request, form, rule.words, keep, "Saved.")


@biller_page(Permission.CHANGE_SETTINGS)
def add_late_rule(request: BillerRequest) -> HttpResponse:
    """Ask for a rule of late bills, and add it."""

    def keep(given: dict[str, Any]) -> None:
        fee_rules.add_late_rule(biller=request.biller, terms=LateTerms(**given), actor=request.actor)

    form = LateRuleForm(request.POST or None, biller=request.biller, rule=None)
    return _edit(request, form, "Add a rule for late bills", keep, "Added.")


@biller_page(Permission.CHANGE_SETTINGS)
def late_rule(request: BillerRequest, late_rule_id: int) -> HttpResponse:
    """Draw a rule of late bills and change it."""
    rule = get_object_or_404(LateRule.objects.visible_to(request.user).filter(biller=request.biller), pk=late_rule_id)

    def keep(given: dict[str, Any]) -> None:
        active = given.pop("active")
        fee_rules.change_late_rule(rule=rule, terms=LateTerms(**given), active=active, actor=request.actor)

    form = LateRuleForm(request.POST or None, biller=request.biller, rule=rule)
    return _edit(request, form, rule.words, keep, "Saved.")


def _edit(
    request: BillerRequest, form: RuleForm, title: str, keep: Callable[[dict[str, Any]], None], done: str
) -> HttpResponse:
    if request.method == "POST" and form.is_valid():
        try:
            keep(dict(form.cleaned_data))
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(request, done)
            return redirect("biller-fee-rules")
    context = {
        "title": title,
        "section": "settings",
        "tabs": settings_tabs("biller-fee-rules"),
        "form": form,
        "button": "Keep the rule",
    }
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "biller_portal/settings/form.html", context, status=status)


class WaiverForm(forms.Form):
    """Why a fee is taken back."""

    reason = WordsField(
        label="Why",
        max_length=200,
        help_text="The payer reads it.",
        error_messages={"required": "Say why it is taken back"},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


@biller_page(Permission.GIVE_BACK)
def waive(request: BillerRequest, customer_id: int, fee_id: uuid.UUID) -> HttpResponse:
    """Ask why, then take a fee back."""
    customer = customer_or_404(request, customer_id)
    fee = get_object_or_404(Fee.objects.filter(customer=customer).select_related("item", "waiver"), pk=fee_id)
    form = WaiverForm(request.POST or None)
    amount = formats.money(fee.item.amount, fee.item.currency)
    if request.method == "POST" and form.is_valid():
        try:
            fees.waive(fee=fee, reason=form.cleaned_data["reason"], actor=request.actor, now=timezone.now())
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(
                request, f"The fee of {amount} was taken back. The payer and the biller’s system are told."
            )
            return redirect("biller-account", customer.pk)
    context = {
        "title": f"Take the fee of {amount} back?",
        "section": "search",
        "question": "What is open of it is closed; what was paid of it is the customer’s credit.",
        "rows": [
            ("Account", f"{customer.shown_number} · {customer.name}", ""),
            ("Fee", fee.words, ""),
            ("For", fee.reason, ""),
            ("Charged", formats.moment(fee.charged_at), ""),
        ],
        "form": form,
        "button": "Take it back",
        "danger": True,
        "back_url": reverse("biller-account", args=[customer.pk]),
    }
    return render(request, "biller_portal/confirm.html", context, status=422 if form.is_bound else 200)
