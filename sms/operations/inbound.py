"""Inbound: texts from phones, stored as they arrive, heard in the order of each phone, acted on once, and answered.

A webhook stores and is done. Whoever hears takes a phone for himself, a short while at a time: what a text means and what
it asks for is committed before it is done, what is done may be done again without harm, and the answer is written once,
under the text's own id. So a worker may die anywhere, and the provider may tell of a text as often as it likes.

Source: PBT-14 to PBT-17; the design's five rules; evidence 3.3.
"""

from __future__ import annotations

import datetime
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from django.db import connection, transaction
from django.utils import timezone

from billing.actors import Actor, Requestor
from billing.failpoints import failpoint
from payments.models import Payment, PaymentState
from payments.operations import balances, dues
from sms.conversations import Heard, Language, Reply, answer, findings, hear
from sms.conversations import actions as written_actions
from sms.conversations.findings import Finding
from sms.conversations.states import (
    AcceptBalance,
    Action,
    ConfirmFee,
    ConfirmRegistration,
    DeclineRegistration,
    OptIn,
    OptOut,
    Pay,
    TellBalance,
)
from sms.models import Direction, Line, Phone, Programme, SmsMode, Text, TextState
from sms.operations import enrolments, modes, orders, phones, programmes, talks, texts
from sms.operations.programmes import Voice
from sms.providers.base import BODY_LONGEST, Inbound

logger = logging.getLogger(__name__)

PHONES_AT_ONCE = 250
_TEXTS_OF_PHONE = 20
BUSY_FOR = datetime.timedelta(minutes=5)
# After this no further text of those that were taken is begun, so that no phone is still worked on when it falls free.
_BEGIN_FOR = BUSY_FOR.total_seconds() / 2
_UNHEARD = (TextState.ARRIVED, TextState.ACTING)
_FINAL_PAYMENTS = (PaymentState.POSTED, PaymentState.FAILED, PaymentState.REVERSED)


def store(*, line: Line, inbound: Inbound, answered: bool = False) -> bool:
    """Store a text that a provider tells of; gives False where it was told before.

    ``answered`` says that the provider answers this one by itself.

    Committed when it returns: the provider is told that it was taken only afterwards.
    """
    if connection.in_atomic_block:
        raise RuntimeError("What is stored must be committed before the provider is told that it was taken.")
    with connection.cursor() as cursor:
        # What PostgreSQL cannot keep says nothing either.
        body = inbound.body.replace("\x00", "")[:BODY_LONGEST]
        cursor.execute(
            "INSERT INTO sms_text (biller_id, line_id, direction, phone, kind, body, key, state, provider_id, media, sent_at,"
            " acted_on, answered, status, reason, code)"
            " VALUES (%s, %s, %s, %s, '', %s, %s, %s, %s, %s, %s, %s, %s, '', '', '')"
            " ON CONFLICT (biller_id, key) DO NOTHING",
            [
                line.biller_id, line.pk, Direction.IN, inbound.sender, body, f"in:{line.pk}:{inbound.provider_id}"[:120],
                TextState.ARRIVED, inbound.provider_id[:80], min(inbound.media, 100), inbound.sent_at, inbound.acted_on or "",
                answered,
            ],
        )  # fmt: skip
        stored: bool = cursor.rowcount == 1
    failpoint("inbound.stored")
    return stored


def hear_due(*, now: datetime.datetime | None = None, seconds: float = 60.0) -> int:
    """Hear what has arrived of every biller in scope, until nothing is left or the time is over; gives how many texts."""
    ends, total = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        moment = now or timezone.now()
        taken = _take(moment)
        if not taken:
            break
        total += _hear(taken, moment)
    return total


