"""Lines: the driver of each, set up as its row says."""

from __future__ import annotations

from django.conf import settings

from sms.models import Line
from sms.providers.base import Provider
from sms.providers.registry import open_provider


def open_line(line: Line) -> Provider:
    """Give the driver of a line.

    :raises sms.providers.base.Misconfigured: the line's driver or options are wrong.
    """
    return open_provider(line.driver, line.options, line.secret, callback_url=callback_of(line))


def callback_of(line: Line) -> str:
    """Give the public address at which a line's provider tells us of texts."""
    return f"{settings.PUBLIC_URL}/texts/{line.guid}"
