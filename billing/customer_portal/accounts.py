"""The payer's home: each account with what it owes, and linking a further one."""

from __future__ import annotations

import datetime
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from django.contrib import messages
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import tenancy
from billing.customer_portal.access import PayerRequest, payer_page
from billing.customer_portal.forms import AccountForm
from billing.customer_portal.guests import biller_of
from billing.errors import DomainError
from billing.models import Adjustment, Biller, Customer, Invoice, Item, User
from billing.operations import payers, sign_ons
from billing.throttles import TooManyTries
from payments.models import AutoPayEnrolment, Fee, FeeWaiver, ScheduledPayment
from payments.operations import balances
from payments.operations.balances import Standing
from sms.models import SmsMode
from sms.operations import programmes


@dataclass(frozen=True, slots=True)
class Account:
    """One account as the home page shows it."""

    customer: Customer
    due_on: datetime.date | None
    overdue: bool
    autopay: AutoPayEnrolment | None
    latest: Invoice | None
    in_flight: Decimal
    texts: SmsMode | None
    texts_offered: bool
    live: Standing | None
    scheduled: ScheduledPayment | None
    adjustments: list[Adjustment]
    fees: list[Fee]
    waivers: list[FeeWaiver]

    @property
    def schedulable(self) -> bool:
        """Whether a payment can be scheduled."""
        prepaid = self.live is not None and self.live.balance is not None and self.live.balance.prepaid
        return self.customer.biller.allow_scheduled_payments and self.customer.balance > 0 and not prepaid

    @property
    def texting(self) -> str:
        """How pay by text stands: on, pending or off; empty where there is nothing to tell of it."""
        if self.texts is not None and self.texts.registered:
            return "on"
        if self.texts is not None and self.texts.pending_number:
            return "pending"
        return "off" if self.texts_offered else ""


@payer_page
def home(request: PayerRequest) -> HttpResponseBase:
    """Show every account of the payer: balance, due date, what is scheduled, AutoPay, paperless, pay by text."""
    theirs = request.theirs(Customer.objects.select_related("biller")).order_by("biller__name", "number")
    live = balances.refresh_all(theirs)
    customers = list(theirs.all() if live else theirs)
    if not customers and not request.viewing_as:
        return redirect("customer-link")
    due: dict[int, list[datetime.date]] = defaultdict(list)
    in_flight: dict[int, Decimal] = defaultdict(Decimal)
    for item in request.theirs(Item.objects.filter(open__gt=0)):
        in_flight[item.customer_id] += item.reserved
        if item.due_on is not None:
            due[item.customer_id].append(item.due_on)
    adjusted: dict[int, list[Adjustment]] = defaultdict(list)
    for adjustment in request.theirs(Adjustment.objects.open().select_related("item")):
        adjusted[adjustment.customer_id].append(adjustment)
    charged: dict[int, list[Fee]] = defaultdict(list)
    for fee in request.theirs(Fee.objects.open()):
        charged[fee.customer_id].append(fee)
    waived: dict[int, list[FeeWaiver]] = defaultdict(list)
    for waiver in request.theirs(FeeWaiver.objects.open()):
        waived[waiver.customer_id].append(waiver)
    enrolments = {
        enrolment.customer_id: enrolment
        for enrolment in request.theirs(AutoPayEnrolment.objects.filter(ended_at=None).select_related("instrument"))
    }
    latest = {
        bill.customer_id: bill
        for bill in request.theirs(Invoice.objects.filter(withdrawn=False))
        .order_by("customer_id", "-issued_on", "-pk")
        .distinct("customer_id")
    }
    scheduled = {
        one.customer_id: one
        for one in request.theirs(ScheduledPayment.objects.filter(ended_at=None).select_related("instrument"))
    }
    texts = {mode.customer_id: mode for mode in request.theirs(SmsMode.objects.all())}
    offered = {biller.pk: programmes.offers(biller) for biller in {customer.biller for customer in customers}}
    accounts = []
    for customer in customers:
        due_on = min(due[customer.pk], default=None)
        today = timezone.now().astimezone(customer.biller.zone).date()
        accounts.append(
            Account(
                customer=customer,
                due_on=due_on,
                overdue=due_on is not None and due_on < today,
                autopay=enrolments.get(customer.pk),
                latest=latest.get(customer.pk),
                in_flight=in_flight[customer.pk],
                texts=texts.get(customer.pk),
                texts_offered=offered[customer.biller_id],
                live=live.get(customer.pk),
                scheduled=scheduled.get(customer.pk),
                adjustments=adjusted[customer.pk],
                fees=charged[customer.pk],
                waivers=waived[customer.pk],
            )
        )
    context = {
        "title": _("Your account") if len(accounts) == 1 else _("Your accounts"),
        "section": "home",
        "accounts": accounts,
        "portals": sign_ons.portals_of(request.payer) if request.payer and not request.viewing_as else [],
    }
    return render(request, "customer_portal/home.html", context)


@payer_page
def link(request: PayerRequest) -> HttpResponseBase:
    """Choose the biller of the account that is to be linked."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.order_by("name"))
    if len(billers) == 1:
        return redirect("customer-link-account", slug=billers[0].slug)
    context = {
        "title": _("Link an account"),
        "section": "profile",
        "billers": billers,
        "first": not request.customer_ids,
    }
    return render(request, "customer_portal/link.html", context)


@payer_page
def link_account(request: PayerRequest, slug: str) -> HttpResponseBase:
    """Link an account to the payer, who knows its number and secret."""
    biller = request.biller = biller_of(slug)
    form = AccountForm(request.POST or None, biller=biller)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            tenancy.enter([biller.pk])
            try:
                customer = payers.find_account(
                    biller=biller,
                    number=form.cleaned_data["number"],
                    secret=form.cleaned_data["secret"],
                    actor=request.actor,
                )
                payers.link(user=cast("User", request.user), customer=customer, actor=request.actor)
            except TooManyTries as refused:
                form.add_error(None, str(refused))
                status = 429
            except DomainError as refused:
                form.add_error(None, str(refused))
            else:
                words = _("Account %(number)s is now linked to you.") % {"number": customer.shown_number}
                messages.success(request, words)
                return redirect("customer-home")
    context = {
        "title": _("Link your account"),
        "section": "profile",
        "form": form,
        "biller": biller,
        "first": not request.customer_ids,
    }
    return render(request, "customer_portal/link_account.html", context, status=status)
