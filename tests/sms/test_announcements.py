"""Bill-ready texts: to whom, when, how often and in which words; and the hours in which nobody is disturbed."""

from __future__ import annotations

import datetime
import zoneinfo
from decimal import Decimal

import pytest
from django.db.models import F
from hypothesis import given
from hypothesis import strategies as st

from billing.actors import Actor, Requestor
from billing.models import Biller, Customer, InvoiceFile, Item
from sms import quiet_hours
from sms.models import Consent, Line, Phone, Programme, Text
from sms.operations import announcements, enrolments, inbound, phones, texts
from sms.providers.base import Inbound
from tests.factories import NOON, make_autopay, make_biller, make_customer, make_instrument, make_invoice, make_route

pytestmark = pytest.mark.django_db(transaction=True)

CSR = Actor(Requestor.CSR, "Clara")
CONSENT = Consent("By phone.", "Texts.", "1")
DENVER, ADAK = zoneinfo.ZoneInfo("America/Denver"), zoneinfo.ZoneInfo("America/Adak")


@pytest.fixture
def biller() -> Biller:
    biller = make_biller(time_zone="America/Denver")
    Line.objects.create(biller=biller, number="+15055550100", driver="simulator", options={}, secret="x")
    Programme.objects.create(biller=biller, name="City Water", most_a_day=2)
    return biller


def enrolled(biller: Biller, number: str = "+15055550123", **method: object) -> Customer:
    customer = make_customer(biller)
    if method:
        make_instrument(customer, make_route(biller), is_default=True)
    enrolments.enrol(customer=customer, number=number, consent=CONSENT, actor=CSR, now=NOON)
    return customer


def load(biller: Biller, *customers: Customer, amount: str = "84.10") -> InvoiceFile:
    file = InvoiceFile.objects.create(
        biller=biller, name=f"{biller.number}.bif", sha256=str(InvoiceFile.objects.count()), size=1, state="loaded",
        source="portal", finished_at=NOON,
    )  # fmt: skip
    for customer in customers:
        make_invoice(customer, amount, file=file)
    return file


def bills() -> list[Text]:
    return list(Text.objects.filter(direction="out", kind__startswith="bill_ready").order_by("pk"))


def test_a_loaded_file_is_told_once_to_enrolled_phones_alone(biller: Biller) -> None:
    payable, other, stranger = enrolled(biller, card=True), enrolled(biller, "+15055550124"), make_customer(biller)
    load(biller, payable, other, stranger)
    assert announcements.announce_due(now=NOON) == 2
    assert announcements.announce_due(now=NOON) == 0
    with_method, without = bills()
    assert (with_method.kind, with_method.customer_id, with_method.due_at) == ("bill_ready", payable.pk, NOON)
    assert "is $84.10, due" in with_method.body
    assert (without.kind, without.customer_id) == ("bill_ready_link", other.pk)
    assert "/t/" in without.body
    assert Phone.objects.get(number="+15055550123").told == {str(payable.pk): "84.10"}


def test_who_has_autopay_is_told_when_it_pays(biller: Biller) -> None:
    customer = enrolled(biller)
    make_autopay(customer, make_instrument(customer, make_route(biller), is_default=True))
    file = load(biller)
    make_invoice(customer, "84.10", file=file, collect_on=datetime.date(2026, 12, 1))
    assert announcements.announce_due(now=NOON) == 1
    (text,) = bills()
    assert text.kind == "bill_ready_autopay"
    assert "AutoPay pays it on Dec 1" in text.body


def test_a_phone_gets_so_many_unasked_texts_a_day_and_no_more(biller: Biller) -> None:
    customer = enrolled(biller, card=True)
    for count in (1, 1, 0):
        load(biller, customer)
        assert announcements.announce_due(now=NOON) == count
    assert len(bills()) == 2
    announcements.send_now(customer=customer, actor=CSR, now=NOON)
    assert len(bills()) == 3


def test_who_owes_nothing_said_stop_or_is_stopped_is_told_nothing(biller: Biller) -> None:
    paid, out = enrolled(biller, card=True), enrolled(biller, "+15055550124", card=True)
    load(biller, paid)
    Item.objects.filter(customer=paid).update(allocated=F("amount"))
    phones.opt_out(biller=biller, number="+15055550124", by="STOP", actor=CSR, now=NOON)
    load(biller, out)
    assert announcements.announce_due(now=NOON) == 0
    with pytest.raises(announcements.NothingToTell):
        announcements.send_now(customer=paid, actor=CSR, now=NOON)
    with pytest.raises(enrolments.NotEnrolled):
        announcements.send_now(customer=out, actor=CSR, now=NOON)
    assert bills() == []


