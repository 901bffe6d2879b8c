"""What a run takes, beside a plain filter over every account; windows day by day; runs of several processes at once.

The oracle is written from the specification and reads no query of the engine: it knows the accounts because it made them.

Source: PAY-6, PAY-8; invariants 44 and 46
"""

from __future__ import annotations

import datetime
import io
import itertools
import os
import signal
import sys
import time
import traceback
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.urls import reverse
from django.utils import timezone
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from billing import failpoints, tenancy
from billing.actors import Actor
from billing.audit import sentence
from billing.models import AuditEntry, Chunk, Customer, Item, Notice, Posting, PostingKind, Run
from payments import tasks
from payments.customer_portal import card_entry
from payments.models import Attempt, AutoPayEnrolment, Channel, Instrument, Payment, Route
from payments.operations import charges, collections
from payments.operations.collections import Options
from tests.billing.test_invoice_files import with_layout
from tests.factories import make_autopay, make_biller, make_customer, make_instrument, make_invoice, make_route
from tests.invoice_files import Bill, load
from tests.payments.test_collections import due_bill, today
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")
DAY = datetime.timedelta(days=1)
# A town is made and collected in a fraction of a second: what fails is shown as it was found.
PHASES = (Phase.explicit, Phase.generate)
_numbers = itertools.count(1)


# ---- Accounts as the oracle knows them


@dataclass(frozen=True)
class Account:
    """One account: its facts, and for each bill the day of collection, counted from the day of the run, and the amount."""

    status: str = "active"
    autopay: bool = True
    kind: str = "card"
    state: str = "active"
    expires: int | None = None  # days after the run's
    blocked: str = ""
    route: int = 0  # 0 and 1 are used, 2 is not active
    declined_hours: int | None = None  # before the run
    bills: tuple[tuple[int | None, str], ...] = ((0, "84.10"),)
    held: bool = False  # its first bill is being paid otherwise
    pays_as: int | None = None  # a pay type that no run collects from


AMOUNTS = st.sampled_from(["1.99", "2.00", "2.01", "49.99", "50.00", "84.10", "0.01"])
BILLS = st.lists(st.tuples(st.one_of(st.none(), st.integers(-4, 3)), AMOUNTS), min_size=1, max_size=2).map(tuple)
ACCOUNTS = st.builds(
    Account,
    status=st.sampled_from(["active", "active", "active", "inactive", "closed"]),
    autopay=st.sampled_from([True, True, True, False]),
    kind=st.sampled_from(["card", "card", "bank"]),
    state=st.sampled_from(["active"] * 4 + ["bad", "removed"]),
    expires=st.one_of(st.none(), st.integers(-1, 1)),
    blocked=st.sampled_from(["", "", "", "card", "bank", "cis_card", "cis_bank"]),
    route=st.sampled_from([0, 0, 0, 1, 2]),
    declined_hours=st.one_of(st.none(), st.integers(0, 30)),
    bills=BILLS,
    held=st.sampled_from([False] * 5 + [True]),
    pays_as=st.sampled_from([None] * 5 + [0, 10000, 10007]),
)
# Moments around which days begin, end, or are an hour longer or shorter somewhere.
INSTANTS = [
    datetime.datetime(
        2026, 3, 8, 5, 0, tzinfo=datetime.UTC
    ),  # midnight in New York; two hours later its clocks go forward
    datetime.datetime(2026, 3, 9, 4, 0, tzinfo=datetime.UTC),  # the next midnight there, 23 hours later
    datetime.datetime(2026, 11, 1, 4, 0, tzinfo=datetime.UTC),
    datetime.datetime(2026, 11, 2, 5, 0, tzinfo=datetime.UTC),  # 25 hours later
    datetime.datetime(2026, 4, 4, 11, 0, tzinfo=datetime.UTC),  # midnight in Auckland, clocks go back that night
    datetime.datetime(2026, 6, 30, 22, 0, tzinfo=datetime.UTC),
]
MOMENTS = st.builds(
    lambda instant, seconds: instant + datetime.timedelta(seconds=seconds),
    st.sampled_from(INSTANTS),
    st.sampled_from([-1, 0, 1, 3600, -3600, 7200, 50_000]),
)
ZONES = st.sampled_from(["America/New_York", "UTC", "Pacific/Auckland", "America/Denver"])
CUT_OFFS = st.sampled_from([datetime.time(0, 0), datetime.time(17, 0), datetime.time(23, 30)])


