"""Single sign-on with billers' own portals: the keys that tickets are signed with, and the tickets that were used (MSP-30)."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from billing.models.billers import Biller
from billing.models.tenants import TenantQuerySet
from billing.secrets import EncryptedTextField


class SignOnKey(models.Model):
    """A key that a biller's own portal and Ratepayer share; the newest live one signs, every live one is believed."""

    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, related_name="sign_on_keys")
    name = models.CharField("key id", max_length=24, help_text="“kid” in the header of a ticket.")
    secret = EncryptedTextField(bound_to=("name",))
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=120)
    retired_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["SignOnKey"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "name"], name="sign_on_key_once")]

    def __str__(self) -> str:
        return self.name


class UsedTicket(models.Model):
    """A ticket that somebody has signed in with: it opens nothing more. Only a digest of its id is kept."""

    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, db_index=False)
    digest = models.CharField(max_length=64)
    expires_at = models.DateTimeField()

    objects = TenantQuerySet["UsedTicket"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "digest"], name="ticket_used_once")]
        indexes = [models.Index(fields=["expires_at"], name="used_ticket_by_end")]

    def __str__(self) -> str:
        return self.digest[:12]
