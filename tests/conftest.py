"""The test bed: real servers, a database for every process, and everybody in scope unless a test narrows it.

Import order matters: settings read the environment, which ``servers.prepare`` sets, and test modules import models.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import servers

servers.prepare()

import django  # noqa: E402

django.setup()

from django.test import TransactionTestCase  # noqa: E402

from billing import tenancy  # noqa: E402
from tests import databases  # noqa: E402
from tests.specs import (  # noqa: E402, F401  (hooks and options that pytest finds by name)
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_logreport,
    pytest_terminal_summary,
)


def pytest_unconfigure() -> None:
    """Stop the servers, unless another run uses them."""
    servers.leave()


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """Clone this process's database, in place of pytest-django's own making."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]  # pytest_django.plugin.DjangoDbBlocker
        databases.clone()
    # Django's own way empties every table as the role that runs, which may not, and loses what migrations wrote.
    patch = pytest.MonkeyPatch()
    patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: databases.restore())
    yield
    patch.undo()
    with django_db_blocker.unblock():  # type: ignore[attr-defined]  # as above
        databases.drop()


@pytest.fixture(autouse=True)
def everything(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have every biller in scope; tests of tenancy narrow it with ``tenancy.acting_for``."""
    if "_django_db_helper" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("_django_db_helper")
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        yield
