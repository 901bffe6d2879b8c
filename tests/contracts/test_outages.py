"""A biller's system that is down for a while, for every connector: what waited arrives in order, each with one effect.

``make bench`` names the same with ten thousand updates (``bench/outages.py``).
"""

from __future__ import annotations

from collections import defaultdict

import pytest
from django.db.models import Max, Q

from billing.models import Biller
from datapump.connectors.registry import CONNECTORS
from datapump.models import Delivery, Endpoint, Outcome, Purpose, Record, RecordType
from tests.contracts.systems import SYSTEMS, Entry, Told
from tests.datapump.conftest import account_of, billed, deliver, enrol, make_due, pay, until
from tests.factories import make_biller, make_endpoint

CUSTOMERS, TURNS = 25, 3


def connect(biller: Biller, name: str, entry: Entry, system: object) -> None:
    target = entry.target(system)
    for purpose in (Purpose.PAYMENTS, Purpose.PAPERLESS, Purpose.AUTOPAY):
        make_endpoint(
            biller, purpose, connector=name, url=target.url, username=target.username, password=target.password,
            timeout_seconds=2,
        )  # fmt: skip


@pytest.mark.spec("MSP-11", "MSP-17")
@pytest.mark.parametrize("name", sorted(CONNECTORS))
def test_what_waited_while_the_system_was_down_arrives_in_order_with_one_effect_each(
    name: str, transactional_db: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    entry, biller = SYSTEMS[name], make_biller()
    system = entry.make(tmp_path_factory.mktemp(f"{name}-outage"))
    system.start()
    try:
        connect(biller, name, entry, system)
        customers = [billed(biller) for _ in range(CUSTOMERS)]
        expected: dict[tuple[str, str], list[str]] = defaultdict(list)

        def happen(turn: int) -> None:
            for number, customer in enumerate(customers):
                pay(customer, amount := f"{turn + 1}.{number:02d}")
                enrol(customer, RecordType.AUTOPAY, turn % 2 == 0)
                enrol(customer, RecordType.PAPERLESS, turn % 2 == 0)
                expected["payment", account_of(customer)].append(amount)
                for kind in ("autopay", "paperless"):
                    expected[kind, account_of(customer)].append("on" if turn % 2 == 0 else "off")

        for turn in range(TURNS - 1):
            happen(turn)
        # It goes down in the middle of things: some payments were booked, and their answers never came.
        system.control({"action": "drop_after", "next": 6, **entry.payments})
        deliver(seconds=0.2, waits=1.0)
        system.stop()
        happen(TURNS - 1)  # so that each endpoint has something to send, however much was told before
        for _ in range(2):  # as the hour goes on: whatever is due is tried, and the breakers let one call through
            make_due()
            deliver(seconds=1.0)
        waiting = Record.objects.exclude(state="delivered")
        assert waiting.exists()
        assert not waiting.filter(Q(state__in=["failed", "skipped", "withheld"]) | Q(refusals__gt=0)).exists()
        assert Endpoint.objects.filter(closed_until__isnull=False).count() == 3
        system.start()
        make_due()
        until(lambda: not Record.objects.exclude(state="delivered").exists())

        told: dict[tuple[str, str], list[str]] = defaultdict(list)
        effects: list[Told] = entry.effects(system.book())
        for effect in effects:
            told[effect.kind, effect.account].append(effect.what)
        assert told == expected
        delivered = Delivery.objects.filter(outcome=Outcome.DELIVERED)
        assert delivered.count() == len(effects) == CUSTOMERS * TURNS * 3
        # Each customer's payments were told one after the other, none before the one before it was taken.
        taken = delivered.filter(record__type=RecordType.PAYMENT).values("record__customer", "record__created_at")
        ends = taken.annotate(at=Max("at")).order_by("record__customer", "record__created_at")
        for customer_id in {row["record__customer"] for row in ends}:
            moments = [row["at"] for row in ends if row["record__customer"] == customer_id]
            assert moments == sorted(moments)
    finally:
        system.stop()
