"""Objects that are named beside the address: in a query string, in a form, in a body of the API, in a search.

Whatever names another biller's row, or a neighbour's to a payer, is answered like what names nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import models

from billing.models import Invoice
from datapump.models import Record
from payments.models import Payment
from tests.access.matrix import NO_UUID, NOWHERE
from tests.access.test_walls import foreign_rows
from tests.access.walks import READY, Answer, Place, Where, Who, World, address, changed, fingerprint, taken_back
from tests.staff import client_of

Names = Callable[[Place], Any]
_STAFF = (Where.FOREIGN,)
_PAYER = (Where.FOREIGN, Where.NEIGHBOUR)


@dataclass(frozen=True, slots=True)
class Reference:
    """A place beside the address where an object is named: ``{}`` in the query, or a value of the body that is ``...``."""

    who: Who
    route: str
    names: Names
    query: str = ""
    given: Mapping[str, Any] | None = None
    ids: tuple[str, ...] = ()
    whose: tuple[Where, ...] = _STAFF
    verb: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    nothing: Any = NOWHERE

    def __str__(self) -> str:
        body = [name for name, one in (self.given or {}).items() if one is ...]
        return f"{self.route}-{'-'.join(body) or self.query.partition('={}')[0].rpartition('&')[2]}"


_ID = ("customer_id",)
_SCHEDULE = {"pay_on": "2026-12-05", "how": "By phone."}
_PAY = {"account": "", "amount": "5.00", "instrument": ""}

REFERENCES = [
    Reference(Who.SAM, "biller-choose", lambda at: at.town.biller.pk, given={"biller": ...}),
    Reference(Who.SAM, "biller-payments", lambda at: at.town.run.pk, "run={}"),
    Reference(Who.SAM, "biller-payments", lambda at: at.account.customer.number, "q={}"),
    Reference(Who.SAM, "biller-bills", lambda at: at.town.file.pk, "file={}"),
    Reference(Who.SAM, "biller-bills", lambda at: at.account.bill.number, "q={}"),
    Reference(Who.SAM, "biller-datapump", lambda at: at.account.record.pk, "q={}", nothing=NO_UUID),
    Reference(Who.SAM, "biller-datapump", lambda at: at.account.customer.number, "q={}"),
    Reference(Who.SAM, "biller-datapump-newer", lambda at: at.account.customer.number, "since=2026-01-01T00:00:00Z&q={}"),
    Reference(Who.SAM, "biller-texts", lambda at: at.account.customer.number, "q={}"),
    Reference(Who.SAM, "biller-search", lambda at: at.account.customer.number, "q={}"),
    Reference(Who.SAM, "biller-search", lambda at: at.account.customer.display_number, "q={}"),
    Reference(Who.SAM, "biller-search", lambda at: at.account.customer.email, "q={}", nothing="nobody@nowhere.example"),
    Reference(Who.SAM, "biller-search", lambda at: at.account.bill.number, "q={}"),
    Reference(Who.SAM, "biller-search", lambda at: at.account.payment.confirmation, "q={}", nothing="0" * 15),
    Reference(Who.SAM, "biller-account-pay", lambda at: at.account.bill.pk, "bill={}", ids=_ID),
    Reference(
        Who.SAM, "biller-account-pay-method", lambda at: at.account.card.pk, "amount=5.00", {"method": ...}, _ID,
        nothing=NO_UUID,
    ),
    Reference(
        Who.SAM, "biller-account-pay-review", lambda at: at.account.card.pk, f"amount=5.00&key={NO_UUID}&method={{}}",
        {"email": "", "again": "on"}, _ID, nothing=NO_UUID,
    ),
    Reference(
        Who.SAM, "biller-account-autopay", lambda at: at.account.spare.pk, "method={}", {"how": "phone", "agreed": "on"},
        _ID, nothing=NO_UUID,
    ),
    Reference(
        Who.SAM, "biller-account-schedule", lambda at: at.account.spare.pk, "",
        {"request_key": "d" * 32, "pay_on": "12/05/2026", "part": "whole", "method": ...}, _ID, nothing=NO_UUID,
    ),
    Reference(
        Who.OLIVE, "customer-schedule", lambda at: at.account.spare.pk, "",
        {"request_key": "d" * 32, "pay_on": "12/05/2026", "part": "whole", "method": ...}, _ID, _PAYER, nothing=NO_UUID,
    ),
    Reference(Who.DANA, "biller-run-new", lambda at: at.town.route.pk, given={"window": "usual", "status": "active", "route": ...}),
    Reference(Who.DANA, "biller-run-new-release", lambda at: at.town.route.pk, given={"window": "usual", "route": ...}),
    Reference(Who.DANA, "biller-run-new-deposit", lambda at: at.town.route.pk, given={"window": "usual", "route": ...}),
    Reference(Who.OLIVE, "customer-bills", lambda at: at.account.customer.pk, "account={}", whose=_PAYER),
    Reference(Who.OLIVE, "customer-payments", lambda at: at.account.customer.pk, "account={}", whose=_PAYER),
    Reference(
        Who.OLIVE, "customer-pay", lambda at: at.account.card.pk, "", {"request_key": READY, "part": "full", "method": ...},
        _ID, _PAYER, nothing=NO_UUID,
    ),
    Reference(
        Who.GUEST, "guest-pay", lambda at: at.account.card.pk, "", {"request_key": READY, "part": "full", "method": ...},
        ("guest",), (Where.ACCOUNT, Where.FOREIGN, Where.NEIGHBOUR), nothing=NO_UUID,
    ),
    Reference(
        Who.OLIVE, "customer-autopay-account", lambda at: at.account.spare.pk, "method={}", {"agreed": "on"}, _ID, _PAYER,
        nothing=NO_UUID,
    ),
    Reference(
        Who.OLIVE, "customer-link-account", lambda at: at.account.customer.number, "", {"number": ..., "secret": "00000"},
        ("slug",), _PAYER, nothing="77777-001",
    ),
    Reference(
        Who.NOBODY, "customer-find", lambda at: at.account.customer.number, "", {"number": ..., "secret": "00000"},
        ("slug",), _PAYER, nothing="77777-001",
    ),
    *(
        Reference(Who.KEY, f"api-{name}", lambda at: at.account.customer.number, "account={}", nothing="77777-001")
        for name in ("invoices", "payments", "instruments", "messages", "datapump-records", "scheduled-payments")
    ),
    *(
        Reference(Who.KEY, "api-customers", pick, f"{name}={{}}", nothing=nothing)
        for name, pick, nothing in (
            ("number", lambda at: at.account.customer.number, "77777-001"),
            ("display_number", lambda at: at.account.customer.display_number, "77777"),
            ("email", lambda at: at.account.customer.email, "nobody@nowhere.example"),
            ("name", lambda at: at.account.customer.name, "Nobody"),
        )
    ),
    Reference(
        Who.KEY, "api-payments", lambda at: at.account.customer.number, "", _PAY | {"account": ..., "instrument": NO_UUID},
        headers={"idempotency-key": "k1"}, nothing="77777-001",
    ),
    Reference(
        Who.KEY, "api-payments", lambda at: at.account.card.pk, "", _PAY | {"account": "own", "instrument": ...},
        headers={"idempotency-key": "k2"}, nothing=NO_UUID, whose=(Where.FOREIGN, Where.NEIGHBOUR),
    ),
    Reference(
        Who.KEY, "api-payments", lambda at: [at.account.bill.pk], "",
        _PAY | {"account": "own", "instrument": "own", "invoices": ...}, headers={"idempotency-key": "k3"},
        nothing=[NOWHERE], whose=(Where.FOREIGN, Where.NEIGHBOUR),
    ),
    Reference(
        Who.KEY, "api-instruments", lambda at: at.account.customer.number, "", {"account": ..., "token": "tok_x"},
        nothing="77777-001",
    ),
    Reference(
        Who.KEY, "api-instruments", lambda at: at.town.route.pk, "", {"account": "own", "token": "tok_x", "route": ...}
    ),
    Reference(
        Who.KEY, "api-scheduled-payments", lambda at: at.account.customer.number, "",
        _SCHEDULE | {"account": ..., "instrument": NO_UUID}, headers={"idempotency-key": "k4"}, nothing="77777-001",
    ),
    Reference(
        Who.KEY, "api-scheduled-payments", lambda at: at.account.card.pk, "",
        _SCHEDULE | {"account": "own", "instrument": ...}, headers={"idempotency-key": "k5"}, nothing=NO_UUID,
        whose=(Where.FOREIGN, Where.NEIGHBOUR),
    ),
    Reference(
        Who.KEY, "api-scheduled-payment", lambda at: at.account.card.pk, "", _SCHEDULE | {"instrument": ...}, ("pk",),
        (Where.FOREIGN, Where.NEIGHBOUR), "PUT", nothing=NO_UUID,
    ),
    Reference(
        Who.KEY, "api-autopay", lambda at: at.account.spare.pk, "",
        {"instrument": ..., "agreed": True, "how": "On the web form."}, ("pk",), (Where.FOREIGN, Where.NEIGHBOUR), "PUT",
        nothing=NO_UUID,
    ),
]  # fmt: skip


def ask(world: World, one: Reference, value: Any) -> tuple[Answer, set[tuple[str, int | None]]]:
    own = world.places[Where.ACCOUNT]
    known = {
        "customer_id": own.account.customer.pk,
        "guest": own.guest,
        "slug": own.town.biller.slug,
        "pk": own.account.scheduled.pk if one.route == "api-scheduled-payment" else own.account.customer.pk,
    }
    path = address(one.route, {name: known[name] for name in one.ids}, one.query.format(value))
    mine = {"account": own.account.customer.number, "instrument": own.account.card.pk}
    body = None
    if one.given is not None:
        body = {
            name: value if given is ... else mine[name] if given == "own" else given
            for name, given in one.given.items()
        }
    verb = "GET" if one.given is None else one.verb
    kind = "application/json" if one.route.startswith("api-") else ""
    cache.clear()
    with taken_back():
        before = fingerprint()
        answer = world.ask(one.who, verb, path, body, kind=kind, headers=dict(one.headers))
        rows = changed(before, fingerprint())
    return answer, {row for row in rows if row[0] not in {"billing_idempotencykey", "billing_auditentry"}}


def told(answer: Answer, value: Any, instead: Any) -> tuple[int, dict[str, str], str]:
    """Give an answer as it would read if the caller had named ``instead`` where they named ``value``."""
    status, headers, body = answer.masked()
    text, location = body.decode(), headers.get("Location", "")
    for spell in (str, quote, _quoted_whole, escape, str.lower):
        text, location = (one.replace(spell(f"{value}"), spell(f"{instead}")) for one in (text, location))
    kept = {name: one for name, one in headers.items() if name not in {"Content-Length", "Expires"}}
    return status, kept | {"Location": location}, text


def _quoted_whole(text: str) -> str:
    return quote(text, safe="")


@pytest.mark.parametrize("one", REFERENCES, ids=str)
def test_what_names_anothers_row_is_answered_like_what_names_nothing(world: World, one: Reference) -> None:
    nothing, changed_by_nothing = ask(world, one, one.nothing)
    assert nothing.status < 500, nothing.error
    assert changed_by_nothing == set()
    for where in one.whose:
        value = one.names(world.places[where])
        answer, rows = ask(world, one, value)
        assert answer.error == ""
        assert not rows & {row for row in rows if row[1] in foreign_rows(world)}
        said = f"{answer.path} {value} {one.given}".encode()
        assert world.canaries.found(answer.whole, said) == set()
        assert told(answer, value, value) == told(nothing, one.nothing, value), where
        assert rows == set()


# Guests have no method on file, a link needs the secret, and a processor that does not answer tells nothing.
_ALIKE = {
    "customer-find",
    "customer-link-account",
    "guest-pay",
    "api-instruments",
    "biller-choose",
    "biller-datapump-newer",
}


@pytest.mark.parametrize("one", [one for one in REFERENCES if one.route not in _ALIKE], ids=str)
def test_what_names_an_own_row_is_answered_otherwise(world: World, one: Reference) -> None:
    """The control: where one's own row is named the answer is another one, so that the test above compares something."""
    own = world.places[Where.ACCOUNT]
    mine, nothing = ask(world, one, one.names(own))[0], ask(world, one, one.nothing)[0]
    assert mine.status < 500, mine.error
    assert told(mine, "", "") != told(nothing, one.nothing, one.names(own))


