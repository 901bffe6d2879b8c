"""Payments, methods, enrolments, runs and cases in the biller portal: what each page takes, refuses and says."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import formats
from billing.actors import Actor
from billing.models import AuditEntry, Biller, Chunk, Customer, Item, Role, Run, RunState, User
from payments import results
from payments.gateways.base import Result
from payments.models import (
    Allocation,
    AnswerCode,
    Attempt,
    Authorization,
    AutoPayEnrolment,
    Case,
    Channel,
    Checkpoint,
    Instrument,
    Payment,
    PaymentState,
    Route,
)
from payments.operations import charges, collections
from payments.reports.runs import run_totals
from payments.tasks import work_run
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_instrument,
    make_invoice,
    make_route,
)
from tests.processor import Processor
from tests.staff import client_of, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def biller() -> Biller:
    return make_biller()


@pytest.fixture
def dana(biller: Biller) -> User:
    return make_staff(biller, name="Dana Whitfield")


@pytest.fixture
def client(dana: User) -> Client:
    return client_of(dana)


@contextmanager
def nothing_changes(*models: Any) -> Iterator[None]:
    """Hold that no row of the models changes, no money is held, and nothing is written into the trail."""

    def rows() -> list[Any]:
        every = (Payment, Attempt, Allocation, AuditEntry, *models)
        return [list(model.objects.order_by("pk").values()) for model in every] + [
            list(Item.objects.order_by("pk").values_list("reserved", "allocated"))
        ]

    before = rows()
    yield
    assert rows() == before


def owing(biller: Biller, processor: Processor, outcome: str = "approve", amount: str = "84.10") -> Instrument:
    """Make a customer with one bill and a method that does what it says."""
    route = make_route(biller, processor.url)
    customer = make_customer(biller)
    make_invoice(customer, amount)
    return make_instrument(customer, route, processor.token(route.merchant, outcome))


def page(name: str, *args: object, **query: object) -> str:
    return reverse(name, args=args, query={key: str(value) for key, value in query.items()} or None)


def review(card: Instrument, amount: str = "84.10", key: uuid.UUID | None = None, **more: object) -> str:
    return page(
        "biller-account-pay-review", card.customer_id, amount=amount, method=card.pk, key=key or uuid.uuid4(), **more
    )


# ---- Taking a payment


def test_each_step_hands_the_next_one_what_was_chosen(client: Client, biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    first = client.post(page("biller-account-pay", card.customer_id), {"choice": "other", "amount": "$20.5"})
    assert first["location"] == page("biller-account-pay-method", card.customer_id, amount="20.50")
    second = client.post(first["location"], {"method": str(card.pk)})
    chosen = parse_qs(urlsplit(second["location"]).query)
    assert (chosen["amount"], chosen["method"]) == (["20.50"], [str(card.pk)])
    done = client.post(second["location"], {"email": "else@example.com"})
    payment = Payment.objects.get()
    assert done["location"] == page("biller-account-pay-done", card.customer_id, payment.pk)
    assert (payment.amount, payment.state, payment.channel, payment.made_by, payment.email) == (
        Decimal("20.50"), "posted", Channel.CSR, "Dana Whitfield", "else@example.com",
    )  # fmt: skip
    assert payment.attempts.get().transaction_type == "moto"


def test_one_key_is_one_payment_whatever_is_pressed_again(client: Client, biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    url = review(card)
    first = client.post(url, {})
    assert client.post(url, {})["location"] == first["location"] == client.get(url)["location"]
    assert Payment.objects.count() == 1 and sum(processor.charges(card.route.merchant).values()) == 1


def test_a_key_with_another_amount_charges_nothing(client: Client, biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    key = uuid.uuid4()
    client.post(review(card, "10.00", key), {})
    with nothing_changes():
        # The key leads to what came of it; the other amount is not looked at.
        assert "/pay/done/" in client.post(review(card, "20.00", key), {})["location"]


@pytest.mark.spec("PAY-7")
def test_a_csr_authorizes_now_and_takes_the_money_later_or_releases_it(
    client: Client, biller: Biller, processor: Processor
) -> None:
    card, other = owing(biller, processor), owing(biller, processor, amount="20.00")
    assert "Authorize now, take the money later" in client.get(review(card)).content.decode()
    done = client.post(review(card), {"authorize_only": "on"}, follow=True).content.decode()
    assert "The bank holds $84.10 and nothing has been taken." in done
    assert "Authorized, not taken yet" in done
    payment = Payment.objects.get()
    assert payment.state == PaymentState.AUTHORIZED
    assert "A payment is authorized" in client.get(page("biller-account", card.customer_id)).content.decode()
    shown = client.get(page("biller-payment", payment.pk)).content.decode()
    assert "Authorized, not taken yet" in shown and "Authorization until" in shown and "Release it" in shown
    reader = client_of(make_staff(biller, Role.READ_ONLY))
    assert "Release it" not in reader.get(page("biller-payment", payment.pk)).content.decode()
    with nothing_changes():
        for name in ("biller-payment-deposit", "biller-payment-release"):
            assert reader.post(page(name, payment.pk)).status_code == 403
        assert "is told to let the held money go" in (
            client.get(page("biller-payment-release", payment.pk)).content.decode()
        )
    # It had expired when it was taken.
    Authorization.objects.update(expires_at=timezone.now() - datetime.timedelta(hours=1))
    taken = client.post(page("biller-payment-deposit", payment.pk), follow=True).content.decode()
    assert "The money was taken." in taken and "Deposited after the authorization had expired: costs more" in taken
    line = client.get(page("biller-payments", format="csv")).getvalue().decode().splitlines()[1]
    assert "Deposited after the authorization had expired: costs more" in line
    client.post(review(other, "20.00"), {"authorize_only": "on"})
    held = Payment.objects.get(state="authorized")
    released = client.post(page("biller-payment-release", held.pk), follow=True).content.decode()
    assert "The payment was released." in released and "The biller decided not to take this payment." in released
    assert Item.objects.get(customer=other.customer).reserved == Decimal("0.00")
    assert sorted(processor.charges().values()) == [0, 0, 0, 1]
    # A bank account cannot be authorized: nobody is asked.
    Instrument.objects.update(kind="bank")
    assert "Authorize now" not in client.get(review(other, "20.00")).content.decode()


@pytest.mark.spec("PAY-33")
def test_a_supervisor_gives_money_back_and_a_csr_does_not(client: Client, biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    client.post(review(card), {})
    payment = Payment.objects.get(state="posted")
    url = page("biller-payment-refund", payment.pk)
    csr = client_of(make_staff(biller, Role.CSR))
    with nothing_changes():
        assert csr.get(url).status_code == csr.post(url, {"amount": "1.00", "reason": "Why"}).status_code == 403
        assert "Give money back" not in csr.get(page("biller-payment", payment.pk)).content.decode()
    supervisor = client_of(make_staff(biller, Role.SUPERVISOR))
    assert "Give money back" in supervisor.get(page("biller-payment", payment.pk)).content.decode()
    form = supervisor.get(url)
    key = form.context["form"].initial["request_key"]
    assert "At most $84.10." in form.content.decode()
    for amount, reason, words in (
        ("84.11", "Paid twice", "Enter $84.10 or less"),
        ("0", "Paid twice", "Enter $0.01 or more"),
        ("10.00", " ", "Say why it is given back"),
        ("ten", "Paid twice", "is not an amount"),
    ):
        with nothing_changes():
            refused = supervisor.post(url, {"amount": amount, "reason": reason, "request_key": key})
        assert refused.status_code == 422
        assert words in refused.content.decode(), (amount, reason, refused.context["form"].errors)
    with nothing_changes():
        refused = supervisor.post(url, {"amount": "10.00", "reason": "Paid twice", "request_key": "made up"})
    assert (refused.status_code, "open it again" in refused.content.decode()) == (422, True)
    given = {"amount": "10.00", "reason": "Paid twice", "request_key": key}
    processor.control(settlement_seconds=0.0)
    shown = supervisor.post(url, given, follow=True).content.decode()
    assert "$10.00 was given back. What it had paid is open again." in shown
    assert "$84.10 was taken and is booked; $10.00 of it went back." in shown
    assert "What went back" in shown and "Refunded" in shown and "Paid twice" in shown
    assert "Credit on the account" not in shown
    with nothing_changes():
        supervisor.post(url, given)  # the same form, sent twice
    assert str(Item.objects.get(customer=card.customer).open) == "10.00"
    shown = supervisor.post(
        url, {**given, "amount": "74.10", "request_key": str(uuid.UUID(int=14))}, follow=True
    ).content.decode()
    assert "$84.10 was taken and went back. What it had paid is open again." in shown
    assert "Give money back" not in shown
    with nothing_changes():
        # The button of the last one pressed twice: it is told again what came of it, not that nothing is left.
        again = supervisor.post(
            url, {**given, "amount": "74.10", "request_key": str(uuid.UUID(int=14))}, follow=True
        ).content.decode()
    assert "$74.10 was given back." in again
    processor.control(settlement_seconds=43200.0)


def test_one_bill_alone_can_be_paid(client: Client, biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    newer = make_invoice(card.customer, "30.00")
    start = client.get(page("biller-account-pay", card.customer_id, bill=newer.pk))
    assert "Everything that is due: $30.00" in start.content.decode()
    client.post(review(card, "30.00", bill=newer.pk), {})
    assert [(item.invoice_id == newer.pk, item.open) for item in Item.objects.order_by("pk")] == [
        (False, Decimal("84.10")), (True, Decimal("0.00")),
    ]  # fmt: skip


def test_more_than_is_due_is_pointed_out_and_becomes_a_credit(
    client: Client, biller: Biller, processor: Processor
) -> None:
    card = owing(biller, processor)
    assert "more than is due" in client.get(review(card, "100.00")).content.decode()
    client.post(review(card, "100.00"), {})
    assert Customer.objects.get(pk=card.customer_id).balance == Decimal("-15.90")


def test_a_second_payment_on_one_day_needs_a_word(client: Client, biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    client.post(review(card, "10.00"), {})
    assert "Paid today already" in client.get(review(card, "10.00")).content.decode()
    with nothing_changes():
        refused = client.post(review(card, "10.00"), {})
    assert refused.status_code == 422 and "Ask the customer first" in refused.content.decode()
    client.post(review(card, "10.00"), {"again": "on"})
    assert Payment.objects.filter(state="posted").count() == 2


@pytest.mark.parametrize("outcome", ["hard_decline", "soft_decline", "bad_card"])
def test_a_decline_says_that_no_money_has_been_taken(
    client: Client, biller: Biller, processor: Processor, outcome: str
) -> None:
    card = owing(biller, processor, outcome)
    done = client.get(client.post(review(card), {})["location"])
    assert "No money has been taken." in done.content.decode() and "Try another method" in done.content.decode()
    assert Payment.objects.get().state == "failed"


def test_an_unknown_outcome_says_not_to_pay_again_and_the_page_asks_until_it_is_known(
    client: Client, biller: Biller, processor: Processor
) -> None:
    card = owing(biller, processor)
    processor.strike("drop_after")
    done = client.post(review(card), {})["location"]
    shown = client.get(done).content.decode()
    assert "Do not take the payment again." in shown and 'hx-trigger="every 3s"' in shown
    Payment.objects.update(state="failed", failure="The bank declined the payment.")
    shown = client.get(done).content.decode()
    assert "No money has been taken." in shown and "every 3s" not in shown


def _stopped(card: Instrument) -> None:
    Biller.objects.update(charging_stopped=True)


def _blocked(card: Instrument) -> None:
    Customer.objects.filter(pk=card.customer_id).update(blocks_card=True)


def _expired(card: Instrument) -> None:
    Instrument.objects.update(expires_on=datetime.date(2020, 1, 31))


def _whole_only(card: Instrument) -> None:
    Biller.objects.update(allow_partial_payments=False)


def _being_paid(card: Instrument) -> None:
    Item.objects.update(reserved="84.10")


def _no_driver(card: Instrument) -> None:
    card.route.driver = "gone"
    card.route.save()


@pytest.mark.parametrize("spoil", [_stopped, _blocked, _expired, _whole_only, _being_paid, _no_driver])
def test_what_cannot_be_charged_is_refused_and_no_money_has_been_taken(
    client: Client, biller: Biller, processor: Processor, spoil: Any
) -> None:
    card = owing(biller, processor)
    url = review(card, "10.00")
    spoil(card)
    with nothing_changes():
        refused = client.post(url, {})
    assert refused.status_code == 422
    assert "No money has been taken." in refused.content.decode()
    assert processor.charges(card.route.merchant) == {}


@pytest.mark.parametrize(
    "query", [{}, {"amount": "x"}, {"amount": "-5"}, {"amount": "5"}, {"amount": "5", "method": "x", "key": "y"}]
)
def test_a_step_without_what_comes_before_leads_back_to_the_beginning(
    client: Client, biller: Biller, processor: Processor, query: dict[str, str]
) -> None:
    card = owing(biller, processor)
    with nothing_changes():
        back = client.post(page("biller-account-pay-review", card.customer_id, **query), {})
    assert back["location"] == page("biller-account-pay", card.customer_id)


def test_another_accounts_method_cannot_be_charged(client: Client, biller: Biller, processor: Processor) -> None:
    card, other = owing(biller, processor), owing(biller, processor)
    url = page("biller-account-pay-review", card.customer_id, amount="5.00", method=other.pk, key=uuid.uuid4())
    with nothing_changes():
        assert client.post(url, {})["location"] == page("biller-account-pay", card.customer_id)
        picked = client.post(
            page("biller-account-pay-method", card.customer_id, amount="5.00"), {"method": str(other.pk)}
        )
    assert picked.status_code == 422


@pytest.mark.parametrize(
    "given",
    [
        {"choice": "other"},
        {"choice": "other", "amount": "0"},
        {"choice": "other", "amount": "1.234"},
        {"choice": "1.00"},
    ],
)
def test_an_amount_that_is_none_is_refused(
    client: Client, biller: Biller, processor: Processor, given: dict[str, str]
) -> None:
    card = owing(biller, processor)
    assert client.post(page("biller-account-pay", card.customer_id), given).status_code == 422


def test_a_person_without_card_entry_pays_with_methods_on_file_only(biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    client = client_of(make_staff(biller, Role.CSR_NO_CARDS))
    shown = client.get(page("biller-account-pay-method", card.customer_id, amount="5.00")).content.decode()
    assert "New card" not in shown and str(card.pk) in shown
    with nothing_changes(Instrument):
        for name in ("biller-account-pay-new", "biller-account-method-add"):
            url = page(name, card.customer_id, amount="5.00", kind="card")
            assert client.get(url).status_code == client.post(url, {"token": "tok_x"}).status_code == 403
    assert client.post(review(card), {}).status_code == 302


@pytest.mark.parametrize(("keep", "state"), [(True, "active"), (False, "one_time")])
def test_a_token_from_the_processors_fields_becomes_a_method(
    client: Client, biller: Biller, processor: Processor, keep: bool, state: str
) -> None:
    card = owing(biller, processor)
    token = processor.token(card.route.merchant, "approve", kind="card")
    url = page("biller-account-pay-new", card.customer_id, amount="5.00", kind="card")
    fields = client.get(url)
    assert processor.url in fields.content.decode()
    following = client.post(url, {"token": token, **({"keep": "on"} if keep else {})})
    added = Instrument.objects.exclude(pk=card.pk).get()
    assert added.state == state and f"method={added.pk}" in following["location"]
    client.post(following["location"], {})
    assert Payment.objects.get().instrument == added


def test_a_token_that_the_processor_does_not_know_keeps_nothing(
    client: Client, biller: Biller, processor: Processor
) -> None:
    card = owing(biller, processor)
    url = page("biller-account-method-add", card.customer_id, kind="card")
    with nothing_changes(Instrument):
        refused = client.post(url, {"token": "tok_nobody_1234"})
    assert refused.status_code == 422 and "No money has been taken." in refused.content.decode()


def test_a_kind_that_the_account_may_not_use_is_not_offered(
    client: Client, biller: Biller, processor: Processor
) -> None:
    card = owing(biller, processor)
    _blocked(card)
    assert client.get(page("biller-account-method-add", card.customer_id, kind="card")).status_code == 404
    shown = client.get(page("biller-account-methods", card.customer_id)).content.decode()
    assert "Add a card" not in shown and "Add a bank account" in shown


# ---- Methods and enrolments


def test_methods_are_made_the_default_and_removed_but_not_while_autopay_charges_them(
    client: Client, biller: Biller, processor: Processor
) -> None:
    card = owing(biller, processor)
    other = make_instrument(card.customer, card.route, "tok_second_9999")
    client.post(page("biller-account-method-default", card.customer_id, other.pk))
    other.refresh_from_db()
    assert other.is_default
    make_autopay(card.customer, other)
    with nothing_changes(Instrument):
        client.post(page("biller-account-method-remove", card.customer_id, other.pk))
    client.post(page("biller-account-method-remove", card.customer_id, card.pk))
    card.refresh_from_db()
    assert card.state == "removed"
    assert client.get(page("biller-account-method-remove", card.customer_id, card.pk)).status_code == 404


def test_autopay_without_the_customers_word_stays_off(client: Client, biller: Biller, processor: Processor) -> None:
    card = owing(biller, processor)
    url = page("biller-account-autopay", card.customer_id, method=card.pk)
    with nothing_changes(AutoPayEnrolment):
        for given in ({"how": "phone"}, {"agreed": "on"}, {"agreed": "on", "how": "telepathy"}):
            assert client.post(url, given).status_code == 422
    client.post(url, {"how": "paper", "agreed": "on"})
    made = AutoPayEnrolment.objects.get()
    assert made.consent_text.endswith("In writing: a signed form is on file.") and made.consent_address == "127.0.0.1"
    with nothing_changes(AutoPayEnrolment):
        assert "already uses this method" in client.post(url, {"how": "phone", "agreed": "on"}).content.decode()


def test_paperless_is_turned_the_way_that_the_page_said(client: Client, biller: Biller, processor: Processor) -> None:
    customer = make_customer(biller)
    url = page("biller-account-paperless", customer.pk)
    assert 'value="on"' in client.get(url).content.decode()
    client.post(url, {"to": "on"})
    customer.refresh_from_db()
    assert customer.paperless
    with nothing_changes(Customer):
        client.post(url, {"to": "on"})
    Customer.objects.update(paperless=False, email="")
    with nothing_changes(Customer):
        refused = client.post(url, {"to": "on"}, follow=True)
    assert "needs an e-mail address" in refused.content.decode()


# ---- Lists and one payment


@pytest.mark.spec("PAY-1", "PAY-2")
def test_every_result_code_is_in_words() -> None:
    assert set(results.WORDS) == {*Result, 777, 888, 999}
    assert results.in_words(8) == "8 Hard decline"
    assert results.in_words(777) == "777 Deposit pending"
    assert results.in_words(888) == "888 Authorization pending"
    assert results.in_words(999) == "999 Checkpoint – no answer recorded"
    assert results.in_words(1000) == "1000 Passed, not applied yet"
    assert results.in_words(1008) == "1008 Hard decline, not applied yet"
    assert results.in_words(1777) == "1777 Deposit pending, not applied yet"
    assert results.in_words(1888) == "1888 Authorization pending, not applied yet"
    assert results.in_words(250) == "250 Code of the biller"
    AnswerCode.objects.create(driver="simulator", code="302", result=250, words="Ask the bank for a new card.")
    assert results.in_words(250) == "250 Ask the bank for a new card."
    assert results.in_words(1250) == "1250 Ask the bank for a new card., not applied yet"
    assert results.in_words(None) == ""


def test_payments_are_filtered_and_taken_away_as_a_file(client: Client, biller: Biller, processor: Processor) -> None:
    good, bad = owing(biller, processor), owing(biller, processor, "hard_decline", "50.00")
    client.post(review(good), {})
    client.post(review(bad, "50.00"), {})
    Payment.objects.filter(state="failed").update(channel=Channel.AUTOPAY, made_by="AutoPay", tender="ach", run_id=7)

    def found(**given: object) -> list[str]:
        response = client.get(page("biller-payments", **given))
        return [str(row.amount) for row in response.context["listing"].rows]

    assert found() == ["50.00", "84.10"]
    assert found(state="failed") == ["50.00"] == found(tender="ach") == found(channel=Channel.AUTOPAY.value)
    assert (
        found(route=good.route_id)
        == ["84.10"]
        == found(by="dana")
        == found(least="60")
        == found(q=good.customer.number)
    )
    assert found(q=Payment.objects.get(state="posted").confirmation.lower()) == ["84.10"]
    assert found(run=7) == ["50.00"] == found(most="60")
    tomorrow = (timezone.localdate() + datetime.timedelta(days=2)).isoformat()
    assert found(start=tomorrow) == [] == found(q="nobody")
    assert found(start=tomorrow, end="2020-01-01") == []
    text = client.get(page("biller-payments", format="csv", state="posted")).getvalue().decode()
    head, line = text.splitlines()
    assert head.startswith(
        "\ufeffwhen,account,name,confirmation,status,amount,method,channel,made_by,tender,pay_type,currency,fee,total,route"
    )
    assert f",{good.customer.number}," in line and ",84.10," in line and "tok_" not in text


def test_a_payments_page_tells_attempts_bills_and_what_the_billers_system_heard(
    client: Client, biller: Biller, processor: Processor
) -> None:
    card = owing(biller, processor)
    client.post(review(card), {})
    payment = Payment.objects.get()
    shown = client.get(page("biller-payment", payment.pk)).content.decode()
    for words in (
        "$84.10 was taken and is booked.",
        "0 Passed",
        card.customer.invoices.get().number,
        "Has not heard of it yet.",
    ):
        assert words in shown
    receipt = client.get(page("biller-payment-receipt", payment.pk)).content.decode()
    assert payment.confirmation in receipt and "This is not a bill." in receipt
    Payment.objects.update(state="failed", posting_id=None)
    assert client.get(page("biller-payment-receipt", payment.pk)).status_code == 404


# ---- Runs


def due_today(biller: Biller, processor: Processor, *outcomes: str) -> None:
    today = biller.business_date(timezone.now())
    for outcome in outcomes:
        card = owing(biller, processor, outcome, "50.00")
        Item.objects.filter(customer=card.customer).update(collect_on=today)
        make_autopay(card.customer, card)


@pytest.mark.spec("PAY-6")
def test_a_run_is_tried_first_and_then_started_with_the_same_options(
    client: Client, biller: Biller, processor: Processor
) -> None:
    due_today(biller, processor, "approve", "approve", "hard_decline")
    given = {"window": "usual", "status": "active", "minimum": "5.00", "limit": "10"}
    with nothing_changes_but_trail():
        trial = Run.objects.get(pk=client.post(page("biller-run-new"), given)["location"].split("/")[-2])
    assert trial.dry_run
    shown = client.get(page("biller-run", trial.pk)).content.decode()
    assert "The run would take 3 bills of <span" in shown and "$150.00" in shown
    client.post(page("biller-run-start", trial.pk))
    real = Run.objects.get(dry_run=False)
    assert collections.options_of(real) == collections.options_of(trial) and real.state == RunState.PLANNED
    assert "every 2s" in client.get(page("biller-run", real.pk)).content.decode()
    work_run(real.pk)
    after = client.get(page("biller-run", real.pk))
    assert [(one["label"], one["value"], one["note"]) for one in after.context["stats"]] == [
        ("Bills to collect", "3", "$150.00"), ("Sent", "3", "$150.00"), ("Taken", "2", "$100.00"),
        ("Declined", "1", "$50.00"), ("No result yet", "0", "$0.00"),
    ]  # fmt: skip
    assert [(one.words, one.count, one.amount) for one in after.context["failures"]] == [
        ("The bank declined the payment.", 1, Decimal("50.00"))
    ]
    assert "every 2s" not in after.content.decode()
    assert client.get(page("biller-run", trial.pk)).context["real"] == real
    row = client.get(page("biller-runs")).context["listing"].rows[0]
    assert (row.pk, row.expected_count, row.passed, row.passed_amount, row.declined) == (
        real.pk,
        3,
        2,
        Decimal("100.00"),
        1,
    )
    # Again with the same options is the same run: nothing is collected twice.
    with nothing_changes(Chunk):
        again = client.post(page("biller-run-start", trial.pk), follow=True)
    assert "The same run was made today already" in again.content.decode()


@pytest.mark.spec("PAY-7")
def test_a_deposit_run_is_tried_first_and_then_started_with_the_same_options(
    client: Client, biller: Biller, processor: Processor
) -> None:
    for amount, days in (("10.00", 1), ("20.00", 9)):
        card = owing(biller, processor, amount=amount)
        charges.pay(
            customer=card.customer, amount=Decimal(amount), instrument=card, channel=Channel.API,
            actor=Actor.system("tests"), request_key=amount, authorize_only=True,
            now=timezone.now() - datetime.timedelta(days=days),
        )  # fmt: skip
    refused = client.post(page("biller-run-new-deposit"), {"window": "dates", "start": "11/22/2026"})
    assert refused.status_code == 422 and "end" in refused.context["form"].errors
    with nothing_changes_but_trail():
        trial = client.post(page("biller-run-new-deposit"), {"window": "usual"})["location"]
    shown = client.get(trial).content.decode()
    assert "The run would take 2 payments of <span" in shown and "Deposit <span" in shown
    client.post(page("biller-run-start", trial.split("/")[-2]))
    real = Run.objects.get(dry_run=False)
    assert (real.kind, real.state) == ("deposit", RunState.PLANNED)
    work_run(real.pk)
    after = client.get(page("biller-run", real.pk))
    assert [(one["label"], one["value"], one["note"]) for one in after.context["stats"]] == [
        ("Payments to deposit", "2", "$30.00"), ("Sent", "2", "$30.00"), ("Taken", "2", "$30.00"),
        ("Expired, cost more", "1", "$20.00"), ("Declined", "0", "$0.00"), ("No result yet", "0", "$0.00"),
    ]  # fmt: skip
    assert "2 of 2 payments, $30.00 taken" in after.content.decode()
    listed = client.get(page("biller-payments", run=real.pk)).context["listing"].rows
    assert {one.state for one in listed} == {"posted"} and len(listed) == 2


@pytest.mark.spec("PAY-7")
def test_a_release_run_is_tried_first_and_lets_go_of_what_its_form_names(
    client: Client, biller: Biller, processor: Processor
) -> None:
    held = {}
    for days in (2, 8, 40):
        card = owing(biller, processor, amount=f"{days}.00")
        held[days] = charges.pay(
            customer=card.customer, amount=Decimal(days), instrument=card, channel=Channel.API,
            actor=Actor.system("tests"), request_key=str(days), authorize_only=True,
            now=timezone.now() - datetime.timedelta(days=days),
        )  # fmt: skip
    url = page("biller-run-new-release")
    last = biller.business_date(timezone.now()) - datetime.timedelta(days=31)
    assert f"Older than the 30 days of the payment rules: until {formats.day(last)}" in client.get(url).content.decode()
    for given, field in (
        ({"window": "dates", "start": "11/22/2026"}, "end"),
        ({"window": "usual", "limit": "0"}, "limit"),
    ):
        refused = client.post(url, given)
        assert refused.status_code == 422 and list(refused.context["form"].errors) == [field]
    assert Run.objects.count() == 0

    def taken(**given: str) -> dict[str, Any]:
        trial = Run.objects.get(pk=client.post(url, given)["location"].split("/")[-2])
        assert (trial.kind, trial.dry_run, trial.asked_by) == ("release", True, "Dana Whitfield")
        return {"payments": run_totals(trial).expected, **trial.params}

    with nothing_changes_but_trail():
        route, day = held[8].route_id, biller.business_date(timezone.now()) - datetime.timedelta(days=8)
        usual = {"start": None, "end": str(last), "expired": "False", "route_id": None, "limit": None, "repeat": ""}
        assert taken(window="usual") == {"payments": 1, **usual}
        assert taken(window="dates", end=f"{day:%m/%d/%Y}") == {"payments": 2, **usual, "end": str(day)}
        within = {"start": str(day), "end": str(day), "route_id": str(route), "limit": "1"}
        given = {"start": f"{day:%m/%d/%Y}", "end": f"{day:%m/%d/%Y}", "route": str(route), "limit": "1"}
        assert taken(window="dates", **given) == {"payments": 1, **usual, **within}
        trial = client.post(url, {"window": "usual", "expired": "on"})["location"]
        shown = client.get(trial).content.decode()
        assert "The run would take 2 payments of <span" in shown and "and all that have expired" in shown
        assert "Release <span" in shown and url in shown
    client.post(page("biller-run-start", trial.split("/")[-2]))
    real = Run.objects.get(dry_run=False)
    work_run(real.pk)
    after = client.get(page("biller-run", real.pk))
    assert [(one["label"], one["value"], one["note"]) for one in after.context["stats"]] == [
        ("Payments to release", "2", "$48.00"), ("Sent", "2", "$48.00"), ("Released", "2", "$48.00"),
        ("Declined", "0", "$0.00"), ("No result yet", "0", "$0.00"),
    ]  # fmt: skip
    states = {days: Payment.objects.get(pk=one.pk).state for days, one in held.items()}
    assert states == {2: "authorized", 8: "failed", 40: "failed"}
    # Where nothing is released by itself the payment rules name no days.
    Biller.objects.update(release_days=0)
    assert "of the payment rules" not in client.get(url).content.decode()
    assert client.post(url, {"window": "usual"}).status_code == 422


@contextmanager
def nothing_changes_but_trail() -> Iterator[None]:
    before = (Payment.objects.count(), list(Item.objects.order_by("pk").values_list("reserved", "open")))
    yield
    assert (Payment.objects.count(), list(Item.objects.order_by("pk").values_list("reserved", "open"))) == before


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"window": "days"}, "days"),
        ({"window": "dates"}, "start"),
        ({"window": "dates", "start": "11/22/2026", "end": "11/20/2026"}, "end"),
        ({"window": "soon"}, "window"),
        ({"window": "usual", "limit": "0"}, "limit"),
        ({"window": "usual", "minimum": "x"}, "minimum"),
        ({"window": "usual", "tender": "gold"}, "tender"),
    ],
)
def test_options_that_cannot_be_plan_nothing(client: Client, biller: Biller, given: dict[str, str], field: str) -> None:
    with nothing_changes(Run):
        refused = client.post(page("biller-run-new"), {"status": "active", **given})
    assert refused.status_code == 422 and field in refused.context["form"].errors


@pytest.mark.spec("PAY-6")
def test_the_window_is_as_the_form_says(client: Client, biller: Biller) -> None:
    today = biller.business_date(timezone.now())
    route = make_route(biller)
    for given, start, end, others in (
        ({"window": "usual"}, today - datetime.timedelta(days=1), today, {}),
        ({"window": "days", "days": "0"}, today, today, {}),
        ({"window": "days", "days": "7"}, today - datetime.timedelta(days=7), today, {}),
        (
            {"window": "dates", "start": "11/01/2026", "end": "11/05/2026", "route": str(route.pk), "tender": "ach"},
            datetime.date(2026, 11, 1), datetime.date(2026, 11, 5), {"route_id": route.pk, "tender": "ach"},
        ),
        ({"window": "rebill", "status": "inactive"}, None, None, {"rebill": True, "status": "inactive"}),
    ):  # fmt: skip
        client.post(page("biller-run-new"), {"status": "active", **given})
        options = collections.options_of(Run.objects.latest("pk"))
        if start is not None:
            assert (options.start, options.end) == (start, end)
        for name, value in others.items():
            assert getattr(options, name) == value
    foreign = make_route(make_biller())
    refused = client.post(page("biller-run-new"), {"status": "active", "window": "usual", "route": str(foreign.pk)})
    assert refused.status_code == 422


def test_a_run_is_stopped_once_and_only_by_who_may(client: Client, biller: Biller, processor: Processor) -> None:
    due_today(biller, processor, "approve")
    client.post(page("biller-run-new"), {"window": "usual", "status": "active"})
    client.post(page("biller-run-start", Run.objects.get().pk))
    run = Run.objects.get(dry_run=False)
    csr = client_of(make_staff(biller, Role.CSR))
    with nothing_changes(Run):
        for name in ("biller-run-stop", "biller-run-start"):
            assert csr.post(page(name, run.pk)).status_code == 403
        assert csr.get(page("biller-run-new")).status_code == 403
        assert client.get(page("biller-run-stop", run.pk)).status_code == 405
    assert "Stop the run" not in csr.get(page("biller-run", run.pk)).content.decode()
    client.post(page("biller-run-stop", run.pk))
    assert "Stopping" in client.get(page("biller-run", run.pk)).content.decode()
    work_run(run.pk)
    run.refresh_from_db()
    assert run.state == RunState.STOPPED and not Payment.objects.exists()
    with nothing_changes(Run):
        client.post(page("biller-run-stop", run.pk))


def test_no_run_is_planned_while_charging_is_stopped(client: Client, biller: Biller) -> None:
    Biller.objects.update(charging_stopped=True)
    with nothing_changes(Run):
        refused = client.post(page("biller-run-new"), {"window": "usual", "status": "active"})
    assert refused.status_code == 422 and "Charging is stopped" in refused.content.decode()


def test_another_billers_run_and_case_are_not_found(client: Client, processor: Processor) -> None:
    other = make_biller()
    case = unknown(owing(other, processor), processor)
    run = Run.objects.create(biller=other, kind="collect", key="x", business_date=timezone.localdate(), asked_by="x")
    for name, pk in (("biller-run", run.pk), ("biller-case", case.pk)):
        assert client.get(page(name, pk)).status_code == 404
    with nothing_changes(Run, Case):
        for name, pk in (("biller-run-stop", run.pk), ("biller-run-start", run.pk), ("biller-case-close", case.pk)):
            assert client.post(page(name, pk), {"outcome": "charged", "evidence": "x"}).status_code == 404
    assert client.get(page("biller-unresolved")).context["listing"].total == 0


# ---- Cases and unresolved attempts


def unknown(card: Instrument, processor: Processor) -> Case:
    """Make a case of a charge whose answer was lost; an hour ago, where the processor recognises no repeat."""
    card.route.options["dedupe_window"] = None
    card.route.save()
    processor.strike("drop_after")
    payment = charges.pay(
        customer=card.customer, amount=Decimal("84.10"), instrument=card, channel=Channel.WEB,
        actor=Actor.payer(None, "Pat"), request_key=str(uuid.uuid4()),
    )  # fmt: skip
    attempt = payment.attempts.get()
    earlier = timezone.now() - datetime.timedelta(hours=1)
    Attempt.objects.filter(pk=attempt.pk).update(created_at=earlier, sent_at=earlier, lookups=3)
    return Case.objects.create(
        biller=payment.biller, customer=payment.customer, attempt=attempt, kind="unknown", reason="Nobody knows."
    )


def test_unresolved_attempts_are_listed_with_their_age_code_and_case(
    client: Client, biller: Biller, processor: Processor
) -> None:
    case = unknown(owing(biller, processor), processor)
    shown = client.get(page("biller-unresolved")).content.decode()
    for words in ("1 hour", "999 Checkpoint", "Outcome unknown", page("biller-case", case.pk)):
        assert words in shown
    Checkpoint.objects.all().delete()
    assert client.get(page("biller-unresolved")).context["listing"].total == 0


@pytest.mark.parametrize(
    ("outcome", "state", "balance"),
    [("charged", PaymentState.POSTED, "0.00"), ("not_charged", PaymentState.FAILED, "84.10")],
)
def test_a_case_is_decided_either_way_on_evidence(
    client: Client, biller: Biller, processor: Processor, outcome: str, state: str, balance: str
) -> None:
    card = owing(biller, processor)
    case = unknown(card, processor)
    client.post(
        page("biller-case-close", case.pk),
        {"outcome": outcome, "evidence": "Report of today, line 7", "approval_code": "A1"},
    )
    case.refresh_from_db()
    assert (case.state, case.closed_by) == ("done", "Dana Whitfield") and "line 7" in case.outcome
    assert Payment.objects.get().state == state
    item = Item.objects.get()
    assert (str(item.open), str(item.reserved)) == (balance, "0.00")
    assert AuditEntry.objects.filter(event="case.closed", actor="Dana Whitfield").count() == 1


def test_a_charge_is_not_given_up_while_the_processor_recognises_a_repeat(
    client: Client, biller: Biller, processor: Processor
) -> None:
    """It is looked up and sent again by itself until then, and may still be taken; that it was taken may be said at once."""
    case = unknown(owing(biller, processor), processor)
    Route.objects.update(options=Route.objects.get().options | {"dedupe_window": 168})
    week = datetime.timedelta(days=7)
    end = timezone.now() + datetime.timedelta(minutes=10)
    Attempt.objects.update(created_at=end - week)
    until = f"{timezone.localtime(end, biller.zone):%-I:%M %p}".lower()
    assert "“Not taken” from" in client.get(page("biller-case", case.pk)).content.decode()
    given = {"outcome": "not_charged", "evidence": "Report"}
    with nothing_changes(Case, Attempt, Payment, Item):
        refused = client.post(page("biller-case-close", case.pk), given)
    assert refused.status_code == 422
    words = refused.content.decode()
    assert "The processor recognises a repeat of this charge until" in words and until in words
    Attempt.objects.update(created_at=timezone.now() - week)
    assert client.post(page("biller-case-close", case.pk), given).status_code == 302
    assert Payment.objects.get().state == PaymentState.FAILED


def test_a_case_without_evidence_or_right_or_twice_stays_as_it_is(
    client: Client, biller: Biller, processor: Processor
) -> None:
    case = unknown(owing(biller, processor), processor)
    url = page("biller-case-close", case.pk)
    csr = client_of(make_staff(biller, Role.CSR))
    with nothing_changes(Case):
        assert client.post(url, {"outcome": "charged", "evidence": "  "}).status_code == 422
        assert client.post(url, {"evidence": "x"}).status_code == 422
        assert csr.post(url, {"outcome": "charged", "evidence": "x"}).status_code == 403
    assert "A supervisor or biller administrator decides" in csr.get(page("biller-case", case.pk)).content.decode()
    client.post(url, {"outcome": "charged", "evidence": "Report"})
    with nothing_changes(Case):
        assert client.post(url, {"outcome": "not_charged", "evidence": "Other report"}).status_code == 422


def test_a_conflict_is_closed_with_what_was_found_out_and_changes_no_payment(
    client: Client, biller: Biller, processor: Processor
) -> None:
    case = unknown(owing(biller, processor), processor)
    Case.objects.update(kind="conflict")
    before = list(Payment.objects.values())
    client.post(page("biller-case-close", case.pk), {"evidence": "Their clerk mixed up two files."})
    case.refresh_from_db()
    assert (case.state, case.outcome) == ("done", "Their clerk mixed up two files.")
    assert list(Payment.objects.values()) == before


def test_what_came_of_a_payment_is_not_shown_under_another_account(
    client: Client, biller: Biller, processor: Processor
) -> None:
    card = owing(biller, processor)
    client.post(review(card), {})
    neighbour = make_customer(biller)
    wrong = page("biller-account-pay-done", neighbour.pk, Payment.objects.get().pk)
    assert client.get(wrong).status_code == 404
