"""Verifications of methods, what each biller asks of methods, and what the card networks' letters mean to begin with."""

from __future__ import annotations

from typing import ClassVar

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import billing.models.ids
from billing.row_security import row_security

# A card whose ZIP code is right passes although its street is not. Addresses outside the United States and Canada, and those
# that nobody can check, pass as well.
LETTERS = """
INSERT INTO payments_checkanswer (about, answer, result, words) VALUES
    ('avs', 'Y', 0, 'Street and ZIP code match'),
    ('avs', 'X', 0, 'Street and nine-digit ZIP code match'),
    ('avs', 'D', 0, 'Street and postal code match, abroad'),
    ('avs', 'M', 0, 'Street and postal code match, abroad'),
    ('avs', 'Z', 0, 'ZIP code matches, street does not'),
    ('avs', 'W', 0, 'Nine-digit ZIP code matches, street does not'),
    ('avs', 'P', 0, 'Postal code matches, street was not checked'),
    ('avs', 'A', 4, 'Street matches, ZIP code does not'),
    ('avs', 'B', 0, 'Street matches, postal code was not checked'),
    ('avs', 'N', 2, 'Neither street nor ZIP code match'),
    ('avs', 'C', 0, 'Not checked, abroad'),
    ('avs', 'G', 0, 'Issuer abroad takes no part'),
    ('avs', 'I', 0, 'Not checked, abroad'),
    ('avs', 'E', 0, 'Not possible for this card'),
    ('avs', 'R', 0, 'Issuer was not available'),
    ('avs', 'S', 0, 'Issuer takes no part'),
    ('avs', 'U', 0, 'Address is not known or could not be checked'),
    ('cvv', 'M', 0, 'Matches'),
    ('cvv', 'N', 12, 'Does not match'),
    ('cvv', 'P', 0, 'Was not given or not checked'),
    ('cvv', 'S', 12, 'Should be on the card, was said not to be'),
    ('cvv', 'U', 0, 'Issuer takes no part');
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0021_collections"),
        ("payments", "0021_fees"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="MethodRules",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "biller",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="method_rules",
                        to="billing.biller",
                    ),
                ),
                ("verify_cards", models.BooleanField(default=True)),
                ("verify_banks", models.BooleanField(default=True)),
                ("require_cvv", models.BooleanField(default=True)),
                (
                    "bank_days",
                    models.PositiveSmallIntegerField(
                        help_text="A bank account that was not verified for so many days is verified again before it is charged.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(3650),
                        ],
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "method rules",
            },
        ),
        migrations.AddField(
            model_name="instrument",
            name="debit_facts",
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="instrument",
            name="debit_method",
            field=models.CharField(
                blank=True,
                choices=[
                    ("I", "On the internet"),
                    ("T", "By telephone"),
                    ("W", "In writing"),
                    ("P", "By check, at the counter"),
                    ("A", "By check, by mail"),
                ],
                db_default="",
                max_length=1,
            ),
        ),
        migrations.AddField(
            model_name="instrument",
            name="verified_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.CreateModel(
            name="CheckAnswer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("about", models.CharField(choices=[("avs", "Address"), ("cvv", "Security code")], max_length=3)),
                ("answer", models.CharField(help_text="The networks’ letter, such as Y or N.", max_length=2)),
                (
                    "result",
                    models.PositiveSmallIntegerField(help_text="0 lets the method pass; 2, 3, 4 and 12 refuse it."),
                ),
                ("words", models.CharField(help_text="What it means, for staff.", max_length=120)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("about", "answer"), name="check_answer_once"),
                    models.CheckConstraint(
                        condition=models.Q(("result__in", [0, 2, 3, 4, 12])), name="check_answer_result"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Verification",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=billing.models.ids.UUID7(), editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("kind", models.CharField(choices=[("card", "Card"), ("bank", "Bank account")], max_length=4)),
                ("brand", models.CharField(blank=True, max_length=30)),
                ("masked", models.CharField(max_length=20)),
                (
                    "purpose",
                    models.CharField(
                        choices=[
                            ("enrolment", "Put on file"),
                            ("payment", "One payment"),
                            ("renewal", "Verified again"),
                        ],
                        max_length=9,
                    ),
                ),
                ("amount", models.DecimalField(decimal_places=2, max_digits=14)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "No answer"),
                            ("passed", "Passed"),
                            ("failed", "Failed"),
                            ("abandoned", "Given up"),
                        ],
                        default="open",
                        max_length=9,
                    ),
                ),
                ("result", models.PositiveSmallIntegerField(default=999)),
                ("avs", models.CharField(blank=True, max_length=2)),
                ("cvv", models.CharField(blank=True, max_length=2)),
                ("message", models.CharField(blank=True, max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "biller",
                    models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="verifications",
                        to="billing.customer",
                    ),
                ),
                (
                    "instrument",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="verifications",
                        to="payments.instrument",
                    ),
                ),
                (
                    "route",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="payments.route",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["customer", "-created_at"], name="verification_by_customer"),
                    models.Index(
                        condition=models.Q(("state", "open")), fields=["biller", "created_at"], name="verification_open"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("result", 999), ("state__in", ["open", "abandoned"])),
                            models.Q(("result", 0), ("state", "passed")),
                            models.Q(("result__lt", 999), ("state", "failed"), models.Q(("result", 0), _negated=True)),
                            _connector="OR",
                        ),
                        name="verification_result_fits_state",
                    )
                ],
            },
        ),
        row_security("payments_methodrules"),
        row_security("payments_verification"),
        migrations.RunSQL(LETTERS, migrations.RunSQL.noop),
    ]
