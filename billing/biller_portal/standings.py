"""How an account stands: active or not, and of which segment, as a CSR says."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import customer_or_404, frame
from billing.biller_portal.settings import answer_refusal
from billing.errors import DomainError
from billing.forms import WordsField
from billing.models import CustomerStatus
from billing.operations import customers
from billing.permissions import Permission


class StandingForm(forms.Form):
    """Status and segment."""

    status = forms.ChoiceField(
        label="Status",
        choices=CustomerStatus.choices,
        help_text="AutoPay collects from active accounts; from others only where every open bill is tried.",
    )
    segment = WordsField(
        label="Segment",
        required=False,
        max_length=20,
        help_text="The biller’s own word for a kind of customer, by which rules of fees tell accounts apart.",
    )


@biller_page(Permission.CHANGE_ENROLMENT)
def standing(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Draw how the account stands, and change it."""
    customer = customer_or_404(request, customer_id)
    initial = {"status": customer.status, "segment": customer.segment}
    form = StandingForm(request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            customers.change_standing(
                customer=customer,
                status=CustomerStatus(given["status"]),
                segment=given["segment"],
                actor=request.actor,
            )
        except DomainError as refused:
            answer_refusal(form, refused)
        else:
            messages.success(request, "Saved.")
            return redirect("biller-account", customer.pk)
    context = frame(request, customer, "biller-account", form=form)
    status = 422 if form.is_bound and form.errors else 200
    return render(request, "biller_portal/accounts/standing.html", context, status=status)
