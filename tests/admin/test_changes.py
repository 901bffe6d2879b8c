"""What administrators may change: checked before it is kept, audited with it, and given to operations where there are some."""

from __future__ import annotations

import json
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.http import HttpResponseBase
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

from billing import audit
from billing.actors import Actor
from billing.models import (
    AuditEntry,
    Biller,
    Customer,
    Membership,
    NoticeDelivery,
    PayerLink,
    Run,
    Setting,
    User,
)
from billing.operations import api_tokens
from config import beat
from config.celery import BEAT
from datapump.models import Configuration
from payments.models import AnswerCode, FeeRule, LateRule, Payment, Route
from payments.operations import heartbeats, instruments
from tests.admin.worlds import MACHINE, make_administrator, make_everything
from tests.factories import (
    TODAY,
    make_biller,
    make_customer,
    make_link,
    make_membership,
    make_route,
    make_user,
)
from tests.payments.test_charges import pay, setting
from tests.processor import Processor
from tests.staff import client_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def robin() -> User:
    return make_administrator(email="robin@example.com")


@pytest.fixture
def client(robin: User) -> Client:
    return client_of(robin)


def act(client: Client, model: str, action: str, *chosen: Any, **given: str) -> HttpResponseBase:
    data = {"action": action, "_selected_action": [str(one.pk) for one in chosen], **given}
    return client.post(reverse(f"admin:{model}_changelist"), data, follow=True)


def said(answer: HttpResponseBase) -> list[str]:
    return [str(message) for message in answer.context["messages"]]  # type: ignore[attr-defined]  # the test client's


def entries() -> list[tuple[str, str, str]]:
    return [(one.event, one.actor, audit.sentence(one)) for one in AuditEntry.objects.order_by("pk")]


# ---- Actions ----------------------------------------------------------------------------------------------------------


def test_charging_is_stopped_with_a_reason_and_allowed_again(client: Client) -> None:
    one, two = make_biller(), make_biller()
    asked = act(client, "billing_biller", "stop_charging", one)
    assert "Stop all charging" in asked.content.decode()  # type: ignore[attr-defined]  # the test client's
    assert not Biller.objects.filter(charging_stopped=True).exists()
    assert not AuditEntry.objects.exists()
    refused = act(client, "billing_biller", "stop_charging", one, sure="yes", reason="")
    assert "Say why, in at most 200 characters." in refused.content.decode()  # type: ignore[attr-defined]  # the test client's
    assert not Biller.objects.filter(charging_stopped=True).exists()

    stopped = act(client, "billing_biller", "stop_charging", one, sure="yes", reason="Wrong file loaded")
    assert said(stopped) == ["Stopped: 1."]
    assert list(Biller.objects.filter(charging_stopped=True)) == [one]
    both = act(client, "billing_biller", "stop_charging", one, two, sure="yes", reason="All of them")
    assert said(both) == [f"{one}: Charging is stopped already.", "Stopped: 1."]
    assert said(act(client, "billing_biller", "allow_charging", one, two)) == ["Allowed: 2."]
    assert not Biller.objects.filter(charging_stopped=True).exists()
    assert entries() == [
        ("biller.charging_stopped", "Robin Root", "Stopped all charging: Wrong file loaded"),
        ("biller.charging_stopped", "Robin Root", "Stopped all charging: All of them"),
        ("biller.charging_started", "Robin Root", "Allowed charging again"),
        ("biller.charging_started", "Robin Root", "Allowed charging again"),
    ]
    entry = AuditEntry.objects.order_by("pk")[0]
    assert (entry.requestor, entry.biller_id, entry.address) == (6, one.pk, "127.0.0.1")


def test_key_is_revoked_at_once(client: Client) -> None:
    made = api_tokens.make(biller=make_biller(), name="CIS", actor=MACHINE)
    headers = {"Authorization": f"Bearer {made.key}"}
    assert Client().get("/api/v1/biller/", headers=headers).status_code == 200
    assert said(act(client, "billing_apitoken", "revoke", made.token)) == ["Revoked: 1."]
    assert Client().get("/api/v1/biller/", headers=headers).status_code == 401
    assert said(act(client, "billing_apitoken", "revoke", made.token)) == ["CIS: This key was revoked before."]
    assert entries()[-1] == ("api_token.revoked", "Robin Root", "Revoked the API key CIS")


