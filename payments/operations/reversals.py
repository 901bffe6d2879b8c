"""Reversals: what money that goes back does to the books.

What goes back first takes the credit that the payment had left, then what it had paid, the newest first: those bills are open
again. What a newer bill has taken up since becomes due by itself. What exceeds the payment and its fee is the biller's loss. The
payer and the biller's system are told of each.

Source: PAY-32, PAY-33
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import F, Sum

from billing import audit
from billing.actors import Actor
from billing.models import Customer, Entry, Item, ItemKind, LedgerAccount, NoticeKind, Posting, PostingKind
from billing.money import ZERO
from billing.operations import notices
from datapump.models import RecordType
from datapump.operations import records
from payments.gateways.base import Result
from payments.models import (
    Allocation,
    AllocationState,
    Payment,
    PaymentState,
    Reversal,
    ReversalDebit,
    ReversalKind,
    ReversalState,
    UnconfirmedPayment,
    UnconfirmedState,
)
from payments.models.payments import FAILED_TYPE
from payments.operations import answers, fees


@dataclass(frozen=True, slots=True)
class GoneBack:
    """What of a payment has gone back and not come again, in its parts."""

    amount: Decimal
    fee: Decimal
    loss: Decimal

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.amount + self.fee + self.loss


def gone_back(payment: Payment, *, charged_back: bool = False) -> GoneBack:
    """Reckon what of a payment has gone back; of ``charged_back`` alone, what chargebacks took."""
    rows = Reversal.objects.filter(payment=payment, state=ReversalState.DONE)
    if charged_back:
        rows = rows.filter(kind__in=[ReversalKind.CHARGEBACK, ReversalKind.WON])
    parts = dict.fromkeys(("amount", "fee", "loss"), ZERO)
    for kind, amount, fee, loss in rows.values_list("kind").annotate(Sum("amount"), Sum("fee"), Sum("loss")):
        sign = -1 if kind == ReversalKind.WON else 1
        for name, value in (("amount", amount), ("fee", fee), ("loss", loss)):
            parts[name] += sign * value
    return GoneBack(**parts)


def finish(*, attempt_id: str, result: int, actor: Actor, now: datetime.datetime) -> None:
    """Let the answer to a refund take effect, inside the caller's transaction, which holds the attempt."""
    reversal = Reversal.objects.select_related("attempt").get(attempt_id=attempt_id)
    payment = (
        Payment.objects.select_related("biller")
        .select_for_update(of=("self",), no_key=True)
        .get(pk=reversal.payment_id)
    )
    if result != Result.PASS:
        fail(reversal=reversal, result=result, failure=str(answers.words_for(result)), actor=actor, now=now)
        return
    assert reversal.attempt is not None
    reversal.kind = ReversalKind.VOID if reversal.attempt.voided else ReversalKind.REFUND
    reversal.result = result
    book(reversal=reversal, payment=payment, actor=actor, now=now)


def fail(*, reversal: Reversal, result: int, failure: str, actor: Actor, now: datetime.datetime) -> None:
    """End a refund that did not come about, inside the caller's transaction: nothing went back."""
    reversal.state, reversal.result, reversal.failure, reversal.settled_at = (
        ReversalState.FAILED,
        result,
        failure[:200],
        now,
    )
    reversal.save(update_fields=["state", "result", "failure", "settled_at"])
    _audit(reversal, "payment.refund_failed", actor)


