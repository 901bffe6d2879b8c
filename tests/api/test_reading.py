"""Reading over the API: exact answers, pages that neither repeat nor miss a row, other billers' things not there."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing.models import Biller, Customer, Invoice, InvoiceFile, InvoiceFileError, Notice, NoticeDelivery
from billing.money import ZERO
from datapump.models import ChangeLog, Delivery, Envelope, Record
from payments.models import FeeRule, Payment
from payments.operations import fees
from tests.api.machines import OPERATOR, Machine
from tests.factories import (
    TODAY,
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_route,
)

pytestmark = pytest.mark.django_db

NOT_FOUND = {"error": {"code": "not_found", "message": "There is nothing here that this key may see.", "field": None}}
LISTS = [
    "customers/",
    "invoices/",
    "invoice-files/",
    "messages/",
    "payments/",
    "fees/",
    "routes/",
    "instruments/",
    "datapump-records/",
]


def make_file(biller: Biller, **fields: object) -> InvoiceFile:
    values = {"name": f"{biller.number}_11222026.bif", "sha256": "a" * 64, "size": 812, "source": "drop", **fields}
    return InvoiceFile.objects.create(biller=biller, **values)


def make_message(customer: Customer, key: str = "receipt:1") -> NoticeDelivery:
    notice = Notice.objects.create(biller=customer.biller, customer=customer, kind="receipt", key=key)
    return NoticeDelivery.objects.create(
        biller=customer.biller,
        customer=customer,
        notice=notice,
        address=customer.email,
        subject="Receipt",
        text="Paid.",
    )


def make_payment(customer: Customer, **fields: object) -> Payment:
    values = {
        "tender": "card", "amount": Decimal("12.00"), "currency": "USD", "state": "failed", "channel": 3,
        "requestor": 4, "made_by": "collect", "failure": "The card was declined.", **fields,
    }  # fmt: skip
    return Payment.objects.create(biller=customer.biller, customer=customer, **values)


def make_fee(customer: Customer) -> None:
    rule = FeeRule.objects.create(biller=customer.biller, words="A fee", occasion="both", amount=Decimal("2.00"))
    payment = make_payment(customer)
    wanted = fees.Wanted(customer.pk, rule.amount or ZERO, rule.words, "", "Declined.", rule.pk, str(payment.pk))
    fees.charge(biller=customer.biller, wanted=[wanted], key=f"fees:{payment.pk}", actor=OPERATOR, now=timezone.now())


def make_record(customer: Customer, **fields: object) -> Record:
    values = {"type": 2, "requestor": 1, "made_by": "Ann CSR", "before": "Off", "after": "On", **fields}
    return Record.objects.create(biller=customer.biller, customer=customer, **values)


def test_customer_reads_as_it_is() -> None:
    biller = make_biller(currency="USD")
    customer = make_customer(
        biller, number="35909-001", display_number="35909 001", name="Lucía Hernández", address1="12 Birch Street",
        address2="Apt 3", city="Maple Falls", state="CO", zip="80202", phone="+15555550123", email="lucia@example.com",
        language="es", service_location="LOC1", paperless=True, blocks_card=True,
    )  # fmt: skip
    make_invoice(customer, "84.10")
    make_autopay(customer, make_instrument(customer, make_route(biller)))
    customer.refresh_from_db()
    wanted = {
        "id": customer.pk, "number": "35909-001", "display_number": "35909 001", "name": "Lucía Hernández",
        "address1": "12 Birch Street", "address2": "Apt 3", "city": "Maple Falls", "state": "CO", "zip": "80202",
        "phone": "+15555550123", "email": "lucia@example.com", "language": "es", "service_location": "LOC1",
        "status": "active", "segment": "", "pay_type": None,
        "card_blocked": True, "bank_blocked": False, "paperless": True, "autopay": True,
        "balance": "84.10", "currency": "USD", "created_at": customer.created_at.isoformat().replace("+00:00", "Z"),
    }  # fmt: skip
    machine = Machine(biller)
    assert machine.get(f"customers/{customer.pk}/").json() == wanted
    assert machine.get("customers/").json() == {"results": [wanted], "next": None}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"number": "100-1"}, ["Ann Adams"]),
        ({"display_number": "D-200"}, ["Bob van Dyke"]),
        ({"name": "bob V"}, ["Bob van Dyke"]),
        ({"name": "an"}, ["Ann Adams"]),
        ({"surname": "DYKE"}, ["Bob van Dyke"]),
        ({"email": "ann@example.com"}, ["Ann Adams"]),
        ({"phone": "(555) 555-0123"}, ["Bob van Dyke"]),
        ({"number": "100-1", "name": "bob"}, []),
        ({"name": "%"}, []),
        ({}, ["Ann Adams", "Bob van Dyke"]),
    ],
)
def test_customers_are_found(query: dict[str, str], found: list[str]) -> None:
    biller = make_biller()
    make_customer(biller, number="100-1", name="Ann Adams", email="ann@example.com")
    make_customer(biller, number="200-1", display_number="D-200", name="Bob van Dyke", phone="+15555550123")
    make_customer(make_biller(), number="100-1", name="Ann Adams", email="ann@example.com")
    names = [one["name"] for one in Machine(biller).get("customers/", **query).json()["results"]]
    assert names == found


def test_invoice_reads_as_it_is_with_what_became_of_it() -> None:
    biller = make_biller()
    customer = make_customer(biller, number="35909-001", name="Pat Payer")
    invoice = make_invoice(customer, "84.10", number="INV1", minimum_due=Decimal("10.00"), kind="Water")
    item = invoice.items.get()
    item.allocated, item.reserved, item.transferred = Decimal("4.10"), Decimal("50.00"), Decimal("10.00")
    item.save(update_fields=["allocated", "reserved", "transferred"])
    invoice.refresh_from_db()
    wanted = {
        "id": invoice.pk, "number": "INV1", "customer": {"id": customer.pk, "number": "35909-001", "name": "Pat Payer"},
        "kind": "Water", "issued_on": str(TODAY - datetime.timedelta(days=20)), "due_on": str(TODAY), "amount": "84.10",
        "past_due": "0.00", "minimum_due": "10.00", "open": "70.00", "in_flight": "50.00", "paid": "4.10",
        "carried": "10.00", "currency": "USD", "file": None, "withdrawn": False,
        "pdf": f"/api/v1/invoices/{invoice.pk}/pdf/",
        "created_at": invoice.created_at.isoformat().replace("+00:00", "Z"),
    }  # fmt: skip
    machine = Machine(biller)
    assert machine.get(f"invoices/{invoice.pk}/").json() == wanted
    assert machine.get("invoices/").json() == {"results": [wanted], "next": None}


def test_invoices_are_chosen() -> None:
    biller = make_biller()
    one, two = make_customer(biller, number="1-1"), make_customer(biller, number="2-1")
    file = make_file(biller)
    first = make_invoice(one, number="A", file=file)
    second = make_invoice(two, number="A")
    gone = make_invoice(two, number="B", withdrawn=True)
    machine = Machine(biller)

    def ids(**query: object) -> list[int]:
        return [row["id"] for row in machine.get("invoices/", **query).json()["results"]]

    assert ids() == [second.pk, first.pk]
    assert ids(account="1-1") == [first.pk]
    assert ids(account="9-9") == []
    assert ids(number="A") == [second.pk, first.pk]
    assert ids(number="A", account="2-1") == [second.pk]
    assert ids(file=file.pk) == [first.pk]
    assert ids(withdrawn="true") == [gone.pk]
    assert ids(created_from=second.created_at.isoformat()) == [second.pk]
    assert ids(created_to=second.created_at.isoformat()) == [first.pk]
    assert ids(created_from="2026-01-01", created_to="2026-01-02") == []


def test_payment_message_file_and_update_read_as_they_are() -> None:
    biller = make_biller()
    endpoint = make_endpoint(biller, "paperless")
    customer = make_customer(biller, number="35909-001", name="Pat Payer", email="pat@example.com")
    whose = {"id": customer.pk, "number": "35909-001", "name": "Pat Payer"}
    machine = Machine(biller)

    payment = make_payment(customer)
    read = machine.get(f"payments/{payment.pk}/").json()
    assert read.pop("created_at") is not None
    assert read == {
        "id": str(payment.pk), "confirmation": payment.confirmation, "customer": whose, "state": "failed",
        "amount": "12.00", "fee": "0.00", "total": "12.00", "currency": "USD", "tender": "card", "pay_type": 10003,
        "unconfirmed": None, "instrument": None,
        "channel": "autopay", "kiosk": "", "made_by": "collect", "settled_at": None, "approval_code": "",
        "failure": "The card was declined.", "group": None, "allocations": [], "reversals": [], "authorization": None,
    }  # fmt: skip

    message = make_message(customer)
    read = machine.get(f"messages/{message.pk}/").json()
    assert read.pop("created_at") is not None
    assert read == {
        "id": message.pk, "customer": whose, "kind": "receipt", "channel": "email", "address": "pat@example.com",
        "state": "waiting", "sent_at": None, "failure": "", "subject": "Receipt", "text": "Paid.",
    }  # fmt: skip
    assert "text" not in machine.get("messages/").json()["results"][0]

    file = make_file(
        biller, state="refused", refusal="2 errors.", stated_count=2, stated_total=Decimal("99.50"), error_count=2
    )
    for line, field in ((7, "DueDate"), (2, "BalanceDue")):
        InvoiceFileError.objects.create(biller=biller, file=file, line=line, field=field, reason="is missing", value="")
    read = machine.get(f"invoice-files/{file.pk}/").json()
    assert read.pop("received_at") is not None
    assert read == {
        "id": file.pk, "name": f"{biller.number}_11222026.bif", "sha256": "a" * 64, "size": 812, "source": "drop",
        "state": "refused", "refusal": "2 errors.", "finished_at": None, "withdrawn_at": None, "stated_count": 2,
        "stated_total": "99.50", "found_count": 0, "found_total": "0.00", "loaded_count": 0, "loaded_total": "0.00",
        "repeated_count": 0, "error_count": 2, "left_out_count": 0, "bytes_read": 0,
    }  # fmt: skip
    assert machine.get(f"invoice-files/{file.pk}/errors/").json() == {
        "results": [
            {"line": 2, "field": "BalanceDue", "reason": "is missing", "value": "", "left_out": False},
            {"line": 7, "field": "DueDate", "reason": "is missing", "value": "", "left_out": False},
        ],
        "next": None,
    }

    record = make_record(customer, endpoint=endpoint, state="failed", failure="Refused.", attempts=1)
    at = datetime.datetime(2026, 11, 22, 17, 0, tzinfo=datetime.UTC)
    envelope = Envelope.objects.create(
        biller=biller, endpoint=endpoint, operation="ModifyCBDataForAccount", at=at, milliseconds=31, status=200,
        request="<out/>", answer="<in/>", failures=1,
    )  # fmt: skip
    for outcome, its in (("not_sent", None), ("refused", envelope)):
        Delivery.objects.create(
            biller=biller, record=record, envelope=its, at=at, milliseconds=31, status=200 if its else None,
            outcome=outcome, words="Refused.",
        )  # fmt: skip
    ChangeLog.objects.create(
        biller=biller, customer=customer, record=record, field="phone", old="+15555550123", new="On", requestor=1,
        made_by="Ann CSR", at=at,
    )  # fmt: skip
    read = machine.get(f"datapump-records/{record.pk}/").json()
    assert (read.pop("created_at"), read.pop("due_at")) != (None, None)
    assert read == {
        "id": str(record.pk), "type": "paperless", "customer": whose, "state": "failed", "made_by": "Ann CSR",
        "before": "Off", "after": "On", "delivered_at": None, "attempts": 1, "failure": "Refused.", "held_by": None,
        "change_logs": [
            {"datapump_id": str(record.pk), "field": "phone", "old": "(•••) •••-0123", "new": "On", "requestor": "csr",
             "made_by": "Ann CSR", "at": "2026-11-22T17:00:00Z"}
        ],
        "tries": [
            {"at": "2026-11-22T17:00:00Z", "milliseconds": 31, "status": None, "outcome": "not_sent",
             "words": "Refused.", "request": None, "answer": None},
            {"at": "2026-11-22T17:00:00Z", "milliseconds": 31, "status": 200, "outcome": "refused", "words": "Refused.",
             "request": "<out/>", "answer": "<in/>"},
        ],
    }  # fmt: skip


def test_updates_and_payments_are_chosen() -> None:
    biller = make_biller()
    one, two = make_customer(biller, number="1-1"), make_customer(biller, number="2-1")
    paper = make_record(one, state="delivered")
    auto = make_record(two, type=3, state="failed")
    failed, posting = make_payment(one), make_payment(two, state="processing")
    machine = Machine(biller)

    def ids(path: str, **query: object) -> list[str]:
        return [row["id"] for row in machine.get(path, **query).json()["results"]]

    assert ids("datapump-records/") == [str(auto.pk), str(paper.pk)]
    assert ids("datapump-records/", type="paperless") == [str(paper.pk)]
    assert ids("datapump-records/", state="failed") == [str(auto.pk)]
    assert ids("datapump-records/", account="1-1") == [str(paper.pk)]
    assert ids("datapump-records/", account="9-9") == []
    assert ids("datapump-records/", created_from="2100-01-01T00:00:00Z") == []
    assert ids("payments/") == [str(posting.pk), str(failed.pk)]
    assert ids("payments/", state="failed") == [str(failed.pk)]
    assert ids("payments/", account="2-1") == [str(posting.pk)]


# ---- Pages ----------------------------------------------------------------------------------------------------------


def make_seven(path: str, biller: Biller) -> None:
    """Make seven rows of a list."""
    route = make_route(biller) if path != "routes/" else None
    for n in range(7):
        if route is None:
            make_route(biller)
            continue
        customer = make_customer(biller, name="Same Name")
        makers: dict[str, Callable[[], object]] = {
            "customers/": lambda: None,
            "invoices/": lambda c=customer: make_invoice(c),  # type: ignore[misc]  # a default binds the loop's own
            "invoice-files/": lambda n=n: make_file(biller, sha256=str(n) * 64),  # type: ignore[misc]
            "messages/": lambda c=customer, n=n: make_message(c, f"receipt:{n}"),  # type: ignore[misc]
            "payments/": lambda c=customer: make_payment(c),  # type: ignore[misc]
            "fees/": lambda c=customer: make_fee(c),  # type: ignore[misc]
            "instruments/": lambda c=customer: make_instrument(c, route),  # type: ignore[misc]
            "datapump-records/": lambda c=customer: make_record(c),  # type: ignore[misc]
        }
        makers[path]()


@pytest.mark.parametrize("path", LISTS)
def test_pages_show_every_row_once(path: str) -> None:
    biller = make_biller()
    make_seven(path, biller)
    make_seven(path, make_biller())
    machine = Machine(biller)
    whole = [row["id"] for row in machine.get(path).json()["results"]]
    assert len(set(whole)) == 7
    seen, cursor, pages = [], None, 0
    while pages < 10:
        answer = machine.get(path, limit=3, **({"cursor": cursor} if cursor else {})).json()
        seen += [row["id"] for row in answer["results"]]
        cursor, pages = answer["next"], pages + 1
        if cursor is None:
            break
    assert (seen, pages) == (whole, 3)


@pytest.mark.parametrize("path", LISTS)
def test_a_longer_page_takes_no_more_queries(path: str) -> None:
    biller = make_biller()
    make_seven(path, biller)
    machine = Machine(biller)
    machine.get(path)  # keeps the day of use
    counts = []
    for limit in (1, 7):
        with CaptureQueriesContext(connection) as queries:
            assert len(machine.get(path, limit=limit).json()["results"]) == limit
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 6


NONSENSE = [
    ({"limit": "13611797690324404224"}, "limit", "max_value"),
    ({"limit": "0"}, "limit", "min_value"),
    ({"limit": "-1"}, "limit", "min_value"),
    ({"limit": "ten"}, "limit", "invalid"),
    ({"limit": ""}, "limit", "invalid"),
    ({"limit": "9" * 5000}, "limit", "max_string_length"),
    ({"cursor": "13611797690324404224"}, "cursor", "bad_cursor"),
    ({"cursor": "a:b:c"}, "cursor", "bad_cursor"),
    ({"cursor": "\x00"}, "cursor", "null_characters_not_allowed"),
    ({"cursor": "é:😀"}, "cursor", "bad_cursor"),
    ({"offset": "10"}, "offset", "unknown"),
    ({"format": "xml"}, "format", "unknown"),
]


@pytest.mark.parametrize("path", LISTS)
def test_queries_that_make_no_sense_are_named(path: str) -> None:
    machine = Machine(make_biller())
    for query, field, code in NONSENSE:
        response = machine.get(path, **query)
        assert response.status_code == 422, query
        error = response.json()["error"]
        assert (error["field"], error["code"]) == (field, code)
        assert error["faults"] == [{"code": code, "field": field, "message": error["message"]}]


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("customers/", {"name": "a\x00b"}, "name"),
        ("customers/", {"phone": "nobody"}, "phone"),
        ("customers/", {"email": "nobody"}, "email"),
        ("invoices/", {"file": "99999999999999999999"}, "file"),
        ("invoices/", {"created_from": "yesterday"}, "created_from"),
        ("invoices/", {"created_from": "0001-01-01T00:00:00+14:00"}, "created_from"),
        ("invoices/", {"created_from": "2026-01-02T00:00:00Z", "created_to": "2026-01-01T00:00:00Z"}, "created_to"),
        ("payments/", {"state": "lost"}, "state"),
        ("payments/", {"account": "x" * 41}, "account"),
        ("datapump-records/", {"type": "1"}, "type"),
        ("invoice-files/", {"state": "nowhere"}, "state"),
    ],
)
def test_filters_that_make_no_sense_are_named(path: str, query: dict[str, str], field: str) -> None:
    response = Machine(make_biller()).get(path, **query)
    assert (response.status_code, response.json()["error"]["field"]) == (422, field)


def test_cursor_of_another_list_is_refused() -> None:
    biller = make_biller()
    make_seven("payments/", biller)
    machine = Machine(biller)
    cursor = machine.get("payments/", limit=1).json()["next"]
    for path in ("invoices/", "datapump-records/"):
        response = machine.get(path, cursor=cursor)
        assert (response.status_code, response.json()["error"]["code"]) == (422, "bad_cursor")


# ---- Two billers ----------------------------------------------------------------------------------------------------


def test_another_billers_things_are_not_there() -> None:
    biller, machine = make_biller(), Machine(make_biller())
    customer = make_customer(biller)
    invoice, payment, record = make_invoice(customer), make_payment(customer), make_record(customer, state="failed")
    instrument = make_instrument(customer, make_route(biller))
    file, message = make_file(biller), make_message(customer)
    make_autopay(customer, instrument)
    none = "00000000-0000-7000-8000-000000000000"
    for foreign, missing in (
        (f"customers/{customer.pk}/", "customers/999999/"),
        (f"customers/{customer.pk}/autopay/", "customers/999999/autopay/"),
        (f"customers/{customer.pk}/paperless/", "customers/999999/paperless/"),
        (f"invoices/{invoice.pk}/", "invoices/999999/"),
        (f"invoice-files/{file.pk}/", "invoice-files/999999/"),
        (f"invoice-files/{file.pk}/errors/", "invoice-files/999999/errors/"),
        (f"messages/{message.pk}/", "messages/999999/"),
        (f"payments/{payment.pk}/", f"payments/{none}/"),
        (f"instruments/{instrument.pk}/", f"instruments/{none}/"),
        (f"datapump-records/{record.pk}/", f"datapump-records/{none}/"),
    ):
        theirs, nobodys = machine.get(foreign), machine.get(missing)
        assert (theirs.status_code, theirs.json()) == (404, NOT_FOUND), foreign
        assert (theirs.content, theirs.headers) == (nobodys.content, nobodys.headers), foreign
    for path in LISTS:
        assert machine.get(path).json() == {"results": [], "next": None}, path
    assert machine.get("customers/", number=customer.number).json() == {"results": [], "next": None}
    for path in (f"customers/{'9' * 30}/", f"customers/{'9' * 5000}/", "payments/1/", "nowhere/", "customers"):
        response = machine.get(path)
        assert (response.status_code, response.json()) == (404, NOT_FOUND), path


def test_row_security_holds_where_a_view_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    from billing.api.views import ApiView

    biller, machine = make_biller(), Machine(make_biller())
    invoice = make_invoice(make_customer(biller))
    # As if a view looked a row up by its id alone.
    monkeypatch.setattr(ApiView, "find", lambda self, rows, **lookup: rows.get(**lookup))
    with pytest.raises(Invoice.DoesNotExist):
        machine.get(f"invoices/{invoice.pk}/")
