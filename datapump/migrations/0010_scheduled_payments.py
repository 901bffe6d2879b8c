"""Whether a biller's system hears of scheduled payments, and the type of record that tells of them."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("datapump", "0009_live_balances"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="configuration",
            name="scheduled_payments",
            field=models.BooleanField(db_default=False, default=False, verbose_name="scheduled payments"),
        ),
        migrations.AlterField(
            model_name="record",
            name="type",
            field=models.PositiveSmallIntegerField(
                choices=[
                    (1, "Payment"),
                    (2, "Paperless"),
                    (3, "AutoPay"),
                    (4, "Scheduled payment"),
                    (11, "Pay by text"),
                    (12, "Pending"),
                ]
            ),
        ),
    ]
