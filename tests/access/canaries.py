"""Marks in every text of the other biller's rows, so that a single byte of them in an answer is seen.

Each text has a mark of its own, and ``Canaries`` remembers which, so that a leak is named by its table and column. Amounts
of the other biller are marks too, and so are the ids of its rows.
"""

from __future__ import annotations

import itertools
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from allauth.account.models import EmailAddress
from django.apps import apps
from django.db import models

from billing.actors import Requestor
from billing.models import AuditEntry, Biller, User
from billing.secrets import EncryptedTextField
from tests.cast import Cast, Town

_MARK = re.compile(rb"qz[0-9a-f]{4}zq", re.IGNORECASE)
_AMOUNT = re.compile(rb"66[,.]?613[.,]37")
_ADDRESS = "203.0.113.77"

# Texts that are no secret of a biller: its own pages show them to everybody, or they are words of a fixed list.
PUBLIC = {
    Biller: {"name", "slug", "accent", "logo", "phone", "email", "time_zone", "currency", "invoice_layout"},
}
WORDS = {"currency", "driver", "connector", "command", "transaction_type", "language", "tenders", "params", "body"}
# Rows that nobody can change: those of the other biller are made with marks.
_APPEND_ONLY = {"AuditEntry", "Posting", "Entry", "Seal"}


@dataclass(slots=True)
class Canaries:
    """What must not be seen, and where it stands."""

    places: dict[bytes, str] = field(default_factory=dict)
    ids: dict[bytes, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def make(self, place: str) -> str:
        """Make a mark for a place."""
        mark = f"qz{next(self._numbers):04x}zq"
        self.places[mark.encode()] = place
        return mark

    def found(self, answer: bytes, asked: bytes = b"") -> set[str]:
        """Name the places whose marks stand in an answer; what the caller itself has said does not count."""
        seen = {self.places.get(mark.lower(), "a mark") for mark in _MARK.findall(answer) if mark not in asked}
        if _AMOUNT.search(answer):
            seen.add("an amount")
        if _ADDRESS.encode() in answer:
            seen.add("an address")
        return seen | {place for one, place in self.ids.items() if one in answer and one not in asked}


def tenant_models() -> list[type[models.Model]]:
    """Give every model whose rows belong to a biller."""
    return [
        model
        for model in apps.get_models()
        if any(
            isinstance(one, models.ForeignKey) and one.related_model is Biller for one in model._meta.concrete_fields
        )
    ]


def plant(cast: Cast) -> Canaries:
    """Put a mark into every text of Harbor Light's rows and of its people."""
    canaries, harbor = Canaries(), cast.harbor.biller
    for model in tenant_models():
        mine = model._default_manager.filter(biller=harbor)
        for row in mine:
            _remember(canaries, row)
            if model.__name__ not in _APPEND_ONLY:
                _mark(canaries, row)
    _mark(canaries, harbor)
    AuditEntry.objects.create(
        biller=harbor,
        customer=cast.harbor.account.customer,
        event="datapump.skipped",
        requestor=Requestor.CSR,
        actor=canaries.make("billing_auditentry.actor"),
        address=_ADDRESS,
        subject=canaries.make("billing_auditentry.subject"),
        facts={"note": canaries.make("billing_auditentry.facts")},
    )
    for user in people_of(cast.harbor):
        mark = canaries.make(f"the e-mail address of {user.name}")
        user.name, user.email = canaries.make(f"the name {user.name}"), f"{mark}@payers.example"
        user.save(update_fields=["name", "email"])
        EmailAddress.objects.filter(user=user).update(email=user.email)
    return canaries


def people_of(town: Town) -> list[User]:
    """Give the people and payers of a biller."""
    return [town.dana, town.sam, town.kim, town.alex, town.pat, town.account.owner, town.neighbour.owner]


def _remember(canaries: Canaries, row: models.Model) -> None:
    if isinstance(row.pk, uuid.UUID):
        canaries.ids[str(row.pk).encode()] = f"the id of {row._meta.db_table}"


def _mark(canaries: Canaries, row: models.Model) -> None:
    model: Any = type(row)
    values: dict[str, Any] = {}
    for one in model._meta.concrete_fields:
        if one.choices or one.generated or one.name in WORDS or one.name in PUBLIC.get(model, set()):
            continue
        place = f"{model._meta.db_table}.{one.column}"
        match one:
            case EncryptedTextField() | models.SlugField():
                continue
            case models.EmailField():
                values[one.attname] = f"{canaries.make(place)}@harbor.example"
            case models.URLField():
                values[one.attname] = f"http://127.0.0.1:9/{canaries.make(place)}"
            case models.JSONField():
                kept = getattr(row, one.attname)
                if isinstance(kept, dict):
                    values[one.attname] = kept | {"note": canaries.make(place)}
            case models.GenericIPAddressField():
                values[one.attname] = _ADDRESS
            case models.CharField() if one.name == "descriptor":
                values[one.attname] = f"MFW*{canaries.make(place)}"
            case models.CharField() | models.TextField() if one.max_length is None or one.max_length >= 8:
                values[one.attname] = canaries.make(place)
    if values:
        model._default_manager.filter(pk=row.pk).update(**values)
