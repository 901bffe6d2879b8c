"""The connector of signed webhooks: each message is one event, posted as JSON with a signature over id, time and body.

Source: the Standard Webhooks specification 1.0.0; ``docs/webhooks.md``.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from datapump.connectors import masking
from datapump.connectors.base import (
    ConnectorError,
    Delivered,
    Envelope,
    Message,
    Misconfigured,
    NotSent,
    OptionField,
    OutcomeUnknown,
    Refused,
    Target,
    Undelivered,
)
from datapump.connectors.webhooks import events

PREFIX = "whsec_"
SECRET_BYTES = 32
LEAST_BYTES, MOST_BYTES = 24, 64

_GATEWAYS = (408, 425, 502, 503, 504)


class Webhooks:
    """Tells any HTTP service; it has no options."""

    name = "webhooks"
    label = "Signed webhooks"
    purposes = frozenset(("payments", "paperless", "autopay"))
    options: Sequence[OptionField] = ()
    makes_secrets = True
    tells_with_payments = True
    pings: Sequence[str] = (events.PING,)
    batches = ""

    def make_secret(self) -> str:
        """Make a secret of 256 bits."""
        return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")

    def target_options(
        self, kept: Mapping[str, Any], *, per_envelope: int, flags: Mapping[str, bool]
    ) -> Mapping[str, Any]:
        """Give what is kept: nothing that is set elsewhere concerns events."""
        return kept

    def batch_limit(self, kind: str, target: Target) -> int:
        """Return 1: an event has an id of its own, by which the receiver knows a repeat."""
        return 1

    def write(self, messages: Sequence[Message], target: Target) -> Envelope:
        """Write the event of one message; its webhook-id is the record's own."""
        _check(target)
        if len(messages) != 1:
            raise ValueError("an envelope of webhooks holds one message")
        message = messages[0]
        type_, body = events.write(message)
        return _envelope(type_, message.id, body, target, (message.id,))

    def sign(self, envelope: Envelope, target: Target, at: datetime) -> Mapping[str, str]:
        """Sign id, time of the try and body with the secret, and with the old one for as long as it is good."""
        at = at.astimezone(UTC)
        id_, body = envelope.headers["webhook-id"], envelope.body.decode()
        secrets_ = [target.password, *filter(None, [target.old_password])]
        signatures = [_webhook(secret).sign(msg_id=id_, timestamp=at, data=body) for secret in secrets_]
        return {"webhook-timestamp": str(int(at.timestamp())), "webhook-signature": " ".join(signatures)}

    def read(self, messages: Sequence[Message], status: int, body: bytes) -> Sequence[Delivered | Undelivered]:
        """Read the answer: its status says everything, whatever the body is."""
        try:
            _raise_by_status(status, body)
        except ConnectorError as error:
            return [Undelivered(message.id, error) for message in messages]
        return [Delivered(message.id) for message in messages]

    def write_ping(self, target: Target, question: str = "") -> Envelope:
        """Write a ping, an event of its own that tells of nothing."""
        _check(target)
        return _envelope(
            events.PING, str(uuid.uuid4()), events.write_body(events.PING, datetime.now(UTC), {}), target, ()
        )

    def read_ping(self, status: int, body: bytes, question: str = "") -> str:
        """Return where the ping was taken."""
        _raise_by_status(status, body)
        return ""

    def mask(self, body: bytes) -> str:
        """Return the event or the answer as text without secrets and card numbers."""
        return masking.mask(body)


def _envelope(type_: str, id_: str, body: bytes, target: Target, message_ids: Sequence[str]) -> Envelope:
    return Envelope(
        operation=type_,
        url=target.url,
        headers={"Content-Type": "application/json", "webhook-id": id_},
        body=body,
        message_ids=message_ids,
    )


def _check(target: Target) -> None:
    if not target.url.startswith(("http://", "https://")):
        raise Misconfigured("the endpoint's address must begin with http:// or https://")
    if target.options:
        raise Misconfigured(f"unknown option {sorted(target.options)[0]!r}; webhooks have none")
    _webhook(target.password)


def _webhook(secret: str) -> Webhook:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise Misconfigured("the endpoint has no secret to sign with: make one")
    return Webhook(key)


def _raise_by_status(status: int, body: bytes) -> None:
    if 200 <= status <= 299:
        return
    if 300 <= status <= 399:
        raise Misconfigured(f"The receiver sends us to another address (HTTP {status}).", answered=True)
    if status == 410:
        raise Misconfigured("The receiver wants no more events (HTTP 410 Gone).", answered=True)
    if status in (401, 403, 407):
        raise Misconfigured(
            f"The receiver does not take our signature (HTTP {status}): is it the endpoint's present secret?",
            answered=True,
        )
    if status in (404, 405):
        raise Misconfigured(f"The receiver does not take events at this address (HTTP {status}).", answered=True)
    if status == 429:
        raise NotSent("The receiver has too much to do (HTTP 429).", answered=True)
    said = masking.clip(body[: 4 * masking.MAX_REASON].decode("utf-8", errors="replace"))
    words = f": {said}" if said and not said.startswith("<") else "."
    if status in _GATEWAYS:
        # Whoever stands before it may be speaking, so it does not count as an answer.
        raise OutcomeUnknown(f"The receiver failed with HTTP {status}.")
    if 400 <= status <= 499:
        raise Refused(f"The receiver refused the event with HTTP {status}{words}", answered=True)
    # It failed while taking the event: before or after the effect, nobody can tell.
    raise OutcomeUnknown(f"The receiver failed with HTTP {status}{words}", answered=True)
