"""Any sequence of what people, runs, processors, banks and dying workers do: the books are those that must be.

One state machine over the public operations. The simulated processor is a real service with a book of its own, which says
what was truly charged; what our book must say follows from that and from ``second_book``, which is kept from the
requirements alone. After every rule all of what must always hold is checked, and ``check_books``; at the end recovery works
until nothing changes, and what must hold at rest is checked too. Walks lead it by hand through what must be met in every run.
``docs/reliability.md`` says where each invariant stands, and which broken engines are caught.

``EVERY_RULE_EXAMPLES=200`` runs more of it.
"""

from __future__ import annotations

import datetime
import itertools
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, TypeVar

import pytest
import time_machine
from django.db import connection
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from billing import advanced_settings, failpoints, tenancy
from billing.actors import Actor, Requestor
from billing.errors import Conflict, DomainError
from billing.models import Chunk, Customer, CustomerStatus, Entry, Item
from billing.operations import customers
from payments.books import CHECKS, Check
from payments.gateways.base import Answer
from payments.gateways.base import ProcessorEvent as Told
from payments.models import (
    Attempt,
    Case,
    Channel,
    Fee,
    Instrument,
    Payment,
    ProcessorEvent,
    RetryLimit,
    Reversal,
    ScheduledPayment,
    UnconfirmedPayment,
    Verification,
)
from payments.operations import (
    authorizations,
    cases,
    charges,
    collections,
    confirmations,
    deposits,
    enrolments,
    fee_rules,
    fees,
    groups,
    instruments,
    late_bills,
    processor_events,
    recoveries,
    refunds,
    releases,
    returns,
    scheduled_collections,
    scheduled_payments,
    settlements,
    verifications,
)
from payments.operations.collections import Options
from tests import databases
from tests.factories import make_biller, make_customer, make_endpoint, make_link, make_route, make_user
from tests.invoice_files import Bill as FileBill
from tests.invoice_files import load, name_of, receive, write
from tests.payments.second_book import (
    APPROVED,
    CONFIRMED_AFTER,
    DAY,
    FAILED_FEE,
    FAILED_LEAST,
    INACTIVE_DAYS,
    INACTIVE_LEAST,
    LATE_DAYS,
    LATE_FEE,
    LATE_LEAST,
    LEAST,
    LIMITS,
    RETRY_DAYS,
    RETURNED_LEAST,
    RETURNED_MOST,
    RETURNED_PERCENT,
    VERIFIED_FOR,
    ZERO,
    Bill,
    Card,
    Later,
    Paying,
    Plan,
    SecondBook,
    Token,
)
from tests.processor import Processor

_Given = TypeVar("_Given")

EXAMPLES = int(os.environ.get("EVERY_RULE_EXAMPLES", "5"))
STEPS = 30
# In the suite the same examples run every time, and what fails is told as it came; whoever asks for more waits for the
# shortest.
SHRINKING = [Phase.shrink] if "EVERY_RULE_EXAMPLES" in os.environ else []
SETTLE = datetime.timedelta(minutes=5)
WINDOW = datetime.timedelta(days=7)
RELEASE_DAYS = 2
ACCOUNTS = (0, 1, 2, 3)
# What bills of one household name that are due at once.
HOUSEHOLD = "1234-77"
AMOUNTS = ("40.00", "61.50", "99.99", "3.00")
SYSTEM = Actor.system("machine")
CLARA = Actor(Requestor.CSR, "Clara")
ALMA = Actor(Requestor.PAYER, "Alma")

whom = st.sampled_from(ACCOUNTS)
which = st.integers(0, 11)
how_much = st.sampled_from(["all", "all", "half", "some", "more"])
# What the line does wrong with the first message of an operation, and where its worker dies. Who is busy does nothing.
line = st.sampled_from(
    [*[None] * 12, "drop_before", "drop_after", "error_before", "error_after", "garbage", "busy", "late", "late"]
)
deaths = st.sampled_from(
    [*[""] * 14, "checkpointed:1", "answered:1", "settle.recorded:1", "settle.posted:1", "settle.applied:1"]
)
outcomes = st.sampled_from(["approve", "approve", "soft_decline", "soft_decline", "hard_decline", "technical_problem"])

# From where a row may go, in one step or several; nothing leaves what is not named.
MOVES = {
    "payments_payment": {
        "processing": {"authorized", "posted", "failed", "reversed"},
        "authorized": {"processing", "posted", "failed", "reversed"},
        "posted": {"reversed"},
        # A chargeback that was won, and what was never given up on evidence.
        "reversed": {"posted"},
    },
    "payments_attempt": {"open": {"answered", "applied", "abandoned"}, "answered": {"applied"}},
    "payments_reversal": {"processing": {"done", "failed"}},
    "payments_scheduledpayment": {
        "scheduled": {"processing", "paid", "failed", "cancelled", "nothing_due"},
        "processing": {"scheduled", "paid", "failed", "cancelled", "nothing_due"},
    },
    "payments_case": {"open": {"done"}},
    "payments_instrument": {"active": {"bad", "removed"}, "bad": {"active", "removed"}},
    "payments_allocation": {"pending": {"posted", "void"}, "posted": {"void"}},
    "payments_unconfirmedpayment": {"waiting": {"confirmed", "failed", "given_back"}},
}
WATCHED = (
    "payments_payment", "payments_attempt", "payments_checkpoint", "payments_allocation", "payments_authorization",
    "payments_reversal", "payments_scheduledpayment", "payments_case", "payments_instrument", "payments_autopayenrolment",
    "payments_unconfirmedpayment", "payments_fee", "payments_feewaiver", "payments_latebill",
    "billing_item", "billing_customer", "billing_posting", "billing_entry", "billing_notice", "datapump_record",
)  # fmt: skip


class Death(BaseException):
    """A worker died: what it had committed stands, and nothing more is done."""


def _die() -> None:
    raise Death


def _try(act: Callable[[], _Given]) -> tuple[str, _Given | None]:
    """Do it, and give the name of the refusal and what was given."""
    try:
        return "", act()
    except DomainError as refused:
        return type(refused).__name__, None


