"""The simulated CIS's own reading and writing of SOAP: not the connector's, so that neither covers for the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from datapump.connectors.cis_simulator.book import Payment

NAMESPACE = "http://www.multispeak.org/Version_3.0"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
CONTENT_TYPES = {SOAP_11: "text/xml", SOAP_12: "application/soap+xml"}
OPERATIONS = (
    "CommitPaymentTransaction",
    "ModifyCBDataForCustomer",
    "WriteAccountHistoryComments",
    "GetPayableItemsList",
    "PingURL",
    "GetMethods",
)
_DEFINITIONS = Path(__file__).resolve().parent.parent / "multispeak"
WSDL = _DEFINITIONS / "cb_server.wsdl"
XSD = _DEFINITIONS / "multispeak.xsd"
_TENDERS = ("creditCardPayment", "eCheckPayment", "achPayment", "cashPayment")


class Fault(Exception):
    """What to answer instead: ``code`` is Client or Server."""

    def __init__(self, code: str, text: str, *, soap: str = SOAP_11, status: int = 500) -> None:
        super().__init__(text)
        self.code, self.text, self.soap, self.status = code, text, soap, status


@dataclass(frozen=True, slots=True)
class Call:
    """One request, valid against the XSD."""

    operation: str
    soap: str
    user: str
    password: str
    element: etree._Element


class Reader:
    """Reads requests: routes by SOAPAction, by the body where there is none, and checks them against the XSD."""

    def __init__(self) -> None:
        self._schema = etree.XMLSchema(file=str(XSD))

    def read(self, body: bytes, soap_action: str) -> Call:
        """Read one request.

        :raises Fault: it is no SOAP, not valid, or of an operation that is not known.
        """
        parser = etree.XMLParser(
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        try:
            root = etree.fromstring(body, parser)
        except (etree.XMLSyntaxError, ValueError) as error:
            raise Fault("Client", f"Server was unable to read request: {error}") from None
        if root.getroottree().docinfo.internalDTD is not None:
            raise Fault("Client", "A DOCTYPE is not allowed")
        name = etree.QName(root)
        if name.localname != "Envelope" or name.namespace not in CONTENT_TYPES:
            raise Fault("Client", "The request is no SOAP envelope")
        soap = str(name.namespace)
        contents = root.findall(f"{{{soap}}}Body/*")
        if len(contents) != 1:
            raise Fault("Client", "The Body holds not exactly one element", soap=soap)
        element = contents[0]
        header = root.find(f"{{{soap}}}Header/{{{NAMESPACE}}}MultiSpeakMsgHeader")
        operation = soap_action.strip().strip('"').rpartition("/")[2] or etree.QName(element).localname
        if operation not in OPERATIONS:
            raise Fault(
                "Client",
                f"Server did not recognize the value of HTTP Header SOAPAction: {operation}",
                soap=soap,
            )
        if str(element.tag) != f"{{{NAMESPACE}}}{operation}":
            raise Fault(
                "Client",
                f"The Body holds {etree.QName(element).localname}, SOAPAction says {operation}",
                soap=soap,
            )
        for part in (header, element):
            if part is None:
                continue
            try:
                self._schema.assertValid(part)
            except etree.DocumentInvalid as error:
                raise Fault("Client", f"Server was unable to read request: {error}", soap=soap) from None
        return Call(
            operation=operation,
            soap=soap,
            user="" if header is None else str(header.get("UserID", "")),
            password="" if header is None else str(header.get("Pwd", "")),
            element=element,
        )


def accounts(call: Call) -> list[str]:
    """Return the accounts that a request names, in order."""
    named = [
        element.text or "" for name in ("accountNumber", "customerID") for element in call.element.iter(_tag(name))
    ]
    return named + [str(element.get("objectID", "")) for element in call.element.iter(_tag("customer"))]


def payments(call: Call) -> list[tuple[Payment, str]]:
    """Return each tender of CommitPaymentTransaction as a payment, with the amount as it was written."""
    found = []
    for transaction in call.element.iter(_tag("paymentTransaction")):
        account = transaction.findtext(_tag("accountNumber"), "")
        for tender in _TENDERS:
            for element in transaction.findall(f"{_tag(tender)}/{_tag('tender')}"):
                extensions = _extensions(element)
                written = element.findtext(_tag("amount"), "")
                payment = Payment(
                    account=account,
                    tender=tender,
                    amount=Decimal(written.strip()),
                    transaction_id=extensions.get("transactionId", ("", ""))[0],
                    authorization=element.findtext(_tag("authorizationCode"), ""),
                    mode=element.findtext(_tag("paymentMode"), ""),
                    kiosk=extensions.get("billerReference", ("", ""))[0],
                )
                found.append((payment, written))
    return found


def customers(call: Call) -> list[tuple[str, str | None, str]]:
    """Return each customer of ModifyCBDataForCustomer: objectID, EBILL's value (None where it has none) and type."""
    found = []
    for element in call.element.iter(_tag("customer")):
        value, ext_type = _extensions(element).get("EBILL", (None, ""))
        found.append((str(element.get("objectID", "")), value, ext_type))
    return found


