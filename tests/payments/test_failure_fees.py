"""Fees for failed and returned payments: who is charged what, once; what bills contain them; and how they are taken back."""

from __future__ import annotations

import datetime
import threading
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing import tenancy
from billing.models import AuditEntry, Biller, Customer, Entry, Item, Notice
from billing.operations import notice_deliveries
from datapump.models import Record
from payments.gateways.base import Answer, Result
from payments.models import (
    Allocation,
    AnswerCode,
    Attempt,
    Channel,
    Checkpoint,
    Fee,
    FeeRule,
    FeeWaiver,
    Payment,
    Route,
)
from payments.operations import dues, fee_rules, fees, returns, settlements
from payments.operations.collections import Options
from payments.operations.fee_rules import FeeTerms, RuleRefused
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_route,
    make_user,
)
from tests.invoice_files import ACTOR, checksums, withdraw
from tests.payments.test_carryovers import (
    AFTER,
    BEFORE,
    MADE,
    balance,
    books_hold,
    first_bill,
    next_bill,
    owed,
    pay,
    settle,
    start,
)
from tests.payments.test_collections import collect, due_bill, today
from tests.payments.test_groups import GUID, member, token_of, turn
from tests.processor import Processor

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)


def add_rule(biller: Biller, **terms: Any) -> FeeRule:
    given = {"words": "Failed payment fee", "occasion": "both", "amount": Decimal("15.00"), **terms}
    if given.get("percent") is not None and "amount" not in terms:
        given["amount"] = None
    return fee_rules.add_fee_rule(biller=biller, terms=FeeTerms(**given), actor=ACTOR)


def charged(biller: Biller) -> list[tuple[str, str, str]]:
    rows = Fee.objects.filter(biller=biller).select_related("item").order_by("item_id")
    return [(fee.words, str(fee.item.amount), str(fee.item.open)) for fee in rows]


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    make_route(biller)
    return biller


# ---- Which payments are charged what


def on_its_way(customer: Customer, amount: str, tender: str, channel: int) -> Attempt:
    """Make a payment of a bill whose attempt is open, as the operations that charge leave it."""
    item = make_invoice(customer, amount, collect_on=None).items.get()
    payment = Payment.objects.create(
        biller=customer.biller, customer=customer, instrument=make_instrument(customer, customer.biller.routes.get()),
        route=customer.biller.routes.get(), tender=tender, amount=Decimal(amount), currency="USD", channel=channel,
        requestor=4, made_by="Test",
    )  # fmt: skip
    Allocation.objects.create(biller=customer.biller, payment=payment, item=item, amount=payment.amount)
    Item.objects.filter(pk=item.pk).update(reserved=payment.amount)
    attempt = Attempt.objects.create(
        biller=customer.biller, payment=payment, route=customer.biller.routes.get(), command="charge", transaction_type="moto",
        amount=payment.amount, sent_at=timezone.now(),
    )  # fmt: skip
    Checkpoint.objects.create(payment=payment, attempt=attempt, biller=customer.biller)
    return attempt


_CENTS = st.integers(100, 30_000).map(lambda cents: Decimal(cents) / 100)
_PAYMENTS = st.lists(
    st.tuples(
        _CENTS,
        st.sampled_from(["card", "ach"]),
        st.sampled_from([Channel.WEB, Channel.CSR, Channel.AUTOPAY, Channel.TEXT]),
        st.sampled_from([*([5, 7, 8, 21] * 4), *(int(result) for result in Result), 22]),
        st.sampled_from(["", "late", "early"]),
    ),
    min_size=12,
    max_size=25,
)
_RULES = st.lists(
    st.fixed_dictionaries(
        {
            "occasion": st.sampled_from(["failed", "both", "returned"]),
            "least_payment": st.sampled_from([None, Decimal("80.00"), Decimal("150.00")]),
            "most_payment": st.sampled_from([None, Decimal("200.00")]),
            "tenders": st.lists(st.sampled_from(["card", "ach"]), max_size=1),
            "channels": st.lists(
                st.sampled_from([Channel.WEB, Channel.AUTOPAY, Channel.TEXT]), max_size=2, unique=True
            ),
            "results": st.lists(st.sampled_from([5, 7, 8, 21]), max_size=2, unique=True),
            "segments": st.lists(st.sampled_from(["late", "early"]), max_size=1),
            "percent": st.none() | st.integers(1, 10_000).map(lambda hundredths: Decimal(hundredths) / 100),
            "least": st.none() | st.just(Decimal("2.00")),
            "most": st.none() | st.just(Decimal("9.50")),
        }
    ),
    min_size=4,
    max_size=5,
)


