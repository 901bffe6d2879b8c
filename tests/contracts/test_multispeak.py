"""What MultiSpeak alone says and is answered, against the simulated CIS: modes, extensions, results of one of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from datapump.connectors.base import Delivered, OutcomeUnknown, Refused
from datapump.connectors.registry import connector_named
from tests.contracts.systems import MULTISPEAK
from tests.contracts.test_connectors import Line, make_message


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    cis = MULTISPEAK.make(tmp_path_factory.mktemp("cis"))
    cis.start()
    yield Line(connector_named("multispeak"), MULTISPEAK.target(cis), cis, MULTISPEAK)
    cis.stop()


@pytest.fixture
def line(started: Line) -> Line:
    started.system.reset()
    return started


@pytest.mark.spec("MSP-6", "MSP-7", "MSP-8", "MSP-9")
def test_payments_of_every_tender_carry_mode_authorization_and_kiosk(line: Line) -> None:
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
        names = ("account", "tender", "amount", "mode", "authorization", "transaction_id", "kiosk")
        assert [tuple(row[name] for name in names) for row in book["payments"]] == [
            ("0", "creditCardPayment", "232.10", "POS", "A01 - Approved", "guid-0-r0", ""),
            ("1", "achPayment", "0.05", "OBD", "A01 - Approved", "guid-1-r1", ""),
            ("2", "eCheckPayment", "100000.00", "WEB", '<é & "co">', "guid-2-r2", ""),
            ("3", "cashPayment", "7.00", "POS", "A01 - Approved", "guid-3-r3", "BHappy"),
        ]
        assert book["totals"]["amount"] == "100239.15"


@pytest.mark.spec("MSP-13", "MSP-14")
def test_enrolments_carry_place_time_and_type(line: Line) -> None:
    for kind in ("paperless", "autopay"):
        assert line.errors(make_message(kind, "1001", kind)) == [None]
    book = line.system.book()
    assert [(row["account"], row["ebill"], row["ext_type"]) for row in book["paperless"]] == [("1001", "Y", "double")]
    assert [(row["account"], row["service_location"], row["log_time"], row["comment"]) for row in book["comments"]] == [
        ("1001", "321045080002", "2026-11-22T10:08:45-05:00", "AUTOPAY ON")
    ]


@pytest.mark.spec("MSP-11")
def test_one_refused_or_missing_of_five_is_that_ones_alone(line: Line) -> None:
    most = line.connector.batch_limit("payment", line.target)
    assert most == 5
    messages = [make_message("payment", str(n), f"r{n}", amount=f"{n + 1}.00") for n in range(most)]
    line.system.control({"action": "failure", "account": "2", "text": "account is closed", "next": 1})
    results = line.errors(*messages)
    assert [type(error) for error in results] == [type(None), type(None), Refused, type(None), type(None)]
    assert "account is closed" in str(results[2])
    assert [told.account for told in line.effects()] == ["0", "1", "3", "4"]
    line.system.control(
        {"action": "missing", "account": "1", "next": 1}, {"action": "missing", "account": "2", "when": "before"}
    )
    found = [type(error) for error in line.errors(*messages)]
    assert found == [type(None), OutcomeUnknown, type(None), type(None), type(None)]
    # Sent again, byte for byte, each is in the book once.
    line.system.control()
    assert line.errors(*messages) == [None] * 5
    assert sorted(told.what for told in line.effects()) == ["1.00", "2.00", "3.00", "4.00", "5.00"]
