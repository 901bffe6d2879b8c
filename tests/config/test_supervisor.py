"""Processes of the house: shown line by line, ended with their children, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from config import supervisor
from config.environment import ROOT

# A process with a child; both write their number, and the child would live for ever.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}")
print("ready", flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(true: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def numbers(file: Path) -> list[int]:
    assert eventually(lambda: file.exists() and len(file.read_text().split()) == 2)
    return [int(number) for number in file.read_text().split()]


def test_a_process_and_its_output_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    process = supervisor.Process("web", [sys.executable, "-c", "print('one'); print('two')"], os.environ)
    assert eventually(lambda: process.code() == 0)
    shown = ""

    def both_lines() -> bool:
        nonlocal shown
        shown += capfd.readouterr().out
        return shown == "      web | one\n      web | two\n"

    assert eventually(both_lines)


def test_a_process_that_ends_at_its_start_is_named() -> None:
    process = supervisor.Process("web", [sys.executable, "-c", "raise SystemExit(3)"], os.environ)
    with pytest.raises(RuntimeError, match="web stopped while it was starting"):
        process.wait_for(lambda: False)
    assert process.code() == 3


def test_what_does_not_listen_is_ended_with_its_children(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAMILY
    process = supervisor.Process("worker", [sys.executable, "-c", stubborn, str(tmp_path / "pids")], os.environ)
    parent, child = numbers(tmp_path / "pids")
    process.ask_to_stop()
    process.stop(seconds=0.3)
    assert not alive(parent)
    assert eventually(lambda: not alive(child))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_processes_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, sys, time; from config.supervisor import Process;"
        "Process('web', [sys.executable, '-c', 'import time; time.sleep(600)'], os.environ);"
        "p = Process('beat', [sys.executable, '-c', sys.argv[1], sys.argv[2]], os.environ); time.sleep(600)"
    )
    house = subprocess.Popen([sys.executable, "-c", program, FAMILY, str(tmp_path / "pids")], cwd=ROOT)
    parent, child = numbers(tmp_path / "pids")
    house.send_signal(signal.SIGKILL)
    house.wait()
    assert eventually(lambda: not alive(parent))
    # What a process of ours starts is its own to end; this one would have.
    if alive(child):
        os.kill(child, signal.SIGKILL)


def test_only_one_supervisor_works_in_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor, "VAR", tmp_path)
    with supervisor.only_one():
        with pytest.raises(supervisor.Failed, match="running already"), supervisor.only_one():
            pass
        assert (tmp_path / "supervisor").read_text() == str(os.getpid())
    with supervisor.only_one():
        pass


def test_the_other_supervisor_is_asked_to_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor, "VAR", tmp_path)
    supervisor.stop_the_other()
    program = (
        "import signal, sys, time; from pathlib import Path; from config import supervisor;"
        "signal.signal(signal.SIGTERM, supervisor._interrupt); supervisor.VAR = Path(sys.argv[1]);\n"
        "try:\n    with supervisor.only_one():\n        print('ready', flush=True); time.sleep(600)\n"
        "except KeyboardInterrupt:\n    sys.exit(7)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    supervisor.stop_the_other()
    assert other.wait(10) == 7
