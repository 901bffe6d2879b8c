"""Texting in the admin: lines, programmes and words to set up; phones, enrolments and texts to read and to help along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest, HttpResponseBase

from billing import formats
from billing.admin.pages import Audited, ReadOnly, ask, each, operator
from sms.conversations import Language, Message
from sms.models import Announcement, Line, PayLink, Phone, Programme, SmsMode, Text, Wording
from sms.operations import enrolments, lines, phones, programmes
from sms.providers.base import Misconfigured, ProviderError
from sms.providers.registry import DRIVERS, open_provider

if TYPE_CHECKING:
    _LineForm = forms.ModelForm[Line]
    _WordingForm = forms.ModelForm[Wording]
else:
    _LineForm = _WordingForm = forms.ModelForm

# What the driver gets from elsewhere than its options.
_OURS = frozenset({"secret", "callback_url", "on_exchange"})


def _drivers() -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(DRIVERS)]


class LineForm(_LineForm):
    """A line, its driver opened once before it is kept: a mistake is found here and not when a text should go out."""

    driver = forms.ChoiceField(choices=_drivers)
    new_secret = forms.CharField(
        label="Secret",
        required=False,
        max_length=500,
        strip=True,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
        help_text="Kept encrypted and never shown again; leave it empty to keep the one there is.",
    )

    class Meta:
        model = Line
        fields = ("biller", "number", "driver", "options", "active")

    def clean(self) -> dict[str, Any]:
        """Open the driver with what was given."""
        given = super().clean() or self.cleaned_data
        if self.errors:
            return given
        options = given.get("options") or {}
        if not isinstance(options, dict) or _OURS & set(options):
            self.add_error("options", "Write the driver's own settings as a JSON object, without the secret.")
            return given
        secret = given["new_secret"] or (self.instance.secret if self.instance.pk else "")
        try:
            open_provider(given["driver"], options, secret, callback_url=lines.callback_of(self.instance)).close()
        except (Misconfigured, ValueError) as wrong:
            self.add_error("options", f"The driver cannot be opened like this: {wrong}.")
        return given


@admin.register(Line)
class LineAdmin(Audited):
    """The numbers that billers text from, each at a provider."""

    form = LineForm
    list_display = ("number", "biller", "driver", "active", "stopped_for")
    list_select_related = ("biller",)
    list_filter = ("biller", "driver", "active")
    ordering = ("biller__name", "number")
    actions = ("ping", "resume")
    fields = ("biller", "number", "driver", "new_secret", "options", "active", "webhook", "stopped_for")

    @admin.display(description="webhook", empty_value="Known once the line is kept.")
    def webhook(self, line: Line) -> str | None:
        """Give the address that the provider is told to call."""
        return lines.callback_of(line) if line.pk else None

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Keep a line its biller's: its secret opens nowhere else, and texts name it."""
        return ("webhook", "stopped_for", *(("biller", "number") if obj else ()))

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse: texts name it; a line that is not active is not used."""
        return False

    def save_model(self, request: HttpRequest, obj: Line, form: forms.ModelForm[Any], change: bool) -> None:
        """Keep the line, with a new secret where one was given."""
        if given := form.cleaned_data["new_secret"]:
            obj.secret = given
        super().save_model(request, obj, form, change)

    @admin.action(description="Ask the provider whether it answers and knows us")
    def ping(self, request: HttpRequest, queryset: models.QuerySet[Line]) -> None:
        """Ask each line's provider, and show what came back."""
        for line in queryset:
            try:
                provider = lines.open_line(line)
                try:
                    provider.ping()
                finally:
                    provider.close()
            except ProviderError as error:
                messages.error(request, f"{line}: {error}")
            else:
                messages.success(request, f"{line}: the provider answers and knows us.")

    @admin.action(description="Let stopped lines send again")
    def resume(self, request: HttpRequest, queryset: models.QuerySet[Line]) -> None:
        """Let each send again, once what stopped it is put right."""
        each(request, queryset, lambda line: lines.resume(line=line, actor=operator(request)), "Sending again")


@admin.register(Programme)
class ProgrammeAdmin(Audited):
    """What billers text about, as it is registered with the carriers."""

    list_display = ("name", "biller", "kind", "stopped", "opens", "closes", "most_a_day", "fee", "campaign")
    list_select_related = ("biller",)
    list_filter = ("stopped", "biller")
    ordering = ("biller__name", "kind")
    actions = ("stop", "resume")

    def get_readonly_fields(self, request: HttpRequest, obj: models.Model | None = None) -> tuple[str, ...]:
        """Keep a programme what it is; it is stopped by its action."""
        return ("stopped", *(("biller", "kind") if obj else ()))

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        """Refuse: phones have agreed to it, or refused it."""
        return False

    @admin.action(description="Stop sending")
    def stop(self, request: HttpRequest, queryset: models.QuerySet[Programme]) -> None:
        """Turn each one's stop switch on."""
        self._switch(request, queryset, stopped=True)

    @admin.action(description="Send again")
    def resume(self, request: HttpRequest, queryset: models.QuerySet[Programme]) -> None:
        """Turn each one's stop switch off."""
        self._switch(request, queryset, stopped=False)

    def _switch(self, request: HttpRequest, queryset: models.QuerySet[Programme], *, stopped: bool) -> None:
        for programme in queryset.select_related("biller"):
            changed = programmes.stop(biller=programme.biller, stopped=stopped, actor=operator(request))
            words = ("is stopped" if stopped else "sends") + (" now." if changed else " already.")
            (messages.success if changed else messages.warning)(request, f"{programme} {words}")


