"""Settling: the only writer of what came of an attempt.

Whether an answer comes from the call itself, a look-up, a response file or a person, it passes here: first it is recorded
(999 → 1000 + code, committed), then it takes effect (1000 + code → code, with allocations, ledger and both outboxes). Both
steps may be repeated at any time and by anybody; each attempt takes effect once. A single payment is a chunk of one.

Source: PAY-2, PAY-10; the design's five rules, 3 to 5.
"""

from __future__ import annotations

import datetime
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import F
from django.db.models.expressions import Combinable
from django.utils.translation import gettext_noop

from billing import audit, sets
from billing.actors import Actor
from billing.failpoints import failpoint
from billing.models import Biller, Chunk, NoticeKind, PostingKind
from billing.operations import notices
from payments.gateways.base import Answer, Command, Result
from payments.models import Channel, Payment
from payments.models.payments import ANSWERED_OFFSET, confirmation_of
from payments.operations import (
    confirmations,
    deadlocks,
    declines,
    fees,
    groups,
    postings,
    reservations,
    reversals,
    scheduled_outcomes,
)
from payments.operations.answers import named_here, record_answers, words_for
from payments.operations.postings import Moved, sums_of

# The processor did nothing, for no fault of the payer: what it held or what is due may be asked for again.
NOT_REACHED = declines.NOT_ASKED

# Why a payment that was authorized was not taken: a person gave it up, or nobody deposited it in time.
RELEASED = gettext_noop("The biller decided not to take this payment.")
LAPSED = gettext_noop("The biller did not take this payment in time.")


@dataclass(frozen=True, slots=True)
class Settled:
    """What one settling changed: payments posted and failed, in number and money without fees, those that are held or let go."""

    posted: int = 0
    posted_total: Decimal = Decimal("0.00")
    failed: int = 0
    failed_total: Decimal = Decimal("0.00")
    authorized: int = 0
    released: int = 0

    def __add__(self, other: Settled) -> Settled:
        return Settled(
            self.posted + other.posted,
            self.posted_total + other.posted_total,
            self.failed + other.failed,
            self.failed_total + other.failed_total,
            self.authorized + other.authorized,
            self.released + other.released,
        )


class _Applied(NamedTuple):
    """An attempt whose answer is taking effect, and a payment that it is about."""

    attempt_id: str
    payment_id: str
    result: int
    command: str
    covers: int = 1


def settle(
    *,
    biller: Biller,
    answers: Sequence[Answer],
    actor: Actor,
    now: datetime.datetime,
) -> Settled:
    """Record answers and let them take effect; answers to unknown attempts are passed over.

    An answer that contradicts an earlier one changes nothing and opens a case.
    """
    # Another system may charge with the same merchant account: response files name its charges as well.
    answers = [answer for answer in answers if named_here(answer.key)]
    if not answers:
        return Settled()
    record_answers(biller=biller, answers=answers, now=now)
    failpoint("settle.recorded")
    settled = take_effect(
        biller=biller,
        attempt_ids=[answer.key for answer in answers],
        actor=actor,
        now=now,
    )
    if good := [answer.key for answer in answers if answer.confirmed]:
        confirmations.told(biller=biller, attempt_ids=good, now=now)
    return settled


def take_effect(
    *,
    biller: Biller,
    attempt_ids: Sequence[uuid.UUID | str],
    actor: Actor,
    now: datetime.datetime,
) -> Settled:
    """Post or fail the payments of answered attempts: allocations, items, balances, ledger, both outboxes, audit.

    Attempts in any other state are passed over, so that this may be repeated (PAY-10's "recover payment").
    """
    return deadlocks.repeated(lambda: _take_effect(biller, attempt_ids, actor, now))


