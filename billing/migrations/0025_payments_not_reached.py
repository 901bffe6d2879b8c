"""What of a part of a run no bank decided about, apart from what was declined."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0024_fees"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="chunk",
            name="unreached_count",
            field=models.PositiveIntegerField(
                db_default=0,
                default=0,
                help_text="Payments that no bank decided about: nobody was asked, or they were given up.",
            ),
        ),
        migrations.AddField(
            model_name="chunk",
            name="unreached_total",
            field=models.DecimalField(
                db_default=Decimal("0.00"), decimal_places=2, default=Decimal("0.00"), max_digits=16
            ),
        ),
    ]
