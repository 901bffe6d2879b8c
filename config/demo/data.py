"""The billers of the demonstration and the month that lies behind them, made so that every page has something to show.

The past goes through the same operations as the present, with the dates of the past: an invoice file is loaded,
AutoPay collects in runs, payers and CSRs pay, the biller's system is told. What a town would have brought along from an
earlier system, such as a thousand enrolments, is put in set by set. Every step finds out by itself whether it was
done.
"""

from __future__ import annotations

import calendar
import datetime
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from billing import advanced_settings, tenancy
from billing.actors import Actor, Requestor
from billing.models import (
    ApiToken,
    Biller,
    CollectRule,
    Customer,
    FileState,
    GuestSecret,
    InvoiceFile,
    Item,
    ItemKind,
    NoticeDelivery,
    NoticeState,
    PayerLink,
    Run,
    SavedView,
    User,
)
from billing.operations import api_tokens, billers, payers, saved_views
from config.demo import bills, job, people
from config.demo.doors import Cis, Simulators, Telephone
from config.demo.job import Patience, Say
from datapump.models import Purpose
from datapump.operations import endpoints
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
    ScheduledPayment,
)
from payments.operations import (
    answers,
    charges,
    collections,
    enrolments,
    instruments,
    recoveries,
    scheduled_payments,
    settlements,
)
from payments.operations.charges import Started
from payments.operations.collections import Options
from payments.operations.routes import open_route
from sms.models import Line
from sms.operations.lines import callback_of

ACTOR = Actor.system("manage.py load_demo")
API_KEY = "Demonstration"
LOGO = Path(__file__).with_name("maple-falls.png")

# What a card or account does when it is charged: two in a hundred say no.
_OUTCOMES = ("approve", "soft_decline", "hard_decline")
_WEIGHTS = (98.0, 1.2, 0.8)
_BRANDS = (("visa", 55), ("mastercard", 30), ("amex", 6), ("discover", 9))
_MODES = "0(WEB)|1(AUTO)|2(CSRWEB)|3(WEB)|4(TEXT)|5(API)|6(IVR)|8(KIOSK)|9(LOCKBOX)"
# Kept for the cast and for enrolments through the portals' own operations.
_RESERVED = 26
_OVERPAYING = 4


@dataclass(frozen=True, slots=True)
class Town:
    """One biller: ``columns`` are those of its row, ``customers`` how many it billed last month, ``billed`` this month.

    ``line`` is the number that it texts from.
    ``prints`` says that its own system gives bills as PDF.
    ``due_in`` are last month's due dates in days after the bill, ``by_hand`` how many customers paid without AutoPay.
    """

    slug: str
    columns: dict[str, Any]
    line: str
    customers: int
    billed: int
    by_hand: int
    due_in: tuple[int, ...]
    logo: Path | None = None
    prints: bool = False


MAPLE_FALLS = Town(
    "maple-falls",
    {
        "number": 2778,
        "name": "Maple Falls Utilities",
        "time_zone": "America/New_York",
        "cut_off": datetime.time(19, 0),
        "accent": "#0b6e4f",
        "phone": "+18025550142",
        "email": "bills@maplefalls.example",
        "balance_forward": True,
        "collect_rule": CollectRule.BEFORE_DUE,
        "collect_days": job.DAYS_AHEAD,
        "retry_days": [3, 5],
        "guest_secret": GuestSecret.ZIP,
    },
    line="+18025550160",
    customers=2_600,
    billed=2_500,
    by_hand=200,
    due_in=(14, 17, 20, 24, 28, 32),
    logo=LOGO,
    prints=True,
)
RED_MESA = Town(
    "red-mesa",
    {
        "number": 4410,
        "name": "Red Mesa Water",
        "time_zone": "America/Denver",
        "accent": "#9a3412",
        "phone": "+15055550117",
        "email": "help@redmesa.example",
        "collect_rule": CollectRule.DUE,
        "guest_secret": GuestSecret.PHONE,
        # Both towns tell one simulated CIS, which must not take their accounts for each other's.
        "wire_account_template": "RM{base}{sub}",
    },
    line="+15055550160",
    customers=60,
    billed=0,
    by_hand=12,
    due_in=(5, 9, 12),
)
TOWNS = (MAPLE_FALLS, RED_MESA)


