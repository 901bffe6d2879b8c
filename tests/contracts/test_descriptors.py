"""What a payer's statement can show of a charge."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.gateways.descriptors import check_descriptor, check_phone, item_of

PLAIN = string.ascii_letters + string.digits + "&,./#'-"


def shown(text: str) -> bool:
    """Say by hand whether a statement can show it."""
    if text.count("*") != 1 or len(text) > 22 or set(text) - set(PLAIN + " *"):
        return False
    at = text.index("*") + 1
    item = text[at:]
    return at in {4, 8, 13} and text[0] != " " and item != "" and item == item.strip()


SOME = st.text(alphabet="ab ", max_size=13)


@given(st.tuples(SOME, st.sampled_from(["*", "*", "*", "", "**", "é*"]), SOME).map("".join))
def test_a_descriptor_is_taken_exactly_where_a_statement_can_show_it(text: str) -> None:
    if shown(text):
        check_descriptor(text)
    else:
        with pytest.raises(ValueError, match=" "):
            check_descriptor(text)


@given(
    st.sampled_from([3, 7, 12]).flatmap(
        lambda size: st.tuples(
            st.text(alphabet=PLAIN, min_size=size, max_size=size),
            st.text(alphabet=PLAIN, min_size=1, max_size=24),
        )
    )
)
@pytest.mark.spec("PAY-21")
def test_a_name_of_three_seven_or_twelve_leaves_the_item_what_remains_of_22(parts: tuple[str, str]) -> None:
    name, item = parts
    descriptor = f"{name}*{item}"
    if len(descriptor) <= 22:
        check_descriptor(descriptor)
        assert item_of(descriptor) == item
    else:
        with pytest.raises(ValueError, match=f"22 characters; these are {len(descriptor)}"):
            check_descriptor(descriptor)


@pytest.mark.parametrize(
    ("descriptor", "words"),
    [
        ("BRMInternet", "one asterisk"),
        ("BRM*Internet*SVC", "one asterisk"),
        ("BR*InternetSVC", "position 3"),
        ("BRM *InternetSVC", "position 5"),
        (" RM*InternetSVC", "Begin with the name"),
        ("BRM* InternetSVC", "right after"),
        ("BRM*", "right after"),
        ("BRM*Internet\nSVC", "unaccented"),
    ],
)
def test_a_descriptor_that_cannot_be_is_refused_in_words(descriptor: str, words: str) -> None:
    check_descriptor("BRM*InternetSVC")
    with pytest.raises(ValueError, match=words):
        check_descriptor(descriptor)


def test_a_number_fits_the_place_of_the_city() -> None:
    for good in ("800-555-0123", "800-CITYWTR", "800-5550123"):
        check_phone(good)
    for bad in ("", "8005550123", "+1 800 555 0123", "800-555-01234", "800-citywtr", "800-555-0123\n", "８00-555-0123"):
        with pytest.raises(ValueError, match="800-555-0123"):
            check_phone(bad)


@pytest.mark.spec("PAY-21")
def test_the_asterisk_stands_fourth_eighth_or_thirteenth() -> None:
    def taken(descriptor: str) -> bool:
        try:
            check_descriptor(descriptor)
        except ValueError:
            return False
        return True

    assert [n + 1 for n in range(20) if taken("a" * n + "*b")] == [4, 8, 13]
    assert [n for n in range(1, 30) if taken("abc*" + "d" * n)] == list(range(1, 19))
