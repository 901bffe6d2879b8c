"""The main job, once, on the demonstration's bills: they come in, are collected, and the biller's system hears of it.

Every step is an operation that workers run by themselves in the same way; they may be at it at the same time. What has
been done is done already the second time.
"""

from __future__ import annotations

import contextlib
import datetime
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

from django.db.models import Sum
from django.utils import timezone

from billing import tenancy
from billing.actors import Actor
from billing.demo import write_invoice_file
from billing.models import Biller, Chunk, FileState, InvoiceFile, Run, RunKind, RunState
from billing.operations import invoice_files
from config.demo import bills
from config.demo.books import Comparison, compare
from config.demo.doors import Simulators
from datapump.models import LIVE, Delivery, Outcome, Record, RecordState
from datapump.operations import deliveries
from payments.books import findings, snapshot
from payments.models import Attempt, AttemptState, Case, CaseState, Payment, PaymentState
from payments.operations import carryovers, collections, recoveries
from payments.operations.collections import Options
from payments.reports.runs import run_totals

ACTOR = Actor.system("manage.py main_job")
SEED = 1
CHUNK_SIZE = 500
# The biller collects so many days before a bill is due: four of five bills today, the fifth a week from now.
DAYS_AHEAD = 14
DUE_IN = (14, 14, 14, 14, 21)
BLOCK_CARDS_EVERY = 60
HOUSEHOLD = 2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Faults:
    """What both simulators do wrong while the job runs: each fault strikes a few messages and is over."""

    processor: Mapping[str, Any] = field(
        default_factory=lambda: {
            name: {"next": 1, "on": ["batch"]} for name in ("drop_after", "omit", "drop_before", "lose_batch_after")
        }
    )
    cis: Sequence[Mapping[str, Any]] = (
        {"action": "drop_after", "operation": "CommitPaymentTransaction", "probability": 0.3, "next": 4},
        {"action": "drop_before", "operation": "CommitPaymentTransaction", "probability": 0.2, "next": 3},
    )


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the job goes on, in seconds; ``waits`` makes the waits between deliveries shorter, for tests."""

    load: float = 60.0
    collect: float = 180.0
    recover: float = 120.0
    deliver: float = 90.0
    waits: float = 1.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How the job ended: whether our books hold by themselves, and what the three books say together."""

    sound: bool
    comparison: Comparison


def run(
    *,
    biller: Biller,
    billers: Sequence[Biller],
    simulators: Simulators,
    count: int,
    say: Say,
    again: bool = False,
    faults: Faults | None = None,
    patience: Patience = Patience(),
) -> Ended:
    """Run the main job for a biller, and compare the books of all the demonstration's ``billers``.

    ``count`` invoices come in, once a month, and one more time where ``again`` asks for it. Everything that happens is
    said as it happens.

    :raises config.demo.doors.SimulatorError: a simulator does not answer.
    """
    since = timezone.now()
    with tenancy.acting_for([one.pk for one in billers]):
        with _misbehaving(simulators, faults, say):
            file = load_bills(biller=biller, count=count, say=say, patience=patience, again=again)
            bills.hand_over(biller=biller, cis=simulators.cis)
            collect(biller=biller, file=file, say=say, patience=patience)
            recover(billers=billers, say=say, patience=patience)
            deliver(billers=billers, since=since, say=say, patience=patience)
        return Ended(check(say=say), _compared(billers, simulators))


def invoice_files_of_month(biller: Biller, day: datetime.date) -> list[InvoiceFile]:
    """Give the biller's invoice files of a day's month that were not refused or withdrawn, the newest first."""
    name = rf"^{biller.number}_{day:%m}\d\d{day:%Y}(-\d+)?\.bif$"
    named = InvoiceFile.objects.filter(biller=biller, name__regex=name)
    return list(named.exclude(state__in=[FileState.REFUSED, FileState.WITHDRAWN]).order_by("-pk"))


def receive_bills(
    *, biller: Biller, count: int, made_on: datetime.datetime, due_in: Sequence[int], actor: Actor, earlier: int = 0
) -> InvoiceFile:
    """Write an invoice file as the biller's system would, and let it come in; gives it, not loaded yet.

    ``earlier`` files of the same month have come in before it.
    """
    local = made_on.astimezone(biller.zone)
    with tempfile.TemporaryFile() as body:
        write_invoice_file(
            body,
            guid=biller.guid,
            count=count,
            made_on=local,
            seed=SEED + biller.number,
            cycle=(local.year * 12 + local.month) % 100 + 100 * earlier,
            due_in=due_in,
            block_cards_every=BLOCK_CARDS_EVERY,
            household=HOUSEHOLD,
        )
        body.seek(0)
        name = f"{biller.number}_{local:%m%d%Y}{f'-{earlier}' if earlier else ''}.bif"
        try:
            return invoice_files.receive(biller=biller, name=name, body=body, source="command", actor=actor)
        except invoice_files.AlreadyReceived as there:
            return there.file


