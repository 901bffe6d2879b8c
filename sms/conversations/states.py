"""What is known of one phone at one biller while it talks, and what is made of a text from it.

All of it is frozen and plain: the caller keeps it where it likes and hands it in again.

Source: PBT-14, PBT-15, PBT-16, PBT-17; evidence 3.2, 3.3.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal


class Language(enum.StrEnum):
    """Languages that are understood, and answered in."""

    ENGLISH = "en"
    SPANISH = "es"


class Standing(enum.StrEnum):
    """Where a phone stands with the biller's programme."""

    STRANGER = "stranger"  # no account is served here: never enrolled, only pending, or unenrolled through a portal
    ENROLLED = "enrolled"
    OPTED_OUT = "opted_out"  # revoked from the phone or by the provider: only an opt-in from the phone leads out


class Asked(enum.StrEnum):
    """What an open question is about."""

    FEE = "fee"  # CONFIRM or NO
    BALANCE = "balance"  # the balance changed since it was told: OK or PAY again, or NO


@dataclass(frozen=True, slots=True)
class Account:
    """One account that the phone serves. ``reference`` is the caller's own id; ``tail`` the last digits that a text may show."""

    reference: str
    tail: str


@dataclass(frozen=True, slots=True)
class Question:
    """What the payer was asked last about money. ``amount`` is without ``fee``; both in the biller's currency."""

    about: Asked
    account: Account
    amount: Decimal
    fee: Decimal
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Conversation:
    """The state of one phone's conversation with one biller. Times are aware.

    ``pending_until`` is set while a registration waits for a YES. ``accounts`` are the accounts that the phone serves, in
    the order in which it was told of them: ``PAY 2`` is the second. ``bill_offered`` is set while a bill text waits for
    its answer: only then does a bare OK mean "pay". ``guided_at`` is when help was last sent for an unknown text.
    """

    standing: Standing = Standing.STRANGER
    pending_until: datetime | None = None
    accounts: tuple[Account, ...] = ()
    bill_offered: bool = False
    question: Question | None = None
    guided_at: datetime | None = None
    language: Language = Language.ENGLISH


class Intent(enum.StrEnum):
    """What the sender is taken to want."""

    OPT_OUT = "opt_out"
    HELP = "help"
    OPT_IN = "opt_in"
    CONFIRM_REGISTRATION = "confirm_registration"
    DECLINE_REGISTRATION = "decline_registration"
    CONFIRM_FEE = "confirm_fee"
    ACCEPT_BALANCE = "accept_balance"
    DECLINE_PAYMENT = "decline_payment"
    PAY = "pay"
    BALANCE = "balance"
    COURTESY = "courtesy"  # thanks, or a phone's "Liked …": heard, and nothing to answer
    UNKNOWN = "unknown"


class Match(enum.StrEnum):
    """How the text was matched."""

    EXACT = "exact"  # as carriers match: the word alone, in any casing
    NORMALISED = "normalised"  # the word, after width, accents, punctuation and courtesies are taken off
    PHRASE = "phrase"
    EMOJI = "emoji"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Rule:
    """Which rule matched: kept with the text, and shown to a CSR."""

    match: Match
    wording: str = ""
    language: Language = Language.ENGLISH

    def __str__(self) -> str:
        return f"{self.match}: {self.wording}" if self.wording else str(self.match)


class Review(enum.StrEnum):
    """Why a CSR should read the text."""

    CANCEL = "cancel"  # opted out by CANCEL: may have meant a payment, or the service
    WRONG_NUMBER = "wrong_number"  # opted out, and the account needs another number
    DOUBTFUL_OPT_OUT = "doubtful_opt_out"  # speaks of stopping, and may mean something else
    DOUBTFUL_PAY = "doubtful_pay"  # speaks of paying, and cannot be read surely
    AFTER_OPT_OUT = "after_opt_out"  # an opted-out number wrote; it gets no answer by text
    MEDIA = "media"  # pictures without words
    EMPTY = "empty"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OptOut:
    """Unenrol every account of the phone and revoke its consent; already done is no error."""


@dataclass(frozen=True, slots=True)
class OptIn:
    """Lift the opt-out, confirm what is pending and restore what the opt-out ended (evidence 3.3)."""


@dataclass(frozen=True, slots=True)
class ConfirmRegistration:
    """Enrol what is pending."""


@dataclass(frozen=True, slots=True)
class DeclineRegistration:
    """End what is pending."""


