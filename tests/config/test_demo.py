"""The demonstration's pages: what they show of the simulators, what they switch there, and who can sign in."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect
from pytest_django import Settings

from billing.models import Biller, Customer, User
from config.demo import households, people, towns
from config.demo.towns import TOWNS
from payments.models import Instrument
from tests.browsers import violations
from tests.cis import Cis
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.processor import CONTROL_SECRET, Processor
from tests.receivers import Receiver
from tests.telephone import Telephone

pytestmark = pytest.mark.django_db(transaction=True)

_SHOTS = os.environ.get("SCREENSHOTS", "")


@pytest.fixture
def town(processor: Processor, cis: Cis, receiver: Receiver, telephone: Telephone, settings: Settings) -> Instrument:
    """A biller of the demonstration with its people, and one account with a card, next to the simulators."""
    settings.SIMULATED_PROCESSOR_URL = processor.url
    settings.SIMULATED_CIS_URL = cis.url.partition("/services/")[0]
    settings.SIMULATED_RECEIVER_URL = receiver.base
    settings.PUBLIC_URL = "http://localhost:8000"  # settings take no other host without a dot
    settings.SIMULATOR_SECRET = CONTROL_SECRET
    settings.SIMULATED_TELEPHONE_URL = telephone.url
    settings.SIMULATED_TELEPHONE_CONTROL_SECRET = telephone.control_secret
    maple, mesa = (make_biller(slug=town.slug, name=town.columns["name"], guest_secret="zip") for town in TOWNS)
    people.make_person(people.MANAGER)
    make_invoice(make_customer(mesa, number="70001-001"), "12.00")
    customer = make_customer(maple, number="70002-001")
    make_invoice(customer, "84.10")
    route = make_route(maple, processor.url)
    return make_instrument(customer, route, processor.token(route.merchant))


def charge(instrument: Instrument, processor: Processor) -> str:
    """Charge it at the processor itself; gives the answer's code."""
    gateway = processor.gateway(instrument.route.merchant)
    from payments.gateways.base import ChargeRequest, Command

    key = f"key-{len(processor.book()['rows'])}"
    request = ChargeRequest(key, Command.CHARGE, instrument.customer.invoices.get().amount, "USD", instrument.token,
                            "card", "internet", instrument.customer.number)  # fmt: skip
    (answer,) = gateway.send([request])
    return str(getattr(answer, "result", answer))


def look(page: Page, name: str) -> None:
    if _SHOTS:
        page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)
    assert violations(page) == [], name
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0, f"{name} scrolls sideways"


def test_every_page_is_free_of_faults_wide_and_on_a_phone(
    page: Page, town: Instrument, processor: Processor, cis: Cis
) -> None:
    assert charge(town, processor) == "0"
    processor.control(faults={"drop_after": {"probability": 0.25, "next": 3}})
    cis.control({"action": "slow", "seconds": 1.0, "probability": 0.5})
    cis.prepaid("70002001", left="16.40", a_day="4.10")
    towns.open_portal(mesa := Biller.objects.get(slug="red-mesa"))
    households.register_at_portal(mesa)
    page.goto("/demo/")
    look(page, "demo")
    page.goto("/demo/processor")
    expect(page.get_by_role("heading", name="It misbehaves now")).to_have_count(0)
    expect(page.get_by_text("It misbehaves now")).to_be_visible()
    look(page, "demo-processor")
    page.goto("/demo/cis")
    look(page, "demo-cis")
    page.goto("/demo/receiver")
    look(page, "demo-receiver")
    page.goto("/demo/portal")
    look(page, "demo-portal")
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme="dark")
    for address in ("/demo/", "/demo/processor", "/demo/cis", "/demo/receiver", "/demo/portal"):
        page.goto(address)
        look(page, "demo-phone" + address.replace("/", "-"))


def test_the_book_follows_by_itself_until_it_is_stopped(page: Page, town: Instrument, processor: Processor) -> None:
    page.goto("/demo/processor")
    expect(page.get_by_text("Nothing was charged yet")).to_be_visible()
    charge(town, processor)
    expect(page.get_by_role("cell", name="100 Approved")).to_be_visible()
    page.get_by_role("link", name="Stop refreshing").click()
    expect(page.get_by_role("link", name="Refresh by itself")).to_be_visible()
    assert page.locator("#book").get_attribute("hx-get") is None


