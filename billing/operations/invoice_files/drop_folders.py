"""Taking up invoice files from drop folders: one folder for each biller, named by its number, filled by SFTP or a
share. A file that ends in ``.csv`` is one of adjustments, and is booked at once.

Source: MSP-21, MSP-37.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from billing import tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import Biller, InvoiceFile
from billing.operations import adjustment_files
from billing.operations.adjustments import AdjustmentsRefused
from billing.operations.invoice_files.receiving import receive

# A file is whole when nobody has written to it for so long.
SETTLED = datetime.timedelta(seconds=30)
REFUSED = "refused"
# While they write, programs put these at the end of a name.
_UNFINISHED = (".part", ".filepart", ".tmp", ".crdownload", ".swp")
_AT_ONCE = 100
_ADJUSTMENTS = ".csv"


def sweep(*, folder: Path, actor: Actor, now: datetime.datetime) -> list[InvoiceFile]:
    """Receive what lies in each biller's folder below ``folder`` and take it away; gives the files received.

    What cannot be received goes to the folder ``refused`` beside it, with the reason in a text file of the same name.
    """
    if not folder.is_dir():
        return []
    received: list[InvoiceFile] = []
    numbers = [int(entry.name) for entry in os.scandir(folder) if entry.name.isdecimal() and entry.is_dir()]
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.filter(number__in=numbers).order_by("pk"))
    for biller in billers:
        with tenancy.acting_for([biller.pk]):
            for path in list(_whole(folder / str(biller.number), now)):
                if path.suffix.lower() == _ADJUSTMENTS:
                    _adjust(biller, path, actor, now)
                elif file := _take(biller, path, actor):
                    received.append(file)
    return received


def _whole(folder: Path, now: datetime.datetime) -> Iterator[Path]:
    """Give the files of a folder that nobody is writing any more, oldest first; links lead elsewhere and are passed over."""
    found = []
    for entry in os.scandir(folder):
        if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
            continue
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_mtime <= (now - SETTLED).timestamp():
                found.append((status.st_mtime, entry.name))
    for _, name in sorted(found)[:_AT_ONCE]:
        yield folder / name


def _take(biller: Biller, path: Path, actor: Actor) -> InvoiceFile | None:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as body:
            file = receive(biller=biller, name=path.name, body=body, source="drop", actor=actor)
    except DomainError as refused:
        _put_aside(path, str(refused))
        return None
    except FileNotFoundError:
        return None  # another sweep was quicker
    failpoint("drop.received")
    path.unlink(missing_ok=True)
    return file


def _adjust(biller: Biller, path: Path, actor: Actor, now: datetime.datetime) -> None:
    """Book a file of adjustments; where this breaks off, the same file again books nothing twice."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as body:
            read = body.read(adjustment_files.LARGEST + 1)
        adjustment_files.import_file(biller=biller, body=read, name=path.name, actor=actor, now=now)
    except AdjustmentsRefused as refused:
        lines = [f"line {one.line}: {one.field} {one.reason} {one.value}".rstrip() for one in refused.faults]
        _put_aside(path, "\n".join([str(refused), *lines]))
    except DomainError as refused:
        _put_aside(path, str(refused))
    except FileNotFoundError:
        return  # another sweep was quicker
    else:
        path.unlink(missing_ok=True)


def _put_aside(path: Path, reason: str) -> None:
    aside = path.parent / REFUSED
    aside.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside / path.name)
        (aside / f"{path.name}.txt").write_text(f"{reason}\n")