def _take_effect(
    biller: Biller, attempt_ids: Sequence[uuid.UUID | str], actor: Actor, now: datetime.datetime
) -> Settled:
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # The change of state makes this transaction the only one to carry these attempts over.
        cursor.execute(
            f"""
            UPDATE payments_attempt SET state = 'applied', result = result - {ANSWERED_OFFSET}
            WHERE id = ANY(%s::uuid[]) AND biller_id = %s AND state = 'answered'
            RETURNING id::text, payment_id::text, result, command, covers
            """,
            [sets.array(attempt_ids), biller.pk],
        )
        applied = _with_groups(cursor, [_Applied(*row) for row in cursor.fetchall()])
        if not applied:
            return Settled()
        # A group's checkpoints go with it, a refund's with its one payment.
        cursor.execute(
            "DELETE FROM payments_checkpoint WHERE payment_id = ANY(%s::uuid[])",
            [sets.array(one.payment_id for one in applied)],
        )
        for one in applied:
            if one.command == Command.REFUND:
                reversals.finish(attempt_id=one.attempt_id, result=one.result, actor=actor, now=now)
        applied = [one for one in applied if one.command != Command.REFUND]
        held = [one for one in applied if _still_held(one)]
        released = [one for one in applied if one.command == Command.RELEASE and not _still_held(one)]
        applied = [one for one in applied if one.command != Command.RELEASE or _still_held(one)]
        passed = [one for one in applied if one.result == Result.PASS and one.command != Command.AUTHORIZE]
        failed = [one for one in applied if one.result != Result.PASS and not _still_held(one)]
        settled = Settled()
        if passed:
            settled += _post(biller, passed, actor=actor, now=now)
        failpoint("settle.posted")
        if held:
            settled += _hold(held, actor=actor)
        if released:
            # A processor that would not let it go holds it no longer than its time: for us it is given up all the same.
            count_in_chunks(passed=let_go([one.payment_id for one in released], actor=actor, now=now))
            settled += Settled(released=len(released))
        if failed:
            settled += _fail(biller, failed, actor=actor, now=now)
        if len(applied) > 1:
            audit.record(
                actor=actor,
                event="payments.settled",
                biller_id=biller.pk,
                facts={"posted": settled.posted, "total": str(settled.posted_total), "failed": settled.failed},
            )
    failpoint("settle.applied")
    return settled


def _with_groups(cursor: CursorWrapper, applied: list[_Applied]) -> list[_Applied]:
    """Put beside each attempt of a group's first payment those of its other payments (MSP-26)."""
    leading = {one.payment_id: one for one in applied if one.covers > 1}
    if not leading:
        return applied
    cursor.execute(
        "SELECT id::text, group_id::text FROM payments_payment WHERE group_id = ANY(%s::uuid[]) AND id <> group_id",
        [sets.array(leading)],
    )
    return applied + [leading[group]._replace(payment_id=pk) for pk, group in cursor.fetchall()]


def _still_held(one: _Applied) -> bool:
    """Whether the processor holds the money and has not moved it: just authorized, or never asked to deposit."""
    if one.command == Command.AUTHORIZE:
        return one.result == Result.PASS
    return one.command in {Command.DEPOSIT, Command.RELEASE} and one.result in NOT_REACHED


