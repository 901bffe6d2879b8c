"""Payments know the kiosk where they were made."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("payments", "0010_groups")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="payment",
            name="kiosk",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="The kiosk's id, as its maker gave it (MSP-9).",
                max_length=40,
            ),
        ),
    ]
