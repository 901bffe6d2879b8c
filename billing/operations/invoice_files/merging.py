"""Merging a checked invoice file: customers, invoices, items, balance forward and books, set by set in one transaction.

The caller has begun the transaction as the loader. Locks are taken late, so that nobody who pays waits for the whole
file: new rows come first, which touch nobody's; then the customers that were there are locked in the order of their
ids, then their open items, then what carries over between them; the longest part of a load holds no lock that a
payment needs.

Source: MSP-23, MSP-24, PAY-12; the design's payments 1.7 (separate statements, never a chain of data-modifying
subqueries).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from billing.failpoints import failpoint
from billing.invoice_layouts import FIELDS, Layout, RowKind
from billing.models import Biller, InvoiceFile, LedgerAccount, NoticeKind, PostingKind
from billing.operations import notices
from billing.operations.invoice_files import values
from billing.operations.invoice_files.reading import MOST_ERRORS, SHOWN
from billing.operations.invoice_files.staging import Stage

# Lines of the file that one statement takes: enough for the planner's sets, little enough to show progress by.
LINES_AT_ONCE = 150_000
# The first key of the advisory locks of loads; the second is the biller's id.
_LOADS = 0x42494C4C
# The first hour of the biller's day at which a payer may find a notice whose day the file names.
_MORNING = datetime.time(8, 0)


def contained(item: str) -> str:
    """Give the SQL that says of an item that is owed or credited whether a new invoice, with the old balance, contains it.

    An adjustment by the biller's own balance only made our books say what its system said all along; another one does if it
    was there when the file was made. Its parameter is ``made_on``.
    """
    return f"""({item}.kind = 'bill' OR ({item}.kind = 'adjustment' AND EXISTS (
        SELECT FROM billing_adjustment j
        WHERE j.item_id = {item}.id AND (j.source = 'balance' OR j.created_at <= %(made_on)s))))"""


@dataclass(frozen=True, slots=True)
class Carriers:
    """What the money that a customer has already given needs to know about the new invoices.

    ``table`` has, for each customer whose old balance is carried: ``customer_id, invoice_id`` (the newest invoice),
    ``item_id`` and ``amount`` of its item (both NULL where nothing is due), ``is_new`` (loaded now) and
    ``previous_id`` (the newest of those that were there). Whatever the open items of a customer change by must be
    added to ``corrections (customer_id, amount)``. The customers and their open items are locked. What is put into
    ``afterwards`` is called once every balance is true.
    """

    table: str
    corrections: str
    stage: Stage
    biller: Biller
    file_id: int
    posting_id: int
    made_on: datetime.datetime
    afterwards: list[Callable[[], None]] = field(default_factory=list)


class Carry(Protocol):
    """Moves money that the biller's system had not heard of when it made the file from the old bills to the new one.

    Payments are above this app, so that faces hand this in; see ``payments.operations.carryovers``.
    """

    def __call__(self, cursor: Any, carriers: Carriers, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Merged:
    """What one file came to."""

    count: int
    total: Decimal
    repeated: int
    carried: Decimal


@dataclass(frozen=True, slots=True)
class Job:
    """One load: the file, its biller and layout, its staging tables and the day it counts for."""

    file: InvoiceFile
    biller: Biller
    layout: Layout
    stage: Stage
    made_on: datetime.datetime
    today: datetime.date


def lock_loads(cursor: Any, biller_id: int) -> None:
    """Let loads and withdrawals of one biller wait for each other: whichever comes second sees all of the first."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOADS, biller_id])


