"""Stripe through the engine and its pages: money, events told by webhook, and fields in a page of ours."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from axe_playwright_python.sync_playwright import Axe
from django.core import signing
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Customer
from payments import books, tasks
from payments.gateways.base import ChargeRequest, Command
from payments.gateways.base import ProcessorEvent as Told
from payments.models import (
    Attempt,
    Authorization,
    Case,
    Channel,
    Instrument,
    Payment,
    ProcessorEvent,
    Reversal,
    Route,
)
from payments.operations import (
    authorizations,
    charges,
    instruments,
    processor_events,
    reconciliations,
    recoveries,
    refunds,
    restores,
    returns,
)
from payments.operations.routes import open_route
from tests.access.headers import faults
from tests.browsers import RULES
from tests.factories import (
    NOON,
    make_autopay,
    make_biller,
    make_customer,
    make_instrument,
    make_invoice,
    make_link,
    make_user,
)
from tests.payments.test_collections import collect, today
from tests.stripe_server import StripeServer

pytestmark = pytest.mark.django_db(transaction=True)
ACCOUNT = "acct_water"
SYSTEM = Actor.system("webhook")
PAYER = Actor.payer(None, "Pat Payer", "192.0.2.1")
BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


@dataclass
class Town:
    """A biller whose route is Stripe's, and a customer with one bill and a card."""

    stripe: StripeServer
    route: Route
    customer: Customer
    card: Instrument

    def pay(self, **others: Any) -> Payment:
        return charges.pay(
            **{
                "customer": self.customer, "amount": Decimal("84.10"), "instrument": self.card, "channel": Channel.WEB,
                "actor": PAYER, "request_key": "key-1", **others,
            }
        )  # fmt: skip

    def tell(self, kind: str, thing: dict[str, Any], *, event_id: str = "", spoiled: bool = False) -> int:
        """Have Stripe call our webhook; gives the status of our answer."""
        body, signed = self.stripe.webhook(ACCOUNT, kind, thing, event_id=event_id)
        answer = Client().post(
            reverse("processor-events", args=[self.route.guid]),
            body + (b" " if spoiled else b""),
            content_type="application/json",
            headers={"stripe-signature": signed},
        )
        return answer.status_code


@pytest.fixture(scope="module")
def running() -> Iterator[StripeServer]:
    with StripeServer() as server:
        yield server


@pytest.fixture
def town(running: StripeServer) -> Town:
    running.reset()
    running.account(ACCOUNT)
    biller = make_biller(name="Maple Falls Utilities")
    customer = make_customer(biller, number="35909-001", name="Ana Ruiz")
    make_invoice(customer, "84.10")
    route = Route.objects.create(
        biller=biller, name="Stripe", driver="stripe", merchant=ACCOUNT, tenders=["card", "ach"],
        secret="sk_test_water whsec_water",
        options={"base_url": running.url, "publishable_key": "pk_test_water", "timeout": 5.0},
    )  # fmt: skip
    return Town(running, route, customer, make_instrument(customer, route, running.token(ACCOUNT, "approve")))


def state() -> tuple[list[Any], list[Any], list[Any]]:
    return (
        list(Payment.objects.order_by("id").values_list("state", "amount")),
        list(Attempt.objects.order_by("id").values_list("state", "result")),
        list(Case.objects.values_list("kind", "state")),
    )


def test_a_payment_is_charged_and_an_authorization_deposited_at_stripe(town: Town) -> None:
    payment = town.pay()
    assert payment.state == "posted" and payment.approval_code
    intent = town.stripe.intent_of(ACCOUNT, str(Attempt.objects.get().pk))
    assert (intent["amount_received"], intent["currency"]) == (8410, "usd")
    town.customer.refresh_from_db()
    make_invoice(town.customer, "20.00", number="2")
    held = town.pay(amount=Decimal("20.00"), request_key="key-2", authorize_only=True)
    assert held.state == "authorized"
    assert Authorization.objects.get(payment=held).expires_at is not None
    authorizations.deposit(payment=held, actor=PAYER, now=None)
    held.refresh_from_db()
    assert held.state == "posted"
    assert sum(town.stripe.charges(ACCOUNT).values()) == 2
    assert [one for one in books.findings() if one.wrong] == []


