"""What every gateway driver must do, run over each of them against its processor on a real socket.

A new driver joins by adding a bench to ``BENCHES``: how to open it, how to make tokens, how to make its processor
misbehave, and how to read the processor's own book, which the driver never sees.
"""

from __future__ import annotations

import contextlib
import csv
import inspect
import io
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.gateways import registry, simulator
from payments.gateways.base import (
    Absent,
    Answer,
    ChargeRequest,
    Command,
    Gateway,
    GatewayError,
    InstrumentDetails,
    Lost,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
    Refused,
    Result,
    ReversalKind,
)
from payments.gateways.lines import Line, mask_numbers
from payments.gateways.registry import DRIVERS, OPTIONS, open_gateway
from tests.processor import SECRET, Processor
from tests.stripe_server import StripeServer

MERCHANT = "city-water"


class Bench(Protocol):
    """One driver with its processor, and hands on the processor that a driver does not have.

    ``can`` names what not every processor does; a test that needs it says so, and is passed over where it is not there.
    """

    can: frozenset[str]

    def open(self, merchant: str = MERCHANT, **options: Any) -> Gateway: ...
    def open_elsewhere(self, address: str) -> Gateway: ...
    def open_with_wrong_secret(self) -> Gateway: ...
    def token(self, outcome: str, kind: str = "card") -> str: ...
    def strike(self, fault: str, **setting: Any) -> None: ...
    def detect_duplicates(self, yes: bool) -> None: ...
    def charges(self) -> dict[str, int]: ...
    def statement_of(self, key: str) -> tuple[str, str]: ...
    def settle(self) -> None: ...
    def close_response_file(self) -> str: ...
    def expire_authorizations(self) -> None: ...
    def deposited_late(self) -> set[str]: ...
    def settle_charges(self) -> None: ...
    def reverse(self, key: str, kind: str, amount: str | None = None) -> str: ...


class SimulatorBench:
    """The simulated processor, which does whatever a processor may do."""

    can = frozenset(
        {
            "statements of bank debits",
            "batches",
            "files",
            "late deposits",
            "mixed answers",
            "no duplicate detection",
            "own fields",
        }
    )

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def open(self, merchant: str = MERCHANT, **options: Any) -> Gateway:
        return self.processor.gateway(merchant, **options)

    def open_elsewhere(self, address: str) -> Gateway:
        options = {"base_url": address, "merchant": MERCHANT, "connect_timeout": 0.5}
        return registry.open_gateway("simulator", options, SECRET)

    def open_with_wrong_secret(self) -> Gateway:
        return registry.open_gateway("simulator", {"base_url": self.processor.url, "merchant": MERCHANT}, "wrong")

    def token(self, outcome: str, kind: str = "card") -> str:
        return self.processor.token(MERCHANT, outcome, kind=kind)

    def strike(self, fault: str, **setting: Any) -> None:
        self.processor.strike(fault, **setting)

    def detect_duplicates(self, yes: bool) -> None:
        self.processor.control(duplicate_detection=yes)

    def charges(self) -> dict[str, int]:
        return self.processor.charges(MERCHANT)

    def statement_of(self, key: str) -> tuple[str, str]:
        (row,) = (row for row in self.processor.book(MERCHANT)["rows"] if row["key"] == key)
        return row["descriptor"], row["descriptor_phone"]

    def settle(self) -> None:
        self.processor.wait_until_nothing_is_held()

    def close_response_file(self) -> str:
        return self.processor.close_response_file(MERCHANT)

    def expire_authorizations(self) -> None:
        self.processor.control(authorization_seconds=0.001)
        time.sleep(0.01)

    def deposited_late(self) -> set[str]:
        return {row["key"] for row in self.processor.book(MERCHANT)["rows"] if row["expired"]}

    def settle_charges(self) -> None:
        self.processor.control(settlement_seconds=0.0)
        time.sleep(0.01)

    def reverse(self, key: str, kind: str, amount: str | None = None) -> str:
        wanted = {} if amount is None else {"amount": amount}
        return str(self.processor.reverse(MERCHANT, key, kind, **wanted)["reference"])