def prepare(cursor: Any, job: Job) -> int:
    """Find out, for each good row, what its invoice, item and customer will be; gives how many rows are on file
    already.

    A row whose invoice is on file with other contents gets a fault.
    """
    stage, biller = job.stage, job.biller
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL jit = off")
    lock_loads(cursor, biller.pk)
    amount = values.amount("r.f13")
    rule = "coalesce(nullif(c.collect_rule, ''), %(rule)s)"
    days = "CASE WHEN c.collect_rule <> '' THEN coalesce(c.collect_days, 0) ELSE %(days)s END"
    due = values.day("r.f12")
    named = f"{values.day(values.stated('r.f9002'))}," if job.layout.has(9002) else ""
    collect_on = f"""
        greatest(%(today)s::date, coalesce({named}
            CASE {rule} WHEN 'due' THEN {due} WHEN 'before_due' THEN {due} - ({days}) ELSE %(today)s::date END))"""
    told = values.day(values.stated("r.f9004")) if job.layout.has(9004) else "NULL"
    cursor.execute(
        f"""
        INSERT INTO {stage.bills} (line, item_id, customer_id, known, shared, forward, number, said_email, known_email,
                                   amount, issued_on, due_on, collect_on, told_on)
        SELECT r.line, CASE WHEN {amount} <> 0 THEN nextval('public.billing_item_id_seq') END,
               coalesce(c.id, n.id, nextval('public.billing_customer_id_seq')), c.id IS NOT NULL, s.number IS NOT NULL,
               coalesce({values.flag("r.f9003")}, %(forward)s), r.f10,
               {_email("r")}, c.email, {amount}, {values.day("r.f11")}, {due}, {collect_on}, {told}
        FROM {stage.rows} r
        LEFT JOIN public.billing_customer c ON c.biller_id = %(biller)s AND c.number = r.f59
        LEFT JOIN {stage.accounts} s ON s.number = r.f59
        LEFT JOIN (
            SELECT number, nextval('public.billing_customer_id_seq') AS id FROM {stage.accounts} a
            WHERE NOT EXISTS (SELECT FROM public.billing_customer o WHERE o.biller_id = %(biller)s AND o.number = a.number)
            OFFSET 0
        ) n ON n.number = r.f59
        WHERE NOT EXISTS (SELECT FROM {stage.faults} f WHERE f.row_line = r.line AND NOT f.left_out)
        """,
        {
            "today": job.today,
            "biller": biller.pk,
            "forward": biller.balance_forward,
            "rule": biller.collect_rule,
            "days": biller.collect_days,
        },
    )
    cursor.execute(f"ANALYZE {stage.bills} (line, customer_id, known, shared)")
    repeated = _pass_over_repeated(cursor, job)
    if not biller.balance_forward or job.layout.has(9003):
        _keep_to_the_cycle(cursor, job)
    return repeated


def _pass_over_repeated(cursor: Any, job: Job) -> int:
    stage = job.stage
    cursor.execute(
        f"CREATE UNLOGGED TABLE {stage.name('repeated')} AS"
        f" SELECT b.line, i.amount AS old_amount, i.issued_on <> b.issued_on AS other_issued, i.due_on <> b.due_on AS other_due,"
        f"        i.amount <> b.amount AS other_amount, r.f11, r.f12, r.f13, i.issued_on, i.due_on"
        f" FROM {stage.bills} b JOIN {stage.rows} r ON r.line = b.line"
        f" JOIN public.billing_invoice i ON i.customer_id = b.customer_id AND i.number = r.f10 AND NOT i.withdrawn"
        f" WHERE b.known"
    )
    repeated = stage.name("repeated")
    for other, number, old in (("amount", 13, "old_amount"), ("issued", 11, "issued_on"), ("due", 12, "due_on")):
        cursor.execute(
            f"INSERT INTO {stage.faults} (row_line, line, field, reason, value)"
            f" SELECT line, line, '{FIELDS[number].name}', 'differs from the invoice on file, which has ' || {old},"
            f" {values.safe(FIELDS[number].column, SHOWN)} FROM {repeated} WHERE other_{other} LIMIT {MOST_ERRORS + 1}"
        )
    cursor.execute(f"DELETE FROM {stage.bills} b USING {repeated} x WHERE x.line = b.line")
    cursor.execute(f"SELECT count(*) FROM {repeated} WHERE NOT (other_amount OR other_issued OR other_due)")
    (count,) = cursor.fetchone()
    return int(count)


