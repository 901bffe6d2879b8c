"""How the harness sets each kind of worker to work, and what the CIS is made to do wrong."""

from __future__ import annotations

import contextlib
import datetime
import io
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.utils import timezone

from billing.actors import Actor
from billing.demo import Totals, write_invoice_file
from billing.models import Biller, Chunk, InvoiceFile, Setting
from billing.operations import invoice_files
from datapump.models import Endpoint, Record
from datapump.operations import deliveries
from payments.models import Payment
from payments.operations import carryovers
from tests.cis import Cis

ACTOR = Actor.system("crash harness")
LOAD_POINTS = (
    "load.claimed",
    "load.staged",
    "load.checked",
    "load.merging",
    "load.inserted",
    "load.locked",
    "load.carried",
    "load.merged",
)
DELIVER_POINTS = ("deliver.claimed", "deliver.answered", "deliver.recorded")
CIS_ACTIONS = ("fault", "garbage", "drop_before", "drop_after", "missing", "http_status", "failure")


def tell_by_guid(biller: Biller) -> None:
    """Have payments told by their GUIDs, which the CIS keeps apart."""
    Setting.objects.create(
        biller=biller, number=131, value={"Daffron": {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": True}}}
    )


def cis_rules(draw: random.Random, rate: float) -> list[dict[str, Any]]:
    """Choose what the CIS does wrong, and how often."""
    if rate == 0.0:
        return []
    return [{"action": action, "probability": rate / 3} for action in draw.sample(CIS_ACTIONS, k=3)]


def deliver() -> None:
    """Deliver what is due, with every wait of the rules cut short."""
    deliveries.deliver(actor=ACTOR, seconds=10.0, waits=0.001)


def pass_time(biller: Biller) -> None:
    """Let time pass: what waits for its next try is due, claims of dead processes have run out, breakers are closed."""
    # Longer ago than any clock here is wrong.
    long_ago = timezone.now() - datetime.timedelta(hours=4)
    InvoiceFile.objects.filter(biller=biller).update(claimed_at=long_ago)
    Chunk.objects.filter(biller=biller).update(claimed_at=long_ago)
    Record.objects.filter(biller=biller, state="sending").update(claimed_at=long_ago)
    Record.objects.filter(biller=biller, state__in=["waiting", "retrying", "failed"]).update(
        due_at=timezone.now(), state="waiting"
    )
    Endpoint.objects.filter(biller=biller).update(closed_until=None, failures_in_a_row=0, paused=False)


def judge_cis(cis: Cis, posted: Sequence[Payment]) -> list[str]:
    """Compare what the CIS booked with our posted payments; gives a sentence for each difference."""
    ours = {str(payment.pk): payment.amount for payment in posted}
    theirs = {row["transaction_id"]: Decimal(str(row["amount"])) for row in cis.book()["payments"]}
    return [
        *[f"the CIS never heard of payment {key}" for key in ours.keys() - theirs.keys()],
        *[f"the CIS booked {key}, which is not posted here" for key in theirs.keys() - ours.keys()],
        *[
            f"payment {key} is {ours[key]} here and {theirs[key]} at the CIS"
            for key in ours.keys() & theirs.keys()
            if ours[key] != theirs[key]
        ],
    ]


def receive_file(biller: Biller, count: int, seed: int, *, household: int = 1) -> tuple[InvoiceFile, Totals, list[str]]:
    """Receive a file of made-up bills that are collected today; gives it, its totals and its account numbers.

    So many accounts after one another, a ``household``, have bills of one group.
    """
    body = io.BytesIO()
    # Made in the past, so that no payment of today looks as if the biller's system had known of it.
    made_on = timezone.now().astimezone(biller.zone) - datetime.timedelta(hours=1)
    totals = write_invoice_file(body, guid=biller.guid, count=count, made_on=made_on, seed=seed, household=household)
    accounts = [line.split("|")[1] for line in body.getvalue().decode().splitlines() if line.startswith("CR|")]
    body.seek(0)
    name = f"{biller.number}_{made_on:%m%d%Y}.bif"
    return invoice_files.receive(biller=biller, name=name, body=body, source="command", actor=ACTOR), totals, accounts


def load_file(file: InvoiceFile) -> None:
    """Load it, or leave it to whoever is at it or was before."""
    with contextlib.suppress(invoice_files.NotWaiting, invoice_files.ClaimLost):
        invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry)
