"""Where a load works: unlogged tables of its own, out of everybody else's sight and gone when it ends.

Rows of staging have no biller yet, so that row security cannot guard them; the role does. See the migration
``0005_staging``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from billing.invoice_layouts import FIELDS, Layout, RowKind
from billing.operations.invoice_files.reading import Chunk

LOADER = "ratepayer_loader"

# Every value of a table stays text until it is checked; ``invoice_id`` is the id that the invoice will have.
_TABLES = {
    "rows": "line int, {columns}, customer_line int",
    "faults": "row_line int, line int NOT NULL, field text NOT NULL, reason text NOT NULL, value text NOT NULL,"
    " left_out boolean NOT NULL DEFAULT false",
    "phones": "given text, number text",
    "accounts": "number text, last_line int",
    "bills": "line int, invoice_id bigint DEFAULT nextval('public.billing_invoice_id_seq'), item_id bigint,"
    " notice_id uuid DEFAULT uuidv7(), customer_id bigint, known boolean, shared boolean, forward boolean, number text,"
    " said_email text, known_email text, amount numeric(14, 2), issued_on date, due_on date, collect_on date, told_on date,"
    " superseded boolean DEFAULT false",
    "carriers": "customer_id bigint, invoice_id bigint, item_id bigint, amount numeric(14, 2), is_new boolean,"
    " previous_id bigint, collect_on date",
    "transfers": "item_id bigint, customer_id bigint, invoice_id bigint, amount numeric(14, 2)",
    # What the open items of a customer changed by, beside the new invoices themselves.
    "corrections": "customer_id bigint, amount numeric(14, 2)",
    "sums": "customer_id bigint, amount numeric(14, 2)",
}


class Stage:
    """The tables of one load; ``stage.rows`` and so on are their names as SQL has them.

    A name holds the file and the claim, so that a worker who was thought dead never meets its successor's tables.
    """

    rows: str
    faults: str
    phones: str
    accounts: str
    bills: str
    carriers: str
    transfers: str
    corrections: str
    sums: str

    def __init__(self, file_id: int, claim: int) -> None:
        self._prefix = f"file_{int(file_id)}_{int(claim)}"
        for table in _TABLES:
            setattr(self, table, self.name(table))

    def name(self, table: str) -> str:
        """Give the full name of one of this load's tables; callers from above may have tables of their own."""
        return f"staging.{self._prefix}_{table}"

    def create(self, layout: Layout) -> None:
        """Make the empty tables, with a column for each of the file's."""
        columns = {
            **dict.fromkeys(layout.staging_columns(RowKind.INVOICE)),
            **dict.fromkeys(layout.staging_columns(RowKind.CUSTOMER)),
        }
        # Fields that this biller's files do not have are there too, always empty, so that the SQL is the same for all.
        columns |= dict.fromkeys(
            one.column for one in FIELDS.values() if one.row in {RowKind.INVOICE, RowKind.CUSTOMER}
        )
        text = ", ".join(f"{column} text" for column in columns)
        with as_loader() as cursor:
            for table, definition in _TABLES.items():
                self.make(cursor, table, definition.format(columns=text))

    def make(self, cursor: Any, table: str, definition: str) -> str:
        """Make one more table of this load; gives its name."""
        cursor.execute(f"CREATE UNLOGGED TABLE {self.name(table)} ({definition}) WITH (autovacuum_enabled = false)")
        return self.name(table)

    def copy(self, cursor: Any, layout: Layout, chunk: Chunk) -> None:
        """Copy a chunk of the file as it is, and what is wrong with it."""
        columns = ", ".join(
            [
                "line",
                *layout.staging_columns(RowKind.INVOICE),
                "customer_line",
                *layout.staging_columns(RowKind.CUSTOMER),
            ]
        )
        if chunk.count:
            with cursor.copy(f"COPY {self.rows} ({columns}) FROM STDIN (DELIMITER '|', NULL '')") as copy:
                copy.write(chunk.copy_text())
        if chunk.faults:
            with cursor.copy(f"COPY {self.faults} (row_line, line, field, reason, value) FROM STDIN") as copy:
                for fault in chunk.faults:
                    copy.write_row((fault.row, fault.line, fault.field, fault.reason, fault.value))

    def drop(self) -> None:
        """Remove the load's tables."""
        with as_loader() as cursor:
            drop_tables(cursor, _existing(cursor, f"{self._prefix}\\_%"))


@contextmanager
def as_loader() -> Iterator[Any]:
    """Take the loader's role for a transaction, or for the rest of the caller's; gives a cursor."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {LOADER}")
        yield cursor
        if not connection.needs_rollback:
            cursor.execute("SET LOCAL ROLE NONE")


def abandoned(cursor: Any, live: Collection[int]) -> list[str]:
    """Give the staging tables of all files but the live ones: those of workers who died."""
    return [name for name in _existing(cursor, "file\\_%") if int(name.split("_")[1]) not in live]


def drop_tables(cursor: Any, names: Sequence[str]) -> None:
    """Remove staging tables by name."""
    if names:
        listed = ", ".join(f'staging."{name}"' for name in names)
        cursor.execute(f"DROP TABLE IF EXISTS {listed}")


def _existing(cursor: Any, pattern: str) -> list[str]:
    cursor.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'staging'::regnamespace AND relkind = 'r' AND relname LIKE %s",
        [pattern],
    )
    return [name for (name,) in cursor.fetchall()]
