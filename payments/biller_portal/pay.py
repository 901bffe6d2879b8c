"""Taking a payment: amount, method, review, receipt. Each step has its address; back and reload never pay twice.

What was chosen so far stands in the query string, with the request key that makes the last step harmless to repeat.
Nothing in it is secret: amounts, a bill, and the id of a method of this account.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from billing import formats, money
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import customer_or_404, frame
from billing.errors import DomainError
from billing.forms import MoneyField
from billing.models import Customer, Invoice, Item
from billing.money import ZERO
from billing.permissions import Permission
from payments.biller_portal.methods import TokenForm, add_from, entry, on_file
from payments.biller_portal.payments import money_words, payment_or_404
from payments.customer_portal.card_entry import kinds_for
from payments.gateways.base import GatewayError
from payments.models import Channel, Instrument, InstrumentKind, InstrumentState, Payment, PaymentState
from payments.operations import balances, charges, dues

STEPS = ["Amount", "Method", "Review", "Receipt"]
NOTHING_TAKEN = "No money has been taken."


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the steps before have settled; ``bill`` is the one bill to pay, else everything that is open."""

    amount: Decimal | None = None
    bill: Invoice | None = None
    items: list[Item] | None = None
    method: Instrument | None = None
    key: str = ""

    def query(self, **more: object) -> str:
        """Write it for the next step's address."""
        parts: dict[str, object] = {"amount": self.amount, "bill": self.bill.pk if self.bill else None, **more}
        return urlencode({name: str(value) for name, value in parts.items() if value is not None})


