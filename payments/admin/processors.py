"""Processors in the admin: routes, and what answers of theirs mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db import models
from django.forms.forms import DeclarativeFieldsMetaclass
from django.http import HttpRequest

from billing.admin.pages import Audited, ReadOnly
from payments import results, route_options
from payments.gateways.base import Misconfigured
from payments.gateways.registry import DRIVERS, OPTIONS, open_gateway
from payments.models import (
    AnswerCode,
    CheckAnswer,
    ProcessorEvent,
    RetryLimit,
    Route,
    Tender,
)
from payments.operations import heartbeats

if TYPE_CHECKING:
    _RouteForm = forms.ModelForm[Route]
    _AnswerCodeForm = forms.ModelForm[AnswerCode]
    _CheckAnswerForm = forms.ModelForm[CheckAnswer]
else:
    _RouteForm = _AnswerCodeForm = _CheckAnswerForm = forms.ModelForm


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


@admin.register(ProcessorEvent)
class ProcessorEventAdmin(ReadOnly):
    """What processors told unasked, and when it was looked into."""

    list_display = ("event_id", "kind", "biller", "route", "happened_at", "received_at", "applied_at")
    list_select_related = ("biller", "route")
    list_filter = ("biller",)
    search_fields = ("event_id",)
