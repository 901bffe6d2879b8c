"""A payer and their phone in a real browser: pay by text from the first look to off, and the link in a text.

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.actors import Actor, Requestor
from billing.models import Biller, Customer
from payments.models import Payment
from sms.models import Line, Programme, SmsMode
from sms.operations import enrolments, links
from sms.operations.modes import State
from tests.factories import (
    make_biller,
    make_customer,
    make_instrument,
    make_invoice,
    make_link,
    make_route,
    make_user,
)
from tests.flows.test_customer_portal import enter_card, look
from tests.processor import Processor
from tests.staff import sign_in

pytestmark = pytest.mark.django_db(transaction=True)

LINE, ONE, TWO = "+15055550100", "+15055550123", "+15055550199"
FROM_PHONE = Actor(Requestor.INBOUND_TEXT, "Text from the phone")


@pytest.fixture
def biller() -> Biller:
    biller = make_biller(
        name="Maple Falls Utilities",
        slug="maple-falls",
        accent="#0b6e4f",
        phone="+15555550123",
        allow_partial_payments=True,
    )
    Programme.objects.create(biller=biller, name="Maple Falls", contact="(555) 555-0123")
    Line.objects.create(biller=biller, number=LINE, driver="simulator", options={}, secret="unused")
    return biller


@pytest.fixture
def customer(biller: Biller) -> Customer:
    customer = make_customer(biller, name="Lucía Hernández", display_number="35909-001", zip="80202")
    make_invoice(customer, "84.10")
    return customer


@pytest.mark.expected_errors("422")
def test_the_page_waits_for_the_phone_and_shows_by_itself_that_it_answered(
    page: Page, customer: Customer, live_server: LiveServer
) -> None:
    payer = make_user("lucia@example.com", name="Lucía Hernández")
    make_link(payer, customer)
    make_instrument(customer, make_route(customer.biller), is_default=True)
    sign_in(page, payer, live_server)
    page.goto("/home/")
    look(page, "text-home-off")
    page.get_by_role("link", name="Turn on Pay by text").click()
    look(page, "text-number")
    page.get_by_role("button", name="Send me the text").click()
    expect(page).to_have_title(re.compile("^Error:"))
    look(page, "text-number-error")
    page.get_by_label("Mobile number").fill("505 555 0123")
    page.get_by_label("I have read these terms").check()
    page.get_by_role("button", name="Send me the text").click()
    expect(page.get_by_role("heading", name="We sent a text to (•••) •••-0123")).to_be_visible()
    look(page, "text-waiting")
    page.get_by_role("button", name="Send the text again").click()
    expect(page.get_by_text("We sent the text again.")).to_be_visible()
    # Nothing changes under whoever reads with the keyboard while the page asks.
    page.get_by_role("link", name="Change the number").focus()
    with page.expect_response(lambda answer: answer.status == 204):
        pass
    expect(page.get_by_role("link", name="Change the number")).to_be_focused()
    assert enrolments.confirm(biller=customer.biller, number=ONE, actor=FROM_PHONE) == 1
    expect(page.get_by_role("heading", name="Pay by text is on")).to_be_visible(timeout=8000)
    expect(page.locator("#live")).to_have_text("Pay by text is on.")
    look(page, "text-on")

    # In Spanish, on a small phone at night: another number, and the old one is kept.
    page.get_by_role("link", name="Change the number").click()
    page.get_by_role("button", name="Español").click()
    page.set_viewport_size({"width": 320, "height": 800})
    page.emulate_media(color_scheme="dark")
    # Colours that are on their way from light to dark read badly for a moment.
    page.reload()
    look(page, "text-number-es-small-dark")
    page.get_by_label("Número de celular").fill("(505) 555-0199")
    page.get_by_label("He leído estas condiciones").check()
    page.get_by_role("button", name="Enviarme el mensaje").click()
    expect(page.get_by_text("Respóndalo con la palabra SÍ.")).to_be_visible()
    look(page, "text-waiting-es-small-dark")
    page.get_by_role("button", name="Conservar el anterior").click()
    expect(page.get_by_text("Su número queda como estaba.")).to_be_visible()
    look(page, "text-on-es-small-dark")
    page.get_by_role("link", name="Condiciones, ayuda y privacidad").click()
    look(page, "text-terms-es-small-dark")
    page.goto("/home/")
    look(page, "text-home-on-es-small-dark")
    assert State.of(SmsMode.objects.get()) == State(ONE, registered=True)


def test_a_link_in_a_text_pays_the_bill_without_a_sign_in(
    page: Page, customer: Customer, processor: Processor, live_server: LiveServer
) -> None:
    processor.control(parents=[live_server.url])
    make_route(customer.biller, processor.url, merchant="maple-falls")
    path = links.make(customer=customer, now=timezone.now()).removeprefix(settings.PUBLIC_URL)
    code = path.removeprefix("/t/")
    told: list[str] = []
    page.on("request", lambda request: told.append(request.all_headers().get("referer", "")))
    page.goto(path)
    look(page, "link")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Pay your bill")).to_be_visible()
    page.get_by_role("radio", name="Card").check()
    page.get_by_role("button", name="Continue").click()
    enter_card(page)
    page.get_by_role("button", name="Pay $84.10").click()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    look(page, "link-receipt")
    assert "35909" not in page.content()
    assert [one for one in told if code in one] == [] and any(told)
    assert (Payment.objects.get().state, Payment.objects.get().customer) == ("posted", customer)
    page.goto(path)
    expect(page.get_by_role("heading", name="This bill is paid")).to_be_visible()
    look(page, "link-paid")
