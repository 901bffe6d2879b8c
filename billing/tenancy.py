"""Which billers the running code may see: the second of three walls between them.

Querysets narrow (``visible_to``), PostgreSQL's row security refuses what a queryset forgot, and tests walk every URL. The
scope kept here is what row security reads: the database backend tells it to PostgreSQL at the start of every outermost
transaction as ``app.billers``. Outside of any scope nothing at all is visible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import connection

EVERY_BILLER = "*"
_NONE = "{}"

_scope: ContextVar[str] = ContextVar("billers_in_scope", default=_NONE)


def scope() -> str:
    """Give the billers in scope as PostgreSQL reads them: ``{1,2}``, ``{}`` for none, ``*`` for every one."""
    return _scope.get()


@contextmanager
def acting_for(billers: Iterable[int] | str) -> Iterator[None]:
    """See these billers' rows inside the block, or every biller's with ``EVERY_BILLER``.

    Inside a transaction the change takes effect at once and is taken back at the end of the block.
    """
    value = EVERY_BILLER if billers == EVERY_BILLER else "{%s}" % ",".join(str(int(pk)) for pk in sorted(set(billers)))
    before = _scope.get()
    token = _scope.set(value)
    _tell(value)
    try:
        yield
    finally:
        _scope.reset(token)
        _tell(before)


def enter(billers: Iterable[int] | str) -> None:
    """See these billers' rows for the rest of this context (one request, one task); the caller's context ends it."""
    value = EVERY_BILLER if billers == EVERY_BILLER else "{%s}" % ",".join(str(int(pk)) for pk in sorted(set(billers)))
    _scope.set(value)
    _tell(value)


def _tell(value: str) -> None:
    # A new transaction is told by the backend; one that is open already has to be told here.
    if connection.in_atomic_block and not connection.needs_rollback:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.billers', %s, true)", [value])
