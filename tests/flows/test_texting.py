"""A biller's people in a real browser: enrolling a caller, reading what was said, wording a text while it is counted.

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.models import Biller, Customer, Role
from sms.models import Line, Phone, Programme, SmsMode, Text, Wording
from tests.browsers import violations
from tests.factories import make_biller, make_customer, make_invoice
from tests.staff import make_staff, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
_SHOTS = os.environ.get("SCREENSHOTS", "")
NUMBER = "(505) 555-0123"


@pytest.fixture
def biller(live_server: LiveServer) -> Biller:
    biller = make_biller(name="Maple Falls Utilities", slug="maple-falls", accent="#0b6e4f")
    Programme.objects.create(biller=biller, name="Maple Falls", contact="(505) 555-0150")
    Line.objects.create(biller=biller, number="+15055550100", driver="simulator", options={}, secret="unused")
    return biller


@pytest.fixture
def customer(biller: Biller) -> Customer:
    customer = make_customer(biller, name="Mary Jones", number="35909-001")
    make_invoice(customer, "84.10")
    return customer


def look(page: Page, name: str) -> None:
    """Hold a page to the accessibility rules, and keep its picture where asked."""
    if _SHOTS:
        page.wait_for_timeout(150)
        page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)
    assert violations(page) == [], name
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0, f"{name} scrolls sideways"


@pytest.mark.expected_errors("422")
def test_a_csr_enrols_a_caller_texts_the_bill_and_opts_the_phone_out(
    page: Page, biller: Biller, customer: Customer, live_server: LiveServer
) -> None:
    sign_in(page, make_staff(biller, Role.CSR, name="Sam Clerk"), live_server)
    page.goto(f"/biller/accounts/{customer.pk}/")
    page.get_by_role("link", name="Pay by text").click()
    expect(page.get_by_text("The customer gets no bills by text.")).to_be_visible()
    page.get_by_role("link", name="Enrol", exact=True).click()
    expect(page.get_by_text("I agree to get texts about my bills from Maple Falls")).to_be_visible()
    page.get_by_label("Mobile number").fill("505 555 0123")
    page.get_by_role("button", name="Enrol").click()
    # What was typed stays, and the summary leads to what is missing.
    expect(page.get_by_label("Mobile number")).to_have_value("505 555 0123")
    look(page, "text-enrol-refused")
    page.get_by_role("link", name="Choose: How the customer agreed").click()
    page.keyboard.press("Space")
    page.get_by_label("The customer agreed to exactly these words").check()
    page.get_by_role("button", name="Enrol").click()
    expect(page.get_by_text(f"Pay by text is on at {NUMBER}.")).to_be_visible()
    assert SmsMode.objects.values_list("number", "consent_by").get() == ("+15055550123", "Sam Clerk")
    page.get_by_role("link", name="Text the bill now").click()
    page.get_by_role("button", name="Text the bill").click()
    expect(page.locator(".bubble").nth(1)).to_contain_text("$84.10")
    page.set_viewport_size({"width": 320, "height": 900})
    page.emulate_media(color_scheme="dark")
    # Colours that are on their way from light to dark read badly for a moment.
    page.reload()
    look(page, "text-account-narrow-dark")
    page.get_by_role("link", name="Opt this phone out").click()
    page.get_by_label("A telephone call").check()
    page.get_by_role("button", name="Opt the phone out").click()
    expect(page.get_by_text(f"{NUMBER} has opted out of texts")).to_be_visible()
    look(page, "text-account-opted-out")
    assert Phone.objects.get().opted_out_by == "a telephone call"
    assert Text.objects.get(kind__startswith="bill_ready").reason == "unsubscribed"


def test_words_are_counted_as_they_are_typed(page: Page, biller: Biller, live_server: LiveServer) -> None:
    sign_in(page, make_staff(biller, Role.ADMINISTRATOR, name="Dana Boss"), live_server)
    page.goto("/biller/settings/texts/")
    page.get_by_role("link", name="Usual words of Receipt in English").click()
    words = page.get_by_role("textbox", name="Words")
    check = page.locator("#check")
    expect(check).to_contain_text("1 part, GSM-7")
    words.press_sequentially(" – thanks")
    expect(check).to_contain_text("2 parts, UCS-2")
    expect(check).to_contain_text("“–” (en dash)")
    words.fill("{programme}: Paid {total}.")
    expect(check.locator(".bubble")).to_have_text("Maple Falls: Paid $85.60.")
    assert not Wording.objects.exists()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("This text goes out in your words now.")).to_be_visible()
    assert Wording.objects.get().body == "{programme}: Paid {total}."
