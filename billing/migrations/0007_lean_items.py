"""Paying an item touches no index, and its page has room for the paid one beside the open one."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

from billing.row_security import reference


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0006_notices_due_by_biller"),
    ]

    operations: ClassVar = [
        migrations.RemoveIndex(
            model_name="item",
            name="item_open_by_customer",
        ),
        migrations.RemoveIndex(
            model_name="item",
            name="item_to_collect",
        ),
        migrations.AlterField(
            model_name="notice",
            name="customer",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="notices",
                to="billing.customer",
            ),
        ),
        migrations.AddIndex(
            model_name="item",
            index=models.Index(fields=["customer", "id"], name="item_by_customer"),
        ),
        migrations.AddIndex(
            model_name="item",
            index=models.Index(
                condition=models.Q(("collect_on__isnull", False)),
                fields=["biller", "collect_on", "customer"],
                name="item_to_collect",
            ),
        ),
        reference("billing_notice", "customer_id", "billing_customer"),
        migrations.RunSQL(
            "ALTER TABLE billing_item SET (fillfactor = 50); ALTER TABLE billing_customer SET (fillfactor = 50)",
            "ALTER TABLE billing_item SET (fillfactor = 80); ALTER TABLE billing_customer SET (fillfactor = 85)",
        ),
    ]
