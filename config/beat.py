"""Celery beat: one at a time, from the table that administrators see and edit.

The one that holds a PostgreSQL advisory lock sends; any number of others wait for it and take over within seconds of
its end, since the lock goes with its session. The shipped table (``config.celery.BEAT``) is written to the database by
whoever takes over: new entries are added, changed ones follow unless an administrator edited them, and dropped ones
are disabled.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

import psycopg
from celery.schedules import crontab
from django.conf import settings
from django.db import transaction
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import DatabaseScheduler

from config.celery import BEAT, Entry

logger = logging.getLogger(__name__)

LOCK = 0x62656174  # "beat"
WAIT = 2.0  # seconds between two tries to become the one that sends

# What an entry's description ends with, so that an administrator's edit can be told from what we wrote.
_SHIPPED = "Shipped as: "


class Lease:
    """The advisory lock, on a connection of its own: Django closes and reopens the others."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection[tuple[bool]] | None = None

    def held(self) -> bool:
        """Say whether we hold it now; PostgreSQL is asked, since a lost session is a lost lock."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            self.release()
            return False
        return True

    def take(self) -> bool:
        """Try to get it; gives whether we have it."""
        database = settings.DATABASES["default"]
        try:
            connection = psycopg.connect(
                dbname=database["NAME"],
                user=database["USER"],
                password=database["PASSWORD"],
                host=database["HOST"],
                port=database["PORT"] or None,
                autocommit=True,
                # A machine that vanished must lose the lock soon.
                options="-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
                **{name: value for name, value in database["OPTIONS"].items() if name != "options"},
            )
        except psycopg.Error as error:
            logger.warning("beat cannot reach PostgreSQL: %s", error)
            return False
        found = connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK]).fetchone()
        if found is None or not found[0]:
            connection.close()
            return False
        self._connection = connection
        return True

    def release(self) -> None:
        """Let it go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Scheduler(DatabaseScheduler):  # type: ignore[misc]  # it ships no types
    """django-celery-beat's scheduler, silent until it holds the lock."""

    def setup_schedule(self) -> None:
        """Do nothing yet: the table is written by the one that sends."""
        self.lease = Lease()
        self._waiting = False

    def tick(self, *args: object, **kwargs: object) -> float:
        """Send what is due, or wait for the lock; gives the seconds until the next call."""
        if not self.lease.held():
            if not self.lease.take():
                if not self._waiting:
                    logger.info("another beat is at work; waiting for it to end")
                self._waiting = True
                return WAIT
            self._waiting = False
            logger.info("this beat sends from now on")
            write_table(BEAT)
            self._initial_read = True
            self._heap = None
        return float(super().tick(*args, **kwargs))

    def close(self) -> None:
        """Keep what was sent, then let the next beat begin."""
        super().close()
        self.lease.release()


@transaction.atomic
def write_table(table: Mapping[str, Entry]) -> None:
    """Bring the database's entries up to the shipped table, leaving alone what an administrator changed."""
    rows = {row.name: row for row in PeriodicTask.objects.select_for_update(of=["self"]).order_by("pk")}
    changed = False
    for name, entry in table.items():
        shipped = f"{_SHIPPED}{_words(entry)}"
        description = f"{entry.does}\n{shipped}"
        row = rows.get(name)
        if row is None:
            PeriodicTask.objects.create(
                name=name,
                task=entry.task,
                kwargs=entry.kwargs_as_json(),
                description=description,
                expire_seconds=entry.expires_after(),
                **_schedule(entry),
            )
            changed = True
        elif row.description != description or row.task != entry.task:
            edited = not row.description.endswith(f"{_SHIPPED}{_words_of_row(row)}")
            row.task, row.kwargs, row.description = entry.task, entry.kwargs_as_json(), description
            if not edited:
                row.interval = row.crontab = None
                for field, value in _schedule(entry).items():
                    setattr(row, field, value)
                row.expire_seconds = entry.expires_after()
            row.save()
            changed = True
    for name, row in rows.items():
        if name not in table and row.enabled and _SHIPPED in row.description:
            row.enabled = False
            row.save()
            changed = True
    if changed:
        PeriodicTasks.update_changed()


def _schedule(entry: Entry) -> dict[str, IntervalSchedule | CrontabSchedule]:
    if isinstance(entry.every, timedelta):
        interval, _ = IntervalSchedule.objects.get_or_create(
            every=int(entry.every.total_seconds()), period=IntervalSchedule.SECONDS
        )
        return {"interval": interval}
    return {"crontab": _row_of_crontab(entry.every)}


def _row_of_crontab(every: crontab) -> CrontabSchedule:
    row: CrontabSchedule = CrontabSchedule.from_schedule(every)
    found, _ = CrontabSchedule.objects.get_or_create(
        minute=row.minute,
        hour=row.hour,
        day_of_month=row.day_of_month,
        month_of_year=row.month_of_year,
        day_of_week=row.day_of_week,
        timezone="UTC",
    )
    return found


def _words(entry: Entry) -> str:
    if isinstance(entry.every, timedelta):
        return f"every {int(entry.every.total_seconds())} seconds"
    row = CrontabSchedule.from_schedule(entry.every)
    return f"{row.minute} {row.hour} {row.day_of_month} {row.month_of_year} {row.day_of_week} UTC"


def _words_of_row(row: PeriodicTask) -> str:
    if row.interval is not None and row.interval.period == IntervalSchedule.SECONDS:
        return f"every {row.interval.every} seconds"
    if row.crontab is not None:
        times = row.crontab
        fields = (times.minute, times.hour, times.day_of_month, times.month_of_year, times.day_of_week, times.timezone)
        return " ".join(str(field) for field in fields)
    return ""
