"""How answers are read: strictly about what they say, leniently about how they say it.

Elements are found by local name, in any order, with or without prefixes and wrappers. Amounts are Decimal from the text
itself. What cannot be read is never guessed: it is an unknown outcome. There are three channels of failure: a SOAP Fault
with any status, a non-empty list of errorObject (even without an errorString), a responseCode or errorString. HTTP 200 is
no success.

Source: MSP-11; evidence of what real servers answer.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, NoReturn

from lxml import etree

from datapump.connectors.base import (
    ConnectorError,
    Delivered,
    Message,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    Refused,
    Undelivered,
)
from datapump.connectors.multispeak.envelopes import TENDERS
from datapump.connectors.multispeak.masking import mask_text
from datapump.connectors.multispeak.options import OPERATIONS
from datapump.connectors.safe_xml import UnsafeXml, parse

SINGLE_PRECISION_EXACT = Decimal("131072.00")
"""Up to here a server that keeps amounts as 32-bit floats still echoes every cent."""

MAX_REASON = 300

_CENT = Decimal("0.01")
_PLAIN = re.compile(
    r"[+-]?\$?(?P<digits>[0-9]{1,15}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE](?P<exponent>[+-]?[0-9]{1,2}))?", re.ASCII
)
# Grouped by commas only with a decimal point behind: a lone 1,234 may be a thousand or one and a bit.
_GROUPED = re.compile(r"[+-]?\$?(?P<digits>[0-9]{1,3}(?:,[0-9]{3}){1,4}\.[0-9]{1,20})", re.ASCII)
_CREDENTIALS = re.compile(
    r"\b(?:invalid|bad|wrong|unknown|incorrect|missing) (?:user ?(?:id|name)?|log[io]n|password|pwd|credentials?)\b"
    r"|\b(?:log[io]n|log[io]n attempt|authentication|authori[sz]ation) (?:failed|failure|required|denied)\b"
    r"|\b(?:failed|could not|cannot|unable to) (?:log[io]n|log in|authenticate|authentication)\b"
    r"|\b(?:userid|password|pwd|credentials?)\b.{0,40}\b(?:invalid|incorrect|wrong|required|missing|not (?:valid|recogni[sz]ed|found|match))"
    r"|\bfailedauthentication\b|\binvalidsecurity\b|\bunauthori[sz]ed\b|\bnot authori[sz]ed\b|\baccess (?:is )?denied\b",
    re.IGNORECASE,
)
_NO_SUCH_OPERATION = re.compile(
    r"\bsoapaction\b|\b(?:no such|unknown|unsupported) (?:operation|method)\b"
    r"|\b(?:operation|method)\b.{0,80}\b(?:not (?:found|supported|implemented|recogni[sz]ed|available)|unknown)\b",
    re.IGNORECASE,
)
_WRONG_PLACE = frozenset((401, 403, 404, 405, 407, 410))


class Unreadable(ValueError):
    """An answer, or an amount or date in it, cannot be read; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A SOAP Fault; ``ours`` is true where its code blames the sender, so that nothing was processed."""

    ours: bool
    text: str


@dataclass(frozen=True, slots=True)
class Echo:
    """One tender of an answer to CommitPaymentTransaction; ``amount`` None is absent or unreadable, as ``trouble`` says."""

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


@dataclass(frozen=True, slots=True)
class PayableItem:
    """One thing a customer owes or has on account; None is what the server left out."""

    past_due: Decimal | None
    current: Decimal | None
    description: str
    charge_code: str
    due_at: datetime | None
    disconnect_at: datetime | None
    last_payment: Decimal | None
    last_paid_at: datetime | None


@dataclass(frozen=True, slots=True)
class PayableItems:
    """An answer to GetPayableItemsList; extensions are read wherever they stand, on an item or on the list."""

    items: tuple[PayableItem, ...]
    transaction_types: tuple[str, ...]
    remaining_balance: Decimal | None
    remaining_days: Decimal | None
    prevent_credit_card: bool


def read_amount(text: str) -> Decimal:
    """Read an amount: ``232.1``, ``-4``, ``$4.00``, ``1,234.50``, ``1.5E+05``; at most fifteen digits before the point.

    :raises Unreadable: anything else, NaN and a lone ``1,234`` among it.
    """
    stripped = text.strip(" \t\r\n")
    match = _PLAIN.fullmatch(stripped) or _GROUPED.fullmatch(stripped)
    if match is None:
        raise Unreadable(f"an amount cannot be read: {_clip(stripped, 40)!r}")
    groups = match.groupdict()
    amount = Decimal(groups["digits"].replace(",", "") + (f"E{groups['exponent']}" if groups.get("exponent") else ""))
    if amount >= Decimal("1E15"):
        raise Unreadable(f"an amount cannot be read: {_clip(stripped, 40)!r}")
    return -amount if stripped.startswith("-") and amount else amount


def to_cents(amount: Decimal) -> Decimal:
    """Round an echoed amount to cents, as servers that keep floats need it."""
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)


def same_amount(sent: Decimal, echoed: Decimal) -> bool:
    """Tell whether an echo is of the amount sent, which has whole cents: equal when rounded to cents, or, above what
    32-bit floats keep exactly, the same 32-bit float."""
    if to_cents(echoed) == sent:
        return True
    if sent <= SINGLE_PRECISION_EXACT or echoed <= SINGLE_PRECISION_EXACT:
        return False
    # Binary on purpose: it asks what a server that stored a float would have stored.
    return struct.pack("<f", float(sent)) == struct.pack("<f", float(echoed))


def read_payments(messages: Sequence[Message], status: int, body: bytes) -> list[Delivered | Undelivered]:
    """Read an answer to CommitPaymentTransaction: a result for each payment, matched by account and amount.

    Success delivers; Failure, Error or any other code is Refused with the reason; a payment that the answer does not
    mention, or with another amount, is OutcomeUnknown.

    Source: MSP-11
    """
    try:
        response = _response(status, body, "CommitPaymentTransaction")
    except ConnectorError as error:
        return [Undelivered(message.id, error) for message in messages]
    echoes = list(_echoes(response))
    errors = [(element.get("objectID", ""), _error_text(element)) for element in _all(response, "errorObject")]
    accounts = {message.account for message in messages}
    # What names none of these accounts may be meant for any of them.
    for_all = [text for account, text in errors if account not in accounts]
    if error_on_list := _list_error(response):
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
    absent list is success for all, anything in it a failure of all."""
    try:
        _raise_errors(_response(status, body, operation))
    except ConnectorError as error:
        return [Undelivered(message.id, error) for message in messages]
    return [Delivered(message.id) for message in messages]


