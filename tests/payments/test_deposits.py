"""Authorizing now and depositing later: what is held, what a deposit run takes, and what becomes of each outcome."""

from __future__ import annotations

import datetime
import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.errors import Conflict
from billing.models import Biller, Chunk, Customer, Entry, Item, Notice, Run
from datapump.models import Record
from payments.books import findings
from payments.models import Attempt, Authorization, Case, Channel, Checkpoint, Instrument, Payment, Route
from payments.operations import authorizations, cases, charges, collections, deposits, recoveries, runs
from payments.operations.deposits import Options
from payments.reports.daily_totals import daily_totals
from payments.reports.runs import late_deposits, run_failures, run_totals
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_route,
)
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")
DAY = datetime.timedelta(days=1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url, options={"settle_seconds": 20.0})
    return biller


def today() -> datetime.date:
    return timezone.now().date()


def owing(biller: Biller, processor: Processor, amount: str = "84.10", outcome: str = "approve") -> Instrument:
    """Make a customer with a card, AutoPay and a bill that is collected today."""
    route = Route.objects.filter(biller=biller).order_by("pk")[0]
    customer = make_customer(biller)
    card = make_instrument(customer, route, processor.token(route.merchant, outcome))
    make_autopay(customer, card)
    make_invoice(customer, amount, due_on=today(), collect_on=today())
    return card


def authorize(card: Instrument, *, days_ago: int = 1, **others: Any) -> Payment:
    amount = Item.objects.get(customer=card.customer).amount
    return charges.pay(
        **{
            "customer": card.customer,
            "amount": amount,
            "instrument": card,
            "channel": Channel.API,
            "actor": SYSTEM,
            "request_key": f"key-{card.pk}",
            "authorize_only": True,
            "now": timezone.now() - days_ago * DAY,
            **others,
        }
    )


def run(biller: Biller, options: Options | None = None, **others: Any) -> Run:
    made = deposits.plan(
        biller=biller, options=options or Options.usual(today()), actor=SYSTEM, now=timezone.now(), **others
    )
    for _chunk in deposits.work(run=made, actor=SYSTEM):
        pass
    made.refresh_from_db()
    return made


def recover(biller: Biller) -> recoveries.Recovered:
    nothing = datetime.timedelta(0)
    return recoveries.recover(biller=biller, actor=SYSTEM, least_age=nothing, pause=nothing)


def counts(made: Run) -> tuple[int, int, int, int]:
    totals = run_totals(made)
    return totals.expected, totals.sent, totals.passed, totals.declined


def assert_books_hold() -> None:
    with transaction.atomic():
        assert [(f.check.number, f.check.says, f.examples) for f in findings() if f.wrong] == []


def standing(payment: Payment) -> tuple[str, int | None, bool, bool]:
    """Give a payment's state and result, and of its authorization whether it has ended and whether it had expired."""
    payment.refresh_from_db()
    held = Authorization.objects.get(payment=payment)
    return payment.state, payment.result, held.ended_at is not None, held.expired


