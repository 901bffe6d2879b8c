"""Whether a webhook is from whom it says: the specification's check, written from its words.

Source: the Standard Webhooks specification, "Verifying signatures"
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping

TOLERANCE = 300
"""Seconds that a try may be old, or early."""


class NotAuthentic(Exception):
    """The webhook is not to be believed; the text says why."""


def check(headers: Mapping[str, str], body: bytes, *, secrets: Iterable[str], now: float) -> str:
    """Return the webhook's id where one of its signatures is by one of the secrets and its time is near.

    ``headers`` have small letters.

    :raises NotAuthentic: it is not.
    """
    named = [headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature")]
    if not all(named):
        raise NotAuthentic("a webhook- header is missing")
    id_, timestamp, given = named
    if not timestamp.isascii() or not timestamp.isdigit():
        raise NotAuthentic("webhook-timestamp is no number")
    if abs(now - int(timestamp)) > TOLERANCE:
        raise NotAuthentic("webhook-timestamp is too far from now")
    signed = b".".join((id_.encode(), timestamp.encode(), body))
    expected = [hmac.digest(_key(secret), signed, hashlib.sha256) for secret in secrets]
    for one in given.split(" "):
        version, _, text = one.partition(",")
        if version != "v1":
            continue
        try:
            signature = base64.b64decode(text, validate=True)
        except binascii.Error:
            continue
        if any(hmac.compare_digest(signature, each) for each in expected):
            return id_
    raise NotAuthentic("no signature fits")


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
