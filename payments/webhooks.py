"""The face that processors call: what they tell unasked.

One address for each route, which names it by its GUID. An event is believed when its signature is right over the bytes
as they came; it is stored and acknowledged before anything is made of it.
"""

from __future__ import annotations

import logging
import uuid

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing import audit, tenancy, wakes
from billing.actors import Actor
from payments import tasks
from payments.gateways.base import EventSource, Misconfigured, NotAuthentic
from payments.operations import processor_events
from payments.operations.routes import open_route

logger = logging.getLogger(__name__)

_PROCESSOR = Actor.system("processor")


# A processor carries no token of ours: it signs what it sends, and the driver checks that.
@csrf_exempt
@require_POST
def events(request: HttpRequest, guid: uuid.UUID) -> HttpResponse:
    """Take what a processor tells of one route."""
    route = processor_events.told_route(guid)
    if route is None:
        raise Http404
    tenancy.enter([route.biller_id])
    try:
        gateway = open_route(route)
    except Misconfigured as error:
        logger.error("route %s cannot hear: %s", route.pk, error)
        return HttpResponse(status=503)
    if not isinstance(gateway, EventSource):
        return HttpResponse(status=403)
    try:
        event = gateway.read_event(body=request.body, headers=dict(request.headers))
    except NotAuthentic as error:
        logger.warning("an event of route %s was refused: %s", route.pk, error)
        with transaction.atomic():
            audit.record(
                actor=_PROCESSOR, event="processor_event.refused", biller_id=route.biller_id, subject=f"route:{route.pk}",
                facts={"address": request.META.get("REMOTE_ADDR", ""), "reason": str(error)[:120]},
            )  # fmt: skip
        return HttpResponse(status=403)
    if processor_events.store(route=route, event=event):
        wakes.wake(tasks.apply_processor_events)
    return HttpResponse(status=200)