@pytest.mark.spec("PAY-10")
def test_an_event_settles_what_nobody_was_told_and_a_repeat_changes_nothing(town: Town) -> None:
    town.stripe.strike("drop_after")
    assert town.pay().state == "processing"
    key = str(Attempt.objects.get().pk)
    intent = town.stripe.intent_of(ACCOUNT, key)
    assert town.tell("payment_intent.succeeded", intent, event_id="evt_1") == 200
    # Nothing is made of it before it is looked into.
    assert state()[0] == [("processing", Decimal("84.10"))]
    assert (ProcessorEvent.objects.get().keys, ProcessorEvent.objects.get().applied_at) == ([key], None)
    tasks.apply_processor_events()
    settled = state()
    assert settled[0] == [("posted", Decimal("84.10"))]
    assert ProcessorEvent.objects.get().applied_at is not None
    # Again, late, and in another order: what counts is what Stripe says when it is asked.
    assert town.tell("payment_intent.succeeded", intent, event_id="evt_1") == 200
    assert town.tell("payment_intent.payment_failed", intent, event_id="evt_0") == 200
    assert (
        town.tell("payment_intent.succeeded", {**intent, "metadata": {"ratepayer_key": "x"}}, event_id="evt_2") == 200
    )
    assert town.tell("customer.created", {"object": "customer"}, event_id="evt_3") == 200
    assert ProcessorEvent.objects.count() == 4
    for _ in range(2):
        tasks.apply_processor_events()
    assert state() == settled
    assert not ProcessorEvent.objects.filter(applied_at=None).exists()
    assert [one for one in books.findings() if one.wrong] == []


@pytest.mark.spec("PAY-10")
def test_an_event_waits_while_stripe_does_not_answer_and_recovery_does_without_it(town: Town) -> None:
    town.stripe.strike("drop_after")
    town.pay()
    key = str(Attempt.objects.get().pk)
    town.tell("payment_intent.succeeded", town.stripe.intent_of(ACCOUNT, key))
    town.stripe.strike("drop_before", on=["lookup"])
    tasks.apply_processor_events()
    assert state()[0] == [("processing", Decimal("84.10"))]
    assert ProcessorEvent.objects.filter(applied_at=None).count() == 1
    Attempt.objects.update(sent_at=NOON)
    recoveries.recover(biller=town.route.biller, actor=SYSTEM)
    assert state()[0] == [("posted", Decimal("84.10"))]
    tasks.apply_processor_events()
    assert ProcessorEvent.objects.filter(applied_at=None).count() == 0
    assert town.stripe.charges(ACCOUNT) == {key: 1}


@pytest.mark.spec("PAY-32", "PAY-33")
def test_a_refund_is_made_at_stripe_and_an_event_of_a_dispute_has_it_read_at_once(town: Town) -> None:
    payment = town.pay()
    key = str(Attempt.objects.get().pk)
    back = refunds.refund(
        payment=Payment.objects.select_related("biller", "route").get(pk=payment.pk),
        amount=Decimal("10.00"),
        reason="Paid twice",
        actor=PAYER,
        request_key="back-1",
    )
    assert (back.state, back.kind) == ("done", "refund")
    assert town.stripe.intent_of(ACCOUNT, key)["amount_received"] == 8410
    town.stripe.reverse(ACCOUNT, key, "chargeback", 7410)
    dispute = {"object": "dispute", "payment_intent": town.stripe.intent_of(ACCOUNT, key)["id"]}
    for _ in range(2):
        assert town.tell("charge.dispute.funds_withdrawn", dispute, event_id="evt_d") == 200
        tasks.apply_processor_events()
    taken = Reversal.objects.get(kind="chargeback")
    assert (taken.state, str(taken.amount), taken.code) == ("done", "74.10", "10.4")
    payment.refresh_from_db()
    town.customer.refresh_from_db()
    assert (payment.state, str(payment.undone), str(town.customer.balance)) == ("reversed", "84.10", "84.10")
    assert [one for one in books.findings() if one.wrong] == []


