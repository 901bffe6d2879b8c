"""Fees beside the bills, segments of customers, and where the bills due in some week are."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.indexes
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0023_pay_types"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="customer",
            name="segment",
            field=models.CharField(
                blank=True,
                db_default="",
                help_text="The biller's own word for a kind of customer, by which rules of fees tell them apart.",
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="entry",
            name="account",
            field=models.CharField(
                choices=[
                    ("receivable", "Receivable"),
                    ("billed", "Billed"),
                    ("clearing", "Clearing"),
                    ("suspense", "Suspense"),
                    ("fees", "Fees"),
                    ("adjustments", "Adjustments"),
                    ("losses", "Losses"),
                    ("charged_fees", "Charged fees"),
                ],
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="item",
            name="kind",
            field=models.CharField(
                choices=[
                    ("bill", "Bill"),
                    ("credit", "Credit"),
                    ("adjustment", "Adjustment"),
                    ("returned", "Returned payment"),
                    ("fee", "Fee"),
                ],
                default="bill",
                max_length=10,
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
                    ("fee", "Fee charged"),
                    ("fee_waived", "Fee taken back"),
                    ("inactive", "Account set inactive"),
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
            model_name="posting",
            name="kind",
            field=models.CharField(
                choices=[
                    ("invoices", "Invoices loaded"),
                    ("withdrawal", "Invoice file withdrawn"),
                    ("receipts", "Payments received"),
                    ("reversal", "Payments reversed"),
                    ("adjustment", "Adjustment"),
                    ("fees", "Fees charged"),
                ],
                max_length=12,
            ),
        ),
        migrations.AddIndex(
            model_name="item",
            index=django.contrib.postgres.indexes.BrinIndex(
                fields=["due_on"], name="item_by_due_day", pages_per_range=32
            ),
        ),
    ]
