"""Money that moved with a balance, each tenant's apart."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0005_staging"), ("payments", "0003_report_indexes")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Carryover",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("posted", "A payment of it"),
                            ("pending", "A payment on its way"),
                            ("credit", "What was left of a payment"),
                        ],
                        max_length=7,
                    ),
                ),
                ("to_allocation_id", models.BigIntegerField(null=True)),
                ("credit_item_id", models.BigIntegerField(null=True)),
                ("amount", models.DecimalField(decimal_places=2, max_digits=14)),
                ("moved", models.DecimalField(decimal_places=2, max_digits=14)),
                (
                    "made_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("returned_at", models.DateTimeField(null=True)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "from_item",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.item",
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        help_text="The new bill that carries the balance.",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="carryovers",
                        to="billing.invoice",
                    ),
                ),
                (
                    "payment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="carryovers",
                        to="payments.payment",
                    ),
                ),
            ],
        ),
        row_security("payments_carryover"),
    ]
