"""What every task of a worker begins with, and which worker takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import psycopg
import pytest
import redis
from celery.contrib.testing.worker import start_worker
from django.conf import settings
from django.db import OperationalError, connection

from billing.models import Biller
from billing.tasks import load_waiting_files
from config.celery import app
from config.servers import wait_until
from payments.models import Route
from payments.tasks import ask_processor, work_run
from tests import servers
from tests.factories import make_biller, make_route
from tests.processor import Processor


@pytest.mark.django_db(transaction=True)
def test_a_task_begins_with_a_connection_that_works_although_another_one_lost_it() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with psycopg.connect(servers.superuser(), autocommit=True) as server:
        assert server.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)
    with pytest.raises(OperationalError):
        Biller.objects.exists()
    with pytest.raises(OperationalError):
        Biller.objects.exists()  # and so on, for as long as nobody lets go of it
    assert load_waiting_files.apply().state == "SUCCESS"
    assert not Biller.objects.exists()


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[int]]]:
    """Empty both queues, and give how much waits in each; which of them a worker here took from is forgotten."""
    monkeypatch.setattr(app.amqp, "queues", app.amqp.Queues(app.conf.task_queues))
    keys = [f"{app.conf.broker_transport_options['global_keyprefix']}{name}" for name in ("celery", "long")]
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        broker.delete(*keys)
        yield lambda: [cast("int", broker.llen(key)) for key in keys]
        broker.delete(*keys)


@pytest.mark.spec("PAY-22")
@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_kept_for_short_tasks_leaves_runs_to_others(
    waiting: Callable[[], list[int]], processor: Processor
) -> None:
    route = make_route(make_biller(), processor.url)
    for run_id in range(3):
        work_run.delay(run_id)
    ask_processor.delay(route.pk)
    assert waiting() == [1, 3]
    with start_worker(
        cast("Any", app), pool="solo", queues=["celery"], perform_ping_check=False, shutdown_timeout=30.0
    ):
        wait_until(lambda: Route.objects.get(pk=route.pk).answered is True, "The worker", lambda: True, 20.0)
    assert waiting() == [0, 3]


def test_what_may_last_for_minutes_has_a_queue_of_its_own_and_a_worker_that_is_told_nothing_takes_both() -> None:
    app.loader.import_default_modules()
    assert list(app.amqp.queues.consume_from) == ["celery", "long"]
    where = {
        name: app.amqp.router.route({}, name)["queue"].name for name in app.tasks if not name.startswith("celery.")
    }
    # A batch may take ten minutes at a processor.
    assert work_run.soft_time_limit is not None and work_run.soft_time_limit > 600
    # None of them by a name that is not a task's.
    assert {name for name, queue in where.items() if queue == "long"} == set(app.conf.task_routes)
    assert {where[name] for name in ("payments.tasks.ask_processor", "payments.tasks.recover", "sms.tasks.hear")} == {
        "celery"
    }
