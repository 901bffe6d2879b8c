"""How a card or bank account comes to Stripe and what is kept of it: a token that names it, and never its number.

A token that is kept names Stripe's customer and payment method and ends in the last four digits. What a browser brings
names what was set up: a setup intent from the fields, a session from Stripe's own page.

Source: PAY-16, PAY-17.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import urlencode, urlsplit

from payments.gateways.base import (
    FieldScript,
    HostedFields,
    InstrumentDetails,
    Misconfigured,
    OutcomeUnknown,
    Refused,
)
from payments.gateways.stripe.answers import Json, part, text, whole
from payments.gateways.stripe.pages import Ask
from payments.gateways.stripe.wires import API

SCRIPT = "https://js.stripe.com/v3/"
# What Stripe's security guide asks for in a page that runs its script; hooks is where banks ask for a second factor.
_SCRIPTS = ("https://js.stripe.com", "https://*.js.stripe.com")
ORIGINS: Mapping[str, Sequence[str]] = {
    "script-src": _SCRIPTS,
    "frame-src": (*_SCRIPTS, "https://hooks.stripe.com"),
    "connect-src": (API,),
}
# Our kinds of method, and Stripe's types.
TYPES = {"card": "card", "bank": "us_bank_account"}
TOKEN = re.compile(r"(cus_[0-9A-Za-z_]+)/(pm_[0-9A-Za-z_]+)/([0-9]{4})")
_ENTERED = re.compile(r"(?:seti|cs)_[0-9A-Za-z_]+")
_LAST4 = re.compile("[0-9]{4}")


class Entries:
    """What is entered and kept in one account of Stripe's."""

    def __init__(self, ask: Ask, api: Any, *, publishable_key: str) -> None:
        self._ask = ask
        self._api = api
        self._publishable_key = publishable_key

    def hosted(self, *, parent_origin: str, kind: str, own_page: str) -> HostedFields:
        """Say where the page of ours is."""
        if kind not in TYPES:
            raise ValueError(f"no fields for {kind}")
        if not self._publishable_key:
            raise Misconfigured("Stripe's fields need the option publishable_key")
        joint = "&" if urlsplit(own_page).query else "?"
        return HostedFields(
            origin=parent_origin, frame_url=own_page, redirect_url=f"{own_page}{joint}{urlencode({'leave': 'yes'})}"
        )

    def open(self, *, kind: str, account: str, key: str) -> FieldScript:
        """Begin an entry in the fields."""
        customer = self._customer(account, key)
        intent = self._ask(
            lambda: self._api.setup_intents.create(
                {
                    "customer": customer,
                    "payment_method_types": [TYPES[kind]],
                    "usage": "off_session",
                    "metadata": {"account": account},
                },
                under(f"{key}:setup"),
            )
        )
        secret = text(intent, "client_secret")
        if not secret:
            raise OutcomeUnknown("Stripe gave no secret for the fields")
        return FieldScript(
            script_url=SCRIPT, origins=ORIGINS, publishable_key=self._publishable_key, client_secret=secret
        )

    def leave(self, *, kind: str, account: str, key: str, return_url: str, language: str) -> str:
        """Begin an entry on Stripe's own page and give its address."""
        customer = self._customer(account, key)
        joint = "&" if urlsplit(return_url).query else "?"
        session = self._ask(
            lambda: self._api.checkout.sessions.create(
                {
                    "mode": "setup",
                    "customer": customer,
                    "payment_method_types": [TYPES[kind]],
                    "success_url": f"{return_url}{joint}token={{CHECKOUT_SESSION_ID}}",
                    "cancel_url": return_url,
                    "locale": "es" if language == "es" else "en",
                    "metadata": {"account": account},
                },
                under(f"{key}:checkout"),
            )
        )
        address = text(session, "url")
        if urlsplit(address).scheme != "https":
            raise OutcomeUnknown("Stripe gave no address for its page")
        return address

    def describe(self, token: str, account: str = "") -> InstrumentDetails:
        """Ask what was entered, or what is kept; what a browser brings for an account must have been entered for it.

        The name of an entry is no secret: Stripe's own page gives it back in an address. One that is kept comes from no browser.
        """
        kept = TOKEN.fullmatch(token)
        if kept is not None and not account:
            return self._method(kept[1], kept[2], kept[3])
        if not _ENTERED.fullmatch(token):
            raise Refused("the token is not known")
        intent: Json
        if token.startswith("cs_"):
            entry = self._known(lambda: self._api.checkout.sessions.retrieve(token, {"expand": ["setup_intent"]}))
            intent = part(entry, "setup_intent")
        else:
            intent = entry = self._known(lambda: self._api.setup_intents.retrieve(token))
        if account and text(part(entry, "metadata"), "account") != account:
            raise Refused("the token is not known")
        status = text(intent, "status")
        if status == "processing":
            raise OutcomeUnknown("Stripe still checks what was entered")
        if status != "succeeded":
            raise Refused("what was entered was refused by validation, or is not complete")
        return self._method(text(intent, "customer"), text(intent, "payment_method"), None)

    def _customer(self, account: str, key: str) -> str:
        made = self._ask(
            lambda: self._api.customers.create({"description": f"Account {account}"}, under(f"{key}:customer"))
        )
        return text(made, "id")

    def _method(self, customer: str, method: str, last4: str | None) -> InstrumentDetails:
        found = self._known(lambda: self._api.payment_methods.retrieve(method))
        details = read_method(found, customer)
        if last4 is not None and details.last4 != last4:
            raise Refused("the token is not known")
        return details

    def _known(self, call: Callable[[], Any]) -> dict[str, Any]:
        try:
            return self._ask(call)
        except Refused:
            raise Refused("the token is not known") from None


def under(key: str) -> Any:
    """Give the options of a call that has an idempotency key."""
    return {"idempotency_key": key}


def read_method(found: Json, customer: str) -> InstrumentDetails:
    """Read a payment method that a customer of Stripe's has.

    :raises Refused: it has another, or is no card or bank account.
    :raises OutcomeUnknown: it cannot be read.
    """
    kind = {theirs: ours for ours, theirs in TYPES.items()}.get(text(found, "type"))
    if not customer or text(found, "customer") != customer or kind is None:
        raise Refused("the token is not known")
    details = part(found, TYPES[kind])
    if not _LAST4.fullmatch(text(details, "last4")):
        raise OutcomeUnknown("what the token stands for cannot be read")
    return InstrumentDetails(
        token=f"{customer}/{text(found, 'id')}/{text(details, 'last4')}",
        kind=kind,
        brand=(text(details, "brand") if kind == "card" else text(details, "bank_name"))[:30],
        last4=text(details, "last4"),
        holder=text(part(found, "billing_details"), "name")[:120],
        expires_on=_last_day(details) if kind == "card" else None,
    )


def _last_day(card: Json) -> date:
    year, month = whole(card, "exp_year"), whole(card, "exp_month")
    if not 1 <= month <= 12 or not 2000 <= year <= 9999:
        raise OutcomeUnknown("a card's expiry cannot be read")
    return date(year, month, calendar.monthrange(year, month)[1])
