"""Live balances over real HTTP: the books follow the biller's system, never by money of ours, and charges hold without one."""

from __future__ import annotations

import contextlib
import datetime
import socket
import time
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Adjustment, Biller, Chunk, Customer, Item
from datapump.connectors import base as connectors
from datapump.models import Balance, Endpoint, Purpose, Record
from datapump.operations import balances as live
from payments.gateways.base import Answer, Result
from payments.models import Attempt, Channel, Instrument, Payment, Reversal, Route
from payments.operations import balances, charges, dues, enrolments, instruments, refunds, settlements
from payments.operations.balances import BalanceUnknown, Standing
from payments.operations.collections import Options
from tests.cis import Cis
from tests.datapump.conftest import account_of, endpoint_of, point_at
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.payments.test_carryovers import books_hold
from tests.payments.test_collections import collect, due_bill, today
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
ACTOR = Actor.payer(None, "Pat Payer", "192.0.2.1")


@pytest.fixture
def biller(transactional_db: None, cis: Cis) -> Biller:
    """A biller whose system can be asked for balances, each time anew."""
    made = make_biller(time_zone="UTC")
    point_at(cis, made, Purpose.BALANCES, reuse_seconds=0, booked_minutes=0)
    point_at(cis, made, Purpose.PAYMENTS)
    return made


@pytest.fixture
def customer(biller: Biller) -> Customer:
    """An account that owes 84.10 by its bill."""
    made = make_customer(biller)
    make_invoice(made, "84.10")
    return made


def refresh(customer: Customer, **others: Any) -> Standing:
    standing = balances.refresh(biller=customer.biller, customers=[customer.pk], **others)[customer.pk]
    customer.refresh_from_db()
    return standing


def owes(cis: Cis, customer: Customer, amount: str, **others: Any) -> None:
    cis.owes(account_of(customer), items=[{"currentAmount": amount}], **others)


def change(biller: Biller, **fields: Any) -> None:
    Endpoint.objects.filter(biller=biller, purpose=Purpose.BALANCES).update(**fields)


def pay(instrument: Instrument, amount: str, key: str = "key-1", **others: Any) -> Payment:
    return charges.pay(
        **{
            "customer": instrument.customer, "amount": Decimal(amount), "instrument": instrument, "channel": Channel.WEB,
            "actor": ACTOR, "request_key": key, **others,
        }
    )  # fmt: skip


@pytest.fixture
def card(customer: Customer, processor: Processor) -> Instrument:
    route = make_route(customer.biller, processor.url)
    return make_instrument(customer, route, processor.token(route.merchant))


def nothing_was_charged() -> bool:
    return not Payment.objects.exists() and not Attempt.objects.exists()


@pytest.mark.parametrize(
    ("says", "adjusted"), [("99.10", "15.00"), ("20.00", "-64.10"), ("0.00", "-84.10"), ("84.10", "")]
)
@pytest.mark.spec("MSP-1", "MSP-2")
def test_a_differing_balance_posts_a_signed_adjustment_once(
    customer: Customer, cis: Cis, says: str, adjusted: str
) -> None:
    owes(cis, customer, says)
    standing = refresh(customer)
    assert standing.balance is not None
    assert (standing.fresh, standing.usable, str(standing.balance.due)) == (True, True, says)
    assert [str(one.item.amount) for one in Adjustment.objects.select_related("item")] == (
        [adjusted] if adjusted else []
    )
    assert (str(customer.balance), str(dues.due(customer=customer).full)) == (says, says)
    refresh(customer)
    assert Adjustment.objects.count() == bool(adjusted)
    books_hold()


@pytest.mark.spec("MSP-3")
def test_what_remains_of_a_prepaid_account_is_its_balance_and_no_debt(customer: Customer, cis: Cis) -> None:
    owes(cis, customer, "50.00", extensions={"remainingBalance": "4.93", "remainingDays": "1"})
    standing = refresh(customer)
    assert standing.balance is not None
    assert (str(standing.balance.due), standing.balance.prepaid, standing.balance.remaining_days) == (
        "4.93",
        True,
        Decimal(1),
    )
    assert (str(customer.balance), Adjustment.objects.count()) == ("84.10", 0)


