"""Payers in a real browser: finding a bill, paying it, and looking after an account.

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import datetime
import os
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session
from django.core.mail import EmailMessage
from django.test import Client
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.actors import Actor
from billing.models import Biller, Customer, Invoice, User
from payments.gateways.test_numbers import ACCOUNTS, CARDS
from payments.models import Instrument, Payment, Route
from payments.operations import recoveries
from tests.browsers import violations
from tests.factories import (
    make_biller,
    make_customer,
    make_instrument,
    make_invoice,
    make_link,
    make_membership,
    make_route,
    make_user,
)
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"
NO_TIME = datetime.timedelta(0)
_SHOTS = os.environ.get("SCREENSHOTS", "")


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
        name="Maple Falls Utilities",
        slug="maple-falls",
        accent="#0b6e4f",
        phone="+15555550123",
        email="help@maplefalls.example",
    )
    route = make_route(biller, processor.url, merchant="maple-falls")
    customer = make_customer(
        biller,
        name="Lucía Hernández",
        zip="80202",
        address1="12 Birch Street",
        city="Maple Falls",
        state="CO",
        display_number="35909-001",
    )
    bill = make_invoice(customer, "84.10")
    return Town(biller, route, customer, bill, make_user("lucia@example.com", name="Lucía Hernández"))


def look(page: Page, name: str, *, rules: bool = True) -> None:
    """Hold a page to the accessibility rules, and keep its picture where asked.

    ``rules=False`` is for another language of a page that is held to them elsewhere: only what is too long is found.
    """
    if _SHOTS:
        page.wait_for_timeout(150)
        page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)
    assert not rules or violations(page) == [], name
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0, f"{name} scrolls sideways"


def sign_in(page: Page, user: User, live_server: LiveServer) -> None:
    """Sign in without the form, which has tests of its own."""
    client = Client()
    client.force_login(user, backend=BACKEND)
    cookie = client.cookies["session"]
    page.context.add_cookies([{"name": "session", "value": cookie.value, "url": live_server.url}])


def enter_card(page: Page, card: str = "visa") -> None:
    """Type a published test card into the processor's own fields."""
    frame = page.frame_locator("iframe.hosted-fields")
    number = CARDS[card].number
    for name, text in {
        "holder": "Lucia Hernandez",
        "number": number,
        "expiry": "04/30",
        "cvv": "123",
        "zip": "80202",
    }.items():
        frame.locator(f"#{name}").fill(text)
    frame.get_by_role("button", name="Use this card").click()


def pay_to_the_review(page: Page, town: Town, method: str = "Visa •••• 4242") -> None:
    page.goto(f"/account/{town.customer.pk}/pay/")
    page.get_by_role("radio", name=method).check()
    page.get_by_role("button", name="Continue").click()


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
    assert (payment.state, payment.amount, payment.channel, payment.email) == (
        "posted",
        Decimal("84.10"),
        11,
        "guest@example.com",
    )
    assert payment.made_by == "Guest"
    assert Instrument.objects.get().state == "one_time"
    assert list(processor.charges("maple-falls").values()) == [1]
    town.customer.refresh_from_db()
    assert town.customer.balance == Decimal("0.00")
    # Reload and Back find the payment that was made.
    page.reload()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    assert Payment.objects.count() == 1


def test_payer_sees_home_bills_and_payments(
    page: Page, town: Town, processor: Processor, live_server: LiveServer
) -> None:
    make_link(town.payer, town.customer)
    make_instrument(town.customer, town.route, processor.token("maple-falls", last4="4242"))
    credit = make_customer(town.biller, name="Lucía Hernández", balance=Decimal("-12.40"))
    make_link(town.payer, credit)
    sign_in(page, town.payer, live_server)
    page.goto("/")
    expect(page).to_have_url(re.compile("/home/$"))
    expect(page.get_by_text("$84.10")).to_be_visible()
    expect(page.get_by_text("Credit of $12.40")).to_be_visible()
    look(page, "home")
    page.get_by_role("link", name="See the bill").click()
    expect(page.get_by_role("heading", name=f"Bill {town.bill.number}")).to_be_visible()
    look(page, "bill")
    page.emulate_media(media="print")
    if _SHOTS:
        page.screenshot(path=str(Path(_SHOTS) / "bill-print.png"), full_page=True)
    page.emulate_media(media="screen")
    page.get_by_role("link", name="Bills", exact=True).click()
    look(page, "bills")
    pay_to_the_review(page, town)
    look(page, "review")
    page.get_by_role("button", name="Pay $84.10").click()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    page.get_by_role("link", name="Payments", exact=True).click()
    expect(page.get_by_role("link", name=Payment.objects.get().confirmation)).to_be_visible()
    look(page, "payments")
    page.get_by_role("link", name=Payment.objects.get().confirmation).click()
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    look(page, "receipt")


