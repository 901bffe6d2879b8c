"""What an account may not be paid with: cards or bank accounts, blocked by a CSR unless the invoice file alone says it."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render

from billing import portal_settings
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import customer_or_404, frame
from billing.errors import DomainError
from billing.operations import customers
from billing.permissions import Permission


class BlocksForm(forms.Form):
    """What is blocked."""

    card = forms.BooleanField(label="Cards are blocked", required=False)
    bank = forms.BooleanField(label="Bank accounts are blocked", required=False)


@biller_page(Permission.VIEW)
def blocks(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Draw what is blocked; a POST changes it, where the biller lets people do so (MSP-25)."""
    if request.method == "POST" and not request.may(Permission.CHANGE_ENROLMENT):
        raise PermissionDenied("Your role at this biller does not allow this.")
    customer = customer_or_404(request, customer_id)
    kept = portal_settings.keeps_blocks(request.biller)
    form = BlocksForm(
        request.POST if request.method == "POST" else None,
        initial={"card": customer.blocks_card, "bank": customer.blocks_bank},
    )
    if request.method == "POST" and form.is_valid():
        try:
            customers.change_blocks(customer=customer, actor=request.actor, **form.cleaned_data)
        except DomainError as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, "Saved.")
            return redirect("biller-account-methods", customer.pk)
    if kept or not request.may(Permission.CHANGE_ENROLMENT):
        for field in form.fields.values():
            field.disabled = True
    context = frame(request, customer, "biller-account-methods", form=form, kept=kept)
    return render(request, "biller_portal/accounts/blocks.html", context, status=422 if form.is_bound else 200)
