"""Every route, every verb, everybody, and whose object it is: what each of them gets, and that nothing else leaks.

An address of another biller's object that exists answers exactly like one that names nothing; no byte of the other
biller's rows stands in any answer; and whatever is sent, none of the other biller's rows changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.urls import reverse

from tests.access import headers
from tests.access.matrix import (
    MATRIX,
    NOT_SIGNED_IN,
    RIGHTS,
    VERBS,
    WITHOUT_FACTOR,
    Door,
    Route,
    may_see,
)
from tests.access.walks import Answer, Where, Who, World, address, changed, fingerprint, noting_writes, taken_back

# One of each kind of people. They alone try the verbs that say nothing of who asks: a HEAD is answered as a GET, and what
# no page has is refused before it is looked at who comes.
SOME = frozenset({Who.NOBODY, Who.GUEST, Who.OLIVE, Who.DANA, Who.VIEWER, Who.KEY})
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# What an answer to somebody who may is: the page, a way on, or a refusal that tells them what is wrong.
_WELL = frozenset({200, 201, 202, 204, 301, 302, 400, 402, 409, 415, 422, 429, 503})


@dataclass(frozen=True, slots=True)
class Asked:
    """One variant of an address: whose object stands at each place of it."""

    where: Where
    part: str = ""  # the one part that is not the account's own; empty where all are of one place

    def __str__(self) -> str:
        return f"{self.where} {self.part or 'object'}"


@dataclass(slots=True)
class Walk:
    """The walk of one route, and what was found wrong."""

    world: World
    route: Route
    before: Mapping[Any, str]
    wrong: list[str] = field(default_factory=list)

    def variants(self) -> Iterator[Asked]:
        """Give whose objects are asked for: of one place, and each part of another place by itself."""
        yield Asked(Where.ACCOUNT)
        if not self.route.picks:
            return
        yield Asked(Where.NEIGHBOUR)
        yield Asked(Where.FOREIGN)
        yield Asked(Where.MISSING)
        if len(self.route.picks) > 1:
            for where in (Where.NEIGHBOUR, Where.FOREIGN, Where.MISSING):
                yield from (Asked(where, part) for part in self.route.picks)

    def plan(self, who: Who) -> Iterator[tuple[str, Asked]]:
        """Give what somebody asks for: everything that could be answered differently.

        Who is refused at the door is refused before any object is looked for, and who may see every account of a biller
        sees each alike: there one of each kind is enough. Which parts belong together is asked of objects, and not of roles:
        of a biller's people its administrator, a CSR and who administers every biller mix them.
        """
        route, own = self.route, Asked(Where.ACCOUNT)
        at_the_door = self._refused(who, "GET", own) not in {"", "nowhere"} or (
            route.door in {Door.BILLER, Door.ADMIN} and self._refused(who, "GET", own) == "nowhere"
        )
        for asked in self.variants():
            if at_the_door and (asked.where not in {Where.ACCOUNT, Where.FOREIGN} or asked.part):
                continue
            if route.door is Door.BILLER and asked.where is Where.NEIGHBOUR and not asked.part and who is not Who.SAM:
                continue
            if route.door is Door.BILLER and asked.part and who not in {Who.DANA, Who.SAM, Who.ROBIN}:
                continue
            for verb in VERBS:
                known = verb in route.verbs
                if verb == "HEAD" and asked != own and (asked.where is not Where.FOREIGN or asked.part):
                    continue
                if who not in SOME and (verb == "HEAD" or (verb not in {"GET", "POST"} and not known)):
                    continue
                if not known and asked != own:
                    continue
                if (
                    not known
                    and verb == "POST"
                    and route.door is Door.BILLER
                    and who in {Who.DANA, Who.KIM, Who.VIEWER}
                ):
                    continue
                yield verb, asked

    def path(self, asked: Asked) -> str:
        """Give the address of a variant."""
        own = self.world.places[Where.ACCOUNT]
        there = own if asked.where is Where.MISSING else self.world.places[asked.where]
        nobody = frozenset(self.route.picks) if asked.where is Where.MISSING else frozenset()
        if not asked.part:
            arguments = self.route.arguments(there, nobody)
        else:
            mixed = self.route.arguments(there, frozenset({asked.part}) & nobody)
            arguments = self.route.arguments(own) | {asked.part: mixed[asked.part]}
        return address(self.route.name, arguments, self.route.query(own))

    def allowed(self, who: Who, asked: Asked) -> bool:
        """Say whether somebody may see the variant."""
        if asked.part and asked.where is not Where.ACCOUNT:
            return False  # a part of one account and a part of another belong nowhere
        return may_see(self.route, who, asked.where)

    def ask(self, who: Who, verb: str, asked: Asked) -> Answer:
        """Ask, look at what came back and at what was written, and take it back."""
        own = self.world.places[Where.ACCOUNT]
        place = own if asked.where is Where.MISSING or asked.part else self.world.places[asked.where]
        kind = self.route.kind or ("application/json" if self.route.door is Door.API else "")
        with taken_back(), noting_writes() as written:
            data = dict(self.route.given(place)) if verb in UNSAFE else None
            answer = self.world.ask(who, verb, self.path(asked), data, kind=kind)
            after = fingerprint() if written else self.before
        self._look(who, verb, asked, answer, changed(dict(self.before), dict(after)))
        return answer

    def _look(self, who: Who, verb: str, asked: Asked, answer: Answer, rows: set[tuple[str, int | None]]) -> None:
        world = self.world
        if answer.status >= 500 and answer.status != 503:
            self.say(who, verb, asked, f"is a failure: {answer.status}\n{answer.error}")
        if missing := headers.faults(answer.path, answer.headers):
            self.say(who, verb, asked, f"{answer.status} lacks headers: {', '.join(missing)}")
        mails = b"".join(str(one.message()).encode() for one in mail.outbox)
        mail.outbox.clear()
        said = f"{answer.path} {world.cookies.get(who)} {world.headers.get(who)}".encode()
        if leaked := world.canaries.found(answer.whole + mails, said):
            self.say(who, verb, asked, f"shows {', '.join(sorted(leaked))}")
        for what, secret in world.cast.secrets.items():
            if secret.encode() in answer.whole + mails and secret.encode() not in said:
                self.say(who, verb, asked, f"shows a secret: {what}")
        if theirs := {row for row in rows if row[1] in foreign_rows(world)}:
            self.say(who, verb, asked, f"changed rows of the other biller: {sorted(theirs, key=str)}")
        may_change = verb in UNSAFE and verb in self.route.verbs and self.expected(who, verb, asked) == "in"
        if rows and not may_change:
            self.say(who, verb, asked, f"was answered {answer.status} and changed {sorted(rows, key=str)}")

    def expected(self, who: Who, verb: str, asked: Asked) -> str:
        """Say what somebody must get: in, sign-in, factor, forbidden, nowhere, key, verb."""
        route = self.route
        if verb not in route.verbs and (route.door is not Door.API or who is Who.KEY):
            # A view that only draws may answer a POST with its page.
            return "verb" if verb != "POST" or route.door is Door.API else self._refused(who, verb, asked) or "drawn"
        return self._refused(who, verb, asked) or "in"

    def _refused(self, who: Who, verb: str, asked: Asked) -> str:
        route = self.route
        match route.door:
            case Door.OPEN:
                return ""
            case Door.API:
                if who is not Who.KEY:
                    return "key"
            case Door.GUEST:
                return "" if self.allowed(who, asked) else "nowhere"
            case Door.BILLER:
                right = (route.right_to_post or route.right) if verb == "POST" else route.right
                if refusal := self._refused_by_biller(who, RIGHTS[right], RIGHTS[route.right]):
                    return refusal
            case _:
                if who in NOT_SIGNED_IN:
                    return "sign-in"
                if route.door is Door.ACCOUNT and who is Who.VIEWER and verb not in {"GET", "HEAD"}:
                    return "forbidden"
                if route.door is Door.PAYER and who is Who.VIEWER and verb not in {"GET", "HEAD"}:
                    return "forbidden"
        if (route.picks or not route.only) and not self.allowed(who, asked):
            return "nowhere"
        return ""

    def _refused_by_biller(self, who: Who, entitled: frozenset[Who], looking: frozenset[Who]) -> str:
        if who in NOT_SIGNED_IN:
            return "sign-in"
        if who in {Who.OLIVE, Who.PAT, Who.NORA}:
            return "nowhere"
        if who in WITHOUT_FACTOR:
            return "factor"
        return "" if who in entitled and who in looking else "forbidden"

    def check(self, who: Who, verb: str, asked: Asked) -> Answer:
        """Ask, and compare what came back with what the matrix says."""
        answer, expected = self.ask(who, verb, asked), self.expected(who, verb, asked)
        got = outcome(answer)
        fits = {expected}
        if self.route.own_rules and expected in {"in", "drawn"}:
            fits = {"in", "sign-in", "factor", "forbidden", "nowhere", "verb", "key"}
        elif expected == "drawn":
            fits = {"in", "verb", "forbidden"}
        elif (
            expected in {"forbidden", "nowhere", "sign-in", "factor"}
            and verb == "POST"
            and verb not in self.route.verbs
        ):
            fits = {expected, "verb"}
        elif expected in {"forbidden", "nowhere", "sign-in", "factor"} and "GET" not in self.route.verbs:
            fits = {expected, "verb"} if verb in {"GET", "HEAD"} else {expected}
        if expected == "forbidden" and self.route.right_to_post and asked.where in {Where.FOREIGN, Where.MISSING}:
            fits = {"forbidden", "nowhere"}
        if got not in fits:
            self.say(who, verb, asked, f"gets {got} ({answer.status} {answer.location}), not {expected}")
        return answer

    def say(self, who: Who, verb: str, asked: Asked, what: str) -> None:
        """Note something that is wrong."""
        self.wrong.append(f"{verb} {self.route.name} of {asked} by {who} {what}")


def outcome(answer: Answer) -> str:
    """Say what an answer is."""
    match answer.status:
        case 302 if answer.location.startswith((reverse("account_login"), reverse("admin:login"))):
            return "sign-in"
        case 302 if answer.location == reverse("mfa_activate_totp"):
            return "factor"
        case 401:
            return "key"
        case 403:
            return "forbidden"
        case 404:
            return "nowhere"
        case 405:
            return "verb"
        case status if status in _WELL:
            return "in"
    return f"{answer.status}"


def foreign_rows(world: World) -> frozenset[int]:
    """Give how the fingerprint names the rows of the other biller and of its people."""
    from tests.access.canaries import people_of

    return frozenset({world.cast.harbor.biller.pk, *(-user.pk for user in people_of(world.cast.harbor))})


def walk_route(world: World, route: Route) -> list[str]:
    """Walk one route; gives what is wrong."""
    walk = Walk(world, route, fingerprint())
    cache.clear()
    for who in [one for one in Who if one in route.whoever]:
        answers = {(verb, asked): walk.check(who, verb, asked) for verb, asked in walk.plan(who)}
        # What somebody must not see answers as what there is not does.
        for (verb, asked), answer in answers.items():
            if asked.where is Where.MISSING or walk.expected(who, verb, asked) != "nowhere":
                continue
            nothing = answers.get((verb, Asked(Where.MISSING, asked.part)))
            if nothing is not None and answer.masked() != nothing.masked():
                walk.say(
                    who, verb, asked, f"is told apart from what is not there: {answer.status}, not {nothing.status}"
                )
        if "account_" in route.name or "mfa_" in route.name:
            cache.clear()  # allauth counts tries there
    return walk.wrong


@pytest.mark.parametrize("name", sorted(MATRIX))
def test_everybody_gets_what_the_matrix_says_and_nothing_else(world: World, name: str) -> None:
    wrong = walk_route(world, MATRIX[name])
    assert not wrong, "\n".join(wrong[:40]) + f"\n{len(wrong)} in all"