def oracle(
    rule: dict[str, Any], amount: Decimal, tender: str, channel: int, result: int, segment: str
) -> Decimal | None:
    """Say in plain Python what a rule charges for a failed payment."""
    if rule["occasion"] == "returned" or result not in (rule["results"] or [5, 7, 8]):
        return None
    if rule["least_payment"] is not None and amount < rule["least_payment"]:
        return None
    if rule["most_payment"] is not None and amount > rule["most_payment"]:
        return None
    for chosen, value in (("tenders", tender), ("channels", channel), ("segments", segment)):
        if rule[chosen] and value not in rule[chosen]:
            return None
    if rule["percent"] is None:
        return Decimal("15.00")
    fee = (amount * rule["percent"] / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
    if rule["least"] is not None:
        fee = max(fee, rule["least"])
    if rule["most"] is not None:
        fee = min(fee, rule["most"])
    return fee or None


# Many payments make an example rich and slow, and a smaller one would say no more: none is looked for.
@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(_PAYMENTS, _RULES)
@pytest.mark.spec("PAY-36")
def test_each_failed_payment_is_charged_what_each_rule_says(
    payments: list[tuple[Decimal, str, int, int, str]], rules: list[dict[str, Any]]
) -> None:
    biller = make_biller()
    make_route(biller)
    for own in (21, 22):
        AnswerCode.objects.get_or_create(driver="simulator", code=str(own), result=own, words="No funds")
    for rule in rules:
        if rule["percent"] is None:
            rule["least"] = rule["most"] = None
    kept = [add_rule(biller, **rule) for rule in rules]
    attempts = [
        on_its_way(make_customer(biller, segment=segment), f"{amount:.2f}", tender, channel)
        for amount, tender, channel, _result, segment in payments
    ]
    answers = [Answer(str(one.pk), given[3]) for one, given in zip(attempts, payments, strict=True)]
    for _ in range(2):
        settlements.settle(biller=biller, answers=answers, actor=ACTOR, now=timezone.now())
    expected = {
        (attempt.payment_id, rule_row.pk): fee
        for attempt, payment in zip(attempts, payments, strict=True)
        for rule, rule_row in zip(rules, kept, strict=True)
        if (fee := oracle(rule, *payment)) is not None
    }
    found = Fee.objects.filter(biller=biller).select_related("item")
    assert {(fee.payment_id, fee.rule_id): fee.item.amount for fee in found} == expected
    total = sum(expected.values(), Decimal("0.00"))
    booked = Entry.objects.filter(biller=biller, account="charged_fees").values_list("amount", flat=True)
    assert sum(booked, Decimal("0.00")) == -total
    # Each payer hears of the fee, and once: with the failure where that is told, else by itself.
    told = Notice.objects.filter(biller=biller, kind__in=["fee", "autopay_failed"])
    said = Counter({one.facts["payment"]: len(one.facts.get("fees") or []) for one in told})
    assert +said == Counter(str(payment) for payment, _rule in expected)
    assert Record.objects.filter(biller=biller, type=6).count() == len(expected)
    books_hold()


@committed
@pytest.mark.spec("PAY-36")
def test_a_fee_for_a_failed_autopay_is_due_told_and_not_collected(processor: Processor) -> None:
    processor.reset()
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url)
    add_rule(biller, words="Declined payment fee")
    item = due_bill(biller, processor, "hard_decline", amount="84.10")
    collect(biller)
    customer = item.customer
    payment = Payment.objects.get()
    fee = Fee.objects.get()
    assert (fee.payment_id, fee.reason) == (payment.pk, "The bank declined the payment.")
    assert (owed(customer), balance(customer)) == ([("bill", "84.10"), ("fee", "15.00")], "99.10")
    assert str(dues.due(customer=customer).full) == "99.10"
    entries = Entry.objects.filter(posting=fee.item.posting).values_list("account", "amount", "count")
    assert set(entries) == {("receivable", Decimal("15.00"), 1), ("charged_fees", Decimal("-15.00"), 1)}
    record = Record.objects.get()
    assert (record.pk, record.type, record.after) == (fee.pk, 6, "Declined payment fee")
    assert record.facts == {
        "status": "charged", "fee": str(fee.pk), "amount": "15.00", "currency": "USD", "payment_guid": str(payment.pk),
        "approval_code": "", "invoice": "", "words": "Declined payment fee",
    }  # fmt: skip
    (notice,) = Notice.objects.all()
    assert (notice.kind, notice.facts["fees"]) == (
        "autopay_failed",
        [{"words": "Declined payment fee", "amount": "15.00"}],
    )
    text = notice_deliveries.written(notice.deliveries.get()).text
    assert "A fee was charged for this:\nDeclined payment fee: $15.00" in text
    entry = AuditEntry.objects.get(event="fee.charged")
    assert (entry.subject, entry.facts["amount"]) == (str(payment.pk), "15.00 USD")
    # AutoPay takes bills alone; whoever pays by themselves pays the fee as well.
    card = make_instrument(customer, Route.objects.get(), processor.token(Route.objects.get().merchant))
    customer.autopay_enrolments.update(instrument=card)
    collect(biller, Options.usual(today(), rebill=True))
    assert (owed(customer), balance(customer)) == ([("fee", "15.00")], "15.00")
    books_hold()


