"""Requests while the broker cannot be reached: they are answered at once, and what they began goes on by itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from billing.actors import Actor
from billing.models import Customer, InvoiceFile, Run, RunState
from billing.operations import invoice_files
from config.celery import app
from payments.operations import collections
from tests.api.machines import Machine
from tests.factories import make_autopay, make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.invoice_files import Bill, load, write
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)

# Tried again, or waited for, it takes six seconds and more.
AT_ONCE = 5.0  # seconds, on a busy machine


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point Celery at an address that refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # ours, so that nobody else listens there; we do not
        monkeypatch.setattr(app.conf, "broker_url", f"redis://127.0.0.1:{taken.getsockname()[1]}/0")
        monkeypatch.setattr(app, "_pool", None)
        monkeypatch.setattr(app.amqp, "_producer_pool", None)
        yield


def test_files_and_runs_are_taken_at_once_and_beat_finds_them() -> None:
    biller = make_biller(number=2778)
    customer = make_customer(biller)
    now = timezone.now()
    today = biller.business_date(now)
    make_invoice(customer, "50.00", collect_on=today)
    make_autopay(customer, make_instrument(customer, make_route(biller, "http://127.0.0.1:1")))
    options = collections.Options.usual(today)
    trial = collections.plan(biller=biller, options=options, actor=Actor.system("tests"), now=now, dry_run=True)
    browser = client_of(make_staff(biller))
    handed_in = SimpleUploadedFile("2778_11222026.bif", write(biller, [Bill(number="1")]))
    begun = time.monotonic()
    answers = [
        browser.post("/biller/files/upload/", {"file": handed_in}),
        Machine(biller).upload("2778_11232026.bif", write(biller, [Bill(number="2")])),
        browser.post(f"/biller/runs/{trial.pk}/start/"),
    ]
    assert time.monotonic() - begun < AT_ONCE
    assert [answer.status_code for answer in answers] == [302, 202, 302]
    files = InvoiceFile.objects.order_by("pk")
    assert [file.source for file in files] == ["portal", "api"]
    assert invoice_files.waiting(now) == [file.pk for file in files]
    assert Run.objects.get(dry_run=False).state == RunState.PLANNED


def test_a_withdrawal_that_nothing_remembers_is_said_not_to_have_begun() -> None:
    biller = make_biller()
    file = load(biller, [Bill()])
    InvoiceFile.objects.filter(pk=file.pk).update(loaded_count=20_001)
    page = client_of(make_staff(biller)).post(f"/biller/files/{file.pk}/withdraw/", follow=True).content.decode()
    assert "The file was not withdrawn: no worker can be reached at the moment. Nothing was changed." in page
    assert "is being withdrawn" not in page
    assert Customer.objects.get().balance == Decimal("84.10")
