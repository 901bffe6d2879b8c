"""Addresses of pages that other parts of the portal may or may not bring along."""

from __future__ import annotations

from django.urls import NoReverseMatch, reverse


def url_if_any(name: str, *args: object) -> str:
    """Give a page's address, or nothing where this installation has no such page."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""
