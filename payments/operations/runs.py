"""Runs over payments: planned once, cut into chunks of customers, and worked off by any number of workers.

What a run takes is its kind's (``collections``, ``deposits``); how it survives the death of any worker is the same for
all. A worker takes a chunk: one transaction claims what is due there and commits a 999 attempt for each (nothing was
said to anybody yet); then the processor is spoken to; then the answers are settled. A worker that finds a chunk whose
owner died sends nothing again: it lets answered attempts take effect and leaves the open ones to recovery.

Source: PAY-2, PAY-3, PAY-6, PAY-7, PAY-8.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import Biller, Chunk, ChunkState, Run, RunKind, RunState
from payments.gateways.base import ChargeRequest, Lost, Misconfigured, NotSent, Result
from payments.models import Instrument, InstrumentKind, Payment, PaymentState, Route
from payments.operations import answers, balances, deadlocks, settlements, verifications
from payments.operations.routes import described, open_route

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHUNK_SIZE = 5_000
# After this a chunk's worker counts as dead. Longer than any batch may take at a processor (PAY-22: 600 s).
LEASE = datetime.timedelta(seconds=900)

# Seconds in which a chunk's balances are asked for; who could not be asked by then counts as not answered. Well within its
# lease.
ASKING = 300.0

# So many more runs of one kind and day are planned where the processor could not be reached: each leaves failed payments.
TRIES_AGAIN = 5

# What was checkpointed so many seconds ago is looked at again before it is sent.
_FRESH = 1.0

_OUT_OF_REACH = "The payment processor could not be reached. Nothing was charged for what was not sent."

Requests = dict[int, list[ChargeRequest]]
"""The messages to send, by route."""


class RunRefused(DomainError):
    """The run cannot be started; the sentence says why."""


def plan(
    *,
    biller: Biller,
    kind: RunKind,
    options: DataclassInstance,
    actor: Actor,
    now: datetime.datetime,
    dry_run: bool,
    cut: Callable[[Run], None],
) -> Run:
    """Plan a run: ``cut`` writes its chunks, with what each is expected to take; gives the run.

    The same biller, kind, day and options give the same run again, whatever became of it. A dry run is planned and
    closed at once.

    :raises RunRefused: the biller's charging is stopped.
    """
    if biller.charging_stopped:
        raise RunRefused(f"Charging is stopped for this biller. Allow it again before starting to {kind.value}.")
    today = biller.business_date(now)
    params = {key: str(value) if value is not None else None for key, value in asdict(options).items()}
    digest = hashlib.sha256(json.dumps([params, dry_run], sort_keys=True).encode()).hexdigest()[:16]
    repeat = f":{now:%H%M%S%f}" if dry_run else ""
    with transaction.atomic(durable=True):
        run, new = Run.objects.get_or_create(
            biller=biller,
            key=f"{kind.value}:{today}:{digest}{repeat}",
            defaults={
                "kind": kind,
                "business_date": today,
                "params": params,
                "asked_by": actor.label[:120],
                "dry_run": dry_run,
                "created_at": now,
            },
        )
        if not new:
            return run
        cut(run)
        if dry_run:
            Run.objects.filter(pk=run.pk).update(state=RunState.DONE, started_at=now, finished_at=now)
            Chunk.objects.filter(run=run).update(state=ChunkState.DONE, finished_at=now)
        audit.record(
            actor=actor,
            event="run.started",
            biller_id=biller.pk,
            subject=f"run:{run.pk}",
            facts={"kind": f"dry {kind.value}" if dry_run else kind.value, **params},
        )
    run.refresh_from_db()
    return run


def plan_usual(
    operation: Callable[..., Run], *, biller: Biller, options: Any, actor: Actor, now: datetime.datetime
) -> Run:
    """Plan the run of the day by a kind's own ``plan``; another one where the processor failed it and was heard since.

    :raises RunRefused: as that one does.
    """
    run = operation(biller=biller, options=options, actor=actor, now=now)
    for number in range(1, TRIES_AGAIN + 1):
        if run.state != RunState.FAILED or run.finished_at is None or not _heard(biller, options, run.finished_at):
            break
        again = replace(options, repeat=f"try {number}")
        run = operation(biller=biller, options=again, actor=actor, now=now)
    return run


def _heard(biller: Biller, options: Any, since: datetime.datetime) -> bool:
    """Whether each processor of a run with these options answers, and has done so since then."""
    routes = Route.objects.usable(biller)
    if route_id := getattr(options, "route_id", None):
        routes = routes.filter(pk=route_id)
    return not routes.exclude(answered=True, heard_at__gt=since).exists()


def cut(*, run: Run, source: str, params: Sequence[Any], chunk_size: int) -> None:
    """Cut what is due into chunks of whole customers, about ``chunk_size`` each, inside the caller's transaction.

    ``source`` is SQL that gives the customer and the amount of each thing that is due.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO billing_chunk (biller_id, run_id, number, first, last, expected, state, expected_total)
            SELECT %s, %s, part + 1, min(customer_id), max(customer_id), count(*), 'waiting', sum(amount)
            FROM (
                SELECT customer_id, amount, (rank() OVER (ORDER BY customer_id) - 1) / %s AS part
                FROM ({source}) AS due (customer_id, amount)
            ) parts
            GROUP BY part
            """,
            [run.biller_id, run.pk, chunk_size, *params],
        )


def work(*, run: Run, actor: Actor, take: Callable[[Chunk], bool]) -> Iterator[Chunk]:
    """Work off a run's waiting chunks until none is left or somebody asks it to stop; gives each when it is done.

    ``take`` works one claimed chunk, and gives False where the run should stop.
    """
    while (chunk := claim(run)) is not None:
        if not take(chunk):
            break
        chunk.refresh_from_db()
        yield chunk
    _finish(run, actor)


def send_chunk(
    *,
    biller: Biller,
    run: Run,
    chunk: Chunk,
    actor: Actor,
    now: datetime.datetime | None,
    checkpoint: Callable[[Biller, Run, Chunk, datetime.datetime], Requests],
) -> bool:
    """Work one claimed chunk; gives False where the processor cannot be reached and the run should stop.

    ``checkpoint`` claims what is due and commits a 999 attempt for each, in one transaction that may be repeated. A
    chunk that an earlier worker had begun is only finished: nothing of it is sent a second time.
    """
    if chunk.sent_count:
        _take_over(biller, chunk, actor)
        reached = not _was_not_reached(biller, run, chunk)
        if not reached:
            fail(run, _OUT_OF_REACH)
        close(chunk)
        return reached
    # Before anything is held: a route that is set up wrongly must not leave attempts behind.
    try:
        # One processor's run is not to fail for what is wrong with another's route (PAY-8).
        mine = Q(pk=run.params["route_id"]) if run.params.get("route_id") else Q()
        routes = {route.pk: route for route in Route.objects.filter(mine, biller=biller, active=True)}
        gateways = {route.pk: open_route(route) for route in routes.values()}
    except Misconfigured as error:
        fail(run, f"A route is set up wrongly: {error}. Nothing was charged for what was not sent.")
        Chunk.objects.filter(pk=chunk.pk).update(state=ChunkState.WAITING, claimed_at=None)
        return False
    checkpointed = time.monotonic()
    requests = deadlocks.repeated(lambda: checkpoint(biller, run, chunk, now or timezone.now()))
    failpoint(f"{run.kind}.checkpointed")
    reached, wrong = True, ""
    for route_id, batch in requests.items():
        gateway = gateways[route_id]
        for begin in range(0, len(batch), gateway.batch_limit):
            part: Sequence[ChargeRequest] = batch[begin : begin + gateway.batch_limit]
            if time.monotonic() - checkpointed > _FRESH:
                part = _still_open(biller, part, now or timezone.now())
            if not part:
                continue
            results = list(gateway.send(described(routes[route_id], part)))
            failpoint(f"{run.kind}.answered")
            lost = [one.error for one in results if isinstance(one, Lost)]
            unsent = sum(isinstance(error, NotSent) for error in lost)
            reached = reached and unsent < len(results)
            wrong = wrong or next((str(error) for error in lost if isinstance(error, Misconfigured)), "")
            settlements.settle(
                biller=biller, answers=answers.answers_of(results), actor=actor, now=now or timezone.now()
            )
    # First, since another worker that finds every chunk closed says how the run ended.
    if not reached:
        fail(run, _OUT_OF_REACH)
    elif wrong:
        # Its key was taken back, say: nobody else's turn goes better.
        fail(run, f"The processor refuses us: {wrong}. Nothing was charged for what it refused.")
    failpoint(f"{run.kind}.settled")
    close(chunk)
    return reached and not wrong


def held(
    *,
    biller: Biller,
    chunk: Chunk,
    customers: Callable[[], Iterable[int]],
    methods: Callable[[Iterable[int]], QuerySet[Instrument]],
    actor: Actor,
    now: datetime.datetime,
) -> list[int]:
    """Make sure before a chunk is claimed: of what its customers owe, where the biller's system can be asked, and that their
    bank accounts are still good, where that is wanted; gives those who must not be charged.

    ``customers`` gives the chunk's, and is asked only where there is something to make sure of; ``methods`` what they would
    be charged by. The chunk keeps how many are held, and why. No transaction may be open.
    """
    asking, renewing = balances.asked_for(biller.pk), verifications.renews(biller)
    if not asking and not renewing:
        return []
    among = customers()
    out: list[int] = []
    reason = ""
    if asking:
        standings = balances.refresh(biller=biller, customers=among, seconds=ASKING)
        out = [pk for pk, standing in standings.items() if not standing.usable]
        reason = next((standings[pk].failure for pk in out if standings[pk].failure), "")
    if renewing:
        banks = methods(among).filter(kind=InstrumentKind.BANK)
        unverified = verifications.renew_for_run(biller=biller, among=banks, actor=actor, now=now)
        out, reason = [*out, *unverified], reason or (verifications.UNVERIFIED if unverified else "")
    Chunk.objects.filter(pk=chunk.pk).update(held_count=len(out), held_for=reason)
    return out


def _still_open(biller: Biller, requests: Sequence[ChargeRequest], now: datetime.datetime) -> Sequence[ChargeRequest]:
    """Give those messages that may still go out, and say that they go now.

    Meanwhile a response file or a person may have found that what was long checkpointed never came, and its bill may have
    been paid otherwise: by a slow worker, or one that was frozen, it must not be sent then.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payments_attempt SET sent_at = %s WHERE id = ANY(%s::uuid[]) AND biller_id = %s AND state = 'open'"
            " RETURNING id::text",
            [now, [one.key for one in requests], biller.pk],
        )
        open_ = {key for (key,) in cursor.fetchall()}
    return [one for one in requests if one.key in open_]


