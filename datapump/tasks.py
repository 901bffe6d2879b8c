"""Tasks: the delivery loop, runs that send again, and the ageing out of envelopes and fetched bills, as beat starts them.

The rows are the queue and a message is a wake-up: any of them may be lost, come twice or come late.
"""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.utils import timezone

from billing.actors import Actor
from datapump.operations import deliveries, envelopes, printed_bills, resends

_DELIVERY = Actor.system("DataPump delivery")


@shared_task(expires=30)
def deliver(*, seconds: float = 60.0, shards: list[int] | None = None, **_: Any) -> None:
    """Deliver what is due, for a minute at most; where work is left then, another takes over."""
    tally = deliveries.deliver(actor=_DELIVERY, seconds=seconds, shards=shards)
    if tally.more:
        deliver.delay(seconds=seconds, shards=shards)


@shared_task(expires=30)
def resend(**_: Any) -> None:
    """Carry on with runs that send again, then deliver."""
    if resends.work(actor=Actor.system("DataPump resend")):
        deliver.delay()


@shared_task(expires=3600)
def purge_envelopes(**_: Any) -> None:
    """Remove what was said long ago."""
    envelopes.purge(now=timezone.now())


@shared_task(expires=3600)
def purge_printed_bills(**_: Any) -> None:
    """Remove bills that were fetched from print servers more than a day ago."""
    printed_bills.purge(now=timezone.now())
