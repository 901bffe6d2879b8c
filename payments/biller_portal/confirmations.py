"""Saying what a bank said of a payment that was posted before it could (PAY-34)."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.settings import answer_refusal
from billing.errors import DomainError
from billing.forms import WordsField
from billing.permissions import Permission
from payments.biller_portal.payments import payment_or_404, unconfirmed_words
from payments.operations import confirmations


class ConfirmationForm(forms.Form):
    """What the bank said."""

    outcome = forms.ChoiceField(
        label="What the bank says",
        choices=[
            ("confirmed", "It has paid: confirm the payment"),
            ("failed", "It does not pay: the payment has failed"),
        ],
        widget=forms.RadioSelect,
    )
    reason = WordsField(
        label="Why it failed",
        max_length=200,
        required=False,
        help_text="As the bank says it. The payer reads it.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    code = WordsField(
        label="The bank’s return code",
        max_length=64,
        required=False,
        help_text="Such as R01, where the bank gives one. Your fees for returned debits follow from it.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def clean_code(self) -> str:
        """Give the code as banks write it; processors' own have small letters and underscores."""
        code: str = self.cleaned_data["code"]
        return code if "_" in code else code.upper()

    def clean(self) -> dict[str, Any]:
        """Want a reason where it failed."""
        given = super().clean() or self.cleaned_data
        if given.get("outcome") == "failed" and not given.get("reason") and "reason" not in self.errors:
            self.add_error("reason", "Say why it failed, as the bank says")
        return given


@biller_page(Permission.GIVE_BACK)
def confirm(request: BillerRequest, payment_id: uuid.UUID) -> HttpResponse:
    """Ask what the bank said, then confirm or fail the payment."""
    found = payment_or_404(request, payment_id)
    form = ConfirmationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            if form.cleaned_data["outcome"] == "confirmed":
                confirmations.confirm(payment=found, actor=request.actor, now=timezone.now())
                messages.success(request, "The payment is confirmed.")
            else:
                confirmations.fail(
                    payment=found, reason=form.cleaned_data["reason"], code=form.cleaned_data["code"],
                    actor=request.actor, now=timezone.now(),
                )  # fmt: skip
                messages.warning(request, "The payment has failed. What it had paid is open again.")
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            return redirect("biller-payment", found.pk)
    context = {
        "title": "What the bank says",
        "section": "payments",
        "payment": found,
        "form": form,
        "words": unconfirmed_words(found),
    }
    failed = form.is_bound and form.errors
    return render(request, "biller_portal/payments/confirmation.html", context, status=422 if failed else 200)
