"""A world to crash: one biller with a file of bills, a processor and a CIS that lose answers, and workers that die.

Some bills are paid by AutoPay in one message, others are authorized first and deposited later, or scheduled for today.
Everything a seed does follows from its number: which faults, how often, where each worker is killed. A worker is a
process of its own, killed by SIGKILL; what goes on after it is another process. At the end the world heals: no faults,
no kills, recovery and delivery until nothing changes. Then the three books, which share nothing, are compared.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
import random
import signal
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from django.db import connections, transaction
from django.utils import timezone

from billing import failpoints, tenancy
from billing.actors import Actor
from billing.models import Biller, Chunk, Invoice, InvoiceFile, Item, Run, Setting
from datapump.models import Configuration, Purpose, Record
from payments.books import findings
from payments.gateways.base import GatewayError
from payments.models import Attempt, Case, Channel, Instrument, Payment, Reversal, Route, ScheduledPayment
from payments.operations import (
    charges,
    collections,
    deposits,
    groups,
    recoveries,
    refunds,
    returns,
    scheduled_collections,
    scheduled_payments,
)
from payments.operations.collections import Options
from tests.cis import Cis
from tests.crash import steps
from tests.factories import (
    make_autopay,
    make_biller,
    make_customer,
    make_endpoint,
    make_instrument,
    make_link,
    make_route,
    make_user,
)
from tests.processor import Processor

ACTOR = Actor.system("crash harness")
POINTS = {
    "load": steps.LOAD_POINTS,
    "collect": (
        "collect.checkpointed",
        "collect.answered",
        "settle.recorded",
        "settle.posted",
        "settle.applied",
        "collect.settled",
    ),
    "authorize": ("pay.checkpointed", "pay.answered", "settle.recorded", "settle.applied"),
    "deposit": (
        "deposit.checkpointed",
        "deposit.answered",
        "settle.recorded",
        "settle.posted",
        "settle.applied",
        "deposit.settled",
    ),
    "pay_scheduled": (
        "scheduled.checkpointed",
        "scheduled.answered",
        "settle.recorded",
        "settle.posted",
        "settle.applied",
        "scheduled.settled",
    ),
    "give_back": ("refund.checkpointed", "refund.answered", "settle.recorded", "settle.applied"),
    "read_returns": ("reversals.told",),
    "read_files": ("settle.recorded", "settle.posted", "settle.applied"),
    "recover": ("recover.looked_up", "recover.resending", "settle.recorded", "settle.posted", "settle.applied"),
    "deliver": steps.DELIVER_POINTS,
}
PROCESSOR_FAULTS = (
    "drop_before",
    "drop_after",
    "error_before",
    "error_after",
    "garbage",
    "truncated",
    "omit",
    "half_batch",
    "lose_batch_before",
    "lose_batch_after",
    "out_of_order",
)
WORKER_SECONDS = 60.0
HEAL_SECONDS = 25.0


class WorkerFailed(AssertionError):
    """A worker ended with an error of its own, which its traceback on stderr tells."""


@dataclass
class World:
    """One seed's world."""

    seed: int
    processor: Processor
    cis: Cis
    kills: int = 0
    story: list[str] = field(default_factory=list)
    # Where workers die, by step, at which time that they come there at most, and which share of them lives.
    points: ClassVar[Mapping[str, Sequence[str]]] = POINTS
    nth: ClassVar[int] = 3
    living: ClassVar[float] = 0.25
    # So many work at once.
    workers: ClassVar[Sequence[int]] = (1, 1, 2, 3)
    # What the processor and the CIS do wrong; nothing stands for what the seed chooses.
    faults: ClassVar[Mapping[str, dict[str, Any]]] = {}
    cis_faults: ClassVar[Sequence[dict[str, Any]]] = ()
    # This share of the cards is declined for good.
    declining: ClassVar[float] = 0.15
    # So long the processor says that it may take to act on a request.
    settle_seconds: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        self.random = random.Random(f"crash-{self.seed}")
        draw = self.random
        self.deduplicates = draw.random() < 0.6
        # Some processors act on a request after everybody has stopped expecting it.
        self.late = draw.choice([None, "within", "beyond"])
        self.fault_rate = draw.choice([0.0, 0.1, 0.3])
        self.customers = draw.randint(4, 14)
        self.chunk_size = draw.randint(2, 6)
        self.online = draw.random() < 0.3
        # So many of the customers give a card to hold before AutoPay comes to their bill.
        self.held = draw.randint(0, self.customers // 2)
        # So many accounts have one owner and one card, and are billed as a group.
        self.household = draw.choice([1, 1, 2, 3])
        # This share of the customers, the last ones, has no AutoPay and schedules a payment for today.
        self.scheduling = draw.choice([0.0, 0.3, 0.6])

        # This share of what AutoPay collected is given back, half of it or all, and this share is returned by banks.
        self.given_back = draw.choice([0.0, 0.3, 0.6])
        self.returned = draw.choice([0.0, 0.2])
        # Whether each worker collects in a run of its own, so that they meet at the same bills.
        self.own_runs = draw.random() < 0.3
        # Whether the processor closes a response file: not one that acts on a request after its file is closed.
        self.files = self.late is None

    def build(self) -> None:
        """Make the biller, its customers with AutoPay, and set the two outside systems to lose answers."""
        self.processor.reset(tokens=True)
        self.cis.reset()
        self.biller = make_biller(time_zone="UTC", collect_rule="finalized")
        Configuration.objects.filter(biller=self.biller).update(scheduled_payments=True)
        steps.tell_by_guid(self.biller)
        for purpose in (Purpose.PAYMENTS, Purpose.AUTOPAY, Purpose.PAPERLESS):
            make_endpoint(
                self.biller,
                purpose,
                url=self.cis.url,
                username=self.cis.username,
                password=self.cis.password,
                timeout_seconds=1,
                attempts_allowed=30_000,
                per_envelope=self.random.choice([1, 3]),
            )
        self.route = make_route(
            self.biller,
            self.processor.url,
            options={
                "timeout": 0.25,
                "batch_timeout": 0.25,
                "connect_timeout": 2.0,
                "settle_seconds": self.settle_seconds,
                "dedupe_window": 168 if self.deduplicates else None,
                "batch_limit": 1 if self.online else 5,
                "concurrency": 2,
            },
        )
        tokens = self.processor.tokens(
            self.route.merchant,
            [
                {"outcome": "hard_decline" if self.random.random() < self.declining else "approve", "kind": "card"}
                for _ in range(self.customers)
            ],
        )
        self.file, self.totals, accounts = steps.receive_file(
            self.biller, self.customers, self.seed, household=self.household
        )
        if self.household > 1:
            Setting.objects.create(biller=self.biller, number=groups.GROUPING, value=True)
        cards: list[Instrument] = []
        with_autopay = len(accounts) - round(len(accounts) * self.scheduling)
        for place, account in enumerate(accounts):
            customer = make_customer(self.biller, number=account)
            if place % self.household == 0:
                owner = make_user()
            make_link(owner, customer)
            cards.append(make_instrument(customer, self.route, tokens[place - place % self.household]))
            if place < with_autopay:
                make_autopay(customer, cards[-1])
        self.without_autopay = cards[with_autopay:]
        self.cards = cards[: self.held]
        self.processor.control(duplicate_detection=self.deduplicates, seed=self.seed, faults=self._processor_faults())
        self.cis.control(*(self.cis_faults or steps.cis_rules(self.random, self.fault_rate)), seed=self.seed)

    def _processor_faults(self) -> dict[str, dict[str, Any]]:
        if self.faults or self.fault_rate == 0.0:
            return dict(self.faults)
        chosen = self.random.sample(PROCESSOR_FAULTS, k=4)
        faults: dict[str, dict[str, Any]] = {name: {"probability": self.fault_rate / 4} for name in chosen}
        if self.late:
            seconds = 0.3 if self.late == "within" else 0.9
            faults["drop_then_late"] = {"probability": self.fault_rate / 2, "seconds": seconds}
        return faults

    # --- Workers

    def load(self) -> None:
        steps.load_file(self.file)

    def collect(self) -> None:
        run = collections.plan(
            biller=self.biller,
            options=Options(start=self.today, end=self.today, repeat=str(os.getpid()) if self.own_runs else ""),
            actor=ACTOR,
            now=timezone.now(),
            chunk_size=self.chunk_size,
        )
        for _chunk in collections.work(run=run, actor=ACTOR):
            pass

    def authorize(self) -> None:
        """Hold the cards of some customers, each under one key, whoever asks how often."""
        held = [card.pk for card in self.cards]
        for card in Instrument.objects.filter(pk__in=held).select_related("customer__biller", "route").order_by("pk"):
            owed = Item.objects.filter(customer=card.customer).first()
            if owed is None:
                continue
            # Paid by AutoPay or being paid: there is nothing to hold. Or the card was declined to another of its household.
            with contextlib.suppress(charges.AlreadyBeingPaid, charges.MethodUnusable):
                charges.pay(
                    customer=card.customer,
                    amount=owed.amount,
                    instrument=card,
                    channel=Channel.CSR,
                    actor=ACTOR,
                    request_key=f"hold-{card.pk}",
                    item_ids=[owed.pk],
                    authorize_only=True,
                )

    def pay_scheduled(self) -> None:
        """Schedule for today what is owed without AutoPay, each under one key, as of yesterday; then make what is scheduled."""
        mine = [card.pk for card in self.without_autopay]
        for card in Instrument.objects.filter(pk__in=mine).select_related("customer__biller", "route").order_by("pk"):
            # Its bill is not loaded yet, the card is held for it, or was declined to another of its household.
            with contextlib.suppress(charges.NothingDue, charges.AlreadyBeingPaid, charges.MethodUnusable):
                scheduled_payments.schedule(
                    customer=card.customer,
                    pay_on=self.today,
                    amount=None,
                    instrument=card,
                    actor=ACTOR,
                    request_key=f"scheduled-{card.pk}",
                    now=timezone.now() - datetime.timedelta(days=1),
                )
        run = scheduled_collections.plan(
            biller=self.biller,
            options=scheduled_collections.Options(until=self.today, repeat=str(os.getpid())),
            actor=ACTOR,
            now=timezone.now(),
            chunk_size=self.chunk_size,
        )
        for _chunk in scheduled_collections.work(run=run, actor=ACTOR):
            pass

    def deposit(self) -> None:
        """Deposit what is held, each worker in a run of its own."""
        run = deposits.plan(
            biller=self.biller,
            options=deposits.Options(start=self.today, end=self.today, repeat=str(os.getpid())),
            actor=ACTOR,
            now=timezone.now(),
            chunk_size=self.chunk_size,
        )
        for _chunk in deposits.work(run=run, actor=ACTOR):
            pass

    def give_back(self) -> None:
        """Give some payments back, each under one key, whoever asks how often."""
        collected = Payment.objects.filter(
            biller=self.biller, channel=Channel.AUTOPAY, state__in=["posted", "reversed"]
        )
        for payment in collected.select_related("biller", "route").order_by("pk"):
            lot = random.Random(f"{self.seed}-{payment.customer_id}").random()
            if lot >= self.given_back:
                continue
            amount = payment.amount if lot < self.given_back / 2 else (payment.amount / 2).quantize(payment.amount)
            # Another worker is at it, or the bank was first.
            with contextlib.suppress(refunds.RefundRefused):
                refunds.refund(
                    payment=payment, amount=amount, reason="Paid twice", actor=ACTOR, request_key=f"back-{payment.pk}"
                )

    def read_returns(self) -> None:
        with contextlib.suppress(GatewayError):
            returns.read(biller=self.biller, actor=ACTOR, now=timezone.now())

    def read_files(self) -> None:
        with contextlib.suppress(GatewayError):
            recoveries.read_response_files(biller=self.biller, actor=ACTOR)

    def let_banks_return(self) -> None:
        """Have banks return some of what AutoPay charged."""
        for row in self.processor.book(self.route.merchant)["rows"]:
            if row["command"] == "charge" and row["times_charged"] and self.random.random() < self.returned:
                self.processor.reverse(self.route.merchant, row["key"], "return")

    def recover(self) -> None:
        nothing = datetime.timedelta(0)
        recoveries.recover(biller=self.biller, actor=ACTOR, least_age=nothing, pause=nothing)

    def deliver(self) -> None:
        steps.deliver()

    @property
    def today(self) -> datetime.date:
        """The collection date of every bill."""
        return self.biller.business_date(timezone.now())

    def crash(self) -> None:
        """Work with workers that die, one to three of each kind at once, at places the seed chooses."""
        for step, work in (
            ("load", self.load),
            ("authorize", self.authorize),
            ("collect", self.collect),
            ("pay_scheduled", self.pay_scheduled),
            ("read_files", self.read_files),
            ("recover", self.recover),
            ("deposit", self.deposit),
            ("collect", self.collect),
            ("pay_scheduled", self.pay_scheduled),
            ("give_back", self.give_back),
            ("deliver", self.deliver),
            ("recover", self.recover),
            ("read_returns", self.read_returns),
            ("give_back", self.give_back),
            ("deposit", self.deposit),
            ("deliver", self.deliver),
        ):
            if step == "read_returns":
                self.let_banks_return()
            if step == "read_files":
                if not self.files:
                    continue
                self.processor.close_response_file(self.route.merchant)
            for _ in range(self.random.randint(1, 2)):
                plans = [self._plan(step) for _ in range(self.random.choice(self.workers))]
                self._work_in_processes(step, work, plans)
                if self.random.random() < 0.5:
                    steps.pass_time(self.biller)

    def _plan(self, step: str) -> str:
        places = self.points.get(step)
        if not places or self.random.random() < self.living:
            return ""
        return f"{self.random.choice(places)}:{self.random.randint(1, self.nth)}"

    def _work_in_processes(self, step: str, work: Callable[[], None], plans: Sequence[str]) -> None:
        children = {self._fork(work, plan): plan for plan in plans}
        deadline = time.monotonic() + WORKER_SECONDS
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid in children:
                plan = children.pop(pid)
                killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                self.kills += killed
                self.story.append(f"{step}: {plan or 'no kill'} {'killed' if killed else f'ended {status}'}")
                if not killed and status != 0:
                    raise WorkerFailed(f"a worker failed by itself: {self.story[-1]} (its traceback is above)")
            elif time.monotonic() > deadline:
                for one in children:
                    os.kill(one, signal.SIGKILL)
                    os.waitpid(one, 0)
                raise AssertionError(f"a worker hangs in {step} with {plans}")
            else:
                time.sleep(0.002)

    def _fork(self, work: Callable[[], None], plan: str) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            # The parent's connections stay its own: they are forgotten here, which closes nothing.
            for one in connections.all(initialized_only=True):
                one.connection = None
            failpoints.arm(plan)
            with tenancy.acting_for([self.biller.pk]):
                work()
            connections.close_all()
            code = 0
        except BaseException:
            out = io.StringIO()
            traceback.print_exc(file=out)
            os.write(2, out.getvalue().encode())
        finally:
            os._exit(code)

    def heal(self) -> None:
        """Take every fault away and let fresh processes work until nothing changes any more."""
        self.processor.wait_until_nothing_is_held()
        self.processor.control(faults={name: {"probability": 0.0} for name in [*PROCESSOR_FAULTS, "drop_then_late"]})
        self.cis.control()
        steps.pass_time(self.biller)
        deadline = time.monotonic() + HEAL_SECONDS
        begin = _in_turn(self.load, self.collect, self.pay_scheduled, self.read_returns)
        go_on = _in_turn(self.recover, self.read_returns, self.deposit, self.pay_scheduled, self.deliver)
        self._work_in_processes("heal", begin, [""])
        self._work_in_processes("heal", go_on, [""])
        while not self._quiet():
            if time.monotonic() > deadline:
                raise AssertionError("the world does not come to rest: " + self.state())
            time.sleep(0.1)
            steps.pass_time(self.biller)
            self._work_in_processes("heal", go_on, [""])

    def _quiet(self) -> bool:
        open_attempts = Attempt.objects.unfinished().filter(biller=self.biller)
        with_case = Case.objects.filter(biller=self.biller, state="open").values("attempt_id")
        waiting = Record.objects.filter(biller=self.biller, state__in=["waiting", "sending", "retrying"])
        held = Payment.objects.filter(biller=self.biller, state="authorized")
        scheduled = ScheduledPayment.objects.filter(biller=self.biller, state="scheduled")
        unfinished = open_attempts.exclude(pk__in=with_case)
        return not any(rows.exists() for rows in (unfinished, waiting, held, scheduled))

    # --- The verdict

    def judge(self) -> list[str]:
        """Compare our book with the processor's and the CIS's; gives a sentence for each thing that is wrong."""
        wrong: list[str] = []
        payments = {p.pk: p for p in Payment.objects.filter(biller=self.biller)}
        moved_by: dict[uuid.UUID, list[Payment]] = {}
        for payment in payments.values():
            moved_by.setdefault(payment.leading_id, []).append(payment)
        attempts = {str(a.pk): a for a in Attempt.objects.filter(biller=self.biller)}
        cases = {
            str(pk) for pk in Case.objects.filter(biller=self.biller, state="open").values_list("attempt_id", flat=True)
        }
        book = {row["key"]: row for row in self.processor.book(self.route.merchant)["rows"] if row["times_charged"]}
        wrong += self._judge_backs(book, cases)
        charged_customers: dict[int, int] = {}
        for key, row in book.items():
            if row["command"] == "refund":
                continue
            if row["times_charged"] > 1:
                wrong.append(f"charge {key} was made {row['times_charged']} times")
            attempt = attempts.get(key)
            if attempt is None:
                wrong.append(f"charge {key} is unknown to us")
                continue
            moved = moved_by[attempt.payment_id]
            for payment in moved:
                charged_customers[payment.customer_id] = (
                    charged_customers.get(payment.customer_id, 0) + row["times_charged"]
                )
                if payment.state not in {"posted", "reversed"} and key not in cases:
                    wrong.append(f"charge {key} is {payment.state} here, and no case is open")
            total = sum((payment.amount for payment in moved), Decimal("0.00"))
            if Decimal(row["amount"]) != total:
                wrong.append(f"charge {key} is {row['amount']}, our payments {total}")
        wrong += [f"customer {pk} was charged {n} times for one bill" for pk, n in charged_customers.items() if n > 1]
        for key, attempt in attempts.items():
            took = attempt.state == "applied" and attempt.result == 0 and attempt.command != "authorize"
            if payments[attempt.payment_id].state in {"posted", "reversed"} and key not in book and took:
                wrong.append(f"payment {attempt.payment_id} is posted and was never charged")
        wrong += [f"another message went out as {key}" for key, row in book.items() if row["altered"]]
        if self.deduplicates and cases:
            wrong.append(f"{len(cases)} cases although the processor recognises repeats")
        wrong += steps.judge_cis(self.cis, [p for p in payments.values() if p.state in {"posted", "reversed"}])
        wrong += self._judge_load()
        wrong += self._judge_scheduled(cases)
        with tenancy.acting_for([self.biller.pk]), transaction.atomic():
            wrong += [f"books: {f.check.number} {f.check.says}: {f.examples}" for f in findings() if f.wrong]
        unfinished = Record.objects.filter(biller=self.biller).exclude(state="delivered").count()
        if unfinished:
            wrong.append(f"{unfinished} records are not delivered")
        return wrong

    def _judge_backs(self, book: dict[str, Any], cases: set[str]) -> list[str]:
        """What the processor gave back and saw returned is what we booked, each once, and the CIS heard of it."""
        ours = list(Reversal.objects.filter(biller=self.biller).select_related("payment"))
        by_attempt = {str(one.attempt_id): one for one in ours if one.attempt_id}
        asked = Counter(one.payment_id for one in by_attempt.values())
        wrong = [f"payment {pk} was given back {count} times under one key" for pk, count in asked.items() if count > 1]
        for key, row in book.items():
            if row["command"] != "refund":
                continue
            one = by_attempt.get(key)
            if row["times_charged"] > 1:
                wrong.append(f"refund {key} was made {row['times_charged']} times")
            if one is None or (one.state != "done" and key not in cases):
                wrong.append(f"refund {key} was made and is {one and one.state} here")
            elif Decimal(row["amount"]) != one.total:
                wrong.append(f"refund {key} is {row['amount']}, ours {one.total}")
        wrong += [
            f"refund {key} was never made" for key, one in by_attempt.items() if one.state == "done" and key not in book
        ]
        totals = self.processor.book(self.route.merchant)["totals"]
        theirs = sum((Decimal(row["reversed"]) for row in totals), Decimal(0))
        returned = sum((one.total for one in ours if one.attempt_id is None), Decimal(0))
        # What a case holds for not made cannot be returned here.
        if theirs != returned and not cases:
            wrong.append(f"banks returned {theirs}, we booked {returned}")
        words = {"void": "PAY_VOID", "refund": "PAY_REFUND", "return": "PAY_RETURN"}
        told = sorted((words[one.kind], str(one.payment_id)) for one in ours if one.state == "done" and one.amount)
        comments = [row["comment"].split() for row in self.cis.book()["comments"]]
        heard = sorted({(said[0], said[-1]) for said in comments if said[0].startswith("PAY_")})
        return wrong + [f"the CIS heard {heard}, not {told}"] * (heard != told)

    def _judge_load(self) -> list[str]:
        loaded = list(Invoice.objects.filter(biller=self.biller, withdrawn=False).values_list("amount", flat=True))
        if (len(loaded), sum(loaded)) != (self.totals.count, self.totals.total):
            return [f"{len(loaded)} invoices of {sum(loaded)} loaded instead of {self.totals}"]
        return []

    def _judge_scheduled(self, cases: set[str]) -> list[str]:
        """Every bill without AutoPay was scheduled or held, unless its card was declined before that; each end is what became
        of it, and the CIS heard of both.
        """
        scheduled = list(ScheduledPayment.objects.filter(biller=self.biller).select_related("invoice"))
        asked = {one.customer_id for one in scheduled}
        asked |= set(
            Payment.objects.filter(biller=self.biller, channel=Channel.CSR).values_list("customer_id", flat=True)
        )
        bad = set(Instrument.objects.filter(biller=self.biller, state="bad").values_list("pk", flat=True))
        wrong = [
            f"what customer {card.customer_id} owes was never scheduled"
            for card in self.without_autopay
            if card.customer_id not in asked and card.pk not in bad
        ]
        unknown = set(Attempt.objects.filter(pk__in=cases).values_list("payment_id", flat=True))
        wrong += [
            f"scheduled payment {one.pk} is {one.state}"
            for one in scheduled
            if one.ended_at is None and one.payment_id not in unknown
        ]
        ours = {("SCHED_PAY", one.invoice.number) for one in scheduled} | {
            ("SCHED_PAY_CNCL", one.invoice.number) for one in scheduled if one.state in {"failed", "nothing_due"}
        }
        comments = [row["comment"].split() for row in self.cis.book()["comments"]]
        theirs = {(words[0], words[-1]) for words in comments if words[0].startswith("SCHED_PAY")}
        return wrong + [f"the CIS heard {sorted(theirs)}, not {sorted(ours)}"] * (ours != theirs)

    def state(self) -> str:
        """Describe what is left, for a failed run."""
        return "; ".join(
            [
                f"attempts {list(Attempt.objects.filter(biller=self.biller).values_list('state', 'result'))}",
                f"records {list(Record.objects.filter(biller=self.biller).values_list('state', 'failure'))}",
                f"runs {list(Run.objects.filter(biller=self.biller).values_list('state', 'failure'))}",
                f"chunks {list(Chunk.objects.filter(biller=self.biller).values_list('state', 'sent_count'))}",
                f"files {list(InvoiceFile.objects.filter(biller=self.biller).values_list('state', 'refusal'))}",
                f"scheduled {list(ScheduledPayment.objects.filter(biller=self.biller).values_list('state', 'tries'))}",
                f"items {Item.objects.filter(biller=self.biller).count()}",
                f"methods {Instrument.objects.filter(biller=self.biller).count()}",
                f"routes {Route.objects.filter(biller=self.biller).count()}",
                *self.story,
            ]
        )


def _in_turn(*works: Callable[[], None]) -> Callable[[], None]:
    def work() -> None:
        for one in works:
            one()

    return work


def run(seed: int, processor: Processor, cis: Cis, **traits: Any) -> World:
    """Build, crash, heal and judge one world; ``traits`` go before the seed's own.

    :raises AssertionError: something is wrong; the text has the seed and what happened.
    """
    world = World(seed, processor, cis)
    for name, value in traits.items():
        setattr(world, name, value)
    world.build()
    world.crash()
    world.heal()
    if wrong := world.judge():
        raise AssertionError(f"seed {seed}: " + "; ".join(wrong) + " | " + world.state())
    return world


__all__ = ["Biller", "World", "run"]
