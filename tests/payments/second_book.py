"""A second book of what must be, kept from the requirements alone; it shares no code with the engine.

Bills are paid oldest first. What is held for a payment on its way is nobody else's. What goes back takes the payment's own
credit first, then what it had paid, the newest bill first. A soft decline is tried again on days counted from the first one;
a hard one sets the card aside wherever it is on file; the card networks allow so many declines in a day and in thirty.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal("0.00")
DAY = datetime.timedelta(days=1)
RETRY_DAYS = (1, 3)
PER_DAY, PER_MONTH = 2, 5
LEAST = Decimal("2.00")

# What the simulated processor's own words mean.
APPROVED, SOFT, HARD = {"100"}, {"302"}, {"301", "303"}
NOBODY_ASKED = {"101", "500", "503", ""}


@dataclass(eq=False)
class Bill:
    """One bill; ``on`` is the day on which AutoPay takes it, ``first`` that of its first decline."""

    item: int
    amount: Decimal
    due: datetime.date
    on: datetime.date | None
    first: datetime.date | None = None
    held: dict[str, Decimal] = field(default_factory=dict)
    paid: dict[str, Decimal] = field(default_factory=dict)

    @property
    def open(self) -> Decimal:
        return self.amount - sum(self.paid.values(), ZERO)

    @property
    def reserved(self) -> Decimal:
        return sum(self.held.values(), ZERO)


@dataclass(eq=False)
class Token:
    """A card as the processor knows it: how it behaves, and when it was declined."""

    name: str
    outcome: str = "approve"
    declined: list[datetime.datetime] = field(default_factory=list)
    last: datetime.datetime | None = None


@dataclass(eq=False)
class Card:
    """A card on file at one account: active, bad or removed."""

    id: str
    who: int
    token: Token
    state: str = "active"


@dataclass(eq=False)
class Paying:
    """A payment, and what became of it; ``parts`` are what it holds or pays of bills, ``last`` its last message after the first."""

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


@dataclass(eq=False)
class Try:
    """One message to the processor whose outcome is open."""

    key: str
    paying: Paying
    command: str
    amount: Decimal
    made: datetime.datetime
    sent: datetime.datetime


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

    # --- What is due

    def credit(self, who: int) -> Decimal:
        return sum((one.credit for one in self.payments.values() if one.who == who), ZERO)

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

    def to_collect(
        self, today: datetime.date, start_of_day: datetime.datetime, *, rebill: bool = False, least: Decimal = LEAST
    ) -> list[Plan]:
        """What AutoPay takes today: bills of today and yesterday that nobody holds, up to what is due."""
        plans = []
        for who, bills in self.bills.items():
            card = self.autopay.get(who)
            if card is None or card.state != "active":
                continue
            if rebill and card.token.last is not None and card.token.last >= start_of_day:
                continue
            wanted = [
                bill
                for bill in bills
                if bill.open >= least
                and not bill.reserved
                and (rebill or (bill.on is not None and today - DAY <= bill.on <= today))
            ]
            room = max(ZERO, self.full(who) - self.reserved(who))
            for bill in wanted:
                amount = min(bill.open, room)
                if amount < bill.open and amount < least:
                    amount = ZERO
                if amount:
                    plans.append(Plan(who, card, amount, 3, {bill: amount}))
                room -= amount
        return plans

    def to_make(self, today: datetime.date, now: datetime.datetime) -> tuple[list[Plan], dict[str, str]]:
        """What is scheduled and made today, and how what is not made ends."""
        plans, ends = [], {}
        left: dict[Token, int | None] = {}
        for one in self.later:
            if one.state != "scheduled" or one.on > today:
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

    def left(self, token: Token, now: datetime.datetime) -> int | None:
        """How often a card may still be charged, nothing where it was not declined lately."""
        if token.last is None or token.last <= now - 30 * DAY:
            return None
        tried = [
            *token.declined,
            *(
                one.made
                for one in self.tries.values()
                if one.paying.card is not None
                and one.paying.card.token is token
                and one.command in {"charge", "authorize"}
            ),
        ]
        in_day = sum(moment > now - DAY for moment in tried)
        in_month = sum(moment > now - 30 * DAY for moment in tried)
        return max(0, min(PER_DAY - in_day, PER_MONTH - in_month))

    # --- What happens

    def billed(self, who: int, item: int, amount: Decimal, due: datetime.date, today: datetime.date) -> None:
        """Owe a bill, collected when it is due, or with an earlier one of the account that AutoPay may yet take."""
        earlier = [
            bill.on
            for bill in self.bills[who]
            if bill.on is not None and bill.on >= today - DAY and bill.first is None and bill.open > bill.reserved
        ]
        self.bills[who].append(Bill(item, amount, due, max(today, min([due, *earlier]))))

    def begin(self, id_: str, plan: Plan, key: str, command: str, now: datetime.datetime) -> Paying:
        """Begin a payment, which holds its parts."""
        one = Paying(id_, plan.who, plan.card, plan.amount, plan.channel, now, plan.parts)
        self.payments[id_] = one
        for bill, part in plan.parts.items():
            bill.held[id_] = part
        self.tries[key] = Try(key, one, command, plan.amount, now, now)
        return one

    def end(self, key: str, code: str, today: datetime.date, now: datetime.datetime) -> None:
        """Let an answer have its effect; an empty code says that it never came to the processor."""
        one = self.tries.pop(key)
        paying, passed = one.paying, code in APPROVED
        if one.command == "refund":
            if passed:
                self.back(paying, one.amount)
        elif one.command == "release" and code not in NOBODY_ASKED:
            # Let go by the processor, or by the bank when its time is over.
            self.fail(paying, None, "", today, now)
        elif one.command == "authorize" and passed:
            paying.state, paying.held_on = "authorized", one.made.date() if paying.held_on is None else paying.held_on
        elif one.command in {"deposit", "release"} and code in NOBODY_ASKED:
            paying.state = "authorized"
        elif passed:
            paying.charge = key
            self.post(paying)
        else:
            self.fail(paying, one, code, today, now)

    def post(self, paying: Paying) -> None:
        """Pay what was held; the rest is the customer's credit."""
        paying.state = "posted"
        for bill, part in paying.parts.items():
            del bill.held[paying.id]
            bill.paid[paying.id] = part
        paying.credit = paying.amount - sum(paying.parts.values(), ZERO)
        self._scheduled(paying, "paid")

    def fail(self, paying: Paying, one: Try | None, code: str, today: datetime.date, now: datetime.datetime) -> None:
        """Let go of what was held, and see when it is tried again."""
        paying.state = "failed"
        for bill in paying.parts:
            del bill.held[paying.id]
        asked = code not in NOBODY_ASKED
        if asked and paying.channel == 3:
            for bill in paying.parts:
                bill.first = bill.first or today
                last = min(bill.on or today, today)
                days = [bill.first + n * DAY for n in RETRY_DAYS]
                bill.on = min((day for day in days if day > last and day >= today), default=None)
                if code not in SOFT:
                    bill.on = None
        if asked and paying.card is not None and one is not None:
            token = paying.card.token
            token.last = now
            if one.command in {"charge", "authorize"}:
                token.declined.append(one.made)
            if code in HARD:
                for card in self.all_cards():
                    if card.token is token and card.state == "active":
                        card.state = "bad"
        self._scheduled(paying, "failed" if asked else "scheduled")

    def _scheduled(self, paying: Paying, state: str) -> None:
        for later in self.later:
            if later.paying is paying and later.state == "processing":
                later.state = state

    def back(self, paying: Paying, amount: Decimal) -> Decimal:
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
        self.losses += loss
        return loss

    def returned(self, paying: Paying, amount: Decimal, now: datetime.datetime) -> None:
        """Take a debit back that the bank returned; it counts as a decline of its card, once."""
        self.back(paying, amount)
        if paying.card is not None:
            paying.card.token.last = now
            if not paying.returned:
                paying.card.token.declined.append(paying.made)
        paying.returned = True

    def charged_back(self, paying: Paying, amount: Decimal) -> None:
        """Take a chargeback back from a payment."""
        paying.charged_back += amount - self.back(paying, amount)

    def won(self, paying: Paying, amount: Decimal) -> None:
        """Give a payment what a chargeback had taken of it; it is the customer's credit."""
        given = min(amount, paying.charged_back)
        paying.charged_back -= given
        paying.undone -= given
        paying.credit += given
        paying.state = "reversed" if paying.undone == paying.amount else "posted"
        self.losses -= amount - given

    def on_calendar(self, who: int, today: datetime.date) -> None:
        """Have AutoPay take what is open from today on, each bill on its day."""
        for bill in self.bills[who]:
            on = max(bill.on or bill.due, today)
            if bill.open and on != bill.on:
                bill.on, bill.first = on, None

    # --- Looking around

    def all_cards(self) -> Iterable[Card]:
        return (card for cards in self.cards.values() for card in cards)

    def live(self, who: int) -> Later | None:
        return next((one for one in self.later if one.who == who and one.state in {"scheduled", "processing"}), None)

    def standing(self, *states: str) -> Sequence[Paying]:
        return [one for one in self.payments.values() if one.state in states]
