"""Bills as PDF: fetched from the biller's print server where it has one, else set by ourselves.

No address of a biller's system leaves this module: not in a refusal, not in a log, not to a browser.

Source: MSP-18 to MSP-20, MSP-24
"""

from __future__ import annotations

import hashlib
import logging
import threading
import uuid
from datetime import datetime, timedelta

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from billing import tenancy
from billing.errors import DomainError
from billing.models import Invoice
from billing.papers import bills as papers
from billing.papers.typesetting import NotSet, Pdf
from datapump.advanced_settings import networks, print_target_of
from datapump.calls import get_once
from datapump.connectors.base import ConnectorError
from datapump.connectors.base import Misconfigured as WrongAddress
from datapump.models import PrintedBill
from datapump.print_servers.base import MAX_PDF, Bill, Misconfigured, PrintServerError, Unavailable
from datapump.print_servers.registry import PRINT_SERVERS

logger = logging.getLogger(__name__)

KEPT = timedelta(days=1)
SECONDS = 12.0  # for a whole bill; the person waits
_WAIT = 2.0  # seconds for a place
_BATCH = 500
# A print server that does not answer must leave threads for everybody else.
_at_once = threading.BoundedSemaphore(4)


class BillUnavailable(DomainError):
    """The bill's PDF cannot be shown now; the text says why, for staff. ``late`` says that nothing came in time."""

    default = "The PDF of this bill cannot be shown."

    def __init__(self, message: str | None = None, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


def open_bill(*, invoice: Invoice, language: str, now: datetime, guest_number: str = "", printed: bool = True) -> Pdf:
    """Give a bill as PDF; whoever asks has been found entitled to the invoice.

    An invoice whose format names a print server that its biller has set up is fetched there, or taken from what was
    fetched within a day; every other one is set by ourselves, in ``language``. The invoice's customer and biller should be at hand.
    ``guest_number`` is the account's number as a guest knows it, whom our paper does not tell whose it is. Not ``printed``: the
    biller's own, which says all of it, is not for them.

    :raises BillUnavailable: the print server does not give it, or it cannot be set.
    """
    driver = PRINT_SERVERS.get(invoice.format_guid) if invoice.format_guid and printed else None
    target = print_target_of(invoice.biller_id) if driver else None
    if driver is None or target is None:
        try:
            pdf = papers.bill(invoice, language=language, guest_number=guest_number)
        except NotSet as fault:
            raise BillUnavailable(str(fault)) from None
    else:
        bill = Bill(invoice.issued_on, invoice.custom2, invoice.custom3, invoice.custom9, invoice.custom10)
        try:
            address = driver.address(bill, target)
            asked = hashlib.sha256(address.encode()).hexdigest()
            body = _kept(invoice, asked, now)
            if body is None:
                body = driver.read(*_fetch(address))
                _keep(invoice, asked, body, now)
        except PrintServerError as fault:
            logger.warning("the print server of biller %s gave no bill: %s", invoice.biller_id, type(fault).__name__)
            raise BillUnavailable(str(fault), late=isinstance(fault, Unavailable)) from None
        pdf = Pdf(papers.file_name("bill", invoice.number), body)
    return pdf


def _fetch(address: str) -> tuple[int, bytes]:
    if not _at_once.acquire(timeout=_WAIT):
        raise Unavailable("Too many bills are being fetched at the moment.")
    try:
        answer = get_once(address, timeout=SECONDS, most=MAX_PDF, networks=networks())
    finally:
        _at_once.release()
    match answer.error:
        case None:
            assert answer.status is not None
            return answer.status, answer.body
        case WrongAddress():
            raise Misconfigured("The address of the print server leads where nothing may be fetched.")
        case ConnectorError():
            raise Unavailable(str(answer.error).replace("biller's system", "print server"))


def _kept(invoice: Invoice, asked: str, now: datetime) -> bytes | None:
    found = PrintedBill.objects.filter(
        biller_id=invoice.biller_id, invoice=invoice, asked=asked, fetched_at__gt=now - KEPT
    ).first()
    if found is None:
        return None
    try:
        with found.body.open("rb") as file:
            return bytes(file.read())
    except OSError:  # somebody fetched it anew, or it aged out, this moment
        return None


def _keep(invoice: Invoice, asked: str, body: bytes, now: datetime) -> None:
    """Keep what came. That it cannot be kept is no reason not to show it."""
    try:
        # A name of its own each time: whoever reads the one before reads that, or nothing.
        stored = default_storage.save(f"printed-bills/{invoice.biller_id}/{uuid.uuid4()}.pdf", ContentFile(body))
    except OSError:
        logger.exception("a fetched bill cannot be kept")
        return
    with transaction.atomic(durable=True):
        before = PrintedBill.objects.select_for_update().filter(biller_id=invoice.biller_id, invoice=invoice).first()
        PrintedBill.objects.update_or_create(
            biller_id=invoice.biller_id,
            invoice=invoice,
            defaults={"asked": asked, "body": stored, "size": len(body), "fetched_at": now},
        )
    if before is not None:
        _delete(before)


def purge(*, now: datetime) -> int:
    """Remove what was fetched more than a day ago, some hundreds in a transaction; gives how many."""
    removed = 0
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        while True:
            with transaction.atomic(durable=True):
                old = list(
                    PrintedBill.objects.select_for_update(skip_locked=True)
                    .filter(fetched_at__lte=now - KEPT)
                    .order_by("fetched_at")[:_BATCH]
                )
                PrintedBill.objects.filter(pk__in=[one.pk for one in old]).delete()
            for one in old:
                _delete(one)
            removed += len(old)
            if len(old) < _BATCH:
                return removed


def _delete(printed: PrintedBill) -> None:
    default_storage.delete(str(printed.body.name))
