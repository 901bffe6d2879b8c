"""Secrets stay where they are kept: in no page, file, answer of the API, mail, log line or error page, and in no row in clear.

The walk of every route holds what is seeded against every answer that anybody gets; here are session keys, files of
figures, the admin, what people type in secret, what is logged meanwhile, and what the database then holds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator, Mapping

import pytest
from django.conf import settings
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from config.logs import MaskingFormatter
from config.urls import urlpatterns as every
from payments.gateways.test_numbers import ACCOUNTS, CARDS
from tests.access.matrix import MATRIX, Door
from tests.access.test_admin import ACTIONS, MODELS, path_of
from tests.access.walks import Answer, Where, Who, World, address, taken_back

PEOPLE: Mapping[Door, tuple[Who, ...]] = {
    Door.BILLER: (Who.DANA, Who.ALEX),
    Door.PAYER: (Who.OLIVE, Who.VIEWER),
    Door.ACCOUNT: (Who.OLIVE, Who.VIEWER),
    Door.GUEST: (Who.GUEST,),
    Door.API: (Who.KEY,),
    Door.OPEN: (Who.NOBODY, Who.DANA),
    Door.OWN: (Who.DANA, Who.NICO),
}
PASSWORD = "the-password-that-was-typed"
CODE = "918273"
CARD = next(iter(CARDS.values())).number
BANK = next(iter(ACCOUNTS.values())).account


@csrf_exempt
def breaks(request: HttpRequest) -> HttpResponse:
    password, card = request.POST["password"], request.POST["card"]
    raise RuntimeError(f"It broke over {card}, {len(password)} characters in.")


urlpatterns = [*every, path("breaks", breaks)]


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """Collect what is logged, written as in production, down to the least line."""
    text, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(text)
    kept = settings.LOGGING["formatters"]["masked"]
    handler.setFormatter(MaskingFormatter(kept["format"], style=kept["style"]))
    loggers = [root, *(logging.getLogger(name) for name in ("django", "django.request", "django.security"))]
    levels = [one.level for one in loggers]
    root.addHandler(handler)
    for one in loggers:
        one.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def secrets_of(world: World) -> dict[str, str]:
    """Give everything that nobody may read, by what it is."""
    sessions = {
        f"the session of {who}": key
        for who, cookies in world.cookies.items()
        for name, key in cookies.items()
        if name == settings.SESSION_COOKIE_NAME
    }
    return world.cast.secrets | sessions | {"a card number": CARD, "a bank account number": BANK}


def shown_by(answer: Answer, secrets: Mapping[str, str]) -> list[str]:
    """Name the secrets that an answer holds; its cookies are the caller's own."""
    headers = "\n".join(value for name, value in answer.headers.items() if name != "Set-Cookie").encode()
    return [f"{answer.path} shows {what}" for what, one in secrets.items() if one.encode() in headers + answer.body]


def test_no_page_or_file_shows_a_secret_or_a_session(world: World) -> None:
    secrets, at, wrong, files = secrets_of(world), world.places[Where.ACCOUNT], list[str](), 0
    cache.clear()
    for route in MATRIX.values():
        if "GET" not in route.verbs:
            continue
        query = route.query(at)
        for who in PEOPLE[route.door]:
            for asked in dict.fromkeys([query, f"{query}&format=csv".lstrip("&")]):
                if asked != query and route.door is not Door.BILLER:
                    continue
                with taken_back():
                    answer = world.ask(who, "GET", address(route.name, route.arguments(at), asked))
                files += answer.headers.get("Content-Type", "").startswith("text/csv")
                # The demonstration tells which published test cards there are.
                hidden = world.cast.secrets if route.name.startswith("demo") else secrets
                wrong += [f"{one} to {who}" for one in shown_by(answer, hidden)]
    assert wrong == []
    assert files >= 20


def test_the_admin_shows_no_session_or_number(world: World) -> None:
    secrets, wrong = secrets_of(world), []
    for name in MODELS:
        for action in ACTIONS:
            with taken_back():
                wrong += shown_by(world.ask(Who.ROBIN, "GET", path_of(name, action)), secrets)
    assert wrong == []


# ---- What is typed in secret -------------------------------------------------------------------------------------------

