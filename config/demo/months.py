"""The month that lies behind the demonstration, made by the same operations as the present, with the dates of the past.

An invoice file is loaded, AutoPay collects in runs, payers and CSRs pay. What a town would have brought along from an
earlier system, such as a thousand enrolments, is put in set by set.
"""

from __future__ import annotations

import calendar
import datetime
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from billing.actors import Actor, Requestor
from billing.models import (
    Biller,
    Customer,
    FileState,
    InvoiceFile,
    Item,
    ItemKind,
    NoticeDelivery,
    NoticeState,
    Run,
    User,
)
from config.demo import job, people
from config.demo.doors import Simulators
from config.demo.job import Say
from config.demo.towns import ACTOR, Town
from payments.gateways.base import Result
from payments.models import (
    AutoPayEnrolment,
    Channel,
    Instrument,
    InstrumentKind,
    InstrumentState,
    Payment,
    PaymentState,
    Route,
)
from payments.operations import answers, charges, collections, enrolments, recoveries, settlements
from payments.operations.charges import Started
from payments.operations.collections import Options
from payments.operations.routes import open_route

# Kept for the cast and for enrolments through the portals' own operations.
RESERVED = 26

# What a card or account does when it is charged: two in a hundred say no.
_OUTCOMES = ("approve", "soft_decline", "hard_decline")
_WEIGHTS = (98.0, 1.2, 0.8)
_BRANDS = (("visa", 55), ("mastercard", 30), ("amex", 6), ("discover", 9))
_OVERPAYING = 4


def load(town: Town, biller: Biller, simulators: Simulators, say: Say, now: datetime.datetime) -> None:
    """Make a town's last month, or what of it is missing."""
    made_on = a_month_before(now.astimezone(biller.zone))
    file = InvoiceFile.objects.filter(biller=biller).order_by("pk").first()
    if file is None:
        file = job.receive_bills(biller=biller, count=town.customers, made_on=made_on, due_in=town.due_in, actor=ACTOR)
    if file.state != FileState.LOADED:
        say(f"{biller}: loading last month's {town.customers:,} bills")
        file = job.finish_loading(file=file, seconds=60.0, actor=ACTOR, now=made_on)
    if file.state != FileState.LOADED:
        raise RuntimeError(f"Last month's file is {file.get_state_display().lower()}. {file.refusal}")
    customers = list(Customer.objects.filter(biller=biller).order_by("pk").select_related("biller"))
    kept = prepaid_of(town, customers)
    drawn = [one for one in customers[RESERVED if town.logo else 0 :] if one != kept]
    with_autopay, others = _divide(drawn, _draw("divide", town))
    if not AutoPayEnrolment.objects.filter(biller=biller).exists():
        say(f"{biller}: taking over {len(with_autopay):,} AutoPay enrolments")
        _take_over(biller, with_autopay, simulators, made_on, _draw("take over", town))
        _mark_accounts(customers, _draw("mark", town))
    _collect_past(biller, simulators, now, _draw("retry", town), say)
    _pay_past(town, biller, others, simulators, now, made_on, say)
    # The bills and receipts of the past were in the post of the past.
    with transaction.atomic(durable=True):
        NoticeDelivery.objects.filter(biller=biller, state=NoticeState.WAITING).delete()


def prepaid_of(town: Town, customers: Sequence[Customer]) -> Customer | None:
    """Give the account that goes over to prepaid: the first one that is not billed this month, has an e-mail address, and
    may pay in any way. ``customers`` are all of the town's, in their order; nothing where it has no prepaid account.
    """
    if not town.prepaid:
        return None
    able = (one for one in customers[town.billed :] if one.email and not one.blocks_card)
    return next(able, None)


def _draw(step: str, town: Town) -> random.Random:
    """Give a step its own chance, the same every time, whatever was done before it."""
    return random.Random(f"{step} {town.slug}")  # noqa: S311  (nothing here is a secret)


