"""CSV files of lists: streamed from the database, safe to open in a spreadsheet."""

from __future__ import annotations

import contextvars
import csv
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from django.db import transaction
from django.http import StreamingHttpResponse
from django.utils import timezone


class Exported(Protocol):
    """What a file needs of a column."""

    @property
    def name(self) -> str:
        """Its heading."""

    @property
    def exported(self) -> bool:
        """Whether it is in the file at all."""

    def cell(self, row: Any) -> str:
        """Give a row's cell, safe to open."""


_PLAIN_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
# A spreadsheet takes a cell that begins with one of these for a formula, in their full width forms too.
_FORMULA = re.compile("[ \u00a0]*[=+\\-@\t\r\n＝＋－＠]")


def csv_cell(value: object) -> str:
    """Write a value for CSV so that no spreadsheet takes it for a formula; plain negative numbers stay numbers."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return format(value, "f")
        case datetime():
            return timezone.localtime(value).isoformat(timespec="seconds")
        case date():
            return value.isoformat()
    text = str(value)
    if _FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text):
        return "'" + text
    return text


class _Line:
    """The smallest thing ``csv.writer`` can write to: gives each line back."""

    def write(self, line: str) -> str:
        return line


def csv_lines(columns: Sequence[Exported], rows: Iterator[Any]) -> Iterator[bytes]:
    """Give the file in pieces of some hundred lines: a byte order mark for spreadsheets, headings, one line a row."""
    exported = [column for column in columns if column.exported]
    writer = csv.writer(_Line())
    piece = ["\ufeff", writer.writerow([column.name for column in exported])]
    for row in rows:
        piece.append(writer.writerow([column.cell(row) for column in exported]))
        if len(piece) >= 500:
            yield "".join(piece).encode()
            piece.clear()
    if piece:
        yield "".join(piece).encode()


def csv_response(name: str, columns: Sequence[Exported], rows: Callable[[], Iterator[Any]]) -> StreamingHttpResponse:
    """Answer with a file that is read from the database while it is sent, in one transaction, in flat memory.

    The lines are made after the view and its middleware have returned, so the tenancy scope, language and time zone of
    the request are taken along.
    """

    def lines() -> Generator[bytes]:
        with transaction.atomic():
            yield from csv_lines(columns, rows())

    response = StreamingHttpResponse(_in_this_context(lines()), content_type="text/csv; charset=utf-8")
    stamp = timezone.localtime().strftime("%Y-%m-%d-%H%M")
    response["Content-Disposition"] = f'attachment; filename="{name}-{stamp}.csv"'
    return response


def _in_this_context(pieces: Generator[bytes]) -> Iterator[bytes]:
    context = contextvars.copy_context()

    def step() -> Iterator[bytes]:
        try:
            while (piece := context.run(next, pieces, None)) is not None:
                yield piece
        finally:
            # A reader who goes away must end the transaction now and in its own scope.
            context.run(pieces.close)

    return step()
