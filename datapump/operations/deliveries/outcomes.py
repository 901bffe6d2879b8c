"""What a try means for its record and for its endpoint: the rules alone, without database or network.

Source: the design's "Two outboxes"; MSP-11.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from datapump.connectors.base import ConnectorError, Delivered, Misconfigured, NotSent, Refused, Undelivered
from datapump.models.endpoints import Endpoint
from datapump.models.records import Outcome, RecordState

# When a refused record is tried again, counted from the refusal: 75 hours in all.
SCHEDULE = tuple(
    timedelta(seconds=seconds) for seconds in (5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24)))
)
SPREAD = 0.2

STRAIGHT_FAILURES = 10
WINDOW = timedelta(minutes=5)
WINDOW_CALLS = 10
WINDOW_SHARE = 0.7
SHORTEST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=10)
# How long a record waits after a failure that was its endpoint's: so much, then twice as much, up to the longest pause.
FIRST_WAIT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Waits:
    """How long is waited: as the rules say, up to a fifth longer or shorter so that what failed together does not return
    together, times ``factor``, by which tests make hours short.
    """

    chance: random.Random
    factor: float = 1.0

    def of(self, length: timedelta) -> timedelta:
        """Give the wait for a length of the rules."""
        return length * (self.factor * (1 + SPREAD * (2 * self.chance.random() - 1)))

    def at_least(self, length: timedelta) -> timedelta:
        """Give the wait for a length that somebody asked for: up to a fifth longer, never shorter."""
        return length * (self.factor * (1 + SPREAD * self.chance.random()))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a record becomes after a try. ``thaw`` lets the next try look up account and place anew."""

    state: RecordState
    outcome: Outcome
    words: str
    refusals: int
    due_at: datetime
    thaw: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the biller's system took it."""
        return self.outcome is Outcome.DELIVERED


def judge(
    result: Delivered | Undelivered,
    *,
    now: datetime,
    attempts: int,
    refusals: int,
    attempts_allowed: int,
    waits: Waits,
    in_company: bool = False,
    not_before: datetime | None = None,
) -> Verdict:
    """Judge one record's try; ``attempts`` are the tries before this one.

    ``in_company`` says that the whole envelope was refused and this record was not alone in it: it goes again by itself
    and nothing is held against it. Nothing goes again before ``not_before``.
    """
    earliest = not_before or now
    if isinstance(result, Delivered):
        return Verdict(RecordState.DELIVERED, Outcome.DELIVERED, result.detail, refusals, now)
    error = result.error
    words = str(error)
    if isinstance(error, Misconfigured):
        state = RecordState.RETRYING if attempts else RecordState.WAITING
        return Verdict(state, Outcome.SETUP, words, refusals, now)
    outcome = (
        Outcome.REFUSED
        if isinstance(error, Refused)
        else Outcome.NOT_SENT
        if isinstance(error, NotSent)
        else Outcome.UNKNOWN
    )
    thaw = outcome is Outcome.REFUSED
    if in_company and outcome is not Outcome.UNKNOWN:
        return Verdict(RecordState.RETRYING, outcome, words, refusals, earliest, thaw)
    if outcome is Outcome.REFUSED or (outcome is Outcome.UNKNOWN and error.answered):
        # The system is well and does not take this one: held against the record.
        refusals += 1
        if refusals >= attempts_allowed:
            return Verdict(RecordState.FAILED, outcome, words, refusals, now, thaw)
        wait = waits.of(SCHEDULE[min(refusals, len(SCHEDULE)) - 1])
        return Verdict(RecordState.RETRYING, outcome, words, refusals, max(earliest, now + wait), thaw)
    wait = waits.of(min(LONGEST_PAUSE, FIRST_WAIT * 2 ** min(attempts, 10)))
    return Verdict(RecordState.RETRYING, outcome, words, refusals, max(earliest, now + wait))


