"""Recovery: attempts whose outcome nobody was told are looked up and settled; nothing is blindly sent again.

In this order: answered attempts that took no effect yet take it; open ones are looked up by our own reference; one that
the processor does not know is sent again under the same key, but only after the route's settle time, only where the
processor de-duplicates and only within its window; everything else is a case for a person. Response files settle whatever
they name, and prove absence for the time they cover.

Source: PAY-3, PAY-9, PAY-10; the design's five rules, 4 and 5.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from billing import audit, formats
from billing.actors import Actor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import Biller, Chunk, ChunkState
from payments.gateways.base import (
    Answer,
    ChargeRequest,
    Command,
    Gateway,
    GatewayError,
    ResponseFile,
    Result,
)
from payments.models import Attempt, AttemptState, CaseKind, Route
from payments.operations import refunds, settlements, verifications
from payments.operations.cases import abandon, open_case
from payments.operations.routes import described, open_route
from payments.operations.runs import LEASE
from payments.operations.settlements import Settled

# Younger attempts are left to whoever is waiting for their answer.
LEAST_AGE = datetime.timedelta(seconds=30)
# Between two look-ups of the same attempt; doubled each time, up to an hour.
FIRST_PAUSE = datetime.timedelta(seconds=30)
_LONGEST_PAUSE = datetime.timedelta(hours=1)
# An attempt with a case is still looked up, so many first pauses apart: a late request may yet arrive and settle it.
_CASE_PAUSES = 120
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery found: payments settled, attempts sent again, cases opened, attempts still open."""

    settled: Settled = field(default_factory=Settled)
    resent: int = 0
    abandoned: int = 0
    cases: int = 0
    waiting: int = 0


def recover(
    *,
    biller: Biller,
    actor: Actor,
    least_age: datetime.timedelta = LEAST_AGE,
    pause: datetime.timedelta = FIRST_PAUSE,
) -> Recovered:
    """Resolve what can be resolved of one biller's attempts; may run any number of times, by any number of workers."""
    settled = finish_answered(biller=biller, actor=actor)
    resent = cases = 0
    for route in Route.objects.filter(biller=biller).order_by("pk"):
        while attempts := _claim(route, least_age, pause):
            try:
                gateway = open_route(route)
                answers, absent = look_up(gateway, attempts)
            except GatewayError:
                break  # the pause of each claimed attempt has begun; the next recovery asks again
            failpoint("recover.looked_up")
            settled += settlements.settle(biller=biller, answers=answers, actor=actor, now=timezone.now())
            again, unknown = _sort(gateway, absent)
            if not _may_send(biller):
                again = []
            settled += _resend(biller, gateway, again, actor)
            resent += len(again)
            cases += _open_cases(unknown)
            if len(attempts) < BATCH:
                break
    verifications.abandon_old(biller=biller, now=timezone.now())
    waiting = Attempt.objects.unfinished().filter(biller=biller, state=AttemptState.OPEN).count()
    return Recovered(settled=settled, resent=resent, cases=cases, waiting=waiting)


def finish_answered(*, biller: Biller, actor: Actor) -> Settled:
    """Let every recorded answer of the biller take effect that has not done so yet (PAY-10's "recover payment")."""
    settled = Settled()
    while True:
        ids = list(
            Attempt.objects.unfinished()
            .filter(biller=biller, state=AttemptState.ANSWERED)
            .order_by("answered_at", "pk")
            .values_list("pk", flat=True)[:BATCH]
        )
        if not ids:
            return settled
        done = settlements.take_effect(biller=biller, attempt_ids=ids, actor=actor, now=timezone.now())
        if done == Settled():
            return settled  # another worker holds them and has finished them meanwhile
        settled += done


