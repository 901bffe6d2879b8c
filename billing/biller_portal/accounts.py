"""The account page: one customer's header, tabs and overview, and the frame that every other tab draws itself in."""

from __future__ import annotations

import datetime
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property

from billing import audit, formats, lists, reports
from billing.actors import Requestor
from billing.biller_portal.access import BillerRequest, StaffPage, biller_page
from billing.biller_portal.links import url_if_any
from billing.lists.columns import M
from billing.models import Adjustment, AuditEntry, Customer, CustomerStatus, Item, ItemKind, PayerLink
from billing.money import ZERO
from billing.permissions import Permission
from payments.models import AutoPayEnrolment, Fee, FeeWaiver, Payment, PaymentState, ScheduledPayment
from payments.operations import balances, declines, prepayments
from payments.operations.balances import Standing
from sms.models import Mode, SmsMode

_RECENT = "recent_accounts"
_RECENT_MOST = 8
_ADJUSTMENTS_SHOWN = 6

# Label, URL name, what the frame calls the tab. Pages of other parts are left out where they are not installed.
TABS = (
    ("Overview", "biller-account"),
    ("Bills", "biller-account-bills"),
    ("Payments", "biller-account-payments"),
    ("Enrolments", "biller-account-enrolments"),
    ("Pay by text", "biller-account-text"),
    ("Methods", "biller-account-methods"),
    ("Messages", "biller-account-messages"),
    ("DataPump", "biller-account-datapump"),
    ("History", "biller-account-history"),
    ("Users", "biller-account-users"),
)

# Through which door somebody acted, in words.
DOORS = {
    Requestor.CSR: "Biller portal",
    Requestor.PAYER: "Customer portal",
    Requestor.INBOUND_TEXT: "Text",
    Requestor.SYSTEM: "System",
    Requestor.API: "API",
    Requestor.OPERATOR: "Administration",
}

# How events look in a history: what an event's name begins with, its tone and icon.
_LOOKS = (
    ("payment.posted", "good", "check-circle"),
    ("payment.failed", "bad", "x-circle"),
    ("payment", "busy", "banknotes"),
    ("autopay", "quiet", "arrow-path"),
    ("scheduled", "quiet", "calendar-days"),
    ("paperless", "quiet", "envelope"),
    ("pay_by_text", "quiet", "device-phone-mobile"),
    ("phone", "quiet", "device-phone-mobile"),
    ("text", "quiet", "chat-bubble-left-right"),
    ("instrument", "quiet", "credit-card"),
    ("payer", "quiet", "user"),
    ("notice", "quiet", "paper-airplane"),
    ("customer", "quiet", "eye"),
    ("fee", "warning", "banknotes"),
    ("case", "warning", "exclamation-triangle"),
    ("datapump", "quiet", "arrow-up-tray"),
)


def customer_or_404(request: BillerRequest, pk: int) -> Customer:
    """Give the biller's customer; another biller's is not found, like one that does not exist."""
    mine = Customer.objects.visible_to(request.user).filter(biller=request.biller).select_related("biller", "sms_mode")
    return get_object_or_404(mine, pk=pk)


def frame(request: BillerRequest, customer: Customer, tab: str, **more: Any) -> dict[str, Any]:
    """Give what ``biller_portal/accounts/base.html`` draws around a tab; ``tab`` is the URL name of the open one."""
    if "autopay" not in more:
        more["autopay"] = (
            AutoPayEnrolment.objects.filter(customer=customer, ended_at__isnull=True)
            .select_related("instrument")
            .first()
        )
    if "due_on" not in more:
        more["due_on"] = (
            Item.objects.filter(customer=customer, open__gt=0, due_on__isnull=False)
            .order_by("due_on")
            .values_list("due_on", flat=True)
            .first()
        )
    if "live" not in more:
        more["live"] = balances.known(biller=customer.biller, customer=customer)
    tabs = [
        {"label": label, "url": url, "current": name == tab}
        for label, name in TABS
        if (url := url_if_any(name, customer.pk))
    ]
    return {
        "title": customer.name,
        "section": "search",
        "customer": customer,
        "currency": customer.biller.currency,
        "flags": _flags(customer, more["autopay"]),
        "tabs": tabs,
        "tab": tab,
        "may_pay": request.may(Permission.TAKE_PAYMENT),
        "may_enrol": request.may(Permission.CHANGE_ENROLMENT),
        "may_link": request.may(Permission.CHANGE_PAYERS),
        **more,
    }


