"""Adjustment files: credits and debits from the biller's own system, taken whole or not at all.

Source: MSP-37
"""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Mapping
from decimal import Decimal

from django.utils.dateparse import parse_date

from billing.actors import Actor
from billing.errors import DomainError
from billing.models import AdjustmentSource, Biller
from billing.operations import adjustments
from billing.operations.adjustments import Adjusted, AdjustmentsRefused, Fault, Given

COLUMNS = ("account", "amount", "reason", "reference", "effective_on")
"""What the first line names, in any order; ``effective_on`` may be left out."""

LARGEST = 64 << 20  # bytes
MOST = 250_000
"""Lines of one file: it is booked in one transaction, for which payments of these accounts wait."""

_AMOUNT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,6})?")
_AMERICAN = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})")


class BadAdjustmentFile(DomainError):
    """The file cannot be read, or holds none of what is expected."""


def import_file(
    *,
    biller: Biller,
    body: bytes,
    name: str,
    actor: Actor,
    now: datetime.datetime,
    most: int = MOST,
) -> Adjusted:
    """Adjust accounts by a file in CSV: all of its lines, or none where one is wrong.

    The same file again changes nothing. ``most`` is how many lines are taken.

    :raises BadAdjustmentFile: it is no such file, or has too many lines.
    :raises AdjustmentsRefused: lines are wrong; it says which and why.
    """
    given, faults = _read(body, most)
    if faults:
        raise AdjustmentsRefused(faults)
    return adjustments.adjust(
        biller=biller, given=given, source=AdjustmentSource.FILE, actor=actor, now=now, name=adjustments.shown(name)
    )


def _read(body: bytes, most: int) -> tuple[list[Given], list[Fault]]:
    if len(body) > LARGEST:
        raise BadAdjustmentFile(f"The file is larger than {LARGEST >> 20} MB.")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = body[: wrong.start].count(b"\n") + 1
        raise BadAdjustmentFile(f"Line {line:,} is not UTF-8 text.") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    given: list[Given] = []
    faults: list[Fault] = []
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        if sorted({*header, "effective_on"}) != sorted(COLUMNS) or len(header) != len(set(header)):
            raise BadAdjustmentFile(f"The first line names the columns: {', '.join(COLUMNS)}.")
        begins = lines.line_num + 1
        for values in lines:
            line, begins = begins, lines.line_num + 1
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                reason = f"has {len(values)} columns; the first line has {len(header)}"
                faults.append(Fault(line, "", reason))
                continue
            row = _row(line, dict(zip(header, values, strict=True)), faults)
            if row is not None:
                given.append(row)
            if len(given) + len(faults) > most:
                raise BadAdjustmentFile(f"The file has more than {most:,} lines, which is the most that is taken here.")
    except csv.Error as wrong:
        raise BadAdjustmentFile(f"Line {lines.line_num:,} cannot be read: {wrong}.") from None
    if not given and not faults:
        raise BadAdjustmentFile("The file has no adjustments.")
    return given, faults


def _row(line: int, written: Mapping[str, str], faults: list[Fault]) -> Given | None:
    """Read a line; what its values may be is the operation's to say."""
    amount, day = written["amount"].strip(), written.get("effective_on", "").strip()
    if not _AMOUNT.fullmatch(amount):
        faults.append(Fault(line, "amount", "is no amount such as 84.10 or -84.10", adjustments.shown(amount)))
        return None
    effective_on = _day(day)
    if day and effective_on is None:
        faults.append(Fault(line, "effective_on", "is no date such as 2026-11-22", adjustments.shown(day)))
        return None
    return Given(
        line,
        written["account"].strip(),
        Decimal(amount),
        " ".join(written["reason"].split()),
        written["reference"].strip(),
        effective_on,
    )


def _day(text: str) -> datetime.date | None:
    try:
        if american := _AMERICAN.fullmatch(text):
            month, day, year = map(int, american.groups())
            return datetime.date(year, month, day)
        return parse_date(text)
    except ValueError:
        return None