@pytest.mark.spec("PAY-32")
def test_a_debit_that_fails_at_once_is_taken_back_if_it_was_taken_for_paid_and_else_no_news(town: Town) -> None:
    good, bad = (
        make_instrument(town.customer, town.route, town.stripe.token(ACCOUNT, outcome, "bank"), kind="bank", brand="")
        for outcome in ("approve", "soft_decline")
    )
    paid = town.pay(instrument=good)
    town.stripe.reverse(ACCOUNT, str(Attempt.objects.get().pk), "return")
    town.customer.refresh_from_db()
    make_invoice(town.customer, "20.00", number="2")
    declined = town.pay(instrument=bad, amount=Decimal("20.00"), request_key="key-2")
    assert (paid.state, declined.state) == ("posted", "failed")
    for new in (1, 0):
        read = returns.read_route(route=Route.objects.get(), actor=SYSTEM, now=timezone.now() + timedelta(minutes=1))
        assert read == returns.Read(taken=new)
    paid.refresh_from_db()
    town.customer.refresh_from_db()
    assert (paid.state, str(town.customer.balance), Case.objects.count()) == ("reversed", "104.10", 0)
    assert [one for one in books.findings() if one.wrong] == []


@pytest.mark.spec("PAY-10")
def test_a_debit_that_failed_and_was_never_answered_is_not_given_up_as_absent(town: Town) -> None:
    bank = make_instrument(town.customer, town.route, town.stripe.token(ACCOUNT, "soft_decline", "bank"), kind="bank")
    town.stripe.strike("drop_after")
    assert town.pay(instrument=bank).state == "processing"
    sent = timezone.now()
    Attempt.objects.update(sent_at=sent - timedelta(hours=1))
    with time_machine.travel(sent + timedelta(hours=2), tick=True):
        read = recoveries.read_response_files(biller=town.route.biller, actor=SYSTEM)
        assert (read.abandoned, read.waiting) == (0, 1)
        recoveries.recover(biller=town.route.biller, actor=SYSTEM)
    assert state() == ([("failed", Decimal("84.10"))], [("applied", 7)], [])


@pytest.mark.spec("PAY-10")
def test_a_charge_that_has_no_result_yet_keeps_a_restored_book_from_being_taken_for_reconciled(town: Town) -> None:
    gateway, biller, now = open_route(town.route), town.route.biller, timezone.now()
    bank = town.stripe.token(ACCOUNT, "approve", "bank")
    lost, failed = (
        ChargeRequest(str(uuid.uuid4()), Command.CHARGE, Decimal("84.10"), "USD", *how, "recurring", "35909-001")
        for how in ((town.card.token, "card"), (bank, "bank"))
    )
    assert len(list(gateway.send([lost, failed]))) == 2
    town.stripe.reverse(ACCOUNT, failed.key, "return")
    town.stripe.intent_of(ACCOUNT, lost.key)["status"] = "processing"
    restores.declare(billers=[biller], actor=SYSTEM, now=now, since=now)
    with time_machine.travel(now + timedelta(hours=2), tick=True):
        found = reconciliations.reconcile(biller=biller, actor=SYSTEM, now=timezone.now())
        assert "no result yet for 1 charge" in found.why_not
        town.stripe.intent_of(ACCOUNT, lost.key)["status"] = "succeeded"
        found = reconciliations.reconcile(biller=biller, actor=SYSTEM, now=timezone.now())
    assert (found.why_not, found.recorded, found.cases, found.missing) == ("", 1, 0, 0)
    assert state() == ([("posted", Decimal("84.10"))], [("applied", 0)], [])


@pytest.mark.spec("PAY-22")
def test_a_run_sends_as_many_at_once_as_the_route_allows(town: Town) -> None:
    Route.objects.update(options={**town.route.options, "concurrency": 3})
    for number in range(5):
        customer = make_customer(town.route.biller, number=f"100{number}")
        make_autopay(customer, make_instrument(customer, town.route, town.stripe.token(ACCOUNT, "approve")))
        make_invoice(customer, "10.00", due_on=today(), collect_on=today())
    town.stripe.strike("slow", times=5, seconds=0.3)
    run = collect(town.route.biller)
    assert (run.state, Payment.objects.filter(state="posted").count()) == ("done", 5)
    assert town.stripe.most_at_once == 3
    assert sorted(town.stripe.charges(ACCOUNT).values()) == [1] * 5