def _hold(held: Sequence[_Applied], *, actor: Actor) -> Settled:
    """Let payments wait for a deposit, with what they reserved; why the last one did not come about stands on them."""
    ids = sets.array(one.payment_id for one in held)
    why = [
        (one.payment_id, [one.result, "" if one.result == Result.PASS else str(words_for(one.result))]) for one in held
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_payment p
            SET state = 'authorized', result = (g.given -> p.id::text ->> 0)::smallint,
                failure = g.given -> p.id::text ->> 1,
                approval_code = (SELECT a.approval_code FROM payments_attempt a WHERE a.payment_id = p.id
                                 AND a.state = 'applied' AND a.result = 0 AND a.command = 'authorize')
            FROM (SELECT %s::jsonb AS given) g
            WHERE p.id = ANY(%s::uuid[]) AND p.state = 'processing'
            RETURNING p.id::text, p.customer_id, p.route_id, p.tender, p.currency, p.chunk_id, p.amount, p.fee, p.channel
            """,
            [sets.keyed(why), ids],
        )
        payments = [Moved(*row) for row in cursor.fetchall()]
    if len(payments) != len(held):
        raise RuntimeError("An answered attempt's payment is not processing: the books need a person.")
    # Only a deposit or a release that did not come about has a chunk.
    count_in_chunks(unreached=payments)
    if len(held) == 1:
        _audit_one(held[0].payment_id, "payment.authorized", actor)
    return Settled(authorized=len(payments))


def let_go(
    payment_ids: Sequence[str], *, words: str | None = None, actor: Actor, now: datetime.datetime
) -> list[Moved]:
    """Fail authorized payments that are given up and free what they reserved, inside the caller's transaction, which holds them.

    ``words`` say why; without them a run gave up for want of time what has one, and a person everything else.
    """
    ids = sets.array(payment_ids)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_payment p
            SET state = 'failed', settled_at = %s, result = NULL,
                failure = coalesce(%s, CASE WHEN p.run_id IS NULL THEN %s ELSE %s END)
            WHERE p.id = ANY(%s::uuid[]) AND p.state IN ('processing', 'authorized')
            RETURNING p.id::text, p.customer_id, p.route_id, p.tender, p.currency, p.chunk_id, p.amount, p.fee, p.channel
            """,
            [now, words, RELEASED, LAPSED, ids],
        )
        payments = [Moved(*row) for row in cursor.fetchall()]
        if len(payments) != len(payment_ids):
            raise RuntimeError("A payment to release is not held: the books need a person.")
        cursor.execute("UPDATE payments_authorization SET ended_at = %s WHERE payment_id = ANY(%s::uuid[])", [now, ids])
    reservations.release(payment_ids)
    _tell_of_failure(payment_ids)
    audit.record_each(
        actor=actor,
        event="payment.released",
        biller_id=Payment.objects.values_list("biller_id", flat=True).get(pk=payment_ids[0]),
        entries=[(one.customer_id, one.id, {"amount": f"{one.amount} {one.currency}"}) for one in payments],
    )
    return payments


def _tell_of_failure(payment_ids: Sequence[str], *, with_fees: str = "NULL") -> None:
    """Tell payers of payments that they had authorized: who authorized one is not there any more when it fails.

    ``with_fees`` is the SQL of what was charged for payment ``p``.
    """
    notices.write_from(
        kind=NoticeKind.PAYMENT_FAILED,
        source=f"""
            SELECT biller_id, customer_id, 'payment-failed:' || id AS key,
                   jsonb_strip_nulls(jsonb_build_object(
                       'payment', id, 'amount', amount::text, 'currency', currency, 'reason', failure,
                       'fees', {with_fees}, 'email', nullif(email, ''), 'language', nullif(language, ''))) AS facts,
                   nullif(email, '') AS email
            FROM payments_payment p WHERE id = ANY(%s::uuid[])""",
        params=[sets.array(payment_ids)],
    )


def _end_authorizations(ended: Sequence[_Applied], now: datetime.datetime) -> None:
    """Close the authorizations that attempts used up, and mark those that had expired when they were deposited."""
    attempts = [one.attempt_id for one in ended if one.command in {Command.AUTHORIZE, Command.DEPOSIT}]
    if not attempts:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payments_authorization z SET ended_at = %s, expired = a.result = 0 AND a.sent_at > z.expires_at"
            " FROM payments_attempt a WHERE a.id = ANY(%s::uuid[]) AND z.payment_id = a.payment_id",
            [now, sets.array(attempts)],
        )


