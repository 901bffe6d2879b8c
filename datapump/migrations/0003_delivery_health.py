"""How well an endpoint is, which failures an envelope had, and references proven by audit where only delivery writes."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

from billing.row_security import reference


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0002_integrity"),
        ("datapump", "0002_integrity"),
    ]

    operations = [
        migrations.AddField(
            model_name="endpoint",
            name="note",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="What the operator should hear of although updates go out.",
                max_length=300,
            ),
        ),
        migrations.AddField(
            model_name="endpoint",
            name="noted_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="endpoint",
            name="paused_for",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=300),
        ),
        migrations.AddField(
            model_name="endpoint",
            name="window_calls",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="endpoint",
            name="window_failures",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="endpoint",
            name="window_from",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="envelope",
            name="failures",
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="record",
            name="trouble",
            field=models.CharField(
                blank=True,
                choices=[
                    ("delivered", "Delivered"),
                    ("not_sent", "Not sent"),
                    ("unknown", "Unknown"),
                    ("refused", "Refused"),
                    ("setup", "Set-up is wrong"),
                ],
                db_default="",
                default="",
                help_text="What kind of failure it was.",
                max_length=9,
            ),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="biller",
            field=models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"
            ),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="envelope",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                to="datapump.envelope",
            ),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="record",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="deliveries",
                to="datapump.record",
            ),
        ),
        migrations.AlterField(
            model_name="endpoint",
            name="timeout_seconds",
            field=models.PositiveSmallIntegerField(
                default=20,
                validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(120)],
            ),
        ),
        migrations.AlterField(
            model_name="envelope",
            name="biller",
            field=models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, to="billing.biller"
            ),
        ),
        migrations.AlterField(
            model_name="envelope",
            name="endpoint",
            field=models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, to="datapump.endpoint"
            ),
        ),
        migrations.AddIndex(
            model_name="envelope",
            index=models.Index(
                condition=models.Q(("failures__gt", 0)), fields=["endpoint", "-at"], name="envelope_failed"
            ),
        ),
        migrations.AddIndex(
            model_name="record",
            index=models.Index(
                condition=models.Q(("state", "failed")),
                fields=["endpoint", "customer", "created_at", "id"],
                name="record_failed",
            ),
        ),
        reference("datapump_delivery", "biller_id", "billing_biller"),
        reference("datapump_delivery", "record_id", "datapump_record"),
        reference("datapump_envelope", "biller_id", "billing_biller"),
        reference("datapump_envelope", "endpoint_id", "datapump_endpoint"),
    ]
