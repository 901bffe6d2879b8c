"""Benches of the gateway drivers: how to open each, make tokens for it, and have its processor misbehave and tell its book.

A new driver joins the suite of ``test_gateways.py`` by a bench in ``BENCHES``. The driver never sees what a bench does.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Protocol

from payments.gateways import registry
from payments.gateways.base import Answer, ChargeRequest, Command, Gateway, GatewayError, Lost
from tests.processor import SECRET, Processor
from tests.stripe_server import StripeServer

MERCHANT = "city-water"


class Bench(Protocol):
    """One driver with its processor, and hands on the processor that a driver does not have.

    ``can`` names what not every processor does; a test that needs it says so, and there is none where it is not there.
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
            "busy as an answer",
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
