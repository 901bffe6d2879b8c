"""Pay types, with the reserved ones, and how an account pays from which no run collects."""

from __future__ import annotations

from typing import ClassVar

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

# The guide's payment methods. Its copy gives 10003, 10005 and 10018; the other numbers follow the order of its table, as
# published elsewhere (10004 belongs to a country that it leaves out).
RESERVED = """
INSERT INTO billing_paytype (id, name, use, tender, reference_pattern, channels, active)
VALUES
    (0, 'Undefined', 'account', '', '', '{}', true),
    (10000, 'Prepaid', 'account', '', '', '{}', true),
    (10001, 'Invoice', 'account', '', '', '{}', true),
    (10002, 'Debit of a checking account', 'payment', '', '', '{}', true),
    (10003, 'Card', 'payment', 'card', '', '{}', true),
    (10005, 'Direct debit (US, Canada)', 'payment', 'ach', '', '{}', true),
    (10006, 'Smart card', 'payment', '', '', '{}', true),
    (10007, 'Subordinate (another account pays)', 'account', '', '', '{}', true),
    (10008, 'Beta', 'account', '', '', '{}', true),
    (10009, 'Internal', 'account', '', '', '{}', true),
    (10010, 'Guest', 'account', '', '', '{}', true),
    (10011, 'Cash', 'payment', 'cash', '', '{}', true),
    (10012, 'Check', 'payment', 'echeck', '', '{}', true),
    (10013, 'Wire transfer', 'payment', 'ach', '', '{}', true),
    (10014, 'Inter-bank payment order', 'payment', 'ach', '', '{}', true),
    (10015, 'Postal order', 'payment', 'echeck', '', '{}', true),
    (10016, 'Voucher', 'payment', '', '', '{}', true),
    (10017, 'Failed', 'payment', '', '', '{}', true),
    (10018, 'SEPA', 'payment', '', '', '{}', true);
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0022_releases"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="PayType",
            fields=[
                (
                    "id",
                    models.PositiveIntegerField(
                        editable=False, primary_key=True, serialize=False, verbose_name="number"
                    ),
                ),
                ("name", models.CharField(max_length=60, unique=True)),
                (
                    "use",
                    models.CharField(
                        choices=[
                            ("payment", "A payment: what it was made with"),
                            ("account", "An account: how it pays, so that no run collects from it"),
                        ],
                        default="payment",
                        max_length=7,
                    ),
                ),
                (
                    "tender",
                    models.CharField(
                        blank=True,
                        help_text="As what the biller’s books and system take a payment of this type.",
                        max_length=8,
                    ),
                ),
                (
                    "reference_pattern",
                    models.CharField(
                        blank=True,
                        help_text="A regular expression that the whole reference must match, such as [A-Z]{2}[0-9]{6}. Empty: any.",
                        max_length=100,
                    ),
                ),
                (
                    "least",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        max_digits=14,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "most",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        max_digits=14,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                (
                    "channels",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.PositiveSmallIntegerField(),
                        blank=True,
                        default=list,
                        help_text="Where it may be taken. None chosen: anywhere.",
                        size=None,
                    ),
                ),
                ("active", models.BooleanField(default=True)),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("use", "payment"),
                            models.Q(
                                ("channels", []),
                                ("least__isnull", True),
                                ("most__isnull", True),
                                ("reference_pattern", ""),
                                ("tender", ""),
                            ),
                            _connector="OR",
                        ),
                        name="pay_type_of_account_takes_nothing",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("least__isnull", True),
                            ("most__isnull", True),
                            ("least__lte", models.F("most")),
                            _connector="OR",
                        ),
                        name="pay_type_amounts_in_order",
                    ),
                ],
            },
        ),
        migrations.RunSQL(RESERVED, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="customer",
            name="pay_type",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="How the account pays, where no run may collect from it (PAY-38). Empty: as it is enrolled.",
                limit_choices_to={"use": "account"},
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="billing.paytype",
            ),
        ),
    ]
