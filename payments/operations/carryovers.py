"""Carrying money over: a payment that the biller's system had not heard of counts for the bill that it made since.

With balance forward a new bill contains what was open of the older ones. When the biller's system made it, it did not
yet know of payments made here whose records had not reached it, nor of money in flight: without more, the customer
would be billed for them again. Their allocations move to the new bill: posted money is posted there, reserved money
stays reserved there, and what exceeds the bill is the customer's credit. Both functions work inside the transaction
of ``billing.operations.invoice_files``, which has locked the customers and their items, and are handed to it by a
face.

Source: MSP-24.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from django.utils import timezone

from billing.operations.invoice_files import Carriers, Returned, contained
from payments.models import Reversal
from payments.operations import reversals, scheduled_payments


def _unheard(record: str) -> str:
    """Say in SQL whether the biller's system had not heard of payment p by a moment; its record has that alias.

    Where no record will ever be sent, it hears by other means, and is taken to know at once.
    """
    return f"""
    CASE WHEN {record}.state IN ('waiting', 'sending', 'retrying', 'failed') THEN true
         WHEN {record}.state = 'delivered' THEN {record}.delivered_at > %(made_on)s
         ELSE p.settled_at > %(made_on)s END"""


def _heard(at: str, record: str = "r") -> str:
    """Say in SQL whether the biller's system had heard by a moment of what a record tells, as of payments."""
    return f"""
    CASE WHEN {record}.state IN ('waiting', 'sending', 'retrying', 'failed') THEN false
         WHEN {record}.state = 'delivered' THEN {record}.delivered_at <= %(made_on)s
         ELSE {at} <= %(made_on)s END"""


def _heard_back(reversal: str, record: str) -> str:
    """Say in SQL whether it had heard by a moment of what went back, or was won back."""
    return _heard(f"{reversal}.settled_at", record)


# What fees and their waivers put beside the bills, and when; the id is the record's.
_FEE_ITEMS = """(
    SELECT id, customer_id, item_id, charged_at AS at FROM payments_fee
    UNION ALL SELECT id, customer_id, item_id, waived_at FROM payments_feewaiver)"""

# Whether a new bill with the old balance contains item i: what is due because money went back or as a fee, if its maker knew of it.
_CONTAINED = f"""({contained("i")} OR (i.kind = 'returned' AND EXISTS (
    SELECT FROM payments_reversaldebit d JOIN payments_reversal v ON v.id = d.reversal_id
    LEFT JOIN datapump_record r ON r.id = v.id WHERE d.item_id = i.id AND {_heard_back("v", "r")}))
    OR (i.kind = 'fee' AND EXISTS (
    SELECT FROM payments_fee f LEFT JOIN datapump_record r ON r.id = f.id
    WHERE f.item_id = i.id AND {_heard("f.charged_at")})))"""

# The win that made credit item i, with its record.
_WIN = """LEFT JOIN payments_reversal v ON v.payment_id = i.payment_id AND v.kind = 'won' AND v.posting_id = i.posting_id
        LEFT JOIN datapump_record w ON w.id = v.id"""
# Whether credit item i is none of a win that the biller's system had not heard of. Such a credit stays beside every bill
# until it has: once on a bill, nobody could tell it from money that it knows of.
_NO_UNHEARD_WIN = f"(v.id IS NULL OR {_heard_back('v', 'w')})"


def carry(cursor: Any, carriers: Carriers, /) -> None:
    """Move unheard payments, their credits and money in flight from older bills to the new ones (:class:`Carry`).

    What the biller's system had heard of and left as credit is in the new bill's amount: that credit closes by
    transfer. Scheduled payments follow to the new bills.
    """
    moves = carriers.stage.make(
        cursor,
        "moves",
        "id bigint GENERATED ALWAYS AS IDENTITY, rank int, kind text, customer_id bigint, invoice_id bigint, item_id bigint,"
        " room numeric(14, 2), payment_id uuid, from_item_id bigint, from_allocation_id bigint, amount numeric(14, 2),"
        " moved numeric(14, 2), to_allocation_id bigint, credit_item_id bigint",
    )
    given = {"made_on": carriers.made_on, "biller": carriers.biller.pk, "posting": carriers.posting_id}
    _part_waived_fees(cursor, carriers, given)
    _find_posted(cursor, carriers, moves, given)
    _find_credits(cursor, carriers, moves, given)
    _find_pending(cursor, carriers, moves, given)
    cursor.execute(f"SELECT EXISTS (SELECT FROM {moves})")
    if cursor.fetchone() == (True,):
        _fill(cursor, moves)
        _move(cursor, carriers, moves, given)
    _transfer_heard_credits(cursor, carriers, given)
    _transfer_heard_debits(cursor, carriers)
    _transfer_heard_fees(cursor, carriers, given)
    _charge_unheard_reversals(cursor, carriers, given)
    carriers.afterwards.append(lambda: scheduled_payments.follow(cursor, carriers))


