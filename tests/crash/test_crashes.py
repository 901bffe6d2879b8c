"""Workers are killed at seeded places while the processor and the CIS lose answers; the books agree all the same.

``make crash SEEDS=1000`` runs more seeds of the same; ``CRASH_FIRST`` is the first one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from config.environment import ROOT
from tests.cis import Cis
from tests.crash import worlds
from tests.crash.conftest import read_ledger
from tests.crash.mutants import MUTANTS
from tests.processor import Processor

FIRST = int(os.environ.get("CRASH_FIRST", "1"))
SEEDS = int(os.environ.get("CRASH_SEEDS", "50"))
# A broken engine is caught within so many seeds, or the harness is not worth its name.
ENOUGH = 3

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
@pytest.mark.spec("PAY-2", "PAY-3", "PAY-7", "PAY-10", "PAY-23", "MSP-23")
def test_nobody_is_charged_twice_and_nothing_is_lost(
    seed: int, processor: Processor, cis: Cis, record_property: Callable[[str, object], None]
) -> None:
    record_property("world", f"charges {seed} {worlds.World(seed, processor, cis).deduplicates}")
    worlds.run(seed, processor, cis)


def test_the_table_of_seeds_is_that_of_the_ledger() -> None:
    table = (ROOT / "docs" / "reliability.md").read_text()
    for run in read_ledger():
        with_, of = run["repeats_recognised"], run["worlds"]
        row = f"| {run['seeds']} | {run['kind']}, {run['commit']} | {with_} + {of - with_} | {len(run['failed'])} |"
        assert row in table, row


@pytest.mark.skipif("CRASH_SEEDS" in os.environ, reason="a longer run of seeds was asked for")
@pytest.mark.parametrize(("mutant", "traits"), MUTANTS.items(), ids=[mutant.__name__ for mutant in MUTANTS])
def test_broken_variant_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None],
    traits: dict[str, Any],
    processor: Processor,
    cis: Cis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    monkeypatch.setattr(worlds, "HEAL_SECONDS", 4.0)
    for seed in range(1, ENOUGH + 1):
        try:
            worlds.run(seed, processor, cis, **traits)
        except worlds.WorkerFailed:
            # The variant does not fit the engine any more, or the engine's own checks keep it from doing harm.
            raise
        except AssertionError as caught:
            print(f"{mutant.__name__} caught by seed {seed}: {str(caught)[:300]}")
            return
    pytest.fail(f"{mutant.__name__} was not caught in {ENOUGH} seeds")
