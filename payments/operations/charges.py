"""Charging one customer now: a payer or a CSR pays, and is told at once what came of it.

Reserve, then pay: one transaction holds the items' money and commits the attempt; then the processor is spoken to, with
no transaction open; then the answer is settled. Without an answer the payment stays processing and recovery finds out.

Source: PAY-1, PAY-2, PAY-3, PAY-15, PAY-24, PAY-44; the design's five rules, 1 and 2.
"""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing import audit, formats
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.failpoints import failpoint
from billing.models import Biller, Customer, Item
from billing.money import ZERO, quantise
from payments.gateways.base import ChargeRequest, Command
from payments.models import (
    Attempt,
    Authorization,
    Channel,
    Checkpoint,
    Instrument,
    InstrumentKind,
    InstrumentState,
    Payment,
    PaymentState,
    Tender,
)
from payments.operations import answers, balances, declines, dues, prepayments, reservations, settlements, verifications
from payments.operations.routes import described, open_route

# Through these doors nobody pays more than is owed; a CSR may take money on account.
_PAYER_CHANNELS = frozenset({Channel.WEB, Channel.GUEST, Channel.TEXT, Channel.IVR})

TENDER_OF = {InstrumentKind.CARD: Tender.CARD, InstrumentKind.BANK: Tender.ACH}
# What the card networks are told of how a charge came about (PAY-19): entered by the payer on a page, agreed to in advance,
# or said or written to somebody else (mail or telephone order).
TRANSACTION_TYPE = {
    Channel.UNSPECIFIED: "moto",
    Channel.WEB: "internet",
    Channel.CSR: "moto",
    Channel.AUTOPAY: "recurring",
    Channel.SCHEDULED: "recurring",
    Channel.TEXT: "moto",
    Channel.API: "internet",
    Channel.IVR: "moto",
    Channel.OUTBOUND_CALL: "moto",
    Channel.KIOSK: "moto",
    Channel.LOCKBOX: "moto",
    Channel.GUEST: "internet",
}


class ChargingStopped(DomainError):
    """The biller's stop switch is on."""

    default = _("This biller takes no payments at the moment. No money has been taken.")  # type: ignore[assignment]


class MethodBlocked(DomainError):
    """The customer may not pay this way."""

    default = _("This account cannot be paid this way. Choose another method.")  # type: ignore[assignment]


class MethodUnusable(DomainError):
    """The method is expired, removed, or another customer's."""

    default = _("This method cannot be used. Choose another one.")  # type: ignore[assignment]


class NothingDue(DomainError):
    """There is nothing to pay."""

    default = _("Nothing is due on this account.")  # type: ignore[assignment]


class AmountRefused(DomainError):
    """The amount is more than is owed, or a part where parts are not taken."""


class AlreadyBeingPaid(DomainError):
    """Another payment of the same bill is on its way."""

    default = _("A payment of this bill is already on its way. Wait for its result before paying again.")  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Started:
    """A payment whose reservation and attempt are committed, and the message to send for it."""

    payment_id: uuid.UUID
    request: ChargeRequest


