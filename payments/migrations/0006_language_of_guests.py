"""The language in which a guest paid, so that the receipt speaks it too."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("payments", "0005_checkpoints")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="payment",
            name="language",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="In which a guest paid; else the customer's own is used.",
                max_length=5,
            ),
        ),
    ]
