"""Methods and enrolments over the API: added by token, removed, made the default; AutoPay and paperless on and off."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from billing.models import AuditEntry, Customer, Item, PayType
from datapump.models import Record
from payments.gateways.test_numbers import CARDS
from payments.models import AutoPayEnrolment, Instrument
from tests.api.conftest import Town
from tests.api.test_payments import error
from tests.factories import make_autopay, make_customer, make_instrument, make_route
from tests.processor import Processor

pytestmark = pytest.mark.django_db(transaction=True)


def rows() -> list[tuple[Any, ...]]:
    """Everything that methods and enrolments may change."""
    return [
        *Instrument.objects.order_by("pk").values_list("pk", "state", "is_default"),
        *AutoPayEnrolment.objects.order_by("pk").values_list("pk", "instrument_id", "ended_at"),
        *Customer.objects.order_by("pk").values_list("pk", "paperless", "collect_rule", "collect_days", "pay_type_id"),
        *Record.objects.order_by("pk").values_list("pk", "type"),
    ]


def test_method_is_added_by_token_once(town: Town, processor: Processor) -> None:
    token = processor.token(town.route.merchant, kind="bank")
    wanted = {"account": "35909-001", "token": token}
    response = town.machine.send("POST", "instruments/", wanted)
    assert response.status_code == 201
    made = Instrument.objects.exclude(pk=town.instrument.pk).get()
    told = response.json()
    assert told.pop("created_at") is not None
    assert told == {
        "id": str(made.pk),
        "customer": {"id": town.customer.pk, "number": "35909-001", "name": "Pat Payer"},
        "route": town.route.pk,
        "kind": "bank",
        "brand": made.brand,
        "last4": token[-4:],
        "holder": made.holder,
        "expires_on": None,
        "nickname": "",
        "state": "active",
        "is_default": False,
        "debit_method": "I",
        "verified_at": made.verified_at.isoformat().replace("+00:00", "Z") if made.verified_at else "never",
    }
    assert token not in response.content.decode()
    again = town.machine.send("POST", "instruments/", {**wanted, "route": town.route.pk})
    assert (again.status_code, again.json()["id"]) == (201, str(made.pk))
    assert [one["id"] for one in town.machine.get("instruments/", account="35909-001").json()["results"]] == [
        str(made.pk),
        str(town.instrument.pk),
    ]


def test_method_for_one_payment_is_not_on_file(town: Town, processor: Processor) -> None:
    token = processor.token(town.route.merchant, "soft_decline")
    response = town.machine.send("POST", "instruments/", {"account": "35909-001", "token": token, "keep": False})
    assert (response.status_code, response.json()["state"]) == (201, "one_time")
    assert len(town.machine.get("instruments/").json()["results"]) == 1


@pytest.mark.spec("PAY-17")
def test_number_in_place_of_a_token_is_refused_and_nowhere_kept(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    number = CARDS["visa"].number
    before = rows()
    for text in (number, " ".join(number[at : at + 4] for at in range(0, 16, 4))):
        response = town.machine.send("POST", "instruments/", {"account": "35909-001", "token": text})
        assert error(response) == (422, "invalid", "token")
        assert number[-8:] not in response.content.decode()
    assert rows() == before
    assert number not in caplog.text


def test_methods_that_are_refused_change_nothing(town: Town, other_town: Town, processor: Processor) -> None:
    inactive = make_route(town.biller, processor.url, active=False)
    token = processor.token(town.route.merchant)
    refused = processor.token(town.route.merchant, "refused")
    before = rows()
    for wanted, answer in (
        ({"token": "tok_nobody_0000"}, (422, "method_refused", "method")),
        ({"token": refused}, (422, "method_refused", "method")),
        ({"token": token, "route": other_town.route.pk}, (422, "unknown", "route")),
        ({"token": token, "route": inactive.pk}, (422, "unknown", "route")),
        ({"token": token, "account": "99999-001"}, (422, "unknown", "account")),
        ({}, (422, "required", "token")),
    ):
        response = town.machine.send("POST", "instruments/", {"account": "35909-001", **wanted})
        assert error(response) == answer, wanted
    make_route(town.biller, processor.url)
    response = town.machine.send("POST", "instruments/", {"account": "35909-001", "token": token})
    assert error(response) == (422, "required", "route")
    assert rows() == before


def test_processor_that_does_not_answer(town: Town) -> None:
    town.route.options = {**town.route.options, "base_url": "http://127.0.0.1:9", "connect_retries": 0}
    town.route.save(update_fields=["options"])
    before = rows()
    response = town.machine.send("POST", "instruments/", {"account": "35909-001", "token": "tok_approve_4242"})
    assert error(response) == (503, "processor_unavailable", None)
    assert rows() == before


def test_method_is_made_the_default_and_removed(town: Town, processor: Processor) -> None:
    second = make_instrument(town.customer, town.route, processor.token(town.route.merchant, kind="bank"), kind="bank")
    response = town.machine.send("POST", f"instruments/{second.pk}/default/")
    assert (response.status_code, response.json()["is_default"]) == (200, True)
    town.instrument.refresh_from_db()
    assert not town.instrument.is_default
    assert town.machine.send("DELETE", f"instruments/{town.instrument.pk}/").status_code == 204
    town.instrument.refresh_from_db()
    assert town.instrument.state == "removed"
    # It is off file, so there is nothing to remove or make the default; it can still be read.
    assert town.machine.send("DELETE", f"instruments/{town.instrument.pk}/").status_code == 404
    assert town.machine.send("POST", f"instruments/{town.instrument.pk}/default/").status_code == 404
    assert town.machine.get(f"instruments/{town.instrument.pk}/").json()["state"] == "removed"
    entry = AuditEntry.objects.get(event="instrument.removed")
    assert (entry.actor, entry.customer_id) == ("CIS", town.customer.pk)


@pytest.mark.spec("PAY-5")
def test_method_that_was_declined_for_good_is_confirmed_once(town: Town) -> None:
    path = f"instruments/{town.instrument.pk}/confirm/"
    before = rows()
    assert error(town.machine.send("POST", path)) == (422, "not_declined", None)
    assert (rows(), AuditEntry.objects.filter(event="instrument.confirmed").count()) == (before, 0)
    make_autopay(town.customer, town.instrument)
    Instrument.objects.filter(pk=town.instrument.pk).update(state="bad")
    Item.objects.update(collect_on=None)
    response = town.machine.send("POST", path)
    assert (response.status_code, response.json()["state"], response.json()["is_default"]) == (200, "active", True)
    assert town.machine.get(f"instruments/{town.instrument.pk}/").json() == response.json()
    assert Item.objects.get().collect_on == town.biller.business_date(timezone.now())
    entry = AuditEntry.objects.get(event="instrument.confirmed")
    assert (entry.actor, entry.customer_id) == ("CIS", town.customer.pk)
    assert error(town.machine.send("POST", path)) == (422, "not_declined", None)
    Instrument.objects.update(state="removed")
    assert town.machine.send("POST", path).status_code == 404


def test_autopay_goes_on_moves_and_ends(town: Town, processor: Processor) -> None:
    path = f"customers/{town.customer.pk}/autopay/"
    assert town.machine.get(path).status_code == 404
    wanted = {"instrument": str(town.instrument.pk), "agreed": True, "how": "On the web form of Maple Falls."}
    response = town.machine.send("PUT", path, wanted)
    assert response.status_code == 200
    enrolment = AutoPayEnrolment.objects.get()
    told = response.json()
    assert told.pop("consented_at") is not None
    assert told == {
        "instrument": {"id": str(town.instrument.pk), "kind": "card", "brand": "visa", "last4": town.instrument.last4},
        "consent_version": enrolment.consent_version,
        "consent_text": enrolment.consent_text,
        "consent_by": "CIS",
        "first_collection_on": str(enrolment.first_collection_on),
    }
    assert "On the web form of Maple Falls." in enrolment.consent_text
    assert town.machine.get(f"customers/{town.customer.pk}/").json()["autopay"] is True
    # The same again changes nothing.
    before = rows()
    assert town.machine.send("PUT", path, wanted).status_code == 200
    assert rows() == before

    second = make_instrument(town.customer, town.route, processor.token(town.route.merchant, kind="bank"), kind="bank")
    moved = town.machine.send("PUT", path, {**wanted, "instrument": str(second.pk)})
    assert (moved.status_code, moved.json()["instrument"]["id"]) == (200, str(second.pk))
    assert error(town.machine.send("DELETE", f"instruments/{second.pk}/")) == (422, "method_in_use", None)

    assert town.machine.send("DELETE", path).status_code == 204
    assert AutoPayEnrolment.objects.filter(ended_at__isnull=True).count() == 0
    assert town.machine.send("DELETE", path).status_code == 404
    # The biller's system hears of on and off; which method it is does not concern it.
    assert list(Record.objects.order_by("created_at").values_list("type", "before", "after")) == [
        (3, "Off", "On"),
        (3, "On", "Off"),
    ]


def test_autopay_that_is_refused_changes_nothing(town: Town, other_town: Town, processor: Processor) -> None:
    neighbour = make_customer(town.biller)
    theirs = make_instrument(neighbour, town.route, processor.token(town.route.merchant))
    before = rows()
    good = {"instrument": str(town.instrument.pk), "agreed": True, "how": "By telephone."}
    path = f"customers/{town.customer.pk}/autopay/"
    for wanted, answer in (
        ({**good, "agreed": False}, (422, "consent_missing", "agreed")),
        ({**good, "how": ""}, (422, "blank", "how")),
        ({"instrument": good["instrument"], "agreed": True}, (422, "required", "how")),
        ({**good, "instrument": str(theirs.pk)}, (422, "unknown", "instrument")),
        ({**good, "instrument": str(other_town.instrument.pk)}, (422, "unknown", "instrument")),
    ):
        assert error(town.machine.send("PUT", path, wanted)) == answer, wanted
    assert rows() == before


def test_paperless_goes_on_and_off(town: Town) -> None:
    path = f"customers/{town.customer.pk}/paperless/"
    assert town.machine.get(path).json() == {"enrolled": False}
    for wanted in (True, True, False):
        response = town.machine.send("PUT", path, {"enrolled": wanted})
        assert (response.status_code, response.json()) == (200, {"enrolled": wanted})
        assert town.machine.get(path).json() == {"enrolled": wanted}
    assert list(Record.objects.order_by("created_at").values_list("type", "after")) == [(2, "On"), (2, "Off")]
    Customer.objects.filter(pk=town.customer.pk).update(email="")
    before = rows()
    assert error(town.machine.send("PUT", path, {"enrolled": True})) == (422, "paperless_refused", None)
    assert error(town.machine.send("PUT", path, {})) == (422, "required", "enrolled")
    assert rows() == before


@pytest.mark.spec("PAY-38", "PAY-12")
def test_a_machine_says_when_an_account_is_collected_from_and_how_it_pays(town: Town) -> None:
    path, whole = f"customers/{town.customer.pk}/collection/", f"customers/{town.customer.pk}/"
    usual = {"rule": "", "days": None, "pay_type": None}
    assert town.machine.get(path).json() == usual
    before_due = {"rule": "before_due", "days": 3, "pay_type": None}
    prepaid = {"rule": "before_due", "days": 3, "pay_type": 10000}
    for wanted in (before_due, prepaid, prepaid, usual):
        response = town.machine.send("PUT", path, wanted)
        assert (response.status_code, response.json()) == (200, wanted)
        assert town.machine.get(path).json() == wanted
        assert town.machine.get(whole).json()["pay_type"] == wanted["pay_type"]
    said = AuditEntry.objects.filter(event="autopay.collection_chosen").order_by("pk")
    assert [(one.actor, one.customer_id, one.facts["rule"]) for one in said] == [
        ("CIS", town.customer.pk, "Days before its due date: 3"),
        ("CIS", town.customer.pk, f"Never, {PayType.objects.get(pk=10000)}. Days before its due date: 3"),
        ("CIS", town.customer.pk, "As the biller does"),
    ]
    assert town.machine.send("PUT", path, {"rule": "due", "pay_type": 10007}).json() == {
        "rule": "due", "days": None, "pay_type": 10007,
    }  # fmt: skip
    before = rows()
    refusals: list[tuple[dict[str, Any], tuple[int, str, str]]] = [
        ({"rule": "due", "pay_type": 10003}, (422, "collection_refused", "pay_type")),
        ({"rule": "due", "pay_type": 10004}, (422, "unknown", "pay_type")),
        ({"rule": "due"}, (422, "required", "pay_type")),
        ({"pay_type": None}, (422, "required", "rule")),
        ({"rule": "never", "pay_type": None}, (422, "invalid_choice", "rule")),
        ({"rule": "before_due", "pay_type": None}, (422, "invalid", "days")),
        ({"rule": "due", "days": 3, "pay_type": None}, (422, "invalid", "days")),
        ({"rule": "before_due", "days": 61, "pay_type": None}, (422, "max_value", "days")),
    ]
    for wanted, answer in refusals:
        assert error(town.machine.send("PUT", path, wanted)) == answer, wanted
    assert rows() == before


def test_another_billers_methods_and_enrolments_cannot_be_changed(town: Town, other_town: Town) -> None:
    make_autopay(town.customer, town.instrument)
    before, machine = rows(), other_town.machine
    missing = machine.send("DELETE", "customers/999999/autopay/")
    for verb, path, wanted in (
        ("DELETE", f"instruments/{town.instrument.pk}/", None),
        ("POST", f"instruments/{town.instrument.pk}/default/", None),
        ("POST", f"instruments/{town.instrument.pk}/confirm/", None),
        ("PUT", f"customers/{town.customer.pk}/autopay/",
         {"instrument": str(other_town.instrument.pk), "agreed": True, "how": "By telephone."}),
        ("DELETE", f"customers/{town.customer.pk}/autopay/", None),
        ("PUT", f"customers/{town.customer.pk}/paperless/", {"enrolled": True}),
        ("PUT", f"customers/{town.customer.pk}/collection/", {"rule": "due", "pay_type": 10000}),
    ):  # fmt: skip
        response = machine.send(verb, path, wanted)
        assert (response.status_code, response.content) == (404, missing.content), path
    assert rows() == before
