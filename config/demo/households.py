"""The payers of the cast and their accounts: what they own, how they pay, and what they have asked for.

Every step finds out by itself whether it was done.
"""

from __future__ import annotations

import datetime
from decimal import Decimal

from django.db import transaction

from billing.actors import Actor
from billing.models import Biller, Customer, PayerLink, RemoteRegistration, SavedView, User
from billing.operations import payers, remote_registrations, saved_views
from config.demo import people
from config.demo.doors import Simulators, Telephone
from config.demo.months import RESERVED, Visit, a_month_before, pay_on_day, prepaid_of, route_of
from config.demo.towns import ACTOR, Town
from payments.models import (
    AutoPayEnrolment,
    Channel,
    Instrument,
    InstrumentKind,
    InstrumentState,
    ScheduledPayment,
)
from payments.operations import balances, enrolments, instruments, scheduled_payments

# What is left on the prepaid account, and what it uses up a day: little enough that its payer is told.
LEFT, A_DAY = Decimal("16.40"), Decimal("4.10")
# The user name of the cast's visitor at the portal of the biller's own.
VISITOR_NAME = "river42"


def cast_payers(biller: Biller, simulators: Simulators) -> None:
    """Link the payers of the cast to their accounts: one has two, one shares one of these, one reads Spanish."""
    first, second, third = Customer.objects.filter(biller=biller).select_related("biller").order_by("pk")[:3]
    owner = people.make_person(people.OWNER, name=first.name)
    partner = people.make_person(people.CO_OWNER)
    spanish = people.make_person(people.SPANISH, name=third.name)
    for user, customer in ((owner, first), (owner, second), (partner, first), (spanish, third)):
        if not PayerLink.objects.filter(user=user, customer=customer).exists():
            payers.link(user=user, customer=customer, actor=Actor.payer(user))
    if third.language != "es":
        payers.change_profile(user=spanish, name=spanish.name, language="es", actor=Actor.payer(spanish))
        with transaction.atomic(durable=True):
            Customer.objects.filter(pk=third.pk).update(language="es")
    for user, customer, kind in (
        (owner, first, InstrumentKind.BANK),
        (owner, second, InstrumentKind.CARD),
        (spanish, third, InstrumentKind.CARD),
    ):
        _add_method(customer, kind, simulators, Actor.payer(user))


def settle_prepaid(town: Town, biller: Biller, simulators: Simulators, now: datetime.datetime) -> Customer | None:
    """Let the account that goes over to prepaid have its payer and its last bill paid; gives it, nothing without one."""
    customers = list(Customer.objects.filter(biller=biller).order_by("pk").select_related("biller"))
    customer = prepaid_of(town, customers)
    if customer is None:
        return None
    payer = people.make_person(people.PREPAID, name=customer.name)
    if not PayerLink.objects.filter(user=payer, customer=customer).exists():
        payers.link(user=payer, customer=customer, actor=Actor.payer(payer))
    card = _add_method(customer, InstrumentKind.CARD, simulators, Actor.payer(payer))
    if customer.balance > 0:
        at = a_month_before(now.astimezone(biller.zone)) + datetime.timedelta(days=6, hours=4)
        visit = Visit(customer, at, customer.balance, Channel.WEB, InstrumentKind.CARD, keep=True)
        pay_on_day(biller, [visit], {customer.pk: card}, ACTOR)
    return customer


def read_prepaid(biller: Biller) -> None:
    """Read what is left on the accounts of the cast's prepaid payer, as opening them does."""
    accounts = Customer.objects.filter(biller=biller, links__user__email=people.PREPAID.email)
    balances.refresh(biller=biller, customers=list(accounts.values_list("pk", flat=True)))


def register_at_portal(biller: Biller) -> None:
    """Let the portal of the biller's own register one of its users here, who owes something, as a portal does by the API."""
    if RemoteRegistration.objects.filter(biller=biller, user__email=people.VISITOR.email).exists():
        return
    owing = Customer.objects.filter(biller=biller, balance__gt=0, blocks_card=False, blocks_bank=False)
    customer = owing.filter(autopay_enrolments__isnull=True).order_by("pk").first()
    if customer is None:
        return
    visitor = people.make_person(people.VISITOR, name=customer.name)
    payers.link(user=visitor, customer=customer, actor=Actor.payer(visitor))
    remote_registrations.register_accounts(
        biller=biller, user_name=VISITOR_NAME, email=visitor.email, numbers=[customer.number], actor=ACTOR
    )


