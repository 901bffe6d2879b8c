"""The rules of delivery alone: what a try means for its record and for its endpoint."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapump.connectors.base import (
    ConnectorError,
    Delivered,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    Refused,
    Undelivered,
)
from datapump.models import Outcome, RecordState
from datapump.operations.deliveries.messages import SOURCES, wire_account
from datapump.operations.deliveries.outcomes import SCHEDULE, Breaker, Verdict, Waits, judge, refused_whole

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WAITS = Waits(random.Random(1))
SECOND = timedelta(seconds=1)


def after(error: ConnectorError | None, attempts: int = 0, refusals: int = 0, allowed: int = 10) -> Verdict:
    result = Delivered("1") if error is None else Undelivered("1", error)
    return judge(result, now=NOON, attempts=attempts, refusals=refusals, attempts_allowed=allowed, waits=WAITS)


def test_the_schedule_of_refusals() -> None:
    assert [wait.total_seconds() for wait in SCHEDULE] == [
        5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400,
    ]  # fmt: skip
    for refusals, wait in enumerate(SCHEDULE):
        verdict = after(Refused("no"), attempts=refusals, refusals=refusals)
        assert (verdict.state, verdict.refusals) == (RecordState.RETRYING, refusals + 1)
        assert 0.8 * wait <= verdict.due_at - NOON <= 1.2 * wait
    assert after(Refused("no"), refusals=9).state == RecordState.FAILED
    # More tries than the schedule has: its last wait again.
    assert after(Refused("no"), refusals=11, allowed=20).due_at - NOON >= 0.8 * SCHEDULE[-1]


@pytest.mark.parametrize(
    ("error", "state", "outcome", "refusals", "thaw"),
    [
        (None, RecordState.DELIVERED, Outcome.DELIVERED, 2, False),
        (Refused("no", answered=True), RecordState.RETRYING, Outcome.REFUSED, 3, True),
        (NotSent("gone"), RecordState.RETRYING, Outcome.NOT_SENT, 2, False),
        (NotSent("busy", answered=True), RecordState.RETRYING, Outcome.NOT_SENT, 2, False),
        (OutcomeUnknown("lost"), RecordState.RETRYING, Outcome.UNKNOWN, 2, False),
        (OutcomeUnknown("nonsense", answered=True), RecordState.RETRYING, Outcome.UNKNOWN, 3, False),
        (Misconfigured("wrong"), RecordState.RETRYING, Outcome.SETUP, 2, False),
    ],
)
def test_what_each_error_means(
    error: ConnectorError | None, state: RecordState, outcome: Outcome, refusals: int, thaw: bool
) -> None:
    verdict = after(error, attempts=3, refusals=2)
    assert (verdict.state, verdict.outcome, verdict.refusals, verdict.thaw) == (state, outcome, refusals, thaw)


def test_a_record_never_tried_goes_back_to_waiting() -> None:
    assert after(Misconfigured("wrong")).state == RecordState.WAITING


@given(st.integers(0, 40))
def test_transport_waits_grow_and_stop_growing(attempts: int) -> None:
    wait = after(NotSent("gone"), attempts=attempts).due_at - NOON
    assert 4 * SECOND <= wait <= timedelta(minutes=12)
    if attempts >= 7:
        assert wait >= timedelta(minutes=8)


def test_refused_whole_is_only_what_nobody_looked_at() -> None:
    no, other = Refused("no", answered=True), Refused("no", answered=True)
    assert refused_whole([Undelivered("1", no), Undelivered("2", no)])
    assert not refused_whole([Undelivered("1", no), Undelivered("2", other)])  # each looked at
    assert not refused_whole([Undelivered("1", no)])
    assert not refused_whole([Undelivered("1", no), Delivered("2")])
    unknown = OutcomeUnknown("lost")
    assert not refused_whole([Undelivered("1", unknown), Undelivered("2", unknown)])
    unsent = NotSent("refused connection")
    assert not refused_whole([Undelivered("1", unsent), Undelivered("2", unsent)])


def test_ten_in_a_row_open_the_breaker() -> None:
    breaker = Breaker()
    for number in range(9):
        breaker.failed(NOON + number * SECOND, "gone", WAITS)
    assert breaker.state(NOON + 9 * SECOND) == "closed"
    breaker.succeeded(NOON + 9 * SECOND)
    for number in range(9):
        breaker.failed(NOON + timedelta(minutes=6) + number * SECOND, "gone", WAITS)
    assert breaker.state(NOON + timedelta(minutes=7)) == "closed"
    moment = NOON + timedelta(minutes=7)
    breaker.failed(moment, "gone", WAITS)
    assert breaker.state(moment) == "open"
    assert breaker.closed_until is not None
    assert timedelta(seconds=24) <= breaker.closed_until - moment <= timedelta(seconds=36)
    assert breaker.state(moment + timedelta(seconds=37)) == "half_open"


@pytest.mark.parametrize(("failures", "calls", "state"), [(7, 10, "open"), (6, 10, "closed"), (8, 9, "closed")])
def test_seventy_percent_of_ten_in_five_minutes_open_it(failures: int, calls: int, state: str) -> None:
    breaker = Breaker()
    turns = [True] * failures + [False] * (calls - failures)
    turns = sorted(turns, key=lambda failed: failed)  # successes first, so that the last call decides
    for number, failed in enumerate(turns):
        moment = NOON + number * SECOND
        if failed:
            breaker.failed(moment, "gone", WAITS)
        else:
            breaker.succeeded(moment)
    assert breaker.state(NOON + calls * SECOND) == state


def test_an_old_window_is_forgotten() -> None:
    breaker = Breaker()
    for number in range(9):
        breaker.failed(NOON + number * SECOND, "nonsense", WAITS, alive=True)
    breaker.failed(NOON + timedelta(minutes=6), "nonsense", WAITS, alive=True)
    assert (breaker.state(NOON + timedelta(minutes=6)), breaker.failures_in_a_row) == ("closed", 0)
    assert (breaker.window_calls, breaker.window_failures) == (1, 1)


def test_it_stays_open_longer_each_time_and_closes_at_a_success() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker.failed(NOON, "gone", WAITS)
    pauses = []
    for _ in range(12):
        assert breaker.closed_until is not None
        moment = breaker.closed_until
        assert breaker.state(moment) == "half_open"
        breaker.failed(moment, "gone", WAITS)
        pauses.append(breaker.closed_until - moment)
    assert timedelta(seconds=24) <= pauses[0] <= timedelta(seconds=80)
    assert timedelta(minutes=8) <= pauses[-1] <= timedelta(minutes=12)
    breaker.succeeded(moment)
    assert (breaker.state(moment), breaker.closed_since, breaker.failures_in_a_row) == ("closed", None, 0)


@pytest.mark.spec("MSP-22")
@pytest.mark.parametrize(
    ("template", "account"),
    [
        ("{custom2}{custom3}", "35909001"),
        ("{base}-{sub}", "B-S"),
        ("X{custom2}/{sub}", "X35909/S"),
        ("{unknown}", "{unknown}"),
    ],
)
def test_the_account_template(template: str, account: str) -> None:
    assert wire_account(template, base="B", sub="S", custom2="35909", custom3="001") == account


@given(st.text(max_size=12), st.text(max_size=12))
def test_a_value_is_never_read_as_a_template(base: str, sub: str) -> None:
    assert wire_account("{base}|{sub}", base=base, sub=sub, custom2="", custom3="") == f"{base}|{sub}"
    assert wire_account("{custom2}|{custom3}", base=base, sub=sub, custom2="", custom3="") == f"{base}|{sub}"


def test_every_channel_has_a_source_of_its_own() -> None:
    from payments.models import Channel

    assert set(SOURCES) == {int(channel) for channel in Channel} - {Channel.UNSPECIFIED}
    assert SOURCES[Channel.WEB] == SOURCES[Channel.GUEST] == 0
    assert SOURCES[Channel.CSR] == 2
    assert SOURCES[Channel.KIOSK] == 8
    others = [source for channel, source in SOURCES.items() if channel != Channel.GUEST]
    assert len(set(others)) == len(others)
