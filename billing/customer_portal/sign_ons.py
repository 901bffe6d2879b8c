"""Single sign-on: coming from a biller's own portal with a ticket, going there with one, and going back signed out (MSP-30)."""

from __future__ import annotations

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from billing import sessions, tenancy
from billing.actors import Actor
from billing.customer_portal.access import PayerRequest, payer_page, refuse_viewer
from billing.customer_portal.guests import biller_of
from billing.errors import DomainError
from billing.operations import sign_ons
from billing.portal_settings import portal_of
from billing.throttles import TooManyTries


# The ticket is what proves where somebody comes from; a form of another site has no token of ours.
@csrf_exempt
@never_cache
def arrive(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Sign in whoever comes with a ticket, in the address or posted, and lead on to an address without it."""
    biller = biller_of(slug)
    if request.method == "HEAD":
        return HttpResponse()  # whoever looks ahead uses no ticket up
    given = request.POST if request.method == "POST" else request.GET
    tenancy.enter([biller.pk])
    try:
        arrival = sign_ons.arrive(
            biller=biller,
            ticket=given.get("ticket", ""),
            actor=Actor.payer(None, address=request.META.get("REMOTE_ADDR")),
        )
    except DomainError as refused:
        request.biller = biller  # type: ignore[attr-defined]  # the frame draws its name and colour
        context = {"title": _("You are not signed in"), "why": str(refused), "portal": portal_of(biller)}
        status = 429 if isinstance(refused, TooManyTries) else 403
        return render(request, "customer_portal/ticket_refused.html", context, status=status)
    login(request, arrival.user, backend="allauth.account.auth_backends.AuthenticationBackend")
    sessions.note_sign_on(request, biller.slug)
    if arrival.customer is not None:
        return redirect("customer-pay", customer_id=arrival.customer.pk)
    return redirect("customer-home")


@payer_page
def leave(request: PayerRequest, slug: str) -> HttpResponseBase:
    """Lead to the biller's own portal with a ticket that signs the payer in there."""
    refused = refuse_viewer(request)
    if refused is not None:
        return refused
    biller, payer = biller_of(slug), request.payer
    assert payer is not None
    tenancy.enter([biller.pk])
    try:
        address = sign_ons.leave(biller=biller, user=payer)
    except DomainError as nowhere:
        context = {"title": _("There is no way there"), "why": str(nowhere), "portal": portal_of(biller)}
        return render(request, "customer_portal/ticket_refused.html", context, status=422)
    answer = redirect(address)
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


@never_cache
def signed_out(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Lead back to the biller's own portal whoever came from there and is signed out."""
    biller = biller_of(slug)
    request.biller = biller  # type: ignore[attr-defined]  # the frame draws its name and colour
    context = {"title": _("You are signed out"), "portal": portal_of(biller)}
    return render(request, "customer_portal/signed_out.html", context)
