"""A biller's own settings: how its portals look, what payments it takes, and the switch that stops all charging."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import Field

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller

LOGO_LARGEST = 512 * 1024
# What a picture's file begins with. Drawings (SVG) may hold scripts and are not taken.
_PICTURES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpg"), (b"RIFF", "webp"))


class SettingRefused(DomainError):
    """A value is not allowed; the sentence says what to enter."""


class LogoRefused(DomainError):
    """The file is no picture that a logo can be."""

    default = "Choose a PNG, JPEG or WebP picture of at most 512 kB."


class AlreadySo(DomainError):
    """The switch stands so already."""


class NotReconciled(DomainError):
    """The database forgot charges that processors remember."""

    default = (
        "The database was restored from a backup. Compare its book with the processors’ first (manage.py reconcile):"
        " whoever was charged after the backup would be charged again."
    )


@dataclass(frozen=True, slots=True)
class Look:
    """How the portals look and whom payers may ask; ``accent`` is such as ``#0b5394``, ``phone`` E.164 or empty."""

    name: str
    accent: str
    phone: str
    email: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What payments the biller takes and when AutoPay collects; amounts in the biller's currency."""

    allow_partial_payments: bool
    allow_scheduled_payments: bool
    minimum_collected: Decimal
    collect_rule: str
    collect_days: int
    retry_days: Sequence[int]
    rebill_weekly: bool
    rebill_monthly: bool
    release_days: int
    guest_secret: str
    prepaid_least: Decimal
    prepaid_most: Decimal
    prepaid_threshold: Decimal | None
    return_hosts: Sequence[str]


@transaction.atomic(durable=True)
def change_look(
    *, biller: Biller, look: Look, actor: Actor, logo: bytes | None = None, remove_logo: bool = False
) -> list[str]:
    """Change the look and the contact; gives the names of what changed.

    ``logo`` is a picture file's contents.

    :raises SettingRefused: a value is not valid.
    :raises LogoRefused: the file is too large or no picture of a kind that is taken.
    """
    biller = Biller.objects.select_for_update().get(pk=biller.pk)
    changes = _apply(biller, {"name": look.name, "accent": look.accent, "phone": look.phone, "email": look.email})
    stored: list[str] = []
    if logo is not None:
        name = f"{biller.slug}-{hashlib.sha256(logo).hexdigest()[:16]}.{_kind(logo)}"
        # The old file stays: a page that somebody has open still asks for it.
        biller.logo.save(name, ContentFile(logo), save=False)
        stored = ["logo"]
    elif remove_logo and biller.logo:
        biller.logo = ""
        stored = ["logo"]
    if not changes and not stored:
        return []
    fields = [*changes, *stored]
    biller.save(update_fields=fields)
    audit.record(
        actor=actor,
        event="biller.look_changed",
        biller_id=biller.pk,
        subject=f"biller:{biller.pk}",
        facts={"fields": ", ".join(fields), "changes": changes},
    )
    return fields


@transaction.atomic(durable=True)
def change_rules(*, biller: Biller, rules: Rules, actor: Actor) -> list[str]:
    """Change the payment rules; gives the names of what changed. Bills that have a collection date keep it (PAY-12).

    :raises SettingRefused: a value is not valid.
    """
    biller = Biller.objects.select_for_update().get(pk=biller.pk)
    days, hosts = list(rules.retry_days), list(rules.return_hosts)
    if days != sorted(set(days)) or any(not 1 <= day <= 60 for day in days) or len(days) > 8:
        raise SettingRefused("Enter up to eight rising numbers of days from 1 to 60, such as 3, 5.", field="retry_days")
    if not 0 <= rules.collect_days <= 60:
        raise SettingRefused("Enter a number of days from 0 to 60.", field="collect_days")
    if rules.prepaid_most < rules.prepaid_least:
        raise SettingRefused("The most must be at least the least.", field="prepaid_most")
    changes = _apply(
        biller,
        {
            "allow_partial_payments": rules.allow_partial_payments,
            "allow_scheduled_payments": rules.allow_scheduled_payments,
            "minimum_collected": rules.minimum_collected,
            "collect_rule": rules.collect_rule,
            "collect_days": rules.collect_days,
            "retry_days": days,
            "rebill_weekly": rules.rebill_weekly,
            "rebill_monthly": rules.rebill_monthly,
            "release_days": rules.release_days,
            "guest_secret": rules.guest_secret,
            "prepaid_least": rules.prepaid_least,
            "prepaid_most": rules.prepaid_most,
            "prepaid_threshold": rules.prepaid_threshold,
            "return_hosts": hosts,
        },
    )
    if not changes:
        return []
    biller.save(update_fields=list(changes))
    audit.record(
        actor=actor,
        event="biller.rules_changed",
        biller_id=biller.pk,
        subject=f"biller:{biller.pk}",
        facts={
            "fields": ", ".join(f"{name} {old} → {new}" for name, (old, new) in changes.items()),
            "changes": changes,
        },
    )
    return list(changes)


@transaction.atomic(durable=True)
def stop_charging(*, biller: Biller, reason: str, actor: Actor) -> None:
    """Stop everything that charges: runs end after the chunk under way, no portal takes a payment.

    :raises SettingRefused: there is no reason.
    :raises AlreadySo: charging is stopped already.
    """
    reason = " ".join(reason.split())
    if not reason or len(reason) > 200:
        raise SettingRefused("Say why, in at most 200 characters.", field="reason")
    if not Biller.objects.filter(pk=biller.pk, charging_stopped=False).update(charging_stopped=True):
        raise AlreadySo("Charging is stopped already.")
    audit.record(
        actor=actor,
        event="biller.charging_stopped",
        biller_id=biller.pk,
        subject=f"biller:{biller.pk}",
        facts={"reason": reason},
    )


@transaction.atomic(durable=True)
def allow_charging(*, biller: Biller, actor: Actor) -> None:
    """Let charging go on.

    :raises AlreadySo: it is not stopped.
    :raises NotReconciled: the database was restored, and not reconciled since.
    """
    if Biller.objects.filter(pk=biller.pk, restored_at__isnull=False).exists():
        raise NotReconciled
    # Asked for in the change as well: a restore may be noticed at this moment.
    if not Biller.objects.filter(pk=biller.pk, charging_stopped=True, restored_at=None).update(charging_stopped=False):
        raise AlreadySo("Charging is not stopped.")
    audit.record(actor=actor, event="biller.charging_started", biller_id=biller.pk, subject=f"biller:{biller.pk}")


def _apply(biller: Biller, values: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Set what differs, check it, and give old and new as text."""
    changes: dict[str, tuple[str, str]] = {}
    for name, value in values.items():
        old = getattr(biller, name)
        if old == value:
            continue
        field = Biller._meta.get_field(name)
        assert isinstance(field, Field)
        try:
            field.clean(value, biller)
        except ValidationError as error:
            raise SettingRefused(" ".join(error.messages), field=name) from None
        setattr(biller, name, value)
        changes[name] = (_text(old), _text(value))
    return changes


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(str(one) for one in value) or "none"
    return str(value) or "none"


def _kind(contents: bytes) -> str:
    if len(contents) > LOGO_LARGEST:
        raise LogoRefused(field="logo")
    for begins, kind in _PICTURES:
        if contents.startswith(begins) and (kind != "webp" or contents[8:12] == b"WEBP"):
            return kind
    raise LogoRefused(field="logo")
