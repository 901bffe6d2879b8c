"""What an account owes: GetPayableItemsList written, and its answer read.

The answer is read as strictly as every other: by local name, Decimal from text. Half a balance is a wrong one, so that
whatever cannot be read makes the whole answer unreadable, and nothing is ever taken for zero that was not said to be so.

Source: MSP-1 to MSP-4; evidence 7.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import NoReturn

from lxml import etree

from datapump.connectors.base import Balance, OutcomeUnknown, Refused
from datapump.connectors.masking import clip
from datapump.connectors.multispeak.amounts import UnreadableAmount, read_amount, to_cents
from datapump.connectors.multispeak.answers import (
    Unreadable,
    child_text,
    every,
    leaf,
    local,
    raise_errors,
    response_to,
)
from datapump.connectors.multispeak.envelopes import NotXml, text
from datapump.connectors.multispeak.options import Options

OPERATION = "GetPayableItemsList"

_ZERO = Decimal("0.00")
_MOST = Decimal("999999999999.99")
_MOST_DAYS = 99_999
_NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_SAYS = {
    "y": True, "yes": True, "true": True, "1": True,
    "n": False, "no": False, "false": False, "0": False, "": False,
}  # fmt: skip
# A server that keeps 32-bit floats is off by no more than this part of an amount.
_SINGLE = Decimal(2) ** -23


def write(account: str) -> str:
    """Write what GetPayableItemsList asks.

    :raises Refused: there is no account number, or one that XML cannot carry.
    """
    if not account.strip():
        raise Refused("the account has no account number")
    try:
        return f"<accountNumber>{text(account)}</accountNumber>"
    except NotXml as error:
        raise Refused(f"account: {error}") from None


def read(account: str, status: int, body: bytes, options: Options) -> Balance:
    """Read the answer: what is due is the sum of every currentAmount, past due of every pastDueAmount.

    An empty list is an account that owes nothing: what servers answer then. No list at all says nothing.

    :raises ConnectorError: a failure; OutcomeUnknown where anything of it cannot be read, or is about another account.
    """
    response = response_to(status, body, OPERATION)
    raise_errors(response)
    try:
        return _balance(account, response, options)
    except (Unreadable, UnreadableAmount) as error:
        _refuse(str(error))


def _refuse(trouble: str) -> NoReturn:
    raise OutcomeUnknown(f"The biller's system answered something that cannot be read: {clip(trouble)}.", answered=True)


def _balance(account: str, response: etree._Element, options: Options) -> Balance:
    for echoed in every(response, "accountNumber"):
        if leaf(echoed, "accountNumber") != account:
            raise Unreadable("it is about another account")
    items = list(every(response, "payableItem"))
    extensions = _extensions(response)
    remaining = extensions.get("remainingbalance", [])
    if not items and not remaining and not any(_lists(element) for element in response):
        raise Unreadable("it holds no list of what is owed")
    if any(local(parent) == "payableItem" for item in items for parent in item.iterancestors()):
        raise Unreadable("an item stands inside another")
    current = [_amount_in(item, "currentAmount") for item in items]
    past = [_amount_in(item, "pastDueAmount") for item in items]
    if not remaining and None in current:
        raise Unreadable("an item has no currentAmount")
    due = sum((amount for amount in current if amount is not None), _ZERO)
    if remaining:
        due = _one("remainingBalance", (_cents(one) for one in remaining))
    past_due = sum((amount for amount in past if amount is not None), _ZERO)
    if max(abs(due), abs(past_due)) > _MOST:
        raise Unreadable("the amounts are too large")
    types = tuple(said for element in every(response, "transactionType") if (said := leaf(element, "transactionType")))
    paid = [(_day_in(item, "lastPaymentDate"), _amount_in(item, "lastPaymentAmount")) for item in items]
    last_day, last_amount = max(paid, key=lambda one: (one[0] or date.min, one[1] or _ZERO), default=(None, None))
    days = [read_amount(one) for one in extensions.get("remainingdays", [])]
    if any(abs(one) > _MOST_DAYS for one in days):
        raise Unreadable("remainingDays is too large")
    return Balance(
        due=due,
        past_due=past_due,
        prepaid=bool(remaining),
        remaining_days=_one("remainingDays", days) if days else None,
        due_on=min((day for item in items if (day := _day_in(item, "dueDate"))), default=None),
        disconnect_on=min((day for item in items if (day := _day_in(item, "disconnectDate"))), default=None),
        last_payment=last_amount,
        last_paid_on=last_day,
        transaction_types=types,
        blocks=_blocks(types, extensions.get("preventcreditcard", []), options),
    )


def _lists(element: etree._Element) -> bool:
    """Tell whether an element is the list that the answer wraps, empty or not; one that says it is nil is none."""
    named = local(element).removeprefix("Get")
    return (named.endswith("Result") or named == "payableItemList") and element.get(_NIL) not in ("true", "1")


def _blocks(types: tuple[str, ...], prevents: list[str], options: Options) -> frozenset[str]:
    """Say which kinds of method are blocked: those that no type in the list stands for, where there is a list.

    A type that nobody knows stands for none of ours.
    """
    said = [_SAYS.get(one.casefold()) for one in prevents]
    if None in said:
        raise Unreadable("preventCreditCard is neither Y nor N")
    blocked = {"card"} if any(said) else set()
    if types:
        allowed = {kind for one in types for kind in options.transaction_types.get(one.casefold(), ())}
        blocked |= {"card", "bank"} - allowed
    return frozenset(blocked)


def _extensions(response: etree._Element) -> dict[str, list[str]]:
    """Give the values of every extension by its name in small letters, wherever it stands: on an item or on the list."""
    found: dict[str, list[str]] = {}
    for item in every(response, "extensionsItem"):
        found.setdefault(child_text(item, "extName").casefold(), []).append(child_text(item, "extValue"))
    return found


def _one(name: str, amounts: Iterable[Decimal]) -> Decimal:
    found = set(amounts)
    if len(found) != 1:
        raise Unreadable(f"{name} stands there with several values")
    return found.pop()


def _cents(written: str) -> Decimal:
    """Read an amount in whole cents, or as near to them as single precision comes."""
    amount = read_amount(written)
    cents = to_cents(amount)
    if abs(amount - cents) > abs(amount) * _SINGLE:
        raise Unreadable(f"an amount has fractions of a cent: {clip(written, 40)!r}")
    return cents


def _amount_in(element: etree._Element, name: str) -> Decimal | None:
    written = _only(element, name)
    return _cents(written) if written else None


def _day_in(element: etree._Element, name: str) -> date | None:
    """Read the day of a dateTime as the biller's system writes it, whatever its offset."""
    written = _only(element, name)
    if not written:
        return None
    try:
        day = datetime.fromisoformat(written).date()
    except ValueError:
        raise Unreadable(f"a date cannot be read: {clip(written, 40)!r}") from None
    # .NET writes a date that was never set as the first day of the year 1, one without an end as the last of 9999.
    return None if day.year in (1, 9999) else day


def _only(element: etree._Element, name: str) -> str:
    found = [child for child in element if local(child) == name]
    if len(found) > 1:
        raise Unreadable(f"{name} stands there twice")
    return leaf(found[0], name) if found else ""
