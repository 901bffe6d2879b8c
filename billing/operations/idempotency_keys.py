"""Idempotency keys: the same call of a machine again gets the same answer, whatever broke in between.

Whoever works on a key holds a lock in PostgreSQL that goes with its connection, so that a crash frees it at once. A key
that has no answer and that nobody holds was left by a crash: the call is worked on again, and what it does must then
find what was done before by a key of its own.

Source: the design's rule on idempotency; reliability 1 (Stripe)
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, connection, transaction

from billing.errors import Conflict
from billing.failpoints import failpoint
from billing.models import Biller, IdempotencyKey

KEPT = datetime.timedelta(days=30)
_BATCH = 5_000


class IdempotencyKeyReused(Conflict):
    """The key came before with other input, or for something else."""

    default = "This Idempotency-Key was used for another call. Send each new call with a new key."


class CallInFlight(Conflict):
    """The first call with the key has not been answered yet."""

    default = "The first call with this Idempotency-Key is still being worked on. Send it again in a moment."


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered: HTTP status and a JSON body; ``replayed`` where an earlier call got it."""

    status: int
    body: Any
    replayed: bool = False


def answer_once(
    *, biller: Biller, key: str, operation: str, given: Mapping[str, Any], act: Callable[[], Answer]
) -> Answer:
    """Act and keep the answer, or give the one that the same call got before.

    ``act`` may be called again after a crash between what it did and the keeping of its answer. What it raises is kept
    as no answer: the call may be repeated.

    :raises IdempotencyKeyReused: the key came with other input.
    :raises CallInFlight: another call with the key is being worked on.
    """
    hashed = _hash(operation, given)
    with _held(biller, key):
        row, _made = IdempotencyKey.objects.get_or_create(
            biller=biller, key=key, defaults={"operation": operation, "input_hash": hashed}
        )
        if row.input_hash != hashed:
            raise IdempotencyKeyReused
        if row.status is not None:
            return Answer(row.status, row.answer, replayed=True)
        answer = act()
        failpoint("idempotency.acted")
        IdempotencyKey.objects.filter(pk=row.pk).update(status=answer.status, answer=answer.body)
        return answer


def forget(*, now: datetime.datetime) -> int:
    """Remove keys of billers in scope that no client will send any more, a few thousand in a transaction; gives how many.

    What they did keeps its own unique key.
    """
    removed = 0
    while True:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            # Ids rise with time, so that only the oldest are ever read.
            cursor.execute(
                """
                DELETE FROM billing_idempotencykey WHERE id = ANY(ARRAY(
                    SELECT id FROM (SELECT id, created_at FROM billing_idempotencykey ORDER BY id LIMIT %s) oldest
                    WHERE created_at < %s
                ))
                """,
                [_BATCH, now - KEPT],
            )
            gone = int(cursor.rowcount)
        removed += gone
        if gone < _BATCH:
            return removed


def _hash(operation: str, given: Mapping[str, Any]) -> str:
    text = json.dumps([operation, given], sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _held(biller: Biller, key: str) -> Iterator[None]:
    """Hold the key for as long as this process lives.

    :raises CallInFlight: somebody else holds it.
    """
    digest = hashlib.sha256(f"idempotency:{biller.pk}:{key}".encode()).digest()
    lock = int.from_bytes(digest[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [lock])
        if not cursor.fetchone()[0]:
            raise CallInFlight
    try:
        yield
    finally:
        # A connection that is gone took the lock with it.
        with contextlib.suppress(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [lock])
