"""The collect run: what it takes, what it leaves, and that two at once never take the same bill."""

from __future__ import annotations

import datetime
import io
import threading
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from billing import failpoints, tenancy
from billing.actors import Actor
from billing.models import Biller, Chunk, Customer, Entry, Item, Notice, Run
from datapump.models import Record
from payments.models import Attempt, Channel, Payment, Route
from payments.operations import cases, charges, collections, dues, recoveries, refunds, runs
from payments.operations.collections import Options
from payments.reports.runs import run_totals, runs_by_day
from tests.billing.test_adjustments import adjust
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_route,
)
from tests.payments.test_carryovers import books_hold
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url)
    return biller


def today() -> datetime.date:
    return timezone.now().date()


def due_bill(
    biller: Biller, processor: Processor, outcome: str = "approve", amount: str = "84.10", **fields: Any
) -> Item:
    """Make a customer with AutoPay and a bill whose collection date is today."""
    route = fields.pop("route", None) or Route.objects.filter(biller=biller).order_by("pk")[0]
    customer = make_customer(biller, **fields.pop("customer", {}))
    instrument = make_instrument(
        customer, route, processor.token(route.merchant, outcome), **fields.pop("instrument", {})
    )
    if fields.pop("autopay", True):
        make_autopay(customer, instrument)
    invoice = make_invoice(customer, amount, **{"due_on": today(), "collect_on": today(), **fields})
    return invoice.items.get()


def collect(biller: Biller, options: Options | None = None, **others: Any) -> Run:
    run = collections.plan(
        biller=biller, options=options or Options.usual(today()), actor=SYSTEM, now=timezone.now(), **others
    )
    for _chunk in collections.work(run=run, actor=SYSTEM):
        pass
    run.refresh_from_db()
    return run


@pytest.mark.spec("PAY-1", "PAY-2", "PAY-6")
def test_run_charges_each_due_bill_once_and_tells_both_outboxes(biller: Biller, processor: Processor) -> None:
    for n in range(7):
        due_bill(biller, processor, amount=f"{10 + n}.05")
    declined = due_bill(biller, processor, "hard_decline", amount="99.99")
    run = collect(biller, chunk_size=3)

    assert run.state == "done"
    chunks = list(Chunk.objects.filter(run=run).order_by("number"))
    assert [chunk.expected for chunk in chunks] == [3, 3, 2]
    assert sum(chunk.sent_count for chunk in chunks) == 8
    assert (sum(c.passed_count for c in chunks), sum(c.passed_total for c in chunks)) == (7, Decimal("91.35"))
    assert (sum(c.declined_count for c in chunks), sum(c.declined_total for c in chunks)) == (1, Decimal("99.99"))
    book = processor.book()
    assert {row["key"] for row in book["rows"] if row["times_charged"]} == {
        str(pk) for pk in Attempt.objects.filter(result=0).values_list("pk", flat=True)
    }
    assert book["charged_twice"] == 0
    assert Payment.objects.filter(state="posted", channel=3).count() == 7
    assert set(Record.objects.values_list("pk", flat=True)) == set(
        Payment.objects.filter(state="posted").values_list("pk", flat=True)
    )
    assert Notice.objects.filter(kind="receipt").count() == 7
    assert Notice.objects.filter(kind="autopay_failed").count() == 1
    assert sum(Customer.objects.values_list("balance", flat=True)) == Decimal("99.99")
    declined.refresh_from_db()
    # A hard decline takes the bill off the calendar: it is not tried again by itself.
    assert (declined.open, declined.reserved, declined.collect_on) == (Decimal("99.99"), Decimal("0.00"), None)
    totals = _totals()
    assert totals == {"clearing": Decimal("91.35"), "receivable": Decimal("-91.35")}


def _totals() -> dict[str, Decimal]:
    totals: dict[str, Decimal] = {}
    for account, amount in Entry.objects.filter(posting__kind="receipts").values_list("account", "amount"):
        totals[account] = totals.get(account, Decimal("0.00")) + amount
    return totals