def claim(run: Run) -> Chunk | None:
    """Take the next chunk that waits or whose worker is dead; none where the run is to stop."""
    now = timezone.now()
    with transaction.atomic(durable=True):
        stopped = Run.objects.filter(pk=run.pk, stop_requested=True).exists()
        if stopped or Biller.objects.filter(pk=run.biller_id, charging_stopped=True).exists():
            return None
        chunk = (
            Chunk.objects.filter(run=run)
            .exclude(state=ChunkState.DONE)
            .exclude(state=ChunkState.WORKING, claimed_at__gt=now - LEASE)
            .order_by("number")
            .select_for_update(skip_locked=True)
            .first()
        )
        if chunk is None:
            return None
        chunk.state, chunk.claimed_at = ChunkState.WORKING, now
        chunk.save(update_fields=["state", "claimed_at"])
        Run.objects.filter(pk=run.pk, state=RunState.PLANNED).update(state=RunState.WORKING, started_at=now)
    return chunk


def fail(run: Run, why: str) -> None:
    """Say why a run is to end early; it ends once no worker is at it.

    Another worker, whose clock is ahead, may have taken this one for dead and called the run done: it has failed all the same.
    """
    Run.objects.filter(pk=run.pk).update(
        failure=why[:300],
        state=Case(When(state=RunState.DONE, then=Value(RunState.FAILED)), default=F("state")),
        finished_at=Case(When(state=RunState.DONE, then=Value(timezone.now())), default=F("finished_at")),
    )


