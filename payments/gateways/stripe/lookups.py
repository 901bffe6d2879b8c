"""Finding again what was done under a key.

A charge is found by its transfer group, which is its key; what was done with a charge, by the charge and the keys that
stand among its metadata and its refunds. Both are lists, which hold a thing as soon as Stripe has made it.

Source: PAY-10.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from payments.gateways.base import Absent, Answer, Refused, Result
from payments.gateways.stripe import answers
from payments.gateways.stripe.answers import DEPOSIT_KEY, KEY, RELEASE_KEY, Json, part, text
from payments.gateways.stripe.pages import Ask

INTENT = re.compile(r"pi_[0-9A-Za-z_]+")


class Lookups:
    """Questions about keys to one account of Stripe's; each raises what asking raises."""

    def __init__(self, ask: Ask, api: Any, codes: Mapping[str, int]) -> None:
        self._ask = ask
        self._api = api
        self._codes = codes

    def charged(self, key: str) -> Answer | Absent:
        """Find the charge of a key by its transfer group."""
        listed = self._ask(
            lambda: self._api.charges.list({"transfer_group": key, "limit": 100, "expand": ["data.payment_intent"]})
        )
        intents: dict[str, dict[str, Any]] = {}
        for charge in answers.rows(listed):
            intent = charge.get("payment_intent")
            if not isinstance(intent, Mapping) or intent.get("latest_charge") != charge.get("id"):
                continue
            intents.setdefault(text(intent, "id"), {**intent, "latest_charge": charge})
        read = [answers.read_intent(intent, key, self._codes) for intent in intents.values()]
        # More than one stands there only where Stripe did not recognise a repeat.
        return min(read, key=lambda answer: answer.result != Result.PASS, default=Absent(key))

    def about(self, key: str, reference: str) -> Answer | Absent:
        """Find a deposit, a release or a refund under this key among what was done with a charge."""
        intent = self.intent(reference)
        if intent is None:
            return Absent(key)
        marks = part(intent, "metadata")
        if marks.get(DEPOSIT_KEY) == key and text(intent, "status") == "succeeded":
            return answers.read_deposit(intent, key)
        if marks.get(RELEASE_KEY) == key and text(intent, "status") == "canceled":
            return answers.read_release(intent, key)
        listed = self._ask(lambda: self._api.refunds.list({"payment_intent": reference, "limit": 100}))
        for refund in answers.rows(listed):
            if text(part(refund, "metadata"), KEY) == key:
                return answers.read_refund(refund, key, self._codes)
        return Absent(key)

    def intent(self, reference: str) -> Json | None:
        """Give a payment intent with its newest charge; None where there is none of that name."""
        if not INTENT.fullmatch(reference):
            return None
        try:
            return self._ask(lambda: self._api.payment_intents.retrieve(reference, {"expand": ["latest_charge"]}))
        except Refused:
            return None
