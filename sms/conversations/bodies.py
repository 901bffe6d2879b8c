"""Reading a text's body: the same words whatever the casing, width, accents, apostrophes and punctuation.

Source: evidence 3.2.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from sms.conversations.words import OPT_OUT_SIGNS

# Longer than any text that a network carries; what comes after is not read.
_MOST = 4_000
_APOSTROPHES = re.compile("['‘’‛ʼ´`′]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff\U0001f3fb-\U0001f3ff]")
_TOKEN = re.compile(f"[{OPT_OUT_SIGNS}]|[^\\W_{OPT_OUT_SIGNS}]+")
# A hyphen joins (opt-out), so it separates no clauses.
_CLAUSE_END = re.compile(r"[.!?¿¡,;:\n\r()\"“”–—/|]+")
# What phones send when somebody taps a heart on our text; it quotes us, and our words are not theirs.
_REACTION = re.compile(
    r"\s*(?:liked|loved|disliked|laughed at|emphasized|questioned|reacted \S+ to|"
    r"removed an? [\w ]{1,30} from|le gust[oó]|le encant[oó]|no le gust[oó]|se ri[oó] de|enfatiz[oó]|reaccion[oó] con \S+ a)"
    r"\s+[“\"«].*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Body:
    """A text, read. ``marked`` keeps accents and punctuation; ``tokens`` are bare words, numbers and opt-out signs."""

    raw: str
    marked: str
    tokens: tuple[str, ...]
    clauses: tuple[tuple[str, ...], ...]
    reaction: bool

    @property
    def asks(self) -> bool:
        """Tell whether the text has a question mark: nothing that asks moves money."""
        return "?" in self.marked

    @property
    def compact(self) -> str:
        """The tokens without anything between: ``S.T.O.P`` is ``stop``, ``opt-out`` is ``optout``."""
        return "".join(self.tokens)

    def without(self, fillers: Collection[str]) -> tuple[str, ...]:
        """Give the tokens that are no fillers."""
        return tuple(token for token in self.tokens if token not in fillers)


def read(text: str) -> Body:
    """Read a text; any text can be read."""
    text = text[:_MOST]
    straight = _INVISIBLE.sub("", _APOSTROPHES.sub("", text))
    # Twice: folding may bring back what NFKC takes apart, and the other way round.
    marked = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", straight).casefold())
    marked = _APOSTROPHES.sub("", marked)
    apart = unicodedata.normalize("NFKD", marked)
    plain = "".join(character for character in apart if not unicodedata.combining(character))
    clauses = tuple(tuple(_TOKEN.findall(clause)) for clause in _CLAUSE_END.split(plain))
    return Body(
        raw=text,
        marked=marked,
        tokens=tuple(_TOKEN.findall(plain)),
        clauses=tuple(clause for clause in clauses if clause),
        reaction=_REACTION.match(text) is not None,
    )
