"""What every connector keeps to, over a real socket against the simulated system of its kind.

To add a connector, give it an entry in ``systems.SYSTEMS``; ``docs/adding-a-connector.md``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from datapump.connectors.base import (
    Balance,
    Connector,
    ConnectorError,
    Delivered,
    Message,
    Misconfigured,
    OutcomeUnknown,
    ReadsBalances,
    Refused,
    Target,
    Undelivered,
)
from datapump.connectors.registry import CONNECTORS, connector_named
from datapump.operations.deliveries.messages import KINDS as KINDS_OF_RECORDS
from tests.cis import Cis
from tests.contracts.systems import SYSTEMS, Entry, System, Told, Trouble

KINDS = sorted(set(KINDS_OF_RECORDS.values()))
AT = datetime(2026, 11, 22, 15, 8, 45, tzinfo=UTC)


@dataclasses.dataclass
class Line:
    """A connector, the system at its other end, and the wire between, which the delivery loop has in earnest."""

    connector: Connector
    target: Target
    system: System
    entry: Entry

    def tell(self, *messages: Message, target: Target | None = None) -> Sequence[Delivered | Undelivered]:
        target = target or self.target
        envelope = self.connector.write(messages, target)
        assert list(envelope.message_ids) == [message.id for message in messages]
        try:
            signed = self.connector.sign(envelope, target, datetime.now(UTC))
            status, body = self.system.post(envelope.body, {**envelope.headers, **signed})
        except OSError:
            return [Undelivered(message.id, OutcomeUnknown("line dropped")) for message in messages]
        results = self.connector.read(messages, status, body)
        assert [result.message_id for result in results] == [message.id for message in messages]
        assert self.system.password not in self.connector.mask(envelope.body) + self.connector.mask(body)
        return results

    def effects(self, kind: str = "") -> list[Told]:
        return [told for told in self.entry.effects(self.system.book()) if kind in ("", told.kind)]

    def errors(self, *messages: Message, target: Target | None = None) -> list[ConnectorError | None]:
        return [
            result.error if isinstance(result, Undelivered) else None for result in self.tell(*messages, target=target)
        ]


def make_message(kind: str, account: str = "35909001", id: str = "r1", **facts: Any) -> Message:
    usual: dict[str, dict[str, Any]] = {
        "payment": {
            "amount": "232.10", "currency": "USD", "tender": "card", "approval_code": "A01 - Approved",
            "payment_guid": f"guid-{account}-{id}", "source": 0, "obd": False, "kiosk": "",
        },
        "paperless": {"enrolled": True},
        "autopay": {"enrolled": True, "service_location": "321045080002"},
        "scheduled": {
            "status": "scheduled", "on": "2026-12-01", "amount": "84.10", "invoice": "121940013401",
            "service_location": "321045080002",
        },
        "reversal": {
            "kind": "refund", "amount": "84.10", "currency": "USD", "payment_guid": f"guid-{account}",
            "approval_code": "A01", "code": "", "service_location": "321045080002",
        },
        "fee": {
            "status": "charged", "fee": f"fee-{id}", "amount": "15.00", "currency": "USD", "words": "Returned payment fee",
            "payment_guid": f"guid-{account}", "approval_code": "", "invoice": "", "service_location": "321045080002",
        },
        "inactive": {
            "amount": "84.10", "currency": "USD", "invoice": "121940013401", "service_location": "321045080002",
        },
        "pay_by_text": {"status": "enrolled", "phone": "+12065550177", "service_location": "321045080002"},
    }  # fmt: skip
    return Message(id=id, kind=kind, account=account, occurred_at=AT, facts={**usual[kind], **facts})


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Line]]:
    """Start a connector's system when it is first asked for; one process of each for all tests."""
    lines: dict[str, Line] = {}

    def start(name: str) -> Line:
        if name not in lines:
            entry = SYSTEMS[name]
            system = entry.make(tmp_path_factory.mktemp(name))
            system.start()
            lines[name] = Line(connector_named(name), entry.target(system), system, entry)
        return lines[name]

    yield start
    for line in lines.values():
        line.system.stop()


