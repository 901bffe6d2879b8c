"""What carriers hold against a line's texts."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("sms", "0004_programmes_and_talks"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="line",
            name="warned_of",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="What a carrier last held against our words or sender.",
                max_length=200,
            ),
        ),
    ]
