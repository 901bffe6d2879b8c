"""API keys: made, shown once, found again by what a machine presents, revoked."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from billing import audit, tenancy
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import ApiToken, Biller, Scope

_PREFIX_LENGTH = 12
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # without those that are read as others
MOST = 50


class BadName(DomainError):
    """The key has no name, or one that another live key has."""


class BadScopes(DomainError):
    """The key would be allowed nothing, or something that there is not."""

    default = "Choose what the key may do."


class TooMany(DomainError):
    """The biller has as many keys as it may have."""

    default = f"A biller has at most {MOST} live API keys. Revoke one first."


class Ended(DomainError):
    """The key was revoked before, or its end lies in the past."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new API key; ``key`` is the whole of it, which is known now and never again."""

    token: ApiToken
    key: str


@transaction.atomic(durable=True)
def make(
    *,
    biller: Biller,
    name: str,
    actor: Actor,
    scopes: Collection[str] = tuple(Scope.values),
    expires_at: datetime.datetime | None = None,
) -> Made:
    """Make a key to the biller's API, which may do what ``scopes`` say; only a digest of it is kept.

    :raises BadName: the name is empty, too long, or a live key has it.
    :raises BadScopes: there are none, or one of them is none.
    :raises Ended: ``expires_at`` lies in the past.
    :raises TooMany: the biller has enough.
    """
    now = timezone.now()
    name = " ".join(name.split())
    # The biller's row keeps two makers from both counting the same.
    Biller.objects.select_for_update(no_key=True).get(pk=biller.pk)
    live = ApiToken.objects.filter(biller=biller, revoked_at__isnull=True)
    if not name or len(name) > 60:
        raise BadName("Enter a name of at most 60 characters, such as the system that will use the key.", field="name")
    if live.filter(name=name).exists():
        raise BadName(f"There is a key with the name “{name}”. Enter another name.", field="name")
    if not scopes or not set(scopes) <= set(Scope.values):
        raise BadScopes(field="scopes")
    if expires_at is not None and expires_at <= now:
        raise Ended("Enter a day in the future.", field="expires_on")
    if live.count() >= MOST:
        raise TooMany
    prefix = "rp_" + "".join(secrets.choice(_LETTERS) for _ in range(_PREFIX_LENGTH - 3))
    key = f"{prefix}_{secrets.token_urlsafe(32)}"
    token = ApiToken.objects.create(
        biller=biller,
        name=name,
        prefix=prefix,
        digest=digest(key),
        scopes=[scope for scope in Scope.values if scope in scopes],
        created_by=actor.label[:120],
        expires_at=expires_at,
    )
    audit.record(
        actor=actor,
        event="api_token.made",
        biller_id=biller.pk,
        subject=f"api_token:{token.pk}",
        facts={"name": name, "prefix": prefix, "scopes": ", ".join(token.scopes)},
    )
    return Made(token, key)


@transaction.atomic(durable=True)
def revoke(*, token: ApiToken, actor: Actor) -> None:
    """End a key at once.

    :raises Ended: it was revoked before.
    """
    token = ApiToken.objects.select_for_update().get(pk=token.pk)
    if token.revoked_at is not None:
        raise Ended("This key was revoked before.")
    token.revoked_at = timezone.now()
    token.save(update_fields=["revoked_at"])
    audit.record(
        actor=actor,
        event="api_token.revoked",
        biller_id=token.biller_id,
        subject=f"api_token:{token.pk}",
        facts={"name": token.name, "prefix": token.prefix},
    )


def find(*, key: str, now: datetime.datetime) -> ApiToken | None:
    """Give the live token that a machine's key belongs to, whichever biller's it is; nothing where there is none."""
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        token = ApiToken.objects.select_related("biller").filter(prefix=key[:_PREFIX_LENGTH]).first()
    # Compared also where there is no such token, so that the time tells nothing.
    known = token.digest if token else digest("")
    if not hmac.compare_digest(digest(key), known) or token is None:
        return None
    if token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
        return None
    return token


def note_use(*, token: ApiToken, now: datetime.datetime) -> None:
    """Keep the day on which a key was last used: one write a day, however many calls."""
    today = now.date()
    if token.last_used_on is None or token.last_used_on < today:
        ApiToken.objects.filter(pk=token.pk).update(last_used_on=today)


def digest(key: str) -> str:
    """Give what is kept of a key: it is long and random, so a plain hash cannot be guessed back."""
    return hashlib.sha256(key.encode()).hexdigest()
