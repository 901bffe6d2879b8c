"""Every page that a person can open is free of axe's violations: the list is the access matrix, so a new route is walked too.

Each page is opened in Chromium as somebody who may, in a world where both billers have one of everything; then the pages of
a biller and a payer who have nothing, forms that were refused, and pages that say no. What is no page is told by its
answer: another kind of content, or a part of a page.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib import import_module
from typing import Any

import pytest
from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path, reverse
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer
from pytest_django.plugin import DjangoDbBlocker

from billing import tenancy
from billing.models import User
from config.urls import urlpatterns as every
from tests import databases
from tests.access.matrix import MATRIX, Door, Route
from tests.access.test_admin import MODELS, others, path_of
from tests.access.walks import Answer, Where, Who, World, address, open_world, taken_back
from tests.browsers import RULES
from tests.cast import make_cast
from tests.cis import Cis
from tests.factories import make_biller, make_user
from tests.processor import CONTROL_SECRET, Processor
from tests.receivers import Receiver
from tests.staff import client_of, make_staff
from tests.telephone import Telephone

# Who opens a page: the first of them who gets it; what is about people themselves is opened by each.
PEOPLE: dict[Door, tuple[Who, ...]] = {
    Door.BILLER: (Who.DANA,),
    Door.PAYER: (Who.OLIVE,),
    Door.ACCOUNT: (Who.OLIVE,),
    Door.GUEST: (Who.GUEST,),
    Door.API: (Who.KEY,),
    Door.OPEN: (Who.NOBODY, Who.DANA),
    Door.OWN: (Who.DANA, Who.NICO, Who.OLIVE),
}
PORTALS = {
    "the biller portal": {Door.BILLER},
    "the customer portal": {Door.PAYER, Door.ACCOUNT, Door.GUEST},
    "everybody": {Door.OPEN, Door.OWN, Door.API},
}
# What answers a GET without ever showing a page, beside what is no HTML: a new route that only leads on is added here.
LEADS_ON = {
    "account_confirm_login_code": "only after a password, where codes are mailed; nobody is",
    "mfa_authenticate": "only after a password; opened below",
    "set_language": "takes a choice and goes back",
    "customer-leave": "leads to the biller's own portal",
    "customer-arrive": "takes a ticket and leads on; what it says without one is opened below",
    "biller-case-close": "the form stands on the case's page",
    "biller-attempt-resolve": "the form stands on the attempt's page",
    "biller-text-close": "the form stands on the text's page",
    "biller-person-invite": "the button stands on the people's page",
    "cloud-pay-method": "only after a choice; tests/flows/test_cloud_payments.py looks at it",
    "cloud-pay-review": "only after a method; looked at there",
    "cloud-payment": "only after a payment; looked at there",
    "cloud-payment-pdf": "no page",
    "method-fields": "only with a ticket; tests/payments/test_stripe.py looks at it",
    "api-nowhere": "every address of the API that is none",
}

# Opened elsewhere. Swagger UI draws the page after it has come, and tests/api/test_openapi.py holds it to axe then; who is
# signed out is led on before axe has looked, so the page is opened below by somebody who is not.
ELSEWHERE = {"api-docs", "customer-signed-out"}
# What Django's own templates do, below /admin/ alone: the rule, and what stands there.
EXCUSED = {
    # The first and the last column of rows within a form have no heading. It is no rule of WCAG; to fill them we would
    # have to keep a copy of the whole template.
    ("empty-table-header", '<th class="original"></th>'),
    ("empty-table-header", "<th></th>"),
}

_AXE = Axe().axe_script
_OPTIONS: dict[str, Any] = RULES | {
    # The processor's own fields are a page of the processor's.
    "iframes": False,
}
# Contrast takes most of axe's time, and follows from the colours of a text and of the grounds it stands on: each such pair
# is measured where it is seen first.
_LOOK = """async ([options, seen]) => {
  const found = (await axe.run(document, {...options, rules: {'color-contrast': {enabled: false}}})).violations;
  const known = new Set(seen), fresh = [], grounds = new Map();
  const ground = (one) => {
    if (!one) return '';
    if (!grounds.has(one)) {
      const style = getComputedStyle(one), above = ground(one.parentElement);
      const own = `${style.backgroundColor} ${style.backgroundImage} ${style.opacity}`;
      grounds.set(one, own === 'rgba(0, 0, 0, 0) none 1' ? above : `${above}|${own}`);
    }
    return grounds.get(one);
  };
  for (const one of document.body.querySelectorAll('*')) {
    if (![...one.childNodes].some((part) => part.nodeType === 3 && part.data.trim()) && !one.matches('input, select, textarea'))
      continue;
    if (!one.checkVisibility()) continue;
    const style = getComputedStyle(one);
    const look = [style.color, style.fontSize, style.fontWeight, style.textShadow, one.matches(':disabled'), ground(one)].join(';');
    if (!known.has(look)) { known.add(look); fresh.push(one); }
  }
  if (fresh.length) {
    const options_ = {...options, runOnly: ['color-contrast']};
    found.push(...(await axe.run({include: fresh}, options_)).violations);
  }
  return [found.map((one) => [one.id, one.nodes.map((node) => [`${node.target}`, node.html])]), [...known]];
}"""


def breaks(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("A page that fails.")


urlpatterns = [*every, path("breaks", breaks)]


@dataclass(slots=True)
class Browsing:
    """One browser in which everybody has a window of their own, and what was found wrong."""

    world: World
    browser: Browser
    url: str
    wrong: list[str] = field(default_factory=list)
    walked: list[str] = field(default_factory=list)
    _pages: dict[Who, Page] = field(default_factory=dict)
    _seen: list[str] = field(default_factory=list)

    def page_of(self, who: Who) -> Page:
        """Give somebody's window."""
        if who not in self._pages:
            context = self.browser.new_context(
                base_url=self.url,
                locale="en-US",
                timezone_id="America/Chicago",
                viewport={"width": 1280, "height": 900},
                reduced_motion="reduce",
            )
            context.set_default_timeout(20_000)
            for name, value in self.world.cookies.get(who, {}).items():
                context.add_cookies([{"name": name, "value": value, "url": self.url}])
            self._pages[who] = context.new_page()
        return self._pages[who]

    def sign_in(self, who: Who, user: User) -> None:
        """Have a window be somebody else's."""
        if page := self._pages.pop(who, None):
            page.context.close()
        session = client_of(user).cookies[settings.SESSION_COOKIE_NAME].value
        self.world.cookies[who] = {settings.SESSION_COOKIE_NAME: session}

    def look(self, who: Who, address: str, status: int = 200) -> None:
        """Open a page as somebody and note what axe finds there."""
        page = self.page_of(who)
        answer = page.goto(address)
        if answer is None or answer.status != status:
            self.wrong.append(f"{address} as {who} gets {answer and answer.status}, not {status}")
            return
        self.look_at(page, f"{address} as {who}")

    def look_at(self, page: Page, name: str) -> None:
        """Note what axe finds on the page as it stands."""
        self.walked.append(name)
        page.evaluate(_AXE)
        found, self._seen = page.evaluate(_LOOK, [_OPTIONS, self._seen])
        for rule, nodes in found:
            left = [one for one in nodes if not ("/admin/" in page.url and (rule, one[1]) in EXCUSED)]
            if left:
                self.wrong.append(f"{name}: {rule} ({len(left)}): {[(at, html[:160]) for at, html in left[:3]]}")

    def send_nothing(self, who: Who, address: str) -> None:
        """Send the form of a page with no field filled in, and look at what comes back."""
        page = self.page_of(who)
        # Whatever page is open has the token that a form is sent with; that of the form itself is looked at elsewhere.
        if not page.locator(_TOKEN).count():
            page.goto(address)
        with page.expect_navigation():
            page.evaluate(_SEND_NOTHING, [address, _TOKEN])
        self.look_at(page, f"{address} as {who}, sent empty")

    def close(self) -> None:
        """Close every window."""
        for page in self._pages.values():
            page.context.close()


