"""The simulator's own driver: what it tells of an exchange, its options, and what any bytes of its processor mean.

What every driver must do is in ``test_gateways.py``, and runs over this one as well.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.gateways import registry, simulator
from payments.gateways.base import Answer, GatewayError, Misconfigured, NotSent, OutcomeUnknown, Refused, Result
from payments.gateways.lines import Line, mask_numbers
from tests.contracts.gateways import MERCHANT, charge, error_of, only
from tests.processor import SECRET, Processor


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    with Processor(tmp_path_factory.mktemp("processor")) as running:
        yield running


@pytest.mark.spec("PAY-17")
def test_the_exchange_is_told_without_secret_and_with_numbers_masked(processor: Processor) -> None:
    processor.reset()
    told: list[tuple[str, str]] = []
    gateway = registry.open_gateway(
        "simulator",
        {"base_url": processor.url, "merchant": MERCHANT},
        SECRET,
        on_exchange=lambda direction, text: told.append((direction, text)),
    )
    digits = "4" + "0" * 14 + "2"
    request = charge(processor.token(MERCHANT), account=digits)
    answer = only(gateway.send([request]))
    assert isinstance(answer, Answer)
    assert [direction for direction, _ in told] == ["sent", "received"]
    text = "\n".join(text for _, text in told)
    assert digits not in text
    assert "****0002" in text
    assert SECRET not in text
    assert request.key in text
    assert answer.processor_reference in text


@given(st.text(alphabet="0123456789 -ab", max_size=60))
def test_masking_leaves_no_long_run_of_digits_that_stands_alone(text: str) -> None:
    masked = mask_numbers(text)
    words = [word for word in masked.replace("*", " ").split() if word.isdigit()]
    assert all(len(word) < 12 or len(word) > 19 for word in words)


@pytest.mark.parametrize(("code", "result"), [("302", 20), ("999", Result.HARD_DECLINE), ("777", Result.HARD_DECLINE)])
@pytest.mark.spec("PAY-4", "PAY-23")
def test_codes_become_results_by_a_table_and_unknown_ones_a_hard_decline(
    processor: Processor, code: str, result: int
) -> None:
    processor.reset()
    processor.control(v_code=code)
    gateway = processor.gateway(MERCHANT, codes={"302": 20})
    answer = only(gateway.send([charge(processor.token(MERCHANT))]))
    assert isinstance(answer, Answer)
    assert (answer.code, answer.result) == (code, result)


@pytest.mark.parametrize("result", [777, 888, 999, 1000, 1008, -1])
@pytest.mark.spec("PAY-4")
def test_no_code_may_become_a_mark_of_the_engine(processor: Processor, result: int) -> None:
    with pytest.raises(Misconfigured, match="cannot become"):
        processor.gateway(MERCHANT, codes={"302": result})


def test_a_settle_time_shorter_than_the_time_out_is_misconfigured(processor: Processor) -> None:
    with pytest.raises(Misconfigured, match="settle_seconds"):
        processor.gateway(MERCHANT, timeout=10, batch_timeout=20, settle_seconds=15)
    assert processor.gateway(MERCHANT, timeout=1, batch_timeout=2, settle_seconds=2).settle_time == timedelta(seconds=2)


@pytest.mark.parametrize("address", ["ftp://127.0.0.1", "127.0.0.1:80", "http://user:word@127.0.0.1", "http://[::1"])
def test_an_address_that_is_none_is_misconfigured(address: str) -> None:
    with pytest.raises(Misconfigured, match="address"):
        Line(address, headers={})


def test_a_secret_that_would_break_the_header_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="characters"):
        Line("http://127.0.0.1", headers={"Authorization": "Bearer a\r\nX-Merchant: other"})


def test_a_port_that_does_not_speak_tls_is_not_sent(processor: Processor) -> None:
    line = Line(processor.url.replace("http:", "https:"), headers={}, connect_retries=0)
    with pytest.raises(NotSent):
        line.exchange("GET", "/v1/ping", timeout=5)


@contextlib.contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """Listen for one request and answer it with these bytes, whatever it was; gives the address."""

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def _http(status: str, body: bytes, length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


_GOOD = b'{"answers": [{"key": "k", "code": "100", "amount": "12.34"}]}'


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (_http("422 No", b'{"error": {"message": "no"}}'), Refused),
        # Only the processor's own words make a refusal: somebody else's page may stand before a charge that happened.
        (_http("422 No", b"<html>blocked</html>"), OutcomeUnknown),
        (_http("302 Found", b""), Misconfigured),
        (_http("404 Not Found", b"<html>"), Misconfigured),
        (_http("502 Bad Gateway", b"<html>"), OutcomeUnknown),
        (_http("200 OK", _GOOD, len(_GOOD) + 1), OutcomeUnknown),
        (_http("200 OK", _GOOD.replace(b"12.34", b"12.35")), OutcomeUnknown),
        (_http("200 OK", _GOOD.replace(b', "amount": "12.34"', b"")), OutcomeUnknown),
        (_http("200 OK", _GOOD.replace(b'"k"', b'"other"')), OutcomeUnknown),
        # Without a length, an answer that was cut looks whole.
        (b"HTTP/1.1 200 OK\r\n\r\n" + _GOOD, OutcomeUnknown),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3f\r\n" + _GOOD, OutcomeUnknown),
        (_http("200 OK", b"", 1 << 40), OutcomeUnknown),
        (b"SMTP ready\r\n\r\n", OutcomeUnknown),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", OutcomeUnknown),
    ],
)
def test_what_other_answers_mean(reply: bytes, error: type[GatewayError]) -> None:
    with answering(reply) as address:
        gateway = registry.open_gateway("simulator", {"base_url": address, "merchant": MERCHANT}, SECRET)
        assert error_of(only(gateway.send([charge("token", key="k")]))) is error


def test_the_time_out_is_for_the_whole_exchange() -> None:
    """A peer that begins to answer just in time wins no further time."""
    timeout = 1.0

    def begin_late() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            time.sleep(0.8 * timeout)
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            ended.wait(5)

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        thread = threading.Thread(target=begin_late)
        thread.start()
        line = Line(f"http://127.0.0.1:{server.getsockname()[1]}", headers={})
        before = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="within 1 seconds"):
            line.exchange("GET", "/", timeout=timeout)
        waited = time.monotonic() - before
        ended.set()
        thread.join(10)
    assert timeout <= waited < 1.6 * timeout


def test_a_good_answer_by_hand_is_an_answer() -> None:
    """The control of the test above."""
    with answering(_http("200 OK", _GOOD)) as address:
        gateway = registry.open_gateway("simulator", {"base_url": address, "merchant": MERCHANT}, SECRET)
        answer = only(gateway.send([charge("token", key="k")]))
        assert isinstance(answer, Answer)
        assert (answer.result, answer.amount) == (Result.PASS, Decimal("12.34"))


# The readers of answers, with anything at all

_anything: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just([]) | st.just({})
)
_answer = st.fixed_dictionaries(
    {"key": st.sampled_from(["a", "b"]) | _anything},
    optional={
        "code": st.sampled_from(["100", "302", "x"]) | _anything,
        "amount": st.sampled_from(["12.34", "NaN", "1e99", "-1"]) | _anything,
        "at": st.sampled_from(["2026-11-22T12:00:00+00:00", "2026-11-22", "0001-01-01T00:00+14:00"]) | _anything,
        "approval_code": _anything,
        "reference": _anything,
        "message": _anything,
        "error": _anything,
    },
)


@given(st.binary(max_size=200))
def test_any_bytes_are_answers_or_unknown(body: bytes) -> None:
    with contextlib.suppress(OutcomeUnknown):
        simulator.read_answers(body, simulator.RESULTS)
    with contextlib.suppress(OutcomeUnknown):
        simulator.read_response_file(body, merchant=MERCHANT, codes=simulator.RESULTS)


@given(st.lists(_answer, max_size=5))
def test_any_answers_are_read_or_unknown_and_contradictions_are_no_answer(answers: list[dict[str, Any]]) -> None:
    try:
        read = simulator.read_answers(json.dumps({"answers": answers}).encode(), simulator.RESULTS)
    except OutcomeUnknown:
        return
    assert set(read) == {answer["key"] for answer in answers}
    for key, answer in read.items():
        told = {str(one.get("code")) for one in answers if one["key"] == key}
        if isinstance(answer, Answer):
            assert told == {answer.code}
            assert 0 <= answer.result <= 17
            assert answer.amount is None or answer.amount.is_finite()


def test_an_approval_and_a_decline_of_one_key_are_no_answer() -> None:
    body = b'{"answers": [{"key": "a", "code": "100"}, {"key": "a", "code": "302"}]}'
    assert isinstance(simulator.read_answers(body, simulator.RESULTS)["a"], OutcomeUnknown)


_lines = st.lists(
    st.tuples(
        st.uuids().map(str),
        st.sampled_from(sorted(simulator.RESULTS)),
        st.text(st.characters(exclude_categories=["C"]), max_size=30),
        st.integers(0, 10**8).map(lambda minor: Decimal(minor) / 100),
    ),
    max_size=6,
)


def _response_file(lines: list[tuple[str, str, str, Decimal]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    moment = "2026-11-22T00:00:00+00:00"
    writer.writerow(["H", "file-1", MERCHANT, "1970-01-01T00:00:00+00:00", moment])
    for key, code, message, amount in lines:
        writer.writerow(["D", key, code, message, "123456", "ref_1", amount, "USD", moment, ""])
    writer.writerow(["T", len(lines), sum((amount for *_, amount in lines), Decimal(0))])
    return out.getvalue()


@given(_lines)
def test_a_response_file_is_read_as_it_was_written(lines: list[tuple[str, str, str, Decimal]]) -> None:
    text = _response_file(lines)
    file = simulator.read_response_file(text.encode(), merchant=MERCHANT, codes=simulator.RESULTS)
    assert [(answer.key, answer.code, answer.amount) for answer in file.answers] == [
        (key, code, amount) for key, code, _, amount in lines
    ]


@given(_lines.filter(bool), st.data())
def test_a_response_file_that_lost_a_part_is_never_read(
    lines: list[tuple[str, str, str, Decimal]], data: st.DataObject
) -> None:
    text = _response_file(lines)
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(OutcomeUnknown):
        simulator.read_response_file(text[:cut].encode(), merchant=MERCHANT, codes=simulator.RESULTS)
    rows = text.split("\n")
    del rows[data.draw(st.integers(1, len(lines)))]
    with pytest.raises(OutcomeUnknown):
        simulator.read_response_file("\n".join(rows).encode(), merchant=MERCHANT, codes=simulator.RESULTS)
