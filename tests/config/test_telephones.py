"""Telephones in the browser: typing and reading texts over the simulated network, and making it misbehave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from billing.actors import Actor
from sms.models import Line
from sms.operations import inbound, texts
from sms.operations.lines import callback_of
from sms.providers.base import Accepted, Outgoing
from tests.factories import make_biller
from tests.telephone import SECRET, Callbacks, Telephone

pytestmark = pytest.mark.django_db(transaction=True)

MAPLE, MESA = "+18025550160", "+15055550160"
ANA, BEN = "+12065550101", "+12065550102"
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
_SHOTS = os.environ.get("SCREENSHOTS", "")


@pytest.fixture
def biller(telephone: Telephone, settings: Settings) -> Iterator[Callbacks]:
    """Two billers' lines at the network, who hear of texts at one address."""
    settings.SIMULATED_TELEPHONE_URL = telephone.url
    settings.SIMULATED_TELEPHONE_CONTROL_SECRET = telephone.control_secret
    with Callbacks() as callbacks:
        telephone.set_line(MAPLE, callbacks.url, name="Maple Falls Utilities")
        telephone.set_line(MESA, callbacks.url, name="Red Mesa Water")
        yield callbacks
        # What is still owed would be told to nobody.
        telephone.reset()


def send(telephone: Telephone, biller: Callbacks, body: str, *, line: str = MAPLE, phone: str = ANA) -> None:
    """Send a text as the biller does."""
    provider = telephone.provider(callback_url=biller.url)
    (result,) = provider.send([Outgoing(f"key of {body}"[:64], line, phone, body)])
    assert isinstance(result, Accepted)


def at(phone: str = ANA, line: str = MAPLE, page: str = "") -> str:
    return f"/demo/phone{page}?{urlencode({'phone': phone, 'line': line})}"


def look(page: Page, name: str) -> None:
    if _SHOTS:
        page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)
    found = Axe().run(page, options=_RULES).response["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found] == [], name
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0, f"{name} scrolls sideways"


def test_what_is_typed_is_heard_and_what_is_sent_appears_by_itself(
    page: Page, telephone: Telephone, biller: Callbacks
) -> None:
    page.goto(at())
    expect(page.get_by_text("No text yet")).to_be_visible()
    page.get_by_role("textbox", name="Text").fill("PAY\nplease")
    page.get_by_role("button", name="Send").click()
    bubble = page.get_by_role("listitem").filter(has_text="PAY")
    expect(bubble).to_contain_text("Delivered")
    expect(page.get_by_role("textbox", name="Text")).to_be_focused()
    expect(page.get_by_role("textbox", name="Text")).to_have_value("")
    (told,) = biller.bodies()
    assert (told["from"], told["to"], told["body"]) == (ANA, MAPLE, "PAY\nplease")
    # What is being typed when a text arrives stays, and so does the keyboard.
    page.get_by_role("textbox", name="Text").press_sequentially("BAL")
    send(telephone, biller, "Paid $84.10. Receipt http://127.0.0.1:8000/t/abc")
    arrived = page.get_by_role("listitem").filter(has_text="Paid $84.10")
    expect(arrived).to_be_visible()
    expect(arrived.get_by_role("link")).to_have_attribute("href", "http://127.0.0.1:8000/t/abc")
    expect(page.get_by_role("status").filter(has_text="Maple Falls Utilities: Paid $84.10")).to_have_count(1)
    expect(page.get_by_role("textbox", name="Text")).to_have_value("BAL")
    expect(page.get_by_role("textbox", name="Text")).to_be_focused()
    left, right = (one.bounding_box() for one in (arrived.locator(".bubble"), bubble.locator(".bubble")))
    assert left is not None
    assert right is not None
    assert left["x"] < right["x"]
    assert left["x"] + left["width"] < right["x"] + right["width"]
    # Each biller is a thread of its own, each telephone has its own threads.
    send(telephone, biller, "Hello from the mesa", line=MESA)
    other = page.get_by_role("navigation", name="Billers").get_by_role("link", name="Red Mesa Water")
    expect(other).to_have_accessible_name("Red Mesa Water 1 text")
    expect(page.get_by_text("Hello from the mesa")).to_have_count(0)
    other.click()
    expect(page.get_by_role("listitem").filter(has_text="Hello from the mesa")).to_be_visible()
    page.get_by_role("link", name="Ben").click()
    expect(page.get_by_text("No text yet")).to_be_visible()


def test_the_biller_itself_answers_what_is_typed(
    page: Page, live_server: LiveServer, telephone: Telephone, biller: Callbacks, settings: Settings
) -> None:
    settings.PUBLIC_URL = live_server.url
    town = make_biller(name="Maple Falls Utilities")
    line = Line.objects.create(
        biller=town, number=MAPLE, driver="simulator", options={"base_url": telephone.url}, secret=SECRET
    )
    telephone.set_line(MAPLE, callback_of(line), name=town.name)
    page.goto(at())
    page.get_by_role("textbox", name="Text").fill("HELP")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("listitem").filter(has_text="HELP")).to_contain_text("Delivered")
    assert inbound.hear_due() == 1
    texts.send_due(actor=Actor.system("send_texts"))
    expect(page.get_by_role("listitem").filter(has_text="STOP to end.")).to_contain_text(
        "Maple Falls Utilities Pay by Text: PAY to pay, BAL for balance."
    )


