"""Bills as the billers' print servers gave them, kept for a while."""

from __future__ import annotations

from django.db import models

from billing.models import Biller, Invoice
from billing.models.tenants import TenantQuerySet


class PrintedBill(models.Model):
    """The PDF of one bill that was fetched from its biller's print server.

    ``asked`` is the SHA-256 of the address it came from: other settings make another address, and what was kept is of no
    use any more.
    """

    biller = models.ForeignKey(Biller, on_delete=models.CASCADE, db_index=False, related_name="+")
    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, db_index=False, related_name="+")
    asked = models.CharField(max_length=64)
    body = models.FileField(upload_to="printed-bills/", max_length=300)
    size = models.PositiveIntegerField()
    fetched_at = models.DateTimeField()

    objects = TenantQuerySet["PrintedBill"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["biller", "invoice"], name="printed_bill_once")]
        indexes = [models.Index(fields=["fetched_at"], name="printed_bill_by_age")]

    def __str__(self) -> str:
        return f"PDF of invoice {self.invoice_id}"
