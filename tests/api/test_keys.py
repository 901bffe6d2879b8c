"""Keys to the API: which open something, to whom, and what every refusal looks like."""

from __future__ import annotations

import datetime

import pytest
from django.test import Client
from django.utils import timezone

from billing.models import ApiToken, AuditEntry
from billing.operations import api_tokens
from tests.api.machines import OPERATOR, Machine
from tests.factories import make_biller, make_customer, make_user

pytestmark = pytest.mark.django_db

PATHS = [
    "biller/", "customers/", "customers/1/", "customers/1/autopay/", "customers/1/paperless/", "invoices/",
    "invoices/1/", "invoice-files/", "invoice-files/1/", "invoice-files/1/errors/", "messages/", "messages/1/", "payments/",
    "payments/00000000-0000-7000-8000-000000000000/", "routes/", "instruments/",
    "instruments/00000000-0000-7000-8000-000000000000/", "datapump-records/",
    "datapump-records/00000000-0000-7000-8000-000000000000/", "nowhere/", "",
]  # fmt: skip
BAD_KEY = {
    "code": "bad_key",
    "message": "This API key opens nothing: it is unknown, revoked, or over.",
    "field": None,
}


def ask(authorization: str | None, path: str = "biller/") -> tuple[int, dict[str, object], str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    response = Client().get(f"/api/v1/{path}", headers=headers)
    return response.status_code, response.json()["error"], response.headers.get("WWW-Authenticate", "")


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_a_key(path: str) -> None:
    missing = {"code": "not_authenticated", "message": "Authentication credentials were not provided.", "field": None}
    assert ask(None, path) == (401, missing, 'Bearer realm="Ratepayer"')


def test_session_of_a_person_is_no_key() -> None:
    client = Client()
    client.force_login(
        make_user(is_staff=True, is_superuser=True), backend="allauth.account.auth_backends.AuthenticationBackend"
    )
    assert client.get("/api/v1/customers/").status_code == 401


def test_live_key_opens_its_own_biller() -> None:
    biller = make_biller(name="Maple Falls", time_zone="America/Denver")
    response = Machine(biller).get("biller/")
    assert response.status_code == 200
    assert response.json() == {
        "guid": str(biller.guid),
        "number": biller.number,
        "name": "Maple Falls",
        "currency": "USD",
        "time_zone": "America/Denver",
        "charging_stopped": False,
    }
    assert response.headers["Cache-Control"] == "no-store"


def test_keys_that_open_nothing_are_answered_alike() -> None:
    machine = Machine(make_biller())
    good = machine.key
    ended = Machine(machine.biller, "Ended")
    api_tokens.revoke(token=ended.token, actor=OPERATOR)
    over = Machine(machine.biller, "Over")
    ApiToken.objects.filter(pk=over.token.pk).update(expires_at=timezone.now() - datetime.timedelta(seconds=1))
    wrong = [
        ended.key,
        over.key,
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        "rp_abcdefghj_" + good[13:],
        good[:12],
        good + "A",
        good.upper(),
        "rp_",
        "",
        "é" * 56,
        "x" * 5000,
    ]
    for key in wrong:
        assert ask(f"Bearer {key}") == (401, BAD_KEY, 'Bearer realm="Ratepayer"'), key
    assert ask(f"Token {good}")[1]["code"] == "not_authenticated"
    assert Client().get("/api/v1/biller/", headers={"Authorization": f"bearer  {good} "}).status_code == 200


def test_key_that_ends_later_is_live_until_then() -> None:
    machine = Machine(make_biller())
    ApiToken.objects.filter(pk=machine.token.pk).update(expires_at=timezone.now() + datetime.timedelta(minutes=1))
    assert machine.get("biller/").status_code == 200


def test_revoked_key_is_refused_from_the_next_call_on() -> None:
    machine = Machine(make_biller())
    assert machine.get("biller/").status_code == 200
    api_tokens.revoke(token=machine.token, actor=OPERATOR)
    assert machine.get("biller/").status_code == 401


def test_use_of_a_key_is_kept_by_the_day() -> None:
    machine = Machine(make_biller())
    today = timezone.now().date()
    machine.get("biller/")
    machine.token.refresh_from_db()
    assert machine.token.last_used_on == today
    ApiToken.objects.filter(pk=machine.token.pk).update(last_used_on=today - datetime.timedelta(days=3))
    machine.get("biller/")
    machine.token.refresh_from_db()
    assert machine.token.last_used_on == today
    # One that was refused was not used.
    refused = Machine(machine.biller, "Refused")
    api_tokens.revoke(token=refused.token, actor=OPERATOR)
    refused.get("biller/")
    refused.token.refresh_from_db()
    assert refused.token.last_used_on is None


def test_history_names_the_machine_and_where_it_called_from() -> None:
    machine = Machine(make_biller(), "Billing system")
    customer = make_customer(machine.biller, email="pat@example.com")
    response = machine.send("PUT", f"customers/{customer.pk}/paperless/", {"enrolled": True})
    assert (response.status_code, response.json()) == (200, {"enrolled": True})
    entry = AuditEntry.objects.get(event="paperless.enrolled")
    assert (entry.actor, entry.requestor, entry.user_id, entry.address) == ("Billing system", 5, None, "127.0.0.1")


@pytest.mark.parametrize("verb", ["PATCH", "OPTIONS", "TRACE", "DELETE"])
def test_verbs_that_a_path_does_not_have(verb: str) -> None:
    response = Machine(make_biller()).send(verb, "customers/")
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"


def test_body_that_is_no_json() -> None:
    machine = Machine(make_biller())
    customer = make_customer(machine.biller)
    for body, status, code in (
        (b"{", 400, "bad_json"),
        (b"\xff\xfe", 400, "bad_json"),
        (b'{"enrolled": NaN}', 400, "bad_json"),
        (b"[" * 200_000, 400, "bad_json"),
        (b"9" * 10_000, 400, "bad_json"),
        (b"[]", 422, "invalid"),
        (b"null", 422, "null"),
        (b'" ' + b"x" * (1 << 20) + b'"', 413, "too_large"),
        (b'{"enrolled": true, "surprise": 1}', 422, "unknown"),
    ):
        response = machine._client.generic(
            "PUT", f"/api/v1/customers/{customer.pk}/paperless/", body, content_type="application/json; charset=base64"
        )
        assert (response.status_code, response.json()["error"]["code"]) == (status, code), body[:40]
    customer.refresh_from_db()
    assert not customer.paperless
    form = machine._client.put(
        f"/api/v1/customers/{customer.pk}/paperless/", "enrolled=true", content_type="text/plain"
    )
    assert (form.status_code, form.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_answers_other_than_json_are_not_to_be_had() -> None:
    machine = Machine(make_biller())
    response = machine._client.get("/api/v1/biller/", headers={"Accept": "text/html"})
    assert (response.status_code, response.json()["error"]["code"]) == (406, "not_acceptable")
