"""Keys and used tickets of single sign-on with billers' own portals."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.secrets
from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0013_scheduled_payments")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="SignOnKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "name",
                    models.CharField(
                        help_text="“kid” in the header of a ticket.", max_length=24, verbose_name="key id"
                    ),
                ),
                ("secret", billing.secrets.EncryptedTextField(bound_to=("name",))),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("created_by", models.CharField(max_length=120)),
                ("retired_at", models.DateTimeField(blank=True, null=True)),
                (
                    "biller",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="sign_on_keys", to="billing.biller"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("biller", "name"), name="sign_on_key_once")],
            },
        ),
        migrations.CreateModel(
            name="UsedTicket",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(max_length=64)),
                ("expires_at", models.DateTimeField()),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, to="billing.biller"),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("biller", "digest"), name="ticket_used_once")],
                "indexes": [models.Index(fields=["expires_at"], name="used_ticket_by_end")],
            },
        ),
        row_security("billing_signonkey"),
        row_security("billing_usedticket"),
    ]
