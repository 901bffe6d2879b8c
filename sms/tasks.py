"""Celery's face of texting: each task finds its work in the database, calls one operation and ends."""

from __future__ import annotations

import time
from typing import Any

from celery import shared_task

from billing import tenancy, wakes
from billing.actors import Actor
from sms.operations import announcements, enrolments, inbound, texts

# A task hands over after so long, so that a worker can be stopped.
TURN_SECONDS = 15.0
# Whoever has heard something listens so long for more.
LINGER_SECONDS = 0.4


@shared_task(expires=30)
def hear(**_: Any) -> None:
    """Hear what phones have said, answer what was waited for, and send the answers."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        heard = inbound.hear_due(seconds=TURN_SECONDS)
        told = inbound.tell_outcomes()
    if heard or told:
        wakes.wake(send)
    if heard:
        time.sleep(LINGER_SECONDS)
        wakes.wake(hear)


@shared_task(expires=30)
def send(**_: Any) -> None:
    """Send the texts that are due."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        texts.send_due(actor=Actor.system("send_texts"), seconds=TURN_SECONDS)


@shared_task(expires=60)
def announce(**_: Any) -> None:
    """Write texts of bills that have loaded, and of prepaid accounts with little left."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        announcements.announce_due()
        announcements.announce_low()


@shared_task(expires=300)
def end_run_out(**_: Any) -> None:
    """End the registrations that nobody confirmed in time."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        enrolments.end_run_out(actor=Actor.system("end_run_out"))
