"""Cases: what a person decides, because no rule may."""

from __future__ import annotations

import datetime
import uuid

from django.db import transaction
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
)
from payments.operations import answers, reservations, settlements
from payments.operations.routes import open_route

_USUAL_WINDOW = datetime.timedelta(days=7)


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
    """Settle an attempt of unknown outcome as charged, on a person's evidence.

    Not an authorization: it took no money, and without the processor's own answer it cannot be deposited.

    :raises CaseRefused: there is no evidence, the attempt has ended meanwhile, or it is an authorization.
    """
    _check(case, evidence)
    if case.attempt.command == Command.AUTHORIZE:
        raise CaseRefused(
            "An authorization takes no money, and cannot be deposited without the processor's answer. Let it go; what"
            " the bank holds is given back by itself.",
            field="outcome",
        )
    answer = Answer(
        str(case.attempt_id),
        Result.PASS,
        approval_code=approval_code,
        message=f"{actor.label}: {evidence}"[:200],
    )
    settlements.settle(biller=case_biller(case), answers=[answer], actor=actor, now=now)
    _close(case, f"Charged. {evidence}", actor, now)


def close_as_not_charged(*, case: Case, evidence: str, actor: Actor, now: datetime.datetime) -> None:
    """Abandon an attempt of unknown outcome, on a person's evidence that no money moved; its payment fails.

    A payment whose deposit is given up is authorized again, for the next deposit run.

    Not within the processor's duplicate window, where a late request could still be taken and recovery resolves it
    without anybody's help (PAY-9).

    :raises CaseRefused: there is no evidence, the attempt has ended meanwhile, or its window is still open.
    """
    _check(case, evidence)
    until = repeats_recognised_until(case.attempt)
    if until is not None and now < until:
        with timezone.override(case_biller(case).zone):
            moment = formats.moment(until)
        raise CaseRefused(
            f"The processor recognises a repeat of this charge until {moment}. Until then it is looked up and sent again"
            " by itself, and may still be taken. Decide after that.",
            field="outcome",
        )
    abandon(attempt=case.attempt, why=f"{actor.label}: {evidence}", now=now)
    _close(case, f"Not charged. {evidence}", actor, now)


def repeats_recognised_until(attempt: Attempt) -> datetime.datetime | None:
    """Give when the processor stops recognising a repeat of an attempt; ``None`` where it never does.

    Nor does it matter of an authorization, by which nobody is charged. Of a route that cannot be opened the usual time is taken.
    """
    if attempt.command == Command.AUTHORIZE:
        return None
    try:
        window = open_route(attempt.route).dedupe_window
    except Misconfigured:
        window = _USUAL_WINDOW
    return None if window is None else attempt.created_at + window


def close_conflict(*, case: Case, outcome: str, actor: Actor, now: datetime.datetime) -> None:
    """Close a case of contradicting answers with what was found out; it changes no payment.

    :raises CaseRefused: nothing was found out, or the case is of another kind.
    """
    if case.kind != CaseKind.CONFLICTING_ANSWER:
        raise CaseRefused("Say whether the payment was charged.")
    if not outcome.strip():
        raise CaseRefused("Say what you found out.", field="evidence")
    _close(case, outcome, actor, now)


@transaction.atomic(durable=True)
def abandon(*, attempt: Attempt, why: str, now: datetime.datetime) -> bool:
    """End an open attempt without an answer, on evidence, and fail its payment; gives False where it had ended already.

    Of a deposit the money is still held: its payment waits for the next one.

    Nothing is deleted: the attempt keeps its 999 and says why it ended.
    """
    ended = Attempt.objects.filter(pk=attempt.pk, state=AttemptState.OPEN).update(
        state=AttemptState.ABANDONED, message=why[:200], answered_at=now
    )
    if not ended:
        return False
    payments = _payments_of(attempt)
    Checkpoint.objects.filter(payment_id__in=payments).delete()
    held = attempt.command == Command.DEPOSIT
    Payment.objects.filter(pk__in=payments, state=PaymentState.PROCESSING).update(
        state=PaymentState.AUTHORIZED if held else PaymentState.FAILED,
        settled_at=None if held else now,
        result=Result.NO_ANSWER,
        failure=answers.words_for(Result.NO_ANSWER),
    )
    if not held:
        Authorization.objects.filter(payment_id=attempt.payment_id).update(ended_at=now)
        reservations.release(payments)
    Case.objects.filter(attempt=attempt, kind=CaseKind.UNKNOWN_OUTCOME, state=CaseState.OPEN).update(
        state=CaseState.DONE, closed_at=now, closed_by="", outcome=why[:200]
    )
    audit.record(
        actor=Actor.system("recover"),
        event="payment.deposit_given_up" if held else "payment.failed",
        biller_id=attempt.biller_id,
        customer_id=attempt.payment.customer_id,
        subject=str(attempt.payment_id),
        facts={"amount": str(attempt.amount), "reason": why[:200]},
    )
    return True


def _payments_of(attempt: Attempt) -> list[uuid.UUID]:
    if attempt.covers == 1:
        return [attempt.payment_id]
    return list(Payment.objects.filter(group_id=attempt.payment_id).order_by("pk").values_list("pk", flat=True))


def case_biller(case: Case) -> Biller:
    """Give the biller of a case."""
    return Biller.objects.get(pk=case.biller_id)


def _check(case: Case, evidence: str) -> None:
    if not evidence.strip():
        raise CaseRefused(
            "Say how you know: the processor's report, its web page, a call.",
            field="evidence",
        )
    if case.state != CaseState.OPEN or case.kind != CaseKind.UNKNOWN_OUTCOME:
        raise CaseRefused("This case is closed already.")
    if Attempt.objects.filter(pk=case.attempt_id).exclude(state=AttemptState.OPEN).exists():
        raise CaseRefused("The processor has answered meanwhile; look at the payment again.")


def _close(case: Case, outcome: str, actor: Actor, now: datetime.datetime) -> None:
    with transaction.atomic(durable=True):
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
