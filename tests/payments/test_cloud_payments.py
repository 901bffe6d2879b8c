"""CloudPay: the biller's system opens a payment, a CSR or payer makes it, and everybody hears who made it."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.actors import Actor
from billing.models import Adjustment, AuditEntry, Biller, Customer, Invoice, Item
from billing.throttles import Limit
from datapump.models import Endpoint, Purpose, Record
from payments.models import Attempt, Channel, CloudPayment, Instrument, Payment, Route
from payments.operations import charges, cloud_payments, recoveries
from tests.api.machines import Machine
from tests.cis import Cis
from tests.datapump.conftest import deliver, point_at
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.payments.test_carryovers import books_hold
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)

NO_TIME = datetime.timedelta(0)
BACK = "https://cis.maple.example/done?ticket=7"
MODES = "0(WEB)|2(CSRWEB)|5(API)"


@dataclass
class Town:
    """A biller whose system opens payments, and an account that owes 84.10 by its bill."""

    biller: Biller
    route: Route
    customer: Customer
    bill: Invoice
    machine: Machine
    processor: Processor

    def open(self, key: str = "key-1", **given: Any) -> Any:
        asked = {"account": "35909", "sub": "001", "who": "csr", "user_name": "cthompson", **given}
        asked = {name: value for name, value in asked.items() if value is not None}
        return self.machine.send("POST", "cloud-payments/", asked, idempotency_key=key)

    def result(self, opened: Any) -> dict[str, Any]:
        answer = self.machine.get(f"cloud-payments/{opened.json()['id']}/")
        assert answer.status_code == 200
        return dict(answer.json())

    def on_file(self, outcome: str = "approve", **fields: Any) -> Instrument:
        return make_instrument(self.customer, self.route, self.processor.token(self.route.merchant, outcome), **fields)

    def charged(self) -> list[int]:
        return list(self.processor.charges(self.route.merchant).values())

    def state(self) -> tuple[Any, ...]:
        """Everything that a refused call must leave as it was."""
        self.customer.refresh_from_db()
        return (
            self.customer.balance,
            list(Item.objects.order_by("pk").values_list("amount", "open", "reserved")),
            Adjustment.objects.count(),
            Payment.objects.count(),
            CloudPayment.objects.count(),
            AuditEntry.objects.exclude(event="api_token.made").count(),
        )


@pytest.fixture
def town(processor: Processor, cis: Cis) -> Town:
    biller = make_biller(name="Maple Falls Utilities", return_hosts=["cis.maple.example"])
    point_at(cis, biller, Purpose.PAYMENTS, options={"card_modes": MODES, "ach_modes": MODES})
    customer = make_customer(biller, number="35909-001", base="35909", sub="001", name="Ana Ruiz")
    bill = make_invoice(customer, "84.10")
    return Town(biller, make_route(biller, processor.url), customer, bill, Machine(biller), processor)


def path_of(opened: Any) -> str:
    assert opened.status_code == 201, opened.json()
    return str(urlsplit(opened.json()["url"]).path)


def text(answer: Any) -> str:
    """Give a page's words without its markup."""
    main = re.search(r"<main.*</main>", answer.content.decode(), re.DOTALL)
    assert main is not None
    return " ".join(re.sub(r"<[^>]+>", " ", main[0]).split())


def pay(path: str, method: str, client: Client | None = None, **given: str) -> Any:
    """Choose a method on file and press the last button; gives where it leads and the browser."""
    client = client or Client()
    chosen = client.post(path, {"method": method, "email": "", **given})
    assert chosen.status_code == 302, text(chosen)
    return client.post(chosen["Location"]), client


def error(answer: Any) -> tuple[int, str, str | None]:
    told = answer.json()["error"]
    return answer.status_code, told["code"], told["field"]


# ---- The payment


