"""Returns: what banks and card networks took back of our charges, read from the processors and booked.

Source: PAY-32
"""

from __future__ import annotations

import datetime
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from django.db import transaction

from billing import audit
from billing.actors import Actor
from billing.failpoints import failpoint
from billing.models import Biller, Customer
from billing.money import ZERO
from payments.gateways import base
from payments.gateways.base import Command, Result
from payments.models import (
    Attempt,
    AttemptState,
    Case,
    CaseKind,
    Payment,
    PaymentState,
    Reversal,
    ReversalKind,
    Route,
)
from payments.operations import cases, deadlocks, declines, fees, reversals
from payments.operations.routes import open_route

_log = logging.getLogger(__name__)

# What is told late, or by a clock that is behind, is asked for again; it is taken once.
_OVERLAP = datetime.timedelta(days=1)
# How far back the first reading goes: further than banks and networks may.
_FIRST = datetime.timedelta(days=180)
_KINDS = {
    base.ReversalKind.RETURN: ReversalKind.RETURN,
    base.ReversalKind.CHARGEBACK: ReversalKind.CHARGEBACK,
    base.ReversalKind.CHARGEBACK_WON: ReversalKind.WON,
}


@dataclass(frozen=True, slots=True)
class Read:
    """What a reading of returns and chargebacks came to: how many are new, how many of them no charge of ours is known for."""

    taken: int = 0
    unknown: int = 0

    def __add__(self, other: Read) -> Read:
        return Read(self.taken + other.taken, self.unknown + other.unknown)


def read(*, biller: Biller, actor: Actor, now: datetime.datetime) -> Read:
    """Read what the biller's processors say was returned and charged back, and book what is new; any number of times.

    :raises payments.gateways.base.GatewayError: a processor did not say; what it said before, and the others, are booked.
    """
    done, silent = Read(), None
    for route in Route.objects.filter(biller=biller).order_by("pk"):
        try:
            done += read_route(route=route, actor=actor, now=now)
        except base.GatewayError as error:
            silent = error
    if silent is not None:
        raise silent
    return done


def read_route(*, route: Route, actor: Actor, now: datetime.datetime) -> Read:
    """Read what one processor says was returned and charged back, and book what is new; any number of times.

    :raises payments.gateways.base.GatewayError: it did not say; what was read before stays booked.
    """
    done, until = Read(), now
    strange: list[base.Reversal] = []
    for told in open_route(route).reversals((route.reversals_read_until or now - _FIRST) - _OVERLAP):
        failpoint("reversals.told")
        taken = take(route=route, told=told, actor=actor, now=now)
        if taken is None:
            # Its charge is not booked yet: it is asked for again when that is known.
            until = min(until, told.happened_at)
        elif taken.unknown:
            strange.append(told)
        else:
            done += taken
    return done + _read_up_to(route, until, strange, actor)


@transaction.atomic(durable=True)
def _read_up_to(route: Route, until: datetime.datetime, strange: Sequence[base.Reversal], actor: Actor) -> Read:
    """Keep how far a route was read, and write down once each what is told of no charge of ours up to there."""
    before = Route.objects.select_for_update(no_key=True).get(pk=route.pk).reversals_read_until
    if before is not None and before != route.reversals_read_until:
        # Somebody else read meanwhile: what either of the two waits for is asked for again.
        until = min(until, before)
    Route.objects.filter(pk=route.pk).update(reversals_read_until=until)
    new = [told for told in strange if (before is None or before <= told.happened_at) and told.happened_at < until]
    for told in new:
        _log.warning("route %s tells of %s %s for a charge that is not known", route.pk, told.kind, told.reference)
        audit.record(
            actor=actor,
            event="reversal.unknown",
            biller_id=route.biller_id,
            subject=f"route:{route.pk}",
            facts={"kind": told.kind.value, "reference": told.reference, "amount": str(told.amount)},
        )
    return Read(unknown=len(new))


def take(*, route: Route, told: base.Reversal, actor: Actor, now: datetime.datetime) -> Read | None:
    """Book one return or chargeback unless that was done before; gives nothing where its charge is not booked yet.

    Of a charge that moved several payments each gives back its part, in their order. A restored book may yet find a charge that
    it does not know. One of a charge that we hold for not made opens a case, and nothing is booked for it; that a bank returns
    what it had declined is no news.
    """
    return deadlocks.repeated(lambda: _take(route, told, actor, now))


