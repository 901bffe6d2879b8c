"""Limits on tries that must hold after a restart, across machines, and when the cache is wiped.

A limit counts in fixed windows of the clock, one row for each subject; what is tried is counted before it is known
whether it succeeds, so that nothing about the answer can be learned from the count.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection, transaction
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from billing import formats
from billing.errors import DomainError
from billing.models import Throttle

KEPT = datetime.timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many tries of one thing in one window, for each subject; ``subject`` is kept as a digest only."""

    what: str
    most: int
    window: datetime.timedelta


class TooManyTries(DomainError):
    """A limit is reached; ``until`` is when the next window begins."""

    def __init__(self, until: datetime.datetime) -> None:
        words = _("There were too many tries. Wait until %(time)s, then try again.")
        super().__init__(words % {"time": formats.clock(until)})
        self.until = until


def count(*, tries: Iterable[tuple[Limit, str]], now: datetime.datetime) -> None:
    """Count one try against each limit and its subject, committed at once.

    :raises TooManyTries: one of them is over its limit; the try was counted all the same.
    """
    over: list[datetime.datetime] = []
    # In one order for everybody, so that two requests wait for each other instead of for both.
    rows = sorted(((_digest(limit, subject), limit) for limit, subject in tries), key=lambda row: row[0])
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        for digest, limit in rows:
            begun = _window(limit, now)
            cursor.execute(
                'INSERT INTO billing_throttle (digest, "window", count) VALUES (%s, %s, 1)'
                ' ON CONFLICT (digest, "window") DO UPDATE SET count = billing_throttle.count + 1 RETURNING count',
                [digest, begun],
            )
            (counted,) = cursor.fetchone()
            if counted > limit.most:
                over.append(begun + limit.window)
    if over:
        raise TooManyTries(max(over))


def forget(*, now: datetime.datetime) -> int:
    """Remove the counters of windows that are long over; gives how many."""
    removed, _rows = Throttle.objects.filter(window__lt=now - KEPT).delete()
    return removed


def _window(limit: Limit, now: datetime.datetime) -> datetime.datetime:
    seconds = limit.window.total_seconds()
    return datetime.datetime.fromtimestamp(now.timestamp() // seconds * seconds, datetime.UTC)


def _digest(limit: Limit, subject: str) -> str:
    return salted_hmac(f"billing.throttles.{limit.what}", subject, algorithm="sha256").hexdigest()