def a_month_before(local: datetime.datetime) -> datetime.datetime:
    """Give the morning on which last month's bills were made, in the zone of ``local``."""
    last = local.replace(day=1) - datetime.timedelta(days=1)
    day = min(local.day, calendar.monthrange(last.year, last.month)[1])
    return last.replace(day=day, hour=6, minute=0, second=0, microsecond=0)


def _divide(customers: Sequence[Customer], draw: random.Random) -> tuple[list[Customer], list[Customer]]:
    """Part the customers: 47 in a hundred have AutoPay."""
    drawn = [(customer, draw.random() < 0.47) for customer in customers]
    return [one for one, autopay in drawn if autopay], [one for one, autopay in drawn if not autopay]


def _take_over(
    biller: Biller,
    customers: Sequence[Customer],
    simulators: Simulators,
    made_on: datetime.datetime,
    draw: random.Random,
) -> None:
    """Put in methods on file and AutoPay enrolments as an earlier system would have handed them over."""
    kinds = [
        InstrumentKind.BANK if customer.blocks_card or draw.random() < 0.26 else InstrumentKind.CARD
        for customer in customers
    ]
    made = _make_instruments(biller, list(zip(customers, kinds, strict=True)), simulators, draw)
    taken_over = "Taken over with the account from the biller’s earlier system."
    with transaction.atomic(durable=True):
        _keep(made)
        AutoPayEnrolment.objects.bulk_create(
            AutoPayEnrolment(
                biller=biller,
                customer=customer,
                instrument=instrument,
                consent_version=enrolments.CONSENT_VERSION,
                consent_text="\n\n".join(
                    (enrolments.consent_text(biller_name=biller.name, method=str(instrument)), taken_over)
                ),
                consent_by=customer.name,
                consent_requestor=Requestor.PAYER,
                consented_at=made_on - datetime.timedelta(days=draw.randint(20, 700)),
            )
            for customer, instrument in zip(customers, made, strict=True)
        )


def _make_instruments(
    biller: Biller,
    wanted: Sequence[tuple[Customer, InstrumentKind]],
    simulators: Simulators,
    draw: random.Random,
    *,
    state: InstrumentState = InstrumentState.ACTIVE,
) -> list[Instrument]:
    """Have the processor make tokens for customers, and give their instruments, not saved yet."""
    made: dict[int, Instrument] = {}
    for kind in InstrumentKind:
        route = route_of(biller, kind)
        owners = [customer for customer, its in wanted if its == kind]
        if not owners:
            continue
        tokens = simulators.processor.make_tokens(route.merchant, [_token(customer, kind, draw) for customer in owners])
        for customer, token in zip(owners, tokens, strict=True):
            expires_on = datetime.date.fromisoformat(token["expires_on"]) if token["expires_on"] else None
            made[customer.pk] = Instrument(
                biller=biller,
                customer=customer,
                route=route,
                kind=kind,
                token=token["token"],
                brand=token["brand"],
                last4=token["last4"],
                holder=token["holder"],
                expires_on=expires_on,
                state=state,
                is_default=state == InstrumentState.ACTIVE,
            )
    return [made[customer.pk] for customer, _kind in wanted]


@transaction.atomic
def _keep(made: Sequence[Instrument]) -> None:
    """Save instruments at once; their ids are the database's, which does not hand them out to many at once."""
    Instrument.objects.bulk_create(made)
    ids = dict(Instrument.objects.filter(token__in=[one.token for one in made]).values_list("token", "pk"))
    for one in made:
        one.pk = ids[one.token]


def _token(customer: Customer, kind: InstrumentKind, draw: random.Random) -> dict[str, Any]:
    token: dict[str, Any] = {
        "kind": kind.value,
        "outcome": draw.choices(_OUTCOMES, _WEIGHTS)[0],
        "last4": f"{draw.randrange(10_000):04d}",
        "holder": customer.name,
    }
    if kind == InstrumentKind.CARD:
        year, month = timezone.now().year + draw.randint(1, 4), draw.randint(1, 12)
        token["brand"] = draw.choices([name for name, _ in _BRANDS], [weight for _, weight in _BRANDS])[0]
        token["expires_on"] = f"{year}-{month:02d}-{calendar.monthrange(year, month)[1]}"
    return token


