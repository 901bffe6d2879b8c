"""Cases: what a person decides, because no rule may."""

from __future__ import annotations

import datetime
import uuid

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from billing import audit, formats
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller
from payments.gateways.base import Answer, Command, Misconfigured, Result
from payments.models import (
    Attempt,
    AttemptState,
    Authorization,
    Case,
    CaseKind,
    CaseState,
    Checkpoint,
    Payment,
    PaymentState,
    Reversal,
    Route,
)
from payments.operations import answers, reservations, reversals, scheduled_outcomes, settlements
from payments.operations.routes import open_route

_USUAL_WINDOW = datetime.timedelta(days=7)
# By route, how late a request may still arrive and how long a repeat is recognised; nothing where that cannot be told.
Spans = dict[int, tuple[datetime.timedelta | None, datetime.timedelta | None]]
# By these nobody is charged: what came of them may be left open, and asked for again under a new key.
TAKES_NO_MONEY = (Command.VERIFY, Command.AUTHORIZE, Command.RELEASE)
_ANSWERED = "The processor has answered meanwhile; look at the payment again."


class CaseRefused(DomainError):
    """The case cannot be closed like this; the sentence says why."""


def open_case(*, attempt: Attempt, kind: CaseKind, reason: str) -> None:
    """Open a case for an attempt unless one of the kind is open, inside the caller's transaction."""
    Case.objects.bulk_create(
        [
            Case(
                biller_id=attempt.biller_id,
                customer_id=attempt.payment.customer_id,
                attempt=attempt,
                kind=kind,
                reason=reason,
            )
        ],
        ignore_conflicts=True,
    )


def close_as_charged(
    *,
    case: Case,
    approval_code: str,
    evidence: str,
    actor: Actor,
    now: datetime.datetime,
) -> None:
    """Settle the attempt of a case as charged; see :func:`settle_as_charged`.

    :raises CaseRefused: the case is closed, or as there.
    """
    settle_as_charged(attempt=_undecided(case), approval_code=approval_code, evidence=evidence, actor=actor, now=now)


def close_as_not_charged(*, case: Case, evidence: str, actor: Actor, now: datetime.datetime) -> None:
    """Abandon the attempt of a case; see :func:`give_up`.

    :raises CaseRefused: the case is closed, or as there.
    """
    give_up(attempt=_undecided(case), evidence=evidence, actor=actor, now=now)


def settle_as_charged(
    *, attempt: Attempt, approval_code: str, evidence: str, actor: Actor, now: datetime.datetime
) -> None:
    """Settle an attempt of unknown outcome as charged, on a person's evidence, which a case keeps.

    Not a verification, an authorization or its release: it took no money, and without the processor's own answer it cannot be
    deposited.

    :raises CaseRefused: there is no evidence, the attempt has ended meanwhile, or it takes no money.
    """
    _check(attempt, evidence)
    if attempt.command in TAKES_NO_MONEY:
        raise CaseRefused(
            "An authorization takes no money, and cannot be deposited without the processor's answer. Let it go; what"
            " the bank holds is given back by itself.",
            field="outcome",
        )
    answer = Answer(
        str(attempt.pk),
        Result.PASS,
        approval_code=approval_code,
        message=f"{actor.label}: {evidence}"[:200],
    )
    biller = Biller.objects.get(pk=attempt.biller_id)
    settlements.settle(biller=biller, answers=[answer], actor=actor, now=now)
    _decided(attempt, f"Charged. {evidence}", actor, now)


def give_up(
    *, attempt: Attempt, evidence: str, actor: Actor, now: datetime.datetime, spans: Spans | None = None
) -> None:
    """Abandon an attempt of unknown outcome, on a person's evidence that no money moved; its payment fails.

    A payment whose deposit or release is given up is authorized again, for the next run. A case keeps person and evidence.

    Not within the processor's duplicate window, where a late request could still be taken and recovery resolves it
    without anybody's help, nor before a late request must have come (PAY-9). What takes no money needs no more than a reason.

    :raises CaseRefused: there is no evidence, the attempt has ended meanwhile, or its window is still open.
    """
    _check(attempt, evidence)
    if (refusal := too_early(attempt, now, spans)) is not None:
        raise CaseRefused(refusal, field="outcome")
    if not abandon(attempt=attempt, why=f"{actor.label}: {evidence}", actor=actor, now=now):
        raise CaseRefused(_ANSWERED)
    _decided(attempt, f"Not charged. {evidence}", actor, now)