def pay(
    *,
    customer: Customer,
    amount: Decimal,
    instrument: Instrument,
    channel: Channel,
    actor: Actor,
    request_key: str,
    item_ids: Sequence[int] | None = None,
    email: str = "",
    language: str = "",
    fee: Decimal = ZERO,
    kiosk: str = "",
    authorize_only: bool = False,
    no_more_than_due: bool = False,
    transaction_type: str = "",
    now: datetime.datetime | None = None,
) -> Payment:
    """Charge a customer's instrument and give the payment: posted, failed, or processing where the outcome is unknown.

    With ``authorize_only`` the processor only holds the money of a card, and the payment is authorized until it is
    deposited or released (:mod:`payments.operations.authorizations`, PAY-7).

    ``amount`` is in the biller's currency; ``item_ids`` are the items to pay, by default every open bill, oldest first.
    ``fee`` is a convenience fee that is charged on top of ``amount``, pays no item, and is the biller's income.
    ``request_key`` is the caller's own: the same key with the same input gives the same payment again and charges nothing.
    ``kiosk`` is the id of the kiosk where it is made.
    ``no_more_than_due`` refuses money on account from a CSR as well, as it always is from a payer.
    ``transaction_type`` is what the processor is told of how it was ordered (PAY-19), by default what the channel says.
    ``email`` and ``language`` are a guest's: where the receipt goes and what it speaks; empty means the customer's own.

    :raises ValueError: the fee is negative.
    :raises Conflict: the key was used with other input.
    :raises ChargingStopped: the biller's switch is on.
    :raises MethodBlocked: the customer or biller does not take this kind of method.
    :raises MethodUnusable: the instrument cannot be charged.
    :raises payments.operations.balances.BalanceUnknown: what the account owes could not be asked, and the biller holds
        charges then.
    :raises NothingDue: no item is open.
    :raises AmountRefused: too much, too little, or a part where parts are not taken.
    :raises AlreadyBeingPaid: another payment holds the items.
    :raises payments.gateways.base.Misconfigured: the route is set up wrongly; an operator must mend it.
    """
    now = now or timezone.now()
    # Before anything is held: a route that is set up wrongly must not leave an attempt behind.
    gateway = open_route(instrument.route)
    try:
        if verifications.renew(biller=customer.biller, among=[instrument], actor=actor, now=now):
            _refuse_unverified(instrument)
        balances.make_sure(customer=customer)
    except (balances.BalanceUnknown, MethodUnusable):
        # A payment that was made under this key is given again, whatever can be known by now.
        if not Payment.objects.filter(biller_id=customer.biller_id, request_key=request_key).exists():
            raise
    started = start(
        customer=customer,
        amount=amount,
        instrument=instrument,
        channel=channel,
        actor=actor,
        request_key=request_key,
        item_ids=item_ids,
        email=email,
        language=language,
        fee=fee,
        kiosk=kiosk,
        hold=gateway.authorization_life if authorize_only else None,
        no_more_than_due=no_more_than_due,
        transaction_type=transaction_type,
        now=now,
    )
    if isinstance(started, Payment):
        return started
    failpoint("pay.checkpointed")
    results = list(gateway.send(described(instrument.route, [started.request])))
    failpoint("pay.answered")
    settlements.settle(biller=customer.biller, answers=answers.answers_of(results), actor=actor, now=timezone.now())
    return Payment.objects.select_related("customer", "instrument").get(pk=started.payment_id)


