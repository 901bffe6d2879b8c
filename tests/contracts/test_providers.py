"""What every text provider driver must do, run over each of them against its provider on a real socket.

A new driver joins by adding a bench to ``BENCHES``: how to open it, how to make its provider misbehave or refuse a phone,
how to read what the provider truly took, and how to get a webhook out of it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import itertools
import json
import logging
import secrets
import socket
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from sms.providers import base, registry, simulator, twilio
from sms.providers.base import (
    FINAL,
    REMEDIES,
    Accepted,
    Action,
    Ignored,
    Inbound,
    Listener,
    Lost,
    Misconfigured,
    NotAuthentic,
    NotSent,
    OptOut,
    OutcomeUnknown,
    Outgoing,
    Provider,
    ProviderError,
    Reason,
    Rejected,
    Remedy,
    Status,
    StatusReport,
    Webhook,
    later,
)
from sms.providers.lines import mask_numbers
from tests.message_centre import PASSWORD, MessageCentre, listening
from tests.telephone import SECRET, Callbacks, Telephone

LINE = "+12065550100"
PHONE = "+12065550177"
OTHER = "+12065550178"
PUBLIC = "https://pay.example/sms/webhooks/7"
Told = Inbound | StatusReport | Ignored
BODIES = ["Pay $84.10 – reply PAY", "¡Hola! 🛑\nAdiós & goodbye+100%", "x" * 1600, " ", "0"]


class Bench(Protocol):
    """One driver with its provider, and hands on the provider that a driver does not have."""

    speaks_http: bool  # otherwise over a connection that the driver keeps
    brings_our_key: bool  # in its status reports
    says_when: bool  # to come again
    sends_pictures: bool
    tells_what_it_acted_on: bool

    def open(self, **options: Any) -> Provider: ...
    def open_elsewhere(self, address: str) -> Provider: ...
    def open_with_wrong_secret(self) -> Provider: ...
    def strike(self, fault: str, seconds: float = 1.0) -> None: ...
    def refuse(self, phone: str, reason: Reason) -> None: ...
    def taken(self) -> list[tuple[str, str, str]]: ...
    def hear_inbound(
        self, provider: Provider, sender: str, body: str, *, media: int = 0, stop: bool = False
    ) -> Told: ...
    def hear_report(self, provider: Provider, key: str, reason: Reason | None) -> Told: ...


class HttpBench(Bench):
    """A provider that is asked over HTTP and tells by webhook."""

    speaks_http = brings_our_key = says_when = sends_pictures = tells_what_it_acted_on = True
    signature: str  # the header that holds it

    @abstractmethod
    def inbound(self, sender: str, body: str, *, media: int = 0, stop: bool = False) -> Webhook: ...
    @abstractmethod
    def report(self, key: str, reason: Reason | None) -> Webhook: ...
    @abstractmethod
    def unknown_event(self) -> Webhook: ...
    @abstractmethod
    def tampered(self, webhook: Webhook) -> Iterator[Webhook]: ...

    def hear_inbound(self, provider: Provider, sender: str, body: str, *, media: int = 0, stop: bool = False) -> Told:
        return provider.read(self.inbound(sender, body, media=media, stop=stop))

    def hear_report(self, provider: Provider, key: str, reason: Reason | None) -> Told:
        return provider.read(self.report(key, reason))


class SimulatorBench(HttpBench):
    """The simulated telephone network, whose webhooks are those that it truly posts."""

    signature = simulator.SIGNATURE
    conditions = {reason: code for code, reason in sorted(simulator.REASONS.items(), reverse=True)}

    def __init__(self, world: World) -> None:
        self.telephone, self.callbacks = world.telephone, world.callbacks
        self.telephone.reset()
        self.telephone.set_line(LINE, self.callbacks.url)
        self.callbacks.clear()

    def open(self, **options: Any) -> Provider:
        return self.telephone.provider(callback_url=self.callbacks.url, **options)

    def open_elsewhere(self, address: str) -> Provider:
        return registry.open_provider(
            "simulator", {"base_url": address, "connect_timeout": 0.5}, SECRET, callback_url=self.callbacks.url
        )

    def open_with_wrong_secret(self) -> Provider:
        return registry.open_provider(
            "simulator", {"base_url": self.telephone.url}, "wrong", callback_url=self.callbacks.url
        )

    def strike(self, fault: str, seconds: float = 1.0) -> None:
        self.telephone.strike(fault, seconds=seconds)

    def refuse(self, phone: str, reason: Reason) -> None:
        self.telephone.set_condition(phone, self.conditions[reason])

    def taken(self) -> list[tuple[str, str, str]]:
        return [(text["line"], text["phone"], text["body"]) for text in self.telephone.book()["texts"]]

    def inbound(self, sender: str, body: str, *, media: int = 0, stop: bool = False) -> Webhook:
        self.callbacks.clear()
        self.telephone.control(managed_opt_out=stop)
        self.telephone.type(sender, LINE, body, media=media)
        return self.callbacks.wait_for(1)[0]

    def report(self, key: str, reason: Reason | None) -> Webhook:
        self.callbacks.clear()
        self.telephone.control(reports=["delivered", "undelivered", "failed"])
        self.telephone.set_condition(PHONE, self.conditions[reason] if reason else "")
        (result,) = self.open().send([Outgoing(key, LINE, PHONE, "Bill")])
        assert isinstance(result, Accepted)
        return self.callbacks.wait_for(1)[0]

    def unknown_event(self) -> Webhook:
        return self._signed(b'{"event": "weather"}')

    def tampered(self, webhook: Webhook) -> Iterator[Webhook]:
        yield replace(webhook, body=webhook.body.replace(PHONE.encode(), OTHER.encode()))
        old = str(int(time.time()) - 301).encode()
        yield self._signed(webhook.body, at=old)
        yield self._signed(webhook.body, secret=b"another")

    def _signed(self, body: bytes, *, at: bytes = b"", secret: bytes = SECRET.encode()) -> Webhook:
        at = at or str(int(time.time())).encode()
        signature = hmac.new(secret, b".".join((at, PUBLIC.encode(), body)), hashlib.sha256).hexdigest()
        return Webhook(PUBLIC, {self.signature: f"t={at.decode()},v1={signature}"}, body)


class Twilio:
    """The part of Twilio's API that sends a text, written after its reference, with faults; and how it signs."""

    account = f"AC{'0123456789abcdef' * 2}"
    token = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.refusals: dict[str, int] = {}
        self.fault, self.seconds = "", 1.0
        twilio_server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                twilio_server.answer(self)

            def do_GET(self) -> None:
                twilio_server.answer(self)

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", "0"))).decode()
        fault, self.fault = self.fault, ""
        credentials = base64.b64encode(f"{self.account}:{self.token}".encode()).decode()
        if request.headers["Authorization"] != f"Basic {credentials}":
            return self._reply(request, 401, {"code": 20003, "message": "Authenticate", "status": 401})
        if request.command == "GET":
            return self._reply(request, 200, {"sid": self.account, "status": "active"})
        match fault:
            case "drop_before":
                request.connection.shutdown(socket.SHUT_RDWR)
                return None
            case "error_before":
                return self._reply(request, 503, {"code": 20503, "message": "Unavailable", "status": 503})
            case "rate_limit":
                refusal = {"code": 20429, "message": "Too Many Requests", "status": 429}
                return self._reply(request, 429, refusal, **{"Retry-After": str(int(self.seconds))})
        form = dict(parse_qsl(body, keep_blank_values=True))
        code = self.refusals.get(form["To"])
        if code is not None:
            message = f"The message to {form['To']} failed: {form['Body']}"
            return self._reply(request, 400, {"code": code, "message": message, "status": 400})
        self.requests.append((request.path, dict(request.headers.items()), form))
        match fault:
            case "drop_after":
                request.connection.shutdown(socket.SHUT_RDWR)
                return None
            case "error_after":
                return self._reply(request, 500, {"code": 20500, "message": "Internal", "status": 500})
            case "garbage":
                return self._reply(request, 201, b'\x00\xff<html>{"sid": [')
            case "slow":
                time.sleep(self.seconds)
            case "another":
                return self._reply(request, 201, {**self._message(form), "to": OTHER})
        return self._reply(request, 201, self._message(form))

    def _message(self, form: dict[str, str]) -> dict[str, Any]:
        return {
            "sid": f"SM{secrets.token_hex(16)}", "account_sid": self.account, "to": form["To"], "from": form.get("From"),
            "body": form["Body"], "status": "queued", "error_code": None, "error_message": None, "num_segments": "1",
            "direction": "outbound-api", "api_version": "2010-04-01", "num_media": "0", "price": None,
            "price_unit": "USD", "date_created": "Sun, 22 Nov 2026 15:08:45 +0000", "date_sent": None,
            "date_updated": "Sun, 22 Nov 2026 15:08:45 +0000", "messaging_service_sid": None,
            "uri": f"/2010-04-01/Accounts/{self.account}/Messages/x.json", "subresource_uris": {},
        }  # fmt: skip

    @staticmethod
    def _reply(request: http.server.BaseHTTPRequestHandler, status: int, body: Any, **headers: str) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            request.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(payload)))
            request.end_headers()
            request.wfile.write(payload)
        except OSError:
            return  # the caller hung up

    def webhook(
        self, url: str, fields: list[tuple[str, str]], *, token: str = "", signed_url: str = "", **headers: str
    ) -> Webhook:
        """Sign as its documentation says: the address, then every parameter's name and value, sorted by name."""
        text = (signed_url or url) + "".join(f"{name}{value}" for name, value in sorted(fields))
        digest = hmac.new((token or self.token).encode(), text.encode(), hashlib.sha1).digest()
        signature = base64.b64encode(digest).decode()
        kind = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
        return Webhook(url, {**kind, "X-Twilio-Signature": signature, **headers}, urlencode(fields).encode())


