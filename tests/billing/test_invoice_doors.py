"""The doors by which invoice files come in: tasks and beat, drop folders, the command."""

from __future__ import annotations

import datetime
import os
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing import tasks, tenancy
from billing.actors import Actor
from billing.models import AuditEntry, Biller, Customer, FileState, Invoice, InvoiceFile
from billing.operations import invoice_files
from config.celery import BEAT
from tests.factories import make_biller
from tests.invoice_files import ACTOR, Bill, checksums, load, receive, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def biller() -> Biller:
    return make_biller(number=2778)


@pytest.fixture
def folder(biller: Biller, tmp_path: Path) -> Path:
    mine = tmp_path / "2778"
    mine.mkdir()
    return mine


def drop(folder: Path, body: bytes, name: str = "2778_11222026.bif", age: float = 60) -> Path:
    path = folder / name
    path.write_bytes(body)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def sweep(folder: Path) -> list[InvoiceFile]:
    with tenancy.acting_for(()):
        return invoice_files.sweep_drop_folder(folder=folder.parent, actor=ACTOR, now=timezone.now())


def now_bills(biller: Biller) -> bytes:
    """Give a file that was made in the past of the real clock, which tasks and commands go by."""
    return write(biller, [Bill(), Bill(account="35910-001")], made_on="11/01/2025")


# ---- Tasks


def test_the_task_loads_a_file_once(biller: Biller) -> None:
    file = receive(biller, now_bills(biller))
    with tenancy.acting_for(()):
        tasks.load_invoice_file(file.pk)
        tasks.load_invoice_file(file.pk)
    file.refresh_from_db()
    assert (file.state, file.refusal, file.loaded_count) == (FileState.LOADED, "", 2)
    assert AuditEntry.objects.get(event="invoice_file.loaded").actor == "load_invoice_file"


