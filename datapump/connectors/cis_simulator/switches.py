"""How the simulated CIS is told to misbehave, while it runs.

A set of switches is a seed and a list of rules; the first rule that fires for a request decides what happens to it.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from typing import Any

ACTIONS = {
    "fault": "answer a SOAP Fault with status (500), code (Server) and text, when (before) processing",
    "error_object": "answer an errorObject whose errorString is text, which may be empty; nothing is processed",
    "failure": "answer responseCode code (Failure) with errorString text; the payments hit are not booked",
    "garbage": "answer nonsense, status (200): kind html, truncated, empty, binary or other, when (after) processing",
    "slow": "wait seconds (1), when (after) processing",
    "drop_before": "close the connection without an answer; nothing is processed",
    "drop_after": "process, then close the connection without an answer",
    "missing": "leave payments out of the answer, booked where when is after (so it is), not booked where it is before",
    "wrong_password": "answer as if UserID or Pwd were wrong; nothing is processed",
    "http_status": "answer an empty page with status (503) and header Retry-After, after seconds (0); nothing is processed",
}
_WHEN = {"fault": "before", "garbage": "after", "slow": "after", "missing": "after"}
_STATUS = {"garbage": 200, "http_status": 503}
_CODE = {"fault": ("Server", "Client"), "failure": ("Failure", "Error")}
_KINDS = ("html", "truncated", "empty", "binary", "other")


class BadSwitch(ValueError):
    """A switch that makes no sense; the text says why."""


@dataclass(slots=True)
class Rule:
    """When and how to misbehave.

    It fires for requests of the ``operation`` (any where empty) that name the ``account`` (any where empty), the
    ``next`` so many times (any number where None), each time with ``probability``. ``only_one`` lets failure and
    missing hit one payment of an envelope instead of all, drawn by the seed; with an account they hit that account's.
    """

    action: str
    operation: str = ""
    account: str = ""
    probability: float = 1.0
    next: int | None = None
    when: str = ""
    status: int = 0
    code: str = ""
    seconds: float | None = None
    text: str = "simulated failure"
    kind: str = "html"
    only_one: bool = False
    retry_after: str = ""
    fired: int = 0

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise BadSwitch(f"unknown action {self.action!r}; there are: {', '.join(ACTIONS)}")
        if not 0 <= self.probability <= 1:
            raise BadSwitch("probability is from 0 to 1")
        if self.next is not None and self.next < 0:
            raise BadSwitch("next is a count")
        if self.action in _WHEN:
            self.when = self.when or _WHEN[self.action]
        else:
            self.when = "after" if self.action == "drop_after" else "before"
        if self.when not in ("before", "after"):
            raise BadSwitch("when is before or after (processing)")
        codes = _CODE.get(self.action, ("",))
        self.code = self.code or codes[0]
        if self.code not in codes:
            raise BadSwitch(f"code is one of: {', '.join(codes)}")
        self.status = self.status or _STATUS.get(self.action, 500)
        if self.seconds is None:
            self.seconds = 1.0 if self.action == "slow" else 0.0
        if not 0 <= self.seconds <= 600:
            raise BadSwitch("seconds are from 0 to 600")
        if self.kind not in _KINDS:
            raise BadSwitch(f"unknown kind {self.kind!r}; there are: {', '.join(_KINDS)}")
        if not 200 <= self.status <= 599:
            raise BadSwitch("status is an HTTP status")


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
        """Replace all rules by ``{"seed": 1, "rules": [{"action": "fault", "probability": 0.1}, …]}``.

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
        return {
            "seed": self.seed,
            "rules": [asdict(rule) for rule in self.rules],
            "actions": ACTIONS,
        }

    def decide(self, operation: str, accounts: Collection[str]) -> Rule | None:
        """Return the rule that this request falls to, if any."""
        for rule in self.rules:
            if rule.operation not in ("", operation) or rule.next == 0:
                continue
            if rule.account and rule.account not in accounts:
                continue
            if rule.action in ("failure", "missing") and operation != "CommitPaymentTransaction":
                continue
            if rule.probability < 1 and self.chance.random() >= rule.probability:
                continue
            if rule.next is not None:
                rule.next -= 1
            rule.fired += 1
            return rule
        return None

    def hit(self, rule: Rule | None, action: str, accounts: list[str]) -> frozenset[str]:
        """Return which accounts of an envelope a failure or missing rule hits; none for other actions."""
        if rule is None or rule.action != action:
            return frozenset()
        if rule.account:
            return frozenset((rule.account,))
        return frozenset((self.chance.choice(accounts),) if rule.only_one and accounts else accounts)
