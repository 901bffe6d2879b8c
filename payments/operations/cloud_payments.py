"""CloudPay: the biller's own system opens a payment of one account and gets an address for its CSR or for the payer.

The address is signed, short-lived and good for one payment of one amount. The balance that the call tells wins over what is
on file: our books are made to say the same by a signed adjustment, by the rule of :mod:`payments.operations.balances`. What is
paid is a CSR's payment by web service, whoever had the address.

Source: MSP-27
"""

from __future__ import annotations

import base64
import binascii
import datetime
import enum
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext_lazy as _

from billing import audit, formats, tenancy, throttles
from billing.actors import Actor, Requestor
from billing.errors import DomainError
from billing.models import AdjustmentSource, Biller, Customer, Invoice, Item
from billing.money import quantise
from billing.operations import adjustments
from billing.throttles import Limit
from datapump.models import Balance
from payments.models import Channel, CloudPayer, CloudPayment, Instrument, Payment, PaymentState
from payments.operations import balances, charges, dues

GOOD_FOR = datetime.timedelta(minutes=30)
# What came of it can be seen for so long after that.
SHOWN_FOR = datetime.timedelta(hours=1)
# A declined card may be followed by another one; whoever needs more has cards to try out.
MOST_TRIES = 5
# A call centre behind one address opens several pages for each payment.
OPENED_FROM_ADDRESS = Limit("cloud-from", 1200, datetime.timedelta(minutes=30))
_SIGNS = 32  # of 64 kinds
_CODE = re.compile(r"[A-Za-z0-9_-]{54}")


class NoSuchLink(DomainError):
    """We made no such address."""


class ReturnRefused(DomainError):
    """The address to go back to is none that the biller allows."""

    default = (
        "This address to go back to begins with https:// and names a host that is allowed in the biller’s settings."
    )


class UserNameMissing(DomainError):
    """A CSR pays, and the call does not say who."""

    default = "Name the CSR who pays."


class BalanceInDoubt(DomainError):
    """The call tells more than is due here while a payment may be missing from its balance."""


class LinkOver(DomainError):
    """The address is expired, or what it was for is paid."""

    default = _("This link has expired, or its payment was made. No money has been taken.")  # type: ignore[assignment]


class State(enum.StrEnum):
    """What came of a payment that was opened."""

    OPEN = "open"
    PROCESSING = "processing"
    PAID = "paid"
    RETURNED = "returned"
    FAILED = "failed"
    EXPIRED = "expired"


