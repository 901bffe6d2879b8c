"""What payers read of fees and late bills, in Spanish."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


def of_a_rule() -> models.CharField[str, str]:
    """Give the column of a rule."""
    return models.CharField(
        blank=True,
        db_default="",
        default="",
        help_text="What payers read who read Spanish. Empty: the same words.",
        max_length=120,
        verbose_name="words in Spanish",
    )


class Migration(migrations.Migration):
    dependencies: ClassVar = [("payments", "0024_fee_lists")]

    operations: ClassVar = [
        migrations.AddField(model_name="feerule", name="words_es", field=of_a_rule()),
        migrations.AddField(model_name="laterule", name="words_es", field=of_a_rule()),
        migrations.AddField(
            model_name="fee",
            name="words_es",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=120, verbose_name="words in Spanish"
            ),
        ),
    ]
