"""The demonstration's pages: what they show of the simulators, what they switch there, and who can sign in."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django import Settings

from billing.models import Biller, User
from config.demo import people
from config.demo.data import TOWNS
from payments.models import Instrument
from tests.browsers import violations
from tests.cis import Cis
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.processor import CONTROL_SECRET, Processor
from tests.telephone import Telephone

pytestmark = pytest.mark.django_db(transaction=True)

_SHOTS = os.environ.get("SCREENSHOTS", "")


@pytest.fixture
def town(processor: Processor, cis: Cis, telephone: Telephone, settings: Settings) -> Instrument:
    """A biller of the demonstration with its people, and one account with a card, next to the simulators."""
    settings.SIMULATED_PROCESSOR_URL = processor.url
    settings.SIMULATED_CIS_URL = cis.url.partition("/services/")[0]
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
    page.goto("/demo/")
    look(page, "demo")
    page.goto("/demo/processor")
    expect(page.get_by_role("heading", name="It misbehaves now")).to_have_count(0)
    expect(page.get_by_text("It misbehaves now")).to_be_visible()
    look(page, "demo-processor")
    page.goto("/demo/cis")
    look(page, "demo-cis")
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme="dark")
    for address in ("/demo/", "/demo/processor", "/demo/cis"):
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
    rule = {"action": "drop_after", "operation": "CommitPaymentTransaction", "percent": "50", "next": "3"}
    assert client.post("/demo/cis", rule).status_code == 302
    assert client.post("/demo/cis", {"action": "fault", "percent": "100"}).status_code == 302
    kept = [(one["action"], one["operation"], one["probability"], one["next"]) for one in cis.switches()["rules"]]
    assert kept == [("drop_after", "CommitPaymentTransaction", 0.5, 3), ("fault", "", 1.0, None)]
    assert client.post("/demo/cis", {"action": "explode", "percent": "0"}).status_code == 422
    assert len(cis.switches()["rules"]) == 2
    assert client.post("/demo/cis/heal").status_code == 302
    assert cis.switches()["rules"] == []


def test_a_simulator_that_is_not_there_is_said(client: Client, town: Instrument, settings: Settings) -> None:
    settings.SIMULATED_PROCESSOR_URL = settings.SIMULATED_CIS_URL = "http://127.0.0.1:9"
    settings.SIMULATED_TELEPHONE_URL = "http://127.0.0.1:9"
    for address in ("/demo/processor", "/demo/cis", "/demo/phone"):
        answer = client.get(address)
        assert answer.status_code == 503
        assert "does not answer at http://127.0.0.1:9" in answer.content.decode()
    assert client.get("/demo/").content.decode().count("Does not answer") == 3


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
