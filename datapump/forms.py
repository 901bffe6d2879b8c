"""The forms of an endpoint: numbered settings as real fields, and how delivery treats the endpoint.

The biller portal and the admin draw the same form and call the same operation with what it gives.

Source: MSP-35
"""

from __future__ import annotations

import json
from typing import Any

from django import forms

from billing.advanced_settings import AdvancedSetting, BadSetting, Kind, setting
from datapump.advanced_settings import EndpointField
from datapump.connectors.base import Connector, OptionField
from datapump.connectors.multispeak.connector import MultiSpeak
from datapump.connectors.registry import CONNECTORS
from datapump.models import Endpoint, Purpose

NUMBERS: dict[str, tuple[int, ...]] = {
    Purpose.BALANCES: (8, 9, 10),
    Purpose.PAYMENTS: (11, 12, 13, 35, 64, 65),
    Purpose.PAPERLESS: (14, 15, 16),
    Purpose.AUTOPAY: (17, 18, 19),
}


_COLUMNS = (
    "per_envelope", "in_flight", "timeout_seconds", "attempts_allowed", "hold_after_failure", "reuse_seconds",
    "known_hours", "booked_minutes",
)  # fmt: skip


class SettingField(forms.CharField):
    """One numbered setting as a form field, checked by its definition."""

    def __init__(self, definition: AdvancedSetting, **options: Any) -> None:
        self.definition = definition
        widgets: dict[Kind, forms.Widget] = {
            Kind.URL: forms.URLInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            Kind.SECRET: forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
            Kind.CHOICE: forms.Select(choices=definition.choices),
            Kind.FLAG: forms.Select(choices=(("0", "Off"), ("1", "On"))),
            Kind.JSON: forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "autocomplete": "off"}),
        }
        options.setdefault("label", f"{definition.number} – {definition.name}")
        options.setdefault("help_text", definition.help)
        options.setdefault("required", False)
        super().__init__(
            widget=widgets.get(definition.kind, forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})),
            max_length=4_000 if definition.kind is Kind.JSON else 300,
            **options,
        )

    def prepare_value(self, value: Any) -> Any:
        """Write JSON so that a person can read it, and a flag as its choice."""
        if isinstance(value, bool):
            return "1" if value else "0"
        return json.dumps(value, indent=2) if isinstance(value, dict | list) else value

    def clean(self, value: Any) -> Any:
        """Read the value."""
        text = super().clean(value)
        try:
            return self.definition.read(text)
        except BadSetting as refused:
            raise forms.ValidationError(str(refused)) from None


