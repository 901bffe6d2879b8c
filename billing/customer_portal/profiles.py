"""The payer's own page: name, language, and the accounts that are linked."""

from __future__ import annotations

from allauth.account import views as account_views
from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import portal_settings
from billing.customer_portal.access import PayerRequest, admit, payer_page
from billing.errors import DomainError
from billing.forms import WordsField
from billing.models import PayerLink
from billing.operations import payers


class ProfileForm(forms.Form):
    """What a payer says about themselves."""

    name = WordsField(
        label=gettext_lazy("Your name"),
        max_length=120,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    language = forms.ChoiceField(
        label=gettext_lazy("Language"),
        choices=[("en", "English"), ("es", "Español")],
        widget=forms.RadioSelect,
        help_text=gettext_lazy("Of these pages, and of the e-mails about accounts that you own."),
    )


@payer_page
def profile(request: PayerRequest) -> HttpResponseBase:
    """Show the profile, and keep what the payer changes of it."""
    payer = request.payer
    assert payer is not None
    form = ProfileForm(request.POST or None, initial={"name": payer.name, "language": payer.language})
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                payers.change_profile(user=payer, actor=request.actor, **form.cleaned_data)
            except DomainError as refused:
                form.add_error(refused.field if refused.field in form.fields else None, str(refused))
            else:
                with translation.override(payer.language):
                    messages.success(request, _("Your profile is saved."))
                answer = redirect("customer-profile")
                answer.set_cookie(
                    settings.LANGUAGE_COOKIE_NAME,
                    payer.language,
                    secure=settings.LANGUAGE_COOKIE_SECURE,
                    httponly=settings.LANGUAGE_COOKIE_HTTPONLY,
                    samesite="Lax",
                )
                return answer
    links = PayerLink.objects.filter(user=payer, customer_id__in=request.customer_ids)
    context = {
        "title": _("Profile"),
        "section": "profile",
        "form": form,
        "payer": payer,
        "email_kept": bool(portal_settings.email_keepers(payer)),
        "links": links.select_related("customer__biller").order_by("biller__name", "customer__number"),
    }
    return render(request, "customer_portal/profile.html", context, status=status)


def email_addresses(request: HttpRequest) -> HttpResponseBase:
    """Let a payer change their e-mail address, unless a biller of theirs keeps it (MSP-31): then say where it is changed."""
    user = request.user
    keepers = portal_settings.email_keepers(user) if user.is_authenticated else []
    if not keepers:
        answer: HttpResponseBase = account_views.email(request)
        return answer
    refused = admit(request)
    if refused is not None:
        return refused
    context = {
        "title": _("Your e-mail address"),
        "section": "profile",
        "keepers": [(biller, portal_settings.portal_of(biller)) for biller in keepers],
    }
    status = 403 if request.method == "POST" else 200
    return render(request, "customer_portal/email_kept.html", context, status=status)


@payer_page
def unlink(request: PayerRequest, link_id: int) -> HttpResponseBase:
    """Ask, then take an account off the payer's list."""
    found = (
        PayerLink.objects.select_related("customer__biller")
        .filter(pk=link_id, user=request.payer, customer_id__in=request.customer_ids)
        .first()
    )
    if found is None:
        raise Http404("Not a link of this payer.")
    if request.method == "POST":
        try:
            payers.unlink(link=found, actor=request.actor)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            words = _("Account %(number)s is not linked to you any more.") % {"number": found.customer.shown_number}
            messages.success(request, words)
        return redirect("customer-profile")
    context = {
        "title": _("Unlink this account?"),
        "section": "profile",
        "question": _(
            "You will not see its bills and payments here any more. AutoPay and paperless billing stay as they are."
        ),
        "facts": [
            (_("Biller"), found.customer.biller.name),
            (_("Account"), found.customer.shown_number),
            (_("Name"), found.customer.name),
        ],
        "button": _("Unlink account"),
        "danger": True,
        "back_url": reverse("customer-profile"),
    }
    return render(request, "customer_portal/confirm.html", context)
