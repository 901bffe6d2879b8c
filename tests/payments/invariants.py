"""What must hold of the books after every rule, whatever was done: it is learned what happened, and compared.

What happened is seen in our attempts and in the processor's own book; the second book is told. Then both books, and all rows
that money stands in, must be as they must. ``every_rule`` is what is done.
"""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import F
from django.utils import timezone
from hypothesis.stateful import RuleBasedStateMachine

from billing.models import Customer, Entry, Item
from payments.books import CHECKS, Check
from payments.models import (
    Attempt,
    Case,
    Channel,
    Fee,
    Instrument,
    Payment,
    Route,
    ScheduledPayment,
    UnconfirmedPayment,
    Verification,
)
from tests.payments.second_book import APPROVED, ZERO, Paying, Plan, SecondBook, Token
from tests.processor import Processor

SETTLE = datetime.timedelta(minutes=5)
WINDOW = datetime.timedelta(days=7)

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


class Invariants(RuleBasedStateMachine):
    """What is known of one biller, its second book and its processor, and what must be so of them."""

    processor: Processor
    route: Route
    customers: list[Customer]
    who_is: dict[int, int]
    book: SecondBook
    deduplicates: bool
    fee_is_for: dict[int, str]

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, dict[str, str]] = {table: {} for table in MOVES}
        self.journal = ("", 0)
        # What banks moved of each charge, and the messages whose outcome the second book has.
        self.moved: dict[str, Decimal] = {}
        self.ended: set[str] = set()

    @property
    def now(self) -> datetime.datetime:
        return timezone.now()

    @property
    def today(self) -> datetime.date:
        return self.now.date()

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

    # --- How it is learned what happened

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

    def _find_fees(self) -> None:
        """Give the second book the items of the fees that it knows of."""
        rows = Fee.objects.values_list("item_id", "rule_id", "payment_id", "late_bill__invoice_id")
        bills = dict(Item.objects.filter(kind="bill").values_list("invoice_id", "id"))
        self.book.found({
            (self.fee_is_for[rule], str(payment)) if rule is not None else ("late", str(bills[invoice])): item
            for item, rule, payment, invoice in rows
        })  # fmt: skip

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

    def _check_at_rest(self) -> None:
        """Every outcome is known, or a person has a case of it (13, 42)."""
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
