"""Payers in a real browser: finding a bill, paying it, and looking after an account.

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.models import Biller, Customer, Invoice, User
from payments.gateways.test_numbers import ACCOUNTS, CARDS
from payments.models import Instrument, Payment, Route
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_link, make_route, make_user
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)

_SHOTS = os.environ.get("SCREENSHOTS", "")
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@dataclass
class Town:
    """One biller with one customer who owes a bill, and their payer."""

    biller: Biller
    route: Route
    customer: Customer
    bill: Invoice
    payer: User


@pytest.fixture
def town(processor: Processor, live_server: LiveServer) -> Town:
    processor.control(parents=[live_server.url])
    biller = make_biller(
        name="Maple Falls Utilities", slug="maple-falls", accent="#0b6e4f", phone="+15555550123", email="help@maplefalls.example"
    )
    route = make_route(biller, processor.url, merchant="maple-falls")
    customer = make_customer(
        biller, name="Lucía Hernández", zip="80202", address1="12 Birch Street", city="Maple Falls", state="CO", display_number="35909-001"
    )
    bill = make_invoice(customer, "84.10")
    return Town(biller, route, customer, bill, make_user("lucia@example.com", name="Lucía Hernández"))


def look(page: Page, name: str) -> None:
    """Hold a page to the accessibility rules, and keep its picture where asked."""
    if _SHOTS:
        page.wait_for_timeout(150)
        page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)
    found = Axe().run(page, options=_RULES).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == [], name
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0, f"{name} scrolls sideways"


def sign_in(page: Page, user: User, live_server: LiveServer) -> None:
    """Sign in without the form, which has tests of its own."""
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    cookie = client.cookies["session"]
    page.context.add_cookies([{"name": "session", "value": cookie.value, "url": live_server.url}])


def enter_card(page: Page, card: str = "visa") -> None:
    """Type a published test card into the processor's own fields."""
    frame = page.frame_locator("iframe.hosted-fields")
    number = CARDS[card].number
    for name, text in {"holder": "Lucia Hernandez", "number": number, "expiry": "04/30", "cvv": "123", "zip": "80202"}.items():
        frame.locator(f"#{name}").fill(text)
    frame.get_by_role("button", name="Use this card").click()


def test_guest_pays_a_bill_by_account_number_and_zip_code(page: Page, town: Town, processor: Processor) -> None:
    page.goto("/")
    expect(page).to_have_url(re.compile("/with/maple-falls/$"))
    look(page, "find")
    page.get_by_label("Account number").fill("35909-001")
    page.get_by_label("ZIP code").fill("80202")
    page.get_by_role("button", name="Find my bill").click()
    expect(page.get_by_role("heading", name="Pay your bill")).to_be_visible()
    look(page, "guest-pay")
    assert "35909" not in page.url
    page.get_by_role("radio", name="Card").check()
    page.get_by_label("E-mail address for the receipt").fill("guest@example.com")
    page.get_by_role("button", name="Continue").click()
    expect(page.frame_locator("iframe.hosted-fields").get_by_label("Card number")).to_be_visible()
    look(page, "guest-card")
    enter_card(page)
    expect(page.get_by_role("heading", name="Check your payment")).to_be_visible()
    look(page, "guest-review")
    page.get_by_role("button", name="Pay $84.10").click()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    look(page, "guest-receipt")
    payment = Payment.objects.get()
    assert (payment.state, payment.amount, payment.channel, payment.email) == ("posted", Decimal("84.10"), 11, "guest@example.com")
    assert payment.made_by == "Guest"
    assert Instrument.objects.get().state == "one_time"
    book = processor.book("maple-falls")
    assert [row["times_charged"] for row in book["rows"]] == [1]
    town.customer.refresh_from_db()
    assert town.customer.balance == Decimal("0.00")
    # Reload and Back find the payment that was made.
    page.reload()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    assert Payment.objects.count() == 1