def test_beat_wakes_workers_for_files_that_wait(biller: Biller, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, living, dead, loaded = [
        receive(biller, write(biller, [Bill(number=str(n))], made_on="11/01/2025")) for n in range(4)
    ]
    now = timezone.now()
    InvoiceFile.objects.filter(pk=living.pk).update(state="loading", claimed_at=now)
    InvoiceFile.objects.filter(pk=dead.pk).update(state="loading", claimed_at=now - datetime.timedelta(hours=1))
    tasks.load_invoice_file(loaded.pk)
    woken: list[int] = []
    monkeypatch.setattr(tasks.load_invoice_file, "delay", woken.append)
    with tenancy.acting_for(()):
        tasks.load_waiting_files()
    assert woken == [waiting.pk, dead.pk]
    assert {"billing.tasks.load_waiting_files", "billing.tasks.sweep_drop_folder"} <= {
        one.task for one in BEAT.values()
    }


def test_the_task_withdraws_for_the_person_who_asked(biller: Biller) -> None:
    file = load(biller, [Bill()])
    actor = {"requestor": 1, "label": "Dana Whitfield", "user_id": None, "address": "192.0.2.7"}
    with tenancy.acting_for(()):
        tasks.withdraw_invoice_file(file.pk, actor)
        tasks.withdraw_invoice_file(file.pk, actor)
    file.refresh_from_db()
    assert file.state == FileState.WITHDRAWN
    entries = AuditEntry.objects.filter(event__contains="withdrawn").order_by("pk")
    assert [(one.event, one.actor, one.address) for one in entries] == [
        ("invoice_file.withdrawn", "Dana Whitfield", "192.0.2.7"),
        ("invoice_file.not_withdrawn", "Dana Whitfield", "192.0.2.7"),
    ]
    assert entries[1].facts["reason"] == "Only a loaded file can be withdrawn."


# ---- Drop folders


def test_a_dropped_file_is_received_and_taken_away(biller: Biller, folder: Path) -> None:
    path = drop(folder, now_bills(biller))
    [file] = sweep(folder)
    assert (file.biller_id, file.name, file.source, file.state) == (biller.pk, path.name, "drop", FileState.RECEIVED)
    assert file.body.read() == now_bills(biller)
    assert not path.exists()
    assert sweep(folder) == []


def test_the_task_sweeps_the_folder_of_the_settings(
    biller: Biller, folder: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DROP_FOLDER = folder.parent
    drop(folder, now_bills(biller))
    woken: list[int] = []
    monkeypatch.setattr(tasks.load_invoice_file, "delay", woken.append)
    with tenancy.acting_for(()):
        tasks.sweep_drop_folder()
    assert woken == [InvoiceFile.objects.get().pk]
    settings.DROP_FOLDER = folder / "nowhere"
    tasks.sweep_drop_folder()


@pytest.mark.parametrize(
    ("name", "age"), [("2778_11222026.bif", 5), ("2778_11222026.bif.part", 60), (".2778_11222026.bif", 60)]
)
def test_a_file_that_is_still_being_written_waits(biller: Biller, folder: Path, name: str, age: float) -> None:
    path = drop(folder, now_bills(biller), name, age)
    assert sweep(folder) == []
    assert path.exists()


def test_links_and_folders_of_nobody_are_passed_over(biller: Biller, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    drop(tmp_path, b"secret", "secret")
    (folder / "2778_11222026.bif").symlink_to(secret)
    (tmp_path / "9999").mkdir()
    drop(tmp_path / "9999", now_bills(biller), "9999_11222026.bif")
    (tmp_path / "uploads").mkdir()
    assert sweep(folder) == []
    assert (InvoiceFile.objects.count(), (tmp_path / "9999" / "9999_11222026.bif").exists()) == (0, True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bills.txt", "The name must be the biller's number and the date, such as 2778_11222026.bif, not “bills.txt”."),
        ("2661_11222026.bif", "The name begins with 2661; this biller's number is 2778."),
        (
            "2778_11232026.bif",
            "This file was already received and is being loaded as 2778_11222026.bif. Nothing was changed.",
        ),
    ],
)
def test_what_cannot_be_received_is_put_aside_with_the_reason(
    biller: Biller, folder: Path, name: str, reason: str
) -> None:
    receive(biller, now_bills(biller), "2778_11222026.bif")
    before = checksums()
    path = drop(folder, now_bills(biller), name)
    assert sweep(folder) == []
    assert not path.exists()
    assert (folder / "refused" / name).read_bytes() == now_bills(biller)
    assert (folder / "refused" / f"{name}.txt").read_text() == f"{reason}\n"
    assert checksums() == before


# ---- The command


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    with tenancy.acting_for(()):
        call_command("import_invoices", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.spec("MSP-21")
def test_the_command_loads_a_file_and_says_what_came_of_it(biller: Biller, tmp_path: Path) -> None:
    path = drop(tmp_path, now_bills(biller))
    said, _ = run(str(path))
    assert "found 2 invoices" in said
    assert said.splitlines()[-1] == "2778_11222026.bif: loaded 2 invoices, 168.20 USD"
    assert Invoice.objects.filter(biller=biller).count() == 2
    # Once more: nothing to do, and no failure.
    said, _ = run(str(path))
    assert said == "2778_11222026.bif: This file was already loaded as 2778_11222026.bif. Nothing was changed.\n"
    assert path.exists()


def test_the_command_fails_where_a_file_is_refused(biller: Biller, tmp_path: Path) -> None:
    bad = write(biller, [Bill(fields={60: "=1+1"})], made_on="11/01/2025")
    path = drop(tmp_path, bad)
    out = StringIO()
    with pytest.raises(CommandError, match="1 of 1 files refused"):
        call_command("import_invoices", str(path), stdout=out)
    assert out.getvalue().splitlines()[-2:] == [
        "2778_11222026.bif: refused. 1 error was found. Nothing was loaded.",
        "  line 3: CustomerName begins like a spreadsheet formula =1+1",
    ]
    assert Customer.objects.count() == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2661_11222026.bif", "There is no biller number 2661."),
        ("bills.bif", "The name must be"),
        ("gone_", "No such file"),
    ],
)
def test_the_command_names_what_it_cannot_take(biller: Biller, tmp_path: Path, name: str, words: str) -> None:
    arguments = [str(tmp_path / "gone"), "--name", "2778_11222026.bif"] if name == "gone_" else []
    err = StringIO()
    with pytest.raises(CommandError, match="1 of 1 files refused"):
        call_command("import_invoices", *(arguments or [str(drop(tmp_path, now_bills(biller), name))]), stderr=err)
    assert words in err.getvalue()
    assert InvoiceFile.objects.count() == 0


def test_the_command_may_leave_the_loading_to_a_worker(biller: Biller, tmp_path: Path) -> None:
    said, _ = run(str(drop(tmp_path, now_bills(biller))), "--later")
    assert said == f"2778_11222026.bif: received for {biller}\n"
    assert InvoiceFile.objects.get().state == FileState.RECEIVED


def test_actors_survive_the_way_through_a_queue() -> None:
    import dataclasses
    import json

    actor = Actor.api("key", "192.0.2.1")
    sent = json.loads(json.dumps(dataclasses.asdict(actor)))
    assert sent == {"requestor": 5, "label": "key", "user_id": None, "address": "192.0.2.1"}