# ---- never by money of ours


def start(customer: Customer, amount: Decimal) -> Payment:
    """Hold the items' money, as a charge does before the processor hears of it."""
    started = charges.start(
        customer=customer, amount=amount, instrument=customer.instruments.get(), channel=Channel.CSR, actor=ACTOR,
        request_key=f"key-{Payment.objects.count()}", item_ids=None, email="", now=timezone.now(),
    )  # fmt: skip
    assert not isinstance(started, Payment)
    return Payment.objects.get(pk=started.payment_id)


def settle(payment: Payment, result: Result) -> None:
    answer = Answer(str(payment.attempts.get().pk), result, f"A{payment.pk.hex}")
    settlements.settle(biller=payment.biller, answers=[answer], actor=ACTOR, now=timezone.now())


def tell(payment: Payment, state: str = "delivered") -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE datapump_record SET state = %s, delivered_at = CASE WHEN %s = 'delivered' THEN clock_timestamp() END"
            " WHERE id = %s",
            [state, state, payment.pk],
        )


@pytest.mark.spec("MSP-2", "PAY-33")
@pytest.mark.parametrize("result", [Result.HARD_DECLINE, Result.PASS])
def test_only_a_refund_that_came_about_holds_an_adjustment_back(
    customer: Customer, card: Instrument, cis: Cis, result: Result
) -> None:
    owes(cis, customer, "84.10")
    payment = pay(card, "84.10")
    Record.objects.update(state="delivered", delivered_at=timezone.now())
    begun = refunds.start(
        payment_id=payment.pk, amount=Decimal("10.00"), with_fee=False, reason="Why", actor=ACTOR, request_key="back",
        now=timezone.now(),
    )  # fmt: skip
    assert not isinstance(begun, Reversal)
    owes(cis, customer, "5.00")
    refresh(customer)
    assert Adjustment.objects.count() == 0
    settlements.settle(biller=customer.biller, answers=[Answer(begun[1].key, result)], actor=ACTOR, now=timezone.now())
    refresh(customer)
    assert (str(customer.balance), Adjustment.objects.count()) == (("10.00", 0) if result == 0 else ("5.00", 1))
    books_hold()


@pytest.mark.parametrize("state", ["waiting", "sending", "retrying", "failed", "skipped", "withheld", "none"])
@pytest.mark.spec("MSP-1", "MSP-5")
def test_money_that_may_be_missing_from_the_balance_holds_the_adjustment(
    customer: Customer, cis: Cis, state: str
) -> None:
    make_instrument(customer, make_route(customer.biller))
    owes(cis, customer, "84.10")
    payment = start(customer, Decimal("84.10"))
    # On its way: whatever the biller's system says meanwhile waits.
    owes(cis, customer, "90.00")
    refresh(customer)
    assert (str(customer.balance), Adjustment.objects.count()) == ("84.10", 0)
    owes(cis, customer, "84.10")
    settle(payment, Result.PASS)
    if state == "none":
        Record.objects.filter(pk=payment.pk).delete()
    else:
        tell(payment, state)
    # The biller's system has not booked it, and says what it said before.
    assert refresh(customer).fresh
    assert (str(customer.balance), Adjustment.objects.count()) == ("0.00", 0)
    if state in ("skipped", "withheld", "none"):
        # Nobody tells of it here; after some days the biller's system has it by other means.
        Payment.objects.update(settled_at=timezone.now() - balances.OTHER_MEANS)
        owes(cis, customer, "-1.00")
        refresh(customer)
        assert (str(customer.balance), Adjustment.objects.count()) == ("-1.00", 1)
    books_hold()