def read_ping(status: int, body: bytes) -> None:
    """Return where PingURL was answered without an error.

    :raises ConnectorError: it was not; the text says why.
    """
    _raise_errors(_response(status, body, "PingURL"))


def read_payable_items(status: int, body: bytes) -> PayableItems:
    """Read an answer to GetPayableItemsList.

    :raises ConnectorError: a failure; OutcomeUnknown where an amount or a date cannot be read, since half a balance is a wrong one.

    Source: MSP-1 to MSP-4
    """
    response = _response(status, body, "GetPayableItemsList")
    _raise_errors(response)
    try:
        extensions = _extensions(response)
        return PayableItems(
            items=tuple(
                PayableItem(
                    past_due=_amount_in(item, "pastDueAmount"),
                    current=_amount_in(item, "currentAmount"),
                    description=_child_text(item, "description"),
                    charge_code=_child_text(item, "chargeCode"),
                    due_at=_time_in(item, "dueDate"),
                    disconnect_at=_time_in(item, "disconnectDate"),
                    last_payment=_amount_in(item, "lastPaymentAmount"),
                    last_paid_at=_time_in(item, "lastPaymentDate"),
                )
                for item in _all(response, "payableItem")
            ),
            transaction_types=tuple(text for element in _all(response, "transactionType") if (text := _leaf(element))),
            remaining_balance=_optional_amount(extensions.get("remainingbalance", "")),
            remaining_days=_optional_amount(extensions.get("remainingdays", "")),
            prevent_credit_card=extensions.get("preventcreditcard", "").casefold() == "y",
        )
    except Unreadable as error:
        raise OutcomeUnknown(
            f"The biller's system answered something that cannot be read: {error}", answered=True
        ) from None


# ---- one payment -----------------------------------------------------------------------------------------------------


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
        return Undelivered(message.id, _refusal(said[0]))
    return Undelivered(message.id, OutcomeUnknown(_why_unclear(sent, echoes, ours, errors), answered=True))


def _why_unclear(sent: Decimal, echoes: list[Echo], ours: list[Echo], errors: list[str]) -> str:
    if not echoes:
        return "The biller's system answered, but said nothing of this payment."
    if not ours:
        echo = echoes[0]
        other = echo.trouble or f"it says {echo.amount}, we sent {sent}"
        return f"The biller's system answered about this account, but not about this amount: {_clip(other)}."
    said = ", ".join(dict.fromkeys(_say(echo) for echo in ours)) + "".join(f"; {error}" for error in errors)
    return f"The biller's system does not say clearly whether it took this payment: {_clip(said)}."


