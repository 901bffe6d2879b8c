"""Payments in the admin: routes and answer codes to set up, everything that is money to read."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db import models
from django.forms.forms import DeclarativeFieldsMetaclass
from django.http import HttpRequest

from billing.admin.pages import Audited, ReadOnly
from billing.models import PayType, PayTypeUse
from billing.models.pay_types import LAST_RESERVED
from payments import results, route_options
from payments.gateways.base import Misconfigured
from payments.gateways.registry import DRIVERS, OPTIONS, open_gateway
from payments.models import (
    Allocation,
    AnswerCode,
    Attempt,
    Authorization,
    AutoPayEnrolment,
    Carryover,
    Case,
    CheckAnswer,
    Checkpoint,
    CloudPayment,
    Fee,
    FeeRule,
    FeeWaiver,
    Instrument,
    LateBill,
    LateRule,
    MethodRules,
    Payment,
    ProcessorEvent,
    RetryLimit,
    Reversal,
    ReversalDebit,
    Route,
    ScheduledPayment,
    Tender,
    UnconfirmedPayment,
    Verification,
)
from payments.operations import fee_rules, heartbeats, outside_payments

if TYPE_CHECKING:
    _RouteForm = forms.ModelForm[Route]
    _AnswerCodeForm = forms.ModelForm[AnswerCode]
    _PayTypeForm = forms.ModelForm[PayType]
    _FeeRuleForm = forms.ModelForm[FeeRule]
    _LateRuleForm = forms.ModelForm[LateRule]
    _CheckAnswerForm = forms.ModelForm[CheckAnswer]
else:
    _RouteForm = _AnswerCodeForm = _PayTypeForm = _FeeRuleForm = _LateRuleForm = _CheckAnswerForm = forms.ModelForm


def _drivers() -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(DRIVERS)]


# The options of every driver as fields: which driver a new route has is chosen on the same page.
_Options: Any = DeclarativeFieldsMetaclass("_Options", (forms.Form,), {**route_options.FIELDS})


class RouteForm(_Options, _RouteForm):  # type: ignore[misc]  # made of the drivers' declarations
    """A route, opened once before it is kept: a mistake is found here and not when somebody pays."""

    driver = forms.ChoiceField(choices=_drivers)
    tenders = forms.MultipleChoiceField(
        choices=[(Tender.CARD, Tender.CARD.label), (Tender.ACH, Tender.ACH.label)], widget=forms.CheckboxSelectMultiple
    )
    new_secret = forms.CharField(
        label="Secret",
        required=False,
        max_length=500,
        strip=True,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        help_text="Kept encrypted and never shown again; leave it empty to keep the one there is.",
    )

    class Meta:
        model = Route
        fields = (
            "biller", "name", "driver", "merchant", "currency", "tenders", "descriptor", "descriptor_phone", "confirmation_days",
            "active",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        route = kwargs.get("instance")
        if route is not None:
            kwargs["initial"] = {**route_options.initial(route.driver, route.options), **(kwargs.get("initial") or {})}
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        """Open the driver with what was given."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        driver = given.get("driver") or self.instance.driver
        if driver in OPTIONS:
            # What another driver would take is nobody's business here.
            own = {route_options.name_of(driver, option) for option in OPTIONS[driver]}
            for name in [name for name in self.errors if name in route_options.FIELDS and name not in own]:
                del self.errors[name]
            for name in route_options.missing(driver, given):
                if name not in self.errors:
                    self.add_error(name, "This driver cannot do without it.")
        if self.errors:
            return given
        if "currency" in given and given["currency"] != given["biller"].currency:
            self.add_error("currency", f"{given['biller']} is paid in {given['biller'].currency}.")
            return given
        if given.get("descriptor_phone") and not given.get("descriptor"):
            self.add_error("descriptor_phone", "A number stands beside a descriptor: write that too.")
            return given
        given["options"] = options = route_options.read(driver, given, self.instance.options)
        secret = given["new_secret"] or (self.instance.secret if self.instance.pk else "")
        try:
            open_gateway(driver, {**options, "merchant": given["merchant"]}, secret)
        except (Misconfigured, ValueError) as wrong:
            self.add_error(None, f"The driver cannot be opened like this: {wrong}.")
        return given


