"""The options of a route's driver as fields of a form, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms

from payments.gateways.options import OptionField, OptionKind
from payments.gateways.registry import OPTIONS

_CODE = re.compile(r"([!-~]{1,60}?)\s*=\s*([0-9]{1,3})")


class CodesField(forms.CharField):
    """Codes of a processor and what they become, one a line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": 3}), max_length=5000, **options)

    def prepare_value(self, value: Any) -> Any:
        """Write the lines."""
        return "\n".join(f"{code} = {result}" for code, result in value.items()) if isinstance(value, dict) else value

    def clean(self, value: Any) -> dict[str, int]:
        """Read the lines."""
        lines = [line.strip() for line in str(super().clean(value)).splitlines() if line.strip()]
        read = [_CODE.fullmatch(line) for line in lines]
        for line, found in zip(lines, read, strict=True):
            if found is None:
                raise forms.ValidationError(f"Write a code and a result, such as 302 = 7, and not “{line[:40]}”.")
        return {found[1]: int(found[2]) for found in read if found}


def name_of(driver: str, option: OptionField) -> str:
    """Give the name of the form field of a driver's option."""
    return f"{driver}_{option.name}"


def _field(option: OptionField) -> forms.Field:
    words = " ".join(filter(None, [option.help, f"Empty: {option.usual}." if option.usual else ""]))
    common: dict[str, Any] = {"label": option.label, "required": False, "help_text": words}
    match option.kind:
        case OptionKind.SWITCH:
            return forms.BooleanField(**common)
        case OptionKind.CODES:
            return CodesField(**common)
        case OptionKind.TEXT:
            return forms.CharField(max_length=300, **common)
        case OptionKind.WHOLE:
            least = None if option.least is None else int(option.least)
            most = None if option.most is None else int(option.most)
            return forms.IntegerField(min_value=least, max_value=most, **common)
    return forms.FloatField(min_value=option.least, max_value=option.most, **common)


# Of every driver, because which one it is to be is chosen on the same page.
FIELDS: dict[str, forms.Field] = {
    name_of(driver, option): _field(option) for driver, options in OPTIONS.items() for option in options
}


def initial(driver: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the fields of a driver show of the options that a route keeps."""
    shown = {}
    for option in OPTIONS.get(driver, ()):
        if option.name in kept:
            value = kept[option.name]
            shown[name_of(driver, option)] = 0 if value is None and option.zero_is_none else value
    return shown


def read(driver: str, given: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that a route is to keep: what was filled in, and what is kept that no field shows."""
    known = {option.name for option in OPTIONS[driver]}
    options = {name: value for name, value in kept.items() if name not in known}
    for option in OPTIONS[driver]:
        value = given.get(name_of(driver, option))
        if value in (None, "", {}) or value is False:
            continue
        options[option.name] = None if option.zero_is_none and not value else value
    return options


def missing(driver: str, given: Mapping[str, Any]) -> list[str]:
    """Give the names of the fields that a driver cannot do without and that are empty."""
    return [
        name_of(driver, option)
        for option in OPTIONS[driver]
        if option.required and not given.get(name_of(driver, option))
    ]
