"""Withdrawing a loaded invoice file, while nobody has paid anything of it.

Its invoices are marked, its items closed, what it had carried is open again where it was before, and a posting takes
back what the load had booked. What the file said of customers stays.

Source: MSP-23.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.db import OperationalError, transaction
from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import FileState, InvoiceFile, LedgerAccount, PostingKind
from billing.operations.invoice_files.merging import lock_loads
from billing.operations.invoice_files.staging import Stage, as_loader

_TRIES = 4


class NotWithdrawable(DomainError):
    """The file is not loaded, or something of it is paid, held for a payment, or on a newer bill."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What the money that was carried to a withdrawn file's invoices needs to know, to go back where it was.

    ``table`` has the file's invoices: ``invoice_id, customer_id``. What the open items of a customer change by must
    be added to ``corrections (customer_id, amount)``. The customers and all these items are locked. What is put into
    ``afterwards`` is called once every balance is true.
    """

    table: str
    corrections: str
    stage: Stage
    biller_id: int
    file_id: int
    posting_id: int
    afterwards: list[Callable[[], None]] = field(default_factory=list)


class PutBack(Protocol):
    """Moves money back from a withdrawn file's items to those it was carried from; gives a reason where it cannot.

    See ``payments.operations.carryovers``.
    """

    def __call__(self, cursor: Any, returned: Returned, /) -> str: ...


def withdraw(
    *, file: InvoiceFile, actor: Actor, put_back: PutBack, now: datetime.datetime | None = None
) -> InvoiceFile:
    """Take a loaded file back: its invoices are withdrawn and may be loaded again from a better file.

    :raises NotWithdrawable: it is not loaded, or something of it is paid, held for a payment, or on a newer bill.
    """
    for left in reversed(range(_TRIES)):
        try:
            with transaction.atomic(durable=True), as_loader() as cursor:
                return _withdraw(cursor, file, actor, put_back, now or timezone.now())
        except OperationalError as error:
            if left == 0 or getattr(error.__cause__, "sqlstate", "") != "40P01":
                raise
    raise AssertionError("unreachable")


def _withdraw(cursor: Any, file: InvoiceFile, actor: Actor, put_back: PutBack, now: datetime.datetime) -> InvoiceFile:
    lock_loads(cursor, file.biller_id)
    file = InvoiceFile.objects.select_related("biller").select_for_update(of=("self",)).get(pk=file.pk)
    if file.state != FileState.LOADED:
        raise NotWithdrawable("Only a loaded file can be withdrawn.")
    biller = file.biller
    # Made and dropped in one transaction: a worker that dies leaves nothing.
    stage = Stage(file.pk, int(now.timestamp() * 1_000_000))
    bills = stage.make(cursor, "withdrawn", "invoice_id bigint, customer_id bigint")
    corrections = stage.make(cursor, "corrections", "customer_id bigint, amount numeric(14, 2)")
    cursor.execute(
        f"INSERT INTO {bills} SELECT id, customer_id FROM billing_invoice WHERE file_id = %s AND NOT withdrawn",
        [file.pk],
    )
    cursor.execute(f"ANALYZE {bills}")
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL jit = off")
    _lock(cursor, bills)
    _refuse_carried(cursor, bills)
    cursor.execute(
        "INSERT INTO billing_posting (biller_id, key, kind, effective_on) VALUES (%s, %s, %s, %s) RETURNING id",
        [biller.pk, f"withdrawal:{file.pk}", PostingKind.WITHDRAWAL, biller.business_date(now)],
    )
    (posting_id,) = cursor.fetchone()
    returned = Returned(bills, corrections, stage, biller.pk, file.pk, posting_id)
    if reason := put_back(cursor, returned):
        raise NotWithdrawable(reason)
    _reopen(cursor, bills, corrections)
    cursor.execute(f"UPDATE billing_invoice i SET withdrawn = true FROM {bills} w WHERE i.id = w.invoice_id")
    _book(cursor, file, corrections, posting_id)
    for act in returned.afterwards:
        act()
    cursor.execute(
        f"""
        UPDATE billing_noticedelivery d SET state = 'failed', failure = 'The bill was withdrawn.'
        FROM {bills} w JOIN billing_notice n ON n.biller_id = %s AND n.key = 'bill-ready:' || w.invoice_id
        WHERE d.notice_id = n.id AND d.state = 'waiting'
        """,
        [biller.pk],
    )
    cursor.execute(f"DROP TABLE {bills}, {corrections}")
    file.state, file.withdrawn_at = FileState.WITHDRAWN, now
    file.save(update_fields=["state", "withdrawn_at"])
    audit.record(
        actor=actor,
        event="invoice_file.withdrawn",
        biller_id=biller.pk,
        subject=f"invoice_file:{file.pk}",
        facts={"name": file.name, "count": file.loaded_count, "total": f"{file.loaded_total} {biller.currency}"},
    )
    return file


def _lock(cursor: Any, bills: str) -> None:
    """Lock the file's customers, then their items that it brought or carried, each in the order of their ids."""
    cursor.execute(
        f"SELECT count(*) FROM (SELECT id FROM billing_customer WHERE id IN (SELECT customer_id FROM {bills})"
        " ORDER BY id FOR NO KEY UPDATE) held"
    )
    cursor.execute(
        f"""
        SELECT count(*) FROM (
            SELECT id FROM billing_item
            WHERE invoice_id IN (SELECT invoice_id FROM {bills}) OR transferred_to_id IN (SELECT invoice_id FROM {bills})
            ORDER BY id FOR NO KEY UPDATE
        ) held
        """
    )