class TwilioBench(HttpBench):
    """Twilio's API as its reference has it, on loopback; webhooks signed by code that is not the driver's."""

    signature = twilio.SIGNATURE
    codes = {
        Reason.UNSUBSCRIBED: 21610, Reason.BAD_NUMBER: 21614, Reason.UNREACHABLE: 30003, Reason.BLOCKED: 30004,
        Reason.NUMBER_UNKNOWN: 30005, Reason.CARRIER_UNREACHABLE: 30006, Reason.FILTERED: 30007,
        Reason.UNEXPLAINED: 30008, Reason.UNREGISTERED: 30034,
    }  # fmt: skip

    def __init__(self, world: World) -> None:
        self.twilio = world.twilio
        self.twilio.requests.clear()
        self.twilio.refusals.clear()
        self.twilio.fault = ""

    def open(self, **options: Any) -> Provider:
        return self._open(self.twilio.url, self.twilio.token, **options)

    def open_elsewhere(self, address: str) -> Provider:
        return self._open(address, self.twilio.token, connect_timeout=0.5)

    def open_with_wrong_secret(self) -> Provider:
        return self._open(self.twilio.url, "wrong")

    def _open(self, address: str, token: str, **options: Any) -> Provider:
        merged = {"account_sid": self.twilio.account, "base_url": address, "timeout": 10.0, **options}
        on_exchange = merged.pop("on_exchange", None)
        return registry.open_provider("twilio", merged, token, callback_url=PUBLIC, on_exchange=on_exchange)

    def strike(self, fault: str, seconds: float = 1.0) -> None:
        self.twilio.fault, self.twilio.seconds = fault, seconds

    def refuse(self, phone: str, reason: Reason) -> None:
        self.twilio.refusals[phone] = self.codes[reason]

    def taken(self) -> list[tuple[str, str, str]]:
        return [(form["From"], form["To"], form["Body"]) for _, _, form in self.twilio.requests]

    def inbound(self, sender: str, body: str, *, media: int = 0, stop: bool = False) -> Webhook:
        name = f"SM{secrets.token_hex(16)}"
        fields = [
            ("ToCountry", "US"), ("MessageSid", name), ("SmsMessageSid", name), ("SmsSid", name), ("FromCity", ""),
            ("SmsStatus", "received"), ("Body", body), ("From", sender), ("To", LINE), ("NumMedia", str(media)),
            ("NumSegments", "1"), ("AccountSid", self.twilio.account), ("ApiVersion", "2010-04-01"),
            *([("OptOutType", "STOP")] if stop else []),
        ]  # fmt: skip
        return self.twilio.webhook(PUBLIC, fields)

    def report(self, key: str, reason: Reason | None) -> Webhook:
        (result,) = self.open().send([Outgoing(key, LINE, PHONE, "Bill")])
        assert isinstance(result, Accepted)
        url = self.twilio.requests[-1][2]["StatusCallback"]
        status = "delivered" if reason is None else "undelivered"
        fields = [
            ("MessageSid", result.provider_id), ("MessageStatus", status), ("SmsSid", result.provider_id),
            ("SmsStatus", status), ("From", LINE), ("To", PHONE), ("AccountSid", self.twilio.account),
            *([("ErrorCode", str(self.codes[reason]))] if reason else []),
        ]  # fmt: skip
        return self.twilio.webhook(url, fields)

    def unknown_event(self) -> Webhook:
        return self.twilio.webhook(PUBLIC, [("Weather", "fine")])

    def tampered(self, webhook: Webhook) -> Iterator[Webhook]:
        yield replace(webhook, body=webhook.body.replace(b"%2B12065550177", b"%2B12065550178"))
        yield replace(webhook, body=webhook.body + b"&Extra=1")
        yield replace(webhook, body=webhook.body + b"&Body=NO")
        fields = parse_qsl(webhook.body.decode(), keep_blank_values=True)
        yield self.twilio.webhook(webhook.url, fields, token="another")
        yield self.twilio.webhook(webhook.url, fields, **{"X-Twilio-Signature": "é"})
        # The body's own type must not lead round the signature.
        yield replace(webhook, headers={**webhook.headers, "Content-Type": "application/json"})
        yield replace(webhook, body=webhook.body + b"\xff")