def read_response_files(*, biller: Biller, actor: Actor) -> Recovered:
    """Settle whatever the processors' response files name, and abandon what they prove absent (PAY-10, ``--rfr``).

    A file proves absence for an attempt last sent, with the settle time, within what it covers. Any number of times.

    :raises GatewayError: a processor did not give its files; those read before, and the others', stay settled.
    """
    settled, abandoned, silent = Settled(), 0, None
    for route in Route.objects.filter(biller=biller).order_by("pk"):
        try:
            gateway = open_route(route)
            for file in gateway.response_files():
                settled += settlements.settle(
                    biller=biller,
                    answers=list(file.answers),
                    actor=actor,
                    now=timezone.now(),
                )
                abandoned += abandon_absent(
                    biller=biller,
                    route=route,
                    file=file,
                    settle_time=gateway.settle_time,
                    actor=actor,
                    now=timezone.now(),
                )
        except GatewayError as error:
            silent = error
    if silent is not None:
        raise silent
    waiting = Attempt.objects.unfinished().filter(biller=biller, state=AttemptState.OPEN).count()
    return Recovered(settled=settled, abandoned=abandoned, waiting=waiting)


def abandon_absent(
    *,
    biller: Biller,
    route: Route,
    file: ResponseFile,
    settle_time: datetime.timedelta,
    actor: Actor,
    now: datetime.datetime,
) -> int:
    """Give up the open attempts of a route that a response file covers and does not name; gives how many.

    Those last sent within the settle time before the end of its span may be in a later file, and what a worker is at may not
    have been sent yet.
    """
    named = {answer.key for answer in file.answers} | set(file.unresolved)
    covered = (
        Attempt.objects.unfinished()
        .select_related("payment")
        .filter(
            biller=biller,
            route=route,
            state=AttemptState.OPEN,
            created_at__gte=file.covers_from,
            sent_at__lte=file.covers_until - settle_time,
        )
        .exclude(
            payment__chunk_id__in=Chunk.objects.filter(
                biller=biller, state=ChunkState.WORKING, claimed_at__gt=now - LEASE
            ).values("pk")
        )
    )
    return sum(
        abandon(attempt=attempt, why=f"Not in response file {file.name}, which covers it.", actor=actor, now=now)
        for attempt in covered
        if str(attempt.pk) not in named
    )


class ResubmissionRefused(DomainError):
    """The batch cannot be sent again; the sentence says why. Nothing was sent."""


class NothingUnresolved(ResubmissionRefused):
    """Everything of the batch has its result."""

    default = "Nothing of this batch is unresolved."


@dataclass(frozen=True, slots=True)
class Batch:
    """What is unresolved of a run's part, and may all be sent again: ``parts`` by the gateway that it goes to."""

    run_id: int
    number: int
    parts: Sequence[tuple[Gateway, Sequence[Attempt]]]

    def __str__(self) -> str:
        return f"{self.run_id}/{self.number}"

    @property
    def attempts(self) -> list[Attempt]:
        """All of them."""
        return [attempt for _gateway, some in self.parts for attempt in some]


def find_batch(*, biller: Biller, run_id: int, number: int, now: datetime.datetime) -> Batch:
    """Give what is unresolved of a run's part, where all of it may be sent again; nobody is asked.

    ``number`` is the part's, as the run's page and ``manage.py clean --list`` name it; a deposit goes in the part of its
    deposit run.

    :raises ResubmissionRefused: there is no such batch, nothing of it is unresolved, a worker is at it, charging is stopped,
        or the processor would not recognise a repeat of each of its messages.
    :raises payments.gateways.base.Misconfigured: a route is set up wrongly.
    """
    chunk = Chunk.objects.filter(biller=biller, run_id=run_id, number=number).first()
    if chunk is None:
        raise ResubmissionRefused(f"There is no batch {run_id}/{number}.")
    if chunk.state == ChunkState.WORKING and chunk.claimed_at is not None and chunk.claimed_at > now - LEASE:
        raise ResubmissionRefused("A worker is at this batch. Wait until its run has ended.")
    if not _may_send(biller):
        raise ResubmissionRefused("Charging is stopped for this biller, so nothing is sent again.")
    attempts = list(
        Attempt.objects.unfinished()
        .filter(biller=biller, state=AttemptState.OPEN, payment__run_id=run_id, payment__chunk_id=chunk.pk)
        .select_related("payment__instrument", "payment__customer", "route")
        .order_by("created_at", "pk")
    )
    if not attempts:
        raise NothingUnresolved
    by_route: dict[int, list[Attempt]] = {}
    for attempt in attempts:
        by_route.setdefault(attempt.route_id, []).append(attempt)
    # All of it or nothing, so that whoever asked knows what was sent.
    parts = [(open_route(some[0].route), some) for some in by_route.values()]
    for gateway, some in parts:
        _refuse_unrecognised(biller, gateway, some, now)
    return Batch(run_id, number, parts)


