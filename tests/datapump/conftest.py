"""What tests of delivery share: a simulated CIS that really listens, and a biller whose endpoints point at it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from billing.actors import Actor
from billing.models import Biller, Customer
from datapump.models import Endpoint, Purpose, Record, RecordType
from datapump.operations import deliveries, records
from tests.cis import Cis
from tests.factories import make_biller, make_customer, make_endpoint, make_invoice

SYSTEM = Actor.system("test")


@pytest.fixture(scope="session")
def running_cis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cis]:
    """One process of the simulated CIS for all tests."""
    cis = Cis(tmp_path_factory.mktemp("cis"))
    cis.start()
    yield cis
    cis.stop()


@pytest.fixture
def cis(running_cis: Cis) -> Cis:
    """The simulated CIS, with an empty book and good manners."""
    running_cis.reset()
    return running_cis


def point_at(cis: Cis, biller: Biller, purpose: str = Purpose.PAYMENTS, **fields: Any) -> Endpoint:
    """Make an endpoint of the biller that leads to the simulated CIS."""
    return make_endpoint(
        biller,
        purpose,
        **{"url": cis.url, "username": cis.username, "password": cis.password, "timeout_seconds": 2, **fields},
    )


@pytest.fixture
def biller(transactional_db: None, cis: Cis) -> Biller:
    """A biller that tells the simulated CIS of everything."""
    made = make_biller()
    for purpose in (Purpose.PAYMENTS, Purpose.PAPERLESS, Purpose.AUTOPAY):
        point_at(cis, made, purpose)
    return made


def endpoint_of(biller: Biller, purpose: str = Purpose.PAYMENTS) -> Endpoint:
    """Give a biller's endpoint as it is now."""
    return Endpoint.objects.get(biller=biller, purpose=purpose)


def billed(biller: Biller, **fields: Any) -> Customer:
    """Make a customer with one invoice."""
    customer = make_customer(biller, **fields)
    make_invoice(customer)
    return customer


def account_of(customer: Customer) -> str:
    """Give the account number as the CIS writes it."""
    return f"{customer.base}{customer.sub}"


def pay(customer: Customer, amount: str = "84.10", **facts: Any) -> Record:
    """Write the record of a payment, as settling one does: its id is the payment's."""
    payment = uuid.uuid4()
    told = {
        "amount": amount,
        "currency": "USD",
        "tender": "card",
        "approval_code": f"A{payment.hex[:8]}",
        "channel": 1,
        **facts,
    }
    with transaction.atomic():
        count = records.write_from(
            actor=SYSTEM,
            type=RecordType.PAYMENT,
            source="SELECT %s::uuid AS id, %s::bigint AS biller_id, %s::bigint AS customer_id, %s::jsonb AS facts,"
            " '' AS before, %s AS after",
            params=[payment, customer.biller_id, customer.pk, json.dumps(told), amount],
        )
    assert count == 1
    return Record.objects.get(pk=payment)


def enrol(customer: Customer, type_: RecordType, enrolled: bool) -> Record:
    """Write the record of a change of paperless or AutoPay."""
    before, after = ("Off", "On") if enrolled else ("On", "Off")
    known = set(Record.objects.filter(customer=customer).values_list("pk", flat=True))
    with transaction.atomic():
        count = records.write(
            actor=SYSTEM,
            biller_id=customer.biller_id,
            customer_id=customer.pk,
            type=type_,
            facts={"enrolled": enrolled},
            before=before,
            after=after,
        )
    assert count == 1
    return Record.objects.filter(customer=customer).exclude(pk__in=known).get()


def deliver(seconds: float = 20.0, waits: float = 0.01, **options: Any) -> deliveries.Tally:
    """Deliver what is due, with hours made short."""
    return deliveries.deliver(actor=SYSTEM, seconds=seconds, waits=waits, **options)


def until(done: Callable[[], bool], seconds: float = 30.0) -> None:
    """Deliver again and again until it is done, as beat does."""
    ends = time.monotonic() + seconds
    while True:
        deliver()
        if done():
            return
        assert time.monotonic() < ends, "it was not done in time"
        time.sleep(0.1)


def make_due() -> None:
    """Let the time pass that records wait for, and endpoints."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE datapump_record SET due_at = clock_timestamp() WHERE state IN ('waiting', 'retrying')")
        cursor.execute("UPDATE datapump_endpoint SET closed_until = clock_timestamp() WHERE closed_until IS NOT NULL")
