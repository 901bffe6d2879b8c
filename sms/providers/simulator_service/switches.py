"""What the simulated telephone network can be made to do wrong, changeable while it runs.

Every fault is off until it is given a probability, or a number of next occasions that it must strike. One seed makes the
draws repeatable. At most one fault strikes on one occasion.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

# The occasions: a provider's customer sends; a text goes to a phone; a webhook tells of a text typed, or of a status.
OCCASIONS = ("send", "text", "inbound", "report")
CARRYING = ("text", "inbound", "report")

# name -> what happens, and on which occasions it can.
FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "drop_before": ("drops the line, no text was taken", ("send",)),
    "drop_after": ("takes the texts, then drops the line", ("send",)),
    "error_before": ("answers 500, no text was taken", ("send",)),
    "error_after": ("takes the texts, then answers 500", ("send",)),
    "garbage": ("takes the texts, then answers what nobody can read", ("send",)),
    "slow": ("takes the texts, answers after so many seconds", ("send",)),
    "late": ("takes the texts after so many seconds, then answers", ("send",)),
    "rate_limit": ("takes nothing, answers 429 and when to come again", ("send",)),
    "lose": ("loses it, and says nothing", CARRYING),
    "delay": ("brings it so many seconds later, others may overtake it", CARRYING),
    "repeat": ("brings it twice", CARRYING),
    "reorder": ("brings it after the next one, or after so many seconds", CARRYING),
}

# What may be wrong with a phone, which is also the code that is given for it: refused at once, or found out later.
REFUSED_AT_ONCE = ("invalid_number", "landline", "unsubscribed")
FOUND_OUT_LATER = (
    "unreachable", "blocked", "no_such_phone", "carrier_down", "filtered", "unexplained", "unregistered",
)  # fmt: skip
CONDITIONS = ("", *REFUSED_AT_ONCE, *FOUND_OUT_LATER)
REPORTABLE = ("sending", "sent", "delivered", "undelivered", "failed")
SECONDS_MOST = 3600.0


class BadSwitch(ValueError):
    """A switch that does not exist, or a value that it cannot take; the text says which."""


@dataclass(slots=True)
class Fault:
    """One fault's setting; ``remaining`` counts the next occasions that it must strike."""

    probability: float = 0.0
    remaining: int = 0
    seconds: float = 1.0
    occasions: tuple[str, ...] = ()


