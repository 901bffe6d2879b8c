"""The page behind a CloudPay address: one payment of one account, for a CSR of the biller or a payer, without a sign-in.

A CSR may use a method on file by its masked name; a payer enters one, and learns nothing of what is on file. What comes after
this page are the pages that every payer meets (:mod:`payments.customer_portal.payments`).

Source: MSP-27
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.customer_portal.access import AccountRequest, account_page
from payments.customer_portal import card_entry, drafts
from payments.customer_portal.drafts import Draft
from payments.models import CloudPayment, Instrument, InstrumentKind
from payments.operations import cloud_payments
from payments.operations.cloud_payments import SHOWN_FOR, State


class CloudPayForm(forms.Form):
    """With what, and where the receipt goes; how much the biller's system has said."""

    method = forms.ChoiceField(
        label=gettext_lazy("How do you want to pay?"),
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Choose how you want to pay")},
    )
    email = forms.EmailField(
        label=gettext_lazy("E-mail address for the receipt"),
        required=False,
        help_text=gettext_lazy("Empty: to the account’s own address, where it has one."),
        error_messages={"invalid": gettext_lazy("Enter an e-mail address such as name@example.com")},
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, instruments: list[Instrument], kinds: list[str], **options: Any) -> None:
        super().__init__(*args, **options)
        words = {
            InstrumentKind.CARD: _("Another card") if instruments else _("Card"),
            InstrumentKind.BANK: _("Another bank account") if instruments else _("Bank account"),
        }
        method = self.fields["method"]
        assert isinstance(method, forms.ChoiceField)
        method.choices = [
            *[(str(one.pk), str(one)) for one in instruments],
            *[(kind, words[InstrumentKind(kind)]) for kind in kinds],
        ]


@account_page
def details(request: AccountRequest) -> HttpResponseBase:
    """Show what is to be paid, and ask with what; of a payment that was made, what came of it."""
    cloud, customer, biller = _cloud(request), request.customer, request.biller
    standing = cloud_payments.standing(cloud=cloud, now=timezone.now())
    if standing.payment is not None and standing.state is not State.FAILED and not _forgotten(cloud):
        return redirect(request.door.url("payment", customer, payment_id=standing.payment.pk))
    if not standing.key:
        return _over(request)
    on_file = Instrument.objects.none()
    if cloud.by_csr:
        usable = Instrument.objects.filter(customer=customer).usable(biller.business_date(timezone.now()))
        blocked = [kind for kind in InstrumentKind if customer.blocks(kind)]
        on_file = usable.exclude(kind__in=blocked).order_by("-is_default", "-created_at", "-pk")
    instruments, kinds = list(on_file), card_entry.kinds_for(customer)
    context: dict[str, Any] = {
        "title": _("Pay this bill"),
        "customer": customer,
        "cloud": cloud,
        "steps": [_("Amount"), _("Payment method"), _("Check"), _("Done")],
        "declined": standing.payment,
    }
    if biller.charging_stopped or not (kinds or instruments):
        return render(request, "customer_portal/cloud_over.html", context | {"title": _("No payment can be taken")})
    asked = drafts.read(request.session, standing.key, customer)
    initial = {"email": asked.email if asked else cloud.email, "method": asked.method if asked else None}
    sent = request.POST if request.method == "POST" else None
    form = CloudPayForm(sent, initial=initial, instruments=instruments, kinds=kinds)
    status = 200
    if sent is not None:
        if form.is_valid():
            draft = Draft(
                customer_id=customer.pk,
                amount=str(cloud.amount),
                method=form.cleaned_data["method"],
                email=form.cleaned_data["email"],
            )
            drafts.keep(request.session, standing.key, draft)
            step = "pay-method" if draft.kind else "pay-review"
            return redirect(request.door.url(step, customer, key=standing.key))
        status = 422
    return render(request, "customer_portal/cloud_pay.html", context | {"form": form}, status=status)


def leads_back(request: AccountRequest, key: str = "") -> HttpResponse | None:
    """Give the way to the first page where a later one of a CloudPay payment has nothing to show; nothing elsewhere.

    A later page shows the try that is next, in the browser that began it; and a payment for an hour after its address is over.
    """
    cloud = request.door.cloud
    if cloud is None:
        return None
    may = _is_next(request, cloud, key) if key else not _forgotten(cloud)
    return None if may else redirect(request.door.url("pay", request.customer))


def _is_next(request: AccountRequest, cloud: CloudPayment, key: str) -> bool:
    prepared = drafts.read(request.session, key, request.customer) is not None
    return prepared and cloud_payments.standing(cloud=cloud, now=timezone.now()).key == key


def _forgotten(cloud: CloudPayment) -> bool:
    return timezone.now() >= cloud.expires_at + SHOWN_FOR


def _over(request: AccountRequest) -> HttpResponse:
    return render(
        request,
        "customer_portal/cloud_over.html",
        {"title": _("This link is over"), "over": True},
        status=410,
    )


def _cloud(request: AccountRequest) -> CloudPayment:
    assert request.door.cloud is not None  # its addresses have no other door
    return request.door.cloud