_TOKEN = "[name=csrfmiddlewaretoken]"
_SEND_NOTHING = """([address, token]) => {
  const form = document.createElement('form');
  form.method = 'post';
  form.action = address;
  form.append(document.querySelector(token).cloneNode());
  document.body.append(form);
  form.submit();
}"""


@pytest.fixture(scope="module")
def windows(
    browser: Browser,
    processor_service: Processor,
    cis_service: Cis,
    receiver_service: Receiver,
    telephone_service: Telephone,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Browsing]:
    """One world, server and browser for all tests here: making them takes longer than most tests; then put the rows back."""
    processor_service.reset()
    cis_service.reset()
    receiver_service.reset()
    telephone_service.reset()
    telephone_service.set_line("+18025550160", "", name="Maple Falls Utilities")
    simulators = {
        "SIMULATED_PROCESSOR_URL": processor_service.url,
        "SIMULATED_CIS_URL": cis_service.url.partition("/services/")[0],
        "SIMULATED_RECEIVER_URL": receiver_service.base,
        "SIMULATOR_SECRET": CONTROL_SECRET,
        "SIMULATED_TELEPHONE_URL": telephone_service.url,
        "SIMULATED_TELEPHONE_CONTROL_SECRET": telephone_service.control_secret,
    }
    server = LiveServer("localhost")
    with (
        django_db_blocker.unblock(),
        tenancy.acting_for(tenancy.EVERY_BILLER),
        override_settings(ALLOWED_HOSTS=["*"], **simulators),
    ):
        cache.clear()
        # A posting is balanced when its transaction ends.
        with transaction.atomic():
            cast = make_cast()
        # Dana and Olive have a password, and Dana codes for a lost telephone; Nico has neither.
        for person in (cast.maple.dana, cast.maple.account.owner):
            person.set_password(_PASSWORD)
            person.save(update_fields=["password"])
        RecoveryCodes.activate(cast.maple.dana)
        world = open_world(cast)
        for cookies in world.cookies.values():
            _just_signed_in(cookies[settings.SESSION_COOKIE_NAME])
        opened = Browsing(world, browser, server.url)
        yield opened
        opened.close()
        server.stop()
        databases.restore()