class EveryRule(RuleBasedStateMachine):
    """A few accounts of one biller, their cards and bank accounts, a processor that may be wrong, and workers that may die."""

    processor: Processor

    def __init__(self) -> None:
        super().__init__()
        databases.restore()
        self.processor.reset(tokens=True)
        today = datetime.datetime.now(datetime.UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        # Noon of tomorrow, so that no example sees the end of a day that it did not ask for.
        self.journey = time_machine.travel(today + DAY, tick=True)
        self.clock = self.journey.start()
        self.scope = tenancy.acting_for(tenancy.EVERY_BILLER)
        self.scope.__enter__()
        self.keys = itertools.count(1)
        self.seen: dict[str, dict[str, str]] = {table: {} for table in MOVES}
        self.journal = ("", 0)
        # What banks moved of each charge, and the messages whose outcome the second book has.
        self.moved: dict[str, Decimal] = {}
        self.ended: set[str] = set()
        # Since when the processor may hold a message that it has not acted on.
        self.held_since: datetime.datetime | None = None

    @initialize(
        deduplicates=st.booleans(), in_batches=st.booleans(), chunk_size=st.sampled_from([1, 2, 100]),
        household=st.sampled_from(["", "", "card", "bank"]), verifies_again=st.booleans(),
    )  # fmt: skip
    def begin(
        self, deduplicates: bool, in_batches: bool, chunk_size: int, household: str, verifies_again: bool = False
    ) -> None:
        """Open the books; ``household`` is by what the first two accounts pay at once, if they do."""
        self.deduplicates, self.chunk_size, self.household = deduplicates, chunk_size, household
        for row in RetryLimit.objects.all():
            row.per_day, row.per_month = LIMITS["bank" if row.brand == "bank" else "card"]
            row.save()
        self.biller = make_biller(
            time_zone="UTC", balance_forward=False, retry_days=list(RETRY_DAYS), minimum_collected=LEAST,
            release_days=RELEASE_DAYS,
        )  # fmt: skip
        make_endpoint(self.biller)
        make_endpoint(self.biller, "autopay")
        self.route = make_route(
            self.biller,
            self.processor.url,
            options={
                "timeout": 5.0,
                "batch_timeout": 5.0,
                "settle_seconds": SETTLE.total_seconds(),
                "dedupe_window": WINDOW.total_seconds() / 3600 if deduplicates else None,
                "batch_limit": 100 if in_batches else 1,
            },
            confirmation_days=CONFIRMED_AFTER,
        )
        self.customers = [make_customer(self.biller) for _ in ACCOUNTS]
        self.who_is = {customer.pk: who for who, customer in enumerate(self.customers)}
        if household:
            self._group_bills()
        self.book = SecondBook(bills={who: [] for who in ACCOUNTS}, late_from=self.today)
        if verifies_again:
            rules = verifications.Rules(True, True, False, VERIFIED_FOR.days)
            verifications.change_rules(biller=self.biller, rules=rules, actor=CLARA)
            self.book.verifies_again = True
        self._charge_fees()
        self._set_clock()
        shared = self._token(household or "card")
        for who in ACCOUNTS:
            # The first two accounts have one method in common; the others pay from bank accounts, the last by card as well.
            self.book.cards[who], self.book.autopay[who] = [], None
            self._put_on_file(who, shared if who < 2 else self._token("bank"))
        self._put_on_file(3, self._token("card"))
        for who in ACCOUNTS[:3]:
            self._enrol(who, self.book.cards[who][0])
        self._bills([(who, AMOUNTS[who], 0) for who in ACCOUNTS])
        self._bills([(who, "20.00", 1) for who in ACCOUNTS])
        self._check()

    def _group_bills(self) -> None:
        """Have the first two accounts, which have one method in common, be one household, whose bills name one group."""
        flags = {"Daffron": {"DataPumpConfigs": {"TransactionIdIsPaymentGuid": True}}}
        for number, given in ((131, flags), (groups.GROUPING, True)):
            advanced_settings.change(actor=CLARA, biller=self.biller, number=number, given=given)
        owner = make_user()
        for customer in self.customers[:2]:
            make_link(owner, customer)

    def _charge_fees(self) -> None:
        """Have the biller charge for payments that fail, for debits that banks return, and for late bills."""
        failed = fee_rules.FeeTerms(
            words="Declined payment", occasion="failed", amount=FAILED_FEE, least_payment=FAILED_LEAST
        )
        returned = fee_rules.FeeTerms(
            words="Returned debit", occasion="returned", percent=RETURNED_PERCENT, least=RETURNED_LEAST,
            most=RETURNED_MOST, tenders=["ach"],
        )  # fmt: skip
        late = fee_rules.LateTerms(
            words="Late bill", action="fee", amount=LATE_FEE, days=LATE_DAYS, minimum=LATE_LEAST, due_from=self.today
        )
        self.fee_is_for = {
            fee_rules.add_fee_rule(biller=self.biller, terms=failed, actor=CLARA).pk: "failed",
            fee_rules.add_fee_rule(biller=self.biller, terms=returned, actor=CLARA).pk: "returned",
        }
        missed = fee_rules.LateTerms(
            words="Missed", action="inactive", days=INACTIVE_DAYS, minimum=INACTIVE_LEAST, due_from=self.today
        )
        for terms in (late, missed):
            fee_rules.add_late_rule(biller=self.biller, terms=terms, actor=CLARA)

    def teardown(self) -> None:
        try:
            if hasattr(self, "book"):
                self._come_to_rest()
        finally:
            self.leave()

    def leave(self) -> None:
        failpoints.arm("")
        self.journey.stop()
        self.scope.__exit__(None, None, None)

    # --- Time, and what the file brings

    @property
    def now(self) -> datetime.datetime:
        return timezone.now()

    @property
    def today(self) -> datetime.date:
        return self.now.date()

    @property
    def start_of_day(self) -> datetime.datetime:
        return datetime.datetime.combine(self.today, datetime.time.min, tzinfo=datetime.UTC)

    def _set_clock(self) -> None:
        real = time_machine.escape_hatch.datetime.datetime.now(datetime.UTC)
        self.processor.control(
            duplicate_detection=self.deduplicates, clock_ahead_seconds=(self.now - real).total_seconds()
        )

    def _pass(self, time: datetime.timedelta) -> None:
        # Whoever recognises repeats for so long acts on nothing that is older: docs/adr/0006.
        if self.deduplicates and self.held_since is not None and self.now + time > self.held_since + WINDOW - DAY:
            self._let_arrive()
        self.clock.shift(time)
        self._set_clock()

    def _let_arrive(self) -> None:
        self.processor.let_arrive()
        self.held_since = None

    @rule(
        days=st.sampled_from([0, 1, 1, 1, 2, 3, 8]),
        bills=st.lists(st.tuples(whom, st.sampled_from(AMOUNTS)), max_size=3),
        arrives=st.booleans(),
    )
    def time_passes(self, days: int, bills: list[tuple[int, str]], arrives: bool) -> None:
        """Minutes or days pass; a file may bring bills that are due today or tomorrow, and late messages may arrive."""
        if arrives:
            self._let_arrive()
        self._pass(days * DAY if days else 2 * SETTLE)
        if bills:
            self._bills([(who, amount, place % 2) for place, (who, amount) in enumerate(dict(bills).items())])
        self._check()

    def _bills(self, wanted: Sequence[tuple[int, str, int]]) -> None:
        """Load a file of bills, due so many days from now; the same file a second time is refused."""
        numbers = [str(7000 + next(self.keys)) for _ in wanted]
        body = write(
            self.biller,
            [
                FileBill(
                    account=self.customers[who].number,
                    number=number,
                    amount=amount,
                    fields={
                        11: f"{self.today:%m/%d/%Y}",
                        12: f"{self.today + days * DAY:%m/%d/%Y}",
                        **({47: HOUSEHOLD} if self._grouped(who, days) else {}),
                    },
                )
                for number, (who, amount, days) in zip(numbers, wanted, strict=True)
            ],
            made_on=f"{self.now - datetime.timedelta(hours=1):%m/%d/%Y %H:%M:%S}",
        )
        file = load(self.biller, body, now=self.now)
        assert file.state == "loaded", file.refusal
        before = self._rows()
        with pytest.raises(DomainError):
            receive(self.biller, body, name_of(self.biller))
        assert self._rows() == before
        for number, (who, amount, days) in zip(numbers, wanted, strict=True):
            item = Item.objects.get(customer=self.customers[who], invoice__number=number)
            group = HOUSEHOLD if self._grouped(who, days) else ""
            self.book.billed(who, item.pk, Decimal(amount), self.today + days * DAY, self.today, group)

    def _grouped(self, who: int, days: int) -> bool:
        return bool(self.household) and who < 2 and not days

    # --- Methods

    def _token(self, kind: str) -> Token:
        return Token(self.processor.token(self.route.merchant, kind=kind), kind)

    def _put_on_file(self, who: int, token: Token) -> Card:
        made = instruments.add(customer=self.customers[who], route=self.route, token=token.name, keep=True, actor=ALMA)
        known = [card for card in self.book.cards[who] if card.id == str(made.pk)]
        if known:
            # The token again is the method again, and says that it is good.
            if known[0].state != "active":
                known[0].state, known[0].verified = "active", self.now
            return known[0]
        card = Card(str(made.pk), who, token, self.now)
        self.book.cards[who].append(card)
        return card

    def _card(self, who: int, place: int) -> tuple[Card, Instrument]:
        card = self.book.cards[who][place % len(self.book.cards[who])]
        return card, Instrument.objects.select_related("route", "customer").get(pk=card.id)

    def _enrol(self, who: int, card: Card) -> None:
        enrolments.enrol_autopay(
            customer=self.customers[who], instrument=Instrument.objects.get(pk=card.id), agreed=True, actor=ALMA
        )
        self.book.autopay[who] = card
        self.book.on_calendar(who, self.today)

    @rule(who=whom, place=which, what=st.sampled_from(["add", "remove", "confirm", "confirm"]))
    def a_method_changes(self, who: int, place: int, what: str) -> None:
        card, found = self._card(who, place)
        if what == "add":
            if len(self.book.cards[who]) < 3:
                self._put_on_file(who, self._token("bank" if place % 3 == 2 else "card"))
        elif what == "remove":
            live = self.book.live(who)
            in_use = self.book.autopay[who] is card or (live is not None and live.card is card)
            self._either("MethodInUse" if in_use else "", lambda: instruments.remove(instrument=found, actor=ALMA))
            if not in_use:
                card.state = "removed"
        else:
            bad = card.state == "bad"
            self._either("" if bad else "NotDeclined", lambda: instruments.confirm(instrument=found, actor=CLARA))
            if bad:
                card.state = "active"
                if self.book.autopay[who] is card:
                    self.book.on_calendar(who, self.today)
        self._check()

    @rule(who=whom, place=which, off=st.sampled_from([True, False, False]))
    def autopay_is_turned(self, who: int, place: int, off: bool) -> None:
        if off:
            on = self.book.autopay[who] is not None
            end = lambda: enrolments.end_autopay(customer=self.customers[who], actor=ALMA)  # noqa: E731
            self._either("" if on else "NotEnrolled", end)
            self.book.autopay[who] = None
            self._check()
            return
        card, found = self._card(who, place)
        refusal = "MethodRefused" if card.state != "active" else ""
        if not refusal and self.book.autopay[who] is card:
            refusal = "AlreadyEnrolled"
        enrol = lambda: enrolments.enrol_autopay(  # noqa: E731
            customer=self.customers[who], instrument=found, agreed=True, actor=ALMA
        )
        self._either(refusal, enrol)
        if not refusal:
            self.book.autopay[who] = card
            self.book.on_calendar(who, self.today)
        self._check()

    @rule(who=whom, place=which, outcome=outcomes)
    def a_bank_thinks_otherwise(self, who: int, place: int, outcome: str) -> None:
        card, _found = self._card(who, place)
        card.token.outcome = outcome
        self.processor.behave(card.token.name, outcome)

    # --- Paying

    def _amount(self, due: Decimal, wanted: str) -> Decimal:
        amounts = {"all": due, "half": (due / 2).quantize(Decimal("0.01")), "some": Decimal("5.00"), "more": due + 5}
        return amounts[wanted]

    @rule(
        who=whom, place=which, wanted=how_much, channel=st.sampled_from([Channel.WEB, Channel.CSR, Channel.API]),
        fault=line, death=deaths, other=st.sampled_from(["same", "amount", "method"]),
    )  # fmt: skip
    def somebody_pays(
        self, who: int, place: int, wanted: str, channel: Channel, fault: str | None, death: str, other: str
    ) -> None:
        """Pay, and then once more under the same key, with the same input or with other."""
        self._pay(who, place, self._amount(self.book.full(who), wanted), channel, fault, death, other=other)

    @rule(who=whom, place=which, wanted=how_much, fault=line, death=deaths)
    def a_card_is_authorized(self, who: int, place: int, wanted: str, fault: str | None, death: str) -> None:
        self._pay(who, place, self._amount(self.book.full(who), wanted), Channel.CSR, fault, death, hold=True)

    def _pay(
        self, who: int, place: int, amount: Decimal, channel: Channel, fault: str | None, death: str,
        *, hold: bool = False, other: str = "same",
    ) -> None:  # fmt: skip
        card, found = self._card(who, place)
        refusal = self.book.refusal(who, card, amount, payer=channel == Channel.WEB, now=self.now)
        if hold and card.token.kind == "bank":
            refusal = "MethodUnusable"
        verified = self.book.to_verify([card], self.now)
        if verified:
            # Asked before anything else, which is not what a fault is meant for.
            fault, death = None, ""
            if self.book.verify(verified, self.now):
                refusal = "MethodUnusable"
        plan = Plan(who, card, amount, channel, {} if refusal else self.book.parts(who, amount))
        key = f"pay-{next(self.keys)}"

        def pay(amount: Decimal = amount) -> Payment:
            return charges.pay(
                customer=self.customers[who], amount=amount, instrument=found, channel=channel, actor=CLARA,
                request_key=key, authorize_only=hold,
            )  # fmt: skip

        if refusal:
            self._either(refusal, pay, renews=bool(verified))
            self._check()
            return
        with self._wrong(fault, f"pay.{death}" if death[:2] in {"ch", "an"} else death) as sound:
            made = pay()
        self._learn([plan], exact=True, sound=sound, command="authorize" if hold else "charge")
        found.refresh_from_db()
        before = self._rows()
        if other == "same":
            again = pay()
            assert not sound or again.pk == made.pk
        else:
            with pytest.raises(Conflict):
                pay(amount + 1)
        assert self._rows() == before
        self._check()

    @precondition(lambda self: any(one.held_on for one in self.book.payments.values()))
    @rule(place=which, death=deaths, fault=line, release=st.booleans())
    def a_hold_ends(self, place: int, death: str, fault: str | None, release: bool) -> None:
        """Deposit one authorized payment, or release it; once more does nothing more."""
        some = [one for one in self.book.standing("authorized", "posted", "failed") if one.held_on is not None]
        if not some:
            return
        one, command = some[place % len(some)], "release" if release else "deposit"
        found = Payment.objects.get(pk=one.id)

        def end() -> Payment:
            return (authorizations.release if release else authorizations.deposit)(payment=found, actor=CLARA)

        if one.state == "authorized" and not one.disputed:
            with self._wrong(fault, f"{command}.{death}" if death[:2] in {"ch", "an"} else death) as sound:
                end()
            self._learn([], holds=[one], ended_by=command, exact=True, sound=sound)
        else:
            ended = one.state == ("failed" if release else "posted") and one.last == command
            self._either("" if ended else "NotHeld", end, changes=False)
        self._check()

    # --- Runs

    @rule(
        fault=line, death=deaths, days=st.sampled_from([0, 0, 1, 2]), rebill=st.sampled_from([False, False, True]),
        two=st.booleans(), least=st.sampled_from([None, None, "50.00"]),
        status=st.sampled_from(["active", "active", "active", "inactive"]),
    )  # fmt: skip
    def autopay_is_collected(
        self, fault: str | None, death: str, days: int, rebill: bool, two: bool, least: str | None, status: str
    ) -> None:
        """Collect, by one worker or by two at once; then again, which does nothing more where the run had ended."""
        self._autopay(days, fault=fault, death=death, rebill=rebill, two=two, least=least, status=status)

    @rule(
        who=st.sampled_from(ACCOUNTS[:3]), outcome=st.sampled_from(["soft_decline", "soft_decline", "hard_decline"]),
        days=st.lists(st.sampled_from([0, 1, 1, 2]), min_size=2, max_size=3), rebill=st.booleans(),
    )  # fmt: skip
    def autopay_is_declined_for_days(self, who: int, outcome: str, days: list[int], rebill: bool) -> None:
        """A card that AutoPay charges is declined, and on the next days too: as often as networks allow, and no more."""
        card = self.book.autopay[who]
        if card is None:
            return
        card.token.outcome = outcome
        self.processor.behave(card.token.name, outcome)
        self._bills([(who, "40.00", 0)])
        self._autopay(0)
        for later in days:
            self._autopay(later, rebill=rebill)

    def _autopay(
        self, days: int, *, fault: str | None = None, death: str = "", rebill: bool = False, two: bool = False,
        least: str | None = None, status: str = "active",
    ) -> None:  # fmt: skip
        self._pass(days * DAY)
        options = Options.usual(
            self.today, rebill=rebill, repeat=str(next(self.keys)), minimum=Decimal(least) if least else None,
            status=status,
        )  # fmt: skip
        wanted = self.book.wanted(
            self.today, self.start_of_day, rebill=rebill, least=Decimal(least) if least else LEAST, status=status
        )
        self._dry(options, [bill for _card, bills in wanted.values() for bill in bills])
        verified = self.book.to_verify([card for card, bills in wanted.values() if bills], self.now)
        for who in self.book.verify(verified, self.now):
            del wanted[who]
        plans = self.book.to_collect(wanted, least=Decimal(least) if least else LEAST)
        if two or verified:
            fault, death, two = None, "", two and not verified
        with self._wrong(fault, f"collect.{death}" if death[:2] in {"ch", "an"} else death) as sound:
            self._together(lambda: self._collect(options), 2 if two else 1)
        self._learn(plans, exact=sound, sound=sound)
        if sound:
            before = self._rows()
            self._collect(options)
            assert self._rows() == before
        self._check()

    def _plan_run(self, options: Options, *, dry_run: bool = False) -> Any:
        return collections.plan(
            biller=self.biller, options=options, actor=SYSTEM, now=self.now, dry_run=dry_run,
            chunk_size=self.chunk_size,
        )  # fmt: skip

    def _collect(self, options: Options) -> None:
        for _chunk in collections.work(run=self._plan_run(options), actor=SYSTEM):
            pass

    def _dry(self, options: Options, bills: Sequence[Bill]) -> None:
        """A dry run changes nothing, whoever works at it, and says which bills have their day."""
        before = self._rows()
        run = self._plan_run(options, dry_run=True)
        assert run.dry_run
        assert list(collections.work(run=run, actor=SYSTEM)) == []
        assert self._rows() == before
        said = Chunk.objects.filter(run=run).values_list("expected", "expected_total")
        found = sum(count for count, _total in said), sum((total for _count, total in said), ZERO)
        assert found == (len(bills), sum((bill.open for bill in bills), ZERO))

    def _together(self, work: Callable[[], None], workers: int) -> None:
        if workers == 1:
            work()
            return
        failures: list[BaseException] = []

        def one() -> None:
            try:
                with tenancy.acting_for([self.biller.pk]):
                    work()
            except BaseException as error:
                failures.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=one) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []

    @precondition(lambda self: self.book.standing("authorized"))
    @rule(
        fault=line, death=deaths, days=st.sampled_from([0, 1, 1, 3]), two=st.booleans(),
        command=st.sampled_from(["deposit", "deposit", "release"]),
    )  # fmt: skip
    def holds_are_ended_by_a_run(self, fault: str | None, death: str, days: int, two: bool, command: str) -> None:
        """Deposit what was held before today, or release what was held for longer than the biller's days."""
        self._pass(days * DAY)
        repeat = str(next(self.keys))
        last = self.today - (DAY if command == "deposit" else (RELEASE_DAYS + 1) * DAY)
        held = [one for one in self.book.standing("authorized") if not one.disputed]
        due = [one for one in held if one.held_on is not None and one.held_on <= last]

        def work() -> None:
            plan: dict[str, Any] = {
                "biller": self.biller, "actor": SYSTEM, "now": self.now, "chunk_size": self.chunk_size
            }  # fmt: skip
            if command == "deposit":
                run = deposits.plan(options=deposits.Options.usual(self.today, repeat=repeat), **plan)
                chunks = deposits.work(run=run, actor=SYSTEM)
            else:
                run = releases.plan(options=releases.Options.usual(self.biller, self.now, repeat=repeat), **plan)
                chunks = releases.work(run=run, actor=SYSTEM)
            for _chunk in chunks:
                pass

        if two:
            fault, death = None, ""
        with self._wrong(fault, f"{command}.{death}" if death[:2] in {"ch", "an"} else death) as sound:
            self._together(work, 2 if two else 1)
        self._learn([], holds=due, ended_by=command, exact=sound, sound=sound)
        self._check()

    # --- Scheduled payments

    @rule(who=whom, place=which, days=st.sampled_from([1, 2, 3]), wanted=st.sampled_from(["whole", "some", "more"]))
    def a_payment_is_scheduled(self, who: int, place: int, days: int, wanted: str) -> None:
        card, found = self._card(who, place)
        on, full = self.today + days * DAY, self.book.full(who)
        most = None if wanted == "whole" else self._amount(full, wanted)
        first = min(
            (bill.on for bill in self.book.bills[who] if bill.open and bill.on and bill.on >= self.today - DAY),
            default=None,
        )
        refusal = ""
        if self.book.live(who) is not None:
            refusal = "AlreadyScheduled"
        elif full <= 0:
            refusal = "NothingDue"
        elif self.book.free(who) <= 0:
            refusal = "AlreadyBeingPaid"
        elif self.book.autopay[who] is not None and first is not None and first <= on:
            refusal = "AutoPayComesFirst"
        elif card.state != "active":
            refusal = "MethodUnusable"
        elif most is not None and most > full:
            refusal = "AmountRefused"
        key = f"later-{next(self.keys)}"

        def schedule(on: datetime.date = on) -> ScheduledPayment:
            return scheduled_payments.schedule(
                customer=self.customers[who], pay_on=on, amount=most, instrument=found, actor=ALMA, request_key=key
            )

        made = self._either(refusal, schedule)
        if made is not None:
            self.book.later.append(Later(str(made.pk), who, card, on, most))
            assert self._unchanged(schedule).pk == made.pk
            with pytest.raises(Conflict):
                self._unchanged(lambda: schedule(on + DAY))
        self._check()

    @precondition(lambda self: self.book.later)
    @rule(who=whom)
    def a_scheduled_payment_is_cancelled(self, who: int) -> None:
        mine = [one for one in self.book.later if one.who == who]
        if not mine:
            return
        one = mine[-1]
        waits = one.state == "scheduled"
        found = ScheduledPayment.objects.get(pk=one.id)
        self._either("" if waits else "NotChangeable", lambda: scheduled_payments.cancel(scheduled=found, actor=ALMA))
        if waits:
            one.state = "cancelled"
        self._check()

    @precondition(lambda self: any(one.state == "scheduled" for one in self.book.later))
    @rule(fault=line, death=deaths, days=st.sampled_from([0, 1, 3, 10]), two=st.booleans())
    def scheduled_payments_are_made(self, fault: str | None, death: str, days: int, two: bool) -> None:
        self._pass(days * DAY)
        options = scheduled_collections.Options.usual(self.today, repeat=str(next(self.keys)))
        due = [one.card for one in self.book.later if one.state == "scheduled" and one.on <= self.today]
        verified = self.book.to_verify(due, self.now)
        if any(card.token is other.token for card in verified for other in due if other not in verified):
            # Whether the one is set aside before or after the other is charged is a matter of chunks.
            return
        unsure = self.book.verify(verified, self.now)
        plans, ends = self.book.to_make(self.today, self.now, but=unsure)

        def work() -> None:
            run = scheduled_collections.plan(
                biller=self.biller, options=options, actor=SYSTEM, now=self.now, chunk_size=self.chunk_size
            )
            for _chunk in scheduled_collections.work(run=run, actor=SYSTEM):
                pass

        if two or verified:
            fault, death, two = None, "", two and not verified
        with self._wrong(fault, f"scheduled.{death}" if death[:2] in {"ch", "an"} else death) as sound:
            self._together(work, 2 if two else 1)
        for one in self.book.later:
            # What cannot be made ends where the run came to it.
            if one.id in ends:
                state = ScheduledPayment.objects.get(pk=one.id).state
                assert state == ends[one.id] or (not sound and state == "scheduled")
                one.state = state
        self._learn(plans, exact=sound, sound=sound)
        self._check()

    # --- Money that goes back

    @precondition(lambda self: self.book.standing("posted", "reversed"))
    @rule(place=which, wanted=how_much, fault=line, death=deaths)
    def a_payment_is_given_back(self, place: int, wanted: str, fault: str | None, death: str) -> None:
        some = list(self.book.payments.values())
        if not some:
            return
        one = some[place % len(some)]
        left = one.amount - one.undone
        amount = self._amount(left, wanted)
        refusal = ""
        on_its_way = any(one in live.payings for live in self.book.tries.values())
        if one.state not in {"posted", "reversed"} or left == 0 or on_its_way or not 0 < amount <= left:
            refusal = "RefundRefused"
        key = f"back-{next(self.keys)}"
        found = Payment.objects.select_related("biller", "route").get(pk=one.id)

        def refund(amount: Decimal = amount) -> Reversal:
            return refunds.refund(payment=found, amount=amount, reason="Paid twice", actor=CLARA, request_key=key)

        if refusal:
            self._either(refusal, refund)
        elif Attempt.objects.get(pk=one.charge).processor_reference:
            with self._wrong(fault, f"refund.{death}" if death[:2] in {"ch", "an"} else death) as sound:
                refund()
            self._learn([], refunds=[(one, amount)], exact=True, sound=sound)
            self._unchanged(refund)
            with pytest.raises(Conflict):
                self._unchanged(lambda: refund(amount + 1))
        else:
            # A person's word stands for the charge: the processor's name of it is not known.
            self._either("RefundRefused", refund)
        self._check()

    @precondition(lambda self: any(one.charge for one in self.book.payments.values()))
    @rule(
        place=which, kind=st.sampled_from(["return", "chargeback", "chargeback", "chargeback_won"]), part=st.booleans(),
        code=st.sampled_from(["R01", "R01", "R02", "R07"]), told=st.booleans(),
    )  # fmt: skip
    def a_bank_moves_money(self, place: int, kind: str, part: bool, code: str, told: bool) -> None:
        """A bank returns a charge, a payer disputes it, or a dispute is decided; it is read twice and counts once.

        It is read in its turn, or because the processor ``told`` that there is something to read.
        """
        some = [one for one in self.book.payments.values() if one.charge]
        if not some:
            return
        one = some[place % len(some)]
        if one.card is not None and one.card.token.kind == "bank":
            # There are no disputes of bank debits, only returns, and these are of the whole.
            kind, part = "return", False
        moved = self.moved.get(one.charge, ZERO)
        room = moved if kind == "chargeback_won" else sum((mate.amount for mate in one.mates), ZERO) - moved
        amount = (room / 2).quantize(Decimal("0.01")) if part else room
        if amount <= 0 or (kind == "chargeback_won" and sum(mate.charged_back for mate in one.mates) < amount):
            return
        coded = {"code": code} if kind == "return" else {}
        self.processor.reverse(self.route.merchant, one.charge, kind, amount=str(amount), **coded)
        self.moved[one.charge] = moved + (-amount if kind == "chargeback_won" else amount)
        if told:
            self._tell(one.charge, reverses=True)
        else:
            self._ask_banks()
        if kind == "return":
            self.book.returned(one, amount, code, self.now)
            self._find_fees()
        elif kind == "chargeback":
            self.book.charged_back(one, amount)
        else:
            self.book.won(one, amount)
        self._unchanged(self._ask_banks)
        self._check()

    def _ask_banks(self) -> None:
        returns.read(biller=self.biller, actor=SYSTEM, now=self.now)
        self.book.asked_until = self.today

    @precondition(lambda self: any(one.confirmation == "waiting" for one in self.book.payments.values()))
    @rule(
        days=st.sampled_from([0, 1, 2, 3, 5]), asks=st.sampled_from([True, True, False]), place=which,
        how=st.sampled_from(["in time", "in time", "by a person", "failed", "R01"]),
    )  # fmt: skip
    def a_debit_is_confirmed(self, days: int, asks: bool, place: int, how: str) -> None:
        """Debits are good when their days are over without a return, or by a person's word; or a person says that they failed.

        That person may know the bank's code.
        """
        if how == "in time":
            self._pass(days * DAY)
            if asks:
                self._ask_banks()
            good = self.book.to_confirm(self.today)
            assert self._confirm_due() == len(good)
            for one in good:
                one.confirmation = "confirmed"
            assert self._unchanged(self._confirm_due) == 0
        else:
            some = [one for one in self.book.payments.values() if one.confirmation]
            one = some[place % len(some)]
            found = Payment.objects.get(pk=one.id)
            waits = one.confirmation == "waiting"
            if how == "by a person":
                confirm = lambda: confirmations.confirm(payment=found, actor=CLARA, now=self.now)  # noqa: E731
                self._either("" if waits else "ConfirmationRefused", confirm)
                one.confirmation = "confirmed" if waits else one.confirmation
            else:
                waits = waits and all(one not in live.payings for live in self.book.tries.values())
                code = "" if how == "failed" else how
                fail = lambda: confirmations.fail(  # noqa: E731
                    payment=found, reason="Said so", code=code, actor=CLARA, now=self.now
                )
                self._either("" if waits else "ConfirmationRefused", fail)
                if waits:
                    self.book.said_to_have_failed(one, code)
                    self._find_fees()
        self._check()

    def _confirm_due(self) -> int:
        return confirmations.confirm_due(biller=self.biller, actor=SYSTEM, now=self.now)

    # --- Fees

    @rule(days=st.sampled_from([0, 1, 2, 4]))
    def late_bills_are_looked_for(self, days: int) -> None:
        """Charge for what is late, and end the service of who is late with much: a dry run says it, and once more does nothing."""
        self._pass(days * DAY)

        def act(*, dry_run: bool = False) -> tuple[int, Decimal, int]:
            done = late_bills.act(biller=self.biller, day=self.today, actor=SYSTEM, now=self.now, dry_run=dry_run)
            acted = late_bills.in_all(done)
            return acted.fees, acted.total, acted.inactive

        said = self._unchanged(lambda: act(dry_run=True))
        assert said == act() == self.book.act_on_late(self.today)
        self._find_fees()
        assert self._unchanged(act) == (0, ZERO, 0)
        self._check()

    @rule(who=whom, status=st.sampled_from(["active", "active", "closed"]))
    def an_account_is_served_otherwise(self, who: int, status: str) -> None:
        changes = self.book.status.get(who, "active") != status
        changed = customers.change_standing(
            customer=self.customers[who], status=CustomerStatus(status), segment="", actor=CLARA
        )
        assert changed == changes
        self.book.status[who] = status
        self._check()

    @precondition(lambda self: self._fees())
    @rule(place=which)
    def a_fee_is_taken_back(self, place: int) -> None:
        some = self._fees()
        who, charged = some[place % len(some)]
        fee = Fee.objects.get(item=charged.item)
        waive = lambda: fees.waive(fee=fee, reason="A courtesy", actor=CLARA, now=self.now)  # noqa: E731
        self._either("WaiverRefused" if charged.waived else "", waive)
        if not charged.waived:
            self.book.waive(who, charged)
        self._check()

    def _fees(self) -> list[tuple[int, Bill]]:
        return [(who, bill) for who, bills in self.book.bills.items() for bill in bills if bill.fee is not None]

    def _find_fees(self) -> None:
        """Give the second book the items of the fees that it knows of."""
        rows = Fee.objects.values_list("item_id", "rule_id", "payment_id", "late_bill__invoice_id")
        bills = dict(Item.objects.filter(kind="bill").values_list("invoice_id", "id"))
        self.book.found({
            (self.fee_is_for[rule], str(payment)) if rule is not None else ("late", str(bills[invoice])): item
            for item, rule, payment, invoice in rows
        })  # fmt: skip

    # --- Recovery

    @precondition(lambda self: self.book.tries)
    @rule(
        fault=line,
        death=st.sampled_from(["", "", "", "recover.looked_up:1", "recover.resending:1", "settle.recorded:1"]),
    )
    def recovery_works(self, fault: str | None, death: str) -> None:
        with self._wrong(fault, death):
            self._recover()
        self._learn([])
        self._check()

    def _recover(self) -> None:
        nothing = datetime.timedelta(0)
        recoveries.recover(biller=self.biller, actor=SYSTEM, least_age=nothing, pause=nothing)

    @precondition(lambda self: self.book.payments)
    @rule(closes=st.sampled_from([True, True, False]))
    def response_files_are_read(self, closes: bool) -> None:
        """Read the processor's files, perhaps with a new one; a second time changes nothing."""
        if closes:
            # What a file covers and does not name never comes.
            self._let_arrive()
            self.processor.close_response_file(self.route.merchant)
        recoveries.read_response_files(biller=self.biller, actor=SYSTEM)
        self._learn([], absence_proves=True)
        self._unchanged(lambda: recoveries.read_response_files(biller=self.biller, actor=SYSTEM))
        self._check()

    @precondition(lambda self: self.book.payments)
    @rule(place=which, reverses=st.booleans())
    def a_processor_tells(self, place: int, reverses: bool) -> None:
        """A processor tells of a message unasked, whatever became of it; what it tells twice has one effect."""
        some = [*self.book.tries, *sorted(self.ended)]
        self._tell(some[place % len(some)], reverses=reverses)
        self._check()

    def _tell(self, key: str, *, reverses: bool) -> None:
        told = Told(f"evt-{next(self.keys)}", "changed", (key, "another's"), reverses, self.now)
        assert processor_events.store(route=self.route, event=told)
        assert not processor_events.store(route=self.route, event=told)

        def act() -> None:
            processor_events.apply(biller=self.biller, actor=SYSTEM)

        act()
        if reverses:
            self.book.asked_until = self.today
        assert not ProcessorEvent.objects.filter(applied_at__isnull=True).exists()
        self._learn([])
        assert not processor_events.store(route=self.route, event=told)
        self._unchanged(act)

    @precondition(lambda self: self.book.tries)
    @rule()
    def answered_attempts_take_effect(self) -> None:
        recoveries.finish_answered(biller=self.biller, actor=SYSTEM)
        self._learn([])
        assert not Attempt.objects.filter(state="answered").exists()
        self._check()

    @precondition(lambda self: self.book.tries)
    @rule(place=which)
    def a_batch_is_sent_again(self, place: int) -> None:
        """Send what is unresolved of a run's part again: only where the processor recognises repeats of all of it."""
        some = list(self.book.tries.values())
        found = Payment.objects.get(pk=some[place % len(some)].paying.id)
        if found.run_id is None or found.chunk_id is None:
            return
        run_id, number = found.run_id, Chunk.objects.get(pk=found.chunk_id).number
        refusal, _sent = _try(
            lambda: recoveries.resubmit(biller=self.biller, run_id=run_id, number=number, actor=CLARA, now=self.now)
        )
        assert refusal in {"", "ResubmissionRefused"}
        if not refusal:
            assert self.deduplicates
            assert all(self.now - live.made < WINDOW for live in some if live.paying.id == str(found.pk))
        self._learn([])
        self._check()

    @precondition(lambda self: self.book.tries)
    @rule(place=which)
    def a_person_decides(self, place: int) -> None:
        """A person who asked the processor says what became of a message; giving up is refused while it may still count."""
        some = list(self.book.tries.values())
        one = some[place % len(some)]
        # Who says that it was not taken knows that it never will be.
        self._let_arrive()
        attempt = Attempt.objects.select_related("payment", "route").get(pk=one.key)
        if attempt.state != "open":
            return
        row = self._theirs().get(one.key)
        if row is not None and row["code"] in APPROVED:
            if one.command in {"authorize", "release"}:
                return
            cases.settle_as_charged(
                attempt=attempt, approval_code="123456", evidence="Their web page", actor=CLARA, now=self.now
            )
        elif row is None:
            recognised = (
                self.deduplicates and one.command not in {"authorize", "release"} and self.now < one.made + WINDOW
            )
            late = self.now < (attempt.sent_at or attempt.created_at) + SETTLE
            act = lambda: cases.give_up(attempt=attempt, evidence="A call", actor=CLARA, now=self.now)  # noqa: E731
            self._either("CaseRefused" if recognised or late else "", act)
        self._learn([], absence_proves=True)
        self._check()

    @precondition(lambda self: self.ended)
    @rule(place=which, contradicts=st.booleans())
    def an_old_answer_comes_again(self, place: int, contradicts: bool) -> None:
        """An answer comes once more, the same or another one: it changes nothing, and a contradiction is a case."""
        ended = list(Attempt.objects.filter(state__in=["applied", "abandoned"]).order_by("created_at", "pk"))
        if not ended:
            return
        one = ended[place % len(ended)]
        result = one.result if one.state == "applied" else 8
        if contradicts:
            result = 8 if result == 0 else 0
        before, cases_before = self._rows(passing="payments_case"), Case.objects.count()
        known = Case.objects.filter(attempt=one, kind="conflict", state="open").exists()
        settlements.settle(biller=self.biller, answers=[Answer(str(one.pk), result)] * 2, actor=SYSTEM, now=self.now)
        assert self._rows(passing="payments_case") == before
        assert Case.objects.count() == cases_before + (contradicts and not known)
        if contradicts:
            self.book.payments[str(one.payment_id)].disputed = True
        self._check()

    # --- How it is learned what happened

    @contextmanager
    def _wrong(self, fault: str | None, death: str) -> Iterator[Any]:
        """Let something go wrong inside the block; gives something true where nothing does."""
        name = {"late": "drop_then_late", "busy": None}.get(fault or "", fault)
        if fault == "busy":
            self.processor.control(v_code="503")
        if fault == "late" and self.held_since is None:
            self.held_since = self.now
        if name is not None:
            self.processor.control(faults={name: {"next": 1, "seconds": 3600.0}})
        failpoints.arm(death, _die)
        try:
            yield fault is None and not death
        except Death:
            connection.close()
        finally:
            failpoints.arm("")
            self.processor.control(v_code=None, faults={} if name is None else {name: None})

    def _either(
        self, refusal: str, act: Callable[[], _Given], *, changes: bool = True, renews: bool = False
    ) -> _Given | None:
        """Do it; where it must be refused it is, by that name, and nothing changes, but where a method was verified again."""
        before = self._rows() if (refusal or not changes) and not renews else None
        found, given = _try(act)
        assert found == refusal
        assert before is None or self._rows() == before
        return given

    def _unchanged(self, act: Callable[[], _Given]) -> _Given:
        before = self._rows()
        try:
            return act()
        finally:
            assert self._rows() == before

    def _rows(self, *, passing: str = "") -> str:
        """Give a checksum of every row of what money stands in; when a thing was looked up is no change."""
        tables = [table for table in WATCHED if table != passing]
        asked = " UNION ALL ".join(
            f"SELECT '{table}', md5(coalesce(string_agg(t::text, '' ORDER BY t::text), '')) FROM"
            f" (SELECT to_jsonb(r) - 'looked_up_at' - 'lookups' AS t FROM {table} r) t"
            for table in tables
        )
        with connection.cursor() as cursor:
            cursor.execute(asked)
            return repr(sorted(cursor.fetchall()))

    def _theirs(self) -> dict[str, dict[str, Any]]:
        # By the check of a method nobody is charged.
        rows = self.processor.book(self.route.merchant)["rows"]
        return {row["key"]: row for row in rows if row["command"] != "verify"}

    def _learn(
        self,
        plans: Sequence[Plan],
        *,
        holds: Sequence[Paying] = (),
        ended_by: str = "",
        refunds: Sequence[tuple[Paying, Decimal]] = (),
        exact: bool = False,
        sound: bool = False,
        command: str = "charge",
        absence_proves: bool = False,
    ) -> None:
        """See what was begun and what ended: nothing that was not planned, and as the processor's book says.

        ``exact``: all that was planned was begun. ``sound``: all of it has ended. ``absence_proves``: what the processor does
        not know may have been given up.
        """
        theirs, ours = self._theirs(), list(Attempt.objects.order_by("created_at", "pk"))
        payments = {str(one.pk): one for one in Payment.objects.all()}
        new = [one for one in ours if str(one.pk) not in self.book.tries and str(one.pk) not in self.ended]
        planned, to_refund = list(plans), list(refunds)
        households = self.book.households([plan for plan in plans if plan.channel == Channel.AUTOPAY])
        to_end = {ended_by: list(holds)}
        autopay = [plan.card.token for plan in plans if plan.channel == Channel.AUTOPAY]
        left = {token: tries for token in autopay if (tries := self.book.left(token, self.now)) is not None}
        for attempt in new:
            key, id_ = str(attempt.pk), str(attempt.payment_id)
            if attempt.command in {"deposit", "release"}:
                one = self.book.payments[id_]
                to_end[attempt.command].remove(one)
                one.state, one.last = "processing", attempt.command
                self.book.ask(key, one, attempt.command, attempt.amount, self.now)
            elif attempt.command == "refund":
                one = self.book.payments[id_]
                to_refund.remove((one, attempt.amount))
                one.last = "refund"
                self.book.ask(key, one, "refund", attempt.amount, self.now)
            else:
                assert attempt.command == command
                group = payments[id_].group_id
                made = [
                    one
                    for one in payments.values()
                    if one.pk == attempt.payment_id or (group and one.group_id == group)
                ]
                self._begun(attempt, sorted(made, key=lambda one: str(one.pk)), planned, households)
        ended = {
            str(one.pk): one for one in ours if str(one.pk) in self.book.tries and one.state in {"applied", "abandoned"}
        }
        for key, attempt in ended.items():
            row = theirs.get(key)
            if attempt.state == "abandoned":
                assert absence_proves, f"{attempt} was given up"
                assert attempt.sent_at is not None
                assert self.now - attempt.sent_at >= SETTLE, f"{attempt} was given up, and may yet arrive"
                assert row is None, f"{attempt} was given up, and they have {row}"
            else:
                assert row is not None, f"{attempt} ended with {attempt.result}, and they never heard of it"
                assert (attempt.result == 0) == (row["code"] in APPROVED)
        # In the order in which they took effect, which is that of the messages where they have a line to themselves.
        for key in sorted(ended, key=lambda key: (ended[key].answered_at, ended[key].created_at, key)):
            row = theirs.get(key)
            self.book.end(key, row["code"] if row else "", self.today, self.now)
            self.ended.add(key)
        self._find_fees()
        for token, tries in left.items():
            some = [one for one in new if one.command == "charge" and self._token_of(one) is token]
            declined = [one for one in some if theirs.get(str(one.pk), {"code": ""})["code"] not in APPROVED]
            assert len(declined) <= tries and (tries or not some), f"AutoPay had {tries} tries and took {len(some)}"
        if sound:
            begun = {str(one.pk) for one in new}
            assert not begun & set(self.book.tries), "a message over a sound line has no result"
        for plan in planned:
            if plan.channel == Channel.AUTOPAY:
                self._wait_for_tries(plan)
        if exact:
            assert not to_end[ended_by]
            assert not to_refund
            for plan in planned:
                # Set aside or out of tries since the plan was made, by what was charged before it.
                assert plan.card.state == "bad" or self.book.left(plan.card.token, self.now) == 0, plan

    def _token_of(self, attempt: Attempt) -> Token | None:
        card = self.book.payments[str(attempt.payment_id)].card
        return card.token if card is not None else None

    def _wait_for_tries(self, plan: Plan) -> None:
        """Let a bill that AutoPay did not take wait for the day on which its card may be tried again."""
        (bill,) = plan.parts
        on = Item.objects.get(pk=bill.item).collect_on
        if on == bill.on:
            return
        assert self.book.left(plan.card.token, self.now) == 0, f"{plan} waits until {on}, and its card may be tried"
        assert bill.on is not None
        assert on in {max(bill.on, day) for day in self.book.days_of_tries(plan.card.token, self.today)}
        bill.on = on

    def _begun(
        self, attempt: Attempt, made: Sequence[Payment], planned: list[Plan], households: Sequence[set[int]]
    ) -> None:
        """See a charge begin: a payment as it was planned, or all those of a household at once."""
        begun = {str(payment.pk): self._planned(payment, planned) for payment in made}
        assert attempt.covers == len(made)
        assert attempt.amount == sum((one.amount for one in begun.values()), ZERO)
        items = {bill.item for one in begun.values() for bill in one.parts}
        assert (items if len(made) > 1 else None) == next((some for some in households if items & some), None)
        for one in begun.values():
            one.mates = list(begun.values())
        self.book.ask(str(attempt.pk), begun[str(attempt.payment_id)], attempt.command, attempt.amount, self.now)

    def _planned(self, payment: Payment, planned: list[Plan]) -> Paying:
        items = dict(payment.allocations.values_list("item_id", "amount"))
        for plan in planned:
            parts = {bill.item: part for bill, part in plan.parts.items()}
            if (plan.who, plan.amount, plan.channel, plan.card.id) == (
                self.who_is[payment.customer_id], payment.amount, payment.channel, str(payment.instrument_id)
            ) and parts == items:  # fmt: skip
                break
        else:
            raise AssertionError(f"nobody planned {payment.channel} {payment.amount} of {items}")
        planned.remove(plan)
        one = self.book.begin(str(payment.pk), plan, self.now)
        for later in self.book.later:
            if plan.channel == Channel.SCHEDULED and later.who == plan.who and later.state == "scheduled":
                later.state, later.paying = "processing", one
        return one

    # --- What must always hold

    def _check(self) -> None:
        self._compare_money()
        self._compare_theirs()
        self._compare_states()
        self._prove(check for check in CHECKS if check.number != "ref")

    def _prove(self, checks: Iterable[Check]) -> None:
        with connection.cursor() as cursor:
            for check in checks:
                cursor.execute(check.wrong)
                wrong = cursor.fetchall()
                assert not wrong, f"{check.number} {check.says}: {wrong[:3]}"

    def _compare_money(self) -> None:
        """Every item, credit and balance is that of the second book (1 to 5, 26 to 29, 31)."""
        book = self.book
        owed = Item.objects.filter(kind__in=["bill", "fee"], amount__gt=0)
        found = {
            item: (open_, reserved, on)
            for item, open_, reserved, on in owed.values_list("id", "open", "reserved", "collect_on")
        }
        expected = {bill.item: (bill.open, bill.reserved, bill.on) for bills in book.bills.values() for bill in bills}
        assert found == expected
        credits_ = Counter[str]()
        for payment, open_ in Item.objects.filter(kind="credit").values_list("payment_id", "open"):
            credits_[str(payment)] -= open_
        assert {k: v for k, v in credits_.items() if v} == {o.id: o.credit for o in book.payments.values() if o.credit}
        assert not Item.objects.exclude(kind__in=["bill", "credit", "fee"]).exists()
        waived = defaultdict[int, Decimal](Decimal)
        for customer, open_ in Item.objects.filter(kind="fee", amount__lt=0).values_list("customer_id", "open"):
            waived[self.who_is[customer]] -= open_
        assert {k: v for k, v in waived.items() if v} == {k: v for k, v in book.waived.items() if v}
        balances = dict(Customer.objects.values_list("id", "balance"))
        assert balances == {customer.pk: book.balance(who) for who, customer in enumerate(self.customers)}
        stands = {
            str(pk): (state, undone or ZERO)
            for pk, state, undone in Payment.objects.values_list("id", "state", "undone")
        }
        assert stands == {one.id: (one.state, one.undone) for one in book.payments.values()}
        later = {str(pk): state for pk, state in ScheduledPayment.objects.values_list("id", "state")}
        assert later == {one.id: one.state for one in book.later}
        cards = {str(pk): state for pk, state in Instrument.objects.values_list("id", "state")}
        assert cards == {card.id: card.state for card in book.all_cards()}
        confirmed = {str(pk): state for pk, state in UnconfirmedPayment.objects.values_list("payment_id", "state")}
        assert confirmed == {one.id: one.confirmation for one in book.payments.values() if one.confirmation}
        served = dict(Customer.objects.values_list("id", "status"))
        assert served == {pk: book.status.get(who, "active") for pk, who in self.who_is.items()}

    def _compare_theirs(self) -> None:
        """What the processor charged is known here, once, for that amount; what we call paid was charged (13, 16, 24)."""
        theirs = self._theirs()
        asked = [*Attempt.objects.values_list("id", "amount"), *Verification.objects.values_list("id", "amount")]
        ours = {str(pk): amount for pk, amount in asked}
        for key, row in theirs.items():
            assert row["times_charged"] <= 1, f"{key} was charged {row['times_charged']} times"
            assert not row["altered"], f"another message went out as {key}"
            assert ours.get(key) == Decimal(row["amount"]), f"{key} is {row['amount']} there, {ours.get(key)} here"
        charged = Counter[str]()
        leading = dict(Payment.objects.filter(group_id__isnull=False).values_list("id", "group_id"))
        moved = {key for key, row in theirs.items() if row["times_charged"] and row["command"] in {"charge", "deposit"}}
        for attempt, payment in Attempt.objects.values_list("id", "payment_id"):
            charged[str(payment)] += str(attempt) in moved
        for payment, first in leading.items():
            charged[str(payment)] = charged[str(first)]
        for one in self.book.payments.values():
            took = charged[one.id]
            if one.state in {"posted", "reversed"}:
                assert took == 1
            elif one.state in {"failed", "authorized"}:
                assert took == 0
            else:
                assert took <= 1
        # Nothing is sent again that the processor would not recognise.
        longest = WINDOW if self.deduplicates else SETTLE
        assert not Attempt.objects.filter(sent_at__gte=F("created_at") + longest).exists()
        self._compare_clearing(theirs)

    def _compare_clearing(self, theirs: dict[str, dict[str, Any]]) -> None:
        """What we booked by card and bank is what they moved, less what only a person has told of; losses are known (9, 30)."""
        moved = defaultdict[str, Decimal](Decimal)
        for key in self.ended & set(theirs):
            row = theirs[key]
            if row["times_charged"] and row["command"] in {"charge", "deposit", "refund"}:
                moved[row["tender"]] += Decimal(row["amount"]) * (-1 if row["command"] == "refund" else 1)
        for key, back in self.moved.items():
            moved[theirs[key]["tender"]] -= back
        for one in self.book.payments.values():
            if one.card is not None:
                moved[one.card.token.kind] -= one.foretold
        booked = defaultdict[str, Decimal](Decimal)
        for account, tender, amount in Entry.objects.filter(account__in=["clearing", "losses"]).values_list(
            "account", "tender", "amount"
        ):
            booked[account if account == "losses" else "bank" if tender == "ach" else "card"] += amount
        moved["losses"] = self.book.losses
        assert {k: v for k, v in booked.items() if v} == {k: v for k, v in moved.items() if v}

    def _compare_states(self) -> None:
        """Rows move only as they may, nothing that ended moves, and what was booked stays as it was (10, 39, 40)."""
        with connection.cursor() as cursor:
            for table, moves in MOVES.items():
                key = "payment_id" if table == "payments_unconfirmedpayment" else "id"
                cursor.execute(f"SELECT {key}::text, state FROM {table}")
                now = dict(cursor.fetchall())
                for id_, state in self.seen[table].items():
                    assert id_ in now, f"{table} {id_} is gone"
                    if now[id_] != state:
                        assert now[id_] in moves.get(state, set()), f"{table} {id_}: {state} became {now[id_]}"
                self.seen[table] = now
            cursor.execute("SELECT max(id) FROM billing_entry")
            (last,) = cursor.fetchone()
            digest, until = self.journal
            cursor.execute(
                "SELECT md5(coalesce(string_agg(e::text, '' ORDER BY id) FILTER (WHERE id <= %s), '')),"
                " md5(coalesce(string_agg(e::text, '' ORDER BY id), '')) FROM billing_entry e",
                [until],
            )
            then, after = cursor.fetchone()
            assert not until or then == digest, "what was booked before is another thing now"
            self.journal = (after, last or 0)

    # --- At rest

    def _come_to_rest(self) -> None:
        """Recover until nothing changes: every outcome is known, or a person has a case of it (13, 42)."""
        self._prove(CHECKS)
        self._let_arrive()
        self._pass(2 * SETTLE)
        for _ in range(3):
            before = self._rows()
            self._recover()
            self._learn([])
            self._check()
            if self._rows() == before:
                break
        theirs = self._theirs()
        in_cases = {str(pk) for pk in Case.objects.filter(state="open").values_list("attempt_id", flat=True)}
        for key, one in self.book.tries.items():
            assert key in in_cases, f"{one.command} of {one.amount} has no result, and no case"
            assert key not in theirs, "they know it, and we do not"
        # What a person must look into is open, or has been answered twice.
        waiting = {
            str(pk) for pk in Attempt.objects.filter(state__in=["open", "answered"]).values_list("pk", flat=True)
        }
        unknown = Case.objects.filter(state="open", kind="unknown").values_list("attempt_id", flat=True)
        assert {str(pk) for pk in unknown} == waiting == set(self.book.tries)
        assert not self.deduplicates or all(self.now - one.made >= WINDOW for one in self.book.tries.values())


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    with Processor(tmp_path_factory.mktemp("processor")) as running:
        yield running


