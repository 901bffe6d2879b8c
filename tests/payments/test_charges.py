"""One payment, now: what is held, sent, settled and told; and what a refusal leaves alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from billing.actors import Actor
from billing.errors import Conflict
from billing.models import Customer, Entry, Item, Notice
from datapump.models import Record
from payments.models import Allocation, Attempt, Case, Channel, Instrument, Payment, Route
from payments.operations import authorizations, charges, recoveries
from tests.factories import (
    NOON,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_route,
)
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
PAYER = Actor.payer(None, "Pat Payer", "192.0.2.1")


def setting(processor: Processor, outcome: str = "approve", amount: str = "84.10", **options: Any) -> Instrument:
    biller = make_biller()
    make_endpoint(biller)
    customer = make_customer(biller)
    make_invoice(customer, amount)
    route = make_route(biller, processor.url, options=options)
    return make_instrument(customer, route, processor.token(route.merchant, outcome))


def pay(instrument: Instrument, amount: str = "84.10", key: str = "key-1", **others: Any) -> Payment:
    return charges.pay(
        **{
            "customer": instrument.customer,
            "amount": Decimal(amount),
            "instrument": instrument,
            "channel": Channel.WEB,
            "actor": PAYER,
            "request_key": key,
            **others,
        }
    )


@pytest.mark.spec("PAY-21")
def test_a_payment_and_its_deposit_and_what_is_sent_again_carry_the_descriptor(processor: Processor) -> None:
    instrument = setting(processor, settle_seconds=5.0, timeout=2.0, batch_timeout=2.0)
    route = instrument.route
    Route.objects.filter(pk=route.pk).update(descriptor="MFW*Water bill", descriptor_phone="800-555-0123")
    route.refresh_from_db()
    held = pay(instrument, key="held", amount="10.00", authorize_only=True)
    authorizations.deposit(payment=held, actor=PAYER)
    processor.strike("drop_before")
    pay(instrument, key="lost", amount="12.00")
    age_attempts(seconds=6)
    assert recover(instrument).resent == 1
    rows = processor.book(route.merchant)["rows"]
    assert [(row["command"], row["descriptor"], row["descriptor_phone"]) for row in rows] == [
        (command, "MFW*Water bill", "800-555-0123") for command in ("authorize", "deposit", "charge")
    ]


def books() -> dict[str, Any]:
    """Everything that a payment may change."""
    return {
        "payments": list(Payment.objects.order_by("id").values_list("id", "state", "amount")),
        "attempts": list(Attempt.objects.order_by("id").values_list("id", "state", "result")),
        "allocations": list(Allocation.objects.order_by("id").values_list("id", "state", "amount")),
        "items": list(Item.objects.order_by("id").values_list("id", "allocated", "reserved", "open", "collect_on")),
        "balances": list(Customer.objects.order_by("id").values_list("id", "balance")),
        "entries": list(Entry.objects.order_by("id").values_list("id", "amount")),
        "records": list(Record.objects.order_by("id").values_list("id", "state")),
        "notices": Notice.objects.count(),
    }


@pytest.mark.spec("PAY-1", "PAY-2")
def test_payment_that_passes_is_posted_allocated_booked_and_told(processor: Processor) -> None:
    instrument = setting(processor)
    payment = pay(instrument)

    assert (payment.state, payment.amount, payment.channel) == ("posted", Decimal("84.10"), Channel.WEB)
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.result, attempt.command) == ("applied", 0, "charge")
    assert processor.charges() == {str(attempt.pk): 1}
    item = Item.objects.get()
    assert (item.open, item.allocated, item.reserved) == (Decimal("0.00"), Decimal("84.10"), Decimal("0.00"))
    assert Customer.objects.get().balance == Decimal("0.00")
    assert list(
        Entry.objects.filter(posting__kind="receipts")
        .order_by("amount")
        .values_list("account", "tender", "amount", "count")
    ) == [("receivable", "", Decimal("-84.10"), 1), ("clearing", "card", Decimal("84.10"), 1)]
    record = Record.objects.get()
    assert record.pk == payment.pk
    assert record.facts == {
        "amount": "84.10",
        "currency": "USD",
        "tender": "card",
        "channel": 1,
        "approval_code": payment.approval_code,
    }
    assert payment.approval_code != ""
    assert Notice.objects.get().key == f"receipt:{payment.pk}"


@pytest.mark.spec("PAY-2")
def test_attempt_is_committed_at_999_before_the_processor_hears_of_it(processor: Processor) -> None:
    instrument = setting(processor)
    started = charges.start(
        customer=instrument.customer,
        amount=Decimal("84.10"),
        instrument=instrument,
        channel=Channel.WEB,
        actor=PAYER,
        request_key="key-1",
        item_ids=None,
        email="",
        now=NOON,
    )
    assert isinstance(started, charges.Started)
    attempt = Attempt.objects.get()
    assert (str(attempt.pk), attempt.state, attempt.result) == (started.request.key, "open", 999)
    assert Item.objects.get().reserved == Decimal("84.10")
    assert processor.charges() == {}


@pytest.mark.parametrize(
    ("outcome", "result", "words"),
    [
        ("hard_decline", 8, "The bank declined the payment."),
        ("soft_decline", 7, "The bank declined the payment for now."),
        ("bad_card", 5, "The card or account number is not valid."),
    ],
)
@pytest.mark.spec("PAY-1", "PAY-4")
def test_decline_fails_the_payment_and_lets_go_of_the_bill(
    processor: Processor, outcome: str, result: int, words: str
) -> None:
    instrument = setting(processor, outcome)
    payment = pay(instrument)
    assert (payment.state, payment.result, payment.failure) == ("failed", result, words)
    assert Attempt.objects.get().result == result
    item = Item.objects.get()
    assert (item.open, item.reserved) == (Decimal("84.10"), Decimal("0.00"))
    assert Allocation.objects.get().state == "void"
    assert Record.objects.count() == 0
    assert Notice.objects.count() == 0


def test_same_key_again_is_the_same_payment_and_charges_nothing(processor: Processor) -> None:
    instrument = setting(processor)
    first = pay(instrument)
    before = books()
    again = pay(instrument)
    assert again.pk == first.pk
    assert books() == before
    assert sum(processor.charges().values()) == 1


def test_same_key_with_another_amount_is_refused_and_changes_nothing(processor: Processor) -> None:
    instrument = setting(processor)
    pay(instrument, "40.00")
    before = books()
    with pytest.raises(Conflict):
        pay(instrument, "44.10")
    assert books() == before


@pytest.mark.parametrize("fault", ["drop_after", "error_after", "garbage", "truncated"])
@pytest.mark.spec("PAY-3")
def test_lost_answer_leaves_the_payment_processing_until_recovery_finds_the_charge(
    processor: Processor, fault: str
) -> None:
    instrument = setting(processor)
    processor.strike(fault)
    payment = pay(instrument)
    assert payment.state == "processing"
    assert Attempt.objects.get().result == 999
    with pytest.raises(charges.AlreadyBeingPaid):
        pay(instrument, key="key-2")
    recover(instrument)
    payment.refresh_from_db()
    assert payment.state == "posted"
    assert list(processor.charges().values()) == [1]


@pytest.mark.spec("PAY-3")
def test_dropped_request_is_sent_again_under_its_own_key_after_the_settle_time(processor: Processor) -> None:
    instrument = setting(processor, settle_seconds=5.0, timeout=2.0, batch_timeout=2.0)
    processor.strike("drop_before")
    payment = pay(instrument)
    assert payment.state == "processing"
    # Too young: absence proves nothing yet.
    assert recover(instrument).resent == 0
    assert processor.charges() == {}
    age_attempts(seconds=6)
    assert recover(instrument).resent == 1
    payment.refresh_from_db()
    assert payment.state == "posted"
    assert processor.charges() == {str(Attempt.objects.get().pk): 1}


@pytest.mark.spec("PAY-3")
def test_without_duplicate_detection_absence_opens_a_case_and_nothing_is_sent_again(processor: Processor) -> None:
    instrument = setting(processor, dedupe_window=None, settle_seconds=5.0, timeout=2.0, batch_timeout=2.0)
    processor.control(duplicate_detection=False)
    processor.strike("drop_before")
    payment = pay(instrument)
    age_attempts(seconds=3600)
    found = recover(instrument)
    assert (found.resent, found.cases, found.waiting) == (0, 1, 1)
    payment.refresh_from_db()
    assert payment.state == "processing"
    assert Case.objects.get().kind == "unknown"
    assert processor.charges() == {}
    # The reservation stays, so nobody pays the same bill meanwhile.
    assert Item.objects.get().reserved == Decimal("84.10")


def test_unreachable_processor_fails_the_payment_at_once(processor: Processor) -> None:
    instrument = setting(processor)
    instrument.route.options["base_url"] = "http://127.0.0.1:9"
    instrument.route.save()
    payment = pay(instrument)
    assert (payment.state, payment.result) == ("failed", 1)
    assert payment.failure == "The payment processor could not be reached."
    assert Item.objects.get().reserved == Decimal("0.00")


def test_part_pays_oldest_first_and_the_rest_stays_open(processor: Processor) -> None:
    instrument = setting(processor, amount="50.00")
    make_invoice(instrument.customer, "70.00")
    pay(instrument, "60.00")
    assert list(Item.objects.order_by("id").values_list("allocated", "open")) == [
        (Decimal("50.00"), Decimal("0.00")),
        (Decimal("10.00"), Decimal("60.00")),
    ]
    assert Customer.objects.get().balance == Decimal("60.00")


def test_csr_may_take_more_than_is_owed_and_the_rest_is_credit(processor: Processor) -> None:
    instrument = setting(processor, amount="50.00")
    payment = pay(instrument, "60.00", channel=Channel.CSR)
    credit = Item.objects.get(kind="credit")
    assert (credit.amount, credit.open, credit.payment_id) == (Decimal("-10.00"), Decimal("-10.00"), payment.pk)
    assert Customer.objects.get().balance == Decimal("-10.00")


@pytest.mark.parametrize(
    ("change", "amount", "refusal"),
    [
        ({}, "84.11", charges.AmountRefused),
        ({}, "0.00", charges.AmountRefused),
        ({"biller": {"allow_partial_payments": False}}, "10.00", charges.AmountRefused),
        ({"invoice": {"minimum_due": Decimal("20.00")}}, "19.99", charges.AmountRefused),
        ({"biller": {"charging_stopped": True}}, "84.10", charges.ChargingStopped),
        ({"customer": {"blocks_card": True}}, "84.10", charges.MethodBlocked),
        ({"instrument": {"expires_on": "2020-01-31"}}, "84.10", charges.MethodUnusable),
        ({"instrument": {"state": "removed"}}, "84.10", charges.MethodUnusable),
    ],
)
def test_refusal_changes_nothing(
    processor: Processor, change: dict[str, dict[str, Any]], amount: str, refusal: type[Exception]
) -> None:
    instrument = setting(processor)
    rows = {
        "biller": instrument.customer.biller,
        "customer": instrument.customer,
        "instrument": instrument,
        "invoice": instrument.customer.invoices.get(),
    }
    for name, fields in change.items():
        type(rows[name])._default_manager.filter(pk=rows[name].pk).update(**fields)
    instrument = Instrument.objects.select_related("customer__biller", "route").get(pk=instrument.pk)
    before = books()
    with pytest.raises(refusal):
        pay(instrument, amount)
    assert books() == before
    assert processor.charges() == {}


def test_another_customers_method_is_refused(processor: Processor) -> None:
    instrument = setting(processor)
    other = make_customer(instrument.customer.biller)
    make_invoice(other)
    with pytest.raises(charges.MethodUnusable):
        pay(instrument, customer=other)
    assert processor.charges() == {}


@pytest.mark.spec("PAY-10")
def test_late_contradiction_changes_nothing_and_opens_a_case(processor: Processor) -> None:
    from payments.gateways.base import Answer
    from payments.operations import cases, settlements

    instrument = setting(processor)
    pay(instrument)
    before = books()
    settlements.settle(
        biller=instrument.customer.biller,
        answers=[Answer(str(Attempt.objects.get().pk), 8)],
        actor=Actor.system("test"),
        now=NOON,
    )
    assert books() == before
    case = Case.objects.get()
    assert (case.kind, case.reason) == ("conflict", "The processor now says result 8; it said result 0 before.")
    # A response file says the same whenever it is read: what somebody decided stays decided.
    cases.close_conflict(case=case, outcome="Theirs is wrong.", actor=Actor.system("Dana"), now=NOON)
    for result in (8, 8, 5, 5):
        settlements.settle(
            biller=instrument.customer.biller,
            answers=[Answer(str(Attempt.objects.get().pk), result)],
            actor=Actor.system("test"),
            now=NOON,
        )
    assert list(Case.objects.order_by("opened_at").values_list("state", "reason")) == [
        ("done", "The processor now says result 8; it said result 0 before."),
        ("open", "The processor now says result 5; it said result 0 before."),
    ]
    assert books() == before


def recover(instrument: Instrument) -> recoveries.Recovered:
    import datetime

    return recoveries.recover(
        biller=instrument.customer.biller,
        actor=Actor.system("recover"),
        least_age=datetime.timedelta(0),
        pause=datetime.timedelta(0),
    )


def age_attempts(seconds: int) -> None:
    """Make every attempt look as if it had been sent so much earlier."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payments_attempt SET sent_at = sent_at - make_interval(secs => %s),"
            " created_at = created_at - make_interval(secs => %s)",
            [seconds, seconds],
        )
