"""What every request begins with."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from billing import tenancy


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
