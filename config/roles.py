"""The PostgreSQL roles: who owns the schema, who runs the application, who loads files.

=====================  ======  =====================================================================================
``ratepayer_owner``    login   owns the schema and runs migrations; no running process of the application has it
``ratepayer_web``      login   what web, workers and beat sign in as; member of the two below and owner of nothing
``ratepayer_app``      group   the application's rights: what ``ratepayer_web`` may do; migrations grant and revoke here
``ratepayer_loader``   group   ``ratepayer_app``'s rights and the staging tables besides; taken only with ``SET ROLE``
=====================  ======  =====================================================================================

None of them is a superuser or may bypass row security. ``docs/operating.md`` shows the same statements for a server of
your own, where the two logins may have any name: only the groups' names are fixed, since migrations name them.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

OWNER = "ratepayer_owner"
LOGIN = "ratepayer_web"
APP = "ratepayer_app"
LOADER = "ratepayer_loader"

# Held while roles are made, so that two set-ups at the same time do not meet half-way.
_LOCK = 0x526174657061


def create_roles(superuser: str, *, owner_password: str | None = None, web_password: str | None = None) -> None:
    """Make the four roles on a server, or set their passwords where they exist; any number of times.

    ``superuser`` is a connection string. Without passwords the logins can come in only where the server trusts them.
    """
    with psycopg.connect(superuser) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        plain = sql.SQL("NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION INHERIT")
        for role, login in ((OWNER, True), (LOGIN, True), (APP, False), (LOADER, False)):
            connection.execute(
                sql.SQL("{verb} ROLE {role} WITH {login} {plain}").format(
                    verb=sql.SQL("ALTER" if role in there else "CREATE"),
                    role=sql.Identifier(role),
                    login=sql.SQL("LOGIN" if login else "NOLOGIN"),
                    plain=plain,
                )
            )
        for role, password in ((OWNER, owner_password), (LOGIN, web_password)):
            if password is not None:
                connection.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
                )
        connection.execute(
            sql.SQL(
                "GRANT {app} TO {login} WITH INHERIT TRUE, SET FALSE;"
                "GRANT {loader} TO {login} WITH INHERIT FALSE, SET TRUE;"
                "GRANT {app} TO {loader} WITH INHERIT TRUE, SET FALSE"
            ).format(app=sql.Identifier(APP), login=sql.Identifier(LOGIN), loader=sql.Identifier(LOADER))
        )


def create_database(superuser: str, name: str) -> None:
    """Make the database, owned by the owner's role, unless it is there, and say what the application may do in it."""
    with psycopg.connect(superuser, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER))
            )
    with psycopg.connect(superuser, dbname=name) as connection:
        grant_rights(connection)


def grant_rights(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Say, in this database, what the application may do with each table the owner will ever make there.

    Migrations take back what is too much: updates of append-only tables, staging tables from the application.
    """
    names = {"owner": sql.Identifier(OWNER), "app": sql.Identifier(APP)}
    for statement in (
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE, CREATE ON SCHEMA public TO {owner}",
        "GRANT USAGE ON SCHEMA public TO {app}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}",
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {app}",
    ):
        connection.execute(sql.SQL(statement).format(**names))
