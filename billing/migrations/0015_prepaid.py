"""Prepaid accounts: what may be added at once, and under which balance somebody is told."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0014_sign_ons")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="biller",
            name="prepaid_least",
            field=models.DecimalField(
                db_default=Decimal("5.00"),
                decimal_places=2,
                default=Decimal("5.00"),
                help_text="The least that a payer may add to a prepaid account at once.",
                max_digits=14,
                validators=[django.core.validators.MinValueValidator(Decimal("0.01"))],
            ),
        ),
        migrations.AddField(
            model_name="biller",
            name="prepaid_most",
            field=models.DecimalField(
                db_default=Decimal("1000.00"),
                decimal_places=2,
                default=Decimal("1000.00"),
                help_text="The most that a payer may add to a prepaid account at once.",
                max_digits=14,
                validators=[django.core.validators.MinValueValidator(Decimal("0.01"))],
            ),
        ),
        migrations.AddField(
            model_name="biller",
            name="prepaid_threshold",
            field=models.DecimalField(
                blank=True,
                db_default=Decimal("20.00"),
                decimal_places=2,
                default=Decimal("20.00"),
                help_text=(
                    "A prepaid balance below it makes a notice, where the customer chose no other. Empty: no notice."
                ),
                max_digits=14,
                null=True,
                validators=[django.core.validators.MinValueValidator(Decimal("0.00"))],
            ),
        ),
        migrations.AddField(
            model_name="customer",
            name="prepaid_threshold",
            field=models.DecimalField(
                blank=True,
                decimal_places=2,
                help_text="A prepaid balance below it makes a notice; empty: the biller’s own.",
                max_digits=14,
                null=True,
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
                    ("prepaid_low", "Prepaid balance low"),
                ],
                max_length=16,
            ),
        ),
    ]