def test_what_is_not_signed_or_not_for_us_is_refused_and_nothing_is_kept(town: Town) -> None:
    town.stripe.strike("drop_after")
    town.pay()
    intent = town.stripe.intent_of(ACCOUNT, str(Attempt.objects.get().pk))
    before = state()
    assert town.tell("payment_intent.succeeded", intent, spoiled=True) == 403
    entry = AuditEntry.objects.get(event="processor_event.refused")
    assert entry.facts == {"address": "127.0.0.1", "reason": "the signature is wrong"}
    where = reverse("processor-events", args=[uuid.uuid4()])
    assert Client().post(where, b"{}", content_type="application/json").status_code == 404
    Route.objects.update(active=False)
    assert town.tell("payment_intent.succeeded", intent) == 404
    Route.objects.update(active=True, driver="simulator", options={"base_url": "http://127.0.0.1:9"})
    assert town.tell("payment_intent.succeeded", intent) == 403
    tasks.apply_processor_events()
    assert (state(), ProcessorEvent.objects.count()) == (before, 0)


def test_an_event_is_kept_once_for_its_route_and_for_two_months(town: Town) -> None:
    told = Told(id="evt_2", kind="customer.created", keys=(), reverses=False, happened_at=NOON)
    assert [processor_events.store(route=town.route, event=told) for _ in range(2)] == [True, False]
    town.tell("customer.created", {"object": "customer"}, event_id="evt_1")
    town.tell("customer.created", {"object": "customer"}, event_id="evt_2")
    tasks.apply_processor_events()
    applied = ProcessorEvent.objects.get(event_id="evt_1").applied_at
    assert applied is not None
    assert ProcessorEvent.objects.count() == 2
    ProcessorEvent.objects.filter(event_id="evt_2").update(applied_at=None)
    assert processor_events.purge(now=applied + processor_events.KEPT) == 0
    assert processor_events.purge(now=applied + processor_events.KEPT + timedelta(seconds=1)) == 1
    assert ProcessorEvent.objects.get().event_id == "evt_2"


# Fields

STUB = """
window.Stripe = (key, options) => ({
  elements: ({ clientSecret }) => ({
    create: (kind) => ({
      on: (name, then) => name === "ready" && setTimeout(then, 0),
      mount: (place) => {
        const field = document.createElement("label");
        field.textContent = [kind, key, clientSecret, options.locale].join(" ");
        field.append(document.createElement("input"));
        document.querySelector(place).append(field);
      },
    }),
  }),
  confirmSetup: async () => (window.tries = (window.tries || 0) + 1) === 1
    ? { error: { message: "The card was declined." } }
    : { setupIntent: { id: "ENTERED", status: "succeeded" } },
});
"""


@pytest.mark.spec("PAY-16", "PAY-17")
def test_a_card_is_entered_in_stripes_fields_within_a_page_of_ours(town: Town, page: Page, live_server: Any) -> None:
    ana = make_user("ana@example.com")
    make_link(ana, town.customer)
    client = Client()
    client.force_login(ana, backend=BACKEND)
    page.context.add_cookies(
        [{"name": "session", "value": client.cookies["session"].value, "url": live_server.url, "httpOnly": True}]
    )
    entered = town.stripe.entered(ACCOUNT, number=town.customer.shown_number)
    script = STUB.replace("ENTERED", entered)
    page.route("https://js.stripe.com/**", lambda asked: asked.fulfill(body=script, content_type="text/javascript"))
    page.goto(reverse("customer-method-add", args=[town.customer.pk, "card"]))
    frame = page.frame_locator("iframe.hosted-fields")
    button = frame.get_by_role("button", name="Use this method")
    expect(button).to_be_visible()
    intent = next(one for one in town.stripe.account(ACCOUNT).things.values() if one.get("client_secret"))
    expect(frame.get_by_text("payment pk_test_water")).to_contain_text(f"{intent['client_secret']} en")
    child = page.frames[1]
    assert Axe().run(child, options=RULES).response["violations"] == []
    button.click()
    expect(frame.get_by_role("alert")).to_have_text("The card was declined.")
    assert Instrument.objects.count() == 1
    button.click()
    page.wait_for_url(lambda url: "/add/" not in url)
    added = Instrument.objects.exclude(pk=town.card.pk).get()
    assert (added.brand, added.last4, added.token[-5:]) == ("visa", "4242", "/4242")


