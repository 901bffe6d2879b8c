"""What an endpoint may say about how its MultiSpeak is to be written.

Source: MSP-7, MSP-8, MSP-10, MSP-13; settings 35, 64, 65 and 131.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from datapump.connectors.base import Misconfigured, OptionField

NAMESPACE = "http://www.multispeak.org/Version_3.0"

HEADER_FIELDS = ("Version", "AppName", "AppVersion", "Company")
OPERATIONS = (
    "CommitPaymentTransaction",
    "ModifyCBDataForCustomer",
    "WriteAccountHistoryComments",
    "GetPayableItemsList",
    "PingURL",
    "GetMethods",
)
MAX_PAYMENTS_PER_ENVELOPE = 100

TRANSACTION_TYPES = (
    "creditCardPayment(card)|credit card(card)|card(card)|eCheckPayment(bank)|e-check(bank)|check(bank)|achPayment(bank)"
    "|ach(bank)|cashPayment(none)|cash(none)|Cash Only(card)|sendToOperator(none)"
)
"""What the words of allowableTransactionTypes allow: *Cash Only* blocks ACH and nothing else (MSP-4)."""

_BALANCES, _PAYMENTS, _PAPERLESS = frozenset(("balances",)), frozenset(("payments",)), frozenset(("paperless",))
FIELDS = (
    OptionField("service_version", number=35, purposes=_PAYMENTS),
    OptionField("card_modes", number=64, purposes=_PAYMENTS),
    OptionField("ach_modes", number=65, purposes=_PAYMENTS),
    OptionField(
        "default_mode", "Mode of a source without a code", "WEB where it is empty.", purposes=_PAYMENTS, longest=50
    ),
    OptionField(
        "ebill_extension_type",
        "Type of the EBILL extension",
        "double where it is empty.",
        purposes=_PAPERLESS,
        longest=40,
    ),
    OptionField(
        "transaction_types",
        "What allowable transaction types allow",
        f"Words with card, bank, both or none in brackets; empty is {TRANSACTION_TYPES}.",
        purposes=_BALANCES,
        longest=2_000,
    ),
    *(OptionField(f"header.{name}", f"{name} in the message header") for name in HEADER_FIELDS),
)
"""What a person may set; ``operations`` is for whoever installs an endpoint for a server with names of its own."""

_ALLOWED = re.compile(r"\s*(?P<word>[^()|]{1,60}?)\s*\(\s*(?P<kind>card|bank|both|none)\s*\)\s*", re.IGNORECASE)
_MODE = re.compile(r"(?P<source>[0-9]{1,9})\s*\(\s*(?P<code>[^()|]{1,50}?)\s*\)", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", re.ASCII)
_SOAP_ACTION = re.compile(r"[\x21\x23-\x7e]{0,300}", re.ASCII)
# What libxml2 and every XML 1.0 parser may carry; anything else cannot be escaped, only refused.
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XSD_TYPES = re.compile(
    "string|boolean|decimal|float|double|duration|dateTime|time|date|gYearMonth|gYear|gMonthDay|gDay|gMonth|hexBinary|"
    "base64Binary|anyURI|QName|normalizedString|token|language|Name|NCName|integer|nonPositiveInteger|negativeInteger|long|"
    "int|short|byte|nonNegativeInteger|unsignedLong|unsignedInt|unsignedShort|unsignedByte|positiveInteger"
)


class BadOption(ValueError):
    """A value that an option cannot have; the text says what it may be."""


@dataclass(frozen=True, slots=True)
class OperationName:
    """How one operation is called on this server: its element and its SOAPAction (without quotes)."""

    element: str
    soap_action: str


@dataclass(frozen=True, slots=True)
class Options:
    """The connector's options, read and checked; ``docs/multispeak.md`` tells of each."""

    service_version: int = 1
    card_modes: Mapping[int, str] = field(default_factory=dict)
    ach_modes: Mapping[int, str] = field(default_factory=dict)
    default_mode: str = "WEB"
    transaction_id_is_payment_guid: bool = False
    ebill_extension_type: str = "double"
    payments_per_envelope: int = 1
    transaction_types: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: parse_transaction_types(""))
    header: Mapping[str, str] = field(default_factory=dict)
    operations: Mapping[str, OperationName] = field(default_factory=dict)

    def operation(self, name: str) -> OperationName:
        """Return what this server calls the operation."""
        return self.operations.get(name) or OperationName(name, f"{NAMESPACE}/{name}")


def parse_modes(text: str) -> dict[int, str]:
    """Read settings 64 and 65: payment source ids and the codes they are sent as, ``0(WEB)|2(CSRWEB)|8(POS)``.

    An empty text is an empty map. Blanks around parts are ignored.

    :raises BadOption: naming the entry that cannot be read, and how to write it.

    Source: MSP-8
    """
    modes: dict[int, str] = {}
    if not text.strip():
        return modes
    for position, entry in enumerate(text.split("|"), start=1):
        match = _MODE.fullmatch(entry.strip())
        if match is None:
            raise BadOption(
                f"entry {position} ({entry.strip()[:60]!r}) is not a payment source id with its code in brackets,"
                " such as 0(WEB)"
            )
        source, code = int(match["source"]), match["code"]
        if ILLEGAL.search(code):
            raise BadOption(f"entry {position}: the code holds a character that XML cannot carry")
        if source in modes:
            raise BadOption(
                f"entry {position}: payment source {source} stands there twice ({modes[source]} and {code})"
            )
        modes[source] = code
    return modes


