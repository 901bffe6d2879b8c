"""Charges that only the processor has, reports of what is unresolved; transmission logs are files now, and no rows."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from billing.row_security import row_security

_exchanges = row_security("payments_exchange")


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0019_reconciling"),
        ("payments", "0013_cloud_payments"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="UnresolvedReport",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("count", models.PositiveIntegerField()),
                ("total", models.DecimalField(decimal_places=2, default=Decimal("0.00"), max_digits=16)),
                ("cases", models.PositiveIntegerField(default=0)),
                ("rows", models.JSONField(default=list)),
                (
                    "made_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("mailed_at", models.DateTimeField(null=True)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("biller", "day"), name="unresolved_report_once_a_day")],
            },
        ),
        row_security("payments_unresolvedreport"),
        migrations.AddField(
            model_name="case",
            name="facts",
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="case",
            name="key",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
        migrations.AlterField(
            model_name="case",
            name="attempt",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="cases",
                to="payments.attempt",
            ),
        ),
        migrations.AlterField(
            model_name="case",
            name="customer",
            field=models.ForeignKey(
                db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, to="billing.customer"
            ),
        ),
        migrations.AlterField(
            model_name="case",
            name="kind",
            field=models.CharField(
                choices=[
                    ("unknown", "Unknown outcome"),
                    ("conflict", "Conflicting answer"),
                    ("unbooked", "Charge that our book does not have"),
                    ("missing", "Charge that the processor does not name"),
                ],
                max_length=8,
            ),
        ),
        migrations.AddConstraint(
            model_name="case",
            constraint=models.UniqueConstraint(
                condition=models.Q(("key", ""), _negated=True),
                fields=("biller", "key"),
                name="one_case_per_unbooked_charge",
            ),
        ),
        # The table's policy goes before it, so that it comes back with it.
        migrations.RunSQL(sql=_exchanges.reverse_sql, reverse_sql=_exchanges.sql),
        migrations.DeleteModel(name="Exchange"),
    ]