def _keep_to_the_cycle(cursor: Any, job: Job) -> None:
    """Let bills that stand for themselves be collected on the day of the account's first one of the cycle (PAY-12).

    That is the first that AutoPay may yet take; where the new bill carries the old balance, ``_carry_forward`` does it.
    """
    stage = job.stage
    cursor.execute(
        f"""
        UPDATE {stage.bills} b SET collect_on = greatest(x.collect_on, %(today)s)
        FROM (
            SELECT customer_id, min(collect_on) AS collect_on FROM (
                SELECT customer_id, collect_on FROM {stage.bills} WHERE NOT forward AND amount > 0
                UNION ALL
                SELECT i.customer_id, i.collect_on FROM public.billing_item i
                WHERE i.customer_id IN (SELECT customer_id FROM {stage.bills} WHERE known AND NOT forward)
                  AND i.kind = 'bill' AND i.open > i.reserved AND i.collect_tries = 0 AND i.collect_on >= %(today)s::date - 1
            ) of_account
            GROUP BY customer_id
        ) x
        WHERE x.customer_id = b.customer_id AND NOT b.forward AND x.collect_on < b.collect_on
        """,
        {"today": job.today},
    )


def merge(cursor: Any, job: Job, *, carry: Carry, repeated: int, told: Callable[[int], None]) -> Merged:
    """Make true what :func:`prepare` found; ``told`` is called with the number of invoices so far."""
    stage, biller = job.stage, job.biller
    cursor.execute(f"SELECT count(*), coalesce(sum(amount), 0), min(line), max(line) FROM {stage.bills}")
    count, total, first, last = cursor.fetchone()
    if not count:
        return Merged(0, Decimal("0.00"), repeated, Decimal("0.00"))
    cursor.execute(
        "INSERT INTO billing_posting (biller_id, key, kind, effective_on) VALUES (%s, %s, %s, %s) RETURNING id",
        [biller.pk, f"invoices:{job.file.pk}", PostingKind.INVOICES, job.today],
    )
    (posting_id,) = cursor.fetchone()
    _find_carriers(cursor, job)
    failpoint("load.merging")
    done = 0
    for begin in range(first, last + 1, LINES_AT_ONCE):
        lines = (begin, min(begin + LINES_AT_ONCE - 1, last))
        _insert_customers(cursor, job, lines)
        done += _insert_invoices(cursor, job, lines, posting_id)
        _write_notices(job, lines)
        told(done)
    failpoint("load.inserted")
    carriers = Carriers(stage.carriers, stage.corrections, stage, biller, job.file.pk, posting_id, job.made_on)
    carried = _carry_forward(cursor, job, carry, carriers)
    told(done)
    cursor.execute(
        f"INSERT INTO {stage.sums} SELECT customer_id, sum(amount) FROM {stage.corrections} GROUP BY customer_id;"
        f" CREATE INDEX ON {stage.sums} (customer_id); ANALYZE {stage.sums}"
    )
    for begin in range(first, last + 1, LINES_AT_ONCE):
        _update_customers(cursor, job, (begin, min(begin + LINES_AT_ONCE - 1, last)))
        told(done)
    _correct_others(cursor, job)
    for act in carriers.afterwards:
        act()
    cursor.execute(
        f"""
        INSERT INTO billing_entry (biller_id, posting_id, account, tender, amount, currency, count)
        SELECT %s, %s, v.account, '', v.sign * t.amount, %s, 0
        FROM (SELECT (SELECT coalesce(sum(amount), 0) FROM {stage.bills})
                   + (SELECT coalesce(sum(amount), 0) FROM {stage.corrections}) AS amount) t
        CROSS JOIN (VALUES (%s, 1), (%s, -1)) AS v (account, sign)
        WHERE t.amount <> 0
        """,
        [biller.pk, posting_id, biller.currency, LedgerAccount.RECEIVABLE, LedgerAccount.BILLED],
    )
    return Merged(int(count), total, repeated, carried)