_ROUTE = (
    "biller", "name", "driver", "merchant", "new_secret", "currency", "tenders", "descriptor", "descriptor_phone",
    "confirmation_days", "active", "told_at", "heartbeat",
)  # fmt: skip


@admin.register(Route)
class RouteAdmin(Audited):
    """Processors and merchant accounts (PAY-20)."""

    form = RouteForm
    list_display = ("name", "biller", "driver", "merchant", "currency", "tenders", "active", "heartbeat")
    list_select_related = ("biller",)
    list_filter = ("biller", "driver", "active")
    ordering = ("biller__name", "name")
    actions = ("ping",)

    def get_fieldsets(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Show the options of the route's driver; of every driver where it is yet to be chosen."""
        drivers = [obj.driver] if isinstance(obj, Route) else sorted(OPTIONS)
        connections = [
            (
                f"Options of {driver}",
                {"fields": [route_options.name_of(driver, option) for option in OPTIONS.get(driver, ())]},
            )
            for driver in drivers
        ]
        return [(None, {"fields": _ROUTE}), *connections]

    @admin.display(description="Address for the processor's webhooks")
    def told_at(self, route: Route) -> str:
        """Say where a processor that tells of events is to call."""
        return f"{settings.PUBLIC_URL}/processors/{route.guid}" if route.pk else "Known when the route is kept."

    @admin.display(description="Heartbeat")
    def heartbeat(self, route: Route) -> str:
        """Say whether the processor answers, since when, and why not."""
        if route.connection_since is None:
            return "Not asked yet."
        since = f"{route.connection_since:%Y-%m-%d %H:%M} UTC"
        return f"Answers since {since}." if route.answered else f"No answer since {since}: {route.failure}"

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Keep a route its biller's and its processor's: its secret and what payers have on file open nowhere else."""
        return ("biller", "currency", "driver", "told_at", "heartbeat") if obj else ("told_at", "heartbeat")

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse: payments name it; a route that is not active is not used."""
        return False

    def save_model(self, request: HttpRequest, obj: Route, form: forms.ModelForm[Any], change: bool) -> None:
        """Keep the route, with a new secret where one was given."""
        if given := form.cleaned_data["new_secret"]:
            obj.secret = given
        obj.options = form.cleaned_data["options"]
        super().save_model(request, obj, form, change)

    @admin.action(description="Ask the processor whether it answers")
    def ping(self, request: HttpRequest, queryset: models.QuerySet[Route]) -> None:
        """Ask each route's processor."""
        for route in queryset:
            asked = heartbeats.ask(route=route)
            if asked.answered:
                messages.success(request, f"{route}: the processor answers.")
            else:
                messages.error(request, f"{route}: {asked.failure}")


class AnswerCodeForm(_AnswerCodeForm):
    """What a processor's code means."""

    driver = forms.ChoiceField(choices=_drivers)

    def clean_result(self) -> int:
        """Refuse the marks by which the engine knows what it has not been told yet."""
        result: int = self.cleaned_data["result"]
        if not 0 <= result <= results.HIGHEST or result in results.MARKS:
            raise forms.ValidationError(f"Enter a result from 0 to {results.HIGHEST}, but not 777 or 888.")
        return result

    def clean(self) -> dict[str, Any]:
        """Want words for a result of one's own: pages show every result in words."""
        given = super().clean() or self.cleaned_data
        result = given.get("result")
        if result is not None and result not in results.WORDS and not given.get("words"):
            self.add_error("words", f"Say what {result} means: it is a result of your own.")
        return given


@admin.register(AnswerCode)
class AnswerCodeAdmin(Audited):
    """What processors' answer codes mean to us (PAY-4); a code that is not here means what its driver says."""

    form = AnswerCodeForm
    list_display = ("driver", "code", "meaning", "words")
    list_filter = ("driver",)
    search_fields = ("code",)
    ordering = ("driver", "code")

    @admin.display(description="Result", ordering="result")
    def meaning(self, code: AnswerCode) -> str:
        """Say the result in words."""
        return results.in_words(code.result)


@admin.register(RetryLimit)
class RetryLimitAdmin(Audited):
    """How often the card networks let a method be declined before no other try is allowed (PAY-5)."""

    list_display = ("brand", "per_day", "per_month")
    ordering = ("brand",)


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
            "biller", "words", "occasion", "amount", "percent", "least", "most", "least_payment", "most_payment", "tenders",
            "channels", "results", "return_codes", "segments", "active",
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
            "biller", "words", "action", "days", "minimum", "due_from", "amount", "percent", "least", "most", "segments", "active",
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


class CheckAnswerForm(_CheckAnswerForm):
    """What a letter means."""

    result = forms.TypedChoiceField(
        coerce=int, choices=lambda: [(one, results.in_words(one)) for one in CheckAnswer.RESULTS]
    )

    def clean_answer(self) -> str:
        """Write the networks' letters as they do."""
        answer: str = self.cleaned_data["answer"].strip().upper()
        if not (answer.isascii() and answer.isalnum()):
            raise forms.ValidationError("Enter the networks’ letter, such as Y or N.")
        return answer


@admin.register(CheckAnswer)
class CheckAnswerAdmin(Audited):
    """What issuers' answers about address and security code mean to us (PAY-14); a letter that is not here fails."""

    form = CheckAnswerForm
    list_display = ("about", "answer", "meaning", "words")
    list_filter = ("about",)
    ordering = ("about", "answer")

    @admin.display(description="Result", ordering="result")
    def meaning(self, letter: CheckAnswer) -> str:
        """Say the result in words."""
        return results.in_words(letter.result)


@admin.register(MethodRules)
class MethodRulesAdmin(ReadOnly):
    """What billers ask of methods; each changes its own in its settings."""

    list_display = ("biller", "verify_cards", "verify_banks", "require_cvv", "bank_days")
    list_select_related = ("biller",)


@admin.register(Verification)
class VerificationAdmin(ReadOnly):
    """Questions to processors whether a method is good."""

    list_display = ("created_at", "biller", "customer", "masked", "purpose", "state", "code", "avs", "cvv")
    list_select_related = ("biller", "customer")
    list_filter = ("state", "purpose", "kind", "biller")
    search_fields = ("id", "customer")

    @admin.display(description="Result")
    def code(self, verification: Verification) -> str:
        """Say the result in words."""
        return results.in_words(verification.result)


@admin.register(Payment)
class PaymentAdmin(ReadOnly):
    """Money that customers gave."""

    list_display = (
        "confirmation",
        "created_at",
        "biller",
        "customer",
        "amount",
        "currency",
        "tender",
        "state",
        "channel",
    )
    list_select_related = ("biller", "customer")
    list_filter = ("biller",)
    search_fields = ("id", "customer", "email", "posting_id")
    readonly_fields = ("outcome",)
    hidden = ("result",)

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Show the result in words."""
        return [*super().get_fields(request, obj), "outcome"]

    @admin.display(description="Result", ordering="result")
    def outcome(self, payment: Payment) -> str:
        """Say the result in words."""
        return results.in_words(payment.result)


@admin.register(Attempt)
class AttemptAdmin(ReadOnly):
    """Messages about money to processors."""

    list_display = (
        "id",
        "created_at",
        "biller",
        "route",
        "command",
        "amount",
        "state",
        "outcome",
        "sent_at",
        "lookups",
    )
    list_select_related = ("biller", "route")
    list_filter = ("biller",)
    search_fields = ("id", "payment")
    readonly_fields = ("outcome",)
    hidden = ("result",)

    def get_fields(self, request: HttpRequest, obj: models.Model | None = None) -> Any:
        """Show the result in words."""
        return [*super().get_fields(request, obj), "outcome"]

    @admin.display(description="Result", ordering="result")
    def outcome(self, attempt: Attempt) -> str:
        """Say the result in words."""
        return results.in_words(attempt.result)


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnly):
    """Payments whose outcome is not known or not recorded yet."""

    list_display = ("pk", "biller")
    list_select_related = ("biller",)
    list_filter = ("biller",)


@admin.register(Authorization)
class AuthorizationAdmin(ReadOnly):
    """Money that processors hold for payments until it is deposited."""

    list_display = ("pk", "biller", "customer", "authorized_on", "expires_at", "ended_at", "expired")
    list_select_related = ("biller", "customer")
    list_filter = ("expired", "biller")
    search_fields = ("payment", "customer")


@admin.register(ProcessorEvent)
class ProcessorEventAdmin(ReadOnly):
    """What processors told unasked, and when it was looked into."""

    list_display = ("event_id", "kind", "biller", "route", "happened_at", "received_at", "applied_at")
    list_select_related = ("biller", "route")
    list_filter = ("biller",)
    search_fields = ("event_id",)


@admin.register(UnconfirmedPayment)
class UnconfirmedPaymentAdmin(ReadOnly):
    """Payments that were posted before their bank had confirmed them (PAY-34)."""

    list_display = ("pk", "biller", "customer", "until", "state", "ended_at")
    list_select_related = ("biller", "customer")
    list_filter = ("state", "biller")
    search_fields = ("payment",)


@admin.register(CloudPayment)
class CloudPaymentAdmin(ReadOnly):
    """Payments that billers' systems opened; what makes an address valid, its signature, is kept nowhere."""

    list_display = ("pk", "biller", "customer", "who", "user_name", "amount", "opened_by", "created_at", "expires_at")
    list_select_related = ("biller", "customer")
    list_filter = ("who", "biller")
    search_fields = ("customer",)


@admin.register(Allocation)
class AllocationAdmin(ReadOnly):
    """Which payment settles which item."""

    list_display = ("id", "biller", "payment_id", "item_id", "amount", "state")
    list_select_related = ("biller",)
    search_fields = ("payment", "item")


@admin.register(Reversal)
class ReversalAdmin(ReadOnly):
    """Money of payments that went back (PAY-32, PAY-33)."""

    list_display = (
        "id",
        "biller",
        "payment",
        "kind",
        "state",
        "amount",
        "fee",
        "loss",
        "reason",
        "made_by",
        "settled_at",
    )
    list_select_related = ("biller", "payment")
    list_filter = ("kind", "state", "biller")
    search_fields = ("id", "payment")


@admin.register(ReversalDebit)
class ReversalDebitAdmin(ReadOnly):
    """What is due by itself because money went back."""

    list_display = ("item", "biller", "reversal")
    list_select_related = ("biller", "item", "reversal")
    search_fields = ("reversal",)


@admin.register(Carryover)
class CarryoverAdmin(ReadOnly):
    """Money that moved from an older bill to the newer one (MSP-24)."""

    list_display = ("id", "biller", "payment", "kind", "invoice", "amount", "moved", "made_at", "returned_at")
    list_select_related = ("biller", "payment", "invoice")
    search_fields = ("payment",)


@admin.register(Case)
class CaseAdmin(ReadOnly):
    """What a person must decide, in the biller's portal."""

    list_display = ("opened_at", "biller", "customer", "kind", "state", "reason", "closed_at", "closed_by")
    list_select_related = ("biller", "customer")
    list_filter = ("state", "kind", "biller")
    search_fields = ("id", "customer")


@admin.register(Instrument)
class InstrumentAdmin(ReadOnly):
    """Methods on file, without their tokens."""

    list_display = (
        "id",
        "biller",
        "customer",
        "kind",
        "brand",
        "last4",
        "expires_on",
        "state",
        "is_default",
        "declined_at",
    )
    list_select_related = ("biller", "customer")
    list_filter = ("kind", "state", "biller")
    search_fields = ("id", "customer")
    hidden = ("token",)


@admin.register(AutoPayEnrolment)
class AutoPayEnrolmentAdmin(ReadOnly):
    """Consents to be charged for every bill."""

    list_display = ("id", "biller", "customer", "instrument", "consent_by", "consented_at", "ended_at")
    list_select_related = ("biller", "customer", "instrument")
    list_filter = ("biller",)
    search_fields = ("customer",)


@admin.register(ScheduledPayment)
class ScheduledPaymentAdmin(ReadOnly):
    """Payments on a day to come, and what became of them (MSP-15)."""

    list_display = ("id", "biller", "customer", "pay_on", "amount", "whole", "state", "tries", "made_by", "ended_at")
    list_select_related = ("biller", "customer")
    list_filter = ("state", "biller")
    search_fields = ("id", "customer")
