"""Money given for an older bill, when a newer one that carries it was made without knowing: nobody is billed twice."""

from __future__ import annotations

import datetime
import itertools
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing import tenancy
from billing.models import Biller, Customer, Entry, InvoiceFile, Item
from billing.operations import invoice_files
from datapump.models import Configuration, Record
from payments.books import findings
from payments.gateways import base
from payments.gateways.base import Answer, Result
from payments.models import Allocation, Attempt, Carryover, Channel, Instrument, Payment, Reversal
from payments.operations import carryovers, charges, collections, refunds, returns, settlements
from payments.operations.collections import Options
from tests.factories import NOON, TODAY, make_autopay, make_biller, make_instrument, make_route
from tests.invoice_files import ACTOR, Bill, checksums, load, receive, withdraw, write
from tests.processor import Processor

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)

# The second file of these tests is made on the 22nd at 11:00 UTC.
MADE = datetime.datetime(2026, 11, 22, 11, 0, tzinfo=datetime.UTC)
BEFORE = MADE - datetime.timedelta(hours=20)
AFTER = MADE + datetime.timedelta(hours=2)
_keys = itertools.count(1)


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    make_route(biller)
    return biller


def first_bill(biller: Biller, amount: str = "100.00") -> Customer:
    load(biller, [Bill(amount=amount, fields={11: "11/01/2026"})], now=BEFORE, made_on="11/20/2026")
    return Customer.objects.get(biller=biller, number="35909-001")


def next_bill(biller: Biller, amount: str = "180.00", number: str = "7002", **how: Any) -> InvoiceFile:
    file = load(biller, [Bill(number=number, amount=amount, **how)])
    assert (file.state, file.refusal) == ("loaded", "")
    return file


def method_of(customer: Customer) -> Instrument:
    there = Instrument.objects.filter(customer=customer).first()
    return there or make_instrument(customer, customer.biller.routes.get())


def start(customer: Customer, amount: str, at: datetime.datetime = BEFORE) -> Payment:
    """Begin a payment: its money is held, and nobody knows yet what comes of it."""
    started = charges.start(
        customer=customer,
        amount=Decimal(amount),
        instrument=method_of(customer),
        channel=Channel.CSR,
        actor=ACTOR,
        request_key=f"key-{next(_keys)}",
        item_ids=None,
        email="",
        now=at,
    )
    assert not isinstance(started, Payment)
    return Payment.objects.get(pk=started.payment_id)


def settle(payment: Payment, result: Result = Result.PASS, at: datetime.datetime = BEFORE) -> Payment:
    key = str(payment.attempts.get().pk)
    settlements.settle(biller=payment.biller, answers=[Answer(key, result, "A1")], actor=ACTOR, now=at)
    payment.refresh_from_db()
    return payment


def pay(customer: Customer, amount: str, at: datetime.datetime = BEFORE) -> Payment:
    return settle(start(customer, amount, at), at=at)


def heard(payment: Payment, at: datetime.datetime = MADE) -> None:
    assert Record.objects.filter(pk=payment.pk).update(state="delivered", delivered_at=at) == 1


def item(number: str) -> Item:
    return Item.objects.get(invoice__number=number, invoice__withdrawn=False)


def shape(number: str) -> dict[str, str]:
    """Give an item's amounts that are not nothing."""
    one = item(number)
    values = {name: getattr(one, name) for name in ("allocated", "transferred", "reserved", "open")}
    return {name: str(value) for name, value in values.items() if value}


def allocations(payment: Payment) -> list[tuple[str, str, str]]:
    rows = Allocation.objects.filter(payment=payment).order_by("pk").select_related("item__invoice")
    return [(row.item.invoice.number, str(row.amount), row.state) for row in rows]  # type: ignore[union-attr]


def balance(customer: Customer) -> str:
    customer.refresh_from_db()
    return str(customer.balance)


def books_hold() -> None:
    with transaction.atomic():
        wrong = [(one.check.number, one.examples) for one in findings() if one.wrong]
    assert wrong == []


# ---- Paid, and the biller's system did not know