class StripeBench:
    """Our own small Stripe; a request there goes alone, and what it cannot do to us is left out."""

    can: frozenset[str] = frozenset()

    def __init__(self, server: StripeServer) -> None:
        self.server = server

    def open(self, merchant: str = MERCHANT, **options: Any) -> Gateway:
        account = _account(merchant)
        self.server.account(account)
        for name in ("batch_limit", "batch_timeout"):
            options.pop(name, None)
        return self._open({"base_url": self.server.url, "merchant": account, "timeout": 10.0, **options})

    def open_elsewhere(self, address: str) -> Gateway:
        return self._open({"base_url": address, "merchant": _account(MERCHANT), "connect_timeout": 0.5})

    def open_with_wrong_secret(self) -> Gateway:
        options = {"base_url": self.server.url, "merchant": _account(MERCHANT)}
        return registry.open_gateway("stripe", options, "sk_test_wrong")

    def _open(self, options: dict[str, Any]) -> Gateway:
        return registry.open_gateway("stripe", options, options["merchant"].replace("acct_", "sk_test_"))

    def token(self, outcome: str, kind: str = "card") -> str:
        if outcome == "busy":
            pytest.skip("Stripe says so with a status: test_stripe.py")
        return self.server.token(_account(MERCHANT), outcome, kind)

    def strike(self, fault: str, **setting: Any) -> None:
        self.server.strike(fault, **setting)

    def detect_duplicates(self, yes: bool) -> None:
        assert yes

    def charges(self) -> dict[str, int]:
        return self.server.charges(_account(MERCHANT))

    def statement_of(self, key: str) -> tuple[str, str]:
        # As Stripe makes it: the account's own shortened name, and what the charge says; its number is the account's too.
        suffix = self.server.intent_of(_account(MERCHANT), key)["statement_descriptor_suffix"]
        return (f"MFW*{suffix}", "800-555-0123") if suffix else ("", "")

    def settle(self) -> None:
        self.server.settle()

    def close_response_file(self) -> str:
        raise NotImplementedError

    def expire_authorizations(self) -> None:
        raise NotImplementedError

    def deposited_late(self) -> set[str]:
        raise NotImplementedError

    def settle_charges(self) -> None:
        self.server.settled = True

    def reverse(self, key: str, kind: str, amount: str | None = None) -> str:
        minor = None if amount is None else int(Decimal(amount) * 100)
        return self.server.reverse(_account(MERCHANT), key, kind, minor)


def _account(merchant: str) -> str:
    return f"acct_{merchant.replace('-', '_')}"


BENCHES: dict[str, type[SimulatorBench] | type[StripeBench]] = {"simulator": SimulatorBench, "stripe": StripeBench}


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
    needed = {need for marker in request.node.iter_markers("needs") for need in marker.args}
    if missing := needed - BENCHES[request.param].can:
        pytest.skip(f"{request.param} has no {', '.join(sorted(missing))}")
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


def charge(token: str, **changes: Any) -> ChargeRequest:
    values: dict[str, Any] = {
        "key": str(uuid.uuid4()),
        "command": Command.CHARGE,
        "amount": Decimal("12.34"),
        "currency": "USD",
        "token": token,
        "tender": "card",
        "transaction_type": "recurring",
        "account": "1001-1",
    }
    return ChargeRequest(**{**values, **changes})


def only(results: Iterator[Answer | Lost]) -> Answer | Lost:
    (result,) = results
    return result


def error_of(result: Answer | Lost) -> type[GatewayError]:
    assert isinstance(result, Lost), result
    return type(result.error)


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
        ("busy", Result.NO_ANSWER),
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


# The simulator driver's own


@pytest.mark.spec("PAY-17")
def test_the_exchange_is_told_without_secret_and_with_numbers_masked(processor: Processor) -> None:
    processor.reset()
    told: list[tuple[str, str]] = []
    gateway = registry.open_gateway(
        "simulator",
        {"base_url": processor.url, "merchant": MERCHANT},
        SECRET,
        on_exchange=lambda direction, text: told.append((direction, text)),
    )
    digits = "4" + "0" * 14 + "2"
    request = charge(processor.token(MERCHANT), account=digits)
    answer = only(gateway.send([request]))
    assert isinstance(answer, Answer)
    assert [direction for direction, _ in told] == ["sent", "received"]
    text = "\n".join(text for _, text in told)
    assert digits not in text
    assert "****0002" in text
    assert SECRET not in text
    assert request.key in text
    assert answer.processor_reference in text


@given(st.text(alphabet="0123456789 -ab", max_size=60))
def test_masking_leaves_no_long_run_of_digits_that_stands_alone(text: str) -> None:
    masked = mask_numbers(text)
    words = [word for word in masked.replace("*", " ").split() if word.isdigit()]
    assert all(len(word) < 12 or len(word) > 19 for word in words)


