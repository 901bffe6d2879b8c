"""Amounts of money: Decimal with a currency, quantised here and nowhere else."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from billing.errors import DomainError

# ISO 4217 minor units where they are not two. Not CLDR's, which differ from what banks use.
_PLACES = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0, "RWF": 0, "UGX": 0,
    "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
}  # fmt: skip
# Stored amounts have two places (numeric(14,2)); a currency with three is refused where a biller is set up.
UNSUPPORTED = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND", "CLF", "UYW"})
LARGEST = Decimal("999999999999.99")
ZERO = Decimal("0.00")


class BadAmount(DomainError):
    """The text or number is no amount of that currency."""

    default = "Enter an amount such as 84.10."


def places(currency: str) -> int:
    """Give how many decimal places the currency has."""
    return _PLACES.get(currency, 2)


def quantise(amount: Decimal, currency: str) -> Decimal:
    """Round an amount to the currency's places, halves away from zero; stored with two places."""
    step = Decimal(1).scaleb(-places(currency))
    return amount.quantize(step, rounding=ROUND_HALF_UP).quantize(Decimal("0.01"))


def parse(text: str, currency: str) -> Decimal:
    """Read an amount typed by a person: ``84.10``, ``$1,234.50``.

    :raises BadAmount: it is no number, has more places than the currency, or is too large.
    """
    cleaned = text.strip().removeprefix("$").replace(",", "").strip()
    try:
        amount = Decimal(cleaned)
    except InvalidOperation:
        raise BadAmount(f"“{text[:30]}” is not an amount. Enter one such as 84.10.", field="amount") from None
    if not amount.is_finite() or abs(amount) > LARGEST:
        raise BadAmount(f"“{text[:30]}” is not an amount. Enter one such as 84.10.", field="amount")
    if amount != quantise(amount, currency):
        raise BadAmount(f"Enter an amount with at most {places(currency)} decimal places.", field="amount")
    return quantise(amount, currency)
