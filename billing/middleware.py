"""What every request begins with."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from billing import tenancy


class CallersAddress:
    """Makes ``REMOTE_ADDR`` the caller's own address where proxies of ours stand in front (``PROXIES``).

    Each of them adds one address to the right of ``X-Forwarded-For``; what stands further left anybody may have written.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.PROXIES:
            passed = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
            if len(passed) >= settings.PROXIES and passed[-settings.PROXIES]:
                request.META["REMOTE_ADDR"] = passed[-settings.PROXIES]
        return self.get_response(request)


class NothingInScope:
    """Begins each request with no biller in scope and in no biller's time zone; the page's own access rule lets some in.

    The scope is not taken back at the end, because a streamed answer is still being read then: the thread's next request
    begins here again.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        tenancy.enter(())
        # The zone of the biller that this thread served before is not the next visitor's.
        timezone.deactivate()
        return self.get_response(request)
