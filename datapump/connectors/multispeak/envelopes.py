"""The envelopes, written by template: what zeep would build, at fifty times its speed.

``tests/datapump/test_multispeak.py`` holds every envelope equal to zeep's, as canonical XML, and valid against
``multispeak.xsd``.

Source: MSP-6 to MSP-10, MSP-13, MSP-14; the samples of the interface description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from datapump.connectors.base import Message, Misconfigured, Refused, Target
from datapump.connectors.masking import mask_start
from datapump.connectors.multispeak.amounts import amount_text
from datapump.connectors.multispeak.options import (
    ILLEGAL,
    NAMESPACE,
    OPERATIONS,
    Options,
    read_options,
)

TENDERS: Mapping[str, str] = {
    "card": "creditCardPayment",
    "echeck": "eCheckPayment",
    "ach": "achPayment",
    "cash": "cashPayment",
}
OBD = "OBD"  # outbound dialler: neither WEB nor EFT, whatever the maps say (MSP-8)

_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,2}0*)?", re.ASCII)
_NOT_PLAIN = re.compile("[^ !#-%'-;=?-~]")
# The line ends are references so that a parser hands them back as they were.
_TEXT = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("\r"): "&#13;"}
_ATTRIBUTE = _TEXT | {ord('"'): "&quot;", ord("\n"): "&#10;", ord("\t"): "&#9;"}


class NotXml(ValueError):
    """A text holds a character that XML 1.0 cannot carry, escaped or not."""


def text(value: str) -> str:
    """Escape a text for between tags.

    :raises NotXml: it cannot be carried.
    """
    if _NOT_PLAIN.search(value) is None:
        return value
    if ILLEGAL.search(value):
        raise NotXml("it holds a character that XML cannot carry")
    return value.translate(_TEXT)


def attribute(value: str) -> str:
    """Escape a text for between double quotes.

    :raises NotXml: it cannot be carried.
    """
    if _NOT_PLAIN.search(value) is None:
        return value
    if ILLEGAL.search(value):
        raise NotXml("it holds a character that XML cannot carry")
    return value.translate(_ATTRIBUTE)


@dataclass(frozen=True, slots=True)
class Plan:
    """A target made ready: everything that is the same in each of its envelopes.

    ``masked`` is ``before`` as it may be kept where the content is plain, or None where that is not known beforehand.
    """

    options: Options
    zone: ZoneInfo
    before: Mapping[str, str]
    after: Mapping[str, str]
    masked: Mapping[str, str | None]
    headers: Mapping[str, Mapping[str, str]]


def plan(target: Target) -> Plan:
    """Read a target and write the parts of its envelopes that never change.

    :raises Misconfigured: naming what is missing or wrong.
    """
    options = read_options(target.options)
    if not target.url.startswith(("http://", "https://")):
        raise Misconfigured("the endpoint's address must begin with http:// or https://")
    if not target.username or not target.password:
        raise Misconfigured("the endpoint has no user name or no password")
    try:
        zone = ZoneInfo(target.time_zone)
    except (KeyError, ValueError, OSError):
        raise Misconfigured(f"unknown time zone {target.time_zone!r}") from None
    try:
        fields = {"UserID": target.username, "Pwd": target.password} | dict(options.header)
        header = "".join(f' {name}="{attribute(value)}"' for name, value in fields.items())
    except NotXml as error:
        raise Misconfigured(f"user name, password or header fields: {error}") from None
    before, after, masked, headers = {}, {}, {}, {}
    for operation in OPERATIONS:
        name = options.operation(operation)
        before[operation] = (
            f'<?xml version="1.0" encoding="utf-8"?>\n<soap:Envelope xmlns:soap="{_SOAP}"><soap:Header>'
            f'<MultiSpeakMsgHeader xmlns="{NAMESPACE}"{header}/></soap:Header><soap:Body>'
            f'<{name.element} xmlns="{NAMESPACE}">'
        )
        after[operation] = f"</{name.element}></soap:Body></soap:Envelope>"
        masked[operation] = mask_start(before[operation], after[operation])
        headers[operation] = {
            "Content-Type": "text/xml; charset=utf-8",
            "SOAPAction": f'"{name.soap_action}"',
        }
    return Plan(options=options, zone=zone, before=before, after=after, masked=masked, headers=headers)


@dataclass(frozen=True, slots=True)
class Payment:
    """One ``paymentTransaction``: its ``said`` are the texts in it that are not the same in every one, in a row with bars
    between them; ``note`` is one for the operator or an empty text.
    """

    xml: str
    transaction_id: str
    said: str
    note: str


def payment(message: Message, plan: Plan) -> Payment:
    """Write one ``paymentTransaction``.

    :raises Refused: the payment cannot be said; the text says what is missing.

    Source: MSP-6 to MSP-10
    """
    facts, options = message.facts, plan.options
    tender = TENDERS.get(facts.get("tender", ""))
    if tender is None:
        raise Refused(
            f"MultiSpeak has no payment of the kind {facts.get('tender')!r}",
            message_id=message.id,
        )
    amount = _positive(message)
    approval_code = _required(message, "approval_code", "the payment has no approval code")
    if options.transaction_id_is_payment_guid:
        transaction_id = _required(message, "payment_guid", "the payment has no GUID")
    else:
        transaction_id = approval_code
    mode, note = payment_mode(facts, options)
    kiosk = facts.get("kiosk") or ""
    try:
        reference = (
            f"<extensionsItem><extName>billerReference</extName><extValue>{text(kiosk)}</extValue></extensionsItem>"
            if kiosk
            else ""
        )
        xml = (
            f"<paymentTransaction><accountNumber>{text(message.account)}</accountNumber><{tender}><tender><extensionsList>"
            f"<extensionsItem><extName>transactionId</extName><extValue>{text(transaction_id)}</extValue></extensionsItem>{reference}"
            f"</extensionsList><amount>{amount_text(amount, options.service_version)}</amount>"
            f"<authorizationCode>{text(approval_code)}</authorizationCode><paymentMode>{text(mode)}</paymentMode>"
            f"</tender></{tender}></paymentTransaction>"
        )
    except NotXml as error:
        raise Refused(f"account, approval code, GUID or kiosk: {error}", message_id=message.id) from None
    return Payment(xml, transaction_id, f"{message.account}|{transaction_id}|{approval_code}|{mode}|{kiosk}", note)


def payment_mode(facts: Mapping[str, Any], options: Options) -> tuple[str, str]:
    """Return the paymentMode of a payment, and a note where its source has none of its own.

    Cards go by setting 64, ACH and e-checks by setting 65. The settings know no cash; it goes by setting 64, whose
    source ids are the same.

    Source: MSP-8
    """
    if facts.get("obd"):
        return OBD, ""
    by_bank = facts.get("tender") in ("ach", "echeck")
    source = facts.get("source")
    modes = options.ach_modes if by_bank else options.card_modes
    mode = modes.get(source) if isinstance(source, int) else None
    if mode is not None:
        return mode, ""
    setting = "65 (ACH)" if by_bank else "64 (cards)"
    return (
        options.default_mode,
        f"payment source {source} has no mode in setting {setting}; sent as {options.default_mode}",
    )


def paperless(message: Message, plan: Plan) -> str:
    """Write one ``customer`` whose EBILL extension says Y to enrol and N to un-enrol.

    :raises Refused: it cannot be said.

    Source: MSP-13
    """
    enrolled = _enrolled(message)
    try:
        return (
            f'<customer objectID="{attribute(message.account)}"><extensionsList><extensionsItem>'
            "<extName>EBILL</extName>"
            f"<extValue>{'Y' if enrolled else 'N'}</extValue><extType>{plan.options.ebill_extension_type}</extType>"
            "</extensionsItem></extensionsList></customer>"
        )
    except NotXml as error:
        raise Refused(f"account: {error}", message_id=message.id) from None


def autopay(message: Message, plan: Plan) -> str:
    """Write one ``historyComment``: ``AUTOPAY ON`` or ``AUTOPAY OFF``, at the biller's time with its offset.

    :raises Refused: it cannot be said; without a service location the biller's system would not know the place.

    Source: MSP-14, INT-8007
    """
    return _comment(message, f"AUTOPAY {'ON' if _enrolled(message) else 'OFF'}", plan)


SCHEDULED_WORDS = {"scheduled": "SCHED_PAY", "changed": "SCHED_PAY_UPDT", "cancelled": "SCHED_PAY_CNCL"}
"""The word that the biller's system reads for what became of a scheduled payment."""
LONGEST_COMMENT = 70
"""Characters of a comment that the biller's system reads."""


