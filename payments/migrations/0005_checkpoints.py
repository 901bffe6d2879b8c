"""Unfinished attempts are marked by rows of their own, so that attempts and payments are updated in place."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

from billing.row_security import reference, row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0007_lean_items"),
        ("payments", "0004_carryovers"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                (
                    "payment",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="checkpoint",
                        serialize=False,
                        to="payments.payment",
                    ),
                ),
            ],
        ),
        migrations.RemoveConstraint(
            model_name="attempt",
            name="one_live_attempt_per_payment",
        ),
        migrations.RemoveConstraint(
            model_name="attempt",
            name="attempt_sequence_once",
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(fields=["payment"], name="attempt_by_payment"),
        ),
        migrations.RemoveIndex(
            model_name="attempt",
            name="attempt_open",
        ),
        migrations.RemoveIndex(
            model_name="attempt",
            name="attempt_answered",
        ),
        migrations.RemoveIndex(
            model_name="payment",
            name="payment_by_time",
        ),
        migrations.RemoveIndex(
            model_name="payment",
            name="payment_by_customer",
        ),
        migrations.RemoveIndex(
            model_name="payment",
            name="payment_processing",
        ),
        migrations.RemoveIndex(
            model_name="payment",
            name="payment_failed_by_run",
        ),
        migrations.AlterField(
            model_name="payment",
            name="customer",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="payments",
                to="billing.customer",
            ),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["biller", "created_at", "id"], name="payment_by_time"),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(fields=["customer", "created_at", "id"], name="payment_by_customer"),
        ),
        migrations.AddField(
            model_name="checkpoint",
            name="attempt",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="payments.attempt",
            ),
        ),
        migrations.AddField(
            model_name="checkpoint",
            name="biller",
            field=models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"
            ),
        ),
        row_security("payments_checkpoint"),
        reference("payments_checkpoint", "attempt_id", "payments_attempt"),
        reference("payments_checkpoint", "payment_id", "payments_payment"),
        reference("payments_payment", "customer_id", "billing_customer"),
        migrations.RunSQL(
            "ALTER TABLE payments_payment SET (fillfactor = 50); ALTER TABLE payments_attempt SET (fillfactor = 45);"
            "ALTER TABLE payments_allocation SET (fillfactor = 50)",
            "ALTER TABLE payments_payment SET (fillfactor = 75); ALTER TABLE payments_attempt SET (fillfactor = 75);"
            "ALTER TABLE payments_allocation SET (fillfactor = 75)",
        ),
    ]
