"""Counters of tries at what guests and payers may only try so often."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0003_search_by_surname")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Throttle",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(max_length=64)),
                ("window", models.DateTimeField(help_text="When the window began.")),
                ("count", models.PositiveIntegerField(default=0)),
            ],
            options={
                "indexes": [models.Index(fields=["window"], name="throttle_by_window")],
                "constraints": [models.UniqueConstraint(fields=("digest", "window"), name="throttle_once_per_window")],
            },
        ),
    ]