class Walk:
    """A machine that is led by hand, so that what must be met at least once is met in every run."""

    def __init__(
        self, processor: Processor, *, deduplicates: bool, in_batches: bool, chunk_size: int, household: str = "",
        verifies_again: bool = False,
    ) -> None:  # fmt: skip
        self.machine = type("Machine", (EveryRule,), {"processor": processor})()
        self.machine.begin(deduplicates, in_batches, chunk_size, household, verifies_again)

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_others: object) -> None:
        if kind is None:
            self.machine.teardown()
        else:
            self.machine.leave()

    def let_a_month_pass(self) -> None:
        for _ in range(4):
            self.machine.time_passes(8, [], False)

    def bill(self, *bills: tuple[int, str]) -> None:
        self.machine._bills([(who, amount, 0) for who, amount in bills])

    def pay(
        self, who: int, place: int, wanted: str = "all", fault: str | None = None, death: str = "", other: str = "same"
    ) -> int:
        """Have a CSR take a payment by a method of an account; gives its place among all payments."""
        self.machine.somebody_pays(who, place, wanted, Channel.CSR, fault, death, other)
        return self.last

    def hold(self, who: int, place: int, wanted: str = "some") -> int:
        self.machine.a_card_is_authorized(who, place, wanted, None, "")
        return self.last

    def end_hold(self, payment: int, fault: str | None = None, *, release: bool = False) -> None:
        some = [one for one in self.machine.book.standing("authorized", "posted", "failed") if one.held_on is not None]
        self.machine.a_hold_ends(some.index(self.payments[payment]), "", fault, release)

    def collect(self, days: int = 0, **wrong: Any) -> int:
        self.machine._autopay(days, **wrong)
        return self.last

    def schedule(self, who: int, place: int, wanted: str = "whole") -> None:
        self.machine.a_payment_is_scheduled(who, place, 1, wanted)

    def make(self, days: int, fault: str | None = None, death: str = "", *, two: bool = False) -> None:
        self.machine.scheduled_payments_are_made(fault, death, days, two)

    def give_back(self, payment: int, wanted: str = "all", fault: str | None = None) -> None:
        self.machine.a_payment_is_given_back(payment, wanted, fault, "")

    def move(self, payment: int, kind: str, code: str = "R01", *, part: bool = False, told: bool = False) -> None:
        some = [one for one in self.payments if one.charge]
        self.machine.a_bank_moves_money(some.index(self.payments[payment]), kind, part, code, told)

    def confirm(self, payment: int, how: str) -> None:
        some = [one for one in self.payments if one.confirmation]
        self.machine.a_debit_is_confirmed(0, False, some.index(self.payments[payment]), how)

    def waive(self, who: int, place: int) -> None:
        some = self.machine._fees()
        mine = [one for one in some if one[0] == who]
        self.machine.a_fee_is_taken_back(some.index(mine[place]))

    def of(self, who: int, amount: str) -> int:
        """Give the place of the last payment of an account over an amount."""
        found = [place for place, one in enumerate(self.payments) if (one.who, one.amount) == (who, Decimal(amount))]
        return found[-1]

    @property
    def payments(self) -> list[Paying]:
        return list(self.machine.book.payments.values())

    @property
    def last(self) -> int:
        return len(self.machine.book.payments) - 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-3", "PAY-6", "PAY-9", "PAY-10", "PAY-24", "PAY-32", "PAY-33")
