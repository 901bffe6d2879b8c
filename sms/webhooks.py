"""The face that text providers call: texts from phones, and what became of texts to them.

One address for each line, which names it by its GUID. What a provider says is believed when its signature is right; it is
stored and taken before anything is made of it.
"""

from __future__ import annotations

import logging
import time
import uuid

from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing import audit, tenancy, wakes
from billing.actors import Actor
from sms import tasks
from sms.operations import inbound
from sms.operations import texts as operations
from sms.operations.lines import heard_line, reader_of
from sms.providers.base import Ignored, Inbound, Misconfigured, NotAuthentic, StatusReport, Webhook

logger = logging.getLogger(__name__)

# Whoever hears looks again after he has found something (``tasks.LINGER_SECONDS``): not every text must wake somebody.
_WAKE_EVERY = tasks.LINGER_SECONDS / 2
_woken_at = [0.0]

_PROVIDER = Actor.system("text provider")


# A provider carries no token of ours: it signs what it sends, and the driver checks that.
@csrf_exempt
@require_POST
def texts(request: HttpRequest, guid: uuid.UUID) -> HttpResponse:
    """Take what a provider tells of one line."""
    line = heard_line(guid)
    if line is None:
        raise Http404
    tenancy.enter([line.biller_id])
    try:
        provider = reader_of(line)
    except Misconfigured as error:
        logger.error("line %s cannot hear: %s", line.pk, error)
        return HttpResponse(status=503)
    try:
        # The address as the provider was told it: what a request says of itself anybody may have written.
        told = provider.read(
            Webhook(settings.PUBLIC_URL + request.get_full_path(), dict(request.headers), request.body)
        )
    except NotAuthentic as error:
        logger.warning("a webhook of line %s was refused: %s", line.pk, error)
        with transaction.atomic():
            audit.record(
                actor=_PROVIDER, event="webhook.refused", biller_id=line.biller_id, subject=f"line:{line.pk}",
                facts={"address": request.META.get("REMOTE_ADDR", ""), "reason": str(error)[:120]},
            )  # fmt: skip
        return HttpResponse(status=403)
    match told:
        case Inbound():
            answered = told.acted_on is not None and told.acted_on in provider.managed.answers
            if inbound.store(line=line, inbound=told, answered=answered) and _is_due_a_wake():
                wakes.wake(tasks.hear)
        case StatusReport():
            operations.report(line=line, report=told, actor=_PROVIDER)
        case Ignored(why):
            logger.info("a webhook of line %s told nothing: %s", line.pk, why)
    accepted = provider.acknowledgement
    return HttpResponse(accepted.body, status=accepted.status, content_type=accepted.content_type or None)


def _is_due_a_wake() -> bool:
    """Say whether this process has woken nobody for a moment."""
    now = time.monotonic()
    if now - _woken_at[0] < _WAKE_EVERY:
        return False
    _woken_at[0] = now
    return True
