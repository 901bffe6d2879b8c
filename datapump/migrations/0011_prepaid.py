"""Whether somebody was told that little is left on a prepaid account."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0015_prepaid"), ("datapump", "0010_scheduled_payments")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="balance",
            name="low_at",
            field=models.DateTimeField(
                help_text="When a prepaid balance was first read under its threshold; empty once it is above again.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="balance",
            name="low_texted",
            field=models.BooleanField(
                db_default=False, default=False, help_text="The phone was told of it, or needs not."
            ),
        ),
        migrations.AddIndex(
            model_name="balance",
            index=models.Index(
                condition=models.Q(("prepaid", True)), fields=["biller", "answered_at"], name="balance_prepaid"
            ),
        ),
        migrations.AddIndex(
            model_name="balance",
            index=models.Index(
                condition=models.Q(("low_at__isnull", False), ("low_texted", False)),
                fields=["customer"],
                name="balance_to_text",
            ),
        ),
    ]
