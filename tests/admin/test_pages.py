"""Every page of the admin: opens for administrators with a second factor, for nobody else, and changes no money."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from billing.models import Biller, Role, User
from datapump.models import Configuration, Endpoint
from payments.models import AnswerCode, Payment, Route
from tests.admin.worlds import SECRET, TOKEN, make_administrator, make_everything, models_shown
from tests.factories import make_biller, make_customer, make_link, make_membership, make_user
from tests.staff import client_of, make_staff, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

# What an administrator may make and change; everything else is made by operations and only read here.
ADDED = {
    "billing.Biller", "billing.Membership", "billing.PayType", "billing.PayerLink", "billing.Setting", "billing.User",
    "django_celery_beat.CrontabSchedule", "django_celery_beat.IntervalSchedule", "django_celery_beat.PeriodicTask",
    "payments.AnswerCode", "payments.CheckAnswer", "payments.FeeRule", "payments.LateRule", "payments.RetryLimit", "payments.Route",
    "sms.Line", "sms.Programme", "sms.Wording",
}  # fmt: skip
CHANGED = ADDED - {"billing.PayerLink"} | {"datapump.Configuration", "datapump.Endpoint"}
DELETED = {
    "billing.Membership", "billing.PayerLink", "django_celery_beat.CrontabSchedule", "mfa.Authenticator",
    "django_celery_beat.IntervalSchedule", "django_celery_beat.PeriodicTask", "payments.AnswerCode",
    "payments.CheckAnswer", "payments.RetryLimit",
    # Lifting a lock on somebody who typed a wrong password is removing the attempt.
    "axes.AccessAttempt", "axes.AccessFailureLog", "axes.AccessLog", "sms.Wording",
}  # fmt: skip
LABELS = [model._meta.label for model in models_shown()]


def page(model: type[models.Model], name: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def first(model: type[models.Model]) -> Any:
    row = model._default_manager.order_by("pk").first()
    assert row is not None, f"make_everything makes no {model._meta.label}"
    return row


def rows(model: type[models.Model]) -> list[Any]:
    return list(model._default_manager.order_by("pk").values())


def test_tables_of_what_may_be_changed_name_models_that_are_there() -> None:
    assert {*ADDED, *CHANGED, *DELETED} <= set(LABELS)


def test_every_page_opens_and_shows_no_secret() -> None:
    make_everything(1)
    client = client_of(make_administrator())
    assert client.get("/admin/").status_code == 200
    for model in models_shown():
        label, row = model._meta.label, first(model)
        shown = client.get(page(model, "changelist"))
        assert shown.status_code == 200, label
        added = client.get(page(model, "add"))
        assert added.status_code in ({200} if label in ADDED else {403, 404}), label
        changed = client.get(page(model, "change", row.pk))
        assert changed.status_code == 200, label
        deleted = client.get(page(model, "delete", row.pk))
        assert deleted.status_code == (200 if label in DELETED else 403), label
        assert client.get(page(model, "history", row.pk)).status_code == 200, label
        for answer in (shown, added, changed, deleted):
            for secret in (SECRET, TOKEN, "totp-secret-value", "cis-secret"):
                assert secret not in answer.content.decode(), f"{label} shows {secret}"
    for app in {model._meta.app_label for model in models_shown()}:
        assert client.get(f"/admin/{app}/").status_code == 200


def test_what_is_not_to_be_changed_takes_no_post() -> None:
    make_everything(1)
    client = client_of(make_administrator())
    for model in models_shown():
        label, row, before = model._meta.label, first(model), rows(model)
        attempts = []
        if label not in ADDED:
            attempts.append(client.post(page(model, "add"), {}))
        if label not in CHANGED and not label.startswith("axes."):
            attempts.append(client.post(page(model, "change", row.pk), {"amount": "1.00"}))
        if label not in DELETED:
            attempts.append(client.post(page(model, "delete", row.pk), {"post": "yes"}))
            chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
            client.post(page(model, "changelist"), chosen)
        assert {answer.status_code for answer in attempts} <= {403, 404}, label
        assert rows(model) == before, label


def test_lists_take_as_many_queries_for_many_rows_and_count_none_to_the_end() -> None:
    make_everything(1)
    client = client_of(make_administrator())
    client.get("/admin/")
    counts: dict[str, int] = {}
    for several in (False, True):
        if several:
            for n in range(2, 5):
                make_everything(n)
        for model in models_shown():
            label = model._meta.label
            with CaptureQueriesContext(connection) as queries:
                assert client.get(page(model, "changelist")).status_code == 200
            if several:
                assert len(queries) <= counts[label], (
                    f"{label}: {counts[label]} queries for one, {len(queries)} for more"
                )
                if label.partition(".")[0] in {"billing", "payments", "sms"}:
                    for query in queries:
                        if "COUNT(*)" in query["sql"]:
                            assert re.search(r"LIMIT 5000\b", query["sql"]), f"{label}: {query['sql']}"
            counts[label] = len(queries)
    assert max(counts.values()) <= 20, counts


def test_search_finds_the_exact_value_and_nothing_breaks_it() -> None:
    make_everything(1)
    make_everything(2)
    client = client_of(make_administrator())
    payment = Payment.objects.order_by("pk")[0]
    other = Payment.objects.order_by("pk")[1]
    for model in models_shown():
        if not admin.site._registry[model].search_fields:
            continue
        for text in ("x", "'", "%", "\x00", "9" * 40, "00000000-0000-7000-8000-000000000000", " ", "é" * 300):
            assert client.get(page(model, "changelist"), {"q": text}).status_code == 200, (model, text)
    found = client.get(page(Payment, "changelist"), {"q": str(payment.pk)}).content.decode()
    assert payment.confirmation in found
    assert other.confirmation not in found
    found = client.get(page(Payment, "changelist"), {"q": str(other.customer_id)}).content.decode()
    assert other.confirmation in found
    assert payment.confirmation not in found


# ---- Who comes in -----------------------------------------------------------------------------------------------------


def everybody() -> dict[str, tuple[Client, str]]:
    biller = make_biller()
    payer = make_user()
    make_link(payer, make_customer(biller))
    helper = make_staff(biller, Role.ADMINISTRATOR)
    User.objects.filter(pk=helper.pk).update(is_staff=True)
    unguarded = make_user(is_staff=True, is_superuser=True)
    closed = make_administrator()
    gone = client_of(closed)
    User.objects.filter(pk=closed.pk).update(is_active=False)
    demoted = make_administrator()
    was = client_of(demoted)
    User.objects.filter(pk=demoted.pk).update(is_staff=False)
    make_membership(unguarded, biller)
    return {
        "nobody": (Client(), "sign-in"),
        "a payer": (client_of(payer), "forbidden"),
        "a biller administrator": (client_of(make_staff(biller)), "forbidden"),
        "staff without the installation's rights": (client_of(helper), "forbidden"),
        "an administrator who is staff no more": (was, "forbidden"),
        "an administrator whose account is closed": (gone, "sign-in"),
        "an administrator without a second factor": (client_of(unguarded), "factor"),
    }


def test_nobody_else_comes_in() -> None:
    make_everything(1)
    paths = ["/admin/", "/admin/jsi18n/", "/admin/password_change/", "/admin/billing/", "/admin/nowhere/"]
    paths += [page(model, "changelist") for model in models_shown()]
    paths += [page(Route, "add"), page(Biller, "change", first(Biller).pk), page(User, "add")]
    callers = everybody()
    before = [rows(Biller), rows(Route)]
    for who, (client, refusal) in callers.items():
        people = rows(User)
        for path in paths:
            for answer in (client.get(path, follow=False), client.post(path, {"action": "stop_charging"})):
                assert answer.status_code == 302, f"{who} at {path}"
                where = answer.headers["Location"]
                match refusal:
                    case "factor":
                        assert where == reverse("mfa_activate_totp"), f"{who} at {path}"
                    case _:
                        assert where.startswith("/admin/login/"), f"{who} at {path}"
                        there = client.get(where)
                        assert there.status_code == (302 if refusal == "sign-in" else 403), f"{who} at {path}"
                        if refusal == "sign-in":
                            assert there.headers["Location"].startswith("/accounts/login/?next="), f"{who} at {path}"
        assert rows(User) == people
    assert [rows(Biller), rows(Route)] == before


def test_admin_has_no_sign_in_form_of_its_own() -> None:
    user = make_administrator(email="root@example.com")
    client = Client()
    answer = client.post("/admin/login/", {"username": user.email, "password": "correct horse battery"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/accounts/login/?next=/admin/")
    assert "_auth_user_id" not in client.session


def test_scope_of_the_admin_ends_with_its_request() -> None:
    make_everything(1)
    user = make_administrator()
    client = client_of(user)
    assert client.get(page(Payment, "changelist")).status_code == 200
    stranger = client_of(make_staff(make_biller()))
    shown = stranger.get("/biller/payments/")
    assert shown.status_code == 200
    assert first(Payment).confirmation not in shown.content.decode()


# ---- In a browser -----------------------------------------------------------------------------------------------------


def test_pages_keep_to_the_content_security_policy(page: Page, live_server: LiveServer) -> None:
    make_everything(1)
    sign_in(page, make_administrator(), live_server)
    for path in (
        "/admin/",
        reverse("admin:payments_payment_changelist"),
        reverse("admin:payments_payment_change", args=[first(Payment).pk]),
        reverse("admin:payments_route_change", args=[first(Route).pk]),
        reverse("admin:payments_answercode_add"),
        reverse("admin:billing_user_add"),
        reverse("admin:billing_membership_add"),
        reverse("admin:billing_auditentry_changelist"),
        reverse("admin:django_celery_beat_periodictask_change", args=[first(PeriodicTask).pk]),
        reverse("admin:datapump_endpoint_change", args=[first(Endpoint).pk]),
        reverse("admin:datapump_configuration_change", args=[first(Configuration).pk]),
    ):
        assert page.goto(path) is not None
        assert "Ratepayer" in page.title()
    assert first(AnswerCode).result == 7