@pytest.mark.parametrize("name", ["payments", "bills", "datapump"])
def test_a_place_in_another_billers_list_leads_to_ones_own_rows(world: World, name: str) -> None:
    """Cursors are signed for a list and not for a biller: they hold a time and an id, and open nothing."""
    path = address(f"biller-{name}", {})
    cookie = client_of(world.cast.harbor.dana).cookies[settings.SESSION_COOKIE_NAME].value
    world.headers[Who.NOBODY] = {"cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}"}
    try:
        for _ in range(30):
            _more_rows(world, name)
        theirs = world.ask(Who.NOBODY, "GET", f"{path}?size=25").body.decode()
    finally:
        del world.headers[Who.NOBODY]
    after = theirs.partition("after=")[2].partition('"')[0].partition("&amp;")[0]
    assert after
    mine = world.ask(Who.SAM, "GET", f"{path}?size=25&after={after}")
    assert mine.status == 200
    assert world.canaries.found(mine.whole, after.encode()) == set()


def _more_rows(world: World, name: str) -> None:
    model: type[models.Model] = {"payments": Payment, "bills": Invoice, "datapump": Record}[name]
    example = {
        "payments": world.cast.harbor.account.stuck,
        "bills": world.cast.harbor.account.bill,
        "datapump": world.cast.harbor.account.failed,
    }[name]
    row = model._default_manager.get(pk=example.pk)
    row.pk = None if isinstance(row.pk, int) else uuid.uuid4()
    row._state.adding = True
    if isinstance(row, Payment):
        row.request_key = uuid.uuid4().hex
    if isinstance(row, Invoice):
        row.number = uuid.uuid4().hex[:12]
    row.save(force_insert=True)