@pytest.mark.spec("PAY-17")
def test_what_was_entered_for_another_account_is_put_on_no_other(town: Town) -> None:
    """The name of an entry stands in an address that comes back from Stripe's own page, and may be seen."""
    other = make_customer(town.route.biller, number="35910-001")
    seen = town.stripe.checked_out(ACCOUNT, number=town.customer.shown_number)
    how: dict[str, Any] = {"route": town.route, "token": seen, "keep": True}
    before = (Instrument.objects.count(), AuditEntry.objects.count())
    for actor in (PAYER, Actor(Requestor.CSR, "Dana")):
        with pytest.raises(instruments.MethodRefused):
            instruments.add(customer=other, actor=actor, **how)
    assert (Instrument.objects.count(), AuditEntry.objects.count()) == before
    assert instruments.add(customer=town.customer, actor=PAYER, **how).last4 == "4242"
    # A machine has its tokens from where it will, and says itself whose they are.
    assert instruments.add(customer=other, actor=Actor.api("Kiosk"), **how).customer_id == other.pk


def test_the_page_with_stripes_script_is_ours_to_frame_and_lets_stripe_in_and_nobody_else(town: Town) -> None:
    ana = make_user("ana@example.com")
    make_link(ana, town.customer)
    client = Client()
    client.force_login(ana, backend=BACKEND)
    page = client.get(reverse("customer-method-add", args=[town.customer.pk, "card"]))
    assert "stripe.com" not in page["Content-Security-Policy"]
    fields = page.context["fields"].hosted
    assert fields.origin == "http://testserver"
    address = fields.frame_url.removeprefix("http://testserver")
    # What is signed is not hidden: the account's number is not in it.
    assert "account" not in signing.loads(address.strip("/").split("/")[-1], salt="method-fields")
    answer = Client().get(address)
    assert answer.status_code == 200
    policy = dict(part.split(" ", 1) for part in answer["Content-Security-Policy"].split("; "))
    assert policy["script-src"] == "'self' https://js.stripe.com https://*.js.stripe.com"
    assert policy["connect-src"] == "'self' https://api.stripe.com"
    assert policy["frame-src"] == "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com"
    assert policy["frame-ancestors"] == "'self'"
    assert faults(address, dict(answer.items())) == [
        "X-Frame-Options: 'SAMEORIGIN', not 'DENY'",
        f"no frame-ancestors 'none' in the policy {answer['Content-Security-Policy']!r}",
    ]
    # The same page again is the same entry at Stripe.
    Client().get(address)
    made = [one["object"] for one in town.stripe.account(ACCOUNT).things.values()]
    assert made.count("setup_intent") == 1
    left = Client().get(f"{address}?leave=yes")
    assert (left.status_code, left["Location"][:28]) == (302, "https://checkout.stripe.com/")
    sent = json.dumps(town.stripe.asked)
    assert "http://testserver" + reverse("customer-method-add", args=[town.customer.pk, "card"]) in sent
    town.stripe.strike("error_before", on=["online"])
    again = client.get(reverse("customer-method-add", args=[town.customer.pk, "card"])).context["fields"].hosted
    broken = Client().get(again.frame_url.removeprefix("http://testserver"))
    assert broken.status_code == 503
    assert "does not answer" in broken.content.decode()
    assert "stripe.com" not in broken["Content-Security-Policy"]
    assert Client().get(address[:-3]).status_code == 404
    assert Client().post(address).status_code == 405
    from payments import hosted_pages

    for _ in range(hosted_pages.ENTRIES.most):
        last = Client().get(address)
    assert last.status_code == 429
