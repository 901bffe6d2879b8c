"""Declines: which methods the bank refused, which of them nothing charges any more, and how often the others may be tried.

A decline is noted on every method on file with the same token, whatever charged it and at whichever account: so a claim sees
without another question whether anything in it was declined lately, and asks how often only then. After a hard decline the
methods are set aside: no run charges them until their payer or a CSR confirms or replaces them. Of the others the card
networks allow so many declined charges in a rolling day and in thirty days (:class:`payments.models.RetryLimit`); an attempt
whose outcome is not known counts as one, and so does a debit that the bank took and then returned.

Source: PAY-5; invariant 47; the evidence, 1.7
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Max
from django.utils.translation import gettext_lazy as _

from billing import audit, formats, sets
from billing.actors import Actor
from billing.models import Biller, NoticeKind
from billing.operations import notices
from payments.gateways import base
from payments.gateways.base import Result
from payments.models import Instrument, InstrumentState

DAY = datetime.timedelta(days=1)
MONTH = datetime.timedelta(days=30)

HARD = [int(result) for result in base.HARD]
# Nobody at the bank was asked.
NOT_ASKED = (int(Result.NO_ANSWER), int(Result.SERVICE_UNAVAILABLE), int(Result.TECHNICAL_PROBLEM))

# As it is kept, and as it is told.
HELD_WORDS = "This method was declined too often to be charged again yet. Choose another one."
HELD = _("This method was declined too often to be charged again yet. Choose another one.")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a token stands with its card network: ``left`` tries are allowed now, and one more from ``until`` on.

    ``left`` is ``None`` where there is no limit; ``until`` is empty where something is left.
    """

    left: int | None
    until: datetime.datetime | None = None

    @property
    def held(self) -> bool:
        """Whether it may not be charged now."""
        return self.left is not None and self.left <= 0


def note(
    *, biller: Biller, payment_ids: Sequence[str], told: Sequence[int], actor: Actor, now: datetime.datetime
) -> None:
    """Note on their methods that payments just failed, and set aside what was declined for good, inside the caller's
    transaction.

    ``told`` are customers who hear of the failed payment itself; others whose AutoPay or scheduled payment is affected are
    told that the method was declined.
    """
    ids = sets.array(payment_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT n.token, p.result = ANY(%s) FROM payments_payment p"
            " JOIN payments_instrument n ON n.id = p.instrument_id WHERE p.id = ANY(%s::uuid[]) AND p.result <> ALL(%s)",
            [HARD, ids, list(NOT_ASKED)],
        )
        declined = cursor.fetchall()
    note_tokens(biller=biller, declined=declined, told=told, actor=actor, now=now)


def note_tokens(
    *,
    biller: Biller,
    declined: Sequence[tuple[str, bool]],
    actor: Actor,
    now: datetime.datetime,
    told: Sequence[int] = (),
) -> None:
    """Note that tokens were declined, each with whether that was for good, as :func:`note` does for payments."""
    if not declined:
        return
    with connection.cursor() as cursor:
        # By the tokens alone, so that their index is used however many of them there are.
        cursor.execute(
            """
            UPDATE payments_instrument n
            SET declined_at = %s,
                state = CASE WHEN n.state = 'active' AND n.token = ANY(%s::text[]) THEN 'bad' ELSE n.state END
            WHERE n.biller_id = %s AND n.token = ANY(%s::text[])
            RETURNING n.id, n.customer_id, old.state <> new.state
            """,
            [now, [token for token, hard in declined if hard], biller.pk, [token for token, _hard in declined]],
        )
        aside = {pk: customer for pk, customer, changed in cursor.fetchall() if changed}
    if not aside:
        return
    methods = Instrument.objects.in_bulk(list(aside))
    audit.record_each(
        actor=actor,
        event="instrument.declined",
        biller_id=biller.pk,
        entries=[(one.customer_id, str(one.pk), {"method": str(one)}) for one in methods.values()],
    )
    notices.write_from(
        kind=NoticeKind.METHOD_DECLINED,
        source="""
            SELECT n.biller_id, n.customer_id, 'method-declined:' || n.id || ':' || %s AS key,
                   jsonb_build_object('method', jsonb_build_object('kind', n.kind, 'brand', nullif(n.brand, ''),
                                                                   'last4', n.last4)) AS facts,
                   NULL AS email
            FROM payments_instrument n
            WHERE n.id = ANY(%s::uuid[]) AND n.customer_id <> ALL(%s::bigint[])
              AND (EXISTS (SELECT FROM payments_autopayenrolment e WHERE e.instrument_id = n.id AND e.ended_at IS NULL)
                   OR EXISTS (SELECT FROM payments_scheduledpayment s
                              WHERE s.instrument_id = n.id AND s.ended_at IS NULL))""",
        params=[f"{now.timestamp():.6f}", sets.array(aside), sets.array(told)],
    )


