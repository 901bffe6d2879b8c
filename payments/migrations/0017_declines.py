"""When a method was last declined, and how often the card networks allow that; the networks' usual limits to begin with."""

from __future__ import annotations

from typing import ClassVar

import django.core.validators
from django.db import migrations, models

# Declined charges in 24 hours and in 30 days. A returned debit may be presented twice more.
USUAL = """
INSERT INTO payments_retrylimit (brand, per_day, per_month)
VALUES ('visa', NULL, 20), ('mastercard', 10, 35), ('card', 10, 15), ('bank', NULL, 3);
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0021_collections"), ("payments", "0016_reversals")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="RetryLimit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "brand",
                    models.CharField(
                        help_text="A brand as the processor names it, such as visa; “card” is every other card, “bank” a bank account.",
                        max_length=30,
                        unique=True,
                    ),
                ),
                (
                    "per_day",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Declined charges in 24 hours. Empty: no limit.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "per_month",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        help_text="Declined charges in 30 days. Empty: no limit.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("per_day__isnull", True), ("per_day__gt", 0), _connector="OR"),
                            models.Q(("per_month__isnull", True), ("per_month__gt", 0), _connector="OR"),
                        ),
                        name="retry_limit_allows_one",
                    )
                ]
            },
        ),
        migrations.RunSQL(USUAL, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="instrument",
            name="declined_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="instrument",
            name="state",
            field=models.CharField(
                choices=[
                    ("active", "Active"),
                    ("one_time", "Used once"),
                    ("removed", "Removed"),
                    ("bad", "Declined for good"),
                ],
                default="active",
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="answercode",
            name="words",
            field=models.CharField(
                blank=True,
                help_text=(
                    "What a payer is told, and how pages call it, where the result is one of your own (18 and above)."
                ),
                max_length=120,
            ),
        ),
        migrations.AddIndex(
            model_name="instrument",
            index=models.Index(fields=["biller", "token"], name="instrument_by_token"),
        ),
    ]
