"""Notices by e-mail: what they say, in which language, and that each is sent once through trouble of every kind."""

from __future__ import annotations

import datetime
import email
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message as Parsed
from typing import Any

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import override_settings

from billing import tenancy
from billing.actors import Actor
from billing.models import Biller, Customer, Notice, NoticeDelivery, NoticeKind
from billing.operations import notice_deliveries, notices
from tests.factories import NOON, make_biller, make_customer

pytestmark = pytest.mark.django_db

SENDER = Actor.system("test")
MINUTE = datetime.timedelta(minutes=1)


def write(
    customer: Customer, kind: NoticeKind = NoticeKind.PAPERLESS_ON, key: str = "once", **facts: Any
) -> NoticeDelivery:
    """Write a notice, and give its delivery, due at noon."""
    with transaction.atomic():
        notices.write(biller_id=customer.biller_id, customer_id=customer.pk, kind=kind, key=key, facts=facts)
    delivery = NoticeDelivery.objects.get(notice__key=key, customer=customer)
    Notice.objects.filter(pk=delivery.notice_id).update(created_at=NOON)
    NoticeDelivery.objects.filter(pk=delivery.pk).update(due_at=NOON)
    return delivery


def send(now: datetime.datetime = NOON) -> notice_deliveries.Sent:
    return notice_deliveries.send_due(actor=SENDER, now=now)


@pytest.fixture
def biller() -> Biller:
    return make_biller(
        name="Maple Falls Utilities", slug="maple-falls", phone="+15555550123", email="help@maplefalls.example"
    )


@pytest.fixture
def lucia(biller: Biller) -> Customer:
    return make_customer(biller, name="Lucía Hernández", display_number="35909-001", email="lucia@example.com")


SCHEDULED = {
    "amount": "84.10", "currency": "USD", "pay_on": "2026-12-05", "number": "INV1",
    "method": {"kind": "card", "brand": "visa", "last4": "4242"},
}  # fmt: skip
FACTS: dict[NoticeKind, dict[str, Any]] = {
    NoticeKind.BILL_READY: {
        "invoice": 1,
        "number": "INV1",
        "amount": "84.10",
        "currency": "USD",
        "due_on": "2026-12-05",
    },
    NoticeKind.RECEIPT: {"payment": "01a1dfb4-97a0-7d69-b5a5-000000000001", "amount": "84.10", "currency": "USD"},
    NoticeKind.AUTOPAY_ON: {"method": "Visa •••• 4242", "first": "2026-12-05", "consent": "I authorize this."},
    NoticeKind.AUTOPAY_OFF: {"method": "Visa •••• 4242"},
    NoticeKind.AUTOPAY_FAILED: {"amount": "84.10", "currency": "USD", "reason": "The bank declined the payment."},
    NoticeKind.PAYMENT_FAILED: {
        "payment": "01a1dfb4-97a0-7d69-b5a5-000000000001",
        "amount": "84.10",
        "currency": "USD",
        "reason": "The bank declined the payment.",
    },
    NoticeKind.REFUNDED: {
        "payment": "01a1dfb4-97a0-7d69-b5a5-000000000001",
        "how": "refund",
        "amount": "84.10",
        "currency": "USD",
        "reason": "Paid twice",
    },
    NoticeKind.RETURNED: {
        "payment": "01a1dfb4-97a0-7d69-b5a5-000000000001",
        "how": "return",
        "amount": "84.10",
        "currency": "USD",
        "reason": "Insufficient funds",
    },
    NoticeKind.FEE: {
        "number": "121940013401",
        "due_on": "2026-11-12",
        "owed": "84.10",
        "currency": "USD",
        "fees": [{"words": "Late fee", "amount": "7.50"}],
    },
    NoticeKind.FEE_WAIVED: {"amount": "7.50", "currency": "USD", "words": "Late fee", "reason": "Our mistake"},
    NoticeKind.INACTIVE: {
        "number": "121940013401",
        "due_on": "2026-11-12",
        "owed": "84.10",
        "currency": "USD",
        "words": "Not paid in time",
    },
    NoticeKind.METHOD_DECLINED: {"method": SCHEDULED["method"]},
    NoticeKind.METHOD_EXPIRED: {"method": SCHEDULED["method"]},
    NoticeKind.SCHEDULED: {**SCHEDULED, "whole": "yes", "consent": "I authorize this."},
    NoticeKind.RESCHEDULED: {**SCHEDULED, "followed": "yes"},
    NoticeKind.UNSCHEDULED: SCHEDULED,
    NoticeKind.SCHEDULED_FAILED: {**SCHEDULED, "reason": "The bank declined the payment."},
    NoticeKind.NOTHING_DUE: SCHEDULED,
    NoticeKind.PAPERLESS_ON: {},
    NoticeKind.PAPERLESS_OFF: {},
    NoticeKind.EMAIL_CHANGED: {"stands": "before"},
    NoticeKind.PASSWORD_CHANGED: {},
    NoticeKind.PREPAID_LOW: {"balance": "4.93", "days": "1", "threshold": "20.00"},
}