def _find_carriers(cursor: Any, job: Job) -> None:
    """Find each customer's newest invoice, which carries the old balance, and the newest of those that were there."""
    stage = job.stage
    cursor.execute(
        f"""
        INSERT INTO {stage.carriers} (customer_id, invoice_id, item_id, amount, is_new, previous_id)
        SELECT b.customer_id,
               CASE WHEN p.issued_on > b.issued_on THEN p.id ELSE b.invoice_id END,
               CASE WHEN p.issued_on > b.issued_on THEN NULL ELSE b.item_id END,
               CASE WHEN p.issued_on > b.issued_on THEN NULL ELSE b.amount END,
               p.issued_on IS NULL OR p.issued_on <= b.issued_on, p.id
        FROM (
            SELECT * FROM {stage.bills} WHERE known AND NOT shared
            UNION ALL
            (SELECT DISTINCT ON (customer_id) * FROM {stage.bills} WHERE shared
             ORDER BY customer_id, issued_on DESC, line DESC)
        ) b
        LEFT JOIN LATERAL (
            SELECT i.id, i.issued_on FROM public.billing_invoice i
            WHERE i.customer_id = b.customer_id AND NOT i.withdrawn ORDER BY i.issued_on DESC, i.id DESC LIMIT 1
        ) p ON b.known
        WHERE b.forward
        """
    )
    cursor.execute(f"ANALYZE {stage.carriers}")
    # Of several invoices for one account only the newest is news; the others it carries.
    cursor.execute(
        f"UPDATE {stage.bills} b SET superseded = true FROM {stage.carriers} c"
        f" WHERE (b.shared OR NOT c.is_new) AND c.customer_id = b.customer_id AND c.invoice_id <> b.invoice_id"
    )


# Columns of a customer that the file's word replaces, and those that it only ever adds to.
_REPLACED = {"name": 60, "address1": 61, "address2": 62, "city": 63, "state": 64, "zip": 65}
_KEPT = {"service_location": 41, "display_number": 373}


def _phone(row: str, phones: str) -> str:
    return f"coalesce({values.plain_phone(f'{row}.f66')}, {phones}.number)"


def _email(row: str) -> str:
    return (
        f"CASE WHEN length({row}.f67) <= {FIELDS[67].most} AND NOT {values.not_email(f'{row}.f67')} THEN {row}.f67 END"
    )


def _base(row: str) -> str:
    # MSACCT-MSUB; where the number has no dash, the file may say the two parts by themselves.
    return f"left(CASE WHEN {row}.f59 LIKE '%%-%%' THEN split_part({row}.f59, '-', 1) ELSE coalesce({row}.f39, {row}.f59) END, 20)"


def _sub(row: str) -> str:
    return f"left(CASE WHEN {row}.f59 LIKE '%%-%%' THEN split_part({row}.f59, '-', 2) ELSE coalesce({row}.f40, '') END, 20)"


def _insert_customers(cursor: Any, job: Job, lines: tuple[int, int]) -> None:
    stage = job.stage
    texts = {name: f"coalesce(r.f{number}, '')" for name, number in (_REPLACED | _KEPT).items()}
    # A customer with several new invoices is there from the first of them, as the last one says.
    cursor.execute(
        f"""
        INSERT INTO billing_customer (id, biller_id, number, base, sub, {", ".join(texts)}, phone, email, language, status,
                                      paperless, blocks_card, blocks_bank, collect_rule, balance)
        SELECT b.customer_id, %s, r.f59, {_base("r")}, {_sub("r")}, {", ".join(texts.values())},
               coalesce({_phone("r", "p")}, ''),
               coalesce(CASE WHEN s.last IS NULL THEN b.said_email ELSE {_email("r")} END, ''), 'en', 'active',
               false, coalesce({values.flag("r.f356")}, false), false, '', coalesce(s.amount, b.amount)
        FROM {stage.bills} b
        LEFT JOIN (
            SELECT customer_id, sum(amount) AS amount, min(line) AS first, max(line) AS last
            FROM {stage.bills} WHERE shared AND NOT known GROUP BY customer_id
        ) s ON s.customer_id = b.customer_id
        JOIN {stage.rows} r ON r.line = coalesce(s.last, b.line)
        LEFT JOIN {stage.phones} p ON p.given = r.f66
        WHERE NOT b.known AND b.line BETWEEN %s AND %s AND (s.first IS NULL OR s.first = b.line)
        """,
        [job.biller.pk, *lines],
    )


