"""Making the demonstration: its billers, the month that lies behind them, and its people.

The past goes through the same operations as the present, so that every page has something to show. Every step finds out
by itself whether it was done.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from billing import tenancy
from billing.models import ApiToken
from billing.operations import api_tokens
from config.demo import bills, households, job, months, people
from config.demo.doors import Simulators
from config.demo.job import Patience, Say
from config.demo.towns import ACTOR, TOWNS, Town, is_told_by_webhooks, make_biller, point_to_cis
from datapump.models import Purpose

API_KEY = "Demonstration"


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
        made = [make_biller(town, simulators, route_options or {}) for town in towns]
        for person in people.STAFF:
            people.make_person(person)
        key = ""
        if not ApiToken.objects.filter(biller=made[0], name=API_KEY).exists():
            for town, biller in zip(towns, made, strict=True):
                months.load(town, biller, simulators, say, now)
                if town.portal:
                    households.register_at_portal(biller)
            households.cast_payers(made[0], simulators)
            households.enrol_by_hand(made[0], simulators, now)
            households.schedule(made[0], now)
            households.save_views(made[0])
            prepaid = households.settle_prepaid(towns[0], made[0], simulators, now)
            say("telling the billers' systems of the past")
            job.deliver(billers=made, since=now, say=lambda _: None, patience=patience)
            if prepaid is not None:
                # After it heard of the last bill's payment, which is no money added.
                bills.make_prepaid(customer=prepaid, cis=simulators.cis, left=households.LEFT, a_day=households.A_DAY)
            key = api_tokens.make(biller=made[0], name=API_KEY, actor=ACTOR).key
        for biller in made:
            if is_told_by_webhooks(biller):
                continue  # there is no asking for balances by webhook
            if not biller.endpoints.filter(purpose=Purpose.BALANCES).exists():
                bills.hand_over(biller=biller, cis=simulators.cis)
            point_to_cis(biller, Purpose.BALANCES, simulators.cis)
            households.read_prepaid(biller)
        households.hand_out_phones(simulators.telephone)
        return key
