"""Celery's face of billing: each task finds its work in the database, calls one operation and ends."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.utils import timezone

from billing import tenancy, throttles
from billing.actors import Actor
from billing.operations import notice_deliveries

# A task hands over after so long, so that a worker can be stopped.
TURN_SECONDS = 60.0


@shared_task
def send_notices(**_: Any) -> None:
    """Send the e-mails that are due, a few of each biller in turn; ends within about a minute."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        notice_deliveries.send_due(actor=Actor.system("send_notices"), seconds=TURN_SECONDS)


@shared_task
def forget_tries(**_: Any) -> None:
    """Remove the counters of tries whose windows are long over."""
    throttles.forget(now=timezone.now())
