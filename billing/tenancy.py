"""Which billers the running code may see: the second of three walls between them.

Querysets narrow (``visible_to``), PostgreSQL's row security refuses what a queryset forgot, and tests walk every URL. The
scope kept here is what row security reads: the database backend tells it to PostgreSQL as ``app.billers``, at the start of
every outermost transaction and whenever it changes. Outside of any scope nothing at all is visible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERY_BILLER = "*"
_NONE = "{}"

_scope: ContextVar[str] = ContextVar("billers_in_scope", default=_NONE)


def scope() -> str:
    """Give the billers in scope as PostgreSQL reads them: ``{1,2}``, ``{}`` for none, ``*`` for every one."""
    return _scope.get()


@contextmanager
def acting_for(billers: Iterable[int] | str) -> Iterator[None]:
    """See these billers' rows inside the block, or every biller's with ``EVERY_BILLER``.

    Inside a transaction the change takes effect with the next statement, and is taken back at the end of the block.
    """
    token = _scope.set(_written(billers))
    try:
        yield
    finally:
        _scope.reset(token)


def enter(billers: Iterable[int] | str) -> None:
    """See these billers' rows for the rest of this context (one request, one task); the caller's context ends it."""
    _scope.set(_written(billers))


def _written(billers: Iterable[int] | str) -> str:
    if isinstance(billers, str):
        if billers != EVERY_BILLER:
            raise ValueError("Billers are named by their ids, or all of them by EVERY_BILLER.")
        return EVERY_BILLER
    return f"{{{','.join(str(int(pk)) for pk in sorted(set(billers)))}}}"
