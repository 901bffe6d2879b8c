"""What payers' statements say of a route's charges."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

import payments.models.routes


class Migration(migrations.Migration):
    dependencies: ClassVar = [("payments", "0017_declines")]

    operations: ClassVar = [
        migrations.AddField(
            model_name="route",
            name="descriptor",
            field=models.CharField(
                blank=True,
                help_text=(
                    "What payers' statements say: a name of 3, 7 or 12 characters, an asterisk, and what is paid for,"
                    " such as MFW*Water bill. Empty: what the processor keeps of the merchant."
                ),
                max_length=22,
                validators=[payments.models.routes.require_descriptor],
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="descriptor_phone",
            field=models.CharField(
                blank=True,
                help_text="The number to call, shown there in place of the city: 800-555-0123 or 800-CITYWTR.",
                max_length=13,
                validators=[payments.models.routes.require_phone],
            ),
        ),
        migrations.AddConstraint(
            model_name="route",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("descriptor", ""), ("descriptor_phone", "")),
                    ("descriptor__regex", r"^([^*]{3}|[^*]{7}|[^*]{12})\*[^*]+$"),
                    _connector="OR",
                ),
                name="route_descriptor_is_shown",
            ),
        ),
    ]
