"""A biller's system that is down for an hour with ten thousand updates waiting, then back: how long they take, whether each
has one effect in the order of its customer, and how the history's page answers meanwhile.

Both connectors, each against the simulated system of its kind, which keeps a book of its own. The hour is moved by data: what
waits is made due again and the breakers let their one call through, as often as they would have in an hour.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from bench import measures

_CUSTOMERS = 2_500  # with four updates each
_PROBES = 12
_SECRET = "control-secret"  # of a simulated system that lives for a minute
_WEBHOOKS = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
_PAGE = "/biller/datapump/"
_REST = 0.02  # seconds between two looks at the page


@dataclass(frozen=True, slots=True)
class _System:
    """A simulated system: how it is started, how an endpoint speaks to it, and how its book tells of effects."""

    connector: str
    arguments: tuple[str, ...]
    path: str
    username: str
    password: str


_SYSTEMS = (
    _System(
        "multispeak",
        ("datapump.connectors.cis_simulator", "--username", "ratepayer", "--password", "cis-password"),
        "", "ratepayer", "cis-password",
    ),
    _System("webhooks", ("datapump.connectors.receiver_simulator",), "/events/bench", "", _WEBHOOKS),
)  # fmt: skip


class _Running:
    def __init__(self, system: _System, folder: Path) -> None:
        self.system, self._folder, self._port = system, folder, 0
        self.start()

    def start(self) -> None:
        module, *rest = self.system.arguments
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", module, "--port", str(self._port), "--book", str(self._folder / "book.sqlite3"),
                "--control-secret", _SECRET, *rest,
            ],
            env={"PATH": os.environ["PATH"], "DEMO": "1"}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        said = self._process.stdout.readline().rpartition("listening on ")[2].strip()
        self.url = said + self.system.path
        self.base = "/".join(said.split("/")[:3])
        self._port = int(self.base.rpartition(":")[2])
        if self.system.connector == "webhooks":
            self.ask("/control/secrets", {"endpoint": "bench", "secrets": [_WEBHOOKS]})

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=20)

    def ask(self, path: str, given: Any = None) -> Any:
        body = None if given is None else json.dumps(given).encode()
        headers = {"Authorization": f"Bearer {_SECRET}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.base + path, body, headers)  # http, our own process
        with urllib.request.urlopen(request, timeout=60) as answer:  # the same
            return json.loads(answer.read())

    def effects(self) -> dict[str, list[str]]:
        """Give what each account's effects are, in the order in which they were booked, apart by endpoint."""
        told: dict[str, list[str]] = defaultdict(list)
        book = self.ask("/book")
        if self.system.connector == "multispeak":
            for row in book["payments"]:
                told[f"payments {row['account']}"].append(row["amount"])
            for row in book["comments"]:
                told[f"autopay {row['account']}"].append(row["comment"].removeprefix("AUTOPAY ").lower())
            return told
        for event in book["events"]:
            data = event["data"]
            if event["type"] == "payment.posted":
                told[f"payments {data['account']}"].append(data["amount"])
            else:
                told[f"autopay {data['account']}"].append("on" if data["enrolled"] else "off")
        return told


def run(scale: float = 1.0) -> None:
    """Measure both connectors."""
    from billing import tenancy

    rows = []
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        for system in _SYSTEMS:
            with tempfile.TemporaryDirectory(prefix="ratepayer-outage-") as folder:
                running = _Running(system, Path(folder))
                try:
                    rows.append(_measure(running, int(_CUSTOMERS * scale)))
                finally:
                    running.stop()
                print(f"{system.connector}: {rows[-1:]}", flush=True)
    measures.table(
        f"A system down for an hour with {4 * int(_CUSTOMERS * scale):,} updates waiting, then back",
        ["", "tries while down", "drained in s", "a second", "page p95 ms, quiet", "page p95 ms, draining", "pages"],
        rows,
        ["every update has one effect, in its customer's order"],
    )


def _measure(running: _Running, customers: int) -> list[str]:
    from tests.staff import client_of, make_staff

    biller = _make(running, customers)
    client = client_of(make_staff(biller))
    running.stop()
    _write(biller, customers)
    down = _wait_out(biller)
    quiet = [_look(client) for _ in range(60)][10:]
    running.start()
    _make_due()
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_deliver, args=(ready,))
    process.start()
    draining: list[float] = []
    try:
        ready.wait(60)
        began = time.monotonic()
        while _waiting():
            draining += [_look(client)]
            time.sleep(_REST)
            if time.monotonic() - began > 600:
                raise RuntimeError(f"{_waiting()} updates still wait after ten minutes.")
        took = time.monotonic() - began
    finally:
        process.terminate()
        process.join(30)
    _compare(running, biller, customers)
    return [
        running.system.connector, f"{down:,}", f"{took:.1f}", f"{4 * customers / took:,.0f}",
        f"{1000 * measures.percentile(quiet, 0.95):.0f}", f"{1000 * measures.percentile(draining, 0.95):.0f}",
        f"{len(draining):,}",
    ]  # fmt: skip