def refused_whole(results: list[Delivered | Undelivered]) -> bool:
    """Tell whether an envelope of several was turned away as a whole, with no effect: nothing in it was looked at."""
    errors = [result.error for result in results if isinstance(result, Undelivered)]
    if len(results) < 2 or len(errors) < len(results):
        return False
    # One error for all is how a connector says that the answer spoke of the envelope, not of its messages.
    return (
        all(error is errors[0] for error in errors) and isinstance(errors[0], Refused | NotSent) and errors[0].answered
    )


@dataclass(slots=True)
class Breaker:
    """The health of one endpoint. Open, it lets nothing through until ``closed_until``; then one call tries it.

    It opens after ten failures in a row, or where of at least ten calls within five minutes seventy percent failed, and
    stays open for as long as it has been open already, from half a minute up to ten. It also opens until ``asked_until``,
    where the biller's system asked for a rest: what was under way then, and is answered after, does not end it.
    """

    failures_in_a_row: int = 0
    closed_until: datetime | None = None
    closed_since: datetime | None = None
    window_from: datetime | None = None
    window_calls: int = 0
    window_failures: int = 0
    last_success_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_failure: str = ""
    asked_until: datetime | None = None

    @classmethod
    def of(cls, endpoint: Endpoint) -> Breaker:
        """Give the breaker that an endpoint's row keeps."""
        return cls(
            endpoint.failures_in_a_row, endpoint.closed_until, endpoint.closed_since, endpoint.window_from,
            endpoint.window_calls, endpoint.window_failures, endpoint.last_success_at, endpoint.last_failure_at,
            endpoint.last_failure,
        )  # fmt: skip

    def state(self, now: datetime) -> str:
        """Give ``closed`` (calls go out), ``open`` (none do) or ``half_open`` (one may)."""
        if self.closed_until is None:
            return "closed"
        return "open" if now < self.closed_until else "half_open"

    def succeeded(self, now: datetime, *, delivered: bool = True) -> None:
        """Count a call that was answered; ``delivered`` says whether the biller's system took something."""
        self._count(now, failed=False)
        self.failures_in_a_row = 0
        if self.closed_until is not None and not self._rests(now):
            self.closed_until = self.closed_since = None
            self.window_calls = self.window_failures = 0
        if delivered:
            self.last_success_at = now

    def failed(self, now: datetime, words: str, waits: Waits, *, alive: bool = False) -> None:
        """Count a call that failed; one that is ``alive`` answered, if only nonsense, and is no failure in a row."""
        self._count(now, failed=True)
        self.last_failure_at, self.last_failure = now, words[:300]
        if alive and self.closed_until is None:
            self.failures_in_a_row = 0
        else:
            self.failures_in_a_row += 1
        mostly = self.window_calls >= WINDOW_CALLS and self.window_failures >= WINDOW_SHARE * self.window_calls
        grows = self.closed_until is not None and not self._rests(now)
        if grows or mostly or self.failures_in_a_row >= STRAIGHT_FAILURES:
            self.closed_since = self.closed_since or now
            pause = min(LONGEST_PAUSE, max(SHORTEST_PAUSE, now - self.closed_since))
            self.closed_until = now + waits.of(pause)

    def rest(self, now: datetime, until: datetime) -> None:
        """Let nothing through before ``until``, whatever is answered meanwhile."""
        self.closed_since = self.closed_since or now
        self.asked_until = max(until, self.asked_until or until)
        self.closed_until = max(until, self.closed_until or until)

    def _rests(self, now: datetime) -> bool:
        return self.asked_until is not None and now < self.asked_until

    def _count(self, now: datetime, *, failed: bool) -> None:
        if self.window_from is None or now - self.window_from > WINDOW:
            self.window_from, self.window_calls, self.window_failures = now, 0, 0
        self.window_calls += 1
        self.window_failures += failed


def ails(error: ConnectorError) -> bool:
    """Tell whether an error says that the endpoint is not well, whatever it means for the message."""
    return not isinstance(error, Refused | Misconfigured)
