"""Paying through the customer portal's pages: what happens to the money in each case, and who may see what."""

from __future__ import annotations

import datetime
import io
import re
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pypdf import PdfReader

from billing import advanced_settings, formats
from billing.actors import Actor
from billing.models import AuditEntry, Biller, Customer, Invoice, Item, Role, Throttle, User
from billing.operations import notice_deliveries
from billing.throttles import Limit
from payments.customer_portal import card_entry
from payments.models import Attempt, AutoPayEnrolment, Instrument, Payment, Route
from payments.operations import collections, recoveries
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_instrument,
    make_invoice,
    make_link,
    make_membership,
    make_route,
    make_user,
)
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db

NO_TIME = datetime.timedelta(0)
APART = {"Daffron": {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": True}}}
# The test client gives answers a class of its own.
Answer = Any
BACKEND = "allauth.account.auth_backends.AuthenticationBackend"


@dataclass
class Town:
    """A biller, its way to the processor, and a customer with one bill and a payer."""

    biller: Biller
    route: Route
    customer: Customer
    payer: User
    processor: Processor

    def token(self, outcome: str = "approve", **wanted: Any) -> str:
        return self.processor.token(self.route.merchant, outcome, **wanted)

    def on_file(self, outcome: str = "approve", **fields: Any) -> Instrument:
        return make_instrument(self.customer, self.route, self.token(outcome), **fields)

    def charges(self) -> list[int]:
        """How many times the processor truly charged each request."""
        return list(self.processor.charges(self.route.merchant).values())

    def state(self) -> tuple[Decimal, Decimal, Decimal]:
        """The customer's balance, what is open of the bill, and what of it is reserved."""
        self.customer.refresh_from_db()
        item = Item.objects.get(customer=self.customer)
        return self.customer.balance, item.open, item.reserved


@pytest.fixture
def town(processor: Processor) -> Town:
    biller = make_biller(name="Maple Falls Utilities")
    customer = make_customer(biller, number="35909-001", zip="80202", name="Ana Ruiz", email="ana@example.com")
    make_invoice(customer, "84.10")
    payer = make_user("ana@example.com", name="Ana Ruiz")
    make_link(payer, customer)
    return Town(biller, make_route(biller, processor.url), customer, payer, processor)


@pytest.fixture
def ana(town: Town, client: Client) -> Client:
    client.force_login(town.payer, backend=BACKEND)
    return client


def guest_of(town: Town) -> tuple[Client, str]:
    """Find the bill as a guest; gives the browser and the address of the payment page."""
    client = Client()
    answer = client.post(f"/with/{town.biller.slug}/", {"number": "35909-001", "secret": "80202"})
    assert answer.status_code == 302
    return client, answer["Location"]


def text(answer: Answer) -> str:
    """Give a page's words without its markup."""
    main = re.search(r"<main.*</main>", answer.content.decode(), re.DOTALL)
    assert main is not None
    return " ".join(re.sub(r"<[^>]+>", " ", main[0]).split()).replace("&#x27;", "'")


def key_of(answer: Answer) -> str:
    found = re.search(r'name="request_key" value="([0-9a-f]{32})"', answer.content.decode())
    assert found is not None
    return found[1]


def choose(client: Client, url: str, **chosen: str) -> str:
    """Fill in the first page; gives the address of the next."""
    data = {"request_key": key_of(client.get(url)), "part": "full", **chosen}
    answer = client.post(url, data)
    assert answer.status_code == 302, text(answer)
    return str(answer["Location"])


def pay(client: Client, url: str, **chosen: str) -> Answer:
    """Go through all pages with a method on file; gives the answer to the last button."""
    return client.post(choose(client, url, **chosen))


def pay_url(town: Town) -> str:
    return reverse("customer-pay", args=[town.customer.pk])


# Outcomes


def test_a_payment_with_a_card_on_file_is_charged_once_however_often_it_is_sent(town: Town, ana: Client) -> None:
    card = town.on_file()
    review = choose(ana, pay_url(town), method=str(card.pk))
    page = text(ana.get(review))
    assert "Amount $84.10" in page
    assert f"Paid with Visa •••• {card.last4}" in page
    assert "Fee $0.00" in page
    assert town.charges() == []
    receipts = {ana.post(review)["Location"], ana.post(review)["Location"], ana.get(review)["Location"]}
    payment = Payment.objects.get()
    assert receipts == {reverse("customer-payment", args=[town.customer.pk, payment.pk])}
    assert (payment.state, payment.amount, payment.channel, payment.made_by) == (
        "posted",
        Decimal("84.10"),
        1,
        "Ana Ruiz",
    )
    assert town.charges() == [1]
    assert town.state() == (Decimal("0.00"), Decimal("0.00"), Decimal("0.00"))
    receipt = text(ana.get(receipts.pop()))
    assert "Thank you. Your payment is made." in receipt
    assert f"Confirmation number {payment.confirmation}" in receipt
    assert "Total charged $84.10" in receipt


def test_back_to_the_first_page_finds_the_payment_that_was_made(town: Town, ana: Client) -> None:
    card = town.on_file()
    key = key_of(ana.get(pay_url(town)))
    data = {"request_key": key, "part": "other", "amount": "10", "method": str(card.pk)}
    ana.post(ana.post(pay_url(town), data)["Location"])
    # The same form once more, as Back and the button send it, with another amount typed.
    again = ana.post(pay_url(town), {**data, "amount": "20"})["Location"]
    assert ana.get(again)["Location"] == ana.post(again)["Location"]
    assert list(Payment.objects.values_list("amount", flat=True)) == [Decimal("10.00")]
    assert town.charges() == [1]


def test_a_declined_card_takes_no_money_and_lets_go_of_the_bill(town: Town, ana: Client) -> None:
    card = town.on_file("hard_decline")
    answer = pay(ana, pay_url(town), method=str(card.pk))
    page = text(ana.get(answer["Location"]))
    assert "Your payment did not go through" in page
    assert "The bank declined the payment." in page
    assert "No money has been taken." in page
    assert town.charges() in ([], [0])
    assert Payment.objects.get().state == "failed"
    assert town.state() == (Decimal("84.10"), Decimal("84.10"), Decimal("0.00"))


def test_without_an_answer_the_page_says_not_to_pay_again_and_shows_the_result_later(town: Town, ana: Client) -> None:
    card = town.on_file()
    town.processor.strike("drop_after")
    address = pay(ana, pay_url(town), method=str(card.pk))["Location"]
    answer = ana.get(address)
    assert "Do not pay again." in text(answer)
    assert 'hx-trigger="every 3s"' in answer.content.decode()
    assert Payment.objects.get().state == "processing"
    # Nor does another try charge: the bill is held.
    assert "This bill is already being paid" in text(ana.get(pay_url(town)))
    recoveries.recover(biller=town.biller, actor=Actor.system("test"), least_age=NO_TIME, pause=NO_TIME)
    answer = ana.get(address)
    assert "Thank you. Your payment is made." in text(answer)
    assert "hx-trigger" not in answer.content.decode()
    assert town.charges() == [1]


def test_two_pages_open_at_once_pay_one_bill_once(town: Town, ana: Client) -> None:
    card = town.on_file()
    reviews = [choose(ana, pay_url(town), method=str(card.pk)) for _ in range(2)]
    town.processor.strike("drop_after")
    ana.post(reviews[0])
    answer = ana.post(reviews[1])
    assert answer.status_code == 409
    assert "This bill is already being paid" in text(answer)
    assert "No money has been taken." in text(answer)
    assert Payment.objects.count() == 1
    assert town.charges() == [1]


def test_a_bill_paid_meanwhile_is_not_paid_again(town: Town, ana: Client) -> None:
    card = town.on_file()
    reviews = [choose(ana, pay_url(town), method=str(card.pk)) for _ in range(2)]
    ana.post(reviews[0])
    answer = ana.post(reviews[1])
    assert (answer.status_code, "Nothing is due" in text(answer)) == (409, True)
    assert town.charges() == [1]


def test_a_second_payment_of_the_day_is_warned_of(town: Town, ana: Client) -> None:
    card = town.on_file()
    pay(ana, pay_url(town), part="other", amount="10.00", method=str(card.pk))
    page = text(ana.get(choose(ana, pay_url(town), method=str(card.pk))))
    assert "This account was already paid today $10.00" in page


def test_a_stopped_biller_takes_nothing_even_from_a_page_that_is_open(town: Town, ana: Client) -> None:
    review = choose(ana, pay_url(town), method=str(town.on_file().pk))
    Biller.objects.update(charging_stopped=True)
    answer = ana.post(review)
    assert (answer.status_code, "No money has been taken." in text(answer)) == (409, True)
    assert "Payments are stopped at the moment" in text(ana.get(pay_url(town)))
    assert (Payment.objects.count(), town.charges()) == (0, [])


def test_a_blocked_card_is_neither_offered_nor_taken(town: Town, ana: Client) -> None:
    card = town.on_file()
    review = choose(ana, pay_url(town), method=str(card.pk))
    Customer.objects.filter(pk=town.customer.pk).update(blocks_card=True)
    answer = ana.post(review)
    assert (answer.status_code, "This account cannot be paid this way" in text(answer)) == (409, True)
    page = ana.get(pay_url(town)).content.decode()
    assert str(card.pk) not in page
    assert 'value="card"' not in page
    assert 'value="bank"' in page
    # Nor can one be put on file.
    assert ana.get(reverse("customer-method-add", args=[town.customer.pk, "card"])).status_code == 404
    assert (Payment.objects.count(), town.charges()) == (0, [])
    Customer.objects.filter(pk=town.customer.pk).update(blocks_bank=True)
    assert "This account cannot be paid here" in text(ana.get(pay_url(town)))


def test_an_accident_after_the_checkpoint_still_says_what_happens_to_the_money(
    town: Town, ana: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = choose(ana, pay_url(town), method=str(town.on_file().pk))

    def break_here(name: str) -> None:
        if name == "pay.answered":
            raise ZeroDivisionError

    monkeypatch.setattr("payments.operations.charges.failpoint", break_here)
    answer = ana.post(review)
    monkeypatch.undo()
    payment = Payment.objects.get()
    assert answer["Location"] == reverse("customer-payment", args=[town.customer.pk, payment.pk])
    assert "Do not pay again." in text(ana.get(answer["Location"]))
    assert ana.post(review)["Location"] == answer["Location"]
    assert (Attempt.objects.count(), town.charges()) == (1, [1])


def test_a_route_that_is_set_up_wrongly_takes_nothing_and_says_so(town: Town, ana: Client) -> None:
    review = choose(ana, pay_url(town), method=str(town.on_file().pk))
    Route.objects.update(options={"no_such": "option"})
    answer = ana.post(review)
    assert (answer.status_code, "No money has been taken." in text(answer)) == (409, True)
    assert (Payment.objects.count(), town.charges(), town.state()[2]) == (0, [], Decimal("0.00"))


# How much


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("", "Enter an amount"),
        ("0", "Enter $0.01 or more"),
        ("-5", "Enter $0.01 or more"),
        ("84.11", "Enter $84.10 or less"),
        ("ten", "is not an amount"),
        ("1.001", "at most 2 decimal places"),
    ],
)
def test_a_wrong_amount_is_told_and_nothing_is_charged(town: Town, ana: Client, amount: str, words: str) -> None:
    data = {"request_key": uuid.uuid4().hex, "part": "other", "amount": amount, "method": str(town.on_file().pk)}
    answer = ana.post(pay_url(town), data)
    assert answer.status_code == 422
    assert words in text(answer)
    assert "<title>Error: Pay your bill" in answer.content.decode()
    assert Payment.objects.count() == 0


def test_a_part_is_paid_where_parts_are_taken(town: Town, ana: Client) -> None:
    pay(ana, pay_url(town), part="other", amount="$30", method=str(town.on_file().pk))
    assert town.state() == (Decimal("54.10"), Decimal("54.10"), Decimal("0.00"))


def test_where_parts_are_not_taken_none_can_be_chosen(town: Town, ana: Client) -> None:
    Biller.objects.update(allow_partial_payments=False)
    page = ana.get(pay_url(town)).content.decode()
    assert 'name="part"' not in page
    pay(ana, pay_url(town), part="other", amount="30", method=str(town.on_file().pk))
    assert Payment.objects.get().amount == Decimal("84.10")


def test_a_credit_is_taken_off_what_is_due(town: Town, ana: Client) -> None:
    Biller.objects.update(allow_partial_payments=False)
    bill = Item.objects.get()
    Item.objects.create(
        biller=town.biller,
        customer=town.customer,
        posting=bill.posting,
        kind="credit",
        amount=Decimal("-12.40"),
        currency="USD",
    )
    Customer.objects.filter(pk=town.customer.pk).update(balance=Decimal("71.70"))
    pay(ana, pay_url(town), method=str(town.on_file().pk))
    assert Payment.objects.get().amount == Decimal("71.70")
    assert town.charges() == [1]


def test_nothing_due_offers_no_payment(town: Town, ana: Client) -> None:
    pay(ana, pay_url(town), method=str(town.on_file().pk))
    page = ana.get(pay_url(town))
    assert "There is nothing to pay on this account." in text(page)
    assert "request_key" not in page.content.decode()


# Entering a card


@pytest.mark.spec("PAY-16", "PAY-17")
def test_the_page_shows_the_processors_own_fields_and_no_field_for_a_number(town: Town, ana: Client) -> None:
    page = ana.get(choose(ana, pay_url(town), method="card"))
    body = page.content.decode()
    assert f'data-origin="{town.processor.url}"' in body
    assert (
        f"{town.processor.url}/fields?merchant={town.route.merchant}&amp;kind=card&amp;lang=en&amp;parent=http%3A%2F%2Ftestserver"
        in body
    )
    inputs = set(re.findall(r'<input[^>]*name="([^"]+)"', body))
    assert inputs <= {"csrfmiddlewaretoken", "next", "token"}
    assert "frame-src 'self' http://127.0.0.1:*" in page["Content-Security-Policy"]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.spec("PAY-17")
def test_a_new_card_serves_once_or_stays_on_file(town: Town, ana: Client, keep: bool) -> None:
    entry = choose(ana, pay_url(town), method="card", **({"keep": "on"} if keep else {}))
    token = town.token(last4="1111")
    ana.post(ana.post(entry, {"token": token})["Location"])
    card = Instrument.objects.get()
    assert (card.state, card.last4, card.token) == ("active" if keep else "one_time", "1111", token)
    assert Payment.objects.get().state == "posted"
    assert (str(card) in text(ana.get("/methods/"))) is keep


def test_without_javascript_the_token_comes_back_in_the_address_and_leaves_it(town: Town, ana: Client) -> None:
    entry = choose(ana, pay_url(town), method="card")
    back = re.search(r"return_url=([^&\"]+)", ana.get(entry).content.decode())
    assert back is not None
    answer = ana.get(f"{entry}?token={town.token()}")
    assert (answer.status_code, answer["Location"]) == (302, entry.replace("method", "review"))
    ana.post(answer["Location"])
    assert town.charges() == [1]


@pytest.mark.parametrize("token", ["", "tok_nobody_4242", "x" * 200, "'; DROP TABLE"])
def test_a_token_that_the_processor_does_not_know_is_refused(town: Town, ana: Client, token: str) -> None:
    entry = choose(ana, pay_url(town), method="card")
    answer = ana.post(entry, {"token": token})
    assert answer.status_code == 422
    assert "No money has been taken." in text(answer)
    assert Instrument.objects.count() == 0


def test_a_processor_that_does_not_answer_is_said_and_nothing_is_kept(town: Town, ana: Client) -> None:
    entry = choose(ana, pay_url(town), method="card")
    token = town.token()
    Route.objects.update(options={"base_url": "http://127.0.0.1:9", "timeout": 0.5})
    answer = ana.post(entry, {"token": token})
    assert (answer.status_code, "does not answer" in text(answer)) == (422, True)
    assert Instrument.objects.count() == 0


def test_card_tries_are_limited_by_account_and_survive_a_wiped_cache(town: Town, ana: Client) -> None:
    entry = choose(ana, pay_url(town), method="card")
    for _ in range(card_entry.TRIES_FOR_ACCOUNT.most):
        assert ana.post(entry, {"token": "tok_nobody_4242"}).status_code == 422
    answer = ana.post(entry, {"token": town.token()})
    assert (answer.status_code, "too many tries" in text(answer)) == (429, True)
    add = reverse("customer-method-add", args=[town.customer.pk, "card"])
    assert ana.post(add, {"token": town.token()}).status_code == 429
    assert Instrument.objects.count() == 0
    assert Throttle.objects.count() == 2


def test_payments_of_one_account_are_limited(town: Town, ana: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    card = town.on_file("soft_decline")
    monkeypatch.setattr(card_entry, "PAYMENTS_OF_ACCOUNT", Limit("pay", 2, datetime.timedelta(hours=1)))
    for _ in range(2):
        assert pay(ana, pay_url(town), method=str(card.pk)).status_code == 302
    answer = pay(ana, pay_url(town), method=str(card.pk))
    assert (answer.status_code, "No money has been taken." in text(answer)) == (429, True)
    assert Payment.objects.count() == 2


# Guests


def test_a_guest_pays_and_gets_a_receipt_but_sees_nothing_else(town: Town) -> None:
    town.on_file()
    guest, url = guest_of(town)
    assert "35909" not in url
    page = guest.get(url)
    assert "84.10" in text(page)
    for secret in ("Ana Ruiz", "ana@example.com", "Visa"):
        assert secret not in text(page)
    entry = choose(guest, url, method="card", email="guest@example.com")
    review = guest.post(entry, {"token": town.token()})["Location"]
    assert "Ana Ruiz" not in text(guest.get(review))
    bill = guest.get(f"{url}bills/{Item.objects.get().invoice_id}/")
    assert ("$84.10" in text(bill), "Ana Ruiz" in text(bill)) == (True, False)
    receipt = guest.post(review)["Location"]
    assert "A receipt is on its way to guest@example.com." in text(guest.get(receipt))
    # From there the bill that was paid, and its PDF.
    assert f'href="{url}bills/{Item.objects.get().invoice_id}/"' in guest.get(receipt).content.decode()
    assert guest.get(f"{url}bills/{Item.objects.get().invoice_id}/pdf/")["Content-Type"] == "application/pdf"
    payment = Payment.objects.get()
    assert (payment.channel, payment.made_by, payment.user_id, payment.email) == (
        11,
        "Guest",
        None,
        "guest@example.com",
    )
    assert payment.instrument is not None
    assert payment.instrument.state == "one_time"
    # The addresses are worth nothing in another browser.
    for address in (url, entry, review, receipt):
        assert Client().get(address).status_code == 404
    # And what others paid on the account is not shown.
    other, other_url = guest_of(town)
    assert other.get(f"{other_url}payments/{payment.pk}/").status_code == 404
    for name in ("customer-home", "customer-bills", "customer-payments", "customer-methods"):
        assert guest.get(reverse(name)).status_code == 302


def test_a_receipt_by_mail_names_the_method_in_the_payers_language(town: Town, ana: Client) -> None:
    """A guest's is the language in which they paid, everybody else's the customer's own."""
    guest, url = guest_of(town)
    guest.cookies["django_language"] = "es"
    entry = choose(guest, url, method="card", part="other", amount="10", email="guest@example.com")
    guest.post(guest.post(entry, {"token": town.token()})["Location"])
    ana.cookies["django_language"] = "es"
    card = town.on_file()
    pay(ana, pay_url(town), method=str(card.pk))
    spanish, english = Payment.objects.order_by("pk")
    assert (spanish.language, english.language) == ("es", "")
    assert notice_deliveries.send_due(actor=Actor.system("test")) == notice_deliveries.Sent(sent=2)
    first, second = sorted(mail.outbox, key=lambda message: message.to == ["ana@example.com"])
    assert spanish.instrument is not None
    assert f"\nPagado con: Visa terminada en {spanish.instrument.last4}\n" in first.body
    assert f"\nPaid with: Visa ending in {card.last4}\n" in second.body
    assert (first.to, second.to) == (["guest@example.com"], ["ana@example.com"])


def test_a_guest_cannot_use_a_method_on_file(town: Town) -> None:
    card = town.on_file()
    guest, url = guest_of(town)
    answer = guest.post(url, {"request_key": uuid.uuid4().hex, "part": "full", "method": str(card.pk)})
    assert answer.status_code == 422
    assert town.charges() == []


def test_a_guests_time_ends(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.customer_portal.access.GUEST_SECONDS", -1)
    guest, url = guest_of(town)
    assert guest.get(url)["Location"] == "/"


def test_two_tabs_of_a_guest_pay_their_own_bills(town: Town) -> None:
    other = make_customer(town.biller, number="777", zip="11111")
    make_invoice(other, "10.00")
    guest, first = guest_of(town)
    second = guest.post(f"/with/{town.biller.slug}/", {"number": "777", "secret": "11111"})["Location"]
    assert ("$84.10" in text(guest.get(first)), "$10.00" in text(guest.get(second))) == (True, True)
    entry = choose(guest, first, method="card")
    # A key of one bill leads nowhere under the other.
    assert guest.get(entry.replace(first, second)).status_code == 410
    guest.post(guest.post(entry, {"token": town.token()})["Location"])
    assert Payment.objects.get().customer == town.customer


@pytest.mark.parametrize(("number", "secret"), [("35909-001", "99999"), ("35909-999", "80202"), ("35909-999", "99999")])
def test_a_wrong_number_and_a_wrong_secret_get_the_same_page(town: Town, number: str, secret: str) -> None:
    answer = Client().post(f"/with/{town.biller.slug}/", {"number": number, "secret": secret})
    assert answer.status_code == 422
    assert "We found no account with these details." in text(answer)
    known = Client().post(f"/with/{town.biller.slug}/", {"number": "35909-001", "secret": "00000"})
    plain = re.compile(r'value="[^"]*"|csrf[^>]*|hx-headers=[^>]*')
    assert plain.sub("", answer.content.decode()) == plain.sub("", known.content.decode())


def test_the_front_door_leads_everybody_to_where_they_belong(town: Town, ana: Client) -> None:
    assert Client().get("/")["Location"] == f"/with/{town.biller.slug}/"
    assert ana.get("/")["Location"] == "/home/"
    newcomer = Client()
    newcomer.force_login(make_user(), backend=BACKEND)
    assert newcomer.get("/")["Location"] == "/link/"
    second = make_biller(name="Second Biller")
    page = text(Client().get("/"))
    assert town.biller.name in page
    assert second.name in page
    assert Client().get("/with/nobody/").status_code == 404


# Others' objects


def test_anothers_objects_are_not_there(town: Town, ana: Client) -> None:
    other = make_customer(town.biller)
    bill = make_invoice(other, "10.00")
    card = make_instrument(other, town.route)
    mine = town.customer.pk
    addresses = [
        reverse("customer-pay", args=[other.pk]),
        reverse("customer-bill", args=[other.pk, bill.pk]),
        reverse("customer-bill", args=[mine, bill.pk]),
        reverse("customer-method-remove", args=[mine, card.pk]),
        reverse("customer-method-remove", args=[other.pk, card.pk]),
        reverse("customer-autopay-account", args=[other.pk]),
        reverse("customer-autopay-end", args=[other.pk]),
        reverse("customer-paperless-account", args=[other.pk]),
        reverse("customer-payment", args=[mine, uuid.uuid4()]),
    ]
    for address in addresses:
        assert ana.get(address).status_code == 404, address
        assert ana.post(address).status_code == 404, address
        assert Client().get(address)["Location"].startswith("/accounts/login/"), address
    card.refresh_from_db()
    assert card.state == "active"
    data = {"request_key": uuid.uuid4().hex, "part": "full", "method": str(card.pk)}
    assert ana.post(pay_url(town), data).status_code == 422


def test_staff_see_only_the_accounts_that_are_linked_to_them(town: Town) -> None:
    clerk, client = make_user(), Client()
    make_membership(clerk, town.biller)
    client.force_login(clerk, backend=BACKEND)
    assert client.get(pay_url(town)).status_code == 404
    own = make_customer(town.biller)
    make_link(clerk, own)
    assert client.get(reverse("customer-pay", args=[own.pk])).status_code == 200
    assert client.get(pay_url(town)).status_code == 404
    assert town.customer.shown_number not in text(client.get("/home/"))


# AutoPay, paperless, methods


def test_autopay_keeps_the_consent_with_the_payers_address(town: Town, ana: Client) -> None:
    card = town.on_file()
    url = reverse("customer-autopay-account", args=[town.customer.pk])
    page = text(ana.get(url))
    assert f"I authorize Maple Falls Utilities to charge {card}" in page
    assert "First collection" in page
    refused = ana.post(f"{url}?method={card.pk}", {})
    assert (refused.status_code, AutoPayEnrolment.objects.count()) == (422, 0)
    assert ana.post(f"{url}?method={card.pk}", {"agreed": "on"}).status_code == 302
    enrolment = AutoPayEnrolment.objects.get()
    assert (enrolment.consent_by, enrolment.consent_address, enrolment.instrument) == ("Ana Ruiz", "127.0.0.1", card)
    assert enrolment.consent_text in text(ana.get("/autopay/"))
    end = reverse("customer-autopay-end", args=[town.customer.pk])
    assert "Turn AutoPay off?" in text(ana.get(end))
    assert AutoPayEnrolment.objects.filter(ended_at=None).count() == 1
    ana.post(end)
    assert AutoPayEnrolment.objects.filter(ended_at=None).count() == 0


@pytest.mark.spec("MSP-26")
def test_accounts_that_are_billed_together_are_enrolled_together(town: Town, ana: Client, processor: Processor) -> None:
    advanced_settings.change(actor=Actor.system("test"), biller=town.biller, number=131, given=APART)
    advanced_settings.change(actor=Actor.system("test"), biller=town.biller, number=128, given=True)
    Invoice.objects.update(custom10="1-1")
    card = town.on_file()
    second, others = make_customer(town.biller, number="35909-002"), make_customer(town.biller, number="77-001")
    make_link(town.payer, second)
    for customer in (second, others):
        make_invoice(customer, "40.00", custom10="1-1")
    make_link(make_user(), others)
    url = reverse("customer-autopay-account", args=[town.customer.pk]) + f"?method={card.pk}"
    page = text(ana.get(url))
    assert "Also turn AutoPay on for these accounts" in page and "35909-002" in page and "77-001" not in page
    assert "may be charged in one payment" in page
    refused = ana.post(url, {"agreed": "on", "others": [others.pk]})
    assert (refused.status_code, AutoPayEnrolment.objects.count()) == (422, 0)
    assert ana.post(url, {"agreed": "on", "others": [second.pk]}).status_code == 302
    enrolled = AutoPayEnrolment.objects.filter(ended_at=None)
    assert {one.customer_id for one in enrolled} == {town.customer.pk, second.pk}
    assert {one.instrument.token for one in enrolled} == {card.token}
    # What was charged together is said on each receipt.
    Item.objects.update(collect_on=town.biller.business_date(timezone.now()))
    today = town.biller.business_date(timezone.now())
    run = collections.plan(
        biller=town.biller, options=collections.Options.usual(today), actor=Actor.system("t"), now=timezone.now()
    )
    assert sum(chunk.passed_count for chunk in collections.work(run=run, actor=Actor.system("t"))) == 2
    mine = Payment.objects.get(customer=second)
    receipt = text(ana.get(reverse("customer-payment", args=[second.pk, mine.pk])))
    assert "Part of one payment for these accounts" in receipt
    assert "35909-001: $84.10" in receipt and "35909-002: $40.00" in receipt
    paper = PdfReader(io.BytesIO(ana.get(reverse("customer-payment-pdf", args=[second.pk, mine.pk])).content))
    written = " ".join(paper.pages[0].extract_text().split())
    assert "35909-001: $84.10; 35909-002: $40.00" in written
    csr = client_of(make_staff(town.biller))
    seen = text(csr.get(reverse("biller-payment", args=[mine.pk])))
    assert "Charged together" in seen and "35909-002 (this payment)" in seen


@pytest.mark.parametrize(("rule", "days", "expected"), [("finalized", 0, 0), ("due", 0, 9), ("before_due", 4, 5)])
@pytest.mark.spec("PAY-12")
def test_the_first_collection_is_the_same_before_and_after_the_consent(
    town: Town, ana: Client, rule: str, days: int, expected: int
) -> None:
    Biller.objects.update(collect_rule=rule, collect_days=days)
    town.biller.refresh_from_db()
    today = town.biller.business_date(timezone.now())
    Item.objects.update(collect_on=None, due_on=today + datetime.timedelta(days=9))
    card = town.on_file()
    url = reverse("customer-autopay-account", args=[town.customer.pk])
    said = formats.day(today + datetime.timedelta(days=expected))
    assert f"First collection {said}" in text(ana.get(url))
    ana.post(f"{url}?method={card.pk}", {"agreed": "on"})
    assert AutoPayEnrolment.objects.get().first_collection_on == today + datetime.timedelta(days=expected)
    assert Item.objects.get().collect_on == today + datetime.timedelta(days=expected)


def test_paperless_borrows_the_sign_in_address_where_the_account_has_none(town: Town, ana: Client) -> None:
    Customer.objects.filter(pk=town.customer.pk).update(email="")
    url = reverse("customer-paperless-account", args=[town.customer.pk])
    assert "ana@example.com" in text(ana.get(url))
    ana.post(url, {"wanted": "on"})
    town.customer.refresh_from_db()
    assert (town.customer.paperless, town.customer.email) == (True, "ana@example.com")
    # A page that was left open does not turn it off again.
    ana.post(url, {"wanted": "on"})
    town.customer.refresh_from_db()
    assert town.customer.paperless
    ana.post(url, {"wanted": "off"})
    town.customer.refresh_from_db()
    assert not town.customer.paperless


def test_methods_are_chosen_and_removed_unless_autopay_uses_them(town: Town, ana: Client) -> None:
    first, second = town.on_file(), town.on_file()
    ana.post(reverse("customer-method-default", args=[town.customer.pk, second.pk]))
    assert Instrument.objects.get(is_default=True) == second
    make_autopay(town.customer, first)
    ana.post(reverse("customer-method-remove", args=[town.customer.pk, first.pk]))
    ana.post(reverse("customer-method-remove", args=[town.customer.pk, second.pk]))
    assert dict(Instrument.objects.values_list("pk", "state")) == {first.pk: "active", second.pk: "removed"}


# Through a payer's eyes


@pytest.fixture
def viewer(town: Town, client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A CSR who looks at Ana's account."""
    monkeypatch.setattr("billing.biller_portal.access.is_mfa_enabled", lambda user: True)
    casey = make_user("casey@example.com", name="Casey Clark")
    make_membership(casey, town.biller, Role.READ_ONLY)
    client.force_login(casey, backend=BACKEND)
    begun = client.post(reverse("customer-view-as", args=[town.customer.pk, town.payer.pk]))
    assert (begun.status_code, begun["Location"]) == (302, "/home/")
    return client


def test_a_csr_sees_what_the_payer_sees_of_this_biller_and_changes_nothing(town: Town, viewer: Client) -> None:
    elsewhere = make_customer(make_biller(name="Elsewhere Gas"), number="ELSEWHERE-1")
    make_link(town.payer, elsewhere)
    home = viewer.get("/home/").content.decode()
    assert "You are looking at this portal as Ana Ruiz." in home
    assert "35909-001" in home
    assert "ELSEWHERE-1" not in home
    assert viewer.get(reverse("customer-pay", args=[elsewhere.pk])).status_code == 404
    card = town.on_file()
    posts = [
        (reverse("customer-paperless-account", args=[town.customer.pk]), {"wanted": "on"}),
        (reverse("customer-method-remove", args=[town.customer.pk, card.pk]), {}),
        (reverse("customer-autopay-account", args=[town.customer.pk]) + f"?method={card.pk}", {"agreed": "on"}),
        (reverse("customer-profile"), {"name": "Mallory", "language": "es"}),
        (pay_url(town), {"request_key": uuid.uuid4().hex, "part": "full", "method": str(card.pk)}),
        ("/bills/", {"save": "mine"}),
    ]
    before = AuditEntry.objects.count()
    for address, data in posts:
        answer = viewer.post(address, data)
        assert (answer.status_code, "Nothing was changed" in text(answer)) == (403, True), address
    add = reverse("customer-method-add", args=[town.customer.pk, "card"])
    assert viewer.get(f"{add}?token={town.token()}").status_code == 403
    card.refresh_from_db()
    town.payer.refresh_from_db()
    assert (card.state, town.payer.name, AutoPayEnrolment.objects.count()) == ("active", "Ana Ruiz", 0)
    assert (AuditEntry.objects.count(), Attempt.objects.count(), Instrument.objects.count()) == (before, 0, 1)
    entry = AuditEntry.objects.get(event="customer.viewed_as")
    assert (entry.actor, entry.facts["payer"]) == ("Casey Clark", "Ana Ruiz")


def test_looking_ends_when_told_and_when_the_right_is_gone(town: Town, viewer: Client) -> None:
    viewer.post(reverse("customer-view-as-end"))
    assert viewer.get(pay_url(town)).status_code == 404
    viewer.post(reverse("customer-view-as", args=[town.customer.pk, town.payer.pk]))
    assert viewer.get("/bills/").status_code == 200
    User.objects.get(email="casey@example.com").memberships.all().delete()
    assert viewer.get("/bills/").status_code == 404


def test_nobody_looks_through_the_eyes_of_who_is_no_payer_of_the_account(town: Town, viewer: Client) -> None:
    viewer.post(reverse("customer-view-as-end"))
    stranger = make_user()
    assert viewer.post(reverse("customer-view-as", args=[town.customer.pk, stranger.pk])).status_code == 404
    foreign = make_customer(make_biller())
    make_link(town.payer, foreign)
    assert viewer.post(reverse("customer-view-as", args=[foreign.pk, town.payer.pk])).status_code == 404
    assert viewer.get(reverse("customer-view-as", args=[town.customer.pk, town.payer.pk])).status_code == 405
    assert AuditEntry.objects.filter(event="customer.viewed_as").count() == 1


def test_payers_pages_stay_out_of_caches(town: Town, ana: Client) -> None:
    guest, url = guest_of(town)
    for answer in (ana.get("/home/"), ana.get("/bills/"), ana.get(pay_url(town)), guest.get(url)):
        assert "no-store" in answer["Cache-Control"]
        assert "private" in answer["Cache-Control"]


def test_who_is_idle_or_long_signed_in_is_signed_out_told_why_and_led_back(
    town: Town, ana: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("billing.sessions.time.time", lambda: 1e9 + clock[0] * 60)
    part = {"HX-Request": "true", "HX-Current-URL": "http://testserver/bills/?state=open"}
    dana = client_of(make_staff(town.biller))
    for browser, home in ((ana, "/home/"), (dana, "/biller/files/")):
        clock[0] = 0
        assert 'name="session-seconds" content="1800"' in browser.get(home).content.decode()
        clock[0] = 29
        assert browser.get(home).status_code == 200
        # What a page asks for by itself is nobody's activity.
        clock[0] = 58.9
        assert browser.get(home, headers=part).status_code == 200
        clock[0] = 59.1
        answer = browser.get(f"{home}?a=1", follow=True)
        assert answer.redirect_chain == [(f"/accounts/login/?next={home}%3Fa%3D1", 302)]
        assert "You were signed out because you had not used this site for a while." in answer.content.decode()
        assert "_auth_user_id" not in browser.session

    # A form leads back to the page where it stood, a part of a page to the page; another site's address to neither.
    clock[0] = 100
    for sent, stood, goes in (
        ({"Referer": "http://testserver/methods/?x=1"}, "/methods/%3Fx%3D1", "Location"),
        ({"Referer": "https://evil.example/methods/"}, "/", "Location"),
        (part, "/bills/%3Fstate%3Dopen", "HX-Redirect"),
    ):
        ana.force_login(town.payer, backend=BACKEND)
        ana.get("/home/")
        clock[0] += 31
        answer = ana.post(pay_url(town), {"amount": "84.10"}, headers=sent)
        assert answer[goes] == f"/accounts/login/?next={stood}"
    assert Payment.objects.count() == 0

    # Nobody stays for ever, however busy; and the warning's own question is answered and explained later.
    ana.force_login(town.payer, backend=BACKEND)
    ana.get("/home/")
    for _ in range(36):
        clock[0] += 19.9
        assert ana.get("/home/").status_code == 200
    clock[0] += 5
    assert ana.post("/sessions/extend").json() == {"seconds": 0}
    assert "because you had been signed in for a long time." in ana.get("/home/", follow=True).content.decode()
