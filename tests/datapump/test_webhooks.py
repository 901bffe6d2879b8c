"""Signed webhooks: what is written and signed, and delivered by the loop to a receiver that verifies by itself."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest
import time_machine
from django.db import connection, transaction
from django.utils import timezone as clock
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from billing.actors import Actor
from billing.models import AuditEntry, Biller, Customer
from datapump.biller_portal.updates import veil
from datapump.connectors.base import Message, Misconfigured, Refused, Target
from datapump.connectors.receiver_simulator.server import SCHEMA
from datapump.connectors.receiver_simulator.signatures import NotAuthentic, check
from datapump.connectors.registry import connector_named
from datapump.connectors.webhooks.events import CHANNELS, EVENTS
from datapump.models import Delivery, Endpoint, Envelope, Purpose, Record, RecordType
from datapump.operations import endpoints, records
from datapump.operations.deliveries.messages import KINDS, SOURCES
from tests.contracts.test_connectors import make_message
from tests.datapump.conftest import SYSTEM, billed, deliver, endpoint_of, enrol, make_due, pay
from tests.factories import make_biller, make_endpoint
from tests.receivers import SECRET, Receiver
from tests.staff import client_of, make_staff

webhooks = connector_named("webhooks")
TARGET = Target(url="https://receiver.example/events", password=SECRET)
AT = datetime(2026, 11, 22, 15, 8, 45, 120_000, tzinfo=UTC)


# ---- What is written ---------------------------------------------------------------------------------------------------


def test_a_payment_says_what_was_paid_and_its_id_is_the_records() -> None:
    envelope = webhooks.write([make_message("payment", id="0198c2f0-0000-7000-8000-000000000001", source=8)], TARGET)
    assert envelope.body.decode() == (
        '{"type":"payment.posted","timestamp":"2026-11-22T15:08:45.000000Z","data":{"account":"35909001",'
        '"payment_id":"guid-35909001-0198c2f0-0000-7000-8000-000000000001","amount":"232.10","currency":"USD",'
        '"tender":"card","authorization":"A01 - Approved","channel":"kiosk","kiosk":""}}'
    )
    assert dict(envelope.headers) == {
        "Content-Type": "application/json", "webhook-id": "0198c2f0-0000-7000-8000-000000000001",
    }  # fmt: skip
    assert envelope.operation == "payment.posted"


def test_every_kind_of_record_has_its_event_and_every_event_fits_the_schema() -> None:
    assert set(KINDS.values()) <= set(EVENTS)
    assert set(SOURCES.values()) == set(CHANNELS)
    schema = json.loads(SCHEMA.read_text("utf-8"))
    valid = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    assert {part["$ref"].removeprefix("#/$defs/") for part in schema["oneOf"]} == {
        "ping", *(event.type for event in EVENTS.values()),
    }  # fmt: skip
    for kind in EVENTS:
        valid.validate(json.loads(webhooks.write([make_message(kind)], TARGET).body))
    valid.validate(json.loads(webhooks.write_ping(TARGET).body))
    assert webhooks.write_ping(TARGET).headers["webhook-id"] != webhooks.write_ping(TARGET).headers["webhook-id"]


@pytest.mark.parametrize(
    ("kind", "facts", "words"),
    [
        ("payment", {"amount": "0.00"}, "not a sum above zero"),
        ("payment", {"amount": "1.005"}, "not a sum above zero"),
        ("payment", {"amount": "NaN"}, "not a sum above zero"),
        ("payment", {"tender": "bitcoin"}, "bitcoin"),
        ("payment", {"payment_guid": ""}, "no GUID"),
        ("payment", {"approval_code": "a\x00b"}, "character"),
        ("payment", {"kiosk": "\ud83d"}, "character"),
        ("paperless", {"enrolled": "yes"}, "on or off"),
        ("autopay", {"enrolled": None}, "on or off"),
        ("pay_by_text", {"status": "asleep"}, "what happened"),
        ("scheduled", {"status": "lost"}, "what happened"),
    ],
)
def test_what_an_event_cannot_say_is_refused(kind: str, facts: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        webhooks.write([make_message(kind, **facts)], TARGET)
    assert refused.value.message_id == "r1"


@pytest.mark.parametrize("secret", ["", "hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_***", "whsec_" + "A" * 100])
def test_without_a_proper_secret_nothing_is_written(secret: str) -> None:
    target = dataclasses.replace(TARGET, password=secret)
    with pytest.raises(Misconfigured, match="secret"):
        webhooks.write([make_message("payment")], target)
    with pytest.raises(Misconfigured, match="secret"):
        webhooks.write_ping(target)
    with pytest.raises(Misconfigured, match="secret"):
        webhooks.sign(webhooks.write_ping(TARGET), target, AT)


def test_secrets_are_of_256_bits_and_never_the_same() -> None:
    made = {webhooks.make_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(one.startswith("whsec_") and len(one) == 50 for one in made)


# ---- What is signed ----------------------------------------------------------------------------------------------------


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone(timedelta(hours=-5)))),  # noqa: DTZ001  # hypothesis adds the zone
)
def test_the_library_and_the_receivers_own_check_believe_it_at_its_time_alone(account: str, at: datetime) -> None:
    envelope = webhooks.write([make_message("payment", account)], TARGET)
    headers = {**envelope.headers, **webhooks.sign(envelope, TARGET, at)}
    with time_machine.travel(at, tick=False):
        assert Webhook(SECRET).verify(envelope.body, dict(headers))["data"]["account"] == account
    known = {name.lower(): value for name, value in headers.items()}
    assert check(known, envelope.body, secrets=[SECRET], now=at.timestamp() + 299) == "r1"
    for wrong in (
        {"secrets": [SECRET], "now": at.timestamp() + 302},
        {"secrets": [SECRET], "now": at.timestamp() - 302},
        {"secrets": [webhooks.make_secret()], "now": at.timestamp()},
        {"secrets": [], "now": at.timestamp()},
    ):
        with pytest.raises(NotAuthentic):
            check(known, envelope.body, **wrong)  # type: ignore[arg-type]  # each is one of both
    with time_machine.travel(at + timedelta(minutes=6), tick=False), pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(envelope.body, dict(headers))


def test_a_repeat_is_the_same_but_for_the_time_of_its_try_and_its_signature() -> None:
    message: Message = make_message("payment")
    first, second = webhooks.write([message], TARGET), webhooks.write([message], TARGET)
    assert first == second
    early, late = webhooks.sign(first, TARGET, AT), webhooks.sign(second, TARGET, AT + timedelta(hours=1))
    assert (early["webhook-timestamp"], late["webhook-timestamp"]) == ("1795360125", "1795363725")
    assert early["webhook-signature"] != late["webhook-signature"]


# ---- Delivered by the loop ---------------------------------------------------------------------------------------------


@pytest.fixture
def town(transactional_db: None, receiver: Receiver) -> Biller:
    """A biller whose every update goes out by webhook."""
    made = make_biller()
    for purpose in (Purpose.PAYMENTS, Purpose.PAPERLESS, Purpose.AUTOPAY):
        make_endpoint(
            made, purpose, connector="webhooks", url=receiver.url, username="", password=SECRET, timeout_seconds=2
        )
    return made


def test_every_kind_of_record_reaches_the_receiver_once_in_its_order(town: Biller, receiver: Receiver) -> None:
    customer = billed(town)
    payment = pay(customer, "84.10", channel=9)
    for enrolled in (True, False):
        enrol(customer, RecordType.PAPERLESS, enrolled)
        enrol(customer, RecordType.AUTOPAY, enrolled)
    deliver()
    account = f"{customer.base}{customer.sub}"
    events = receiver.book()["events"]
    told = [(event["type"], event["data"].get("enrolled")) for event in events]
    assert [one for one in told if one[0] == "paperless.changed"] == [("paperless.changed", on) for on in (True, False)]
    assert [one for one in told if one[0] == "autopay.changed"] == [("autopay.changed", on) for on in (True, False)]
    [posted] = [event for event in events if event["type"] == "payment.posted"]
    assert posted["data"] == {
        "account": account, "payment_id": str(payment.pk), "amount": "84.10", "currency": "USD", "tender": "card",
        "authorization": payment.facts["approval_code"], "channel": "kiosk", "kiosk": "",
    }  # fmt: skip
    assert posted["webhook_id"] == str(payment.pk)
    assert {event["times_received"] for event in events} == {1}
    assert set(Record.objects.values_list("state", flat=True)) == {"delivered"}


FOLLOWING = {RecordType.REVERSAL: "reversal", RecordType.FEE: "fee", RecordType.INACTIVE: "inactive"}


def follow(customer: Customer) -> None:
    """Write a record of each kind that follows from payments."""
    for type_, kind in FOLLOWING.items():
        with transaction.atomic():
            facts = dict(make_message(kind).facts)
            records.write(actor=SYSTEM, biller_id=customer.biller_id, customer_id=customer.pk, type=type_, facts=facts)


@pytest.mark.spec("PAY-35", "PAY-36")
def test_an_endpoint_for_payments_alone_hears_what_follows_from_them_in_one_order(
    town: Biller, receiver: Receiver
) -> None:
    Endpoint.objects.filter(biller=town).exclude(purpose=Purpose.PAYMENTS).delete()
    customer = billed(town)
    for _ in range(2):
        pay(customer, "84.10")
        follow(customer)
    deliver()
    following = ["payment.posted", "payment.reversed", "fee.changed", "account.inactive"]
    assert [event["type"] for event in receiver.book()["events"]] == [*following, *following]
    assert set(Record.objects.values_list("state", flat=True)) == {"delivered"}


def test_what_follows_from_payments_is_heard_where_its_connector_tells_it(town: Biller) -> None:
    customer, mine = billed(town), Endpoint.objects.filter(biller=town)
    client = client_of(make_staff(town, "administrator"))

    def heard_at() -> set[str | None]:
        Record.objects.all().delete()
        follow(customer)
        return set(Record.objects.values_list("endpoint__purpose", flat=True))

    def listed(purpose: str) -> bool:
        return (
            "payment.reversed"
            in client.get(f"/biller/settings/datapump/{purpose}/?connector=webhooks").content.decode()
        )

    assert (heard_at(), listed("payments"), listed("autopay")) == ({"payments"}, True, False)
    mine.filter(purpose="payments").update(connector="multispeak")
    assert (heard_at(), listed("autopay")) == ({"autopay"}, True)
    Record.objects.all().delete()
    mine.filter(purpose="autopay").delete()
    assert heard_at() == {None}
    # What waits is given to whoever hears of it now, and taken from whoever does not.
    cis = {"connector": "multispeak", "url": "https://cis.example/CB", "username": "u", "password": "p"}
    by_webhook = {"connector": "webhooks", "url": "https://receiver.example/"}

    def change(purpose: str, fields: dict[str, str]) -> set[str | None]:
        endpoints.change(actor=SYSTEM, biller=town, purpose=purpose, fields=fields, options={})
        return set(Record.objects.values_list("endpoint__purpose", flat=True))

    assert change("payments", by_webhook) == {"payments"}
    assert change("payments", cis) == {None}
    assert change("autopay", cis) == {"autopay"}
    assert change("payments", by_webhook) == {"autopay"}


def test_after_an_unknown_outcome_the_same_id_and_bytes_go_again_and_count_once(
    town: Biller, receiver: Receiver
) -> None:
    receiver.control(
        {"action": "drop_after", "next": 1}, {"action": "status", "status": 503, "when": "after", "next": 2}
    )
    record = pay(billed(town))
    for _ in range(3):
        deliver(waits=1.0, seconds=3.0)
        make_due()
    deliver()
    assert Record.objects.get(pk=record.pk).state == "delivered"
    book = receiver.book()
    assert [(event["webhook_id"], event["times_received"]) for event in book["events"]] == [(str(record.pk), 4)]
    assert [repeat["same"] for repeat in book["repeats"]] == [True] * 3
    assert Delivery.objects.filter(record=record).count() == 4


@pytest.mark.parametrize(
    ("rule", "state", "paused_for"),
    [
        ({"action": "status", "status": 410}, "waiting", "The receiver wants no more events (HTTP 410 Gone)."),
        ({"action": "redirect"}, "waiting", "The receiver sends us to another address (HTTP 302)."),
        ({"action": "status", "status": 429}, "retrying", ""),
        ({"action": "status", "status": 422, "text": "no such account"}, "retrying", ""),
    ],
    ids=["gone", "redirected", "throttled", "refused"],
)
def test_what_an_answer_does_to_the_endpoint(
    town: Biller, receiver: Receiver, rule: dict[str, object], state: str, paused_for: str
) -> None:
    receiver.control(rule)
    record = pay(billed(town))
    deliver(waits=1.0, seconds=2.0)
    found, endpoint = Record.objects.get(pk=record.pk), endpoint_of(town)
    assert (found.state, endpoint.paused_for) == (state, paused_for)
    assert endpoint.paused == bool(paused_for)
    assert receiver.book()["events"] == []
    if rule.get("status") == 422:
        assert found.failure == "The receiver refused the event with HTTP 422: no such account"


def test_a_receiver_rests_for_as_long_as_it_asks_and_for_an_hour_at_most(town: Biller, receiver: Receiver) -> None:
    hour = timedelta(hours=1)
    for asked, least, most in [("90", timedelta(seconds=90), timedelta(seconds=110)), ("86400", hour, 1.2 * hour)]:
        receiver.control({"action": "status", "status": 429, "retry_after": asked, "next": 1})
        record, before = pay(billed(town)), clock.now()
        deliver(waits=1.0, seconds=2.0)
        found, closed = Record.objects.get(pk=record.pk), endpoint_of(town).closed_until
        assert (found.state, found.refusals, closed) == ("retrying", 0, found.due_at)
        assert least <= found.due_at - before <= most + timedelta(seconds=2)
        make_due()
        deliver()
        assert Record.objects.get(pk=record.pk).state == "delivered"
        assert endpoint_of(town).closed_until is None


def test_a_secret_is_changed_while_events_go_out(town: Biller, receiver: Receiver) -> None:
    customer = billed(town)
    endpoint, now = endpoint_of(town), clock.now()
    new = endpoints.change_secret(actor=Actor.system("test"), endpoint=endpoint, now=now)
    pay(customer, "1.00")
    deliver()  # the receiver knows the old one alone
    receiver.knows(new)
    pay(customer, "2.00")
    deliver()
    assert [event["data"]["amount"] for event in receiver.book()["events"]] == ["1.00", "2.00"]
    endpoint.refresh_from_db()
    assert endpoint.retired_until == now + endpoints.BOTH_SIGN
    # Once its time is over the old one signs nothing.
    Endpoint.objects.filter(pk=endpoint.pk).update(retired_until=now)
    receiver.knows(SECRET)
    late = pay(customer, "3.00")
    deliver(seconds=2.0)
    assert Record.objects.get(pk=late.pk).state == "waiting"
    assert endpoint_of(town).paused_for.startswith("The receiver does not take our signature (HTTP 401)")
    with connection.cursor() as cursor:
        cursor.execute("SELECT password, retired_password FROM datapump_endpoint WHERE id = %s", [endpoint.pk])
        assert not any(secret in column for column in cursor.fetchone() for secret in (new, SECRET, "whsec"))
    assert not [entry for entry in AuditEntry.objects.all() if "whsec" in str(entry.facts)]


def test_what_is_kept_of_a_call_shows_no_secret_and_no_card_number(town: Biller, receiver: Receiver) -> None:
    receiver.control({"action": "status", "status": 400, "text": f"signed with {SECRET}, card 4111 1111 1111 1111"})
    record = pay(billed(town))
    deliver(waits=1.0, seconds=2.0)
    [kept] = Envelope.objects.all()
    assert kept.operation == "payment.posted"
    assert json.loads(kept.request)["data"]["payment_id"] == str(record.pk)
    everything = kept.request + kept.answer + Record.objects.get(pk=record.pk).failure + endpoint_of(town).last_failure
    assert SECRET not in everything
    assert "4111 1111 1111" not in everything
    assert "••••••••1111" in everything


def test_pages_hide_the_numbers_of_an_event() -> None:
    shown = veil(webhooks.write([make_message("pay_by_text")], TARGET).body.decode())
    for number in ("35909001", "321045080002", "+12065550177"):
        assert number not in shown
    assert '"account":"••••9001"' in shown
    assert '"service_location":"••••0002"' in shown
    assert '"type":"pay_by_text.changed"' in shown


def test_a_typed_connector_is_known_and_a_changed_one_forgets_what_the_other_was_told(town: Biller) -> None:
    fields: dict[str, Any] = {"connector": "carrier_pigeon", "url": "https://cis.example/CB"}
    with pytest.raises(endpoints.EndpointRefused, match="carrier_pigeon"):
        endpoints.change(actor=SYSTEM, biller=town, purpose=Purpose.PAYMENTS, fields=fields, options={})
    fields |= {"connector": "multispeak", "username": "u", "password": "p", "per_envelope": 1}
    endpoints.change(
        actor=SYSTEM, biller=town, purpose=Purpose.PAYMENTS, fields=fields, options={"default_mode": "WEB"}
    )
    back = endpoints.change(
        actor=SYSTEM, biller=town, purpose=Purpose.PAYMENTS, options={},
        fields={"connector": "webhooks", "url": "https://receiver.example/"},
    )  # fmt: skip
    found = Endpoint.objects.get(pk=back.pk)
    assert (found.options, found.per_envelope, found.retired_password) == ({}, 1, "")
    assert found.password == back.new_secret != "p"
    with pytest.raises(endpoints.EndpointRefused, match="cannot be used"):
        endpoints.change(
            actor=SYSTEM, biller=town, purpose=Purpose.BALANCES, options={},
            fields={"connector": "webhooks", "url": "https://receiver.example/"},
        )  # fmt: skip
    assert not Endpoint.objects.filter(purpose=Purpose.BALANCES).exists()
