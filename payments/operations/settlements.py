"""Settling: the only writer of what came of an attempt.

Whether an answer comes from the call itself, a look-up, a response file or a person, it passes here: first it is recorded
(999 → 1000 + code, committed), then it takes effect (1000 + code → code, with allocations, ledger and both outboxes). Both
steps may be repeated at any time and by anybody; each attempt takes effect once. A single payment is a chunk of one.

Source: PAY-2, PAY-10; the design's five rules, 3 to 5.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import OperationalError, connection, transaction
from django.utils.translation import gettext_noop

from billing import audit, sets
from billing.actors import Actor
from billing.failpoints import failpoint
from billing.models import Biller, LedgerAccount, NoticeKind, PostingKind
from billing.operations import notices
from datapump.models import RecordType
from datapump.operations import records
from payments.gateways.base import (
    Answer,
    Lost,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    Refused,
    Result,
)
from payments.models import CaseKind, Channel, Payment
from payments.models.payments import ANSWERED_OFFSET, confirmation_of

# Deadlocks are possible between a chunk and an import of the same customers; PostgreSQL ends one, and we repeat it.
_TRIES = 4

# What a payer is told of a result; always also that no money moved.
WORDS: dict[int, str] = {
    Result.NO_ANSWER: gettext_noop("The payment processor could not be reached."),
    Result.AVS_FAIL: gettext_noop("The address does not match the card."),
    Result.LOCATION_FAIL: gettext_noop("The address does not match the card."),
    Result.ZIP_FAIL: gettext_noop("The ZIP code does not match the card."),
    Result.BAD_CARD: gettext_noop("The card or account number is not valid."),
    Result.SERVICE_UNAVAILABLE: gettext_noop("The payment processor is not available."),
    Result.SOFT_DECLINE: gettext_noop("The bank declined the payment for now."),
    Result.HARD_DECLINE: gettext_noop("The bank declined the payment."),
    Result.UNDER_MINIMUM: gettext_noop("The amount is under the least that can be charged."),
    Result.CVV_BAD: gettext_noop("The security code does not match the card."),
}
_OTHER_WORDS = gettext_noop("The payment could not be processed.")


@dataclass(frozen=True, slots=True)
class Settled:
    """What one settling changed: payments posted and failed, in number and money."""

    posted: int = 0
    posted_total: Decimal = Decimal("0.00")
    failed: int = 0
    failed_total: Decimal = Decimal("0.00")

    def __add__(self, other: Settled) -> Settled:
        return Settled(
            self.posted + other.posted,
            self.posted_total + other.posted_total,
            self.failed + other.failed,
            self.failed_total + other.failed_total,
        )


def words_for(result: int) -> str:
    """Say a result in words for the payer, without what happened to the money."""
    return WORDS.get(result, _OTHER_WORDS)


def answers_of(results: Iterable[Answer | Lost]) -> list[Answer]:
    """Give the answers among a send's results; what is lost but certainly moved no money becomes an answer that says so.

    An unknown outcome gives none: its attempt stays open and is looked up.
    """
    answers: list[Answer] = []
    for result in results:
        if isinstance(result, Answer):
            answers.append(result)
        elif isinstance(result.error, OutcomeUnknown):
            continue
        elif isinstance(result.error, NotSent):
            answers.append(Answer(result.key, Result.NO_ANSWER, message=str(result.error)[:200]))
        elif isinstance(result.error, Refused):
            answers.append(Answer(result.key, Result.INVALID_CONTENT, message=str(result.error)[:200]))
        elif isinstance(result.error, Misconfigured):
            answers.append(
                Answer(
                    result.key,
                    Result.TECHNICAL_PROBLEM,
                    message=str(result.error)[:200],
                )
            )
    return answers


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
    if not answers:
        return Settled()
    record_answers(biller=biller, answers=answers, now=now)
    failpoint("settle.recorded")
    return take_effect(
        biller=biller,
        attempt_ids=[uuid.UUID(answer.key) for answer in answers],
        actor=actor,
        now=now,
    )


def record_answers(*, biller: Biller, answers: Sequence[Answer], now: datetime.datetime) -> None:
    """Write 1000 + code on each open attempt that was answered, and commit (PAY-2).

    Answers are taken forward only: a second one is ignored where it agrees and makes a case where it does not.
    """
    # Looked up by id in one JSON object, row by row: a join would be planned by statistics that know nothing of attempts
    # a moment old, and once in a while goes wrong by orders of magnitude.
    ids = sets.array(answer.key for answer in answers)
    given = sets.keyed(
        (
            answer.key,
            [int(answer.result), answer.approval_code[:60], answer.processor_reference[:60], answer.message[:200]],
        )
        for answer in answers
    )
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE payments_attempt a
            SET state = 'answered', result = (g.given -> a.id::text ->> 0)::smallint + {ANSWERED_OFFSET},
                approval_code = g.given -> a.id::text ->> 1, processor_reference = g.given -> a.id::text ->> 2,
                message = g.given -> a.id::text ->> 3, answered_at = %s
            FROM (SELECT %s::jsonb AS given) g
            WHERE a.id = ANY(%s::uuid[]) AND a.biller_id = %s AND a.state = 'open'
            """,
            [now, given, ids, biller.pk],
        )
        if cursor.rowcount != len(answers):
            cursor.execute(
                f"""
                INSERT INTO payments_case (biller_id, customer_id, attempt_id, kind, reason, state, closed_by, outcome)
                SELECT a.biller_id, p.customer_id, a.id, %s,
                       format('The processor answered %%s after the attempt had ended with %%s.', a.heard,
                              CASE a.state WHEN 'abandoned' THEN 'no charge' ELSE (a.result %% {ANSWERED_OFFSET})::text END),
                       'open', '', ''
                FROM (
                    SELECT a.*, (g.given -> a.id::text ->> 0)::smallint AS heard
                    FROM payments_attempt a, (SELECT %s::jsonb AS given) g
                    WHERE a.id = ANY(%s::uuid[]) AND a.biller_id = %s
                ) a
                JOIN payments_payment p ON p.id = a.payment_id
                WHERE (a.state IN ('answered', 'applied') AND a.result %% {ANSWERED_OFFSET} <> a.heard)
                   OR (a.state = 'abandoned' AND a.heard = 0)
                ON CONFLICT DO NOTHING
                """,
                [CaseKind.CONFLICTING_ANSWER, given, ids, biller.pk],
            )


