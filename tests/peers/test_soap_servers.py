"""SOAP stacks of others that serve our definitions: what they understand of each envelope, and what we read of their answers.

Every request is also valid against the XSD. What becomes of an account stands in ``cb_server.js``: it goes by the number.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import xmlschema
from lxml import etree

from datapump.calls import Answer, post_once
from datapump.connectors.base import (
    Balance,
    ConnectorError,
    Delivered,
    Envelope,
    Message,
    Misconfigured,
    OutcomeUnknown,
    Refused,
    Target,
    Undelivered,
)
from datapump.connectors.multispeak import definitions
from datapump.connectors.multispeak.connector import MultiSpeak
from datapump.connectors.multispeak.options import NAMESPACE
from tests.peers.soap_servers import PASSWORD, USERNAME, SoapServer, axis, node_soap

STACKS = {"Axis": axis, "node soap": node_soap}
AT = datetime(2026, 11, 22, 15, 8, 45, tzinfo=UTC)
CODE = 'A01 - Approved (EXACT MATCH) <é> & "co" ]]>'
HEADER = {"Version": "3.0", "Company": "R & S", "AppName": "Ratepayer", "AppVersion": "1.0"}

connector = MultiSpeak()
schema = xmlschema.XMLSchema(str(definitions.XSD))


@pytest.fixture(scope="module", params=sorted(STACKS))
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoapServer]:
    own = tmp_path_factory.getbasetemp()
    # Each worker has a directory of its own, inside that of the session.
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with STACKS[request.param](tmp_path_factory.mktemp("cb_server"), shared) as server:
        yield server


@pytest.fixture
def server(running: SoapServer) -> SoapServer:
    running.heard()
    return running


def post(envelope: Envelope) -> Answer:
    """Post what is valid against the XSD, as deliveries do."""
    header, content = etree.fromstring(envelope.body)
    schema.validate(header[0])
    schema.validate(content[0])
    answer = post_once(envelope, 20, None)
    assert answer.error is None
    return answer


def tell(target: Target, *messages: Message) -> Sequence[Delivered | Undelivered]:
    answer = post(connector.write(messages, target))
    results = connector.read(messages, answer.status or 0, answer.body)
    assert [result.message_id for result in results] == [message.id for message in messages]
    return results


def error_of(result: Delivered | Undelivered) -> ConnectorError:
    assert isinstance(result, Undelivered)
    return result.error


def make_message(kind: str, account: str, **facts: Any) -> Message:
    return Message(id=f"{kind} {account}", kind=kind, account=account, occurred_at=AT, facts=facts)


def make_payment(account: str = "35909001", **facts: Any) -> Message:
    usual = {
        "amount": "232.10", "currency": "USD", "tender": "card", "approval_code": CODE, "payment_guid": f"guid-{account}",
        "source": 0, "obd": False, "kiosk": "",
    }  # fmt: skip
    return make_message("payment", account, **usual | facts)


CHANGES = [
    make_message("paperless", "1001", enrolled=True),
    make_message("autopay", "1001", enrolled=False, service_location="321045080002"),
    make_message(
        "scheduled", "1001", status="changed", scheduled_payment="7", on="2026-12-01", amount="84.10", currency="USD",
        invoice="121940013401", service_location="321045080002",
    ),
    make_message("pay_by_text", "1001", status="enrolled", phone="+12065550177", service_location="<3> & 4"),
]  # fmt: skip


def taken(account: str, element: str, identity: str, amount: str, mode: str, kiosk: str = "") -> dict[str, Any]:
    """Give one ``paymentTransaction`` as a stack shall understand it."""
    items = [{"extName": "transactionId", "extValue": identity}]
    if kiosk:
        items.append({"extName": "billerReference", "extValue": kiosk})
    tender = {
        "extensionsList": {"extensionsItem": items},
        "amount": Decimal(amount), "authorizationCode": CODE, "paymentMode": mode,
    }  # fmt: skip
    return {"accountNumber": account, element: [{"tender": tender}]}


def understood(server: SoapServer) -> list[dict[str, Any]]:
    """Give what it understood, with amounts as such and times in UTC."""

    def plain(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(key, inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(name, inner) for inner in value]
        if name == "amount":
            return Decimal(value)
        return datetime.fromisoformat(value).astimezone(UTC) if name == "logTime" else value

    return [plain("", call) for call in server.heard()]


@pytest.mark.spec("MSP-6", "MSP-7", "MSP-8", "MSP-9", "MSP-10")
@pytest.mark.parametrize("version", [1, 2])
def test_payments_of_every_tender_are_understood_alone_and_together(server: SoapServer, version: int) -> None:
    modes = {"card_modes": "0(WEB)|8(POS & kiosk)", "ach_modes": "0(EFT)", "service_version": version, "header": HEADER}
    payments = [
        make_payment(),
        make_payment("2", tender="ach", amount="0.05"),
        make_payment("3", tender="echeck", amount="100000.00", obd=True),
        make_payment("4 & 5", tender="cash", amount="7.00", source=8, kiosk="B<Happy>"),
    ]
    transactions = [
        ("35909001", "creditCardPayment", "232.10", "WEB"),
        ("2", "achPayment", "0.05", "EFT"),
        ("3", "eCheckPayment", "100000.00", "OBD"),
        ("4 & 5", "cashPayment", "7.00", "POS & kiosk", "B<Happy>"),
    ]
    for payment in payments:
        assert tell(server.target(**modes), payment) == [Delivered(payment.id, "Success")]
    together = server.target(**modes, transaction_id_is_payment_guid=True, payments_per_envelope=10)
    assert tell(together, *payments) == [Delivered(payment.id, "Success") for payment in payments]
    *alone, all_of_them = understood(server)
    assert [call["body"]["transactions"]["paymentTransaction"] for call in alone] == [
        [taken(account, element, CODE, amount, mode, *kiosk)] for account, element, amount, mode, *kiosk in transactions
    ]
    assert all_of_them == {
        "operation": "CommitPaymentTransaction",
        "header": {"UserID": USERNAME, "Pwd": PASSWORD, **HEADER},
        "body": {
            "transactions": {
                "paymentTransaction": [
                    taken(account, element, f"guid-{account}", amount, mode, *kiosk)
                    for account, element, amount, mode, *kiosk in transactions
                ]
            }
        },
    }


@pytest.mark.spec("MSP-13", "MSP-14", "MSP-15", "MSP-16")
def test_enrolments_and_plans_are_understood(server: SoapServer) -> None:
    for message in CHANGES:
        assert tell(server.target(header=HEADER), message) == [Delivered(message.id)]
    paperless, *comments = understood(server)
    assert paperless == {
        "operation": "ModifyCBDataForCustomer",
        "header": {"UserID": USERNAME, "Pwd": PASSWORD, **HEADER},
        "body": {
            "customerData": {
                "customer": [
                    {
                        "attributes": {"objectID": "1001"},
                        "extensionsList": {
                            "extensionsItem": [{"extName": "EBILL", "extValue": "Y", "extType": "double"}]
                        },
                    }
                ]
            }
        },
    }
    assert [call["operation"] for call in comments] == ["WriteAccountHistoryComments"] * 3
    assert [call["body"]["comments"]["historyComment"] for call in comments] == [
        [{"customerID": "1001", "serviceLocationID": place, "logTime": AT, "comment": comment}]
        for place, comment in (
            ("321045080002", "AUTOPAY OFF"),
            ("321045080002", "SCHED_PAY_UPDT 12012026 84.10 121940013401"),
            ("<3> & 4", "PAYTEXT ON +12065550177"),
        )
    ]


@pytest.mark.spec("MSP-11")
def test_each_payment_of_a_call_is_judged_by_its_own_part_of_the_answer(server: SoapServer) -> None:
    target = server.target(transaction_id_is_payment_guid=True, payments_per_envelope=10)
    good, closed, wordless, missing, last = tell(
        target, *[make_payment(account) for account in ("1", "9404", "9405", "9204", "2")]
    )
    assert good == Delivered("payment 1", "Success")
    assert last == Delivered("payment 2", "Success")
    said = [(type(error_of(result)), str(error_of(result))) for result in (closed, wordless, missing)]
    assert said == [
        (Refused, "The biller's system refused it: account is closed"),
        (Refused, "The biller's system refused it: responseCode Error"),
        (OutcomeUnknown, "The biller's system answered, but said nothing of this payment."),
    ]


@pytest.mark.spec("MSP-11")
def test_what_a_stack_does_to_an_amount_or_a_text_is_no_other_payment_and_no_success_by_guess(
    server: SoapServer,
) -> None:
    for amount in ("131072.01", "9999999.99"):
        assert tell(server.target(), make_payment(amount=amount)) == [Delivered("payment 35909001", "Success")]
    amounts = [call["body"]["transactions"]["paymentTransaction"][0] for call in understood(server)]
    kept = [transaction["creditCardPayment"][0]["tender"]["amount"] for transaction in amounts]
    single, exact = [Decimal("131072.02"), Decimal("1E7")], [Decimal("131072.01"), Decimal("9999999.99")]
    assert kept == (single if server.stack == "Axis" else exact)
    # Axis writes what lies beyond the basic plane as two references to nothing, which is no XML.
    [result] = tell(server.target(), make_payment(approval_code="A01 \U0001d11e"))
    if server.stack == "Axis":
        assert type(error_of(result)) is OutcomeUnknown
        assert "not well-formed" in str(error_of(result))
    else:
        assert result == Delivered("payment 35909001", "Success")


@pytest.mark.parametrize("message", CHANGES, ids=lambda message: message.kind)
def test_lists_of_errors_are_refusals_and_a_missing_list_is_none(server: SoapServer, message: Message) -> None:
    def told(account: str) -> Delivered | Undelivered:
        [result] = tell(server.target(), dataclasses.replace(message, account=account))
        return result

    closed, wordless = error_of(told("9404")), error_of(told("9405"))
    assert (type(closed), str(closed)) == (Refused, "The biller's system refused it: account is closed")
    assert (type(wordless), str(wordless)) == (Refused, "The biller's system refused it: an error without words")
    assert isinstance(told("9204"), Delivered)


@pytest.mark.parametrize("message", [make_payment(), *CHANGES], ids=lambda message: message.kind)
def test_faults_are_read_for_what_they_are(server: SoapServer, message: Message) -> None:
    for account, kind, words in (
        ("9500", OutcomeUnknown, "fell over"),
        ("9400", Refused, "authorizationCode is too long"),
        *([("9200", OutcomeUnknown, "fell over")] if server.stack == "node soap" else []),  # with HTTP 200
    ):
        [result] = tell(server.target(), dataclasses.replace(message, account=account))
        assert type(error_of(result)) is kind
        assert words in str(error_of(result))
        assert error_of(result).answered
    [result] = tell(dataclasses.replace(server.target(), password="wrong"), message)
    assert type(error_of(result)) is Misconfigured


def test_questions_are_answered(server: SoapServer) -> None:
    target = server.target()
    said = []
    for question in connector.pings:
        answer = post(connector.write_ping(target, question))
        said.append(connector.read_ping(answer.status or 0, answer.body, question))
    assert said == [
        "",
        "It names: CommitPaymentTransaction, ModifyCBDataForCustomer, WriteAccountHistoryComments, GetPayableItemsList, "
        "PingURL, GetMethods.",
    ]
    assert [(call["operation"], call["body"]) for call in server.heard()] == [("PingURL", None), ("GetMethods", None)]


@pytest.mark.spec("MSP-1", "MSP-2", "MSP-3", "MSP-4")
def test_what_an_account_owes_is_understood_and_read(server: SoapServer) -> None:
    target = server.target()

    def owes(account: str) -> Balance:
        answer = post(connector.write_balance(account, target))
        return connector.read_balance(account, target, answer.status or 0, answer.body)

    assert owes("35909001") == Balance(
        due=Decimal("80.10"), past_due=Decimal("12.50"), due_on=date(2026, 12, 1), last_payment=Decimal("1234.50"),
        last_paid_on=date(2026, 11, 20), transaction_types=("creditCardPayment", "Cash Only"),
        blocks=frozenset(("card", "bank")),
    )  # fmt: skip
    assert owes("9333 & 1") == Balance(due=Decimal("4.93"), prepaid=True, remaining_days=Decimal("1.5"))
    assert server.heard()[1]["body"] == {"accountNumber": "9333 & 1"}
    for account, kind in (("9404", Refused), ("9500", OutcomeUnknown), ("9204", OutcomeUnknown)):
        with pytest.raises(ConnectorError) as error:
            owes(account)
        assert type(error.value) is kind


def test_an_operation_that_it_does_not_know_is_no_success(server: SoapServer) -> None:
    unknown = {"element": "Ping", "soap_action": f"{NAMESPACE}/Ping"}
    answer = post_once(connector.write_ping(server.target(operations={"PingURL": unknown})), 20, None)
    assert answer.status == 500
    with pytest.raises(ConnectorError) as error:
        connector.read_ping(answer.status, answer.body)
    # node soap answers with a bare message of its own.
    assert type(error.value) is {"node soap": OutcomeUnknown, "Axis": Misconfigured}[server.stack]