def scheduled(message: Message, plan: Plan) -> str:
    """Write one ``historyComment``: ``SCHED_PAY 08152024 156.25 121940013401``; changed it begins ``SCHED_PAY_UPDT``,
    cancelled ``SCHED_PAY_CNCL``. The amount has two places, whatever the service version.

    :raises Refused: it cannot be said, or not in 70 characters.

    Source: MSP-15
    """
    facts = message.facts
    word = SCHEDULED_WORDS.get(str(facts.get("status")))
    if word is None:
        raise Refused("the record does not say what became of the scheduled payment", message_id=message.id)
    try:
        day = date.fromisoformat(str(facts.get("on")))
    except ValueError:
        raise Refused("the record does not say on which day the payment is scheduled", message_id=message.id) from None
    amount = _positive(message)
    invoice = _required(message, "invoice", "the record names no bill")
    return _comment(message, _short(message, f"{word} {day:%m%d%Y} {amount:.2f} {invoice}"), plan)


def _positive(message: Message) -> Decimal:
    written = str(message.facts.get("amount", ""))
    if not _AMOUNT.fullmatch(written) or not (amount := Decimal(written)):
        raise Refused("the amount is not a sum above zero with at most two decimal places", message_id=message.id)
    return amount


def _short(message: Message, comment: str) -> str:
    if len(comment) > LONGEST_COMMENT:
        raise Refused(
            f"the comment would have {len(comment)} characters, {LONGEST_COMMENT} at most are read: its number is too long",
            message_id=message.id,
        )
    return comment