@pytest.fixture(params=sorted(CONNECTORS))
def line(request: pytest.FixtureRequest, started: Callable[[str], Line]) -> Line:
    found = started(request.param)
    found.system.reset()
    return found


def test_every_connector_is_known_by_its_name() -> None:
    for name, connector in CONNECTORS.items():
        assert connector.name == name
        assert connector_named(name) is connector
    with pytest.raises(LookupError, match="multispeak"):
        connector_named("smoke signals")


@pytest.mark.spec("MSP-6", "MSP-7")
def test_payments_of_every_tender_reach_the_book_as_they_are(line: Line) -> None:
    facts: list[dict[str, Any]] = [
        {"tender": "card", "amount": "232.10", "source": 8},
        {"tender": "ach", "amount": "0.05", "obd": True},
        {"tender": "echeck", "amount": "100000.00", "approval_code": "<é & \"co\">"},
        {"tender": "cash", "amount": "7.00", "kiosk": "BHappy", "source": 8},
    ]  # fmt: skip
    messages = [make_message("payment", str(n), f"r{n}", **fact) for n, fact in enumerate(facts)]
    assert [type(result) for message in messages for result in line.tell(message)] == [Delivered] * 4
    assert line.effects() == [Told("payment", str(n), fact["amount"], f"guid-{n}-r{n}") for n, fact in enumerate(facts)]


@pytest.mark.spec("MSP-13", "MSP-14", "MSP-16")
def test_enrolments_reach_the_book_in_the_order_told(line: Line) -> None:
    for number, enrolled in enumerate((True, False, True)):
        for kind in ("paperless", "autopay"):
            assert line.errors(make_message(kind, "1001", f"{kind}{number}", enrolled=enrolled)) == [None]
    for number, status in enumerate(("pending", "enrolled", "number_changed", "unenrolled")):
        assert line.errors(make_message("pay_by_text", "1001", f"t{number}", status=status)) == [None]
    for kind in ("paperless", "autopay"):
        assert line.effects(kind) == [Told(kind, "1001", word) for word in ("on", "off", "on")]
    statuses = ("pending", "enrolled", "number_changed", "unenrolled")
    assert line.effects("pay_by_text") == [Told("pay_by_text", "1001", word) for word in statuses]
    assert line.effects("payment") == []


@pytest.mark.spec("PAY-33")
def test_what_went_back_reaches_the_book_with_the_payment_that_it_was_of(line: Line) -> None:
    kinds = ("void", "refund", "return", "chargeback", "won")
    usual = make_message("reversal", "1001")
    for number, kind in enumerate(kinds):
        facts = {**usual.facts, "kind": kind, "amount": f"{number + 1}.00"}
        assert line.errors(dataclasses.replace(usual, id=f"b{number}", facts=facts)) == [None]
    assert line.effects() == [
        Told("reversal", "1001", f"{kind} {number + 1}.00", "guid-1001") for number, kind in enumerate(kinds)
    ]
    for wrong in ({"kind": "lost"}, {"amount": "-1.00"}, {"payment_guid": ""}):
        with pytest.raises(Refused):
            line.connector.write([dataclasses.replace(usual, facts={**usual.facts, **wrong})], line.target)


@pytest.mark.spec("PAY-35", "PAY-36")
def test_fees_and_what_late_bills_bring_reach_the_book_with_what_they_are_for(line: Line) -> None:
    late = {"payment_guid": "", "invoice": "121940013401"}
    for number, (status, of) in enumerate([("charged", {}), ("waived", {}), ("charged", late), ("waived", late)]):
        message = make_message("fee", "1001", f"f{number}", status=status, amount=f"{number + 1}.00", **of)
        assert line.errors(message) == [None]
    assert line.errors(make_message("inactive", "1001", "i1")) == [None]
    assert line.effects() == [
        Told("fee", "1001", "charged 1.00", "guid-1001"),
        Told("fee", "1001", "waived 2.00", "guid-1001"),
        Told("fee", "1001", "charged 3.00", "121940013401"),
        Told("fee", "1001", "waived 4.00", "121940013401"),
        Told("inactive", "1001", "84.10", "121940013401"),
    ]
    for wrong in ({"status": "lost"}, {"amount": "-1.00"}, {"payment_guid": ""}):
        with pytest.raises(Refused):
            line.connector.write([make_message("fee", **wrong)], line.target)
    with pytest.raises(Refused):
        line.connector.write([make_message("inactive", invoice="")], line.target)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_messages_make_the_same_envelope_and_saying_them_twice_counts_once(line: Line, kind: str) -> None:
    message = make_message(kind)
    first, second = line.connector.write([message], line.target), line.connector.write([message], line.target)
    assert first == second
    at = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
    assert line.connector.sign(first, line.target, at) == line.connector.sign(second, line.target, at)
    assert line.errors(message) == line.errors(message) == [None]
    effects = line.effects(kind)
    assert [effect.times for effect in effects] == ([2] if kind in line.entry.once else [1, 1])


