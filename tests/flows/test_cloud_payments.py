"""CloudPay in a real browser: a machine opens a payment, a CSR makes it, and the biller's system hears of a CSR's payment.

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.models import Biller, Customer
from datapump.models import Purpose
from payments.gateways.test_numbers import CARDS
from payments.models import CloudPayment, Payment, Route
from tests.api.machines import Machine
from tests.cis import Cis
from tests.datapump.conftest import deliver, point_at
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.flows.test_customer_portal import enter_card, look
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)

MODES = "0(WEB)|2(CSRWEB)|5(API)"


@pytest.fixture
def town(processor: Processor, cis: Cis, live_server: LiveServer) -> tuple[Biller, Route, Customer]:
    processor.control(parents=[live_server.url])
    biller = make_biller(
        name="Maple Falls Utilities", slug="maple-falls", accent="#0b6e4f", return_hosts=["cis.maple.example"]
    )
    point_at(cis, biller, Purpose.PAYMENTS, options={"card_modes": MODES, "ach_modes": MODES})
    customer = make_customer(biller, number="35909-001", base="35909", sub="001", name="Lucía Hernández")
    make_invoice(customer, "84.10")
    return biller, make_route(biller, processor.url, merchant="maple-falls"), customer


def opened(machine: Machine, key: str, **given: str) -> tuple[str, str]:
    """Open a payment as the biller's system does; gives the path of its address and its id."""
    asked = {"account": "35909", "sub": "001", "return_url": "https://cis.maple.example/done", **given}
    answer = machine.send("POST", "cloud-payments/", asked, idempotency_key=key)
    assert answer.status_code == 201
    return re.sub(r"^https?://[^/]+", "", answer.json()["url"]), answer.json()["id"]


@pytest.mark.spec("MSP-27")
@pytest.mark.expected_errors("422")
def test_a_csr_pays_what_the_billers_system_opened_and_its_book_says_csrweb(
    page: Page, town: tuple[Biller, Route, Customer], processor: Processor, cis: Cis
) -> None:
    biller, route, customer = town
    make_instrument(customer, route, processor.token("maple-falls", last4="4242"))
    machine = Machine(biller)
    path, cloud_id = opened(machine, "k1", who="csr", user_name="cthompson", balance_due="99.10")
    page.goto(path)
    expect(page.get_by_text("$99.10")).to_be_visible()
    expect(page.get_by_role("link", name="Sign in")).to_have_count(0)
    look(page, "cloud-pay")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Choose how you want to pay").first).to_be_visible()
    look(page, "cloud-pay-refused")
    # With a card of the caller's, which the method on file is beside.
    expect(page.get_by_role("radio", name="Visa •••• 4242")).to_be_visible()
    page.get_by_role("radio", name="Another card").check()
    page.get_by_role("button", name="Continue").click()
    expect(page.frame_locator("iframe.hosted-fields").get_by_label("Card number")).to_be_visible()
    look(page, "cloud-method")
    enter_card(page)
    expect(page.get_by_role("heading", name="Check your payment")).to_be_visible()
    look(page, "cloud-review")
    page.get_by_role("button", name="Pay $99.10").click()
    expect(page.get_by_text("Thank you. Your payment is made.")).to_be_visible()
    look(page, "cloud-receipt")
    back = page.get_by_role("link", name="Back to Maple Falls Utilities").last
    expect(back).to_have_attribute("href", f"https://cis.maple.example/done?cloud_payment={cloud_id}")
    payment = Payment.objects.get()
    assert (payment.state, payment.amount, payment.made_by) == ("posted", Decimal("99.10"), "cthompson by web service")
    told = machine.get(f"cloud-payments/{cloud_id}/").json()
    assert (told["state"], told["payment"]["confirmation"]) == ("paid", payment.confirmation)
    deliver()
    assert [(row["mode"], row["amount"]) for row in cis.book()["payments"]] == [("CSRWEB", "99.10")]


def test_a_payer_pays_in_spanish_without_javascript_and_the_address_is_over_then(
    browser: Browser, live_server: LiveServer, town: tuple[Biller, Route, Customer], processor: Processor
) -> None:
    biller, _route, _customer = town
    path, _ = opened(Machine(biller), "k1", who="payer", balance_due="84.10")
    context = browser.new_context(base_url=live_server.url, java_script_enabled=False, locale="es-US")
    page = context.new_page()
    page.goto(path)
    expect(page.get_by_role("heading", name="Pagar esta factura")).to_be_visible()
    page.get_by_role("radio", name="Tarjeta").check()
    page.get_by_role("button", name="Continuar").click()
    page.get_by_role("link", name="Escribir la tarjeta en la página del procesador").click()
    number = CARDS["visa"].number
    for name, text in {"holder": "Lucia", "number": number, "expiry": "04/30", "cvv": "123", "zip": "80202"}.items():
        page.locator(f"#{name}").fill(text)
    page.get_by_role("button").last.click()
    page.get_by_role("button", name="Pagar $84.10").click()
    payment = Payment.objects.get()
    expect(page.get_by_text(payment.confirmation).first).to_be_visible()
    assert (payment.state, payment.made_by) == ("posted", "Payer by web service")
    look(page, "cloud-receipt-es", rules=False)
    CloudPayment.objects.update(expires_at=timezone.now() - datetime.timedelta(hours=2))
    page.goto(path)
    expect(page.get_by_role("heading", name="Este enlace ya no sirve")).to_be_visible()
    look(page, "cloud-over-es", rules=False)
    context.close()
