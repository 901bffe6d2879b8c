"""What Stripe tells unasked: events, believed when their signature is right, and never more than a hint.

An event names what has changed; the change itself is asked for. What takes money back from us (disputes, debits that
banks return) is read here as well, from events as from lists.

Source: PAY-33; evidence 1.4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from payments.gateways.base import NotAuthentic, OutcomeUnknown, ProcessorEvent
from payments.gateways.stripe.answers import DEPOSIT_KEY, KEY, RELEASE_KEY, Json, moment, part, text

SIGNATURE = "stripe-signature"
TOLERANCE = 300  # seconds
BODY_LARGEST = 512 * 1024
# Stripe keeps events for thirty days.
KEPT = timedelta(days=29)

# What is worth asking about: what came of a charge, and what took money back.
OUTCOMES = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.amount_capturable_updated",
    }
)
REVERSALS = frozenset(
    {"charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated", "charge.failed"}
)


def read(body: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> ProcessorEvent:
    """Check a webhook's signature with each secret in turn and read its event.

    :raises NotAuthentic: no secret signed it, it is too old, or it is no event.
    """
    signature = next((value for name, value in headers.items() if name.lower() == SIGNATURE), "")
    if not secrets:
        raise NotAuthentic("no signing secret is set for this route")
    if len(body) > BODY_LARGEST or not signature or not signature.isascii():
        raise NotAuthentic("the signature is missing or cannot be read")
    from stripe import SignatureVerificationError, WebhookSignature

    refusal = "the signature is wrong"
    for secret in secrets:
        try:
            WebhookSignature.verify_header(body, signature, secret, TOLERANCE)
        except SignatureVerificationError as wrong:
            if "tolerance" in str(wrong):
                refusal = "it was signed too long ago"
        except UnicodeDecodeError:
            raise NotAuthentic("the body is no text") from None
        else:
            return _event(body)
    raise NotAuthentic(refusal)


def _event(body: bytes) -> ProcessorEvent:
    try:
        told = json.loads(body)
        kind, thing = text(told, "type"), told["data"]["object"]
        event = ProcessorEvent(
            id=text(told, "id"),
            kind=kind,
            keys=_keys(kind, thing),
            reverses=kind in REVERSALS,
            happened_at=moment(told, "created"),
        )
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, OutcomeUnknown):
        raise NotAuthentic("the body is no event") from None
    if not event.id or not event.kind:
        raise NotAuthentic("the body is no event")
    return event


def _keys(kind: str, thing: Any) -> tuple[str, ...]:
    if kind not in OUTCOMES or not isinstance(thing, Mapping):
        return ()
    return tuple(dict.fromkeys(_named(thing, name) for name in (KEY, DEPOSIT_KEY, RELEASE_KEY) if _named(thing, name)))


def _named(thing: Json, name: str) -> str:
    return text(part(thing, "metadata"), name)
