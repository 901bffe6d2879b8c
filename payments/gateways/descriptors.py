"""Soft descriptors: what a payer's card or bank statement says of a charge, and the number to call about it.

Source: PAY-21.
"""

from __future__ import annotations

import re

LONGEST = 22
# Counted from one: what stands before the asterisk has 3, 7 or 12 characters.
ASTERISK_AT = (4, 8, 13)
# The statement's field for the city.
PHONE_LONGEST = 13

_PLAIN = re.compile(r"[A-Za-z0-9 &,./#'-]*")
_PHONE = re.compile(r"[0-9]{3}-(?:[0-9]{3}-[0-9]{4}|[0-9A-Z]{7})")


def check_descriptor(descriptor: str) -> None:
    """Refuse what no statement can show: "DBA * item" without blanks around, such as ``BRM*InternetSVC``.

    :raises ValueError: says what is wrong, for whoever typed it.
    """
    name, asterisk, item = descriptor.partition("*")
    if not asterisk or "*" in item:
        raise ValueError("Write the name, one asterisk and what is paid for, such as MFW*Water bill.")
    if len(descriptor) > LONGEST:
        raise ValueError(f"A statement shows {LONGEST} characters; these are {len(descriptor)}.")
    if len(name) + 1 not in ASTERISK_AT:
        raise ValueError(f"The asterisk stands in position 4, 8 or 13; here it is in position {len(name) + 1}.")
    if not _PLAIN.fullmatch(name + item):
        raise ValueError("Use unaccented letters, digits, blanks and & , . / # ' - only.")
    if not name.strip() or not item or name[0] == " " or item != item.strip():
        raise ValueError("Begin with the name, and write what is paid for right after the asterisk.")


def check_phone(phone: str) -> None:
    """Refuse a number that does not fit where a statement has the city: 800-555-0123 or 800-CITYWTR.

    :raises ValueError: says what is wrong, for whoever typed it.
    """
    if len(phone) > PHONE_LONGEST or not _PHONE.fullmatch(phone):
        raise ValueError("Write the telephone number as 800-555-0123 or 800-CITYWTR.")


def item_of(descriptor: str) -> str:
    """Give what is paid for: what follows the asterisk; nothing where there is no descriptor."""
    return descriptor.partition("*")[2]
