"""The billers of the demonstration: who they are, and how they are connected to the simulators.

Addresses and secrets of the simulators are brought up to date at every start; what somebody changed besides stays.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from billing import advanced_settings
from billing.actors import Actor
from billing.models import Biller, CollectRule, GuestSecret
from billing.operations import billers, sign_ons
from billing.portal_settings import PORTAL, portal_of
from config.demo import job
from config.demo.doors import Cis, Receiver, Simulators, Telephone
from datapump.connectors.webhooks.connector import Webhooks
from datapump.models import Endpoint, Purpose
from datapump.operations import endpoints
from payments.models import InstrumentKind, Route
from sms.models import Line
from sms.operations.lines import callback_of

ACTOR = Actor.system("manage.py load_demo")
LOGO = Path(__file__).with_name("maple-falls.png")

_MODES = "0(WEB)|1(AUTO)|2(CSRWEB)|3(WEB)|4(TEXT)|5(API)|6(IVR)|8(KIOSK)|9(LOCKBOX)"
_TOLD = (Purpose.PAYMENTS, Purpose.PAPERLESS, Purpose.AUTOPAY)


@dataclass(frozen=True, slots=True)
class Town:
    """One biller: ``columns`` are those of its row, ``customers`` how many it billed last month, ``billed`` this month.

    ``line`` is the number that it texts from.
    ``prints`` says that its own system gives bills as PDF, ``prepaid`` that one of its accounts is prepaid; ``webhooks`` that it
    is told by signed webhooks in place of MultiSpeak, ``portal`` that payers come from a portal of its own.
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
    prepaid: bool = False
    webhooks: bool = False
    portal: bool = False


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
    prepaid=True,
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
    },
    line="+15055550160",
    customers=60,
    billed=0,
    by_hand=12,
    due_in=(5, 9, 12),
    webhooks=True,
    portal=True,
)
TOWNS = (MAPLE_FALLS, RED_MESA)


def smaller(town: Town, *, customers: int, billed: int, by_hand: int) -> Town:
    """Give a town with fewer people, for a quick look."""
    return replace(town, customers=customers, billed=billed, by_hand=by_hand)


def make_biller(town: Town, simulators: Simulators, route_options: dict[str, Any]) -> Biller:
    """Make a town's biller with its routes, endpoints and line, or bring their addresses up to date; gives it."""
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
    """Let a biller's updates go to its system: the simulated CIS, or the simulated receiver of webhooks."""
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
    for purpose in _TOLD:
        there = biller.endpoints.filter(purpose=purpose).first()
        if town.webhooks if there is None else there.connector == Webhooks.name:
            _point_to_receiver(biller, purpose, there, simulators.receiver)
        else:
            point_to_cis(biller, purpose, simulators.cis)
    if town.portal:
        open_portal(biller)


def _point_to_receiver(biller: Biller, purpose: Purpose, there: Endpoint | None, receiver: Receiver) -> None:
    name = f"{biller.slug}-{purpose}"
    fields: dict[str, Any] = {"url": receiver.address(name)}
    if there is None:
        fields |= {"connector": Webhooks.name, "in_flight": 8}
    if there is None or there.url != fields["url"]:
        there = endpoints.change(actor=ACTOR, biller=biller, purpose=purpose, fields=fields, options={})
    receiver.set_secrets(name, [one for one in (there.password, there.retired_password) if one])


def open_portal(biller: Biller) -> None:
    """Let the simulated portal of the biller's own be where its payers sign in, with a key for tickets."""
    here = settings.PUBLIC_URL + reverse("demo-portal")
    there = portal_of(biller)
    if there != here and (not there or there.endswith(reverse("demo-portal"))):
        advanced_settings.change(actor=ACTOR, biller=biller, number=PORTAL, given=here)
    if not biller.sign_on_keys.exists():
        sign_ons.make_key(biller=biller, actor=ACTOR)


def is_told_by_webhooks(biller: Biller) -> bool:
    """Say whether the simulated receiver hears of a biller's payments, in place of the simulated CIS."""
    return biller.endpoints.filter(purpose=Purpose.PAYMENTS, connector=Webhooks.name).exists()


def point_to_cis(biller: Biller, purpose: Purpose, cis: Cis) -> None:
    """Let a biller's endpoint lead to the simulated CIS."""
    there = biller.endpoints.filter(purpose=purpose).first()
    if there is not None and (there.url, there.username, there.password) == (cis.url, cis.username, cis.password):
        return
    fields: dict[str, Any] = {"url": cis.url, "username": cis.username, "password": cis.password}
    options: dict[str, Any] = {}
    if there is None:
        fields |= {"in_flight": 8, "per_envelope": 10 if purpose == Purpose.PAYMENTS else 1}
        options = {"card_modes": _MODES, "ach_modes": _MODES} if purpose == Purpose.PAYMENTS else {}
        # The simulated CIS books at once what it hears, and whoever paid looks at once what is left.
        fields |= {"booked_minutes": 0, "known_hours": 24, "reuse_seconds": 2} if purpose == Purpose.BALANCES else {}
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