def smaller(town: Town, *, customers: int, billed: int, by_hand: int) -> Town:
    """Give a town with fewer people, for a quick look."""
    return replace(town, customers=customers, billed=billed, by_hand=by_hand)


def load(
    *,
    simulators: Simulators,
    say: Say,
    towns: Sequence[Town] = TOWNS,
    route_options: dict[str, Any] | None = None,
    patience: Patience = Patience(),  # noqa: B008  (frozen)
    now: datetime.datetime | None = None,
) -> str:
    """Make the demonstration, or what of it is missing; gives the key of its API where it was made now, else nothing.

    Where everything is there only the addresses of the simulators and of ourselves are brought up to date.

    :raises config.demo.doors.SimulatorError: a simulator does not answer.
    """
    now = now or timezone.now()
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        made = [_make_biller(town, simulators, route_options or {}) for town in towns]
        for person in people.STAFF:
            people.make_person(person)
        key = ""
        if not ApiToken.objects.filter(biller=made[0], name=API_KEY).exists():
            for town, biller in zip(towns, made, strict=True):
                _load_past(town, biller, simulators, say, now)
            _cast_payers(made[0], simulators)
            _enrol_by_hand(made[0], simulators, now)
            _schedule(made[0], now)
            _save_views(made[0])
            say("telling the billers' system of the past")
            job.deliver(billers=made, since=now, say=lambda _: None, patience=patience)
            key = api_tokens.make(biller=made[0], name=API_KEY, actor=ACTOR).key
        for biller in made:
            if not biller.endpoints.filter(purpose=Purpose.BALANCES).exists():
                bills.hand_over(biller=biller, cis=simulators.cis)
            _point(biller, Purpose.BALANCES, simulators.cis)
        _hand_out_phones(simulators.telephone)
        return key


# --- Billers ---------------------------------------------------------------------------------------------------------


def _make_biller(town: Town, simulators: Simulators, route_options: dict[str, Any]) -> Biller:
    with transaction.atomic(durable=True):
        biller, _made = Biller.objects.get_or_create(slug=town.slug, defaults=town.columns)
    if town.logo and not biller.logo:
        look = billers.Look(name=biller.name, accent=biller.accent, phone=biller.phone, email=biller.email)
        billers.change_look(biller=biller, look=look, actor=ACTOR, logo=town.logo.read_bytes())
        biller.refresh_from_db()
    for kind, name, tenders in (
        (InstrumentKind.CARD, "Cards", ["card"]),
        (InstrumentKind.BANK, "Bank accounts", ["ach"]),
    ):
        _make_route(biller, name, f"{town.slug}-{kind}", tenders, simulators, route_options)
    _connect(town, biller, simulators)
    _give_line(town, biller, simulators.telephone)
    return biller


@transaction.atomic(durable=True)
def _make_route(
    biller: Biller, name: str, merchant: str, tenders: list[str], simulators: Simulators, route_options: dict[str, Any]
) -> None:
    # A machine's own processor answers at once, so that what it does not know soon will never arrive.
    options = {"timeout": 5.0, "batch_timeout": 10.0, "settle_seconds": 12.0, "batch_limit": 200, **route_options}
    route = Route.objects.filter(biller=biller, name=name).first()
    if route is None:
        route = Route(biller=biller, name=name, driver="simulator", merchant=merchant, tenders=tenders, options=options)
    address = {"base_url": simulators.processor.url}
    if (
        route.pk
        and route.options.get("base_url") == address["base_url"]
        and route.secret == simulators.processor.merchant_secret
    ):
        return
    route.options = {**route.options, **address}
    route.secret = simulators.processor.merchant_secret
    route.save()


