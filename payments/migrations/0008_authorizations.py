"""Authorizations: money that is held first and deposited later, each tenant's apart."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0009_deposit_runs"),
        ("payments", "0007_narrower_history"),
    ]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="payment",
            name="state",
            field=models.CharField(
                choices=[
                    ("processing", "Processing"),
                    ("authorized", "Authorized"),
                    ("posted", "Paid"),
                    ("failed", "Failed"),
                    ("reversed", "Reversed"),
                ],
                default="processing",
                max_length=10,
            ),
        ),
        migrations.CreateModel(
            name="Authorization",
            fields=[
                (
                    "payment",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="authorization",
                        serialize=False,
                        to="payments.payment",
                    ),
                ),
                ("authorized_on", models.DateField()),
                ("expires_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("expired", models.BooleanField(db_default=False, default=False)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.customer",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("ended_at__isnull", True)),
                        fields=["biller", "customer"],
                        name="authorization_live",
                    ),
                    models.Index(
                        condition=models.Q(("expired", True)),
                        fields=["biller", "authorized_on"],
                        name="authorization_expired",
                    ),
                ],
            },
        ),
        row_security("payments_authorization"),
    ]