def test_run_is_asked_to_stop_and_message_sent_again(client: Client) -> None:
    make_everything(1)
    run = Run.objects.get()
    assert said(act(client, "billing_run", "stop", run)) == ["Asked to stop: 1."]
    run.refresh_from_db()
    assert run.stop_requested
    Run.objects.update(state="done")
    assert said(act(client, "billing_run", "stop", run)) == [f"{run}: This run has ended already."]
    delivery = NoticeDelivery.objects.get()
    assert said(act(client, "billing_noticedelivery", "send_again", delivery)) == ["To be sent: 1."]
    delivery.refresh_from_db()
    assert delivery.state == "waiting"


def test_processor_is_asked_whether_it_answers(client: Client, processor: Processor) -> None:
    biller = make_biller()
    good, bad = make_route(biller, processor.url), make_route(biller, options={"connect_retries": 0})
    answers = said(act(client, "payments_route", "ping", good, bad))
    assert f"{good}: the processor answers." in answers
    (trouble,) = [one for one in answers if one.startswith(f"{bad}: ")]
    assert "the processor answers" not in trouble


def test_actions_that_do_not_exist_do_nothing(client: Client) -> None:
    make_everything(1)
    before = Payment.objects.values().get()
    payment = Payment.objects.get()
    for action in ("delete_selected", "reverse", "stop_charging"):
        assert client.post(
            reverse("admin:payments_payment_changelist"),
            {"action": action, "_selected_action": [payment.pk], "post": "yes"},
        ).status_code in {200, 302, 403}
    assert Payment.objects.values().get() == before


# ---- Billers and settings ---------------------------------------------------------------------------------------------

BILLER = {
    "number": "2778", "name": "Maple Falls", "slug": "maple-falls", "time_zone": "America/Denver", "currency": "USD",
    "guid": "1f2e3d4c-0000-4000-8000-000000000001", "cut_off": "17:00", "accent": "#0b6e4f", "minimum_collected": "2.00",
    "prepaid_least": "5.00", "prepaid_most": "1000.00",
    "collect_rule": "due", "collect_days": "0", "retry_days": "3,5", "release_days": "30", "guest_secret": "zip",
    "wire_account_template": "{custom2}{custom3}", "invoice_layout": "{}", "allow_partial_payments": "on",
}  # fmt: skip


def test_biller_is_set_up_and_changed(client: Client) -> None:
    assert client.post(reverse("admin:billing_biller_add"), BILLER).status_code == 302
    biller = Biller.objects.get()
    assert (str(biller.guid), biller.number, biller.currency, biller.retry_days) == (
        BILLER["guid"],
        2778,
        "USD",
        [3, 5],
    )
    assert Configuration.objects.get().biller == biller
    changed = {**BILLER, "name": "Maple Falls Water", "currency": "EUR", "guid": "1f2e3d4c-0000-4000-8000-00000000ffff"}
    assert client.post(reverse("admin:billing_biller_change", args=[biller.pk]), changed).status_code == 302
    biller.refresh_from_db()
    # Its books are in a currency and its files carry a GUID: these stay.
    assert (biller.name, biller.currency, str(biller.guid)) == ("Maple Falls Water", "USD", BILLER["guid"])
    assert entries() == [
        ("configuration.added", "Robin Root", "Added the biller Maple Falls"),
        ("configuration.changed", "Robin Root", "Changed the biller Maple Falls Water: name"),
    ]
    assert AuditEntry.objects.order_by("pk")[1].biller_id == biller.pk
    assert client.post(reverse("admin:billing_biller_change", args=[biller.pk]), changed).status_code == 302
    assert AuditEntry.objects.count() == 2


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("currency", "KWD", "more decimal places than are kept"),
        ("currency", "usd", "Enter a valid value"),
        ("invoice_layout", '{"invoice": [10, 10]}', ""),
        ("invoice_layout", "[1]", "JSON object"),
        ("invoice_layout", "{", "valid JSON"),
        ("time_zone", "Mars/Olympus", "Select a valid choice"),
        ("number", "-1", "greater than or equal to 0"),
        ("minimum_collected", "0", "greater than or equal to 0.01"),
    ],
)
def test_biller_that_cannot_be_is_refused(client: Client, field: str, value: str, words: str) -> None:
    answer = client.post(reverse("admin:billing_biller_add"), {**BILLER, field: value})
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert words in answer.content.decode()
    assert (Biller.objects.count(), AuditEntry.objects.count()) == (0, 0)


