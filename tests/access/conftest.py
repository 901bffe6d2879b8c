"""One world for all walks of a module: made once in a transaction that is never committed, put back after each request."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.db import transaction
from django.test import override_settings
from pytest_django.plugin import DjangoDbBlocker

from billing import tenancy
from tests.access.walks import World, open_world
from tests.cast import make_cast


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """The cast, signed in."""
    # Nothing listens there: the demonstration's pages say so, and a charge is not sent.
    nobody = {f"SIMULATED_{name}_URL": "http://127.0.0.1:9" for name in ("PROCESSOR", "CIS", "RECEIVER", "TELEPHONE")}
    with (
        django_db_blocker.unblock(),
        tenancy.acting_for(tenancy.EVERY_BILLER),
        override_settings(**nobody),
    ):
        cache.clear()
        block = transaction.atomic()
        # As Django's own tests mark theirs: operations that must be outermost may run in it.
        block._from_testcase = True  # type: ignore[attr-defined]
        with block:
            yield open_world(make_cast())
            transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Write no line for each refusal: they are what these tests ask for."""
    caplog.set_level(logging.CRITICAL, "django.request")
    caplog.set_level(logging.CRITICAL, "django.security")