def load_bills(*, biller: Biller, count: int, say: Say, patience: Patience, again: bool = False) -> InvoiceFile:
    """Let this month's invoice file come in, unless it is there, and load it, unless it is loaded; gives it.

    With ``again`` one more comes in where those that are there are loaded.
    """
    began = time.monotonic()
    now = timezone.now()
    files = invoice_files_of_month(biller, now.astimezone(biller.zone).date())
    file = files[0] if files else None
    if again and file is not None and file.state == FileState.LOADED:
        file = None
    if file is not None and file.state == FileState.LOADED:
        loaded = _money(file.loaded_count, "invoice", file.loaded_total, biller)
        say(f"1. The bills:   {file.name} was loaded before: {loaded}.")
        return file
    if file is None:
        # Whole seconds, and not in the past: the biller's system has heard of everything that was delivered until now.
        made_on = now.replace(microsecond=0) + datetime.timedelta(seconds=1)
        file = receive_bills(
            biller=biller, count=count, made_on=made_on, due_in=DUE_IN, actor=ACTOR, earlier=len(files)
        )
    file = finish_loading(file=file, seconds=patience.load, actor=ACTOR)
    if file.state != FileState.LOADED:
        say(f"1. The bills:   {file.name} is {file.get_state_display().lower()}. {file.refusal}")
        return file
    carried = (
        f", {file.carried_total:,.2f} {biller.currency} of it taken over from older bills" if file.carried_total else ""
    )
    loaded = _money(file.loaded_count, "invoice", file.loaded_total, biller)
    say(f"1. The bills:   {file.name} came in and was loaded: {loaded}{carried} ({_since(began)}).")
    return file


def finish_loading(
    *, file: InvoiceFile, seconds: float, actor: Actor, now: datetime.datetime | None = None
) -> InvoiceFile:
    """Load a file that waits, or wait for the worker that is at it; gives it as it is when that ends."""
    ends = time.monotonic() + seconds
    while file.state in invoice_files.LIVE and time.monotonic() < ends:
        try:
            return invoice_files.load(file_id=file.pk, actor=actor, carry=carryovers.carry, now=now)
        except (invoice_files.NotWaiting, invoice_files.ClaimLost):
            time.sleep(0.2)
            file.refresh_from_db()
    return file


def collect(*, biller: Biller, file: InvoiceFile, say: Say, patience: Patience) -> None:
    """Collect the AutoPay bills that are due, in the run that belongs to the file: the same, however often asked."""
    began = time.monotonic()
    if file.state != FileState.LOADED:
        say("2. AutoPay:     nothing is collected, because the bills were not loaded.")
        return
    word = f"file {file.pk}"
    run_ = Run.objects.filter(biller=biller, kind=RunKind.COLLECT, params__repeat=word).first()
    if run_ is not None and run_.state not in {RunState.PLANNED, RunState.WORKING}:
        say(f"2. AutoPay:     run {run_.pk} collected them before: {_outcome(run_, biller)}.")
        return
    if run_ is None:
        now = timezone.now()
        options = Options.usual(biller.business_date(now), repeat=word)
        run_ = collections.plan(biller=biller, options=options, actor=ACTOR, now=now, chunk_size=CHUNK_SIZE)
    due = Chunk.objects.filter(run=run_).aggregate(n=Sum("expected", default=0), total=Sum("expected_total"))
    say(f"2. AutoPay:     {_money(due['n'], 'bill', due['total'] or Decimal('0.00'), biller)} to be collected today.")
    ends = time.monotonic() + patience.collect
    while run_.state in {RunState.PLANNED, RunState.WORKING} and time.monotonic() < ends:
        for chunk in collections.work(run=run_, actor=ACTOR):
            say(
                f"                part {chunk.number}: {chunk.sent_count:,} sent, {chunk.passed_count:,} paid,"
                f" {chunk.declined_count:,} declined, {_unanswered(chunk):,} without an answer"
            )
        run_.refresh_from_db()
        if run_.state in {RunState.PLANNED, RunState.WORKING}:
            time.sleep(0.2)  # a worker has the rest of it
    say(f"                {_outcome(run_, biller)} ({_since(began)}).")


def recover(*, billers: Sequence[Biller], say: Say, patience: Patience) -> None:
    """Look up what nobody was told, again and again, until nothing is left that a machine may decide."""
    began = time.monotonic()
    ends = began + patience.recover
    unknown = Attempt.objects.unfinished().filter(biller__in=billers)
    asked, resent, rounds = list(unknown.values_list("pk", flat=True)), 0, 0
    nothing = datetime.timedelta(0)
    while unknown.exists() and time.monotonic() < ends:
        if rounds and not unknown.exclude(cases__state=CaseState.OPEN).exists():
            break  # a person's turn
        if rounds:
            time.sleep(0.5)
        rounds += 1
        for biller in billers:
            found = recoveries.recover(biller=biller, actor=ACTOR, least_age=nothing, pause=nothing)
            resent += found.resent
    if not asked:
        say("3. Recovery:    every payment had its answer.")
        return
    # A worker may have settled some of them.
    paid = Attempt.objects.filter(pk__in=asked, state=AttemptState.APPLIED, result=0).count()
    left = unknown.count()
    cases = Case.objects.filter(biller__in=billers, state=CaseState.OPEN).count()
    rest = f", {left:,} still open, {cases:,} of them for a person to decide" if left else ", none is left open"
    say(
        f"3. Recovery:    {len(asked):,} payments had no answer: {paid:,} are paid now;"
        f" {resent:,} the processor had never heard of, and they were sent again under their own key{rest}"
        f" ({_since(began)})."
    )


