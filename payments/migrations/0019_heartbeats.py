"""What each route's processor said when it was asked whether it answers."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("payments", "0018_descriptors")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="route",
            name="answered",
            field=models.BooleanField(
                editable=False, help_text="Whether it answered when it was last asked.", null=True
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="connection_since",
            field=models.DateTimeField(editable=False, help_text="Since when it has (not) been answering.", null=True),
        ),
        migrations.AddField(model_name="route", name="heard_at", field=models.DateTimeField(editable=False, null=True)),
        migrations.AddField(
            model_name="route", name="failed_at", field=models.DateTimeField(editable=False, null=True)
        ),
        migrations.AddField(
            model_name="route",
            name="failure",
            field=models.CharField(
                blank=True, editable=False, help_text="Why it did not answer, last.", max_length=200
            ),
        ),
    ]
