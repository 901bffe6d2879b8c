"""How the API says no: one shape for every refusal, whoever refuses.

``{"error": {"code", "message", "field"}}``: ``code`` is for programs and does not change, ``message`` for people,
``field`` names the input that is wrong where one is. Where the input cannot be read ``faults`` lists all that is wrong.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404
from django.utils import timezone
from rest_framework import exceptions, status
from rest_framework.response import Response

from billing.errors import Conflict, DomainError
from billing.throttles import TooManyTries
from datapump.operations.printed_bills import BillUnavailable
from payments.gateways.base import Misconfigured
from payments.operations.instruments import ProcessorUnavailable
from payments.receipts import ReceiptUnavailable

logger = logging.getLogger(__name__)

NOT_FOUND = "There is nothing here that this key may see."

_WORD_BEGINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Unavailable(exceptions.APIException):
    """Nothing was done, through no fault of the caller's: the same call may be made again."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "unavailable"


class TooLarge(exceptions.APIException):
    """The body is larger than any that is taken."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body of the request is too large."
    default_code = "too_large"


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Answer whatever a view raised."""
    if (refusal := refusal_of(error)) is not None:
        return refusal
    view, request = context.get("view"), context.get("request")
    logger.error("An API call failed: %s", type(view).__name__, exc_info=error)
    got_request_exception.send(sender=type(view), request=getattr(request, "_request", request))
    return _answer(500, "internal", "Something went wrong on our side. Look whether it was done before you repeat it.")


def refusal_of(error: Exception) -> Response | None:
    """Give the answer to an error that is a refusal; nothing where it is a fault of ours."""
    match error:
        case TooManyTries():
            seconds = max(1, round((error.until - timezone.now()).total_seconds()))
            return _answer(429, code_of(error), str(error), headers={"Retry-After": str(seconds)})
        case ProcessorUnavailable() | BillUnavailable() | ReceiptUnavailable():
            return _answer(503, code_of(error), str(error))
        case DomainError():
            return _answer(409 if isinstance(error, Conflict) else 422, code_of(error), str(error), error.field)
        case Misconfigured():
            words = "This biller's payment route is not set up rightly. No money has been taken; tell the operator."
            return _answer(503, "route_misconfigured", words)
        case Http404() | exceptions.NotFound():
            return _answer(404, "not_found", NOT_FOUND)
        case PermissionDenied():
            return _answer(403, "forbidden", "This key may not do this.")
        case exceptions.ValidationError():
            return _invalid(error)
        case exceptions.APIException():
            return _answer_api(error)
        case RequestDataTooBig():
            return _answer_api(TooLarge())
        case SuspiciousOperation():
            return _answer(400, "bad_request", "This request cannot be read.")
    return None


def code_of(error: DomainError) -> str:
    """Give a refusal's code: ``amount_refused`` for ``AmountRefused``."""
    return _WORD_BEGINS.sub("_", type(error).__name__).lower()


def _answer_api(error: exceptions.APIException) -> Response:
    # The view sets it on the error where a key is missing or wrong.
    challenge = getattr(error, "auth_header", None)
    code = error.get_codes()
    message = str(error.default_detail if isinstance(error.detail, list | dict) else error.detail)
    return _answer(
        error.status_code,
        code if isinstance(code, str) else error.default_code,
        message,
        headers={"WWW-Authenticate": challenge} if challenge else None,
    )


def _invalid(error: exceptions.ValidationError) -> Response:
    faults = list(_faults(error.detail, ""))
    first = faults[0] if faults else {"code": "invalid", "message": str(error.default_detail), "field": None}
    response = _answer(422, str(first["code"]), str(first["message"]), first["field"])
    response.data["error"]["faults"] = faults
    return response


def _faults(detail: Any, path: str) -> Iterator[dict[str, str | None]]:
    match detail:
        case dict():
            for name, inner in detail.items():
                own = "" if name == "non_field_errors" else str(name)
                yield from _faults(inner, ".".join(filter(None, [path, own])))
        case list():
            for inner in detail:
                yield from _faults(inner, path)
        case _:
            yield {"code": getattr(detail, "code", "invalid"), "message": str(detail), "field": path or None}


def _answer(
    status_code: int, code: str, message: str, field: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    return Response({"error": {"code": code, "message": message, "field": field}}, status=status_code, headers=headers)
