"""Fees over the API: read and chosen exactly, taken back once, and by nobody else."""

from __future__ import annotations

import datetime

import pytest

from billing.models import AuditEntry, Biller
from datapump.models import Record
from payments.models import Fee
from tests.api.machines import Machine
from tests.api.test_payments import error
from tests.api.test_reading import NOT_FOUND
from tests.factories import NOON, make_biller, make_customer, make_route
from tests.invoice_files import checksums
from tests.payments.test_carryovers import balance, books_hold
from tests.payments.test_failure_fees import add_rule
from tests.payments.test_fee_pages import failed
from tests.payments.test_late_bills import act, late
from tests.payments.test_late_bills import add_rule as add_late_rule

pytestmark = pytest.mark.django_db


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    make_route(biller)
    add_rule(biller, words="Declined payment fee", words_es="Cargo por pago rechazado")
    return biller


@pytest.mark.spec("PAY-35", "PAY-36")
def test_a_machine_reads_fees_and_chooses_among_them(biller: Biller) -> None:
    customer = failed(biller)
    other = make_customer(biller, number="2-1", name="Nora Late")
    add_late_rule(biller)
    item = late(other, "50.00")
    assert item.invoice is not None
    act(biller)
    failed(make_biller_with_fees())
    for_bill = Fee.objects.get(customer=other)
    for_payment = Fee.objects.get(customer=customer)
    later = NOON + datetime.timedelta(hours=1)
    Fee.objects.filter(pk=for_bill.pk).update(charged_at=later)
    machine = Machine(biller)
    declined = {
        "id": str(for_payment.pk),
        "customer": {"id": customer.pk, "number": customer.number, "name": customer.name},
        "words": "Declined payment fee", "words_es": "Cargo por pago rechazado",
        "reason": "The bank declined the payment.", "amount": "15.00", "open": "15.00",
        "currency": "USD", "payment": str(for_payment.payment_id), "invoice": None,
        "charged_at": "2026-11-22T17:00:00Z", "waiver": None,
    }  # fmt: skip
    was_late = {
        "id": str(for_bill.pk), "customer": {"id": other.pk, "number": "2-1", "name": "Nora Late"},
        "words": "Late fee", "words_es": "",
        "reason": f"$50.00 of bill {item.invoice.number}, due on Nov 12, 2026, is not paid", "amount": "7.50",
        "open": "7.50", "currency": "USD", "payment": None, "invoice": item.invoice_id,
        "charged_at": "2026-11-22T18:00:00Z", "waiver": None,
    }  # fmt: skip
    assert machine.get("fees/").json() == {"results": [was_late, declined], "next": None}
    assert machine.get(f"fees/{for_payment.pk}/").json() == declined

    def ids(**query: object) -> list[str]:
        return [row["id"] for row in machine.get("fees/", **query).json()["results"]]

    assert machine.send("POST", f"fees/{for_bill.pk}/waive/", {"reason": "Our mistake"}).status_code == 200
    assert ids(account="2-1") == [str(for_bill.pk)]
    assert ids(account="9-9") == []
    assert ids(waived="true") == [str(for_bill.pk)]
    assert ids(waived="false") == [str(for_payment.pk)]
    assert ids(created_from=later.isoformat()) == [str(for_bill.pk)]
    assert ids(created_to=later.isoformat()) == [str(for_payment.pk)]
    assert error(machine.get("fees/", waived="perhaps")) == (422, "invalid", "waived")


def make_biller_with_fees() -> Biller:
    biller = make_biller()
    make_route(biller)
    add_rule(biller)
    return biller


@pytest.mark.spec("PAY-36")
def test_a_machine_takes_a_fee_back_once(biller: Biller) -> None:
    customer = failed(biller)
    fee = Fee.objects.get()
    machine, path = Machine(biller), f"fees/{fee.pk}/waive/"
    theirs = Machine(make_biller())
    may_only_take = Machine(biller, "IVR", scopes=["read", "payments"])
    assert balance(customer) == "99.10"
    before = checksums("billing_apitoken")
    for wanted, answer in (
        ({}, (422, "required", "reason")),
        ({"reason": " "}, (422, "blank", "reason")),
        ({"reason": "x" * 201}, (422, "max_length", "reason")),
        ({"reason": "Our mistake", "amount": "5.00"}, (422, "unknown", "amount")),
    ):
        assert error(machine.send("POST", path, wanted)) == answer
    assert error(may_only_take.send("POST", path, {"reason": "Our mistake"})) == (403, "scope_missing", None)
    for refused in (
        theirs.get(f"fees/{fee.pk}/"),
        theirs.send("POST", path, {"reason": "Our mistake"}),
        machine.send("POST", "fees/00000000-0000-7000-8000-000000000000/waive/", {"reason": "Our mistake"}),
    ):
        assert (refused.status_code, refused.json()) == (404, NOT_FOUND)
    assert theirs.get("fees/").json() == {"results": [], "next": None}
    assert checksums("billing_apitoken") == before

    taken_back = machine.send("POST", path, {"reason": " Our  mistake "})
    assert (taken_back.status_code, taken_back.json()) == (200, machine.get(f"fees/{fee.pk}/").json())
    told = taken_back.json()
    assert told["waiver"].pop("waived_at") is not None
    waiver = Fee.objects.get().waiver
    assert (told["amount"], told["open"], told["waiver"]) == (
        "15.00",
        "0.00",
        {"id": str(waiver.pk), "set_off": "15.00", "reason": "Our mistake", "made_by": "CIS"},
    )
    assert balance(customer) == "84.10"
    entry = AuditEntry.objects.get(event="fee.waived")
    assert (entry.actor, entry.customer_id) == ("CIS", customer.pk)
    assert Record.objects.get(pk=waiver.pk).facts["status"] == "waived"
    before = checksums("billing_apitoken")
    assert error(machine.send("POST", path, {"reason": "Again"})) == (422, "waiver_refused", None)
    assert checksums("billing_apitoken") == before
    books_hold()