@pytest.mark.spec("MSP-1")
def test_a_system_may_take_its_time_to_show_a_payment_that_it_was_told_of(customer: Customer, cis: Cis) -> None:
    make_instrument(customer, make_route(customer.biller))
    change(customer.biller, booked_minutes=15)
    payment = start(customer, Decimal("84.10"))
    settle(payment, Result.PASS)
    tell(payment)
    owes(cis, customer, "84.10")
    refresh(customer)
    assert (str(customer.balance), Adjustment.objects.count()) == ("0.00", 0)
    Record.objects.update(delivered_at=timezone.now() - datetime.timedelta(minutes=16))
    owes(cis, customer, "3.00")
    refresh(customer)
    assert (str(customer.balance), Adjustment.objects.count()) == ("3.00", 1)


@pytest.mark.spec("MSP-1", "MSP-5")
def test_a_payment_told_while_the_answer_was_on_its_way_is_not_taken_back(customer: Customer, cis: Cis) -> None:
    """The answer is old by the time it is compared: it was given before the payment was booked."""
    make_instrument(customer, make_route(customer.biller))
    owes(cis, customer, "84.10")
    asking = live.ask(endpoint=endpoint_of(customer.biller, Purpose.BALANCES), customers=[customer.pk])
    payment = start(customer, Decimal("84.10"))
    settle(payment, Result.PASS)
    tell(payment)
    balances._keep(asking)
    customer.refresh_from_db()
    assert (str(customer.balance), Adjustment.objects.count()) == ("0.00", 0)
    # And an older answer never takes the place of a newer one.
    owes(cis, customer, "0.00")
    refresh(customer)
    balances._keep(asking)
    assert str(Balance.objects.get(pk=customer.pk).due) == "0.00"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("changes"), st.integers(-5_000, 5_000).filter(bool)),
        st.tuples(st.just("starts"), st.integers(1, 5_000)),
        st.tuples(st.sampled_from(["passes", "fails", "told", "asks", "keeps", "refreshes"]), st.just(0)),
    ),
    max_size=14,
)


class World:
    """A biller's system with its own truth, our books, and payments between them."""

    def __init__(self) -> None:
        self.biller = make_biller()
        self.endpoint = point_at_nowhere(self.biller)
        self.customer = make_customer(self.biller)
        make_invoice(self.customer, "84.10")
        make_instrument(self.customer, make_route(self.biller))
        self.says, self.changed, self.seen = Decimal("84.10"), Decimal("0.00"), Decimal("0.00")
        self.moving: list[Payment] = []
        self.untold: list[Payment] = []
        self.answer: tuple[live.Asking, Decimal] | None = None

    def changes(self, cents: int) -> None:
        self.says += Decimal(cents) / 100
        self.changed += Decimal(cents) / 100

    def starts(self, cents: int) -> None:
        with contextlib.suppress(DomainError):
            self.moving.append(start(self.customer, Decimal(cents) / 100))

    def passes(self, _: int) -> None:
        if self.moving:
            self.untold.append(payment := self.moving.pop(0))
            settle(payment, Result.PASS)

    def fails(self, _: int) -> None:
        if self.moving:
            settle(self.moving.pop(), Result.HARD_DECLINE)

    def told(self, _: int) -> None:
        if self.untold:
            self.says -= self.untold[0].amount
            tell(self.untold.pop(0))

    def asks(self, _: int) -> None:
        now = live.clock()
        asked = live.Asked(self.customer.pk, now, live.clock(), connectors.Balance(self.says))
        self.answer = live.Asking(self.endpoint, now, [asked]), self.changed

    def keeps(self, _: int) -> None:
        if self.answer is not None:
            before = Adjustment.objects.filter(customer=self.customer).count()
            asking, changed = self.answer
            balances._keep(asking)
            if Adjustment.objects.filter(customer=self.customer).count() > before:
                self.seen = changed
            self.answer = None

    def refreshes(self, _: int) -> None:
        self.asks(0)
        self.keeps(0)


def point_at_nowhere(biller: Biller) -> Endpoint:
    return Endpoint.objects.create(
        biller=biller, purpose=Purpose.BALANCES, url="http://127.0.0.1:9/", booked_minutes=0, reuse_seconds=0
    )