def _find_posted(cursor: Any, carriers: Carriers, moves: str, given: dict[str, Any]) -> None:
    # An unheard payment of an older balance moved with it then, so that it is on the newest of the older bills, or on
    # one that is still open, or on an adjustment made since.
    cursor.execute(
        f"""
        INSERT INTO {moves} (rank, kind, customer_id, invoice_id, item_id, room, payment_id, from_item_id,
                             from_allocation_id, amount)
        SELECT 1, 'posted', c.customer_id, c.invoice_id, c.item_id, greatest(c.amount, 0), p.id, c.from_item_id, a.id, a.amount
        FROM (
            SELECT c.customer_id, c.invoice_id, c.item_id, c.amount, i.id AS from_item_id
            FROM {carriers.table} c JOIN billing_item i ON i.invoice_id = c.previous_id
            WHERE c.is_new AND i.kind = 'bill' AND i.allocated > 0
            UNION
            SELECT c.customer_id, c.invoice_id, c.item_id, c.amount, i.id
            FROM {carriers.table} c JOIN billing_item i ON i.customer_id = c.customer_id
            WHERE c.is_new AND (i.open <> 0 OR i.kind IN ('adjustment', 'returned', 'fee')) AND i.allocated > 0
              AND i.invoice_id IS DISTINCT FROM c.invoice_id AND {_CONTAINED}
        ) c
        JOIN payments_allocation a ON a.item_id = c.from_item_id AND a.state = 'posted'
        JOIN payments_payment p ON p.id = a.payment_id AND p.state = 'posted'
        LEFT JOIN datapump_record r ON r.id = p.id
        WHERE {_unheard("r")}
        """,
        given,
    )


def _find_credits(cursor: Any, carriers: Carriers, moves: str, given: dict[str, Any]) -> None:
    cursor.execute(
        f"""
        INSERT INTO {moves} (rank, kind, customer_id, invoice_id, item_id, room, payment_id, from_item_id, amount)
        SELECT 2, 'credit', c.customer_id, c.invoice_id, c.item_id, greatest(c.amount, 0), p.id, i.id, -i.open
        FROM {carriers.table} c
        JOIN billing_item i ON i.customer_id = c.customer_id AND i.open < 0 AND i.kind = 'credit' AND i.payment_id IS NOT NULL
        JOIN payments_payment p ON p.id = i.payment_id AND p.state = 'posted'
        LEFT JOIN datapump_record r ON r.id = p.id
        {_WIN}
        WHERE c.is_new AND {_unheard("r")} AND {_NO_UNHEARD_WIN}
        """,
        given,
    )


def _find_pending(cursor: Any, carriers: Carriers, moves: str, given: dict[str, Any]) -> None:
    cursor.execute(
        f"""
        INSERT INTO {moves} (rank, kind, customer_id, invoice_id, item_id, room, payment_id, from_item_id,
                             from_allocation_id, amount)
        SELECT 3, 'pending', c.customer_id, c.invoice_id, c.item_id, greatest(c.amount, 0), a.payment_id, i.id, a.id, a.amount
        FROM {carriers.table} c
        JOIN billing_item i ON i.customer_id = c.customer_id AND i.open <> 0 AND i.reserved > 0
                           AND i.invoice_id IS DISTINCT FROM c.invoice_id AND {_CONTAINED}
        JOIN payments_allocation a ON a.item_id = i.id AND a.state = 'pending'
        WHERE c.is_new
        """,
        given,
    )


