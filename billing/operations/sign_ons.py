"""Single sign-on: payers come from the biller's own portal and go there with a signed ticket, good once and for a minute.

A ticket is a JSON Web Token, signed with HMAC-SHA-256 by a key that the biller and Ratepayer share; no other algorithm is
read. It names who signed it, for whom, which user, and itself; ``docs/single-sign-on.md`` says it for those who write it.

Source: MSP-30
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing import audit, throttles
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Customer, PayerLink, RemoteRegistration, SignOnKey, UsedTicket, User
from billing.operations.remote_registrations import is_only_with
from billing.portal_settings import portal_of
from billing.throttles import Limit

ALGORITHM = "HS256"
LIFE = datetime.timedelta(seconds=60)
# How far the two clocks may be apart.
LEEWAY = datetime.timedelta(seconds=5)
MOST_KEYS = 2
_LONGEST = 2000
_KEPT = datetime.timedelta(days=1)
TRIES = Limit("ticket", 60, datetime.timedelta(minutes=10))


class TicketRefused(DomainError):
    """The ticket is none of this biller's."""

    default = _("This link cannot be used to sign in.")  # type: ignore[assignment]


class TicketOver(TicketRefused):
    """The ticket's time is over."""

    default = _("This link is too old: it works for one minute.")


class TicketUsed(TicketRefused):
    """Somebody has signed in with the ticket."""

    default = _("This link was used already: it works once.")


class OwnSignInNeeded(TicketRefused):
    """The payer has to do with others than this biller, or has a second factor: a ticket alone is not enough."""

    default = _("You have more than one biller here, or a second step at sign-in. Sign in here yourself.")


class NowhereToGo(DomainError):
    """The payer cannot go to the biller's own portal from here."""

    default = _("There is no way to that site from here.")  # type: ignore[assignment]


class TooManyKeys(DomainError):
    """The biller has as many keys as it may have."""

    default = f"A biller has at most {MOST_KEYS} keys at a time. Retire the old one first."


class Retired(DomainError):
    """The key was retired before."""

    default = "This key was retired before."


