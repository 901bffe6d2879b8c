"""Sending again, and giving up: what a person may do with an update that delivery has done with, or is stuck behind."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone

from billing import audit, tenancy
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.models import Biller, Chunk, ChunkState, Run, RunKind, RunState
from datapump.models import Record, RecordState, RecordType
from datapump.reports import Chosen, history_count, history_ids

AGAIN = (RecordState.DELIVERED, RecordState.FAILED, RecordState.SKIPPED, RecordState.WITHHELD, RecordState.RETRYING)
"""From which states an update may be sent again; one that waits or is being sent goes anyway."""

GIVEN_UP = (RecordState.WAITING, RecordState.RETRYING, RecordState.FAILED)
"""From which states an update may be skipped."""

MOST = 1_000_000
_BATCH = 1_000
_LOCK = 0x52534E44


class NotSendable(DomainError):
    """The update is waiting or being sent already."""

    default = "This update is on its way already."


class NotSkippable(DomainError):
    """The update is being sent, has been delivered or was skipped before."""

    default = "This update cannot be skipped: it is being sent, was delivered, or will not be sent anyway."


class NothingToSend(DomainError):
    """No update matches."""

    default = "Nothing matches that could be sent again."


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run that sends again has come."""

    done: int
    total: int
    finished: bool


@transaction.atomic(durable=True)
def send_again(*, actor: Actor, record: Record) -> Record:
    """Have one update sent again, before anything later of its customer. The biller's system may have it already.

    :raises NotSendable: it is waiting or being sent.
    """
    found = Record.objects.select_for_update().get(pk=record.pk)
    if found.state not in AGAIN or found.type == RecordType.PENDING:
        raise NotSendable
    found.state, found.refusals, found.due_at, found.claimed_at = RecordState.WAITING, 0, timezone.now(), None
    found.failure, found.trouble, found.closed_by = "", "", ""
    found.save(update_fields=["state", "refusals", "due_at", "claimed_at", "failure", "trouble", "closed_by"])
    audit.record(
        actor=actor,
        event="datapump.resent",
        biller_id=found.biller_id,
        customer_id=found.customer_id,
        subject=str(found.pk),
        facts={"count": 1},
    )
    return found


@transaction.atomic(durable=True)
def skip(*, actor: Actor, record: Record) -> Record:
    """Give up an update, so that the customer's next one goes.

    :raises NotSkippable: it is being sent, or needs no skipping.
    """
    found = Record.objects.select_for_update().get(pk=record.pk)
    if found.state not in GIVEN_UP or found.type == RecordType.PENDING:
        raise NotSkippable
    found.state, found.closed_by, found.claimed_at = RecordState.SKIPPED, actor.label[:120], None
    found.save(update_fields=["state", "closed_by", "claimed_at"])
    audit.record(
        actor=actor,
        event="datapump.skipped",
        biller_id=found.biller_id,
        customer_id=found.customer_id,
        subject=str(found.pk),
    )
    return found


def sendable(chosen: Chosen) -> Chosen | None:
    """Narrow what was chosen to what may be sent again; nothing where none of its states may."""
    states = tuple(str(state) for state in AGAIN if not chosen.states or state in chosen.states)
    if not states:
        return None
    return Chosen(
        types=chosen.types or tuple(int(type_) for type_ in RecordType if type_ != RecordType.PENDING),
        states=states,
        customers=chosen.customers,
        record=chosen.record,
        requestors=chosen.requestors,
        troubles=chosen.troubles,
        start=chosen.start,
        end=chosen.end,
    )


@transaction.atomic(durable=True)
def plan(*, actor: Actor, biller: Biller, chosen: Chosen, key: str, now: datetime | None = None) -> Run:
    """Plan to send again all updates that match and were made until now; a job does it, in batches.

    ``key`` makes the same wish of one person, sent twice, one run.

    :raises NothingToSend: nothing matches.
    :raises Conflict: the key was used for something else.
    """
    now = now or timezone.now()
    narrowed = sendable(chosen)
    count = 0 if narrowed is None else history_count(biller_id=biller.pk, chosen=narrowed, most=MOST)
    if narrowed is None or count == 0:
        raise NothingToSend
    end = min(narrowed.end, now) if narrowed.end else now
    chosen_now = narrowed.as_json() | {"end": end.isoformat()}
    params = {"chosen": chosen_now, "after": None}
    run, made = Run.objects.get_or_create(
        biller=biller,
        key=f"resend:{key}",
        defaults={
            "kind": RunKind.RESEND,
            "business_date": biller.business_date(now),
            "params": params,
            "asked_by": actor.label[:120],
        },
    )
    if not made:
        if {**run.params["chosen"], "end": None} != {**chosen_now, "end": None}:
            raise Conflict
        return run
    Chunk.objects.create(biller=biller, run=run, number=1, first=0, last=0, expected=count)
    audit.record(
        actor=actor,
        event="datapump.resent",
        biller_id=biller.pk,
        subject=str(run.pk),
        facts={"count": count, "chosen": chosen_now},
    )
    return run