@dataclass(frozen=True)
class Asked:
    """What a run is asked for; days are before its own."""

    start: int = 1
    end: int = 0
    status: str = "active"
    route: int | None = None
    tender: str = ""
    rebill: bool = False
    minimum: str | None = None


# Each fact by itself and at its edges: what chance alone would seldom bring together.
FACTS = [
    Account(),
    *(Account(status=status) for status in ("inactive", "closed")),
    *(Account(state=state) for state in ("bad", "removed")),
    *(Account(expires=days) for days in (-1, 0, 1)),
    *(
        Account(kind=kind, blocked=by + blocked)
        for kind in ("card", "bank")
        for by in ("", "cis_")
        for blocked in ("card", "bank")
    ),
    *(Account(kind=kind, route=route) for kind in ("card", "bank") for route in (0, 1, 2)),
    *(Account(declined_hours=hours) for hours in (0, 21, 22, 23, 24, 29)),
    *(Account(bills=((day, "84.10"),)) for day in (None, -2, -1, 1, 2)),
    *(Account(bills=((0, amount),)) for amount in ("1.99", "2.00", "49.99", "50.00")),
    Account(autopay=False),
    *(Account(pays_as=number) for number in (0, 10000, 10007)),
    Account(held=True, bills=((0, "84.10"), (0, "50.00"))),
]
ASKED = st.builds(
    Asked,
    start=st.integers(0, 5),
    end=st.sampled_from([0, 0, 0, -2, -1]),
    status=st.sampled_from(["active", "active", "inactive", "closed"]),
    route=st.sampled_from([None, None, 0, 1]),
    tender=st.sampled_from(["", "", "card", "ach"]),
    rebill=st.sampled_from([False, False, True]),
    minimum=st.sampled_from([None, None, "50.00", "0.01", "0.00"]),
)


def business_day(moment: datetime.datetime, zone: str, cut_off: datetime.time) -> datetime.date:
    """Say which day it is for the biller: by the clock on its wall, and from the cut-off on the next one."""
    wall = moment.astimezone(zoneinfo.ZoneInfo(zone))
    if cut_off > datetime.time(0, 0) and wall.time() >= cut_off:
        return wall.date() + DAY
    return wall.date()


def wanted(
    account: Account,
    asked: Asked,
    *,
    moment: datetime.datetime,
    zone: str,
    cut_off: datetime.time,
    today: datetime.date,
    open_item: bool,
) -> list[str]:
    """Say in plain Python which amounts a run must take from an account."""
    if not account.autopay or account.status != asked.status or account.state != "active" or account.route == 2:
        return []
    if account.expires is not None and account.expires < 0:
        return []
    if account.pays_as is not None:
        return []
    if account.blocked in {account.kind, f"cis_{account.kind}"}:
        return []
    if asked.route is not None and account.route != asked.route:
        return []
    if asked.tender and {"card": "card", "ach": "bank"}[asked.tender] != account.kind:
        return []
    if asked.rebill and account.declined_hours is not None:
        declined = moment - datetime.timedelta(hours=account.declined_hours)
        if business_day(declined, zone, cut_off) >= today:
            return []
    taken = []
    for place, (day, amount) in enumerate(account.bills):
        if account.held and place == 0:
            continue
        if Decimal(amount) < Decimal(asked.minimum or "2.00"):
            continue
        if not asked.rebill:
            last = 0 if open_item else -asked.end
            if day is None or not -asked.start <= day <= last:
                continue
        taken.append(amount)
    return taken


