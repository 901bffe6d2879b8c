"""What every connector keeps to, over a real socket against the simulated system of its kind.

To add a connector, give its simulator and target in ``SYSTEMS``; ``docs/adding-a-connector.md``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from datapump.connectors.base import (
    Connector,
    ConnectorError,
    Delivered,
    Message,
    Misconfigured,
    OutcomeUnknown,
    Refused,
    Target,
    Undelivered,
)
from datapump.connectors.registry import CONNECTORS, connector_named
from tests.cis import Cis


def multispeak_target(cis: Cis) -> Target:
    return Target(
        url=cis.url, username=cis.username, password=cis.password, time_zone="America/Detroit",
        options={"transaction_id_is_payment_guid": True, "payments_per_envelope": 5, "card_modes": "0(WEB)|8(POS)"},
    )  # fmt: skip


SYSTEMS: dict[str, tuple[Callable[[Path], Cis], Callable[[Cis], Target]]] = {"multispeak": (Cis, multispeak_target)}
KINDS = ("payment", "paperless", "autopay")
AT = datetime(2026, 11, 22, 15, 8, 45, tzinfo=UTC)


@dataclasses.dataclass
class Line:
    """A connector, the system at its other end, and the wire between, which the delivery loop has in earnest."""

    connector: Connector
    target: Target
    system: Cis

    def tell(self, *messages: Message, target: Target | None = None) -> Sequence[Delivered | Undelivered]:
        envelope = self.connector.write(messages, target or self.target)
        assert list(envelope.message_ids) == [message.id for message in messages]
        try:
            status, body = self.system.post(envelope.body, envelope.headers)
        except OSError:
            return [Undelivered(message.id, OutcomeUnknown("line dropped")) for message in messages]
        results = self.connector.read(messages, status, body)
        assert [result.message_id for result in results] == [message.id for message in messages]
        assert self.system.password not in self.connector.mask(envelope.body) + self.connector.mask(body)
        return results

    def errors(self, *messages: Message, target: Target | None = None) -> list[ConnectorError | None]:
        return [
            result.error if isinstance(result, Undelivered) else None for result in self.tell(*messages, target=target)
        ]


def make_message(kind: str, account: str = "35909001", id: str = "r1", **facts: Any) -> Message:
    usual: dict[str, dict[str, Any]] = {
        "payment": {
            "amount": "232.10", "currency": "USD", "tender": "card", "approval_code": "A01 - Approved",
            "payment_guid": f"guid-{account}-{id}", "source": 0, "obd": False, "kiosk": "",
        },
        "paperless": {"enrolled": True},
        "autopay": {"enrolled": True, "service_location": "321045080002"},
    }  # fmt: skip
    return Message(id=id, kind=kind, account=account, occurred_at=AT, facts={**usual[kind], **facts})


@pytest.fixture(scope="module", params=sorted(CONNECTORS))
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    make_system, make_target = SYSTEMS[request.param]
    system = make_system(tmp_path_factory.mktemp(request.param))
    system.start()
    try:
        yield Line(connector_named(request.param), make_target(system), system)
    finally:
        system.stop()


@pytest.fixture
def line(started: Line) -> Line:
    started.system.reset()
    return started


def test_every_connector_is_known_by_its_name() -> None:
    for name, connector in CONNECTORS.items():
        assert connector.name == name
        assert connector_named(name) is connector
    with pytest.raises(LookupError, match="multispeak"):
        connector_named("smoke signals")


@pytest.mark.spec("MSP-6", "MSP-7", "MSP-8", "MSP-10")
def test_payments_of_every_tender_reach_the_book_as_they_are(line: Line) -> None:
    facts: list[dict[str, Any]] = [
        {"tender": "card", "amount": "232.10", "source": 8},
        {"tender": "ach", "amount": "0.05", "obd": True},
        {"tender": "echeck", "amount": "100000.00", "approval_code": "<é & \"co\">"},
        {"tender": "cash", "amount": "7.00", "kiosk": "BHappy", "source": 8},
    ]  # fmt: skip
    for version in (1, 2):
        line.system.reset()
        target = dataclasses.replace(line.target, options={**line.target.options, "service_version": version})
        messages = [make_message("payment", str(n), f"r{n}", **fact) for n, fact in enumerate(facts)]
        assert [type(result) for message in messages for result in line.tell(message, target=target)] == [Delivered] * 4
        book = line.system.book()
        assert [
            (
                row["account"],
                row["tender"],
                row["amount"],
                row["mode"],
                row["authorization"],
                row["transaction_id"],
                row["kiosk"],
            )
            for row in book["payments"]
        ] == [
            ("0", "creditCardPayment", "232.10", "POS", "A01 - Approved", "guid-0-r0", ""),
            ("1", "achPayment", "0.05", "OBD", "A01 - Approved", "guid-1-r1", ""),
            ("2", "eCheckPayment", "100000.00", "WEB", '<é & "co">', "guid-2-r2", ""),
            ("3", "cashPayment", "7.00", "POS", "A01 - Approved", "guid-3-r3", "BHappy"),
        ]
        assert book["totals"]["amount"] == "100239.15"


@pytest.mark.spec("MSP-13", "MSP-14")
def test_enrolments_reach_the_book_in_the_order_told(line: Line) -> None:
    for number, enrolled in enumerate((True, False, True)):
        for kind in ("paperless", "autopay"):
            assert line.errors(make_message(kind, "1001", f"{kind}{number}", enrolled=enrolled)) == [None]
    book = line.system.book()
    assert [(row["account"], row["ebill"], row["ext_type"]) for row in book["paperless"]] == [
        ("1001", "Y", "double"), ("1001", "N", "double"), ("1001", "Y", "double"),
    ]  # fmt: skip
    assert [(row["account"], row["service_location"], row["log_time"], row["comment"]) for row in book["comments"]] == [
        ("1001", "321045080002", "2026-11-22T10:08:45-05:00", f"AUTOPAY {word}") for word in ("ON", "OFF", "ON")
    ]
    assert book["payments"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_messages_make_the_same_envelope_and_saying_them_twice_pays_once(line: Line, kind: str) -> None:
    message = make_message(kind)
    first, second = line.connector.write([message], line.target), line.connector.write([message], line.target)
    assert first == second
    assert line.errors(message) == line.errors(message) == [None]
    book = line.system.book()
    if kind == "payment":
        assert [(row["amount"], row["times_received"]) for row in book["payments"]] == [("232.10", 2)]
        assert [row["same"] for row in book["repeats"]] == [True]
    if kind == "autopay":
        assert [row["seen_before"] for row in book["comments"]] == [False, True]


@pytest.mark.spec("MSP-11")
def test_payments_of_one_envelope_have_their_own_results(line: Line) -> None:
    most = line.connector.batch_limit("payment", line.target)
    assert most == 5
    messages = [make_message("payment", str(n), f"r{n}", amount=f"{n + 1}.00") for n in range(most)]
    line.system.control({"action": "failure", "account": "2", "text": "account is closed", "next": 1})
    results = line.errors(*messages)
    assert [type(error) for error in results] == [type(None), type(None), Refused, type(None), type(None)]
    assert "account is closed" in str(results[2])
    assert [row["account"] for row in line.system.book()["payments"]] == ["0", "1", "3", "4"]

    line.system.control(
        {"action": "missing", "account": "1", "next": 1}, {"action": "missing", "account": "2", "when": "before"}
    )
    assert [type(error) for error in line.errors(*messages)] == [
        type(None),
        OutcomeUnknown,
        type(None),
        type(None),
        type(None),
    ]
    # Sent again, byte for byte, each is in the book once.
    line.system.control()
    assert line.errors(*messages) == [None] * 5
    assert line.system.totals()["amount"] == "15.00"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rule", "expected", "processed"),
    [
        ({"action": "fault"}, OutcomeUnknown, False),
        ({"action": "fault", "status": 200, "when": "after"}, OutcomeUnknown, True),
        ({"action": "fault", "code": "Client"}, Refused, False),
        ({"action": "error_object", "text": "no such customer"}, Refused, False),
        ({"action": "error_object", "text": ""}, Refused, False),
        ({"action": "garbage", "kind": "html"}, OutcomeUnknown, True),
        ({"action": "garbage", "kind": "truncated"}, OutcomeUnknown, True),
        ({"action": "garbage", "kind": "empty"}, OutcomeUnknown, True),
        ({"action": "garbage", "kind": "binary"}, OutcomeUnknown, True),
        ({"action": "garbage", "kind": "other"}, OutcomeUnknown, True),
        ({"action": "garbage", "kind": "html", "when": "before", "status": 500}, OutcomeUnknown, False),
        ({"action": "drop_before"}, OutcomeUnknown, False),
        ({"action": "drop_after"}, OutcomeUnknown, True),
        ({"action": "wrong_password"}, Misconfigured, False),
        ({"action": "http_status", "status": 404}, Misconfigured, False),
        ({"action": "http_status"}, OutcomeUnknown, False),
        ({"action": "slow", "seconds": 0.01}, None, True),
    ],
)
def test_every_trouble_says_what_to_do_and_saying_it_again_makes_it_good(
    line: Line, kind: str, rule: dict[str, Any], expected: type[ConnectorError] | None, processed: bool
) -> None:
    message = make_message(kind)
    line.system.control({**rule, "next": 1})
    [error] = line.errors(message)
    assert type(error) is (expected or type(None))
    part = {"payment": "payments", "paperless": "paperless", "autopay": "comments"}[kind]
    assert len(line.system.book()[part]) == int(processed)
    assert [rule["fired"] for rule in line.system.switches()["rules"]] == [1]
    assert line.errors(message) == [None]
    if kind == "payment":
        assert line.system.totals()["amount"] == "232.10"


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_credentials_are_the_operators_business_and_change_nothing(line: Line, kind: str) -> None:
    for target in (
        dataclasses.replace(line.target, password="wrong"),
        dataclasses.replace(line.target, username="wrong"),
    ):
        [error] = line.errors(make_message(kind), target=target)
        assert type(error) is Misconfigured
    totals = line.system.totals()
    assert (totals["payments"], totals["comments"], totals["paperless"]) == (0, 0, 0)


def test_a_ping_is_answered_and_changes_nothing(line: Line) -> None:
    def ping(target: Target) -> None:
        envelope = line.connector.write_ping(target)
        assert envelope.message_ids == ()
        line.connector.read_ping(*line.system.post(envelope.body, envelope.headers))

    before = line.system.book()
    ping(line.target)
    with pytest.raises(Misconfigured):
        ping(dataclasses.replace(line.target, password="wrong"))
    line.system.control({"action": "fault", "next": 1})
    with pytest.raises(OutcomeUnknown):
        ping(line.target)
    line.system.control({"action": "garbage", "next": 1})
    with pytest.raises(ConnectorError):
        ping(line.target)
    assert line.system.book() == before


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_said_is_refused_before_it_is_sent(line: Line, kind: str) -> None:
    for account in ("", "1\x002"):
        with pytest.raises(Refused) as refused:
            line.connector.write([make_message(kind, account, "r9")], line.target)
        assert refused.value.message_id == "r9"
    with pytest.raises(Refused):
        line.connector.write([dataclasses.replace(make_message(kind), kind="unheard of")], line.target)
    for target in (
        dataclasses.replace(line.target, url=""),
        dataclasses.replace(line.target, options={"unheard_of": 1}),
    ):
        with pytest.raises(Misconfigured):
            line.connector.write([make_message(kind)], target)


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_messages_or_two_of_one_account_are_the_callers_mistake(line: Line, kind: str) -> None:
    most = line.connector.batch_limit(kind, line.target)
    with pytest.raises(ValueError, match="envelope"):
        line.connector.write([make_message(kind, str(n), f"r{n}") for n in range(most + 1)], line.target)
    with pytest.raises(ValueError, match="envelope"):
        line.connector.write([make_message(kind, "1", "r1"), make_message(kind, "1", "r2")], line.target)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", [b"", b"nonsense", b"\x00\xff", b"<a/>", b'{"ok": true}'])
def test_nonsense_is_never_a_delivery(line: Line, kind: str, body: bytes) -> None:
    for status in (200, 302, 404, 500, 999):
        [result] = line.connector.read([make_message(kind)], status, body)
        assert isinstance(result, Undelivered) and result.message_id == "r1" and str(result.error)
    with pytest.raises(ConnectorError):
        line.connector.read_ping(200, body)
