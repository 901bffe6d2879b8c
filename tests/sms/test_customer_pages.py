"""Pay by text in the customer portal: what a payer sees and does on its pages, and what that changes."""

from __future__ import annotations

import datetime
import html
import io
import logging
import re
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.db.models import F
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import throttles
from billing.actors import Actor, Requestor
from billing.models import Biller, Customer, Item, User
from config.logs import MaskingFormatter
from datapump.models import Configuration, Record
from sms.models import Line, PayLink, Phone, Programme, SmsMode, Text
from sms.operations import enrolments, links, programmes
from sms.operations.modes import State
from tests.factories import make_biller, make_customer, make_invoice, make_link, make_route, make_user
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db

LINE, ONE, TWO = "+15055550100", "+15055550123", "+15055550199"
FROM_PHONE = Actor(Requestor.INBOUND_TEXT, "Text from the phone")
CSR = Actor(Requestor.CSR, "Clara")


@pytest.fixture
def biller() -> Biller:
    biller = make_biller(slug="city-water", allow_partial_payments=True)
    Configuration.objects.update_or_create(biller=biller, defaults={"pay_by_text_changes": True})
    Programme.objects.create(biller=biller, name="City Water", contact="(505) 555-0177")
    Line.objects.create(biller=biller, number=LINE, driver="simulator", options={}, secret="unused")
    return biller


@pytest.fixture
def customer(biller: Biller) -> Customer:
    customer = make_customer(biller, phone="+15055550111")
    make_invoice(customer, "84.10")
    return customer


@pytest.fixture
def payer(customer: Customer) -> User:
    user = make_user("olive@payers.example", name="Olive Payer")
    make_link(user, customer)
    return user


@pytest.fixture
def client(payer: User) -> Client:
    return client_of(payer)


