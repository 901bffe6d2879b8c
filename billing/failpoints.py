"""Places where the crash harness may kill a process; in any other process they cost one comparison."""

from __future__ import annotations

import os
import signal

_AT = os.environ.get("RATEPAYER_CRASH_AT", "")
_reached: dict[str, int] = {}


def arm(at: str) -> None:
    """Let the process die at ``name:n``, or at several such places; for the harness, in a process it has just made."""
    global _AT  # noqa: PLW0603 — one plan a process
    _AT = at
    _reached.clear()


def failpoint(name: str) -> None:
    """Die by SIGKILL where ``RATEPAYER_CRASH_AT`` says ``name:n`` and this is the n-th time that the point is reached."""
    if not _AT:
        return
    _reached[name] = _reached.get(name, 0) + 1
    if f"{name}:{_reached[name]}" in _AT.split(","):
        os.kill(os.getpid(), signal.SIGKILL)
