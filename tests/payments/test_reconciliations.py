"""A restored database: it knows itself, charges nobody until its book is the processor's, and then nobody twice."""

from __future__ import annotations

import datetime
import functools
import io
import shutil
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import F
from django.utils import timezone
from psycopg import sql

from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Biller, Customer, Installation, Item, Run
from billing.operations import billers
from datapump.models import Record
from payments.gateways.base import Answer, ChargeRequest, Command
from payments.models import Attempt, Case, Channel, Instrument, Payment, Reversal, Route
from payments.operations import (
    authorizations,
    cases,
    charges,
    collections,
    reconciliations,
    recoveries,
    refunds,
    restores,
    returns,
    runs,
    unbooked_charges,
)
from payments.operations.cases import CaseRefused
from tests import servers
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_invoice,
    make_route,
)
from tests.payments.test_carryovers import books_hold
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = Actor.system("test")
DANA = Actor(Requestor.OPERATOR, "Dana Whitfield")
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def biller(processor: Processor) -> Biller:
    biller = make_biller(time_zone="UTC")
    make_endpoint(biller)
    make_route(biller, processor.url, options={"timeout": 2.0, "batch_timeout": 2.0, "settle_seconds": 2.0})
    return biller


def owing(biller: Biller, processor: Processor, amount: str = "84.10", *, autopay: bool = True) -> Instrument:
    route, today = Route.objects.get(biller=biller), timezone.now().date()
    customer = make_customer(biller)
    card = make_instrument(customer, route, processor.token(route.merchant))
    if autopay:
        make_autopay(customer, card)
    make_invoice(customer, amount, due_on=today, collect_on=today)
    return card


def collect(biller: Biller, repeat: str = "") -> Run:
    biller.refresh_from_db()
    options = collections.Options.usual(timezone.now().date(), repeat=repeat)
    run = collections.plan(biller=biller, options=options, actor=SYSTEM, now=timezone.now())
    for _chunk in collections.work(run=run, actor=SYSTEM):
        pass
    return run


def pay(card: Instrument, key: str, *, authorize_only: bool = False) -> Payment:
    return charges.pay(
        customer=card.customer, amount=Item.objects.get(customer=card.customer).amount, instrument=card,
        channel=Channel.CSR, actor=SYSTEM, request_key=key, authorize_only=authorize_only,
    )  # fmt: skip


@contextmanager
def restored_afterwards() -> Iterator[None]:
    """Dump the database, and put the dump in its place at the end of the block: what happens inside it is forgotten."""
    name = settings.DATABASES["default"]["NAME"]
    dump = f"{name}_dump"
    _copy(name, dump)
    try:
        yield
        _copy(dump, name)
    finally:
        with psycopg.connect(servers.superuser(), autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(dump)))


def _copy(source: str, target: str) -> None:
    connections.close_all()
    with psycopg.connect(servers.superuser(), autocommit=True) as server:
        found = server.execute(
            "SELECT r.rolname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = %s", [source]
        ).fetchone()
        assert found is not None
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(target)))
        # Servers that earlier tests ran in this process may have left connections, and what is copied must have none.
        server.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [source])
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                sql.Identifier(target), sql.Identifier(source), sql.Identifier(found[0])
            )
        )


def long_ago() -> None:
    """Let the restore, and what was on its way at the backup, be an hour old: the response files cover both."""
    for one in Biller.objects.exclude(restored_at=None):
        Biller.objects.filter(pk=one.pk).update(restored_at=F("restored_at") - HOUR)
    Attempt.objects.filter(state="open").update(sent_at=timezone.now() - HOUR)


def marks(biller: Biller) -> tuple[Any, ...]:
    return Biller.objects.values_list("charging_stopped", "restored_at", "reconcile_since").get(pk=biller.pk)


def reconcile(biller: Biller) -> reconciliations.Reconciled:
    return reconciliations.reconcile(biller=biller, actor=SYSTEM, now=timezone.now())


