"""Made-up invoice files of any size, the same for the same seed: for the demonstration, tests and measurements."""

from __future__ import annotations

import datetime
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import IO

from billing.invoice_layouts import Layout, RowKind

_GIVEN = (
    "Alma", "Bernard", "Carmen", "Dolores", "Edgar", "Fatima", "George", "Hannah", "Ines", "Jorge", "Keiko",
    "Lucía", "Miguel", "Nadia", "Owen", "Priya", "Quentin", "Rosa", "Samuel", "Teresa", "Uma", "Víctor",
    "Wanda", "Ximena", "Yusuf", "Zoë",
)  # fmt: skip
_FAMILY = (
    "Abbott", "Baca", "Castillo", "Dunn", "Espinoza", "Foster", "Gallegos", "Hughes", "Ibarra", "Jackson",
    "Keller", "Lindqvist", "Montoya", "Nguyen", "Okafor", "Pham", "Quiñones", "Reyes", "Sandoval", "Trujillo",
    "Underwood", "Valdez", "Whitfield", "Xiong", "Yazzie", "Zimmer",
)  # fmt: skip
_STREETS = ("Mill Race Lane", "Cottonwood Drive", "Main Street", "Old River Road", "Juniper Court", "Second Avenue")
_TOWNS = (("Maple Falls", "VT", "05601"), ("Red Mesa", "NM", "87501"), ("Prairie Bend", "MO", "64601"))
_FORMAT = "BA1CEC36-997C-48E3-8406-437640EDFF84"


@dataclass(frozen=True, slots=True)
class Totals:
    """What the header of a file says."""

    count: int
    total: Decimal


def write_invoice_file(
    out: IO[bytes],
    *,
    guid: uuid.UUID,
    count: int,
    made_on: datetime.datetime,
    seed: int = 1,
    first_account: int = 10_000,
    cycle: int = 1,
    due_in: Sequence[int] = (0, 3, 7, 14, 21),
    block_cards_every: int | None = None,
    household: int = 1,
    layout: Layout | None = None,
) -> Totals:
    """Write an invoice file (BIF) of ``count`` customers with one invoice each, and give its control totals.

    ``made_on`` is in the biller's zone, and its date every invoice's; bills are due ``due_in`` days later, in turn.
    The same accounts have the same names for the same seed; ``cycle`` tells one month's file from the next. Of each
    ``block_cards_every`` accounts the last may not be paid by card. So many accounts after one another as are a ``household``
    are billed as one group (Custom10).
    """
    layout = layout or Layout()
    cents = list(_cents(count, seed, cycle))
    totals = Totals(count, Decimal(sum(cents)).scaleb(-2))
    header = {1: "FH", 2: str(guid), 4: f"{made_on:%m/%d/%Y %H:%M:%S}", 5: str(count), 6: f"{totals.total:.2f}"}
    out.write(_line(layout, RowKind.FILE, header))
    invoice_row, customer_row = (_writer(layout, kind) for kind in (RowKind.INVOICE, RowKind.CUSTOMER))
    people = random.Random(seed)  # noqa: S311  (nothing here is a secret)
    issued = f"{made_on:%m/%d/%Y}"
    dues = [f"{made_on + datetime.timedelta(days=days):%m/%d/%Y}" for days in due_in]
    lines: list[str] = []
    for index, owed in enumerate(cents):
        base, sub = first_account + index, "001"
        control = base * 100 + cycle
        first = base - index % household
        amount = f"{owed // 100}.{owed % 100:02d}"
        lines.append(
            invoice_row(
                _invoice(base, sub, control, f"{first}-{first * 100 + cycle}", issued, dues[index % len(dues)], amount)
            )
        )
        blocked = block_cards_every is not None and (index + 1) % block_cards_every == 0
        lines.append(customer_row(_customer(people, base, sub, blocked=blocked)))
        lines.append("ID\n")
        if len(lines) >= 30_000:
            out.write("".join(lines).encode(layout.encoding, "replace"))
            lines.clear()
    out.write("".join(lines).encode(layout.encoding, "replace"))
    return totals


def _cents(count: int, seed: int, cycle: int) -> Iterator[int]:
    amounts = random.Random(f"{seed}:{cycle}")  # noqa: S311  (as above)
    for _ in range(count):
        yield 1_500 + int(amounts.random() * amounts.random() * 48_500)


def _invoice(base: int, sub: str, control: int, group: str, issued: str, due: str, amount: str) -> dict[int, str]:
    return {
        7: "IH", 8: "R", 9: _FORMAT, 10: str(control), 11: issued, 12: due, 13: amount, 39: str(base), 40: sub,
        41: f"32{base:08d}", 46: str(control), 47: group, 407: "0.00",
    }  # fmt: skip


def _customer(people: random.Random, base: int, sub: str, *, blocked: bool) -> dict[int, str]:
    given, family = people.choice(_GIVEN), people.choice(_FAMILY)
    town, state, zip_code = people.choice(_TOWNS)
    line = 2_000_000 + int(people.random() * 8_000_000)
    form = people.random()
    phone = f"(555) {line // 10_000}-{line % 10_000:04d}" if form < 0.8 else f"555{line}" if form < 0.9 else ""
    email = f"{given}.{family}.{base}@example.com".lower() if people.random() < 0.85 else ""
    return {
        58: "CR", 59: f"{base}-{sub}", 60: f"{given} {family}", 61: f"{1 + base % 990} {people.choice(_STREETS)}", 62: "",
        63: town, 64: state, 65: zip_code, 66: phone, 67: email.translate(_PLAIN), 356: "Y" if blocked else "N", 373: "",
    }  # fmt: skip


_PLAIN = str.maketrans("íéñë", "iene")


def _line(layout: Layout, kind: RowKind, row: dict[int, str]) -> bytes:
    return _writer(layout, kind)(row).encode(layout.encoding)


def _writer(layout: Layout, kind: RowKind) -> Callable[[dict[int, str]], str]:
    numbers = layout.columns[kind]

    def write(row: dict[int, str]) -> str:
        return "|".join([row.get(number, "") for number in numbers]) + "\n"

    return write
