"""The id leaves the indexes of records, and failures get one of their own kind."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0007_lean_items"),
        ("datapump", "0004_ascending_history"),
    ]

    operations: ClassVar = [
        migrations.RemoveIndex(
            model_name="record",
            name="record_live",
        ),
        migrations.RemoveIndex(
            model_name="record",
            name="record_failed",
        ),
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
            index=models.Index(fields=["biller", "created_at"], name="record_by_time"),
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(fields=["biller", "type", "state", "created_at"], name="record_by_type_and_state"),
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(fields=["biller", "customer", "created_at"], name="record_by_customer"),
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(
                condition=models.Q(("trouble", ""), _negated=True),
                fields=["biller", "trouble", "created_at"],
                name="record_by_trouble",
            ),
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(
                condition=models.Q(("state__in", ["waiting", "sending", "retrying"])),
                fields=["endpoint", "customer", "created_at"],
                name="record_live",
            ),
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(
                condition=models.Q(("state", "failed")),
                fields=["endpoint", "customer", "created_at"],
                name="record_failed",
            ),
        ),
    ]
