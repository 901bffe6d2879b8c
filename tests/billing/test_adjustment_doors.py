"""Adjustments handed in: over the API, by a file from the command line, in the portal, in the drop folder; and shown."""

from __future__ import annotations

import datetime
import os
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import Adjustment, Biller, Customer, Item, Role
from billing.operations import adjustment_files, invoice_files
from billing.operations.adjustment_files import BadAdjustmentFile
from billing.operations.adjustments import Adjusted, AdjustmentsRefused
from tests.api.machines import Machine
from tests.factories import NOON, make_biller, make_customer, make_invoice, make_link, make_user
from tests.invoice_files import ACTOR
from tests.payments.test_carryovers import balance, books_hold
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)

BACKEND = "allauth.account.auth_backends.AuthenticationBackend"
HEADER = "account,amount,reason,reference,effective_on"
FILE = f'{HEADER}\n1-1,15.90,Meter was misread,A-1,11/20/2026\n1-1,-4.00,Goodwill,A-2,\n1-2,-24.10,"Leak, found",A-1,2026-11-21\n'


@pytest.fixture
def biller() -> Biller:
    return make_biller(name="City Water", slug="city-water")


@pytest.fixture
def customers(biller: Biller) -> list[Customer]:
    return [make_customer(biller, number=number) for number in ("1-1", "1-2")]


def take(biller: Biller, body: str | bytes, **how: Any) -> Adjusted:
    body = body if isinstance(body, bytes) else body.encode()
    return adjustment_files.import_file(biller=biller, body=body, name="adj.csv", actor=ACTOR, now=NOON, **how)


def balances(customers: list[Customer]) -> list[str]:
    return [balance(one) for one in customers]


@pytest.mark.spec("MSP-37")
def test_a_machine_books_several_once_and_reads_them_back(biller: Biller, customers: list[Customer]) -> None:
    machine, other = Machine(biller), Machine(make_biller())
    line = {"account": "1-1", "amount": "15.90", "reason": " Meter  was misread ", "reference": "A-1"}
    lines = [line, {**line, "account": "1-2", "amount": "-24.10"}]
    made = machine.send("POST", "adjustments/", {"adjustments": lines}, idempotency_key="k1")
    assert made.status_code == 201
    [first, second] = made.json()["results"]
    assert first == {
        "id": first["id"], "account": "1-1", "amount": "15.90", "open": "15.90", "currency": "USD",
        "reason": "Meter was misread", "reference": "A-1",
        "effective_on": biller.business_date(timezone.now()).isoformat(), "source": "api", "made_by": "CIS",
        "created_at": first["created_at"],
    }  # fmt: skip
    assert (second["account"], second["amount"], balances(customers)) == ("1-2", "-24.10", ["15.90", "-24.10"])

    replayed = machine.send("POST", "adjustments/", {"adjustments": lines}, idempotency_key="k1")
    assert (replayed.json(), replayed.headers["Idempotent-Replayed"]) == (made.json(), "true")
    again = machine.send("POST", "adjustments/", {"adjustments": lines}, idempotency_key="k2")
    assert (again.json(), Adjustment.objects.count()) == (made.json(), 2)

    assert machine.get("adjustments/", account="1-1").json() == {"results": [first], "next": None}
    page = machine.get("adjustments/", limit=1).json()
    assert page["results"] == [second]
    assert machine.get("adjustments/", limit=1, cursor=page["next"]).json() == {"results": [first], "next": None}
    assert other.get("adjustments/", account="1-1").json() == {"results": [], "next": None}
    books_hold()


@pytest.mark.spec("MSP-37")
def test_one_wrong_line_keeps_all_out_and_each_fault_names_its_line(biller: Biller, customers: list[Customer]) -> None:
    machine = Machine(biller)
    good = {"account": "1-1", "amount": "15.90", "reason": "Meter", "reference": "A-1"}

    def refused(key: str | None, *lines: dict[str, Any]) -> list[tuple[int, str, str | None]]:
        headers = {} if key is None else {"idempotency_key": key}
        answer = machine.send("POST", "adjustments/", {"adjustments": list(lines)}, **headers)
        error = answer.json()["error"]
        return [(answer.status_code, one["code"], one["field"]) for one in error.get("faults", [error])]

    assert refused("k1", good, {**good, "account": "7-7"}, {**good, "amount": "0.00", "reference": "B"}) == [
        (422, "adjustment_refused", "adjustments.1.account"),
        (422, "adjustment_refused", "adjustments.2.amount"),
    ]
    assert refused("k2", good, {**good, "amount": 3.0}) == [(422, "invalid", "adjustments.1.amount")]
    assert refused("k3", *[{**good, "reference": f"R-{n}"} for n in range(1_001)]) == [
        (422, "max_length", "adjustments")
    ]
    assert refused("k4") == [(422, "empty", "adjustments")]
    assert refused(None, good) == [(400, "idempotency_key_missing", None)]
    assert (balances(customers), Item.objects.count()) == (["0.00", "0.00"], 0)


