"""Answers as real servers may give them, byte for byte over a socket: each is read right or refused loudly.

``test_reader.py`` has what an answer can say, ``test_calls.py`` how a line can fail; this is both together.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from datapump.calls import post_once
from datapump.connectors.base import (
    ConnectorError,
    Delivered,
    Message,
    Misconfigured,
    OutcomeUnknown,
    Refused,
    Target,
    Undelivered,
)
from datapump.connectors.multispeak.connector import MultiSpeak
from tests.datapump.test_calls import server

NS = "http://www.multispeak.org/Version_3.0"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
NOW = datetime(2026, 11, 22, 15, 8, 45, tzinfo=UTC)
PAYMENT = Message(
    "p", "payment", "35909001", NOW,
    {"amount": "1234.50", "tender": "ach", "approval_code": "A01", "payment_guid": "g", "source": 0},
)  # fmt: skip
PAPERLESS = Message("e", "paperless", "35909001", NOW, {"enrolled": True})

connector = MultiSpeak()

Outcome = type[Delivered] | type[ConnectorError]


def told(message: Message, answer: bytes) -> Delivered | Undelivered:
    """Tell it to a server that answers with these bytes."""
    with server(answer) as url:
        target = Target(url, "user", "secret", "UTC")
        got = post_once(connector.write([message], target), 5, None)
    return read(message, got.body, got.status or 0) if got.error is None else Undelivered(message.id, got.error)


def read(message: Message, body: bytes | str, status: int = 200) -> Delivered | Undelivered:
    [result] = connector.read([message], status, body.encode() if isinstance(body, str) else body)
    return result


def error_of(result: Delivered | Undelivered) -> ConnectorError:
    assert isinstance(result, Undelivered)
    return result.error


def outcome(result: Delivered | Undelivered) -> Outcome:
    return type(result.error) if isinstance(result, Undelivered) else Delivered


def http(
    body: bytes | str, *headers: str, status: str = "200 OK", encoding: str = "utf-8", length: int | None = None
) -> bytes:
    content = body.encode(encoding) if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


def envelope(content: str) -> str:
    declared = '<?xml version="1.0" encoding="utf-8"?>'
    return f'{declared}<s:Envelope xmlns:s="{SOAP}"><s:Body>{content}</s:Body></s:Envelope>'


def operation_of(message: Message) -> str:
    return "CommitPaymentTransaction" if message.kind == "payment" else "ModifyCBDataForCustomer"


def result_of(message: Message, content: str, *, attributes: str = "") -> str:
    name = operation_of(message)
    return (
        f'<{name}Response xmlns="{NS}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"<{name}Result{attributes}>{content}</{name}Result></{name}Response>"
    )


def taken(amount: str = "<amount>1234.50</amount>", tender: str = "") -> str:
    return (
        f"<paymentTransaction><accountNumber>35909001</accountNumber><achPayment><tender>{amount}"
        f"<authorizationCode>A01 é</authorizationCode><responseCode>Success</responseCode>{tender}"
        "</tender></achPayment></paymentTransaction>"
    )


SUCCESS = envelope(result_of(PAYMENT, taken()))
NOTHING = envelope(result_of(PAPERLESS, "<!-- é -->"))
ANSWERS = pytest.mark.parametrize(
    ("message", "body"), [(PAYMENT, SUCCESS), (PAPERLESS, NOTHING)], ids=["payment", "paperless"]
)


def chunked(body: str) -> bytes:
    content, size = body.encode(), 97
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x;note=1\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def in_parts(body: str) -> bytes:
    part = f"--b\r\nContent-Type: application/xop+xml\r\n\r\n{body}\r\n--b--"
    return http(part, 'Content-Type: multipart/related; boundary="b"')


# ---- how it comes

COMES: dict[str, tuple[Callable[[str], bytes], Outcome]] = {
    "plain": (http, Delivered),
    "in pieces": (chunked, Delivered),
    "until the line closes": (lambda body: b"HTTP/1.1 200 OK\r\n\r\n" + body.encode(), Delivered),
    "after 100 Continue": (lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + http(body), Delivered),
    "with 202": (lambda body: http(body, status="202 Accepted"), Delivered),
    "under another type": (lambda body: http(body, "Content-Type: text/html"), Delivered),
    "packed": (lambda body: http(gzip.compress(body.encode()), "Content-Encoding: gzip"), Delivered),
    "behind a byte order mark": (lambda body: http("\ufeff" + body), Delivered),
    "in Latin-1": (lambda body: http(body.replace("utf-8", "ISO-8859-1"), encoding="latin-1"), Delivered),
    "in windows-1252": (lambda body: http(body.replace("utf-8", "windows-1252"), encoding="cp1252"), Delivered),
    "in US-ASCII": (lambda body: http(body.replace("utf-8", "US-ASCII").replace("é", "&#xE9;")), Delivered),
    "in UTF-16": (lambda body: http(body, encoding="utf-16"), OutcomeUnknown),
    "in another encoding than it says": (lambda body: http(body, encoding="latin-1"), OutcomeUnknown),
    "packed and not said to be": (lambda body: http(gzip.compress(body.encode())), OutcomeUnknown),
    "said to be packed and not": (lambda body: http(body, "Content-Encoding: gzip"), OutcomeUnknown),
    "in parts": (in_parts, OutcomeUnknown),
    "with 500": (lambda body: http(body, status="500 Internal Server Error"), OutcomeUnknown),
    "cut off by the line": (lambda body: http(body, length=len(body) + 99), OutcomeUnknown),
    "cut off by the server": (lambda body: http(body[:-20]), OutcomeUnknown),
    "empty": (lambda body: http(""), OutcomeUnknown),
    "none": (lambda body: http("", status="204 No Content"), OutcomeUnknown),
    "a page": (lambda body: http("<html><p>Please sign in</p></html>"), OutcomeUnknown),
    "a closed door": (lambda body: http("", status="401 Unauthorized"), Misconfigured),
}


@pytest.mark.spec("MSP-11")
@pytest.mark.parametrize("name", COMES)
@ANSWERS
def test_how_an_answer_comes(message: Message, body: str, name: str) -> None:
    dress, expected = COMES[name]
    assert outcome(told(message, dress(body))) is expected


@pytest.mark.spec("MSP-11")
@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
@pytest.mark.parametrize(
    ("code", "expected"), [("Client", Refused), ("Server", OutcomeUnknown), ("Server.BadPwd", OutcomeUnknown)]
)
@ANSWERS
def test_a_fault_is_a_fault_under_any_status(
    message: Message, body: str, code: str, expected: Outcome, status: str
) -> None:
    fault = f"<s:Fault><faultcode>s:{code}</faultcode><faultstring>no</faultstring></s:Fault>"
    assert outcome(told(message, http(envelope(fault), status=status))) is expected
    beside = body.replace("</s:Body>", f"{fault}</s:Body>")
    assert outcome(told(message, http(beside, status=status))) is expected


@ANSWERS
def test_an_answer_that_is_cut_off_anywhere_is_never_a_success(message: Message, body: str) -> None:
    whole = body.encode()
    assert outcome(read(message, whole)) is Delivered
    for length in range(len(whole)):
        assert outcome(read(message, whole[:length])) is OutcomeUnknown


# ---- what it says

OTHER = "http://www.multispeak.org/Version_4.1_Release"


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.replace(NS, OTHER),
        lambda body: body.replace(NS, "http://tempuri.org/"),
        lambda body: body.replace(f' xmlns="{NS}"', ""),
        lambda body: body.replace(SOAP, "http://www.w3.org/2003/05/soap-envelope"),
        lambda body: body.replace(SOAP, "urn:not-soap"),
        lambda body: body.replace("<tender>", f'<tender xmlns="{OTHER}">'),
        lambda body: body.replace("<s:Body>", '<s:Header><a:Security xmlns:a="urn:a"/></s:Header><s:Body>'),
        lambda body: body.replace("Result>", 'Result xmlns:q="urn:q" q:when="tomorrow">', 1),
    ],
    ids=["4.1", "ASMX's own", "none", "SOAP 1.2", "no SOAP", "of a part", "a header", "of an attribute"],
)
@ANSWERS
def test_a_namespace_that_is_wrong_does_not_hide_what_is_said(
    message: Message, body: str, change: Callable[[str], str]
) -> None:
    assert change(body) != body or message is PAPERLESS
    assert outcome(read(message, change(body))) is Delivered
    said = '<errorObject errorString="no such account"/>'
    refused = change(envelope(result_of(message, said)))
    assert str(error_of(read(message, refused))) == "The biller's system refused it: no such account"


@pytest.mark.spec("MSP-11")
@pytest.mark.parametrize(
    ("content", "of_a_payment", "of_a_change"),
    [
        ("{name}Response", OutcomeUnknown, Delivered),
        ("{name}Result", OutcomeUnknown, Delivered),
        ("", OutcomeUnknown, OutcomeUnknown),
        ("{name}", OutcomeUnknown, OutcomeUnknown),  # our own question come back
        ("PingURLResponse", OutcomeUnknown, OutcomeUnknown),
    ],
    ids=["no result", "a bare result", "an empty Body", "an echo", "another answer"],
)
def test_a_result_that_is_missing_is_success_only_where_it_lists_errors(
    content: str, of_a_payment: Outcome, of_a_change: Outcome
) -> None:
    for message, expected in ((PAYMENT, of_a_payment), (PAPERLESS, of_a_change)):
        name = content.format(name=operation_of(message))
        assert outcome(read(message, envelope(f'<{name} xmlns="{NS}"/>' if name else ""))) is expected
    for attributes in ("", ' xsi:nil="true"', ' objectID=""'):
        for message, expected in ((PAYMENT, OutcomeUnknown), (PAPERLESS, Delivered)):
            empty = envelope(result_of(message, "", attributes=attributes))
            assert outcome(read(message, empty)) is expected


@pytest.mark.spec("MSP-11")
@pytest.mark.parametrize(
    ("amount", "trouble"),
    [
        ("<amount>1,234.50</amount>", ""),
        ("<amount>$1,234.50</amount>", ""),
        ("<amount>$1234.5</amount>", ""),
        ("<amount>1.2345E3</amount>", ""),
        ("<note>7</note><amount>1234.50</amount><amountDue>NaN</amountDue>", ""),
        ("<amount>1.234,50</amount>", "an amount cannot be read: '1.234,50'"),
        ("<amount>1234,50</amount>", "an amount cannot be read: '1234,50'"),
        ("<amount>NaN</amount>", "an amount cannot be read: 'NaN'"),
        ("<amount>INF</amount>", "an amount cannot be read: 'INF'"),
        ("<amount/>", "an amount cannot be read: ''"),
        ('<amount xsi:nil="true"/>', "an amount cannot be read: ''"),
        ("<amount>0</amount>", "it says 0, we sent 1234.50"),
        ("<amount>-1234.50</amount>", "it says -1234.50, we sent 1234.50"),
        ("<amount>123450</amount>", "it says 123450, we sent 1234.50"),
        ("<Amount>1234.50</Amount>", "it holds no amount"),
        ("", "it holds no amount"),
    ],
)
def test_an_amount_is_ours_or_nobodys_and_never_zero(amount: str, trouble: str) -> None:
    result = read(PAYMENT, envelope(result_of(PAYMENT, taken(amount))))
    if not trouble:
        assert result == Delivered("p", "Success")
        return
    error = error_of(result)
    assert type(error) is OutcomeUnknown
    assert str(error) == f"The biller's system answered about this account, but not about this amount: {trouble}."


@pytest.mark.parametrize("when", ["tomorrow", "", "2026-13-45T99:00:00", "11/22/2026", "0001-01-01T00:00:00"])
def test_a_date_that_nobody_asked_for_hides_nothing(when: str) -> None:
    dated = f"<postedDate>{when}</postedDate>"
    assert outcome(read(PAYMENT, envelope(result_of(PAYMENT, taken(tender=dated))))) is Delivered
    said = f'<errorObject errorString="no such account" eventTime="{when}"/>'
    for message in (PAYMENT, PAPERLESS):
        error = error_of(read(message, envelope(result_of(message, said))))
        assert (type(error), str(error)) == (Refused, "The biller's system refused it: no such account")
