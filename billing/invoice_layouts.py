"""The invoice file (BIF): which fields there are, what each may hold, and in which order one biller's columns stand.

A file is text, one record a line, columns divided by ``|``: one file header (FH), then for each invoice its header
(IH), its customer (CR) and any number of detail rows (ID). The specification numbers the fields but not the columns,
so that a layout is a list of field numbers for each kind of row; ``docs/invoice-file.md`` shows the usual one. A
number that is not known here is a column that is passed over.

Source: MSP-21, MSP-24, MSP-25.
"""

from __future__ import annotations

import codecs
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from billing.errors import DomainError


class BadLayout(DomainError):
    """The column order cannot be used; the sentence says why."""


class RowKind(enum.StrEnum):
    """What a row is; its first column says so."""

    FILE = "FH"
    INVOICE = "IH"
    CUSTOMER = "CR"
    DETAIL = "ID"


class Holds(enum.Enum):
    """What may stand in a field."""

    ROW_TYPE = "the row's type"
    TEXT = "text"
    AMOUNT = "an amount such as 84.10"
    DAY = "a date such as 11/22/2026"
    MOMENT = "a date, with or without a time"
    COUNT = "a whole number"
    FLAG = "Y or N"
    GUID = "a GUID"
    RECORD_TYPE = "R"
    PHONE = "a telephone number"
    EMAIL = "an e-mail address"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: ``number`` is its FileSpecID, ``most`` the most characters it may have."""

    number: int
    name: str
    row: RowKind
    holds: Holds
    required: bool = False
    most: int = 60

    @property
    def column(self) -> str:
        """The field's column in staging."""
        return f"f{self.number}"


_FH, _IH, _CR, _ID = RowKind.FILE, RowKind.INVOICE, RowKind.CUSTOMER, RowKind.DETAIL

# The numbers are the specification's. It names the customisations (MSP-24) but gives them no numbers: 9001 and above
# are ours.
FIELDS: dict[int, Field] = {
    one.number: one
    for one in (
        Field(1, "RowType", _FH, Holds.ROW_TYPE, required=True),
        Field(2, "BillerGuid", _FH, Holds.GUID, required=True),
        Field(4, "FileCreationDate", _FH, Holds.MOMENT, required=True),
        Field(5, "InvoiceCount", _FH, Holds.COUNT, required=True),
        Field(6, "TotalInvoiceAmount", _FH, Holds.AMOUNT, required=True),
        Field(7, "RowType", _IH, Holds.ROW_TYPE, required=True),
        Field(8, "RecordType", _IH, Holds.RECORD_TYPE, required=True),
        Field(9, "InvoiceFormatGuid", _IH, Holds.GUID, required=True),
        Field(10, "InvoiceNumber", _IH, Holds.TEXT, required=True, most=40),
        Field(11, "InvoiceDate", _IH, Holds.DAY, required=True),
        Field(12, "InvoiceDueDate", _IH, Holds.DAY, required=True),
        Field(13, "TotalAmountDue", _IH, Holds.AMOUNT, required=True),
        Field(39, "Custom2", _IH, Holds.TEXT),
        Field(40, "Custom3", _IH, Holds.TEXT),
        Field(41, "Custom4", _IH, Holds.TEXT, most=40),
        Field(46, "Custom9", _IH, Holds.TEXT),
        Field(47, "Custom10", _IH, Holds.TEXT, required=True),
        Field(407, "PastDue", _IH, Holds.AMOUNT),
        Field(9001, "AllowPartialPayments", _IH, Holds.FLAG),
        Field(9002, "AutoPayCollectionDate", _IH, Holds.DAY),
        Field(9003, "BalanceForward", _IH, Holds.FLAG),
        Field(9004, "FirstNotifyRequestedDate", _IH, Holds.DAY),
        Field(9005, "SecondNotifyRequestedDate", _IH, Holds.DAY),
        Field(9006, "ThirdNotifyRequestedDate", _IH, Holds.DAY),
        Field(9007, "MinimumAmountDue", _IH, Holds.AMOUNT),
        Field(9008, "PaymentExpirationDate", _IH, Holds.DAY),
        Field(9009, "PaymentExpirationMessage", _IH, Holds.TEXT, most=200),
        Field(58, "RowType", _CR, Holds.ROW_TYPE, required=True),
        Field(59, "AccountNumber", _CR, Holds.TEXT, required=True, most=40),
        Field(60, "CustomerName", _CR, Holds.TEXT, required=True, most=120),
        Field(61, "Address1", _CR, Holds.TEXT, most=120),
        Field(62, "Address2", _CR, Holds.TEXT, most=120),
        Field(63, "City", _CR, Holds.TEXT),
        Field(64, "State", _CR, Holds.TEXT, most=40),
        Field(65, "Zip", _CR, Holds.TEXT, most=12),
        Field(66, "Phone", _CR, Holds.PHONE, most=40),
        Field(67, "EmailAddress", _CR, Holds.EMAIL, most=254),
        Field(356, "BlockPaymentsCC", _CR, Holds.FLAG),
        Field(373, "DisplayAccountNumber", _CR, Holds.TEXT, most=40),
        Field(70, "RowType", _ID, Holds.ROW_TYPE, required=True),
    )
}
BY_NAME: dict[tuple[RowKind, str], Field] = {(one.row, one.name): one for one in FIELDS.values()}

