"""A world of whole processes to crash: bills come in, are collected by beat and workers and paid at the web server.

It is built on :class:`tests.crash.worlds.World`, and judged like one; but no work in it is done by hand. Beat sends,
workers work, programs of the biller's own pay and give back over the API and ask again under the same key until they
are answered, while everything is killed, frozen or cut off at moments that the seed chooses: each process, PostgreSQL,
its sessions, Valkey with all that it had, the processor and the CIS.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import redis
from django.db import Error, connections
from django.db.models import F
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

from billing import tenancy
from billing.models import Customer, FileState, Item, Run
from billing.operations import api_tokens
from config import roles
from config.beat import write_table
from config.celery import BEAT
from payments.models import Attempt, AutoPayEnrolment, Case, Channel, Payment, Reversal
from payments.operations import scheduled_payments
from tests.cis import Cis
from tests.crash import steps
from tests.crash.stacks import Servers, members, some_port
from tests.crash.worlds import ACTOR, PROCESSOR_FAULTS, World
from tests.processor import Processor

T = TypeVar("T")

# What beat sends in a world, every second or as often as named; the rest of its table rests.
EVERY = {
    "Load waiting files": 1,
    "Bring runs forward": 1,
    "Recover": 1,
    "Ask processors": 1,
    "Read returns and chargebacks": 2,
    "Deliver to billers' systems": 1,
    "Send notices": 5,
}
# What plans runs, once the bills are there.
PLANS = ("Collect what is due", "Make scheduled payments", "Deposit what was authorized")
START_SECONDS, LOAD_SECONDS, REST_SECONDS, ANSWER_SECONDS = 120.0, 120.0, 240.0, 10.0
SETTLE_SECONDS = 8.0
SKEW = 7200.0
REFUSED = 422
# The code of a refusal that says that the same call is at work.
IN_PROGRESS = "call_in_flight"


@dataclass
class Program:
    """A program of the biller's own: it pays a bill over the API, perhaps gives it back, and asks until it is answered.

    ``answers`` has status and body of each call, ``pay`` and ``back``.
    """

    base: str
    token: str
    bill: Item
    instrument: str
    gives_back: bool
    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    calls: int = 0

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def done(self) -> bool:
        """Whether it has every answer that it wanted."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Give up."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        bill = self.bill
        account, amount = bill.customer.number, str(bill.amount)
        paid = {"account": account, "amount": amount, "instrument": self.instrument, "invoices": [bill.invoice_id]}
        self._ask("pay", "payments/", paid)
        status, payment = self.answers.get("pay", (0, {}))
        if status == 201 and self.gives_back:
            self._ask("back", f"payments/{payment['id']}/refund/", {"amount": amount, "reason": "Moved away"})

    def _ask(self, name: str, path: str, body: Mapping[str, Any]) -> None:
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"{name}-{self.bill.pk}",
        }
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), headers)
        while not self._stopped.is_set():
            self.calls += 1
            try:
                with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
                    self.answers[name] = (response.status, json.loads(response.read()))
                    return
            except urllib.error.HTTPError as error:
                said = error.read().decode(errors="replace")
                if error.code < 500 and IN_PROGRESS not in said:
                    self.answers[name] = (error.code, json.loads(said))
                    return
            except (OSError, http.client.HTTPException, ValueError):
                pass  # no answer: the same again, under the same key
            self._stopped.wait(0.3)


