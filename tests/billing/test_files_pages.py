"""The biller portal's pages about invoice files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from billing import tasks
from billing.models import AuditEntry, Biller, Customer, FileState, InvoiceFile, Role
from tests.factories import make_biller
from tests.invoice_files import Bill, checksums, load, receive, write
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def biller() -> Biller:
    return make_biller(number=2778, name="Maple Falls Utilities")


@pytest.fixture
def client(biller: Biller) -> Client:
    return client_of(make_staff(biller, name="Dana Whitfield"))


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note for which files a worker is woken, in place of waking one."""
    files: list[int] = []
    monkeypatch.setattr(tasks.load_invoice_file, "apply_async", lambda args, **_: files.extend(args))
    return files


def text_of(content: bytes) -> str:
    body = re.sub(r"(?s)<(script|style).*?</\1>", "", content.decode())
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace("&#x27;", "'")


def upload(client: Client, body: bytes, name: str = "2778_11222026.bif") -> object:
    return client.post("/biller/files/upload/", {"file": SimpleUploadedFile(name, body)})


def test_a_file_is_handed_in_and_its_page_shows_it_waiting(biller: Biller, client: Client, woken: list[int]) -> None:
    form = client.get("/biller/files/upload/")
    assert form.status_code == 200
    assert b'enctype="multipart/form-data"' in form.content
    answer = upload(client, write(biller, [Bill()]))
    file = InvoiceFile.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/biller/files/{file.pk}/")  # type: ignore[attr-defined]
    assert (file.source, file.received_from, file.state) == ("portal", "Dana Whitfield", FileState.RECEIVED)
    assert woken == [file.pk]
    page = client.get(f"/biller/files/{file.pk}/")
    assert "Waits for a worker" in text_of(page.content)
    # It asks again by itself, and without a script by a link.
    assert f'hx-get="/biller/files/{file.pk}/" hx-trigger="every 2s"'.encode() in page.content
    assert f'<noscript><p><a class="btn" href="/biller/files/{file.pk}/">Refresh</a>'.encode() in page.content


@pytest.mark.parametrize(
    ("state", "columns", "words", "percent"),
    [
        ("reading", {"bytes_read": 50}, "50 of 100 bytes", 20),
        ("checking", {"found_count": 2000}, "2,000 invoices", 45),
        ("loading", {"found_count": 2000, "loaded_count": 1000}, "1,000 of 2,000 invoices", 75),
    ],
)
def test_the_page_shows_how_far_a_load_is(
    biller: Biller, client: Client, state: str, columns: dict[str, int], words: str, percent: int
) -> None:
    file = receive(biller, write(biller, [Bill()]))
    InvoiceFile.objects.filter(pk=file.pk).update(state=state, size=100, **columns)
    page = client.get(f"/biller/files/{file.pk}/")
    assert words in text_of(page.content)
    assert f'value="{percent}"'.encode() in page.content


@pytest.mark.spec("MSP-21")
def test_a_loaded_file_shows_its_control_totals_and_its_bills(biller: Biller, client: Client) -> None:
    load(biller, [Bill(amount="100.00")])
    file = load(
        biller, [Bill(number="7002", amount="1180.00", fields={11: "11/21/2026"}), Bill(account="9-1", number="88")]
    )
    page = client.get(f"/biller/files/{file.pk}/")
    shown = text_of(page.content)
    assert "Invoices 2 2 Equal" in shown
    assert "Total amount $1,264.10 $1,264.10 Equal" in shown
    assert "Carried from older bills $100.00" in shown
    assert f'href="/biller/bills/?file={file.pk}"'.encode() in page.content
    assert b"hx-trigger" not in page.content.partition(b'id="file"')[2].partition(b">")[0]
    bills = client.get(f"/biller/bills/?file={file.pk}")
    assert b"7002" in bills.content and b"7001" not in bills.content


@pytest.mark.spec("MSP-23")
def test_a_refused_file_says_why_and_its_errors_can_be_taken_away(biller: Biller, client: Client) -> None:
    file = load(
        biller,
        [
            Bill(fields={60: "=HYPERLINK(1)", 12: "never"}),
            Bill(account="9-1", fields={12: "soon"}),
            Bill(account="8-1", fields={67: "nobody"}),
        ],
        count=4,
    )
    shown = text_of(client.get(f"/biller/files/{file.pk}/").content)
    assert "The file header says 4 invoices; the file has 3." in shown
    assert "Invoices 4 3 Different" in shown
    assert "InvoiceDueDate is not a date such as 11/22/2026 2 2 Kept its invoice out" in shown
    assert "EmailAddress is not an e-mail address; left out 1 9 Only the value was left out" in shown
    listed = client.get(f"/biller/files/{file.pk}/errors/")
    assert "CustomerName begins like a spreadsheet formula =HYPERLINK(1)" in text_of(listed.content)
    report = client.get(f"/biller/files/{file.pk}/errors/?format=csv")
    rows = list(csv.reader(io.StringIO(b"".join(report.streaming_content).decode("utf-8-sig"))))  # type: ignore[attr-defined]
    assert rows == [
        ["line", "field", "reason", "value", "effect"],
        ["2", "InvoiceDueDate", "is not a date such as 11/22/2026", "never", "Kept its invoice out"],
        ["3", "CustomerName", "begins like a spreadsheet formula", "'=HYPERLINK(1)", "Kept its invoice out"],
        ["5", "InvoiceDueDate", "is not a date such as 11/22/2026", "soon", "Kept its invoice out"],
        ["9", "EmailAddress", "is not an e-mail address; left out", "nobody", "Value left out"],
    ]
    only = client.get(f"/biller/files/{file.pk}/errors/?q=soon&kind=false")
    assert "1–1 of 1" in text_of(only.content)


