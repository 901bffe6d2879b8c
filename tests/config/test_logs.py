"""No line of a log shows a card or bank number."""

from __future__ import annotations

import logging
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.logs import MaskingFormatter, mask


@given(st.from_regex(r"[0-9]{12,19}", fullmatch=True), st.text(alphabet=" :,;/()=\"'", min_size=1, max_size=3))
def test_a_number_of_a_card_is_never_shown(number: str, around: str) -> None:
    assert number not in mask(f"pan{around}{number}{around}end")
    assert mask(f"x {number} y") == f"x …{number[-4:]} y"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card 4000 0000 0000 0000 declined", "card …0000 declined"),
        ("card 4000-0000-0000-0000.", "card …0000."),
        ("amex 3000 000000 00000", "amex …0000"),
        ("account=000123456789", "account=…6789"),
    ],
)
def test_printed_groups_are_masked(text: str, expected: str) -> None:
    assert mask(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22 15:12:49,256 INFO took 0.123456789 s",
        "invoice 10001-1 of 35909001 for 232.10",
        f"payment {uuid.UUID('01890a5d-ac96-774b-bcce-b302099a8057')}",
        "127.0.0.1:41234",
        "sha 4f1234567890abcdef",
    ],
)
def test_what_is_no_number_of_a_card_or_account_stays(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /t/8fX-Ab3_dE6-x1 200", "GET /t/… 200"),
        ("GET /cloudpay/8fXAb3_dE6-x1/ab12/review/ 200", "GET /cloudpay/…/ab12/review/ 200"),
    ],
)
def test_links_that_open_an_account_are_masked(text: str, expected: str) -> None:
    assert mask(text) == expected


def test_arguments_and_tracebacks_are_masked_too() -> None:
    number = "9" * 12 + "0002"
    try:
        raise ValueError(number)
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "", 0, "saw %s", (number,), (ValueError, error, error.__traceback__)
        )
    line = MaskingFormatter("{message}", style="{").format(record)
    assert number not in line
    assert line.count("…0002") == 2