def _post(biller: Biller, passed: Sequence[_Applied], *, actor: Actor, now: datetime.datetime) -> Settled:
    """Post payments whose money moved; the caller holds their attempts."""
    ids = sets.array(one.payment_id for one in passed)
    with connection.cursor() as cursor:
        # An attempt takes effect once, so one of their ids is a key that no other posting can have.
        cursor.execute(
            "INSERT INTO billing_posting (biller_id, key, kind, effective_on, run_id)"
            " SELECT %s, %s, %s, %s, (SELECT run_id FROM payments_payment WHERE id = %s) RETURNING id",
            [
                biller.pk,
                f"receipts:{min(one.attempt_id for one in passed)}",
                PostingKind.RECEIPTS,
                biller.business_date(now),
                passed[0].payment_id,
            ],
        )
        (posting,) = cursor.fetchone()
        # CASE and not coalesce: below row security that may not use the attempts' index.
        cursor.execute(
            """
            UPDATE payments_payment p
            SET state = 'posted', posting_id = %s, settled_at = %s, result = 0,
                approval_code = (SELECT a.approval_code FROM payments_attempt a
                                 WHERE a.payment_id = CASE WHEN p.group_id IS NULL THEN p.id ELSE p.group_id END
                                   AND a.state = 'applied' AND a.result = 0 AND a.command <> 'authorize')
            WHERE p.id = ANY(%s::uuid[]) AND p.state = 'processing'
            RETURNING p.id::text, p.customer_id, p.route_id, p.tender, p.currency, p.chunk_id, p.amount, p.fee, p.channel
            """,
            [posting, now, ids],
        )
        payments = [Moved(*row) for row in cursor.fetchall()]
    if len(payments) != len(passed):
        raise RuntimeError("An answered attempt's payment is not processing: the books need a person.")
    _end_authorizations(passed, now)
    postings.book(biller=biller, posting_id=posting, payments=payments)
    confirmations.begin(biller=biller, payments=payments, now=now)
    if scheduled := [one.id for one in payments if one.channel == Channel.SCHEDULED]:
        scheduled_outcomes.paid(scheduled, actor=actor, now=now)
    count_in_chunks(passed=payments)
    if len(passed) == 1:
        _audit_one(passed[0].payment_id, "payment.posted", actor)
    return Settled(posted=len(payments), posted_total=sum((one.amount for one in payments), Decimal("0.00")))