class StackWorld(World):
    """One seed's world of whole processes."""

    def prepare(self, servers: Servers, environment: Mapping[str, str], web: int) -> None:
        """Draw what is the whole stack's own."""
        self.servers, self.environment, self.web = servers, environment, web
        draw = self.random
        self.scheduling = draw.choice([0.3, 0.6])
        self.held = 0
        self.given_back = draw.choice([0.0, 0.5])
        self.skew = draw.choice([0.0, 0.0, SKEW, -SKEW])
        self.blows = draw.randint(6, 10)
        self.stack = members(environment, web, self.skew)
        self.programs: list[Program] = []
        self._down: list[Processor | Cis] = []

    # --- Before

    def build(self) -> None:
        """Make the biller and its customers, and set beat to be quick."""
        super().build()
        self.at_web, self.without_autopay = self.without_autopay[::2], self.without_autopay[1::2]
        self.token = api_tokens.make(biller=self.biller, name="Stack", actor=ACTOR).key
        write_table(BEAT)
        PeriodicTask.objects.update(enabled=False)
        self._beat(EVERY)

    def _beat(self, every: Mapping[str, int]) -> None:
        """Have beat send these, each so many seconds apart, as an administrator would."""
        for name, seconds in every.items():
            interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
            PeriodicTask.objects.filter(name=name).update(enabled=True, crontab=None, interval=interval)
        PeriodicTasks.update_changed()

    # --- Blows

    def crash(self) -> None:
        """Let the stack work while it is beaten."""
        for member in self.stack.values():
            member.start()
        self._wait(self._answers, "the stack does not start", START_SECONDS)
        self._wait(self._loaded, "the file is not loaded", LOAD_SECONDS, beaten=True)
        self._retried(self._schedule)
        self._send_programs()
        self._retried(lambda: self._beat(dict.fromkeys(PLANS, 2)))
        while self.blows:
            self._blow()
        self._retried(self.let_banks_return)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web}/health", timeout=5):
                return True
        except OSError:
            return False

    def _loaded(self) -> bool:
        self.file.refresh_from_db()
        return self.file.state == FileState.LOADED

    def _schedule(self) -> None:
        """Schedule for today what some without AutoPay owe, each under one key, as of yesterday."""
        for card in self.without_autopay:
            scheduled_payments.schedule(
                customer=Customer.objects.select_related("biller").get(pk=card.customer_id),
                pay_on=self.today,
                amount=None,
                instrument=card,
                actor=ACTOR,
                request_key=f"scheduled-{card.pk}",
                now=timezone.now() - datetime.timedelta(days=1),
            )

    def _send_programs(self) -> None:
        """Have the others' bills paid at the web server, some of them to be given back."""

        def describe() -> list[Program]:
            bills = {one.customer_id: one for one in Item.objects.filter(biller=self.biller).select_related("customer")}
            return [
                Program(
                    f"http://127.0.0.1:{self.web}/api/v1/",
                    self.token,
                    bills[card.customer_id],
                    str(card.pk),
                    random.Random(f"{self.seed}-{card.customer_id}").random() < self.given_back,
                )
                for card in self.at_web
            ]

        self.programs = self._retried(describe)
        for program in self.programs:
            program.start()

    def _blow(self) -> None:
        """Strike one blow, and after a while have what ended started again, as whoever supervises it would."""
        self.blows -= 1
        time.sleep(self.random.uniform(0.1, 0.9))
        blow = self.random.choice(BLOWS)
        words = blow(self)
        self.story.append(words)
        time.sleep(self.random.uniform(0.1, 1.2))
        self._mend()
        self._retried(lambda: self._age(30.0))

    def _mend(self) -> None:
        self.servers.start()
        while self._down:
            self._down.pop().start()
        for member in self.stack.values():
            member.thaw()
            member.start()

    def _age(self, seconds: float) -> None:
        """Let so much time pass for what has no answer, so that it is looked up; what is claimed is anybody's now."""
        steps.pass_time(self.biller)
        Attempt.objects.unfinished().filter(biller=self.biller).update(
            sent_at=F("sent_at") - datetime.timedelta(seconds=seconds), looked_up_at=None
        )

    def kill(self) -> str:
        """Kill a process with its children."""
        member = self.random.choice(list(self.stack.values()))
        member.kill()
        self.kills += 1
        return f"{member.name} killed"

    def kill_child(self) -> str:
        """Kill what a worker or web server made for one of its tasks or requests."""
        member = self.stack[self.random.choice(["web", "worker", "worker 2"])]
        if children := member.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(children), signal.SIGKILL)
                self.kills += 1
        return f"a child of {member.name} killed"

    def freeze(self) -> str:
        """Have a process stand still for a while, and go on as if nothing had been."""
        member = self.random.choice(list(self.stack.values()))
        member.freeze()
        time.sleep(self.random.uniform(0.5, 2.0))
        return f"{member.name} frozen"

    def empty_broker(self) -> str:
        """Wipe everything that Valkey has while it runs."""
        with redis.Redis.from_url(self.environment["REDIS_URL"]) as broker:
            broker.flushall()
        return "Valkey emptied"

    def kill_broker(self) -> str:
        """Kill Valkey, which comes back without anything."""
        self.servers.wipe_valkey()
        return "Valkey killed and wiped"

    def end_sessions(self) -> str:
        """End some sessions of PostgreSQL."""
        with psycopg.connect(self.servers.superuser(), autocommit=True) as server:
            found = server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND random() < 0.5",
                [roles.LOGIN],
            ).fetchall()
        return f"{len(found)} sessions ended"

    def kill_session(self) -> str:
        """Kill a session of PostgreSQL, which then throws all others out and recovers."""
        with psycopg.connect(self.servers.superuser(), autocommit=True) as server:
            found = server.execute("SELECT pid FROM pg_stat_activity WHERE usename = %s", [roles.LOGIN]).fetchall()
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.random.choice(found)[0], signal.SIGKILL)
        return "a session killed"

    def kill_postgres(self) -> str:
        """Kill PostgreSQL."""
        self.servers.kill_postgres()
        return "PostgreSQL killed"

    def kill_processor(self) -> str:
        """Kill the processor, which remembers what it did."""
        self.processor.stop(signal.SIGKILL)
        self._down.append(self.processor)
        return "the processor killed"

    def kill_cis(self) -> str:
        """Kill the CIS, which remembers what it heard."""
        self.cis.stop(signal.SIGKILL)
        self._down.append(self.cis)
        return "the CIS killed"

    # --- Rest

    def heal(self) -> None:
        """Take every fault away and wait until the stack has brought everything to its end by itself."""
        self._mend()
        self.processor.wait_until_nothing_is_held()
        self.processor.control(faults={name: {"probability": 0.0} for name in [*PROCESSOR_FAULTS, "drop_then_late"]})
        self.cis.control()

        def at_rest() -> bool:
            self._age(3600.0)
            # A clock that was wrong may have ended them in time to come.
            ended = Run.objects.filter(biller=self.biller, finished_at__isnull=False)
            ended.update(finished_at=timezone.now() - datetime.timedelta(hours=1))
            return self._quiet()

        self._wait(at_rest, "the stack does not come to rest", REST_SECONDS, pause=1.0)
        # What banks took back of a charge that only a case knows is not waited for; the rest of it is read meanwhile.
        if self._retried(Case.objects.filter(biller=self.biller).exists):
            time.sleep(SETTLE_SECONDS)
            self._wait(at_rest, "the stack does not stay at rest", REST_SECONDS, pause=1.0)

    def _quiet(self) -> bool:
        # What is last looked at is what the others bring about.
        return (
            not self._forgotten()
            and all(program.done() for program in self.programs)
            and self._returns_read()
            and not Run.objects.filter(biller=self.biller, state__in=["planned", "working"]).exists()
            and super()._quiet()
        )

    def _forgotten(self) -> set[int]:
        """Give the customers whose AutoPay bill nobody asked for, although their card is good."""
        asked = Payment.objects.filter(biller=self.biller).values("customer_id")
        owing = AutoPayEnrolment.objects.filter(biller=self.biller, instrument__state="active")
        return set(owing.exclude(customer_id__in=asked).values_list("customer_id", flat=True))

    def _returns_read(self) -> bool:
        """Whether what banks took back is booked; what a case holds for not made cannot be."""
        totals = self.processor.book(self.route.merchant)["totals"]
        ours = sum((one.total for one in Reversal.objects.filter(biller=self.biller, attempt=None)), Decimal(0))
        theirs = sum((Decimal(row["reversed"]) for row in totals), Decimal(0))
        return theirs == ours or Case.objects.filter(biller=self.biller).exists()

    def end(self) -> None:
        """End every process of the stack."""
        for program in self.programs:
            program.stop()
        for member in self.stack.values():
            member.kill()

    def judge(self) -> list[str]:
        """Judge as any world, and the programs' answers; and that no bill with AutoPay was forgotten."""
        wrong = super().judge()
        wrong += [f"customer {pk} was never asked for the bill" for pk in self._forgotten()]
        for program in self.programs:
            made = list(Payment.objects.filter(customer=program.bill.customer, channel=Channel.API))
            status, answer = program.answers.get("pay", (0, {}))
            said = {201: {"posted", "reversed"}, 402: {"failed"}, 202: {"processing", "posted", "reversed", "failed"}}
            if status == REFUSED and not made:
                continue  # the card that it names was declined for good elsewhere
            if len(made) != 1 or status not in said or made[0].state not in said[status]:
                wrong.append(f"a program was answered {status} {answer}, and there are {[one.state for one in made]}")
            status, answer = program.answers.get("back", (0, {}))
            back = Reversal.objects.filter(payment__in=made, attempt__isnull=False, state="done")
            if (status == 201) != (back.count() == 1) and status != 202:
                wrong.append(f"a program was answered {status} {answer}, and given back was {back.count()} times")
        return wrong

    # --- A database that comes and goes

    def _retried(self, act: Callable[[], T]) -> T:
        """Do something that may be done again, until PostgreSQL is there for the whole of it."""
        ends = time.monotonic() + START_SECONDS
        while True:
            try:
                return act()
            except Error:
                connections.close_all()
                if time.monotonic() > ends:
                    raise
                time.sleep(0.2)

    def _wait(
        self, true: Callable[[], bool], otherwise: str, seconds: float, *, beaten: bool = False, pause: float = 0.2
    ) -> None:
        ends = time.monotonic() + seconds
        while not self._retried(true):
            if time.monotonic() > ends:
                raise AssertionError(f"{otherwise}: {self._retried(self.state)}")
            if beaten and self.blows:
                self._blow()
            else:
                for member in self.stack.values():
                    member.start()
                time.sleep(pause)


