"""Links in texts: signed, short, good for one account's bill until they expire, without a sign-in.

Source: PBT-16
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.db.models import Max
from django.utils.crypto import constant_time_compare, salted_hmac

from billing import tenancy, throttles
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Customer, Invoice
from billing.throttles import Limit
from payments.operations import dues
from payments.operations.dues import Due
from sms.models import PayLink

GOOD_FOR = datetime.timedelta(days=30)
# A phone's preview asks, then its owner, then the button: forty people behind one address, as many as may find a bill there.
TRIES_FROM_ADDRESS = Limit("link-from", 120, datetime.timedelta(minutes=30))
_SIGNS = 10  # of 64 kinds: sixty bits, for a link that shows one bill and takes money for it alone


class NoSuchLink(DomainError):
    """We made no such link."""


class Standing(enum.StrEnum):
    """What has become of the bill that a link was made for."""

    DUE = "due"
    NEWER = "newer"  # a newer bill has come since, and something is due
    WITHDRAWN = "withdrawn"  # the biller took it back; something may be due all the same
    PAID = "paid"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Opened:
    """What a link opens: an account, its newest bill and what is due now."""

    customer: Customer
    standing: Standing
    due: Due
    bill: Invoice | None

    @property
    def payable(self) -> bool:
        """Whether it leads on to paying."""
        return self.standing is not Standing.EXPIRED and self.due.full > 0


def open_link(*, code: str, actor: Actor, now: datetime.datetime) -> Opened:
    """Look what a link opens; that changes nothing, because phones open links before people do.

    :raises NoSuchLink: the code is forged, or names nothing.
    :raises throttles.TooManyTries: too many were opened from where the actor is.
    """
    throttles.count(tries=[(TRIES_FROM_ADDRESS, actor.address or "")], now=now)
    pk = id_of(code)
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        link = PayLink.objects.select_related("customer__biller").filter(pk=pk).first()
    if link is None:
        raise NoSuchLink
    customer = link.customer
    with tenancy.acting_for([customer.biller_id]):
        due = dues.due(customer=customer)
        bills = Invoice.objects.filter(customer=customer)
        newest = bills.filter(withdrawn=False).order_by("-issued_on", "-pk").first()
        withdrawn = bills.filter(pk=link.invoice_id or 0, withdrawn=True).exists()
    if link.expires_at <= now:
        standing = Standing.EXPIRED
    elif withdrawn:
        standing = Standing.WITHDRAWN
    elif due.full <= 0:
        standing = Standing.PAID
    elif newest is not None and newest.pk > (link.invoice_id or 0):
        standing = Standing.NEWER
    else:
        standing = Standing.DUE
    return Opened(customer, standing, due, newest)


def make(*, customer: Customer, now: datetime.datetime) -> str:
    """Make a link that pays what a customer owes, and give its address."""
    newest = Invoice.objects.filter(customer=customer, withdrawn=False).aggregate(newest=Max("pk"))["newest"]
    link = PayLink.objects.create(
        biller_id=customer.biller_id, customer=customer, invoice_id=newest, made_at=now, expires_at=now + GOOD_FOR
    )
    return f"{settings.PUBLIC_URL}/t/{code_of(link)}"


def code_of(link: PayLink) -> str:
    """Write a link's code: its id and a signature of it."""
    return f"{signing.b62_encode(link.pk)}-{_signature(link.pk)}"


def id_of(code: str) -> int:
    """Read a code; 0, which names nothing, where the signature is not ours."""
    written, _dash, signature = code.partition("-")
    try:
        pk = signing.b62_decode(written)
    except (ValueError, KeyError, IndexError):
        return 0
    if not 0 < pk < 1 << 63 or not constant_time_compare(_signature(pk), signature):
        return 0
    return pk


def _signature(pk: int) -> str:
    digest = salted_hmac("sms.links", str(pk), algorithm="sha256").digest()
    return signing.b64_encode(digest).decode()[:_SIGNS]