def resubmit(*, biller: Biller, run_id: int, number: int, actor: Actor, now: datetime.datetime) -> Recovered:
    """Send what :func:`find_batch` gives again, and settle what is answered (PAY-10).

    :raises ResubmissionRefused: as there.
    :raises payments.gateways.base.Misconfigured: as there.
    """
    batch = find_batch(biller=biller, run_id=run_id, number=number, now=now)
    return send_batch(biller=biller, batch=batch, actor=actor)


def send_batch(*, biller: Biller, batch: Batch, actor: Actor) -> Recovered:
    """Send a batch again, each message under its own id, and settle what is answered.

    Messages whose outcome stays unknown are left for look-ups.
    """
    attempts = batch.attempts
    # Before anything is sent: who did it is known, whatever dies then.
    with transaction.atomic(durable=True):
        audit.record(
            actor=actor,
            event="run.resubmitted",
            biller_id=biller.pk,
            subject=f"run:{batch.run_id}",
            facts={"batch": str(batch), "count": len(attempts)},
        )
    settled = Settled()
    for gateway, some in batch.parts:
        settled += _resend(biller, gateway, some, actor)
    left = Attempt.objects.filter(pk__in=[one.pk for one in attempts], state=AttemptState.OPEN).count()
    return Recovered(settled=settled, resent=len(attempts), waiting=left)


def _refuse_unrecognised(biller: Biller, gateway: Gateway, attempts: Sequence[Attempt], now: datetime.datetime) -> None:
    route = attempts[0].route
    if gateway.dedupe_window is None:
        raise ResubmissionRefused(
            f"The processor of {route} does not recognise repeats: sent again, this batch could be charged twice."
            " Read the response files, and decide what is left as cases."
        )
    if any(not _recognised(gateway, attempt, now) for attempt in attempts):
        with timezone.override(biller.zone):
            until = formats.moment(attempts[0].created_at + gateway.dedupe_window)
        raise ResubmissionRefused(
            f"The processor of {route} recognised repeats of this batch until {until}: sent again, it could be charged"
            " twice. Read the response files, and decide what is left with what the processor says."
        )


def _recognised(gateway: Gateway, attempt: Attempt, now: datetime.datetime) -> bool:
    """Whether the processor recognises a repeat of an attempt, and still does when it gets there."""
    window = gateway.dedupe_window
    # The margin keeps a resend from arriving after the window although it left before its end.
    return window is not None and now - attempt.created_at < window - gateway.settle_time


def _may_send(biller: Biller) -> bool:
    """Whether anything may be sent again: the switch holds for repeats too, which may be the first that arrives.

    After a restore it is on until the book is reconciled. A bill that was paid meanwhile under another attempt would else
    be charged by the repeat of the one that our book remembers.
    """
    return Biller.objects.filter(pk=biller.pk, charging_stopped=False).exists()


