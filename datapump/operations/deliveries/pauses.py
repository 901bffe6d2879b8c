"""Endpoints that stop by themselves: their settings are wrong, and a person must look."""

from __future__ import annotations

import logging

from billing import audit
from billing.actors import Actor
from datapump.models import Endpoint

log = logging.getLogger(__name__)


def pause(endpoint: Endpoint, reason: str, *, actor: Actor) -> None:
    """Stop an endpoint until a person has looked; the caller is in a transaction."""
    Endpoint.objects.filter(pk=endpoint.pk).update(paused=True, paused_for=reason[:300])
    audit.record(
        actor=actor,
        event="endpoint.paused",
        biller_id=endpoint.biller_id,
        subject=str(endpoint.pk),
        facts={"purpose": endpoint.get_purpose_display(), "reason": reason[:300]},
    )
    log.error("endpoint %s of biller %s is paused: %s", endpoint.pk, endpoint.biller_id, reason)
