"""Live balances and the books: what the biller's own system says an account owes, and our books made to say the same.

**The rule.** Our books follow the biller's system by a signed adjustment of the difference, and only where every payment of
the account is known to be in the balance that it told: none is on its way (processing or authorized), and of each that
went through the system was told at least ``booked_minutes`` before it was asked. Where nobody tells it of a payment
(updates are switched off, or there was none), that payment counts as known to it after ``OTHER_MEANS``. Else nothing is
adjusted this time: the difference may be money that the system has yet to hear of, and would be taken twice. A prepaid
account is never adjusted: what remains there is the customer's money, not a debt.

So the sum of an account's adjustments is at every moment what the system itself changed by then and told us of, and never
holds a payment of ours (``tests/payments/test_balances.py`` proves it over random histories).

Source: MSP-1 to MSP-5; ADR 12
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from billing import sets, tenancy
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import AdjustmentSource, Biller, Customer
from billing.operations import adjustments
from datapump.models import Balance, Endpoint
from datapump.operations import balances as live
from datapump.operations.balances import ACTOR, Asking
from payments.operations import deadlocks, prepayments

logger = logging.getLogger(__name__)

OTHER_MEANS = datetime.timedelta(days=5)
"""How long a payment that no update tells of may take to reach the biller's system: a weekend, a holiday and a night."""


