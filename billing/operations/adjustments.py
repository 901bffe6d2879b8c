"""Adjustments: credits and debits on accounts beside their bills, each a signed item with a balanced posting.

``adjust`` makes as many as somebody sends, all of them or none. ``post`` books them inside a transaction of a caller's who holds
the customers: a few statements, however many there are.

Source: MSP-1, MSP-37
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection, transaction

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import AdjustmentSource, Biller, Entry, LedgerAccount, Posting, PostingKind
from billing.money import LARGEST, ZERO, places, quantise

OLDEST = datetime.timedelta(days=366)
"""How far back an adjustment may be effective."""

LENGTHS: Mapping[str, int] = {"account": 40, "reason": 200, "reference": 80}
"""The most characters of each text."""

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line; ``value`` is cut short."""

    line: int
    field: str
    reason: str
    value: str = ""


class AdjustmentsRefused(DomainError):
    """Lines are wrong, and none was booked."""

    default = "Nothing was adjusted: put the lines right that are wrong."

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__()
        self.faults = sorted(faults, key=lambda fault: fault.line)


@dataclass(frozen=True, slots=True)
class Given:
    """One adjustment as its sender names it: a debit above zero or a credit below it, in the biller's currency.

    ``account`` is the number of the invoice file, ``reference`` the sender's own; without ``effective_on`` it is today's.
    """

    line: int
    account: str
    amount: Decimal
    reason: str
    reference: str
    effective_on: datetime.date | None = None


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What came of it: the adjustments' ids in the order given, how many are new, and what these add up to."""

    ids: list[int]
    new: int
    total: Decimal


@dataclass(frozen=True, slots=True)
class Wanted:
    """One adjustment to book, not zero, in the biller's currency."""

    customer_id: int
    amount: Decimal
    reference: str
    reason: str
    effective_on: datetime.date | None = None


@transaction.atomic(durable=True)
def adjust(
    *,
    biller: Biller,
    given: Sequence[Given],
    source: AdjustmentSource,
    actor: Actor,
    now: datetime.datetime,
    name: str = "",
) -> Adjusted:
    """Adjust accounts, by all of these lines or by none.

    A reference counts once for each account: the same one with the same amount is the same adjustment again, and changes
    nothing. ``name`` is the file's, for the audit trail.

    :raises AdjustmentsRefused: lines are wrong; it says which and why.
    """
    today = biller.business_date(now)
    faults: list[Fault] = []
    for one in given:
        faults += _faults(one, biller, today)
    numbers = sorted({one.account for one in given})
    with connection.cursor() as cursor:
        # Two with one reference may come at once; the second one waits here and then finds the first.
        cursor.execute(
            "SELECT number, id FROM billing_customer WHERE biller_id = %s AND number = ANY(%s) ORDER BY id"
            " FOR NO KEY UPDATE",
            [biller.pk, numbers],
        )
        customers: dict[str, int] = dict(cursor.fetchall())
        known = [one for one in given if one.account in customers]
        cursor.execute(
            """
            SELECT a.customer_id, a.reference, a.id, i.amount
            FROM unnest(%s::bigint[], %s::text[]) AS v(customer_id, reference)
            JOIN billing_adjustment a ON a.customer_id = v.customer_id AND a.reference = v.reference
            JOIN billing_item i ON i.id = a.item_id
            """,
            [[customers[one.account] for one in known], [one.reference for one in known]],
        )
        there = {(customer, reference): (pk, amount) for customer, reference, pk, amount in cursor.fetchall()}
    wanted: dict[tuple[int, str], Wanted] = {}
    lines: dict[tuple[int, str], int] = {}
    for one in given:
        customer = customers.get(one.account)
        if customer is None:
            if 0 < len(one.account) <= LENGTHS["account"]:
                faults.append(Fault(one.line, "account", "is no account of this biller", shown(one.account)))
            continue
        key = (customer, one.reference)
        if key in lines:
            reason = f"stands in line {lines[key]:,} too, for this account"
            faults.append(Fault(one.line, "reference", reason, shown(one.reference)))
        elif key in there and there[key][1] != one.amount:
            reason = f"was used for this account with the amount {there[key][1]}"
            faults.append(Fault(one.line, "reference", reason, shown(one.reference)))
        lines.setdefault(key, one.line)
        if key not in there:
            wanted[key] = Wanted(customer, one.amount, one.reference, one.reason, one.effective_on)
    if faults:
        raise AdjustmentsRefused(faults)
    made = post(biller=biller, wanted=list(wanted.values()), source=source, actor=actor, now=now, name=name)
    ids = {key: pk for key, (pk, _amount) in there.items()} | dict(zip(wanted, made, strict=True))
    return Adjusted(
        [ids[customers[one.account], one.reference] for one in given],
        new=len(made),
        total=sum((one.amount for one in wanted.values()), ZERO),
    )


