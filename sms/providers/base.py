"""What a text provider driver is: the one door through which texts leave, and through which they come in.

A driver knows its provider's wire and nothing of Django. It gets frozen texts and answers with frozen results; it reads
the provider's webhooks, or listens on a connection to it, and says what it was told. A text that the provider will not
send is a result, never an error.
``tests/contracts/test_providers.py`` runs the same suite over every driver; ``docs/adding-a-provider.md`` is the recipe.

Phone numbers are E.164 throughout ("+12065550100"); only a sender of ours may be a short code ("72345").

Source: PBT-14, PBT-15, PBT-16, PBT-17.
"""

from __future__ import annotations

import enum
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

BODY_LONGEST = 1_600
"""Characters that every provider takes in one text; it cuts them into segments itself."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SHORT_CODE = re.compile(r"[1-9][0-9]{2,7}")


def is_e164(number: str) -> bool:
    """Say whether a number is written in E.164, such as "+12065550100"; not whether anybody has it."""
    return _E164.fullmatch(number) is not None


def is_sender(number: str) -> bool:
    """Say whether a number is one that a biller may text from: E.164, or a short code."""
    return is_e164(number) or _SHORT_CODE.fullmatch(number) is not None


# --- What can go wrong -----------------------------------------------------------------------------------------------


class ProviderError(Exception):
    """A driver could not do what was asked; the subclass says what the caller must do."""


class NotSent(ProviderError):
    """Provably nothing was taken: the same text may be sent again, not before ``retry_after`` where it says so."""

    def __init__(self, reason: str = "", *, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class OutcomeUnknown(ProviderError):
    """The provider may have taken it: send again only where it recognises repeats, else wait for a status report."""


class Misconfigured(ProviderError):
    """Credentials, address or sender are wrong: stop, and tell the operator."""


class NotAuthentic(ProviderError):
    """A webhook is not proven to come from the provider: answer 403 and believe nothing of it."""


class Reason(enum.StrEnum):
    """Why a text did not reach its phone, in our own words; ``REMEDIES`` says what to do about each."""

    UNSUBSCRIBED = "unsubscribed"  # the recipient told the provider, or this sender, to stop
    BAD_NUMBER = "bad_number"  # no number, a landline, or one that takes no texts
    UNREACHABLE = "unreachable"  # the phone is off or out of reach for now
    BLOCKED = "blocked"  # the carrier or the phone blocks the sender
    NUMBER_UNKNOWN = "number_unknown"  # no phone has the number any more
    CARRIER_UNREACHABLE = "carrier_unreachable"  # a landline, or a carrier that cannot be reached
    FILTERED = "filtered"  # the carrier takes it for spam
    UNEXPLAINED = "unexplained"
    UNREGISTERED = "unregistered"  # the biller's sender is not registered, or is suspended
    RATE_LIMITED = "rate_limited"  # too many in too short a time
    EXPIRED = "expired"  # its time ran out before it could be handed over
    UNSENDABLE = "unsendable"  # the provider does not take such a text: its form or its sender


class Action(enum.StrEnum):
    """What to do when a text did not reach its phone."""

    REVOKE_CONSENT = "revoke_consent"  # unenrol, source: provider; never send again
    MARK_NUMBER_BAD = "mark_number_bad"  # never send again, ask the payer for another number
    RETRY = "retry"
    SUSPEND_NUMBER = "suspend_number"  # send nothing until a CSR has looked at it
    ALERT_BILLER = "alert_biller"  # do not send again; template, campaign or sender must be looked at
    STOP_SENDING = "stop_sending"  # nothing of this biller until somebody has put it right
    BACK_OFF = "back_off"  # send everything later, this text too
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What to do about a reason.

    ``retries`` is how often the same text may be sent again, ``apart`` the least time between two tries, in the hours in
    which texts may be sent. ``after`` is how many such failures of a number in a row it takes to act; until then the
    text is given up, and nothing else is done.
    """

    action: Action
    retries: int = 0
    apart: timedelta = timedelta(0)
    after: int = 1


_PATIENCE = timedelta(minutes=30)

