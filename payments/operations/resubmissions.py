"""Sending a batch again in the background: whoever asks for it is answered at once, and a worker speaks to the processor.

What was asked for is a run of its own: beat brings it forward, it survives its workers as ``runs`` says, and what came of it
stays. Its payments stay in the run that they were made by, and are counted there.

Source: PAY-10
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.models import Biller, Chunk, Run, RunKind, RunState
from billing.models.tenants import TenantQuerySet
from payments.gateways.base import Command, GatewayError, Result
from payments.models import Attempt, AttemptState
from payments.operations import recoveries, runs, settlements
from payments.operations.recoveries import Batch, NothingUnresolved, ResubmissionRefused

_LIVE = (RunState.PLANNED, RunState.WORKING)
# Among so many of the latest runs it is looked for what became of batches.
_LATEST = 100


@dataclass(frozen=True, slots=True)
class Options:
    """Which batch is sent again: the run and the number of its part, such as ``17/2``."""

    batch: str
    # Tells a run apart from an earlier one for the same batch, which has ended.
    repeat: str = ""


def ask(*, biller: Biller, run_id: int, number: int, actor: Actor, now: datetime.datetime) -> Run:
    """Ask for a batch to be sent again, and give the run that does it; where one was asked for and has not ended, that one.

    :raises ResubmissionRefused: as :func:`payments.operations.recoveries.find_batch` does.
    :raises payments.gateways.base.Misconfigured: a route is set up wrongly.
    """
    batch = recoveries.find_batch(biller=biller, run_id=run_id, number=number, now=now)
    before = _of(biller).filter(params__batch=str(batch))
    if (under_way := before.filter(state__in=_LIVE).first()) is not None:
        return under_way
    return runs.plan(
        biller=biller,
        kind=RunKind.RECOVER,
        options=Options(str(batch), repeat=str(before.count())),
        actor=actor,
        now=now,
        dry_run=False,
        cut=lambda run: _cut(run, batch, actor),
    )


def _cut(run: Run, batch: Batch, actor: Actor) -> None:
    attempts = batch.attempts
    customers = [attempt.payment.customer_id for attempt in attempts]
    Chunk.objects.create(
        biller_id=run.biller_id,
        run=run,
        number=1,
        first=min(customers),
        last=max(customers),
        expected=len(attempts),
        expected_total=_sum(attempts),
    )
    audit.record(
        actor=actor,
        event="run.resubmission_asked",
        biller_id=run.biller_id,
        subject=f"run:{batch.run_id}",
        facts={"batch": str(batch), "count": len(attempts)},
    )


def batch_of(run: Run) -> tuple[int, int]:
    """Give the run and the number of the part that a run sends again."""
    run_id, _, number = run.params["batch"].partition("/")
    return int(run_id), int(number)


def work(*, run: Run, actor: Actor, now: datetime.datetime | None = None) -> Iterator[Chunk]:
    """Send the batch of a run again, unless another worker is at it; gives its one chunk when that is done."""
    return runs.work(run=run, actor=actor, take=lambda chunk: _send(run, chunk, actor, now))


def _send(run: Run, chunk: Chunk, actor: Actor, now: datetime.datetime | None) -> bool:
    """Send what is unresolved now; gives False where the run says why that was not all."""
    run_id, number = batch_of(run)
    why = ""
    try:
        batch = recoveries.find_batch(biller=run.biller, run_id=run_id, number=number, now=now or timezone.now())
        sent = recoveries.send_batch(biller=run.biller, batch=batch, actor=actor)
        _count(chunk, batch)
        if sent.waiting:
            why = f"{sent.waiting:,} of {sent.resent:,} have no answer yet. They are looked up until they have one."
    except NothingUnresolved:
        pass  # what was asked for has its results by now
    except (ResubmissionRefused, GatewayError) as refused:
        why = str(refused)
    if why:
        runs.fail(run, why)
    runs.close(chunk)
    return not why


def _count(chunk: Chunk, batch: Batch) -> None:
    """Keep what came of the messages by now."""
    given = list(Attempt.objects.filter(pk__in=[attempt.pk for attempt in batch.attempts]))
    counts: dict[str, Any] = {"sent_count": len(given), "sent_total": _sum(given)}
    outcomes: dict[str, list[Attempt]] = {"passed": [], "declined": [], "unreached": []}
    for attempt in given:
        if (outcome := _outcome(attempt)) is not None:
            outcomes[outcome].append(attempt)
    for outcome, some in outcomes.items():
        counts |= {f"{outcome}_count": len(some), f"{outcome}_total": _sum(some)}
    Chunk.objects.filter(pk=chunk.pk).update(**counts)


def _outcome(attempt: Attempt) -> str | None:
    """Say what came of an attempt, in the words of a chunk's counts; nothing where that is not known yet."""
    if attempt.state != AttemptState.APPLIED:
        return "unreached" if attempt.state == AttemptState.ABANDONED else None
    if attempt.result in settlements.NOT_REACHED:
        return "unreached"
    # What a processor would not release is given up all the same.
    return "passed" if attempt.result == Result.PASS or attempt.command == Command.RELEASE else "declined"


def _sum(attempts: Sequence[Attempt]) -> Decimal:
    return sum((attempt.amount for attempt in attempts), Decimal("0.00"))


def unfinished(*, biller: Biller) -> list[Run]:
    """Give the runs that send batches again and have not ended, and the last of each batch that ended with something left."""
    latest: dict[str, Run] = {}
    for run in _of(biller).order_by("-created_at", "-pk")[:_LATEST]:
        latest.setdefault(run.params["batch"], run)
    ended = [batch_of(run) for run in latest.values() if run.state == RunState.FAILED]
    parts = Chunk.objects.filter(biller=biller, run_id__in=[run_id for run_id, _number in ended])
    named = {pk: (run_id, number) for pk, run_id, number in parts.values_list("pk", "run_id", "number")}
    left = Attempt.objects.unfinished().filter(biller=biller, payment__chunk_id__in=list(named))
    unresolved = {named[pk] for pk in left.values_list("payment__chunk_id", flat=True).distinct() if pk is not None}
    return [
        run
        for run in latest.values()
        if run.state in _LIVE or (run.state == RunState.FAILED and batch_of(run) in unresolved)
    ]


def _of(biller: Biller) -> TenantQuerySet[Run]:
    return Run.objects.filter(biller=biller, kind=RunKind.RECOVER)