def _fill(cursor: Any, moves: str) -> None:
    """Say how much of each finds room on its new bill: what is certain first, then the older payment."""
    cursor.execute(
        f"""
        UPDATE {moves} m SET moved = least(m.amount, greatest(0, m.room - x.before))
        FROM (
            SELECT id, sum(amount) OVER (PARTITION BY customer_id ORDER BY rank, payment_id, from_item_id, id) - amount AS before
            FROM {moves}
        ) x
        WHERE x.id = m.id
        """
    )
    cursor.execute(
        f"""
        UPDATE {moves} SET
            to_allocation_id = CASE WHEN moved > 0 THEN nextval('payments_allocation_id_seq') END,
            credit_item_id = CASE WHEN rank = 1 AND moved < amount THEN nextval('billing_item_id_seq') END
        """
    )


def _move(cursor: Any, carriers: Carriers, moves: str, given: dict[str, Any]) -> None:
    for statement in (
        # The old bills let go: what had paid them is what the transfer takes along.
        f"UPDATE payments_allocation a SET state = 'void' FROM {moves} m WHERE a.id = m.from_allocation_id",
        f"""UPDATE billing_item i
            SET allocated = i.allocated - x.paid, transferred = i.transferred + x.paid, reserved = i.reserved - x.held,
                transferred_to_id = CASE WHEN x.paid > 0 THEN x.invoice_id ELSE i.transferred_to_id END
            FROM (
                SELECT from_item_id, min(invoice_id) AS invoice_id,
                       coalesce(sum(amount) FILTER (WHERE rank = 1), 0) AS paid,
                       coalesce(sum(amount) FILTER (WHERE rank = 3), 0) AS held
                FROM {moves} WHERE rank IN (1, 3) GROUP BY from_item_id
            ) x
            WHERE i.id = x.from_item_id""",
        f"UPDATE billing_item i SET allocated = i.allocated - m.moved FROM {moves} m"
        " WHERE m.rank = 2 AND m.moved > 0 AND i.id = m.from_item_id",
        # The new ones take.
        f"""INSERT INTO payments_allocation (id, biller_id, payment_id, item_id, amount, state)
            SELECT to_allocation_id, %(biller)s, payment_id, item_id, moved,
                   CASE rank WHEN 3 THEN 'pending' ELSE 'posted' END
            FROM {moves} WHERE to_allocation_id IS NOT NULL""",
        f"""UPDATE billing_item i SET allocated = i.allocated + x.paid, reserved = i.reserved + x.held
            FROM (
                SELECT item_id, coalesce(sum(moved) FILTER (WHERE rank < 3), 0) AS paid,
                       coalesce(sum(moved) FILTER (WHERE rank = 3), 0) AS held
                FROM {moves} WHERE moved > 0 GROUP BY item_id
            ) x
            WHERE i.id = x.item_id""",
        f"""INSERT INTO billing_item (id, biller_id, customer_id, payment_id, posting_id, kind, amount, currency)
            SELECT m.credit_item_id, %(biller)s, m.customer_id, m.payment_id, %(posting)s, 'credit', m.moved - m.amount, p.currency
            FROM {moves} m JOIN payments_payment p ON p.id = m.payment_id WHERE m.credit_item_id IS NOT NULL""",
        f"""INSERT INTO payments_carryover (biller_id, payment_id, kind, invoice_id, from_item_id, to_allocation_id,
                                            credit_item_id, amount, moved)
            SELECT %(biller)s, payment_id, kind, invoice_id, from_item_id, to_allocation_id, credit_item_id, amount, moved
            FROM {moves} ORDER BY id""",
        f"INSERT INTO {carriers.corrections} SELECT customer_id, -amount FROM {moves} WHERE rank = 1",
    ):
        cursor.execute(statement, given)