@transaction.atomic(durable=True)
def start(
    *,
    customer: Customer,
    amount: Decimal,
    instrument: Instrument,
    channel: Channel,
    actor: Actor,
    request_key: str,
    item_ids: Sequence[int] | None,
    email: str,
    now: datetime.datetime,
    language: str = "",
    fee: Decimal = ZERO,
    kiosk: str = "",
    hold: datetime.timedelta | None = None,
    no_more_than_due: bool = False,
    transaction_type: str = "",
) -> Started | Payment:
    """Hold the items' money and commit the attempt, before the processor hears of it; see :func:`pay`.

    ``hold`` is for how long the processor holds the money where it is only authorized; nothing where it is charged.
    Gives the payment itself where the key was used before.
    """
    biller: Biller = customer.biller
    amount, fee = quantise(amount, biller.currency), quantise(fee, biller.currency)
    if fee < 0:
        raise ValueError("A fee cannot be negative.")
    fingerprint = _fingerprint(customer, amount, fee, instrument, item_ids, hold)
    if earlier := Payment.objects.filter(biller=biller, request_key=request_key).first():
        return _same(earlier, fingerprint)
    _check_method(customer, instrument, now)
    if hold is not None and instrument.kind != InstrumentKind.CARD:
        raise MethodUnusable(_("Only a card can be authorized now and charged later."), field="method")  # type: ignore[arg-type]
    # A load of invoices holds the customer while it carries old items forward: the items are looked for after it, so that
    # the bill that carries them is found.
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if declines.standing(instrument=instrument, now=now, lock=True).held:
        raise MethodUnusable(declines.HELD, field="method")  # type: ignore[arg-type]
    # Locked in order of age, so that two payers of one account wait for each other instead of for both.
    held = list(
        Item.objects.filter(customer=customer)
        .open()
        .select_related("invoice")
        .order_by("pk")
        .select_for_update(of=("self",), no_key=True)
    )
    if item_ids is not None:
        held = [item for item in held if item.pk in set(item_ids)]
    items = [item for item in held if item.kind in dues.OWED and item.open > 0]
    due = dues.reckon(biller, held)
    if channel in _PAYER_CHANNELS and item_ids is None and prepayments.is_prepaid(customer):
        _check_added(biller, due, amount)
    else:
        _check_amount(biller, due, amount, no_more=no_more_than_due or channel in _PAYER_CHANNELS)
    with connection.cursor() as cursor:
        # Two requests with one key may come at once; the second one waits here and then finds the first.
        cursor.execute(
            "INSERT INTO payments_payment (biller_id, customer_id, instrument_id, route_id, tender, amount, fee, currency, state,"
            " channel, requestor, made_by, user_id, email, language, request_key, request_hash, failure, approval_code, created_at,"
            " kiosk)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'processing', %s, %s, %s, %s, %s, %s, %s, %s, '', '', %s, %s)"
            " ON CONFLICT (biller_id, request_key) WHERE request_key IS NOT NULL DO NOTHING RETURNING id",
            [
                *(
                    biller.pk,
                    customer.pk,
                    instrument.pk,
                    instrument.route_id,
                    TENDER_OF[InstrumentKind(instrument.kind)],
                ),
                *(
                    amount,
                    fee,
                    biller.currency,
                    channel,
                    actor.requestor,
                    actor.label[:120],
                    actor.user_id,
                    email,
                    language,
                ),
                *(request_key, fingerprint, now, kiosk),
            ],
        )
        row = cursor.fetchone()
    if row is None:
        return _same(Payment.objects.get(biller=biller, request_key=request_key), fingerprint)
    (payment_id,) = row
    reservations.reserve(payment_id=payment_id, biller_id=biller.pk, items=items, amount=amount)
    attempt = Attempt.objects.create(
        biller=biller,
        payment_id=payment_id,
        route_id=instrument.route_id,
        command=Command.CHARGE if hold is None else Command.AUTHORIZE,
        transaction_type=transaction_type or TRANSACTION_TYPE[channel],
        amount=amount + fee,
        created_at=now,
        sent_at=now,
    )
    Checkpoint.objects.create(payment_id=payment_id, attempt=attempt, biller=biller)
    if hold is not None:
        Authorization.objects.create(
            payment_id=payment_id,
            biller=biller,
            customer=customer,
            authorized_on=biller.business_date(now),
            expires_at=now + hold,
        )
    audit.record(
        actor=actor,
        event="payment.started",
        biller_id=biller.pk,
        customer_id=customer.pk,
        subject=str(payment_id),
        facts={
            "amount": f"{amount} {biller.currency}",
            **({"fee": f"{fee} {biller.currency}"} if fee else {}),
            "method": str(instrument),
        },
    )
    return Started(
        payment_id,
        ChargeRequest(
            key=str(attempt.pk),
            command=Command(attempt.command),
            amount=attempt.amount,
            currency=biller.currency,
            token=instrument.token,
            tender=instrument.kind,
            transaction_type=attempt.transaction_type,
            account=customer.shown_number,
            payment=str(payment_id),
            debit_method=instrument.debit_method,
            debit_facts=instrument.debit_facts,
        ),
    )


def _refuse_unverified(instrument: Instrument) -> NoReturn:
    """Say whether the bank account was refused, or could not be asked about."""
    state = Instrument.objects.values_list("state", flat=True).get(pk=instrument.pk)
    if state == InstrumentState.BAD:
        raise MethodUnusable(field="method")
    raise MethodUnusable(
        _("This bank account could not be verified just now. Try again, or choose another method."),  # type: ignore[arg-type]
        field="method",
    )


