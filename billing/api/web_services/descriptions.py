"""The WSDL 1.1 of a web service: document style, its operation wrapped, over SOAP 1.1 and 1.2."""

from __future__ import annotations

from lxml import etree

from billing.api.web_services.envelopes import NAMESPACE, write
from billing.api.web_services.services import Operation, Service

_WSDL = "http://schemas.xmlsoap.org/wsdl/"
_SCHEMA = "http://www.w3.org/2001/XMLSchema"
_HTTP = "http://schemas.xmlsoap.org/soap/http"
_BINDINGS = {"soap": "http://schemas.xmlsoap.org/wsdl/soap/", "soap12": "http://schemas.xmlsoap.org/wsdl/soap12/"}


def describe(service: Service, *, address: str) -> bytes:
    """Give the WSDL of a service that stands at an address."""
    root = etree.Element(
        f"{{{_WSDL}}}definitions",
        nsmap={"wsdl": _WSDL, "s": _SCHEMA, "tns": NAMESPACE, **_BINDINGS},
        targetNamespace=NAMESPACE,
        name=service.name,
    )
    _add(root, "documentation", text=service.words)
    schema = etree.SubElement(
        _add(root, "types"), f"{{{_SCHEMA}}}schema", elementFormDefault="qualified", targetNamespace=NAMESPACE
    )
    for operation in service.operations:
        _describe_elements(schema, operation)
    for operation in service.operations:
        for message, element in (
            (f"{operation.name}In", operation.name),
            (f"{operation.name}Out", f"{operation.name}Response"),
        ):
            _add(_add(root, "message", name=message), "part", name="parameters", element=f"tns:{element}")
    port = _add(root, "portType", name=f"{service.name}Soap")
    for operation in service.operations:
        one = _add(port, "operation", name=operation.name)
        _add(one, "documentation", text=operation.words)
        _add(one, "input", message=f"tns:{operation.name}In")
        _add(one, "output", message=f"tns:{operation.name}Out")
    for prefix, namespace in _BINDINGS.items():
        _describe_binding(root, service, prefix, namespace)
    found = _add(root, "service", name=service.name)
    for prefix, namespace in _BINDINGS.items():
        name = _port(service, prefix)
        etree.SubElement(
            _add(found, "port", name=name, binding=f"tns:{name}"), f"{{{namespace}}}address", location=address
        )
    return write(root)


def _describe_elements(schema: etree._Element, operation: Operation) -> None:
    takes = [("UserName", "string", False), ("Password", "string", False)]
    takes += [(field.wire, field.type, field.required) for field in operation.takes]
    _element(schema, operation.name, takes)
    result = _element(schema, f"{operation.name}Response", [])
    inner = etree.SubElement(
        result, f"{{{_SCHEMA}}}element", name=f"{operation.name}Result", minOccurs="1", maxOccurs="1"
    )
    gives = [("Success", "boolean", True), *((field.wire, field.type, True) for field in operation.gives)]
    _sequence(etree.SubElement(inner, f"{{{_SCHEMA}}}complexType"), gives)


def _element(schema: etree._Element, name: str, fields: list[tuple[str, str, bool]]) -> etree._Element:
    element = etree.SubElement(schema, f"{{{_SCHEMA}}}element", name=name)
    return _sequence(etree.SubElement(element, f"{{{_SCHEMA}}}complexType"), fields)


def _sequence(parent: etree._Element, fields: list[tuple[str, str, bool]]) -> etree._Element:
    sequence = etree.SubElement(parent, f"{{{_SCHEMA}}}sequence")
    for name, kind, required in fields:
        etree.SubElement(
            sequence,
            f"{{{_SCHEMA}}}element",
            name=name,
            type=f"s:{kind}",
            minOccurs="1" if required else "0",
            maxOccurs="1",
        )
    return sequence


def _describe_binding(root: etree._Element, service: Service, prefix: str, namespace: str) -> None:
    binding = _add(root, "binding", name=_port(service, prefix), type=f"tns:{service.name}Soap")
    etree.SubElement(binding, f"{{{namespace}}}binding", transport=_HTTP, style="document")
    for operation in service.operations:
        one = _add(binding, "operation", name=operation.name)
        action = f"{NAMESPACE}/{operation.name}"
        etree.SubElement(one, f"{{{namespace}}}operation", soapAction=action, style="document")
        for way in ("input", "output"):
            etree.SubElement(_add(one, way), f"{{{namespace}}}body", use="literal")


def _port(service: Service, prefix: str) -> str:
    return f"{service.name}{prefix.title()}"


def _add(parent: etree._Element, tag: str, /, *, text: str | None = None, **attributes: str) -> etree._Element:
    element = etree.SubElement(parent, f"{{{_WSDL}}}{tag}", attributes)
    element.text = text
    return element
