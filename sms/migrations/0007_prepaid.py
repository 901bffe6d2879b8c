"""Words for what is left on prepaid accounts."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("sms", "0006_review_notes")]

    operations: ClassVar = [
        migrations.AlterField(
            model_name="wording",
            name="message",
            field=models.CharField(
                choices=[
                    ("registration", "Registration"),
                    ("bill_ready", "Bill ready"),
                    ("bill_ready_link", "Bill ready link"),
                    ("bill_ready_autopay", "Bill ready autopay"),
                    ("prepaid_low", "Prepaid low"),
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
                    ("prepaid_left", "Prepaid left"),
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
    ]