@committed
@pytest.mark.spec("PAY-36")
def test_a_soft_decline_is_charged_for_when_it_is_not_tried_again(processor: Processor) -> None:
    processor.reset()
    biller = make_biller(time_zone="UTC", retry_days=[3])
    make_route(biller, processor.url)
    add_rule(biller)
    item = due_bill(biller, processor, "soft_decline")
    collect(biller)
    item.refresh_from_db()
    assert (Payment.objects.get().result, item.collect_on) == (7, today() + datetime.timedelta(days=3))
    assert Fee.objects.count() == 0
    # The day of the one further try.
    Item.objects.filter(pk=item.pk).update(collect_on=today(), declined_on=today() - datetime.timedelta(days=3))
    collect(biller, Options.usual(today(), repeat="later"))
    item.refresh_from_db()
    assert (Payment.objects.filter(result=7).count(), item.collect_on) == (2, None)
    assert Fee.objects.get().payment_id == Payment.objects.latest("created_at").pk
    books_hold()


@committed
@pytest.mark.spec("PAY-36")
def test_what_failed_on_the_way_is_never_charged_for(processor: Processor) -> None:
    processor.reset()
    biller = make_biller(time_zone="UTC")
    route = make_route(biller, "http://127.0.0.1:9")
    good = make_route(biller, processor.url)
    add_rule(biller)
    due_bill(biller, processor, route=good)
    customer = make_customer(biller)
    make_autopay(customer, make_instrument(customer, route))
    make_invoice(customer, due_on=today(), collect_on=today())
    for outcome in ("busy", "technical_problem", "service_unavailable", "avs_fail", "cvv_fail", "under_minimum"):
        due_bill(biller, processor, outcome, route=good)
    collect(biller, Options.usual(today(), route_id=good.pk))
    collect(biller, Options.usual(today(), route_id=route.pk))
    results = Payment.objects.filter(state="failed").values_list("result", flat=True)
    assert set(results) == {1, 2, 6, 9, 12, 17}
    assert Fee.objects.count() == 0
    assert Entry.objects.filter(account="charged_fees").count() == 0
    books_hold()


