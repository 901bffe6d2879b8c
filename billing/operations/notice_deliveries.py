"""Sending notices by e-mail: claimed from their rows, written in the customer's language, sent, noted.

The rows are the queue. A claim is committed before the mail server is spoken to and no transaction is open meanwhile;
what a dead sender held is given back after a while. A message may so be sent twice, under one Message-ID; one success
is noted. A mail server that cannot be reached uses up none of a message's tries.

Source: the design's "Two outboxes".
"""

from __future__ import annotations

import datetime
import logging
import smtplib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from email.utils import formataddr, parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import connection, transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext

from billing import formats
from billing.actors import Actor
from billing.failpoints import failpoint
from billing.models import NoticeChannel, NoticeDelivery, NoticeState

logger = logging.getLogger(__name__)

BATCH = 50
# Of one biller in one batch, so that a million bills of one do not hold up the receipt of another.
BATCH_OF_BILLER = 10
LEASE = datetime.timedelta(minutes=10)
PAUSE = datetime.timedelta(minutes=1)
# After each refusal for now; the one after the last is for good.
RETRIES = tuple(datetime.timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 480, 1440))


class MailServerDown(Exception):
    """The mail server cannot be reached or does not let us in: nothing is wrong with the message."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What one call of :func:`send_due` did; ``down`` says that the mail server could not be reached."""

    sent: int = 0
    retried: int = 0
    failed: int = 0
    down: bool = False

    def __add__(self, other: Sent) -> Sent:
        return Sent(
            self.sent + other.sent, self.retried + other.retried, self.failed + other.failed, self.down or other.down
        )


@dataclass(frozen=True, slots=True)
class Message:
    """A notice in words."""

    subject: str
    text: str


def send_due(*, actor: Actor, now: datetime.datetime | None = None, seconds: float = 60.0) -> Sent:
    """Send what is due of every biller in scope, batch by batch, until nothing is left or the time is over."""
    began, total = time.monotonic(), Sent()
    while time.monotonic() - began < seconds:
        moment = now or timezone.now()
        _give_back(moment)
        claimed = _claim(moment)
        if not claimed:
            break
        total += _send(claimed, moment)
        if total.down:
            logger.warning("%s: the mail server cannot be reached; notices wait", actor.label)
            break
    return total


@transaction.atomic(durable=True)
def _claim(now: datetime.datetime) -> list[NoticeDelivery]:
    """Take a batch, a few of each biller; ``attempts`` counts from here, so that a message that kills us ends too."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH taken AS MATERIALIZED (  -- run once: as a plain subquery it may run again and lock more than its limit
                SELECT due.id FROM billing_biller b CROSS JOIN LATERAL (
                    SELECT w.id FROM billing_noticedelivery w
                    WHERE w.biller_id = b.id AND w.state = 'waiting' AND w.channel = %s AND w.due_at <= %s
                    ORDER BY w.due_at, w.id LIMIT %s FOR UPDATE SKIP LOCKED
                ) due LIMIT %s
            )
            UPDATE billing_noticedelivery d SET state = 'sending', claimed_at = %s, attempts = d.attempts + 1
            FROM taken WHERE d.id = taken.id
            RETURNING d.id
            """,
            [NoticeChannel.EMAIL, now, BATCH_OF_BILLER, BATCH, now],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    rows = NoticeDelivery.objects.select_related("notice", "customer", "biller").filter(pk__in=ids)
    return list(rows.order_by("due_at", "pk"))


@transaction.atomic(durable=True)
def _give_back(now: datetime.datetime) -> None:
    """Let go of what a sender held that has died."""
    NoticeDelivery.objects.filter(state=NoticeState.SENDING, claimed_at__lt=now - LEASE).update(
        state=NoticeState.WAITING, claimed_at=None
    )


def _send(claimed: list[NoticeDelivery], now: datetime.datetime) -> Sent:
    total, mail = Sent(), get_connection()
    for place, delivery in enumerate(claimed):
        try:
            message = written(delivery)
        except Exception:
            # One that cannot be written must not hold up the others.
            logger.exception("notice delivery %s cannot be written", delivery.pk)
            total += _note(delivery, NoticeState.FAILED, now, failure="The message could not be written.")
            continue
        try:
            _hand_over(mail, delivery, message)
        except MailServerDown:
            _return_unsent(claimed[place:], now)
            return replace(total, down=True)
        except smtplib.SMTPException as error:
            total += _refused(delivery, error, now)
            mail = get_connection()
        else:
            failpoint("notice.sent")
            total += _note(delivery, NoticeState.SENT, now, message=message)
    mail.close()
    return total


def _hand_over(mail: Any, delivery: NoticeDelivery, message: Message) -> None:
    """Give a message to the mail server.

    :raises MailServerDown: it cannot be reached, or refuses us.
    :raises smtplib.SMTPException: it refuses the message.
    """
    sender = parseaddr(settings.DEFAULT_FROM_EMAIL)[1]
    # The same however often it is sent, so that readers can tell a repetition; sent again by hand it is a new one.
    again = f".{int(delivery.sent_at.timestamp())}" if delivery.sent_at else ""
    host = sender.partition("@")[2] or "localhost"
    email = EmailMessage(
        subject=message.subject,
        body=message.text,
        from_email=formataddr((delivery.biller.name, sender)),
        to=[delivery.address],
        reply_to=[delivery.biller.email] if delivery.biller.email else None,
        headers={
            "Message-ID": f"<notice.{delivery.notice_id}.{delivery.pk}{again}@{host}>",
            "Auto-Submitted": "auto-generated",
        },
        connection=mail,
    )
    try:
        email.send()
    except (smtplib.SMTPConnectError, smtplib.SMTPHeloError, smtplib.SMTPAuthenticationError) as error:
        raise MailServerDown from error
    except (smtplib.SMTPServerDisconnected, smtplib.SMTPNotSupportedError, OSError) as error:
        # SMTPException is an OSError: what is left of it here says something about this message.
        if isinstance(error, smtplib.SMTPException) and not isinstance(
            error, smtplib.SMTPServerDisconnected | smtplib.SMTPNotSupportedError
        ):
            raise
        raise MailServerDown from error