@pytest.mark.spec("MSP-24")
def test_a_payment_that_was_not_delivered_counts_for_the_new_bill(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = pay(customer, "100.00")
    file = next_bill(biller)

    assert shape("7001") == {"transferred": "100.00"}
    assert item("7001").transferred_to_id == item("7002").invoice_id
    assert shape("7002") == {"allocated": "100.00", "open": "80.00"}
    assert allocations(payment) == [("7001", "100.00", "void"), ("7002", "100.00", "posted")]
    assert balance(customer) == "80.00"
    booked = Entry.objects.filter(posting__key=f"invoices:{file.pk}")
    assert dict(booked.values_list("account", "amount")) == {
        "receivable": Decimal("80.00"),
        "billed": Decimal("-80.00"),
    }
    carried = Carryover.objects.get()
    assert (carried.payment_id, carried.kind, carried.amount, carried.moved) == (
        payment.pk,
        "posted",
        Decimal("100.00"),
        Decimal("100.00"),
    )
    books_hold()


@pytest.mark.spec("MSP-24")
@pytest.mark.parametrize(
    ("delivered", "left"),
    [
        (MADE - datetime.timedelta(seconds=1), "180.00"),
        (MADE, "180.00"),
        (MADE + datetime.timedelta(seconds=1), "80.00"),
    ],
)
def test_what_counts_is_whether_the_record_was_delivered_when_the_file_was_made(
    biller: Biller, delivered: datetime.datetime, left: str
) -> None:
    customer = first_bill(biller)
    heard(pay(customer, "100.00"), delivered)
    next_bill(biller)
    assert balance(customer) == left
    assert str(item("7002").open) == left
    books_hold()


@pytest.mark.spec("MSP-24")
@pytest.mark.parametrize(
    ("state", "paid", "left"),
    [
        ("waiting", BEFORE, "80.00"),
        ("sending", BEFORE, "80.00"),
        ("retrying", BEFORE, "80.00"),
        ("failed", BEFORE, "80.00"),
        # Somebody told the biller's system otherwise, or it is not to be told.
        ("skipped", BEFORE, "180.00"),
        ("withheld", BEFORE, "180.00"),
        ("skipped", AFTER, "80.00"),
    ],
)
def test_each_state_of_a_record(biller: Biller, state: str, paid: datetime.datetime, left: str) -> None:
    customer = first_bill(biller)
    payment = pay(customer, "100.00", paid)
    Record.objects.filter(pk=payment.pk).update(state=state)
    next_bill(biller)
    assert balance(customer) == left
    books_hold()


@pytest.mark.spec("MSP-24")
@pytest.mark.parametrize(("paid", "left"), [(BEFORE, "180.00"), (AFTER, "80.00")])
def test_a_biller_that_hears_of_payments_otherwise_knows_them_at_once(
    biller: Biller, paid: datetime.datetime, left: str
) -> None:
    Configuration.objects.update(payments=False)
    customer = first_bill(biller)
    pay(customer, "100.00", paid)
    assert Record.objects.count() == 0
    next_bill(biller)
    assert balance(customer) == left


def test_a_file_that_names_a_day_alone_doubts_that_whole_day(biller: Biller) -> None:
    customer = first_bill(biller)
    heard(pay(customer, "100.00"), MADE - datetime.timedelta(hours=3))  # 3 am in New York
    load(biller, [Bill(number="7002", amount="180.00")], made_on="11/22/2026")
    assert balance(customer) == "80.00"


@pytest.mark.spec("MSP-24")
def test_a_part_payment_goes_with_the_rest_that_is_open(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = pay(customer, "40.00")
    next_bill(biller)
    assert shape("7001") == {"transferred": "100.00"}
    assert shape("7002") == {"allocated": "40.00", "open": "140.00"}
    assert allocations(payment) == [("7001", "40.00", "void"), ("7002", "40.00", "posted")]
    assert balance(customer) == "140.00"
    books_hold()


def test_of_two_payments_only_the_unheard_one_moves(biller: Biller) -> None:
    customer = first_bill(biller)
    known = pay(customer, "30.00")
    heard(known)
    unknown = pay(customer, "70.00")
    next_bill(biller, "150.00")  # 100 - 30 + 80
    assert allocations(known) == [("7001", "30.00", "posted")]
    assert allocations(unknown) == [("7001", "70.00", "void"), ("7002", "70.00", "posted")]
    assert balance(customer) == "80.00"
    books_hold()


@pytest.mark.spec("MSP-24")
def test_what_exceeds_the_new_bill_is_the_customers_credit(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = pay(customer, "100.00")
    next_bill(biller, "60.00")
    assert shape("7002") == {"allocated": "60.00"}
    credit = Item.objects.get(kind="credit")
    assert (credit.payment_id, credit.open, credit.customer_id) == (payment.pk, Decimal("-40.00"), customer.pk)
    assert balance(customer) == "-40.00"
    books_hold()


@pytest.mark.parametrize("amount", ["0.00", "-25.00"])
def test_a_new_bill_of_nothing_or_less_takes_none(biller: Biller, amount: str) -> None:
    customer = first_bill(biller)
    pay(customer, "100.00")
    next_bill(biller, amount)
    assert balance(customer) == str(Decimal(amount) - 100)
    assert Item.objects.get(kind="credit", payment_id__isnull=False).open == Decimal("-100.00")
    books_hold()


@pytest.mark.spec("MSP-24")
def test_it_moves_on_with_every_bill_until_it_is_heard_of(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = pay(customer, "100.00")
    next_bill(biller, "180.00")
    next_bill(biller, "270.00", "7003", fields={11: "11/21/2026"})
    assert allocations(payment) == [
        ("7001", "100.00", "void"),
        ("7002", "100.00", "void"),
        ("7003", "100.00", "posted"),
    ]
    assert balance(customer) == "170.00"
    heard(payment)
    next_bill(biller, "250.00", "7004", fields={11: "11/22/2026"})  # 270 - 100 + 80
    assert shape("7003") == {"allocated": "100.00", "transferred": "170.00"}
    assert balance(customer) == "250.00"
    books_hold()


# ---- Credits


@pytest.mark.spec("MSP-24")
def test_an_unheard_overpayment_pays_the_new_bill_too(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = pay(customer, "120.00")
    assert balance(customer) == "-20.00"
    next_bill(biller)
    assert shape("7002") == {"allocated": "120.00", "open": "60.00"}
    assert Item.objects.get(kind="credit").open == Decimal("0.00")
    assert sum(row.amount for row in Allocation.objects.filter(payment=payment, state="posted")) == 120
    assert balance(customer) == "60.00"
    books_hold()


@pytest.mark.spec("MSP-24")
def test_a_credit_that_was_heard_of_is_in_the_new_bill_already(biller: Biller) -> None:
    customer = first_bill(biller)
    heard(pay(customer, "120.00"))
    next_bill(biller, "60.00")  # 80 - 20
    assert shape("7002") == {"open": "60.00"}
    credit = Item.objects.get(kind="credit")
    assert (credit.open, credit.transferred_to_id) == (Decimal("0.00"), item("7002").invoice_id)
    assert balance(customer) == "60.00"
    books_hold()


def test_a_credit_larger_than_the_new_bill_stays_for_the_rest(biller: Biller) -> None:
    customer = first_bill(biller)
    pay(customer, "150.00")
    next_bill(biller, "110.00")  # the biller's system knows of nothing: 100 + 10
    assert shape("7002") == {"allocated": "110.00"}
    assert balance(customer) == "-40.00"
    assert sum((one.open for one in Item.objects.filter(kind="credit")), Decimal("0.00")) == Decimal("-40.00")
    books_hold()


# ---- On its way


@pytest.mark.spec("MSP-24")
def test_money_in_flight_keeps_its_reservation_on_the_new_bill(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = start(customer, "100.00")
    next_bill(biller)
    assert shape("7001") == {"transferred": "100.00"}
    assert shape("7002") == {"reserved": "100.00", "open": "180.00"}
    assert allocations(payment) == [("7001", "100.00", "void"), ("7002", "100.00", "pending")]
    books_hold()
    settle(payment)
    assert shape("7002") == {"allocated": "100.00", "open": "80.00"}
    assert balance(customer) == "80.00"
    books_hold()


@pytest.mark.spec("MSP-24")
def test_money_in_flight_that_does_not_come_leaves_the_new_bill_open(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = start(customer, "100.00")
    next_bill(biller)
    settle(payment, Result.HARD_DECLINE)
    assert shape("7002") == {"open": "180.00"}
    assert [row[2] for row in allocations(payment)] == ["void", "void"]
    assert balance(customer) == "180.00"
    books_hold()


def test_money_in_flight_beyond_the_new_bill_becomes_credit_when_it_comes(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = start(customer, "100.00")
    next_bill(biller, "60.00")
    assert shape("7002") == {"reserved": "60.00", "open": "60.00"}
    books_hold()
    settle(payment)
    assert balance(customer) == "-40.00"
    assert Item.objects.get(kind="credit").open == Decimal("-40.00")
    books_hold()


def test_paid_money_finds_room_before_money_in_flight(biller: Biller) -> None:
    customer = first_bill(biller)
    flying = start(customer, "50.00")
    pay(customer, "50.00")
    next_bill(biller, "70.00")
    assert shape("7002") == {"allocated": "50.00", "reserved": "20.00", "open": "20.00"}
    settle(flying)
    assert balance(customer) == "-30.00"
    books_hold()


@pytest.mark.spec("MSP-24", "PAY-3")
@committed
def test_autopay_takes_only_what_is_left(processor: Processor) -> None:
    biller = make_biller()
    route = make_route(biller, processor.url)
    customer = first_bill(biller)
    token = processor.token(route.merchant)
    instrument = make_instrument(customer, route, token)
    make_autopay(customer, instrument)
    pay(customer, "100.00")
    # One more payment is on its way, of the same old bill's successor, when the new file comes.
    next_bill(biller, "180.00", fields={12: "11/22/2026"})
    assert item("7002").collect_on == TODAY
    run = collections.plan(biller=biller, options=Options.usual(TODAY), actor=ACTOR, now=NOON)
    for _ in collections.work(run=run, actor=ACTOR):
        pass
    assert [row["amount"] for row in processor.book()["rows"]] == ["80.00"]
    assert balance(customer) == "0.00"
    books_hold()


# ---- Without balance forward nothing moves


def test_without_balance_forward_payments_stay_where_they_are(biller: Biller) -> None:
    Biller.objects.filter(pk=biller.pk).update(balance_forward=False)
    customer = first_bill(biller)
    payment = pay(customer, "40.00")
    next_bill(biller, "80.00")
    assert allocations(payment) == [("7001", "40.00", "posted")]
    assert balance(customer) == "140.00"
    books_hold()


def test_a_bill_that_comes_late_moves_nothing(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = pay(customer, "100.00")
    load(biller, [Bill(number="6000", amount="55.00", fields={11: "10/01/2026"})])
    assert allocations(payment) == [("7001", "100.00", "posted")]
    assert balance(customer) == "0.00"
    books_hold()


# ---- The file is withdrawn


@pytest.mark.spec("MSP-23", "MSP-24")
@pytest.mark.parametrize("amount", ["180.00", "60.00"])
@pytest.mark.parametrize("paid", ["40.00", "100.00", "120.00"])
def test_withdrawing_gives_payments_back_to_the_older_bill(biller: Biller, amount: str, paid: str) -> None:
    customer = first_bill(biller)
    payment = pay(customer, paid)
    before = (shape("7001"), balance(customer))
    file = next_bill(biller, amount)
    withdraw(file)
    assert (shape("7001"), balance(customer)) == before
    live = [row for row in allocations(payment) if row[2] != "void"]
    assert live == [("7001", str(min(Decimal(paid), Decimal("100.00"))), "posted")]
    assert Item.objects.filter(invoice__file=file).exclude(open=0).count() == 0
    books_hold()
    # And a better file takes it along again.
    next_bill(biller, "180.00", "7003", fields={11: "11/21/2026"})
    assert balance(customer) == str(180 - Decimal(paid))
    books_hold()


@pytest.mark.spec("MSP-23", "MSP-24")
@pytest.mark.parametrize("amount", ["180.00", "60.00"])
def test_withdrawing_gives_back_money_in_flight(biller: Biller, amount: str) -> None:
    customer = first_bill(biller)
    payment = start(customer, "100.00")
    withdraw(next_bill(biller, amount))
    assert shape("7001") == {"reserved": "100.00", "open": "100.00"}
    books_hold()
    settle(payment)
    assert shape("7001") == {"allocated": "100.00"}
    assert balance(customer) == "0.00"
    books_hold()


@pytest.mark.parametrize(
    ("result", "left", "owed"),
    [(Result.PASS, {"allocated": "100.00"}, "0.00"), (Result.HARD_DECLINE, {"open": "100.00"}, "100.00")],
)
def test_withdrawing_after_money_in_flight_came_or_did_not(
    biller: Biller, result: Result, left: dict[str, str], owed: str
) -> None:
    customer = first_bill(biller)
    payment = start(customer, "100.00")
    file = next_bill(biller)
    settle(payment, result)
    withdraw(file)
    assert shape("7001") == left
    assert balance(customer) == owed
    books_hold()


def test_withdrawing_after_money_in_flight_came_and_left_a_credit(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = start(customer, "100.00")
    file = next_bill(biller, "60.00")
    settle(payment)
    withdraw(file)
    assert shape("7001") == {"allocated": "60.00", "open": "40.00"}
    assert Item.objects.get(kind="credit", open__lt=0).open == Decimal("-40.00")
    assert balance(customer) == "0.00"
    books_hold()


@pytest.mark.spec("MSP-23")
@pytest.mark.parametrize("then", [start, pay])
def test_a_file_of_which_something_is_paid_or_held_stays(
    biller: Biller, then: Callable[[Customer, str], Payment]
) -> None:
    customer = first_bill(biller)
    pay(customer, "100.00")
    file = next_bill(biller)
    then(customer, "10.00")
    before = checksums()
    with pytest.raises(invoice_files.NotWithdrawable, match="1 of its bills is paid, or held for a payment"):
        withdraw(file)
    assert checksums() == before


def test_a_rest_that_was_used_keeps_the_file(biller: Biller) -> None:
    customer = first_bill(biller)
    pay(customer, "100.00")
    file = next_bill(biller, "60.00")
    Item.objects.filter(kind="credit").update(transferred=Decimal("-10.00"))
    before = checksums()
    with pytest.raises(invoice_files.NotWithdrawable, match="rest of a payment"):
        withdraw(file)
    assert checksums() == before
    assert customer.pk


# ---- At the same time


class Other(threading.Thread):
    """Something that another worker does meanwhile."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work = work
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with tenancy.acting_for(tenancy.EVERY_BILLER):
                self.result = self._work()
        except BaseException as error:
            self.error = error
        finally:
            connection.close()

    def outcome(self) -> Any:
        self.join(30)
        assert not self.is_alive()
        if self.error:
            raise self.error
        return self.result


def load_while(biller: Biller, body: bytes, meanwhile: Callable[[], Other]) -> tuple[InvoiceFile, Other]:
    """Load a file; while its customers are locked and everything is carried, let the other begin, and find it waiting."""
    file = receive(biller, body)
    others: list[Other] = []
    told = itertools.count()

    def watch(columns: Any) -> None:
        # The first time is before the locks, the second after what is carried has moved.
        if "loaded_count" in columns and next(told) == 1:
            others.append(meanwhile())
            others[0].start()
            others[0].join(0.7)
            assert others[0].is_alive()

    loaded = invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON, watch=watch)
    return loaded, others[0]


@committed
def test_a_payment_that_begins_while_a_file_loads_pays_the_new_bill(biller: Biller) -> None:
    customer = first_bill(biller)
    method_of(customer)
    body = write(biller, [Bill(number="7002", amount="180.00")])
    _, other = load_while(biller, body, lambda: Other(lambda: start(customer, "180.00")))
    payment = other.outcome()
    assert allocations(payment) == [("7002", "180.00", "pending")]
    assert shape("7002") == {"reserved": "180.00", "open": "180.00"}
    books_hold()


@committed
@pytest.mark.parametrize("result", [Result.PASS, Result.HARD_DECLINE])
def test_an_answer_that_arrives_while_a_file_loads_settles_on_the_new_bill(biller: Biller, result: Result) -> None:
    customer = first_bill(biller)
    payment = start(customer, "100.00")
    body = write(biller, [Bill(number="7002", amount="180.00")])
    _, other = load_while(biller, body, lambda: Other(lambda: settle(payment, result)))
    other.outcome()
    paid = {"allocated": "100.00", "open": "80.00"}
    assert shape("7002") == (paid if result == Result.PASS else {"open": "180.00"})
    books_hold()


@committed
def test_two_files_of_the_same_accounts_at_once_load_one_after_the_other(biller: Biller) -> None:
    numbers = [f"{n}-001" for n in range(50)]
    bodies = [
        write(biller, [Bill(account=one, number=str(which), amount=f"{which}00.00") for one in order], count=50)
        for which, order in ((1, numbers), (2, numbers[::-1]))
    ]
    files = [receive(biller, body) for body in bodies]
    others = [
        Other(lambda pk=file.pk: invoice_files.load(file_id=pk, actor=ACTOR, carry=carryovers.carry, now=NOON))  # type: ignore[misc]  # each its own
        for file in files
    ]
    for other in others:
        other.start()
    assert [other.outcome().state for other in others] == ["loaded", "loaded"]
    # Both have the same date: whichever came later carries the other.
    assert Customer.objects.filter(biller=biller).count() == 50
    assert set(Customer.objects.values_list("balance", flat=True)) in ({Decimal("100.00")}, {Decimal("200.00")})
    books_hold()


@committed
def test_a_run_and_a_load_at_once_charge_nobody_twice(processor: Processor) -> None:
    biller = make_biller()
    route = make_route(biller, processor.url)
    tokens = processor.tokens(route.merchant, [{"outcome": "approve", "kind": "card"}] * 40)
    numbers = [f"{n}-001" for n in range(100, 140)]
    load(
        biller,
        [Bill(account=number, amount="100.00", fields={11: "11/01/2026", 12: "11/22/2026"}) for number in numbers],
        made_on="11/20/2026",
    )
    for number, token in zip(numbers, tokens, strict=True):
        customer = Customer.objects.get(number=number)
        make_autopay(customer, make_instrument(customer, route, token))
    body = write(
        biller,
        [Bill(account=number, number="7002", amount="180.00", fields={12: "11/22/2026"}) for number in numbers],
    )
    file = receive(biller, body)

    def collect() -> None:
        for turn in range(6):
            run = collections.plan(
                biller=biller, options=Options.usual(TODAY, repeat=str(turn)), actor=ACTOR, now=NOON, chunk_size=7
            )
            for _ in collections.work(run=run, actor=ACTOR):
                pass

    other = Other(collect)
    other.start()
    loaded = invoice_files.load(file_id=file.pk, actor=ACTOR, carry=carryovers.carry, now=NOON)
    other.outcome()
    assert (loaded.state, loaded.loaded_count) == ("loaded", 40)
    charged: dict[int, Decimal] = {}
    for payment in Payment.objects.filter(state="posted"):
        charged[payment.customer_id] = charged.get(payment.customer_id, Decimal("0.00")) + payment.amount
    # 180.00 is all that anybody owes, however the run and the file met.
    assert all(total <= Decimal("180.00") for total in charged.values())
    assert {row.balance + charged.get(row.pk, Decimal("0.00")) for row in Customer.objects.all()} == {Decimal("180.00")}
    assert processor.book()["charged_twice"] == 0
    books_hold()


# ---- Whatever happens, the customer owes what was billed less what was paid

_HEARD = st.sampled_from(["waiting", "failed", "before", "after", "in flight"])
_MONTH = st.tuples(st.integers(1, 200), st.lists(st.tuples(st.integers(1, 150), _HEARD), max_size=2))


# Many customers make an example rich and slow, and a smaller one would say no more: none is looked for.
@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.lists(_MONTH, min_size=3, max_size=3), min_size=10, max_size=20), st.randoms(use_true_random=False))
@pytest.mark.spec("MSP-24")
def test_balances_are_what_was_billed_less_what_was_paid(lives: list[list[Any]], chance: Any) -> None:
    """Each life is a customer's three months: what is newly billed, then payments, heard of or not by the next file.

    The biller's system bills what it believes is owed: everything it ever charged less the payments it has heard of.
    """
    biller = make_biller()
    make_route(biller)
    numbers = [f"{n}-001" for n in range(100, 100 + len(lives))]
    charged = dict.fromkeys(numbers, Decimal("0.00"))
    known = dict.fromkeys(numbers, Decimal("0.00"))
    paid = dict.fromkeys(numbers, Decimal("0.00"))
    flying: list[tuple[str, Payment]] = []
    untold: list[tuple[str, Payment, Decimal]] = []
    late: list[tuple[str, Decimal]] = []  # delivered just after a file was made: known by the next one
    for month in range(3):
        bills = []
        for number, life in zip(numbers, lives, strict=True):
            charged[number] += life[month][0]
            due = charged[number] - known[number]
            bills.append(
                Bill(account=number, number=str(month), amount=f"{due:.2f}", fields={11: f"0{month + 1}/05/2026"})
            )
        file = load(biller, bills, made_on=f"0{month + 1}/10/2026 06:00:00")
        assert (file.state, file.refusal) == ("loaded", "")
        books_hold()
        owed = dict(Customer.objects.filter(biller=biller).values_list("number", "balance"))
        assert owed == {number: charged[number] - paid[number] for number in numbers}
        for number, amount in late:
            known[number] += amount
        late.clear()
        made = datetime.datetime(2026, month + 2, 10, 11, 0, tzinfo=datetime.UTC)  # the next file
        for number, payment in [one for one in flying if chance.random() < 0.5]:
            flying.remove((number, payment))
            passed = chance.random() < 0.7
            settle(payment, Result.PASS if passed else Result.TECHNICAL_PROBLEM, made - datetime.timedelta(days=1))
            if passed:
                paid[number] += payment.amount
                untold.append((number, payment, payment.amount))
        for number, payment, amount in [one for one in untold if chance.random() < 0.5]:
            untold.remove((number, payment, amount))
            heard(payment, made - datetime.timedelta(hours=1))
            known[number] += amount
        for number, life in zip(numbers, lives, strict=True):
            customer = Customer.objects.get(biller=biller, number=number)
            for amount, how in life[month][1]:
                try:
                    payment = start(customer, str(amount), made - datetime.timedelta(days=2))
                except charges.AlreadyBeingPaid:
                    continue
                if how == "in flight":
                    flying.append((number, payment))
                    continue
                settle(payment, at=made - datetime.timedelta(days=2))
                paid[number] += amount
                if how in {"before", "after"}:
                    heard(payment, made + datetime.timedelta(hours=-1 if how == "before" else 1))
                else:
                    Record.objects.filter(pk=payment.pk).update(state=how)
                if how == "before":
                    known[number] += amount
                elif how == "after":
                    late.append((number, Decimal(amount)))
                else:
                    untold.append((number, payment, Decimal(amount)))
    books_hold()


# ---- Money that went back, and the biller's system did not know


def give_back(payment: Payment, amount: str, at: datetime.datetime = BEFORE) -> Reversal:
    Attempt.objects.filter(payment=payment, command="charge").update(processor_reference="ref")
    begun = refunds.start(
        payment_id=payment.pk, amount=Decimal(amount), with_fee=False, reason="Why", actor=ACTOR,
        request_key=f"back-{next(_keys)}", now=at,
    )  # fmt: skip
    assert not isinstance(begun, Reversal)
    reversal, request = begun
    settlements.settle(biller=payment.biller, answers=[Answer(request.key, Result.PASS)], actor=ACTOR, now=at)
    reversal.refresh_from_db()
    return reversal


def owed(customer: Customer) -> list[tuple[str, str]]:
    return [(one.kind, str(one.open)) for one in Item.objects.filter(customer=customer).exclude(open=0).order_by("pk")]


@pytest.mark.spec("MSP-24", "PAY-32")
def test_a_refund_that_was_not_delivered_is_due_beside_the_new_bill(biller: Biller) -> None:
    """The biller's system made a bill of 80.00 believing that the 100.00 were paid."""
    customer = first_bill(biller)
    heard(payment := pay(customer, "100.00"))
    reversal = give_back(payment, "40.00")
    next_bill(biller, "80.00")
    assert owed(customer) == [("bill", "80.00"), ("returned", "40.00")]
    assert (shape("7001"), balance(customer)) == ({"allocated": "60.00", "transferred": "40.00"}, "120.00")
    books_hold()
    # Its next bill was made without knowing still; then it heard, and the one after that has it all.
    next_bill(biller, "160.00", "7003")
    assert (owed(customer), balance(customer)) == ([("returned", "40.00"), ("bill", "160.00")], "200.00")
    Record.objects.filter(pk=reversal.pk).update(state="delivered", delivered_at=MADE)
    next_bill(biller, "280.00", "7004")
    assert (owed(customer), balance(customer)) == ([("bill", "280.00")], "280.00")
    books_hold()


@pytest.mark.spec("MSP-24", "PAY-32")
def test_a_refund_that_was_delivered_is_in_the_new_bill(biller: Biller) -> None:
    customer = first_bill(biller)
    heard(payment := pay(customer, "100.00"))
    heard_back = give_back(payment, "40.00")
    Record.objects.filter(pk=heard_back.pk).update(state="delivered", delivered_at=MADE)
    next_bill(biller, "120.00")
    assert (owed(customer), balance(customer)) == ([("bill", "120.00")], "120.00")
    books_hold()


@pytest.mark.spec("MSP-24", "PAY-32")
def test_of_a_payment_and_its_refund_that_were_both_not_delivered_the_rest_counts(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = pay(customer, "100.00")
    give_back(payment, "40.00")
    next_bill(biller)
    assert (shape("7002"), balance(customer)) == ({"allocated": "60.00", "open": "120.00"}, "120.00")
    books_hold()


@pytest.mark.spec("PAY-32")
def test_a_credit_that_a_newer_bill_took_up_is_due_when_its_payment_goes_back(biller: Biller) -> None:
    customer = first_bill(biller)
    heard(payment := pay(customer, "130.00"))
    file = next_bill(biller, "50.00")
    assert owed(customer) == [("bill", "50.00")]
    reversal = give_back(payment, "130.00", AFTER)
    assert str(reversal.charged) == "30.00"
    assert owed(customer) == [("bill", "100.00"), ("bill", "50.00"), ("returned", "30.00")]
    assert balance(customer) == "180.00"
    books_hold()
    withdraw(file)
    assert owed(customer) == [("bill", "100.00"), ("credit", "-30.00"), ("returned", "30.00")]
    assert balance(customer) == "100.00"
    books_hold()


def move_back(payment: Payment, kind: base.ReversalKind, amount: str = "100.00") -> Reversal:
    charge = Attempt.objects.get(payment=payment, command="charge")
    told = base.Reversal(f"r-{next(_keys)}", str(charge.pk), kind, Decimal(amount), "c", "Why", BEFORE)
    assert returns.take(route=charge.route, told=told, actor=ACTOR, now=BEFORE) == returns.Read(1, 0)
    return Reversal.objects.get(reference=told.reference)


def hear(*back: Reversal) -> None:
    told = Record.objects.filter(pk__in=[one.pk for one in back])
    assert told.update(state="delivered", delivered_at=MADE) == len(back)


CHARGEBACK, WON = base.ReversalKind.CHARGEBACK, base.ReversalKind.CHARGEBACK_WON


@pytest.mark.spec("MSP-24", "PAY-32")
@pytest.mark.parametrize(
    ("lost_heard", "won_heard", "billed", "then"),
    [
        (False, False, "50.00", [("bill", "50.00"), ("credit", "-100.00"), ("returned", "100.00")]),
        (True, False, "150.00", [("bill", "150.00"), ("credit", "-100.00")]),
        (False, True, "-50.00", [("credit", "-50.00"), ("returned", "100.00")]),
        (True, True, "50.00", [("bill", "50.00")]),
    ],
)
def test_of_a_chargeback_and_its_win_counts_what_the_billers_system_knows(
    biller: Biller, lost_heard: bool, won_heard: bool, billed: str, then: list[tuple[str, str]]
) -> None:
    """The payment was 100.00 and counts again; what is new is 50.00, and 30.00 a bill later."""
    customer = first_bill(biller)
    heard(payment := pay(customer, "100.00"))
    lost, won = move_back(payment, CHARGEBACK), move_back(payment, WON)
    assert (owed(customer), balance(customer)) == ([("bill", "100.00"), ("credit", "-100.00")], "0.00")
    for told, back in ((lost_heard, lost), (won_heard, won)):
        if told:
            hear(back)
    next_bill(biller, billed)
    assert (sorted(owed(customer)), balance(customer)) == (then, "50.00")
    books_hold()
    # Nothing new is told, and then everything: nothing is lost, and nothing asked for twice.
    next_bill(biller, str(Decimal(billed) + 30), "7003")
    assert balance(customer) == "80.00"
    hear(lost, won)
    next_bill(biller, "80.00", "7004")
    assert (owed(customer), balance(customer)) == ([("bill", "80.00")], "80.00")
    books_hold()


@pytest.mark.spec("PAY-32")
def test_what_goes_back_out_of_a_win_that_was_not_heard_of_is_due_once(biller: Biller) -> None:
    customer = first_bill(biller)
    heard(payment := pay(customer, "100.00"))
    lost, won = move_back(payment, CHARGEBACK), move_back(payment, WON)
    again = give_back(payment, "100.00")
    assert balance(customer) == "100.00"
    next_bill(biller, "50.00")
    assert (owed(customer), balance(customer)) == ([("bill", "50.00"), ("returned", "100.00")], "150.00")
    hear(lost, won)
    next_bill(biller, "80.00", "7003")
    assert (owed(customer), balance(customer)) == ([("bill", "80.00"), ("returned", "100.00")], "180.00")
    hear(again)
    next_bill(biller, "180.00", "7004")
    assert (owed(customer), balance(customer)) == ([("bill", "180.00")], "180.00")
    books_hold()


@pytest.mark.spec("MSP-24", "PAY-32")
def test_a_win_of_a_payment_that_was_not_heard_of_counts_until_it_was(biller: Biller) -> None:
    customer = first_bill(biller)
    payment = pay(customer, "100.00")
    lost, won = move_back(payment, CHARGEBACK), move_back(payment, WON)
    next_bill(biller, "150.00")
    assert (owed(customer), balance(customer)) == ([("credit", "-100.00"), ("bill", "150.00")], "50.00")
    heard(payment)
    hear(lost)
    next_bill(biller, "180.00", "7003")
    assert balance(customer) == "80.00"
    hear(won)
    next_bill(biller, "80.00", "7004")
    assert (owed(customer), balance(customer)) == ([("bill", "80.00")], "80.00")
    books_hold()


@pytest.mark.spec("MSP-23", "PAY-32")
def test_a_file_whose_bills_count_on_money_that_went_back_is_not_withdrawn(biller: Biller) -> None:
    customer = first_bill(biller)
    heard(payment := pay(customer, "100.00"))
    give_back(payment, "40.00")
    file = next_bill(biller, "80.00")
    before = checksums()
    with pytest.raises(invoice_files.NotWithdrawable, match="went back since"):
        withdraw(file)
    assert (checksums(), balance(customer)) == (before, "120.00")
