"""Walking the addresses: who asks, what is asked for, what came back, and whether anything of it was not theirs to see."""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlencode

from django.conf import settings
from django.core import mail
from django.core.signals import got_request_exception
from django.db import connection, transaction
from django.http import HttpResponseBase
from django.test.client import BOUNDARY, MULTIPART_CONTENT, ClientHandler, RequestFactory, encode_multipart
from django.urls import reverse

from billing import tenancy
from payments.customer_portal import drafts
from payments.customer_portal.drafts import Draft
from tests.access import canaries
from tests.access.canaries import Canaries
from tests.cast import Account, Cast, Town
from tests.staff import client_of


class Who(StrEnum):
    """Who asks."""

    NOBODY = "somebody not signed in"
    GUEST = "a guest who found the account"
    OLIVE = "its owner"
    PAT = "its co-owner"
    NORA = "another payer of the biller"
    DANA = "a biller administrator"
    SAM = "a CSR"
    KIM = "a CSR without card entry"
    ALEX = "a read-only person"
    ROBIN = "an administrator"
    VIEWER = "a CSR who looks through its owner's eyes"
    NICO = "a CSR without a second factor"
    ROBIN_WITHOUT_FACTOR = "an administrator without a second factor"
    GONE = "a CSR whose account is closed"
    KEY = "a machine"
    REVOKED_KEY = "a machine with a revoked key"
    EXPIRED_KEY = "a machine whose key is over"


class Where(StrEnum):
    """Whose object is asked for."""

    ACCOUNT = "the account's"
    NEIGHBOUR = "a neighbour's"
    FOREIGN = "another biller's"
    MISSING = "nobody's"


@dataclass(frozen=True, slots=True)
class Place:
    """A biller and one of its accounts, from which objects are picked; guests' keys besides."""

    town: Town
    account: Account
    guest: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the page, and everything else a caller gets."""

    verb: str
    path: str
    status: int
    headers: dict[str, str]
    body: bytes
    error: str = ""

    @property
    def location(self) -> str:
        """Where the answer leads."""
        return self.headers.get("Location", "")

    @property
    def whole(self) -> bytes:
        """Every byte that the caller gets."""
        return b"\n".join(f"{name}: {value}".encode() for name, value in self.headers.items()) + b"\n\n" + self.body

    def masked(self) -> tuple[int, dict[str, str], bytes]:
        """Give the answer without what is another one each time, and without the address that was asked for."""
        asked = {self.path, self.path.split("?")[0], quote(self.path), quote(self.path, safe="")}
        headers = {name: _mask(value.encode(), asked) for name, value in self.headers.items() if name != "Set-Cookie"}
        return self.status, {name: value.decode() for name, value in headers.items()}, _mask(self.body, asked)


# Loading the middleware takes longer than most requests.
_HANDLERS = {csrf: ClientHandler(enforce_csrf_checks=csrf) for csrf in (False, True)}

_CHANGING = re.compile(
    rb'(?P<csrf>name="csrfmiddlewaretoken" value=")[^"]+|(?P<htmx>X-CSRFToken": ")[^"]+|(?P<nonce>nonce[-=]"?)[\w+/=-]+'
    rb'|(?P<key>name="(?:key|request_key)" value=")[^"]+|(?P<seconds>name="session-seconds" content=")\d+'
    rb"|(?P<since>since=)[^&\"]+"
)


def _mask(text: bytes, asked: set[str]) -> bytes:
    text = _CHANGING.sub(lambda found: next(group for group in found.groups() if group is not None) + b"*", text)
    for path in sorted(asked, key=len, reverse=True):
        if len(path) > 1:
            text = text.replace(path.encode(), b"*")
    return text


@dataclass(slots=True)
class World:
    """The cast, what each of them comes with, and what must not leak."""

    cast: Cast
    canaries: Canaries
    places: dict[Where, Place]
    cookies: dict[Who, dict[str, str]] = field(default_factory=dict)
    headers: dict[Who, dict[str, str]] = field(default_factory=dict)
    requests: int = 0

    def ask(
        self,
        who: Who,
        verb: str,
        path: str,
        data: dict[str, Any] | bytes | None = None,
        *,
        kind: str = "",
        csrf: bool = False,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request as somebody, and take back whatever it changes only after ``changes`` has looked."""
        body, kind = _encoded(verb, data, kind)
        self.requests += 1
        extra = {**self.headers.get(who, {}), **(headers or {})}
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.get(who, {}).items())
        request = RequestFactory(headers={**extra, **({"cookie": cookies} if cookies else {})}).generic(
            verb, path, body, content_type=kind or "application/octet-stream"
        )
        # The request has decoded it, and the handler decodes it again.
        request.environ["PATH_INFO"] = request.path_info.encode().decode("iso-8859-1")
        errors: list[str] = []

        def note(sender: object, **_given: object) -> None:
            errors.append(traceback.format_exc(limit=-6))

        got_request_exception.connect(note)
        try:
            handler = _HANDLERS[csrf]
            return contextvars.copy_context().run(self._answer, handler, request.environ, verb, path, errors)
        finally:
            got_request_exception.disconnect(note)

    @staticmethod
    def _answer(handler: ClientHandler, environ: dict[str, Any], verb: str, path: str, errors: list[str]) -> Answer:
        response: HttpResponseBase = handler(environ)
        body = b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]
        headers = {name: str(value) for name, value in response.items()}
        if response.cookies:
            headers["Set-Cookie"] = response.cookies.output(header="", sep="\n")
        return Answer(verb, path, response.status_code, headers, body, "\n".join(errors))


