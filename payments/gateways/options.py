"""What may be set of a driver, as a form draws it: each option with its kind, bounds and default (PAY-22).

A driver names its own in ``options``; what a route does not set is the driver's default.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class OptionKind(enum.StrEnum):
    """What an option is."""

    TEXT = "text"
    WHOLE = "whole"  # a whole number
    NUMBER = "number"
    SWITCH = "switch"
    CODES = "codes"  # the processor's codes and what they become


@dataclass(frozen=True, slots=True)
class OptionField:
    """One option of a driver; ``name`` is its key among the route's options, and the driver's keyword.

    ``usual`` is what holds where nothing is given, in words; ``least`` and ``most`` are allowed themselves.
    ``zero_is_none`` says that 0 stands for none at all, which the driver takes as ``None``.
    """

    name: str
    label: str
    kind: OptionKind = OptionKind.NUMBER
    usual: str = ""
    help: str = ""
    least: float | None = None
    most: float | None = None
    required: bool = False
    zero_is_none: bool = False


def connection(*, timeout: float, batches: bool) -> tuple[OptionField, ...]:
    """Give the options of a connection that every driver over HTTP has; ``timeout`` is the usual one, in seconds."""
    batch = OptionField(
        "batch_timeout",
        "Batch time-out (seconds)",
        usual="600",
        help="How long the answer to a whole batch may take.",
        least=1,
        most=3600,
    )
    return (
        OptionField(
            "concurrency",
            "Requests at once",
            OptionKind.WHOLE,
            "8",
            "As many as the processor bears.",
            least=1,
            most=64,
        ),
        OptionField(
            "connect_retries",
            "Further tries to connect",
            OptionKind.WHOLE,
            "2",
            "Nothing was sent yet, so that trying again is harmless.",
            least=0,
            most=10,
        ),
        OptionField("connect_timeout", "Time to connect (seconds)", usual="10", least=1, most=60),
        OptionField(
            "timeout",
            "Online time-out (seconds)",
            usual=f"{timeout:g}",
            help="How long the answer to one request may take. What takes longer has no result, and is looked up.",
            least=1,
            most=600,
        ),
        *([batch] if batches else []),
        OptionField(
            "heartbeat_limit",
            "Heartbeat limit (seconds)",
            usual="120",
            help="A heartbeat that takes longer is no answer; so long without one, and the command centre says so.",
            least=1,
            most=120,
        ),
        OptionField(
            "settle_seconds",
            "Settle time (seconds)",
            usual="the longest time-out and 60",
            help="From when on “the processor does not know it” says something; not less than a time-out.",
            least=1,
            most=86_400,
        ),
    )


CODES = OptionField(
    "codes",
    "Answer codes of this route",
    OptionKind.CODES,
    help="One a line, such as 302 = 7. The table of answer codes goes before them.",
)
CA_FILE = OptionField(
    "ca_file", "Certificates", OptionKind.TEXT, "those of the machine", "A file of authorities on the server."
)


def unknown(options: Mapping[str, Any], fields: Sequence[OptionField]) -> list[str]:
    """Give the keys that no option of a driver has."""
    return sorted(set(options) - {field.name for field in fields} - {"merchant"})
