"""One beat at a time, and a table that administrators may edit."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from celery.schedules import crontab
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from config import beat
from config.celery import BEAT, Entry, app, compare_clocks
from tests import servers

SWEEP = Entry("billing.tasks.sweep", timedelta(seconds=30), "Sweeps.", {"limit": 5})
NIGHTLY = Entry("billing.tasks.nightly", crontab(minute="5", hour="3"), "Runs at night.")


def test_every_entry_names_a_task_that_exists() -> None:
    app.loader.import_default_modules()
    assert {entry.task for entry in BEAT.values()} <= set(app.tasks)


@pytest.mark.django_db
def test_the_table_is_written_once_and_again_changes_nothing() -> None:
    beat.write_table({"sweep": SWEEP, "nightly": NIGHTLY})
    sweep, nightly = PeriodicTask.objects.get(name="sweep"), PeriodicTask.objects.get(name="nightly")
    assert (sweep.interval.every, sweep.interval.period) == (30, IntervalSchedule.SECONDS)
    assert (sweep.task, json.loads(sweep.kwargs), sweep.expire_seconds) == ("billing.tasks.sweep", {"limit": 5}, 60)
    assert sweep.description == "Sweeps.\nShipped as: every 30 seconds"
    assert (nightly.crontab.minute, nightly.crontab.hour, str(nightly.crontab.timezone)) == ("5", "3", "UTC")
    changed = sweep.date_changed
    beat.write_table({"sweep": SWEEP, "nightly": NIGHTLY})
    sweep.refresh_from_db()
    assert sweep.date_changed == changed
    assert PeriodicTask.objects.filter(name__in=["sweep", "nightly"]).count() == 2


@pytest.mark.django_db
def test_a_release_changes_what_nobody_edited() -> None:
    beat.write_table({"sweep": SWEEP, "nightly": NIGHTLY})
    beat.write_table(
        {
            "sweep": Entry("billing.tasks.sweep", timedelta(seconds=10), "Sweeps."),
            "nightly": Entry("billing.tasks.nightly", timedelta(hours=1), "Runs every hour."),
        }
    )
    sweep, nightly = PeriodicTask.objects.get(name="sweep"), PeriodicTask.objects.get(name="nightly")
    assert (sweep.interval.every, json.loads(sweep.kwargs)) == (10, {})
    assert (nightly.crontab, nightly.interval.every, nightly.expire_seconds) == (None, 3600, 3600)


@pytest.mark.django_db
def test_an_administrators_edits_survive_a_restart_and_a_release() -> None:
    beat.write_table({"sweep": SWEEP})
    edited = PeriodicTask.objects.get(name="sweep")
    edited.interval = IntervalSchedule.objects.create(every=5, period=IntervalSchedule.MINUTES)
    edited.enabled = False
    edited.save()
    beat.write_table({"sweep": SWEEP})
    beat.write_table({"sweep": Entry("billing.tasks.sweep_all", timedelta(seconds=10), "Sweeps.")})
    edited.refresh_from_db()
    assert (edited.interval.every, edited.interval.period, edited.enabled) == (5, IntervalSchedule.MINUTES, False)
    assert edited.task == "billing.tasks.sweep_all"


@pytest.mark.django_db
def test_a_dropped_entry_is_disabled_and_an_administrators_own_stays() -> None:
    beat.write_table({"sweep": SWEEP})
    own = PeriodicTask.objects.create(
        name="own", task="billing.tasks.own", crontab=CrontabSchedule.objects.create(minute="1")
    )
    beat.write_table({})
    own.refresh_from_db()
    assert own.enabled
    assert not PeriodicTask.objects.get(name="sweep").enabled


@pytest.mark.django_db(transaction=True)
def test_the_second_beat_sends_only_after_the_first_is_gone() -> None:
    first, second = beat.Lease(), beat.Lease()
    assert first.take()
    assert first.held()
    assert not second.take()
    assert not second.held()
    first.release()
    assert second.take()
    second.release()


@pytest.mark.django_db(transaction=True)
def test_a_beat_whose_session_was_ended_knows_it() -> None:
    first, second = beat.Lease(), beat.Lease()
    assert first.take()
    assert second.take() is False
    with psycopg.connect(servers.superuser(), autocommit=True) as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s", [beat.LOCK]
        )
    assert not first.held()
    assert second.take()
    second.release()


@pytest.mark.django_db(transaction=True)
def test_a_waiting_scheduler_writes_nothing_and_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat, "BEAT", {"sweep": SWEEP})
    ahead = beat.Lease()
    assert ahead.take()
    waiting = beat.Scheduler(app=app)
    assert waiting.tick() == beat.WAIT
    assert not PeriodicTask.objects.filter(name="sweep").exists()
    ahead.release()
    assert waiting.tick() >= 0
    assert PeriodicTask.objects.get(name="sweep").enabled
    assert "sweep" in waiting.schedule
    waiting.close()
    assert not waiting.lease.held()


@pytest.mark.django_db(transaction=True)
def test_a_worker_whose_clock_is_wrong_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    compare_clocks()
    wrong = time.time() + 7200
    monkeypatch.setattr(time, "time", lambda: wrong)
    with pytest.raises(RuntimeError, match=r"The clock of the broker is -7\d\d\d\.\d seconds"):
        compare_clocks()


def test_tasks_are_neither_lost_nor_doubled_by_settings() -> None:
    wanted = {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_ignore_result": True,
        "task_time_limit": 240,
        "task_soft_time_limit": 200,
        "worker_prefetch_multiplier": 1,
        "worker_soft_shutdown_timeout": 30,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "visibility_timeout": 600,
        "accept_content": ["json"],
        "task_serializer": "json",
    }
    assert {name: app.conf[name] for name in wanted} == wanted
    transport = app.conf.broker_transport_options
    assert transport["visibility_timeout"] >= 2 * app.conf.task_time_limit
    assert (transport["unacked_restore_interval"], transport["unacked_restore_throttle"]) == (2, 1)
    assert Path(app.conf.beat_scheduler.replace(":", "/")).name == "Scheduler"
