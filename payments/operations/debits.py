"""How the holder of a bank account agreed to be debited, and what the processor must be told of it (PAY-18).

On the internet, by telephone or in writing the holder agreed once, and may have agreed to more than one debit. A check that
was given at the counter or sent by mail is turned into one debit, and is named by its number and its image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from billing.actors import Actor, Requestor
from billing.errors import DomainError
from payments.models import DebitMethod

CHECK_NUMBER, IMAGE, CITY, STATE = "check_number", "image_reference", "terminal_city", "terminal_state"
LABELS = {
    CHECK_NUMBER: "Serial number of the check",
    IMAGE: "Reference of its image",
    CITY: "City of the counter",
    STATE: "State of the counter",
}
LONGEST = 40

# What the processor demands beside the letter.
MANDATORY: Mapping[str, tuple[str, ...]] = {
    DebitMethod.INTERNET: (),
    DebitMethod.TELEPHONE: (),
    DebitMethod.WRITTEN: (),
    DebitMethod.POINT_OF_PURCHASE: (CHECK_NUMBER, CITY, STATE, IMAGE),
    DebitMethod.RECEIVABLE: (CHECK_NUMBER, IMAGE),
}
# Who says nothing agreed in the way that the door they came through has.
_USUAL = {
    Requestor.PAYER: DebitMethod.INTERNET,
    Requestor.API: DebitMethod.INTERNET,
    Requestor.CSR: DebitMethod.TELEPHONE,
    Requestor.OPERATOR: DebitMethod.TELEPHONE,
    Requestor.INBOUND_TEXT: DebitMethod.TELEPHONE,
    Requestor.SYSTEM: DebitMethod.WRITTEN,
}


class AgreementRefused(DomainError):
    """The holder's agreement is not complete, or does not cover this; the message says why."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the holder agreed, by the processors' letter, and what must be told of it."""

    method: str
    facts: Mapping[str, str] = field(default_factory=dict)


def agreed(*, given: Agreement | None, keep: bool, actor: Actor) -> Agreement:
    """Give an agreement as it is kept: the one given, else the usual one of who acts.

    :raises AgreementRefused: there is no such method, a fact is missing, too long or not wanted, or a check is to be kept.
    """
    if given is None or not given.method:
        return Agreement(_USUAL[actor.requestor])
    if given.method not in MANDATORY:
        raise AgreementRefused("Choose how the holder agreed.", field="debit_method")
    wanted = MANDATORY[given.method]
    if wanted and keep:
        raise AgreementRefused("A check agrees to one debit: it cannot be kept on file.", field="debit_method")
    facts = {name: " ".join(text.split()) for name, text in given.facts.items() if text.strip()}
    for name in wanted:
        if not facts.get(name):
            raise AgreementRefused(f"Enter this: {LABELS[name].lower()}.", field=name)
    for name, text in facts.items():
        if name not in wanted:
            raise AgreementRefused("This is told of a check only.", field=name)
        if len(text) > LONGEST or not text.isprintable():
            raise AgreementRefused(f"Enter at most {LONGEST} characters.", field=name)
    return Agreement(given.method, facts)
