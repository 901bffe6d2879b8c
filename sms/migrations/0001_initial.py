"""The first tables of texting."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar = [
        ("billing", "0007_lean_items"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="SmsMode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.CharField(blank=True, max_length=16)),
                ("pending_number", models.CharField(blank=True, max_length=16)),
                ("pending_until", models.DateTimeField(blank=True, null=True)),
                ("registered", models.BooleanField(default=False)),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("consent_how", models.CharField(max_length=200)),
                ("consent_text", models.TextField()),
                ("consent_version", models.CharField(max_length=20)),
                ("consent_by", models.CharField(max_length=120)),
                (
                    "consent_requestor",
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
                ("consent_address", models.GenericIPAddressField(blank=True, null=True)),
                ("consented_at", models.DateTimeField()),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="sms_mode", to="billing.customer"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("registered", True)), fields=["biller", "number"], name="sms_mode_by_number"
                    ),
                    models.Index(
                        condition=models.Q(("pending_number", ""), _negated=True),
                        fields=["biller", "pending_number"],
                        name="sms_mode_by_pending",
                    ),
                    models.Index(
                        condition=models.Q(("pending_number", ""), _negated=True),
                        fields=["pending_until"],
                        name="sms_mode_to_end",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("registered", False), models.Q(("number", ""), _negated=True), _connector="OR"
                        ),
                        name="sms_mode_registered_has_number",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("pending_number", ""), ("pending_until__isnull", True)),
                            models.Q(models.Q(("pending_number", ""), _negated=True), ("pending_until__isnull", False)),
                            _connector="OR",
                        ),
                        name="sms_mode_pending_ends",
                    ),
                ],
            },
        ),
    ]