@pytest.mark.spec("MSP-27")
def test_a_csr_pays_by_the_address_and_the_biller_s_system_hears_csrweb(town: Town, cis: Cis) -> None:
    card = town.on_file()
    opened = town.open(return_url=BACK, invoice=town.bill.number, email="desk@maple.example")
    told = opened.json()
    assert told == {
        "id": told["id"], "account": "35909-001", "invoice": town.bill.number, "who": "csr", "user_name": "cthompson",
        "amount": "84.10", "currency": "USD", "expires_at": told["expires_at"], "state": "open", "may_be_paid": True,
        "payment": None, "url": told["url"],
    }  # fmt: skip
    good_for = datetime.datetime.fromisoformat(told["expires_at"]) - timezone.now()
    assert datetime.timedelta(minutes=29) < good_for <= datetime.timedelta(minutes=30)
    path = path_of(opened)
    assert told["url"] == f"{settings.PUBLIC_URL}{path}"
    # Nothing in it says whose account it is; a repeated call gets the same one, another call another one.
    assert "35909" not in path
    assert (town.open(return_url=BACK, invoice=town.bill.number, email="desk@maple.example").json()) == told
    assert CloudPayment.objects.count() == 1

    page = Client().get(path)
    assert (page.status_code, page["Referrer-Policy"], page["X-Robots-Tag"]) == (
        200, "strict-origin", "noindex, nofollow"
    )  # fmt: skip
    assert f"Account {town.customer.shown_number} · Ana Ruiz" in text(page)
    assert "$84.10" in text(page)
    assert "The payment is recorded as made by cthompson." in text(page)
    assert str(card) in text(page)
    assert card.token not in page.content.decode()
    assert town.charged() == []

    answer, client = pay(path, str(card.pk), email="desk@maple.example")
    payment = Payment.objects.get()
    assert (payment.state, payment.amount, payment.channel, payment.requestor, payment.made_by, payment.email) == (
        "posted", Decimal("84.10"), Channel.CSR, 5, "cthompson by web service", "desk@maple.example"
    )  # fmt: skip
    assert town.charged() == [1]
    assert payment.attempts.get().transaction_type == "moto"
    receipt = client.get(answer["Location"])
    assert "Thank you. Your payment is made." in text(receipt)
    assert "Paid by cthompson by web service" in text(receipt)
    assert f"https://cis.maple.example/done?ticket=7&amp;cloud_payment={told['id']}" in receipt.content.decode()
    assert client.get(f"{answer['Location']}pdf/")["Content-Type"] == "application/pdf"

    result = town.result(opened)
    assert (result["state"], result["may_be_paid"]) == ("paid", False)
    assert "url" not in result
    assert (result["payment"]["confirmation"], result["payment"]["amount"], result["payment"]["made_by"]) == (
        payment.confirmation, "84.10", "cthompson by web service"
    )  # fmt: skip
    entries = AuditEntry.objects.filter(customer=town.customer).order_by("pk").values_list("event", "actor")
    assert list(entries)[:2] == [("cloud_payment.opened", "CIS"), ("payment.started", "cthompson by web service")]

    deliver()
    [heard] = cis.book()["payments"]
    assert (heard["mode"], heard["amount"]) == ("CSRWEB", "84.10")
    # Whoever searches payments finds it by who made it.
    dana = client_of(make_staff(town.biller))
    assert payment.confirmation in dana.get(reverse("biller-payments"), {"by": "cthompson"}).content.decode()
    books_hold()


@pytest.mark.spec("MSP-27")
@pytest.mark.parametrize(("says", "adjusted"), [("99.10", "15.00"), ("60.00", "-24.10"), ("84.10", "")])
def test_the_balance_of_the_call_wins_over_what_is_on_file(town: Town, says: str, adjusted: str) -> None:
    card = town.on_file()
    opened = town.open(balance_due=says, invoice=town.bill.number)
    path = path_of(opened)
    assert (opened.json()["amount"], f"${says}" in text(Client().get(path))) == (says, True)
    made = [(one.item.amount, one.source, one.reference) for one in Adjustment.objects.select_related("item")]
    assert made == ([(Decimal(adjusted), "cloud", f"cloud:{opened.json()['id']}")] if adjusted else [])
    town.customer.refresh_from_db()
    assert town.customer.balance == Decimal(says)
    books_hold()
    pay(path, str(card.pk))
    assert list(Payment.objects.values_list("amount", "state")) == [(Decimal(says), "posted")]
    town.customer.refresh_from_db()
    assert town.customer.balance == Decimal("0.00")
    books_hold()