def _say(echo: Echo) -> str:
    code = f"responseCode {echo.code}" if echo.code else "no responseCode"
    return f"{code} with the error {echo.error}" if echo.error else code


def _echoes(response: etree._Element) -> Iterator[Echo]:
    transactions = list(_all(response, "paymentTransaction"))
    if not transactions and len(list(_all(response, "accountNumber"))) == 1:
        transactions = [response]  # one transaction whose wrapper was lost
    for transaction in transactions:
        direct = [element for element in transaction if _local(element) == "accountNumber"]
        accounts = {_leaf(element) for element in direct or _all(transaction, "accountNumber")}
        account = accounts.pop() if len(accounts) == 1 else ""
        if not account or (transaction is not response and len(list(_all(transaction, "paymentTransaction"))) > 1):
            continue  # nobody's, or two at once, or one inside another: those asked for will be missing
        shared = [transaction.get("errorString", ""), _child_text(transaction, "responseCode")]
        for tender in _tenders(transaction):
            yield _echo(account, tender, shared)


def _tenders(transaction: etree._Element) -> list[etree._Element]:
    found = list(_all(transaction, "tender"))
    if not found:  # a wrapper or two were lost
        found = [element for name in TENDERS.values() for element in _all(transaction, name)]
    return found or [transaction]


def _echo(account: str, tender: etree._Element, shared: list[str]) -> Echo:
    amounts = [element for element in tender if _local(element) == "amount"]
    codes = {code for element in tender if _local(element) == "responseCode" and (code := _leaf(element))}
    if not codes and shared[1]:
        codes = {shared[1]}
    parent = tender.getparent()
    errors = [tender.get("errorString", ""), shared[0], "" if parent is None else parent.get("errorString", "")]
    amount, trouble = None, ""
    try:
        if len(amounts) != 1:
            raise Unreadable("it holds no amount" if not amounts else "it holds several amounts")
        amount = read_amount(_leaf(amounts[0], "an amount"))
    except Unreadable as error:
        trouble = str(error)
    return Echo(
        account=account,
        amount=amount,
        trouble=trouble,
        code=codes.pop() if len(codes) == 1 else "",  # two that differ say nothing
        error=next((_clip(error) for error in errors if error.strip()), ""),
    )


# ---- any answer ------------------------------------------------------------------------------------------------------


def _response(status: int, body: bytes, operation: str) -> etree._Element:
    """Return the element inside the Body that answers, or raise what the answer means instead."""
    try:
        contents = _body_of(parse(body))
    except (UnsafeXml, Unreadable) as error:
        _raise_by_status(status, str(error))
    for element in contents:
        if _local(element) == "Fault":
            _raise_fault(status, _fault(element))
    if not 200 <= status <= 299:
        _raise_by_status(status, "")
    answers = [element for element in contents if _answers(_local(element), operation)]
    if len(answers) != 1:
        _raise_by_status(status, "it holds no answer" if not answers else "it holds several answers")
    return answers[0]


def _answers(name: str, operation: str) -> bool:
    """Tell whether an element answers this operation; names that are no other operation's do, as servers rename theirs."""
    stem = name.removesuffix("Response").removesuffix("Result")
    return stem != name and (stem == operation or stem not in OPERATIONS)


def _body_of(root: etree._Element) -> list[etree._Element]:
    if _local(root) != "Envelope":
        raise Unreadable("it is no SOAP envelope")
    bodies = [element for element in root if _local(element) == "Body"]
    if len(bodies) != 1:
        raise Unreadable("it is a SOAP envelope without exactly one Body")
    return list(bodies[0])


def _fault(element: etree._Element) -> Fault:
    codes = [_leaf(part) for name in ("faultcode", "Code", "Value") for part in _all(element, name)]
    reasons = [_leaf(part) for name in ("faultstring", "Reason", "Text") for part in _all(element, name)]
    reason = next((reason for reason in reasons if reason), "")
    if not reason:
        reason = _words(element)
    code = next((code for code in codes if code), "").rpartition(":")[2]
    # 1.1 has Client and Client.Something, 1.2 Sender; the other two also mean that nothing was looked at.
    ours = code.partition(".")[0].casefold() in ("client", "sender", "versionmismatch", "mustunderstand")
    return Fault(ours=ours, text=_clip(f"{code} {reason}".strip()) or "without a reason")


