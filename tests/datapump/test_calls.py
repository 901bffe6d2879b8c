"""Calls over real sockets: what each failure means, what is read, what may be reached."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datapump.calls import Answer, Call, Calls, Guard, get_once, post_once, read_rest
from datapump.connectors.base import MAX_ANSWER, Envelope, Misconfigured, NotSent, OutcomeUnknown

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def server(*answers: bytes, pause: float = 0.0) -> Iterator[str]:
    """Listen, read a request from each connection and answer with the next of these bytes; nothing is a closed line."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            with line:
                line.recv(65_536)
                time.sleep(pause)
                try:
                    line.sendall(answer)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/cis"
    finally:
        listening.close()
        thread.join(5)


def envelope(url: str) -> Envelope:
    return Envelope("PingURL", url, {"Content-Type": "text/xml"}, b"<ping/>")


def test_an_answer() -> None:
    with server(OK) as url:
        answer = post_once(envelope(url), 5, None)
    assert (answer.sent, answer.status, answer.body, answer.error) == (True, 200, b"ok", None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "The connection broke before the biller's system had answered."),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            "The connection broke before the biller's system had answered.",
        ),
        (b"SMTP ready\r\n\r\n", "The biller's system answered something that is not HTTP."),
    ],
    ids=["dropped", "cut off", "not HTTP"],
)
def test_a_line_that_breaks_is_unknown(answer: bytes, words: str) -> None:
    with server(answer) as url:
        got = post_once(envelope(url), 5, None)
    assert isinstance(got.error, OutcomeUnknown)
    assert str(got.error) == words
    assert not got.error.answered


def test_a_slow_answer_is_unknown() -> None:
    with server(OK, pause=1.0) as url:
        answer = post_once(envelope(url), 0.3, None)
    assert isinstance(answer.error, OutcomeUnknown)
    assert str(answer.error) == "The biller's system did not answer within 0.3 seconds."
    assert 0.3 <= answer.seconds < 1.0


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1/", "The biller's system refuses connections."),
        ("http://cis.invalid/", "The name of the biller's system cannot be found."),
    ],
)
def test_what_was_never_sent(url: str, words: str) -> None:
    answer = post_once(envelope(url), 5, None)
    assert isinstance(answer.error, NotSent)
    assert str(answer.error) == words


def test_plain_http_behind_https_is_not_sent() -> None:
    with server(OK) as url:
        answer = post_once(envelope(url.replace("http:", "https:")), 5, None)
    assert isinstance(answer.error, NotSent)
    assert str(answer.error) == "No secure connection to the biller's system can be made."


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * (MAX_ANSWER + 500_000)
    with server(endless) as url:
        answer = post_once(envelope(url), 20, None)
    assert MAX_ANSWER < len(answer.body) <= MAX_ANSWER + 70_000


@pytest.mark.spec("MSP-20")
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_redirect_is_not_followed(method: str) -> None:
    with listening() as (port, came):
        moved = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
        with server(moved.encode()) as url:
            answer = ask(method, url)
        assert not came()
    assert (answer.status, answer.body, answer.error) == (302, b"", None)


def ask(method: str, url: str, networks: Sequence[str] | None = None, seconds: float = 5) -> Answer:
    if method == "POST":
        return post_once(envelope(url), seconds, networks)
    return get_once(url, timeout=seconds, most=100, networks=networks)


def test_a_document_is_fetched_and_no_more_of_it_than_is_wanted() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def serve() -> None:
        line, _ = listening.accept()
        with line:
            heard.append(line.recv(65_536))
            line.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1_000_000)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listening.getsockname()[1]
    answer = get_once(
        f"http://127.0.0.1:{port}/eprint/?ACCT=1%262&SUB=%C3%A9", timeout=5, most=100_000,
        networks=None,
    )  # fmt: skip
    thread.join(5)
    listening.close()
    assert answer.status == 200
    assert 100_000 < len(answer.body) <= 100_000 + 70_000
    lines = heard[0].split(b"\r\n")
    assert lines[0] == b"GET /eprint/?ACCT=1%262&SUB=%C3%A9 HTTP/1.1"
    assert lines[-2:] == [b"", b""]
    assert f"Host: 127.0.0.1:{port}".encode() in lines
    assert not [one for one in lines if one.lower().startswith((b"content-", b"transfer-", b"cookie", b"referer"))]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("10.1.2.3", True),  # of the networks given
        ("10.2.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("192.168.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.1.2.3", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("::127.0.0.1", False),
        ("64:ff9b::127.0.0.1", False),  # what a gateway leads to IPv4
        ("64:ff9b::a01:203", True),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("fd00::1", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("not an address", False),
        ("2130706433", False),
    ],
)
def test_which_addresses_may_be_reached(address: str, allowed: bool) -> None:
    assert Guard(["10.1.0.0/16"]).allows(address) is allowed
    assert Guard(None).allows(address)


