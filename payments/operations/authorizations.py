"""Authorizations: depositing one whose money is held, or releasing it.

While it is held the payment is authorized: it keeps what it reserved, so that nobody else pays the same bill, and is not
booked, not told and not counted as paid. ``charges.pay`` asks for it, ``deposits`` takes them in runs.

Source: PAY-1 to PAY-3, PAY-7.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from billing import audit, sets
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.failpoints import failpoint
from billing.models import Biller
from payments.gateways.base import ChargeRequest, Command
from payments.models import Authorization, Payment, PaymentState
from payments.operations import answers, reservations, settlements
from payments.operations.charges import ChargingStopped
from payments.operations.routes import described, open_route

HELD = (
    "payments_authorization z JOIN payments_payment p ON p.id = z.payment_id JOIN payments_route r ON r.id = p.route_id"
)
# For one biller, whose id is the parameter. What a person is looking at is left alone.
DEPOSITABLE = (
    "z.biller_id = %s AND z.ended_at IS NULL AND p.state = 'authorized' AND r.active AND NOT EXISTS"
    " (SELECT FROM payments_attempt o JOIN payments_case k ON k.attempt_id = o.id"
    " WHERE o.payment_id = p.id AND k.state = 'open')"
)
RELEASED = gettext_noop("The biller decided not to take this payment.")


class NotHeld(Conflict):
    """The payment's money is not held, or somebody is depositing it."""

    default = "This payment is not waiting for a deposit. Look at it again."


class RouteSwitchedOff(DomainError):
    """The way to the processor is not to be used."""

    default = "The route of this payment is switched off. No money has been taken."


@dataclass(frozen=True, slots=True)
class Taken:
    """A payment whose deposit is committed as a 999 attempt, and the message to send for it; ``amount`` is without fee."""

    payment_id: str
    route_id: int
    amount: Decimal
    request: ChargeRequest


def take(
    *,
    biller: Biller,
    where: str,
    params: Sequence[Any],
    run_id: int | None,
    chunk_id: int | None,
    now: datetime.datetime,
) -> list[Taken]:
    """Claim held payments and write a 999 deposit attempt for each, inside the caller's transaction.

    ``where`` narrows authorizations ``z`` and payments ``p``. What somebody else holds at this moment is passed over;
    what another took meanwhile is not authorized any more.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT p.id::text, p.amount, h.amount, p.route_id, h.transaction_type, h.processor_reference, n.token, n.kind,
                   coalesce(nullif(c.display_number, ''), c.number), uuidv7()::text,
                   (SELECT count(*) + 1 FROM payments_attempt o WHERE o.payment_id = p.id)
            FROM {HELD}
            JOIN payments_instrument n ON n.id = p.instrument_id
            JOIN payments_attempt h ON h.payment_id = p.id AND h.command = 'authorize' AND h.state = 'applied'
                 AND h.result = 0
            JOIN billing_customer c ON c.id = p.customer_id
            WHERE {DEPOSITABLE} AND {where}
            FOR UPDATE OF p SKIP LOCKED
            """,
            [biller.pk, *params],
        )
        rows = cursor.fetchall()
        if not rows:
            return []
        payments, _amounts, charged, routes, types, _references, _tokens, _kinds, _accounts, attempts, sequences = (
            sets.array(column) for column in zip(*rows, strict=True)
        )
        cursor.execute(
            "UPDATE payments_payment SET state = 'processing', result = NULL, failure = '', run_id = %s, chunk_id = %s"
            " WHERE id = ANY(%s::uuid[])",
            [run_id, chunk_id, payments],
        )
        cursor.execute(
            """
            INSERT INTO payments_attempt
                   (id, biller_id, payment_id, route_id, command, transaction_type, sequence, amount, state,
                    approval_code, processor_reference, message, created_at, sent_at)
            SELECT v.id, %s, v.payment, v.route, 'deposit', v.type, v.sequence, v.amount, 'open', '', '', '', %s, %s
            FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::text[], %s::int[], %s::numeric[])
                 AS v(id, payment, route, type, sequence, amount)
            """,
            [biller.pk, now, now, attempts, payments, routes, types, sequences, charged],
        )
        cursor.execute(
            "INSERT INTO payments_checkpoint (payment_id, attempt_id, biller_id)"
            " SELECT v.payment, v.attempt, %s FROM unnest(%s::uuid[], %s::uuid[]) AS v(payment, attempt)",
            [biller.pk, payments, attempts],
        )
    return [
        Taken(
            payment,
            route_id,
            amount,
            ChargeRequest(
                attempt, Command.DEPOSIT, with_fee, biller.currency, token, kind, type_, account, reference, payment
            ),
        )
        for payment, amount, with_fee, route_id, type_, reference, token, kind, account, attempt, _sequence in rows
    ]