def _raise_fault(status: int, fault: Fault) -> NoReturn:
    if status in _WRONG_PLACE or _CREDENTIALS.search(fault.text):
        raise Misconfigured(f"The biller's system does not accept our credentials: {fault.text}", answered=True)
    if _NO_SUCH_OPERATION.search(fault.text):
        raise Misconfigured(f"The biller's system does not know this operation: {fault.text}", answered=True)
    if fault.ours:
        raise Refused(f"The biller's system refused the message: {fault.text}", answered=True)
    # It failed while processing: before or after the effect, nobody can tell.
    raise OutcomeUnknown(f"The biller's system failed while processing: {fault.text}", answered=True)


def _raise_by_status(status: int, trouble: str) -> NoReturn:
    if status in _WRONG_PLACE:
        raise Misconfigured(
            f"The biller's system refuses us with HTTP {status}: address or credentials are wrong.", answered=True
        )
    if 300 <= status <= 399:
        raise Misconfigured(f"The biller's system sends us to another address (HTTP {status}).", answered=True)
    if status == 429:
        raise NotSent("The biller's system has too much to do (HTTP 429).", answered=True)
    if 400 <= status <= 499 and status != 408:
        raise Refused(f"The biller's system refused the message with HTTP {status}.", answered=True)
    if 200 <= status <= 299:
        raise OutcomeUnknown(f"The biller's system answered something that cannot be read: {trouble}.", answered=True)
    # A gateway in front of it may be speaking, so it does not count as an answer.
    raise OutcomeUnknown(f"The biller's system failed with HTTP {status}.", answered=False)


def _raise_errors(response: etree._Element) -> None:
    for element in _all(response, "errorObject"):
        raise _refusal(_error_text(element))
    for element in response.iter():
        if error := element.get("errorString", "").strip():
            raise _refusal(error)
    for element in _all(response, "responseCode"):
        code = _leaf(element)
        if code.casefold() != "success":
            raise _refusal(f"responseCode {code or 'empty'}")


def _refusal(said: str) -> ConnectorError:
    said = _clip(said)
    if _CREDENTIALS.search(said):
        return Misconfigured(f"The biller's system does not accept our credentials: {said}", answered=True)
    return Refused(f"The biller's system refused it: {said}", answered=True)


def _error_text(element: etree._Element) -> str:
    said = element.get("errorString", "").strip() or _words(element)
    noun = element.get("nounType", "").strip()
    return said or (f"an error about {noun}, without words" if noun else "an error without words")


def _list_error(response: etree._Element) -> str:
    """Return the errorString of the answer itself or of the list in it, which concerns every transaction."""
    for element in (response, *response):
        error = str(element.get("errorString", "")).strip()
        if error and _local(element) not in ("paymentTransaction", "errorObject"):
            return error
    return ""


def _local(element: etree._Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _words(element: etree._Element) -> str:
    return " ".join(" ".join(str(part) for part in element.itertext()).split())


def _all(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Every element of this local name in any namespace or none, the element itself included."""
    return element.iter(f"{{*}}{name}")


def _leaf(element: etree._Element, what: str = "") -> str:
    """The text of an element that holds only text; with ``what`` given, anything else is unreadable, else it is empty."""
    if len(element):
        if what:
            raise Unreadable(f"{what} holds elements")
        return ""
    return (element.text or "").strip()


def _child_text(element: etree._Element, name: str) -> str:
    return next((_leaf(child) for child in element if _local(child) == name), "")


def _extensions(response: etree._Element) -> dict[str, str]:
    """Read the extensions of the whole answer by name in small letters; the same name with two values is unreadable."""
    extensions: dict[str, str] = {}
    for item in _all(response, "extensionsItem"):
        name, value = _child_text(item, "extName").casefold(), _child_text(item, "extValue")
        if name in ("remainingbalance", "remainingdays", "preventcreditcard") and extensions.get(name, value) != value:
            raise Unreadable(f"{name} stands there with two values")
        extensions[name] = value
    return extensions


def _amount_in(element: etree._Element, name: str) -> Decimal | None:
    found = [child for child in element if _local(child) == name]
    if len(found) > 1:
        raise Unreadable(f"{name} stands there twice")
    return _optional_amount(_leaf(found[0], name)) if found else None


def _time_in(element: etree._Element, name: str) -> datetime | None:
    text = _child_text(element, name)
    if not text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise Unreadable(f"a date cannot be read: {_clip(text, 40)!r}") from None
    # .NET writes a date that was never set as the first of January of the year 1.
    return None if read.year == 1 else read


def _optional_amount(text: str) -> Decimal | None:
    return read_amount(text) if text else None


def _clip(text: str, limit: int = MAX_REASON) -> str:
    # Somebody else's words, kept and shown: one line, no credentials, no more than fits.
    line = mask_text(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