def _flags(customer: Customer, autopay: AutoPayEnrolment | None) -> list[dict[str, str]]:
    flags = []
    if customer.status != CustomerStatus.ACTIVE:
        flags.append({"label": f"{customer.get_status_display()} account", "tone": "warning", "icon": "lock-closed"})
    if autopay:
        usable = autopay.instrument.state == "active"
        flags.append({"label": "AutoPay", "tone": "good" if usable else "warning", "icon": "arrow-path"})
    if scheduled := ScheduledPayment.objects.filter(customer=customer, ended_at__isnull=True).first():
        label = f"Pays {formats.money(scheduled.amount, scheduled.currency)} on {formats.day(scheduled.pay_on)}"
        flags.append({"label": label, "tone": "busy", "icon": "calendar-days"})
    if customer.paperless:
        flags.append({"label": "Paperless", "tone": "good", "icon": "envelope"})
    texting: SmsMode | None = getattr(customer, "sms_mode", None)
    if texting and texting.mode != Mode.UNENROLLED:
        on = texting.mode == Mode.ENROLLED
        label = "Pay by text" if on else "Pay by text waits for a YES"
        flags.append({"label": label, "tone": "good" if on else "warning", "icon": "device-phone-mobile"})
    for kind, label, ours in (
        ("card", "Cards blocked", customer.blocks_card),
        ("bank", "Bank accounts blocked", customer.blocks_bank),
    ):
        if customer.blocks(kind):
            by = "" if ours else " by the biller’s system"
            flags.append({"label": f"{label}{by}", "tone": "bad", "icon": "no-symbol"})
    if customer.biller.charging_stopped:
        flags.append({"label": "All charging is stopped", "tone": "bad", "icon": "hand-raised"})
    if not flags:
        flags.append({"label": "No AutoPay, paper bills", "tone": "quiet", "icon": "document-text"})
    return flags


class AccountList(StaffPage, lists.ListPage[M]):
    """A tab of the account page that is a list: give ``tab``, its URL name, and narrow ``get_queryset`` to ``customer``."""

    tab: ClassVar[str]
    section = "search"
    template_name = "biller_portal/accounts/list.html"

    @cached_property
    def customer(self) -> Customer:
        """The account in the address."""
        return customer_or_404(self.request, self.kwargs["customer_id"])

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Save or remove a view, of an account that is there."""
        customer_or_404(self.request, self.kwargs["customer_id"])
        return super().post(request, *args, **kwargs)

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Give the account's frame."""
        return frame(self.request, self.customer, self.tab)


