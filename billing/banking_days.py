"""Banking days in the United States: weekdays on which the Federal Reserve's payment services are open.

A holiday on a Sunday is kept on the Monday after it; one on a Saturday is not kept at all.
Source: PAY-34
"""

from __future__ import annotations

import datetime
from functools import cache

_DAY = datetime.timedelta(days=1)
_FIXED = ((1, 1), (6, 19), (7, 4), (11, 11), (12, 25))
# Month, weekday (Monday is 0) and which of them: Martin Luther King, Washington, Labor Day, Columbus, Thanksgiving.
_NTH = ((1, 0, 3), (2, 0, 3), (9, 0, 1), (10, 0, 2), (11, 3, 4))


def is_banking_day(day: datetime.date) -> bool:
    """Say whether banks move money on a day."""
    return day.weekday() < 5 and day not in holidays(day.year)


def after(day: datetime.date, count: int) -> datetime.date:
    """Give the banking day that is so many banking days after a day; the day itself for none."""
    while count > 0:
        day += _DAY
        count -= is_banking_day(day)
    return day


@cache
def holidays(year: int) -> frozenset[datetime.date]:
    """Give the days of a year on which banks keep a holiday."""
    fixed = [datetime.date(year, month, day) for month, day in _FIXED]
    nth = [
        datetime.date(year, month, 1 + (weekday - datetime.date(year, month, 1).weekday()) % 7 + 7 * (which - 1))
        for month, weekday, which in _NTH
    ]
    last_of_may = datetime.date(year, 5, 31)
    memorial = last_of_may - last_of_may.weekday() * _DAY
    return frozenset([*(day + _DAY if day.weekday() == 6 else day for day in fixed), *nth, memorial])
