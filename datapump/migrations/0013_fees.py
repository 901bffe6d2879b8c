"""The records that tell the biller’s system of fees and of accounts set inactive."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("datapump", "0012_reversals"),
    ]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="record",
            name="type",
            field=models.PositiveSmallIntegerField(
                choices=[
                    (1, "Payment"),
                    (2, "Paperless"),
                    (3, "AutoPay"),
                    (4, "Scheduled payment"),
                    (5, "Reversal"),
                    (6, "Fee"),
                    (7, "Account inactive"),
                    (11, "Pay by text"),
                    (12, "Pending"),
                ]
            ),
        ),
    ]
