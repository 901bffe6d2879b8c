"""Amounts as MultiSpeak writes them, in both directions.

Source: MSP-10; how real servers write and round amounts.
"""

from __future__ import annotations

import re
import struct
from decimal import ROUND_HALF_UP, Decimal

_CENT = Decimal("0.01")
_PLAIN = re.compile(
    r"[+-]?\$?(?P<digits>[0-9]{1,15}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE](?P<exponent>[+-]?[0-9]{1,2}))?",
    re.ASCII,
)
# Grouped by commas only with a decimal point behind: a lone 1,234 may be a thousand or one and a bit.
_GROUPED = re.compile(r"[+-]?\$?(?P<digits>[0-9]{1,3}(?:,[0-9]{3}){1,4}\.[0-9]{1,20})", re.ASCII)


class UnreadableAmount(ValueError):
    """A text is no amount; the text says which."""


def amount_text(amount: Decimal, service_version: int) -> str:
    """Write an amount of at most two places: version 1 in the shortest form (``232.1``), version 2 as ``232.10``.

    The interface description does not print the two formats; this choice is ours and stands here alone.

    Source: MSP-10, setting 35
    """
    if service_version == 2:
        return f"{amount:.2f}"
    return f"{amount:.2f}".rstrip("0").rstrip(".")


def read_amount(text: str) -> Decimal:
    """Read an amount: ``232.1``, ``-4``, ``$4.00``, ``1,234.50``, ``1.5E+05``; at most fifteen digits before the point.

    :raises UnreadableAmount: anything else, NaN and a lone ``1,234`` among it.
    """
    stripped = text.strip(" \t\r\n")
    match = _PLAIN.fullmatch(stripped) or _GROUPED.fullmatch(stripped)
    if match is None:
        raise UnreadableAmount(f"an amount cannot be read: {stripped[:40]!r}")
    groups = match.groupdict()
    amount = Decimal(groups["digits"].replace(",", "") + (f"E{groups['exponent']}" if groups.get("exponent") else ""))
    if amount >= Decimal("1E15"):
        raise UnreadableAmount(f"an amount cannot be read: {stripped[:40]!r}")
    return -amount if stripped.startswith("-") and amount else amount


def to_cents(amount: Decimal) -> Decimal:
    """Round an echoed amount to cents, as servers that keep floats need it."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)


def same_amount(sent: Decimal, echoed: Decimal) -> bool:
    """Tell whether an echo is of the amount sent (in whole cents): equal in cents, or the same 32-bit float.

    Servers that keep amounts as such floats echo every cent up to 131,072.00, and beyond it the nearest float's.
    """
    # Binary on purpose: it asks what such a server would have stored.
    return to_cents(echoed) == sent or struct.pack("<f", float(echoed)) == struct.pack("<f", float(sent))
