"""What a connector is: how one kind of biller's system is told of what happened.

A connector writes and reads envelopes and does no input or output of its own: the delivery loop owns the sockets, so
that one loop is fair to every endpoint and a connector can be tested with nothing but bytes. It knows no Django.
``tests/contracts/test_connectors.py`` runs the same suite over every connector.

Source: MSP-6 to MSP-17; the design's "Two outboxes".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

MAX_ANSWER = 2 * 1024 * 1024
"""Bytes of an answer worth reading: the delivery loop stops there, and readers refuse more."""


class ConnectorError(Exception):
    """A message could not be told; the subclass says what to do, the text why, in words for a CSR.

    ``answered`` is true where the biller's system was reached and answered, so that its endpoint is alive and the try
    counts against this message, not against the endpoint. ``message_id`` names the one message of several that
    cannot be written; empty where the fault is everybody's.
    """

    def __init__(self, reason: str = "", *, answered: bool = False, message_id: str = "") -> None:
        super().__init__(reason)
        self.answered = answered
        self.message_id = message_id


class NotSent(ConnectorError):
    """Provably nothing reached the biller's system: send again when the endpoint is well."""


class OutcomeUnknown(ConnectorError):
    """It may have been processed (time-out, line dropped, unreadable answer): send again, byte for byte."""


class Refused(ConnectorError):
    """The biller's system understood and said no; the text says why."""


