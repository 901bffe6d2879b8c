"""Arguments that several commands about money take."""

from __future__ import annotations

import argparse
import datetime
from decimal import Decimal, InvalidOperation

from django.core.management.base import CommandError

from billing import tenancy
from billing.models import Biller
from payments.models import Route


def day(text: str) -> datetime.date | int:
    """Read a date, or a number of days before today."""
    try:
        return int(text) if text.lstrip("-").isdigit() else datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a date such as 2026-11-22 nor a number of days."
        ) from None


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


def money(text: str) -> Decimal:
    """Read an amount."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount.") from None


def billers_named(slug: str) -> list[Biller]:
    """Give the biller of a slug, or every one for "all".

    :raises CommandError: there is none.
    """
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        billers = list(Biller.objects.all() if slug == "all" else Biller.objects.filter(slug=slug))
    if not billers:
        raise CommandError(f"There is no biller {slug!r}.")
    return billers


def route_named(biller: Biller, name: str | None) -> Route | None:
    """Give the biller's route of a name; nothing where none was named.

    :raises CommandError: there is none of that name.
    """
    route = Route.objects.filter(biller=biller, name=name).first() if name else None
    if name and route is None:
        raise CommandError(f"{biller} has no route {name!r}.")
    return route
