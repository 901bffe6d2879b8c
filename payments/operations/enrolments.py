"""Enrolments: AutoPay and paperless, on and off, from whichever door; the biller's system hears of each change.

Source: PAY-12, MSP-13, MSP-14, MSP-17.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing import audit, formats
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import CollectRule, Customer, Item, ItemKind, NoticeKind, PayType, PayTypeUse
from billing.operations import notices
from billing.operations.remote_registrations import AccountsRefused
from datapump.models import OptionalSetting, RecordType
from datapump.operations import records
from payments.models import (
    AutoPayEnrolment,
    Instrument,
    InstrumentState,
)
from payments.operations import declines, groups

CONSENT_VERSION = "2026-11"


class AlreadyEnrolled(DomainError):
    """The customer has AutoPay with this very method."""

    default = _("AutoPay already uses this method.")  # type: ignore[assignment]


class NotEnrolled(DomainError):
    """There is nothing to end."""

    default = _("AutoPay is not on for this account.")  # type: ignore[assignment]


class MethodRefused(DomainError):
    """The method cannot be charged by AutoPay."""

    default = _("This method cannot be used for AutoPay. Choose another one.")  # type: ignore[assignment]


class ConsentMissing(DomainError):
    """Nobody agreed to the terms."""

    default = _("Agree to the AutoPay terms first.")  # type: ignore[assignment]


class NotOneGroup(DomainError):
    """The accounts are not collected together."""

    default = _("These accounts are not billed together any more. Look at the page again.")  # type: ignore[assignment]


class NotCollected(DomainError):
    """The account's pay type says that no run collects from it."""

    default = _("This account is not paid by AutoPay. Ask whoever sends its bills.")  # type: ignore[assignment]


class CollectionRefused(DomainError):
    """AutoPay cannot collect like this."""

    default = _("Enter a number of days from 0 to 60.")  # type: ignore[assignment]


class PaperlessRefused(DomainError):
    """Paperless billing cannot be changed."""

    default = _("Paperless billing needs an e-mail address.")  # type: ignore[assignment]


def consent_text(*, biller_name: str, method: str) -> str:
    """Give the words to which a payer agrees, for this biller and method; the text is kept with the enrolment."""
    return str(
        _(
            "I authorize %(biller)s to charge %(method)s for the amount due of every bill on its collection date, until I "
            "turn AutoPay off. I can turn it off at any time before a bill is collected."
        )
        % {"biller": biller_name, "method": method}
    )


def together_text(*, customers: Sequence[Customer]) -> str:
    """Give what a payer agrees to beside the terms where accounts are billed as one group."""
    # Accounts of one owner often differ in the middle alone: base-sub, with the same sub.
    numbers = ", ".join(
        formats.masked(one.shown_number, last=7) for one in sorted(customers, key=lambda one: one.number)
    )
    return str(_("Bills of these accounts may be charged in one payment: %(accounts)s.") % {"accounts": numbers})


def first_collection(*, customer: Customer, now: datetime.datetime) -> datetime.date | None:
    """Say when AutoPay would first collect: the earliest collection date of an open bill, today at the earliest.

    ``None`` where no bill is open: the first one will be the next bill.
    """
    if customer.pay_type_id is not None:
        return None
    today = customer.biller.business_date(now)
    bills = Item.objects.filter(customer=customer, kind=ItemKind.BILL, open__gt=0)
    return min((_collection_day(item, customer, today) for item in bills), default=None)


@transaction.atomic(durable=True)
def enrol_autopay(
    *,
    customer: Customer,
    instrument: Instrument,
    agreed: bool,
    actor: Actor,
    how: str = "",
    now: datetime.datetime | None = None,
) -> AutoPayEnrolment:
    """Turn AutoPay on with a method on file, or move it to another method; keeps the consent and says when it begins.

    ``how`` is a sentence on how the customer agreed, where somebody else says so for them; it is kept with the consent.
    Open bills whose collection date has passed are collected from today on. A change of method is told nobody but the
    payer: for the biller's system AutoPay is on as before.

    :raises ConsentMissing: nobody agreed.
    :raises MethodRefused: the method is another customer's, not usable, expired or blocked.
    :raises NotCollected: the account pays otherwise.
    :raises AlreadyEnrolled: it is on with this method.
    """
    if not agreed:
        raise ConsentMissing(field="agreed")
    return _enrol(_held([customer])[0], instrument, "", actor, how, now or timezone.now())


