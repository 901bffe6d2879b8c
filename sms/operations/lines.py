"""Lines: the driver of each, set up as its row says, and letting one send again that was stopped."""

from __future__ import annotations

import json
import time
import uuid
from functools import lru_cache

from django.conf import settings
from django.db import transaction

from billing import audit, formats, tenancy
from billing.actors import Actor
from billing.errors import DomainError
from sms.models import Line
from sms.providers.base import Provider
from sms.providers.registry import open_provider

# Providers tell in bursts: a line's row is read again after so long.
KEPT_SECONDS = 2.0
_heard: dict[uuid.UUID, tuple[float, Line]] = {}


class NotStopped(DomainError):
    """The line sends."""

    default = "Texts go out from this number already."


class NotWarned(DomainError):
    """Nothing is held against the line's texts."""

    default = "No carrier holds anything against the texts from this number."


def open_line(line: Line) -> Provider:
    """Give the driver of a line.

    :raises sms.providers.base.Misconfigured: the line's driver or options are wrong.
    """
    return open_provider(line.driver, line.options, line.secret, callback_url=callback_of(line))


def heard_line(guid: uuid.UUID) -> Line | None:
    """Give the active line that a webhook's address names, as it stood a moment ago at most."""
    now = time.monotonic()
    kept = _heard.get(guid)
    if kept is not None and now < kept[0]:
        return kept[1]
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        line = Line.objects.filter(guid=guid, active=True).first()
    if line is None:
        _heard.pop(guid, None)
        return None
    _heard[guid] = (now + KEPT_SECONDS, line)
    return line


def reader_of(line: Line) -> Provider:
    """Give a driver that reads what a line's provider tells: kept while the row says the same, never closed.

    :raises sms.providers.base.Misconfigured: the line's driver or options are wrong.
    """
    return _reader(line.driver, json.dumps(line.options, sort_keys=True), line.secret, callback_of(line))


@lru_cache(maxsize=256)
def _reader(driver: str, options: str, secret: str, callback: str) -> Provider:
    return open_provider(driver, json.loads(options), secret, callback_url=callback)


def callback_of(line: Line) -> str:
    """Give the public address at which a line's provider tells us of texts."""
    return f"{settings.PUBLIC_URL}/texts/{line.guid}"


@transaction.atomic(durable=True)
def resume(*, line: Line, actor: Actor) -> None:
    """Let a line that was stopped send again, because somebody put right what was wrong; what waited goes out.

    :raises NotStopped: nothing had stopped it.
    """
    if not Line.objects.filter(pk=line.pk).exclude(stopped_for="").update(stopped_for=""):
        raise NotStopped
    audit.record(
        actor=actor, event="line.resumed", biller_id=line.biller_id, subject=f"line:{line.pk}",
        facts={"line": formats.phone(line.number), "reason": line.stopped_for},
    )  # fmt: skip


@transaction.atomic(durable=True)
def dismiss_warning(*, line: Line, actor: Actor) -> None:
    """Forget what a carrier held against a line's texts, because somebody saw to it; the next one warns anew.

    :raises NotWarned: there is no warning.
    """
    if not Line.objects.filter(pk=line.pk).exclude(warned_of="").update(warned_of=""):
        raise NotWarned
    audit.record(
        actor=actor, event="line.warning_dismissed", biller_id=line.biller_id, subject=f"line:{line.pk}",
        facts={"line": formats.phone(line.number), "reason": line.warned_of},
    )  # fmt: skip
