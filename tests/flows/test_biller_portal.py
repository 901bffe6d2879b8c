"""A biller's people in a real browser: finding an account, taking a payment, running a collection, deciding a case.

``SCREENSHOTS=directory`` keeps a picture of every page that a test looks at.
"""

from __future__ import annotations

import datetime
import os
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from django.core import mail
from django.db.models import F
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from billing.actors import Actor
from billing.models import (
    ApiToken,
    AuditEntry,
    Biller,
    Customer,
    Invoice,
    NoticeDelivery,
    NoticeState,
    Role,
    Run,
    RunState,
    User,
)
from datapump.models import Record
from payments.gateways.test_numbers import CARDS
from payments.models import Attempt, Authorization, Case, CaseKind, Channel, Instrument, Payment, PaymentState, Route
from payments.operations import charges, enrolments
from payments.operations.cases import open_case
from payments.tasks import work_run
from tests.browsers import violations
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_instrument,
    make_invoice,
    make_link,
    make_route,
    make_user,
)
from tests.processor import Processor
from tests.staff import make_staff, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

_SHOTS = os.environ.get("SCREENSHOTS", "")


@dataclass
class Town:
    """One biller with a customer who owes two bills and has a card on file, and who picks up the telephone."""

    biller: Biller
    route: Route
    customer: Customer
    bill: Invoice
    card: Instrument
    dana: User


@pytest.fixture
def town(processor: Processor, live_server: LiveServer) -> Town:
    processor.control(parents=[live_server.url])
    biller = make_biller(
        name="Maple Falls Utilities",
        slug="maple-falls",
        accent="#0b6e4f",
        phone="+15555550142",
        email="help@maplefalls.example",
    )
    route = make_route(biller, processor.url, name="Card and ACH", merchant="maple-falls")
    customer = make_customer(
        biller,
        name="Lucía Hernández",
        number="35909-001",
        phone="+15555550123",
        email="lucia@example.com",
        address1="18 Mill Race Lane",
        city="Maple Falls",
        state="VT",
        zip="05601",
    )
    today = datetime.datetime.now(biller.zone).date()
    days = datetime.timedelta
    make_invoice(
        customer, "41.20", issued_on=today - days(50), due_on=today - days(20), number="INV-1041", collect_on=None
    )
    bill = make_invoice(
        customer, "84.10", issued_on=today - days(20), due_on=today + days(8), number="INV-1077", collect_on=None
    )
    card = make_instrument(customer, route, processor.token("maple-falls", "approve", kind="card"))
    return Town(
        biller, route, customer, bill, card, make_staff(biller, name="Dana Whitfield", email="dana@maplefalls.example")
    )


def look(page: Page, name: str) -> None:
    """Hold a page to the accessibility rules, and keep its picture where asked."""
    if _SHOTS:
        page.wait_for_timeout(150)
        page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)
    assert violations(page) == [], name
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0, f"{name} scrolls sideways"


def enter_card(page: Page, card: str = "visa") -> None:
    """Type a published test card into the processor's own fields."""
    frame = page.frame_locator("iframe.hosted-fields")
    frame.get_by_label("Name").fill("Lucía Hernández")
    frame.locator("[name=number]").fill(CARDS[card].number)
    frame.locator("[name=expiry]").fill("04/29")
    frame.locator("[name=cvv]").fill("123")
    frame.locator("[name=zip]").fill("05601")
    frame.locator("button[type=submit], form button").first.click()


