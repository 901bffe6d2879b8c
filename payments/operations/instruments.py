"""Methods of payment: added by a token from the processor's own page, removed, made the default, confirmed."""

from __future__ import annotations

import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing import audit
from billing.actors import Actor, Requestor
from billing.errors import DomainError
from billing.models import Customer
from payments.gateways.base import GatewayError, InstrumentDetails, Refused
from payments.models import (
    AutoPayEnrolment,
    Instrument,
    InstrumentKind,
    InstrumentState,
    Route,
    ScheduledPayment,
    Verification,
    VerificationPurpose,
    VerificationState,
)
from payments.operations import debits, declines, enrolments, verifications
from payments.operations.debits import Agreement
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


def add(
    *,
    customer: Customer,
    route: Route,
    token: str,
    keep: bool,
    actor: Actor,
    agreement: Agreement | None = None,
) -> Instrument:
    """Add the method that a token stands for; what it is, the processor says and never the browser.

    ``keep`` puts it on file, else it serves one payment. The first method on file becomes the default one. The same token
    again gives the same instrument. Where the biller wants it, the processor verifies the method first: one that fails leaves
    no token here (PAY-14, PAY-15). ``agreement`` says how the holder of a bank account agreed, by default as the actor's door has.

    :raises MethodRefused: the processor refuses the token, the customer may not use this kind of method, or it was not verified.
    :raises ProcessorUnavailable: no answer.
    :raises payments.operations.debits.AgreementRefused: the holder's agreement is not complete.
    """
    try:
        gateway = open_route(route)
        # A machine vouches for its tokens; what a browser brings must have been entered for this account.
        account = "" if actor.requestor == Requestor.API else customer.shown_number
        details = gateway.describe_token(token, account=account)
    except Refused as error:
        raise MethodRefused(str(error) or None, field="method") from error
    except GatewayError as error:
        raise ProcessorUnavailable from error
    if customer.blocks(details.kind):
        raise MethodRefused(_("This account cannot be paid this way."), field="method")  # type: ignore[arg-type]
    if (known := _known(customer, route, details)) is not None and (not keep or known.state == InstrumentState.ACTIVE):
        return known
    debit = debits.agreed(given=agreement, keep=keep, actor=actor) if details.kind == InstrumentKind.BANK else None
    verified: Verification | None = None
    if verifications.wanted(verifications.rules_of(customer.biller_id), details.kind):
        purpose = VerificationPurpose.ENROLMENT if keep else VerificationPurpose.PAYMENT
        verified = verifications.verify(
            customer=customer, route=route, gateway=gateway, details=details, purpose=purpose, actor=actor
        )
        if verified.state == VerificationState.FAILED:
            if verified.result in declines.NOT_ASKED:
                raise ProcessorUnavailable
            raise MethodRefused(verifications.words_of(verified), field="method")
        if verified.state != VerificationState.PASSED:
            raise ProcessorUnavailable
    return _keep(
        customer=customer, route=route, details=details, keep=keep, actor=actor, debit=debit, verified=verified
    )


def _known(customer: Customer, route: Route, details: InstrumentDetails) -> Instrument | None:
    """Give the method that a token is at the customer's already."""
    rows = Instrument.objects.filter(customer=customer, route=route, token=details.token)
    return rows.exclude(state=InstrumentState.REMOVED).first()


@transaction.atomic(durable=True)
def _keep(
    *,
    customer: Customer,
    route: Route,
    details: InstrumentDetails,
    keep: bool,
    actor: Actor,
    debit: Agreement | None,
    verified: Verification | None,
) -> Instrument:
    # The customer's row keeps two additions from both becoming the default.
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if (instrument := _known(customer, route, details)) is not None:
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
    if debit is not None:
        instrument.debit_method, instrument.debit_facts = debit.method, dict(debit.facts)
    if verified is not None:
        instrument.verified_at = verified.ended_at
    instrument.state = InstrumentState.ACTIVE if keep else InstrumentState.ONE_TIME
    has_default = Instrument.objects.filter(customer=customer, is_default=True, state=InstrumentState.ACTIVE).exists()
    instrument.is_default = keep and not has_default
    instrument.save()
    if verified is not None:
        Verification.objects.filter(pk=verified.pk).update(instrument=instrument)
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
