"""Pay by text as people live it: pages in a browser, a telephone on its network, and the biller's system that hears of it.

One test for each cell of the PBT-3 table, and the whole life of an enrolment from the first page to STOP.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Model
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from billing.actors import Actor, Requestor
from billing.models import Biller, Customer, Role, User
from datapump.models import ChangeLog, Configuration, Delivery, Purpose, Record
from payments.models import Payment
from sms.models import Consent, Line, Programme, SmsMode
from sms.operations import announcements, enrolments, inbound, texts
from sms.operations.lines import callback_of
from sms.operations.modes import State
from tests.cis import Cis
from tests.datapump.conftest import deliver, point_at
from tests.factories import make_biller, make_customer, make_instrument, make_link, make_route, make_user
from tests.flows.test_customer_texts import LINE, ONE, TWO
from tests.invoice_files import Bill, load
from tests.processor import Processor
from tests.staff import make_staff, sign_in
from tests.telephone import SECRET, Telephone

pytestmark = pytest.mark.django_db(transaction=True)

CONSENT = Consent("On the telephone.", "Texts about your bills.", "1")
BEFORE = Actor(Requestor.CSR, "Whoever was here before")
JOB = Actor.system("test")

ASKED = (
    "City Water: Reply YES for bills by text, and pay by reply. Msg frequency varies. Msg & data rates may apply."
    " HELP for help, STOP to end."
)
WELCOME = (
    "City Water: You get bills by text now. Reply PAY to pay. Msg frequency varies. Msg & data rates may apply."
    " HELP for help, STOP to end."
)
RELEASED = (
    "City Water: Pay by Text for your account moved to another number. This one gets no more of its bills."
    " Not you? Call (505) 555-0177."
)
TURNED_OFF = "City Water: Pay by Text is turned off for your account. Questions? Call (505) 555-0177."
UNSUBSCRIBED = "City Water: You are unsubscribed and get no more texts. Reply START to get them again."
NOTHING_WAITED = (
    "City Water: Nothing was waiting for this answer. Nothing changed, no money has been taken."
    " HELP for help, or call (505) 555-0177."
)

Change = tuple[str, str, str]
ON: Change = ("registered", "No", "Yes")
OFF: Change = ("registered", "Yes", "No")
WAITS: Change = ("pending registration", "No", "Yes")
WAITS_NO_MORE: Change = ("pending registration", "Yes", "No")
NEW_PHONE: Change = ("phone", ONE, TWO)

CLERK = (Requestor.CSR, "Sam Clerk")
PAYER = (Requestor.PAYER, "Olive Payer")
PHONES = {ONE: (Requestor.INBOUND_TEXT, "Phone •••• 0123"), TWO: (Requestor.INBOUND_TEXT, "Phone •••• 0199")}


@dataclass(frozen=True, slots=True)
class Heard:
    """An update as it stands in our book: what was told, as which kind, who asked, and the change logs that are linked."""

    status: str
    phone: str
    optional: int
    by: tuple[int, str]
    logs: frozenset[Change] = frozenset()
    old_phone: str = ""
    type: int = 11


def heard(
    status: str, phone: str, optional: int, by: tuple[int, str], logs: Iterable[Change] = (), old: str = ""
) -> Heard:
    return Heard(status, phone, optional, by, frozenset(logs), old)


class World:
    """A biller with its line and its system, a customer, and the two people who may sign in about the account."""

    def __init__(self, page: Page, live_server: LiveServer, telephone: Telephone, cis: Cis) -> None:
        self.page, self.live_server, self.telephone, self.cis = page, live_server, telephone, cis
        self.biller: Biller = make_biller(name="City Water", slug="city-water", phone="+15055550177")
        Configuration.objects.filter(biller=self.biller).update(pay_by_text_changes=True)
        for purpose in (Purpose.PAYMENTS, Purpose.AUTOPAY):
            point_at(cis, self.biller, purpose)
        # Around the clock: what the hours hold back has tests of its own.
        Programme.objects.create(
            biller=self.biller, name="City Water", contact="(505) 555-0177", opens=0, closes=24, most_a_day=6
        )
        self.line = Line.objects.create(
            biller=self.biller, number=LINE, driver="simulator", options={"base_url": telephone.url}, secret=SECRET
        )
        telephone.set_line(LINE, callback_of(self.line), name=self.biller.name)
        self.customer: Customer = make_customer(
            self.biller, name="Olive Payer", number="35909-001", base="35909", sub="001", service_location="32104501"
        )
        self.clerk: User = make_staff(self.biller, Role.CSR, name="Sam Clerk")
        self.payer: User = make_user("olive@payers.example", name="Olive Payer")
        make_link(self.payer, self.customer)
        self.began = timezone.now()
        self.known: tuple[set[Any], set[Any]] = set(), set()

    def as_clerk(self, path: str = "text/") -> None:
        """Open a page of the account in the biller portal, as the CSR."""
        sign_in(self.page, self.clerk, self.live_server)
        self.page.goto(f"/biller/accounts/{self.customer.pk}/{path}")

    def as_payer(self) -> None:
        """Open the page of pay by text in the customer portal, as the payer."""
        sign_in(self.page, self.payer, self.live_server)
        self.page.goto(f"/account/{self.customer.pk}/text/")

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def follow(self, name: str) -> None:
        self.page.get_by_role("link", name=name).click()

    def shows(self, words: str) -> None:
        expect(self.page.get_by_text(words).first).to_be_visible()

    def send(self) -> None:
        """Send the texts that are due, and wait until the network has told of each."""
        texts.send_due(actor=JOB)
        self.telephone.wait_until_quiet()

    def type(self, phone: str, body: str) -> None:
        """Type a text on a phone, have it heard by webhook and answered."""
        self.telephone.type(phone, LINE, body)
        self.telephone.wait_until_quiet()
        assert inbound.hear_due() == 1
        self.send()

    def bill(self, amount: str, due: datetime.date) -> int:
        """Load a file with one invoice of the account, and give how many phones are told of it."""
        now = timezone.now()
        today = self.biller.business_date(now)
        fields = {11: f"{today:%m/%d/%Y}", 12: f"{due:%m/%d/%Y}", 60: "Olive Payer", 66: "(802) 555-0123"}
        file = load(
            self.biller,
            [Bill(number=f"INV{amount}", amount=amount, fields=fields)],
            now=now,
            made_on=f"{now.astimezone(self.biller.zone):%m/%d/%Y %H:%M:%S}",
        )
        assert (file.state, file.loaded_count) == ("loaded", 1)
        told = announcements.announce_due()
        self.send()
        return told

    def enrolled_before(self) -> None:
        """Have the customer enrolled with the first number."""
        enrolments.enrol(customer=self.customer, number=ONE, consent=CONSENT, actor=BEFORE)

    def unenrolled_before(self) -> None:
        """Have the customer unenrolled, who was enrolled with the first number."""
        self.enrolled_before()
        enrolments.unenrol(customer=self.customer, actor=BEFORE)

    def forget(self) -> None:
        """Send and deliver all that happened so far: what comes is compared without it."""
        self.send()
        deliver()
        self.cis.reset()
        self.telephone.reset()
        self.known = ids(Record), ids(ChangeLog)
        self.began = timezone.now()

    def told(self) -> list[Heard]:
        """Give the updates made since, in their order, each with its change logs; there is no other change log."""
        records, known_logs = self.known
        made = []
        linked: set[Any] = set()
        for record in Record.objects.exclude(pk__in=records).order_by("created_at", "pk"):
            logs = list(record.change_logs.all())
            linked.update(log.pk for log in logs)
            assert {(log.requestor, log.made_by) for log in logs} <= {(record.requestor, record.made_by)}
            assert all(self.began < log.at < timezone.now() for log in logs)
            facts = dict(record.facts)
            made.append(
                Heard(
                    facts.pop("status"), facts.pop("phone"), record.optional_setting, (record.requestor, record.made_by),
                    frozenset((log.field, log.old, log.new) for log in logs), facts.pop("old_phone", ""), record.type,
                )
            )  # fmt: skip
            assert facts == {}
        assert ids(ChangeLog) - known_logs == linked
        return made

    def comments(self) -> list[str]:
        """Deliver, and give what the biller's system was told of this account, in its order."""
        deliver()
        assert set(Record.objects.values_list("state", flat=True)) == {"delivered"}
        comments = self.cis.book()["comments"]
        assert {(one["account"], one["service_location"]) for one in comments} == {("35909001", "32104501")}
        assert not any(one["seen_before"] for one in comments)
        return [one["comment"] for one in comments]

    def state(self) -> State:
        return State.of(SmsMode.objects.get(customer=self.customer))


