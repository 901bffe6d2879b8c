"""Celery's face of billing: each task finds its work in the database, calls one operation and ends."""

from __future__ import annotations

import contextlib
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from billing import audit, tenancy, throttles
from billing.actors import Actor, Requestor
from billing.models import InvoiceFile
from billing.operations import idempotency_keys, invoice_files, notice_deliveries, sign_ons
from payments.operations import carryovers

# A task hands over after so long, so that a worker can be stopped.
TURN_SECONDS = 15.0
# A file is loaded whole, however long that takes; the broker may ask again meanwhile and is sent away.
LOAD_SECONDS = 4 * 3600


@shared_task(soft_time_limit=LOAD_SECONDS, time_limit=LOAD_SECONDS + 60)
def load_invoice_file(file_id: int, **_: Any) -> None:
    """Load a received invoice file; does nothing where it is loaded already or another worker is at it."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        biller_id = InvoiceFile.objects.values_list("biller_id", flat=True).get(pk=file_id)
    with (
        tenancy.acting_for([biller_id]),
        contextlib.suppress(invoice_files.NotWaiting, invoice_files.ClaimLost),
    ):
        invoice_files.load(file_id=file_id, actor=Actor.system("load_invoice_file"), carry=carryovers.carry)


@shared_task(soft_time_limit=LOAD_SECONDS, time_limit=LOAD_SECONDS + 60)
def withdraw_invoice_file(file_id: int, actor: dict[str, Any], **_: Any) -> None:
    """Take a loaded invoice file back, for the person who asked; where it cannot be, the audit trail says so."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        file = InvoiceFile.objects.get(pk=file_id)
    by = Actor(**{**actor, "requestor": Requestor(actor["requestor"])})
    with tenancy.acting_for([file.biller_id]):
        try:
            invoice_files.withdraw(file=file, actor=by, put_back=carryovers.put_back)
        except invoice_files.NotWithdrawable as refused:
            with transaction.atomic():
                audit.record(
                    actor=by,
                    event="invoice_file.not_withdrawn",
                    biller_id=file.biller_id,
                    subject=f"invoice_file:{file.pk}",
                    facts={"name": file.name, "reason": str(refused)},
                )


@shared_task
def sweep_drop_folder(**_: Any) -> None:
    """Receive what billers have put into their drop folders, and wake workers to load it."""
    for file in invoice_files.sweep_drop_folder(
        folder=settings.DROP_FOLDER, actor=Actor.system("sweep_drop_folder"), now=timezone.now()
    ):
        load_invoice_file.delay(file.pk)


@shared_task
def load_waiting_files(**_: Any) -> None:
    """Wake a worker for every file that waits or whose worker died, and clear away what dead workers left in staging."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        waiting = invoice_files.waiting(timezone.now())
        invoice_files.sweep_staging()
    for file_id in waiting:
        load_invoice_file.delay(file_id)


@shared_task
def send_notices(**_: Any) -> None:
    """Send the e-mails that are due, a few of each biller in turn; ends within a quarter of a minute."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        notice_deliveries.send_due(actor=Actor.system("send_notices"), seconds=TURN_SECONDS)


@shared_task
def seal_audit_trail(**_: Any) -> None:
    """Close the new entries of the audit trail under one more link of the hash chain."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        audit.seal()


@shared_task
def forget_tries(**_: Any) -> None:
    """Remove the counters of tries whose windows are long over."""
    throttles.forget(now=timezone.now())


@shared_task
def forget_idempotency_keys(**_: Any) -> None:
    """Remove the keys of API calls that are older than is promised."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        idempotency_keys.forget(now=timezone.now())


@shared_task
def forget_tickets(**_: Any) -> None:
    """Remove the tickets of single sign-on that are long over."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        sign_ons.forget(now=timezone.now())
