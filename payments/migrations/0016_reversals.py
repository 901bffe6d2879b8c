"""Reversals: money of payments that goes back, each tenant’s apart."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.models.ids
from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0020_reversals"),
        ("payments", "0015_processor_events"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Reversal",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=billing.models.ids.UUID7(), editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("void", "Voided"),
                            ("refund", "Refunded"),
                            ("return", "Returned by the bank"),
                            ("chargeback", "Charged back"),
                            ("won", "Chargeback won"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("processing", "Processing"), ("done", "Done"), ("failed", "Failed")],
                        default="processing",
                        max_length=10,
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=2, max_digits=14)),
                ("fee", models.DecimalField(decimal_places=2, default=Decimal("0.00"), max_digits=14)),
                ("loss", models.DecimalField(decimal_places=2, default=Decimal("0.00"), max_digits=14)),
                ("charged", models.DecimalField(decimal_places=2, default=Decimal("0.00"), max_digits=14)),
                ("currency", models.CharField(max_length=3)),
                ("reason", models.CharField(max_length=200)),
                ("code", models.CharField(blank=True, help_text="The bank's or the network's own.", max_length=64)),
                ("reference", models.CharField(blank=True, max_length=64)),
                (
                    "requestor",
                    models.PositiveSmallIntegerField(
                        choices=[
                            (1, "Csr"),
                            (2, "Payer"),
                            (3, "Inbound_Text"),
                            (4, "System"),
                            (5, "Api"),
                            (6, "Operator"),
                        ]
                    ),
                ),
                ("made_by", models.CharField(max_length=120)),
                ("user_id", models.BigIntegerField(null=True)),
                ("request_key", models.CharField(max_length=64, null=True)),
                ("request_hash", models.CharField(blank=True, max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("settled_at", models.DateTimeField(null=True)),
                ("posting_id", models.BigIntegerField(null=True)),
                ("result", models.PositiveSmallIntegerField(null=True)),
                ("failure", models.CharField(blank=True, max_length=200)),
            ],
        ),
        migrations.CreateModel(
            name="ReversalDebit",
            fields=[
                (
                    "item",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="billing.item",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="attempt",
            name="voided",
            field=models.BooleanField(
                help_text="Of a refund: whether the charge was taken back before it settled.", null=True
            ),
        ),
        migrations.AddField(
            model_name="payment",
            name="undone",
            field=models.DecimalField(
                decimal_places=2,
                help_text="How much of the amount went back; empty where none did.",
                max_digits=14,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="route",
            name="reversals_read_until",
            field=models.DateTimeField(
                editable=False, help_text="Returns and chargebacks before it were read.", null=True
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("undone__isnull", True),
                    models.Q(("undone__gte", 0), ("undone__lte", models.F("amount"))),
                    _connector="OR",
                ),
                name="payment_undone_within_amount",
            ),
        ),
        migrations.AddField(
            model_name="reversal",
            name="attempt",
            field=models.OneToOneField(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="reversal", to="payments.attempt"
            ),
        ),
        migrations.AddField(
            model_name="reversal",
            name="biller",
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
        ),
        migrations.AddField(
            model_name="reversal",
            name="customer",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="reversals",
                to="billing.customer",
            ),
        ),
        migrations.AddField(
            model_name="reversal",
            name="payment",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="reversals", to="payments.payment"
            ),
        ),
        migrations.AddField(
            model_name="reversal",
            name="route",
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="payments.route"),
        ),
        migrations.AddField(
            model_name="reversaldebit",
            name="biller",
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
        ),
        migrations.AddField(
            model_name="reversaldebit",
            name="reversal",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="debits", to="payments.reversal"
            ),
        ),
        migrations.AddIndex(
            model_name="reversal",
            index=models.Index(fields=["biller", "-created_at", "-id"], name="reversal_by_time"),
        ),
        migrations.AddIndex(
            model_name="reversal",
            index=models.Index(fields=["customer", "-created_at"], name="reversal_by_customer"),
        ),
        migrations.AddConstraint(
            model_name="reversal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("amount__gte", 0),
                    ("charged__gte", 0),
                    ("charged__lte", models.F("amount")),
                    ("fee__gte", 0),
                    ("loss__gte", 0),
                    models.Q(("amount__gt", 0), ("fee__gt", 0), ("loss__gt", 0), _connector="OR"),
                ),
                name="reversal_is_positive",
            ),
        ),
        migrations.AddConstraint(
            model_name="reversal",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "done"), _negated=True), ("posting_id__isnull", False), _connector="OR"
                ),
                name="reversal_done_has_posting",
            ),
        ),
        migrations.AddConstraint(
            model_name="reversal",
            constraint=models.UniqueConstraint(
                condition=models.Q(("request_key__isnull", False)),
                fields=("biller", "request_key"),
                name="reversal_request_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="reversal",
            constraint=models.UniqueConstraint(
                condition=models.Q(("reference", ""), _negated=True),
                fields=("route", "reference", "payment"),
                name="reversal_told_once",
            ),
        ),
        row_security("payments_reversal"),
        row_security("payments_reversaldebit"),
    ]
