"""Prepaid accounts: the balance under which a customer is told, chosen for a caller."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import customer_or_404, frame
from billing.errors import DomainError
from billing.permissions import Permission
from payments.customer_portal.prepaid import ThresholdForm
from payments.operations import prepayments


@biller_page(Permission.CHANGE_ENROLMENT)
def threshold(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Choose the balance under which the customer is told."""
    customer = customer_or_404(request, customer_id)
    form = ThresholdForm(request.POST or None, customer=customer)
    if request.method == "POST" and form.is_valid():
        try:
            changed = prepayments.choose_threshold(
                customer=customer, threshold=form.cleaned_data["threshold"], actor=request.actor
            )
        except DomainError as refused:
            form.add_error("threshold", str(refused))
        else:
            messages.success(request, "Saved." if changed else "Nothing was different, so nothing was changed.")
            return redirect("biller-account", customer.pk)
    context = frame(request, customer, "biller-account", form=form)
    return render(request, "biller_portal/accounts/prepaid.html", context, status=422 if form.is_bound else 200)