def page(response: Any) -> str:
    """Give the words of a page, without its tags."""
    main = response.content.decode().split("<main", 1)[1].split("</main>", 1)[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def at(name: str, customer: Customer) -> str:
    return reverse(name, args=[customer.pk])


def enrol(client: Client, customer: Customer, number: str = "(505) 555-0123", agreed: bool = True) -> Any:
    given = {"number": number, **({"agreed": "on"} if agreed else {})}
    return client.post(at("customer-text-number", customer), given)


def state(customer: Customer) -> State | None:
    mode = SmsMode.objects.filter(customer=customer).first()
    return None if mode is None else State.of(mode)


def texts() -> list[tuple[str, str]]:
    return list(Text.objects.filter(direction="out").order_by("pk").values_list("phone", "kind"))


@pytest.mark.spec("PBT-3")
def test_a_payer_enrols_waits_and_is_on_once_the_phone_says_yes(client: Client, customer: Customer) -> None:
    home = page(client.get(reverse("customer-home")))
    assert "Pay by text Get your bill by text, and pay it by answering. Off Turn on" in home
    form = client.get(at("customer-text-number", customer)).content.decode()
    assert "checked" not in form.split("<main")[1]
    assert not re.search(r'name="number"[^>]*value=', form)  # the phone on file was given for something else
    assert html.escape(enrolments.terms(programmes.programme_of(customer.biller), language="en")) in form

    answer = enrol(client, customer)
    assert (answer.status_code, answer["Location"]) == (302, at("customer-text", customer))
    mode = SmsMode.objects.get(customer=customer)
    assert State.of(mode) == State(pending_number=ONE)
    assert (mode.consent_how, mode.consent_by, mode.consent_requestor, mode.consent_address) == (
        "In the customer portal.", "Olive Payer", Requestor.PAYER, "127.0.0.1",
    )  # fmt: skip
    assert mode.consent_text.startswith("I agree to get texts about my bills from City Water at this number")
    assert texts() == [(ONE, "registration")]
    waiting = page(client.get(at("customer-text", customer)))
    assert "Check your phone" in waiting and "We sent a text to (•••) •••-0123" in waiting
    assert "Answer it with the word YES . It comes from (505) 555-0100." in waiting
    assert "(505) 555-0123" not in waiting
    assert "Answer the text that we sent to (•••) •••-0123." in page(client.get(reverse("customer-home")))
    # What asks by itself gets nothing to draw while nothing has changed.
    assert client.get(at("customer-text", customer), headers={"hx-request": "true"}).status_code == 204

    assert enrolments.confirm(biller=customer.biller, number=ONE, actor=FROM_PHONE) == 1
    on = client.get(at("customer-text", customer), headers={"hx-request": "true"})
    assert on.status_code == 200 and "Pay by text is on" in page(on)
    assert "No payment method is saved" in page(on)
    assert "Bills come by text to (•••) •••-0123. On Change" in page(client.get(reverse("customer-home")))
    told = [record.facts["status"] for record in Record.objects.order_by("pk")]
    assert told == ["pending", "enrolled"]


@pytest.mark.parametrize(
    ("number", "agreed", "words"),
    [
        ("", True, "Enter your mobile number"),
        ("555", True, "Enter a phone number with its area code, such as (555) 555-0123"),
        ("(505) 555-0123", False, "Agree to the terms of pay by text first."),
    ],
)
def test_what_is_missing_is_said_and_changes_nothing(
    client: Client, customer: Customer, number: str, agreed: bool, words: str
) -> None:
    answer = enrol(client, customer, number, agreed)
    assert answer.status_code == 422 and words in page(answer)
    assert f'value="{number}"' in answer.content.decode() or not number  # what was typed stays
    assert (state(customer), texts()) == (None, [])


def test_a_new_number_waits_while_the_old_one_serves_and_can_be_given_up(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    enrolments.confirm(biller=customer.biller, number=ONE, actor=FROM_PHONE)
    enrol(client, customer, "505 555 0199")
    assert state(customer) == State(ONE, TWO, registered=True)
    words = page(client.get(at("customer-text", customer)))
    assert "We sent a text to (•••) •••-0199" in words
    assert "Until then your bills go on coming to (•••) •••-0123" in words
    assert client.post(at("customer-text-keep", customer)).status_code == 302
    assert state(customer) == State(ONE, registered=True)
    assert "Your number stays as it was." in page(client.get(at("customer-text", customer)))
    # A second time there is nothing to give up.
    client.post(at("customer-text-keep", customer))
    assert "No confirmation is waited for." in page(client.get(at("customer-text", customer)))
    enrol(client, customer, "505 555 0199")
    enrolments.confirm(biller=customer.biller, number=TWO, actor=FROM_PHONE)
    assert state(customer) == State(TWO, registered=True)


def test_the_number_that_serves_already_changes_nothing_and_says_so(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    enrolments.confirm(biller=customer.biller, number=ONE, actor=FROM_PHONE)
    before = (Record.objects.count(), texts())
    enrol(client, customer)
    assert "Pay by text is already on with this number." in page(client.get(at("customer-text", customer)))
    assert (Record.objects.count(), texts()) == before


def test_the_text_is_sent_again_three_times_an_hour(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    for _time in range(3):
        client.post(at("customer-text-again", customer))
        assert "We sent the text again." in page(client.get(at("customer-text", customer)))
    client.post(at("customer-text-again", customer))
    refused = page(client.get(at("customer-text", customer)))
    assert re.search(r"There were too many tries. Wait until \d+:\d\d [ap]m, then try again.", refused)
    assert len(texts()) == 4


def test_numbers_are_not_tried_without_end(client: Client, customer: Customer) -> None:
    for last in range(6):
        assert enrol(client, customer, f"(505) 555-012{last}").status_code == 302
    answer = enrol(client, customer, "(505) 555-0129")
    assert answer.status_code == 429 and "There were too many tries." in page(answer)
    assert state(customer) == State(pending_number="+15055550125")
    assert len(texts()) == 6


def test_a_number_that_ran_out_is_asked_again_when_it_is_given_again(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    SmsMode.objects.update(pending_until=timezone.now() - datetime.timedelta(minutes=1))
    words = page(client.get(at("customer-text", customer)))
    assert "No answer came in time" in words and "Check your phone" not in words
    enrol(client, customer)
    assert state(customer) == State(ONE, ONE)
    assert texts() == [(ONE, "registration"), (ONE, "registration")]
    assert SmsMode.objects.get().pending_until > timezone.now()  # type: ignore[operator]


def test_unenrolling_asks_first(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    enrolments.confirm(biller=customer.biller, number=ONE, actor=FROM_PHONE)
    asked = page(client.get(at("customer-text-end", customer)))
    assert "Turn pay by text off?" in asked and "(•••) •••-0123" in asked
    assert state(customer) == State(ONE, registered=True)
    assert client.post(at("customer-text-end", customer)).status_code == 302
    assert state(customer) == State(ONE)
    off = page(client.get(at("customer-text", customer)))
    assert "Pay by text is off. You get no more bills by text." in off
    assert Record.objects.order_by("pk").last().facts["status"] == "unenrolled"  # type: ignore[union-attr]
    client.post(at("customer-text-end", customer))
    assert "Pay by text is not on for this account." in page(client.get(at("customer-text", customer)))


@pytest.mark.spec("PBT-15")
def test_a_phone_that_said_stop_is_told_how_to_come_back(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    enrolments.confirm(biller=customer.biller, number=ONE, actor=FROM_PHONE)
    enrolments.unenrol(customer=customer, actor=CSR)
    Phone.objects.filter(number=ONE).update(opted_out_of=["*"])
    words = page(client.get(at("customer-text", customer)))
    assert "(•••) •••-0123 has opted out of texts" in words
    assert "text START from it to (505) 555-0100" in words
    before = (Record.objects.count(), len(texts()))
    answer = enrol(client, customer)
    assert answer.status_code == 422
    assert "This phone has opted out of texts. Text START from it to (505) 555-0100 first." in page(answer)
    assert (state(customer), (Record.objects.count(), len(texts()))) == (State(ONE), before)


def test_a_biller_that_offers_nothing_says_so(client: Client, customer: Customer) -> None:
    Programme.objects.update(stopped=True)
    assert "Pay by text" not in page(client.get(reverse("customer-home")))
    assert "does not offer pay by text at the moment" in page(client.get(at("customer-text", customer)))
    assert client.get(at("customer-text-number", customer))["Location"] == at("customer-text", customer)
    assert enrol(client, customer).status_code == 302
    assert (state(customer), texts()) == (None, [])
    # Whoever has it on can turn it off all the same.
    Programme.objects.update(stopped=False)
    enrolments.enrol(
        customer=customer, number=ONE, consent=enrolments.consent_to(Programme.objects.get(), how="x", language="en"), actor=CSR
    )  # fmt: skip
    Programme.objects.update(stopped=True)
    assert "Bills come by text to" in page(client.get(reverse("customer-home")))
    client.post(at("customer-text-end", customer))
    assert state(customer) == State(ONE)


def test_a_csr_who_looks_through_the_payers_eyes_changes_nothing(client: Client, customer: Customer) -> None:
    enrol(client, customer)
    csr = client_of(make_staff(customer.biller, "csr"))
    csr.post(reverse("customer-view-as", args=[customer.pk, User.objects.get(email="olive@payers.example").pk]))
    looked = csr.get(at("customer-text", customer))
    assert "We sent a text to (•••) •••-0123" in page(looked) and "Send the text again" not in page(looked)
    before = (state(customer), texts(), Record.objects.count())
    for name in ("number", "again", "keep", "end"):
        assert csr.post(at(f"customer-text-{name}", customer), {"number": TWO, "agreed": "on"}).status_code == 403
    assert (state(customer), texts(), Record.objects.count()) == before


def test_the_programmes_terms_are_there_for_everybody(customer: Customer) -> None:
    Programme.objects.update(fee=Decimal("1.50"))
    address = reverse("customer-text-terms", args=["city-water"])
    words = page(Client().get(address))
    for needed in (
        "City Water, a text programme of", "Texts come from (505) 555-0100.", "Message frequency varies",
        "Message and data rates may apply", "HELP", "STOP", "(505) 555-0177", "$1.50", "Carriers are not liable",
        "are not sold, rented or shared", "I agree to get texts about my bills",
    ):  # fmt: skip
        assert needed in words
    spanish = page(Client(headers={"accept-language": "es"}).get(address))
    assert "La frecuencia de los mensajes varía" in spanish and "Acepto recibir de City Water" in spanish
    Line.objects.all().delete()
    Programme.objects.all().delete()
    assert Client().get(address).status_code == 404


# ---- The link in a text ------------------------------------------------------------------------------------------------


def link_of(customer: Customer, now: datetime.datetime | None = None) -> str:
    """Make a link as texts do, and give its path."""
    address = links.make(customer=customer, now=now or timezone.now())
    assert address.startswith(settings.PUBLIC_URL + "/t/")
    return address.removeprefix(settings.PUBLIC_URL)


@pytest.mark.spec("PBT-16")
def test_a_link_leads_to_paying_one_account_and_opening_it_does_nothing(customer: Customer) -> None:
    neighbour = make_customer(customer.biller)
    make_invoice(neighbour, "19.99")
    make_route(customer.biller)
    path, visitor = link_of(customer), Client()
    looked = visitor.get(path)
    words = page(looked)
    assert looked.status_code == 200 and "Pay this bill" in words and "$84.10" in words
    assert "Account •••• -001" in words and customer.shown_number not in words and customer.name not in words
    assert looked["Referrer-Policy"] == "strict-origin" and "no-store" in looked["Cache-Control"]
    assert settings.SESSION_COOKIE_NAME not in visitor.cookies  # a preview gets nothing that opens anything

    went = visitor.post(path)
    assert went.status_code == 302 and re.fullmatch(r"/pay/[\w-]{24}/", went["Location"])
    paying = page(visitor.get(went["Location"]))
    assert "$84.10" in paying and "Account •••• -001" in paying
    assert customer.shown_number not in paying and customer.name not in paying
    bill = customer.invoices.get()
    shown = page(visitor.get(f"{went['Location']}bills/{bill.pk}/"))
    assert bill.number in shown and customer.shown_number not in shown
    # That account alone, and in this browser alone.
    assert visitor.get(f"{went['Location']}bills/{neighbour.invoices.get().pk}/").status_code == 404
    assert Client().get(went["Location"]).status_code == 404


def test_what_has_become_of_the_bill_is_said(customer: Customer) -> None:
    path = link_of(customer)
    make_invoice(customer, "20.00", issued_on=timezone.now().date())
    newer = page(Client().get(path))
    assert "There is a newer bill" in newer and "$104.10" in newer and "Continue" in newer

    newest = link_of(customer)
    customer.invoices.order_by("-pk").update(withdrawn=True)
    Item.objects.filter(customer=customer).update(transferred=F("amount") - F("allocated"))
    for old in (path, newest):
        words = page(Client().get(old))
        assert "This bill was withdrawn" in words and "You need not pay it." in words and "Continue" not in words
        assert Client().post(old).status_code == 200
    late = Client().get(link_of(customer, timezone.now() - links.GOOD_FOR))
    assert late.status_code == 410
    assert "This link has expired" in page(late) and "$" not in page(late) and "•" not in page(late)


def test_a_link_to_a_paid_bill_says_so(customer: Customer) -> None:
    path = link_of(customer)
    Item.objects.filter(customer=customer).update(allocated=F("amount"))
    words = page(Client().get(path))
    assert "This bill is paid" in words and "No money has been taken." in words and "Continue" not in words
    assert Client().post(path).status_code == 200


def test_a_forged_or_unknown_code_is_nothing_at_all(customer: Customer) -> None:
    code = link_of(customer).removeprefix("/t/")
    pk, _dash, signature = code.partition("-")
    unknown = links.code_of(PayLink(pk=987_654_321))
    answers = [
        Client().get(f"/t/{forged}")
        for forged in (
            f"{pk}-{'A' * 10}", f"{pk}-", pk, f"{pk}0-{signature}", signature, "-", "%00-x", "é-ü", code + "A", unknown,
            "9" * 60 + "-" + signature, f"-{pk}-{signature}",
        )
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert len({re.sub(rb'Token": "[^"]+|value="[^"]+', b"", answer.content) for answer in answers}) == 1
    assert Client().get(f"/t/{code}").status_code == 200


def test_links_are_opened_120_times_in_half_an_hour_from_one_address(customer: Customer) -> None:
    path, now = link_of(customer), timezone.now()
    throttles.count(tries=[(links.TRIES_FROM_ADDRESS, "127.0.0.1")] * 119, now=now)
    assert Client().get(path).status_code == 200
    refused = Client().get(path)
    assert refused.status_code == 429 and "There were too many tries." in page(refused) and "84.10" not in page(refused)
    assert Client().post(path).status_code == 429
    assert Client(REMOTE_ADDR="192.0.2.9").get(path).status_code == 200


def test_the_code_of_a_link_stands_in_no_log_line(customer: Customer) -> None:
    code = link_of(customer, timezone.now() - links.GOOD_FOR).removeprefix("/t/")
    kept = settings.LOGGING["formatters"]["masked"]
    text, handler = io.StringIO(), logging.StreamHandler()
    handler.setStream(text)
    handler.setFormatter(MaskingFormatter(kept["format"], style=kept["style"]))
    logging.getLogger("django").addHandler(handler)
    try:
        assert Client().get(f"/t/{code}").status_code == 410
        assert Client(enforce_csrf_checks=True).post(f"/t/{code}").status_code == 403
    finally:
        logging.getLogger("django").removeHandler(handler)
    assert "Gone: /t/…" in text.getvalue() and "/t/…" in text.getvalue().split("Gone", 1)[1].split("\n", 1)[1]
    assert code not in text.getvalue()
