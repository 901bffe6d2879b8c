"""Who calls the API: a machine with a biller's key, which sees that biller and no other."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from billing import tenancy
from billing.actors import Actor
from billing.models import ApiToken, Biller, Scope
from billing.operations import api_tokens

OPENS_NOTHING = "This API key opens nothing: it is unknown, revoked, or over."

_KEY = re.compile(r"rp_[a-z0-9]{9}_[A-Za-z0-9_-]{43}")


class ScopeMissing(PermissionDenied):
    """The key is good, and was not made for this."""

    default_code = "scope_missing"

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"This API key may not do this: it lacks the scope “{scope}”.")
        # RFC 6750, 3.1; what answers takes it from here.
        self.auth_header = f'Bearer realm="Ratepayer", error="insufficient_scope", scope="{scope}"'


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that has shown its key: what ``request.user`` is in the API."""

    token: ApiToken
    actor: Actor

    is_authenticated = True
    is_active = True

    @property
    def biller(self) -> Biller:
        """The one biller for which the machine speaks."""
        return self.token.biller

    def needs(self, scope: Scope) -> None:
        """Let it go on where its key has the scope: every door that a machine comes through asks here.

        :raises ScopeMissing: it has not.
        """
        if scope not in self.token.scopes:
            raise ScopeMissing(scope)


def machine_of(key: str, address: str | None) -> Machine | None:
    """Give the machine that a key belongs to and put its biller in scope; nothing where the key opens nothing."""
    now = timezone.now()
    token = api_tokens.find(key=key, now=now) if _KEY.fullmatch(key) else None
    if token is None:
        return None
    tenancy.enter([token.biller_id])
    api_tokens.note_use(token=token, now=now)
    return Machine(token, Actor.api(token.name, address))


class BearerKey(BaseAuthentication):
    """``Authorization: Bearer rp_…``: puts the key's biller in scope for the rest of the request.

    A key that is unknown, revoked or over is answered alike.
    """

    def authenticate(self, request: Request) -> tuple[Machine, ApiToken] | None:
        """Give the machine that the key belongs to; nothing where there is no key at all.

        :raises AuthenticationFailed: the key opens nothing.
        """
        scheme, _, key = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        machine = machine_of(key.strip(), request.META.get("REMOTE_ADDR"))
        if machine is None:
            raise AuthenticationFailed(OPENS_NOTHING, code="bad_key")
        return machine, machine.token

    def authenticate_header(self, request: Request) -> str:
        """Say with what a caller may come back."""
        return 'Bearer realm="Ratepayer"'


class BearerKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # it registers itself
    """Describes the keys in the OpenAPI document."""

    target_class = BearerKey
    name = "key"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        """Give the scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "rp_…",
            "description": "A biller's API key, made in the biller portal under Settings, API keys.",
        }
