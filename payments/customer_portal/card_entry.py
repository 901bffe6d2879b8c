"""Entering a card or bank account: in fields that the processor itself serves, so that no number ever comes here.

With JavaScript the fields stand in a frame and hand the page a token; without it the browser goes to the processor's
own page and comes back with one.

Source: PAY-15, PAY-16, PAY-17; the design limits how often somebody may try cards.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import get_language

from billing import throttles
from billing.customer_portal.access import AccountRequest
from billing.models import Biller, Customer
from billing.throttles import Limit
from payments.gateways.base import HostedFields, Misconfigured
from payments.hosted_pages import hosted_fields
from payments.models import Instrument, InstrumentKind, Route, Tender
from payments.operations import instruments

# A payer mistypes a few times; somebody who tests stolen cards needs hundreds of tries.
TRIES_FOR_ACCOUNT = Limit("card", 10, datetime.timedelta(hours=1))
TRIES_FROM_ADDRESS = Limit("card-from", 30, datetime.timedelta(hours=1))
PAYMENTS_OF_ACCOUNT = Limit("pay", 20, datetime.timedelta(hours=1))
PAYMENTS_FROM_ADDRESS = Limit("pay-from", 60, datetime.timedelta(hours=1))
TOKEN_LONGEST = 120

_TENDERS = {InstrumentKind.CARD: Tender.CARD, InstrumentKind.BANK: Tender.ACH}


@dataclass(frozen=True, slots=True)
class Fields:
    """What the page needs to show the processor's fields, and the route that they belong to."""

    route: Route
    hosted: HostedFields
    kind: str


def route_for(biller: Biller, kind: str) -> Route | None:
    """Give the biller's first active route that takes this kind of method in its currency: the default one (PAY-20)."""
    tender = _TENDERS[InstrumentKind(kind)]
    return Route.objects.usable(biller).filter(tenders__contains=[tender]).first()


def kinds_for(customer: Customer) -> list[str]:
    """Give the kinds of method that can be entered for an account: what its biller takes and it may use."""
    return [
        kind for kind in InstrumentKind if not customer.blocks(kind) and route_for(customer.biller, kind) is not None
    ]


def fields(request: AccountRequest, *, kind: str, return_url: str) -> Fields | None:
    """Give the processor's fields for a kind of method; nothing where the biller takes none or is set up wrongly."""
    route = route_for(request.biller, kind)
    if route is None:
        return None
    try:
        hosted = hosted_fields(
            request,
            route=route,
            customer=request.customer,
            kind=kind,
            return_url=return_url,
            language=(get_language() or "en").split("-")[0],
        )
    except Misconfigured:
        return None
    return Fields(route, hosted, kind)


def accept(request: AccountRequest, *, token: str, kind: str, keep: bool) -> Instrument:
    """Take the token that the processor's fields gave, and give the method it stands for.

    :raises throttles.TooManyTries: too many methods were tried for this account or from this address.
    :raises instruments.MethodRefused: the processor does not know the token, or the account may not use such a method.
    :raises instruments.ProcessorUnavailable: the processor does not answer.
    """
    customer = request.customer
    _count(request, TRIES_FOR_ACCOUNT, TRIES_FROM_ADDRESS)
    route = route_for(request.biller, kind)
    if route is None or not token or len(token) > TOKEN_LONGEST:
        raise instruments.MethodRefused(field="method")
    return instruments.add(customer=customer, route=route, token=token, keep=keep, actor=request.actor)


def count_payment(request: AccountRequest) -> None:
    """Count a payment that is about to be tried.

    :raises throttles.TooManyTries: too many were tried for this account or from this address.
    """
    _count(request, PAYMENTS_OF_ACCOUNT, PAYMENTS_FROM_ADDRESS)


def _count(request: AccountRequest, of_account: Limit, from_address: Limit) -> None:
    tries = [(of_account, str(request.customer.pk))]
    # Many CSRs sit behind one address; a CloudPay address that their system got for them lets each try a few times only.
    if request.door.cloud is None or not request.door.cloud.by_csr:
        tries.append((from_address, request.actor.address or ""))
    throttles.count(tries=tries, now=timezone.now())