def _encoded(verb: str, data: dict[str, Any] | bytes | None, kind: str) -> tuple[bytes, str]:
    if isinstance(data, bytes):
        return data, kind
    if verb in {"GET", "HEAD", "OPTIONS"} or data is None:
        return b"", kind
    if kind == MULTIPART_CONTENT:
        return encode_multipart(BOUNDARY, data), kind
    if kind == "application/json":
        return json.dumps(data, default=str).encode(), kind
    return urlencode(data, doseq=True).encode(), "application/x-www-form-urlencoded"


def address(name: str, arguments: dict[str, Any], query: str = "") -> str:
    """Give the address of a route."""
    return reverse(name, kwargs=arguments) + (f"?{query}" if query else "")


@contextlib.contextmanager
def taken_back() -> Iterator[None]:
    """Take back whatever is written inside."""
    block = transaction.atomic()
    # As Django's own tests mark theirs: operations that must be outermost may run in it.
    block._from_testcase = True  # type: ignore[attr-defined]
    with block:
        try:
            yield
        finally:
            transaction.set_rollback(True)


# Payments that are being prepared: of one the card is still to be entered, the other is ready to be sent.
CARD_TO_ENTER, READY = "a" * 32, "b" * 32


def _prepare(cookies: dict[str, str], account: Account) -> None:
    """Have somebody's session hold payments that are being prepared."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(cookies[settings.SESSION_COOKIE_NAME])
    for key, method in (
        (CARD_TO_ENTER, drafts.NEW_CARD),
        (READY, str(account.card.pk)),
        (account.by_guest.request_key or "", str(account.spare.pk)),
        (account.returned.request_key or "", str(account.spare.pk)),
    ):
        drafts.keep(session, key, Draft(account.customer.pk, "5.00", method))
    session.save()


# ---- The world ---------------------------------------------------------------------------------------------------------


def open_world(cast: Cast) -> World:
    """Sign everybody in, find the accounts as guests do, and mark the other biller's rows."""
    maple, harbor = cast.maple, cast.harbor
    world = World(cast, Canaries(), {})
    people = {
        Who.OLIVE: maple.account.owner,
        Who.PAT: maple.pat,
        Who.NORA: maple.neighbour.owner,
        Who.DANA: maple.dana,
        Who.SAM: maple.sam,
        Who.KIM: maple.kim,
        Who.ALEX: maple.alex,
        Who.ROBIN: cast.robin,
        Who.VIEWER: maple.sam,
        Who.NICO: cast.nico,
        Who.ROBIN_WITHOUT_FACTOR: cast.robin_without_factor,
        Who.GONE: cast.gone,
    }
    for who, user in people.items():
        client = client_of(user)
        if who is Who.ROBIN:
            client.post(reverse("biller-choose"), {"biller": maple.biller.pk})
        if who is Who.VIEWER:
            begun = client.post(reverse("customer-view-as", args=[maple.account.customer.pk, maple.account.owner.pk]))
            assert begun.status_code == 302
        world.cookies[who] = {settings.SESSION_COOKIE_NAME: client.cookies[settings.SESSION_COOKIE_NAME].value}
    keys = {Who.KEY: cast.key, Who.REVOKED_KEY: cast.revoked_key, Who.EXPIRED_KEY: cast.expired_key}
    world.headers |= {who: {"authorization": f"Bearer {key}"} for who, key in keys.items()}
    guests: dict[Where, str] = {}
    for where, town, account in (
        (Where.ACCOUNT, maple, maple.account),
        (Where.NEIGHBOUR, maple, maple.neighbour),
        (Where.FOREIGN, harbor, harbor.account),
    ):
        given = {"number": account.customer.number, "secret": account.customer.zip}
        answer = world.ask(Who.NOBODY, "POST", reverse("customer-find", args=[town.biller.slug]), given)
        guests[where] = answer.location.strip("/").split("/")[1]
        if where is Where.ACCOUNT:
            session = re.search(rf"{settings.SESSION_COOKIE_NAME}=(\w+)", answer.headers["Set-Cookie"])
            assert session
            world.cookies[Who.GUEST] = {settings.SESSION_COOKIE_NAME: session[1]}
        world.places[where] = Place(town, account, guests[where])
    for who in (Who.OLIVE, Who.PAT, Who.NORA, Who.VIEWER, Who.GUEST):
        _prepare(world.cookies[who], maple.neighbour if who is Who.NORA else maple.account)
    world.canaries = canaries.plant(cast)
    mail.outbox.clear()
    return world


