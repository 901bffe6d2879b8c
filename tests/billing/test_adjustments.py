"""Adjustments: signed items with balanced postings, made once, kept in the books through payments and new bills."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import hypothesis
import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from billing.models import Adjustment, AdjustmentSource, AuditEntry, Customer, Entry, Item, Posting
from billing.operations import adjustments
from billing.operations.adjustments import Adjusted, AdjustmentsRefused, Fault, Given
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

DAY = datetime.timedelta(days=1)


def given(customer: Customer, amount: str | Decimal, reference: str = "A-1", line: int = 1, **others: Any) -> Given:
    fields: dict[str, Any] = {"account": customer.number, "reason": "Meter was misread", **others}
    return Given(line, amount=Decimal(amount), reference=reference, **fields)


def adjust(
    customer: Customer,
    amount: str | Decimal,
    reference: str = "A-1",
    source: AdjustmentSource = AdjustmentSource.API,
    **others: Any,
) -> Adjustment:
    adjusted = adjustments.adjust(
        biller=customer.biller, given=[given(customer, amount, reference, **others)], source=source, actor=ACTOR, now=NOON
    )  # fmt: skip
    return Adjustment.objects.select_related("item").get(pk=adjusted.ids[0])


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
    with pytest.raises(AdjustmentsRefused) as refused:
        adjust(customer, "5.01")
    assert refused.value.faults == [Fault(1, "reference", "was used for this account with the amount 5.00", "A-1")]
    assert (balance(customer), balance(other), Item.objects.count()) == ("5.00", "5.00", 2)
    books_hold()


@pytest.mark.spec("MSP-37")
def test_many_lines_are_booked_together_or_not_at_all_with_what_is_wrong_by_line() -> None:
    here, elsewhere = make_biller(), make_biller()
    one, two, stranger = make_customer(here), make_customer(here), make_customer(elsewhere, number="9-9")
    today = here.business_date(NOON)

    def book(*lines: Given) -> Adjusted:
        return adjustments.adjust(
            biller=here, given=lines, source=AdjustmentSource.FILE, actor=ACTOR, now=NOON, name="a.csv"
        )

    good = given(one, "15.00")
    long = "x" * 201
    with pytest.raises(AdjustmentsRefused) as refused:
        book(
            good,
            given(two, "0.00", line=2),
            given(two, "1.005", reference="B", line=3),
            given(two, "1.00", reference="C", line=4, reason=long),
            given(two, "1.00", reference="", line=5, reason=""),
            given(stranger, "1.00", line=6),
            given(one, "15.00", line=7),
            given(two, "1.00", reference="D\n", line=8, effective_on=today + DAY),
            given(two, "1.00", reference="E", line=9, effective_on=today - 367 * DAY),
            given(two, "1e12", reference="F", line=10),
        )
    assert [(fault.line, fault.field, fault.reason) for fault in refused.value.faults] == [
        (2, "amount", "is zero"),
        (3, "amount", "has more than 2 decimal places"),
        (4, "reason", "is longer than 200 characters"),
        (5, "reason", "is missing"),
        (5, "reference", "is missing"),
        (6, "account", "is no account of this biller"),
        (7, "reference", "stands in line 1 too, for this account"),
        (8, "reference", "has a control character"),
        (8, "effective_on", "is not over yet"),
        (9, "effective_on", "is more than 366 days ago"),
        (10, "amount", "is no amount"),
    ]
    assert (balance(one), balance(two), balance(stranger)) == ("0.00", "0.00", "0.00")
    assert (Item.objects.count(), Posting.objects.count(), AuditEntry.objects.count()) == (0, 0, 0)

    lines = (good, given(one, "-4.00", "B"), given(two, "7.00", effective_on=today - DAY))
    made = book(*lines)
    assert (made.new, str(made.total), len(set(made.ids))) == (3, "18.00", 3)
    assert (balance(one), balance(two)) == ("11.00", "7.00")
    by_day = Posting.objects.order_by("effective_on").values_list("effective_on", flat=True)
    assert list(by_day) == [today - DAY, today]
    entry = AuditEntry.objects.get()
    assert entry.facts == {"count": 2, "total": "18.00 USD", "reason": "a.csv"}
    books_hold()

    # The same lines again change nothing, and new ones beside them are booked.
    again = book(*lines, given(two, "1.00", "C"))
    assert (again.ids[:3], again.new, balance(two)) == (made.ids, 1, "8.00")
    assert (book(*lines).new, Item.objects.count()) == (0, 4)
    books_hold()


@hypothesis.given(
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
