"""What a biller asks of cards and bank accounts before they are charged (PAY-14 to PAY-16, PAY-18)."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.settings import answer_refusal, settings_tabs
from billing.errors import DomainError
from billing.permissions import Permission
from payments.operations import verifications


class MethodRulesForm(forms.Form):
    """When methods are verified, and what must be known of them."""

    verify_cards = forms.BooleanField(
        label="Verify cards before they are kept or charged for the first time",
        required=False,
        help_text="The bank is asked whether the card is good and whether address and security code match. No money is taken.",
    )
    require_cvv = forms.BooleanField(
        label="Ask for the security code of a card",
        required=False,
        help_text="It goes to the processor and is kept nowhere.",
    )
    verify_banks = forms.BooleanField(
        label="Verify bank accounts before they are kept or debited for the first time", required=False
    )
    bank_days = forms.IntegerField(
        label="Verify a bank account again after so many days",
        required=False,
        min_value=1,
        max_value=3650,
        widget=forms.NumberInput(attrs={"class": "width-4"}),
        help_text="Before the next debit. Empty: never.",
    )


@biller_page(Permission.CHANGE_SETTINGS)
def method_rules(request: BillerRequest) -> HttpResponse:
    """Draw and change the rules."""
    kept = verifications.rules_of(request.biller.pk)
    initial = {name: getattr(kept, name) for name in MethodRulesForm.base_fields}
    form = MethodRulesForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            changed = verifications.change_rules(
                biller=request.biller, rules=verifications.Rules(**form.cleaned_data), actor=request.actor
            )
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(request, "Saved." if changed else "Nothing was different, so nothing was changed.")
            return redirect("biller-method-rules")
    context = {
        "title": "Cards and bank accounts",
        "section": "settings",
        "tabs": settings_tabs("biller-method-rules"),
        "form": form,
        "button": "Save the rules",
    }
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "biller_portal/settings/form.html", context, status=status)