class Misconfigured(ConnectorError):
    """The endpoint's address, credentials or settings are wrong: stop and tell the operator."""


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint as its connector needs it. ``options`` are the connector's own (service version, modes, header).

    ``old_password`` is the secret before the present one, for as long as both are good.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    time_zone: str = "UTC"
    options: Mapping[str, Any] = field(default_factory=dict)
    old_password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell.

    ``kind`` is one of ``payment``, ``paperless``, ``autopay``, ``scheduled``, ``reversal``, ``fee``, ``inactive``,
    ``pay_by_text``.
    ``account`` is the account number as the biller's system writes it. ``facts`` by kind:

    * payment: ``amount`` (decimal text), ``currency``, ``tender`` (``card``, ``ach``, ``echeck``, ``cash``),
      ``approval_code``, ``payment_guid``, ``source`` (payment source id, an int), ``obd`` (bool), ``kiosk`` (text,
      may be empty)
    * paperless: ``enrolled`` (bool)
    * autopay: ``enrolled`` (bool), ``service_location`` (text)
    * scheduled: ``status`` (``scheduled``, ``changed``, ``cancelled``), ``scheduled_payment`` (its id), ``on`` (ISO date),
      ``amount`` (decimal text), ``currency``, ``invoice`` (the bill's number), ``service_location`` (text)
    * reversal: ``kind`` (``void``, ``refund``, ``return``, ``chargeback``, ``won``: money that went back, or came again after
      a dispute), ``amount`` (decimal text), ``currency``, ``payment_guid`` and ``approval_code`` of the payment, ``code`` (the
      bank's, may be empty), ``service_location`` (text)
    * fee: ``status`` (``charged``, ``waived``), ``fee`` (its id), ``amount`` (decimal text), ``currency``, ``words`` (what payers
      reads), ``payment_guid`` and ``approval_code`` of the payment that failed or was returned, or ``invoice`` (the late bill's
      number), the others being empty, ``service_location`` (text)
    * inactive: the account was set inactive because of a late bill: ``amount`` (decimal text, still owed of it), ``currency``,
      ``invoice`` (the bill's number), ``service_location`` (text)
    * pay_by_text: ``status`` (``pending``, ``enrolled``, ``unenrolled``, ``number_changed``), ``phone`` (E.164), ``old_phone``
      (E.164, where the number changed), ``service_location`` (text)
    """

    id: str
    kind: str
    account: str
    occurred_at: datetime
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What goes over the wire, ready: the same for the same messages and target, byte for byte.

    ``notes`` are things that the operator should hear of although the envelope can go, such as a payment source without
    a mode of its own; the delivery loop logs them and the endpoint page shows them. ``masked`` is what ``mask`` makes of
    the body, where the connector knew it while writing; else it is empty.
    """

    operation: str
    url: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    message_ids: Sequence[str] = ()
    notes: Sequence[str] = ()
    masked: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The biller's system took this message."""

    message_id: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """It did not; ``error`` says what to do and, in words for a CSR, why."""

    message_id: str
    error: ConnectorError


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account owes, as the biller's system says: amounts in the biller's currency, days as its system writes them.

    A negative ``due`` is a credit. Of a ``prepaid`` account ``due`` is the balance that remains, and ``remaining_days`` how
    long it lasts. ``blocks`` are the kinds of method that may not be used: ``card``, ``bank``. ``transaction_types`` are
    the words that the system used for what it allows.
    """

    due: Decimal
    past_due: Decimal = Decimal("0.00")
    prepaid: bool = False
    remaining_days: Decimal | None = None
    due_on: date | None = None
    disconnect_on: date | None = None
    last_payment: Decimal | None = None
    last_paid_on: date | None = None
    transaction_types: tuple[str, ...] = ()
    blocks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OptionField:
    """One of a connector's options, as the faces draw it for the endpoints of these purposes (of all where empty).

    ``name`` is its key among the endpoint's options; with a full stop, such as ``header.Company``, a key of the mapping
    that is kept there. ``number`` is that of the numbered setting that says what it means and may be: then the rest is
    empty. Else it is a text, or a whole number where it has bounds.
    """

    name: str
    label: str = ""
    help: str = ""
    purposes: frozenset[str] = frozenset()
    number: int = 0
    longest: int = 100


class Connector(Protocol):
    """One way of telling a biller's system.

    ``name`` is what an endpoint keeps, ``label`` what a person reads. ``purposes`` are those of endpoints that it serves,
    ``options`` what may be set of each. ``makes_secrets`` says that we make the secret of an endpoint and the biller's
    system takes it over; else a person types a user name and a password. ``pings`` are the harmless questions that an
    endpoint can be asked, the first of them whether it is well. ``batches`` says in words when several payments
    may share an envelope, for the operator who wants it where ``batch_limit`` is 1; empty where they never may.
    ``tells_with_payments`` says that an endpoint for payments hears of what follows from them too (``reversal``, ``fee``,
    ``inactive``), in one order with them; else the endpoint for AutoPay does.
    """

    name: str
    label: str
    purposes: frozenset[str]
    options: Sequence[OptionField]
    makes_secrets: bool
    tells_with_payments: bool
    pings: Sequence[str]
    batches: str

    def make_secret(self) -> str:
        """Make a secret for an endpoint, where ``makes_secrets``; else give an empty text."""
        ...

    def target_options(
        self, kept: Mapping[str, Any], *, per_envelope: int, flags: Mapping[str, bool]
    ) -> Mapping[str, Any]:
        """Give the options of a target: what its endpoint keeps, with what is set elsewhere and concerns this connector.

        ``per_envelope`` is how many payments may share a call if the connector can, ``flags`` what setting 131 says to
        DataPump for all of the biller's endpoints.
        """
        ...

    def batch_limit(self, kind: str, target: Target) -> int:
        """How many messages of a kind may share an envelope for this target; each must be of another account."""
        ...

    def write(self, messages: Sequence[Message], target: Target) -> Envelope:
        """Write the envelope for messages of one kind, no more than ``batch_limit`` of them.

        :raises Misconfigured: the target lacks what the message needs.
        :raises Refused: a message cannot be said (no account, no service location); the text says what is missing
            and ``message_id`` of which message, so that the others can go without it.
        :raises ValueError: messages of several kinds, too many, or two of one account: the caller's mistake.
        """
        ...

    def sign(self, envelope: Envelope, target: Target, at: datetime) -> Mapping[str, str]:
        """Give the headers that each try has of its own, such as a signature over its time; most have none.

        What they are beside, the envelope, is the same for every try.

        :raises Misconfigured: the target's secret is none.
        """
        ...

    def read(self, messages: Sequence[Message], status: int, body: bytes) -> Sequence[Delivered | Undelivered]:
        """Read the answer: exactly one result for each message, in their order.

        Never raises: an unreadable answer is ``OutcomeUnknown`` for all.
        """
        ...

    def write_ping(self, target: Target, question: str = "") -> Envelope:
        """Write one of ``pings``, the first by default: it changes nothing.

        :raises Misconfigured: the target lacks what any message needs.
        """
        ...

    def read_ping(self, status: int, body: bytes, question: str = "") -> str:
        """Return what the answer to a ping says beside that all is well, in words; mostly nothing.

        :raises ConnectorError: it is not good; the text says why.
        """
        ...

    def mask(self, body: bytes) -> str:
        """The envelope or answer as text that may be kept and shown: credentials and full numbers replaced by dots."""
        ...


@runtime_checkable
class ReadsBalances(Connector, Protocol):
    """What a connector has beside, where the biller's system can be asked what an account owes; others leave it out.

    Source: MSP-1 to MSP-5
    """

    def write_balance(self, account: str, target: Target) -> Envelope:
        """Write the question for one account, which changes nothing.

        :raises Misconfigured: the target lacks what the question needs.
        :raises Refused: the account cannot be asked for.
        """
        ...

    def read_balance(self, account: str, target: Target, status: int, body: bytes) -> Balance:
        """Read the answer about this account.

        :raises ConnectorError: the answer is a failure, or anything of it cannot be read: never a balance that was not said.
        """
        ...
