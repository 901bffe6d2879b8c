"""Every form of the portals gets what no form was made for: it refuses in words, breaks nowhere, and changes nothing.

The forms are taken from the pages themselves, and the pages from the access matrix, so that a new form is held to this too.
Uploaded files have tests of their own (``tests/billing/test_invoice_files.py``); the API is called at random by schemathesis.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote_from_bytes, urlsplit

import pytest
from django.core import mail
from django.core.cache import cache
from django.utils.encoding import iri_to_uri

from tests.access.matrix import MATRIX, Door
from tests.access.test_walls import foreign_rows
from tests.access.walks import Answer, Where, Who, World, address, changed, fingerprint, noting_writes, taken_back

PEOPLE: Mapping[Door, tuple[Who, ...]] = {
    Door.BILLER: (Who.DANA,),
    Door.PAYER: (Who.OLIVE,),
    Door.ACCOUNT: (Who.OLIVE,),
    Door.GUEST: (Who.GUEST,),
    Door.OPEN: (Who.NOBODY, Who.NICO),
    Door.OWN: (Who.NICO, Who.DANA),
}

HOSTILE: Mapping[str, bytes] = {
    "nothing": b"",
    "10,000 characters": b"x" * 10_000,
    "a NUL": b"a\x00b",
    "control characters": b"a\x07\x1b[31mb",
    "a lone surrogate": b"a\xed\xa0\x80b",
    "no UTF-8": b"\xff\xfe\x80",
    "a formula": b'=HYPERLINK("http://127.0.0.1:9/","x")',
    "HTML": b"\"><script>alert(1)</script><img src=x onerror='y'>",
    "a negative number": b"-1",
    "a huge number": b"9" * 40,
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "1e400": b"1e400",
    "an absurd date": b"9999-99-99",
    "a date before all": b"0000-01-01",
    "no id": b"not-an-id",
}
# One field at a time, all others as they stand: what the first refusal of a whole form would hide.
ONE_BY_ONE = ("10,000 characters", "a NUL", "control characters", "a negative number", "1e400", "a date before all")
# A free text may be these; how it is shown again is another test's.
_WORDS = frozenset(HOSTILE) - {"nothing", "10,000 characters", "a NUL", "control characters"}
_TEXTS = {"text", "textarea", "search", "password"}


@dataclass(slots=True)
class Input:
    """One field of a form."""

    kind: str
    required: bool
    values: list[str] = field(default_factory=list)

    def takes(self, hostile: str) -> bool:
        """Say whether the field may take such a text as it is."""
        if self.kind in {"checkbox", "submit", "file"}:
            return True  # on, whatever it says; and a text is no file
        if hostile == "nothing":
            return not self.required
        return self.kind in _TEXTS and hostile in _WORDS


class Forms(HTMLParser):
    """Collects the forms of a page that are sent by POST: where to, and their fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self._form: dict[str, Input] | None = None
        self._select: Input | None = None
        self._area: Input | None = None
        self.found: list[tuple[str, dict[str, Input]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("method", "").lower() == "post":
            self._form = {}
            self.found.append((urlsplit(given.get("action") or self.page).path, self._form))
        name = given.get("name", "")
        if self._form is None or name == "csrfmiddlewaretoken":
            return
        if tag in {"input", "textarea", "select", "button"} and name:
            kind = {"textarea": "textarea", "select": "select", "button": "submit"}.get(tag, given.get("type", "text"))
            one = self._form.setdefault(name, Input(kind, "required" in given))
            if tag == "input" and (kind not in {"checkbox", "radio"} or "checked" in given):
                one.values.append(given.get("value", ""))
            self._select = one if tag == "select" else self._select
            self._area = one if tag == "textarea" else None
        if tag == "option" and self._select is not None and "selected" in given:
            self._select.values.append(given.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area.values.append(data.strip())

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._area = None


# A message that says no, on the page that a person is led to.
_REFUSED = re.compile(rb'class="alert tone-(?:bad|warning)"')


@dataclass(frozen=True, slots=True)
class Sent:
    """What came back when something was sent, where it led, and what it changed."""

    answer: Answer
    next: Answer | None
    rows: frozenset[tuple[str, int | None]]

    @property
    def taken(self) -> bool:
        """Whether it was done, or a person is led on without a word of what is wrong."""
        return bool(self.rows) or (self.next is not None and not _REFUSED.search(self.next.body))


@dataclass(frozen=True, slots=True)
class Form:
    """One form: who sends it where, and its fields."""

    name: str
    who: Who
    path: str
    fields: Mapping[str, Input]

    def body(self, hostile: Mapping[str, bytes]) -> bytes:
        """Give what a browser sends, with some fields' values in place of their own."""
        pairs = [
            (name, value.encode()) for name, one in self.fields.items() for value in one.values if name not in hostile
        ]
        pairs += hostile.items()
        return "&".join(f"{name}={quote_from_bytes(value)}" for name, value in pairs).encode()


_FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def forms(world: World) -> list[Form]:
    """Every form of the portals as the pages draw it, with what the matrix says is sent; or that alone, where none is."""
    at = world.places[Where.ACCOUNT]
    drawn: dict[tuple[Who, str], list[dict[str, Input]]] = {}
    cache.clear()
    routes = [route for route in MATRIX.values() if route.door in PEOPLE and not route.name.startswith("demo")]
    for route in routes:
        for who in PEOPLE[route.door] if "GET" in route.verbs else ():
            path = address(route.name, route.arguments(at), route.query(at))
            with taken_back():
                page = world.ask(who, "GET", path).body.decode(errors="replace")
            parsed = Forms(path)
            parsed.feed(page)
            for action, fields in parsed.found:
                known = drawn.setdefault((who, action), [])
                known += [fields] if fields and set(fields) not in map(set, known) else []
    found = []
    for route in routes:
        if "POST" not in route.verbs:
            continue
        path = address(route.name, route.arguments(at), route.query(at))
        given = {name: str(value) for name, value in route.given(at).items()}
        for who in PEOPLE[route.door]:
            mine = drawn.get((who, urlsplit(path).path), [])
            for fields in mine:
                # A page with two forms says of one what is sent.
                if set(given) <= set(fields) or len(mine) == 1:
                    for name in given.keys() & fields.keys():
                        fields[name].values = [given[name]]
                found.append(Form(route.name, who, path, fields))
            if not mine and given:
                kinds = {name: "checkbox" if value == "on" else "given" for name, value in given.items()}
                plain = {name: Input(kinds[name], True, [value]) for name, value in given.items()}
                found.append(Form(route.name, who, path, plain))
    return found


def send(world: World, form: Form, body: bytes, before: Mapping[Any, str], kind: str = _FORM) -> Sent:
    """Send something as a form, see where it leads, and take back what it changes."""
    with taken_back(), noting_writes() as written:
        answer = world.ask(form.who, "POST", form.path, body, kind=kind)
        rows = changed(dict(before), fingerprint()) if written else set()
        led = _follow(world, form.who, answer) if answer.status in {301, 302, 303} and not rows else None
    mail.outbox.clear()
    return Sent(answer, led, frozenset(rows))


def _follow(world: World, who: Who, answer: Answer) -> Answer:
    """Open the page that an answer leads to, with the cookies that came with it: messages are in one."""
    kept, cookies = world.cookies.get(who, {}), SimpleCookie()
    for line in answer.headers.get("Set-Cookie", "").splitlines():
        cookies.load(line)
    world.cookies[who] = kept | {name: one.coded_value for name, one in cookies.items()}
    try:
        return world.ask(who, "GET", iri_to_uri(answer.location))
    finally:
        world.cookies[who] = kept


# What is taken although a field says nonsense, and why.
BESIDE = {
    ("biller-datapump-settings", "part"): "which of the page's two forms it is: the other one then",
    ("customer-pay", "request_key"): "a payment gets a key of its own then",
    ("guest-pay", "request_key"): "a payment gets a key of its own then",
    ("customer-pay", "amount"): "read where another amount is chosen; see below",
    ("guest-pay", "amount"): "read where another amount is chosen; see below",
    ("biller-account-pay", "amount"): "read where another amount is chosen; see below",
    ("account_set_password", "password1"): "a password may be long",
    ("account_set_password", "password2"): "a password may be long",
    ("account_email", "email"): "which address is meant: the page is shown again",
    ("account_logout", "next"): "a way back, which never leads elsewhere",
    ("set_language", "next"): "a way back, which never leads elsewhere",
    ("set_language", "language"): "a language that there is not is left alone",
}


def faults(world: World, form: Form, sent: Sent, kind: str, names: Iterable[str]) -> list[str]:
    """Name what is wrong with the answer to nonsense in some fields of a form."""
    what = f"{form.name} by {form.who} with {kind} in {', '.join(names)}"
    found = []
    if sent.answer.status >= 500:
        found.append(f"{what} gets {sent.answer.status} {sent.answer.error[-400:]}")
    takes = all(form.fields[name].takes(kind) or (form.name, name) in BESIDE for name in names)
    if sent.taken and not takes:
        found.append(f"{what} is taken: {sent.answer.status} {sent.answer.location} {sorted(sent.rows, key=str)}")
    if foreign := {row for row in sent.rows if row[1] in foreign_rows(world)}:
        found.append(f"{what} changed another biller's rows: {foreign}")
    return found


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind not in ONE_BY_ONE])
def test_no_form_takes_nonsense_in_every_field(world: World, forms: list[Form], kind: str) -> None:
    before, wrong = fingerprint(), []
    for form in forms:
        cache.clear()  # tries are counted
        sent = send(world, form, form.body(dict.fromkeys(form.fields, HOSTILE[kind])), before)
        wrong += faults(world, form, sent, kind, form.fields)
    assert not wrong, "\n".join(wrong)
    assert len(forms) > 50


@pytest.mark.parametrize("kind", ONE_BY_ONE)
def test_no_form_takes_nonsense_in_one_field(world: World, forms: list[Form], kind: str) -> None:
    before, wrong = fingerprint(), []
    for form in forms:
        cache.clear()
        for name in form.fields:
            sent = send(world, form, form.body({name: HOSTILE[kind]}), before)
            wrong += faults(world, form, sent, kind, [name])
    assert not wrong, "\n".join(wrong)


# ---- What a person reads -----------------------------------------------------------------------------------------------

MESSAGES: list[tuple[str, dict[str, bytes], str]] = [
    ("customer-pay", {"part": b"other", "amount": b"1e400"}, "“1e400” is not an amount. Enter one such as 84.10."),
    ("guest-pay", {"part": b"other", "amount": b"-1"}, "Enter $0.01 or more"),
    ("biller-account-pay", {"choice": b"other", "amount": b"NaN"}, "“NaN” is not an amount. Enter one such as 84.10."),
    ("customer-find", {"number": b""}, "Enter your account number"),
    ("customer-profile", {"name": HOSTILE["control characters"]}, "Leave out control characters"),
    (
        "biller-settings",
        {"name": HOSTILE["10,000 characters"]},
        "Ensure this value has at most 120 characters (it has 10000).",
    ),
    ("biller-charging-stop", {"reason": b""}, "Enter: Reason"),
    ("biller-run-new", {"start": b"0000-01-01"}, "Enter a date such as 11/22/2026"),
]


@pytest.mark.parametrize(("name", "given", "words"), MESSAGES, ids=[one[0] for one in MESSAGES])
def test_a_person_reads_what_is_wrong_beside_the_field(
    world: World, forms: list[Form], name: str, given: dict[str, bytes], words: str
) -> None:
    form = next(one for one in forms if one.name == name)
    cache.clear()
    sent = send(world, form, form.body(given), fingerprint())
    page = sent.answer.body.decode()
    assert (sent.answer.status, sent.taken) == (422, False)
    notes = re.findall(r'class="field-error"[^>]*>(.*?)</div></div>', page, re.S)
    said = [" ".join(unescape(re.sub(r"<[^>]+>", " ", one)).split()) for one in notes]
    assert words in said
    assert "aria-invalid" in page


BODIES: list[tuple[str, bytes, str]] = [
    ("a field a thousand times", b"&".join([b"name=x&amount=1&email=x"] * 1000), _FORM),
    ("no form at all", b"\x00\xff%zz&&==;", _FORM),
    ("JSON", b'{"amount": NaN}', "application/json"),
    (
        "parts that never end",
        b'--x\r\nContent-Disposition: form-data; name="amount"\r\n\r\n5',
        "multipart/form-data; boundary=x",
    ),
    ("parts without a boundary", b"nothing", "multipart/form-data"),
    ("an unknown charset", b"amount=5", "application/x-www-form-urlencoded; charset=none"),
]


@pytest.mark.parametrize(("what", "body", "kind"), BODIES, ids=[one[0] for one in BODIES])
def test_what_is_no_form_breaks_nothing(world: World, forms: list[Form], what: str, body: bytes, kind: str) -> None:
    before, wrong = fingerprint(), list[str]()
    for form in {one.path: one for one in forms}.values():
        cache.clear()
        sent = send(world, form, body, before, kind)
        if sent.answer.status >= 500:
            wrong.append(f"{form.name} gets {sent.answer.status} {sent.answer.error[-400:]}")
        beside = any((form.name, field) in BESIDE for field in form.fields)
        if (
            sent.taken
            and not beside
            and any(one.required and one.kind not in {"checkbox", "radio"} for one in form.fields.values())
        ):
            wrong.append(f"{form.name} takes {what}: {sent.answer.location} {sorted(sent.rows, key=str)}")
    assert not wrong, "\n".join(wrong)
