"""Authorizations: depositing one whose money is held, or having the processor let it go.

While it is held the payment is authorized: it keeps what it reserved, so that nobody else pays the same bill, and is not
booked, not told and not counted as paid. ``charges.pay`` asks for it, ``deposits`` takes them in runs, ``releases`` gives
up in runs what nobody deposited.

Source: PAY-1 to PAY-3, PAY-7.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from billing import audit, sets
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.failpoints import failpoint
from billing.models import Biller, Chunk, Run
from payments.gateways.base import ChargeRequest, Command
from payments.models import Case, CaseState, Payment, PaymentState, Route
from payments.operations import answers, settlements
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
# What a payment is after each command was carried out.
_ENDS = {Command.DEPOSIT: PaymentState.POSTED, Command.RELEASE: PaymentState.FAILED}


class NotHeld(Conflict):
    """The payment's money is not held, or somebody is depositing it."""

    default = "This payment is not waiting for a deposit. Look at it again."


class RouteSwitchedOff(DomainError):
    """The way to the processor is not to be used."""

    default = "The route of this payment is switched off. No money has been taken."


@dataclass(frozen=True, slots=True)
class Taken:
    """A payment whose deposit or release is committed as a 999 attempt, and the message for it; ``amount`` is without fee."""

    payment_id: str
    route_id: int
    amount: Decimal
    request: ChargeRequest


def take(
    *,
    biller: Biller,
    command: Command,
    where: str,
    params: Sequence[Any],
    run_id: int | None,
    chunk_id: int | None,
    now: datetime.datetime,
) -> list[Taken]:
    """Claim held payments and write a 999 attempt to deposit or release each, inside the caller's transaction.

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
            SELECT v.id, %s, v.payment, v.route, %s, v.type, v.sequence, v.amount, 'open', '', '', '', %s, %s
            FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::text[], %s::int[], %s::numeric[])
                 AS v(id, payment, route, type, sequence, amount)
            """,
            [biller.pk, command, now, now, attempts, payments, routes, types, sequences, charged],
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
            ChargeRequest(attempt, command, with_fee, biller.currency, token, kind, type_, account, reference, payment),
        )
        for payment, amount, with_fee, route_id, type_, reference, token, kind, account, attempt, _sequence in rows
    ]


def take_chunk(
    *, command: Command, run: Run, chunk: Chunk, where: str, params: Sequence[Any], now: datetime.datetime
) -> dict[int, list[ChargeRequest]]:
    """Claim held payments for a chunk of a run as :func:`take` does, and count them there; gives the messages, by route."""
    taken = take(
        biller=run.biller, command=command, where=where, params=params, run_id=run.pk, chunk_id=chunk.pk, now=now
    )
    Chunk.objects.filter(pk=chunk.pk).update(
        sent_count=F("sent_count") + len(taken),
        sent_total=F("sent_total") + sum(one.amount for one in taken),
    )
    requests: dict[int, list[ChargeRequest]] = {}
    for one in taken:
        requests.setdefault(one.route_id, []).append(one.request)
    return requests


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
    return _ask(found, found.route, Command.DEPOSIT, actor, now)


def release(*, payment: Payment, actor: Actor, now: datetime.datetime | None = None) -> Payment:
    """Give up an authorized payment, and give it: failed, or processing where the outcome is unknown; its bills are free.

    The processor lets the held money go. Where it will not, or its route is switched off, the bank gives the money back when
    the authorization expires; where it cannot be reached the payment stays authorized. Asked twice it is released once.

    :raises NotHeld: its money is not held.
    :raises payments.operations.charges.ChargingStopped: the biller's switch is on.
    :raises payments.gateways.base.Misconfigured: the route is set up wrongly; an operator must mend it.
    """
    now = now or timezone.now()
    found = Payment.objects.select_related("biller", "route").get(pk=payment.pk)
    if found.route is not None and found.route.active:
        return _ask(found, found.route, Command.RELEASE, actor, now)
    with transaction.atomic(durable=True):
        state = Payment.objects.select_for_update(no_key=True).get(pk=payment.pk).state
        if state != PaymentState.AUTHORIZED:
            raise NotHeld
        settlements.let_go([str(found.pk)], words=settlements.RELEASED, actor=actor, now=now)
    return Payment.objects.select_related("customer", "instrument").get(pk=found.pk)


def _ask(payment: Payment, route: Route, command: Command, actor: Actor, now: datetime.datetime) -> Payment:
    """Have one authorized payment deposited or released, and give what became of it."""
    # Before anything is held: a route that is set up wrongly must not leave an attempt behind.
    gateway = open_route(route)
    taken = _take_one(payment, command, actor, now)
    if taken is not None:
        failpoint(f"{command}.checkpointed")
        results = list(gateway.send(described(route, [taken.request])))
        failpoint(f"{command}.answered")
        settlements.settle(biller=payment.biller, answers=answers.answers_of(results), actor=actor, now=timezone.now())
    return Payment.objects.select_related("customer", "instrument").get(pk=payment.pk)


@transaction.atomic(durable=True)
def _take_one(payment: Payment, command: Command, actor: Actor, now: datetime.datetime) -> Taken | None:
    """Commit the attempt; nothing where the same was carried out before or is under way."""
    # Read again inside the transaction: the switch must hold from the moment it is turned.
    if Biller.objects.filter(pk=payment.biller_id, charging_stopped=True).exists():
        raise ChargingStopped
    taken = take(
        biller=payment.biller,
        command=command,
        where="p.id = %s",
        params=[payment.pk],
        run_id=None,
        chunk_id=None,
        now=now,
    )
    if not taken:
        # Whoever holds it is let finish, so that what is read is what became of it.
        state = Payment.objects.select_for_update(no_key=True).get(pk=payment.pk).state
        last = payment.attempts.order_by("sequence").values_list("command", flat=True).last()
        if state in {_ENDS[command], PaymentState.PROCESSING} and last == command:
            return None
        if (
            state == PaymentState.AUTHORIZED
            and Case.objects.filter(attempt__payment=payment, state=CaseState.OPEN).exists()
        ):
            raise NotHeld("A case about this payment is open. Decide it first.")
        raise NotHeld
    audit.record(
        actor=actor,
        event="payment.depositing" if command == Command.DEPOSIT else "payment.releasing",
        biller_id=payment.biller_id,
        customer_id=payment.customer_id,
        subject=str(payment.pk),
        facts={"amount": f"{payment.amount} {payment.currency}"},
    )
    return taken[0]
