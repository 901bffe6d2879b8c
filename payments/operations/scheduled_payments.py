"""Scheduled payments: made, changed and cancelled; they follow the account when a new bill carries the old balance.

An account has one at a time. It is for the account and not for one bill: on its day it takes whatever is due then, or a
fixed amount and never more than is due. :mod:`payments.operations.scheduled_collections` takes the money.

The biller's system hears of each as a comment (MSP-15): when it is made, when it is changed or moves to a newer bill, and
when it will not be made after all, whether a person cancelled it, nothing was due, or it failed.

Source: MSP-15, MSP-17, MSP-36.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing import audit, formats
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.models import Customer, Invoice, Item, ItemKind, NoticeKind
from billing.money import quantise
from billing.operations.invoice_files import Carriers, Returned
from payments.models import AutoPayEnrolment, Instrument, InstrumentState, ScheduledPayment
from payments.models import ScheduledState as State
from payments.operations import charges, dues
from payments.operations.scheduled_outcomes import notify, tell, words_of

CONSENT_VERSION = "2026-11"
# As far ahead as a day may be chosen: further out it is a mistyped year.
MOST_DAYS_AHEAD = 365


class SchedulingOff(DomainError):
    """The biller takes no scheduled payments."""

    default = _("This biller takes no scheduled payments. Pay now instead.")  # type: ignore[assignment]


class DayRefused(DomainError):
    """The day is not one on which the payment can be made."""


class AlreadyScheduled(DomainError):
    """The account has a scheduled payment already."""

    default = _("A payment is already scheduled for this account. Change it, or cancel it first.")  # type: ignore[assignment]


class AutoPayComesFirst(DomainError):
    """AutoPay takes the bill on that day or before it."""


class NotChangeable(DomainError):
    """It has ended, or its money is being taken."""

    default = _("This payment cannot be changed any more: it is being made, or it has ended.")  # type: ignore[assignment]


class NothingChanged(DomainError):
    """It is as was asked for already."""

    default = _("Nothing was changed: the payment is scheduled like this already.")  # type: ignore[assignment]


def consent_text(*, biller_name: str, method: str, pay_on: datetime.date, amount: Decimal | None, currency: str) -> str:
    """Give the words to which a payer agrees; the text is kept with the scheduled payment. No amount: all that is due."""
    words = {"biller": biller_name, "method": method, "day": formats.day(pay_on)}
    if amount is None:
        return str(
            _(
                "I authorize %(biller)s to charge %(method)s once, on %(day)s, for all that is due on my account on that "
                "day. I can change or cancel this until the day before."
            )
            % words
        )
    return str(
        _(
            "I authorize %(biller)s to charge %(method)s once, on %(day)s, for %(amount)s, or for what is due then where "
            "that is less. I can change or cancel this until the day before."
        )
        % {**words, "amount": formats.money(amount, currency)}
    )


def days(*, customer: Customer, now: datetime.datetime) -> tuple[datetime.date, datetime.date]:
    """Give the first and the last day that may be chosen for an account; the last may lie before the first."""
    today = customer.biller.business_date(now)
    last = today + datetime.timedelta(days=MOST_DAYS_AHEAD)
    bill = _bill_of(customer)
    if bill is not None and bill.payable_until is not None:
        last = min(last, bill.payable_until)
    return today + datetime.timedelta(days=1), last


def live_of(customer: Customer) -> ScheduledPayment | None:
    """Give the account's scheduled payment, where it has one that has not ended."""
    mine = ScheduledPayment.objects.filter(customer=customer, ended_at__isnull=True)
    return mine.select_related("instrument", "invoice", "biller", "customer").first()