@pytest.mark.expected_errors("422")
def test_payer_adds_methods_turns_autopay_and_paperless_on_and_off(
    page: Page, town: Town, live_server: LiveServer
) -> None:
    make_link(town.payer, town.customer)
    sign_in(page, town.payer, live_server)
    page.goto("/methods/")
    look(page, "methods-none")
    page.get_by_role("link", name="Add a bank account").click()
    frame = page.frame_locator("iframe.hosted-fields")
    account = ACCOUNTS["checking"]
    frame.locator("#holder").fill("Lucia Hernandez")
    frame.locator("#routing").fill(account.routing)
    frame.locator("#account").fill(account.account)
    frame.get_by_label("Checking").check()
    look(page, "add-bank")
    frame.get_by_role("button", name="Use this account").click()
    expect(page.get_by_text("is now on file")).to_be_visible()
    page.get_by_role("link", name="Add a card").click()
    enter_card(page)
    expect(page.get_by_text("Visa •••• 1111 is now on file.")).to_be_visible()
    look(page, "methods")

    page.get_by_role("link", name="AutoPay", exact=True).click()
    look(page, "autopay-off")
    page.get_by_role("link", name=re.compile("Turn on")).click()
    look(page, "autopay-method")
    page.get_by_role("radio", name="Visa •••• 1111").check()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("I authorize Maple Falls Utilities to charge Visa •••• 1111")).to_be_visible()
    expect(page.get_by_text("First collection")).to_be_visible()
    look(page, "autopay-terms")
    page.get_by_role("button", name="Turn AutoPay on").click()
    expect(page).to_have_title(re.compile("^Error:"))
    look(page, "autopay-terms-error")
    page.get_by_label("I have read these terms").check()
    page.get_by_role("button", name="Turn AutoPay on").click()
    expect(page.get_by_text("AutoPay is on with Visa •••• 1111.")).to_be_visible()
    look(page, "autopay-on")
    page.get_by_role("link", name="Payment methods").click()
    page.get_by_role("link", name="Remove Visa •••• 1111").click()
    look(page, "method-remove")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("AutoPay uses this method.")).to_be_visible()
    page.get_by_role("link", name="AutoPay", exact=True).click()
    page.get_by_role("link", name=re.compile("Turn off")).click()
    look(page, "autopay-end")
    page.get_by_role("button", name="Turn AutoPay off").click()
    expect(page.get_by_text("AutoPay is off.")).to_be_visible()

    page.get_by_role("link", name="Paperless", exact=True).click()
    look(page, "paperless")
    page.get_by_role("link", name=re.compile("Turn on")).click()
    look(page, "paperless-on")
    page.get_by_role("button", name="Turn paperless on").click()
    expect(page.get_by_text("Paperless billing is on.")).to_be_visible()
    town.customer.refresh_from_db()
    assert town.customer.paperless


@pytest.mark.expected_errors("422")
def test_newcomer_registers_and_links_an_account(page: Page, town: Town, mailoutbox: list[EmailMessage]) -> None:
    page.goto("/with/maple-falls/")
    page.get_by_role("link", name="Register").click()
    look(page, "register")
    page.get_by_label("Email").fill("new@example.com")
    page.get_by_label("Password", exact=False).first.fill("a long enough passphrase")
    page.get_by_label("Password (again)").fill("a long enough passphrase")
    page.get_by_role("button", name="Register").click()
    look(page, "verification-sent")
    address = re.search(r"http\S+/accounts/confirm-email/\S+/", str(mailoutbox[0].body))
    assert address is not None
    page.goto(address[0].replace("http://testserver", ""))
    look(page, "confirm-email")
    page.get_by_role("button", name="Confirm").click()
    page.goto("/accounts/login/")
    look(page, "sign-in")
    page.get_by_label("Email").fill("new@example.com")
    page.get_by_label("Password").fill("a long enough passphrase")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile("/link/maple-falls/$"))
    look(page, "link-account")
    page.get_by_label("Account number").fill("35909-001")
    page.get_by_label("ZIP code").fill("99999")
    page.get_by_role("button", name="Link account").click()
    expect(page.get_by_text("We found no account with these details.")).to_be_visible()
    look(page, "link-account-error")
    page.get_by_label("ZIP code").fill("80202")
    page.get_by_role("button", name="Link account").click()
    expect(page.get_by_text("Account 35909-001 is now linked to you.")).to_be_visible()
    page.get_by_role("link", name="Profile").click()
    look(page, "profile")
    page.get_by_label("Your name").fill("Nora Newcomer")
    page.get_by_role("radio", name="Español").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("html")).to_have_attribute("lang", "es")
    look(page, "profile-es", rules=False)
    user = User.objects.get(email="new@example.com")
    assert (user.name, user.language) == ("Nora Newcomer", "es")
    page.goto(f"/profile/accounts/{user.links.get().pk}/unlink/")
    look(page, "unlink")


