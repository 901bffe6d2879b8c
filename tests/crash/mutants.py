"""Deliberately broken variants of the engine: the code that people write first. The harness must catch each of them."""

from __future__ import annotations
import __future__

import datetime
import inspect
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing.actors import Actor
from billing.failpoints import failpoint
from billing.models import Biller, Chunk, ChunkState, Run
from billing.operations.invoice_files import loading
from datapump.connectors.base import Delivered, Message, OutcomeUnknown, Undelivered
from datapump.operations import records
from datapump.operations.deliveries import loop, rows
from datapump.operations.deliveries.messages import Claimed, message
from datapump.operations.deliveries.outcomes import judge
from payments.gateways.base import Answer, ChargeRequest, Command, Gateway, Lost, Result
from payments.models import Attempt, Checkpoint, Payment, Route
from payments.operations import (
    answers,
    cases,
    collections,
    deposits,
    postings,
    recoveries,
    refunds,
    reservations,
    returns,
    reversals,
    runs,
    scheduled_collections,
    scheduled_outcomes,
    settlements,
)
from payments.operations import charges as charges_
from payments.operations.answers import record_answers
from payments.operations.groups import Bill, charges
from payments.operations.routes import open_route


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


def refund_checkpoint_after_the_call(patch: pytest.MonkeyPatch) -> None:
    """Give money back first, and write it down together with the answer."""

    def refund(*, payment: Payment, amount: Decimal, reason: str, actor: Actor, request_key: str) -> None:
        assert payment.route is not None
        results: list[Answer | Lost] = []
        with transaction.atomic():
            started = inspect.unwrap(refunds.start)(
                payment_id=payment.pk, amount=amount, with_fee=False, reason=reason, actor=actor, request_key=request_key,
                now=timezone.now(),
            )  # fmt: skip
            if isinstance(started, tuple):
                results += open_route(payment.route).send([started[1]])
                failpoint("refund.answered")
        settlements.settle(biller=payment.biller, answers=answers.answers_of(results), actor=actor, now=timezone.now())

    patch.setattr(refunds, "refund", refund)


def hold_checkpoint_after_the_call(patch: pytest.MonkeyPatch) -> None:
    """Charge a card as it is entered, and write it down together with the answer."""
    start = inspect.unwrap(charges_.start)

    def started_and_sent(**given: Any) -> Payment:
        with transaction.atomic():
            started = start(**{**given, "hold": None})
            if isinstance(started, Payment):
                return started
            results = list(open_route(given["instrument"].route).send([started.request]))
            failpoint("pay.answered")
        settlements.settle(
            biller=given["customer"].biller,
            answers=answers.answers_of(results),
            actor=given["actor"],
            now=timezone.now(),
        )
        return Payment.objects.get(pk=started.payment_id)

    patch.setattr(charges_, "start", started_and_sent)


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


def _afterwards(
    patch: pytest.MonkeyPatch, module: Any, name: str, wanted: Callable[..., bool] = lambda *_: True
) -> None:
    """Have what a function does done only when the transaction has ended."""
    act = getattr(module, name)

    def later(*given: Any, **named: Any) -> None:
        if not wanted(*given):
            act(*given, **named)
            return

        def now() -> None:
            failpoint("afterwards")
            with transaction.atomic():
                act(*given, **named)

        transaction.on_commit(now)

    patch.setattr(module, name, later)


def record_written_after_the_payment(patch: pytest.MonkeyPatch) -> None:
    """Write what the biller's system must hear in a transaction of its own."""
    _afterwards(patch, records, "write_from")


def record_written_after_the_refund(patch: pytest.MonkeyPatch) -> None:
    """Write what the biller's system must hear of a refund in a transaction of its own."""
    _afterwards(patch, reversals, "_tell")


def ledger_written_after_the_payment(patch: pytest.MonkeyPatch) -> None:
    """Book in the ledger in a transaction of its own."""
    _afterwards(patch, postings, "_enter")


def balance_written_after_the_payment(patch: pytest.MonkeyPatch) -> None:
    """Change the customer's balance in a transaction of its own."""
    _afterwards(patch, postings, "_change", lambda table, *_: table == "billing_customer")


def scheduled_payment_ended_after_its_payment(patch: pytest.MonkeyPatch) -> None:
    """End a scheduled payment that was made in a transaction of its own."""
    _afterwards(patch, scheduled_outcomes, "paid")


def file_taken_for_loaded_before_it_is_merged(patch: pytest.MonkeyPatch) -> None:
    """Mark an invoice file as loaded when it is found to be good."""
    rewrite(patch, loading, "_load", ("state=FileState.LOADING", "state=FileState.LOADED"))


def record_named_anew_on_each_try(patch: pytest.MonkeyPatch) -> None:
    """Tell the biller's system of a payment under another name when it is told again."""

    def named_anew(record: Claimed) -> Message:
        first = message(record)
        if not record.attempts or first.kind != "payment":
            return first
        name = str(uuid.uuid5(uuid.UUID(record.id), str(record.attempts)))
        return replace(first, facts={**first.facts, "payment_guid": name})

    patch.setattr(loop, "message", named_anew)


def lost_answer_taken_for_delivered(patch: pytest.MonkeyPatch) -> None:
    """Take a record as told when the biller's system did not answer."""

    def trusting(result: Delivered | Undelivered, **given: Any) -> Any:
        if isinstance(result, Undelivered) and isinstance(result.error, OutcomeUnknown):
            result = Delivered(result.message_id)
        return judge(result, **given)

    patch.setattr(loop, "judge", trusting)


