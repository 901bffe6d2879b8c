"""What every gateway driver must do, run over each of them against its processor on a real socket.

A new driver joins by adding a bench to ``gateways.BENCHES``: how to open it, how to make tokens, how to make its processor
misbehave, and how to read the processor's own book, which the driver never sees.
"""

from __future__ import annotations

import inspect
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from payments.gateways import registry
from payments.gateways.base import (
    Absent,
    Answer,
    Command,
    Gateway,
    InstrumentDetails,
    Lost,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    Refused,
    Result,
    ReversalKind,
)
from payments.gateways.registry import DRIVERS, OPTIONS, open_gateway
from tests.contracts.gateways import BENCHES, Bench, SimulatorBench, StripeBench, charge, error_of, only
from tests.processor import SECRET, Processor
from tests.stripe_server import StripeServer


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    with Processor(tmp_path_factory.mktemp("processor")) as running:
        yield running


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeServer]:
    with StripeServer() as running:
        yield running


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest) -> Bench:
    made: Bench
    if request.param == "stripe":
        server: StripeServer = request.getfixturevalue("stripe")
        server.reset()
        made = StripeBench(server)
    else:
        processor: Processor = request.getfixturevalue("processor")
        processor.reset()
        made = SimulatorBench(processor)
    return made


def test_every_driver_is_on_the_bench() -> None:
    assert set(BENCHES) == set(registry.DRIVERS)


# Results


@pytest.mark.spec("PAY-21", "PAY-23")
def test_the_payers_statement_says_what_the_request_does(bench: Bench) -> None:
    gateway = bench.open()
    said = {"descriptor": "MFW*WATER BILL", "descriptor_phone": "800-555-0123"}
    both = charge(bench.token("approve"), **said), charge(bench.token("approve"))
    held = charge(bench.token("approve"), command=Command.AUTHORIZE, **said)
    bank = charge(bench.token("approve", "bank"), tender="bank", **said)
    results = [only(gateway.send([one])) for one in (*both, held, bank)]
    assert [result.result for result in results if isinstance(result, Answer)] == [Result.PASS] * 4
    shown = [bench.statement_of(one.key) for one in (*both, held, bank)]
    there, nothing = ("MFW*WATER BILL", "800-555-0123"), ("", "")
    assert shown == [there, nothing, there, there if "statements of bank debits" in bench.can else nothing]
    # Another descriptor makes no other message of it: the repeat is the same charge.
    again = only(gateway.send([charge(both[1].token, key=both[1].key)]))
    assert isinstance(again, Answer)
    assert bench.charges()[both[1].key] == 1


@pytest.mark.parametrize("item", ["12345", "A WATER BILL", "Bob's", ""])
@pytest.mark.spec("PAY-21")
def test_stripe_is_not_told_of_an_item_that_it_would_refuse(stripe: StripeServer, item: str) -> None:
    stripe.reset()
    bench = StripeBench(stripe)
    request = charge(bench.token("approve"), descriptor=f"MFW*{item}", descriptor_phone="800-555-0123")
    answer = only(bench.open().send([request]))
    assert isinstance(answer, Answer) and answer.result == Result.PASS
    assert bench.statement_of(request.key) == ("", "")


