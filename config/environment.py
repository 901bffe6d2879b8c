"""Strict readers of the environment: a missing or wrong variable is a sentence at start, which names it.

``.env.example`` lists every variable. ``var/env`` is written by the supervisor on a machine that runs the demo, so
that ``manage.py`` typed in a second terminal meets the same servers; where it does not exist nothing is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parent.parent
DEMO_ENVIRONMENT = ROOT / "var" / "env"

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
# What a database URL may say after its question mark; anything else is a slip of the pen.
_DATABASE_OPTIONS = {"sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "application_name", "host"}


def load_demo_environment(path: Path = DEMO_ENVIRONMENT) -> None:
    """Take the variables of the running demo, unless DATABASE_URL is already set by whoever started us."""
    if "DATABASE_URL" in os.environ or not path.exists():
        return
    for line in path.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            os.environ.setdefault(name.strip(), value.strip())


def text(name: str, default: str | None = None) -> str:
    """Read a text; without a default it must be there.

    :raises ImproperlyConfigured: it is not set.
    """
    value = os.environ.get(name, "").strip()
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"{name} is not set. .env.example says what it is for.")
    return default


def flag(name: str, default: bool) -> bool:
    """Read yes or no: 1, true, yes, on; 0, false, no, off.

    :raises ImproperlyConfigured: it is something else.
    """
    value = os.environ.get(name)
    if value is None:
        return default
    if value.strip().lower() in _TRUE:
        return True
    if value.strip().lower() in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be yes or no, not {value!r}.")


def integer(name: str, default: int, *, least: int, most: int) -> int:
    """Read a whole number between ``least`` and ``most``.

    :raises ImproperlyConfigured: it is not one.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from None
    if not least <= number <= most:
        raise ImproperlyConfigured(f"{name} must be between {least} and {most}, not {number}.")
    return number


def words(name: str, default: str = "") -> list[str]:
    """Read a list separated by commas or spaces."""
    return os.environ.get(name, default).replace(",", " ").split()


def path(name: str, default: Path) -> Path:
    """Read a path; a relative one counts from the repository."""
    value = os.environ.get(name, "").strip()
    return ROOT / value if value else default


def origins(name: str) -> list[str]:
    """Read a list of origins, scheme and host and no more, such as ``https://fields.processor.example``.

    :raises ImproperlyConfigured: one of them is something else.
    """
    found = words(name)
    for origin in found:
        parts = urlsplit(origin)
        if parts.scheme not in {"https", "http"} or not parts.netloc or parts.path or parts.query or parts.fragment:
            raise ImproperlyConfigured(f"{name} lists origins such as https://pay.example, not {origin!r}.")
    return found


def public_url(name: str, default: str | None = None) -> str:
    """Read the address under which people reach us, without a slash at the end.

    :raises ImproperlyConfigured: it is not an http or https address of a host.
    """
    value = text(name, default).rstrip("/")
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.path or parts.query:
        raise ImproperlyConfigured(f"{name} must be like https://pay.example, not {value!r}.")
    return value


def database(name: str) -> dict[str, Any]:
    """Read ``postgresql://role:password@host:port/database`` as Django's connection settings.

    :raises ImproperlyConfigured: it is missing or is no such address; the message never shows the password.
    """
    parts = urlsplit(text(name))
    try:
        port = parts.port
    except ValueError:
        raise ImproperlyConfigured(f"{name} has a port that is no number.") from None
    if parts.scheme not in {"postgresql", "postgres"} or not parts.username or not parts.path.strip("/"):
        raise ImproperlyConfigured(f"{name} must be like postgresql://role:password@host:5432/database.")
    options = dict(parse_qsl(parts.query))
    if unknown := set(options) - _DATABASE_OPTIONS:
        raise ImproperlyConfigured(f"{name} has options that are not known here: {', '.join(sorted(unknown))}.")
    return {
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", "") or unquote(parts.hostname or ""),
        "PORT": str(port or ""),
        "OPTIONS": options,
    }


def redis(name: str) -> str:
    """Read ``redis://host:port/number`` (or rediss, or unix).

    :raises ImproperlyConfigured: it is missing or something else.
    """
    value = text(name)
    if urlsplit(value).scheme not in {"redis", "rediss", "unix"}:
        raise ImproperlyConfigured(f"{name} must be like redis://127.0.0.1:6379/0.")
    return value


def email(name: str, default: str) -> Mapping[str, Any]:
    """Read where mail goes, as Django's EMAIL_* settings.

    ``smtp://user:password@host:587`` (STARTTLS), ``smtps://…`` (TLS from the first byte), ``smtp+plain://…`` (a relay
    on this machine), ``file:directory`` (a mailbox of files), ``memory:`` (tests).

    :raises ImproperlyConfigured: it is something else.
    """
    value = text(name, default)
    parts = urlsplit(value)
    if parts.scheme == "file" and parts.path:
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "EMAIL_FILE_PATH": str(ROOT / unquote(parts.path)),
        }
    if parts.scheme == "memory":
        return {"EMAIL_BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
    if parts.scheme in {"smtp", "smtps", "smtp+plain"} and parts.hostname:
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "EMAIL_HOST": parts.hostname,
            "EMAIL_PORT": parts.port or {"smtp": 587, "smtps": 465, "smtp+plain": 25}[parts.scheme],
            "EMAIL_HOST_USER": unquote(parts.username or ""),
            "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
            "EMAIL_USE_TLS": parts.scheme == "smtp",
            "EMAIL_USE_SSL": parts.scheme == "smtps",
            "EMAIL_TIMEOUT": 20,
        }
    raise ImproperlyConfigured(f"{name} must be smtp://, smtps://, smtp+plain://, file: or memory:.")


def keyset(name: str) -> str:
    """Read the Tink keyset that encrypts secrets at rest: its JSON, or the path of a file with it.

    :raises ImproperlyConfigured: it is missing or cannot be read.
    """
    value = text(name)
    if value.startswith("{"):
        return value
    try:
        return (ROOT / value).read_text()
    except OSError as error:
        raise ImproperlyConfigured(f"{name} names a file that cannot be read: {error.strerror}.") from None