@committed
def test_one_declined_charge_of_a_group_is_charged_for_once(processor: Processor) -> None:
    processor.reset()
    biller = make_biller(time_zone="UTC")
    make_route(biller, processor.url)
    turn(biller, 131, GUID)
    turn(biller, 128, True)
    add_rule(biller, percent=Decimal(10))
    owner = make_user()
    token = token_of(biller, processor, "hard_decline")
    group = [member(biller, owner, token, amount=amount) for amount in ("40.00", "25.50")]
    collect(biller)
    assert Attempt.objects.count() == 1
    fee = Fee.objects.get()
    assert (fee.customer_id, str(fee.item.amount)) == (group[0].customer_id, "6.55")
    books_hold()


def returned(biller: Biller, payment: Payment, code: str, processor: Processor) -> None:
    attempt = Attempt.objects.get(payment_id=payment.leading_id, command="charge")
    processor.reverse(Route.objects.get(biller=biller).merchant, str(attempt.pk), "return", code=code)
    for _ in range(2):
        returns.read(biller=biller, actor=ACTOR, now=timezone.now())


@committed
@pytest.mark.spec("PAY-36")
def test_a_returned_debit_is_charged_for_once_and_only_for_want_of_funds_or_account(processor: Processor) -> None:
    processor.reset()
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url)
    add_rule(biller, words="Returned payment fee", occasion="returned", return_codes=["R01"])
    add_rule(biller, words="Any return", occasion="both", amount=Decimal("1.00"))
    add_rule(biller, words="Declined payment fee", occasion="failed")
    for code in ("R01", "R02", "R07", "R10", "R29"):
        due_bill(biller, processor, amount="84.10", customer={"name": code})
    collect(biller)
    for payment in Payment.objects.select_related("customer"):
        returned(biller, payment, payment.customer.name, processor)
    assert Payment.objects.filter(state="reversed").count() == 5
    charged_for = Fee.objects.order_by("item_id").values_list("customer__name", "words")
    assert set(charged_for) == {("R01", "Returned payment fee"), ("R01", "Any return"), ("R02", "Any return")}
    fee = Fee.objects.select_related("customer", "item").get(words="Returned payment fee")
    assert (fee.customer.name, fee.words, fee.reason) == ("R01", "Returned payment fee", "R01 Insufficient funds")
    assert owed(fee.customer) == [("bill", "84.10"), ("fee", "15.00"), ("fee", "1.00")]
    notice = Notice.objects.get(kind="returned", customer=fee.customer)
    text = notice_deliveries.written(notice.deliveries.get()).text
    assert "The bank says: Insufficient funds" in text
    assert "A fee was charged for this:\nReturned payment fee: $15.00" in text
    types = Record.objects.filter(customer=fee.customer).order_by("created_at").values_list("type", flat=True)
    assert list(types) == [1, 5, 6, 6]
    books_hold()


@committed
@pytest.mark.spec("PAY-36")
def test_two_workers_charge_one_failed_payment_once(biller: Biller) -> None:
    add_rule(biller)
    attempts = [on_its_way(make_customer(biller), "84.10", "card", Channel.CSR) for _ in range(30)]
    answers = [Answer(str(one.pk), Result.HARD_DECLINE) for one in attempts]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with tenancy.acting_for([biller.pk]):
                settlements.settle(biller=biller, answers=answers, actor=ACTOR, now=timezone.now())
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert sorted(Fee.objects.values_list("payment_id", flat=True)) == sorted(one.payment_id for one in attempts)
    fee = Fee.objects.select_related("item").first()
    assert fee is not None
    # The database itself refuses a second one.
    again = Item.objects.create(
        biller=biller, customer_id=fee.customer_id, posting=fee.item.posting, kind="fee", amount=1, currency="USD"
    )
    with pytest.raises(IntegrityError):
        Fee.objects.create(
            biller=biller, customer_id=fee.customer_id, item=again, rule=fee.rule, payment=fee.payment, words="x",
            reason="x", charged_at=timezone.now(),
        )  # fmt: skip
    again.delete()
    books_hold()


