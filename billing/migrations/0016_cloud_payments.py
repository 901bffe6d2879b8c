"""Where a CloudPay page may lead back to, and adjustments that a CloudPay call's balance makes."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
import django.core.validators
from django.db import migrations, models

RETURN_HOST = (
    r"^(?=[^:]{1,113}(:|$))[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[1-9][0-9]{0,4})?\Z"
)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0015_prepaid")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="biller",
            name="return_hosts",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    max_length=120,
                    validators=[
                        django.core.validators.RegexValidator(
                            RETURN_HOST, "Enter hosts such as cis.example or cis.example:8443."
                        )
                    ],
                ),
                blank=True,
                db_default=[],
                default=list,
                help_text="Hosts of the biller’s own that a CloudPay page may lead back to, such as cis.example. Empty: none.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="adjustment",
            name="source",
            field=models.CharField(
                choices=[
                    ("balance", "Balance of the biller’s system"),
                    ("file", "File"),
                    ("api", "API"),
                    ("portal", "Portal"),
                    ("cloud", "CloudPay"),
                ],
                max_length=7,
            ),
        ),
    ]