@dataclass(slots=True)
class Switches:
    """Every switch of the simulated network, as it stands when it starts."""

    recognises_repeats: bool = True  # the same key again sends no second text
    managed_opt_out: bool = False  # acts on STOP, START and HELP by itself, and answers them
    reports: tuple[str, ...] = ("sent", "delivered", "undelivered", "failed")
    latency_seconds: float = 0.0  # from taking a text to bringing it
    attempts: int = 10  # of a webhook that is not taken
    retry_seconds: float = 0.5  # before the second attempt; doubled each time, up to half a minute
    callback: str = ""  # where texts to a line go that has no callback of its own
    seed: int = 0
    faults: dict[str, Fault] = field(default_factory=dict)
    struck: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311  (faults, not secrets)

    def draw(self, occasion: str) -> tuple[str, Fault] | None:
        """Say which fault, if any, strikes on this occasion."""
        for name, fault in self.faults.items():
            if occasion not in fault.occasions:
                continue
            if fault.remaining > 0:
                fault.remaining -= 1
            elif not (fault.probability > 0 and self._random.random() < fault.probability):
                continue
            self.struck[name] += 1
            return name, fault
        return None

    def change(self, changes: Mapping[str, Any]) -> None:
        """Set what is named and leave the rest; all of it or nothing.

        ``{"heal": true}`` first switches every fault off. A fault is ``{"probability": 0.1, "next": 3, "seconds": 2.0,
        "on": ["text", "report"]}``; ``null`` switches it off.

        :raises BadSwitch: something is not known or cannot be.
        """
        accepted: dict[str, Any] = {}
        for name, value in changes.items():
            match name:
                case "heal":
                    _expect(value is True, "heal takes only true")
                case "recognises_repeats" | "managed_opt_out":
                    _expect(isinstance(value, bool), f"{name} is true or false")
                    accepted[name] = value
                case "latency_seconds" | "retry_seconds":
                    accepted[name] = _number(name, value, most=SECONDS_MOST)
                case "attempts":
                    _expect(_whole(value) and 1 <= value <= 1000, "attempts is a count from 1 to 1000")
                    accepted[name] = value
                case "seed":
                    _expect(_whole(value), "seed is a whole number")
                    accepted[name] = value
                case "reports":
                    _expect(
                        isinstance(value, list) and all(one in REPORTABLE for one in value),
                        f"reports lists some of {', '.join(REPORTABLE)}",
                    )
                    accepted[name] = tuple(value)
                case "callback":
                    accepted[name] = read_address(value)
                case "faults":
                    _expect(isinstance(value, dict), "faults is an object")
                    accepted[name] = {fault: _fault(fault, setting) for fault, setting in value.items()}
                case _:
                    raise BadSwitch(f"there is no switch {name}")
        if "heal" in changes:
            self.faults.clear()
        for fault, setting in accepted.pop("faults", {}).items():
            if setting is None:
                self.faults.pop(fault, None)
            else:
                self.faults[fault] = setting
        for name, value in accepted.items():
            setattr(self, name, value)
        if "seed" in accepted:
            self._random.seed(self.seed)

    def describe(self) -> dict[str, Any]:
        """Give every switch as ``change`` takes it, with the counts of what struck."""
        return {
            "recognises_repeats": self.recognises_repeats,
            "managed_opt_out": self.managed_opt_out,
            "reports": list(self.reports),
            "latency_seconds": self.latency_seconds,
            "attempts": self.attempts,
            "retry_seconds": self.retry_seconds,
            "callback": self.callback,
            "seed": self.seed,
            "faults": {
                name: {
                    "probability": fault.probability,
                    "next": fault.remaining,
                    "seconds": fault.seconds,
                    "on": list(fault.occasions),
                }
                for name, fault in self.faults.items()
            },
            "struck": dict(self.struck),
            "known_faults": {name: {"does": does, "on": list(on)} for name, (does, on) in FAULTS.items()},
            "known_conditions": list(CONDITIONS),
        }


def read_address(value: object) -> str:
    """Read the address of a webhook; empty means none.

    :raises BadSwitch: it is not one.
    """
    _expect(isinstance(value, str), "a callback is an address in text")
    assert isinstance(value, str)
    try:
        parts = urlsplit(value)
        plain = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:
        plain = False
    _expect(not value or (plain and value.isascii() and value.isprintable()), "a callback is http(s)://host[:port]/…")
    return value


def _fault(name: str, setting: object) -> Fault | None:
    _expect(name in FAULTS, f"there is no fault {name}")
    if setting is None:
        return None
    _expect(isinstance(setting, dict), f"{name} is an object or null")
    assert isinstance(setting, dict)
    unknown = set(setting) - {"probability", "next", "seconds", "on"}
    _expect(not unknown, f"{name} does not take {', '.join(sorted(map(str, unknown)))}")
    remaining = setting.get("next", 0)
    _expect(_whole(remaining) and remaining >= 0, f"{name}.next is a count")
    possible = FAULTS[name][1]
    occasions = setting.get("on", list(possible))
    _expect(
        isinstance(occasions, list) and all(one in possible for one in occasions),
        f"{name}.on lists some of {', '.join(possible)}",
    )
    return Fault(
        probability=_number(f"{name}.probability", setting.get("probability", 0.0), most=1.0),
        remaining=remaining,
        seconds=_number(f"{name}.seconds", setting.get("seconds", 1.0), most=SECONDS_MOST),
        occasions=tuple(occasions),
    )


def _number(name: str, value: object, *, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise BadSwitch(f"{name} is a number from 0 to {most:g}")
    return float(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadSwitch(otherwise)
