"""A second book of what must be, kept from the requirements alone; it shares no code with the engine.

Bills are paid oldest first. What is held for a payment on its way is nobody else's. What goes back takes the payment's own
credit first, then what it had paid, the newest bill first. A soft decline is tried again on days counted from the first one;
a hard one sets the card aside wherever it is on file; the networks allow so many declines in a day and in thirty. A bank
debit that was posted waits for two banking days; a bank may return it at any time. Fees are owed beside the bills, are never
taken by AutoPay, and are taken back once. An account that is late with much is set inactive, and AutoPay leaves it to runs for
such accounts. AutoPay charges the bills of a household that name one group at once, each a payment.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

ZERO = Decimal("0.00")
DAY = datetime.timedelta(days=1)
RETRY_DAYS = (1, 3)
LEAST = Decimal("2.00")
# How often a card or a bank account may be tried in a day and in thirty once it was declined.
LIMITS: dict[str, tuple[int | None, int]] = {"card": (2, 5), "bank": (None, 3)}
CONFIRMED_AFTER = 2
# After so many days a bank account is verified again before it is charged, where the biller wants that.
VERIFIED_FOR = 10 * DAY

# What is charged for a payment that fails, for a debit that a bank returns, and for a bill that is late.
FAILED_FEE, FAILED_LEAST = Decimal("7.50"), Decimal("10.00")
RETURNED_PERCENT, RETURNED_LEAST, RETURNED_MOST = Decimal(10), Decimal("2.00"), Decimal("5.00")
LATE_DAYS, LATE_FEE, LATE_LEAST = 2, Decimal("1.25"), Decimal("10.00")
INACTIVE_DAYS, INACTIVE_LEAST = 4, Decimal("50.00")
LATE_FOR = 90 * DAY

# What the simulated processor's own words mean.
APPROVED, SOFT, HARD = {"100"}, {"302"}, {"301", "303"}
NOBODY_ASKED = {"101", "500", "503", ""}
# What banks give for a return: for want of funds or of an account, and for good.
FOR_MONEY, FOR_GOOD = {"R01", "R02", "R03"}, {"R02", "R03", "R07", "R10", "R29"}

_HOLIDAYS = {(1, 1), (6, 19), (7, 4), (11, 11), (12, 25)}
# Month, day of the week, and which of these in the month.
_MOVING = {(1, 0, 3), (2, 0, 3), (9, 0, 1), (10, 0, 2), (11, 3, 4)}


def banking_day(day: datetime.date) -> bool:
    """Say whether the Federal Reserve moves money on a day."""
    if day.weekday() > 4 or (day.month, day.day) in _HOLIDAYS:
        return False
    sunday = day - DAY
    if day.weekday() == 0 and (sunday.month, sunday.day) in _HOLIDAYS:
        return False
    if (day.month, day.weekday(), (day.day + 6) // 7) in _MOVING:
        return False
    return not (day.month == 5 and day.weekday() == 0 and day.day > 24)


def banking_days_after(day: datetime.date, count: int) -> datetime.date:
    """Give the banking day that is so many of them after a day."""
    while count:
        day += DAY
        count -= 1 if banking_day(day) else 0
    return day


@dataclass(eq=False)
class Bill:
    """One bill, or a fee; ``on`` is the day on which AutoPay takes it, ``first`` that of its first decline.

    ``fee`` says of a fee what it is for, and of which payment or bill; its ``item`` is none until it has been found. ``off`` is
    what of it was taken back while it was open. ``late`` says of a bill that a fee was charged because it is late, ``missed`` that
    its account was to be inactive because of it.
    """

    item: int
    amount: Decimal
    due: datetime.date
    on: datetime.date | None
    first: datetime.date | None = None
    held: dict[str, Decimal] = field(default_factory=dict)
    paid: dict[str, Decimal] = field(default_factory=dict)
    fee: tuple[str, str] | None = None
    off: Decimal = ZERO
    waived: bool = False
    late: bool = False
    missed: bool = False
    group: str = ""

    @property
    def open(self) -> Decimal:
        return self.amount - sum(self.paid.values(), ZERO) - self.off

    @property
    def reserved(self) -> Decimal:
        return sum(self.held.values(), ZERO)


@dataclass(eq=False)
class Token:
    """A card or a bank account as the processor knows it: how it behaves, and when it was declined."""

    name: str
    kind: str = "card"
    outcome: str = "approve"
    declined: list[datetime.datetime] = field(default_factory=list)
    last: datetime.datetime | None = None


@dataclass(eq=False)
class Card:
    """A card or a bank account on file at one account: active, bad or removed; ``verified`` is when that was last asked."""

    id: str
    who: int
    token: Token
    verified: datetime.datetime
    state: str = "active"


@dataclass(eq=False)
class Paying:
    """A payment, and what became of it; ``parts`` are what it holds or pays of bills, ``last`` its last message after the first.

    ``confirmation`` is that of a bank debit, which waits ``until`` a day; ``foretold`` is what a person said that the bank
    returned, and the bank has not said yet. ``mates`` are all payments that one charge moves, in the order of their ids.
    """

    id: str
    who: int
    card: Card | None
    amount: Decimal
    channel: int
    made: datetime.datetime
    parts: dict[Bill, Decimal]
    state: str = "processing"
    credit: Decimal = ZERO
    undone: Decimal = ZERO
    charged_back: Decimal = ZERO
    held_on: datetime.date | None = None
    charge: str = ""
    disputed: bool = False
    returned: bool = False
    last: str = ""
    confirmation: str = ""
    until: datetime.date | None = None
    foretold: Decimal = ZERO
    disputed_over: Decimal = ZERO
    mates: list[Paying] = field(default_factory=list)


@dataclass(eq=False)
class Try:
    """One message to the processor whose outcome is open."""

    key: str
    paying: Paying
    command: str
    amount: Decimal
    made: datetime.datetime

    @property
    def payings(self) -> list[Paying]:
        """The payments that it is about: of a charge all that it moves."""
        return self.paying.mates if self.command == "charge" else [self.paying]


@dataclass(eq=False)
class Plan:
    """A payment that is to be made."""

    who: int
    card: Card
    amount: Decimal
    channel: int
    parts: dict[Bill, Decimal]


@dataclass(eq=False)
class Later:
    """A scheduled payment: waiting, processing, or how it ended."""

    id: str
    who: int
    card: Card
    on: datetime.date
    most: Decimal | None
    state: str = "scheduled"
    paying: Paying | None = None


@dataclass
class SecondBook:
    """All that must be, for a few accounts of one biller."""

    bills: dict[int, list[Bill]]
    cards: dict[int, list[Card]] = field(default_factory=dict)
    autopay: dict[int, Card | None] = field(default_factory=dict)
    payments: dict[str, Paying] = field(default_factory=dict)
    tries: dict[str, Try] = field(default_factory=dict)
    later: list[Later] = field(default_factory=list)
    losses: Decimal = ZERO
    # What of fees was taken back after it had been paid, or while it was being paid, by account.
    waived: dict[int, Decimal] = field(default_factory=dict)
    # Until when banks were asked for returns, and since when bills may be late.
    asked_until: datetime.date | None = None
    late_from: datetime.date | None = None
    # Accounts that are not served as others are: inactive or closed.
    status: dict[int, str] = field(default_factory=dict)
    verifies_again: bool = False

    # --- What is due

    def credit(self, who: int) -> Decimal:
        return sum((one.credit for one in self.payments.values() if one.who == who), self.waived.get(who, ZERO))

    def owed(self, who: int) -> Decimal:
        return sum((bill.open for bill in self.bills[who]), ZERO)

    def reserved(self, who: int) -> Decimal:
        return sum((bill.reserved for bill in self.bills[who]), ZERO)

    def full(self, who: int) -> Decimal:
        """What is due: what is open less credits."""
        return max(ZERO, self.owed(who) - self.credit(who))

    def free(self, who: int) -> Decimal:
        """What nobody holds of what is open."""
        return self.owed(who) - self.reserved(who)

    def balance(self, who: int) -> Decimal:
        return self.owed(who) - self.credit(who)

    def parts(self, who: int, amount: Decimal) -> dict[Bill, Decimal]:
        """Hold an amount of what is free, the oldest bill first."""
        parts: dict[Bill, Decimal] = {}
        for bill in self.bills[who]:
            part = min(amount, bill.open - bill.reserved)
            if part > 0:
                parts[bill] = part
                amount -= part
        return parts

    def refusal(self, who: int, card: Card, amount: Decimal, *, payer: bool, now: datetime.datetime) -> str:
        """Say by its name why somebody may not pay like this; empty where they may."""
        if card.state != "active" or card.who != who or self.left(card.token, now) == 0:
            return "MethodUnusable"
        full, free = self.full(who), self.free(who)
        if amount <= 0:
            return "AmountRefused"
        if payer and full == 0:
            return "NothingDue"
        if payer and amount > full:
            return "AmountRefused"
        if full > 0 and free < min(amount, full):
            return "AlreadyBeingPaid"
        return ""

    # --- What runs take

    def wanted(
        self,
        today: datetime.date,
        start_of_day: datetime.datetime,
        *,
        rebill: bool,
        least: Decimal,
        status: str = "active",
    ) -> dict[int, tuple[Card, list[Bill]]]:
        """Which bills of which accounts AutoPay would take today, by which card: of today and yesterday, held by nobody."""
        found = {}
        for who, bills in self.bills.items():
            card = self.autopay.get(who)
            if card is None or card.state != "active" or self.status.get(who, "active") != status:
                continue
            if rebill and card.token.last is not None and card.token.last >= start_of_day:
                continue
            found[who] = (
                card,
                [
                    bill
                    for bill in bills
                    if bill.fee is None
                    and bill.open >= least
                    and not bill.reserved
                    and (rebill or (bill.on is not None and today - DAY <= bill.on <= today))
                ],
            )
        return found

    def to_collect(self, wanted: dict[int, tuple[Card, list[Bill]]], *, least: Decimal) -> list[Plan]:
        """What AutoPay takes of them, the oldest first: up to what is due."""
        plans = []
        for who, (card, bills) in wanted.items():
            room = max(ZERO, self.full(who) - self.reserved(who))
            for bill in bills:
                amount = min(bill.open, room)
                if amount < bill.open and amount < least:
                    amount = ZERO
                if amount:
                    plans.append(Plan(who, card, amount, 3, {bill: amount}))
                room -= amount
        return plans

    def households(self, plans: Sequence[Plan]) -> list[set[int]]:
        """The bills that are charged at once: of one group and card, where more than one account has a part in it."""
        found: dict[tuple[str, Token], list[Plan]] = {}
        for plan in plans:
            (bill,) = plan.parts
            if bill.group:
                found.setdefault((bill.group, plan.card.token), []).append(plan)
        return [
            {bill.item for plan in some for bill in plan.parts}
            for some in found.values()
            if len({plan.who for plan in some}) > 1
        ]

    def to_make(
        self, today: datetime.date, now: datetime.datetime, *, but: Iterable[int] = ()
    ) -> tuple[list[Plan], dict[str, str]]:
        """What is scheduled and made today, but of some accounts, and how what is not made ends."""
        plans, ends = [], {}
        left: dict[Token, int | None] = {}
        for one in self.later:
            if one.state != "scheduled" or one.on > today or one.who in but:
                continue
            full, free = self.full(one.who), self.full(one.who) - self.reserved(one.who)
            left.setdefault(one.card.token, self.left(one.card.token, now))
            if full <= 0:
                ends[one.id] = "nothing_due"
            elif free <= 0:
                continue
            elif one.on < today - 7 * DAY or one.card.state != "active" or left[one.card.token] == 0:
                ends[one.id] = "failed"
            else:
                amount = free if one.most is None else min(one.most, free)
                plans.append(Plan(one.who, one.card, amount, 4, self.parts(one.who, amount)))
        return plans, ends

    def to_verify(self, cards: Iterable[Card], now: datetime.datetime) -> list[Card]:
        """Which bank accounts of some must be verified again before they are charged."""
        if not self.verifies_again:
            return []
        return [card for card in cards if card.token.kind == "bank" and card.verified < now - VERIFIED_FOR]

    def verify(self, cards: Iterable[Card], now: datetime.datetime) -> set[int]:
        """Verify bank accounts again: what is not good for good is set aside. Gives the accounts that are not charged now."""
        unsure = set()
        for card in cards:
            # An account without money is an account.
            if card.token.outcome in {"approve", "soft_decline"}:
                card.verified = now
            else:
                unsure.add(card.who)
                if card.token.outcome == "hard_decline":
                    card.token.last = now
                    self._set_aside(card.token)
        return unsure

    def left(self, token: Token, now: datetime.datetime) -> int | None:
        """How often a card may still be charged, nothing where it was not declined lately."""
        if token.last is None or token.last <= now - 30 * DAY:
            return None
        tried = self._tried(token)
        per_day, per_month = LIMITS[token.kind]
        in_month = per_month - sum(moment > now - 30 * DAY for moment in tried)
        in_day = in_month if per_day is None else per_day - sum(moment > now - DAY for moment in tried)
        return max(0, min(in_day, in_month))

    def days_of_tries(self, token: Token, today: datetime.date) -> set[datetime.date]:
        """On which days a card that may not be tried may be tried again: when a decline is a day or thirty old, or tomorrow."""
        return {today + DAY, *((moment + n * DAY).date() for moment in self._tried(token) for n in (1, 30))}

    def _tried(self, token: Token) -> list[datetime.datetime]:
        """When a card was declined, or charged with an outcome that is not known."""
        return [
            *token.declined,
            *(
                one.made
                for one in self.tries.values()
                if one.paying.card is not None
                and one.paying.card.token is token
                and one.command in {"charge", "authorize"}
            ),
        ]

    # --- What happens

    def billed(
        self, who: int, item: int, amount: Decimal, due: datetime.date, today: datetime.date, group: str = ""
    ) -> None:
        """Owe a bill, collected when it is due, or with an earlier one of the account that AutoPay may yet take."""
        earlier = [
            bill.on
            for bill in self.bills[who]
            if bill.on is not None and bill.on >= today - DAY and bill.first is None and bill.open > bill.reserved
        ]
        self.bills[who].append(Bill(item, amount, due, max(today, min([due, *earlier])), group=group))

    def begin(self, id_: str, plan: Plan, now: datetime.datetime) -> Paying:
        """Begin a payment, which holds its parts."""
        one = Paying(id_, plan.who, plan.card, plan.amount, plan.channel, now, plan.parts)
        self.payments[id_] = one
        for bill, part in plan.parts.items():
            bill.held[id_] = part
        one.mates = [one]
        return one

    def ask(self, key: str, paying: Paying, command: str, amount: Decimal, now: datetime.datetime) -> None:
        """Have a message go out whose outcome is open."""
        self.tries[key] = Try(key, paying, command, amount, now)

    def end(self, key: str, code: str, today: datetime.date, now: datetime.datetime) -> None:
        """Let an answer have its effect; an empty code says that it never came to the processor."""
        one = self.tries.pop(key)
        paying, passed = one.paying, code in APPROVED
        if one.command == "refund":
            if passed:
                self.back(paying, one.amount)
        elif one.command == "release" and code not in NOBODY_ASKED:
            # Let go by the processor, or by the bank when its time is over.
            self.fail(one, "", today, now)
        elif one.command == "authorize" and passed:
            paying.state, paying.held_on = "authorized", one.made.date() if paying.held_on is None else paying.held_on
        elif one.command in {"deposit", "release"} and code in NOBODY_ASKED:
            paying.state = "authorized"
        elif passed:
            for each in one.payings:
                each.charge = key
                self.post(each, today)
        else:
            self.fail(one, code, today, now)

    def post(self, paying: Paying, today: datetime.date) -> None:
        """Pay what was held; the rest is the customer's credit. What a bank moves has yet to be made good."""
        paying.state = "posted"
        if paying.card is not None and paying.card.token.kind == "bank":
            paying.confirmation, paying.until = "waiting", banking_days_after(today, CONFIRMED_AFTER)
        for bill, part in paying.parts.items():
            del bill.held[paying.id]
            bill.paid[paying.id] = part
        paying.credit = paying.amount - sum(paying.parts.values(), ZERO)
        self._scheduled(paying, "paid")

    def fail(self, one: Try, code: str, today: datetime.date, now: datetime.datetime) -> None:
        """Let go of what was held, and see when it is tried again; what one charge was for has failed once."""
        asked, first = code not in NOBODY_ASKED, one.paying
        for paying in one.payings:
            paying.state = "failed"
            for bill in paying.parts:
                del bill.held[paying.id]
                if asked and paying.channel == 3:
                    self._try_again(bill, code, today)
            self._scheduled(paying, "failed" if asked else "scheduled")
        if asked and first.card is not None:
            token = first.card.token
            token.last = now
            if one.command in {"charge", "authorize"}:
                token.declined.append(one.made)
            if code in HARD:
                self._set_aside(token)
        bills = [bill for paying in one.payings for bill in paying.parts]
        tried_again = code in SOFT and first.channel == 3 and any(bill.open and bill.on for bill in bills)
        amount = sum((paying.amount for paying in one.payings), ZERO)
        if code in SOFT | HARD and amount >= FAILED_LEAST and not tried_again:
            self._charge(first.who, FAILED_FEE, "failed", first.id)

    def _try_again(self, bill: Bill, code: str, today: datetime.date) -> None:
        bill.first = bill.first or today
        last = min(bill.on or today, today)
        days = [bill.first + n * DAY for n in RETRY_DAYS]
        bill.on = min((day for day in days if day > last and day >= today), default=None) if code in SOFT else None

    def _set_aside(self, token: Token) -> None:
        for card in self.all_cards():
            if card.token is token and card.state == "active":
                card.state = "bad"

    def _charge(self, who: int, amount: Decimal, what: str, of: str) -> None:
        self.bills[who].append(Bill(0, amount, datetime.date.max, None, fee=(what, of)))

    def found(self, items: dict[tuple[str, str], int]) -> None:
        """Give fees that were just charged their items, by what each is for."""
        for bills in self.bills.values():
            for bill in bills:
                if bill.fee is not None and not bill.item:
                    bill.item = items.get(bill.fee, 0)
            bills.sort(key=lambda bill: bill.item)

    def waive(self, who: int, fee: Bill) -> None:
        """Take a fee back: what is open of it and held by nobody is owed no more, the rest is the customer's credit."""
        fee.waived, fee.off = True, fee.open - fee.reserved
        self.waived[who] = self.waived.get(who, ZERO) + fee.amount - fee.off

    def act_on_late(self, today: datetime.date) -> tuple[int, Decimal, int]:
        """Charge once for each bill that is late by so many days, and set the accounts of others inactive.

        Credits are taken off the oldest bill first. Gives the number and sum of fees, and that of accounts.
        """
        late = self._late(today, LATE_DAYS, LATE_LEAST)
        missed = self._late(today, INACTIVE_DAYS, INACTIVE_LEAST)
        fees = [(who, bill) for who, bill in late if not bill.late]
        for who, bill in fees:
            bill.late = True
            self._charge(who, LATE_FEE, "late", str(bill.item))
        news = [(who, bill) for who, bill in missed if not bill.missed]
        for _who, bill in news:
            bill.missed = True
        accounts = {who for who, _bill in news if self.status.get(who, "active") == "active"}
        self.status.update(dict.fromkeys(accounts, "inactive"))
        return len(fees), len(fees) * LATE_FEE, len(accounts)

    def _late(self, today: datetime.date, days: int, least: Decimal) -> list[tuple[int, Bill]]:
        """Which bills were due so many days ago, and still owe so much."""
        assert self.late_from is not None
        last = today - days * DAY
        first = max(self.late_from, last - LATE_FOR)
        found = []
        for who, bills in self.bills.items():
            on_its_way = any(paying.who == who for one in self.tries.values() for paying in one.payings)
            if on_its_way or any(one.who == who for one in self.standing("authorized")):
                continue
            owed = -self.credit(who)
            for bill in sorted((bill for bill in bills if bill.fee is None), key=lambda bill: (bill.due, bill.item)):
                owed += bill.open
                if first <= bill.due <= last and min(bill.open, owed) >= least and not bill.reserved:
                    found.append((who, bill))
        return found

    def _scheduled(self, paying: Paying, state: str) -> None:
        for later in self.later:
            if later.paying is paying and later.state == "processing":
                later.state = state

    def back(self, paying: Paying, amount: Decimal, why: str = "given_back") -> Decimal:
        """Take an amount back from a payment; gives what is nobody's debt, because more went back than was paid."""
        loss = max(ZERO, amount - (paying.amount - paying.undone))
        amount -= loss
        paying.undone += amount
        part = min(amount, paying.credit)
        paying.credit -= part
        amount -= part
        for bill in sorted(paying.parts, key=lambda bill: -bill.item):
            part = min(amount, bill.paid.get(paying.id, ZERO))
            if part:
                bill.paid[paying.id] -= part
                bill.on = None
                amount -= part
        assert amount == 0
        paying.state = "reversed" if paying.undone == paying.amount else "posted"
        if paying.state == "reversed" and paying.confirmation == "waiting":
            paying.confirmation = why
        self.losses += loss
        return loss

    def returned(self, charge: Paying, amount: Decimal, code: str, now: datetime.datetime) -> None:
        """Take a charge back that the bank returned; it counts as a decline of its card, once.

        What a person had told of before has been taken back already; the rest goes back of the other payments.
        """
        known = [one for one in charge.mates if one.foretold]
        rest = [one for one in charge.mates if not one.foretold]
        for one in known:
            amount -= one.foretold
            one.foretold = ZERO
            self._charge_for_return(one, code)
        if not rest and amount:
            self.back(known[0], amount, "failed")
        elif amount:
            for one, part in self._split(rest, amount, {one.id: one.amount - one.undone for one in rest}):
                if part - self.back(one, part, "failed"):
                    self._charge_for_return(one, code)
        if charge.card is not None:
            charge.card.token.last = now
            if code in FOR_GOOD:
                self._set_aside(charge.card.token)
        self._declined_by_return(charge)

    def _charge_for_return(self, paying: Paying, code: str) -> None:
        """Charge for a bank's return for want of money: once for what one charge moved, by all of its money."""
        if code not in FOR_MONEY or paying.card is None or paying.card.token.kind != "bank":
            return
        mates = {("returned", one.id) for one in paying.mates}
        if any(bill.fee in mates for bills in self.bills.values() for bill in bills):
            return
        total = sum((one.amount for one in paying.mates), ZERO)
        of_it = (total * RETURNED_PERCENT / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
        self._charge(paying.who, max(RETURNED_LEAST, min(RETURNED_MOST, of_it)), "returned", paying.id)

    def _declined_by_return(self, paying: Paying) -> None:
        if paying.card is not None and not paying.returned:
            paying.card.token.declined.append(paying.made)
        for one in paying.mates:
            one.returned = True

    def said_to_have_failed(self, paying: Paying, code: str) -> None:
        """Take a person's word that the bank did not make a debit good: all that is left of it goes back."""
        paying.foretold = paying.amount - paying.undone
        self.back(paying, paying.foretold, "failed")
        self._charge_for_return(paying, code)
        self._declined_by_return(paying)

    def to_confirm(self, today: datetime.date) -> list[Paying]:
        """What no return came for in its days, banks having been asked after them."""
        return [
            one
            for one in self.payments.values()
            if one.confirmation == "waiting" and one.until is not None and one.until < today
            and self.asked_until is not None and self.asked_until > one.until
        ]  # fmt: skip

    def charged_back(self, charge: Paying, amount: Decimal) -> None:
        """Take a chargeback back from what a charge had paid."""
        room = {one.id: one.amount - one.undone for one in charge.mates}
        for paying, part in self._split(charge.mates, amount, room):
            paying.disputed_over += part
            paying.charged_back += part - self.back(paying, part, "failed")

    def won(self, charge: Paying, amount: Decimal) -> None:
        """Give payments what a chargeback had taken of them; it is the customers' credit."""
        for paying, part in self._split(charge.mates, amount, {one.id: one.disputed_over for one in charge.mates}):
            given = min(part, paying.charged_back)
            paying.disputed_over -= part
            paying.charged_back -= given
            paying.undone -= given
            paying.credit += given
            paying.state = "reversed" if paying.undone == paying.amount else "posted"
            self.losses -= part - given

    def _split(
        self, payings: Sequence[Paying], amount: Decimal, room: dict[str, Decimal]
    ) -> list[tuple[Paying, Decimal]]:
        """Part an amount among payments of one charge: each up to its room, and what is left with the first."""
        parts = {}
        for one in payings:
            parts[one.id] = min(amount, room[one.id])
            amount -= parts[one.id]
        parts[payings[0].id] += amount
        return [(one, parts[one.id]) for one in payings if parts[one.id]]

    def on_calendar(self, who: int, today: datetime.date) -> None:
        """Have AutoPay take what is open from today on, each bill on its day."""
        for bill in self.bills[who]:
            on = max(bill.on or bill.due, today)
            if bill.fee is None and bill.open and on != bill.on:
                bill.on, bill.first = on, None

    # --- Looking around

    def all_cards(self) -> Iterable[Card]:
        return (card for cards in self.cards.values() for card in cards)

    def live(self, who: int) -> Later | None:
        return next((one for one in self.later if one.who == who and one.state in {"scheduled", "processing"}), None)

    def standing(self, *states: str) -> Sequence[Paying]:
        return [one for one in self.payments.values() if one.state in states]
