"""Fees of a biller by time, as the API lists them."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("payments", "0023_unconfirmed")]

    operations: ClassVar = [
        migrations.AddIndex(
            model_name="fee",
            index=models.Index(fields=["biller", "-charged_at", "-id"], name="fee_by_time"),
        ),
    ]