def ids(model: type[Model]) -> set[Any]:
    return set(model._default_manager.values_list("pk", flat=True))


@pytest.fixture
def world(page: Page, live_server: LiveServer, telephone: Telephone, cis: Cis, settings: Settings) -> World:
    settings.PUBLIC_URL = live_server.url
    return World(page, live_server, telephone, cis)


# ---- What people do -------------------------------------------------------------------------------------------------


def clerk_gives(world: World, number: str, link: str, button: str) -> None:
    world.as_clerk()
    world.page.get_by_role("link", name=link, exact=True).click()
    world.page.get_by_label("Mobile number").fill(number)
    world.page.get_by_label("On the telephone").check()
    world.page.get_by_label("The customer agreed to exactly these words").check()
    world.press(button)


def clerk_enrols(world: World) -> None:
    clerk_gives(world, "505 555 0123", "Enrol", "Enrol")
    world.shows("Pay by text is on at (505) 555-0123.")


def clerk_changes_the_number(world: World) -> None:
    clerk_gives(world, "(505) 555-0199", "Change the number", "Change the number")
    world.shows("Pay by text is on at (505) 555-0199.")


def clerk_unenrols(world: World) -> None:
    world.as_clerk()
    world.follow("Turn pay by text off")
    world.press("Turn pay by text off")
    world.shows("Pay by text is off.")


