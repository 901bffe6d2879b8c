"""A receipt on paper: what was paid, with what, and for which account."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone, translation
from django.utils.translation import gettext as _

from billing import formats
from billing.errors import DomainError
from billing.papers.bills import addressee, file_name, logo_of, sender
from billing.papers.typesetting import Headline, NotSet, Paper, Pdf, Row, set_paper
from payments.models import Payment, PaymentState

PAID = (PaymentState.POSTED, PaymentState.REVERSED)
"""States of a payment that has a receipt."""


class ReceiptUnavailable(DomainError):
    """The receipt's PDF cannot be set now."""

    default = "The PDF of this receipt cannot be shown."


def receipt(
    payment: Payment,
    *,
    language: str,
    together: Sequence[Payment] = (),
    account_number: str = "",
    guest: bool = False,
) -> Pdf:
    """Set the receipt of a payment that went through, at hand with its customer and biller.

    ``together`` are the payments that were charged with it, as far as the reader may see them, itself among them.
    ``account_number`` is how the reader knows the account. A guest knows its number and is not told whose it is.

    :raises ReceiptUnavailable: it cannot be set.
    """
    customer, biller = payment.customer, payment.customer.biller
    currency = payment.currency
    with translation.override(language), timezone.override(biller.zone):
        rows = [
            Row(_("Confirmation number"), payment.confirmation),
            Row(_("Account"), account_number or customer.shown_number),
            Row(_("Amount"), formats.money(payment.amount, currency)),
            Row(_("Fee"), formats.money(payment.fee, currency)),
            Row(_("Total charged"), formats.money(payment.total, currency), total=True),
            *_gone_back(payment),
            *_charged_together(together),
            Row(_("Paid with"), str(payment.instrument or payment.pay_type)),
            Row(_("Date"), formats.moment(payment.created_at)),
            Row(_("Paid by"), _("Guest") if guest else payment.made_by),
        ]
        notes = [_("This is not a bill. Keep this receipt for your records.")]
        if payment.state == PaymentState.REVERSED:
            notes.insert(
                0, _("This payment was returned") + ". " + _("Its money went back, and the bill is open again.")
            )
        paper = Paper(
            title=_("Receipt"),
            language=language,
            accent=biller.accent,
            biller=sender(biller),
            addressee=[] if guest else addressee(customer),
            headline=Headline(
                _("Total charged"), formats.money(payment.total, currency), formats.day(payment.created_at)
            ),
            columns=(_("Details"), _("Value")),
            rows=rows,
            notes=notes,
            footer=f"{biller.name} · {payment.confirmation}",
            logo=logo_of(biller),
        )
        try:
            return Pdf(file_name("receipt", payment.confirmation), set_paper(paper))
        except NotSet:
            raise ReceiptUnavailable from None


def _gone_back(payment: Payment) -> list[Row]:
    if not payment.undone or payment.state == PaymentState.REVERSED:
        return []
    return [Row(_("Went back since"), formats.money(payment.undone, payment.currency))]


def _charged_together(together: Sequence[Payment]) -> list[Row]:
    if not together:
        return []
    parts = [f"{one.customer.shown_number}: {formats.money(one.amount, one.currency)}" for one in together]
    return [Row(_("Part of one payment for these accounts"), "; ".join(parts))]
