"""Lines, phones and texts; tenants apart."""

from __future__ import annotations

import uuid
from typing import ClassVar

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.models.ids
import billing.secrets
from billing.row_security import row_security

TENANT_TABLES = ["sms_line", "sms_phone", "sms_text"]


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0007_lean_items"),
        ("sms", "0002_integrity"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Line",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("guid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                (
                    "number",
                    models.CharField(
                        max_length=16,
                        validators=[django.core.validators.RegexValidator("^(\\+[1-9][0-9]{6,14}|[1-9][0-9]{2,7})$")],
                    ),
                ),
                ("driver", models.CharField(max_length=30)),
                ("options", models.JSONField(blank=True, default=dict, help_text="The driver's own settings.")),
                ("secret", billing.secrets.EncryptedTextField(blank=True, bound_to=("guid",))),
                ("active", models.BooleanField(default=True)),
                ("stopped_for", models.CharField(blank=True, max_length=200)),
                (
                    "biller",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="lines", to="billing.biller"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Phone",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.CharField(max_length=16)),
                ("opted_out_at", models.DateTimeField(blank=True, null=True)),
                (
                    "opted_out_by",
                    models.CharField(blank=True, help_text="The rule or the door that it came by.", max_length=120),
                ),
                ("suspended_for", models.CharField(blank=True, max_length=200)),
                ("failures", models.PositiveSmallIntegerField(db_default=0, default=0)),
                ("known_since", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "biller",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="texted_phones",
                        to="billing.biller",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Text",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=billing.models.ids.UUID7(), editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "direction",
                    models.CharField(choices=[("out", "To the phone"), ("in", "From the phone")], max_length=3),
                ),
                ("phone", models.CharField(max_length=16)),
                ("kind", models.CharField(help_text="What it is about.", max_length=30)),
                ("body", models.CharField(max_length=1600)),
                ("key", models.CharField(max_length=120)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("sending", "Sending"),
                            ("unknown", "Not known yet"),
                            ("accepted", "With the provider"),
                            ("delivered", "Delivered"),
                            ("failed", "Failed"),
                            ("received", "Received"),
                        ],
                        default="waiting",
                        max_length=9,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(db_default=0, default=0)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("claimed_at", models.DateTimeField(null=True)),
                ("sent_at", models.DateTimeField(null=True)),
                ("provider_id", models.CharField(blank=True, max_length=80)),
                ("status", models.CharField(blank=True, max_length=12)),
                ("reason", models.CharField(blank=True, max_length=20)),
                ("code", models.CharField(blank=True, max_length=40)),
                ("segments", models.PositiveSmallIntegerField(null=True)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="texts",
                        to="billing.customer",
                    ),
                ),
                (
                    "line",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="texts", to="sms.line"
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="line",
            constraint=models.UniqueConstraint(fields=("biller", "number"), name="line_number_once"),
        ),
        migrations.AddConstraint(
            model_name="phone",
            constraint=models.UniqueConstraint(fields=("biller", "number"), name="phone_once"),
        ),
        migrations.AddIndex(
            model_name="text",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["line", "due_at", "id"], name="text_due"
            ),
        ),
        migrations.AddIndex(
            model_name="text",
            index=models.Index(condition=models.Q(("state", "sending")), fields=["claimed_at"], name="text_being_sent"),
        ),
        migrations.AddIndex(
            model_name="text",
            index=models.Index(fields=["biller", "created_at", "id"], name="text_by_time"),
        ),
        migrations.AddIndex(
            model_name="text",
            index=models.Index(fields=["biller", "phone", "created_at"], name="text_by_phone"),
        ),
        migrations.AddIndex(
            model_name="text",
            index=models.Index(fields=["customer", "created_at"], name="text_by_customer"),
        ),
        migrations.AddIndex(
            model_name="text",
            index=models.Index(
                condition=models.Q(("provider_id", ""), _negated=True),
                fields=["line", "provider_id"],
                name="text_by_provider_id",
            ),
        ),
        migrations.AddConstraint(
            model_name="text",
            constraint=models.UniqueConstraint(fields=("biller", "key"), name="text_once"),
        ),
        *[row_security(table) for table in TENANT_TABLES],
    ]
