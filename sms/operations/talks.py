"""Talks: how far the conversation with a phone has come, kept on the phone's row, and what is said next.

The row holds what only the conversation knows; what it serves and what it waits for is read from the SMS modes each time,
so that no portal and no job has to tell the conversation of what it did.

Source: PBT-14 to PBT-17.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count

from billing.models import Customer
from sms.conversations import Account, Conversation, Language, Message, Reply, Standing
from sms.conversations.states import UNASKED, Asked, Question
from sms.models import OPT_OUT_CONFIRMATION, Line, Phone, Programme, SmsMode, Text, TextState
from sms.operations.programmes import Voice, open_from
from sms.operations.texts import Draft

# A confirmation of an opt-out goes at once, or not at all (evidence 3.4).
CONFIRMED_WITHIN = datetime.timedelta(minutes=5)
# What a registration or a change says is worth nothing much later.
_FRESH = datetime.timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation with the customers that its accounts stand for. ``stale`` says that the payer was told other accounts."""

    phone: Phone
    conversation: Conversation
    customers: Mapping[str, Customer]
    stale: bool

    def customer(self, account: Account | None) -> Customer | None:
        """Give the customer of an account that this phone serves."""
        return self.customers.get(account.reference) if account is not None else None


def account_of(customer: Customer) -> Account:
    """Give a customer as a conversation knows it."""
    return Account(str(customer.pk), tail_of(customer.shown_number))


def tail_of(number: str) -> str:
    """Give an account number's last four letters and digits, with what stands between them."""
    places = [place for place, sign in enumerate(number) if sign.isalnum()]
    return number[places[-4] :] if len(places) > 4 else number


def talk_with(phone: Phone, *, programme: Programme, now: datetime.datetime) -> Talk:
    """Read one conversation."""
    return talks_with([phone], programmes={phone.biller_id: programme}, now=now)[phone.pk]


def talks_with(
    phones: Sequence[Phone], *, programmes: Mapping[int, Programme], now: datetime.datetime
) -> dict[int, Talk]:
    """Read the conversations with many phones, in two queries; by the phones' ids."""
    numbers = [phone.number for phone in phones]
    billers = {phone.biller_id: programmes[phone.biller_id].biller for phone in phones}
    mine = SmsMode.objects.filter(biller_id__in=billers).select_related("customer")
    served: dict[tuple[int, str], list[SmsMode]] = {}
    for mode in mine.filter(registered=True, number__in=numbers).order_by("customer_id"):
        served.setdefault((mode.biller_id, mode.number), []).append(mode)
    pending: dict[tuple[int, str], list[SmsMode]] = {}
    for mode in mine.filter(pending_number__in=numbers):
        pending.setdefault((mode.biller_id, mode.pending_number), []).append(mode)
    for mode in [one for found in (served, pending) for modes in found.values() for one in modes]:
        # One object for all, instead of a row of the biller's columns for each.
        mode.customer.biller = billers[mode.biller_id]
    return {
        phone.pk: _talk(
            phone,
            served.get((phone.biller_id, phone.number), []),
            pending.get((phone.biller_id, phone.number), []),
            programmes[phone.biller_id],
            now,
        )
        for phone in phones
    }


def _talk(
    phone: Phone, served: Sequence[SmsMode], pending: Sequence[SmsMode], programme: Programme, now: datetime.datetime
) -> Talk:
    by_id = {mode.customer_id: mode.customer for mode in served}
    # Those it was told of keep their places; new ones come after them.
    order = [pk for pk in phone.accounts if pk in by_id]
    order += [pk for pk in by_id if pk not in order]
    ends = [mode.pending_until for mode in pending if mode.pending_until and mode.pending_until > now]
    standing = Standing.ENROLLED if served else Standing.STRANGER
    if phone.refuses(programme.kind):
        standing = Standing.OPTED_OUT
    language = phone.language or next((one.customer.language for one in [*served, *pending]), "")
    conversation = Conversation(
        standing=standing,
        pending_until=max(ends, default=None),
        accounts=tuple(account_of(by_id[pk]) for pk in order),
        bill_offered=phone.bill_offered,
        question=_question(phone.question),
        guided_at=phone.guided_at,
        language=Language.SPANISH if language[:2] == "es" else Language.ENGLISH,
    )
    known = {mode.customer_id: mode.customer for mode in [*served, *pending]}
    return Talk(
        phone,
        conversation,
        {str(pk): customer for pk, customer in known.items()},
        stale=len(phone.accounts) > 1 and phone.accounts != order,
    )