def test_numbered_setting_is_read_by_the_registry(client: Client) -> None:
    biller = make_biller()
    value = {"Daffron": {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": True}}}
    wanted = {"biller": str(biller.pk), "number": "131", "value": json.dumps(value)}
    wrong = client.post(reverse("admin:billing_setting_add"), {**wanted, "value": '{"Surprise": 1}'})
    assert (wrong.status_code, "Surprise" in wrong.content.decode()) == (200, True)
    assert not Setting.objects.exists()
    assert client.post(reverse("admin:billing_setting_add"), wanted).status_code == 302
    setting = Setting.objects.get()
    assert (setting.biller_id, setting.number, setting.value) == (biller.pk, 131, value)
    path = reverse("admin:billing_setting_change", args=[setting.pk])
    assert client.post(path, {"value": "{}"}).status_code == 302
    setting.refresh_from_db()
    assert setting.value == {}
    assert [event for event, *_ in entries()] == ["setting.changed", "setting.changed"]


# ---- Routes and answer codes ------------------------------------------------------------------------------------------


def route_form(biller: Biller, **fields: Any) -> dict[str, Any]:
    return {
        "biller": str(biller.pk), "name": "Cards", "driver": "simulator", "merchant": "maple-falls", "currency": "USD",
        "new_secret": "route-secret-value", "tenders": ["card", "ach"], "active": "on",
        "simulator_base_url": "http://127.0.0.1:9", "confirmation_days": "0", **fields,
    }  # fmt: skip


def test_route_is_set_up_with_a_secret_that_is_never_shown_again(client: Client) -> None:
    biller = make_biller()
    assert client.post(reverse("admin:payments_route_add"), route_form(biller)).status_code == 302
    route = Route.objects.get()
    assert (route.secret, route.tenders, route.options) == (
        "route-secret-value", ["card", "ach"], {"base_url": "http://127.0.0.1:9"}
    )  # fmt: skip
    path = reverse("admin:payments_route_change", args=[route.pk])
    assert "route-secret-value" not in client.get(path).content.decode()
    # Without a new one the secret stays, whatever else changes; another biller's it cannot become.
    changed = route_form(make_biller(), new_secret="", name="All cards")
    assert client.post(path, changed).status_code == 302
    route = Route.objects.get()
    assert (route.name, route.secret, route.biller) == ("All cards", "route-secret-value", biller)
    assert client.post(path, {**changed, "new_secret": "another-secret-value"}).status_code == 302
    assert Route.objects.get().secret == "another-secret-value"
    assert entries() == [
        ("configuration.added", "Robin Root", "Added the route Cards"),
        ("configuration.changed", "Robin Root", "Changed the route All cards: name"),
        ("configuration.changed", "Robin Root", "Changed the route All cards: new_secret"),
    ]
    assert "secret-value" not in str(list(AuditEntry.objects.values()))
    assert "secret-value" not in client.get(reverse("admin:payments_route_history", args=[route.pk])).content.decode()


@pytest.mark.spec("PAY-22")
def test_a_routes_connection_is_set_field_by_field_and_what_is_left_empty_is_the_drivers_own(client: Client) -> None:
    given = {
        "simulator_concurrency": "4", "simulator_connect_retries": "0", "simulator_timeout": "30.5",
        "simulator_batch_timeout": "900", "simulator_heartbeat_limit": "20", "simulator_dedupe_window": "0",
        "simulator_codes": "302 = 7\n 999x=8 ",
        # What another driver would take is no business of this one's.
        "stripe_timeout": "nonsense",
    }  # fmt: skip
    assert client.post(reverse("admin:payments_route_add"), route_form(make_biller(), **given)).status_code == 302
    route = Route.objects.get()
    assert route.options == {
        "base_url": "http://127.0.0.1:9", "concurrency": 4, "connect_retries": 0, "timeout": 30.5, "batch_timeout": 900.0,
        "heartbeat_limit": 20.0, "dedupe_window": None, "codes": {"302": 7, "999x": 8},
    }  # fmt: skip
    assert heartbeats.limit_of(route).total_seconds() == 20
    path = reverse("admin:payments_route_change", args=[route.pk])
    form = client.get(path).context["adminform"].form
    shown = {name: form[name].value() for name in given if name.startswith("simulator")}
    assert shown == {
        "simulator_concurrency": 4, "simulator_connect_retries": 0, "simulator_timeout": 30.5,
        "simulator_batch_timeout": 900.0, "simulator_heartbeat_limit": 20.0, "simulator_dedupe_window": 0,
        "simulator_codes": "302 = 7\n999x = 8",
    }  # fmt: skip
    assert "Empty: 600." in client.get(path).content.decode()
    assert "stripe_timeout" not in client.get(path).content.decode()
    # Emptied, it is the driver's own again; the driver of a route stays.
    assert client.post(path, route_form(route.biller, new_secret="", driver="stripe")).status_code == 302
    route.refresh_from_db()
    assert (route.driver, route.options) == ("simulator", {"base_url": "http://127.0.0.1:9"})
    # A key that no field shows is neither lost nor passed over.
    Route.objects.update(options={**route.options, "surprise": 1})
    answer = client.post(path, route_form(route.biller, new_secret="", simulator_timeout="9"))
    assert "no option surprise" in str(answer.context["adminform"].form.errors["__all__"])
    assert Route.objects.get().options == {"base_url": "http://127.0.0.1:9", "surprise": 1}


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"simulator_base_url": ""}, "simulator_base_url", "cannot do without it"),
        ({"simulator_timeout": "0"}, "simulator_timeout", "greater than or equal to 1"),
        ({"simulator_batch_timeout": "x"}, "simulator_batch_timeout", "Enter a number"),
        ({"simulator_heartbeat_limit": "121"}, "simulator_heartbeat_limit", "less than or equal to 120"),
        ({"simulator_connect_retries": "1.5"}, "simulator_connect_retries", "whole number"),
        ({"simulator_concurrency": "65"}, "simulator_concurrency", "less than or equal to 64"),
        ({"simulator_codes": "302: 7"}, "simulator_codes", "302 = 7"),
        ({"simulator_codes": "302 = 999"}, "__all__", "cannot become result 999"),
        ({"simulator_settle_seconds": "5"}, "__all__", "absence would say nothing"),
        ({"new_secret": ""}, "__all__", "needs a merchant and a secret"),
        ({"driver": "stripe"}, "__all__", "acct_"),
        ({"driver": "nobody"}, "driver", "Select a valid choice"),
        ({"tenders": ["cash"]}, "tenders", "Select a valid choice"),
        ({"tenders": []}, "tenders", "required"),
        ({"currency": "CAD"}, "currency", "is paid in USD"),
        ({"descriptor": "Water bill"}, "descriptor", "one asterisk"),
        ({"descriptor": "Maple*Water"}, "descriptor", "position 4, 8 or 13; here it is in position 6."),
        ({"descriptor": "MFW*Água"}, "descriptor", "unaccented"),
        ({"descriptor": "MFW*Water and electricity"}, "descriptor", "22 characters"),
        ({"descriptor": "MFW*Water", "descriptor_phone": "5550123"}, "descriptor_phone", "800-555-0123"),
        ({"descriptor_phone": "800-555-0123"}, "descriptor_phone", "write that too"),
    ],
)
def test_route_whose_driver_cannot_be_opened_is_refused(
    client: Client, fields: dict[str, Any], field: str, words: str
) -> None:
    answer = client.post(reverse("admin:payments_route_add"), route_form(make_biller(), **fields))
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert words in str(answer.context["adminform"].form.errors[field])
    assert (Route.objects.count(), AuditEntry.objects.count()) == (0, 0)


