"""Enrolling in pay by text, confirming, changing the number and ending it, from whichever door.

A payer's number waits until its phone says YES; whoever else enrols a customer has spoken with them and keeps what they
agreed to. Every change goes through ``modes``, with the texts that tell of it in the same transaction.

Source: PBT-3, PBT-4, PBT-11 to PBT-15, PBT-17; evidence 3.3, 3.4
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy as _

from billing import audit, formats, phone_numbers, throttles
from billing.actors import Actor, Requestor
from billing.errors import DomainError
from billing.models import Biller, Customer
from sms.conversations import Account, answer, findings
from sms.conversations.findings import Finding
from sms.models import Consent, Line, Phone, Programme, SmsMode
from sms.operations import modes, phones, programmes, talks, texts
from sms.operations.modes import State
from sms.operations.programmes import Voice
from sms.providers.base import is_e164

CONSENT_VERSION = "2026-11"
ASKED_AGAIN = throttles.Limit("pay_by_text.confirmation", most=3, window=datetime.timedelta(hours=1))


class BadNumber(DomainError):
    """That is no phone number."""

    default = _("Enter a mobile number with its area code, such as (555) 555-0123")  # type: ignore[assignment]


class PhoneRefuses(DomainError):
    """The phone said STOP: only the phone itself can take that back."""

    def __init__(self, line: Line) -> None:
        words = _("This phone has opted out of texts. Text START from it to %(line)s first.")
        super().__init__(words % {"line": formats.phone(line.number)}, field="number")


class PhoneSuspended(DomainError):
    """Texts do not arrive at the phone."""

    default = _("Texts do not arrive at this number. Enter another one, or call us.")  # type: ignore[assignment]


class NotEnrolled(DomainError):
    """There is nothing to end."""

    default = _("Pay by text is not on for this account.")  # type: ignore[assignment]


class NothingPending(DomainError):
    """Nothing waits for a confirmation."""

    default = _("No confirmation is waited for. Enter the number again.")  # type: ignore[assignment]


class ConsentMissing(DomainError):
    """Nobody agreed to the terms."""

    default = _("Agree to the terms of pay by text first.")  # type: ignore[assignment]


def read_number(written: str) -> str:
    """Read a phone number as people write it, in E.164; one without a country code is American.

    :raises BadNumber: it is none.
    """
    number = phone_numbers.parse(written)
    if number is None or number.extension or not is_e164(e164 := phone_numbers.written_of(number)):
        raise BadNumber(field="number")
    return e164


def terms(programme: Programme, *, language: str) -> str:
    """Give what a payer agrees to, in the biller's words or ours; the text is kept with the enrolment."""
    if programme.terms:
        return programme.terms
    with translation.override(language):
        return str(
            _(
                "I agree to get texts about my bills from %(programme)s at this number, and to pay a bill by replying. I can"
                " pay without it. Message frequency varies. Message and data rates may apply. Reply HELP for help, STOP to end."
            )
            % {"programme": programme.name}
        )


def consent_to(programme: Programme, *, how: str, language: str) -> Consent:
    """Make the consent that is kept: how the customer agreed, and to which words."""
    return Consent(how, terms(programme, language=language), CONSENT_VERSION)


def enrol(
    *, customer: Customer, number: str, consent: Consent, actor: Actor, now: datetime.datetime | None = None
) -> SmsMode:
    """Enrol a customer with a phone, or change its number; a payer's own waits to be confirmed from the phone.

    A customer who is enrolled with this very number stays so, and nobody is told (PBT-13).

    :raises BadNumber: the number is none.
    :raises programmes.NotOffered: the biller offers no pay by text.
    :raises PhoneRefuses: the phone said STOP.
    :raises PhoneSuspended: texts do not arrive there.
    """
    now = now or timezone.now()
    number = read_number(number)
    voice, line = programmes.offered(customer.biller)
    tell = _teller(customer, number, voice, line, now, key=f"enrol:{customer.pk}:{now.isoformat()}")
    _enrol(customer, number, consent, voice, line, actor, tell, now)
    return SmsMode.objects.get(customer=customer)


