"""Declines: when a bill is tried again, which methods are set aside, and what the card networks allow (PAY-5, invariant 47)."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.urls import reverse
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Biller, Chunk, Item, Notice, Run
from billing.operations.notice_deliveries import written
from payments.models import Attempt, Channel, Instrument, MethodRules, Payment, RetryLimit, Route, ScheduledPayment
from payments.operations import charges, collections, declines, instruments, scheduled_collections, scheduled_payments
from payments.operations.collections import Options
from tests import servers
from tests.factories import (
    NOON,
    TODAY,
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_link,
    make_route,
    make_user,
)
from tests.payments.test_collections import due_bill
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")
PAYER = Actor(Requestor.PAYER, "Alma Reyes", address="203.0.113.9")
DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url)
    return biller


def collect(biller: Biller, at: datetime.datetime, **options: Any) -> Run:
    today = biller.business_date(at)
    run = collections.plan(biller=biller, options=Options.usual(today, **options), actor=SYSTEM, now=at)
    for _chunk in collections.work(run=run, actor=SYSTEM, now=at):
        pass
    run.refresh_from_db()
    return run


def another_account(like: Item, amount: str = "10.00", **fields: Any) -> Item:
    """Make another customer whose AutoPay charges the same card."""
    card = like.customer.instruments.get()
    customer = make_customer(like.biller, email="mate@example.com")
    # It is on file from before its bank refused it.
    MethodRules.objects.update_or_create(biller=like.biller, defaults={"verify_cards": False})
    instruments.add(customer=customer, route=card.route, token=card.token, keep=True, actor=SYSTEM)
    make_autopay(customer, customer.instruments.get())
    return make_invoice(customer, amount, **{"collect_on": TODAY, **fields}).items.get()


def pay(item: Item, at: datetime.datetime) -> Payment:
    return charges.pay(
        customer=item.customer, amount=item.open, instrument=item.customer.instruments.get(), channel=Channel.CSR,
        actor=SYSTEM, request_key=f"{item.pk}-{at}", now=at,
    )  # fmt: skip


def watch(seen: list[str]) -> Callable[..., Any]:
    """Keep the statements that ask how often something may be tried."""

    def keep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "payments_retrylimit" in sql or "array_agg(t.created_at" in sql:
            seen.append(sql)
        return execute(sql, params, many, context)

    return keep


@pytest.mark.spec("PAY-5")
@pytest.mark.parametrize(
    ("runs", "tried", "days"),
    [
        (range(12), [0, 3, 4, 9], [3, 4, 9, None]),
        # The first run came a day late, and everything is counted from there.
        ([1, 4, 5, 10], [1, 4, 5, 10], [4, 5, 10, None]),
        # A later one came late: what follows keeps its day.
        ([0, 4, 5, 6, 10], [0, 4, 5, 10], [3, 4, 9, None]),
        # One never came: its day is let go, and no other takes its place.
        ([0, 3, 6, 9, 10], [0, 3], [3, 4]),
    ],
)
def test_days_of_trying_again_depend_on_the_first_decline_and_the_policy_alone(
    biller: Biller, processor: Processor, runs: Iterable[int], tried: list[int], days: list[int | None]
) -> None:
    Biller.objects.filter(pk=biller.pk).update(retry_days=[3, 4, 9])
    biller.refresh_from_db()
    item = due_bill(biller, processor, "soft_decline", due_on=TODAY, collect_on=TODAY)
    seen = []
    for n in runs:
        before = Payment.objects.count()
        collect(biller, NOON + n * DAY)
        item.refresh_from_db()
        if Payment.objects.count() > before:
            seen.append(item.collect_on)
    assert [(one.created_at - NOON).days for one in Payment.objects.order_by("created_at")] == tried
    assert seen == [None if day is None else TODAY + day * DAY for day in days]
    assert (item.collect_tries, item.declined_on) == (len(tried), TODAY + tried[0] * DAY)


@pytest.mark.spec("PAY-5")
@pytest.mark.parametrize(
    ("runs", "days", "tries"),
    [
        (
            [(0, False), (1, True), (2, True), (3, False), (4, True), (5, False), (6, True)],
            [3, 3, 3, 5, 5, None, None],
            7,
        ),
        # Both days passed without a run: they are let go.
        ([(0, False), (6, True), (7, False)], [3, None, None], 2),
    ],
)
def test_a_rebill_in_between_moves_no_day_of_trying_again(
    biller: Biller, processor: Processor, runs: list[tuple[int, bool]], days: list[int | None], tries: int
) -> None:
    Biller.objects.filter(pk=biller.pk).update(retry_days=[3, 5])
    biller.refresh_from_db()
    item = due_bill(biller, processor, "soft_decline", due_on=TODAY, collect_on=TODAY)
    seen = []
    for n, rebill in runs:
        collect(biller, NOON + n * DAY, rebill=rebill)
        item.refresh_from_db()
        seen.append(item.collect_on and (item.collect_on - TODAY).days)
    assert seen == days
    assert Payment.objects.count() == tries


@pytest.mark.spec("PAY-5")
def test_after_a_hard_decline_nothing_charges_the_card_at_any_account_until_it_is_confirmed(
    biller: Biller, processor: Processor
) -> None:
    item = due_bill(biller, processor, "hard_decline", due_on=TODAY, collect_on=TODAY)
    mate = another_account(item, collect_on=TODAY + DAY)
    unused = make_customer(biller, email="unused@example.com")
    make_instrument(unused, Route.objects.get(), item.customer.instruments.get().token)
    collect(biller, NOON)
    assert list(Instrument.objects.order_by("pk").values_list("state", "declined_at")) == [("bad", NOON)] * 3

    # Who pays with it by itself is told, each once.
    (failed,) = Notice.objects.filter(kind="autopay_failed")
    (other,) = Notice.objects.filter(kind="method_declined")
    assert (failed.customer_id, failed.facts["declined"]) == (item.customer_id, "yes")
    assert other.customer_id == mate.customer_id
    told = [written(one.deliveries.get()).text for one in (failed, other)]
    assert all("until you confirm it under “Payment methods”" in text for text in told)
    assert "Visa ending in" in told[1]
    assert AuditEntry.objects.filter(event="instrument.declined").count() == 3

    # No run takes it: not the mate's bill on its day, nor a rebill, and not the payer by the way.
    collect(biller, NOON + DAY)
    collect(biller, NOON + 2 * DAY, rebill=True)
    with pytest.raises(charges.MethodUnusable):
        pay(mate, NOON + 2 * DAY)
    assert (Payment.objects.count(), Attempt.objects.count(), len(processor.charges())) == (1, 1, 1)

    # Confirmed at one account, it is charged there, and declined again.
    instruments.confirm(instrument=mate.customer.instruments.get(), actor=PAYER, now=NOON + 2 * DAY)
    states = dict(Instrument.objects.values_list("customer_id", "state"))
    assert states == {item.customer_id: "bad", mate.customer_id: "active", unused.pk: "bad"}
    mate.refresh_from_db()
    assert mate.collect_on == TODAY + 2 * DAY
    collect(biller, NOON + 2 * DAY)
    assert Payment.objects.filter(customer=mate.customer, state="failed").count() == 1
    assert mate.customer.instruments.get().state == "bad"
    with pytest.raises(instruments.NotDeclined):
        instruments.confirm(instrument=make_instrument(unused, Route.objects.get()), actor=PAYER)
    assert AuditEntry.objects.filter(event="instrument.confirmed").count() == 1


@pytest.mark.spec("PAY-5")
def test_payer_and_csr_confirm_a_card_that_was_declined(biller: Biller, processor: Processor) -> None:
    item = due_bill(biller, processor, "hard_decline")
    collect(biller, timezone.now())
    customer, card = item.customer, item.customer.instruments.get()
    payer = make_user("pat@example.com")
    make_link(payer, customer)
    staff, theirs = client_of(make_staff(biller)), client_of(payer)

    overview = staff.get(reverse("biller-account", args=[customer.pk])).content.decode()
    assert f"The bank declined {card} for good. No run charges it until it is confirmed or replaced." in overview
    assert "Declined by the bank" in staff.get(reverse("biller-account-methods", args=[customer.pk])).content.decode()
    assert "The bank declined it" in theirs.get(reverse("customer-methods")).content.decode()
    assert "AutoPay does not charge it" in theirs.get(reverse("customer-autopay")).content.decode()

    theirs.post(reverse("customer-method-confirm", args=[customer.pk, card.pk]))
    card.refresh_from_db()
    assert (card.state, card.is_default) == ("active", True)
    Instrument.objects.filter(pk=card.pk).update(state="bad", is_default=False)
    make_instrument(customer, card.route, is_default=True)
    staff.post(reverse("biller-account-method-confirm", args=[customer.pk, card.pk]))
    card.refresh_from_db()
    assert (card.state, card.is_default) == ("active", False)
    again = staff.post(reverse("biller-account-method-confirm", args=[customer.pk, card.pk]), follow=True)
    assert "This method is not declined." in again.content.decode()


@pytest.mark.spec("PAY-5")
def test_networks_limits_hold_over_every_channel_and_account_of_a_card(biller: Biller, processor: Processor) -> None:
    RetryLimit.objects.filter(brand="visa").update(per_day=2, per_month=3)
    first = due_bill(biller, processor, "soft_decline", due_on=TODAY, collect_on=TODAY)
    collect(biller, NOON)
    by_hand = another_account(first, collect_on=None)
    assert pay(by_hand, NOON + HOUR).state == "failed"

    held = another_account(first)
    run = collect(biller, NOON + 2 * HOUR, repeat="again")
    assert Chunk.objects.get(run=run).limited_count == 1
    held.refresh_from_db()
    assert (held.reserved, held.collect_on, held.collect_tries) == (Decimal("0.00"), TODAY + DAY, 0)
    with pytest.raises(charges.MethodUnusable, match="declined too often"):
        pay(held, NOON + 3 * HOUR)
    assert Payment.objects.count() == Attempt.objects.count() == len(processor.charges()) == 2

    # A day after the first decline one more is allowed, of the two bills that wait.
    another_account(first)
    run = collect(biller, NOON + 25 * HOUR)
    assert (Chunk.objects.get(run=run).limited_count, Payment.objects.count()) == (1, 3)
    # Then the month is full, until the first decline of all is thirty days old.
    collect(biller, NOON + 29 * DAY, rebill=True)
    assert Payment.objects.count() == 3
    collect(biller, NOON + 30 * DAY + HOUR / 2, rebill=True)
    assert Payment.objects.count() == 4
    assert not Item.objects.exclude(reserved=0).exists()


@pytest.mark.spec("PAY-5")
def test_scheduled_payment_with_a_card_that_was_declined_too_often_fails_in_words(
    biller: Biller, processor: Processor
) -> None:
    RetryLimit.objects.filter(brand="visa").update(per_month=1)
    item = due_bill(biller, processor, "soft_decline", collect_on=None, autopay=False)
    assert pay(item, NOON).state == "failed"
    scheduled_payments.schedule(
        customer=item.customer, pay_on=TODAY + DAY, amount=None, instrument=item.customer.instruments.get(),
        actor=PAYER, request_key="once", now=NOON,
    )  # fmt: skip
    at = NOON + DAY
    run = scheduled_collections.plan(
        biller=biller, options=scheduled_collections.Options.usual(TODAY + DAY), actor=SYSTEM, now=at
    )
    list(scheduled_collections.work(run=run, actor=SYSTEM, now=at))
    failed = ScheduledPayment.objects.get()
    assert (failed.state, failed.failure) == ("failed", str(declines.HELD))
    assert Attempt.objects.count() == 1


def test_run_and_account_say_what_was_not_charged_and_why(biller: Biller, processor: Processor) -> None:
    RetryLimit.objects.filter(brand="visa").update(per_day=1)
    item = due_bill(biller, processor, "soft_decline")
    now = timezone.now()
    collect(biller, now)
    another_account(item, collect_on=biller.business_date(now))
    run = collect(biller, now, repeat="again")
    staff = client_of(make_staff(biller))
    page = staff.get(reverse("biller-run", args=[run.pk])).content.decode()
    assert "1 bill was not charged: the method was declined too often" in page
    overview = staff.get(reverse("biller-account", args=[item.customer_id])).content.decode()
    assert "was declined so often that its card network allows no other try before" in overview


def test_an_attempt_of_unknown_outcome_counts_as_one(biller: Biller, processor: Processor) -> None:
    RetryLimit.objects.filter(brand="visa").update(per_day=2)
    item = due_bill(biller, processor, "soft_decline", due_on=TODAY, collect_on=TODAY)
    collect(biller, NOON)
    second = another_account(item)
    processor.strike("drop_after")
    collect(biller, NOON + HOUR, repeat="2")
    assert Attempt.objects.get(payment__customer=second.customer).result == 999
    another_account(item)
    collect(biller, NOON + 2 * HOUR, repeat="3")
    assert Attempt.objects.count() == 2


def test_claims_of_one_card_wait_for_each_other(biller: Biller, processor: Processor) -> None:
    """Else two workers would each count the tries without the other's."""
    RetryLimit.objects.filter(brand="visa").update(per_day=2)
    item = due_bill(biller, processor, "soft_decline", due_on=TODAY, collect_on=TODAY)
    collect(biller, NOON)
    another_account(item)
    token = item.customer.instruments.get().token

    def work() -> None:
        with tenancy.acting_for([biller.pk]):
            collect(biller, NOON + HOUR, repeat="2")
        connection.close()

    with transaction.atomic():
        left = declines.standings(biller=biller, tokens=[token], now=NOON + HOUR, lock=True)
        assert left == {token: declines.Standing(1)}
        other = threading.Thread(target=work)
        other.start()
        other.join(0.5)
        assert other.is_alive() and Attempt.objects.count() == 1
    other.join(30)
    assert Attempt.objects.count() == 2


