"""Deadlocks: possible between a chunk and an import of the same customers; PostgreSQL ends one, and we repeat it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError

_Given = TypeVar("_Given")
_TRIES = 4


def repeated(act: Callable[[], _Given]) -> _Given:
    """Do one transaction, and again where it was the victim of a deadlock; gives what it gives.

    :raises OperationalError: anything else went wrong, or it was the victim four times in a row.
    """
    for left in reversed(range(_TRIES)):
        try:
            return act()
        except OperationalError as error:
            if left == 0 or getattr(error.__cause__, "sqlstate", "") != "40P01":
                raise
    raise AssertionError("unreachable")
