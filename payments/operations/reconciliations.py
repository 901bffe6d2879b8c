"""Reconciling our book with the processors', by reference, before a restored database may charge anybody again.

The processors' response files name every charge of their span. What they name and we have is settled or confirmed, as
always; what they name and we have lost (``unbooked_charges``) is recorded as the payment that it was, where it can be told whose;
what we expected and they do not name is abandoned on their evidence. Whatever is left is a case, and while one of a charge
that our book lacks is open, or the files do not cover the whole span, charging stays stopped.

Source: PAY-10; the design's five rules, 2 to 4; docs/adr/0013.
"""

from __future__ import annotations

import contextlib
import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from django.db import transaction

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import Biller
from billing.money import ZERO
from payments.gateways.base import Answer, Gateway, OutcomeUnknown, Result
from payments.models import Attempt, AttemptState, Case, CaseKind, CaseState, Route
from payments.operations import recoveries, settlements, unbooked_charges
from payments.operations.answers import named_here
from payments.operations.routes import open_route
from payments.operations.settlements import Settled
from payments.operations.unbooked_charges import MOVES_MONEY, FoundAgain

_BATCH = 1_000


class NotReconciled(DomainError):
    """The book cannot be reconciled yet; the sentence says what is missing."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconciliation found, in numbers of charges.

    ``confirmed`` are in both books alike, ``settled`` got their answer from the files, ``recorded`` were in the processor's
    book alone and are payments now, ``abandoned`` had no answer and are not in files that cover them. ``held`` are
    authorizations that only the processor has: nobody is charged by them, and the bank gives them back. ``cases`` are open
    ones that stand in the way, ``missing`` open ones of payments that the processor does not name. ``why_not`` says why
    charging stays stopped; empty where nothing stands in the way.
    """

    confirmed: int = 0
    settled: Settled = field(default_factory=Settled)
    recorded: int = 0
    recorded_total: Decimal = ZERO
    abandoned: int = 0
    held: int = 0
    cases: int = 0
    missing: int = 0
    why_not: str = ""


@dataclass(slots=True)
class _Tally:
    confirmed: int = 0
    settled: Settled = field(default_factory=Settled)
    abandoned: int = 0
    found: FoundAgain = field(default_factory=FoundAgain)


def reconcile(
    *,
    biller: Biller,
    actor: Actor,
    now: datetime.datetime,
    since: datetime.datetime | None = None,
    without: Sequence[Route] = (),
) -> Reconciled:
    """Compare every charge that the processors name since a moment with ours, and put right what can be.

    ``since`` is by default the moment that the restore itself named. ``without`` are routes whose processors can no longer be
    asked: nobody compares their charges, which is written down. May run any number of times, each charge counts once.
    Where nothing stands in the way the mark of the restore is taken off; charging stays stopped until somebody allows it.

    :raises NotReconciled: no moment was given and the biller was not restored.
    :raises payments.gateways.base.GatewayError: a processor did not give its files; what was read before stays settled.
    """
    biller = Biller.objects.get(pk=biller.pk)
    begin = since or biller.reconcile_since
    if begin is None:
        raise NotReconciled("Say since when the books are to be compared.", field="since")
    tally, uncovered = _Tally(), ""
    for route in Route.objects.filter(biller=biller).exclude(pk__in=[one.pk for one in without]).order_by("pk"):
        uncovered = _compare(biller, route, begin, tally, actor, now) or uncovered
    failpoint("reconcile.compared")
    why_not = uncovered
    unbooked = _open(biller, CaseKind.UNBOOKED_CHARGE)
    if unbooked:
        why_not = f"{unbooked} charge(s) of the processor are not in our book. Decide their cases first."
    if biller.restored_at is not None and not why_not:
        if biller.reconcile_since is not None and begin > biller.reconcile_since:
            why_not = f"The books were compared since {begin:%Y-%m-%d %H:%M} UTC only. Leave --since out."
        else:
            _take_mark_off(biller, tally, without, actor)
    return Reconciled(
        confirmed=tally.confirmed,
        settled=tally.settled + tally.found.settled,
        recorded=tally.found.recorded,
        recorded_total=tally.found.recorded_total,
        abandoned=tally.abandoned,
        held=tally.found.held,
        cases=unbooked,
        missing=_open(biller, CaseKind.MISSING_CHARGE),
        why_not=why_not,
    )


def _open(biller: Biller, kind: CaseKind) -> int:
    return Case.objects.filter(biller=biller, state=CaseState.OPEN, kind=kind).count()


@transaction.atomic(durable=True)
def _take_mark_off(biller: Biller, tally: _Tally, without: Sequence[Route], actor: Actor) -> None:
    # A restore that was noticed meanwhile has a mark of its own.
    taken = Biller.objects.filter(pk=biller.pk, restored_at=biller.restored_at).update(
        restored_at=None, reconcile_since=None
    )
    if taken:
        audit.record(
            actor=actor,
            event="biller.reconciled",
            biller_id=biller.pk,
            subject=f"biller:{biller.pk}",
            facts={
                "confirmed": tally.confirmed,
                "recorded": tally.found.recorded,
                "total": str(tally.found.recorded_total),
            },
        )
    if taken and without:
        audit.record(
            actor=actor,
            event="biller.not_compared",
            biller_id=biller.pk,
            subject=f"biller:{biller.pk}",
            facts={"routes": ", ".join(route.name for route in without)},
        )


