"""Fees for failed, returned and late payments: the rules, what was charged, and what was taken back."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.models.ids
from billing.row_security import row_security


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0024_fees"),
        ("payments", "0020_pay_types"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="FeeRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "words",
                    models.CharField(help_text="What payers read, such as “Returned payment fee”.", max_length=120),
                ),
                (
                    "segments",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=20), blank=True, default=list, size=None
                    ),
                ),
                ("amount", models.DecimalField(blank=True, decimal_places=2, max_digits=14, null=True)),
                ("percent", models.DecimalField(blank=True, decimal_places=2, max_digits=5, null=True)),
                ("least", models.DecimalField(blank=True, decimal_places=2, max_digits=14, null=True)),
                ("most", models.DecimalField(blank=True, decimal_places=2, max_digits=14, null=True)),
                ("active", models.BooleanField(default=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "occasion",
                    models.CharField(
                        choices=[
                            ("failed", "A payment is declined"),
                            ("returned", "A bank returns a payment"),
                            ("both", "Both"),
                        ],
                        max_length=8,
                    ),
                ),
                ("least_payment", models.DecimalField(blank=True, decimal_places=2, max_digits=14, null=True)),
                ("most_payment", models.DecimalField(blank=True, decimal_places=2, max_digits=14, null=True)),
                (
                    "tenders",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=8), blank=True, default=list, size=None
                    ),
                ),
                (
                    "channels",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveSmallIntegerField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "results",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveSmallIntegerField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "return_codes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64), blank=True, default=list, size=None
                    ),
                ),
                (
                    "biller",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.biller",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Fee",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=billing.models.ids.UUID7(), editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("words", models.CharField(max_length=120)),
                ("reason", models.CharField(max_length=200)),
                ("charged_at", models.DateTimeField(editable=False)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fees",
                        to="billing.customer",
                    ),
                ),
                (
                    "item",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="fee", to="billing.item"
                    ),
                ),
                (
                    "payment",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fees",
                        to="payments.payment",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fees",
                        to="payments.feerule",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="FeeWaiver",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=billing.models.ids.UUID7(), editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("set_off", models.DecimalField(decimal_places=2, default=Decimal("0.00"), max_digits=14)),
                ("reason", models.CharField(max_length=200)),
                ("made_by", models.CharField(max_length=120)),
                ("waived_at", models.DateTimeField(editable=False)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="fee_waivers", to="billing.customer"
                    ),
                ),
                (
                    "fee",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="waiver", to="payments.fee"
                    ),
                ),
                (
                    "item",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="fee_waiver", to="billing.item"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="LateBill",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=billing.models.ids.UUID7(), editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("owed", models.DecimalField(decimal_places=2, max_digits=14)),
                ("day", models.DateField(help_text="The biller's business day.")),
                ("done_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="late_bills", to="billing.customer"
                    ),
                ),
                (
                    "invoice",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="late_bills",
                        to="billing.invoice",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="fee",
            name="late_bill",
            field=models.OneToOneField(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="fee", to="payments.latebill"
            ),
        ),
        migrations.CreateModel(
            name="LateRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "words",
                    models.CharField(help_text="What payers read, such as “Returned payment fee”.", max_length=120),
                ),
                (
                    "segments",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=20), blank=True, default=list, size=None
                    ),
                ),
                ("amount", models.DecimalField(blank=True, decimal_places=2, max_digits=14, null=True)),
                ("percent", models.DecimalField(blank=True, decimal_places=2, max_digits=5, null=True)),
                ("least", models.DecimalField(blank=True, decimal_places=2, max_digits=14, null=True)),
                ("most", models.DecimalField(blank=True, decimal_places=2, max_digits=14, null=True)),
                ("active", models.BooleanField(default=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[("fee", "Charge a fee"), ("inactive", "Set the account inactive")], max_length=8
                    ),
                ),
                ("days", models.PositiveSmallIntegerField()),
                ("minimum", models.DecimalField(decimal_places=2, default=Decimal("0.01"), max_digits=14)),
                ("due_from", models.DateField()),
                (
                    "biller",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="billing.biller",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="latebill",
            name="rule",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="bills", to="payments.laterule"
            ),
        ),
        migrations.AddIndex(
            model_name="feerule",
            index=models.Index(fields=["biller"], name="fee_rule_by_biller"),
        ),
        migrations.AddConstraint(
            model_name="feerule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("amount__gt", 0), ("least__isnull", True), ("most__isnull", True), ("percent__isnull", True)
                    ),
                    models.Q(
                        ("amount__isnull", True),
                        ("percent__gt", 0),
                        ("percent__lte", 100),
                        models.Q(("least__isnull", True), ("least__gt", 0), _connector="OR"),
                        models.Q(("most__isnull", True), ("most__gt", 0), _connector="OR"),
                        models.Q(
                            ("least__isnull", True),
                            ("most__isnull", True),
                            ("least__lte", models.F("most")),
                            _connector="OR",
                        ),
                    ),
                    _connector="OR",
                ),
                name="fee_rule_charges",
            ),
        ),
        migrations.AddConstraint(
            model_name="feewaiver",
            constraint=models.CheckConstraint(
                condition=models.Q(("set_off__gte", 0)), name="fee_waiver_set_off_is_positive"
            ),
        ),
        migrations.AddIndex(
            model_name="fee",
            index=models.Index(fields=["customer", "-charged_at", "-id"], name="fee_by_customer"),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.UniqueConstraint(fields=("payment", "rule"), name="fee_once_per_payment_and_rule"),
        ),
        migrations.AddConstraint(
            model_name="fee",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("late_bill__isnull", True), ("payment__isnull", False), ("rule__isnull", False)),
                    models.Q(("late_bill__isnull", False), ("payment__isnull", True), ("rule__isnull", True)),
                    _connector="OR",
                ),
                name="fee_is_for_something",
            ),
        ),
        migrations.AddIndex(
            model_name="laterule",
            index=models.Index(fields=["biller"], name="late_rule_by_biller"),
        ),
        migrations.AddConstraint(
            model_name="laterule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("action", "fee"),
                        models.Q(
                            models.Q(
                                ("amount__gt", 0),
                                ("least__isnull", True),
                                ("most__isnull", True),
                                ("percent__isnull", True),
                            ),
                            models.Q(
                                ("amount__isnull", True),
                                ("percent__gt", 0),
                                ("percent__lte", 100),
                                models.Q(("least__isnull", True), ("least__gt", 0), _connector="OR"),
                                models.Q(("most__isnull", True), ("most__gt", 0), _connector="OR"),
                                models.Q(
                                    ("least__isnull", True),
                                    ("most__isnull", True),
                                    ("least__lte", models.F("most")),
                                    _connector="OR",
                                ),
                            ),
                            _connector="OR",
                        ),
                    ),
                    models.Q(
                        ("action", "inactive"),
                        ("amount__isnull", True),
                        ("least__isnull", True),
                        ("most__isnull", True),
                        ("percent__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="late_rule_charges",
            ),
        ),
        migrations.AddConstraint(
            model_name="laterule",
            constraint=models.CheckConstraint(condition=models.Q(("minimum__gt", 0)), name="late_rule_has_minimum"),
        ),
        migrations.AddConstraint(
            model_name="latebill",
            constraint=models.UniqueConstraint(fields=("invoice", "rule"), name="late_bill_once_per_rule"),
        ),
        row_security("payments_feerule"),
        row_security("payments_laterule"),
        row_security("payments_latebill"),
        row_security("payments_fee"),
        row_security("payments_feewaiver"),
    ]