def tell_outcomes(*, now: datetime.datetime | None = None, most: int = 500) -> int:
    """Answer the texts whose payment was on its way and has ended since; gives how many."""
    now = now or timezone.now()
    awaiting = list(
        Text.objects.filter(state=TextState.AWAITING).select_related("line", "line__biller").order_by("pk")[:most]
    )
    ended = Payment.objects.filter(pk__in=[text.payment_id for text in awaiting], state__in=_FINAL_PAYMENTS)
    payments = {payment.pk: payment for payment in ended.select_related("customer", "customer__biller")}
    waiting = [(text, payments[text.payment_id]) for text in awaiting if text.payment_id in payments]
    for waited, payment in waiting:
        finding = orders.outcome(payment, now=now)
        with transaction.atomic(durable=True):
            phone = phones.hold(waited.biller_id, waited.phone)
            text = Text.objects.select_for_update(of=("self",)).select_related("line__biller").get(pk=waited.pk)
            if text.state == TextState.AWAITING:
                voice = programmes.voice_of(text.line.biller)
                _answer(text, phone, finding, payment, voice, now, key=f"outcome:{text.pk}")
    return len(waiting)


# --- Taking phones ---------------------------------------------------------------------------------------------------


@transaction.atomic(durable=True)
def _take(now: datetime.datetime) -> list[Phone]:
    """Take phones that have said something and that nobody hears; their rows are made where they are new."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sms_phone (biller_id, number, opted_out_by, suspended_for)
            SELECT DISTINCT t.biller_id, t.phone, '', '' FROM sms_text t
            WHERE t.state IN ('arrived', 'acting') AND NOT EXISTS (
                SELECT 1 FROM sms_phone p WHERE p.biller_id = t.biller_id AND p.number = t.phone
            )
            ON CONFLICT DO NOTHING
            """
        )
        cursor.execute(
            """
            WITH taken AS MATERIALIZED (
                SELECT p.id FROM sms_phone p
                WHERE (p.biller_id, p.number) IN (
                    SELECT t.biller_id, t.phone FROM sms_text t WHERE t.state IN ('arrived', 'acting') LIMIT %s
                ) AND (p.busy_until IS NULL OR p.busy_until < %s)
                ORDER BY p.id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
            )
            UPDATE sms_phone p SET busy_until = %s FROM taken WHERE p.id = taken.id RETURNING p.id
            """,
            [PHONES_AT_ONCE * 10, now, PHONES_AT_ONCE, now + BUSY_FOR],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    return list(Phone.objects.filter(pk__in=ids).select_related("biller").order_by("pk"))


# --- Hearing ---------------------------------------------------------------------------------------------------------


def _hear(taken: Sequence[Phone], now: datetime.datetime) -> int:
    """Hear what these phones said: up to the first text of each that asks for something to be done."""
    with transaction.atomic(durable=True):
        held = list(
            Phone.objects.filter(pk__in=[phone.pk for phone in taken])
            .select_for_update(of=("self",), no_key=True)
            .select_related("biller")
            .order_by("pk")
        )
        said = _said(held)
        heard = 0
        to_do: list[tuple[Text, Phone, Voice]] = []
        drafts: list[texts.Draft] = []
        changed: list[Text] = []
        billers = {phone.biller_id: phone.biller for phone in held}
        voices = {pk: programmes.voice_of(biller) for pk, biller in billers.items()}
        owed: dict[int, dues.Due] | None = None
        asked_for: dict[int, bool] = {}
        talk_by_phone = talks.talks_with(held, programmes={pk: one.programme for pk, one in voices.items()}, now=now)
        for phone in held:
            voice, talk = voices[phone.biller_id], talk_by_phone[phone.pk]
            conversation = talk.conversation
            for text in said.get((phone.biller_id, phone.number), []):
                heard += 1
                if text.state == TextState.ACTING:
                    to_do.append((text, phone, voice))
                    break
                # What the provider took it for and acted on is so, whatever we would make of the words.
                made = hear(conversation, text.acted_on or text.body, now=now, media=text.media)
                conversation = made.conversation
                talks.keep(phone, conversation, reply=made.reply, now=now)
                tells = isinstance(made.action, TellBalance)
                if tells and phone.biller_id not in asked_for:
                    asked_for[phone.biller_id] = balances.asked_for(phone.biller_id)
                # What only the biller's system knows is asked when no transaction is open.
                at_once = tells and not asked_for[phone.biller_id]
                _note(text, made, at_once=at_once)
                changed.append(text)
                if made.reply is not None and not text.answered:
                    drafts.append(_reply(made.reply, text, phone, voice, talk, conversation.language, now))
                if isinstance(made.action, TellBalance) and at_once:
                    if owed is None:
                        served = [one for each in talk_by_phone.values() for one in each.customers.values()]
                        owed = dues.dues_of(served)
                    talk = replace(talk, conversation=conversation)
                    said_of = answer(conversation, orders.tell_balances(action=made.action, talk=talk, owed=owed))
                    conversation = said_of.conversation
                    talks.keep(phone, conversation, reply=said_of.reply, now=now)
                    if said_of.reply is not None:
                        drafts.append(_reply(said_of.reply, text, phone, voice, talk, conversation.language, now))
                elif made.action is not None:
                    to_do.append((text, phone, voice))
                    break
            phone.busy_until = None if not to_do or to_do[-1][1] is not phone else phone.busy_until
        texts.write(drafts=drafts)
        _save(changed)
        talks.save(held)
    failpoint("inbound.heard")
    began = time.monotonic()
    for position, (text, phone, voice) in enumerate(to_do):
        if position and time.monotonic() - began > _BEGIN_FOR:
            _give_back([left for _text, left, _voice in to_do[position:]])
            break
        try:
            _do(text, phone, voice, now)
        except Exception:
            # Its phone stays taken for a while and is then tried again; nobody else's text waits behind it.
            logger.exception("text %s cannot be dealt with", text.pk)
    return heard


def _give_back(taken: Sequence[Phone]) -> None:
    """Let others take these phones, whose texts were not begun."""
    for phone in taken:
        Phone.objects.filter(pk=phone.pk, busy_until=phone.busy_until).update(busy_until=None)


def _said(held: Sequence[Phone]) -> dict[tuple[int, str], list[Text]]:
    """Give what these phones said and nobody has heard, in its order."""
    unheard = Text.objects.filter(
        biller_id__in={phone.biller_id for phone in held},
        phone__in=[phone.number for phone in held],
        state__in=_UNHEARD,
    ).select_related("line")
    mine = {(phone.biller_id, phone.number) for phone in held}
    ordered = sorted(unheard, key=lambda text: (text.biller_id, text.phone, text.pk))
    return {
        key: list(one)[:_TEXTS_OF_PHONE]
        for key, one in groupby(ordered, key=lambda text: (text.biller_id, text.phone))
        if key in mine
    }


def _note(text: Text, heard: Heard, *, at_once: bool = False) -> None:
    text.kind, text.rule = str(heard.intent), str(heard.rule)[:80]
    text.review = str(heard.review) if heard.review else ""
    # What is looked up and told at once does nothing that would have to be done again.
    acts = heard.action is not None and not at_once
    text.action = written_actions.write(heard.action) if heard.action is not None and acts else None
    text.state = TextState.ACTING if acts else TextState.RECEIVED
    account = getattr(heard.action, "account", None)
    if account is not None:
        text.customer_id = int(account.reference)


def _save(heard: Sequence[Text]) -> None:
    rows = [
        {
            "id": text.pk, "state": text.state, "kind": text.kind, "rule": text.rule, "review": text.review,
            "action": text.action, "customer_id": text.customer_id,
        }
        for text in heard
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sms_text t
            SET state = v.state, kind = v.kind, rule = v.rule, review = v.review, action = v.action,
                customer_id = v.customer_id
            FROM jsonb_to_recordset(%s::jsonb) AS v (
                id uuid, state text, kind text, rule text, review text, action jsonb, customer_id bigint
            )
            WHERE t.id = v.id
            """,
            [json.dumps(rows, default=str)],
        )


# --- Doing -----------------------------------------------------------------------------------------------------------


def _do(text: Text, phone: Phone, voice: Voice, now: datetime.datetime) -> None:
    """Do what a text asks for, and answer."""
    actor = Actor(Requestor.INBOUND_TEXT, f"Phone {phone}")
    talk = talks.talk_with(phone, programme=voice.programme, now=now)
    assert text.action is not None
    finding, payment = _carry_out(written_actions.read(text.action), text, phone, talk, voice.programme, actor, now)
    failpoint("inbound.done")
    with transaction.atomic(durable=True):
        phone = phones.hold(phone.biller_id, phone.number)
        phone.busy_until = None
        _answer(text, phone, finding, payment, voice, now, key=_key(text))
    failpoint("inbound.answered")


def _carry_out(
    action: Action,
    text: Text,
    phone: Phone,
    talk: talks.Talk,
    programme: Programme,
    actor: Actor,
    now: datetime.datetime,
) -> tuple[Finding | None, Payment | None]:
    biller, number = phone.biller, phone.number
    match action:
        case OptOut():
            phones.opt_out(biller=biller, number=number, by=text.rule or text.kind, actor=actor, now=now)
            return None, None
        case OptIn():
            phones.opt_in(biller=biller, number=number, actor=actor, now=now)
            enrolments.confirm(biller=biller, number=number, actor=actor, key=_key(text), now=now)
            served = SmsMode.objects.filter(biller=biller, number=number, registered=True).exists()
            # Which accounts they are is read again when the answer is written.
            return (findings.Enrolled(()) if served else findings.NotEnrolled()), None
        case ConfirmRegistration():
            confirmed = enrolments.confirm(biller=biller, number=number, actor=actor, key=_key(text), now=now)
            return (findings.Enrolled(()) if confirmed else findings.NothingPending()), None
        case DeclineRegistration():
            waiting = SmsMode.objects.filter(biller=biller, pending_number=number).select_related("customer")
            for mode in waiting.order_by("customer_id"):
                modes.update_sms_mode(customer=mode.customer, state=modes.run_out, actor=actor, now=now)
            return None, None
        case TellBalance():
            customers = list(talk.customers.values())
            balances.refresh(biller=biller, customers=[customer.pk for customer in customers])
            return orders.tell_balances(action=action, talk=talk, owed=dues.dues_of(customers)), None
        case Pay() | ConfirmFee() | AcceptBalance():
            return orders.carry_out(text=text, action=action, talk=talk, programme=programme, actor=actor, now=now)
    return None, None


def _answer(
    text: Text,
    phone: Phone,
    finding: Finding | None,
    payment: Payment | None,
    voice: Voice,
    now: datetime.datetime,
    *,
    key: str,
) -> None:
    """Write the answer to what was found, inside the caller's transaction, which holds the phone."""
    text.state, text.action = TextState.RECEIVED, None
    if payment is not None:
        text.payment_id, text.customer_id = payment.pk, payment.customer_id
        if payment.state not in _FINAL_PAYMENTS:
            text.state = TextState.AWAITING
    if finding is not None:
        talk = talks.talk_with(phone, programme=voice.programme, now=now)
        if isinstance(finding, findings.Enrolled):
            finding = findings.Enrolled(talk.conversation.accounts)
        said = answer(talk.conversation, finding)
        talks.keep(phone, said.conversation, reply=said.reply, now=now)
        _tell(phone, finding, talk, now)
        if said.reply is not None and not text.answered:
            reply = _reply(said.reply, text, phone, voice, talk, said.conversation.language, now, key=key)
            texts.write(drafts=[reply])
    talks.save([phone])
    text.save(update_fields=["state", "action", "payment_id", "customer_id"])


def _tell(phone: Phone, finding: Finding, talk: talks.Talk, now: datetime.datetime) -> None:
    """Put down what the payer is told of one account's balance."""
    match finding:
        case findings.BalanceChanged(account, amount) if (customer := talk.customer(account)) is not None:
            talks.tell(phone, customer, amount, now)
        case findings.Paid(account) if (customer := talk.customer(account)) is not None:
            talks.tell(phone, customer, None, now)
        case _:
            pass


def _reply(
    reply: Reply,
    text: Text,
    phone: Phone,
    voice: Voice,
    talk: talks.Talk,
    language: Language,
    now: datetime.datetime,
    *,
    key: str = "",
) -> texts.Draft:
    only = next(iter(talk.customers.values())) if len(talk.customers) == 1 else None
    customer = talk.customers.get(str(text.customer_id)) or only
    return talks.draft(
        reply, phone=phone, line=text.line, voice=voice, language=language, key=key or _key(text), now=now,
        customer=customer,
    )  # fmt: skip


def _key(text: Text) -> str:
    return f"re:{text.pk}"
