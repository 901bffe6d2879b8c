"""Adjustments: credits and debits on accounts beside their bills, each a signed item with a balanced posting.

``adjust`` makes one. ``post`` makes many inside a transaction of the caller's, who holds the customers: two entries and a
few statements, however many accounts.

Source: MSP-1, MSP-37
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from billing import audit, sets
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.models import (
    Adjustment,
    AdjustmentSource,
    Biller,
    Customer,
    Entry,
    Item,
    ItemKind,
    LedgerAccount,
    Posting,
    PostingKind,
)
from billing.money import ZERO, quantise


class AdjustmentRefused(DomainError):
    """The adjustment says nothing: no amount, no reference or no reason."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One adjustment: a debit above zero or a credit below it, in the biller's currency."""

    customer_id: int
    amount: Decimal
    reference: str
    reason: str


@transaction.atomic(durable=True)
def adjust(
    *,
    customer: Customer,
    amount: Decimal,
    reference: str,
    reason: str,
    source: AdjustmentSource,
    actor: Actor,
    now: datetime.datetime,
) -> Adjustment:
    """Adjust an account: a debit of an amount above zero is owed, a credit below zero is the customer's.

    ``reference`` is the sender's own: the same one with the same amount gives the same adjustment again and changes nothing.

    :raises AdjustmentRefused: the amount is zero, or reference or reason is missing or too long.
    :raises Conflict: the reference was used for another amount.
    """
    biller = customer.biller
    amount, reference, reason = quantise(amount, biller.currency), reference.strip(), " ".join(reason.split())
    if amount == 0:
        raise AdjustmentRefused(_("Enter an amount other than zero."), field="amount")  # type: ignore[arg-type]
    if not 0 < len(reference) <= 80:
        raise AdjustmentRefused(_("Enter a reference of at most 80 characters."), field="reference")  # type: ignore[arg-type]
    if not 0 < len(reason) <= 200:
        raise AdjustmentRefused(_("Enter a reason of at most 200 characters."), field="reason")  # type: ignore[arg-type]
    # Two with one reference may come at once; the second one waits here and then finds the first.
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    there = Adjustment.objects.filter(customer=customer, reference=reference).select_related("item").first()
    if there is not None:
        if there.item.amount != amount:
            raise Conflict(
                _("This reference was used for another amount. Nothing was changed."),  # type: ignore[arg-type]
                field="reference",
            )
        return there
    [made] = post(
        biller=biller, wanted=[Wanted(customer.pk, amount, reference, reason)], source=source, actor=actor, now=now
    )
    return made


@transaction.atomic(savepoint=False)
def post(
    *, biller: Biller, wanted: Sequence[Wanted], source: AdjustmentSource, actor: Actor, now: datetime.datetime
) -> list[Adjustment]:
    """Book adjustments of different accounts, none of them zero, inside the transaction of a caller who holds the customers.

    One posting for all; one audit entry, of the account where it is one.
    """
    if not wanted:
        return []
    posting = Posting.objects.create(
        biller=biller,
        key=f"adjustments:{uuid.uuid4()}",
        kind=PostingKind.ADJUSTMENT,
        effective_on=biller.business_date(now),
    )
    items = Item.objects.bulk_create(
        Item(
            biller=biller, customer_id=one.customer_id, posting=posting, kind=ItemKind.ADJUSTMENT, amount=one.amount,
            currency=biller.currency,
        )
        for one in wanted
    )  # fmt: skip
    made = Adjustment.objects.bulk_create(
        Adjustment(
            biller=biller, customer_id=one.customer_id, item=item, source=source, reference=one.reference,
            reason=one.reason, made_by=actor.label[:120],
        )
        for one, item in zip(wanted, items, strict=True)
    )  # fmt: skip
    ordered = sorted(wanted, key=lambda one: one.customer_id)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_customer c SET balance = c.balance + v.amount"
            " FROM unnest(%s::bigint[], %s::numeric[]) AS v(id, amount) WHERE c.id = v.id",
            [sets.array(one.customer_id for one in ordered), sets.array(one.amount for one in ordered)],
        )
    total = sum((one.amount for one in wanted), ZERO)
    if total:
        Entry.objects.bulk_create(
            Entry(biller=biller, posting=posting, account=account, amount=signed, currency=biller.currency, count=n)
            for account, signed, n in (
                (LedgerAccount.RECEIVABLE, total, len(wanted)),
                (LedgerAccount.ADJUSTMENTS, -total, len(wanted)),
            )
        )
    [first, *others] = wanted
    if others:
        facts: dict[str, object] = {"count": len(wanted), "total": f"{total} {biller.currency}", "reason": first.reason}
        audit.record(
            actor=actor, event="accounts.adjusted", biller_id=biller.pk, subject=f"posting:{posting.pk}", facts=facts
        )
    else:
        audit.record(
            actor=actor,
            event="account.adjusted",
            biller_id=biller.pk,
            customer_id=first.customer_id,
            subject=f"adjustment:{made[0].pk}",
            facts={
                "amount": f"{first.amount} {biller.currency}",
                "reason": first.reason,
                "reference": first.reference,
            },
        )
    return made