class AmountForm(forms.Form):
    """How much."""

    choice = forms.ChoiceField(label="How much", widget=forms.RadioSelect)

    def __init__(self, *args: Any, currency: str, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"] = MoneyField(label="Other amount", currency=currency, required=False)
        self.fields["choice"].choices = choices  # type: ignore[attr-defined]  # a choice field
        if len(choices) == 1:
            self.fields["choice"].widget = forms.HiddenInput()
            self.fields["amount"].label = "Amount"

    def clean(self) -> dict[str, Any]:
        """Give the chosen amount as ``amount``."""
        given = super().clean() or self.cleaned_data
        choice = given.get("choice", "other")
        if choice != "other":
            given["amount"] = Decimal(choice)
            self.errors.pop("amount", None)
        elif given.get("amount") is None and "amount" not in self.errors:
            self.add_error("amount", "Enter an amount")
        return given


@biller_page(Permission.TAKE_PAYMENT)
def amount(request: BillerRequest, customer_id: int) -> HttpResponse:
    """First step: how much."""
    live = balances.refresh(biller=request.biller, customers=[customer_id]).get(customer_id)
    customer = customer_or_404(request, customer_id)
    chosen = _chosen(request, customer)
    currency = customer.biller.currency
    items = (
        chosen.items
        if chosen.items is not None
        else list(Item.objects.filter(customer=customer).open().select_related("invoice").order_by("pk"))
    )
    due = dues.reckon(customer.biller, items)
    choices = _choices(customer, items, due)
    start: dict[str, object] = {"choice": choices[0][0]}
    if chosen.amount is not None:
        known = str(chosen.amount) in dict(choices)
        start = {"choice": str(chosen.amount) if known else "other"} | ({} if known else {"amount": chosen.amount})
    form = AmountForm(request.POST or None, currency=currency, choices=choices, initial=start)
    if request.method == "POST" and form.is_valid():
        following = Chosen(form.cleaned_data["amount"], chosen.bill)
        return redirect(f"{reverse('biller-account-pay-method', args=[customer.pk])}?{following.query()}")
    context = _context(
        request, customer, chosen, 1, form=form, due=due, open_items=[one for one in items if one.open > 0], live=live
    )
    return render(request, "biller_portal/pay/amount.html", context, status=422 if form.is_bound else 200)


def _choices(customer: Customer, items: list[Item], due: dues.Due) -> list[tuple[str, str]]:
    currency = customer.biller.currency
    today = timezone.localdate()
    late = sum((one.open for one in items if one.open > 0 and one.due_on and one.due_on < today), ZERO)
    choices = []
    if due.full > 0:
        choices.append((str(due.full), f"Everything that is due: {formats.money(due.full, currency)}"))
    if 0 < late < due.full:
        choices.append((str(late), f"What is past due: {formats.money(late, currency)}"))
    return [*choices, ("other", "Another amount")]


@biller_page(Permission.TAKE_PAYMENT)
def method(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Second step: with what; a method on file, or a new one through the processor's fields."""
    customer = customer_or_404(request, customer_id)
    chosen = _chosen(request, customer)
    if chosen.amount is None:
        return redirect("biller-account-pay", customer.pk)
    known = on_file(customer)
    if request.method == "POST":
        picked = next((one["method"] for one in known if str(one["method"].pk) == request.POST.get("method")), None)
        if picked is not None:
            return _to_review(customer, chosen, picked)
        messages.error(request, "Choose a method.")
    may_enter = request.may(Permission.ENTER_CARD)
    context = _context(
        request,
        customer,
        chosen,
        2,
        methods=known,
        picked=next((one["method"].pk for one in known if one["usable"]), None),
        kinds=kinds_for(customer) if may_enter else [],
        may_enter=may_enter,
        query=chosen.query(),
    )
    return render(request, "biller_portal/pay/method.html", context, status=422 if request.method == "POST" else 200)


@biller_page(Permission.ENTER_CARD)
def new_method(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Second step with a new method: the processor's own fields, and the token that they give."""
    customer = customer_or_404(request, customer_id)
    chosen = _chosen(request, customer)
    if chosen.amount is None:
        return redirect("biller-account-pay", customer.pk)
    kind = request.GET.get("kind", "card")
    back = f"{reverse('biller-account-pay-method', args=[customer.pk])}?{chosen.query()}"
    here = f"{reverse('biller-account-pay-new', args=[customer.pk])}?{chosen.query(kind=kind)}"
    form = TokenForm(
        request.POST if request.method == "POST" else None,
        initial={"token": request.GET.get("token", "")},
        kind=kind,
        kept=False,
    )
    try:
        asked = entry(request, customer, kind, back_to=here)
    except DomainError as refused:
        messages.error(request, f"{refused} {NOTHING_TAKEN}")
        return redirect(back)
    if request.method == "POST" and form.is_valid():
        added = add_from(request, customer, asked, form, keep=form.cleaned_data["keep"])
        if added is not None:
            return _to_review(customer, chosen, added)
    context = _context(
        request,
        customer,
        chosen,
        2,
        form=form,
        entry=asked,
        back_url=back,
        came_back="token" in request.GET,
        button="Review",
    )
    return render(request, "biller_portal/pay/new_method.html", context, status=422 if form.is_bound else 200)


class ReviewForm(forms.Form):
    """The last question before money is taken."""

    email = forms.EmailField(
        label="Send the receipt to", required=False, help_text="Empty: to the account’s own address, where it has one."
    )
    authorize_only = forms.BooleanField(
        label="Authorize now, take the money later",
        required=False,
        help_text="The bank holds the money. It is taken by the deposit run of tomorrow, or sooner on the payment’s page.",
    )
    again = forms.BooleanField(
        label="The customer knows of the payment above and wants to pay again",
        error_messages={"required": "Ask the customer first: something was paid today already."},
    )


@biller_page(Permission.TAKE_PAYMENT)
def review(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Third step: everything once more, then the charge. A key that was used leads to what came of it."""
    customer = customer_or_404(request, customer_id)
    chosen = _chosen(request, customer)
    if chosen.amount is None or chosen.method is None or not chosen.key:
        return redirect("biller-account-pay", customer.pk)
    earlier = Payment.objects.filter(biller=request.biller, request_key=chosen.key, customer=customer).first()
    if earlier is not None:
        return redirect("biller-account-pay-done", customer.pk, earlier.pk)
    paid_today = charges.paid_today(customer=customer, now=timezone.now())
    form = ReviewForm(request.POST if request.method == "POST" else None)
    if not paid_today:
        del form.fields["again"]
    if chosen.method.kind != InstrumentKind.CARD:
        del form.fields["authorize_only"]
    if request.method == "POST" and form.is_valid():
        paid = _pay(request, customer, chosen, form)
        if paid is not None:
            return redirect("biller-account-pay-done", customer.pk, paid.pk)
    items = (
        chosen.items
        if chosen.items is not None
        else list(Item.objects.filter(customer=customer).open().select_related("invoice").order_by("pk"))
    )
    due = dues.reckon(customer.biller, items)
    context = _context(
        request,
        customer,
        chosen,
        3,
        form=form,
        paid_today=paid_today,
        over=chosen.amount - due.full if chosen.amount > due.full else None,
        rows=_rows(customer, chosen),
    )
    return render(request, "biller_portal/pay/review.html", context, status=422 if form.is_bound else 200)


def _pay(request: BillerRequest, customer: Customer, chosen: Chosen, form: ReviewForm) -> Payment | None:
    assert chosen.amount is not None and chosen.method is not None
    try:
        return charges.pay(
            customer=customer,
            amount=chosen.amount,
            instrument=chosen.method,
            channel=Channel.CSR,
            actor=request.actor,
            request_key=chosen.key,
            item_ids=[one.pk for one in chosen.items] if chosen.items is not None else None,
            email=form.cleaned_data["email"],
            authorize_only=form.cleaned_data.get("authorize_only", False),
        )
    except DomainError as refused:
        words = str(refused)
        form.add_error(None, words if NOTHING_TAKEN in words else f"{words} {NOTHING_TAKEN}")
    except GatewayError:
        form.add_error(
            None, f"The way to the payment processor is set up wrongly. Tell an administrator. {NOTHING_TAKEN}"
        )
    return None


@biller_page(Permission.TAKE_PAYMENT)
def done(request: BillerRequest, customer_id: int, payment_id: uuid.UUID) -> HttpResponse:
    """Last step: the receipt, or what else came of it; every outcome says what happened to the money."""
    customer = customer_or_404(request, customer_id)
    payment = payment_or_404(request, payment_id)
    if payment.customer_id != customer.pk:
        raise Http404("Not a payment of this account.")
    context = _context(request, customer, Chosen(payment.amount), 4 if payment.state == PaymentState.POSTED else 3)
    context |= {
        "payment": payment,
        "money": money_words(payment),
        "again_url": f"{reverse('biller-account-pay-method', args=[customer.pk])}?{Chosen(payment.amount).query()}",
        "title": {
            PaymentState.POSTED: "Paid",
            PaymentState.AUTHORIZED: "Authorized, not taken yet",
            PaymentState.FAILED: "The payment did not go through",
            PaymentState.REVERSED: "The payment was returned",
        }.get(PaymentState(payment.state), "The outcome is not known yet"),
    }
    return render(request, "biller_portal/pay/done.html", context)


def _chosen(request: BillerRequest, customer: Customer) -> Chosen:
    """Read what the steps before have settled from the address; what is wrong there counts as not chosen."""
    try:
        wanted = money.parse(request.GET.get("amount", ""), customer.biller.currency)
    except money.BadAmount:
        wanted = None
    if wanted is not None and wanted <= 0:
        wanted = None
    bill, items = None, None
    if (number := request.GET.get("bill", "")).isdigit():
        bill = get_object_or_404(Invoice.objects.filter(customer=customer), pk=int(number[:18]))
        items = list(Item.objects.filter(invoice=bill, open__gt=0).select_related("invoice").order_by("pk"))
    method_id, key = _uuid(request.GET.get("method", "")), _uuid(request.GET.get("key", ""))
    picked = None
    if method_id is not None:
        usable = Instrument.objects.filter(customer=customer).exclude(state=InstrumentState.REMOVED)
        picked = usable.select_related("route").filter(pk=method_id).first()
    return Chosen(wanted, bill, items, picked, f"csr:{key}" if key else "")


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _to_review(customer: Customer, chosen: Chosen, picked: Instrument) -> HttpResponse:
    # A new key for each amount and method: the same one again is the same payment.
    query = chosen.query(method=picked.pk, key=uuid.uuid4())
    return redirect(f"{reverse('biller-account-pay-review', args=[customer.pk])}?{query}")


def _rows(customer: Customer, chosen: Chosen) -> list[tuple[str, object, str]]:
    assert chosen.amount is not None
    change_amount = f"{reverse('biller-account-pay', args=[customer.pk])}?{chosen.query()}"
    change_method = f"{reverse('biller-account-pay-method', args=[customer.pk])}?{chosen.query()}"
    return [
        ("Account", str(customer), ""),
        ("For", f"Bill {chosen.bill.number}" if chosen.bill else "What is due, oldest bill first", ""),
        ("Amount", formats.money(chosen.amount, customer.biller.currency), change_amount),
        ("Method", str(chosen.method), change_method),
        ("Fee", "None", ""),
    ]


def _context(request: BillerRequest, customer: Customer, chosen: Chosen, step: int, **more: Any) -> dict[str, Any]:
    context = frame(request, customer, "", **more)
    return context | {"title": "Take a payment", "steps": STEPS, "current": step, "chosen": chosen}
