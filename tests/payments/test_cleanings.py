"""What stays unresolved: counted, listed, sent again as a batch where that is safe, and resolved by a person otherwise."""

from __future__ import annotations

import datetime
import io
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Biller, Chunk, Item, Run
from payments.gateways.base import ChargeRequest, Command
from payments.models import Attempt, Case, Channel, Checkpoint, Instrument, Payment, Route
from payments.operations import charges, cleanings, collections, deposits, recoveries
from payments.operations.cases import CaseRefused
from payments.reports.runs import run_totals
from payments.reports.unresolved_attempts import unresolved_by_command
from tests.factories import make_autopay, make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.payments.test_carryovers import books_hold
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
DANA = Actor(Requestor.OPERATOR, "Dana Whitfield")
SYSTEM = Actor.system("test")
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_route(biller, processor.url, options={"settle_seconds": 20.0})
    return biller


def owing(biller: Biller, processor: Processor, amount: str = "84.10") -> Instrument:
    """Make a customer with a card, AutoPay and a bill that is collected today."""
    route, today = Route.objects.get(biller=biller), timezone.now().date()
    customer = make_customer(biller)
    card = make_instrument(customer, route, processor.token(route.merchant))
    make_autopay(customer, card)
    make_invoice(customer, amount, due_on=today, collect_on=today)
    return card


def collect(biller: Biller, **options: Any) -> str:
    """Collect what is due today; gives the name of the run's batch, where it has one."""
    chosen = collections.Options.usual(timezone.now().date(), **options)
    run = collections.plan(biller=biller, options=chosen, actor=SYSTEM, now=timezone.now())
    for _chunk in collections.work(run=run, actor=SYSTEM):
        pass
    return "".join(f"{run.pk}/{chunk.number}" for chunk in Chunk.objects.filter(run=run))


def authorize(card: Instrument) -> Payment:
    return charges.pay(
        customer=card.customer, amount=Item.objects.get(customer=card.customer).amount, instrument=card,
        channel=Channel.CSR, actor=SYSTEM, request_key=f"hold-{card.pk}", authorize_only=True,
    )  # fmt: skip


def age(by: datetime.timedelta, **which: Any) -> None:
    """Let attempts be so old, as if nobody had been at work meanwhile."""
    then = timezone.now() - by
    Attempt.objects.filter(**which).update(created_at=then, sent_at=then)


def give_up(attempt: Attempt, evidence: str = "Their report of Nov 22 does not name it.") -> None:
    cleanings.resolve(attempt=attempt, charged=False, evidence=evidence, actor=DANA, now=timezone.now())


def books(biller: Biller) -> list[Any]:
    return [
        list(model.objects.filter(biller=biller).order_by("pk").values())
        for model in (Attempt, Payment, Case, Checkpoint, AuditEntry)
    ] + [list(Item.objects.order_by("pk").values_list("open", "reserved"))]


def clean(*words: str) -> str:
    out = io.StringIO()
    call_command("clean", *words, stdout=out)
    return out.getvalue()


@pytest.mark.spec("PAY-9", "PAY-11")
def test_summary_counts_by_kind_age_and_whether_it_was_answered(biller: Biller, processor: Processor) -> None:
    owing(biller, processor, "10.00")
    owing(biller, processor, "20.00")
    processor.strike("lose_batch_after")
    collect(biller)
    held = owing(biller, processor, "5.00")
    processor.strike("drop_after")
    authorize(held)
    assert [one.count for one in unresolved_by_command(biller=biller, now=timezone.now())] == [0] * 6
    age(2 * HOUR, command="charge")
    age(HOUR / 2, command="authorize")
    answered = Attempt.objects.get(command="charge", amount=Decimal("20.00"))
    Attempt.objects.filter(pk=answered.pk).update(state="answered", result=1000)

    found = {one.command: one for one in unresolved_by_command(biller=biller, now=timezone.now())}
    charge, authorization = found[Command.CHARGE], found[Command.AUTHORIZE]
    assert (charge.open, charge.open_total, charge.answered, charge.answered_total, charge.ages) == (
        1, Decimal("10.00"), 1, Decimal("20.00"), (0, 2, 0, 0),
    )  # fmt: skip
    assert (authorization.open, authorization.answered, authorization.ages) == (1, 0, (1, 0, 0, 0))
    assert [found[kind].count for kind in (Command.VERIFY, Command.DEPOSIT, Command.REFUND)] == [0, 0, 0]
    first = unresolved_by_command(biller=biller, now=timezone.now(), limit=1)
    assert sum(one.count for one in first) == 1

    printed = clean("--biller", biller.slug, "--summary").splitlines()
    assert [line.split()[:4] for line in printed[2:]] == [
        ["Verifications", "0", "0", "0.00"],
        ["Authorizations", "1", "0", "5.00"],
        ["Charges", "1", "1", "30.00"],
        ["Deposits", "0", "0", "0.00"],
        ["Releases", "0", "0", "0.00"],
        ["Refunds", "0", "0", "0.00"],
    ]
    listed = clean("--biller", biller.slug, "--list", "charge", "--limit", "1")
    assert str(answered.pk) in listed or str(Attempt.objects.get(amount=Decimal("10.00")).pk) in listed
    assert "batch" in listed and "  1" not in listed.splitlines()[1]