@transaction.atomic(durable=True)
def schedule(
    *,
    customer: Customer,
    pay_on: datetime.date,
    amount: Decimal | None,
    instrument: Instrument,
    actor: Actor,
    request_key: str,
    how: str = "",
    now: datetime.datetime | None = None,
) -> ScheduledPayment:
    """Schedule one payment of an account, on a business day to come, with a method on file.

    ``amount`` is in the biller's currency and the most that is taken; ``None`` takes whatever is due on the day. ``how`` is
    a sentence on how the customer agreed, where somebody else says so for them. ``request_key`` is the caller's own: the
    same key with the same input gives the same scheduled payment again.

    :raises Conflict: the key was used with other input.
    :raises SchedulingOff: the biller takes none.
    :raises AlreadyScheduled: the account has one.
    :raises DayRefused: the day is not in the future, too far ahead, or after the bill's last day.
    :raises AutoPayComesFirst: AutoPay takes the bill on that day or before it.
    :raises payments.operations.charges.MethodBlocked: the account may not pay this way.
    :raises payments.operations.charges.MethodUnusable: the method is not on file or will have expired.
    :raises payments.operations.charges.NothingDue: nothing is open.
    :raises payments.operations.charges.AmountRefused: too much, too little, or a part where parts are not taken.
    :raises payments.operations.charges.AlreadyBeingPaid: another payment holds all that is due.

    Source: MSP-15
    """
    now = now or timezone.now()
    customer = Customer.objects.select_for_update(no_key=True).select_related("biller").get(pk=customer.pk)
    biller = customer.biller
    given = f"{customer.pk}|{pay_on}|{amount}|{instrument.pk}"
    fingerprint = hashlib.sha256(given.encode()).hexdigest()
    earlier = ScheduledPayment.objects.filter(biller=biller, request_key=request_key).first()
    if earlier is not None:
        if earlier.request_hash != fingerprint:
            raise Conflict(_("This payment was already scheduled with other details. Start again."))  # type: ignore[arg-type]
        return earlier
    if live_of(customer) is not None:
        raise AlreadyScheduled
    bill, planned = check(customer=customer, pay_on=pay_on, amount=amount, instrument=instrument, now=now)
    scheduled = ScheduledPayment.objects.create(
        biller=biller,
        customer=customer,
        invoice=bill,
        instrument=instrument,
        pay_on=pay_on,
        whole=amount is None,
        amount=planned,
        currency=biller.currency,
        request_key=request_key,
        request_hash=fingerprint,
        created_at=now,
        **_consent(customer, pay_on, amount, instrument, actor, how),
    )
    tell([scheduled.pk], "scheduled", actor=actor)
    notify([scheduled.pk], NoticeKind.SCHEDULED, now=now)
    _audit("scheduled.made", scheduled, actor)
    return scheduled


@transaction.atomic(durable=True)
def change(
    *,
    scheduled: ScheduledPayment,
    pay_on: datetime.date,
    amount: Decimal | None,
    instrument: Instrument,
    actor: Actor,
    how: str = "",
    now: datetime.datetime | None = None,
) -> ScheduledPayment:
    """Change the day, the amount or the method of a scheduled payment that waits; see :func:`schedule`.

    A change of method alone is told nobody but the payer: for the biller's system nothing is different.

    :raises NotChangeable: it has ended or is being made.
    :raises NothingChanged: it is so already.

    Refuses what :func:`schedule` refuses as well.
    """
    now = now or timezone.now()
    scheduled, customer = _held(scheduled)
    bill, planned = check(customer=customer, pay_on=pay_on, amount=amount, instrument=instrument, now=now)
    asked = (pay_on, amount is None, planned, instrument.pk)
    if asked == (scheduled.pay_on, scheduled.whole, scheduled.amount, scheduled.instrument_id):
        raise NothingChanged
    before = words_of([scheduled.pk])
    said = (scheduled.pay_on, scheduled.amount, scheduled.invoice_id) != (pay_on, planned, bill.pk)
    for name, value in {
        "pay_on": pay_on,
        "whole": amount is None,
        "amount": planned,
        "instrument": instrument,
        "invoice": bill,
        "changed_at": now,
        **_consent(customer, pay_on, amount, instrument, actor, how),
    }.items():
        setattr(scheduled, name, value)
    scheduled.save()
    if said:
        tell([scheduled.pk], "changed", actor=actor, before=before)
    notify([scheduled.pk], NoticeKind.RESCHEDULED, now=now)
    _audit("scheduled.changed", scheduled, actor)
    return scheduled


@transaction.atomic(durable=True)
def cancel(*, scheduled: ScheduledPayment, actor: Actor, now: datetime.datetime | None = None) -> ScheduledPayment:
    """Cancel a scheduled payment that waits; nothing of it is ever sent to the processor.

    :raises NotChangeable: it has ended or is being made.
    """
    now = now or timezone.now()
    scheduled, _customer = _held(scheduled)
    scheduled.state, scheduled.ended_at, scheduled.ended_by = State.CANCELLED, now, actor.label[:120]
    scheduled.save(update_fields=["state", "ended_at", "ended_by"])
    tell([scheduled.pk], "cancelled", actor=actor, before=words_of([scheduled.pk]))
    notify([scheduled.pk], NoticeKind.UNSCHEDULED, now=now)
    _audit("scheduled.cancelled", scheduled, actor)
    return scheduled