def test_a_biller_without_rules_has_one_look_per_settling(biller: Biller, django_assert_max_num_queries: Any) -> None:
    attempts = [on_its_way(make_customer(biller), "84.10", "card", Channel.CSR) for _ in range(3)]
    ids = [str(one.payment_id) for one in attempts]
    with django_assert_max_num_queries(1):
        assert fees.charge_failed(biller=biller, payment_ids=ids, told=[], actor=ACTOR, now=timezone.now()) == 0
    switched = add_rule(biller)
    assert switched.active
    terms = FeeTerms(words=switched.words, occasion=switched.occasion, amount=switched.amount)
    assert fee_rules.change_fee_rule(rule=switched, terms=terms, active=False, actor=ACTOR) == ["active"]
    answers = [Answer(str(one.pk), Result.HARD_DECLINE) for one in attempts]
    settlements.settle(biller=biller, answers=answers, actor=ACTOR, now=timezone.now())
    assert Fee.objects.count() == 0


# ---- What the next bill contains


def failing(biller: Biller) -> tuple[Customer, Fee]:
    add_rule(biller)
    customer = first_bill(biller)
    settle(start(customer, "100.00"), Result.SOFT_DECLINE)
    return customer, Fee.objects.get()


def heard_of(thing: Fee | FeeWaiver, at: datetime.datetime = MADE) -> None:
    assert Record.objects.filter(pk=thing.pk).update(state="delivered", delivered_at=at) == 1


def waive(fee: Fee, at: datetime.datetime = BEFORE, reason: str = "Our mistake") -> FeeWaiver:
    return fees.waive(fee=fee, reason=reason, actor=ACTOR, now=at)


@pytest.mark.spec("PAY-36", "MSP-24")
def test_a_fee_is_due_beside_the_bill_until_a_bill_was_made_that_knew_of_it(biller: Biller) -> None:
    customer, fee = failing(biller)
    next_bill(biller, "180.00")
    assert (owed(customer), balance(customer)) == ([("fee", "15.00"), ("bill", "180.00")], "195.00")
    books_hold()
    heard_of(fee)
    file = next_bill(biller, "275.00", "7003")
    assert (owed(customer), balance(customer)) == ([("bill", "275.00")], "275.00")
    books_hold()
    withdraw(file)
    assert (owed(customer), balance(customer)) == ([("fee", "15.00"), ("bill", "180.00")], "195.00")
    books_hold()


@pytest.mark.spec("PAY-36", "MSP-24")
def test_what_was_paid_of_a_fee_counts_for_the_bill_that_contains_it(biller: Biller) -> None:
    customer, fee = failing(biller)
    pay(customer, "115.00")
    assert owed(customer) == []
    heard_of(fee)
    next_bill(biller, "195.00")
    assert balance(customer) == "80.00"
    books_hold()


@pytest.mark.spec("PAY-36")
def test_a_fee_that_is_taken_back_closes_and_is_told(biller: Biller) -> None:
    customer, fee = failing(biller)
    waiver = waive(fee, reason=" Our   mistake ")
    assert (owed(customer), balance(customer)) == ([("bill", "100.00")], "100.00")
    assert (str(waiver.item.amount), str(waiver.set_off), waiver.reason) == ("-15.00", "15.00", "Our mistake")
    assert sum(Entry.objects.filter(account="charged_fees").values_list("amount", flat=True)) == 0
    record = Record.objects.get(pk=waiver.pk)
    assert (record.facts["status"], record.facts["fee"], record.facts["amount"]) == ("waived", str(fee.pk), "15.00")
    notice = Notice.objects.get(kind="fee_waived")
    text = notice_deliveries.written(notice.deliveries.get()).text
    assert "The fee of $15.00 (“Failed payment fee”) is not owed: Our mistake" in text
    entry = AuditEntry.objects.get(event="fee.waived")
    assert (entry.customer_id, entry.facts["reason"]) == (customer.pk, "Our mistake")
    books_hold()
    before = checksums()
    with pytest.raises(fees.WaiverRefused, match="already"):
        waive(fee)
    with pytest.raises(fees.WaiverRefused, match="Say why"):
        waive(fee, reason=" ")
    assert checksums() == before


