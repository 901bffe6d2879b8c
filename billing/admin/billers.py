"""Billers and their numbered settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponseBase

from billing import advanced_settings
from billing.admin.pages import Audited, Operated, ask, each, operator
from billing.invoice_layouts import BadLayout, read_layout
from billing.models import Biller, Setting
from billing.money import UNSUPPORTED
from billing.operations import billers
from datapump.models import Configuration

if TYPE_CHECKING:
    _BillerForm = forms.ModelForm[Biller]
    _SettingForm = forms.ModelForm[Setting]
else:
    _BillerForm = _SettingForm = forms.ModelForm


class ReasonForm(forms.Form):
    """Why something is done."""

    reason = forms.CharField(
        max_length=200,
        error_messages={"required": "Say why, in at most 200 characters."},
        widget=forms.TextInput(attrs={"size": 60}),
    )


class BillerForm(_BillerForm):
    """A biller, with what only shows when a file comes in checked now."""

    def clean_currency(self) -> str:
        """Refuse a currency whose amounts cannot be kept."""
        currency: str = self.cleaned_data["currency"]
        if currency in UNSUPPORTED:
            raise forms.ValidationError("Amounts of this currency have more decimal places than are kept.")
        return currency

    def clean_invoice_layout(self) -> dict[str, Any]:
        """Refuse a column order that no file could be read by."""
        layout = self.cleaned_data["invoice_layout"] or {}
        if not isinstance(layout, dict):
            raise forms.ValidationError("Write it as a JSON object.")
        try:
            read_layout(layout)
        except BadLayout as bad:
            raise forms.ValidationError(str(bad)) from None
        return layout


@admin.register(Biller)
class BillerAdmin(Audited):
    """The billers of the installation. Its look is changed in its own portal; what its books stand on is set once."""

    form = BillerForm
    list_display = ("name", "number", "slug", "currency", "time_zone", "charging_stopped")
    list_filter = ("charging_stopped",)
    search_fields = ("name", "slug", "number")
    ordering = ("name",)
    exclude = ("logo",)
    actions = ("stop_charging", "allow_charging")

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Show what an action or nobody changes."""
        return ("charging_stopped", "created_at", *(("guid", "currency") if obj else ()))

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse: its books stay."""
        return False

    def save_model(self, request: HttpRequest, obj: Biller, form: forms.ModelForm[Any], change: bool) -> None:
        """Keep the biller; a new one tells its own system everything until somebody switches it off."""
        super().save_model(request, obj, form, change)
        if not change:
            Configuration.objects.create(biller=obj)

    @admin.action(description="Stop all charging")
    def stop_charging(self, request: HttpRequest, queryset: models.QuerySet[Biller]) -> HttpResponseBase | None:
        """Ask why, then stop every run and payment of the billers."""
        form = ReasonForm(request.POST if "sure" in request.POST else None)
        if not form.is_valid():
            return ask(self, request, queryset, action="stop_charging", question="Stop all charging", form=form)
        reason = form.cleaned_data["reason"]
        each(
            request,
            queryset,
            lambda biller: billers.stop_charging(biller=biller, reason=reason, actor=operator(request)),
            "Stopped",
        )
        return None

    @admin.action(description="Allow charging again")
    def allow_charging(self, request: HttpRequest, queryset: models.QuerySet[Biller]) -> None:
        """Let the billers charge."""
        each(
            request, queryset, lambda biller: billers.allow_charging(biller=biller, actor=operator(request)), "Allowed"
        )


class SettingForm(_SettingForm):
    """One numbered setting; those of DataPump's endpoints are fields of the endpoints."""

    number = forms.TypedChoiceField(coerce=int, choices=[])
    value = forms.JSONField(required=False, help_text="Empty: the default.")

    class Meta:
        model = Setting
        fields = ("biller", "number", "value")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "number" in self.fields:
            field = self.fields["number"]
            assert isinstance(field, forms.TypedChoiceField)
            field.choices = [
                (one.number, f"{one.number} {one.name}")
                for one in advanced_settings.registered()
                if isinstance(one.store, advanced_settings.Row)
            ]

    def clean(self) -> dict[str, Any]:
        """Read the value as the registry does."""
        given = super().clean() or self.cleaned_data
        number = given.get("number") or self.instance.number
        if number is not None and "value" in given:
            try:
                advanced_settings.setting(number).read(given["value"])
            except advanced_settings.BadSetting as bad:
                self.add_error("value", str(bad))
            except advanced_settings.UnknownSetting:
                self.add_error(None, "Nothing reads a setting of this number any more.")
        return given


@admin.register(Setting)
class SettingAdmin(Operated):
    """Numbered settings that are kept by themselves (MSP-35)."""

    form = SettingForm
    list_display = ("biller", "number", "called", "value")
    list_select_related = ("biller",)
    list_filter = ("biller",)
    ordering = ("biller__name", "number")
    actions = None

    @admin.display(description="name")
    def called(self, setting: Setting) -> str:
        """Say what the number means."""
        try:
            return str(advanced_settings.setting(setting.number).name)
        except advanced_settings.UnknownSetting:
            return "unknown"

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Keep a setting what it is."""
        return ("biller", "number") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse: the empty value is the default."""
        return False

    def save_model(self, request: HttpRequest, obj: Setting, form: forms.ModelForm[Any], change: bool) -> None:
        """Change the setting."""
        value = form.cleaned_data["value"]
        advanced_settings.change(actor=operator(request), biller=obj.biller, number=obj.number, given=value)
        obj.pk = Setting.objects.filter(biller=obj.biller, number=obj.number).values_list("pk", flat=True).first()
