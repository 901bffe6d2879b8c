"""Bills as print servers gave them, each tenant's apart."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0009_deposit_runs"),
        ("datapump", "0007_retired_secrets"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="PrintedBill",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("asked", models.CharField(max_length=64)),
                ("body", models.FileField(max_length=300, upload_to="printed-bills/")),
                ("size", models.PositiveIntegerField()),
                ("fetched_at", models.DateTimeField()),
                (
                    "biller",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="billing.biller",
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="billing.invoice",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["fetched_at"], name="printed_bill_by_age")],
                "constraints": [models.UniqueConstraint(fields=("biller", "invoice"), name="printed_bill_once")],
            },
        ),
        row_security("datapump_printedbill"),
    ]
