"""Giving one payment back, whole or in part, as a person with the right does it for a caller (PAY-33)."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from billing import formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.settings import answer_refusal
from billing.errors import DomainError
from billing.forms import MoneyField, WordsField
from billing.money import ZERO
from billing.permissions import Permission
from payments.biller_portal.payments import payment_or_404
from payments.gateways.base import GatewayError
from payments.models import Payment, PaymentState, Reversal, ReversalState
from payments.operations import refunds, reversals


class RefundForm(forms.Form):
    """How much goes back, and why."""

    def __init__(self, data: Any, *, payment: Payment, left: Decimal, fee: Decimal) -> None:
        super().__init__(data, initial={"amount": left, "request_key": uuid.uuid4()})
        currency = payment.currency
        # Where all of the amount went back already, the fee may follow it.
        least = ZERO if fee and not left else Decimal("0.01")
        self.fields["amount"] = MoneyField(
            currency=currency,
            least=least,
            most=left,
            label="Amount",
            help_text=f"At most {formats.money(left, currency)}.",
        )
        if fee:
            self.fields["with_fee"] = forms.BooleanField(
                label=f"Give the fee of {formats.money(fee, currency)} back as well", required=False
            )
        self.fields["reason"] = WordsField(
            label="Why",
            max_length=200,
            help_text="The payer reads it.",
            error_messages={"required": "Say why it is given back"},
            widget=forms.TextInput(attrs={"autocomplete": "off"}),
        )
        self.fields["request_key"] = forms.UUIDField(
            widget=forms.HiddenInput,
            error_messages=dict.fromkeys(["required", "invalid"], "This page was not sent whole: open it again"),
        )


@biller_page(Permission.GIVE_BACK)
def refund(request: BillerRequest, payment_id: uuid.UUID) -> HttpResponse:
    """Ask how much and why, then give it back."""
    found = payment_or_404(request, payment_id)
    left = found.amount - (found.undone or ZERO)
    if request.method == "POST" and (earlier := _made_before(found, request.POST.get("request_key", ""))) is not None:
        return _answer(request, earlier)
    form = RefundForm(request.POST or None, payment=found, left=left, fee=found.fee - reversals.gone_back(found).fee)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            made = refunds.refund(
                payment=found,
                amount=given["amount"],
                with_fee=given.get("with_fee", False),
                reason=given["reason"],
                actor=request.actor,
                request_key=str(given["request_key"]),
            )
        except DomainError as refused:
            answer_refusal(form, refused)
        except GatewayError:
            form.add_error(None, "The way to the payment processor is set up wrongly. Tell an administrator.")
        else:
            return _answer(request, made)
    context = {
        "title": "Give money back",
        "section": "payments",
        "payment": found,
        "form": form,
        "possible": found.route_id is not None and found.state in {PaymentState.POSTED, PaymentState.REVERSED},
    }
    return render(
        request, "biller_portal/payments/refund.html", context, status=422 if form.is_bound and form.errors else 200
    )


def _made_before(payment: Payment, key: str) -> Reversal | None:
    """Give the refund that the same form made already: its button may be pressed twice."""
    try:
        return Reversal.objects.filter(payment=payment, request_key=str(uuid.UUID(key))).first()
    except ValueError:
        return None


def _answer(request: BillerRequest, made: Reversal) -> HttpResponse:
    """Say what came of a refund, on its payment's page."""
    amount = formats.money(made.total, made.currency)
    if made.state == ReversalState.DONE:
        done = "was voided: it does not reach the payer’s statement" if made.kind == "void" else "was given back"
        messages.success(request, f"{amount} {done}. What it had paid is open again.")
    elif made.state == ReversalState.FAILED:
        messages.error(request, f"{made.failure} Nothing was given back.")
    else:
        messages.warning(
            request, f"It is not known yet whether {amount} went back. The processor is asked until it is."
        )
    return redirect("biller-payment", made.payment_id)