@pytest.fixture
def browsing(windows: Browsing) -> Browsing:
    """Begin with nothing found."""
    windows.wrong, windows.walked = [], []
    return windows


_PASSWORD = "a long enough password"


def _just_signed_in(key: str) -> None:
    """Have somebody proven who they are a moment ago: pages about themselves ask for it again otherwise."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    proofs = [{"method": "mfa", "type": "totp", "at": time.time(), "reauthenticated": True}]
    session["account_authentication_methods"] = proofs
    session["account_authentication_methods_user"] = session.get("_auth_user_id")
    session.save()


def _ask(world: World, who: Who, verb: str, route: Route) -> Answer:
    """Ask for a route's page, or send its form empty, as a browser does; and take back what that changes."""
    at = world.places[Where.ACCOUNT]
    cache.clear()
    with taken_back():
        return world.ask(
            who,
            verb,
            address(route.name, route.arguments(at), route.query(at)),
            {} if verb == "POST" else None,
            headers={"accept": "text/html,*/*;q=0.8"},
        )


def _is_page(answer: Answer) -> bool:
    return answer.headers.get("Content-Type", "").startswith("text/html") and b"<html" in answer.body


def _says_what_is_wrong(answer: Answer) -> bool:
    return answer.status != 200 or b"aria-invalid" in answer.body


