"""Announcements: which invoice files' bills were told by text."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from billing.models import Biller, InvoiceFile
from billing.models.tenants import TenantQuerySet


class Announcement(models.Model):
    """The bills of one invoice file, told to the phones of their customers; ``through`` is the last bill that was."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    file = models.OneToOneField(InvoiceFile, on_delete=models.CASCADE, primary_key=True, related_name="announcement")
    through = models.BigIntegerField(default=0, db_default=0)
    texts = models.PositiveIntegerField(default=0, db_default=0)
    begun_at = models.DateTimeField(db_default=Now())
    done_at = models.DateTimeField(null=True)

    objects = TenantQuerySet["Announcement"].as_manager()

    def __str__(self) -> str:
        return f"Bills of file {self.file_id}"
