"""One update: what changed, what was said and answered at each try, and what a person may do about it."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from billing import audit, formats
from billing.biller_portal.access import BillerRequest, biller_page
from billing.biller_portal.accounts import account_url
from billing.errors import DomainError
from billing.permissions import Permission
from datapump import reports
from datapump.biller_portal.histories import made_by, record_url
from datapump.biller_portal.waking import wake
from datapump.models import ChangeLog, Record, RecordState, RecordType
from datapump.operations import resends

MAY_HAVE_IT = "The biller’s system may already have this update."

# Numbers that tell who somebody is. Credentials and card numbers were masked before anything was kept.
_NUMBER = re.compile(
    r"(?P<before><(?:\w+:)?(?:accountNumber|customerID|serviceLocationID)>|\bobjectID=\"|\"(?:account|service_location)\":\s*\")"
    r"(?P<number>[^<\"]+)"
    r"|(?P<phone>\+[1-9][0-9]{9,14}\b)"
)


def veil(text: str) -> str:
    """Hide account, location and telephone numbers but for their last figures."""

    def hide(found: re.Match[str]) -> str:
        if found["phone"]:
            return formats.masked_phone(found["phone"])
        return found["before"] + formats.DOT * 4 + found["number"][-4:]

    return _NUMBER.sub(hide, text)


def record_or_404(request: BillerRequest, record_id: uuid.UUID) -> Record:
    """Give the biller's update; another biller's is not found, like one that does not exist."""
    mine = Record.objects.visible_to(request.user).filter(biller=request.biller)
    return get_object_or_404(mine.select_related("customer", "endpoint", "biller"), pk=record_id)


@biller_page(Permission.VIEW)
def update(request: BillerRequest, record_id: uuid.UUID) -> HttpResponse:
    """Draw one update with numbers hidden."""
    return _page(request, record_or_404(request, record_id), revealed=False)


@require_POST
@biller_page(Permission.REVEAL)
def reveal(request: BillerRequest, record_id: uuid.UUID) -> HttpResponse:
    """Draw one update with its numbers, once, and keep that somebody looked."""
    record = record_or_404(request, record_id)
    with transaction.atomic(durable=True):
        audit.record(
            actor=request.actor,
            event="datapump.revealed",
            biller_id=record.biller_id,
            customer_id=record.customer_id,
            subject=str(record.pk),
        )
    response = _page(request, record, revealed=True)
    response["Cache-Control"] = "no-store"
    return response


def _page(request: BillerRequest, record: Record, *, revealed: bool) -> HttpResponse:
    found = reports.update(record)
    status, detail = reports.shown_status(record)
    show = (lambda text: text) if revealed else veil
    tries = [
        {
            "delivery": one.delivery,
            "request": show(one.envelope.request) if one.envelope else "",
            "answer": show(one.envelope.answer) if one.envelope else "",
            "aged": one.envelope is None and one.delivery.envelope_id is not None,
            "operation": one.envelope.operation if one.envelope else "",
        }
        for one in found.tries
    ]
    facts = [
        ("Update", reports.update_words(record)),
        ("What changed", reports.change_words(record)),
        ("Made", formats.moment(record.created_at)),
        ("Made by", made_by(record)),
        ("Delivered", formats.moment(record.delivered_at) if record.delivered_at else ""),
        ("Next attempt", formats.moment(detail) if isinstance(detail, datetime) else ""),
        ("Attempts", formats.number(record.attempts)),
        ("Endpoint", str(record.endpoint or "None yet")),
        ("Kind", record.get_optional_setting_display()),
        ("Update id", str(record.pk)),
    ]
    context: dict[str, Any] = {
        "title": f"{reports.update_words(record)} – account {record.customer.shown_number}",
        "section": "datapump",
        "record": record,
        "status": status,
        "status_detail": detail,
        "facts": [(label, value) for label, value in facts if value],
        "tries": tries,
        "last": tries[-1] if tries else None,
        "change_logs": _shown(found.change_logs),
        "halves": _halves(record, found),
        "result": reports.result_words(record),
        "account_url": account_url(record.customer_id),
        "blocked_url": reverse("biller-datapump-record", args=[record.blocked_by]) if record.blocked_by else "",
        "revealed": revealed,
        "may_reveal": request.may(Permission.REVEAL) and bool(tries) and not revealed,
        "may_resend": request.may(Permission.RESEND) and record.state in resends.AGAIN,
        "may_skip": request.may(Permission.RESEND) and record.state in resends.GIVEN_UP,
    }
    for name, other in (("previous", found.previous), ("following", found.following)):
        context[name] = (
            {
                "url": record_url(other),
                "words": _in_words(other),
                "at": other.created_at,
                "state": other.state,
            }
            if other
            else None
        )
    return render(request, "biller_portal/datapump/update.html", context)


def _in_words(record: Record) -> str:
    """Say what an update is about and what changed; of pay by text the first says the second, but for a number."""
    words = reports.update_words(record)
    says_it = record.type == RecordType.PAY_BY_TEXT and not record.before
    return words if says_it else f"{words} – {reports.change_words(record)}"


def _shown(logs: list[ChangeLog]) -> list[dict[str, Any]]:
    return [{"log": one, "old": reports.masked(one.old), "new": reports.masked(one.new)} for one in logs]


def _halves(record: Record, found: reports.Update) -> list[dict[str, Any]]:
    """Give both updates of one registration by text in their order, each with its change logs; none where it has one."""
    if found.pair is None:
        return []
    both = [(record, found.change_logs), (found.pair, reports.change_logs_of(found.pair))]
    return [
        {
            "record": one,
            "url": "" if one is record else record_url(one),
            "words": reports.change_words(one),
            "made_by": made_by(one),
            "logs": _shown(logs),
        }
        for one, logs in sorted(both, key=lambda half: (half[0].created_at, half[0].pk))
    ]


@biller_page(Permission.RESEND)
def resend(request: BillerRequest, record_id: uuid.UUID) -> HttpResponse:
    """Ask, then have one update sent again."""
    record = record_or_404(request, record_id)
    if request.method == "POST":
        try:
            resends.send_again(actor=request.actor, record=record)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            wake()
            messages.success(request, "The update will be sent again in a moment.")
        return redirect(record_url(record))
    warning = MAY_HAVE_IT if record.state != RecordState.WITHHELD else ""
    if reports.later_delivered(record) and record.type != RecordType.PAYMENT:
        warning = (
            "A later update of this kind has been delivered: sending this one tells the biller’s system older news."
        )
    context = {
        "title": "Send this update again?",
        "section": "datapump",
        "question": "It goes before anything later of this account.",
        "rows": _rows(record),
        "warning": warning,
        "button": "Send again",
        "back_url": record_url(record),
    }
    return render(request, "biller_portal/confirm.html", context)


@biller_page(Permission.RESEND)
def skip(request: BillerRequest, record_id: uuid.UUID) -> HttpResponse:
    """Ask, then give an update up, so that what is behind it goes."""
    record = record_or_404(request, record_id)
    if request.method == "POST":
        try:
            resends.skip(actor=request.actor, record=record)
        except DomainError as refused:
            messages.error(request, str(refused))
        else:
            wake()
            messages.success(request, "The update was skipped.")
        return redirect(record_url(record))
    context = {
        "title": "Skip this update?",
        "section": "datapump",
        "question": "It is not sent any more, and the account’s next update goes. It can be sent again later.",
        "rows": _rows(record),
        "warning": "The biller’s system will not hear of it unless somebody tells it in another way.",
        "button": "Skip the update",
        "danger": True,
        "back_url": record_url(record),
    }
    return render(request, "biller_portal/confirm.html", context)


def _rows(record: Record) -> list[tuple[str, str, str]]:
    rows = [
        ("Account", f"{record.customer.shown_number}, {record.customer.name}", ""),
        ("Update", _in_words(record), ""),
        ("Made", formats.moment(record.created_at), ""),
        ("Last result", reports.result_words(record), ""),
    ]
    return [row for row in rows if row[1]]
