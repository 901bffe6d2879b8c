"""What tests of delivery share: a simulated CIS that really listens, and a biller whose endpoints point at it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
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
    """Write the record of a payment, as settling one does."""
    payment = uuid.uuid4()
    told = {
        "amount": amount, "currency": "USD", "tender": "card", "approval_code": f"A{payment.hex[:8]}", "channel": 1,
        "payment": str(payment), **facts,
    }  # fmt: skip
    return _written(customer, RecordType.PAYMENT, told, "", amount)


def enrol(customer: Customer, type_: RecordType, enrolled: bool) -> Record:
    """Write the record of a change of paperless or AutoPay."""
    before, after = ("Off", "On") if enrolled else ("On", "Off")
    return _written(customer, type_, {"enrolled": enrolled}, before, after)


def _written(customer: Customer, type_: RecordType, facts: dict[str, Any], before: str, after: str) -> Record:
    known = set(Record.objects.filter(customer=customer).values_list("pk", flat=True))
    with transaction.atomic():
        count = records.write(
            actor=SYSTEM, biller_id=customer.biller_id, customer_id=customer.pk, type=type_, facts=facts, before=before,
            after=after,
        )  # fmt: skip
    assert count == 1
    return Record.objects.filter(customer=customer).exclude(pk__in=known).get()


def deliver(seconds: float = 20.0, waits: float = 0.01, **options: Any) -> deliveries.Tally:
    """Deliver what is due, with hours made short."""
    return deliveries.deliver(actor=SYSTEM, seconds=seconds, waits=waits, **options)


def until(done: Any, runs: int = 40) -> None:
    """Deliver again and again until it is done, as beat does."""
    for _ in range(runs):
        deliver()
        if done():
            return
    raise AssertionError("it was not done in time")


def make_due() -> None:
    """Let the time pass that records wait for, and endpoints."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE datapump_record SET due_at = clock_timestamp() WHERE state IN ('waiting', 'retrying')")
        cursor.execute("UPDATE datapump_endpoint SET closed_until = clock_timestamp() WHERE closed_until IS NOT NULL")
