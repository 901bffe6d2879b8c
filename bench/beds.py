"""The bed that measurements lie in: a PostgreSQL of their own, durable as in production, migrated, with both roles."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from config import roles
from config.servers import PostgreSQL, Valkey, server_directory

_NAME = "bench"

DATABASE = "bench"
# Far enough apart that no checkpoint falls into a round: it would be charged to whoever happens to run.
SETTINGS = {"max_wal_size": "16GB", "checkpoint_timeout": "1h", "shared_buffers": "1GB", "max_connections": "50"}


@contextlib.contextmanager
def bed() -> Iterator[None]:
    """Start servers, make the database and set Django up on it; everything is gone afterwards."""
    _sweep()
    own = server_directory(f"{_NAME}-{os.getpid()}")
    own.mkdir(mode=0o711, parents=True)
    postgres = PostgreSQL(own / "postgres", password="bench-superuser", settings=SETTINGS)
    valkey = Valkey(own / "valkey", "bench-broker")
    files = tempfile.mkdtemp(prefix="ratepayer-bench-")
    try:
        port, broker = postgres.start(), valkey.start()
        superuser = postgres.address(port, "postgres", "bench-superuser", "postgres")
        roles.create_roles(superuser, owner_password="bench-owner", web_password="bench-web")
        roles.create_database(superuser, DATABASE)
        os.environ.update(
            {
                "DEMO": "1",
                "SECRET_KEY": "of-a-measurement-that-nobody-signs-in-to-" + "x" * 20,
                "RATEPAYER_KEYSET": str(_keyset(Path(files))),
                "DATABASE_URL": postgres.address(port, roles.LOGIN, "bench-web", DATABASE),
                "DATABASE_OWNER_URL": postgres.address(port, roles.OWNER, "bench-owner", DATABASE),
                "BENCH_SUPERUSER": postgres.address(port, "postgres", "bench-superuser", DATABASE),
                "REDIS_URL": valkey.address(broker),
                "STORAGE_DIR": files,
                "STATIC_COLLECTED": "0",
                "DJANGO_SETTINGS_MODULE": "config.settings",
            }
        )
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", database="owner", verbosity=0, interactive=False)
        yield
    finally:
        postgres.stop()
        valkey.stop()
        shutil.rmtree(own, ignore_errors=True)
        shutil.rmtree(files, ignore_errors=True)


def clear() -> None:
    """Empty every table of ours, so that the next measurement begins as the first one did."""
    with superuser() as owner:
        found = owner.execute(
            "SELECT string_agg(format('%I', relname), ', ') FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind = 'r' AND relname ~ '^(billing|payments|datapump|sms)_'"
        ).fetchone()
        assert found is not None
        owner.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.SQL(found[0])))
        owner.execute("CHECKPOINT")


@contextlib.contextmanager
def superuser() -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Connect as who may do everything: make data past the checks of each row, empty the cache."""
    with psycopg.connect(os.environ["BENCH_SUPERUSER"], autocommit=True) as connection:
        yield connection


def _sweep() -> None:
    """Remove what killed measurements left behind: it may be many gigabytes."""
    for left in server_directory(_NAME).parent.glob(f"{_NAME}-[0-9]*"):
        try:
            os.kill(int(left.name.removeprefix(f"{_NAME}-")), 0)
        except PermissionError:
            continue
        except ProcessLookupError:
            PostgreSQL(left / "postgres").stop()
            Valkey(left / "valkey", "").stop()
            shutil.rmtree(left, ignore_errors=True)


def _keyset(directory: Path) -> Path:
    from config import supervisor

    return supervisor.keyset(directory / "keyset.json")