def route_of(biller: Biller, kind: InstrumentKind) -> Route:
    """Give a biller's route for a kind of method."""
    tender = charges.TENDER_OF[kind]
    return Route.objects.get(biller=biller, tenders__contains=[tender])


@transaction.atomic(durable=True)
def _mark_accounts(customers: Sequence[Customer], draw: random.Random) -> None:
    """Let some customers have paperless bills already, and a few be kept from paying by bank account."""
    readers = [one.pk for one in customers[RESERVED:] if one.email and draw.random() < 0.25]
    Customer.objects.filter(pk__in=readers).update(paperless=True)
    Customer.objects.filter(pk__in=[one.pk for one in customers[RESERVED::400]]).update(blocks_bank=True)


def _collect_past(
    biller: Biller, simulators: Simulators, now: datetime.datetime, draw: random.Random, say: Say
) -> None:
    """Let AutoPay collect on each past day on which something was due, retries included."""
    today, day = biller.business_date(now), datetime.date.min
    enrolled = AutoPayEnrolment.objects.filter(biller=biller, ended_at__isnull=True).values("customer")
    due = Item.objects.filter(
        biller=biller, kind=ItemKind.BILL, open__gt=0, collect_on__lt=today, customer__in=enrolled
    )
    while (
        found := due.filter(collect_on__gt=day).order_by("collect_on").values_list("collect_on", flat=True).first()
    ) is not None:
        day = found
        moment = datetime.datetime.combine(day, datetime.time(9, 7), biller.zone)
        run = collections.plan(
            biller=biller, options=Options.usual(day, repeat="past"), actor=ACTOR, now=moment, chunk_size=job.CHUNK_SIZE
        )
        for _chunk in collections.work(run=run, actor=ACTOR, now=moment):
            pass
        _fill_accounts(run, simulators, draw)
        Run.objects.filter(pk=run.pk).update(started_at=moment, finished_at=moment + datetime.timedelta(seconds=9))
    paid = Payment.objects.filter(biller=biller, channel=Channel.AUTOPAY, state=PaymentState.POSTED).count()
    say(f"{biller}: AutoPay collected {paid:,} of them in the course of the month")


def _fill_accounts(run: Run, simulators: Simulators, draw: random.Random) -> None:
    """Let some of those whom a run found without funds have some when it is tried again."""
    short = Payment.objects.filter(run_id=run.pk, result=Result.SOFT_DECLINE).order_by("pk")
    tokens = short.values_list("instrument__token", flat=True)
    simulators.processor.change_tokens({token: "approve" for token in tokens if token and draw.random() < 0.6})


@dataclass(frozen=True, slots=True)
class Visit:
    """One customer who pays by themselves: when, how much, through which door."""

    customer: Customer
    at: datetime.datetime
    amount: Decimal
    channel: Channel
    kind: InstrumentKind
    keep: bool

    @property
    def request_key(self) -> str:
        """The key of the payment: a customer pays once by themselves."""
        return f"demo:{self.customer.number}"


