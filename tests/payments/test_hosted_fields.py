"""The processor's own card and bank forms: what they accept, keep and tell, over HTTP and in a real browser."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
from collections.abc import Iterator
from datetime import date
from html import escape, unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import wrap
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, FrameLocator, Page, expect

from payments.gateways.simulator_service.hosted_fields import (
    BANK_FIELDS,
    CARD_FIELDS,
    Entered,
    Errors,
    passes_luhn,
    passes_routing_checksum,
    read_bank,
    read_card,
    read_expiry,
)
from payments.gateways.simulator_service.pages import FIELDS, LANGUAGES, WORDS
from payments.gateways.test_numbers import ACCOUNTS, CARDS
from tests.processor import Processor

MERCHANT = "city-water"
TODAY = date(2026, 11, 22)
CHROMIUM = Path("/usr/bin/chromium")

CARD = {"holder": "Ana Ruiz", "number": CARDS["visa"].number, "expiry": "04/29", "cvv": "123", "zip": "80202"}
BANK = {
    "holder": "Ana Ruiz",
    "routing": ACCOUNTS["checking"].routing,
    "account": ACCOUNTS["checking"].account,
    "account_type": "checking",
}


# Reading what was typed


@pytest.mark.parametrize("name", [name for name in CARDS if name != "not_accepted"])
@pytest.mark.spec("PAY-17", "PAY-23")
def test_each_published_card_is_accepted_and_only_its_end_is_kept(name: str) -> None:
    card = CARDS[name]
    typed = {**CARD, "number": card.number, "cvv": "1234" if card.brand == "amex" else "123"}
    assert read_card(typed, today=TODAY) == Entered(
        "card", card.brand, card.number[-4:], "Ana Ruiz", date(2029, 4, 30), card.outcome, avs="Z", cvv="M"
    )


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"number": ""}, {"number": "number_missing"}),
        ({"number": CARDS["visa"].number[:-1] + "2"}, {"number": "number_wrong"}),
        ({"number": "4111"}, {"number": "number_wrong"}),
        ({"number": "0" * 16}, {"number": "number_not_test"}),
        ({"number": "\u0664" * 16}, {"number": "number_wrong"}),
        ({"expiry": ""}, {"expiry": "expiry_missing"}),
        ({"expiry": "13/29"}, {"expiry": "expiry_wrong"}),
        ({"expiry": "04/1999"}, {"expiry": "expiry_wrong"}),
        ({"expiry": "04/59"}, {"expiry": "expiry_wrong"}),
        ({"expiry": "10/26"}, {"expiry": "expiry_past"}),
        ({"cvv": ""}, {"cvv": "cvv_missing"}),
        ({"cvv": "12"}, {"cvv": "cvv_three"}),
        ({"cvv": "1234"}, {"cvv": "cvv_three"}),
        ({"cvv": "12a"}, {"cvv": "cvv_three"}),
        ({"number": CARDS["amex"].number}, {"cvv": "cvv_four"}),
        ({"zip": ""}, {"zip": "zip_missing"}),
        ({"zip": "8020"}, {"zip": "zip_wrong"}),
        ({"holder": " "}, {"holder": "holder_missing"}),
        ({"holder": CARDS["visa"].number}, {"holder": "holder_wrong"}),
        ({"number": CARDS["not_accepted"].number}, {"": "card_refused"}),
        ({"number": "", "cvv": ""}, {"number": "number_missing", "cvv": "cvv_missing"}),
    ],
)
@pytest.mark.spec("PAY-23")
def test_a_wrong_card_is_told_field_by_field(changes: dict[str, str], errors: dict[str, str]) -> None:
    assert read_card({**CARD, **changes}, today=TODAY) == Errors(errors)


@pytest.mark.parametrize(
    "typed",
    [
        {"number": "{} {}-{}\u00a0{}".format(*wrap(CARD["number"], 4))},
        {"expiry": "11/26"},
        {"expiry": "1130"},
        {"expiry": " 4 / 2029 "},
        {"zip": "80202-1234"},
        {"zip": "k1a 0b1"},
    ],
)
def test_what_people_type_is_understood(typed: dict[str, str]) -> None:
    assert isinstance(read_card({**CARD, **typed}, today=TODAY), Entered)


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({}, None),
        ({"routing": ""}, {"routing": "routing_missing"}),
        ({"routing": "110000001"}, {"routing": "routing_wrong"}),
        ({"routing": "000000000"}, {"routing": "routing_wrong"}),
        ({"account": ""}, {"account": "account_missing"}),
        ({"account": "1" * 18}, {"account": "account_wrong"}),
        ({"account": "123"}, {"account": "account_wrong"}),
        ({"account": "123456"}, {"account": "account_not_test"}),
        ({"account_type": ""}, {"account_type": "account_type_missing"}),
        ({"account": ACCOUNTS["not_accepted"].account}, {"": "bank_refused"}),
    ],
)
def test_a_bank_account_is_checked(changes: dict[str, str], errors: dict[str, str] | None) -> None:
    read = read_bank({**BANK, **changes})
    if errors is None:
        assert read == Entered("bank", "First Test Bank", "6789", "Ana Ruiz", None, "approve")
    else:
        assert read == Errors(errors)


@given(st.from_regex(r"\A[0-9]{15}\Z"))
def test_exactly_one_check_digit_passes_luhn(start: str) -> None:
    assert sum(passes_luhn(start + digit) for digit in "0123456789") == 1


@given(st.from_regex(r"\A[0-9]{8}\Z").filter(lambda start: start != "0" * 8))
def test_exactly_one_check_digit_passes_the_routing_checksum(start: str) -> None:
    assert sum(passes_routing_checksum(start + digit) for digit in "0123456789") == 1


@given(st.integers(1, 12), st.integers(2000, 2099), st.sampled_from(["/", "-", "", " / "]), st.booleans())
def test_expiry_is_the_last_day_of_the_month(month: int, year: int, between: str, long: bool) -> None:
    typed = f"{month:02}{between}{year if long else f'{year % 100:02}'}"
    read = read_expiry(typed)
    assert read is not None
    assert (read.year, read.month) == (year, month)
    assert date.fromordinal(read.toordinal() + 1).day == 1


@given(st.dictionaries(st.sampled_from(CARD_FIELDS + BANK_FIELDS), st.text(max_size=40)))
def test_anything_typed_is_an_error_in_known_words(form: dict[str, str]) -> None:
    for read in (read_card(form, today=TODAY), read_bank(form)):
        assert isinstance(read, Errors)
        assert all(message in WORDS["en"] for message in read.of.values())


@given(st.dictionaries(st.sampled_from(CARD_FIELDS), st.text(max_size=20)))
def test_no_number_or_security_code_leaves_the_reader(changes: dict[str, str]) -> None:
    typed = {**CARD, **changes}
    said = str(read_card(typed, today=TODAY))
    assert CARD["number"] not in said


def test_both_languages_say_everything() -> None:
    assert WORDS["en"].keys() == WORDS["es"].keys()
    assert all(WORDS["en"][name] != WORDS["es"][name] for name in WORDS["en"] if name not in {"error"})


# Over HTTP


@pytest.fixture(scope="module")
def parent() -> Iterator[str]:
    """The page of a portal that frames the form, on an origin of its own; it writes down the messages it gets."""

    class Portal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            frame = parse_qs(urlsplit(self.path).query).get("frame", [""])[0]
            page = f"""<!doctype html><html lang="en"><title>Portal</title><body><main><h1>Pay</h1>
                <iframe title="Card details" src="{escape(frame)}" width="480" height="700"></iframe></main>
                <script>
                  window.heard = [];
                  addEventListener("message", (event) => heard.push({{origin: event.origin, data: event.data}}));
                </script>"""
            body = page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory, parent: str) -> Iterator[Processor]:
    with Processor(tmp_path_factory.mktemp("processor"), parents=(parent, "https://pay.example")) as running:
        yield running


class Said:
    """One answer of the form over HTTP."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()

    @property
    def policy(self) -> dict[str, str]:
        return dict(
            part.strip().split(" ", 1) for part in self.headers["Content-Security-Policy"].split(";") if part.strip()
        )