def test_a_balance_that_may_lack_a_payment_takes_nothing_twice(town: Town) -> None:
    """30.00 was paid a moment ago, and the biller's system has not booked it when it says that 84.10 is due."""
    card = town.on_file()
    charges.pay(
        customer=town.customer, amount=Decimal("30.00"), instrument=card, channel=Channel.CSR,
        actor=Actor.system("test"), request_key="earlier",
    )  # fmt: skip
    before = town.state()
    refused = town.open(balance_due="84.10")
    assert error(refused) == (422, "balance_in_doubt", "balance_due")
    assert "$54.10" in refused.json()["error"]["message"]
    assert town.state() == before
    # What the books can stand is taken, and the call still wins.
    assert town.open("key-2", balance_due="40.00").json()["amount"] == "40.00"
    assert Adjustment.objects.count() == 0
    # Told, and booked by now: it wins whole.
    Record.objects.update(state="delivered", delivered_at=timezone.now() - datetime.timedelta(hours=1))
    assert town.open("key-3", balance_due="84.10").json()["amount"] == "84.10"
    assert Adjustment.objects.get().item.amount == Decimal("30.00")
    books_hold()


@pytest.mark.spec("MSP-27")
def test_a_payer_sees_nothing_that_is_on_file(town: Town) -> None:
    card = town.on_file(nickname="Ana’s")
    opened = town.open(who="payer", user_name=None)
    path = path_of(opened)
    client = Client()
    page = client.get(path)
    assert "Ana Ruiz" not in page.content.decode()
    assert str(card.pk) not in page.content.decode()
    assert card.last4 not in text(page)
    # Nor is it taken when it is sent all the same.
    answer = client.post(path, {"method": str(card.pk), "email": ""})
    assert (answer.status_code, "aria-invalid" in answer.content.decode()) == (422, True)
    step = client.post(path, {"method": "card", "email": "ana@new.example"})["Location"]
    token = town.processor.token(town.route.merchant)
    review = client.post(step, {"token": token})["Location"]
    assert "Ana Ruiz" not in client.get(review).content.decode()
    receipt = client.get(client.post(review)["Location"])
    payment = Payment.objects.get()
    assert (payment.state, payment.channel, payment.made_by, payment.email) == (
        "posted", Channel.CSR, "Payer by web service", "ana@new.example"
    )  # fmt: skip
    assert "Ana Ruiz" not in receipt.content.decode()
    # The processor is told that it was ordered over the internet, not by telephone.
    assert payment.attempts.get().transaction_type == "internet"
    assert set(Instrument.objects.values_list("state", flat=True)) == {"active", "one_time"}


def test_the_address_opens_one_account_s_payment_and_nothing_else(town: Town) -> None:
    card = town.on_file()
    other = town.open("key-2", who="payer", user_name=None)
    path = path_of(town.open())
    answer, client = pay(path, str(card.pk))
    paid = Payment.objects.get()
    # Signed in or not, the pages of the account and of other doors stay shut.
    for name in ("customer-pay", "customer-payment"):
        args = [town.customer.pk] if name == "customer-pay" else [town.customer.pk, paid.pk]
        assert client.get(reverse(name, args=args))["Location"].startswith("/accounts/login/")
    # What was paid by one address is not shown by another of the same account.
    elsewhere = reverse("cloud-payment", kwargs={"code": path_of(other).split("/")[2], "payment_id": paid.pk})
    assert client.get(elsewhere).status_code == 404
    assert client.get(f"{elsewhere}pdf/").status_code == 404
    assert client.get(answer["Location"]).status_code == 200
    # A key of another payment leads to the first page, without a word of it.
    strange = reverse("cloud-pay-review", kwargs={"code": path_of(other).split("/")[2], "key": paid.request_key or ""})
    assert client.get(strange)["Location"] == path_of(other)
    # A code that is not ours, or another's signature, is nothing.
    code = path.split("/")[2]
    for wrong in (code[:-1] + ("A" if code[-1] != "A" else "B"), code[:22] + path_of(other).split("/")[2][22:], "x"):
        assert Client().get(reverse("cloud-pay", kwargs={"code": wrong})).status_code == 404


@pytest.mark.spec("MSP-27")
def test_an_address_that_was_used_or_is_over_pays_nothing(town: Town) -> None:
    card = town.on_file()
    first, second = path_of(town.open()), path_of(town.open("key-2"))
    browser = Client()
    review = browser.post(second, {"method": str(card.pk), "email": ""})["Location"]
    answer, client = pay(first, str(card.pk))
    # Back, reload and the button again find the payment that was made; so does another browser.
    assert client.get(first)["Location"] == answer["Location"]
    assert Client().get(first)["Location"] == answer["Location"]
    # The other one was opened for the same bill, which is paid: nothing is taken on account.
    refused = browser.post(review)
    assert (refused.status_code, "Nothing is due" in text(refused)) == (409, True)
    CloudPayment.objects.update(expires_at=timezone.now() - datetime.timedelta(minutes=1))
    over = browser.get(second)
    assert (over.status_code, "This link is over" in text(over)) == (410, True)
    assert browser.post(review)["Location"] == second
    assert client.get(answer["Location"]).status_code == 200
    # An hour later the receipt is gone from it, too.
    CloudPayment.objects.update(expires_at=timezone.now() - datetime.timedelta(minutes=61))
    assert client.get(answer["Location"])["Location"] == first
    assert client.get(first).status_code == 410
    assert (town.charged(), Payment.objects.count()) == ([1], 1)
    states = {row["state"] for key in ("key-1", "key-2") for row in [town.result(town.open(key))]}
    assert states == {"paid", "expired"}


