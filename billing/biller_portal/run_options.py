"""The forms in which people say what a run is to take."""

from __future__ import annotations

import datetime
from typing import Any

from django import forms
from django.utils import timezone

from billing import formats
from billing.biller_portal.access import BillerRequest
from billing.forms import DayField, MoneyField
from billing.models import CustomerStatus
from payments.models import Route
from payments.operations import collections, deposits, releases, scheduled_collections


class RunForm(forms.Form):
    """What every run may be told: to stop after so many, and to run although it ran today."""

    limit = forms.IntegerField(
        label="At most so many payments",
        min_value=1,
        max_value=1_000_000,
        required=False,
        help_text="To try a run out. Empty: all of them.",
        widget=forms.NumberInput(attrs={"class": "width-10"}),
    )
    again = forms.BooleanField(
        label="Run although the same run was made today",
        required=False,
        help_text="A payment that was made or is on its way is never made twice, whatever you choose here.",
    )

    field_order = (
        "window",
        "days",
        "start",
        "end",
        "expired",
        "status",
        "route",
        "tender",
        "minimum",
        "limit",
        "again",
    )

    def __init__(self, *args: Any, request: BillerRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "route" in self.fields:
            routes = Route.objects.filter(biller=request.biller, active=True).order_by("name")
            self.fields["route"].queryset = routes  # type: ignore[attr-defined]  # a model choice field

    def common(self, now: datetime.datetime) -> dict[str, Any]:
        """Give the options that every run has."""
        given = self.cleaned_data
        return {"limit": given["limit"], "repeat": f"{now:%H%M%S}" if given["again"] else ""}


def _route_field() -> forms.ModelChoiceField[Route]:
    return forms.ModelChoiceField(
        label="Route", queryset=Route.objects.none(), required=False, empty_label="Every route"
    )


class OptionsForm(RunForm):
    """What a collect run takes (PAY-6)."""

    window = forms.ChoiceField(
        label="Which bills",
        choices=[
            ("usual", "Collection date today or yesterday"),
            ("days", "Collection date in the last days"),
            ("dates", "Collection dates that I enter"),
            ("rebill", "Every open bill, whatever its collection date"),
        ],
        initial="usual",
        widget=forms.RadioSelect,
    )
    days = forms.IntegerField(
        label="Days before today",
        min_value=0,
        max_value=366,
        required=False,
        help_text="For “in the last days”; 0 is today only.",
        widget=forms.NumberInput(attrs={"class": "width-4"}),
    )
    start = DayField(label="First collection date", required=False)
    end = DayField(label="Last collection date", required=False)
    status = forms.ChoiceField(
        label="Accounts",
        choices=[(status.value, f"{status.label} accounts") for status in CustomerStatus],
        initial=CustomerStatus.ACTIVE.value,
    )
    route = _route_field()
    tender = forms.ChoiceField(
        label="Tender",
        choices=[("", "Cards and bank accounts"), ("card", "Cards"), ("ach", "Bank accounts")],
        required=False,
    )

    def __init__(self, *args: Any, request: BillerRequest, **kwargs: Any) -> None:
        super().__init__(*args, request=request, **kwargs)
        self.fields["minimum"] = MoneyField(
            label="Least amount",
            currency=request.biller.currency,
            required=False,
            help_text="Empty: what the payment rules say.",
        )
        self.order_fields(self.field_order)

    def clean(self) -> dict[str, Any]:
        """Hold the window together."""
        given = super().clean() or self.cleaned_data
        window = given.get("window")
        if window == "days" and given.get("days") is None and "days" not in self.errors:
            self.add_error("days", "Enter a number of days")
        if window == "dates":
            _check_window(self, given)
        return given

    def options(self, today: datetime.date, now: datetime.datetime) -> collections.Options:
        """Give the options as the operation takes them."""
        given = self.cleaned_data
        start, end = today - datetime.timedelta(days=1), today
        if given["window"] == "days":
            start = today - datetime.timedelta(days=given["days"])
        elif given["window"] == "dates":
            start, end = given["start"], given["end"]
        return collections.Options(
            start=start,
            end=end,
            status=given["status"],
            route_id=given["route"].pk if given["route"] else None,
            tender=given["tender"],
            rebill=given["window"] == "rebill",
            minimum=given["minimum"],
            **self.common(now),
        )


class DepositForm(RunForm):
    """What a deposit run takes (PAY-7)."""

    window = forms.ChoiceField(
        label="Which authorizations",
        choices=[
            ("usual", f"Of the last {deposits.USUAL_DAYS} days up to yesterday"),
            ("dates", "Of the days that I enter"),
        ],
        initial="usual",
        widget=forms.RadioSelect,
    )
    start = DayField(label="Authorized from", required=False)
    end = DayField(label="Authorized until", required=False)
    route = _route_field()

    def clean(self) -> dict[str, Any]:
        """Hold the window together."""
        given = super().clean() or self.cleaned_data
        if given.get("window") == "dates":
            _check_window(self, given)
        return given

    def options(self, today: datetime.date, now: datetime.datetime) -> deposits.Options:
        """Give the options as the operation takes them."""
        given = self.cleaned_data
        chosen: dict[str, Any] = {"route_id": given["route"].pk if given["route"] else None, **self.common(now)}
        if given["window"] == "dates":
            return deposits.Options(start=given["start"], end=given["end"], **chosen)
        return deposits.Options.usual(today, **chosen)


class ReleaseForm(RunForm):
    """What a release run takes (PAY-7)."""

    window = forms.ChoiceField(label="Which authorizations", widget=forms.RadioSelect)
    start = DayField(label="Authorized from", required=False, help_text="Empty: any day before.")
    end = DayField(label="Authorized until", required=False)
    expired = forms.BooleanField(
        label="Also those of any day that have expired",
        required=False,
        help_text="A deposit run would still take their money, at a higher price.",
    )
    route = _route_field()

    def __init__(self, *args: Any, request: BillerRequest, **kwargs: Any) -> None:
        super().__init__(*args, request=request, **kwargs)
        self.biller = request.biller
        last = releases.last_day(self.biller, timezone.now())
        choices = [("dates", "Of the days that I enter")]
        # Where nothing is released by itself the payment rules name no days.
        if self.biller.release_days:
            days = f"Older than the {self.biller.release_days} days of the payment rules"
            choices.insert(0, ("usual", f"{days}: until {formats.day(last)}"))
        window = self.fields["window"]
        window.choices = choices  # type: ignore[attr-defined]  # a choice field
        window.initial = choices[0][0]

    def clean(self) -> dict[str, Any]:
        """Hold the window together."""
        given = super().clean() or self.cleaned_data
        if given.get("window") == "dates":
            _check_window(self, given, start=False)
        return given

    def options(self, today: datetime.date, now: datetime.datetime) -> releases.Options:
        """Give the options as the operation takes them."""
        given = self.cleaned_data
        chosen: dict[str, Any] = {
            "expired": given["expired"],
            "route_id": given["route"].pk if given["route"] else None,
            **self.common(now),
        }
        if given["window"] == "dates":
            return releases.Options(start=given["start"], end=given["end"], **chosen)
        return releases.Options.usual(self.biller, now, **chosen)


class ScheduledForm(RunForm):
    """What a run of scheduled payments takes (MSP-15)."""

    def options(self, today: datetime.date, now: datetime.datetime) -> scheduled_collections.Options:
        """Give the options as the operation takes them."""
        return scheduled_collections.Options.usual(today, **self.common(now))


def _check_window(form: forms.Form, given: dict[str, Any], *, start: bool = True) -> None:
    """Want both dates, or the last one alone, and in their order."""
    for name, words in (("start", "Enter the first date"), ("end", "Enter the last date")):
        if given.get(name) is None and name not in form.errors and (start or name == "end"):
            form.add_error(name, words)
    if given.get("start") and given.get("end") and given["end"] < given["start"]:
        form.add_error("end", "The last date must be the first one or a later one")
