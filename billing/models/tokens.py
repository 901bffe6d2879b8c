"""Machines that call the API, and the keys that make their repeated calls harmless."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from billing.models.billers import Biller
from billing.models.tenants import TenantQuerySet


class Scope(models.TextChoices):
    """What a key may do: reading is one, and each kind of change another."""

    READ = "read", "Read everything of the biller"
    PAYMENTS = "payments", "Take, schedule and record payments, open CloudPay, keep payment methods"
    REFUNDS = "refunds", "Give payments back, take fees back"
    ENROLMENTS = "enrolments", "Change AutoPay, paperless billing and pay by text"
    ACCOUNTS = "accounts", "Change customer records and blocks, send updates again"
    FILES = "files", "Hand in invoice files and adjustments"
    REGISTRATION = "registration", "Register users, change their addresses and passwords"


def every_scope() -> list[str]:
    """Give all scopes: what keys had before there were any."""
    return list(Scope.values)


class ApiToken(models.Model):
    """A biller's key to the API. Only a digest of it is kept: the key itself is shown once, when it is made."""

    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60)
    prefix = models.CharField(max_length=12, unique=True)
    digest = models.CharField(max_length=64)
    scopes = ArrayField(
        models.CharField(max_length=12, choices=Scope), default=every_scope, help_text="What the key may do."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=120)
    last_used_on = models.DateField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["ApiToken"].as_manager()

    def __str__(self) -> str:
        return self.name


class IdempotencyKey(models.Model):
    """A client's key for one write, the hash of its input and the answer it got: the same call again gets the same answer."""

    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, db_index=False)
    key = models.CharField(max_length=255)
    operation = models.CharField(max_length=60)
    input_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = TenantQuerySet["IdempotencyKey"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "key"], name="idempotency_key_once")]

    def __str__(self) -> str:
        return self.key
