"""Messages of the web services: read from SOAP and from forms, and the answers and faults that go back."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl

from lxml import etree

from billing.errors import DomainError
from datapump.connectors import safe_xml

NAMESPACE = "urn:ratepayer:web-services:1"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_MOST_FIELDS = 50


class BadMessage(DomainError):
    """The message cannot be read; the text says why and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A call: the operation's name as it stands there, and its fields as text."""

    operation: str
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing was done: HTTP status, code, sentence and field, as the REST API says them."""

    status: int
    code: str
    message: str
    field: str = ""


def read_soap(body: bytes, *, version: str, limit: int) -> Message:
    """Read a SOAP message of one version, given by the namespace of its envelope.

    :raises BadMessage: it is none.
    """
    try:
        root = safe_xml.parse(body, limit=limit)
    except safe_xml.UnsafeXml as error:
        raise BadMessage(f"The body cannot be read: {error}.") from None
    if root.tag != f"{{{version}}}Envelope":
        raise BadMessage("The body is no SOAP envelope of the version that its content type says.")
    parts = {etree.QName(part).localname: part for part in root if etree.QName(part).namespace == version}
    for header in parts.get("Header", ()):
        if header.get(f"{{{version}}}mustUnderstand") in {"1", "true"}:
            raise BadMessage("The envelope has a header that must be understood and is not.")
    calls = list(parts.get("Body", ()))
    if len(calls) != 1:
        raise BadMessage("The envelope has no body with one operation.")
    name = etree.QName(calls[0])
    if name.namespace != NAMESPACE:
        raise BadMessage(f"The operation is not in the namespace {NAMESPACE}.")
    fields: dict[str, str] = {}
    for element in calls[0]:
        field = etree.QName(element)
        if field.namespace != NAMESPACE or len(element) or field.localname in fields:
            raise BadMessage("The fields of the operation are plain elements of its namespace, each of them once.")
        if element.get(f"{{{_INSTANCE}}}nil") not in {"1", "true"}:
            fields[field.localname] = element.text or ""
    return Message(name.localname, fields)


def read_form(body: bytes, *, operation: str) -> Message:
    """Read a form post.

    :raises BadMessage: it is none.
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict",
            max_num_fields=_MOST_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise BadMessage("The body is no form in UTF-8.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadMessage("Each field of the form stands there once.")
    return Message(operation, fields)


def write_result(operation: str, values: dict[str, str]) -> etree._Element:
    """Give what an operation answers."""
    result = etree.Element(f"{{{NAMESPACE}}}{operation}Result", nsmap={"r": NAMESPACE})
    for name, value in {"Success": "true", **values}.items():
        etree.SubElement(result, f"{{{NAMESPACE}}}{name}").text = value
    return result


def write_soap(operation: str, values: dict[str, str], *, version: str) -> bytes:
    """Give a SOAP answer."""
    envelope, body = _envelope(version)
    response = etree.SubElement(body, f"{{{NAMESPACE}}}{operation}Response", nsmap={"r": NAMESPACE})
    response.append(write_result(operation, values))
    return write(envelope)


def write_fault(refusal: Refusal, *, version: str) -> bytes:
    """Give a SOAP fault: whose fault it is, the sentence, and code and field as its detail."""
    envelope, body = _envelope(version)
    ours = refusal.status >= 500
    if version == SOAP_11:
        fault = etree.SubElement(body, f"{{{SOAP_11}}}Fault")
        etree.SubElement(fault, "faultcode").text = "soap:Server" if ours else "soap:Client"
        etree.SubElement(fault, "faultstring").text = refusal.message
        detail = etree.SubElement(fault, "detail")
    else:
        fault = etree.SubElement(body, f"{{{SOAP_12}}}Fault")
        code = etree.SubElement(fault, f"{{{SOAP_12}}}Code")
        etree.SubElement(code, f"{{{SOAP_12}}}Value").text = "soap:Receiver" if ours else "soap:Sender"
        reason = etree.SubElement(fault, f"{{{SOAP_12}}}Reason")
        text = etree.SubElement(reason, f"{{{SOAP_12}}}Text")
        text.set("{http://www.w3.org/XML/1998/namespace}lang", "en")
        text.text = refusal.message
        detail = etree.SubElement(fault, f"{{{SOAP_12}}}Detail")
    detail.append(write_error(refusal))
    return write(envelope)


def write_error(refusal: Refusal) -> etree._Element:
    """Give a refusal as one element: all that a form post gets, and the detail of a fault."""
    error = etree.Element(f"{{{NAMESPACE}}}Error", nsmap={"r": NAMESPACE})
    for name, value in (("Code", refusal.code), ("Message", refusal.message), ("Field", refusal.field)):
        # The name of a field that nobody knows is the caller's own.
        printable = "".join(one if one.isprintable() else "?" for one in value)
        etree.SubElement(error, f"{{{NAMESPACE}}}{name}").text = printable
    return error


def write(element: etree._Element) -> bytes:
    """Give a document as bytes."""
    return bytes(etree.tostring(element, xml_declaration=True, encoding="utf-8"))


def _envelope(version: str) -> tuple[etree._Element, etree._Element]:
    envelope = etree.Element(f"{{{version}}}Envelope", nsmap={"soap": version})
    return envelope, etree.SubElement(envelope, f"{{{version}}}Body")
