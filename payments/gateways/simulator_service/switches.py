"""What the simulated processor can be made to do wrong, changeable while it runs.

Every fault is off until it is given a probability, or a number of next messages that it must strike. One seed makes the
draws repeatable. At most one fault strikes a message.

Source: PAY-23.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from payments.gateways.simulator_service.codes import AVS_CODES, MESSAGES

# What a message is: the operations that a fault may be limited to.
OPERATIONS = ("online", "batch", "lookup", "describe", "response_file", "reversals", "ping")
CHARGING = ("online", "batch")

# name -> what happens. "Before" and "after" mean before and after the money moved.
FAULTS: dict[str, str] = {
    "drop_before": "drops the line, nothing was done",
    "drop_after": "does it, then drops the line",
    "error_before": "answers 500, nothing was done",
    "error_after": "does it, then answers 500",
    "garbage": "does it, then answers what nobody can read",
    "truncated": "does it, then stops in the middle of the answer",
    "late": "keeps the caller waiting, does it after so many seconds, then answers",
    "drop_then_late": "drops the line at once, does it all the same after so many seconds",
    "slow": "does it at once, answers after so many seconds",
    "drip": "does it at once, then answers byte by byte over so many seconds",
    "twice": "answers twice",
    "out_of_order": "answers a batch in another order; answers an online message with the answer to another one",
    "omit": "does it, leaves half of the answers out",
    "half_batch": "does the first half of a batch, then drops the line",
    "lose_batch_before": "accepts a batch without answers, and never does it",
    "lose_batch_after": "accepts a batch without answers, and does it",
}
BATCH_ONLY = frozenset({"half_batch", "lose_batch_before", "lose_batch_after"})
SECONDS_MOST = 3600.0


class BadSwitch(ValueError):
    """A switch that does not exist, or a value that it cannot take; the text says which."""


@dataclass(slots=True)
class Fault:
    """One fault's setting; ``remaining`` counts the next messages that it must strike."""

    probability: float = 0.0
    remaining: int = 0
    seconds: float = 1.0
    operations: tuple[str, ...] = CHARGING


