"""Pay by text over the API: on, off and another number with the consent, what the biller's system hears, and the texts."""

from __future__ import annotations

from typing import Any

import pytest

from billing.models import AuditEntry, Biller, Customer, IdempotencyKey
from datapump.models import ChangeLog, Configuration, Record
from sms.models import Line, Phone, Programme, SmsMode, Text
from sms.operations import enrolments, modes
from tests.api.machines import Machine
from tests.api.test_payments import error
from tests.factories import make_biller, make_customer, make_invoice
from tests.sms.test_inbound import CONSENT, CSR, LINE, PAYER, PHONE

pytestmark = pytest.mark.django_db(transaction=True)

TWO = "+15055550199"
AGREED = {"how": "On the web form.", "text": "I agree to texts about my bills.", "version": "7"}
NOTHING = {
    "state": "none", "number": "", "pending_number": "", "pending_until": None, "changed_at": None, "consent": None
}  # fmt: skip


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    Configuration.objects.filter(biller=biller).update(pay_by_text_changes=True)
    Programme.objects.create(biller=biller, name="City Water", contact="(505) 555-0199")
    Line.objects.create(biller=biller, number=LINE, driver="simulator", secret="unused")
    return biller


@pytest.fixture
def customer(biller: Biller) -> Customer:
    return make_customer(biller, number="35909-001", name="Pat Payer")


@pytest.fixture
def machine(biller: Biller) -> Machine:
    return Machine(biller)


def address(customer: Customer) -> str:
    return f"customers/{customer.pk}/pay-by-text/"


def put(machine: Machine, customer: Customer, number: str, **changes: Any) -> Any:
    return machine.send("PUT", address(customer), {"number": number, "consent": AGREED, **changes})


def told() -> list[tuple[Any, ...]]:
    return list(
        Record.objects.order_by("created_at").values_list(
            "type", "optional_setting", "facts__status", "facts__phone", "requestor", "made_by"
        )
    )


def rows() -> tuple[Any, ...]:
    counted = (Record, ChangeLog, Text, AuditEntry)
    return (list(SmsMode.objects.values()), *(model.objects.count() for model in counted))


@pytest.mark.spec("PBT-3", "PBT-11")
def test_a_machine_makes_one_update_for_each_change(machine: Machine, customer: Customer) -> None:
    assert machine.get(address(customer)).json() == NOTHING
    shown = put(machine, customer, "(505) 555-0123").json()
    kept = SmsMode.objects.get()
    assert (kept.number, kept.registered, kept.pending_number) == (PHONE, True, "")
    assert shown.pop("changed_at") is not None
    assert shown["consent"].pop("at") is not None
    assert shown == {
        "state": "enrolled", "number": PHONE, "pending_number": "", "pending_until": None,
        "consent": {**AGREED, "by": "CIS", "requestor": "api"},
    }  # fmt: skip
    assert put(machine, customer, TWO).json()["number"] == TWO
    assert machine.send("DELETE", address(customer)).status_code == 204
    assert machine.get(address(customer)).json()["state"] == "unenrolled"
    assert put(machine, customer, TWO).json()["state"] == "enrolled"
    by = (5, "CIS")
    assert told() == [
        (11, 0, "enrolled", PHONE, *by),
        (11, 1, "number_changed", TWO, *by),
        (11, 1, "unenrolled", TWO, *by),
        (11, 1, "enrolled", TWO, *by),
    ]
    assert set(ChangeLog.objects.values_list("requestor", "made_by")) == {by}
    assert list(Text.objects.order_by("pk").values_list("phone", "kind")) == [
        (PHONE, "enrolled"), (TWO, "enrolled"), (PHONE, "number_released"), (TWO, "unenrolled"), (TWO, "enrolled"),
    ]  # fmt: skip


@pytest.mark.spec("PBT-13")
def test_the_same_number_again_changes_nothing(machine: Machine, customer: Customer) -> None:
    put(machine, customer, PHONE)
    before = rows()
    assert put(machine, customer, "505-555-0123", consent={**AGREED, "version": "8"}).status_code == 200
    assert rows() == before


def test_what_a_payer_began_is_shown_and_finished(machine: Machine, customer: Customer) -> None:
    enrolments.enrol(customer=customer, number=PHONE, consent=CONSENT, actor=PAYER)
    shown = machine.get(address(customer)).json()
    assert (shown["state"], shown["number"], shown["pending_number"]) == ("pending", "", PHONE)
    assert (shown["consent"]["requestor"], shown["consent"]["by"]) == ("payer", "Pat Payer")
    assert put(machine, customer, PHONE).json()["state"] == "enrolled"
    assert [one[2] for one in told()] == ["pending", "enrolled"]


