"""Where the database lives, the mark of a restore, and who wants to be told of unresolved charges."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0018_token_scopes"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Installation",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("server", models.CharField(max_length=120)),
                ("noticed_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name="biller",
            name="reconcile_since",
            field=models.DateTimeField(
                editable=False, help_text="From when on charges are to be compared with the processors'.", null=True
            ),
        ),
        migrations.AddField(
            model_name="biller",
            name="restored_at",
            field=models.DateTimeField(
                editable=False,
                help_text="When the database turned out to be restored. Nothing is charged until it is reconciled.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="membership",
            name="wants_alerts",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="Is told by e-mail of charges that stay unresolved, as administrator.",
            ),
        ),
    ]