class SmppBench:
    """A message centre of npm's; for what SMPP has no word, a vendor's own number that the options map."""

    speaks_http = brings_our_key = says_when = sends_pictures = tells_what_it_acted_on = False
    statuses = {Reason.BAD_NUMBER: 0x0B, Reason.UNSUBSCRIBED: 0x0412}
    errors = {
        Reason.UNREACHABLE: "027", Reason.BLOCKED: "013", Reason.NUMBER_UNKNOWN: "001",
        Reason.CARRIER_UNREACHABLE: "021", Reason.FILTERED: "spam", Reason.UNEXPLAINED: "000", Reason.UNREGISTERED: "777",
    }  # fmt: skip
    codes = {"0x00000412": "unsubscribed", "spam": "filtered", "777": "unregistered"}

    def __init__(self, world: World) -> None:
        self.centre = world.centre
        self.centre.ask("reset")

    def open(self, **options: Any) -> Provider:
        return self.centre.provider(**{**options, "codes": {**self.codes, **options.get("codes", {})}})

    def open_elsewhere(self, address: str) -> Provider:
        parts = urlsplit(address)
        return self.centre.provider(host=parts.hostname, port=parts.port, connect_timeout=0.5)

    def open_with_wrong_secret(self) -> Provider:
        return self.centre.provider(secret="wrong")

    def strike(self, fault: str, seconds: float = 1.0) -> None:
        self.centre.ask("set", fault=fault, seconds=seconds)

    def refuse(self, phone: str, reason: Reason) -> None:
        self.centre.ask("set", refusals={phone: self.statuses[reason]})

    def taken(self) -> list[tuple[str, str, str]]:
        return [(f"+{text['from']}", f"+{text['to']}", text["body"]) for text in self.centre.ask("book")["taken"]]

    def hear_inbound(self, provider: Provider, sender: str, body: str, *, media: int = 0, stop: bool = False) -> Told:
        self.centre.tell(sender, LINE, body)
        return self._hear(provider)

    def hear_report(self, provider: Provider, key: str, reason: Reason | None) -> Told:
        result = only(provider.send([Outgoing(key, LINE, PHONE, "Bill")]))
        assert isinstance(result, Accepted)
        state, error = ("UNDELIV", self.errors[reason]) if reason else ("DELIVRD", "000")
        self.centre.receipt(result.provider_id, state, error)
        report = self._hear(provider)
        assert isinstance(report, StatusReport)
        assert report.provider_id == result.provider_id
        return report

    def _hear(self, provider: Provider) -> Told:
        assert isinstance(provider, Listener)
        with listening(provider) as ear:
            (told,) = ear.wait_for(1)
        return told


