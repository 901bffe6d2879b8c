"""Django's PostgreSQL backend, which tells PostgreSQL which billers are in scope before it runs a statement.

Row-level security reads the setting ``app.billers``. It is set for one transaction at a time, so that nothing can leak
to whoever uses the connection next, and it costs no round trip of its own:

- A transaction begins with ``BEGIN`` and the setting in one message, where psycopg alone would send ``BEGIN``.
- A statement outside of any transaction travels in one message with the setting; PostgreSQL runs the two as one.
- When the scope changes inside a transaction, the next statement sets it anew, which is one round trip.

``COPY`` and row streaming need a transaction and say so. ``QuerySet.iterator()`` works in and outside of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, ProgrammingError
from django.db.backends.postgresql import base
from django.db.transaction import TransactionManagementError
from psycopg import sql
from psycopg.pq import ExecStatus, TransactionStatus

# What billing.tenancy.scope() may give: nothing in it needs quoting.
_SCOPE = re.compile(r"\*|\{(\d+(,\d+)*)?\}")


def _set_scope(scope: str) -> str:
    if not _SCOPE.fullmatch(scope):
        raise ValueError("The billers in scope must be an array of numbers, such as {1,2}, or *.")
    return f"SELECT set_config('app.billers', '{scope}', true);"


class _ScopedCursorMixin:
    """What both kinds of cursor do before they send a statement."""

    connection: psycopg.Connection[Any]
    # The wrapper that made this cursor; those that Django makes while it connects have none and see no biller.
    wrapper: DatabaseWrapper | None = None

    @contextmanager
    def _own_transaction(self) -> Iterator[None]:
        """Run what cannot share a message with the setting: in the open transaction, or in one of its own."""
        if self.wrapper is None:
            yield
        elif not self.wrapper.outside_transaction():
            self.wrapper.tell_scope()
            yield
        else:
            self.wrapper.begin()
            try:
                yield
            except BaseException:
                self.connection.pgconn.exec_(b"ROLLBACK")
                raise
            self.connection.execute("COMMIT")

    def _need_transaction(self, what: str) -> None:
        if self.wrapper is not None:
            if self.wrapper.outside_transaction():
                raise TransactionManagementError(f"{what} needs a transaction: run it inside transaction.atomic().")
            self.wrapper.tell_scope()

    def executemany(self, *args: Any, **kwargs: Any) -> Any:
        with self._own_transaction():
            return super().executemany(*args, **kwargs)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        self._need_transaction("COPY")
        return super().copy(*args, **kwargs)

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        self._need_transaction("Streaming rows")
        return super().stream(*args, **kwargs)


class Cursor(_ScopedCursorMixin, base.Cursor):
    """A client-side cursor that sends the scope along."""

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Cursor:
        """Run a statement with the scope in force."""
        if self.wrapper is None:
            return super().execute(query, params, **kwargs)
        if not self.wrapper.outside_transaction():
            self.wrapper.tell_scope()
            return super().execute(query, params, **kwargs)
        prefix = _set_scope(self.wrapper.scope())
        if isinstance(query, bytes):
            query = prefix.encode() + query
        elif isinstance(query, sql.Composable):
            query = sql.SQL(prefix) + query
        else:
            query = prefix + query
        super().execute(query, params, **kwargs)
        self.nextset()
        return self


class ServerSideCursor(_ScopedCursorMixin, base.ServerSideCursor):
    """A named cursor: declared in the open transaction, or WITH HOLD in one of its own."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Declare the cursor with the scope in force."""
        with self._own_transaction():
            return super().execute(*args, **kwargs)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection of the application's role."""

    # What PostgreSQL was last told in the open transaction; None when that is not known.
    _told: str | None = None

    @staticmethod
    def scope() -> str:
        """Give the billers in scope for the running request, task or command."""
        from billing import tenancy

        return tenancy.scope()

    def connect(self) -> None:
        """Connect, and see whether this is the database that it was: a restored one must not charge anybody."""
        super().connect()
        if self.alias != DEFAULT_DB_ALIAS or not apps.ready:
            return
        from payments.operations import restores

        try:
            restores.notice()
        except ProgrammingError as error:
            # Not migrated yet: then nothing can be charged either.
            if not isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                raise

    def outside_transaction(self) -> bool:
        """Say whether a statement sent now would be a transaction by itself; begins one where Django asked for one."""
        if self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        if self.connection.autocommit:
            return True
        self.begin()
        return False

    def begin(self) -> None:
        """Begin a transaction with the scope set, in one round trip.

        :raises psycopg.OperationalError: the connection is gone.
        """
        scope = self.scope()
        result = self.connection.pgconn.exec_(b"BEGIN;" + _set_scope(scope).encode())
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            raise psycopg.errors.error_from_result(result, encoding=self.connection.info.encoding)
        self._told = scope

    def tell_scope(self) -> None:
        """Set the scope anew if it changed since PostgreSQL was told, in the transaction that is open."""
        scope = self.scope()
        if scope != self._told and self.connection.pgconn.transaction_status == TransactionStatus.INTRANS:
            result = self.connection.pgconn.exec_(_set_scope(scope).encode())
            if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
                raise psycopg.errors.error_from_result(result, encoding=self.connection.info.encoding)
            self._told = scope

    def create_cursor(self, name: str | None = None) -> Any:
        """Make a cursor that sends the scope along."""
        if name:
            cursor: Any = ServerSideCursor(
                self.connection, name=name, scrollable=False, withhold=self.connection.autocommit
            )
        else:
            cursor = Cursor(self.connection)
        cursor.wrapper = self
        loader = self.connection.adapters.get_loader(base.TIMESTAMPTZ_OID, psycopg.pq.Format.TEXT)
        if self.timezone != loader.timezone:
            base.register_tzloader(self.timezone, cursor)
        return cursor

    def _set_autocommit(self, autocommit: bool) -> None:
        super()._set_autocommit(autocommit)
        if autocommit:
            return
        # The scope of a transaction is in force from its beginning, not from its first statement.
        try:
            with self.wrap_database_errors:
                self.begin()
        except BaseException:
            # Django has not noted the change yet, so psycopg must not stay behind.
            if not self.connection.closed:
                self.connection.rollback()
                super()._set_autocommit(True)
            raise

    def _savepoint_rollback(self, sid: str) -> None:
        # The setting goes back to what it was at the savepoint, which nobody remembers.
        super()._savepoint_rollback(sid)
        self._told = None
