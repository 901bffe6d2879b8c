"""The whole stack, to be killed: PostgreSQL, Valkey, web server, two workers and two beats, each a process of its own.

``python -m tests.crash.stacks SEED DIRECTORY`` makes one world (:mod:`tests.crash.stack_worlds`) in a database of its own
on the servers of :class:`Servers` in that directory, and ends with 0 where the books agree.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from config import roles, supervisor
from config.environment import ROOT
from config.servers import PostgreSQL, Valkey, free_port, record_port, recorded_port

PASSWORD = "stacks"  # of servers that hear nobody but this machine, and live for one test
TEMPLATE = "stack_template"
START_SECONDS = 40.0


def some_port() -> int:
    """Give a free port that no outgoing connection is given, so that it is free again when its server was killed."""
    return free_port(random.randint(10_000, 30_000))


class Servers:
    """PostgreSQL and Valkey, which may be killed at any moment and started again where they were."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # What it says is committed must survive its end, or nothing here would prove anything.
        self.postgres = PostgreSQL(
            directory / "postgres",
            password=PASSWORD,
            settings={"max_connections": "100", "shared_buffers": "64MB", "log_min_messages": "fatal"},
        )
        self.valkey = Valkey(directory / "valkey", password=PASSWORD)

    def start(self) -> None:
        """Start what does not run, at the address that it had: what a killed server left behind must first be gone.

        :raises RuntimeError: it does not start.
        """
        for server in (self.postgres, self.valkey):
            ends = time.monotonic() + START_SECONDS
            while server.running() is None:
                try:
                    # PostgreSQL's children outlive it by a moment, and keep its socket and its memory.
                    if free_port(recorded_port(server.directory)) == recorded_port(server.directory):
                        server.start()
                except RuntimeError:
                    if time.monotonic() > ends:
                        raise
                time.sleep(0.1)

    def prepare(self) -> None:
        """Start them, and migrate a database from which those of worlds are copied."""
        for server in (self.postgres, self.valkey):
            record_port(server.directory, some_port())
        self.start()
        roles.create_roles(self.superuser(), owner_password=PASSWORD, web_password=PASSWORD)
        roles.create_database(self.superuser(), TEMPLATE)
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=ROOT,
            env={**os.environ, **self.environment(TEMPLATE, 0)},
            check=True,
        )
        self.stop()

    def superuser(self) -> str:
        """Give the connection string of PostgreSQL's superuser."""
        return self.postgres.address(self.postgres.start(), "postgres", PASSWORD, "postgres")

    def make_database(self, name: str) -> None:
        """Make a database as an empty installation has it."""
        with psycopg.connect(self.superuser(), autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            server.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                    *(sql.Identifier(one) for one in (name, TEMPLATE, roles.OWNER))
                )
            )

    def drop_database(self, name: str) -> None:
        """Remove it."""
        with psycopg.connect(self.superuser(), autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def environment(self, database: str, web: int) -> dict[str, str]:
        """Give the variables with which every process of the stack is started."""
        postgres, storage = self.postgres, self.directory / "storage"
        port = postgres.start()
        return {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DEMO": "1",
            "DEBUG": "0",
            "PUBLIC_URL": f"http://127.0.0.1:{web}",
            "ALLOWED_HOSTS": "127.0.0.1",
            "SECRET_KEY": "stacks-" + "0123456789abcdef" * 4,
            "RATEPAYER_KEYSET": str(supervisor.keyset(self.directory / "keyset.json")),
            "DATABASE_URL": postgres.address(port, roles.LOGIN, PASSWORD, database),
            "DATABASE_OWNER_URL": postgres.address(port, roles.OWNER, PASSWORD, database),
            "REDIS_URL": self.valkey.address(self.valkey.start()),
            "STATIC_COLLECTED": "0",
            "EMAIL_URL": "memory:",
            "STORAGE": str(storage / "files"),
            "TRANSMISSIONS": str(storage / "transmissions"),
            "DROP_FOLDER": str(storage / "drop"),
            "LOG_LEVEL": "ERROR",
            "PROCESSOR_ORIGINS": "http://127.0.0.1:*",
            "SIMULATOR_SECRET": "tests",
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
        }

    def kill_postgres(self) -> None:
        """Kill PostgreSQL's first process; its children notice and end."""
        if found := self.postgres.running():
            _kill(found[0])

    def wipe_valkey(self) -> None:
        """Kill Valkey and forget all that it had."""
        if found := self.valkey.running():
            _kill(found[0])
        shutil.rmtree(self.valkey.directory / "appendonlydir", ignore_errors=True)

    def stop(self) -> None:
        """Stop both, so that whoever starts them next is the one who can kill them."""
        self.postgres.stop()
        self.valkey.stop()

    def remove(self) -> None:
        """Stop both, and forget everything."""
        self.stop()
        for left in self.directory.glob("*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.directory.rmdir()


def _kill(pid: int) -> None:
    """Kill a child of ours; one that nobody waits for counts as alive."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


class Member:
    """One process of the stack with its children: it can be killed, frozen, and is started again where it has ended."""

    def __init__(self, name: str, command: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.process: supervisor.Process | None = None
        self._frozen = False

    def start(self) -> None:
        """Start it unless it runs, as whoever supervises a machine's processes does."""
        if self.process is None or self.process.code() is not None:
            self.kill()
            self.process = supervisor.Process(self.name, (sys.executable, *self.command), self.environment)

    def children(self) -> list[int]:
        """Give the processes that it made."""
        if self.process is None:
            return []
        try:
            listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in listed.split()]

    def kill(self) -> None:
        """Kill it and its children."""
        self._signal(signal.SIGKILL)
        self._frozen = False

    def freeze(self) -> None:
        """Have it and its children stand still until they are thawed."""
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Let it go on, if it stands still."""
        if self._frozen:
            self._signal(signal.SIGCONT)
            self._frozen = False

    def _signal(self, how: signal.Signals) -> None:
        if self.process is not None:
            try:
                os.killpg(self.process.pid, how)
            except ProcessLookupError:
                return


def members(environment: Mapping[str, str], web: int, skew: float) -> dict[str, Member]:
    """Describe the stack's own processes; the second worker's clock goes wrong by ``skew`` seconds."""
    celery = ("-m", "celery", "--app", "config.celery", "--quiet")
    options = ("worker", "--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat")
    skewed = ("-m", "tests.crash.skewed", str(skew), "--quiet") if skew else celery
    gunicorn = ("-m", "gunicorn", "config.wsgi", "--bind", f"127.0.0.1:{web}", "--preload")
    commands = {
        "web": (*gunicorn, "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--log-level", "critical"),
        "worker": (*celery, *options, "--hostname", "first@%h"),
        "worker 2": (*skewed, *options, "--hostname", "second@%h"),
        "beat": (*celery, "beat"),
        "beat 2": (*celery, "beat"),
    }
    return {name: Member(name, command, environment) for name, command in commands.items()}


def main(seed: int, directory: Path) -> None:
    """Make one world in a database of its own, and judge it.

    :raises AssertionError: something is wrong.
    """
    servers = Servers(directory)
    servers.start()
    name, web = f"stack_{seed}", some_port()
    servers.make_database(name)
    environment = servers.environment(name, web)
    os.environ.update(environment)
    import django

    django.setup()
    from tests.crash import stack_worlds

    try:
        stack_worlds.run(seed, servers, environment, web, directory / "books")
    finally:
        servers.start()
        servers.drop_database(name)
        servers.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