@pytest.mark.spec("MSP-11")
def test_payments_of_one_envelope_have_their_own_results(line: Line) -> None:
    most = line.connector.batch_limit("payment", line.target)
    messages = [make_message("payment", str(n), f"r{n}", amount=f"{n + 1}.00") for n in range(most)]
    assert line.errors(*messages) == [None] * most
    assert [effect.account for effect in line.effects()] == [str(n) for n in range(most)]


_TROUBLES = [
    pytest.param(name, trouble, id=f"{name}-{'-'.join(str(value) for value in trouble.rule.values())}")
    for name, entry in sorted(SYSTEMS.items())
    for trouble in entry.troubles
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("line", "trouble"), _TROUBLES, indirect=["line"])
def test_every_trouble_says_what_to_do_and_saying_it_again_makes_it_good(
    line: Line, kind: str, trouble: Trouble
) -> None:
    message = make_message(kind)
    line.system.control({**trouble.rule, "next": 1})
    [error] = line.errors(message)
    assert type(error) is (trouble.error or type(None))
    assert len(line.effects(kind)) == int(trouble.booked)
    assert [rule["fired"] for rule in line.system.switches()["rules"]] == [1]
    assert line.errors(message) == [None]
    if kind in line.entry.once:
        assert len(line.effects(kind)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_credentials_are_the_operators_business_and_change_nothing(line: Line, kind: str) -> None:
    wrong = line.connector.make_secret() or "wrong"
    targets = [dataclasses.replace(line.target, password=wrong)]
    if line.target.username:
        targets.append(dataclasses.replace(line.target, username="wrong"))
    for target in targets:
        [error] = line.errors(make_message(kind), target=target)
        assert type(error) is Misconfigured
    assert line.effects() == []


def test_a_ping_is_answered_and_changes_nothing(line: Line) -> None:
    def ping(target: Target, question: str = "") -> str:
        envelope = line.connector.write_ping(target, question)
        assert envelope.message_ids == ()
        assert envelope.operation == (question or line.connector.pings[0])
        signed = line.connector.sign(envelope, target, datetime.now(UTC))
        return line.connector.read_ping(*line.system.post(envelope.body, {**envelope.headers, **signed}), question)

    assert ping(line.target) == ""
    for question in line.connector.pings:
        ping(line.target, question)
    with pytest.raises(Misconfigured):
        ping(dataclasses.replace(line.target, password=line.connector.make_secret() or "wrong"))
    for trouble in line.entry.troubles:
        if trouble.error is not None and not str(trouble.rule["action"]).startswith("drop"):
            for question in line.connector.pings:
                line.system.control({**trouble.rule, "next": 1})
                with pytest.raises(ConnectorError):
                    ping(line.target, question)
    assert line.effects() == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_said_is_refused_before_it_is_sent(line: Line, kind: str) -> None:
    for account in ("", "1\x002"):
        with pytest.raises(Refused) as refused:
            line.connector.write([make_message(kind, account, "r9")], line.target)
        assert refused.value.message_id == "r9"
    with pytest.raises(Refused):
        line.connector.write([dataclasses.replace(make_message(kind), kind="unheard of")], line.target)
    for target in (
        dataclasses.replace(line.target, url=""),
        dataclasses.replace(line.target, password=""),
        dataclasses.replace(line.target, options={"unheard_of": 1}),
    ):
        with pytest.raises(Misconfigured):
            line.connector.write([make_message(kind)], target)


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_messages_or_two_of_one_account_are_the_callers_mistake(line: Line, kind: str) -> None:
    most = line.connector.batch_limit(kind, line.target)
    with pytest.raises(ValueError, match="envelope"):
        line.connector.write([make_message(kind, str(n), f"r{n}") for n in range(most + 1)], line.target)
    with pytest.raises(ValueError, match="envelope"):
        line.connector.write([make_message(kind, "1", "r1"), make_message(kind, "1", "r2")], line.target)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", [b"", b"nonsense", b"\x00\xff", b"<a/>", b'{"ok": true}'])
def test_nonsense_is_never_a_delivery(line: Line, kind: str, body: bytes) -> None:
    for status in (200, 302, 404, 500, 999):
        if status == 200 and line.entry.status_says_it_all:
            continue
        [result] = line.connector.read([make_message(kind)], status, body)
        assert isinstance(result, Undelivered)
        assert result.message_id == "r1"
        assert str(result.error)
        with pytest.raises(ConnectorError):
            line.connector.read_ping(status, body)


@pytest.mark.parametrize(
    "body", [b'{"password": "hunter2"}', b"Pwd=hunter2 \x00", b"card 4111 1111 1111 1111", b"\xff\xfe"]
)
def test_nothing_secret_is_kept_of_an_answer(line: Line, body: bytes) -> None:
    kept = line.connector.mask(body + line.system.password.encode() * ("whsec_" in line.system.password))
    for secret in ("hunter2", "4111 1111", line.system.password, "\x00"):
        assert secret not in kept


# ---- what an account owes, where a connector can ask


@pytest.fixture(params=sorted(name for name, one in CONNECTORS.items() if isinstance(one, ReadsBalances)))
def line_that_asks(request: pytest.FixtureRequest, started: Callable[[str], Line]) -> Line:
    found = started(request.param)
    found.system.reset()
    return found


def ask(line: Line, account: str, target: Target | None = None) -> Balance:
    connector, target = line.connector, target or line.target
    assert isinstance(connector, ReadsBalances)
    assert "balances" in line.connector.purposes
    envelope = connector.write_balance(account, target)
    assert envelope.message_ids == ()
    assert connector.write_balance(account, target) == envelope
    return connector.read_balance(account, target, *line.system.post(envelope.body, envelope.headers))


@pytest.mark.spec("MSP-1", "MSP-4")
def test_a_balance_is_what_the_system_says_and_asking_changes_nothing(line_that_asks: Line) -> None:
    line = line_that_asks
    assert isinstance(line.system, Cis)
    line.system.owes(
        "1001",
        items=[{"currentAmount": "20.50", "pastDueAmount": "3.00", "dueDate": "2026-12-01T00:00:00"}],
        transaction_types=["Cash Only"],
        extensions={"preventCreditCard": "Y"},
    )
    before = line.system.book()
    assert ask(line, "1001") == Balance(
        due=Decimal("20.50"), past_due=Decimal("3.00"), due_on=date(2026, 12, 1), transaction_types=("Cash Only",),
        blocks=frozenset({"card", "bank"}),
    )  # fmt: skip
    assert line.system.book() == before


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"action": "fault"}, OutcomeUnknown),
        ({"action": "fault", "status": 200}, OutcomeUnknown),
        ({"action": "error_object", "text": ""}, Refused),
        *(({"action": "garbage", "kind": kind}, OutcomeUnknown) for kind in ("html", "truncated", "empty", "binary", "other")),
        ({"action": "wrong_password"}, Misconfigured),
        ({"action": "http_status"}, OutcomeUnknown),
    ],
)  # fmt: skip
@pytest.mark.spec("MSP-5")
def test_trouble_is_never_a_balance(line_that_asks: Line, rule: dict[str, Any], expected: type[ConnectorError]) -> None:
    line = line_that_asks
    assert isinstance(line.system, Cis)
    line.system.control({**rule, "next": 1})
    with pytest.raises(expected):
        ask(line, "1001")
    with pytest.raises(Misconfigured):
        ask(line, "1001", dataclasses.replace(line.target, password="wrong"))
    with pytest.raises(Refused):
        ask(line, "")
