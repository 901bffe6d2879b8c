"""The events: one for each kind of message, as JSON whose schema is ``events.schema.json``.

A type is a promise: fields may be added to it, none is taken away or changes its meaning. What breaks that is a new type,
such as ``payment.posted.v2``.

Source: the Standard Webhooks specification, "Payload structure" and "Event types"
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from datapump.connectors.base import Message, Refused

PING = "ping"
CHANNELS: Mapping[int | None, str] = {
    0: "customer_portal", 1: "autopay", 2: "biller_portal", 3: "scheduled", 4: "text", 5: "api", 6: "phone",
    7: "outbound_call", 8: "kiosk", 9: "lockbox",
}  # fmt: skip
"""Payment source ids in words."""

_REVERSALS = ("void", "refund", "return", "chargeback", "won")
_TENDERS = ("card", "ach", "echeck", "cash")
_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,2}0*)?", re.ASCII)
# What databases and XML at the other end cannot keep, and halves of characters, which UTF-8 cannot carry.
_UNSAYABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Event:
    """What one kind of message becomes: the event's type, and its data beside the account."""

    type: str
    data: Callable[[Message], dict[str, Any]]


def _amount(message: Message) -> str:
    written = str(message.facts.get("amount", ""))
    if not _AMOUNT.fullmatch(written) or not (amount := Decimal(written)):
        raise Refused("the amount is not a sum above zero with at most two decimal places", message_id=message.id)
    return f"{amount:.2f}"


def _status(message: Message, *known: str) -> str:
    status = str(message.facts.get("status"))
    if status not in known:
        raise Refused(f"the record does not say what happened: it is none of {', '.join(known)}", message_id=message.id)
    return status


def _payment(message: Message) -> dict[str, Any]:
    facts, amount = message.facts, _amount(message)
    if facts.get("tender") not in _TENDERS:
        raise Refused(f"no event tells of a payment of the kind {facts.get('tender')!r}", message_id=message.id)
    if not facts.get("payment_guid"):
        raise Refused("the payment has no GUID", message_id=message.id)
    return {
        "payment_id": facts["payment_guid"],
        "amount": amount,
        "currency": facts.get("currency", ""),
        "tender": facts["tender"],
        "authorization": facts.get("approval_code") or "",
        "channel": "outbound_call" if facts.get("obd") else CHANNELS.get(facts.get("source"), "other"),
        "kiosk": facts.get("kiosk") or "",
    }


def _enrolled(message: Message) -> dict[str, Any]:
    enrolled = message.facts.get("enrolled")
    if not isinstance(enrolled, bool):
        raise Refused("the record does not say whether it is on or off", message_id=message.id)
    return {"enrolled": enrolled}


def _texts(message: Message, *names: str) -> dict[str, Any]:
    return {name: message.facts.get(name) or "" for name in names}


def _autopay(message: Message) -> dict[str, Any]:
    return _enrolled(message) | _texts(message, "service_location")


def _pay_by_text(message: Message) -> dict[str, Any]:
    status = _status(message, "pending", "enrolled", "unenrolled", "number_changed")
    return {"status": status, **_texts(message, "phone", "old_phone", "service_location")}


def _scheduled(message: Message) -> dict[str, Any]:
    status = _status(message, "scheduled", "changed", "cancelled")
    return {"status": status, "amount": _amount(message), **_texts(message, "on", "invoice", "service_location")}


def _reversal(message: Message) -> dict[str, Any]:
    facts = message.facts
    if facts.get("kind") not in _REVERSALS:
        raise Refused("the record does not say how the money went back", message_id=message.id)
    if not facts.get("payment_guid"):
        raise Refused("the payment has no GUID", message_id=message.id)
    return {
        "reversal_id": message.id,
        "payment_id": facts["payment_guid"],
        "kind": facts["kind"],
        "amount": _amount(message),
        "currency": facts.get("currency", ""),
        "code": facts.get("code") or "",
    }


def _fee(message: Message) -> dict[str, Any]:
    facts, status = message.facts, _status(message, "charged", "waived")
    if not facts.get("fee") or not (facts.get("payment_guid") or facts.get("invoice")):
        raise Refused("the record does not say which fee it is, and what for", message_id=message.id)
    return {
        "fee_id": facts["fee"],
        "status": status,
        "amount": _amount(message),
        "currency": facts.get("currency", ""),
        "payment_id": facts.get("payment_guid") or "",
        **_texts(message, "invoice", "words"),
    }


def _inactive(message: Message) -> dict[str, Any]:
    if not message.facts.get("invoice"):
        raise Refused("the record names no bill", message_id=message.id)
    return {
        "amount": _amount(message),
        "currency": message.facts.get("currency", ""),
        **_texts(message, "invoice", "service_location"),
    }


EVENTS: Mapping[str, Event] = {
    "payment": Event("payment.posted", _payment),
    "paperless": Event("paperless.changed", _enrolled),
    "autopay": Event("autopay.changed", _autopay),
    "reversal": Event("payment.reversed", _reversal),
    "fee": Event("fee.changed", _fee),
    "inactive": Event("account.inactive", _inactive),
    "scheduled": Event("scheduled_payment.changed", _scheduled),
    "pay_by_text": Event("pay_by_text.changed", _pay_by_text),
}
"""By kind of message. A new kind is a line here and its data in the schema."""


def write(message: Message) -> tuple[str, bytes]:
    """Write a message's event; gives its type and its body, the same each time.

    :raises Refused: it cannot be told; the text says what is missing.
    """
    event = EVENTS.get(message.kind)
    if event is None:
        raise Refused(f"no event tells of {message.kind!r}", message_id=message.id)
    if not message.account.strip():
        raise Refused("the record has no account number", message_id=message.id)
    data = {"account": message.account, **event.data(message)}
    if any(isinstance(value, str) and _UNSAYABLE.search(value) for value in data.values()):
        raise Refused("it holds a character that an event cannot carry", message_id=message.id)
    return event.type, write_body(event.type, message.occurred_at, data)


def write_body(type_: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """Write an event's JSON on one line; ``at`` is when it happened, in any zone."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return json.dumps(
        {"type": type_, "timestamp": moment, "data": data}, ensure_ascii=False, separators=(",", ":")
    ).encode()
