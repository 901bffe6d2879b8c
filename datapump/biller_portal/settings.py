"""The settings of DataPump: which kinds of update are sent, each endpoint by its numbered settings, setting 131."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from billing import advanced_settings
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.settings import settings_tabs
from billing.errors import DomainError
from billing.permissions import Permission
from datapump.advanced_settings import DaffronFlags
from datapump.biller_portal.waking import wake
from datapump.forms import NUMBERS, EndpointForm, JsonForm, SwitchesForm
from datapump.models import Configuration, Endpoint, Purpose
from datapump.operations import endpoints
from datapump.operations.records import types_of


@biller_page(Permission.CHANGE_SETTINGS)
def overview(request: BillerRequest) -> HttpResponse:
    """Draw the switches, the endpoints and setting 131; a POST changes the switches or the setting."""
    biller = request.biller
    configuration = Configuration.objects.filter(biller=biller).first() or Configuration(biller=biller)
    kept = advanced_settings.value(131, biller.pk)
    switches = SwitchesForm(initial={name: getattr(configuration, name) for name in endpoints.SWITCHES})
    json_form = JsonForm(initial={"setting_131": kept})
    if request.method == "POST" and request.POST.get("part") == "switches":
        switches = SwitchesForm(request.POST)
        if switches.is_valid():
            endpoints.configure(actor=request.actor, biller=biller, switches=switches.cleaned_data)
            messages.success(request, "Saved.")
            return redirect("biller-datapump-settings")
    elif request.method == "POST":
        json_form = JsonForm(request.POST)
        if json_form.is_valid():
            try:
                advanced_settings.change(
                    actor=request.actor, biller=biller, number=131, given=json_form.cleaned_data["setting_131"]
                )
            except DomainError as refused:
                json_form.add_error("setting_131", str(refused))
            else:
                messages.success(request, "Saved.")
                return redirect("biller-datapump-settings")
    found = {endpoint.purpose: endpoint for endpoint in Endpoint.objects.filter(biller=biller)}
    flags = DaffronFlags.read(kept)
    context: dict[str, Any] = {
        "title": "DataPump",
        "section": "settings",
        "tabs": settings_tabs("biller-datapump-settings"),
        "switches": switches,
        "json_form": json_form,
        "forms": [switches, json_form],
        "purposes": [
            {
                "purpose": purpose.value,
                "name": Endpoint(purpose=purpose.value).short_name,
                "endpoint": found.get(purpose.value),
                "numbers": ", ".join(str(number) for number in NUMBERS[purpose]),
                "hears": bool(types_of(purpose)),
            }
            for purpose in Purpose
        ],
        "codes_may_repeat": Purpose.PAYMENTS in found and not flags.transaction_id_is_payment_guid,
    }
    wrong = any(isinstance(form, forms.Form) and form.is_bound for form in context["forms"])
    return render(request, "biller_portal/datapump/settings.html", context, status=422 if wrong else 200)


@biller_page(Permission.CHANGE_SETTINGS)
def endpoint(request: BillerRequest, purpose: str) -> HttpResponse:
    """Draw and change one endpoint."""
    if purpose not in Purpose.values:
        raise Http404("No such endpoint.")
    found = Endpoint.objects.filter(biller=request.biller, purpose=purpose).first()
    form = EndpointForm(request.POST or None, purpose=purpose, endpoint=found)
    if request.method == "POST" and form.is_valid():
        fields, options = form.changes()
        try:
            endpoints.change(
                actor=request.actor, biller=request.biller, purpose=purpose, fields=fields, options=options
            )
        except DomainError as refused:
            form.add_error(form.field_named(refused.field), str(refused))
        else:
            wake()
            messages.success(request, "Saved. Send a test to see whether it answers.")
            return redirect("biller-datapump")
    context = {
        "title": f"DataPump: {Purpose(purpose).label}",
        "section": "settings",
        "tabs": settings_tabs("biller-datapump-settings"),
        "form": form,
        "button": "Save the endpoint",
    }
    return render(request, "biller_portal/datapump/endpoint.html", context, status=422 if form.is_bound else 200)
