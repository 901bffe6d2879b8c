"""Money that moves back without our asking, as Stripe tells it: disputes, and debits that banks return.

An inquiry moves no money and is none; that a dispute was opened is not yet that money was withdrawn. Events hold both as
they happened, for thirty days; what is older is read from the disputes themselves.

Source: PAY-32; evidence 1.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from payments.gateways.base import OutcomeUnknown, Reversal, ReversalKind
from payments.gateways.stripe.amounts import major_units
from payments.gateways.stripe.answers import DEPOSIT_KEY, KEY, Json, moment, part, text, whole
from payments.gateways.stripe.events import KEPT
from payments.gateways.stripe.pages import Ask, pages

_WITHDRAWN, _REINSTATED, _FAILED = (
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.failed",
)


def read(ask: Ask, api: Any, codes: Mapping[str, int], since: datetime, now: datetime) -> Iterator[Reversal]:
    """Give the reversals since a moment, oldest first."""
    intent_of = _intents(ask, api)
    found: dict[str, Reversal] = {}
    begun = int(since.timestamp())
    if now - since > KEPT:
        # A dispute may be opened long after its charge, and be won long after it was opened.
        for dispute in pages(ask, api.disputes.list, {"expand": ["data.charge"]}):
            for one in _of_dispute(dispute, intent_of):
                if one.happened_at >= since:
                    found[one.reference] = one
    wanted = {"types": [_WITHDRAWN, _REINSTATED, _FAILED], "created": {"gte": begun}}
    for event in pages(ask, api.events.list, wanted):
        thing = part(part(event, "data"), "object")
        happened_at = moment(event, "created")
        if text(event, "type") == _FAILED:
            moved = _of_debit(thing, happened_at)
        else:
            won = text(event, "type") == _REINSTATED
            moved = _reversal(thing, _bank_of(ask, api, thing), won, happened_at, intent_of)
        if moved is not None:
            found[moved.reference] = moved
    for one in sorted(found.values(), key=lambda one: (one.happened_at, one.reference)):
        yield one.judged(codes)


def _of_debit(charge: Json, happened_at: datetime) -> Reversal | None:
    """Read a debit of a bank account that failed: at once or later cannot be told, and is known by what we were answered."""
    key = key_of(charge)
    if not key or not _is_bank(charge):
        return None
    code = text(charge, "failure_code") or "failed"
    return Reversal(
        reference=text(charge, "id"),
        key=key,
        kind=ReversalKind.RETURN,
        amount=major_units(whole(charge, "amount"), text(charge, "currency")),
        code=code,
        reason=text(charge, "failure_message")[:200] or code,
        happened_at=happened_at,
    )


def _of_dispute(dispute: Json, intent_of: Callable[[str], Json]) -> Iterator[Reversal]:
    moved = dispute.get("balance_transactions")
    if not isinstance(moved, list):
        raise OutcomeUnknown("a dispute cannot be read")
    bank = _is_bank(part(dispute, "charge"))
    for transaction in moved:
        won = whole(transaction, "amount") > 0
        one = _reversal(dispute, bank, won, moment(transaction, "created"), intent_of)
        if one is not None:
            yield one


def _reversal(
    dispute: Json, bank: bool, won: bool, happened_at: datetime, intent_of: Callable[[str], Json]
) -> Reversal | None:
    key = key_of(intent_of(text(dispute, "payment_intent")))
    if not key:
        return None  # a charge that somebody made in Stripe's dashboard
    reason = text(dispute, "reason") or "general"
    card = part(part(dispute, "payment_method_details"), "card")
    lost = ReversalKind.RETURN if bank else ReversalKind.CHARGEBACK
    return Reversal(
        reference=f"{text(dispute, 'id')}:{'reinstated' if won else 'withdrawn'}",
        key=key,
        kind=ReversalKind.CHARGEBACK_WON if won else lost,
        amount=major_units(whole(dispute, "amount"), text(dispute, "currency")),
        code=text(card, "network_reason_code") or reason,
        reason=reason.replace("_", " "),
        happened_at=happened_at,
    )


def _bank_of(ask: Ask, api: Any, dispute: Json) -> bool:
    details = part(dispute, "payment_method_details")
    if text(details, "type"):
        return text(details, "type") == "us_bank_account"
    return _is_bank(ask(lambda: api.charges.retrieve(text(dispute, "charge"))))


def _is_bank(charge: Json) -> bool:
    return text(part(charge, "payment_method_details"), "type") == "us_bank_account"


def _intents(ask: Ask, api: Any) -> Callable[[str], Json]:
    kept: dict[str, Json] = {"": {}}

    def intent_of(name: str) -> Json:
        if name not in kept:
            kept[name] = ask(lambda: api.payment_intents.retrieve(name))
        return kept[name]

    return intent_of


def key_of(thing: Json) -> str:
    """Give the key of the charge or the deposit that took the money of an intent or a charge; empty where it is not ours."""
    metadata = part(thing, "metadata")
    return text(metadata, DEPOSIT_KEY) or text(metadata, KEY)