def _add_method(customer: Customer, kind: InstrumentKind, simulators: Simulators, actor: Actor) -> Instrument:
    """Put a good method on file as a page would, by the token that the processor's fields gave; the same one again."""
    there = Instrument.objects.filter(customer=customer, kind=kind, state=InstrumentState.ACTIVE).first()
    if there is not None:
        return there
    route = route_of(customer.biller, kind)
    wanted = {"kind": kind.value, "holder": customer.name, "reference": f"demo {customer.number}"}
    (token,) = simulators.processor.make_tokens(route.merchant, [wanted])
    return instruments.add(customer=customer, route=route, token=token["token"], keep=True, actor=actor)


def enrol_by_hand(biller: Biller, simulators: Simulators, now: datetime.datetime) -> None:
    """Let customers enrol through the portals' own operations: history shows it and the biller's system hears."""
    csr = Actor.csr(User.objects.get(email=people.CSR.email))
    reserved = list(Customer.objects.filter(biller=biller).select_related("biller").order_by("pk")[:RESERVED])
    enrolling = [reserved[0], *reserved[4:16]]
    had = set(AutoPayEnrolment.objects.filter(customer__in=enrolling).values_list("customer_id", flat=True))
    for place, customer in enumerate(enrolling):
        if customer.pk in had:
            continue
        kind = InstrumentKind.BANK if place % 4 == 0 or customer.blocks_card else InstrumentKind.CARD
        actor = csr if place % 3 == 2 else Actor.payer(None, customer.name)
        instrument = _add_method(customer, kind, simulators, actor)
        enrolments.enrol_autopay(
            customer=customer,
            instrument=instrument,
            agreed=True,
            actor=actor,
            how="Agreed on the telephone." if actor is csr else "",
            now=now,
        )
        if place >= len(enrolling) - 2:
            enrolments.end_autopay(customer=customer, actor=actor, now=now)
    for customer in reserved[10:20]:
        if customer.email:
            enrolments.set_paperless(customer=customer, enrolled=True, actor=Actor.payer(None, customer.name))


def schedule(biller: Biller, now: datetime.datetime) -> None:
    """Have the payer who reads Spanish schedule a payment: pages show it, and the biller's system hears."""
    payer = User.objects.get(email=people.SPANISH.email)
    customer = Customer.objects.select_related("biller").get(biller=biller, links__user=payer)
    if ScheduledPayment.objects.filter(customer=customer).exists():
        return
    method = Instrument.objects.get(customer=customer, state=InstrumentState.ACTIVE)
    scheduled_payments.schedule(
        customer=customer,
        pay_on=biller.business_date(now) + datetime.timedelta(days=5),
        amount=None,
        instrument=method,
        actor=Actor.payer(payer),
        request_key=f"demo:{customer.number}",
        now=now,
    )


def save_views(biller: Biller) -> None:
    """Keep a few views for the people who look at lists all day."""
    views = (
        ("payments", "Declined", "state=failed"),
        ("payments", "By CSRs", f"channel={Channel.CSR}"),
        ("datapump", "Not delivered", "state=failed&state=retrying"),
    )
    for person in (people.MANAGER, people.CSR):
        user = User.objects.get(email=person.email)
        for page, name, query in views:
            if not SavedView.objects.filter(user=user, biller=biller, page=page, name=name).exists():
                saved_views.save_view(
                    actor=Actor.csr(user), user=user, biller=biller, page=page, name=name, query=query
                )


def hand_out_phones(telephone: Telephone) -> None:
    """Give each payer of the cast a phone; one that is there stays as it is."""
    there = {one["number"] for one in telephone.phones()}
    for number, name in people.phones():
        if number not in there:
            telephone.add_phone(number, name)
