"""Enrolments of another vendor: their file checked line by line, taken over once with its evidence, or not at all."""

from __future__ import annotations

import csv
import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.management.base import CommandError

from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Biller, Customer, Role
from datapump.models import ChangeLog, Configuration, Record
from sms.biller_portal import imports as door
from sms.models import Line, Phone, Programme, SmsMode, Text
from sms.operations import enrolments, imports, programmes
from sms.operations.imports import COLUMNS, BadFile, Fault, Outcome
from sms.operations.modes import State
from tests.factories import NOON, make_biller, make_customer
from tests.invoice_files import Bill, load
from tests.sms.test_inbound import CONSENT, CSR, LINE, OTHER, PAYER, PHONE
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = datetime.timedelta(hours=1)
DANA = Actor(Requestor.CSR, "Dana", None, "192.0.2.7")
ROW = {
    "account": "35909-001", "phone": "(505) 555-0123", "consent_how": "On the vendor's web form.",
    "consent_text": "I agree,\nto texts.", "consent_version": "2025-03", "consented_at": "2026-03-01",
    "consented_by": "Vendor Inc.", "language": "es",
}  # fmt: skip


@pytest.fixture
def biller() -> Biller:
    biller = make_biller(name="City Water", slug="city-water")
    Configuration.objects.filter(biller=biller).update(pay_by_text_changes=True)
    Programme.objects.create(biller=biller, name="City Water", contact="(505) 555-0199")
    Line.objects.create(biller=biller, number=LINE, driver="simulator", secret="unused")
    return biller


@pytest.fixture
def customer(biller: Biller) -> Customer:
    return make_customer(biller, number="35909-001")


def file_of(*rows: dict[str, str], columns: Any = COLUMNS) -> bytes:
    written = StringIO()
    lines = csv.DictWriter(written, list(columns), extrasaction="ignore")
    lines.writeheader()
    lines.writerows({**ROW, **row} for row in rows)
    return written.getvalue().encode()


def take(biller: Biller, body: bytes, now: datetime.datetime = NOON, **how: Any) -> Outcome:
    return imports.import_enrolments(
        biller=biller, body=body, name="vendor.csv", actor=DANA, now=now, **how
    )  # fmt: skip


def counted() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (SmsMode, Record, ChangeLog, Text, Phone, AuditEntry))


@pytest.mark.spec("PBT-3", "PBT-11", "PBT-13")
def test_customers_are_taken_over_at_once_with_their_evidence(biller: Biller, customer: Customer) -> None:
    late = datetime.datetime(2026, 11, 23, 4, 0, tzinfo=datetime.UTC)  # 23:00 in New York
    columns = list(COLUMNS)[::-1]
    body = b"\xef\xbb\xbf" + file_of({}, columns=columns)
    assert take(biller, body, late) == Outcome(rows=1, new=1, done=True)
    mode = SmsMode.objects.get()
    assert State.of(mode) == State(PHONE, registered=True)
    assert (mode.consent_how, mode.consent_text, mode.consent_version) == (
        "On the vendor's web form.", "I agree,\nto texts.", "2025-03"
    )  # fmt: skip
    assert (mode.consent_by, mode.consent_requestor, mode.consent_address) == ("Vendor Inc.", 1, None)
    assert mode.consented_at == datetime.datetime(2026, 3, 1, 5, 0, tzinfo=datetime.UTC)  # midnight in New York
    record = Record.objects.get()
    assert (record.type, record.optional_setting, record.facts, record.requestor, record.made_by) == (
        11, 0, {"status": "enrolled", "phone": PHONE}, 1, "Dana",
    )  # fmt: skip
    assert ChangeLog.objects.count() == 0
    text = Text.objects.get()
    # New York and New Mexico are both awake at eight in Albuquerque.
    assert (text.kind, text.due_at) == ("enrolled", datetime.datetime(2026, 11, 23, 15, 0, tzinfo=datetime.UTC))
    assert "STOP" in text.body
    assert "HELP" in text.body
    assert "facturas" in text.body
    assert Phone.objects.get().language == "es"
    entry = AuditEntry.objects.get(event="pay_by_text.imported")
    assert (entry.actor, entry.facts) == ("Dana", {"name": "vendor.csv", "new": 1, "same": 0, "faults": 0})

    before = counted()
    assert take(biller, body, NOON + datetime.timedelta(days=2)) == Outcome(rows=1, same=1, done=True)
    assert counted() == (*before[:-1], before[-1] + 1)  # that the file came again


