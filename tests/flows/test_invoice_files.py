"""A biller's person hands in an invoice file in a real browser, watches it load, reads its errors, takes it back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.models import Invoice, InvoiceFile
from billing.operations import invoice_files
from payments.operations import carryovers
from tests.browsers import violations
from tests.factories import make_biller
from tests.invoice_files import ACTOR, Bill, write
from tests.staff import make_staff, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
_SHOTS = os.environ.get("SCREENSHOTS", "")


def look(page: Page, name: str) -> None:
    """Hold a page to the accessibility rules, and keep its picture where asked."""
    if _SHOTS:
        page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)
    assert violations(page) == [], name
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0, f"{name} scrolls sideways"


@pytest.mark.expected_errors("422")
def test_a_file_is_handed_in_loads_before_ones_eyes_and_is_taken_back(
    page: Page, live_server: LiveServer, tmp_path: Path
) -> None:
    biller = make_biller(number=2778, name="Maple Falls Utilities")
    sign_in(page, make_staff(biller, name="Dana Whitfield"), live_server)
    page.goto("/biller/files/")
    look(page, "files-none")
    page.get_by_role("link", name="Hand in a file").click()
    look(page, "file-upload")
    wrong = tmp_path / "bills.bif"
    wrong.write_bytes(b"x")
    page.get_by_label("Invoice file").set_input_files(wrong)
    page.get_by_role("button", name="Hand in").click()
    expect(page.get_by_text("The name must be the biller's number").first).to_be_visible()
    look(page, "file-upload-wrong")

    path = tmp_path / "2778_11222026.bif"
    path.write_bytes(write(biller, [Bill(account=f"{n}-001", number=str(n)) for n in range(30)], made_on="11/01/2025"))
    page.get_by_label("Invoice file").set_input_files(path)
    page.get_by_role("button", name="Hand in").click()
    expect(page.get_by_text("Waits for a worker")).to_be_visible()
    look(page, "file-waiting")

    def pause(columns: Any) -> None:
        # Half-way through the merge, which is one transaction, the page must show it by itself.
        if columns.get("loaded_count"):
            expect(page.get_by_text("30 of 30 invoices")).to_be_visible()

    file = InvoiceFile.objects.get()
    invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, watch=pause)
    expect(page.get_by_role("heading", name="Outcome")).to_be_visible()
    expect(page.get_by_text("Equal")).to_have_count(2)
    look(page, "file-loaded")

    page.get_by_role("link", name="Withdraw").click()
    look(page, "file-withdraw")
    page.get_by_role("button", name="Withdraw the file").click()
    expect(page.get_by_text("The file is withdrawn.")).to_be_visible()
    assert Invoice.objects.filter(withdrawn=True).count() == 30
    page.goto("/biller/files/")
    expect(page.get_by_role("link", name="2778_11222026.bif")).to_be_visible()
    look(page, "files")


def test_what_is_wrong_with_a_file_can_be_read_and_filtered(
    page: Page, live_server: LiveServer, tmp_path: Path
) -> None:
    biller = make_biller(number=2778, name="Maple Falls Utilities")
    sign_in(page, make_staff(biller), live_server)
    path = tmp_path / "2778_11222026.bif"
    bills = [Bill(account=f"{n}-001", fields={12: "never", 60: "=1+1"}) for n in range(60)]
    path.write_bytes(write(biller, bills, made_on="11/01/2025"))
    page.goto("/biller/files/upload/")
    page.get_by_label("Invoice file").set_input_files(path)
    page.get_by_role("button", name="Hand in").click()
    invoice_files.load(file_id=InvoiceFile.objects.get().pk, actor=ACTOR, carry=carryovers.carry)
    expect(page.get_by_text("120 errors were found. Nothing was loaded.")).to_be_visible()
    look(page, "file-refused")
    page.get_by_role("link", name="All of them, by line").click()
    expect(page.get_by_text("1–50 of 120").last).to_be_visible()
    look(page, "file-errors")
    page.set_viewport_size({"width": 320, "height": 800})
    look(page, "file-errors-narrow")
    page.go_back()
    look(page, "file-refused-narrow")
