"""What any answer says before it says anything of its operation: a Fault, a status, an errorObject, or more to read.

Elements are found by local name, in any order, with or without prefixes and wrappers. There are three channels of
failure: a SOAP Fault with any status, a non-empty list of errorObject (even without an errorString), a responseCode or
errorString. HTTP 200 is no success.

Source: MSP-11; what real servers answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from lxml import etree

from datapump.connectors.base import (
    ConnectorError,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    Refused,
)
from datapump.connectors.masking import clip
from datapump.connectors.multispeak.options import OPERATIONS
from datapump.connectors.safe_xml import UnsafeXml, parse

_CREDENTIALS = re.compile(
    r"\b(?:invalid|bad|wrong|unknown|incorrect|missing) (?:user ?(?:id|name)?|log[io]n|password|pwd|credentials?)\b"
    r"|\b(?:log[io]n|log[io]n attempt|authentication|authori[sz]ation) (?:failed|failure|required|denied)\b"
    r"|\b(?:failed|could not|cannot|unable to) (?:log[io]n|log in|authenticate|authentication)\b"
    r"|\b(?:userid|password|pwd|credentials?)\b.{0,40}"
    r"\b(?:invalid|incorrect|wrong|required|missing|not (?:valid|recogni[sz]ed|found|match))"
    r"|\bfailedauthentication\b|\binvalidsecurity\b|\b(?:unauthori[sz]ed|not authori[sz]ed|access (?:is )?denied)\b",
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


def response_to(status: int, body: bytes, operation: str) -> etree._Element:
    """Return the element inside the Body that answers this operation.

    :raises ConnectorError: what the answer means instead: a Fault, a status, or nothing that can be read.
    """
    try:
        contents = _body_of(parse(body))
    except (UnsafeXml, Unreadable) as error:
        _raise_by_status(status, str(error))
    for element in contents:
        if local(element) == "Fault":
            _raise_fault(status, _fault(element))
    if not 200 <= status <= 299:
        _raise_by_status(status, "")
    answers = [element for element in contents if _answers(local(element), operation)]
    if len(answers) != 1:
        _raise_by_status(status, "it holds no answer" if not answers else "it holds several answers")
    return answers[0]


def raise_errors(response: etree._Element) -> None:
    """Return where an answer holds no errorObject, no errorString and no responseCode but Success.

    :raises ConnectorError: it does.
    """
    for element in every(response, "errorObject"):
        raise refusal(error_text(element))
    for element in response.iter():
        if error := element.get("errorString", "").strip():
            raise refusal(error)
    for element in every(response, "responseCode"):
        code = leaf(element)
        if code.casefold() != "success":
            raise refusal(f"responseCode {code or 'empty'}")


def refusal(said: str) -> ConnectorError:
    """Return what a refusal in these words means: Refused, or Misconfigured where they are about credentials."""
    said = clip(said)
    if _CREDENTIALS.search(said):
        return Misconfigured(
            f"The biller's system does not accept our credentials: {said}",
            answered=True,
        )
    return Refused(f"The biller's system refused it: {said}", answered=True)


def error_text(element: etree._Element) -> str:
    """Return what an errorObject says, in words of ours where it has none."""
    said = element.get("errorString", "").strip() or _words(element)
    noun = element.get("nounType", "").strip()
    return said or (f"an error about {noun}, without words" if noun else "an error without words")


def list_error(response: etree._Element) -> str:
    """Return the errorString of the answer itself or of the list in it, which concerns every transaction."""
    for element in (response, *response):
        error = str(element.get("errorString", "")).strip()
        if error and local(element) not in ("paymentTransaction", "errorObject"):
            return error
    return ""


def local(element: etree._Element) -> str:
    """Return an element's local name."""
    return str(element.tag).rpartition("}")[2]


def every(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Yield every element of this local name in any namespace or none, the element itself included."""
    return element.iter(f"{{*}}{name}")


def leaf(element: etree._Element, what: str = "") -> str:
    """Return the text of an element that holds only text; of any other an empty one.

    :raises Unreadable: it holds elements, and ``what`` names it.
    """
    if len(element):
        if what:
            raise Unreadable(f"{what} holds elements")
        return ""
    return (element.text or "").strip()


def child_text(element: etree._Element, name: str) -> str:
    """Return the text of the first child of this local name, or an empty one."""
    return next((leaf(child) for child in element if local(child) == name), "")


def _answers(name: str, operation: str) -> bool:
    """Tell whether an element answers this operation; a name of no other operation does: servers rename theirs."""
    stem = name.removesuffix("Response").removesuffix("Result")
    return stem != name and (stem == operation or stem not in OPERATIONS)


def _body_of(root: etree._Element) -> list[etree._Element]:
    if local(root) != "Envelope":
        raise Unreadable("it is no SOAP envelope")
    bodies = [element for element in root if local(element) == "Body"]
    if len(bodies) != 1:
        raise Unreadable("it is a SOAP envelope without exactly one Body")
    return list(bodies[0])


def _fault(element: etree._Element) -> Fault:
    codes = [leaf(part) for name in ("faultcode", "Code", "Value") for part in every(element, name)]
    reasons = [leaf(part) for name in ("faultstring", "Reason", "Text") for part in every(element, name)]
    reason = next((reason for reason in reasons if reason), "")
    if not reason:
        reason = _words(element)
    code = next((code for code in codes if code), "").rpartition(":")[2]
    # 1.1 has Client and Client.Something, 1.2 Sender; the other two also mean that nothing was looked at.
    ours = code.partition(".")[0].casefold() in (
        "client",
        "sender",
        "versionmismatch",
        "mustunderstand",
    )
    return Fault(ours=ours, text=clip(f"{code} {reason}".strip()) or "without a reason")


def _raise_fault(status: int, fault: Fault) -> NoReturn:
    if status in _WRONG_PLACE or _CREDENTIALS.search(fault.text):
        raise Misconfigured(
            f"The biller's system does not accept our credentials: {fault.text}",
            answered=True,
        )
    if _NO_SUCH_OPERATION.search(fault.text):
        raise Misconfigured(
            f"The biller's system does not know this operation: {fault.text}",
            answered=True,
        )
    if fault.ours:
        raise Refused(f"The biller's system refused the message: {fault.text}", answered=True)
    # It failed while processing: before or after the effect, nobody can tell.
    raise OutcomeUnknown(f"The biller's system failed while processing: {fault.text}", answered=True)


def _raise_by_status(status: int, trouble: str) -> NoReturn:
    if status in _WRONG_PLACE:
        raise Misconfigured(
            f"The biller's system refuses us with HTTP {status}: address or credentials are wrong.",
            answered=True,
        )
    if 300 <= status <= 399:
        raise Misconfigured(
            f"The biller's system sends us to another address (HTTP {status}).",
            answered=True,
        )
    if status == 429:
        raise NotSent("The biller's system has too much to do (HTTP 429).", answered=True)
    if 400 <= status <= 499 and status != 408:
        raise Refused(
            f"The biller's system refused the message with HTTP {status}.",
            answered=True,
        )
    if 200 <= status <= 299:
        raise OutcomeUnknown(
            f"The biller's system answered something that cannot be read: {trouble}.",
            answered=True,
        )
    # A gateway in front of it may be speaking, so it does not count as an answer.
    raise OutcomeUnknown(f"The biller's system failed with HTTP {status}.", answered=False)


def _words(element: etree._Element) -> str:
    return " ".join(" ".join(str(part) for part in element.itertext()).split())