@transaction.atomic(durable=True)
def _take(route: Route, told: base.Reversal, actor: Actor, now: datetime.datetime) -> Read | None:
    if Reversal.objects.filter(route=route, reference=told.reference).exists():
        return Read()
    attempt = _charge(route, told.key)
    if attempt is None:
        restored = Biller.objects.filter(pk=route.biller_id, restored_at__isnull=False).exists()
        return None if restored else Read(unknown=1)
    declined = attempt.state == AttemptState.APPLIED and attempt.result != Result.PASS
    if declined and told.kind == base.ReversalKind.RETURN:
        return Read()
    if declined or attempt.state == AttemptState.ABANDONED:
        reason = (
            f"The processor tells of a {told.kind.value} ({told.amount}, {told.reference[:64]}) of this charge, which is held"
            f" for {'declined' if declined else 'not made'}."
        )
        # It is told again for a day: a case that was decided meanwhile stays so.
        if not Case.objects.filter(attempt=attempt, kind=CaseKind.CONFLICTING_ANSWER, reason=reason).exists():
            cases.open_case(attempt=attempt, kind=CaseKind.CONFLICTING_ANSWER, reason=reason)
        return Read()
    paid = (
        Payment.objects.filter(group_id=attempt.payment_id)
        if attempt.covers > 1
        else Payment.objects.filter(pk=attempt.payment_id)
    )
    payments = list(paid.select_related("biller").order_by("pk").select_for_update(of=("self",), no_key=True))
    # Somebody else may have booked it while this waited for the payments.
    if Reversal.objects.filter(route=route, reference=told.reference).exists():
        return Read()
    if any(one.state not in {PaymentState.POSTED, PaymentState.REVERSED} for one in payments):
        return None
    news, rest = _known_already(told, payments, actor, now)
    for payment, part in _parts(rest, news) if rest else []:
        reversal = Reversal.objects.create(
            biller_id=payment.biller_id, customer_id=payment.customer_id, payment=payment, route=route,
            kind=_KINDS[told.kind], amount=part, currency=payment.currency, reason=told.reason[:200], code=told.code[:64],
            reference=told.reference[:64], requestor=actor.requestor, made_by=actor.label[:120], created_at=now,
        )  # fmt: skip
        reversals.book(reversal=reversal, payment=payment, actor=actor, now=now)
    if told.kind == base.ReversalKind.RETURN and (method := attempt.payment.instrument) is not None:
        # Who paid hears of the return itself.
        declines.note_tokens(
            biller=payments[0].biller, declined=[(method.token, told.for_good)],
            told=[payment.customer_id for payment in payments], actor=actor, now=now,
        )  # fmt: skip
    return Read(taken=1)


def _known_already(
    told: base.Reversal, payments: list[Payment], actor: Actor, now: datetime.datetime
) -> tuple[base.Reversal, list[Payment]]:
    """Give the processor's word to returns of these payments that a person told of before it, and what is left of both (PAY-34).

    What the bank took beyond all of them had been given back before. What is charged for such a return is charged now, where the
    person did not say why the bank returned it.
    """
    if told.kind != base.ReversalKind.RETURN:
        return told, payments
    before = (
        Reversal.objects.filter(payment__in=payments, kind=ReversalKind.RETURN, reference="", attempt__isnull=True)
        .order_by("payment_id")
        .in_bulk(field_name="id")
    )
    left = told.amount
    for one in before.values():
        one.reference, one.code = told.reference[:64], told.code[:64]
        one.save(update_fields=["reference", "code"])
        left -= one.total
        if one.amount:
            Customer.objects.select_for_update(no_key=True).get(pk=one.customer_id)
            fees.charge_returned(reversal=one, biller=payments[0].biller, actor=actor, now=now, told_before=True)
    known = {one.payment_id: one for one in before.values()}
    rest = [one for one in payments if one.pk not in known]
    if known and not rest and left > 0:
        reversals.lose(reversal=known[payments[0].pk], payment=payments[0], amount=left, actor=actor, now=now)
    return replace(told, amount=left), rest if left > 0 else []


def _charge(route: Route, key: str) -> Attempt | None:
    try:
        found = uuid.UUID(key)
    except ValueError:
        return None
    moved = Attempt.objects.filter(
        command__in=[Command.CHARGE, Command.DEPOSIT], route=route, biller_id=route.biller_id
    )
    return moved.filter(pk=found).select_related("payment__instrument").first()


def _parts(payments: Sequence[Payment], told: base.Reversal) -> list[tuple[Payment, Decimal]]:
    """Part what moved among the payments of one charge: each up to what it has left, the rest with the first of them."""
    left, parts = told.amount, {payment.pk: ZERO for payment in payments}
    won = told.kind == base.ReversalKind.CHARGEBACK_WON
    for payment in payments:
        # A win gives again what chargebacks took, and nothing of what the biller gave back itself.
        back = reversals.gone_back(payment, charged_back=won)
        room = back.total if won else payment.total - back.amount - back.fee
        parts[payment.pk] = min(left, room)
        left -= parts[payment.pk]
    parts[payments[0].pk] += left
    return [(payment, parts[payment.pk]) for payment in payments if parts[payment.pk]]