# The specification's own fields in the order of its table. Customisations are added by a layout.
USUAL: dict[RowKind, tuple[int, ...]] = {
    kind: tuple(one.number for one in FIELDS.values() if one.row is kind and one.number < 9000) for kind in RowKind
}
ENCODINGS = ("utf-8", "cp1252", "latin-1")


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one biller's files, row by row, and their encoding."""

    columns: Mapping[RowKind, tuple[int, ...]] = field(default_factory=lambda: USUAL)
    encoding: str = "utf-8"

    def fields(self, row: RowKind) -> list[Field]:
        """Give the known fields of a kind of row, in the file's order, without the row type."""
        return [FIELDS[number] for number in self.columns[row][1:] if number in FIELDS]

    def has(self, number: int) -> bool:
        """Say whether the file has this field."""
        return number in self.columns[FIELDS[number].row]

    def staging_columns(self, row: RowKind) -> list[str]:
        """Give the staging column of each column after the row type; unknown ones have a column that nobody reads."""
        return [
            FIELDS[number].column if number in FIELDS else f"passed_over_{row.lower()}_{number}"
            for number in self.columns[row][1:]
        ]


def read_layout(given: Mapping[str, Any]) -> Layout:
    """Read a biller's layout: ``{"IH": [7, 8, …], "CR": […], "encoding": "cp1252"}``; what it leaves out is usual.

    :raises BadLayout: a row does not begin with its type, a required field is missing, a field stands twice or
    elsewhere.
    """
    known = {*(kind.value for kind in RowKind), "encoding"}
    if strange := sorted(set(given) - known):
        raise BadLayout(f"A layout has rows FH, IH, CR and ID and an encoding, not {', '.join(strange)}.")
    columns = {kind: _read_row(kind, given[kind]) if given.get(kind) else USUAL[kind] for kind in RowKind}
    encoding = given.get("encoding") or "utf-8"
    if encoding not in ENCODINGS:
        raise BadLayout(f"The encoding is one of {', '.join(ENCODINGS)}.")
    codecs.lookup(encoding)
    return Layout(columns, encoding)


def _read_row(kind: RowKind, given: Sequence[Any]) -> tuple[int, ...]:
    if not isinstance(given, list | tuple) or not all(type(number) is int and 0 < number < 100_000 for number in given):
        raise BadLayout(f"The columns of {kind} are a list of field numbers.")
    numbers = tuple(given)
    if numbers[0] != USUAL[kind][0]:
        raise BadLayout(f"The first column of {kind} is its row type, field {USUAL[kind][0]}.")
    if len(set(numbers)) < len(numbers):
        raise BadLayout(f"A field stands twice in {kind}.")
    for number in numbers:
        if number in FIELDS and FIELDS[number].row is not kind:
            raise BadLayout(f"Field {number} ({FIELDS[number].name}) belongs to {FIELDS[number].row}, not to {kind}.")
    missing = [one for one in FIELDS.values() if one.row is kind and one.required and one.number not in numbers]
    if missing:
        named = ", ".join(f"{one.number} ({one.name})" for one in missing)
        raise BadLayout(f"{kind} must have field {named}.")
    if kind is RowKind.FILE and any(number not in FIELDS for number in numbers):
        raise BadLayout("FH has no columns to pass over.")
    return numbers
