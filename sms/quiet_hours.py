"""Quiet hours: when a text that nobody asked for may go out, by every clock that the phone's owner may live by.

Source: evidence 3.4 (47 CFR 64.1200, 12 CFR 1006.6): several possible zones leave only the hours that are good in all.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable
from functools import lru_cache

import phonenumbers
from phonenumbers import timezone as phone_zones

# A number that may be in more zones than a state has says nothing of where its owner is.
_TELLING = 8
# What suits every zone comes round within two days, or, but for a change of clocks weeks away, never.
_WITHIN = datetime.timedelta(days=2)


@lru_cache(maxsize=4096)
def zones_of(number: str) -> tuple[str, ...]:
    """Give the time zones in which the area of a number (E.164) lies; none where it says nothing."""
    try:
        zones = phone_zones.time_zones_for_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return ()
    known = tuple(zone for zone in zones if zone != phone_zones.UNKNOWN_TIMEZONE)
    return known if len(known) <= _TELLING else ()


def next_open(
    now: datetime.datetime, *, number: str, home: zoneinfo.ZoneInfo, opens: int, closes: int
) -> datetime.datetime:
    """Give the first moment from ``now`` on at which it is between two hours of the day in every zone.

    ``home`` is the zone of the service address. Where no moment suits every zone, the home's alone counts.
    """
    zones = {home, *(zoneinfo.ZoneInfo(name) for name in zones_of(number))}
    moment = _first(now, zones, opens, closes)
    return moment if moment is not None else _first(now, [home], opens, closes) or now


def _first(
    now: datetime.datetime, zones: Iterable[zoneinfo.ZoneInfo], opens: int, closes: int
) -> datetime.datetime | None:
    moment = now
    while moment - now <= _WITHIN:
        late = [opening for zone in zones if (opening := _opening(moment, zone, opens, closes)) > moment]
        if not late:
            return moment
        moment = max(late)
    return None


def _opening(moment: datetime.datetime, zone: zoneinfo.ZoneInfo, opens: int, closes: int) -> datetime.datetime:
    """Give the moment itself where it is open in the zone, else the next opening there, in UTC."""
    local = moment.astimezone(zone)
    if opens <= local.hour < closes:
        return moment
    day = local.date() + datetime.timedelta(days=1 if local.hour >= closes else 0)
    return datetime.datetime.combine(day, datetime.time(opens), zone).astimezone(datetime.UTC)