def _fail(
    biller: Biller,
    failures: Sequence[_Applied],
    *,
    actor: Actor,
    now: datetime.datetime,
) -> Settled:
    """Fail payments whose money did not move and let go of what they held; the caller holds their attempts."""
    ids = sets.array(one.payment_id for one in failures)
    said = {result: str(words_for(result)) for result in {one.result for one in failures}}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_payment p
            SET state = 'failed', settled_at = %s, result = (g.given -> p.id::text ->> 0)::smallint,
                failure = g.given -> p.id::text ->> 1
            FROM (SELECT %s::jsonb AS given) g
            WHERE p.id = ANY(%s::uuid[]) AND p.state = 'processing'
            RETURNING p.id::text, p.customer_id, p.route_id, p.tender, p.currency, p.chunk_id, p.amount, p.fee, p.channel
            """,
            [now, sets.keyed((one.payment_id, [one.result, said[one.result]]) for one in failures), ids],
        )
        payments = [Moved(*row) for row in cursor.fetchall()]
        if len(payments) != len(failures):
            raise RuntimeError("An answered attempt's payment is not processing: the books need a person.")
        _end_authorizations(failures, now)
        reservations.release([one.payment_id for one in failures])
        # Never reached: the next run may take the bill again. Soft: on the biller's days after the first decline, whenever
        # the tries between were made; a day that has passed is let go. Hard: not again (PAY-5).
        cursor.execute(
            """
            UPDATE billing_item i
            SET collect_tries = i.collect_tries + 1, declined_on = coalesce(i.declined_on, d.today),
                collect_on = CASE WHEN p.result = %s THEN (
                    SELECT min(coalesce(i.declined_on, d.today) + day) FROM unnest(%s::int[]) AS day
                    WHERE coalesce(i.declined_on, d.today) + day > least(i.collect_on, d.today)
                      AND coalesce(i.declined_on, d.today) + day >= d.today) END
            FROM payments_payment p JOIN payments_allocation a ON a.payment_id = p.id, (SELECT %s::date AS today) d
            WHERE p.id = ANY(%s::uuid[]) AND a.item_id = i.id AND p.channel = %s AND p.result <> ALL(%s)
            """,
            [
                int(Result.SOFT_DECLINE),
                biller.retry_days,
                biller.business_date(now),
                ids,
                Channel.AUTOPAY,
                list(NOT_REACHED),
            ],
        )
    declines.note(
        biller=biller,
        payment_ids=[one.payment_id for one in failures],
        told=[one.customer_id for one in payments if one.channel in {Channel.AUTOPAY, Channel.SCHEDULED}],
        actor=actor,
        now=now,
    )
    deposits = [one.payment_id for one in failures if one.command == Command.DEPOSIT]
    charged = fees.charge_failed(
        biller=biller,
        payment_ids=[one.payment_id for one in failures],
        told=[*deposits, *(one.id for one in payments if one.channel in {Channel.AUTOPAY, Channel.SCHEDULED})],
        actor=actor,
        now=now,
    )
    with_fees = fees.FACTS.format(payment="p.id") if charged else "NULL"
    if scheduled := [one.id for one in payments if one.channel == Channel.SCHEDULED]:
        scheduled_outcomes.not_paid(scheduled, not_reached=NOT_REACHED, actor=actor, now=now)
    not_asked = {one.payment_id for one in failures if one.result in NOT_REACHED}
    count_in_chunks(
        declined=[one for one in payments if one.id not in not_asked],
        unreached=[one for one in payments if one.id in not_asked],
    )
    notices.write_from(
        kind=NoticeKind.AUTOPAY_FAILED,
        source=f"""
            SELECT p.biller_id, p.customer_id, 'autopay-failed:' || p.id AS key,
                   jsonb_strip_nulls(jsonb_build_object(
                       'payment', p.id, 'amount', {groups.AMOUNT}, 'currency', p.currency, 'reason', p.failure,
                       'declined', (SELECT 'yes' FROM payments_instrument i WHERE i.id = p.instrument_id AND i.state = 'bad'),
                       'group', {groups.MEMBERS}, 'fees', {with_fees})) AS facts,
                   NULL AS email
            FROM payments_payment p WHERE p.id = ANY(%s::uuid[]) AND p.channel = %s AND p.result <> ALL(%s)
              AND (p.group_id IS NULL OR p.group_id = p.id)""",
        params=[
            ids,
            Channel.AUTOPAY,
            list(NOT_REACHED),
        ],
    )
    if deposits:
        _tell_of_failure(deposits, with_fees=with_fees)
    if len(failures) == 1:
        _audit_one(failures[0].payment_id, "payment.failed", actor)
    return Settled(failed=len(payments), failed_total=sum((one.amount for one in payments), Decimal("0.00")))


def count_in_chunks(**outcomes: Sequence[Moved | Payment]) -> None:
    """Add payments to the chunks of runs that they went in, under what came of them: passed, declined or unreached.

    Inside the caller's transaction.
    """
    raised: dict[int, dict[str, Combinable]] = defaultdict(dict)
    for outcome, payments in outcomes.items():
        sums = sums_of((one.chunk_id, one.amount) for one in payments if one.chunk_id is not None)
        counts = Counter(one.chunk_id for one in payments)
        for pk, total in sums.items():
            raised[pk][f"{outcome}_count"] = F(f"{outcome}_count") + counts[pk]
            raised[pk][f"{outcome}_total"] = F(f"{outcome}_total") + total
    for pk in sorted(raised):
        Chunk.objects.filter(pk=pk).update(**raised[pk])


def _audit_one(payment_id: str, event: str, actor: Actor) -> None:
    payment = Payment.objects.select_related("instrument").get(pk=payment_id)
    audit.record(
        actor=actor,
        event=event,
        biller_id=payment.biller_id,
        customer_id=payment.customer_id,
        subject=str(payment.pk),
        facts={
            "amount": f"{payment.amount} {payment.currency}",
            **({"fee": f"{payment.fee} {payment.currency}"} if payment.fee else {}),
            "method": str(payment.instrument or payment.get_tender_display()),
            "confirmation": confirmation_of(payment.pk),
            "reason": payment.failure,
        },
    )
