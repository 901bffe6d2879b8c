"""Runs the whole house on one machine: servers, simulators, web, worker and beat, in order, until Ctrl-C.

``python -m config.supervisor run`` is ``make run``; ``up`` starts the two servers alone and leaves them running,
``down`` stops them and ``reset`` forgets their data. Everything it makes lies below ``var/``. DATABASE_URL and
REDIS_URL in the environment name servers of your own, which are used and never started or stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import io
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from config.servers import (
    ROOT,
    VAR,
    PostgreSQL,
    Valkey,
    free_port,
    record_port,
    recorded_port,
    server_directory,
    wait_until,
)

DATABASE = "ratepayer"
# Above the time that a worker gives its task before it hands it back (CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT).
PATIENCE = 40.0  # seconds

SOON = 2.0  # seconds after which we say for whom we wait

# Bound before any fork: between fork and exec nothing may be looked up.
_PRCTL = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
_SET_DEATH_SIGNAL = 1


class Failed(Exception):
    """A step went wrong; the text is for the person at the terminal."""


def say(text: str) -> None:
    """Tell the person at the terminal."""
    for line in text.splitlines():
        print(f"ratepayer | {line}", flush=True)


# --- What a machine that runs the demo has ---------------------------------------------------------------------------


def _secret(name: str) -> str:
    """Give a secret of this checkout, made once and kept below var/."""
    path = VAR / "secrets" / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(40))
    return path.read_text()


def keyset(path: Path) -> Path:
    """Make the file with the keys that encrypt secrets at rest, unless it is there; gives its path."""
    if not path.exists():
        from billing.secrets import make_keyset

        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(make_keyset())
    return path


def postgres() -> PostgreSQL:
    """Describe the demo's PostgreSQL server."""
    return PostgreSQL(server_directory("postgres"), password=_secret("postgres"))


def valkey() -> Valkey:
    """Describe the demo's Valkey server."""
    return Valkey(server_directory("valkey"), password=_secret("valkey"))


def start_servers() -> dict[str, str]:
    """Start PostgreSQL and Valkey unless DATABASE_URL and REDIS_URL name others; gives the variables that name them.

    :raises RuntimeError: a server does not start.
    """
    variables: dict[str, str] = {}
    if "DATABASE_URL" not in os.environ:
        from config import roles

        server = postgres()
        port = server.start()
        superuser = server.address(port, "postgres", server.password, "postgres")
        roles.create_roles(superuser, owner_password=_secret("owner"), web_password=_secret("web"))
        roles.create_database(superuser, DATABASE)
        variables["DATABASE_URL"] = server.address(port, roles.LOGIN, _secret("web"), DATABASE)
        variables["DATABASE_OWNER_URL"] = server.address(port, roles.OWNER, _secret("owner"), DATABASE)
    elif "DATABASE_OWNER_URL" not in os.environ:
        raise RuntimeError("DATABASE_URL is set, so DATABASE_OWNER_URL must be too: migrations run as the owner.")
    if "REDIS_URL" not in os.environ:
        broker = valkey()
        variables["REDIS_URL"] = broker.address(broker.start())
    return variables


def _port(name: str, wanted: int) -> int:
    """Give the port of one of our own services: the one it had, else the usual one, else a free one."""
    record = VAR / name
    port = free_port(wanted if os.environ.get("PORT") and name == "web" else recorded_port(record) or wanted)
    record_port(record, port)
    return port


def demo_environment() -> dict[str, str]:
    """Start the servers and give every variable of the demo, which is kept in ``var/env`` for a second terminal.

    What is set already stays as it is.
    """
    (VAR / "static").mkdir(parents=True, exist_ok=True)
    web = _port("web", int(os.environ.get("PORT") or 8000))
    processor = f"http://127.0.0.1:{_port('processor', 8101)}"
    variables = {
        "DEMO": "1",
        "PUBLIC_URL": f"http://127.0.0.1:{web}",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "SECRET_KEY": _secret("django"),
        "LOG_LEVEL": "WARNING",
        "RATEPAYER_KEYSET": str(keyset(VAR / "secrets" / "keyset.json")),
        "STATIC_COLLECTED": "0",
        "PROCESSOR_ORIGINS": processor,
        "SIMULATED_PROCESSOR_URL": processor,
        "SIMULATED_CIS_URL": f"http://127.0.0.1:{_port('cis', 8102)}",
        "SIMULATED_RECEIVER_URL": f"http://127.0.0.1:{_port('receiver', 8104)}",
        "SIMULATOR_SECRET": _secret("simulators"),
        "SIMULATED_TELEPHONE_URL": f"http://127.0.0.1:{_port('telephone', 8103)}",
        "SIMULATED_TELEPHONE_SECRET": _secret("telephone"),
        "SIMULATED_TELEPHONE_CONTROL_SECRET": _secret("telephone-control"),
        **start_servers(),
    }
    kept = VAR / "env"
    kept.touch(mode=0o600)
    kept.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    return {**variables, **os.environ}


