"""Prepaid accounts: money added as the customer's credit, told once when little is left, asked for by turns."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Biller, Customer, Item, Notice, NoticeDelivery
from billing.operations import notice_deliveries
from datapump.models import Balance, Endpoint
from payments.models import Instrument, Payment
from payments.operations import balances, charges, prepayments
from payments.operations.prepayments import ThresholdRefused
from sms.models import Consent, Line, Programme, Text
from sms.operations import announcements, enrolments, inbound
from sms.providers.base import Inbound
from tests.cis import Cis
from tests.datapump.conftest import account_of
from tests.factories import make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.payments.test_balances import ACTOR, biller, card, customer, pay, refresh
from tests.payments.test_carryovers import books_hold
from tests.processor import Processor

__all__ = ["biller", "card", "customer"]
pytestmark = pytest.mark.django_db(transaction=True)

DANA = Actor(Requestor.CSR, "Dana", None, "192.0.2.7")
PHONE, LINE = "+15055550123", "+15055550100"


def left(cis: Cis, customer: Customer, amount: str, days: str = "1") -> None:
    cis.owes(
        account_of(customer),
        items=[{"currentAmount": "0.00"}],
        extensions={"remainingBalance": amount, "remainingDays": days},
    )


def told() -> list[dict[str, Any]]:
    return [one.facts for one in Notice.objects.filter(kind="prepaid_low").order_by("created_at")]


@pytest.mark.spec("MSP-33")
def test_a_balance_under_the_threshold_is_told_once_for_each_crossing(customer: Customer, cis: Cis) -> None:
    for amount, notices in (("20.00", 0), ("19.99", 1), ("4.93", 1), ("20.00", 1), ("12.00", 2)):
        left(cis, customer, amount)
        refresh(customer)
        assert len(told()) == notices, amount
    assert told()[0] == {"balance": "19.99", "days": "1", "threshold": "20.00"}
    # An answer that cannot be read changes nothing.
    cis.control({"action": "garbage", "kind": "html"})
    refresh(customer)
    assert len(told()) == 2
    assert NoticeDelivery.objects.count() == 2
    notice_deliveries.send_due(actor=Actor.system("test"), now=timezone.now() + datetime.timedelta(minutes=1))
    assert mail.outbox[0].subject == f"Your prepaid balance with {customer.biller.name} is low"
    assert "$19.99 is left on your prepaid account." in mail.outbox[0].body
    assert "Days left: 1" in mail.outbox[0].body


@pytest.mark.spec("MSP-33")
def test_the_customers_threshold_goes_before_the_billers(customer: Customer, cis: Cis) -> None:
    assert prepayments.choose_threshold(customer=customer, threshold=Decimal(5), actor=DANA)
    assert not prepayments.choose_threshold(customer=customer, threshold=Decimal("5.00"), actor=DANA)
    assert AuditEntry.objects.get(event="customer.threshold_chosen").facts == {"threshold": "5.00 USD"}
    for wrong in ("-0.01", "1000.01"):
        with pytest.raises(ThresholdRefused):
            prepayments.choose_threshold(customer=customer, threshold=Decimal(wrong), actor=DANA)
    left(cis, customer, "19.00")
    refresh(customer)
    assert told() == []
    prepayments.choose_threshold(customer=customer, threshold=None, actor=DANA)
    refresh(customer)
    assert [one["threshold"] for one in told()] == ["20.00"]
    # Who owes is never told so.
    other = make_customer(customer.biller)
    cis.owes(account_of(other), items=[{"currentAmount": "1.00"}])
    refresh(other)
    assert len(told()) == 1
    Biller.objects.update(prepaid_threshold=None)
    third = make_customer(customer.biller)
    left(cis, third, "0.00")
    refresh(third)
    assert len(told()) == 1


amounts = st.integers(-500, 4_000).map(lambda cents: Decimal(cents) / 100)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), amounts),
        st.tuples(st.just("own"), st.one_of(st.none(), st.integers(0, 4_000).map(lambda cents: Decimal(cents) / 100))),
        st.tuples(st.just("biller"), st.one_of(st.none(), st.just(Decimal("20.00")))),
    ),
    max_size=12,
)


@given(steps=steps)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.spec("MSP-33")
def test_any_history_makes_one_notice_for_each_crossing(steps: list[tuple[str, Decimal | None]]) -> None:
    customer = make_customer(make_biller(), email="pat@example.com")
    start = timezone.now()
    Balance.objects.create(customer=customer, biller=customer.biller, prepaid=True, answered_at=start)
    own: Decimal | None = None
    usual: Decimal | None = Decimal("20.00")
    armed, expected = True, list[str]()
    for n, (what, value) in enumerate(steps, start=1):
        if what == "own":
            own = value
            prepayments.choose_threshold(customer=customer, threshold=value, actor=DANA)
        elif what == "biller":
            usual = value
            Biller.objects.filter(pk=customer.biller_id).update(prepaid_threshold=value)
        else:
            assert value is not None
            with transaction.atomic():
                Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
                now = start + datetime.timedelta(seconds=n)
                Balance.objects.filter(customer=customer).update(due=value, answered_at=now)
                prepayments.tell_low([customer.pk])
            threshold = own if own is not None else usual
            if threshold is not None:
                if value < threshold and armed:
                    expected.append(f"{value:.2f}")
                armed = value >= threshold
    written = Notice.objects.filter(customer=customer).order_by("created_at")
    assert [one.facts["balance"] for one in written] == expected
    assert (Balance.objects.get(customer=customer).low_at is None) == armed


@pytest.mark.spec("MSP-3")
def test_money_added_is_the_customers_credit_and_within_limits(biller: Biller, cis: Cis, processor: Processor) -> None:
    customer = make_customer(biller)
    route = make_route(biller, processor.url)
    card = make_instrument(customer, route, processor.token(route.merchant))
    left(cis, customer, "4.93")
    for amount in ("4.99", "1000.01", "0.00"):
        with pytest.raises(charges.AmountRefused, match=r"Enter an amount from \$5\.00 to \$1,000\.00\."):
            pay(card, amount, key=f"wrong-{amount}")
    assert Payment.objects.count() == 0
    paid = pay(card, "25.00")
    customer.refresh_from_db()
    assert (paid.state, str(customer.balance)) == ("posted", "-25.00")
    assert [(one.kind, str(one.open)) for one in Item.objects.all()] == [("credit", "-25.00")]
    books_hold()
    # Asking again does not adjust it away: what remains there is no debt here.
    left(cis, customer, "29.93")
    refresh(customer)
    assert str(customer.balance) == "-25.00"
    # An account that owes is refused as ever.
    cis.owes(account_of(customer), items=[{"currentAmount": "-25.00"}])
    with pytest.raises(charges.NothingDue):
        pay(card, "25.00", key="owes")


@pytest.mark.spec("MSP-3")
def test_money_added_pays_what_is_open_here_first(customer: Customer, cis: Cis, card: Instrument) -> None:
    left(cis, customer, "4.93")
    pay(card, "100.00")
    customer.refresh_from_db()
    assert str(customer.balance) == "-15.90"
    assert sorted(str(one.open) for one in Item.objects.all()) == ["-15.90", "0.00"]
    books_hold()


@pytest.mark.spec("MSP-33")
def test_an_enrolled_phone_is_texted_once_and_bal_says_what_is_left(customer: Customer, cis: Cis) -> None:
    line = Line.objects.create(biller=customer.biller, number=LINE, driver="simulator", options={}, secret="unused")
    Programme.objects.create(biller=customer.biller, name="City Water", contact="(505) 555-0199")
    enrolments.enrol(
        customer=customer, number=PHONE, consent=Consent("By phone.", "Texts.", "1"), actor=DANA, now=timezone.now()
    )
    enrolments.confirm(biller=customer.biller, number=PHONE, actor=ACTOR, key="yes", now=timezone.now())
    left(cis, customer, "4.93")
    refresh(customer)
    assert [announcements.announce_low(), announcements.announce_low()] == [1, 0]
    [text] = Text.objects.filter(kind="prepaid_low")
    assert text.body.startswith("City Water: $4.93 is left on prepaid ")
    assert (text.phone, "STOP" in text.body) == (PHONE, True)
    refresh(customer)
    assert announcements.announce_low() == 0

    left(cis, customer, "3.10")
    inbound.store(line=line, inbound=Inbound("M1", PHONE, LINE, "BAL"))
    inbound.hear_due()
    answer = Text.objects.filter(direction="out").latest("pk")
    assert (answer.kind, "Prepaid, left:" in answer.body, "$3.10" in answer.body) == ("prepaid_left", True, True)


@pytest.mark.spec("MSP-33")
def test_prepaid_accounts_are_asked_for_once_an_hour_and_no_others(
    biller: Biller, customer: Customer, cis: Cis
) -> None:
    second, owing = make_customer(biller), make_customer(biller)
    make_invoice(owing)
    for one in (customer, second):
        left(cis, one, "50.00")
    cis.owes(account_of(owing), items=[{"currentAmount": "84.10"}])
    balances.refresh(biller=biller, customers=[customer.pk, second.pk, owing.pk])
    now = timezone.now()
    assert balances.refresh_prepaid(now=now, seconds=5) == 0
    late = now - datetime.timedelta(hours=2)
    Balance.objects.exclude(customer=second).update(answered_at=late, asked_at=late)
    left(cis, customer, "9.00")
    assert balances.refresh_prepaid(now=timezone.now(), seconds=5) == 1
    assert [one["balance"] for one in told()] == ["9.00"]
    assert Balance.objects.get(customer=owing).answered_at == late
    # A system that fails is left alone until the next hour.
    Balance.objects.filter(prepaid=True).update(answered_at=late, asked_at=late)
    cis.control({"action": "drop_before"})
    assert balances.refresh_prepaid(now=timezone.now(), seconds=5) == 2
    assert balances.refresh_prepaid(now=timezone.now(), seconds=5) == 0
    Endpoint.objects.update(paused=True)
    assert balances.refresh_prepaid(now=timezone.now() + datetime.timedelta(hours=3), seconds=5) == 0
