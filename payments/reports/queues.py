"""Queues: how much waits for a person."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from billing.models import Biller
from payments.models import Case, CaseState
from payments.reports.unresolved_attempts import unresolved_attempts


@dataclass(frozen=True, slots=True)
class Queues:
    """How much waits for a person; each figure stops at the cap plus one."""

    cases: int
    unresolved: int


def queues(*, biller: Biller, now: datetime.datetime, cap: int) -> Queues:
    """Count open cases and attempts without a result, up to just over the cap."""
    return Queues(
        cases=_capped(Case.objects.filter(biller=biller, state=CaseState.OPEN), cap),
        unresolved=_capped(unresolved_attempts(biller=biller, now=now), cap),
    )


def _capped(rows: QuerySet[Any, Any], cap: int) -> int:
    return rows.order_by()[: cap + 1].count()
