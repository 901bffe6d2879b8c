"""Two verifiers that others wrote believe what our webhooks connector signs, and nothing that was changed on the way."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from datapump.connectors.base import Envelope, Target
from datapump.connectors.registry import connector_named
from datapump.connectors.webhooks.events import EVENTS
from tests.contracts.test_connectors import make_message
from tests.peers import run_peer

webhooks = connector_named("webhooks")
SECRET, OLD, OTHER = (webhooks.make_secret() for _ in range(3))
TARGET = Target(url="https://receiver.example/events", password=SECRET)


def request(envelope: Envelope, at: datetime, target: Target = TARGET, *, secret: str = SECRET) -> dict[str, Any]:
    headers = {**envelope.headers, **webhooks.sign(envelope, target, at)}
    return {"secret": secret, "headers": headers, "body": envelope.body.decode()}


def changed(given: dict[str, Any], body: str = "", **headers: str) -> dict[str, Any]:
    made = {name.replace("_", "-"): value for name, value in headers.items()}
    return {**given, "headers": {**given["headers"], **made}, "body": body or given["body"]}


def verdicts(requests: list[dict[str, Any]]) -> list[list[bool]]:
    found: list[list[bool]] = json.loads(run_peer("webhooks.js", json.dumps(requests)))
    assert len(found) == len(requests)
    return found


def test_both_believe_every_event_and_refuse_it_once_changed() -> None:
    now = datetime.now(UTC)
    envelopes = [webhooks.write_ping(TARGET)]
    for number, kind in enumerate(EVENTS):
        # Letters beyond ASCII, quotes and line ends are signed as the bytes that they are sent as.
        message = make_message(kind, f'35909001 ñ "{number}"\n', f"0198c2f0-0000-7000-8000-00000000000{number}")
        envelopes.append(webhooks.write([message], TARGET))
    genuine = [request(envelope, now) for envelope in envelopes]
    assert verdicts(genuine) == [[True, True]] * len(genuine)
    forged = []
    for given in genuine:
        id_, timestamp = given["headers"]["webhook-id"], int(given["headers"]["webhook-timestamp"])
        forged += [
            changed(given, body=given["body"].replace('"type":', '"type": ', 1)),
            changed(given, body=given["body"].replace("Z", "z", 1)),
            changed(given, webhook_id=id_ + "0"),
            changed(given, webhook_timestamp=str(timestamp + 1)),
            changed(given, webhook_signature="v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            {**given, "secret": OTHER},
        ]
    assert verdicts(forged) == [[False, False]] * len(forged)


def test_both_refuse_a_try_that_is_old_however_well_it_is_signed() -> None:
    envelope, now = webhooks.write([make_message("payment")], TARGET), datetime.now(UTC)
    near = [request(envelope, now - timedelta(seconds=240))]
    far = [request(envelope, now - timedelta(seconds=320)), request(envelope, now - timedelta(hours=1))]
    assert verdicts(near + far) == [[True, True], [False, False], [False, False]]


def test_while_a_secret_is_changed_both_believe_it_with_either_of_the_two() -> None:
    envelope, now = webhooks.write([make_message("autopay")], TARGET), datetime.now(UTC)
    both = dataclasses.replace(TARGET, old_password=OLD)
    signed = request(envelope, now, both)
    assert signed["headers"]["webhook-signature"].count("v1,") == 2
    asked = [{**signed, "secret": secret} for secret in (SECRET, OLD, OTHER)]
    assert verdicts(asked) == [[True, True], [True, True], [False, False]]
    assert verdicts([request(envelope, now, secret=OLD)]) == [[False, False]]
