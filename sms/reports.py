"""What pages read of texting: conversations, what each text was about and what became of it, in words.

Source: PBT-10, PBT-15, PBT-17; evidence 3.5 (plain words, never the provider's).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q

from billing import formats
from billing.models import Biller, Customer
from billing.models.tenants import CustomerOwnedQuerySet
from sms.conversations.states import Intent, Match, Message, Review
from sms.models import OPT_OUT_CONFIRMATION, Direction, Phone, SmsMode, Text, TextState
from sms.providers.base import Reason, Status

MESSAGES: dict[str, str] = {
    Message.REGISTRATION: "Asks to confirm",
    Message.BILL_READY: "New bill",
    Message.BILL_READY_LINK: "New bill, with a link",
    Message.BILL_READY_AUTOPAY: "New bill, paid by AutoPay",
    Message.PREPAID_LOW: "Prepaid balance is low",
    Message.NUMBER_RELEASED: "Number let go",
    Message.UNENROLLED: "Unenrolled",
    Message.OPTED_OUT: "Stop is confirmed",
    Message.OPTED_OUT_CANCEL: "Stop by CANCEL is confirmed",
    Message.ENROLLED: "Enrolled",
    Message.ALREADY_ENROLLED: "Enrolled already",
    Message.REGISTRATION_DECLINED: "Not enrolled, as asked",
    Message.CONFIRM_FIRST: "To be confirmed first",
    Message.NOT_ENROLLED: "Phone is not enrolled",
    Message.NOTHING_TO_CONFIRM: "Nothing to confirm",
    Message.HELP: "Help",
    Message.UNKNOWN: "Not understood",
    Message.STOP_UNCLEAR: "Stop is not clear",
    Message.FEE_QUESTION: "Asks about the fee",
    Message.BALANCE_QUESTION: "Asks about the balance",
    Message.QUESTION_EXPIRED: "Answer came too late",
    Message.PAYMENT_CALLED_OFF: "No payment, as asked",
    Message.PAY_UNCLEAR: "Payment is not clear",
    Message.AMOUNT_UNCLEAR: "Amount is not clear",
    Message.NO_SUCH_ACCOUNT: "No such account",
    Message.SEVERAL_ACCOUNTS: "Asks which account",
    Message.BALANCES: "Balance",
    Message.PREPAID_LEFT: "What is left, prepaid",
    Message.PAID: "Receipt",
    Message.DECLINED: "Declined",
    Message.NOTHING_DUE: "Nothing is due",
    Message.ALREADY_PAID: "Paid already",
    Message.IN_PROGRESS: "Payment in progress",
    Message.NO_METHOD: "No method on file",
    Message.EXPIRED_METHOD: "Method has expired",
    Message.BLOCKED: "Payment is blocked",
    Message.PARTIAL_REFUSED: "No partial payment",
    Message.AMOUNT_REFUSED: "Amount is not taken",
    Message.UNAVAILABLE: "No payments right now",
}
"""What each of our texts is about."""

INTENTS: dict[str, str] = {
    Intent.OPT_OUT: "Stop",
    Intent.HELP: "Help",
    Intent.OPT_IN: "Start",
    Intent.CONFIRM_REGISTRATION: "Yes to texts",
    Intent.DECLINE_REGISTRATION: "No to texts",
    Intent.CONFIRM_FEE: "Yes to the fee",
    Intent.ACCEPT_BALANCE: "Yes to the balance",
    Intent.DECLINE_PAYMENT: "No to the payment",
    Intent.PAY: "Pay",
    Intent.BALANCE: "Balance",
    Intent.COURTESY: "Thanks",
    Intent.UNKNOWN: "Not understood",
}
"""What a text from a phone is taken for."""

REVIEWS: dict[str, str] = {
    Review.CANCEL: "Stop by CANCEL",
    Review.WRONG_NUMBER: "Wrong number",
    Review.DOUBTFUL_OPT_OUT: "May ask us to stop",
    Review.DOUBTFUL_PAY: "May ask to pay",
    Review.AFTER_OPT_OUT: "Wrote after its stop",
    Review.MEDIA: "Picture without words",
    Review.EMPTY: "Empty",
    Review.UNKNOWN: "Not understood",
}
"""Why somebody should read a text."""

_ADVICE: dict[str, str] = {
    Review.CANCEL: "Carriers take CANCEL for a stop, so this phone was opted out. The payer may have meant a payment or the"
    " service: ask them.",
    Review.WRONG_NUMBER: "Whoever has this phone is no customer, so it was opted out. The account needs another number.",
    Review.DOUBTFUL_OPT_OUT: "It speaks of stopping and may mean something else. If it asks for no more texts, opt the phone"
    " out: the law asks for that by any wording.",
    Review.DOUBTFUL_PAY: "It speaks of paying and cannot be read surely. No money was taken.",
    Review.AFTER_OPT_OUT: "This phone is opted out and gets no answer by text. Call the customer if it asks for something.",
    Review.MEDIA: "It has pictures and no words; pictures are not kept.",
    Review.EMPTY: "It has no words.",
    Review.UNKNOWN: "Nobody understood it. No money was taken and nothing was changed.",
}

_MATCHES = {
    Match.EXACT: "the word “%s” alone",
    Match.NORMALISED: "the word “%s”, with other signs or courtesies",
    Match.PHRASE: "the phrase “%s”",
    Match.EMOJI: "the sign “%s”",
}

_REASONS: dict[str, str] = {
    Reason.UNSUBSCRIBED: "This phone has opted out of texts.",
    Reason.BAD_NUMBER: "This number takes no texts. Ask the customer for a mobile number.",
    Reason.UNREACHABLE: "The phone could not be reached.",
    Reason.BLOCKED: "The carrier or the phone blocks our texts.",
    Reason.NUMBER_UNKNOWN: "No phone has this number any more.",
    Reason.CARRIER_UNREACHABLE: "It is a landline, or its carrier could not be reached.",
    Reason.FILTERED: "The carrier took the text for spam. Its words need a look.",
    Reason.UNEXPLAINED: "It did not arrive, and nobody said why.",
    Reason.UNREGISTERED: "Our number is not registered with the carriers, or is suspended.",
    Reason.RATE_LIMITED: "Too many texts went out in too short a time.",
    Reason.EXPIRED: "Its time ran out before it could be sent.",
    Reason.UNSENDABLE: "The provider does not take such a text.",
}

_STATUSES: dict[str, str] = {
    Status.QUEUED: "The provider has it",
    Status.SENDING: "The provider is sending it",
    Status.SENT: "The carrier has it",
    Status.DELIVERED: "The phone has it",
    Status.READ: "It was read",
    Status.UNDELIVERED: "The carrier could not hand it over",
    Status.FAILED: "It never left the provider",
    Status.CANCELED: "It was called off",
}


def kinds() -> list[tuple[str, list[tuple[str, str]]]]:
    """Give every kind of text as grouped form choices."""
    ours = {**MESSAGES, OPT_OUT_CONFIRMATION: MESSAGES[Message.OPTED_OUT]}
    ours = {kind: words for kind, words in ours.items() if kind not in {Message.OPTED_OUT, Message.OPTED_OUT_CANCEL}}
    return [
        ("From the phone", [(str(kind), words) for kind, words in INTENTS.items()]),
        ("To the phone", [(f"to:{kind}", words) for kind, words in ours.items()]),
    ]


def kind_words(text: Text) -> str:
    """Say what a text is about, or what it was taken for."""
    if text.direction == Direction.IN:
        return INTENTS.get(text.kind, "")
    return MESSAGES.get(Message.OPTED_OUT if text.kind == OPT_OUT_CONFIRMATION else text.kind, text.kind)


def review_words(text: Text) -> str:
    """Say why somebody should read a text."""
    return REVIEWS.get(text.review, text.review)


def advice(text: Text) -> str:
    """Say what a person may make of a text that waits for them."""
    return _ADVICE.get(text.review, "")


def rule_words(text: Text) -> str:
    """Say by which rule a text was taken for what it was."""
    match, _colon, wording = text.rule.partition(": ")
    known = {str(one): words for one, words in _MATCHES.items()}
    return known[match] % wording if match in known and wording else ""


def trouble(text: Text) -> str:
    """Say in plain words why a text did not arrive, and when it is tried again."""
    words = _REASONS.get(text.reason, "")
    if words and text.state == TextState.WAITING:
        return f"{words} We will try again at {formats.clock(text.due_at)}."
    if text.state == TextState.UNKNOWN:
        return (
            "The provider has not said whether it took this text. It is not sent again, because it might arrive twice."
        )
    return words


def provider_words(text: Text) -> str:
    """Say the provider's last word on a text."""
    return _STATUSES.get(text.status, "")


