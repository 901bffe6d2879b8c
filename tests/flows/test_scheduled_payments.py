"""Scheduled payments as people live them: payers and CSRs in a browser, and the biller's system that hears of each.

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import datetime
import re

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.models import Biller, Customer, User
from datapump.models import Configuration, Purpose, Record
from payments.models import Payment, ScheduledPayment
from tests.cis import Cis
from tests.datapump.conftest import deliver, point_at
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_link, make_route, make_user
from tests.flows.test_customer_portal import look
from tests.processor import Processor
from tests.staff import make_staff, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

PHONE = {"width": 320, "height": 640}
DESK = {"width": 1280, "height": 900}
# What the biller's system reads of a scheduled payment, and nothing besides (MSP-15).
BILL, LOCATION, ACCOUNT = "121940013401", "321045080002", "1001"


@pytest.fixture
def biller(processor: Processor, cis: Cis) -> Biller:
    made = make_biller(name="Maple Falls Utilities", slug="maple-falls", allow_partial_payments=True)
    make_route(made, processor.url, merchant="maple-falls")
    Configuration.objects.filter(biller=made).update(scheduled_payments=True)
    for purpose in (Purpose.PAYMENTS, Purpose.AUTOPAY):
        point_at(cis, made, purpose)
    return made


@pytest.fixture
def customer(biller: Biller, processor: Processor) -> Customer:
    made = make_customer(biller, name="Lucía Hernández", number="1-001", base="1", sub="001")
    due = biller.business_date(timezone.now()) + datetime.timedelta(days=12)
    make_invoice(made, "156.25", number=BILL, custom4=LOCATION, due_on=due, collect_on=None)
    make_instrument(made, biller.routes.get(), processor.token("maple-falls"))
    return made


@pytest.fixture
def payer(customer: Customer) -> User:
    user = make_user("lucia@example.com", name="Lucía Hernández")
    make_link(user, customer)
    return user


def ahead(customer: Customer, days: int) -> datetime.date:
    return customer.biller.business_date(timezone.now()) + datetime.timedelta(days=days)


def shown(day: datetime.date) -> str:
    return f"{day:%b} {day.day}, {day.year}"


def heard(cis: Cis, customer: Customer, began: datetime.datetime) -> list[str]:
    """Deliver, and give the comments of the account, of which everything else is as the partner's samples have it."""
    deliver()
    rows = cis.book()["comments"]
    for row in rows:
        assert (row["account"], row["service_location"], row["seen_before"]) == (ACCOUNT, LOCATION, False)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", row["log_time"])
        logged = datetime.datetime.fromisoformat(row["log_time"])
        assert logged.utcoffset() == logged.astimezone(customer.biller.zone).utcoffset()
        assert began <= logged <= timezone.now()
    assert {record.state for record in Record.objects.all()} == {"delivered"}
    return [row["comment"] for row in rows]