@given(steps=STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.spec("MSP-1", "MSP-5")
def test_adjustments_are_what_the_system_changed_by_itself_and_never_money_of_ours(
    steps: list[tuple[str, int]],
) -> None:
    world = World()
    for step, number in steps:
        getattr(world, step)(number)
        adjusted = sum(one.amount for one in Item.objects.filter(customer=world.customer, kind="adjustment"))
        assert adjusted == world.seen, step
    # When all has come to rest, our books and the system's are equal.
    while world.moving:
        world.passes(0)
    while world.untold:
        world.told(0)
    world.refreshes(0)
    world.customer.refresh_from_db()
    assert world.customer.balance == world.says
    books_hold()


# ---- charges


@pytest.mark.spec("MSP-1")
def test_a_charge_asks_first_and_goes_by_what_it_hears(card: Instrument, cis: Cis) -> None:
    owes(cis, card.customer, "20.00")
    with pytest.raises(charges.AmountRefused, match=r"at most \$20\.00"):
        pay(card, "84.10")
    assert nothing_was_charged()
    assert pay(card, "20.00").state == "posted"
    books_hold()


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "garbage", "kind": "html"},
        {"action": "drop_before"},
        {"action": "slow", "seconds": 5},
        {"action": "http_status"},
    ],
)
@pytest.mark.spec("MSP-1", "MSP-5")
def test_without_a_balance_nothing_is_charged_or_what_is_known_is_used(
    card: Instrument, cis: Cis, rule: dict[str, Any]
) -> None:
    customer = card.customer
    change(customer.biller, timeout_seconds=1)
    cis.control(rule)
    with pytest.raises(BalanceUnknown):
        pay(card, "84.10")
    change(customer.biller, known_hours=2)
    with pytest.raises(BalanceUnknown):
        pay(card, "84.10")  # nothing is known yet
    assert nothing_was_charged()
    cis.control()
    owes(cis, customer, "60.00")
    refresh(customer)
    cis.control(rule)
    Balance.objects.update(answered_at=timezone.now() - datetime.timedelta(minutes=121))
    with pytest.raises(BalanceUnknown):
        pay(card, "60.00")
    assert nothing_was_charged()
    Balance.objects.update(answered_at=timezone.now() - datetime.timedelta(minutes=119))
    posted = pay(card, "60.00")
    assert posted.state == "posted"
    # The same key again is the same payment, whatever can be known by now.
    Balance.objects.update(answered_at=timezone.now() - datetime.timedelta(minutes=121))
    assert pay(card, "60.00") == posted


@pytest.mark.parametrize(
    ("says", "kind", "blocked"),
    [
        ({"transaction_types": ["Cash Only"]}, "bank", True),
        ({"transaction_types": ["Cash Only"]}, "card", False),
        ({"extensions": {"preventCreditCard": "Y"}}, "card", True),
        ({"extensions": {"preventCreditCard": "Y"}}, "bank", False),
    ],
)
@pytest.mark.spec("MSP-4")
def test_what_the_system_blocks_is_blocked_for_charges_enrolments_methods_and_runs(
    biller: Biller, cis: Cis, processor: Processor, says: dict[str, Any], kind: str, blocked: bool
) -> None:
    make_route(biller, processor.url)
    route = Route.objects.get(biller=biller)
    item = due_bill(biller, processor, instrument={"kind": kind, "brand": "", "expires_on": None})
    customer = item.customer
    Instrument.objects.update(token=processor.token(route.merchant, kind=kind))
    method = customer.instruments.get()
    owes(cis, customer, "84.10", **says)
    run = collect(biller)
    assert Payment.objects.filter(customer=customer, state="posted").count() == int(not blocked)
    assert Chunk.objects.get(run=run).held_count == 0
    if not blocked:
        return
    with pytest.raises(charges.MethodBlocked):
        pay(method, "84.10")
    customer.autopay_enrolments.all().delete()
    customer.refresh_from_db()
    with pytest.raises(enrolments.MethodRefused):
        enrolments.enrol_autopay(customer=customer, instrument=method, agreed=True, actor=ACTOR)
    with pytest.raises(instruments.MethodRefused):
        instruments.add(
            customer=customer, route=route, token=processor.token(route.merchant, kind=kind), keep=True, actor=ACTOR
        )
    assert nothing_was_charged()
    # The block goes when the biller's system lets go of it.
    owes(cis, customer, "84.10")
    assert pay(method, "84.10").state == "posted"


