"""What delivery reads and writes in the database: few statements for many rows, each inside the caller's transaction.

Server-side parameters and arrays throughout: a claim or a result of one row costs what its share of a batch costs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from django.db import connection

from datapump.models.records import RecordType
from datapump.operations.deliveries.messages import COMMENTS, KINDS, Claimed, Wire, wire_account
from datapump.operations.deliveries.outcomes import Breaker, Verdict

SHARDS = 16
"""Endpoints are spread over so many shards; one process at a time serves a shard."""

_LOCK = 0x44504D50
_LIVE = "('waiting', 'sending', 'retrying')"
_PENDING = int(RecordType.PENDING)


@dataclass(frozen=True, slots=True)
class Want:
    """How much work one endpoint has room for, and where to look for it: customers above ``after``, at most ``steps``
    of them. Claims from before ``stale`` are free again. ``holds``: a failed record holds its customer's later ones.
    """

    endpoint_id: str
    after: int
    most: int
    steps: int
    stale: datetime
    holds: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a look brought: the records due, and where the next look begins; ``ended`` where there are no more customers."""

    ids: list[str]
    after: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call as it is kept: texts are masked."""

    id: int
    biller_id: int
    endpoint_id: str
    operation: str
    at: datetime
    milliseconds: int
    status: int | None
    request: str
    answer: str
    failures: int


@dataclass(frozen=True, slots=True)
class Result:
    """One record's try; without ``exchange_id`` nothing went over the wire."""

    record: Claimed
    verdict: Verdict
    exchange_id: int | None
    at: datetime
    milliseconds: int
    status: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """What is kept of an endpoint after a cycle: its breaker, what to tell the operator, and whether it must stop."""

    endpoint_id: str
    breaker: Breaker
    note: str = ""


# ---- Shards -----------------------------------------------------------------------------------------------------------


def take_shards(shards: Iterable[int]) -> list[int]:
    """Take those of these shards that nobody serves; they are ours until ``leave_shards`` or the connection's end."""
    with connection.cursor() as cursor:
        taken = []
        for shard in shards:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, shard])
            if cursor.fetchone()[0]:
                taken.append(shard)
    return taken


def leave_shards(shards: Iterable[int]) -> None:
    """Let others serve these shards."""
    with connection.cursor() as cursor:
        for shard in shards:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCK, shard])


def clock() -> datetime:
    """Give PostgreSQL's time, which every process agrees on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


_STEADY = {
    **dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "jit"), "off"),
    "join_collapse_limit": "1",
    "plan_cache_mode": "force_generic_plan",
}


def steady_plans() -> None:
    """Have every statement of this connection planned once, to go by primary keys and indexes, row by row, in the order in
    which it is written, until ``usual_plans``.

    How many records wait and are being sent changes faster than statistics do, and a plan made for few that meets many
    is what a queue dies of.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _STEADY.items())
        )
    connection.connection.prepare_threshold = 0  # Django turns prepared statements off


def usual_plans() -> None:
    """Give the connection back as it was."""
    connection.connection.prepare_threshold = None
    with connection.cursor() as cursor:
        cursor.execute("; ".join(f"RESET {name}" for name in _STEADY))


def reap(endpoint_id: str, biller_id: int, *, stale: datetime, held: Iterable[str], now: datetime) -> int:
    """Free an endpoint's claims from before ``stale``, but ``held``, whose process has died or hangs; gives how many.

    Whether they were sent nobody knows, so they go again as they are.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE datapump_record SET state = 'retrying', claimed_at = NULL, due_at = %s, trouble = 'unknown',
                   failure = 'Sending stopped before an answer came; it goes again.'
            WHERE biller_id = %s AND type = ANY(%s) AND state = 'sending' AND endpoint_id = %s AND claimed_at < %s
                  AND NOT id = ANY(%s::uuid[])
            """,
            [now, biller_id, [int(type_) for type_ in KINDS], endpoint_id, stale, list(held)],
        )
        return int(cursor.rowcount)


