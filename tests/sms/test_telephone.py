"""The simulated telephone network itself: what it loses, delays, repeats and reorders, and what its book keeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.environment import ROOT
from sms.providers.base import Accepted, Inbound, OptOut, Outgoing, Reason, Rejected, Status, StatusReport, later
from tests.telephone import Callbacks, Telephone

LINE, OTHER_LINE = "+12065550100", "+12065550199"
PHONE, OTHER = "+12065550101", "+12065550102"

World = tuple[Telephone, Callbacks]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with Callbacks() as callbacks, Telephone(tmp_path_factory.mktemp("telephone"), callback=callbacks.url) as telephone:
        yield telephone, callbacks


@pytest.fixture
def world(started: World) -> World:
    telephone, callbacks = started
    telephone.reset()
    callbacks.clear()
    telephone.control(retry_seconds=0.01)
    return started


def send(telephone: Telephone, *bodies: str, phone: str = PHONE, **changes: Any) -> list[str]:
    """Send texts one after another; gives the network's ids."""
    provider = telephone.provider()
    ids = []
    for body in bodies:
        (result,) = provider.send([Outgoing(f"key of {body}", LINE, phone, body, **changes)])
        assert isinstance(result, Accepted)
        ids.append(result.provider_id)
    return ids


def statuses(callbacks: Callbacks, name: str) -> list[str]:
    return [body["status"] for body in callbacks.bodies() if body["id"] == name]


def test_a_healthy_network_brings_each_text_once_and_tells_in_order(world: World) -> None:
    telephone, callbacks = world
    telephone.control(reports=["sending", "sent", "delivered"])
    names = send(telephone, "one", "two", "three")
    assert [text["body"] for text in telephone.wait_for_texts(PHONE, 3)] == ["one", "two", "three"]
    typed = [telephone.type(PHONE, LINE, body) for body in ("PAY", "PAY 2")]
    telephone.wait_until_quiet()
    assert [statuses(callbacks, name) for name in names] == [["sending", "sent", "delivered"]] * 3
    heard = [body for body in callbacks.bodies() if body["event"] == "inbound"]
    assert [(body["id"], body["body"]) for body in heard] == list(zip(typed, ("PAY", "PAY 2"), strict=True))
    shown = telephone.conversation(PHONE)
    assert [(text["direction"], text["body"]) for text in shown] == [
        ("out", "one"), ("out", "two"), ("out", "three"), ("in", "PAY"), ("in", "PAY 2"),
    ]  # fmt: skip
    assert telephone.texts_on(OTHER) == []
    assert [(phone["number"], phone["texts"]) for phone in telephone.phones()][:2] == [(PHONE, 5), (OTHER, 0)]
    assert telephone.totals() == {
        "taken": 3, "arrived": 3, "arrived_again": 0, "lost": 0, "not_delivered": 0, "repeats": 0, "typed": 2,
        "webhooks": {"pending": 0, "told": 11, "failed": 0, "lost": 0},
    }  # fmt: skip


def test_texts_can_be_lost_delayed_repeated_and_reordered_on_their_way(world: World) -> None:
    telephone, callbacks = world
    telephone.strike("lose", on=["text"])
    (lost,) = send(telephone, "lost")
    telephone.wait_until_quiet()
    assert statuses(callbacks, lost) == ["sent"]
    telephone.strike("repeat", on=["text"])
    send(telephone, "twice")
    telephone.wait_until_quiet()
    telephone.strike("reorder", on=["text"], seconds=30)
    send(telephone, "second", "first")
    telephone.wait_until_quiet()
    telephone.strike("delay", on=["text"], seconds=0.2)
    send(telephone, "slow", "quick")
    telephone.wait_until_quiet()
    assert telephone.texts_on(PHONE) == ["twice", "first", "second", "quick", "slow"]
    totals = telephone.totals()
    assert (totals["taken"], totals["arrived"], totals["arrived_again"], totals["lost"]) == (6, 5, 1, 1)
    assert telephone.control()["struck"] == {"lose": 1, "repeat": 1, "reorder": 1, "delay": 1}