def _insert_invoices(cursor: Any, job: Job, lines: tuple[int, int], posting_id: int) -> int:
    stage = job.stage
    days = {
        "autopay_on": 9002,
        "notify_on": 9004,
        "notify_again_on": 9005,
        "notify_last_on": 9006,
        "payable_until": 9008,
    }
    texts = {"custom2": 39, "custom3": 40, "custom4": 41, "custom9": 46, "custom10": 47, "payable_until_message": 9009}
    has = job.layout.has
    columns = {
        **{name: values.day(values.stated(f"r.f{number}")) for name, number in days.items() if has(number)},
        **{name: f"coalesce(r.f{number}, '')" if has(number) else "''" for name, number in texts.items()},
        "past_due": f"coalesce({values.amount('r.f407')}, 0)",
        "minimum_due": values.amount("r.f9007") if has(9007) else "NULL",
        "allow_partial_payments": values.flag("r.f9001") if has(9001) else "NULL",
        "format_guid": "r.f9::uuid",
    }
    cursor.execute(
        f"""
        INSERT INTO billing_invoice (id, biller_id, customer_id, file_id, line, number, kind, issued_on, due_on, amount,
                                     withdrawn, {", ".join(columns)})
        SELECT b.invoice_id, %s, b.customer_id, %s, b.line, r.f10, '', b.issued_on, b.due_on, b.amount, false,
               {", ".join(columns.values())}
        FROM {stage.bills} b JOIN {stage.rows} r ON r.line = b.line
        WHERE b.line BETWEEN %s AND %s AND r.line BETWEEN %s AND %s
        """,
        [job.biller.pk, job.file.pk, *lines, *lines],
    )
    count = int(cursor.rowcount)
    cursor.execute(
        f"""
        INSERT INTO billing_item (id, biller_id, customer_id, invoice_id, posting_id, kind, amount, currency, due_on, collect_on)
        SELECT item_id, %s, customer_id, invoice_id, %s, CASE WHEN amount > 0 THEN 'bill' ELSE 'credit' END, amount, %s,
               due_on, CASE WHEN amount > 0 THEN collect_on END
        FROM {stage.bills} WHERE item_id IS NOT NULL AND line BETWEEN %s AND %s
        """,
        [job.biller.pk, posting_id, job.biller.currency, *lines],
    )
    return count


def _write_notices(job: Job, lines: tuple[int, int]) -> None:
    """Tell each customer of the newest bill, on the day that its invoice names (FirstNotifyRequestedDate) or at once."""
    notices.write_new(
        kind=NoticeKind.BILL_READY,
        source=f"""
            SELECT notice_id AS id, %s::bigint AS biller_id, customer_id, 'bill-ready:' || invoice_id AS key,
                   jsonb_build_object('invoice', invoice_id, 'number', number, 'amount', amount::text, 'currency', %s::text,
                                      'due_on', due_on) AS facts,
                   coalesce(said_email, known_email) AS address,
                   CASE WHEN told_on > %s THEN (told_on + %s::time) AT TIME ZONE %s ELSE now() END AS due_at
            FROM {job.stage.bills}
            WHERE line BETWEEN %s AND %s AND NOT superseded AND coalesce(said_email, known_email) <> ''""",
        params=[job.biller.pk, job.biller.currency, job.today, _MORNING, job.biller.time_zone, *lines],
    )


