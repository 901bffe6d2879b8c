"""Reports: daily totals that add up to three books, payments by channel, ageing, and AutoPay ahead."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import reports as billing_reports
from billing.actors import Actor
from billing.models import Biller, Customer, Entry, Item, LedgerAccount
from datapump.models import Record
from payments.gateways.base import Answer
from payments.models import Channel, Instrument, Payment
from payments.operations import charges, collections, settlements
from payments.reports.daily_totals import DayCheck, daily_totals, day_checks
from payments.reports.forecasts import autopay_forecast
from payments.reports.payments import by_day_and_channel
from payments.reports.runs import run_totals
from tests.factories import TODAY, make_autopay, make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db
ACTOR = Actor.payer(None, "Pat Payer")
NINE_PM = datetime.time(21, 0)


def paid(card: Instrument, amount: str, at: datetime.datetime, *, result: int = 0, **fields: Any) -> Payment:
    """Let a payment be made and settled at a moment, past the wire: charge it and answer for the processor."""
    started = charges.start(
        customer=card.customer, amount=Decimal(amount), instrument=card, channel=fields.pop("channel", Channel.WEB),
        actor=ACTOR, request_key=str(uuid.uuid4()), item_ids=None, email="", now=at,
        fee=Decimal(fields.pop("fee", "0.00")),
    )  # fmt: skip
    assert isinstance(started, charges.Started)
    settlements.settle(
        biller=card.customer.biller,
        answers=[Answer(started.request.key, result)],
        actor=ACTOR,
        now=at,
    )
    return Payment.objects.get(pk=started.payment_id)


def card_of(biller: Biller, owed: str = "1000.00", **fields: Any) -> Instrument:
    customer = make_customer(biller)
    make_invoice(customer, owed)
    return make_instrument(
        customer, make_route(biller, name=fields.pop("route", None) or f"Route of {customer.pk}"), **fields
    )


def at(day: int, hour: int, minute: int = 0) -> datetime.datetime:
    """Give a moment of November 2026 in New York."""
    return datetime.datetime(2026, 11, day, hour, minute, tzinfo=make_zone())


def make_zone() -> Any:
    return Biller(time_zone="America/New_York").zone


def totals(biller: Biller, first: int = 1, last: int = 30) -> list[tuple[int, str, str, int, str]]:
    found = daily_totals(biller=biller, start=datetime.date(2026, 11, first), end=datetime.date(2026, 11, last))
    return [(one.day.day, one.route, one.tender, one.count, str(one.amount)) for one in found]


def checks(biller: Biller) -> dict[int, DayCheck]:
    found = day_checks(biller=biller, start=datetime.date(2026, 11, 1), end=datetime.date(2026, 11, 30))
    return {one.day.day: one for one in found}


def test_daily_totals_end_at_the_billers_cut_off_and_are_kept_by_route_and_tender() -> None:
    biller = make_biller(cut_off=NINE_PM)
    card = card_of(biller, route="Cards")
    bank = card_of(biller, route="Bank", kind="bank", brand="First Bank")
    paid(card, "10.00", at(10, 20, 59))
    paid(card, "20.00", at(10, 21))
    paid(card, "5.00", at(11, 9))
    paid(bank, "40.00", at(11, 9))
    paid(card, "7.00", at(11, 10), result=8)
    paid(card_of(make_biller()), "99.00", at(11, 9))
    assert totals(biller) == [
        (11, "Bank", "ach", 1, "40.00"), (11, "Cards", "card", 2, "25.00"), (10, "Cards", "card", 1, "10.00"),
    ]  # fmt: skip
    assert totals(biller, 10, 10) == [(10, "Cards", "card", 1, "10.00")]


def test_midnight_is_the_billers_own_and_not_that_of_greenwich() -> None:
    biller = make_biller()
    card = card_of(biller, route="Cards")
    paid(card, "10.00", at(10, 23, 59))
    paid(card, "20.00", at(11, 0))
    assert [(day, amount) for day, *_, amount in totals(biller)] == [(11, "20.00"), (10, "10.00")]


def test_the_three_books_are_compared_day_by_day() -> None:
    biller = make_biller()
    card = card_of(biller)
    one, two = paid(card, "10.00", at(10, 9)), paid(card, "20.00", at(10, 10))
    paid(card, "5.00", at(12, 9))
    Record.objects.filter(pk=one.pk).update(state="delivered")
    Record.objects.filter(pk=two.pk).update(state="failed")
    found = checks(biller)
    assert found[10] == DayCheck(
        datetime.date(2026, 11, 10),
        *(2, Decimal("30.00"), Decimal("0.00"), 2, Decimal("30.00"), Decimal("0.00"), 1, Decimal("10.00"), 1),
    )
    assert found[10].agrees and not found[10].all_told and found[12].agrees
    Record.objects.update(state="delivered")
    assert all(one.agrees and one.all_told for one in checks(biller).values())


def test_a_payment_that_the_journal_does_not_know_shows() -> None:
    biller = make_biller()
    payment = paid(card_of(biller), "10.00", at(10, 9))
    assert checks(biller)[10].agrees
    Payment.objects.filter(pk=payment.pk).update(amount="11.00")
    assert not checks(biller)[10].agrees
    shown = client_of(make_staff(biller)).get(reverse("biller-reports"), {"start": "2026-11-01", "end": "2026-11-30"})
    assert "do not agree on 1 day" in shown.content.decode()


def test_a_settlement_long_after_the_payment_counts_on_its_own_day() -> None:
    biller = make_biller()
    payment = paid(card_of(biller), "10.00", at(20, 9))
    Payment.objects.filter(pk=payment.pk).update(created_at=at(1, 9) - datetime.timedelta(days=90))
    assert list(checks(biller)) == [20] and checks(biller)[20].agrees


def test_the_page_and_its_file_say_what_the_journal_says() -> None:
    biller = make_biller(cut_off=NINE_PM)
    paid(card_of(biller, route="Cards"), "10.00", at(10, 9))
    client = client_of(make_staff(biller))
    query = {"start": "2026-11-01", "end": "2026-11-30"}
    shown = client.get(reverse("biller-reports"), query).content.decode()
    assert "which ends at 9:00 pm" in shown and "The books agree. Journal and payments: 1, " in shown
    file = client.get(reverse("biller-reports"), {**query, "format": "csv"})
    assert file.content.decode().splitlines() == [
        "\ufeffbusiness_day,route,tender,payments,amount,fees,taken,went_back,currency",
        "2026-11-10,Cards,card,1,10.00,0.00,10.00,0.00,USD",
    ]


@pytest.mark.spec("MSP-6")
def test_fees_stand_apart_from_what_the_billers_system_hears_and_add_up_to_what_was_taken() -> None:
    biller = make_biller()
    card = card_of(biller, route="Cards")
    with_fee = paid(card, "10.00", at(10, 9), fee="2.95")
    paid(card, "20.00", at(10, 10))
    paid(card, "4.00", at(10, 11), fee="1.00", result=8)
    day = datetime.date(2026, 11, 10)
    (total,) = daily_totals(biller=biller, start=day, end=day)
    assert (total.count, total.amount, total.fees, total.taken) == (
        2, Decimal("30.00"), Decimal("2.95"), Decimal("32.95"),
    )  # fmt: skip
    Record.objects.update(state="delivered")
    (check,) = day_checks(biller=biller, start=day, end=day)
    assert check.agrees and check.all_told
    assert (check.journal_taken, check.payments_taken, check.told) == (
        Decimal("32.95"), Decimal("32.95"), Decimal("30.00"),
    )  # fmt: skip
    client = client_of(make_staff(biller))
    query = {"start": "2026-11-10", "end": "2026-11-10"}
    page = client.get(reverse("biller-reports"), query).content.decode()
    for words in ("Amount without fees", "Taken with fees", "$2.95", "$32.95"):
        assert words in page
    file = client.get(reverse("biller-reports"), {**query, "format": "csv"}).content.decode()
    assert file.splitlines()[1:] == ["2026-11-10,Cards,card,2,30.00,2.95,32.95,0.00,USD"]
    # A fee that the journal does not know shows.
    Payment.objects.filter(pk=with_fee.pk).update(fee="2.94")
    assert not checks(biller)[10].agrees


@pytest.mark.parametrize(
    "query",
    [{"start": "2026-11-10", "end": "2026-11-09"}, {"start": "x"}, {"start": "2020-01-01", "end": "2026-01-01"}],
)
@pytest.mark.parametrize("page", ["biller-reports", "biller-report-channels", "biller-report-forecast"])
def test_a_period_that_makes_no_sense_is_refused(page: str, query: dict[str, str]) -> None:
    client = client_of(make_staff(make_biller()))
    refused = client.get(reverse(page), query)
    assert refused.status_code == 422 and "<title>Error:" in refused.content.decode()
    assert client.get(reverse(page), {**query, "format": "csv"}).status_code == 422


def test_one_end_of_a_period_is_enough() -> None:
    client = client_of(make_staff(make_biller()))
    for query in ({"start": "2020-01-01"}, {"end": "2020-01-01"}, {"start": "2099-01-01"}):
        assert client.get(reverse("biller-reports"), query).status_code == 200


def test_payments_are_counted_by_the_billers_day_and_channel() -> None:
    biller = make_biller()
    card = card_of(biller)
    paid(card, "10.00", at(10, 23, 30))
    paid(card, "20.00", at(10, 8), channel=Channel.CSR)
    paid(card, "30.00", at(10, 9), channel=Channel.CSR)
    paid(card, "40.00", at(11, 0, 30), result=8)
    day = datetime.date(2026, 11, 10)
    assert by_day_and_channel(biller=biller, start=day, end=datetime.date(2026, 11, 11)) == {
        (day, Channel.WEB): (1, Decimal("10.00")), (day, Channel.CSR): (2, Decimal("50.00")),
    }  # fmt: skip
    file = client_of(make_staff(biller)).get(
        reverse("biller-report-channels"), {"start": "2026-11-10", "end": "2026-11-10", "format": "csv"}
    )
    assert file.content.decode().splitlines()[1:] == [
        "2026-11-10,Customer portal,1,10.00",
        "2026-11-10,Biller portal,2,50.00",
    ]


@pytest.mark.parametrize(
    ("days", "band"), [(-3, 0), (0, 0), (1, 1), (30, 1), (31, 2), (60, 2), (61, 3), (90, 3), (91, 4), (400, 4)]
)
def test_a_bill_is_as_old_as_it_is_past_due(days: int, band: int) -> None:
    biller = make_biller()
    make_invoice(make_customer(biller), "10.00", due_on=TODAY - datetime.timedelta(days=days))
    bands, credit = billing_reports.ageing(biller=biller, today=TODAY)
    assert [one.total for one in bands] == [Decimal("10.00") if n == band else Decimal("0.00") for n in range(5)]
    assert credit.count == 0


def test_ageing_adds_up_to_the_receivable_in_the_ledger() -> None:
    biller = make_biller()
    card = card_of(biller, "30.00")
    make_invoice(make_customer(biller), "25.00", due_on=TODAY - datetime.timedelta(days=45))
    paid(card, "50.00", at(10, 9), channel=Channel.CSR)
    bands, credit = billing_reports.ageing(biller=biller, today=TODAY)
    net = sum(one.total for one in bands) + credit.total
    ledger = sum(Entry.objects.filter(biller=biller, account=LedgerAccount.RECEIVABLE).values_list("amount", flat=True))
    assert net == ledger == Decimal("5.00") and credit.total == Decimal("-20.00")


def test_the_forecast_is_what_a_run_would_take() -> None:
    biller = make_biller()
    today = biller.business_date(timezone.now())
    route = make_route(biller)

    def enrolled(amount: str = "50.00", *, customer: dict[str, Any] | None = None, **card: Any) -> Customer:
        made = make_customer(biller, **(customer or {}))
        make_invoice(made, amount, due_on=today, collect_on=today)
        make_autopay(made, make_instrument(made, route, **card))
        return made

    enrolled()
    enrolled("30.00", customer={"blocks_bank": True})
    for left_out in (
        {"amount": "1.99"},
        {"customer": {"status": "inactive"}},
        {"customer": {"blocks_card": True}},
        {"expires_on": datetime.date(2020, 1, 31)},
        {"state": "bad"},
    ):
        enrolled(**left_out)
    Item.objects.filter(customer=enrolled()).update(reserved="50.00")
    Item.objects.filter(customer=enrolled()).update(collect_on=today + datetime.timedelta(days=40))
    ended = enrolled()
    ended.autopay_enrolments.update(ended_at=timezone.now())
    trial = collections.plan(
        biller=biller, options=collections.Options.usual(today), actor=ACTOR, now=timezone.now(), dry_run=True
    )
    planned = run_totals(trial)
    found = autopay_forecast(biller=biller, start=today, end=today + datetime.timedelta(days=30))
    assert [(one.day, one.count, one.amount) for one in found] == [(today, planned.expected, planned.expected_total)]
    assert (planned.expected, planned.expected_total) == (2, Decimal("80.00"))
    shown = client_of(make_staff(biller)).get(reverse("biller-report-forecast")).content.decode()
    assert "$80.00 for 2 bills." in shown


def test_reports_of_one_biller_know_nothing_of_another(client: Client) -> None:
    other = make_biller()
    paid(card_of(other), "77.77", at(10, 9))
    make_invoice(make_customer(other), "66.66")
    mine = client_of(make_staff(make_biller()))
    query = {"start": "2026-11-01", "end": "2026-11-30"}
    for page in ("biller-reports", "biller-report-channels", "biller-report-ageing", "biller-report-forecast"):
        shown = mine.get(reverse(page), query).content.decode()
        assert "77.77" not in shown and "66.66" not in shown