@pytest.mark.spec("PAY-10")
def test_after_a_restore_nobody_is_charged_twice_and_the_books_agree(biller: Biller, processor: Processor) -> None:
    merchant = Route.objects.get().merchant
    before_it = owing(biller, processor, "12.00")
    collect(biller, "before the backup")
    stuck = owing(biller, processor, "7.00", autopay=False)
    processor.strike("drop_before")
    pay(stuck, "stuck")
    held = owing(biller, processor, "30.00", autopay=False)
    pay(held, "hold", authorize_only=True)
    cards = [owing(biller, processor, amount) for amount in ("84.10", "15.55")]
    with restored_afterwards():
        collect(biller)
        authorizations.deposit(payment=Payment.objects.get(customer=held.customer), actor=SYSTEM)
        # What had no answer at the backup was found absent, and the bill paid under another attempt.
        cases.abandon(
            attempt=Attempt.objects.get(state="open"), why="Not in their file.", actor=SYSTEM, now=timezone.now()
        )
        pay(stuck, "again")
        ids = set(Payment.objects.filter(state="posted").values_list("pk", flat=True))
        charged = processor.charges(merchant)
        assert sum(charged.values()) == 5
        assert Record.objects.count() == 5

    # The new database knows that it is not where it was, and nobody is charged from it.
    assert marks(biller)[0] and marks(biller)[1] is not None
    assert Payment.objects.filter(state="posted").count() == 1
    with pytest.raises(runs.RunRefused):
        collect(biller)
    with pytest.raises(charges.ChargingStopped):
        pay(cards[0], "portal")
    with pytest.raises(billers.NotReconciled):
        billers.allow_charging(biller=biller, actor=SYSTEM)
    none = datetime.timedelta(0)
    long_ago()
    assert recoveries.recover(biller=biller, actor=SYSTEM, least_age=none, pause=none).resent == 0
    assert processor.charges(merchant) == charged

    # No file yet, then one that covers the restore.
    assert "gave no response file" in reconcile(biller).why_not
    processor.close_response_file(merchant)
    found = reconcile(biller)
    assert (found.why_not, found.cases, found.missing) == ("", 0, 0)
    assert (found.recorded, found.recorded_total, found.abandoned) == (4, Decimal("136.65"), 1)
    assert found.confirmed == 2  # the charge before the backup, and the authorization
    # Each payment is the one that it was: the biller's own system hears it under the same id.
    assert set(Payment.objects.filter(state="posted").values_list("pk", flat=True)) == ids
    assert set(Record.objects.values_list("pk", flat=True)) == ids
    assert {one.open for one in Item.objects.all()} == {Decimal("0.00")}
    assert {one.balance for one in Customer.objects.all()} == {Decimal("0.00")}
    books_hold()

    again = reconciliations.reconcile(biller=biller, actor=SYSTEM, now=timezone.now(), since=found_since(biller))
    assert (again.recorded, again.confirmed, again.cases) == (0, 6, 0)
    assert marks(biller) == (True, None, None)
    billers.allow_charging(biller=biller, actor=SYSTEM)
    collect(biller)
    collect(biller, "again")
    assert processor.charges(merchant) == charged
    assert before_it.customer_id in set(Payment.objects.values_list("customer_id", flat=True))
    books_hold()


@pytest.mark.spec("PAY-10", "PAY-33")
def test_a_refund_that_the_restored_book_lacks_is_found_again_and_not_taken_for_a_charge(
    biller: Biller, processor: Processor
) -> None:
    merchant = Route.objects.get().merchant
    card = owing(biller, processor, autopay=False)
    paid = pay(card, "one")
    with restored_afterwards():
        lost = refunds.refund(
            payment=Payment.objects.select_related("biller", "route").get(pk=paid.pk), amount=Decimal("40.00"),
            reason="Paid twice", actor=DANA, request_key="back",
        )  # fmt: skip
        assert lost.state == "done"
    long_ago()
    processor.close_response_file(merchant)
    found = reconcile(biller)
    assert (found.why_not, found.cases, found.recorded, found.recorded_total) == ("", 0, 1, Decimal("40.00"))
    again = Reversal.objects.get()
    assert (again.state, again.kind, str(again.amount), str(again.attempt_id)) == (
        "done", "refund", "40.00", str(lost.attempt_id),
    )  # fmt: skip
    assert (str(Item.objects.get().open), str(Customer.objects.get().balance)) == ("40.00", "40.00")
    books_hold()
    reconciliations.reconcile(biller=biller, actor=SYSTEM, now=timezone.now(), since=found_since(biller))
    assert Reversal.objects.count() == 1


