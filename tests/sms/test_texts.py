"""Sending texts over the simulated telephone network: once, in order, and with what follows from what the provider says."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest
from django.db import transaction

from billing.actors import Actor, Requestor
from billing.models import AuditEntry, Biller
from datapump.models import Configuration, Record
from sms.models import OPT_OUT_CONFIRMATION, Consent, Line, Phone, SmsMode, Text
from sms.operations import modes, phones, texts
from sms.operations.modes import State
from sms.operations.texts import Draft, Tally
from sms.providers.base import Reason, Status, StatusReport
from tests.factories import NOON, make_biller, make_customer
from tests.telephone import SECRET, Telephone

pytestmark = pytest.mark.django_db(transaction=True)

LINE, PHONE = "+15055550100", "+15055550123"
SENDER = Actor.system("send_texts")
MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Telephone]:
    with Telephone(tmp_path_factory.mktemp("telephone")) as running:
        yield running


@pytest.fixture
def telephone(network: Telephone) -> Telephone:
    network.reset()
    return network


@pytest.fixture
def biller() -> Biller:
    biller = make_biller()
    Configuration.objects.update_or_create(biller=biller, defaults={"pay_by_text_changes": True})
    return biller


@pytest.fixture
def line(biller: Biller, telephone: Telephone) -> Line:
    options = {"base_url": telephone.url, "timeout": 5.0}
    return Line.objects.create(biller=biller, number=LINE, driver="simulator", options=options, secret=SECRET)


def write(line: Line, body: str = "Your bill is ready.", *, key: str = "one", kind: str = "bill_ready") -> bool:
    with transaction.atomic():
        phone = phones.hold(line.biller_id, PHONE)
        return texts.write(drafts=[Draft(line, phone, body, kind, key, NOON)]) == 1


def send(now: datetime.datetime = NOON) -> Tally:
    return texts.send_due(actor=SENDER, now=now)


def enrol(biller: Biller, state: State, number: str = "") -> SmsMode:
    customer = make_customer(biller)
    return modes.insert_sms_mode(
        customer=customer, state=state, consent=Consent("By phone.", "Texts.", "1"), actor=Actor(Requestor.CSR, "Clara")
    )


def test_texts_go_out_once_and_in_order(line: Line, telephone: Telephone) -> None:
    assert [write(line, f"Text {n}", key=f"{n}") for n in range(3)] == [True, True, True]
    write(line, "Text 0 again", key="0")
    assert Text.objects.count() == 3
    assert send() == Tally(accepted=3)
    assert send() == Tally()
    assert [one["body"] for one in telephone.wait_for_texts(PHONE, 3)] == ["Text 0", "Text 1", "Text 2"]
    sent = Text.objects.get(key="0")
    assert (sent.state, sent.attempts, sent.sent_at, sent.claimed_at) == ("accepted", 1, NOON, None)
    assert sent.provider_id


@pytest.mark.parametrize(("phone", "body"), [("555-0123", "Hello."), (PHONE, ""), (PHONE, "x" * 1601)])
def test_what_no_driver_takes_is_not_written(line: Line, phone: str, body: str) -> None:
    with pytest.raises(ValueError, match="a text "), transaction.atomic():
        texts.write(drafts=[Draft(line, phones.hold(line.biller_id, phone), body, "bill_ready", "one", NOON)])
    assert Text.objects.count() == 0


def test_what_is_not_due_or_whose_line_is_stopped_waits(line: Line, telephone: Telephone) -> None:
    write(line)
    assert send(NOON - MINUTE) == Tally()
    Line.objects.update(stopped_for="The campaign is under review.")
    assert send() == Tally()
    Line.objects.update(stopped_for="")
    assert send() == Tally(accepted=1)


def test_a_lost_answer_is_asked_for_again_under_the_same_key_and_said_once(line: Line, telephone: Telephone) -> None:
    write(line)
    telephone.strike("drop_after", on=["send"])
    assert send() == Tally(later=1)
    assert send() == Tally()  # not before its time
    assert send(NOON + MINUTE) == Tally(accepted=1)
    telephone.wait_for_texts(PHONE, 1)
    assert telephone.texts_on(PHONE) == ["Your bill is ready."]
    assert (telephone.totals()["taken"], telephone.totals()["repeats"]) == (1, 1)


def test_what_a_dead_sender_held_is_sent_again_by_the_next(line: Line, telephone: Telephone) -> None:
    write(line)
    Text.objects.update(state="sending", claimed_at=NOON, attempts=1)
    assert send(NOON + texts.LEASE) == Tally()
    assert send(NOON + texts.LEASE + MINUTE) == Tally(accepted=1)
    assert Text.objects.get().attempts == 2


def test_what_a_dead_sender_held_is_unknown_where_it_might_be_said_twice(line: Line) -> None:
    write(line)
    Line.objects.update(driver="twilio", options={"account_sid": "AC" + "0" * 32})
    Text.objects.update(state="sending", claimed_at=NOON, attempts=1)
    assert send(NOON + texts.LEASE + MINUTE) == Tally()
    text = Text.objects.get()
    assert (text.state, text.attempts) == ("unknown", 1)
    told = StatusReport("SM1", Status.DELIVERED, key=str(text.pk))
    assert texts.report(line=line, report=told, actor=SENDER, now=NOON) is True
    text.refresh_from_db()
    assert (text.state, text.status, text.provider_id) == ("delivered", "delivered", "SM1")


def test_reports_never_move_backwards_and_count_once(line: Line, telephone: Telephone) -> None:
    write(line)
    send()
    text = Text.objects.get()

    def told(status: Status) -> bool:
        return texts.report(line=line, report=StatusReport(text.provider_id, status), actor=SENDER, now=NOON)

    assert [told(status) for status in (Status.DELIVERED, Status.SENT, Status.DELIVERED, Status.FAILED)] == [
        True, False, False, False,
    ]  # fmt: skip
    assert texts.report(line=line, report=StatusReport("nobody's", Status.SENT), actor=SENDER, now=NOON) is False
    text.refresh_from_db()
    assert (text.state, text.status, text.reason) == ("delivered", "delivered", "")


def test_a_line_of_another_biller_cannot_report_on_it(line: Line, telephone: Telephone) -> None:
    write(line)
    send()
    text = Text.objects.get()
    other = Line.objects.create(biller=make_biller(slug="other"), number=LINE, driver="simulator")
    told = StatusReport(text.provider_id, Status.FAILED, key=str(text.pk), reason=Reason.BLOCKED)
    assert texts.report(line=other, report=told, actor=SENDER, now=NOON) is False
    text.refresh_from_db()
    assert text.state == "accepted"


def test_a_line_that_is_set_up_wrongly_is_stopped_and_its_texts_wait(line: Line) -> None:
    Line.objects.update(options={"nonsense": 1})
    write(line)
    assert send() == Tally(later=1)
    text = Text.objects.get()
    assert (text.state, text.attempts, text.due_at) == ("waiting", 0, NOON + texts.PAUSE)
    assert "options of text provider driver simulator are wrong" in Line.objects.get().stopped_for
    assert AuditEntry.objects.filter(event="line.stopped").count() == 1
    assert send(NOON + MINUTE) == Tally()


def test_an_unreachable_phone_is_tried_three_times_half_an_hour_apart(line: Line, telephone: Telephone) -> None:
    write(line)
    send()
    for tried in range(1, 5):
        text = Text.objects.get()
        told = StatusReport(text.provider_id, Status.UNDELIVERED, reason=Reason.UNREACHABLE, code="30003")
        now = NOON + tried * datetime.timedelta(minutes=31)
        texts.report(line=line, report=told, actor=SENDER, now=now)
        text.refresh_from_db()
        if tried < 4:
            assert (text.state, text.due_at) == ("waiting", now + datetime.timedelta(minutes=30))
            assert send(now + datetime.timedelta(minutes=29)) == Tally()
            assert send(now + datetime.timedelta(minutes=30)) == Tally(accepted=1)
    assert (text.state, text.attempts, text.reason, text.code) == ("failed", 4, "unreachable", "30003")


def test_a_number_that_takes_no_texts_is_suspended(line: Line, telephone: Telephone) -> None:
    write(line)
    send()
    told = StatusReport(Text.objects.get().provider_id, Status.UNDELIVERED, reason=Reason.BAD_NUMBER, code="21614")
    texts.report(line=line, report=told, actor=SENDER, now=NOON)
    assert Phone.objects.get().suspended_for == "Texts do not arrive (bad_number)."
    assert write(line, key="two") is False
    assert Text.objects.count() == 1


def test_a_phone_that_is_blocked_is_suspended_the_second_time_in_a_row(line: Line, telephone: Telephone) -> None:
    for n, outcome in enumerate((Reason.BLOCKED, None, Reason.BLOCKED, Reason.BLOCKED)):
        write(line, key=f"{n}")
        send()
        status = Status.UNDELIVERED if outcome else Status.DELIVERED
        told = StatusReport(Text.objects.get(key=f"{n}").provider_id, status, reason=outcome)
        texts.report(line=line, report=told, actor=SENDER, now=NOON)
        assert bool(Phone.objects.filter(suspended_for__gt="").count()) == (n == 3)


def test_the_providers_opt_out_ends_pay_by_text_for_every_account_of_the_phone(
    biller: Biller, line: Line, telephone: Telephone
) -> None:
    both = [enrol(biller, State(PHONE, registered=True)) for _ in range(2)]
    waiting = enrol(biller, State(pending_number=PHONE))
    moving = enrol(biller, State("+15055550177", PHONE, True))
    stranger = enrol(make_biller(slug="other"), State(PHONE, registered=True))
    told = Record.objects.count()
    telephone.set_condition(PHONE, "unsubscribed")
    write(line)
    write(line, key="two")
    send()
    if not Phone.objects.filter(opted_out_at__isnull=False).exists():  # told by a report, then
        telephone.wait_until_quiet()
        first = Text.objects.get(key="one")
        refused = StatusReport(first.provider_id, Status.FAILED, reason=Reason.UNSUBSCRIBED, code="21610")
        texts.report(line=line, report=refused, actor=SENDER, now=NOON)
    phone = Phone.objects.get(biller=biller)
    assert phone.opted_out_at == NOON
    assert {State.of(SmsMode.objects.get(pk=mode.pk)) for mode in [*both, waiting]} == {State(PHONE)}
    assert State.of(SmsMode.objects.get(pk=moving.pk)) == State("+15055550177", registered=True)
    assert SmsMode.objects.get(pk=stranger.pk).registered
    assert Record.objects.count() - told == 3
    assert write(line, key="three") is False
    assert write(line, "You get no more texts.", key="bye", kind=OPT_OUT_CONFIRMATION) is True
    assert phones.opt_out(biller=biller, number=PHONE, by="STOP", actor=SENDER, now=NOON) == 0
    assert Record.objects.count() - told == 3


def test_an_opt_out_drops_what_waits_to_be_sent(biller: Biller, line: Line, telephone: Telephone) -> None:
    write(line)
    assert phones.opt_out(biller=biller, number=PHONE, by="STOP", actor=SENDER, now=NOON) == 0
    assert send() == Tally()
    assert telephone.texts_on(PHONE) == []
    assert (Text.objects.get().state, Text.objects.get().reason) == ("failed", "unsubscribed")