class Town:
    """A biller with the accounts of an example."""

    def __init__(
        self, processor: Processor, accounts: Sequence[Account], *, today: datetime.date, moment: datetime.datetime,
        **fields: Any,
    ) -> None:  # fmt: skip
        self.biller = make_biller(**fields)
        self.routes = [make_route(self.biller, processor.url, active=n < 2) for n in range(3)]
        tokens = {
            (n, kind): processor.token(route.merchant, kind=kind)
            for n, route in enumerate(self.routes)
            for kind in ("card", "bank")
        }
        self.customers = Customer.objects.bulk_create(
            Customer(
                biller=self.biller, number=f"{next(_numbers)}-001", name="Somebody", status=one.status,
                blocks_card=one.blocked == "card", blocks_bank=one.blocked == "bank",
                cis_blocks_card=one.blocked == "cis_card", cis_blocks_bank=one.blocked == "cis_bank",
                pay_type_id=one.pays_as, balance=sum(Decimal(amount) for _day, amount in one.bills),
            )
            for one in accounts
        )  # fmt: skip
        methods = Instrument.objects.bulk_create(
            Instrument(
                id=uuid.uuid4(), biller=self.biller, customer=customer, route=self.routes[one.route], kind=one.kind,
                token=tokens[one.route, one.kind], last4=tokens[one.route, one.kind][-4:], brand="visa", state=one.state,
                expires_on=None if one.expires is None else today + one.expires * DAY,
                declined_at=None if one.declined_hours is None else moment - datetime.timedelta(hours=one.declined_hours),
            )
            for one, customer in zip(accounts, self.customers, strict=True)
        )  # fmt: skip
        AutoPayEnrolment.objects.bulk_create(
            AutoPayEnrolment(
                biller=self.biller, customer=customer, instrument=method, consent_version="test", consent_text="I agree.",
                consent_by="Somebody", consent_requestor=2,
            )
            for one, customer, method in zip(accounts, self.customers, methods, strict=True)
            if one.autopay
        )  # fmt: skip
        posting = Posting.objects.create(
            biller=self.biller, key=f"windows:{next(_numbers)}", kind=PostingKind.INVOICES, effective_on=today
        )
        Item.objects.bulk_create(
            Item(
                biller=self.biller, customer=customer, posting=posting, amount=Decimal(amount), currency="USD",
                collect_on=None if day is None else today + day * DAY,
                reserved=Decimal(amount) if one.held and place == 0 else Decimal("0.00"),
            )
            for one, customer in zip(accounts, self.customers, strict=True)
            for place, (day, amount) in enumerate(one.bills)
        )  # fmt: skip

    def collect(self, options: Options, moment: datetime.datetime) -> Run:
        with tenancy.acting_for([self.biller.pk]):
            run = collections.plan(biller=self.biller, options=options, actor=SYSTEM, now=moment, chunk_size=7)
            for _chunk in collections.work(run=run, actor=SYSTEM, now=moment):
                pass
        return run

    def taken(self) -> list[list[str]]:
        """Give what was taken of each account, in the order of the accounts."""
        amounts: dict[int, list[str]] = {customer.pk: [] for customer in self.customers}
        paid = Payment.objects.filter(biller=self.biller, state="posted").order_by("allocations__item_id")
        for customer, amount in paid.values_list("customer_id", "amount"):
            amounts[customer].append(str(amount))
        return list(amounts.values())