@pytest.mark.spec("PBT-3")
def test_a_later_file_changes_the_number_in_one_update(biller: Biller, customer: Customer) -> None:
    take(biller, file_of({}))
    assert take(biller, file_of({"phone": OTHER, "consented_at": "2026-11-22T17:30:00Z"}), NOON + HOUR).new == 1
    assert State.of(SmsMode.objects.get()) == State(OTHER, registered=True)
    assert list(Record.objects.order_by("created_at").values_list("optional_setting", "facts__status")) == [
        (0, "enrolled"), (1, "number_changed")
    ]  # fmt: skip
    assert list(Text.objects.order_by("pk").values_list("kind", "phone")) == [
        ("enrolled", PHONE), ("enrolled", OTHER), ("number_released", PHONE)
    ]  # fmt: skip


def test_every_fault_is_told_by_line_and_field_and_keeps_everything_out(biller: Biller, customer: Customer) -> None:
    ended, moved = make_customer(biller, number="1-1"), make_customer(biller, number="1-2")
    for one in (ended, moved):
        enrolments.enrol(customer=one, number="+15055550177", consent=CONSENT, actor=CSR, now=NOON)
    enrolments.unenrol(customer=ended, actor=CSR, now=NOON)
    Phone.objects.create(biller=biller, number="+15055550101", opted_out_of=["*"])
    Phone.objects.create(biller=biller, number="+15055550102", suspended_for="Texts do not arrive.")
    for number in ("2-1", "2-2", "2-3"):
        make_customer(biller, number=number)
    make_customer(make_biller(), number="9-9")
    body = file_of(
        {},
        {"phone": OTHER},
        {"account": "9-9"},
        {"account": "2-1", "phone": "+1 505 555 0101"},
        {"account": "2-2", "phone": "+1 505 555 0102"},
        {"account": "1-1"},
        {"account": "1-2"},
        {"account": "2-3", "phone": "555", "consented_at": "last year", "language": "fr"},
        {"account": "2-4", "consented_at": "2027-01-01"},
        {"account": "2-5", "consent_how": "", "consent_version": "x" * 21},
        {"account": "2-6", "consented_by": "Bell\x07"},
    ).replace(b"I agree,\nto texts.", b"I agree to texts.")
    body += b"only,two\r\n"
    before = counted()
    outcome = take(biller, body)
    assert outcome.faults == [
        Fault(3, "account", "stands in line 2 too", "35909-001"),
        Fault(4, "account", "is no account of this biller", "9-9"),
        Fault(5, "phone", "has opted out of texts; only START from the phone takes that back", "+•••••••0101"),
        Fault(6, "phone", "gets no texts: they do not arrive", "+•••••••0102"),
        Fault(7, "consented_at", "is before pay by text was ended here", "2026-03-01"),
        Fault(8, "consented_at", "is before the customer agreed to another number here", "2026-03-01"),
        Fault(9, "language", "is neither en nor es", "fr"),
        Fault(9, "phone", "is no phone number", "555"),
        Fault(9, "consented_at", "is no date such as 2026-11-22 or 2026-11-22T17:00:00Z", "last year"),
        Fault(10, "consented_at", "is not over yet", "2027-01-01"),
        Fault(11, "consent_how", "is missing"),
        Fault(11, "consent_version", "is longer than 20 characters", "x" * 21),
        Fault(12, "consented_by", "has a control character", "Bell\N{REPLACEMENT CHARACTER}"),
        Fault(13, "", "has 2 columns; the first line has 8"),
    ]
    assert (outcome.rows, outcome.new, outcome.same, outcome.done) == (12, 1, 0, False)
    assert counted() == before
    assert take(biller, body, dry_run=True, good_rows=True) == outcome
    assert counted() == before
    good = take(biller, body, good_rows=True)
    assert (good.new, good.done, len(good.faults)) == (1, True, 14)
    assert SmsMode.objects.get(customer=customer).number == PHONE


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The first line names the columns: account, phone"),
        (b"account,phone\n1,2\n", "The first line names the columns: account, phone"),
        (file_of(), "The file has no enrolments."),
        (file_of({}) + b"\xff\n", "Line 4 is not UTF-8 text."),
        (file_of({}) + b'"never closed', "Line 4 cannot be read: unexpected end of data."),
    ],
)
def test_what_is_no_such_file_is_refused(biller: Biller, customer: Customer, body: bytes, words: str) -> None:
    before = counted()
    with pytest.raises(BadFile) as refused:
        take(biller, body)
    assert str(refused.value).startswith(words)
    Line.objects.update(active=False)
    with pytest.raises(programmes.NotOffered):
        take(biller, file_of({}))
    assert counted() == before


