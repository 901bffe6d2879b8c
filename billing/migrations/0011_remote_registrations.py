"""Who has been registered by a biller's own portal."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models

from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0010_adjustments")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="RemoteRegistration",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_name", models.CharField(max_length=100)),
                (
                    "search_name",
                    models.GeneratedField(
                        db_persist=True,
                        expression=django.db.models.functions.text.Lower("user_name"),
                        output_field=models.CharField(max_length=100),
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("biller", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="billing.biller")),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="registrations",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("biller", "search_name"), name="remote_user_name_once_in_any_case"),
                    models.UniqueConstraint(fields=("biller", "user"), name="remote_registration_once"),
                ],
            },
        ),
        row_security("billing_remoteregistration"),
    ]