TYPED: list[tuple[Who, str, dict[str, str]]] = [
    (Who.NOBODY, "account_login", {"login": "dana@maple.example", "password": PASSWORD}),
    (Who.NOBODY, "account_signup", {"email": "new@payers.example", "password1": PASSWORD, "password2": "another"}),
    (Who.NICO, "account_set_password", {"password1": PASSWORD, "password2": PASSWORD}),
    (Who.DANA, "mfa_reauthenticate", {"code": CODE}),
    (Who.DANA, "biller-account-method-add", {"token": CARD}),
    (Who.DANA, "biller-account-pay-new", {"token": CARD, "keep": "on"}),
    (Who.OLIVE, "customer-method-add", {"token": BANK}),
    (Who.OLIVE, "customer-pay-method", {"token": CARD}),
    (Who.GUEST, "guest-pay-method", {"token": CARD}),
    (Who.KEY, "api-instruments", {"account": "", "token": CARD}),
    (
        Who.DANA,
        "biller-datapump-endpoint",
        {
            "setting_11": "http://127.0.0.1:9/other", "setting_12": "user", "setting_13": PASSWORD, "per_envelope": "1",
            "in_flight": "4", "timeout_seconds": "9", "attempts_allowed": "3",
        },
    ),
]  # fmt: skip


def rows_in_clear() -> dict[str, str]:
    """Give every table as text: what somebody reads who gets hold of the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        found = {}
        for table in tables:
            cursor.execute(f'SELECT string_agg(t::text, chr(10)) FROM "{table}" t')
            found[table] = (cursor.fetchone() or [""])[0] or ""
    return found


@pytest.mark.parametrize(("who", "name", "given"), TYPED, ids=[one[1] for one in TYPED])
def test_what_is_typed_in_secret_is_neither_shown_nor_logged_nor_kept_in_clear(
    world: World, who: Who, name: str, given: dict[str, str]
) -> None:
    at, route = world.places[Where.ACCOUNT], MATRIX[name]
    body = given | ({"account": at.account.customer.number} if "account" in given else {})
    cache.clear()
    with taken_back(), logged() as log:
        answer = world.ask(
            who,
            "POST",
            address(name, route.arguments(at), route.query(at)),
            body,
            kind="application/json" if route.door is Door.API else "",
        )
        rows = rows_in_clear()
    mails = "".join(str(one.message()) for one in mail.outbox)
    mail.outbox.clear()
    assert answer.status < 500, answer.error
    for secret in (PASSWORD, CARD, BANK):
        assert secret.encode() not in answer.whole
        assert secret not in log.getvalue() + mails
        assert [table for table, text in rows.items() if secret in text] == []
    assert not re.search(rf"\b{CODE}\b", log.getvalue())


def test_a_new_password_of_an_endpoint_is_taken_and_sealed(world: World) -> None:
    """The control: what the test above looks for in vain is there."""
    at, (who, name, given) = world.places[Where.ACCOUNT], TYPED[-1]
    endpoint = at.town.endpoint
    with taken_back():
        answer = world.ask(who, "POST", address(name, MATRIX[name].arguments(at)), dict(given))
        assert answer.status == 302
        assert type(endpoint).objects.get(pk=endpoint.pk).password == PASSWORD


def test_what_is_seeded_stands_in_no_row_in_clear(world: World) -> None:
    rows = rows_in_clear()
    assert world.cast.maple.biller.name in rows["billing_biller"]
    # Of other secrets digests and processors' tokens are kept instead.
    sealed = {
        what: one
        for what, one in world.cast.secrets.items()
        if what.startswith(("route", "endpoint", "API key", "authenticator"))
    }
    assert len(sealed) > 5
    for what, secret in sealed.items():
        assert [table for table, text in rows.items() if secret in text] == [], what


@pytest.mark.urls("tests.access.test_secrets")
def test_a_failure_shows_and_logs_nothing_that_was_sent(world: World) -> None:
    secrets = secrets_of(world)
    given = {"password": PASSWORD, "card": CARD, "account": BANK}
    for who in (Who.DANA, Who.OLIVE, Who.KEY, Who.NOBODY):
        with logged() as log:
            answer = world.ask(who, "POST", "/breaks", dict(given))
        said = log.getvalue()
        assert answer.status == 500
        assert "RuntimeError: It broke over" in said  # it is told to those who run it
        for what, secret in (secrets | {"a password": PASSWORD}).items():
            assert secret not in said, what
            assert secret.encode() not in answer.whole, what