def _held(scheduled: ScheduledPayment) -> tuple[ScheduledPayment, Customer]:
    """Lock the customer and then the scheduled payment; refuses one that does not wait."""
    customer = (
        Customer.objects.select_for_update(of=("self",), no_key=True)
        .select_related("biller")
        .get(pk=scheduled.customer_id)
    )
    scheduled = (
        ScheduledPayment.objects.select_for_update(of=("self",)).select_related("instrument").get(pk=scheduled.pk)
    )
    if scheduled.state != State.SCHEDULED:
        raise NotChangeable
    return scheduled, customer


def _consent(
    customer: Customer,
    pay_on: datetime.date,
    amount: Decimal | None,
    instrument: Instrument,
    actor: Actor,
    how: str,
) -> dict[str, Any]:
    """Say who agreed to what, as it is kept."""
    biller = customer.biller
    terms = consent_text(
        biller_name=biller.name, method=str(instrument), pay_on=pay_on, amount=amount, currency=biller.currency
    )
    return {
        "consent_version": CONSENT_VERSION,
        "consent_text": "\n\n".join(filter(None, [terms, how])),
        "requestor": actor.requestor,
        "made_by": actor.label[:120],
        "user_id": actor.user_id,
    }


def check(
    *,
    customer: Customer,
    pay_on: datetime.date,
    amount: Decimal | None,
    instrument: Instrument,
    now: datetime.datetime,
) -> tuple[Invoice, Decimal]:
    """Refuse what cannot be scheduled, as :func:`schedule` does; gives the bill that it is for, and what would be taken.

    For pages that show what is asked before it is done.
    """
    biller = customer.biller
    if not biller.allow_scheduled_payments or customer.pay_type_id is not None:
        raise SchedulingOff
    bill = _bill_of(customer)
    due = dues.due(customer=customer)
    if bill is None or due.full <= 0:
        raise charges.NothingDue
    if due.being_paid:
        raise charges.AlreadyBeingPaid
    _check_day(customer, bill, pay_on, now)
    if customer.blocks(instrument.kind):
        raise charges.MethodBlocked(field="method")
    usable = instrument.state == InstrumentState.ACTIVE and instrument.served
    if instrument.customer_id != customer.pk or not usable:
        raise charges.MethodUnusable(field="method")
    if instrument.expired(pay_on):
        raise charges.MethodUnusable(_("This card expires before that day. Choose another one."), field="method")  # type: ignore[arg-type]
    if amount is None:
        return bill, due.full
    amount = quantise(amount, biller.currency)
    if amount <= 0:
        raise charges.AmountRefused(_("Enter an amount above zero."), field="amount")  # type: ignore[arg-type]
    if amount > due.full:
        words = _("Enter an amount of at most %(owed)s, which is what is due.") % {
            "owed": formats.money(due.full, biller.currency)
        }
        raise charges.AmountRefused(words, field="amount")
    if amount < due.full:
        charges.check_part(biller, due, amount)
    return bill, amount


def _check_day(customer: Customer, bill: Invoice, pay_on: datetime.date, now: datetime.datetime) -> None:
    today = customer.biller.business_date(now)
    if pay_on <= today:
        raise DayRefused(_("Choose a day in the future. To pay today, pay now."), field="pay_on")  # type: ignore[arg-type]
    if pay_on > today + datetime.timedelta(days=MOST_DAYS_AHEAD):
        raise DayRefused(_("Choose a day within the next year."), field="pay_on")  # type: ignore[arg-type]
    if bill.payable_until is not None and pay_on > bill.payable_until:
        words = _("This bill can be paid until %(day)s. Choose that day or an earlier one.") % {
            "day": formats.day(bill.payable_until)
        }
        raise DayRefused(words, field="pay_on")
    if not AutoPayEnrolment.objects.filter(customer=customer, ended_at__isnull=True).exists():
        return
    # Yesterday's are taken today, see collections.Options.usual.
    window = (today - datetime.timedelta(days=1), pay_on)
    bills = Item.objects.filter(customer=customer, kind=ItemKind.BILL, open__gt=0, collect_on__range=window)
    if (first := min(filter(None, bills.values_list("collect_on", flat=True)), default=None)) is not None:
        words = _("AutoPay pays this bill on %(day)s. Choose an earlier day, or turn AutoPay off first.") % {
            "day": formats.day(max(first, today))
        }
        raise AutoPayComesFirst(words, field="pay_on")


