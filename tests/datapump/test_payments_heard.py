"""Payments as the biller's system hears them: every tender, where they were made, and what was taken elsewhere."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from billing.models import AuditEntry, Biller, Customer, Entry, Invoice, Item, Notice
from datapump.models import Endpoint, Purpose, Record
from payments.models import Payment
from payments.reports.daily_totals import daily_totals
from tests.api.machines import Machine
from tests.cis import Cis
from tests.datapump.conftest import deliver
from tests.factories import make_customer, make_invoice
from tests.payments.test_carryovers import books_hold

pytestmark = pytest.mark.django_db(transaction=True)
MODES = "0(WEB)|2(CSRWEB)|5(API)|6(IVR)|8(POS)|9(LBX)"


@pytest.fixture
def machine(biller: Biller) -> Machine:
    Endpoint.objects.filter(biller=biller, purpose=Purpose.PAYMENTS).update(
        options={"card_modes": MODES, "ach_modes": MODES}
    )
    return Machine(biller)


@pytest.fixture
def customer(biller: Biller) -> Customer:
    return make_customer(biller, number="35909-001", base="35909", sub="001", email="pat@example.com")


def record(machine: Machine, key: str, **given: Any) -> Any:
    asked = {
        "account": "35909-001",
        "amount": "10.00",
        "tender": "cash",
        "channel": "csr",
        "approval_code": key,
        **given,
    }
    return machine.send("POST", "payments/outside/", asked, idempotency_key=key)


@pytest.mark.spec("MSP-6", "MSP-7", "MSP-8", "MSP-9", "PAY-44")
def test_payments_of_every_tender_and_place_are_heard_as_they_were_made(
    machine: Machine, biller: Biller, customer: Customer, cis: Cis
) -> None:
    make_invoice(customer, "30.00")
    newer = make_invoice(customer, "50.00")
    wanted = [
        # tender, channel, amount; and then the array and the mode that the biller's system reads
        ("cash", "csr", "10.00", "cashPayment", "CSRWEB", {}),
        ("cash", "kiosk", "25.50", "cashPayment", "POS", {"kiosk": "BHappy"}),
        ("card", "ivr", "4.50", "creditCardPayment", "IVR", {}),
        ("card", "outbound_call", "10.00", "creditCardPayment", "OBD", {}),
        ("echeck", "lockbox", "30.00", "eCheckPayment", "LBX", {}),
        ("ach", "outbound_call", "7.25", "achPayment", "OBD", {}),
    ]
    for n, (tender, channel, amount, _array, _mode, more) in enumerate(wanted):
        answer = record(machine, f"A-{n}", tender=tender, channel=channel, amount=amount, **more)
        assert (answer.status_code, answer.json()["state"], answer.json()["kiosk"]) == (
            201, "posted", more.get("kiosk", "")
        )  # fmt: skip
    customer.refresh_from_db()
    # 80.00 was due and 87.25 was given: what no bill took is a credit.
    assert customer.balance == Decimal("-7.25")
    assert sorted(Item.objects.values_list("kind", "open")) == [
        ("bill", Decimal("0.00")), ("bill", Decimal("0.00")), ("credit", Decimal("-7.25"))
    ]  # fmt: skip
    assert Invoice.objects.get(pk=newer.pk).items.get().allocated == Decimal("50.00")
    assert Notice.objects.filter(kind="receipt").count() == 6
    books_hold()
    today = biller.business_date(timezone.now())
    totals = {
        (one.route, one.tender): (one.count, one.amount) for one in daily_totals(biller=biller, start=today, end=today)
    }
    assert totals == {
        ("", "cash"): (2, Decimal("35.50")), ("", "card"): (2, Decimal("14.50")),
        ("", "echeck"): (1, Decimal("30.00")), ("", "ach"): (1, Decimal("7.25")),
    }  # fmt: skip

    deliver()
    assert {one.state for one in Record.objects.all()} == {"delivered"}
    heard = {
        row["authorization"]: (row["tender"], row["amount"], row["mode"], row["transaction_id"], row["kiosk"])
        for row in cis.book()["payments"]
    }
    assert heard == {
        f"A-{n}": (array, amount, mode, f"A-{n}", more.get("kiosk", ""))
        for n, (_tender, _channel, amount, array, mode, more) in enumerate(wanted)
    }


def test_an_outside_payment_is_recorded_once(machine: Machine, customer: Customer) -> None:
    invoice = make_invoice(customer, "30.00")
    first = record(machine, "K-1", taken_at="2026-01-05T10:00:00Z")
    assert first.json()["created_at"] == "2026-01-05T10:00:00Z"
    assert first.json()["allocations"] == [
        {"invoice": invoice.pk, "invoice_number": invoice.number, "amount": "10.00", "state": "posted"}
    ]
    assert record(machine, "K-1", taken_at="2026-01-05T10:00:00Z").json() == first.json()
    entry = AuditEntry.objects.get(event="payment.recorded")
    assert (entry.facts["amount"], entry.facts["channel"]) == ("10.00 USD", "Biller portal")
    assert {one.posting.effective_on for one in Entry.objects.filter(account="clearing")} == {datetime.date(2026, 1, 5)}
    before = (Payment.objects.count(), Record.objects.count(), Entry.objects.count(), AuditEntry.objects.count())
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"amount": "0.00"}, "amount"),
        ({"tender": "gold"}, "tender"),
        ({"channel": "autopay"}, "channel"),
        ({"channel": "kiosk"}, "kiosk"),
        ({"kiosk": "BHappy"}, "kiosk"),
        ({"approval_code": " "}, "approval_code"),
        ({"taken_at": (timezone.now() + datetime.timedelta(days=1)).isoformat()}, "taken_at"),
        ({"account": "1-1"}, "account"),
    ]
    for n, (wrong, field) in enumerate(refusals):
        answer = record(machine, f"R-{n}", **wrong)
        assert (answer.status_code // 100, answer.json()["error"]["field"]) == (4, field), wrong
    assert record(machine, "K-1", amount="11.00").json()["error"]["code"] == "idempotency_key_reused"
    assert before == (
        Payment.objects.count(),
        Record.objects.count(),
        Entry.objects.count(),
        AuditEntry.objects.count(),
    )
    books_hold()
