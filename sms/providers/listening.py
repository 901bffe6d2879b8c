"""Keeping up the connection of a provider that tells over one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from sms.providers.base import Hear, Listener, NotSent

PAUSE_SHORTEST, PAUSE_LONGEST = 1.0, 60.0


def keep_listening(
    listener: Listener,
    hear: Hear,
    *,
    stopping: threading.Event,
    on_loss: Callable[[str], None] | None = None,
    shortest: float = PAUSE_SHORTEST,
    longest: float = PAUSE_LONGEST,
) -> None:
    """Listen until ``stopping`` is set, anew after each loss of the connection.

    The pause before it is doubled from ``shortest`` to ``longest`` seconds, and begins anew once a connection held for
    longer than that. ``on_loss`` is told why, in words that name nobody.

    :raises sms.providers.base.Misconfigured: the provider does not let us in; trying on could lock the account.
    """
    pause = shortest
    while not stopping.is_set():
        began = time.monotonic()
        try:
            listener.listen(hear, stopping=stopping)
        except NotSent as error:
            if on_loss is not None:
                on_loss(str(error))
            pause = shortest if time.monotonic() - began > longest else pause
            # Not all at once, where one loss struck many.
            stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311  (no secret)
            pause = min(pause * 2, longest)
