"""The main job, end to end: bills come in, a processor on a socket moves money, and the CIS is told over SOAP."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from django.utils import timezone
from pytest_django import Settings

from billing.models import Adjustment, Biller, Customer, InvoiceFile, Item, Notice, NoticeKind, Run, User
from config.demo import data, households, job, people, towns
from config.demo.books import compare
from config.demo.doors import Cis, Door, Processor, Receiver, Simulators, Telephone
from datapump.models import Balance, Configuration, Record
from payments.models import Attempt, AutoPayEnrolment, Channel, Instrument, Payment, ScheduledPayment
from payments.operations import balances, charges
from sms.models import Line
from tests.cis import Cis as RunningCis
from tests.processor import CONTROL_SECRET, SECRET
from tests.processor import Processor as RunningProcessor
from tests.receivers import Receiver as RunningReceiver
from tests.telephone import SECRET as TELEPHONE_SECRET
from tests.telephone import Telephone as RunningTelephone

pytestmark = pytest.mark.django_db(transaction=True)

BILLED = 60
PATIENCE = job.Patience(load=20, collect=20, recover=20, deliver=20, waits=0.02)
TOWNS = (
    towns.smaller(towns.MAPLE_FALLS, customers=BILLED + 12, billed=BILLED, by_hand=10),
    towns.RED_MESA,  # whole, with the odd ones of a town's accounts among them
)


@dataclass
class Demonstration:
    """The demonstration with few people, and what the job said."""

    simulators: Simulators
    key: str
    billers: list[Biller]
    lines: list[str] = field(default_factory=list)

    def run(self, faults: job.Faults | None = None, *, again: bool = False) -> job.Ended:
        return job.run(
            biller=self.billers[0], billers=self.billers, simulators=self.simulators, count=BILLED,
            say=self.lines.append, faults=faults, again=again, patience=PATIENCE,
        )  # fmt: skip


def load(simulators: Simulators, said: list[str] | None = None, chosen: Sequence[towns.Town] = TOWNS) -> str:
    quick = {"batch_limit": 5, "settle_seconds": 0.6, "timeout": 0.5, "batch_timeout": 0.5}
    return data.load(
        simulators=simulators,
        say=(said if said is not None else []).append,
        towns=chosen,
        route_options=quick,
        patience=PATIENCE,
    )


@pytest.fixture
def simulators(
    processor: RunningProcessor,
    cis: RunningCis,
    receiver: RunningReceiver,
    telephone: RunningTelephone,
    settings: Settings,
) -> Simulators:
    settings.PUBLIC_URL = "http://localhost:8000"  # settings take no other host without a dot
    address = cis.url.partition("/services/")[0]
    return Simulators(
        Processor(Door("The simulated processor", processor.url, CONTROL_SECRET), SECRET),
        Cis(Door("The simulated CIS", address, cis.secret), cis.username, cis.password),
        Receiver(Door("The simulated receiver", receiver.base, receiver.secret)),
        Telephone(Door("The simulated telephone network", telephone.url, telephone.control_secret), TELEPHONE_SECRET),
    )


@pytest.fixture
def demonstration(simulators: Simulators) -> Demonstration:
    key = load(simulators)
    return Demonstration(simulators, key, list(Biller.objects.order_by("number")))


def test_bills_come_in_are_collected_and_the_billers_system_hears_of_it_once(
    demonstration: Demonstration, processor: RunningProcessor, cis: RunningCis, receiver: RunningReceiver
) -> None:
    before = Payment.objects.filter(state="posted").count()
    ended = demonstration.run()
    assert ended.sound
    assert ended.comparison.differences == ()
    said = re.fullmatch(
        r"books agree: ours (\d+) payments ([\d,]+\.\d\d) USD, processor \1 \2 USD,"
        r" CIS (\d+) [\d,]+\.\d\d USD, webhooks (\d+) [\d,]+\.\d\d USD",
        str(ended.comparison),
    )
    assert said is not None
    maple, mesa = demonstration.billers
    file = InvoiceFile.objects.filter(biller=maple).latest("pk")
    assert (file.state, file.loaded_count, file.loaded_total) == ("loaded", BILLED, file.stated_total)
    run = Run.objects.get(params__repeat=f"file {file.pk}")
    paid = Payment.objects.filter(run_id=run.pk, state="posted")
    assert run.state == "done"
    assert paid.count() >= BILLED // 5
    assert before > 10
    # The two simulators' own words.
    posted = Payment.objects.filter(state="posted")
    assert processor.book()["charged_twice"] == 0
    assert sum(Decimal(one["amount"]) for one in processor.book()["totals"]) == sum(one.amount for one in posted)
    heard = {row["transaction_id"]: (row["amount"], row["times_received"]) for row in cis.book()["payments"]}
    assert heard == {str(one.pk): (str(one.amount), 1) for one in posted.filter(biller=maple)}
    # The second town is told of each by a webhook of its own.
    events = [one for one in receiver.book()["events"] if one["type"] == "payment.posted"]
    told = {one["data"]["payment_id"]: (one["data"]["amount"], one["times_received"]) for one in events}
    assert told == {str(one.pk): (str(one.amount), 1) for one in posted.filter(biller=mesa)}
    assert (int(said[3]), int(said[4])) == (len(heard), len(told))
    assert len(told) >= 12
    # Whoever has AutoPay and was due today has paid, or was declined.
    today = maple.business_date(run.created_at)
    left = Item.objects.filter(
        invoice__file=file, open__gt=0, collect_on=today, customer__autopay_enrolments__ended_at__isnull=True,
        customer__autopay_enrolments__isnull=False, customer__blocks_card=False, customer__blocks_bank=False,
    )  # fmt: skip
    assert not left.exists()
    assert not Record.objects.exclude(state="delivered").exists()
    # The simulated CIS knows every bill and every payment: asked for balances, it says what our books say.
    customers = list(maple.customers.values_list("pk", flat=True))
    standings = balances.refresh(biller=maple, customers=customers, seconds=20).values()
    assert [one.fresh for one in standings] == [True] * len(customers)
    assert balances.refresh(biller=mesa, customers=[mesa.customers.earliest("pk").pk]) == {}
    assert not Adjustment.objects.exists()
    # One of the cast has scheduled a payment; it went over to the new bill, and the biller's system heard so.
    scheduled = ScheduledPayment.objects.select_related("invoice").get()
    assert (scheduled.state, scheduled.invoice.file_id, scheduled.customer.language) == ("scheduled", file.pk, "es")
    comments = [one["comment"].split() for one in cis.book()["comments"] if one["comment"].startswith("SCHED_PAY")]
    assert [(word, day) for word, day, *_ in comments] == [
        (word, f"{scheduled.pay_on:%m%d%Y}") for word in ("SCHED_PAY", "SCHED_PAY_UPDT")
    ]
    assert comments[1][2:] == [str(scheduled.amount), scheduled.invoice.number]


@pytest.mark.spec("MSP-3", "MSP-33")
def test_money_added_to_the_prepaid_account_makes_what_is_left_grow(demonstration: Demonstration) -> None:
    maple = demonstration.billers[0]
    account = Customer.objects.select_related("biller").get(links__user__email=people.PREPAID.email)

    def left() -> Decimal:
        Balance.objects.update(answered_at=timezone.now() - datetime.timedelta(hours=1))
        (standing,) = balances.refresh(biller=maple, customers=[account.pk]).values()
        assert standing.balance is not None and standing.balance.prepaid
        return standing.balance.due

    # Its last bill is paid and was no money added; little is left, and its payer was told so.
    assert (left(), account.balance) == (households.LEFT, Decimal("0.00"))
    notices = Notice.objects.filter(customer=account, kind=NoticeKind.PREPAID_LOW)
    assert notices.count() == 1
    charges.pay(
        customer=account, amount=Decimal("25.00"), instrument=account.instruments.get(state="active"),
        channel=Channel.WEB, actor=job.ACTOR, request_key="added",
    )  # fmt: skip
    job.deliver(billers=[maple], since=timezone.now(), say=lambda _: None, patience=PATIENCE)
    assert left() == households.LEFT + 25
    # A new bill of others, a second start, and the job leave it alone; the next time that little is left is told again.
    demonstration.run()
    load(demonstration.simulators)
    assert left() == households.LEFT + 25
    [row] = demonstration.simulators.cis.book()["prepaid"]
    demonstration.simulators.cis.set_prepaid(row["account"], left=Decimal("9.00"), a_day=households.A_DAY)
    assert (left(), notices.count()) == (Decimal("9.00"), 2)


def test_a_second_time_nothing_is_charged(demonstration: Demonstration, processor: RunningProcessor) -> None:
    first = demonstration.run()
    charged = processor.charges()
    counts = [model.objects.count() for model in (InvoiceFile, Run, Payment, Attempt, Record)]
    demonstration.lines.clear()
    second = demonstration.run()
    assert str(second.comparison) == str(first.comparison)
    assert second.sound
    assert processor.charges() == charged
    assert [model.objects.count() for model in (InvoiceFile, Run, Payment, Attempt, Record)] == counts
    assert "was loaded before: 60 invoices" in demonstration.lines[0]
    assert "collected them before" in demonstration.lines[1]


def pay_with_a_fee(biller: Biller) -> None:
    item = Item.objects.filter(
        customer__biller=biller, open__gt=5, reserved=0, customer__instruments__state="active",
        customer__blocks_card=False, customer__blocks_bank=False,
    ).first()  # fmt: skip
    assert item is not None
    for number, card in enumerate(Instrument.objects.filter(customer=item.customer_id, state="active")):
        payment = charges.pay(
            customer=item.customer, amount=Decimal("5.00"), fee=Decimal("2.95"), instrument=card, channel=Channel.CSR,
            actor=job.ACTOR, request_key=f"fee {number}",
        )  # fmt: skip
        if payment.state == "posted":
            return
    pytest.fail("No method of the customer can pay.")


@pytest.mark.spec("MSP-6")
def test_one_more_file_of_bills_comes_in_where_it_is_asked_for(demonstration: Demonstration) -> None:
    first = demonstration.run()
    pay_with_a_fee(demonstration.billers[0])
    second = demonstration.run(again=True)
    assert second.sound
    assert second.comparison.differences == ()
    assert second.comparison.ours.payments > first.comparison.ours.payments
    # The processor took the fee, the CIS hears nothing of it.
    ours, processor = second.comparison.ours, second.comparison.processor
    told = second.comparison.cis.amount + second.comparison.webhooks.amount
    assert (processor.amount - ours.amount, told) == (Decimal("2.95"), ours.amount)
    assert re.search(r"USD and 2\.95 USD in fees, processor", str(second.comparison))
    files = InvoiceFile.objects.filter(biller=demonstration.billers[0], state="loaded").order_by("pk")
    assert [file.name[13:] for file in files] == [".bif", ".bif", "-1.bif"]
    demonstration.lines.clear()
    assert str(demonstration.run().comparison) == str(second.comparison)
    assert f"{files[2].name} was loaded before" in demonstration.lines[0]


def test_lost_answers_at_both_sides_are_recovered_and_the_books_agree(
    demonstration: Demonstration, processor: RunningProcessor, cis: RunningCis
) -> None:
    before = processor.control()["struck"]
    ended = demonstration.run(
        job.Faults(
            cis=[
                {"action": "drop_after", "operation": "CommitPaymentTransaction", "next": 2},
                {"action": "drop_before", "operation": "CommitPaymentTransaction", "next": 1},
            ]
        )
    )
    assert ended.sound
    assert ended.comparison.differences == ()
    after = processor.control()
    assert {name: n - before.get(name, 0) for name, n in after["struck"].items()} == {
        "drop_after": 1, "omit": 1, "drop_before": 1, "lose_batch_after": 1
    }  # fmt: skip
    assert after["faults"] == {}
    assert processor.book()["charged_twice"] == 0
    # The CIS was told some payments twice and booked each once.
    assert cis.totals()["repeats"] > 0
    assert cis.switches()["rules"] == []
    said = "\n".join(demonstration.lines)
    assert "payments had no answer" in said
    assert "sent again under their own key, none is left open" in said
    assert "of them not at the first try" in said


def test_books_that_differ_are_told_apart(demonstration: Demonstration, cis: RunningCis) -> None:
    demonstration.run()
    maple = demonstration.billers[0]
    paid = Payment.objects.filter(state="posted", biller=maple).order_by("created_at", "pk")
    cis.reset()
    disagreeing = compare(billers=demonstration.billers, simulators=demonstration.simulators)
    assert not disagreeing.agree
    assert len(disagreeing.differences) == paid.count()
    assert str(disagreeing).startswith(
        f"books DISAGREE: ours {Payment.objects.filter(state='posted').count()} payments "
    )
    assert f"the CIS has not heard of payment {paid[0].pk} (its update is delivered)" in str(disagreeing)
    assert f"; and {paid.count() - 5} more" in str(disagreeing)


def test_the_demonstration_is_made_once(
    demonstration: Demonstration, simulators: Simulators, telephone: RunningTelephone, settings: Settings
) -> None:
    lines = list(Line.objects.order_by("biller__number"))
    assert [(line.biller.slug, line.number, line.driver, line.secret, line.active) for line in lines] == [
        ("maple-falls", "+18025550160", "simulator", TELEPHONE_SECRET, True),
        ("red-mesa", "+15055550160", "simulator", TELEPHONE_SECRET, True),
    ]
    assert [line.options for line in lines] == [{"base_url": telephone.url}] * 2

    def registered() -> dict[str, tuple[str, str]]:
        numbers = [line.number for line in lines]
        return {one["number"]: (one["name"], one["callback"]) for one in telephone.lines() if one["number"] in numbers}

    expected = {line.number: (line.biller.name, f"{settings.PUBLIC_URL}/texts/{line.guid}") for line in lines}
    assert registered() == expected
    owner = User.objects.get(email="owner@demo.example").name
    spanish = User.objects.get(email="clienta@demo.example").name
    phones = {one["number"]: one["name"] for one in telephone.phones() if one["number"].startswith("+1802")}
    prepaid = User.objects.get(email="prepaid@demo.example").name
    assert phones == {
        "+18025550171": owner, "+18025550172": "Jo Partner", "+18025550173": spanish, "+18025550174": prepaid
    }  # fmt: skip
    assert all(Configuration.objects.values_list("pay_by_text_changes", flat=True))
    assert Configuration.objects.count() == 2
    # A second start keeps what people changed, and brings addresses up to date.
    Line.objects.filter(pk=lines[0].pk).update(options={**lines[0].options, "batch_limit": 7, "base_url": "http://old"})
    telephone.set_condition("+18025550172", "blocked")
    settings.PUBLIC_URL = "http://127.0.0.1:8123"
    assert demonstration.key.startswith("rp_")
    counts = [model.objects.count() for model in (Biller, Payment, AutoPayEnrolment, Record, InvoiceFile, Run)]
    said: list[str] = []
    assert load(simulators, said) == ""
    assert said == []
    assert [model.objects.count() for model in (Biller, Payment, AutoPayEnrolment, Record, InvoiceFile, Run)] == counts
    again = list(Line.objects.order_by("biller__number"))
    assert [line.guid for line in again] == [line.guid for line in lines]
    assert again[0].options == {"base_url": telephone.url, "batch_limit": 7}
    assert {callback for _name, callback in registered().values()} == {
        f"http://127.0.0.1:8123/texts/{line.guid}" for line in lines
    }
    assert [one["condition"] for one in telephone.phones() if one["number"] == "+18025550172"] == ["blocked"]