# ---- Claims -----------------------------------------------------------------------------------------------------------

_DUE = """(
    ({row}.state IN ('waiting', 'retrying') AND {row}.due_at <= %(now)s) OR ({row}.state = 'sending' AND {row}.claimed_at < w.stale)
) AND NOT (w.holds AND EXISTS (
    SELECT FROM datapump_record f WHERE f.endpoint_id = w.endpoint_id AND f.customer_id = {row}.customer_id
    AND f.state = 'failed' AND (f.created_at, f.id) < ({row}.created_at, {row}.id)
))"""

# The first live record of each customer, by jumping from customer to customer along the index of live records.
_HEADS = f"""
SELECT w.k, h.id::text, h.customer_id, h.due, h.step
FROM unnest(%(endpoints)s::uuid[], %(after)s::bigint[], %(most)s::int[], %(steps)s::int[], %(stale)s::timestamptz[],
            %(holds)s::boolean[]) WITH ORDINALITY AS w(endpoint_id, after, most, steps, stale, holds, k)
CROSS JOIN LATERAL (
    WITH RECURSIVE head AS (
        (SELECT r.id, r.customer_id, r.state, r.due_at, r.claimed_at, r.created_at, 1 AS step
         FROM datapump_record r
         WHERE r.endpoint_id = w.endpoint_id AND r.customer_id > w.after AND r.state IN {_LIVE} AND r.type <> {_PENDING}
         ORDER BY r.customer_id, r.created_at, r.id LIMIT 1)
        UNION ALL
        SELECT n.id, n.customer_id, n.state, n.due_at, n.claimed_at, n.created_at, head.step + 1
        FROM head CROSS JOIN LATERAL (
            SELECT r.id, r.customer_id, r.state, r.due_at, r.claimed_at, r.created_at
            FROM datapump_record r
            WHERE r.endpoint_id = w.endpoint_id AND r.customer_id > head.customer_id AND r.state IN {_LIVE} AND r.type <> {_PENDING}
            ORDER BY r.customer_id, r.created_at, r.id LIMIT 1
        ) n
        WHERE head.step < w.steps
    )
    SELECT t.id, t.customer_id, t.due, t.step
    FROM (SELECT head.*, {_DUE.format(row="head")} AS due FROM head) t
    WHERE t.due OR t.step = w.steps
    LIMIT w.most
) h
"""

# The record that comes next for customers one of whose records has just been settled.
_NEXT = f"""
SELECT n.id::text, w.endpoint_id::text
FROM unnest(%(endpoints)s::uuid[], %(customers)s::bigint[], %(stale)s::timestamptz[], %(holds)s::boolean[])
    AS w(endpoint_id, customer_id, stale, holds)
CROSS JOIN LATERAL (
    SELECT r.id, r.customer_id, r.state, r.due_at, r.claimed_at, r.created_at
    FROM datapump_record r
    WHERE r.endpoint_id = w.endpoint_id AND r.customer_id = w.customer_id AND r.state IN {_LIVE} AND r.type <> {_PENDING}
    ORDER BY r.created_at, r.id LIMIT 1
) n
WHERE {_DUE.format(row="n")}
"""

