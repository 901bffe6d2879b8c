"""New records go to the end of each biller's part of the history's indexes."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0007_lean_items"),
        ("datapump", "0003_delivery_health"),
    ]

    operations: ClassVar = [
        migrations.RemoveIndex(
            model_name="record",
            name="record_by_time",
        ),
        migrations.RemoveIndex(
            model_name="record",
            name="record_by_type_and_state",
        ),
        migrations.RemoveIndex(
            model_name="record",
            name="record_by_customer",
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(fields=["biller", "created_at", "id"], name="record_by_time"),
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(fields=["biller", "type", "state", "created_at", "id"], name="record_by_type_and_state"),
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(fields=["biller", "customer", "created_at", "id"], name="record_by_customer"),
        ),
    ]
