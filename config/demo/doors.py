"""The control doors of the simulated processor, CIS, receiver and telephone network: their books, and their switches.

These doors are the simulators' own, for whoever demonstrates or tests; no part of the product knows them.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self
from urllib.parse import quote

from django.conf import settings

ACCOUNTS_AT_ONCE = 1_000
TOKENS_AT_ONCE = 5_000
# Whom the supervisor tells the simulated CIS to let in.
CIS_USERNAME = "ratepayer"
_TIMEOUT = 20.0  # seconds


class SimulatorError(Exception):
    """A simulator does not answer, or refuses what it was asked; the text says which."""


@dataclass(frozen=True, slots=True)
class Door:
    """One simulator's control door: its base address and the secret that opens it."""

    name: str
    url: str
    secret: str

    def ask(self, path: str, body: Any = None) -> dict[str, Any]:
        """Ask, by POST where there is a body; gives the answer.

        :raises SimulatorError: there is none, or the simulator refuses.
        """
        request = urllib.request.Request(  # noqa: S310  (an address of our own settings)
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310  (as above)
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            raise SimulatorError(f"{self.name} refuses: {_words(error.read()) or error.reason}.") from None
        except (OSError, ValueError) as error:
            raise SimulatorError(f"{self.name} does not answer at {self.url}.") from error


def _words(body: bytes) -> str:
    """Give what a refusal says; one simulator wraps it, the other does not."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()[:200]
    return str(error["message"] if isinstance(error, dict) else error)


@dataclass(frozen=True, slots=True)
class Processor:
    """The simulated processor: its control door, and the secret of its merchants."""

    door: Door
    merchant_secret: str

    @property
    def url(self) -> str:
        """The address that merchants and browsers call."""
        return self.door.url

    def book(self, merchant: str | None = None) -> dict[str, Any]:
        """Give what was truly charged: ``rows`` by key, ``totals``, ``charged_twice``, ``held``."""
        return self.door.ask("/book" + (f"?merchant={merchant}" if merchant else ""))

    def switches(self) -> dict[str, Any]:
        """Give every switch as it stands."""
        return self.door.ask("/control")

    def change(self, **changes: Any) -> dict[str, Any]:
        """Change the switches that are named; gives all of them."""
        return self.door.ask("/control", changes)

    def make_tokens(self, merchant: str, wanted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Make tokens that behave as asked, without any number; gives what each stands for, in the order asked."""
        made: list[dict[str, Any]] = []
        for begin in range(0, len(wanted), TOKENS_AT_ONCE):
            part = list(wanted[begin : begin + TOKENS_AT_ONCE])
            made += self.door.ask("/v1/tokens/test", {"merchant": merchant, "tokens": part})["tokens"]
        return made

    def change_tokens(self, outcomes: Mapping[str, str]) -> list[str]:
        """Make tokens behave otherwise from now on; gives those that it knows."""
        return list(self.door.ask("/control/tokens", dict(outcomes))["changed"])


@dataclass(frozen=True, slots=True)
class Cis:
    """The simulated CIS: its control door, where it speaks SOAP, and who may."""

    door: Door
    username: str
    password: str

    @property
    def url(self) -> str:
        """The address that updates go to."""
        return f"{self.door.url}/services/CB"

    @property
    def prints_url(self) -> str:
        """The address that gives bills as PDF."""
        return f"{self.door.url}/eprint/"

    def book(self) -> dict[str, Any]:
        """Give what it has heard: ``payments``, ``repeats``, ``comments``, ``paperless``, ``prints``, ``prepaid``, ``totals``."""
        return self.door.ask("/book")

    def switches(self) -> dict[str, Any]:
        """Give the rules in force with how often each fired, and the actions there are."""
        return self.door.ask("/control")

    def owes(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Say what it answers when it is asked what accounts owe, by ``account``."""
        for begin in range(0, len(answers), ACCOUNTS_AT_ONCE):
            self.door.ask("/control/items", list(answers[begin : begin + ACCOUNTS_AT_ONCE]))

    def set_prepaid(self, account: str, *, left: Decimal, a_day: Decimal) -> None:
        """Say what is left on a prepaid account from now on, and what it uses up a day; payments add to it."""
        self.door.ask("/control/prepaid", {"account": account, "left": str(left), "a_day": str(a_day)})

    def change(self, rules: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
        """Put these rules in place of all others; none lets it behave."""
        return self.door.ask("/control", {"seed": seed, "rules": [dict(rule) for rule in rules]})


@dataclass(frozen=True, slots=True)
class Receiver:
    """The simulated receiver of webhooks: its control door."""

    door: Door

    def address(self, endpoint: str) -> str:
        """Give the address that events of an endpoint go to."""
        return f"{self.door.url}/events/{endpoint}"

    def set_secrets(self, endpoint: str, secrets: Sequence[str]) -> None:
        """Say with which secrets events of an endpoint may be signed."""
        self.door.ask("/control/secrets", {"endpoint": endpoint, "secrets": list(secrets)})

    def book(self) -> dict[str, Any]:
        """Give what it has heard: ``events``, ``repeats``, ``totals``."""
        return self.door.ask("/book")

    def switches(self) -> dict[str, Any]:
        """Give the rules in force with how often each fired, and the actions there are."""
        return self.door.ask("/control")

    def change(self, rules: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
        """Put these rules in place of all others; none lets it behave."""
        return self.door.ask("/control", {"seed": seed, "rules": [dict(rule) for rule in rules]})


@dataclass(frozen=True, slots=True)
class Telephone:
    """The simulated telephone network: its control door, and the secret of those who send texts over it."""

    door: Door
    secret: str

    @property
    def url(self) -> str:
        """The address that texts are sent to."""
        return self.door.url

    def phones(self) -> list[dict[str, Any]]:
        """Give every phone: ``number``, ``name``, ``condition``, ``texts``, ``last``."""
        return list(self.door.ask("/phones")["phones"])

    def add_phone(self, number: str, name: str) -> None:
        """Add a phone, or give one that is there a name."""
        self.door.ask("/phones", {"number": number, "name": name})

    def set_condition(self, number: str, condition: str) -> None:
        """Say what is wrong with a phone; empty for nothing."""
        self.door.ask("/phones", {"number": number, "condition": condition})

    def conversation(self, number: str) -> list[dict[str, Any]]:
        """Give what a phone shows, in the order in which it came."""
        return list(self.door.ask(f"/phones/{quote(number, safe='')}")["texts"])

    def type(self, number: str, *, line: str, body: str) -> None:
        """Type a text on a phone."""
        self.door.ask(f"/phones/{quote(number, safe='')}/texts", {"to": line, "body": body})

    def lines(self) -> list[dict[str, Any]]:
        """Give every line: ``number``, ``name``, ``callback``."""
        return list(self.door.ask("/lines")["lines"])

    def set_line(self, number: str, *, name: str, callback: str) -> None:
        """Say whose a line is, and which address hears of texts to it."""
        self.door.ask("/lines", {"number": number, "name": name, "callback": callback})

    def totals(self) -> dict[str, Any]:
        """Count what was taken, what became of it, what was typed, and the webhooks."""
        return dict(self.door.ask("/book/totals")["totals"])

    def switches(self) -> dict[str, Any]:
        """Give every switch as it stands."""
        return self.door.ask("/control")

    def change(self, **changes: Any) -> dict[str, Any]:
        """Change the switches that are named; gives all of them."""
        return self.door.ask("/control", changes)

    def redeliver(self) -> int:
        """Have every webhook that was given up told again; gives how many they are."""
        return int(self.door.ask("/control/redeliver", {})["redelivered"])


@dataclass(frozen=True, slots=True)
class Simulators:
    """All four of them."""

    processor: Processor
    cis: Cis
    receiver: Receiver
    telephone: Telephone

    def all(self) -> tuple[Processor, Cis, Receiver, Telephone]:
        """Give them in the order in which they are shown."""
        return (self.processor, self.cis, self.receiver, self.telephone)

    @classmethod
    def of_settings(cls) -> Self:
        """Give those that the settings name."""
        secret = settings.SIMULATOR_SECRET
        return cls(
            Processor(Door("The simulated processor", settings.SIMULATED_PROCESSOR_URL, secret), secret),
            Cis(Door("The simulated CIS", settings.SIMULATED_CIS_URL, secret), CIS_USERNAME, secret),
            Receiver(Door("The simulated receiver", settings.SIMULATED_RECEIVER_URL, secret)),
            Telephone(
                Door(
                    "The simulated telephone network",
                    settings.SIMULATED_TELEPHONE_URL,
                    settings.SIMULATED_TELEPHONE_CONTROL_SECRET,
                ),
                settings.SIMULATED_TELEPHONE_SECRET,
            ),
        )