def _compare(
    biller: Biller, route: Route, begin: datetime.datetime, tally: _Tally, actor: Actor, now: datetime.datetime
) -> str:
    """Compare one route's charges; gives what the files do not cover, in words, or nothing."""
    gateway = open_route(route)
    named: set[uuid.UUID] = set()
    undecided: list[str] = []
    covered_from: datetime.datetime | None = None
    covered_until: datetime.datetime | None = None
    for file in gateway.response_files(begin):
        if file.covers_until <= begin:
            continue
        if covered_until is None or file.covers_from > covered_until:
            # A gap: what came before it says nothing of what comes after.
            covered_from = file.covers_from
        covered_until = file.covers_until
        ours, lost = _sort(biller, file.answers)
        named |= {attempt_id for attempt_id, _answer in ours}
        named |= {attempt_id for key in file.unresolved if (attempt_id := named_here(key)) is not None}
        undecided += file.unresolved
        tally.confirmed += _confirmed(biller, ours)
        tally.settled += settlements.settle(
            biller=biller, answers=[answer for _id, answer in ours], actor=actor, now=now
        )
        # Before what was lost: what an absent attempt holds is what a lost one may have paid.
        tally.abandoned += recoveries.abandon_absent(
            biller=biller, route=route, file=file, settle_time=gateway.settle_time, actor=actor, now=now
        )
        tally.found += unbooked_charges.find_again(biller=biller, route=route, answers=lost, actor=actor, now=now)
        named |= {attempt_id for answer in lost if (attempt_id := named_here(answer.key)) is not None}
    if covered_from is None or covered_until is None:
        return f"The processor of {route} gave no response file since then."
    _miss(biller, route, max(begin, covered_from), covered_until - gateway.settle_time, named)
    if covered_from > begin:
        return f"The response files of {route} begin only at {covered_from:%Y-%m-%d %H:%M} UTC."
    if waiting := _without_result(biller, gateway, undecided):
        return (
            f"The processor of {route} has no result yet for {waiting} charge(s) that are not in our book. Reconcile again"
            " when it has."
        )
    last = biller.restored_at
    if last is not None and covered_until - gateway.settle_time < last:
        return (
            f"The response files of {route} end at {covered_until:%Y-%m-%d %H:%M} UTC. Charges that were under way at the"
            " restore may be in a later one: wait for it, and reconcile again."
        )
    return ""


def _without_result(biller: Biller, gateway: Gateway, keys: Sequence[str]) -> int:
    """Count those of the keys that our book does not have, and that were not declined when they are asked for."""
    ids = [pk for key in keys if (pk := named_here(key)) is not None]
    known = {str(pk) for pk in Attempt.objects.filter(biller=biller, pk__in=ids).values_list("pk", flat=True)}
    lost = {key for key in keys if key not in known}
    with contextlib.suppress(OutcomeUnknown):
        for found in gateway.lookup(sorted(lost)) if lost else ():
            if isinstance(found, Answer) and found.result != Result.PASS:
                lost.discard(found.key)
    return len(lost)


def _sort(biller: Biller, answers: Sequence[Answer]) -> tuple[list[tuple[uuid.UUID, Answer]], list[Answer]]:
    """Part the answers to our attempts from those that our book knows nothing of."""
    by_id = {pk: answer for answer in answers if (pk := named_here(answer.key)) is not None}
    known: set[uuid.UUID] = set()
    ids = list(by_id)
    for at in range(0, len(ids), _BATCH):
        some = Attempt.objects.filter(biller=biller, pk__in=ids[at : at + _BATCH])
        known |= set(some.values_list("pk", flat=True))
    ours = [(pk, answer) for pk, answer in by_id.items() if pk in known]
    lost = [answer for answer in answers if named_here(answer.key) not in known]
    return ours, lost


def _confirmed(biller: Biller, ours: Sequence[tuple[uuid.UUID, Answer]]) -> int:
    """Count those that had the same result here before."""
    count = 0
    for at in range(0, len(ours), _BATCH):
        heard = dict(ours[at : at + _BATCH])
        some = Attempt.objects.filter(biller=biller, pk__in=heard, state=AttemptState.APPLIED)
        count += sum(heard[pk].result == result for pk, result in some.values_list("pk", "result"))
    return count


def _miss(
    biller: Biller, route: Route, begin: datetime.datetime, until: datetime.datetime, named: set[uuid.UUID]
) -> None:
    """Open a case for each payment of ours that the files should name and do not."""
    passed = Attempt.objects.filter(
        biller=biller,
        route=route,
        state=AttemptState.APPLIED,
        result=Result.PASS,
        command__in=MOVES_MONEY,
        created_at__gte=begin,
        sent_at__lt=until,
        # Ids rise with time, and are the index by which a span is read. A margin for clocks that differ.
        pk__gte=_first_id(begin - datetime.timedelta(minutes=5)),
    )
    for pk in passed.order_by("pk").values_list("pk", flat=True).iterator(chunk_size=_BATCH):
        if pk in named:
            continue
        attempt = Attempt.objects.select_related("payment").get(pk=pk)
        if Case.objects.filter(attempt=attempt, kind=CaseKind.MISSING_CHARGE).exists():
            continue
        Case.objects.create(
            biller=biller,
            customer_id=attempt.payment.customer_id,
            attempt=attempt,
            kind=CaseKind.MISSING_CHARGE,
            reason="We recorded this payment, and the processor's response files, which cover it, do not name it.",
        )


def _first_id(moment: datetime.datetime) -> uuid.UUID:
    """Give the smallest id (UUIDv7) that could have been made at a moment."""
    return uuid.UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))
