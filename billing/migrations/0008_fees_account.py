"""Convenience fees have a ledger account of their own."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0007_lean_items")]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="entry",
            name="account",
            field=models.CharField(
                choices=[
                    ("receivable", "Receivable"),
                    ("billed", "Billed"),
                    ("clearing", "Clearing"),
                    ("suspense", "Suspense"),
                    ("fees", "Fees"),
                    ("adjustments", "Adjustments"),
                ],
                max_length=12,
            ),
        ),
    ]
