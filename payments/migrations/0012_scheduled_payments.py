"""Scheduled payments, each tenant's apart."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.models.ids
from billing.row_security import reference, row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0013_scheduled_payments"),
        ("payments", "0011_kiosks"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="ScheduledPayment",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=billing.models.ids.UUID7(), editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("pay_on", models.DateField()),
                ("whole", models.BooleanField()),
                ("amount", models.DecimalField(decimal_places=2, max_digits=14)),
                ("currency", models.CharField(max_length=3)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("scheduled", "Scheduled"),
                            ("processing", "Processing"),
                            ("paid", "Paid"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                            ("nothing_due", "Nothing was due"),
                        ],
                        default="scheduled",
                        max_length=11,
                    ),
                ),
                ("tries", models.PositiveSmallIntegerField(db_default=0, default=0)),
                ("failure", models.CharField(blank=True, max_length=200)),
                ("consent_version", models.CharField(max_length=20)),
                ("consent_text", models.TextField()),
                (
                    "requestor",
                    models.PositiveSmallIntegerField(
                        choices=[
                            (1, "Csr"),
                            (2, "Payer"),
                            (3, "Inbound_Text"),
                            (4, "System"),
                            (5, "Api"),
                            (6, "Operator"),
                        ]
                    ),
                ),
                ("made_by", models.CharField(max_length=120)),
                ("user_id", models.BigIntegerField(null=True)),
                ("request_key", models.CharField(max_length=64)),
                ("request_hash", models.CharField(max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("changed_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.CharField(blank=True, max_length=120)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="scheduled_payments",
                        to="billing.customer",
                    ),
                ),
                (
                    "instrument",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="scheduled_payments",
                        to="payments.instrument",
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.invoice",
                    ),
                ),
                (
                    "payment",
                    models.OneToOneField(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="scheduled",
                        to="payments.payment",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("ended_at__isnull", True)),
                        fields=["biller", "pay_on"],
                        name="scheduled_live",
                    ),
                    models.Index(fields=["biller", "created_at", "id"], name="scheduled_by_time"),
                    models.Index(fields=["customer", "created_at"], name="scheduled_by_customer"),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("amount__gt", 0)), name="scheduled_is_positive"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at__isnull", True), ("state__in", ["scheduled", "processing"])),
                            models.Q(
                                ("ended_at__isnull", False),
                                ("state__in", ["paid", "failed", "cancelled", "nothing_due"]),
                            ),
                            _connector="OR",
                        ),
                        name="scheduled_ends_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ["processing", "paid"]), _negated=True),
                            ("payment__isnull", False),
                            _connector="OR",
                        ),
                        name="scheduled_has_payment",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at__isnull", True)),
                        fields=("customer",),
                        name="one_scheduled_payment",
                    ),
                    models.UniqueConstraint(fields=("biller", "request_key"), name="scheduled_request_once"),
                ],
            },
        ),
        row_security("payments_scheduledpayment"),
        reference("payments_scheduledpayment", "payment_id", "payments_payment"),
    ]