def too_early(attempt: Attempt, now: datetime.datetime, spans: Spans | None = None) -> str | None:
    """Say why an attempt may not be given up yet; ``None`` where it may.

    ``spans`` keeps what routes say of their times, for whoever asks about many attempts.
    """
    until = not_before(attempt, spans)
    if until is None or now >= until:
        return None
    with timezone.override(attempt.biller.zone):
        moment = formats.moment(until)
    if attempt.command in TAKES_NO_MONEY or repeats_recognised_until(attempt, spans) is None:
        return f"The processor may still be asked, or act on the message, until {moment}. Decide after that."
    return (
        f"The processor recognises a repeat of this charge until {moment}. Until then it is looked up and sent again"
        " by itself, and may still be taken. Decide after that."
    )


def not_before(attempt: Attempt, spans: Spans | None = None) -> datetime.datetime | None:
    """Give from when an attempt may be given up: the end of the duplicate window, or of the time a late request may take.

    ``None`` where that cannot be told because its route cannot be opened and no money moves by it.
    """
    until = repeats_recognised_until(attempt, spans)
    settle_time, _window = _spans_of(attempt.route, spans)
    if settle_time is None:
        return until
    late = (attempt.sent_at or attempt.created_at) + settle_time
    return late if until is None else max(until, late)


def repeats_recognised_until(attempt: Attempt, spans: Spans | None = None) -> datetime.datetime | None:
    """Give when the processor stops recognising a repeat of an attempt; ``None`` where it never does.

    Nor does it matter of a verification, an authorization or its release, by which nobody is charged. Of a route that cannot
    be opened the usual time is taken.
    """
    if attempt.command in TAKES_NO_MONEY:
        return None
    _settle_time, window = _spans_of(attempt.route, spans)
    return None if window is None else attempt.created_at + window


def _spans_of(route: Route, spans: Spans | None) -> tuple[datetime.timedelta | None, datetime.timedelta | None]:
    if spans is not None and route.pk in spans:
        return spans[route.pk]
    try:
        gateway = open_route(route)
        found: tuple[datetime.timedelta | None, datetime.timedelta | None] = gateway.settle_time, gateway.dedupe_window
    except Misconfigured:
        found = (None, _USUAL_WINDOW)
    if spans is not None:
        spans[route.pk] = found
    return found


def close_conflict(*, case: Case, outcome: str, actor: Actor, now: datetime.datetime) -> None:
    """Close a case of contradicting answers with what was found out; it changes no payment.

    :raises CaseRefused: nothing was found out, or the case is of another kind.
    """
    if case.kind != CaseKind.CONFLICTING_ANSWER:
        raise CaseRefused("Say whether the payment was charged.")
    if not outcome.strip():
        raise CaseRefused("Say what you found out.", field="evidence")
    with transaction.atomic(durable=True):
        write_outcome(case, outcome, actor, now)