class EndpointForm(forms.Form):
    """One endpoint: its numbered settings first, then how messages are written and delivered.

    ``connector`` is that of the page's choice; it decides which fields there are.
    """

    connector = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(
        self, *args: Any, purpose: str, endpoint: Endpoint | None, connector: Connector, **kwargs: Any
    ) -> None:
        self.purpose, self.endpoint, self.spoken = purpose, endpoint, connector
        kwargs.setdefault("initial", self._initial(endpoint))
        super().__init__(*args, **kwargs)
        self.numbers = [number for number in NUMBERS[purpose] if _is_asked(setting(number), connector)]
        for number in self.numbers:
            field = SettingField(setting(number))
            if number == self.numbers[0]:
                field.required = True
                field.error_messages["required"] = "Enter the address of the biller’s web service"
            kept = endpoint is not None and endpoint.connector == connector.name and endpoint.password
            if field.definition.secret and kept:
                field.help_text = f"There is one. {field.help_text}"
            self.fields[f"setting_{number}"] = field
        for option in self._options():
            self.fields[_field_name(option)] = forms.CharField(
                label=option.label, required=False, max_length=option.longest, help_text=option.help
            )
        if purpose == Purpose.PAYMENTS and connector.batches:
            self.fields["per_envelope"] = forms.IntegerField(
                label="Payments in one call",
                min_value=1,
                max_value=100,
                help_text="More than one only where setting 131 makes transactionId the payment’s GUID.",
            )
        if purpose == Purpose.BALANCES:
            self.fields["reuse_seconds"] = forms.IntegerField(
                label="Seconds for which a balance counts as fresh", min_value=0, max_value=86_400
            )
            self.fields["known_hours"] = forms.IntegerField(
                label="Hours for which a known balance may be charged when none can be read",
                min_value=0,
                max_value=720,
                help_text="0: nothing is charged until the balance can be read again.",
            )
            self.fields["booked_minutes"] = forms.IntegerField(
                label="Minutes until a payment that it was told of shows in a balance",
                min_value=0,
                max_value=10_080,
                help_text="No account is adjusted while one of its payments may be missing from its balance. "
                "A system that books payments overnight needs a day.",
            )
        self.fields["in_flight"] = forms.IntegerField(
            label="Calls under way at once",
            min_value=1,
            max_value=128,
            help_text="As many as the biller’s system bears.",
        )
        self.fields["timeout_seconds"] = forms.IntegerField(
            label="Seconds to wait for an answer", min_value=1, max_value=120
        )
        if purpose == Purpose.BALANCES:
            return
        self.fields["attempts_allowed"] = forms.IntegerField(
            label="Refusals after which an update has failed", min_value=1, max_value=50
        )
        self.fields["hold_after_failure"] = forms.BooleanField(
            label="A failed update holds the account’s later ones until somebody acts", required=False
        )

    def clean_connector(self) -> str:
        """Refuse a connector that there is not: the page's fields are those of another one."""
        chosen: str = self.cleaned_data["connector"]
        if chosen and chosen != self.spoken.name:
            raise forms.ValidationError("Choose one of the connectors that this endpoint can have.")
        return chosen

    def _options(self) -> list[OptionField]:
        """Give the connector's options that no numbered setting stands for."""
        return [
            option
            for option in self.spoken.options
            if not option.number and self.purpose in (option.purposes or self.spoken.purposes)
        ]

    def _initial(self, endpoint: Endpoint | None) -> dict[str, Any]:
        found = endpoint or Endpoint.unsaved(0, self.purpose)
        initial: dict[str, Any] = {name: getattr(found, name) for name in _COLUMNS}
        initial["connector"] = self.spoken.name
        for option in self._options():
            kept: Any = found.options
            for part in option.name.split("."):
                kept = kept.get(part, "") if isinstance(kept, dict) else ""
            initial[_field_name(option)] = kept
        for number in NUMBERS[self.purpose]:
            definition = setting(number)
            store = definition.store
            if definition.secret or not isinstance(store, EndpointField) or store.purpose != found.purpose:
                continue
            kept = found.options.get(store.field) if store.option else getattr(found, store.field)
            initial[f"setting_{number}"] = definition.default if kept is None else kept
        return initial

    def changes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give the fields and options that ``endpoints.change`` takes."""
        given = self.cleaned_data
        fields: dict[str, Any] = {"connector": self.spoken.name}
        options: dict[str, Any] = {}
        for number in self.numbers:
            store = setting(number).store
            assert isinstance(store, EndpointField)
            (options if store.option else fields)[store.field] = given[f"setting_{number}"]
        for name in _COLUMNS:
            if name in given:
                fields[name] = given[name]
        for option in self._options():
            name, _, part = option.name.partition(".")
            value = given[_field_name(option)]
            if not part:
                options[name] = value
                continue
            group = options.setdefault(name, {})
            if value:
                group[part] = value
        return fields, {name: value or None if isinstance(value, dict) else value for name, value in options.items()}

    def field_named(self, name: str | None) -> str | None:
        """Give the form field that shows a field of the endpoint, for an operation's refusal."""
        for number in self.numbers:
            store = setting(number).store
            if isinstance(store, EndpointField) and store.field == name:
                return f"setting_{number}"
        return name if name in self.fields else None


def connector_for(chosen: str | None, purpose: str, endpoint: Endpoint | None) -> Connector:
    """Give the connector that a page is about: the one chosen on it, else the endpoint's own, else MultiSpeak."""
    found = CONNECTORS.get(chosen or (endpoint.connector if endpoint is not None else ""))
    return found if found is not None and purpose in found.purposes else CONNECTORS[MultiSpeak.name]


def _field_name(option: OptionField) -> str:
    return option.name.replace(".", "_")


def _is_asked(definition: AdvancedSetting, connector: Connector) -> bool:
    """Tell whether a numbered setting means anything to a connector: each has an address, the rest is its own."""
    store = definition.store
    if not isinstance(store, EndpointField):
        return False
    if store.option:
        return any(option.number == definition.number for option in connector.options)
    return store.field == "url" or not connector.makes_secrets


class SwitchesForm(forms.Form):
    """Which kinds of update the biller's system hears of."""

    payments = forms.BooleanField(label="Payments", required=False)
    paperless = forms.BooleanField(label="Changes of paperless billing", required=False)
    autopay = forms.BooleanField(label="Changes of AutoPay", required=False)
    scheduled_payments = forms.BooleanField(label="Scheduled payments", required=False)
    pay_by_text_changes = forms.BooleanField(label="Pay By Text Changes", required=False)


# In this order: groups need what 131 may say.
JSON_NUMBERS = (131, 128)


class JsonForm(forms.Form):
    """Setting 131, and the option of AutoPay groups, which needs it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for number in JSON_NUMBERS:
            self.fields[f"setting_{number}"] = SettingField(setting(number))


PRINT_NUMBERS = (20, 119)


class PrintServerForm(forms.Form):
    """Where bills are fetched as PDF: settings 20 and 119."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for number in PRINT_NUMBERS:
            self.fields[f"setting_{number}"] = SettingField(setting(number))
