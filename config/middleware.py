"""What every answer carries besides what Django's own middleware adds, and what no page answers at all."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed

# Parts of a browser that no page of ours uses, nor a page that is shown inside one.
_UNUSED = (
    "accelerometer",
    "autoplay",
    "bluetooth",
    "browsing-topics",
    "camera",
    "display-capture",
    "encrypted-media",
    "geolocation",
    "gyroscope",
    "hid",
    "idle-detection",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "screen-wake-lock",
    "serial",
    "usb",
    "xr-spatial-tracking",
)
PERMISSIONS_POLICY = ", ".join(f"{name}=()" for name in _UNUSED)

_VERBS = ("GET", "HEAD", "POST")
_API = "/api/"
# What stands in these addresses opens an account: other addresses, our own too, are not told from which one somebody came.
# The origin alone is still said, because forms are checked by it.
_LINKS = ("/t/", "/sign-on/", "/cloudpay/", "/demo/portal")


class Answers:
    """Puts the rules for browsers and caches on every answer.

    What no view and no static file says may be kept is kept nowhere: most pages show what only one person may see.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.headers.setdefault("Cache-Control", "no-store")
        if request.path_info.startswith(_LINKS):
            response.headers["Referrer-Policy"] = "strict-origin"
            response.headers["X-Robots-Tag"] = "noindex, nofollow"
        return response


class Verbs:
    """Refuses every verb that no page has, before anything else: a page would take a DELETE for a request to be drawn.

    The API has verbs of its own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method not in _VERBS and not request.path_info.startswith(_API):
            return HttpResponseNotAllowed(_VERBS)
        return self.get_response(request)
