"""Giving up money that was authorized: what the processor is told, what a release run takes, and what ends by time."""

from __future__ import annotations

import datetime
import io
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from billing.actors import Actor
from billing.models import AuditEntry, Biller, Item, Notice, Run
from payments import tasks
from payments.books import findings
from payments.models import Attempt, Authorization, Channel, Checkpoint, Instrument, Payment, Route
from payments.operations import authorizations, cases, charges, deposits, expirations, recoveries, releases
from payments.operations.releases import Options
from payments.reports.runs import run_failures, run_totals
from tests.factories import make_autopay, make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")
DAY = datetime.timedelta(days=1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_route(biller, processor.url, options={"settle_seconds": 20.0})
    return biller


def authorize(biller: Biller, processor: Processor, amount: str = "84.10", *, days_ago: int = 40) -> Payment:
    """Make a customer with a card and a bill, and have the bank hold its money since so many days."""
    route = Route.objects.filter(biller=biller).order_by("pk")[0]
    customer = make_customer(biller, email="lucia@example.com")
    card = make_instrument(customer, route, processor.token(route.merchant))
    make_invoice(customer, amount)
    return charges.pay(
        customer=customer,
        amount=Decimal(amount),
        instrument=card,
        channel=Channel.API,
        actor=SYSTEM,
        request_key=f"key-{card.pk}",
        authorize_only=True,
        now=timezone.now() - days_ago * DAY,
    )


def run(biller: Biller, options: Options | None = None, **others: Any) -> Run:
    now = timezone.now()
    made = releases.plan(biller=biller, options=options or Options.usual(biller, now), actor=SYSTEM, now=now, **others)
    for _chunk in releases.work(run=made, actor=SYSTEM):
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


def standing(payment: Payment) -> tuple[str, str, bool, bool, Decimal]:
    """Give a payment's state and why, whether its authorization has ended and late, and what its bill still reserves."""
    payment.refresh_from_db()
    held = Authorization.objects.get(payment=payment)
    item = Item.objects.get(customer=payment.customer_id)
    return payment.state, payment.failure, held.ended_at is not None, held.expired, item.reserved


RELEASED = ("failed", "The biller decided not to take this payment.", True, False, Decimal("0.00"))
LAPSED = ("failed", "The biller did not take this payment in time.", True, False, Decimal("0.00"))
HELD = ("authorized", "", False, False, Decimal("84.10"))


def heard(processor: Processor, command: str) -> list[str]:
    return [one["code"] for one in processor.book()["rows"] if one["command"] == command]


@pytest.mark.spec("PAY-2", "PAY-7")
def test_releasing_one_tells_the_processor_and_the_payer_and_frees_the_bill(
    biller: Biller, processor: Processor
) -> None:
    payment = authorize(biller, processor, days_ago=1)
    assert authorizations.release(payment=payment, actor=SYSTEM).state == "failed"
    assert standing(payment) == RELEASED
    assert heard(processor, "release") == ["100"]
    attempt = Attempt.objects.get(command="release")
    assert (attempt.sequence, attempt.state, attempt.result, attempt.voided) == (2, "applied", 0, True)
    assert attempt.amount == Decimal("84.10")
    assert [(one.kind, one.facts["reason"]) for one in Notice.objects.all()] == [("payment_failed", RELEASED[1])]
    assert list(
        AuditEntry.objects.filter(event__startswith="payment.releas").values_list("event", flat=True).order_by("pk")
    ) == [
        "payment.releasing",
        "payment.released",
    ]
    assert Checkpoint.objects.count() == 0
    assert_books_hold()
    # Once is enough, and what is released is not deposited.
    assert authorizations.release(payment=payment, actor=SYSTEM).state == "failed"
    with pytest.raises(authorizations.NotHeld):
        authorizations.deposit(payment=payment, actor=SYSTEM)
    assert heard(processor, "release") == ["100"]
    assert sum(processor.charges().values()) == 0


@pytest.mark.spec("PAY-2", "PAY-3", "PAY-10")
@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
def test_a_release_without_an_answer_is_looked_up_and_sent_again_under_its_key(
    biller: Biller, processor: Processor, fault: str
) -> None:
    payment = authorize(biller, processor, days_ago=1)
    processor.strike(fault)
    assert authorizations.release(payment=payment, actor=SYSTEM).state == "processing"
    lost = Attempt.objects.get(command="release")
    assert (lost.result, standing(payment)[2:]) == (999, (False, False, Decimal("84.10")))
    with pytest.raises(authorizations.NotHeld):
        authorizations.deposit(payment=payment, actor=SYSTEM)
    assert authorizations.release(payment=payment, actor=SYSTEM).state == "processing"
    assert_books_hold()
    Attempt.objects.filter(pk=lost.pk).update(sent_at=timezone.now() - DAY)
    assert recover(biller).resent == (fault == "drop_before")
    assert standing(payment) == RELEASED
    assert heard(processor, "release") == ["100"]
    assert (Attempt.objects.count(), sum(processor.charges().values())) == (2, 0)
    assert_books_hold()


@pytest.mark.spec("PAY-9")
def test_a_release_is_given_up_for_a_reason_alone_and_leaves_the_money_held(
    biller: Biller, processor: Processor
) -> None:
    payment = authorize(biller, processor, days_ago=1)
    processor.strike("drop_before")
    authorizations.release(payment=payment, actor=SYSTEM)
    attempt = Attempt.objects.select_related("payment", "route").get(command="release")
    given: dict[str, Any] = {"attempt": attempt, "evidence": "Their call.", "actor": SYSTEM}
    with pytest.raises(cases.CaseRefused, match="takes no money"):
        cases.settle_as_charged(approval_code="1", now=timezone.now(), **given)
    cases.give_up(now=timezone.now() + datetime.timedelta(minutes=10), **given)
    assert standing(payment)[0::2] == ("authorized", False, Decimal("84.10"))
    assert authorizations.deposit(payment=payment, actor=SYSTEM).state == "posted"
    assert_books_hold()


@pytest.mark.spec("PAY-7")
def test_what_the_processor_will_not_release_is_given_up_and_what_cannot_be_reached_stays_held(
    biller: Biller, processor: Processor
) -> None:
    refused, unreached = authorize(biller, processor, "10.00", days_ago=1), authorize(biller, processor, days_ago=1)
    # As after a release at the processor's own page.
    Attempt.objects.filter(payment=refused).update(processor_reference="ref_1ffffffffff")
    assert authorizations.release(payment=refused, actor=SYSTEM).state == "failed"
    assert standing(refused) == RELEASED
    assert Attempt.objects.get(payment=refused, command="release").result == 11
    Route.objects.update(options={**Route.objects.get().options, "base_url": "http://127.0.0.1:9"})
    words = authorizations.release(payment=unreached, actor=SYSTEM).failure
    assert words == "The payment processor could not be reached."
    assert standing(unreached) == ("authorized", words, False, False, Decimal("84.10"))
    Biller.objects.update(charging_stopped=True)
    with pytest.raises(charges.ChargingStopped):
        authorizations.release(payment=unreached, actor=SYSTEM)
    Biller.objects.update(charging_stopped=False)
    # A route that is switched off is not asked.
    Route.objects.update(active=False)
    attempts = Attempt.objects.count()
    assert authorizations.release(payment=unreached, actor=SYSTEM).state == "failed"
    assert standing(unreached) == RELEASED
    assert Attempt.objects.count() == attempts
    assert_books_hold()


@pytest.mark.spec("PAY-7", "PAY-8")
def test_a_run_releases_what_is_older_than_the_billers_days_and_options_narrow_or_widen(
    biller: Biller, processor: Processor
) -> None:
    other = make_route(biller, processor.url)
    held = {days: authorize(biller, processor, f"{10 + days}.00", days_ago=days) for days in (1, 8, 30, 31, 40, 50)}
    strange = held[50]
    assert strange.instrument_id is not None
    Payment.objects.filter(pk=strange.pk).update(route=other)
    Attempt.objects.filter(payment=strange).update(route=other)
    Instrument.objects.filter(customer=strange.customer_id).update(route=other, token=processor.token(other.merchant))

    def released() -> set[int]:
        return {days for days, payment in held.items() if standing(payment)[0] == "failed"}

    dry = run(biller, dry_run=True)
    assert (dry.state, counts(dry)) == ("done", (3, 0, 0, 0))
    assert dry.chunks.get().expected_total == Decimal("41.00") + Decimal("50.00") + Decimal("60.00")
    now = timezone.now()
    made = run(biller, Options.usual(biller, now, limit=1))
    assert (made.state, counts(made), released()) == ("done", (1, 1, 1, 0), {31})
    assert standing(held[31]) == LAPSED
    run(biller, Options.usual(biller, now, route_id=other.pk))
    assert released() == {31, 50}
    # What the usual deposit run still takes is left to it, unless somebody says that its time is over.
    run(biller)
    assert released() == {31, 40, 50}
    out = io.StringIO()
    call_command("release", biller=biller.slug, expired=True, report=True, stdout=out)
    assert released() == {8, 30, 31, 40, 50}
    assert "2 payments authorized until" in out.getvalue()
    assert "released 2 (58.00)" in out.getvalue()
    # The one that never was at that route is refused there, and is given up.
    assert sorted(heard(processor, "release")) == ["100", "100", "100", "100", "402"]
    assert [one.facts["reason"] for one in Notice.objects.all()] == [LAPSED[1]] * 5
    Biller.objects.update(release_days=0)
    tasks.release_due()
    assert released() == {8, 30, 31, 40, 50}
    today = timezone.now().date()
    deposits_run = deposits.plan(biller=biller, options=deposits.Options.usual(today), actor=SYSTEM, now=timezone.now())
    assert [chunk.passed_count for chunk in deposits.work(run=deposits_run, actor=SYSTEM)] == [1]
    assert standing(held[1])[0] == "posted"
    assert_books_hold()


@pytest.mark.spec("PAY-7")
def test_a_run_that_cannot_reach_the_processor_leaves_the_money_held_and_says_so(
    biller: Biller, processor: Processor
) -> None:
    payment = authorize(biller, processor)
    good = Route.objects.get().options
    Route.objects.update(options={**good, "base_url": "http://127.0.0.1:9"})
    failed = run(biller)
    assert (failed.state, counts(failed)) == ("failed", (1, 1, 0, 0))
    totals = run_totals(failed)
    assert (totals.unreached, totals.unreached_total, totals.unknown) == (1, Decimal("84.10"), 0)
    assert standing(payment) == ("authorized", "The payment processor could not be reached.", *HELD[2:])
    assert [(one.words, one.count) for one in run_failures(failed)] == [
        ("The payment processor could not be reached.", 1)
    ]
    Route.objects.update(options=good)
    made = run(biller, Options.usual(biller, timezone.now(), repeat="later"))
    assert (counts(made), run_failures(made)) == ((1, 1, 1, 0), [])
    assert standing(payment) == LAPSED
    assert_books_hold()


@pytest.mark.spec("PAY-7")
def test_beat_plans_the_run_where_something_is_late_and_a_switched_off_route_is_given_up_without_it(
    biller: Biller, processor: Processor
) -> None:
    late, fresh = authorize(biller, processor), authorize(biller, processor, "9.00", days_ago=2)
    Route.objects.update(active=False)
    tasks.release_due()
    assert Run.objects.count() == 0
    Biller.objects.update(release_days=0)
    tasks.expire()
    assert standing(late) == HELD
    Biller.objects.update(release_days=30)
    tasks.expire()
    assert (standing(late), standing(fresh)[0]) == (LAPSED, "authorized")
    assert heard(processor, "release") == []
    Route.objects.update(active=True)
    tasks.release_due()
    assert Run.objects.count() == 0
    Biller.objects.update(release_days=1)
    tasks.release_due()
    assert (Run.objects.get().kind, Run.objects.get().asked_by) == ("release", "beat")
    assert_books_hold()


@pytest.mark.spec("PAY-6")
def test_payers_are_told_once_that_the_card_which_pays_by_itself_has_expired(
    biller: Biller, processor: Processor
) -> None:
    route = Route.objects.get()
    today = timezone.now().date()

    def card(expires_on: datetime.date | None, *, autopay: bool = True) -> Instrument:
        customer = make_customer(biller, email="lucia@example.com")
        one = make_instrument(customer, route, processor.token(route.merchant))
        if autopay:
            make_autopay(customer, one)
        Instrument.objects.filter(pk=one.pk).update(expires_on=expires_on)
        return one

    over = card(today - DAY)
    card(today)
    card(today - 32 * DAY)
    card(None)
    card(today - DAY, autopay=False)
    removed = card(today - DAY)
    Instrument.objects.filter(pk=removed.pk).update(state="removed")
    assert expirations.expire(biller=biller, actor=SYSTEM, now=timezone.now()) == expirations.Expired(1, 0)
    notice = Notice.objects.get()
    assert (notice.kind, notice.customer_id, notice.facts) == (
        "method_expired",
        over.customer_id,
        {"method": {"kind": "card", "brand": "visa", "last4": over.last4}},
    )
    out = io.StringIO()
    call_command("expire", stdout=out)
    assert out.getvalue() == f"{biller}: told of 0 expired cards, gave up 0 authorizations\n"
    # The one that takes its place is told of when its own time is over.
    Instrument.objects.filter(pk=over.pk).update(expires_on=today)
    later = expirations.expire(biller=biller, actor=SYSTEM, now=timezone.now() + DAY)
    assert (later.cards, Notice.objects.count()) == (2, 3)
