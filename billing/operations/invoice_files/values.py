"""How a field's text becomes a value, in SQL: one expression says whether it can, another what it is.

Expressions take the name of a text column that is NULL where the file has nothing.
"""

from __future__ import annotations

from billing.money import places

# A spreadsheet would take a text that begins so for a formula: =+-@, their full width forms, a space that does not
# break.
_FORMULA_SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20\u00a0"
_UNSHOWN = "\u0080-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069"
_NO_DAY = ("1/1/0001", "01/01/0001", "0001-01-01")


def not_amount(column: str, currency: str) -> str:
    """Say in SQL that a text is no amount of the currency."""
    # Figures taken away, a plain decimal leaves one of these; the type itself reads more, such as 1e5 and NaN.
    shape = f"translate({column}, '0123456789', '') IN ('', '.', '-', '-.')"
    value = f"{column}::numeric"
    fits = f"scale({value}) <= 2 AND {value} = round({value}, {places(currency)}) AND abs({value}) < 1e12"
    return (
        f"({column} IS NOT NULL AND NOT CASE WHEN {shape} AND pg_input_is_valid({column}, 'numeric') THEN {fits}"
        " ELSE false END)"
    )


def amount(column: str) -> str:
    """Read an amount in SQL."""
    return f"{column}::numeric(14, 2)"


def not_day(column: str) -> str:
    """Say in SQL that a text is no date between 1900 and 2099."""
    shapes = ("00/00/0000", "0/0/0000", "0/00/0000", "00/0/0000", "0000-00-00", "00000000")
    shape = f"translate({column}, '123456789', '000000000') IN {shapes!r}"
    text = _day_text(column)
    return (
        f"({column} IS NOT NULL AND NOT CASE WHEN {shape} AND pg_input_is_valid({text}, 'date')"
        f" THEN ({text})::date BETWEEN '1900-01-01' AND '2099-12-31' ELSE false END)"
    )


def day(column: str) -> str:
    """Read a date in SQL; needs ``DateStyle`` to say that the month comes first."""
    return f"({_day_text(column)})::date"


def _day_text(column: str) -> str:
    # Eight figures are MMDDYYYY, as in the file's name, unless they begin with a century: no month does.
    return (
        f"CASE WHEN length({column}) = 8 AND {column} < '19' AND {column} !~ '[^0-9]'"
        f" THEN right({column}, 4) || left({column}, 4) ELSE {column} END"
    )


def stated(column: str) -> str:
    """Take an empty date for nothing: some systems write one as the first day there is."""
    return f"CASE WHEN {column} IN {_NO_DAY!r} THEN NULL ELSE {column} END"


def not_flag(column: str) -> str:
    """Say in SQL that a text is neither yes nor no."""
    return f"upper({column}) NOT IN ('Y', 'N', 'YES', 'NO', 'TRUE', 'FALSE', 'T', 'F', '1', '0')"


def flag(column: str) -> str:
    """Read yes or no in SQL; NULL stays NULL."""
    return f"upper(left({column}, 1)) IN ('Y', 'T', '1')"


def not_guid(column: str) -> str:
    """Say in SQL that a text is no GUID."""
    return f"NOT pg_input_is_valid({column}, 'uuid')"


def formula(column: str) -> str:
    """Say in SQL that a spreadsheet would take a text for a formula; a plain negative number is none."""
    signs = ", ".join(str(ord(sign)) for sign in _FORMULA_SIGNS)
    return rf"(ascii({column}) IN ({signs}) AND {column} !~ '^-?[0-9]+(\.[0-9]+)?$')"


def not_email(column: str) -> str:
    """Say in SQL that a text is not one e-mail address."""
    return rf"{column} !~ '^[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>.]+$'"


def _bare(column: str) -> str:
    return f"translate({column}, '()-. ', '')"


def odd_phone(column: str) -> str:
    """Say in SQL that a telephone number is not written as most are, so that the library must look at it."""
    return f"{_bare(column)} !~ '^1?[2-9][0-9]{{9}}$'"


def plain_phone(column: str) -> str:
    """Read an ordinary North American number in SQL as E.164; NULL where it is not one."""
    return f"CASE WHEN {_bare(column)} ~ '^1?[2-9][0-9]{{9}}$' THEN '+1' || right({_bare(column)}, 10) END"


def safe(column: str, most: int) -> str:
    """Cut a text short for an error, without characters that turn the writing around."""
    return f"left(regexp_replace({column}, '[{_UNSHOWN}]', chr(65533), 'g'), {most})"