class BalanceUnknown(DomainError):
    """What the account owes could not be read, and the biller wants nothing charged then."""

    default = _(  # type: ignore[assignment]
        "What this account owes could not be asked just now, so nothing was charged. No money has been taken."
        " Try again in a few minutes."
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one account's balance at the biller's own system.

    ``balance`` is the last answer, empty where there never was one; ``fresh`` says that it is as new as the biller wants, and
    ``usable`` that a charge may go by it. ``failure`` is why the last asking gave none, in words for a CSR.
    """

    balance: Balance | None
    fresh: bool
    usable: bool
    failure: str


def refresh(*, biller: Biller, customers: Iterable[int], seconds: float | None = None) -> dict[int, Standing]:
    """Ask the biller's system for those of its customers whose balance is not fresh, and keep our books equal to it.

    Gives how each stands by the customers' ids; nothing where the biller's system cannot be asked for balances. It takes at
    most ``seconds``, by default the time that the endpoint has for one answer, and never raises for what the other side does.
    No transaction may be open.
    """
    return _refresh({biller.pk: list(dict.fromkeys(customers))}, seconds)


def refresh_all(customers: Iterable[Customer]) -> dict[int, Standing]:
    """Do the same for customers of several billers, as one payer has them: all are asked at once, so that it takes as long as
    the slowest of them may.
    """
    by_biller: dict[int, list[int]] = {}
    for customer in customers:
        by_biller.setdefault(customer.biller_id, []).append(customer.pk)
    return _refresh(by_biller)


def _refresh(by_biller: Mapping[int, list[int]], seconds: float | None = None) -> dict[int, Standing]:
    endpoints = {
        biller_id: endpoint for biller_id in by_biller if (endpoint := live.endpoint_of(biller_id)) is not None
    }
    if not endpoints:
        return {}
    wanted = [(endpoint, by_biller[biller_id]) for biller_id, endpoint in endpoints.items()]
    askings = live.ask_all(wanted=wanted, seconds=seconds)
    failpoint("balances.asked")
    standings: dict[int, Standing] = {}
    for (endpoint, theirs), asking in zip(wanted, askings, strict=True):
        if asking.asked:
            deadlocks.repeated(partial(_keep, asking))
        standings |= _standings(endpoint, theirs, asking.now)
    return standings


def refresh_prepaid(*, now: datetime.datetime, seconds: float) -> int:
    """Ask for the balances of prepaid accounts that nobody looked at for a while, billers in turn until the time is over;
    gives how many.

    Each biller has at most ``prepayments.SECONDS_OF_TURN`` of a turn and ``prepayments.AT_ONCE`` accounts, asked within the
    limits of its endpoint, so that a slow one keeps no other waiting. No transaction may be open.
    """
    ends, asked = time.monotonic() + seconds, 0
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        turn = prepayments.billers_with_some()
    while turn and time.monotonic() < ends:
        again = []
        for biller in turn:
            left = ends - time.monotonic()
            if left <= 0:
                break
            with tenancy.acting_for([biller.pk]):
                if not (customers := prepayments.stale(biller_id=biller.pk, now=now)):
                    continue
                standings = refresh(biller=biller, customers=customers, seconds=min(left, prepayments.SECONDS_OF_TURN))
                asked += len(customers)
                # A system that answers nothing is left alone until the next turn of the beat.
                if any(one.balance is not None and one.fresh for one in standings.values()):
                    again.append(biller)
        turn = again
    return asked


def asked_for(biller_id: int) -> bool:
    """Tell whether a biller's system can be asked for balances."""
    return live.endpoint_of(biller_id) is not None


def known(*, biller: Biller, customer: Customer) -> Standing | None:
    """Give how one account stands without asking; nothing where the biller's system cannot be asked for balances."""
    endpoint = live.endpoint_of(biller.pk)
    return None if endpoint is None else _standings(endpoint, [customer.pk], live.clock())[customer.pk]


def make_sure(*, customer: Customer) -> None:
    """Let a charge go ahead where what the account owes is known, after asking where that is not fresh.

    :raises BalanceUnknown: it is not, and the biller holds charges then.
    """
    standing = refresh(biller=customer.biller, customers=[customer.pk]).get(customer.pk)
    if standing is not None and not standing.usable:
        raise BalanceUnknown


@transaction.atomic(durable=True)
def _keep(asking: Asking) -> None:
    """Keep what came, adjust who may be adjusted, and count it for the endpoint."""
    answered = sorted(one.customer_id for one in asking.asked if one.balance is not None)
    if answered:
        with connection.cursor() as cursor:
            # Payments and loads of invoices of these accounts wait: what is compared stands still.
            cursor.execute(
                "SELECT count(*) FROM (SELECT id FROM billing_customer WHERE id = ANY(%s::bigint[]) ORDER BY id"
                " FOR NO KEY UPDATE) held",
                [sets.array(answered)],
            )
    newer = live.keep(asking)
    if newer:
        _adjust(asking.endpoint, newer)
        prepayments.tell_low(newer)
    live.keep_health(asking)


# A payment of the customer that may be missing from the balance: see the rule above.
_MAY_BE_MISSING = """
    SELECT FROM payments_payment p LEFT JOIN datapump_record r ON r.id = p.id
    WHERE p.customer_id = c.id AND (
        p.state IN ('processing', 'authorized')
        OR (p.state IN ('posted', 'reversed') AND CASE
            WHEN r.state = 'delivered' THEN r.delivered_at > b.asked_at - make_interval(mins => %(minutes)s)
            WHEN r.id IS NULL OR r.state IN ('skipped', 'withheld')
                THEN p.settled_at > b.asked_at - make_interval(days => %(days)s)
            ELSE true END))
    UNION ALL
    -- What went back and fees are told in words, which a person at the biller enters.
    SELECT FROM payments_reversal v
    WHERE v.customer_id = c.id
      AND (v.state = 'processing'
           OR (v.state = 'done' AND v.settled_at > b.asked_at - make_interval(days => %(days)s)))
    UNION ALL
    SELECT FROM payments_fee f WHERE f.customer_id = c.id AND f.charged_at > b.asked_at - make_interval(days => %(days)s)
    UNION ALL
    SELECT FROM payments_feewaiver w WHERE w.customer_id = c.id AND w.waived_at > b.asked_at - make_interval(days => %(days)s)"""


def may_be_missing(*, customer: Customer, now: datetime.datetime) -> bool:
    """Tell whether a balance that the biller's system tells now may lack a payment of the account: see the rule above."""
    endpoint = live.endpoint_of(customer.biller_id)
    minutes = Endpoint._meta.get_field("booked_minutes").default if endpoint is None else endpoint.booked_minutes
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT EXISTS ({_MAY_BE_MISSING})
            FROM billing_customer c, (SELECT %(now)s::timestamptz AS asked_at) b WHERE c.id = %(customer)s
            """,
            {"customer": customer.pk, "now": now, "minutes": minutes, "days": OTHER_MEANS.days},
        )
        return bool(cursor.fetchone()[0])


def _adjust(endpoint: Endpoint, customers: Iterable[int]) -> None:
    """Post the difference of each account that the rule lets be adjusted; the caller holds the customers."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT d.id, d.due - d.balance, d.asked_at FROM (
                SELECT c.id, c.balance, b.due, b.asked_at, EXISTS ({_MAY_BE_MISSING}) AS wait
                FROM billing_customer c JOIN datapump_balance b ON b.customer_id = c.id
                WHERE c.id = ANY(%(customers)s::bigint[]) AND NOT b.prepaid AND b.due <> c.balance
            ) d
            WHERE NOT d.wait ORDER BY d.id
            """,
            {"customers": sets.array(customers), "minutes": endpoint.booked_minutes, "days": OTHER_MEANS.days},
        )
        differing: list[tuple[int, Decimal, datetime.datetime]] = cursor.fetchall()
    if not differing:
        return
    adjustments.post(
        biller=endpoint.biller,
        wanted=[
            adjustments.Wanted(pk, amount, f"balance:{asked_at.isoformat()}", "Balance of the biller’s system")
            for pk, amount, asked_at in differing
        ],
        source=AdjustmentSource.BALANCE,
        actor=ACTOR,
        now=differing[0][2],
    )


def _standings(endpoint: Endpoint, customers: list[int], now: datetime.datetime) -> dict[int, Standing]:
    found: Mapping[int, Balance] = Balance.objects.in_bulk(customers)
    return {pk: _standing(endpoint, found.get(pk), now) for pk in customers}


def _standing(endpoint: Endpoint, balance: Balance | None, now: datetime.datetime) -> Standing:
    answered = balance.answered_at if balance is not None else None
    failure = balance.failure if balance is not None else ""
    if balance is None or answered is None:
        return Standing(None, fresh=False, usable=False, failure=failure)
    # Counted from when the asking began: what came of it is fresh, however slow it was and however short a biller wants it.
    fresh = now - answered <= datetime.timedelta(seconds=endpoint.reuse_seconds)
    known_enough = now - answered <= datetime.timedelta(hours=endpoint.known_hours)
    return Standing(balance, fresh=fresh, usable=fresh or known_enough, failure=failure)
