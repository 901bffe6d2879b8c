"""AutoPay groups: payments that one attempt moves together."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("payments", "0009_columns_that_change_together")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="attempt",
            name="covers",
            field=models.PositiveSmallIntegerField(db_default=1, default=1),
        ),
        migrations.AddField(
            model_name="payment",
            name="group_id",
            field=models.UUIDField(
                help_text="The first payment of those that one attempt moves together; empty where it goes alone.",
                null=True,
            ),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(
                condition=models.Q(("group_id__isnull", False)), fields=["group_id"], name="payment_by_group"
            ),
        ),
    ]