@transaction.atomic(durable=True)
def stop(*, actor: Actor, run: Run) -> None:
    """Ask a run that sends again to stop; what it has put back in the queue stays there.

    :raises DomainError: it has ended.
    """
    found = Run.objects.select_for_update().get(pk=run.pk, kind=RunKind.RESEND)
    if found.state not in (RunState.PLANNED, RunState.WORKING):
        raise DomainError("This run has ended already.")
    found.stop_requested = True
    found.save(update_fields=["stop_requested"])
    audit.record(actor=actor, event="run.stopped", biller_id=found.biller_id, subject=str(found.pk))


def work(*, actor: Actor, batches: int = 1_000) -> int:
    """Carry on with runs that send again, a batch in a transaction, until there is nothing left to do; gives the records.

    Any number of processes may call it: each batch locks its run, and a batch that dies has not happened.
    """
    sent = 0
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        for _ in range(batches):
            number = _work_batch(actor)
            if number is None:
                break
            sent += number
    return sent


def progress(run: Run) -> Progress:
    """Say how far a run that sends again has come."""
    chunk = Chunk.objects.filter(run=run).first()
    done, total = (chunk.sent_count, chunk.expected) if chunk else (0, 0)
    return Progress(done, max(done, total), run.state in (RunState.DONE, RunState.STOPPED, RunState.FAILED))


def _work_batch(actor: Actor) -> int | None:
    """Send one batch of one run again; gives how many, or nothing where no run is left."""
    with transaction.atomic(durable=True):
        run = (
            Run.objects.select_for_update(skip_locked=True)
            .filter(kind=RunKind.RESEND, state__in=[RunState.PLANNED, RunState.WORKING])
            .order_by("created_at")
            .first()
        )
        if run is None:
            return None
        now = timezone.now()
        run.started_at = run.started_at or now
        if run.stop_requested:
            return _finish(run, RunState.STOPPED, now, actor)
        chosen = Chosen.from_json(run.params["chosen"])
        after = run.params["after"]
        bound = (datetime.fromisoformat(after[0]), uuid.UUID(after[1])) if after else None
        # Oldest first, and forwards by a place in time: what is put back leaves the states that are looked for.
        keys = history_ids(biller_id=run.biller_id, chosen=chosen, limit=_BATCH, newest_first=False, bound=bound)
        if not keys:
            return _finish(run, RunState.DONE, now, actor)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE datapump_record SET state = 'waiting', refusals = 0, due_at = %s, claimed_at = NULL, failure = '',
                       trouble = '', closed_by = ''
                WHERE id = ANY(%s) AND state = ANY(%s)
                """,
                [now, [key for _, key in keys], list(chosen.states)],
            )
            number = int(cursor.rowcount)
        run.state = RunState.WORKING
        run.params = {**run.params, "after": [keys[-1][0].isoformat(), str(keys[-1][1])]}
        run.save(update_fields=["state", "params", "started_at"])
        chunk = Chunk.objects.select_for_update().get(run=run, number=1)
        chunk.state, chunk.claimed_at = ChunkState.WORKING, now
        chunk.sent_count += number
        chunk.save(update_fields=["state", "claimed_at", "sent_count"])
        return number


def _finish(run: Run, state: RunState, now: datetime, actor: Actor) -> int:
    run.state, run.finished_at = state, now
    run.save(update_fields=["state", "started_at", "finished_at"])
    Chunk.objects.filter(run=run).update(state=ChunkState.DONE, finished_at=now)
    audit.record(actor=actor, event="run.finished", biller_id=run.biller_id, subject=str(run.pk))
    return 0