def _carry_forward(cursor: Any, job: Job, carry: Carry, carriers: Carriers) -> Decimal:
    """Close older items by transfer to the newest invoice, which carries what was open; gives how much that was."""
    stage, posting_id = job.stage, carriers.posting_id
    cursor.execute(
        f"""
        SELECT count(*) FROM (
            SELECT c.id FROM billing_customer c WHERE c.id IN (SELECT customer_id FROM {stage.bills} WHERE known)
            ORDER BY c.id FOR NO KEY UPDATE
        ) held
        """
    )
    failpoint("load.locked")
    cursor.execute(f"SELECT count(*) FROM {stage.carriers}")
    if cursor.fetchone() == (0,):
        return Decimal("0.00")
    cursor.execute(
        f"""
        SELECT count(*) FROM (
            SELECT i.id FROM billing_item i
            WHERE i.customer_id IN (SELECT customer_id FROM {stage.carriers}) AND i.open <> 0 AND i.posting_id <> %s
            ORDER BY i.id FOR NO KEY UPDATE
        ) held
        """,
        [posting_id],
    )
    # A bill made later in the same cycle is collected on the first one's day (PAY-12): one that AutoPay may yet take.
    cursor.execute(
        f"""
        UPDATE {stage.carriers} c SET collect_on = greatest(x.collect_on, %s)
        FROM (
            SELECT i.customer_id, min(i.collect_on) AS collect_on FROM billing_item i
            WHERE i.customer_id IN (SELECT customer_id FROM {stage.carriers} WHERE is_new)
              AND i.kind = 'bill' AND i.open > i.reserved AND i.collect_tries = 0 AND i.collect_on >= %s::date - 1
            GROUP BY i.customer_id
        ) x
        WHERE x.customer_id = c.customer_id AND c.item_id IS NOT NULL
        """,
        [job.today, job.today],
    )
    carry(cursor, carriers)
    failpoint("load.carried")
    # Where the newest invoice was there already, only what this file brought is older than it.
    cursor.execute(
        f"""
        INSERT INTO {stage.transfers} (item_id, customer_id, invoice_id, amount)
        SELECT i.id, i.customer_id, c.invoice_id, i.open
        FROM {stage.carriers} c JOIN billing_item i ON i.customer_id = c.customer_id
        WHERE i.open <> 0 AND i.reserved = 0 AND i.invoice_id IS DISTINCT FROM c.invoice_id
          AND ({contained("i")} OR (i.kind = 'credit' AND i.payment_id IS NULL))
          AND (c.is_new OR i.posting_id = %(posting)s)
        """,
        {"made_on": job.made_on, "posting": posting_id},
    )
    cursor.execute(
        f"UPDATE billing_item i SET transferred = i.transferred + t.amount, transferred_to_id = t.invoice_id"
        f" FROM {stage.transfers} t WHERE i.id = t.item_id"
    )
    cursor.execute(f"INSERT INTO {stage.corrections} SELECT customer_id, -amount FROM {stage.transfers}")
    cursor.execute(
        f"UPDATE billing_item i SET collect_on = c.collect_on FROM {stage.carriers} c"
        f" WHERE i.id = c.item_id AND c.collect_on < i.collect_on"
    )
    cursor.execute(f"SELECT coalesce(sum(amount), 0) FROM {stage.transfers}")
    (carried,) = cursor.fetchone()
    return Decimal(carried)


def _update_customers(cursor: Any, job: Job, lines: tuple[int, int]) -> None:
    """Take over what the file says of customers that were there; an empty phone or e-mail address takes nothing away."""
    stage, layout = job.stage, job.layout
    there = {one.number for one in layout.fields(RowKind.CUSTOMER)} | {
        one.number for one in layout.fields(RowKind.INVOICE)
    }
    columns = {name: f"coalesce(r.f{number}, '')" for name, number in _REPLACED.items() if number in there}
    columns |= {name: f"coalesce(r.f{number}, c.{name})" for name, number in _KEPT.items() if number in there}
    if 66 in there:
        columns["phone"] = f"coalesce({_phone('r', 'p')}, c.phone)"
    if 67 in there:
        columns["email"] = f"coalesce(CASE WHEN k.alone THEN k.said_email ELSE {_email('r')} END, c.email)"
    if 356 in there:
        columns["blocks_card"] = f"coalesce({values.flag('r.f356')}, c.blocks_card)"
    cursor.execute(
        f"""
        UPDATE billing_customer c
        SET balance = c.balance + k.amount + coalesce(x.amount, 0),
            {", ".join(f"{name} = {value}" for name, value in columns.items())}
        FROM (
            SELECT customer_id, line, amount, true AS alone, said_email FROM {stage.bills}
            WHERE known AND NOT shared AND line BETWEEN %s AND %s
            UNION ALL
            SELECT customer_id, max(line), sum(amount), false, NULL FROM {stage.bills}
            WHERE known AND shared AND line BETWEEN %s AND %s GROUP BY customer_id
        ) k
        JOIN {stage.rows} r ON r.line = k.line
        LEFT JOIN {stage.phones} p ON p.given = r.f66
        LEFT JOIN {stage.sums} x ON k.alone AND x.customer_id = k.customer_id
        WHERE c.id = k.customer_id AND r.line BETWEEN %s AND %s
        """,
        [*lines, *lines, *lines],
    )


def _correct_others(cursor: Any, job: Job) -> None:
    """Correct the balances of customers with several new invoices, who were not updated in one go."""
    stage = job.stage
    cursor.execute(
        f"UPDATE billing_customer c SET balance = c.balance + x.amount FROM {stage.sums} x"
        f" WHERE c.id = x.customer_id AND x.customer_id IN (SELECT customer_id FROM {stage.bills} WHERE shared)"
    )
