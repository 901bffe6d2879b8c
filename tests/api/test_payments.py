"""Taking payments over the API: what is charged, what is refused, and that a repeated call charges once."""

from __future__ import annotations

import contextlib
import datetime
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from billing import tasks, tenancy
from billing.actors import Actor
from billing.api import idempotency
from billing.failpoints import failpoint
from billing.models import AuditEntry, Biller, IdempotencyKey, Item
from billing.operations import idempotency_keys
from billing.throttles import Limit
from config.celery import BEAT
from datapump.models import Record
from payments.models import Attempt, Payment
from payments.operations import cases, charges
from tests.api.conftest import Town
from tests.api.machines import Machine
from tests.factories import make_biller, make_customer, make_instrument, make_invoice
from tests.payments.test_charges import books
from tests.processor import Processor

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = pytest.mark.django_db(transaction=True)


def body(town: Town, **fields: Any) -> dict[str, Any]:
    return {"account": town.customer.number, "amount": "84.10", "instrument": str(town.instrument.pk), **fields}


def pay(town: Town, key: str | None = "key-1", machine: Machine | None = None, **fields: Any) -> Answer:
    headers = {} if key is None else {"idempotency_key": key}
    return (machine or town.machine).send("POST", "payments/", body(town, **fields), **headers)


def error(response: Answer) -> tuple[int, str, str | None]:
    told = response.json()["error"]
    return response.status_code, told["code"], told["field"]


def test_payment_is_taken_once_and_read_back(town: Town, processor: Processor) -> None:
    response = pay(town)
    assert response.status_code == 201
    assert "Idempotent-Replayed" not in response.headers
    payment = Payment.objects.get()
    taken = response.json()
    assert taken == {
        "id": str(payment.pk),
        "confirmation": payment.confirmation,
        "customer": {"id": town.customer.pk, "number": "35909-001", "name": "Pat Payer"},
        "state": "posted",
        "amount": "84.10",
        "fee": "0.00",
        "total": "84.10",
        "currency": "USD",
        "tender": "card",
        "pay_type": 10003,
        "unconfirmed": None,
        "instrument": {"id": str(town.instrument.pk), "kind": "card", "brand": "visa", "last4": town.instrument.last4},
        "channel": "api",
        "kiosk": "",
        "made_by": "CIS",
        "created_at": taken["created_at"],
        "settled_at": taken["settled_at"],
        "approval_code": payment.approval_code,
        "failure": "",
        "group": None,
        "allocations": [
            {"invoice": town.invoice.pk, "invoice_number": town.invoice.number, "amount": "84.10", "state": "posted"}
        ],
        "reversals": [],
        "authorization": None,
    }
    assert town.machine.get(f"payments/{payment.pk}/").json() == taken
    assert processor.charges() == {str(Attempt.objects.get().pk): 1}
    assert (payment.channel, payment.requestor, payment.made_by) == (6, 5, "CIS")
    started = AuditEntry.objects.get(event="payment.started")
    assert (started.actor, started.address) == ("CIS", "127.0.0.1")


def test_repeated_call_gets_the_same_answer_and_charges_nothing(town: Town, processor: Processor) -> None:
    first = pay(town)
    before = books()
    again = pay(town)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    # The same amount written otherwise is the same call.
    assert pay(town, amount="84.1").json() == first.json()
    assert books() == before
    assert processor.charges() == {str(Attempt.objects.get().pk): 1}


