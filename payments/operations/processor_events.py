"""Events of processors: stored once as they arrive, applied by looking up what they name, thrown away when they are old.

An event is a hint. It says which attempt to ask about now instead of at the next recovery; the answer that counts is the
one that the processor gives when it is asked, and it is taken forward only. So an event that comes twice, late, or before
another that happened earlier has at most one effect, and one that never comes costs time and nothing else.

Source: PAY-10, PAY-32; the design's five rules, 5.
"""

from __future__ import annotations

import datetime
import uuid

from django.db import connection
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.failpoints import failpoint
from billing.models import Biller
from payments.gateways.base import GatewayError
from payments.gateways.base import ProcessorEvent as Told
from payments.models import Attempt, AttemptState, ProcessorEvent, Route
from payments.operations import recoveries, returns, settlements
from payments.operations.routes import open_route
from payments.operations.settlements import Settled

BATCH = 500
# Processors repeat an event for days at most; after this an event that came again would be kept again.
KEPT = datetime.timedelta(days=60)
_KEYS_MOST = 10


def told_route(guid: uuid.UUID) -> Route | None:
    """Give the active route that the address of a webhook names."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        return Route.objects.filter(guid=guid, active=True).first()


def store(*, route: Route, event: Told) -> bool:
    """Keep an event; gives False where it was told before. Committed when it returns."""
    if connection.in_atomic_block:
        raise RuntimeError("What is stored must be committed before the processor is told that it was taken.")
    _event, stored = ProcessorEvent.objects.get_or_create(
        biller_id=route.biller_id,
        route=route,
        event_id=event.id[:80],
        defaults={
            "kind": event.kind[:80],
            "keys": [key[:80] for key in event.keys[:_KEYS_MOST]],
            "reverses": event.reverses,
            "happened_at": event.happened_at,
        },
    )
    failpoint("processor_events.stored")
    return stored


def apply(*, biller: Biller, actor: Actor) -> Settled:
    """Ask about what the biller's events name, and settle it; what cannot be asked now is asked at the next call.

    Any number of workers may do so at once: settling is done once for each attempt.
    """
    settled = Settled()
    waiting = ProcessorEvent.objects.filter(biller=biller, applied_at__isnull=True).order_by("pk")
    by_route: dict[int, list[ProcessorEvent]] = {}
    for event in waiting.select_related("route")[:BATCH]:
        by_route.setdefault(event.route_id, []).append(event)
    for events in by_route.values():
        route = events[0].route
        try:
            settled += _ask(biller, route, {key for event in events for key in event.keys}, actor)
            if any(event.reverses for event in events):
                returns.read_route(route=route, actor=actor, now=timezone.now())
        except GatewayError:
            continue  # it does not answer; recovery asks as well
        failpoint("processor_events.asked")
        ProcessorEvent.objects.filter(pk__in=[event.pk for event in events]).update(applied_at=timezone.now())
    return settled


def purge(*, now: datetime.datetime) -> int:
    """Throw away events that were applied long ago; gives how many."""
    deleted, _ = ProcessorEvent.objects.filter(applied_at__lt=now - KEPT).delete()
    return deleted


def _ask(biller: Biller, route: Route, keys: set[str], actor: Actor) -> Settled:
    """Look up the attempts that are named and whose outcome may still be news: open ones, and those given up."""
    known = []
    for key in keys:
        try:
            known.append(uuid.UUID(key))
        except ValueError:
            continue
    attempts = list(
        Attempt.objects.filter(
            pk__in=known, biller=biller, route=route, state__in=[AttemptState.OPEN, AttemptState.ABANDONED]
        )
    )
    if not attempts:
        return Settled()
    answers, _absent = recoveries.look_up(open_route(route), attempts)
    return settlements.settle(biller=biller, answers=answers, actor=actor, now=timezone.now())
