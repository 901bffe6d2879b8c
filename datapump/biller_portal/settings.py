"""The settings of DataPump: which kinds of update are sent, each endpoint by its numbered settings, the print server,
setting 131.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from billing import advanced_settings
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.settings import settings_tabs
from billing.errors import DomainError
from billing.permissions import Permission
from datapump.advanced_settings import DaffronFlags, codes_may_repeat
from datapump.biller_portal.endpoints import endpoint_or_404
from datapump.biller_portal.waking import wake
from datapump.connectors.base import Connector
from datapump.connectors.registry import CONNECTORS, connector_named
from datapump.connectors.webhooks.events import EVENTS
from datapump.forms import (
    JSON_NUMBERS,
    NUMBERS,
    PRINT_NUMBERS,
    EndpointForm,
    JsonForm,
    PrintServerForm,
    SwitchesForm,
    connector_for,
)
from datapump.models import Configuration, Endpoint, Purpose
from datapump.operations import endpoints
from datapump.operations.deliveries.messages import KINDS
from datapump.operations.records import heard_by, types_of


@biller_page(Permission.CHANGE_SETTINGS)
def overview(request: BillerRequest) -> HttpResponse:
    """Draw the switches, the endpoints, the print server and setting 131; a POST changes one of them."""
    biller = request.biller
    configuration = Configuration.objects.filter(biller=biller).first() or Configuration(biller=biller)
    kept = advanced_settings.value(131, biller.pk)
    switches = SwitchesForm(initial={name: getattr(configuration, name) for name in endpoints.SWITCHES})
    groups = advanced_settings.value(128, biller.pk)
    json_form = JsonForm(initial={"setting_131": kept, "setting_128": groups})
    print_form = PrintServerForm(
        initial={f"setting_{number}": advanced_settings.value(number, biller.pk) for number in PRINT_NUMBERS}
    )
    if request.method == "POST" and request.POST.get("part") == "switches":
        switches = SwitchesForm(request.POST)
        if switches.is_valid():
            endpoints.configure(actor=request.actor, biller=biller, switches=switches.cleaned_data)
            messages.success(request, "Saved.")
            return redirect("biller-datapump-settings")
    elif request.method == "POST" and request.POST.get("part") == "prints":
        print_form = PrintServerForm(request.POST)
        if _changed(request, print_form, PRINT_NUMBERS):
            messages.success(request, "Saved. Open a bill’s PDF to see whether it comes.")
            return redirect("biller-datapump-settings")
    elif request.method == "POST":
        json_form = JsonForm(request.POST)
        if _changed(request, json_form, JSON_NUMBERS):
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
        "groups_warning": advanced_settings.setting(128).warning(biller, groups),
        "print_form": print_form,
        "forms": [switches, print_form, json_form],
        "purposes": [
            {
                "purpose": purpose.value,
                "name": Endpoint(purpose=purpose.value).short_name,
                "endpoint": found.get(purpose.value),
                "numbers": ", ".join(str(number) for number in NUMBERS[purpose]),
                "hears": bool(types_of(purpose)),
                "connector": CONNECTORS[found[purpose].connector].label if purpose in found else "",
            }
            for purpose in Purpose
        ],
        "codes_may_repeat": codes_may_repeat(found.get(Purpose.PAYMENTS), flags),
    }
    wrong = any(isinstance(form, forms.Form) and form.is_bound for form in context["forms"])
    return render(request, "biller_portal/datapump/settings.html", context, status=422 if wrong else 200)


def _changed(request: BillerRequest, form: forms.Form, numbers: Sequence[int]) -> bool:
    """Change the settings to what the form says; where one is refused the form shows it."""
    if not form.is_valid():
        return False
    for number in numbers:
        field = f"setting_{number}"
        try:
            advanced_settings.change(
                actor=request.actor, biller=request.biller, number=number, given=form.cleaned_data[field]
            )
        except DomainError as refused:
            form.add_error(field, str(refused))
    return not form.errors


@biller_page(Permission.CHANGE_SETTINGS)
def numbers(request: BillerRequest) -> HttpResponse:
    """Draw every numbered setting as it stands."""
    context = {
        "title": "Numbered settings",
        "section": "settings",
        "tabs": settings_tabs("biller-datapump-settings"),
        "settings": advanced_settings.standing(request.biller.pk),
    }
    return render(request, "biller_portal/datapump/numbers.html", context)


@biller_page(Permission.CHANGE_SETTINGS)
def endpoint(request: BillerRequest, purpose: str) -> HttpResponse:
    """Draw and change one endpoint; a secret that we make for it is shown this once."""
    if purpose not in Purpose.values:
        raise Http404("No such endpoint.")
    found = Endpoint.objects.filter(biller=request.biller, purpose=purpose).first()
    connector = connector_for(request.POST.get("connector") or request.GET.get("connector"), purpose, found)
    form = EndpointForm(request.POST or None, purpose=purpose, endpoint=found, connector=connector)
    if request.method == "POST" and form.is_valid():
        fields, options = form.changes()
        try:
            changed = endpoints.change(
                actor=request.actor, biller=request.biller, purpose=purpose, fields=fields, options=options
            )
        except DomainError as refused:
            form.add_error(form.field_named(refused.field), str(refused))
        else:
            wake()
            if changed.new_secret:
                return _page(request, changed, connector, secret=changed.new_secret)
            messages.success(request, "Saved. Send a test to see whether it answers.")
            return redirect("biller-datapump")
    return _page(request, found or Endpoint(purpose=purpose), connector, form=form)


@require_POST
@biller_page(Permission.CHANGE_SETTINGS)
def change_secret(request: BillerRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Make a new secret for an endpoint and show it, this once."""
    found = endpoint_or_404(request, endpoint_id)
    try:
        secret = endpoints.change_secret(actor=request.actor, endpoint=found, now=timezone.now())
    except DomainError as refused:
        messages.error(request, str(refused))
        return redirect("biller-datapump-endpoint", found.purpose)
    found.refresh_from_db()
    return _page(request, found, connector_named(found.connector), secret=secret)


