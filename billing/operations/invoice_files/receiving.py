"""Receiving an invoice file: its name is checked, its body kept, and the same body is not taken twice.

Source: MSP-21, MSP-23.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from typing import IO

from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.failpoints import failpoint
from billing.models import Biller, FileState, InvoiceFile

_NAME = re.compile(r"(?P<number>\d{1,9})_(?P<day>\d{8})(?:[-_][A-Za-z0-9._-]{0,80})?(?:\.(?:bif|txt))?", re.IGNORECASE)
_BLOCK = 1 << 20
# Beyond this a body is not worth keeping: the largest utility's file has a tenth of it.
LARGEST = 20 * 1024**3


class BadFileName(DomainError):
    """The file's name does not say whose it is and of which day."""


class EmptyFile(DomainError):
    """There is nothing in the file."""

    default = "The file is empty."


class TooLarge(DomainError):
    """The file is larger than any invoice file."""

    default = "The file is larger than 20 GB."


class AlreadyReceived(Conflict):
    """The same file is here already; ``file`` is it."""

    def __init__(self, file: InvoiceFile) -> None:
        said = "was already loaded" if file.state == FileState.LOADED else "was already received and is being loaded"
        super().__init__(f"This file {said} as {file.name}. Nothing was changed.", field="file")
        self.file = file


def biller_number(name: str) -> int:
    """Give the biller's number (BID) that a file's name begins with.

    :raises BadFileName: the name is not ``BID_MMDDYYYY``.
    """
    return _read_name(name)[0]


def _read_name(name: str) -> tuple[int, datetime.date]:
    found = _NAME.fullmatch(name)
    try:
        if found is None:
            raise ValueError
        day = datetime.datetime.strptime(found["day"], "%m%d%Y").date()  # noqa: DTZ007  (a date has no zone)
    except ValueError:
        words = f"The name must be the biller's number and the date, such as 2778_11222026.bif, not “{name[:60]}”."
        raise BadFileName(words, field="file") from None
    return int(found["number"]), day


def receive(*, biller: Biller, name: str, body: IO[bytes], source: str, actor: Actor) -> InvoiceFile:
    """Keep an invoice file that came in, to be loaded by a task; gives its row.

    ``source`` is one of ``portal``, ``api``, ``command``, ``drop``. The body is read once, block by block.

    :raises BadFileName: the name is not ``BID_MMDDYYYY``, or names another biller.
    :raises AlreadyReceived: the same body is loaded or waiting.
    :raises EmptyFile: there is nothing in it.
    :raises TooLarge: nobody's invoice file is that large.
    """
    name = name.replace("\\", "/").rpartition("/")[2]
    number, _day = _read_name(name)
    if number != biller.number:
        raise BadFileName(f"The name begins with {number}; this biller's number is {biller.number}.", field="file")
    digest, size = _digest(body)
    _refuse_repeated(biller, digest)
    body.seek(0)
    # The storage may be elsewhere: it is spoken to before the transaction begins.
    stored = default_storage.save(f"invoice-files/{timezone.now():%Y/%m}/{name}", File(body))
    failpoint("receive.stored")
    try:
        with transaction.atomic(durable=True):
            file = InvoiceFile.objects.create(
                biller=biller,
                name=name,
                sha256=digest,
                size=size,
                body=stored,
                source=source,
                received_from=actor.label[:120],
            )
            audit.record(
                actor=actor,
                event="invoice_file.received",
                biller_id=biller.pk,
                subject=f"invoice_file:{file.pk}",
                facts={"name": name, "size": size, "sha256": digest},
            )
    except IntegrityError:
        default_storage.delete(stored)
        _refuse_repeated(biller, digest)
        raise
    return file


def _digest(body: IO[bytes]) -> tuple[str, int]:
    hashed, size = hashlib.sha256(), 0
    while block := body.read(_BLOCK):
        size += len(block)
        if size > LARGEST:
            raise TooLarge(field="file")
        hashed.update(block)
    if size == 0:
        raise EmptyFile(field="file")
    return hashed.hexdigest(), size


def _refuse_repeated(biller: Biller, digest: str) -> None:
    there = (
        InvoiceFile.objects.filter(biller=biller, sha256=digest)
        .exclude(state__in=[FileState.REFUSED, FileState.WITHDRAWN])
        .first()
    )
    if there is not None:
        raise AlreadyReceived(there)
