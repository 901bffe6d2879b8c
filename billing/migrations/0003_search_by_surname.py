"""The last word of a customer's name, kept and indexed, so that people are found by surname."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models
from django.db.models.functions import Lower


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0002_integrity")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="customer",
            name="search_surname",
            field=models.GeneratedField(
                db_persist=True,
                expression=models.Func(
                    Lower("name"),
                    models.Value(r"^.*\s(?=\S)"),
                    models.Value(""),
                    function="regexp_replace",
                    output_field=models.TextField(),
                ),
                output_field=models.CharField(max_length=120),
            ),
        ),
        migrations.AddIndex(
            model_name="customer",
            index=models.Index(fields=["biller", "search_surname", "id"], name="customer_by_surname"),
        ),
    ]
