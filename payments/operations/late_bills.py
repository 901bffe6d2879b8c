"""Late bills: what a biller's rules do so many days after the due date while enough of a bill is owed.

What is owed of a bill is what is open of it after the account's credits, which go to the oldest bill first. A bill with money in
flight, or whose account has a payment of unknown outcome, is left alone until that is known; so is an account whose balance the
biller's own system cannot tell just now. Each rule acts once on each bill, whatever day it is run for and however often.

Source: PAY-35; ADR 16
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from django.db import connection, transaction

from billing import audit, formats, sets
from billing.actors import Actor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import Biller, CustomerStatus, NoticeKind
from billing.money import ZERO, places
from billing.operations import notices
from datapump.models import RecordType
from datapump.operations import records
from payments.models import LateAction, LateRule
from payments.operations import balances, deadlocks, fees

LOOK_BACK = datetime.timedelta(days=90)
"""How long a rule that did not run is made up for; what has been late for longer is for a person."""

CHUNK_SIZE = 500
# How long the biller's own system may be asked for the balances of a chunk, as a collect run asks.
ASKING = 60.0


class LateRefused(DomainError):
    """The biller's charging is stopped, so that what was paid may not be known and nobody could pay; or the day has not come."""

    default = "Charging is stopped: nothing is done about late bills until it is allowed again."


@dataclass(frozen=True, slots=True)
class Acted:
    """What was done, or would be: fees charged and their sum, accounts set inactive."""

    fees: int = 0
    total: Decimal = ZERO
    inactive: int = 0

    def __add__(self, other: Acted) -> Acted:
        return Acted(self.fees + other.fees, self.total + other.total, self.inactive + other.inactive)


class _Late(NamedTuple):
    """A late bill: what is still owed of it, and what fee that makes."""

    customer_id: int
    invoice_id: int
    number: str
    due_on: datetime.date
    owed: Decimal
    fee: Decimal | None
    active: bool


def act(
    *, biller: Biller, day: datetime.date, actor: Actor, now: datetime.datetime, dry_run: bool = False
) -> Iterator[Acted]:
    """Do what the biller's late rules say on a business day; gives what was done, chunk by chunk.

    Any number of workers may do this at once, and again after a crash. A dry run changes nothing.

    :raises LateRefused: the biller's charging is stopped, or the day has not come and it is no dry run.
    """
    if day > biller.business_date(now) and not dry_run:
        raise LateRefused(f"{day} has not come yet: only a dry run looks ahead.")
    if Biller.objects.filter(pk=biller.pk, charging_stopped=True).exists():
        raise LateRefused
    for rule in LateRule.objects.filter(biller=biller, active=True).order_by("pk"):
        after = 0
        while found := _late(biller, rule, day, after=after):
            customers = sorted({one.customer_id for one in found})
            after = customers[-1]
            if dry_run:
                yield _done(rule, _late(biller, rule, day, among=customers))
                continue
            if balances.asked_for(biller.pk):
                standings = balances.refresh(biller=biller, customers=customers, seconds=ASKING)
                customers = [pk for pk in customers if pk not in standings or standings[pk].usable]
            failpoint("late_bills.found")
            yield deadlocks.repeated(partial(_act, biller, rule, day, customers, actor, now))


@transaction.atomic(durable=True)
def _act(
    biller: Biller, rule: LateRule, day: datetime.date, customers: Sequence[int], actor: Actor, now: datetime.datetime
) -> Acted:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM billing_customer WHERE id = ANY(%s::bigint[]) ORDER BY id FOR NO KEY UPDATE",
            [sets.array(customers)],
        )
    # Looked at again: somebody may have paid, or another worker have done this, while we waited.
    late = _late(biller, rule, day, among=customers)
    if not late:
        return Acted()
    ids = _mark(biller, rule, day, late)
    if rule.action == LateAction.FEE:
        _charge(biller, rule, [(one, pk) for one, pk in zip(late, ids, strict=True) if one.fee], actor, now)
    else:
        # An account has one status, however many of its bills are late: the oldest is the reason.
        oldest = {one.customer_id: (one, pk) for one, pk in reversed(list(zip(late, ids, strict=True))) if one.active}
        _set_inactive(biller, rule, sorted(oldest.values()), actor)
    failpoint("late_bills.done")
    return _done(rule, late)


def _done(rule: LateRule, late: Sequence[_Late]) -> Acted:
    if rule.action == LateAction.INACTIVE:
        return Acted(inactive=len({one.customer_id for one in late if one.active}))
    charged = [one.fee for one in late if one.fee]
    return Acted(fees=len(charged), total=sum(charged, ZERO))