def test_webhooks_can_be_lost_delayed_repeated_and_reordered(world: World) -> None:
    telephone, callbacks = world
    for fault, setting in (("lose", {}), ("repeat", {}), ("reorder", {"seconds": 30}), ("delay", {"seconds": 0.2})):
        telephone.strike(fault, on=["inbound"], **setting)
        for body in (f"{fault} 1", f"{fault} 2"):
            telephone.type(PHONE, LINE, body)
        telephone.wait_until_quiet()
    heard = [body["body"] for body in callbacks.bodies()]
    assert heard[0] == "lose 2"
    assert heard[1:4] == ["repeat 1", "repeat 1", "repeat 2"]
    assert heard[4:] == ["reorder 2", "reorder 1", "delay 2", "delay 1"]
    callbacks.clear()
    telephone.strike("reorder", on=["report"], seconds=30)
    (name,) = send(telephone, "Bill")
    telephone.wait_until_quiet()
    assert statuses(callbacks, name) == ["delivered", "sent"]
    kept: Status | None = None
    for webhook in callbacks.heard:
        report = telephone.provider().read(webhook)
        assert isinstance(report, StatusReport)
        assert (report.provider_id, report.key) == (name, "key of Bill")
        kept = later(kept, report.status)
    assert kept is Status.DELIVERED


def test_a_webhook_is_told_until_it_is_taken_and_again_on_request_once_it_was_given_up(world: World) -> None:
    telephone, callbacks = world
    callbacks.answers = [500, 503, 429]
    telephone.type(PHONE, LINE, "PAY")
    telephone.wait_until_quiet()
    assert len(callbacks.heard) == 4
    assert len({webhook.body for webhook in callbacks.heard}) == 1
    callbacks.clear()
    callbacks.answers = [403]
    telephone.type(PHONE, LINE, "OK")
    telephone.wait_until_quiet()
    assert len(callbacks.heard) == 1
    assert telephone.totals()["webhooks"] == {"pending": 0, "told": 1, "failed": 1, "lost": 0}
    assert telephone.redeliver() == 1
    telephone.wait_until_quiet()
    assert [body["body"] for body in callbacks.bodies()] == ["OK", "OK"]
    assert telephone.totals()["webhooks"]["failed"] == 0


def test_a_phone_can_be_refused_or_found_wanting(world: World) -> None:
    telephone, callbacks = world
    provider = telephone.provider()
    for condition, reason in (("landline", Reason.BAD_NUMBER), ("unsubscribed", Reason.UNSUBSCRIBED)):
        telephone.set_condition(PHONE, condition)
        assert list(provider.send([Outgoing(condition, LINE, PHONE, "Bill")])) == [
            Rejected(condition, reason, condition)
        ]
    telephone.set_condition(PHONE, "unreachable")
    (unreached,) = send(telephone, "unreached")
    telephone.set_condition(OTHER, "unregistered")
    (never_left,) = send(telephone, "never left", phone=OTHER)
    telephone.set_condition(PHONE, "")
    telephone.strike("delay", on=["text"], seconds=1.1)
    (expired,) = send(telephone, "expired", valid_for=timedelta(seconds=1))
    telephone.wait_until_quiet()
    assert statuses(callbacks, unreached) == ["sent", "undelivered"]
    assert statuses(callbacks, never_left) == ["failed"]
    assert statuses(callbacks, expired) == ["sent", "undelivered"]
    reports = [telephone.provider().read(webhook) for webhook in callbacks.heard]
    reasons = {report.provider_id: report.reason for report in reports if isinstance(report, StatusReport)}
    assert reasons == {
        unreached: Reason.UNREACHABLE, never_left: Reason.UNREGISTERED, expired: Reason.EXPIRED,
    }  # fmt: skip
    assert telephone.texts_on(PHONE) == telephone.texts_on(OTHER) == []
    assert telephone.totals()["not_delivered"] == 3


def test_a_network_that_manages_opt_out_acts_and_answers_by_itself(world: World) -> None:
    telephone, callbacks = world
    telephone.type(PHONE, LINE, "STOP")
    send(telephone, "still comes")
    telephone.control(managed_opt_out=True)
    telephone.type(PHONE, LINE, "stop please")
    telephone.type(PHONE, LINE, " Stop ")
    provider = telephone.provider(managed_opt_out=True)
    assert provider.managed.opt_out
    (refused,) = provider.send([Outgoing("k", LINE, PHONE, "Bill")])
    assert refused == Rejected("k", Reason.UNSUBSCRIBED, "unsubscribed")
    (elsewhere,) = provider.send([Outgoing("l", OTHER_LINE, PHONE, "Another line's")])
    assert isinstance(elsewhere, Accepted)
    telephone.type(PHONE, LINE, "START")
    send(telephone, "comes again")
    telephone.wait_until_quiet()
    arrived = telephone.texts_on(PHONE)
    assert [arrived[0], *arrived[2:3], arrived[-1]] == ["still comes", "Another line's", "comes again"]
    assert [text.startswith("You have been") for text in arrived] == [False, True, False, True, False]
    read = [provider.read(webhook) for webhook in callbacks.heard]
    acted = [one.acted_on for one in read if isinstance(one, Inbound)]
    assert acted == [None, None, OptOut.STOP, OptOut.START]


