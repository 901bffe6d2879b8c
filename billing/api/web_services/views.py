"""The addresses of the web services: ``…/CloudManagement.asmx`` for SOAP and the WSDL, below it an operation for forms."""

from __future__ import annotations

import base64
import binascii
import datetime
import logging
from typing import Any

from django.conf import settings
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, ValidationError

from billing import throttles
from billing.api import errors
from billing.api.authentication import OPENS_NOTHING, Machine, machine_of
from billing.api.errors import TooLarge
from billing.api.web_services import envelopes
from billing.api.web_services.descriptions import describe
from billing.api.web_services.envelopes import SOAP_11, SOAP_12, BadMessage, Message, Refusal
from billing.api.web_services.services import SERVICES, Operation, Service
from billing.throttles import Limit

logger = logging.getLogger(__name__)

_VERSIONS = {"text/xml": SOAP_11, "application/soap+xml": SOAP_12}
_FORM = "application/x-www-form-urlencoded"
_CREDENTIALS = ("UserName", "Password")
CALLS = Limit("web-service", 600, datetime.timedelta(minutes=1))
# Of keys that open nothing, from one address.
WRONG_KEYS = Limit("web-service-key", 30, datetime.timedelta(minutes=10))


# A machine carries no cookie of ours: its key is in the call.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def service(request: HttpRequest, service: str) -> HttpResponse:
    """Describe a service, or answer a call over SOAP."""
    found = _service(service)
    if request.method != "POST":
        address = f"{settings.PUBLIC_URL}{request.path}"
        return HttpResponse(describe(found, address=address), content_type="text/xml; charset=utf-8")
    version = _VERSIONS.get(request.content_type or "")
    if version is None:
        return HttpResponse(status=415)
    kind = "text/xml" if version == SOAP_11 else "application/soap+xml"
    try:
        message = envelopes.read_soap(_body(request, found), version=version, limit=found.largest)
        name, values = _act(request, found, message)
    except Exception as error:
        refusal, headers = _refusal_of(error, request, found)
        status = 500 if version == SOAP_11 or refusal.status >= 500 else 400
        body = envelopes.write_fault(refusal, version=version)
        return HttpResponse(body, status=status, content_type=f"{kind}; charset=utf-8", headers=headers)
    return HttpResponse(envelopes.write_soap(name, values, version=version), content_type=f"{kind}; charset=utf-8")


@csrf_exempt
@require_POST
def form(request: HttpRequest, service: str, operation: str) -> HttpResponse:
    """Answer a call by a form post."""
    found = _service(service)
    if found.operation(operation) is None:
        raise Http404("No such operation.")
    if request.content_type != _FORM:
        return HttpResponse(status=415)
    headers: dict[str, str] = {}
    try:
        message = envelopes.read_form(_body(request, found), operation=operation)
        name, values = _act(request, found, message)
        element, status = envelopes.write_result(name, values), 200
    except Exception as error:
        refusal, headers = _refusal_of(error, request, found)
        element, status = envelopes.write_error(refusal), refusal.status
    body = envelopes.write(element)
    return HttpResponse(body, status=status, content_type="text/xml; charset=utf-8", headers=headers)


def _service(name: str) -> Service:
    try:
        return SERVICES[name]
    except KeyError:
        raise Http404("No such service.") from None


def _body(request: HttpRequest, service: Service) -> bytes:
    body = request.read(service.largest + 1)
    if len(body) > service.largest:
        raise TooLarge
    return body


def _act(request: HttpRequest, service: Service, message: Message) -> tuple[str, dict[str, str]]:
    """Let the caller in and do what they ask; gives the operation's name and what it answers."""
    operation = service.operation(message.operation)
    if operation is None:
        raise BadMessage("This service has no such operation.")
    machine = _machine(request, message)
    machine.needs(operation.scope)
    throttles.count(tries=[(CALLS, str(machine.token.pk))], now=timezone.now())
    return operation.name, operation.act(machine, _given(operation, message, machine))


def _machine(request: HttpRequest, message: Message) -> Machine:
    """Give the machine whose key is in the header, or is the password of the call, with the BID as the user name.

    :raises NotAuthenticated: there is no key at all.
    :raises AuthenticationFailed: it opens nothing.
    :raises throttles.TooManyTries: too many that open nothing came from there.
    """
    header, address = request.META.get("HTTP_AUTHORIZATION", ""), request.META.get("REMOTE_ADDR") or ""
    user_name, key = (message.fields.get(name, "").strip() for name in _CREDENTIALS)
    if header:
        scheme, _, given = header.partition(" ")
        user_name, key = ("", given.strip()) if scheme.lower() == "bearer" else _basic(scheme, given)
    if not (header or user_name or key):
        raise NotAuthenticated
    machine = machine_of(key, address)
    if machine is not None and (not user_name or user_name == str(machine.biller.number)):
        return machine
    throttles.count(tries=[(WRONG_KEYS, address)], now=timezone.now())
    raise AuthenticationFailed(OPENS_NOTHING, code="bad_key")


def _basic(scheme: str, given: str) -> tuple[str, str]:
    if scheme.lower() != "basic":
        return "", ""
    try:
        user_name, _, key = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user_name, key


def _given(operation: Operation, message: Message, machine: Machine) -> dict[str, Any]:
    """Read the fields of a call by the operation's shape.

    :raises ValidationError: a value is missing or not possible, or nobody knows the field.
    """
    names = {field.wire: field.name for field in operation.takes}
    if unknown := sorted(set(message.fields) - set(names) - set(_CREDENTIALS)):
        raise ValidationError({unknown[0][:60]: ["There is no such field."]}, code="unknown")
    data = {names[wire]: value for wire, value in message.fields.items() if wire in names}
    form = operation.shape(data=data, context={"biller": machine.biller})
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)


def _refusal_of(error: Exception, request: HttpRequest, service: Service) -> tuple[Refusal, dict[str, str]]:
    """Give the refusal that an error is, its field named as it travels; one of ours is told to the log and nobody else."""
    answer = errors.refusal_of(error)
    if answer is None:
        logger.error("A web service failed: %s", request.path, exc_info=error)
        got_request_exception.send(sender=type(error), request=request)
        words = "Something went wrong on our side. Look whether it was done before you repeat it."
        return Refusal(500, "internal", words), {}
    said = answer.data["error"]
    wires = {field.name: field.wire for operation in service.operations for field in operation.takes}
    headers = {name: value for name, value in answer.headers.items() if name == "Retry-After"}
    return Refusal(
        answer.status_code, said["code"], said["message"], wires.get(said["field"], said["field"] or "")
    ), headers
