"""The published test cards and test bank accounts of the simulated processor, and what each of them does.

This is the only file in which a card or account number may stand. None of them belongs to anybody: they are numbers
that processors publish for testing. The simulated processor takes these and no other.

Source: PAY-23.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedCard:
    """One test card; ``outcome`` is the simulated processor's name for what it will answer."""

    number: str
    brand: str
    outcome: str
    meaning: str


@dataclass(frozen=True, slots=True)
class PublishedAccount:
    """One test bank account; ``bank`` is the name that the simulated processor knows the routing number by."""

    routing: str
    account: str
    bank: str
    outcome: str
    meaning: str


CARDS: dict[str, PublishedCard] = {
    "visa": PublishedCard("4111111111111111", "visa", "approve", "approved"),
    "visa_other": PublishedCard("4242424242424242", "visa", "approve", "approved"),
    "mastercard": PublishedCard("5555555555554444", "mastercard", "approve", "approved"),
    "amex": PublishedCard("378282246310005", "amex", "approve", "approved, four-digit security code"),
    "discover": PublishedCard("6011111111111117", "discover", "approve", "approved"),
    "later_decline": PublishedCard("4000000000000341", "visa", "verify_only", "verified, each charge soft declined"),
    "soft_decline": PublishedCard("4000000000009995", "visa", "soft_decline", "not enough funds, may be tried again"),
    "hard_decline": PublishedCard("4000000000000002", "visa", "hard_decline", "declined for good"),
    "bad_card": PublishedCard("4000000000000069", "visa", "bad_card", "expired or not valid"),
    "avs_fail": PublishedCard("4000000000000010", "visa", "avs_fail", "address does not match"),
    "zip_fail": PublishedCard("4000000000000036", "visa", "zip_fail", "ZIP code does not match"),
    "location_fail": PublishedCard("4000000000000028", "visa", "location_fail", "country is not served"),
    "cvv_fail": PublishedCard("4000000000000127", "visa", "cvv_fail", "security code does not match"),
    "service_unavailable": PublishedCard("4000000000000119", "visa", "service_unavailable", "issuer does not answer"),
    "busy": PublishedCard("4000000000000093", "visa", "busy", "processor is busy, nothing was done"),
    "under_minimum": PublishedCard("4000000000000077", "visa", "under_minimum", "amount is under the issuer's minimum"),
    "technical_problem": PublishedCard("4000000000000259", "visa", "technical_problem", "technical problem"),
    "not_accepted": PublishedCard("4100000000000019", "visa", "refused", "refused by the form, no token"),
}

ACCOUNTS: dict[str, PublishedAccount] = {
    "checking": PublishedAccount("110000000", "000123456789", "First Test Bank", "approve", "approved"),
    "no_account": PublishedAccount("110000000", "000111111116", "First Test Bank", "hard_decline", "no such account"),
    "closed": PublishedAccount("110000000", "000111111113", "First Test Bank", "bad_card", "account is closed"),
    "no_funds": PublishedAccount("110000000", "000222222227", "First Test Bank", "soft_decline", "not enough funds"),
    "not_authorized": PublishedAccount(
        "110000000", "000333333335", "First Test Bank", "hard_decline", "debits are not authorized"
    ),
    "not_accepted": PublishedAccount("110000000", "000444444440", "First Test Bank", "refused", "refused, no token"),
}