@pytest.mark.parametrize("batch_limit", [1, pytest.param(5000, marks=pytest.mark.needs("batches"))])
@pytest.mark.spec("PAY-1", "PAY-23")
def test_each_request_has_exactly_one_result_and_is_charged_once(bench: Bench, batch_limit: int) -> None:
    gateway = bench.open(batch_limit=batch_limit)
    token = bench.token("approve")
    requests = [charge(token, amount=Decimal(cents) / 100) for cents in range(100, 140)]
    results = list(gateway.send(requests))
    assert sorted(result.key for result in results) == sorted(request.key for request in requests)
    amounts = {request.key: request.amount for request in requests}
    for result in results:
        assert isinstance(result, Answer)
        assert (result.result, result.amount) == (Result.PASS, amounts[result.key])
        assert result.approval_code
        assert result.processor_reference
        assert result.answered_at is not None
        assert abs(result.answered_at - datetime.now(tz=UTC)) < timedelta(seconds=30)
    assert bench.charges() == {request.key: 1 for request in requests}


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        # Stripe says so with a status: test_stripe.py.
        pytest.param("busy", Result.NO_ANSWER, marks=pytest.mark.needs("busy as an answer")),
        ("avs_fail", Result.AVS_FAIL),
        ("location_fail", Result.LOCATION_FAIL),
        ("zip_fail", Result.ZIP_FAIL),
        ("bad_card", Result.BAD_CARD),
        ("service_unavailable", Result.SERVICE_UNAVAILABLE),
        ("soft_decline", Result.SOFT_DECLINE),
        ("hard_decline", Result.HARD_DECLINE),
        ("under_minimum", Result.UNDER_MINIMUM),
        ("cvv_fail", Result.CVV_BAD),
        ("technical_problem", Result.TECHNICAL_PROBLEM),
    ],
)
@pytest.mark.spec("PAY-1")
def test_a_decline_is_a_result(bench: Bench, outcome: str, result: Result) -> None:
    request = charge(bench.token(outcome))
    answer = only(bench.open().send([request]))
    assert isinstance(answer, Answer)
    assert (answer.key, answer.result) == (request.key, result)
    assert answer.approval_code == ""
    assert bench.charges() == {request.key: 0}


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"token": "tok_nobody_knows_0000"}, Result.INVALID_CONTENT),
        ({"tender": "bank"}, Result.INVALID_CONTENT),
        ({"amount": Decimal("0.00")}, Result.INVALID_CONTENT),
        ({"amount": Decimal("12.345")}, Result.FORMAT_ERROR),
        ({"currency": "dollars"}, Result.FORMAT_ERROR),
        ({"command": Command.DEPOSIT, "reference": "ref_none"}, Result.FAIL_SELECT_ITEMS),
        ({"command": Command.REFUND, "reference": "ref_none"}, Result.FAIL_SELECT_ITEMS),
        ({"command": Command.VERIFY}, Result.INVALID_CONTENT),
    ],
)
@pytest.mark.spec("PAY-1")
def test_a_wrong_request_is_a_result_and_moves_no_money(bench: Bench, changes: dict[str, Any], result: Result) -> None:
    request = charge(**{"token": bench.token("approve"), **changes})
    answer = only(bench.open().send([request]))
    assert isinstance(answer, Answer)
    assert answer.result == result
    assert not bench.charges().get(request.key)


@pytest.mark.spec("PAY-1")
def test_verification_moves_no_money(bench: Bench) -> None:
    gateway = bench.open()
    good = charge(bench.token("verify_only"), command=Command.VERIFY, amount=Decimal("0.00"))
    bad = charge(bench.token("cvv_fail"), command=Command.VERIFY, amount=Decimal("0.00"))
    results = {answer.key: answer for answer in gateway.send([good, bad])}
    assert {key: answer.result for key, answer in results.items() if isinstance(answer, Answer)} == {
        good.key: Result.PASS,
        bad.key: Result.CVV_BAD,
    }
    assert not any(bench.charges().values())


@pytest.mark.spec("PAY-1")
def test_an_authorization_is_deposited_once_and_up_to_its_amount(bench: Bench) -> None:
    gateway = bench.open()
    token = bench.token("approve")
    authorization = charge(token, command=Command.AUTHORIZE)
    authorized = only(gateway.send([authorization]))
    assert isinstance(authorized, Answer)
    assert bench.charges() == {authorization.key: 0}

    def deposit(amount: str) -> tuple[str, int]:
        reference = authorized.processor_reference
        request = charge(token, command=Command.DEPOSIT, amount=Decimal(amount), reference=reference)
        answer = only(gateway.send([request]))
        assert isinstance(answer, Answer)
        return request.key, answer.result

    too_much, result = deposit("12.35")
    assert result == Result.LOGICAL_PROBLEM
    first, result = deposit("12.34")
    assert result == Result.PASS
    second, result = deposit("12.34")
    assert result == Result.LOGICAL_PROBLEM
    assert bench.charges() == {authorization.key: 0, too_much: 0, first: 1, second: 0}


@pytest.mark.spec("PAY-7")
@pytest.mark.needs("late deposits")
def test_an_expired_authorization_is_deposited_all_the_same(bench: Bench) -> None:
    gateway = bench.open()
    assert gateway.authorization_life > timedelta(0)
    token = bench.token("approve")
    held = [charge(token, command=Command.AUTHORIZE) for _ in range(2)]
    authorized = [answer for answer in gateway.send(held) if isinstance(answer, Answer)]

    def deposit(number: int) -> str:
        request = charge(token, command=Command.DEPOSIT, reference=authorized[number].processor_reference)
        answer = only(gateway.send([request]))
        assert isinstance(answer, Answer)
        assert answer.result == Result.PASS
        return request.key

    in_time = deposit(0)
    bench.expire_authorizations()
    late = deposit(1)
    assert {key: bench.charges()[key] for key in (in_time, late)} == {in_time: 1, late: 1}
    assert bench.deposited_late() == {late}


