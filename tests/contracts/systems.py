"""The systems that connectors speak to in the contract suite, each seen through the same eyes.

A connector's entry says how to start the simulated system at its other end, what a target for it is, what each trouble
that the system can make means to the connector, and what its book tells, in words that all systems share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datapump.connectors.base import ConnectorError, Misconfigured, NotSent, OutcomeUnknown, Refused, Target
from tests.cis import Cis
from tests.receivers import Receiver


class System(Protocol):
    """A simulated system as a process of its own."""

    username: str
    password: str

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def reset(self) -> None: ...

    def book(self) -> dict[str, Any]: ...

    def control(self, *rules: Mapping[str, Any], seed: int = 0) -> dict[str, Any]: ...

    def switches(self) -> dict[str, Any]: ...

    def post(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]: ...


@dataclass(frozen=True, slots=True)
class Trouble:
    """One mood of a system: the rule that makes it, what the connector must say, and whether the message took effect."""

    rule: Mapping[str, Any]
    error: type[ConnectorError] | None
    booked: bool


@dataclass(frozen=True, slots=True)
class Told:
    """One effect in a system's book: of a payment its amount, of an enrolment whether it is on, of a text its status;
    ``id`` tells it from others, ``times`` is how often it was heard.
    """

    kind: str
    account: str
    what: str
    id: str = ""
    times: int = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """What the suite must know of a connector."""

    make: Callable[[Path], Any]
    target: Callable[[Any], Target]
    effects: Callable[[dict[str, Any]], list[Told]]
    payments: Mapping[str, str]
    """How a rule of the system's switches says that it is for payments."""
    troubles: tuple[Trouble, ...]
    status_says_it_all: bool = False
    """Whether a 2xx without anything in it is a success by the system's own rules."""
    once: frozenset[str] = frozenset(("payment",))
    """The kinds of which a repeat has no second effect."""


# ---- MultiSpeak --------------------------------------------------------------------------------------------------------


_SCHEDULED = {"SCHED_PAY": "scheduled", "SCHED_PAY_UPDT": "changed", "SCHED_PAY_CNCL": "cancelled"}


_BACK = {
    "PAY_VOID": "void", "PAY_REFUND": "refund", "PAY_RETURN": "return", "PAY_CHGBK": "chargeback", "PAY_CHGBK_WON": "won",
}  # fmt: skip


_FEES = {
    "PAY_FEE": "charged", "PAY_FEE_WAIVED": "waived", "LATE_FEE": "charged", "LATE_FEE_WAIVED": "waived",
}  # fmt: skip


def _cis_target(cis: Cis) -> Target:
    return Target(
        url=cis.url, username=cis.username, password=cis.password, time_zone="America/Detroit",
        options={"transaction_id_is_payment_guid": True, "payments_per_envelope": 5, "card_modes": "0(WEB)|8(POS)"},
    )  # fmt: skip


def _cis_effects(book: dict[str, Any]) -> list[Told]:
    words = {"ON": "on", "OFF": "off", "PENDING": "pending", "NUMBER": "number_changed"}
    told = [
        Told("payment", row["account"], row["amount"], row["transaction_id"], row["times_received"])
        for row in book["payments"]
    ]
    told += [Told("paperless", row["account"], {"Y": "on", "N": "off"}[row["ebill"]]) for row in book["paperless"]]
    for row in book["comments"]:
        name, word = row["comment"].split(" ")[:2]
        if name in _SCHEDULED:
            told.append(Told("scheduled", row["account"], _SCHEDULED[name]))
            continue
        if name in _BACK:
            _name, _day, amount, paid = row["comment"].split(" ")
            told.append(Told("reversal", row["account"], f"{_BACK[name]} {amount}", paid))
            continue
        if name in _FEES:
            _name, _day, amount, of = row["comment"].split(" ")
            told.append(Told("fee", row["account"], f"{_FEES[name]} {amount}", of))
            continue
        if name == "ACCT_INACTIVE":
            _name, _day, amount, bill = row["comment"].split(" ")
            told.append(Told("inactive", row["account"], amount, bill))
            continue
        kind = {"AUTOPAY": "autopay", "PAYTEXT": "pay_by_text"}[name]
        texted = {"on": "enrolled", "off": "unenrolled"} if kind == "pay_by_text" else {}
        told.append(Told(kind, row["account"], texted.get(words[word], words[word])))
    return told


