"""A payer and a CSR in a real browser open a bill's PDF, also while the biller's print server is down; a guest's receipt.

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing import advanced_settings
from billing.actors import Actor
from billing.models import Invoice
from datapump.print_servers.registry import DAFFRON
from tests.browsers import violations
from tests.cis import Cis
from tests.factories import make_biller, make_customer, make_invoice, make_link, make_user
from tests.staff import make_staff, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
_SHOTS = os.environ.get("SCREENSHOTS", "")


@pytest.fixture(scope="module")
def cis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cis]:
    running = Cis(tmp_path_factory.mktemp("cis"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def bill(cis: Cis) -> Invoice:
    cis.reset()
    biller = make_biller(name="Maple Falls Utilities", slug="maple-falls", accent="#0b6e4f")
    for number, given in ((20, cis.prints_url), (119, "4")):
        advanced_settings.change(actor=Actor.system("test"), biller=biller, number=number, given=given)
    customer = make_customer(biller, name="Mary Jones", number="35909-001", base="35909", sub="001")
    return make_invoice(customer, number="7001", format_guid=DAFFRON, custom10="35909-7001")


def look(page: Page, name: str) -> None:
    if _SHOTS:
        page.wait_for_timeout(150)
        page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)
    assert violations(page) == [], name


def downloaded(page: Page, link: str) -> tuple[str, bytes]:
    with page.expect_download() as waiting:
        page.get_by_role("link", name=link).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


@pytest.mark.spec("MSP-20")
@pytest.mark.expected_errors("504", "502", "404", "422")
def test_a_payer_and_a_csr_open_a_bill_as_pdf(page: Page, live_server: LiveServer, bill: Invoice, cis: Cis) -> None:
    payer = make_user()
    make_link(payer, bill.customer)
    sign_in(page, payer, live_server)
    here = f"/account/{bill.customer_id}/bills/{bill.pk}/"
    page.goto(here)
    look(page, "bill-with-pdf")

    # The print server is down: the figures are there, and a way to try again.
    cis.control({"action": "http_status", "status": 503})
    page.get_by_role("link", name="Bill as PDF").click()
    expect(page.get_by_role("alert")).to_contain_text("The PDF of this bill cannot be shown at the moment")
    expect(page.get_by_role("article")).to_contain_text("$84.10")
    look(page, "bill-without-pdf")
    cis.control()
    name, body = downloaded(page, "Try again")
    assert (name, body[:5]) == ("bill-7001.pdf", b"%PDF-")
    assert b"Account 35909 sub 001" in body
    assert b"Bill control number 35909-7001" in body

    other = make_invoice(make_customer(bill.biller))
    answer = page.goto(f"/account/{other.customer_id}/bills/{other.pk}/pdf/")
    assert answer is not None
    assert answer.status == 404

    page.context.clear_cookies()
    sign_in(page, make_staff(bill.biller), live_server)
    page.goto(f"/biller/bills/{bill.pk}/")
    assert downloaded(page, "Bill as PDF") == (name, body)
    Invoice.objects.filter(pk=bill.pk).update(custom2="")
    page.get_by_role("link", name="Bill as PDF").click()
    expect(page.get_by_role("alert")).to_contain_text("gave this bill no account (Custom2)")
    look(page, "biller-bill-without-pdf")

    # The biller's administrator takes the print server away: the PDF is ours.
    page.goto("/biller/settings/datapump/")
    page.get_by_label("20 – Bills as PDF: address of the print server").fill("http://cis.example/?a=b")
    page.get_by_role("button", name="Save the print server").click()
    expect(page.get_by_text("Write the address of the print server without user name, ? and #.").first).to_be_visible()
    page.get_by_label("20 – Bills as PDF: address of the print server").fill("")
    page.get_by_role("button", name="Save the print server").click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    look(page, "settings-of-the-print-server")
    page.goto(f"/biller/bills/{bill.pk}/")
    name, body = downloaded(page, "Bill as PDF")
    assert b"<pdfuaid:part>1</pdfuaid:part>" in body
    assert len(cis.book()["prints"]) == 2