def take_effect(
    *,
    biller: Biller,
    attempt_ids: Sequence[uuid.UUID],
    actor: Actor,
    now: datetime.datetime,
) -> Settled:
    """Post or fail the payments of answered attempts: allocations, items, balances, ledger, both outboxes, audit.

    Attempts in any other state are passed over, so that this may be repeated (PAY-10's "recover payment").
    """
    for left in reversed(range(_TRIES)):
        try:
            return _take_effect(biller, attempt_ids, actor, now)
        except OperationalError as error:
            if left == 0 or getattr(error.__cause__, "sqlstate", "") != "40P01":
                raise
    raise AssertionError("unreachable")


def _take_effect(
    biller: Biller, attempt_ids: Sequence[uuid.UUID | str], actor: Actor, now: datetime.datetime
) -> Settled:
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # The change of state makes this transaction the only one to carry these attempts over.
        cursor.execute(
            f"""
            UPDATE payments_attempt SET state = 'applied', result = result - {ANSWERED_OFFSET}
            WHERE id = ANY(%s::uuid[]) AND biller_id = %s AND state = 'answered'
            RETURNING id::text, payment_id::text, result
            """,
            [sets.array(attempt_ids), biller.pk],
        )
        applied = cursor.fetchall()
        if not applied:
            return Settled()
        cursor.execute(
            "DELETE FROM payments_checkpoint WHERE payment_id = ANY(%s::uuid[])",
            [sets.array(row[1] for row in applied)],
        )
        passed = [row for row in applied if row[2] == Result.PASS]
        settled = Settled()
        if passed:
            settled += _post(biller, passed, actor=actor, now=now)
        failpoint("settle.posted")
        if len(passed) < len(applied):
            failed = [(row[1], row[2]) for row in applied if row[2] != Result.PASS]
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


