"""Lines: the driver of each, set up as its row says, and letting one send again that was stopped."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from billing import audit, formats
from billing.actors import Actor
from billing.errors import DomainError
from sms.models import Line
from sms.providers.base import Provider
from sms.providers.registry import open_provider


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