def shown(world: World, routes: list[Route]) -> tuple[list[tuple[Who, str]], set[str]]:
    """Give who opens which page, and the routes that should show one and do not."""
    pages, without = [], set()
    for route in routes:
        answers = {who: _ask(world, who, "GET", route) for who in PEOPLE[route.door]}
        got = {who: answer for who, answer in answers.items() if answer.status == 200}
        mine = [(who, answer.path) for who, answer in got.items() if _is_page(answer)]
        pages += mine if route.door is Door.OWN else mine[:1]
        if not got:
            without.add(route.name)
    return pages, without


def routes_of(portal: str) -> list[Route]:
    """Give the routes of a portal that answer a GET."""
    return [
        route
        for route in MATRIX.values()
        if route.door in PORTALS[portal] and "GET" in route.verbs and route.name not in ELSEWHERE
    ]


def test_every_door_is_gone_through() -> None:
    assert set().union(*PORTALS.values()) | {Door.ADMIN} == set(Door)
    assert set(PEOPLE) == set().union(*PORTALS.values())


@pytest.mark.parametrize("portal", PORTALS)
def test_axe_finds_nothing_on_any_page_of(browsing: Browsing, portal: str) -> None:
    pages, without = shown(browsing.world, routes_of(portal))
    assert without - set(LEADS_ON) == set()
    for who, at in pages:
        browsing.look(who, at)
    assert not browsing.wrong, "\n".join(browsing.wrong)
    assert len(browsing.walked) > 20


@pytest.mark.parametrize("portal", PORTALS)
def test_axe_finds_nothing_on_a_form_that_was_sent_empty_in(browsing: Browsing, portal: str) -> None:
    refused = []
    for route in routes_of(portal):
        if "POST" not in route.verbs or route.door is Door.API:
            continue
        for who in PEOPLE[route.door]:
            answer = _ask(browsing.world, who, "POST", route)
            if answer.status in {200, 400, 422} and _is_page(answer) and _says_what_is_wrong(answer):
                refused.append((who, answer.path))
                break
    for who, at in refused:
        browsing.send_nothing(who, at)
    assert not browsing.wrong, "\n".join(browsing.wrong)
    assert len(browsing.walked) > 3


def test_axe_finds_nothing_on_lists_without_a_row(browsing: Browsing) -> None:
    """A biller without a customer, and a payer without an account, meet each page that names no object."""
    world = browsing.world
    nobodys = make_biller(name="Quiet Valley", slug="quiet-valley")
    # They come as people who are on no other page here.
    people = {Who.ALEX: (Door.BILLER, make_staff(nobodys)), Who.PAT: (Door.PAYER, make_user("new@payers.example"))}
    for who, (door, user) in people.items():
        browsing.sign_in(who, user)
        for route in MATRIX.values():
            if route.door is door and "GET" in route.verbs and not route.picks and not route.fixed:
                answer = _ask(world, who, "GET", route)
                if _is_page(answer) and (answer.status, b'class="empty-state"' in answer.body) == (200, True):
                    browsing.look(who, answer.path)
    assert not browsing.wrong, "\n".join(browsing.wrong)
    assert len(browsing.walked) > 8


def test_axe_finds_nothing_on_the_way_in(browsing: Browsing) -> None:
    """What is shown only on the way to somewhere: a wrong password, a second factor, links from mails."""
    page, dana = browsing.page_of(Who.NOBODY), browsing.world.cast.maple.dana
    confirmation = EmailConfirmationHMAC(EmailAddress.objects.get(user=dana)).key
    browsing.look(Who.NOBODY, reverse("account_confirm_email", args=[confirmation]))
    reset = {"uidb36": user_pk_to_url_str(dana), "key": default_token_generator.make_token(dana)}
    browsing.look(Who.NOBODY, reverse("account_reset_password_from_key", kwargs=reset))
    browsing.look(Who.VIEWER, reverse("customer-home"))
    browsing.look(Who.OLIVE, reverse("customer-signed-out", args=["maple-falls"]))
    page.goto(reverse("account_login"))
    for password in ("not the password", _PASSWORD):
        page.get_by_label("Email").fill(dana.email)
        page.locator("[name=password]").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_load_state()
        browsing.look_at(page, f"{page.url} after {password}")
    assert page.url.endswith(reverse("mfa_authenticate"))
    assert not browsing.wrong, "\n".join(browsing.wrong)


