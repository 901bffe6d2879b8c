"""Methods of payment: added by a token from the processor's own page, removed, made the default, confirmed."""

from __future__ import annotations

import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Customer
from payments.gateways.base import GatewayError, InstrumentDetails, Refused
from payments.models import (
    AutoPayEnrolment,
    Instrument,
    InstrumentState,
    Route,
    ScheduledPayment,
)
from payments.operations import declines, enrolments
from payments.operations.routes import open_route


class MethodRefused(DomainError):
    """The processor does not know the token or refused what stands behind it."""

    default = _("The card or account could not be checked. Enter it again.")  # type: ignore[assignment]


class ProcessorUnavailable(DomainError):
    """The processor did not answer; nothing was kept."""

    default = _("The payment processor does not answer. Nothing was saved and no money has been taken. Try again.")  # type: ignore[assignment]


class MethodInUse(DomainError):
    """AutoPay or a scheduled payment charges the method."""

    default = _("AutoPay uses this method. Choose another one for AutoPay or turn AutoPay off first.")  # type: ignore[assignment]


class NotDeclined(DomainError):
    """There is nothing to confirm."""

    default = _("This method is not declined. Nothing needs to be confirmed.")  # type: ignore[assignment]


def add(*, customer: Customer, route: Route, token: str, keep: bool, actor: Actor) -> Instrument:
    """Add the method that a token stands for; what it is, the processor says and never the browser.

    ``keep`` puts it on file, else it serves one payment. The first method on file becomes the default one. The same token
    again gives the same instrument.

    :raises MethodRefused: the processor refuses the token, or the customer may not use this kind of method.
    :raises ProcessorUnavailable: no answer.
    """
    try:
        details = open_route(route).describe_token(token)
    except Refused as error:
        raise MethodRefused(str(error) or None, field="method") from error
    except GatewayError as error:
        raise ProcessorUnavailable from error
    if customer.blocks(details.kind):
        raise MethodRefused(_("This account cannot be paid this way."), field="method")  # type: ignore[arg-type]
    return _keep(customer=customer, route=route, details=details, keep=keep, actor=actor)


@transaction.atomic(durable=True)
def _keep(
    *,
    customer: Customer,
    route: Route,
    details: InstrumentDetails,
    keep: bool,
    actor: Actor,
) -> Instrument:
    # The customer's row keeps two additions from both becoming the default.
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    known = Instrument.objects.filter(customer=customer, route=route, token=details.token).exclude(
        state=InstrumentState.REMOVED
    )
    if (instrument := known.first()) is not None:
        if not keep or instrument.state == InstrumentState.ACTIVE:
            return instrument
    else:
        instrument = Instrument(
            biller_id=customer.biller_id,
            customer=customer,
            route=route,
            token=details.token,
            declined_at=declines.last_of(biller_id=customer.biller_id, token=details.token),
        )
    instrument.kind, instrument.brand, instrument.last4 = (
        details.kind,
        details.brand,
        details.last4,
    )
    instrument.holder, instrument.expires_on = details.holder, details.expires_on
    instrument.state = InstrumentState.ACTIVE if keep else InstrumentState.ONE_TIME
    has_default = Instrument.objects.filter(customer=customer, is_default=True, state=InstrumentState.ACTIVE).exists()
    instrument.is_default = keep and not has_default
    instrument.save()
    if keep:
        _audit("instrument.added", instrument, actor)
    return instrument


@transaction.atomic(durable=True)
def remove(*, instrument: Instrument, actor: Actor) -> None:
    """Take a method off file; the row stays for the payments that used it.

    :raises MethodInUse: AutoPay or a scheduled payment charges it.
    """
    Customer.objects.select_for_update(no_key=True).get(pk=instrument.customer_id)
    if AutoPayEnrolment.objects.filter(instrument=instrument, ended_at__isnull=True).exists():
        raise MethodInUse
    if ScheduledPayment.objects.filter(instrument=instrument, ended_at__isnull=True).exists():
        raise MethodInUse(
            _("A scheduled payment uses this method. Choose another one for it, or cancel it first.")  # type: ignore[arg-type]
        )
    instrument.state, instrument.is_default = InstrumentState.REMOVED, False
    instrument.save(update_fields=["state", "is_default"])
    _audit("instrument.removed", instrument, actor)


@transaction.atomic(durable=True)
def make_default(*, instrument: Instrument, actor: Actor) -> None:
    """Make a method on file the customer's default one.

    :raises MethodRefused: it is not usable.
    """
    Customer.objects.select_for_update(no_key=True).get(pk=instrument.customer_id)
    instrument.refresh_from_db()
    if instrument.state != InstrumentState.ACTIVE:
        raise MethodRefused(_("This method cannot be used."))  # type: ignore[arg-type]
    Instrument.objects.filter(customer_id=instrument.customer_id, is_default=True).update(is_default=False)
    instrument.is_default = True
    instrument.save(update_fields=["is_default"])
    _audit("instrument.defaulted", instrument, actor)


@transaction.atomic(durable=True)
def confirm(*, instrument: Instrument, actor: Actor, now: datetime.datetime | None = None) -> None:
    """Let runs charge a method again that the bank had declined for good: its payer or a CSR says that it is good (PAY-5).

    Open bills that AutoPay pays with it are collected from today on.

    :raises NotDeclined: nothing keeps it from being charged.
    """
    customer = Customer.objects.select_for_update(no_key=True).select_related("biller").get(pk=instrument.customer_id)
    instrument = Instrument.objects.get(pk=instrument.pk)
    if instrument.state != InstrumentState.BAD:
        raise NotDeclined
    others = Instrument.objects.filter(customer=customer, is_default=True, state=InstrumentState.ACTIVE)
    instrument.state = InstrumentState.ACTIVE
    instrument.is_default = not others.exists()
    instrument.save(update_fields=["state", "is_default"])
    if AutoPayEnrolment.objects.filter(instrument=instrument, ended_at__isnull=True).exists():
        enrolments.put_on_calendar(customer, customer.biller.business_date(now or timezone.now()))
    _audit("instrument.confirmed", instrument, actor)


def _audit(event: str, instrument: Instrument, actor: Actor) -> None:
    audit.record(
        actor=actor,
        event=event,
        biller_id=instrument.biller_id,
        customer_id=instrument.customer_id,
        subject=str(instrument.pk),
        facts={"method": str(instrument)},
    )