_LOCK_ROWS = """
SELECT r.id::text, r.endpoint_id::text, r.biller_id, r.customer_id, r.type, r.facts::text, r.created_at::text, r.attempts,
       r.refusals, c.base, c.sub, c.service_location, coalesce(i.custom2, ''), coalesce(i.custom3, ''), coalesce(p.custom4, '')
FROM unnest(%(ids)s::uuid[], %(stale)s::timestamptz[], %(passes)s::boolean[]) AS w(id, stale, passes)
JOIN datapump_record r ON r.id = w.id
JOIN billing_customer c ON c.id = r.customer_id
LEFT JOIN LATERAL (
    SELECT v.custom2, v.custom3 FROM billing_invoice v WHERE v.customer_id = r.customer_id AND NOT v.withdrawn
    ORDER BY v.issued_on DESC, v.id DESC LIMIT 1
) i ON NOT r.facts ? 'wire'
LEFT JOIN LATERAL (
    SELECT v.custom4 FROM billing_invoice v
    WHERE v.customer_id = r.customer_id AND NOT v.withdrawn AND NOT (w.passes AND v.kind ILIKE '%%donation%%')
    ORDER BY v.issued_on DESC, v.id DESC LIMIT 1
) p ON r.type IN (3, 4) AND NOT r.facts ? 'wire'
WHERE CASE r.state WHEN 'sending' THEN r.claimed_at < w.stale ELSE r.state IN ('waiting', 'retrying') END
FOR NO KEY UPDATE OF r SKIP LOCKED
"""

_CLAIM = """
UPDATE datapump_record r SET state = 'sending', claimed_at = %(now)s,
       facts = CASE WHEN v.wire IS NULL THEN r.facts ELSE r.facts || jsonb_build_object('wire', v.wire) END
FROM unnest(%(ids)s::uuid[], %(wires)s::jsonb[]) AS v(id, wire)
WHERE r.id = v.id
"""


def _raw() -> psycopg.Cursor[Any]:
    """A cursor that binds on the server; the caller is in a transaction, so PostgreSQL knows who is in scope."""
    return psycopg.Cursor(connection.connection)


def _json(rows: list[dict[str, Any]]) -> str:
    """Write rows as the one parameter of a statement."""
    return json.dumps(rows, ensure_ascii=False, default=str, separators=(",", ":"))


def _array(values: Iterable[object]) -> str:
    """Write ids, numbers and moments as an array: psycopg's own cost several microseconds an element."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def _moments(values: Iterable[datetime]) -> str:
    """Write moments as an array."""
    return "{" + ",".join([value.isoformat() for value in values]) + "}"


def _texts(values: Iterable[str | None]) -> str:
    """Write texts as an array."""
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return '"' + text.replace('"', '\\"') + '"'


def look(wants: Sequence[Want], *, now: datetime) -> list[Found]:
    """Find due records for several endpoints at once, the first of each customer's alone, in the order of customers."""
    with _raw() as cursor:
        cursor.execute(
            _HEADS.encode(),
            {
                "endpoints": [want.endpoint_id for want in wants],
                "after": [want.after for want in wants],
                "most": [want.most for want in wants],
                "steps": [want.steps for want in wants],
                "stale": [want.stale for want in wants],
                "holds": [want.holds for want in wants],
                "now": now,
            },
            prepare=True,
        )
        rows = cursor.fetchall()
    by_want: list[list[tuple[Any, ...]]] = [[] for _ in wants]
    for row in rows:
        by_want[row[0] - 1].append(row)
    found = []
    for want, its in zip(wants, by_want, strict=True):
        ids = [row[1] for row in its if row[3]]
        # Stopped early, by the number asked for or by the number of steps: there may be more behind the last one seen.
        stopped = bool(its) and (len(its) == want.most or its[-1][4] == want.steps)
        found.append(Found(ids, its[-1][2] if stopped else 0, not stopped))
    return found


def look_next(
    customers: Sequence[tuple[str, int]], stale: Mapping[str, datetime], holds: Mapping[str, bool], *, now: datetime
) -> list[tuple[str, str]]:
    """Find the due next record of each (endpoint, customer)."""
    written = {endpoint: moment.isoformat() for endpoint, moment in stale.items()}
    with _raw() as cursor:
        cursor.execute(
            _NEXT.encode(),
            {
                "endpoints": _array([endpoint for endpoint, _ in customers]),
                "customers": _array([customer for _, customer in customers]),
                "stale": _array([written[endpoint] for endpoint, _ in customers]),
                "holds": _array([holds[endpoint] for endpoint, _ in customers]),
                "now": now,
            },
            prepare=True,
        )
        return [(record, endpoint) for record, endpoint in cursor.fetchall()]


