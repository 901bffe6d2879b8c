"""Two billers, each with a machine: whatever one has, the other one must never see."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from billing.models import Biller, Customer, Invoice
from payments.models import Instrument, Route
from sms.models import Line
from tests.api.machines import Machine
from tests.factories import make_biller, make_customer, make_endpoint, make_instrument, make_invoice, make_route
from tests.processor import Processor


@dataclass
class Town:
    """A biller with one customer who owes a bill and has a card on file, and the machine that speaks for it."""

    biller: Biller
    customer: Customer
    invoice: Invoice
    route: Route
    instrument: Instrument
    machine: Machine


def make_town(processor: Processor, number: str = "35909-001") -> Town:
    """Make one; two billers may well have accounts of the same number."""
    biller = make_biller()
    make_endpoint(biller)
    customer = make_customer(biller, number=number, name="Pat Payer")
    invoice = make_invoice(customer, "84.10")
    route = make_route(biller, processor.url)
    instrument = make_instrument(customer, route, processor.token(route.merchant))
    Line.objects.create(biller=biller, number="+15055550100", driver="simulator", secret="unused")
    return Town(biller, customer, invoice, route, instrument, Machine(biller))


@pytest.fixture
def town(processor: Processor) -> Town:
    return make_town(processor)


@pytest.fixture
def other_town(processor: Processor) -> Town:
    return make_town(processor)
