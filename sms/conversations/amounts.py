"""Reading what follows PAY: an account's number, an amount, both, or something that must not be guessed at.

The rule, in one sentence: **a bare whole number is an account's number, an amount has a dollar sign, a decimal part, a
thousands separator or the word dollars.** So ``PAY 2`` is the second account and ``PAY 25.00``, ``PAY $25`` and ``PAY 25
dollars`` are amounts; ``PAY 2 $25`` is both. Anything else, a sign, a date, a question mark, a word that is not
understood ("pay later", "pay half") is unclear, and unclear moves no money.

Source: PBT-16, PBT-17; evidence 3.2.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sms.conversations import words
from sms.conversations.bodies import Body
from sms.conversations.states import Language

_PIECE = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[^\W\d_]+|\S")
_PLAIN = re.compile(r"[0-9]{1,9}")
_FORMS = (
    re.compile(r"[0-9]{1,9}\.[0-9]{1,2}"),  # 25.5, 25.00
    re.compile(r"[0-9]{1,3}(?:,[0-9]{3}){1,2}(?:\.[0-9]{1,2})?"),  # 1,234 and 1,234.50
)
_COMMA_FORMS = (
    re.compile(r"[0-9]{1,9},[0-9]{2}"),  # 25,00
    re.compile(r"[0-9]{1,3}(?:\.[0-9]{3}){1,2},[0-9]{2}"),  # 1.234,50
)
_DIGITS = frozenset("0123456789")
_HARMLESS = frozenset('.!,;:#*"¡')


@dataclass(frozen=True, slots=True)
class Order:
    """What a text asks to pay: ``index`` counts accounts from one, ``amount`` is ``None`` for all that is due.

    ``clear`` is false where the text begins as an order and cannot be read surely: nothing may be paid on it.
    """

    word: str
    language: Language
    index: int | None = None
    amount: Decimal | None = None
    clear: bool = True


def read_order(body: Body, *, ok_pays: bool) -> Order | None:
    """Read an order to pay; ``None`` where the text does not begin as one.

    ``ok_pays`` says whether OK is an order too: an answer to a bill text is, thanks for a receipt are not. After OK only
    numbers may follow, no words: "ok thanks" orders nothing.
    """
    pieces = _split(body.marked)
    for start, piece in enumerate(pieces):
        if piece in words.PAY:
            return _order(piece, words.PAY[piece], pieces[start + 1 :], words.PAY_AFTER)
        if piece not in words.PAY_BEFORE and piece not in _HARMLESS:
            break
    if ok_pays:
        spoken = [piece for piece in pieces if piece not in _HARMLESS]
        if spoken and spoken[0] in words.OK:
            return _order(spoken[0], Language.ENGLISH, spoken[1:], words.OK)
    return None


def read_number(pieces: Sequence[str]) -> int | None:
    """Read an account's number that stands alone; ``None`` where anything else is there."""
    return int(pieces[0]) if len(pieces) == 1 and _PLAIN.fullmatch(pieces[0]) else None


def read_amount(written: str) -> Decimal | None:
    """Read an amount with a separator, American or with a decimal comma; ``None`` where it is neither surely."""
    if any(form.fullmatch(written) for form in _FORMS):
        return Decimal(written.replace(",", "")).quantize(Decimal("0.01"))
    if any(form.fullmatch(written) for form in _COMMA_FORMS):
        return Decimal(written.replace(".", "").replace(",", "."))
    return None


def _split(marked: str) -> list[str]:
    """Split into numbers, words and signs; hearts and thumbs after an order say nothing about it."""
    return [piece for piece in _PIECE.findall(marked) if not _is_decoration(piece)]


def _is_decoration(piece: str) -> bool:
    return (
        len(piece) == 1 and piece not in words.OPT_OUT_SIGNS and unicodedata.category(piece) in {"So", "Mn", "Cf", "Sk"}
    )


def _order(word: str, language: Language, pieces: list[str], fillers: Collection[str]) -> Order:
    unclear = Order(word, language, clear=False)
    indexes: list[int] = []
    amounts: list[Decimal] = []
    position = 0
    while position < len(pieces):
        piece = pieces[position]
        following = pieces[position + 1] if position + 1 < len(pieces) else ""
        if piece in fillers or piece in _HARMLESS:
            position += 1
        elif piece == "$":
            amount = _of_dollars(following)
            if amount is None:
                return unclear
            amounts.append(amount)
            position += 2
        elif piece[0] in _DIGITS:
            after = pieces[position + 2] if position + 2 < len(pieces) else ""
            # "2 $25" is an account and an amount, "25$" an amount.
            dollars = (following == "$" and after[:1] not in _DIGITS) or following in words.DOLLARS
            amount = _of_dollars(piece) if dollars else read_amount(piece)
            if amount is not None:
                amounts.append(amount)
            elif _PLAIN.fullmatch(piece) and not dollars:
                indexes.append(int(piece))
            else:
                return unclear
            position += 2 if dollars else 1
        elif piece in words.DOLLARS and amounts:
            position += 1  # "$25 dollars"
        else:
            return unclear
    if len(indexes) > 1 or len(amounts) > 1 or Decimal(0) in amounts:
        return unclear
    return Order(word, language, indexes[0] if indexes else None, amounts[0] if amounts else None)


def _of_dollars(written: str) -> Decimal | None:
    if _PLAIN.fullmatch(written):
        return Decimal(written).quantize(Decimal("0.01"))
    return read_amount(written)
