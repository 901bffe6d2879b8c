"""What a payment gateway driver is: the one door through which real money moves.

A driver knows its processor's wire and nothing of Django. It gets frozen requests, answers with frozen results, and
raises one of four errors, each of which says what the caller must do next. A decline is a result, never an error.
``tests/contracts/test_gateways.py`` runs the same suite over every driver; ``docs/adding-a-gateway.md`` is the recipe.

Source: PAY-1, PAY-2, PAY-22, PAY-23.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Protocol, runtime_checkable


class Command(enum.StrEnum):
    """What the processor is asked to do (PAY-1)."""

    VERIFY = "verify"
    AUTHORIZE = "authorize"
    CHARGE = "charge"  # the seed's conditional deposit: authorize and deposit in one
    DEPOSIT = "deposit"
    RELEASE = "release"  # let the whole money of an authorization go: the bank holds it no longer
    REFUND = "refund"  # a whole charge that has not settled yet is voided instead, where the processor can


class Result(enum.IntEnum):
    """What came of an attempt (PAY-1); 999 and above are checkpoints, kept by the engine and never sent by a driver."""

    PASS = 0
    NO_ANSWER = 1
    AVS_FAIL = 2
    LOCATION_FAIL = 3
    ZIP_FAIL = 4
    BAD_CARD = 5
    SERVICE_UNAVAILABLE = 6
    SOFT_DECLINE = 7
    HARD_DECLINE = 8
    UNDER_MINIMUM = 9
    INVALID_COMMAND = 10
    FAIL_SELECT_ITEMS = 11
    CVV_BAD = 12
    NO_CREDIT_BALANCE = 13
    LOGICAL_PROBLEM = 14
    FORMAT_ERROR = 15
    INVALID_CONTENT = 16
    TECHNICAL_PROBLEM = 17


HARD = (Result.BAD_CARD, Result.HARD_DECLINE)
"""The bank will not pay from this card or account, however often it is asked."""


class GatewayError(Exception):
    """A driver could not get a result; the subclass says what to do."""


class NotSent(GatewayError):
    """Provably nothing reached the processor: the same attempt may be sent again."""


class OutcomeUnknown(GatewayError):
    """The processor may have acted (time-out, line dropped, unreadable answer): look it up, never retry blindly."""


class Refused(GatewayError):
    """The processor refused the message itself: final, no money moved."""


class Misconfigured(GatewayError):
    """Credentials, address or merchant are wrong: stop and tell the operator."""


class NotAuthentic(Exception):
    """What claims to be told by the processor was not, or nobody can say so."""


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """One message about money.

    ``key`` is the attempt's id: our reference at the processor and its de-duplication key, the same on every resend.
    ``amount`` has the currency's own places. ``account`` is the customer's display number, for the processor's reports.
    ``reference`` is the processor's reference of the authorization to deposit or release, or of the charge to refund. ``payment``
    is our payment's id, which the biller's own system hears: the processor keeps it and may give it back. ``descriptor`` is what
    the payer's statement is to say, "DBA*item", and ``descriptor_phone`` the number there in place of the city (PAY-21); nothing
    where the merchant's usual ones are to stand. ``debit_method`` is how the holder of a bank account agreed: I, T, W, P or A,
    and ``debit_facts`` what such a method demands (PAY-18).
    """

    key: str
    command: Command
    amount: Decimal
    currency: str
    token: str
    tender: str  # "card" or "bank"
    transaction_type: str  # "internet", "moto" or "recurring" (PAY-19)
    account: str = ""
    reference: str = ""
    payment: str = ""
    descriptor: str = ""
    descriptor_phone: str = ""
    debit_method: str = ""
    debit_facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the processor decided about one key; ``result`` is ``Result.PASS`` when the command was carried out.

    ``code`` is the processor's own word for it, kept so that a table of codes can be corrected afterwards (PAY-4).
    ``voided`` says of a refund that the charge was taken back before it settled: the payer's statement shows neither (PAY-33).
    ``avs`` and ``cvv`` are what the issuer said of a verified card's address and security code, in the networks' letters; P
    is a security code that was not given, nothing where the processor does not say (PAY-14).
    ``confirmed`` says of a bank's debit that the bank has made it good, where the processor knows (PAY-34).
    ``request`` is the message as the processor keeps it, in response files that name it: by it a charge that our book
    has lost is known again. Nothing where the processor does not say.
    """

    key: str
    result: int
    approval_code: str = ""
    processor_reference: str = ""
    message: str = ""
    code: str = ""
    amount: Decimal | None = None
    answered_at: datetime | None = None
    voided: bool = False
    avs: str = ""
    cvv: str = ""
    confirmed: bool = field(default=False, compare=False)
    request: ChargeRequest | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """No result for one key of a ``send``; ``error`` says whether it may have reached the processor."""

    key: str
    error: GatewayError


