"""What a customer can pay now: one reckoning for the page that asks and the operation that charges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from billing.models import Biller, Customer, Item, ItemKind
from billing.money import ZERO

OWED = (ItemKind.BILL, ItemKind.ADJUSTMENT, ItemKind.RETURNED, ItemKind.FEE)


@dataclass(frozen=True, slots=True)
class Due:
    """Amounts in the biller's currency.

    ``full`` is what is open less the customer's credits; ``in_flight`` is held by payments on their way and ``free`` is
    the rest of what is open. ``least`` is the smallest part that is taken, where parts are taken at all.
    """

    full: Decimal
    free: Decimal
    in_flight: Decimal
    parts: bool
    least: Decimal

    @property
    def being_paid(self) -> bool:
        """Whether everything that is due is held by payments on their way."""
        return self.full > 0 and self.free <= 0


def due(*, customer: Customer) -> Due:
    """Reckon what a customer can pay now."""
    items = Item.objects.filter(customer=customer).open().select_related("invoice").order_by("pk")
    return reckon(customer.biller, list(items))


def dues_of(customers: Iterable[Customer]) -> dict[int, Due]:
    """Reckon what each of many customers can pay now, in one query; by the customers' ids, those who owe nothing too."""
    billers = {customer.pk: customer.biller for customer in customers}
    items: dict[int, list[Item]] = {pk: [] for pk in billers}
    for item in Item.objects.filter(customer_id__in=list(billers)).open().select_related("invoice").order_by("pk"):
        items[item.customer_id].append(item)
    return {pk: reckon(billers[pk], mine) for pk, mine in items.items()}


def reckon(biller: Biller, items: Iterable[Item]) -> Due:
    """Reckon what can be paid of these open items, credits among them."""
    items = list(items)
    owed = [item for item in items if item.kind in OWED and item.open > 0]
    credit = sum((item.open for item in items if item.open < 0), ZERO)
    total = sum((item.open for item in owed), ZERO)
    in_flight = sum((item.reserved for item in owed), ZERO)
    # The newest bill says for all that it carries whether parts are taken, and how small they may be.
    bills = (item.invoice for item in owed if item.invoice)
    newest = max(bills, key=lambda bill: (bill.issued_on, bill.pk), default=None)
    parts, least = biller.allow_partial_payments, Decimal("0.01")
    if newest is not None:
        if newest.allow_partial_payments is not None:
            parts = newest.allow_partial_payments
        if newest.minimum_due is not None:
            least = max(least, newest.minimum_due)
    full = max(ZERO, total + credit)
    return Due(full=full, free=total - in_flight, in_flight=in_flight, parts=parts, least=min(least, full) or least)
