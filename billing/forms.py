"""How forms are drawn, and the fields that payers and CSRs meet on every other page.

Set as ``FORM_RENDERER``: ``{{ form }}`` draws the error summary and every field, ``{{ form.amount.as_field_group }}``
one field.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from babel.numbers import get_currency_symbol
from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.forms.renderers import TemplatesSetting
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing import formats, phone_numbers
from billing.money import BadAmount, parse


class BoundField(forms.BoundField):
    """A field of a form, whose control gets the class that the stylesheet knows it by."""

    def build_widget_attrs(self, attrs: dict[str, Any], widget: forms.Widget | None = None) -> dict[str, Any]:
        """Give the attributes of the control."""
        built = super().build_widget_attrs(attrs, widget)
        widget = widget or self.field.widget
        own = attrs.get("class", widget.attrs.get("class", ""))
        built["class"] = " ".join(
            name for name in (own, _class_of(widget), "is-invalid" if self.errors else "") if name
        )
        if self.use_fieldset:
            # The fieldset of a group of boxes is described, not each box.
            built.pop("aria-describedby", None)
        return built

    @property
    def wordings(self) -> list[str]:
        """The field's errors as people read them, naming the field where Django only says that it is required."""
        plain = str(forms.Field.default_error_messages["required"])
        found = []
        for error in self.form.errors.as_data().get(self.name, []):
            for words in error.messages:
                found.append(self._missing() if error.code == "required" and words == plain else words)
        return found

    def _missing(self) -> str:
        label = {"label": self.label}
        match self.field.widget:
            case forms.CheckboxInput():
                return gettext("Tick “%(label)s” to go on") % label
            case forms.Select() | forms.RadioSelect() | forms.CheckboxSelectMultiple() | forms.FileInput():
                return gettext("Choose: %(label)s") % label
        return gettext("Enter: %(label)s") % label

    @property
    def anchor(self) -> str:
        """The id that an error in the summary leads to: the control, or the first of a group."""
        return self.id_for_label or f"{self.auto_id}_0"


def _class_of(widget: forms.Widget) -> str:
    match widget:
        case forms.HiddenInput():
            return ""
        case forms.CheckboxInput() | forms.RadioSelect() | forms.CheckboxSelectMultiple():
            return "form-check-input"
        case forms.Select():
            return "form-select"
    return "form-control"


class Renderer(TemplatesSetting):
    """Draws every form with the templates under ``templates/components/``."""

    form_template_name = "components/form.html"
    field_template_name = "components/field.html"
    bound_field_class = BoundField


class MoneyInput(forms.TextInput):
    """A box for an amount, with the currency's sign before it."""

    template_name = "components/widgets/money.html"

    def __init__(self, currency: str, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"inputmode": "decimal", "autocomplete": "off", **(attrs or {})})
        self.currency = currency

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        """Give the template the sign as well."""
        context: dict[str, Any] = super().get_context(name, value, attrs)
        context["widget"]["sign"] = get_currency_symbol(self.currency, locale=formats.locale_name())
        return context


class MoneyField(forms.CharField):
    """An amount of one currency, typed as people write it; gives a ``Decimal``.

    ``least`` and ``most`` are inclusive; without ``least`` it is one cent, so that nothing and less are refused.
    """

    def __init__(
        self, *, currency: str, least: Decimal = Decimal("0.01"), most: Decimal | None = None, **options: Any
    ) -> None:
        options.setdefault("error_messages", {}).setdefault("required", _("Enter an amount"))
        super().__init__(widget=MoneyInput(currency), **options)
        self.currency, self.least, self.most = currency, least, most

    def prepare_value(self, value: Any) -> Any:
        """Write a starting amount plainly: ``84.10``."""
        return format(value, "f") if isinstance(value, Decimal) else value

    def clean(self, value: Any) -> Any:
        """Read the amount and hold it to the limits."""
        text = super().clean(value)
        if text == "":
            return None
        try:
            amount = parse(text, self.currency)
        except BadAmount as refused:
            raise ValidationError(str(refused)) from None
        if amount < self.least:
            words = gettext("Enter %(amount)s or more") % {"amount": formats.money(self.least, self.currency)}
            raise ValidationError(words)
        if self.most is not None and amount > self.most:
            words = gettext("Enter %(amount)s or less") % {"amount": formats.money(self.most, self.currency)}
            raise ValidationError(words)
        return amount


class DayField(forms.DateField):
    """A date, typed; payers meet no picker that a keyboard or a screen reader cannot work."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("help_text", _("For example, 11/22/2026"))
        options.setdefault("error_messages", {}).setdefault("invalid", _("Enter a date such as 11/22/2026"))
        options.setdefault("widget", forms.DateInput(attrs={"inputmode": "numeric"}, format="%m/%d/%Y"))
        super().__init__(
            input_formats=["%m/%d/%Y", "%m/%d/%y", "%Y-%m-%d", "%b %d, %Y", "%B %d, %Y", "%m-%d-%Y"], **options
        )


_NO_CONTROL_CHARACTERS = RegexValidator(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", _("Leave out control characters"), inverse_match=True
)


class WordsField(forms.CharField):
    """A name or a reason as people write it: nothing that no keyboard writes, which files and messages could not carry."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.validators.append(_NO_CONTROL_CHARACTERS)


class PhoneField(forms.CharField):
    """A telephone number in any spelling; gives E.164, or nothing where none is required."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.TextInput(attrs={"type": "tel", "autocomplete": "tel"}))
        options.setdefault("max_length", 30)
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        """Write a number on file as people do."""
        return formats.phone(value) if isinstance(value, str) and value.startswith("+") else value

    def clean(self, value: Any) -> Any:
        """Read the number."""
        text = super().clean(value)
        if text == "":
            return ""
        number = phone_numbers.read(text)
        if number is None:
            raise ValidationError(gettext("Enter a phone number with its area code, such as (555) 555-0123"))
        return number
