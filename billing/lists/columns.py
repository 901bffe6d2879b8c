"""The columns of list pages: how a row's values are shown, and how the file has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Generic, Literal, TypeVar

from django.db import models
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from billing import formats, statuses
from billing.lists.exports import csv_cell

M = TypeVar("M", bound=models.Model)
Words = str | Promise


@dataclass(frozen=True, slots=True)
class Column(Generic[M]):
    """One column: ``name`` is its stable heading in CSV, ``label`` what people read, ``value`` a path or a function.

    Shows text; the kinds below show other things. ``csv`` gives another value for the file; ``shown`` and ``exported``
    leave the column out of the page or out of the file.
    """

    name: str
    label: Words
    value: str | Callable[[M], object]
    csv: Callable[[M], object] | None = field(default=None, kw_only=True)
    align: Literal["start", "end"] = field(default="start", kw_only=True)
    shown: bool = field(default=True, kw_only=True)
    exported: bool = field(default=True, kw_only=True)
    nowrap: bool = field(default=False, kw_only=True)

    def of(self, row: M) -> object:
        """Give the column's value of a row."""
        return attribute(row, self.value) if isinstance(self.value, str) else self.value(row)

    def html(self, row: M) -> SafeString:
        """Draw the cell."""
        value = self.of(row)
        return NOTHING if value is None or value == "" else conditional_escape(str(value))

    def cell(self, row: M) -> str:
        """Give the cell as the file has it."""
        return csv_cell(self.csv(row) if self.csv else self.of(row))


NOTHING = mark_safe('<span class="text-secondary" aria-hidden="true">–</span>')  # a constant


@dataclass(frozen=True, slots=True)
class Link(Column[M]):
    """Text that leads to the row's own page; ``url`` gives the address, or nothing for plain text."""

    url: Callable[[M], str | None] = field(default=lambda row: None, kw_only=True)

    def html(self, row: M) -> SafeString:
        """Draw the cell."""
        text, url = Column.html(self, row), self.url(row)
        return format_html('<a href="{}">{}</a>', url, text) if url and text is not NOTHING else text


@dataclass(frozen=True, slots=True)
class Amount(Column[M]):
    """Money, at the right, in the row's ``currency``; the file has the plain decimal."""

    currency: str = field(default="currency", kw_only=True)
    align: Literal["start", "end"] = field(default="end", kw_only=True)

    def html(self, row: M) -> SafeString:
        """Draw the cell."""
        value = self.of(row)
        if not isinstance(value, Decimal):
            return NOTHING
        return format_html('<span class="money">{}</span>', formats.money(value, str(attribute(row, self.currency))))


@dataclass(frozen=True, slots=True)
class Number(Column[M]):
    """A count, at the right."""

    align: Literal["start", "end"] = field(default="end", kw_only=True)

    def html(self, row: M) -> SafeString:
        """Draw the cell."""
        value = self.of(row)
        return conditional_escape(formats.number(value)) if isinstance(value, int | Decimal) else NOTHING


@dataclass(frozen=True, slots=True)
class Moment(Column[M]):
    """A date with time and zone; the file has ISO 8601 in the same zone."""

    nowrap: bool = field(default=True, kw_only=True)

    def html(self, row: M) -> SafeString:
        """Draw the cell."""
        value = self.of(row)
        return time_html(value) if isinstance(value, datetime) else NOTHING


@dataclass(frozen=True, slots=True)
class Day(Column[M]):
    """A date; the file has ISO 8601."""

    nowrap: bool = field(default=True, kw_only=True)

    def html(self, row: M) -> SafeString:
        """Draw the cell."""
        value = self.of(row)
        return day_html(value) if isinstance(value, date) else NOTHING


@dataclass(frozen=True, slots=True)
class Tag(Column[M]):
    """A status by ``billing.statuses``, with the detail that completes its words; the file has the words."""

    noun: str = field(kw_only=True)
    detail: Callable[[M], object] = field(default=lambda row: None, kw_only=True)

    def html(self, row: M) -> SafeString:
        """Draw the cell."""
        return status_html(statuses.status(self.noun, str(self.of(row)), self.detail(row)))

    def cell(self, row: M) -> str:
        """Give the cell as the file has it."""
        if self.csv:
            return csv_cell(self.csv(row))
        return csv_cell(statuses.status(self.noun, str(self.of(row)), self.detail(row)).text)


@dataclass(frozen=True, slots=True)
class Drawn(Column[M]):
    """A cell with a template of its own, which gets ``row`` and ``value``."""

    template: str = field(kw_only=True)

    def html(self, row: M) -> SafeString:
        """Draw the cell."""
        return render_to_string(self.template, {"row": row, "value": self.of(row)})


def time_html(value: datetime) -> SafeString:
    """Draw a moment as ``<time>``, readable by people in the current zone and by machines in UTC."""
    machine = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return format_html('<time datetime="{}">{}</time>', machine, formats.moment(value))


def day_html(value: date) -> SafeString:
    """Draw a date as ``<time>``."""
    local = timezone.localtime(value).date() if isinstance(value, datetime) else value
    return format_html('<time datetime="{}">{}</time>', local.isoformat(), formats.day(local))


def status_html(shown: statuses.Shown) -> SafeString:
    """Draw a status tag."""
    return render_to_string("components/status.html", {"shown": shown})


def attribute(row: object, path: str) -> object:
    """Follow a dotted path from a row, calling what can be called; nothing on the way is nothing at the end."""
    found: object = row
    for name in path.replace("__", ".").split("."):
        if found is None:
            return None
        found = getattr(found, name)
        if callable(found):
            found = found()
    return found