def last_of(*, biller_id: int, token: str) -> datetime.datetime | None:
    """Say when a token was last declined at whichever account, for a method that is put on file with it."""
    mates = Instrument.objects.filter(biller_id=biller_id, token=token)
    moment: datetime.datetime | None = mates.aggregate(last=Max("declined_at"))["last"]
    return moment


def lately(now: datetime.datetime) -> datetime.datetime:
    """Give the moment since when a decline may still count."""
    return now - MONTH


def standings(
    *, biller: Biller, tokens: Iterable[str], now: datetime.datetime, lock: bool = False
) -> dict[str, Standing]:
    """Say for tokens of the biller how often they may be charged now; counts every channel's charges of each.

    With ``lock``, inside the caller's transaction, others who would charge them wait until it has ended, and see its attempts.
    """
    wanted = sorted(set(tokens))
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        # Held before they are counted: a statement sees what was committed when it began.
        cursor.execute(
            f"""
            SELECT n.token, l.per_day, l.per_month
            FROM payments_instrument n
            LEFT JOIN LATERAL (
                SELECT l.per_day, l.per_month FROM payments_retrylimit l WHERE l.brand IN (n.brand, n.kind)
                ORDER BY l.brand = n.brand DESC LIMIT 1
            ) l ON true
            WHERE n.biller_id = %s AND n.token = ANY(%s::text[])
            ORDER BY n.id {"FOR NO KEY UPDATE OF n" if lock else ""}
            """,
            [biller.pk, wanted],
        )
        limits = {token: (per_day, per_month) for token, per_day, per_month in cursor.fetchall()}
        cursor.execute(
            """
            SELECT n.token, array_agg(t.created_at ORDER BY t.created_at DESC)
            FROM payments_instrument n
            CROSS JOIN LATERAL (
                SELECT a.created_at FROM payments_payment p JOIN payments_attempt a ON a.payment_id = p.id
                WHERE p.customer_id = n.customer_id AND p.created_at > %s AND p.instrument_id = n.id AND a.created_at > %s
                  AND a.command IN ('charge', 'authorize')
                  AND (a.state IN ('open', 'answered') OR (a.state = 'applied' AND a.result <> ALL(%s)) OR EXISTS (
                      SELECT FROM payments_reversal v WHERE v.payment_id = p.id AND v.kind = 'return' AND v.state = 'done')
                       OR p.group_id IS NOT NULL AND EXISTS (
                      SELECT FROM payments_payment m JOIN payments_reversal v ON v.payment_id = m.id
                      WHERE m.group_id = p.group_id AND v.kind = 'return' AND v.state = 'done'))
                OFFSET 0  -- so that it begins with the few methods, whatever the statistics say
            ) t
            WHERE n.biller_id = %s AND n.token = ANY(%s::text[])
            GROUP BY n.token
            """,
            [lately(now), lately(now), [int(Result.PASS), *NOT_ASKED], biller.pk, wanted],
        )
        tried: dict[str, list[datetime.datetime]] = dict(cursor.fetchall())
    return {token: _standing(*limits[token], tried.get(token, []), now) for token in limits}


def _standing(
    per_day: int | None, per_month: int | None, tried: Sequence[datetime.datetime], now: datetime.datetime
) -> Standing:
    """Reckon with the moments of what was declined, newest first."""
    left: int | None = None
    until: datetime.datetime | None = None
    for limit, window in ((per_day, DAY), (per_month, MONTH)):
        if limit is None:
            continue
        recent = [moment for moment in tried if moment > now - window]
        left = limit - len(recent) if left is None else min(left, limit - len(recent))
        if len(recent) >= limit:
            free = recent[limit - 1] + window
            until = free if until is None else max(until, free)
    return Standing(left, until)


def standing(*, instrument: Instrument, now: datetime.datetime, lock: bool = False) -> Standing:
    """Say how often one method may be charged now; asks nothing where it was not declined lately."""
    if instrument.declined_at is None or instrument.declined_at <= lately(now):
        return Standing(None)
    found = standings(biller=instrument.biller, tokens=[instrument.token], now=now, lock=lock)
    return found[instrument.token]


def words(instrument: Instrument, standing: Standing) -> str:
    """Say to staff why no run charges a method; empty where runs do."""
    if instrument.state == InstrumentState.BAD:
        return f"The bank declined {instrument} for good. No run charges it until it is confirmed or replaced."
    if standing.held and standing.until is not None:
        return (
            f"{instrument} was declined so often that its card network allows no other try before"
            f" {formats.moment(standing.until)}. No run charges it until then."
        )
    return ""