@transaction.atomic(durable=True)
def enrol_together(
    *,
    customer: Customer,
    others: Sequence[Customer],
    instrument: Instrument,
    agreed: bool,
    actor: Actor,
    how: str = "",
    now: datetime.datetime | None = None,
) -> list[AutoPayEnrolment]:
    """Turn AutoPay on for accounts that are billed as one group, with one method, all or none; gives their enrolments.

    The method is put on file at each of the ``others``, so that their bills can be collected in one transaction. One that
    has AutoPay with it already stays as it is.

    :raises ConsentMissing: nobody agreed.
    :raises MethodRefused: the method is not usable for one of them, or is another customer's.
    :raises NotOneGroup: one of the others is not billed in one group with the account.
    :raises AlreadyEnrolled: every one of them has AutoPay with this method.
    """
    now = now or timezone.now()
    if not agreed:
        raise ConsentMissing(field="agreed")
    held = _held([customer, *others])
    first = next(one for one in held if one.pk == customer.pk)
    mates = groups.companions(customer=first)
    if not {one.pk for one in others} <= {mate.pk for mate in mates}:
        raise NotOneGroup
    together = together_text(customers=held)
    made = []
    for one in held:
        method = instrument if one.pk == first.pk else _same_method(one, instrument, actor)
        try:
            made.append(_enrol(one, method, together, actor, how, now))
        except AlreadyEnrolled:
            continue
    if not made:
        raise AlreadyEnrolled(field="method")
    return made


def _held(customers: Sequence[Customer]) -> list[Customer]:
    rows = Customer.objects.select_for_update(no_key=True, of=("self",)).select_related("biller")
    return list(rows.filter(pk__in=[one.pk for one in customers]).order_by("pk"))


def _same_method(customer: Customer, instrument: Instrument, actor: Actor) -> Instrument:
    """Give a method as it is on file at another account, and put it on file there where it is not."""
    known = Instrument.objects.filter(
        customer=customer, route=instrument.route_id, token=instrument.token, state=InstrumentState.ACTIVE
    )
    if (found := known.first()) is not None:
        return found
    has_default = Instrument.objects.filter(customer=customer, is_default=True, state=InstrumentState.ACTIVE).exists()
    made = Instrument.objects.create(
        biller_id=customer.biller_id, customer=customer, route_id=instrument.route_id, kind=instrument.kind,
        token=instrument.token, brand=instrument.brand, last4=instrument.last4, holder=instrument.holder,
        expires_on=instrument.expires_on, state=instrument.state, is_default=not has_default,
        declined_at=declines.last_of(biller_id=customer.biller_id, token=instrument.token),
        verified_at=instrument.verified_at, debit_method=instrument.debit_method, debit_facts=instrument.debit_facts,
    )  # fmt: skip
    audit.record(
        actor=actor,
        event="instrument.added",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=str(made.pk),
        facts={"method": str(made)},
    )
    return made