def take_over(
    *,
    customer: Customer,
    number: str,
    consent: Consent,
    language: str,
    voice: Voice,
    line: Line,
    actor: Actor,
    now: datetime.datetime,
) -> bool:
    """Enrol a customer as another vendor had them, on the consent that was given there; gives whether that changed anything.

    ``number`` is E.164, ``language`` that of the texts where the phone has not shown one. Nobody asks for what the phone
    is told of it now: that keeps the hours.

    :raises PhoneRefuses: the phone said STOP.
    :raises PhoneSuspended: texts do not arrive there.
    """
    key = f"import:{customer.pk}:{now.isoformat()}"
    tell = _teller(customer, number, voice, line, now, key=key, unasked=True, language=language)
    return _enrol(customer, number, consent, voice, line, actor, tell, now)


def _enrol(
    customer: Customer,
    number: str,
    consent: Consent,
    voice: Voice,
    line: Line,
    actor: Actor,
    tell: Callable[[State], None],
    now: datetime.datetime,
) -> bool:
    known = Phone.objects.filter(biller_id=customer.biller_id, number=number).first()
    if known is not None and known.refuses(voice.programme.kind):
        raise PhoneRefuses(line)
    if known is not None and known.suspended_for:
        raise PhoneSuspended(field="number")
    # A number that ran out and is given again is asked again, whether or not the job has seen it.
    end_run_out(actor=Actor.system("end_run_out"), customer=customer, now=now)
    confirmed = actor.requestor != Requestor.PAYER
    if not SmsMode.objects.filter(customer=customer).exists():
        state = State(number=number, registered=True) if confirmed else State(pending_number=number)
        try:
            modes.insert_sms_mode(customer=customer, state=state, consent=consent, actor=actor, say=tell, now=now)
        except modes.AlreadyInserted:
            pass  # by somebody else, a moment ago
        else:
            return True

    def change(before: State) -> State:
        if confirmed or (before.registered and before.number == number):
            return State(number=number, registered=True)
        return replace(before, pending_number=number)

    return modes.update_sms_mode(customer=customer, state=change, consent=consent, actor=actor, say=tell, now=now)


def confirm(*, biller: Biller, number: str, actor: Actor, key: str = "", now: datetime.datetime | None = None) -> int:
    """Enrol every account that waits for this phone's word; gives how many there were. What is late is not confirmed.

    ``key`` names the word that confirms, so that its answer is said once.

    Source: PBT-12, PBT-14
    """
    now = now or timezone.now()
    voice, line = programmes.voice_of(biller), programmes.line_of(biller)
    waiting = SmsMode.objects.filter(biller=biller, pending_number=number, pending_until__gt=now)
    confirmed = 0
    for mode in waiting.select_related("customer", "customer__biller").order_by("customer_id"):
        tell = _teller(mode.customer, number, voice, line, now, key=key or f"confirm:{number}:{now.isoformat()}")

        def change(before: State) -> State:
            return State(number=number, registered=True) if before.pending_number == number else before

        confirmed += modes.update_sms_mode(customer=mode.customer, state=change, actor=actor, say=tell, now=now)
    return confirmed


def confirm_customer(*, customer: Customer, actor: Actor, now: datetime.datetime | None = None) -> None:
    """Confirm a customer's pending registration without the phone, as an operator who tries things out does (PBT-12).

    It is recorded as the payer's own word, with the operator's name.

    :raises NothingPending: nothing waits, or it is too late.
    """
    mode = SmsMode.objects.filter(customer=customer).exclude(pending_number="").first()
    actor = replace(actor, requestor=Requestor.PAYER, label=f"{actor.label}, for the payer")
    if mode is None or not confirm(biller=customer.biller, number=mode.pending_number, actor=actor, now=now):
        raise NothingPending


def unenrol(*, customer: Customer, actor: Actor, now: datetime.datetime | None = None) -> None:
    """End a customer's pay by text, enrolled or waiting; the phone is told.

    :raises NotEnrolled: it is not on.
    """
    now = now or timezone.now()
    voice, line = programmes.voice_of(customer.biller), programmes.line_of(customer.biller)

    def say(before: State) -> None:
        if before.registered:
            _tell(before.number, customer, findings.Unenrolled, voice, line, now, f"unenrol:{customer.pk}:{now}")

    if not SmsMode.objects.filter(customer=customer).exists():
        raise NotEnrolled
    if not modes.update_sms_mode(customer=customer, state=modes.ended, actor=actor, say=say, now=now):
        raise NotEnrolled


def keep_number(*, customer: Customer, actor: Actor, now: datetime.datetime | None = None) -> None:
    """Give up a new number that waits; the old one goes on serving.

    :raises NothingPending: none waits, or there is no old one.
    """

    def change(before: State) -> State:
        return modes.run_out(before) if before.registered else before

    if not SmsMode.objects.filter(customer=customer).exists():
        raise NothingPending
    if not modes.update_sms_mode(customer=customer, state=change, actor=actor, now=now):
        raise NothingPending


