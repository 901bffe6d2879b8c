"""Outside payments: money that the biller took elsewhere, at a counter, a kiosk, by telephone or through a lockbox.

It was taken already, so it is never refused for what is due: what no bill takes is the customer's credit. It is booked
and told like any other payment, and no processor of ours is asked.

Source: MSP-6, MSP-8, MSP-9, PAY-38, PAY-44
"""

from __future__ import annotations

import datetime
import hashlib
import re
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from billing import audit, formats
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from billing.models import Biller, Customer, Item, PayType, Posting, PostingKind
from billing.money import quantise
from payments.models import PAY_TYPE_OF, Channel, Payment, PaymentState, Tender
from payments.operations import dues, postings, reservations
from payments.operations.postings import Moved

CHANNELS = (Channel.KIOSK, Channel.IVR, Channel.OUTBOUND_CALL, Channel.LOCKBOX, Channel.CSR)
"""Where a biller may take money outside of this house; ``CSR`` is its own counter."""


class OutsidePaymentRefused(DomainError):
    """The payment cannot be recorded as it is; the sentence says why."""


@transaction.atomic(durable=True)
def record(
    *,
    customer: Customer,
    amount: Decimal,
    tender: Tender | None = None,
    pay_type: PayType | None = None,
    channel: Channel,
    approval_code: str,
    actor: Actor,
    request_key: str,
    kiosk: str = "",
    taken_at: datetime.datetime | None = None,
    now: datetime.datetime | None = None,
) -> Payment:
    """Record a payment that was taken elsewhere, and give it posted; open bills are paid oldest first.

    ``amount`` is in the biller's currency and without fees. What it was made with says either ``tender`` or ``pay_type``, whose
    own rules it keeps to (PAY-38). ``approval_code`` is that of whoever took it, or the number of
    its receipt: by it the biller's own system may know repetitions. ``request_key`` is the caller's own: the same key with
    the same input gives the same payment again and records nothing.

    :raises Conflict: the key was used with other input.
    :raises OutsidePaymentRefused: the amount, the code, the kiosk, the moment or the pay type cannot be.
    """
    now = now or timezone.now()
    taken_at = taken_at or now
    biller: Biller = customer.biller
    amount = quantise(amount, biller.currency)
    if pay_type is not None:
        tender = _tender_of(pay_type)
    elif tender is None:
        raise OutsidePaymentRefused("Say what it was paid with.", field="tender")
    other = pay_type if pay_type is not None and pay_type.pk != PAY_TYPE_OF[tender] else None
    given = f"outside|{customer.pk}|{amount}|{tender}|{channel}|{approval_code}|{kiosk}"
    if other is not None:
        given += f"|{other.pk}"
    fingerprint = hashlib.sha256(given.encode()).hexdigest()
    # Two calls with one key wait for each other here.
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if earlier := Payment.objects.filter(biller=biller, request_key=request_key).first():
        if earlier.request_hash != fingerprint:
            raise Conflict
        return earlier
    _check(amount, channel, approval_code, kiosk, taken_at, now)
    if pay_type is not None:
        _keep_to(pay_type, biller, amount, channel, approval_code)
    payment = Payment.objects.create(
        biller=biller, customer=customer, tender=tender, amount=amount, currency=biller.currency, channel=channel,
        requestor=actor.requestor, made_by=actor.label[:120], user_id=actor.user_id, request_key=request_key,
        request_hash=fingerprint, approval_code=approval_code, kiosk=kiosk, created_at=taken_at,
        other_type=other,
    )  # fmt: skip
    held = Item.objects.filter(customer=customer, open__gt=0, kind__in=dues.OWED)
    items = list(held.order_by("pk").select_for_update(no_key=True))
    reservations.reserve(payment_id=payment.pk, biller_id=biller.pk, items=items, amount=amount)
    posting = Posting.objects.create(
        biller=biller,
        key=f"outside:{payment.pk}",
        kind=PostingKind.RECEIPTS,
        effective_on=biller.business_date(taken_at),
    )
    payment.state, payment.posting_id, payment.settled_at, payment.result = PaymentState.POSTED, posting.pk, now, 0
    payment.save(update_fields=["state", "posting_id", "settled_at", "result"])
    moved = Moved(
        str(payment.pk), customer.pk, None, tender, biller.currency, None, amount, payment.fee, payment.channel
    )
    postings.book(biller=biller, posting_id=posting.pk, payments=[moved])
    audit.record(
        actor=actor,
        event="payment.recorded",
        biller_id=biller.pk,
        customer_id=customer.pk,
        subject=str(payment.pk),
        facts={
            "amount": f"{amount} {biller.currency}",
            "channel": payment.get_channel_display(),
            **({"pay_type": str(other)} if other else {}),
            "confirmation": payment.confirmation,
        },
    )
    return payment


def _check(
    amount: Decimal,
    channel: Channel,
    approval_code: str,
    kiosk: str,
    taken_at: datetime.datetime,
    now: datetime.datetime,
) -> None:
    if amount <= 0:
        raise OutsidePaymentRefused("Enter an amount above zero.", field="amount")
    if channel not in CHANNELS:
        raise OutsidePaymentRefused("Payments of this channel are taken here, not recorded.", field="channel")
    if not approval_code.strip():
        raise OutsidePaymentRefused("Give the approval code, or the number of the receipt.", field="approval_code")
    if (channel == Channel.KIOSK) != bool(kiosk):
        raise OutsidePaymentRefused("A payment at a kiosk names the kiosk, and no other does.", field="kiosk")
    if taken_at > now + datetime.timedelta(minutes=5):
        raise OutsidePaymentRefused("The payment lies in the future.", field="taken_at")


def _tender_of(pay_type: PayType) -> Tender:
    """Give what a payment of the type is booked and told as."""
    if not pay_type.active or not pay_type.tender:
        raise OutsidePaymentRefused(f"No payment can be recorded as {pay_type}.", field="pay_type")
    return Tender(pay_type.tender)


def _keep_to(pay_type: PayType, biller: Biller, amount: Decimal, channel: Channel, approval_code: str) -> None:
    """Refuse what a pay type's own rules do not allow."""
    if pay_type.channels and channel not in pay_type.channels:
        raise OutsidePaymentRefused(f"{pay_type} is not taken there.", field="channel")
    if pay_type.least is not None and amount < pay_type.least:
        least = formats.money(pay_type.least, biller.currency)
        raise OutsidePaymentRefused(f"{pay_type} is taken from {least} on.", field="amount")
    if pay_type.most is not None and amount > pay_type.most:
        most = formats.money(pay_type.most, biller.currency)
        raise OutsidePaymentRefused(f"{pay_type} is taken up to {most}.", field="amount")
    if pay_type.reference_pattern and not re.fullmatch(pay_type.reference_pattern, approval_code):
        raise OutsidePaymentRefused(f"This is no reference of {pay_type}.", field="approval_code")
