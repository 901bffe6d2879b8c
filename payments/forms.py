"""The form in which payers and CSRs say when, how much and with what a payment is to be made."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import formats
from billing.errors import DomainError
from billing.forms import DayField, MoneyField
from billing.models import Customer
from payments.models import Instrument, InstrumentKind, ScheduledPayment
from payments.operations import dues, scheduled_payments

WHOLE, FIXED = "whole", "fixed"
_KEY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, checked; ``amount`` of ``None`` is all that is due on the day, ``planned`` what that is today."""

    pay_on: datetime.date
    amount: Decimal | None
    planned: Decimal
    instrument: Instrument


def usable_methods(customer: Customer) -> list[Instrument]:
    """Give the methods on file by which an account can be charged, the one that is offered first before all."""
    today = customer.biller.business_date(timezone.now())
    blocked = [kind for kind in InstrumentKind if customer.blocks(kind)]
    usable = Instrument.objects.filter(customer=customer).usable(today).exclude(kind__in=blocked)
    return list(usable.select_related("route").order_by("-is_default", "-created_at", "-pk"))


class ScheduleForm(forms.Form):
    """A day, an amount and a method on file; ``asked`` is what they come to once the form is valid."""

    request_key = forms.CharField(widget=forms.HiddenInput)
    pay_on = DayField(label=gettext_lazy("On which day?"))
    part = forms.ChoiceField(label=gettext_lazy("How much?"), widget=forms.RadioSelect)
    method = forms.ChoiceField(
        label=gettext_lazy("With which card or bank account?"),
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Choose a card or bank account")},
    )

    asked: Asked

    def __init__(
        self,
        *args: Any,
        customer: Customer,
        methods: Sequence[Instrument],
        current: ScheduledPayment | None,
        **options: Any,
    ) -> None:
        first = methods[0].pk if methods else ""
        initial: dict[str, Any] = {"request_key": uuid.uuid4().hex, "part": WHOLE, "method": str(first)}
        if current is not None:
            initial |= {"pay_on": current.pay_on, "method": str(current.instrument_id)}
            initial |= {} if current.whole else {"part": FIXED, "amount": current.amount}
        super().__init__(*args, **{**options, "initial": initial})
        self.customer, self.methods = customer, {str(one.pk): one for one in methods}
        self.due = due = dues.due(customer=customer)
        currency = customer.biller.currency
        first_day, last_day = scheduled_payments.days(customer=customer, now=timezone.now())
        self.fields["pay_on"].help_text = _("From %(first)s to %(last)s. For example, %(example)s") % {
            "first": formats.day(first_day),
            "last": formats.day(max(first_day, last_day)),
            "example": f"{first_day:%m/%d/%Y}",
        }
        whole = _("All that is due on that day; today that is %(amount)s") % {
            "amount": formats.money(due.full, currency)
        }
        part, method = self.fields["part"], self.fields["method"]
        assert isinstance(part, forms.ChoiceField) and isinstance(method, forms.ChoiceField)
        part.choices = [(WHOLE, whole)]
        if due.parts and due.full > due.least:
            part.choices = [(WHOLE, whole), (FIXED, _("A fixed amount"))]
            self.fields["amount"] = MoneyField(
                label=_("Fixed amount"),
                currency=currency,
                least=due.least,
                most=due.full,
                required=False,
                help_text=_("If less is due on that day, only that is taken."),
            )
        method.choices = [(pk, str(one)) for pk, one in self.methods.items()]
        self.order_fields(["request_key", "pay_on", "part", "amount", "method"])

    def clean_request_key(self) -> str:
        """Take the key only as we make it; another one begins anew."""
        key = str(self.cleaned_data["request_key"])
        return key if _KEY.fullmatch(key) else uuid.uuid4().hex

    def clean(self) -> dict[str, Any]:
        """Hold what is asked against what can be scheduled."""
        given = super().clean() or self.cleaned_data
        if given.get("part") != FIXED:
            # What stands in the other box then is nobody's wish.
            self.errors.pop("amount", None)
            given["amount"] = None
        elif given.get("amount") is None and "amount" not in self.errors:
            self.add_error("amount", _("Enter an amount"))
        if self.errors:
            return given
        method = self.methods[given["method"]]
        try:
            _bill, planned = scheduled_payments.check(
                customer=self.customer,
                pay_on=given["pay_on"],
                amount=given["amount"],
                instrument=method,
                now=timezone.now(),
            )
        except DomainError as refused:
            self.add_error(refused.field if refused.field in self.fields else None, str(refused))
            return given
        self.asked = Asked(given["pay_on"], given["amount"], planned, method)
        return given

    def kept(self) -> list[tuple[str, str]]:
        """Give the fields as they came, for a page that asks once more before it is done."""
        return [(name, str(self.data.get(name, ""))) for name in self.fields]