def test_every_state_of_the_page_is_free_of_faults_wide_and_small(
    page: Page, telephone: Telephone, biller: Callbacks
) -> None:
    send(
        telephone,
        biller,
        "Maple Falls Utilities: your bill of $84.10 is due Dec 6. Reply PAY to pay with Visa ending 1111.",
    )
    telephone.type(ANA, MAPLE, "PAY")
    telephone.strike("repeat", on=["text"])
    send(telephone, biller, "We charged $84.10. Your receipt: http://127.0.0.1:8000/t/q7Zk2L")
    telephone.wait_until_quiet()
    telephone.strike("lose", on=["inbound"])
    telephone.type(ANA, MAPLE, "Thanks 🙂")
    biller.answers = [404]
    telephone.type(ANA, MAPLE, "STOP")
    telephone.set_condition(BEN, "blocked")
    telephone.wait_until_quiet()
    page.goto(at())
    expect(page.get_by_text("Arrived 2 times")).to_be_visible()
    expect(page.get_by_text("Lost on its way")).to_be_visible()
    expect(page.get_by_text("the biller did not take it")).to_be_visible()
    expect(page.get_by_text("It misbehaves now")).to_have_count(0)
    telephone.control(faults={"delay": {"probability": 0.5, "on": ["report"]}})
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme="dark")
    page.reload()
    expect(page.get_by_text("It misbehaves now")).to_be_visible()
    look(page, "demo-telephone-small")
    page.set_viewport_size({"width": 1440, "height": 900})
    page.emulate_media(color_scheme="light")
    page.reload()
    look(page, "demo-telephone")
    page.goto("/demo/phone?still")
    assert page.locator("#conversation").get_attribute("hx-get") is None


def test_without_a_change_nothing_is_drawn_again(client: Client, telephone: Telephone, biller: Callbacks) -> None:
    first = client.get(at())
    assert first.status_code == 200
    seen = f"{at()}&seen={first.context['seen']}"
    assert client.get(seen).status_code == 204
    send(telephone, biller, "Now")
    telephone.wait_until_quiet()
    again = client.get(seen)
    assert (again.status_code, again.context["newest"]["body"]) == (200, "Now")