def _transfer_heard_credits(cursor: Any, carriers: Carriers, given: dict[str, Any]) -> None:
    # What is still open of an unheard payment's credit stays: the new bill was smaller; an unheard win's does too. All
    # other credit is in its amount.
    heard = carriers.stage.make(
        cursor, "heard", "item_id bigint, customer_id bigint, invoice_id bigint, open numeric(14, 2)"
    )
    cursor.execute(
        f"""
        INSERT INTO {heard}
        SELECT i.id, i.customer_id, c.invoice_id, i.open
        FROM {carriers.table} c
        JOIN billing_item i ON i.customer_id = c.customer_id AND i.open < 0 AND i.kind = 'credit' AND i.payment_id IS NOT NULL
        {_WIN}
        WHERE c.is_new AND i.posting_id <> %(posting)s AND {_NO_UNHEARD_WIN}
          AND i.id NOT IN (SELECT from_item_id FROM {carriers.stage.name("moves")} WHERE rank = 2)
        """,
        given,
    )
    cursor.execute(
        f"UPDATE billing_item i SET transferred = i.transferred + h.open, transferred_to_id = h.invoice_id"
        f" FROM {heard} h WHERE i.id = h.item_id"
    )
    cursor.execute(f"INSERT INTO {carriers.corrections} SELECT customer_id, -open FROM {heard}")


def _transfer_heard_debits(cursor: Any, carriers: Carriers) -> None:
    """Close what was due because of money that went back, where the new bill was made by a system that knew of it."""
    cursor.execute(
        f"""
        WITH known AS (
            SELECT i.id, i.customer_id, i.open, c.invoice_id
            FROM {carriers.table} c
            JOIN payments_reversal v ON v.customer_id = c.customer_id AND v.state = 'done'
            JOIN payments_reversaldebit d ON d.reversal_id = v.id
            JOIN billing_item i ON i.id = d.item_id AND i.open > 0 AND i.reserved = 0
            LEFT JOIN datapump_record r ON r.id = v.id
            WHERE c.is_new AND {_heard_back("v", "r")}
        ), closed AS (
            UPDATE billing_item i SET transferred = i.transferred + k.open, transferred_to_id = k.invoice_id
            FROM known k WHERE i.id = k.id
        )
        INSERT INTO {carriers.corrections} SELECT customer_id, -open FROM known
        """,
        {"made_on": carriers.made_on},
    )


def _part_waived_fees(cursor: Any, carriers: Carriers, given: dict[str, Any]) -> None:
    """Open fees and their waivers again that had closed each other, where the new bill was made in between: it contains the fee."""
    cursor.execute(
        f"""
        WITH apart AS (
            UPDATE payments_feewaiver w SET set_off = 0
            FROM {carriers.table} c, payments_fee f
            LEFT JOIN datapump_record r ON r.id = f.id
            WHERE c.is_new AND w.customer_id = c.customer_id AND w.set_off > 0 AND f.id = w.fee_id
              AND {_heard("f.charged_at")}
              AND NOT coalesce((SELECT {_heard("w.waived_at", "m")} FROM (SELECT) one
                                LEFT JOIN datapump_record m ON m.id = w.id), false)
            RETURNING f.item_id AS fee, w.item_id AS waiver, old.set_off AS amount
        ), fees AS (
            UPDATE billing_item i SET transferred = i.transferred - a.amount FROM apart a WHERE i.id = a.fee
        )
        UPDATE billing_item i SET transferred = i.transferred + a.amount FROM apart a WHERE i.id = a.waiver
        """,
        given,
    )


def _transfer_heard_fees(cursor: Any, carriers: Carriers, given: dict[str, Any]) -> None:
    """Close fees and what is left of their waivers, where the new bill was made by a system that knew of them."""
    cursor.execute(
        f"""
        WITH known AS (
            SELECT i.id, i.customer_id, i.open, c.invoice_id
            FROM {carriers.table} c
            JOIN {_FEE_ITEMS} f ON f.customer_id = c.customer_id
            JOIN billing_item i ON i.id = f.item_id AND i.open <> 0 AND i.reserved = 0
            LEFT JOIN datapump_record r ON r.id = f.id
            WHERE c.is_new AND {_heard("f.at")}
        ), closed AS (
            UPDATE billing_item i SET transferred = i.transferred + k.open, transferred_to_id = k.invoice_id
            FROM known k WHERE i.id = k.id
        )
        INSERT INTO {carriers.corrections} SELECT customer_id, -open FROM known
        """,
        given,
    )


