"""Events of processors; codes of answers as long as processors write them."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0019_reconciling"),
        ("payments", "0014_reconciling"),
    ]

    operations: ClassVar = [
        migrations.AlterField(model_name="answercode", name="code", field=models.CharField(max_length=60)),
        migrations.CreateModel(
            name="ProcessorEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_id", models.CharField(max_length=80)),
                ("kind", models.CharField(max_length=80)),
                (
                    "keys",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=80), default=list, size=None
                    ),
                ),
                ("reverses", models.BooleanField(default=False)),
                ("happened_at", models.DateTimeField()),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("applied_at", models.DateTimeField(null=True)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "route",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="payments.route"),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("biller", "route", "event_id"), name="processor_event_once"),
                ],
                "indexes": [
                    models.Index(
                        condition=models.Q(("applied_at__isnull", True)),
                        fields=["biller", "id"],
                        name="processor_event_waiting",
                    ),
                ],
            },
        ),
        row_security("payments_processorevent"),
    ]
