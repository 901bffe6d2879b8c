"""Machines that call the API in tests: a client with the key of a biller."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from billing.actors import Actor
from billing.models import ApiToken, Biller, Scope
from billing.operations import api_tokens

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

OPERATOR = Actor.system("tests")


class Machine:
    """A client that shows a biller's key with every call."""

    def __init__(self, biller: Biller, name: str = "CIS", scopes: Collection[str] = tuple(Scope.values)) -> None:
        made = api_tokens.make(biller=biller, name=name, scopes=scopes, actor=OPERATOR)
        self.biller, self.key = biller, made.key
        self.token: ApiToken = made.token
        self._client = Client(headers={"Authorization": f"Bearer {made.key}"})

    def get(self, path: str, **query: Any) -> Answer:
        """Ask for something."""
        return self._client.get(f"/api/v1/{path}", query)

    def send(self, verb: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send JSON; ``idempotency_key="k"`` is the header Idempotency-Key."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return self._client.generic(
            verb,
            f"/api/v1/{path}",
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers=named,
        )

    def upload(self, name: str, body: bytes) -> Answer:
        """Hand in an invoice file."""
        return self._client.post("/api/v1/invoice-files/", {"file": SimpleUploadedFile(name, body)})
