"""Late bills: which of them a rule acts on, that it acts once, and what it leaves alone."""

from __future__ import annotations

import datetime
import threading
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing import tenancy
from billing.models import AuditEntry, Biller, Customer, CustomerStatus, Item, Notice
from billing.operations import customers, invoice_files, notice_deliveries
from datapump.models import Record
from payments.gateways.base import Result
from payments.models import Fee, LateBill, LateRule
from payments.operations import fee_rules, fees, late_bills
from payments.operations.fee_rules import LateTerms, RuleRefused
from payments.operations.late_bills import Acted
from payments.tasks import act_on_late_bills
from tests.billing.test_adjustments import adjust
from tests.factories import NOON, TODAY, make_biller, make_customer, make_invoice, make_route
from tests.invoice_files import ACTOR, checksums, withdraw
from tests.payments.test_carryovers import balance, books_hold, first_bill, next_bill, owed, pay, settle, start

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)
LONG_AGO = datetime.date(2026, 1, 1)


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    make_route(biller)
    return biller


def add_rule(biller: Biller, **terms: Any) -> LateRule:
    usual: dict[str, Any] = {
        "words": "Late fee",
        "action": "fee",
        "days": 10,
        "minimum": Decimal("5.00"),
        "due_from": LONG_AGO,
    }
    if terms.get("action", "fee") == "fee" and terms.get("percent") is None:
        usual["amount"] = Decimal("7.50")
    return fee_rules.add_late_rule(biller=biller, terms=LateTerms(**{**usual, **terms}), actor=ACTOR)


def late(customer: Customer, amount: str = "84.10", days: int = 10) -> Item:
    invoice = make_invoice(customer, amount, due_on=TODAY - datetime.timedelta(days=days), collect_on=None)
    return invoice.items.get()


def act(biller: Biller, day: datetime.date = TODAY, **how: Any) -> Acted:
    now = NOON + max(day - TODAY, datetime.timedelta(0))
    return late_bills.in_all(late_bills.act(biller=biller, day=day, actor=ACTOR, now=now, **how))


@pytest.mark.spec("PAY-35")
def test_a_late_bill_is_charged_once_told_and_booked(biller: Biller) -> None:
    add_rule(biller)
    customer = make_customer(biller)
    item = late(customer)
    assert act(biller, TODAY - datetime.timedelta(days=1)) == Acted()
    before = checksums()
    assert act(biller, dry_run=True) == Acted(fees=1, total=Decimal("7.50"))
    assert checksums() == before
    assert act(biller) == Acted(fees=1, total=Decimal("7.50"))
    after = checksums()
    for day in range(3):
        assert act(biller, TODAY + datetime.timedelta(days=day)) == Acted()
    assert checksums() == after
    assert item.invoice is not None
    fee = Fee.objects.get()
    assert (fee.words, fee.late_bill and fee.late_bill.invoice_id) == ("Late fee", item.invoice_id)
    assert fee.reason == f"$84.10 of bill {item.invoice.number}, due on Nov 12, 2026, is not paid"
    assert (owed(customer), balance(customer)) == ([("bill", "84.10"), ("fee", "7.50")], "91.60")
    record = Record.objects.get()
    assert (record.pk, record.type, record.facts["invoice"], record.facts["amount"]) == (
        fee.pk, 6, item.invoice.number, "7.50",
    )  # fmt: skip
    notice = Notice.objects.get(kind="fee")
    text = notice_deliveries.written(notice.deliveries.get()).text
    assert f"bill {item.invoice.number} was due on Nov 12, 2026, and $84.10 of it is not paid." in text
    assert "Late fee: $7.50" in text
    books_hold()