def parse_transaction_types(text: str) -> dict[str, tuple[str, ...]]:
    """Read which methods each word of allowableTransactionTypes allows, ``achPayment(bank)|Cash Only(card)|cash(none)``.

    The words come back in small letters. An empty text is the usual map.

    :raises BadOption: naming the entry that cannot be read, and how to write it.

    Source: MSP-4
    """
    kinds = {"card": ("card",), "bank": ("bank",), "both": ("card", "bank"), "none": ()}
    types: dict[str, tuple[str, ...]] = {}
    for position, entry in enumerate((text.strip() or TRANSACTION_TYPES).split("|"), start=1):
        match = _ALLOWED.fullmatch(entry)
        if match is None:
            raise BadOption(
                f"entry {position} ({entry.strip()[:60]!r}) is not a word with card, bank, both or none in brackets, such as"
                " Cash Only(card)"
            )
        word = match["word"].casefold()
        if word in types:
            raise BadOption(f"entry {position}: {match['word']} stands there twice")
        types[word] = kinds[match["kind"].lower()]
    return types


def read_options(options: Mapping[str, Any]) -> Options:
    """Read and check an endpoint's options; what is missing has its default.

    :raises Misconfigured: naming the option, what is wrong with it and what it may be.
    """
    unknown = sorted(set(options) - set(_READERS))
    if unknown:
        raise Misconfigured(f"unknown option {unknown[0]!r}; there are: {', '.join(_READERS)}")
    read: dict[str, Any] = {}
    for name, value in options.items():
        try:
            read[name] = _READERS[name](value)
        except BadOption as error:
            raise Misconfigured(f"option {name}: {error}") from None
    return Options(**read)


def _service_version(value: Any) -> int:
    # Settings arrive as text from forms and as numbers from JSON.
    if value in (1, 2) and not isinstance(value, bool):
        return int(value)
    if value in ("1", "2"):
        return int(value)
    raise BadOption("it is 1 or 2")


def _modes(value: Any) -> dict[int, str]:
    return parse_modes(_text(value))


def _transaction_types(value: Any) -> dict[str, tuple[str, ...]]:
    return parse_transaction_types(_text(value))


def _mode(value: Any) -> str:
    text = _text(value).strip()
    if not text or len(text) > 50:
        raise BadOption("it is a code of 1 to 50 characters, such as WEB")
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadOption("it is a text")
    if ILLEGAL.search(value):
        raise BadOption("it holds a character that XML cannot carry")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadOption("it is true or false")
    return value


def _xsd_type(value: Any) -> str:
    if not isinstance(value, str) or not _XSD_TYPES.fullmatch(value):
        raise BadOption("it is the name of an XML Schema type, such as double or string")
    return value


def _payments_per_envelope(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PAYMENTS_PER_ENVELOPE:
        raise BadOption(f"it is a whole number from 1 to {MAX_PAYMENTS_PER_ENVELOPE}")
    return value


def _header(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not set(value) <= set(HEADER_FIELDS):
        raise BadOption(f"it maps some of {', '.join(HEADER_FIELDS)} to texts")
    return {name: _text(value[name]) for name in HEADER_FIELDS if value.get(name, "") != ""}


def _operations(value: Any) -> dict[str, OperationName]:
    if not isinstance(value, Mapping):
        raise BadOption('it maps operations to {"element": name, "soap_action": text}')
    names: dict[str, OperationName] = {}
    for operation, given in value.items():
        if operation not in OPERATIONS:
            raise BadOption(f"unknown operation {operation!r}; there are: {', '.join(OPERATIONS)}")
        if not isinstance(given, Mapping) or not set(given) <= {
            "element",
            "soap_action",
        }:
            raise BadOption(f'{operation}: it is {{"element": name, "soap_action": text}}, either may be missing')
        element = given.get("element", operation)
        if not isinstance(element, str) or not _NAME.fullmatch(element):
            raise BadOption(f"{operation}: the element is an XML name")
        soap_action = given.get("soap_action", f"{NAMESPACE}/{element}")
        if not isinstance(soap_action, str) or not _SOAP_ACTION.fullmatch(soap_action):
            raise BadOption(f"{operation}: the SOAPAction is printable ASCII without blanks and quotes")
        names[operation] = OperationName(element, soap_action)
    return names


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "service_version": _service_version,
    "card_modes": _modes,
    "ach_modes": _modes,
    "default_mode": _mode,
    "transaction_id_is_payment_guid": _flag,
    "ebill_extension_type": _xsd_type,
    "payments_per_envelope": _payments_per_envelope,
    "transaction_types": _transaction_types,
    "header": _header,
    "operations": _operations,
}
