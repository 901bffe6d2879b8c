"""Reading what a person typed into the processor's own card or bank form.

Pure functions: text in, an entry or the errors out. A card number or security code lives only in the arguments: what is
given back has the last four digits and no more.

Source: PAY-14, PAY-16, PAY-17, PAY-18, PAY-23.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from payments.gateways.test_numbers import ACCOUNTS, CARDS

CARD_FIELDS = ("holder", "number", "expiry", "cvv", "address", "zip")
BANK_FIELDS = ("holder", "routing", "account", "account_type")
YEARS_AHEAD = 20
ENTRY_LONGEST = 100

_EXPIRY = re.compile(r"([0-9]{1,2}) ?[/-]? ?((?:20)?[0-9]{2})")
_ZIP = re.compile(r"[0-9]{5}(?:-?[0-9]{4})?|[A-Za-z][0-9][A-Za-z] ?[0-9][A-Za-z][0-9]")


@dataclass(frozen=True, slots=True)
class Entered:
    """A card or bank account that the form accepts; ``outcome`` is what the published number does.

    ``avs`` and ``cvv`` are what its issuer will say of address and security code, in the networks' letters: an address is
    checked where it is in plain letters, in the United States or Canada.
    """

    kind: str
    brand: str
    last4: str
    holder: str
    expires_on: date | None
    outcome: str
    avs: str = ""
    cvv: str = ""


@dataclass(frozen=True, slots=True)
class Errors:
    """What is wrong: field name to the name of a message in ``pages.WORDS``; an empty field name is the whole form."""

    of: Mapping[str, str]


def read_card(form: Mapping[str, str], *, today: date, cvv_required: bool = True) -> Entered | Errors:
    """Read the card form: number by Luhn, expiry not past, security code as long as the brand's, where there must be one."""
    errors: dict[str, str] = {}
    holder = _holder(form, errors)
    number = _digits(form.get("number", ""))
    published = next((card for card in CARDS.values() if card.number == number), None)
    if not form.get("number", "").strip():
        errors["number"] = "number_missing"
    elif not (12 <= len(number) <= 19 and passes_luhn(number)):
        errors["number"] = "number_wrong"
    elif published is None:
        errors["number"] = "number_not_test"
    expires_on = read_expiry(form.get("expiry", ""))
    if not form.get("expiry", "").strip():
        errors["expiry"] = "expiry_missing"
    elif expires_on is None or expires_on.year > today.year + YEARS_AHEAD:
        errors["expiry"] = "expiry_wrong"
    elif expires_on < today:
        errors["expiry"] = "expiry_past"
    cvv = form.get("cvv", "").strip()
    length = 4 if published is not None and published.brand == "amex" else 3
    if not cvv:
        if cvv_required:
            errors["cvv"] = "cvv_missing"
    elif not (cvv.isascii() and cvv.isdigit() and (len(cvv) == length or (published is None and len(cvv) in {3, 4}))):
        errors["cvv"] = "cvv_four" if length == 4 else "cvv_three"
    if len(form.get("address", "").strip()) > ENTRY_LONGEST:
        errors["address"] = "address_wrong"
    if not form.get("zip", "").strip():
        errors["zip"] = "zip_missing"
    elif not _ZIP.fullmatch(form["zip"].strip()):
        errors["zip"] = "zip_wrong"
    if errors or published is None:
        return Errors({name: errors[name] for name in CARD_FIELDS if name in errors})
    if published.outcome == "refused":
        return Errors({"": "card_refused"})
    return Entered(
        *("card", published.brand, number[-4:], holder, expires_on, published.outcome),
        avs=_avs(form.get("address", "").strip()),
        cvv="M" if cvv else "P",
    )


def _avs(address: str) -> str:
    """Say what is answered of an address: it matches, only its ZIP code does, or it cannot be checked."""
    if not address:
        return "Z"
    return "Y" if address.isascii() else "U"


def read_bank(form: Mapping[str, str]) -> Entered | Errors:
    """Read the bank form: routing number by its checksum, account number of up to 17 digits."""
    errors: dict[str, str] = {}
    holder = _holder(form, errors)
    routing, account = _digits(form.get("routing", "")), _digits(form.get("account", ""))
    if not form.get("routing", "").strip():
        errors["routing"] = "routing_missing"
    elif not passes_routing_checksum(routing):
        errors["routing"] = "routing_wrong"
    if not form.get("account", "").strip():
        errors["account"] = "account_missing"
    elif not 4 <= len(account) <= 17:
        errors["account"] = "account_wrong"
    if form.get("account_type") not in {"checking", "savings"}:
        errors["account_type"] = "account_type_missing"
    published = next(
        (known for known in ACCOUNTS.values() if (known.routing, known.account) == (routing, account)), None
    )
    if published is None and not errors.keys() & {"routing", "account"}:
        errors["account"] = "account_not_test"
    if errors or published is None:
        return Errors({name: errors[name] for name in BANK_FIELDS if name in errors})
    if published.outcome == "refused":
        return Errors({"": "bank_refused"})
    return Entered("bank", published.bank, account[-4:], holder, None, published.outcome)


def read_expiry(text: str) -> date | None:
    """Read MM/YY, MM/YYYY, MMYY and the like as the last day of that month."""
    found = _EXPIRY.fullmatch(text.strip())
    if found is None:
        return None
    month, year = int(found[1]), int(found[2])
    if not 1 <= month <= 12:
        return None
    year += 2000 if year < 100 else 0
    return date(year, month, calendar.monthrange(year, month)[1])


def passes_luhn(number: str) -> bool:
    """Say whether the check digit of a card number is right."""
    total = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit)
        if position % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def passes_routing_checksum(routing: str) -> bool:
    """Say whether a routing number has nine digits and the right check digit."""
    if len(routing) != 9 or routing == "0" * 9:
        return False
    digits = [int(digit) for digit in routing]
    return (3 * sum(digits[0::3]) + 7 * sum(digits[1::3]) + sum(digits[2::3])) % 10 == 0


def _holder(form: Mapping[str, str], errors: dict[str, str]) -> str:
    holder = " ".join(form.get("holder", "").split())
    if not holder:
        errors["holder"] = "holder_missing"
    elif len(holder) > ENTRY_LONGEST or not holder.isprintable() or len(re.findall("[0-9]", holder)) > 3:
        # Card numbers get typed into the name by mistake, and the name is kept.
        errors["holder"] = "holder_wrong"
    return holder


def _digits(text: str) -> str:
    """Give the digits of a number typed with spaces or dashes; nothing where there is anything else in it."""
    bare = re.sub("[ \u00a0-]", "", text.strip())
    return bare if bare.isascii() and bare.isdigit() and len(bare) <= 30 else ""