@require_POST
@biller_page(Permission.CHANGE_SETTINGS)
def test(request: BillerRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Ask an endpoint one of its questions and show what came back."""
    found = endpoint_or_404(request, endpoint_id)
    tested = None
    try:
        tested = endpoints.send_test(
            actor=request.actor, endpoint=found, now=timezone.now(), question=request.POST.get("question", "")
        )
    except DomainError as refused:
        messages.error(request, str(refused))
    return _page(request, found, connector_for("", found.purpose, found), tested=tested)


def _page(
    request: BillerRequest,
    found: Endpoint,
    connector: Connector,
    *,
    form: EndpointForm | None = None,
    secret: str = "",
    tested: endpoints.Tested | None = None,
) -> HttpResponse:
    made = found if not found._state.adding else None
    form = form or EndpointForm(purpose=found.purpose, endpoint=made, connector=connector)
    told = Endpoint(biller=request.biller, purpose=found.purpose, connector=connector.name)
    context = {
        "title": f"DataPump: {Purpose(found.purpose).label}",
        "section": "settings",
        "tabs": settings_tabs("biller-datapump-settings"),
        "form": form,
        "button": "Save the endpoint",
        "endpoint": made,
        "purpose": found.purpose,
        "connector": connector,
        "connectors": [one for one in CONNECTORS.values() if found.purpose in one.purposes],
        "events": [EVENTS[KINDS[type_]].type for type_ in heard_by(told) if type_ in KINDS],
        "secret": secret,
        "tested": tested,
        "may_test": made is not None and made.connector == connector.name,
        "changes_secret": made is not None and made.connector == connector.name and connector.makes_secrets,
    }
    return render(request, "biller_portal/datapump/endpoint.html", context, status=422 if form.is_bound else 200)