def outcomes(run: Run) -> dict[str, tuple[int, Decimal]]:
    """Give what came of a run in number and money, without what there was none of."""
    totals = run_totals(run)
    found = {
        "sent": (totals.sent, totals.sent_total),
        "passed": (totals.passed, totals.passed_total),
        "declined": (totals.declined, totals.declined_total),
        "unreached": (totals.unreached, totals.unreached_total),
        "unknown": (totals.unknown, totals.unknown_total),
    }
    return {name: counted for name, counted in found.items() if counted[0]}


def test_second_run_of_the_day_is_the_same_run_and_charges_nothing(biller: Biller, processor: Processor) -> None:
    due_bill(biller, processor)
    first = collect(biller)
    again = collect(biller)
    assert again.pk == first.pk
    assert sum(processor.charges().values()) == 1


def expected_customers(biller: Biller, options: Options) -> set[int]:
    """Say in plain Python which customers a run must collect from: the oracle of the SQL."""
    wanted = set()
    for item in Item.objects.filter(biller=biller).select_related("customer", "invoice"):
        enrolment = item.customer.autopay_enrolments.filter(ended_at=None).first()
        if enrolment is None or item.kind != "bill" or item.open <= 0 or item.reserved != 0:
            continue
        method = enrolment.instrument
        if item.open < (biller.minimum_collected if options.minimum is None else options.minimum):
            continue
        if item.customer.status != options.status:
            continue
        if method.state != "active" or (method.expires_on and method.expires_on < today()):
            continue
        if item.customer.blocks_card if method.kind == "card" else item.customer.blocks_bank:
            continue
        if options.route_id and method.route_id != options.route_id:
            continue
        if options.tender and {"card": "card", "ach": "bank"}[options.tender] != method.kind:
            continue
        if not options.rebill and not (item.collect_on and options.start <= item.collect_on <= options.end):
            continue
        wanted.add(item.customer_id)
    return wanted


@pytest.mark.spec("PAY-6")
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"start": 0},
        {"start": 30, "end": 2},
        {"status": "inactive"},
        {"status": "closed"},
        {"tender": "ach"},
        {"tender": "card"},
        {"rebill": True},
        {"minimum": Decimal("50.00")},
        {"minimum": Decimal("1.00")},
        {"route": True},
    ],
)
def test_options_choose_exactly_the_bills_they_name(
    biller: Biller, processor: Processor, given: dict[str, Any]
) -> None:
    day = datetime.timedelta(days=1)
    other = make_route(biller, processor.url)
    for fields in (
        {},
        {"collect_on": today() - day},
        {"collect_on": today() - 2 * day},
        {"collect_on": today() - 30 * day},
        {"collect_on": today() + day},
        {"collect_on": None},
        {"autopay": False},
        {"amount": "1.99"},
        {"amount": "2.00"},
        {"amount": "60.00"},
        {"customer": {"status": "inactive"}},
        {"customer": {"status": "closed"}},
        {"customer": {"blocks_card": True}},
        {"customer": {"blocks_bank": True}},
        {"instrument": {"kind": "bank", "expires_on": None}},
        {"instrument": {"kind": "bank", "expires_on": None}, "customer": {"blocks_bank": True}},
        {"instrument": {"expires_on": today() - day}},
        {"instrument": {"expires_on": today()}},
        {"instrument": {"state": "removed", "is_default": False}},
        {"route": other},
    ):
        due_bill(biller, processor, **fields)
    days: dict[str, Any] = {key: today() - given[key] * day for key in ("start", "end") if key in given}
    others: dict[str, Any] = {key: value for key, value in given.items() if key not in {"start", "end", "route"}}
    if "route" in given:
        others["route_id"] = other.pk
    window: dict[str, Any] = {"start": today() - day, "end": today(), **days}
    options = Options(**window, **others)
    wanted = expected_customers(biller, options)
    assert wanted, "an empty window proves nothing"

    collect(biller, options)

    assert set(Payment.objects.values_list("customer_id", flat=True)) == wanted
    assert Payment.objects.count() == len(wanted)


