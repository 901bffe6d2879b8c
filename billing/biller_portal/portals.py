"""How the customer portal stands to the biller's own: where payers sign in, who changes what, and the keys of tickets."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from billing import advanced_settings, formats, portal_settings
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.settings import answer_refusal, settings_tabs
from billing.errors import DomainError
from billing.models import SignOnKey
from billing.operations import sign_ons
from billing.permissions import Permission

NUMBERS = (portal_settings.PORTAL, portal_settings.KEEPS_EMAIL, portal_settings.KEEPS_BLOCKS)


class PortalForm(forms.Form):
    """The numbered settings of the portals, with the words of the registry."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for number in NUMBERS:
            one = advanced_settings.setting(number)
            flag = one.kind is advanced_settings.Kind.FLAG
            kind: type[forms.Field] = forms.BooleanField if flag else forms.URLField
            more: dict[str, Any] = {} if flag else {"assume_scheme": "https", "max_length": 400}
            self.fields[f"setting_{number}"] = kind(
                label=str(one.name), help_text=str(one.help), required=False, **more
            )


@biller_page(Permission.CHANGE_SETTINGS)
def overview(request: BillerRequest) -> HttpResponse:
    """Draw the settings and the keys; a POST keeps the settings."""
    biller = request.biller
    form = PortalForm(
        request.POST or None,
        initial={f"setting_{number}": advanced_settings.value(number, biller.pk) for number in NUMBERS},
    )
    if request.method == "POST" and form.is_valid():
        try:
            for number in NUMBERS:
                given = form.cleaned_data[f"setting_{number}"]
                advanced_settings.change(actor=request.actor, biller=biller, number=number, given=given)
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(request, "Saved.")
            return redirect("biller-portal")
    return _page(request, form, None)


@require_POST
@biller_page(Permission.CHANGE_SETTINGS)
def make_key(request: BillerRequest) -> HttpResponse:
    """Make a key and show it, this once."""
    try:
        made = sign_ons.make_key(biller=request.biller, actor=request.actor)
    except DomainError as refused:
        messages.error(request, str(refused))
        return redirect("biller-portal")
    values = {f"setting_{number}": advanced_settings.value(number, request.biller.pk) for number in NUMBERS}
    response = _page(request, PortalForm(initial=values), made)
    response["Cache-Control"] = "no-store"
    return response


@biller_page(Permission.CHANGE_SETTINGS)
def retire_key(request: BillerRequest, key_id: int) -> HttpResponse:
    """Ask, then believe no ticket of a key any more."""
    key = get_object_or_404(SignOnKey.objects.visible_to(request.user).filter(biller=request.biller), pk=key_id)
    if request.method == "POST":
        try:
            sign_ons.retire_key(key=key, actor=request.actor)
            messages.success(request, f"Tickets of the key {key.name} open nothing any more.")
        except DomainError as refused:
            messages.error(request, str(refused))
        return redirect("biller-portal")
    context = {
        "title": f"Retire the key {key.name}?",
        "section": "settings",
        "question": "Tickets that are signed with it open nothing from now on. Sign with the other key first.",
        "rows": [("Made by", key.created_by, ""), ("Made", formats.day(key.created_at), "")],
        "button": "Retire the key",
        "danger": True,
        "back_url": reverse("biller-portal"),
    }
    return render(request, "biller_portal/confirm.html", context)


def _page(request: BillerRequest, form: PortalForm, made: sign_ons.Made | None) -> HttpResponse:
    keys = SignOnKey.objects.visible_to(request.user).filter(biller=request.biller)
    context = {
        "title": "Your own portal",
        "section": "settings",
        "tabs": settings_tabs("biller-portal"),
        "form": form,
        "made": made,
        "keys": keys.order_by("retired_at", "-pk")[:50],
    }
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "biller_portal/settings/portal.html", context, status=status)
