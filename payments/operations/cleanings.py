"""Cleaning: what stays unresolved after recovery is resolved by a person, each kind of attempt by its own rule.

Nothing is ever deleted, as the old way was: an attempt that is given up keeps its 999, says why it ended, and a case keeps
who decided it and on what evidence. What takes no money (verifications, authorizations) is given up for a reason alone, as
soon as no late request can come; charges, deposits and refunds only on evidence, and never within the processor's duplicate
window, where a late request might still be taken.

Source: PAY-3, PAY-9; the design's five rules, 4.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from billing.actors import Actor
from billing.models import Biller, Chunk
from payments.gateways.base import Command
from payments.models import Attempt, AttemptState
from payments.operations import cases
from payments.operations.cases import CaseRefused
from payments.reports.unresolved_attempts import unresolved_attempts

# What a person does about each kind, in the order in which it is to be tried.
WHAT_TO_DO: dict[str, str] = {
    Command.VERIFY: "Nobody is charged by it. Give it up; nothing has to be repeated.",
    Command.AUTHORIZE: (
        "No money is taken by it, so nobody can be charged twice. Give it up. Account, amount and method stay with the"
        " payment: take it again if the payer still wants it."
    ),
    Command.CHARGE: (
        "Read the response files, twice (manage.py recover --rfr; by itself every hour). What went in a batch: send it"
        " again while the processor recognises repeats. What is left after that time: ask the processor, and decide with"
        " what it says."
    ),
    Command.DEPOSIT: (
        "Read the response files, twice (manage.py recover --rfr; by itself every hour). What went in a batch: send it"
        " again while the processor recognises repeats. What is left after that time: ask the processor, and decide. Given"
        " up, the money is still held, and the next run deposits it."
    ),
    Command.RELEASE: (
        "No money is taken by it. Give it up: the money is still held, and the next run releases it again."
    ),
    Command.REFUND: (
        "Read the response files (manage.py recover --rfr; by itself every hour). What is left after the processor’s"
        " duplicate time: ask the processor, and decide. Given up, the refund may be made again."
    ),
}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What came of cleaning many attempts: those given up, and those that may not be yet, each with the reason."""

    given_up: Sequence[Attempt] = field(default_factory=tuple)
    refused: Sequence[tuple[Attempt, str]] = field(default_factory=tuple)


def unresolved(
    *, biller: Biller, now: datetime.datetime, command: str = "", batch: str = "", limit: int | None = None
) -> list[Attempt]:
    """List what has had no result for five minutes or more, the oldest first: of one kind, or of one batch, where told.

    ``batch`` is written as the run and the number of its part, such as ``17/2``.

    :raises CaseRefused: there is no such batch.
    """
    rows = unresolved_attempts(biller=biller, now=now)
    if command:
        rows = rows.filter(command=command)
    if batch:
        run_id, number = read_batch(batch)
        rows = rows.filter(payment__run_id=run_id, payment__chunk_id__in=_chunks(biller, run_id, number))
    rows = rows.select_related("payment__customer", "payment__instrument", "route", "biller").order_by(
        "created_at", "pk"
    )
    return list(rows[:limit] if limit is not None else rows)


def read_batch(text: str) -> tuple[int, int]:
    """Read a batch's name: the run and the number of its part.

    :raises CaseRefused: it is none.
    """
    run, _, number = text.partition("/")
    if not (run.isascii() and run.isdigit() and number.isascii() and number.isdigit()) or len(text) > 24:
        raise CaseRefused("Name a batch by its run and part, such as 17/2.", field="batch")
    return int(run), int(number)


def _chunks(biller: Biller, run_id: int, number: int) -> list[int]:
    return list(Chunk.objects.filter(biller=biller, run_id=run_id, number=number).values_list("pk", flat=True))


def resolve(
    *,
    attempt: Attempt,
    charged: bool,
    evidence: str,
    actor: Actor,
    now: datetime.datetime,
    approval_code: str = "",
) -> None:
    """Resolve one attempt on a person's word: charged and now recorded, or given up.

    :raises CaseRefused: there is no evidence, it has ended meanwhile, takes no money, or may not be given up yet.
    """
    if charged:
        cases.settle_as_charged(attempt=attempt, approval_code=approval_code, evidence=evidence, actor=actor, now=now)
    else:
        cases.give_up(attempt=attempt, evidence=evidence, actor=actor, now=now)


def give_up_all(
    *,
    biller: Biller,
    command: str,
    evidence: str,
    actor: Actor,
    now: datetime.datetime,
    batch: str = "",
    limit: int | None = None,
) -> Cleaned:
    """Give up every unresolved attempt of one kind that may be, each as :func:`payments.operations.cases.give_up` does.

    :raises CaseRefused: there is no reason, no such kind, or a batch that is none.
    """
    if command not in WHAT_TO_DO:
        raise CaseRefused("Choose which kind of attempt.", field="command")
    if not evidence.strip():
        raise CaseRefused("Say why, and how you know.", field="evidence")
    given_up: list[Attempt] = []
    refused: list[tuple[Attempt, str]] = []
    spans: cases.Spans = {}
    for attempt in unresolved(biller=biller, now=now, command=command, batch=batch, limit=limit):
        if attempt.state != AttemptState.OPEN:
            refused.append((attempt, "It was answered: recover lets the answer take effect."))
            continue
        try:
            cases.give_up(attempt=attempt, evidence=evidence, actor=actor, now=now, spans=spans)
        except CaseRefused as why:
            refused.append((attempt, str(why)))
        else:
            given_up.append(attempt)
    return Cleaned(tuple(given_up), tuple(refused))


def batch_of(attempt: Attempt, numbers: dict[int, int]) -> str:
    """Name the batch that an attempt went in, such as ``17/2``; empty where it went alone.

    ``numbers`` are the numbers of parts, by id, as :func:`numbers_of` gives them.
    """
    number = numbers.get(attempt.payment.chunk_id or 0)
    return "" if number is None else f"{attempt.payment.run_id}/{number}"


def numbers_of(attempts: Sequence[Attempt]) -> dict[int, int]:
    """Give the numbers of the parts that attempts went in, by id."""
    ids = {one.payment.chunk_id for one in attempts if one.payment.chunk_id is not None}
    return dict(Chunk.objects.filter(pk__in=ids).values_list("pk", "number"))


def find(*, biller: Biller, attempt_id: uuid.UUID) -> Attempt | None:
    """Find an attempt of the biller by its id, which is our reference at the processor."""
    rows = Attempt.objects.filter(biller=biller, pk=attempt_id)
    return rows.select_related("payment__customer", "payment__instrument", "route").first()