def _refused(delivery: NoticeDelivery, error: smtplib.SMTPException, now: datetime.datetime) -> Sent:
    code, words = _code_of(error)
    if code < 500 and delivery.attempts <= len(RETRIES):
        return _note(delivery, NoticeState.WAITING, now, failure=words, due_at=now + RETRIES[delivery.attempts - 1])
    return _note(delivery, NoticeState.FAILED, now, failure=words)


def _code_of(error: smtplib.SMTPException) -> tuple[int, str]:
    """Give the server's code and words; without a code it is taken as refused for now."""
    code: int
    text: bytes | str
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        answers = list(error.recipients.values())
        code, text = answers[0] if answers else (450, b"")
    elif isinstance(error, smtplib.SMTPResponseException):
        code, text = error.smtp_code, error.smtp_error
    else:
        code, text = 450, str(error)
    said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return code, f"{code} {said}"[:200]


@transaction.atomic(durable=True)
def _note(
    delivery: NoticeDelivery,
    state: NoticeState,
    now: datetime.datetime,
    *,
    message: Message | None = None,
    failure: str = "",
    due_at: datetime.datetime | None = None,
) -> Sent:
    """Note what came of a delivery, unless it was given back meanwhile and somebody else holds it."""
    changes: dict[str, Any] = {"state": state, "failure": failure, "claimed_at": None}
    if due_at is not None:
        changes["due_at"] = due_at
    if message is not None:
        changes |= {"sent_at": now, "subject": message.subject[:200], "text": message.text}
    held = NoticeDelivery.objects.filter(pk=delivery.pk, state=NoticeState.SENDING, claimed_at=delivery.claimed_at)
    if not held.update(**changes):
        return Sent()
    return Sent(
        sent=int(state == NoticeState.SENT),
        retried=int(state == NoticeState.WAITING),
        failed=int(state == NoticeState.FAILED),
    )


@transaction.atomic(durable=True)
def _return_unsent(deliveries: list[NoticeDelivery], now: datetime.datetime) -> None:
    """Give back what the mail server never saw, with the try that was counted."""
    for delivery in deliveries:
        NoticeDelivery.objects.filter(pk=delivery.pk, state=NoticeState.SENDING, claimed_at=delivery.claimed_at).update(
            state=NoticeState.WAITING,
            claimed_at=None,
            attempts=delivery.attempts - 1,
            due_at=now + PAUSE,
            failure="The mail server cannot be reached.",
        )


def written(delivery: NoticeDelivery) -> Message:
    """Write a notice in words and in its biller's time zone; a template's first line is the subject.

    The language is the customer's, unless a fact names the one that a guest spoke.
    """
    notice, customer, biller = delivery.notice, delivery.customer, delivery.biller
    with translation.override(notice.facts.get("language") or customer.language), timezone.override(biller.zone):
        context = {
            "biller": biller,
            "phone": formats.phone(biller.phone) if biller.phone else "",
            "customer_name": customer.name,
            "account": formats.masked(customer.shown_number),
            "date": formats.moment(notice.created_at),
            "portal": settings.PUBLIC_URL + reverse("customer-find", kwargs={"slug": biller.slug}),
            **_in_words(notice.facts, biller.currency),
        }
        text = render_to_string(f"notices/{notice.kind}.txt", context)
    subject, _newline, body = text.strip().partition("\n")
    return Message(" ".join(subject.split()), body.strip() + "\n")


def _in_words(facts: Mapping[str, Any], currency: str) -> dict[str, str]:
    """Write the facts of a notice for people; an unknown one stands as it is."""
    words: dict[str, str] = {}
    for name, value in facts.items():
        match name:
            case "amount" | "owed" | "fee" | "total" | "balance" | "threshold":
                words[name] = formats.money(Decimal(str(value)), str(facts.get("currency") or currency))
            case "due_on" | "first" | "pay_on" if value:
                words[name] = formats.day(datetime.date.fromisoformat(str(value)))
            case "payment":
                words["confirmation"] = formats.confirmation(uuid.UUID(str(value)))
            case "method" if isinstance(value, Mapping):
                kinds = {"card": gettext("Card"), "bank": gettext("Bank account")}
                brand = str(value["brand"]).title() if value.get("brand") else kinds[value["kind"]]
                words[name] = gettext("%(brand)s ending in %(last4)s") % {"brand": brand, "last4": value["last4"]}
            case "group" if value:
                lines = [
                    f"{formats.masked(one['account'], last=7)}: {formats.money(Decimal(one['amount']), currency)}"
                    for one in value
                ]
                words[name] = "\n".join(lines)
            case "fees" if value:
                charged = str(facts.get("currency") or currency)
                words[name] = "\n".join(
                    f"{formats.spoken(one['words'], one.get('words_es', ''))}: {formats.money(Decimal(one['amount']), charged)}"
                    for one in value
                )
            case "words" if value:
                words[name] = formats.spoken(str(value), str(facts.get("words_es", "")))
            case "reason" if value:
                words[name] = gettext(str(value))
            case _:
                words[name] = "" if value is None else str(value)
    return words
