"""Places where the crash harness may kill a process; in any other process they cost one comparison."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_AT = os.environ.get("RATEPAYER_CRASH_AT", "")
_die: Callable[[], None] = _kill
_reached: dict[str, int] = {}


def arm(at: str, die: Callable[[], None] = _kill) -> None:
    """Let the process die at ``name:n``, or at several such places, and nowhere for nothing; for those that test crashes.

    ``die`` is what it does there, by default SIGKILL.
    """
    global _AT, _die  # one plan a process
    _AT, _die = at, die
    _reached.clear()


def failpoint(name: str) -> None:
    """Die by SIGKILL where ``RATEPAYER_CRASH_AT`` says ``name:n`` and this is the n-th time that the point is reached."""
    if not _AT:
        return
    _reached[name] = _reached.get(name, 0) + 1
    if f"{name}:{_reached[name]}" in _AT.split(","):
        _die()
