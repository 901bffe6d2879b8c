"""What an account owes over MultiSpeak: asked as the XSD has it, summed over all items, refused where it cannot be read."""

from __future__ import annotations

import dataclasses
import struct
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from datapump.connectors.base import Balance, ConnectorError, Misconfigured, OutcomeUnknown, Refused, Target
from datapump.connectors.multispeak import definitions
from datapump.connectors.multispeak.connector import MultiSpeak
from datapump.connectors.multispeak.options import NAMESPACE as NS
from tests.datapump.test_multispeak import canonical

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
TARGET = Target(url="https://cis.example/CB", username="u", password="p", time_zone="America/Detroit")
connector = MultiSpeak()


def envelope(content: str) -> bytes:
    return f'<s:Envelope xmlns:s="{SOAP}"><s:Header/><s:Body>{content}</s:Body></s:Envelope>'.encode()


def listed(content: str, attributes: str = "") -> bytes:
    return envelope(
        f'<GetPayableItemsListResponse xmlns="{NS}"><GetPayableItemsListResult{attributes}>{content}'
        "</GetPayableItemsListResult></GetPayableItemsListResponse>"
    )


def item(current: object = "", past: object = "", rest: str = "") -> str:
    amounts = (("pastDueAmount", past), ("currentAmount", current))
    return f"<payableItem>{''.join(f'<{n}>{v}</{n}>' for n, v in amounts if v != '')}{rest}</payableItem>"


def extension(name: str, value: object) -> str:
    return (
        f"<extensionsList><extensionsItem><extName>{name}</extName><extValue>{value}</extValue></extensionsItem>"
        "</extensionsList>"
    )


def types(*words: str) -> str:
    inside = "".join(f"<transactionType>{word}</transactionType>" for word in words)
    return f"<allowableTransactionTypes>{inside}</allowableTransactionTypes>"


def read(body: bytes, status: int = 200, target: Target = TARGET) -> Balance:
    return connector.read_balance("35909001", target, status, body)


@pytest.mark.spec("MSP-1")
def test_the_question_is_what_zeep_writes_and_valid_by_the_xsd() -> None:
    for account in ("35909001", "3-5 & <9>"):
        envelope = connector.write_balance(account, TARGET)
        assert envelope.headers["SOAPAction"] == f'"{NS}/GetPayableItemsList"'
        theirs = definitions.build("GetPayableItemsList", {"accountNumber": account}, TARGET)
        assert canonical(envelope.body) == canonical(etree.tostring(theirs))
        [asked] = etree.fromstring(envelope.body).iter(f"{{{NS}}}GetPayableItemsList")
        etree.XMLSchema(etree.parse(str(definitions.XSD))).assertValid(asked)
    renamed = {"operations": {"GetPayableItemsList": {"element": "PayableItemsList"}}}
    assert b"<PayableItemsList " in connector.write_balance("1", dataclasses.replace(TARGET, options=renamed)).body
    for account in ("", " ", "1\x00"):
        with pytest.raises(Refused):
            connector.write_balance(account, TARGET)


@pytest.mark.spec("MSP-1", "MSP-2")
def test_every_item_counts_and_the_days_are_those_that_matter_first() -> None:
    whole = (
        item(
            "20.50", "1,000.00",
            "<description>Electric</description><dueDate>2026-12-09T00:00:00</dueDate>"
            "<disconnectDate>0001-01-01T00:00:00</disconnectDate><lastPaymentAmount>60.00</lastPaymentAmount>"
            "<lastPaymentDate>2026-11-02T08:01:02.1234567-05:00</lastPaymentDate>",
        )
        + item(
            "$4.00", "",
            "<dueDate>2026-12-01T00:00:00Z</dueDate><disconnectDate>2026-12-20T00:00:00</disconnectDate>"
            "<lastPaymentAmount>5</lastPaymentAmount><lastPaymentDate>2026-10-02T00:00:00</lastPaymentDate>",
        )
        + item("-2.5", "0.25", "<lastPaymentAmount/>")
    )  # fmt: skip
    assert read(listed(whole)) == Balance(
        due=Decimal("22.00"), past_due=Decimal("1000.25"), due_on=date(2026, 12, 1), disconnect_on=date(2026, 12, 20),
        last_payment=Decimal("60.00"), last_paid_on=date(2026, 11, 2),
    )  # fmt: skip


@pytest.mark.parametrize("inside", [True, False], ids=["on an item", "on the list"])
@pytest.mark.spec("MSP-3", "MSP-4")
def test_extensions_are_read_wherever_they_stand(inside: bool) -> None:
    said = extension("remainingBalance", "4.93") + extension("remainingDays", "1") + extension("preventCreditCard", "Y")
    body = listed(item("10", "3", said) if inside else said + item("10", "3"))
    assert read(body) == Balance(
        due=Decimal("4.93"), past_due=Decimal("3.00"), prepaid=True, remaining_days=Decimal(1),
        blocks=frozenset({"card"}),
    )  # fmt: skip
    assert read(listed(extension("remainingBalance", "-1.20"))) == Balance(due=Decimal("-1.20"), prepaid=True)


@pytest.mark.parametrize(
    ("words", "blocked"),
    [
        ([], set()),
        (["Cash Only"], {"bank"}),
        (["CASH ONLY"], {"bank"}),
        (["creditCardPayment", "achPayment"], set()),
        (["CREDITCARDPAYMENT"], {"bank"}),
        (["eCheckPayment"], {"card"}),
        (["cashPayment"], {"card", "bank"}),
        (["sendToOperator"], {"card", "bank"}),
        (["giftCard"], {"card", "bank"}),
        (["giftCard", "achPayment"], {"card"}),
    ],
)
@pytest.mark.spec("MSP-4")
def test_the_allowable_types_block_what_they_do_not_name(words: list[str], blocked: set[str]) -> None:
    assert read(listed(item("1") + types(*words))).blocks == blocked


