"""The one map from a stored status to what people see: words, a colour and an icon, always all three.

Keys are the noun and the value as it is stored, so that no page words or colours a status by itself. The apps above
hand in their values as text; a value missing here is an error, which the suite finds before a page does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing import formats


class Tone(StrEnum):
    """What a colour says; ``ratepayer.css`` gives each one for light and for dark."""

    QUIET = "quiet"
    BUSY = "busy"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Status:
    """How one status looks: ``icon`` is a heroicon, ``detailed`` the words around a detail, with ``%(detail)s``."""

    text: str | Promise
    tone: Tone
    icon: str
    detailed: str | Promise | None = None


_Q, _B, _G, _W, _X = Tone.QUIET, Tone.BUSY, Tone.GOOD, Tone.WARNING, Tone.BAD

STATUSES: dict[str, dict[str, Status]] = {
    # datapump.RecordState; a waiting record behind an earlier one of its customer is shown as on hold.
    "record": {
        "waiting": Status(_("Waiting"), _Q, "clock"),
        "sending": Status(_("Sending"), _B, "arrow-up-tray"),
        "delivered": Status(_("Delivered"), _G, "check-circle"),
        "retrying": Status(_("Retrying"), _W, "arrow-path", _("Retrying – next at %(detail)s")),
        "failed": Status(_("Failed"), _X, "x-circle"),
        "on_hold": Status(_("On hold – behind an earlier update"), _Q, "pause-circle"),
        "withheld": Status(_("Will not send"), _Q, "no-symbol", _("Will not send – %(detail)s")),
        "skipped": Status(_("Skipped"), _Q, "forward", _("Skipped by %(detail)s")),
    },
    # The outcome of a datapump.Delivery.
    "delivery": {
        "delivered": Status(_("Accepted"), _G, "check-circle"),
        "not_sent": Status(_("Not sent"), _W, "signal-slash"),
        "unknown": Status(_("No clear answer"), _W, "question-mark-circle"),
        "refused": Status(_("Refused"), _X, "x-circle"),
        "setup": Status(_("Settings are wrong"), _X, "wrench-screwdriver"),
    },
    # The breaker of a datapump.Endpoint.
    "endpoint": {
        "closed": Status(_("Answering"), _G, "check-circle"),
        "half_open": Status(_("Being tried again"), _W, "arrow-path"),
        "open": Status(_("Not answering"), _X, "signal-slash", _("Not answering – next try at %(detail)s")),
        "off": Status(_("Switched off"), _Q, "pause-circle"),
    },
    # The connection of a payments.Route.
    "connection": {
        "unasked": Status(_("Waiting"), _Q, "clock"),
        "answers": Status(_("Answering"), _G, "check-circle"),
        "silent": Status(_("Not answering"), _X, "signal-slash"),
        "off": Status(_("Switched off"), _Q, "pause-circle"),
    },
    # payments.PaymentState.
    "payment": {
        "processing": Status(_("Processing"), _B, "arrow-path"),
        "authorized": Status(_("Authorized, not taken yet"), _B, "lock-closed"),
        "posted": Status(_("Paid"), _G, "check-circle", _("Paid – %(detail)s")),
        "failed": Status(_("Failed"), _X, "x-circle", _("Failed – %(detail)s")),
        "reversed": Status(_("Returned"), _X, "arrow-uturn-left", _("Returned – %(detail)s")),
    },
    # payments.ReversalState.
    "reversal": {
        "processing": Status(_("Processing"), _B, "arrow-path"),
        "done": Status(_("Done"), _G, "check-circle"),
        "failed": Status(_("Failed"), _X, "x-circle", _("Failed – %(detail)s")),
    },
    # payments.ScheduledState.
    "scheduled": {
        "scheduled": Status(_("Scheduled"), _B, "calendar-days"),
        "processing": Status(_("Being made"), _B, "arrow-path"),
        "paid": Status(_("Paid"), _G, "check-circle"),
        "failed": Status(_("Failed"), _X, "x-circle", _("Failed – %(detail)s")),
        "cancelled": Status(_("Cancelled"), _Q, "no-symbol"),
        "nothing_due": Status(_("Not needed – nothing was due"), _Q, "minus-circle"),
    },
    # payments.AttemptState; an open attempt that is past the route's limit is shown as unresolved.
    "attempt": {
        "open": Status(_("Waiting for an answer"), _B, "clock"),
        "unresolved": Status(_("Outcome unknown"), _W, "question-mark-circle"),
        "answered": Status(_("Answered"), _B, "arrow-path"),
        "applied": Status(_("Settled"), _G, "check-circle"),
        "abandoned": Status(_("Given up – nothing was charged"), _Q, "no-symbol"),
    },
    # payments.InstrumentState; a card past its date is shown as expired.
    "instrument": {
        "active": Status(_("Ready to use"), _G, "check-circle"),
        "one_time": Status(_("Used once"), _Q, "minus-circle"),
        "bad": Status(_("Declined by the bank"), _X, "x-circle"),
        "expired": Status(_("Expired"), _W, "exclamation-triangle"),
        "removed": Status(_("Removed"), _Q, "no-symbol"),
    },
    # payments.VerificationState.
    "verification": {
        "open": Status(_("Waiting for an answer"), _B, "clock"),
        "passed": Status(_("Passed"), _G, "check-circle"),
        "failed": Status(_("Failed"), _X, "x-circle"),
        "abandoned": Status(_("Given up – nothing was charged"), _Q, "no-symbol"),
    },
    # payments.CaseState.
    "case": {
        "open": Status(_("Open"), _W, "exclamation-triangle"),
        "done": Status(_("Closed"), _G, "check-circle"),
    },
    # What is open of a billing.Invoice, as pages tell it.
    "invoice": {
        "due": Status(_("Due"), _B, "document-text", _("Due %(detail)s")),
        "overdue": Status(_("Past due"), _X, "exclamation-circle", _("Past due since %(detail)s")),
        "part_paid": Status(_("Partly paid"), _W, "adjustments-horizontal"),
        "paid": Status(_("Paid"), _G, "check-circle"),
        "credit": Status(_("Credit"), _G, "plus-circle"),
        "carried": Status(_("On a later bill"), _Q, "arrow-right-circle"),
        "withdrawn": Status(_("Withdrawn"), _Q, "no-symbol"),
    },
    # billing.FileState.
    "file": {
        "received": Status(_("Received"), _Q, "inbox-arrow-down"),
        "reading": Status(_("Being read"), _B, "arrow-path"),
        "checking": Status(_("Being checked"), _B, "clipboard-document-check"),
        "loading": Status(_("Loading"), _B, "arrow-path"),
        "loaded": Status(_("Loaded"), _G, "check-circle"),
        "refused": Status(_("Refused – nothing was loaded"), _X, "x-circle"),
        "withdrawn": Status(_("Withdrawn"), _Q, "no-symbol"),
    },
    # billing.RunState; a running run that was asked to stop is shown as stopping.
    "run": {
        "planned": Status(_("Planned"), _Q, "calendar-days"),
        "working": Status(_("Running"), _B, "arrow-path"),
        "stopping": Status(_("Stopping"), _W, "pause-circle"),
        "stopped": Status(_("Stopped"), _W, "stop-circle"),
        "done": Status(_("Done"), _G, "check-circle"),
        "failed": Status(_("Failed"), _X, "x-circle"),
    },
    # billing.ChunkState.
    "chunk": {
        "waiting": Status(_("Waiting"), _Q, "clock"),
        "working": Status(_("Running"), _B, "arrow-path"),
        "done": Status(_("Done"), _G, "check-circle"),
    },
    # AutoPay and paperless, as pages tell them.
    "enrolment": {
        "off": Status(_("Off"), _Q, "minus-circle"),
        "on": Status(_("On"), _G, "check-circle"),
    },
    # billing.NoticeState.
    "notice": {
        "waiting": Status(_("Waiting"), _Q, "clock"),
        "sending": Status(_("Sending"), _B, "arrow-up-tray"),
        "sent": Status(_("Sent"), _G, "check-circle"),
        "failed": Status(_("Failed"), _X, "x-circle"),
    },
    # sms.Mode; without an enrolment there is none.
    "pay_by_text": {
        "none": Status(_("Never enrolled"), _Q, "minus-circle"),
        "pending": Status(
            _("Waiting for a confirmation"), _W, "clock", _("Waiting for a confirmation until %(detail)s")
        ),
        "enrolled": Status(_("Enrolled"), _G, "check-circle"),
        "unenrolled": Status(_("Unenrolled"), _Q, "no-symbol"),
    },
    # sms.TextState.
    "text": {
        "waiting": Status(_("Waiting"), _Q, "clock", _("Waiting – goes out at %(detail)s")),
        "sending": Status(_("Sending"), _B, "arrow-up-tray"),
        "unknown": Status(_("Not known yet"), _W, "question-mark-circle"),
        "accepted": Status(_("With the provider"), _B, "paper-airplane"),
        "delivered": Status(_("Delivered"), _G, "check-circle"),
        "failed": Status(_("Did not arrive"), _X, "x-circle"),
        "arrived": Status(_("Arrived"), _B, "inbox-arrow-down"),
        "acting": Status(_("Being dealt with"), _B, "arrow-path"),
        "awaiting": Status(_("Waiting for a payment"), _B, "banknotes"),
        "received": Status(_("Received"), _G, "inbox"),
    },
    # billing.CustomerStatus.
    "customer": {
        "active": Status(_("Active"), _G, "check-circle"),
        "inactive": Status(_("Inactive"), _Q, "pause-circle"),
        "closed": Status(_("Closed"), _Q, "lock-closed"),
    },
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A status ready to draw: the words in the current language, the tone, the icon."""

    text: str
    tone: Tone
    icon: str


def status(noun: str, value: str, detail: object = None) -> Shown:
    """Give how a status is shown; ``detail`` completes the sentence (a moment is written as its time of day and zone).

    :raises KeyError: the noun or the value is not in the map.
    """
    found = STATUSES[noun][str(value)]
    if detail is None or detail == "" or found.detailed is None:
        return Shown(str(found.text), found.tone, found.icon)
    words = formats.clock(detail) if isinstance(detail, datetime) else str(detail)
    return Shown(str(found.detailed) % {"detail": words}, found.tone, found.icon)


def choices(noun: str) -> list[tuple[str, str | Promise]]:
    """Give every status of a noun as form choices, in the order of the map."""
    return [(value, shown.text) for value, shown in STATUSES[noun].items()]