def _refuse_carried(cursor: Any, bills: str) -> None:
    # A bill that was older than one on file was closed by transfer to it when it came; that holds nothing up.
    cursor.execute(
        f"""
        SELECT count(*) FROM {bills} w JOIN billing_item i ON i.invoice_id = w.invoice_id
        WHERE i.transferred_to_id > i.invoice_id AND i.transferred_to_id NOT IN (SELECT invoice_id FROM {bills})
        """
    )
    (carried,) = cursor.fetchone()
    if carried:
        words = f"{carried:,} of its bills are" if carried != 1 else "One of its bills is"
        raise NotWithdrawable(f"{words} carried by a newer bill. Withdraw the newer file first.")


def _reopen(cursor: Any, bills: str, corrections: str) -> None:
    """Open again what the file's invoices carried, and close their own items."""
    cursor.execute(
        f"""
        INSERT INTO {corrections}
        SELECT i.customer_id, i.transferred FROM {bills} w JOIN billing_item i ON i.transferred_to_id = w.invoice_id
        WHERE i.invoice_id IS NULL OR i.invoice_id NOT IN (SELECT invoice_id FROM {bills})
        """
    )
    cursor.execute(
        f"UPDATE billing_item i SET transferred = 0, transferred_to_id = NULL FROM {bills} w"
        f" WHERE i.transferred_to_id = w.invoice_id"
        f" AND (i.invoice_id IS NULL OR i.invoice_id NOT IN (SELECT invoice_id FROM {bills}))"
    )
    cursor.execute(
        f"INSERT INTO {corrections} SELECT i.customer_id, -i.open FROM {bills} w"
        f" JOIN billing_item i ON i.invoice_id = w.invoice_id WHERE i.open <> 0"
    )
    cursor.execute(
        f"UPDATE billing_item i SET transferred = i.amount FROM {bills} w"
        f" WHERE i.invoice_id = w.invoice_id AND i.open <> 0"
    )


def _book(cursor: Any, file: InvoiceFile, corrections: str, posting_id: int) -> None:
    cursor.execute(
        f"UPDATE billing_customer c SET balance = c.balance + x.amount"
        f" FROM (SELECT customer_id, sum(amount) AS amount FROM {corrections} GROUP BY customer_id) x"
        f" WHERE c.id = x.customer_id AND x.amount <> 0"
    )
    cursor.execute(
        f"""
        INSERT INTO billing_entry (biller_id, posting_id, account, tender, amount, currency, count)
        SELECT %s, %s, v.account, '', v.sign * t.amount, %s, 0
        FROM (SELECT coalesce(sum(amount), 0) AS amount FROM {corrections}) t
        CROSS JOIN (VALUES (%s, 1), (%s, -1)) AS v (account, sign)
        WHERE t.amount <> 0
        """,
        [file.biller_id, posting_id, file.biller.currency, LedgerAccount.RECEIVABLE, LedgerAccount.BILLED],
    )
