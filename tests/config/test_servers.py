"""The embedded servers: started, found again, stopped while somebody is connected."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest
import redis

from config import roles, servers
from config.environment import ROOT
from config.servers import PostgreSQL, Valkey, server_directory


@pytest.fixture
def postgres() -> Iterator[PostgreSQL]:
    server = PostgreSQL(server_directory(f"test-{os.getpid()}") / "postgres", password="p@ss/word")
    yield server
    server.stop()
    shutil.rmtree(server.directory.parent)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    server = Valkey(server_directory(f"test-{os.getpid()}") / "valkey", password="p@ss")
    yield server
    server.stop()
    shutil.rmtree(server.directory.parent)


def test_postgresql_asks_for_passwords_survives_its_starter_and_stops_at_once(postgres: PostgreSQL) -> None:
    program = (
        "import sys; from pathlib import Path; from config.servers import PostgreSQL;"
        "print(PostgreSQL(Path(sys.argv[1]), password=sys.argv[2]).start())"
    )
    started = subprocess.run(
        [sys.executable, "-c", program, postgres.directory, postgres.password],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    port = int(started.stdout)
    running = postgres.running()
    assert running is not None
    # Whoever comes later finds it and starts no second one.
    assert postgres.start() == port
    assert postgres.running() == running
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.address(port, "postgres", "wrong", "postgres"))
    superuser = postgres.address(port, "postgres", postgres.password, "postgres")
    roles.create_roles(superuser, owner_password="o", web_password="w")
    roles.create_roles(superuser, owner_password="o", web_password="w")
    roles.create_database(superuser, "bills")
    connected = psycopg.connect(postgres.address(port, roles.LOGIN, "w", "bills"))
    assert connected.execute("SELECT current_setting('fsync'), current_user").fetchone() == ("on", roles.LOGIN)
    began = time.monotonic()
    postgres.stop()
    assert time.monotonic() - began < 10
    connected.close()
    assert postgres.running() is None
    # The data is there again, at the same port.
    assert postgres.start() == port
    with psycopg.connect(postgres.address(port, roles.OWNER, "o", "bills")) as client:
        client.execute("CREATE TABLE mine (n int)")


def test_a_postgresql_that_was_killed_starts_again(postgres: PostgreSQL) -> None:
    postgres.start()
    running = postgres.running()
    assert running is not None
    os.kill(running[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while postgres.running() and time.monotonic() < deadline:
        time.sleep(0.02)
    # Its own children may hold the memory for a moment; PostgreSQL waits for them, or says so and is asked again.
    while True:
        try:
            port = postgres.start()
            break
        except RuntimeError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    with psycopg.connect(postgres.address(port, "postgres", postgres.password, "postgres")) as client:
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_valkey_asks_for_its_password_and_keeps_what_it_took(valkey: Valkey) -> None:
    port = valkey.start()
    assert valkey.start() == port
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port).ping()
    with redis.Redis.from_url(valkey.address(port, 3)) as client:
        client.set("bill", "232.10")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    valkey.stop()
    assert valkey.running() is None
    port = valkey.start()
    with redis.Redis.from_url(valkey.address(port, 3)) as client:
        assert client.get("bill") == b"232.10"
    running = valkey.running()
    assert running is not None
    with open(f"/proc/{running[0]}/cmdline", "rb") as command_line:
        assert valkey.password.encode() not in command_line.read()


def test_a_port_that_is_taken_is_not_given() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        assert servers.free_port(taken) != taken
    assert servers.free_port(taken) == taken


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as somebody else")
def test_data_goes_where_the_servers_user_can_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    closed = Path("/root")
    monkeypatch.setattr(servers, "VAR", closed / "ratepayer" / "var")
    monkeypatch.setattr(servers, "_reachable", lambda path: not str(path).startswith("/root"))
    assert servers.server_directory("postgres").parent.parent == Path("/var/tmp")
