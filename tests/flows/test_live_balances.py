"""Live balances where people see them: CSRs and payers in a browser, guests, phones, and with the biller's system in trouble.

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import datetime
import html
import re
import time
from collections.abc import Mapping
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.models import Adjustment, Biller, Chunk, Customer, User
from datapump.models import Balance, Endpoint, Purpose
from payments.models import Payment
from tests.cis import Cis
from tests.datapump.conftest import account_of, point_at
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_link, make_route, make_user
from tests.flows.test_customer_portal import look
from tests.payments.test_collections import collect, due_bill
from tests.processor import Processor
from tests.staff import client_of, make_staff, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

TROUBLE: dict[str, Mapping[str, Any]] = {
    "slow": {"action": "slow", "seconds": 6},
    "down": {"action": "drop_before"},
    "nonsense": {"action": "garbage", "kind": "html"},
    "half a balance": {"action": "garbage", "kind": "truncated"},
}


@pytest.fixture
def biller(processor: Processor, cis: Cis) -> Biller:
    made = make_biller(name="Maple Falls Utilities", slug="maple-falls", guest_secret="zip")
    make_route(made, processor.url, merchant="maple-falls")
    point_at(cis, made, Purpose.BALANCES, reuse_seconds=0, booked_minutes=0, timeout_seconds=1)
    return made


@pytest.fixture
def customer(biller: Biller, processor: Processor) -> Customer:
    made = make_customer(biller, name="Lucía Hernández", zip="05601", display_number="35909-001")
    make_invoice(made, "84.10")
    make_instrument(made, biller.routes.get(), processor.token("maple-falls"))
    return made


@pytest.fixture
def payer(customer: Customer) -> User:
    user = make_user("lucia@example.com", name="Lucía Hernández")
    make_link(user, customer)
    return user


def text(client: Client, url: str) -> str:
    began = time.monotonic()
    answer = client.get(url)
    assert answer.status_code == 200, url
    # A second for the biller's system, which takes six where it is slow; the rest is the page, on a busy machine.
    assert time.monotonic() - began < 5
    plain = re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style).*?</\1>", " ", answer.content.decode()))
    return re.sub(r"\s+", " ", html.unescape(plain))


def owes(cis: Cis, customer: Customer, amount: str, **others: Any) -> None:
    item = {
        "currentAmount": amount,
        "pastDueAmount": "1.00",
        "dueDate": "2026-12-09T00:00:00",
        **others.pop("item", {}),
    }
    cis.owes(account_of(customer), items=[item], **others)


@pytest.mark.spec("MSP-1", "MSP-4")
def test_a_csr_opens_an_account_and_reads_what_the_billers_system_says(customer: Customer, cis: Cis) -> None:
    csr = client_of(make_staff(customer.biller))
    owes(
        cis, customer, "99.10", transaction_types=["Cash Only"], extensions={"preventCreditCard": "Y"},
        item={"lastPaymentAmount": "60.00", "lastPaymentDate": "2026-11-02T00:00:00", "disconnectDate": "2026-12-20T00:00:00"},
    )  # fmt: skip
    said = text(csr, reverse("biller-account", args=[customer.pk]))
    for words in ("$99.10", "As of", "At the biller’s system", "Past due $1.00", "Due on Dec 9, 2026", "Cash Only",
                  "Disconnection on Dec 20, 2026", "Last payment $60.00", "Cards blocked by the biller’s system",
                  "Bank accounts blocked by the biller’s system"):  # fmt: skip
        assert words in said, words
    assert "could not be" not in said
    said = text(csr, reverse("biller-account-history", args=[customer.pk]))
    assert "Adjusted the account by $15.00" in said


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.spec("MSP-5")
def test_pages_open_in_time_with_the_last_known_balance_and_its_age(
    customer: Customer, payer: User, cis: Cis, trouble: str
) -> None:
    csr, lucia = client_of(make_staff(customer.biller)), client_of(payer)
    owes(cis, customer, "99.10")
    text(csr, reverse("biller-account", args=[customer.pk]))
    Balance.objects.update(answered_at=timezone.now() - datetime.timedelta(hours=3))
    cis.control(TROUBLE[trouble])
    account = reverse("biller-account", args=[customer.pk])
    for client, url in ((csr, account), (lucia, reverse("customer-home"))):
        said = text(client, url)
        assert "$99.10" in said
        assert "3 hours ago" in said
        assert "Maple Falls Utilities could not be asked just now." in said
        assert "$0.00" not in said
    said = text(csr, account)
    assert "The balance could not be read from the biller’s system" in said
    assert Balance.objects.get().failure in said
    # Nothing is charged on such a balance unless the biller wants it.
    pay = reverse("customer-pay", args=[customer.pk])
    assert "What you owe is not known at the moment" in text(lucia, pay)
    assert "No payment can be taken until the balance can be read" in text(
        csr, reverse("biller-account-pay", args=[customer.pk])
    )
    Endpoint.objects.update(known_hours=4)
    said = text(lucia, pay)
    assert "$99.10" in said
    assert "How much" in said


@pytest.mark.parametrize("trouble", ["nonsense", "down"])
@pytest.mark.spec("MSP-5")
def test_what_was_never_known_is_told_by_the_bills_and_never_as_zero(
    customer: Customer, payer: User, cis: Cis, trouble: str
) -> None:
    cis.control(TROUBLE[trouble])
    said = text(client_of(payer), reverse("customer-home"))
    assert "$84.10" in said
    assert "As far as we know: Maple Falls Utilities could not be asked just now." in said
    assert (Adjustment.objects.count(), Balance.objects.get().answered_at) == (0, None)


@pytest.mark.spec("MSP-1", "MSP-4")
def test_a_guest_pays_what_the_billers_system_says_and_only_as_it_allows(customer: Customer, cis: Cis) -> None:
    owes(cis, customer, "20.00", extensions={"preventCreditCard": "Y"})
    guest = Client()
    found = guest.post(reverse("customer-find", args=["maple-falls"]), {"number": "35909-001", "secret": "05601"})
    said = text(guest, found["Location"])
    assert "$20.00" in said
    assert "As of" in said
    assert "New bank account" in said or "bank account" in said.lower()
    assert 'value="card"' not in guest.get(found["Location"]).content.decode()
    owes(cis, customer, "20.00", transaction_types=["cashPayment"])
    assert "Cards and bank accounts are blocked for it." in text(guest, found["Location"])


@pytest.mark.spec("MSP-3")
def test_what_is_left_of_a_prepaid_account_is_shown_with_its_days(customer: Customer, payer: User, cis: Cis) -> None:
    cis.owes(account_of(customer), items=[], extensions={"remainingBalance": "4.93", "remainingDays": "1.5"})
    for client, url in (
        (client_of(make_staff(customer.biller)), reverse("biller-account", args=[customer.pk])),
        (client_of(payer), reverse("customer-home")),
    ):
        said = text(client, url)
        assert "$4.93" in said
        assert "Prepaid balance left" in said
        assert "1.5 days left" in said


@pytest.mark.spec("MSP-5")
def test_the_page_of_a_run_counts_held_accounts_and_says_why(biller: Biller, cis: Cis, processor: Processor) -> None:
    held = due_bill(biller, processor).customer
    cis.control({"action": "garbage", "kind": "html", "account": account_of(held)})
    run = collect(biller)
    said = text(client_of(make_staff(biller)), reverse("biller-run", args=[run.pk]))
    assert "1 account was not charged: what is owed could not be asked" in said
    assert Chunk.objects.get(run=run).held_for in said
    assert Payment.objects.count() == 0


@pytest.mark.spec("MSP-1", "MSP-35")
def test_the_settings_of_balances_are_fields_and_say_what_is_wrong(biller: Biller) -> None:
    manager = client_of(make_staff(biller))
    url = reverse("biller-datapump-endpoint", args=[Purpose.BALANCES])
    page = text(manager, url)
    for label in (
        "Seconds for which a balance counts as fresh",
        "Hours for which a known balance may be charged",
        "Minutes until a payment that it was told of shows in a balance",
        "What allowable transaction types allow",
    ):
        assert label in page
    given = {
        "connector": "multispeak", "setting_8": "http://cis.example/CB", "setting_9": "ratepayer", "in_flight": "4",
        "timeout_seconds": "3", "reuse_seconds": "30", "known_hours": "12", "booked_minutes": "0",
    }  # fmt: skip
    assert manager.post(url, {**given, "transaction_types": "Cash Only"}).status_code == 422
    assert manager.post(url, {**given, "transaction_types": "Cash Only(none)"}).status_code == 302
    endpoint = Endpoint.objects.get(biller=biller, purpose=Purpose.BALANCES)
    assert (endpoint.timeout_seconds, endpoint.reuse_seconds, endpoint.known_hours, endpoint.booked_minutes) == (
        3,
        30,
        12,
        0,
    )
    assert endpoint.options == {"transaction_types": "Cash Only(none)"}


@pytest.mark.spec("MSP-1", "MSP-5")
def test_a_csr_and_a_payer_open_an_account_with_its_live_balance_and_pay_it(
    customer: Customer, payer: User, cis: Cis, live_server: LiveServer, page: Page
) -> None:
    owes(cis, customer, "60.00")
    dana = make_staff(customer.biller, name="Dana Whitfield")
    sign_in(page, dana, live_server)
    page.goto(live_server.url + reverse("biller-account", args=[customer.pk]))
    expect(page.locator(".account-balance")).to_contain_text("$60.00")
    expect(page.locator(".account-balance")).to_contain_text("As of")
    look(page, "live-balance-csr")
    cis.control(TROUBLE["nonsense"])
    page.reload()
    expect(page.locator(".account-balance")).to_contain_text("$60.00")
    expect(page.get_by_text("The balance could not be read from the biller’s system")).to_be_visible()
    look(page, "live-balance-csr-trouble")
    cis.control()
    page.context.clear_cookies()
    sign_in(page, payer, live_server)
    page.goto(live_server.url + reverse("customer-home"))
    expect(page.get_by_text("$60.00").first).to_be_visible()
    look(page, "live-balance-payer")
    page.get_by_role("link", name=f"Pay account {customer.shown_number}").click()
    expect(page.get_by_text("As of")).to_be_visible()
    look(page, "live-balance-pay")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name=re.compile(r"Pay \$60\.00")).click()
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    assert [(str(one.amount), one.state) for one in Payment.objects.all()] == [("60.00", "posted")]
    # The biller's system has not heard of it yet: nothing is put back on the account.
    page.goto(live_server.url + reverse("customer-home"))
    expect(page.get_by_text("Nothing is due.")).to_be_visible()
    cis.control(TROUBLE["down"])
    page.reload()
    expect(page.get_by_text("could not be asked just now")).to_be_visible()
    look(page, "live-balance-payer-trouble")