def deposit(*, payment: Payment, actor: Actor, now: datetime.datetime | None = None) -> Payment:
    """Take the money of one authorized payment now, and give the payment: posted, failed, or processing where unknown.

    One that was deposited or is being deposited is given as it stands, so that asking twice deposits once. Where the
    processor cannot be reached it stays authorized.

    :raises NotHeld: its money is not held.
    :raises RouteSwitchedOff: its route is not active.
    :raises payments.operations.charges.ChargingStopped: the biller's switch is on.
    :raises payments.gateways.base.Misconfigured: the route is set up wrongly; an operator must mend it.
    """
    now = now or timezone.now()
    found = Payment.objects.select_related("biller", "route").get(pk=payment.pk)
    if found.route is None:
        raise NotHeld
    if not found.route.active:
        raise RouteSwitchedOff
    # Before anything is held: a route that is set up wrongly must not leave an attempt behind.
    gateway = open_route(found.route)
    taken = _take_one(found, actor, now)
    if taken is not None:
        failpoint("deposit.checkpointed")
        results = list(gateway.send(described(found.route, [taken.request])))
        failpoint("deposit.answered")
        settlements.settle(biller=found.biller, answers=answers.answers_of(results), actor=actor, now=timezone.now())
    return Payment.objects.select_related("customer", "instrument").get(pk=found.pk)


@transaction.atomic(durable=True)
def _take_one(payment: Payment, actor: Actor, now: datetime.datetime) -> Taken | None:
    """Commit the attempt; nothing where the payment was deposited before or is being deposited."""
    # Read again inside the transaction: the switch must hold from the moment it is turned.
    if Biller.objects.filter(pk=payment.biller_id, charging_stopped=True).exists():
        raise ChargingStopped
    taken = take(biller=payment.biller, where="p.id = %s", params=[payment.pk], run_id=None, chunk_id=None, now=now)
    if not taken:
        # Whoever holds it is let finish, so that what is read is what became of it.
        state = Payment.objects.select_for_update(no_key=True).get(pk=payment.pk).state
        if state in {PaymentState.POSTED, PaymentState.PROCESSING} and _asked_to_deposit(payment):
            return None
        raise NotHeld
    audit.record(
        actor=actor,
        event="payment.depositing",
        biller_id=payment.biller_id,
        customer_id=payment.customer_id,
        subject=str(payment.pk),
        facts={"amount": f"{payment.amount} {payment.currency}"},
    )
    return taken[0]


def _asked_to_deposit(payment: Payment) -> bool:
    return payment.attempts.filter(command=Command.DEPOSIT).exists()


@transaction.atomic(durable=True)
def release(*, payment: Payment, actor: Actor, now: datetime.datetime) -> Payment:
    """Give up an authorized payment: what it reserved is free, and it is never deposited.

    No processor is told, because none can be: the bank gives the money back when the authorization expires. A release
    that is asked for twice is made once.

    :raises NotHeld: its money is not held.
    """
    found = Payment.objects.select_for_update(of=("self",), no_key=True).get(pk=payment.pk)
    if found.state == PaymentState.FAILED and found.failure == RELEASED:
        return found
    if found.state != PaymentState.AUTHORIZED:
        raise NotHeld
    found.state, found.settled_at, found.result, found.failure = PaymentState.FAILED, now, None, RELEASED
    found.save(update_fields=["state", "settled_at", "result", "failure"])
    Authorization.objects.filter(payment=found).update(ended_at=now)
    reservations.release([found.pk])
    audit.record(
        actor=actor,
        event="payment.released",
        biller_id=found.biller_id,
        customer_id=found.customer_id,
        subject=str(found.pk),
        facts={"amount": f"{found.amount} {found.currency}"},
    )
    return found