REMEDIES: Mapping[Reason, Remedy] = {
    Reason.UNSUBSCRIBED: Remedy(Action.REVOKE_CONSENT),
    Reason.BAD_NUMBER: Remedy(Action.MARK_NUMBER_BAD),
    Reason.UNREACHABLE: Remedy(Action.RETRY, retries=3, apart=_PATIENCE),
    Reason.BLOCKED: Remedy(Action.SUSPEND_NUMBER, after=2),
    Reason.NUMBER_UNKNOWN: Remedy(Action.SUSPEND_NUMBER),
    Reason.CARRIER_UNREACHABLE: Remedy(Action.SUSPEND_NUMBER),
    Reason.FILTERED: Remedy(Action.ALERT_BILLER),
    Reason.UNEXPLAINED: Remedy(Action.RETRY, retries=1, apart=_PATIENCE),
    Reason.UNREGISTERED: Remedy(Action.STOP_SENDING),
    Reason.RATE_LIMITED: Remedy(Action.BACK_OFF, retries=3, apart=timedelta(minutes=1)),
    Reason.EXPIRED: Remedy(Action.GIVE_UP),
    Reason.UNSENDABLE: Remedy(Action.ALERT_BILLER),
}


def read_codes(codes: Mapping[str, str] | None) -> dict[str, Reason]:
    """Read the option ``codes`` of a driver, which maps its provider's codes to our reasons.

    :raises Misconfigured: a reason is none of ours.
    """
    try:
        return {str(code): Reason(reason) for code, reason in (codes or {}).items()}
    except (AttributeError, ValueError) as error:
        raise Misconfigured(f"a code cannot be mapped: {error}") from None


# --- Sending ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One text to send.

    ``key`` is our id of the text, the same on every resend, and comes back in its status reports. ``sender`` is the
    biller's number; empty where the provider chooses among the biller's. ``valid_for`` is how long the provider may go
    on trying; None leaves it to the provider.

    :raises ValueError: a number is not E.164, or the body is empty or too long: the caller's mistake.
    """

    key: str
    sender: str
    recipient: str
    body: str = field(repr=False)
    valid_for: timedelta | None = None

    def __post_init__(self) -> None:
        if not is_e164(self.recipient) or not (self.sender == "" or is_sender(self.sender)):
            raise ValueError("a text goes from a number of ours to one in E.164")
        if not self.key or not 0 < len(self.body) <= BODY_LONGEST:
            raise ValueError(f"a text has a key and 1 to {BODY_LONGEST} characters")
        if self.valid_for is not None and self.valid_for < timedelta(seconds=1):
            raise ValueError("a text is valid for a second at least")


class Status(enum.StrEnum):
    """Where a text stands at the provider."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"  # the carrier has it
    DELIVERED = "delivered"  # the phone has it
    READ = "read"
    UNDELIVERED = "undelivered"  # the carrier could not hand it over
    FAILED = "failed"  # it never left the provider
    CANCELED = "canceled"


_RANKS = {Status.QUEUED: 0, Status.SENDING: 1, Status.SENT: 2}
FINAL = frozenset(Status) - frozenset(_RANKS)
"""The statuses after which nothing more happens to a text, except that one delivered may be read."""


def later(old: Status | None, new: Status) -> Status:
    """Give the status to keep when ``new`` is reported of a text of which ``old`` is known, in whatever order they came.

    A final status stays; of two that are not, the one further on stays.
    """
    if old is None or (old is Status.DELIVERED and new is Status.READ):
        return new
    if old in FINAL:
        return old
    return new if new in FINAL or _RANKS[new] > _RANKS[old] else old


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the text; ``provider_id`` is its own name for it, by which status reports tell of it."""

    key: str
    provider_id: str
    status: Status = Status.QUEUED
    segments: int | None = None  # None where the provider does not say


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider will not send this text: final, nothing was sent. ``code`` is its own word for why."""

    key: str
    reason: Reason
    code: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """No result for one text of a ``send``.

    ``error`` is ``NotSent`` (send it later), ``OutcomeUnknown`` (it may have gone) or ``Misconfigured``.
    """

    key: str
    error: NotSent | OutcomeUnknown | Misconfigured


