"""Twilio's own libraries against our driver: they sign as it checks, check as our fixtures sign, and send what it sends."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from sms.providers.base import Accepted, Ignored, Inbound, NotAuthentic, Outgoing, StatusReport, Webhook
from sms.providers.registry import open_provider
from sms.providers.twilio import SIGNATURE
from tests.contracts.test_providers import LINE, OTHER, PHONE, PUBLIC, Twilio
from tests.peers import run_peer

FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
Fields = list[tuple[str, str]]


def ask_library(requests: list[dict[str, Any]]) -> list[Any]:
    answers: list[Any] = json.loads(run_peer("twilio_signatures.js", json.dumps(requests)))
    assert len(answers) == len(requests)
    return answers


def as_library(fields: Fields) -> dict[str, Any]:
    """Give a form as Express parses it: what stands there twice is an array."""
    found: dict[str, Any] = {}
    for name, value in fields:
        found[name] = (
            [*(found[name] if isinstance(found[name], list) else [found[name]]), value] if name in found else value
        )
    return found


def webhooks(count: int) -> Iterator[tuple[str, Fields]]:
    """Make texts and status reports as Twilio posts them, with parameters that nobody knows yet."""
    chance = random.Random(5)
    urls = [
        PUBLIC,
        f"{PUBLIC}?message=a%20b%261&empty=",
        f"{PUBLIC}?x=%C3%B1",
        PUBLIC.replace("pay.example", "pay.example:8443"),
    ]
    for number in range(count):
        name = f"SM{number:032x}"
        body = "".join(chance.choices("PAY 1ñ¿🛑+&=%'\"\n é–$", k=chance.randrange(40)))
        fields = [("MessageSid", name), ("From", PHONE), ("To", LINE), ("AccountSid", Twilio.account)]
        if number % 2:
            fields += [("MessageStatus", chance.choice(["sent", "delivered", "failed"])), ("ErrorCode", "30003")]
        else:
            fields += [("SmsStatus", "received"), ("Body", body), ("NumMedia", "0"), ("Blank", "")]
        fields += [(f"New{chance.randrange(9)}", chance.choice(["", "1", "ü +"])) for _ in range(chance.randrange(4))]
        chance.shuffle(fields)
        yield chance.choice(urls), fields


@pytest.fixture(scope="module")
def server() -> Iterator[Twilio]:
    server = Twilio()
    server.start()
    yield server
    server.stop()


def test_what_twilio_signs_our_driver_takes_and_what_we_sign_twilio_takes() -> None:
    provider = open_provider("twilio", {"account_sid": Twilio.account}, Twilio.token, callback_url=PUBLIC)
    fixture, told = Twilio(), list(webhooks(150))
    theirs = ask_library([{"url": url, "token": Twilio.token, "fields": as_library(fields)} for url, fields in told])
    ours = [fixture.webhook(url, fields).headers[SIGNATURE] for url, fields in told]
    once = [len({name for name, _ in fields}) == len(fields) for _, fields in told]
    assert sum(once) > 50
    assert not all(once)
    checks = []
    for (url, fields), signature, own, plain in zip(told, theirs, ours, once, strict=True):
        webhook = Webhook(url, {**FORM, SIGNATURE: signature}, urlencode(fields).encode())
        assert isinstance(provider.read(webhook), Inbound | StatusReport)
        for forged in (
            replace(webhook, body=webhook.body.replace(b"%2B12065550177", b"%2B12065550178")),
            replace(webhook, body=webhook.body + b"&More=1"),
            replace(webhook, body=webhook.body.replace(b"MessageSid=SM0", b"MessageSid=SM1")),
            replace(webhook, url=url + ("&" if "?" in url else "?") + "more=1"),
            replace(webhook, url=url.replace("https", "http")),
            replace(webhook, headers={**FORM, SIGNATURE: theirs[0] if signature != theirs[0] else theirs[1]}),
            replace(webhook, headers=FORM),
        ):
            assert forged != webhook
            with pytest.raises(NotAuthentic):
                provider.read(forged)
        if plain:
            assert own == signature
        tampered = [(name, OTHER if value == PHONE else value) for name, value in fields]
        checks += [
            {"url": url, "token": Twilio.token, "fields": as_library(fields), "signature": signature},
            {"url": url, "token": Twilio.token, "fields": as_library(tampered), "signature": signature},
            {"url": url, "token": "another", "fields": as_library(fields), "signature": signature},
        ]
    assert ask_library(checks) == [True, False, False] * len(told)


def test_a_signed_body_of_json_is_authentic_to_both() -> None:
    provider = open_provider("twilio", {"account_sid": Twilio.account}, Twilio.token, callback_url=PUBLIC)
    body = '{"MessageSid": "SMñ"}'
    for content, taken in ((body, True), (body + " ", False)):
        url = f"{PUBLIC}?bodySHA256={hashlib.sha256(content.encode()).hexdigest()}"
        (signature,) = ask_library([{"url": url, "token": Twilio.token}])
        request = {"url": url, "token": Twilio.token, "body": body, "signature": signature}
        assert ask_library([request]) == [taken]
        webhook = Webhook(url, {"Content-Type": "application/json", SIGNATURE: signature}, body.encode())
        if taken:
            assert isinstance(provider.read(webhook), Ignored)
        else:
            with pytest.raises(NotAuthentic):
                provider.read(webhook)


def test_our_driver_sends_what_twilios_own_libraries_send(server: Twilio) -> None:
    class Elsewhere(TwilioHttpClient):  # type: ignore[misc]  # Twilio's library has no types
        def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
            return super().request(method, url.replace("https://api.twilio.com", server.url), *args, **options)

    service, body, minutes = f"MG{'0' * 32}", "Bill $84.10 – reply PAY 🛑 +&=", 5
    callback = f"{PUBLIC}?message=k%201%262"
    provider = open_provider(
        "twilio", {"account_sid": Twilio.account, "base_url": server.url, "messaging_service_sid": service},
        Twilio.token, callback_url=PUBLIC,
    )  # fmt: skip
    (result,) = provider.send([Outgoing("k 1&2", LINE, PHONE, body, timedelta(minutes=minutes))])
    assert isinstance(result, Accepted)
    made = Client(Twilio.account, Twilio.token, http_client=Elsewhere()).messages.create(
        to=PHONE, from_=LINE, body=body, status_callback=callback, validity_period=60 * minutes,
        messaging_service_sid=service,
    )  # fmt: skip
    message = {
        "to": PHONE, "from": LINE, "body": body, "statusCallback": callback, "validityPeriod": 60 * minutes,
        "messagingServiceSid": service,
    }  # fmt: skip
    given = {"base": server.url, "account": Twilio.account, "token": Twilio.token, "message": message}
    answered = json.loads(run_peer("twilio_message.js", json.dumps(given)))
    assert made.sid.startswith("SM")
    assert (made.status, answered["status"]) == ("queued", "queued")
    (path, headers, form), *others = server.requests
    named = [
        {name.lower(): value for name, value in given.items()} for given in (headers, *(each[1] for each in others))
    ]
    assert len(others) == 2
    for theirs, (their_path, _, their_form) in zip(named[1:], others, strict=True):
        assert (their_path, their_form) == (path, form)
        assert (theirs["authorization"], theirs["content-type"]) == (
            named[0]["authorization"],
            named[0]["content-type"],
        )
