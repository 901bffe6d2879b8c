"""Deposit runs, and the notice that a payment failed after it was authorized."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0008_fees_account")]

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
                    ("recover", "Recover"),
                    ("resend", "Send again"),
                ],
                max_length=10,
            ),
        ),
    ]