@pytest.mark.spec("PAY-4")
def test_answer_code_means_what_the_administrator_says(client: Client, processor: Processor) -> None:
    instrument = setting(processor, "hard_decline")
    assert pay(instrument, key="before").result == 8
    instruments.confirm(instrument=instrument, actor=Actor.system("test"))
    wanted = {"driver": "simulator", "code": "303", "result": "7", "words": ""}
    assert client.post(reverse("admin:payments_answercode_add"), wanted).status_code == 302
    assert pay(instrument, key="after").result == 7
    code = AnswerCode.objects.get()
    assert client.post(reverse("admin:payments_answercode_delete", args=[code.pk]), {"post": "yes"}).status_code == 302
    assert pay(instrument, key="removed").result == 8
    assert [event for event, *_ in entries() if event.startswith("configuration")] == [
        "configuration.added", "configuration.removed"
    ]  # fmt: skip


@pytest.mark.spec("PAY-4")
def test_result_of_ones_own_has_words_that_payers_and_staff_read(client: Client, processor: Processor) -> None:
    wanted = {"driver": "simulator", "code": "303", "result": "250", "words": ""}
    answer = client.post(reverse("admin:payments_answercode_add"), wanted)
    assert "250" in str(answer.context["adminform"].form.errors["words"])
    assert AnswerCode.objects.count() == 0
    said = {**wanted, "words": "Ask the bank for a new card."}
    assert client.post(reverse("admin:payments_answercode_add"), said).status_code == 302
    payment = pay(setting(processor, "hard_decline"))
    assert (payment.result, payment.failure) == (250, "Ask the bank for a new card.")
    # Neither soft nor hard: the method may be charged again.
    assert payment.instrument is not None and payment.instrument.state == "active"
    for page in ("payment", "attempt"):
        listed = client.get(reverse(f"admin:payments_{page}_changelist")).content.decode()
        assert "250 Ask the bank for a new card." in listed or page == "payment"
        row = payment if page == "payment" else payment.attempts.get()
        shown = client.get(reverse(f"admin:payments_{page}_change", args=[row.pk])).content.decode()
        assert "250 Ask the bank for a new card." in shown


