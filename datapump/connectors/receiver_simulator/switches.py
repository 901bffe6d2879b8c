"""How the simulated receiver is told to misbehave, while it runs: a seed and a list of rules, the first that fires decides."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from typing import Any

ACTIONS = {
    "status": "answer status (500) with text and header Retry-After, when (before) booking",
    "redirect": "answer status (302) to another address; nothing is booked",
    "slow": "wait seconds (1), when (after) booking",
    "drop_before": "close the connection without an answer; nothing is booked",
    "drop_after": "book, then close the connection without an answer",
    "wrong_secret": "answer as if no signature fitted; nothing is booked",
}
_WHEN = {"slow": "after", "drop_after": "after"}
_STATUS = {"status": 500, "redirect": 302}


class BadSwitch(ValueError):
    """A switch that makes no sense; the text says why."""


@dataclass(slots=True)
class Rule:
    """When and how to misbehave.

    It fires for events of the ``type`` (any where empty) about the ``account`` (any where empty), the ``next`` so many
    times (any number where None), each time with ``probability``.
    """

    action: str
    type: str = ""
    account: str = ""
    probability: float = 1.0
    next: int | None = None
    when: str = ""
    status: int = 0
    seconds: float = 1.0
    text: str = "simulated failure"
    retry_after: str = ""
    fired: int = 0

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise BadSwitch(f"unknown action {self.action!r}; there are: {', '.join(ACTIONS)}")
        if not 0 <= self.probability <= 1:
            raise BadSwitch("probability is from 0 to 1")
        if self.next is not None and self.next < 0:
            raise BadSwitch("next is a count")
        self.when = self.when or _WHEN.get(self.action, "before")
        if self.when not in ("before", "after"):
            raise BadSwitch("when is before or after (booking)")
        self.status = self.status or _STATUS.get(self.action, 500)
        if not 200 <= self.status <= 599:
            raise BadSwitch("status is an HTTP status")
        if not 0 <= self.seconds <= 600:
            raise BadSwitch("seconds are from 0 to 600")


class Switches:
    """The rules in force, and the chance that decides."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Behave."""
        self.seed = 0
        self.rules: list[Rule] = []
        self.chance = random.Random(0)  # noqa: S311  # repeatable on purpose

    def set(self, wanted: Any) -> None:
        """Replace all rules by ``{"seed": 1, "rules": [{"action": "status", "probability": 0.1}, …]}``.

        :raises BadSwitch: nothing was changed.
        """
        if not isinstance(wanted, dict) or not set(wanted) <= {"seed", "rules"}:
            raise BadSwitch("switches are an object of seed and rules")
        seed, rules = wanted.get("seed", 0), wanted.get("rules", [])
        if not isinstance(seed, int) or not isinstance(rules, list):
            raise BadSwitch("seed is a whole number, rules are a list")
        known = {field.name for field in fields(Rule)} - {"fired"}
        made = []
        for rule in rules:
            if not isinstance(rule, dict) or "action" not in rule or not set(rule) <= known:
                raise BadSwitch(f"a rule is an object of action and some of: {', '.join(sorted(known - {'action'}))}")
            try:
                made.append(Rule(**rule))
            except TypeError as error:
                raise BadSwitch(f"a rule has a value of the wrong type: {error}") from None
        self.seed, self.rules = seed, made
        self.chance = random.Random(seed)  # noqa: S311  # repeatable on purpose

    def as_json(self) -> dict[str, Any]:
        """Return the rules in force, what is left of each ``next`` and how often each fired."""
        return {"seed": self.seed, "rules": [asdict(rule) for rule in self.rules], "actions": ACTIONS}

    def decide(self, type_: str, account: str) -> Rule | None:
        """Return the rule that this event falls to, if any."""
        for rule in self.rules:
            if rule.type not in ("", type_) or rule.account not in ("", account) or rule.next == 0:
                continue
            if rule.probability < 1 and self.chance.random() >= rule.probability:
                continue
            if rule.next is not None:
                rule.next -= 1
            rule.fired += 1
            return rule
        return None