def test_a_command_imports_and_says_how_it_went(biller: Biller, customer: Customer, tmp_path: Path) -> None:
    path = tmp_path / "vendor.csv"

    def run(**options: Any) -> str:
        said = StringIO()
        call_command("import_pay_by_text", str(path), stdout=said, stderr=said, **{"biller": "city-water", **options})
        return said.getvalue()

    path.write_bytes(file_of({}))
    before = counted()
    assert run(dry_run=True) == "City Water: vendor.csv: 1 rows, 1 to enrol or change, 0 as they are, 0 faults\n"
    assert counted() == before
    assert run() == "City Water: vendor.csv: 1 rows, 1 enrolled or changed, 0 as they were, 0 faults\n"
    assert Record.objects.get().made_by == "manage.py import_pay_by_text"
    path.write_bytes(file_of({"account": "7-7"}))
    before = counted()
    with pytest.raises(CommandError, match="Nothing was imported"):
        run()
    with pytest.raises(CommandError, match="There is no biller 'nobody'"):
        run(biller="nobody")
    path.unlink()
    with pytest.raises(CommandError, match="No such file"):
        run()
    assert counted() == before


def test_an_administrator_of_the_biller_imports_on_a_page(
    biller: Biller, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(make_staff(biller))
    page = "/biller/files/texts/"

    def send(body: bytes, what: str) -> Any:
        return client.post(page, {"file": SimpleUploadedFile("vendor.csv", body), "what": what}, follow=True)

    assert page.encode() in client.get("/biller/files/").content
    checked = send(file_of({}), "check")
    assert (
        "1 would be enrolled, 0 are enrolled with this number already. Nothing was changed." in checked.content.decode()
    )
    assert not SmsMode.objects.exists()
    wrong = send(file_of({}, {"account": "7-7"}), "all")
    assert wrong.status_code == 422
    assert "is no account of this biller" in wrong.content.decode()
    assert not SmsMode.objects.exists()
    monkeypatch.setattr(door, "MOST", 1)
    long = send(file_of({}, {"account": "7-7"}), "good")
    assert "This file has 2 rows; at most 1 are taken here." in long.content.decode()
    assert not SmsMode.objects.exists()
    assert "1 enrolled, 0 were enrolled" in send(file_of({}), "all").content.decode()
    assert SmsMode.objects.get().consent_by == "Vendor Inc."
    csr = client_of(make_staff(biller, Role.CSR))
    assert csr.get(page).status_code == 403


@pytest.mark.spec("PBT-4")
def test_a_phone_in_an_invoice_file_never_changes_where_texts_go(biller: Biller) -> None:
    enrolled, waits, none = (make_customer(biller, number=number) for number in ("1-001", "2-001", "3-001"))
    enrolments.enrol(customer=enrolled, number=PHONE, consent=CONSENT, actor=CSR, now=NOON)
    enrolments.enrol(customer=waits, number=PHONE, consent=CONSENT, actor=PAYER, now=NOON)
    modes, before = list(SmsMode.objects.order_by("pk").values()), counted()[:4]
    bills = [
        Bill(account=one.number, number=f"700{one.number[0]}", fields={66: "(505) 555-0188"})
        for one in (enrolled, waits, none)
    ]
    assert load(biller, bills).state == "loaded"
    assert set(Customer.objects.values_list("phone", flat=True)) == {"+15055550188"}
    assert list(SmsMode.objects.order_by("pk").values()) == modes
    assert counted()[:4] == before
    assert not Phone.objects.filter(number="+15055550188").exists()