@pytest.mark.spec("PAY-4")
@pytest.mark.parametrize("result", ["777", "888", "999", "1000", "1999", "900", "-1"])
def test_answer_code_is_never_one_of_the_engines_marks(client: Client, result: str) -> None:
    wanted = {"driver": "simulator", "code": "303", "result": result, "words": ""}
    answer = client.post(reverse("admin:payments_answercode_add"), wanted)
    assert answer.status_code == 200
    assert "result" in answer.context["adminform"].form.errors
    assert (AnswerCode.objects.count(), AuditEntry.objects.count()) == (0, 0)


# ---- People -----------------------------------------------------------------------------------------------------------


@pytest.mark.spec("PAY-36", "PAY-35")
def test_rules_of_fees_and_late_bills_are_held_to_what_the_portal_holds_them_to(client: Client) -> None:
    biller = make_biller()
    add, add_late = reverse("admin:payments_feerule_add"), reverse("admin:payments_laterule_add")
    given = {
        "biller": biller.pk,
        "words": "Returned payment fee",
        "occasion": "returned",
        "amount": "15.00",
        "active": "on",
    }
    refused = client.post(add, {**given, "return_codes": "R10"})
    assert "R10: no fee is charged" in refused.content.decode()
    assert client.post(add, {**given, "percent": "2"}).status_code == 200
    assert (FeeRule.objects.count(), AuditEntry.objects.count()) == (0, 0)
    assert client.post(add, {**given, "return_codes": "R01,R09", "channels": "3,4"}).status_code == 302
    rule = FeeRule.objects.get()
    assert (rule.return_codes, rule.channels, rule.fee) == (["R01", "R09"], [3, 4], "$15.00")
    change = reverse("admin:payments_feerule_change", args=[rule.pk])
    assert (
        client.post(change, {**given, "biller": make_biller().pk, "return_codes": "", "active": ""}).status_code == 302
    )
    rule.refresh_from_db()
    assert (rule.active, rule.biller_id, rule.return_codes) == (False, biller.pk, [])
    late = {
        "biller": biller.pk,
        "words": "Late",
        "action": "inactive",
        "days": "0",
        "minimum": "5",
        "due_from": "2026-11-22",
    }
    assert client.post(add_late, late).status_code == 200
    assert client.post(add_late, {**late, "days": "30", "active": "on"}).status_code == 302
    assert LateRule.objects.get().action == "inactive"
    events = AuditEntry.objects.order_by("pk").values_list("event", flat=True)
    assert list(events) == ["configuration.added", "configuration.changed", "configuration.added"]