def test_the_list_shows_files_of_the_biller_alone(biller: Biller, client: Client) -> None:
    load(biller, [Bill()])
    receive(make_biller(number=2661), b"something", "2661_11222026.bif")
    shown = text_of(client.get("/biller/files/").content)
    assert "2778_11222026" in shown and "2661_11222026" not in shown
    assert "Loaded 1 1 $84.10 0 Command tests" in shown
    assert "1–1 of 1" in text_of(client.get("/biller/files/?state=loaded&q=2778&source=command").content)
    assert "1–1 of 1" not in text_of(client.get("/biller/files/?state=refused").content)


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("bills.bif", b"x", "The name must be the biller's number and the date"),
        ("2661_11222026.bif", b"x", "The name begins with 2661; this biller's number is 2778."),
        ("2778_11222026.bif", b"", "The file is empty."),
    ],
)
def test_what_cannot_be_received_is_said_at_the_field(
    biller: Biller, client: Client, woken: list[int], name: str, body: bytes, words: str
) -> None:
    before = checksums("django_session")
    answer = upload(client, body, name)
    assert answer.status_code == 422  # type: ignore[attr-defined]
    assert words in text_of(answer.content)  # type: ignore[attr-defined]
    assert (checksums("django_session"), woken, biller.number) == (before, [], 2778)
    missing = client.post("/biller/files/upload/", {})
    assert (missing.status_code, "Choose the file first" in text_of(missing.content)) == (422, True)


@pytest.mark.spec("MSP-23")
def test_the_same_file_again_leads_to_the_one_that_is_there(biller: Biller, client: Client, woken: list[int]) -> None:
    body = write(biller, [Bill()])
    there = load(biller, body)
    answer = client.post("/biller/files/upload/", {"file": SimpleUploadedFile("2778_11222026.bif", body)}, follow=True)
    assert answer.redirect_chain == [(f"/biller/files/{there.pk}/", 302)]
    assert f"This file was already loaded as {there.name}. Nothing was changed." in text_of(answer.content)
    assert woken == []


def test_withdrawing_asks_first(biller: Biller, client: Client) -> None:
    file = load(biller, [Bill()])
    assert f'href="/biller/files/{file.pk}/withdraw/"'.encode() in client.get(f"/biller/files/{file.pk}/").content
    question = client.get(f"/biller/files/{file.pk}/withdraw/")
    assert "Bills 1 Amount $84.10" in text_of(question.content)
    assert Customer.objects.get().balance == Decimal("84.10")
    answer = client.post(f"/biller/files/{file.pk}/withdraw/", follow=True)
    assert "The file is withdrawn." in text_of(answer.content)
    assert Customer.objects.get().balance == Decimal("0.00")
    assert AuditEntry.objects.get(event="invoice_file.withdrawn").actor == "Dana Whitfield"
    again = client.post(f"/biller/files/{file.pk}/withdraw/", follow=True)
    assert "Only a loaded file can be withdrawn." in text_of(again.content)
    assert b"/withdraw/" not in again.content


def test_a_large_file_is_withdrawn_by_a_worker(biller: Biller, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    file = load(biller, [Bill()])
    InvoiceFile.objects.filter(pk=file.pk).update(loaded_count=20_001)
    asked: list[tuple[int, str]] = []
    monkeypatch.setattr(
        tasks.withdraw_invoice_file, "apply_async", lambda args, **_: asked.append((args[0], args[1]["label"]))
    )
    answer = client.post(f"/biller/files/{file.pk}/withdraw/", follow=True)
    assert "The file is being withdrawn" in text_of(answer.content)
    assert asked == [(file.pk, "Dana Whitfield")]
    assert Customer.objects.get().balance == Decimal("84.10")


PAGES: list[Callable[[int], str]] = [
    lambda _: "/biller/files/",
    lambda pk: f"/biller/files/{pk}/",
    lambda pk: f"/biller/files/{pk}/errors/",
]


@pytest.mark.parametrize("role", [Role.CSR, Role.CSR_NO_CARDS, Role.READ_ONLY])
def test_others_may_look_but_not_hand_in_or_withdraw(biller: Biller, role: str, woken: list[int]) -> None:
    file = load(biller, [Bill()])
    client = client_of(make_staff(biller, role))
    for page in PAGES:
        assert client.get(page(file.pk)).status_code == 200
    assert b"/biller/files/upload/" not in client.get("/biller/files/").content
    assert b"/withdraw/" not in client.get(f"/biller/files/{file.pk}/").content
    before = checksums("django_session")
    assert client.get("/biller/files/upload/").status_code == 403
    assert upload(client, write(biller, [Bill(number="9")])).status_code == 403  # type: ignore[attr-defined]
    assert client.get(f"/biller/files/{file.pk}/withdraw/").status_code == 403
    assert client.post(f"/biller/files/{file.pk}/withdraw/").status_code == 403
    assert (checksums("django_session"), woken) == (before, [])


def test_another_billers_file_is_not_there(client: Client) -> None:
    file = load(make_biller(), [Bill()])
    before = checksums("django_session")
    for page in PAGES[1:]:
        assert client.get(page(file.pk)).status_code == 404
    assert client.get(f"/biller/files/{file.pk}/withdraw/").status_code == 404
    assert client.post(f"/biller/files/{file.pk}/withdraw/").status_code == 404
    assert checksums("django_session") == before