def stop_servers() -> None:
    """Stop the demo's servers; those that DATABASE_URL and REDIS_URL name are somebody else's."""
    postgres().stop()
    valkey().stop()


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Be the one supervisor of this checkout.

    :raises Failed: another one is at work.
    """
    VAR.mkdir(exist_ok=True)
    with (VAR / "supervisor").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed("Ratepayer is running already; make stop ends it.") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def stop_the_other() -> None:
    """End the supervisor that is at work in this checkout, if one is, and wait until it is gone."""
    with contextlib.suppress(OSError), (VAR / "supervisor").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            os.kill(int(file.read()), signal.SIGTERM)
            fcntl.flock(file, fcntl.LOCK_EX)


def reset() -> None:
    """Stop the servers and forget everything that they, and we, have kept."""
    stop_servers()
    for name in ("postgres", "valkey"):
        shutil.rmtree(server_directory(name), ignore_errors=True)
    for name in ("storage", "drop", "mail", "simulators", "demo", "env"):
        path = VAR / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


# --- Our own processes -----------------------------------------------------------------------------------------------


def _die_with_parent() -> None:
    if _PRCTL is not None:
        _PRCTL(_SET_DEATH_SIGNAL, signal.SIGTERM)


class Process:
    """One of our processes, its output shown line by line under its name."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        # A session of its own: Ctrl-C is for the supervisor, which then stops each in its turn.
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  (one prepared system call, no lock)
        )
        threading.Thread(target=self._show, daemon=True).start()

    def _show(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(f"{self.name:>9} | {line}", end="", flush=True)

    @property
    def pid(self) -> int:
        """Its number, and that of the group of its children."""
        return self._process.pid

    def code(self) -> int | None:
        """Give the exit code, None while it runs."""
        return self._process.poll()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        """Wait until it is ready.

        :raises RuntimeError: it ended instead, or took more than a minute.
        """
        wait_until(ready, self.name, lambda: self.code() is None)

    def ask_to_stop(self) -> None:
        """Let it finish what it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def stop(self, seconds: float) -> None:
        """Wait for its end, and end it and its children when the time is up."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(min(seconds, SOON))
        if self.code() is None and seconds > SOON:
            say(f"{self.name} finishes what it has begun")
        try:
            self._process.wait(max(0.0, seconds - SOON))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def answers(url: str) -> Callable[[], bool]:
    """Make the question whether something answers http at this address."""

    def asked() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  (our own address)
                return bool(response.status)
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False

    return asked


@contextlib.contextmanager
def processes() -> Iterator[dict[str, Process]]:
    """Stop every process put in here at the end, the last one first."""
    running: dict[str, Process] = {}
    try:
        yield running
    finally:
        # A second Ctrl-C must not leave anything behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        say("stopping")
        deadline = time.monotonic() + PATIENCE
        for process in reversed(running.values()):
            process.ask_to_stop()
        for process in reversed(running.values()):
            process.stop(max(0.1, deadline - time.monotonic()))


class _Told(io.StringIO):
    """What a command prints, told line by line while it works."""

    def write(self, text: str) -> int:
        """Keep the text, and tell every line of it."""
        say(text)
        return super().write(text)


def command(name: str, *arguments: str, told: bool = False, **options: object) -> str:
    """Run one command of manage.py in this process and give what it printed; ``told`` shows it as it comes.

    :raises Failed: it refused, or its exit code is not 0; what it printed was shown.
    """
    from django.core.management import CommandError, call_command

    printed = _Told() if told else io.StringIO()
    try:
        call_command(name, *arguments, stdout=printed, **options)
    except (CommandError, SystemExit) as end:
        if not isinstance(end, SystemExit) or end.code not in (None, 0):
            if not told:
                say(printed.getvalue())
            raise Failed(f"manage.py {name} failed: {end}") from end
    return printed.getvalue()


def run(*, once: bool) -> int:
    """Start everything, run the main job on the demo's invoice file, and stay until Ctrl-C; gives the exit code.

    With ``once`` it ends after the main job, with 0 only if the books agree.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as ending:
        ending.callback(stop_servers)
        say("starting PostgreSQL and Valkey")
        environment = demo_environment()
        running = ending.enter_context(processes())
        _start_everything(environment, running)
        say("running the main job: bills come in, are collected, and the billers' systems hear of it")
        books = ""
        try:
            books = command("main_job", told=True).splitlines()[-1]
            code = 0
        except Failed as failure:
            say(str(failure))
            code = 1
        if not once:
            from config.demo.introductions import introduction

            say(f"\n{introduction()}\n")
            say(f"Ready after {time.monotonic() - began:.0f} s. Ctrl-C stops everything.")
            code = _stay(running)
    if once:
        say(f"set up, run and stopped in {time.monotonic() - began:.0f} s")
        say(books)
    return code


def _start_everything(environment: Mapping[str, str], running: dict[str, Process]) -> None:
    """Start each in its turn.

    :raises Failed: a step went wrong.
    :raises RuntimeError: a process ended at its start.
    """

    def start(name: str, *arguments: str, **extra: str) -> None:
        running[name] = Process(name, (sys.executable, *arguments), {**environment, **extra})

    _start_simulators(environment, start)
    _set_up_django(environment)
    say("migrating")
    command("migrate", interactive=False, verbosity=0)
    command("check", databases=["default"])
    web = environment["PUBLIC_URL"]
    gunicorn = ("-m", "gunicorn", "config.wsgi", "--bind", web.removeprefix("http://"), "--preload")
    start("web", *gunicorn, "--worker-class", "gthread", "--workers", "2", "--threads", "8", "--log-level", "warning")
    for name in ("processor", "cis", "receiver", "telephone"):
        running[name].wait_for(answers(environment[f"SIMULATED_{name.upper()}_URL"]))
    say("loading the demo billers")
    command("load_demo", "--quiet", told=True)
    celery = ("-m", "celery", "--app", "config.celery", "--quiet")
    # Celery warns at length of being root, which in a container everybody is.
    calm = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges"}
    start("worker", *celery, "worker", "--concurrency", "2", "--without-gossip", "--without-mingle", **calm)
    start("beat", *celery, "beat")
    running["web"].wait_for(answers(f"{web}/health"))


def _set_up_django(environment: Mapping[str, str]) -> None:
    """Become able to run our commands here: a process for each would take seconds."""
    os.environ.update(environment)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()


def _start_simulators(environment: Mapping[str, str], start: Callable[..., None]) -> None:
    """Start the other side of each wire: a processor, two billers' systems and telephones, each with its own book."""
    simulate = ("manage.py", "simulate")
    processor, cis = environment["SIMULATED_PROCESSOR_URL"], environment["SIMULATED_CIS_URL"]
    receiver, telephone = environment["SIMULATED_RECEIVER_URL"], environment["SIMULATED_TELEPHONE_URL"]
    secret = environment["SIMULATOR_SECRET"]
    books = VAR / "simulators"
    books.mkdir(exist_ok=True)
    start(
        "processor",
        *(*simulate, "gateway", "--port", processor.rpartition(":")[2], "--book", str(books / "processor.sqlite3")),
        *("--parent", environment["PUBLIC_URL"]),
        SIMULATED_PROCESSOR_SECRETS=secret,
        SIMULATED_PROCESSOR_CONTROL_SECRET=secret,
    )
    start(
        "cis",
        *(*simulate, "cis", "--port", cis.rpartition(":")[2], "--book", str(books / "cis.sqlite3")),
        *("--username", "ratepayer", "--password", secret, "--control-secret", secret),
    )
    start(
        "receiver",
        *(*simulate, "receiver", "--port", receiver.rpartition(":")[2], "--book", str(books / "receiver.sqlite3")),
        SIMULATED_RECEIVER_CONTROL_SECRET=secret,
    )
    # Its secrets are in the environment already.
    start(
        "telephone",
        *(*simulate, "phone", "--port", telephone.rpartition(":")[2], "--book", str(books / "telephone.sqlite3")),
    )


def _stay(running: Mapping[str, Process]) -> int:
    """Wait for Ctrl-C, or for one of the processes to end by itself; gives the exit code."""
    while True:
        for process in running.values():
            if process.code() is not None:
                say(f"{process.name} ended by itself with code {process.code()}.")
                return 1
        time.sleep(0.5)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Do what the Makefile asks for; gives the exit code."""
    # Whoever ends us politely gets an orderly end, even where a shell started us deaf to Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        match arguments:
            case ["run"]:
                with only_one():
                    return run(once=os.environ.get("ONCE", "") not in {"", "0"})
            case ["up"]:
                with only_one():
                    demo_environment()
                say("PostgreSQL and Valkey are running; manage.py finds them by var/env, and make stop stops them.")
            case ["down"]:
                stop_the_other()
                stop_servers()
            case ["reset"]:
                stop_the_other()
                reset()
            case _:
                print(__doc__)
                return 2
    except KeyboardInterrupt:
        return 0
    except (Failed, RuntimeError) as failure:
        say(str(failure))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
