"""Invoice files as tests write them: good unless told otherwise, one invoice a line of Python."""

from __future__ import annotations

import datetime
import hashlib
import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.actors import Actor
from billing.invoice_layouts import Layout, RowKind, read_layout
from billing.models import Biller, InvoiceFile
from billing.operations import invoice_files
from payments.operations import carryovers
from tests.factories import NOON

ACTOR = Actor.system("tests")
FORMAT = "BA1CEC36-997C-48E3-8406-437640EDFF84"
_names = itertools.count(1)


@dataclass
class Bill:
    """One invoice of a file; ``fields`` overrules any field by its number."""

    account: str = "35909-001"
    number: str = "7001"
    amount: str = "84.10"
    fields: dict[int, str] = field(default_factory=dict)
    details: int = 1

    def rows(self, layout: Layout) -> list[str]:
        """Give its rows as text."""
        base, _, sub = self.account.partition("-")
        values = {
            7: "IH", 8: "R", 9: FORMAT, 10: self.number, 11: "11/20/2026", 12: "12/10/2026", 13: self.amount, 39: base,
            40: sub, 41: "32104501", 46: self.number, 47: f"{base}-{self.number}", 407: "0.00", 58: "CR", 59: self.account,
            60: "Alma Reyes", 61: "18 Mill Race Lane", 62: "", 63: "Maple Falls", 64: "VT", 65: "05601",
            66: "(802) 555-0123", 67: "alma@example.com", 356: "N", 373: "", **self.fields,
        }  # fmt: skip
        return [
            "|".join(values.get(number, "") for number in layout.columns[kind])
            for kind in (RowKind.INVOICE, RowKind.CUSTOMER)
        ] + ["ID"] * self.details


def write(
    biller: Biller,
    bills: Sequence[Bill],
    *,
    made_on: str = "11/22/2026 06:00:00",
    count: int | None = None,
    total: str | None = None,
    guid: str | None = None,
    edit: Callable[[list[str]], list[str]] | None = None,
) -> bytes:
    """Give a file with these bills; ``edit`` may change its rows at the end."""
    layout = read_layout(biller.invoice_layout)
    if total is None:
        total = str(sum((Decimal(bill.amount) for bill in bills), Decimal("0.00")))
    rows = [f"FH|{guid or biller.guid}|{made_on}|{len(bills) if count is None else count}|{total}"]
    for bill in bills:
        rows += bill.rows(layout)
    if edit is not None:
        rows = edit(rows)
    return ("\n".join(rows) + "\n").encode()


def name_of(biller: Biller) -> str:
    """Give a file name of the biller that no other test file has."""
    return f"{biller.number}_11222026_{next(_names)}.bif"


def receive(biller: Biller, body: bytes, name: str | None = None) -> InvoiceFile:
    """Receive a file as the command would."""
    return invoice_files.receive(
        biller=biller, name=name or name_of(biller), body=io.BytesIO(body), source="command", actor=ACTOR
    )


def load(biller: Biller, body: bytes | Sequence[Bill], now: datetime.datetime = NOON, **how: Any) -> InvoiceFile:
    """Receive and load a file."""
    if not isinstance(body, bytes):
        body = write(biller, body, **how)
    file = receive(biller, body)
    return invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=now)


def withdraw(file: InvoiceFile, now: datetime.datetime = NOON) -> InvoiceFile:
    """Withdraw a file."""
    return invoice_files.withdraw(file=file, actor=ACTOR, put_back=carryovers.put_back, now=now)


def checksums(*passed_over: str) -> dict[str, str]:
    """Give a checksum of every row of every table, so that a test can say that nothing changed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
        tables = sorted(name for (name,) in cursor.fetchall() if name not in passed_over)
        sums = {}
        for table in tables:
            cursor.execute(f'SELECT t::text FROM "{table}" t ORDER BY 1')
            sums[table] = hashlib.sha256(repr(cursor.fetchall()).encode()).hexdigest()
    return sums
