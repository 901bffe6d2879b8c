"""Which biller the portal speaks for, where a person works for several; and the person's own settings."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from billing.biller_portal.access import BillerRequest, biller_page, choose_biller
from billing.forms import WordsField
from billing.models import Membership, Role
from billing.operations import people
from billing.permissions import Permission


@biller_page(Permission.VIEW)
def choose(request: BillerRequest) -> HttpResponse:
    """Draw the billers of the person; a POST goes on with one of them."""
    if request.method == "POST":
        biller = next((one for one in request.billers if str(one.pk) == request.POST.get("biller")), None)
        if biller is None:
            raise Http404("Not a biller of this person.")
        choose_biller(request, biller)
        messages.success(request, f"You work for {biller.name} now.")
        return redirect("biller-search")
    context = {"title": "Choose a biller", "billers": request.billers}
    return render(request, "biller_portal/billers.html", context)


class ProfileForm(forms.Form):
    """A person's own settings."""

    name = WordsField(
        label="Name",
        max_length=120,
        help_text="As history shows it.",
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    search_shortcut = forms.BooleanField(
        label="The / key goes to the search box",
        required=False,
        help_text="Switch it off if you use speech input or it gets in your way.",
    )
    wants_alerts = forms.BooleanField(
        label="Tell me by e-mail of charges that stay without a result",
        required=False,
        help_text="Once a day, and only where there are some.",
    )

    def __init__(self, *args: Any, membership: Membership | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if membership is None:
            del self.fields["wants_alerts"]


@biller_page(Permission.VIEW)
def profile(request: BillerRequest) -> HttpResponse:
    """Draw and change the person's own settings."""
    user = request.user
    # Only a biller's administrators are told.
    membership = Membership.objects.filter(user=user, biller=request.biller, role=Role.ADMINISTRATOR).first()
    initial = {
        "name": user.name,
        "search_shortcut": user.search_shortcut,
        "wants_alerts": membership is not None and membership.wants_alerts,
    }
    form = ProfileForm(request.POST or None, initial=initial, membership=membership)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        people.change_profile(
            user=user, name=given["name"], search_shortcut=given["search_shortcut"], actor=request.actor
        )
        if membership is not None:
            people.choose_alerts(membership=membership, wants=given["wants_alerts"], actor=request.actor)
        messages.success(request, "Saved.")
        return redirect("biller-profile")
    return render(
        request,
        "biller_portal/profile.html",
        {"title": "Your settings", "form": form},
        status=422 if form.is_bound else 200,
    )