@pytest.mark.spec("MSP-1", "MSP-5")
def test_a_run_asks_for_its_accounts_first_and_holds_those_it_cannot_know(
    biller: Biller, cis: Cis, processor: Processor
) -> None:
    make_route(biller, processor.url)
    known, lower, paid_up, unknown = (due_bill(biller, processor).customer for _ in range(4))
    for customer, amount in ((known, "84.10"), (lower, "30.00"), (paid_up, "0.00")):
        owes(cis, customer, amount)
    cis.control({"action": "garbage", "kind": "html", "account": account_of(unknown)})
    run = collect(biller)
    taken = Payment.objects.filter(state="posted").values_list("customer_id", "amount").order_by("customer_id")
    assert list(taken) == [(known.pk, Decimal("84.10")), (lower.pk, Decimal("30.00"))]
    chunk = Chunk.objects.get(run=run)
    assert (run.state, chunk.sent_count, chunk.held_count) == ("done", 2, 1)
    assert "cannot be read" in chunk.held_for
    cis.control()
    owes(cis, unknown, "84.10")
    # Its bill keeps its day: the next run takes it.
    assert Chunk.objects.get(run=collect(biller, Options.usual(today(), minimum=Decimal("1.00")))).sent_count == 1
    books_hold()


@pytest.mark.spec("MSP-1")
def test_a_run_keeps_its_calls_within_the_bound_and_asks_each_account_once(
    biller: Biller, cis: Cis, processor: Processor
) -> None:
    make_route(biller, processor.url)
    change(biller, in_flight=4, reuse_seconds=60)
    for _ in range(12):
        owes(cis, due_bill(biller, processor).customer, "84.10")
    cis.control({"action": "slow", "seconds": 0.2})
    began = time.monotonic()
    collect(biller)
    # Twelve answers of 0.2 s, four at a time.
    assert 0.6 <= time.monotonic() - began < 2.4
    assert [rule["fired"] for rule in cis.switches()["rules"]] == [12]
    assert Payment.objects.filter(state="posted").count() == 12


# ---- within its time, and left alone where it is dead


@pytest.mark.spec("MSP-5")
def test_a_failure_keeps_the_last_balance_with_its_age_and_says_why(customer: Customer, cis: Cis) -> None:
    owes(cis, customer, "99.10")
    refresh(customer)
    said = Balance.objects.get(pk=customer.pk)
    change(customer.biller, timeout_seconds=1)
    for rule, words in (
        ({"action": "slow", "seconds": 5}, "did not answer within 1 seconds"),
        ({"action": "garbage", "kind": "truncated"}, "cannot be read"),
        ({"action": "error_object", "text": "no such account"}, "no such account"),
        ({"action": "drop_before"}, "connection broke"),
    ):
        cis.control(rule)
        began = time.monotonic()
        standing = refresh(customer)
        assert time.monotonic() - began < 1.5
        assert standing.balance is not None
        assert (standing.fresh, standing.usable, standing.balance.answered_at) == (False, False, said.answered_at)
        assert words in standing.failure
        assert (str(standing.balance.due), str(customer.balance)) == ("99.10", "99.10")
    cis.control()
    assert refresh(customer).failure == ""


@pytest.mark.spec("MSP-5")
def test_an_account_that_was_never_answered_for_has_no_balance_and_no_zero(customer: Customer, cis: Cis) -> None:
    cis.control({"action": "garbage", "kind": "other"})
    assert refresh(customer).balance is None
    assert (str(customer.balance), Adjustment.objects.count()) == ("84.10", 0)


