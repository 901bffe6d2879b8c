"""Paying: what, how much and with what; the card's own page; a look before it is sent; and what came of it.

Behind every door: a signed-in payer, a guest and whoever came by a CloudPay address meet the same pages (``request.door``).
"""

from __future__ import annotations

import logging
import re
import uuid
from decimal import Decimal
from typing import Any

import django_filters
from django import forms
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from billing import formats, lists
from billing.customer_portal.access import AccountRequest, PayerPage, account_page, refuse_viewer
from billing.customer_portal.bills import accounts_of
from billing.errors import DomainError
from billing.forms import MoneyField
from billing.models import Adjustment, Biller, Invoice
from billing.papers.answers import answer
from billing.throttles import TooManyTries
from payments import receipts
from payments.customer_portal import card_entry, cloud_payments, drafts
from payments.customer_portal.drafts import Draft
from payments.gateways.base import Misconfigured
from payments.models import (
    Allocation,
    Channel,
    Fee,
    FeeWaiver,
    Instrument,
    InstrumentKind,
    Payment,
    PaymentState,
    UnconfirmedPayment,
    UnconfirmedState,
)
from payments.operations import balances, charges, dues, scheduled_payments
from payments.operations import cloud_payments as opened

logger = logging.getLogger(__name__)

_KEY = re.compile(r"[0-9a-f]{32}")
FULL, OTHER = "full", "other"