class World:
    """Every provider, running."""

    def __init__(
        self, telephone: Telephone, callbacks: Callbacks, twilio_server: Twilio, centre: MessageCentre
    ) -> None:
        self.telephone, self.callbacks, self.twilio, self.centre = telephone, callbacks, twilio_server, centre


HTTP_BENCHES: dict[str, Callable[[World], HttpBench]] = {"simulator": SimulatorBench, "twilio": TwilioBench}
BENCHES: dict[str, Callable[[World], Bench]] = {**HTTP_BENCHES, "smpp": SmppBench}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    twilio_server = Twilio()
    twilio_server.start()
    try:
        with (
            Callbacks() as callbacks,
            Telephone(tmp_path_factory.mktemp("telephone")) as telephone,
            MessageCentre(tmp_path_factory.mktemp("centre")) as centre,
        ):
            yield World(telephone, callbacks, twilio_server, centre)
    finally:
        twilio_server.stop()


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, world: World) -> Bench:
    return BENCHES[request.param](world)


@pytest.fixture(params=HTTP_BENCHES)
def http_bench(request: pytest.FixtureRequest, world: World) -> HttpBench:
    return HTTP_BENCHES[request.param](world)


@pytest.fixture
def twilio_bench(world: World) -> TwilioBench:
    return TwilioBench(world)


_numbers = itertools.count(1)


def text(**changes: Any) -> Outgoing:
    values: dict[str, Any] = {"key": f"text-{next(_numbers)}", "sender": LINE, "recipient": PHONE, "body": "Your bill"}
    return Outgoing(**{**values, **changes})


