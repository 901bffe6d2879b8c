"""An endpoint whose secret was changed keeps the one before for a while: both sign."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

import billing.secrets


class Migration(migrations.Migration):
    dependencies: ClassVar = [("datapump", "0006_troubles_by_state")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="endpoint",
            name="retired_password",
            field=billing.secrets.EncryptedTextField(blank=True, bound_to=("id",), db_default="", default=""),
        ),
        migrations.AddField(
            model_name="endpoint",
            name="retired_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
