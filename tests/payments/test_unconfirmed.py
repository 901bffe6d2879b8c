"""Payments that are posted before their bank has confirmed them: how long they wait, and what ends it."""

from __future__ import annotations

import datetime
import io
import itertools
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from billing import banking_days
from billing.actors import Actor
from billing.models import AuditEntry, Biller, Customer, Entry, Item, Notice, Role
from billing.operations import notice_deliveries
from datapump.models import Record
from payments import tasks
from payments.books import findings
from payments.gateways.base import Answer
from payments.models import Attempt, Channel, Fee, Instrument, Payment, Reversal, Route, UnconfirmedPayment
from payments.operations import charges, collections, confirmations, fee_rules, refunds, returns, settlements
from payments.operations.confirmations import ConfirmationRefused
from tests.api.machines import Machine
from tests.factories import (
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_link,
    make_route,
    make_user,
)
from tests.payments.test_collections import collect, due_bill
from tests.processor import Processor
from tests.staff import client_of, make_staff

DANA = Actor.system("Dana")
DAY = datetime.timedelta(days=1)
_keys = itertools.count(1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    processor.reset()
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url, options={"settle_seconds": 20.0}, confirmation_days=2)
    return biller


def pay(biller: Biller, processor: Processor, *, kind: str = "bank") -> Payment:
    """Make a customer who pays a bill of 84.10 now."""
    route = Route.objects.get(biller=biller)
    customer = make_customer(biller, email="lucia@example.com")
    method = make_instrument(customer, route, processor.token(route.merchant, kind=kind), kind=kind)
    make_invoice(customer, "84.10")
    return charges.pay(
        customer=customer,
        amount=Decimal("84.10"),
        instrument=method,
        channel=Channel.WEB,
        actor=DANA,
        request_key=f"key-{next(_keys)}",
    )


def standing(payment: Payment) -> tuple[str, str, int, str]:
    """Give the state of a payment and of its confirmation, its pay type, and what its bill still has open."""
    payment.refresh_from_db()
    state = UnconfirmedPayment.objects.filter(payment=payment).values_list("state", flat=True).first()
    return payment.state, state or "", payment.pay_type_id, str(Item.objects.get(customer=payment.customer_id).open)


def confirm_after(biller: Biller, days: int) -> int:
    """Read returns, then confirm, so many days from now."""
    now = timezone.now() + days * DAY
    returns.read(biller=biller, actor=DANA, now=now)
    return confirmations.confirm_due(biller=biller, actor=DANA, now=now)


def assert_books_hold() -> None:
    with transaction.atomic():
        assert [(f.check.number, f.check.says, f.examples) for f in findings() if f.wrong] == []


WAITING = ("posted", "waiting", 10005, "0.00")
FAILED = ("reversed", "failed", 10017, "84.10")


# ---- Banking days


@pytest.mark.spec("PAY-34")
def test_weekends_and_the_holidays_of_banks_do_not_count() -> None:
    day = datetime.date.fromisoformat
    assert sorted(banking_days.holidays(2026)) == [
        day(one)
        for one in (
            "2026-01-01", "2026-01-19", "2026-02-16", "2026-05-25", "2026-06-19", "2026-07-04", "2026-09-07",
            "2026-10-12", "2026-11-11", "2026-11-26", "2026-12-25",
        )
    ]  # fmt: skip
    # The fourth of July 2027 is a Sunday, and kept on Monday; in 2026 a Saturday, and Friday is worked.
    assert day("2027-07-05") in banking_days.holidays(2027)
    assert banking_days.is_banking_day(day("2026-07-03"))
    assert banking_days.after(day("2026-11-25"), 2) == day("2026-11-30")
    assert banking_days.after(day("2026-11-28"), 0) == day("2026-11-28")


@given(st.dates(datetime.date(2020, 1, 1), datetime.date(2060, 1, 1)), st.integers(0, 60))
def test_so_many_banking_days_lie_behind_a_day(start: datetime.date, count: int) -> None:
    end = banking_days.after(start, count)
    days = [start + n * DAY for n in range(1, (end - start).days + 1)]
    assert sum(banking_days.is_banking_day(one) for one in days) == count
    assert count == 0 or banking_days.is_banking_day(end)


