"""Webhooks, hearers and senders are killed at seeded places while the network repeats and reorders: nothing is lost or doubled.

``make crash SEEDS=1000`` runs more seeds of the same; ``CRASH_FIRST`` is the first one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from sms.conversations import Heard
from sms.models import Text
from sms.operations import inbound
from tests.cis import Cis
from tests.crash import text_worlds, worlds
from tests.crash.test_crashes import ENOUGH, FIRST, SEEDS
from tests.processor import Processor
from tests.telephone import Telephone

pytestmark = pytest.mark.django_db(transaction=True)
# In the suite, where every second counts, fewer than of the other worlds.
TEXT_SEEDS = SEEDS if "CRASH_SEEDS" in os.environ else 5


@pytest.fixture(scope="module")
def telephone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telephone]:
    with Telephone(tmp_path_factory.mktemp("telephone")) as running:
        yield running


@pytest.mark.parametrize("seed", range(FIRST, FIRST + TEXT_SEEDS))
@pytest.mark.spec("PBT-16")
def test_no_text_is_lost_and_no_bill_is_paid_twice(
    seed: int, processor: Processor, cis: Cis, telephone: Telephone, record_property: Callable[[str, object], None]
) -> None:
    record_property("world", f"texts {seed} {text_worlds.TextWorld(seed, processor, cis).deduplicates}")
    text_worlds.run(seed, processor, cis, telephone)


def action_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Take a text as dealt with when it is understood, before what it asks for is done."""
    note = inbound._note

    def forget(text: Text, heard: Heard, *, at_once: bool = False) -> None:
        note(text, heard, at_once=at_once)
        text.state = "received"

    patch.setattr(inbound, "_note", forget)


def answered_anew(patch: pytest.MonkeyPatch) -> None:
    """Name each answer by the moment, so that it is written again when the text is dealt with again."""
    patch.setattr(inbound, "_key", lambda text: f"re:{text.pk}:{time.monotonic_ns()}")


@pytest.mark.skipif("CRASH_SEEDS" in os.environ, reason="a longer run of seeds was asked for")
@pytest.mark.parametrize(
    ("mutant", "place"),
    # Where every hearer must die for it to do harm.
    [(action_forgotten, "inbound.heard"), (answered_anew, "inbound.answered")],
    ids=["action_forgotten", "answered_anew"],
)
def test_broken_variant_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None],
    place: str,
    processor: Processor,
    cis: Cis,
    telephone: Telephone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    monkeypatch.setattr(worlds, "HEAL_SECONDS", 6.0)
    traits = {"points": {"hear": (place,)}, "nth": 1, "living": 0.0, "fault_rate": 0.0}
    for seed in range(1, ENOUGH + 1):
        try:
            text_worlds.run(seed, processor, cis, telephone, **traits)
        except worlds.WorkerFailed:
            raise
        except AssertionError as caught:
            print(f"{mutant.__name__} caught by seed {seed}: {str(caught)[:300]}")
            return
    pytest.fail(f"{mutant.__name__} was not caught in {ENOUGH} seeds")