def test_a_receipt_says_what_was_paid(lucia: Customer) -> None:
    delivery = write(lucia, NoticeKind.RECEIPT, **FACTS[NoticeKind.RECEIPT])
    assert send() == notice_deliveries.Sent(sent=1)
    (message,) = mail.outbox
    assert message.subject == "Receipt for your payment to Maple Falls Utilities"
    assert message.to == ["lucia@example.com"]
    assert message.from_email == "Maple Falls Utilities <billing@localhost>"
    assert message.reply_to == ["help@maplefalls.example"]
    assert message.body == (
        "Thank you. Your payment to Maple Falls Utilities is made.\n\n"
        "Confirmation number: 01A1D-FB497-A0D69\nAmount: $84.10\nDate: Nov 22, 2026, 12:00 pm ET\n\n"
        "This is not a bill. Keep this receipt for your records.\n\n"
        "Account: •••• -001\nMaple Falls Utilities\n(555) 555-0123\nhelp@maplefalls.example\n\n"
        "See your bills and payments: http://testserver/with/maple-falls/\nNobody reads answers to this address.\n"
    )
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.sent_at, delivery.claimed_at) == ("sent", 1, NOON, None)
    assert (delivery.subject, delivery.text) == (message.subject, message.body)


def test_a_guest_gets_the_receipt_at_the_address_they_gave(lucia: Customer) -> None:
    write(lucia, NoticeKind.RECEIPT, email="guest@example.com", **FACTS[NoticeKind.RECEIPT])
    send()
    assert mail.outbox[0].to == ["guest@example.com"]


@pytest.mark.parametrize("kind", NoticeKind)
@pytest.mark.parametrize("language", ["en", "es"])
def test_every_kind_is_written_in_both_languages(biller: Biller, kind: NoticeKind, language: str) -> None:
    customer = make_customer(biller, name="O'Neil & <Sons>", language=language)
    delivery = write(customer, kind, **FACTS[kind])
    said = notice_deliveries.written(
        NoticeDelivery.objects.select_related("notice", "customer", "biller").get(pk=delivery.pk)
    )
    assert said.subject
    assert "\n" not in said.subject
    assert "&amp;" not in said.text + said.subject
    assert "&#" not in said.text
    other = {"en": "es", "es": "en"}[language]
    Customer.objects.filter(pk=customer.pk).update(language=other)
    again = notice_deliveries.written(
        NoticeDelivery.objects.select_related("notice", "customer", "biller").get(pk=delivery.pk)
    )
    assert again.subject != said.subject
    # Apart from what is a name or a number, no line is the same in both languages.
    names = ("Maple", "(555)", "help@", "I authorize", "Late fee")
    same = set(said.text.splitlines()) & set(again.text.splitlines())
    assert {line for line in same if not line.startswith(names)} <= {""}


def test_what_is_not_due_waits(lucia: Customer) -> None:
    delivery = write(lucia)
    NoticeDelivery.objects.filter(pk=delivery.pk).update(due_at=NOON + MINUTE)
    assert send() == notice_deliveries.Sent()
    assert mail.outbox == []
    assert send(NOON + MINUTE) == notice_deliveries.Sent(sent=1)


def test_what_is_sent_is_not_sent_again(lucia: Customer) -> None:
    write(lucia)
    assert (send(), send(), len(mail.outbox)) == (notice_deliveries.Sent(sent=1), notice_deliveries.Sent(), 1)


def test_what_a_dead_sender_held_is_sent_after_its_lease(lucia: Customer) -> None:
    delivery = write(lucia)
    NoticeDelivery.objects.filter(pk=delivery.pk).update(state="sending", claimed_at=NOON, attempts=1)
    assert send(NOON + notice_deliveries.LEASE) == notice_deliveries.Sent()
    assert send(NOON + notice_deliveries.LEASE + MINUTE) == notice_deliveries.Sent(sent=1)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("sent", 2)


def test_one_that_cannot_be_written_fails_alone(lucia: Customer) -> None:
    bad = write(lucia, NoticeKind.BILL_READY, key="bad", amount="many", due_on="2026-12-05")
    write(lucia, key="good")
    assert send() == notice_deliveries.Sent(sent=1, failed=1)
    bad.refresh_from_db()
    assert (bad.state, bad.failure) == ("failed", "The message could not be written.")
    assert [message.subject for message in mail.outbox] == [
        "Paperless billing is on for your account with Maple Falls Utilities"
    ]


def test_a_small_biller_does_not_wait_behind_a_large_one(lucia: Customer) -> None:
    for n in range(notice_deliveries.BATCH + 5):
        write(lucia, key=f"many-{n}")
    small = make_customer(make_biller(), email="small@example.com")
    late = write(small, key="small")
    NoticeDelivery.objects.filter(pk=late.pk).update(due_at=NOON + MINUTE)
    send(NOON + MINUTE)
    places = [place for place, message in enumerate(mail.outbox) if message.to == ["small@example.com"]]
    assert len(mail.outbox) == notice_deliveries.BATCH + 6
    assert places[0] <= notice_deliveries.BATCH_OF_BILLER


