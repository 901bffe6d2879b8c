"""Links: short addresses in texts, each of which pays one account's bill without a sign-in."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from billing.models import Biller, Customer
from billing.models.tenants import CustomerOwnedQuerySet


class PayLink(models.Model):
    """One link to pay what one account owed when it was made; it opens until ``expires_at``."""

    biller = models.ForeignKey(Biller, on_delete=models.PROTECT, db_index=False)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="pay_links")
    invoice_id = models.BigIntegerField(null=True, help_text="The newest bill when the link was made.")
    made_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    objects = CustomerOwnedQuerySet["PayLink"].as_manager()

    def __str__(self) -> str:
        return f"Link of {self.customer_id}"