@pytest.mark.spec("PAY-22")
@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_each_option_of_a_driver_is_declared_with_the_default_that_it_has(driver: str) -> None:
    parameters = inspect.signature(DRIVERS[driver]).parameters
    taken = {name: one.default for name, one in parameters.items() if name not in {"merchant", "secret", "on_exchange"}}
    assert {option.name for option in OPTIONS[driver]} == set(taken)
    for option in OPTIONS[driver]:
        if option.usual.isdigit():
            assert float(option.usual) == taken[option.name]
        assert option.required == (taken[option.name] is inspect.Parameter.empty)
    with pytest.raises(Misconfigured, match="no option surprise"):
        open_gateway(driver, {"merchant": "m", "surprise": 1}, "s")


@pytest.mark.spec("PAY-7")
def test_an_authorization_is_released_whole_once_and_then_never_deposited(bench: Bench) -> None:
    gateway, token = bench.open(), bench.token("approve")
    held, taken = (only(gateway.send([charge(token, command=Command.AUTHORIZE)])) for _ in range(2))
    assert isinstance(held, Answer)
    assert isinstance(taken, Answer)

    def ask(about: Answer, command: Command, amount: str = "12.34") -> tuple[int, bool]:
        request = charge(token, command=command, amount=Decimal(amount), reference=about.processor_reference)
        answer = only(gateway.send([request]))
        assert isinstance(answer, Answer)
        # Asked again under its key it says the same, and so does a look-up.
        assert only(gateway.send([request])) == answer
        if answer.result == Result.PASS:
            assert list(gateway.lookup([request.key], about={request.key: about.processor_reference})) == [answer]
        return answer.result, answer.voided

    assert ask(held, Command.REFUND) == (Result.LOGICAL_PROBLEM, False)
    assert ask(held, Command.RELEASE, "12.33") == (Result.LOGICAL_PROBLEM, False)
    assert ask(held, Command.RELEASE) == (Result.PASS, True)
    assert ask(held, Command.RELEASE) == (Result.NO_CREDIT_BALANCE, False)
    assert ask(held, Command.DEPOSIT) == (Result.LOGICAL_PROBLEM, False)
    assert sum(bench.charges().values()) == 0
    assert ask(taken, Command.DEPOSIT) == (Result.PASS, False)
    assert ask(taken, Command.RELEASE) == (Result.LOGICAL_PROBLEM, False)
    assert sum(bench.charges().values()) == 1


@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
@pytest.mark.spec("PAY-3", "PAY-7")
def test_a_deposit_without_an_answer_is_looked_up_and_its_repeat_takes_the_money_once(bench: Bench, fault: str) -> None:
    gateway = bench.open()
    token = bench.token("approve")
    authorization = charge(token, command=Command.AUTHORIZE)
    authorized = only(gateway.send([authorization]))
    assert isinstance(authorized, Answer)
    request = charge(token, command=Command.DEPOSIT, reference=authorized.processor_reference)
    bench.strike(fault)
    assert error_of(only(gateway.send([request]))) is OutcomeUnknown
    about = {request.key: request.reference}
    found = {one.key: one for one in gateway.lookup([authorization.key, request.key], about=about)}
    assert isinstance(found[authorization.key], Answer)
    assert isinstance(found[request.key], Answer if fault == "drop_after" else Absent)
    again = only(gateway.send([request]))
    assert isinstance(again, Answer)
    assert again.result == Result.PASS
    assert bench.charges() == {authorization.key: 0, request.key: 1}


@pytest.mark.spec("PAY-1")
def test_refunds_stay_within_the_charge(bench: Bench) -> None:
    gateway = bench.open()
    token = bench.token("approve")
    charged = only(gateway.send([charge(token)]))
    assert isinstance(charged, Answer)

    def refund(amount: str) -> int:
        request = charge(token, command=Command.REFUND, amount=Decimal(amount), reference=charged.processor_reference)
        answer = only(gateway.send([request]))
        assert isinstance(answer, Answer)
        return answer.result

    assert [refund("10.00"), refund("2.35"), refund("2.34"), refund("0.01")] == [
        Result.PASS,
        Result.NO_CREDIT_BALANCE,
        Result.PASS,
        Result.NO_CREDIT_BALANCE,
    ]


