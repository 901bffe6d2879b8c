"""Any sequence of texts, portal actions, repeats, delays and reorderings: no second charge, silence after STOP, exact records.

What is expected is a second book, kept here from the requirements' table alone.
"""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from billing import actors
from billing.errors import DomainError
from datapump.models import ChangeLog, Configuration, Record
from payments.models import Payment
from sms.models import Consent, Line, Phone, SmsMode, Text
from sms.operations import announcements, enrolments, inbound
from sms.providers.base import Inbound
from tests.factories import NOON, make_biller, make_customer, make_endpoint, make_instrument, make_invoice, make_route
from tests.processor import Processor

LINE = "+15055550100"
PHONES = ("+15055550121", "+15055550122", "+15055550123")
CUSTOMERS = (0, 1, 2)
CSR = actors.Actor(actors.Requestor.CSR, "Clara")
PAYER = actors.Actor.payer(None, "Pat Payer")
CONSENT = Consent("By phone.", "Texts.", "1")
WORDS = ("YES", "STOP", "START", "PAY", "ok", "BAL", "HELP", "PAY 2", "pay $10", "cancel", "thanks", "?", "no", "alto")
STOPS, STARTS, YESES, NOES = {"STOP", "cancel", "alto"}, {"START"}, {"YES", "ok"}, {"no"}


@dataclass(frozen=True)
class Book:
    """What the requirements say of one customer: the state, and what the biller's system was told."""

    number: str = ""
    pending: str = ""
    until: datetime.datetime | None = None
    on: bool = False
    stopped: bool = False
    exists: bool = False
    told: tuple[str, ...] = ()
    logs: int = 0

    def become(self, *, tell: str = "", first: bool = False, **changes: object) -> Book:
        after = replace(self, **{"stopped": False, "exists": True, **changes})  # type: ignore[arg-type]
        if first:
            return replace(after, told=(tell,))
        fields = ((self.phone, after.phone), (bool(self.pending), bool(after.pending)), (self.on, after.on))
        changed = sum(old != new for old, new in fields)
        return replace(after, told=(*self.told, tell) if tell else self.told, logs=self.logs + changed)

    @property
    def phone(self) -> str:
        return self.number if self.on else self.pending or self.number


@dataclass
class Net:
    """What has been typed and not yet arrived."""

    waiting: list[Inbound] = field(default_factory=list)
    arrived: list[Inbound] = field(default_factory=list)