def _bill_of(customer: Customer) -> Invoice | None:
    """Give the newest bill of an account that is open, else the newest that there is."""
    bills = Invoice.objects.filter(customer=customer, withdrawn=False).order_by("-issued_on", "-pk")
    owed = Item.objects.filter(customer=customer, kind=ItemKind.BILL, open__gt=0).values("invoice_id")
    return bills.filter(pk__in=owed).first() or bills.first()


def _audit(event: str, scheduled: ScheduledPayment, actor: Actor) -> None:
    audit.record(
        actor=actor,
        event=event,
        biller_id=scheduled.biller_id,
        customer_id=scheduled.customer_id,
        subject=f"scheduled:{scheduled.pk}",
        facts={
            "amount": f"{scheduled.amount} {scheduled.currency}",
            "whole": scheduled.whole,
            "day": str(scheduled.pay_on),
            "method": str(scheduled.instrument),
        },
    )


def follow(cursor: Any, carriers: Carriers) -> None:
    """Let scheduled payments follow to the bills that carry their accounts' balances, once every balance is true.

    The biller's system hears of each as a change that names the new bill, and the payer is told. For billers without
    scheduled payments this is one look into a partial index.
    """
    if not _any_live(cursor, carriers.biller.pk):
        return
    _move(
        cursor,
        f"SELECT c.customer_id, c.invoice_id FROM {carriers.table} c WHERE c.is_new",
        [],
        actor=Actor.system("load_invoice_file"),
    )


def go_back(cursor: Any, returned: Returned) -> None:
    """Let scheduled payments follow back to the newest bill that is left, once a file has been withdrawn."""
    if not _any_live(cursor, returned.biller_id):
        return
    _move(
        cursor,
        f"""SELECT DISTINCT ON (v.customer_id) v.customer_id, v.id FROM billing_invoice v
            WHERE v.customer_id IN (SELECT customer_id FROM {returned.table}) AND NOT v.withdrawn
            ORDER BY v.customer_id, v.issued_on DESC, v.id DESC""",
        [],
        actor=Actor.system("withdraw_invoice_file"),
    )


def _any_live(cursor: Any, biller_id: int) -> bool:
    cursor.execute(
        "SELECT EXISTS (SELECT FROM payments_scheduledpayment WHERE biller_id = %s AND ended_at IS NULL)", [biller_id]
    )
    return bool(cursor.fetchone()[0])


def _move(cursor: Any, bills: str, params: Sequence[Any], *, actor: Actor) -> None:
    """Move what waits to other bills of the same accounts, whose customers are locked; ``bills`` is SQL of both ids."""
    cursor.execute(
        f"""
        SELECT s.id FROM payments_scheduledpayment s JOIN ({bills}) AS b (customer_id, invoice_id)
        ON b.customer_id = s.customer_id
        WHERE s.state = 'scheduled' AND s.ended_at IS NULL AND s.invoice_id <> b.invoice_id
        ORDER BY s.id FOR UPDATE OF s
        """,
        params,
    )
    ids = [pk for (pk,) in cursor.fetchall()]
    if not ids:
        return
    now, before = timezone.now(), words_of(ids)
    # What is due is the balance, now that it is true; where nothing is left, the run finds out on the day.
    cursor.execute(
        f"""
        UPDATE payments_scheduledpayment s
        SET invoice_id = b.invoice_id, changed_at = %s,
            amount = CASE WHEN s.whole AND c.balance > 0 THEN c.balance ELSE s.amount END
        FROM ({bills}) AS b (customer_id, invoice_id) JOIN billing_customer c ON c.id = b.customer_id
        WHERE s.id = ANY(%s) AND b.customer_id = s.customer_id
        """,
        [now, *params, ids],
    )
    tell(ids, "changed", actor=actor, before=before)
    notify(ids, NoticeKind.RESCHEDULED, now=now, followed=True)
