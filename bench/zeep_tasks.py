"""The peer of delivery: a Celery task for each record, which calls zeep and records what came, as most people build it."""

from __future__ import annotations

import functools
import os
from typing import Any

from celery import Celery
from django.db import transaction
from django.utils import timezone

app = Celery("zeep_tasks", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    db_reuse_max=10_000,  # else every task opens a connection of its own
)


@functools.cache
def service(url: str) -> tuple[Any, Any]:
    """Give zeep's service for an address, made once a process, and what remembers its last call."""
    from zeep.plugins import HistoryPlugin

    from datapump.connectors.multispeak import definitions

    client = definitions.client()
    history = HistoryPlugin()  # type: ignore[no-untyped-call]  # zeep has no types
    client.plugins.append(history)
    return client.create_service(definitions.BINDING, url), history


@app.task(name="bench.tell")
def tell(record_id: str) -> None:
    """Tell one record."""
    from lxml import etree

    from billing import tenancy
    from datapump.connectors.base import Message
    from datapump.connectors.multispeak import definitions
    from datapump.models import Delivery, Envelope, Record

    with tenancy.acting_for(tenancy.EVERY_BILLER):
        began = timezone.now()
        record = Record.objects.select_related("customer", "endpoint").get(pk=record_id)
        if not Record.objects.filter(pk=record_id, state="waiting").update(state="sending", claimed_at=began):
            return
        endpoint = record.endpoint
        assert endpoint is not None
        facts = {**record.facts, "payment_guid": str(record.pk), "source": 0, "obd": False, "kiosk": ""}
        account = f"{record.customer.base}{record.customer.sub}"
        message = Message(str(record.pk), "payment", account, record.created_at, facts)
        calls, history = service(endpoint.url)
        operation, arguments = definitions.arguments([message], target(endpoint.url))
        answer = calls[operation](
            **arguments, _soapheaders={"MultiSpeakMsgHeader": {"UserID": endpoint.username, "Pwd": endpoint.password}}
        )
        (told,) = answer["body"]["CommitPaymentTransactionResult"]["paymentTransaction"]
        tender = told["creditCardPayment"][0]["tender"]
        state = "delivered" if tender["responseCode"] == "Success" else "failed"
        milliseconds = int((timezone.now() - began).total_seconds() * 1000)
        with transaction.atomic():
            envelope = Envelope.objects.create(
                biller_id=record.biller_id,
                endpoint=endpoint,
                operation=operation,
                at=began,
                milliseconds=milliseconds,
                status=200,
                request=etree.tostring(history.last_sent["envelope"], encoding="unicode"),
                answer=etree.tostring(history.last_received["envelope"], encoding="unicode"),
            )
            Delivery.objects.create(
                biller_id=record.biller_id,
                record=record,
                envelope=envelope,
                at=began,
                milliseconds=milliseconds,
                status=200,
                outcome="delivered",
            )
            Record.objects.filter(pk=record_id, claimed_at=began).update(
                state=state, claimed_at=None, attempts=record.attempts + 1, delivered_at=timezone.now()
            )


def target(url: str) -> Any:
    """Give the target of the measurement's endpoint."""
    from datapump.connectors.base import Target

    options = {"card_modes": "0(WEB)", "transaction_id_is_payment_guid": True, "payments_per_envelope": 10}
    return Target(url, "ratepayer", "bench", "UTC", options)