@pytest.mark.spec("MSP-20")
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "[::1]", "2130706433", "127.1", "0x7f000001", "0177.0.0.1", "0", "0.0.0.0", "127.0.0.1.",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "１２７.0.0.1", "127。0。0。1",
        "a.example@127.0.0.1", "LOCALHOST",
    ],
)  # fmt: skip
def test_our_own_network_is_never_called_however_it_is_spelt(method: str, host: str) -> None:
    with listening() as (port, came):
        answer = ask(method, f"http://{host}:{port}/", ())
        assert isinstance(answer.error, Misconfigured | NotSent)
        assert answer.status is None
        assert not came()
        # It is there, for whoever is allowed to.
        assert ask(method, f"http://127.0.0.1:{port}/", ["127.0.0.0/8"], 0.2).error is not None
        assert came()


@pytest.mark.spec("MSP-20")
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_name_cannot_change_its_address_between_check_and_connection(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answers = iter(["198.18.0.7", "127.0.0.1", "127.0.0.1"])  # first a network that is allowed, then our own
    real = socket.getaddrinfo

    def name_server(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != "rebinding.example":
            return real(host, port, *args, **options)
        asked.append(str(host))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", name_server)
    with listening() as (port, came):
        first = ask(method, f"http://rebinding.example:{port}/", ["198.18.0.0/15"], 0.4)
        assert isinstance(first.error, NotSent | OutcomeUnknown)
        assert asked == ["rebinding.example"]  # looked up once, and what was looked up is what is called
        second = ask(method, f"http://rebinding.example:{port}/", ["198.18.0.0/15"], 0.4)
        assert isinstance(second.error, Misconfigured)
        assert not came()


@contextmanager
def listening() -> Iterator[tuple[int, Callable[[], bool]]]:
    """Listen on this machine; the function says whether anybody has come."""
    waiting = socket.create_server(("127.0.0.1", 0))
    waiting.setblocking(False)

    def came() -> bool:
        try:
            waiting.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    with waiting:
        yield waiting.getsockname()[1], came


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120), (" 7 ", 7), ("3600", 3600), ("3601", 3600), ("9" * 400, 3600),
        ("Sun, 22 Nov 2026 12:05:00 GMT", 300), ("Sunday, 22-Nov-26 12:05:00 GMT", 300),
        ("Sun Nov 22 12:05:00 2026", 300), ("Sun, 22 Nov 2026 07:05:00 -0500", 300), ("Mon, 23 Nov 2026 12:00:00 GMT", 3600),
        ("", None), ("0", None), ("-5", None), ("1.5", None), ("soon", None), ("٣", None),
        ("Sun, 22 Nov 2026 11:59:59 GMT", None), ("Sun, 22 Nov 99999 12:00:00 GMT", None),
    ],
)  # fmt: skip
def test_how_long_somebody_asks_to_be_left_alone(said: str, seconds: int | None) -> None:
    rest = read_rest(said, now=datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert rest == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(("status", "rest"), [(429, 120), (503, 120), (500, None), (200, None)])
def test_only_who_has_too_much_to_do_is_heard(status: int, rest: int | None) -> None:
    with server(b"HTTP/1.1 %d x\r\nretry-after: 120\r\nContent-Length: 0\r\n\r\n" % status) as url:
        answer = post_once(envelope(url), 5, None)
    assert (answer.status, answer.rest) == (status, None if rest is None else timedelta(seconds=rest))


@pytest.mark.parametrize("url", ["ftp://cis.example/", "cis.example", "http://", "http://[::1/"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(Misconfigured):
        Guard(None).checked(url)


def test_lanes_are_bounded_and_do_not_wait_for_each_other() -> None:
    busy: list[int] = []
    lock = threading.Lock()
    most = 0

    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.2)
    stop = threading.Event()

    def answer(line: socket.socket) -> None:
        nonlocal most
        with line:
            line.recv(65_536)
            with lock:
                busy.append(1)
                most = max(most, len(busy))
            time.sleep(0.1)
            with lock:
                busy.pop()
            line.sendall(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    def serve() -> None:
        while not stop.is_set():
            try:
                line, _ = listening.accept()
            except TimeoutError:
                continue
            threading.Thread(target=answer, args=(line,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    deaf = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    dead = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
    try:
        with Calls(None) as calls:
            calls.feed("dead", 5, [Call("dead", envelope(dead), 30, number) for number in range(20)])
            calls.feed("well", 3, [Call("well", envelope(url), 30, number) for number in range(12)])
            answers = [calls.answers.get(timeout=10) for _ in range(12)]
            assert {one.call.lane for one in answers} == {"well"}
            assert {one.call.ticket for one in answers} == set(range(12))
            assert most == 3
            # What the dead lane has not sent yet comes back; its calls under way do not hold up the end.
            calls.recall("dead")
            back = [calls.answers.get(timeout=5) for _ in range(15)]
            assert {(one.sent, one.call.lane) for one in back} == {(False, "dead")}
            calls.feed("late", 1, [Call("late", envelope(url), 30, 1, not_after=calls.clock() - 1)])
            assert not calls.answers.get(timeout=5).sent
    finally:
        stop.set()
        thread.join(5)
        listening.close()
        deaf.close()