def _claim(route: Route, least_age: datetime.timedelta, pause: datetime.timedelta) -> list[Attempt]:
    """Take a batch of open attempts that are due for a look-up, and begin their next pause."""
    now = timezone.now()
    given: list[Any] = [
        *(now, route.biller_id, route.pk, now - least_age, now, pause, _LONGEST_PAUSE),
        *(now, pause, _CASE_PAUSES, BATCH),
    ]
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE payments_attempt SET looked_up_at = %s, lookups = least(lookups + 1, 1000)
            WHERE id IN (
                SELECT a.id FROM payments_checkpoint k JOIN payments_attempt a ON a.id = k.attempt_id
                WHERE k.biller_id = %s AND a.route_id = %s AND a.state = 'open' AND a.sent_at < %s
                  AND (a.looked_up_at IS NULL
                       OR a.looked_up_at < %s - least(%s * power(2, least(a.lookups, 12) - 1), %s))
                  AND NOT EXISTS (SELECT 1 FROM payments_case c WHERE c.attempt_id = a.id AND c.state = 'open'
                                  AND c.kind = 'unknown' AND a.looked_up_at > %s - %s * %s)
                ORDER BY a.created_at LIMIT %s FOR UPDATE OF a SKIP LOCKED
            ) RETURNING id
            """,
            given,
        )
        claimed = [pk for (pk,) in cursor.fetchall()]
    return list(Attempt.objects.filter(pk__in=claimed).select_related("payment__instrument", "payment__customer"))


def look_up(gateway: Gateway, attempts: Sequence[Attempt]) -> tuple[list[Answer], list[Attempt]]:
    """Ask what became of attempts; gives the answers, and the attempts that the processor does not know.

    :raises GatewayError: it does not answer.
    """
    references = _references(attempts)
    about = {
        str(attempt.pk): references[attempt.payment_id] for attempt in attempts if attempt.payment_id in references
    }
    by_key = {str(attempt.pk): attempt for attempt in attempts}
    answers: list[Answer] = []
    absent: list[Attempt] = []
    for found in gateway.lookup(list(by_key), about=about):
        if isinstance(found, Answer):
            answers.append(found)
        else:
            absent.append(by_key[found.key])
    return answers, absent


def _sort(gateway: Gateway, absent: Sequence[Attempt]) -> tuple[list[Attempt], list[Attempt]]:
    """Part what may be sent again under its own key from what needs a person; what is too young for either waits."""
    now = timezone.now()
    again: list[Attempt] = []
    unknown: list[Attempt] = []
    for attempt in absent:
        if now - (attempt.sent_at or attempt.created_at) < gateway.settle_time:
            continue
        if _recognised(gateway, attempt, now):
            again.append(attempt)
        else:
            unknown.append(attempt)
    return again, unknown


def _resend(biller: Biller, gateway: Gateway, attempts: Sequence[Attempt], actor: Actor) -> Settled:
    settled = Settled()
    for begin in range(0, len(attempts), gateway.batch_limit):
        part = attempts[begin : begin + gateway.batch_limit]
        with transaction.atomic(durable=True):
            Attempt.objects.filter(pk__in=[attempt.pk for attempt in part], state=AttemptState.OPEN).update(
                sent_at=timezone.now()
            )
        failpoint("recover.resending")
        references = _references(part)
        messages = [_message(attempt, biller, references) for attempt in part]
        results = list(gateway.send(described(part[0].route, messages)))
        # "Not sent" now says nothing of the first sending: those stay open and are looked up again.
        answers = [result for result in results if isinstance(result, Answer)]
        settled += settlements.settle(biller=biller, answers=answers, actor=actor, now=timezone.now())
    return settled


def _references(attempts: Sequence[Attempt]) -> dict[uuid.UUID, str]:
    """Give, by payment, the processor's references of what deposits, releases and refunds are about."""
    refunded = {
        attempt.payment_id: refunds.reference_of(attempt.payment)
        for attempt in attempts
        if attempt.command == Command.REFUND
    }
    about_held = {Command.DEPOSIT, Command.RELEASE}
    deposited = [attempt.payment_id for attempt in attempts if attempt.command in about_held]
    held = Attempt.objects.filter(
        payment__in=deposited, command=Command.AUTHORIZE, state=AttemptState.APPLIED, result=Result.PASS
    )
    return dict(held.values_list("payment_id", "processor_reference")) | refunded


def _message(attempt: Attempt, biller: Biller, references: Mapping[uuid.UUID, str]) -> ChargeRequest:
    instrument = attempt.payment.instrument
    if instrument is None:
        raise RuntimeError("An attempt without an instrument cannot be sent again.")
    return ChargeRequest(
        key=str(attempt.pk),
        command=Command(attempt.command),
        amount=attempt.amount,
        currency=biller.currency,
        token=instrument.token,
        tender=instrument.kind,
        transaction_type=attempt.transaction_type,
        account=attempt.payment.customer.shown_number,
        reference=references.get(attempt.payment_id, ""),
        payment=str(attempt.payment_id),
        debit_method=instrument.debit_method,
        debit_facts=instrument.debit_facts,
    )


def _open_cases(attempts: Sequence[Attempt]) -> int:
    with transaction.atomic(durable=True):
        for attempt in attempts:
            open_case(
                attempt=attempt,
                kind=CaseKind.UNKNOWN_OUTCOME,
                reason="The processor does not know this charge, and would not recognise a repeat: it may still arrive.",
            )
    return len(attempts)