def test_a_caller_is_found_pays_with_the_card_on_file_and_cannot_pay_twice_by_reloading(
    page: Page, town: Town, live_server: LiveServer, processor: Processor
) -> None:
    sign_in(page, town.dana, live_server)
    page.goto("/biller/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Find an account, a bill or a payment")
    look(page, "search")
    page.locator("h1").click()
    page.keyboard.press("/")
    expect(page.locator("#bar-search")).to_be_focused()
    page.keyboard.type("(555) 555-0123")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Lucía Hernández")
    look(page, "account")

    page.get_by_role("link", name="Take a payment").click()
    expect(page.get_by_label("Everything that is due: $125.30")).to_be_checked()
    look(page, "pay-amount")
    page.get_by_label("What is past due: $41.20").check()
    page.get_by_role("button", name="Continue").click()
    look(page, "pay-method")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".review")).to_contain_text("$41.20")
    expect(page.locator(".review")).to_contain_text(f"Visa •••• {town.card.last4}")
    look(page, "pay-review")
    review = page.url
    page.get_by_role("button", name="Pay $41.20").click()
    expect(page.get_by_text("The payment went through")).to_be_visible()
    look(page, "pay-receipt")
    payment = Payment.objects.get()
    assert (payment.state, payment.amount, payment.channel, payment.made_by) == (
        PaymentState.POSTED, Decimal("41.20"), Channel.CSR, "Dana Whitfield",
    )  # fmt: skip
    page.reload()
    page.goto(review)
    expect(page.get_by_text("The payment went through")).to_be_visible()
    assert Payment.objects.count() == 1
    assert sum(processor.charges("maple-falls").values()) == 1

    page.get_by_role("link", name="Payment in detail").click()
    expect(page.locator("body")).to_contain_text("0 Passed")
    look(page, "payment")
    page.get_by_role("link", name="Receipt").click()
    look(page, "receipt")


def test_a_second_payment_on_one_day_is_asked_about_first(page: Page, town: Town, live_server: LiveServer) -> None:
    _paid(town, "41.20")
    sign_in(page, town.dana, live_server)
    page.goto(f"/biller/accounts/{town.customer.pk}/pay/")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("Paid today already: $41.20")).to_be_visible()
    look(page, "pay-again")
    page.get_by_label("The customer knows of the payment above").check()
    page.get_by_role("button", name="Pay $84.10").click()
    expect(page.get_by_text("The payment went through")).to_be_visible()
    assert Payment.objects.filter(state=PaymentState.POSTED).count() == 2


def test_a_new_card_is_entered_in_the_processors_own_fields(page: Page, town: Town, live_server: LiveServer) -> None:
    sign_in(page, town.dana, live_server)
    page.goto(f"/biller/accounts/{town.customer.pk}/pay/method/?amount=10.00")
    page.get_by_role("link", name="New card").click()
    expect(page.frame_locator("iframe.hosted-fields").locator("[name=number]")).to_be_visible()
    look(page, "pay-new-card")
    page.get_by_label("Keep it on file").check()
    enter_card(page)
    expect(page.get_by_role("heading", level=2)).to_contain_text(["Check the payment with the customer"])
    page.get_by_role("button", name="Pay $10.00").click()
    expect(page.get_by_text("The payment went through")).to_be_visible()
    added = Instrument.objects.exclude(pk=town.card.pk).get()
    assert (added.state, added.last4, added.holder) == ("active", CARDS["visa"].number[-4:], "Lucía Hernández")
    assert CARDS["visa"].number not in page.content()


def test_every_outcome_says_what_happened_to_the_money(
    page: Page, town: Town, live_server: LiveServer, processor: Processor
) -> None:
    sign_in(page, town.dana, live_server)
    declined = make_instrument(town.customer, town.route, processor.token("maple-falls", "hard_decline", kind="card"))
    page.goto(f"/biller/accounts/{town.customer.pk}/pay/method/?amount=20.00")
    page.locator(f"input[value='{declined.pk}']").check()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Pay $20.00").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The payment did not go through")
    expect(page.locator("#outcome")).to_contain_text("No money has been taken.")
    look(page, "pay-declined")
    page.get_by_role("link", name="Try another method").click()
    page.locator(f"input[value='{town.card.pk}']").check()
    page.get_by_role("button", name="Continue").click()
    processor.strike("drop_after")
    page.get_by_role("button", name="Pay $20.00").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The outcome is not known yet")
    expect(page.locator("#outcome")).to_contain_text("Do not take the payment again.")
    look(page, "pay-unknown")


def test_a_payment_can_be_taken_without_javascript(town: Town, live_server: LiveServer, page: Page) -> None:
    context = page.context.browser.new_context(base_url=live_server.url, java_script_enabled=False)  # type: ignore[union-attr]
    plain = context.new_page()
    sign_in(plain, town.dana, live_server)
    plain.goto("/biller/?q=35909-001")
    plain.get_by_role("link", name="Take a payment").click()
    plain.get_by_role("button", name="Continue").click()
    plain.get_by_role("button", name="Continue").click()
    plain.get_by_role("button", name="Pay $125.30").click()
    expect(plain.get_by_text("The payment went through")).to_be_visible()
    plain.goto(f"/biller/accounts/{town.customer.pk}/pay/new/?amount=5.00&kind=card")
    expect(plain.get_by_role("link", name="Open the processor’s own page")).to_be_visible()
    context.close()


