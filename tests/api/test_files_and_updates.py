"""Invoice files handed in over the API, and updates for the biller's system sent again."""

from __future__ import annotations

import pytest
from django.core.files.storage import default_storage

from billing.actors import Actor
from billing.models import AuditEntry, Invoice, InvoiceFile
from billing.operations import invoice_files
from datapump.models import Record
from payments.operations import carryovers
from tests.api.machines import Machine
from tests.api.test_payments import error
from tests.factories import make_biller, make_customer
from tests.invoice_files import Bill, write

pytestmark = pytest.mark.django_db(transaction=True)


def test_file_is_received_loaded_and_watched() -> None:
    biller = make_biller()
    machine = Machine(biller)
    name, contents = f"{biller.number}_11222026.bif", write(biller, [Bill(), Bill(account="35910-001", number="7002")])
    response = machine.upload(name, contents)
    assert response.status_code == 202
    file = InvoiceFile.objects.get()
    assert response.headers["Location"] == f"/api/v1/invoice-files/{file.pk}/"
    told = response.json()
    assert (told["id"], told["name"], told["source"], told["state"], told["size"]) == (
        file.pk, name, "api", "received", len(contents)
    )  # fmt: skip
    assert (file.received_from, AuditEntry.objects.get(event="invoice_file.received").actor) == ("CIS", "CIS")
    with default_storage.open(str(file.body.name)) as body:
        assert body.read() == contents

    again = machine.upload(f"{biller.number}_11232026.bif", contents)
    assert error(again) == (409, "already_received", "file")
    assert InvoiceFile.objects.count() == 1

    invoice_files.load(file_id=file.pk, actor=Actor.system("tests"), carry=carryovers.carry)
    told = machine.get(f"invoice-files/{file.pk}/").json()
    assert (told["state"], told["loaded_count"], told["loaded_total"]) == ("loaded", 2, "168.20")
    assert len(machine.get("invoices/", file=file.pk).json()["results"]) == 2


def test_file_that_is_refused_leaves_nothing() -> None:
    biller, other = make_biller(), make_biller()
    machine = Machine(biller)
    good = f"{biller.number}_11222026.bif"
    for name, contents, answer in (
        ("bills.csv", b"x", (422, "bad_file_name", "file")),
        (f"{other.number}_11222026.bif", b"x", (422, "bad_file_name", "file")),
        (f"../{good}", b"", (422, "empty_file", "file")),
    ):
        assert error(machine.upload(name, contents)) == answer, name
    nothing = machine._client.post("/api/v1/invoice-files/", {"other": "x"})
    assert error(nothing) == (422, "unknown", "other")
    assert error(machine._client.post("/api/v1/invoice-files/", {})) == (422, "required", "file")
    text = machine.send("POST", "invoice-files/", {"file": "x"})
    assert error(text) == (415, "unsupported_media_type", None)
    broken = machine._client.generic(
        "POST", "/api/v1/invoice-files/", b"--x\r\n", content_type="multipart/form-data; boundary=\xe9"
    )
    assert broken.status_code == 400
    assert (InvoiceFile.objects.count(), Invoice.objects.count()) == (0, 0)


def test_update_is_sent_again_by_its_own_biller_alone() -> None:
    biller = make_biller()
    machine, stranger = Machine(biller), Machine(make_biller())
    record = Record.objects.create(
        biller=biller,
        customer=make_customer(biller),
        type=2,
        requestor=1,
        made_by="Ann CSR",
        state="failed",
        failure="No.",
    )
    path = f"datapump-records/{record.pk}/send-again/"
    assert stranger.send("POST", path).status_code == 404
    record.refresh_from_db()
    assert record.state == "failed"

    response = machine.send("POST", path)
    assert (response.status_code, response.json()["state"], response.json()["failure"]) == (200, "waiting", "")
    assert AuditEntry.objects.get(event="datapump.resent").actor == "CIS"
    # It is on its way now.
    assert error(machine.send("POST", path)) == (422, "not_sendable", None)
    assert AuditEntry.objects.filter(event="datapump.resent").count() == 1
