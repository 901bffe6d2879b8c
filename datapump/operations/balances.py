"""Balances: asking the biller's own system what accounts owe, within a time that a person will wait, and keeping the answer.

Asking and keeping are apart, because no transaction may be open while anything is sent: ``ask`` speaks to the biller's
system, ``keep`` and ``keep_health`` write down what came, inside a transaction of the caller's. An endpoint that does not
answer is left alone for a while, by the rules of delivery.

Source: MSP-1, MSP-4, MSP-5; ADR 12
"""

from __future__ import annotations

import json
import queue
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from billing import sets
from billing.actors import Actor
from billing.secrets import SecretUnreadable
from datapump.advanced_settings import target_of
from datapump.calls import Answer, Call, Calls
from datapump.connectors.base import (
    Balance,
    Connector,
    ConnectorError,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    ReadsBalances,
)
from datapump.connectors.registry import connector_named
from datapump.models import Endpoint, Purpose
from datapump.operations.deliveries import rows
from datapump.operations.deliveries.messages import wire_account
from datapump.operations.deliveries.outcomes import Breaker, Waits, ails
from datapump.operations.deliveries.pauses import pause
from datapump.operations.endpoints import flags_of

ACTOR = Actor.system("live balances")

# Seconds in which a call that ran out of time says so.
_GRACE = 0.2
_WAITS = Waits(random.SystemRandom())


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking for one account: a balance, or the error that kept it from coming. Moments are PostgreSQL's."""

    customer_id: int
    asked_at: datetime
    answered_at: datetime
    balance: Balance | None = None
    error: ConnectorError | None = None