def comments(call: Call) -> list[tuple[str, str, str, str]]:
    """Return each historyComment: customerID, serviceLocationID, logTime, comment."""
    names = ("customerID", "serviceLocationID", "logTime", "comment")
    return [
        (texts[0], texts[1], texts[2], texts[3])
        for element in call.element.iter(_tag("historyComment"))
        for texts in [[element.findtext(_tag(name), "") for name in names]]
    ]


def answer(call_soap: str, operation: str, result: str) -> bytes:
    """Write the answer of an operation around its result's content."""
    return _envelope(
        call_soap,
        f'<{operation}Response xmlns="{NAMESPACE}"><{operation}Result>{result}</{operation}Result>'
        f"</{operation}Response>",
    )


def fault(fault: Fault) -> bytes:
    """Write a SOAP Fault in the envelope's own version."""
    if fault.soap == SOAP_12:
        code = "Sender" if fault.code == "Client" else "Receiver"
        return _envelope(
            SOAP_12,
            f"<soap:Fault><soap:Code><soap:Value>soap:{code}</soap:Value></soap:Code><soap:Reason>"
            f'<soap:Text xml:lang="en">{escape(fault.text)}</soap:Text></soap:Reason></soap:Fault>',
        )
    return _envelope(
        SOAP_11,
        f"<soap:Fault><faultcode>soap:{fault.code}</faultcode><faultstring>{escape(fault.text)}</faultstring></soap:Fault>",
    )


def echo(payment: Payment, written: str, code: str, error: str) -> str:
    """Write one transaction of an answer to CommitPaymentTransaction."""
    said = f" errorString={quoteattr(error)}" if error else ""
    return (
        f"<paymentTransaction><accountNumber>{escape(payment.account)}</accountNumber><{payment.tender}><tender{said}>"
        f"<amount>{escape(written)}</amount><authorizationCode>{escape(payment.authorization)}</authorizationCode>"
        f"<responseCode>{code}</responseCode></tender></{payment.tender}></paymentTransaction>"
    )


def error_object(object_id: str, error: str, noun: str) -> str:
    """Write one errorObject."""
    return f"<errorObject objectID={quoteattr(object_id)} errorString={quoteattr(error)} nounType={quoteattr(noun)}/>"


def payable_items(answer: dict[str, Any] | None) -> str:
    """Write what an account owes as ``/control/items`` was told; an unknown account owes nothing."""
    if answer is None:
        return ""
    items = "".join(
        "<payableItem>" + _extensions_list(item.get("extensions")) + _elements(item, _ITEM) + "</payableItem>"
        for item in answer.get("items", [])
    )
    types = "".join(
        f"<transactionType>{escape(str(kind))}</transactionType>" for kind in answer.get("transaction_types", [])
    )
    return (
        _extensions_list(answer.get("extensions"))
        + items
        + (f"<allowableTransactionTypes>{types}</allowableTransactionTypes>" if types else "")
    )


_ITEM = (
    "pastDueAmount", "currentAmount", "description", "chargeCode",
    "dueDate", "disconnectDate", "lastPaymentAmount", "lastPaymentDate",
)  # fmt: skip


def _elements(values: dict[str, Any], names: Iterable[str]) -> str:
    return "".join(f"<{name}>{escape(str(values[name]))}</{name}>" for name in names if name in values)


def _extensions_list(extensions: dict[str, Any] | None) -> str:
    if not extensions:
        return ""
    items = "".join(
        f"<extensionsItem><extName>{escape(name)}</extName><extValue>{escape(str(value))}</extValue></extensionsItem>"
        for name, value in extensions.items()
    )
    return f"<extensionsList>{items}</extensionsList>"


def _extensions(element: etree._Element) -> dict[str, tuple[str, str]]:
    return {
        item.findtext(_tag("extName"), ""): (
            item.findtext(_tag("extValue"), ""),
            item.findtext(_tag("extType"), ""),
        )
        for item in element.findall(f"{_tag('extensionsList')}/{_tag('extensionsItem')}")
    }


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _envelope(soap: str, content: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<soap:Envelope xmlns:soap="{soap}"><soap:Header>'
        f'<MultiSpeakMsgHeader xmlns="{NAMESPACE}" Version="3.0" Company="Example Utility" AppName="Simulated CIS"'
        ' AppVersion="1"/>'
        f"</soap:Header><soap:Body>{content}</soap:Body></soap:Envelope>"
    ).encode()