# --- Webhooks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Webhook:
    """A request as it came in.

    ``url`` is the public address, with its query, as the provider was told it: behind a proxy it is put together from
    the configured public address, never from what the request says of itself. ``body`` is as it came, byte for byte.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """Give a header by name in any case, empty where it is missing."""
        wanted = name.lower()
        return next((value for header, value in self.headers.items() if header.lower() == wanted), "")


class OptOut(enum.StrEnum):
    """A keyword that the provider itself acted on."""

    STOP = "stop"
    START = "start"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Inbound:
    """A text from a phone; ``provider_id`` is the same each time the provider tells of it.

    ``recipient`` is the biller's number. ``media`` counts pictures and the like, of which nothing is fetched.
    ``acted_on`` is what the provider took the text for and acted on by itself, None where it did not.
    """

    provider_id: str
    sender: str
    recipient: str
    body: str = field(repr=False)
    media: int = 0
    acted_on: OptOut | None = None
    sent_at: datetime | None = None  # None where the provider does not say


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What became of a text; it may come late, more than once, and in any order (``later``).

    ``key`` is ours, so that a text whose answer was lost is found; empty where the provider does not give it back.
    ``reason`` is set for ``UNDELIVERED`` and ``FAILED``, ``code`` is the provider's own word for it.
    """

    provider_id: str
    status: Status
    key: str = ""
    reason: Reason | None = None
    code: str = ""
    reported_at: datetime | None = None  # None where the provider does not say


@dataclass(frozen=True, slots=True)
class Ignored:
    """An authentic webhook that tells of nothing we act on; ``why`` is for the log and names nobody."""

    why: str


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the provider wants to hear when a webhook was taken; anything else makes it try again, or complain."""

    status: int = 204
    content_type: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Managed:
    """What the provider does by itself, so that we must know of it.

    ``opt_out``: it keeps those who said STOP to a sender, and rejects texts to them as ``UNSUBSCRIBED``.
    ``answers``: the keywords that it answers itself, so that our answer would be a second one.
    """

    opt_out: bool = False
    answers: frozenset[OptOut] = frozenset()


class Provider(Protocol):
    """A provider, spoken to for one account of it.

    ``recognises_repeats`` is whether sending the same key again sends no second text: only then may a text be sent
    again after ``OutcomeUnknown``. ``acknowledgement`` answers a webhook that was taken.
    """

    name: str
    managed: Managed
    recognises_repeats: bool
    acknowledgement: Acknowledgement

    def send(self, messages: Sequence[Outgoing]) -> Iterator[Accepted | Rejected | Lost]:
        """Send each text once and give exactly one result for each, in any order.

        Never raises for trouble with the provider; what holds for all is given as ``Lost`` for each.

        :raises ValueError: a key stands twice in one send: the caller's mistake.
        """
        ...

    def read(self, request: Webhook) -> Inbound | StatusReport | Ignored:
        """Say what a webhook tells, once it is proven to come from the provider. Nothing is sent or fetched.

        :raises NotAuthentic: its signature is missing or wrong.
        """
        ...

    def ping(self) -> None:
        """Return when the provider answers and knows us.

        :raises ProviderError: it does not; the subclass says what to do.
        """
        ...

    def close(self) -> None:
        """Close the connections that are kept open."""
        ...


Hear = Callable[[Inbound | StatusReport], bool]
"""Takes what a provider told; False where it cannot now, and the provider is to tell it again."""


@runtime_checkable
class Listener(Provider, Protocol):
    """A provider that tells over a connection which we keep, instead of by webhooks."""

    def listen(self, hear: Hear, *, stopping: threading.Event) -> None:
        """Hear what the provider tells, one thing after the other, until ``stopping`` is set.

        What ``hear`` raises ends it, and the provider is not answered: it tells that again. ``listening`` keeps it up.

        :raises NotSent: the connection could not be made, or broke: listen again, later.
        :raises Misconfigured: the provider does not let us in.
        """
        ...