def _charge_unheard_reversals(cursor: Any, carriers: Carriers, given: dict[str, Any]) -> None:
    """Make due what went back of payments that the biller's system knew of, where it did not know that they went back.

    Its new bill counts on that money, so that what was open again here is not in it. What went back out of the credit of a
    win that it did not know of either is not due: of both it knows nothing.
    """
    cursor.execute(
        f"""
        SELECT v.id, v.customer_id, v.payment_id, v.amount - coalesce(d.charged, 0), coalesce(won.used, 0)
        FROM {carriers.table} c
        JOIN payments_reversal v ON v.customer_id = c.customer_id AND v.state = 'done' AND v.kind <> 'won'
        JOIN payments_payment p ON p.id = v.payment_id
        LEFT JOIN datapump_record r ON r.id = v.id
        LEFT JOIN datapump_record m ON m.id = p.id
        LEFT JOIN (SELECT t.reversal_id, sum(i.amount) AS charged FROM payments_reversaldebit t
                   JOIN billing_item i ON i.id = t.item_id GROUP BY 1) d ON d.reversal_id = v.id
        LEFT JOIN LATERAL (
            SELECT sum(b.amount + i.open) AS used FROM payments_reversal b
            JOIN billing_item i ON i.payment_id = b.payment_id AND i.kind = 'credit' AND i.posting_id = b.posting_id
            LEFT JOIN datapump_record w ON w.id = b.id
            WHERE b.payment_id = p.id AND b.kind = 'won' AND NOT ({_heard_back("b", "w")})
        ) won ON true
        WHERE c.is_new AND NOT ({_heard_back("v", "r")}) AND NOT ({_unheard("m")}) AND v.amount > coalesce(d.charged, 0)
        ORDER BY v.id DESC
        """,
        given,
    )
    used: dict[uuid.UUID, Decimal] = {}
    for reversal_id, customer_id, payment_id, amount, won in cursor.fetchall():
        netted = min(amount, used.setdefault(payment_id, won))
        used[payment_id] -= netted
        if due := amount - netted:
            reversal = Reversal.objects.get(pk=reversal_id)
            reversals.debit(reversal=reversal, amount=due, posting_id=carriers.posting_id)
            cursor.execute(f"INSERT INTO {carriers.corrections} VALUES (%s, %s)", [customer_id, due])


def put_back(cursor: Any, returned: Returned, /) -> str:
    """Move what was carried to a withdrawn file's invoices back to the older bills (:class:`PutBack`).

    Gives a reason where something of the file is paid or held by other money, or where a carried payment's rest was
    used.
    """
    backs = returned.stage.make(
        cursor,
        "backs",
        "id bigint, customer_id bigint, payment_id uuid, state text, kind text, item_id bigint, from_item_id bigint,"
        " to_allocation_id bigint, to_state text, credit_item_id bigint, amount numeric(14, 2), moved numeric(14, 2)",
    )
    cursor.execute(
        f"""
        INSERT INTO {backs}
        SELECT c.id, w.customer_id, c.payment_id, p.state, c.kind, a.item_id, c.from_item_id, c.to_allocation_id,
               coalesce(a.state, ''), c.credit_item_id, c.amount, c.moved
        FROM {returned.table} w
        JOIN payments_carryover c ON c.invoice_id = w.invoice_id AND c.returned_at IS NULL
        JOIN payments_payment p ON p.id = c.payment_id
        LEFT JOIN payments_allocation a ON a.id = c.to_allocation_id
        """
    )
    returned.afterwards.append(lambda: scheduled_payments.go_back(cursor, returned))
    if reason := _why_not(cursor, returned, backs):
        cursor.execute(f"DROP TABLE {backs}")
        return reason
    for statement in (
        # What is still on its way is held again in full where it was; what was paid is paid there, as far as it had
        # moved.
        f"""UPDATE {backs} SET amount = CASE WHEN kind <> 'pending' OR state IN ('processing', 'authorized') THEN amount
                                             WHEN to_state = 'posted' THEN moved ELSE 0 END""",
        f"UPDATE payments_allocation a SET state = 'void' FROM {backs} b WHERE a.id = b.to_allocation_id AND a.state <> 'void'",
        f"""UPDATE billing_item i SET allocated = i.allocated - x.paid, reserved = i.reserved - x.held
            FROM (
                SELECT item_id, coalesce(sum(moved) FILTER (WHERE to_state = 'posted'), 0) AS paid,
                       coalesce(sum(moved) FILTER (WHERE to_state = 'pending'), 0) AS held
                FROM {backs} WHERE item_id IS NOT NULL GROUP BY item_id
            ) x
            WHERE i.id = x.item_id""",
        f"""UPDATE billing_item i
            SET transferred = i.transferred - x.paid - x.held, allocated = i.allocated + x.paid, reserved = i.reserved + x.held
            FROM (
                SELECT from_item_id, coalesce(sum(amount) FILTER (WHERE state = 'posted'), 0) AS paid,
                       coalesce(sum(amount) FILTER (WHERE state IN ('processing', 'authorized')), 0) AS held
                FROM {backs} WHERE kind <> 'credit' GROUP BY from_item_id
            ) x
            WHERE i.id = x.from_item_id""",
        f"""INSERT INTO payments_allocation (biller_id, payment_id, item_id, amount, state)
            SELECT p.biller_id, b.payment_id, b.from_item_id, b.amount,
                   CASE b.state WHEN 'posted' THEN 'posted' ELSE 'pending' END
            FROM {backs} b JOIN payments_payment p ON p.id = b.payment_id
            WHERE b.kind <> 'credit' AND b.amount > 0 AND b.state IN ('processing', 'authorized', 'posted')""",
        f"UPDATE billing_item i SET allocated = i.allocated + b.moved FROM {backs} b"
        " WHERE b.kind = 'credit' AND i.id = b.from_item_id",
        f"UPDATE billing_item i SET allocated = i.amount FROM {backs} b WHERE i.id = b.credit_item_id",
        # What the new bill let go is open again until the withdrawal closes it.
        f"INSERT INTO {returned.corrections} SELECT customer_id, amount FROM {backs} WHERE kind <> 'credit' AND amount > 0",
        f"UPDATE payments_carryover c SET returned_at = %(now)s FROM {backs} b WHERE c.id = b.id",
    ):
        cursor.execute(statement, {"now": timezone.now()})
    cursor.execute(f"DROP TABLE {backs}")
    cursor.execute(
        f"SELECT count(DISTINCT i.invoice_id) FROM {returned.table} w JOIN billing_item i ON i.invoice_id = w.invoice_id"
        " WHERE i.allocated <> 0 OR i.reserved <> 0"
    )
    (held,) = cursor.fetchone()
    if held:
        return f"{held:,} of its bills {'is' if held == 1 else 'are'} paid, or held for a payment on its way."
    return ""


