"""What the daily check of unresolved charges found."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models.functions import Now

from billing.models import Biller
from billing.models.tenants import TenantQuerySet


class UnresolvedReport(models.Model):
    """What was unresolved on one of a biller's days; there is none for a day on which nothing was (PAY-11).

    ``rows`` are the kinds that had some, as ``{"kind", "count", "total", "oldest"}``. ``mailed_at`` is when the biller's
    administrators were told.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    day = models.DateField()
    count = models.PositiveIntegerField()
    total = models.DecimalField(max_digits=16, decimal_places=2, default=Decimal("0.00"))
    cases = models.PositiveIntegerField(default=0)
    rows = models.JSONField(default=list)
    made_at = models.DateTimeField(db_default=Now(), editable=False)
    mailed_at = models.DateTimeField(null=True)

    objects = TenantQuerySet["UnresolvedReport"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "day"], name="unresolved_report_once_a_day")]

    def __str__(self) -> str:
        return f"{self.count} unresolved on {self.day}"
