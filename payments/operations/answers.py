"""Answers: what processors said, in words for payers, and written on the attempts that they are about.

Source: PAY-1, PAY-2, PAY-10; the design's five rules, 3 and 4.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Sequence

from django.db import connection, transaction
from django.utils.translation import gettext_noop

from billing import sets
from billing.models import Biller
from payments.gateways.base import Answer, Lost, Misconfigured, NotSent, OutcomeUnknown, Refused, Result
from payments.models import CaseKind
from payments.models.payments import ANSWERED_OFFSET
from payments.results import own_words

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


def words_for(result: int) -> str:
    """Say a result in words for the payer, without what happened to the money; a biller's own in its administrator's words."""
    return WORDS.get(result) or own_words(result) or _OTHER_WORDS


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


def named_here(key: str) -> uuid.UUID | None:
    """Read the processor's name of a message as the attempt's that we gave it; nothing where another system gave it one."""
    try:
        return uuid.UUID(key)
    except ValueError:
        return None


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
            [
                *(int(answer.result), answer.approval_code[:60], answer.processor_reference[:60], answer.message[:200]),
                *([True] if answer.voided else []),
            ],
        )
        for answer in answers
    )
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE payments_attempt a
            SET state = 'answered', result = (g.given -> a.id::text ->> 0)::smallint + {ANSWERED_OFFSET},
                approval_code = g.given -> a.id::text ->> 1, processor_reference = g.given -> a.id::text ->> 2,
                message = g.given -> a.id::text ->> 3, voided = (g.given -> a.id::text ->> 4)::boolean, answered_at = %s
            FROM (SELECT %s::jsonb AS given) g
            WHERE a.id = ANY(%s::uuid[]) AND a.biller_id = %s AND a.state = 'open'
            """,
            [now, given, ids, biller.pk],
        )
        recorded = cursor.rowcount
        # What a person was to find out is known.
        cursor.execute(
            "UPDATE payments_case k SET state = 'done', closed_at = %s, outcome = %s"
            " FROM payments_attempt a WHERE k.attempt_id = ANY(%s::uuid[]) AND k.kind = %s AND k.state = 'open'"
            " AND a.id = k.attempt_id AND a.biller_id = %s AND a.state = 'answered'",
            [now, "The processor has answered.", ids, CaseKind.UNKNOWN_OUTCOME, biller.pk],
        )
        if recorded != len(answers):
            cursor.execute(
                f"""
                INSERT INTO payments_case (biller_id, customer_id, attempt_id, kind, reason, state, closed_by, outcome)
                SELECT d.* FROM (
                SELECT a.biller_id, p.customer_id, a.id AS attempt_id, %s AS kind,
                       format('The processor now says %%s; %%s.',
                              CASE a.heard WHEN 0 THEN 'that it was carried out' ELSE 'result ' || a.heard END,
                              CASE a.state WHEN 'abandoned' THEN 'here it was given up as not carried out'
                              ELSE 'it said result ' || a.result %% {ANSWERED_OFFSET} || ' before' END)
                       AS reason, 'open', '', ''
                FROM (
                    SELECT a.*, (g.given -> a.id::text ->> 0)::smallint AS heard
                    FROM payments_attempt a, (SELECT %s::jsonb AS given) g
                    WHERE a.id = ANY(%s::uuid[]) AND a.biller_id = %s
                ) a
                JOIN payments_payment p ON p.id = a.payment_id
                WHERE (a.state IN ('answered', 'applied') AND a.result %% {ANSWERED_OFFSET} <> a.heard)
                   OR (a.state = 'abandoned' AND a.heard = 0)
                ) d
                -- The same again, as a response file says it whenever it is read: somebody decided that, or is to.
                WHERE NOT EXISTS (
                    SELECT FROM payments_case k
                    WHERE k.attempt_id = d.attempt_id AND k.kind = d.kind AND k.reason = d.reason
                )
                ON CONFLICT DO NOTHING
                """,
                [CaseKind.CONFLICTING_ANSWER, given, ids, biller.pk],
            )