class WordingForm(_WordingForm):
    """A biller's words, held to what their message must say before they are kept."""

    def clean(self) -> dict[str, Any]:
        """Refuse words that lack something, or name a field which the message does not have."""
        given = super().clean() or self.cleaned_data
        biller, message, language = given.get("biller"), given.get("message"), given.get("language")
        if biller and message and language and "body" in given:
            voice = programmes.Voice(programmes.programme_of(biller), {})
            for flaw in programmes.flaws_of(voice, Message(message), Language(language), given["body"]):
                self.add_error("body", flaw.words)
        return given


@admin.register(Wording)
class WordingAdmin(Audited):
    """Billers' own words; where there are none, ours are said."""

    form = WordingForm
    list_display = ("biller", "programme", "message", "language", "body")
    list_select_related = ("biller",)
    list_filter = ("biller", "language")
    ordering = ("biller__name", "message", "language")


@admin.register(Phone)
class PhoneAdmin(ReadOnly):
    """How phones stand with billers: what they refuse, and whether texts arrive."""

    list_display = ("masked", "biller", "opted_out_of", "opted_out_at", "suspended_for", "failures", "known_since")
    list_select_related = ("biller",)
    list_filter = ("biller",)
    search_fields = ("number",)
    actions = ("resume",)

    @admin.display(description="phone")
    def masked(self, phone: Phone) -> str:
        """Show the last figures."""
        return formats.masked_phone(phone.number)

    @admin.action(description="Send again to suspended phones")
    def resume(self, request: HttpRequest, queryset: models.QuerySet[Phone]) -> None:
        """Send to each again, because somebody looked into it; an opt-out is the phone's own to take back."""
        each(request, queryset, lambda phone: phones.resume(phone=phone, actor=operator(request)), "Sending again")


@admin.register(SmsMode)
class SmsModeAdmin(ReadOnly):
    """Enrolments in pay by text with the consent they stand on."""

    list_display = (
        "customer", "biller", "state", "masked", "masked_pending", "pending_until", "consent_by", "consented_at"
    )  # fmt: skip
    list_select_related = ("biller", "customer")
    list_filter = ("biller",)
    search_fields = ("customer", "number", "pending_number")
    actions = ("confirm",)

    @admin.display(description="state")
    def state(self, mode: SmsMode) -> str:
        """Say where it stands."""
        return mode.mode.value.capitalize()

    @admin.display(description="number")
    def masked(self, mode: SmsMode) -> str:
        """Show the last figures of the number that serves."""
        return formats.masked_phone(mode.number) if mode.number else ""

    @admin.display(description="waits for")
    def masked_pending(self, mode: SmsMode) -> str:
        """Show the last figures of the number that waits."""
        return formats.masked_phone(mode.pending_number) if mode.pending_number else ""

    @admin.action(description="Confirm pending registration")
    def confirm(self, request: HttpRequest, queryset: models.QuerySet[SmsMode]) -> HttpResponseBase | None:
        """Ask, then confirm each as its phone would (PBT-12)."""
        if "sure" not in request.POST:
            question = "Confirm pending registration without the phone"
            return ask(self, request, queryset, action="confirm", question=question, form=forms.Form())
        each(
            request,
            queryset.select_related("customer", "customer__biller"),
            lambda mode: enrolments.confirm_customer(customer=mode.customer, actor=operator(request)),
            "Confirmed",
        )
        return None


@admin.register(Text)
class TextAdmin(ReadOnly):
    """What was said to phones and by them."""

    list_display = (
        "id", "created_at", "biller", "customer", "direction", "masked", "kind", "state", "status", "reason", "review"
    )  # fmt: skip
    list_select_related = ("biller", "customer")
    list_filter = ("biller",)
    search_fields = ("id", "customer")

    @admin.display(description="phone")
    def masked(self, text: Text) -> str:
        """Show the last figures."""
        return formats.masked_phone(text.phone)


@admin.register(PayLink)
class PayLinkAdmin(ReadOnly):
    """Short links in texts; what makes one valid, its signature, is kept nowhere."""

    list_display = ("id", "biller", "customer", "made_at", "expires_at")
    list_select_related = ("biller", "customer")
    list_filter = ("biller",)
    search_fields = ("id", "customer")


@admin.register(Announcement)
class AnnouncementAdmin(ReadOnly):
    """Which invoice files' bills were told by text."""

    list_display = ("file", "biller", "texts", "begun_at", "done_at")
    list_select_related = ("biller", "file")
    list_filter = ("biller",)
    search_fields = ("file",)
