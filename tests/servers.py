"""The servers that tests use: one PostgreSQL and one Valkey below ``var/tests``, shared by whoever runs tests here now.

The first run starts them, the last one to end stops them, and a run that was killed leaves them to the next. Every
process that runs tests takes a free slot and has the database ``test_<slot>`` and Valkey's database of that number to
itself. Settings are read from the environment, so ``prepare`` must run before Django is set up.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from config import supervisor
from config.servers import PostgreSQL, Valkey, server_directory

SLOTS = 60

_DIRECTORY = server_directory("tests")
# Open files hold locks, which the kernel lets go when we end, however we end.
_held: list[IO[str]] = []


def _lock(name: str, how: int) -> IO[str] | None:
    """Lock a file for as long as this process lives; None if somebody else has it and we are not to wait."""
    path = _DIRECTORY / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    os.set_inheritable(file.fileno(), False)
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        file.close()
        return None
    return file


def postgres() -> PostgreSQL:
    """Describe the tests' PostgreSQL: nothing is synced, and everybody on this machine may come in."""
    return PostgreSQL(
        _DIRECTORY / "postgres", durable=False, settings={"max_connections": "300", "shared_buffers": "256MB"}
    )


def spare_postgres(name: str, settings: dict[str, str]) -> PostgreSQL:
    """Describe a server that one test has for itself, and removes."""
    return PostgreSQL(_DIRECTORY / name, durable=False, settings={"max_connections": "20", **settings})


def valkey() -> Valkey:
    """Describe the tests' Valkey."""
    return Valkey(_DIRECTORY / "valkey", password="tests")


def superuser(database: str = "postgres") -> str:
    """Give the connection string of PostgreSQL's superuser, who no code of the application ever is."""
    running = postgres().running()
    if running is None:
        raise RuntimeError("The tests' PostgreSQL does not run.")
    return postgres().address(running[1], "postgres", "", database)


def prepare() -> int:
    """Start the servers, take a slot and set the environment that settings read; gives the slot.

    :raises RuntimeError: a server does not start, or all slots are taken.
    """
    from config import roles

    starting = _lock("starting", fcntl.LOCK_EX)
    users = _lock("users", fcntl.LOCK_SH)
    assert starting is not None
    assert users is not None
    try:
        try:
            port = postgres().start()
        except RuntimeError:
            # Not synced, so a machine that lost power may leave it broken. It holds nothing.
            shutil.rmtree(_DIRECTORY / "postgres")
            port = postgres().start()
        redis_port = valkey().start()
        roles.create_roles(superuser())
    finally:
        starting.close()
    _held.append(users)
    for slot in range(SLOTS):
        if taken := _lock(f"slot-{slot}", fcntl.LOCK_EX | fcntl.LOCK_NB):
            _held.append(taken)
            break
    else:
        raise RuntimeError(f"All {SLOTS} slots for tests are taken.")
    storage = _DIRECTORY / "storage" / str(slot)
    shutil.rmtree(storage, ignore_errors=True)
    storage.mkdir(parents=True)
    os.environ.update(_environment(slot, port, redis_port, storage))
    return slot


def _environment(slot: int, port: int, redis_port: int, storage: Path) -> dict[str, str]:
    from config import roles

    return {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DEMO": "1",
        "DEBUG": "0",
        "PUBLIC_URL": "http://testserver",
        "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
        "SECRET_KEY": "tests-" + "0123456789abcdef" * 4,
        "RATEPAYER_KEYSET": str(supervisor.keyset(_DIRECTORY / "keyset.json")),
        "DATABASE_URL": postgres().address(port, roles.LOGIN, "", f"test_{slot}"),
        "DATABASE_OWNER_URL": postgres().address(port, roles.OWNER, "", f"test_{slot}"),
        "REDIS_URL": valkey().address(redis_port, slot),
        "STATIC_COLLECTED": "0",
        "EMAIL_URL": "memory:",
        "STORAGE": str(storage / "files"),
        "TRANSMISSIONS": str(storage / "transmissions"),
        "DROP_FOLDER": str(storage / "drop"),
        "LOG_LEVEL": "WARNING",
        "PROCESSOR_ORIGINS": "http://127.0.0.1:*",
        "SIMULATOR_SECRET": "tests",
        # Playwright runs an event loop in the thread of the tests; nothing of ours is asynchronous.
        "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
    }


def leave() -> None:
    """Let go of what ``prepare`` took, and stop the servers if nobody else uses them."""
    while _held:
        _held.pop().close()
    starting = _lock("starting", fcntl.LOCK_EX)
    if starting is None:
        return
    with starting:
        alone = _lock("users", fcntl.LOCK_EX | fcntl.LOCK_NB)
        if alone is not None:
            with alone:
                postgres().stop()
                valkey().stop()