def test_autopay_is_turned_on_with_the_terms_read_out_and_the_consent_kept(
    page: Page, town: Town, live_server: LiveServer
) -> None:
    sign_in(page, town.dana, live_server)
    page.goto(f"/biller/accounts/{town.customer.pk}/autopay/")
    look(page, "autopay-method")
    page.locator(f"input[value='{town.card.pk}']").check()
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("blockquote")).to_contain_text("I authorize Maple Falls Utilities to charge")
    look(page, "autopay-consent")
    page.get_by_label("On the telephone").check()
    page.get_by_label("The customer agreed to exactly these terms").check()
    page.get_by_role("button", name="Turn AutoPay on").click()
    expect(page.locator("#messages")).to_contain_text("AutoPay is on with")
    look(page, "enrolments")
    enrolment = town.customer.autopay_enrolments.get()
    assert enrolment.consent_text.endswith("On the telephone: the terms were read out and the customer agreed.")
    assert (enrolment.consent_by, enrolment.consent_requestor, enrolment.consent_address) == (
        "Dana Whitfield",
        1,
        "127.0.0.1",
    )
    page.get_by_role("link", name="Turn AutoPay off").click()
    look(page, "autopay-off")
    page.get_by_role("button", name="Turn AutoPay off").click()
    expect(page.locator("#messages")).to_contain_text("AutoPay is off.")
    assert town.customer.autopay_enrolments.filter(ended_at__isnull=True).count() == 0


@pytest.mark.spec("PAY-6")
def test_a_collection_run_is_tried_reviewed_started_and_watched(
    page: Page, town: Town, live_server: LiveServer, processor: Processor
) -> None:
    today = datetime.datetime.now(town.biller.zone).date()
    outcomes = ["approve", "approve", "approve", "hard_decline"]
    for outcome in outcomes:
        customer = make_customer(town.biller)
        make_invoice(customer, "50.00", due_on=today, collect_on=today)
        make_autopay(
            customer, make_instrument(customer, town.route, processor.token("maple-falls", outcome, kind="card"))
        )
    sign_in(page, town.dana, live_server)
    page.goto("/biller/runs/")
    page.get_by_role("link", name="Start a collection run").click()
    look(page, "run-new")
    page.get_by_role("button", name="Show what it would take").click()
    expect(page.locator("#run")).to_contain_text("The run would take 4 bills of $200.00 together")
    look(page, "run-trial")
    assert Payment.objects.count() == 0
    page.get_by_role("button", name="Collect $200.00 now").click()
    expect(page.locator("#messages")).to_contain_text("The run has started.")
    run = Run.objects.get(dry_run=False)
    assert (run.state, run.asked_by) == (RunState.PLANNED, "Dana Whitfield")
    look(page, "run-planned")
    work_run(run.pk)
    # The page asks again by itself.
    expect(page.locator("#run")).to_contain_text("4 of 4 bills")
    expect(page.locator("#run")).to_contain_text("$150.00")
    expect(page.locator("#run")).to_contain_text("The bank declined the payment.")
    look(page, "run-done")
    page.get_by_role("link", name="Payments that failed").click()
    expect(page.locator(".list-position")).to_have_text("1–1 of 1")