class PayForm(forms.Form):
    """How much, with what, and where the receipt goes."""

    request_key = forms.CharField(widget=forms.HiddenInput)
    part = forms.ChoiceField(
        label=gettext_lazy("How much do you want to pay?"), widget=forms.RadioSelect, required=False
    )
    method = forms.ChoiceField(
        label=gettext_lazy("How do you want to pay?"),
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Choose how you want to pay")},
    )
    keep = forms.BooleanField(label=gettext_lazy("Save a new card or account for next time"), required=False)
    email = forms.EmailField(
        label=gettext_lazy("E-mail address for the receipt"),
        required=False,
        help_text=gettext_lazy("Leave it empty if you do not want a receipt by e-mail."),
        error_messages={"invalid": gettext_lazy("Enter an e-mail address such as name@example.com")},
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )

    def __init__(
        self,
        *args: Any,
        biller: Biller,
        due: dues.Due,
        instruments: list[Instrument],
        kinds: list[str],
        guest: bool,
        prepaid: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.due, self.prepaid = due, prepaid
        if prepaid:
            del self.fields["part"]
            self.fields["amount"] = MoneyField(
                label=_("How much do you want to add?"),
                currency=biller.currency,
                least=biller.prepaid_least,
                most=biller.prepaid_most,
            )
            self.order_fields(["request_key", "amount", "method", "keep", "email"])
        elif due.parts and due.full > due.least:
            full = formats.money(due.full, biller.currency)
            choices = [(FULL, _("All that is due: %(amount)s") % {"amount": full}), (OTHER, _("Another amount"))]
            part = self.fields["part"]
            assert isinstance(part, forms.ChoiceField)
            part.choices = choices
            self.fields["amount"] = MoneyField(
                label=_("Another amount"), currency=biller.currency, least=due.least, most=due.full, required=False
            )
            self.order_fields(["request_key", "part", "amount", "method", "keep", "email"])
        else:
            del self.fields["part"]
        method = self.fields["method"]
        assert isinstance(method, forms.ChoiceField)
        words = {
            InstrumentKind.CARD: _("Another card") if instruments else _("Card"),
            InstrumentKind.BANK: _("Another bank account") if instruments else _("Bank account"),
        }
        method.choices = [
            *[(str(one.pk), str(one)) for one in instruments],
            *[(kind, words[InstrumentKind(kind)]) for kind in kinds],
        ]
        if guest:
            del self.fields["keep"]
        else:
            del self.fields["email"]
            if not kinds:
                del self.fields["keep"]

    def clean_request_key(self) -> str:
        """Take the key only as we make it; another one begins a new payment."""
        key = str(self.cleaned_data["request_key"])
        return key if _KEY.fullmatch(key) else drafts.new_key()

    def clean(self) -> dict[str, Any]:
        """Give ``amount`` in every case."""
        cleaned = super().clean() or {}
        if self.prepaid:
            return cleaned
        if "amount" not in self.fields or cleaned.get("part") != OTHER:
            # What stands in the other box then is nobody's wish.
            self.errors.pop("amount", None)
            cleaned["amount"] = self.due.full
            if "part" in self.fields and not cleaned.get("part"):
                self.add_error("part", _("Choose how much you want to pay"))
        elif cleaned.get("amount") is None and "amount" not in self.errors:
            self.add_error("amount", _("Enter an amount"))
        return cleaned


@account_page
def details(request: AccountRequest) -> HttpResponseBase:
    """Ask how much is to be paid and with what."""
    customer, biller = request.customer, request.biller
    live = balances.refresh(biller=biller, customers=[customer.pk]).get(customer.pk)
    if live is not None:
        customer.refresh_from_db(fields=["balance", "cis_blocks_card", "cis_blocks_bank"])
    unknown = live is not None and not live.usable
    due = dues.due(customer=customer)
    guest = bool(request.door.guest)
    prepaid = live is not None and live.balance is not None and live.balance.prepaid
    context: dict[str, Any] = {
        "title": _("Add money") if prepaid else _("Pay your bill"),
        "section": "home",
        "customer": customer,
        "currency": biller.currency,
        "due": due,
        "guest": guest,
        "live": live,
        "unknown": unknown,
        "on_its_way": _on_its_way(request),
        "prepaid": prepaid,
        "bill": _newest_bill(request),
        "adjustments": list(Adjustment.objects.filter(customer=customer).open().select_related("item")),
        "fees": list(Fee.objects.filter(customer=customer).open()),
        "waivers": list(FeeWaiver.objects.filter(customer=customer).open()),
        "steps": _steps(),
    }
    if context["bill"] is not None:
        context["bill_url"] = request.door.url("bill", customer, invoice_id=context["bill"].pk)
    if not guest:
        context["scheduled"] = scheduled_payments.live_of(customer)
        if biller.allow_scheduled_payments and not prepaid and not request.viewing_as:
            context["schedule_url"] = reverse("customer-schedule", args=[customer.pk])
    kinds = card_entry.kinds_for(customer)
    on_file = [] if guest else _usable(request)
    nothing = due.full <= 0 and not prepaid
    if biller.charging_stopped or unknown or nothing or due.being_paid or not (kinds or on_file):
        context["blocked"] = not nothing and not biller.charging_stopped and not due.being_paid
        return render(request, "customer_portal/pay_nothing.html", context)
    initial: dict[str, Any] = {
        "request_key": drafts.new_key(),
        "part": FULL,
        "method": next((str(one.pk) for one in on_file if one.is_default), None),
    }
    if (asked := drafts.read(request.session, request.GET.get("draft", ""), customer)) is not None:
        # "Change" on the page that comes next leads back here, and must not make a second payment possible.
        initial |= {
            "request_key": request.GET["draft"],
            "method": asked.method,
            "keep": asked.keep,
            "email": asked.email,
        }
        if prepaid:
            initial |= {"amount": asked.money}
        elif asked.money != due.full:
            initial |= {"part": OTHER, "amount": asked.money}
    form = PayForm(
        request.POST or None,
        initial=initial,
        biller=biller,
        due=due,
        instruments=on_file,
        kinds=kinds,
        guest=guest,
        prepaid=prepaid,
    )
    status = 200
    if request.method == "POST":
        if form.is_valid():
            key = form.cleaned_data["request_key"]
            draft = Draft(
                customer_id=customer.pk,
                amount=str(form.cleaned_data["amount"]),
                method=form.cleaned_data["method"],
                keep=bool(form.cleaned_data.get("keep")),
                email=form.cleaned_data.get("email", ""),
            )
            drafts.keep(request.session, key, draft)
            return redirect(request.door.url("pay-method" if draft.kind else "pay-review", customer, key=key))
        status = 422
    context["form"] = form
    return render(request, "customer_portal/pay.html", context, status=status)


@account_page
def method(request: AccountRequest, key: str) -> HttpResponseBase:
    """Show the processor's own fields, and take the token that comes back from them."""
    customer = request.customer
    if (back := cloud_payments.leads_back(request, key)) is not None:
        return back
    if (made := _made(request, key)) is not None:
        return redirect(request.door.url("payment", customer, payment_id=made.pk))
    draft = drafts.read(request.session, key, customer)
    if draft is None:
        return _start_again(request)
    if not draft.kind:
        return redirect(request.door.url("pay-review", customer, key=key))
    here = request.door.url("pay-method", customer, key=key)
    context: dict[str, Any] = {
        "title": _("Card details") if draft.kind == drafts.NEW_CARD else _("Bank account"),
        "section": "home",
        "customer": customer,
        "currency": request.biller.currency,
        "amount": draft.money,
        "steps": _steps(),
        "back_url": f"{request.door.url('pay', customer)}?draft={key}",
    }
    status = 200
    token = request.POST.get("token", "") if request.method == "POST" else request.GET.get("token", "")
    if request.method == "POST" or token:
        if (refused := refuse_viewer(request)) is not None:
            return refused
        try:
            instrument = card_entry.accept(request, token=token, kind=draft.kind, keep=draft.keep)
        except DomainError as error:
            context["error"] = str(error)
            status = 429 if isinstance(error, TooManyTries) else 422
        else:
            draft.method = str(instrument.pk)
            drafts.keep(request.session, key, draft)
            return redirect(request.door.url("pay-review", customer, key=key))
    context["fields"] = card_entry.fields(request, kind=draft.kind, return_url=here)
    return render(request, "customer_portal/method_entry.html", context, status=status)


@account_page
def review(request: AccountRequest, key: str) -> HttpResponseBase:
    """Show what will happen, and pay when told to; a payment that was made under this key is shown instead."""
    customer = request.customer
    if (back := cloud_payments.leads_back(request, key)) is not None:
        return back
    if (made := _made(request, key)) is not None:
        return redirect(request.door.url("payment", customer, payment_id=made.pk))
    draft = drafts.read(request.session, key, customer)
    if draft is None:
        return _start_again(request)
    if draft.kind:
        return redirect(request.door.url("pay-method", customer, key=key))
    instrument = (
        Instrument.objects.select_related("route").filter(pk=uuid.UUID(draft.method), customer=customer).first()
    )
    if instrument is None:
        return _start_again(request)
    if request.method == "POST":
        return _pay(request, key, draft, instrument)
    change = f"{request.door.url('pay', customer)}?draft={key}"
    total = formats.money(draft.money, request.biller.currency)
    rows = [
        (_("To"), request.biller.name, ""),
        # A guest knows the number; whose account it is they are not told.
        (
            _("Account"),
            request.account_number if request.door.stranger else f"{customer.shown_number} · {customer.name}",
            "",
        ),
        (_("Amount"), total, "" if request.door.cloud else change),
        (_("Fee"), formats.money(Decimal("0.00"), request.biller.currency), ""),
        (_("Paid with"), str(instrument), change),
    ]
    if request.door.guest or draft.email:
        rows.append((_("Receipt to"), draft.email or _("nobody"), change))
    context = {
        "title": _("Check your payment"),
        "section": "home",
        "customer": customer,
        "rows": rows,
        "total": total,
        "steps": _steps(),
        "back_url": change,
        "paid_today": charges.paid_today(customer=customer, now=timezone.now()),
    }
    return render(request, "customer_portal/review.html", context)


def _pay(request: AccountRequest, key: str, draft: Draft, instrument: Instrument) -> HttpResponseBase:
    customer = request.customer
    try:
        card_entry.count_payment(request)
        payment = _charge(request, key, draft, instrument)
    except DomainError as refused:
        return _see_what_was_made(request, key) or _refuse(request, refused)
    except Misconfigured:
        logger.exception("route %s is set up wrongly", instrument.route_id)
        unusable = charges.MethodUnusable(_("The payment processor is not set up for it. Choose another method."))
        return _see_what_was_made(request, key) or _refuse(request, unusable)
    except Exception:
        # Once the attempt is committed the money may move, whatever broke here: no error page may be silent on that.
        if (shown := _see_what_was_made(request, key)) is None:
            raise
        logger.exception("a payment was interrupted; recovery finds out")
        return shown
    return redirect(request.door.url("payment", customer, payment_id=payment.pk))


def _charge(request: AccountRequest, key: str, draft: Draft, instrument: Instrument) -> Payment:
    language = get_language() or "" if request.door.stranger else ""
    if (cloud := request.door.cloud) is not None:
        return opened.pay(
            cloud=cloud,
            instrument=instrument,
            key=key,
            email=draft.email,
            language=language,
            address=request.actor.address,
        )
    return charges.pay(
        customer=request.customer,
        amount=draft.money,
        instrument=instrument,
        channel=Channel.GUEST if request.door.guest else Channel.WEB,
        actor=request.actor,
        request_key=key,
        email=draft.email,
        language=language,
    )


def _see_what_was_made(request: AccountRequest, key: str) -> HttpResponse | None:
    made = _made(request, key)
    return None if made is None else redirect(request.door.url("payment", request.customer, payment_id=made.pk))


def _refuse(request: AccountRequest, refused: DomainError) -> HttpResponse:
    """Show why nothing was charged."""
    headings = {
        charges.ChargingStopped: _("Payments are stopped at the moment"),
        charges.AlreadyBeingPaid: _("This bill is already being paid"),
        charges.MethodBlocked: _("This account cannot be paid this way"),
        charges.NothingDue: _("Nothing is due"),
        balances.BalanceUnknown: _("What you owe is not known at the moment"),
    }
    context = {
        "title": headings.get(type(refused), _("The payment was not made")),
        "section": "home",
        "words": str(refused),
        "customer": request.customer,
        "again_url": request.door.url("pay", request.customer),
        "again": not isinstance(refused, (charges.ChargingStopped, charges.AlreadyBeingPaid, charges.NothingDue)),
        "on_its_way": _on_its_way(request),
    }
    status = 429 if isinstance(refused, TooManyTries) else 409
    return render(request, "customer_portal/pay_refused.html", context, status=status)


@account_page
def payment(request: AccountRequest, payment_id: uuid.UUID) -> HttpResponseBase:
    """Show what came of a payment: the receipt, the wait for the processor, or that no money was taken."""
    if (back := cloud_payments.leads_back(request)) is not None:
        return back
    return _show(request, _found(request, payment_id))


def _show(request: AccountRequest, found: Payment, *, no_pdf: bool = False) -> HttpResponse:
    context: dict[str, Any] = {
        "section": "payments",
        "customer": request.customer,
        "payment": found,
        "method": str(found.instrument or found.pay_type),
        "guest": request.door.stranger,
        "pay_url": request.door.url("pay", request.customer),
        "here": request.get_full_path(),
        "failure": _(found.failure) if found.failure else "",
        "together": _charged_with(request, found),
        "pdf_url": request.door.url("payment-pdf", request.customer, payment_id=found.pk),
        "no_pdf": no_pdf,
        "bills": _bills_of(request, found),
        "fees": list(Fee.objects.filter(payment=found).select_related("item").order_by("item_id")),
        "unconfirmed": _not_confirmed(found),
    }
    match found.state:
        case PaymentState.PROCESSING:
            title, template = _("Your payment is being processed"), "payment_processing"
        case PaymentState.AUTHORIZED:
            title, template = _("Your payment is authorized"), "payment_authorized"
        case PaymentState.FAILED:
            title, template = _("Your payment did not go through"), "payment_failed"
        case _:
            title, template = _("Receipt"), "receipt"
    return render(
        request, f"customer_portal/{template}.html", {"title": title, **context}, status=502 if no_pdf else 200
    )


def _not_confirmed(payment: Payment) -> str | None:
    """Say that a payment's bank has not confirmed it yet; nothing where it has, or need not."""
    found: UnconfirmedPayment | None = getattr(payment, "unconfirmed", None)
    waits = found is not None and found.state == UnconfirmedState.WAITING
    return _("not confirmed by the bank yet") if waits else None


def _bills_of(request: AccountRequest, found: Payment) -> list[dict[str, str]]:
    """List the bills that a payment paid, which stand behind the same door; the biller's own system has them elsewhere."""
    if request.door.cloud is not None:
        return []
    rows = Allocation.objects.filter(payment=found, item__invoice__isnull=False, item__invoice__withdrawn=False)
    bills = rows.order_by("item_id").values_list("item__invoice_id", "item__invoice__number").distinct()
    return [
        {"number": number, "url": request.door.url("bill", request.customer, invoice_id=pk)} for pk, number in bills
    ]


@account_page
def receipt_pdf(request: AccountRequest, payment_id: uuid.UUID) -> HttpResponseBase:
    """Give the receipt of a payment that went through as PDF."""
    if (back := cloud_payments.leads_back(request)) is not None:
        return back
    found = _found(request, payment_id)
    if found.state not in receipts.PAID:
        raise Http404("No receipt: nothing was paid.")
    try:
        pdf = receipts.receipt(
            found,
            language=get_language() or "en",
            together=_charged_with(request, found),
            account_number=request.account_number,
            guest=request.door.stranger,
        )
    except receipts.ReceiptUnavailable:
        return _show(request, found, no_pdf=True)
    return answer(pdf)


def _found(request: AccountRequest, payment_id: uuid.UUID) -> Payment:
    mine = Payment.objects.select_related("instrument", "customer__biller").filter(customer=request.customer)
    found = mine.filter(pk=payment_id).first()
    if found is None or (request.door.guest and not _of_this_guest(request, found)):
        raise Http404("Not a payment of this account.")
    if request.door.cloud is not None and not opened.was_made_by(cloud=request.door.cloud, payment=found):
        raise Http404("Not a payment of this address.")
    return found


class PaymentFilters(lists.Filters):
    """A payer with several accounts may look at one of them."""

    account = django_filters.ModelChoiceFilter(
        label=gettext_lazy("Account"), field_name="customer", queryset=accounts_of, empty_label=gettext_lazy("All")
    )


class PaymentList(PayerPage, lists.ListPage[Payment]):
    """Every payment of the payer's accounts, newest first, each with its receipt."""

    name, title, section = "my-payments", gettext_lazy("Payments"), "payments"
    template_name = "customer_portal/list.html"
    filters = PaymentFilters
    orders = (lists.Order("newest", gettext_lazy("Newest first"), ("-created_at", "-id")),)
    empty_heading = gettext_lazy("No payments yet")
    empty_text = gettext_lazy("Each payment appears here with its receipt.")
    columns = (
        lists.Link(
            "confirmation",
            gettext_lazy("Confirmation number"),
            "confirmation",
            nowrap=True,
            url=lambda row: reverse("customer-payment", args=[row.customer_id, row.pk]),
        ),
        lists.Moment("when", gettext_lazy("When"), "created_at"),
        lists.Column("account", gettext_lazy("Account"), "customer.shown_number"),
        lists.Column("method", gettext_lazy("Paid with"), lambda row: str(row.instrument or row.pay_type)),
        lists.Tag("status", gettext_lazy("Status"), "state", noun="payment", detail=_not_confirmed),
        lists.Amount("amount", gettext_lazy("Amount"), "amount"),
        lists.Column("fee", gettext_lazy("Fee"), "fee", shown=False),
        lists.Column("total", gettext_lazy("Total charged"), "total", shown=False),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Give the payer's payments."""
        return self.request.theirs(
            Payment.objects.select_related("customer", "instrument", "other_type", "unconfirmed")
        )


def _steps() -> list[str]:
    return [_("Amount"), _("Payment method"), _("Check"), _("Done")]


def _usable(request: AccountRequest) -> list[Instrument]:
    """Give the methods on file that can pay this account today, the default one first."""
    customer = request.customer
    today = request.biller.business_date(timezone.now())
    usable = Instrument.objects.filter(customer=customer).usable(today)
    usable = usable.exclude(kind__in=[kind for kind in InstrumentKind if customer.blocks(kind)])
    return list(usable.order_by("-is_default", "-created_at", "-pk"))


def _charged_with(request: AccountRequest, found: Payment) -> list[Payment]:
    """Give the payments of one charge that are of the payer's own accounts, this one among them."""
    if request.door.guest or request.door.cloud is not None:
        return []
    return list(Payment.objects.charged_with(found).visible_to(request.user))


def _made(request: AccountRequest, key: str) -> Payment | None:
    """Give the payment that was made under this key, if one was."""
    return Payment.objects.filter(biller=request.biller, customer=request.customer, request_key=key).first()


def _of_this_guest(request: AccountRequest, found: Payment) -> bool:
    # A guest sees the payments of this visit, not those that others made on the account.
    return (
        found.channel == Channel.GUEST
        and drafts.read(request.session, found.request_key or "", request.customer) is not None
    )


def _on_its_way(request: AccountRequest) -> list[Payment]:
    held = [PaymentState.PROCESSING, PaymentState.AUTHORIZED]
    waiting = Payment.objects.filter(customer=request.customer, state__in=held).order_by("-created_at")
    return list(waiting[:5])


def _newest_bill(request: AccountRequest) -> Invoice | None:
    bills = Invoice.objects.filter(customer=request.customer, withdrawn=False)
    return bills.order_by("-issued_on", "-pk").first()


def _start_again(request: AccountRequest) -> HttpResponse:
    context = {
        "title": _("Start again"),
        "section": "home",
        "words": _("This page was open too long, or it was opened in another browser."),
        "customer": request.customer,
        "again_url": request.door.url("pay", request.customer),
        "again": True,
    }
    return render(request, "customer_portal/pay_refused.html", context, status=410)
