"""The first command on a fresh machine says what is missing, and the second run does nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config import bootstrap


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Set up below a directory of its own, and note the commands in place of running them."""
    for name in ("requirements.txt", "requirements-dev.txt", "package-lock.json"):
        (tmp_path / name).write_text(name)
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    (venv / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    (tmp_path / "node_modules").mkdir()
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", venv)
    monkeypatch.setattr(bootstrap, "PYTHON", venv / "bin" / "python")
    monkeypatch.setattr(bootstrap, "NODE_MODULES", tmp_path / "node_modules")
    noted: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "run", lambda *command, **_: noted.append([str(part) for part in command]))
    return noted


def test_packages_are_installed_by_hash_once(commands: list[list[str]]) -> None:
    bootstrap.main([])
    assert commands[0][1:4] == ["-m", "pip", "install"]
    assert "--require-hashes" in commands[0]
    assert commands[0][-1].endswith("/requirements.txt")
    assert commands[-1][-6:] == ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--omit=dev"]
    done = len(commands)
    bootstrap.main([])
    assert len(commands) == done


def test_what_tests_need_covers_what_runs_but_not_the_other_way(commands: list[list[str]]) -> None:
    bootstrap.main([])
    bootstrap.main(["--dev"])
    assert any(command[-1].endswith("/requirements-dev.txt") for command in commands)
    assert commands[-1][-1] == "--loglevel=error"
    done = len(commands)
    bootstrap.main([])
    assert len(commands) == done


def test_a_new_lock_file_is_installed(commands: list[list[str]], tmp_path: Path) -> None:
    bootstrap.main(["--dev"])
    done = len(commands)
    (tmp_path / "requirements.txt").write_text("newer")
    bootstrap.main(["--dev"])
    assert len(commands) == done + 2


def test_a_missing_venv_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit, match="apt-get install -y python3-venv"):
        bootstrap.check_python()


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    with pytest.raises(SystemExit, match=r"Python 3\.11 or newer is needed"):
        bootstrap.check_python()


def test_it_needs_nothing_that_is_not_in_python_itself() -> None:
    # -S: no site-packages; -I: nothing of this project on the path.
    program = f"import runpy; runpy.run_path({bootstrap.__file__!r})"
    subprocess.run([sys.executable, "-S", "-I", "-c", program], check=True)