@pytest.mark.expected_errors("422")
@pytest.mark.spec("MSP-15", "MSP-36")
def test_a_payer_and_a_csr_schedule_change_and_cancel_and_the_billers_system_hears_of_each(
    biller: Biller, customer: Customer, payer: User, cis: Cis, processor: Processor, live_server: LiveServer, page: Page
) -> None:
    began = timezone.now().replace(microsecond=0)
    first, second = ahead(customer, 5), ahead(customer, 9)
    expected = [
        f"SCHED_PAY {first:%m%d%Y} 156.25 {BILL}",
        f"SCHED_PAY_UPDT {second:%m%d%Y} 100.00 {BILL}",
        f"SCHED_PAY_CNCL {second:%m%d%Y} 100.00 {BILL}",
    ]

    # The payer, from the bill.
    sign_in(page, payer, live_server)
    page.goto(live_server.url + reverse("customer-bill", args=[customer.pk, customer.invoices.get().pk]))
    look(page, "scheduled-bill")
    page.get_by_role("link", name="Pay on a later day").click()
    page.get_by_label("On which day?").fill(f"{ahead(customer, 0):%m/%d/%Y}")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Choose a day in the future. To pay today, pay now.").first).to_be_visible()
    look(page, "scheduled-payer-refused")
    page.get_by_label("On which day?").fill(f"{first:%m/%d/%Y}")
    page.get_by_label("All that is due on that day; today that is $156.25").check()
    expect(page.get_by_label("Fixed amount", exact=True)).to_be_hidden()
    look(page, "scheduled-payer-ask")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    look(page, "scheduled-payer-ask-phone", rules=False)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text(f"to charge {customer.instruments.get()} once, on {shown(first)}, for all")).to_be_visible()
    look(page, "scheduled-payer-review-phone", rules=False)
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
    look(page, "scheduled-payer-review")
    assert not ScheduledPayment.objects.exists()
    page.get_by_role("button", name="Agree and schedule it").click()
    expect(page.get_by_text(f"Your payment is scheduled for {shown(first)}.")).to_be_visible()
    look(page, "scheduled-payer-list")
    assert heard(cis, customer, began) == expected[:1]
    page.get_by_role("link", name="Change the scheduled payment of account").click()
    expect(page.get_by_label("On which day?")).to_have_value(f"{first:%m/%d/%Y}")
    page.get_by_label("On which day?").fill(f"{second:%m/%d/%Y}")
    page.get_by_label("A fixed amount").check()
    page.get_by_label("Fixed amount", exact=True).fill("100")
    look(page, "scheduled-payer-change")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Agree and change it").click()
    expect(page.get_by_text(f"Your payment is scheduled for {shown(second)}.")).to_be_visible()
    assert heard(cis, customer, began) == expected[:2]
    page.goto(live_server.url + reverse("customer-home"))
    look(page, "scheduled-home")
    page.goto(live_server.url + reverse("customer-scheduled"))
    page.get_by_role("link", name="Cancel the scheduled payment of account").click()
    look(page, "scheduled-payer-cancel")
    page.get_by_role("button", name="Cancel the payment").click()
    expect(page.get_by_text("The scheduled payment is cancelled. No money has been taken.")).to_be_visible()
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    look(page, "scheduled-payer-before-phone", rules=False)
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
    look(page, "scheduled-payer-before")
    assert heard(cis, customer, began) == expected

    # The CSR, from the account.
    page.context.clear_cookies()
    sign_in(page, make_staff(biller, "csr", name="Sam Clerk"), live_server)
    page.goto(live_server.url + reverse("biller-account", args=[customer.pk]))
    page.get_by_role("link", name="Schedule", exact=True).click()
    page.get_by_label("On which day?").fill(f"{first:%m/%d/%Y}")
    look(page, "scheduled-csr-ask")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Read these terms to the customer")).to_be_visible()
    page.get_by_role("button", name="Schedule the payment").click()
    expect(page.get_by_text("Read the terms out first.").first).to_be_visible()
    look(page, "scheduled-csr-refused")
    page.get_by_label("On the telephone").check()
    page.get_by_label("The customer agreed to exactly these terms").check()
    look(page, "scheduled-csr-review")
    page.get_by_role("button", name="Schedule the payment").click()
    expect(page.get_by_text(f"The payment is scheduled for {shown(first)}")).to_be_visible()
    look(page, "scheduled-csr-enrolments")
    page.goto(live_server.url + reverse("biller-account", args=[customer.pk]))
    look(page, "scheduled-csr-account")
    page.goto(live_server.url + reverse("biller-account-enrolments", args=[customer.pk]))
    page.get_by_role("link", name="Change the scheduled payment").click()
    page.get_by_label("On which day?").fill(f"{second:%m/%d/%Y}")
    page.get_by_label("A fixed amount").check()
    page.get_by_label("Fixed amount", exact=True).fill("100")
    look(page, "scheduled-csr-change")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("On the telephone").check()
    page.get_by_label("The customer agreed to exactly these terms").check()
    page.get_by_role("button", name="Change the payment").click()
    expect(page.get_by_text(f"The payment is scheduled for {shown(second)}")).to_be_visible()
    page.get_by_role("link", name="Cancel it").click()
    look(page, "scheduled-csr-cancel")
    page.get_by_role("button", name="Cancel the payment").click()
    expect(page.get_by_text("The scheduled payment is cancelled. Nothing was taken.")).to_be_visible()
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    look(page, "scheduled-csr-before-phone", rules=False)
    assert heard(cis, customer, began) == expected * 2

    made = ScheduledPayment.objects.order_by("created_at")
    assert [(one.state, one.made_by, one.ended_by) for one in made] == [
        ("cancelled", who, who) for who in ("Lucía Hernández", "Sam Clerk")
    ]
    assert (Payment.objects.count(), processor.charges()) == (0, {})