@pytest.mark.spec("PAY-35")
def test_a_late_account_is_set_inactive_once(biller: Biller) -> None:
    add_rule(biller, action="inactive", words="Not paid in time")
    customer, other = make_customer(biller), make_customer(biller)
    oldest, second = late(customer, days=20), late(customer, "20.00", days=12)
    late(other, days=9)
    assert act(biller, dry_run=True) == Acted(inactive=1)
    assert act(biller) == Acted(inactive=1)
    customer.refresh_from_db()
    other.refresh_from_db()
    assert (customer.status, other.status) == ("inactive", "active")
    assert {one.invoice_id for one in LateBill.objects.all()} == {oldest.invoice_id, second.invoice_id}
    assert oldest.invoice is not None
    record = Record.objects.get()
    assert (record.type, record.facts) == (
        7, {"amount": "84.10", "currency": "USD", "invoice": oldest.invoice.number},
    )  # fmt: skip
    notice = Notice.objects.get(kind="inactive")
    assert "Not paid in time" in notice_deliveries.written(notice.deliveries.get()).text
    entry = AuditEntry.objects.get(event="customer.set_inactive")
    assert (entry.customer_id, oldest.invoice.number in entry.facts["reason"]) == (customer.pk, True)
    # A person may think better of it; these bills are no reason a second time.
    assert customers.change_standing(customer=customer, status=CustomerStatus.ACTIVE, segment="", actor=ACTOR)
    assert not customers.change_standing(customer=customer, status=CustomerStatus.ACTIVE, segment="", actor=ACTOR)
    assert act(biller) == Acted()
    customer.refresh_from_db()
    assert (customer.status, AuditEntry.objects.filter(event="customer.standing_changed").count()) == ("active", 1)


@pytest.mark.spec("PAY-35")
def test_what_is_on_its_way_or_covered_or_not_meant_is_left_alone(biller: Biller) -> None:
    add_rule(biller, segments=["shop"])

    def add(**fields: Any) -> Customer:
        return make_customer(biller, **{"segment": "shop", **fields})

    late(add(segment="home"))  # of another segment
    late(add(), days=9)  # not late enough
    late(add(), "4.99")  # too little
    late(add(), days=200)  # too old to be made up for
    covered = add()
    late(covered, "84.10")
    adjust(covered, "-80.00")
    paid = add()
    late(paid)
    pay(paid, "80.00")
    held = add()
    late(held)
    flying = start(held, "1.00")
    elsewhere = add()
    late(elsewhere)
    make_invoice(elsewhere, "50.00")
    unknown = start(elsewhere, "50.00")
    assert act(biller) == Acted()
    assert (Fee.objects.count(), LateBill.objects.count()) == (0, 0)
    # What it waited for is known.
    settle(flying, Result.TECHNICAL_PROBLEM)
    settle(unknown)
    assert act(biller) == Acted(fees=2, total=Decimal("15.00"))
    books_hold()


@pytest.mark.spec("PAY-35")
def test_nothing_is_done_while_charging_is_stopped(biller: Biller) -> None:
    add_rule(biller)
    late(make_customer(biller))
    Biller.objects.filter(pk=biller.pk).update(charging_stopped=True)
    before = checksums()
    with pytest.raises(late_bills.LateRefused):
        act(biller)
    assert checksums() == before


_ACCOUNTS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(1, 120), st.integers(-3, 110)), min_size=1, max_size=3),
        st.integers(0, 150),
    ),
    min_size=8,
    max_size=14,
)


@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(_ACCOUNTS, st.integers(1, 30), st.integers(1, 60))
@pytest.mark.spec("PAY-35")
def test_each_late_bill_is_charged_by_what_credits_leave_of_it(accounts: list[Any], days: int, minimum: int) -> None:
    """Each account has bills with an amount and the days since it was due, and a credit, which goes to the oldest first."""
    biller = make_biller()
    add_rule(biller, days=days, minimum=Decimal(minimum), percent=Decimal("10.00"))
    expected = {}
    for bills, credit in accounts:
        customer = make_customer(biller)
        items = [late(customer, str(amount), days=ago) for amount, ago in bills]
        if credit:
            adjust(customer, f"-{credit}.00")
        left = Decimal(credit)
        for item in sorted(items, key=lambda one: (one.due_on, one.pk)):
            covered = min(left, item.amount)
            left -= covered
            assert item.due_on is not None
            age = (TODAY - item.due_on).days
            if days <= age <= days + 90 and item.amount - covered >= minimum:
                expected[item.invoice_id] = ((item.amount - covered) / 10).quantize(Decimal("0.01"))
    acted = act(biller)
    found = {one.late_bill.invoice_id: one.item.amount for one in Fee.objects.filter(biller=biller) if one.late_bill}
    assert found == expected
    assert acted == Acted(fees=len(expected), total=sum(expected.values(), Decimal("0.00")))
    books_hold()


