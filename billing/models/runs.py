"""Runs and their chunks: long work that any number of workers share and that survives any of them."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.billers import Biller
from billing.models.tenants import TenantQuerySet


class RunKind(models.TextChoices):
    """What a run does."""

    COLLECT = "collect", "Collect"
    DEPOSIT = "deposit", "Deposit"
    RELEASE = "release", "Release"
    SCHEDULED = "scheduled", "Scheduled payments"
    RECOVER = "recover", "Recover"
    RESEND = "resend", "Send again"


class RunState(models.TextChoices):
    """Where a run stands."""

    PLANNED = "planned", "Planned"
    WORKING = "working", "Working"
    DONE = "done", "Done"
    STOPPED = "stopped", "Stopped"
    FAILED = "failed", "Failed"


class Run(models.Model):
    """One piece of long work for one biller. ``key`` makes the same run startable only once; ``params`` are its options."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    kind = models.CharField(max_length=10, choices=RunKind)
    key = models.CharField(max_length=120)
    business_date = models.DateField()
    params = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=8, choices=RunState, default=RunState.PLANNED)
    dry_run = models.BooleanField(default=False)
    stop_requested = models.BooleanField(default=False)
    asked_by = models.CharField(max_length=120)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    failure = models.CharField(max_length=300, blank=True)

    objects = TenantQuerySet["Run"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "key"], name="run_once")]
        indexes = [
            models.Index(fields=["biller", "-created_at", "-id"], name="run_by_time"),
            models.Index(
                fields=["created_at"],
                condition=Q(state__in=["planned", "working"]),
                name="run_live",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.business_date}"


class ChunkState(models.TextChoices):
    """Where a chunk stands."""

    WAITING = "waiting", "Waiting"
    WORKING = "working", "Working"
    DONE = "done", "Done"


class Chunk(models.Model):
    """A part of a run: the customers from ``first`` to ``last``. Its counts are what the run's page adds up."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    number = models.PositiveIntegerField()
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    expected = models.PositiveIntegerField(default=0)
    expected_total = models.DecimalField(max_digits=16, decimal_places=2, default=Decimal("0.00"))
    state = models.CharField(max_length=8, choices=ChunkState, default=ChunkState.WAITING)
    claimed_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    sent_count = models.PositiveIntegerField(default=0, db_default=0)
    sent_total = models.DecimalField(
        max_digits=16,
        decimal_places=2,
        default=Decimal("0.00"),
        db_default=Decimal("0.00"),
    )
    passed_count = models.PositiveIntegerField(default=0, db_default=0)
    passed_total = models.DecimalField(
        max_digits=16,
        decimal_places=2,
        default=Decimal("0.00"),
        db_default=Decimal("0.00"),
    )
    held_count = models.PositiveIntegerField(default=0, db_default=0, help_text="Accounts that were not charged.")
    held_for = models.CharField(max_length=300, blank=True, default="", db_default="")
    limited_count = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Bills whose method was declined too often to be charged again yet."
    )
    declined_count = models.PositiveIntegerField(default=0, db_default=0)
    declined_total = models.DecimalField(
        max_digits=16,
        decimal_places=2,
        default=Decimal("0.00"),
        db_default=Decimal("0.00"),
    )
    unreached_count = models.PositiveIntegerField(
        default=0,
        db_default=0,
        help_text="Payments that no bank decided about: nobody was asked, or they were given up.",
    )
    unreached_total = models.DecimalField(
        max_digits=16,
        decimal_places=2,
        default=Decimal("0.00"),
        db_default=Decimal("0.00"),
    )

    objects = TenantQuerySet["Chunk"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="chunk_once")]

    def __str__(self) -> str:
        return f"Chunk {self.number}"
