"""Deliberately broken variants of the engine: the code that people write first. The harness must catch each of them."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing.actors import Actor
from billing.failpoints import failpoint
from billing.models import Biller, Chunk, ChunkState, Run
from datapump.operations.deliveries import rows
from payments.gateways.base import Answer, ChargeRequest, Command, Gateway, Lost, Result
from payments.models import Attempt, Checkpoint, Payment, Route
from payments.operations import answers, collections, deposits, recoveries, settlements
from payments.operations.groups import Bill, charges
from payments.operations.routes import open_route


def checkpoint_after_the_call(patch: pytest.MonkeyPatch) -> None:
    """Charge first, and write the attempt down together with its answer."""

    def collect_chunk(
        *, biller: Biller, run: Run, chunk: Chunk, actor: Actor, now: datetime.datetime | None = None
    ) -> bool:
        due = collections._due(biller, collections.options_of(run), run.business_date)
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT i.id, i.customer_id, i.open, n.id, n.kind, n.token, n.route_id, c.number, uuidv7(), uuidv7()
                FROM billing_item i, {collections._FROM} WHERE {due.sql} AND i.customer_id BETWEEN %s AND %s
                """,
                [*due.params, chunk.first, chunk.last],
            )
            bills = cursor.fetchall()
        gateway = open_route(Route.objects.get(biller=biller))
        requests = [
            ChargeRequest(
                str(bill[9]), Command.CHARGE, bill[2], biller.currency, bill[5], bill[4], "recurring", bill[7]
            )
            for bill in bills
        ]
        results = list(gateway.send(requests[: gateway.batch_limit])) if requests else []
        failpoint("collect.checkpointed")
        failpoint("collect.answered")
        answered = {result.key for result in results if isinstance(result, Answer)}
        kept = [bill for bill in bills if str(bill[9]) in answered]
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            if kept:
                claimed, made = charges([Bill(*bill) for bill in kept], {})
                collections._insert(cursor, biller, run, chunk, claimed, made, timezone.now())
                cursor.execute(
                    "UPDATE billing_item SET reserved = open WHERE id = ANY(%s)", [[bill[0] for bill in kept]]
                )
            left = len(kept) < len(bills)
            Chunk.objects.filter(pk=chunk.pk).update(state=ChunkState.WAITING if left else ChunkState.DONE)
        settlements.settle(biller=biller, answers=answers.answers_of(results), actor=actor, now=timezone.now())
        return bool(kept)

    patch.setattr(collections, "collect_chunk", collect_chunk)


def deposit_checkpoint_after_the_call(patch: pytest.MonkeyPatch) -> None:
    """Deposit first, and write the attempts down together with their answers; what had none is held as before."""

    def deposit_chunk(
        *, biller: Biller, run: Run, chunk: Chunk, actor: Actor, now: datetime.datetime | None = None
    ) -> bool:
        results: list[Answer | Lost] = []
        with transaction.atomic():
            requests = inspect.unwrap(deposits._checkpoint)(biller, run, chunk, now or timezone.now())
            failpoint("deposit.checkpointed")
            for route_id, batch in requests.items():
                gateway = open_route(Route.objects.get(pk=route_id))
                for begin in range(0, len(batch), gateway.batch_limit):
                    results += gateway.send(batch[begin : begin + gateway.batch_limit])
            failpoint("deposit.answered")
            lost = Attempt.objects.filter(pk__in=[one.key for one in results if isinstance(one, Lost)])
            unanswered = list(lost.values_list("payment_id", flat=True))
            Checkpoint.objects.filter(payment_id__in=unanswered).delete()
            Payment.objects.filter(pk__in=unanswered).update(state="authorized")
            lost.delete()
        settlements.settle(biller=biller, answers=answers.answers_of(results), actor=actor, now=timezone.now())
        Chunk.objects.filter(pk=chunk.pk).update(state=ChunkState.DONE)
        return True

    patch.setattr(deposits, "deposit_chunk", deposit_chunk)


def time_out_taken_as_decline(patch: pytest.MonkeyPatch) -> None:
    """Fail a payment whose answer did not come."""

    def answers_of(results: Iterable[Answer | Lost]) -> list[Answer]:
        return [one if isinstance(one, Answer) else Answer(one.key, Result.HARD_DECLINE) for one in results]

    patch.setattr(answers, "answers_of", answers_of)


def record_marked_before_the_call(patch: pytest.MonkeyPatch) -> None:
    """Mark a record as delivered when it is taken up, before the CIS was spoken to."""
    patch.setattr(
        rows, "_CLAIM", rows._CLAIM.replace("state = 'sending'", "state = 'delivered', delivered_at = %(now)s")
    )


def absence_believed_without_duplicate_detection(patch: pytest.MonkeyPatch) -> None:
    """Send again whatever the processor does not know, although it would not recognise the repeat."""

    def sort(gateway: Gateway, absent: Iterable[Attempt]) -> tuple[list[Attempt], list[Attempt]]:
        return list(absent), []

    patch.setattr(recoveries, "_sort", sort)


def absence_taken_as_final(patch: pytest.MonkeyPatch) -> None:
    """End an attempt that the processor does not know, however soon it was asked."""

    def look_up(gateway: Gateway, attempts: Iterable[Attempt]) -> tuple[list[Answer], list[Attempt]]:
        found = gateway.lookup([str(attempt.pk) for attempt in attempts])
        return [one if isinstance(one, Answer) else Answer(one.key, Result.HARD_DECLINE) for one in found], []

    patch.setattr(recoveries, "look_up", look_up)


def others_of_a_group_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Let an answer take effect on the payment that has the attempt, and not on those that it moved besides."""
    patch.setattr(settlements, "_with_groups", lambda cursor, applied: applied)


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    mutant.__name__: mutant
    for mutant in (
        checkpoint_after_the_call,
        deposit_checkpoint_after_the_call,
        time_out_taken_as_decline,
        record_marked_before_the_call,
        absence_believed_without_duplicate_detection,
        absence_taken_as_final,
        others_of_a_group_forgotten,
    )
}

# What a world must be like for a mutant to do harm; the others do it anywhere.
TRAITS: dict[str, dict[str, Any]] = {
    "others_of_a_group_forgotten": {"household": 3},
    "deposit_checkpoint_after_the_call": {"held": 6, "customers": 8, "fault_rate": 0.9},
    "absence_believed_without_duplicate_detection": {"deduplicates": False, "late": "beyond", "fault_rate": 0.9},
}