BLOWS: tuple[Callable[[StackWorld], str], ...] = (
    StackWorld.kill,
    StackWorld.kill,
    StackWorld.kill_child,
    StackWorld.kill_child,
    StackWorld.freeze,
    StackWorld.empty_broker,
    StackWorld.kill_broker,
    StackWorld.end_sessions,
    StackWorld.kill_session,
    StackWorld.kill_postgres,
    StackWorld.kill_processor,
    StackWorld.kill_cis,
)


def run(seed: int, servers: Servers, environment: Mapping[str, str], web: int, books: Path) -> None:
    """Build, crash, heal and judge one world of whole processes.

    :raises AssertionError: something is wrong; the text has the seed and what happened.
    """
    books.mkdir(exist_ok=True)
    processor, cis = Processor(books, port=some_port()), Cis(books)
    with processor, contextlib.ExitStack() as ending, tenancy.acting_for(tenancy.EVERY_BILLER):
        cis.start()
        ending.callback(cis.stop)
        world = StackWorld(seed, processor, cis)
        world.prepare(servers, environment, web)
        ending.callback(world.end)
        world.build()
        world.crash()
        world.heal()
        wrong = world._retried(world.judge)
        calls = sum(program.calls for program in world.programs)
        payments = Payment.objects.filter(biller=world.biller).count()
        print(f"seed {seed}: {payments} payments, {calls} calls, " + "; ".join(world.story))
        if wrong:
            raise AssertionError(f"seed {seed}: " + "; ".join(wrong) + " | " + world.state())