@pytest.mark.parametrize(("code", "result"), [("302", 20), ("999", Result.HARD_DECLINE), ("777", Result.HARD_DECLINE)])
@pytest.mark.spec("PAY-4", "PAY-23")
def test_codes_become_results_by_a_table_and_unknown_ones_a_hard_decline(
    processor: Processor, code: str, result: int
) -> None:
    processor.reset()
    processor.control(v_code=code)
    gateway = processor.gateway(MERCHANT, codes={"302": 20})
    answer = only(gateway.send([charge(processor.token(MERCHANT))]))
    assert isinstance(answer, Answer)
    assert (answer.code, answer.result) == (code, result)


@pytest.mark.parametrize("result", [777, 888, 999, 1000, 1008, -1])
@pytest.mark.spec("PAY-4")
def test_no_code_may_become_a_mark_of_the_engine(processor: Processor, result: int) -> None:
    with pytest.raises(Misconfigured, match="cannot become"):
        processor.gateway(MERCHANT, codes={"302": result})


def test_a_settle_time_shorter_than_the_time_out_is_misconfigured(processor: Processor) -> None:
    with pytest.raises(Misconfigured, match="settle_seconds"):
        processor.gateway(MERCHANT, timeout=10, batch_timeout=20, settle_seconds=15)
    assert processor.gateway(MERCHANT, timeout=1, batch_timeout=2, settle_seconds=2).settle_time == timedelta(seconds=2)


@pytest.mark.parametrize("address", ["ftp://127.0.0.1", "127.0.0.1:80", "http://user:word@127.0.0.1", "http://[::1"])
def test_an_address_that_is_none_is_misconfigured(address: str) -> None:
    with pytest.raises(Misconfigured, match="address"):
        Line(address, headers={})


def test_a_secret_that_would_break_the_header_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="characters"):
        Line("http://127.0.0.1", headers={"Authorization": "Bearer a\r\nX-Merchant: other"})


def test_a_port_that_does_not_speak_tls_is_not_sent(processor: Processor) -> None:
    line = Line(processor.url.replace("http:", "https:"), headers={}, connect_retries=0)
    with pytest.raises(NotSent):
        line.exchange("GET", "/v1/ping", timeout=5)


@contextlib.contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """Listen for one request and answer it with these bytes, whatever it was; gives the address."""

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def _http(status: str, body: bytes, length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


_GOOD = b'{"answers": [{"key": "k", "code": "100", "amount": "12.34"}]}'


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (_http("422 No", b'{"error": {"message": "no"}}'), Refused),
        # Only the processor's own words make a refusal: somebody else's page may stand before a charge that happened.
        (_http("422 No", b"<html>blocked</html>"), OutcomeUnknown),
        (_http("302 Found", b""), Misconfigured),
        (_http("404 Not Found", b"<html>"), Misconfigured),
        (_http("502 Bad Gateway", b"<html>"), OutcomeUnknown),
        (_http("200 OK", _GOOD, len(_GOOD) + 1), OutcomeUnknown),
        (_http("200 OK", _GOOD.replace(b"12.34", b"12.35")), OutcomeUnknown),
        (_http("200 OK", _GOOD.replace(b', "amount": "12.34"', b"")), OutcomeUnknown),
        (_http("200 OK", _GOOD.replace(b'"k"', b'"other"')), OutcomeUnknown),
        # Without a length, an answer that was cut looks whole.
        (b"HTTP/1.1 200 OK\r\n\r\n" + _GOOD, OutcomeUnknown),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3f\r\n" + _GOOD, OutcomeUnknown),
        (_http("200 OK", b"", 1 << 40), OutcomeUnknown),
        (b"SMTP ready\r\n\r\n", OutcomeUnknown),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", OutcomeUnknown),
    ],
)
def test_what_other_answers_mean(reply: bytes, error: type[GatewayError]) -> None:
    with answering(reply) as address:
        gateway = registry.open_gateway("simulator", {"base_url": address, "merchant": MERCHANT}, SECRET)
        assert error_of(only(gateway.send([charge("token", key="k")]))) is error


def test_the_time_out_is_for_the_whole_exchange() -> None:
    """A peer that begins to answer just in time wins no further time."""
    timeout = 1.0

    def begin_late() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            time.sleep(0.8 * timeout)
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            ended.wait(5)

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        thread = threading.Thread(target=begin_late)
        thread.start()
        line = Line(f"http://127.0.0.1:{server.getsockname()[1]}", headers={})
        before = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="within 1 seconds"):
            line.exchange("GET", "/", timeout=timeout)
        waited = time.monotonic() - before
        ended.set()
        thread.join(10)
    assert timeout <= waited < 1.6 * timeout