@pytest.mark.spec("PAY-7")
def test_card_is_authorized_and_deposited_later_or_released(town: Town, processor: Processor) -> None:
    held = pay(town, authorize_only=True)
    payment = Payment.objects.get()
    assert (held.status_code, held.json()["state"], held.json()["settled_at"]) == (201, "authorized", None)
    assert held.json()["allocations"][0]["state"] == "pending"
    until = payment.authorization.expires_at
    assert held.json()["authorization"] == {
        "authorized_on": str(town.customer.biller.business_date(payment.created_at)),
        "expires_at": until.isoformat().replace("+00:00", "Z"),
        "expired": False,
    }
    assert [row["id"] for row in town.machine.get("payments/", state="authorized").json()["results"]] == [
        str(payment.pk)
    ]
    assert sum(processor.charges().values()) == 0
    # The bill is kept for it.
    assert error(pay(town, "key-2")) == (422, "already_being_paid", None)

    def deposit(key: str = "deposit-1") -> Answer:
        return town.machine.send("POST", f"payments/{payment.pk}/deposit/", {}, idempotency_key=key)

    taken = deposit()
    assert (taken.status_code, taken.json()["state"]) == (200, "posted")
    assert (deposit().json(), deposit("deposit-2").json()["state"]) == (taken.json(), "posted")
    assert sum(processor.charges().values()) == 1
    release = f"payments/{payment.pk}/release/"
    assert error(town.machine.send("POST", release, {})) == (409, "not_held", None)

    make_invoice(town.customer, "20.00")
    other = pay(town, "key-3", amount="20.00", authorize_only=True).json()["id"]
    released = town.machine.send("POST", f"payments/{other}/release/", {})
    assert (released.status_code, released.json()["state"]) == (200, "failed")
    assert released.json()["failure"] == "The biller decided not to take this payment."
    refused = town.machine.send("POST", f"payments/{other}/deposit/", {}, idempotency_key="deposit-3")
    assert error(refused) == (409, "not_held", None)
    assert sum(processor.charges().values()) == 1


@pytest.mark.spec("PAY-33")
def test_payment_is_given_back_once_for_each_key_and_never_beyond_itself(town: Town, processor: Processor) -> None:
    paid = pay(town).json()
    processor.control(settlement_seconds=0.0)

    def refund(key: str, amount: str, **others: Any) -> Answer:
        body = {"amount": amount, "reason": "Paid twice", **others}
        return town.machine.send("POST", f"payments/{paid['id']}/refund/", body, idempotency_key=key)

    first = refund("back-1", "4.10")
    assert first.status_code == 201
    assert {name: first.json()[name] for name in ("kind", "state", "amount", "fee", "reason", "failure")} == {
        "kind": "refund", "state": "done", "amount": "4.10", "fee": "0.00", "reason": "Paid twice", "failure": "",
    }  # fmt: skip
    assert refund("back-1", "4.10").json() == first.json()
    assert error(refund("back-1", "4.11"))[0] == 409
    before = books()
    assert error(refund("back-2", "80.01")) == (422, "refund_refused", "amount")
    assert error(refund("back-3", "1.00", reason=""))[0] == 422
    assert books() == before
    shown = town.machine.get(f"payments/{paid['id']}/").json()
    assert (shown["state"], [one["id"] for one in shown["reversals"]]) == ("posted", [first.json()["id"]])
    assert refund("back-4", "80.00").status_code == 201
    assert town.machine.get(f"payments/{paid['id']}/").json()["state"] == "reversed"
    processor.control(settlement_seconds=43200.0)


def test_key_with_other_input_is_refused(town: Town) -> None:
    make_invoice(town.customer, "20.00")
    pay(town)
    before = books()
    for changed in ({"amount": "20.00"}, {"invoices": [town.invoice.pk]}, {"email": "else@example.com"}):
        assert error(pay(town, **changed)) == (409, "idempotency_key_reused", None)
    assert books() == before


