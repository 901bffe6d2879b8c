"""The ``Idempotency-Key`` header: required wherever a call moves money, so that a repeated call moves it once."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ParseError
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from billing import throttles
from billing.api import errors
from billing.api.views import ApiView
from billing.operations import idempotency_keys
from billing.throttles import Limit

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# Far above what a biller's own system sends, far below what trying out card numbers needs.
CALLS = Limit("api-money", 600, datetime.timedelta(minutes=1))

HEADER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$", "minLength": 1, "maxLength": 255},
    OpenApiParameter.HEADER,
    required=True,
    description="A key of your own for this call, such as a UUID. The same call again with the same key gets the same "
    "answer and does nothing; another call with it is refused.",
)
REPLAYED = OpenApiParameter(
    "Idempotent-Replayed",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    response=True,
    description="“true” where an earlier call with the key got this answer.",
)


def once(view: ApiView, *, operation: str, given: Mapping[str, Any], act: Callable[[str], Response]) -> Response:
    """Answer a call that must not be done twice; ``act`` gets the key.

    Refusals are answers too and are kept. What failed on our side is not: it may be repeated with the same key.

    :raises ParseError: there is no key, or it is none.
    """
    key = view.request.headers.get("Idempotency-Key", "")
    if not key:
        raise ParseError("Send an Idempotency-Key header with this call.", code="idempotency_key_missing")
    if not _KEY.fullmatch(key):
        words = "An Idempotency-Key is 1 to 255 printable ASCII characters without spaces."
        raise ParseError(words, code="idempotency_key_invalid")
    throttles.count(tries=[(CALLS, str(view.machine.token.pk))], now=timezone.now())

    def answer() -> idempotency_keys.Answer:
        try:
            response = act(key)
        except Exception as error:
            refusal = errors.refusal_of(error)
            if refusal is None or refusal.status_code >= 500:
                raise
            response = refusal
        # As plain JSON, which can be kept and given again.
        return idempotency_keys.Answer(response.status_code, json.loads(JSONRenderer().render(response.data)))

    found = idempotency_keys.answer_once(biller=view.biller, key=key, operation=operation, given=given, act=answer)
    return Response(
        found.body, status=found.status, headers={"Idempotent-Replayed": "true"} if found.replayed else None
    )