@pytest.mark.spec("MSP-5")
def test_a_dead_system_is_left_alone_until_one_call_finds_it_well(biller: Biller, cis: Cis) -> None:
    customers = [make_customer(biller) for _ in range(14)]
    change(biller, in_flight=1)
    cis.control({"action": "drop_before"})
    asked = balances.refresh(biller=biller, customers=[one.pk for one in customers])
    assert not any(one.usable for one in asked.values())
    # After ten failures in a row the others were not asked, nor is anybody now.
    asked_so_far = cis.switches()["rules"][0]["fired"]
    assert asked_so_far in (10, 11)  # one more may have gone out as the tenth came back
    began = time.monotonic()
    assert "does not answer" in refresh(customers[0]).failure
    assert time.monotonic() - began < 0.5
    assert cis.switches()["rules"][0]["fired"] == asked_so_far
    cis.control()
    change(biller, closed_until=timezone.now() - datetime.timedelta(seconds=1))
    asked = balances.refresh(biller=biller, customers=[one.pk for one in customers])
    assert all(one.fresh for one in asked.values())
    endpoint = endpoint_of(biller, Purpose.BALANCES)
    assert (endpoint.closed_until, endpoint.failures_in_a_row) == (None, 0)


@pytest.mark.spec("MSP-5")
def test_wrong_credentials_stop_the_asking_until_a_person_has_looked(customer: Customer, cis: Cis) -> None:
    cis.control({"action": "wrong_password"})
    assert "credentials" in refresh(customer).failure
    endpoint = endpoint_of(customer.biller, Purpose.BALANCES)
    assert endpoint.paused
    assert "credentials" in endpoint.paused_for
    refresh(customer)
    assert cis.switches()["rules"][0]["fired"] == 1


def test_a_fresh_balance_is_not_asked_for_again(customer: Customer, cis: Cis) -> None:
    change(customer.biller, reuse_seconds=60)
    cis.control({"action": "slow", "seconds": 0})
    for _ in range(3):
        assert refresh(customer).fresh
    assert cis.switches()["rules"][0]["fired"] == 1
    Balance.objects.update(answered_at=timezone.now() - datetime.timedelta(seconds=61))
    assert refresh(customer).fresh
    assert cis.switches()["rules"][0]["fired"] == 2


def test_nothing_is_asked_while_a_transaction_is_open(customer: Customer) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError):
        refresh(customer)


@pytest.mark.spec("MSP-5")
def test_accounts_at_several_billers_are_asked_for_at_once_and_one_that_is_dead_costs_the_others_nothing(
    biller: Biller, cis: Cis
) -> None:
    well = [biller, *(make_biller(time_zone="UTC") for _ in range(2))]
    for other in well[1:]:
        point_at(cis, other, Purpose.BALANCES, reuse_seconds=0, booked_minutes=0)
    dead = make_biller(time_zone="UTC")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        point_at(cis, dead, Purpose.BALANCES, url=f"http://127.0.0.1:{deaf.getsockname()[1]}/", timeout_seconds=1)
        customers = [make_customer(one) for one in (*well, dead, make_biller())]
        for customer in customers[:3]:
            owes(cis, customer, "12.50")
        cis.control({"action": "slow", "seconds": 0.6})
        began = time.monotonic()
        asked = balances.refresh_all(customers)
        # One after another it would be 2.8 seconds; the deaf one has its own second.
        assert time.monotonic() - began < 2.6
    assert {pk: one.fresh for pk, one in asked.items()} == {
        one.pk: number < 3 for number, one in enumerate(customers[:4])
    }
    assert "did not answer" in asked[customers[3].pk].failure
    for customer in customers:
        customer.refresh_from_db()
    assert [str(one.balance) for one in customers] == ["12.50", "12.50", "12.50", "0.00", "0.00"]
    assert endpoint_of(dead, Purpose.BALANCES).failures_in_a_row == 1
    assert endpoint_of(biller, Purpose.BALANCES).failures_in_a_row == 0
    books_hold()


def test_a_biller_without_the_endpoint_costs_one_look(transactional_db: None, django_assert_num_queries: Any) -> None:
    customer = make_customer(make_biller())
    with django_assert_num_queries(1):
        assert balances.refresh(biller=customer.biller, customers=[customer.pk]) == {}