REVERSAL_WORDS = {
    "void": "PAY_VOID",
    "refund": "PAY_REFUND",
    "return": "PAY_RETURN",
    "chargeback": "PAY_CHGBK",
    "won": "PAY_CHGBK_WON",
}
"""The word of our format for how money of a payment went back."""


def reversal(message: Message, plan: Plan) -> str:
    """Write one ``historyComment`` in our own format, since MultiSpeak has no payment below zero: ``PAY_REFUND 08152024 156.25``
    and the transaction id that the payment was told with. The day is the biller's.

    :raises Refused: it cannot be said, or not in 70 characters.

    Source: PAY-33, MSP-7
    """
    facts = message.facts
    word = REVERSAL_WORDS.get(str(facts.get("kind")))
    if word is None:
        raise Refused("the record does not say how the money went back", message_id=message.id)
    amount = _positive(message)
    if plan.options.transaction_id_is_payment_guid:
        paid = _required(message, "payment_guid", "the payment has no GUID")
    else:
        paid = _required(message, "approval_code", "the payment has no approval code")
    day = message.occurred_at.astimezone(plan.zone)
    return _comment(message, _short(message, f"{word} {day:%m%d%Y} {amount:.2f} {paid}"), plan)


FEE_WORDS = {
    ("charged", False): "PAY_FEE",
    ("waived", False): "PAY_FEE_WAIVED",
    ("charged", True): "LATE_FEE",
    ("waived", True): "LATE_FEE_WAIVED",
}
"""The word of our format for a fee and for its waiver, for a payment and for a late bill."""


