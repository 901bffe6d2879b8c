"""Balances of the biller's own system, each tenant's apart, and how they are asked for."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0012_live_balances"),
        ("datapump", "0008_printed_bills"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="endpoint",
            name="booked_minutes",
            field=models.PositiveSmallIntegerField(
                db_default=15,
                default=15,
                help_text="How long after it was told of a payment the biller’s system may take to show it in a balance.",
                validators=[django.core.validators.MaxValueValidator(10080)],
            ),
        ),
        migrations.AddField(
            model_name="endpoint",
            name="known_hours",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="Where a balance cannot be read, one of the last so many hours is used for charging; 0: nothing is charged.",
                validators=[django.core.validators.MaxValueValidator(720)],
            ),
        ),
        migrations.AddField(
            model_name="endpoint",
            name="reuse_seconds",
            field=models.PositiveIntegerField(
                db_default=60,
                default=60,
                help_text="How long a balance that was read counts as fresh.",
                validators=[django.core.validators.MaxValueValidator(86400)],
            ),
        ),
        migrations.CreateModel(
            name="Balance",
            fields=[
                (
                    "customer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="live_balance",
                        serialize=False,
                        to="billing.customer",
                    ),
                ),
                ("asked_at", models.DateTimeField(null=True)),
                ("answered_at", models.DateTimeField(null=True)),
                (
                    "due",
                    models.DecimalField(
                        db_default=Decimal("0.00"), decimal_places=2, default=Decimal("0.00"), max_digits=14
                    ),
                ),
                (
                    "past_due",
                    models.DecimalField(
                        db_default=Decimal("0.00"), decimal_places=2, default=Decimal("0.00"), max_digits=14
                    ),
                ),
                ("prepaid", models.BooleanField(db_default=False, default=False)),
                ("remaining_days", models.DecimalField(decimal_places=2, max_digits=8, null=True)),
                ("due_on", models.DateField(null=True)),
                ("disconnect_on", models.DateField(null=True)),
                ("last_payment", models.DecimalField(decimal_places=2, max_digits=14, null=True)),
                ("last_paid_on", models.DateField(null=True)),
                (
                    "transaction_types",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60), db_default=[], default=list, size=None
                    ),
                ),
                ("failed_at", models.DateTimeField(null=True)),
                ("failure", models.CharField(blank=True, db_default="", default="", max_length=300)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
            ],
        ),
        row_security("datapump_balance"),
        migrations.RunSQL(
            "UPDATE datapump_endpoint SET timeout_seconds = 2 WHERE purpose = 'balances' AND timeout_seconds = 20",
            migrations.RunSQL.noop,
        ),
    ]