class Conversing(RuleBasedStateMachine):
    """The people of one biller, their phones, and a network that repeats, delays and reorders."""

    processor: Processor

    @initialize()
    def begin(self) -> None:
        self.biller = make_biller()
        make_endpoint(self.biller)
        Configuration.objects.update_or_create(biller=self.biller, defaults={"pay_by_text_changes": True})
        self.line = Line.objects.create(biller=self.biller, number=LINE, driver="simulator", options={}, secret="x")
        route = make_route(self.biller, self.processor.url)
        self.customers = [make_customer(self.biller) for _ in CUSTOMERS]
        for customer in self.customers:
            make_instrument(customer, route, self.processor.token(route.merchant), is_default=True)
            make_invoice(customer, "84.10")
        self.merchant = route.merchant
        self.billed = dict.fromkeys(CUSTOMERS, Decimal("84.10"))
        self.books = dict.fromkeys(CUSTOMERS, Book())
        self.out: set[str] = set()
        self.net, self.ids, self.now = Net(), itertools.count(), NOON
        self.last = Counter[str]()
        self.was_out: set[str] = set()

    # --- Portals

    @rule(who=st.sampled_from(CUSTOMERS), phone=st.sampled_from(PHONES))
    def csr_enrols(self, who: int, phone: str) -> None:
        before = self.books[who]
        try:
            enrolments.enrol(customer=self.customers[who], number=phone, consent=CONSENT, actor=CSR, now=self.now)
        except DomainError:
            assert phone in self.out
            return
        assert phone not in self.out
        after: dict[str, Any] = {"number": phone, "pending": "", "until": None, "on": True}
        if not before.exists:
            self.books[who] = before.become(tell="enrolled", first=True, **after)
        elif (before.number, before.pending, before.on) != (phone, "", True):
            moved = before.on and phone not in (before.number, before.pending)
            same = before.on and before.number == phone
            self.books[who] = before.become(tell="" if same else "number_changed" if moved else "enrolled", **after)

    @rule(who=st.sampled_from(CUSTOMERS), phone=st.sampled_from(PHONES))
    def payer_enrols(self, who: int, phone: str) -> None:
        before = self.books[who]
        try:
            enrolments.enrol(customer=self.customers[who], number=phone, consent=CONSENT, actor=PAYER, now=self.now)
        except DomainError:
            assert phone in self.out
            return
        assert phone not in self.out
        until = self.now + datetime.timedelta(hours=24)
        if before.on and before.number == phone:
            if before.pending:
                self.books[who] = before.become(pending="", until=None)
        elif not before.exists:
            self.books[who] = before.become(tell="pending", first=True, pending=phone, until=until)
        elif before.pending != phone:
            self.books[who] = before.become(tell="pending", pending=phone, until=until)

    @rule(who=st.sampled_from(CUSTOMERS), actor=st.sampled_from([CSR, PAYER]))
    def somebody_unenrols(self, who: int, actor: actors.Actor) -> None:
        before = self.books[who]
        try:
            enrolments.unenrol(customer=self.customers[who], actor=actor, now=self.now)
        except DomainError:
            assert not before.on
            assert not before.pending
            return
        self.books[who] = before.become(tell="unenrolled", number=before.phone, pending="", until=None, on=False)

    @rule()
    def a_day_passes(self) -> None:
        self.now += datetime.timedelta(hours=25)
        enrolments.end_run_out(actor=actors.Actor.system("end"), now=self.now)
        for who, book in self.books.items():
            if book.pending:
                self.books[who] = book.become(number=book.number or book.pending, pending="", until=None)

    @rule(who=st.sampled_from(CUSTOMERS))
    def a_bill_comes(self, who: int) -> None:
        make_invoice(self.customers[who], "20.00")
        self.billed[who] += Decimal("20.00")
        if self.books[who].on and self.books[who].number not in self.out:
            announcements.send_now(customer=self.customers[who], actor=CSR, now=self.now)

    # --- The network

    @rule(phone=st.sampled_from(PHONES), word=st.sampled_from(WORDS))
    def somebody_types(self, phone: str, word: str) -> None:
        self.net.waiting.append(Inbound(f"M{next(self.ids)}", phone, LINE, word))

    @rule(data=st.data())
    def the_network_brings(self, data: st.DataObject) -> None:
        if self.net.waiting:
            place = data.draw(st.integers(0, len(self.net.waiting) - 1))
            self._hear(self.net.waiting.pop(place))

    @rule(data=st.data())
    def the_network_repeats(self, data: st.DataObject) -> None:
        if self.net.arrived:
            inbound.store(line=self.line, inbound=data.draw(st.sampled_from(self.net.arrived)))
            assert inbound.hear_due(now=self.now) == 0

    def _hear(self, text: Inbound) -> None:
        self.now += datetime.timedelta(minutes=1)
        inbound.store(line=self.line, inbound=text)
        assert inbound.hear_due(now=self.now) == 1
        self.net.arrived.append(text)
        mine = [who for who, book in self.books.items() if text.sender in {book.number, book.pending}]
        if text.body in STOPS:
            self._stopped(text.sender, mine)
        elif text.body in STARTS:
            back = text.sender in self.out
            self.out.discard(text.sender)
            for who in mine:
                book = self.books[who]
                if back and book.stopped and not book.on:
                    self.books[who] = book.become(tell="enrolled", number=text.sender, pending="", until=None, on=True)
            self._confirmed(text.sender, mine)
        elif text.body in YESES and text.sender not in self.out:
            self._confirmed(text.sender, mine)
        elif text.body in NOES and text.sender not in self.out:
            self._declined(text.sender, mine)

    def _stopped(self, phone: str, mine: list[int]) -> None:
        self.out.add(phone)
        for who in mine:
            book = self.books[who]
            if book.on and book.number != phone:
                self.books[who] = book.become(pending="", until=None)
            elif book.on or book.pending == phone:
                gone = book.become(tell="unenrolled", number=book.phone, pending="", until=None, on=False)
                self.books[who] = replace(gone, stopped=True)

    def _confirmed(self, phone: str, mine: list[int]) -> None:
        for who in mine:
            book = self.books[who]
            if book.pending == phone and book.until is not None and self.now < book.until:
                self.books[who] = book.become(tell="enrolled", number=phone, pending="", until=None, on=True)

    def _declined(self, phone: str, mine: list[int]) -> None:
        # NO answers an open question about money first.
        if (
            Text.objects.filter(biller=self.biller, phone=phone, direction="in").latest("pk").kind
            != "decline_registration"
        ):
            return
        for who in mine:
            book = self.books[who]
            if book.pending == phone:
                tell = "" if book.on else "unenrolled"
                self.books[who] = book.become(tell=tell, number=book.number or phone, pending="", until=None)

    # --- What must hold

    @invariant()
    def the_records_are_those_of_the_table(self) -> None:
        if not hasattr(self, "books"):
            return
        for who, book in self.books.items():
            customer = self.customers[who]
            mode = SmsMode.objects.filter(customer=customer).first()
            found = (mode.number, mode.pending_number, mode.registered) if mode else ("", "", False)
            assert found == (book.number, book.pending, book.on)
            records = list(Record.objects.filter(customer=customer, type=11).order_by("id"))
            assert tuple(record.facts["status"] for record in records) == book.told
            assert [record.optional_setting for record in records] == [0, 1, *[1] * len(records)][: len(records)]
            assert ChangeLog.objects.filter(customer=customer).count() == book.logs
            assert not Record.objects.filter(customer=customer, type=12).exists()

    @invariant()
    def nothing_goes_to_a_phone_that_said_stop(self) -> None:
        if not hasattr(self, "out"):
            return
        counted = Counter(Text.objects.filter(biller=self.biller, direction="out").values_list("phone", flat=True))
        for phone in self.out:
            new = counted[phone] - self.last[phone]
            if phone in self.was_out:
                assert new == 0
            elif new:
                written = Text.objects.filter(biller=self.biller, direction="out", phone=phone).order_by("-pk")[:new]
                assert [text.kind for text in written] == ["opt_out_confirmation"]
        stored = Phone.objects.filter(biller=self.biller).exclude(opted_out_of=[])
        assert set(stored.values_list("number", flat=True)) == self.out
        self.last, self.was_out = counted, set(self.out)

    @invariant()
    def nobody_is_charged_twice(self) -> None:
        if not hasattr(self, "customers"):
            return
        charges = self.processor.charges(self.merchant)
        assert set(charges.values()) <= {1}
        for who, customer in enumerate(self.customers):
            paid = [p.amount for p in Payment.objects.filter(customer=customer, state="posted")]
            assert sum(paid) <= self.billed[who]
        assert len(charges) == Payment.objects.filter(biller=self.biller, state="posted").count()


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    with Processor(tmp_path_factory.mktemp("processor")) as running:
        yield running


@pytest.mark.django_db(transaction=True)
@pytest.mark.spec("PBT-2", "PBT-3", "PBT-5", "PBT-15")
def test_no_sequence_breaks_the_table_charges_twice_or_texts_after_stop(processor: Processor) -> None:
    machine = type("Machine", (Conversing,), {"processor": processor})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12, stateful_step_count=30, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
