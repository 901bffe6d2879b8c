"""Programmes with their wordings, conversations kept with each phone, and what is made of the texts that arrive."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from billing.row_security import row_security

TENANT_TABLES = ["sms_announcement", "sms_paylink", "sms_programme", "sms_wording"]


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("billing", "0007_lean_items"),
        ("sms", "0003_lines_and_texts"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Announcement",
            fields=[
                (
                    "file",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="announcement",
                        serialize=False,
                        to="billing.invoicefile",
                    ),
                ),
                ("through", models.BigIntegerField(db_default=0, default=0)),
                ("texts", models.PositiveIntegerField(db_default=0, default=0)),
                ("begun_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("done_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="PayLink",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("invoice_id", models.BigIntegerField(help_text="The newest bill when the link was made.", null=True)),
                ("made_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("expires_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Programme",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(choices=[("pay_by_text", "Pay by Text")], default="pay_by_text", max_length=20),
                ),
                (
                    "name",
                    models.CharField(
                        help_text="Begins every text. Twenty characters leave room for one part.", max_length=40
                    ),
                ),
                (
                    "contact",
                    models.CharField(blank=True, help_text="The phone number that a payer may call.", max_length=40),
                ),
                (
                    "stopped",
                    models.BooleanField(
                        default=False,
                        help_text="Nothing is sent and nothing is charged by text while this is on. STOP is still heard.",
                    ),
                ),
                (
                    "opens",
                    models.PositiveSmallIntegerField(
                        default=8,
                        help_text="The first hour in which texts go out.",
                        validators=[django.core.validators.MaxValueValidator(23)],
                    ),
                ),
                (
                    "closes",
                    models.PositiveSmallIntegerField(
                        default=21,
                        help_text="The hour from which none go out until the next morning.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(24),
                        ],
                    ),
                ),
                (
                    "most_a_day",
                    models.PositiveSmallIntegerField(
                        default=6, help_text="Texts that nobody asked for, to one phone in 24 hours."
                    ),
                ),
                (
                    "fee",
                    models.DecimalField(
                        decimal_places=2,
                        default=Decimal("0.00"),
                        help_text="On top of a payment by text; the payer is asked to CONFIRM it.",
                        max_digits=6,
                        validators=[django.core.validators.MinValueValidator(Decimal("0.00"))],
                    ),
                ),
                (
                    "stop_ends_everything",
                    models.BooleanField(
                        default=True,
                        help_text="STOP to this programme ends every programme of the biller for the phone.",
                    ),
                ),
                (
                    "campaign",
                    models.CharField(
                        blank=True, help_text="The campaign's id at the carriers' registry (10DLC).", max_length=40
                    ),
                ),
                (
                    "terms",
                    models.TextField(
                        blank=True, help_text="What a payer agrees to. Empty: the words that come with Ratepayer."
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Wording",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "programme",
                    models.CharField(choices=[("pay_by_text", "Pay by Text")], default="pay_by_text", max_length=20),
                ),
                (
                    "message",
                    models.CharField(
                        choices=[
                            ("registration", "Registration"),
                            ("bill_ready", "Bill ready"),
                            ("bill_ready_link", "Bill ready link"),
                            ("bill_ready_autopay", "Bill ready autopay"),
                            ("number_released", "Number released"),
                            ("unenrolled", "Unenrolled"),
                            ("opted_out", "Opted out"),
                            ("opted_out_cancel", "Opted out cancel"),
                            ("enrolled", "Enrolled"),
                            ("already_enrolled", "Already enrolled"),
                            ("registration_declined", "Registration declined"),
                            ("confirm_first", "Confirm first"),
                            ("not_enrolled", "Not enrolled"),
                            ("nothing_to_confirm", "Nothing to confirm"),
                            ("help", "Help"),
                            ("unknown", "Unknown"),
                            ("stop_unclear", "Stop unclear"),
                            ("fee_question", "Fee question"),
                            ("balance_question", "Balance question"),
                            ("question_expired", "Question expired"),
                            ("payment_called_off", "Payment called off"),
                            ("pay_unclear", "Pay unclear"),
                            ("amount_unclear", "Amount unclear"),
                            ("no_such_account", "No such account"),
                            ("several_accounts", "Several accounts"),
                            ("balances", "Balances"),
                            ("paid", "Paid"),
                            ("declined", "Declined"),
                            ("nothing_due", "Nothing due"),
                            ("already_paid", "Already paid"),
                            ("in_progress", "In progress"),
                            ("no_method", "No method"),
                            ("expired_method", "Expired method"),
                            ("blocked", "Blocked"),
                            ("partial_refused", "Partial refused"),
                            ("amount_refused", "Amount refused"),
                            ("unavailable", "Unavailable"),
                        ],
                        max_length=30,
                    ),
                ),
                ("language", models.CharField(choices=[("en", "English"), ("es", "Spanish")], max_length=2)),
                ("body", models.CharField(max_length=640)),
            ],
        ),
        migrations.AddField(
            model_name="phone",
            name="accounts",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(), blank=True, db_default=[], default=list, size=None
            ),
        ),
        migrations.AddField(
            model_name="phone",
            name="bill_offered",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="phone",
            name="busy_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="phone",
            name="guided_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="phone",
            name="language",
            field=models.CharField(blank=True, db_default="", max_length=2),
        ),
        migrations.AddField(
            model_name="phone",
            name="opted_out_of",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=20),
                blank=True,
                db_default=[],
                default=list,
                help_text="Programmes that it said STOP to; * for every one.",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="phone",
            name="question",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="phone",
            name="told",
            field=models.JSONField(blank=True, db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="phone",
            name="told_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="smsmode",
            name="stopped",
            field=models.BooleanField(
                db_default=False, default=False, help_text="Ended by STOP from the phone, so that START brings it back."
            ),
        ),
        migrations.AddField(
            model_name="text",
            name="acted_on",
            field=models.CharField(
                blank=True, db_default="", help_text="The keyword on which the provider acted by itself.", max_length=5
            ),
        ),
        migrations.AddField(
            model_name="text",
            name="answered",
            field=models.BooleanField(db_default=False, default=False, help_text="The provider answers it by itself."),
        ),
        migrations.AddField(
            model_name="text",
            name="action",
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name="text",
            name="expires_at",
            field=models.DateTimeField(help_text="Later than this it is not sent.", null=True),
        ),
        migrations.AddField(
            model_name="text",
            name="media",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="text",
            name="payment_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="text",
            name="review",
            field=models.CharField(blank=True, db_default="", max_length=20),
        ),
        migrations.AddField(
            model_name="text",
            name="reviewed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="text",
            name="reviewed_by",
            field=models.CharField(blank=True, db_default="", max_length=120),
        ),
        migrations.AddField(
            model_name="text",
            name="rule",
            field=models.CharField(blank=True, db_default="", max_length=80),
        ),
        migrations.AlterField(
            model_name="text",
            name="state",
            field=models.CharField(
                choices=[
                    ("waiting", "Waiting"),
                    ("sending", "Sending"),
                    ("unknown", "Not known yet"),
                    ("accepted", "With the provider"),
                    ("delivered", "Delivered"),
                    ("failed", "Failed"),
                    ("arrived", "Arrived"),
                    ("acting", "Being dealt with"),
                    ("awaiting", "Waiting for a payment"),
                    ("received", "Received"),
                ],
                default="waiting",
                max_length=9,
            ),
        ),
        migrations.AddIndex(
            model_name="text",
            index=models.Index(
                condition=models.Q(("state__in", ["arrived", "acting"])),
                fields=["biller", "phone", "id"],
                name="text_unheard",
            ),
        ),
        migrations.AddIndex(
            model_name="text",
            index=models.Index(condition=models.Q(("state", "awaiting")), fields=["payment_id"], name="text_awaiting"),
        ),
        migrations.AddIndex(
            model_name="text",
            index=models.Index(
                condition=models.Q(models.Q(("review", ""), _negated=True), ("reviewed_at__isnull", True)),
                fields=["biller", "id"],
                name="text_to_review",
            ),
        ),
        migrations.AddField(
            model_name="announcement",
            name="biller",
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
        ),
        migrations.AddField(
            model_name="paylink",
            name="biller",
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"),
        ),
        migrations.AddField(
            model_name="paylink",
            name="customer",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="pay_links", to="billing.customer"
            ),
        ),
        migrations.AddField(
            model_name="programme",
            name="biller",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="programmes",
                to="billing.biller",
            ),
        ),
        migrations.AddField(
            model_name="wording",
            name="biller",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="wordings",
                to="billing.biller",
            ),
        ),
        migrations.AddConstraint(
            model_name="programme",
            constraint=models.UniqueConstraint(fields=("biller", "kind"), name="programme_once"),
        ),
        migrations.AddConstraint(
            model_name="programme",
            constraint=models.CheckConstraint(
                condition=models.Q(("opens__lt", models.F("closes"))), name="programme_opens_before_it_closes"
            ),
        ),
        migrations.AddConstraint(
            model_name="programme",
            constraint=models.CheckConstraint(condition=models.Q(("fee__gte", 0)), name="programme_fee_is_no_gift"),
        ),
        migrations.AddConstraint(
            model_name="wording",
            constraint=models.UniqueConstraint(
                fields=("biller", "programme", "message", "language"), name="wording_once"
            ),
        ),
        # Whoever opted out before there were programmes opted out of all.
        migrations.RunSQL(
            "UPDATE sms_phone SET opted_out_of = '{*}' WHERE opted_out_at IS NOT NULL", migrations.RunSQL.noop
        ),
        *[row_security(table) for table in TENANT_TABLES],
    ]