@pytest.mark.spec("PAY-6", "PAY-12")
@settings(max_examples=20, phases=PHASES)
@given(st.lists(ACCOUNTS, min_size=15, max_size=40), ASKED, MOMENTS, ZONES, CUT_OFFS, st.booleans())
@example(
    [Account(bills=((-1, "84.10"),)), Account(bills=((1, "84.10"),))],
    Asked(end=-2), INSTANTS[0], "UTC", datetime.time(0, 0), True,
)  # fmt: skip
@example(FACTS, Asked(), INSTANTS[0], "UTC", datetime.time(0, 0), False)
@example(FACTS, Asked(route=1, tender="ach", minimum="50.00"), INSTANTS[0], "UTC", datetime.time(0, 0), False)
# Ten in the evening in Denver, where a decline of 22 hours ago is today's and one of 23 hours ago is not.
@example(FACTS, Asked(rebill=True), INSTANTS[0], "America/Denver", datetime.time(0, 0), False)
def test_a_run_takes_what_a_plain_filter_over_every_account_says(
    processor_service: Processor,
    accounts: list[Account],
    asked: Asked,
    moment: datetime.datetime,
    zone: str,
    cut_off: datetime.time,
    open_item: bool,
) -> None:
    day = business_day(moment, zone, cut_off)
    town = Town(
        processor_service, accounts, today=day, moment=moment, time_zone=zone, cut_off=cut_off, balance_forward=not open_item
    )  # fmt: skip
    options = Options(
        start=day - asked.start * DAY,
        end=day - asked.end * DAY,
        status=asked.status,
        route_id=None if asked.route is None else town.routes[asked.route].pk,
        tender=asked.tender,
        rebill=asked.rebill,
        minimum=None if asked.minimum is None else Decimal(asked.minimum),
    )
    expected = [
        wanted(one, asked, moment=moment, zone=zone, cut_off=cut_off, today=day, open_item=open_item)
        for one in accounts
    ]
    with tenancy.acting_for([town.biller.pk]):
        trial = collections.plan(biller=town.biller, options=options, actor=SYSTEM, now=moment, dry_run=True)
    amounts = [Decimal(amount) for of_one in expected for amount in of_one]
    assert (
        sum(chunk.expected for chunk in trial.chunks.all()),
        sum(chunk.expected_total for chunk in trial.chunks.all()),
    ) == (len(amounts), sum(amounts))
    assert town.taken() == [[] for _ in accounts]
    town.collect(options, moment)
    assert town.taken() == expected


@pytest.mark.spec("PAY-6")
@settings(max_examples=6, phases=PHASES)
@given(
    st.lists(
        st.builds(Account, bills=st.tuples(st.tuples(st.integers(-4, 6), st.just("84.10")))), min_size=10, max_size=25
    ),
    st.sampled_from([datetime.date(2026, *day) for day in ((3, 6), (4, 3), (10, 30), (12, 30))]),
    ZONES,
    CUT_OFFS,
    st.lists(st.sampled_from([1, 3600, 40_000, 75_000, 82_799]), min_size=4, max_size=4),
    st.booleans(),
)  # fmt: skip
def test_days_one_after_the_other_take_what_one_run_over_all_of_them_takes(
    processor_service: Processor,
    accounts: list[Account],
    first: datetime.date,
    zone: str,
    cut_off: datetime.time,
    seconds: list[int],
    open_item: bool,
) -> None:
    """Whenever in its day each run comes, days of 23 and 25 hours included: no gap, nothing twice."""
    how: dict[str, Any] = {"time_zone": zone, "cut_off": cut_off, "balance_forward": not open_item}
    town = Town(processor_service, accounts, today=first, moment=timezone.now(), **how)
    begins = datetime.datetime.combine(first, cut_off, tzinfo=zoneinfo.ZoneInfo(zone))
    if cut_off > datetime.time(0, 0):
        begins -= DAY
    last = begins
    for n, later in enumerate(seconds):
        # Reckoned in UTC: the clock on the wall jumps.
        start = (begins + n * DAY).astimezone(datetime.UTC)
        last = start + datetime.timedelta(seconds=later)
        assert business_day(last, zone, cut_off) == town.biller.business_date(last) == first + n * DAY
        town.collect(Options.usual(first + n * DAY), last)
    twin = Town(processor_service, accounts, today=first, moment=timezone.now(), **how)
    twin.collect(Options(start=first - DAY, end=first + 3 * DAY), last)
    expected = [["84.10"] if -1 <= (one.bills[0][0] or 0) <= 3 else [] for one in accounts]
    assert town.taken() == twin.taken() == expected


# ---- Several processes


