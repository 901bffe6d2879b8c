"""Reads over several models of billing: search, what became of a bill, ageing of receivables."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection

from billing import phone_numbers
from billing.models import Biller, Customer, Invoice, Item, PayerLink, User

# Above every character of a name: the end of a range that holds all names with a beginning.
_LAST = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Found:
    """One customer that a search found; ``matched`` names what matched (``name``, …), ``by`` how it reads."""

    customer: Customer
    matched: str
    by: str


def customers_matching(*, biller: Biller, text: str, limit: int) -> list[Found]:
    """Find customers by account number, phone, e-mail (their own or a payer's), or the beginning of a name.

    Exact matches first, then names by first word, then by surname. Each part reads an index, at most ``limit`` rows.
    """
    text = " ".join(text.split())
    found: dict[int, Found] = {}

    def take(customers: Iterable[Customer], matched: str, field: str) -> None:
        for customer in customers:
            found.setdefault(customer.pk, Found(customer, matched, str(getattr(customer, field))))

    mine = Customer.objects.filter(biller=biller)
    if not text or "\x00" in text:
        return []
    take(mine.filter(number=text).order_by("pk")[:limit], "number", "number")
    take(mine.filter(display_number=text).order_by("pk")[:limit], "number", "display_number")
    if "@" in text:
        addresses = {text, text.lower()}
        take(mine.filter(email__in=addresses).order_by("pk")[:limit], "email", "email")
        for link in _links_of(biller, text, limit):
            found.setdefault(link.customer_id, Found(link.customer, "payer", link.user.email))
    elif phone := phone_numbers.read(text):
        take(mine.filter(phone=phone).order_by("pk")[:limit], "phone", "phone")
    if any(letter.isalpha() for letter in text) and "@" not in text:
        begins = text.lower()
        for field in ("search_name", "search_surname"):
            if len(found) < limit:
                names = mine.filter(**{f"{field}__gte": begins, f"{field}__lt": begins + _LAST})
                take(names.order_by(field, "pk")[:limit], "name", "name")
    return list(found.values())[:limit]


def _links_of(biller: Biller, email: str, limit: int) -> Iterable[PayerLink]:
    user = User.objects.filter(email=email.lower()).first()
    if user is None:
        return []
    return PayerLink.objects.filter(biller=biller, user=user).select_related("customer", "user").order_by("pk")[:limit]


def invoices_matching(*, biller: Biller, text: str, limit: int) -> list[Invoice]:
    """Find invoices by their number, newest first."""
    text = text.strip()
    if not text or "\x00" in text:
        return []
    return list(
        Invoice.objects.filter(biller=biller, number=text)
        .select_related("customer")
        .order_by("-issued_on", "-pk")[:limit]
    )


def standing(invoice: Invoice, item: Item | None, today: datetime.date) -> tuple[str, datetime.date | None]:
    """Say how a bill stands, as ``billing.statuses`` knows it ("invoice"), with the day that completes the words.

    ``item`` is what is owed of it; a withdrawn invoice may have none.
    """
    if invoice.withdrawn or item is None:
        return "withdrawn", None
    if item.amount < 0:
        return "credit", None
    if item.open == 0:
        return ("carried" if item.transferred else "paid"), None
    if invoice.due_on < today:
        return "overdue", invoice.due_on
    return ("part_paid", None) if item.allocated else ("due", invoice.due_on)


@dataclass(frozen=True, slots=True)
class AgeBand:
    """What is open of bills whose due date lies that many days back, in number of bills and money."""

    label: str
    count: int
    total: Decimal


_BANDS = ("Not due yet", "1 to 30 days", "31 to 60 days", "61 to 90 days", "Over 90 days")


def ageing(*, biller: Biller, today: datetime.date) -> tuple[list[AgeBand], AgeBand]:
    """Give the open receivables by how long they are past due, and the customers' credits, which are negative.

    The bands and the credits together are the biller's receivable in the ledger.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT CASE WHEN open < 0 THEN -1
                        WHEN due_on IS NULL OR due_on >= %(today)s THEN 0
                        ELSE least((%(today)s::date - due_on - 1) / 30 + 1, 4) END AS band,
                   count(*), sum(open)
            FROM billing_item WHERE biller_id = %(biller)s AND open <> 0 GROUP BY 1
            """,
            {"today": today, "biller": biller.pk},
        )
        rows = {band: (count, total) for band, count, total in cursor.fetchall()}
    nothing = (0, Decimal("0.00"))
    bands = [AgeBand(label, *rows.get(number, nothing)) for number, label in enumerate(_BANDS)]
    return bands, AgeBand("Credits", *rows.get(-1, nothing))


def open_items(customer: Customer) -> list[Item]:
    """Give everything that is open of a customer, with invoices and adjustments: what is owed by due date, then credits.

    Together they are the customer's balance.
    """
    items = Item.objects.filter(customer=customer).open().select_related("invoice", "adjustment")
    return sorted(items, key=lambda item: (item.open < 0, item.due_on or datetime.date.max, item.pk))
