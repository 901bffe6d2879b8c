"""Rules in the admin, and what came of them: pay types, fees, late bills."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from billing.admin.pages import Audited, ReadOnly
from billing.models import PayType, PayTypeUse
from billing.models.pay_types import LAST_RESERVED
from payments.models import (
    Fee,
    FeeRule,
    FeeWaiver,
    LateBill,
    LateRule,
    Tender,
)
from payments.operations import fee_rules, outside_payments

if TYPE_CHECKING:
    _PayTypeForm = forms.ModelForm[PayType]
    _FeeRuleForm = forms.ModelForm[FeeRule]
    _LateRuleForm = forms.ModelForm[LateRule]
else:
    _PayTypeForm = _FeeRuleForm = _LateRuleForm = forms.ModelForm


class PayTypeForm(_PayTypeForm):
    """A pay type; what a reserved one is stays."""

    tender = forms.ChoiceField(
        choices=[("", "None: no payment can be recorded with it"), *Tender.choices], required=False
    )
    channels = forms.TypedMultipleChoiceField(
        choices=[(one.value, one.label) for one in outside_payments.CHANNELS],
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Where it may be taken. None chosen: anywhere.",
    )

    class Meta:
        model = PayType
        fields = ("name", "use", "tender", "reference_pattern", "least", "most", "channels", "active")

    def clean_reference_pattern(self) -> str:
        """Refuse what is no regular expression."""
        pattern: str = self.cleaned_data["reference_pattern"]
        try:
            re.compile(pattern)
        except re.error as wrong:
            raise forms.ValidationError(f"This is no regular expression: {wrong}.") from None
        return pattern

    def clean(self) -> dict[str, Any]:
        """Hold together what a payment, or an account, of it has."""
        given = super().clean() or self.cleaned_data
        use = given.get("use", self.instance.use)
        if use == PayTypeUse.ACCOUNT:
            for name in ("tender", "reference_pattern", "least", "most", "channels"):
                if given.get(name):
                    self.add_error(name, "An account is of it, and no payment.")
        elif "tender" in self.fields and not given.get("tender") and "tender" not in self.errors:
            self.add_error("tender", "Choose as what payments of it are booked and told.")
        if given.get("least") and given.get("most") and given["most"] < given["least"]:
            self.add_error("most", "The most is not below the least.")
        return given


@admin.register(PayType)
class PayTypeAdmin(Audited):
    """The numbered kinds of money and of accounts; an administrator's own have numbers above the reserved ones (PAY-38)."""

    form = PayTypeForm
    list_display = ("id", "name", "use", "tender", "active")
    list_filter = ("use", "active")
    ordering = ("id",)

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Keep what a reserved one is, and what payments of any were booked as."""
        if isinstance(obj, PayType):
            return ("name", "use", "tender") if obj.reserved else ("use", "tender")
        return ()

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse: payments and accounts name it; one that is not active is not offered."""
        return False

    def save_model(self, request: HttpRequest, obj: PayType, form: forms.ModelForm[Any], change: bool) -> None:
        """Give a new one the next number above the reserved ones."""
        if not change:
            last = PayType.objects.aggregate(last=models.Max("id"))["last"]
            obj.id = max(last or 0, LAST_RESERVED) + 1
        super().save_model(request, obj, form, change)


class FeeRuleForm(_FeeRuleForm):
    """A rule of fees, held to what the portal holds it to."""

    class Meta:
        model = FeeRule
        fields = (
            "biller", "words", "words_es", "occasion", "amount", "percent", "least", "most", "least_payment", "most_payment",
            "tenders", "channels", "results", "return_codes", "segments", "active",
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Check the rule."""
        given = super().clean() or self.cleaned_data
        _check_rule(self, given, fee_rules.FeeTerms)
        return given


class LateRuleForm(_LateRuleForm):
    """A rule of late bills, held to what the portal holds it to."""

    class Meta:
        model = LateRule
        fields = (
            "biller", "words", "words_es", "action", "days", "minimum", "due_from", "amount", "percent", "least", "most",
            "segments", "active",
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Check the rule."""
        given = super().clean() or self.cleaned_data
        _check_rule(self, given, fee_rules.LateTerms)
        return given


def _check_rule(
    form: forms.ModelForm[Any], given: dict[str, Any], terms: type[fee_rules.FeeTerms | fee_rules.LateTerms]
) -> None:
    if form.errors:
        return
    biller = given.get("biller") or form.instance.biller
    said = {field.name: given[field.name] for field in dataclasses.fields(terms) if field.name in given}
    try:
        fee_rules.check(biller=biller, terms=terms(**said))
    except fee_rules.RuleRefused as refused:
        form.add_error(refused.field or None, str(refused))


class RulePage(Audited):
    """Rules that a biller's administrators keep as well; what was charged names them, so that they are switched off."""

    list_filter = ("biller", "active")
    list_select_related = ("biller",)

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Keep a rule its biller's."""
        return ("biller",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse."""
        return False


@admin.register(FeeRule)
class FeeRuleAdmin(RulePage):
    """When billers charge fees for failed and returned payments (PAY-36)."""

    form = FeeRuleForm
    list_display = ("words", "biller", "occasion", "fee", "active")


@admin.register(LateRule)
class LateRuleAdmin(RulePage):
    """What billers do about late bills (PAY-35)."""

    form = LateRuleForm
    list_display = ("words", "biller", "action", "days", "minimum", "fee", "active")


@admin.register(Fee)
class FeeAdmin(ReadOnly):
    """Fees that were charged; taken back in the biller's portal."""

    list_display = ("charged_at", "biller", "customer", "words", "reason", "item", "payment")
    list_select_related = ("biller", "customer", "item", "payment")
    list_filter = ("biller",)
    search_fields = ("id", "payment", "customer")


@admin.register(FeeWaiver)
class FeeWaiverAdmin(ReadOnly):
    """Fees that were taken back."""

    list_display = ("waived_at", "biller", "customer", "fee", "reason", "made_by")
    list_select_related = ("biller", "customer", "fee")
    list_filter = ("biller",)
    search_fields = ("fee", "customer")


@admin.register(LateBill)
class LateBillAdmin(ReadOnly):
    """Which late bills rules have acted on."""

    list_display = ("day", "biller", "customer", "invoice", "rule", "owed")
    list_select_related = ("biller", "customer", "invoice", "rule")
    list_filter = ("biller",)
    search_fields = ("invoice", "customer")