def shown_detail(text: Text) -> datetime.datetime | None:
    """Give what completes the words of a text's status: when a text goes out that waits for its hour."""
    waits = text.state == TextState.WAITING and text.due_at > text.created_at + datetime.timedelta(minutes=1)
    return text.due_at if waits else None


# ---- Conversations ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bubble:
    """One text of a conversation, in words."""

    text: Text
    ours: bool
    about: str
    rule: str
    trouble: str
    detail: datetime.datetime | None


def bubbles(texts: Iterable[Text]) -> list[Bubble]:
    """Put texts into words."""
    return [
        Bubble(
            one, one.direction == Direction.OUT, kind_words(one), rule_words(one), trouble(one), shown_detail(one)
        )
        for one in texts
    ]  # fmt: skip


def conversation(
    customer: Customer, numbers: Iterable[str], *, before: datetime.datetime | None, limit: int
) -> list[Text]:
    """Give the texts about an account, and those with its phones that are about none, the newest first."""
    bound = Q() if before is None else Q(created_at__lt=before)
    own = Text.objects.filter(bound, customer=customer).order_by("-created_at", "-pk")[:limit]
    found = {text.pk: text for text in own}
    for number in set(numbers) - {""}:
        with_phone = Text.objects.filter(bound, biller_id=customer.biller_id, phone=number, customer__isnull=True)
        found |= {text.pk: text for text in with_phone.order_by("-created_at", "-pk")[:limit]}
    return sorted(found.values(), key=lambda text: (text.created_at, text.pk), reverse=True)[:limit]