def _post(biller: Biller, passed: Sequence[tuple[str, str, int]], *, actor: Actor, now: datetime.datetime) -> Settled:
    """Post payments whose money moved, given as (attempt, payment, result); the caller holds their attempts."""
    ids = sets.array(row[1] for row in passed)
    with connection.cursor() as cursor:
        # An attempt takes effect once, so one of their ids is a key that no other posting can have.
        cursor.execute(
            "INSERT INTO billing_posting (biller_id, key, kind, effective_on, run_id)"
            " SELECT %s, %s, %s, %s, (SELECT run_id FROM payments_payment WHERE id = %s) RETURNING id",
            [
                biller.pk,
                f"receipts:{min(row[0] for row in passed)}",
                PostingKind.RECEIPTS,
                biller.business_date(now),
                passed[0][1],
            ],
        )
        (posting,) = cursor.fetchone()
        cursor.execute(
            """
            UPDATE payments_payment p
            SET state = 'posted', posting_id = %s, settled_at = %s, result = 0,
                approval_code = (SELECT a.approval_code FROM payments_attempt a
                                 WHERE a.payment_id = p.id AND a.state = 'applied' AND a.result = 0)
            WHERE p.id = ANY(%s::uuid[]) AND p.state = 'processing'
            RETURNING p.amount
            """,
            [posting, now, ids],
        )
        amounts = [amount for (amount,) in cursor.fetchall()]
        if len(amounts) != len(passed):
            raise RuntimeError("An answered attempt's payment is not processing: the books need a person.")
        cursor.execute(
            """
            UPDATE billing_customer c SET balance = c.balance - v.amount
            FROM (SELECT customer_id, sum(amount) AS amount FROM payments_payment WHERE id = ANY(%s::uuid[]) GROUP BY 1) v
            WHERE c.id = v.customer_id
            """,
            [ids],
        )
        cursor.execute(
            "UPDATE payments_allocation SET state = 'posted' WHERE payment_id = ANY(%s::uuid[]) AND state = 'pending'",
            [ids],
        )
        cursor.execute(
            """
            UPDATE billing_item i SET allocated = i.allocated + v.amount, reserved = i.reserved - v.amount
            FROM (
                SELECT item_id, sum(amount) AS amount FROM payments_allocation
                WHERE payment_id = ANY(%s::uuid[]) AND state = 'posted' GROUP BY 1
            ) v
            WHERE i.id = v.item_id
            """,
            [ids],
        )
        # What no item took is the customer's credit. Summed payment by payment, by index: a join of two sums is planned
        # by statistics that know nothing of rows a moment old.
        cursor.execute(
            """
            INSERT INTO billing_item (biller_id, customer_id, payment_id, posting_id, kind, amount, currency)
            SELECT p.biller_id, p.customer_id, p.id, p.posting_id, 'credit', p.allocated - p.amount, p.currency
            FROM (
                SELECT p.*, coalesce((SELECT sum(a.amount) FROM payments_allocation a
                                      WHERE a.payment_id = p.id AND a.state = 'posted'), 0) AS allocated
                FROM payments_payment p WHERE p.id = ANY(%s::uuid[])
            ) p
            WHERE p.amount > p.allocated
            """,
            [ids],
        )
        cursor.execute(
            """
            INSERT INTO billing_entry (biller_id, posting_id, account, route_id, tender, amount, currency, count)
            SELECT biller_id, posting_id, %s, route_id, tender, sum(amount), currency, count(*)
            FROM payments_payment WHERE id = ANY(%s::uuid[]) GROUP BY biller_id, posting_id, route_id, tender, currency
            UNION ALL
            SELECT biller_id, posting_id, %s, NULL, '', -sum(amount), currency, count(*)
            FROM payments_payment WHERE id = ANY(%s::uuid[]) GROUP BY biller_id, posting_id, currency
            """,
            [
                LedgerAccount.CLEARING,
                ids,
                LedgerAccount.RECEIVABLE,
                ids,
            ],
        )
    records.write_from(
        actor=None,
        type=RecordType.PAYMENT,
        source="""
            SELECT id, biller_id, customer_id, requestor, made_by, '' AS before, amount::text AS after,
                   jsonb_build_object('amount', amount::text, 'currency', currency, 'tender', tender, 'channel', channel,
                                      'approval_code', approval_code) AS facts
            FROM payments_payment WHERE id = ANY(%s::uuid[])""",
        params=[ids],
    )
    _count_in_chunks(ids, "passed")
    notices.write_from(
        kind=NoticeKind.RECEIPT,
        source="""
            SELECT p.biller_id, p.customer_id, 'receipt:' || p.id AS key,
                   jsonb_strip_nulls(jsonb_build_object(
                       'payment', p.id, 'amount', p.amount::text, 'currency', p.currency,
                       'method', (SELECT jsonb_build_object('kind', i.kind, 'brand', nullif(i.brand, ''), 'last4', i.last4)
                                  FROM payments_instrument i WHERE i.id = p.instrument_id),
                       'email', nullif(p.email, ''), 'language', nullif(p.language, ''))) AS facts
            FROM payments_payment p WHERE p.id = ANY(%s::uuid[])""",
        params=[ids],
    )
    if len(passed) == 1:
        _audit_one(passed[0][1], "payment.posted", actor)
    return Settled(posted=len(amounts), posted_total=sum(amounts, Decimal("0.00")))


