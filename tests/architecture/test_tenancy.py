"""The second wall: PostgreSQL itself shows no biller's rows to another, whatever the code above it forgets."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import connection, models, transaction
from django.db.utils import ProgrammingError

from billing import tenancy
from billing.models import Biller, Customer
from config import roles
from tests import servers
from tests.access.canaries import tenant_models
from tests.cast import Cast, make_cast
from tests.factories import make_biller, make_customer

# Tables that no biller owns, and why everybody may read them.
SHARED = {
    "billing_user": "a person may work for several billers and pay at others; pages find people by membership or link",
    "billing_user_groups": "Django's own",
    "billing_user_user_permissions": "Django's own",
    "billing_throttle": "digests and counts only",
    "billing_seal": "digests over the whole trail",
    "billing_installation": "which server the database is in, the same for every biller",
    "billing_paytype": "the numbered kinds of money and accounts, the same for every biller",
    "payments_checkanswer": "what the card networks' letters mean, the same for every biller",
    "payments_answercode": "what a processor's codes mean, the same for every biller",
    "payments_retrylimit": "what the card networks allow, the same for every biller",
}
# Keys that are unique over all billers, so that a refused insert could tell of another biller's row, and why they may be.
ACROSS = {
    ("billing_biller", "guid"): "names the biller in files; random",
    ("billing_biller", "number"): "BIDs are given out by the operator, who makes billers",
    ("billing_biller", "slug"): "the public address of the biller",
    ("billing_apitoken", "prefix"): "random; a taken one is made anew",
    ("sms_line", "guid"): "random, binds the secret to its row",
    ("payments_route", "guid"): "random, binds the secret to its row",
}
# Columns that name one row of a biller: unique below it is unique within the biller.
OWNED = {
    "customer_id", "run_id", "notice_id", "attempt_id", "payment_id", "file_id", "item_id", "invoice_id", "fee_id", "late_bill_id",
}  # fmt: skip


def tenant_tables() -> list[str]:
    return sorted(model._meta.db_table for model in tenant_models())


def rows(query: str, *params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return list(cursor.fetchall())


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


# ---- What there is -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_role_of_the_tests_is_the_one_that_row_security_holds() -> None:
    found = rows(
        "SELECT current_user, rolsuper, rolbypassrls, (SELECT count(*) FROM pg_class WHERE relowner = r.oid),"
        " (SELECT count(*) FROM pg_auth_members m JOIN pg_roles o ON o.oid = m.roleid"
        "  WHERE m.member = r.oid AND (o.rolsuper OR o.rolbypassrls OR o.rolname = %s))"
        " FROM pg_roles r WHERE rolname = current_user",
        roles.OWNER,
    )
    assert found == [(roles.LOGIN, False, False, 0, 0)]


@pytest.mark.django_db
def test_every_table_of_a_biller_is_behind_the_policy_even_for_its_owner() -> None:
    found = rows(
        "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,"
        " coalesce(array_agg(p.polname::text || p.polcmd::text || p.polpermissive::text) FILTER (WHERE p.oid IS NOT NULL), '{}')"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'biller_id' AND NOT a.attisdropped"
        " LEFT JOIN pg_policy p ON p.polrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace GROUP BY 1, 2, 3 ORDER BY 1"
    )
    assert [name for name, *_ in found] == tenant_tables()
    assert [row for row in found if row[1:] != (True, True, ["billers_in_scope*true"])] == []
    billers = rows(
        "SELECT relrowsecurity, relforcerowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = c.oid)"
        " FROM pg_class c WHERE relname = 'billing_biller'"
    )
    assert billers == [(True, True, 1)]


@pytest.mark.django_db
def test_every_table_of_ours_belongs_to_a_biller_or_is_shared_for_a_reason() -> None:
    ours = {
        table
        for (table,) in rows(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
            " AND relname ~ '^(billing|payments|datapump|sms|config)_'"
        )
    }
    assert ours - set(tenant_tables()) - {"billing_biller"} == set(SHARED)


@pytest.mark.django_db
def test_no_view_and_no_function_goes_around_the_policies() -> None:
    views = rows(
        "SELECT relname FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace"
        " AND NOT coalesce(reloptions @> '{security_invoker=true}', false)"
    )
    functions = rows(
        "SELECT proname FROM pg_proc WHERE pronamespace NOT IN ('pg_catalog'::regnamespace,"
        " 'information_schema'::regnamespace) AND prosecdef"
    )
    assert (views, functions) == ([], [])


@pytest.mark.django_db
def test_what_is_unique_is_unique_for_one_biller() -> None:
    found = rows(
        "SELECT t.relname, i.relname, x.indisprimary, array_agg(a.attname::text ORDER BY k.n), array_agg(y.typname::text)"
        " FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid"
        " CROSS JOIN LATERAL unnest(x.indkey::int[]) WITH ORDINALITY k(attribute, n)"
        " LEFT JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attribute"
        " LEFT JOIN pg_type y ON y.oid = a.atttypid"
        " WHERE x.indisunique AND t.relname = ANY (%s) GROUP BY 1, 2, 3",
        [*tenant_tables(), "billing_biller"],
    )
    assert len(found) > 30
    telling = []
    for table, index, primary, columns, types in found:
        surrogate = primary and types in (["int8"], ["uuid"])
        within = "biller_id" in columns or OWNED & set(columns)
        if not surrogate and not within and not all((table, column) in ACROSS for column in columns):
            telling.append((table, index, columns))
    assert telling == []


@pytest.mark.django_db
def test_staging_belongs_to_the_loader_alone() -> None:
    assert rows(
        "SELECT has_schema_privilege(%s, 'staging', 'USAGE'), has_schema_privilege(%s, 'staging', 'USAGE')",
        roles.LOGIN,
        roles.LOADER,
    ) == [(False, True)]


# ---- What it does ------------------------------------------------------------------------------------------------------


def test_without_a_scope_there_are_no_rows(cast: Cast) -> None:
    with tenancy.acting_for(()):
        assert {table: rows(f"SELECT count(*) FROM {table}")[0][0] for table in all_tables()} == dict.fromkeys(
            all_tables(), 0
        )


def test_a_scope_of_one_biller_shows_its_rows_and_no_others(cast: Cast) -> None:
    maple, harbor = cast.maple.biller.pk, cast.harbor.biller.pk
    empty = []
    for table in all_tables():
        column = "id" if table == "billing_biller" else "biller_id"
        with tenancy.acting_for([maple]):
            assert {one for (one,) in rows(f"SELECT DISTINCT {column} FROM {table}")} <= {maple}, table
        with tenancy.acting_for([maple, harbor]):
            seen = {one for (one,) in rows(f"SELECT DISTINCT {column} FROM {table}")}
            empty += [table] if seen != {maple, harbor} else []
    # A table that the cast leaves empty would prove nothing.
    assert empty == []


def all_tables() -> list[str]:
    return [*tenant_tables(), "billing_biller"]


def test_a_row_can_be_neither_made_nor_moved_nor_changed_nor_removed_for_another_biller(cast: Cast) -> None:
    maple, harbor = cast.maple, cast.harbor
    theirs = harbor.account.customer
    with tenancy.acting_for([maple.biller.pk]):
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            make_customer(harbor.biller)
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            Customer.objects.filter(pk=maple.account.customer.pk).update(biller_id=harbor.biller.pk)
        assert Customer.objects.filter(pk=theirs.pk).update(name="Taken") == 0
        assert Customer.objects.filter(pk=theirs.pk).delete()[0] == 0
        assert Customer.objects.filter(pk=theirs.pk).select_for_update().first() is None
    assert Customer.objects.get(pk=theirs.pk).name == theirs.name


@pytest.mark.parametrize("model", tenant_models(), ids=lambda model: model.__name__)
def test_no_table_takes_a_row_of_another_biller(cast: Cast, model: type[models.Model]) -> None:
    maple, harbor = cast.maple.biller.pk, cast.harbor.biller.pk
    table = model._meta.db_table
    columns = [one.column for one in model._meta.concrete_fields if not one.primary_key and not one.generated]
    listed = ", ".join(f'"{column}"' for column in columns)
    # Maple's own row again, as Harbor's: nothing but its biller can be wrong with it for the policy, which comes first.
    taken = ", ".join("%s" if column == "biller_id" else f'"{column}"' for column in columns)
    with tenancy.acting_for([maple]), connection.cursor() as cursor:  # noqa: SIM117  (the cursor outlives the refusal)
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            cursor.execute(
                f"INSERT INTO {table} ({listed}) SELECT {taken} FROM {table} WHERE biller_id = %s LIMIT 1",
                [harbor, maple],
            )


@pytest.mark.django_db(transaction=True)
def test_after_a_commit_the_connections_next_user_sees_nothing() -> None:
    one, other = make_biller(), make_biller()
    make_customer(one)
    make_customer(other)
    with tenancy.acting_for([one.pk]):
        with transaction.atomic():
            assert Customer.objects.count() == 1
        assert {found.biller_id for found in Customer.objects.all()} == {one.pk}
    raw = connection.connection
    assert raw is not None
    assert raw.execute("SELECT count(*) FROM billing_customer").fetchone()[0] == 0
    with tenancy.acting_for(()):
        assert Customer.objects.count() == 0
    with tenancy.acting_for([other.pk]):
        assert {found.biller_id for found in Customer.objects.all()} == {other.pk}


@pytest.mark.django_db(transaction=True)
def test_a_broken_transaction_leaves_no_scope_behind() -> None:
    one = make_biller()
    make_customer(one)
    with tenancy.acting_for([one.pk]), transaction.atomic():
        assert Customer.objects.count() == 1
        transaction.set_rollback(True)
    with tenancy.acting_for(()):
        assert Customer.objects.count() == 0
        assert Biller.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_even_the_owner_is_held_by_the_policies() -> None:
    """FORCE: a migration that forgets to say for which biller it works sees nothing, rather than everything."""
    make_customer(make_biller())
    name = connection.settings_dict["NAME"]
    with psycopg.connect(servers.postgres().address(servers.postgres().running()[1], roles.OWNER, "", name)) as owner:  # type: ignore[index]
        assert owner.execute("SELECT count(*) FROM billing_customer").fetchone() == (0,)
        owner.execute("SET app.billers = '*'")
        assert owner.execute("SELECT count(*) FROM billing_customer").fetchone() == (1,)