@transaction.atomic(durable=True)
def abandon(*, attempt: Attempt, why: str, actor: Actor, now: datetime.datetime) -> bool:
    """End an open attempt without an answer, on evidence, and fail its payment; gives False where it had ended already.

    Of a deposit or a release the money is still held: its payment waits for the next one.

    Nothing is deleted: the attempt keeps its 999 and says why it ended.
    """
    ended = Attempt.objects.filter(pk=attempt.pk, state=AttemptState.OPEN).update(
        state=AttemptState.ABANDONED, message=why[:200], answered_at=now
    )
    if not ended:
        return False
    payments = _payments_of(attempt)
    Checkpoint.objects.filter(payment_id__in=payments).delete()
    if attempt.command == Command.REFUND:
        reversal = Reversal.objects.get(attempt=attempt)
        failure = str(answers.words_for(Result.NO_ANSWER))
        reversals.fail(reversal=reversal, result=Result.NO_ANSWER, failure=failure, actor=actor, now=now)
        _close_unknown(attempt, why, now)
        return True
    held = attempt.command in {Command.DEPOSIT, Command.RELEASE}
    Payment.objects.filter(pk__in=payments, state=PaymentState.PROCESSING).update(
        state=PaymentState.AUTHORIZED if held else PaymentState.FAILED,
        settled_at=None if held else now,
        result=Result.NO_ANSWER,
        failure=answers.words_for(Result.NO_ANSWER),
    )
    if not held:
        Authorization.objects.filter(payment_id=attempt.payment_id).update(ended_at=now)
        reservations.release(payments)
        scheduled_outcomes.not_paid(
            [str(pk) for pk in payments], not_reached=settlements.NOT_REACHED, actor=actor, now=now
        )
    settlements.count_in_chunks(unreached=list(Payment.objects.filter(pk__in=payments).only("chunk_id", "amount")))
    _close_unknown(attempt, why, now)
    audit.record(
        actor=actor,
        event=f"payment.{attempt.command}_given_up" if held else "payment.failed",
        biller_id=attempt.biller_id,
        customer_id=attempt.payment.customer_id,
        subject=str(attempt.payment_id),
        facts={"amount": str(attempt.amount), "reason": why[:200]},
    )
    return True


def _close_unknown(attempt: Attempt, why: str, now: datetime.datetime) -> None:
    Case.objects.filter(attempt=attempt, kind=CaseKind.UNKNOWN_OUTCOME, state=CaseState.OPEN).update(
        state=CaseState.DONE, closed_at=now, closed_by="", outcome=why[:200]
    )


def _payments_of(attempt: Attempt) -> list[uuid.UUID]:
    if attempt.covers == 1:
        return [attempt.payment_id]
    return list(Payment.objects.filter(group_id=attempt.payment_id).order_by("pk").values_list("pk", flat=True))


def _undecided(case: Case) -> Attempt:
    if case.state != CaseState.OPEN or case.kind != CaseKind.UNKNOWN_OUTCOME:
        raise CaseRefused("This case is closed already.")
    if case.attempt is None:
        raise CaseRefused("This case is about no attempt of ours.")
    return case.attempt


def _check(attempt: Attempt, evidence: str) -> None:
    if not evidence.strip():
        raise CaseRefused(
            "Say how you know: the processor's report, its web page, a call.",
            field="evidence",
        )
    if not Attempt.objects.filter(pk=attempt.pk, state=AttemptState.OPEN).exists():
        raise CaseRefused(_ANSWERED)


@transaction.atomic(durable=True)
def _decided(attempt: Attempt, outcome: str, actor: Actor, now: datetime.datetime) -> None:
    """Keep who decided an attempt and on what evidence, in its case, or in one made for this."""
    mine = Case.objects.filter(attempt=attempt, kind=CaseKind.UNKNOWN_OUTCOME).order_by("-opened_at")
    # Giving up closed it a moment ago, in the name of nobody.
    found = mine.filter(Q(state=CaseState.OPEN) | Q(closed_at=now, closed_by="")).first()
    if found is None:
        found = Case.objects.create(
            biller_id=attempt.biller_id,
            customer_id=attempt.payment.customer_id,
            attempt=attempt,
            kind=CaseKind.UNKNOWN_OUTCOME,
            reason="Somebody resolved it before recovery had.",
        )
    write_outcome(found, outcome, actor, now)


def write_outcome(case: Case, outcome: str, actor: Actor, now: datetime.datetime) -> None:
    """Close a case with what came of it, inside the caller's transaction."""
    Case.objects.filter(pk=case.pk).update(
        state=CaseState.DONE,
        closed_at=now,
        closed_by=actor.label[:120],
        outcome=outcome[:200],
    )
    audit.record(
        actor=actor,
        event="case.closed",
        biller_id=case.biller_id,
        customer_id=case.customer_id,
        subject=f"case:{case.pk}",
        facts={"outcome": outcome[:200]},
    )
