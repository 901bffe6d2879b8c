"""The admin: for administrators with a second factor alone; what it may change is written down here, and it shows no secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.db import models

from billing.secrets import EncryptedTextField
from tests.access import headers
from tests.access.matrix import NOT_SIGNED_IN, NOWHERE, VERBS, routes
from tests.access.test_walls import outcome
from tests.access.walks import Answer, Who, World, address, changed, fingerprint, noting_writes, taken_back

# What an administrator may do to the rows of a model here; of every other one they are only shown. Money is changed by
# operations, whatever page asks for it.
MAY: dict[str, set[str]] = {
    "axes_accessattempt": {"change", "delete"},
    "axes_accesslog": {"change", "delete"},
    "axes_accessfailurelog": {"change", "delete"},
    "billing_biller": {"add", "change"},
    "billing_user": {"add", "change"},
    "billing_membership": {"add", "change", "delete"},
    "billing_payerlink": {"add", "delete"},
    "billing_paytype": {"add", "change"},
    "billing_setting": {"add", "change"},
    "datapump_configuration": {"change"},
    "datapump_endpoint": {"change"},
    "django_celery_beat_crontabschedule": {"add", "change", "delete"},
    "django_celery_beat_intervalschedule": {"add", "change", "delete"},
    "django_celery_beat_periodictask": {"add", "change", "delete"},
    "mfa_authenticator": {"delete"},
    "payments_answercode": {"add", "change", "delete"},
    "payments_checkanswer": {"add", "change", "delete"},
    "payments_feerule": {"add", "change"},
    "payments_laterule": {"add", "change"},
    "payments_retrylimit": {"add", "change", "delete"},
    "payments_route": {"add", "change"},
    "sms_line": {"add", "change"},
    "sms_programme": {"add", "change"},
    "sms_wording": {"add", "change", "delete"},
}
ACTIONS = ("changelist", "add", "change", "delete", "history")
MODELS = sorted(f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry)


def model_of(name: str) -> type[models.Model]:
    return next(model for model in admin.site._registry if name == f"{model._meta.app_label}_{model._meta.model_name}")


def path_of(name: str, action: str) -> str:
    needs_row = action in {"change", "delete", "history"}
    row = model_of(name)._default_manager.order_by("pk").first() if needs_row else None
    return address(f"admin:{name}_{action}", {"object_id": row.pk if row else NOWHERE} if needs_row else {})


def others() -> list[str]:
    """Give the admin's pages that belong to no model."""
    found = {name for name, _pattern, _leads in routes() if name.startswith("admin:")}
    return sorted(found - {f"admin:{name}_{action}" for name in MODELS for action in ACTIONS})


def look(world: World, who: Who, answer: Answer, rows: set[tuple[str, int | None]]) -> list[str]:
    wrong = [f"{answer.verb} {answer.path} by {who}: {one}" for one in headers.faults(answer.path, answer.headers)]
    if answer.status >= 500:
        wrong.append(f"{answer.verb} {answer.path} by {who}: {answer.error}")
    for what, secret in world.cast.secrets.items():
        if secret.encode() in answer.whole:
            wrong.append(f"{answer.verb} {answer.path} shows {who} a secret: {what}")
    if who is not Who.ROBIN and (leaked := world.canaries.found(answer.whole, answer.path.encode())):
        wrong.append(f"{answer.verb} {answer.path} shows {who} {leaked}")
    if rows:
        wrong.append(f"{answer.verb} {answer.path} by {who} changed {rows}")
    return wrong


def expected(who: Who) -> set[str]:
    if who in NOT_SIGNED_IN:
        return {"sign-in"}
    if who is Who.ROBIN_WITHOUT_FACTOR:
        return {"factor", "sign-in"}
    # To the sign-in page, which tells them that the admin is not theirs.
    return {"sign-in", "forbidden"}


# One of each kind of those whom the admin turns away. Everybody asks for each list, and for each page of no model.
TURNED_AWAY = (Who.NOBODY, Who.KEY, Who.OLIVE, Who.DANA, Who.VIEWER, Who.ROBIN_WITHOUT_FACTOR)