@pytest.mark.spec("PAY-10", "PAY-32")
def test_a_chargeback_of_a_charge_that_the_restored_book_lacks_waits_until_it_is_found_again(
    biller: Biller, processor: Processor
) -> None:
    merchant = Route.objects.get().merchant
    card = owing(biller, processor, autopay=False)
    read = functools.partial(returns.read, biller=biller, actor=SYSTEM)
    with restored_afterwards():
        paid = pay(card, "one")
        charge = str(Attempt.objects.get(payment=paid).pk)
    processor.reverse(merchant, charge, "chargeback")
    assert [read(now=timezone.now()), read(now=timezone.now())] == [returns.Read(), returns.Read()]
    long_ago()
    processor.close_response_file(merchant)
    assert (reconcile(biller).why_not, Customer.objects.get().balance) == ("", Decimal("0.00"))
    assert read(now=timezone.now()) == returns.Read(taken=1)
    assert Customer.objects.get().balance == Decimal("84.10")
    books_hold()
    # Where rows alone were put back, what was read since they were kept is read again.
    restores.declare(billers=[biller], actor=SYSTEM, now=timezone.now(), since=timezone.now() - 9 * HOUR)
    read_until = Route.objects.get().reversals_read_until
    assert read_until is not None and read_until < timezone.now() - 8 * HOUR


def found_since(biller: Biller) -> datetime.datetime:
    return timezone.now() - datetime.timedelta(days=7)


@pytest.mark.spec("PAY-10")
def test_charges_that_cannot_be_told_and_payments_they_do_not_name_are_cases(
    biller: Biller, processor: Processor
) -> None:
    route = Route.objects.get()
    other, ours = owing(biller, processor, "20.00"), owing(biller, processor, "11.00", autopay=False)
    collect(biller)
    # Theirs alone: of an account that there is not, in a message of another system; and a refund.
    key, refund = uuid.uuid4(), uuid.uuid4()
    token = processor.token(route.merchant)
    gateway = processor.gateway(route.merchant)
    asked: dict[str, Any] = {"currency": "USD", "token": token, "tender": "card", "transaction_type": "moto"}
    (charged,) = gateway.send([ChargeRequest(str(key), Command.CHARGE, Decimal("33.00"), account="9-1", **asked)])
    assert isinstance(charged, Answer)
    list(
        gateway.send(
            [
                ChargeRequest(
                    str(refund), Command.REFUND, Decimal("1.00"), reference=charged.processor_reference, **asked
                )
            ]
        )
    )
    # Ours alone: somebody said that it was charged, and it was not.
    processor.strike("drop_before")
    pay(ours, "never")
    wrongly = Attempt.objects.get(state="open")
    cases.settle_as_charged(attempt=wrongly, approval_code="", evidence="I think so.", actor=DANA, now=timezone.now())
    restores.declare(billers=[biller], actor=SYSTEM, now=timezone.now())
    long_ago()
    Attempt.objects.update(sent_at=timezone.now() - HOUR)
    processor.close_response_file(route.merchant)
    found = reconcile(biller)
    assert (found.recorded, found.confirmed, found.cases, found.missing) == (0, 1, 2, 1)
    assert found.why_not == "2 charge(s) of the processor are not in our book. Decide their cases first."
    assert reconcile(biller).cases == 2
    assert marks(biller)[1] is not None

    case = Case.objects.get(kind="unbooked", key=str(key))
    assert (case.key, case.attempt_id, case.customer_id, case.facts["amount"], case.facts["account"]) == (
        str(key), None, None, "33.00", "9-1",
    )  # fmt: skip
    assert Case.objects.get(kind="missing").attempt == wrongly
    with pytest.raises(CaseRefused):
        unbooked_charges.record_unbooked(
            case=case, customer=other.customer, evidence=" ", actor=DANA, now=timezone.now()
        )
    seen_before = Case.objects.get(pk=case.pk)
    payment = unbooked_charges.record_unbooked(
        case=case, customer=other.customer, evidence="Called them.", actor=DANA, now=timezone.now()
    )
    # Somebody who had the same page open decides nothing any more.
    for late in (
        lambda: unbooked_charges.record_unbooked(
            case=seen_before, customer=ours.customer, evidence="Called too.", actor=SYSTEM, now=timezone.now()
        ),
        lambda: unbooked_charges.close_reconciled(case=seen_before, outcome="No.", actor=SYSTEM, now=timezone.now()),
    ):
        with pytest.raises(CaseRefused, match="closed already"):
            late()
    assert Case.objects.get(pk=case.pk).customer_id == other.customer_id
    # Nor does somebody who came while it was being recorded for another account.
    Case.objects.filter(pk=case.pk).update(state="open")
    with pytest.raises(CaseRefused, match="another account"):
        unbooked_charges.record_unbooked(
            case=seen_before, customer=ours.customer, evidence="Called too.", actor=SYSTEM, now=timezone.now()
        )
    Case.objects.filter(pk=case.pk).update(state="done")
    assert (payment.state, payment.amount, payment.customer_id) == ("posted", Decimal("33.00"), other.customer_id)
    assert Customer.objects.get(pk=other.customer_id).balance == Decimal("-33.00")
    unbooked_charges.close_reconciled(
        case=Case.objects.get(key=str(refund)), outcome="Another system's.", actor=DANA, now=timezone.now()
    )
    case.refresh_from_db()
    assert (case.state, case.closed_by) == ("done", "Dana Whitfield")
    assert reconcile(biller).why_not == ""
    assert marks(biller) == (True, None, None)
    books_hold()