@pytest.mark.spec("MSP-37")
def test_a_file_is_booked_whole_once(biller: Biller, customers: list[Customer]) -> None:
    told = StringIO()
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"adjustments-{os.getpid()}.csv"
    path.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    try:
        call_command("import_adjustments", str(path), "--biller", "city-water", stdout=told)
        call_command("import_adjustments", str(path), "--biller", "city-water", stdout=told)
        path.write_text(FILE + "7-7,1.00,Meter,A-9,\n")
        with pytest.raises(CommandError, match="Nothing was adjusted"):
            call_command("import_adjustments", str(path), "--biller", "city-water", stderr=told)
    finally:
        path.unlink()
    assert [line.partition(".csv: ")[2] or line for line in told.getvalue().splitlines()] == [
        "3 booked, -12.20 USD; 0 were on file already",
        "0 booked, 0.00 USD; 3 were on file already",
        "  line 5: account is no account of this biller 7-7",
    ]
    assert balances(customers) == ["11.90", "-24.10"]
    kept = Adjustment.objects.order_by("pk").values_list("source", "reason", "item__posting__effective_on")
    day = datetime.date
    assert list(kept)[::2] == [
        ("file", "Meter was misread", day(2026, 11, 20)), ("file", "Leak, found", day(2026, 11, 21)),
    ]  # fmt: skip
    books_hold()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The first line names the columns"),
        (b"account,amount,reason\n", "The first line names the columns"),
        (f"{HEADER}\n".encode(), "The file has no adjustments."),
        (f"{HEADER}\n1-1,1.00,\xff".encode("latin-1"), "Line 2 is not UTF-8 text."),
        (f'{HEADER}\n1-1,1.00,"x'.encode(), "cannot be read"),
        (FILE.encode(), "more than 2 lines"),
    ],
)
def test_what_is_no_such_file_is_refused(biller: Biller, customers: list[Customer], body: bytes, words: str) -> None:
    with pytest.raises(BadAdjustmentFile, match=words):
        take(biller, body, most=2)
    assert Item.objects.count() == 0


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("1-1,$4.00,Meter,A-1,", (2, "amount", "is no amount such as 84.10 or -84.10", "$4.00")),
        ("1-1,NaN,Meter,A-1,", (2, "amount", "is no amount such as 84.10 or -84.10", "NaN")),
        ("1-1,1.00,Meter,A-1,13/41/2026", (2, "effective_on", "is no date such as 2026-11-22", "13/41/2026")),
        ("1-1,1.00,Meter,A-1", (2, "", "has 4 columns; the first line has 5", "")),
    ],
)
def test_what_cannot_be_read_is_told_by_line_and_field(
    biller: Biller, customers: list[Customer], row: str, fault: tuple[Any, ...]
) -> None:
    with pytest.raises(AdjustmentsRefused) as refused:
        take(biller, f"{HEADER}\n{row}\n1-2,1.00,Meter,A-1,\n")
    assert [(one.line, one.field, one.reason, one.value) for one in refused.value.faults] == [fault]
    assert Item.objects.count() == 0


@given(body=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: f"{HEADER}\n{text}".encode())))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_whatever_is_more_than_refused(biller: Biller, body: bytes) -> None:
    with pytest.raises((BadAdjustmentFile, AdjustmentsRefused)):
        take(biller, body)


@pytest.mark.spec("MSP-37")
def test_a_person_hands_a_file_in_and_reads_what_is_wrong(biller: Biller, customers: list[Customer]) -> None:
    dana = client_of(make_staff(biller, Role.ADMINISTRATOR))
    url = "/biller/files/adjustments/"

    def hand_in(body: str) -> Any:
        return dana.post(url, {"file": SimpleUploadedFile("adj.csv", body.encode())}, follow=True)

    wrong = hand_in(FILE.replace("1-2,", "7-7,"))
    assert (wrong.status_code, Item.objects.count()) == (422, 0)
    assert '<td class="text-end">4</td><td>account</td><td>is no account of this biller</td>' in wrong.content.decode()
    went = hand_in(FILE)
    assert "adj.csv: 3 booked, Credit of $12.20 in all; 0 were on file already." in went.content.decode()
    assert balances(customers) == ["11.90", "-24.10"]


@pytest.mark.spec("MSP-37")
def test_a_file_in_the_drop_folder_is_booked_and_a_wrong_one_put_aside(
    biller: Biller, customers: list[Customer], tmp_path: Path
) -> None:
    folder = tmp_path / str(biller.number)
    folder.mkdir()
    for name, body in (("good.csv", FILE), ("wrong.csv", FILE.replace("1-2,", "7-7,"))):
        (folder / name).write_text(body)
        os.utime(folder / name, (time.time() - 60, time.time() - 60))
    assert invoice_files.sweep_drop_folder(folder=tmp_path, actor=ACTOR, now=timezone.now()) == []
    assert balances(customers) == ["11.90", "-24.10"]
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [
        "refused", "refused/wrong.csv", "refused/wrong.csv.txt"
    ]  # fmt: skip
    assert "line 4: account is no account of this biller 7-7" in (folder / "refused/wrong.csv.txt").read_text()


@pytest.mark.spec("MSP-37")
def test_csrs_and_payers_see_what_was_adjusted(biller: Biller, customers: list[Customer]) -> None:
    payer = make_user()
    make_link(payer, customers[0])
    make_invoice(customers[0], "84.10")
    take(biller, FILE)
    shown = client_of(make_staff(biller, Role.CSR)).get(f"/biller/accounts/{customers[0].pk}/").content.decode()
    for words in ("Adjustment: Meter was misread", "$15.90", "Goodwill", "-$4.00", "A-2", "Nov 20, 2026"):
        assert words in shown, words
    client = Client()
    client.force_login(payer, backend=BACKEND)
    mine = client.get(reverse("customer-home")).content.decode()
    assert "$96.00" in mine
    for words in ("Meter was misread", "$15.90", "Goodwill", "-$4.00"):
        assert words in mine, words
    assert "Leak" not in mine
