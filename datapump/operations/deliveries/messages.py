"""Messages: a record and what is known of its customer, as a connector takes it.

Source: MSP-7, MSP-8, MSP-12, MSP-14, MSP-22
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from datapump.connectors.base import Message
from datapump.models.records import RecordType

KINDS: Mapping[int, str] = {
    RecordType.PAYMENT: "payment",
    RecordType.PAPERLESS: "paperless",
    RecordType.AUTOPAY: "autopay",
    RecordType.SCHEDULED: "scheduled",
    RecordType.REVERSAL: "reversal",
    RecordType.FEE: "fee",
    RecordType.INACTIVE: "inactive",
    RecordType.PAY_BY_TEXT: "pay_by_text",
}

OUTBOUND_CALL = 8
SOURCES: Mapping[int, int] = {
    1: 0,  # customer portal
    11: 0,  # guest pay
    2: 2,  # biller portal
    3: 1,  # AutoPay
    4: 3,  # scheduled
    5: 4,  # text
    6: 5,  # API
    7: 6,  # phone (IVR)
    OUTBOUND_CALL: 7,
    9: 8,  # kiosk, which the requirement's sample calls POS
    10: 9,  # lockbox
}
"""The channel of a payment as the payment source id of settings 64 and 65: 0 (WEB), 2 (CSRWEB) and 8 (POS) as the
requirement's samples have them, the others our own."""

COMMENTS = frozenset(
    (
        RecordType.AUTOPAY,
        RecordType.SCHEDULED,
        RecordType.REVERSAL,
        RecordType.FEE,
        RecordType.INACTIVE,
        RecordType.PAY_BY_TEXT,
    )
)
"""What is told as a comment, which names a service location."""

_PART = re.compile(r"\{(base|sub|custom2|custom3)\}")


@dataclass(frozen=True, slots=True)
class Wire:
    """What a message says beside its record's facts, looked up when it is first sent and kept for every repeat: a repeat
    after an unknown outcome must be the same, byte for byte, whatever has come in since.
    """

    account: str
    service_location: str = ""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A record that this process alone may send until its lease is over."""

    id: str
    endpoint_id: str
    biller_id: int
    customer_id: int
    type: int
    facts: Mapping[str, Any]
    created_at: datetime
    claimed_at: datetime
    attempts: int
    refusals: int
    wire: Wire

    @property
    def kind(self) -> str:
        """The kind of message it becomes."""
        return KINDS[self.type]


def wire_account(template: str, *, base: str, sub: str, custom2: str, custom3: str) -> str:
    """Write an account number as the biller's own system does.

    Custom2 and Custom3 of the newest invoice are base and sub; without an invoice the customer's own stand in for them.
    """
    parts = {"base": base, "sub": sub, "custom2": custom2 or base, "custom3": custom3 or sub}
    return _PART.sub(lambda part: parts[part[1]], template)


def message(record: Claimed) -> Message:
    """Make the message that tells a record."""
    facts: dict[str, Any] = dict(record.facts)
    facts.pop("wire", None)
    match record.type:
        case RecordType.PAYMENT:
            channel = facts.get("channel")
            facts = {
                "amount": facts.get("amount", ""),
                "currency": facts.get("currency", ""),
                "tender": facts.get("tender", ""),
                "approval_code": facts.get("approval_code", ""),
                "payment_guid": record.id,
                "source": SOURCES.get(channel) if isinstance(channel, int) else None,
                "obd": channel == OUTBOUND_CALL,
                "kiosk": facts.get("kiosk", ""),
            }
        case _ if record.type in COMMENTS:
            facts["service_location"] = record.wire.service_location
    return Message(record.id, record.kind, record.wire.account, record.created_at, facts)
