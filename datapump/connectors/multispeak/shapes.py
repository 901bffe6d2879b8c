"""Answers of a shape that was read before, read again without parsing them.

A server writes each success like the one before, but for its values. A shape is an answer's bytes around the plain texts
that stand between a start and an end tag. It is learned by having the strict reader read it once with a number of its own
in the place of each text, so that what comes back tells which place is whose account, amount and code. An answer of the
same shape differs in these texts alone: the strict reader would find the same elements, with the other texts in them.
Where those are the accounts and amounts we sent, each with a Success, it would say ``Delivered``, and so does this.
Anything else is left to the strict reader.

Source: MSP-11
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Protocol

from datapump.connectors.base import ConnectorError, Delivered, Message

KEPT = 256
"""Shapes remembered; a server has one for each number and sequence of tenders that share an envelope."""
LONGEST = 64 * 1024
"""Bytes of the longest answer that is read by its shape."""

# Once so many answers had a shape for which there was no room, all are forgotten: servers come and go.
_MISSES = 20_000
# Printable ASCII without markup and references, blanks only between words: nothing that a parser changes or a reader strips.
_TEXT = re.compile(rb">([!-%'-;=?-~]+(?: [!-%'-;=?-~]+)*)</")
_AMOUNT = re.compile(rb"[0-9]{1,12}(?:\.[0-9]{1,4})?")
# The marks are numbers that nobody can foresee, so that no answer holds one.
_MARK = random.SystemRandom().randrange(10**11, 9 * 10**11)

_Shape = tuple[bytes, ...]


class Said(Protocol):
    """What the strict reader finds of one payment."""

    @property
    def account(self) -> str: ...
    @property
    def amount(self) -> Decimal | None: ...
    @property
    def code(self) -> str: ...
    @property
    def error(self) -> str: ...


class Shapes:
    """The shapes of answers to payments.

    ``strictly`` reads an answer of status 200 into what it says of each payment, and raises ConnectorError where it says
    anything that concerns none or all of them.
    """

    def __init__(self, strictly: Callable[[bytes], Iterable[Said]]) -> None:
        self._strictly = strictly
        self._places: dict[_Shape, list[tuple[int, int, int]] | None] = {}
        self._misses = 0

    def read(self, messages: Sequence[Message], status: int, body: bytes) -> list[Delivered] | None:
        """Return a ``Delivered`` for each payment where the answer's shape is known and it says so, else None."""
        if status != 200 or len(body) > LONGEST:
            return None
        pieces = _TEXT.split(body)
        places = self._places.get(tuple(pieces[::2]))
        if places is None or len(places) != len(messages):
            return None
        for message, (account, amount, code) in zip(messages, places, strict=True):
            if pieces[code] != b"Success" or pieces[account].decode("ascii") != message.account:
                return None
            echo = pieces[amount]
            if not _AMOUNT.fullmatch(echo) or Decimal(echo.decode("ascii")) != Decimal(message.facts["amount"]):
                return None
        return [Delivered(message.id, "Success") for message in messages]

    def learn(self, status: int, body: bytes) -> None:
        """Remember the shape of an answer that the strict reader has taken as a success of everything in it."""
        if status != 200 or len(body) > LONGEST or b"<!" in body or body.find(b"<?", 1) >= 0:
            return
        pieces = _TEXT.split(body)
        shape = tuple(pieces[::2])
        if shape in self._places:
            return
        if len(self._places) >= KEPT:
            self._misses += 1
            if self._misses < _MISSES:
                return
            self._places.clear()
            self._misses = 0
        self._places[shape] = self._place(pieces)

    def _place(self, pieces: list[bytes]) -> list[tuple[int, int, int]] | None:
        marked = b"".join(
            b">%d</" % (_MARK + place) if place % 2 else piece for place, piece in enumerate(pieces)
        )  # the pieces at odd places are the texts; what split took with them is given back
        try:
            said = list(self._strictly(marked))
        except ConnectorError:
            return None
        places = []
        for one in said:
            found = (one.account, str(one.amount), one.code)
            if one.error or not all(text.isdigit() and _MARK < int(text) < _MARK + len(pieces) for text in found):
                return None
            account, amount, code = (int(text) - _MARK for text in found)
            places.append((account, amount, code))
        return places or None