def test_a_text_needs_words_and_a_phone_that_is_there(client: Client, telephone: Telephone, biller: Callbacks) -> None:
    empty = client.post(at(), {"body": "  "})
    assert empty.status_code == 422
    assert "Type a text" in empty.content.decode()
    for nowhere in (at(phone="+12065550199"), at(line="+12065550199")):
        assert client.post(nowhere, {"body": "PAY"}).status_code == 404
    assert telephone.totals()["typed"] == 0
    assert client.post(at(BEN, MESA), {"body": "BAL"})["Location"] == f"{at(BEN, MESA)}#id_body"
    telephone.wait_until_quiet()
    (told,) = biller.bodies()
    assert (told["from"], told["to"], told["body"]) == (BEN, MESA, "BAL")


def test_a_telephone_is_added_once_and_something_can_be_wrong_with_it(
    client: Client, telephone: Telephone, biller: Callbacks
) -> None:
    given = {"name": "Dora", "number": "(802) 555-0188"}
    added = client.post(at(page="/add"), given)
    assert added["Location"] == at("+18025550188")
    again = client.post(at(page="/add"), {**given, "name": "Eve"})
    assert again.status_code == 422
    assert "There is a telephone with this number already" in again.content.decode()
    assert [one["name"] for one in telephone.phones() if one["number"] == "+18025550188"] == ["Dora"]
    condition = at("+18025550188", page="/condition")
    assert client.post(condition, {"condition": "unreachable"}).status_code == 302
    assert "It is switched off" in client.get(at()).content.decode()
    assert client.post(condition, {"condition": "stolen"}).status_code == 422
    conditions = {one["number"]: one["condition"] for one in telephone.phones() if one["condition"]}
    assert conditions == {"+18025550188": "unreachable"}


def test_switches_set_on_the_page_hold_at_the_network_until_it_is_healed(
    client: Client, telephone: Telephone, biller: Callbacks
) -> None:
    data = {
        "lose-percent": "10", "lose-on": ["text", "inbound"], "delay-next": "2", "delay-seconds": "1.5",
        "delay-on": ["report"], "drop_after-next": "1", "latency_seconds": "0.5", "managed_opt_out": "on",
    }  # fmt: skip
    assert client.post(at(page="/network"), data).status_code == 302
    switches = telephone.control()
    assert switches["faults"] == {
        "lose": {"probability": 0.1, "next": 0, "seconds": 1.0, "on": ["text", "inbound"]},
        "delay": {"probability": 0.0, "next": 2, "seconds": 1.5, "on": ["report"]},
        "drop_after": {"probability": 0.0, "next": 1, "seconds": 1.0, "on": ["send"]},
    }
    stands = ("managed_opt_out", "recognises_repeats", "latency_seconds")
    assert [switches[name] for name in stands] == [True, False, 0.5]
    for wrong, said in (({"lose-percent": "101"}, "less than or equal to 100"), ({"repeat-next": "1"}, "choose what")):
        refused = client.post(at(page="/network"), {**data, **wrong})
        assert refused.status_code == 422
        assert said in refused.content.decode()
    assert telephone.control()["faults"] == switches["faults"]
    telephone.set_condition(BEN, "blocked")
    assert client.post(at(page="/heal")).status_code == 302
    healed = telephone.control()
    assert healed["faults"] == {}
    assert [healed[name] for name in stands] == [False, True, 0.0]
    assert not any(one["condition"] for one in telephone.phones())


def test_what_was_not_taken_is_told_again(client: Client, telephone: Telephone, biller: Callbacks) -> None:
    biller.answers = [404]
    telephone.type(ANA, MAPLE, "PAY")
    telephone.wait_until_quiet()
    assert telephone.totals()["webhooks"]["failed"] == 1
    assert "Tell again what was given up" in client.get(at()).content.decode()
    assert client.post(at(page="/redeliver")).status_code == 302
    telephone.wait_until_quiet()
    assert [one["body"] for one in biller.bodies()] == ["PAY", "PAY"]
    assert "Tell again what was given up" not in client.get(at()).content.decode()
