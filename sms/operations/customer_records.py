"""A customer's record as the biller's own system changes it, and what a new phone number means to pay by text (MSP-29).

Source: MSP-29, PBT-2, PBT-3
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from django.utils import timezone

from billing.actors import Actor
from billing.failpoints import failpoint
from billing.models import Customer
from billing.operations import customers
from sms.models import Consent, SmsMode
from sms.operations import enrolments, programmes


class PayByText(StrEnum):
    """What became of pay by text with a change of the record."""

    UNCHANGED = "unchanged"
    NUMBER_CHANGED = "number_changed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Updated:
    """Which values of the record changed, and what became of pay by text."""

    changed: list[str]
    pay_by_text: PayByText


def update(
    *, customer: Customer, record: Mapping[str, str], actor: Actor, now: datetime.datetime | None = None
) -> Updated:
    """Change a customer's record; where its phone paid by text, pay by text moves to the new number.

    ``record`` has names of ``billing.operations.customers.LENGTHS``; what is missing stays. Pay by text moves on the consent
    that the customer gave, as one change of number; where texts may not go to the new one, or there is none, it ends:
    the old phone may be somebody else's by now. Repeating the call, also after it broke off, changes no more.

    :raises billing.operations.customers.BadRecord: a value is none.
    """
    now = now or timezone.now()
    kept = customers.read_record(record)
    texts = PayByText.UNCHANGED
    customer = Customer.objects.select_related("biller").get(pk=customer.pk)
    if "phone" in kept and kept["phone"] != customer.phone:
        # First, because it is found by the number on file.
        texts = _move(customer, kept["phone"], actor, now)
    failpoint("customer_records.texts")
    return Updated(customers.change_record(customer=customer, record=kept, actor=actor), texts)


def _move(customer: Customer, number: str, actor: Actor, now: datetime.datetime) -> PayByText:
    mode = SmsMode.objects.filter(customer=customer, registered=True).exclude(number="").first()
    if mode is None or mode.number != customer.phone:
        return PayByText.UNCHANGED
    if number:
        consent = Consent(
            "The number on file was changed by the biller's system.", mode.consent_text, mode.consent_version
        )
        try:
            enrolments.enrol(customer=customer, number=number, consent=consent, actor=actor, now=now)
        except (
            enrolments.BadNumber, enrolments.PhoneRefuses, enrolments.PhoneSuspended, programmes.NotOffered
        ):  # fmt: skip
            pass
        else:
            return PayByText.NUMBER_CHANGED
    enrolments.unenrol(customer=customer, actor=actor, now=now)
    return PayByText.ENDED
