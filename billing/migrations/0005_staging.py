"""Where invoice files are staged, who may go there, and what a load leaves behind about itself.

The tables themselves are made by each load for itself, unlogged and owned by the loader, because each biller's files have
columns of their own and loads must not wait for each other's ANALYZE. They hold files as they came, before anybody knows
whose customers they name: no row security would fit them, so that nobody but the loader may even see the schema.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

STAGING = """
CREATE SCHEMA staging;
REVOKE ALL ON SCHEMA staging FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA staging TO ratepayer_loader;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("billing", "0004_throttle")]

    operations: ClassVar = [
        migrations.RunSQL(STAGING, "DROP SCHEMA staging CASCADE"),
        migrations.AddField(
            "invoicefile",
            "left_out_count",
            models.PositiveIntegerField(
                default=0, db_default=0, help_text="Values that were left out while their invoices were loaded."
            ),
        ),
        migrations.AddField(
            "invoicefile",
            "claims",
            models.PositiveSmallIntegerField(
                default=0, db_default=0, editable=False, help_text="How many workers have taken it up so far."
            ),
        ),
        migrations.AddField("invoicefileerror", "left_out", models.BooleanField(default=False, db_default=False)),
    ]