def form(
    processor: Processor, query: dict[str, str], typed: dict[str, str] | None = None, *, accept: str = "text/html"
) -> Said:
    connection = http.client.HTTPConnection("127.0.0.1", processor.port, timeout=10)
    connection.request(
        "GET" if typed is None else "POST",
        f"/fields?{urlencode({'merchant': MERCHANT, 'kind': 'card', **query})}",
        body=None if typed is None else urlencode(typed),
        headers={"Accept": accept, "Content-Type": "application/x-www-form-urlencoded"},
    )
    said = Said(connection.getresponse())
    connection.close()
    return said


@pytest.mark.spec("PAY-16", "PAY-17")
def test_the_form_may_be_framed_by_its_parent_alone(processor: Processor, parent: str) -> None:
    said = form(processor, {"parent": parent})
    assert said.status == 200
    assert said.policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": parent,
    }
    assert said.headers["Referrer-Policy"] == "no-referrer"
    assert said.headers["Cache-Control"] == "no-store"
    assert form(processor, {"return_url": "https://pay.example/back"}).policy["frame-ancestors"] == "'none'"


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"parent": "https://evil.example"},
        {"parent": "null"},
        {"parent": "*"},
        {"parent": "https://pay.example/"},
        {"parent": "http://pay.example"},
        {"parent": "https://pay.example", "return_url": "https://pay.example/"},
        {"parent": "https://pay.example", "merchant": "a b"},
        {"parent": "https://pay.example", "kind": "cheque"},
        {"return_url": "https://evil.example/"},
        {"return_url": "https://pay.example.evil.example/"},
        {"return_url": "https://pay.example@evil.example/"},
        {"return_url": "https://evil.example@pay.example/"},
        {"return_url": "https://pay.example:8443/"},
        {"return_url": "https://pay.example\\.evil.example/"},
        {"return_url": "//pay.example/"},
        {"return_url": "javascript:alert(1)"},
        {"return_url": "https://pay.example/\r\nSet-Cookie: a=b"},
        {"return_url": "http://[pay.example/"},
    ],
)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.spec("PAY-17")
def test_an_address_that_is_not_registered_gets_no_form_and_no_token(
    processor: Processor, query: dict[str, str], accept: str
) -> None:
    for typed in (None, CARD):
        said = form(processor, query, typed, accept=accept)
        assert said.status == 403
        assert "tok_" not in said.text
        assert said.policy["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.spec("PAY-16")
def test_errors_without_script_keep_what_is_safe_and_nothing_else(
    processor: Processor, parent: str, language: str
) -> None:
    typed = {**CARD, "expiry": "01/20", "cvv": "987", "holder": 'Ana "<b>" Ruiz'}
    said = form(processor, {"parent": parent, "lang": language}, typed)
    assert said.status == 422
    words = WORDS[language]
    assert f"<title>{words['error']}: {words['card_title']}" in said.text
    assert f'<html lang="{language}"' in said.text
    assert said.text.count(words["expiry_past"]) == 2
    assert words["nothing_taken"] in said.text
    page = unescape(said.text.split("<details>")[0])
    assert CARD["number"] not in page.replace(" ", "")
    assert "987" not in page
    assert 'value="Ana &quot;&lt;b&gt;&quot; Ruiz"' in said.text
    assert 'value="01/20"' in said.text


def test_a_number_typed_into_the_name_is_not_written_back(processor: Processor, parent: str) -> None:
    said = form(processor, {"parent": parent}, {**CARD, "holder": CARD["number"]})
    assert said.status == 422
    assert CARD["number"] not in said.text


@pytest.mark.spec("PAY-17")
def test_the_full_page_goes_back_with_a_token(processor: Processor) -> None:
    query = {"return_url": "https://pay.example/pay/7?step=review&token=old#top"}
    assert form(processor, query).policy["form-action"] == "'self' https://pay.example"
    said = form(processor, query, CARD)
    assert said.status == 303
    address = urlsplit(said.headers["Location"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == "https://pay.example/pay/7"
    back = parse_qs(address.query)
    assert back["step"] == ["review"]
    (token,) = back["token"]
    described = processor.gateway(MERCHANT).describe_token(token)
    assert (described.brand, described.last4, described.holder, described.expires_on) == (
        "visa",
        "1111",
        "Ana Ruiz",
        date(2029, 4, 30),
    )
    assert token.endswith("1111")


@pytest.mark.spec("PAY-16", "PAY-17", "PAY-23")
def test_no_number_or_security_code_is_kept(processor: Processor, parent: str) -> None:
    processor.reset(tokens=True)
    said = form(processor, {"parent": parent}, {**CARD, "cvv": "987"}, accept="application/json")
    card = json.loads(said.text)["token"]
    said = form(processor, {"parent": parent, "kind": "bank"}, BANK, accept="application/json")
    account = json.loads(said.text)["token"]
    with sqlite3.connect(processor.directory / "processor.sqlite") as book:
        rows = book.execute("select * from token order by kind desc").fetchall()
    made_at = [row[8] for row in rows]
    assert rows == [
        (card, MERCHANT, "card", "visa", "1111", "Ana Ruiz", "2029-04-30", "approve", made_at[0], None, "Z", "M"),
        (account, MERCHANT, "bank", "First Test Bank", "6789", "Ana Ruiz", None, "approve", made_at[1], None, "", ""),
    ]
    files = b"".join(path.read_bytes() for path in processor.directory.iterdir())
    assert b"Ana Ruiz" in files  # the control: this is where a number would stand
    assert CARD["number"].encode() not in files
    assert BANK["account"].encode() not in files


def test_a_form_that_is_too_large_is_refused(processor: Processor, parent: str) -> None:
    assert form(processor, {"parent": parent}, {**CARD, "holder": "x" * 20_000}).status == 413


# In a browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(10_000)
    yield context.new_page()
    context.close()


def address_of(processor: Processor, **query: str) -> str:
    return f"{processor.url}/fields?{urlencode({'merchant': MERCHANT, 'kind': 'card', **query})}"


def fill_card(where: Page | FrameLocator, typed: dict[str, str]) -> None:
    for name, text in typed.items():
        where.locator(f"#{name}").fill(text)


def violations(page: Page) -> list[str]:
    found = Axe().run(page)
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found.response["violations"]]


@pytest.mark.spec("PAY-16", "PAY-17")
def test_the_frame_tells_its_parent_height_and_token(processor: Processor, parent: str, page: Page) -> None:
    page.goto(f"{parent}/?{urlencode({'frame': address_of(processor, parent=parent)})}")
    frame = page.frame_locator("iframe")
    page.wait_for_function("heard.some((one) => one.data.type === 'ratepayer-height' && one.data.height > 300)")
    fill_card(frame, {**CARD, "expiry": "01/20"})
    frame.get_by_role("button", name="Use this card").press("Enter")
    expect(frame.get_by_role("alert")).to_be_focused()
    expect(frame.get_by_role("alert")).to_contain_text("Enter an expiry date in the future")
    expect(frame.locator("#expiry")).to_have_attribute("aria-invalid", "true")
    expect(frame.locator("#expiry")).to_have_attribute("aria-describedby", "expiry-hint expiry-error")
    expect(frame.locator("#number")).to_have_value(CARD["number"])  # nothing has to be typed again
    assert page.evaluate("heard.filter((one) => one.data.type === 'ratepayer-token').length") == 0
    frame.get_by_role("link", name="Enter an expiry date in the future").click()
    expect(frame.locator("#expiry")).to_be_focused()
    frame.locator("#expiry").fill("04/29")
    frame.locator("#expiry").press("Enter")
    expect(frame.get_by_role("status")).to_have_text("Card ending in 1111 is ready.")
    page.wait_for_function("heard.some((one) => one.data.type === 'ratepayer-token')")
    (heard,) = page.evaluate("heard.filter((one) => one.data.type === 'ratepayer-token')")
    assert heard["origin"] == processor.url
    assert set(heard["data"]) == {"type", "token"}
    assert processor.gateway(MERCHANT).describe_token(heard["data"]["token"]).last4 == "1111"


def test_nobody_else_can_frame_it(processor: Processor, parent: str, page: Page) -> None:
    elsewhere = parent.replace("127.0.0.1", "localhost")
    page.goto(f"{elsewhere}/?{urlencode({'frame': address_of(processor, parent=parent)})}")
    page.wait_for_timeout(500)
    assert page.frame_locator("iframe").locator("form").count() == 0
    assert page.evaluate("heard.length") == 0


def test_the_full_page_works_without_script(processor: Processor, parent: str, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address_of(processor, return_url=f"{parent}/back?bill=7", lang="es"))
    fill_card(page, {**CARD, "zip": ""})
    page.get_by_role("button", name="Usar esta tarjeta").click()
    expect(page.get_by_role("alert")).to_contain_text("Escriba el código postal de facturación")
    expect(page.get_by_role("alert")).to_contain_text("No se ha cobrado nada.")
    fill_card(page, CARD)
    page.get_by_role("button", name="Usar esta tarjeta").click()
    page.wait_for_url(f"{parent}/back?bill=7&token=tok_*1111")
    context.close()


def test_the_full_page_goes_back_with_script_too(processor: Processor, parent: str, page: Page) -> None:
    page.goto(address_of(processor, kind="bank", return_url=f"{parent}/back"))
    page.get_by_label("Name on the account").fill("Ana Ruiz")
    page.get_by_label("Routing number").fill(BANK["routing"])
    page.get_by_label("Account number").fill(BANK["account"])
    page.get_by_role("button", name="Use this account").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose checking or savings")
    page.get_by_role("link", name="Choose checking or savings").click()
    expect(page.get_by_label("Checking")).to_be_focused()
    page.get_by_label("Savings").check()
    page.get_by_role("button", name="Use this account").click()
    page.wait_for_url(f"{parent}/back?token=tok_*6789")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", FIELDS)
def test_every_state_of_the_form_is_accessible(
    processor: Processor, parent: str, page: Page, kind: str, language: str, theme: str
) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(address_of(processor, kind=kind, lang=language, theme=theme, parent=parent))
    assert violations(page) == []
    page.locator("details summary").click()
    assert violations(page) == []
    page.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_be_focused()
    assert page.title().startswith("Error: ")
    assert violations(page) == []
    # Nothing is cut off on a small telephone, or at four times the size.
    assert page.evaluate("document.documentElement.scrollWidth <= 320")
    fill_card(page, CARD if kind == "card" else {name: BANK[name] for name in ("holder", "routing", "account")})
    if kind == "bank":
        page.locator("#account_type").check()
    page.get_by_role("button").click()
    expect(page.get_by_role("status")).to_be_focused()
    assert violations(page) == []


def test_the_refusal_page_is_accessible(processor: Processor, page: Page) -> None:
    page.goto(address_of(processor, parent="https://evil.example"))
    expect(page.get_by_role("heading", level=1)).to_have_text("This page cannot be shown here.")
    assert violations(page) == []


def test_nothing_breaks_its_own_content_security_policy(processor: Processor, parent: str, page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address_of(processor, parent=parent))
    fill_card(page, CARD)
    page.get_by_role("button").click()
    expect(page.get_by_role("status")).to_be_visible()
    assert complaints == []