@pytest.mark.spec("PAY-10")
def test_what_another_system_charges_with_the_same_merchant_account_keeps_no_file_from_being_read(
    biller: Biller, processor: Processor
) -> None:
    owing(biller, processor)
    processor.strike("drop_after")
    collect(biller)
    route = Route.objects.get()
    list(
        processor.gateway(route.merchant).send(
            [
                ChargeRequest(
                    "order 4711", Command.CHARGE, Decimal("31.00"), "USD", processor.token(route.merchant), "card",
                    "internet",
                )
            ]
        )
    )  # fmt: skip
    processor.close_response_file(route.merchant)
    read = recoveries.read_response_files(biller=biller, actor=DANA)
    assert (read.settled.posted, read.settled.posted_total, read.waiting) == (1, Decimal("84.10"), 0)
    assert Payment.objects.get().state == "posted"
    assert not Case.objects.exists()


@pytest.mark.spec("PAY-9")
def test_an_authorization_is_given_up_for_a_reason_and_can_be_repeated(biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    processor.strike("drop_after")
    payment = authorize(card)
    attempt = Attempt.objects.get()
    # A late request could still come: not even this is given up at once.
    with pytest.raises(CaseRefused, match="may still be asked"):
        give_up(attempt)
    age(HOUR)
    before = books(biller)
    with pytest.raises(CaseRefused):
        give_up(Attempt.objects.get(), " ")
    with pytest.raises(CaseRefused, match="takes no money"):
        cleanings.resolve(
            attempt=Attempt.objects.get(), charged=True, evidence="It was.", actor=DANA, now=timezone.now()
        )
    assert books(biller) == before

    printed = clean(
        "--biller", biller.slug, "--give-up", "authorize", "--because", "Line was down", "--by", "Dana Whitfield"
    )
    assert card.customer.shown_number in printed and "84.10 USD" in printed and "1 given up, 0 left" in printed
    attempt.refresh_from_db()
    payment.refresh_from_db()
    # Nothing is deleted: the attempt keeps its mark, the payment what somebody needs to repeat it.
    assert (attempt.state, attempt.result, attempt.message) == ("abandoned", 999, "Dana Whitfield: Line was down")
    assert (payment.state, payment.amount, payment.instrument_id) == ("failed", Decimal("84.10"), card.pk)
    case = Case.objects.get()
    assert (case.state, case.closed_by, case.outcome) == ("done", "Dana Whitfield", "Not charged. Line was down")
    assert AuditEntry.objects.get(event="payment.failed").actor == "Dana Whitfield"
    assert Item.objects.get().reserved == 0
    assert charges.pay(
        customer=card.customer, amount=payment.amount, instrument=card, channel=Channel.CSR, actor=DANA, request_key="2"
    ).state == "posted"  # fmt: skip
    books_hold()


@pytest.mark.spec("PAY-9")
@pytest.mark.parametrize("command", ["charge", "deposit"])
def test_what_takes_money_needs_evidence_and_the_end_of_the_duplicate_window(
    biller: Biller, processor: Processor, command: str
) -> None:
    card = owing(biller, processor)
    if command == "deposit":
        authorize(card)
    processor.strike("drop_before")
    if command == "charge":
        collect(biller)
    else:
        options = deposits.Options(start=timezone.now().date(), end=timezone.now().date())
        run = deposits.plan(biller=biller, options=options, actor=SYSTEM, now=timezone.now())
        assert [chunk.number for chunk in deposits.work(run=run, actor=SYSTEM)] == [1]
    attempt = Attempt.objects.get(command=command)
    age(datetime.timedelta(days=7) - HOUR, pk=attempt.pk)
    before = books(biller)
    with pytest.raises(CaseRefused, match="recognises a repeat of this charge until"):
        give_up(Attempt.objects.get(pk=attempt.pk))
    done = cleanings.give_up_all(biller=biller, command=command, evidence="All of them", actor=DANA, now=timezone.now())
    assert (len(done.given_up), len(done.refused)) == (0, 1)
    assert books(biller) == before

    age(datetime.timedelta(days=7), pk=attempt.pk)
    give_up(Attempt.objects.get(pk=attempt.pk))
    assert Payment.objects.get().state == ("failed" if command == "charge" else "authorized")
    assert (Item.objects.get().reserved > 0) == (command == "deposit")
    # It has a result now, which is nobody's decline.
    totals = run_totals(Run.objects.get())
    assert (totals.sent, totals.unreached, totals.unreached_total) == (1, 1, Payment.objects.get().amount)
    assert (totals.declined, totals.unknown, totals.unknown_total) == (0, 0, Decimal("0.00"))
    assert Case.objects.get().closed_by == "Dana Whitfield"
    books_hold()


@pytest.mark.spec("PAY-9")
def test_a_charge_is_recorded_on_evidence_at_any_time(biller: Biller, processor: Processor) -> None:
    owing(biller, processor)
    processor.strike("drop_after")
    collect(biller)
    attempt = Attempt.objects.get()
    words = ("--biller", biller.slug, "--attempt", str(attempt.pk), "--because", "Their page", "--by", "Dana Whitfield")
    with pytest.raises(CommandError, match="either --charged or --not-charged"):
        clean(*words)
    clean(*words, "--charged", "--approval-code", "A1")
    payment = Payment.objects.get()
    assert (payment.state, payment.approval_code) == ("posted", "A1")
    case = Case.objects.get()
    assert (case.state, case.closed_by, case.outcome) == ("done", "Dana Whitfield", "Charged. Their page")
    with pytest.raises(CommandError, match="answered meanwhile"):
        clean(*words, "--not-charged")
    books_hold()


@pytest.mark.spec("PAY-10")
def test_a_batch_is_sent_again_under_its_own_ids_and_charges_nobody_twice(biller: Biller, processor: Processor) -> None:
    for amount in ("10.00", "20.00", "30.00"):
        owing(biller, processor, amount)
    processor.strike("half_batch")
    batch = collect(biller)
    charged = sum(processor.charges().values())
    assert 0 < charged < 3 and Attempt.objects.filter(state="open").count() == 3
    keys = set(Attempt.objects.values_list("pk", flat=True))
    out = io.StringIO()
    call_command("recover", "--biller", biller.slug, "--resubmit", batch, stdout=out)
    assert "3 sent again, 3 payments of 60.00 recorded, 0 failed, 0 without an answer" in out.getvalue()
    assert set(Attempt.objects.values_list("pk", flat=True)) == keys
    assert processor.charges() == {str(pk): 1 for pk in keys}
    assert processor.book()["charged_twice"] == 0
    books_hold()


@pytest.mark.spec("PAY-10")
@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("no window", "does not recognise repeats"),
        ("over", "recognised repeats of this batch until"),
        ("stopped", "Charging is stopped"),
        ("worker", "A worker is at this batch"),
        ("none", "There is no batch"),
        ("empty", "Nothing of this batch is unresolved"),
    ],
)
def test_a_batch_that_could_be_charged_twice_is_never_sent_again(
    biller: Biller, processor: Processor, why: str, words: str
) -> None:
    owing(biller, processor)
    if why != "empty":
        processor.strike("drop_after")
    batch = collect(biller)
    if why == "no window":
        processor.control(duplicate_detection=False)
        Route.objects.update(options={**Route.objects.get().options, "dedupe_window": None})
    elif why == "over":
        # The margin of the settle time before the very end counts as over.
        age(datetime.timedelta(days=7) - datetime.timedelta(seconds=15))
    elif why == "stopped":
        Biller.objects.update(charging_stopped=True)
    elif why == "worker":
        Chunk.objects.update(state="working", claimed_at=timezone.now())
    before, charged = books(biller), processor.book()["rows"]
    with pytest.raises(CommandError, match=words):
        call_command("recover", "--biller", biller.slug, "--resubmit", "1/999" if why == "none" else batch)
    assert books(biller) == before
    assert processor.book()["rows"] == charged