def test_the_command_says_what_is_missing_and_lets_charging_go_on_when_nothing_is(
    biller: Biller, processor: Processor
) -> None:
    owing(biller, processor)
    call_command("restored", "--biller", biller.slug, stdout=io.StringIO())
    out = io.StringIO()
    with pytest.raises(CommandError, match="Not reconciled"):
        call_command("reconcile", "--biller", biller.slug, "--allow-charging", stdout=out)
    assert "gave no response file" in out.getvalue()
    processor.close_response_file(Route.objects.get().merchant)
    with pytest.raises(CommandError, match="Not reconciled"):
        call_command("reconcile", "--biller", biller.slug, "--allow-charging", stdout=out)
    assert "may be in a later one" in out.getvalue()
    assert marks(biller)[0]
    long_ago()
    # Since a later moment than the restore's own proves too little.
    with pytest.raises(CommandError, match="Not reconciled"):
        call_command("reconcile", "--biller", biller.slug, "--since", str(timezone.now() - HOUR / 60), stdout=out)
    call_command("reconcile", "--biller", biller.slug, "--allow-charging", stdout=out)
    assert marks(biller) == (False, None, None)


def test_charging_is_allowed_by_a_later_call_where_a_biller_is_named(biller: Biller, processor: Processor) -> None:
    owing(biller, processor)
    call_command("restored", "--biller", biller.slug, stdout=io.StringIO())
    long_ago()
    processor.close_response_file(Route.objects.get().merchant)

    def said(*words: str) -> list[str]:
        out = io.StringIO()
        call_command("reconcile", *words, stdout=out)
        return [line.removeprefix(f"{biller}: ") for line in out.getvalue().splitlines()]

    next_step = "nothing stands in the way. manage.py check_books, then allow charging again"
    assert said("--biller", biller.slug)[-1] == next_step
    # Nobody starts what somebody may have stopped for another reason by naming every biller.
    none = "no restore waits to be compared; --since compares what was charged since then"
    how = f"charging is stopped; manage.py reconcile --biller {biller.slug} --allow-charging allows it"
    assert said("--biller", "all", "--allow-charging") == [none, how]
    assert marks(biller) == (True, None, None)
    assert said("--biller", biller.slug, "--allow-charging") == [none, "charging is allowed again"]
    assert marks(biller) == (False, None, None)
    assert said("--biller", biller.slug) == [none]