@dataclass(slots=True)
class Asking:
    """One asking of an endpoint, begun ``now``. ``calls`` are what became of each call that went out, in their order."""

    endpoint: Endpoint
    now: datetime
    asked: list[Asked] = field(default_factory=list)
    calls: list[ConnectorError | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Account:
    customer_id: int
    number: str


def clock() -> datetime:
    """Give PostgreSQL's time, by which balances and deliveries are dated: machines disagree on theirs."""
    return rows.clock()


def endpoint_of(biller_id: int) -> Endpoint | None:
    """Give a biller's endpoint for balances, with its biller; nothing where its system cannot be asked."""
    endpoint = Endpoint.objects.filter(biller_id=biller_id, purpose=Purpose.BALANCES).select_related("biller").first()
    return endpoint if endpoint is not None and endpoint.url else None


def ask(*, endpoint: Endpoint, customers: Iterable[int], seconds: float | None = None) -> Asking:
    """Ask for those of the biller's customers whose balance is no longer fresh, ``in_flight`` of them at once.

    It ends within ``seconds`` in all, by default within the endpoint's time for one answer; who was not asked by then is a
    failure like any other. Never raises for what the other side does.

    :raises RuntimeError: a transaction is open.
    """
    [asking] = ask_all(wanted=[(endpoint, customers)], seconds=seconds)
    return asking


def ask_all(*, wanted: Sequence[tuple[Endpoint, Iterable[int]]], seconds: float | None = None) -> list[Asking]:
    """Do the same at several endpoints at once, each within its own bounds; gives an asking for each, in their order.

    :raises RuntimeError: a transaction is open.
    """
    if connection.in_atomic_block:
        raise RuntimeError("The biller's system is asked while no transaction is open.")
    askers = []
    for endpoint, customers in wanted:
        accounts, now = _stale(endpoint, customers)
        askers.append(_Asker(Asking(endpoint, now), accounts, seconds or float(endpoint.timeout_seconds)))
    ready = {asker.lane: asker for asker in askers if asker.prepare()}
    if ready:
        with Calls(None if not settings.PRODUCTION else settings.DATAPUMP_NETWORKS) as line:
            _converse(line, ready)
    return [asker.asking for asker in askers]


def _converse(line: Calls, askers: Mapping[str, _Asker]) -> None:
    """Let each ask until it has its answers, or its time is over."""
    for asker in askers.values():
        asker.begin(line)
    while unanswered := [asker for asker in askers.values() if asker.waiting]:
        ends = max(asker.ends for asker in unanswered) + _GRACE
        try:
            answer = line.answers.get(timeout=max(0.0, ends - line.clock()))
        except queue.Empty:
            break
        askers[answer.call.lane].take(line, answer)
    for asker in askers.values():
        asker.finish()


def _stale(endpoint: Endpoint, customers: Iterable[int]) -> tuple[list[_Account], datetime]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.id, c.base, c.sub, coalesce(i.custom2, ''), coalesce(i.custom3, ''), clock_timestamp()
            FROM billing_customer c
            LEFT JOIN LATERAL (
                SELECT v.custom2, v.custom3 FROM billing_invoice v WHERE v.customer_id = c.id AND NOT v.withdrawn
                ORDER BY v.issued_on DESC, v.id DESC LIMIT 1
            ) i ON true
            WHERE c.id = ANY(%s::bigint[]) AND c.biller_id = %s AND NOT EXISTS (
                SELECT FROM datapump_balance b
                WHERE b.customer_id = c.id AND b.answered_at > clock_timestamp() - make_interval(secs => %s)
            )
            ORDER BY c.id
            """,
            [sets.array(customers), endpoint.biller_id, endpoint.reuse_seconds],
        )
        found = cursor.fetchall()
    template = endpoint.biller.wire_account_template
    accounts = [
        _Account(pk, wire_account(template, base=base, sub=sub, custom2=custom2, custom3=custom3))
        for pk, base, sub, custom2, custom3, _now in found
    ]
    return accounts, found[0][5] if found else clock()


class _Asker:
    """One endpoint's asking under way; moments are counted from PostgreSQL's by the clock of the calls.

    ``lane`` is its own among the calls, ``waiting`` how many of these are under way, ``ends`` when it is over.
    """

    def __init__(self, asking: Asking, accounts: Sequence[_Account], seconds: float) -> None:
        self.asking, self.lane = asking, str(asking.endpoint.pk)
        self.waiting, self.ends = 0, 0.0
        self._endpoint, self._now = asking.endpoint, asking.now
        self._accounts, self._seconds = accounts, seconds
        self._breaker = Breaker.of(asking.endpoint)
        self._calls: list[Call] = []
        self._rest: list[Call] = []
        self._began = 0.0

    def prepare(self) -> bool:
        """Write what is to be asked; False where nothing is, or nothing may."""
        if not self._accounts:
            return False
        try:
            connector: Connector = connector_named(self._endpoint.connector)
            if not isinstance(connector, ReadsBalances):
                raise Misconfigured(f"The connector {self._endpoint.connector} cannot ask for balances.")
            self._connector, self._target = connector, target_of(self._endpoint, flags_of(self._endpoint.biller_id))
            self._let_in()
            self._write()
        except (ConnectorError, LookupError, SecretUnreadable) as error:
            known = error if isinstance(error, ConnectorError) else Misconfigured(str(error))
            self.asking.asked = [Asked(one.customer_id, self._now, self._now, error=known) for one in self._accounts]
            if isinstance(known, Misconfigured):
                self.asking.calls.append(known)
            return False
        return bool(self._calls)

    def begin(self, line: Calls) -> None:
        """Send what was written."""
        self._began = line.clock()
        self.ends = self._began + self._seconds
        calls = [replace(call, not_after=self.ends) for call in self._calls]
        # One call alone finds out whether an endpoint that did not answer answers again.
        first, self._rest = (calls[:1], calls[1:]) if self._breaker.closed_until else (calls, [])
        self._feed(line, first)

    def take(self, line: Calls, answer: Answer) -> None:
        """Take an answer, or a call that was not sent."""
        self.waiting -= 1
        self._read(answer)
        if self._breaker.closed_until is not None:
            line.recall(self.lane)
        elif self._rest:
            rest, self._rest = self._rest, []
            self._feed(line, rest)

    def finish(self) -> None:
        """Note who was not asked, or has not answered."""
        done = {one.customer_id for one in self.asking.asked}
        late = self._now + timedelta(seconds=self._seconds)
        left = NotSent("The biller's system was not asked in time, or does not answer.")
        self.asking.asked += [
            Asked(one.customer_id, self._now, late, error=left) for one in self._accounts if one.customer_id not in done
        ]

    def _feed(self, line: Calls, calls: list[Call]) -> None:
        self.waiting += len(calls)
        line.feed(self.lane, self._endpoint.in_flight, calls)

    def _let_in(self) -> None:
        """Return where the endpoint may be asked now.

        :raises NotSent: it is paused, or does not answer and is left alone for a while.
        """
        endpoint = self._endpoint
        if endpoint.paused:
            raise NotSent(endpoint.paused_for or "Balances are switched off for the biller's system.")
        state = self._breaker.state(self._now)
        if state == "half_open":
            # Of several who would try it again one does.
            tried = Endpoint.objects.filter(pk=endpoint.pk, closed_until=endpoint.closed_until).update(
                closed_until=self._now + timedelta(seconds=endpoint.timeout_seconds + 1)
            )
            state = "half_open" if tried else "open"
        if state == "open":
            raise NotSent(f"The biller's system does not answer: {endpoint.last_failure}")

    def _write(self) -> None:
        timeout = min(self._seconds, float(self._endpoint.timeout_seconds))
        for one in self._accounts:
            try:
                envelope = self._connector.write_balance(one.number, self._target)
                signed = self._connector.sign(envelope, self._target, self._now)
            except Misconfigured:
                raise
            except ConnectorError as error:
                self.asking.asked.append(Asked(one.customer_id, self._now, self._now, error=error))
            else:
                envelope = replace(envelope, headers={**envelope.headers, **signed})
                self._calls.append(Call(self.lane, envelope, timeout, one))

    def _read(self, answer: Answer) -> None:
        if not answer.sent:
            return
        account: _Account = answer.call.ticket
        ended = self._now + timedelta(seconds=answer.ended - self._began)
        balance, error = None, answer.error
        if error is None:
            assert answer.status is not None
            try:
                balance = self._connector.read_balance(account.number, self._target, answer.status, answer.body)
            except ConnectorError as known:
                error = known
            except Exception as problem:
                error = OutcomeUnknown(f"The answer cannot be read ({type(problem).__name__}).", answered=True)
        self.asking.asked.append(Asked(account.customer_id, self._now, ended, balance, error))
        self.asking.calls.append(error)
        _count(self._breaker, error, ended)


def _count(breaker: Breaker, error: ConnectorError | None, now: datetime) -> None:
    if error is not None and ails(error):
        breaker.failed(now, str(error), _WAITS, alive=error.answered and not isinstance(error, NotSent))
    elif not isinstance(error, Misconfigured):
        breaker.succeeded(now, delivered=error is None)


# ---- What is kept, inside a transaction of the caller's


_KEEP = """
INSERT INTO datapump_balance AS b (
    customer_id, biller_id, asked_at, answered_at, due, past_due, prepaid, remaining_days, due_on, disconnect_on,
    last_payment, last_paid_on, transaction_types
)
SELECT v.customer_id, %s, v.asked_at, v.answered_at, v.due, v.past_due, v.prepaid, v.remaining_days, v.due_on,
       v.disconnect_on, v.last_payment, v.last_paid_on, v.transaction_types
FROM jsonb_to_recordset(%s::jsonb) AS v (
    customer_id bigint, asked_at timestamptz, answered_at timestamptz, due numeric, past_due numeric, prepaid boolean,
    remaining_days numeric, due_on date, disconnect_on date, last_payment numeric, last_paid_on date,
    transaction_types text[], blocks_card boolean, blocks_bank boolean
)
ORDER BY v.customer_id
ON CONFLICT (customer_id) DO UPDATE SET
    asked_at = excluded.asked_at, answered_at = excluded.answered_at, due = excluded.due, past_due = excluded.past_due,
    prepaid = excluded.prepaid, remaining_days = excluded.remaining_days, due_on = excluded.due_on,
    disconnect_on = excluded.disconnect_on, last_payment = excluded.last_payment, last_paid_on = excluded.last_paid_on,
    transaction_types = excluded.transaction_types, failed_at = NULL, failure = ''
WHERE b.asked_at IS NULL OR b.asked_at < excluded.asked_at
RETURNING b.customer_id
"""


def keep(asking: Asking) -> set[int]:
    """Keep what came, and what it blocks; gives the customers whose answer is newer than what was known.

    The caller is in a transaction and holds the customers that were answered for.
    """
    if failed := [one for one in asking.asked if one.balance is None]:
        _keep_failures(asking.endpoint.biller_id, failed)
    answered = {one.customer_id: one.balance for one in asking.asked if one.balance is not None}
    if not answered:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            _KEEP,
            [asking.endpoint.biller_id, json.dumps([_row(one) for one in asking.asked if one.balance], default=str)],
        )
        newer = {customer for (customer,) in cursor.fetchall()}
        cursor.execute(
            """
            UPDATE billing_customer c SET cis_blocks_card = v.card, cis_blocks_bank = v.bank
            FROM unnest(%s::bigint[], %s::boolean[], %s::boolean[]) AS v(id, card, bank)
            WHERE c.id = v.id AND (c.cis_blocks_card <> v.card OR c.cis_blocks_bank <> v.bank)
            """,
            [
                sorted(newer),
                ["card" in answered[pk].blocks for pk in sorted(newer)],
                ["bank" in answered[pk].blocks for pk in sorted(newer)],
            ],
        )
    return newer


def _row(one: Asked) -> Mapping[str, Any]:
    assert one.balance is not None
    said = one.balance
    return {
        "customer_id": one.customer_id, "asked_at": one.asked_at, "answered_at": one.answered_at, "due": said.due,
        "past_due": said.past_due, "prepaid": said.prepaid, "remaining_days": said.remaining_days,
        "due_on": said.due_on, "disconnect_on": said.disconnect_on, "last_payment": said.last_payment,
        "last_paid_on": said.last_paid_on, "transaction_types": [word[:60] for word in said.transaction_types[:20]],
    }  # fmt: skip


def _keep_failures(biller_id: int, failed: Sequence[Asked]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO datapump_balance AS b (customer_id, biller_id, failed_at, failure)
            SELECT v.id, %s, v.at, v.words FROM unnest(%s::bigint[], %s::timestamptz[], %s::text[]) AS v(id, at, words)
            ORDER BY v.id
            ON CONFLICT (customer_id) DO UPDATE SET failed_at = excluded.failed_at, failure = excluded.failure
            WHERE b.answered_at IS NULL OR b.answered_at < excluded.failed_at
            """,
            [
                biller_id,
                [one.customer_id for one in failed],
                [one.answered_at for one in failed],
                [(str(one.error) or "The balance could not be read.")[:300] for one in failed],
            ],
        )


def keep_health(asking: Asking) -> None:
    """Count what became of the calls for the endpoint, or pause it where its settings are wrong.

    The last that a transaction does, so that others wait for the endpoint's row no longer than they must.
    """
    if not asking.calls:
        return
    endpoint = Endpoint.objects.select_for_update(no_key=True).get(pk=asking.endpoint.pk)
    breaker, now = Breaker.of(endpoint), rows.clock()
    for error in asking.calls:
        _count(breaker, error, now)
    rows.keep_health([rows.Health(str(endpoint.pk), breaker, "")], now=now)
    wrong = next((error for error in asking.calls if isinstance(error, Misconfigured)), None)
    if wrong is not None and not endpoint.paused:
        pause(endpoint, str(wrong), actor=ACTOR)