def only(results: Iterator[Accepted | Rejected | Lost]) -> Accepted | Rejected | Lost:
    (result,) = results
    return result


def test_every_driver_is_on_the_bench_and_known_by_its_name(bench: Bench) -> None:
    assert set(BENCHES) == set(registry.DRIVERS)
    assert bench.open().name in BENCHES
    # Who sends no webhook is listened to, and every driver that reads webhooks is on the bench where they are forged.
    assert isinstance(bench.open(), Listener) != bench.speaks_http
    assert bench.speaks_http == (bench.open().name in HTTP_BENCHES)
    with pytest.raises(Misconfigured, match="no text provider driver pigeon"):
        registry.open_provider("pigeon", {}, "s", callback_url=PUBLIC)
    for wrong in ({"colour": "red"}, {"codes": {"1": "sunspots"}}, {"timeout": 0}, {"base_url": "ftp://x"}):
        with pytest.raises(Misconfigured):
            bench.open(**wrong)


# Sending


def test_each_text_has_exactly_one_result_and_is_taken_once_as_it_is(bench: Bench) -> None:
    provider = bench.open(concurrency=3)
    texts = [text(body=body, recipient=phone) for body in BODIES for phone in (PHONE, OTHER)]
    results = list(provider.send(texts))
    assert sorted(result.key for result in results) == sorted(one.key for one in texts)
    assert all(isinstance(result, Accepted) for result in results)
    assert len({result.provider_id for result in results if isinstance(result, Accepted)}) == len(texts)
    assert sorted(bench.taken()) == sorted((LINE, one.recipient, one.body) for one in texts)
    assert list(provider.send([])) == []


def test_a_text_that_will_not_be_sent_is_a_result_with_our_reason(bench: Bench) -> None:
    good = text(recipient=OTHER)
    for reason in (Reason.UNSUBSCRIBED, Reason.BAD_NUMBER):
        bench.refuse(PHONE, reason)
        refused = text()
        result = only(bench.open().send([refused]))
        assert isinstance(result, Rejected)
        assert (result.key, result.reason) == (refused.key, reason)
        assert result.code
        code = result.code
    assert bench.taken() == []
    results = {result.key: type(result) for result in bench.open().send([text(key="bad"), good])}
    assert results == {"bad": Rejected, good.key: Accepted}
    assert bench.taken() == [(LINE, OTHER, good.body)]
    mapped = bench.open(codes={code: "blocked"})
    assert only(mapped.send([text(key="worse")])) == Rejected("worse", Reason.BLOCKED, code)


@pytest.mark.parametrize(
    ("fault", "error", "taken"),
    [
        ("drop_before", OutcomeUnknown, 0),
        ("drop_after", OutcomeUnknown, 1),
        ("error_before", OutcomeUnknown, 0),
        ("error_after", OutcomeUnknown, 1),
        ("garbage", OutcomeUnknown, 1),
        ("slow", OutcomeUnknown, 1),
        ("rate_limit", NotSent, 0),
    ],
)
def test_what_went_wrong_says_whether_it_may_have_gone(
    bench: Bench, fault: str, error: type[ProviderError], taken: int
) -> None:
    provider = bench.open(timeout=0.3)
    bench.strike(fault, 0.6 if fault == "slow" else 7.0)
    sent = text(body="secret words")
    result = only(provider.send([sent]))
    assert isinstance(result, Lost), result
    assert (result.key, type(result.error)) == (sent.key, error)
    if isinstance(result.error, NotSent):
        assert result.error.retry_after == (timedelta(seconds=7) if bench.says_when else None)
    assert len(bench.taken()) == taken
    said = str(result.error)
    assert said
    assert not any(word in said for word in ("secret words", PHONE[1:], SECRET, Twilio.token))
    # The line that broke harms nobody's next text.
    assert isinstance(only(provider.send([text(key="next")])), Accepted)
    assert len(bench.taken()) == taken + 1


