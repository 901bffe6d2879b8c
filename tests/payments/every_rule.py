"""What is done: payers, CSRs, runs, processors, banks and dying workers, in any sequence, or led by hand on a walk.

``worlds`` says in what it is done; after every rule it is learned what happened, and what must hold is checked: ``invariants``.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from billing import tenancy
from billing.errors import Conflict
from billing.models import Chunk, CustomerStatus
from billing.operations import customers
from payments.gateways.base import Answer
from payments.gateways.base import ProcessorEvent as Told
from payments.models import Attempt, Case, Channel, Fee, Payment, ProcessorEvent, Reversal, ScheduledPayment
from payments.operations import (
    authorizations,
    cases,
    charges,
    collections,
    confirmations,
    deposits,
    enrolments,
    fees,
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
)
from payments.operations.collections import Options
from tests.payments.invariants import SETTLE, WINDOW
from tests.payments.second_book import APPROVED, DAY, LEAST, ZERO, Bill, Later, Paying, Plan
from tests.payments.worlds import ACCOUNTS, ALMA, AMOUNTS, CLARA, RELEASE_DAYS, SYSTEM, World, try_to
from tests.processor import Processor

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


class EveryRule(World):
    """What payers, CSRs, runs, banks, processors and dying workers do, each a rule."""

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

    # --- Methods

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
        refusal, _sent = try_to(
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
