"""Notices of an e-mail address or password that the biller changed."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0016_cloud_payments")]

    operations: ClassVar = [
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
                    ("prepaid_low", "Prepaid balance low"),
                    ("email_changed", "E-mail address changed"),
                    ("password_changed", "Password changed"),
                ],
                max_length=16,
            ),
        ),
    ]