def test_a_good_answer_by_hand_is_an_answer() -> None:
    """The control of the test above."""
    with answering(_http("200 OK", _GOOD)) as address:
        gateway = registry.open_gateway("simulator", {"base_url": address, "merchant": MERCHANT}, SECRET)
        answer = only(gateway.send([charge("token", key="k")]))
        assert isinstance(answer, Answer)
        assert (answer.result, answer.amount) == (Result.PASS, Decimal("12.34"))


# The readers of answers, with anything at all

_anything: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just([]) | st.just({})
)
_answer = st.fixed_dictionaries(
    {"key": st.sampled_from(["a", "b"]) | _anything},
    optional={
        "code": st.sampled_from(["100", "302", "x"]) | _anything,
        "amount": st.sampled_from(["12.34", "NaN", "1e99", "-1"]) | _anything,
        "at": st.sampled_from(["2026-11-22T12:00:00+00:00", "2026-11-22", "0001-01-01T00:00+14:00"]) | _anything,
        "approval_code": _anything,
        "reference": _anything,
        "message": _anything,
        "error": _anything,
    },
)


@given(st.binary(max_size=200))
def test_any_bytes_are_answers_or_unknown(body: bytes) -> None:
    with contextlib.suppress(OutcomeUnknown):
        simulator.read_answers(body, simulator.RESULTS)
    with contextlib.suppress(OutcomeUnknown):
        simulator.read_response_file(body, merchant=MERCHANT, codes=simulator.RESULTS)


@given(st.lists(_answer, max_size=5))
def test_any_answers_are_read_or_unknown_and_contradictions_are_no_answer(answers: list[dict[str, Any]]) -> None:
    try:
        read = simulator.read_answers(json.dumps({"answers": answers}).encode(), simulator.RESULTS)
    except OutcomeUnknown:
        return
    assert set(read) == {answer["key"] for answer in answers}
    for key, answer in read.items():
        told = {str(one.get("code")) for one in answers if one["key"] == key}
        if isinstance(answer, Answer):
            assert told == {answer.code}
            assert 0 <= answer.result <= 17
            assert answer.amount is None or answer.amount.is_finite()


def test_an_approval_and_a_decline_of_one_key_are_no_answer() -> None:
    body = b'{"answers": [{"key": "a", "code": "100"}, {"key": "a", "code": "302"}]}'
    assert isinstance(simulator.read_answers(body, simulator.RESULTS)["a"], OutcomeUnknown)


_lines = st.lists(
    st.tuples(
        st.uuids().map(str),
        st.sampled_from(sorted(simulator.RESULTS)),
        st.text(st.characters(exclude_categories=["C"]), max_size=30),
        st.integers(0, 10**8).map(lambda minor: Decimal(minor) / 100),
    ),
    max_size=6,
)


def _response_file(lines: list[tuple[str, str, str, Decimal]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    moment = "2026-11-22T00:00:00+00:00"
    writer.writerow(["H", "file-1", MERCHANT, "1970-01-01T00:00:00+00:00", moment])
    for key, code, message, amount in lines:
        writer.writerow(["D", key, code, message, "123456", "ref_1", amount, "USD", moment, ""])
    writer.writerow(["T", len(lines), sum((amount for *_, amount in lines), Decimal(0))])
    return out.getvalue()


@given(_lines)
def test_a_response_file_is_read_as_it_was_written(lines: list[tuple[str, str, str, Decimal]]) -> None:
    text = _response_file(lines)
    file = simulator.read_response_file(text.encode(), merchant=MERCHANT, codes=simulator.RESULTS)
    assert [(answer.key, answer.code, answer.amount) for answer in file.answers] == [
        (key, code, amount) for key, code, _, amount in lines
    ]


@given(_lines.filter(bool), st.data())
def test_a_response_file_that_lost_a_part_is_never_read(
    lines: list[tuple[str, str, str, Decimal]], data: st.DataObject
) -> None:
    text = _response_file(lines)
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(OutcomeUnknown):
        simulator.read_response_file(text[:cut].encode(), merchant=MERCHANT, codes=simulator.RESULTS)
    rows = text.split("\n")
    del rows[data.draw(st.integers(1, len(lines)))]
    with pytest.raises(OutcomeUnknown):
        simulator.read_response_file("\n".join(rows).encode(), merchant=MERCHANT, codes=simulator.RESULTS)
