"""Machines that call the API in tests: a client with the key of a biller."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpResponse
from django.test import Client

from billing.actors import Actor
from billing.models import ApiToken, Biller
from billing.operations import api_tokens

OPERATOR = Actor.system("tests")


class Machine:
    """A client that shows a biller's key with every call."""

    def __init__(self, biller: Biller, name: str = "CIS") -> None:
        made = api_tokens.make(biller=biller, name=name, actor=OPERATOR)
        self.biller, self.key = biller, made.key
        self.token: ApiToken = made.token
        self._client = Client(headers={"Authorization": f"Bearer {made.key}"})

    def get(self, path: str, **query: Any) -> HttpResponse:
        """Ask for something."""
        return self._client.get(f"/api/v1/{path}", query)  # type: ignore[return-value]  # the test client's own response

    def send(self, verb: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """Send JSON; ``idempotency_key="k"`` is the header Idempotency-Key."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        return self._client.generic(  # type: ignore[return-value]  # the test client's own response
            verb,
            f"/api/v1/{path}",
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers=named,
        )

    def upload(self, name: str, body: bytes) -> HttpResponse:
        """Hand in an invoice file."""
        from django.core.files.uploadedfile import SimpleUploadedFile

        return self._client.post("/api/v1/invoice-files/", {"file": SimpleUploadedFile(name, body)})  # type: ignore[return-value]
