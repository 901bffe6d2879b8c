"""Scheduled payments: made, changed and cancelled, following the account, made by the run, and told of."""

from __future__ import annotations

import datetime
import itertools
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor, Requestor
from billing.errors import Conflict, DomainError
from billing.models import AuditEntry, Biller, Chunk, Customer, Invoice, Item, Notice, Run
from billing.operations.notice_deliveries import written
from datapump.models import Configuration, Endpoint, Purpose, Record, RecordType
from payments.books import findings
from payments.models import Attempt, Channel, Instrument, Payment, ScheduledPayment
from payments.operations import charges, collections, instruments, scheduled_collections, scheduled_payments
from payments.operations.scheduled_collections import Options
from payments.operations.scheduled_payments import (
    AlreadyScheduled,
    AutoPayComesFirst,
    DayRefused,
    NotChangeable,
    NothingChanged,
    SchedulingOff,
)
from tests.cis import Cis
from tests.datapump.conftest import deliver
from tests.factories import (
    NOON,
    TODAY,
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_route,
)
from tests.invoice_files import Bill, load, withdraw
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
PAYER = Actor(Requestor.PAYER, "Alma Reyes", address="203.0.113.9")
SYSTEM = Actor.system("test")
DAY = datetime.timedelta(days=1)
_keys = itertools.count(1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(allow_partial_payments=True)
    make_endpoint(biller, Purpose.AUTOPAY)
    Configuration.objects.filter(biller=biller).update(scheduled_payments=True)
    make_route(biller, processor.url)
    return biller


def account(biller: Biller, processor: Processor, outcome: str = "approve", **fields: Any) -> Customer:
    customer = make_customer(biller, **fields)
    route = biller.routes.get()
    make_instrument(customer, route, processor.token(route.merchant, outcome))
    return customer


def billed(biller: Biller, processor: Processor, amount: str = "84.10", outcome: str = "approve") -> Customer:
    customer = account(biller, processor, outcome)
    make_invoice(customer, amount, number="121940013401", collect_on=None)
    return customer


def method_of(customer: Customer) -> Instrument:
    return Instrument.objects.select_related("route").get(customer=customer, state="active")


def schedule(customer: Customer, amount: str | None = None, **given: Any) -> ScheduledPayment:
    return scheduled_payments.schedule(
        **{
            "customer": customer,
            "pay_on": TODAY + 5 * DAY,
            "amount": None if amount is None else Decimal(amount),
            "instrument": method_of(customer),
            "actor": PAYER,
            "request_key": f"key-{next(_keys)}",
            "now": NOON,
            **given,
        }
    )


def run(biller: Biller, *, day: int = 5, repeat: str = "", **options: Any) -> Run:
    at = NOON + day * DAY
    made = scheduled_collections.plan(
        biller=biller,
        options=Options(until=biller.business_date(at), repeat=repeat, **options),
        actor=SYSTEM,
        now=at,
    )
    for _chunk in scheduled_collections.work(run=made, actor=SYSTEM, now=at):
        pass
    made.refresh_from_db()
    return made


def state(customer: Customer) -> tuple[str, str]:
    one = ScheduledPayment.objects.filter(customer=customer).latest("created_at", "pk")
    return one.state, one.failure


def told(customer: Customer) -> list[tuple[str, str, str]]:
    """Give what the biller's system is told of an account's scheduled payments: word, amount and bill."""
    rows = Record.objects.filter(customer=customer, type=RecordType.SCHEDULED).order_by("created_at", "pk")
    return [(row.facts["status"], row.facts["amount"], row.facts["invoice"]) for row in rows]


def notices(customer: Customer) -> list[str]:
    return [notice.kind for notice in Notice.objects.filter(customer=customer).order_by("created_at", "pk")]


def books() -> dict[str, tuple[str, ...]]:
    return {finding.check.number: finding.examples for finding in findings() if finding.wrong}


# ---- made, changed, cancelled


@pytest.mark.spec("MSP-15", "MSP-17", "MSP-36")
def test_it_is_made_changed_and_cancelled_and_the_cis_reads_the_three_comments_in_order(
    biller: Biller, processor: Processor, cis: Cis
) -> None:
    Endpoint.objects.filter(biller=biller).update(url=cis.url, username=cis.username)
    endpoint = Endpoint.objects.get(biller=biller)
    endpoint.password = cis.password
    endpoint.save()
    customer = billed(biller, processor, "156.25")
    Invoice.objects.filter(customer=customer).update(custom4="321045080002")
    one = schedule(customer)
    assert (one.state, one.whole, one.amount, one.pay_on) == ("scheduled", True, Decimal("156.25"), TODAY + 5 * DAY)
    assert "for all that is due on my account" in one.consent_text
    one = scheduled_payments.change(
        scheduled=one,
        pay_on=TODAY + 9 * DAY,
        amount=Decimal("50"),
        instrument=method_of(customer),
        actor=PAYER,
        now=NOON,
    )
    assert (one.whole, one.amount, one.pay_on) == (False, Decimal("50.00"), TODAY + 9 * DAY)
    scheduled_payments.cancel(scheduled=one, actor=SYSTEM, now=NOON)
    one.refresh_from_db()
    assert (one.state, one.ended_at, one.ended_by) == ("cancelled", NOON, "test")

    deliver()
    comments = cis.book()["comments"]
    assert [(row["account"], row["service_location"], row["comment"]) for row in comments] == [
        (f"{customer.base}{customer.sub}", "321045080002", f"{word} 121940013401")
        for word in ("SCHED_PAY 11272026 156.25", "SCHED_PAY_UPDT 12012026 50.00", "SCHED_PAY_CNCL 12012026 50.00")
    ]
    for row in comments:
        logged = datetime.datetime.strptime(row["log_time"], "%Y-%m-%dT%H:%M:%S%z")
        assert logged.utcoffset() == logged.astimezone(biller.zone).utcoffset()
        assert abs(logged - timezone.now()) < datetime.timedelta(minutes=1)
    assert [
        (row.before, row.after) for row in Record.objects.filter(type=RecordType.SCHEDULED).order_by("created_at", "pk")
    ] == [
        ("", "156.25 on 11/27/2026, bill 121940013401"),
        ("156.25 on 11/27/2026, bill 121940013401", "50.00 on 12/01/2026, bill 121940013401"),
        ("50.00 on 12/01/2026, bill 121940013401", "Cancelled"),
    ]
    assert notices(customer) == ["scheduled", "rescheduled", "unscheduled"]
    messages = [written(notice.deliveries.get()) for notice in Notice.objects.order_by("created_at", "pk")]
    assert [message.subject for message in messages] == [
        f"Your payment to {biller.name} is scheduled",
        f"Your scheduled payment to {biller.name} has changed",
        f"Your scheduled payment to {biller.name} is cancelled",
    ]
    assert "on Nov 27, 2026 all that is due then is paid with Visa ending in" in messages[0].text
    assert one.consent_text not in messages[0].text and "I authorize" in messages[0].text
    assert "on Dec 1, 2026 we take $50.00 with Visa" in messages[1].text
    assert "the payment of $50.00 scheduled for Dec 1, 2026 will not be made" in messages[2].text
    events = list(AuditEntry.objects.filter(customer=customer).order_by("pk").values_list("event", "actor"))
    assert events == [
        ("scheduled.made", "Alma Reyes"), ("scheduled.changed", "Alma Reyes"), ("scheduled.cancelled", "test"),
    ]  # fmt: skip
    # Nothing was taken, and the account is free for another one.
    assert (Payment.objects.count(), processor.charges()) == (0, {})
    assert schedule(customer).state == "scheduled"
    assert books() == {}


@pytest.mark.spec("MSP-15")
def test_without_the_switch_the_biller_hears_nothing_and_the_payment_is_made_all_the_same(
    biller: Biller, processor: Processor
) -> None:
    assert Configuration._meta.get_field("scheduled_payments").default is False
    Configuration.objects.filter(biller=biller).update(scheduled_payments=False)
    customer = billed(biller, processor)
    schedule(customer)
    assert told(customer) == []
    run(biller)
    assert state(customer) == ("paid", "")


Spoil = Callable[[Customer], dict[str, Any] | None]


def _refusals() -> dict[str, tuple[type[DomainError], str, str | None, Spoil]]:
    def with_rows(model: Any, **values: Any) -> Spoil:
        return lambda customer: model.objects.filter(customer=customer).update(**values) and None

    def on(days: int) -> Spoil:
        return lambda _: {"pay_on": TODAY + days * DAY}

    def of(amount: str) -> Spoil:
        return lambda _: {"amount": amount}

    def off(customer: Customer) -> None:
        Biller.objects.filter(pk=customer.biller_id).update(allow_scheduled_payments=False)

    def only_whole(customer: Customer) -> dict[str, Any]:
        Invoice.objects.filter(customer=customer).update(allow_partial_payments=False)
        return {"amount": "10.00"}

    def no_cards(customer: Customer) -> None:
        Customer.objects.filter(pk=customer.pk).update(blocks_card=True)

    def autopay(customer: Customer) -> None:
        make_autopay(customer, method_of(customer))
        Item.objects.filter(customer=customer).update(collect_on=TODAY + 5 * DAY)

    def another(customer: Customer) -> None:
        schedule(customer)

    def strangers(customer: Customer) -> dict[str, Any]:
        other = make_customer(customer.biller)
        return {"instrument": make_instrument(other, customer.biller.routes.get(), "tok_x_1111")}

    def held(customer: Customer) -> None:
        charges.start(
            customer=customer, amount=Decimal("84.10"), instrument=method_of(customer), channel=Channel.WEB,
            actor=PAYER, request_key="held", item_ids=None, email="", now=NOON,
        )  # fmt: skip

    return {
        "today": (DayRefused, "Choose a day in the future. To pay today, pay now.", "pay_on", on(0)),
        "long ago": (DayRefused, "Choose a day in the future. To pay today, pay now.", "pay_on", on(-300)),
        "far ahead": (DayRefused, "Choose a day within the next year.", "pay_on", on(366)),
        "after the last day": (
            DayRefused, "This bill can be paid until Nov 26, 2026. Choose that day or an earlier one.", "pay_on",
            with_rows(Invoice, payable_until=TODAY + 4 * DAY),
        ),
        "nothing": (charges.AmountRefused, "Enter an amount above zero.", "amount", of("0")),
        "too much": (
            charges.AmountRefused, "Enter an amount of at most $84.10, which is what is due.", "amount", of("84.11"),
        ),
        "a part": (charges.AmountRefused, "This bill can only be paid in full.", "amount", only_whole),
        "switched off": (SchedulingOff, "This biller takes no scheduled payments. Pay now instead.", None, off),
        "blocked": (charges.MethodBlocked, "This account cannot be paid this way. Choose another method.", "method", no_cards),
        "expires before": (
            charges.MethodUnusable, "This card expires before that day. Choose another one.", "method",
            with_rows(Instrument, expires_on=TODAY + 4 * DAY),
        ),
        "another's method": (
            charges.MethodUnusable, "This method cannot be used. Choose another one.", "method", strangers,
        ),
        "AutoPay": (
            AutoPayComesFirst, "AutoPay pays this bill on Nov 27, 2026. Choose an earlier day, or turn AutoPay off first.",
            "pay_on", autopay,
        ),
        "nothing due": (charges.NothingDue, "Nothing is due on this account.", None, with_rows(Item, allocated=Decimal("84.10"))),
        "on its way": (
            charges.AlreadyBeingPaid,
            "A payment of this bill is already on its way. Wait for its result before paying again.", None, held,
        ),
        "scheduled": (
            AlreadyScheduled, "A payment is already scheduled for this account. Change it, or cancel it first.", None, another,
        ),
    }  # fmt: skip


@pytest.mark.spec("MSP-15")
def test_what_cannot_be_scheduled_is_refused_in_words_and_changes_nothing(biller: Biller, processor: Processor) -> None:
    for why, (error, words, field, spoil) in _refusals().items():
        Biller.objects.filter(pk=biller.pk).update(allow_scheduled_payments=True)
        customer = billed(biller, processor)
        given = spoil(customer) or {}
        before = (
            ScheduledPayment.objects.count(),
            Record.objects.count(),
            Notice.objects.count(),
            AuditEntry.objects.count(),
        )
        with pytest.raises(error) as refused:
            schedule(customer, **given)
        assert (why, str(refused.value), refused.value.field) == (why, words, field)
        assert before == (
            ScheduledPayment.objects.count(), Record.objects.count(), Notice.objects.count(), AuditEntry.objects.count(),
        )  # fmt: skip


def test_autopay_of_a_later_day_stands_in_no_way(biller: Biller, processor: Processor) -> None:
    customer = billed(biller, processor)
    make_autopay(customer, method_of(customer))
    Item.objects.filter(customer=customer).update(collect_on=TODAY + 6 * DAY)
    assert schedule(customer).state == "scheduled"


def test_a_key_schedules_once(biller: Biller, processor: Processor) -> None:
    customer = billed(biller, processor)
    first = schedule(customer, request_key="mine")
    assert schedule(customer, request_key="mine") == first
    with pytest.raises(Conflict):
        schedule(customer, "10.00", request_key="mine")
    assert (ScheduledPayment.objects.count(), len(told(customer)), notices(customer)) == (1, 1, ["scheduled"])
    other = ScheduledPayment.objects.get()
    other.pk, other.request_key = None, "another"
    with pytest.raises(IntegrityError, match="one_scheduled_payment"):
        other.save(force_insert=True)


def test_what_has_ended_or_is_as_asked_is_not_changed(biller: Biller, processor: Processor) -> None:
    customer = billed(biller, processor)
    one = schedule(customer, "50.00")
    as_it_is: dict[str, Any] = {
        "pay_on": one.pay_on,
        "amount": Decimal("50.00"),
        "instrument": method_of(customer),
        "actor": PAYER,
    }
    with pytest.raises(NothingChanged):
        scheduled_payments.change(scheduled=one, **as_it_is, now=NOON)
    with pytest.raises(instruments.MethodInUse, match="A scheduled payment uses this method"):
        instruments.remove(instrument=method_of(customer), actor=PAYER)
    # A method alone is changed without a word to the biller's system.
    spare = make_instrument(customer, biller.routes.get(), "tok_spare_1881")
    scheduled_payments.change(scheduled=one, **{**as_it_is, "instrument": spare}, now=NOON)
    assert (len(told(customer)), notices(customer)) == (1, ["scheduled", "rescheduled"])
    scheduled_payments.cancel(scheduled=one, actor=PAYER, now=NOON)
    with pytest.raises(NotChangeable):
        scheduled_payments.cancel(scheduled=one, actor=PAYER, now=NOON)
    with pytest.raises(NotChangeable):
        scheduled_payments.change(scheduled=one, **as_it_is, now=NOON)
    assert [status for status, *_ in told(customer)] == ["scheduled", "cancelled"]


# ---- the account goes on


@pytest.mark.spec("MSP-15", "MSP-24")
def test_it_follows_the_account_to_the_bill_that_carries_the_balance_and_back(
    biller: Biller, processor: Processor
) -> None:
    old = {11: "11/01/2026"}
    accounts = ["35909-001", "35909-002", "35909-003"]
    load(biller, [Bill(one, "7001", "100.00", fields=old) for one in accounts], made_on="11/20/2026", now=NOON - DAY)
    whole, fixed, without = (Customer.objects.get(number=one) for one in accounts)
    for customer in (whole, fixed, without):
        make_instrument(customer, biller.routes.get(), processor.token(biller.routes.get().merchant, "approve"))
    schedule(whole)
    schedule(fixed, "60.00")
    file = load(biller, [Bill(one, "7002", "180.00") for one in accounts])
    assert file.state == "loaded"
    assert [one.invoice.number for one in ScheduledPayment.objects.order_by("pk")] == ["7002", "7002"]
    assert told(whole) == [("scheduled", "100.00", "7001"), ("changed", "180.00", "7002")]
    assert told(fixed) == [("scheduled", "60.00", "7001"), ("changed", "60.00", "7002")]
    assert notices(whole)[-1] == "rescheduled" and told(without) == []
    message = written(Notice.objects.filter(customer=whole, kind="rescheduled").get().deliveries.get())
    assert "your scheduled payment is now for your new bill 7002." in message.text
    assert "all that is due then is paid with" in message.text and "Today that is $180.00." in message.text

    withdraw(file)
    assert told(whole)[-1] == ("changed", "100.00", "7001")
    assert told(fixed)[-1] == ("changed", "60.00", "7001")
    load(biller, [Bill(one, "7003", "150.00") for one in accounts])
    assert told(whole)[-1] == ("changed", "150.00", "7003")

    run(biller)
    assert (state(whole), state(fixed)) == (("paid", ""), ("paid", ""))
    assert sorted(str(row.amount) for row in Payment.objects.all()) == ["150.00", "60.00"]
    assert Item.objects.get(customer=fixed, invoice__number="7003").open == Decimal("90.00")
    assert books() == {}


# ---- the run


@pytest.mark.spec("MSP-15", "PAY-44")
def test_the_run_makes_what_has_its_day_takes_no_more_than_is_due_and_tells_both_outboxes(
    biller: Biller, processor: Processor
) -> None:
    make_endpoint(biller)
    whole, fixed, less, paid, later, declined = (
        billed(biller, processor, outcome=outcome)
        for outcome in ("approve", "approve", "approve", "approve", "approve", "hard_decline")
    )
    for customer, amount in ((whole, None), (fixed, "50.00"), (less, "50.00"), (paid, None), (declined, None)):
        schedule(customer, amount)
    schedule(later, pay_on=TODAY + 6 * DAY)
    make_invoice(whole, "20.00")  # an account that does not carry balances forward
    for customer, amount in ((less, "60.00"), (paid, "84.10")):
        charges.pay(
            customer=customer, amount=Decimal(amount), instrument=method_of(customer), channel=Channel.WEB,
            actor=PAYER, request_key=f"meanwhile-{customer.pk}", now=NOON,
        )  # fmt: skip
    made = run(biller, day=5)
    assert (made.kind, made.state) == ("scheduled", "done")
    assert [state(one)[0] for one in (whole, fixed, less, paid, later, declined)] == [
        "paid", "paid", "paid", "nothing_due", "scheduled", "failed",
    ]  # fmt: skip
    chunk = Chunk.objects.get(run=made)
    assert (chunk.expected, chunk.sent_count, chunk.passed_count, chunk.declined_count) == (5, 4, 3, 1)
    assert (chunk.sent_total, chunk.passed_total) == (Decimal("262.30"), Decimal("178.20"))
    made_of = Payment.objects.filter(channel=Channel.SCHEDULED)
    assert {row.customer_id: str(row.amount) for row in made_of.filter(state="posted")} == {
        whole.pk: "104.10", fixed.pk: "50.00", less.pk: "24.10",
    }  # fmt: skip
    assert {(row.made_by, row.requestor) for row in made_of} == {("Alma Reyes", int(Requestor.PAYER))}
    assert sum(processor.charges().values()) == 5
    # What was made is told as a payment; what will not be made is taken back.
    assert Record.objects.filter(pk__in=made_of.values("pk")).count() == 3
    assert [told(one)[-1][0] for one in (whole, less, paid, declined)] == [
        "scheduled", "scheduled", "cancelled", "cancelled",
    ]  # fmt: skip
    assert [notices(one)[-1] for one in (whole, paid, declined)] == ["receipt", "nothing_due", "scheduled_failed"]
    words = written(Notice.objects.get(kind="scheduled_failed").deliveries.get()).text
    assert "the payment of $84.10 scheduled for Nov 27, 2026 could not be made with Visa ending in" in words
    assert "No money has been taken. It is not tried again by itself." in words
    assert state(declined)[1] == Payment.objects.get(state="failed").failure
    # Again, by whichever run: nothing is made twice.
    run(biller, day=5, repeat="again")
    assert sum(processor.charges().values()) == 5
    assert books() == {}


@pytest.mark.spec("MSP-15")
def test_what_cannot_be_charged_any_more_or_is_long_past_fails_and_says_why(
    biller: Biller, processor: Processor
) -> None:
    blocked, expired, late = (billed(biller, processor) for _ in range(3))
    for customer in (blocked, expired):
        schedule(customer)
    schedule(late, pay_on=TODAY + DAY)
    Customer.objects.filter(pk=blocked.pk).update(blocks_card=True)
    Instrument.objects.filter(customer=expired).update(expires_on=TODAY)
    run(biller, day=9)
    assert [state(one) for one in (blocked, expired, late)] == [
        ("failed", "This account cannot be paid this way. Choose another method."),
        ("failed", "This method cannot be used. Choose another one."),
        ("failed", "It could not be made on its day, and that is too long ago."),
    ]
    assert processor.charges() == {}
    assert [told(one)[-1][0] for one in (blocked, expired, late)] == ["cancelled"] * 3
    assert notices(late) == ["scheduled", "scheduled_failed"]


@pytest.mark.spec("MSP-15")
def test_a_processor_that_was_not_reached_is_asked_again_by_the_next_run(biller: Biller, processor: Processor) -> None:
    customer = billed(biller, processor, outcome="service_unavailable")
    one = schedule(customer)
    run(biller)
    one.refresh_from_db()
    assert (one.state, one.tries, one.ended_at) == ("scheduled", 1, None)
    assert "scheduled_failed" not in notices(customer) and len(told(customer)) == 1
    assert Item.objects.get(customer=customer).reserved == 0
    assert books() == {}
    token = processor.token(biller.routes.get().merchant, "approve")
    Instrument.objects.filter(customer=customer).update(token=token)
    run(biller, day=6)
    one.refresh_from_db()
    assert (one.state, one.tries) == ("paid", 2)
    assert list(Payment.objects.order_by("created_at").values_list("request_key", "state")) == [
        (f"scheduled:{one.pk}:1", "failed"), (f"scheduled:{one.pk}:2", "posted"),
    ]  # fmt: skip
    assert books() == {}


@pytest.mark.spec("MSP-15")
def test_with_autopay_of_the_same_bill_on_the_same_day_it_is_paid_once(biller: Biller, processor: Processor) -> None:
    autopay_first, scheduled_first = billed(biller, processor), billed(biller, processor)
    for customer in (autopay_first, scheduled_first):
        schedule(customer)
        make_autopay(customer, method_of(customer))
    at = NOON + 5 * DAY

    def collect() -> None:
        options = collections.Options(start=TODAY + 5 * DAY, end=TODAY + 5 * DAY, repeat=str(next(_keys)))
        for _chunk in collections.work(
            run=collections.plan(biller=biller, options=options, actor=SYSTEM, now=at), actor=SYSTEM, now=at
        ):
            pass

    Item.objects.filter(customer=autopay_first).update(collect_on=TODAY + 5 * DAY)
    collect()
    run(biller)
    Item.objects.filter(customer=scheduled_first).update(collect_on=TODAY + 5 * DAY)
    collect()
    assert (state(autopay_first)[0], state(scheduled_first)[0]) == ("nothing_due", "paid")
    assert list(Payment.objects.order_by("customer_id").values_list("channel", flat=True)) == [3, 4]
    assert sum(processor.charges().values()) == 2


def test_what_is_on_its_way_is_left_until_it_has_landed(biller: Biller, processor: Processor) -> None:
    customer = billed(biller, processor)
    schedule(customer)
    started = charges.start(
        customer=customer, amount=Decimal("84.10"), instrument=method_of(customer), channel=Channel.WEB,
        actor=PAYER, request_key="away", item_ids=None, email="", now=NOON,
    )  # fmt: skip
    assert not isinstance(started, Payment)
    run(biller)
    assert (state(customer), Payment.objects.count()) == (("scheduled", ""), 1)


def test_two_runs_at_once_and_a_cancellation_never_make_one_twice(biller: Biller, processor: Processor) -> None:
    customers = [billed(biller, processor) for _ in range(12)]
    made = [schedule(customer) for customer in customers]
    gone: list[Any] = []

    def in_a_thread(act: Callable[[], Any]) -> threading.Thread:
        def body() -> None:
            with tenancy.acting_for(tenancy.EVERY_BILLER):
                try:
                    act()
                finally:
                    connection.close()

        thread = threading.Thread(target=body)
        thread.start()
        return thread

    def cancel() -> None:
        for one in reversed(made):
            try:
                scheduled_payments.cancel(scheduled=one, actor=PAYER, now=NOON)
                gone.append(one.pk)
            except NotChangeable:
                pass

    threads = [in_a_thread(lambda n=n: run(biller, repeat=str(n))) for n in range(3)]  # type: ignore[misc]  # each its own
    threads.append(in_a_thread(cancel))
    for thread in threads:
        thread.join(60)
    ended = {one.pk: one.state for one in ScheduledPayment.objects.all()}
    assert {pk: state for pk, state in ended.items() if state == "cancelled"} == dict.fromkeys(gone, "cancelled")
    assert set(ended.values()) <= {"cancelled", "paid"}
    assert sum(processor.charges().values()) == list(ended.values()).count("paid") == Attempt.objects.count()
    assert books() == {}


def test_the_command_and_the_hourly_task_make_them(
    biller: Biller, processor: Processor, capsys: pytest.CaptureFixture[str]
) -> None:
    from payments import tasks

    customer, other = billed(biller, processor), billed(biller, processor)
    today = biller.business_date(timezone.now())
    for one in (customer, other):
        schedule(one)
        ScheduledPayment.objects.filter(customer=one).update(pay_on=today)
    call_command("pay_scheduled", biller=biller.slug, dry_run=True)
    assert "dry run, 2 payments of at most 168.20 USD would be made" in capsys.readouterr().out
    call_command("pay_scheduled", biller=biller.slug, limit=1)
    assert "chunk 1: sent 1 (84.10), paid 1 (84.10), declined 0" in capsys.readouterr().out
    assert (state(customer)[0], state(other)[0]) == ("paid", "scheduled")
    tasks.pay_scheduled()
    planned = Run.objects.get(kind="scheduled", state="planned")
    tasks.work_run(planned.pk)
    assert state(other)[0] == "paid"
