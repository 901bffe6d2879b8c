"""Where browsers find a processor's own fields: at the processor, or in a page of ours that runs its script.

The page of ours is framed by our own pages only, as the processor's would be. A ticket in its address, signed by us and
good for an hour, says for whom and what it is: without one nobody makes the processor begin an entry. What the script
may reach is allowed in this page and nowhere else.

Source: PAY-16, PAY-17.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
from typing import Any

from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone, translation
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from billing import tenancy, throttles
from billing.models import Customer
from billing.throttles import Limit, TooManyTries
from payments.gateways.base import FieldScript, GatewayError, HostedFields, ScriptedFields
from payments.models import Route
from payments.operations import verifications
from payments.operations.routes import open_route

# Somebody who corrects a mistake opens the fields a few times; each entry is something at the processor.
ENTRIES = Limit("method-fields", 30, datetime.timedelta(hours=1))
_SALT = "method-fields"
_SECONDS = 3600
_LANGUAGES = ("en", "es")
_NOTHING = "'none'"


def hosted_fields(
    request: HttpRequest, *, route: Route, customer: Customer, kind: str, return_url: str, language: str
) -> HostedFields:
    """Say where the browser finds the fields of a route's processor for a customer's new "card" or "bank".

    :raises payments.gateways.base.Misconfigured: the route is set up wrongly.
    """
    back = request.build_absolute_uri(return_url)
    ticket = signing.dumps(
        {
            "route": route.pk,
            "biller": route.biller_id,
            "customer": customer.pk,
            "kind": kind,
            "back": back,
            "language": language if language in _LANGUAGES else "en",
            "once": secrets.token_urlsafe(8),
        },
        salt=_SALT,
        compress=True,
    )
    return open_route(route).hosted_fields(
        cvv_required=verifications.rules_of(route.biller_id).require_cvv,
        return_url=back,
        parent_origin=request.build_absolute_uri("/").rstrip("/"),
        language=language,
        kind=kind,
        own_page=request.build_absolute_uri(reverse("method-fields", args=[ticket])),
    )


@never_cache
@require_safe
def method_fields(request: HttpRequest, ticket: str) -> HttpResponse:
    """Draw the page that runs a processor's script, or lead on to the processor's own page."""
    try:
        said: dict[str, Any] = signing.loads(ticket, salt=_SALT, max_age=_SECONDS)
    except signing.BadSignature:
        raise Http404("No such entry.") from None
    tenancy.enter([said["biller"]])
    route = Route.objects.filter(pk=said["route"], biller_id=said["biller"], active=True).first()
    customer = Customer.objects.filter(pk=said["customer"], biller_id=said["biller"]).first()
    if route is None or customer is None:
        raise Http404("No such entry.")
    entry = {
        "kind": said["kind"],
        # Not in the address, which anybody reads who sees it.
        "account": customer.shown_number,
        "key": hashlib.sha256(ticket.encode()).hexdigest()[:40],
    }
    script: FieldScript | None = None
    status = 200
    try:
        gateway = open_route(route)
        if not isinstance(gateway, ScriptedFields):
            raise Http404("No such entry.")
        throttles.count(tries=[(ENTRIES, str(said["customer"]))], now=timezone.now())
        if "leave" in request.GET:
            address = gateway.leave_for_fields(**entry, return_url=said["back"], language=said["language"])
            return HttpResponseRedirect(address)
        script = gateway.open_fields(**entry)
    except TooManyTries:
        status = 429
    except GatewayError:
        status = 503
    with translation.override(said["language"]):
        context = {
            "script": script,
            "driver": route.driver,
            "biller": route.biller,
            "status": status,
            "kind": said["kind"],
            "back": said["back"],
        }
        response = render(request, "customer_portal/method_fields.html", context, status=status)
    response["Content-Security-Policy"] = _policy(script)
    response["X-Frame-Options"] = "SAMEORIGIN"
    return response


def _policy(script: FieldScript | None) -> str:
    allowed: dict[str, list[str]] = {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "script-src": ["'self'"],
        "frame-src": [],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'self'"],
    }
    for directive, origins in (script.origins if script else {}).items():
        allowed[directive] += origins
    return "; ".join(f"{name} {' '.join(sources) or _NOTHING}" for name, sources in allowed.items())