def test_a_bill_at_night_waits_for_the_morning_and_then_goes_out(biller: Biller) -> None:
    customer = enrolled(biller, card=True)
    night = datetime.datetime(2026, 11, 23, 5, 30, tzinfo=datetime.UTC)  # half past ten in Denver
    load(biller, customer)
    InvoiceFile.objects.update(finished_at=night)
    assert announcements.announce_due(now=night) == 1
    (text,) = bills()
    assert text.due_at == datetime.datetime(2026, 11, 23, 8, tzinfo=DENVER)
    assert text.expires_at == text.due_at + datetime.timedelta(hours=24)
    Text.objects.exclude(pk=text.pk).delete()
    assert texts.send_due(actor=CSR, now=night) == texts.Tally()


def test_a_confirmation_of_a_stop_goes_within_five_minutes_or_never(biller: Biller) -> None:
    enrolled(biller)
    Text.objects.all().delete()
    line = Line.objects.get()
    inbound.store(line=line, inbound=Inbound("M1", "+15055550123", line.number, "STOP"))
    assert inbound.hear_due(now=NOON) == 1
    Line.objects.update(driver="nowhere")  # nothing could be sent in any case
    assert texts.send_due(actor=CSR, now=NOON + datetime.timedelta(minutes=6)) == texts.Tally()
    confirmation = Text.objects.get(direction="out")
    assert (confirmation.kind, confirmation.state, confirmation.reason) == ("opt_out_confirmation", "failed", "expired")


@pytest.mark.parametrize(
    ("number", "home", "now", "opens"),
    [
        ("+15055550123", DENVER, "2026-11-22T19:00Z", "2026-11-22T19:00Z"),  # noon in New Mexico
        ("+15055550123", DENVER, "2026-11-23T04:00Z", "2026-11-23T15:00Z"),  # nine in the evening there: closed
        ("+12125550123", DENVER, "2026-11-23T03:00Z", "2026-11-23T15:00Z"),  # eight in Denver, ten in New York
        ("+12125550123", DENVER, "2026-11-22T14:00Z", "2026-11-22T15:00Z"),  # nine in New York, seven in Denver
        ("+18005550123", DENVER, "2026-11-22T15:00Z", "2026-11-22T15:00Z"),  # toll-free says nothing: the home's alone
        ("+15055550123", DENVER, "2026-03-08T13:00Z", "2026-03-08T14:00Z"),  # the day on which clocks go forward
    ],
)
def test_hours_are_kept_by_every_clock_that_may_be_the_payers(
    number: str, home: zoneinfo.ZoneInfo, now: str, opens: str
) -> None:
    moment = quiet_hours.next_open(
        datetime.datetime.fromisoformat(now.replace("Z", "+00:00")), number=number, home=home, opens=8, closes=21
    )
    assert moment == datetime.datetime.fromisoformat(opens.replace("Z", "+00:00"))


@given(
    now=st.datetimes(datetime.datetime(2026, 1, 1), datetime.datetime(2027, 12, 31)),  # noqa: DTZ001 — made aware below
    opens=st.integers(0, 20),
    hours=st.integers(4, 24),
    number=st.sampled_from(["+15055550123", "+12125550123", "+19075550123", "+18505550123", "+17875550123"]),
    home=st.sampled_from([DENVER, ADAK, zoneinfo.ZoneInfo("America/New_York")]),
)
def test_a_moment_that_is_found_is_open_everywhere_or_at_home(
    now: datetime.datetime, opens: int, hours: int, number: str, home: zoneinfo.ZoneInfo
) -> None:
    closes = min(24, opens + hours)
    start = now.replace(tzinfo=datetime.UTC)
    found = quiet_hours.next_open(start, number=number, home=home, opens=opens, closes=closes)
    assert start <= found <= start + datetime.timedelta(days=3)
    assert opens <= found.astimezone(home).hour < closes


def test_a_fee_of_the_programme_is_no_part_of_what_is_told(biller: Biller) -> None:
    Programme.objects.update(fee=Decimal("2.50"))
    load(biller, enrolled(biller, card=True))
    assert announcements.announce_due(now=NOON) == 1
    assert "$84.10" in bills()[0].body