@pytest.mark.expected_errors("409", "422")
def test_each_trouble_has_its_page(page: Page, town: Town, processor: Processor, live_server: LiveServer) -> None:
    make_link(town.payer, town.customer)
    good = make_instrument(town.customer, town.route, processor.token("maple-falls", last4="4242"))
    make_instrument(
        town.customer, town.route, processor.token("maple-falls", "hard_decline", last4="0002"), is_default=False
    )
    sign_in(page, town.payer, live_server)
    page.goto(f"/account/{town.customer.pk}/pay/")
    look(page, "pay")
    page.get_by_role("radio", name="Another amount").check()
    page.get_by_label("Another amount").last.fill("500")
    look(page, "pay-other")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_be_focused()
    look(page, "pay-error")
    pay_to_the_review(page, town, "Visa •••• 0002")
    page.get_by_role("button", name="Pay $84.10").click()
    expect(page.get_by_text("No money has been taken.")).to_be_visible()
    look(page, "payment-failed")

    processor.strike("drop_after")
    pay_to_the_review(page, town)
    page.get_by_role("button", name="Pay $84.10").click()
    expect(page.get_by_text("Do not pay again.")).to_be_visible()
    look(page, "payment-processing")
    # What recovery finds out appears by itself.
    recoveries.recover(biller=town.biller, actor=Actor.system("test"), least_age=NO_TIME, pause=NO_TIME)
    expect(page.locator("#main").get_by_text("Thank you. Your payment is made.")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Thank you. Your payment is made.")
    assert [row["times_charged"] for row in processor.book("maple-falls")["rows"] if row["times_charged"]] == [1]
    page.goto(f"/account/{town.customer.pk}/pay/")
    expect(page.get_by_text("There is nothing to pay on this account.")).to_be_visible()
    look(page, "pay-nothing")

    make_invoice(town.customer, "20.00")
    pay_to_the_review(page, town)
    expect(page.get_by_text("This account was already paid today")).to_be_visible()
    look(page, "review-again")
    Biller.objects.update(charging_stopped=True)
    page.get_by_role("button", name="Pay $20.00").click()
    expect(page.get_by_role("heading", name="Payments are stopped at the moment")).to_be_visible()
    look(page, "pay-stopped")
    good.refresh_from_db()
    assert good.state == "active"


def test_everything_speaks_spanish(page: Page, town: Town, live_server: LiveServer) -> None:
    page.goto("/with/maple-falls/")
    page.get_by_role("button", name="Español").click()
    expect(page.locator("html")).to_have_attribute("lang", "es")
    look(page, "find-es", rules=False)
    page.get_by_label("Número de cuenta").fill("35909-001")
    page.get_by_label("Código postal").fill("80202")
    page.get_by_role("button", name="Buscar mi factura").click()
    look(page, "guest-pay-es", rules=False)
    page.get_by_role("radio", name="Tarjeta").check()
    page.get_by_role("button", name="Continuar").click()
    frame = page.frame_locator("iframe.hosted-fields")
    expect(frame.get_by_label("Número de tarjeta")).to_be_visible()
    number = CARDS["visa"].number
    for name, text in {"holder": "Lucia", "number": number, "expiry": "04/30", "cvv": "123", "zip": "80202"}.items():
        frame.locator(f"#{name}").fill(text)
    with page.expect_navigation(url="**/review/**"):
        frame.get_by_role("button", name="Usar esta tarjeta").click()
    look(page, "review-es", rules=False)
    page.get_by_role("button", name="Pagar $84.10").click()
    expect(page.get_by_role("heading", name="Recibo")).to_be_visible()
    look(page, "receipt-es", rules=False)


def test_a_payer_who_chose_spanish_meets_spanish(page: Page, town: Town, live_server: LiveServer) -> None:
    make_link(town.payer, town.customer)
    User.objects.update(language="es")
    sign_in(page, town.payer, live_server)
    for path in ("home", "bills", "payments", "methods", "autopay", "paperless", "profile"):
        page.goto(f"/{path}/")
        expect(page.locator("html")).to_have_attribute("lang", "es")
        look(page, f"{path}-es", rules=False)


def test_everything_fits_a_narrow_dark_phone(
    browser: Browser, town: Town, processor: Processor, live_server: LiveServer
) -> None:
    make_link(town.payer, town.customer)
    make_instrument(town.customer, town.route, processor.token("maple-falls", last4="4242"))
    context = browser.new_context(base_url=live_server.url, viewport={"width": 320, "height": 640}, color_scheme="dark")
    page = context.new_page()
    sign_in(page, town.payer, live_server)
    paths = {
        "home": "/home/",
        "bills": "/bills/",
        "bill": f"/account/{town.customer.pk}/bills/{town.bill.pk}/",
        "pay": f"/account/{town.customer.pk}/pay/",
        "payments": "/payments/",
        "methods": "/methods/",
        "card": f"/account/{town.customer.pk}/methods/add/card/",
        "autopay": "/autopay/",
        "autopay-terms": f"/account/{town.customer.pk}/autopay/",
        "paperless": "/paperless/",
        "profile": "/profile/",
        "link": "/link/maple-falls/",
        "find": "/with/maple-falls/",
    }
    for name, path in paths.items():
        page.goto(path)
        look(page, f"phone-{name}")
    pay_to_the_review(page, town)
    look(page, "phone-review")
    page.get_by_role("button", name="Pay $84.10").click()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    look(page, "phone-receipt")
    context.close()


def test_a_guest_pays_without_javascript(browser: Browser, town: Town, live_server: LiveServer) -> None:
    context = browser.new_context(base_url=live_server.url, java_script_enabled=False, locale="en-US")
    page = context.new_page()
    page.goto("/with/maple-falls/")
    page.get_by_label("Account number").fill("35909-001")
    page.get_by_label("ZIP code").fill("80202")
    page.get_by_role("button", name="Find my bill").click()
    page.get_by_role("radio", name="Card").check()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("link", name="Enter the card at the processor").click()
    number = CARDS["visa"].number
    for name, text in {"holder": "Lucia", "number": number, "expiry": "04/30", "cvv": "123", "zip": "80202"}.items():
        page.locator(f"#{name}").fill(text)
    page.get_by_role("button", name="Use this card").click()
    expect(page.get_by_role("heading", name="Check your payment")).to_be_visible()
    assert "token" not in page.url
    page.get_by_role("button", name="Pay $84.10").click()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    context.close()
    assert Payment.objects.get().state == "posted"


def test_a_token_from_another_window_is_passed_over(page: Page, town: Town, live_server: LiveServer) -> None:
    make_link(town.payer, town.customer)
    sign_in(page, town.payer, live_server)
    page.goto(f"/account/{town.customer.pk}/methods/add/card/")
    expect(page.frame_locator("iframe.hosted-fields").get_by_label("Card number")).to_be_visible()
    page.evaluate("window.postMessage({type: 'ratepayer-token', token: 'tok_evil_4242'}, '*')")
    page.wait_for_timeout(300)
    assert page.locator("form[data-hosted-form] [name=token]").input_value() == ""
    assert Instrument.objects.count() == 0


def test_the_session_warns_before_it_ends_and_can_be_kept(
    page: Page, town: Town, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.conf.settings.SESSION_IDLE_MINUTES", {"staff": 30, "payer": 2})
    make_link(town.payer, town.customer)
    sign_in(page, town.payer, live_server)
    page.goto("/home/")
    warning = page.get_by_role("dialog", name="Do you need more time?")
    expect(warning).to_be_visible()
    look(page, "session-warning")
    before = Session.objects.get().expire_date
    with page.expect_response("**/sessions/extend") as extended:
        warning.get_by_role("button", name="Stay signed in").click()
    assert extended.value.json()["seconds"] in {119, 120}
    assert Session.objects.get().expire_date > before


def test_a_csr_looks_through_a_payers_eyes(
    page: Page, town: Town, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_link(town.payer, town.customer)
    casey = make_user("casey@example.com", name="Casey Clark")
    make_membership(casey, town.biller)
    monkeypatch.setattr("billing.biller_portal.access.is_mfa_enabled", lambda user: True)
    client = Client()
    client.force_login(casey, backend=BACKEND)
    client.post(f"/view-as/{town.customer.pk}/{town.payer.pk}/")
    page.context.add_cookies([{"name": "session", "value": client.cookies["session"].value, "url": live_server.url}])
    page.goto("/home/")
    banner = page.get_by_role("region", name="View as payer")
    expect(banner).to_contain_text("You are looking at this portal as Lucía Hernández. Nothing can be changed.")
    look(page, "view-as")
    for path in ("bills", "payments", "methods", "autopay", "paperless", "profile"):
        page.goto(f"/{path}/")
        look(page, f"view-as-{path}")
    banner.get_by_role("button", name="Stop looking").click()
    expect(page.get_by_text("You are yourself again.")).to_be_visible()


def test_a_guest_chooses_among_billers(page: Page, town: Town) -> None:
    make_biller(name="Cedar Gas", slug="cedar-gas", accent="#8a4b08")
    page.goto("/")
    look(page, "billers")
    page.get_by_role("link", name="Cedar Gas").click()
    expect(page).to_have_url(re.compile("/with/cedar-gas/$"))
    page.goto("/with/maple-falls/")
    expect(page.get_by_text("Find your bill from Maple Falls Utilities.")).to_be_visible()