def test_refusals_change_nothing(machine: Machine, customer: Customer, biller: Biller) -> None:
    Phone.objects.create(biller=biller, number=TWO, opted_out_of=["*"])
    Phone.objects.create(biller=biller, number="+15055550198", suspended_for="Texts do not arrive.")
    stranger, before = Machine(make_biller()), rows()
    for wanted, answer in (
        ({"number": "12"}, (422, "bad_number", "number")),
        # Without its area code it would be somebody else's elsewhere.
        ({"number": "555-0123"}, (422, "bad_number", "number")),
        ({"number": TWO}, (422, "phone_refuses", "number")),
        ({"number": "+15055550198"}, (422, "phone_suspended", "number")),
        ({"number": "x" * 41}, (422, "max_length", "number")),
        ({"consent": None}, (422, "null", "consent")),
        ({"consent": {**AGREED, "how": ""}}, (422, "blank", "consent.how")),
        ({"consent": {"how": "By phone."}}, (422, "required", "consent.text")),
        ({"agreed": True}, (422, "unknown", "agreed")),
    ):
        body = {"number": PHONE, "consent": AGREED, **wanted}
        assert error(machine.send("PUT", address(customer), body)) == answer, wanted
    assert machine.send("DELETE", address(customer)).status_code == 404
    sending = machine.send("POST", f"{address(customer)}bill/", idempotency_key="one")
    assert error(sending) == (422, "not_enrolled", None)
    Line.objects.update(active=False)
    assert error(put(machine, customer, PHONE)) == (422, "not_offered", None)
    assert rows() == before
    for verb, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "bill/")):
        given = {"number": PHONE, "consent": AGREED} if verb == "PUT" else None
        assert stranger.send(verb, address(customer) + path, given, idempotency_key="one").status_code == 404
    assert rows() == before


def test_a_bill_is_texted_once_for_each_key(machine: Machine, customer: Customer) -> None:
    put(machine, customer, PHONE)
    path = f"{address(customer)}bill/"
    assert error(machine.send("POST", path)) == (400, "idempotency_key_missing", None)
    assert error(machine.send("POST", path, idempotency_key="early")) == (422, "nothing_to_tell", None)
    make_invoice(customer, "84.10")
    for replayed in (None, "true"):
        sent = machine.send("POST", path, idempotency_key="one")
        assert (sent.status_code, sent.json(), sent.headers.get("Idempotent-Replayed")) == (
            202,
            {"sent": True},
            replayed,
        )
    assert Text.objects.filter(kind__startswith="bill_ready").count() == 1
    # As after a crash between the text and the answer.
    IdempotencyKey.objects.filter(key="one").update(status=None, answer=None)
    assert machine.send("POST", path, idempotency_key="one").status_code == 202
    assert Text.objects.filter(kind__startswith="bill_ready").count() == 1
    assert machine.send("POST", path, idempotency_key="two").status_code == 202
    assert Text.objects.filter(kind__startswith="bill_ready").count() == 2
    assert AuditEntry.objects.filter(event="pay_by_text.bill_sent", actor="CIS").count() == 2


@pytest.mark.spec("PBT-17")
def test_texts_are_listed_without_their_numbers(machine: Machine, customer: Customer, biller: Biller) -> None:
    put(machine, customer, PHONE)
    put(machine, make_customer(biller, number="7-1"), TWO)
    machine.send("DELETE", address(customer))
    first = machine.get("texts/", limit=2)
    assert PHONE[-10:] not in first.content.decode()
    page, rest = first.json(), machine.get("texts/", limit=2, cursor=first.json()["next"]).json()
    assert rest["next"] is None
    found = [*page["results"], *rest["results"]]
    assert [(one["kind"], one["phone"]) for one in found] == [
        ("unenrolled", "(•••) •••-0123"), ("enrolled", "(•••) •••-0199"), ("enrolled", "(•••) •••-0123"),
    ]  # fmt: skip
    text = Text.objects.get(pk=found[0]["id"])
    assert found[0]["customer"] == {"id": customer.pk, "number": "35909-001", "name": "Pat Payer"}
    assert machine.get(f"texts/{text.pk}/").json() == {**found[0], "body": text.body}
    assert Machine(make_biller()).get(f"texts/{text.pk}/").status_code == 404
    for query, count in (
        ({"account": "7-1"}, 1), ({"direction": "in"}, 0), ({"state": "waiting"}, 3),
        ({"created_from": "2100-01-01T00:00:00Z"}, 0),
    ):  # fmt: skip
        assert len(machine.get("texts/", **query).json()["results"]) == count, query
    assert machine.get("texts/", phone=PHONE).status_code == 422


@pytest.mark.spec("PBT-7", "PBT-11")
def test_a_change_that_no_update_told_of_shows_0(machine: Machine, customer: Customer, biller: Biller) -> None:
    put(machine, customer, PHONE)
    enrolments.enrol(customer=customer, number=TWO, consent=CONSENT, actor=PAYER)
    modes.update_sms_mode(customer=customer, state=modes.run_out, actor=CSR, ran_out=True)
    changed = ChangeLog.objects.get(record=None)
    linked = Record.objects.get(facts__status="pending")
    path = f"customers/{customer.pk}/change-logs/"
    page = machine.get(path)
    assert PHONE[-10:] not in page.content.decode()
    assert [
        (one["datapump_id"], one["field"], one["old"], one["new"], one["requestor"], one["made_by"])
        for one in page.json()["results"]
    ] == [
        ("0", "pending registration", "Yes", "No", "csr", "Clara"),
        (str(linked.pk), "pending registration", "No", "Yes", "payer", "Pat Payer"),
    ]
    assert changed.datapump_id == "0"
    # The update itself names its own changes.
    (log,) = machine.get(f"datapump-records/{linked.pk}/").json()["change_logs"]
    assert log["datapump_id"] == str(linked.pk)
    assert Machine(make_biller()).get(path).status_code == 404