def _pay_past(
    town: Town,
    biller: Biller,
    customers: Sequence[Customer],
    simulators: Simulators,
    now: datetime.datetime,
    made_on: datetime.datetime,
    say: Say,
) -> None:
    """Let payers, guests and CSRs pay bills day by day; a few pay more than they owe."""
    draw = _draw("pay", town)
    # As they are by now: blocks were set after these were read.
    blocked = Customer.objects.filter(biller=biller).filter(Q(blocks_card=True) | Q(blocks_bank=True))
    without = set(blocked.values_list("pk", flat=True))
    able = [one for one in customers if one.pk not in without]
    # Nobody bills the last ones this month, so that their credits stay to be seen.
    unbilled = able[-_OVERPAYING:] if town.billed else []
    chosen = draw.sample(able[: len(able) - len(unbilled)], min(town.by_hand, len(able) // 2))
    visits = list(_visits(biller, chosen, made_on, now, draw))
    for place, one in enumerate(unbilled):
        at = made_on + datetime.timedelta(days=9 + place, hours=5)
        amount = one.balance + Decimal("12.40")
        visits.append(Visit(one, at, amount, Channel.CSR, InstrumentKind.CARD, keep=False))
    mine = Payment.objects.filter(biller=biller, request_key__startswith="demo:")
    done = set(mine.values_list("request_key", flat=True))
    visits = sorted((one for one in visits if one.request_key not in done), key=lambda one: one.at)
    if not visits:
        return
    methods = _methods_for(biller, visits, simulators, draw)
    csr = Actor.csr(User.objects.get(email=people.CSR.email))
    for day in sorted({one.at.date() for one in visits}):
        pay_on_day(biller, [one for one in visits if one.at.date() == day], methods, csr)
    recoveries.finish_answered(biller=biller, actor=ACTOR)
    say(f"{biller}: {len(visits):,} customers paid by themselves")


def _visits(
    biller: Biller,
    customers: Sequence[Customer],
    made_on: datetime.datetime,
    now: datetime.datetime,
    draw: random.Random,
) -> Iterator[Visit]:
    days = max(1, (biller.business_date(now) - made_on.date()).days - 2)
    for customer in customers:
        # More of them soon after the bill than late.
        day = made_on.date() + datetime.timedelta(days=2 + int(draw.random() ** 1.5 * days))
        at = datetime.datetime.combine(day, datetime.time(8 + draw.randrange(10), draw.randrange(60)), biller.zone)
        channel = draw.choices((Channel.WEB, Channel.GUEST, Channel.CSR), (45, 33, 22))[0]
        kind = draw.choices((InstrumentKind.CARD, InstrumentKind.BANK), (80, 20))[0]
        share = Decimal("0.5") if draw.random() < 0.06 else Decimal(1)
        amount = (customer.balance * share).quantize(Decimal("0.01"))
        yield Visit(customer, at, amount, channel, kind, keep=channel == Channel.WEB and draw.random() < 0.6)


def _methods_for(
    biller: Biller, visits: Sequence[Visit], simulators: Simulators, draw: random.Random
) -> dict[int, Instrument]:
    """Give a method of payment to each who comes, to stay or for once; those there already are used."""
    methods: dict[int, Instrument] = {}
    for keep, state in ((True, InstrumentState.ACTIVE), (False, InstrumentState.ONE_TIME)):
        some = [one for one in visits if one.keep == keep]
        there = Instrument.objects.filter(customer__in=[one.customer.pk for one in some], state=state)
        methods |= {one.customer_id: one for one in there.select_related("route")}
        wanted = [(one.customer, one.kind) for one in some if one.customer.pk not in methods]
        made = _make_instruments(biller, wanted, simulators, draw, state=state)
        _keep(made)
        methods |= {one.customer_id: one for one in made}
    return methods


def pay_on_day(biller: Biller, visits: Sequence[Visit], methods: dict[int, Instrument], csr: Actor) -> None:
    """Reserve for each, charge them in one message a route, and settle: what a portal does for one, for a day."""
    by_route: dict[int, list[Started]] = {}
    for one in visits:
        method = methods[one.customer.pk]
        payer = Actor.payer(None, one.customer.name if one.channel == Channel.WEB else "Guest")
        started = charges.start(
            customer=one.customer,
            amount=one.amount,
            instrument=method,
            channel=one.channel,
            actor=csr if one.channel == Channel.CSR else payer,
            request_key=one.request_key,
            item_ids=None,
            email=one.customer.email if one.channel == Channel.GUEST else "",
            now=one.at,
        )
        if isinstance(started, Started):
            by_route.setdefault(method.route_id, []).append(started)
    for route in Route.objects.filter(pk__in=by_route):
        results = open_route(route).send([one.request for one in by_route[route.pk]])
        settlements.settle(biller=biller, answers=answers.answers_of(results), actor=ACTOR, now=visits[-1].at)
