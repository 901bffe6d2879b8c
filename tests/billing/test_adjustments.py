"""Adjustments: signed items with balanced postings, made once, kept in the books through payments and new bills."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import Conflict
from billing.models import Adjustment, AdjustmentSource, AuditEntry, Customer, Entry, Item, Posting
from billing.operations import adjustments
from billing.operations.adjustments import AdjustmentRefused
from payments.operations import dues
from tests.factories import NOON, make_biller, make_customer, make_invoice
from tests.invoice_files import ACTOR, withdraw
from tests.payments.test_carryovers import (
    AFTER,
    BEFORE,
    balance,
    biller,
    books_hold,
    first_bill,
    heard,
    item,
    next_bill,
    pay,
    start,
)

__all__ = ["biller"]
pytestmark = pytest.mark.django_db


def adjust(customer: Customer, amount: str | Decimal, reference: str = "A-1", **others: Any) -> Adjustment:
    return adjustments.adjust(
        **{
            "customer": customer, "amount": Decimal(amount), "reference": reference, "reason": "Meter was misread",
            "source": AdjustmentSource.API, "actor": ACTOR, "now": NOON, **others,
        }
    )  # fmt: skip


def entries() -> list[tuple[str, str, int]]:
    booked = Entry.objects.filter(posting__kind="adjustment").order_by("pk")
    return [(one.account, str(one.amount), one.count) for one in booked]


@pytest.mark.parametrize(
    ("amount", "owed", "full"),
    [("15.90", "100.00", "100.00"), ("-24.10", "60.00", "60.00"), ("-90.00", "-5.90", "0.00")],
)
@pytest.mark.spec("MSP-37")
def test_debits_and_credits_are_items_with_balanced_entries_and_an_audit_entry(
    amount: str, owed: str, full: str
) -> None:
    customer = make_customer(make_biller())
    make_invoice(customer, "84.10")
    made = adjust(customer, amount)
    assert balance(customer) == owed
    assert str(dues.due(customer=customer).full) == full
    assert (made.item.kind, str(made.item.amount), str(Item.objects.get(pk=made.item_id).open)) == (
        "adjustment",
        amount,
        amount,
    )
    assert entries() == [("receivable", amount, 1), ("adjustments", str(-Decimal(amount)), 1)]
    entry = AuditEntry.objects.get(event="account.adjusted")
    assert (entry.customer_id, entry.facts["amount"], entry.facts["reference"]) == (customer.pk, f"{amount} USD", "A-1")
    books_hold()


@pytest.mark.spec("MSP-37")
def test_a_reference_counts_once_for_each_customer() -> None:
    here = make_biller()
    customer, other = make_customer(here), make_customer(here)
    first = adjust(customer, "5.00")
    assert adjust(customer, "5.00", reason="Said again") == first
    assert adjust(other, "5.00") != first
    with pytest.raises(Conflict):
        adjust(customer, "5.01")
    assert (balance(customer), balance(other), Item.objects.count()) == ("5.00", "5.00", 2)
    books_hold()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"amount": Decimal("0.004")}, "amount"),
        ({"reference": " "}, "reference"),
        ({"reference": "x" * 81}, "reference"),
        ({"reason": "\n"}, "reason"),
        ({"reason": "x" * 201}, "reason"),
    ],
)
def test_what_says_nothing_is_refused_and_changes_nothing(wrong: dict[str, Any], field: str) -> None:
    customer = make_customer(make_biller())
    with pytest.raises(AdjustmentRefused) as refused:
        adjust(customer, **{"amount": "1.00", **wrong})
    assert refused.value.field == field
    assert (balance(customer), Item.objects.count(), Posting.objects.count()) == ("0.00", 0, 0)


@given(
    amounts=st.lists(st.integers(-9_999, 9_999).filter(bool).map(lambda n: Decimal(n) / 100), min_size=1, max_size=6)
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_set_of_adjustments_is_booked_as_one_posting_and_keeps_the_books(amounts: list[Decimal]) -> None:
    here = make_biller()
    customers = [make_customer(here) for _ in amounts]
    with transaction.atomic():
        adjustments.post(
            biller=here,
            wanted=[
                adjustments.Wanted(customer.pk, amount, "live", "Balance")
                for customer, amount in zip(customers, amounts, strict=True)
            ],
            source=AdjustmentSource.BALANCE,
            actor=ACTOR,
            now=NOON,
        )
    assert [balance(customer) for customer in customers] == [f"{amount:.2f}" for amount in amounts]
    assert Posting.objects.filter(biller=here).count() == 1
    books_hold()


@pytest.mark.parametrize(
    ("made_at", "carried"), [(BEFORE, True), (AFTER, False)], ids=["before the file", "after the file"]
)
def test_a_new_bill_takes_over_what_its_maker_knew(biller: Any, made_at: datetime.datetime, carried: bool) -> None:
    customer = first_bill(biller)
    made = adjust(customer, "15.00")
    live = adjust(customer, "-3.00", reference="live", source=AdjustmentSource.BALANCE)
    Adjustment.objects.update(created_at=made_at)
    file = next_bill(biller, "180.00")
    assert balance(customer) == ("180.00" if carried else "195.00")
    # Our own balance made the same as the biller's before: the bill says all of it.
    assert str(Item.objects.get(pk=live.item_id).open) == "0.00"
    assert str(Item.objects.get(pk=made.item_id).open) == ("0.00" if carried else "15.00")
    books_hold()
    withdraw(file)
    assert balance(customer) == "112.00"
    books_hold()


@pytest.mark.spec("MSP-24")
def test_unheard_and_moving_money_on_an_adjustment_counts_for_the_new_bill(biller: Any) -> None:
    customer = first_bill(biller)
    adjust(customer, "20.00")
    Adjustment.objects.update(created_at=BEFORE)
    pay(customer, "110.00")
    start(customer, "6.00")
    next_bill(biller, "180.00")
    assert balance(customer) == "70.00"
    assert (str(item("7002").open), str(item("7002").reserved)) == ("70.00", "6.00")
    books_hold()


def test_a_paid_up_adjustment_whose_payment_was_heard_stays_as_it_is(biller: Any) -> None:
    customer = first_bill(biller)
    made = adjust(customer, "20.00")
    Adjustment.objects.update(created_at=BEFORE)
    heard(pay(customer, "120.00"), BEFORE)
    next_bill(biller, "80.00")
    assert balance(customer) == "80.00"
    assert str(Item.objects.get(pk=made.item_id).allocated) == "20.00"
    books_hold()