def claim(
    found: Sequence[tuple[str, str]],
    *,
    stale: Mapping[str, datetime],
    templates: Mapping[str, str],
    passes_donations: Mapping[str, bool],
    now: datetime,
) -> list[Claimed]:
    """Claim those of these (record, endpoint) that nobody else has; the mappings are by endpoint."""
    written = {endpoint: moment.isoformat() for endpoint, moment in stale.items()}
    with _raw() as cursor:
        cursor.execute(
            _LOCK_ROWS.encode(),
            {
                "ids": _array([record for record, _ in found]),
                "stale": _array([written[endpoint] for _, endpoint in found]),
                "passes": _array([passes_donations[endpoint] for _, endpoint in found]),
            },
            prepare=True,
        )
        claimed: list[Claimed] = []
        wires: list[str | None] = []
        for row in cursor.fetchall():
            facts = json.loads(row[5])
            kept = facts.get("wire")
            if kept is not None:
                wire = Wire(**kept)
                wires.append(None)
            else:
                account = wire_account(templates[row[1]], base=row[9], sub=row[10], custom2=row[12], custom3=row[13])
                wire = Wire(account, (row[14] or row[11]) if row[4] in COMMENTS else "")
                wires.append(json.dumps({"account": wire.account, "service_location": wire.service_location}))
            created = datetime.fromisoformat(row[6])
            claimed.append(Claimed(row[0], row[1], row[2], row[3], row[4], facts, created, now, row[7], row[8], wire))
        if claimed:
            cursor.execute(
                _CLAIM.encode(),
                {"ids": _array([one.id for one in claimed]), "wires": _texts(wires), "now": now},
                prepare=True,
            )
    order = {record: position for position, (record, _) in enumerate(found)}
    claimed.sort(key=lambda one: order[one.id])
    return claimed


def release(records: Sequence[Claimed]) -> None:
    """Give back records that were claimed and not sent, as if they had never been looked at."""
    with _raw() as cursor:
        cursor.execute(
            b"""
            UPDATE datapump_record r SET state = CASE WHEN r.attempts = 0 THEN 'waiting' ELSE 'retrying' END, claimed_at = NULL
            FROM json_to_recordset(%s) AS v(id uuid, claimed_at timestamptz)
            WHERE r.id = v.id AND r.claimed_at = v.claimed_at
            """,
            [_json([{"id": one.id, "claimed_at": one.claimed_at} for one in records])],
            prepare=True,
        )


# ---- Results ----------------------------------------------------------------------------------------------------------