def test_person_is_added_changed_and_given_a_password(client: Client, robin: User) -> None:
    new = {"email": "Ann@Example.com", "name": "Ann", "usable_password": "true",
           "password1": "correct horse battery", "password2": "correct horse battery"}  # fmt: skip
    assert client.post(reverse("admin:billing_user_add"), new).status_code == 302
    ann = User.objects.get(email="ann@example.com")
    assert (ann.name, ann.is_staff, ann.is_superuser, ann.check_password("correct horse battery")) == (
        "Ann", False, False, True
    )  # fmt: skip
    assert list(EmailAddress.objects.values_list("email", "primary", "verified")) == [("ann@example.com", True, False)]
    again = client.post(reverse("admin:billing_user_add"), {**new, "email": "ANN@example.com"})
    assert (again.status_code, User.objects.count()) == (200, 2)
    weak = client.post(
        reverse("admin:billing_user_add"),
        {**new, "email": "bob@example.com", "password1": "short", "password2": "short"},
    )
    assert (weak.status_code, User.objects.count()) == (200, 2)

    path = reverse("admin:billing_user_change", args=[ann.pk])
    changed = {"email": "other@example.com", "name": "Ann Adams", "language": "es", "is_active": "on", "is_staff": "on"}
    assert client.post(path, changed).status_code == 302
    ann.refresh_from_db()
    assert (ann.email, ann.name, ann.language, ann.is_staff) == ("ann@example.com", "Ann Adams", "es", True)
    password = reverse("admin:auth_user_password_change", args=[ann.pk])
    given = {"usable_password": "true", "password1": "another horse battery", "password2": "another horse battery"}
    assert client.post(password, given).status_code == 302
    ann.refresh_from_db()
    assert ann.check_password("another horse battery")
    assert entries() == [
        ("configuration.added", "Robin Root", "Added the user Ann"),
        ("configuration.changed", "Robin Root", "Changed the user Ann Adams: name, language, is_staff"),
        ("configuration.changed", "Robin Root", "Changed the user Ann Adams: password"),
    ]
    # Nobody takes their own rights away and is then locked out.
    own = reverse("admin:billing_user_change", args=[robin.pk])
    assert client.post(own, {"name": "Robin Root", "language": "en"}).status_code == 302
    robin.refresh_from_db()
    assert (robin.is_active, robin.is_staff, robin.is_superuser) == (True, True, True)


def test_second_factor_is_taken_from_somebody_who_lost_it(client: Client) -> None:
    ann = make_user()
    lost = Authenticator.objects.create(user=ann, type="totp", data={"secret": "totp-secret-value"})
    path = reverse("admin:mfa_authenticator_delete", args=[lost.pk])
    assert "totp-secret-value" not in client.get(path).content.decode()
    assert client.post(path, {"post": "yes"}).status_code == 302
    assert not Authenticator.objects.filter(user=ann).exists()


