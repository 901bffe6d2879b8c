"""The test bed itself: what one test leaves behind, the next one does not see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client, TransactionTestCase
from django_celery_beat.models import IntervalSchedule

from billing import tenancy
from config.environment import ROOT
from tests import databases, servers, specs

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_a_test_commits_is_taken_back_and_what_migrations_wrote_comes_back() -> None:
    permissions, types = set(Permission.objects.values_list("pk", "codename")), ContentType.objects.count()
    assert permissions
    IntervalSchedule.objects.create(every=7, period=IntervalSchedule.DAYS)
    with psycopg.connect(servers.superuser(connection.settings_dict["NAME"])) as superuser:
        superuser.execute("DELETE FROM billing_user_user_permissions")
        superuser.execute("DELETE FROM auth_group_permissions")
        superuser.execute("DELETE FROM auth_permission")
    # What pytest-django calls after each test that may commit.
    TransactionTestCase._fixture_teardown(TransactionTestCase())  # type: ignore[attr-defined]  # Django's own name
    assert set(Permission.objects.values_list("pk", "codename")) == permissions
    assert ContentType.objects.count() == types
    assert not IntervalSchedule.objects.filter(every=7).exists()


def test_nothing_is_left_of_the_test_before() -> None:
    databases.restore()
    assert not IntervalSchedule.objects.exists()


def test_every_biller_is_in_scope_and_a_request_does_not_change_that(client: Client) -> None:
    assert tenancy.scope() == tenancy.EVERY_BILLER
    client.get("/health")
    assert tenancy.scope() == tenancy.EVERY_BILLER


def run_pytest(tmp_path: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on one file with the requirement marks and nothing else of this bed."""
    (tmp_path / "conftest.py").write_text(
        "from tests.specs import pytest_addoption, pytest_collection_modifyitems, pytest_configure\n"
        "from tests.specs import pytest_runtest_logreport, pytest_terminal_summary\n"
    )
    (tmp_path / "test_it.py").write_text(program)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", os.devnull]
    return subprocess.run(
        [*command, str(tmp_path), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_number_counts_only_when_all_its_tests_pass(tmp_path: Path) -> None:
    program = (
        "import pytest\n"
        "@pytest.mark.spec('MSP-1', 'MSP-2')\ndef test_good(): pass\n"
        "@pytest.mark.spec('MSP-2')\ndef test_bad(): assert False\n"
        "@pytest.mark.spec('MSP-3')\ndef test_skipped(): pytest.skip()\n"
        "@pytest.mark.spec('PAY-1')\ndef test_other_area(): pass\n"
        "def test_unmarked(): pass\n"
    )
    done = run_pytest(tmp_path, program, "--spec", "MSP")
    lines = [line.split()[:3] for line in done.stdout.splitlines()]
    assert ["MSP-1", "1", "passed"] in lines
    assert ["MSP-2", "2", "FAILED"] in lines
    assert ["MSP-3", "1", "FAILED"] in lines
    assert ["MSP-4", "0", "-"] in lines
    assert "MSP 1/37" in done.stdout
    assert "PAY" not in done.stdout
    assert "2 deselected" in done.stdout


def test_an_unknown_number_fails_collection(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "import pytest\n@pytest.mark.spec('MSP-38')\ndef test_it(): pass\n")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "is marked with MSP-38, which is no requirement" in done.stdout + done.stderr


def test_every_requirement_has_a_statement_of_one_line() -> None:
    statements = specs.read_requirements()
    assert len(statements) == 126
    assert all(statement.endswith(".") and len(statement) < 160 for statement in statements.values())
