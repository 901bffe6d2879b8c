"""Texts from phones: heard in order, acted on once, answered once, whatever is repeated and whoever dies between."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal

import pytest

from billing.actors import Actor, Requestor
from billing.models import Biller, Customer
from datapump.models import Configuration, Purpose, Record
from payments.models import Payment
from sms.models import EVERYTHING, Consent, Line, Phone, Programme, SmsMode, Text
from sms.operations import announcements, enrolments, inbound, texts
from sms.operations.modes import State
from sms.providers.base import Inbound
from tests.cis import Cis
from tests.datapump.conftest import account_of, point_at
from tests.factories import NOON, make_biller, make_customer, make_endpoint, make_instrument, make_invoice, make_route
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)

LINE, PHONE, OTHER = "+15055550100", "+15055550123", "+15055550124"
CSR = Actor(Requestor.CSR, "Clara")
PAYER = Actor.payer(None, "Pat Payer")
CONSENT = Consent("By phone.", "Texts.", "1")
MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    with Processor(tmp_path_factory.mktemp("processor")) as running:
        yield running


@pytest.fixture
def biller(processor: Processor) -> Biller:
    processor.reset()
    biller = make_biller()
    make_endpoint(biller)
    Configuration.objects.update_or_create(biller=biller, defaults={"pay_by_text_changes": True})
    Programme.objects.create(biller=biller, name="City Water", contact="(505) 555-0199")
    return biller


@pytest.fixture
def line(biller: Biller) -> Line:
    return Line.objects.create(biller=biller, number=LINE, driver="simulator", options={}, secret="unused")


class World:
    """One biller, its line, and what phones say to it."""

    def __init__(self, biller: Biller, line: Line, processor: Processor) -> None:
        self.biller, self.line, self.processor = biller, line, processor
        self.route = make_route(biller, processor.url)
        self.now, self.count = NOON, 0

    def customer(self, *, number: str = PHONE, amount: str = "84.10", outcome: str = "approve") -> Customer:
        """Make an enrolled customer with a bill and a method."""
        customer = make_customer(self.biller)
        if amount:
            make_invoice(customer, amount)
        if outcome:
            make_instrument(customer, self.route, self.processor.token(self.route.merchant, outcome), is_default=True)
        if number:
            enrolments.enrol(customer=customer, number=number, consent=CONSENT, actor=CSR, now=self.now)
        return customer

    def say(self, body: str, *, phone: str = PHONE, provider_id: str = "") -> list[str]:
        """Say something and give what is answered."""
        self.count += 1
        self.now += MINUTE
        before = set(Text.objects.filter(direction="out").values_list("pk", flat=True))
        inbound.store(line=self.line, inbound=Inbound(provider_id or f"M{self.count}", phone, LINE, body))
        inbound.hear_due(now=self.now)
        assert not Text.objects.filter(state__in=["arrived", "acting"]).exists()
        new = Text.objects.filter(direction="out").exclude(pk__in=before).order_by("pk")
        return [text.body for text in new]


@pytest.fixture
def world(biller: Biller, line: Line, processor: Processor) -> World:
    return World(biller, line, processor)


def tail(customer: Customer) -> str:
    return customer.shown_number[-5:]


def said(kind: str) -> int:
    return Text.objects.filter(direction="out", kind=kind).count()


def test_pay_asks_for_a_balance_that_was_never_told_and_then_pays_it_once(world: World) -> None:
    customer = world.customer()
    assert world.say("PAY") == [
        f"City Water: The balance of acct *{tail(customer)} is $84.10 now. Reply OK to pay it, or NO."
        " No money has been taken yet."
    ]
    assert Payment.objects.count() == 0
    (receipt,) = world.say("ok")
    payment = Payment.objects.get()
    assert (payment.state, payment.amount, payment.channel) == ("posted", Decimal("84.10"), 5)
    assert receipt.endswith(f"Receipt {payment.confirmation}.")
    (again,) = world.say("PAY")
    assert again.endswith("is already paid. You were not charged again.")
    assert world.say("ok thanks") == []
    assert Payment.objects.count() == 1
    assert sorted(world.processor.charges(world.route.merchant).values()) == [1]


def test_a_text_that_the_provider_repeats_is_heard_once(world: World) -> None:
    world.customer()
    world.say("BAL")
    assert len(world.say("PAY", provider_id="SAME")) == 1
    assert world.say("PAY", provider_id="SAME") == []
    assert Payment.objects.count() == 1


def test_a_bill_text_offers_what_pay_then_charges(world: World) -> None:
    customer = world.customer()
    announcements.send_now(customer=customer, actor=CSR, now=world.now)
    assert said("bill_ready") == 1
    (answer,) = world.say("Pay!")
    assert "We took $84.10" in answer


def test_stop_unenrols_every_account_and_start_brings_them_back(world: World) -> None:
    one, two = world.customer(), world.customer()
    told = Record.objects.count()
    assert world.say("stop") == [
        "City Water: You are unsubscribed and get no more texts. Reply START to get them again."
    ]
    assert Record.objects.count() == told + 2
    phone = Phone.objects.get(number=PHONE)
    assert phone.opted_out_of == [EVERYTHING]
    assert {State.of(mode) for mode in SmsMode.objects.all()} == {State(PHONE)}
    assert world.say("stop") == []
    assert world.say("HELP") == []
    with pytest.raises(enrolments.PhoneRefuses):
        enrolments.enrol(customer=one, number=PHONE, consent=CONSENT, actor=CSR, now=world.now)
    assert Record.objects.count() == told + 2
    (back,) = world.say("START")
    assert back.startswith("City Water: You get bills by text now.")
    assert Record.objects.count() == told + 4
    assert SmsMode.objects.filter(registered=True, customer__in=[one, two]).count() == 2


def test_a_payers_number_waits_for_the_phones_yes(world: World) -> None:
    customer = world.customer(number="")
    enrolments.enrol(customer=customer, number="(505) 555-0123", consent=CONSENT, actor=PAYER, now=world.now)
    assert said("registration") == 1
    assert State.of(SmsMode.objects.get()) == State(pending_number=PHONE)
    assert world.say("YES", phone=OTHER)[0].startswith("City Water: Nothing was waiting for this answer.")
    (welcome,) = world.say("Yes")
    assert welcome.startswith("City Water: You get bills by text now.")
    assert State.of(SmsMode.objects.get()) == State(PHONE, registered=True)


def test_a_late_yes_changes_nothing(world: World) -> None:
    customer = world.customer(number="")
    enrolments.enrol(customer=customer, number=PHONE, consent=CONSENT, actor=PAYER, now=world.now)
    world.now += datetime.timedelta(hours=25)
    told = Record.objects.count()
    assert world.say("YES")[0].startswith("City Water: Nothing was waiting")
    assert State.of(SmsMode.objects.get()) == State(pending_number=PHONE)
    assert enrolments.end_run_out(actor=Actor.system("end"), now=world.now) == 1
    assert State.of(SmsMode.objects.get()) == State(PHONE)
    assert Record.objects.count() == told


def test_several_accounts_are_never_guessed_at(world: World) -> None:
    one, two = world.customer(amount="84.10"), world.customer(amount="31.75")
    (which,) = world.say("PAY")
    assert f"PAY 1 for acct *{tail(one)} ($84.10), PAY 2 for acct *{tail(two)} ($31.75)" in which
    (receipt,) = world.say("PAY 2")
    assert "We took $31.75" in receipt
    assert [payment.customer_id for payment in Payment.objects.all()] == [two.pk]
    # A third comes after them, and leaves their numbers as they are.
    three = world.customer(amount="10.00")
    assert "We took $84.10" in world.say("PAY 1")[0]
    # Where the second goes, a three would be a two: the numbers are told anew before they count.
    enrolments.unenrol(customer=two, actor=CSR, now=world.now)
    make_invoice(one, "50.00")
    (anew,) = world.say("PAY 2")
    assert f"PAY 1 for acct *{tail(one)} ($50.00), PAY 2 for acct *{tail(three)} ($10.00)" in anew
    assert Payment.objects.count() == 2
    assert "We took $10.00" in world.say("PAY 2")[0]


def test_a_changed_balance_asks_again(world: World) -> None:
    customer = world.customer()
    announcements.send_now(customer=customer, actor=CSR, now=world.now)
    make_invoice(customer, "15.90")
    (asked,) = world.say("PAY")
    assert "$100.00 now" in asked
    assert Payment.objects.count() == 0


def test_a_part_is_paid_once_however_often_it_is_ordered(world: World) -> None:
    world.customer()
    assert "We took $25.00" in world.say("PAY $25")[0]
    assert "already paid" in world.say("PAY 25.00")[0]
    assert Payment.objects.count() == 1


@pytest.mark.parametrize(
    ("outcome", "wording"),
    [("", "No payment method is saved"), ("hard_decline", "was declined. No money has been taken. Pay: http")],
)
def test_what_cannot_be_charged_says_that_no_money_moved(world: World, outcome: str, wording: str) -> None:
    world.customer(outcome=outcome)
    world.say("BAL")
    (answer,) = world.say("PAY")
    assert wording in answer
    assert not Payment.objects.filter(state="posted").exists()


def test_a_fee_is_asked_for_and_taken_when_confirmed(world: World) -> None:
    world.customer()
    Programme.objects.update(fee=Decimal("2.50"))
    world.say("BAL")
    (asked,) = world.say("PAY")
    assert "A fee of $2.50 applies. Reply CONFIRM to pay $86.60" in asked
    assert world.say("NO") == [
        "City Water: As you asked, no payment was made. No money has been taken. Reply PAY to pay."
    ]
    assert Payment.objects.count() == 0
    world.say("PAY")
    (receipt,) = world.say("confirm")
    assert "We took $86.60" in receipt
    assert "including a fee of $2.50" in receipt
    payment = Payment.objects.get()
    assert (payment.amount, payment.fee, payment.state) == (Decimal("84.10"), Decimal("2.50"), "posted")


def test_a_stopped_programme_charges_nothing_and_still_hears_stop(world: World) -> None:
    world.customer()
    world.say("BAL")
    Programme.objects.update(stopped=True)
    assert "We cannot take payments right now" in world.say("PAY")[0]
    world.say("STOP")
    assert Phone.objects.get(number=PHONE).opted_out_of == [EVERYTHING]
    assert texts.send_due(actor=Actor.system("send"), now=world.now) == texts.Tally()
    assert Payment.objects.count() == 0


def test_nobody_waits_behind_another_phones_text(world: World) -> None:
    world.customer()
    world.customer(number=OTHER)
    Phone.objects.filter(number=PHONE).update(busy_until=world.now + 2 * MINUTE)
    inbound.store(line=world.line, inbound=Inbound("A", PHONE, LINE, "BAL"))
    inbound.store(line=world.line, inbound=Inbound("B", OTHER, LINE, "BAL"))
    assert inbound.hear_due(now=world.now) == 1
    assert inbound.hear_due(now=world.now + 3 * MINUTE) == 1


def test_a_text_that_cannot_be_dealt_with_holds_up_nobody_else(world: World) -> None:
    world.customer()
    world.customer(number=OTHER)
    inbound.store(line=world.line, inbound=Inbound("A", PHONE, LINE, "PAY"))
    Text.objects.filter(direction="in").update(state="acting", action={"do": "SomethingOfANewerVersion"})
    inbound.store(line=world.line, inbound=Inbound("B", OTHER, LINE, "STOP"))
    assert inbound.hear_due(now=world.now) == 2
    assert Phone.objects.get(number=OTHER).opted_out_of == [EVERYTHING]
    stuck = Phone.objects.get(number=PHONE)
    assert stuck.busy_until == world.now + inbound.BUSY_FOR
    assert Text.objects.get(phone=PHONE, direction="in").state == "acting"
    assert inbound.hear_due(now=world.now + MINUTE) == 0
    assert Payment.objects.count() == 0


def test_phones_are_given_back_before_they_fall_free(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "_BEGIN_FOR", -1.0)
    for number in (PHONE, OTHER):
        world.customer(number=number)
        inbound.store(line=world.line, inbound=Inbound(number, number, LINE, "STOP"))
    # The second was taken, given back when the first was done, and taken again.
    assert inbound.hear_due(now=world.now) == 3
    assert [(phone.opted_out_of, phone.busy_until) for phone in Phone.objects.all()] == [([EVERYTHING], None)] * 2


@pytest.mark.spec("MSP-1", "MSP-4")
def test_bal_and_pay_go_by_what_the_billers_system_says(world: World, cis: Cis) -> None:
    customer = world.customer()
    point_at(cis, world.biller, Purpose.BALANCES, reuse_seconds=0, booked_minutes=0, timeout_seconds=1)
    cis.owes(account_of(customer), items=[{"currentAmount": "60.00"}])
    (told,) = world.say("BAL")
    assert "$60.00" in told
    cis.owes(account_of(customer), items=[{"currentAmount": "61.00"}])
    (changed,) = world.say("PAY")
    assert "$61.00 now" in changed
    assert Payment.objects.count() == 0
    cis.owes(account_of(customer), items=[{"currentAmount": "61.00"}], extensions={"preventCreditCard": "Y"})
    world.say("OK")
    assert Payment.objects.count() == 0
    cis.owes(account_of(customer), items=[{"currentAmount": "61.00"}])
    cis.control({"action": "garbage", "kind": "html"})
    # What was known last is told; nothing is charged on it.
    assert "$61.00" in world.say("BAL")[0]
    world.say("PAY")
    assert Payment.objects.count() == 0
    cis.control()
    world.say("PAY")
    assert [str(one.amount) for one in Payment.objects.all()] == ["61.00"]
