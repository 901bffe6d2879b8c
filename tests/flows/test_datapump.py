"""A CSR in a real browser: did the biller's system hear it, when, and what did it say?

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.actors import Actor
from billing.models import Biller, Customer, User
from datapump.models import Endpoint, Purpose, Record, RecordType
from datapump.operations import resends
from tests.browsers import violations
from tests.cis import Cis
from tests.datapump.conftest import billed, deliver, enrol, pay, point_at
from tests.factories import make_biller
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
def town(cis: Cis, live_server: LiveServer) -> tuple[Biller, Customer, User]:
    cis.reset()
    biller = make_biller(name="Maple Falls Utilities", slug="maple-falls", accent="#0b6e4f")
    for purpose in (Purpose.PAYMENTS, Purpose.PAPERLESS, Purpose.AUTOPAY):
        point_at(cis, biller, purpose)
    customer = billed(biller, name="Mary Jones", number="35909-001")
    return biller, customer, make_staff(biller, name="Dana Whitfield", email="dana@maplefalls.example")


def look(page: Page, name: str) -> None:
    """Hold a page to the accessibility rules, and keep its picture where asked."""
    if _SHOTS:
        page.wait_for_timeout(150)
        page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)
    assert violations(page) == [], name
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0, f"{name} scrolls sideways"


def look_and_go_on(page: Page, name: str) -> None:
    """Look, then load the page again: axe leaves empty style attributes, which htmx would copy and the policy refuse."""
    look(page, name)
    page.goto(page.url)


@pytest.mark.spec("PBT-10")
def test_a_csr_finds_out_what_the_billers_system_heard(
    page: Page, live_server: LiveServer, town: tuple[Biller, Customer, User], cis: Cis
) -> None:
    biller, mary, dana = town
    Endpoint.objects.filter(biller=biller).update(attempts_allowed=1)
    enrol(mary, RecordType.AUTOPAY, True)
    pay(mary, "84.10")
    deliver()
    cis.control({"action": "failure", "next": 1, "text": "Account is closed"})
    refused = pay(mary, "15.00")
    deliver()
    cis.reset()
    for _ in range(28):
        pay(billed(biller))

    sign_in(page, dana, live_server)
    page.goto("/biller/datapump/?size=25")
    expect(page.get_by_role("heading", level=1)).to_have_text("DataPump history")
    expect(page.locator(".list-position")).to_have_text("1–25 of 31")
    expect(page.locator("#endpoints")).to_contain_text("Answering")
    look_and_go_on(page, "datapump-history")

    # Filters live in the address and can be taken off one by one.
    page.locator("summary", has_text="Status").click()
    page.get_by_label("Failed", exact=True).check()
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"state=failed"))
    expect(page.locator(".list-position")).to_have_text("1–1 of 1")
    expect(page.locator("table.list-table").last).to_contain_text("Account is closed")
    look_and_go_on(page, "datapump-history-filtered")
    page.get_by_role("link", name=re.compile("remove this filter")).click()
    expect(page.locator(".list-position")).to_have_text("1–25 of 31")
    page.goto("/biller/datapump/?q=mary+jones")
    expect(page.locator(".list-position")).to_have_text("1–3 of 3")
    page.goto("/biller/datapump/?q=nobody+of+this+name")
    expect(page.get_by_text("Nothing matches these filters")).to_be_visible()
    look(page, "datapump-history-empty")

    # One update: its attempts, what was said, the same account's others.
    page.goto(f"/biller/datapump/?q={refused.pk}")
    page.get_by_role("link", name="Payment", exact=True).click()
    expect(page).to_have_url(re.compile(str(refused.pk)))
    expect(page.get_by_role("group", name="Attempts")).to_contain_text("Refused")
    expect(page.locator("#payload")).to_contain_text("••••")
    look(page, "datapump-update")
    page.get_by_role("button", name="Show the numbers").click()
    expect(page.locator("#payload")).to_contain_text("that you looked has been recorded")

    # Sent again, it arrives.
    page.get_by_role("link", name="Send again").click()
    expect(page.get_by_text("may already have this update")).to_be_visible()
    look(page, "datapump-resend")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("will be sent again in a moment")).to_be_visible()
    deliver()
    page.goto(f"/biller/datapump/{refused.pk}/")
    expect(page.get_by_text("Accepted by the biller’s system")).to_be_visible()
    assert {one["amount"] for one in cis.book()["payments"]} >= {"84.10", "15.00"}

    # The account has the same list as a tab.
    page.goto(f"/biller/accounts/{mary.pk}/datapump/")
    expect(page.locator(".list-position")).to_have_text("1–3 of 3")
    look(page, "datapump-account")


def test_all_that_match_are_sent_again_with_progress(
    page: Page, live_server: LiveServer, town: tuple[Biller, Customer, User], cis: Cis
) -> None:
    biller, mary, dana = town
    for _ in range(5):
        pay(mary)
    Record.objects.filter(biller=biller).update(state="failed", failure="The CIS was closed", trouble="refused")
    sign_in(page, dana, live_server)
    page.goto("/biller/datapump/?state=failed")
    page.get_by_role("link", name="Send all that match again").click()
    expect(page.get_by_text("5 updates match and can be sent again")).to_be_visible()
    look(page, "datapump-resend-all")
    page.get_by_role("button", name="Send 5 again").click()
    expect(page.get_by_text("0 of 5 updates")).to_be_visible()
    resends.work(actor=Actor.system("test"))
    expect(page.get_by_text("5 of 5 updates")).to_be_visible()  # the page looks again by itself
    look(page, "datapump-resend-run")
    deliver()
    assert cis.totals()["payments"] == 5


@pytest.mark.expected_errors("422")
def test_an_administrator_sets_up_an_endpoint_and_tests_it(
    page: Page, live_server: LiveServer, town: tuple[Biller, Customer, User], cis: Cis
) -> None:
    biller, _, dana = town
    Endpoint.objects.filter(biller=biller, purpose=Purpose.PAYMENTS).delete()
    sign_in(page, dana, live_server)
    page.goto("/biller/settings/datapump/")
    look(page, "datapump-settings")
    page.get_by_role("link", name="Set up Payments").click()
    page.get_by_label("11 – ").fill(cis.url)
    page.get_by_label("12 – ").fill(cis.username)
    page.get_by_label("64 – ").fill("WEB")
    page.get_by_role("button", name="Save the endpoint").click()
    expect(page.get_by_role("heading", name="There is a problem")).to_be_visible()
    look(page, "datapump-endpoint-wrong")
    page.get_by_label("13 – ").fill(cis.password)
    page.get_by_label("64 – ").fill("0(WEB)|2(CSRWEB)|8(POS)")
    page.get_by_role("button", name="Save the endpoint").click()
    expect(page.get_by_text("Send a test to see whether it answers")).to_be_visible()
    page.get_by_role("button", name="Send test to Payments").click()
    expect(page.get_by_text(re.compile("Payments: The biller's system answered in"))).to_be_visible()
    page.goto("/biller/settings/datapump/payments/")
    expect(page.get_by_label("13 – ")).to_have_value("")
    look(page, "datapump-endpoint")
