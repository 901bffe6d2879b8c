"""The matrix itself: every route stands in it, it says what the code says, and what it proves can be seen to fail."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.db import connection

from billing.permissions import RIGHTS as RIGHTS_OF_ROLES
from billing.permissions import Permission
from config import roles
from tests.access import canaries
from tests.access.matrix import ADMIN, MATRIX, RIGHTS, UNNAMED, Door, routes
from tests.access.walks import Where, Who, World, address
from tests.staff import client_of

ROLES = {
    Who.DANA: "administrator",
    Who.SAM: "csr",
    Who.KIM: "csr_no_cards",
    Who.ALEX: "read_only",
}


def test_every_route_is_in_the_matrix() -> None:
    unknown = []
    for name, pattern, _leads in routes():
        if name:
            unknown += [] if name in MATRIX or ADMIN.match(name) else [f"{name} ({pattern})"]
        else:
            unknown += [] if any(re.fullmatch(known, pattern) or known == pattern for known in UNNAMED) else [pattern]
    assert unknown == [], "Say in tests/access/matrix.py who may use these."


def test_the_matrix_has_no_route_that_is_gone() -> None:
    assert set(MATRIX) - {name for name, _pattern, _leads in routes()} == set()


def test_pages_ask_for_the_right_that_the_matrix_names() -> None:
    differing = []
    for name, _pattern, leads in routes():
        view = getattr(leads.callback, "view_class", leads.callback)
        right = getattr(view, "permission", None)
        known = MATRIX.get(name)
        if known is not None and (known.door is Door.BILLER or right is not None):
            differing += [] if (known.door, known.right) == (Door.BILLER, right) else [f"{name}: {right}"]
    assert differing == []


def test_the_rights_of_the_roles_are_written_here_too() -> None:
    assert set(RIGHTS) == {permission.value for permission in Permission}
    for permission in Permission:
        assert {who for who, role in ROLES.items() if permission in RIGHTS_OF_ROLES[role]} == RIGHTS[permission] & set(
            ROLES
        ), permission


def test_the_walk_is_made_in_the_role_of_the_application(world: World) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (roles.LOGIN, False, False)


def test_everybody_is_who_the_walk_takes_them_for(world: World) -> None:
    """A session that has quietly ended would make every refusal look right."""
    account = world.cast.maple.account.customer
    at_account = address("biller-account", {"customer_id": account.pk})
    assert {who for who in Who if world.ask(who, "GET", at_account).status == 200} == RIGHTS["view"]
    payers = {who for who in Who if account.shown_number.encode() in world.ask(who, "GET", "/home/").body}
    assert payers == {Who.OLIVE, Who.PAT, Who.VIEWER}
    as_guest = address("guest-pay", {"guest": world.places[Where.ACCOUNT].guest})
    assert {who for who in Who if world.ask(who, "GET", as_guest).status == 200} == {Who.GUEST}
    assert {who for who in Who if world.ask(who, "GET", "/api/v1/biller/").status == 200} == {Who.KEY}
    assert {who for who in Who if world.ask(who, "GET", "/admin/").status == 200} == {Who.ROBIN}


def test_the_marks_are_seen_by_those_whose_they_are(world: World) -> None:
    """Harbor Light's own people meet the marks on its pages: what the walk looks for is there to be found."""
    harbor = world.cast.harbor
    cookie = client_of(harbor.dana).cookies[settings.SESSION_COOKIE_NAME].value
    world.cookies[Who.NOBODY], before = {settings.SESSION_COOKIE_NAME: cookie}, world.cookies.get(Who.NOBODY, {})
    seen: dict[str, set[str]] = {}
    try:
        for name, route in MATRIX.items():
            if route.door is Door.BILLER and "GET" in route.verbs:
                path = address(
                    name, route.arguments(world.places[Where.FOREIGN]), route.query(world.places[Where.FOREIGN])
                )
                seen[name] = world.canaries.found(world.ask(Who.NOBODY, "GET", path).whole, path.encode())
    finally:
        world.cookies[Who.NOBODY] = before
    assert sum(1 for found in seen.values() if found) > 40
    columns = set().union(*seen.values())
    assert {"billing_customer.number", "billing_invoice.number", "payments_case.reason", "an amount"} <= columns
    assert len(columns) > 60


def test_every_table_of_the_other_biller_has_marks(world: World) -> None:
    marked = {place.partition(".")[0] for place in world.canaries.places.values() if "." in place}
    without = {model._meta.db_table for model in canaries.tenant_models()} - marked
    # They hold numbers, states and references alone.
    assert without == {
        "billing_entry", "billing_item", "billing_membership", "billing_payerlink", "billing_posting",
        "datapump_configuration", "payments_allocation", "payments_authorization", "payments_carryover",
        "payments_checkpoint", "payments_latebill", "payments_methodrules", "payments_reversaldebit",
        "payments_unresolvedreport", "sms_announcement", "sms_paylink", "sms_wording",
    }  # fmt: skip


@pytest.mark.parametrize("who", [Who.REVOKED_KEY, Who.EXPIRED_KEY, Who.NOBODY])
def test_a_key_that_opens_nothing_is_answered_alike(world: World, who: Who) -> None:
    """Whether a key was revoked, is over or never was, nobody learns from the answer."""
    unknown = {"authorization": f"Bearer rp_abcdefghj_{'x' * 43}"}
    asked = world.ask(who, "GET", "/api/v1/biller/", headers=unknown if who is Who.NOBODY else None)
    other = world.ask(Who.REVOKED_KEY, "GET", "/api/v1/biller/")
    assert (asked.status, asked.headers, asked.body) == (other.status, other.headers, other.body)


def test_no_page_that_changes_something_takes_a_form_of_another_site(world: World) -> None:
    """Without the page's own token every POST is refused; what browsers do not sign in to needs none: each call has its key."""
    own, taken = world.places[Where.ACCOUNT], []
    for name, route in MATRIX.items():
        if "POST" not in route.verbs or route.door is Door.API or name in {"web-service", "web-service-form"}:
            continue
        who = {Door.ACCOUNT: Who.OLIVE, Door.PAYER: Who.OLIVE, Door.GUEST: Who.GUEST}.get(route.door, Who.DANA)
        answer = world.ask(who, "POST", address(name, route.arguments(own)), dict(route.given(own)), csrf=True)
        taken += [] if answer.status == 403 else [f"{name}: {answer.status}"]
    assert taken == []
