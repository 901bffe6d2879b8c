"""Debian's Chromium, driven by Playwright against pytest-django's ``live_server``.

A page fails its test when the browser reports an error: a script that broke, a file that was missing, something the
content security policy refused. ``@pytest.mark.expected_errors("404", …)`` names, as patterns, what a test provokes on
purpose.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page
    from pytest_django.live_server_helper import LiveServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "Chromium is not installed: apt-get install -y --no-install-recommends chromium fonts-dejavu-core"
TIMEOUT = 10_000  # milliseconds; what takes longer on a page is a fault


# What axe holds a page to. Unasked, it would hand over all that is well too, and load every stylesheet a second time.
RULES: dict[str, Any] = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
    "preload": False,
}


def violations(page: Page) -> list[tuple[str, list[str]]]:
    """Give what axe finds wrong on a page as it stands: each rule with the elements that break it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=RULES).response["violations"]
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Run one browser for all tests of this process; skips without Chromium, and fails where CI=true."""
    if CHROMIUM is None:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # As root, in a small /dev/shm, without a graphics card, and without calling home.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"],
        )
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, live_server: LiveServer, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open a page of a new visitor on the live server; addresses may be given without a host."""
    mark = request.node.get_closest_marker("expected_errors")
    expected = [re.compile(pattern) for pattern in (mark.args if mark else ())]
    context = browser.new_context(
        base_url=live_server.url, locale="en-US", timezone_id="America/Chicago", viewport={"width": 1280, "height": 900}
    )
    context.set_default_timeout(TIMEOUT)
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location.get('url', '')})")

    opened = context.new_page()
    opened.on("console", note)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    unexpected = [error for error in errors if not any(pattern.search(error) for pattern in expected)]
    assert not unexpected, f"the browser reported: {unexpected}"
