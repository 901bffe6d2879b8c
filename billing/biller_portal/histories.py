"""The history of an account: everything that happened to it, newest first, with who did it and from where."""

from __future__ import annotations

import datetime
from typing import Any

from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.dateparse import parse_datetime

from billing import formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import customer_or_404, drawn, frame
from billing.models import AuditEntry, Customer, Invoice, NoticeDelivery, NoticeState
from billing.permissions import Permission
from payments.models import Channel, Payment, PaymentState

PAGE = 50


@biller_page(Permission.VIEW)
def history(request: BillerRequest, customer_id: int) -> HttpResponse:
    """Draw one page of the history; ``?before=`` is the moment above which it was shown already."""
    customer = customer_or_404(request, customer_id)
    before = None
    if (text := request.GET.get("before")) is not None:
        before = parse_datetime(text)
        if before is None or before.tzinfo is None:
            raise Http404("Not a moment.")
    entries = happened(customer, before=before, limit=PAGE + 1)
    older = entries[PAGE - 1]["at"].isoformat() if len(entries) > PAGE else ""
    context = frame(
        request, customer, "biller-account-history", entries=entries[:PAGE], older=older, newest=before is None
    )
    return render(request, "biller_portal/accounts/history.html", context)


def happened(customer: Customer, *, before: datetime.datetime | None, limit: int) -> list[dict[str, Any]]:
    """Give what happened to an account before a moment, newest first: each source by its index, then one order.

    The audit trail has what people and programs did; bills that arrived, what runs collected and messages that went out
    are facts of their own tables and stand there once.
    """
    bound = {} if before is None else {"at__lt": before}
    audited = list(AuditEntry.objects.filter(customer=customer, **bound).order_by("-pk")[:limit])
    told = {entry.subject for entry in audited if entry.event in {"payment.posted", "payment.failed"}}
    found = [{**drawn(entry), "url": _subject_url(entry)} for entry in audited]

    made = {} if before is None else {"created_at__lt": before}
    bills = Invoice.objects.filter(customer=customer, **made).select_related("file").order_by("-created_at")[:limit]
    found += [_bill(invoice, customer) for invoice in bills]

    # What a run took: by AutoPay, or of payments that were authorized before.
    taken = Q(channel=Channel.AUTOPAY) | Q(authorization__ended_at__isnull=False)
    collected = Payment.objects.filter(taken, customer=customer, **made).select_related("instrument")
    found += [
        _collected(payment)
        for payment in collected.order_by("-created_at", "-pk")[:limit]
        if str(payment.pk) not in told
    ]

    sent = NoticeDelivery.objects.filter(customer=customer, state__in=[NoticeState.SENT, NoticeState.FAILED])
    if before is not None:
        sent = sent.filter(notice__created_at__lt=before)
    found += [_message(delivery, customer) for delivery in sent.select_related("notice").order_by("-pk")[:limit]]
    found = [one for one in found if before is None or one["at"] < before]
    return sorted(found, key=lambda one: one["at"], reverse=True)[:limit]


def _subject_url(entry: AuditEntry) -> str:
    return (
        reverse("biller-payment", args=[entry.subject]) if entry.event.startswith("payment.") and entry.subject else ""
    )


def _bill(invoice: Invoice, customer: Customer) -> dict[str, Any]:
    amount = formats.money(invoice.amount, customer.biller.currency)
    return {
        "at": invoice.created_at,
        "text": f"Bill {invoice.number} of {amount} arrived, due {formats.day(invoice.due_on)}",
        "who": f"Invoice file {invoice.file.name}" if invoice.file else "",
        "url": reverse("biller-bill", args=[invoice.pk]),
        "icon": "document-text",
    }


def _collected(payment: Payment) -> dict[str, Any]:
    amount = formats.money(payment.amount, payment.currency)
    url = reverse("biller-payment", args=[payment.pk])
    match payment.state:
        case PaymentState.POSTED:
            words, tone, icon = f"Paid {amount} with {payment.instrument}", "good", "check-circle"
        case PaymentState.FAILED:
            words, tone, icon = f"A payment of {amount} did not go through: {payment.failure}", "bad", "x-circle"
        case PaymentState.REVERSED:
            words, tone, icon = f"A payment of {amount} was returned", "bad", "arrow-uturn-left"
        case _:
            words, tone, icon = f"A payment of {amount} with {payment.instrument} is on its way", "busy", "arrow-path"
    # Placed by when it was begun, as it was read, so that no page shows it twice.
    return {"at": payment.created_at, "text": words, "who": payment.made_by, "tone": tone, "icon": icon, "url": url}


def _message(delivery: NoticeDelivery, customer: Customer) -> dict[str, Any]:
    went = delivery.state == NoticeState.SENT
    words = f"{delivery.notice.get_kind_display()}: {'sent' if went else 'could not be sent'} to {delivery.address}"
    return {
        "at": delivery.notice.created_at,
        "text": words,
        "detail": "" if went else delivery.failure,
        "who": delivery.get_channel_display(),
        "tone": "quiet" if went else "bad",
        "icon": "envelope",
        "url": reverse("biller-account-message", args=[customer.pk, delivery.pk]),
    }
