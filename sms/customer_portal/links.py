"""The page that a link in a text opens: what is due on one account, and the way to paying it without a sign-in.

Phones fetch links to draw previews, so opening one does nothing; a button leads on, through the door that guests use, to that
account alone.

Source: PBT-16
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from billing import tenancy
from billing.actors import Actor
from billing.customer_portal.access import Door, open_for_guest
from billing.throttles import TooManyTries
from sms.operations import links
from sms.operations.links import Standing


@never_cache
def link(request: HttpRequest, code: str) -> HttpResponseBase:
    """Show what a link is for, and lead on to paying when told to."""
    actor = Actor.payer(None, address=request.META.get("REMOTE_ADDR"))
    try:
        opened = links.open_link(code=code, actor=actor, now=timezone.now())
    except TooManyTries as refused:
        told = {"title": _("Too many tries"), "refused": str(refused)}
        return render(request, "customer_portal/text_link.html", told, status=429)
    except links.NoSuchLink:
        raise Http404("No such link.") from None
    customer, biller = opened.customer, opened.customer.biller
    tenancy.enter([biller.pk])
    timezone.activate(biller.zone)
    request.biller = biller  # type: ignore[attr-defined]  # the frame draws its name and colour
    if request.method == "POST" and opened.payable:
        return redirect(open_for_guest(request.session, customer, masked=True).url("pay", customer))
    titles = {
        Standing.EXPIRED: _("This link has expired"),
        Standing.PAID: _("This bill is paid"),
        Standing.WITHDRAWN: _("This bill was withdrawn"),
        Standing.NEWER: _("There is a newer bill"),
    }
    context = {
        "title": titles.get(opened.standing, _("Pay this bill")),
        "biller": biller,
        "currency": biller.currency,
        "opened": opened,
        "standing": str(opened.standing),
        "account_number": Door(masked=True).number(customer),
    }
    status = 410 if opened.standing is Standing.EXPIRED else 200
    return render(request, "customer_portal/text_link.html", context, status=status)
