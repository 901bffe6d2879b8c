"""Staying signed in: for how long, what is said at the end, and the answer to the warning before it."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

_TIMES = "times"
_SIGNED_ON = "signed_on"
# Whoever comes here with a ticket signs in anew, whatever was before.
_ARRIVALS = "/sign-on/"
# A page within so many seconds of the last one writes nothing down.
_NOTED_EVERY = 60


class TimeOut:
    """Signs people out who asked for no page for a while, or whose session is too old, and leads them back afterwards.

    ``settings.SESSION_IDLE_MINUTES`` and ``SESSION_MOST_MINUTES`` say after how long, for staff and for payers. What a
    page asks for by itself keeps nobody signed in.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return self.get_response(request)
        if seconds_left(request) > 0:
            if request.method != "GET" or "HX-Request" not in request.headers:
                note(request, every=_NOTED_EVERY)
            return self.get_response(request)
        why, back = _why(request), way_back(request)
        logout(request)
        if request.path.startswith(_ARRIVALS):
            return self.get_response(request)
        messages.info(request, why)
        if request.path == reverse("session-extend"):
            return self.get_response(request)
        return _to_sign_in(request, back)


def note_sign_on(request: HttpRequest, slug: str) -> None:
    """Note that somebody signed in with a ticket of the biller whose address in the portal this is."""
    request.session[_SIGNED_ON] = slug


def way_back(request: HttpRequest) -> str:
    """Give the page that leads back to the biller's own portal; empty where nobody came from there."""
    slug = request.session.get(_SIGNED_ON)
    return reverse("customer-signed-out", args=[slug]) if slug else ""


def seconds_left(request: HttpRequest) -> int:
    """Give for how many seconds whoever is signed in still is, if they ask for nothing more; 0 where that is over."""
    times = request.session.get(_TIMES)
    if times is None:
        note(request)
        times = request.session[_TIMES]
    idle, most = settings.SESSION_IDLE_MINUTES[times["who"]] * 60, settings.SESSION_MOST_MINUTES[times["who"]] * 60
    return max(0, int(min(times["seen"] + idle, times["begun"] + most) - time.time()))


def _why(request: HttpRequest) -> str:
    """Say which of the two times was over."""
    times = request.session[_TIMES]
    if time.time() >= times["begun"] + settings.SESSION_MOST_MINUTES[times["who"]] * 60:
        return _("You were signed out because you had been signed in for a long time. Sign in to go on where you were.")
    return _("You were signed out because you had not used this site for a while. Sign in to go on where you were.")


def note(request: HttpRequest, *, every: float = 0) -> None:
    """Begin the time without a page anew, unless that was done within so many seconds."""
    now = time.time()
    times = request.session.get(_TIMES)
    if times is None:
        who = "staff" if request.user.is_authenticated and request.user.needs_second_factor else "payer"
        times = {"who": who, "begun": now, "seen": 0.0}
    if now - times["seen"] >= every:
        request.session[_TIMES] = {**times, "seen": now}


def _to_sign_in(request: HttpRequest, back: str) -> HttpResponse:
    """Lead to where they sign in: back to the biller's own portal, or our page, and from there to the page that was open."""
    here = request.get_full_path()
    part_of_a_page = "HX-Request" in request.headers
    if part_of_a_page or request.method != "GET":
        # Where a form was sent to may be no page; where it stood is one.
        stood = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
        ours = url_has_allowed_host_and_scheme(stood, {request.get_host()}, require_https=request.is_secure())
        found = urlsplit(stood)
        here = f"{found.path}?{found.query}" if ours and found.query else found.path if ours else "/"
    answer = redirect(back) if back else redirect_to_login(here)
    if part_of_a_page:
        return HttpResponse(status=204, headers={"HX-Redirect": answer["Location"]})
    return answer


@login_not_required
@never_cache
@require_POST
def extend(request: HttpRequest) -> JsonResponse:
    """Begin the session's time anew and say how many seconds it has; 0 where nobody is signed in any more."""
    if not request.user.is_authenticated:
        return JsonResponse({"seconds": 0})
    note(request)
    return JsonResponse({"seconds": seconds_left(request)})