def asked_in_vain(action: str) -> Iterator[tuple[Who, str]]:
    """Give who asks for a model's page with which verb."""
    for who in Who:
        if who in TURNED_AWAY:
            yield from ((who, verb) for verb in ("GET", "HEAD", "POST"))
        elif who is not Who.ROBIN and action == "changelist":
            yield who, "GET"
    # Refused to everybody before anything is looked at.
    yield from ((Who.DANA, verb) for verb in VERBS if verb not in {"GET", "HEAD", "POST"})


@pytest.mark.parametrize("name", MODELS)
def test_only_administrators_with_a_second_factor_come_in(world: World, name: str) -> None:
    wrong, before = [], fingerprint()
    for action in ACTIONS:
        path = path_of(name, action)
        for who, verb in asked_in_vain(action):
            with taken_back(), noting_writes() as written:
                answer = world.ask(who, verb, path, {"post": "yes"} if verb == "POST" else None)
                rows = changed(before, fingerprint()) if written else set()
            got = outcome(answer)
            if got not in (expected(who) if verb in {"GET", "HEAD", "POST"} else {"verb"}):
                wrong.append(f"{verb} {path} by {who} gets {got} {answer.location}")
            wrong += look(world, who, answer, rows)
    assert wrong == []


@pytest.mark.parametrize("name", MODELS)
def test_an_administrator_is_shown_rows_without_secrets_and_changes_what_may_be_changed(
    world: World, name: str
) -> None:
    before, wrong, may = fingerprint(), [], MAY.get(name, set())
    there = model_of(name)._default_manager.exists()
    for action in ACTIONS:
        path = path_of(name, action)
        with taken_back(), noting_writes() as written:
            answer = world.ask(Who.ROBIN, "GET", path)
            rows = changed(before, fingerprint()) if written else set()
        wrong += look(world, Who.ROBIN, answer, rows)
        if action == "changelist" or (there and action in {"change", "history"}):
            wrong += [] if answer.status == 200 else [f"GET {path} gets {answer.status}"]
        elif action in {"add", "delete"} and (there or action == "add"):
            wrong += [] if (answer.status == 200) is (action in may) else [f"GET {path} gets {answer.status}"]
        if action in {"add", "delete", "change"} and action not in may:
            with taken_back(), noting_writes() as written:
                answer = world.ask(Who.ROBIN, "POST", path, {"post": "yes"})
                rows = changed(before, fingerprint()) if written else set()
            wrong += [] if answer.status in {302, 403, 404} and not rows else [f"POST {path} gets {answer.status}"]
    assert wrong == []


def test_what_may_be_changed_names_models_that_are_there() -> None:
    assert set(MAY) - set(MODELS) == set()


@pytest.mark.parametrize("name", others())
def test_the_other_pages_are_for_administrators_too(world: World, name: str) -> None:
    arguments: dict[str, Any] = {
        "admin:view_on_site": {"content_type_id": "1", "object_id": "1"},
        "admin:app_list": {"app_label": "billing"},
        "admin:auth_user_password_change": {"id": world.cast.robin.pk},
    }
    cache.clear()
    wrong, before = [], fingerprint()
    path = address(name, arguments.get(name, {}))
    for who in Who:
        for verb in VERBS:
            with taken_back(), noting_writes() as written:
                answer = world.ask(who, verb, path)
                rows = changed(before, fingerprint()) if written else set()
            wrong += look(world, who, answer, rows)
            if verb not in {"GET", "HEAD", "POST"}:
                wrong += [] if answer.status == 405 else [f"{verb} {path} by {who} gets {answer.status}"]
            elif who is not Who.ROBIN and answer.status == 200 and name not in {"admin:logout"}:
                wrong.append(f"{verb} {path} by {who} gets in")
    assert wrong == []


def test_no_secret_can_be_read_back_from_a_form(world: World) -> None:
    """Secrets are written and replaced, never shown: no page of the admin has a field that holds one."""
    found = []
    for model in admin.site._registry:
        secrets = [one.name for one in model._meta.concrete_fields if isinstance(one, EncryptedTextField)]
        if secrets and (row := model._default_manager.first()) is not None:
            name = f"{model._meta.app_label}_{model._meta.model_name}"
            body = world.ask(Who.ROBIN, "GET", path_of(name, "change")).body.decode()
            found += [f"{name}.{one}" for one in secrets if getattr(row, one) and getattr(row, one) in body]
    assert found == []