def test_a_declined_card_may_be_followed_by_another_one_but_not_by_a_hundred(town: Town) -> None:
    bad, good = town.on_file("soft_decline"), town.on_file()
    opened = town.open()
    path = path_of(opened)
    client = Client()
    review = client.post(path, {"method": str(bad.pk), "email": ""})["Location"]
    failed = client.get(client.post(review)["Location"])
    assert "The bank declined the payment for now." in text(failed)
    # The same button once more tries nothing.
    assert client.post(review)["Location"] == path
    assert Payment.objects.count() == 1
    result = town.result(opened)
    assert (result["state"], result["may_be_paid"], result["payment"]["failure"]) == (
        "failed", True, "The bank declined the payment for now."
    )  # fmt: skip
    assert "Your payment did not go through" in text(client.get(path))
    for _ in range(cloud_payments.MOST_TRIES - 2):
        pay(path, str(bad.pk), client)
    pay(path, str(good.pk), client)
    assert town.result(opened)["state"] == "paid"
    assert sorted(Payment.objects.values_list("state", flat=True)) == ["failed"] * 4 + ["posted"]
    other = town.open("key-2", balance_due="5.00")
    Record.objects.update(state="delivered", delivered_at=timezone.now() - datetime.timedelta(hours=1))
    other = town.open("key-3", balance_due="5.00")
    for _ in range(cloud_payments.MOST_TRIES):
        pay(path_of(other), str(bad.pk), client)
    assert client.get(path_of(other)).status_code == 410
    assert (town.result(other)["state"], town.result(other)["may_be_paid"]) == ("failed", False)


def test_without_an_answer_the_payment_is_processing_until_it_is_known(town: Town) -> None:
    card = town.on_file()
    opened = town.open()
    town.processor.strike("drop_after")
    answer, client = pay(path_of(opened), str(card.pk))
    assert "Do not pay again." in text(client.get(answer["Location"]))
    assert (town.result(opened)["state"], town.result(opened)["may_be_paid"]) == ("processing", False)
    assert client.get(path_of(opened))["Location"] == answer["Location"]
    # Nor can another be opened: the bill is held.
    assert error(town.open("key-2")) == (422, "already_being_paid", None)
    recoveries.recover(biller=town.biller, actor=Actor.system("test"), least_age=NO_TIME, pause=NO_TIME)
    assert town.result(opened)["state"] == "paid"
    assert town.charged() == [1]


def test_blocks_and_the_stop_switch_hold_to_the_last_button(town: Town) -> None:
    card = town.on_file()
    opened = town.open()
    client = Client()
    review = client.post(path_of(opened), {"method": str(card.pk), "email": ""})["Location"]
    Customer.objects.update(blocks_card=True)
    assert str(card) not in text(client.get(path_of(opened)))
    refused = client.post(review)
    assert (refused.status_code, "This account cannot be paid this way" in text(refused)) == (409, True)
    Customer.objects.update(blocks_bank=True)
    assert "This account cannot be paid here" in text(client.get(path_of(opened)))
    Customer.objects.update(blocks_card=False, blocks_bank=False)
    Biller.objects.update(charging_stopped=True)
    assert client.post(review).status_code == 409
    assert "Payments are stopped at the moment" in text(client.get(path_of(opened)))
    assert error(town.open("key-2")) == (422, "charging_stopped", None)
    assert (Payment.objects.count(), Attempt.objects.count()) == (0, 0)


def test_an_invoice_without_a_balance_is_paid_alone(town: Town) -> None:
    newer = make_invoice(town.customer, "20.00")
    assert town.open().json()["amount"] == "104.10"
    opened = town.open("key-2", invoice=newer.number)
    assert opened.json()["amount"] == "20.00"
    pay(path_of(opened), str(town.on_file().pk))
    assert [(one.invoice_id, one.open) for one in Item.objects.order_by("pk")] == [
        (town.bill.pk, Decimal("84.10")), (newer.pk, Decimal("0.00"))
    ]  # fmt: skip


