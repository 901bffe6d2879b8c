"""The test bed: real servers, a database for every process, and everybody in scope unless a test narrows it.

Import order matters: settings read the environment, which ``servers.prepare`` sets, and test modules import models.
"""

from __future__ import annotations

import contextvars
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests import servers

servers.prepare()

import django

django.setup()

from django.conf import settings

if not os.environ["DATABASE_URL"].endswith(f"/{settings.DATABASES['default']['NAME']}"):
    raise RuntimeError("Settings were read before this process had a database of its own.")

from django.core.cache import cache
from django.test import Client, TransactionTestCase
from pytest_django.plugin import DjangoDbBlocker
from whitenoise.middleware import WhiteNoiseMiddleware

from billing import tenancy
from tests import databases
from tests.browsers import browser, page
from tests.specs import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_logreport,
    pytest_terminal_summary,
)

if TYPE_CHECKING:
    from tests.cis import Cis
    from tests.processor import Processor
    from tests.receivers import Receiver
    from tests.telephone import Telephone


# A busy machine is no fault of what is tested.
hypothesis_settings.register_profile("ratepayer", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("ratepayer")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Keep workers from inheriting which settings to read: they would read them before they have a slot of their own."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


def pytest_unconfigure() -> None:
    """Stop the servers, unless another run uses them."""
    servers.leave()


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Clone this process's database, in place of pytest-django's own making."""
    with django_db_blocker.unblock():
        databases.clone()
    # Django's own way empties every table as the role that runs, which may not, and loses what migrations wrote.
    patch = pytest.MonkeyPatch()
    patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: databases.restore())
    yield
    patch.undo()
    with django_db_blocker.unblock():
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


@pytest.fixture(autouse=True, scope="session")
def requests_keep_to_themselves() -> Iterator[None]:
    """Let a request of the test client choose its own scope, as one that comes over a socket would."""
    send = Client.request

    def in_a_context_of_its_own(self: Client, **request: Any) -> Any:
        return contextvars.copy_context().run(send, self, **request)

    patch = pytest.MonkeyPatch()
    patch.setattr(Client, "request", in_a_context_of_its_own)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def static_files_are_found_once() -> Iterator[None]:
    """Hand every client the list of static files that the first one made: making it takes longer than most requests."""
    gather, found = WhiteNoiseMiddleware.add_files_from_finders, dict[str, Any]()

    def gather_once(self: WhiteNoiseMiddleware) -> None:
        if not found:
            gather(self)
            found.update(self.files)
        self.files = self.files | found

    patch = pytest.MonkeyPatch()
    patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", gather_once)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def fresh_cache(request: pytest.FixtureRequest) -> None:
    """Begin with nothing in the cache: limits on attempts are counted there."""
    if "_django_db_helper" in request.fixturenames:
        cache.clear()


@pytest.fixture(scope="session")
def processor_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    """Run one simulated processor for all tests of this process."""
    from tests.processor import Processor

    with Processor(tmp_path_factory.mktemp("processor")) as running:
        yield running


@pytest.fixture
def processor(processor_service: Processor) -> Processor:
    """Give the simulated processor, its book empty and its switches off."""
    processor_service.reset()
    return processor_service


@pytest.fixture(scope="session")
def cis_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cis]:
    """Run one simulated CIS for all tests of this process."""
    from tests.cis import Cis

    running = Cis(tmp_path_factory.mktemp("cis"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def cis(cis_service: Cis) -> Cis:
    """Give the simulated CIS, its book empty and its switches off."""
    cis_service.reset()
    return cis_service


@pytest.fixture(scope="session")
def receiver_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Run one simulated receiver of webhooks for all tests of this process."""
    from tests.receivers import Receiver

    running = Receiver(tmp_path_factory.mktemp("receiver"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def receiver(receiver_service: Receiver) -> Receiver:
    """Give the simulated receiver of webhooks, its book empty and its switches off."""
    receiver_service.reset()
    return receiver_service


@pytest.fixture(scope="session")
def telephone_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telephone]:
    """Run one simulated telephone network for all tests of this process that need no network of their own."""
    from tests.telephone import Telephone

    with Telephone(tmp_path_factory.mktemp("telephone")) as running:
        yield running


@pytest.fixture
def telephone(telephone_service: Telephone) -> Telephone:
    """Give the simulated telephone network, its book empty and its switches off; lines stay."""
    telephone_service.reset()
    return telephone_service
