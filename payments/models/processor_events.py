"""Events: what processors told unasked, each kept once by its own id."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Biller
from billing.models.tenants import TenantQuerySet
from payments.models.routes import Route


class ProcessorEvent(models.Model):
    """One event of a processor, whose signature was right; what it is about is looked up, so that nothing of it is kept.

    ``keys`` are the attempts that it names; ``reverses`` says that money may have moved back.
    """

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    route = models.ForeignKey(Route, on_delete=models.PROTECT, db_index=False)
    event_id = models.CharField(max_length=80)
    kind = models.CharField(max_length=80)
    keys = ArrayField(models.CharField(max_length=80), default=list)
    reverses = models.BooleanField(default=False)
    happened_at = models.DateTimeField()
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    applied_at = models.DateTimeField(null=True)

    objects = TenantQuerySet["ProcessorEvent"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "route", "event_id"], name="processor_event_once")]
        indexes = [
            models.Index(fields=["biller", "id"], condition=Q(applied_at__isnull=True), name="processor_event_waiting")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"
