"""Telephone numbers as people write them, read into one form (E.164)."""

from __future__ import annotations

import phonenumbers

_LEAST_FIGURES = 7


def parse(written: str) -> phonenumbers.PhoneNumber | None:
    """Take a telephone number apart; one without a country code is American. Nothing where it cannot be dialled from afar.

    A number without its area code is none: it would be somebody else's elsewhere.
    """
    figures = [character for character in written if character.isdigit()]
    if len(figures) < _LEAST_FIGURES or set(figures) == {"0"}:
        return None  # for the first the library takes a millisecond to say so, for the second it does not mind
    try:
        number = phonenumbers.parse(written, "US")
    except phonenumbers.NumberParseException:
        return None
    possible = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    return number if possible else None


def read(written: str) -> str | None:
    """Give a telephone number as E.164 without its extension, or nothing where it is none."""
    number = parse(written)
    return None if number is None else written_of(number)


def written_of(number: phonenumbers.PhoneNumber) -> str:
    """Write a telephone number as E.164."""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