@dataclass(slots=True)
class Switches:
    """Every switch of the simulated processor, as it stands when it starts."""

    duplicate_detection: bool = True
    duplicate_window_seconds: float = 7 * 24 * 3600.0
    authorization_seconds: float = 7 * 24 * 3600.0  # a deposit after it is taken, and marked as expired
    settlement_seconds: float = 12 * 3600.0  # a whole charge that is refunded before is voided
    clock_ahead_seconds: float = 0.0  # of its clock, so that days can pass in a moment; may be below zero
    minimum: Decimal = Decimal("0.01")
    v_code: str | None = None  # answers every message about money with this code, known or not
    avs: str | None = None  # fails the address check of cards that would pass: address, location or zip
    cvv_fails: bool = False  # fails the security code of cards that would pass
    avs_answer: str | None = None  # the letter that is said of every address, beside an approval
    cvv_answer: str | None = None  # the same of every security code
    response_file_on_list: bool = False  # makes a new response file whenever the files are listed
    parents: tuple[str, ...] = ()  # origins that may frame the hosted fields, and take a return
    seed: int = 0
    faults: dict[str, Fault] = field(default_factory=dict)
    struck: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311  (faults, not secrets)

    def draw(self, operation: str) -> tuple[str, Fault] | None:
        """Say which fault, if any, strikes the next message of an operation."""
        for name, fault in self.faults.items():
            if operation not in fault.operations or (name in BATCH_ONLY and operation != "batch"):
                continue
            if fault.remaining > 0:
                fault.remaining -= 1
            elif not (fault.probability > 0 and self._random.random() < fault.probability):
                continue
            self.struck[name] += 1
            return name, fault
        return None

    def shuffle(self, answers: list[Any]) -> None:
        """Put answers in another order, by the same seed."""
        self._random.shuffle(answers)

    def change(self, changes: Mapping[str, Any]) -> None:
        """Set what is named and leave the rest; all of it or nothing.

        ``{"heal": true}`` first switches every fault and override off. A fault is
        ``{"probability": 0.1, "next": 3, "seconds": 2.0, "on": ["online", "batch"]}``; ``null`` switches it off.

        :raises BadSwitch: something is not known or cannot be.
        """
        accepted: dict[str, Any] = {}
        for name, value in changes.items():
            match name:
                case "heal":
                    _expect(value is True, "heal takes only true")
                case "duplicate_detection" | "cvv_fails" | "response_file_on_list":
                    _expect(isinstance(value, bool), f"{name} is true or false")
                    accepted[name] = value
                case "duplicate_window_seconds" | "authorization_seconds" | "settlement_seconds":
                    accepted[name] = _number(name, value, most=366 * 24 * 3600.0)
                case "clock_ahead_seconds":
                    _expect(isinstance(value, int | float) and not isinstance(value, bool), f"{name} is a number")
                    accepted[name] = _number(name, abs(value), most=366 * 24 * 3600.0) * (1 if value >= 0 else -1)
                case "minimum":
                    accepted[name] = _amount(value)
                case "v_code":
                    _expect(value is None or (isinstance(value, str) and 0 < len(value) <= 8), "v_code is text or null")
                    accepted[name] = value
                case "avs":
                    _expect(value is None or value in AVS_CODES, f"avs is null or one of {', '.join(AVS_CODES)}")
                    accepted[name] = value
                case "avs_answer" | "cvv_answer":
                    _expect(
                        value is None or (isinstance(value, str) and 0 < len(value) <= 2), f"{name} is a letter or null"
                    )
                    accepted[name] = value
                case "parents":
                    accepted[name] = read_origins(value)
                case "seed":
                    _expect(isinstance(value, int) and not isinstance(value, bool), "seed is a whole number")
                    accepted[name] = value
                case "faults":
                    _expect(isinstance(value, dict), "faults is an object")
                    accepted[name] = {fault: _fault(fault, setting) for fault, setting in value.items()}
                case _:
                    raise BadSwitch(f"there is no switch {name}")
        if "heal" in changes:
            self.faults.clear()
            self.v_code, self.avs, self.cvv_fails = None, None, False
            self.avs_answer, self.cvv_answer = None, None
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
            "duplicate_detection": self.duplicate_detection,
            "duplicate_window_seconds": self.duplicate_window_seconds,
            "authorization_seconds": self.authorization_seconds,
            "settlement_seconds": self.settlement_seconds,
            "clock_ahead_seconds": self.clock_ahead_seconds,
            "minimum": str(self.minimum),
            "v_code": self.v_code,
            "avs": self.avs,
            "cvv_fails": self.cvv_fails,
            "avs_answer": self.avs_answer,
            "cvv_answer": self.cvv_answer,
            "response_file_on_list": self.response_file_on_list,
            "parents": list(self.parents),
            "seed": self.seed,
            "faults": {
                name: {
                    "probability": fault.probability,
                    "next": fault.remaining,
                    "seconds": fault.seconds,
                    "on": list(fault.operations),
                }
                for name, fault in self.faults.items()
            },
            "struck": dict(self.struck),
            "messages": MESSAGES,
            "known_faults": FAULTS,
        }


def read_origins(value: object) -> tuple[str, ...]:
    """Read a list of web origins such as ``https://pay.example``.

    :raises BadSwitch: one of them is not an origin.
    """
    _expect(isinstance(value, list | tuple), "parents is a list of origins")
    assert isinstance(value, list | tuple)
    return tuple(_origin(item) for item in value)


def _origin(value: object) -> str:
    _expect(isinstance(value, str), "an origin is text")
    assert isinstance(value, str)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise BadSwitch("an origin is scheme://host[:port]") from None
    rebuilt = f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port else "")
    _expect(parts.scheme in {"http", "https"} and rebuilt == value, "an origin is scheme://host[:port]")
    # It is written into a response header.
    _expect(
        value.isascii() and value.isprintable() and not set(value) & set(" ;,'\""), "an origin has plain characters"
    )
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
    _expect(
        isinstance(remaining, int) and not isinstance(remaining, bool) and remaining >= 0, f"{name}.next is a count"
    )
    operations = setting.get("on", list(CHARGING))
    _expect(
        isinstance(operations, list) and all(operation in OPERATIONS for operation in operations),
        f"{name}.on lists some of {', '.join(OPERATIONS)}",
    )
    return Fault(
        probability=_number(f"{name}.probability", setting.get("probability", 0.0), most=1.0),
        remaining=remaining,
        seconds=_number(f"{name}.seconds", setting.get("seconds", 1.0), most=SECONDS_MOST),
        operations=tuple(operations),
    )


def _number(name: str, value: object, *, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise BadSwitch(f"{name} is a number from 0 to {most:g}")
    return float(value)


def _amount(value: object) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    _expect(amount.is_finite() and amount >= 0, "minimum is an amount in text")
    return amount


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadSwitch(otherwise)