@pytest.mark.spec("PAY-7")
def test_a_card_is_authorized_and_its_money_is_taken_by_a_deposit_run(
    page: Page, town: Town, live_server: LiveServer, processor: Processor
) -> None:
    sign_in(page, town.dana, live_server)
    page.goto(f"/biller/accounts/{town.customer.pk}/pay/method/?amount=125.30")
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Authorize now, take the money later").check()
    look(page, "authorize-review")
    page.get_by_role("button", name="Pay $125.30").click()
    expect(page.locator("#outcome")).to_contain_text("The bank holds the money")
    look(page, "authorized")
    page.get_by_role("link", name="Payment in detail").click()
    look(page, "payment-authorized")
    page.get_by_role("link", name="Release it").click()
    look(page, "payment-release")
    Authorization.objects.update(
        authorized_on=F("authorized_on") - 8, expires_at=timezone.now() - datetime.timedelta(days=1)
    )
    page.goto("/biller/runs/")
    page.get_by_role("link", name="Start a deposit run").click()
    look(page, "deposit-new")
    page.get_by_role("button", name="Show what it would take").click()
    expect(page.locator("#run")).to_contain_text("The run would take 1 payment of $125.30 together")
    page.get_by_role("button", name="Deposit $125.30 now").click()
    work_run(Run.objects.get(dry_run=False).pk)
    expect(page.locator("#run")).to_contain_text("1 of 1 payments")
    expect(page.locator("#run")).to_contain_text("Expired, cost more")
    look(page, "deposit-done")
    page.get_by_role("link", name="Payments of this run").click()
    page.goto(f"/biller/payments/{Payment.objects.get().pk}/")
    expect(page.locator("main")).to_contain_text("Deposited after the authorization had expired: costs more")
    look(page, "payment-deposited-late")


def test_a_case_is_decided_with_evidence(page: Page, town: Town, live_server: LiveServer, processor: Processor) -> None:
    processor.strike("drop_after")
    payment = _paid(town, "84.10")
    attempt = Attempt.objects.get(payment=payment)
    Attempt.objects.filter(pk=attempt.pk).update(created_at=timezone.now() - datetime.timedelta(hours=3), lookups=4)
    open_case(
        attempt=attempt,
        kind=CaseKind.UNKNOWN_OUTCOME,
        reason="The processor does not know this charge, and would not recognise a repeat.",
    )
    sign_in(page, town.dana, live_server)
    page.goto("/biller/")
    page.get_by_role("link", name=re.compile("Open cases")).click()
    look(page, "cases")
    page.get_by_role("link", name="Unresolved attempts").click()
    expect(page.locator("#list")).to_contain_text("999 Checkpoint")
    look(page, "unresolved-some")
    page.goto("/biller/connections/")
    expect(page.locator("main")).to_contain_text("Unresolved there")
    look(page, "connections")
    page.goto("/biller/unresolved/")
    page.get_by_role("link", name="Open case").click()
    look(page, "case")
    page.get_by_label("It was taken").check()
    page.get_by_label("Approval code").fill("A1B2C3")
    page.get_by_label("How you know").fill("Their report of today, line 7.")
    page.get_by_role("button", name="Close the case").click()
    expect(page.locator("#messages")).to_contain_text("The case is closed.")
    look(page, "case-closed")
    payment.refresh_from_db()
    assert (payment.state, payment.approval_code) == (PaymentState.POSTED, "A1B2C3")
    assert Case.objects.get().closed_by == "Dana Whitfield"


@pytest.mark.expected_errors("422")
def test_settings_are_changed_and_every_change_is_in_the_audit(page: Page, town: Town, live_server: LiveServer) -> None:
    sign_in(page, town.dana, live_server)
    page.goto("/biller/settings/")
    page.get_by_label("Name").fill("Maple Falls Water & Light")
    page.get_by_label("Accent colour").fill("#7a1f5c")
    look(page, "settings-look")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".page-foot")).to_contain_text("Maple Falls Water & Light")
    page.get_by_role("link", name="Payment rules").click()
    page.get_by_label("Try again after a soft decline").fill("5, 3")
    page.get_by_role("button", name="Save the rules").click()
    expect(page).to_have_title(re.compile("^Error:"))
    look(page, "settings-rules-wrong")
    page.get_by_label("Try again after a soft decline").fill("3, 5")
    page.get_by_role("button", name="Save the rules").click()
    expect(page.locator("#messages")).to_contain_text("Saved.")
    page.get_by_role("link", name="API keys").click()
    page.get_by_label("Name").fill("Website")
    page.get_by_role("button", name="Make the key").click()
    key = page.locator("#new-key").inner_text()
    assert key.startswith("rp_") and len(key) > 50
    look(page, "settings-key")
    page.goto("/biller/settings/api-keys/")
    assert key not in page.content()
    page.get_by_role("link", name="People").click()
    page.get_by_label("E-mail address").fill("omar@maplefalls.example")
    page.get_by_label("Name").fill("Omar Haddad")
    look(page, "settings-people")
    page.get_by_role("button", name="Send the invitation").click()
    expect(page.locator("#messages")).to_contain_text("Invited omar@maplefalls.example")
    assert mail.outbox[-1].to == ["omar@maplefalls.example"]
    page.get_by_role("link", name="Stop switch").click()
    look(page, "settings-stop")
    page.get_by_role("link", name="Stop all charging").click()
    look(page, "settings-stop-ask")
    page.get_by_label("Reason").fill("Wrong amounts in today’s file")
    page.get_by_role("button", name="Stop all charging").click()
    expect(page.locator("main")).to_contain_text("Nobody is charged")
    page.get_by_role("link", name="Allow charging again").click()
    page.get_by_role("button", name="Allow charging").click()
    page.get_by_role("link", name="Audit").click()
    look(page, "settings-audit")
    for words in ("Stopped all charging: Wrong amounts", "Invited omar@maplefalls.example", "Made the API key Website"):
        expect(page.locator("#list")).to_contain_text(words)
    assert ApiToken.objects.get().prefix == key[:12]
    assert set(AuditEntry.objects.values_list("event", flat=True)) >= {
        "biller.look_changed", "biller.rules_changed", "api_token.made", "membership.invited",
        "biller.charging_stopped", "biller.charging_started",
    }  # fmt: skip