def test_key_belongs_to_its_biller(town: Town, other_town: Town) -> None:
    assert pay(town, "same").status_code == 201
    response = pay(other_town, "same")
    assert response.status_code == 201
    assert response.json()["customer"]["id"] == other_town.customer.pk
    assert IdempotencyKey.objects.count() == 2


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "idempotency_key_missing"),
        ("", "idempotency_key_missing"),
        ("two words", "idempotency_key_invalid"),
        ("x" * 256, "idempotency_key_invalid"),
        ("ключ", "idempotency_key_invalid"),
    ],
)
def test_call_without_a_good_key_is_refused(town: Town, key: str | None, code: str) -> None:
    before = books()
    assert error(pay(town, key)) == (400, code, None)
    assert (books(), IdempotencyKey.objects.count()) == (before, 0)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"amount": "0.00"}, "min_value", "amount"),
        ({"amount": "-5"}, "min_value", "amount"),
        ({"amount": "84.101"}, "max_decimal_places", "amount"),
        ({"amount": "1e400"}, "max_digits", "amount"),
        ({"amount": "NaN"}, "invalid", "amount"),
        ({"amount": 84.1}, "invalid", "amount"),
        ({"amount": True}, "invalid", "amount"),
        ({"amount": None}, "null", "amount"),
        ({"amount": []}, "invalid", "amount"),
        ({"account": ""}, "blank", "account"),
        ({"account": "\ud800"}, "surrogate_characters_not_allowed", "account"),
        ({"account": {"number": 1}}, "invalid", "account"),
        ({"instrument": "tok_approve_4242"}, "invalid", "instrument"),
        ({"invoices": []}, "min_length", "invoices"),
        ({"invoices": ["x"]}, "invalid", "invoices.0"),
        ({"invoices": [2**63]}, "max_value", "invoices.0"),
        ({"email": "nobody"}, "invalid", "email"),
        ({"number": "4242"}, "unknown", "number"),
    ],
)
def test_input_that_cannot_be_read_uses_up_no_key(town: Town, fields: dict[str, Any], code: str, field: str) -> None:
    before = books()
    assert error(pay(town, **fields)) == (422, code, field)
    assert (books(), IdempotencyKey.objects.count()) == (before, 0)


def test_amount_without_its_currencys_places_is_not_rounded(town: Town) -> None:
    Biller.objects.filter(pk=town.biller.pk).update(currency="JPY")
    before = books()
    assert error(pay(town)) == (422, "bad_amount", "amount")
    assert books() == before