@dataclass(frozen=True, slots=True)
class Pay:
    """Pay an account: ``amount`` is ``None`` for all that is due, ``account`` is ``None`` where several share the phone."""

    account: Account | None
    amount: Decimal | None


@dataclass(frozen=True, slots=True)
class ConfirmFee:
    """Pay exactly what was asked, fee and all."""

    account: Account
    amount: Decimal
    fee: Decimal


@dataclass(frozen=True, slots=True)
class AcceptBalance:
    """Pay the changed balance as it was told; if it changed once more, ask again."""

    account: Account
    amount: Decimal


@dataclass(frozen=True, slots=True)
class DeclinePayment:
    """Close the payment that was asked about. No money moves."""

    account: Account
    amount: Decimal


@dataclass(frozen=True, slots=True)
class TellBalance:
    """Look up what is due: of one account, or of all where ``account`` is ``None``."""

    account: Account | None


Action = (
    OptOut
    | OptIn
    | ConfirmRegistration
    | DeclineRegistration
    | Pay
    | ConfirmFee
    | AcceptBalance
    | DeclinePayment
    | TellBalance
)


class Message(enum.StrEnum):
    """What a text says; ``wordings`` has the words."""

    # Sent unasked
    REGISTRATION = "registration"
    BILL_READY = "bill_ready"
    BILL_READY_LINK = "bill_ready_link"
    BILL_READY_AUTOPAY = "bill_ready_autopay"
    PREPAID_LOW = "prepaid_low"
    NUMBER_RELEASED = "number_released"
    UNENROLLED = "unenrolled"
    # Consent
    OPTED_OUT = "opted_out"
    OPTED_OUT_CANCEL = "opted_out_cancel"
    ENROLLED = "enrolled"
    ALREADY_ENROLLED = "already_enrolled"
    REGISTRATION_DECLINED = "registration_declined"
    CONFIRM_FIRST = "confirm_first"
    NOT_ENROLLED = "not_enrolled"
    NOTHING_TO_CONFIRM = "nothing_to_confirm"
    # Help
    HELP = "help"
    UNKNOWN = "unknown"
    STOP_UNCLEAR = "stop_unclear"
    # Paying
    FEE_QUESTION = "fee_question"
    BALANCE_QUESTION = "balance_question"
    QUESTION_EXPIRED = "question_expired"
    PAYMENT_CALLED_OFF = "payment_called_off"
    PAY_UNCLEAR = "pay_unclear"
    AMOUNT_UNCLEAR = "amount_unclear"
    NO_SUCH_ACCOUNT = "no_such_account"
    SEVERAL_ACCOUNTS = "several_accounts"
    BALANCES = "balances"
    PREPAID_LEFT = "prepaid_left"
    PAID = "paid"
    DECLINED = "declined"
    NOTHING_DUE = "nothing_due"
    ALREADY_PAID = "already_paid"
    IN_PROGRESS = "in_progress"
    NO_METHOD = "no_method"
    EXPIRED_METHOD = "expired_method"
    BLOCKED = "blocked"
    PARTIAL_REFUSED = "partial_refused"
    AMOUNT_REFUSED = "amount_refused"
    UNAVAILABLE = "unavailable"


UNASKED = frozenset({Message.BILL_READY, Message.BILL_READY_LINK, Message.BILL_READY_AUTOPAY, Message.PREPAID_LOW})
"""Messages that answer nobody: they keep the hours and count against what a phone may get in a day."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a message is about; those that its wording names are set. Amounts are in the biller's currency.

    ``due`` lists accounts with what each owes, in the order of ``PAY 1``, ``PAY 2``; ``tail`` are an account's last digits,
    ``index`` its number where several share the phone.
    """

    tail: str = ""
    index: int | None = None
    amount: Decimal | None = None
    fee: Decimal | None = None
    due_on: date | None = None
    reference: str = ""
    link: str = ""
    due: tuple[tuple[Account, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """One text to send back."""

    message: Message
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of a text.

    ``action`` is to be done to the world; where there is one and no ``reply``, what is found is told to ``answer``, which
    gives the reply. ``review`` puts the text before a CSR, whether or not it was answered.
    """

    conversation: Conversation
    intent: Intent
    rule: Rule
    reply: Reply | None = None
    action: Action | None = None
    review: Review | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """The next state, and the text to send, if any."""

    conversation: Conversation
    reply: Reply | None = None
