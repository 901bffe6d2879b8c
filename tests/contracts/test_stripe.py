"""The driver of Stripe: what only Stripe does, against our own small Stripe on a real socket.

What every driver must do is in ``test_gateways.py``, and runs over this one as well.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st

from payments.gateways import registry
from payments.gateways.base import (
    Absent,
    Answer,
    Command,
    EventSource,
    Gateway,
    InstrumentDetails,
    Misconfigured,
    NotAuthentic,
    NotSent,
    OutcomeUnknown,
    Refused,
    Result,
    ReversalKind,
    ScriptedFields,
)
from payments.gateways.stripe import StripeGateway, answers
from payments.gateways.stripe.amounts import major_units, minor_units
from payments.gateways.stripe.codes import RESULTS
from tests.contracts.gateways import charge, error_of, only
from tests.stripe_server import StripeServer, signature

ACCOUNT = "acct_water"
SECRET = "sk_test_water whsec_water"


@pytest.fixture(scope="module")
def running() -> Iterator[StripeServer]:
    with StripeServer() as server:
        yield server


@pytest.fixture
def stripe(running: StripeServer) -> StripeServer:
    running.reset()
    running.account(ACCOUNT)
    return running


def open_stripe(stripe: StripeServer, *, secret: str = SECRET, **options: Any) -> Gateway:
    wanted = {"base_url": stripe.url, "merchant": ACCOUNT, "timeout": 10.0, **options}
    return registry.open_gateway("stripe", wanted, secret)


def answer_of(gateway: Gateway, request: Any) -> Answer:
    answer = only(gateway.send([request]))
    assert isinstance(answer, Answer), answer
    return answer


def sent_to(stripe: StripeServer, path: str) -> dict[str, str]:
    return next(form for method, asked, form in stripe.asked if method == "POST" and asked == path)


# What is sent


@pytest.mark.parametrize(
    ("transaction_type", "moto", "marks"),
    [
        ("recurring", False, {"off_session": "true"}),
        ("internet", False, {"error_on_requires_action": "true"}),
        ("moto", False, {"off_session": "true"}),
        ("moto", True, {"payment_method_options[card][moto]": "true"}),
    ],
)
@pytest.mark.spec("PAY-19")
def test_a_transaction_type_is_told_as_stripe_asks_for_it(
    stripe: StripeServer, transaction_type: str, moto: bool, marks: dict[str, str]
) -> None:
    request = charge(stripe.token(ACCOUNT, "approve"), transaction_type=transaction_type)
    assert answer_of(open_stripe(stripe, moto=moto), request).result == Result.PASS
    form = sent_to(stripe, "/v1/payment_intents")
    told = ("off_session", "error_on_requires_action", "payment_method_options[card][moto]")
    assert {name: form[name] for name in told if name in form} == marks
    assert (form["amount"], form["currency"], form["confirm"]) == ("1234", "usd", "true")
    assert form["metadata[ratepayer_key]"] == form["transfer_group"] == request.key
    headers = stripe.headers[-1]
    assert headers["Idempotency-Key"] == request.key
    # What the library knows of this machine stays here.
    assert not any(name.startswith("X-Stripe-Client") for name in headers)
    assert headers["User-Agent"] == "Ratepayer"


def test_a_bank_account_is_debited_and_taken_as_paid_when_stripe_takes_it_up(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe)
    request = charge(stripe.token(ACCOUNT, "approve", "bank"), tender="bank")
    answer = answer_of(gateway, request)
    assert (answer.result, answer.code, answer.amount) == (Result.PASS, "processing", Decimal("12.34"))
    assert not answer.confirmed
    assert list(gateway.lookup([request.key])) == [answer]
    intent = stripe.account(ACCOUNT).things[answer.processor_reference]
    # Some days later the bank has paid.
    intent["status"] = "succeeded"
    (paid,) = gateway.lookup([request.key])
    assert isinstance(paid, Answer)
    assert (paid.result, paid.confirmed) == (Result.PASS, True)


@pytest.mark.parametrize(
    ("currency", "amount", "minor"),
    [("USD", "12.34", 1234), ("JPY", "500", 500), ("JPY", "500.00", 500), ("KWD", "5.120", 5120), ("ISK", "5", 500)],
)
def test_amounts_go_in_the_smallest_unit_and_come_back(currency: str, amount: str, minor: int) -> None:
    assert minor_units(Decimal(amount), currency) == minor
    assert major_units(minor, currency) == Decimal(amount)


@pytest.mark.parametrize(
    ("currency", "amount"),
    [
        ("USD", "0.001"),
        ("JPY", "0.5"),
        ("KWD", "5.125"),
        ("ISK", "5.10"),
        ("usd", "1"),
        ("USD", "NaN"),
        ("USD", "1e11"),
    ],
)
def test_an_amount_that_stripe_does_not_take_is_none(currency: str, amount: str) -> None:
    with pytest.raises(ValueError, match=r"currency is|amount is|is no amount"):
        minor_units(Decimal(amount), currency)


@settings(max_examples=50)
@given(st.integers(0, 10**9), st.sampled_from(["USD", "JPY", "EUR", "XOF", "MXN"]))
def test_no_amount_changes_on_its_way(minor: int, currency: str) -> None:
    assert minor_units(major_units(minor, currency), currency) == minor


# Idempotency keys


def test_a_request_that_is_under_way_is_unknown_and_charged_once(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe)
    request = charge(stripe.token(ACCOUNT, "approve"))
    stripe.strike("slow_inside")
    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(only(gateway.send([request]))))
    thread.start()
    time.sleep(0.2)
    assert error_of(only(gateway.send([request]))) is OutcomeUnknown
    thread.join(10)
    assert isinstance(first[0], Answer)
    assert answer_of(gateway, request) == first[0]
    assert stripe.charges(ACCOUNT) == {request.key: 1}


@pytest.mark.spec("PAY-3")
def test_a_failure_that_stripe_keeps_stays_unknown_until_it_is_looked_up(stripe: StripeServer) -> None:
    """Stripe gives the first answer of a key again, a failure too: sending again cannot help, asking does."""
    gateway = open_stripe(stripe)
    other, request = (charge(stripe.token(ACCOUNT, "approve")) for _ in range(2))
    answer_of(gateway, other)
    stripe.strike("stored_error")
    for _ in range(2):
        assert error_of(only(gateway.send([request]))) is OutcomeUnknown
    (found,) = gateway.lookup([request.key])
    assert isinstance(found, Answer)
    assert found.result == Result.PASS
    assert stripe.charges(ACCOUNT) == {other.key: 1, request.key: 1}


def test_the_library_sends_nothing_twice_and_being_turned_away_is_not_sent(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe)
    request = charge(stripe.token(ACCOUNT, "approve"))
    for fault, error in (("error_before", OutcomeUnknown), ("busy", NotSent), ("drop_before", OutcomeUnknown)):
        asked = len(stripe.asked)
        stripe.strike(fault)
        assert error_of(only(gateway.send([request]))) is error
        assert len(stripe.asked) == asked + 1


def test_one_key_without_answer_leaves_the_others_looked_up(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe, concurrency=1)
    requests = [charge(stripe.token(ACCOUNT, "approve")) for _ in range(3)]
    sent = [answer_of(gateway, request) for request in requests]
    stripe.strike("drop_before", on=["lookup"])
    given: list[Answer | Absent] = []
    with pytest.raises(OutcomeUnknown):
        given.extend(gateway.lookup([request.key for request in requests]))
    looked_up = gateway.lookup([request.key for request in requests])
    assert [next(looked_up) for _ in range(3)] == sent


# Codes


@pytest.mark.parametrize(
    ("error", "result"),
    [
        ({"code": "card_declined", "decline_code": "insufficient_funds"}, Result.SOFT_DECLINE),
        ({"code": "card_declined", "decline_code": "do_not_honor"}, Result.SOFT_DECLINE),
        ({"code": "card_declined", "decline_code": "do_not_honor", "advice_code": "do_not_try_again"}, 8),
        ({"code": "card_declined", "decline_code": "lost_card"}, Result.HARD_DECLINE),
        ({"code": "card_declined", "decline_code": "authentication_required"}, Result.HARD_DECLINE),
        ({"code": "card_declined", "decline_code": "one_of_next_year"}, Result.HARD_DECLINE),
        ({"code": "expired_card"}, Result.BAD_CARD),
        ({"code": "incorrect_zip"}, Result.ZIP_FAIL),
        ({}, Result.HARD_DECLINE),
    ],
)
@pytest.mark.spec("PAY-4", "PAY-5")
def test_declines_become_results_by_a_table(error: dict[str, Any], result: int) -> None:
    body = {"error": {"type": "card_error", "message": "No.\x00", **error}}
    answer = answers.read_error(402, body, key="k", codes=RESULTS)
    assert (answer.key, answer.result, answer.message) == ("k", result, "No. ")


@pytest.mark.spec("PAY-4")
def test_the_administrators_table_goes_before_ours(stripe: StripeServer) -> None:
    request = charge(stripe.token(ACCOUNT, "soft_decline"))
    answer = answer_of(open_stripe(stripe, codes={"insufficient_funds": 20}), request)
    assert (answer.code, answer.result) == ("insufficient_funds", 20)
    with pytest.raises(Misconfigured, match="cannot become"):
        open_stripe(stripe, codes={"insufficient_funds": 888})


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {"error": {"type": "invalid_request_error"}}, Misconfigured),
        (403, {"error": {"type": "invalid_request_error"}}, Misconfigured),
        (404, None, Misconfigured),
        (302, None, Misconfigured),
        (404, {"error": {"type": "invalid_request_error"}}, Refused),
        (400, {"error": {"type": "invalid_request_error", "code": "parameter_missing"}}, Refused),
        (400, {"error": {"type": "idempotency_error"}}, OutcomeUnknown),
        (409, {"error": {"type": "invalid_request_error"}}, OutcomeUnknown),
        (429, {"error": {"type": "invalid_request_error", "code": "rate_limit"}}, NotSent),
        (500, {"error": {"type": "api_error"}}, OutcomeUnknown),
        (402, "<html>", OutcomeUnknown),
        (400, {"error": "no"}, OutcomeUnknown),
        (None, None, OutcomeUnknown),
    ],
)
def test_what_is_no_result_says_what_may_be_done(status: int | None, body: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        answers.read_error(status, body, key="k", codes=RESULTS)


_anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "object",
                    "id",
                    "status",
                    "metadata",
                    "ratepayer_key",
                    "latest_charge",
                    "amount",
                    "currency",
                    "created",
                    "last_payment_error",
                    "code",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(_anything)
def test_anything_at_all_is_an_answer_or_unknown(thing: Any) -> None:
    thing = thing if isinstance(thing, dict) else {}
    with contextlib.suppress(OutcomeUnknown):
        assert answers.read_intent(thing, "k", RESULTS).key == "k"
    with contextlib.suppress(OutcomeUnknown):
        assert answers.read_refund(thing, "k", RESULTS).key == "k"
    with contextlib.suppress(OutcomeUnknown):
        assert answers.read_deposit(thing, "k").key == "k"


# Authorizations, deposits, refunds


@pytest.mark.spec("PAY-33")
def test_an_authorization_that_was_not_deposited_is_released_whole(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe)
    token = stripe.token(ACCOUNT, "approve")
    request = charge(token, command=Command.AUTHORIZE)
    held = answer_of(gateway, request)
    part = charge(token, command=Command.RELEASE, amount=Decimal("1.00"), reference=held.processor_reference)
    assert answer_of(gateway, part).result == Result.LOGICAL_PROBLEM
    release = charge(token, command=Command.RELEASE, reference=held.processor_reference)
    released = answer_of(gateway, release)
    assert (released.result, released.voided, released.amount) == (Result.PASS, True, Decimal("12.34"))
    assert answer_of(gateway, release) == released
    again = charge(token, command=Command.RELEASE, reference=held.processor_reference)
    assert answer_of(gateway, again).result == Result.NO_CREDIT_BALANCE
    about = dict.fromkeys((release.key, again.key), held.processor_reference)
    assert list(gateway.lookup([release.key, again.key], about=about)) == [released, Absent(again.key)]
    # What was authorized stays so in the book, whatever came after.
    assert list(gateway.lookup([request.key])) == [replace_code(held, "canceled")]
    deposit = charge(token, command=Command.DEPOSIT, reference=held.processor_reference)
    assert answer_of(gateway, deposit).result == Result.LOGICAL_PROBLEM
    assert not any(stripe.charges(ACCOUNT).values())


def replace_code(answer: Answer, code: str) -> Answer:
    return Answer(**{**{name: getattr(answer, name) for name in Answer.__slots__}, "code": code})


@pytest.mark.parametrize("command", [Command.DEPOSIT, Command.RELEASE, Command.REFUND])
def test_a_repeat_after_the_window_is_told_what_was_done(stripe: StripeServer, command: Command) -> None:
    """Where Stripe has forgotten the key, what it made still names it."""
    gateway = open_stripe(stripe)
    token = stripe.token(ACCOUNT, "approve")
    first = Command.CHARGE if command == Command.REFUND else Command.AUTHORIZE
    charged = answer_of(gateway, charge(token, command=first))
    request = charge(token, command=command, reference=charged.processor_reference)
    done = answer_of(gateway, request)
    stripe.account(ACCOUNT).replies.clear()
    assert answer_of(gateway, request) == done
    assert list(gateway.lookup([request.key], about={request.key: charged.processor_reference})) == [done]


def test_a_refund_is_refused_where_there_is_no_such_charge(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe)
    for reference in ("pi_none", "re_none", "../customers", ""):
        request = charge(stripe.token(ACCOUNT, "approve"), command=Command.REFUND, reference=reference)
        assert answer_of(gateway, request).result == Result.FAIL_SELECT_ITEMS
        assert list(gateway.lookup([request.key], about={request.key: reference})) == [Absent(request.key)]


# What Stripe lists of a day


@pytest.mark.spec("PAY-10")
def test_a_days_list_names_charges_refunds_deposits_and_releases_once_it_is_an_hour_old(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe)
    token, bad = stripe.token(ACCOUNT, "approve"), stripe.token(ACCOUNT, "soft_decline")
    with time_machine.travel(datetime(2026, 11, 20, 12, 0, tzinfo=UTC), tick=True):
        requests = [charge(token, payment="pay-1"), charge(bad), charge(token, command=Command.AUTHORIZE)]
        requests += [charge(token, command=Command.AUTHORIZE)]
        done = [answer_of(gateway, request) for request in requests]
        returned = charge(stripe.token(ACCOUNT, "approve", "bank"), tender="bank")
        answer_of(gateway, returned)
        stripe.reverse(ACCOUNT, returned.key, "return")
        undecided = charge(token)
        answer_of(gateway, undecided)
        stripe.intent_of(ACCOUNT, undecided.key)["status"] = "processing"
    with time_machine.travel(datetime(2026, 11, 21, 12, 0, tzinfo=UTC), tick=True):
        later = [
            answer_of(gateway, charge(token, command=command, reference=done[number].processor_reference))
            for command, number in ((Command.REFUND, 0), (Command.DEPOSIT, 2), (Command.RELEASE, 3))
        ]
        asked = charge(token, command=Command.REFUND, amount=Decimal("1.00"), reference=done[2].processor_reference)
        refund = answer_of(gateway, asked)
        stripe.account(ACCOUNT).things[refund.processor_reference]["status"] = "requires_action"
    with time_machine.travel(datetime(2026, 11, 21, 12, 30, tzinfo=UTC), tick=False):
        early = list(gateway.response_files())
    with time_machine.travel(datetime(2026, 11, 22, 12, 0, tzinfo=UTC), tick=False):
        files = list(gateway.response_files())
        longer = list(gateway.response_files(datetime(2026, 11, 14, 9, 0, tzinfo=UTC)))
        longest = list(gateway.response_files(datetime(2026, 9, 1, tzinfo=UTC)))
    # After a restore they reach back as far as is asked for, and say what each message was about.
    assert longer[0].covers_from == datetime(2026, 11, 14, tzinfo=UTC)
    assert longer[-3:] == files
    # Deposits are known from events alone, which Stripe keeps for thirty days.
    assert longest[0].covers_from == datetime(2026, 10, 25, tzinfo=UTC)
    about = {one.key: one.request for file in files for one in file.answers if one.request}
    assert {key: (one.command, one.account, one.payment, one.currency) for key, one in about.items()} == {
        requests[0].key: (Command.CHARGE, requests[0].account, "pay-1", "USD"),
        requests[2].key: (Command.AUTHORIZE, requests[2].account, "", "USD"),
        requests[3].key: (Command.AUTHORIZE, requests[3].account, "", "USD"),
        later[1].key: (Command.DEPOSIT, requests[2].account, "", "USD"),
    }
    assert about[later[1].key].reference == done[2].processor_reference
    assert [(file.covers_from, file.covers_until) for file in files] == [
        (datetime(2026, 11, day, tzinfo=UTC), datetime(2026, 11, day + 1, 0 if day < 22 else 11, tzinfo=UTC))
        if day < 22
        else (datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 22, 11, tzinfo=UTC))
        for day in (20, 21, 22)
    ]
    # A debit that failed has its return told as one; what has no result yet keeps nothing else from being read.
    assert [file.unresolved for file in files] == [(returned.key, undecided.key), (asked.key,), ()]
    assert [answer.key for answer in files[0].answers] == [answer.key for answer in done]
    assert {answer.key: answer.result for answer in files[0].answers} == {one.key: one.result for one in done}
    assert sorted(answer.key for answer in files[1].answers) == sorted(answer.key for answer in later)
    assert all(answer in later for answer in files[1].answers)
    assert files[2].answers == ()
    assert len({file.name for file in files}) == 3
    # An hour must pass before absence from a list says anything.
    assert early[-1].covers_until == datetime(2026, 11, 21, 11, 30, tzinfo=UTC)
    assert early[-1].answers == ()


def test_a_list_of_many_pages_is_read_whole_and_one_that_breaks_is_unknown(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe)
    token = stripe.token(ACCOUNT, "approve")
    with time_machine.travel(datetime(2026, 11, 20, 12, 0, tzinfo=UTC), tick=True):
        keys = [answer_of(gateway, charge(token)).key for _ in range(103)]
    with time_machine.travel(datetime(2026, 11, 20, 20, 0, tzinfo=UTC), tick=False):
        assert [answer.key for answer in list(gateway.response_files())[-1].answers] == keys
        stripe.strike("drop_before", on=["response_file"], times=3)
        with pytest.raises(OutcomeUnknown):
            list(gateway.response_files())


# Money that moves back


@pytest.mark.spec("PAY-32")
def test_disputes_and_returns_are_told_by_what_moved(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe)
    began = datetime.now(tz=UTC) - timedelta(seconds=2)
    card, bank = (
        charge(stripe.token(ACCOUNT, "approve")),
        charge(stripe.token(ACCOUNT, "approve", "bank"), tender="bank"),
    )
    declined = charge(stripe.token(ACCOUNT, "soft_decline"))
    refused = charge(stripe.token(ACCOUNT, "soft_decline", "bank"), tender="bank")
    for request in (card, bank, declined, refused):
        answer_of(gateway, request)
    stripe.reverse(ACCOUNT, card.key, "chargeback", 1000)
    # Within seconds: whether a debit was declined when it was taken up or failed right afterwards, the event does not say.
    stripe.reverse(ACCOUNT, bank.key, "return")
    told = {one.key: one for one in gateway.reversals(began)}
    assert set(told) == {card.key, bank.key, refused.key}
    assert (told[card.key].kind, told[card.key].amount, told[card.key].code, told[card.key].reason) == (
        ReversalKind.CHARGEBACK,
        Decimal("10.00"),
        "10.4",
        "fraudulent",
    )
    assert (told[bank.key].kind, told[bank.key].amount, told[bank.key].code) == (
        ReversalKind.RETURN,
        Decimal("12.34"),
        "insufficient_funds",
    )
    # No funds may come again; whose account is closed pays nothing from it any more.
    closed = charge(stripe.token(ACCOUNT, "approve", "bank"), tender="bank")
    answer_of(gateway, closed)
    stripe.reverse(ACCOUNT, closed.key, "return", code="account_closed")
    assert {one.key for one in gateway.reversals(began) if one.for_good} == {closed.key}
    mapped = open_stripe(stripe, codes={"account_closed": 7})
    assert not any(one.for_good for one in mapped.reversals(began))
    # What events no longer tell after a month, the disputes themselves do, under the same reference.
    old = list(gateway.reversals(began - timedelta(days=60)))
    assert [one.reference for one in old if one.key == card.key] == [told[card.key].reference]


# Methods


@pytest.mark.spec("PAY-16", "PAY-17")
def test_what_was_entered_becomes_a_token_that_ends_in_four_digits(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe)
    year = datetime.now(tz=UTC).year + 3
    for brought in (stripe.entered(ACCOUNT), stripe.checked_out(ACCOUNT)):
        details = gateway.describe_token(brought)
        assert details == InstrumentDetails(
            token=details.token,
            kind="card",
            brand="visa",
            last4="4242",
            holder="",
            expires_on=datetime(year, 12, 31, tzinfo=UTC).date(),
        )
        assert details.token.endswith("/4242")
        assert gateway.describe_token(details.token) == details
        assert answer_of(gateway, charge(details.token)).result == Result.PASS
    with pytest.raises(OutcomeUnknown, match="still"):
        gateway.describe_token(stripe.entered(ACCOUNT, status="processing"))
    mine, other = stripe.token(ACCOUNT, "approve"), stripe.token(ACCOUNT, "approve")
    mixed = "/".join([mine.split("/")[0], *other.split("/")[1:]])
    for wrong in (mixed, mine.replace("4242", "1111"), f"{mine}0"):
        with pytest.raises(Refused, match="not known"):
            gateway.describe_token(wrong)
    # What a browser brings was entered for the account that it is brought for, and is nothing that somebody keeps.
    for enter in (stripe.entered, stripe.checked_out):
        brought = enter(ACCOUNT, number="1001-1")
        assert gateway.describe_token(brought, account="1001-1").last4 == "4242"
        for wrong, account in ((brought, "1001-2"), (enter(ACCOUNT), "1001-1"), (mine, "1001-1")):
            with pytest.raises(Refused, match="not known"):
                gateway.describe_token(wrong, account=account)


@pytest.mark.spec("PAY-16")
def test_fields_are_a_script_in_a_page_of_ours_or_stripes_own_page(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe, publishable_key="pk_test_water")
    assert isinstance(gateway, ScriptedFields)
    fields = gateway.hosted_fields(
        return_url="https://pay.example/back?x=1", parent_origin="https://pay.example", language="en",
        own_page="https://pay.example/method-fields/ticket",
    )  # fmt: skip
    assert fields.origin == "https://pay.example"
    assert fields.frame_url == "https://pay.example/method-fields/ticket"
    assert fields.redirect_url == "https://pay.example/method-fields/ticket?leave=yes"
    script = gateway.open_fields(kind="bank", account="1001-1", key="entry")
    assert script == gateway.open_fields(kind="bank", account="1001-1", key="entry")
    assert script.script_url == "https://js.stripe.com/v3/"
    assert script.client_secret.startswith("seti_")
    assert sent_to(stripe, "/v1/setup_intents")["payment_method_types[0]"] == "us_bank_account"
    address = gateway.leave_for_fields(
        kind="card", account="1001-1", key="entry", return_url="https://pay.example/back?x=1", language="es"
    )
    assert address.startswith("https://checkout.stripe.com/")
    asked = sent_to(stripe, "/v1/checkout/sessions")
    assert asked["success_url"] == "https://pay.example/back?x=1&token={CHECKOUT_SESSION_ID}"
    assert (asked["mode"], asked["locale"]) == ("setup", "es")
    with pytest.raises(Misconfigured, match="publishable_key"):
        open_stripe(stripe).hosted_fields(
            return_url="https://a", parent_origin="https://a", language="en", own_page="https://a"
        )


# Events


@pytest.mark.spec("PAY-33")
def test_an_event_is_believed_when_its_signature_is_right_over_the_bytes(stripe: StripeServer) -> None:
    gateway = open_stripe(stripe, secret=f"{SECRET} whsec_next")
    assert isinstance(gateway, EventSource)
    thing = {"object": "payment_intent", "metadata": {"ratepayer_key": "key-1", "ratepayer_deposit": "key-2"}}
    body, signed = stripe.webhook(ACCOUNT, "payment_intent.succeeded", thing, event_id="evt_1")
    event = gateway.read_event(body=body, headers={"Stripe-Signature": signed})
    assert (event.id, event.kind, event.keys, event.reverses) == (
        "evt_1", "payment_intent.succeeded", ("key-1", "key-2"), False,
    )  # fmt: skip
    # While the secret is being replaced, Stripe may sign with either.
    for secret in ("whsec_water", "whsec_next"):
        assert gateway.read_event(body=body, headers={"stripe-signature": signature(body, secret)}) == event
    body, signed = stripe.webhook(ACCOUNT, "charge.dispute.funds_withdrawn", {"object": "dispute"})
    assert gateway.read_event(body=body, headers={"Stripe-Signature": signed}).reverses
    for wrong_body, wrong in (
        (body + b" ", signed),
        (body, signature(body, "whsec_other")),
        (body, signature(body, "whsec_water", at=time.time() - 301)),
        (body, signed.replace("v1=", "v0=")),
        (body, ""),
        (body, "t=x,v1=y"),
        (b"\xff", signature(b"\xff", "whsec_water")),
        (b"{}", signature(b"{}", "whsec_water")),
        (b"[]", signature(b"[]", "whsec_water")),
    ):
        with pytest.raises(NotAuthentic):
            gateway.read_event(body=wrong_body, headers={"Stripe-Signature": wrong} if wrong else {})
    with pytest.raises(NotAuthentic, match="no signing secret"):
        open_stripe(stripe, secret="sk_test_water").read_event(body=body, headers={"Stripe-Signature": signed})  # type: ignore[attr-defined]


# Set-up


@pytest.mark.parametrize(
    ("secret", "options", "wrong"),
    [
        ("sk_test_water", {"merchant": "water"}, "acct_"),
        ("pk_test_water", {}, "secret"),
        ("", {}, "secret"),
        ("sk_test_water hunter2", {}, "secret"),
        ("sk_test_water", {"publishable_key": "pk_live_water"}, "mode"),
        ("sk_test_water", {"dedupe_window": 48}, "24"),
        ("sk_test_water", {"settle_seconds": 1.0}, "settle_seconds"),
        ("sk_test_water", {"base_url": "https://stripe.evil.example"}, "base_url"),
        ("sk_test_water", {"base_url": "http://api.stripe.com"}, "base_url"),
        ("sk_test_water", {"base_url": "http://169.254.169.254"}, "base_url"),
        ("sk_test_water", {"base_url": "http://user@127.0.0.1"}, "address"),
    ],
)
def test_options_that_cannot_be_are_misconfigured(
    stripe: StripeServer, secret: str, options: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(Misconfigured, match=wrong):
        open_stripe(stripe, secret=secret, **options)


def test_a_key_of_another_account_is_misconfigured(stripe: StripeServer) -> None:
    stripe.account("acct_gas")
    with pytest.raises(Misconfigured, match="another account"):
        open_stripe(stripe, secret="sk_test_gas").ping()


@pytest.mark.spec("PAY-13")
def test_what_is_told_of_an_exchange_has_no_secret(stripe: StripeServer) -> None:
    told: list[str] = []
    gateway = StripeGateway(
        merchant=ACCOUNT, secret=SECRET, base_url=stripe.url, publishable_key="pk_test_water",
        on_exchange=lambda direction, text: told.append(f"{direction} {text}"),
    )  # fmt: skip
    request = charge(stripe.token(ACCOUNT, "approve"), account="4" + "0" * 14 + "2")
    answer = answer_of(gateway, request)
    gateway.open_fields(kind="card", account="1", key="entry")
    gateway.close()
    text = "\n".join(told)
    assert "sk_test_water" not in text and "whsec" not in text
    assert "_secret_x" not in text and '"client_secret": "****"' in text
    assert "4" + "0" * 14 + "2" not in text and "****0002" in text
    assert request.key in text and answer.processor_reference in text
    assert json.dumps(request.key) in text