def _connect(town: Town, biller: Biller, simulators: Simulators) -> None:
    """Let a biller's updates go to the simulated CIS; what somebody changed besides stays."""
    endpoints.configure(actor=ACTOR, biller=biller, switches=dict.fromkeys(endpoints.SWITCHES, True))
    advanced_settings.change(
        actor=ACTOR,
        biller=biller,
        number=131,
        given={"Daffron": {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": True}}},
    )
    advanced_settings.change(actor=ACTOR, biller=biller, number=128, given=True)
    cis = simulators.cis
    if town.prints:
        for number, given in ((20, cis.prints_url), (119, "3")):
            advanced_settings.change(actor=ACTOR, biller=biller, number=number, given=given)
    for purpose in (Purpose.PAYMENTS, Purpose.PAPERLESS, Purpose.AUTOPAY):
        _point(biller, purpose, simulators.cis)


def _point(biller: Biller, purpose: Purpose, cis: Cis) -> None:
    there = biller.endpoints.filter(purpose=purpose).first()
    if there is not None and (there.url, there.username, there.password) == (cis.url, cis.username, cis.password):
        return
    fields: dict[str, Any] = {"url": cis.url, "username": cis.username, "password": cis.password}
    options: dict[str, Any] = {}
    if there is None:
        fields |= {"in_flight": 8, "per_envelope": 10 if purpose == Purpose.PAYMENTS else 1}
        options = {"card_modes": _MODES, "ach_modes": _MODES} if purpose == Purpose.PAYMENTS else {}
        # The simulated CIS books at once what it hears.
        fields |= {"booked_minutes": 0, "known_hours": 24} if purpose == Purpose.BALANCES else {}
    endpoints.change(actor=ACTOR, biller=biller, purpose=purpose, fields=fields, options=options)


def _give_line(town: Town, biller: Biller, telephone: Telephone) -> None:
    """Give a biller its number at the simulated network, and have the network tell us of texts to it."""
    options = {"base_url": telephone.url}
    with transaction.atomic(durable=True):
        line, _made = Line.objects.get_or_create(
            biller=biller,
            number=town.line,
            defaults={"driver": "simulator", "options": options, "secret": telephone.secret},
        )
        if (line.options.get("base_url"), line.secret) != (telephone.url, telephone.secret):
            line.options, line.secret = {**line.options, **options}, telephone.secret
            line.save(update_fields=["options", "secret"])
    wanted = {"number": line.number, "name": biller.name, "callback": callback_of(line)}
    if wanted not in telephone.lines():
        telephone.set_line(**wanted)


def _hand_out_phones(telephone: Telephone) -> None:
    """Give each payer of the cast a phone; one that is there stays as it is."""
    there = {one["number"] for one in telephone.phones()}
    for number, name in people.phones():
        if number not in there:
            telephone.add_phone(number, name)


# --- The month that lies behind --------------------------------------------------------------------------------------


def _load_past(town: Town, biller: Biller, simulators: Simulators, say: Say, now: datetime.datetime) -> None:
    made_on = _a_month_before(now.astimezone(biller.zone))
    file = InvoiceFile.objects.filter(biller=biller).order_by("pk").first()
    if file is None:
        file = job.receive_bills(biller=biller, count=town.customers, made_on=made_on, due_in=town.due_in, actor=ACTOR)
    if file.state != FileState.LOADED:
        say(f"{biller}: loading last month's {town.customers:,} bills")
        file = job.finish_loading(file=file, seconds=60.0, actor=ACTOR, now=made_on)
    if file.state != FileState.LOADED:
        raise RuntimeError(f"Last month's file is {file.get_state_display().lower()}. {file.refusal}")
    customers = list(Customer.objects.filter(biller=biller).order_by("pk").select_related("biller"))
    with_autopay, others = _divide(customers[_RESERVED if town.logo else 0 :], _draw("divide", town))
    if not AutoPayEnrolment.objects.filter(biller=biller).exists():
        say(f"{biller}: taking over {len(with_autopay):,} AutoPay enrolments")
        _take_over(biller, with_autopay, simulators, made_on, _draw("take over", town))
        _mark_accounts(customers, _draw("mark", town))
    _collect_past(biller, simulators, now, _draw("retry", town), say)
    _pay_past(town, biller, others, simulators, now, made_on, say)
    # The bills and receipts of the past were in the post of the past.
    with transaction.atomic(durable=True):
        NoticeDelivery.objects.filter(biller=biller, state=NoticeState.WAITING).delete()


def _draw(step: str, town: Town) -> random.Random:
    """Give a step its own chance, the same every time, whatever was done before it."""
    return random.Random(f"{step} {town.slug}")  # noqa: S311  (nothing here is a secret)


def _a_month_before(local: datetime.datetime) -> datetime.datetime:
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
        route = _route(biller, kind)
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


def _route(biller: Biller, kind: InstrumentKind) -> Route:
    tender = charges.TENDER_OF[kind]
    return Route.objects.get(biller=biller, tenders__contains=[tender])


@transaction.atomic(durable=True)
def _mark_accounts(customers: Sequence[Customer], draw: random.Random) -> None:
    """Let some customers have paperless bills already, and a few be kept from paying by bank account."""
    readers = [one.pk for one in customers[_RESERVED:] if one.email and draw.random() < 0.25]
    Customer.objects.filter(pk__in=readers).update(paperless=True)
    Customer.objects.filter(pk__in=[one.pk for one in customers[_RESERVED::400]]).update(blocks_bank=True)


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
class _Visit:
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
        visits.append(_Visit(one, at, amount, Channel.CSR, InstrumentKind.CARD, keep=False))
    mine = Payment.objects.filter(biller=biller, request_key__startswith="demo:")
    done = set(mine.values_list("request_key", flat=True))
    visits = sorted((one for one in visits if one.request_key not in done), key=lambda one: one.at)
    if not visits:
        return
    methods = _methods_for(biller, visits, simulators, draw)
    csr = Actor.csr(User.objects.get(email=people.CSR.email))
    for day in sorted({one.at.date() for one in visits}):
        _pay_on_day(biller, [one for one in visits if one.at.date() == day], methods, csr)
    recoveries.finish_answered(biller=biller, actor=ACTOR)
    say(f"{biller}: {len(visits):,} customers paid by themselves")


def _visits(
    biller: Biller,
    customers: Sequence[Customer],
    made_on: datetime.datetime,
    now: datetime.datetime,
    draw: random.Random,
) -> Iterator[_Visit]:
    days = max(1, (biller.business_date(now) - made_on.date()).days - 2)
    for customer in customers:
        # More of them soon after the bill than late.
        day = made_on.date() + datetime.timedelta(days=2 + int(draw.random() ** 1.5 * days))
        at = datetime.datetime.combine(day, datetime.time(8 + draw.randrange(10), draw.randrange(60)), biller.zone)
        channel = draw.choices((Channel.WEB, Channel.GUEST, Channel.CSR), (45, 33, 22))[0]
        kind = draw.choices((InstrumentKind.CARD, InstrumentKind.BANK), (80, 20))[0]
        share = Decimal("0.5") if draw.random() < 0.06 else Decimal(1)
        amount = (customer.balance * share).quantize(Decimal("0.01"))
        yield _Visit(customer, at, amount, channel, kind, keep=channel == Channel.WEB and draw.random() < 0.6)


def _methods_for(
    biller: Biller, visits: Sequence[_Visit], simulators: Simulators, draw: random.Random
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


def _pay_on_day(biller: Biller, visits: Sequence[_Visit], methods: dict[int, Instrument], csr: Actor) -> None:
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


# --- The cast --------------------------------------------------------------------------------------------------------


def _cast_payers(biller: Biller, simulators: Simulators) -> None:
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


def _add_method(customer: Customer, kind: InstrumentKind, simulators: Simulators, actor: Actor) -> Instrument:
    """Put a good method on file as a page would, by the token that the processor's fields gave; the same one again."""
    there = Instrument.objects.filter(customer=customer, kind=kind, state=InstrumentState.ACTIVE).first()
    if there is not None:
        return there
    route = _route(customer.biller, kind)
    wanted = {"kind": kind.value, "holder": customer.name, "reference": f"demo {customer.number}"}
    (token,) = simulators.processor.make_tokens(route.merchant, [wanted])
    return instruments.add(customer=customer, route=route, token=token["token"], keep=True, actor=actor)


def _enrol_by_hand(biller: Biller, simulators: Simulators, now: datetime.datetime) -> None:
    """Let customers enrol through the portals' own operations: history shows it and the biller's system hears."""
    csr = Actor.csr(User.objects.get(email=people.CSR.email))
    reserved = list(Customer.objects.filter(biller=biller).select_related("biller").order_by("pk")[:_RESERVED])
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


def _schedule(biller: Biller, now: datetime.datetime) -> None:
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


def _save_views(biller: Biller) -> None:
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