def payer_gives(world: World, number: str, link: str) -> None:
    world.as_payer()
    world.follow(link)
    world.page.get_by_label("Mobile number").fill(number)
    world.page.get_by_label("I have read these terms").check()
    world.press("Send me the text")
    world.shows(f"We sent a text to (•••) •••-{number[-4:]}")
    world.send()


def payer_asks(world: World) -> None:
    payer_gives(world, "505 555 0123", "Turn on")


def payer_enrols(world: World) -> None:
    payer_asks(world)
    world.type(ONE, "Yes")
    world.page.reload()
    expect(world.page.get_by_role("heading", name="Pay by text is on")).to_be_visible()


def payer_changes_the_number(world: World) -> None:
    payer_gives(world, "(505) 555-0199", "Change the number")
    assert world.state() == State(ONE, TWO, True)
    world.type(TWO, "Y")
    world.page.reload()
    world.shows("(•••) •••-0199")
    expect(world.page.get_by_role("heading", name="Pay by text is on")).to_be_visible()


def payer_unenrols(world: World) -> None:
    world.as_payer()
    world.follow("Turn off")
    world.press("Turn pay by text off")
    world.shows("Pay by text is off. You get no more bills by text.")


def nothing_before(_world: World) -> None:
    """Nobody has ever enrolled the customer."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table: what was before, what is done, and what comes of it on every side."""

    before: Callable[[World], None]
    done: Callable[[World], None]
    updates: tuple[Heard, ...]
    comments: tuple[str, ...]
    ends: State
    texts: dict[str, list[str]]


