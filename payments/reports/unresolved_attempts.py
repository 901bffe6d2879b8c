"""Unresolved attempts: what has had no result for so long, by kind and age."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Count, Min, Q, Sum

from billing.models import Biller
from billing.models.tenants import TenantQuerySet
from billing.money import ZERO
from payments.gateways.base import Command
from payments.models import Attempt, AttemptState, Verification, VerificationState

# What is longer without an answer is no longer "under way" to whoever looks at it.
UNRESOLVED_AFTER = datetime.timedelta(minutes=5)


def unresolved_attempts(*, biller: Biller, now: datetime.datetime) -> TenantQuerySet[Attempt]:
    """Give the attempts without a result for five minutes or more: 777, 888, 999 and everything at 1000 or above."""
    return Attempt.objects.unfinished().filter(biller=biller, created_at__lt=now - UNRESOLVED_AFTER)


# How old the unresolved are, in bands: each ends where the next begins, the last one never.
AGES: tuple[tuple[str, datetime.timedelta | None], ...] = (
    ("Under an hour", datetime.timedelta(hours=1)),
    ("Under a day", datetime.timedelta(days=1)),
    ("Under 7 days", datetime.timedelta(days=7)),
    ("Older", None),
)
# Every kind of attempt in words, in the order in which summaries name them.
KINDS: dict[str, str] = {
    Command.VERIFY: "Verifications",
    Command.AUTHORIZE: "Authorizations",
    Command.CHARGE: "Charges",
    Command.DEPOSIT: "Deposits",
    Command.RELEASE: "Releases",
    Command.REFUND: "Refunds",
}


@dataclass(frozen=True, slots=True)
class Unresolved:
    """One kind of attempt without a result: open ones (999) in number, money and age bands; and answered ones (1000 and above)."""

    command: str
    open: int = 0
    open_total: Decimal = ZERO
    answered: int = 0
    answered_total: Decimal = ZERO
    oldest: datetime.datetime | None = None
    ages: tuple[int, ...] = (0,) * len(AGES)

    @property
    def kind(self) -> str:
        """The kind in words."""
        return KINDS.get(self.command, self.command)

    @property
    def bands(self) -> list[tuple[str, int]]:
        """How many are how old, in words."""
        return [(words, count) for (words, _until), count in zip(AGES, self.ages, strict=True)]

    @property
    def count(self) -> int:
        """Open and answered together."""
        return self.open + self.answered

    @property
    def total(self) -> Decimal:
        """The money of both."""
        return self.open_total + self.answered_total


def unresolved_by_command(
    *,
    biller: Biller,
    now: datetime.datetime,
    limit: int | None = None,
    older_than: datetime.timedelta = UNRESOLVED_AFTER,
) -> list[Unresolved]:
    """Count what has had no result for so long by kind, every kind named (PAY-9).

    With a ``limit`` only the oldest so many are counted.
    """
    chosen = Attempt.objects.unfinished().filter(biller=biller, created_at__lt=now - older_than)
    if limit is not None:
        chosen = Attempt.objects.filter(pk__in=chosen.order_by("created_at", "pk").values("pk")[:limit])
    open_, answered = Q(state=AttemptState.OPEN), Q(state=AttemptState.ANSWERED)
    bands: dict[str, Count] = {}
    since: datetime.timedelta | None = None
    for number, (_words, until) in enumerate(AGES):
        band = Q() if since is None else Q(created_at__lte=now - since)
        if until is not None:
            band &= Q(created_at__gt=now - until)
        bands[f"band_{number}"] = Count("pk", filter=band)
        since = until
    rows: dict[str, dict[str, Any]] = {
        row["command"]: {**row}
        for row in chosen.order_by()
        .values("command")
        .annotate(
            open=Count("pk", filter=open_),
            open_total=Sum("amount", filter=open_, default=ZERO),
            answered=Count("pk", filter=answered),
            answered_total=Sum("amount", filter=answered, default=ZERO),
            oldest=Min("created_at"),
            **bands,
        )
    }
    found = []
    rows[Command.VERIFY] = _open_verifications(biller, now - older_than, bands, limit)
    for command in (*KINDS, *(one for one in rows if one not in KINDS)):
        row = rows.get(command, {"command": command})
        ages = tuple(row.pop(name, 0) for name in bands)
        found.append(Unresolved(ages=ages, **row))
    return found


def _open_verifications(
    biller: Biller, before: datetime.datetime, bands: dict[str, Count], limit: int | None
) -> dict[str, Any]:
    """Count the verifications that were never answered, as one kind among the attempts: they have no payment."""
    chosen = Verification.objects.filter(biller=biller, state=VerificationState.OPEN, created_at__lt=before)
    if limit is not None:
        chosen = Verification.objects.filter(pk__in=chosen.order_by("created_at", "pk").values("pk")[:limit])
    sums = chosen.aggregate(open=Count("pk"), open_total=Sum("amount", default=ZERO), oldest=Min("created_at"), **bands)
    return {"command": Command.VERIFY.value, **sums}
