"""Forms that more than one page of the customer portal shows."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.models import Biller, GuestSecret

_SECRETS = {
    GuestSecret.ZIP: (
        _("ZIP code"),
        _("The ZIP code of the address on the bill, such as 80202"),
        _("Enter the ZIP code of the address on the bill"),
        {"autocomplete": "postal-code"},
    ),
    GuestSecret.PHONE: (
        _("Last 4 digits of the phone number"),
        _("Of the phone number that you gave for this account"),
        _("Enter the last 4 digits of the phone number"),
        {"autocomplete": "off", "inputmode": "numeric", "maxlength": 4},
    ),
    GuestSecret.LAST_AMOUNT: (
        _("Amount of your latest bill"),
        _("As the bill says it, such as 84.10"),
        _("Enter the amount of your latest bill"),
        {"autocomplete": "off", "inputmode": "decimal"},
    ),
}


class AccountForm(forms.Form):
    """An account number and the one secret that the biller asks for beside it."""

    number = forms.CharField(
        label=_("Account number"),
        max_length=40,
        help_text=_("You find it on your bill. Type it with its dashes."),
        error_messages={"required": _("Enter your account number")},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    secret = forms.CharField(max_length=20)

    def __init__(self, *args: object, biller: Biller, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # what every form takes
        label, hint, missing, attributes = _SECRETS[GuestSecret(biller.guest_secret)]
        secret = self.fields["secret"]
        secret.label, secret.help_text = label, hint
        secret.error_messages["required"] = missing
        secret.widget.attrs.update(attributes)
