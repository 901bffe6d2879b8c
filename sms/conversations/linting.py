"""Whether a biller's own words for a message say what they must: the programme's name, HELP, STOP, rates, its fields.

Carriers look at how texts sound. A text that begins a programme, confirms it or answers HELP has to say who speaks, how
often, what it may cost and how to end it; one that comes unasked how to get help and how to end it. A field that is
misspelt would go out as it is, and a text without its amount or link is of no use.

Source: evidence 3.4 (CTIA messaging principles 5.1), 3.6.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sms import segments
from sms.conversations import wordings
from sms.conversations.states import UNASKED, Account, Facts, Language, Message, Reply

LONGEST = 640
"""The most characters that a biller's words may have."""

PARTS_MOST = 5
"""The most parts that a text may go out in, with its fields as long as they get."""


class Rule(enum.StrEnum):
    """What words for a message must keep to."""

    EMPTY = "empty"
    LENGTH = "length"
    UNKNOWN_FIELD = "unknown_field"
    BRACES = "braces"
    PROGRAMME = "programme"
    FREQUENCY = "frequency"
    RATES = "rates"
    HELP = "help"
    STOP = "stop"
    FIELD = "field"


@dataclass(frozen=True, slots=True)
class Flaw:
    """One rule that the words break, and what to write instead."""

    rule: Rule
    words: str


_FORMAL = frozenset({Message.REGISTRATION, Message.ENROLLED, Message.HELP})
# Without these a message does not say what it is sent for.
_NEEDED: Mapping[Message, tuple[str, ...]] = {
    Message.BILL_READY: ("amount", "due", "order"),
    Message.BILL_READY_LINK: ("amount", "due", "link"),
    Message.BILL_READY_AUTOPAY: ("amount", "due"),
    Message.PREPAID_LOW: ("amount", "link"),
    Message.HELP: ("contact",),
    Message.FEE_QUESTION: ("fee", "total"),
    Message.BALANCE_QUESTION: ("amount",),
    Message.SEVERAL_ACCOUNTS: ("choices",),
    Message.BALANCES: ("balances",),
    Message.PREPAID_LEFT: ("balances",),
    Message.PAID: ("total",),
    Message.DECLINED: ("way",),
    Message.NO_METHOD: ("way",),
    Message.EXPIRED_METHOD: ("way",),
    Message.AMOUNT_UNCLEAR: ("amount",),
    Message.PARTIAL_REFUSED: ("amount",),
    Message.AMOUNT_REFUSED: ("amount",),
}
_FIELD = re.compile(r"\{(\w*)\}")
_HELP = re.compile(r"\b(help|ayuda)\b", re.IGNORECASE)
_STOP = re.compile(r"\bstop\b", re.IGNORECASE)
_FREQUENCY: Mapping[Language, tuple[re.Pattern[str], str]] = {
    Language.ENGLISH: (re.compile(r"\bfrequency\b|\bms?gs?/mo(nth)?\b", re.IGNORECASE), "Msg frequency varies"),
    Language.SPANISH: (re.compile(r"\bfrecuencia\b|\bmsjs?/mes\b", re.IGNORECASE), "Frecuencia variable"),
}
_RATES: Mapping[Language, tuple[re.Pattern[str], str]] = {
    Language.ENGLISH: (
        re.compile(r"\b(msg|message)s?\.?\s*(&|and)\s*data\s+rates\s+may\s+apply\b", re.IGNORECASE),
        "Msg & data rates may apply",
    ),
    Language.SPANISH: (
        re.compile(r"\btarifas\s+de\s+(msjs?|mensajes?)\s+y\s+datos\b", re.IGNORECASE),
        "Pueden aplicar tarifas de msj y datos",
    ),
}


def lint(message: Message, language: Language, body: str) -> tuple[Flaw, ...]:
    """Name what words for a message lack, in the order in which they are read; none where they may be used.

    Source: evidence 3.4.
    """
    if not body.strip():
        return (Flaw(Rule.EMPTY, "Write the words of the text."),)
    found = []
    if len(body) > LONGEST:
        found.append(Flaw(Rule.LENGTH, f"Leave it at {LONGEST} characters; these are {len(body)}."))
    known = wordings.fields(message)
    named = _FIELD.findall(body)
    for name in dict.fromkeys(one for one in named if one not in known):
        fields = ", ".join(f"{{{one}}}" for one in sorted(known))
        found.append(Flaw(Rule.UNKNOWN_FIELD, f"“{{{name}}}” is no field of this message. It has {fields}."))
    if set("{}") & set(_FIELD.sub("", body)):
        found.append(Flaw(Rule.BRACES, "Use { and } around the name of a field only."))
    if "programme" not in named:
        found.append(Flaw(Rule.PROGRAMME, "Say who speaks: put {programme} in."))
    if message in _FORMAL:
        found += [
            Flaw(rule, f"Say {what}: “{usual}”.")
            for rule, what, (pattern, usual) in (
                (Rule.FREQUENCY, "how often texts come", _FREQUENCY[language]),
                (Rule.RATES, "that texts may cost something", _RATES[language]),
            )
            if not pattern.search(body)
        ]
    if message in (_FORMAL | UNASKED) - {Message.HELP} and not _HELP.search(body):
        found.append(Flaw(Rule.HELP, "Say how to get help: name HELP."))
    if message in _FORMAL | UNASKED and not _STOP.search(body):
        found.append(Flaw(Rule.STOP, "Say how to end the texts: name STOP."))
    found += [
        Flaw(Rule.FIELD, f"Put {{{name}}} in: without it the text does not say what it is sent for.")
        for name in _NEEDED.get(message, ())
        if name not in named
    ]
    return tuple(found)


def usual(message: Message, language: Language, body: str, programme: wordings.Programme, *, link: str) -> str:
    """Write a text as it usually goes out; ``link`` is such an address as would stand in it.

    :raises wordings.UnknownField: the words name a field that the message does not have.
    """
    facts = Facts(
        tail="4301",
        amount=Decimal("84.10"),
        fee=Decimal("1.50"),
        due_on=date(2026, 12, 1),
        reference="019AB-3C9D2-1F04A",
        link=link,
        due=((Account("1", "4301"), Decimal("84.10")), (Account("2", "7702"), Decimal("31.75"))),
    )
    return wordings.word(Reply(message, facts), programme=programme, language=language, template=body)


def longest(message: Message, language: Language, body: str, programme: wordings.Programme, *, link: str) -> str:
    """Write a text with every field as long as it gets: six figures, two-figure days, four accounts on one phone.

    :raises wordings.UnknownField: the words name a field that the message does not have.
    """
    owed = Decimal("888888.88")
    accounts = tuple((Account(str(n), f"88-{n}"), owed) for n in range(1, 5))
    facts = Facts(
        tail="88-8", index=4, amount=owed, fee=Decimal("8888.88"), due_on=date(2026, 9, 28),
        reference="019AB-3C9D2-1F04A", link=link, due=accounts,
    )  # fmt: skip
    return wordings.word(Reply(message, facts), programme=programme, language=language, template=body)


def too_long(text: str) -> Flaw | None:
    """Say that a text with its fields as long as they get goes out in too many parts."""
    parts = segments.count(text).segments
    if parts <= PARTS_MOST:
        return None
    return Flaw(Rule.LENGTH, f"With long amounts it goes out in {parts} parts; {PARTS_MOST} is the most.")
