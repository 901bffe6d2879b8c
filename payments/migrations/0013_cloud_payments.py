"""Payments that billers' own systems opened (CloudPay)."""

from __future__ import annotations

import uuid
from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0016_cloud_payments"),
        ("payments", "0012_scheduled_payments"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="CloudPayment",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("who", models.CharField(choices=[("csr", "CSR"), ("payer", "Payer")], max_length=5)),
                (
                    "user_name",
                    models.CharField(
                        blank=True, help_text="Of the biller’s system: who opened it there.", max_length=80
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=2, max_digits=14)),
                ("balance_due", models.DecimalField(decimal_places=2, max_digits=14, null=True)),
                ("currency", models.CharField(max_length=3)),
                ("return_url", models.CharField(blank=True, max_length=500)),
                (
                    "email",
                    models.EmailField(
                        blank=True,
                        help_text="Where the receipt goes; empty for the customer’s own address.",
                        max_length=254,
                    ),
                ),
                (
                    "opened_by",
                    models.CharField(help_text="The machine, by the name of its key.", max_length=120),
                ),
                ("request_key", models.CharField(max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("expires_at", models.DateTimeField()),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="cloud_payments",
                        to="billing.customer",
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, to="billing.invoice"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="cloud_payment_is_positive"),
                    models.UniqueConstraint(fields=("biller", "request_key"), name="cloud_payment_once"),
                ],
            },
        ),
        row_security("payments_cloudpayment"),
    ]