@pytest.mark.spec("PAY-10")
def test_absence_never_permits_a_new_attempt_where_repeats_are_not_recognised(
    biller: Biller, processor: Processor
) -> None:
    """Looked up, absent, looked up again: the request may still come, so the bill is not charged by anybody."""
    Route.objects.update(options={**Route.objects.get().options, "dedupe_window": None})
    processor.control(duplicate_detection=False)
    owing(biller, processor)
    processor.strike("drop_before")
    collect(biller)
    age(30 * 24 * HOUR)
    none = datetime.timedelta(0)
    for n in range(3):
        found = recoveries.recover(biller=biller, actor=SYSTEM, least_age=none, pause=none)
        assert (found.resent, found.waiting) == (0, 1)
        Attempt.objects.update(looked_up_at=None)
        collect(biller, repeat=str(n))
        collect(biller, rebill=True, repeat=str(n))
    assert (Attempt.objects.count(), processor.charges()) == (1, {})
    assert Case.objects.get().state == "open"
    books_hold()


def test_nothing_is_sent_again_while_charging_is_stopped(biller: Biller, processor: Processor) -> None:
    owing(biller, processor)
    processor.strike("drop_before")
    collect(biller)
    age(HOUR)
    Biller.objects.update(charging_stopped=True)
    none = datetime.timedelta(0)
    assert recoveries.recover(biller=biller, actor=SYSTEM, least_age=none, pause=none).resent == 0
    assert processor.charges() == {}
    Biller.objects.update(charging_stopped=False)
    assert recoveries.recover(biller=biller, actor=SYSTEM, least_age=none, pause=none).resent == 1
    assert list(processor.charges().values()) == [1]
