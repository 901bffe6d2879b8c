"""Money that goes back: its item, its ledger account, what the payer is told, and who and which keys may give it."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
from django.db import migrations, models

import billing.models.tokens


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0019_reconciling"),
    ]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="apitoken",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("read", "Read everything of the biller"),
                        ("payments", "Take, schedule and record payments, open CloudPay, keep payment methods"),
                        ("refunds", "Give payments back"),
                        ("enrolments", "Change AutoPay, paperless billing and pay by text"),
                        ("accounts", "Change customer records and blocks, send updates again"),
                        ("files", "Hand in invoice files and adjustments"),
                        ("registration", "Register users, change their addresses and passwords"),
                    ],
                    max_length=12,
                ),
                default=billing.models.tokens.every_scope,
                help_text="What the key may do.",
                size=None,
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
                ],
                default="bill",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="membership",
            name="role",
            field=models.CharField(
                choices=[
                    ("administrator", "Biller administrator"),
                    ("supervisor", "CSR supervisor"),
                    ("csr", "CSR"),
                    ("csr_no_cards", "CSR without card entry"),
                    ("read_only", "Read only"),
                ],
                max_length=16,
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
