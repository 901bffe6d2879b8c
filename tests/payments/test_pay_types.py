"""Pay types: the reserved numbers, an administrator's own with their rules, and accounts that no run collects from."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.actors import Actor
from billing.models import AuditEntry, Customer, Entry, PayType
from datapump.models import Balance
from payments.books import findings
from payments.models import PAY_TYPE_OF, AutoPayEnrolment, Channel, Payment, Tender
from payments.operations import collections, enrolments, outside_payments, scheduled_collections, scheduled_payments
from payments.operations.outside_payments import OutsidePaymentRefused
from payments.reports.forecasts import autopay_forecast
from tests.admin.worlds import make_administrator
from tests.api.machines import Machine
from tests.factories import make_autopay, make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.payments.test_collections import due_bill, today
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")
RESERVED = {
    0: "account", 10000: "account", 10001: "account", 10002: "payment", 10003: "payment", 10005: "payment",
    10006: "payment", 10007: "account", 10008: "account", 10009: "account", 10010: "account", 10011: "payment",
    10012: "payment", 10013: "payment", 10014: "payment", 10015: "payment", 10016: "payment", 10017: "payment",
    10018: "payment",
}  # fmt: skip
GIFT = {
    "name": "Gift card of the shop", "use": "payment", "tender": "cash", "reference_pattern": "[A-Z]{2}[0-9]{6}",
    "least": "5.00", "most": "200.00", "channels": [Channel.CSR.value, Channel.KIOSK.value], "active": "on",
}  # fmt: skip


def add_pay_type(client: Client, **given: Any) -> PayType:
    assert client.post(reverse("admin:billing_paytype_add"), {**GIFT, **given}).status_code == 302
    return PayType.objects.get(pk__gt=100_000)


def record(customer: Customer, **given: Any) -> Payment:
    return outside_payments.record(
        **{
            "customer": customer,
            "amount": Decimal("10.00"),
            "channel": Channel.CSR,
            "approval_code": "AB123456",
            "actor": SYSTEM,
            "request_key": f"key-{Payment.objects.count()}",
            **given,
        }
    )


def listed(client: Client, pay_type: int) -> str:
    answer: Any = client.get(reverse("biller-payments"), {"format": "csv", "pay_type": str(pay_type)})
    return str(answer.getvalue().decode())


def assert_books_hold() -> None:
    with transaction.atomic():
        assert [(f.check.number, f.check.says, f.examples) for f in findings() if f.wrong] == []


@pytest.mark.spec("PAY-38")
def test_the_reserved_ones_are_there_and_each_tender_has_one() -> None:
    assert dict(PayType.objects.values_list("pk", "use")) == RESERVED
    assert PayType.objects.get(pk=10018).name == "SEPA"
    for tender in Tender:
        own = PayType.objects.get(pk=PAY_TYPE_OF[tender])
        assert (own.tender, own.use) == (tender, "payment")
    # What an account is of, no payment is.
    with pytest.raises(IntegrityError), transaction.atomic():
        PayType.objects.filter(pk=10007).update(tender="cash")


@pytest.mark.spec("PAY-38")
def test_an_administrator_makes_one_above_the_reserved_numbers_and_a_reserved_one_stays_what_it_is() -> None:
    client = client_of(make_administrator(email="robin@example.com"))
    made = add_pay_type(client)
    assert (made.pk, made.tender, made.channels) == (100_001, "cash", [Channel.CSR, Channel.KIOSK])
    entry = AuditEntry.objects.get(event="configuration.added")
    assert entry.subject == "paytype:100001"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"reference_pattern": "["}, "no regular expression"),
        ({"tender": ""}, "Choose as what"),
        ({"least": "300.00"}, "not below the least"),
        ({"use": "account"}, "An account is of it"),
        ({"name": "Cash"}, "already exists"),
    ]
    for change, words in wrong:
        answer = client.post(reverse("admin:billing_paytype_add"), {**GIFT, "name": "Another", **change})
        assert (answer.status_code, words in answer.content.decode()) == (200, True), change
    assert PayType.objects.count() == len(RESERVED) + 1
    # A reserved one keeps name, use and tender; its rules may be told.
    address = reverse("admin:billing_paytype_change", args=[10011])
    given = {"name": "Coins", "use": "account", "tender": "card", "reference_pattern": "[0-9]+", "active": "on"}
    assert client.post(address, given).status_code == 302
    cash = PayType.objects.get(pk=10011)
    assert (cash.name, cash.use, cash.tender, cash.reference_pattern) == ("Cash", "payment", "cash", "[0-9]+")
    assert client.get(reverse("admin:billing_paytype_delete", args=[made.pk])).status_code == 403


@pytest.mark.spec("PAY-38", "PAY-44")
def test_a_payment_taken_elsewhere_names_one_and_keeps_to_its_rules() -> None:
    client = client_of(make_administrator(email="robin@example.com"))
    gift = add_pay_type(client)
    customer = make_customer(make_biller(), number="35909-001")
    paid = record(customer, pay_type=gift)
    assert (paid.tender, paid.other_type_id, paid.pay_type_id, paid.pay_type) == ("cash", gift.pk, gift.pk, gift.name)
    # One whose tender says it all needs no column.
    plain = record(customer, pay_type=PayType.objects.get(pk=10003), approval_code="1")
    assert (plain.tender, plain.other_type_id, plain.pay_type_id) == ("card", None, 10003)
    wire = record(customer, pay_type=PayType.objects.get(pk=10013), approval_code="W-1")
    assert (wire.tender, wire.pay_type_id) == ("ach", 10013)
    assert record(customer, tender=Tender.CASH).pay_type_id == 10011
    before = (Payment.objects.count(), Entry.objects.count(), AuditEntry.objects.count())
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"approval_code": "AB12345"}, "approval_code"),
        ({"approval_code": "AB123456 "}, "approval_code"),
        ({"amount": Decimal("4.99")}, "amount"),
        ({"amount": Decimal("200.01")}, "amount"),
        ({"channel": Channel.LOCKBOX}, "channel"),
        ({"pay_type": PayType.objects.get(pk=10016)}, "pay_type"),
        ({"pay_type": PayType.objects.get(pk=10001)}, "pay_type"),
        ({"pay_type": None}, "tender"),
    ]
    for change, field in refusals:
        with pytest.raises(OutsidePaymentRefused) as refused:
            record(customer, **{"pay_type": gift, **change})
        assert refused.value.field == field, change
    PayType.objects.filter(pk=gift.pk).update(active=False)
    with pytest.raises(OutsidePaymentRefused):
        record(customer, pay_type=PayType.objects.get(pk=gift.pk))
    assert before == (Payment.objects.count(), Entry.objects.count(), AuditEntry.objects.count())
    assert_books_hold()
    # The list narrows to it, and the file names its number.
    staff = client_of(make_staff(customer.biller))
    lines = listed(staff, gift.pk)
    assert (lines.count(str(gift.pk)), "10013" in lines) == (1, False)
    lines = listed(staff, 10011)
    assert ("10011 Cash" in lines, str(gift.pk) in lines) == (True, False)
    assert f"{gift.name} ({gift.pk})" in staff.get(reverse("biller-payment", args=[paid.pk])).content.decode()


@pytest.mark.spec("PAY-38")
def test_machines_name_and_read_the_number() -> None:
    biller = make_biller()
    make_customer(biller, number="35909-001")
    machine = Machine(biller)
    asked = {"account": "35909-001", "amount": "10.00", "channel": "lockbox", "approval_code": "W-1"}
    answer = machine.send("POST", "payments/outside/", {**asked, "pay_type": 10014}, idempotency_key="1")
    assert (answer.status_code, answer.json()["tender"], answer.json()["pay_type"]) == (201, "ach", 10014)
    wrong: list[dict[str, Any]] = [{}, {"pay_type": 10014, "tender": "ach"}, {"pay_type": 10004}]
    for n, change in enumerate(wrong):
        refused = machine.send("POST", "payments/outside/", {**asked, **change}, idempotency_key=f"r{n}")
        assert (refused.status_code // 100, refused.json()["error"]["field"]) == (4, "pay_type")
    assert Payment.objects.count() == 1
    found = machine.get("payments/", pay_type=10014).json()["results"]
    assert [one["pay_type"] for one in found] == [10014]
    assert machine.get("payments/", pay_type=10005).json()["results"] == []
    listed = machine.get("pay-types/").json()["results"]
    assert [one["id"] for one in listed] == sorted(RESERVED)
    assert machine.get("customers/").json()["results"][0]["pay_type"] is None


@pytest.mark.spec("PAY-38", "PAY-6")
@pytest.mark.parametrize("says", ["0", "10000", "10007", "the biller's system"])
def test_no_run_collects_from_an_account_that_pays_otherwise(processor: Processor, says: str) -> None:
    biller = make_biller(time_zone="UTC")
    make_route(biller, processor.url)
    spared, taken = due_bill(biller, processor), due_bill(biller, processor)
    if says.isdigit():
        enrolments.choose_collection(
            customer=spared.customer, rule=None, days=0, pay_type=PayType.objects.get(pk=says), actor=SYSTEM
        )
    else:
        Balance.objects.create(customer=spared.customer, biller=biller, prepaid=True, answered_at=timezone.now())
    day = today()
    (forecast,) = autopay_forecast(biller=biller, start=day, end=day)
    assert forecast.count == 1
    for options in (collections.Options.usual(day), collections.Options.usual(day, rebill=True)):
        run = collections.plan(biller=biller, options=options, actor=SYSTEM, now=timezone.now())
        list(collections.work(run=run, actor=SYSTEM))
    assert [one.customer_id for one in Payment.objects.all()] == [taken.customer_id]
    assert AutoPayEnrolment.objects.filter(ended_at=None).count() == 2
    assert_books_hold()


@pytest.mark.spec("PAY-38")
def test_a_csr_says_how_an_account_pays_and_it_can_be_neither_enrolled_nor_scheduled(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    route = make_route(biller, processor.url)
    customer = make_customer(biller)
    card = make_instrument(customer, route, processor.token(route.merchant))
    make_invoice(customer, "84.10", due_on=today() + datetime.timedelta(days=9))
    scheduled = scheduled_payments.schedule(
        customer=customer, instrument=card, pay_on=today() + datetime.timedelta(days=2), amount=None, actor=SYSTEM,
        request_key="scheduled",
    )  # fmt: skip
    client = client_of(make_staff(biller))
    page = reverse("biller-account-collection", args=[customer.pk])
    assert client.post(page, {"rule": "", "pay_type": "10003"}).status_code == 422
    assert client.post(page, {"rule": "due", "pay_type": "10007"}).status_code == 302
    customer.refresh_from_db()
    assert (customer.pay_type_id, customer.collect_rule) == (10007, "due")
    shown = client.get(reverse("biller-account-enrolments", args=[customer.pk])).content.decode()
    assert "it pays as Subordinate (another account pays) (10007)" in shown
    with pytest.raises(enrolments.NotCollected):
        enrolments.enrol_autopay(customer=customer, instrument=card, agreed=True, actor=SYSTEM)
    assert AutoPayEnrolment.objects.count() == 0
    scheduled.pay_on = today()
    scheduled.save(update_fields=["pay_on"])
    run = scheduled_collections.plan(
        biller=biller, options=scheduled_collections.Options.usual(today()), actor=SYSTEM, now=timezone.now()
    )
    list(scheduled_collections.work(run=run, actor=SYSTEM))
    scheduled.refresh_from_db()
    assert (scheduled.state, Payment.objects.count()) == ("failed", 0)
    # With no pay type it is as it was before.
    assert client.post(page, {"rule": "due"}).status_code == 302
    make_autopay(customer, card)
    assert enrolments.first_collection(customer=Customer.objects.get(pk=customer.pk), now=timezone.now()) is not None
