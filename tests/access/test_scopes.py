"""What a machine's key may do: every call of the API wants a scope, and is refused without it before anything else."""

from __future__ import annotations

import json

import pytest

from billing.models import ApiToken, Scope
from tests.access.matrix import MATRIX, Door, Route
from tests.access.walks import Answer, Where, Who, World, address, changed, fingerprint, taken_back

ROUTES = [route for route in MATRIX.values() if route.door is Door.API and route.name != "api-nowhere"]


def needed(route: Route, verb: str) -> str:
    return "read" if verb in {"GET", "HEAD"} else route.scope


def ask(world: World, route: Route, verb: str, scopes: list[str], *, full: bool, where: Where) -> Answer:
    """Call with a key of these scopes."""
    at = world.places[where]
    ApiToken.objects.filter(prefix=world.cast.key[:12]).update(scopes=scopes)
    query = route.query(at) if verb in {"GET", "HEAD"} else ""
    given = dict(route.given(at)) if full else {}
    kind = route.kind or "application/json"
    keyed = {"idempotency-key": f"scope-{route.name}-{verb}"}
    return world.ask(Who.KEY, verb, address(route.name, route.arguments(at), query), given, kind=kind, headers=keyed)


def test_every_call_that_changes_something_has_a_scope_of_its_own() -> None:
    for route in ROUTES:
        changing = route.verbs - {"GET", "HEAD"}
        assert (route.scope in Scope.values and route.scope != "read") if changing else not route.scope, route.name
    assert {route.scope for route in ROUTES} == {*Scope.values, ""} - {"read"}


@pytest.mark.parametrize("scope", Scope.values)
def test_a_key_without_the_scope_is_refused_and_one_with_it_alone_is_not(world: World, scope: str) -> None:
    others = [one for one in Scope.values if one != scope]
    calls = [(route, verb) for route in ROUTES for verb in sorted(route.verbs) if needed(route, verb) == scope]
    assert calls
    wrong = []
    with taken_back():
        ApiToken.objects.filter(prefix=world.cast.key[:12]).update(scopes=others)
        before = fingerprint()
        for route, verb in calls:
            refused = ask(world, route, verb, others, full=True, where=Where.ACCOUNT)
            said = (
                json.loads(refused.body)["error"]
                if verb != "HEAD"
                else {"code": "scope_missing", "message": f"“{scope}”"}
            )
            named = refused.headers.get("WWW-Authenticate", "")
            if (refused.status, said["code"], f"“{scope}”" in said["message"]) != (403, "scope_missing", True):
                wrong.append(f"without it {verb} {route.name}: {refused.status} {said}")
            if f'error="insufficient_scope", scope="{scope}"' not in named:
                wrong.append(f"{verb} {route.name}: {named}")
        assert changed(before, fingerprint()) == set()
    for route, verb in calls:
        # An object that is not there, and a body with nothing in it: past the door, and no further.
        with taken_back():
            let_in = ask(world, route, verb, [scope], full=False, where=Where.FOREIGN)
        if let_in.status == 403 or let_in.status >= 500:
            wrong.append(f"with it {verb} {route.name}: {let_in.status}")
    assert wrong == []
