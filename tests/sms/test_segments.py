"""Segments: the figures of real networks, the offender named, and an independent count by cutting octets."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms import segments
from sms.segments import Encoding

# Code point by code point from 3GPP TS 23.038, not from our own tables: position in the alphabet → character.
ALPHABET = [
    *"@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ", None, *"ÆæßÉ", *" !\"#¤%&'()*+,-./", *"0123456789:;<=>?",
    "¡", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *"ÄÖÑÜ§", "¿", *"abcdefghijklmnopqrstuvwxyz", *"äöñüà",
]  # fmt: skip
SEPTET = {character: (number,) for number, character in enumerate(ALPHABET) if character is not None}
ESCAPED = {"\f": 10, "^": 20, "{": 40, "}": 41, "\\": 47, "[": 60, "~": 61, "]": 62, "|": 64, "€": 101}
GSM7: dict[str, tuple[int, ...]] = {**SEPTET, **{character: (27, number) for character, number in ESCAPED.items()}}


def parts_of(text: str) -> tuple[str, list[list[int]]]:
    """Encode a text and cut it into parts as a phone would have to put them together again."""
    if all(character in GSM7 for character in text):
        encoding, alone, room = "GSM-7", 160, 153
        stream = [unit for character in text for unit in GSM7[character]]
        opens: Callable[[int], bool] = lambda unit: unit == 27  # noqa: E731 - said beside its other half
    else:
        encoding, alone, room = "UCS-2", 70, 67
        octets = text.encode("utf-16-be", "surrogatepass")
        stream = [octets[at] << 8 | octets[at + 1] for at in range(0, len(octets), 2)]
        opens = lambda unit: 0xD800 <= unit < 0xDC00  # noqa: E731 - said beside its other half
    if len(stream) <= alone:
        return encoding, [stream]
    parts = []
    while stream:
        cut = min(room, len(stream))
        if cut < len(stream) and opens(stream[cut - 1]):
            cut -= 1
        parts.append(stream[:cut])
        stream = stream[cut:]
    return encoding, parts


@pytest.mark.parametrize(
    ("text", "encoding", "units", "parts"),
    [
        ("", "GSM-7", 0, 1),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        ("[" * 152, "GSM-7", 304, 2),
        ("[" * 153, "GSM-7", 306, 3),  # 76 pairs and an odd septet in each part: a pair is not split
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3),
        ("Pay $84.10 – thanks", "UCS-2", 19, 1),
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 36, "UCS-2", 72, 2),
        ("😀" * 66, "UCS-2", 132, 2),
        ("😀" * 67, "UCS-2", 134, 3),  # 33 pairs and an odd unit in each part
        ("é" * 160, "GSM-7", 160, 1),
        ("á" * 70, "UCS-2", 70, 1),
        ("á" * 71, "UCS-2", 71, 2),
        ("á" * 134, "UCS-2", 134, 2),
        ("á" * 135, "UCS-2", 135, 3),
        ("^{}\\[~]|€\f", "GSM-7", 20, 1),
        ("x" * 1600, "GSM-7", 1600, 11),
    ],
)
def test_parts_are_those_of_the_networks(text: str, encoding: str, units: int, parts: int) -> None:
    counted = segments.count(text)

    assert (counted.encoding, counted.units, counted.segments) == (encoding, units, parts)


@pytest.mark.parametrize(
    ("text", "character", "position", "name", "instead"),
    [
        ("Pay $84.10 – thanks", "–", 11, "en dash", "-"),
        ("It’s “due”", "’", 2, "right single quotation mark", "'"),
        ("“due”", "“", 0, "left double quotation mark", '"'),
        ("$5\u00a0due", "\u00a0", 2, "no-break space", " "),
        ("Wait…", "…", 4, "horizontal ellipsis", "..."),
        ("Está", "á", 3, "latin small letter a with acute", "a"),
        ("SÍ", "Í", 1, "latin capital letter i with acute", "I"),
        ("garçon", "ç", 3, "latin small letter c with cedilla", "Ç"),
        ("a\u200bb", "\u200b", 1, "zero width space", ""),
        ("a\tb", "\t", 1, "U+0009", " "),
        ("½ due", "½", 0, "vulgar fraction one half", "1/2"),
        ("Ｐay", "Ｐ", 0, "fullwidth latin capital letter p", "P"),
        ("a`b", "`", 1, "grave accent", "'"),
        ("😀–", "😀", 0, "grinning face", None),
        ("日", "日", 0, "cjk unified ideograph-65e5", None),
        ("a\x1bb", "\x1b", 1, "U+001B", None),
    ],
)
def test_first_offender_is_named(text: str, character: str, position: int, name: str, instead: str | None) -> None:
    offender = segments.count(text).offender

    assert offender == segments.Offender(character, position, name, instead)


def test_proposal_turns_a_typographic_text_into_one_part() -> None:
    text = "“Springfield Water” – su cuenta está al día… " + "x" * 100

    assert segments.count(text).segments == 3
    assert segments.in_gsm7(text) == '"Springfield Water" - su cuenta esta al dia... ' + "x" * 100
    assert segments.count(segments.in_gsm7(text)).segments == 1
    assert segments.in_gsm7("Año: ¿qué? 😀 €5 Ä") == "Año: ¿qué? 😀 €5 Ä"
    assert segments.in_gsm7("an\u0303o") == "año"


def test_alphabet_has_every_character_of_the_standard() -> None:
    every = [chr(number) for number in range(0x3000)]

    assert {character for character in every if segments.count(character).encoding is Encoding.GSM7} == set(GSM7)
    assert len(SEPTET) == 127
    assert {character for character in GSM7 if segments.count(character).units == 2} == set(ESCAPED)


PLAIN = st.sampled_from(sorted(GSM7))
ANY = st.one_of(PLAIN, st.sampled_from("😀🛑🇺é–“ñ日\u0301\u200d\ufe0f\ud83d"), st.characters())
LONG = st.one_of(
    st.text(PLAIN, max_size=500), st.text(ANY, max_size=300), st.text(st.sampled_from("a€😀"), max_size=500)
)


@given(LONG)
def test_count_agrees_with_cutting_the_encoded_text(text: str) -> None:
    encoding, parts = parts_of(text)
    counted = segments.count(text)

    assert counted.encoding == encoding
    assert counted.units == sum(map(len, parts))
    assert counted.segments == len(parts)
    alone, room = (160, 153) if encoding == "GSM-7" else (70, 67)
    assert counted.left == (alone if len(parts) == 1 else room) - len(parts[-1])


@given(LONG)
def test_offender_is_the_first_and_its_replacement_fits(text: str) -> None:
    offender = segments.count(text).offender

    if offender is None:
        assert set(text) <= set(GSM7)
        return
    assert text[offender.position] == offender.character not in GSM7
    assert set(text[: offender.position]) <= set(GSM7)
    assert offender.replacement is None or set(offender.replacement) <= set(GSM7)


@given(LONG)
def test_proposal_leaves_alone_what_is_plain_and_is_final(text: str) -> None:
    proposed = segments.in_gsm7(text)

    assert segments.in_gsm7(proposed) == unicodedata.normalize("NFC", proposed)
    if set(text) <= set(GSM7):
        assert proposed == text
