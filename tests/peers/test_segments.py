"""Twilio's calculator of segments against our counter."""

from __future__ import annotations

import json
import random

from sms import segments
from tests.peers import run_peer

TEXTS = 10_000
BASIC = sorted(set(segments.GSM7) - {segments.ESCAPE})
EXTENSION = sorted(segments.GSM7_EXTENSION)
ELSEWHERE = list("–—‘’“”…•çáíóúÁÍÓÚŁŐščЖдΑώ中文日本한국ไท₿™©")
EMOJI = list("😀🛑💡🚰🔥🏠📱❌⛔🔕📴👍💸🧾🎉")
EDGES = (34, 35, 36, 66, 67, 68, 69, 70, 71, 76, 77, 80, 81, 133, 134, 135, 152, 153, 154, 160, 161)
# Its time grows with the square of the length, so of long texts there are few.
LONGER = {13: (162, 310), 50: (310, 620), 333: (620, 1_600)}


def texts() -> list[str]:
    """Make texts of every kind, many of them at the edges of parts; the same ones each time."""
    chance = random.Random(3)
    kinds = (
        [BASIC], [BASIC, EXTENSION], [EXTENSION], [BASIC, BASIC, BASIC, ELSEWHERE], [EMOJI], [BASIC, EMOJI],
        [BASIC, EXTENSION, ELSEWHERE, EMOJI],
    )  # fmt: skip
    made = []
    for number in range(TEXTS):
        kind = kinds[number % len(kinds)]
        bounds = next((LONGER[every] for every in sorted(LONGER, reverse=True) if number % every == 0), None)
        if bounds is not None:
            length = chance.randint(*bounds)
        else:
            length = chance.choice(EDGES) if chance.random() < 0.5 else chance.randint(1, 150)
        made.append("".join(chance.choice(chance.choice(kind)) for _ in range(length)))
    return made


def test_our_counter_agrees_with_twilios_on_ten_thousand_texts() -> None:
    given = texts()
    theirs = json.loads(run_peer("segments.js", json.dumps(given)))
    ours = [segments.count(text) for text in given]
    differing = [
        (text, mine, their)
        for text, mine, their in zip(given, ours, theirs, strict=True)
        if [mine.encoding, mine.segments] != their
    ]
    assert not differing[:3]
    assert len(ours) == TEXTS
    found = {(one.encoding, one.segments) for one in ours}
    assert {(encoding, many) for encoding in segments.Encoding for many in range(1, 9)} <= found