@pytest.mark.spec("PAY-7")
def test_held_money_is_reserved_and_is_not_paid_until_it_is_deposited(biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    payment = authorize(card)

    assert standing(payment) == ("authorized", 0, False, False)
    assert list(Attempt.objects.values_list("command", "state", "result")) == [("authorize", "applied", 0)]
    item = Item.objects.get()
    assert (item.open, item.allocated, item.reserved) == (Decimal("84.10"), Decimal("0.00"), Decimal("84.10"))
    assert Customer.objects.get().balance == Decimal("84.10")
    assert Entry.objects.filter(posting__kind="receipts").count() == 0
    assert (Record.objects.count(), Notice.objects.count(), Checkpoint.objects.count()) == (0, 0, 0)
    assert daily_totals(biller=biller, start=today() - 2 * DAY, end=today()) == []
    assert processor.book()["totals"] == []
    assert_books_hold()
    # Nobody else pays the bill meanwhile: no other payment, no collect run.
    with pytest.raises(charges.AlreadyBeingPaid):
        authorize(card, request_key="another")
    collected = collections.plan(
        biller=biller, options=collections.Options.usual(today()), actor=SYSTEM, now=timezone.now()
    )
    assert list(collections.work(run=collected, actor=SYSTEM)) == []
    assert Payment.objects.count() == 1

    made = run(biller)

    assert (made.state, counts(made)) == ("done", (1, 1, 1, 0))
    assert standing(payment) == ("posted", 0, True, False)
    assert list(Attempt.objects.order_by("sequence").values_list("command", "sequence", "state", "result")) == [
        ("authorize", 1, "applied", 0),
        ("deposit", 2, "applied", 0),
    ]
    item.refresh_from_db()
    assert (item.open, item.reserved) == (Decimal("0.00"), Decimal("0.00"))
    assert Customer.objects.get().balance == Decimal("0.00")
    assert [one.amount for one in daily_totals(biller=biller, start=today(), end=today())] == [Decimal("84.10")]
    assert (Record.objects.get().pk, Notice.objects.get().key) == (payment.pk, f"receipt:{payment.pk}")
    assert [(one["payments"], one["amount"]) for one in processor.book()["totals"]] == [(1, "84.10")]
    assert_books_hold()


@pytest.mark.spec("PAY-7")
def test_a_run_takes_the_last_thirty_days_up_to_yesterday_and_start_and_end_narrow(
    biller: Biller, processor: Processor
) -> None:
    other = make_route(biller, processor.url)
    held = {days: authorize(owing(biller, processor, f"{10 + days}.00"), days_ago=days) for days in (0, 1, 2, 30, 31)}
    strange = owing(biller, processor, "77.00")
    Instrument.objects.filter(pk=strange.pk).update(route=other, token=processor.token(other.merchant))
    held[7] = authorize(Instrument.objects.select_related("customer__biller", "route").get(pk=strange.pk), days_ago=7)
    before = [standing(payment) for payment in held.values()]

    dry = run(biller, dry_run=True)
    assert (dry.state, counts(dry)) == ("done", (4, 0, 0, 0))
    assert dry.chunks.get().expected_total == Decimal("11.00") + Decimal("12.00") + Decimal("40.00") + Decimal("77.00")
    assert [standing(payment) for payment in held.values()] == before

    def deposited(options: Options) -> set[int]:
        run(biller, options, chunk_size=1)
        return {days for days, payment in held.items() if standing(payment)[0] == "posted"}

    assert deposited(Options(start=today() - 2 * DAY, end=today() - 2 * DAY)) == {2}
    assert deposited(Options.usual(today(), route_id=other.pk)) == {2, 7}
    assert deposited(Options.usual(today(), limit=1)) == {1, 2, 7}
    assert deposited(Options.usual(today())) == {1, 2, 7, 30}
    # The same run of the same day is the same run.
    assert deposited(Options.usual(today())) == {1, 2, 7, 30}
    assert deposited(Options(start=today() - 31 * DAY, end=today())) == {0, 1, 2, 7, 30, 31}
    assert sorted(processor.charges().values()) == [0] * 6 + [1] * 6
    assert_books_hold()


@pytest.mark.spec("PAY-7")
def test_an_expired_authorization_is_deposited_and_marked(biller: Biller, processor: Processor) -> None:
    fresh, old = owing(biller, processor, "10.00"), owing(biller, processor, "20.00")
    in_time, late = authorize(fresh, days_ago=6), authorize(old, days_ago=8)
    made = run(biller)
    assert standing(in_time) == ("posted", 0, True, False)
    assert standing(late) == ("posted", 0, True, True)
    assert late_deposits(made) == (1, Decimal("20.00"))
    assert_books_hold()


@pytest.mark.spec("PAY-7")
def test_a_declined_deposit_fails_the_payment_frees_the_bill_and_tells_the_payer(
    biller: Biller, processor: Processor
) -> None:
    good, bad = owing(biller, processor, "10.00"), owing(biller, processor, "20.00")
    taken, declined = authorize(good), authorize(bad)
    # The processor does not know the authorization any more, as after a reversal at its own page.
    Attempt.objects.filter(payment=declined).update(processor_reference="ref_1ffffffffff")
    made = run(biller)
    assert (made.state, counts(made)) == ("done", (2, 2, 1, 1))
    assert standing(taken)[0] == "posted"
    assert standing(declined) == ("failed", 11, True, False)
    assert declined.failure == "The payment could not be processed."
    item = Item.objects.get(customer=bad.customer)
    assert (item.open, item.reserved) == (Decimal("20.00"), Decimal("0.00"))
    assert [(one.kind, one.facts["amount"]) for one in Notice.objects.filter(customer=bad.customer)] == [
        ("payment_failed", "20.00")
    ]
    assert [(one.words, one.count, one.amount) for one in run_failures(made)] == [
        ("The payment could not be processed.", 1, Decimal("20.00"))
    ]
    assert_books_hold()
    # The bill is free: AutoPay takes it.
    collected = collections.plan(
        biller=biller, options=collections.Options.usual(today()), actor=SYSTEM, now=timezone.now()
    )
    assert [chunk.passed_count for chunk in collections.work(run=collected, actor=SYSTEM)] == [1]


@pytest.mark.spec("PAY-7")
def test_an_unreachable_processor_leaves_the_money_held_for_the_next_run(biller: Biller, processor: Processor) -> None:
    payment = authorize(owing(biller, processor))
    route = Route.objects.get()
    good = dict(route.options)
    Route.objects.update(options={**good, "base_url": "http://127.0.0.1:9"})
    failed = run(biller)
    assert (failed.state, counts(failed)) == ("failed", (1, 1, 0, 0))
    totals = run_totals(failed)
    assert (totals.unreached, totals.unreached_total, totals.unknown) == (1, Decimal("84.10"), 0)
    assert "could not be reached" in failed.failure
    assert standing(payment) == ("authorized", 1, False, False)
    assert [(one.words, one.count) for one in run_failures(failed)] == [
        ("The payment processor could not be reached.", 1)
    ]
    assert Item.objects.get().reserved == Decimal("84.10")
    assert Notice.objects.count() == 0
    assert_books_hold()
    Route.objects.update(options=good)
    run(biller, Options.usual(today(), repeat="later"))
    assert standing(payment) == ("posted", 0, True, False)
    assert payment.failure == ""
    assert_books_hold()


@pytest.mark.spec("PAY-3", "PAY-7")
def test_a_deposit_without_an_answer_is_never_deposited_again_and_is_looked_up(
    biller: Biller, processor: Processor
) -> None:
    payment = authorize(owing(biller, processor))
    processor.strike("drop_after")
    made = run(biller)
    assert counts(made) == (1, 1, 0, 0)
    assert standing(payment) == ("processing", None, False, False)
    for code in (777, 888, 999):
        Attempt.objects.filter(command="deposit").update(result=code)
        assert counts(run(biller, Options.usual(today(), repeat=str(code)))) == (0, 0, 0, 0)
    assert Attempt.objects.count() == 2
    assert_books_hold()
    recover(biller)
    assert standing(payment) == ("posted", 0, True, False)
    assert sorted(processor.charges().values()) == [0, 1]
    assert run_totals(made).passed == 1
    assert_books_hold()


@pytest.mark.spec("PAY-3", "PAY-7")
@pytest.mark.parametrize("command", ["authorize", "deposit"])
def test_what_the_processor_never_got_is_sent_again_under_its_own_key_with_its_reference(
    biller: Biller, processor: Processor, command: str
) -> None:
    card = owing(biller, processor)
    if command == "authorize":
        processor.strike("drop_before")
    payment = authorize(card)
    if command == "deposit":
        processor.strike("drop_before")
        run(biller)
    lost = Attempt.objects.get(command=command)
    assert (lost.result, standing(payment)[0]) == (999, "processing")
    assert recover(biller).resent == (1 if command == "authorize" else 0)  # the authorization was asked for yesterday
    Attempt.objects.filter(pk=lost.pk).update(sent_at=timezone.now() - DAY)
    recover(biller)
    assert standing(payment)[0] == {"authorize": "authorized", "deposit": "posted"}[command]
    run(biller)
    assert standing(payment) == ("posted", 0, True, False)
    assert sorted(processor.charges().values()) == [0, 1]
    assert str(lost.pk) in processor.charges()
    assert_books_hold()


@pytest.mark.spec("PAY-3", "PAY-7", "PAY-9")
@pytest.mark.parametrize(
    ("command", "outcome", "state"),
    [
        ("authorize", "charged", None),
        ("authorize", "not_charged", "failed"),
        ("deposit", "charged", "posted"),
        ("deposit", "not_charged", "authorized"),
    ],
)
def test_what_stays_unknown_is_a_case_and_a_person_decides(
    biller: Biller, processor: Processor, command: str, outcome: str, state: str | None
) -> None:
    Route.objects.update(options={**Route.objects.get().options, "dedupe_window": None})
    processor.control(duplicate_detection=False)
    card = owing(biller, processor)
    if command == "authorize":
        processor.strike("drop_before")
    payment = authorize(card)
    if command == "deposit":
        processor.strike("drop_before")
        run(biller)
    Attempt.objects.filter(command=command).update(sent_at=timezone.now() - DAY)
    assert recover(biller).cases == 1
    case = Case.objects.get()
    given: dict[str, Any] = {"case": case, "evidence": "Their report.", "actor": SYSTEM, "now": timezone.now()}
    if outcome == "not_charged":
        cases.close_as_not_charged(**given)
    elif state is None:
        with pytest.raises(cases.CaseRefused):
            cases.close_as_charged(approval_code="123", **given)
        assert standing(payment)[0] == "processing"
    else:
        cases.close_as_charged(approval_code="123", **given)
    if state is not None:
        assert standing(payment)[0] == state
        assert Case.objects.get().state == "done"
    assert (Item.objects.get().reserved > 0) == (state in {None, "authorized"})
    assert (Item.objects.get().open == 0) == (state == "posted")
    assert_books_hold()


@pytest.mark.spec("PAY-7", "PAY-8")
def test_two_runs_at_once_never_take_the_same_one(biller: Biller, processor: Processor) -> None:
    for n in range(24):
        authorize(owing(biller, processor, f"{10 + n}.00"))
    processor.control(faults={"slow": {"next": 4, "seconds": 0.3}})
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            with tenancy.acting_for([biller.pk]):
                run(biller, Options.usual(today(), repeat=str(n)), chunk_size=5)
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
    assert Payment.objects.filter(state="posted").count() == 24
    assert Attempt.objects.filter(command="deposit").count() == 24
    assert sorted(processor.charges().values()) == [0] * 24 + [1] * 24
    assert_books_hold()


@pytest.mark.spec("PAY-2", "PAY-7")
def test_a_deposit_is_committed_at_999_before_the_processor_hears_of_it_and_a_dead_chunk_is_not_sent_again(
    biller: Biller, processor: Processor
) -> None:
    payment = authorize(owing(biller, processor))
    made = deposits.plan(biller=biller, options=Options.usual(today()), actor=SYSTEM, now=timezone.now())
    chunk = runs.claim(made)
    assert chunk is not None
    requests = deposits._checkpoint(biller, made, chunk, timezone.now())
    ((request,),) = requests.values()
    attempt = Attempt.objects.get(command="deposit")
    assert (str(attempt.pk), attempt.state, attempt.result) == (request.key, "open", 999)
    assert request.reference == Attempt.objects.get(command="authorize").processor_reference != ""
    # The worker dies here, having sent nothing; its lease runs out.
    Chunk.objects.update(claimed_at=timezone.now() - 2 * runs.LEASE)
    assert [one.number for one in deposits.work(run=made, actor=SYSTEM)] == [1]
    assert sum(processor.charges().values()) == 0
    assert standing(payment) == ("processing", None, False, False)
    # Another worker's leftovers are not another run's work.
    assert counts(run(biller, Options.usual(today(), repeat="again"))) == (0, 0, 0, 0)


@pytest.mark.spec("PAY-7")
def test_a_fee_is_held_and_deposited_with_its_payment(biller: Biller, processor: Processor) -> None:
    payment = authorize(owing(biller, processor), fee=Decimal("2.95"))
    made = run(biller)
    assert standing(payment) == ("posted", 0, True, False)
    assert list(Attempt.objects.values_list("amount", flat=True)) == [Decimal("87.05")] * 2
    assert run_totals(made).sent_total == run_totals(made).passed_total == Decimal("84.10")
    assert [(one["payments"], one["amount"]) for one in processor.book()["totals"]] == [(1, "87.05")]
    assert_books_hold()


@pytest.mark.spec("PAY-7")
def test_one_is_deposited_now_once_or_released(biller: Biller, processor: Processor) -> None:
    one, two = authorize(owing(biller, processor, "10.00"), days_ago=0), authorize(owing(biller, processor, "20.00"))
    assert authorizations.deposit(payment=one, actor=SYSTEM).state == "posted"
    assert authorizations.deposit(payment=one, actor=SYSTEM).state == "posted"
    assert authorizations.release(payment=two, actor=SYSTEM).state == "failed"
    assert standing(two) == ("failed", None, True, False)
    assert authorizations.release(payment=two, actor=SYSTEM).pk == two.pk
    item = Item.objects.get(customer=two.customer)
    assert (item.open, item.reserved) == (Decimal("20.00"), Decimal("0.00"))
    assert counts(run(biller)) == (0, 0, 0, 0)
    with pytest.raises(authorizations.NotHeld):
        authorizations.deposit(payment=two, actor=SYSTEM)
    with pytest.raises(authorizations.NotHeld):
        authorizations.release(payment=one, actor=SYSTEM)
    assert sorted(processor.charges().values()) == [0, 0, 0, 1]
    assert_books_hold()


@pytest.mark.spec("PAY-9", "PAY-10")
def test_a_case_is_closed_by_the_answer_that_comes_after_all_and_what_is_held_is_deposited(
    biller: Biller, processor: Processor
) -> None:
    Route.objects.update(options={**Route.objects.get().options, "dedupe_window": None})
    processor.control(duplicate_detection=False)
    processor.strike("drop_then_late", seconds=3600.0)
    payment = authorize(owing(biller, processor))
    Attempt.objects.update(sent_at=timezone.now() - DAY)
    assert recover(biller).cases == 1
    assert standing(payment)[0] == "processing"
    processor.let_arrive()
    Attempt.objects.update(looked_up_at=None)
    recover(biller)
    case = Case.objects.get()
    assert (case.state, case.closed_by, case.outcome) == ("done", "", "The processor has answered.")
    assert standing(payment)[0] == "authorized"
    run(biller)
    assert standing(payment)[0] == "posted"
    assert_books_hold()


@pytest.mark.spec("PAY-7")
def test_what_cannot_be_authorized_or_deposited_is_refused_and_changes_nothing(
    biller: Biller, processor: Processor
) -> None:
    card = owing(biller, processor)
    Instrument.objects.filter(pk=card.pk).update(kind="bank")
    with pytest.raises(charges.MethodUnusable, match="Only a card"):
        authorize(Instrument.objects.select_related("customer__biller", "route").get(pk=card.pk))
    assert (Payment.objects.count(), Authorization.objects.count()) == (0, 0)
    assert Item.objects.get().reserved == Decimal("0.00")
    Instrument.objects.filter(pk=card.pk).update(kind="card")
    payment = authorize(card)
    with pytest.raises(Conflict):
        authorize(card, authorize_only=False)
    Biller.objects.filter(pk=biller.pk).update(charging_stopped=True)
    with pytest.raises(charges.ChargingStopped):
        authorizations.deposit(payment=payment, actor=SYSTEM)
    biller.refresh_from_db()
    with pytest.raises(runs.RunRefused):
        run(biller)
    Biller.objects.filter(pk=biller.pk).update(charging_stopped=False)
    biller.refresh_from_db()
    Route.objects.update(active=False)
    with pytest.raises(authorizations.RouteSwitchedOff):
        authorizations.deposit(payment=payment, actor=SYSTEM)
    assert counts(run(biller)) == (0, 0, 0, 0)
    assert standing(payment) == ("authorized", 0, False, False)
    assert sum(processor.charges().values()) == 0
