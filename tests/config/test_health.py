"""/health: what it says of every part, to everybody, and what it keeps to itself."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from billing.models import Notice, NoticeDelivery
from config import beat, health
from config.celery import BEAT
from datapump.models import Record
from payments.models import Attempt, Checkpoint, Payment
from tests.factories import make_biller, make_customer, make_instrument, make_route

pytestmark = pytest.mark.django_db(transaction=True)

NOTHING = {
    "status": "degraded",
    "postgresql": "ok",
    "valkey": "ok",
    "beat": {"state": "not running", "last_tick": None},
    "records": {"oldest_waiting_seconds": None},
    "notices": {"oldest_waiting_seconds": None},
    "attempts": {"unresolved": 0, "counted_up_to": 10_000},
}


def ask() -> tuple[int, dict[str, object]]:
    response = Client().get("/health")
    assert "no-store" in response.headers["Cache-Control"]
    return response.status_code, response.json()


def test_everything_waits_for_a_beat() -> None:
    PeriodicTask.objects.update(last_run_at=None)
    assert ask() == (200, NOTHING)


def test_beat_that_holds_the_lock_is_running() -> None:
    beat.write_table(BEAT)
    lease = beat.Lease()
    assert lease.take()
    try:
        now = timezone.now().replace(microsecond=0)
        PeriodicTask.objects.update(last_run_at=None)
        PeriodicTask.objects.filter(name="Recover").update(last_run_at=now)
        status, told = ask()
        assert (status, told["status"]) == (200, "ok")
        assert told["beat"] == {"state": "ok", "last_tick": now.strftime("%Y-%m-%dT%H:%M:%SZ")}
        PeriodicTask.objects.update(last_run_at=now - datetime.timedelta(minutes=7))
        status, told = ask()
        assert (status, told["status"]) == (200, "degraded")
        assert told["beat"]["state"] == "silent"  # type: ignore[index]  # it is a mapping
    finally:
        lease.release()


def test_what_waits_is_told_in_seconds_and_numbers_and_by_no_name() -> None:
    biller = make_biller(name="Maple Falls")
    customer = make_customer(biller, name="Pat Payer")
    now = timezone.now()
    for minutes, state in ((3, "retrying"), (2, "waiting"), (60, "delivered"), (60, "failed")):
        record = Record.objects.create(
            biller=biller, customer=customer, type=1, requestor=1, made_by="Ann", state=state
        )
        Record.objects.filter(pk=record.pk).update(created_at=now - datetime.timedelta(minutes=minutes))
    for n, (minutes, state) in enumerate(((5, "waiting"), (60, "sent"))):
        notice = Notice.objects.create(biller=biller, customer=customer, kind="receipt", key=f"receipt:{n}")
        NoticeDelivery.objects.create(
            biller=biller, customer=customer, notice=notice, address="pat@example.com", state=state,
            due_at=now - datetime.timedelta(minutes=minutes),
        )  # fmt: skip
    instrument = make_instrument(customer, make_route(biller))
    for minutes in (1, 6, 600):
        payment = Payment.objects.create(
            biller=biller, customer=customer, instrument=instrument, route=instrument.route, tender="card",
            amount=Decimal("1.00"), currency="USD", channel=1, requestor=2, made_by="Pat Payer",
        )  # fmt: skip
        attempt = Attempt.objects.create(
            biller=biller, payment=payment, route=instrument.route, command="charge", transaction_type="internet",
            amount=Decimal("1.00"), created_at=now - datetime.timedelta(minutes=minutes),
        )  # fmt: skip
        Checkpoint.objects.create(biller=biller, payment=payment, attempt=attempt)
    status, told = ask()
    assert status == 200
    assert 180 <= told["records"]["oldest_waiting_seconds"] <= 240  # type: ignore[index]  # it is a mapping
    assert 300 <= told["notices"]["oldest_waiting_seconds"] <= 360  # type: ignore[index]  # it is a mapping
    assert told["attempts"] == {"unresolved": 2, "counted_up_to": 10_000}
    text = Client().get("/health").content.decode()
    assert not [
        word for word in ("Maple", "Pat", str(customer.pk) + '"', "example.com", "ratepayer_web") if word in text
    ]


def test_without_a_broker_pages_are_still_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_URL", "redis://:secret@127.0.0.1:9/0")
    status, told = ask()
    assert (status, told["status"], told["valkey"]) == (200, "degraded", "down")
    assert "secret" not in str(told)


def test_without_a_database_it_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is told to go elsewhere, where nothing listens."""
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", "9")
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    status, told = ask()
    assert (status, told) == (503, {"status": "down", "postgresql": "down", "valkey": "ok"})


def test_database_that_is_too_busy_to_count_is_not_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_busy(now: datetime.datetime) -> dict[str, object]:
        raise OperationalError("canceling statement due to statement timeout")

    monkeypatch.setattr(health, "_waiting", too_busy)
    assert ask() == (200, {"status": "degraded", "postgresql": "ok", "valkey": "ok"})


@pytest.mark.parametrize("verb", ["post", "put", "delete"])
def test_it_is_only_asked(verb: str) -> None:
    assert getattr(Client(), verb)("/health").status_code == 405
