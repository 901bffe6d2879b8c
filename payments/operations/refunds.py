"""Refunds: a person gives one payment back, whole or in part; what has not settled yet is voided.

Like a charge it is committed before the processor is spoken to, and an answer that does not come is looked up. While one is on its
way there is no other of the same payment.

Source: PAY-2, PAY-33
"""

from __future__ import annotations

import datetime
import hashlib
import uuid
from decimal import Decimal

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from billing import audit, formats
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.failpoints import failpoint
from billing.models import Biller
from billing.money import ZERO, quantise
from payments.gateways.base import ChargeRequest, Command, Result
from payments.models import Attempt, AttemptState, Checkpoint, Payment, PaymentState, Reversal, ReversalKind
from payments.operations import answers, reversals, settlements
from payments.operations.charges import ChargingStopped
from payments.operations.routes import described, open_route


class RefundRefused(DomainError):
    """This cannot be given back; the sentence says why."""


def refund(
    *,
    payment: Payment,
    amount: Decimal,
    reason: str,
    actor: Actor,
    request_key: str,
    with_fee: bool = False,
    now: datetime.datetime | None = None,
) -> Reversal:
    """Give a payment back, whole or in part, and give the reversal: done, failed, or processing where the outcome is unknown.

    ``amount`` is in the biller's currency and without the fee; ``with_fee`` gives back what is left of the fee as well. What the
    payment paid is open again. ``request_key`` is the caller's own: the same key with the same input gives the same reversal
    again and gives nothing back twice.

    :raises Conflict: the key was used with other input.
    :raises RefundRefused: it was not taken here or not posted, it is more than is left, another refund of it is on its way, or
        there is no reason.
    :raises payments.operations.charges.ChargingStopped: the biller's switch is on.
    :raises payments.gateways.base.Misconfigured: the route is set up wrongly; an operator must mend it.
    """
    now = now or timezone.now()
    if payment.route is None:
        raise RefundRefused("This payment was taken elsewhere. Give it back where it was taken.")
    # Before anything is held: a route that is set up wrongly must not leave an attempt behind.
    gateway = open_route(payment.route)
    started = start(
        payment_id=payment.pk,
        amount=amount,
        with_fee=with_fee,
        reason=reason,
        actor=actor,
        request_key=request_key,
        now=now,
    )
    if isinstance(started, Reversal):
        return started
    reversal, request = started
    failpoint("refund.checkpointed")
    results = list(gateway.send(described(payment.route, [request])))
    failpoint("refund.answered")
    settlements.settle(biller=payment.biller, answers=answers.answers_of(results), actor=actor, now=timezone.now())
    reversal.refresh_from_db()
    return reversal


@transaction.atomic(durable=True)
def start(
    *,
    payment_id: uuid.UUID,
    amount: Decimal,
    with_fee: bool,
    reason: str,
    actor: Actor,
    request_key: str,
    now: datetime.datetime,
) -> tuple[Reversal, ChargeRequest] | Reversal:
    """Commit the attempt before the processor hears of it; gives the reversal alone where the key was used before."""
    # Two refunds of one payment wait for each other here.
    payment = (
        Payment.objects.select_related("biller", "instrument", "customer")
        .select_for_update(of=("self",), no_key=True)
        .get(pk=payment_id)
    )
    biller: Biller = payment.biller
    amount = quantise(amount, payment.currency)
    fingerprint = hashlib.sha256(f"{payment.pk}|{amount}|{with_fee}".encode()).hexdigest()
    if earlier := Reversal.objects.filter(biller=biller, request_key=request_key).first():
        if earlier.request_hash != fingerprint:
            raise Conflict("This refund was already sent with other details. Start again.")
        return earlier
    # Read again inside the transaction: the switch must hold from the moment it is turned.
    if Biller.objects.filter(pk=biller.pk, charging_stopped=True).exists():
        raise ChargingStopped
    fee = payment.fee - reversals.gone_back(payment).fee if with_fee else ZERO
    _check(payment, amount, fee, reason)
    reference = reference_of(payment)
    if not reference or payment.instrument is None:
        raise RefundRefused(
            "The processor's reference of this charge is not known here. Give it back on the processor's own page."
        )
    assert payment.route_id is not None
    last = Attempt.objects.filter(payment=payment).aggregate(last=Max("sequence"))["last"] or 0
    attempt = Attempt.objects.create(
        biller=biller, payment=payment, route_id=payment.route_id, command=Command.REFUND, transaction_type="moto",
        sequence=last + 1, amount=amount + fee, created_at=now, sent_at=now,
    )  # fmt: skip
    Checkpoint.objects.create(payment=payment, attempt=attempt, biller=biller)
    reversal = Reversal.objects.create(
        biller=biller, customer_id=payment.customer_id, payment=payment, route_id=payment.route_id, attempt=attempt,
        kind=ReversalKind.REFUND, amount=amount, fee=fee, currency=payment.currency, reason=reason.strip()[:200],
        requestor=actor.requestor, made_by=actor.label[:120], user_id=actor.user_id, request_key=request_key,
        request_hash=fingerprint, created_at=now,
    )  # fmt: skip
    audit.record(
        actor=actor,
        event="payment.refunding",
        biller_id=biller.pk,
        customer_id=payment.customer_id,
        subject=str(payment.pk),
        facts={"amount": f"{amount + fee} {payment.currency}", "reason": reversal.reason},
    )
    return reversal, ChargeRequest(
        key=str(attempt.pk),
        command=Command.REFUND,
        amount=attempt.amount,
        currency=payment.currency,
        token=payment.instrument.token,
        tender=payment.instrument.kind,
        transaction_type=attempt.transaction_type,
        account=payment.customer.shown_number,
        reference=reference,
        payment=str(payment.pk),
    )


def _check(payment: Payment, amount: Decimal, fee: Decimal, reason: str) -> None:
    if payment.state == PaymentState.REVERSED and not fee:
        raise RefundRefused("All of this payment has gone back already.")
    if payment.state not in {PaymentState.POSTED, PaymentState.REVERSED}:
        raise RefundRefused("Only a payment that went through can be given back.")
    if payment.instrument is not None and payment.instrument.purged:
        raise RefundRefused(
            "The processor’s token of its method was purged. Give it back at the processor or by check."
        )
    if Checkpoint.objects.filter(payment=payment).exists():
        raise RefundRefused("A refund of this payment is on its way. Wait for its result.")
    left = payment.amount - (payment.undone or ZERO)
    if amount < 0 or amount + fee <= 0:
        raise RefundRefused("Enter an amount above zero.", field="amount")
    if amount > left:
        raise RefundRefused(
            f"Enter at most {formats.money(left, payment.currency)}, which is what is left of this payment.",
            field="amount",
        )
    if not reason.strip():
        raise RefundRefused("Say why it is given back.", field="reason")


def reference_of(payment: Payment) -> str:
    """Give the processor's reference of the charge that moved a payment; empty where a person's word stands for it."""
    charged = Attempt.objects.filter(
        payment_id=payment.leading_id,
        command__in=[Command.CHARGE, Command.DEPOSIT],
        state=AttemptState.APPLIED,
        result=Result.PASS,
    )
    return charged.values_list("processor_reference", flat=True).first() or ""