@committed
@pytest.mark.spec("PAY-35")
def test_two_workers_charge_each_late_bill_once(biller: Biller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_bills, "CHUNK_SIZE", 4)
    add_rule(biller)
    add_rule(biller, action="inactive")
    for _ in range(15):
        late(make_customer(biller))
    done: list[Acted] = []

    def work() -> None:
        try:
            with tenancy.acting_for([biller.pk]):
                done.append(act(biller))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 3
    assert sum(done, Acted()) == Acted(fees=15, total=Decimal("112.50"), inactive=15)
    assert (Fee.objects.count(), LateBill.objects.count()) == (15, 30)
    books_hold()


@committed
@pytest.mark.spec("PAY-35")
def test_the_day_is_the_billers_also_where_midnight_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In Havana the clocks of March 8, 2026 go from 00:00 to 01:00."""
    biller = make_biller(time_zone="America/Havana", slug="havana")
    add_rule(biller, days=1)
    customer = make_customer(biller)
    make_invoice(customer, due_on=datetime.date(2026, 3, 7), collect_on=None)

    def at(moment: str) -> int:
        monkeypatch.setattr(timezone, "now", lambda: datetime.datetime.fromisoformat(moment))
        act_on_late_bills()
        return Fee.objects.count()

    assert at("2026-03-08T04:59:59+00:00") == 0  # a second before the day begins
    assert at("2026-03-08T05:00:00+00:00") == 0  # its first moment, which is one o'clock: nobody is written to at night
    assert at("2026-03-08T12:00:00+00:00") == 1
    assert at("2026-03-08T13:00:00+00:00") == 1
    call_command("late", "--biller", "havana", "--date", "2026-03-08")
    assert "0 fees of $0.00 were charged and 0 accounts set inactive" in capsys.readouterr().out
    make_invoice(make_customer(biller), due_on=datetime.date(2026, 3, 8), collect_on=None)
    call_command("late", "--biller", "havana", "--date", "2026-03-09", "--dry-run")
    assert "1 fee of $7.50 would be charged and 0 accounts set inactive" in capsys.readouterr().out
    assert Fee.objects.count() == 1


@pytest.mark.spec("PAY-35", "MSP-24")
def test_a_late_fee_is_in_the_next_bill_and_holds_its_file(biller: Biller) -> None:
    customer = first_bill(biller)
    file = next_bill(biller, "180.00")
    add_rule(biller)
    item = Item.objects.get(invoice__number="7002")
    assert item.due_on is not None
    assert act(biller, item.due_on + datetime.timedelta(days=10)) == Acted(fees=1, total=Decimal("7.50"))
    with pytest.raises(invoice_files.NotWithdrawable, match="late fee"):
        withdraw(file)
    fee = Fee.objects.get()
    fees.waive(fee=fee, reason="Read wrongly", actor=ACTOR, now=NOON)
    withdraw(file)
    assert balance(customer) == "100.00"
    books_hold()


@pytest.mark.spec("PAY-35")
def test_a_late_rule_that_cannot_be_meant_is_refused(biller: Biller) -> None:
    before = checksums()
    for field, terms in (
        ("days", {"days": 0}),
        ("days", {"days": 366}),
        ("minimum", {"minimum": Decimal(0)}),
        ("action", {"action": "shout"}),
        ("amount", {"amount": None}),
        ("amount", {"action": "inactive", "amount": Decimal(1)}),
    ):
        with pytest.raises(RuleRefused) as refused:
            add_rule(biller, **terms)
        assert refused.value.field == field, terms
    assert checksums() == before
    rule = add_rule(biller)
    shorter = LateTerms(
        words="Late fee", action="fee", days=12, minimum=Decimal("5.00"), due_from=LONG_AGO, amount=Decimal("7.50")
    )
    assert fee_rules.change_late_rule(rule=rule, terms=shorter, active=False, actor=ACTOR) == ["days", "active"]
    late(make_customer(biller), days=40)
    assert act(biller) == Acted()
