"""The portal of a biller's own, as far as single sign-on goes: payers go to Ratepayer from there, and come back.

It stands for somebody else's site. It writes and reads tickets by what ``docs/single-sign-on.md`` says and shares no code
with those who read and write ours; the key is the one that the biller was given.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import jwt
from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from billing import tenancy
from billing.models import Biller, PayerLink, RemoteRegistration, SignOnKey
from config.demo.towns import RED_MESA

LIFE = 60  # seconds


@never_cache
@require_safe
def portal(request: HttpRequest) -> HttpResponse:
    """Show the biller's own users with a way to Ratepayer for each; say who came back, where a ticket says so."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        biller = Biller.objects.filter(slug=RED_MESA.slug).first()
        context: dict[str, Any] = {"title": "The portal of Red Mesa Water", "section": "portal", "biller": biller}
        if biller is not None:
            context["users"] = _users(biller)
            if "ticket" in request.GET:
                context |= _arrived(biller, request.GET["ticket"])
    return render(request, "demo/portal.html", context)


@require_POST
def go(request: HttpRequest) -> HttpResponse:
    """Send one of the users to Ratepayer with a ticket, to one account where that is chosen."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        biller = Biller.objects.filter(slug=RED_MESA.slug).first()
        key = _key(biller) if biller else None
        if biller is None or key is None:
            messages.error(request, "This portal has no key to sign tickets with: make one in the biller’s settings.")
            return redirect("demo-portal")
        claims = {"sub": request.POST.get("user_name", "")}
        if account := request.POST.get("account"):
            claims["account"] = account
        ticket = write_ticket(claims, guid=str(biller.guid), key=key)
    return redirect(f"{reverse('customer-arrive', args=[biller.slug])}?{urlencode({'ticket': ticket})}")


def write_ticket(claims: Mapping[str, str], *, guid: str, key: SignOnKey) -> str:
    """Write the ticket with which one of the portal's users arrives at Ratepayer."""
    now = int(time.time())
    told = {"iss": guid, "aud": settings.PUBLIC_URL, "jti": str(uuid.uuid4()), "iat": now, "exp": now + LIFE, **claims}
    return jwt.encode(told, key.secret, algorithm="HS256", headers={"kid": key.name})


def _users(biller: Biller) -> list[dict[str, Any]]:
    """Give everybody whom the biller has registered at Ratepayer, with their accounts."""
    found = RemoteRegistration.objects.filter(biller=biller).select_related("user").order_by("user_name")
    links = PayerLink.objects.filter(biller=biller).select_related("customer").order_by("customer")
    accounts: dict[int, list[Any]] = {}
    for link in links:
        accounts.setdefault(link.user_id, []).append(link.customer)
    return [
        {"name": one.user.name, "user_name": one.user_name, "accounts": accounts.get(one.user_id, [])} for one in found
    ]


def _arrived(biller: Biller, ticket: str) -> dict[str, Any]:
    """Say who came from Ratepayer with a ticket, or why the ticket is not believed."""
    key = _key(biller)
    try:
        if key is None:
            raise jwt.InvalidKeyError("there is no key")
        claims = jwt.decode(
            ticket, key.secret, algorithms=["HS256"], audience=str(biller.guid), issuer=settings.PUBLIC_URL
        )
    except jwt.PyJWTError as error:
        return {"refused": str(error)}
    if not cache.add(f"demo-portal:{claims['jti']}", 1, LIFE + 5):
        return {"refused": "It was used already"}
    return {"arrived": claims["sub"], "claims": claims}


def _key(biller: Biller) -> SignOnKey | None:
    return SignOnKey.objects.filter(biller=biller, retired_at=None).order_by("-created_at", "-pk").first()
