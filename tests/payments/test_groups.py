"""AutoPay groups: one transaction and one receipt for bills of linked accounts, a payment and a record for each (MSP-26)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from billing import advanced_settings, formats
from billing.actors import Actor
from billing.advanced_settings import BadSetting
from billing.models import AuditEntry, Biller, Customer, Item, Notice, NoticeDelivery, User
from billing.operations import notice_deliveries
from datapump.models import Record
from payments.models import Attempt, AutoPayEnrolment, Case, Checkpoint, Instrument, Payment, Route
from payments.operations import cases, enrolments, recoveries
from payments.operations.groups import Bill, charges
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_link,
    make_route,
    make_user,
)
from tests.payments.test_carryovers import books_hold
from tests.payments.test_collections import collect, today
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")
GUID = {"Daffron": {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": True}}}


def turn(biller: Biller, number: int, given: object) -> None:
    advanced_settings.change(actor=SYSTEM, biller=biller, number=number, given=given)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url)
    turn(biller, 131, GUID)
    turn(biller, 128, True)
    return biller


@pytest.fixture
def owner() -> User:
    return make_user("household@example.com")


def token_of(biller: Biller, processor: Processor, outcome: str = "approve") -> str:
    return processor.token(Route.objects.get(biller=biller).merchant, outcome)


def member(
    biller: Biller, owner: User | None, token: str, group: str = "1234-77", amount: str = "40.00", **fields: Any
) -> Item:
    """Make an account of an owner with AutoPay and a bill of a group that is due today."""
    customer = make_customer(biller, email="pat@example.com")
    if owner is not None:
        make_link(owner, customer, fields.pop("kind", "owner"))
    make_autopay(customer, make_instrument(customer, Route.objects.get(biller=biller), token))
    invoice = make_invoice(customer, amount, due_on=today(), collect_on=today(), custom10=group, **fields)
    return invoice.items.get()


def transactions(processor: Processor) -> dict[str, list[tuple[str, int]]]:
    """Give what the processor charged, by key: amount and how often."""
    charged: dict[str, list[tuple[str, int]]] = {}
    for row in processor.book()["rows"]:
        if row["times_charged"]:
            charged.setdefault(row["key"], []).append((row["amount"], row["times_charged"]))
    return charged


@pytest.mark.spec("MSP-26", "MSP-7")
def test_a_group_is_one_transaction_with_a_payment_and_a_record_for_each_bill(
    biller: Biller, processor: Processor, owner: User
) -> None:
    token = token_of(biller, processor)
    group = [member(biller, owner, token, amount=amount) for amount in ("40.00", "25.50")]
    alone = member(biller, owner, token, group="1234-78", amount="7.00")
    group.append(member(biller, owner, token, amount="10.01"))
    strangers = member(biller, make_user(), token, amount="3.00")
    run = collect(biller, chunk_size=1)

    assert (run.state, run.failure) == ("done", "")
    payments = {one.customer_id: one for one in Payment.objects.all()}
    first = payments[group[0].customer_id]
    assert [payments[item.customer_id].group_id for item in group] == [first.pk] * 3
    assert payments[alone.customer_id].group_id is payments[strangers.customer_id].group_id is None
    attempts = {one.payment_id: one for one in Attempt.objects.all()}
    assert {pk: (one.amount, one.covers) for pk, one in attempts.items()} == {
        first.pk: (Decimal("75.51"), 3),
        payments[alone.customer_id].pk: (Decimal("7.00"), 1),
        payments[strangers.customer_id].pk: (Decimal("3.00"), 1),
    }
    assert transactions(processor) == {str(one.pk): [(str(one.amount), 1)] for one in attempts.values()}
    # Each bill has its own payment, allocation and record; the record's id is what its system knows it by (MSP-7).
    assert {(one.state, one.amount, one.allocations.get().amount) for one in payments.values()} == {
        ("posted", item.amount, item.amount) for item in [*group, alone, strangers]
    }
    records = {record.pk: record.facts for record in Record.objects.filter(type=1)}
    assert {pk: facts["amount"] for pk, facts in records.items()} == {
        one.pk: str(one.amount) for one in payments.values()
    }
    codes = {records[payments[item.customer_id].pk]["approval_code"] for item in group}
    assert len(codes) == 1 and codes != {""}
    # One receipt, to the first account.
    receipts = {one.customer_id: one.facts for one in Notice.objects.filter(kind="receipt")}
    assert set(receipts) == {group[0].customer_id, alone.customer_id, strangers.customer_id}
    told = receipts[group[0].customer_id]
    assert (told["amount"], [line["amount"] for line in told["group"]]) == ("75.51", ["40.00", "25.50", "10.01"])
    delivery = NoticeDelivery.objects.select_related("notice", "customer", "biller").get(
        notice__customer_id=group[0].customer_id
    )
    words = notice_deliveries.written(delivery).text
    assert "Amount: $75.51" in words and "One payment for these accounts:" in words
    assert all(f": ${amount}\n" in words for amount in ("40.00", "25.50", "10.01"))
    assert Checkpoint.objects.count() == 0
    assert {customer.balance for customer in Customer.objects.all()} == {Decimal("0.00")}
    books_hold()


@pytest.mark.spec("MSP-26")
def test_a_group_is_declined_as_one(biller: Biller, processor: Processor, owner: User) -> None:
    token = token_of(biller, processor, "hard_decline")
    group = [member(biller, owner, token, amount=amount) for amount in ("40.00", "25.50")]
    collect(biller)
    assert {one.state for one in Payment.objects.all()} == {"failed"}
    assert Attempt.objects.count() == 1
    for item in group:
        item.refresh_from_db()
        assert (item.open, item.reserved, item.collect_on) == (item.amount, Decimal("0.00"), None)
    (told,) = Notice.objects.filter(kind="autopay_failed")
    assert (told.customer_id, told.facts["amount"]) == (group[0].customer_id, "65.50")
    assert Record.objects.count() == 0
    books_hold()


@pytest.mark.spec("MSP-26")
@pytest.mark.parametrize("ends", ["answered", "abandoned"])
def test_a_group_whose_answer_was_lost_is_settled_as_one(
    biller: Biller, processor: Processor, owner: User, ends: str
) -> None:
    token = token_of(biller, processor)
    for amount in ("40.00", "25.50"):
        member(biller, owner, token, amount=amount)
    processor.strike("drop_after" if ends == "answered" else "drop_before", times=1)
    collect(biller)
    attempt = Attempt.objects.get()
    assert (attempt.state, Checkpoint.objects.filter(attempt=attempt).count()) == ("open", 2)
    assert {one.state for one in Payment.objects.all()} == {"processing"}
    books_hold()
    if ends == "answered":
        none = datetime.timedelta(0)
        found = recoveries.recover(biller=biller, actor=SYSTEM, least_age=none, pause=none)
        assert (found.settled.posted, found.settled.posted_total) == (2, Decimal("65.50"))
        assert transactions(processor) == {str(attempt.pk): [("65.50", 1)]}
        assert {one.state for one in Payment.objects.all()} == {"posted"}
    else:
        assert cases.abandon(attempt=attempt, why="The processor's report.", actor=SYSTEM, now=timezone.now())
        assert {one.state for one in Payment.objects.all()} == {"failed"}
        assert {item.reserved for item in Item.objects.all()} == {Decimal("0.00")}
    assert (Checkpoint.objects.count(), Case.objects.count()) == (0, 0)
    books_hold()


@pytest.mark.spec("MSP-26")
def test_what_is_no_group_is_charged_bill_by_bill(biller: Biller, processor: Processor, owner: User) -> None:
    token, other = token_of(biller, processor), token_of(biller, processor)
    member(biller, owner, token)
    member(biller, owner, other)  # another method
    member(biller, owner, token, group="")  # no group
    member(biller, None, token)  # nobody's account
    shared = make_customer(biller)
    make_link(owner, shared, "co_owner")
    make_autopay(shared, make_instrument(shared, Route.objects.get(biller=biller), token))
    make_invoice(shared, "40.00", due_on=today(), collect_on=today(), custom10="1234-77")
    # A second bill of one account makes no group.
    two = member(biller, make_user(), token, group="9-1")
    make_invoice(two.customer, "40.00", due_on=today(), collect_on=today(), custom10="9-1")
    collect(biller)
    assert [(one.covers, one.amount) for one in Attempt.objects.all()] == [(1, Decimal("40.00"))] * 7
    assert not Payment.objects.exclude(group_id=None).exists()
    books_hold()


@pytest.mark.spec("MSP-7", "MSP-26")
def test_grouping_is_refused_where_payments_could_be_taken_for_one(
    biller: Biller, processor: Processor, owner: User
) -> None:
    setting = advanced_settings.setting(128)
    assert setting.warning(biller, True) == ""
    turn(biller, 131, {})
    # It warns, and does not group.
    assert "share its approval code" in str(setting.warning(biller, True))
    token = token_of(biller, processor)
    for _n in range(2):
        member(biller, owner, token)
    collect(biller)
    assert [one.covers for one in Attempt.objects.all()] == [1, 1]
    turn(biller, 128, False)
    before = AuditEntry.objects.count()
    with pytest.raises(BadSetting, match=r"setting 131"):
        turn(biller, 128, True)
    assert (advanced_settings.value(128, biller.pk), AuditEntry.objects.count()) == (False, before)
    turn(biller, 131, GUID)
    turn(biller, 128, True)


@pytest.mark.spec("MSP-26")
def test_accounts_of_a_group_are_enrolled_together(biller: Biller, processor: Processor, owner: User) -> None:
    token, route = token_of(biller, processor), Route.objects.get(biller=biller)
    mine = [make_customer(biller) for _n in range(3)]
    for n, customer in enumerate(mine):
        make_link(owner, customer)
        make_invoice(customer, "40.00", due_on=today(), collect_on=today(), custom10="1-1" if n < 2 else "2-2")
    # A bill that is paid says as well in which group the account is billed.
    Item.objects.filter(customer=mine[1]).update(transferred=F("amount"))
    method = make_instrument(mine[0], route, token)
    actor = Actor.payer(owner)
    wanted: dict[str, Any] = {"customer": mine[0], "instrument": method, "actor": actor}
    for others in ([mine[2]], [mine[1], mine[2]], [make_customer(biller)]):
        with pytest.raises(enrolments.NotOneGroup):
            enrolments.enrol_together(**wanted, others=others, agreed=True)
    with pytest.raises(enrolments.ConsentMissing):
        enrolments.enrol_together(**wanted, others=[mine[1]], agreed=False)
    Customer.objects.filter(pk=mine[1].pk).update(blocks_card=True)
    with pytest.raises(enrolments.MethodRefused):
        enrolments.enrol_together(**wanted, others=[mine[1]], agreed=True)
    assert (AutoPayEnrolment.objects.count(), Instrument.objects.count(), Record.objects.count()) == (0, 1, 0)
    Customer.objects.filter(pk=mine[1].pk).update(blocks_card=False)

    made = enrolments.enrol_together(**wanted, others=[mine[1]], agreed=True)
    assert [one.customer_id for one in made] == [mine[0].pk, mine[1].pk]
    assert {one.instrument.token for one in made} == {token}
    numbers = ", ".join(formats.masked(one.shown_number, last=7) for one in mine[:2])
    assert all(f"may be charged in one payment: {numbers}." in one.consent_text for one in made)
    assert {(one.customer_id, one.facts["enrolled"]) for one in Record.objects.all()} == {
        (mine[0].pk, True), (mine[1].pk, True)
    }  # fmt: skip
    with pytest.raises(enrolments.AlreadyEnrolled):
        enrolments.enrol_together(**wanted, others=[mine[1]], agreed=True)
    Item.objects.filter(customer=mine[1]).update(transferred=0)
    collect(biller)
    assert [(one.covers, one.amount) for one in Attempt.objects.all()] == [(2, Decimal("80.00"))]
    books_hold()


BILLS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(["", "a", "b"]), st.integers(1, 9_999)), min_size=1, max_size=8
)


@settings(max_examples=200)
@given(BILLS)
def test_transactions_cover_every_bill_once(given: Sequence[tuple[int, str, int]]) -> None:
    bills = [
        Bill(n, customer, Decimal(cents) / 100, f"m{n}", "card", "tok", 1, "1-1", f"p{n}", f"a{n}")
        for n, (customer, _key, cents) in enumerate(given)
    ]
    keys = {n: key for n, (_customer, key, _cents) in enumerate(given) if key}
    together, made = charges(bills, keys)
    assert sorted(one._replace(attempt="", group=None) for one in together) == [
        one._replace(attempt="") for one in bills
    ]
    for charge in made:
        covered = [one for one in together if one.attempt == charge.first.attempt]
        assert charge.amount == sum((one.amount for one in covered), Decimal("0.00"))
        assert charge.covers == len(covered)
        assert {one.group for one in covered} == ({None} if len(covered) == 1 else {charge.first.payment})
        assert len(covered) == 1 or len({one.customer for one in covered}) > 1
    # Two accounts with one key are never charged apart.
    for key in set(keys.values()):
        of_key = [one for one in together if keys.get(one.item) == key]
        if len({one.customer for one in of_key}) > 1:
            assert len({one.attempt for one in of_key}) == 1
