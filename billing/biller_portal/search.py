"""Search: one box on the first page, straight to the only hit, several hits in groups; queues beside it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing import formats, reports
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import recent_customers
from billing.biller_portal.command_centre import alert
from billing.biller_portal.links import url_if_any
from billing.models import Customer, FileState, Invoice, InvoiceFile
from billing.permissions import Permission
from datapump.models import Record, RecordState, RecordType
from payments.models import Payment
from payments.reports.payments import payments_matching
from payments.reports.queues import queues
from sms.reports import to_review

MOST = 25
CAP = 999


@dataclass(frozen=True, slots=True)
class Hit:
    """One line of the results: where it leads, what it is, and which part of it matched."""

    url: str
    customer: Customer
    matched: str
    part: SafeString
    invoice: Invoice | None = None
    payment: Payment | None = None


_MATCHED = {"number": "Account number", "phone": "Phone", "email": "E-mail", "payer": "Payer’s e-mail", "name": "Name"}


@biller_page(Permission.VIEW)
def search(request: BillerRequest) -> HttpResponse:
    """Draw the first page, or the results of ``?q=``; one hit that is exact is gone to at once."""
    text = " ".join(request.GET.get("q", "").split())[:120]
    context: dict[str, Any] = {"section": "search", "search_text": text, "title": "Search"}
    if not text:
        context |= {
            "queues": _queues(request),
            "recent": recent_customers(request),
            "alert": alert(request.biller, timezone.now()),
        }
        return render(request, "biller_portal/search.html", context)
    accounts, bills, payments = _hits(request, text)
    exact = [hit for hit in (*accounts, *bills, *payments) if hit.matched != "Name"]
    if len(exact) == 1 and len(accounts) <= 1:
        return redirect(exact[0].url)
    if len(accounts) == 1 and not bills and not payments:
        return redirect(accounts[0].url)
    groups = [("Accounts", accounts), ("Bills", bills), ("Payments", payments)]
    context |= {
        "title": f"Results for “{text}”",
        "groups": [(label, hits, len(hits) >= MOST) for label, hits in groups if hits],
        "most": MOST,
    }
    return render(request, "biller_portal/search.html", context)


def _hits(request: BillerRequest, text: str) -> tuple[list[Hit], list[Hit], list[Hit]]:
    biller = request.biller
    accounts = [
        Hit(
            reverse("biller-account", args=[one.customer.pk]),
            one.customer,
            _MATCHED[one.matched],
            marked(formats.phone(one.by) if one.matched == "phone" else one.by, text, whole=one.matched != "name"),
        )
        for one in reports.customers_matching(biller=biller, text=text, limit=MOST)
    ]
    bills = [
        Hit(
            reverse("biller-bill", args=[one.pk]),
            one.customer,
            "Bill number",
            marked(one.number, text, whole=True),
            one,
        )
        for one in reports.invoices_matching(biller=biller, text=text, limit=MOST)
    ]
    payments = [
        Hit(
            reverse("biller-payment", args=[one.pk]),
            one.customer,
            "Payer’s e-mail" if "@" in text else "Confirmation",
            marked(one.email if "@" in text else one.confirmation, text, whole=True),
            payment=one,
        )
        for one in payments_matching(biller=biller, text=text, limit=MOST)
    ]
    return accounts, bills, payments


def marked(value: str, text: str, *, whole: bool = False) -> SafeString:
    """Mark the part of a value that a search matched; the whole of it where the match was of the whole."""
    if whole:
        return format_html("<mark>{}</mark>", value)
    # The beginning of the name, else of its last word: these two are what was searched.
    at = 0 if value.lower().startswith(text.lower()) else value.lower().rfind(text.lower())
    if at < 0:
        return format_html("{}", value)
    end = at + len(text)
    return format_html("{}<mark>{}</mark>{}", value[:at], value[at:end], value[end:])


def _queues(request: BillerRequest) -> list[dict[str, Any]]:
    biller = request.biller
    money = queues(biller=biller, now=timezone.now(), cap=CAP)
    # Every type is named, because the index leads with it.
    failed = Record.objects.filter(biller=biller, type__in=RecordType.values, state=RecordState.FAILED)
    month = timezone.now() - datetime.timedelta(days=30)
    refused = InvoiceFile.objects.filter(biller=biller, received_at__gte=month, state=FileState.REFUSED)
    datapump, files = url_if_any("biller-datapump"), url_if_any("biller-files")
    return [
        _queue("Failed updates", failed.order_by()[: CAP + 1].count(), f"{datapump}?state=failed" if datapump else ""),
        _queue("Open cases", money.cases, reverse("biller-cases"), "outcome unknown, needs a person"),
        _queue("Unresolved attempts", money.unresolved, reverse("biller-unresolved"), "being looked up"),
        _queue(
            "Texts to read",
            to_review(biller).order_by()[: CAP + 1].count(),
            url_if_any("biller-text-reviews"),
            "nobody understood them",
        ),
        _queue(
            "Refused files",
            refused.order_by()[: CAP + 1].count(),
            f"{files}?state=refused" if files else "",
            "in 30 days",
        ),
    ]


def _queue(label: str, count: int, url: str, note: str = "") -> dict[str, Any]:
    value = f"Over {formats.number(CAP)}" if count > CAP else formats.number(count)
    return {"label": label, "value": value, "url": url, "note": note, "tone": "bad" if count else ""}