def keep(phone: Phone, after: Conversation, *, reply: Reply | None, now: datetime.datetime) -> None:
    """Put down on a phone, unsaved, what a conversation has come to and what the reply tells of balances."""
    accounts = [int(account.reference) for account in after.accounts]
    if accounts[: len(phone.accounts)] == phone.accounts or (
        reply is not None and len(reply.facts.due) == len(accounts)
    ):
        # Otherwise the numbers that the payer was told stand for other accounts now, and are told anew before they count.
        phone.accounts = accounts
    phone.bill_offered, phone.guided_at = after.bill_offered, after.guided_at
    phone.language = after.language.value
    phone.question = _written(after.question)
    if reply is None:
        return
    facts = reply.facts
    told = {account.reference: str(owed) for account, owed in facts.due}
    if told:
        phone.told = {**phone.told, **told}
        phone.told_at = now


def tell(phone: Phone, customer: Customer, amount: Decimal | None, now: datetime.datetime) -> None:
    """Put down, unsaved, what a phone was told that an account owes; ``None`` where that was answered by a payment."""
    told = {pk: owed for pk, owed in phone.told.items() if pk != str(customer.pk)}
    if amount is not None:
        told[str(customer.pk)] = str(amount)
        phone.told_at = now
    phone.told = told


def save(phones: Iterable[Phone]) -> None:
    """Write conversations down in one statement, inside the caller's transaction, which holds the phones' rows."""
    rows = [
        {
            "id": phone.pk, "accounts": phone.accounts, "bill_offered": phone.bill_offered, "guided_at": phone.guided_at,
            "language": phone.language, "question": phone.question, "told": phone.told, "told_at": phone.told_at,
            "busy_until": phone.busy_until,
        }
        for phone in phones
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sms_phone p
            SET accounts = v.accounts, bill_offered = v.bill_offered, guided_at = v.guided_at, language = v.language,
                question = v.question, told = v.told, told_at = v.told_at, busy_until = v.busy_until
            FROM jsonb_to_recordset(%s::jsonb) AS v (
                id bigint, accounts bigint[], bill_offered boolean, guided_at timestamptz, language text, question jsonb,
                told jsonb, told_at timestamptz, busy_until timestamptz
            )
            WHERE p.id = v.id
            """,
            [json.dumps(rows, default=str)],
        )


def draft(
    reply: Reply,
    *,
    phone: Phone,
    line: Line,
    voice: Voice,
    language: Language,
    key: str,
    now: datetime.datetime,
    customer: Customer | None = None,
    unasked: bool = False,
) -> Draft:
    """Make a text of a reply, in the biller's words, due now or, where nobody asked for it, when the hours allow.

    ``unasked`` says that nobody did, where the message itself does not.
    """
    programme = voice.programme
    due_at, expires_at = now, now + _FRESH
    if unasked or reply.message in UNASKED:
        due_at = open_from(now, programme=programme, number=phone.number)
        expires_at = due_at + _FRESH
    kind = str(reply.message)
    if reply.message in {Message.OPTED_OUT, Message.OPTED_OUT_CANCEL}:
        kind, expires_at = OPT_OUT_CONFIRMATION, now + CONFIRMED_WITHIN
    body = voice.words(reply, language)
    return Draft(
        line=line, phone=phone, body=body, kind=kind, key=key, customer_id=customer.pk if customer else None,
        due_at=due_at, expires_at=expires_at,
    )  # fmt: skip


def unasked_today(biller_id: int, numbers: Sequence[str], *, now: datetime.datetime) -> Counter[str]:
    """Count the texts of the last 24 hours that nobody asked for, by the phone's number."""
    kinds = [str(message) for message in UNASKED]
    since = now - datetime.timedelta(hours=24)
    mine = Text.objects.filter(biller_id=biller_id, phone__in=numbers, created_at__gt=since, kind__in=kinds)
    counted = mine.exclude(state=TextState.FAILED).values_list("phone").annotate(n=Count("pk"))
    return Counter(dict(counted))


def _question(kept: Mapping[str, Any] | None) -> Question | None:
    if kept is None:
        return None
    return Question(
        Asked(kept["about"]),
        Account(kept["account"], kept["tail"]),
        Decimal(kept["amount"]),
        Decimal(kept["fee"]),
        datetime.datetime.fromisoformat(kept["expires_at"]),
    )


def _written(question: Question | None) -> dict[str, str] | None:
    if question is None:
        return None
    return {
        "about": question.about.value,
        "account": question.account.reference,
        "tail": question.account.tail,
        "amount": str(question.amount),
        "fee": str(question.fee),
        "expires_at": question.expires_at.isoformat(),
    }
