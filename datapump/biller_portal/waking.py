"""Waking the workers from a page: what beat would do in a moment anyway."""

from __future__ import annotations

import contextlib

from kombu.exceptions import OperationalError

from datapump import tasks


def wake() -> None:
    """Have a worker deliver now; a broker that is down only means that beat does it."""
    with contextlib.suppress(OperationalError):
        tasks.deliver.apply_async(ignore_result=True, retry=False)


def wake_resends() -> None:
    """Have a worker send again what was planned, now."""
    with contextlib.suppress(OperationalError):
        tasks.resend.apply_async(ignore_result=True, retry=False)