# ---- What waits, and what ends it


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-34")
def test_a_debit_is_posted_at_once_and_confirmed_when_its_banking_days_are_over(
    biller: Biller, processor: Processor
) -> None:
    debit, card = pay(biller, processor), pay(biller, processor, kind="card")
    assert (standing(debit), standing(card)) == (WAITING, ("posted", "", 10003, "0.00"))
    found = UnconfirmedPayment.objects.get()
    assert found.until == banking_days.after(timezone.now().date(), 2)
    left = (found.until - timezone.now().date()).days
    assert_books_hold()
    assert confirm_after(biller, left) == 0
    # Nothing was asked of the processor since: a return may be there.
    late = timezone.now() + (left + 2) * DAY
    Route.objects.update(reversals_read_until=timezone.now() + left * DAY)
    assert confirmations.confirm_due(biller=biller, actor=DANA, now=late) == 0
    Route.objects.update(reversals_read_until=late)
    out = io.StringIO()
    call_command("confirm", biller=biller.slug, stdout=out)
    assert (out.getvalue(), standing(debit)) == (f"{biller}: confirmed 0\n", WAITING)
    assert confirmations.confirm_due(biller=biller, actor=DANA, now=late) == 1
    assert standing(debit) == ("posted", "confirmed", 10005, "0.00")
    assert AuditEntry.objects.get(event="payments.confirmed").facts == {"count": 1}
    assert confirmations.confirm_due(biller=biller, actor=DANA, now=late) == 0
    tasks.confirm_due()
    assert_books_hold()


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-34")
def test_runs_let_debits_wait_only_where_the_route_says_so(biller: Biller, processor: Processor) -> None:
    def owe() -> Item:
        item = due_bill(biller, processor)
        token = processor.token(Route.objects.get().merchant, kind="bank")
        Instrument.objects.filter(customer=item.customer_id).update(kind="bank", token=token)
        return item

    first = owe()
    collect(biller)
    assert UnconfirmedPayment.objects.get().customer_id == first.customer_id
    Route.objects.update(confirmation_days=0)
    owe()
    collect(biller, collections.Options.usual(timezone.now().date(), repeat="again"))
    assert (Payment.objects.filter(state="posted").count(), UnconfirmedPayment.objects.count()) == (2, 1)
    assert_books_hold()


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-32", "PAY-34")
def test_a_return_fails_it_and_leaves_the_record_of_the_failed_payment(biller: Biller, processor: Processor) -> None:
    payment = pay(biller, processor)
    key = str(Attempt.objects.get(payment=payment).pk)
    processor.reverse(Route.objects.get().merchant, key, "return")
    assert confirm_after(biller, 30) == 0
    assert standing(payment) == FAILED
    found = UnconfirmedPayment.objects.get()
    assert (found.reason, found.ended_by) == (Reversal.objects.get().reason, "")
    assert [(one.kind) for one in Notice.objects.order_by("created_at")] == ["receipt", "returned"]
    assert Record.objects.filter(type=5).count() == 1
    assert_books_hold()


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-34")
def test_a_person_confirms_it_or_fails_it_and_the_processors_word_is_the_same_one(
    biller: Biller, processor: Processor
) -> None:
    good, bad = pay(biller, processor), pay(biller, processor)
    client = client_of(make_staff(biller, Role.SUPERVISOR))
    page = reverse("biller-payment-confirmation", args=[bad.pk])
    shown = client.get(reverse("biller-payment", args=[bad.pk])).content.decode()
    assert "Not confirmed by the bank yet" in shown and page in shown
    csr = client_of(make_staff(biller, Role.CSR))
    assert page not in csr.get(reverse("biller-payment", args=[bad.pk])).content.decode()
    assert csr.post(page, {"outcome": "confirmed"}).status_code == 403
    assert client.post(page, {"outcome": "failed", "reason": ""}).status_code == 422
    assert standing(bad) == WAITING
    assert client.post(page, {"outcome": "failed", "reason": "Account closed"}).status_code == 302
    assert standing(bad) == FAILED
    assert "Failed before it was confirmed: account closed" in (
        client.get(reverse("biller-payment", args=[bad.pk])).content.decode()
    )
    assert client.post(page, {"outcome": "confirmed"}).status_code == 422
    other = reverse("biller-payment-confirmation", args=[good.pk])
    assert client.post(other, {"outcome": "confirmed"}).status_code == 302
    assert standing(good) == ("posted", "confirmed", 10005, "0.00")
    with pytest.raises(ConfirmationRefused):
        confirmations.fail(payment=good, reason="Late", actor=DANA, now=timezone.now())
    # The processor tells of the same return later: it is not booked again.
    before = (Entry.objects.count(), Notice.objects.count(), Customer.objects.get(pk=bad.customer_id).balance)
    processor.reverse(Route.objects.get().merchant, str(Attempt.objects.get(payment=bad).pk), "return")
    assert returns.read(biller=biller, actor=DANA, now=timezone.now()).taken == 1
    assert returns.read(biller=biller, actor=DANA, now=timezone.now()).taken == 0
    assert (Entry.objects.count(), Notice.objects.count(), Customer.objects.get(pk=bad.customer_id).balance) == before
    told = Reversal.objects.get(payment=bad)
    assert (told.code != "", told.reference != "", told.loss) == (True, True, Decimal("0.00"))
    assert_books_hold()
    filtered: Any = client.get(reverse("biller-payments"), {"format": "csv", "unconfirmed": "failed"})
    lines = filtered.getvalue().decode()
    assert (str(bad.pk) in lines, str(good.pk) in lines, "10017 Failed" in lines) == (True, False, True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-34", "PAY-36")
def test_what_is_charged_for_a_return_follows_from_the_banks_code_whoever_tells_it(
    biller: Biller, processor: Processor
) -> None:
    terms = fee_rules.FeeTerms(words="Returned debit", occasion="returned", amount=Decimal("7.50"), channels=())
    fee_rules.add_fee_rule(biller=biller, terms=terms, actor=DANA)
    client = client_of(make_staff(biller, Role.SUPERVISOR))

    def charged(payment: Payment) -> list[tuple[str, str]]:
        return list(Fee.objects.filter(payment=payment).values_list("words", "reason"))

    by_code, by_bank = pay(biller, processor), pay(biller, processor)
    for payment, code in ((by_code, "r01"), (by_bank, "")):
        page = reverse("biller-payment-confirmation", args=[payment.pk])
        given = {"outcome": "failed", "reason": "No funds", "code": code}
        assert client.post(page, given).status_code == 302
        payment.refresh_from_db()
        assert payment.state == "reversed"
    assert (charged(by_code), charged(by_bank)) == ([("Returned debit", "R01 No funds")], [])
    # The bank's own word says why, where the person did not; nothing is charged twice.
    merchant = Route.objects.get().merchant
    for payment in (by_code, by_bank):
        processor.reverse(merchant, str(Attempt.objects.get(payment=payment).pk), "return", code="R01")
    for taken in (2, 0):
        assert returns.read(biller=biller, actor=DANA, now=timezone.now()).taken == taken
        assert charged(by_code) == charged(by_bank) == [("Returned debit", "R01 No funds")]
    told = Notice.objects.filter(customer=by_bank.customer_id).order_by("created_at").values_list("kind", flat=True)
    assert list(told) == ["receipt", "returned", "fee"]
    text = notice_deliveries.written(Notice.objects.get(kind="fee").deliveries.get()).text
    assert "Your payment of $84.10 did not go through: R01 No funds" in text
    assert "A fee was charged for this:\nReturned debit: $7.50" in text
    assert_books_hold()


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-34")
def test_a_bank_that_takes_back_what_was_given_back_before_costs_the_biller_that(
    biller: Biller, processor: Processor
) -> None:
    payment = pay(biller, processor)
    twenty = Decimal("20.00")
    refund = refunds.refund(payment=payment, amount=twenty, reason="Read wrongly", actor=DANA, request_key="refund")
    assert refund.state == "done"
    payment.refresh_from_db()
    confirmations.fail(payment=payment, reason="Account closed", actor=DANA, now=timezone.now())
    assert standing(payment) == FAILED
    told = (Notice.objects.count(), Record.objects.count())
    processor.reverse(Route.objects.get().merchant, str(Attempt.objects.get(command="charge").pk), "return")
    assert returns.read(biller=biller, actor=DANA, now=timezone.now()).taken == 1
    assert returns.read(biller=biller, actor=DANA, now=timezone.now()).taken == 0
    reversal = Reversal.objects.get(kind="return")
    assert (reversal.amount, reversal.loss) == (Decimal("64.10"), twenty)
    booked = dict(Entry.objects.values_list("account").annotate(Sum("amount")))
    assert (booked["clearing"], booked["losses"]) == (-twenty, twenty)
    assert (standing(payment), Notice.objects.count(), Record.objects.count()) == (FAILED, *told)
    assert_books_hold()


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-34")
def test_a_processor_that_says_the_bank_has_paid_confirms_it(biller: Biller, processor: Processor) -> None:
    payment = pay(biller, processor)
    attempt = Attempt.objects.get(payment=payment)
    for confirmed, state in ((False, "waiting"), (True, "confirmed")):
        answer = Answer(str(attempt.pk), 0, confirmed=confirmed)
        settlements.settle(biller=biller, answers=[answer], actor=DANA, now=timezone.now())
        assert standing(payment)[1] == state
    assert_books_hold()


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-34")
def test_payers_and_machines_see_that_it_is_not_confirmed_yet(biller: Biller, processor: Processor) -> None:
    payment = pay(biller, processor)
    payer = make_user("lucia@example.com")
    make_link(payer, payment.customer)
    client = client_of(payer)
    address = reverse("customer-payment", args=[payment.customer_id, payment.pk])
    assert "Your bank has not confirmed this payment yet" in client.get(address).content.decode()
    assert "not confirmed by the bank yet" in client.get(reverse("customer-payments")).content.decode()
    machine = Machine(biller)
    given = machine.get(f"payments/{payment.pk}/").json()["unconfirmed"]
    until = UnconfirmedPayment.objects.get().until.isoformat()
    assert given == {"state": "waiting", "until": until, "ended_at": None, "reason": ""}
    confirmations.confirm(payment=payment, actor=DANA, now=timezone.now())
    assert "Your bank has not confirmed" not in client.get(address).content.decode()
    card = pay(biller, processor, kind="card")
    assert machine.get(f"payments/{card.pk}/").json()["unconfirmed"] is None