MULTISPEAK = Entry(
    make=Cis,
    target=_cis_target,
    effects=_cis_effects,
    payments={"operation": "CommitPaymentTransaction"},
    troubles=(
        Trouble({"action": "fault"}, OutcomeUnknown, False),
        Trouble({"action": "fault", "status": 200, "when": "after"}, OutcomeUnknown, True),
        Trouble({"action": "fault", "code": "Client"}, Refused, False),
        Trouble({"action": "error_object", "text": "no such customer"}, Refused, False),
        Trouble({"action": "error_object", "text": ""}, Refused, False),
        Trouble({"action": "garbage", "kind": "html"}, OutcomeUnknown, True),
        Trouble({"action": "garbage", "kind": "truncated"}, OutcomeUnknown, True),
        Trouble({"action": "garbage", "kind": "empty"}, OutcomeUnknown, True),
        Trouble({"action": "garbage", "kind": "binary"}, OutcomeUnknown, True),
        Trouble({"action": "garbage", "kind": "other"}, OutcomeUnknown, True),
        Trouble({"action": "garbage", "kind": "html", "when": "before", "status": 500}, OutcomeUnknown, False),
        Trouble({"action": "drop_before"}, OutcomeUnknown, False),
        Trouble({"action": "drop_after"}, OutcomeUnknown, True),
        Trouble({"action": "wrong_password"}, Misconfigured, False),
        Trouble({"action": "http_status", "status": 404}, Misconfigured, False),
        Trouble({"action": "http_status", "status": 429}, NotSent, False),
        Trouble({"action": "http_status"}, OutcomeUnknown, False),
        Trouble({"action": "slow", "seconds": 0.01}, None, True),
    ),
)


# ---- Signed webhooks ---------------------------------------------------------------------------------------------------

_KIND_OF = {
    "payment.posted": "payment",
    "payment.reversed": "reversal",
    "fee.changed": "fee",
    "account.inactive": "inactive",
    "paperless.changed": "paperless",
    "autopay.changed": "autopay",
    "scheduled_payment.changed": "scheduled",
    "pay_by_text.changed": "pay_by_text",
}


def _receiver_effects(book: dict[str, Any]) -> list[Told]:
    def what(data: dict[str, Any]) -> str:
        if "enrolled" in data:
            return "on" if data["enrolled"] else "off"
        if "reversal_id" in data:
            return f"{data['kind']} {data['amount']}"
        if "fee_id" in data:
            return f"{data['status']} {data['amount']}"
        return str(data.get("status") or data["amount"])

    return [
        Told(
            _KIND_OF[event["type"]], event["data"]["account"], what(event["data"]),
            event["data"].get("payment_id") or _bill(event), event["times_received"],
        )
        for event in book["events"]
    ]  # fmt: skip


def _bill(event: dict[str, Any]) -> str:
    """Name the bill of what is about a late one."""
    return str(event["data"]["invoice"]) if event["type"] in {"fee.changed", "account.inactive"} else ""


def _answers(status: int, error: type[ConnectorError]) -> Trouble:
    return Trouble({"action": "status", "status": status}, error, False)


WEBHOOKS = Entry(
    make=Receiver,
    target=lambda receiver: Target(url=receiver.url, password=receiver.password, time_zone="America/Detroit"),
    effects=_receiver_effects,
    payments={"type": "payment.posted"},
    troubles=(
        _answers(400, Refused),
        _answers(401, Misconfigured),
        _answers(403, Misconfigured),
        _answers(404, Misconfigured),
        _answers(408, OutcomeUnknown),
        _answers(410, Misconfigured),
        _answers(422, Refused),
        _answers(429, NotSent),
        _answers(500, OutcomeUnknown),
        _answers(502, OutcomeUnknown),
        _answers(503, OutcomeUnknown),
        _answers(504, OutcomeUnknown),
        Trouble({"action": "status", "status": 500, "when": "after"}, OutcomeUnknown, True),
        Trouble({"action": "redirect"}, Misconfigured, False),
        Trouble({"action": "redirect", "status": 308}, Misconfigured, False),
        Trouble({"action": "wrong_secret"}, Misconfigured, False),
        Trouble({"action": "drop_before"}, OutcomeUnknown, False),
        Trouble({"action": "drop_after"}, OutcomeUnknown, True),
        Trouble({"action": "status", "status": 200, "text": "<html>", "when": "after"}, None, True),
        Trouble({"action": "slow", "seconds": 0.01}, None, True),
    ),
    status_says_it_all=True,
    once=frozenset(_KIND_OF.values()),
)

SYSTEMS: Mapping[str, Entry] = {"multispeak": MULTISPEAK, "webhooks": WEBHOOKS}