def _paid(town: Town, amount: str) -> Payment:
    return charges.pay(
        customer=town.customer,
        amount=Decimal(amount),
        instrument=town.card,
        channel=Channel.WEB,
        actor=Actor.payer(None, "Lucía Hernández"),
        request_key=f"test:{amount}",
    )


def _busy(town: Town, processor: Processor) -> None:
    """Let much have happened at the account."""
    actor = Actor.csr(town.dana, "10.0.0.7")
    payer = make_user("lucia@example.com", name="Lucía Hernández")
    make_link(payer, town.customer)
    make_link(make_user("marco@example.com", name="Marco Hernández"), town.customer, "co_owner")
    enrolments.enrol_autopay(customer=town.customer, instrument=town.card, agreed=True, actor=actor)
    enrolments.set_paperless(customer=town.customer, enrolled=True, actor=actor)
    _paid(town, "41.20")
    processor.strike("drop_after")
    _paid(town, "20.00")
    NoticeDelivery.objects.update(
        state=NoticeState.SENT, sent_at=timezone.now(), subject="Your receipt", text="Thank you.\n"
    )
    assert Record.objects.filter(customer=town.customer).count() == 3


PAGES = {
    "search-results": "?q=hern",
    "account-full": "accounts/{customer}/",
    "account-methods": "accounts/{customer}/methods/",
    "account-users": "accounts/{customer}/users/",
    "payments": "payments/",
    "bill": "bills/{bill}/",
    "reports": "reports/",
}


NARROW = ("account-full", "account-methods", "payments", "reports", "account-users", "bill")
DARK = ("account-full", "reports", "search-results")


@pytest.mark.parametrize(
    ("names", "width", "scheme"),
    [
        pytest.param(NARROW, 320, "light", id="narrow"),
        pytest.param(DARK, 1280, "dark", id="dark"),
    ],
)
def test_pages_hold_to_the_accessibility_rules_on_a_phone_and_in_the_dark(
    page: Page,
    town: Town,
    live_server: LiveServer,
    processor: Processor,
    names: tuple[str, ...],
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    _busy(town, processor)
    make_customer(town.biller, name="Hernando Vidal", number="40001-001")
    omar = make_staff(town.biller, Role.CSR, name="Omar Haddad")
    sign_in(page, town.dana, live_server)
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    parts = {
        "customer": town.customer.pk,
        "card": town.card.pk,
        "bill": town.bill.pk,
        "message": NoticeDelivery.objects.filter(customer=town.customer).latest("pk").pk,
        "link": town.customer.links.get(kind="co_owner").pk,
        "member": omar.memberships.get().pk,
    }
    suffix = {320: "-narrow"}.get(width, "-dark" if scheme == "dark" else "")
    for name in names:
        page.goto("/biller/" + PAGES[name].format(**parts))
        look(page, f"{name}{suffix}")