def test_a_balance_that_must_be_asked_and_cannot_be_opens_nothing(town: Town) -> None:
    Endpoint.objects.create(
        biller=town.biller, purpose=Purpose.BALANCES, url="http://127.0.0.1:9/", username="x", password="y",
        timeout_seconds=1,
    )  # fmt: skip
    assert error(town.open()) == (422, "balance_unknown", None)
    assert CloudPayment.objects.count() == 0
    # The call's own balance needs no asking.
    assert town.open("key-2", balance_due="84.10").status_code == 201


# ---- Refusals

REFUSED = [
    ({"user_name": ""}, (422, "user_name_missing", "user_name")),
    ({"user_name": "   "}, (422, "user_name_missing", "user_name")),
    ({"account": "99999"}, (422, "unknown", "account")),
    ({"invoice": "nobody's"}, (422, "unknown", "invoice")),
    ({"balance_due": "0.00"}, (422, "min_value", "balance_due")),
    ({"balance_due": 84.1}, (422, "invalid", "balance_due")),
    ({"who": "robot"}, (422, "invalid_choice", "who")),
    ({"amount": "5.00"}, (422, "unknown", "amount")),
    *(
        ({"return_url": url}, (422, "return_refused", "return_url"))
        for url in (
            "http://cis.maple.example/", "https://cis.maple.example:8443/", "https://evil.example/",
            "https://cis.maple.example.evil.example/", "https://cis.maple.example@evil.example/",
            "https://evil.example\\@cis.maple.example/", "javascript:alert(1)", "//cis.maple.example/", "https://[::1/",
            "https://x:y@cis.maple.example/", "https://cis.maple.example:99999/", "https://cis.maple.examplé/",
        )
    ),
]  # fmt: skip


@pytest.mark.spec("MSP-27")
@pytest.mark.parametrize(("given", "answer"), REFUSED)
def test_a_call_that_is_wrong_is_refused_and_changes_nothing(
    town: Town, given: dict[str, Any], answer: tuple[int, str, str]
) -> None:
    before = town.state()
    assert error(town.open(**given)) == answer
    assert town.state() == before


def test_a_call_needs_a_key_and_sees_its_own_biller_alone(town: Town) -> None:
    other = Machine(make_biller())
    opened = town.open()
    assert other.get(f"cloud-payments/{opened.json()['id']}/").status_code == 404
    assert (
        other.send("POST", "cloud-payments/", {"account": "35909-001", "who": "payer"}, idempotency_key="k").json()[
            "error"
        ]["code"]
        == "unknown"
    )
    assert town.machine.send("POST", "cloud-payments/", {"account": "35909-001", "who": "payer"}).status_code == 400
    assert Client().post("/api/v1/cloud-payments/").status_code == 401
    Item.objects.all().delete()
    assert error(town.open("key-2")) == (422, "nothing_due", None)


def test_hosts_to_lead_back_to_are_set_in_the_portal(town: Town) -> None:
    dana = client_of(make_staff(town.biller))
    page = reverse("biller-rules")
    given = {
        "allow_partial_payments": "on", "guest_secret": "zip", "collect_rule": "due", "collect_days": "0",
        "minimum_collected": "2.00", "prepaid_least": "5.00", "prepaid_most": "500.00", "release_days": "30",
    }  # fmt: skip
    for wrong in ("https://cis.example", "cis.example/path", "*", "-x.example", "a..b"):
        assert dana.post(page, given | {"return_hosts": wrong}).status_code == 422
    town.biller.refresh_from_db()
    assert town.biller.return_hosts == ["cis.maple.example"]
    assert dana.post(page, given | {"return_hosts": "CIS.example:8443, localhost"}).status_code == 302
    assert town.open(return_url="https://cis.example:8443/back").status_code == 201
    assert error(town.open("key-2", return_url=BACK)) == (422, "return_refused", "return_url")


def test_an_address_that_is_opened_too_often_waits(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of(town.open())
    monkeypatch.setattr(cloud_payments, "OPENED_FROM_ADDRESS", Limit("cloud-from", 1, datetime.timedelta(minutes=30)))
    assert Client().get(path).status_code == 200
    assert Client().get(path).status_code == 429