def test_switches_set_on_the_page_hold_at_the_processor(client: Client, town: Instrument, processor: Processor) -> None:
    data = {"drop_before-percent": "10", "late-next": "2", "late-seconds": "1.5", "avs": "zip"}
    assert client.post("/demo/processor", data).status_code == 302
    switches = processor.control()
    assert switches["faults"] == {
        "drop_before": {"probability": 0.1, "next": 0, "seconds": 1.0, "on": ["online", "batch"]},
        "late": {"probability": 0.0, "next": 2, "seconds": 1.5, "on": ["online", "batch"]},
    }
    assert (switches["duplicate_detection"], switches["avs"], switches["cvv_fails"]) == (False, "zip", False)
    refused = client.post("/demo/processor", {"drop_before-percent": "101", "avs": ""})
    assert refused.status_code == 422
    assert "Ensure this value is less than or equal to 100" in refused.content.decode()
    assert processor.control()["faults"] == switches["faults"]
    assert client.post("/demo/processor/heal").status_code == 302
    healed = processor.control()
    assert (healed["faults"], healed["avs"], healed["duplicate_detection"]) == ({}, None, True)


def test_one_accounts_methods_can_be_made_to_fail(client: Client, town: Instrument, processor: Processor) -> None:
    assert charge(town, processor) == "0"
    unknown = client.post("/demo/processor/methods", {"account": "1-1", "outcome": "hard_decline"})
    assert unknown.status_code == 422
    assert "This account has no method on file" in unknown.content.decode()
    assert charge(town, processor) == "0"
    done = client.post("/demo/processor/methods", {"account": "70002-001", "outcome": "hard_decline"})
    assert done.status_code == 302
    assert charge(town, processor) == "8"


def test_rules_set_on_the_page_hold_at_the_cis(client: Client, town: Instrument, cis: Cis) -> None:
    rule = {"action": "drop_after", "kind": "CommitPaymentTransaction", "percent": "50", "next": "3"}
    assert client.post("/demo/cis", rule).status_code == 302
    assert client.post("/demo/cis", {"action": "fault", "percent": "100"}).status_code == 302
    kept = [(one["action"], one["operation"], one["probability"], one["next"]) for one in cis.switches()["rules"]]
    assert kept == [("drop_after", "CommitPaymentTransaction", 0.5, 3), ("fault", "", 1.0, None)]
    assert client.post("/demo/cis", {"action": "explode", "percent": "0"}).status_code == 422
    assert len(cis.switches()["rules"]) == 2
    assert client.post("/demo/cis/heal").status_code == 302
    assert cis.switches()["rules"] == []


def test_rules_set_on_the_page_hold_at_the_receiver(client: Client, town: Instrument, receiver: Receiver) -> None:
    rule = {"action": "status", "kind": "payment.posted", "percent": "100", "next": "2"}
    assert client.post("/demo/receiver", rule).status_code == 302
    kept = [(one["action"], one["type"], one["next"]) for one in receiver.switches()["rules"]]
    assert kept == [("status", "payment.posted", 2)]
    assert client.post("/demo/receiver", {**rule, "kind": "PingURL"}).status_code == 422
    assert client.post("/demo/receiver/heal").status_code == 302
    assert receiver.switches()["rules"] == []


def test_what_is_left_on_a_prepaid_account_is_set_on_the_page(client: Client, town: Instrument, cis: Cis) -> None:
    cis.prepaid("70002001", left="41.40", a_day="4.10")
    assert client.post("/demo/cis/prepaid", {"account": "70002001", "left": "9.10"}).status_code == 302
    left = [{"account": "70002001", "left": "9.10", "a_day": "4.10"}]
    assert cis.book()["prepaid"] == left
    for given, status in (({"account": "1", "left": "5"}, 302), ({"account": "70002001", "left": "much"}, 422)):
        assert client.post("/demo/cis/prepaid", given).status_code == status
    assert cis.book()["prepaid"] == left


