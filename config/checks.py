"""System checks: each mistake an operator can make is a sentence at start.

``manage.py check`` looks at what is set; ``manage.py check --database default`` asks PostgreSQL as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004  (Django's name)
from django.db import connections

from config import roles

OLDEST_POSTGRESQL = 180000


@register(Tags.security)
def check_keyset(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The keys that encrypt secrets at rest can be used."""
    import tink
    from tink import aead, secret_key_access

    try:
        aead.register()
        handle = tink.json_proto_keyset_format.parse(settings.KEYSET, secret_key_access.TOKEN)
        handle.primitive(aead.Aead)
    except (tink.TinkError, json.JSONDecodeError) as error:
        return [
            Error(
                f"RATEPAYER_KEYSET is not a Tink keyset for AEAD: {error}",
                hint="tinkey create-keyset --key-template AES256_GCM --out-format json",
                id="ratepayer.E001",
            )
        ]
    return []


@register(Tags.files)
def check_directories(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The directories that we write to can be written to."""
    found: list[CheckMessage] = []
    for name in ("STORAGE", "DROP_FOLDER"):
        directory = getattr(settings, name)
        nearest = next(parent for parent in (directory, *directory.parents) if parent.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            found.append(Error(f"{name} is {directory}, where nothing can be written.", id="ratepayer.E002"))
    return found


@register(Tags.staticfiles, deploy=True)
def check_collected(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Stylesheets and scripts were collected."""
    if settings.STATIC_COLLECTED and not (settings.STATIC_ROOT / "staticfiles.json").exists():
        return [
            Warning(
                f"Nothing was collected in {settings.STATIC_ROOT}: pages will fail.",
                hint="manage.py collectstatic --no-input",
                id="ratepayer.W003",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_proxies(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Somebody in front of us speaks TLS."""
    if settings.SECURE and not settings.PROXIES:
        return [
            Warning(
                "PUBLIC_URL is https but PROXIES is 0: the web server speaks plain http and would redirect for ever.",
                hint="Put a proxy with TLS in front and set PROXIES=1.",
                id="ratepayer.W004",
            )
        ]
    return []


@register(Tags.database)
def check_postgresql(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """PostgreSQL is new enough and keeps what it acknowledged."""
    if "default" not in (databases or ()):
        return []
    found: list[CheckMessage] = []
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
        number, version = cursor.fetchone()
        if number < OLDEST_POSTGRESQL:
            found.append(Error(f"PostgreSQL is {version}; 18 or newer is needed.", id="ratepayer.E005"))
        if settings.PRODUCTION:
            cursor.execute(
                "SELECT name FROM pg_settings WHERE setting = 'off'"
                " AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name"
            )
            for (name,) in cursor.fetchall():
                found.append(
                    Error(f"PostgreSQL runs with {name} = off and may lose payments it confirmed.", id="ratepayer.E006")
                )
    return found


@register(Tags.database)
def check_role(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """The application's role is one that row security applies to."""
    if "default" not in (databases or ()):
        return []
    with connections["default"].cursor() as cursor:
        cursor.execute(
            """
            SELECT current_user,
                   array_remove(ARRAY[
                       CASE WHEN r.rolsuper THEN 'is a superuser' END,
                       CASE WHEN r.rolbypassrls THEN 'may bypass row security' END,
                       CASE WHEN EXISTS (
                           SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                           WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')
                             AND NOT r.rolsuper AND pg_has_role(current_user, c.relowner, 'MEMBER')
                       ) THEN 'owns tables' END
                   ], NULL),
                   ARRAY(SELECT g FROM unnest(%s::text[]) g
                         WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = g)
                            OR NOT pg_has_role(current_user, g, 'MEMBER'))
            FROM pg_roles r WHERE r.rolname = current_user
            """,
            [[roles.APP, roles.LOADER]],
        )
        role, faults, missing = cursor.fetchone()
    found: list[CheckMessage] = []
    if faults:
        found.append(
            Error(
                f"DATABASE_URL signs in as {role}, which {' and '.join(faults)}: billers are not kept apart.",
                hint="docs/operating.md shows the roles.",
                id="ratepayer.E007",
            )
        )
    if missing:
        found.append(
            Error(
                f"DATABASE_URL signs in as {role}, which is no member of {' and '.join(missing)}.",
                hint="docs/operating.md shows the roles.",
                id="ratepayer.E008",
            )
        )
    return found