def test_one_walk_meets_every_rule_where_repeats_are_recognised(processor: Processor) -> None:
    with Walk(processor, deduplicates=True, in_batches=True, chunk_size=2) as walk:
        machine = walk.machine
        # One bill in parts, too much, and twice at once; what has no answer is looked up, and what never came is sent again.
        first = walk.pay(3, 1, "half", other="amount")
        lost = walk.pay(3, 1, "all", "late")
        walk.pay(3, 1, "all")
        walk.pay(3, 0, "some")
        machine.a_person_decides(0)
        machine.response_files_are_read(True)
        walk.bill((3, "40.00"))
        walk.pay(3, 1, "half", "drop_before")
        machine.response_files_are_read(True)
        machine.a_person_decides(0)
        machine.time_passes(0, [], False)
        machine.a_person_decides(0)
        machine.recovery_works(None, "recover.resending:1")
        machine.recovery_works(None, "")
        more = walk.pay(3, 1, "more", death="checkpointed:1")
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        # An answer comes again, and another one.
        machine.an_old_answer_comes_again(0, False)
        machine.an_old_answer_comes_again(0, True)
        assert lost != first
        # It goes back: in parts, twice at once, more than there is, and by a dispute that is won.
        walk.give_back(more, "half")
        walk.give_back(first, "more")
        walk.give_back(first, "half", "late")
        walk.give_back(first, "half")
        walk.move(first, "chargeback")
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        walk.move(more, "chargeback", part=True)
        walk.move(more, "chargeback_won")
        # AutoPay: what others hold, what credits cover, what was given back, and what two workers see.
        walk.pay(0, 0, "half", "drop_after")
        walk.pay(2, 0, "more")
        walk.bill((2, "40.00"))
        taken = walk.collect(two=True)
        walk.collect(rebill=True, least="50.00")
        machine.recovery_works(None, "")
        both = walk.pay(0, 0)
        walk.give_back(both, "half")
        walk.give_back(taken)
        walk.collect(1, fault="busy")
        walk.collect(rebill=True, death="settle.recorded:1")
        machine.answered_attempts_take_effect()
        # What was not looked up in time is not sent again.
        walk.bill((3, "40.00"))
        walk.pay(3, 1, "some", "drop_before")
        machine.time_passes(8, [], False)
        machine.recovery_works(None, "")
        assert [one.kind for one in Case.objects.filter(state="open", attempt__in=list(machine.book.tries))] == [
            "unknown"
        ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-5")
def test_one_walk_meets_declines_limits_and_schedules(processor: Processor) -> None:
    with Walk(processor, deduplicates=True, in_batches=False, chunk_size=100) as walk:
        machine = walk.machine
        # A card that two accounts share is out of tries, for AutoPay and for whoever pays; what is in use stays on file.
        machine.a_method_changes(0, 0, "remove")
        machine.autopay_is_declined_for_days(0, "soft_decline", [1], False)
        walk.pay(0, 0, "half")
        # Another one is tried on the days that count from its first decline, and is then set aside until it is confirmed.
        machine.a_method_changes(0, 0, "add")
        walk.give_back(walk.pay(0, 1), "half")
        walk.pay(0, 1)
        machine.autopay_is_turned(0, 1, False)
        machine.autopay_is_declined_for_days(0, "soft_decline", [1, 2], False)
        walk.collect(rebill=True)
        machine.a_bank_thinks_otherwise(0, 1, "hard_decline")
        walk.collect(1, rebill=True)
        walk.collect(1, rebill=True)
        machine.a_bank_thinks_otherwise(0, 1, "approve")
        machine.a_method_changes(0, 1, "confirm")
        walk.collect()
        # What is scheduled: made once, cancelled until then, nothing due, or out of tries.
        walk.schedule(3, 1)
        machine.a_method_changes(3, 1, "remove")
        walk.make(1, "late")
        walk.make(0)
        machine.a_scheduled_payment_is_cancelled(3)
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        walk.bill((3, "61.50"))
        walk.schedule(3, 1, "some")
        machine.a_scheduled_payment_is_cancelled(3)
        machine.a_bank_thinks_otherwise(3, 1, "soft_decline")
        walk.schedule(3, 1)
        machine.time_passes(1, [], False)
        walk.pay(3, 1, "some")
        walk.pay(3, 1, "half")
        walk.make(0, two=True)
        machine.a_bank_thinks_otherwise(3, 1, "approve")
        walk.schedule(3, 1)
        walk.make(1, death="checkpointed:1")
        machine.time_passes(0, [], False)
        machine.recovery_works(None, "")
        walk.bill((3, "40.00"))
        walk.schedule(3, 0)
        walk.pay(3, 0)
        walk.make(1, two=True)
        assert [one.state for one in machine.book.later] == ["paid", "cancelled", "failed", "paid", "nothing_due"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-34", "PAY-35", "PAY-36")
def test_one_walk_meets_bank_debits_and_fees(processor: Processor) -> None:
    with Walk(processor, deduplicates=True, in_batches=True, chunk_size=2) as walk:
        machine = walk.machine
        # A lost connection costs nothing; a return does, and counts as a try of its account.
        machine.a_bank_thinks_otherwise(2, 0, "technical_problem")
        walk.collect()
        machine.a_bank_thinks_otherwise(2, 0, "approve")
        walk.collect()
        walk.move(walk.of(2, "99.99"), "return")
        machine.a_bank_thinks_otherwise(2, 0, "soft_decline")
        walk.pay(2, 0, "half")
        walk.pay(2, 0, "some")
        walk.pay(2, 0, "some")
        machine.a_bank_thinks_otherwise(2, 0, "approve")
        walk.let_a_month_pass()
        # Fees are for late bills too; AutoPay leaves them, and each is taken back once, open or paid.
        machine.late_bills_are_looked_for(0)
        walk.collect(rebill=True)
        walk.waive(2, 0)
        walk.waive(2, 0)
        paid = walk.pay(2, 0)
        walk.waive(2, 1)
        walk.bill((2, "10.00"), (3, "40.00"))
        walk.pay(3, 1, "some", "late")
        machine.late_bills_are_looked_for(4)
        machine.recovery_works(None, "")
        card = walk.pay(3, 1)
        walk.move(card, "return")
        # Set aside by a return for good, which is not for want of money, and by a decline.
        walk.move(paid, "return", "R07")
        walk.collect(rebill=True)
        machine.a_method_changes(2, 0, "confirm")
        machine.a_bank_thinks_otherwise(2, 0, "hard_decline")
        walk.bill((2, "40.00"))
        walk.collect()
        machine.a_bank_thinks_otherwise(2, 0, "approve")
        machine.a_method_changes(2, 0, "confirm")
        walk.let_a_month_pass()
        # A fee is taken back while it is being paid. A debit fails by a person's word, and then by the bank's.
        debit = walk.pay(2, 0, "more", "late")
        walk.waive(2, -1)
        machine.recovery_works(None, "")
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        walk.give_back(debit, "half")
        walk.confirm(debit, "failed")
        walk.move(debit, "return", "R02")
        assert {one.confirmation for one in walk.payments} == {"", "waiting", "failed"}
        assert {bill.fee[0] for _who, bill in machine._fees() if bill.fee} == {"failed", "returned", "late"}
        assert machine.book.losses > 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-7", "PAY-9", "PAY-10", "PAY-34")
def test_one_walk_meets_holds_and_what_stays_unknown(processor: Processor) -> None:
    with Walk(processor, deduplicates=False, in_batches=False, chunk_size=1) as walk:
        machine = walk.machine
        # Holds: not of bank accounts; deposited, released, by hand and by runs, and kept where nobody could be asked.
        walk.hold(3, 0)
        one, two, three = walk.hold(3, 1), walk.hold(3, 1), walk.hold(3, 1)
        walk.end_hold(one, "busy")
        walk.end_hold(one)
        walk.end_hold(one)
        walk.end_hold(two, release=True)
        machine.late_bills_are_looked_for(4)
        machine.holds_are_ended_by_a_run(None, "", 1, True, "deposit")
        late = walk.hold(1, 0, "half")
        machine.holds_are_ended_by_a_run("drop_after", "", 3, False, "release")
        machine.recovery_works(None, "")
        assert walk.payments[late].state == walk.payments[two].state == "failed"
        walk.move(three, "chargeback")
        # Nothing is sent again; what never came is a case, which a person gives up, and what comes then changes nothing.
        walk.pay(3, 1, "half", "drop_before")
        machine.response_files_are_read(True)
        machine.recovery_works(None, "")
        machine.time_passes(0, [], False)
        machine.recovery_works(None, "")
        machine.a_person_decides(0)
        machine.an_old_answer_comes_again(0, False)
        machine.an_old_answer_comes_again(0, True)
        machine.an_old_answer_comes_again(-1, False)
        machine.an_old_answer_comes_again(-1, True)
        walk.pay(1, 0, "half", "late")
        machine.time_passes(0, [], False)
        machine.recovery_works(None, "")
        machine.time_passes(0, [], True)
        machine.recovery_works(None, "")
        # Bank debits: good after their days and not before, by a person's word, and failed by one.
        walk.collect(death="checkpointed:1")
        machine.response_files_are_read(True)
        machine.time_passes(0, [], False)
        machine.response_files_are_read(True)
        for wanted in ("some", "some", "some", "half"):
            walk.pay(2, 0, wanted)
        walk.confirm(walk.last, "by a person")
        walk.confirm(walk.last, "failed")
        walk.confirm(walk.last - 1, "failed")
        walk.move(walk.last - 1, "return")
        walk.give_back(walk.last - 2)
        machine.a_debit_is_confirmed(5, False, 0, "in time")
        machine.a_debit_is_confirmed(5, False, 0, "in time")
        machine.a_debit_is_confirmed(0, True, 0, "in time")
        # Over a weekend they wait longer.
        machine._pass((4 - machine.today.weekday()) % 7 * DAY)
        walk.collect(rebill=True)
        for _ in range(6):
            machine.a_debit_is_confirmed(1, True, 0, "in time")


@pytest.mark.django_db(transaction=True)
def test_one_walk_meets_a_household_that_is_charged_at_once(processor: Processor) -> None:
    with Walk(processor, deduplicates=False, in_batches=False, chunk_size=1, household="card") as walk:
        machine = walk.machine
        # What has no answer is all of it without one; what is found out, and what goes back, is of each account.
        walk.collect(fault="drop_after")
        walk.collect(rebill=True)
        machine.late_bills_are_looked_for(4)
        machine.recovery_works(None, "")
        mine, others = walk.of(0, "40.00"), walk.of(1, "61.50")
        assert walk.payments[mine].mates == walk.payments[others].mates != [walk.payments[mine]]
        walk.give_back(others, "half")
        walk.move(mine, "chargeback", part=True)
        walk.move(others, "chargeback_won", part=True)
        walk.move(others, "chargeback")
        # Declined at once, which is one decline and one fee; and given up at once.
        machine.a_bank_thinks_otherwise(1, 0, "soft_decline")
        walk.bill((0, "3.00"), (1, "8.00"))
        walk.collect(two=True)
        machine.a_bank_thinks_otherwise(1, 0, "approve")
        walk.collect(1, fault="drop_before")
        machine.time_passes(0, [], False)
        machine.recovery_works(None, "")
        machine.a_person_decides(0)
        walk.collect()
        machine.a_bank_thinks_otherwise(1, 0, "hard_decline")
        walk.bill((0, "6.00"), (1, "7.00"))
        walk.collect()
        assert [who for who, bill in machine._fees() if bill.fee and bill.fee[0] == "failed"] == [0]
        machine.a_bank_thinks_otherwise(1, 0, "approve")
        machine.a_method_changes(0, 0, "confirm")
        machine.a_method_changes(1, 0, "confirm")
        walk.bill((0, "40.00"), (1, "40.00"))
        walk.pay(0, 0, "half")
        walk.collect(death="checkpointed:1")
        machine.response_files_are_read(True)
        machine.time_passes(0, [], False)
        machine.response_files_are_read(True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-32", "PAY-35", "PAY-36")
def test_one_walk_meets_a_household_whose_debit_is_returned_and_accounts_that_are_not_served(
    processor: Processor,
) -> None:
    with Walk(processor, deduplicates=True, in_batches=True, chunk_size=100, household="bank") as walk:
        machine = walk.machine
        # A person says of one part that it failed; the bank then returns all of it, and what is charged for that is charged once.
        walk.collect()
        mine, others = walk.of(0, "40.00"), walk.of(1, "61.50")
        assert walk.payments[mine].mates == walk.payments[others].mates != [walk.payments[mine]]
        walk.confirm(others, "failed")
        assert [bill for _who, bill in machine._fees()] == []
        walk.move(mine, "return", told=True)
        assert [(bill.fee, bill.amount) for _who, bill in machine._fees()] == [
            (("returned", walk.payments[others].id), Decimal("5.00"))
        ]
        # A person knows the bank's code: it is charged for at once, and not again when the bank says so.
        walk.bill((0, "16.00"), (1, "17.00"))
        walk.collect()
        walk.confirm(walk.of(1, "17.00"), "R01")
        assert [str(bill.amount) for _who, bill in machine._fees()] == ["5.00", "3.30"]
        # Each such charge counts as a try of the account, whichever part of it failed.
        walk.bill((0, "6.00"), (1, "7.00"))
        walk.collect()
        walk.confirm(walk.of(1, "7.00"), "failed")
        tried = walk.last
        assert walk.pay(0, 0, "some") == tried
        walk.move(walk.of(0, "16.00"), "return")
        walk.move(walk.of(0, "16.00"), "return")
        assert len(machine._fees()) == 2
        # What was given back before the bank returned all of it is lost; a return for good sets both methods aside.
        walk.let_a_month_pass()
        walk.bill((0, "8.00"), (1, "9.00"))
        walk.collect(fault="drop_after")
        machine.a_processor_tells(0, False)
        walk.give_back(walk.of(0, "8.00"), "half", "drop_after")
        machine.a_processor_tells(0, True)
        walk.move(walk.of(1, "9.00"), "return", "R07")
        assert machine.book.losses == Decimal("4.00")
        walk.bill((0, "40.00"), (1, "40.00"))
        walk.collect()
        # Who is late with much is served no more, and collected from by runs of their own; a bill does that once.
        walk.bill((2, "99.99"), (3, "61.50"))
        machine.late_bills_are_looked_for(4)
        assert machine.book.status == dict.fromkeys([1, 2, 3], "inactive")
        walk.collect(rebill=True)
        machine.an_account_is_served_otherwise(3, "active")
        machine.late_bills_are_looked_for(1)
        assert machine.book.status[3] == "active"
        taken = walk.collect(rebill=True, status="inactive")
        assert walk.payments[taken].who == 2
        machine.an_account_is_served_otherwise(2, "closed")
        walk.bill((2, "61.50"))
        walk.collect(rebill=True, status="inactive")
        machine.late_bills_are_looked_for(4)
        assert (walk.last, machine.book.status[2]) == (taken, "closed")


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-18")
def test_one_walk_meets_bank_accounts_that_are_verified_again(processor: Processor) -> None:
    with Walk(processor, deduplicates=True, in_batches=False, chunk_size=100, verifies_again=True) as walk:
        machine = walk.machine
        machine.time_passes(8, [], False)
        before = walk.pay(3, 0, "some")
        # Their ten days are over: nobody is charged by an account that may not be good, whoever asks for it.
        machine.time_passes(3, [], False)
        walk.bill((2, "40.00"))
        machine.a_bank_thinks_otherwise(2, 0, "technical_problem")
        machine.a_bank_thinks_otherwise(3, 0, "technical_problem")
        walk.pay(2, 0, "some")
        walk.schedule(3, 0)
        assert walk.collect(rebill=True) > before
        assert {one.who for one in walk.payments[before + 1 :]} == {0, 1}
        made = walk.last
        walk.make(1)
        assert (walk.last, machine.book.later[0].state) == (made, "scheduled")
        # Once they are good they are charged, and not asked about again for ten days.
        machine.a_bank_thinks_otherwise(2, 0, "approve")
        machine.a_bank_thinks_otherwise(3, 0, "approve")
        walk.make(0)
        walk.collect(rebill=True)
        assert [one.who for one in walk.payments[made + 1 :]] == [3, 2, 2, 2]
        machine.time_passes(8, [(2, "40.00")], False)
        machine.a_bank_thinks_otherwise(2, 0, "technical_problem")
        last = walk.last
        assert walk.collect(rebill=True) > last
        # One that is not good for good is set aside.
        machine.time_passes(3, [(2, "40.00")], False)
        machine.a_bank_thinks_otherwise(2, 0, "hard_decline")
        last = walk.last
        walk.collect(rebill=True)
        assert (walk.last, machine.book.cards[2][0].state) == (last, "bad")


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PAY-3", "PAY-6", "PAY-32")
def test_no_sequence_of_rules_breaks_the_books(processor: Processor) -> None:
    machine = type("Machine", (EveryRule,), {"processor": processor})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=not SHRINKING,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, *SHRINKING], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
