"""What beat starts and what an operator types: thin over the operations."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.models import Biller, Run, RunState
from config.celery import BEAT
from datapump import tasks
from datapump.models import Delivery, Envelope, Record, RecordState
from datapump.operations import envelopes, resends
from datapump.reports import Chosen
from tests.cis import Cis
from tests.datapump.conftest import SYSTEM, billed, deliver, pay


def test_beat_starts_each_of_them() -> None:
    started = {entry.task: entry.every for entry in BEAT.values()}
    assert started[tasks.deliver.name] == timedelta(seconds=2)
    assert started[tasks.resend.name] == timedelta(seconds=5)
    assert tasks.purge_envelopes.name in started


def test_the_task_delivers(biller: Biller, cis: Cis) -> None:
    record = pay(billed(biller))
    tasks.deliver.apply(kwargs={"seconds": 5.0, "something_from_a_newer_caller": 1}, throw=True)
    assert Record.objects.get(pk=record.pk).state == "delivered"
    assert cis.totals()["payments"] == 1


def test_the_task_sends_again(biller: Biller, cis: Cis) -> None:
    record = pay(billed(biller))
    deliver()
    run = resends.plan(actor=SYSTEM, biller=biller, chosen=Chosen(states=("delivered",)), key="once")
    tasks.resend.apply(throw=True)
    run.refresh_from_db()
    assert (run.state, Record.objects.get(pk=record.pk).state) == (RunState.DONE, "waiting")
    deliver()
    assert (cis.totals()["payments"], cis.totals()["repeats"]) == (1, 1)


def test_a_resend_that_dies_goes_on_where_it_was(biller: Biller, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = billed(biller)
    for _ in range(7):
        pay(customer)
    Record.objects.update(state=RecordState.FAILED)
    monkeypatch.setattr(resends, "_BATCH", 3)
    run = resends.plan(actor=SYSTEM, biller=biller, chosen=Chosen(states=("failed",)), key="once")
    later = pay(customer)  # made after the wish: not meant
    Record.objects.filter(pk=later.pk).update(state=RecordState.FAILED)
    assert resends.work(actor=SYSTEM, batches=1) == 3
    assert resends.progress(run) == resends.Progress(3, 7, False)
    # One of those to come is skipped meanwhile; it stays so.
    skipped = Record.objects.filter(state="failed").exclude(pk=later.pk).order_by("created_at").last()
    assert skipped is not None
    resends.skip(actor=SYSTEM, record=skipped)
    assert resends.work(actor=SYSTEM) == 3
    run.refresh_from_db()
    assert resends.progress(run) == resends.Progress(6, 7, True)
    assert Record.objects.filter(state="waiting").count() == 6
    assert {one.state for one in Record.objects.filter(pk__in=[skipped.pk, later.pk])} == {"skipped", "failed"}
    assert Run.objects.count() == 1


def test_the_command_delivers(biller: Biller, cis: Cis) -> None:
    pay(billed(biller))
    said = io.StringIO()
    call_command("deliver", "--waits", "0.01", stdout=said)
    assert said.getvalue() == "delivered 1, refused 0, without an outcome 0, in 1 calls\n"
    with pytest.raises(CommandError, match="from 0 to 15"):
        call_command("deliver", "--shards", "3-16")
    with pytest.raises(CommandError, match="a list such as"):
        call_command("deliver", "--shards", "a")


def test_envelopes_age_out_and_their_deliveries_stay(biller: Biller, cis: Cis, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = billed(biller)
    for _ in range(5):
        pay(customer)
    deliver()
    monkeypatch.setattr(envelopes, "_BATCH", 2)
    now = timezone.now()
    old = list(Envelope.objects.order_by("at").values_list("pk", flat=True)[:4])
    Envelope.objects.filter(pk__in=old).update(at=now - timedelta(days=181))
    assert envelopes.purge(now=now) == 4
    assert Envelope.objects.count() == 1
    assert Delivery.objects.count() == 5
    tasks.purge_envelopes.apply(throw=True)
    assert Envelope.objects.count() == 1
