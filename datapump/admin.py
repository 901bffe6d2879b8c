"""DataPump in the admin: endpoints by their numbered settings, switches, and everything that happened, to read.

Nothing is written past the operations: forms and actions call them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from billing import advanced_settings, tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import User
from billing.secrets import EncryptedTextField
from datapump.advanced_settings import DaffronFlags, codes_may_repeat
from datapump.connectors.registry import CONNECTORS
from datapump.forms import JSON_NUMBERS, PRINT_NUMBERS, EndpointForm, SettingField, SwitchesForm, connector_for
from datapump.models import ChangeLog, Configuration, Delivery, Endpoint, Envelope, Purpose, Record
from datapump.operations import endpoints, resends


def operator(request: HttpRequest) -> Actor:
    """Give the administrator who asks."""
    assert isinstance(request.user, User)
    return Actor.operator(request.user, request.META.get("REMOTE_ADDR"))


if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class ReadOnly(_ModelAdmin):
    """Rows of every biller, to look at."""

    actions: Any = None
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: rows are made by operations."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Refuse: history stays."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Draw the list with every biller in scope."""
        tenancy.enter(tenancy.EVERY_BILLER)
        return super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Draw one row with every biller in scope; a page that changes nothing takes no POST."""
        tenancy.enter(tenancy.EVERY_BILLER)
        if request.method == "POST":
            raise PermissionDenied
        return super().changeform_view(request, object_id, form_url, {"show_save": False, **(extra_context or {})})

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """Make every field one to read, but secrets, which are none to read."""
        return [field.name for field in self.model._meta.fields if not isinstance(field, EncryptedTextField)]

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Leave secrets out."""
        return self.get_readonly_fields(request, obj)


