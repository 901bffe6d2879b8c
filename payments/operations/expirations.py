"""Expirations: what ends because its time is over, without any processor being asked.

Payers whose AutoPay or scheduled payment goes by a card whose last month is over are told, once for each card: no run takes
their bills any more. Authorizations that are older than the biller's days and whose route is switched off, so that neither a
deposit nor a release can be sent, are given up. Any number of times.

Source: PAY-7
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from django.db import transaction

from billing.actors import Actor
from billing.models import Biller, NoticeKind
from billing.operations import notices
from payments.models import Authorization, Case, CaseState, InstrumentState, Payment, PaymentState
from payments.operations import releases, settlements

# Cards that expired earlier than so long ago are not told of: the notice of their own month was.
TOLD_FOR = datetime.timedelta(days=31)
_AT_ONCE = 1_000

_EXPIRED = """
    SELECT n.biller_id, n.customer_id, 'method-expired:' || n.id || ':' || n.expires_on AS key,
           jsonb_build_object('method', jsonb_build_object('kind', n.kind, 'brand', nullif(n.brand, ''),
                                                           'last4', n.last4)) AS facts,
           NULL::text AS email
    FROM payments_instrument n
    WHERE n.biller_id = %s AND n.state = %s AND n.expires_on >= %s AND n.expires_on < %s
      AND (EXISTS (SELECT FROM payments_autopayenrolment e WHERE e.instrument_id = n.id AND e.ended_at IS NULL)
           OR EXISTS (SELECT FROM payments_scheduledpayment s WHERE s.instrument_id = n.id AND s.ended_at IS NULL))"""


@dataclass(frozen=True, slots=True)
class Expired:
    """How many payers were told of a card, and how many authorizations were given up."""

    cards: int
    authorizations: int


def expire(*, biller: Biller, actor: Actor, now: datetime.datetime) -> Expired:
    """End what is over for one biller."""
    return Expired(cards=_tell_of_cards(biller, now), authorizations=_give_up(biller, actor, now))


@transaction.atomic(durable=True)
def _tell_of_cards(biller: Biller, now: datetime.datetime) -> int:
    today = biller.business_date(now)
    params = [biller.pk, InstrumentState.ACTIVE, today - TOLD_FOR, today]
    return notices.write_from(kind=NoticeKind.METHOD_EXPIRED, source=_EXPIRED, params=params)


def _give_up(biller: Biller, actor: Actor, now: datetime.datetime) -> int:
    if not biller.release_days:
        return 0
    given_up = 0
    while ids := _give_up_some(biller, actor, now):
        given_up += len(ids)
    return given_up


@transaction.atomic(durable=True)
def _give_up_some(biller: Biller, actor: Actor, now: datetime.datetime) -> list[str]:
    held = Authorization.objects.filter(
        biller=biller,
        ended_at__isnull=True,
        authorized_on__lte=releases.last_day(biller, now),
        expires_at__lte=now,
        payment__route__active=False,
    )
    payments = Payment.objects.filter(pk__in=held.values("payment_id"), state=PaymentState.AUTHORIZED).exclude(
        pk__in=Case.objects.filter(biller=biller, state=CaseState.OPEN, attempt__isnull=False).values(
            "attempt__payment_id"
        )
    )
    locked = payments.order_by("pk").select_for_update(skip_locked=True, no_key=True)[:_AT_ONCE]
    ids = [str(pk) for pk in locked.values_list("pk", flat=True)]
    if ids:
        settlements.let_go(ids, words=settlements.LAPSED, actor=actor, now=now)
    return ids
