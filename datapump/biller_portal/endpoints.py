"""What a person may do with an endpoint from the strip: test it, pause it, let it go on."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from billing.biller_portal.access import BillerRequest, biller_page
from billing.errors import DomainError
from billing.permissions import Permission
from datapump.biller_portal.waking import wake
from datapump.models import Endpoint
from datapump.operations import endpoints


def endpoint_or_404(request: BillerRequest, endpoint_id: uuid.UUID) -> Endpoint:
    """Give the biller's endpoint; another biller's is not found."""
    return get_object_or_404(Endpoint.objects.visible_to(request.user).filter(biller=request.biller), pk=endpoint_id)


@require_POST
@biller_page(Permission.RESEND)
def test(request: BillerRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Ask the biller's system whether it is well."""
    endpoint = endpoint_or_404(request, endpoint_id)
    try:
        tested = endpoints.send_test(actor=request.actor, endpoint=endpoint, now=timezone.now())
    except DomainError as refused:
        messages.error(request, str(refused))
    else:
        (messages.success if tested.well else messages.error)(request, f"{endpoint.short_name}: {tested.words}")
    return redirect("biller-datapump")


@require_POST
@biller_page(Permission.CHANGE_SETTINGS)
def pause(request: BillerRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Stop sending to an endpoint."""
    return _done(request, endpoint_id, endpoints.pause, "Nothing is sent there until somebody lets it go on.")


@require_POST
@biller_page(Permission.CHANGE_SETTINGS)
def resume(request: BillerRequest, endpoint_id: uuid.UUID) -> HttpResponse:
    """Let an endpoint go on."""
    return _done(request, endpoint_id, endpoints.resume, "What is waiting goes out now.")


def _done(request: BillerRequest, endpoint_id: uuid.UUID, operation: endpoints.Change, words: str) -> HttpResponse:
    endpoint = endpoint_or_404(request, endpoint_id)
    try:
        operation(actor=request.actor, endpoint=endpoint)
    except DomainError as refused:
        messages.error(request, str(refused))
    else:
        wake()
        messages.success(request, words)
    return redirect("biller-datapump")
