"""How answers are read: strictly about what they say, leniently about how they say it.

Amounts are Decimal from the text itself. What cannot be read is never guessed: it is an unknown outcome.

Source: MSP-11; ``answers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from lxml import etree

from datapump.connectors.base import (
    ConnectorError,
    Delivered,
    Message,
    OutcomeUnknown,
    Undelivered,
)
from datapump.connectors.masking import clip
from datapump.connectors.multispeak.amounts import (
    UnreadableAmount,
    read_amount,
    same_amount,
    to_cents,
)
from datapump.connectors.multispeak.answers import (
    Unreadable,
    child_text,
    error_text,
    every,
    leaf,
    list_error,
    local,
    raise_errors,
    refusal,
    response_to,
)
from datapump.connectors.multispeak.envelopes import TENDERS
from datapump.connectors.multispeak.shapes import Shapes


@dataclass(frozen=True, slots=True)
class Echo:
    """One tender of an answer to CommitPaymentTransaction; ``trouble`` says why ``amount`` is None."""

    account: str
    amount: Decimal | None
    trouble: str
    code: str
    error: str

    @property
    def verdict(self) -> Literal["success", "failure", "unclear"]:
        """What the server says of it; an error beside a Success is unclear."""
        succeeded = self.code.casefold() == "success"
        if succeeded:
            return "unclear" if self.error else "success"
        return "failure" if self.code or self.error else "unclear"


def read_payments(messages: Sequence[Message], status: int, body: bytes) -> list[Delivered | Undelivered]:
    """Read an answer to CommitPaymentTransaction: a result for each payment, matched by account and amount.

    Success delivers; Failure, Error or any other code is Refused with the reason; a payment that the answer does not
    mention, or with another amount, is OutcomeUnknown.

    Source: MSP-11
    """
    if (known := _SHAPES.read(messages, status, body)) is not None:
        return list(known)
    results = read_payments_strictly(messages, status, body)
    if all(isinstance(result, Delivered) for result in results):
        _SHAPES.learn(status, body)
    return results


def read_payments_strictly(messages: Sequence[Message], status: int, body: bytes) -> list[Delivered | Undelivered]:
    """Read such an answer by parsing it, whatever its shape."""
    try:
        response = response_to(status, body, "CommitPaymentTransaction")
    except ConnectorError as error:
        return [Undelivered(message.id, error) for message in messages]
    echoes = list(_echoes(response))
    errors = [(element.get("objectID", ""), error_text(element)) for element in every(response, "errorObject")]
    accounts = {message.account for message in messages}
    # What names none of these accounts may be meant for any of them.
    for_all = [text for account, text in errors if account not in accounts]
    if error_on_list := list_error(response):
        for_all.append(error_on_list)
    return [
        _payment_result(
            message,
            [echo for echo in echoes if echo.account == message.account],
            [text for account, text in errors if account == message.account] + for_all,
        )
        for message in messages
    ]


def read_errors(messages: Sequence[Message], status: int, body: bytes, operation: str) -> list[Delivered | Undelivered]:
    """Read an answer that is a list of errorObject (ModifyCBDataForCustomer, WriteAccountHistoryComments): an empty or
    absent list is success for all, anything in it a failure of all.
    """
    try:
        raise_errors(response_to(status, body, operation))
    except ConnectorError as error:
        return [Undelivered(message.id, error) for message in messages]
    return [Delivered(message.id) for message in messages]


def read_ping(status: int, body: bytes) -> None:
    """Return where PingURL was answered without an error.

    :raises ConnectorError: it was not; the text says why.
    """
    raise_errors(response_to(status, body, "PingURL"))


def read_methods(status: int, body: bytes) -> str:
    """Return the operations that an answer to GetMethods names, in words.

    :raises ConnectorError: it was not answered; the text says why.
    """
    response = response_to(status, body, "GetMethods")
    raise_errors(response)
    names = [leaf(element) for element in every(response, "string")]
    return f"It names: {clip(', '.join(name for name in names if name))}." if any(names) else "It names no operations."


def _payment_result(message: Message, echoes: list[Echo], errors: list[str]) -> Delivered | Undelivered:
    sent = to_cents(Decimal(message.facts["amount"]))
    ours = [echo for echo in echoes if echo.amount is not None and same_amount(sent, echo.amount)]
    # A refusal need not repeat the amount; a success must.
    if not ours and echoes and all(echo.verdict == "failure" for echo in echoes):
        ours = echoes
    verdicts = {echo.verdict for echo in ours}
    if verdicts == {"success"} and not errors:
        return Delivered(message.id, "Success")
    if verdicts <= {"failure"} and (ours or (errors and not echoes)):
        said = [echo.error or f"responseCode {echo.code}" for echo in ours] + errors
        return Undelivered(message.id, refusal(said[0]))
    return Undelivered(
        message.id,
        OutcomeUnknown(_why_unclear(sent, echoes, ours, errors), answered=True),
    )


def _why_unclear(sent: Decimal, echoes: list[Echo], ours: list[Echo], errors: list[str]) -> str:
    if not echoes:
        return "The biller's system answered, but said nothing of this payment."
    if not ours:
        echo = echoes[0]
        other = echo.trouble or f"it says {echo.amount}, we sent {sent}"
        return f"The biller's system answered about this account, but not about this amount: {clip(other)}."
    said = ", ".join(dict.fromkeys(_say(echo) for echo in ours)) + "".join(f"; {error}" for error in errors)
    return f"The biller's system does not say clearly whether it took this payment: {clip(said)}."


def _say(echo: Echo) -> str:
    code = f"responseCode {echo.code}" if echo.code else "no responseCode"
    return f"{code} with the error {echo.error}" if echo.error else code


def _echoes(response: etree._Element) -> Iterator[Echo]:
    transactions = list(every(response, "paymentTransaction"))
    if not transactions and len(list(every(response, "accountNumber"))) == 1:
        transactions = [response]  # one transaction whose wrapper was lost
    for transaction in transactions:
        direct = [element for element in transaction if local(element) == "accountNumber"]
        accounts = {leaf(element) for element in direct or every(transaction, "accountNumber")}
        account = accounts.pop() if len(accounts) == 1 else ""
        if not account or (transaction is not response and len(list(every(transaction, "paymentTransaction"))) > 1):
            continue  # nobody's, or two at once, or one inside another: those asked for will be missing
        shared = [
            transaction.get("errorString", ""),
            child_text(transaction, "responseCode"),
        ]
        for tender in _tenders(transaction):
            yield _echo(account, tender, shared)


def successes(body: bytes) -> Iterator[Echo]:
    """Yield what an answer says of each payment, where it speaks of payments alone.

    :raises ConnectorError: it says something else.
    """
    response = response_to(200, body, "CommitPaymentTransaction")
    for element in every(response, "errorObject"):
        raise refusal(error_text(element))
    if error := list_error(response):
        raise refusal(error)
    yield from _echoes(response)


def _tenders(transaction: etree._Element) -> list[etree._Element]:
    found = list(every(transaction, "tender"))
    if not found:  # a wrapper or two were lost
        found = [element for name in TENDERS.values() for element in every(transaction, name)]
    return found or [transaction]


def _echo(account: str, tender: etree._Element, shared: list[str]) -> Echo:
    amounts = [element for element in tender if local(element) == "amount"]
    codes = {code for element in tender if local(element) == "responseCode" and (code := leaf(element))}
    if not codes and shared[1]:
        codes = {shared[1]}
    parent = tender.getparent()
    errors = [
        tender.get("errorString", ""),
        shared[0],
        "" if parent is None else parent.get("errorString", ""),
    ]
    amount, trouble = None, ""
    try:
        if len(amounts) != 1:
            raise Unreadable("it holds no amount" if not amounts else "it holds several amounts")
        amount = read_amount(leaf(amounts[0], "an amount"))
    except (Unreadable, UnreadableAmount) as error:
        trouble = str(error)
    return Echo(
        account=account,
        amount=amount,
        trouble=trouble,
        code=codes.pop() if len(codes) == 1 else "",  # two that differ say nothing
        error=next((clip(error) for error in errors if error.strip()), ""),
    )


_SHAPES = Shapes(successes)