def _enrol(
    customer: Customer, instrument: Instrument, together: str, actor: Actor, how: str, now: datetime.datetime
) -> AutoPayEnrolment:
    """Do it to an account whose row the caller holds; ``together`` is what is agreed to beside the usual terms."""
    biller, today = customer.biller, customer.biller.business_date(now)
    if customer.pay_type_id is not None:
        raise NotCollected
    unusable = instrument.state != InstrumentState.ACTIVE or instrument.expired(today) or not instrument.served
    if instrument.customer_id != customer.pk or customer.blocks(instrument.kind) or unusable:
        raise MethodRefused(field="method")
    current = AutoPayEnrolment.objects.filter(customer=customer, ended_at__isnull=True).first()
    if current is not None:
        if current.instrument_id == instrument.pk:
            raise AlreadyEnrolled(field="method")
        current.ended_at, current.ended_by = now, actor.label[:120]
        current.save(update_fields=["ended_at", "ended_by"])
    put_on_calendar(customer, today)
    begins = first_collection(customer=customer, now=now)
    before = AutoPayEnrolment.objects.filter(customer=customer).exists()
    enrolment = AutoPayEnrolment.objects.create(
        biller=biller,
        customer=customer,
        instrument=instrument,
        consent_version=CONSENT_VERSION,
        consent_text="\n\n".join(
            filter(None, [consent_text(biller_name=biller.name, method=str(instrument)), together, how])
        ),
        consent_by=actor.label[:120],
        consent_requestor=actor.requestor,
        consent_address=actor.address,
        consented_at=now,
        first_collection_on=begins,
    )
    if current is None:
        records.write(
            actor=actor,
            biller_id=biller.pk,
            customer_id=customer.pk,
            type=RecordType.AUTOPAY,
            optional_setting=OptionalSetting.UPDATED if before else OptionalSetting.INSERTED,
            facts={"enrolled": True},
            before="Off",
            after="On",
        )
    notices.write(
        biller_id=biller.pk,
        customer_id=customer.pk,
        kind=NoticeKind.AUTOPAY_ON,
        key=f"autopay-on:{enrolment.pk}",
        facts={
            "method": str(instrument),
            "first": begins,
            "consent": enrolment.consent_text,
        },
    )
    audit.record(
        actor=actor,
        event="autopay.enrolled",
        biller_id=biller.pk,
        customer_id=customer.pk,
        subject=f"autopay:{enrolment.pk}",
        facts={"method": str(instrument), "first": str(begins or "with the next bill"), "how": how},
    )
    return enrolment


@transaction.atomic(durable=True)
def end_autopay(*, customer: Customer, actor: Actor, now: datetime.datetime | None = None) -> None:
    """Turn AutoPay off; a payment that is already on its way is not called back.

    :raises NotEnrolled: it is not on.
    """
    now = now or timezone.now()
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    enrolment = AutoPayEnrolment.objects.filter(customer=customer, ended_at__isnull=True).first()
    if enrolment is None:
        raise NotEnrolled
    enrolment.ended_at, enrolment.ended_by = now, actor.label[:120]
    enrolment.save(update_fields=["ended_at", "ended_by"])
    records.write(
        actor=actor,
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        type=RecordType.AUTOPAY,
        optional_setting=OptionalSetting.UPDATED,
        facts={"enrolled": False},
        before="On",
        after="Off",
    )
    notices.write(
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        kind=NoticeKind.AUTOPAY_OFF,
        key=f"autopay-off:{enrolment.pk}",
        facts={"method": str(enrolment.instrument)},
    )
    audit.record(
        actor=actor,
        event="autopay.ended",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"autopay:{enrolment.pk}",
    )


@transaction.atomic(durable=True)
def choose_collection(
    *, customer: Customer, rule: CollectRule | None, days: int, actor: Actor, pay_type: PayType | None = None
) -> bool:
    """Choose when AutoPay collects an account's bills, ``None`` as its biller does; gives False where it was so already.

    ``days`` are those before the due date, where that is the rule. Bills that have a collection date keep it (PAY-12).
    ``pay_type`` says how the account pays, where no run is to collect from it (PAY-38); an enrolment stays as it is.

    :raises CollectionRefused: the days are none that are taken, or the pay type is none of an account.
    """
    if not 0 <= days <= 60:
        raise CollectionRefused(field="days")
    if pay_type is not None and pay_type.use != PayTypeUse.ACCOUNT:
        raise CollectionRefused(f"{pay_type} does not say how an account pays.", field="pay_type")
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    wanted = (rule or "", days if rule == CollectRule.BEFORE_DUE else None, pay_type.pk if pay_type else None)
    if (customer.collect_rule, customer.collect_days, customer.pay_type_id) == wanted:
        return False
    customer.collect_rule, customer.collect_days, customer.pay_type_id = wanted
    customer.save(update_fields=["collect_rule", "collect_days", "pay_type"])
    words = rule.label if rule else "As the biller does"
    if pay_type is not None:
        words = f"Never, {pay_type}. {words}"
    audit.record(
        actor=actor,
        event="autopay.collection_chosen",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"customer:{customer.pk}",
        facts={"rule": f"{words}: {days}" if rule == CollectRule.BEFORE_DUE else words},
    )
    return True


