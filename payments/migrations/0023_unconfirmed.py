"""Payments that are posted before their bank has confirmed them, and for which routes."""

from __future__ import annotations

from typing import ClassVar

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0024_fees"),
        ("payments", "0022_verifications"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="route",
            name="confirmation_days",
            field=models.PositiveSmallIntegerField(
                db_default=0,
                default=0,
                help_text="Banking days for which payments from bank accounts, though posted at once, count as not confirmed, because the bank may return them. 0: they are confirmed when they are posted.",
                validators=[django.core.validators.MaxValueValidator(60)],
            ),
        ),
        migrations.CreateModel(
            name="UnconfirmedPayment",
            fields=[
                (
                    "payment",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="unconfirmed",
                        serialize=False,
                        to="payments.payment",
                    ),
                ),
                ("until", models.DateField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Not confirmed yet"),
                            ("confirmed", "Confirmed"),
                            ("failed", "Failed"),
                            ("given_back", "Given back"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.CharField(blank=True, max_length=120)),
                ("reason", models.CharField(blank=True, max_length=200)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.customer",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "waiting")), fields=["biller", "until"], name="unconfirmed_waiting"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at__isnull", True), ("state", "waiting")),
                            models.Q(models.Q(("state", "waiting"), _negated=True), ("ended_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="unconfirmed_has_ended_or_waits",
                    )
                ],
            },
        ),
        row_security("payments_unconfirmedpayment"),
    ]