def _why_not(cursor: Any, returned: Returned, backs: str) -> str:
    cursor.execute(
        f"""
        SELECT count(*) FROM (
            SELECT i.id, i.allocated, i.transferred FROM billing_item i
            WHERE i.id IN (SELECT credit_item_id FROM {backs}) ORDER BY i.id FOR NO KEY UPDATE
        ) rests
        WHERE allocated <> 0 OR transferred <> 0
        """
    )
    (used,) = cursor.fetchone()
    cursor.execute(
        f"""
        SELECT count(*) FROM {backs} b JOIN payments_payment p ON p.id = b.payment_id WHERE p.undone IS NOT NULL
        UNION ALL
        SELECT count(*) FROM {returned.table} w JOIN payments_reversal v ON v.customer_id = w.customer_id
        JOIN payments_reversaldebit d ON d.reversal_id = v.id JOIN billing_item i ON i.id = d.item_id
        JOIN billing_posting g ON g.id = i.posting_id AND g.key = %s
        """,
        [f"invoices:{returned.file_id}"],
    )
    if sum(count for (count,) in cursor.fetchall()):
        return "Money of one of its customers went back since, or was counted on by one of its bills."
    cursor.execute(
        f"""
        SELECT count(*) FROM {returned.table} w JOIN payments_latebill l ON l.invoice_id = w.invoice_id
        JOIN payments_fee f ON f.late_bill_id = l.id
        WHERE NOT EXISTS (SELECT FROM payments_feewaiver v WHERE v.fee_id = f.id)
        """
    )
    (late,) = cursor.fetchone()
    if late:
        return "A late fee was charged for one of its bills. Take the fee back first."
    if used:
        return "The rest of a payment that was credited to one of its bills has been used since."
    cursor.execute(
        f"SELECT count(*) FROM {backs} WHERE kind <> 'pending' AND (state <> 'posted' OR (moved > 0 AND to_state <> 'posted'))"
    )
    (undone,) = cursor.fetchone()
    if undone:
        return "A payment that was credited to one of its bills has been returned since."
    return ""