@pytest.mark.spec("PAY-6")
def test_dry_run_counts_and_changes_nothing(biller: Biller, processor: Processor) -> None:
    due_bill(biller, processor, amount="10.00")
    due_bill(biller, processor, amount="20.50")
    before = list(Item.objects.order_by("id").values_list("id", "reserved", "allocated", "collect_on"))
    run = collect(biller, dry_run=True)
    assert run.state == "done"
    assert [(chunk.expected, chunk.expected_total) for chunk in run.chunks.all()] == [(2, Decimal("30.50"))]
    assert list(Item.objects.order_by("id").values_list("id", "reserved", "allocated", "collect_on")) == before
    assert Payment.objects.count() == 0
    assert processor.charges() == {}


@pytest.mark.spec("PAY-21")
def test_charges_of_a_route_carry_its_descriptor_in_runs_by_people_and_back(
    biller: Biller, processor: Processor
) -> None:
    described = {"descriptor": "MFW*Water bill", "descriptor_phone": "800-555-0123"}
    route = make_route(biller, processor.url, merchant="described-1", **described)
    plain = make_route(biller, processor.url, merchant="described-2")
    for one in (route, plain):
        due_bill(biller, processor, amount="20.00", route=one)
    collect(biller)
    payment = Payment.objects.get(route=route)
    refunds.refund(payment=payment, amount=payment.amount, reason="Twice", actor=SYSTEM, request_key="back")
    said = ("MFW*Water bill", "800-555-0123")
    rows = processor.book("described-1")["rows"]
    assert [(row["command"], row["descriptor"], row["descriptor_phone"]) for row in rows] == [
        ("charge", *said), ("refund", *said)
    ]  # fmt: skip
    assert [(row["descriptor"], row["descriptor_phone"]) for row in processor.book("described-2")["rows"]] == [("", "")]


@pytest.mark.spec("PAY-3")
def test_bill_with_an_unresolved_attempt_is_not_collected_again(biller: Biller, processor: Processor) -> None:
    due_bill(biller, processor)
    processor.strike("drop_after")
    collect(biller)
    assert Attempt.objects.get().result == 999
    collect(biller, Options.usual(today(), repeat="again"))
    collect(biller, Options.usual(today(), rebill=True))
    assert Attempt.objects.count() == 1
    assert list(processor.charges().values()) == [1]


@pytest.mark.spec("PAY-8")
def test_two_runs_at_once_never_take_the_same_bill(biller: Biller, processor: Processor) -> None:
    for _ in range(40):
        due_bill(biller, processor)
    processor.control(faults={"slow": {"next": 4, "seconds": 0.3}})
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            with tenancy.acting_for([biller.pk]):
                collect(biller, Options.usual(today(), repeat=str(n)), chunk_size=5)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert Payment.objects.filter(state="posted").count() == 40
    assert sorted(processor.charges().values()) == [1] * 40


@pytest.mark.spec("PAY-8")
def test_two_workers_share_one_run(biller: Biller, processor: Processor) -> None:
    for _ in range(20):
        due_bill(biller, processor)
    run = collections.plan(
        biller=biller, options=Options.usual(today()), actor=SYSTEM, now=timezone.now(), chunk_size=2
    )
    done: list[list[int]] = [[], []]

    def work(n: int) -> None:
        with tenancy.acting_for([biller.pk]):
            done[n] = [chunk.number for chunk in collections.work(run=run, actor=SYSTEM)]
        connection.close()

    threads = [threading.Thread(target=work, args=[n]) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done[0] + done[1]) == list(range(1, 11))
    run.refresh_from_db()
    assert run.state == "done"
    assert sorted(processor.charges().values()) == [1] * 20


