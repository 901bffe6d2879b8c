"""The driver of Stripe against localstripe, which others wrote: that library, wire and an independent server agree.

localstripe runs as a process of its own. It refuses parameters that it does not know; a line between leaves those out, and
sets the metadata of a deposit by a request of its own. It ignores idempotency keys and never declines a charge, so that
nothing here says anything of repeats, declines, lookups, disputes and bank accounts: see ``test_stripe.py``.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest

from payments.gateways import registry
from payments.gateways.base import Answer, ChargeRequest, Command, Gateway, Lost, Refused, Result
from payments.gateways.test_numbers import CARDS
from tests.contracts.gateways import charge, only

SECRET = "sk_test_water"
START_SECONDS = 20.0
_UNKNOWN_TO_IT = {"transfer_group", "description", "error_on_requires_action", "cancellation_reason"}


class Peer:
    """localstripe in a process, and a line to it that leaves out what it does not know."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "localstripe.server", "--port", str(self.port), "--from-scratch"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peer = self

        class Line(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(*peer.ask("GET", self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                form = [(name, value) for name, value in parse_qsl(body) if name not in _UNKNOWN_TO_IT]
                if self.path.endswith("/capture"):
                    marks = [(name, value) for name, value in form if name.startswith("metadata")]
                    peer.ask("POST", self.path.removesuffix("/capture"), marks)
                    form = [pair for pair in form if pair not in marks]
                self.answer(*peer.ask("POST", self.path, form))

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self.line = ThreadingHTTPServer(("127.0.0.1", 0), Line)
        self.line.daemon_threads = True
        threading.Thread(target=self.line.serve_forever, args=(0.05,), daemon=True).start()

    def ask(self, method: str, path: str, form: list[tuple[str, str]] | None = None) -> tuple[int, bytes]:
        """Ask localstripe itself."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path, urlencode(form or []), headers)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        connection.close()
        return status, body

    def make(self, path: str, **form: str) -> dict[str, Any]:
        """Make something there."""
        status, body = self.ask("POST", path, list(form.items()))
        assert status == 200, body
        made: dict[str, Any] = json.loads(body)
        return made

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ask("GET", "/v1/balance")
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """End both."""
        self.line.shutdown()
        self.line.server_close()
        self.process.terminate()
        self.process.wait(10)
        # It keeps its store there, the published number of a test card with it.
        Path("/tmp/localstripe.pickle").unlink(missing_ok=True)

    def token(self) -> str:
        """Keep a published test card with a customer, as Stripe's fields would."""
        customer = self.make("/v1/customers")["id"]
        card = {"number": CARDS["visa_other"].number, "exp_month": "12", "exp_year": "2040", "cvc": "123"}
        method = self.make("/v1/payment_methods", type="card", **{f"card[{name}]": card[name] for name in card})["id"]
        self.make(f"/v1/payment_methods/{method}/attach", customer=customer)
        return f"{customer}/{method}/4242"


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    running = Peer()
    try:
        running.wait()
        yield running
    finally:
        running.stop()


@pytest.fixture
def gateway(peer: Peer) -> Gateway:
    host, port = peer.line.server_address[:2]
    return registry.open_gateway("stripe", {"base_url": f"http://{host!s}:{port}", "merchant": "acct_water"}, SECRET)


def answer_of(gateway: Gateway, request: ChargeRequest) -> Answer:
    answer = only(gateway.send([request]))
    assert isinstance(answer, Answer), answer
    return answer


def test_a_kept_card_is_described_charged_and_refunded(peer: Peer, gateway: Gateway) -> None:
    token = peer.token()
    details = gateway.describe_token(token)
    assert (details.token, details.kind, details.brand, details.last4) == (token, "card", "visa", "4242")
    request = charge(token)
    charged = answer_of(gateway, request)
    assert (charged.result, charged.amount, charged.code) == (Result.PASS, Decimal("12.34"), "succeeded")
    intent = json.loads(peer.ask("GET", f"/v1/payment_intents/{charged.processor_reference}")[1])
    assert (intent["amount"], intent["currency"], intent["metadata"]["ratepayer_key"]) == (1234, "usd", request.key)
    refund = charge(token, command=Command.REFUND, amount=Decimal("2.34"), reference=charged.processor_reference)
    refunded = answer_of(gateway, refund)
    assert (refunded.result, refunded.amount) == (Result.PASS, Decimal("2.34"))
    about = {refund.key: charged.processor_reference}
    assert list(gateway.lookup([refund.key], about=about)) == [refunded]


def test_money_that_is_held_is_deposited_or_released(peer: Peer, gateway: Gateway) -> None:
    token = peer.token()
    held = answer_of(gateway, charge(token, command=Command.AUTHORIZE))
    assert (held.result, held.code) == (Result.PASS, "requires_capture")
    deposit = charge(token, command=Command.DEPOSIT, reference=held.processor_reference)
    # It takes the money and does not say how much, which is no answer.
    lost = only(gateway.send([deposit]))
    assert isinstance(lost, Lost)
    assert str(lost.error) == "amount_received cannot be read"
    intent = json.loads(peer.ask("GET", f"/v1/payment_intents/{held.processor_reference}")[1])
    assert (intent["status"], intent["metadata"]["ratepayer_deposit"]) == ("succeeded", deposit.key)
    other = answer_of(gateway, charge(token, command=Command.AUTHORIZE))
    release = charge(token, command=Command.RELEASE, reference=other.processor_reference)
    released = answer_of(gateway, release)
    assert (released.result, released.voided, released.code) == (Result.PASS, True, "canceled")


def test_a_method_that_it_does_not_know_is_none(peer: Peer, gateway: Gateway) -> None:
    with pytest.raises(Refused, match="not known"):
        gateway.describe_token("cus_none/pm_none/4242")