CELLS = {
    "new enrolment, by a CSR": Cell(
        nothing_before,
        clerk_enrols,
        (heard("enrolled", ONE, 0, CLERK),),
        (f"PAYTEXT ON {ONE}",),
        State(ONE, registered=True),
        {ONE: [WELCOME]},
    ),
    "new enrolment, by the payer": Cell(
        nothing_before,
        payer_enrols,
        (heard("pending", ONE, 0, PAYER), heard("enrolled", ONE, 1, PHONES[ONE], {WAITS_NO_MORE, ON})),
        (f"PAYTEXT PENDING {ONE}", f"PAYTEXT ON {ONE}"),
        State(ONE, registered=True),
        {ONE: [ASKED, WELCOME]},
    ),
    "re-enrolment, by a CSR": Cell(
        World.unenrolled_before,
        clerk_enrols,
        (heard("enrolled", ONE, 1, CLERK, {ON}),),
        (f"PAYTEXT ON {ONE}",),
        State(ONE, registered=True),
        {ONE: [WELCOME]},
    ),
    "re-enrolment, by the payer": Cell(
        World.unenrolled_before,
        payer_enrols,
        (heard("pending", ONE, 1, PAYER, {WAITS}), heard("enrolled", ONE, 1, PHONES[ONE], {WAITS_NO_MORE, ON})),
        (f"PAYTEXT PENDING {ONE}", f"PAYTEXT ON {ONE}"),
        State(ONE, registered=True),
        {ONE: [ASKED, WELCOME]},
    ),
    "unenrolment, by a CSR": Cell(
        World.enrolled_before,
        clerk_unenrols,
        (heard("unenrolled", ONE, 1, CLERK, {OFF}),),
        (f"PAYTEXT OFF {ONE}",),
        State(ONE),
        {ONE: [TURNED_OFF]},
    ),
    "unenrolment, by the payer": Cell(
        World.enrolled_before,
        payer_unenrols,
        (heard("unenrolled", ONE, 1, PAYER, {OFF}),),
        (f"PAYTEXT OFF {ONE}",),
        State(ONE),
        {ONE: [TURNED_OFF]},
    ),
    "number change, by a CSR": Cell(
        World.enrolled_before,
        clerk_changes_the_number,
        (heard("number_changed", TWO, 1, CLERK, {NEW_PHONE}, ONE),),
        (f"PAYTEXT NUMBER {TWO} WAS {ONE}",),
        State(TWO, registered=True),
        {ONE: [RELEASED], TWO: [WELCOME]},
    ),
    "number change, by the payer": Cell(
        World.enrolled_before,
        payer_changes_the_number,
        (
            heard("pending", TWO, 1, PAYER, {WAITS}, ONE),
            heard("enrolled", TWO, 1, PHONES[TWO], {NEW_PHONE, WAITS_NO_MORE}, ONE),
        ),
        (f"PAYTEXT PENDING {TWO} WAS {ONE}", f"PAYTEXT ON {TWO} WAS {ONE}"),
        State(TWO, registered=True),
        {ONE: [RELEASED], TWO: [ASKED, WELCOME]},
    ),
}


@pytest.mark.spec("PBT-3", "PBT-6", "PBT-8", "PBT-9")
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_every_cell_of_the_table_is_told_as_it_says(world: World, cell: Cell) -> None:
    cell.before(world)
    world.forget()
    cell.done(world)
    world.send()
    assert world.told() == list(cell.updates)
    assert world.comments() == list(cell.comments)
    assert world.state() == cell.ends
    assert {phone: world.telephone.texts_on(phone) for phone in cell.texts} == cell.texts
    assert world.telephone.totals()["taken"] == sum(map(len, cell.texts.values()))


@pytest.mark.spec("PBT-7", "PBT-14")
def test_a_yes_that_is_late_or_from_another_phone_changes_nothing(world: World) -> None:
    world.forget()
    payer_asks(world)
    waiting = world.state()
    world.type(TWO, "YES")
    assert world.state() == waiting
    SmsMode.objects.update(pending_until=timezone.now() - datetime.timedelta(seconds=1))
    world.type(ONE, "YES")
    assert world.state() == waiting
    assert world.telephone.texts_on(TWO) == [NOTHING_WAITED]
    assert world.telephone.texts_on(ONE) == [ASKED, NOTHING_WAITED]
    assert world.told() == [heard("pending", ONE, 0, PAYER)]
    world.page.reload()
    world.shows("No answer came in time from the number that you gave.")
    # That nobody answered is kept, and told to nobody.
    assert enrolments.end_run_out(actor=JOB) == 1
    log = ChangeLog.objects.get()
    assert ((log.field, log.old, log.new), log.datapump_id) == (WAITS_NO_MORE, "0")
    assert world.comments() == [f"PAYTEXT PENDING {ONE}"]
    world.as_clerk("datapump/changes/")
    expect(world.page.get_by_role("row").filter(has_text="Pending registration")).to_contain_text(
        "No update told of it"
    )