def _same(earlier: Payment, fingerprint: str) -> Payment:
    if earlier.request_hash != fingerprint:
        raise Conflict(_("This payment was already sent with other details. Start again."))  # type: ignore[arg-type]
    return earlier


def _fingerprint(
    customer: Customer,
    amount: Decimal,
    fee: Decimal,
    instrument: Instrument,
    item_ids: Sequence[int] | None,
    hold: datetime.timedelta | None,
) -> str:
    given = f"{customer.pk}|{amount}|{fee}|{instrument.pk}|{sorted(item_ids) if item_ids is not None else ''}"
    if hold is not None:
        given += "|authorize"
    return hashlib.sha256(given.encode()).hexdigest()


def _check_method(customer: Customer, instrument: Instrument, now: datetime.datetime) -> None:
    biller = customer.biller
    # Read again inside the transaction: switch and blocks must hold from the moment they are turned.
    current = Customer.objects.select_related("biller").get(pk=customer.pk)
    if current.biller.charging_stopped:
        raise ChargingStopped
    if current.blocks(instrument.kind):
        raise MethodBlocked(field="method")
    usable = instrument.state in {InstrumentState.ACTIVE, InstrumentState.ONE_TIME} and instrument.served
    if instrument.customer_id != customer.pk or not usable or instrument.expired(biller.business_date(now)):
        raise MethodUnusable(field="method")


def _check_added(biller: Biller, due: dues.Due, amount: Decimal) -> None:
    """Refuse what may not be added to a prepaid account at once: nothing need be due there."""
    if not biller.prepaid_least <= amount <= biller.prepaid_most:
        words = _("Enter an amount from %(least)s to %(most)s.") % {
            "least": formats.money(biller.prepaid_least, biller.currency),
            "most": formats.money(biller.prepaid_most, biller.currency),
        }
        raise AmountRefused(words, field="amount")
    if due.in_flight and due.free < min(amount, due.full):
        raise AlreadyBeingPaid


def _check_amount(biller: Biller, due: dues.Due, amount: Decimal, *, no_more: bool) -> None:
    if amount <= 0:
        raise AmountRefused(_("Enter an amount above zero."), field="amount")  # type: ignore[arg-type]
    if no_more:
        if due.full == 0:
            raise NothingDue
        if amount > due.full:
            words = _("Enter an amount of at most %(owed)s, which is what is due.") % {
                "owed": formats.money(due.full, biller.currency)
            }
            raise AmountRefused(words, field="amount")
    if due.full > 0 and due.free < min(amount, due.full):
        raise AlreadyBeingPaid
    if amount < due.full:
        check_part(biller, due, amount)


def check_part(biller: Biller, due: dues.Due, amount: Decimal) -> None:
    """Refuse a part where the newest bill or the biller takes none, or where it is under the bill's minimum."""
    if not due.parts:
        raise AmountRefused(_("This bill can only be paid in full."), field="amount")  # type: ignore[arg-type]
    if amount < due.least:
        words = _("Enter at least %(least)s, the least that is taken for this bill.") % {
            "least": formats.money(due.least, biller.currency)
        }
        raise AmountRefused(words, field="amount")


def paid_today(*, customer: Customer, now: datetime.datetime) -> list[Payment]:
    """Give the payments of the customer's account on the biller's business day that went through or are on their way.

    Pages say so before a second payment of the same bill.
    """
    biller = customer.biller
    recent = Payment.objects.filter(
        customer=customer,
        state__in=[PaymentState.POSTED, PaymentState.PROCESSING, PaymentState.AUTHORIZED],
        created_at__gte=now - datetime.timedelta(days=2),
    ).order_by("-created_at", "-id")
    today = biller.business_date(now)
    return [payment for payment in recent if biller.business_date(payment.created_at) == today]