def test_stop_switch_ends_the_run_before_the_next_chunk(biller: Biller, processor: Processor) -> None:
    for _ in range(4):
        due_bill(biller, processor)
    run = collections.plan(
        biller=biller, options=Options.usual(today()), actor=SYSTEM, now=timezone.now(), chunk_size=1
    )
    work = collections.work(run=run, actor=SYSTEM)
    next(work)
    runs.stop(run=run, actor=SYSTEM)
    assert list(work) == []
    run.refresh_from_db()
    assert run.state == "stopped"
    assert sum(processor.charges().values()) == 1
    assert Item.objects.exclude(reserved=0).count() == 0


def test_a_run_that_another_worker_called_done_has_failed_all_the_same(biller: Biller, processor: Processor) -> None:
    due_bill(biller, processor)
    run = collect(biller)
    assert (run.state, run.failure) == ("done", "")
    # A worker that was taken for dead finds only now that nobody can be reached.
    before = run.finished_at
    runs.fail(run, "The payment processor could not be reached.")
    run.refresh_from_db()
    assert (run.state, run.failure) == ("failed", "The payment processor could not be reached.")
    assert before is not None
    assert run.finished_at is not None
    assert run.finished_at > before


def test_unreachable_processor_fails_the_run_and_keeps_the_bills_for_the_next(
    biller: Biller, processor: Processor
) -> None:
    item = due_bill(biller, processor)
    due_bill(biller, processor, amount="9.90")
    route = Route.objects.get()
    good = dict(route.options)
    route.options["base_url"] = "http://127.0.0.1:9"
    route.save()
    run = collect(biller)
    assert (run.state, "could not be reached" in run.failure) == ("failed", True)
    assert outcomes(run) == {
        "sent": (2, item.amount + Decimal("9.90")),
        "unreached": (2, item.amount + Decimal("9.90")),
    }
    item.refresh_from_db()
    assert (item.reserved, item.collect_on) == (Decimal("0.00"), today())
    route.options = good
    route.save()
    collect(biller, Options.usual(today(), repeat="later"))
    assert list(processor.charges().values()) == [1, 1]


@pytest.mark.spec("PAY-8", "PAY-11")
def test_a_run_tells_what_a_bank_declined_from_what_no_bank_decided_about(biller: Biller, processor: Processor) -> None:
    for amount, outcome in (
        *(("10.00", "approve"), ("20.00", "hard_decline"), ("30.00", "soft_decline")),
        *(("40.00", "service_unavailable"), ("50.00", "technical_problem")),
    ):
        due_bill(biller, processor, outcome, amount=amount)
    run = collect(biller)
    assert outcomes(run) == {
        "sent": (5, Decimal("150.00")), "passed": (1, Decimal("10.00")), "declined": (2, Decimal("50.00")),
        "unreached": (2, Decimal("90.00")),
    }  # fmt: skip
    (day,) = runs_by_day(biller=biller, start=today())
    assert (day.declined_total, day.unreached, day.unreached_total) == (Decimal("50.00"), 2, Decimal("90.00"))
    assert (day.day, day.unknown, day.unknown_total) == (today(), 0, Decimal("0.00"))
    out = io.StringIO()
    call_command("collect", biller=biller.slug, again="out", report=True, stdout=out)
    # What was not reached keeps its day and is taken again, what was declined is not.
    assert "sent 2 (90.00), paid 0 (0.00), declined 0, not reached 2" in out.getvalue()
    assert "6 Service not available: 1 (40.00 USD)" in out.getvalue()


