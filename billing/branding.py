"""The biller's look: the stylesheet of its accent colour, its logo, and what every page's frame needs to know.

A colour reaches the page as a stylesheet of its own, because the content security policy allows no inline style. The
address holds the colour, so the answer never changes and reads nothing. Whatever colour a biller picks, text in it is
moved towards black or white until it has 4.5:1, so that no biller can make its portal unreadable.
"""

from __future__ import annotations

import mimetypes
import re
from typing import Any

from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from billing import portal_settings, sessions, tenancy
from billing.models import Biller

DEFAULT_ACCENT = "#0b5394"
THEMES = ("light", "dark")
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")
_PICTURES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/svg+xml"})
Rgb = tuple[int, int, int]

_WHITE: Rgb = (255, 255, 255)
_BLACK: Rgb = (0, 0, 0)
# The darkest light ground and the lightest dark ground that text in the accent stands on.
_LIGHT_GROUND: Rgb = (244, 246, 248)
_DARK_GROUND: Rgb = (38, 43, 51)


def accent_of(biller: Biller | None) -> str:
    """Give the biller's accent as six figures without the hash, as the stylesheet's address has it."""
    found = _HEX.fullmatch(biller.accent if biller else DEFAULT_ACCENT)
    return (found[1] if found else DEFAULT_ACCENT[1:]).lower()


def accent_css(accent: str) -> str:
    """Write the stylesheet of an accent colour.

    :raises ValueError: it is not six hexadecimal figures.
    """
    found = _HEX.fullmatch(accent)
    if found is None:
        raise ValueError("An accent colour is six hexadecimal figures.")
    colour = _read(found[1])
    light = towards(colour, _BLACK, on=_LIGHT_GROUND)
    dark = towards(colour, _WHITE, on=_DARK_GROUND)
    rules = {
        # Fill of buttons; the same in light and dark, with the figure colour that reads better on it.
        "fill": (_write(light), _write(dark)),
        "on-fill": (_write(reading(light)), _write(reading(dark))),
        "fill-pressed": (_write(_mix(light, _BLACK, 0.18)), _write(_mix(dark, _WHITE, 0.18))),
        "text": (_write(light), _write(dark)),
        # The biller's own colour as it is, for bands and marks that carry no text.
        "band": (_write(colour), _write(colour)),
    }
    lines = [f"  --accent-{name}: light-dark({day}, {night});" for name, (day, night) in rules.items()]
    return ":root {\n" + "\n".join(lines) + "\n}\n"


@require_safe
@cache_control(public=True, max_age=31_536_000, immutable=True)
def accent_stylesheet(request: HttpRequest, accent: str) -> HttpResponse:
    """Answer with the stylesheet of an accent colour."""
    try:
        return HttpResponse(accent_css(accent), content_type="text/css; charset=utf-8")
    except ValueError:
        raise Http404 from None


@require_safe
@cache_control(public=True, max_age=300)
def logo(request: HttpRequest, slug: str) -> FileResponse:
    """Answer with a biller's logo, which everybody may see who may see its sign-in page."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        biller = Biller.objects.filter(slug=slug).first()
    kind = mimetypes.guess_type(biller.logo.name or "")[0] if biller and biller.logo else None
    if biller is None or kind not in _PICTURES:
        raise Http404
    response = FileResponse(biller.logo.open("rb"), content_type=kind)
    # A drawing may hold scripts; opened by itself it must be nothing but a picture.
    response["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return response


def frame(request: HttpRequest) -> dict[str, Any]:
    """Tell every template whose page this is, through whose eyes it is seen, and the theme (context processor)."""
    theme = request.COOKIES.get("theme", "")
    user = getattr(request, "user", None)
    biller = getattr(request, "biller", None)
    nobody = user is None or not user.is_authenticated
    return {
        "sign_in_elsewhere": portal_settings.portal_of(biller) if biller is not None and nobody else "",
        "session_seconds": sessions.seconds_left(request) if user is not None and user.is_authenticated else 0,
        "biller": biller,
        "viewing_as": getattr(request, "viewing_as", ""),
        "theme": theme if theme in THEMES else "",
    }


def luminance(colour: Rgb) -> float:
    """Give the relative luminance of a colour, 0 to 1. Source: WCAG 2.2."""
    parts = [part / 255 for part in colour]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Rgb, other: Rgb) -> float:
    """Give the contrast ratio of two colours, 1 to 21. Source: WCAG 2.2."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def towards(colour: Rgb, end: Rgb, *, on: Rgb, ratio: float = 4.6) -> Rgb:
    """Move a colour towards black or white in steps until text in it reads on the ground."""
    for step in range(51):
        mixed = _mix(colour, end, step / 50)
        if contrast(mixed, on) >= ratio:
            return mixed
    return end


def reading(ground: Rgb) -> Rgb:
    """Give the one of black and white that reads better on a ground."""
    return _WHITE if contrast(_WHITE, ground) >= contrast(_BLACK, ground) else _BLACK


def _mix(one: Rgb, other: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _read(figures: str) -> Rgb:
    return int(figures[0:2], 16), int(figures[2:4], 16), int(figures[4:6], 16)


def _write(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
