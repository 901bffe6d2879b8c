"""The walls hold each by itself, and the walk sees it when both are gone.

Each mutant takes the first wall away from one page: the query that keeps to the biller, or to the payer's accounts. Then
row security still hides the other biller's rows and the walk finds nothing. With row security's scope opened as well the
walk must go red; and with the scope opened alone, the queries hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.shortcuts import get_object_or_404

from billing import tenancy
from billing.api.views import ApiView
from billing.biller_portal import accounts, bills
from billing.biller_portal import settings as settings_pages
from billing.customer_portal import access
from billing.models import Customer, Invoice
from billing.permissions import Permission
from payments.biller_portal import methods as staff_methods
from payments.biller_portal import payments as staff_payments
from payments.models import Payment
from tests.access.matrix import MATRIX
from tests.access.test_walls import walk_route
from tests.access.walks import World

Break = Callable[[pytest.MonkeyPatch], None]


def any_row(rows: Any, **lookup: Any) -> Any:
    """Find a row of the model, whoever's it is."""
    return get_object_or_404(getattr(rows, "model", rows)._default_manager.all(), **lookup)


def any_customer(_request: Any, pk: int) -> Customer:
    return get_object_or_404(Customer.objects.select_related("biller"), pk=pk)


def any_payment(_request: Any, payment_id: Any) -> Payment:
    return get_object_or_404(Payment.objects.select_related("customer", "instrument", "route", "biller"), pk=payment_id)


def any_of_machine(self: ApiView, rows: Any, **lookup: Any) -> Any:
    return get_object_or_404(rows, **lookup)


MUTANTS: dict[str, tuple[str, Break]] = {
    "an account": ("biller-account", lambda patch: patch.setattr(accounts, "customer_or_404", any_customer)),
    "a payment": ("biller-payment", lambda patch: patch.setattr(staff_payments, "payment_or_404", any_payment)),
    "a bill": ("biller-bill", lambda patch: patch.setattr(bills, "get_object_or_404", any_row)),
    "a list": (
        "biller-payments",
        lambda patch: patch.setattr(
            staff_payments.PaymentList,
            "get_queryset",
            lambda self, request: Payment.objects.select_related("customer", "instrument", "route"),
        ),
    ),
    "a list of bills": (
        "biller-bills",
        lambda patch: patch.setattr(
            bills.BillList,
            "get_queryset",
            lambda self, request: bills.with_items(Invoice.objects.select_related("customer", "biller")),
        ),
    ),
    "a key that is revoked": (
        "biller-api-key-revoke",
        lambda patch: patch.setattr(settings_pages, "get_object_or_404", any_row),
    ),
    "a method that is removed": (
        "biller-account-method-remove",
        lambda patch: (
            patch.setattr(staff_methods, "customer_or_404", any_customer),
            patch.setattr(staff_methods, "get_object_or_404", any_row),
        )[0],
    ),
    "a customer of the API": ("api-customer", lambda patch: patch.setattr(ApiView, "find", any_of_machine)),
    "a payment of the API": ("api-payment", lambda patch: patch.setattr(ApiView, "find", any_of_machine)),
}


def open_scope(patch: pytest.MonkeyPatch) -> None:
    """Take the second wall away: whatever a page puts in scope, every biller is."""
    enter = tenancy.enter
    patch.setattr(tenancy, "enter", lambda billers: enter(tenancy.EVERY_BILLER if billers else billers))


@pytest.mark.parametrize("name", MUTANTS)
def test_row_security_holds_where_a_query_forgets(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    route, forget = MUTANTS[name]
    forget(monkeypatch)
    leaks = [one for one in walk_route(world, MATRIX[route]) if "another biller's" in one or "shows" in one]
    assert leaks == []


@pytest.mark.parametrize("name", MUTANTS)
def test_queries_hold_where_the_scope_is_open(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    open_scope(monkeypatch)
    assert walk_route(world, MATRIX[MUTANTS[name][0]]) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_the_walk_goes_red_where_both_are_gone(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    route, forget = MUTANTS[name]
    forget(monkeypatch)
    open_scope(monkeypatch)
    wrong = "\n".join(walk_route(world, MATRIX[route]))
    assert "shows" in wrong
    if MATRIX[route].picks:
        assert "another biller's object" in wrong
    if "POST" in MATRIX[route].verbs and MATRIX[route].picks:
        assert "changed rows of the other biller" in wrong


# ---- Within one biller only the first wall stands ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "route", ["customer-bill", "customer-method-remove", "customer-payment", "customer-autopay-account"]
)
def test_the_walk_sees_a_payer_who_gets_at_a_neighbours_account(
    world: World, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    monkeypatch.setattr(access, "_theirs", lambda request, rows: rows)
    wrong = walk_route(world, MATRIX[route])
    assert any("of a neighbour's object by its owner gets in" in one for one in wrong)
    assert not any("shows" in one for one in wrong)


def test_the_walk_sees_a_page_that_asks_for_no_right(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.biller_portal.access.may", lambda *_given: True)
    wrong = walk_route(world, MATRIX["biller-charging-stop"])
    for who in ("a CSR", "a CSR without card entry", "a read-only person"):
        assert any(f"by {who} gets in" in one and one.startswith("POST") for one in wrong)
        assert any(f"by {who} was answered" in one and "changed" in one for one in wrong)
    assert Permission.CHANGE_SETTINGS  # the right that was not asked for


def test_the_walk_sees_a_page_that_asks_for_no_second_factor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.biller_portal.access.is_mfa_enabled", lambda _user: True)
    assert any("by a CSR without a second factor gets in" in one for one in walk_route(world, MATRIX["biller-account"]))


def test_the_walk_sees_a_page_that_changes_something_when_it_is_only_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = accounts.customer_or_404

    def greedy(request: Any, pk: int) -> Customer:
        found = plain(request, pk)
        Customer.objects.filter(pk=found.pk).update(name="Changed")
        return found

    monkeypatch.setattr(accounts, "customer_or_404", greedy)
    assert any(
        one.startswith("GET") and "billing_customer" in one for one in walk_route(world, MATRIX["biller-account"])
    )


def test_the_walk_sees_a_refusal_that_tells_what_there_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another biller's object refused in other words than what is not there: an oracle of what exists."""
    from django.core.exceptions import PermissionDenied

    plain = accounts.customer_or_404

    def telling(request: Any, pk: int) -> Customer:
        with tenancy.acting_for(tenancy.EVERY_BILLER):
            if Customer.objects.filter(pk=pk).exclude(biller=request.biller).exists():
                raise PermissionDenied
        return plain(request, pk)

    monkeypatch.setattr(accounts, "customer_or_404", telling)
    assert any(
        "of another biller's object by a CSR gets forbidden" in one
        for one in walk_route(world, MATRIX["biller-account"])
    )


def test_the_walk_has_changed_nothing(world: World) -> None:
    """What every request of a walk writes is taken back: the next one meets the same rows."""
    with connection.cursor() as cursor, tenancy.acting_for(tenancy.EVERY_BILLER):
        cursor.execute("SELECT count(*) FROM billing_customer WHERE name = 'Changed'")
        assert cursor.fetchone() == (0,)
