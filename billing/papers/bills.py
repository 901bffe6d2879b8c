"""A bill on paper of our own, for billers whose system gives none."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from billing import formats
from billing.models import Biller, Customer, Invoice, Item
from billing.papers.typesetting import Headline, Paper, Pdf, Row, Sender, set_paper


def bill(invoice: Invoice, *, language: str, guest_number: str = "") -> Pdf:
    """Set a bill; its customer and biller should be at hand.

    ``guest_number`` is the account's number as a guest knows it: their paper does not say whose it is.

    :raises NotSet: it cannot be set.
    """
    items = list(Item.objects.filter(invoice=invoice).order_by("pk"))
    with translation.override(language):
        return Pdf(file_name("bill", invoice.number), set_paper(_paper(invoice, items, language, guest_number)))


def _paper(invoice: Invoice, items: list[Item], language: str, guest_number: str) -> Paper:
    customer, biller = invoice.customer, invoice.customer.biller
    currency = biller.currency
    still_open, number = _sum(items, "open"), guest_number or customer.shown_number
    rows = [
        Row(_("Bill number"), invoice.number),
        Row(_("Account"), number),
        Row(_("Issued"), formats.day(invoice.issued_on)),
        Row(_("Due"), formats.day(invoice.due_on)),
    ]
    if invoice.past_due:
        rows.append(Row(_("From earlier bills"), formats.money(invoice.past_due, currency)))
    rows.append(Row(_("Amount of this bill"), formats.balance(invoice.amount, currency), total=True))
    if paid := _sum(items, "allocated"):
        rows.append(Row(_("Paid"), formats.money(paid, currency)))
    if carried := _sum(items, "transferred"):
        rows.append(Row(_("On a later bill"), formats.money(carried, currency)))
    rows.append(Row(_("Still open of this bill"), formats.balance(still_open, currency), total=True))
    where = settings.PUBLIC_URL + reverse("customer-find", kwargs={"slug": biller.slug})
    return Paper(
        title=_("Bill %(number)s") % {"number": invoice.number},
        language=language,
        accent=biller.accent,
        biller=sender(biller),
        addressee=[] if guest_number else addressee(customer),
        headline=Headline(
            _("Amount of this bill"),
            formats.balance(invoice.amount, currency),
            _("Due %(day)s") % {"day": formats.day(invoice.due_on)},
        ),
        columns=(_("Details"), _("Value")),
        rows=rows,
        notes=[_("Pay online: %(address)s") % {"address": where}] if still_open > 0 else [],
        footer=f"{biller.name} · {number}",
        logo=logo_of(biller),
    )


def sender(biller: Biller) -> Sender:
    """Give a biller as the sender of a paper."""
    return Sender(biller.name, [line for line in (formats.phone(biller.phone), biller.email) if line])


def addressee(customer: Customer) -> list[str]:
    """Give a customer's name and address, line by line."""
    place = " ".join(part for part in (customer.city, customer.state, customer.zip) if part)
    return [line for line in (customer.name, customer.address1, customer.address2, place) if line]


def logo_of(biller: Biller) -> bytes:
    """Give the biller's logo; nothing where it has none or its file is gone."""
    if not biller.logo:
        return b""
    try:
        with biller.logo.open("rb") as file:
            return bytes(file.read())
    except OSError:
        return b""


def file_name(kind: str, number: str) -> str:
    """Name a file after what it is and its number: letters, figures and hyphens alone."""
    safe = "".join(character if character.isascii() and character.isalnum() else "-" for character in number)
    return f"{kind}-{safe}.pdf"


def _sum(items: list[Item], field: str) -> Decimal:
    return sum((getattr(item, field) for item in items), Decimal("0.00"))
