"""Money that goes back: refunds and voids by people, returns and chargebacks by banks, and what they open again."""

from __future__ import annotations

import datetime
import itertools
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.actors import Actor
from billing.errors import Conflict
from billing.models import AuditEntry, Biller, Customer, Entry, Item, Notice
from datapump.models import Record
from payments.gateways import base
from payments.gateways.base import Answer, OutcomeUnknown, Result
from payments.models import Attempt, Case, Channel, Checkpoint, Instrument, Payment, Reversal, ReversalDebit, Route
from payments.operations import cases, charges, declines, recoveries, refunds, returns, settlements
from payments.operations.charges import ChargingStopped
from payments.operations.refunds import RefundRefused
from payments.reports.daily_totals import daily_totals, day_checks
from tests.contracts.gateways import charge
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
from tests.payments.test_groups import GUID, turn
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
DANA = Actor.system("Dana")
_keys = itertools.count(1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    processor.reset()
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_endpoint(biller, "autopay")
    make_route(biller, processor.url, options={"settle_seconds": 20.0, "timeout": 2.0, "batch_timeout": 2.0})
    return biller


def owing(biller: Biller, *amounts: str) -> Customer:
    customer = make_customer(biller)
    for amount in amounts:
        make_invoice(customer, amount)
    return customer


def pay(customer: Customer, amount: str, processor: Processor, **others: Any) -> Payment:
    route = Route.objects.get(biller=customer.biller)
    card = Instrument.objects.filter(customer=customer).first() or make_instrument(
        customer, route, processor.token(route.merchant)
    )
    payment = charges.pay(
        customer=customer,
        amount=Decimal(amount),
        instrument=card,
        channel=Channel.CSR,
        actor=DANA,
        request_key=f"pay-{next(_keys)}",
        **others,
    )
    assert payment.state == "posted"
    return payment


def give_back(payment: Payment, amount: str, **others: Any) -> Reversal:
    payment = Payment.objects.select_related("biller", "route").get(pk=payment.pk)
    given: dict[str, Any] = {"reason": "Paid twice", "actor": DANA, "request_key": f"back-{next(_keys)}", **others}
    return refunds.refund(payment=payment, amount=Decimal(amount), **given)


def open_items(customer: Customer) -> list[tuple[str, str]]:
    rows = Item.objects.filter(customer=customer).exclude(open=0).order_by("pk")
    return [(row.kind, str(row.open)) for row in rows]


def balance(customer: Customer) -> str:
    customer.refresh_from_db()
    return str(customer.balance)


def state(payment: Payment) -> tuple[str, str]:
    payment.refresh_from_db()
    return payment.state, str(payment.undone)


def taken(processor: Processor, biller: Biller) -> tuple[str, str, str]:
    """Give what the processor's own book says it charged, refunded and saw reversed."""
    (total,) = processor.book(Route.objects.get(biller=biller).merchant)["totals"]
    return total["amount"], total["refunded"], total["reversed"]


def everything() -> tuple[int, ...]:
    return tuple(
        model.objects.count()
        for model in (Attempt, Checkpoint, Reversal, Record, Notice, Entry, AuditEntry, Case, Item)
    )


# ---- Given back by a person


@pytest.mark.spec("PAY-33", "PAY-32")
def test_a_payment_that_is_voided_whole_never_happened(biller: Biller, processor: Processor) -> None:
    customer = owing(biller, "84.10")
    payment = pay(customer, "84.10", processor)
    assert open_items(customer) == []
    reversal = give_back(payment, "84.10")
    assert (reversal.state, reversal.kind, reversal.made_by, reversal.reason) == ("done", "void", "Dana", "Paid twice")
    assert state(payment) == ("reversed", "84.10")
    assert (open_items(customer), balance(customer)) == ([("bill", "84.10")], "84.10")
    # No run takes again by itself what was just given back.
    assert Item.objects.get(customer=customer).collect_on is None
    booked = Entry.objects.filter(posting__key=f"reversal:{reversal.pk}")
    assert dict(booked.values_list("account", "amount")) == {
        "receivable": Decimal("84.10"),
        "clearing": Decimal("-84.10"),
    }
    record = Record.objects.get(type=5)
    assert (record.pk, record.customer_id) == (reversal.pk, customer.pk)
    assert record.facts == {
        "kind": "void", "amount": "84.10", "currency": "USD", "payment_guid": str(payment.pk),
        "approval_code": payment.approval_code, "code": "",
    }  # fmt: skip
    notice = Notice.objects.get(kind="refunded")
    assert (notice.customer_id, notice.facts["amount"], notice.facts["how"]) == (customer.pk, "84.10", "void")
    assert AuditEntry.objects.filter(subject=str(payment.pk), event="payment.reversed").count() == 1
    assert taken(processor, biller) == ("84.10", "84.10", "0.00")
    books_hold()


@pytest.mark.spec("PAY-33")
def test_parts_are_given_back_up_to_the_payment_and_what_it_left_as_credit_goes_first(
    biller: Biller, processor: Processor
) -> None:
    customer = owing(biller, "50.00", "30.00")
    payment = pay(customer, "100.00", processor)
    assert open_items(customer) == [("credit", "-20.00")]
    processor.control(settlement_seconds=0.0)
    assert give_back(payment, "15.00").kind == "refund"
    assert (open_items(customer), state(payment)) == ([("credit", "-5.00")], ("posted", "15.00"))
    give_back(payment, "15.00")
    # The newest bill first.
    assert open_items(customer) == [("bill", "10.00")]
    give_back(payment, "60.00")
    assert (open_items(customer), balance(customer)) == ([("bill", "40.00"), ("bill", "30.00")], "70.00")
    before = everything()
    for amount, why in (("10.01", "at most $10.00"), ("0", "above zero"), ("-5", "above zero")):
        with pytest.raises(RefundRefused, match=why.replace("$", r"\$")):
            give_back(payment, amount)
    with pytest.raises(RefundRefused, match="Say why"):
        give_back(payment, "10.00", reason="  ")
    assert everything() == before
    give_back(payment, "10.00")
    assert (state(payment), balance(customer)) == (("reversed", "100.00"), "80.00")
    before = everything()
    with pytest.raises(RefundRefused, match="All of this payment"):
        give_back(payment, "0.01")
    assert everything() == before
    assert taken(processor, biller) == ("100.00", "100.00", "0.00")
    books_hold()


@pytest.mark.spec("PAY-33")
def test_the_fee_goes_back_only_where_that_is_asked_for(biller: Biller, processor: Processor) -> None:
    customer = owing(biller, "84.10")
    payment = pay(customer, "84.10", processor, fee=Decimal("2.50"))
    give_back(payment, "84.10")
    assert (state(payment), taken(processor, biller)) == (("reversed", "84.10"), ("86.60", "84.10", "0.00"))
    reversal = give_back(payment, "0.00", with_fee=True)
    assert (reversal.state, str(reversal.amount), str(reversal.fee)) == ("done", "0.00", "2.50")
    assert taken(processor, biller) == ("86.60", "86.60", "0.00")
    # The biller's system never heard of the fee, so it does not hear that it went back.
    assert Record.objects.filter(type=5).count() == 1
    assert Entry.objects.filter(account="fees").count() == 2
    books_hold()
    with pytest.raises(RefundRefused, match="All of this payment"):
        give_back(payment, "0.00", with_fee=True)


@pytest.mark.spec("PAY-33", "PAY-2")
@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
def test_a_refund_without_an_answer_is_looked_up_and_made_once(
    biller: Biller, processor: Processor, fault: str
) -> None:
    customer = owing(biller, "84.10")
    payment = pay(customer, "84.10", processor)
    processor.strike(fault)
    reversal = give_back(payment, "40.00", request_key="again")
    assert (reversal.state, state(payment), balance(customer)) == ("processing", ("posted", "None"), "0.00")
    books_hold()
    before = everything()
    assert give_back(payment, "40.00", request_key="again").pk == reversal.pk
    with pytest.raises(Conflict):
        give_back(payment, "41.00", request_key="again")
    with pytest.raises(RefundRefused, match="on its way"):
        give_back(payment, "10.00")
    assert everything() == before
    Attempt.objects.filter(command="refund").update(sent_at=timezone.now() - datetime.timedelta(minutes=5))
    recoveries.recover(biller=biller, actor=DANA)
    recoveries.recover(biller=biller, actor=DANA, pause=datetime.timedelta(0))
    reversal.refresh_from_db()
    assert (reversal.state, state(payment), balance(customer)) == ("done", ("posted", "40.00"), "40.00")
    assert taken(processor, biller) == ("84.10", "40.00", "0.00")
    assert processor.book()["charged_twice"] == 0
    books_hold()


@pytest.mark.spec("PAY-33")
def test_a_refund_that_the_processor_refuses_changes_nothing(biller: Biller, processor: Processor) -> None:
    customer = owing(biller, "84.10")
    payment = pay(customer, "84.10", processor)
    processor.control(v_code="403")
    reversal = give_back(payment, "84.10")
    processor.control(v_code=None)
    assert (reversal.state, reversal.result, reversal.failure != "") == ("failed", Result.NO_CREDIT_BALANCE, True)
    assert (state(payment), open_items(customer), balance(customer)) == (("posted", "None"), [], "0.00")
    assert (Record.objects.filter(type=5).count(), Notice.objects.filter(kind="refunded").count()) == (0, 0)
    books_hold()
    assert give_back(payment, "84.10").state == "done"


def test_what_cannot_be_given_back_says_why(biller: Biller, processor: Processor) -> None:
    customer = owing(biller, "84.10", "10.00")
    payment = pay(customer, "84.10", processor)
    Payment.objects.filter(pk=payment.pk).update(route=None)
    with pytest.raises(RefundRefused, match="taken elsewhere"):
        give_back(payment, "84.10")
    Payment.objects.filter(pk=payment.pk).update(route=Route.objects.get())
    Attempt.objects.filter(payment=payment).update(processor_reference="")
    before = everything()
    with pytest.raises(RefundRefused, match="reference of this charge is not known"):
        give_back(payment, "84.10")
    Biller.objects.filter(pk=biller.pk).update(charging_stopped=True)
    with pytest.raises(ChargingStopped):
        give_back(payment, "84.10")
    assert everything() == before


@pytest.mark.spec("PAY-9")
@pytest.mark.parametrize("charged", [True, False])
def test_a_refund_of_unknown_outcome_is_decided_by_a_person(
    biller: Biller, processor: Processor, charged: bool
) -> None:
    Route.objects.filter(biller=biller).update(
        options={**Route.objects.get(biller=biller).options, "dedupe_window": None, "settle_seconds": 2.0}
    )
    processor.control(duplicate_detection=False)
    customer = owing(biller, "84.10")
    payment = pay(customer, "84.10", processor)
    processor.strike("drop_before")
    reversal = give_back(payment, "84.10")
    Attempt.objects.filter(command="refund").update(sent_at=timezone.now() - datetime.timedelta(minutes=5))
    recoveries.recover(biller=biller, actor=DANA)
    case = Case.objects.get()
    if charged:
        cases.close_as_charged(case=case, approval_code="", evidence="Their page", actor=DANA, now=timezone.now())
    else:
        cases.close_as_not_charged(case=case, evidence="Their page", actor=DANA, now=timezone.now())
    reversal.refresh_from_db()
    assert reversal.state == ("done" if charged else "failed")
    assert balance(customer) == ("84.10" if charged else "0.00")
    assert Checkpoint.objects.count() == 0
    books_hold()


# ---- Taken back by banks and card networks


def read(biller: Biller) -> tuple[int, int]:
    done = returns.read(biller=biller, actor=DANA, now=timezone.now())
    return done.taken, done.unknown


def charge_of(payment: Payment) -> str:
    return str(Attempt.objects.get(payment_id=payment.leading_id, command="charge").pk)


@pytest.mark.spec("PAY-32", "PAY-33")
def test_a_returned_payment_opens_its_bill_once_and_is_told(biller: Biller, processor: Processor) -> None:
    customer = owing(biller, "84.10")
    payment = pay(customer, "84.10", processor, fee=Decimal("2.50"))
    merchant = Route.objects.get(biller=biller).merchant
    assert read(biller) == (0, 0)
    processor.reverse(merchant, charge_of(payment), "return", code="R01")
    assert [read(biller), read(biller)] == [(1, 0), (0, 0)]
    reversal = Reversal.objects.get()
    assert (reversal.kind, reversal.code, reversal.reason) == ("return", "R01", "Insufficient funds")
    assert [str(part) for part in (reversal.amount, reversal.fee, reversal.loss)] == ["84.10", "2.50", "0.00"]
    assert (state(payment), open_items(customer), balance(customer)) == (
        ("reversed", "84.10"),
        [("bill", "84.10")],
        "84.10",
    )
    assert Record.objects.get(type=5).facts["code"] == "R01"
    assert Notice.objects.get(kind="returned").facts["amount"] == "86.60"
    day = timezone.now().date()
    (total,) = daily_totals(biller=biller, start=day, end=day)
    assert (total.count, str(total.amount), str(total.fees), str(total.back)) == (1, "84.10", "2.50", "86.60")
    (check,) = day_checks(biller=biller, start=day, end=day)
    assert check.agrees
    assert taken(processor, biller) == ("86.60", "0.00", "86.60")
    books_hold()


@pytest.mark.spec("PAY-5", "PAY-32")
@pytest.mark.parametrize(
    ("code", "aside"), [("R01", False), ("R02", True), ("R03", True), ("R07", True), ("R29", True)]
)
def test_a_returned_debit_counts_for_its_account_and_one_for_good_sets_it_aside(
    biller: Biller, processor: Processor, code: str, aside: bool
) -> None:
    route = Route.objects.get(biller=biller)
    token = processor.token(route.merchant, kind="bank")
    mine, theirs = owing(biller, "84.10", "10.00"), owing(biller, "20.00")
    bank, same = (make_instrument(one, route, token, kind="bank", brand="") for one in (mine, theirs))
    make_autopay(theirs, same)
    payment = pay(mine, "84.10", processor)
    assert declines.standing(instrument=bank, now=timezone.now()) == declines.Standing(None)
    processor.reverse(route.merchant, charge_of(payment), "return", code=code)
    assert read(biller) == (1, 0)
    for method in (bank, same):
        method.refresh_from_db()
        assert (method.state, method.declined_at is not None) == ("bad" if aside else "active", True)
        # Of the three debits of a month one is gone.
        assert declines.standing(instrument=method, now=timezone.now()).left == 2
    # Who paid hears of the return; whose AutoPay has the same account, that it was declined.
    told = Notice.objects.exclude(kind="receipt").values_list("kind", "customer_id").order_by("pk")
    assert set(told) == {("returned", mine.pk), *([("method_declined", theirs.pk)] if aside else [])}
    assert AuditEntry.objects.filter(event="instrument.declined").count() == (2 if aside else 0)
    if not aside:
        for _again in range(2):
            payment = pay(mine, "10.00", processor)
            processor.reverse(route.merchant, charge_of(payment), "return", code=code)
            assert read(biller) == (1, 0)
        bank.refresh_from_db()
        assert declines.standing(instrument=bank, now=timezone.now()).held
        before = everything()
        with pytest.raises(charges.MethodUnusable):
            pay(mine, "10.00", processor)
        assert everything() == before


@pytest.mark.spec("PAY-32")
def test_what_is_charged_back_after_a_refund_is_the_billers_loss(biller: Biller, processor: Processor) -> None:
    customer = owing(biller, "84.10")
    payment = pay(customer, "84.10", processor)
    merchant, charge = Route.objects.get(biller=biller).merchant, charge_of(payment)
    processor.control(settlement_seconds=0.0)
    give_back(payment, "50.00")
    processor.reverse(merchant, charge, "chargeback")
    assert read(biller) == (1, 0)
    back = Reversal.objects.get(kind="chargeback")
    assert [str(part) for part in (back.amount, back.fee, back.loss)] == ["34.10", "0.00", "50.00"]
    # Nobody owes more than was paid.
    assert (state(payment), balance(customer)) == (("reversed", "84.10"), "84.10")
    assert Entry.objects.get(account="losses").amount == Decimal("50.00")
    books_hold()
    processor.reverse(merchant, charge, "chargeback_won")
    assert read(biller) == (1, 0)
    assert (state(payment), balance(customer)) == (("posted", "50.00"), "50.00")
    assert open_items(customer) == [("bill", "84.10"), ("credit", "-34.10")]
    assert sum(Entry.objects.filter(account="losses").values_list("amount", flat=True)) == 0
    assert taken(processor, biller) == ("84.10", "50.00", "0.00")
    books_hold()


@pytest.mark.spec("PAY-32")
def test_a_return_waits_until_its_charge_is_booked(biller: Biller, processor: Processor) -> None:
    customer = owing(biller, "84.10")
    route = Route.objects.get(biller=biller)
    strangers = charge(processor.token(route.merchant))
    list(processor.gateway(route.merchant).send([strangers]))
    card = make_instrument(customer, route, processor.token(route.merchant))
    processor.strike("drop_after")
    payment = charges.pay(
        customer=customer, amount=Decimal("84.10"), instrument=card, channel=Channel.CSR, actor=DANA, request_key="one"
    )
    assert payment.state == "processing"
    processor.reverse(route.merchant, charge_of(payment), "return")
    told = timezone.now()
    # What is no charge of ours, and was told later, is written down once, however often it is told meanwhile.
    processor.reverse(route.merchant, strangers.key, "return")
    assert [read(biller), read(biller)] == [(0, 0), (0, 0)]
    # However long that takes, the return is asked for again.
    read_until = Route.objects.get(pk=route.pk).reversals_read_until
    assert read_until is not None and read_until <= told
    Attempt.objects.update(sent_at=timezone.now() - datetime.timedelta(minutes=5))
    recoveries.recover(biller=biller, actor=DANA)
    assert [read(biller), read(biller)] == [(1, 1), (0, 0)]
    assert AuditEntry.objects.filter(event="reversal.unknown").count() == 1
    assert (state(payment), balance(customer)) == (("reversed", "84.10"), "84.10")
    books_hold()


@pytest.mark.spec("PAY-32")
def test_a_return_of_what_we_hold_for_not_made_is_a_case(biller: Biller, processor: Processor) -> None:
    customer = owing(biller, "84.10")
    route = Route.objects.get(biller=biller)
    card = make_instrument(customer, route, processor.token(route.merchant))
    processor.strike("drop_after")
    payment = charges.pay(
        customer=customer, amount=Decimal("84.10"), instrument=card, channel=Channel.CSR, actor=DANA, request_key="one"
    )
    cases.abandon(
        attempt=Attempt.objects.select_related("payment").get(), why="Believed", actor=DANA, now=timezone.now()
    )
    processor.reverse(route.merchant, charge_of(payment), "return")
    assert read(biller) == (0, 0)
    assert Case.objects.get().kind == "conflict"
    assert (Reversal.objects.count(), balance(customer)) == (0, "84.10")
    # Decided, and told again: nobody decides it twice.
    Case.objects.update(state="done")
    assert read(biller) == (0, 0)
    assert Case.objects.get().state == "done"


@pytest.mark.spec("PAY-32")
@pytest.mark.parametrize("kind", ["return", "chargeback"])
def test_of_what_was_declined_a_return_is_no_news_and_a_chargeback_is_a_case(
    biller: Biller, processor: Processor, kind: str
) -> None:
    customer = owing(biller, "84.10")
    route = Route.objects.get(biller=biller)
    card = make_instrument(customer, route, processor.token(route.merchant))
    processor.strike("drop_after")
    payment = charges.pay(
        customer=customer, amount=Decimal("84.10"), instrument=card, channel=Channel.CSR, actor=DANA, request_key="one"
    )
    said = Answer(charge_of(payment), Result.SOFT_DECLINE)
    settlements.settle(biller=biller, answers=[said], actor=DANA, now=timezone.now())
    processor.reverse(route.merchant, charge_of(payment), kind)
    told = timezone.now()
    assert read(biller) == (0, 0)
    read_until = Route.objects.get(pk=route.pk).reversals_read_until
    assert read_until is not None and read_until >= told
    assert [one.kind for one in Case.objects.all()] == ([] if kind == "return" else ["conflict"])
    assert (Reversal.objects.count(), balance(customer)) == (0, "84.10")


def test_a_return_of_a_charge_that_is_not_ours_is_written_down_once(biller: Biller, processor: Processor) -> None:
    customer = owing(biller, "84.10")
    payment = pay(customer, "84.10", processor)
    processor.reverse(Route.objects.get(biller=biller).merchant, charge_of(payment), "return")
    Attempt.objects.all().delete()
    assert [read(biller), read(biller)] == [(0, 1), (0, 0)]
    assert AuditEntry.objects.get(event="reversal.unknown").facts["amount"] == "84.10"
    assert Reversal.objects.count() == 0


@pytest.mark.spec("PAY-32", "MSP-26")
def test_a_charge_of_a_group_that_is_returned_opens_the_bills_of_all(biller: Biller, processor: Processor) -> None:
    turn(biller, 131, GUID)
    turn(biller, 128, True)
    route, owner = Route.objects.get(biller=biller), make_user("owner@payers.example")
    token = processor.token(route.merchant)
    customers = []
    for amount in ("10.00", "20.00", "30.00"):
        customer = make_customer(biller)
        make_link(owner, customer)
        make_autopay(customer, make_instrument(customer, route, token))
        make_invoice(customer, amount, due_on=today(), collect_on=today(), custom10="G")
        customers.append(customer)
    collect(biller)
    payments = list(Payment.objects.filter(biller=biller).order_by("pk"))
    assert {one.group_id for one in payments} == {payments[0].group_id}
    member = next(one for one in payments if str(one.amount) == "20.00")
    processor.control(settlement_seconds=0.0)
    give_back(member, "5.00")
    processor.reverse(route.merchant, charge_of(member), "chargeback")
    assert read(biller) == (1, 0)
    assert sorted(state(one) for one in payments) == [
        ("reversed", "10.00"),
        ("reversed", "20.00"),
        ("reversed", "30.00"),
    ]
    assert [balance(customer) for customer in customers] == ["10.00", "20.00", "30.00"]
    assert Entry.objects.get(account="losses").amount == Decimal("5.00")
    books_hold()
    # All of it comes again: what the biller itself gave back stays given back, and nobody owes anything else.
    processor.reverse(route.merchant, charge_of(member), "chargeback_won")
    assert read(biller) == (1, 0)
    won = {one.customer_id: (str(one.amount), str(one.loss)) for one in Reversal.objects.filter(kind="won")}
    assert [won[customer.pk] for customer in customers] == [("10.00", "5.00"), ("15.00", "0.00"), ("30.00", "0.00")]
    assert [balance(customer) for customer in customers] == ["0.00", "5.00", "0.00"]
    assert sum(Entry.objects.filter(account="losses").values_list("amount", flat=True)) == 0
    books_hold()


@pytest.mark.parametrize("fault", ["garbage", "drop_before"])
def test_a_processor_that_does_not_answer_is_asked_again(biller: Biller, processor: Processor, fault: str) -> None:
    payment = pay(owing(biller, "84.10"), "84.10", processor)
    processor.reverse(Route.objects.get(biller=biller).merchant, charge_of(payment), "return")
    processor.strike(fault, on=["reversals"])
    with pytest.raises(OutcomeUnknown):
        read(biller)
    assert Route.objects.get().reversals_read_until is None
    assert read(biller) == (1, 0)


# ---- Any number, in any order

_AMOUNTS = st.integers(1, 6_000).map(lambda cents: Decimal(cents).scaleb(-2))
_STEPS = st.lists(
    st.tuples(st.sampled_from(["bill", "pay", "back", "fail", "return", "won"]), st.integers(0, 5), _AMOUNTS),
    min_size=1,
    max_size=14,
)


@pytest.mark.spec("PAY-32")
@pytest.mark.django_db
@given(_STEPS)
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
def test_whatever_goes_back_the_balance_is_what_was_billed_less_what_stayed_paid(
    steps: list[tuple[str, int, Decimal]],
) -> None:
    """Invariants 26 to 29, against a reckoning of one line: billed, less paid, plus what went back of each payment."""
    biller = make_biller(time_zone="UTC")
    route = make_route(biller)
    customer = make_customer(biller)
    card = make_instrument(customer, route)
    billed = Decimal(0)
    paid: dict[uuid.UUID, list[Decimal]] = {}
    lost: dict[uuid.UUID, Decimal] = {}
    for number, (what, which, amount) in enumerate(steps):
        known = list(paid)
        one = known[which % len(known)] if known else None
        if what == "bill":
            make_invoice(customer, str(amount))
            billed += amount
        elif what == "pay":
            started = charges.start(
                customer=customer, amount=amount, instrument=card, channel=Channel.CSR, actor=DANA,
                request_key=f"{biller.pk}-{number}", item_ids=None, email="", now=timezone.now(),
            )  # fmt: skip
            assert isinstance(started, charges.Started)
            answer = Answer(started.request.key, Result.PASS, "A1", f"ref-{number}")
            settlements.settle(biller=biller, answers=[answer], actor=DANA, now=timezone.now())
            paid[started.payment_id], lost[started.payment_id] = [amount, Decimal(0)], Decimal(0)
        elif one is None:
            continue
        elif what in {"back", "fail"}:
            left = paid[one][0] - paid[one][1]
            try:
                begun = refunds.start(
                    payment_id=one, amount=amount, with_fee=False, reason="Why", actor=DANA,
                    request_key=f"{biller.pk}-{number}", now=timezone.now(),
                )  # fmt: skip
            except RefundRefused:
                assert amount > left
                continue
            assert amount <= left
            assert not isinstance(begun, Reversal)
            result = Result.PASS if what == "back" else Result.HARD_DECLINE
            settlements.settle(biller=biller, answers=[Answer(begun[1].key, result)], actor=DANA, now=timezone.now())
            paid[one][1] += amount if what == "back" else 0
        else:
            kind = base.ReversalKind.CHARGEBACK if what == "return" else base.ReversalKind.CHARGEBACK_WON
            moved = min(amount, lost[one]) if what == "won" else amount
            if not moved:
                continue
            told = base.Reversal(
                f"rev-{number}", charge_of(Payment.objects.get(pk=one)), kind, moved, "c", "Why", timezone.now()
            )
            for _twice in range(2):
                returns.take(route=route, told=told, actor=DANA, now=timezone.now())
            if what == "return":
                lost[one] += (part := min(moved, paid[one][0] - paid[one][1]))
                paid[one][1] += part
            else:
                paid[one][1] -= moved
                lost[one] -= moved
        customer.refresh_from_db()
        assert customer.balance == billed - sum((whole - back for whole, back in paid.values()), Decimal(0))
    books_hold()
    for pk, (whole, back) in paid.items():
        payment = Payment.objects.get(pk=pk)
        assert (payment.undone or 0, payment.state == "reversed") == (back, back == whole)
    assert ReversalDebit.objects.count() == 0