_STATES = {
    PaymentState.PROCESSING: State.PROCESSING,
    PaymentState.AUTHORIZED: State.PROCESSING,
    PaymentState.POSTED: State.PAID,
    PaymentState.REVERSED: State.RETURNED,
    PaymentState.FAILED: State.FAILED,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What came of it: ``payment`` is the last one that was made; ``key`` is the request key of the next, empty for none."""

    state: State
    payment: Payment | None
    key: str


def open_payment(
    *,
    customer: Customer,
    balance_due: Decimal | None,
    invoice: Invoice | None,
    who: CloudPayer,
    user_name: str,
    return_url: str,
    email: str,
    request_key: str,
    actor: Actor,
    now: datetime.datetime | None = None,
) -> CloudPayment:
    """Open a payment of what an account owes: ``balance_due`` where the call tells it, in the biller's currency.

    Without it what is due on file counts, asked of the biller's system where that can be asked; of ``invoice`` alone where one
    is named. ``request_key`` is the call's own: the same one again gives the same payment.

    :raises ReturnRefused: the address to go back to is none that the biller allows.
    :raises UserNameMissing: a CSR pays, and nobody is named.
    :raises payments.operations.charges.ChargingStopped: the biller's switch is on.
    :raises payments.operations.charges.NothingDue: nothing is due.
    :raises payments.operations.charges.AlreadyBeingPaid: another payment holds what is due.
    :raises BalanceInDoubt: the call tells more than is due here, and a payment may be missing from it.
    :raises payments.operations.balances.BalanceUnknown: what is due had to be asked, and could not be.
    """
    if balance_due is None:
        balances.make_sure(customer=customer)
    return _open(
        customer=customer,
        balance_due=balance_due,
        invoice=invoice,
        who=who,
        user_name=" ".join(user_name.split()),
        return_url=return_url,
        email=email,
        request_key=request_key,
        actor=actor,
        now=now or timezone.now(),
    )


@transaction.atomic(durable=True)
def _open(
    *,
    customer: Customer,
    balance_due: Decimal | None,
    invoice: Invoice | None,
    who: CloudPayer,
    user_name: str,
    return_url: str,
    email: str,
    request_key: str,
    actor: Actor,
    now: datetime.datetime,
) -> CloudPayment:
    biller = Biller.objects.get(pk=customer.biller_id)
    # Payments and loads of invoices of the account wait: what is compared stands still.
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    customer.biller = biller
    if earlier := CloudPayment.objects.filter(biller=biller, request_key=request_key).first():
        return earlier
    if biller.charging_stopped:
        raise charges.ChargingStopped
    if who == CloudPayer.CSR and not user_name:
        raise UserNameMissing(field="user_name")
    if return_url:
        _check_return(biller, return_url)
    made = CloudPayment(
        biller=biller,
        customer=customer,
        invoice=invoice,
        who=who,
        user_name=user_name,
        balance_due=None if balance_due is None else quantise(balance_due, biller.currency),
        currency=biller.currency,
        return_url=return_url,
        email=email,
        opened_by=actor.label[:120],
        request_key=request_key,
        created_at=now,
        expires_at=now + GOOD_FOR,
    )
    if made.balance_due is not None and not _prepaid(customer):
        _follow(made, actor, now)
    due = dues.reckon(biller, _items(made))
    made.amount = due.full if made.balance_due is None else made.balance_due
    if made.amount <= 0:
        raise charges.NothingDue
    if due.full > 0 and due.free < min(made.amount, due.full):
        raise charges.AlreadyBeingPaid
    made.save(force_insert=True)
    audit.record(
        actor=actor,
        event="cloud_payment.opened",
        biller_id=biller.pk,
        customer_id=customer.pk,
        subject=f"cloud_payment:{made.pk}",
        facts={"amount": f"{made.amount} {biller.currency}", "who": made.user_name or made.get_who_display()},
    )
    return made


def _follow(made: CloudPayment, actor: Actor, now: datetime.datetime) -> None:
    """Make our books say what the call says, or see that they need not; the caller holds the customer."""
    customer, told = made.customer, made.balance_due
    assert told is not None
    if told == customer.balance:
        return
    if not balances.may_be_missing(customer=customer, now=now):
        wanted = adjustments.Wanted(
            customer.pk, told - customer.balance, f"cloud:{made.pk}", "Balance of a CloudPay call"
        )
        adjustments.post(biller=made.biller, wanted=[wanted], source=AdjustmentSource.CLOUD, actor=actor, now=now)
    elif told > customer.balance:
        raise BalanceInDoubt(
            f"A payment of this account may be missing from this balance: {formats.money(customer.balance, made.currency)}"
            " is what is owed with it. Open the payment again when your system has booked it.",
            field="balance_due",
        )


def _prepaid(customer: Customer) -> bool:
    return Balance.objects.filter(customer=customer, prepaid=True).exists()


def _items(cloud: CloudPayment) -> list[Item]:
    """Give the open items that it pays: of the invoice alone where that is named without a balance, else all."""
    items = Item.objects.filter(customer_id=cloud.customer_id).open().select_related("invoice").order_by("pk")
    if cloud.invoice_id is not None and cloud.balance_due is None:
        items = items.filter(invoice_id=cloud.invoice_id)
    return list(items)


def _check_return(biller: Biller, url: str) -> None:
    """See that an address leads to a host of the biller's over TLS, and says nothing that a browser could read otherwise."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ReturnRefused(field="return_url") from None
    plain = url.isascii() and url.isprintable() and not set(url) & set("\\ \"'<>")
    host = f"{parts.hostname}:{port}" if port not in {None, 443} else parts.hostname
    written = parts.netloc.lower() in {parts.hostname, f"{parts.hostname}:{port}"}
    if not plain or parts.scheme != "https" or not written or host not in biller.return_hosts or len(url) > 500:
        raise ReturnRefused(field="return_url")


def way_back(cloud: CloudPayment) -> str:
    """Give the address to go back to with the id that the call got, and nothing else of ours; empty where there is none."""
    if not cloud.return_url:
        return ""
    parts = urlsplit(cloud.return_url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("cloud_payment", str(cloud.pk))]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))


