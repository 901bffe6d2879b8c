"""Each mistake of an operator that the checks know is found, and a right set-up is silent."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connections
from pytest_django import Settings

from config import checks, roles


def ids(found: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in found if (message.id or "").startswith("ratepayer.")]


@pytest.mark.django_db(transaction=True)
def test_the_test_bed_itself_is_right() -> None:
    assert ids(run_checks(databases=["default"])) == []


def test_a_keyset_that_is_none_is_said(settings: Settings) -> None:
    for wrong in ("{}", "not json"):
        settings.KEYSET = wrong
        assert ids(checks.check_keyset(None)) == ["ratepayer.E001"]


def test_a_directory_that_cannot_be_is_said(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.DROP_FOLDER = tmp_path / "file" / "drop"
    assert ids(checks.check_directories(None)) == ["ratepayer.E002"]
    settings.DROP_FOLDER = tmp_path / "new" / "drop"
    assert ids(checks.check_directories(None)) == []


def test_missing_stylesheets_are_said(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_COLLECTED, settings.STATIC_ROOT = True, tmp_path
    assert ids(checks.check_collected(None)) == ["ratepayer.W003"]
    (tmp_path / "staticfiles.json").touch()
    assert ids(checks.check_collected(None)) == []


def test_https_without_a_proxy_is_said(settings: Settings) -> None:
    settings.SECURE, settings.PROXIES = True, 0
    assert ids(checks.check_proxies(None)) == ["ratepayer.W004"]
    settings.PROXIES = 1
    assert ids(checks.check_proxies(None)) == []


@pytest.mark.django_db
def test_a_postgresql_that_forgets_is_refused_in_production(settings: Settings) -> None:
    # The tests' server syncs nothing.
    settings.PRODUCTION = True
    found = checks.check_postgresql(None, databases=["default"])
    assert ids(found) == ["ratepayer.E006"] * 3
    assert [message.msg.split()[3] for message in found] == ["fsync", "full_page_writes", "synchronous_commit"]
    assert checks.check_postgresql(None, databases=[]) == []


@pytest.mark.django_db
def test_an_old_postgresql_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "OLDEST_POSTGRESQL", 990000)
    assert ids(checks.check_postgresql(None, databases=["default"])) == ["ratepayer.E005"]


@pytest.mark.django_db(databases=["default", "owner"])
def test_a_role_that_owns_the_schema_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The owner's own connection in the place of the application's.
    monkeypatch.setattr(checks, "connections", {"default": connections["owner"]})
    found = checks.check_role(None, databases=["default"])
    assert ids(found) == ["ratepayer.E007", "ratepayer.E008"]
    assert f"{roles.OWNER}, which owns tables" in found[0].msg
    assert f"no member of {roles.APP} and {roles.LOADER}" in found[1].msg
