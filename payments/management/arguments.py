"""Arguments that several commands about money take."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from django.core.management.base import CommandError

from billing import tenancy
from billing.models import Biller
from payments.models import Route

# So many names are said where one is not known.
NAMED = 20
# A hundred years: no number of days leads out of the calendar.
_MOST_DAYS = 36_500
# More than any bill, and less than the columns hold.
_MOST_MONEY = Decimal(10) ** 10


def day(text: str) -> datetime.date | int:
    """Read a date, or a number of days before today."""
    try:
        given = int(text) if text.isdigit() else datetime.date.fromisoformat(text)
    except ValueError:
        given = -1
    if isinstance(given, int) and not 0 <= given <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a date such as 2026-11-22 nor a number of days before today."
        )
    return given


def date(text: str) -> datetime.date:
    """Read a date."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-11-22.") from None


def date_of(given: datetime.date | int, today: datetime.date) -> datetime.date:
    """Give the date that :func:`day` read, for a biller whose business day is today."""
    return today - datetime.timedelta(days=given) if isinstance(given, int) else given


def moment(text: str) -> datetime.datetime:
    """Read a moment such as ``2026-11-22T04:00``, in UTC where it names no zone."""
    try:
        read = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a moment such as 2026-11-22T04:00.") from None
    return read if read.tzinfo else read.replace(tzinfo=datetime.UTC)


def count(text: str) -> int:
    """Read how many: one or more."""
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 9 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of one or more.")
    return int(text)


def days(text: str) -> int:
    """Read a number of days, one or more."""
    given = count(text)
    if given > _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {_MOST_DAYS} days.")
    return given


def money(text: str) -> Decimal:
    """Read an amount."""
    try:
        read = Decimal(text)
    except InvalidOperation:
        read = Decimal("NaN")
    if not (read.is_finite() and 0 <= read < _MOST_MONEY):
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount such as 5.00.")
    return read


def billers_named(slug: str) -> list[Biller]:
    """Give the biller of a slug, or every one for "all".

    :raises CommandError: there is none.
    """
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.all() if slug == "all" else Biller.objects.filter(slug=slug))
        if not billers:
            known = Biller.objects.order_by("slug").values_list("slug", flat=True)[:NAMED]
            raise CommandError(f"There is no biller {slug!r}; there is {_listed(known) or 'none at all'}.")
    return billers


def biller_named(slug: str) -> Biller:
    """Give the biller of a slug, where a command is for one alone.

    :raises CommandError: there is none, or all were named.
    """
    if slug == "all":
        raise CommandError("Name one biller with --biller.")
    return billers_named(slug)[0]


def route_named(biller: Biller, name: str | None) -> Route | None:
    """Give the biller's route of a name; nothing where none was named.

    :raises CommandError: there is none of that name.
    """
    if name is None:
        return None
    route = Route.objects.filter(biller=biller, name=name).first()
    if route is None:
        known = Route.objects.filter(biller=biller).order_by("name").values_list("name", flat=True)[:NAMED]
        raise CommandError(f"{biller} has no route {name!r}; it has {_listed(known) or 'none at all'}.")
    return route


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