def dead_workers_chunk_taken_for_unsent(patch: pytest.MonkeyPatch) -> None:
    """Give up what a dead worker had under way, as if it had died before it sent anything."""
    take_over = runs._take_over

    def take_over_and_give_up(biller: Biller, chunk: Chunk, actor: Actor) -> None:
        take_over(biller, chunk, actor)
        for attempt in Attempt.objects.filter(state="open", payment__chunk_id=chunk.pk).select_related("payment"):
            cases.abandon(attempt=attempt, why="Its worker died.", actor=actor, now=timezone.now())

    patch.setattr(runs, "_take_over", take_over_and_give_up)


def mark_taken_away_with_the_answer(patch: pytest.MonkeyPatch) -> None:
    """Forget an attempt when it is answered, before the answer has its effect."""

    def record_and_forget(*, biller: Biller, answers: Sequence[Answer], now: datetime.datetime) -> None:
        record_answers(biller=biller, answers=answers, now=now)
        Checkpoint.objects.filter(attempt__in=[answer.key for answer in answers]).delete()

    patch.setattr(settlements, "record_answers", record_and_forget)


def response_file_believed_too_early(patch: pytest.MonkeyPatch) -> None:
    """Take for absent what was sent just before a response file was closed."""
    rewrite(patch, recoveries, "abandon_absent", ("file.covers_until - settle_time", "file.covers_until"))


def return_named_anew_on_each_reading(patch: pytest.MonkeyPatch) -> None:
    """Book a return again whenever it is read again."""
    rewrite(
        patch,
        returns,
        "_take",
        ("reference=told.reference).exists()", "reference=told.reference, pk__isnull=True).exists()"),
        ("reference=told.reference[:64],", "reference=str(uuid.uuid4()),"),
    )


# Each with what a world must be like for it to do harm there at once, on any machine.
_CALM: dict[str, Any] = {
    "customers": 6, "household": 1, "scheduling": 0.0, "held": 0, "fault_rate": 0.0, "living": 1.0, "workers": (1,),
    "own_runs": False, "files": False,
}  # fmt: skip
# Half of what is sent is acted on long after the settle time.
_LATE: dict[str, Any] = {
    **_CALM, "customers": 8, "faults": {"drop_then_late": {"probability": 0.5, "seconds": 2.0, "on": ["online", "batch"]}},
}  # fmt: skip


def _dying(*places: tuple[str, str], **more: Any) -> dict[str, Any]:
    """Have every worker of these steps die at one place, the first time that it comes there, and no other worker."""
    points = {step: (place,) for step, place in places}
    return {**_CALM, "points": points, "nth": 1, "living": 0.0, **more}


MUTANTS: dict[Callable[[pytest.MonkeyPatch], None], dict[str, Any]] = {
    checkpoint_after_the_call: _dying(("collect", "collect.answered")),
    deposit_checkpoint_after_the_call: _dying(("deposit", "deposit.answered"), held=4),
    refund_checkpoint_after_the_call: _dying(("give_back", "refund.answered"), given_back=0.9),
    hold_checkpoint_after_the_call: _dying(("authorize", "pay.answered"), held=4),
    time_out_taken_as_decline: {**_CALM, "faults": {"drop_after": {"probability": 0.5, "on": ["online", "batch"]}}},
    absence_believed_without_duplicate_detection: {**_LATE, "deduplicates": False},
    unknown_given_up_instead_of_a_case: {**_LATE, "deduplicates": False},
    absence_taken_as_final: {**_LATE, "deduplicates": True},
    absent_refund_taken_for_failed: {**_LATE, "deduplicates": True, "given_back": 0.9},
    response_file_believed_too_early: {**_LATE, "files": True, "settle_seconds": 4.0},
    repeat_sent_under_a_new_key: {**_LATE, "deduplicates": True},
    dead_workers_chunk_taken_for_unsent: _dying(("collect", "collect.answered"), ("recover", "recover.looked_up")),
    mark_taken_away_with_the_answer: _dying(("collect", "settle.recorded")),
    others_of_a_group_forgotten: {**_CALM, "household": 3, "customers": 9},
    group_asked_for_the_first_bill: {**_CALM, "household": 3, "customers": 9},
    reservation_kept_by_what_failed: {**_CALM, "customers": 8, "declining": 0.5},
    reservation_given_up_by_what_is_held: {**_CALM, "held": 6},
    ledger_written_after_the_payment: _dying(("collect", "afterwards")),
    balance_written_after_the_payment: _dying(("collect", "afterwards")),
    refund_key_forgotten: {**_CALM, "customers": 12, "given_back": 0.9},
    return_named_anew_on_each_reading: {**_CALM, "returned": 0.9},
    scheduled_payment_left_waiting: {**_CALM, "scheduling": 0.6},
    scheduled_payment_ended_after_its_payment: _dying(("pay_scheduled", "afterwards"), scheduling=0.6),
    file_taken_for_loaded_before_it_is_merged: _dying(("load", "load.merging")),
    record_written_after_the_payment: _dying(("collect", "afterwards")),
    record_written_after_the_refund: _dying(("give_back", "afterwards"), given_back=0.9),
    record_marked_before_the_call: _dying(("deliver", "deliver.claimed")),
    record_named_anew_on_each_try: {**_CALM, "cis_faults": [{"action": "drop_after", "probability": 0.5}]},
    lost_answer_taken_for_delivered: {**_CALM, "cis_faults": [{"action": "drop_before", "probability": 0.5}]},
}
