"""What the biller's own system blocks, and accounts that a run held because their balance was not known."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0011_remote_registrations"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="chunk",
            name="held_count",
            field=models.PositiveIntegerField(db_default=0, default=0, help_text="Accounts that were not charged."),
        ),
        migrations.AddField(
            model_name="chunk",
            name="held_for",
            field=models.CharField(blank=True, db_default="", default="", max_length=300),
        ),
        migrations.AddField(
            model_name="customer",
            name="cis_blocks_bank",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                verbose_name="bank account payments blocked by the biller’s system",
            ),
        ),
        migrations.AddField(
            model_name="customer",
            name="cis_blocks_card",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                verbose_name="card payments blocked by the biller’s system",
            ),
        ),
    ]
