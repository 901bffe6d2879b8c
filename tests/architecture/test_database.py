"""The billers in scope reach PostgreSQL with every statement, and never the next user of the connection."""

from __future__ import annotations

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.db.utils import ProgrammingError

from billing import tenancy
from config import roles

pytestmark = pytest.mark.django_db(transaction=True)


def in_force() -> str | None:
    """Ask PostgreSQL through the backend."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.billers', true)")
        value: str | None = cursor.fetchone()[0]
        return value


def in_force_unscoped() -> str:
    """Ask PostgreSQL on the same connection, past the backend; empty when nothing was left behind."""
    assert connection.connection is not None
    found = connection.connection.execute("SELECT current_setting('app.billers', true)").fetchone()
    return found[0] or ""


def test_a_transaction_has_the_scope_until_it_commits() -> None:
    with tenancy.acting_for([7, 3]):
        with transaction.atomic():
            assert in_force_unscoped() == "{3,7}"
        assert in_force_unscoped() == ""


def test_a_statement_outside_a_transaction_has_the_scope_and_leaves_nothing() -> None:
    with tenancy.acting_for([3]):
        assert in_force() == "{3}"
        assert in_force_unscoped() == ""
    with tenancy.acting_for([4]):
        assert in_force() == "{4}"
    with tenancy.acting_for([]):
        assert in_force() == "{}"


def test_a_rolled_back_transaction_leaves_nothing_for_the_next_scope() -> None:
    with tenancy.acting_for([3]), pytest.raises(DataError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")
    assert in_force_unscoped() == ""
    with tenancy.acting_for([4]), transaction.atomic():
        assert in_force() == "{4}"


def test_the_scope_can_change_inside_a_transaction_and_comes_back() -> None:
    with tenancy.acting_for([3]), transaction.atomic():
        with tenancy.acting_for([4]):
            assert in_force() == "{4}"
        assert in_force() == "{3}"


def test_a_savepoint_that_is_rolled_back_does_not_bring_an_older_scope_back() -> None:
    with tenancy.acting_for([3]), transaction.atomic():
        point = transaction.savepoint()
        tenancy.enter([4])
        assert in_force() == "{4}"
        transaction.savepoint_rollback(point)
        assert in_force() == "{4}"


def test_a_transaction_costs_one_round_trip_fewer_than_asking_would() -> None:
    # psycopg would send BEGIN with the first statement; the scope travels in that message.
    assert connection.connection is not None or in_force() is not None
    with transaction.atomic():
        assert connection.connection.info.transaction_status.name == "INTRANS"


def test_errors_outside_a_transaction_leave_the_connection_usable() -> None:
    with pytest.raises(DataError), connection.cursor() as cursor:
        cursor.execute("SELECT 1 / %s", [0])
    assert in_force() == "*"


def test_rows_and_counts_are_those_of_the_statement() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT n FROM generate_series(1, %s) n", [3])
        assert cursor.rowcount == 3
        assert [column.name for column in cursor.description] == ["n"]
        assert cursor.fetchall() == [(1,), (2,), (3,)]
        cursor.execute("SELECT '100%'")
        assert cursor.fetchone() == ("100%",)


def test_executemany_is_all_or_nothing_and_scoped() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE seen (n int PRIMARY KEY, scope text DEFAULT current_setting('app.billers'))"
        )
        with tenancy.acting_for([5]):
            cursor.executemany("INSERT INTO seen (n) VALUES (%s)", [(1,), (2,)])
            with pytest.raises(IntegrityError):
                cursor.executemany("INSERT INTO seen (n) VALUES (%s)", [(3,), (1,)])
        assert in_force_unscoped() == ""
        cursor.execute("SELECT n, scope FROM seen ORDER BY n")
        assert cursor.fetchall() == [(1, "{5}"), (2, "{5}")]
        cursor.execute("DROP TABLE seen")


@pytest.mark.parametrize("inside", [True, False])
def test_server_side_cursors_have_the_scope(inside: bool) -> None:
    def rows() -> list[str]:
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT current_setting('app.billers', true) FROM generate_series(1, 5)")
            return [row[0] for row in cursor.fetchmany(5)]

    with tenancy.acting_for([6]):
        if inside:
            with transaction.atomic():
                assert rows() == ["{6}"] * 5
        else:
            assert rows() == ["{6}"] * 5
            assert in_force_unscoped() == ""


def test_copy_outside_a_transaction_says_what_is_missing() -> None:
    with connection.cursor() as cursor:
        with pytest.raises(TransactionManagementError, match="COPY needs a transaction"):
            cursor.copy("COPY (SELECT 1) TO STDOUT")
        with transaction.atomic(), cursor.copy("COPY (SELECT current_setting('app.billers')) TO STDOUT") as copy:
            assert b"".join(bytes(part) for part in copy) == b"*\n"


def test_a_scope_that_is_no_list_of_numbers_never_reaches_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    in_force()
    monkeypatch.setattr(tenancy, "scope", lambda: "{1}'); DROP TABLE billing_biller; --")
    with pytest.raises(ValueError, match="array of numbers"):
        in_force()
    with pytest.raises(ValueError, match="array of numbers"), transaction.atomic():
        pass
    monkeypatch.undo()
    assert connection.get_autocommit()
    assert in_force() == "*"


def test_the_application_owns_nothing_and_cannot_pass_row_security() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb,"
            " (SELECT count(*) FROM pg_class WHERE relowner = r.oid)"
            " FROM pg_roles r WHERE rolname = current_user"
        )
        assert cursor.fetchone() == (roles.LOGIN, False, False, False, False, 0)
        with pytest.raises(ProgrammingError, match="permission denied"):
            cursor.execute("CREATE TABLE mine (n int)")


def test_the_loaders_rights_are_taken_on_request_only() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_has_role(current_user, %s, 'USAGE'), pg_has_role(current_user, %s, 'USAGE')",
            [roles.APP, roles.LOADER],
        )
        assert cursor.fetchone() == (True, False)
        cursor.execute(f"SET LOCAL ROLE {roles.LOADER}")
        cursor.execute("SELECT current_user, pg_has_role(current_user, %s, 'USAGE')", [roles.APP])
        assert cursor.fetchone() == (roles.LOADER, True)