def deliver(*, billers: Sequence[Biller], since: datetime.datetime, say: Say, patience: Patience) -> None:
    """Tell the billers' systems what they have not heard, until nothing waits; says what they were told ``since``."""
    began = time.monotonic()
    ends = began + patience.deliver
    waiting = Record.objects.filter(biller__in=billers, state__in=LIVE)
    while waiting.exists() and time.monotonic() < ends:
        deliveries.deliver(actor=ACTOR, seconds=max(1.0, min(20.0, ends - time.monotonic())), waits=patience.waits)
        if waiting.exists():
            time.sleep(0.2)
    told = Record.objects.filter(biller__in=billers, state=RecordState.DELIVERED, delivered_at__gte=since)
    failed = Delivery.objects.filter(biller__in=billers, at__gte=since).exclude(outcome=Outcome.DELIVERED)
    count, repeated, left = told.count(), failed.values("record").distinct().count(), waiting.count()
    if not count and not left:
        say("4. DataPump:    the billers' systems have heard of everything.")
        return
    again = f", {repeated:,} of them not at the first try" if repeated else ""
    rest = f"; {left:,} STILL WAIT" if left else ""
    say(f"4. DataPump:    the billers' systems were told of {count:,} updates{again}{rest} ({_since(began)}).")


def check(*, say: Say) -> bool:
    """Prove the books from within; gives whether they hold."""
    began = time.monotonic()
    with snapshot():
        found = list(findings())
    wrong = [one for one in found if one.wrong]
    for one in wrong:
        say(f"5. Our books:   WRONG: {one.check.says}: {one.wrong:,} ({', '.join(one.examples)})")
    if not wrong:
        rows = sum(one.counted for one in found)
        say(f"5. Our books:   {len(found)} invariants hold over {rows:,} rows ({_since(began)}).")
    return not wrong


def _compared(billers: Sequence[Biller], simulators: Simulators) -> Comparison:
    """Compare the books; where they differ look again, since somebody may be paying at this very moment."""
    comparison = compare(billers=billers, simulators=simulators)
    for _ in range(3):
        moving = (
            Payment.objects.filter(biller__in=billers, state=PaymentState.PROCESSING).exists()
            or Record.objects.filter(biller__in=billers, state__in=LIVE).exists()
        )
        if comparison.agree or not moving:
            break
        time.sleep(1.0)
        comparison = compare(billers=billers, simulators=simulators)
    return comparison


@contextlib.contextmanager
def _misbehaving(simulators: Simulators, faults: Faults | None, say: Say) -> Iterator[None]:
    """Let both simulators lose answers inside the block; says afterwards how often they did."""
    if faults is None:
        yield
        return
    before = dict(simulators.processor.change(faults=dict(faults.processor))["struck"])
    rules = simulators.cis.switches()["rules"]
    kept = [{name: value for name, value in rule.items() if name != "fired"} for rule in rules]
    simulators.cis.change([*faults.cis, *kept], seed=SEED)
    say("0. Faults:      the processor and the biller's system lose answers on purpose.")
    try:
        yield
    finally:
        struck = cast("dict[str, int]", simulators.processor.change(faults=dict.fromkeys(faults.processor))["struck"])
        lost = sum(struck.values()) - sum(before.values())
        fired = sum(int(rule["fired"]) for rule in simulators.cis.switches()["rules"][: len(faults.cis)])
        simulators.cis.change(kept)
        say(f"                (the processor had lost {lost} answers, the biller's system {fired})")


def _unanswered(chunk: Chunk) -> int:
    return chunk.sent_count - chunk.passed_count - chunk.declined_count - chunk.unreached_count


def _outcome(run_: Run, biller: Biller) -> str:
    totals = run_totals(run_)
    words = f"{_money(totals.passed, 'payment', totals.passed_total, biller)}, {totals.declined:,} declined"
    if totals.unreached:
        words += f", {totals.unreached:,} not reached"
    if totals.unknown:
        words += f", {totals.unknown:,} without an answer yet"
    return (
        words
        if run_.state == RunState.DONE
        else f"{words}; the run is {run_.get_state_display().lower()} {run_.failure}".rstrip()
    )


def _money(count: int, noun: str, total: Decimal, biller: Biller) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'} of {total:,.2f} {biller.currency}"


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
