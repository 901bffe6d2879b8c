"""AutoPay groups: bills of linked accounts with one group value, which are charged in one transaction with one receipt.

Accounts are collected together where they have one owner, AutoPay of each charges the same method, and their bills name the
same group (Custom10). Each bill keeps a payment of its own, for its account, its allocation and the biller's system; one
attempt moves the money of all of them.

Source: MSP-7, MSP-26
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from billing import advanced_settings
from billing.models import Biller, Customer, Invoice, LinkKind, PayerLink
from billing.money import ZERO
from datapump.advanced_settings import DaffronFlags, codes_may_repeat
from datapump.models import Endpoint, Purpose

GROUPING = 128
_JSON = 131

# SQL of what a notice says of payment ``p``, or of all payments of its group: the amount, and each with its account.
AMOUNT = "coalesce((SELECT sum(m.amount) FROM payments_payment m WHERE m.group_id = p.group_id), p.amount)::text"
MEMBERS = """
    CASE WHEN p.group_id IS NOT NULL THEN (
        SELECT jsonb_agg(jsonb_build_object('account', coalesce(nullif(c.display_number, ''), c.number),
                                            'amount', m.amount::text) ORDER BY c.number, m.id)
        FROM payments_payment m JOIN billing_customer c ON c.id = m.customer_id WHERE m.group_id = p.group_id
    ) END"""


def allowed(biller: Biller) -> bool:
    """Whether a biller's bills are grouped: option 128 is on, and each payment is known to its system by a GUID of its own.

    Payments of one transaction share its approval code, by which the biller's system would take them for repetitions.
    """
    if advanced_settings.value(GROUPING, biller.pk) is not True:
        return False
    return told_apart(biller.pk)


def told_apart(biller_id: int) -> bool:
    """Whether the biller's system tells payments apart although they share an approval code (setting 131)."""
    flags = DaffronFlags.read(advanced_settings.value(_JSON, biller_id))
    endpoint = Endpoint.objects.filter(biller_id=biller_id, purpose=Purpose.PAYMENTS).first()
    return not codes_may_repeat(endpoint, flags)


def group_of(customer: Customer) -> str:
    """Give the group that the customer's newest bill names, paid or not; empty where it names none."""
    bills = Invoice.objects.filter(customer=customer, withdrawn=False).order_by("-issued_on", "-pk")
    return bills.values_list("custom10", flat=True).first() or ""


def companions(*, customer: Customer) -> list[Customer]:
    """Give the other accounts of the customer's owner that are billed in one group with it, by their numbers."""
    if not allowed(customer.biller) or not (group := group_of(customer)):
        return []
    owner = PayerLink.objects.filter(customer=customer, kind=LinkKind.OWNER).values("user_id")
    theirs = PayerLink.objects.filter(biller_id=customer.biller_id, kind=LinkKind.OWNER, user_id__in=owner)
    others = Customer.objects.filter(pk__in=theirs.values("customer_id")).exclude(pk=customer.pk)
    return [one for one in others.select_related("biller").order_by("number") if group_of(one) == group]


# ---- In a run ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grouping:
    """How the bills of a chunk lie with those of others: a group is charged by the chunk that has its first customer.

    ``elsewhere`` are bills of this chunk's customers that another chunk takes, ``besides`` are those of other chunks'
    customers that this one takes; ``keys`` says, by bill, what it would be charged together with.
    """

    elsewhere: Sequence[int] = ()
    besides: Sequence[int] = ()
    keys: dict[int, str] = field(default_factory=dict)


def grouping(
    *, cursor: Any, biller: Biller, first: int, last: int, tables: str, due: str, params: Sequence[Any]
) -> Grouping:
    """Find the groups that customers ``first`` to ``last`` have a part in, inside the caller's transaction.

    ``due`` is SQL over ``tables`` and ``billing_item i`` that says which bills may be taken.
    """
    cursor.execute(
        """
        SELECT DISTINCT o.customer_id
        FROM billing_payerlink l
        JOIN billing_payerlink o ON o.biller_id = l.biller_id AND o.user_id = l.user_id AND o.kind = 'owner'
        WHERE l.biller_id = %s AND l.kind = 'owner' AND l.customer_id BETWEEN %s AND %s
        """,
        [biller.pk, first, last],
    )
    near = [pk for (pk,) in cursor.fetchall()]
    if not near:
        return Grouping()
    cursor.execute(
        f"""
        SELECT i.id, i.customer_id, concat_ws('|', l.user_id, n.route_id, n.kind, n.token, v.custom10)
        FROM billing_item i, billing_invoice v, billing_payerlink l, {tables}
        WHERE {due} AND i.customer_id = ANY(%s::bigint[]) AND v.id = i.invoice_id AND v.custom10 <> ''
          AND l.biller_id = i.biller_id AND l.customer_id = i.customer_id AND l.kind = 'owner'
        """,
        [*params, near],
    )
    members: dict[str, list[tuple[int, int]]] = {}
    for item, customer, key in cursor.fetchall():
        members.setdefault(key, []).append((customer, item))
    elsewhere, besides, keys = [], [], {}
    for key, group in members.items():
        customers = {customer for customer, _item in group}
        if len(customers) < 2:
            continue
        here = first <= min(customers) <= last
        for customer, item in group:
            inside = first <= customer <= last
            if here:
                keys[item] = key
                if not inside:
                    besides.append(item)
            elif inside:
                elsewhere.append(item)
    return Grouping(elsewhere, besides, keys)


class Bill(NamedTuple):
    """One bill that a run has claimed, with the payment and the attempt to make for it.

    ``declined`` says that its method was declined lately, at whichever account.
    """

    item: int
    customer: int
    amount: Decimal
    instrument: str
    kind: str
    token: str
    route: int
    account: str
    payment: str
    attempt: str
    declined: bool | None = None
    debit_method: str = ""
    group: str | None = None


class Charge(NamedTuple):
    """One transaction: the attempt of its first bill for the amounts of all of them; ``covers`` says how many they are."""

    first: Bill
    amount: Decimal
    covers: int


def charges(bills: Sequence[Bill], keys: dict[int, str]) -> tuple[Sequence[Bill], list[Charge]]:
    """Give the bills, those of a group with its first bill's attempt, and the transactions that they make.

    A group of which one account is left is none.
    """
    if not keys:
        return bills, [Charge(bill, bill.amount, 1) for bill in bills]
    members: dict[str, list[Bill]] = {}
    for bill in bills:
        members.setdefault(keys.get(bill.item, bill.payment), []).append(bill)
    together: list[Bill] = []
    made: list[Charge] = []
    for group in members.values():
        if len({bill.customer for bill in group}) < 2:
            together += group
            made += [Charge(bill, bill.amount, 1) for bill in group]
            continue
        first = min(group)
        together += [bill._replace(attempt=first.attempt, group=first.payment) for bill in group]
        made.append(Charge(first, sum((bill.amount for bill in group), ZERO), len(group)))
    return together, made
