"""Who may open a page of the biller portal, and for which biller it speaks.

A page says what right it needs; here the person is identified, with a second factor, their biller chosen and put in
scope. ``request.biller`` and ``request.actor`` are what pages and operations work with.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone, translation
from django.views import View

from billing import tenancy
from billing.actors import Actor
from billing.models import Biller, User
from billing.permissions import Permission, may

P = ParamSpec("P")
_CHOSEN = "biller"


class BillerRequest(HttpRequest):
    """A request of a biller's person, as pages of the biller portal get it."""

    user: User
    biller: Biller
    actor: Actor
    billers: list[Biller]

    def may(self, permission: Permission) -> bool:
        """Say whether the person has the right at the biller the page speaks for."""
        return may(self.user, permission, self.biller.pk)


def biller_page(
    permission: Permission,
) -> Callable[
    [Callable[Concatenate[BillerRequest, P], HttpResponseBase]], Callable[Concatenate[HttpRequest, P], HttpResponseBase]
]:
    """Let in a biller's people who have the right: others get the sign-in page, 403 or, where nothing is theirs, 404."""

    def decorate(
        view: Callable[Concatenate[BillerRequest, P], HttpResponseBase],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @functools.wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            refusal = admit(request, permission)
            return refusal or view(cast("BillerRequest", request), *args, **kwargs)

        guarded.permission = permission  # type: ignore[attr-defined]  # read by the walk of every route
        return guarded

    return decorate


class StaffPage(View):
    """The same rule for pages that are classes: give ``permission``, and put this before the page's own base."""

    permission = Permission.VIEW
    request: BillerRequest

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Let in whoever may, then answer as the page does."""
        return admit(request, self.permission) or super().dispatch(request, *args, **kwargs)


def admit(request: HttpRequest, permission: Permission) -> HttpResponseBase | None:
    """Identify the person, choose the biller, put it in scope; gives an answer only where the page may not be shown.

    :raises Http404: the person is no biller's.
    :raises PermissionDenied: their role lacks the right.
    """
    user = request.user
    if not user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if not user.is_superuser and not user.roles:
        raise Http404("Not a biller's person.")
    if not is_mfa_enabled(user):
        return redirect("mfa_activate_totp")
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.all() if user.is_superuser else Biller.objects.filter(pk__in=user.roles))
    if not billers:
        raise Http404("No biller yet.")
    chosen = request.session.get(_CHOSEN)
    biller = next((one for one in billers if one.pk == chosen), billers[0])
    tenancy.enter([biller.pk])
    if not may(user, permission, biller.pk):
        raise PermissionDenied("Your role at this biller does not allow this.")
    # Staff pages have no Spanish words yet, and half a page of another language is worse than none.
    translation.activate("en")
    timezone.activate(biller.zone)
    page = cast("BillerRequest", request)
    page.biller, page.billers = biller, billers
    page.actor = Actor.csr(user, request.META.get("REMOTE_ADDR"))
    page.may = functools.partial(_may, page)  # type: ignore[method-assign]  # the class only types the request
    return None


def choose_biller(request: HttpRequest, biller: Biller) -> None:
    """Let the portal speak for another biller of the same person from now on."""
    request.session[_CHOSEN] = biller.pk


def _may(request: BillerRequest, permission: Permission) -> bool:
    return may(request.user, permission, request.biller.pk)
