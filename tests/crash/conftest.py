"""The ledger of worlds: a longer run of seeds writes down what it came to, in ``docs/crash-ledger.json``."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from typing import Any

import pytest

from config.environment import ROOT

LEDGER = ROOT / "docs" / "crash-ledger.json"

# Kind of world → seed → whether it came to what it must, and whether the processor recognised repeats.
_worlds: dict[str, dict[int, tuple[bool, bool]]] = defaultdict(dict)


def read_ledger() -> list[dict[str, Any]]:
    """Give what was run, the oldest first: kind, seeds, commit, worlds with and without duplicate detection, seeds that failed."""
    runs: list[dict[str, Any]] = json.loads(LEDGER.read_text())
    return runs


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    found = dict(report.user_properties)
    if report.when == "call" and "world" in found:
        kind, seed, deduplicates = str(found["world"]).split()
        _worlds[kind][int(seed)] = (report.outcome == "passed", deduplicates == "True")


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Of xdist the controller alone has heard of all of them.
    if "CRASH_SEEDS" not in os.environ or hasattr(session.config, "workerinput") or not _worlds:
        return
    asked = ["git", "rev-parse", "--short=9", "HEAD"]
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    runs = read_ledger()
    for kind, worlds in sorted(_worlds.items()):
        runs.append(
            {
                "kind": kind,
                "seeds": f"{min(worlds)}-{max(worlds)}",
                "commit": commit.stdout.strip(),
                "worlds": len(worlds),
                "repeats_recognised": sum(deduplicates for _good, deduplicates in worlds.values()),
                "failed": sorted(seed for seed, (good, _deduplicates) in worlds.items() if not good),
            }
        )
    LEDGER.write_text(json.dumps(runs, indent=1) + "\n")
