"""Scheduled payments in both portals and over the API: asked, shown once more, done, changed, cancelled."""

from __future__ import annotations

import datetime
import re

import pytest
from django.urls import reverse
from django.utils import timezone

from billing.models import AuditEntry, Biller, Customer
from datapump.models import Configuration, Purpose, Record, RecordType
from payments.models import ScheduledPayment
from tests.factories import (
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_link,
    make_route,
    make_user,
)
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def customer() -> Customer:
    biller = make_biller(allow_partial_payments=True)
    make_endpoint(biller, Purpose.AUTOPAY)
    Configuration.objects.filter(biller=biller).update(scheduled_payments=True)
    customer = make_customer(biller)
    make_invoice(customer, "84.10", number="121940013401", collect_on=None)
    make_instrument(customer, make_route(biller))
    return Customer.objects.get(pk=customer.pk)


def hidden(page: str) -> dict[str, str]:
    """Give the hidden fields of the page's form, as the browser sends them back."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def day(customer: Customer, ahead: int) -> datetime.date:
    return customer.biller.business_date(timezone.now()) + datetime.timedelta(days=ahead)


def told() -> list[tuple[str, str, str]]:
    rows = Record.objects.filter(type=RecordType.SCHEDULED).order_by("created_at", "pk")
    return [(row.facts["status"], row.facts["on"], row.facts["amount"]) for row in rows]


@pytest.mark.spec("MSP-15")
def test_a_payer_and_a_csr_schedule_change_and_cancel(customer: Customer) -> None:
    method = customer.instruments.get()
    first, second = day(customer, 5), day(customer, 9)
    wish = {"pay_on": f"{first:%m/%d/%Y}", "part": "whole", "method": str(method.pk), "request_key": "a" * 32}
    payer = make_user()
    make_link(payer, customer)
    client = client_of(payer)
    ask, listed = reverse("customer-schedule", args=[customer.pk]), reverse("customer-scheduled")
    assert "today that is $84.10" in client.get(ask).content.decode()
    refused = client.post(ask, {**wish, "pay_on": f"{day(customer, 0):%m/%d/%Y}"})
    assert refused.status_code == 422 and "Choose a day in the future" in refused.content.decode()
    review = client.post(ask, wish).content.decode()
    assert "I authorize" in review and ScheduledPayment.objects.count() == 0
    for _twice in range(2):
        done = client.post(ask, {**hidden(review), "agreed": "on"}, follow=True)
        assert done.redirect_chain[-1][0] == listed
    one = ScheduledPayment.objects.get()
    assert (one.made_by, one.whole, one.pay_on) == (payer.get_full_name(), True, first)
    assert "Scheduled" in client.get(reverse("customer-home")).content.decode()
    assert "A payment is scheduled already" in client.get(reverse("customer-pay", args=[customer.pk])).content.decode()
    assert listed in client.get(listed).content.decode()

    csr = make_staff(customer.biller, "csr", name="Sam")
    client = client_of(csr)
    change = reverse("biller-account-schedule", args=[customer.pk])
    review = client.post(
        change, {**wish, "pay_on": f"{second:%m/%d/%Y}", "part": "fixed", "amount": "50", "request_key": "b" * 32}
    ).content.decode()
    assert "Read these terms to the customer" in review and one.pay_on == first
    unasked = client.post(change, {**hidden(review), "review": "on"})
    assert unasked.status_code == 422 and "Read the terms out first" in unasked.content.decode()
    done = client.post(change, {**hidden(review), "review": "on", "how": "phone", "agreed": "on"}, follow=True)
    assert "121940013401" in done.content.decode()
    one.refresh_from_db()
    assert (one.whole, str(one.amount), one.pay_on, one.made_by) == (False, "50.00", second, csr.get_full_name())
    assert one.consent_text.endswith("On the telephone: the terms were read out and the customer agreed.")
    assert "Pays $50.00 on" in client.get(reverse("biller-account", args=[customer.pk])).content.decode()
    cancel = reverse("biller-account-schedule-cancel", args=[customer.pk])
    assert "Cancel the scheduled payment?" in client.get(cancel).content.decode()
    client.post(cancel)
    one.refresh_from_db()
    assert (one.state, one.ended_by) == ("cancelled", csr.get_full_name())
    assert told() == [
        ("scheduled", str(first), "84.10"), ("changed", str(second), "50.00"), ("cancelled", str(second), "50.00"),
    ]  # fmt: skip
    assert list(AuditEntry.objects.filter(event__startswith="scheduled").order_by("pk").values_list("event", flat=True)) == [
        "scheduled.made", "scheduled.changed", "scheduled.cancelled",
    ]  # fmt: skip


def test_a_biller_that_takes_none_offers_none(customer: Customer) -> None:
    Biller.objects.update(allow_scheduled_payments=False)
    payer = make_user()
    make_link(payer, customer)
    client = client_of(payer)
    ask = reverse("customer-schedule", args=[customer.pk])
    for page in ("customer-home", "customer-scheduled"):
        assert ask not in client.get(reverse(page)).content.decode()
    assert client.get(ask)["location"] == reverse("customer-scheduled")