@pytest.mark.spec("PAY-10")
def test_one_processor_that_is_gone_keeps_neither_its_biller_nor_the_others_waiting(
    biller: Biller, processor: Processor
) -> None:
    owing(biller, processor)
    other = make_biller(name="Oak Hollow")
    make_route(
        other, processor.url, merchant="oak", options={"timeout": 2.0, "batch_timeout": 2.0, "settle_seconds": 2.0}
    )
    gone = make_route(biller, "http://127.0.0.1:1", merchant="gone", name="Gone", options={"connect_timeout": 0.5})
    restores.declare(billers=[biller, other], actor=SYSTEM, now=timezone.now())
    long_ago()
    for route in Route.objects.exclude(pk=gone.pk):
        processor.close_response_file(route.merchant)
    for options in (["--rfr"], ["--returns"]):
        out = io.StringIO()
        with pytest.raises(CommandError, match=f"{biller}: .*could not be read") as failed:
            call_command("recover", "--biller", "all", *options, stdout=out)
        assert str(other) not in str(failed.value) and str(other) in out.getvalue()
    with pytest.raises(CommandError, match=f"Not reconciled: {biller}. "):
        call_command("reconcile", "--biller", "all", stdout=io.StringIO())
    assert (marks(biller)[1] is not None, marks(other)) == (True, (True, None, None))
    with pytest.raises(CommandError, match="Not reconciled"):
        call_command("reconcile", "--biller", biller.slug, "--without", "Nowhere", stdout=io.StringIO())
    assert marks(biller)[1] is not None
    call_command("reconcile", "--biller", biller.slug, "--without", "Gone", stdout=io.StringIO())
    assert marks(biller) == (True, None, None)
    assert AuditEntry.objects.get(event="biller.not_compared").facts == {"routes": "Gone"}


@pytest.mark.spec("PAY-10")
def test_a_standby_is_another_place_as_soon_as_it_is_promoted() -> None:
    server = servers.spare_postgres(f"promoted-{uuid.uuid4().hex[:8]}", {"checkpoint_timeout": "1h"})
    try:
        port = server.start()
        with psycopg.connect(server.address(port, "postgres", "", "postgres"), autocommit=True) as connection:
            connection.execute("SET synchronous_commit = on")
            connection.execute("CREATE TABLE billing_installation AS SELECT generate_series(1, 100000) AS id")
            before = connection.execute(restores.HERE).fetchone()
        # It dies with much to write down, and comes back as a standby.
        server.stop(signal.SIGQUIT)
        (server.directory / "standby.signal").touch()
        port = server.start()
        with psycopg.connect(server.address(port, "postgres", "", "postgres"), autocommit=True) as connection:
            with pytest.raises(psycopg.OperationalError, match="recovery is in progress"):
                connection.execute(restores.HERE)
            connection.execute("SELECT pg_promote(true, 60)")
            here = connection.execute(restores.HERE).fetchone()
            # The checkpoint that will tell of the new timeline takes its time.
            assert connection.execute("SELECT timeline_id FROM pg_control_checkpoint()").fetchone() == (1,)
        assert before is not None and here is not None
        cluster, timeline, *rest = before[0].split(":")
        assert (timeline, here[0].split(":")) == ("1", [cluster, "2", *rest])
    finally:
        server.stop()
        shutil.rmtree(server.directory, ignore_errors=True)
        for left in (".log", ".port"):
            server.directory.with_suffix(left).unlink(missing_ok=True)


def test_a_database_at_home_notices_nothing_and_one_elsewhere_once(biller: Biller) -> None:
    assert not restores.notice()
    assert not Biller.objects.get().charging_stopped
    Installation.objects.update(server="another:1:2:3")
    assert restores.notice()
    assert not restores.notice()
    stopped = Biller.objects.get()
    assert stopped.charging_stopped and stopped.restored_at is not None
    assert stopped.reconcile_since == stopped.created_at - datetime.timedelta(days=7)
