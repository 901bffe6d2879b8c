"""Test databases: migrated once into a template, cloned for each process that runs tests, put back after each commit.

The template's name holds a hash of everything that it was made from, so that a run with the same migrations starts in a
fraction of a second. Tests connect as the application's role; what only an owner or superuser may do is done here.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import psycopg
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from config import roles
from config.environment import ROOT
from tests import servers

# Held while the template is made, so that the second process waits for the first instead of making its own.
_LOCK = 0x74656D706C

# Tables with rows in a fresh database (content types, beat entries, reason codes) are kept here and put back from here.
_KEPT = "kept"
_TRIES = 10


def _template_name() -> str:
    hashed = hashlib.sha256()
    apps = ("billing", "payments", "datapump", "sms", "config")
    sources = [path for app in apps for path in (ROOT / app).glob("**/migrations/*.py")]
    for path in sorted([*sources, ROOT / "requirements.txt", Path(roles.__file__), Path(__file__)]):
        hashed.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return f"template_{hashed.hexdigest()[:16]}"


def clone() -> None:
    """Make this process's database anew from the template, and the template if it is missing or out of date."""
    name, template = settings.DATABASES["default"]["NAME"], _template_name()
    with psycopg.connect(servers.superuser(), autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        there = {row[0] for row in server.execute("SELECT datname FROM pg_database WHERE datname LIKE 'template\\_%'")}
        if template not in there:
            for old in there:
                server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(old)))
            _make_template(server, template)
        server.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
        for left in reversed(range(_TRIES)):
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            try:
                server.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                        sql.Identifier(name), sql.Identifier(template), sql.Identifier(roles.OWNER)
                    )
                )
                return
            except psycopg.errors.UniqueViolation:
                # The server goes on copying for a run that was killed; its copy has just come into being.
                if left == 0:
                    raise
                time.sleep(0.5)


def drop() -> None:
    """Remove this process's database."""
    connections.close_all()
    name = settings.DATABASES["default"]["NAME"]
    with psycopg.connect(servers.superuser(), autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _make_template(server: psycopg.Connection[tuple[object, ...]], template: str) -> None:
    """Migrate an empty database as the owner, remember its rows, and give it its name when it is whole."""
    half = f"half_{template}"
    server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(half)))
    roles.create_database(servers.superuser(), half)
    owner = connections["owner"]
    owner.close()
    before = owner.settings_dict["NAME"]
    owner.settings_dict["NAME"] = half
    try:
        call_command("migrate", database="owner", verbosity=0, interactive=False)
    finally:
        owner.close()
        owner.settings_dict["NAME"] = before
    with psycopg.connect(servers.superuser(half)) as connection:
        connection.execute(f"CREATE SCHEMA {_KEPT}")
        for table in _filled(connection, _tables(connection)):
            connection.execute(
                sql.SQL("CREATE TABLE {} AS TABLE {}").format(
                    sql.Identifier(_KEPT, table), sql.Identifier("public", table)
                )
            )
    server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(half), sql.Identifier(template)))


def _tables(connection: psycopg.Connection[tuple[object, ...]], schema: str = "public") -> list[str]:
    """Give the tables that hold rows themselves: partitions, not their parents."""
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r' ORDER BY 1", [schema]
    )
    return [str(name) for (name,) in found]


def _filled(connection: psycopg.Connection[tuple[object, ...]], tables: list[str]) -> list[str]:
    """Give those of the tables that have rows."""
    if not tables:
        return []
    asked = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(sql.Literal(name), sql.Identifier("public", name))
        for name in tables
    )
    return [str(name) for (name,) in connection.execute(asked)]


def restore() -> None:
    """Put the database back to what the template holds, after a test that committed.

    :raises psycopg.errors.LockNotAvailable: something the test started still holds a lock.
    """
    connections.close_all()
    with psycopg.connect(servers.superuser(settings.DATABASES["default"]["NAME"])) as connection:
        # No triggers, no foreign keys: append-only tables are emptied too, and in any order.
        connection.execute("SET session_replication_role = replica; SET lock_timeout = '20s'")
        kept = set(_tables(connection, _KEPT))
        filled = _filled(connection, _tables(connection))
        for table in {*filled, *kept}:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier("public", table)))
        for table in sorted(kept):
            columns = [
                sql.Identifier(str(name))
                for (name,) in connection.execute(
                    "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
                    " AND NOT attisdropped AND attgenerated = ''",
                    [f'public."{table}"'],
                )
            ]
            listed = sql.SQL(", ").join(columns)
            connection.execute(
                sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
                    sql.Identifier("public", table), listed, listed, sql.Identifier(_KEPT, table)
                )
            )
    ContentType.objects.clear_cache()