def _faults(one: Given, biller: Biller, today: datetime.date) -> list[Fault]:
    """Find what is wrong with a line by itself."""
    faults = []
    for name, most in LENGTHS.items():
        value: str = getattr(one, name)
        if not value:
            faults.append(Fault(one.line, name, "is missing"))
        elif len(value) > most:
            faults.append(Fault(one.line, name, f"is longer than {most} characters", shown(value)))
        elif not value.isprintable():
            faults.append(Fault(one.line, name, "has a control character", shown(value)))
    amount = one.amount
    if not amount.is_finite() or abs(amount) > LARGEST:
        faults.append(Fault(one.line, "amount", "is no amount", shown(str(amount))))
    elif amount == 0:
        faults.append(Fault(one.line, "amount", "is zero"))
    elif amount != quantise(amount, biller.currency):
        reason = f"has more than {places(biller.currency)} decimal places"
        faults.append(Fault(one.line, "amount", reason, shown(str(amount))))
    if one.effective_on is not None and not today - OLDEST <= one.effective_on <= today:
        reason = "is not over yet" if one.effective_on > today else f"is more than {OLDEST.days} days ago"
        faults.append(Fault(one.line, "effective_on", reason, one.effective_on.isoformat()))
    return faults


def shown(text: str) -> str:
    """Cut a value short for a fault, without characters that turn the writing around."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text[:_SHOWN])


# The ids are taken first, so that item and adjustment of a line find each other.
_BOOK = """
WITH given AS MATERIALIZED (
    SELECT v.*, nextval(pg_get_serial_sequence('billing_item', 'id')) AS item_id,
           nextval(pg_get_serial_sequence('billing_adjustment', 'id')) AS id
    FROM jsonb_to_recordset(%(lines)s::jsonb) AS v(
        n integer, customer_id bigint, posting_id bigint, amount numeric, reference text, reason text)
    ORDER BY v.n
), items AS (
    INSERT INTO billing_item (id, biller_id, customer_id, posting_id, kind, amount, currency)
    SELECT item_id, %(biller)s, customer_id, posting_id, 'adjustment', amount, %(currency)s FROM given
), made AS (
    INSERT INTO billing_adjustment (id, biller_id, customer_id, item_id, source, reference, reason, made_by)
    SELECT id, %(biller)s, customer_id, item_id, %(source)s, reference, reason, %(made_by)s FROM given
), balances AS (
    UPDATE billing_customer c SET balance = c.balance + v.amount
    FROM (SELECT customer_id, sum(amount) AS amount FROM given GROUP BY customer_id) v WHERE c.id = v.customer_id
)
SELECT id FROM given ORDER BY n
"""


@transaction.atomic(savepoint=False)
def post(
    *,
    biller: Biller,
    wanted: Sequence[Wanted],
    source: AdjustmentSource,
    actor: Actor,
    now: datetime.datetime,
    name: str = "",
) -> list[int]:
    """Book adjustments, none of them zero, inside the transaction of a caller who holds the customers; gives their ids.

    One posting for each day on which they are effective; one audit entry, of the account where it is one.
    """
    if not wanted:
        return []
    today = biller.business_date(now)
    totals: dict[datetime.date, tuple[Decimal, int]] = {}
    for one in wanted:
        total, count = totals.get(one.effective_on or today, (ZERO, 0))
        totals[one.effective_on or today] = (total + one.amount, count + 1)
    days = sorted(totals)
    made = Posting.objects.bulk_create(
        Posting(biller=biller, key=f"adjustments:{uuid.uuid4()}", kind=PostingKind.ADJUSTMENT, effective_on=day)
        for day in days
    )
    postings = dict(zip(days, made, strict=True))
    lines = [
        {
            "n": n, "customer_id": one.customer_id, "posting_id": postings[one.effective_on or today].pk,
            "amount": str(one.amount), "reference": one.reference, "reason": one.reason,
        }
        for n, one in enumerate(wanted)
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            _BOOK,
            {
                "lines": json.dumps(lines), "biller": biller.pk, "currency": biller.currency, "source": source,
                "made_by": actor.label[:120],
            },
        )  # fmt: skip
        ids = [pk for (pk,) in cursor.fetchall()]
    Entry.objects.bulk_create(
        Entry(
            biller=biller, posting=postings[day], account=account, amount=signed, currency=biller.currency, count=count
        )
        for day, (total, count) in totals.items()
        if total
        for account, signed in ((LedgerAccount.RECEIVABLE, total), (LedgerAccount.ADJUSTMENTS, -total))
    )
    [first, *others] = wanted
    if others:
        total = sum((one.amount for one in wanted), ZERO)
        facts: dict[str, object] = {
            "count": len({one.customer_id for one in wanted}),
            "total": f"{total} {biller.currency}",
            "reason": name or first.reason,
        }
        subject = f"posting:{postings[days[0]].pk}"
        audit.record(actor=actor, event="accounts.adjusted", biller_id=biller.pk, subject=subject, facts=facts)
    else:
        audit.record(
            actor=actor,
            event="account.adjusted",
            biller_id=biller.pk,
            customer_id=first.customer_id,
            subject=f"adjustment:{ids[0]}",
            facts={
                "amount": f"{first.amount} {biller.currency}",
                "reason": first.reason,
                "reference": first.reference,
            },
        )
    return ids
