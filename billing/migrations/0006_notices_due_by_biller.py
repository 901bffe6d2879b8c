"""Senders of notices take a few of each biller, and find what a dead one held."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0005_staging")]

    operations: ClassVar = [
        migrations.RemoveIndex(model_name="noticedelivery", name="notice_due"),
        migrations.AddIndex(
            model_name="noticedelivery",
            index=models.Index(
                condition=models.Q(("state", "waiting")),
                fields=["biller", "due_at", "id"],
                name="notice_due_by_biller",
            ),
        ),
        migrations.AddIndex(
            model_name="noticedelivery",
            index=models.Index(
                condition=models.Q(("state", "sending")), fields=["claimed_at"], name="notice_being_sent"
            ),
        ),
    ]
