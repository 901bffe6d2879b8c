"""The id leaves the index of a customer's payments, of whom no two are made at one moment but by one run."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0007_lean_items"),
        ("payments", "0006_language_of_guests"),
    ]

    operations: ClassVar = [
        migrations.RemoveIndex(
            model_name="payment",
            name="payment_by_customer",
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["customer", "created_at"], name="payment_by_customer"),
        ),
    ]
