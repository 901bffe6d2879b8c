"""Confirmations: payments that are posted before their bank has made them good, and what comes of them.

Only routes whose setting says so have them, and only for bank accounts. They are confirmed when their banking days are over and the
processor was asked for returns after that, when the processor says so, or when a person does; a return, or a person, fails them.

Source: PAY-34
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Sequence

from django.db import connection, transaction

from billing import audit, banking_days
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller
from payments.models import (
    Attempt,
    Checkpoint,
    Payment,
    Reversal,
    ReversalKind,
    Route,
    Tender,
    UnconfirmedPayment,
    UnconfirmedState,
)
from payments.operations import reversals
from payments.operations.postings import Moved


class ConfirmationRefused(DomainError):
    """Nothing of this payment waits to be confirmed; the sentence says why."""

    default = "This payment does not wait to be confirmed. Look at it again."


def begin(*, biller: Biller, payments: Sequence[Moved], now: datetime.datetime) -> None:
    """Let bank debits that were just posted wait, where their route wants that, inside the caller's transaction."""
    debits = [one for one in payments if one.tender == Tender.ACH and one.route_id is not None]
    if not debits:
        return
    routes = Route.objects.filter(pk__in={one.route_id for one in debits}, confirmation_days__gt=0)
    days = dict(routes.values_list("pk", "confirmation_days"))
    today = biller.business_date(now)
    UnconfirmedPayment.objects.bulk_create(
        UnconfirmedPayment(
            biller=biller,
            customer_id=one.customer_id,
            payment_id=uuid.UUID(one.id),
            until=banking_days.after(today, days[one.route_id]),
        )
        for one in debits
        if one.route_id in days
    )


@transaction.atomic(durable=True)
def confirm_due(*, biller: Biller, actor: Actor, now: datetime.datetime) -> int:
    """Confirm what no return came for in its time; gives how many. Any number of times.

    What the processor has not been asked about since then waits on: a return may be there to be read.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_unconfirmedpayment u SET state = 'confirmed', ended_at = %s
            FROM payments_payment p JOIN payments_route r ON r.id = p.route_id
            WHERE u.biller_id = %s AND u.state = 'waiting' AND u.until < %s AND p.id = u.payment_id
              AND (r.reversals_read_until AT TIME ZONE %s)::date > u.until
            """,
            [now, biller.pk, biller.business_date(now), biller.time_zone],
        )
        confirmed: int = cursor.rowcount
    if confirmed:
        audit.record(actor=actor, event="payments.confirmed", biller_id=biller.pk, facts={"count": confirmed})
    return confirmed


def told(*, biller: Biller, attempt_ids: Iterable[str], now: datetime.datetime) -> None:
    """Confirm what a processor says the banks have made good, by the ids of the attempts; what does not wait is passed over."""
    ids = list(attempt_ids)
    with transaction.atomic(durable=True):
        moved = set(Attempt.objects.filter(biller=biller, pk__in=ids).values_list("payment_id", flat=True))
        moved |= set(Payment.objects.filter(biller=biller, group_id__in=moved).values_list("pk", flat=True))
        waiting = UnconfirmedPayment.objects.filter(payment_id__in=moved, state=UnconfirmedState.WAITING)
        waiting.update(state=UnconfirmedState.CONFIRMED, ended_at=now)


@transaction.atomic(durable=True)
def confirm(*, payment: Payment, actor: Actor, now: datetime.datetime) -> None:
    """Take a person's word that the bank has made a payment good.

    :raises ConfirmationRefused: it does not wait.
    """
    found = _waiting(payment)
    found.state, found.ended_at, found.ended_by = UnconfirmedState.CONFIRMED, now, actor.label[:120]
    found.save(update_fields=["state", "ended_at", "ended_by"])
    audit.record(
        actor=actor,
        event="payment.confirmed",
        biller_id=payment.biller_id,
        customer_id=payment.customer_id,
        subject=str(payment.pk),
        facts={"amount": f"{payment.amount} {payment.currency}"},
    )


@transaction.atomic(durable=True)
def fail(*, payment: Payment, reason: str, actor: Actor, now: datetime.datetime, code: str = "") -> Reversal:
    """Take a person's word that the bank did not make a payment good: it is reversed, as by a return of the bank.

    ``code`` is the bank's code of the return, where it names one: what the biller charges for returns follows from it. The
    processor's own word of the same return is taken as this one when it comes.

    :raises ConfirmationRefused: it does not wait, a refund of it is on its way, or there is no reason.
    """
    if not reason.strip():
        raise ConfirmationRefused("Say why it failed, as the bank says.", field="reason")
    held = Payment.objects.select_related("biller").select_for_update(of=("self",), no_key=True).get(pk=payment.pk)
    _waiting(held)
    if Checkpoint.objects.filter(payment=held).exists():
        raise ConfirmationRefused("A refund of this payment is on its way. Wait for its result.")
    back = reversals.gone_back(held)
    assert held.route_id is not None
    reversal = Reversal.objects.create(
        biller_id=held.biller_id, customer_id=held.customer_id, payment=held, route_id=held.route_id,
        kind=ReversalKind.RETURN, amount=held.total - back.amount - back.fee, currency=held.currency,
        reason=reason.strip()[:200], code=code.strip()[:64], requestor=actor.requestor,
        made_by=actor.label[:120], user_id=actor.user_id, created_at=now,
    )  # fmt: skip
    reversals.book(reversal=reversal, payment=held, actor=actor, now=now)
    return reversal


def _waiting(payment: Payment) -> UnconfirmedPayment:
    found = (
        UnconfirmedPayment.objects.select_for_update(no_key=True)
        .filter(payment_id=payment.pk, state=UnconfirmedState.WAITING)
        .first()
    )
    if found is None:
        raise ConfirmationRefused
    return found