@pytest.mark.spec("PAY-36")
@pytest.mark.parametrize("paid", ["115.00", "107.00"])
def test_what_was_paid_or_is_being_paid_of_a_fee_is_credit_when_it_is_taken_back(biller: Biller, paid: str) -> None:
    customer, fee = failing(biller)
    flying = start(customer, paid)
    waive(fee)
    books_hold()
    settle(flying)
    assert balance(customer) == f"{Decimal('100.00') - Decimal(paid):.2f}"
    books_hold()


@pytest.mark.spec("PAY-36", "MSP-24")
@pytest.mark.parametrize(
    ("fee_at", "waiver_at", "billed", "left"),
    [
        (None, None, "180.00", "180.00"),
        (MADE, None, "195.00", "180.00"),  # the bill contains a fee that is not owed
        (MADE, MADE, "180.00", "180.00"),
        (AFTER, AFTER, "180.00", "180.00"),
        (MADE, AFTER, "195.00", "180.00"),
    ],
)
@pytest.mark.parametrize("billed_before", [False, True])
def test_a_bill_may_know_of_a_fee_and_not_that_it_was_taken_back(
    biller: Biller, fee_at: Any, waiver_at: Any, billed: str, left: str, billed_before: bool
) -> None:
    customer, fee = failing(biller)
    if billed_before:
        next_bill(biller, "100.00", "7009", fields={11: "11/10/2026"})
    waiver = waive(fee)
    if fee_at:
        heard_of(fee, fee_at)
    if waiver_at:
        heard_of(waiver, waiver_at)
    next_bill(biller, billed)
    assert balance(customer) == left
    books_hold()
    # Its next bill knows of everything.
    heard_of(fee)
    heard_of(waiver)
    next_bill(biller, left, "7003")
    assert (owed(customer), balance(customer)) == ([("bill", left)], left)
    books_hold()


# ---- Rules


@pytest.mark.spec("PAY-36")
def test_a_rule_that_cannot_be_meant_is_refused(biller: Biller) -> None:
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("words", {"words": " "}),
        ("words", {"words": "x" * 121}),
        ("amount", {"amount": Decimal("0.00")}),
        ("amount", {"amount": Decimal("1.005")}),
        ("amount", {"amount": None}),
        ("amount", {"amount": Decimal(1), "percent": Decimal(1)}),
        ("percent", {"percent": Decimal("100.01")}),
        ("percent", {"percent": Decimal("1.234")}),
        ("least", {"least": Decimal(1)}),
        ("most", {"percent": Decimal(1), "least": Decimal(2), "most": Decimal(1)}),
        ("most_payment", {"least_payment": Decimal(2), "most_payment": Decimal(1)}),
        ("occasion", {"occasion": "whim"}),
        ("tenders", {"tenders": ["cash"]}),
        ("channels", {"channels": [99]}),
        ("results", {"results": [1]}),
        ("results", {"results": [2]}),
        ("results", {"results": [33]}),
        ("return_codes", {"return_codes": ["R10"]}),
        ("segments", {"segments": ["x" * 21]}),
    ]
    before = checksums()
    for field, terms in wrong:
        with pytest.raises(RuleRefused) as refused:
            add_rule(biller, **terms)
        assert refused.value.field == field, terms
    assert checksums() == before
    rule = add_rule(biller, percent=Decimal("2.50"), least=Decimal(1), most=Decimal(9), results=[8])
    assert rule.fee == "2.5 %, at least $1.00, at most $9.00"
    entry = AuditEntry.objects.get(event="fee_rule.added")
    assert (entry.facts["words"], "percent 2.50" in entry.facts["fields"]) == ("Failed payment fee", True)
    other = FeeTerms(words="Other", occasion="failed", amount=Decimal(3))
    changed = fee_rules.change_fee_rule(rule=rule, terms=other, active=True, actor=ACTOR)
    assert set(changed) == {"words", "occasion", "amount", "percent", "least", "most", "results"}
    assert fee_rules.change_fee_rule(rule=rule, terms=other, active=True, actor=ACTOR) == []
    assert AuditEntry.objects.filter(event="fee_rule.changed").count() == 1
