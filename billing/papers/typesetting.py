"""Plain values in, a tagged PDF (PDF/UA-1) out: the same bytes for the same values, within bounds of time and memory or not at all.

Values travel to the template as JSON and are set as text, so that no name, number or address can be markup. Nothing is
read from the machine: no system font, no file, no package, no clock. Each paper is set by a process of its own
(``press.py``), which ends with what it holds: a thread that hangs, or takes all memory, could not be ended.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

LONGEST = 10.0  # seconds; a sheet takes some tenths
MEMORY = 512 << 20  # bytes of address space; a sheet takes about a third, nearly all of it typst itself
_PRESS = Path(__file__).with_name("press.py")
# One thread, whatever the machine has: each would claim address space of its own.
_ENVIRONMENT = {"RAYON_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
_MOST_ROWS = 200
# What the typeface has, whole blocks of it, without what only steers: the rest of the world's writing is shown as �.
_UNWRITABLE = re.compile(
    r"[^\u0020-\u007e\u00a1-\u024f\u0386-\u03ce\u0400-\u045f\u1e00-\u1eff\u2010-\u2027\u2030-\u203a\u20ac\u2116\u2122\ufffd]"
)
_at_once = threading.BoundedSemaphore(2)


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

    :raises NotSet: it cannot be set, or not within ten seconds and the memory that it may take.
    """
    ends = time.monotonic() + LONGEST
    values = asdict(paper)
    values["rows"] = values["rows"][:_MOST_ROWS]
    logo = values.pop("logo")
    problem = ""
    for attempt, pictured in ((values, logo), (writable(values), logo), (writable(values), b"")):
        try:
            return _press(attempt, pictured, ends)
        except TimeoutError:
            problem = "it took too long"
            break
        except RuntimeError as fault:
            problem = str(fault)
    logger.warning("a paper could not be set: %s", problem)
    raise NotSet("The PDF could not be made.")


def writable(value: Any) -> Any:
    """Give texts, also those inside lists and mappings, with � for what the typeface lacks."""
    if isinstance(value, str):
        return _UNWRITABLE.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {name: writable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [writable(part) for part in value]
    return value


def _press(values: Mapping[str, Any], logo: bytes, ends: float) -> bytes:
    """Set values with a picture in a process of its own.

    :raises TimeoutError: it was not done by ``ends``, by the monotonic clock.
    :raises RuntimeError: typst refuses the values, or its process was ended by a limit.
    """
    given = json.dumps({**values, "logo": base64.b64encode(logo).decode("ascii")})
    if not _at_once.acquire(timeout=max(0.0, ends - time.monotonic())):
        raise TimeoutError
    try:
        done = subprocess.run(
            # Isolated: it takes nothing from our directory or environment, where secrets may be.
            [sys.executable, "-I", str(_PRESS), str(MEMORY), str(round(LONGEST))],
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            timeout=max(0.1, ends - time.monotonic()),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:
        _at_once.release()
    if done.returncode or not done.stdout.startswith(b"%PDF"):
        raise RuntimeError(f"the press ended with {done.returncode}")
    return done.stdout
