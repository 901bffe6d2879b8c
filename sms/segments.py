"""How many messages a text is on the wire, and which character makes it dearer than it need be.

One typographic quote turns a whole text from GSM-7 (160 characters) into UCS-2 (70), so the template editor names it.
Nothing here cuts or changes a text of its own accord; ``in_gsm7`` proposes one. Code points are counted as a handset
gets them: a surrogate pair or an escaped GSM-7 pair is never split over two parts, a cluster of several code points
(a flag, a family) may be.

Source: evidence 3.6; 3GPP TS 23.038 section 6.2.1 (alphabet and its extension), TS 23.040 section 9.2.3.24.1 (header of
six octets).
"""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

ESCAPE = "\x1b"
GSM7 = (
    f"@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ{ESCAPE}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The alphabet in the order of its codes; ``ESCAPE`` is no character, it leads into the extension."""

GSM7_EXTENSION: Mapping[str, int] = {
    "\f": 0x0A, "^": 0x14, "{": 0x28, "}": 0x29, "\\": 0x2F, "[": 0x3C, "~": 0x3D, "]": 0x3E, "|": 0x40, "€": 0x65,
}  # fmt: skip
"""The characters that take an escape and this code."""

_BASIC = frozenset(GSM7) - {ESCAPE}

# What people and word processors put in without meaning it. Letters with accents are taken apart by Unicode instead.
_REPLACEMENTS: Mapping[str, str] = {
    **dict.fromkeys("‘’‚‛′ʼ´`", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‹", "<"),
    **dict.fromkeys("›", ">"),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\t\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufe0e\ufe0f\ufeff", ""),
    **dict.fromkeys("\u2028\u2029\u0085", "\n"),
    **dict.fromkeys("•·‣▪", "*"),
    "…": "...",
    "×": "x",
    "÷": "/",
    "⁄": "/",
    "©": "(c)",
    "®": "(R)",
    "ç": "Ç",
    "Ł": "L",
    "ł": "l",
    "Đ": "D",
    "đ": "d",
    "Œ": "OE",
    "œ": "oe",
}  # fmt: skip


class Encoding(enum.StrEnum):
    """How the characters of a text are sent."""

    GSM7 = "GSM-7"
    UCS2 = "UCS-2"


_ALONE = {Encoding.GSM7: 160, Encoding.UCS2: 70}
_IN_PARTS = {Encoding.GSM7: 153, Encoding.UCS2: 67}


@dataclass(frozen=True, slots=True)
class Offender:
    """The first character that GSM-7 lacks.

    ``position`` counts code points from zero, as Python does. ``replacement`` is what GSM-7 has for it: ``""`` where it
    may simply go, ``None`` where there is nothing like it.
    """

    character: str
    position: int
    name: str
    replacement: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """What a text costs: ``units`` are septets in GSM-7 (an extended character is two) and 16-bit units in UCS-2.

    ``left`` is how many units the last part still has room for. ``offender`` is set where the encoding is UCS-2.
    """

    encoding: Encoding
    units: int
    segments: int
    left: int
    offender: Offender | None


def count(text: str) -> Count:
    """Count the parts of a text; a text of nothing is one part, as for every network.

    Source: evidence 3.6.
    """
    offender = _first_offender(text)
    encoding = Encoding.UCS2 if offender else Encoding.GSM7
    cut = parts(text, encoding)
    units = _units(text, encoding)
    room = _ALONE[encoding] if len(cut) == 1 else _IN_PARTS[encoding]
    return Count(encoding, units, len(cut), room - _units(cut[-1], encoding), offender)


def parts(text: str, encoding: Encoding) -> list[str]:
    """Cut a text as it goes over the wire in this encoding: whole where it fits, else with room for a header in each.

    Source: evidence 3.6.
    """
    if _units(text, encoding) <= _ALONE[encoding]:
        return [text]
    room, cut, start, used = _IN_PARTS[encoding], [], 0, 0
    for position, character in enumerate(text):
        size = _size(character, encoding)
        if used + size > room:
            cut.append(text[start:position])
            start, used = position, 0
        used += size
    return [*cut, text[start:]]


def replacement(character: str) -> str | None:
    """Give what GSM-7 has instead of one character, ``None`` where it has nothing like it."""
    if character in _REPLACEMENTS:
        return _REPLACEMENTS[character]
    apart = unicodedata.normalize("NFKD", character)
    base = "".join(_REPLACEMENTS.get(part, part) for part in apart if not unicodedata.combining(part))
    if base != character and all(_has(part) for part in base):
        return base
    return None


def in_gsm7(text: str) -> str:
    """Propose the text with everything replaced that has a likeness in GSM-7; the rest stays as it is."""
    return "".join(part if _has(part) else _or_itself(part) for part in unicodedata.normalize("NFC", text))


def _first_offender(text: str) -> Offender | None:
    for position, character in enumerate(text):
        if not _has(character):
            name = unicodedata.name(character, f"U+{ord(character):04X}")
            return Offender(
                character, position, name.lower() if not name.startswith("U+") else name, replacement(character)
            )
    return None


def _has(character: str) -> bool:
    return character in _BASIC or character in GSM7_EXTENSION


def _or_itself(character: str) -> str:
    found = replacement(character)
    return character if found is None else found


def _units(text: str, encoding: Encoding) -> int:
    return sum(_size(character, encoding) for character in text)


def _size(character: str, encoding: Encoding) -> int:
    if encoding is Encoding.GSM7:
        return 2 if character in GSM7_EXTENSION else 1
    return 2 if ord(character) > 0xFFFF else 1
