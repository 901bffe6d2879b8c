"""Transmission logs: what was sent to processors and what they answered, kept for as long as somebody may have to look.

A file for each biller, route, day (UTC) and machine, below ``TRANSMISSIONS``: one JSON object a line, with numbers
masked. A line is written before the message goes out, so that after a crash it can be seen whether a batch was sent. Days
that are over are archived (gzip) and, after ``TRANSMISSION_DAYS``, removed.

Source: PAY-13.
"""

from __future__ import annotations

import datetime
import gzip
import json
import logging
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from payments.gateways.lines import ExchangeHook
from payments.models import Route

logger = logging.getLogger(__name__)

_DAY = re.compile(r"(\d{4}-\d\d-\d\d)\.[^/]*\.log(\.gz)?\Z")


@dataclass(frozen=True, slots=True)
class Aged:
    """What ageing did: files archived and files removed."""

    archived: int = 0
    removed: int = 0


def folder() -> Path:
    """Give where the logs are."""
    return Path(settings.TRANSMISSIONS)


def log_of(route: Route) -> ExchangeHook:
    """Give what a driver tells each message to, for one route. It never stands in the way of a payment."""
    where = folder() / str(route.biller_id) / str(route.pk)

    def keep(direction: str, text: str) -> None:
        now = datetime.datetime.now(datetime.UTC)
        line = json.dumps({"at": now.isoformat(timespec="milliseconds"), "direction": direction, "text": text})
        try:
            where.mkdir(parents=True, exist_ok=True, mode=0o700)
            # One write to a file that is open for appending: lines of several threads and processes stay whole.
            file = os.open(where / f"{now.date()}.{platform.node()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(file, f"{line}\n".encode())
            finally:
                os.close(file)
        except OSError:
            logger.exception("a message to or from the processor of route %s could not be logged", route.pk)

    return keep


def find(*, biller_id: int, text: str) -> Iterator[tuple[Path, str]]:
    """Give every line of a biller's logs that has a text in it, such as an attempt's id, with its file; oldest first."""
    for path in sorted((folder() / str(biller_id)).glob("*/*.log*"), key=lambda one: (one.name, str(one))):
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            for line in lines:
                if text in line:
                    yield path, line.rstrip("\n")


def age_out(*, now: datetime.datetime) -> Aged:
    """Archive the logs of days that are over, and remove those older than is kept."""
    today = now.astimezone(datetime.UTC).date()
    last = today - datetime.timedelta(days=settings.TRANSMISSION_DAYS)
    archived = removed = 0
    for path in sorted(folder().glob("*/*/*.log*")):
        found = _DAY.fullmatch(path.name)
        if found is None:
            continue
        day = datetime.date.fromisoformat(found[1])
        if day < last:
            path.unlink(missing_ok=True)
            removed += 1
        # A process that began before midnight may still write its last line: yesterday's is left for a day.
        elif path.suffix != ".gz" and day < today - datetime.timedelta(days=1):
            _archive(path)
            archived += 1
    return Aged(archived, removed)


def _archive(path: Path) -> None:
    archive = path.with_name(f"{path.name}.gz")
    half = path.with_name(f"{path.name}.half")
    with path.open("rb") as whole, os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:
            shutil.copyfileobj(whole, packed)
        raw.flush()
        os.fsync(raw.fileno())
    half.rename(archive)
    path.unlink()