@dataclass(frozen=True, slots=True)
class Made:
    """A new key; ``secret`` is what the biller's portal signs with, shown this once."""

    key: SignOnKey
    secret: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who came with a ticket, and the account that it named where it is theirs."""

    user: User
    customer: Customer | None


@transaction.atomic(durable=True)
def make_key(*, biller: Biller, actor: Actor) -> Made:
    """Make a key; tickets are signed with it from now on, and those signed with the one before are believed still.

    :raises TooManyKeys: the biller has enough.
    """
    Biller.objects.select_for_update(no_key=True).get(pk=biller.pk)
    if _live(biller).count() >= MOST_KEYS:
        raise TooManyKeys
    secret = secrets.token_urlsafe(48)
    key = SignOnKey.objects.create(
        biller=biller, name=f"sso-{secrets.token_hex(6)}", secret=secret, created_by=actor.label[:120]
    )
    audit.record(
        actor=actor,
        event="sign_on_key.made",
        biller_id=biller.pk,
        subject=f"sign_on_key:{key.pk}",
        facts={"name": key.name},
    )
    return Made(key, secret)


@transaction.atomic(durable=True)
def retire_key(*, key: SignOnKey, actor: Actor) -> None:
    """Believe no ticket that is signed with a key any more.

    :raises Retired: it was retired before.
    """
    held = SignOnKey.objects.select_for_update().get(pk=key.pk)
    if held.retired_at is not None:
        raise Retired
    held.retired_at = timezone.now()
    held.save(update_fields=["retired_at"])
    audit.record(
        actor=actor,
        event="sign_on_key.retired",
        biller_id=held.biller_id,
        subject=f"sign_on_key:{held.pk}",
        facts={"name": held.name},
    )


def arrive(*, biller: Biller, ticket: str, actor: Actor, now: datetime.datetime | None = None) -> Arrival:
    """Take a ticket from the biller's own portal; gives who it is, once.

    :raises TicketRefused: it is none of this biller's, or nobody is registered under its user name.
    :raises TicketOver: its minute is over.
    :raises TicketUsed: somebody has signed in with it.
    :raises OwnSignInNeeded: the user may not sign in by ticket.
    :raises throttles.TooManyTries: too many came from there.
    """
    now = now or timezone.now()
    throttles.count(tries=[(TRIES, actor.address or "")], now=now)
    claims = _read(biller, ticket, now)
    with transaction.atomic(durable=True):
        held = (
            RemoteRegistration.objects.select_related("user")
            .filter(biller=biller, search_name=claims["sub"].strip().lower(), user__is_active=True)
            .first()
        )
        if held is None:
            raise TicketRefused
        if not is_only_with(biller, held.user) or is_mfa_enabled(held.user):
            raise OwnSignInNeeded
        ends = datetime.datetime.fromtimestamp(claims["exp"], datetime.UTC)
        digest = hashlib.sha256(claims["jti"].encode()).hexdigest()
        _used, new = UsedTicket.objects.get_or_create(biller=biller, digest=digest, defaults={"expires_at": ends})
        if not new:
            raise TicketUsed
        link = PayerLink.objects.select_related("customer").filter(
            biller=biller, user=held.user, customer__number=claims.get("account", "")
        )
        audit.record(
            actor=Actor.payer(held.user, address=actor.address),
            event="payer.arrived",
            biller_id=biller.pk,
            subject=f"user:{held.user_id}",
            facts={"user_name": held.user_name},
        )
        named = link.first()
        return Arrival(held.user, named.customer if named else None)


def leave(*, biller: Biller, user: User, now: datetime.datetime | None = None) -> str:
    """Give the address of the biller's own portal with a ticket that signs the payer in there; nothing is kept of it.

    :raises NowhereToGo: the biller has no address or no key, or has not registered the payer.
    """
    now = now or timezone.now()
    held = RemoteRegistration.objects.filter(biller=biller, user=user).first()
    key = _live(biller).order_by("-created_at", "-pk").first()
    address = portal_of(biller)
    if held is None or key is None or not address:
        raise NowhereToGo
    claims = {
        "iss": settings.PUBLIC_URL,
        "aud": str(biller.guid),
        "sub": held.user_name,
        "jti": str(uuid.uuid4()),
        "iat": int(now.timestamp()),
        "exp": int((now + LIFE).timestamp()),
    }
    ticket = jwt.encode(claims, key.secret, algorithm=ALGORITHM, headers={"kid": key.name})
    return f"{address}{'&' if '?' in address else '?'}ticket={ticket}"


def portals_of(user: User) -> list[Biller]:
    """Give the billers in scope to whose own portal the user can go from here."""
    ids = RemoteRegistration.objects.filter(user=user).values("biller_id")
    keyed = Biller.objects.filter(pk__in=ids, sign_on_keys__retired_at=None, sign_on_keys__isnull=False)
    return [biller for biller in keyed.distinct().order_by("name") if portal_of(biller)]


def forget(*, now: datetime.datetime) -> int:
    """Remove tickets of billers in scope that are long over; gives how many."""
    removed, _rows = UsedTicket.objects.filter(expires_at__lt=now - _KEPT).delete()
    return removed


def _read(biller: Biller, ticket: str, now: datetime.datetime) -> dict[str, Any]:
    """Check a ticket's signature and what it says of itself."""
    if len(ticket) > _LONGEST:
        raise TicketRefused
    try:
        name = jwt.get_unverified_header(ticket).get("kid")
        key = _live(biller).filter(name=name).first() if isinstance(name, str) else None
        if key is None:
            raise TicketRefused
        claims = jwt.decode(
            ticket,
            key.secret,
            algorithms=[ALGORITHM],
            audience=settings.PUBLIC_URL,
            issuer=str(biller.guid),
            # Times are compared below, by the clock that the caller gave.
            options={
                "require": ["iss", "aud", "sub", "jti", "iat", "exp"],
                "verify_exp": False, "verify_iat": False, "verify_nbf": False,
            },
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError):
        raise TicketRefused from None
    begins, ends = claims["iat"], claims["exp"]
    texts = [claims["sub"], claims["jti"], claims.get("account", "")]
    if not all(isinstance(one, int) and 0 < one < 1 << 40 for one in (begins, ends)) or "nbf" in claims:
        raise TicketRefused
    if not all(isinstance(one, str) and len(one) <= 200 and one.isprintable() for one in texts) or len(texts[1]) < 16:
        raise TicketRefused
    seconds, leeway = now.timestamp(), LEEWAY.total_seconds()
    if ends - begins > LIFE.total_seconds() or begins > seconds + leeway:
        raise TicketRefused
    if seconds >= ends + leeway:
        raise TicketOver
    return dict(claims)


def _live(biller: Biller) -> QuerySet[SignOnKey]:
    return SignOnKey.objects.filter(biller=biller, retired_at=None)