def fee(message: Message, plan: Plan) -> str:
    """Write one ``historyComment`` in our own format: ``PAY_FEE 08152024 25.00`` and the payment's id, or ``LATE_FEE 08152024
    5.00`` and the bill's number; taken back, ``PAY_FEE_WAIVED`` and ``LATE_FEE_WAIVED``. The day is the biller's.

    :raises Refused: it cannot be said, or not in 70 characters.

    Source: PAY-35, PAY-36
    """
    facts = message.facts
    late = bool(facts.get("invoice"))
    word = FEE_WORDS.get((str(facts.get("status")), late))
    if word is None:
        raise Refused("the record does not say what became of the fee", message_id=message.id)
    amount = _positive(message)
    if late:
        of = _required(message, "invoice", "the record names no bill")
    elif facts.get("approval_code") and not plan.options.transaction_id_is_payment_guid:
        of = _required(message, "approval_code", "the payment has no approval code")
    else:
        # A payment that was declined has no approval code.
        of = _required(message, "payment_guid", "the payment has no GUID")
    day = message.occurred_at.astimezone(plan.zone)
    return _comment(message, _short(message, f"{word} {day:%m%d%Y} {amount:.2f} {of}"), plan)


def inactive(message: Message, plan: Plan) -> str:
    """Write one ``historyComment`` in our own format: ``ACCT_INACTIVE 08152024 156.25 121940013401``.

    That is the biller's day, what is still owed of the late bill, and its number.

    :raises Refused: it cannot be said, or not in 70 characters.

    Source: PAY-35
    """
    amount = _positive(message)
    invoice = _required(message, "invoice", "the record names no bill")
    day = message.occurred_at.astimezone(plan.zone)
    return _comment(message, _short(message, f"ACCT_INACTIVE {day:%m%d%Y} {amount:.2f} {invoice}"), plan)


TEXT_WORDS = {"pending": "PENDING", "enrolled": "ON", "unenrolled": "OFF", "number_changed": "NUMBER"}
"""The word of our format for each status of pay by text."""


def pay_by_text(message: Message, plan: Plan) -> str:
    """Write one ``historyComment`` in our own format, at most 70 characters: ``PAYTEXT``, the status, the telephone.

    ``PAYTEXT PENDING +15555550123``, ``PAYTEXT ON +1555…``, ``PAYTEXT OFF +1555…``; a new number that serves at once says
    ``PAYTEXT NUMBER`` with the new number, and wherever the number changed, ``WAS`` and the old one follow.

    :raises Refused: it cannot be said.

    Source: MSP-16, PBT-9
    """
    word = TEXT_WORDS.get(str(message.facts.get("status")))
    if word is None:
        raise Refused("the record does not say where pay by text stands", message_id=message.id)
    phone, old = _required(message, "phone", "the record names no telephone"), message.facts.get("old_phone")
    return _comment(message, f"PAYTEXT {word} {phone}" + (f" WAS {old}" if old else ""), plan)


def _comment(message: Message, comment: str, plan: Plan) -> str:
    location = _required(
        message,
        "service_location",
        "the account has no service location (Custom4 of its latest invoice)",
    )
    if message.occurred_at.tzinfo is None:
        raise ValueError("occurred_at needs a time zone")
    logged = message.occurred_at.astimezone(plan.zone).isoformat(timespec="seconds")
    try:
        return (
            f"<historyComment><customerID>{text(message.account)}</customerID><serviceLocationID>{text(location)}</serviceLocationID>"
            f"<logTime>{logged}</logTime><comment>{text(comment)}</comment></historyComment>"
        )
    except NotXml as error:
        raise Refused(f"account or service location: {error}", message_id=message.id) from None


def _required(message: Message, fact: str, otherwise: str) -> str:
    value = message.facts.get(fact)
    if not isinstance(value, str) or not value.strip():
        raise Refused(otherwise, message_id=message.id)
    return value


def _enrolled(message: Message) -> bool:
    enrolled = message.facts.get("enrolled")
    if not isinstance(enrolled, bool):
        raise Refused("the record does not say whether it is on or off", message_id=message.id)
    return enrolled
