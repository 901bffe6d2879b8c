"""Heartbeats: whether each route's processor answers, asked every two minutes and kept with since when (PAY-22).

No charge waits for it: a run finds out by itself whether it can reach a processor.
"""

from __future__ import annotations

import datetime
import logging
import time

from django.db import transaction
from django.utils import timezone

from payments.gateways.base import GatewayError
from payments.models import Route
from payments.operations.routes import open_route

logger = logging.getLogger(__name__)

# An answer that takes longer is none, where the route sets no shorter limit.
LIMIT = datetime.timedelta(seconds=120)


def limit_of(route: Route) -> datetime.timedelta:
    """Give how long a route's heartbeat may take, and how long it may be silent."""
    set_limit = route.options.get("heartbeat_limit")
    return LIMIT if set_limit is None else datetime.timedelta(seconds=float(set_limit))


def ask(*, route: Route) -> Route:
    """Ask a route's processor whether it answers, and give the route with what came of it."""
    began = time.monotonic()
    failure = ""
    try:
        open_route(route).ping()
    except GatewayError as error:
        failure = str(error) or type(error).__name__
    limit = limit_of(route).total_seconds()
    if not failure and time.monotonic() - began > limit:
        failure = f"its answer took longer than {limit:g} seconds"
    return _keep(route.pk, failure, timezone.now())


@transaction.atomic(durable=True)
def _keep(route_id: int, failure: str, now: datetime.datetime) -> Route:
    # Attempts that name the route are written meanwhile: their lock and this one get on.
    found = Route.objects.select_for_update(no_key=True).get(pk=route_id)
    was = found.answered
    if failure:
        found.failed_at, found.failure = now, failure[:200]
    else:
        found.heard_at = now
    answers = not failure
    if answers is not was:
        found.connection_since = now
        logger.log(
            logging.INFO if answers else logging.WARNING,
            "the processor of route %s %s", route_id, "answers" if answers else f"does not answer: {failure}",
        )  # fmt: skip
    found.answered = answers
    found.save(update_fields=["answered", "heard_at", "failed_at", "failure", "connection_since"])
    return found


def silent(*, biller_id: int, now: datetime.datetime) -> list[Route]:
    """Give the biller's active routes whose processor has not answered for its limit, the longest silence first."""
    quiet = Route.objects.filter(biller_id=biller_id, active=True, answered=False)
    return sorted(
        (route for route in quiet if now - (route.heard_at or route.connection_since or now) >= limit_of(route)),
        key=lambda route: (route.connection_since or now, route.pk),
    )
