"""Since when a bill is tried again, what the card networks keep from it, and when every open bill is tried."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0020_reversals")]

    operations: ClassVar = [
        migrations.AddField(model_name="item", name="declined_on", field=models.DateField(blank=True, null=True)),
        migrations.AddField(
            model_name="chunk",
            name="limited_count",
            field=models.PositiveIntegerField(
                db_default=0, default=0, help_text="Bills whose method was declined too often to be charged again yet."
            ),
        ),
        migrations.AddField(
            model_name="biller",
            name="rebill_weekly",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text=(
                    "On Mondays AutoPay tries every open bill of active accounts again, whatever its collection date."
                ),
            ),
        ),
        migrations.AddField(
            model_name="biller",
            name="rebill_monthly",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="On the first of a month AutoPay tries every open bill of inactive and closed accounts.",
            ),
        ),
        migrations.AlterField(
            model_name="biller",
            name="collect_rule",
            field=models.CharField(
                choices=[
                    ("finalized", "When the bill is made"),
                    ("due", "On its due date"),
                    ("before_due", "Days before its due date"),
                ],
                default="finalized",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="biller",
            name="retry_days",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.PositiveSmallIntegerField(),
                blank=True,
                default=list,
                help_text="Days after the first soft decline on which AutoPay tries again, such as 3,5. Empty: never.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="notice",
            name="kind",
            field=models.CharField(
                choices=[
                    ("bill_ready", "Bill ready"),
                    ("receipt", "Receipt"),
                    ("autopay_on", "AutoPay on"),
                    ("autopay_off", "AutoPay off"),
                    ("autopay_failed", "AutoPay failed"),
                    ("payment_failed", "Payment failed"),
                    ("refunded", "Payment given back"),
                    ("returned", "Payment returned"),
                    ("method_declined", "Payment method declined"),
                    ("scheduled", "Payment scheduled"),
                    ("rescheduled", "Scheduled payment changed"),
                    ("unscheduled", "Scheduled payment cancelled"),
                    ("scheduled_failed", "Scheduled payment failed"),
                    ("nothing_due", "Scheduled payment not needed"),
                    ("paperless_on", "Paperless on"),
                    ("paperless_off", "Paperless off"),
                    ("prepaid_low", "Prepaid balance low"),
                    ("email_changed", "E-mail address changed"),
                    ("password_changed", "Password changed"),
                ],
                max_length=16,
            ),
        ),
    ]