def test_each_line_has_its_own_who_hears_of_texts_to_it(tmp_path: Path) -> None:
    with Callbacks() as callbacks, Telephone(tmp_path) as telephone:
        telephone.set_line(LINE, f"{callbacks.url}/7", name="Maple Falls")
        telephone.set_line(OTHER_LINE, f"{callbacks.url}/8")
        telephone.reset()
        telephone.stop()
        telephone.start()
        for line in (LINE, OTHER_LINE, "72345"):
            telephone.type(PHONE, line, "PAY")
        telephone.wait_until_quiet()
        assert {(body["to"], webhook.url) for body, webhook in zip(callbacks.bodies(), callbacks.heard, strict=True)} == {
            (LINE, f"{callbacks.url}/7"), (OTHER_LINE, f"{callbacks.url}/8"),
        }  # fmt: skip
        assert telephone.lines() == [
            {"number": LINE, "name": "Maple Falls", "callback": f"{callbacks.url}/7"},
            {"number": OTHER_LINE, "name": "", "callback": f"{callbacks.url}/8"},
            {"number": "72345", "name": "", "callback": ""},
        ]


def test_a_killed_network_goes_on_where_it_was(tmp_path: Path) -> None:
    with Callbacks() as callbacks, Telephone(tmp_path, callback=callbacks.url) as telephone:
        callbacks.answers = [500] * 1000
        telephone.control(latency_seconds=30, retry_seconds=30)
        (name,) = send(telephone, "Bill")
        typed = telephone.type(PHONE, LINE, "PAY")
        callbacks.wait_for(1)
        telephone.stop(signal.SIGKILL)
        callbacks.clear()
        telephone.start()
        assert [text["id"] for text in telephone.wait_for_texts(PHONE, 1)] == [name]
        telephone.wait_until_quiet()
        assert {body["id"] for body in callbacks.bodies()} == {typed, name}
        assert statuses(callbacks, name) == ["sent", "delivered"]
        (again,) = telephone.provider().send([Outgoing("key of Bill", LINE, PHONE, "Bill")])
        assert isinstance(again, Accepted)
        assert (again.provider_id, telephone.totals()["repeats"], telephone.totals()["taken"]) == (name, 1, 1)


def test_switches_that_cannot_be_change_nothing_and_strangers_are_refused(world: World) -> None:
    telephone, _ = world
    before = telephone.control()
    wrong: list[dict[str, Any]] = [
        {"faults": {"lightning": {}}}, {"faults": {"lose": {"on": ["send"]}}}, {"faults": {"lose": {"next": -1}}},
        {"faults": {"delay": {"seconds": "long"}}}, {"seed": 1, "colour": "red"},
        {"callback": "not an address"}, {"attempts": 0}, {"reports": ["weather"]}, {"heal": False},
    ]  # fmt: skip
    for changes in wrong:
        with pytest.raises(ValueError, match=r"\w"):
            telephone.control(**changes)
    for phone, line, body in (("2065550101", LINE, "x"), (PHONE, "nobody", "x"), (PHONE, LINE, "x" * 1601)):
        with pytest.raises(ValueError, match=r"\w"):
            telephone.type(phone, line, body)
    for number, callback in ((LINE, "ftp://x"), ("somebody", "http://127.0.0.1/x")):
        with pytest.raises(ValueError, match=r"\w"):
            telephone.set_line(number, callback)
    assert telephone.lines() == []
    with pytest.raises(ValueError, match="condition"):
        telephone.set_condition(PHONE, "sad")
    assert telephone.control() == before
    assert telephone.totals()["typed"] == 0
    stranger = Telephone(telephone.directory, port=telephone.port)
    stranger.control_secret = "wrong"
    for ask in (stranger.book, stranger.phones, stranger.control, stranger.reset):
        with pytest.raises(ValueError, match="control secret is wrong"):
            ask()


def test_it_starts_only_where_nothing_is_real(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sms.providers.simulator_service", "--port", "0", "--secret", "s"]
    command += ["--control-secret", "c", "--book", str(tmp_path / "book.sqlite")]
    run = subprocess.run(
        command, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=20, check=False
    )
    assert run.returncode == 1
    assert "DEMO=1" in run.stderr
    assert not (tmp_path / "book.sqlite").exists()