# ---- What changed ------------------------------------------------------------------------------------------------------

# Whatever could write; and the tables that hold nothing of a biller's, which any request may write.
_WRITES = re.compile(
    r'(?<!FOR )(?<!KEY )\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE|COPY|TRUNCATE|CALL)\b(?:\s+"?(\w+))?',
    re.IGNORECASE,
)
_NOBODYS = re.compile(r"django_session|billing_throttle|axes_")


@contextlib.contextmanager
def noting_writes() -> Iterator[list[str]]:
    """Note each statement inside that may have written something of a biller's or a person's: mostly there is none."""
    written: list[str] = []

    def note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if (found := _WRITES.search(str(sql))) and not _NOBODYS.match(found[1] or ""):
            written.append(str(sql))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield written


# Not rows of a biller: sessions and counters of tries, which any request may write.
_tables: list[str] = []


def fingerprint() -> dict[tuple[str, int | None], str]:
    """Give for each table and biller how many rows there are and a sum over what they hold, people among them."""
    if not _tables:
        _tables.extend(sorted(model._meta.db_table for model in canaries.tenant_models()))
    parts = [
        f"SELECT '{table}', biller_id, count(*), sum(hashtextextended(t::text, 0)) FROM {table} t GROUP BY biller_id"
        for table in _tables
    ]
    parts += [
        "SELECT 'billing_biller', id, count(*), sum(hashtextextended(t::text, 0)) FROM billing_biller t GROUP BY id",
        *(
            f"SELECT '{table}', -{column}, count(*), sum(hashtextextended(t::text, 0)) FROM {table} t GROUP BY {column}"
            for table, column in (
                ("billing_user", "id"),
                ("account_emailaddress", "user_id"),
                ("mfa_authenticator", "user_id"),
            )
        ),
    ]
    with tenancy.acting_for(tenancy.EVERY_BILLER), connection.cursor() as cursor:
        # Planning takes longer than running it.
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE name = 'fingerprint'")
        if cursor.fetchone() == (0,):
            cursor.execute(f"PREPARE fingerprint AS {' UNION ALL '.join(parts)}")
        cursor.execute("EXECUTE fingerprint")
        return {(table, owner): f"{count} {total}" for table, owner, count, total in cursor.fetchall()}


def changed(before: dict[Any, str], after: dict[Any, str]) -> set[tuple[str, int | None]]:
    """Name what is not as it was: (table, biller), or (table, minus a person's id)."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
