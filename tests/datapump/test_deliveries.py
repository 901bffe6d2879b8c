"""Delivery end to end: real rows in PostgreSQL, a real simulated CIS over HTTP, its switches, its book."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from billing import tenancy
from billing.models import AuditEntry, Biller, Setting
from config.environment import ROOT
from datapump.models import (
    Configuration,
    Delivery,
    Endpoint,
    Envelope,
    Outcome,
    Purpose,
    Record,
    RecordState,
    RecordType,
)
from datapump.operations import deliveries, records
from datapump.operations.deliveries import rows
from datapump.operations.deliveries.messages import KINDS, Claimed, Wire
from datapump.operations.deliveries.outcomes import Verdict
from tests.cis import Cis
from tests.datapump.conftest import (
    SYSTEM,
    account_of,
    billed,
    deliver,
    endpoint_of,
    enrol,
    make_due,
    pay,
    point_at,
    until,
)
from tests.factories import make_biller, make_customer, make_endpoint, make_invoice

GUIDS = {"Daffron": {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": True}}}
PAYMENT = "CommitPaymentTransaction"
COMMENT = "WriteAccountHistoryComments"


def states() -> dict[str, int]:
    """Count the records by state."""
    counted: dict[str, int] = {}
    for state in Record.objects.values_list("state", flat=True):
        counted[state] = counted.get(state, 0) + 1
    return counted


def again(record: Record) -> Record:
    """Give the record as it is now."""
    return Record.objects.get(pk=record.pk)


# ---- What is told -----------------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-6", "MSP-7", "MSP-22")
def test_payments_reach_the_books(biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    card = pay(customer, "232.10", approval_code="A01 - Approved (EXACT MATCH)")
    pay(billed(biller), "15.00", tender="ach")
    pay(billed(biller), "1.01", tender="echeck")
    pay(billed(biller), "99999.99", tender="cash")
    tally = deliver()
    assert (tally.delivered, tally.calls) == (4, 4)
    book = cis.book()
    first = next(one for one in book["payments"] if one["account"] == account_of(customer))
    assert (first["amount"], first["tender"]) == ("232.10", "creditCardPayment")
    assert (first["authorization"], first["transaction_id"]) == ("A01 - Approved (EXACT MATCH)",) * 2
    assert book["totals"]["amount"] == "100248.10"
    assert {name: one["payments"] for name, one in book["totals"]["by_tender"].items()} == {
        "creditCardPayment": 1,
        "achPayment": 1,
        "eCheckPayment": 1,
        "cashPayment": 1,
    }
    told = again(card)
    assert (told.state, told.attempts, told.refusals, told.trouble) == ("delivered", 1, 0, "")
    assert told.delivered_at is not None
    (tried,) = Delivery.objects.filter(record=card)
    assert (tried.outcome, tried.status) == (Outcome.DELIVERED, 200)
    kept = Envelope.objects.in_bulk()[tried.envelope_id or 0]
    assert (kept.operation, kept.status, kept.failures) == (PAYMENT, 200, 0)
    assert account_of(customer) in kept.request
    assert "Success" in kept.answer
    assert "cis-password" not in kept.request


@pytest.mark.spec("MSP-7")
def test_setting_131_makes_the_guid_the_transaction_id(biller: Biller, cis: Cis) -> None:
    Setting.objects.create(biller=biller, number=131, value=GUIDS)
    record = pay(billed(biller), approval_code="SAME")
    pay(billed(biller), approval_code="SAME")
    deliver()
    book = cis.book()["payments"]
    assert [one["authorization"] for one in book] == ["SAME", "SAME"]
    assert str(record.pk) in {one["transaction_id"] for one in book}
    assert len({one["transaction_id"] for one in book}) == 2


@pytest.mark.spec("MSP-8")
def test_the_channel_becomes_a_mode(biller: Biller, cis: Cis) -> None:
    Endpoint.objects.filter(biller=biller, purpose=Purpose.PAYMENTS).update(
        options={"card_modes": "0(WEB)|2(CSRWEB)|8(POS)", "ach_modes": "1(EFT)|0(WEBACH)"}
    )
    wanted = {}
    for channel, tender, mode in [
        (1, "card", "WEB"),
        (2, "card", "CSRWEB"),
        (9, "card", "POS"),
        (11, "ach", "WEBACH"),
        (3, "ach", "EFT"),
        (8, "card", "OBD"),
        (8, "ach", "OBD"),
        (5, "card", "WEB"),  # a text: no code of its own
    ]:
        customer = billed(biller)
        pay(customer, channel=channel, tender=tender)
        wanted[account_of(customer)] = mode
    deliver()
    assert {one["account"]: one["mode"] for one in cis.book()["payments"]} == wanted
    endpoint = endpoint_of(biller)
    assert endpoint.note == "payment source 4 has no mode in setting 64 (cards); sent as WEB"
    assert endpoint.noted_at is not None


@pytest.mark.spec("MSP-10")
@pytest.mark.parametrize(("version", "written"), [("1", "<amount>232.1</amount>"), ("2", "<amount>232.10</amount>")])
def test_the_service_version_writes_amounts(biller: Biller, cis: Cis, version: str, written: str) -> None:
    Endpoint.objects.filter(biller=biller).update(options={"service_version": version})
    pay(billed(biller), "232.10")
    assert deliver().delivered == 1
    assert written in Envelope.objects.get().request
    assert cis.totals()["amount"] == "232.10"


@pytest.mark.spec("MSP-13")
def test_paperless_changes(biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    enrol(customer, RecordType.PAPERLESS, True)
    enrol(customer, RecordType.PAPERLESS, False)
    deliver()
    assert [(one["account"], one["ebill"], one["ext_type"]) for one in cis.book()["paperless"]] == [
        (account_of(customer), "Y", "double"),
        (account_of(customer), "N", "double"),
    ]


@pytest.mark.spec("MSP-14")
def test_autopay_says_where(biller: Biller, cis: Cis) -> None:
    customer = make_customer(biller, service_location="at the customer")
    make_invoice(customer, custom4="older", issued_on="2026-09-01")
    make_invoice(customer, custom4="321045080002", issued_on="2026-10-01")
    enrol(customer, RecordType.AUTOPAY, True)
    deliver()
    (comment,) = cis.book()["comments"]
    assert (comment["account"], comment["service_location"], comment["comment"]) == (
        account_of(customer),
        "321045080002",
        "AUTOPAY ON",
    )
    logged = datetime.fromisoformat(comment["log_time"])
    assert logged.utcoffset() in (timedelta(hours=-5), timedelta(hours=-4))
    assert abs(logged - timezone.now()) < timedelta(minutes=1)


@pytest.mark.spec("MSP-12")
@pytest.mark.parametrize(("skips", "location"), [(True, "METER-7"), (False, "DONATION")])
def test_donations_are_passed_over(biller: Biller, cis: Cis, skips: bool, location: str) -> None:
    Setting.objects.create(
        biller=biller, number=131, value={"Daffron": {"DataPumpConfigs": {"SkipDonationTypes": skips}}}
    )
    customer = make_customer(biller)
    make_invoice(customer, custom4="METER-7", issued_on="2026-10-01")
    make_invoice(customer, custom4="DONATION", kind="Donation", issued_on="2026-11-01")
    enrol(customer, RecordType.AUTOPAY, False)
    pay(customer, "5.00")
    deliver()
    book = cis.book()
    assert [one["service_location"] for one in book["comments"]] == [location]
    assert [one["amount"] for one in book["payments"]] == ["5.00"]


def test_the_account_is_written_by_the_billers_template(biller: Biller, cis: Cis) -> None:
    Biller.objects.filter(pk=biller.pk).update(wire_account_template="{base}/{sub}-{custom2}")
    customer = make_customer(biller, base="700", sub="2")
    make_invoice(customer, custom2="C2")
    pay(customer)
    without_invoice = make_customer(biller, base="800", sub="3")
    pay(without_invoice)
    deliver()
    assert {one["account"] for one in cis.book()["payments"]} == {"700/2-C2", "800/3-800"}


def test_a_pending_record_is_never_touched(biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    pending = enrol(customer, RecordType.AUTOPAY, True)
    Record.objects.filter(pk=pending.pk).update(type=RecordType.PENDING)
    after = enrol(customer, RecordType.AUTOPAY, False)
    deliver()
    assert (again(pending).state, again(pending).attempts) == ("waiting", 0)
    assert again(after).state == "delivered"


def test_a_switch_that_is_off_makes_no_record(biller: Biller, cis: Cis) -> None:
    Configuration.objects.filter(biller=biller).update(paperless=False)
    customer = billed(biller)
    with transaction.atomic():
        written = records.write(
            actor=SYSTEM,
            biller_id=biller.pk,
            customer_id=customer.pk,
            type=RecordType.PAPERLESS,
            facts={"enrolled": True},
        )
    assert written == 0
    assert Record.objects.count() == 0


# ---- Order ------------------------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-17")
def test_a_change_and_its_opposite_arrive_in_order(biller: Biller, cis: Cis) -> None:
    customers = [billed(biller) for _ in range(6)]
    cis.control({"action": "drop_after", "probability": 0.3}, {"action": "http_status", "probability": 0.2}, seed=4)
    for customer in customers:
        for turn in range(4):
            record = enrol(customer, RecordType.AUTOPAY, turn % 2 == 0)
            # A comment says the second: in one second two of them would be one to the book.
            Record.objects.filter(pk=record.pk).update(created_at=record.created_at + timedelta(seconds=turn))

    def all_told() -> bool:
        make_due()
        return states() == {"delivered": 24}

    until(all_told)
    by_account: dict[str, list[str]] = {}
    for comment in cis.book()["comments"]:
        said = by_account.setdefault(comment["account"], [])
        if not comment["seen_before"]:
            said.append(comment["comment"])
    assert by_account == {
        account_of(customer): ["AUTOPAY ON", "AUTOPAY OFF", "AUTOPAY ON", "AUTOPAY OFF"] for customer in customers
    }


def test_a_customer_waits_behind_a_refusal_and_others_do_not(biller: Biller, cis: Cis) -> None:
    slow, quick = billed(biller), billed(biller)
    first, second, other = pay(slow), pay(slow), pay(quick)
    cis.control({"action": "failure", "account": account_of(slow), "next": 1, "text": "not today"})
    deliver(waits=1.0)
    refused = again(first)
    assert (refused.state, refused.refusals, refused.trouble) == ("retrying", 1, "refused")
    assert "not today" in refused.failure
    assert timedelta(seconds=3) < refused.due_at - timezone.now() + timedelta(seconds=1) < timedelta(seconds=7)
    assert (again(second).state, again(second).attempts) == ("waiting", 0)
    assert again(other).state == "delivered"
    make_due()
    deliver()
    assert states() == {"delivered": 3}
    positions = {one["transaction_id"]: one["position"] for one in cis.book()["payments"]}
    assert positions[first.facts["approval_code"]] < positions[second.facts["approval_code"]]


# ---- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.spec("MSP-11")
def test_a_refused_payment_stays_undelivered_with_its_reason(biller: Biller, cis: Cis) -> None:
    Endpoint.objects.filter(biller=biller).update(attempts_allowed=3)
    customer = billed(biller)
    refused, following = pay(customer), pay(customer)
    cis.control({"action": "failure", "operation": PAYMENT, "next": 3, "text": "Account is closed"})
    for _ in range(3):
        deliver()
        make_due()
    deliver()
    failed = again(refused)
    assert (failed.state, failed.attempts, failed.refusals) == ("failed", 3, 3)
    assert "Account is closed" in failed.failure
    assert failed.delivered_at is None
    assert again(following).state == "delivered"
    assert [one["transaction_id"] for one in cis.book()["payments"]] == [following.facts["approval_code"]]
    assert [one.outcome for one in Delivery.objects.filter(record=refused)] == ["refused"] * 3


def test_a_failed_update_may_hold_the_customer(biller: Biller, cis: Cis) -> None:
    Endpoint.objects.filter(biller=biller).update(attempts_allowed=1, hold_after_failure=True)
    customer, other = billed(biller), billed(biller)
    refused = pay(customer)
    cis.control({"action": "failure", "account": account_of(customer), "next": 1})
    deliver()
    held, free = pay(customer), pay(other)
    deliver()
    assert (again(refused).state, again(held).state, again(free).state) == ("failed", "waiting", "delivered")
    assert again(held).attempts == 0
    Record.objects.filter(pk=refused.pk).update(state=RecordState.SKIPPED)
    deliver()
    assert again(held).state == "delivered"


def test_a_record_that_cannot_be_written_is_refused_without_a_call(biller: Biller, cis: Cis) -> None:
    customer = make_customer(biller, service_location="")
    record = enrol(customer, RecordType.AUTOPAY, True)
    tally = deliver(waits=1.0)
    assert (tally.calls, tally.refused) == (0, 1)
    refused = again(record)
    assert (refused.state, refused.refusals) == ("retrying", 1)
    assert "service location" in refused.failure
    assert Envelope.objects.count() == 0
    assert endpoint_of(biller, Purpose.AUTOPAY).failures_in_a_row == 0
    # What was missing has come meanwhile: a refused record is looked up anew.
    make_invoice(customer, custom4="METER-1")
    make_due()
    deliver()
    assert cis.book()["comments"][0]["service_location"] == "METER-1"


# ---- Envelopes of several ---------------------------------------------------------------------------------------------


@pytest.fixture
def several(biller: Biller) -> Biller:
    """A biller whose payments travel five to an envelope."""
    Setting.objects.create(biller=biller, number=131, value=GUIDS)
    Endpoint.objects.filter(biller=biller).update(per_envelope=5)
    return biller


@pytest.mark.spec("MSP-11")
def test_several_payments_in_one_call(several: Biller, cis: Cis) -> None:
    customers = [billed(several) for _ in range(10)]
    for customer in customers:
        pay(customer)
        pay(customer, "1.00")
    tally = deliver()
    assert (tally.delivered, tally.calls) == (20, 4)
    assert cis.totals()["payments"] == 20
    assert Envelope.objects.count() == 4
    for kept in Envelope.objects.all():
        assert kept.request.count("<accountNumber>") == 5


@pytest.mark.spec("MSP-11")
def test_the_answer_is_read_for_each_payment(several: Biller, cis: Cis) -> None:
    customers = [billed(several) for _ in range(5)]
    made = {account_of(customer): pay(customer) for customer in customers}
    bad, lost, *good = made
    cis.control({"action": "failure", "account": bad, "next": 1, "text": "no such account"})
    deliver(waits=1.0)
    assert again(made[bad]).state == "retrying"
    assert "no such account" in again(made[bad]).failure
    assert {again(made[account]).state for account in (lost, *good)} == {"delivered"}
    make_due()
    cis.reset()
    more = {account_of(customer): pay(customer) for customer in customers if account_of(customer) != bad}
    cis.control({"action": "missing", "account": lost, "next": 1})
    deliver(waits=1.0)
    missing = again(more[lost])
    assert (missing.state, missing.trouble, missing.refusals) == ("retrying", "unknown", 1)
    assert "said nothing of this payment" in missing.failure
    make_due()
    deliver()
    assert states() == {"delivered": 9}
    assert cis.totals()["payments"] == 5
    assert cis.totals()["repeats"] == 1


def test_an_envelope_refused_whole_goes_again_one_by_one(several: Biller, cis: Cis) -> None:
    customers = [billed(several) for _ in range(5)]
    for customer in customers:
        pay(customer)
    poison = account_of(customers[2])
    cis.control({"action": "fault", "code": "Client", "account": poison, "text": "cannot read this"})
    tally = deliver(waits=1.0)
    assert tally.calls == 6
    refused = Record.objects.get(customer=customers[2])
    assert (refused.state, refused.attempts, refused.refusals) == ("retrying", 2, 1)
    others = Record.objects.exclude(pk=refused.pk)
    assert {(one.state, one.attempts, one.refusals) for one in others} == {("delivered", 2, 0)}
    assert cis.totals()["payments"] == 4


def test_updates_of_one_account_never_share_an_envelope(several: Biller, cis: Cis) -> None:
    Biller.objects.filter(pk=several.pk).update(wire_account_template="{base}")
    for sub in ("1", "2", "3"):
        pay(make_customer(several, base="500", sub=sub))
    tally = deliver()
    assert (tally.delivered, tally.calls) == (3, 3)


# ---- Lost answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "drop_after"},
        {"action": "slow", "seconds": 3, "when": "after"},
        {"action": "garbage", "kind": "html"},
        {"action": "garbage", "kind": "truncated"},
        {"action": "garbage", "kind": "empty", "status": 502},
        {"action": "fault", "when": "after"},
        {"action": "missing", "when": "after"},
    ],
    ids=lambda rule: "-".join(str(value) for value in rule.values()),
)
def test_an_unknown_outcome_goes_again_with_the_same_bytes(biller: Biller, cis: Cis, rule: dict[str, object]) -> None:
    Endpoint.objects.filter(biller=biller).update(timeout_seconds=1)
    customer = billed(biller)
    record = pay(customer)
    cis.control(rule | {"next": 1})
    deliver(waits=1.0)
    unknown = again(record)
    assert (unknown.state, unknown.trouble, unknown.attempts) == ("retrying", "unknown", 1)
    # A new invoice would change the account number on the wire; a repeat keeps the old one.
    make_invoice(customer, custom2="999999", issued_on="2026-11-21")
    make_due()
    deliver()
    assert again(record).state == "delivered"
    first, second = Envelope.objects.order_by("id").values_list("request", flat=True)
    assert first == second
    book = cis.book()
    assert [(one["account"], one["times_received"]) for one in book["payments"]] == [(account_of(customer), 2)]
    assert [one.outcome for one in Delivery.objects.order_by("at")] == ["unknown", "delivered"]


def test_what_was_never_sent_uses_up_no_refusal(biller: Biller, cis: Cis) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    Endpoint.objects.filter(biller=biller).update(url=f"http://127.0.0.1:{port}/", attempts_allowed=1)
    record = pay(billed(biller))
    for _ in range(3):
        deliver()
        make_due()
    waiting = again(record)
    assert (waiting.state, waiting.trouble, waiting.refusals) == ("retrying", "not_sent", 0)
    assert waiting.attempts >= 3
    assert waiting.failure == "The biller's system refuses connections."
    Endpoint.objects.filter(biller=biller).update(url=cis.url)
    deliver()
    assert again(record).state == "delivered"
    assert cis.totals() | {"by_tender": {}} == cis.totals() | {"by_tender": {}, "payments": 1, "repeats": 0}


def test_nonsense_in_answer_to_one_message_fails_that_message(biller: Biller, cis: Cis) -> None:
    Endpoint.objects.filter(biller=biller).update(attempts_allowed=2)
    customer = billed(biller)
    poison, following = pay(customer), pay(customer)
    cis.control({"action": "garbage", "account": account_of(customer), "when": "before", "next": 2})
    deliver()
    make_due()
    deliver()
    assert (again(poison).state, again(poison).trouble, again(poison).refusals) == ("failed", "unknown", 2)
    assert again(following).state == "delivered"


# ---- The endpoint -----------------------------------------------------------------------------------------------------


def test_the_breaker_opens_probes_and_closes(biller: Biller, cis: Cis) -> None:
    for _ in range(40):
        pay(billed(biller))
    cis.control({"action": "http_status", "status": 503, "seconds": 0.2})
    deliver(waits=1.0)
    endpoint = endpoint_of(biller)
    assert endpoint.closed_until is not None
    assert timedelta(seconds=20) < endpoint.closed_until - timezone.now() < timedelta(seconds=37)
    assert "503" in endpoint.last_failure
    tries = Delivery.objects.count()
    assert 10 <= tries <= 10 + 2 * endpoint.in_flight  # what was under way when it opened
    assert Record.objects.filter(state="sending").count() == 0
    deliver(waits=1.0)
    assert Delivery.objects.count() == tries  # open: nothing is sent
    make_due()
    deliver(waits=1.0)
    assert Delivery.objects.count() == tries + 1  # half open: one probe
    assert endpoint_of(biller).closed_until is not None
    cis.reset()
    make_due()
    deliver()
    assert states() == {"delivered": 40}
    well = endpoint_of(biller)
    assert (well.closed_until, well.closed_since, well.failures_in_a_row) == (None, None, 0)
    assert {one.refusals for one in Record.objects.all()} == {0}
    assert cis.totals()["payments"] == 40


def test_a_system_that_asks_for_a_rest_is_left_alone_until_then(biller: Biller, cis: Cis) -> None:
    for _ in range(3):
        pay(billed(biller))
    then = timezone.now().replace(microsecond=0) + timedelta(minutes=10)
    # The others are under way when it asks, and well answered after: that ends no rest.
    cis.control(
        {"action": "http_status", "status": 503, "retry_after": format_datetime(then, usegmt=True), "next": 1},
        {"action": "slow", "seconds": 0.4},
    )
    deliver(waits=1.0, seconds=5.0)
    assert states() == {"delivered": 2, "retrying": 1}
    [busy] = Record.objects.filter(state="retrying")
    assert then <= busy.due_at <= then + timedelta(minutes=2, seconds=5)
    assert busy.refusals == 0
    assert endpoint_of(biller).closed_until == busy.due_at
    pay(billed(biller))
    deliver(waits=1.0, seconds=2.0)
    assert Delivery.objects.count() == 3
    cis.reset()
    make_due()
    deliver()
    assert states() == {"delivered": 4}
    assert endpoint_of(biller).closed_until is None


def test_wrong_credentials_pause_the_endpoint(biller: Biller, cis: Cis) -> None:
    Endpoint.objects.filter(biller=biller, purpose=Purpose.PAYMENTS).update(username="nobody")
    record = pay(billed(biller))
    deliver()
    endpoint = endpoint_of(biller)
    assert endpoint.paused
    assert "Invalid UserID or Pwd" in endpoint.paused_for
    waiting = again(record)
    assert (waiting.state, waiting.trouble, waiting.refusals) == ("waiting", "setup", 0)
    entry = AuditEntry.objects.get(event="endpoint.paused")
    assert (entry.biller_id, entry.subject) == (biller.pk, str(endpoint.pk))
    tries = Delivery.objects.count()
    deliver()
    assert Delivery.objects.count() == tries
    Endpoint.objects.filter(pk=endpoint.pk).update(paused=False, username=cis.username)
    deliver()
    assert again(record).state == "delivered"


def test_autopay_goes_to_the_autopay_endpoint(biller: Biller, cis: Cis) -> None:
    Endpoint.objects.filter(biller=biller).exclude(purpose=Purpose.AUTOPAY).update(paused=True)
    customer = billed(biller)
    record = enrol(customer, RecordType.AUTOPAY, True)
    assert record.endpoint_id == endpoint_of(biller, Purpose.AUTOPAY).pk
    assert records.types_of(Purpose.AUTOPAY) == (
        RecordType.AUTOPAY,
        RecordType.SCHEDULED,
        RecordType.REVERSAL,
        RecordType.FEE,
        RecordType.INACTIVE,
        RecordType.PENDING,
        RecordType.PAY_BY_TEXT,
    )
    pay(customer)
    deliver()
    assert (cis.totals()["comments"], cis.totals()["payments"]) == (1, 0)


def test_a_dead_endpoint_delays_nobody(biller: Biller, cis: Cis) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)  # takes connections and never answers
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        for _ in range(3):
            dead = make_biller()
            make_endpoint(dead, url=address, timeout_seconds=3, in_flight=50)
            for _ in range(20):
                pay(billed(dead))
        small = [pay(billed(biller)) for _ in range(20)]
        began = timezone.now()
        deliver(seconds=2.0)
        told = Record.objects.filter(pk__in=[one.pk for one in small])
        assert {one.state for one in told} == {"delivered"}
        slowest = max(one.delivered_at for one in told if one.delivered_at) - began
        assert slowest < timedelta(seconds=2)
    assert not Record.objects.exclude(biller=biller).filter(state="delivered").exists()


def test_a_system_inside_our_network_is_not_called(biller: Biller, cis: Cis, settings: Settings) -> None:
    settings.PRODUCTION = True
    settings.DATAPUMP_NETWORKS = ["10.0.0.0/8"]
    record = pay(billed(biller))
    deliver()
    assert "may not be reached" in endpoint_of(biller).paused_for
    assert again(record).state == "waiting"
    assert cis.totals()["payments"] == 0


# ---- Processes --------------------------------------------------------------------------------------------------------


def _start_delivering(crash_at: str = "", *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "deliver", "--waits", "0.01", *options],
        cwd=ROOT,
        env={**os.environ, "RATEPAYER_CRASH_AT": crash_at, "LOG_LEVEL": "ERROR"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("point", ["deliver.claimed", "deliver.answered", "deliver.recorded"])
def test_a_killed_process_loses_and_doubles_nothing(biller: Biller, cis: Cis, point: str) -> None:
    Endpoint.objects.filter(biller=biller).update(timeout_seconds=1)
    for _ in range(12):
        customer = billed(biller)
        pay(customer)
        pay(customer, "1.00")
    process = _start_delivering(f"{point}:1")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    assert states() != {"delivered": 24}
    if point != "deliver.recorded":
        assert Record.objects.filter(state="sending").exists()
    until(lambda: states() == {"delivered": 24})
    book = cis.book()
    assert len(book["payments"]) == 24
    assert book["totals"]["amount"] == f"{12 * 85.10:.2f}"
    assert Record.objects.filter(claimed_at__isnull=False).count() == 0


def test_a_claim_lives_until_its_lease_is_over(biller: Biller, cis: Cis) -> None:
    record = pay(billed(biller))
    taken = timezone.now()
    Record.objects.filter(pk=record.pk).update(state="sending", claimed_at=taken)
    deliver(waits=1.0)
    assert (again(record).state, again(record).claimed_at) == ("sending", taken)
    Record.objects.filter(pk=record.pk).update(claimed_at=taken - timedelta(seconds=18))
    deliver(waits=1.0)
    assert again(record).state == "delivered"


def test_claims_of_every_kind_are_freed_when_their_process_has_died(biller: Biller) -> None:
    customer, endpoint, now = billed(biller), endpoint_of(biller), timezone.now()
    for type_ in KINDS:
        Record.objects.create(
            biller=biller, customer=customer, endpoint=endpoint, type=type_, state="sending", requestor=4, made_by="test",
            claimed_at=now - timedelta(hours=1),
        )  # fmt: skip
    with transaction.atomic():
        assert rows.reap(str(endpoint.pk), biller.pk, stale=now, held=[], now=now) == len(KINDS)
    assert set(Record.objects.values_list("state", "trouble", "claimed_at")) == {("retrying", "unknown", None)}


def test_a_late_result_of_a_lost_claim_changes_nothing(biller: Biller, cis: Cis) -> None:
    record = pay(billed(biller))
    lost, held = datetime(2026, 11, 22, 12, tzinfo=UTC), datetime(2026, 11, 22, 13, tzinfo=UTC)
    Record.objects.filter(pk=record.pk).update(state="sending", claimed_at=held)
    verdict = Verdict(RecordState.FAILED, Outcome.REFUSED, "too late", 9, lost)
    for claimed_at, ours in ((lost, set()), (held, {str(record.pk)})):
        claim = Claimed(
            str(record.pk),
            str(record.endpoint_id),
            biller.pk,
            record.customer_id,
            1,
            {},
            lost,
            claimed_at,
            0,
            0,
            Wire("1"),
        )
        with transaction.atomic():
            assert rows.record_results([rows.Result(claim, verdict, None, lost, 5, None)]) == ours
        assert again(record).state == ("failed" if ours else "sending")
    assert Delivery.objects.filter(record=record).count() == 2  # both tries are history


def test_a_shard_is_served_by_one_process(biller: Biller, cis: Cis) -> None:
    pay(billed(biller))
    shard = endpoint_of(biller).pk.int % rows.SHARDS
    holder = connection.copy()
    try:
        with tenancy.acting_for(tenancy.EVERY_BILLER), holder.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [rows._LOCK, shard])
            assert deliver().calls == 0
            assert deliver(shards=[shard]) == deliveries.Tally()
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [rows._LOCK, shard])
    finally:
        holder.close()
    assert deliver(shards=set(range(rows.SHARDS)) - {shard}).calls == 0
    assert deliver().delivered == 1


def test_two_processes_share_the_work(biller: Biller, cis: Cis) -> None:
    for _ in range(15):
        customer = billed(biller)
        pay(customer)
        enrol(customer, RecordType.AUTOPAY, True)
        enrol(customer, RecordType.PAPERLESS, True)
    both = [_start_delivering(), _start_delivering()]
    for process in both:
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
    assert states() == {"delivered": 45}
    book = cis.book()
    assert (len(book["payments"]), len(book["comments"]), len(book["paperless"])) == (15, 15, 15)
    assert book["totals"]["repeats"] == 0


def test_it_hands_over_when_its_time_is_up(biller: Biller, cis: Cis) -> None:
    Endpoint.objects.filter(biller=biller).update(in_flight=1)
    cis.control({"action": "slow", "seconds": 0.1})
    for _ in range(30):
        pay(billed(biller))
    began = time.monotonic()
    tally = deliver(seconds=0.5)
    assert time.monotonic() - began < 3
    assert tally.more
    assert 0 < tally.delivered < 30
    assert Record.objects.filter(state="sending").count() == 0
    cis.reset()
    Endpoint.objects.filter(biller=biller).update(in_flight=8)
    assert not deliver().more
    assert states() == {"delivered": 30}
    assert cis.totals()["payments"] + tally.delivered == 30


def test_many_updates_of_one_customer_go_one_after_another(biller: Biller, cis: Cis) -> None:
    customer = billed(biller)
    for number in range(30):
        pay(customer, f"{number + 1}.00")
    deliver()
    assert [one["amount"] for one in cis.book()["payments"]] == [f"{number + 1}.00" for number in range(30)]


def test_records_wait_for_an_endpoint(transactional_db: None, cis: Cis) -> None:
    lone = make_biller()
    record = pay(billed(lone))
    assert record.endpoint_id is None
    assert deliver().calls == 0
    with transaction.atomic():
        assert records.adopt(point_at(cis, lone)) == 1
    deliver()
    assert again(record).state == "delivered"
    assert uuid.UUID(str(record.pk))
