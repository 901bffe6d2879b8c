"""The world in which anything is done: accounts of one biller with their methods, its processor, a clock, and what may fail.

``every_rule`` is what is done in it, ``invariants`` what must hold after that.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, TypeVar

import pytest
import time_machine
from django.db import connection
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from billing import advanced_settings, failpoints, tenancy
from billing.actors import Actor, Requestor
from billing.errors import DomainError
from billing.models import Item
from payments.books import CHECKS
from payments.models import Instrument, RetryLimit
from payments.operations import enrolments, fee_rules, groups, instruments, recoveries, verifications
from tests import databases
from tests.factories import make_biller, make_customer, make_endpoint, make_link, make_route, make_user
from tests.invoice_files import Bill as FileBill
from tests.invoice_files import load, name_of, receive, write
from tests.payments.invariants import SETTLE, WINDOW, Invariants
from tests.payments.second_book import (
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
    Card,
    SecondBook,
    Token,
)

_Given = TypeVar("_Given")

RELEASE_DAYS = 2
ACCOUNTS = (0, 1, 2, 3)
# What bills of one household name that are due at once.
HOUSEHOLD = "1234-77"
AMOUNTS = ("40.00", "61.50", "99.99", "3.00")
SYSTEM = Actor.system("machine")
CLARA = Actor(Requestor.CSR, "Clara")
ALMA = Actor(Requestor.PAYER, "Alma")


class Death(BaseException):
    """A worker died: what it had committed stands, and nothing more is done."""


def _die() -> None:
    raise Death


def try_to(act: Callable[[], _Given]) -> tuple[str, _Given | None]:
    """Do it, and give the name of the refusal and what was given."""
    try:
        return "", act()
    except DomainError as refused:
        return type(refused).__name__, None


class World(Invariants):
    """A few accounts of one biller, their cards and bank accounts, a processor that may be wrong, and workers that may die."""

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

    # --- What goes wrong, and what is refused

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
        found, given = try_to(act)
        assert found == refusal
        assert before is None or self._rows() == before
        return given

    def _unchanged(self, act: Callable[[], _Given]) -> _Given:
        before = self._rows()
        try:
            return act()
        finally:
            assert self._rows() == before

    # --- At rest

    def _recover(self) -> None:
        nothing = datetime.timedelta(0)
        recoveries.recover(biller=self.biller, actor=SYSTEM, least_age=nothing, pause=nothing)

    def _come_to_rest(self) -> None:
        """Recover until nothing changes."""
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
        self._check_at_rest()
