"""Postings: what payments whose money came in change in the books, all of it in the transaction that posts them.

Whoever took the money, a processor of ours (``settlements``) or the biller elsewhere (``outside_payments``): what they reserved
is paid, what no item takes is the customer's credit, the ledger balances, and both outboxes hear of it.

Source: PAY-2, PAY-10; the design's five rules, 4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeVar

from django.db import connection

from billing import sets
from billing.models import Biller, Entry, Item, ItemKind, LedgerAccount, NoticeKind
from billing.operations import notices
from datapump.models import RecordType
from datapump.operations import records
from payments.operations import groups

_Key = TypeVar("_Key", bound=Hashable)


class Moved(NamedTuple):
    """A payment whose state just changed."""

    id: str
    customer_id: int
    route_id: int | None
    tender: str
    currency: str
    chunk_id: int | None
    amount: Decimal
    fee: Decimal
    channel: int


def book(*, biller: Biller, posting_id: int, payments: Sequence[Moved]) -> None:
    """Let payments that were just posted pay what they reserved, and tell of them, inside the caller's transaction.

    Balances, allocations, items, what is left over as a credit, the ledger, and both outboxes.
    """
    ids = sets.array(one.id for one in payments)
    with connection.cursor() as cursor:
        # What is summed here came with the rows; to sum it in PostgreSQL would read each payment once more for each sum.
        _change(
            "billing_customer",
            "balance = t.balance - v.amount",
            sums_of((one.customer_id, one.amount) for one in payments),
        )
        cursor.execute(
            "UPDATE payments_allocation SET state = 'posted' WHERE payment_id = ANY(%s::uuid[]) AND state = 'pending'"
            " RETURNING payment_id::text, item_id, amount",
            [ids],
        )
        allocations = cursor.fetchall()
        _change(
            "billing_item",
            "allocated = t.allocated + v.amount, reserved = t.reserved - v.amount",
            sums_of((item_id, amount) for _, item_id, amount in allocations),
        )
    # What no item took is the customer's credit.
    allocated = sums_of((payment_id, amount) for payment_id, _, amount in allocations)
    Item.objects.bulk_create(
        Item(
            biller=biller, customer_id=one.customer_id, payment_id=one.id, posting_id=posting_id, kind=ItemKind.CREDIT,
            amount=rest, currency=one.currency,
        )
        for one in payments
        if (rest := allocated.get(one.id, Decimal("0.00")) - one.amount) < 0
    )  # fmt: skip
    _enter(biller, posting_id, payments)
    records.write_from(
        actor=None,
        type=RecordType.PAYMENT,
        source="""
            SELECT id, biller_id, customer_id, requestor, made_by, '' AS before, amount::text AS after,
                   jsonb_strip_nulls(jsonb_build_object(
                       'amount', amount::text, 'currency', currency, 'tender', tender, 'channel', channel,
                       'approval_code', approval_code, 'kiosk', nullif(kiosk, ''))) AS facts
            FROM payments_payment WHERE id = ANY(%s::uuid[])""",
        params=[ids],
    )
    notices.write_from(
        kind=NoticeKind.RECEIPT,
        source=f"""
            SELECT p.biller_id, p.customer_id, 'receipt:' || p.id AS key,
                   jsonb_strip_nulls(jsonb_build_object(
                       'payment', p.id, 'amount', {groups.AMOUNT}, 'fee', nullif(p.fee, 0)::text,
                       'group', {groups.MEMBERS},
                       'total', CASE WHEN p.fee > 0 THEN (p.amount + p.fee)::text END, 'currency', p.currency,
                       'method', (SELECT jsonb_build_object('kind', i.kind, 'brand', nullif(i.brand, ''), 'last4', i.last4)
                                  FROM payments_instrument i WHERE i.id = p.instrument_id),
                       'email', nullif(p.email, ''), 'language', nullif(p.language, ''))) AS facts,
                   nullif(p.email, '') AS email
            FROM payments_payment p WHERE p.id = ANY(%s::uuid[]) AND (p.group_id IS NULL OR p.group_id = p.id)""",
        params=[ids],
    )


def sums_of(pairs: Iterable[tuple[_Key, Decimal]]) -> dict[_Key, Decimal]:
    """Add up amounts by what each is for."""
    sums: dict[_Key, Decimal] = {}
    for key, amount in pairs:
        sums[key] = sums[key] + amount if key in sums else amount
    return sums


def _change(table: str, change: str, sums: dict[int, Decimal]) -> None:
    """Change rows ``t`` of a table by an amount ``v.amount`` each, in the order of their ids."""
    ids = sorted(sums)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} t SET {change} FROM unnest(%s::bigint[], %s::numeric[]) AS v(id, amount) WHERE t.id = v.id",
            [sets.array(ids), sets.array(sums[pk] for pk in ids)],
        )


def _enter(biller: Biller, posting_id: int, payments: Sequence[Moved]) -> None:
    """Book what came in: clearing as a settlement report splits it, against receivables and the fees in it."""
    clearing = sums_of(((one.route_id, one.tender, one.currency), one.amount + one.fee) for one in payments)
    charged = [one for one in payments if one.fee]
    fees = sums_of(((one.route_id, one.tender, one.currency), one.fee) for one in charged)
    fee_counts = Counter((one.route_id, one.tender, one.currency) for one in charged)
    received = sums_of((one.currency, one.amount) for one in payments)
    counts = Counter((one.route_id, one.tender, one.currency) for one in payments)
    Entry.objects.bulk_create(
        [
            *(
                Entry(
                    biller=biller, posting_id=posting_id, account=LedgerAccount.CLEARING, route_id=key[0], tender=key[1],
                    currency=key[2], amount=amount, count=counts[key],
                )
                for key, amount in clearing.items()
            ),
            *(
                Entry(
                    biller=biller, posting_id=posting_id, account=LedgerAccount.RECEIVABLE, currency=currency,
                    amount=-amount, count=sum(n for key, n in counts.items() if key[2] == currency),
                )
                for currency, amount in received.items()
            ),
            *(
                Entry(
                    biller=biller, posting_id=posting_id, account=LedgerAccount.FEES, route_id=key[0], tender=key[1],
                    currency=key[2], amount=-fee, count=fee_counts[key],
                )
                for key, fee in fees.items()
            ),
        ]
    )  # fmt: skip