def test_roles_are_given_by_the_operations(client: Client) -> None:
    biller, ann, bob = make_biller(), make_user(name="Ann"), make_user(name="Bob")
    add = reverse("admin:billing_membership_add")
    for user, role in ((ann, "administrator"), (bob, "csr")):
        given = {"user": str(user.pk), "biller": str(biller.pk), "role": role}
        assert client.post(add, given).status_code == 302
    assert list(Membership.objects.order_by("pk").values_list("user_id", "role")) == [
        (ann.pk, "administrator"), (bob.pk, "csr")
    ]  # fmt: skip
    of_ann, of_bob = Membership.objects.order_by("pk")
    change = reverse("admin:billing_membership_change", args=[of_bob.pk])
    assert client.post(change, {"role": "read_only"}).status_code == 302
    of_bob.refresh_from_db()
    assert of_bob.role == "read_only"
    # The last administrator of a biller stays one.
    for path, given in (
        (reverse("admin:billing_membership_change", args=[of_ann.pk]), {"role": "csr"}),
        (reverse("admin:billing_membership_delete", args=[of_ann.pk]), {"post": "yes"}),
    ):
        refused = client.post(path, given, follow=True)
        assert said(refused)[-1] == "A biller keeps at least one administrator."
        of_ann.refresh_from_db()
        assert of_ann.role == "administrator"
    assert said(act(client, "billing_membership", "delete_selected", of_ann, of_bob, post="yes"))
    assert list(Membership.objects.all()) == [of_ann]
    assert [event for event, *_ in entries()] == [
        "membership.invited", "membership.invited", "membership.changed", "membership.ended"
    ]  # fmt: skip


def test_payers_are_linked_and_unlinked_by_the_operations(client: Client) -> None:
    customer, payer, other = make_customer(make_biller()), make_user(), make_user()
    add = reverse("admin:billing_payerlink_add")
    assert client.post(add, {"user": str(payer.pk), "customer": str(customer.pk)}).status_code == 302
    link = PayerLink.objects.get()
    assert (link.user, link.customer, link.biller_id, link.kind) == (payer, customer, customer.biller_id, "owner")
    again = client.post(add, {"user": str(payer.pk), "customer": str(customer.pk)}, follow=True)
    assert said(again)[-1] == "This account is already linked to you."
    co_owner = make_link(other, customer, "co_owner")
    delete = reverse("admin:billing_payerlink_delete", args=[link.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 302
    co_owner.refresh_from_db()
    assert (list(PayerLink.objects.all()), co_owner.kind) == ([co_owner], "owner")
    assert [event for event, *_ in entries()] == ["payer.linked", "payer.unlinked"]
    assert Customer.objects.count() == 1
    assert make_membership(payer, customer.biller).pk


# ---- Beat -------------------------------------------------------------------------------------------------------------


def test_schedule_is_changed_and_beat_is_told(client: Client) -> None:
    beat.write_table(BEAT)
    task = PeriodicTask.objects.get(name="Recover")
    shown = client.get(reverse("admin:django_celery_beat_periodictask_changelist")).content.decode()
    assert all(name in shown for name in ("Recover", "Collect what is due", "Bring runs forward"))
    told = PeriodicTasks.last_change()
    slower = IntervalSchedule.objects.create(every=5, period="minutes")
    given = {
        "name": task.name, "regtask": task.task, "enabled": "on", "description": task.description,
        "interval": str(slower.pk), "args": "[]", "kwargs": "{}", "expire_seconds": "60",
    }  # fmt: skip
    answer = client.post(reverse("admin:django_celery_beat_periodictask_change", args=[task.pk]), given)
    assert answer.status_code == 302
    task.refresh_from_db()
    assert (task.interval, task.enabled, PeriodicTasks.last_change() > told) == (slower, True, True)
    # Beat keeps what an administrator chose.
    beat.write_table(BEAT)
    task.refresh_from_db()
    assert task.interval == slower
    assert TODAY
