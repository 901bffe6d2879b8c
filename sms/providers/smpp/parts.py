"""What a text is in octets: its alphabet, its parts with their headers, and how parts that come in become one again.

Source: 3GPP TS 23.038 sections 4 and 6.2.1, TS 23.040 section 9.2.3.24; SMPP 3.4 sections 5.2.19 and 5.3.2.22.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sms.segments import ESCAPE, GSM7, GSM7_EXTENSION, Encoding, count, parts

UCS2 = 8
CHARSETS = ("gsm7", "ascii", "latin-1", "utf-8")
"""What a message centre may take its default alphabet (data coding 0) for."""

PART_WAIT = 180.0
"""Seconds after which a text is heard as it is, some of whose parts never came."""

_HEADER_FOLLOWS = 0x40
_CODINGS = {1: "ascii", 3: "latin-1", 6: "iso8859-5", 7: "iso8859-8", UCS2: "utf-16-be"}
_CODES = {character: bytes([code]) for code, character in enumerate(GSM7) if character != ESCAPE} | {
    character: bytes([GSM7.index(ESCAPE), code]) for character, code in GSM7_EXTENSION.items()
}
_EXTENDED = {code: character for character, code in GSM7_EXTENSION.items()}
_MOST_WAITING = 1_000


def encode(text: str, charset: str) -> tuple[int, list[bytes]]:
    """Give the data coding of a text and the octets of each of its parts, which are cut as the segments are counted."""
    encoding = count(text).encoding
    if encoding is Encoding.GSM7:
        try:
            return 0, [_in_default(part, charset) for part in parts(text, encoding)]
        except UnicodeEncodeError:
            pass  # the default alphabet of this message centre has fewer characters
    return UCS2, [part.encode("utf-16-be", "surrogatepass") for part in parts(text, Encoding.UCS2)]


def decode(octets: bytes, coding: int, charset: str) -> str | None:
    """Read the octets of a text; None where they are no text."""
    if coding & 0xF0 == 0xF0:  # a message class, and one bit for the alphabet
        coding = 4 if coding & 0x04 else 0
    if coding == 0 and charset == "gsm7":
        return _from_gsm7(octets)
    name = charset if coding == 0 else _CODINGS.get(coding)
    return None if name is None else octets.decode(name, "replace")


def with_headers(pieces: list[bytes], reference: int) -> list[bytes]:
    """Put the header before each part that says which of how many it is."""
    return [
        bytes([5, 0, 3, reference % 256, len(pieces), number]) + piece for number, piece in enumerate(pieces, start=1)
    ]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one message brings of a text; one that is whole is the first of one."""

    octets: bytes
    reference: int = 0
    total: int = 1
    number: int = 1


def piece_of(message: Any) -> Piece:
    """Read which part of a text a message brings: from its header, or from its own fields."""
    octets: bytes = message.short_message or message.message_payload or b""
    if message.esm_class & _HEADER_FOLLOWS and octets:
        length, octets = octets[0], octets[1:]
        header, octets = octets[:length], octets[length:]
        for kind, value in _elements(header):
            if kind == 0 and len(value) == 3:
                return _piece(octets, value[0], value[1], value[2])
            if kind == 8 and len(value) == 4:
                return _piece(octets, int.from_bytes(value[:2]), value[2], value[3])
        return Piece(octets)
    if message.sar_msg_ref_num is not None:
        return _piece(octets, message.sar_msg_ref_num, message.sar_total_segments or 0, message.sar_segment_seqnum or 0)
    return Piece(octets)


def _piece(octets: bytes, reference: int, total: int, number: int) -> Piece:
    return Piece(octets, reference, total, number) if 1 <= number <= total else Piece(octets)


def _elements(header: bytes) -> Iterator[tuple[int, bytes]]:
    while len(header) >= 2:
        kind, length = header[0], header[1]
        yield kind, header[2 : 2 + length]
        header = header[2 + length :]


@dataclass(frozen=True, slots=True)
class Source:
    """Whose text it is and in which coding: parts of one text have the same."""

    sender: str
    recipient: str
    coding: int


@dataclass(slots=True)
class _Waiting:
    found: dict[int, bytes] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def joined(self) -> bytes:
        return b"".join(self.found[number] for number in sorted(self.found))


class Desk:
    """Where parts wait for the rest of their text, by whose it is, its reference and the count of its parts."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[Source, int, int], _Waiting] = {}

    def put(self, source: Source, piece: Piece) -> bytes | None:
        """Put a part to the others of its text; gives the whole text once none is missing, and keeps it."""
        waiting = self._waiting.setdefault((source, piece.reference, piece.total), _Waiting())
        waiting.found[piece.number] = piece.octets
        return waiting.joined() if len(waiting.found) == piece.total else None

    def overdue(self, *, older_than: float) -> list[tuple[Source, int, int]]:
        """Name every text that waited so many seconds, or that is one too many."""
        oldest = sorted(self._waiting, key=lambda name: self._waiting[name].since)
        limit, surplus = time.monotonic() - older_than, len(oldest) - _MOST_WAITING
        return [name for place, name in enumerate(oldest) if place < surplus or self._waiting[name].since <= limit]

    def look(self, name: tuple[Source, int, int]) -> bytes:
        """Give what there is of a text."""
        return self._waiting[name].joined()

    def clear(self, name: tuple[Source, int, int]) -> None:
        """Forget a text that was taken."""
        del self._waiting[name]


def _in_default(text: str, charset: str) -> bytes:
    if charset == "gsm7":
        return b"".join(_CODES[character] for character in text)
    return text.encode(charset)


def _from_gsm7(octets: bytes) -> str:
    words, extended = [], False
    for octet in octets:
        if extended:
            # What the extension lacks is read as the character that an old phone would show.
            words.append(_EXTENDED.get(octet) or _basic(octet))
            extended = False
        elif octet == GSM7.index(ESCAPE):
            extended = True
        else:
            words.append(_basic(octet))
    return "".join(words)


def _basic(octet: int) -> str:
    return GSM7[octet] if octet < len(GSM7) and GSM7[octet] != ESCAPE else "\ufffd"