def test_a_route_whose_key_was_taken_back_ends_the_run_at_once_and_writes_to_no_payer(
    biller: Biller, processor: Processor
) -> None:
    items = [due_bill(biller, processor) for _ in range(3)]
    route = Route.objects.get()
    route.secret = "of yesterday"
    route.save()
    run = collections.plan(
        biller=biller, options=Options.usual(today()), actor=SYSTEM, now=timezone.now(), chunk_size=1
    )
    list(collections.work(run=run, actor=SYSTEM))
    run.refresh_from_db()
    assert (run.state, run.failure.startswith("The processor refuses us: ")) == ("failed", True)
    assert Payment.objects.values_list("result", flat=True).get() == 17
    assert not Notice.objects.filter(kind="autopay_failed").exists()
    assert {(one.open, one.reserved, one.collect_on) for one in Item.objects.all()} == {
        (items[0].amount, Decimal("0.00"), today())
    }


@pytest.mark.spec("PAY-8")
def test_a_run_of_one_processor_does_not_mind_what_is_wrong_with_anothers_route(
    biller: Biller, processor: Processor
) -> None:
    good = Route.objects.get()
    due_bill(biller, processor)
    bad = make_route(biller, processor.url, options={"concurrency": 0})
    assert collect(biller, Options.usual(today(), route_id=good.pk)).state == "done"
    assert list(processor.charges().values()) == [1]
    theirs = due_bill(biller, processor, route=bad)
    run = collect(biller, Options.usual(today(), route_id=bad.pk))
    assert (run.state, "set up wrongly" in run.failure) == ("failed", True)
    theirs.refresh_from_db()
    assert (theirs.open, theirs.reserved) == (theirs.amount, Decimal("0.00"))


def test_a_run_takes_no_options_that_cannot_be(biller: Biller) -> None:
    for wrong in ({"limit": 0}, {"limit": -1}, {"minimum": Decimal("-0.01")}):
        with pytest.raises(runs.RunRefused):
            collect(biller, Options.usual(today(), **wrong))
    assert Run.objects.count() == 0


def test_charging_stopped_refuses_the_run(biller: Biller) -> None:
    Biller.objects.filter(pk=biller.pk).update(charging_stopped=True)
    biller.refresh_from_db()
    with pytest.raises(runs.RunRefused):
        collect(biller)
    assert Run.objects.count() == 0


def test_chunk_of_a_dead_worker_is_finished_and_never_sent_again(biller: Biller, processor: Processor) -> None:
    due_bill(biller, processor)
    run = collections.plan(biller=biller, options=Options.usual(today()), actor=SYSTEM, now=timezone.now())
    chunk = runs.claim(run)
    assert chunk is not None
    collections._checkpoint(biller, run, chunk, SYSTEM, timezone.now())
    # The worker dies here, having sent nothing; its lease runs out.
    Chunk.objects.update(claimed_at=timezone.now() - 2 * runs.LEASE)
    assert [one.number for one in collections.work(run=run, actor=SYSTEM)] == [1]
    run.refresh_from_db()
    assert run.state == "done"
    assert processor.charges() == {}
    assert Attempt.objects.get().result == 999


@pytest.mark.parametrize(
    ("bills", "adjusted", "held", "taken"),
    [
        (["84.10"], "-60.00", "", ["24.10"]),
        (["84.10"], "-84.10", "", []),
        (["84.10"], "-82.11", "", []),  # under the biller's minimum of 2.00
        (["84.10", "10.00"], "-30.00", "", ["64.10"]),
        (["84.10", "10.00"], "-5.00", "", ["84.10", "5.00"]),
        (["84.10"], "15.00", "", ["84.10"]),
        (["84.10", "10.00"], "-20.00", "84.10", []),
    ],
)
@pytest.mark.spec("MSP-1")
def test_autopay_never_takes_more_than_credits_leave_due(
    biller: Biller, processor: Processor, bills: list[str], adjusted: str, held: str, taken: list[str]
) -> None:
    first = due_bill(biller, processor, amount=bills[0])
    customer = first.customer
    for amount in bills[1:]:
        make_invoice(customer, amount, due_on=today(), collect_on=today())
    adjust(customer, adjusted)
    if held:
        charges.start(
            customer=customer, amount=Decimal(held), instrument=customer.instruments.get(), channel=Channel.CSR,
            actor=SYSTEM, request_key="guest", item_ids=[first.pk], email="", now=timezone.now(),
        )  # fmt: skip
    another = due_bill(biller, processor, amount="7.00")
    run = collect(biller)
    paid = Payment.objects.filter(state="posted", customer=customer).order_by("allocations__item_id")
    assert [str(payment.amount) for payment in paid] == taken
    assert Payment.objects.filter(state="posted", customer=another.customer).count() == 1
    chunk = Chunk.objects.get(run=run)
    assert (chunk.sent_count, chunk.sent_total) == (1 + len(taken), Decimal("7.00") + sum(map(Decimal, taken)))
    books_hold()


