"""A world of phones to crash: people type and enrol while webhooks, workers and senders die and the network repeats.

It is built on :class:`tests.crash.worlds.World`: the same processor and CIS that lose answers, the same killing. The web
server that hears the network is a process too, and dies like the others; its socket outlives it, as a supervisor's does.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.utils import timezone

from billing import actors, failpoints
from billing.errors import DomainError
from billing.models import Customer
from datapump.models import ChangeLog, Configuration, Purpose, Record
from payments.operations import recoveries
from sms.models import Consent, Line, Phone, SmsMode, Text
from sms.operations import enrolments, inbound, texts
from sms.operations.modes import State
from tests.cis import Cis
from tests.crash import steps, worlds
from tests.crash.worlds import ACTOR, World
from tests.factories import make_biller, make_customer, make_endpoint, make_instrument, make_invoice, make_route
from tests.processor import Processor
from tests.telephone import SECRET, Telephone

LINE = "+15055550100"
CSR = actors.Actor(actors.Requestor.CSR, "Clara")
PAYER = actors.Actor.payer(None, "Pat Payer")
CONSENT = Consent("By phone.", "Texts.", "1")
WORDS = ("PAY", "ok", "PAY", "YES", "YES", "BAL", "STOP", "START", "HELP", "PAY 2", "hello?")
POINTS = {
    "serve": ("inbound.stored",),
    "enrol": ("modes.written", "records.pending", "records.linked", "modes.committed"),
    "hear": (
        "inbound.heard", "inbound.done", "inbound.answered", "phones.opted_out", "phones.opted_in", "modes.written",
        "records.pending", "records.linked", "modes.committed", "pay.checkpointed", "pay.answered", "settle.recorded",
        "settle.posted", "settle.applied",
    ),
    "send": ("texts.answered",),
    "recover": worlds.POINTS["recover"],
    "deliver": steps.DELIVER_POINTS,
}  # fmt: skip
ANSWERED = {"pay", "balance", "confirm_registration", "accept_balance", "confirm_fee", "help", "opt_in"}


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


class TextWorld(World):
    """One seed's world of phones."""

    telephone: Telephone
    points = POINTS

    def build(self) -> None:
        """Make the biller, its customers with bills and methods, its line, and the phones."""
        self.processor.reset(tokens=True)
        self.cis.reset()
        self.telephone.reset()
        self.held = 0
        self.without_autopay = []
        self.biller = make_biller(time_zone="UTC")
        Configuration.objects.update_or_create(biller=self.biller, defaults={"pay_by_text_changes": True})
        steps.tell_by_guid(self.biller)
        for purpose in (Purpose.PAYMENTS, Purpose.AUTOPAY):
            make_endpoint(
                self.biller, purpose, url=self.cis.url, username=self.cis.username, password=self.cis.password,
                timeout_seconds=1, attempts_allowed=30_000, per_envelope=1,
            )  # fmt: skip
        self.route = make_route(
            self.biller, self.processor.url,
            options={
                "timeout": 0.25, "batch_timeout": 0.25, "connect_timeout": 2.0, "settle_seconds": 0.5,
                "dedupe_window": 168 if self.deduplicates else None, "batch_limit": 1, "concurrency": 2,
            },
        )  # fmt: skip
        self.people = [self._customer() for _ in range(self.random.randint(2, 4))]
        self.phones = [f"+1505555012{n}" for n in range(self.random.randint(1, 3))]
        self.line = Line.objects.create(
            biller=self.biller, number=LINE, driver="simulator", secret=SECRET,
            options={"base_url": self.telephone.url, "timeout": 2.0},
        )  # fmt: skip
        self.application = get_wsgi_application()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        settings.PUBLIC_URL = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.telephone.set_line(LINE, f"{settings.PUBLIC_URL}/texts/{self.line.guid}")
        for phone in self.phones:
            self.telephone.set_condition(phone, "")
        rate = self.fault_rate
        on_the_way = {"probability": rate, "seconds": 0.2, "on": ["inbound", "report"]}
        self.telephone.control(
            seed=self.seed, attempts=6, retry_seconds=0.1, latency_seconds=0.0,
            faults={
                "repeat": on_the_way, "delay": on_the_way, "reorder": on_the_way,
                "drop_after": {"probability": rate}, "error_after": {"probability": rate / 2},
            },
        )  # fmt: skip
        self.processor.control(duplicate_detection=self.deduplicates, seed=self.seed, faults=self._processor_faults())
        self.cis.control(*steps.cis_rules(self.random, rate), seed=self.seed)

    def _customer(self) -> Customer:
        customer = make_customer(self.biller)
        make_invoice(customer, "84.10")
        outcome = "hard_decline" if self.random.random() < 0.15 else "approve"
        token = self.processor.token(self.route.merchant, outcome)
        make_instrument(customer, self.route, token, is_default=True)
        return customer

    # --- Workers

    def enrol(self) -> None:
        """Do what the seed chose for somebody at a portal."""
        customer, phone, actor, ends = self.chosen
        with contextlib.suppress(DomainError):
            if ends:
                enrolments.unenrol(customer=customer, actor=actor)
            else:
                enrolments.enrol(customer=customer, number=phone, consent=CONSENT, actor=actor)

    def hear(self) -> None:
        inbound.hear_due(seconds=10.0)
        inbound.tell_outcomes()

    def send(self) -> None:
        texts.send_due(actor=ACTOR, seconds=10.0)

    def recover(self) -> None:
        nothing = datetime.timedelta(0)
        recoveries.recover(biller=self.biller, actor=ACTOR, least_age=nothing, pause=nothing)

    @contextlib.contextmanager
    def served(self, plan: str) -> Iterator[int]:
        """Have a web server hear the network meanwhile; it may die at its plan's place."""
        connections.close_all()
        pid = os.fork()
        if pid == 0:
            try:
                failpoints.arm(plan)
                server = WSGIServer(self.socket.getsockname(), _Quiet, bind_and_activate=False)
                server.socket, server.server_name, server.server_port = self.socket, "127.0.0.1", 80
                server.setup_environ()
                server.set_app(self.application)
                server.serve_forever(poll_interval=0.02)
            finally:
                os._exit(1)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _wait_for_the_network(self, server: int) -> None:
        """Let the network tell what was typed, or find that nobody is there to hear it."""
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline and self.telephone.control()["under_way"]:
            if os.waitpid(server, os.WNOHANG)[0]:
                self.kills += 1
                self.story.append("serve: killed")
                return
            time.sleep(0.02)

    def crash(self) -> None:
        """Let people type and enrol, and everything that hears them die at places the seed chooses."""
        draw = self.random
        for customer in self.people:
            self._at_a_portal(customer, PAYER if draw.random() < 0.5 else CSR, ends=False)
        for _round in range(5):
            for _ in range(draw.randint(1, 3)):
                self.telephone.type(draw.choice(self.phones), LINE, draw.choice(WORDS))
            if draw.random() < 0.4:
                actor = draw.choice([CSR, PAYER])
                self._at_a_portal(draw.choice(self.people), actor, ends=draw.random() < 0.3)
            with self.served(self._plan("serve")) as server:
                self._wait_for_the_network(server)
            for step, work in (
                ("hear", self.hear), ("recover", self.recover), ("hear", self.hear), ("send", self.send),
                ("deliver", self.deliver),
            ):  # fmt: skip
                plans = [self._plan(step) for _ in range(draw.choice([1, 1, 2]))]
                self._work_in_processes(step, work, plans)
                if draw.random() < 0.5:
                    self._pass_time()

    def _at_a_portal(self, customer: Customer, actor: actors.Actor, *, ends: bool) -> None:
        self.chosen = (customer, self.random.choice(self.phones), actor, ends)
        self._work_in_processes("enrol", self.enrol, [self._plan("enrol")])

    def _pass_time(self) -> None:
        steps.pass_time(self.biller)
        long_ago = timezone.now() - datetime.timedelta(hours=1)
        Phone.objects.filter(biller=self.biller).update(busy_until=None)
        Text.objects.filter(biller=self.biller, state="sending").update(claimed_at=long_ago)
        Text.objects.filter(biller=self.biller, state="waiting").update(due_at=timezone.now())

    def heal(self) -> None:
        """Take every fault away and let fresh processes work until nothing changes any more."""
        self.processor.wait_until_nothing_is_held()
        self.processor.control(
            faults={name: {"probability": 0.0} for name in [*worlds.PROCESSOR_FAULTS, "drop_then_late"]}
        )
        self.cis.control()
        self.telephone.control(heal=True)
        with self.served(""):
            self.telephone.redeliver()
            self.telephone.wait_until_quiet(20.0)
            deadline = time.monotonic() + worlds.HEAL_SECONDS
            while True:
                self._pass_time()
                for work in (self.hear, self.recover, self.hear, self.send, self.deliver):
                    self._work_in_processes("heal", work, [""])
                self.telephone.wait_until_quiet(20.0)
                if self._quiet() and not self._unheard():
                    break
                if time.monotonic() > deadline:
                    raise AssertionError("the world does not come to rest: " + self.state())
                time.sleep(0.1)
        self.socket.close()

    def _unheard(self) -> bool:
        # What waits for a payment that only a person can look into waits with it.
        unheard = Text.objects.filter(biller=self.biller, state__in=["arrived", "acting", "waiting", "sending"])
        return unheard.exists()

    # --- The verdict

    def judge(self) -> list[str]:
        """Compare our book with the processor's, the CIS's and the network's."""
        return [*super().judge(), *self._judge_texts(), *self._judge_changes(), *self._judge_comments()]

    def _judge_load(self) -> list[str]:
        return []

    def _judge_texts(self) -> list[str]:
        book = self.telephone.book()["texts"]
        typed = sorted(row["id"] for row in book if row["direction"] == "in")
        ours = sorted(Text.objects.filter(biller=self.biller, direction="in").values_list("provider_id", flat=True))
        wrong = [] if typed == ours else [f"typed {typed}, stored {ours}"]
        keys = [row["key"] for row in book if row["direction"] == "out"]
        wrong += [f"text {key} was sent {keys.count(key)} times" for key in sorted(set(keys)) if keys.count(key) > 1]
        out = Text.objects.filter(biller=self.biller, direction="out")
        # What tells an old number that it is let go is no answer to the new one's word.
        keys_out = [key for key in out.values_list("key", flat=True) if not key.endswith(":released")]
        answered = Counter(key[:39] for key in keys_out if key.startswith("re:"))
        wrong += [f"text {key} was answered {count} times" for key, count in answered.items() if count > 1]
        silent = set(Phone.objects.filter(biller=self.biller).exclude(opted_out_of=[]).values_list("number", flat=True))
        for text in Text.objects.filter(biller=self.biller, direction="in"):
            if text.state not in {"received", "awaiting"}:
                wrong.append(f"text {text.pk} is {text.state}")
            spoken = text.phone in silent or text.kind not in ANSWERED or text.review == "after_opt_out"
            if not spoken and f"re:{text.pk}" not in answered and not self._was_silent(text):
                wrong.append(f"{text.body!r} from {text.phone} ({text.kind}) was never answered")
        for phone in Phone.objects.filter(biller=self.biller, number__in=silent):
            later = out.filter(phone=phone.number, created_at__gt=phone.opted_out_at, kind__gt="")
            # What was written just before and had not gone out is dropped.
            sent = later.exclude(kind="opt_out_confirmation").exclude(state="failed", reason="unsubscribed")
            wrong += [f"{one.kind} to {phone} after STOP" for one in sent]
        return wrong

    def _was_silent(self, text: Text) -> bool:
        """Say whether the phone had said STOP before this and took it back only afterwards."""
        said = Text.objects.filter(biller=self.biller, phone=text.phone, direction="in", pk__lte=text.pk)
        last = said.filter(kind__in=["opt_out", "opt_in"]).order_by("-pk").first()
        return last is not None and last.kind == "opt_out"

    def _judge_changes(self) -> list[str]:
        """Replay each customer's updates and change logs; they must end where the enrolment stands."""
        wrong = [
            f"record {pk} is half linked"
            for pk in Record.objects.filter(biller=self.biller, type=12).values_list("pk", flat=True)
        ]
        for customer in self.people:
            records = list(Record.objects.filter(customer=customer, type=11).order_by("id"))
            mode = SmsMode.objects.filter(customer=customer).first()
            if mode is None:
                wrong += [f"{len(records)} records of customer {customer.pk}, who has no mode"] if records else []
                continue
            if [record.optional_setting for record in records] != [0, *[1] * (len(records) - 1)]:
                wrong.append(f"optional settings of {customer.pk}: {[record.optional_setting for record in records]}")
            first = records[0].facts
            on = first["status"] == "enrolled"
            found = {"phone": first["phone"], "registered": _yes(on), "pending registration": _yes(not on)}
            logs = list(ChangeLog.objects.filter(customer=customer).order_by("pk"))
            for log in logs:
                if found[log.field] != log.old:
                    wrong.append(f"{log.field} of {customer.pk} was {found[log.field]}, its log says {log.old}")
                found[log.field] = log.new
            state = State.of(mode)
            stands = {
                "phone": state.phone,
                "registered": _yes(state.registered),
                "pending registration": _yes(bool(state.pending_number)),
            }
            if found != stands:
                wrong.append(f"logs of {customer.pk} end at {found}, it stands at {stands}")
            linked = {log.record_id for log in logs}
            wrong += [f"update {record.pk} has no change log" for record in records[1:] if record.pk not in linked]
        return wrong

    def _judge_comments(self) -> list[str]:
        """Compare what the CIS heard of each account with our updates, in their order; repeats follow each other."""
        wrong = []
        words = {"pending": "PENDING", "enrolled": "ON", "unenrolled": "OFF", "number_changed": "NUMBER"}
        heard = [row for row in self.cis.book()["comments"] if row["comment"].startswith("PAYTEXT")]
        for customer in self.people:
            records = Record.objects.filter(customer=customer, type=11).order_by("id")
            ours = [f"PAYTEXT {words[record.facts['status']]} {record.facts['phone']}" for record in records]
            theirs = [
                row["comment"].partition(" WAS ")[0] for row in heard if row["account"] == customer.base + customer.sub
            ]
            if [one for one, _ in groupby(ours)] != [one for one, _ in groupby(theirs)]:
                wrong.append(f"the CIS heard {theirs} of {customer.base + customer.sub}, we said {ours}")
        return wrong


def _yes(value: bool) -> str:
    return "Yes" if value else "No"


def run(seed: int, processor: Processor, cis: Cis, telephone: Telephone, **traits: Any) -> TextWorld:
    """Build, crash, heal and judge one world; ``traits`` go before the seed's own.

    :raises AssertionError: something is wrong; the text has the seed and what happened.
    """
    world = TextWorld(seed, processor, cis)
    world.telephone = telephone
    for name, value in traits.items():
        setattr(world, name, value)
    address = settings.PUBLIC_URL
    try:
        world.build()
        world.crash()
        world.heal()
        wrong = world.judge()
    finally:
        settings.PUBLIC_URL = address
    if wrong:
        raise AssertionError(f"seed {seed}: " + "; ".join(wrong) + " | " + world.state())
    return world


__all__ = ["TextWorld", "run"]