def _late(
    biller: Biller, rule: LateRule, day: datetime.date, *, after: int = 0, among: Sequence[int] | None = None
) -> list[_Late]:
    """Find late bills that a rule has not acted on: the first of customers above ``after``, or all of those ``among`` some."""
    until = day - datetime.timedelta(days=rule.days)
    chosen = "i.customer_id > %(after)s" if among is None else "i.customer_id = ANY(%(among)s::bigint[])"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT i.customer_id, i.invoice_id, b.number, i.due_on, l.owed,
                   coalesce(%(amount)s, least(%(most)s, greatest(%(least)s, round(l.owed * %(percent)s / 100, %(places)s)))),
                   c.status = 'active'
            FROM billing_item i
            JOIN billing_customer c ON c.id = i.customer_id
            JOIN billing_invoice b ON b.id = i.invoice_id
            CROSS JOIN LATERAL (
                SELECT least(i.open, sum(o.open)) AS owed FROM billing_item o
                WHERE o.customer_id = i.customer_id
                  AND (o.open < 0 OR (o.open > 0 AND o.kind = 'bill' AND (o.due_on, o.id) <= (i.due_on, i.id)))
            ) l
            WHERE i.biller_id = %(biller)s AND i.kind = 'bill' AND i.due_on BETWEEN %(begin)s AND %(until)s
              AND i.open >= %(minimum)s AND i.reserved = 0 AND NOT b.withdrawn AND l.owed >= %(minimum)s
              AND (%(segments)s::text[] = '{{}}' OR c.segment = ANY (%(segments)s::text[])) AND {chosen}
              AND NOT EXISTS (SELECT FROM payments_latebill x WHERE x.invoice_id = i.invoice_id AND x.rule_id = %(rule)s)
              AND NOT EXISTS (SELECT FROM payments_checkpoint k JOIN payments_payment p ON p.id = k.payment_id
                              WHERE k.biller_id = i.biller_id AND p.customer_id = i.customer_id)
              AND NOT EXISTS (SELECT FROM payments_authorization z
                              WHERE z.biller_id = i.biller_id AND z.customer_id = i.customer_id AND z.ended_at IS NULL)
            ORDER BY i.customer_id, i.due_on, i.id
            {f"LIMIT {CHUNK_SIZE}" if among is None else ""}
            """,
            {
                "amount": rule.amount, "percent": rule.percent, "least": rule.least, "most": rule.most,
                "places": places(biller.currency), "biller": biller.pk, "rule": rule.pk, "minimum": rule.minimum,
                "begin": max(rule.due_from, until - LOOK_BACK), "until": until, "segments": rule.segments, "after": after,
                "among": sets.array(among or ()),
            },
        )  # fmt: skip
        return [_Late(*row) for row in cursor.fetchall()]


def _mark(biller: Biller, rule: LateRule, day: datetime.date, late: Sequence[_Late]) -> list[str]:
    """Keep that the rule has acted on these bills; gives an id for each, in their order."""
    ids = [str(uuid.uuid4()) for _ in late]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO payments_latebill (id, biller_id, customer_id, rule_id, invoice_id, owed, day)
            SELECT v.id, %s, v.customer_id, %s, v.invoice_id, v.owed, %s
            FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::numeric[]) AS v(id, customer_id, invoice_id, owed)
            """,
            [
                *(biller.pk, rule.pk, day, sets.array(ids), sets.array(one.customer_id for one in late)),
                *(sets.array(one.invoice_id for one in late), sets.array(one.owed for one in late)),
            ],
        )
    return ids


def _charge(
    biller: Biller, rule: LateRule, late: Sequence[tuple[_Late, str]], actor: Actor, now: datetime.datetime
) -> None:
    if not late:
        return
    fees.charge(
        biller=biller,
        wanted=[
            fees.Wanted(one.customer_id, fee, rule.words, rule.words_es, _reason(one, biller), late_bill_id=pk)
            for one, pk in late
            if (fee := one.fee) is not None
        ],
        key=f"late-fees:{late[0][1]}",
        actor=actor,
        now=now,
    )
    _notify(
        NoticeKind.FEE,
        f"jsonb_build_array(jsonb_build_object({_WORDS}, 'amount', i.amount::text))",
        [pk for _one, pk in late],
    )


def _set_inactive(biller: Biller, rule: LateRule, late: Sequence[tuple[_Late, str]], actor: Actor) -> None:
    if not late:
        return
    ids = [pk for _one, pk in late]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_customer SET status = %s WHERE id = ANY(%s::bigint[])",
            [CustomerStatus.INACTIVE, sets.array(one.customer_id for one, _pk in late)],
        )
    records.write_from(
        actor=actor,
        type=RecordType.INACTIVE,
        source="""
            SELECT l.id, l.biller_id, l.customer_id, 'Active' AS before, 'Inactive' AS after,
                   jsonb_build_object('amount', l.owed::text, 'currency', %s::text, 'invoice', b.number) AS facts
            FROM payments_latebill l JOIN billing_invoice b ON b.id = l.invoice_id WHERE l.id = ANY(%s::uuid[])""",
        params=[biller.currency, sets.array(ids)],
    )
    _notify(NoticeKind.INACTIVE, "NULL", ids)
    audit.record_each(
        actor=actor,
        event="customer.set_inactive",
        biller_id=biller.pk,
        entries=[
            (one.customer_id, f"customer:{one.customer_id}", {"reason": f"{rule.words}: {_reason(one, biller)}"})
            for one, _pk in late
        ],
    )


def _reason(one: _Late, biller: Biller) -> str:
    return f"{formats.money(one.owed, biller.currency)} of bill {one.number}, due on {formats.day(one.due_on)}, is not paid"


_WORDS = "'words', r.words, 'words_es', nullif(r.words_es, '')"


def _notify(kind: NoticeKind, charged: str, ids: Sequence[str]) -> None:
    notices.write_from(
        kind=kind,
        source=f"""
            SELECT l.biller_id, l.customer_id, '{kind.value}:' || l.id AS key,
                   jsonb_strip_nulls(jsonb_build_object('number', b.number, 'due_on', b.due_on, 'owed', l.owed::text,
                                                        {_WORDS}, 'fees', {charged})) AS facts,
                   NULL AS email
            FROM payments_latebill l
            JOIN payments_laterule r ON r.id = l.rule_id
            JOIN billing_invoice b ON b.id = l.invoice_id
            LEFT JOIN payments_fee f ON f.late_bill_id = l.id LEFT JOIN billing_item i ON i.id = f.item_id
            WHERE l.id = ANY(%s::uuid[])""",
        params=[sets.array(ids)],
    )


def in_all(done: Iterator[Acted]) -> Acted:
    """Run it to its end, and add up what was done."""
    return sum(done, Acted())