def ask_again(*, customer: Customer, actor: Actor, now: datetime.datetime | None = None) -> None:
    """Send the text that asks for a confirmation once more.

    :raises NothingPending: nothing waits, or it is too late.
    :raises billing.throttles.TooManyTries: it was asked too often.
    """
    now = now or timezone.now()
    voice, line = programmes.offered(customer.biller)
    mode = SmsMode.objects.filter(customer=customer, pending_until__gt=now).exclude(pending_number="").first()
    if mode is None:
        raise NothingPending
    throttles.count(tries=[(ASKED_AGAIN, mode.pending_number)], now=now)
    with transaction.atomic(durable=True):
        _say_pending(mode.pending_number, customer, voice, line, now, key=f"again:{customer.pk}:{now.isoformat()}")
        audit.record(
            actor=actor, event="pay_by_text.asked_again", biller_id=customer.biller_id, customer_id=customer.pk,
            subject=f"customer:{customer.pk}", facts={"phone": f"•••• {mode.pending_number[-4:]}"},
        )  # fmt: skip


def end_run_out(
    *, actor: Actor, customer: Customer | None = None, now: datetime.datetime | None = None, most: int = 500
) -> int:
    """End registrations that nobody confirmed in time, of a customer or of every biller in scope; gives how many.

    Source: PBT-4; an expired confirmation is change logs and no update.
    """
    now = now or timezone.now()
    late = SmsMode.objects.filter(pending_until__lte=now).exclude(pending_number="").select_related("customer")
    if customer is not None:
        late = late.filter(customer=customer)
    ended = 0
    for mode in late.order_by("pending_until")[:most]:
        number = mode.pending_number

        def change(before: State, number: str = number) -> State:
            return modes.run_out(before) if before.pending_number == number else before

        ended += modes.update_sms_mode(customer=mode.customer, state=change, actor=actor, ran_out=True, now=now)
    return ended


def _teller(
    customer: Customer,
    number: str,
    voice: Voice,
    line: Line | None,
    now: datetime.datetime,
    *,
    key: str,
    unasked: bool = False,
    language: str = "",
) -> Callable[[State], None]:
    """Give what tells the phones of a change: the new number what it is for, the old one that it is let go."""

    def say(before: State) -> None:
        mode = SmsMode.objects.get(customer=customer)
        released = before.number if mode.registered and before.registered and before.number != mode.number else ""
        # Held in one order, whoever else holds both.
        for one in sorted({number, released} - {""}):
            phones.hold(customer.biller_id, one)
        if mode.registered and mode.number == number and (before.number != number or not before.registered):
            _tell(number, customer, findings.Enrolled, voice, line, now, key, unasked=unasked, language=language)
        elif mode.pending_number == number:
            _say_pending(number, customer, voice, line, now, key=key)
        if released:
            _tell(released, customer, findings.NumberReleased, voice, line, now, f"{key}:released", unasked=unasked)

    return say


def _say_pending(
    number: str, customer: Customer, voice: Voice, line: Line | None, now: datetime.datetime, *, key: str
) -> None:
    until = SmsMode.objects.values_list("pending_until", flat=True).get(customer=customer) or now
    _tell(number, customer, lambda _accounts: findings.RegistrationAsked(until), voice, line, now, key)


def _tell(
    number: str,
    customer: Customer,
    finding: Callable[[tuple[Account, ...]], Finding],
    voice: Voice,
    line: Line | None,
    now: datetime.datetime,
    key: str,
    *,
    unasked: bool = False,
    language: str = "",
) -> None:
    """Tell a phone what was found, with the accounts that it serves now, inside the caller's transaction."""
    if line is None:
        return
    phone = phones.hold(customer.biller_id, number)
    phone.language = phone.language or language
    talk = talks.talk_with(phone, programme=voice.programme, now=now)
    said = answer(talk.conversation, finding(talk.conversation.accounts))
    talks.keep(phone, said.conversation, reply=said.reply, now=now)
    talks.save([phone])
    if said.reply is not None:
        draft = talks.draft(
            said.reply, phone=phone, line=line, voice=voice, language=said.conversation.language, key=key,
            now=now, customer=customer, unasked=unasked,
        )  # fmt: skip
        texts.write(drafts=[draft])