@pytest.mark.spec("PAY-33")
def test_a_whole_charge_is_voided_until_it_settles_and_refunded_afterwards(bench: Bench) -> None:
    gateway, token = bench.open(), bench.token("approve")

    def give_back(amount: str) -> tuple[int, bool]:
        charged = only(gateway.send([charge(token)]))
        assert isinstance(charged, Answer)
        answer = only(
            gateway.send(
                [charge(token, command=Command.REFUND, amount=Decimal(amount), reference=charged.processor_reference)]
            )
        )
        assert isinstance(answer, Answer)
        assert isinstance(
            (found := next(iter(gateway.lookup([answer.key], about={answer.key: charged.processor_reference})))), Answer
        )
        assert found.voided == answer.voided
        return answer.result, answer.voided

    assert give_back("12.34") == (Result.PASS, True)
    assert give_back("12.33") == (Result.PASS, False)
    bench.settle_charges()
    assert give_back("12.34") == (Result.PASS, False)


@pytest.mark.spec("PAY-32")
def test_returns_and_chargebacks_are_told_with_the_key_of_the_charge(bench: Bench) -> None:
    gateway = bench.open()
    began = datetime.now(UTC) - timedelta(seconds=5)
    first, second = charge(bench.token("approve", kind="bank"), tender="bank"), charge(bench.token("approve"))
    assert all(isinstance(one, Answer) for one in gateway.send([first, second]))
    assert list(gateway.reversals(began)) == []
    references = [
        bench.reverse(first.key, "return"),
        bench.reverse(second.key, "chargeback", "10.00"),
        bench.reverse(second.key, "chargeback_won", "10.00"),
    ]
    told = list(gateway.reversals(began))
    assert [(one.reference, one.key, one.kind, one.amount) for one in told] == [
        (references[0], first.key, ReversalKind.RETURN, Decimal("12.34")),
        (references[1], second.key, ReversalKind.CHARGEBACK, Decimal("10.00")),
        (references[2], second.key, ReversalKind.CHARGEBACK_WON, Decimal("10.00")),
    ]
    assert all(one.code and one.reason and began < one.happened_at for one in told)
    assert list(gateway.reversals(told[1].happened_at)) == told[1:]
    assert list(bench.open("other-town").reversals(began)) == []


@pytest.mark.parametrize("fault", ["garbage", "truncated", "error_after", "drop_before"])
def test_reversals_that_cannot_be_read_are_unknown(bench: Bench, fault: str) -> None:
    gateway = bench.open()
    bench.strike(fault, on=["reversals"])
    with pytest.raises(OutcomeUnknown):
        list(gateway.reversals(datetime.now(UTC)))


@pytest.mark.needs("batches")
def test_a_batch_of_five_thousand_is_answered_within_seconds(bench: Bench) -> None:
    gateway = bench.open(batch_limit=5000)
    tokens = [bench.token("approve"), bench.token("soft_decline")]
    requests = [charge(tokens[number % 10 == 9]) for number in range(5000)]
    before = time.monotonic()
    results = list(gateway.send(requests))
    # The aim is one second; the machine that runs tests is busy.
    assert time.monotonic() - before < 30
    passed = {answer.key for answer in results if isinstance(answer, Answer) and answer.result == Result.PASS}
    assert len(results) == 5000
    assert passed == {request.key for number, request in enumerate(requests) if number % 10 != 9}
    assert bench.charges() == {request.key: int(request.key in passed) for request in requests}


@pytest.mark.needs("batches")
def test_more_than_a_batch_goes_in_several(bench: Bench) -> None:
    token = bench.token("approve")
    requests = [charge(token) for _ in range(7)]
    results = list(bench.open(batch_limit=3).send(requests))
    assert [result.key for result in results] == [request.key for request in requests]
    assert bench.charges() == {request.key: 1 for request in requests}


def test_a_key_that_stands_twice_in_one_send_is_a_mistake_of_the_caller(bench: Bench) -> None:
    request = charge(bench.token("approve"))
    with pytest.raises(ValueError, match="twice"):
        list(bench.open().send([request, request]))
    assert bench.charges() == {}


# Sending again


@pytest.mark.parametrize("outcome", ["approve", "soft_decline"])
@pytest.mark.spec("PAY-23")
def test_the_same_key_gives_the_first_result_and_charges_once(bench: Bench, outcome: str) -> None:
    gateway = bench.open()
    request = charge(bench.token(outcome))
    first, second = only(gateway.send([request])), only(gateway.send([request]))
    assert isinstance(first, Answer)
    assert first == second
    assert bench.charges() == {request.key: int(outcome == "approve")}


