"""Prepaid accounts: the balance under which the payer is told."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from billing import formats
from billing.customer_portal.access import AccountRequest, account_page
from billing.errors import DomainError
from billing.forms import MoneyField
from billing.models import Customer
from billing.money import ZERO
from payments.operations import balances, dues, prepayments


class ThresholdForm(forms.Form):
    """Under which balance somebody is told; CSRs and payers fill in the same."""

    def __init__(self, *args: Any, customer: Customer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        biller = customer.biller
        usual = biller.prepaid_threshold
        if usual is not None:
            words = _("Empty: %(amount)s, as for everybody.") % {"amount": formats.money(usual, biller.currency)}
        else:
            words = _("Empty: nobody is told.")
        self.fields["threshold"] = MoneyField(
            label=_("Tell when the balance falls below"), currency=biller.currency, least=ZERO, most=biller.prepaid_most,
            required=False, help_text=words, initial=customer.prepaid_threshold,
        )  # fmt: skip


@account_page
def threshold(request: AccountRequest) -> HttpResponseBase:
    """Show what is left on an account, and choose the balance under which its payers are told."""
    customer = request.customer
    live = balances.refresh(biller=request.biller, customers=[customer.pk]).get(customer.pk)
    form = ThresholdForm(request.POST or None, customer=customer)
    if request.method == "POST" and form.is_valid():
        try:
            prepayments.choose_threshold(
                customer=customer, threshold=form.cleaned_data["threshold"], actor=request.actor
            )
        except DomainError as refused:
            form.add_error("threshold", str(refused))
        else:
            messages.success(request, _("Saved."))
            return redirect("customer-home")
    context = {
        "title": _("When to tell you"),
        "section": "home",
        "customer": customer,
        "currency": request.biller.currency,
        "live": live,
        "prepaid": live is not None and live.balance is not None and live.balance.prepaid,
        "due": dues.due(customer=customer),
        "form": form,
        "back_url": reverse("customer-home"),
    }
    return render(request, "customer_portal/prepaid.html", context, status=422 if form.is_bound else 200)
