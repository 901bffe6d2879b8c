"""Adjustments: credits and debits beside the bills, each tenant's apart."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0009_deposit_runs")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Adjustment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("balance", "Balance of the biller’s system"),
                            ("file", "File"),
                            ("api", "API"),
                            ("portal", "Portal"),
                        ],
                        max_length=7,
                    ),
                ),
                ("reference", models.CharField(max_length=80)),
                ("reason", models.CharField(max_length=200)),
                ("made_by", models.CharField(max_length=120)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="adjustments",
                        to="billing.customer",
                    ),
                ),
                (
                    "item",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="adjustment", to="billing.item"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("customer", "reference"), name="adjustment_once")],
            },
        ),
        row_security("billing_adjustment"),
    ]