@biller_page(Permission.VIEW)
def overview(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Draw what answers the telephone call: what is owed, what was paid, what is on, what happened last."""
    live = balances.refresh(biller=request.biller, customers=[customer_id])
    customer = customer_or_404(request, customer_id)
    _remember(request, customer)
    today = customer.biller.business_date(timezone.now())
    items = reports.open_items(customer)
    owed = [item for item in items if item.open > 0]
    fee_words = _fee_words(customer) if any(item.kind == ItemKind.FEE for item in items) else {}
    bills = [
        {
            "item": item,
            "standing": reports.standing(item.invoice, item, today) if item.invoice else None,
            "words": fee_words.get(item.pk, ""),
        }
        for item in items
    ]
    payments = list(
        Payment.objects.filter(customer=customer).select_related("instrument").order_by("-created_at", "-pk")[:6]
    )
    entries = AuditEntry.objects.filter(customer=customer).order_by("-pk")[:6]
    adjusted = (
        Adjustment.objects.filter(customer=customer)
        .select_related("item__posting")
        .order_by("-pk")[:_ADJUSTMENTS_SHOWN]
    )
    fees = list(
        Fee.objects.filter(customer=customer)
        .select_related("item", "waiver", "late_bill__invoice")
        .order_by("-charged_at", "-pk")[:_ADJUSTMENTS_SHOWN]
    )
    links = list(PayerLink.objects.filter(customer=customer).select_related("user").order_by("-kind", "pk")[:5])
    context = frame(
        request,
        customer,
        "biller-account",
        due_on=min((item.due_on for item in owed if item.due_on), default=None),
        bills=bills,
        total_open=sum((item.open for item in items), start=ZERO),
        credits=len(items) - len(owed),
        past_due=sum((item.open for item in owed if item.due_on and item.due_on < today), start=ZERO),
        adjustments=list(adjusted),
        fees=fees,
        may_waive=request.may(Permission.GIVE_BACK),
        payments=payments,
        on_its_way=[payment for payment in payments if payment.state == PaymentState.PROCESSING],
        authorized=[payment for payment in payments if payment.state == PaymentState.AUTHORIZED],
        entries=[drawn(entry) for entry in entries],
        links=links,
        today=today,
        live=live.get(customer.pk),
    )
    context |= _live(context)
    context["facts"] = _facts(context, owed, today)
    if (autopay := context["autopay"]) is not None:
        standing = declines.standing(instrument=autopay.instrument, now=timezone.now())
        context["held_back"] = declines.words(autopay.instrument, standing)
    return render(request, "biller_portal/accounts/overview.html", context)


def _fee_words(customer: Customer) -> dict[int, str]:
    """Say what each open item of a fee or of its waiver is, by the items' ids."""
    charged = {fee.item_id: fee.words for fee in Fee.objects.filter(customer=customer).open()}
    waived = {one.item_id: f"{one.fee.words}, taken back" for one in FeeWaiver.objects.filter(customer=customer).open()}
    return charged | waived


def _live(context: dict[str, Any]) -> dict[str, Any]:
    """Give what the biller's own system says, and why our books say something else where they do."""
    standing: Standing | None = context["live"]
    if standing is None or standing.balance is None:
        return {}
    said, customer, currency = standing.balance, context["customer"], context["currency"]
    facts: list[tuple[str, object]] = [
        ("Balance left" if said.prepaid else "Due", formats.balance(said.due, currency)),
        ("Days left", format(said.remaining_days.normalize(), "f") if said.remaining_days is not None else ""),
        ("Past due", formats.money(said.past_due, currency) if said.past_due else ""),
        ("Due on", formats.day(said.due_on) if said.due_on else ""),
        ("Disconnection on", formats.day(said.disconnect_on) if said.disconnect_on else ""),
        ("Last payment", formats.money(said.last_payment, currency) if said.last_payment is not None else ""),
        ("Last paid on", formats.day(said.last_paid_on) if said.last_paid_on else ""),
        ("Allows", ", ".join(said.transaction_types)),
        ("As of", formats.moment(said.answered_at) if said.answered_at else ""),
    ]
    differs = ""
    if standing.fresh and not said.prepaid and said.due != customer.balance:
        differs = (
            f"It says {formats.balance(said.due, currency)}. The balance here counts payments that are on their way to it,"
            " and follows it once it has booked them."
        )
    told = prepayments.threshold_of(customer) if said.prepaid else None
    if said.prepaid:
        facts.append(("Told below", formats.money(told, currency) if told is not None else "Never"))
    shown = [(label, value) for label, value in facts if value]
    return {"live_facts": shown, "live_differs": differs, "prepaid": said.prepaid}


def _facts(context: dict[str, Any], items: list[Item], today: datetime.date) -> list[tuple[str, object]]:
    customer, autopay = context["customer"], context["autopay"]
    collected = min((item.collect_on for item in items if item.collect_on), default=None)
    facts: list[tuple[str, object]] = [("AutoPay", str(autopay.instrument) if autopay else "Off")]
    if autopay and collected:
        facts.append(("Next collection", formats.day(max(collected, today))))
    facts += [
        ("Bills go out", f"By e-mail to {customer.email}" if customer.paperless else "On paper"),
        ("Segment", customer.segment),
        ("Service location", customer.service_location),
        ("Language", customer.get_language_display()),
        ("Number in files", customer.number if customer.display_number else ""),
    ]
    return [(label, value) for label, value in facts if value]


def drawn(entry: AuditEntry) -> dict[str, Any]:
    """Give an audit entry as the timeline draws it: the sentence, who, through which door and from where."""
    tone, icon = next(((tone, icon) for name, tone, icon in _LOOKS if entry.event.startswith(name)), ("quiet", ""))
    return {"at": entry.at, "text": audit.sentence(entry), "who": who(entry), "tone": tone, "icon": icon}


def who(entry: AuditEntry) -> str:
    """Word who did what an entry says, through which door and from which address."""
    door = "" if entry.requestor == Requestor.SYSTEM else DOORS[Requestor(entry.requestor)]
    inside = ", ".join(part for part in (door, entry.address) if part)
    return f"{entry.actor} ({inside})" if inside else str(entry.actor)


def _remember(request: BillerRequest, customer: Customer) -> None:
    """Keep the account among those that the person looked at last, for their first page."""
    kept = request.session.get(_RECENT, {})
    mine = kept.get(str(request.biller.pk), [])
    if mine[:1] == [customer.pk]:
        return
    mine = [customer.pk, *(pk for pk in mine if pk != customer.pk)][:_RECENT_MOST]
    request.session[_RECENT] = {**kept, str(request.biller.pk): mine}


def recent_customers(request: BillerRequest) -> list[Customer]:
    """Give the accounts that the person looked at last, newest first."""
    wanted = request.session.get(_RECENT, {}).get(str(request.biller.pk), [])
    found = (
        Customer.objects.visible_to(request.user).filter(biller=request.biller, pk__in=wanted).in_bulk()
        if wanted
        else {}
    )
    return [found[pk] for pk in wanted if pk in found]


def account_url(customer_id: int) -> str:
    """Give the address of a customer's account page."""
    return reverse("biller-account", args=[customer_id])
