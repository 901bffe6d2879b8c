"""The delivery loop: claims what is due, has it sent, records what came, for many endpoints at once and fair to each.

One thread decides and speaks to the database; another posts (``datapump.calls``). Between them lie the lanes, one for each
endpoint, so that whoever is slow or dead fills only a lane of its own. The database is asked in cycles: one transaction
records everything that came back since the last cycle and claims what there is room for. No transaction is open while
anything is sent, and a process that dies leaves claims that run out.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q

from billing import tenancy
from billing.actors import Actor
from billing.failpoints import failpoint
from billing.models import Setting
from billing.secrets import SecretUnreadable
from datapump.advanced_settings import DaffronFlags, networks, target_of
from datapump.calls import Answer, Call, Calls
from datapump.connectors.base import (
    Connector,
    ConnectorError,
    Delivered,
    Message,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    Refused,
    Target,
    Undelivered,
)
from datapump.connectors.registry import connector_named
from datapump.models import LIVE, Endpoint, Record
from datapump.operations.deliveries import rows
from datapump.operations.deliveries.messages import Claimed, message
from datapump.operations.deliveries.outcomes import Breaker, Verdict, Waits, ails, judge, refused_whole
from datapump.operations.deliveries.pauses import pause

log = logging.getLogger(__name__)

OVERALL = 512
"""Calls under way in one process, shared evenly by the endpoints that have work."""
GRACE = timedelta(seconds=15)
"""How much longer than its endpoint's time-out a claim lives."""

_LEAST_GRACE = timedelta(milliseconds=100)
_QUEUED = 5.0  # seconds that a claimed record may wait for its turn to be sent
_CYCLE = 0.02  # seconds between cycles while answers keep coming: fewer, fuller transactions
_AHEAD = 0.15  # seconds of work claimed ahead of the calls, by the rate of late
_REFRESH = 1.0  # seconds between looks at the endpoints
_LOOK = 0.05  # seconds, once or twice, between looks at endpoints that have run out of work: all at the same moments
_LATELY = 10.0  # seconds for which an endpoint that has run out of work is looked at so often
_REAP = 5.0
_IDS = 1_000  # ids of exchanges taken at once
_HEALTH = 0.5  # seconds after which an endpoint's successes are kept; failures are kept at once
_STEPS = 2_000  # customers that one look walks over
# Records that one cycle claims, at first and within bounds: so many that the cycle takes as long as it should, since short
# cycles keep small billers beside big ones quick.
_CLAIMS, _FEWEST, _MOST = 256, 128, 2_048
_SHORT, _LONG = 0.03, 0.06  # seconds
_SLOW = 1.0  # seconds from which a call is no longer waited for by the others when the loop hands over


@dataclass(slots=True)
class Tally:
    """What one run of the loop did, in records; ``more`` says that it ended with work left that is due."""

    delivered: int = 0
    refused: int = 0
    unknown: int = 0
    calls: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class _Ticket:
    """What a call carries: its records and their messages, in the same order."""

    records: list[Claimed]
    messages: list[Message]


@dataclass(slots=True, eq=False)
class _Line:
    """One endpoint as the loop serves it."""

    id: str
    endpoint: Endpoint
    connector: Connector
    target: Target
    flags: DaffronFlags
    breaker: Breaker
    flying: int = 0
    after: int = 0
    next_look: float = 0.0
    idle: bool = False
    worked: float = 0.0
    rate: float = 0.0
    latency: float = 0.0
    answered: int = 0
    fed_at: float = 0.0
    alone: set[str] = field(default_factory=set)
    note: str = ""
    stop_for: str = ""
    dirty: bool = False
    urgent: bool = False
    kept_at: float = 0.0


