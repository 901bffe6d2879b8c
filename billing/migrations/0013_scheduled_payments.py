"""Runs and notices of scheduled payments, and whether a biller takes any."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0012_live_balances"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="biller",
            name="allow_scheduled_payments",
            field=models.BooleanField(
                db_default=True, default=True, help_text="Payers and CSRs may have a payment made on a later day."
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
                    ("scheduled", "Payment scheduled"),
                    ("rescheduled", "Scheduled payment changed"),
                    ("unscheduled", "Scheduled payment cancelled"),
                    ("scheduled_failed", "Scheduled payment failed"),
                    ("nothing_due", "Scheduled payment not needed"),
                    ("paperless_on", "Paperless on"),
                    ("paperless_off", "Paperless off"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="run",
            name="kind",
            field=models.CharField(
                choices=[
                    ("collect", "Collect"),
                    ("deposit", "Deposit"),
                    ("scheduled", "Scheduled payments"),
                    ("recover", "Recover"),
                    ("resend", "Send again"),
                ],
                max_length=10,
            ),
        ),
    ]
