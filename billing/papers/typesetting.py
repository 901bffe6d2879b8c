"""Plain values in, a tagged PDF (PDF/UA-1) out: the same bytes for the same values, within seconds or not at all.

Values travel to the template as JSON and are set as text, so that no name, number or address can be markup. Nothing is
read from the machine: no system font, no file, no package, no clock.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

LONGEST = 10.0  # seconds; a sheet takes some hundredths
_TEMPLATE = Path(__file__).with_name("paper.typ")
_MOST_ROWS = 200
# What the typeface has, whole blocks of it, without what only steers: the rest of the world's writing is shown as �.
_UNWRITABLE = re.compile(
    r"[^\u0020-\u007e\u00a1-\u024f\u0386-\u03ce\u0400-\u045f\u1e00-\u1eff\u2010-\u2027\u2030-\u203a\u20ac\u2116\u2122\ufffd]"
)
_setters = ThreadPoolExecutor(2, thread_name_prefix="typesetting")


class NotSet(Exception):
    """A paper could not be set; nothing of the reason is for payers."""


@dataclass(frozen=True, slots=True)
class Pdf:
    """A PDF and what its file is called."""

    name: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose paper it is: ``lines`` say how to reach them."""

    name: str
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Headline:
    """The one amount that is read first."""

    label: str
    amount: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; a ``total`` stands out."""

    label: str
    value: str
    total: bool = False


@dataclass(frozen=True, slots=True)
class Paper:
    """What stands on a sheet, in the reader's language: ``language`` is its code, ``accent`` a colour like ``#0b5394``."""

    title: str
    language: str
    accent: str
    biller: Sender
    addressee: Sequence[str]
    headline: Headline
    columns: tuple[str, str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    footer: str = ""
    logo: bytes = field(default=b"", repr=False)


def set_paper(paper: Paper) -> bytes:
    """Set a paper and give its PDF.

    A character that the typeface lacks is shown as �, a picture that cannot be read is left out.

    :raises NotSet: it cannot be set, or not within ten seconds.
    """
    values = asdict(paper)
    values["rows"] = values["rows"][:_MOST_ROWS]
    logo = values.pop("logo")
    problem: Exception | None = None
    for attempt, pictured in ((values, logo), (writable(values), logo), (writable(values), b"")):
        try:
            return _setters.submit(_compile, attempt, pictured).result(LONGEST)
        except TimeoutError as late:
            problem = late
            break
        except RuntimeError as fault:
            problem = fault
    logger.warning("a paper could not be set: %s", type(problem).__name__)
    raise NotSet("The PDF could not be made.") from problem


def writable(value: Any) -> Any:
    """Give texts, also those inside lists and mappings, with � for what the typeface lacks."""
    if isinstance(value, str):
        return _UNWRITABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {name: writable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [writable(part) for part in value]
    return value


def _compile(values: Mapping[str, Any], logo: bytes) -> bytes:
    import typst  # 80 MB that only a process which makes a PDF has to load

    body: bytes = typst.compile(
        _TEMPLATE.read_bytes(),
        format="pdf",
        ignore_system_fonts=True,
        # The one way in for a picture that is in no file: its bytes as numbers.
        sys_inputs={"paper": json.dumps({**values, "logo": list(logo)})},
        pdf_standards=["ua-1"],
    )
    return body