def in_processes(works: Sequence[Callable[[], None]], seconds: float = 60.0) -> None:
    """Do each piece of work in a process of its own, all at once.

    :raises AssertionError: one failed, or did not end in time.
    """
    connection.close()
    children = {_fork(work) for work in works}
    deadline = time.monotonic() + seconds
    failed = []
    while children and time.monotonic() < deadline:
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                children.remove(pid)
                failed += [status] if status else []
        time.sleep(0.01)
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert (failed, len(children)) == ([], 0)


def _fork(work: Callable[[], None]) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        connections.close_all()
        work()
        connections.close_all()
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


@pytest.mark.spec("PAY-8")
def test_runs_of_several_processes_never_take_the_same_bill(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    make_route(biller, processor.url)
    for _ in range(30):
        due_bill(biller, processor)
    processor.control(faults={"slow": {"next": 4, "seconds": 0.2}})
    now = timezone.now()

    def linger(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        done = execute(sql, params, many, context)
        if "SET reserved = i.open" in sql:
            time.sleep(0.1)  # others come to the same bills before these are committed
        return done

    def run(repeat: str) -> None:
        with tenancy.acting_for([biller.pk]), connection.execute_wrapper(linger):
            options = Options.usual(today(), repeat=repeat)
            planned = collections.plan(biller=biller, options=options, actor=SYSTEM, now=now, chunk_size=5)
            for _chunk in collections.work(run=planned, actor=SYSTEM):
                pass

    # Two workers for each of two runs.
    in_processes([lambda repeat=repeat: run(repeat) for repeat in ("a", "a", "b", "b")])  # type: ignore[misc]
    assert Run.objects.filter(state="done").count() == 2
    assert Payment.objects.filter(state="posted").count() == 30
    assert sorted(processor.charges().values()) == [1] * 30


@pytest.mark.spec("PAY-8")
def test_runs_of_two_routes_go_side_by_side_and_one_that_is_down_keeps_the_other_going(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    here, there = make_route(biller, processor.url), make_route(biller, "http://127.0.0.1:9")
    for route in (here, there):
        for _ in range(4):
            due_bill(biller, processor, route=route)
    now = timezone.now()

    def run(route: Route) -> None:
        with tenancy.acting_for([biller.pk]):
            options = Options.usual(today(), route_id=route.pk)
            planned = collections.plan(biller=biller, options=options, actor=SYSTEM, now=now, chunk_size=2)
            for _chunk in collections.work(run=planned, actor=SYSTEM):
                pass

    in_processes([lambda route=route: run(route) for route in (here, here, there)])  # type: ignore[misc]
    states = {run.params["route_id"]: run.state for run in Run.objects.all()}
    assert states == {str(here.pk): "done", str(there.pk): "failed"}
    assert dict(Payment.objects.values_list("route_id").distinct().values_list("route_id", "state")) == {
        here.pk: "posted", there.pk: "failed"
    }  # fmt: skip
    assert Attempt.objects.filter(route=here, result=0).count() == 4
    assert not Item.objects.exclude(reserved=0).exists()


# ---- The beat, the command and the page


def test_the_beat_plans_a_run_for_each_route_and_rebills_on_the_days_of_those_who_want_it(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    routes = [make_route(biller, processor.url) for _ in range(2)]
    make_route(biller, processor.url, active=False)
    single = make_biller(time_zone="Pacific/Auckland", rebill_weekly=True, rebill_monthly=True)
    make_route(single, processor.url)

    def planned(moment: datetime.datetime) -> list[tuple[int, str, str | None, str]]:
        tasks.rebill_due(now=moment)
        rows = Run.objects.order_by("pk").values_list("biller_id", "params", "business_date")
        found = [(pk, given["status"], given["rebill"], f"{day:%a %d}") for pk, given, day in rows]
        Run.objects.all().delete()
        return found

    tasks.collect_due()
    given = [(run.biller_id, run.params["route_id"]) for run in Run.objects.order_by("pk")]
    assert given == [(biller.pk, str(routes[0].pk)), (biller.pk, str(routes[1].pk)), (single.pk, None)]
    Run.objects.all().delete()
    # Sunday noon in UTC is Monday in Auckland.
    assert planned(datetime.datetime(2026, 11, 22, 11, 30, tzinfo=datetime.UTC)) == [
        (single.pk, "active", "True", "Mon 23")
    ]
    assert planned(datetime.datetime(2026, 11, 22, 10, 30, tzinfo=datetime.UTC)) == []
    assert planned(datetime.datetime(2026, 11, 30, 12, 0, tzinfo=datetime.UTC)) == [
        (single.pk, "inactive", "True", "Tue 01"), (single.pk, "closed", "True", "Tue 01")
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["settle.applied", "collect.settled"])
@pytest.mark.spec("PAY-8")
def test_a_run_has_failed_although_the_worker_that_could_not_reach_the_processor_died(
    place: str, processor: Processor
) -> None:
    biller = make_biller(time_zone="UTC")
    route = make_route(biller, processor.url)
    due_bill(biller, processor)
    Route.objects.update(options={**route.options, "base_url": "http://127.0.0.1:9"})
    run = collections.plan(biller=biller, options=Options.usual(today()), actor=SYSTEM, now=timezone.now())

    def work() -> None:
        for _chunk in collections.work(run=run, actor=SYSTEM):
            pass

    def work_and_die() -> None:
        failpoints.arm(f"{place}:1")
        work()

    connection.close()
    _, status = os.waitpid(_fork(work_and_die), 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    Chunk.objects.update(claimed_at=timezone.now() - datetime.timedelta(hours=1))
    work()
    run.refresh_from_db()
    assert (run.state, "could not be reached" in run.failure) == ("failed", True)
    assert list(Attempt.objects.values_list("state", "result")) == [("applied", 1)]


@pytest.mark.spec("PAY-6", "PAY-8")
def test_the_beat_runs_again_the_same_day_once_a_processor_that_failed_a_run_is_heard(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    route = make_route(biller, processor.url)
    item = due_bill(biller, processor)
    good = dict(route.options)

    def hourly(*, reached: bool, asked: bool) -> list[tuple[str, str]]:
        Route.objects.update(options=good if reached else {**good, "base_url": "http://127.0.0.1:9"})
        if asked:
            tasks.ask_processor(route.pk)
        tasks.collect_due()
        for run in Run.objects.order_by("pk"):
            tasks.work_run(run.pk)
        return [(run.params["repeat"], run.state) for run in Run.objects.order_by("pk")]

    assert hourly(reached=False, asked=True) == [("", "failed")]
    assert hourly(reached=False, asked=True) == [("", "failed")]
    # Nobody has heard it since the run failed.
    assert hourly(reached=True, asked=False) == [("", "failed")]
    assert processor.charges() == {}
    # It answers when it is asked, and is gone again when the run comes.
    Route.objects.update(options=good)
    tasks.ask_processor(route.pk)
    assert hourly(reached=False, asked=False) == [("", "failed"), ("try 1", "failed")]
    assert hourly(reached=True, asked=True) == [("", "failed"), ("try 1", "failed"), ("try 2", "done")]
    assert len(hourly(reached=True, asked=True)) == 3
    item.refresh_from_db()
    assert (item.open, list(processor.charges().values())) == (Decimal("0.00"), [1])
    assert Notice.objects.filter(kind="autopay_failed").count() == 0


@pytest.mark.spec("PAY-6")
def test_the_beat_runs_again_five_times_a_day_at_most(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    route = make_route(biller, processor.url)
    due_bill(biller, processor)
    for _ in range(8):
        tasks.ask_processor(route.pk)
        Route.objects.update(options={**route.options, "base_url": "http://127.0.0.1:9"})
        tasks.collect_due()
        tasks.work_run(Run.objects.latest("pk").pk)
        Route.objects.update(options=route.options)
    assert Run.objects.count() == 6


@pytest.mark.spec("PAY-6")
def test_the_command_takes_the_same_options_and_reports_by_result(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    make_route(biller, processor.url)
    due_bill(biller, processor, amount="10.00", customer={"status": "closed"})
    due_bill(biller, processor, "soft_decline", amount="20.00", customer={"status": "closed"})
    due_bill(biller, processor, amount="30.00", customer={"status": "inactive"})
    due_bill(biller, processor, amount="40.00", collect_on=today() - DAY)
    due_bill(biller, processor, amount="50.00")

    def said(*words: str) -> str:
        out = io.StringIO()
        call_command("collect", "--biller", biller.slug, *words, stdout=out)
        return out.getvalue()

    assert "dry run, 1 bill of 50.00 USD would be collected" in said("--start", "0", "--dry-run")
    assert "2 bills of any day" in said("--rebill", "--dry-run")
    report = said("--closed", "--report")
    assert "this is the run of" not in report
    assert "; --again WORD makes another one" in said("--closed")
    assert f"{biller}: 0 Passed: 1 (10.00 USD)\n" in report
    assert f"{biller}: 7 Soft decline – may be tried again: 1 (20.00 USD)\n" in report
    assert sorted(Payment.objects.values_list("amount", flat=True)) == [Decimal("10.00"), Decimal("20.00")]
    assert "paid 1 (30.00)" in said("--inactive")
    assert "paid 1 (50.00)" in said("--active", "--start", str(today()))
    with pytest.raises(CommandError, match="last collection date"):
        said("--start", "0", "--end", "3")
    with pytest.raises(CommandError, match="not allowed with"):
        said("--closed", "--inactive")
    assert Payment.objects.count() == 4


@pytest.mark.spec("PAY-6")
def test_the_form_takes_closed_accounts_apart(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    make_route(biller, processor.url)
    for status, amount in (("active", "10.00"), ("inactive", "20.00"), ("closed", "30.00")):
        due_bill(biller, processor, amount=amount, customer={"status": status})
    staff = client_of(make_staff(biller))
    answer = staff.post(reverse("biller-run-new"), {"window": "usual", "status": "closed"}, follow=True)
    trial = Run.objects.get()
    assert (trial.dry_run, trial.params["status"]) == (True, "closed")
    assert [(chunk.expected, chunk.expected_total) for chunk in trial.chunks.all()] == [(1, Decimal("30.00"))]
    page = answer.content.decode()
    assert "Closed" in page
    assert Payment.objects.count() == 0


# ---- When bills are collected (PAY-12)


@pytest.mark.spec("PAY-12")
def test_a_csr_chooses_when_an_accounts_bills_are_collected(processor: Processor) -> None:
    biller = with_layout(make_biller(time_zone="UTC", collect_rule="finalized"))
    customer = make_customer(biller, number="35909-001")
    staff = client_of(make_staff(biller))
    path = reverse("biller-account-collection", args=[customer.pk])
    assert staff.post(path, {"rule": "before_due", "days": ""}).status_code == 422
    assert staff.post(path, {"rule": "before_due", "days": "61"}).status_code == 422
    assert Customer.objects.get(pk=customer.pk).collect_rule == ""
    assert staff.post(path, {"rule": "before_due", "days": "5"}).status_code == 302
    page = staff.get(reverse("biller-account-enrolments", args=[customer.pk])).content.decode()
    assert "A bill is collected 5 days before its due date." in page
    load(biller, [Bill(fields={12: "12/10/2026"})])
    item = Item.objects.get()
    assert item.collect_on == datetime.date(2026, 12, 5)
    # Back to the biller's rule; the bill keeps its day.
    assert staff.post(path, {"rule": ""}).status_code == 302
    item.refresh_from_db()
    assert item.collect_on == datetime.date(2026, 12, 5)
    said = [sentence(entry) for entry in AuditEntry.objects.filter(event="autopay.collection_chosen").order_by("pk")]
    assert said == [
        "Chose when AutoPay collects: Days before its due date: 5",
        "Chose when AutoPay collects: As the biller does",
    ]


@pytest.mark.spec("PAY-12")
def test_bills_of_one_cycle_that_stand_for_themselves_are_collected_with_the_first(processor: Processor) -> None:
    biller = with_layout(make_biller(time_zone="UTC", collect_rule="due", balance_forward=False))
    load(biller, [Bill(fields={12: "12/01/2026"}), Bill("35910-001", "8001", fields={12: "12/20/2026"})])
    load(
        biller,
        [
            Bill(number="7002", fields={11: "11/21/2026", 12: "12/15/2026"}),
            Bill("35910-001", "8002", fields={11: "11/21/2026", 12: "12/15/2026"}),
            Bill("35911-001", "9001", fields={12: "12/15/2026"}),
            Bill("35911-001", "9002", fields={12: "12/10/2026"}),
        ],
    )
    days = dict(Item.objects.values_list("invoice__number", "collect_on"))
    assert {number: f"{day:%m/%d}" for number, day in days.items()} == {
        "7001": "12/01", "7002": "12/01", "8001": "12/20", "8002": "12/15", "9001": "12/10", "9002": "12/10",
    }  # fmt: skip
    # The cycle is over once AutoPay has tried its first bill.
    Item.objects.filter(customer__number="35909-001").update(collect_tries=1)
    load(biller, [Bill(number="7003", fields={11: "11/22/2026", 12: "12/25/2026"})])
    assert Item.objects.get(invoice__number="7003").collect_on == datetime.date(2026, 12, 25)


# ---- Routes and transaction types (PAY-19, PAY-20)


@pytest.mark.spec("PAY-19")
def test_each_charge_says_how_it_came_about(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    route = make_route(biller, processor.url)
    customer = make_customer(biller)
    card = make_instrument(customer, route, processor.token(route.merchant))
    for channel in Channel:
        if channel not in {Channel.AUTOPAY, Channel.SCHEDULED}:
            make_invoice(customer, "10.00")
            charges.pay(
                customer=customer, amount=Decimal("10.00"), instrument=card, channel=channel, actor=SYSTEM,
                request_key=channel.name,
            )  # fmt: skip
    make_autopay(customer, card)
    make_invoice(customer, "10.00", due_on=today(), collect_on=today())
    run = collections.plan(biller=biller, options=Options.usual(today()), actor=SYSTEM, now=timezone.now())
    list(collections.work(run=run, actor=SYSTEM))
    heard = {row["key"]: row["type"] for row in processor.book()["rows"]}
    told: dict[str, set[str]] = {}
    for attempt in Attempt.objects.select_related("payment"):
        told.setdefault(heard[str(attempt.pk)], set()).add(Channel(attempt.payment.channel).name)
        assert attempt.transaction_type == heard[str(attempt.pk)]
    assert told == {
        "internet": {"WEB", "GUEST", "API"},
        "recurring": {"AUTOPAY"},
        "moto": {"UNSPECIFIED", "CSR", "TEXT", "IVR", "OUTBOUND_CALL", "KIOSK", "LOCKBOX"},
    }
    assert charges.TRANSACTION_TYPE[Channel.SCHEDULED] == "recurring"


@pytest.mark.spec("PAY-20")
def test_the_first_merchant_in_the_billers_currency_is_the_default_one(processor: Processor) -> None:
    biller = make_biller(time_zone="UTC")
    make_route(biller, processor.url, currency="CAD")
    make_route(biller, processor.url, active=False)
    cards = make_route(biller, processor.url, tenders=["card"])
    both = make_route(biller, processor.url)
    assert (card_entry.route_for(biller, "card"), card_entry.route_for(biller, "bank")) == (cards, both)
    customer = make_customer(biller)
    make_invoice(customer, "10.00", due_on=today(), collect_on=today())
    for route in (cards, both):
        card = make_instrument(customer, route, processor.token(route.merchant))
        charges.pay(
            customer=customer, amount=Decimal("5.00"), instrument=card, channel=Channel.WEB, actor=SYSTEM,
            request_key=route.name,
        )  # fmt: skip
    assert [len(processor.charges(route.merchant)) for route in (cards, both)] == [1, 1]
