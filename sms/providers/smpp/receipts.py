"""Delivery receipts, and what the codes of a message centre mean.

A receipt says what it says in its own fields, or only in a text whose form SMPP suggests and nobody is held to.

Source: SMPP 3.4 sections 5.1.3, 5.2.28, 5.3.2.31 and appendix B; 3GPP TS 29.002 section 17.6.6; evidence 3.5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smpplib import consts

from sms.providers.base import Ignored, Reason, Status, StatusReport
from sms.providers.smpp.links import status_code

_MESSAGE_TYPE = 0x3C
_RECEIPT_TYPES = frozenset({0x04, 0x20})  # of the message centre, final or on the way
_GSM = 3

# What is said to a text that is not taken. Whatever is not here is no text that this message centre takes.
REFUSALS: Mapping[str, Reason] = {
    status_code(status): reason
    for status, reason in {
        consts.SMPP_ESME_RINVDSTADR: Reason.BAD_NUMBER,
        consts.SMPP_ESME_RINVDSTTON: Reason.BAD_NUMBER,
        consts.SMPP_ESME_RINVDSTNPI: Reason.BAD_NUMBER,
        consts.SMPP_ESME_RDELIVERYFAILURE: Reason.UNEXPLAINED,
    }.items()
}
TOO_MANY = frozenset({consts.SMPP_ESME_RTHROTTLED, consts.SMPP_ESME_RMSGQFUL, consts.SMPP_ESME_RX_T_APPN})
OURS_TO_MEND = frozenset(
    {
        consts.SMPP_ESME_RINVSRCADR, consts.SMPP_ESME_RINVSRCTON, consts.SMPP_ESME_RINVSRCNPI,
        consts.SMPP_ESME_RINVSERTYP, consts.SMPP_ESME_RINVSYSTYP, consts.SMPP_ESME_RINVBNDSTS,
        consts.SMPP_ESME_RINVPASWD, consts.SMPP_ESME_RINVSYSID, consts.SMPP_ESME_RINVCMDID,
    }
)  # fmt: skip
IN_DOUBT = frozenset({consts.SMPP_ESME_RSYSERR, consts.SMPP_ESME_RUNKNOWNERR})

STATES: Mapping[str, Status] = {
    "ENROUTE": Status.SENDING,
    "ACCEPTD": Status.SENT,
    "DELIVRD": Status.DELIVERED,
    "EXPIRED": Status.UNDELIVERED,
    "UNDELIV": Status.UNDELIVERED,
    "DELETED": Status.CANCELED,
    "REJECTD": Status.FAILED,
}
_STATE_NUMBERS = dict(
    enumerate(("ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD"), 1)
)

# By state, and for a text that could not be handed over by the error of the phone network.
REASONS: Mapping[str, Reason] = {
    "EXPIRED": Reason.EXPIRED,
    "REJECTD": Reason.FILTERED,
    "UNDELIV:001": Reason.NUMBER_UNKNOWN,
    "UNDELIV:005": Reason.NUMBER_UNKNOWN,
    "UNDELIV:006": Reason.UNREACHABLE,
    "UNDELIV:009": Reason.NUMBER_UNKNOWN,
    "UNDELIV:011": Reason.BAD_NUMBER,
    "UNDELIV:012": Reason.BAD_NUMBER,
    "UNDELIV:013": Reason.BLOCKED,
    "UNDELIV:021": Reason.CARRIER_UNREACHABLE,
    "UNDELIV:027": Reason.UNREACHABLE,
    "UNDELIV:031": Reason.UNREACHABLE,
    "UNDELIV:032": Reason.UNREACHABLE,
}

_ID = re.compile(r"\bid:(\S+)", re.IGNORECASE)
_STATE = re.compile(r"\bstat:([A-Z]+)", re.IGNORECASE)
_ERROR = re.compile(r"\berr:([0-9A-Z]{1,8})\b", re.IGNORECASE)


def is_receipt(message: Any) -> bool:
    """Say whether a message tells of a text of ours; one from a phone does not."""
    return message.esm_class & _MESSAGE_TYPE in _RECEIPT_TYPES


def read(message: Any, codes: Mapping[str, Reason], *, hexadecimal: bool) -> StatusReport | Ignored:
    """Read a receipt; ``codes`` go before our table, by state with error, by error, or by state."""
    text = (message.short_message or message.message_payload or b"").decode("ascii", "replace")
    provider_id = read_id(message.receipted_message_id or b"") or _found(_ID, text)
    state = _STATE_NUMBERS.get(message.message_state or 0) or _found(_STATE, text).upper()
    if not provider_id or state not in STATES:
        return Ignored("a receipt that says nothing certain of a text")
    status, error = STATES[state], _network_error(message.network_error_code or b"") or _found(_ERROR, text)
    report = StatusReport(provider_id=in_decimals(provider_id) if hexadecimal else provider_id, status=status)
    if status not in {Status.UNDELIVERED, Status.FAILED}:
        return report
    if error.isascii() and error.isdigit():
        error = f"{int(error):03d}"
    code = f"{state}:{error}" if error else state
    reason = next((codes[name] for name in (code, error, state) if name in codes), None)
    if reason is None:
        reason = REASONS.get(code) or REASONS.get(state, Reason.UNEXPLAINED)
    return StatusReport(provider_id=report.provider_id, status=status, reason=reason, code=code)


def read_id(octets: bytes) -> str:
    """Read the name that a message centre gave a text."""
    return octets.rstrip(b"\0").decode("ascii", "replace")


def in_decimals(name: str) -> str:
    """Write a name in decimals that was written in hexadecimals; one that is no number stays."""
    try:
        return str(int(name, 16))
    except ValueError:
        return name


def _network_error(octets: bytes) -> str:
    return str(int.from_bytes(octets[1:])) if len(octets) == 3 and octets[0] == _GSM and any(octets[1:]) else ""


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