class FormPage(ReadOnly):
    """A row whose page is a form of ours, given to an operation."""

    def form_for(self, request: HttpRequest, row: Any) -> forms.Form:
        """Make the form, bound where the request is a POST."""
        raise NotImplementedError

    def apply(self, request: HttpRequest, row: Any, form: Any) -> dict[str, Any] | None:
        """Call the operation; gives what the page must show now instead of being asked for again.

        :raises DomainError: it refuses.
        """
        raise NotImplementedError

    def act(self, request: HttpRequest, row: Any, act: str) -> dict[str, Any]:
        """Do what one of the page's other buttons says; gives what the page shows of it.

        :raises DomainError: it is refused.
        """
        raise PermissionDenied

    def more(self, request: HttpRequest, row: Any, form: Any) -> dict[str, Any]:
        """Give what the page shows beside the form."""
        return {}

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Draw the form and hand what it gives to the operation."""
        tenancy.enter(tenancy.EVERY_BILLER)
        row = self.get_object(request, str(object_id))
        if row is None:
            raise Http404("There is no such row.")
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        shown: dict[str, Any] = {}
        if request.method == "POST" and "act" in request.POST:
            try:
                shown = self.act(request, row, request.POST["act"])
            except DomainError as refused:
                messages.error(request, str(refused))
            request.method = "GET"
            row.refresh_from_db()
        form = self.form_for(request, row)
        if request.method == "POST" and form.is_valid():
            try:
                shown = self.apply(request, row, form) or {}
            except DomainError as refused:
                named = getattr(form, "field_named", lambda name: name if name in form.fields else None)
                form.add_error(named(refused.field), str(refused))
            else:
                messages.success(request, "Saved.")
                if not shown:
                    return redirect(request.path)
                row.refresh_from_db()
        context = {
            **self.admin_site.each_context(request),
            "title": f"{row.biller}: {row}",
            "opts": self.opts,
            "original": row,
            "form": form,
            **self.more(request, row, form),
            **shown,
        }
        return TemplateResponse(
            request, "admin/datapump/form.html", context, status=422 if form.is_bound and form.errors else 200
        )


@admin.register(Endpoint)
class EndpointAdmin(FormPage):
    """Endpoints: the numbered settings are their fields (MSP-35)."""

    list_display = (
        "biller",
        "purpose",
        "url",
        "paused",
        "paused_for",
        "closed_until",
        "last_success_at",
        "last_failure",
    )
    list_filter = ("purpose", "paused")
    list_select_related = ("biller",)
    actions = ("send_test", "pause", "resume")

    def form_for(self, request: HttpRequest, row: Endpoint) -> EndpointForm:
        """Make the endpoint's form; warn where payments may be taken for each other."""
        flags = DaffronFlags.read(advanced_settings.value(131, row.biller_id))
        if row.purpose == Purpose.PAYMENTS and codes_may_repeat(row, flags) and request.method == "GET":
            messages.warning(
                request,
                "transactionId is the approval code, which may come twice: the biller’s system would take the second "
                "payment for a repeat. Setting 131, TransactionIdIsPaymentGuid, makes it the payment’s GUID.",
            )
        chosen = request.POST.get("connector") or request.GET.get("connector")
        connector = connector_for(chosen, row.purpose, row)
        return EndpointForm(request.POST or None, purpose=row.purpose, endpoint=row, connector=connector)

    def more(self, request: HttpRequest, row: Endpoint, form: Any) -> dict[str, Any]:
        """Give the connectors there are to choose, and which the form is of."""
        return {
            "connector": form.spoken,
            "connectors": [one for one in CONNECTORS.values() if row.purpose in one.purposes],
            "changes_secret": row.connector == form.spoken.name and form.spoken.makes_secrets,
            "pings": form.spoken.pings if row.connector == form.spoken.name else (),
        }

    def act(self, request: HttpRequest, row: Endpoint, act: str) -> dict[str, Any]:
        """Ask the endpoint a question, or change its secret, which is shown this once."""
        now = timezone.now()
        if act == "secret":
            return {"secret": endpoints.change_secret(actor=operator(request), endpoint=row, now=now)}
        return {"tested": endpoints.send_test(actor=operator(request), endpoint=row, now=now, question=act)}

    def apply(self, request: HttpRequest, row: Endpoint, form: EndpointForm) -> dict[str, Any] | None:
        """Change the endpoint; a secret that was made for it is shown this once."""
        fields, options = form.changes()
        changed = endpoints.change(
            actor=operator(request), biller=row.biller, purpose=row.purpose, fields=fields, options=options
        )
        return {"secret": changed.new_secret} if changed.new_secret else None

    @admin.action(description="Send a test")
    def send_test(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        """Ask each whether it is well."""
        for endpoint in queryset:
            try:
                tested = endpoints.send_test(actor=operator(request), endpoint=endpoint, now=timezone.now())
            except DomainError as refused:
                messages.error(request, f"{endpoint}: {refused}")
                continue
            (messages.success if tested.well else messages.error)(request, f"{endpoint}: {tested.words}")

    @admin.action(description="Pause")
    def pause(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        """Stop sending to each."""
        self._each(request, queryset, endpoints.pause)

    @admin.action(description="Go on")
    def resume(self, request: HttpRequest, queryset: QuerySet[Endpoint]) -> None:
        """Let each go on."""
        self._each(request, queryset, endpoints.resume)

    def _each(self, request: HttpRequest, queryset: QuerySet[Endpoint], operation: endpoints.Change) -> None:
        for endpoint in queryset:
            try:
                operation(actor=operator(request), endpoint=endpoint)
            except DomainError as refused:
                messages.error(request, f"{endpoint}: {refused}")


_ROW_NUMBERS = (*PRINT_NUMBERS, *JSON_NUMBERS)


class ConfigurationForm(SwitchesForm):
    """The switches, and the settings that belong to no endpoint."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for number in _ROW_NUMBERS:
            self.fields[f"setting_{number}"] = SettingField(advanced_settings.setting(number))


@admin.register(Configuration)
class ConfigurationAdmin(FormPage):
    """What a biller's system hears of (PBT-1), its print server, and setting 131 (MSP-35)."""

    list_display = ("biller", *endpoints.SWITCHES)
    list_select_related = ("biller",)

    def form_for(self, request: HttpRequest, row: Configuration) -> ConfigurationForm:
        """Make the form of the switches and the settings."""
        initial: dict[str, Any] = {name: getattr(row, name) for name in endpoints.SWITCHES}
        for number in _ROW_NUMBERS:
            initial[f"setting_{number}"] = advanced_settings.value(number, row.biller_id)
        return ConfigurationForm(request.POST or None, initial=initial)

    def more(self, request: HttpRequest, row: Configuration, form: Any) -> dict[str, Any]:
        """Give every numbered setting of the biller as it stands."""
        return {"settings": advanced_settings.standing(row.biller_id)}

    def apply(self, request: HttpRequest, row: Configuration, form: ConfigurationForm) -> None:
        """Change the switches and the settings; nothing is left to show."""
        given = dict(form.cleaned_data)
        wanted = {number: given.pop(f"setting_{number}") for number in _ROW_NUMBERS}
        endpoints.configure(actor=operator(request), biller=row.biller, switches=given)
        for number, value in wanted.items():
            advanced_settings.change(actor=operator(request), biller=row.biller, number=number, given=value)


@admin.register(Record)
class RecordAdmin(ReadOnly):
    """Updates, to read; sent again and skipped through the operations."""

    list_display = ("id", "biller", "customer", "type", "state", "attempts", "created_at", "delivered_at", "failure")
    list_filter = ("type", "state", "trouble", "biller")
    list_select_related = ("biller", "customer")
    # The only order that an index has over all billers.
    ordering = ("-id",)
    search_fields = ("id__exact",)
    actions = ("send_again", "skip")

    @admin.action(description="Send again")
    def send_again(self, request: HttpRequest, queryset: QuerySet[Record]) -> None:
        """Have each sent again."""
        self._each(request, queryset, resends.send_again)

    @admin.action(description="Skip")
    def skip(self, request: HttpRequest, queryset: QuerySet[Record]) -> None:
        """Give each up."""
        self._each(request, queryset, resends.skip)

    def _each(self, request: HttpRequest, queryset: QuerySet[Record], operation: Any) -> None:
        done = 0
        for record in queryset[:1_000]:
            try:
                operation(actor=operator(request), record=record)
                done += 1
            except DomainError as refused:
                messages.error(request, f"{record}: {refused}")
        if done:
            messages.success(request, f"{done} done.")


@admin.register(ChangeLog)
class ChangeLogAdmin(ReadOnly):
    """What changed, to read."""

    list_display = ("at", "biller", "customer", "field", "old", "new", "made_by", "datapump_id")
    list_select_related = ("biller", "customer")
    ordering = ("-id",)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly):
    """Tries, to read."""

    list_display = ("at", "biller", "record_id", "outcome", "status", "milliseconds", "words")
    list_select_related = ("biller",)
    list_filter = ("outcome",)
    ordering = ("-id",)


@admin.register(Envelope)
class EnvelopeAdmin(ReadOnly):
    """What was said, to read; credentials are masked in it."""

    list_display = ("at", "biller", "endpoint", "operation", "status", "milliseconds", "failures")
    list_select_related = ("biller", "endpoint")
    ordering = ("-id",)