def test_what_could_not_be_tried_was_not_sent_and_wrong_settings_stop(bench: Bench) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = bench.open_elsewhere(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        results = list(away.send([text(), text()]))
        assert [type(result.error) for result in results if isinstance(result, Lost)] == [NotSent, NotSent]
        with pytest.raises(NotSent):
            away.ping()
    stranger = bench.open_with_wrong_secret()
    result = only(stranger.send([text()]))
    assert isinstance(result, Lost)
    assert isinstance(result.error, Misconfigured)
    with pytest.raises(Misconfigured):
        stranger.ping()
    assert bench.taken() == []
    bench.open().ping()


def test_a_redirect_is_not_followed(http_bench: HttpBench, world: World) -> None:
    bench = http_bench
    target = world.telephone.url if isinstance(bench, SimulatorBench) else world.twilio.url

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(307)
            self.send_header("Location", f"{target}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as elsewhere:
        threading.Thread(target=elsewhere.handle_request, daemon=True).start()
        result = only(bench.open_elsewhere(f"http://127.0.0.1:{elsewhere.server_address[1]}").send([text()]))
    assert isinstance(result, Lost)
    assert isinstance(result.error, OutcomeUnknown)
    assert bench.taken() == []


def test_a_repeated_key_is_one_text_only_where_the_driver_says_so(bench: Bench) -> None:
    provider = bench.open()
    sent = text()
    bench.strike("drop_after")
    assert isinstance(only(provider.send([sent])), Lost)
    again = only(provider.send([sent]))
    assert isinstance(again, Accepted)
    assert len(bench.taken()) == (1 if provider.recognises_repeats else 2)
    with pytest.raises(ValueError, match="twice"):
        list(provider.send([text(key="same"), text(key="same")]))


def test_numbers_are_masked_wherever_an_exchange_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    provider = bench.open(on_exchange=lambda way, what: told.append(f"{way} {what}"))
    with caplog.at_level(logging.DEBUG):
        assert isinstance(only(provider.send([text(body="only for you")])), Accepted)
    assert [line.split()[0] for line in told] == ["sent", "received"]
    assert "****0177" in told[0]
    secrets_of_all = (SECRET, Twilio.token, PASSWORD)
    assert not any(hidden in line for line in told for hidden in (PHONE[1:], *secrets_of_all))
    hidden_from_logs = ("only for you", b"only for you".hex(), "0177", b"0177".hex(), *secrets_of_all)
    assert not any(hidden in caplog.text for hidden in hidden_from_logs)
    assert mask_numbers("+12065550177 %2B12065550177 12 84.10 AC0123") == "****0177 ****0177 12 84.10 AC0123"


# Webhooks


def test_a_text_from_a_phone_is_read_as_it_was_typed(bench: Bench) -> None:
    provider = bench.open()
    seen = set()
    for body, media in [*((body, 0) for body in BODIES), ("", 2 if bench.sends_pictures else 0), ("ＳＴＯＰ", 0)]:
        read = bench.hear_inbound(provider, PHONE, body, media=media)
        assert isinstance(read, Inbound)
        assert (read.sender, read.recipient, read.body, read.media) == (PHONE, LINE, body, media)
        assert read.acted_on is None
        assert read.sent_at is None or abs(read.sent_at - datetime.now(tz=UTC)) < timedelta(minutes=1)
        seen.add(read.provider_id)
    assert len(seen) == len(BODIES) + 2
    stopped = bench.hear_inbound(provider, PHONE, "STOP", stop=True)
    assert isinstance(stopped, Inbound)
    assert (stopped.body, stopped.acted_on) == ("STOP", OptOut.STOP if bench.tells_what_it_acted_on else None)


@pytest.mark.parametrize(
    "reason",
    [
        None, Reason.UNREACHABLE, Reason.BLOCKED, Reason.NUMBER_UNKNOWN, Reason.CARRIER_UNREACHABLE, Reason.FILTERED,
        Reason.UNEXPLAINED, Reason.UNREGISTERED,
    ],
)  # fmt: skip
def test_a_status_report_names_our_text_and_our_reason(bench: Bench, reason: Reason | None) -> None:
    provider = bench.open()
    report = bench.hear_report(provider, "text 7/&=é", reason)
    assert isinstance(report, StatusReport)
    assert (report.key, report.reason) == ("text 7/&=é" if bench.brings_our_key else "", reason)
    assert report.provider_id
    assert report.status in FINAL
    assert (report.status is Status.DELIVERED) == (reason is None)
    assert bool(report.code) == (reason is not None)


def test_what_is_not_proven_to_come_from_the_provider_is_refused(http_bench: HttpBench) -> None:
    bench, provider = http_bench, http_bench.open()
    webhook = bench.inbound(PHONE, "PAY")
    assert isinstance(provider.read(webhook), Inbound)
    signature = {name: value for name, value in webhook.headers.items() if name == bench.signature}
    assert signature
    lower = {name.lower(): value for name, value in webhook.headers.items()}
    assert isinstance(provider.read(replace(webhook, headers=lower)), Inbound)
    forged = [
        replace(webhook, headers={name: value for name, value in webhook.headers.items() if name not in signature}),
        replace(webhook, headers={**webhook.headers, **dict.fromkeys(signature, "")}),
        replace(webhook, url=webhook.url + "/other"),
        replace(webhook, url=webhook.url + "?more=1"),
        replace(webhook, url=webhook.url.replace("//", "//evil.")),
        replace(webhook, body=b""),
        *bench.tampered(webhook),
    ]
    for one in forged:
        assert one != webhook
        with pytest.raises(NotAuthentic):
            provider.read(one)
    with pytest.raises(NotAuthentic):
        bench.open_with_wrong_secret().read(webhook)


def test_an_authentic_webhook_about_something_else_is_ignored(http_bench: HttpBench) -> None:
    assert isinstance(http_bench.open().read(http_bench.unknown_event()), Ignored)


# Twilio


def test_twilio_is_asked_as_its_reference_says(twilio_bench: TwilioBench) -> None:
    service = f"MG{'0' * 32}"
    provider = twilio_bench.open(messaging_service_sid=service)
    sent = text(key="k 1&2", body="Bill $84.10 €", valid_for=timedelta(minutes=5))
    result = only(provider.send([sent]))
    assert isinstance(result, Accepted)
    assert (result.status, result.segments) == (Status.QUEUED, 1)
    assert isinstance(only(provider.send([text(sender="", valid_for=timedelta(days=30))])), Accepted)
    (path, headers, form), (_, _, unnamed) = twilio_bench.twilio.requests
    assert path == f"/2010-04-01/Accounts/{Twilio.account}/Messages.json"
    assert headers["User-Agent"].startswith("twilio-python/")
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert form == {
        "To": PHONE, "From": LINE, "Body": "Bill $84.10 €", "StatusCallback": f"{PUBLIC}?message=k%201%262",
        "MessagingServiceSid": service, "ValidityPeriod": "300",
    }  # fmt: skip
    assert "From" not in unnamed
    assert unnamed["ValidityPeriod"] == "36000"


def test_twilio_codes_lead_to_our_actions(twilio_bench: TwilioBench) -> None:
    half_hour = timedelta(minutes=30)
    at_once = {
        21610: Remedy(Action.REVOKE_CONSENT),
        21211: Remedy(Action.MARK_NUMBER_BAD),
        21614: Remedy(Action.MARK_NUMBER_BAD),
        21635: Remedy(Action.MARK_NUMBER_BAD),
        21617: Remedy(Action.ALERT_BILLER),
        30034: Remedy(Action.STOP_SENDING),
    }
    afterwards = {
        30003: Remedy(Action.RETRY, retries=3, apart=half_hour),
        30004: Remedy(Action.SUSPEND_NUMBER, after=2),
        30005: Remedy(Action.SUSPEND_NUMBER),
        30006: Remedy(Action.SUSPEND_NUMBER),
        30007: Remedy(Action.ALERT_BILLER),
        30008: Remedy(Action.RETRY, retries=1, apart=half_hour),
        30034: Remedy(Action.STOP_SENDING),
        99999: Remedy(Action.RETRY, retries=1, apart=half_hour),
    }
    provider = twilio_bench.open()
    for code, remedy in at_once.items():
        twilio_bench.twilio.refusals[PHONE] = code
        result = only(provider.send([text()]))
        assert isinstance(result, Rejected)
        assert (result.code, REMEDIES[result.reason]) == (str(code), remedy)
    for code, remedy in afterwards.items():
        for status in ("undelivered", "failed"):
            fields = [("MessageSid", f"SM{'a' * 32}"), ("MessageStatus", status), ("ErrorCode", str(code))]
            report = provider.read(twilio_bench.twilio.webhook(PUBLIC, fields))
            assert isinstance(report, StatusReport)
            assert report.reason is not None
            assert (report.status, report.code, REMEDIES[report.reason]) == (Status(status), str(code), remedy)
    for code, error in {20429: NotSent, 21611: NotSent, 21606: Misconfigured, 20003: Misconfigured}.items():
        twilio_bench.twilio.refusals[PHONE] = code
        lost = only(provider.send([text()]))
        assert isinstance(lost, Lost)
        assert isinstance(lost.error, error)
    assert twilio_bench.taken() == []
    assert set(REMEDIES) == set(Reason)


def test_an_answer_of_twilio_about_another_phone_is_no_answer(twilio_bench: TwilioBench) -> None:
    twilio_bench.strike("another")
    lost = only(twilio_bench.open().send([text()]))
    assert isinstance(lost, Lost)
    assert isinstance(lost.error, OutcomeUnknown)


def test_twilio_own_validator_agrees_about_every_webhook(twilio_bench: TwilioBench) -> None:
    server, provider = twilio_bench.twilio, twilio_bench.open()
    name = f"SM{'b' * 32}"
    fields = [
        ("MessageSid", name), ("SmsStatus", "received"), ("From", PHONE), ("To", LINE), ("Body", "ñ 🛑 +&= "),
        ("NewFieldOfNextYear", "1"), ("Blank", ""), ("Twice", "a"), ("Twice", "b"),
    ]  # fmt: skip
    for url in (f"{PUBLIC}?biller=7&empty=", PUBLIC):
        webhook = server.webhook(url, fields)
        once = {name: value for name, value in fields if name != "Twice"}
        theirs = RequestValidator(server.token).compute_signature(url, once)
        assert theirs == server.webhook(url, list(once.items())).headers["X-Twilio-Signature"]
        read = provider.read(webhook)
        assert isinstance(read, Inbound)
        assert (read.provider_id, read.body) == (name, "ñ 🛑 +&= ")
    # Twilio signs the address with its port or without, whichever way it was told it.
    with_port = PUBLIC.replace(".example/", ".example:443/")
    assert isinstance(provider.read(server.webhook(PUBLIC, fields, signed_url=with_port)), Inbound)
    with pytest.raises(NotAuthentic):
        provider.read(server.webhook(PUBLIC, fields, signed_url=PUBLIC.replace("https", "http")))


def test_a_body_of_json_counts_only_with_its_hash_in_the_signed_address(twilio_bench: TwilioBench) -> None:
    server, provider = twilio_bench.twilio, twilio_bench.open()
    body = json.dumps({"MessageSid": f"SM{'c' * 32}", "SmsStatus": "received"}).encode()
    kind = {"Content-Type": "application/json"}
    url = f"{PUBLIC}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    signed = replace(server.webhook(url, [], **kind), body=body)
    assert isinstance(provider.read(signed), Ignored)
    for forged in (replace(signed, body=body + b" "), replace(server.webhook(PUBLIC, [], **kind), body=body)):
        with pytest.raises(NotAuthentic):
            provider.read(forged)


def test_twilio_is_reached_in_the_clear_on_this_machine_alone(twilio_bench: TwilioBench) -> None:
    for wrong in (
        {"base_url": "http://api.twilio.com"}, {"base_url": "https://api.twilio.com/2010"}, {"account_sid": "AC1"},
        {"answers": ["maybe"]},
    ):  # fmt: skip
        with pytest.raises(Misconfigured):
            twilio_bench.open(**wrong)
    quiet = twilio_bench.open(opt_out=False, answers=[])
    assert quiet.managed == base.Managed()
    assert twilio_bench.open().managed == base.Managed(opt_out=True, answers=frozenset(OptOut))


# Statuses and texts


@given(st.lists(st.sampled_from(Status), min_size=1))
def test_a_status_never_moves_backwards(reports: list[Status]) -> None:
    order = [Status.QUEUED, Status.SENDING, Status.SENT]
    kept: Status | None = None
    for new in reports:
        before, kept = kept, later(kept, new)
        assert later(kept, new) is kept, "a repeat changes nothing"
        if before in FINAL:
            assert kept is before or (before, kept) == (Status.DELIVERED, Status.READ)
        elif before is not None:
            assert kept in FINAL or order.index(kept) >= order.index(before)
    first_final = next((status for status in reports if status in FINAL), None)
    if first_final is None:
        assert kept is max(reports, key=order.index)
    elif first_final is Status.DELIVERED:
        assert kept is (Status.READ if Status.READ in reports else Status.DELIVERED)
    else:
        assert kept is first_final


@given(st.permutations([Status.QUEUED, Status.SENDING, Status.SENT, Status.DELIVERED, Status.DELIVERED]))
def test_reports_may_come_in_any_order(reports: list[Status]) -> None:
    kept: Status | None = None
    for new in reports:
        kept = later(kept, new)
    assert kept is Status.DELIVERED


@pytest.mark.parametrize(
    "changes",
    [
        {"recipient": "2065550177"}, {"recipient": "+1 206 555 0177"}, {"recipient": "+02065550177"}, {"recipient": ""},
        {"recipient": "72345"}, {"recipient": f"{PHONE}\n"}, {"sender": "Maple Falls"}, {"sender": "12"},
        {"body": ""}, {"body": "x" * 1601}, {"key": ""}, {"valid_for": timedelta(0)},
    ],
)  # fmt: skip
def test_a_text_that_cannot_be_is_never_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="text"):
        text(**changes)
    assert text(sender="72345").sender == "72345"
    assert PHONE not in repr(text(body=PHONE, recipient=OTHER))