def exchange_ids(count: int) -> list[int]:
    """Take so many ids for exchanges."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(s.name) FROM (SELECT pg_get_serial_sequence('datapump_envelope', 'id')::regclass OFFSET 0) s(name)"
            " CROSS JOIN generate_series(1, %s)",
            [count],
        )
        return [row[0] for row in cursor.fetchall()]


def keep_exchanges(exchanges: Sequence[Exchange]) -> None:
    """Keep what was said."""
    with _raw() as cursor:
        cursor.execute(
            b"""
            INSERT INTO datapump_envelope
                (id, biller_id, endpoint_id, operation, at, milliseconds, status, request, answer, failures)
            SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::uuid[], %s::text[], %s::timestamptz[], %s::int[],
                %s::smallint[], %s::text[], %s::text[], %s::smallint[])
            """,
            [
                _array([one.id for one in exchanges]),
                _array([one.biller_id for one in exchanges]),
                _array([one.endpoint_id for one in exchanges]),
                _texts([one.operation for one in exchanges]),
                _moments([one.at for one in exchanges]),
                _array([one.milliseconds for one in exchanges]),
                _array([one.status for one in exchanges]),
                _texts([one.request for one in exchanges]),
                _texts([one.answer for one in exchanges]),
                _array([one.failures for one in exchanges]),
            ],
            prepare=True,
        )


_RECORD = """
WITH v AS MATERIALIZED (
    SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::timestamptz[], %s::bigint[], %s::timestamptz[], %s::int[],
        %s::smallint[], %s::text[], %s::timestamptz[], %s::smallint[], %s::text[], %s::text[], %s::boolean[])
    AS v(biller_id, id, claimed_at, exchange_id, at, milliseconds, status, state, due_at, refusals, outcome, words, thaw)
), tries AS (
    INSERT INTO datapump_delivery (biller_id, record_id, envelope_id, at, milliseconds, status, outcome, words)
    SELECT v.biller_id, v.id, v.exchange_id, v.at, v.milliseconds, v.status, v.outcome, v.words FROM v
)
UPDATE datapump_record r
SET state = v.state, claimed_at = NULL, due_at = v.due_at, attempts = r.attempts + 1, refusals = v.refusals,
    delivered_at = CASE WHEN v.state = 'delivered' THEN v.at ELSE r.delivered_at END,
    failure = v.words, trouble = CASE WHEN v.outcome = 'delivered' THEN '' ELSE v.outcome END,
    facts = CASE WHEN v.thaw THEN r.facts - 'wire' ELSE r.facts END
FROM v
WHERE r.id = v.id AND r.claimed_at = v.claimed_at
RETURNING r.id::text
"""


def record_results(results: Sequence[Result]) -> set[str]:
    """Record tries and what they make of their records; gives the ids of the records that were still ours.

    A claim that was lost meanwhile (its lease over, the record claimed again) changes nothing of the record: its try is
    history all the same.
    """
    with _raw() as cursor:
        cursor.execute(
            _RECORD.encode(),
            [
                _array([one.record.biller_id for one in results]),
                _array([one.record.id for one in results]),
                _moments([one.record.claimed_at for one in results]),
                _array([one.exchange_id for one in results]),
                _moments([one.at for one in results]),
                _array([one.milliseconds for one in results]),
                _array([one.status for one in results]),
                _texts([one.verdict.state.value for one in results]),
                _moments([one.verdict.due_at for one in results]),
                _array([one.verdict.refusals for one in results]),
                _texts([one.verdict.outcome.value for one in results]),
                _texts([one.verdict.words[:300] for one in results]),
                _array([one.verdict.thaw for one in results]),
            ],
            prepare=True,
        )
        return {row[0] for row in cursor.fetchall()}


def keep_health(health: Sequence[Health], *, now: datetime) -> None:
    """Keep the endpoints' breakers and notes."""
    with _raw() as cursor:
        cursor.execute(
            b"""
            UPDATE datapump_endpoint e
            SET failures_in_a_row = v.row, closed_until = v.until, closed_since = v.since, window_from = v.window_from,
                window_calls = v.calls, window_failures = v.failures, last_success_at = v.success, last_failure_at = v.failure,
                last_failure = v.words, note = CASE WHEN v.note = '' THEN e.note ELSE v.note END,
                noted_at = CASE WHEN v.note = '' THEN e.noted_at ELSE %s END
            FROM unnest(%s::uuid[], %s::int[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::int[], %s::int[],
                        %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[])
                 AS v(id, row, until, since, window_from, calls, failures, success, failure, words, note)
            WHERE e.id = v.id
            """,
            [
                now,
                [one.endpoint_id for one in health],
                [one.breaker.failures_in_a_row for one in health],
                [one.breaker.closed_until for one in health],
                [one.breaker.closed_since for one in health],
                [one.breaker.window_from for one in health],
                [one.breaker.window_calls for one in health],
                [one.breaker.window_failures for one in health],
                [one.breaker.last_success_at for one in health],
                [one.breaker.last_failure_at for one in health],
                [one.breaker.last_failure for one in health],
                [one.note[:300] for one in health],
            ],
            prepare=True,
        )
