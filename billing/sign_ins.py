"""Where people go when they sign out: whoever came from a biller's own portal goes back there (MSP-30)."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from billing import sessions


class SignIns(DefaultAccountAdapter):  # type: ignore[misc]  # the package has no types
    """Tells the package what Ratepayer does otherwise."""

    def get_logout_redirect_url(self, request: HttpRequest) -> str:
        """Give the page that somebody sees who has signed out."""
        return sessions.way_back(request) or str(super().get_logout_redirect_url(request))
