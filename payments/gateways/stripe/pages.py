"""Stripe's lists, a hundred rows at a time, newest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from payments.gateways.base import OutcomeUnknown
from payments.gateways.stripe.answers import Json, rows, text

# Makes a call and gives what came, or one of the four errors.
Ask = Callable[[Callable[[], Any]], dict[str, Any]]

AT_ONCE = 100


def pages(ask: Ask, call: Callable[[Any], Any], wanted: Mapping[str, Any]) -> Iterator[Json]:
    """Give every row of a list.

    :raises OutcomeUnknown: a page did not come, or cannot be read.
    """
    after: dict[str, str] = {}
    while True:
        listed = ask(lambda: call({**wanted, "limit": AT_ONCE, **after}))  # noqa: B023
        found = rows(listed)
        yield from found
        if listed.get("has_more") is not True:
            return
        last = text(found[-1], "id") if found else ""
        if not last or after.get("starting_after") == last:
            raise OutcomeUnknown("Stripe's list has no end")
        after = {"starting_after": last}