@pytest.mark.spec("PBT-10", "PBT-15", "PBT-16")
def test_a_payer_enrols_is_billed_pays_and_stops_and_everybody_hears_of_it(world: World, processor: Processor) -> None:
    page, telephone, customer = world.page, world.telephone, world.customer
    route = make_route(world.biller, processor.url)
    make_instrument(customer, route, processor.token(route.merchant), is_default=True)
    payer_enrols(world)

    due = world.biller.business_date(timezone.now()) + datetime.timedelta(days=18)
    assert world.bill("84.10", due) == 1
    # The phone of the file is for calls.
    assert world.state() == State(ONE, registered=True)
    telephone.strike("repeat", on=["inbound"])
    world.type(ONE, "PAY")
    payment = Payment.objects.get()
    assert (payment.state, payment.amount, payment.customer) == ("posted", Decimal("84.10"), customer)
    world.type(ONE, "pay")
    assert list(processor.charges(route.merchant).values()) == [1]
    said = [
        ASKED,
        WELCOME,
        f"City Water: The bill for acct *9-001 is $84.10, due {due:%b} {due.day}. Reply PAY to pay with your saved method."
        " HELP for help, STOP to end.",
        f"City Water: Thank you. We took $84.10 for acct *9-001. Receipt {payment.confirmation}.",
        "City Water: $84.10 for acct *9-001 is already paid. You were not charged again.",
    ]
    assert telephone.texts_on(ONE) == said
    assert world.comments() == [f"PAYTEXT PENDING {ONE}", f"PAYTEXT ON {ONE}"]
    assert [(one["amount"], one["times_received"]) for one in world.cis.book()["payments"]] == [("84.10", 1)]

    # The CSR sees all of it: what was said, ...
    world.as_clerk()
    spoken = ["Yes", "PAY", "pay"]
    both = [said[0], spoken[0], said[1], said[2], spoken[1], said[3], spoken[2], said[4]]
    expect(page.locator(".bubble")).to_have_text([re.compile(re.escape(words)) for words in both])
    # ... and what the biller's system was told.
    page.goto("/biller/datapump/")
    phone, payer, taken = (
        "Phone •••• 0123 (text reply)",
        "Olive Payer (customer portal)",
        "Accepted by the biller’s system",
    )
    history = [
        ("35909-001", "Olive Payer", "Payment", "$84.10", phone, "Delivered", "1", taken),
        ("35909-001", "Olive Payer", "Pay by text – enrolled", "Enrolled", phone, "Delivered", "1", taken),
        ("35909-001", "Olive Payer", "Pay by text – pending registration", "Pending", payer, "Delivered", "1", taken),
    ]
    rows = page.locator("main .list-table").last.locator("tbody tr")
    assert [tuple(row.locator("td").all_inner_texts()) for row in rows.all()] == history
    pending, enrolled = (Record.objects.get(type=11, after=word) for word in ("Pending", "Enrolled"))
    for row, record in ((2, pending), (1, enrolled)):
        made = rows.nth(row).locator("time").get_attribute("datetime")
        assert made == f"{record.created_at:%Y-%m-%dT%H:%M:%SZ}"
    rows.nth(1).get_by_role("link", name="Pay by text – enrolled").click()
    expect(page.locator("#payload pre").first).to_contain_text("PAYTEXT ON (•••) •••-0123")
    expect(page.locator("#payload pre")).to_have_count(2)
    tries = page.get_by_role("group", name="Attempts").locator("tbody tr")
    sent = Delivery.objects.get(record=enrolled)
    assert tries.locator("td").all_inner_texts() == ["Accepted", sent.words or "–", "200", f"{sent.milliseconds} ms"]

    # STOP ends it at once; a new bill, HELP or a second STOP are answered by silence.
    world.type(ONE, "Stop")
    assert world.state() == State(ONE)
    assert world.bill("15.90", due) == 0
    for words in ("HELP", "STOP", "PAY"):
        world.type(ONE, words)
    said.append(UNSUBSCRIBED)
    assert telephone.texts_on(ONE) == said
    assert Payment.objects.count() == 1
    heard_before = [f"PAYTEXT PENDING {ONE}", f"PAYTEXT ON {ONE}", f"PAYTEXT OFF {ONE}"]
    assert world.comments() == heard_before
    world.as_clerk()
    world.shows("(505) 555-0123 has opted out of texts")
    world.shows("STOP from the phone")
    # Until the phone itself opts in again.
    world.type(ONE, "START")
    assert world.state() == State(ONE, registered=True)
    assert telephone.texts_on(ONE) == [*said, WELCOME]
    assert world.comments() == [*heard_before, f"PAYTEXT ON {ONE}"]
    assert telephone.totals()["taken"] == len(said) + 1
