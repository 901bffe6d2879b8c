"""What was done about a text that nobody had understood."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("sms", "0005_warned_lines")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="text",
            name="review_note",
            field=models.CharField(blank=True, db_default="", help_text="What was done about it.", max_length=200),
        ),
    ]