def find(*, code: str, address: str | None, now: datetime.datetime) -> CloudPayment:
    """Look which payment an address is for; that changes nothing.

    :raises NoSuchLink: the code is forged, or names nothing.
    :raises throttles.TooManyTries: too many were opened from that network address.
    """
    throttles.count(tries=[(OPENED_FROM_ADDRESS, address or "")], now=now)
    pk = id_of(code)
    if pk is None:
        raise NoSuchLink
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        found = CloudPayment.objects.select_related("customer__biller", "invoice").filter(pk=pk).first()
    if found is None:
        raise NoSuchLink
    return found


def standing(*, cloud: CloudPayment, now: datetime.datetime) -> Standing:
    """Say what came of it so far."""
    keys = _keys(cloud)
    made = {
        one.request_key: one
        for one in Payment.objects.filter(biller_id=cloud.biller_id, request_key__in=keys).select_related("instrument")
    }
    tries: Sequence[Payment] = [made[key] for key in keys if key in made]
    last = tries[-1] if tries else None
    over = cloud.expired(now)
    if last is not None and last.state != PaymentState.FAILED:
        return Standing(_STATES[PaymentState(last.state)], last, "")
    following = "" if over or len(tries) == MOST_TRIES else keys[len(tries)]
    if last is not None:
        return Standing(State.FAILED, last, following)
    return Standing(State.EXPIRED if over else State.OPEN, None, following)


def was_made_by(*, cloud: CloudPayment, payment: Payment) -> bool:
    """Tell whether a payment of the biller was made by this address."""
    return payment.request_key in _keys(cloud)


def pay(
    *, cloud: CloudPayment, instrument: Instrument, key: str, email: str, language: str, address: str | None
) -> Payment:
    """Charge a method for what was opened, as :func:`payments.operations.charges.pay` does and refuses.

    ``key`` is the one that :func:`standing` gave: the same one again is the same payment.

    :raises LinkOver: it has expired, or was paid otherwise.
    """
    now = timezone.now()
    made = Payment.objects.filter(biller_id=cloud.biller_id, request_key=key, customer_id=cloud.customer_id).exists()
    if not made and standing(cloud=cloud, now=now).key != key:
        raise LinkOver
    customer = Customer.objects.select_related("biller").get(pk=cloud.customer_id)
    named = cloud.invoice_id is not None and cloud.balance_due is None
    return charges.pay(
        customer=customer,
        amount=cloud.amount,
        instrument=instrument,
        channel=Channel.CSR,
        actor=actor_of(cloud, address),
        request_key=key,
        item_ids=[item.pk for item in _items(cloud)] if named else None,
        email=email,
        language=language,
        no_more_than_due=not _prepaid(customer),
        # Whoever types the method in on this page orders it over the internet; a CSR does for somebody who called.
        transaction_type="internet" if cloud.who == CloudPayer.PAYER else "",
        now=now,
    )


def actor_of(cloud: CloudPayment, address: str | None) -> Actor:
    """Give whoever pays by the address."""
    return Actor(Requestor.API, cloud.made_by, None, address)


def url_of(cloud: CloudPayment) -> str:
    """Give the address that the call gets."""
    return f"{settings.PUBLIC_URL}/cloudpay/{code_of(cloud)}/"


def code_of(cloud: CloudPayment) -> str:
    """Write what stands in the address: the id and a signature of it, which is kept nowhere."""
    return base64.urlsafe_b64encode(cloud.pk.bytes).decode().rstrip("=") + _signature(cloud.pk)


def id_of(code: str) -> uuid.UUID | None:
    """Read what stands in an address; nothing where the signature is not ours."""
    if not _CODE.fullmatch(code):
        return None
    try:
        pk = uuid.UUID(bytes=base64.urlsafe_b64decode(code[:22] + "=="))
    except (ValueError, binascii.Error):
        return None
    return pk if constant_time_compare(code[22:], _signature(pk)) else None


def _keys(cloud: CloudPayment) -> list[str]:
    """Give the request keys of all tries, in their order."""
    tries = (f"{cloud.pk}:{number}" for number in range(1, MOST_TRIES + 1))
    return [salted_hmac("payments.cloud_payments.tries", one, algorithm="sha256").hexdigest()[:32] for one in tries]


def _signature(pk: uuid.UUID) -> str:
    digest = salted_hmac("payments.cloud_payments", str(pk), algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest).decode()[:_SIGNS]
