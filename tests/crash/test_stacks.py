"""The whole stack is killed, frozen and cut off at seeded moments; the books agree all the same.

``make crash SEEDS=0 STACKS=50`` runs more seeds of the same; ``CRASH_FIRST`` is the first one.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from config.environment import ROOT
from config.servers import server_directory
from tests.crash.stacks import Servers

FIRST = int(os.environ.get("CRASH_FIRST", "1"))
SEEDS = int(os.environ.get("CRASH_STACKS", "1"))
PATIENCE = 600.0  # seconds


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    made = Servers(server_directory("tests") / f"stacks-{os.getpid()}")
    made.directory.mkdir(mode=0o711, parents=True)
    try:
        made.prepare()
        yield made
    finally:
        made.remove()


@pytest.mark.spec("PAY-2", "PAY-3", "PAY-10")
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_whatever_of_the_stack_dies_nobody_is_charged_twice_and_nothing_is_lost(
    seed: int, servers: Servers, record_property: Callable[[str, object], None]
) -> None:
    record_property("world", f"stacks {seed} {random.Random(f'crash-{seed}').random() < 0.6}")
    command = [sys.executable, "-m", "tests.crash.stacks", str(seed), str(servers.directory)]
    ended = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    print(ended.stdout[-20_000:])
    assert ended.returncode == 0, ended.stderr[-8_000:]