def _fail(
    biller: Biller,
    failures: list[tuple[str, int]],
    *,
    actor: Actor,
    now: datetime.datetime,
) -> Settled:
    """Fail payments whose money did not move and let go of what they held; the caller holds their attempts."""
    ids = sets.array(payment_id for payment_id, _ in failures)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_payment p
            SET state = 'failed', settled_at = %s, result = (g.given -> p.id::text ->> 0)::smallint,
                failure = g.given -> p.id::text ->> 1
            FROM (SELECT %s::jsonb AS given) g
            WHERE p.id = ANY(%s::uuid[]) AND p.state = 'processing' RETURNING p.amount
            """,
            [now, sets.keyed((pk, [result, str(words_for(result))]) for pk, result in failures), ids],
        )
        amounts = [amount for (amount,) in cursor.fetchall()]
        if len(amounts) != len(failures):
            raise RuntimeError("An answered attempt's payment is not processing: the books need a person.")
        release([payment_id for payment_id, _ in failures])
        retries = biller.retry_days
        # Never reached: the next run may take the bill again. Soft: on the biller's retry days. Hard: not again (PAY-5).
        cursor.execute(
            """
            UPDATE billing_item i
            SET collect_tries = i.collect_tries + 1,
                collect_on = CASE WHEN p.result = ANY(%s) THEN %s::date + (%s::int[])[i.collect_tries + 1] END
            FROM payments_payment p JOIN payments_allocation a ON a.payment_id = p.id
            WHERE p.id = ANY(%s::uuid[]) AND a.item_id = i.id AND p.channel = %s AND p.result <> ALL(%s)
            """,
            [
                [int(Result.SOFT_DECLINE)],
                biller.business_date(now),
                retries,
                ids,
                Channel.AUTOPAY,
                [
                    int(Result.NO_ANSWER),
                    int(Result.SERVICE_UNAVAILABLE),
                    int(Result.TECHNICAL_PROBLEM),
                ],
            ],
        )
    _count_in_chunks(ids, "declined")
    notices.write_from(
        kind=NoticeKind.AUTOPAY_FAILED,
        source="""
            SELECT biller_id, customer_id, 'autopay-failed:' || id AS key,
                   jsonb_build_object('payment', id, 'amount', amount::text, 'currency', currency, 'reason', failure) AS facts
            FROM payments_payment WHERE id = ANY(%s::uuid[]) AND channel = %s AND result <> ALL(%s)""",
        params=[
            ids,
            Channel.AUTOPAY,
            [int(Result.NO_ANSWER), int(Result.SERVICE_UNAVAILABLE)],
        ],
    )
    if len(failures) == 1:
        _audit_one(failures[0][0], "payment.failed", actor)
    return Settled(failed=len(amounts), failed_total=sum(amounts, Decimal("0.00")))


def release(payment_ids: Sequence[uuid.UUID | str]) -> None:
    """Void the pending allocations of payments and give back what they reserved; the caller holds the payments."""
    ids = sets.array(payment_ids)
    with connection.cursor() as cursor:
        # A load of invoices moves pending allocations to newer items, holding the customers: look at them after it.
        cursor.execute(
            "SELECT id FROM billing_customer WHERE id IN (SELECT customer_id FROM payments_payment WHERE id = ANY(%s::uuid[]))"
            " ORDER BY id FOR NO KEY UPDATE",
            [ids],
        )
        cursor.execute(
            """
            UPDATE billing_item i SET reserved = i.reserved - v.amount
            FROM (
                SELECT item_id, sum(amount) AS amount FROM payments_allocation
                WHERE payment_id = ANY(%s::uuid[]) AND state = 'pending' GROUP BY 1
            ) v
            WHERE i.id = v.item_id
            """,
            [ids],
        )
        cursor.execute(
            "UPDATE payments_allocation SET state = 'void' WHERE payment_id = ANY(%s::uuid[]) AND state = 'pending'",
            [ids],
        )


def _count_in_chunks(ids: str, outcome: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE billing_chunk c
            SET {outcome}_count = c.{outcome}_count + v.n, {outcome}_total = c.{outcome}_total + v.total
            FROM (
                SELECT chunk_id, count(*) AS n, sum(amount) AS total FROM payments_payment
                WHERE id = ANY(%s::uuid[]) AND chunk_id IS NOT NULL GROUP BY 1
            ) v
            WHERE c.id = v.chunk_id
            """,
            [ids],
        )


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
            "method": str(payment.instrument or payment.get_tender_display()),
            "confirmation": confirmation_of(payment.pk),
            "reason": payment.failure,
        },
    )