def test_nothing_is_asked_where_nothing_was_declined_and_indexes_answer_where_something_was(
    biller: Biller, processor: Processor
) -> None:
    item = due_bill(biller, processor, "soft_decline", due_on=TODAY, collect_on=TODAY)
    seen: list[str] = []
    with connection.execute_wrapper(watch(seen)):
        collect(biller, NOON)
    assert seen == []
    another_account(item)
    with connection.execute_wrapper(watch(seen)):
        collect(biller, NOON + HOUR, repeat="2")
    assert len(seen) == 2
    plans: list[str] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "payments_instrument n" in sql and "token = ANY" in sql:
            with connection.cursor() as cursor:
                cursor.cursor.execute("SET LOCAL enable_seqscan = off")
                cursor.cursor.execute(f"EXPLAIN {sql}", params)
                plans.append("\n".join(line for (line,) in cursor.cursor.fetchall()))
                cursor.cursor.execute("SET LOCAL enable_seqscan = on")
        return execute(sql, params, many, context)

    another_account(item)
    card = item.customer.instruments.get()
    Instrument.objects.bulk_create(
        Instrument(
            biller=biller, customer=item.customer, route=card.route, kind="card", token=f"tok_{n}_1111", last4="1111"
        )
        for n in range(2_000)
    )
    with psycopg.connect(servers.superuser(connection.settings_dict["NAME"]), autocommit=True) as owner:
        owner.execute("ANALYZE payments_instrument")
    with connection.execute_wrapper(explain):
        collect(biller, NOON + 2 * HOUR, repeat="3")
    assert len(plans) == 3
    for plan in plans:
        assert "instrument_by_token" in plan and "Seq Scan on payments_instrument" not in plan, plan
        assert "Seq Scan on payments_attempt" not in plan and "Seq Scan on payments_payment" not in plan, plan