def deliver(
    *,
    actor: Actor,
    seconds: float = 60.0,
    shards: Collection[int] | None = None,
    waits: float = 1.0,
    grace: timedelta = GRACE,
) -> Tally:
    """Deliver what is due until nothing is, or until the time is over and another process may go on.

    ``shards`` of 0 to 15 are the endpoints to serve, all by default; those that another process serves are left to it.
    ``waits`` makes every wait of the rules shorter or longer, for tests. One process may call it any number of times, any
    number of processes at once.

    Source: MSP-11, MSP-17; the design's "Two outboxes"
    """
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        wanted = range(rows.SHARDS) if shards is None else sorted(set(shards))
        taken = rows.take_shards(wanted)
        if not taken:
            return Tally()
        try:
            rows.steady_plans()
            return _Loop(actor, set(taken), seconds, waits, grace).run()
        finally:
            # A connection that broke has let go of them by itself.
            if connection.connection is not None and not connection.connection.closed:
                rows.leave_shards(taken)
                rows.usual_plans()


class _Loop:
    def __init__(self, actor: Actor, shards: set[int], seconds: float, waits: float, grace: timedelta) -> None:
        self._actor = actor
        self._shards = shards
        self._seconds = seconds
        self._waits = Waits(random.SystemRandom(), waits)
        self._grace = max(_LEAST_GRACE, grace * min(1.0, waits))
        self._held: set[str] = set()
        self._lines: dict[str, _Line] = {}
        self._calls: Calls | None = None
        self._tally = Tally()
        self._results: list[rows.Result] = []
        self._exchanges: list[rows.Exchange] = []
        self._unsent: list[Claimed] = []
        self._exchange_ids: list[int] = []
        self._refreshed = -_REFRESH
        self._reaped = -_REAP
        self._cycled = 0.0
        self._claims = _CLAIMS
        self._set_clock()

    def _set_clock(self) -> None:
        now = rows.clock()
        self._origin = now - timedelta(seconds=time.monotonic())

    def _now(self) -> datetime:
        """PostgreSQL's time without asking it: machines disagree on theirs."""
        return self._origin + timedelta(seconds=time.monotonic())

    # ---- the loop

    def run(self) -> Tally:
        ends = time.monotonic() + self._seconds
        try:
            while True:
                moment = time.monotonic()
                closing = moment >= ends
                if moment - self._refreshed >= _REFRESH:
                    self._refresh(moment)
                wants = self._wants(moment, closing)
                if self._results or self._unsent or wants or any(line.stop_for for line in self._lines.values()):
                    self._cycle(wants, moment, closing)
                    continue
                if self._idle(moment, closing):
                    self._keep_health()
                    self._tally.more = closing and any(not line.idle for line in self._lines.values())
                    return self._tally
                self._gather(self._patience())
        finally:
            if self._calls is not None:
                self._calls.close()

    def _idle(self, moment: float, closing: bool) -> bool:
        if any(line.flying for line in self._lines.values()):
            return False
        # Work that comes due within the next refresh is waited for; the rest is for whoever runs next.
        return closing or all(line.next_look > moment for line in self._lines.values())

    def _patience(self) -> float:
        """Seconds to wait for an answer: not longer than until the next look is due."""
        moment = time.monotonic()
        due = [line.next_look - moment for line in self._lines.values() if not line.flying]
        return max(0.001, min([0.25, self._refreshed + _REFRESH - moment, *due]))

    def _refresh(self, moment: float) -> None:
        """Look which endpoints have anything to deliver, and whether what we know of them still holds."""
        self._refreshed = moment
        live = Exists(Record.objects.filter(endpoint=OuterRef("pk"), state__in=LIVE))
        # Whoever had work a moment ago will have more: such lines stay for a while, and are looked at often.
        late = [line.id for line in self._lines.values() if moment - line.worked < _LATELY]
        found = Endpoint.objects.select_related("biller").filter(live | Q(pk__in=late), paused=False)
        ours = [endpoint for endpoint in found if endpoint.pk.int % rows.SHARDS in self._shards]
        settings_131 = dict(
            Setting.objects.filter(number=131, biller__in={endpoint.biller_id for endpoint in ours}).values_list(
                "biller_id", "value"
            )
        )
        seen = set()
        for endpoint in ours:
            flags = DaffronFlags.read(settings_131.get(endpoint.biller_id))
            seen.add(str(endpoint.pk))
            self._keep_line(endpoint, flags)
        for line in list(self._lines.values()):
            if line.id not in seen:
                self._recall(line)
                if not line.flying and not line.dirty and not line.stop_for:
                    del self._lines[line.id]
        if moment - self._reaped >= _REAP:
            self._reaped = moment
            for line in self._lines.values():
                # Not what this process holds itself: that ends by its time-out.
                if rows.reap(
                    line.id, line.endpoint.biller_id, stale=self._stale(line), held=self._held, now=self._now()
                ):
                    line.next_look = 0.0

    def _keep_line(self, endpoint: Endpoint, flags: DaffronFlags) -> None:
        line_id = str(endpoint.pk)
        line = self._lines.get(line_id)
        try:
            connector, target = connector_named(endpoint.connector), target_of(endpoint, flags)
        except (LookupError, SecretUnreadable) as error:
            with transaction.atomic(durable=True):
                pause(endpoint, str(error), actor=self._actor)
            return
        if line is None:
            self._lines[line_id] = _Line(line_id, endpoint, connector, target, flags, Breaker.of(endpoint))
            return
        if target != line.target:
            line.target = target  # a new object where anything changed, since connectors remember what they made of it
        line.endpoint, line.connector, line.flags = endpoint, connector, flags

    def _stale(self, line: _Line) -> datetime:
        return self._now() - timedelta(seconds=line.endpoint.timeout_seconds) - self._grace

    # ---- what there is room for

    def _limit(self, line: _Line) -> int:
        busy = sum(1 for other in self._lines.values() if other.flying) or 1
        return max(1, min(line.endpoint.in_flight, OVERALL // busy))

    def _wants(self, moment: float, closing: bool) -> dict[str, int]:
        """Say how many records each endpoint has room for; an endpoint that is not well has room for none, or one."""
        if closing and not any(self._slow(line, moment) for line in self._lines.values()):
            return {}
        now = self._now()
        wants: dict[str, int] = {}
        for line in self._lines.values():
            if line.next_look > moment or line.stop_for or line.endpoint.paused:
                continue
            if closing and (line.latency == 0 or self._slow(line, moment)):
                continue
            state = line.breaker.state(now)
            if state == "open":
                assert line.breaker.closed_until is not None
                line.next_look = moment + min(_REFRESH, max(0.01, (line.breaker.closed_until - now).total_seconds()))
            elif state == "half_open":
                if not line.flying:
                    wants[line.id] = 1
            else:
                limit, ahead = self._limit(line), math.ceil(line.rate * _AHEAD)
                room = limit + ahead - line.flying
                # Few claims of many cost less than many of few: what was claimed ahead is used up by half first.
                if room > ahead // 2:
                    wants[line.id] = room * line.endpoint.per_envelope
        share = max(1, self._claims // max(1, len(wants)))
        return {
            line_id: min(number, max(share, self._limit(self._lines[line_id]))) for line_id, number in wants.items()
        }

    def _slow(self, line: _Line, moment: float) -> bool:
        return line.flying > 0 and (line.latency > _SLOW or moment - line.fed_at > _SLOW)

    # ---- one cycle with the database

    def _cycle(self, wants: dict[str, int], moment: float, closing: bool) -> None:
        results, self._results = self._results, []
        exchanges, self._exchanges = self._exchanges, []
        unsent, self._unsent = self._unsent, []
        sick = self._changed(moment)
        stopping = [line for line in self._lines.values() if line.stop_for]
        now = self._now()
        self._held.difference_update(one.record.id for one in results)
        self._held.difference_update(one.id for one in unsent)
        claimed: list[Claimed] = []
        with transaction.atomic(durable=True):
            if exchanges:
                rows.keep_exchanges(exchanges)
            if results:
                rows.record_results(results)
            if unsent:
                rows.release(unsent)
            if sick:
                rows.keep_health([rows.Health(line.id, line.breaker, line.note) for line in sick], now=now)
            for line in stopping:
                pause(line.endpoint, line.stop_for, actor=self._actor)
            going = (
                set(wants) if closing else {line_id for line_id, line in self._lines.items() if self._goes(line, now)}
            )
            found = self._find(results, wants, going, now, moment)
            if found:
                lines = self._lines
                claimed = rows.claim(
                    found,
                    stale={line_id: self._stale(line) for line_id, line in lines.items()},
                    templates={line_id: line.endpoint.biller.wire_account_template for line_id, line in lines.items()},
                    passes_donations={line_id: line.flags.skip_donation_types for line_id, line in lines.items()},
                    now=now,
                )
        self._held.update(one.id for one in claimed)
        self._kept(sick, moment)
        for line in stopping:
            line.stop_for = ""
            line.endpoint.paused = True
        self._rate(moment)
        self._pace(time.monotonic() - moment, cut=sum(wants.values()) >= self._claims)
        if results:
            failpoint("deliver.recorded")
        if claimed:
            failpoint("deliver.claimed")
            self._feed(claimed)

    def _changed(self, moment: float) -> list[_Line]:
        """List the lines whose health must be kept now."""
        return [
            line
            for line in self._lines.values()
            if line.dirty and (line.urgent or line.note or line.stop_for or moment - line.kept_at >= _HEALTH)
        ]

    def _kept(self, lines: Sequence[_Line], moment: float) -> None:
        for line in lines:
            line.dirty, line.urgent, line.note, line.kept_at = False, False, "", moment

    def _keep_health(self) -> None:
        """Keep what is left to keep of the endpoints' health, when the loop ends."""
        if left := [line for line in self._lines.values() if line.dirty]:
            with transaction.atomic(durable=True):
                rows.keep_health([rows.Health(line.id, line.breaker, line.note) for line in left], now=self._now())
            self._kept(left, time.monotonic())

    def _goes(self, line: _Line, now: datetime) -> bool:
        return not line.stop_for and not line.endpoint.paused and line.breaker.state(now) == "closed"

    def _find(
        self,
        results: Sequence[rows.Result],
        wants: dict[str, int],
        going: Collection[str],
        now: datetime,
        moment: float,
    ) -> list[tuple[str, str]]:
        """Find what to claim: first what comes next for customers just told, then whoever's turn it is."""
        customers = list(
            dict.fromkeys(
                (one.record.endpoint_id, one.record.customer_id)
                for one in results
                if one.record.endpoint_id in going and one.verdict.due_at <= now
            )
        )
        stale = {line_id: self._stale(line) for line_id, line in self._lines.items()}
        holds = {line_id: line.endpoint.hold_after_failure for line_id, line in self._lines.items()}
        found_next = rows.look_next(customers, stale, holds, now=now) if customers else []
        due = dict.fromkeys(found_next)
        looks = [
            rows.Want(line_id, self._lines[line_id].after, number, _STEPS, stale[line_id], holds[line_id])
            for line_id, number in wants.items()
        ]
        if looks:
            for want, found in zip(looks, rows.look(looks, now=now), strict=True):
                line = self._lines[want.endpoint_id]
                if found.ended and not found.ids:
                    # Nobody behind this place: begin again, and where nobody is before it either, look less often.
                    if want.after == 0:
                        line.idle = True
                        line.next_look = (time.monotonic() // _LOOK + 2) * _LOOK
                elif not found.ids:
                    line.next_look = moment + _CYCLE
                if found.ids:
                    line.idle, line.worked = False, moment
                line.after = found.after
                due.update(dict.fromkeys((record, want.endpoint_id) for record in found.ids))
        return [(record, endpoint) for record, endpoint in due if record not in self._held]

    def _rate(self, moment: float) -> None:
        elapsed = max(_CYCLE / 2, moment - self._cycled)
        self._cycled = moment
        for line in self._lines.values():
            line.rate += 0.3 * (line.answered / elapsed - line.rate)
            line.answered = 0

    def _pace(self, took: float, *, cut: bool) -> None:
        """Let the next cycles claim fewer where one took too long, more where there was time for it."""
        if took > _LONG:
            self._claims = max(_FEWEST, self._claims * 3 // 4)
        elif took < _SHORT and cut:
            self._claims = min(_MOST, self._claims * 5 // 4)

    # ---- to the wire

    def _feed(self, claimed: Sequence[Claimed]) -> None:
        by_line: dict[str, list[Claimed]] = {}
        for record in claimed:
            by_line.setdefault(record.endpoint_id, []).append(record)
        if self._calls is None:
            self._calls = Calls(networks())
        for line_id, records in by_line.items():
            line = self._lines[line_id]
            not_after = self._calls.clock() + _QUEUED
            calls = []
            for group in self._groups(line, records):
                calls.extend(self._write(line, group, not_after))
            line.flying += len(calls)
            line.fed_at = time.monotonic()
            self._calls.feed(line_id, self._limit(line), calls)

    def _groups(self, line: _Line, records: Sequence[Claimed]) -> list[list[Claimed]]:
        """Put records into envelopes: of one kind, of different accounts, as many as endpoint and connector allow."""
        groups: list[list[Claimed]] = []
        growing: dict[str, list[Claimed]] = {}
        if line.endpoint.per_envelope == 1:
            return [[record] for record in records]
        for record in records:
            most = min(line.endpoint.per_envelope, self._batch_limit(line, record.kind))
            group = growing.get(record.kind)
            if most == 1 or record.id in line.alone:
                groups.append([record])
            elif group is None or len(group) >= most or any(one.wire.account == record.wire.account for one in group):
                growing[record.kind] = [record]
                groups.append(growing[record.kind])
            else:
                group.append(record)
        return groups

    def _batch_limit(self, line: _Line, kind: str) -> int:
        try:
            return line.connector.batch_limit(kind, line.target)
        except Misconfigured:
            return 1  # writing says the same, with its words

    def _write(self, line: _Line, group: list[Claimed], not_after: float) -> list[Call]:
        """Write a group's envelope; a record that cannot be written goes by itself or is refused."""
        calls: list[Call] = []
        pending = [group]
        while pending:
            records = pending.pop()
            messages = [message(record) for record in records]
            try:
                envelope = line.connector.write(messages, line.target)
                signed = line.connector.sign(envelope, line.target, self._now())
            except Refused as error:
                out = [one for one in records if one.id == error.message_id] or records
                if len(records) > 1:
                    pending += [[one] for one in out]
                    if rest := [one for one in records if one not in out]:
                        pending.append(rest)
                else:
                    self._settle(line, records, [Undelivered(records[0].id, error)], None)
                continue
            except Misconfigured as error:
                line.stop_for = str(error)
                self._settle(line, records, [Undelivered(one.id, error) for one in records], None)
                continue
            except Exception as problem:
                # A record that breaks our own code must not stop everybody else's.
                log.exception("record %s cannot be written", records[0].id)
                refusal = Refused(f"This update cannot be written ({type(problem).__name__}).")
                self._settle(line, records, [Undelivered(one.id, refusal) for one in records], None)
                continue
            if envelope.notes:
                note = "; ".join(envelope.notes)
                if note != line.endpoint.note:
                    log.warning("endpoint %s of biller %s: %s", line.id, line.endpoint.biller_id, note)
                    line.note, line.dirty = note, True
                    line.endpoint.note = note
            if signed:
                envelope = replace(envelope, headers={**envelope.headers, **signed})
            ticket = _Ticket(records, messages)
            calls.append(Call(line.id, envelope, float(line.endpoint.timeout_seconds), ticket, not_after))
        return calls

    def _recall(self, line: _Line) -> None:
        if self._calls is not None and line.flying:
            self._calls.recall(line.id)

    # ---- from the wire

    def _gather(self, patience: float) -> None:
        """Wait for an answer, then take all there are; answers that come thick are taken in fuller cycles."""
        if self._calls is None or not any(line.flying for line in self._lines.values()):
            time.sleep(patience)
            return
        answers = self._calls.answers
        early = self._cycled + _CYCLE - time.monotonic()
        if early > 0:
            time.sleep(early)
        if answers.empty():
            try:
                first = answers.get(timeout=patience)
            except queue.Empty:
                return
            self._take(first)
        while not answers.empty():
            self._take(answers.get_nowait())

    def _take(self, answer: Answer) -> None:
        line = self._lines[answer.call.lane]
        line.flying -= 1
        ticket: _Ticket = answer.call.ticket
        if not answer.sent:
            self._unsent.extend(ticket.records)
            return
        line.answered += 1
        line.latency = answer.seconds if not line.latency else line.latency + 0.3 * (answer.seconds - line.latency)
        self._tally.calls += 1
        failpoint("deliver.answered")
        results = self._read(line, ticket, answer)
        self._settle(line, ticket.records, results, answer)

    def _read(self, line: _Line, ticket: _Ticket, answer: Answer) -> list[Delivered | Undelivered]:
        error = answer.error
        if error is None:
            assert answer.status is not None
            try:
                results = list(line.connector.read(ticket.messages, answer.status, answer.body))
                if len(results) == len(ticket.messages):
                    return results
                error = OutcomeUnknown("The answer does not speak of every update.", answered=True)
            except Exception as problem:
                log.exception("an answer of endpoint %s cannot be read", line.id)
                error = OutcomeUnknown(f"The answer cannot be read ({type(problem).__name__}).", answered=True)
        return [Undelivered(one.id, error) for one in ticket.messages]

    def _settle(
        self,
        line: _Line,
        records: Sequence[Claimed],
        results: list[Delivered | Undelivered],
        answer: Answer | None,
    ) -> None:
        """Judge a try, of the endpoint and of each record, and lay both out for the next cycle."""
        now = self._now()
        milliseconds = round(answer.seconds * 1000) if answer else 0
        at = now - timedelta(milliseconds=milliseconds)
        errors = [result.error for result in results if isinstance(result, Undelivered)]
        asked = now + self._waits.at_least(answer.rest) if answer is not None and answer.rest and errors else None
        if answer is not None:
            self._judge_endpoint(line, results, errors, now, asked)
        exchange_id = None
        if answer is not None:
            exchange_id = self._exchange_id()
            mask, envelope = line.connector.mask, answer.call.envelope
            self._exchanges.append(
                rows.Exchange(
                    exchange_id, line.endpoint.biller_id, line.id, envelope.operation, at, milliseconds, answer.status,
                    envelope.masked or mask(envelope.body), mask(answer.body) if answer.body else "", len(errors),
                )
            )  # fmt: skip
        in_company = bool(errors) and refused_whole(results)
        for record, result in zip(records, results, strict=True):
            verdict = judge(
                result,
                now=now,
                attempts=record.attempts,
                refusals=record.refusals,
                attempts_allowed=line.endpoint.attempts_allowed,
                waits=self._waits,
                in_company=in_company,
                not_before=asked,
            )
            if in_company:
                line.alone.add(record.id)
            else:
                line.alone.discard(record.id)
            self._results.append(
                rows.Result(record, verdict, exchange_id, at, milliseconds, answer.status if answer else None)
            )
            self._count(verdict)

    def _judge_endpoint(
        self,
        line: _Line,
        results: list[Delivered | Undelivered],
        errors: list[ConnectorError],
        now: datetime,
        asked: datetime | None,
    ) -> None:
        line.dirty = True
        if line.breaker.closed_until is not None:
            line.urgent = True
        if not errors:
            line.breaker.succeeded(now)
            return
        line.urgent = True
        wrong = next((error for error in errors if isinstance(error, Misconfigured)), None)
        if wrong is not None:
            line.stop_for = str(wrong)
            line.breaker.last_failure_at, line.breaker.last_failure = now, str(wrong)[:300]
            self._recall(line)
        elif len(errors) == len(results) and all(ails(error) for error in errors):
            alive = errors[0].answered and not isinstance(errors[0], NotSent)
            line.breaker.failed(now, str(errors[0]), self._waits, alive=alive)
        else:
            line.breaker.succeeded(now, delivered=len(errors) < len(results))
        if wrong is None:
            if asked is not None:
                line.breaker.rest(now, asked)
            if line.breaker.state(now) == "open":
                log.warning("endpoint %s of biller %s is not well: %s", line.id, line.endpoint.biller_id, errors[0])
                self._recall(line)

    def _exchange_id(self) -> int:
        if not self._exchange_ids:
            self._exchange_ids = rows.exchange_ids(_IDS)
        return self._exchange_ids.pop()

    def _count(self, verdict: Verdict) -> None:
        if verdict.delivered:
            self._tally.delivered += 1
        elif verdict.outcome == "refused":
            self._tally.refused += 1
        else:
            self._tally.unknown += 1
