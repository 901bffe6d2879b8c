"""Amounts on Stripe's wire: whole numbers of the smallest unit that its API has for a currency.

Source: PAY-20; docs.stripe.com/currencies.
"""

from __future__ import annotations

import re
from decimal import Decimal

# As Stripe lists them; where its API differs from ISO 4217, Stripe is right on its own wire.
_NO_PLACES = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"}
)
_THREE_PLACES = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
# Told in hundredths of which only whole hundreds are taken.
_WHOLE_HUNDREDS = frozenset({"ISK", "UGX"})
_CURRENCY = re.compile("[A-Z]{3}")
# Stripe takes at most twelve digits.
_LARGEST = 10**12


def places(currency: str) -> int:
    """Give how many decimal places Stripe's API has for a currency."""
    return 0 if currency in _NO_PLACES else 3 if currency in _THREE_PLACES else 2


def minor_units(amount: Decimal, currency: str) -> int:
    """Give an amount as Stripe takes it, exactly.

    :raises ValueError: the currency is none, or the amount has more places than Stripe takes of it.
    """
    if not _CURRENCY.fullmatch(currency):
        raise ValueError("a currency is three letters")
    if not amount.is_finite():
        raise ValueError("an amount is a number")
    minor = amount.scaleb(places(currency))
    whole = int(minor)
    # Partners of Stripe keep two places of those with three.
    step = 10 if currency in _THREE_PLACES else 100 if currency in _WHOLE_HUNDREDS else 1
    if whole != minor or whole % step or abs(whole) >= _LARGEST:
        raise ValueError(f"{amount} is no amount in {currency}")
    return whole


def major_units(minor: int, currency: str) -> Decimal:
    """Give an amount as Stripe told it in the currency's own unit."""
    return Decimal(minor).scaleb(-places(currency.upper()))