@transaction.atomic(durable=True)
def set_paperless(*, customer: Customer, enrolled: bool, actor: Actor) -> bool:
    """Turn paperless billing on or off; gives False where it was so already, and then nothing is written (MSP-13).

    :raises PaperlessRefused: there is no e-mail address to send bills to.
    """
    return _set_paperless(Customer.objects.select_for_update(no_key=True).get(pk=customer.pk), enrolled, actor)


@transaction.atomic(durable=True)
def set_paperless_together(*, customers: Sequence[Customer], enrolled: bool, actor: Actor) -> list[bool]:
    """Turn paperless billing of several accounts on or off, all or none; says for each whether it changed (MSP-28).

    :raises AccountsRefused: one has no e-mail address.
    """
    rows = Customer.objects.select_for_update(no_key=True).filter(pk__in=[one.pk for one in customers])
    held = {customer.pk: customer for customer in rows.order_by("pk")}
    faults, changed = [], []
    for place, customer in enumerate(customers):
        try:
            changed.append(_set_paperless(held[customer.pk], enrolled, actor))
        except PaperlessRefused as refused:
            faults.append((place, "paperless_refused", str(refused)))
    if faults:
        raise AccountsRefused(faults)
    return changed


def _set_paperless(customer: Customer, enrolled: bool, actor: Actor) -> bool:
    """Do it to an account whose row the caller holds."""
    if customer.paperless == enrolled:
        return False
    if enrolled and not customer.email:
        raise PaperlessRefused
    customer.paperless = enrolled
    customer.save(update_fields=["paperless"])
    records.write(
        actor=actor,
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        type=RecordType.PAPERLESS,
        optional_setting=OptionalSetting.UPDATED,
        facts={"enrolled": enrolled},
        before="Off" if enrolled else "On",
        after="On" if enrolled else "Off",
    )
    now = timezone.now()
    notices.write(
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        kind=NoticeKind.PAPERLESS_ON if enrolled else NoticeKind.PAPERLESS_OFF,
        key=f"paperless:{customer.pk}:{now.timestamp()}",
        facts={},
    )
    audit.record(
        actor=actor,
        event="paperless.enrolled" if enrolled else "paperless.ended",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"customer:{customer.pk}",
    )
    return True


def put_on_calendar(customer: Customer, today: datetime.date) -> None:
    """Give each open bill of a customer whose row the caller holds a collection date that is not in the past (PAY-12)."""
    bills = Item.objects.filter(customer=customer, kind=ItemKind.BILL, open__gt=0).select_for_update(no_key=True)
    for item in bills.order_by("pk"):
        if (on := _collection_day(item, customer, today)) != item.collect_on:
            item.collect_on = on
            item.collect_tries, item.declined_on = 0, None
            item.save(update_fields=["collect_on", "collect_tries", "declined_on"])


def _collection_day(item: Item, customer: Customer, today: datetime.date) -> datetime.date:
    """Say when AutoPay takes a bill, today at the earliest: its own date, else by the customer's rule or the biller's."""
    on = item.collect_on
    if on is None:
        rule = customer.collect_rule or customer.biller.collect_rule
        days = customer.collect_days if customer.collect_rule else customer.biller.collect_days
        due = item.due_on or today
        on = {
            CollectRule.FINALIZED: today,
            CollectRule.DUE: due,
            CollectRule.BEFORE_DUE: due - datetime.timedelta(days=days or 0),
        }[CollectRule(rule)]
    return max(on, today)