def around(text: Text, *, each: int = 8) -> list[Text]:
    """Give a text with what was said with its phone before and after, the oldest first."""
    same = Text.objects.filter(biller_id=text.biller_id, phone=text.phone)
    place = {"created_at": text.created_at, "pk": text.pk}
    earlier = same.filter(Q(created_at__lt=place["created_at"]) | Q(created_at=place["created_at"], pk__lt=place["pk"]))
    after = same.filter(Q(created_at__gt=place["created_at"]) | Q(created_at=place["created_at"], pk__gt=place["pk"]))
    return [
        *reversed(earlier.order_by("-created_at", "-pk")[:each]), text, *after.order_by("created_at", "pk")[:each],
    ]  # fmt: skip


def phone_of(biller: Biller, number: str) -> Phone | None:
    """Give how a phone stands with a biller; none where it never had to do with it."""
    return Phone.objects.filter(biller=biller, number=number).first()


def served_by(biller: Biller, number: str, *, most: int = 20) -> list[SmsMode]:
    """Give the enrolments that a phone serves or would serve once it confirms."""
    mine = SmsMode.objects.filter(biller=biller).select_related("customer")
    found = {one.pk: one for one in mine.filter(number=number, registered=True).order_by("customer_id")[:most]}
    found |= {one.pk: one for one in mine.filter(pending_number=number).order_by("customer_id")[:most]}
    return list(found.values())[:most]


def to_review(biller: Biller) -> CustomerOwnedQuerySet[Text]:
    """Give the texts that wait for somebody to read them."""
    return Text.objects.filter(biller=biller, reviewed_at__isnull=True).exclude(review="")
