"""What a key that gives payments back may do beside."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
from django.db import migrations, models

import billing.models.tokens


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0025_payments_not_reached")]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="apitoken",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("read", "Read everything of the biller"),
                        ("payments", "Take, schedule and record payments, open CloudPay, keep payment methods"),
                        ("refunds", "Give payments back, take fees back"),
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
    ]
