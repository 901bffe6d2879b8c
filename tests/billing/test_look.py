"""The shared look in a real browser: no axe violations, nothing cut off on a phone, scripts that do what they say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.conf import settings as configured
from django.template.loader import render_to_string
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from billing import branding
from tests.browsers import violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from pytest_django.live_server_helper import LiveServer

PAGES = (
    "/styleguide/",
    "/styleguide/?errors",
    "/styleguide/list/?q=jones&state=failed&size=25",
    "/styleguide/list/?start=2026-11-09&end=2026-11-01",
    "/styleguide/payer/?as&errors",
    "/styleguide/receipt/",
    "/styleguide/question/",
    "/accounts/login/",
    "/accounts/signup/",
)

in_browser = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.billing.look")]


class TestInBrowser:
    pytestmark = in_browser

    @pytest.mark.parametrize("url", PAGES)
    def test_every_part_is_free_of_faults_in_light_and_on_a_phone_in_the_dark(self, page: Page, url: str) -> None:
        page.emulate_media(reduced_motion="reduce")
        page.goto(url)
        assert violations(page) == []
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 320, "height": 640})
        page.locator("html[data-bs-theme='dark']").wait_for(state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        assert violations(page) == []

    def test_a_page_with_errors_says_so_first(self, page: Page) -> None:
        page.goto("/styleguide/?errors")
        assert page.title() == "Error: Style guide – Maple Falls Utilities"
        summary = page.locator("[data-error-summary]")
        assert summary.evaluate("element => element === document.activeElement")
        words = "Enter $5.00 or more"
        summary.get_by_role("link", name=words).click()
        assert page.locator("#id_amount").evaluate("element => element === document.activeElement")
        assert page.locator("#id_amount_error").inner_text() == words
        assert page.locator("#id_amount").get_attribute("aria-describedby") == "id_amount_helptext id_amount_error"
        assert page.locator("#id_amount").input_value() == "3"

    def test_a_slash_goes_to_the_search_box_but_not_while_typing(self, page: Page) -> None:
        page.goto("/styleguide/list/")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "bar-search"
        page.locator("#id_q").click()
        page.keyboard.type("a/b")
        assert page.locator("#id_q").input_value() == "a/b"

    def test_paging_and_filtering_change_the_address_and_not_the_page(self, page: Page) -> None:
        page.goto("/styleguide/list/")
        page.evaluate("window.stayed = true")
        page.locator("#list-next").click()
        page.wait_for_url("**/list/?after=*")
        assert page.locator(".list-position").inner_text() == "51–100 of 143"
        assert page.locator("#list-status").inner_text() == "51–100 of 143"
        page.locator("#id_q").fill("jones")
        page.locator("#id_q").press("Enter")
        page.wait_for_url(re.compile(r"/list/\?q=jones$"))
        assert page.locator(".chip").inner_text().split("\n")[:2] == ["Search", "jones"]
        page.go_back()
        page.wait_for_url("**/list/?after=*")
        assert page.evaluate("window.stayed") is True

    def test_a_list_works_without_scripts(self, browser: Browser, live_server: LiveServer) -> None:
        context = browser.new_context(java_script_enabled=False, base_url=live_server.url)
        plain = context.new_page()
        plain.goto("/styleguide/list/")
        plain.locator("#list-next").click()
        assert plain.locator(".list-position").inner_text() == "51–100 of 143"
        plain.locator("summary", has_text="Status").click()
        plain.get_by_label("Failed").check()
        plain.locator("#list-apply").click()
        assert plain.locator(".chip").inner_text().split("\n")[:2] == ["Status", "Failed"]
        context.close()

    def test_menus_close_with_escape_and_give_focus_back(self, page: Page) -> None:
        page.goto("/styleguide/list/")
        menu = page.locator(".bar details.menu")
        menu.locator("summary").click()
        menu.get_by_role("button", name="Dark").click()
        assert page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
        page.keyboard.press("Escape")
        assert menu.get_attribute("open") is None
        assert menu.locator("summary").evaluate("element => element === document.activeElement")
        page.reload()
        assert page.evaluate("document.documentElement.dataset.bsTheme") == "dark"


@pytest.mark.django_db
def test_nobody_signed_in_has_no_session_to_extend(client: Client) -> None:
    assert client.post("/sessions/extend").json() == {"seconds": 0}
    assert client.get("/sessions/extend").status_code == 405


@given(st.from_regex(r"[0-9a-fA-F]{6}", fullmatch=True))
def test_no_accent_makes_text_unreadable(accent: str) -> None:
    css = branding.accent_css(accent)
    pairs = {
        name: (branding._read(day), branding._read(night))
        for name, day, night in re.findall(r"--accent-([\w-]+): light-dark\(#(\w+), #(\w+)\)", css)
    }
    assert set(pairs) == {"fill", "on-fill", "fill-pressed", "text", "band"}
    for ground in ((255, 255, 255), (0xF4, 0xF6, 0xF8)):
        assert branding.contrast(pairs["text"][0], ground) >= 4.5
    for ground in ((0x12, 0x16, 0x1C), (0x1A, 0x20, 0x29), (0x21, 0x29, 0x36)):
        assert branding.contrast(pairs["text"][1], ground) >= 4.5
    for scheme in (0, 1):
        assert branding.contrast(pairs["on-fill"][scheme], pairs["fill"][scheme]) >= 4.5
        assert branding.contrast(pairs["on-fill"][scheme], pairs["fill-pressed"][scheme]) >= 4.5


def test_an_accent_is_served_as_a_stylesheet_that_never_changes(client: Client) -> None:
    answer = client.get("/look/accent-0b6e4f.css")
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer["Cache-Control"]
    assert "--accent-band: light-dark(#0b6e4f, #0b6e4f);" in answer.content.decode()
    for wrong in ("0b6e4", "red;}body{}", "0b6e4f0", "%23%23%23%23%23%23"):
        assert client.get(f"/look/accent-{wrong}.css").status_code == 404


@pytest.mark.parametrize("template", ["400.html", "403.html", "403_csrf.html", "404.html", "500.html"])
def test_error_pages_need_nothing_but_themselves(template: str) -> None:
    page = render_to_string(template)
    assert '<main id="main"' in page
    assert "<script>" not in page
    assert "style=" not in page


def test_no_template_has_inline_script_or_style() -> None:
    for path in (configured.BASE_DIR / "templates").rglob("*.html"):
        source = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|<style", source), path
