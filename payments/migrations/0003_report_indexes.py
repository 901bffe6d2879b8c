"""What reports and search read payments by: failures of a run, a guest's address, the posting's day."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies: ClassVar = [("payments", "0002_integrity")]

    operations: ClassVar = [
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["run_id"], condition=Q(state="failed"), name="payment_failed_by_run"),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["biller", "email"], condition=~Q(email=""), name="payment_by_email"),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=BrinIndex(fields=["posting_id"], pages_per_range=32, name="payment_by_posting"),
        ),
    ]