def book(*, reversal: Reversal, payment: Payment, actor: Actor, now: datetime.datetime) -> None:
    """Book a reversal, inside the caller's transaction, which holds the payment's row."""
    customer = Customer.objects.select_for_update(no_key=True).get(pk=payment.customer_id)
    won = reversal.kind == ReversalKind.WON
    back = gone_back(payment, charged_back=won)
    asked = reversal.total
    # At most what is left goes back to bills, then to the fee; what is more was given back twice, and nobody owes it.
    left = (
        back if won else GoneBack(payment.amount - (payment.undone or ZERO), payment.fee - gone_back(payment).fee, ZERO)
    )
    reversal.amount = min(asked if reversal.attempt_id is None else reversal.amount, left.amount)
    reversal.fee = min(asked - reversal.amount, left.fee)
    reversal.loss = asked - reversal.amount - reversal.fee
    posting = Posting.objects.create(
        biller_id=payment.biller_id,
        key=f"reversal:{reversal.pk}",
        kind=PostingKind.REVERSAL,
        effective_on=payment.biller.business_date(now),
    )
    sign = -1 if won else 1
    if won:
        _credit(payment, posting, reversal.amount)
    else:
        reversal.charged = _open_again(payment, reversal.amount)
        debit(reversal=reversal, amount=reversal.charged, posting_id=posting.pk)
    Customer.objects.filter(pk=customer.pk).update(balance=F("balance") + sign * reversal.amount)
    payment.undone = (payment.undone or ZERO) + sign * reversal.amount
    payment.state = PaymentState.REVERSED if payment.undone == payment.amount else PaymentState.POSTED
    payment.save(update_fields=["undone", "state"])
    if payment.state == PaymentState.REVERSED:
        _end_waiting(reversal, payment, actor, now)
    reversal.state, reversal.settled_at, reversal.posting_id = ReversalState.DONE, now, posting.pk
    reversal.save()
    _enter(payment, posting, sign, GoneBack(reversal.amount, reversal.fee, reversal.loss))
    _tell(reversal, payment, actor, now)
    _audit(reversal, "payment.won_back" if won else "payment.reversed", actor)


def lose(*, reversal: Reversal, payment: Payment, amount: Decimal, actor: Actor, now: datetime.datetime) -> None:
    """Book that a bank took so much more than a reversal on a person's word says, inside the caller's transaction.

    It had gone back before: nobody owes it, and the biller loses it.
    """
    reversal.loss += amount
    reversal.save(update_fields=["loss"])
    posting = Posting.objects.create(
        biller_id=payment.biller_id,
        key=f"reversal-loss:{reversal.pk}",
        kind=PostingKind.REVERSAL,
        effective_on=payment.biller.business_date(now),
    )
    _enter(payment, posting, 1, GoneBack(ZERO, ZERO, amount))
    _audit(reversal, "payment.reversed", actor)


def _end_waiting(reversal: Reversal, payment: Payment, actor: Actor, now: datetime.datetime) -> None:
    """Let a payment wait no longer to be confirmed: what a bank took back has failed, and keeps why (PAY-34)."""
    failed = reversal.kind in {ReversalKind.RETURN, ReversalKind.CHARGEBACK}
    ended = UnconfirmedPayment.objects.filter(payment=payment, state=UnconfirmedState.WAITING).update(
        state=UnconfirmedState.FAILED if failed else UnconfirmedState.GIVEN_BACK,
        ended_at=now,
        ended_by=actor.label[:120] if actor.user_id else "",
        reason=reversal.reason if failed else "",
    )
    if ended and failed:
        payment.other_type_id = FAILED_TYPE
        payment.save(update_fields=["other_type"])


def _open_again(payment: Payment, amount: Decimal) -> Decimal:
    """Take an amount back from the payment's credit, then from what it paid; gives what neither had any more."""
    left: Decimal = amount
    rests = Item.objects.filter(payment_id=payment.pk, open__lt=0).order_by("-pk").select_for_update(no_key=True)
    for credit in rests:
        part = min(left, -Decimal(credit.open))
        Item.objects.filter(pk=credit.pk).update(allocated=F("allocated") - part)
        left -= part
        if not left:
            return left
    paid = payment.allocations.filter(state=AllocationState.POSTED)
    # Items are locked in the order of their ids, as everybody does.
    list(Item.objects.filter(pk__in=paid.values("item_id")).order_by("pk").select_for_update(no_key=True))
    for allocation in paid.order_by("-item_id", "-pk"):
        if not left:
            break
        part = min(left, allocation.amount)
        Allocation.objects.filter(pk=allocation.pk).update(state=AllocationState.VOID)
        if part < allocation.amount:
            Allocation.objects.create(
                biller_id=payment.biller_id, payment=payment, item_id=allocation.item_id,
                amount=allocation.amount - part, state=AllocationState.POSTED,
            )  # fmt: skip
        # No run takes by itself what was just given back.
        Item.objects.filter(pk=allocation.item_id).update(allocated=F("allocated") - part, collect_on=None)
        left -= part
    return left


