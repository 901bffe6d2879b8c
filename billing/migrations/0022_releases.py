"""Release runs, after how many days they take an authorization, and the notice that a card has expired."""

from __future__ import annotations

from typing import ClassVar

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0021_collections"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="biller",
            name="release_days",
            field=models.PositiveSmallIntegerField(
                db_default=30,
                default=30,
                help_text="Authorizations older than so many days that nobody deposited are released; 0 releases none by itself.",
                validators=[django.core.validators.MaxValueValidator(365)],
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
                    ("method_expired", "Card expired"),
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
        migrations.AlterField(
            model_name="run",
            name="kind",
            field=models.CharField(
                choices=[
                    ("collect", "Collect"),
                    ("deposit", "Deposit"),
                    ("release", "Release"),
                    ("scheduled", "Scheduled payments"),
                    ("recover", "Recover"),
                    ("resend", "Send again"),
                ],
                max_length=10,
            ),
        ),
    ]