def test_the_same_key_with_another_amount_is_no_result(bench: Bench) -> None:
    gateway = bench.open()
    request = charge(bench.token("approve"))
    other = charge(request.token, key=request.key, amount=Decimal("99.00"))
    assert isinstance(only(gateway.send([request])), Answer)
    assert error_of(only(gateway.send([other]))) is OutcomeUnknown
    assert bench.charges() == {request.key: 1}


@pytest.mark.spec("PAY-23")
@pytest.mark.needs("no duplicate detection")
def test_without_duplicate_detection_the_same_key_charges_twice(bench: Bench) -> None:
    """The control: this is the danger that an engine has to keep away from, and the bench can show it."""
    bench.detect_duplicates(False)
    gateway = bench.open(dedupe_window=None)
    assert gateway.dedupe_window is None
    request = charge(bench.token("approve"))
    assert isinstance(only(gateway.send([request])), Answer)
    assert isinstance(only(gateway.send([request])), Answer)
    assert bench.charges() == {request.key: 2}


def test_the_duplicate_window_is_declared(bench: Bench) -> None:
    assert bench.open(dedupe_window=24).dedupe_window == timedelta(hours=24)


# Lookup


@pytest.mark.parametrize("outcome", ["approve", "hard_decline"])
def test_lookup_tells_the_result_and_the_absent(bench: Bench, outcome: str) -> None:
    gateway = bench.open()
    request = charge(bench.token(outcome))
    answer = only(gateway.send([request]))
    assert list(gateway.lookup([request.key, "never-sent"])) == [answer, Absent("never-sent")]
    assert list(gateway.lookup([])) == []


@pytest.mark.needs("batches")
def test_lookup_of_many_keys(bench: Bench) -> None:
    gateway = bench.open(batch_limit=5000)
    token = bench.token("approve")
    requests = [charge(token) for _ in range(1200)]
    sent = {answer.key: answer for answer in gateway.send(requests)}
    keys = [request.key for request in requests] + [f"absent-{number}" for number in range(1200)]
    found = list(gateway.lookup(keys))
    assert [one.key for one in found] == keys
    assert {one.key: one for one in found if isinstance(one, Answer)} == sent


@pytest.mark.parametrize(
    "fault",
    ["drop_before", "error_before", "garbage", "truncated", pytest.param("omit", marks=pytest.mark.needs("batches"))],
)
def test_a_lookup_without_answer_says_nothing_of_the_keys(bench: Bench, fault: str) -> None:
    gateway = bench.open()
    bench.strike(fault, on=["lookup"])
    with pytest.raises(OutcomeUnknown):
        list(gateway.lookup(["never-sent"]) if fault != "omit" else gateway.lookup([_sent(bench, gateway)]))


def _sent(bench: Bench, gateway: Gateway) -> str:
    request = charge(bench.token("approve"))
    assert isinstance(only(gateway.send([request])), Answer)
    return request.key


def test_another_merchants_key_is_absent(bench: Bench) -> None:
    key = _sent(bench, bench.open())
    other = bench.open("town-gas")
    assert list(other.lookup([key])) == [Absent(key)]


# What was not sent, and what nobody knows

NOT_DONE = ["drop_before", "error_before"]
DONE = ["drop_after", "error_after", "garbage", "truncated"]
IN_A_BATCH = pytest.param(3, marks=pytest.mark.needs("batches"))