@pytest.mark.spec("MSP-4")
def test_the_map_of_types_can_be_set() -> None:
    target = dataclasses.replace(TARGET, options={"transaction_types": "Gift Card(both)| Cash Only (none)"})
    assert read(listed(item("1") + types("gift card")), target=target).blocks == set()
    assert read(listed(item("1") + types("Cash Only")), target=target).blocks == {"card", "bank"}
    for wrong in ("Cash Only", "a(b)", "a(card)|A(bank)", 5):
        with pytest.raises(Misconfigured, match="transaction_types"):
            connector.write_balance("1", dataclasses.replace(TARGET, options={"transaction_types": wrong}))


@pytest.mark.spec("MSP-5")
def test_an_empty_list_owes_nothing_and_no_list_says_nothing() -> None:
    assert read(listed("")) == Balance(due=Decimal("0.00"))
    assert read(envelope("<PayableItemsListResponse><PayableItemsListResult/></PayableItemsListResponse>")).due == 0
    nil = ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:nil="true"'
    for body in (
        envelope(f'<GetPayableItemsListResponse xmlns="{NS}"/>'),
        envelope("<GetPayableItemsListResponse>nothing</GetPayableItemsListResponse>"),
        listed("", nil),
    ):
        with pytest.raises(OutcomeUnknown, match="no list"):
            read(body)
    # A wrapper that was lost leaves the items.
    assert read(envelope(f"<GetPayableItemsListResponse>{item('7')}</GetPayableItemsListResponse>")).due == 7


@pytest.mark.parametrize(
    "content",
    [
        item("NaN"),
        item("INF"),
        item("1,234"),
        item("12.345"),
        item("", "5.00"),
        item("5.00", "", "<currentAmount>6.00</currentAmount>"),
        item("5.00", "x"),
        item("<amount>5.00</amount>"),
        item(" "),
        item("999999999999.99") * 2,
        item("5.00", "", item("6.00")),
        item("5.00", "", "<dueDate>tomorrow</dueDate>"),
        item("5.00", "", "<dueDate>11/22/2026</dueDate>"),
        item("5.00", "", "<lastPaymentDate>2026-02-30T00:00:00</lastPaymentDate>"),
        item("5.00", "", "<accountNumber>35909002</accountNumber>"),
        item("5.00") + extension("remainingBalance", ""),
        item("5.00") + extension("remainingBalance", "NaN"),
        item("5.00") + extension("remainingBalance", 1) + extension("remainingBalance", 2),
        item("5.00") + extension("remainingDays", "soon"),
        item("5.00") + extension("preventCreditCard", "perhaps"),
        item("5.00") + "<allowableTransactionTypes><transactionType><x/></transactionType></allowableTransactionTypes>",
    ],
)
@pytest.mark.spec("MSP-5")
def test_half_a_balance_is_none(content: str) -> None:
    with pytest.raises(OutcomeUnknown):
        read(listed(content))


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (envelope("<s:Fault><faultcode>s:Server</faultcode><faultstring>busy</faultstring></s:Fault>"), 200, OutcomeUnknown),
        (envelope("<s:Fault><faultcode>s:Client</faultcode><faultstring>bad</faultstring></s:Fault>"), 500, Refused),
        (listed('<errorObject errorString="no such account"/>'), 200, Refused),
        (listed("<errorObject/>" + item("0")), 200, Refused),
        (listed(item("0"), ' errorString="out of order"'), 200, Refused),
        (listed('<errorObject errorString="invalid password"/>'), 200, Misconfigured),
        (listed(item("5.00")), 503, OutcomeUnknown),
        (envelope("<PingURLResponse><PingURLResult/></PingURLResponse>"), 200, OutcomeUnknown),
        (b"<html><body>Login</body></html>", 200, OutcomeUnknown),
        (b"", 200, OutcomeUnknown),
    ],
)  # fmt: skip
@pytest.mark.spec("MSP-5")
def test_failures_are_never_a_balance(body: bytes, status: int, error: type[ConnectorError]) -> None:
    with pytest.raises(error):
        read(body, status)


cents = st.integers(-10_000_000, 10_000_000).map(lambda n: Decimal(n) / 100)


def single(amount: Decimal) -> str:
    """Write an amount as a server that keeps 32-bit floats echoes it."""
    return repr(struct.unpack("<f", struct.pack("<f", float(amount)))[0])


@given(st.lists(st.tuples(cents, cents), max_size=6), st.sampled_from([str, single, lambda n: f"{n:,.2f}"]))
@settings(max_examples=200)
@pytest.mark.spec("MSP-2")
def test_sums_are_exact_whatever_a_server_makes_of_its_amounts(items: list[tuple[Decimal, Decimal]], written) -> None:  # type: ignore[no-untyped-def]
    body = listed("".join(item(written(current), written(past)) for current, past in items))
    found = read(body)
    assert (found.due, found.past_due) == (sum(c for c, _ in items), sum(p for _, p in items))


@given(
    st.lists(
        st.sampled_from(["<payableItem>", "</payableItem>", "<currentAmount>", "</currentAmount>", "5.00", "x", " "]),
        max_size=9,
    )
)
@settings(max_examples=200)
@pytest.mark.spec("MSP-5")
def test_mangled_items_are_refused_or_what_they_say(pieces: list[str]) -> None:
    try:
        found = read(listed("".join(pieces)))
    except ConnectorError:
        return
    # Nothing but whole items, each with the one amount there is, was read.
    assert found.due == Decimal("5.00") * "".join(pieces).count("<payableItem>")