def _take_over(biller: Biller, chunk: Chunk, actor: Actor) -> None:
    """Let what a dead worker's chunk had been answered take effect; what is open stays for recovery."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.id FROM payments_checkpoint k JOIN payments_attempt a ON a.id = k.attempt_id"
            " JOIN payments_payment p ON p.id = k.payment_id"
            " WHERE k.biller_id = %s AND a.state = 'answered' AND p.chunk_id = %s",
            [biller.pk, chunk.pk],
        )
        answered: list[uuid.UUID] = [pk for (pk,) in cursor.fetchall()]
    if answered:
        settlements.take_effect(biller=biller, attempt_ids=answered, actor=actor, now=timezone.now())


def _was_not_reached(biller: Biller, run: Run, chunk: Chunk) -> bool:
    """Whether a chunk's worker could not reach the processor, and died before it said so."""
    # By time, which has an index; the clocks of two workers may differ.
    since = run.created_at - datetime.timedelta(days=1)
    failed = Payment.objects.filter(biller=biller, created_at__gte=since, chunk_id=chunk.pk, state=PaymentState.FAILED)
    return failed.filter(result=Result.NO_ANSWER).exists()


def close(chunk: Chunk) -> None:
    """Say that nothing of a chunk is left to do."""
    Chunk.objects.filter(pk=chunk.pk).update(state=ChunkState.DONE, finished_at=timezone.now())


def _finish(run: Run, actor: Actor) -> None:
    """Close a run none of whose chunks is left, or that was asked to stop, or that could not reach the processor."""
    with transaction.atomic(durable=True):
        run = Run.objects.select_for_update().get(pk=run.pk)
        if run.state not in {RunState.PLANNED, RunState.WORKING}:
            return
        left = Chunk.objects.filter(run=run).exclude(state=ChunkState.DONE)
        if run.failure:
            state = RunState.FAILED
        elif run.stop_requested:
            state = RunState.STOPPED
        elif left.exists():
            return
        else:
            state = RunState.DONE
        if left.filter(state=ChunkState.WORKING).exists():
            return
        run.state, run.finished_at = state, timezone.now()
        run.save(update_fields=["state", "finished_at"])
        audit.record(actor=actor, event="run.finished", biller_id=run.biller_id, subject=f"run:{run.pk}")


@transaction.atomic(durable=True)
def stop(*, run: Run, actor: Actor) -> None:
    """Ask a run to stop after the chunks that are under way.

    :raises RunRefused: it has ended already.
    """
    run = Run.objects.select_for_update().get(pk=run.pk)
    if run.state not in {RunState.PLANNED, RunState.WORKING}:
        raise RunRefused("This run has ended already.")
    run.stop_requested = True
    run.save(update_fields=["stop_requested"])
    audit.record(actor=actor, event="run.stopped", biller_id=run.biller_id, subject=f"run:{run.pk}")
