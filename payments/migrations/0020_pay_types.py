"""A payment's pay type, where that is not its tender's own."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0023_pay_types"),
        ("payments", "0019_heartbeats"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="payment",
            name="other_type",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                help_text="Its pay type, where that is not the tender's own.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="billing.paytype",
            ),
        ),
    ]
