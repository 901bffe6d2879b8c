"""Deliberately broken variants of the engine: the code that people write first. The harness must catch each of them."""

from __future__ import annotations
import __future__

import datetime
import inspect
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
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
from payments.operations import (
    answers,
    cases,
    collections,
    deposits,
    recoveries,
    refunds,
    reservations,
    scheduled_collections,
    settlements,
)
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


def rewrite(patch: pytest.MonkeyPatch, module: Any, name: str, *changes: tuple[str, str]) -> None:
    """Put a function in place of a module's whose text differs in these places, each of which must be there."""
    text = inspect.getsource(getattr(module, name))
    for old, new in changes:
        if old not in text:
            raise LookupError(f"{name} does not say {old!r}")
        text = text.replace(old, new)
    made: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag
    exec(compile(text, f"<{name}, broken>", "exec", flags=flags), vars(module), made)
    patch.setattr(module, name, made[name])


def repeat_sent_under_a_new_key(patch: pytest.MonkeyPatch) -> None:
    """Send what has no answer again as a message of its own."""
    message = recoveries._message
    patch.setattr(
        recoveries,
        "_message",
        lambda *given: replace(message(*given), key=str(uuid.uuid5(uuid.NAMESPACE_OID, message(*given).key))),
    )


def reservation_kept_by_what_failed(patch: pytest.MonkeyPatch) -> None:
    """Let a declined payment keep what it had reserved."""
    patch.setattr(reservations, "release", lambda payment_ids: None)


def reservation_given_up_by_what_is_held(patch: pytest.MonkeyPatch) -> None:
    """Free the bills of a card that is held, so that AutoPay takes them as well."""
    hold = settlements._hold

    def hold_and_free(held: Any, *, actor: Actor) -> Any:
        reservations.release([one.payment_id for one in held])
        return hold(held, actor=actor)

    patch.setattr(settlements, "_hold", hold_and_free)


def scheduled_payment_left_waiting(patch: pytest.MonkeyPatch) -> None:
    """Take a scheduled payment without saying that it is being made."""
    rewrite(patch, scheduled_collections, "_take", ("SET state = 'processing', payment_id", "SET payment_id"))


def absent_refund_taken_for_failed(patch: pytest.MonkeyPatch) -> None:
    """End a refund that the processor does not know yet."""
    sort = recoveries._sort

    def sort_and_give_up(gateway: Gateway, absent: Sequence[Attempt]) -> tuple[list[Attempt], list[Attempt]]:
        for attempt in absent:
            if attempt.command == "refund":
                cases.abandon(attempt=attempt, why="Absent.", actor=Actor.system("recovery"), now=timezone.now())
        return sort(gateway, [attempt for attempt in absent if attempt.command != "refund"])

    patch.setattr(recoveries, "_sort", sort_and_give_up)


def refund_key_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Give back again whoever asks again."""
    rewrite(
        patch,
        refunds,
        "start",
        ("request_key=request_key).first()", "request_key=request_key, pk__isnull=True).first()"),
        ("request_key=request_key,\n", "request_key=None,\n"),
    )


def unknown_given_up_instead_of_a_case(patch: pytest.MonkeyPatch) -> None:
    """End what the processor does not know and would not recognise, so that nobody need look."""

    def give_up(attempts: Sequence[Attempt]) -> int:
        for attempt in attempts:
            cases.abandon(attempt=attempt, why="Absent.", actor=Actor.system("recovery"), now=timezone.now())
        return 0

    patch.setattr(recoveries, "_open_cases", give_up)


def group_asked_for_the_first_bill(patch: pytest.MonkeyPatch) -> None:
    """Ask for the first bill of a group alone, and post all of them."""
    made = charges

    def first_alone(bills: Sequence[Bill], keys: Any) -> Any:
        claimed, asked = made(bills, keys)
        return claimed, [one._replace(amount=one.first.amount) for one in asked]

    patch.setattr("payments.operations.groups.charges", first_alone)


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
        repeat_sent_under_a_new_key,
        reservation_kept_by_what_failed,
        reservation_given_up_by_what_is_held,
        scheduled_payment_left_waiting,
        absent_refund_taken_for_failed,
        refund_key_forgotten,
        unknown_given_up_instead_of_a_case,
        group_asked_for_the_first_bill,
    )
}

# What a world must be like for a mutant to do harm; the others do it anywhere.
_ALONE: dict[str, Any] = {"household": 1, "scheduling": 0.0, "held": 0}
_UNSURE: dict[str, Any] = {"deduplicates": False, "late": "beyond", "fault_rate": 0.9}
TRAITS: dict[str, dict[str, Any]] = {
    "others_of_a_group_forgotten": {"household": 3},
    "deposit_checkpoint_after_the_call": {"held": 6, "customers": 8, "fault_rate": 0.9},
    "absence_believed_without_duplicate_detection": _UNSURE,
    "unknown_given_up_instead_of_a_case": _UNSURE,
    "absent_refund_taken_for_failed": {
        **_ALONE, "given_back": 0.9, "late": "beyond", "fault_rate": 0.6, "deduplicates": True,
    },
    "repeat_sent_under_a_new_key": {"fault_rate": 0.9, "deduplicates": True},
    "group_asked_for_the_first_bill": {"household": 3, "scheduling": 0.0, "held": 0, "fault_rate": 0.0},
    "refund_key_forgotten": {**_ALONE, "given_back": 0.9, "fault_rate": 0.0},
    "reservation_kept_by_what_failed": {**_ALONE, "customers": 14, "fault_rate": 0.0},
    "reservation_given_up_by_what_is_held": {"held": 6, "customers": 8, "scheduling": 0.0, "fault_rate": 0.0},
    "scheduled_payment_left_waiting": {"scheduling": 0.6, "held": 0, "fault_rate": 0.0},
}  # fmt: skip