class MailServer(socketserver.ThreadingTCPServer):
    """A mail server that answers as it is told, and keeps what it accepted."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.accepted: list[Parsed] = []
        self.answers: dict[str, str] = {}


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "DATA":
                self._say("354 go on")
                body = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    body += part
                self.server.accepted.append(email.message_from_bytes(body))
                self._say("250 taken")
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say(self.server.answers.get(word, "250 fine"))

    def _say(self, words: str) -> None:
        self.wfile.write(words.encode() + b"\r\n")


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        smtp = {"EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend", "EMAIL_HOST": "127.0.0.1"}
        with override_settings(**smtp, EMAIL_PORT=running.server_address[1], EMAIL_TIMEOUT=5):
            yield running
        running.shutdown()


def test_over_smtp_a_repetition_keeps_its_message_id(lucia: Customer, server: MailServer) -> None:
    delivery = write(lucia)
    assert send() == notice_deliveries.Sent(sent=1)
    NoticeDelivery.objects.filter(pk=delivery.pk).update(state="waiting", sent_at=None)
    assert send() == notice_deliveries.Sent(sent=1)
    first, second = server.accepted
    assert first["Message-ID"] == second["Message-ID"] == f"<notice.{delivery.notice_id}.{delivery.pk}@localhost>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["To"] == "lucia@example.com"


def test_what_is_refused_for_now_is_tried_by_the_schedule_and_then_given_up(
    lucia: Customer, server: MailServer
) -> None:
    delivery = write(lucia)
    server.answers["RCPT"] = "451 busy"
    now = NOON
    for wait in notice_deliveries.RETRIES:
        assert send(now) == notice_deliveries.Sent(retried=1)
        delivery.refresh_from_db()
        assert (delivery.state, delivery.due_at, delivery.failure) == ("waiting", now + wait, "451 busy")
        assert send(now + wait - MINUTE / 2) == notice_deliveries.Sent()
        now += wait
    assert send(now) == notice_deliveries.Sent(failed=1)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("failed", len(notice_deliveries.RETRIES) + 1)
    assert server.accepted == []


def test_an_address_that_does_not_exist_is_not_tried_again(lucia: Customer, server: MailServer) -> None:
    delivery = write(lucia)
    server.answers["RCPT"] = "550 no such person"
    assert send() == notice_deliveries.Sent(failed=1)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.failure) == ("failed", 1, "550 no such person")


@pytest.mark.parametrize("trouble", ["gone", "closing"])
def test_a_mail_server_that_is_down_uses_up_no_try(lucia: Customer, server: MailServer, trouble: str) -> None:
    deliveries = [write(lucia, key="one"), write(lucia, key="two")]
    port = server.server_address[1]
    if trouble == "gone":
        port = 1
    else:
        server.answers["MAIL"] = "421 closing"
    with override_settings(EMAIL_PORT=port):
        done = send()
    for delivery in deliveries:
        delivery.refresh_from_db()
    if trouble == "gone":
        assert done == notice_deliveries.Sent(down=True)
        assert [(d.state, d.attempts, d.due_at) for d in deliveries] == [
            ("waiting", 0, NOON + notice_deliveries.PAUSE)
        ] * 2
    server.answers.clear()
    assert send(NOON + 10 * MINUTE).sent == 2
    assert len(server.accepted) == 2


def test_the_command_says_what_it_did(lucia: Customer, capsys: pytest.CaptureFixture[str]) -> None:
    delivery = write(lucia)
    NoticeDelivery.objects.filter(pk=delivery.pk).update(due_at=NOON - datetime.timedelta(days=400))
    call_command("send_notices")
    assert capsys.readouterr().out == "1 sent, 0 to be tried again, 0 failed\n"
    NoticeDelivery.objects.filter(pk=delivery.pk).update(state="waiting")
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    with override_settings(EMAIL_BACKEND=smtp, EMAIL_HOST="127.0.0.1", EMAIL_PORT=1), pytest.raises(CommandError):
        call_command("send_notices")


@pytest.mark.django_db(transaction=True)
def test_two_senders_at_once_send_each_message_once(lucia: Customer) -> None:
    for n in range(40):
        write(lucia, key=f"many-{n}")

    def work() -> notice_deliveries.Sent:
        try:
            with tenancy.acting_for(tenancy.EVERY_BILLER):
                return send()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        done = [future.result() for future in [pool.submit(work) for _ in range(3)]]
    assert sum(one.sent for one in done) == 40
    assert len(mail.outbox) == 40
    assert len({message.extra_headers["Message-ID"] for message in mail.outbox}) == 40
    assert set(NoticeDelivery.objects.values_list("state", "attempts")) == {("sent", 1)}