@dataclass(frozen=True, slots=True)
class Absent:
    """The processor does not know the key.

    Evidence only after the route's settle time, and only where it de-duplicates.
    """

    key: str


@dataclass(frozen=True, slots=True)
class InstrumentDetails:
    """What may be kept of a card or bank account: never its number."""

    token: str  # ends in the last four digits (PAY-17)
    kind: str  # "card" or "bank"
    brand: str  # "visa", "mastercard", … or the bank's name
    last4: str
    holder: str = ""
    expires_on: date | None = None  # last day of the expiry month, cards only


@dataclass(frozen=True, slots=True)
class HostedFields:
    """Where the browser finds the processor's own card and bank fields.

    ``origin`` is the only foreign origin that a payment page may frame. ``frame_url`` is opened in an ``<iframe>``; it
    posts ``{"type": "ratepayer-token", "token": …}`` to the parent window when the details are good, and
    ``{"type": "ratepayer-height", "height": …}`` (CSS pixels) whenever its height changes. ``redirect_url`` is the full
    page for browsers without JavaScript; it comes back to ``return_url`` with ``token=…`` added to the query.

    Where the processor's fields are a script (:class:`ScriptedFields`), a page of ours that runs it stands in the frame.
    """

    origin: str
    frame_url: str
    redirect_url: str


@dataclass(frozen=True, slots=True)
class FieldScript:
    """What a page of ours needs to run a processor's own fields: its script, and what lets it take one method.

    ``origins`` gives, by directive of a content security policy, what the script must be allowed in that page alone.
    """

    script_url: str
    origins: Mapping[str, Sequence[str]]
    publishable_key: str
    client_secret: str


@dataclass(frozen=True, slots=True)
class ProcessorEvent:
    """What a processor tells unasked: a hint to look, never a result.

    ``id`` is the processor's, the same however often it is told. ``keys`` are the attempts whose outcome it is about;
    ``reverses`` says that money may have moved back.
    """

    id: str
    kind: str
    keys: tuple[str, ...]
    reverses: bool
    happened_at: datetime


@dataclass(frozen=True, slots=True)
class ResponseFile:
    """One of the processor's files of results; ``name`` is unique, ``answers`` may repeat what is known already.

    ``covers_until`` is the moment up to which the file names every charge of the merchant. A request that was still
    under way then is in a later file: absence from a file says something only of what was sent long enough before.
    ``unresolved`` are keys that the file names without a result: they are not absent, and are looked up.
    """

    name: str
    covers_from: datetime
    covers_until: datetime
    answers: Sequence[Answer] = field(default_factory=tuple)
    unresolved: Sequence[str] = ()


class ReversalKind(enum.StrEnum):
    """How money moves back without our asking (PAY-32)."""

    RETURN = "return"  # the bank did not honour a debit
    CHARGEBACK = "chargeback"  # the payer disputed it, and the money was taken from the biller
    CHARGEBACK_WON = "chargeback_won"  # a disputed charge that the biller has after all


@dataclass(frozen=True, slots=True)
class Reversal:
    """Money of a charge that moved back, as the processor tells it.

    ``reference`` is the processor's own name of the event: however often it is told, it happened once. ``key`` is that of
    the charge or deposit. ``amount`` is what moved, in the charge's currency. ``code`` is the bank's or the network's
    reason, ``reason`` the same in words. ``for_good`` says of a return that the bank would honour no other debit of the account
    either: by the table that answers are read by, as of a hard decline.
    """

    reference: str
    key: str
    kind: ReversalKind
    amount: Decimal
    code: str
    reason: str
    happened_at: datetime
    for_good: bool = False

    def judged(self, codes: Mapping[str, int]) -> Reversal:
        """Give it with whether it is for good by a table of results; a code that nobody has mapped is a hard decline."""
        hard = self.kind == ReversalKind.RETURN and codes.get(self.code, Result.HARD_DECLINE) in HARD
        return replace(self, for_good=hard)


