"""How amounts, dates, times, telephone numbers and account numbers are written for people, in their language.

Every face words them through here, so that a receipt, a list and a text message agree. Times come in as UTC and go
out in the current time zone, which faces set to the biller's; the language is the current one unless it is given.
"""

from __future__ import annotations

import re
import uuid
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import phonenumbers
from babel.dates import format_date, format_time, get_timezone_name
from babel.numbers import format_currency, format_decimal
from django.utils import timezone, translation
from django.utils.translation import gettext, pgettext

from billing.money import places

_LOCALES = {"en": "en_US", "es": "es_US"}
# What Babel puts between figures and "PM" or "p.m.", where an ordinary space reads and copies better.
_THIN_SPACES = {0x202F: " ", 0xA0: " "}
DOT = "•"


def locale_name(language: str | None = None) -> str:
    """Give the Babel locale of a language code, the current language by default; an unknown one reads as English."""
    code = (language or translation.get_language() or "en").split("-")[0].lower()
    return _LOCALES.get(code, "en_US")


def spoken(words: str, words_es: str) -> str:
    """Choose what somebody wrote in both languages, or in English alone, by the current language."""
    return words_es if words_es and locale_name() == _LOCALES["es"] else words


def money(amount: Decimal, currency: str, *, language: str | None = None) -> str:
    """Write an amount with its currency's sign: ``$1,234.50``, ``-$12.40``."""
    return format_currency(amount, currency, _pattern(currency), locale=locale_name(language), currency_digits=False)


def _pattern(currency: str) -> str:
    return "¤#,##0" + ("." + "0" * places(currency) if places(currency) else "")


def balance(amount: Decimal, currency: str, *, language: str | None = None) -> str:
    """Write what is owed; less than nothing is a credit: ``Credit of $12.40``."""
    if amount >= 0:
        return money(amount, currency, language=language)
    with translation.override(language or translation.get_language() or "en"):
        return gettext("Credit of %(amount)s") % {"amount": money(-amount, currency, language=language)}


def number(value: int | Decimal, *, language: str | None = None) -> str:
    """Write a count with its thousands: ``5,000``."""
    return format_decimal(value, locale=locale_name(language))


def day(value: date | datetime, *, zone: ZoneInfo | None = None, language: str | None = None) -> str:
    """Write a date: ``Nov 22, 2026``; of a moment, the date it has in the time zone."""
    if isinstance(value, datetime):
        value = value.astimezone(_zone(zone)).date()
    return format_date(value, "medium", locale=locale_name(language))


def month(value: date, *, language: str | None = None) -> str:
    """Write a month: ``November 2026``."""
    return format_date(value, "LLLL y", locale=locale_name(language))


def clock(value: datetime, *, zone: ZoneInfo | None = None, language: str | None = None) -> str:
    """Write a time of day without its zone: ``2:30 pm``."""
    text = format_time(value, "short", tzinfo=_zone(zone), locale=locale_name(language)).translate(_THIN_SPACES)
    return text.replace("AM", "am").replace("PM", "pm")


def moment(value: datetime, *, zone: ZoneInfo | None = None, language: str | None = None) -> str:
    """Write a moment with its zone: ``Nov 22, 2026, 2:30 pm ET``."""
    zone = _zone(zone)
    written = day(value, zone=zone, language=language), clock(value, zone=zone, language=language)
    return f"{written[0]}, {written[1]} {zone_name(value, zone, language)}"


def exact(value: datetime, *, zone: ZoneInfo | None = None, language: str | None = None) -> str:
    """Write a moment to the millisecond, for comparing with somebody's log: ``Nov 22, 2026, 14:30:05.123 ET``."""
    zone = _zone(zone)
    local = value.astimezone(zone)
    figures = f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}"
    return f"{day(value, zone=zone, language=language)}, {figures} {zone_name(value, zone, language)}"


def zone_name(value: datetime, zone: ZoneInfo | None = None, language: str | None = None) -> str:
    """Give the short name of the time zone: ``ET``, ``CT``, ``UTC``."""
    local = value.astimezone(_zone(zone))
    if local.tzname() == "UTC":
        return "UTC"
    # Babel's short generic names exist for the zones of the United States only in English and es_US.
    return get_timezone_name(local, width="short", zone_variant="generic", locale=locale_name(language))


def ago(seconds: float) -> str:
    """Word a length of time with its largest unit: ``45 seconds``, ``12 minutes``, ``3 hours``, ``2 days``."""
    whole = max(0, int(seconds))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if whole >= length or length == 1:
            return _counted(unit, whole // length)
    raise AssertionError("seconds always fit")


def _counted(unit: str, count: int) -> str:
    # Whole phrases, because Spanish and English put the plural in different places.
    words = {
        "day": translation.ngettext("%(n)s day", "%(n)s days", count),
        "hour": translation.ngettext("%(n)s hour", "%(n)s hours", count),
        "minute": translation.ngettext("%(n)s minute", "%(n)s minutes", count),
        "second": translation.ngettext("%(n)s second", "%(n)s seconds", count),
    }
    return words[unit] % {"n": number(count)}


def phone(e164: str) -> str:
    """Write a telephone number as people of its country do: ``(555) 555-0123``; other text stays as it is."""
    parsed = _parse_phone(e164)
    if parsed is None:
        return e164
    form = phonenumbers.PhoneNumberFormat
    if parsed.country_code == 1:
        return phonenumbers.format_number(parsed, form.NATIONAL)
    return phonenumbers.format_number(parsed, form.INTERNATIONAL)


def masked_phone(e164: str) -> str:
    """Write a telephone number with all but its last four figures hidden: ``(•••) •••-0123``."""
    shown = phone(e164)
    figures = sum(character.isdigit() for character in shown)
    hide = max(0, figures - 4) if figures > 4 else figures
    written = []
    for character in shown:
        if character.isdigit() and hide:
            written.append(DOT)
            hide -= 1
        else:
            written.append(character)
    return "".join(written)


def masked(number_text: str, *, last: int = 4) -> str:
    """Write a card, bank or account number with all but its last figures hidden: ``•••• 4242``."""
    kept = re.sub(r"\s", "", number_text)[-last:]
    return f"{DOT * 4} {kept}" if kept else DOT * 4


def confirmation(payment_id: uuid.UUID) -> str:
    """Write a payment's confirmation number, such as ``019AB-3C9D2-1F04A``.

    It is the id's time and sequence digits without the version digit, so that a confirmation number can be found by a
    range of the primary key and needs no column or index of its own.
    """
    digits = payment_id.hex[:12] + payment_id.hex[13:16]
    return "-".join((digits[:5], digits[5:10], digits[10:15])).upper()


def yes_or_no(value: bool) -> str:
    """Word a truth: ``Yes``, ``No``."""
    return pgettext("answer", "Yes") if value else pgettext("answer", "No")


def _zone(zone: ZoneInfo | None) -> ZoneInfo:
    return zone or ZoneInfo(timezone.get_current_timezone_name())


def _parse_phone(text: str) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, "US")
    except phonenumbers.NumberParseException:
        return None