@pytest.mark.spec("MSP-37")
def test_a_debit_by_adjustment_waits_for_its_bill(biller: Biller, processor: Processor) -> None:
    bill = due_bill(biller, processor, amount="84.10")
    customer = bill.customer
    adjust(customer, "25.00")
    run = collect(biller, Options(today(), today(), rebill=True))
    assert [chunk.sent_total for chunk in Chunk.objects.filter(run=run)] == [Decimal("84.10")]
    assert [payment.amount for payment in Payment.objects.all()] == [Decimal("84.10")]
    customer.refresh_from_db()
    assert customer.balance == Decimal("25.00")
    assert dues.due(customer=customer).full == Decimal("25.00")


def test_settling_looks_each_attempt_up_by_its_payment(biller: Biller, processor: Processor) -> None:
    """Below row security only some expressions may use an index: one that may not reads every attempt for every payment."""
    due_bill(biller, processor)
    plans: list[str] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "SET state = 'posted', posting_id" in sql:
            with connection.cursor() as cursor:
                # Past the wrapper: it is this very question that is asked.
                cursor.cursor.execute("SET LOCAL enable_seqscan = off")
                cursor.cursor.execute(f"EXPLAIN {sql}", params)
                plans.append("\n".join(line for (line,) in cursor.cursor.fetchall()))
                cursor.cursor.execute("SET LOCAL enable_seqscan = on")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        assert collect(biller).state == "done"
    (plan,) = plans
    assert "Seq Scan on payments_attempt" not in plan and "attempt_by_payment" in plan, plan


@pytest.mark.spec("PAY-3", "PAY-10")
def test_what_a_slow_worker_has_not_sent_yet_is_not_held_for_absent_and_what_was_given_up_is_not_sent(
    biller: Biller, processor: Processor
) -> None:
    route = Route.objects.get(biller=biller)
    times = {"timeout": 0.3, "batch_timeout": 0.3, "settle_seconds": 0.3, "batch_limit": 1}
    Route.objects.update(options={**route.options, **times})
    for _ in range(2):
        due_bill(biller, processor)

    def a_file_is_read() -> None:
        time.sleep(0.5)
        processor.close_response_file(route.merchant)
        assert recoveries.read_response_files(biller=biller, actor=SYSTEM).abandoned == 0

    def the_other_is_given_up() -> None:
        other = Attempt.objects.select_related("payment").get(state="open", pk__in=unsent())
        assert cases.abandon(attempt=other, why="A call.", actor=SYSTEM, now=timezone.now())
        time.sleep(1.0)

    def unsent() -> list[uuid.UUID]:
        sent = set(processor.charges())
        return [pk for pk in Attempt.objects.values_list("pk", flat=True) if str(pk) not in sent]

    acts = iter([a_file_is_read, the_other_is_given_up])

    def act() -> None:
        next(acts)()

    failpoints.arm("collect.checkpointed:1,collect.answered:1", act)
    try:
        collect(biller)
    finally:
        failpoints.arm("")
    assert next(acts, None) is None
    assert sorted(Payment.objects.values_list("state", flat=True)) == ["failed", "posted"]
    assert sorted(Attempt.objects.values_list("state", flat=True)) == ["abandoned", "applied"]
    assert len(unsent()) == 1
    assert sum(processor.charges().values()) == 1
    books_hold()