def debit(*, reversal: Reversal, amount: Decimal, posting_id: int) -> None:
    """Make an amount of a reversal due by itself, inside the caller's transaction; nothing for none."""
    if not amount:
        return
    item = Item.objects.create(
        biller_id=reversal.biller_id, customer_id=reversal.customer_id, posting_id=posting_id, kind=ItemKind.RETURNED,
        amount=amount, currency=reversal.currency,
    )  # fmt: skip
    ReversalDebit.objects.create(biller_id=reversal.biller_id, reversal=reversal, item=item)


def _credit(payment: Payment, posting: Posting, amount: Decimal) -> None:
    if amount:
        Item.objects.create(
            biller_id=payment.biller_id, customer_id=payment.customer_id, payment_id=payment.pk, posting=posting,
            kind=ItemKind.CREDIT, amount=-amount, currency=payment.currency,
        )  # fmt: skip


def _enter(payment: Payment, posting: Posting, sign: int, back: GoneBack) -> None:
    per_route = {"route_id": payment.route_id, "tender": payment.tender}
    entries: tuple[tuple[LedgerAccount, dict[str, Any], Decimal], ...] = (
        (LedgerAccount.RECEIVABLE, {}, back.amount),
        (LedgerAccount.FEES, per_route, back.fee),
        (LedgerAccount.LOSSES, {}, back.loss),
        (LedgerAccount.CLEARING, per_route, -back.total),
    )
    Entry.objects.bulk_create(
        Entry(
            biller_id=payment.biller_id, posting=posting, account=account, amount=sign * amount,
            currency=payment.currency, count=1, **where,
        )
        for account, where, amount in entries
        if amount
    )  # fmt: skip


def _tell(reversal: Reversal, payment: Payment, actor: Actor, now: datetime.datetime) -> None:
    """Write the record for the biller's system and the notice for the payer; neither hears of what only the biller loses."""
    if reversal.amount:
        records.write(
            actor=actor,
            id=reversal.pk,
            biller_id=reversal.biller_id,
            customer_id=reversal.customer_id,
            type=RecordType.REVERSAL,
            facts={
                "kind": reversal.kind,
                "amount": str(reversal.amount),
                "currency": reversal.currency,
                "payment_guid": str(payment.pk),
                "approval_code": payment.approval_code,
                "code": reversal.code,
            },
            before=str(payment.amount),
            after=str(payment.amount - (payment.undone or ZERO)),
        )
    if not reversal.amount + reversal.fee:
        return
    charged = 0
    if reversal.kind == ReversalKind.RETURN and reversal.amount:
        charged = fees.charge_returned(reversal=reversal, biller=payment.biller, actor=actor, now=now)
    given_back = reversal.kind in {ReversalKind.VOID, ReversalKind.REFUND}
    facts = {
        "payment": str(payment.pk),
        "how": reversal.kind,
        "amount": str(reversal.amount + reversal.fee),
        "currency": reversal.currency,
        "reason": reversal.reason,
        "fees": fees.facts_of(payment.pk) if charged else None,
        "email": payment.email,
        "language": payment.language,
    }
    notices.write(
        biller_id=reversal.biller_id,
        customer_id=reversal.customer_id,
        kind=NoticeKind.REFUNDED if given_back else NoticeKind.RETURNED,
        key=f"reversal:{reversal.pk}",
        facts={name: value for name, value in facts.items() if value},
    )


def _audit(reversal: Reversal, event: str, actor: Actor) -> None:
    facts = {
        "amount": f"{reversal.amount} {reversal.currency}",
        "fee": f"{reversal.fee} {reversal.currency}" if reversal.fee else "",
        "loss": f"{reversal.loss} {reversal.currency}" if reversal.loss else "",
        "kind": reversal.get_kind_display(),
        "reason": reversal.failure or reversal.reason,
        "code": reversal.code,
    }
    audit.record(
        actor=actor,
        event=event,
        biller_id=reversal.biller_id,
        customer_id=reversal.customer_id,
        subject=str(reversal.payment_id),
        facts={name: value for name, value in facts.items() if value},
    )
