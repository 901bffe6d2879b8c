"""The admin's one site: for administrators of the installation, with a second factor and every biller in scope."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, cast

from allauth.mfa.utils import is_mfa_enabled
from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from billing import tenancy


class Site(AdminSite):
    """The admin: it has no sign-in page of its own, since that would know no second factor."""

    site_header = "Ratepayer"
    site_title = "Ratepayer"
    index_title = "Administration"

    def has_permission(self, request: HttpRequest) -> bool:
        """Let in administrators of the installation alone."""
        user = request.user
        return bool(user.is_active and getattr(user, "is_staff", False) and getattr(user, "is_superuser", False))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Send whoever is not signed in to the sign-in page, and everybody else on or away.

        :raises PermissionDenied: they are no administrator.
        """
        if not request.user.is_authenticated:
            return redirect_to_login(request.GET.get("next") or "/admin/")
        if not self.has_permission(request):
            raise PermissionDenied("The admin is for administrators of the installation.")
        return redirect("admin:index")

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:
        """Guard a page: a second factor, then every biller in scope for the rest of the request."""

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if not is_mfa_enabled(request.user):
                return redirect("mfa_activate_totp")
            tenancy.enter(tenancy.EVERY_BILLER)
            return view(request, *args, **kwargs)

        return cast("Callable[..., Any]", super().admin_view(update_wrapper(guarded, view), cacheable))