@pytest.mark.spec("MSP-30")
def test_a_payer_comes_from_the_billers_own_portal_and_goes_back(client: Client, town: Instrument) -> None:
    mesa = Biller.objects.get(slug="red-mesa")
    towns.open_portal(mesa)
    households.register_at_portal(mesa)
    assert "Pay account 70001" in client.get("/demo/portal").content.decode()
    ticket = client.post("/demo/portal/go", {"user_name": "river42", "account": "70001-001"})["Location"]
    arrived = client.get(ticket)
    account = Customer.objects.get(number="70001-001")
    assert arrived["Location"] == reverse("customer-pay", args=[account.pk])
    assert client.get(arrived["Location"]).context["user"].email == people.VISITOR.email
    # A ticket works once, and nobody comes by a name that is not registered.
    assert Client().get(ticket).status_code == 403
    stranger = client.post("/demo/portal/go", {"user_name": "nobody"})["Location"]
    assert Client().get(stranger).status_code == 403
    # And back, from a page that says where to, or by signing out.
    assert (
        f'href="{reverse("customer-leave", args=["red-mesa"])}"'
        in client.get(reverse("customer-home")).content.decode()
    )
    back = client.get(reverse("customer-leave", args=["red-mesa"]))["Location"]
    there = client.get(back)
    assert there.context["arrived"] == "river42"
    assert there["Referrer-Policy"] == "strict-origin"
    assert client.get(back).context["refused"] == "It was used already"
    forged = f"/demo/portal?{urlencode({'ticket': back.partition('ticket=')[2][:-2] + 'xx'})}"
    assert "arrived" not in client.get(forged).context
    assert client.post(reverse("account_logout"))["Location"] == reverse("customer-signed-out", args=["red-mesa"])


def test_a_simulator_that_is_not_there_is_said(client: Client, town: Instrument, settings: Settings) -> None:
    settings.SIMULATED_PROCESSOR_URL = settings.SIMULATED_CIS_URL = "http://127.0.0.1:9"
    settings.SIMULATED_TELEPHONE_URL = settings.SIMULATED_RECEIVER_URL = "http://127.0.0.1:9"
    for address in ("/demo/processor", "/demo/cis", "/demo/receiver", "/demo/phone"):
        answer = client.get(address)
        assert answer.status_code == 503
        assert "does not answer at http://127.0.0.1:9" in answer.content.decode()
    assert client.get("/demo/").content.decode().count("Does not answer") == 4


def test_the_cast_signs_in_with_what_the_page_shows(page: Page, town: Instrument) -> None:
    page.goto("/demo/")
    row = page.get_by_role("row", name=re.compile("Biller administrator, Maple Falls"))
    email, password, code = (cell.inner_text().split()[0] for cell in row.get_by_role("cell").all())
    assert (email, password) == (people.MANAGER.email, people.PASSWORD)
    page.get_by_role("link", name="Go to the sign-in page").click()
    page.get_by_label("Email").or_(page.get_by_label("E-mail")).first.fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/accounts/2fa/authenticate/**")
    page.get_by_label(re.compile("code", re.IGNORECASE)).fill(code)
    page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).first.click()
    page.wait_for_url(lambda url: "/accounts/" not in url)
    page.goto("/biller/")
    expect(page.get_by_role("searchbox").first).to_be_visible()


def test_codes_change_every_half_minute_and_are_each_persons_own() -> None:
    codes = {one.email: people.code_of(one.email, now=1_800_000_000.0) for one in people.STAFF}
    assert len(set(codes.values())) == len(people.STAFF)
    assert {people.code_of(email, now=1_800_000_029.9) for email in codes} == set(codes.values())
    assert not {people.code_of(email, now=1_800_000_030.0) for email in codes} & set(codes.values())
    assert (people.seconds_left(1_800_000_001.0), people.seconds_left(1_800_000_029.5)) == (29, 0)


def test_people_are_made_once_with_their_roles_and_second_factors(town: Instrument) -> None:
    for person in (*people.STAFF, *people.STAFF):
        people.make_person(person)
    assert User.objects.count() == 6
    csr = User.objects.get(email=people.CSR.email)
    assert csr.roles == dict.fromkeys(Biller.objects.values_list("pk", flat=True), "csr")
    assert {one.email: bool(one.code) for one in people.sign_ins()} == {one.email: True for one in people.STAFF}