class Gateway(Protocol):
    """A processor, spoken to for one merchant.

    ``dedupe_window`` is how long the processor recognises a repeated key, ``None`` where it does not: outside of it an
    automatic resubmission is impossible. ``settle_time`` is how long after sending "absent" begins to be evidence.
    ``authorization_life`` is how long the processor holds the money of an authorization; a deposit after it is taken as
    well, and costs more (PAY-7). ``verification_amount`` is zero where the processor verifies a method without money; else that
    of a small authorization which is never deposited (PAY-14). ``batch_limit`` is how many requests are given to one ``send``
    before their answers are settled: in one message, or in many of which several go at once.
    """

    name: str
    dedupe_window: timedelta | None
    settle_time: timedelta
    authorization_life: timedelta
    verification_amount: Decimal
    batch_limit: int

    def send(self, requests: Sequence[ChargeRequest]) -> Iterator[Answer | Lost]:
        """Send each request once and give exactly one result for each, in any order.

        Never raises for a single request's trouble; an error that holds for all (the processor cannot be reached, the
        credentials are wrong) is given as ``Lost`` for each.
        """
        ...

    def lookup(self, keys: Sequence[str], *, about: Mapping[str, str] | None = None) -> Iterator[Answer | Absent]:
        """Ask what became of each key.

        ``about`` gives, by key, the processor's reference of what a deposit, release or refund is about: some find them by that.

        :raises OutcomeUnknown: the processor did not answer, nothing is known of any key not yet given.
        :raises Misconfigured: the credentials are wrong.
        """
        ...

    def response_files(self, since: datetime | None = None) -> Iterator[ResponseFile]:
        """Give every file of results that the processor holds for the merchant, oldest first (PAY-10).

        ``since`` asks for files that reach back so far, of a processor that makes them as they are asked for; it may give
        older ones too.

        :raises OutcomeUnknown: the processor did not answer, or a file is damaged; files given before are good.
        :raises Misconfigured: the credentials are wrong.
        """
        ...

    def reversals(self, since: datetime) -> Iterator[Reversal]:
        """Give every return and chargeback of the merchant that the processor learnt of at or after a moment, in its order.

        :raises OutcomeUnknown: the processor did not answer, or what it said cannot be read; those given before are good.
        :raises Misconfigured: the credentials are wrong.
        """
        ...

    def hosted_fields(
        self,
        *,
        return_url: str,
        parent_origin: str,
        language: str,
        kind: str = "card",
        own_page: str = "",
        cvv_required: bool = True,
    ) -> HostedFields:
        """Say where the browser finds the processor's own fields for "card" or "bank" (PAY-16, PAY-17).

        ``cvv_required`` says whether a card is taken without its security code, where the processor's fields can be told.
        ``own_page`` is the address of the page of ours that runs a script of the processor's, for those that need one.
        """
        ...

    def describe_token(self, token: str, *, account: str = "") -> InstrumentDetails:
        """Ask the processor what a token stands for.

        ``account`` is the display number of the customer for whom a browser brought it: what was entered for another is not
        taken, where the processor can tell. Nothing where a machine vouches for the token.

        :raises Refused: the processor does not know the token, or it was refused by validation.
        :raises OutcomeUnknown: no answer.
        :raises Misconfigured: the credentials are wrong.
        """
        ...

    def ping(self) -> None:
        """Return when the processor answers; raise one of the four errors where it does not."""
        ...


@runtime_checkable
class ScriptedFields(Protocol):
    """A driver whose processor has no page to frame but a script, which makes fields of its own origin in a page of ours.

    ``key`` is the entry's: the same again gives the same. ``account`` is the customer's display number.
    """

    def open_fields(self, *, kind: str, account: str, key: str) -> FieldScript:
        """Begin the entry of one method.

        :raises OutcomeUnknown: the processor did not answer.
        :raises Refused: it refused.
        :raises Misconfigured: the credentials are wrong.
        """
        ...

    def leave_for_fields(self, *, kind: str, account: str, key: str, return_url: str, language: str) -> str:
        """Give the address of the processor's own page, as ``HostedFields.redirect_url`` has it; raises the same errors."""
        ...


@runtime_checkable
class EventSource(Protocol):
    """A driver whose processor tells of events by webhook."""

    def read_event(self, *, body: bytes, headers: Mapping[str, str]) -> ProcessorEvent:
        """Check who says it, over the bytes as they came, and read it.

        :raises NotAuthentic: it is not the processor's, too old, or no event.
        """
        ...