@pytest.mark.urls("tests.flows.test_axe_everywhere")
def test_axe_finds_nothing_on_pages_that_say_no(browsing: Browsing) -> None:
    for who in (Who.NOBODY, Who.DANA, Who.OLIVE, Who.ROBIN):
        browsing.look(who, "/nowhere", 404)
        browsing.look(who, "/breaks", 500)
    browsing.look(Who.DANA, "/biller/accounts/987654321/", 404)
    browsing.look(Who.SAM, reverse("biller-settings"), 403)
    browsing.look(Who.NOBODY, reverse("customer-arrive", args=["maple-falls"]), 403)
    browsing.look(Who.ROBIN, "/admin/nowhere/", 404)
    page = browsing.page_of(Who.NOBODY)
    page.goto(reverse("account_login"))
    page.evaluate("document.querySelectorAll('[name=csrfmiddlewaretoken]').forEach((one) => { one.value = 'x' })")
    with page.expect_navigation() as led:
        page.evaluate("document.querySelector('main form, form[method=post]').submit()")
    assert led.value.status == 403
    browsing.look_at(page, "a form that is too old")
    assert not browsing.wrong, "\n".join(browsing.wrong)


class Shapes(HTMLParser):
    """Collects what a page is built of: elements below others, by kind, classes and attributes, and whether they hold words."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._open: list[tuple[str, str]] = []
        self._wordless: list[bool] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        # Fields and columns have classes of their own, which begin alike.
        classes = {one.partition("-")[0] for one in (given.get("class") or "").split()}
        parts = [tag, given.get("type") or "", given.get("role") or "", *sorted(classes), *sorted(given)]
        parts += [f"{name} is empty" for name, value in attrs if not value]
        shape = " ".join(parts)
        self.found.add(f"{self._open[-1][0] if self._open else ''} > {shape}")
        if tag not in _VOID:
            self._open.append((tag, shape))
            self._wordless.append(True)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self._wordless = [False] * len(self._open)

    def handle_endtag(self, tag: str) -> None:
        while any(one == tag for one, _shape in self._open):
            (closed, shape), wordless = self._open.pop(), self._wordless.pop()
            if wordless:
                self.found.add(f"{shape} without a word")
            if closed == tag:
                break


_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_OF_SOMETHING = {"admin:app_list", "admin:auth_user_password_change", "admin:view_on_site", "admin:logout"}


@pytest.mark.parametrize("action", ["changelist", "add", "change"])
def test_axe_finds_nothing_in_the_admin(browsing: Browsing, action: str) -> None:
    """Django's templates draw its pages of what they are given: one that is built of nothing new shows nothing new."""
    world, seen = browsing.world, set[str]()
    paths = [path_of(name, action) for name in MODELS]
    if action == "changelist":
        paths += [reverse(name) for name in others() if name not in _OF_SOMETHING]
        paths += [reverse("admin:app_list", args=["billing"]), reverse("admin:auth_user_password_change", args=[1])]
    for at in paths:
        with taken_back():
            answer = world.ask(Who.ROBIN, "GET", at)
        if answer.status == 200 and _is_page(answer) and (shapes := Shapes(answer.body).found) - seen:
            seen |= shapes
            browsing.look(Who.ROBIN, at)
    assert not browsing.wrong, "\n".join(browsing.wrong)
    assert len(browsing.walked) > 5
