"""Waking a worker from a request: quickly or not at all, because beat finds the same work in the rows a moment later."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

# A connection that died while nobody used it is made anew, once; nobody waits for a broker that is down. That is not
# what ``retry=False`` does: with it, connecting is tried for six seconds.
_QUICKLY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def wake(task: Task[..., Any], *args: Any) -> bool:
    """Have a worker run a task now; gives False, and says so in the log, where the broker cannot be reached.

    Only for work that is written down in rows, unless the caller tells whoever asked that it was not begun.
    """
    try:
        task.apply_async(args, ignore_result=True, retry_policy=_QUICKLY)
    except OperationalError as error:
        logger.warning("%s was not woken: the broker cannot be reached (%s)", task.name, error)
        return False
    return True
