"""SMS modes: what the biller's system is told of every change, by door, and what the change logs keep."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Biller, Customer
from datapump.models import ChangeLog, Configuration, Record
from datapump.operations import deliveries
from sms.models import Consent, SmsMode
from sms.operations import modes
from sms.operations.modes import State
from tests.cis import Cis
from tests.factories import NOON, make_biller, make_customer, make_endpoint

pytestmark = pytest.mark.django_db(transaction=True)

ONE, TWO = "+15055550123", "+15055550199"
CSR = Actor(Requestor.CSR, "Clara")
PAYER = Actor(Requestor.PAYER, "Olive")
PHONE = Actor(Requestor.INBOUND_TEXT, "Text from the phone")
JOB = Actor.system("end_pending")
AGREED = Consent("By phone, with Clara.", "Texts about your bills.", "1")
PENDING, ENROLLED = State(pending_number=ONE), State(ONE, registered=True)


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    Configuration.objects.update_or_create(biller=biller, defaults={"pay_by_text_changes": True})
    return biller


@pytest.fixture
def customer(biller: Biller) -> Customer:
    return make_customer(biller, service_location="321045080002")


def change(customer: Customer, state: State, actor: Actor, consent: Consent | None = AGREED) -> list[dict[str, Any]]:
    """Ask for a state, by insert or update, and give the updates and change logs that it made."""
    records, logs = (
        set(Record.objects.values_list("pk", flat=True)),
        set(ChangeLog.objects.values_list("pk", flat=True)),
    )
    if SmsMode.objects.filter(customer=customer).exists():
        modes.update_sms_mode(
            customer=customer, state=state, actor=actor, consent=consent, ran_out=actor is JOB, now=NOON
        )
    else:
        assert consent is not None
        modes.insert_sms_mode(customer=customer, state=state, actor=actor, consent=consent, now=NOON)
    assert State.of(SmsMode.objects.get(customer=customer)) == state
    made = [
        {
            "type": one.type, "optional": one.optional_setting, "told": one.facts, "by": one.requestor,
            "logs": {(log.field, log.old, log.new, log.requestor, log.at) for log in one.change_logs.all()},
        }
        for one in Record.objects.exclude(pk__in=records)
    ]  # fmt: skip
    loose = ChangeLog.objects.exclude(pk__in=logs).filter(record=None)
    return made + [{"no update": (log.field, log.old, log.new)} for log in loose]


def told(status: str, phone: str, old: str = "") -> dict[str, str]:
    return {"status": status, "phone": phone} | ({"old_phone": old} if old else {})


def logs(actor: Actor, *fields: tuple[str, str, str]) -> set[tuple[Any, ...]]:
    return {(*field, actor.requestor, NOON) for field in fields}


ON = ("registered", "No", "Yes")
OFF = ("registered", "Yes", "No")
WAITS = ("pending registration", "No", "Yes")
WAITS_NO_MORE = ("pending registration", "Yes", "No")
NEW_PHONE = ("phone", ONE, TWO)


@pytest.mark.spec("PBT-5", "PBT-8")
def test_a_csr_enrols_changes_the_number_unenrols_and_enrols_again(customer: Customer) -> None:
    assert change(customer, ENROLLED, CSR) == [
        {"type": 11, "optional": 0, "told": told("enrolled", ONE), "by": 1, "logs": set()}
    ]
    assert change(customer, State(TWO, registered=True), CSR) == [
        {"type": 11, "optional": 1, "told": told("number_changed", TWO, ONE), "by": 1, "logs": logs(CSR, NEW_PHONE)}
    ]
    assert change(customer, State(TWO), CSR) == [
        {"type": 11, "optional": 1, "told": told("unenrolled", TWO), "by": 1, "logs": logs(CSR, OFF)}
    ]
    assert change(customer, State(TWO, registered=True), CSR) == [
        {"type": 11, "optional": 1, "told": told("enrolled", TWO), "by": 1, "logs": logs(CSR, ON)}
    ]


@pytest.mark.spec("PBT-5", "PBT-8")
def test_a_payer_enrols_in_two_steps_changes_the_number_in_two_and_unenrols_in_one(customer: Customer) -> None:
    assert change(customer, PENDING, PAYER) == [
        {"type": 11, "optional": 0, "told": told("pending", ONE), "by": 2, "logs": set()}
    ]
    assert change(customer, ENROLLED, PHONE) == [
        {"type": 11, "optional": 1, "told": told("enrolled", ONE), "by": 3, "logs": logs(PHONE, WAITS_NO_MORE, ON)}
    ]
    # The old number goes on serving until the new one is confirmed.
    assert change(customer, State(ONE, TWO, True), PAYER) == [
        {"type": 11, "optional": 1, "told": told("pending", TWO, ONE), "by": 2, "logs": logs(PAYER, WAITS)}
    ]
    assert change(customer, State(TWO, registered=True), PHONE) == [
        {
            "type": 11, "optional": 1, "told": told("enrolled", TWO, ONE), "by": 3,
            "logs": logs(PHONE, NEW_PHONE, WAITS_NO_MORE),
        }
    ]  # fmt: skip
    assert change(customer, modes.ended(State(TWO, registered=True)), PAYER) == [
        {"type": 11, "optional": 1, "told": told("unenrolled", TWO), "by": 2, "logs": logs(PAYER, OFF)}
    ]
    assert change(customer, State(TWO, ONE), PAYER) == [
        {
            "type": 11, "optional": 1, "told": told("pending", ONE, TWO), "by": 2,
            "logs": logs(PAYER, ("phone", TWO, ONE), WAITS),
        }
    ]  # fmt: skip
    assert change(customer, ENROLLED, PHONE) == [
        {"type": 11, "optional": 1, "told": told("enrolled", ONE), "by": 3, "logs": logs(PHONE, WAITS_NO_MORE, ON)}
    ]


def test_a_registration_that_nobody_confirms_runs_out_with_a_log_and_no_update(customer: Customer) -> None:
    change(customer, PENDING, PAYER)
    assert change(customer, modes.run_out(PENDING), JOB) == [{"no update": WAITS_NO_MORE}]
    assert SmsMode.objects.get().mode == "unenrolled"
    change(customer, ENROLLED, CSR)
    change(customer, State(ONE, TWO, True), PAYER)
    assert change(customer, ENROLLED, JOB, None) == [{"no update": WAITS_NO_MORE}]


def test_whoever_ends_what_waits_is_told_of(customer: Customer) -> None:
    change(customer, PENDING, PAYER)
    assert change(customer, modes.ended(PENDING), PHONE) == [
        {"type": 11, "optional": 1, "told": told("unenrolled", ONE), "by": 3, "logs": logs(PHONE, WAITS_NO_MORE)}
    ]


def test_a_csr_corrects_a_number_that_waits(customer: Customer) -> None:
    change(customer, PENDING, PAYER)
    assert change(customer, State(pending_number=TWO), CSR) == [
        {"type": 11, "optional": 1, "told": told("number_changed", TWO, ONE), "by": 1, "logs": logs(CSR, NEW_PHONE)}
    ]


@pytest.mark.spec("PBT-13")
def test_a_change_that_changes_nothing_makes_nothing(customer: Customer) -> None:
    change(customer, ENROLLED, CSR)
    audited = AuditEntry.objects.count()
    assert modes.update_sms_mode(customer=customer, state=ENROLLED, actor=PAYER, consent=AGREED, now=NOON) is False
    assert (Record.objects.count(), ChangeLog.objects.count(), AuditEntry.objects.count()) == (1, 0, audited)
    assert SmsMode.objects.get().consent_requestor == Requestor.CSR


@pytest.mark.spec("PBT-1")
def test_without_the_switch_history_is_kept_and_nobody_is_told(biller: Biller, customer: Customer) -> None:
    Configuration.objects.filter(biller=biller).update(pay_by_text_changes=False)
    assert change(customer, ENROLLED, CSR) == []
    assert change(customer, State(ONE), CSR) == [{"no update": OFF}]
    Configuration.objects.filter(biller=biller).update(pay_by_text_changes=True)
    assert [one.get("told") for one in change(customer, ENROLLED, CSR)] == [told("enrolled", ONE)]


def test_refusals_change_nothing(customer: Customer) -> None:
    change(customer, ENROLLED, CSR)
    with pytest.raises(modes.AlreadyInserted):
        modes.insert_sms_mode(customer=customer, state=PENDING, consent=AGREED, actor=PAYER, now=NOON)
    with pytest.raises(modes.NoConsent):
        modes.update_sms_mode(customer=customer, state=State(ONE, TWO, True), actor=PAYER, now=NOON)
    assert State.of(SmsMode.objects.get()) == ENROLLED
    assert (Record.objects.count(), ChangeLog.objects.count()) == (1, 0)


def test_the_consent_is_kept_with_who_gave_it_and_from_where(customer: Customer) -> None:
    payer = Actor(Requestor.PAYER, "Olive", None, "192.0.2.7")
    modes.insert_sms_mode(customer=customer, state=PENDING, consent=AGREED, actor=payer, now=NOON)
    kept = SmsMode.objects.get()
    assert (kept.consent_how, kept.consent_text, kept.consent_version) == (AGREED.how, AGREED.text, "1")
    assert (kept.consent_by, kept.consent_requestor, kept.consent_address, kept.consented_at) == (
        "Olive", 2, "192.0.2.7", NOON,
    )  # fmt: skip
    assert kept.pending_until == NOON + datetime.timedelta(hours=24)


@pytest.mark.spec("PBT-9", "MSP-16")
def test_the_billers_system_hears_of_each_change_in_order(biller: Biller, customer: Customer, cis: Cis) -> None:
    cis.reset()
    make_endpoint(biller, purpose="autopay", url=cis.url, username=cis.username, password=cis.password)
    for state, actor in (
        (PENDING, PAYER),
        (ENROLLED, PHONE),
        (State(ONE, TWO, True), PAYER),
        (State(TWO, registered=True), PHONE),
        (State(ONE, registered=True), CSR),
        (State(ONE), PHONE),
    ):
        change(customer, state, actor)
    deliveries.deliver(actor=Actor.system("test"), seconds=5)
    heard = [one["comment"] for one in cis.book()["comments"]]
    assert heard == [
        f"PAYTEXT PENDING {ONE}",
        f"PAYTEXT ON {ONE}",
        f"PAYTEXT PENDING {TWO} WAS {ONE}",
        f"PAYTEXT ON {TWO} WAS {ONE}",
        f"PAYTEXT NUMBER {ONE} WAS {TWO}",
        f"PAYTEXT OFF {ONE}",
    ]
    assert max(map(len, heard)) <= 70
    assert {one["service_location"] for one in cis.book()["comments"]} == {"321045080002"}
