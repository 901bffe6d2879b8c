"""Checking what stands in an invoice file's columns, in SQL, once it is in staging.

Source: MSP-21, MSP-23.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection

from billing import phone_numbers
from billing.invoice_layouts import FIELDS, Field, Holds, Layout, RowKind
from billing.models import Biller
from billing.operations.invoice_files import values
from billing.operations.invoice_files.reading import MOST_ERRORS, SHOWN
from billing.operations.invoice_files.staging import Stage

_PHONES_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks found: the amounts that could be read, faults that spoil rows, and values left out."""

    total: Decimal
    faults: int
    left_out: int


@dataclass(frozen=True, slots=True)
class _Rule:
    """One thing that can be wrong with one field."""

    field: Field
    wrong: str
    reason: str
    leaves_out: bool = False

    @property
    def line(self) -> str:
        return "r.customer_line" if self.field.row is RowKind.CUSTOMER else "r.line"


def check(cursor: Any, stage: Stage, *, biller: Biller, layout: Layout) -> Checked:
    """Write a fault for everything that is wrong with the staged rows; gives what was found."""
    # The columns that anything is joined by; the others would cost as much again.
    cursor.execute(f"ANALYZE {stage.rows} (line, f10, f59, f66); ANALYZE {stage.faults}")
    # Dates are read month first; everything else PostgreSQL reads one way only.
    cursor.execute("SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL jit = off")
    _check_fields(cursor, stage, list(_rules(layout, biller.currency)))
    _check_repeats(cursor, stage)
    if layout.has(66):
        _read_odd_phones(cursor, stage)
    cursor.execute(
        f"SELECT coalesce(sum({values.amount('r.f13')}), 0) FROM {stage.rows} r"
        f" WHERE NOT {values.not_amount('r.f13', biller.currency)}"
    )
    (total,) = cursor.fetchone()
    faults, left_out = count_faults(cursor, stage)
    return Checked(total, faults, left_out)


def count_faults(cursor: Any, stage: Stage) -> tuple[int, int]:
    """Count the faults that spoil rows, and the values that were only left out."""
    cursor.execute(f"SELECT count(*) FILTER (WHERE NOT left_out), count(*) FILTER (WHERE left_out) FROM {stage.faults}")
    faults, left_out = cursor.fetchone()
    return int(faults), int(left_out)


def _rules(layout: Layout, currency: str) -> Iterator[_Rule]:
    for field in [*layout.fields(RowKind.INVOICE), *layout.fields(RowKind.CUSTOMER)]:
        column = f"r.{field.column}"
        # A row without its customer row is a fault by itself; its empty columns are none.
        there = " AND r.customer_line IS NOT NULL" if field.row is RowKind.CUSTOMER else ""
        if field.required:
            yield _Rule(field, f"({column} IS NULL{there})", "is missing")
        leaves_out = field.holds in {Holds.EMAIL, Holds.PHONE}
        if field.holds in {Holds.TEXT, Holds.EMAIL, Holds.PHONE}:
            yield _Rule(field, f"length({column}) > {field.most}", f"has more than {field.most} characters", leaves_out)
        reason = f"is not {field.holds.value}"
        match field.holds:
            case Holds.TEXT:
                yield _Rule(field, values.formula(column), "begins like a spreadsheet formula")
            case Holds.AMOUNT:
                yield _Rule(field, values.not_amount(column, currency), reason)
            case Holds.DAY:
                given = column if field.required else values.stated(column)
                yield _Rule(field, values.not_day(given), reason)
            case Holds.FLAG:
                yield _Rule(field, values.not_flag(column), reason)
            case Holds.GUID:
                yield _Rule(field, values.not_guid(column), reason)
            case Holds.RECORD_TYPE:
                yield _Rule(field, f"upper({column}) <> 'R'", reason)
            case Holds.EMAIL:
                yield _Rule(field, values.not_email(column), f"{reason}; left out", leaves_out=True)
    if layout.has(9007):
        field = FIELDS[9007]
        yield _Rule(field, f"r.{field.column} LIKE '-%'", "is less than nothing")


def _check_fields(cursor: Any, stage: Stage, rules: list[_Rule]) -> None:
    # Good rows, which are nearly all, are passed over by one condition; only the others are taken apart.
    told = ", ".join(
        f"({rule.wrong}, {rule.line}, '{rule.field.name}', '{rule.reason}', r.{rule.field.column}, {rule.leaves_out})"
        for rule in rules
    )
    cursor.execute(
        f"""
        INSERT INTO {stage.faults} (row_line, line, field, reason, value, left_out)
        SELECT r.line, f.line, f.field, f.reason, coalesce({values.safe("f.value", SHOWN)}, ''), f.left_out
        FROM {stage.rows} r
        CROSS JOIN LATERAL (VALUES {told}) AS f (wrong, line, field, reason, value, left_out)
        WHERE ({" OR ".join(rule.wrong for rule in rules)}) AND f.wrong
        LIMIT {MOST_ERRORS + 1}
        """
    )


def _check_repeats(cursor: Any, stage: Stage) -> None:
    cursor.execute(
        f"INSERT INTO {stage.accounts} (number, last_line)"
        f" SELECT f59, max(line) FROM {stage.rows} WHERE f59 IS NOT NULL GROUP BY f59 HAVING count(*) > 1"
    )
    cursor.execute(f"ANALYZE {stage.accounts}")
    cursor.execute(
        f"""
        INSERT INTO {stage.faults} (row_line, line, field, reason, value)
        SELECT line, line, 'InvoiceNumber', 'is in this file twice for one account; first on line ' || first,
               {values.safe("f10", SHOWN)}
        FROM (
            SELECT r.line, r.f10, first_value(r.line) OVER same AS first
            FROM {stage.rows} r JOIN {stage.accounts} a ON a.number = r.f59
            WHERE r.f10 IS NOT NULL WINDOW same AS (PARTITION BY r.f59, r.f10 ORDER BY r.line)
        ) repeats
        WHERE line <> first
        LIMIT {MOST_ERRORS + 1}
        """
    )


def _read_odd_phones(cursor: Any, stage: Stage) -> None:
    """Let the library read the numbers that are not simply ten figures; what it cannot read is left out, and said."""
    with connection.chunked_cursor() as odd:
        odd.execute(f"SELECT DISTINCT f66 FROM {stage.rows} WHERE {values.odd_phone('f66')} AND length(f66) <= 40")
        while given := odd.fetchmany(_PHONES_AT_ONCE):
            with cursor.copy(f"COPY {stage.phones} (given, number) FROM STDIN") as copy:
                for (text,) in given:
                    copy.write_row((text, phone_numbers.read(text)))
    cursor.execute(
        f"""
        INSERT INTO {stage.faults} (row_line, line, field, reason, value, left_out)
        SELECT r.line, r.customer_line, 'Phone', 'is not a telephone number; left out', {values.safe("r.f66", SHOWN)}, true
        FROM {stage.phones} p JOIN {stage.rows} r ON r.f66 = p.given
        WHERE p.number IS NULL AND p.given ~ '[^0 ().-]'
        LIMIT {MOST_ERRORS + 1}
        """
    )
