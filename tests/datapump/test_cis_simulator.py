"""The simulated CIS is as strict and as awkward as a real one, and its book can be trusted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zeep

from tests.cis import ROOT, Cis

NS = "http://www.multispeak.org/Version_3.0"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cis]:
    cis = Cis(tmp_path_factory.mktemp("cis"))
    cis.start()
    try:
        yield cis
    finally:
        cis.stop()


@pytest.fixture
def cis(started: Cis) -> Cis:
    started.reset()
    return started


def envelope(
    cis: Cis, content: str, *, soap: str = "http://schemas.xmlsoap.org/soap/envelope/", password: str = ""
) -> bytes:
    return (
        f'<s:Envelope xmlns:s="{soap}" xmlns="{NS}"><s:Header><MultiSpeakMsgHeader UserID="{cis.username}" '
        f'Pwd="{password or cis.password}"/></s:Header><s:Body>{content}</s:Body></s:Envelope>'
    ).encode()


def payment(
    amount: str = "1.00",
    account: str = "1",
    item: str = "extensionsItem",
    name: str = "transactionId",
    guid: str = "g1",
) -> str:
    return (
        f"<CommitPaymentTransaction><transactions><paymentTransaction><accountNumber>{account}</accountNumber><cashPayment><tender>"
        f"<extensionsList><{item}><extName>{name}</extName><extValue>{guid}</extValue></{item}></extensionsList>"
        f"<amount>{amount}</amount></tender></cashPayment></paymentTransaction></transactions></CommitPaymentTransaction>"
    )


def zeep_service(cis: Cis) -> tuple[Any, dict[str, Any]]:
    make: Any = zeep.Client  # zeep has no types
    client = make(f"{cis.url}?wsdl")
    return client.service, {"MultiSpeakMsgHeader": {"UserID": cis.username, "Pwd": cis.password}}


def test_a_stranger_with_nothing_but_its_wsdl_can_use_all_six_operations(cis: Cis) -> None:
    service, header = zeep_service(cis)
    assert service._binding_options["address"] == cis.url
    assert service.PingURL(_soapheaders=header).body.PingURLResult is None
    assert service.GetMethods(_soapheaders=header).body.GetMethodsResult.string == [
        "CommitPaymentTransaction", "ModifyCBDataForCustomer", "WriteAccountHistoryComments",
        "GetPayableItemsList", "PingURL", "GetMethods",
    ]  # fmt: skip
    tender = {
        "extensionsList": {"extensionsItem": [{"extName": "transactionId", "extValue": "18"}]},
        "amount": Decimal("232.10"), "authorizationCode": "18",
    }  # fmt: skip
    transaction = {"accountNumber": "35909001", "creditCardPayment": [{"tender": tender}]}
    answer = service.CommitPaymentTransaction(transactions={"paymentTransaction": [transaction]}, _soapheaders=header)
    echoed = answer.body.CommitPaymentTransactionResult.paymentTransaction[0].creditCardPayment[0].tender
    assert (echoed.amount, echoed.responseCode) == (Decimal("232.10"), "Success")
    service.ModifyCBDataForCustomer(
        customerData={
            "customer": [
                {"objectID": "1", "extensionsList": {"extensionsItem": [{"extName": "EBILL", "extValue": "N"}]}}
            ]
        },
        _soapheaders=header,
    )
    comment = {
        "customerID": "1",
        "serviceLocationID": "9",
        "logTime": "2026-11-22T00:00:00-05:00",
        "comment": "AUTOPAY ON",
    }
    service.WriteAccountHistoryComments(comments={"historyComment": [comment]}, _soapheaders=header)
    cis.owes(
        "35909001",
        items=[
            {"pastDueAmount": "1.50", "currentAmount": "20", "description": "Water & sewer"},
            {"currentAmount": "3.25"},
        ],
        transaction_types=["achPayment"],
        extensions={"remainingBalance": "4.93"},
    )
    owed = service.GetPayableItemsList(accountNumber="35909001", _soapheaders=header).body.GetPayableItemsListResult
    assert [(item.pastDueAmount, item.currentAmount) for item in owed.payableItem] == [
        (Decimal("1.50"), Decimal(20)), (None, Decimal("3.25")),
    ]  # fmt: skip
    assert cis.totals() == {
        "payments": 1, "amount": "232.10", "by_tender": {"creditCardPayment": {"payments": 1, "amount": "232.10"}},
        "repeats": 0, "comments": 1, "paperless": 1,
    }  # fmt: skip


def test_payments_add_once_to_what_is_left_on_a_prepaid_account(cis: Cis) -> None:
    cis.post(envelope(cis, payment(guid="before")))
    cis.prepaid("1", left="16.40", a_day="4.10")
    cis.owes("1", items=[{"currentAmount": "99.00"}])

    def says() -> tuple[str, str]:
        _status, body = cis.post(
            envelope(cis, "<GetPayableItemsList><accountNumber>1</accountNumber></GetPayableItemsList>")
        )
        assert b"<currentAmount>0.00</currentAmount>" in body
        found = re.findall(r"<extName>(\w+)</extName><extValue>([^<]+)<", body.decode())
        assert [name for name, _ in found] == ["remainingBalance", "remainingDays"]
        return found[0][1], found[1][1]

    assert says() == ("16.40", "4.0")
    for _ in range(2):
        cis.post(envelope(cis, payment(guid="added", amount="25.00")))
    assert says() == ("41.40", "10.1")
    assert cis.book()["prepaid"] == [{"account": "1", "left": "41.40", "a_day": "4.10"}]
    for left, a_day in (("much", "1"), ("NaN", "1"), ("1.00", "-1")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            cis.prepaid("1", left=left, a_day=a_day)
        assert refused.value.code == 400
    assert says() == ("41.40", "10.1")


@pytest.mark.parametrize("action", [None, "", '""', f'"{NS}/PingURL"', f"{NS}/PingURL", "PingURL"])
def test_it_routes_by_soapaction_and_by_the_body_where_there_is_none(cis: Cis, action: str | None) -> None:
    headers = {"Content-Type": "text/xml"} | ({} if action is None else {"SOAPAction": action})
    status, body = cis.post(envelope(cis, "<PingURL/>"), headers)
    assert status == 200 and b"PingURLResponse" in body


def test_a_soapaction_that_is_unknown_or_not_the_bodys_is_a_fault(cis: Cis) -> None:
    for action, reason in (
        (f'"{NS}/GetMethods"', b"SOAPAction says GetMethods"),
        ('"urn:Delete"', b"did not recognize"),
    ):
        status, body = cis.post(envelope(cis, "<PingURL/>"), {"SOAPAction": action})
        assert status == 500 and reason in body and b"soap:Client" in body


def test_soap_1_2_is_answered_in_kind(cis: Cis) -> None:
    soap = "http://www.w3.org/2003/05/soap-envelope"
    status, body = cis.post(envelope(cis, "<PingURL/>", soap=soap), {"Content-Type": "application/soap+xml"})
    assert status == 200 and soap.encode() in body
    status, body = cis.post(envelope(cis, "<PingURL/>", soap=soap, password="wrong"))
    assert status == 500 and b"soap:Sender" in body


@pytest.mark.parametrize(
    "content",
    [
        payment(item="extensionsltem"),  # a copying error seen in the wild: a small L for a capital I
        payment(amount=""),
        payment(amount="NaN"),
        payment(amount="1,000.00"),
        payment().replace("<cashPayment>", "<cheque/><cashPayment>"),
        payment()
        .replace("<accountNumber>1</accountNumber>", "")
        .replace("</cashPayment>", "</cashPayment><accountNumber/>"),
        payment().replace("transactions", "transaction"),
        (
            "<WriteAccountHistoryComments><comments><historyComment><logTime>2020-08-012T00:01:32-05:00</logTime></historyComment>"
            "</comments></WriteAccountHistoryComments>"
        ),
        "<PingURL>x</PingURL>",
        "",
        "<PingURL/><PingURL/>",
    ],
)
def test_what_is_not_valid_is_a_fault_and_books_nothing(cis: Cis, content: str) -> None:
    status, body = cis.post(envelope(cis, content))
    assert status == 500 and b"soap:Client" in body
    assert cis.book() == {
        "payments": [], "repeats": [], "comments": [], "paperless": [], "prints": [], "prepaid": [],
        "totals": {"payments": 0, "amount": "0.00", "by_tender": {}, "repeats": 0, "comments": 0, "paperless": 0},
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"hello", b"<a/>", b"<!DOCTYPE x []><a/>", b"\x00", b"<a>" * 100_000])
def test_what_is_no_soap_is_a_fault(cis: Cis, body: bytes) -> None:
    status, answer = cis.post(body)
    assert status == 500 and b"Fault" in answer


@pytest.mark.parametrize(
    "content",
    [payment(name="transactionld"), payment(guid=""), payment(account=""), payment(amount="0"), payment(amount="1.005"),
     payment(amount="-1")],
)  # fmt: skip
def test_a_payment_that_says_too_little_fails_and_is_not_booked(cis: Cis, content: str) -> None:
    status, body = cis.post(envelope(cis, content))
    assert status == 200 and b"<responseCode>Failure</responseCode>" in body
    assert cis.totals()["payments"] == 0


def test_a_comment_without_its_location_and_paperless_without_its_flag_are_error_objects(cis: Cis) -> None:
    comment = (
        "<historyComment><customerID>1</customerID><logTime>2026-11-22T00:00:00Z</logTime><comment>x</comment>"
        "</historyComment>"
    )
    for content in (
        f"<WriteAccountHistoryComments><comments>{comment}</comments></WriteAccountHistoryComments>",
        '<ModifyCBDataForCustomer><customerData><customer objectID="1"/></customerData></ModifyCBDataForCustomer>',
    ):
        status, body = cis.post(envelope(cis, content))
        assert status == 200 and b"<errorObject" in body
    totals = cis.totals()
    assert (totals["comments"], totals["paperless"]) == (0, 0)


def test_a_transaction_id_used_for_another_payment_fails_and_the_first_stays(cis: Cis) -> None:
    for content in (payment("1.00"), payment("1.00"), payment("2.00"), payment("1.00", account="2")):
        _, body = cis.post(envelope(cis, content))
        assert (b"Success" in body) == (content == payment("1.00"))
    book = cis.book()
    assert [(row["account"], row["amount"], row["times_received"]) for row in book["payments"]] == [("1", "1.00", 2)]
    assert [(row["account"], row["amount"], row["same"]) for row in book["repeats"]] == [
        ("1", "1.00", True), ("1", "2.00", False), ("2", "1.00", False),
    ]  # fmt: skip


def test_its_book_outlives_a_kill(tmp_path: Path) -> None:
    cis = Cis(tmp_path)
    cis.start()
    try:
        cis.post(envelope(cis, payment("12.34")))
        url = cis.url
        cis.stop(signal.SIGKILL)
        cis.start()
        assert cis.url == url
        assert cis.totals()["amount"] == "12.34"
        cis.post(envelope(cis, payment("12.34")))
        assert cis.book()["payments"][0]["times_received"] == 2
    finally:
        cis.stop()


@pytest.mark.parametrize("demo", [None, "", "0", "true"])
def test_it_refuses_to_run_outside_a_demo(tmp_path: Path, demo: str | None) -> None:
    ran = subprocess.run(
        [
            sys.executable, "-m", "datapump.connectors.cis_simulator", "--port", "0", "--book", str(tmp_path / "book"),
            "--username", "u", "--password", "p", "--control-secret", "s",
        ],
        cwd=ROOT, env={"PATH": os.environ["PATH"]} | ({} if demo is None else {"DEMO": demo}),
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "DEMO=1" in ran.stderr
    assert not (tmp_path / "book").exists()


def test_it_loads_nothing_of_the_product() -> None:
    script = (
        "import sys, datapump.connectors.cis_simulator.server\n"
        "ours = ('billing', 'payments', 'sms', 'config', 'django', 'datapump')\n"
        "print(*sorted(name for name in sys.modules if name.partition('.')[0] in ours))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
    )
    assert [name for name in ran.stdout.split() if "cis_simulator" not in name] == ["datapump", "datapump.connectors"]


@pytest.mark.parametrize("path", ["/book", "/book/totals", "/control"])
@pytest.mark.parametrize("secret", [None, "wrong"])
def test_book_and_switches_need_the_secret(cis: Cis, path: str, secret: str | None) -> None:
    base = cis.url.partition("/services/")[0]
    for method in ("GET", "POST"):
        target = {"/control": "/control/reset"}.get(path, path) if method == "POST" else path
        if method == "POST" and path != "/control":
            continue
        request = urllib.request.Request(
            base + target, method=method, headers={"Authorization": f"Bearer {secret}"} if secret else {}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        assert refused.value.code == 403


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "explode"},
        {"action": "fault", "probability": 2},
        {"action": "fault", "next": -1},
        {"action": "fault", "when": "later"},
        {"action": "fault", "status": 42},
        {"action": "garbage", "kind": "purple"},
        {"action": "failure", "code": "Success"},
        {"action": "slow", "seconds": 10_000},
        {"action": "fault", "fired": 3},
        {"action": "fault", "probability": "often"},
        {},
    ],
)
def test_a_switch_that_makes_no_sense_is_refused_and_changes_nothing(cis: Cis, rule: dict[str, Any]) -> None:
    cis.control({"action": "slow", "seconds": 0.5}, seed=3)
    before = cis.switches()
    with pytest.raises(urllib.error.HTTPError) as refused:
        cis.control(rule)
    assert refused.value.code == 400
    assert json.loads(refused.value.read())["error"]
    assert cis.switches() == before


def test_chance_is_repeatable_by_its_seed(cis: Cis) -> None:
    def run(seed: int) -> list[int]:
        cis.control({"action": "fault", "probability": 0.5}, seed=seed)
        return [cis.post(envelope(cis, "<PingURL/>"))[0] for _ in range(30)]

    first = run(7)
    assert first == run(7)
    assert first != run(8)
    assert {200, 500} == set(first)


def test_one_payment_of_an_envelope_can_be_hit_by_chance(cis: Cis) -> None:
    several = "".join(
        payment(account=str(n), guid=f"g{n}").partition("<transactions>")[2].partition("</transactions>")[0]
        for n in range(10)
    )
    cis.control({"action": "failure", "only_one": True}, seed=1)
    body = envelope(cis, f"<CommitPaymentTransaction><transactions>{several}</transactions></CommitPaymentTransaction>")
    answer = cis.post(body)[1]
    assert (answer.count(b">Success<"), answer.count(b">Failure<")) == (9, 1)
    assert cis.totals()["payments"] == 9
