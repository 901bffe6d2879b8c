"""Row-level security as migration operations: the wall that holds when a queryset forgets."""

from __future__ import annotations

from django.db import migrations

POLICY = "billers_in_scope"

# '*' is every biller, for jobs that look for work; anything else is a list. Nothing told means nothing seen. The
# subqueries are worked out once a statement, where the bare function would be for every row.
_SEEN = """(
    (SELECT current_setting('app.billers', true)) = '*'
    OR {column} = ANY (
        (SELECT coalesce(nullif(nullif(current_setting('app.billers', true), '*'), ''), '{{}}')::bigint[])::bigint[]
    )
)"""


def row_security(table: str, column: str = "biller_id", *, null_is_shared: bool = False) -> migrations.RunSQL:
    """Make the operation that hides a table's rows from everybody who does not have their biller in scope.

    With ``null_is_shared`` rows of no biller are seen by those who see every biller only.
    """
    seen = _SEEN.format(column=column)
    written = f"({column} IS NULL OR {seen})" if null_is_shared else seen
    return migrations.RunSQL(
        sql=[
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY {POLICY} ON {table} USING {seen} WITH CHECK {written}",
        ],
        reverse_sql=[
            f"DROP POLICY {POLICY} ON {table}",
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        ],
    )


def append_only(table: str) -> migrations.RunSQL:
    """Make the operation that refuses every change and deletion of a table's rows, by whomever."""
    return migrations.RunSQL(
        sql=f"""
            CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION ratepayer_refuse_change();
        """,
        reverse_sql=f"DROP TRIGGER append_only ON {table}",
    )


def reference(table: str, column: str, target: str) -> migrations.RunSQL:
    """Make the operation that declares a foreign key which PostgreSQL does not check row by row.

    For rows that only the engine's own SQL writes: ``check_books`` proves the reference over the whole table.
    """
    name = f"{table}_{column}_not_enforced"
    return migrations.RunSQL(
        sql=f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {target} (id) NOT ENFORCED",
        reverse_sql=f"ALTER TABLE {table} DROP CONSTRAINT {name}",
    )
