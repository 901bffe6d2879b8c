"""A list of failures is read from its index alone, whatever narrows it."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("datapump", "0005_narrower_history")]

    operations: ClassVar = [
        migrations.RemoveIndex(model_name="record", name="record_by_trouble"),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(
                condition=models.Q(("trouble", ""), _negated=True),
                fields=["biller", "trouble", "state", "created_at"],
                include=("id", "type", "requestor"),
                name="record_by_trouble",
            ),
        ),
    ]