def _make(running: _Running, customers: int) -> Any:
    from datapump.models import Endpoint, Purpose
    from tests.factories import make_biller, make_customer

    biller, system = make_biller(), running.system
    for purpose in (Purpose.PAYMENTS, Purpose.AUTOPAY):
        Endpoint.objects.create(
            biller=biller, purpose=purpose, connector=system.connector, url=running.url, username=system.username,
            password=system.password, in_flight=32,
        )  # fmt: skip
    with transaction.atomic():
        for number in range(customers):
            make_customer(biller, base=f"{10_000_000 + number}", sub="001", service_location=f"PLACE-{number}")
    return biller


def _write(biller: Any, customers: int) -> None:
    """Let four updates of each customer wait: paid, AutoPay on, paid, AutoPay off."""
    from billing.actors import Actor
    from datapump.models import RecordType
    from datapump.operations import records

    actor = Actor.system("bench")
    source = (
        "SELECT uuidv7() AS id, c.biller_id, c.id AS customer_id, {facts} AS facts, '' AS before, %s AS after"
        " FROM billing_customer c WHERE c.biller_id = %s ORDER BY c.id"
    )
    paid = source.format(
        facts="jsonb_build_object('amount', %s::text, 'currency', 'USD', 'tender', 'card', 'channel', 1,"
        " 'approval_code', %s || c.base)"
    )
    turned = source.format(facts="jsonb_build_object('enrolled', %s::boolean)")
    with transaction.atomic():
        for turn in (1, 2):
            amount = f"{turn}.00"
            written = records.write_from(
                actor=actor, type=RecordType.PAYMENT, source=paid, params=[amount, f"T{turn}-", amount, biller.pk]
            )
            on = turn == 1
            written += records.write_from(
                actor=actor, type=RecordType.AUTOPAY, source=turned, params=[on, "On" if on else "Off", biller.pk]
            )
            assert written == 2 * customers
        with connection.cursor() as cursor:
            cursor.execute("UPDATE datapump_record SET created_at = created_at - interval '1 hour'")


def _wait_out(biller: Any) -> int:
    """Let the hour go by; gives how many tries were made in it, all in vain."""
    from billing.actors import Actor
    from datapump.models import Delivery, Outcome
    from datapump.operations import deliveries

    for _ in range(_PROBES):
        _make_due()
        deliveries.deliver(actor=Actor.system("bench"), seconds=1.0)
    tries = Delivery.objects.filter(biller=biller)
    assert not tries.filter(outcome=Outcome.DELIVERED).exists()
    return tries.count()


def _make_due() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE datapump_record SET due_at = clock_timestamp() WHERE state IN ('waiting', 'retrying')")
        cursor.execute("UPDATE datapump_endpoint SET closed_until = clock_timestamp() WHERE closed_until IS NOT NULL")


def _waiting() -> int:
    from datapump.models import Record

    return Record.objects.exclude(state="delivered").count()


def _look(client: Any) -> float:
    from billing import tenancy

    began = time.perf_counter()
    answer = client.get(_PAGE, headers={"host": "127.0.0.1"})
    took = time.perf_counter() - began
    tenancy.enter(tenancy.EVERY_BILLER)  # the request scoped this connection to its own biller
    assert answer.status_code == 200, answer.status_code
    return took


def _deliver(ready: Any) -> None:
    """Deliver again and again, as beat has it done."""
    measures.set_up()
    from billing.actors import Actor
    from datapump.operations import deliveries

    ready.set()
    while True:
        deliveries.deliver(actor=Actor.system("bench"), seconds=60.0)
        time.sleep(0.5)


def _compare(running: _Running, biller: Any, customers: int) -> None:
    expected = {}
    for number in range(customers):
        account = f"{10_000_000 + number}001"
        expected[f"payments {account}"] = ["1.00", "2.00"]
        expected[f"autopay {account}"] = ["on", "off"]
    told = running.effects()
    wrong = [name for name in expected.keys() | told.keys() if expected.get(name) != told.get(name)]
    if wrong:
        raise RuntimeError(f"{len(wrong)} accounts were told otherwise: {wrong[0]}: {told.get(wrong[0])}")
