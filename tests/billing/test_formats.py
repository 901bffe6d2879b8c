"""How amounts, dates, times and numbers read, in English and Spanish."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone, translation
from hypothesis import given
from hypothesis import strategies as st

from billing import formats

NEW_YORK = ZoneInfo("America/New_York")
AFTERNOON = datetime(2026, 11, 22, 19, 30, 5, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "currency", "language", "words"),
    [
        ("1234.5", "USD", "en", "$1,234.50"),
        ("1234.5", "USD", "es", "$1,234.50"),
        ("0", "USD", "en", "$0.00"),
        ("-12.40", "USD", "en", "-$12.40"),
        ("1234567.89", "EUR", "en", "€1,234,567.89"),
        ("1234.00", "JPY", "en", "¥1,234"),
        ("999999999999.99", "USD", "en", "$999,999,999,999.99"),
    ],
)
def test_money_has_the_currency_sign_thousands_and_places(
    amount: str, currency: str, language: str, words: str
) -> None:
    assert formats.money(Decimal(amount), currency, language=language) == words


@pytest.mark.parametrize(
    ("amount", "language", "words"),
    [
        ("84.10", "en", "$84.10"),
        ("-12.40", "en", "Credit of $12.40"),
        ("-12.40", "es", "Crédito de $12.40"),
        ("0", "en", "$0.00"),
    ],
)
def test_less_than_nothing_owed_is_a_credit(amount: str, language: str, words: str) -> None:
    assert formats.balance(Decimal(amount), "USD", language=language) == words


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=2))
def test_no_figure_of_an_amount_is_lost(amount: Decimal) -> None:
    written = formats.money(amount, "USD", language="en").replace("$", "").replace(",", "")
    assert Decimal(written) == amount


def test_moments_are_in_the_zone_and_say_which() -> None:
    assert formats.moment(AFTERNOON, zone=NEW_YORK, language="en") == "Nov 22, 2026, 2:30 pm ET"
    assert formats.moment(AFTERNOON, zone=NEW_YORK, language="es") == "22 nov 2026, 2:30 p.m. ET"
    assert formats.moment(AFTERNOON, zone=ZoneInfo("UTC"), language="en") == "Nov 22, 2026, 7:30 pm UTC"
    assert formats.exact(AFTERNOON, zone=NEW_YORK, language="en") == "Nov 22, 2026, 14:30:05.123 ET"


def test_the_current_zone_and_language_are_the_default() -> None:
    with timezone.override(ZoneInfo("America/Denver")), translation.override("es"):
        assert formats.moment(AFTERNOON) == "22 nov 2026, 12:30 p.m. MT"


def test_a_moments_date_is_the_date_in_the_zone() -> None:
    late = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
    assert formats.day(late, zone=NEW_YORK, language="en") == "Nov 22, 2026"
    assert formats.day(date(2026, 3, 1), language="en") == "Mar 1, 2026"
    assert formats.month(date(2026, 3, 1), language="en") == "March 2026"


@pytest.mark.parametrize(
    ("stored", "shown", "hidden"),
    [
        ("+15555550123", "(555) 555-0123", "(•••) •••-0123"),
        ("+442079460958", "+44 20 7946 0958", "+•• •• •••• 0958"),
        ("ask at the desk", "ask at the desk", "ask at the desk"),
        ("", "", ""),
        ("911", "911", "•••"),
    ],
)
def test_telephone_numbers_read_as_at_home_and_masked_show_four_figures(stored: str, shown: str, hidden: str) -> None:
    assert formats.phone(stored) == shown
    assert formats.masked_phone(stored) == hidden


@given(st.from_regex(r"\+1[2-9][0-9]{9}", fullmatch=True))
def test_a_masked_number_never_shows_more_than_four_figures(number: str) -> None:
    shown = formats.masked_phone(number)
    assert [character for character in shown if character.isdigit()] == list(number[-4:])


def test_masked_numbers_show_their_end() -> None:
    assert formats.masked("4242") == "•••• 4242"
    assert formats.masked("9999 8888 7777") == "•••• 7777"
    assert formats.masked("") == "••••"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (7200, "2 hours"),
        (86400, "1 day"),
        (-5, "0 seconds"),
    ],
)
def test_lengths_of_time_use_their_largest_unit(seconds: float, words: str) -> None:
    with translation.override("en"):
        assert formats.ago(seconds) == words
