"""A prepaid account in the browser: what is left, money added, and the biller's book that has it."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.models import Customer, User
from datapump.models import Purpose
from payments.models import Payment
from tests.cis import Cis
from tests.datapump.conftest import account_of, deliver, point_at
from tests.factories import make_biller, make_customer, make_instrument, make_link, make_route, make_user
from tests.flows.test_customer_portal import look
from tests.flows.test_live_balances import text
from tests.processor import Processor
from tests.staff import client_of, make_staff, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def customer(processor: Processor, cis: Cis) -> Customer:
    biller = make_biller(name="Maple Falls Utilities", slug="maple-falls")
    route = make_route(biller, processor.url, merchant="maple-falls")
    point_at(cis, biller, Purpose.BALANCES, reuse_seconds=0, booked_minutes=0)
    point_at(cis, biller, Purpose.PAYMENTS)
    made = make_customer(biller, name="Lucía Hernández", display_number="35909-001")
    make_instrument(made, route, processor.token("maple-falls"), is_default=True)
    left(cis, made, "4.93")
    return made


@pytest.fixture
def payer(customer: Customer) -> User:
    user = make_user("lucia@example.com", name="Lucía Hernández")
    make_link(user, customer)
    return user


def left(cis: Cis, customer: Customer, amount: str) -> None:
    cis.owes(
        account_of(customer), items=[{"currentAmount": "0.00"}],
        extensions={"remainingBalance": amount, "remainingDays": "2"},
    )  # fmt: skip


@pytest.mark.spec("MSP-3")
def test_a_payer_adds_money_and_the_book_has_it(
    customer: Customer, payer: User, cis: Cis, live_server: LiveServer, page: Page
) -> None:
    sign_in(page, payer, live_server)
    page.goto(live_server.url + reverse("customer-home"))
    expect(page.get_by_text("$4.93")).to_be_visible()
    expect(page.get_by_text("Prepaid balance left, 2 days left")).to_be_visible()
    expect(page.get_by_text("Nothing is due")).to_have_count(0)
    look(page, "prepaid-home")
    page.get_by_role("link", name="When to tell you").click()
    page.get_by_label("Tell when the balance falls below").fill("7.50")
    look(page, "prepaid-threshold")
    page.get_by_role("button", name="Save").click()
    customer.refresh_from_db()
    assert customer.prepaid_threshold == Decimal("7.50")
    page.get_by_role("link", name="Add money").click()
    expect(page.get_by_role("heading", name="Add money")).to_be_visible()
    expect(page.get_by_text("Latest bill due on")).to_have_count(0)
    page.get_by_label("How much do you want to add?").fill("40.00")
    look(page, "prepaid-add")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name=re.compile(r"Pay \$40\.00")).click()
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    [payment] = Payment.objects.all()
    deliver()
    assert [(one["amount"], one["account"]) for one in cis.book()["payments"]] == [("40.00", account_of(customer))]
    assert (payment.state, str(payment.amount)) == ("posted", "40.00")


@pytest.mark.spec("MSP-3", "MSP-33")
def test_csrs_and_payers_read_what_is_left_and_when_somebody_is_told(customer: Customer, payer: User, cis: Cis) -> None:
    csr = client_of(make_staff(customer.biller))
    said = text(csr, reverse("biller-account", args=[customer.pk]))
    for words in ("Prepaid balance left $4.93", "2 days left", "Balance left $4.93", "Told below $20.00"):
        assert words in said, words
    # Other tabs show what is known, and ask for nothing.
    assert "Prepaid balance left $4.93" in text(csr, reverse("biller-account-bills", args=[customer.pk]))
    assert "A prepaid account" in text(csr, reverse("biller-account-pay", args=[customer.pk]))
    url = reverse("biller-account-prepaid", args=[customer.pk])
    assert csr.post(url, {"threshold": "2000"}).status_code == 422
    assert csr.post(url, {"threshold": "3"}).status_code == 302
    assert "Told below $3.00" in text(csr, reverse("biller-account", args=[customer.pk]))
    lucia = Client()
    lucia.force_login(payer, backend="allauth.account.auth_backends.AuthenticationBackend")
    lucia.cookies["django_language"] = "es"
    said = text(lucia, reverse("customer-pay", args=[customer.pk]))
    for words in ("Agregar dinero", "Saldo prepagado restante", "¿Cuánto quiere agregar?"):
        assert words in said, words
