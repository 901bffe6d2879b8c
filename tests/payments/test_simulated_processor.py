"""The simulated processor itself: its book, its switches, and what it never does."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from config.environment import ROOT
from payments.gateways.base import Answer, ChargeRequest, Command, Gateway, Lost, Result
from tests.processor import CONTROL_SECRET, SECRET, Processor

MERCHANT = "city-water"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    with Processor(tmp_path_factory.mktemp("processor")) as processor:
        yield processor


@pytest.fixture
def processor(running: Processor) -> Processor:
    running.reset(tokens=True)
    return running


def charges(token: str, count: int = 1, **changes: Any) -> list[ChargeRequest]:
    values: dict[str, Any] = {
        "command": Command.CHARGE,
        "amount": Decimal("12.34"),
        "currency": "USD",
        "token": token,
        "tender": "card",
        "transaction_type": "internet",
    }
    return [ChargeRequest(key=str(uuid.uuid4()), **{**values, **changes}) for _ in range(count)]


def results(gateway: Gateway, requests: list[ChargeRequest]) -> list[int | None]:
    return [answer.result if isinstance(answer, Answer) else None for answer in gateway.send(requests)]


def ask(processor: Processor, method: str, path: str, secret: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", processor.port, timeout=10)
    headers = {"Authorization": f"Bearer {secret}", "X-Merchant": MERCHANT}
    connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


# Where it runs


@pytest.mark.parametrize("demo", [None, "", "0", "true"])
@pytest.mark.spec("PAY-23")
def test_it_refuses_to_start_where_it_is_no_demo(tmp_path: Path, demo: str | None) -> None:
    book = tmp_path / "book.sqlite"
    command = [sys.executable, "-m", "payments.gateways.simulator_service", "--port", "0", "--book", str(book)]
    command += ["--secret", "s", "--control-secret", "c"]
    environment = {"PATH": os.environ.get("PATH", "")} | ({} if demo is None else {"DEMO": demo})
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "DEMO=1" in ended.stderr
    assert not book.exists()


def test_it_imports_nothing_of_the_project_but_the_test_numbers() -> None:
    program = (
        "import sys, payments.gateways.simulator_service.server\n"
        "print(*[name for name in sys.modules"
        " if name.split('.')[0] in ('billing', 'config', 'datapump', 'django', 'payments', 'sms', 'tests')])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={}, capture_output=True, text=True, timeout=30, check=True
    )
    others = {name for name in ended.stdout.split() if not name.startswith("payments.gateways.simulator_service")}
    assert others == {"payments", "payments.gateways", "payments.gateways.test_numbers"}


@pytest.mark.spec("PAY-23")
def test_the_book_outlives_a_kill(tmp_path: Path) -> None:
    processor = Processor(tmp_path)
    try:
        processor.start()
        requests = charges(processor.token(MERCHANT), 50)
        assert results(processor.gateway(MERCHANT), requests) == [Result.PASS] * 50
        before = processor.book()
        processor.stop(signal.SIGKILL)
        processor.start()
        assert processor.book() == before
        # Duplicates are still known, and nothing is charged again.
        assert results(processor.gateway(MERCHANT), requests) == [Result.PASS] * 50
        assert set(processor.charges().values()) == {1}
    finally:
        processor.stop()


# The book


@pytest.mark.spec("PAY-23")
def test_the_book_says_what_was_truly_charged(processor: Processor) -> None:
    card, account = processor.token(MERCHANT), processor.token(MERCHANT, kind="bank")
    other = processor.token("town-gas")
    gateway = processor.gateway(MERCHANT)
    requests = charges(card, 2) + charges(account, tender="bank", amount=Decimal("100.00"))
    requests += charges(card, amount=Decimal("7.00"), currency="CAD")
    requests += charges(processor.token(MERCHANT, "hard_decline"))
    assert results(gateway, requests) == [0, 0, 0, 0, Result.HARD_DECLINE]
    (paid,) = gateway.lookup([requests[0].key])
    assert isinstance(paid, Answer)
    refund = charges(card, command=Command.REFUND, amount=Decimal("2.34"), reference=paid.processor_reference)
    assert results(gateway, refund) == [Result.PASS]
    assert results(processor.gateway("town-gas"), charges(other, amount=Decimal("1.00"))) == [Result.PASS]

    def total(merchant: str, currency: str, tender: str, *rest: Any) -> dict[str, Any]:
        names = ("payments", "amount", "refunds", "refunded")
        moved = {"reversals": 0, "reversed": "0.00"}
        return (
            {"merchant": merchant, "currency": currency, "tender": tender} | dict(zip(names, rest, strict=True)) | moved
        )

    book = processor.book()
    assert book["totals"] == [
        total(MERCHANT, "CAD", "card", 1, "7.00", 0, "0.00"),
        total(MERCHANT, "USD", "bank", 1, "100.00", 0, "0.00"),
        total(MERCHANT, "USD", "card", 2, "24.68", 1, "2.34"),
        total("town-gas", "USD", "card", 1, "1.00", 0, "0.00"),
    ]
    assert book["charged_twice"] == 0
    row = book["rows"][0]
    assert (row["key"], row["times_charged"], row["amount"], row["token"], row["tender"], row["merchant"]) == (
        requests[0].key,
        1,
        "12.34",
        card,
        "card",
        MERCHANT,
    )
    assert processor.book("town-gas")["totals"] == [total("town-gas", "USD", "card", 1, "1.00", 0, "0.00")]


@pytest.mark.spec("PAY-23")
def test_duplicates_are_known_for_the_window_and_no_longer(processor: Processor) -> None:
    gateway = processor.gateway(MERCHANT)
    requests = charges(processor.token(MERCHANT))
    processor.control(duplicate_window_seconds=0.4)
    assert results(gateway, requests) == results(gateway, requests) == [Result.PASS]
    assert processor.charges() == {requests[0].key: 1}
    # Another message under the same key is no repeat: it is refused, and counted.
    (refused,) = gateway.send([replace(requests[0], transaction_type="moto")])
    assert isinstance(refused, Lost)
    row = processor.book()["rows"][0]
    assert (row["times_charged"], row["altered"], row["type"]) == (1, 1, requests[0].transaction_type)
    time.sleep(0.5)
    assert results(gateway, requests) == [Result.PASS]
    book = processor.book()
    assert (book["rows"][0]["times_charged"], book["charged_twice"]) == (2, 1)


@pytest.mark.spec("PAY-23")
def test_days_pass_in_a_moment_and_what_is_held_arrives_when_it_is_told_to(processor: Processor) -> None:
    gateway = processor.gateway(MERCHANT)
    requests = charges(processor.token(MERCHANT))
    week = 7 * 24 * 3600.0
    processor.strike("drop_then_late", seconds=3600.0)
    assert results(gateway, requests) == [None]
    assert processor.charges() == {}
    assert (processor.let_arrive(), processor.let_arrive()) == (1, 0)
    assert processor.charges() == {requests[0].key: 1}
    processor.control(clock_ahead_seconds=week - 60)
    assert results(gateway, requests) == [Result.PASS]
    assert processor.charges() == {requests[0].key: 1}
    # Its window for repeats is over.
    processor.control(clock_ahead_seconds=week + 60)
    assert results(gateway, requests) == [Result.PASS]
    assert processor.charges() == {requests[0].key: 2}


def test_a_reset_empties_the_book_and_lets_go_of_what_is_held(processor: Processor) -> None:
    gateway = processor.gateway(MERCHANT)
    token = processor.token(MERCHANT)
    results(gateway, charges(token, 3))
    processor.control(duplicate_detection=False, v_code="302")
    processor.strike("drop_then_late", seconds=0.3)
    (lost,) = gateway.send(charges(token))
    assert isinstance(lost, Lost)
    assert processor.book()["held"] == 1
    processor.reset()
    time.sleep(0.4)
    book = processor.book()
    assert (book["rows"], book["totals"], book["held"]) == ([], [], 0)
    switches = processor.control()
    assert (switches["duplicate_detection"], switches["v_code"], switches["faults"]) == (True, None, {})
    assert results(gateway, charges(token)) == [Result.PASS]  # tokens stay unless asked otherwise


# Tokens


def test_tokens_by_reference_are_made_once(processor: Processor) -> None:
    wanted = [{"reference": "payer-1", "last4": "1111"}, {"reference": "payer-2", "outcome": "soft_decline"}]
    first = processor.tokens(MERCHANT, wanted)
    assert processor.tokens(MERCHANT, wanted) == first
    assert first[0].endswith("1111")
    assert processor.tokens("town-gas", wanted) != first
    assert results(processor.gateway(MERCHANT), charges(first[0]) + charges(first[1])) == [0, Result.SOFT_DECLINE]


def test_a_token_can_be_made_to_behave_otherwise(processor: Processor) -> None:
    token = processor.token(MERCHANT, "soft_decline")
    gateway = processor.gateway(MERCHANT)
    assert results(gateway, charges(token)) == [Result.SOFT_DECLINE]
    assert ask(processor, "POST", "/control/tokens", CONTROL_SECRET, {token: "approve"}) == (200, {"changed": [token]})
    assert results(gateway, charges(token)) == [Result.PASS]


@pytest.mark.parametrize(
    "wanted", [{"outcome": "sometimes"}, {"kind": "cheque"}, {"last4": "12345"}, {"expires_on": "soon"}, {"holder": 7}]
)
def test_a_token_that_cannot_be_is_refused(processor: Processor, wanted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"outcome|last4|expires_on|holder"):
        processor.tokens(MERCHANT, [{}, wanted])
    with sqlite3.connect(processor.directory / "processor.sqlite") as book:
        assert book.execute("select count(*) from token").fetchone() == (0,)


# Switches


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"avs": "address"}, Result.AVS_FAIL),
        ({"avs": "location"}, Result.LOCATION_FAIL),
        ({"avs": "zip"}, Result.ZIP_FAIL),
        ({"cvv_fails": True}, Result.CVV_BAD),
        ({"v_code": "503"}, Result.SERVICE_UNAVAILABLE),
        ({"minimum": "20.00"}, Result.UNDER_MINIMUM),
    ],
)
@pytest.mark.spec("PAY-23")
def test_answers_change_while_it_runs(processor: Processor, changes: dict[str, Any], result: Result) -> None:
    gateway = processor.gateway(MERCHANT)
    token = processor.token(MERCHANT)
    assert results(gateway, charges(token)) == [Result.PASS]
    processor.control(**changes)
    assert results(gateway, charges(token)) == [result]
    processor.control(heal=True, minimum="0.01")
    assert results(gateway, charges(token)) == [Result.PASS]


@pytest.mark.spec("PAY-23")
def test_the_same_seed_strikes_the_same_messages(processor: Processor) -> None:
    gateway = processor.gateway(MERCHANT)
    token = processor.token(MERCHANT)

    def run(seed: int) -> list[bool]:
        processor.control(seed=seed, faults={"drop_before": {"probability": 0.3}})
        return [results(gateway, charges(token)) == [None] for _ in range(40)]

    first = run(7)
    assert run(7) == first
    assert run(8) != first
    assert 4 <= sum(first) <= 22
    assert processor.control()["struck"]["drop_before"] >= 2 * sum(first)


@pytest.mark.spec("PAY-23")
def test_the_next_so_many_are_struck_and_no_more(processor: Processor) -> None:
    gateway = processor.gateway(MERCHANT)
    token = processor.token(MERCHANT)
    processor.strike("error_after", times=2)
    assert [results(gateway, charges(token)) for _ in range(4)] == [[None], [None], [0], [0]]


def test_a_fault_for_batches_leaves_online_messages_alone(processor: Processor) -> None:
    gateway = processor.gateway(MERCHANT)
    token = processor.token(MERCHANT)
    processor.strike("drop_before", on=["batch"])
    assert results(gateway, charges(token)) == [0]
    assert results(gateway, charges(token, 2)) == [None, None]


@pytest.mark.parametrize(
    "changes",
    [
        {"no_such_switch": 1},
        {"duplicate_detection": "yes"},
        {"duplicate_window_seconds": -1},
        {"minimum": "NaN"},
        {"clock_ahead_seconds": "soon"},
        {"clock_ahead_seconds": -1e9},
        {"minimum": 5},
        {"v_code": ""},
        {"avs": "nose"},
        {"seed": "x"},
        {"parents": ["https://pay.example/path"]},
        {"parents": ["https://pay.example; script-src *"]},
        {"faults": {"earthquake": {"next": 1}}},
        {"faults": {"slow": {"probability": 1.5}}},
        {"faults": {"slow": {"seconds": "long"}}},
        {"faults": {"slow": {"next": -1}}},
        {"faults": {"slow": {"on": ["everything"]}}},
        {"faults": {"slow": {"how": 1}}},
        {"heal": False},
    ],
)
def test_a_switch_that_cannot_be_changes_nothing(processor: Processor, changes: dict[str, Any]) -> None:
    before = processor.control()
    with pytest.raises(ValueError, match=r"."):
        processor.control(cvv_fails=True, **changes)
    assert processor.control() == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/control"),
        ("POST", "/control"),
        ("POST", "/control/reset"),
        ("POST", "/control/tokens"),
        ("POST", "/control/response-files"),
        ("POST", "/control/arrivals"),
        ("POST", "/v1/tokens/test"),
        ("GET", "/book"),
        ("GET", "/book/totals"),
    ],
)
@pytest.mark.parametrize("secret", [SECRET, "", CONTROL_SECRET + "x"])
def test_a_merchant_cannot_touch_the_switches_or_the_book(
    processor: Processor, method: str, path: str, secret: str
) -> None:
    token = processor.token(MERCHANT)
    results(processor.gateway(MERCHANT), charges(token))
    before = processor.book(), processor.control()
    status, answer = ask(processor, method, path, secret, {"cvv_fails": True} if method == "POST" else None)
    assert (status, answer["error"]["message"]) == (401, "the control secret is wrong")
    assert (processor.book(), processor.control()) == before


def test_response_files_may_be_made_whenever_they_are_listed(processor: Processor) -> None:
    gateway = processor.gateway(MERCHANT)
    request = charges(processor.token(MERCHANT))
    results(gateway, request)
    assert list(gateway.response_files()) == []
    processor.control(response_file_on_list=True)
    (file,) = gateway.response_files()
    assert [answer.key for answer in file.answers] == [request[0].key]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/transactions", {"command": "charge"}),
        ("/v1/transactions", [1]),
        ("/v1/batches", {"requests": []}),
        ("/v1/batches", {"requests": [{"key": "good"}, {"key": 5}]}),
        ("/v1/batches", {"requests": [{"key": "good"}, None]}),
        ("/v1/lookups", {"keys": [1]}),
        ("/v1/tokens/describe", {"token": ["tok"]}),
    ],
)
def test_a_malformed_message_is_refused_whole(processor: Processor, path: str, body: Any) -> None:
    status, answer = ask(processor, "POST", path, SECRET, body)
    assert status == 422
    assert answer["error"]["message"]
    assert processor.book()["rows"] == []


def test_secrets_belong_to_their_merchant(tmp_path: Path) -> None:
    environment = {"PATH": os.environ.get("PATH", ""), "DEMO": "1"}
    command = [sys.executable, "-m", "payments.gateways.simulator_service", "--port", "0"]
    command += ["--book", str(tmp_path / "book.sqlite"), "--control-secret", "c"]
    command += ["--secret", "city-water=one", "--secret", "town-gas=two"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rsplit(":", 1)[1])
            statuses = {}
            for merchant in ("city-water", "town-gas", "nobody"):
                for secret in ("one", "two"):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                    headers = {"Authorization": f"Bearer {secret}", "X-Merchant": merchant}
                    connection.request("GET", "/v1/ping", headers=headers)
                    statuses[merchant, secret] = connection.getresponse().status
                    connection.close()
        finally:
            process.terminate()
            process.wait(10)
    assert {who for who, status in statuses.items() if status == 200} == {("city-water", "one"), ("town-gas", "two")}
    assert set(statuses.values()) == {200, 401}