def test_refusal_is_an_answer_and_stays_one(town: Town, processor: Processor) -> None:
    Biller.objects.filter(pk=town.biller.pk).update(charging_stopped=True)
    before = books()
    refused = pay(town)
    assert error(refused) == (422, "charging_stopped", None)
    Biller.objects.filter(pk=town.biller.pk).update(charging_stopped=False)
    again = pay(town)
    assert (again.status_code, again.json()) == (422, refused.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (books(), processor.charges()) == (before, {})
    assert pay(town, "key-2").status_code == 201


def test_operations_refusals_come_through(town: Town, processor: Processor) -> None:
    before = books()
    Biller.objects.filter(pk=town.biller.pk).update(allow_partial_payments=False)
    assert error(pay(town, "a", amount="10.00")) == (422, "amount_refused", "amount")
    town.customer.blocks_card = True
    town.customer.save(update_fields=["blocks_card"])
    assert error(pay(town, "b")) == (422, "method_blocked", "method")
    assert (books(), processor.charges()) == (before, {})


def test_things_of_others_are_unknown(town: Town, other_town: Town, processor: Processor) -> None:
    neighbour = make_customer(town.biller)
    theirs = make_instrument(neighbour, town.route, processor.token(town.route.merchant))
    their_invoice = make_invoice(neighbour)
    before = books()
    wanted: list[tuple[str, Any]] = [
        ("account", "99999-001"),
        ("instrument", str(other_town.instrument.pk)),
        ("instrument", str(theirs.pk)),
        ("instrument", str(uuid.uuid4())),
        ("invoices", [their_invoice.pk]),
        ("invoices", [other_town.invoice.pk]),
        ("invoices", [town.invoice.pk, 999_999]),
    ]
    for n, (field, value) in enumerate(wanted):
        fields = {field: value}
        assert error(pay(town, f"key-{n}", **fields)) == (422, "unknown", field)
    assert (books(), processor.charges()) == (before, {})


def test_chosen_invoices_alone_are_paid(town: Town) -> None:
    newer = make_invoice(town.customer, "20.00")
    response = pay(town, amount="20.00", invoices=[newer.pk], email="receipts@example.com")
    assert response.status_code == 201
    assert [(one["invoice"], one["amount"]) for one in response.json()["allocations"]] == [(newer.pk, "20.00")]
    assert [str(item.open) for item in Item.objects.order_by("pk")] == ["84.10", "0.00"]
    assert Payment.objects.get().email == "receipts@example.com"


def test_decline_says_so_and_the_next_key_may_try_again(town: Town, processor: Processor) -> None:
    declined = make_instrument(town.customer, town.route, processor.token(town.route.merchant, "hard_decline"))
    response = pay(town, instrument=str(declined.pk))
    told = response.json()
    assert response.status_code == 402
    assert told["error"] == {"code": "declined", "message": Payment.objects.get().failure, "field": None}
    assert told["error"]["message"] != ""
    assert (told["payment"]["state"], told["payment"]["allocations"][0]["state"]) == ("failed", "void")
    assert pay(town, instrument=str(declined.pk)).json() == response.json()
    assert pay(town, "key-2").status_code == 201
    assert sorted(Payment.objects.values_list("state", flat=True)) == ["failed", "posted"]


@pytest.mark.spec("PAY-2")
def test_unknown_outcome_is_accepted_and_never_charged_again(town: Town, processor: Processor) -> None:
    processor.strike("drop_after")
    response = pay(town)
    assert (response.status_code, response.json()["state"]) == (202, "processing")
    assert pay(town).json() == response.json()
    assert error(pay(town, "key-2")) == (422, "already_being_paid", None)
    assert processor.charges() == {str(Attempt.objects.get().pk): 1}


def test_route_that_is_set_up_wrongly_uses_up_no_key(town: Town) -> None:
    good = town.route.options
    town.route.options = {"surprise": 1}
    town.route.save(update_fields=["options"])
    before = books()
    assert error(pay(town)) == (503, "route_misconfigured", None)
    assert books() == before
    town.route.options = good
    town.route.save(update_fields=["options"])
    assert pay(town).status_code == 201


# ---- What breaks in between -----------------------------------------------------------------------------------------


class Killed(BaseException):
    """What a killed process leaves behind is what this exception leaves behind: nothing catches it."""


@pytest.mark.parametrize(
    ("place", "state", "status"),
    [
        ("pay.checkpointed", "processing", 202),
        ("pay.answered", "processing", 202),
        ("idempotency.acted", "posted", 201),
    ],
)
def test_call_that_broke_off_is_answered_from_its_payment(
    town: Town, processor: Processor, monkeypatch: pytest.MonkeyPatch, place: str, state: str, status: int
) -> None:
    def break_off(name: str) -> None:
        if name == place:
            raise Killed

    for module in (charges, idempotency_keys):
        monkeypatch.setattr(module, "failpoint", break_off)
    with pytest.raises(Killed):
        pay(town)
    assert Payment.objects.get().state == state
    assert IdempotencyKey.objects.get().status is None
    for module in (charges, idempotency_keys):
        monkeypatch.setattr(module, "failpoint", failpoint)
    # Meanwhile the method went off file: what the payment needs is not looked up again.
    town.instrument.state = "removed"
    town.instrument.save(update_fields=["state"])

    response = pay(town)
    assert (response.status_code, response.json()["id"]) == (status, str(Payment.objects.get().pk))
    assert pay(town).headers["Idempotent-Replayed"] == "true"
    assert Payment.objects.count() == Attempt.objects.count() == 1
    assert sum(processor.charges().values()) == (0 if place == "pay.checkpointed" else 1)


def test_fault_of_ours_is_no_answer(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(**_: Any) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(charges, "start", fault)
    town.machine._client.raise_request_exception = False
    response = pay(town)
    assert error(response) == (500, "internal", None)
    assert "a fault" not in response.content.decode()
    assert IdempotencyKey.objects.get().status is None
    monkeypatch.undo()
    assert pay(town).status_code == 201


def both(town: Town, *keys: str) -> list[Answer]:
    """Send a call with each key at the same time, each over a connection of its own."""
    together = threading.Barrier(len(keys), timeout=20)
    answers: list[Answer] = []

    def call(key: str) -> None:
        try:
            together.wait()
            answers.append(pay(town, key))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=call, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_two_calls_at_once_with_one_key_charge_once(town: Town, processor: Processor) -> None:
    processor.control(faults={"slow": {"probability": 1.0, "seconds": 1.0}})
    answers = both(town, "key-1", "key-1")
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    (refused,) = [answer for answer in answers if answer.status_code == 409]
    assert error(refused) == (409, "call_in_flight", None)
    assert sum(processor.charges().values()) == 1
    assert Payment.objects.get().state == "posted"
    # Once it is answered, the one that was refused gets the same.
    assert pay(town).json()["id"] == str(Payment.objects.get().pk)


def test_control_two_calls_at_once_without_the_lock_still_charge_once(
    town: Town, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above fails without the lock; the payment's own key and the held items are walls behind it."""
    monkeypatch.setattr(idempotency_keys, "_held", lambda biller, key: contextlib.nullcontext())
    processor.control(faults={"slow": {"probability": 1.0, "seconds": 1.0}})
    answers = both(town, "key-1", "key-1")
    assert 409 not in {answer.status_code for answer in answers}
    assert Payment.objects.count() == 1
    assert sum(processor.charges().values()) == 1


def test_two_calls_at_once_with_two_keys_charge_the_bill_once(town: Town, processor: Processor) -> None:
    # The second comes while the first is at the processor; after it, it would be money in advance.
    processor.control(faults={"slow": {"probability": 1.0, "seconds": 1.0}})
    answers = both(town, "key-1", "key-2")
    assert sorted(answer.status_code for answer in answers) == [201, 422]
    assert sum(processor.charges().values()) == 1


def test_lock_ends_with_the_call_that_held_it(town: Town) -> None:
    pay(town)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        assert cursor.fetchone() == (0,)


def test_old_keys_are_forgotten_and_still_charge_nothing(town: Town, processor: Processor) -> None:
    first = pay(town)
    now = timezone.now()
    assert idempotency_keys.forget(now=now + idempotency_keys.KEPT - datetime.timedelta(minutes=1)) == 0
    assert idempotency_keys.forget(now=now + idempotency_keys.KEPT + datetime.timedelta(minutes=1)) == 1
    assert pay(town).json()["id"] == first.json()["id"]
    assert sum(processor.charges().values()) == 1


def test_beat_forgets_keys_of_every_biller_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency_keys, "_BATCH", 2)
    now = timezone.now()
    billers = [make_biller(), make_biller()]
    for days in (40, 31, 30, 29):
        for biller in billers:
            key = IdempotencyKey.objects.create(biller=biller, key=f"{days} days", operation="x", input_hash="")
            IdempotencyKey.objects.filter(pk=key.pk).update(created_at=now - datetime.timedelta(days=days))
    assert BEAT["Forget idempotency keys"].task == tasks.forget_idempotency_keys.name
    with tenancy.acting_for(()):
        tasks.forget_idempotency_keys.apply(throw=True)
    assert sorted(IdempotencyKey.objects.values_list("key", flat=True)) == ["29 days", "29 days"]


def test_case_closed_by_hand_shows_in_the_payment(town: Town, processor: Processor) -> None:
    """What was answered “processing” is read as it stands now, while the key keeps its first answer."""
    processor.strike("drop_before")
    first = pay(town)
    assert first.status_code == 202
    cases.abandon(attempt=Attempt.objects.get(), why="Their report.", actor=Actor.system("test"), now=timezone.now())
    assert town.machine.get(f"payments/{first.json()['id']}/").json()["state"] == "failed"
    assert pay(town).json() == first.json()


def test_too_many_calls_are_held_back(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "CALLS", Limit("api-money", 2, datetime.timedelta(hours=1)))
    statuses = [pay(town, "key-1").status_code for _ in range(3)]
    assert statuses == [201, 201, 429]
    refused = pay(town)
    assert refused.json()["error"]["code"] == "too_many_tries"
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600


@pytest.mark.spec("MSP-9")
def test_a_kiosk_names_itself(town: Town, processor: Processor) -> None:
    before = books()
    for wrong in ({"channel": "kiosk"}, {"kiosk": "BHappy"}, {"channel": "ivr", "kiosk": "BHappy"}):
        assert error(pay(town, "key-1", None, **wrong)) == (422, "invalid", "kiosk")
    assert books() == before
    taken = pay(town, channel="kiosk", kiosk="BHappy").json()
    assert (taken["channel"], taken["kiosk"], taken["state"]) == ("kiosk", "BHappy", "posted")
    assert Record.objects.get(pk=taken["id"]).facts["kiosk"] == "BHappy"
    assert list(processor.charges().values()) == [1]