@pytest.mark.parametrize("size", [1, 3])
def test_a_closed_port_is_not_sent(bench: Bench, size: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gateway = bench.open_elsewhere(f"http://127.0.0.1:{free.getsockname()[1]}")
        token = bench.token("approve")
        results = list(gateway.send([charge(token) for _ in range(size)]))
        assert [error_of(result) for result in results] == [NotSent] * size
        with pytest.raises(NotSent):
            gateway.ping()
        with pytest.raises(OutcomeUnknown):
            list(gateway.lookup(["key"]))


def test_a_connection_that_is_never_accepted_is_not_sent_within_its_own_time_out(bench: Bench) -> None:
    with socket.socket() as deaf, socket.socket() as filler:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        filler.connect(deaf.getsockname())  # fills the queue, so that the next connection is not answered
        gateway = bench.open_elsewhere(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        before = time.monotonic()
        result = only(gateway.send([charge(bench.token("approve"))]))
        assert error_of(result) is NotSent
        assert 1.5 <= time.monotonic() - before < 6  # three tries of half a second


def test_connecting_is_tried_twice_again(bench: Bench) -> None:
    """A processor that comes back while we knock is reached by the same request."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    heard: list[bytes] = []

    def listen_late() -> None:
        time.sleep(0.15)  # after the first try, before the third
        with socket.create_server(("127.0.0.1", port)) as server:
            server.settimeout(5)
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(65536))

    thread = threading.Thread(target=listen_late)
    thread.start()
    result = only(bench.open_elsewhere(f"http://127.0.0.1:{port}").send([charge(bench.token("approve"))]))
    thread.join(10)
    assert error_of(result) is OutcomeUnknown
    assert len(heard) == 1


@pytest.mark.parametrize("size", [1, IN_A_BATCH])
@pytest.mark.parametrize("fault", NOT_DONE + DONE)
@pytest.mark.spec("PAY-23")
def test_whatever_happens_after_connecting_is_unknown(bench: Bench, fault: str, size: int) -> None:
    gateway = bench.open()
    token = bench.token("approve")
    requests = [charge(token) for _ in range(size)]
    bench.strike(fault)
    assert {result.key: error_of(result) for result in gateway.send(requests)} == {
        request.key: OutcomeUnknown for request in requests
    }
    done = fault in DONE
    assert bench.charges() == ({request.key: 1 for request in requests} if done else {})
    found = list(gateway.lookup([request.key for request in requests]))
    assert [type(one) for one in found] == [Answer if done else Absent] * size
    # The same keys again: never a second charge.
    assert all(isinstance(result, Answer) for result in gateway.send(requests))
    assert bench.charges() == {request.key: 1 for request in requests}


@pytest.mark.parametrize(("fault", "charged"), [("lose_batch_before", 0), ("lose_batch_after", 3), ("half_batch", 1)])
@pytest.mark.spec("PAY-23")
@pytest.mark.needs("batches")
def test_a_lost_batch_is_unknown(bench: Bench, fault: str, charged: int) -> None:
    gateway = bench.open()
    token = bench.token("approve")
    requests = [charge(token) for _ in range(3)]
    bench.strike(fault)
    assert [error_of(result) for result in gateway.send(requests)] == [OutcomeUnknown] * 3
    assert bench.charges() == {request.key: 1 for request in requests[:charged]}


@pytest.mark.needs("batches")
def test_answers_left_out_are_unknown_and_the_others_count(bench: Bench) -> None:
    gateway = bench.open()
    token = bench.token("approve")
    requests = [charge(token) for _ in range(4)]
    bench.strike("omit")
    results = list(gateway.send(requests))
    assert [type(result) for result in results] == [Answer, Answer, Lost, Lost]
    assert [error_of(result) for result in results[2:]] == [OutcomeUnknown] * 2
    assert bench.charges() == {request.key: 1 for request in requests}


@pytest.mark.parametrize("fault", ["late", "slow", "drip"])
@pytest.mark.parametrize("size", [1, IN_A_BATCH])
@pytest.mark.spec("PAY-23")
def test_no_answer_in_time_is_unknown_and_takes_no_longer_than_the_time_out(
    bench: Bench, fault: str, size: int
) -> None:
    gateway = bench.open(timeout=0.4, batch_timeout=0.4)
    token = bench.token("approve")
    requests = [charge(token) for _ in range(size)]
    bench.strike(fault, seconds=1.2)
    before = time.monotonic()
    results = list(gateway.send(requests))
    waited = time.monotonic() - before
    assert [error_of(result) for result in results] == [OutcomeUnknown] * size
    assert 0.4 <= waited < 1.1


@pytest.mark.parametrize("fault", ["late", "drop_then_late"])
@pytest.mark.spec("PAY-23")
def test_a_late_request_is_charged_after_the_lookup_said_absent(bench: Bench, fault: str) -> None:
    gateway = bench.open(timeout=0.2, batch_limit=1)
    request = charge(bench.token("approve"))
    bench.strike(fault, seconds=0.7)
    assert error_of(only(gateway.send([request]))) is OutcomeUnknown
    assert list(gateway.lookup([request.key])) == [Absent(request.key)]
    assert bench.charges() == {}
    bench.settle()
    assert bench.charges() == {request.key: 1}
    (found,) = gateway.lookup([request.key])
    assert isinstance(found, Answer)
    assert found.result == Result.PASS


@pytest.mark.parametrize(
    ("detects", "times"), [(True, 1), pytest.param(False, 2, marks=pytest.mark.needs("no duplicate detection"))]
)
@pytest.mark.spec("PAY-23")
def test_look_up_then_send_again_is_safe_only_where_duplicates_are_detected(
    bench: Bench, detects: bool, times: int
) -> None:
    bench.detect_duplicates(detects)
    gateway = bench.open(timeout=0.2, batch_limit=1)
    request = charge(bench.token("approve"))
    bench.strike("drop_then_late", seconds=0.5)
    assert error_of(only(gateway.send([request]))) is OutcomeUnknown
    assert list(gateway.lookup([request.key])) == [Absent(request.key)]
    assert isinstance(only(gateway.send([request])), Answer)
    bench.settle()
    assert bench.charges() == {request.key: times}


@pytest.mark.parametrize("fault", ["twice", "out_of_order"])
@pytest.mark.spec("PAY-23")
@pytest.mark.needs("mixed answers")
def test_batch_answers_twice_or_out_of_order_are_matched_by_key(bench: Bench, fault: str) -> None:
    gateway = bench.open()
    tokens = [bench.token("approve"), bench.token("hard_decline")]
    requests = [charge(tokens[number % 2], amount=Decimal(number + 1)) for number in range(20)]
    bench.strike(fault)
    results = list(gateway.send(requests))
    expected = {request.key: (number % 2 * int(Result.HARD_DECLINE)) for number, request in enumerate(requests)}
    assert len(results) == 20
    assert {answer.key: answer.result for answer in results if isinstance(answer, Answer)} == expected
    assert bench.charges() == {key: int(result == Result.PASS) for key, result in expected.items()}


@pytest.mark.spec("PAY-23")
@pytest.mark.needs("mixed answers")
def test_an_online_answer_that_comes_twice_is_not_taken_for_the_next_one(bench: Bench) -> None:
    gateway = bench.open(batch_limit=1)
    good, bad = charge(bench.token("approve")), charge(bench.token("hard_decline"))
    bench.strike("twice")
    first = only(gateway.send([good]))
    time.sleep(0.05)
    second = only(gateway.send([bad]))
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert (first.result, second.result) == (Result.PASS, Result.HARD_DECLINE)


@pytest.mark.spec("PAY-23")
@pytest.mark.needs("mixed answers")
def test_an_online_answer_to_another_request_is_unknown(bench: Bench) -> None:
    gateway = bench.open(batch_limit=1)
    good, bad = charge(bench.token("approve")), charge(bench.token("hard_decline"))
    assert isinstance(only(gateway.send([good])), Answer)
    bench.strike("out_of_order")
    assert error_of(only(gateway.send([bad]))) is OutcomeUnknown
    assert bench.charges() == {good.key: 1, bad.key: 0}


def test_one_request_in_trouble_leaves_the_others_alone(bench: Bench) -> None:
    gateway = bench.open(batch_limit=1)
    token = bench.token("approve")
    requests = [charge(token) for _ in range(12)]
    bench.strike("drop_before", times=3)
    results = list(gateway.send(requests))
    assert sorted(result.key for result in results) == sorted(request.key for request in requests)
    lost = {result.key for result in results if isinstance(result, Lost)}
    assert len(lost) == 3
    assert bench.charges() == {request.key: 1 for request in requests if request.key not in lost}


# Set-up


def test_a_wrong_secret_is_misconfigured_everywhere(bench: Bench) -> None:
    gateway = bench.open_with_wrong_secret()
    token = bench.token("approve")
    for size in (1, 3):
        results = list(gateway.send([charge(token) for _ in range(size)]))
        assert [error_of(result) for result in results] == [Misconfigured] * size
    for ask in (
        lambda: list(gateway.lookup(["key"])),
        lambda: list(gateway.response_files()),
        lambda: list(gateway.reversals(datetime.now(UTC))),
        lambda: gateway.describe_token(token),
        gateway.ping,
    ):
        with pytest.raises(Misconfigured):
            ask()
    assert bench.charges() == {}


def test_the_heartbeat_answers(bench: Bench) -> None:
    gateway = bench.open()
    gateway.ping()
    bench.strike("error_before", on=["ping"])
    with pytest.raises(OutcomeUnknown):
        gateway.ping()


def test_a_message_that_is_refused_whole_is_final(bench: Bench) -> None:
    gateway = bench.open()
    request = charge(bench.token("approve"), key="")
    assert error_of(only(gateway.send([request]))) is Refused
    assert bench.charges() == {}


@pytest.mark.parametrize("name", registry.DRIVERS)
def test_wrong_options_are_misconfigured(name: str) -> None:
    with pytest.raises(Misconfigured, match="no option no_such_option"):
        registry.open_gateway(name, {"no_such_option": 1}, SECRET)


def test_an_unknown_driver_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="no gateway driver"):
        registry.open_gateway("nobody", {}, SECRET)


# Tokens


@pytest.mark.spec("PAY-17")
def test_a_token_ends_in_the_last_four_digits_and_is_described(bench: Bench) -> None:
    gateway = bench.open()
    card, account = bench.token("approve"), bench.token("approve", "bank")
    described = gateway.describe_token(card)
    assert described == InstrumentDetails(
        token=card,
        kind="card",
        brand="visa",
        last4="4242",
        holder="",
        expires_on=date(datetime.now(tz=UTC).year + 3, 12, 31),
    )
    assert card.endswith("4242")
    assert gateway.describe_token(account) == InstrumentDetails(
        token=account, kind="bank", brand="First Test Bank", last4="4242", holder="", expires_on=None
    )


@pytest.mark.spec("PAY-17")
def test_an_unknown_a_foreign_and_a_refused_token_are_refused(bench: Bench) -> None:
    gateway, other = bench.open(), bench.open("town-gas")
    with pytest.raises(Refused, match="not known"):
        gateway.describe_token("tok_nobody_knows_0000")
    with pytest.raises(Refused, match="not known"):
        other.describe_token(bench.token("approve"))
    with pytest.raises(Refused, match="validation"):
        gateway.describe_token(bench.token("refused"))


@pytest.mark.parametrize("fault", ["drop_before", "garbage", "truncated", "error_after"])
def test_a_token_without_description_is_unknown(bench: Bench, fault: str) -> None:
    token = bench.token("approve")
    bench.strike(fault, on=["describe"])
    with pytest.raises(OutcomeUnknown):
        bench.open().describe_token(token)


@pytest.mark.spec("PAY-16", "PAY-17")
@pytest.mark.needs("own fields")
def test_hosted_fields_are_on_the_processors_own_origin(bench: Bench) -> None:
    gateway = bench.open(public_url="https://fields.processor.example")
    fields = gateway.hosted_fields(
        return_url="https://pay.example/return?bill=7", parent_origin="https://pay.example", language="es", kind="bank"
    )
    assert fields.origin == "https://fields.processor.example"
    assert fields.frame_url.startswith(f"{fields.origin}/")
    assert fields.redirect_url.startswith(f"{fields.origin}/")
    assert "parent=https%3A%2F%2Fpay.example" in fields.frame_url
    assert "return_url=https%3A%2F%2Fpay.example%2Freturn%3Fbill%3D7" in fields.redirect_url
    assert "lang=es" in fields.frame_url


# Response files


@pytest.mark.spec("PAY-23")
@pytest.mark.needs("files")
def test_response_files_name_every_charge_once_and_say_what_they_cover(bench: Bench) -> None:
    gateway = bench.open()
    token, bad = bench.token("approve"), bench.token("soft_decline")
    assert list(gateway.response_files()) == []
    first = list(gateway.send([charge(token), charge(bad)]))
    bench.close_response_file()
    lost = charge(token)
    bench.strike("drop_after")
    assert error_of(only(gateway.send([lost]))) is OutcomeUnknown
    bench.close_response_file()
    older, newer = gateway.response_files()
    assert list(older.answers) == first
    assert [(answer.key, answer.result, answer.amount) for answer in newer.answers] == [
        (lost.key, Result.PASS, Decimal("12.34"))
    ]
    assert older.covers_until == newer.covers_from < newer.covers_until
    assert older.name != newer.name
    # Any number of times, the same bytes.
    assert list(gateway.response_files()) == [older, newer]


@pytest.mark.parametrize("fault", ["truncated", "garbage", "drop_before"])
@pytest.mark.spec("PAY-23")
@pytest.mark.needs("files")
def test_a_damaged_response_file_is_unknown(bench: Bench, fault: str) -> None:
    gateway = bench.open()
    list(gateway.send([charge(bench.token("approve")) for _ in range(3)]))
    bench.close_response_file()
    bench.strike(fault, on=["response_file"])
    with pytest.raises(OutcomeUnknown):
        list(gateway.response_files())
    (file,) = gateway.response_files()
    assert len(file.answers) == 3
