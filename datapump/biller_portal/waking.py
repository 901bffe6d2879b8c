"""Waking the workers from a page: what beat would do in a moment anyway."""

from __future__ import annotations

from billing.wakes import wake as _wake
from datapump import tasks


def wake() -> None:
    """Have a worker deliver now; a broker that is down only means that beat does it."""
    _wake(tasks.deliver)


def wake_resends() -> None:
    """Have a worker send again what was planned, now."""
    _wake(tasks.resend)
