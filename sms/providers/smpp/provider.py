"""The driver of any message centre that speaks SMPP 3.4, as most aggregators and carriers do.

It sends over one connection, bound as transmitter, and listens on another, bound as receiver: sender and listener are
processes of their own. SMPP does not recognise a repeated text and brings our key back in no receipt: a text whose answer
was lost stays unknown. Nothing is logged.

Source: PBT-14, PBT-15, PBT-16, PBT-17; SMPP 3.4.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smpplib import consts

from sms.providers.base import (
    Accepted,
    Acknowledgement,
    Hear,
    Ignored,
    Inbound,
    Lost,
    Managed,
    Misconfigured,
    NotAuthentic,
    NotSent,
    OutcomeUnknown,
    Outgoing,
    Reason,
    Rejected,
    StatusReport,
    Webhook,
    is_e164,
    is_sender,
    read_codes,
)
from sms.providers.lines import ExchangeHook, mask_numbers, trusted
from sms.providers.smpp import receipts
from sms.providers.smpp.links import Account, Link, status_code
from sms.providers.smpp.parts import CHARSETS, PART_WAIT, Desk, Source, decode, encode, piece_of, with_headers

PORT, PORT_TLS = 2775, 3550
VALIDITY_LONGEST = 28  # days; a month has no certain length
PASSWORD_LONGEST, SYSTEM_ID_LONGEST, SYSTEM_TYPE_LONGEST = 8, 15, 12
FRESH = 5.0
"""Seconds for which a connection that was heard of needs no question whether it still stands."""

_SETTLE = 0.5  # seconds before a part is sent again of a text whose first part is gone
_TRIES = 6
_DOUBTED = 60.0  # seconds before a connection broke, in which an answer of ours may have been lost
_TOLD_AGAIN = 600.0  # seconds after that
_NAMES_MOST = 1_000
_LOOK = 0.2  # seconds between two looks whether to stop
_HEX_IDS = ("", "answers", "receipts")


class SmppProvider:
    """A message centre, spoken to for one account; ``secret`` is the password.

    ``tls`` false sends the password in the clear: only through a tunnel, or on this machine. ``charset`` is what the
    message centre takes its default alphabet for (``CHARSETS``). A text of several parts goes as parts with headers, or
    with ``payload`` as one message that the message centre cuts. ``hex_ids`` says where it writes its names of texts in
    hexadecimals, if it writes them in decimals elsewhere: in its ``answers`` or in its ``receipts``. ``country_code`` goes
    before a number that comes in without one. ``short_code_ton`` and ``short_code_npi`` are how it wants short codes.

    ``concurrency`` is how many texts may wait for their answers at once, ``per_second`` how many messages are sent in a
    second, 0 for as many as it takes. Times are in seconds: ``timeout`` for an answer, ``enquire_every`` between two
    questions whether the line stands. ``codes`` maps statuses ("0x0000000B") and receipts ("UNDELIV:027", "027",
    "UNDELIV") to reasons and goes before the built-in tables. ``opt_out`` says that it keeps those who said STOP.

    :raises Misconfigured: an option cannot be.
    """

    name = "smpp"
    recognises_repeats = False
    acknowledgement = Acknowledgement()

    def __init__(
        self,
        *,
        host: str,
        system_id: str,
        secret: str,
        callback_url: str = "",
        port: int | None = None,
        tls: bool = True,
        system_type: str = "",
        charset: str = "gsm7",
        payload: bool = False,
        hex_ids: str = "",
        country_code: str = "1",
        short_code_ton: int = consts.SMPP_TON_NWSPEC,
        short_code_npi: int = consts.SMPP_NPI_UNK,
        opt_out: bool = False,
        concurrency: int = 10,
        per_second: float = 0.0,
        timeout: float = 20.0,
        connect_timeout: float = 5.0,
        enquire_every: float = 30.0,
        codes: Mapping[str, str] | None = None,
        ca_file: str | None = None,
        on_exchange: ExchangeHook | None = None,
    ) -> None:
        for said, longest in ((system_id, SYSTEM_ID_LONGEST), (secret, PASSWORD_LONGEST)):
            if not 0 < len(said) <= longest or not said.isascii() or not said.isprintable():
                raise Misconfigured(
                    f"system_id has 1 to {SYSTEM_ID_LONGEST} plain characters, the password {PASSWORD_LONGEST}"
                )
        if not host or len(system_type) > SYSTEM_TYPE_LONGEST or not system_type.isascii():
            raise Misconfigured(f"a host is needed, and system_type has at most {SYSTEM_TYPE_LONGEST} plain characters")
        if charset not in CHARSETS or hex_ids not in _HEX_IDS:
            raise Misconfigured(f"charset is one of {', '.join(CHARSETS)}; hex_ids is answers or receipts, or empty")
        if min(timeout, connect_timeout, enquire_every) <= 0 or concurrency < 1 or per_second < 0:
            raise Misconfigured("times and concurrency are above zero")
        if not country_code.isascii() or not country_code.isdigit():
            raise Misconfigured("country_code is digits alone")
        self.managed = Managed(opt_out=opt_out)
        self._account = Account(
            host, port or (PORT_TLS if tls else PORT), system_id, secret, system_type,
            trusted(ca_file) if tls else None, timeout, connect_timeout,
        )  # fmt: skip
        self._charset = charset
        self._payload = payload
        self._hex_ids = hex_ids
        self._country_code = country_code
        self._short_code = {"source_addr_ton": short_code_ton, "source_addr_npi": short_code_npi}
        self._concurrency = concurrency
        self._apart = 1 / per_second if per_second else 0.0
        self._enquire_every = enquire_every
        self._codes = read_codes(codes)
        self._on_exchange = on_exchange
        self._transmitter: Link | None = None
        self._heard_at = self._written_at = 0.0
        self._reference = secrets.randbelow(256)
        self._desk = Desk()
        self._names = _Names()

    # Sending

    def send(self, messages: Sequence[Outgoing]) -> Iterator[Accepted | Rejected | Lost]:
        """Send each text once, so many at a time; for one thread at a time."""
        if len({message.key for message in messages}) != len(messages):
            raise ValueError("a key stands twice in one send")
        if not messages:
            return
        waiting = deque(self._course(message) for message in messages)
        try:
            link = self._link()
        except (NotSent, Misconfigured) as error:
            yield from (Lost(course.message.key, error) for course in waiting)
            return
        under_way: dict[int, _Course] = {}
        try:
            yield from self._exchange(link, waiting, under_way)
        except OutcomeUnknown as error:
            self._drop()
            yield from (Lost(course.message.key, error) for course in under_way.values())
            yield from (Lost(course.message.key, course.untouched("the line broke before")) for course in waiting)
        except GeneratorExit:
            # Whoever stops listening leaves answers behind that nobody will take for those of the next texts.
            self._drop()
            raise

    def _exchange(
        self, link: Link, waiting: deque[_Course], under_way: dict[int, _Course]
    ) -> Iterator[Accepted | Rejected | Lost]:
        while waiting or under_way:
            while waiting and len(under_way) < self._concurrency and waiting[0].not_before <= time.monotonic():
                course = waiting.popleft()
                self._pace()
                course.deadline = time.monotonic() + self._account.timeout
                try:
                    under_way[link.write("submit_sm", **course.next())] = course
                except OutcomeUnknown:
                    under_way[0] = course
                    raise
                self._tell("sent", course.told())
            free = waiting and len(under_way) < self._concurrency
            until = min([course.deadline for course in under_way.values()] + ([waiting[0].not_before] if free else []))
            answer = link.read(max(0.0, until - time.monotonic()))
            self._heard_at = time.monotonic()
            if answer is None:
                if any(course.deadline <= time.monotonic() for course in under_way.values()):
                    raise OutcomeUnknown("no answer in time")
                continue
            answered = under_way.pop(answer.sequence, None) if answer.is_response() else None
            if answered is None:
                continue
            self._tell("received", f"{answer.command} {status_code(answer.status)}")
            result = self._result(answered, answer)
            if result is not None:
                yield result
            else:
                waiting.appendleft(answered)
            if answer.status in receipts.TOO_MANY:
                # The others would only be told the same; those under way are heard out.
                for course in [course for course in waiting if not course.gone]:
                    waiting.remove(course)
                    yield Lost(course.message.key, NotSent("the message centre takes no more for now"))

    def _result(self, course: _Course, answer: Any) -> Accepted | Rejected | Lost | None:
        """Say what came of a text, None where a part of it is to be sent yet."""
        key, code = course.message.key, status_code(answer.status)
        if answer.status == consts.SMPP_ESME_ROK:
            provider_id = receipts.read_id(getattr(answer, "message_id", None) or b"")
            course.gone, course.tries = course.gone + 1, 0
            if course.gone < len(course.submissions):
                return None
            if not provider_id:
                return Lost(key, OutcomeUnknown("the message centre gave the text no name"))
            return Accepted(
                key, receipts.in_decimals(provider_id) if self._hex_ids == "answers" else provider_id,
                segments=course.segments,
            )  # fmt: skip
        if course.gone:
            course.tries += 1
            if answer.status in receipts.TOO_MANY and course.tries < _TRIES:
                # A part that was refused is not there: sending it again says nothing twice.
                course.not_before = time.monotonic() + _SETTLE * course.tries
                return None
            return Lost(key, OutcomeUnknown(f"only a part of the text was taken: {code}"))
        if code in self._codes:
            return Rejected(key, self._codes[code], code)
        if answer.status in receipts.TOO_MANY:
            return Lost(key, NotSent("the message centre takes no more for now"))
        if answer.status in receipts.OURS_TO_MEND:
            return Lost(key, Misconfigured(f"the message centre does not let us send: {code}"))
        if answer.status in receipts.IN_DOUBT:
            return Lost(key, OutcomeUnknown(f"the message centre is not well: {code}"))
        return Rejected(key, receipts.REFUSALS.get(code, Reason.UNSENDABLE), code)

    def _course(self, message: Outgoing) -> _Course:
        coding, pieces = encode(message.body, self._charset)
        fields = {
            **self._sender(message.sender), "dest_addr_ton": consts.SMPP_TON_INTL, "dest_addr_npi": consts.SMPP_NPI_ISDN,
            "destination_addr": message.recipient[1:], "data_coding": coding, "validity_period": _validity(message),
        }  # fmt: skip
        wanted = {"registered_delivery": consts.SMPP_SMSC_DELIVERY_RECEIPT_BOTH}
        if len(pieces) == 1 or self._payload:
            name = "short_message" if len(pieces) == 1 else "message_payload"
            return _Course(message, [{**fields, **wanted, name: b"".join(pieces)}], len(pieces))
        self._reference += 1
        parts = [
            {**fields, "short_message": piece, "esm_class": consts.SMPP_GSMFEAT_UDHI}
            for piece in with_headers(pieces, self._reference)
        ]
        # One receipt for each text: its last part's, whose name is the text's.
        return _Course(message, [*parts[:-1], {**parts[-1], **wanted}], len(pieces))

    def _sender(self, sender: str) -> dict[str, Any]:
        if not sender:
            return {}
        if is_e164(sender):
            international = {"source_addr_ton": consts.SMPP_TON_INTL, "source_addr_npi": consts.SMPP_NPI_ISDN}
            return {**international, "source_addr": sender[1:]}
        return {**self._short_code, "source_addr": sender}

    def _link(self) -> Link:
        """Give the connection that texts go out by, and be sure that it stands."""
        if self._transmitter is not None:
            try:
                self._transmitter.read(0.0)  # whether it was hung up meanwhile
                if time.monotonic() - self._heard_at > FRESH:
                    self._transmitter.ask("enquire_link")
            except OutcomeUnknown:
                self._drop()
        if self._transmitter is None:
            self._transmitter = Link(self._account, "bind_transmitter")
        self._heard_at = time.monotonic()
        return self._transmitter

    def _drop(self) -> None:
        if self._transmitter is not None:
            self._transmitter.close(politely=False)
            self._transmitter = None

    def _pace(self) -> None:
        if self._apart:
            time.sleep(max(0.0, self._written_at + self._apart - time.monotonic()))
            self._written_at = time.monotonic()

    def _tell(self, direction: str, what: str) -> None:
        if self._on_exchange is not None:
            self._on_exchange(direction, mask_numbers(what))

    # Listening

    def read(self, request: Webhook) -> Inbound | StatusReport | Ignored:
        """Refuse every webhook: a message centre sends none."""
        raise NotAuthentic("SMPP tells nothing by webhook")

    def listen(self, hear: Hear, *, stopping: threading.Event) -> None:
        """Hear texts and receipts until ``stopping`` is set; each is answered once ``hear`` has taken it."""
        link = Link(self._account, "bind_receiver")
        politely = False
        try:
            self._listen(link, hear, stopping)
            politely = True
        except OutcomeUnknown as error:
            raise NotSent(str(error)) from None
        finally:
            self._names.doubt()
            link.close(politely=politely)

    def _listen(self, link: Link, hear: Hear, stopping: threading.Event) -> None:
        heard_at, asked_at = time.monotonic(), 0.0
        while not stopping.is_set():
            message = link.read(min(_LOOK, self._enquire_every))
            now = time.monotonic()
            if message is not None:
                heard_at, asked_at = now, 0.0
            elif asked_at and now - asked_at > self._account.timeout:
                raise OutcomeUnknown("no answer in time")
            elif not asked_at and now - heard_at >= self._enquire_every:
                link.write("enquire_link")
                asked_at = now
            if message is not None and message.command == "deliver_sm":
                self._tell("received", f"deliver_sm {_text(message.source_addr)}")
                link.answer(message, consts.SMPP_ESME_ROK if self._take(message, hear) else consts.SMPP_ESME_RX_T_APPN)
            self._hear_overdue(hear, older_than=PART_WAIT)
        # The rest of these would come to somebody who has not their beginning.
        self._hear_overdue(hear, older_than=0.0)

    def _take(self, message: Any, hear: Hear) -> bool:
        if receipts.is_receipt(message):
            report = receipts.read(message, self._codes, hexadecimal=self._hex_ids == "receipts")
            return isinstance(report, Ignored) or hear(report)
        sender = self._number(message.source_addr, message.source_addr_ton)
        recipient = self._recipient(message)
        if not is_e164(sender) or not is_sender(recipient):
            return True  # from no phone, or to nobody here
        piece, source = piece_of(message), Source(sender, recipient, message.data_coding)
        if piece.total == 1:
            return self._hear_text(hear, source, piece.octets, _text(message.receipted_message_id))
        whole = self._desk.put(source, piece)
        if whole is None:
            return True
        taken = self._hear_text(hear, source, whole, "")
        if taken:
            self._desk.clear((source, piece.reference, piece.total))
        return taken

    def _hear_overdue(self, hear: Hear, *, older_than: float) -> None:
        for name in self._desk.overdue(older_than=older_than):
            if self._hear_text(hear, name[0], self._desk.look(name), ""):
                self._desk.clear(name)

    def _hear_text(self, hear: Hear, source: Source, octets: bytes, named: str) -> bool:
        body = decode(octets, source.coding, self._charset)
        content = hashlib.sha256(repr((source, octets)).encode()).hexdigest()
        provider_id = named or self._names.name(content)
        taken = hear(
            Inbound(
                provider_id=provider_id,
                sender=source.sender,
                recipient=source.recipient,
                body=body or "",
                media=int(body is None),
            )
        )
        self._names.note(content, provider_id, taken=taken)
        return taken

    def _recipient(self, message: Any) -> str:
        plain = _text(message.destination_addr).lstrip("+")
        return plain if len(plain) <= 8 else self._number(message.destination_addr, message.dest_addr_ton)

    def _number(self, octets: bytes, ton: int) -> str:
        """Write a number in E.164; one that says nothing of its kind and has ten digits is of our country."""
        said = _text(octets)
        digits = said.lstrip("+")
        abroad = ton == consts.SMPP_TON_INTL or said.startswith("+") or len(digits) > 10
        return f"+{digits}" if abroad and ton != consts.SMPP_TON_NATNL else f"+{self._country_code}{digits}"

    def ping(self) -> None:
        """Bind, ask whether the message centre is there, and leave."""
        link = Link(self._account, "bind_transmitter")
        try:
            link.ask("enquire_link")
        finally:
            link.close()

    def close(self) -> None:
        """Unbind the connection that texts go out by."""
        if self._transmitter is not None:
            self._transmitter.close()
            self._transmitter = None


@dataclass(slots=True, eq=False)
class _Course:
    """How far one text is: ``gone`` counts its parts that were taken."""

    message: Outgoing
    submissions: list[dict[str, Any]]
    segments: int
    gone: int = 0
    tries: int = 0
    not_before: float = 0.0
    deadline: float = 0.0

    def next(self) -> dict[str, Any]:
        return self.submissions[self.gone]

    def told(self) -> str:
        fields = self.next()
        octets = fields.get("short_message") or fields["message_payload"]
        return f"submit_sm {self.message.sender} {self.message.recipient} coding {fields['data_coding']}, {len(octets)} octets"

    def untouched(self, why: str) -> NotSent | OutcomeUnknown:
        return OutcomeUnknown(f"only a part of the text was taken: {why}") if self.gone else NotSent(why)


class _Names:
    """Our names of texts from phones, to which SMPP gives none.

    A text is told again where our answer to it was lost, or was a refusal: it then has the name that it had. Only so
    soon, for whoever says the same again later means it.
    """

    def __init__(self) -> None:
        self._taken: deque[tuple[float, str, str]] = deque(maxlen=_NAMES_MOST)
        self._doubted: deque[tuple[float, str, str]] = deque(maxlen=_NAMES_MOST)

    def name(self, content: str) -> str:
        for doubted in self._doubted:
            since, said, name = doubted
            if said == content and time.monotonic() - since <= _TOLD_AGAIN:
                self._doubted.remove(doubted)
                return name
        return f"mo-{secrets.token_hex(12)}"

    def note(self, content: str, name: str, *, taken: bool) -> None:
        (self._taken if taken else self._doubted).append((time.monotonic(), content, name))

    def doubt(self) -> None:
        now = time.monotonic()
        self._doubted.extend((now, content, name) for at, content, name in self._taken if now - at <= _DOUBTED)
        self._taken.clear()


def _validity(message: Outgoing) -> str | None:
    if message.valid_for is None:
        return None
    seconds = min(int(message.valid_for.total_seconds()), VALIDITY_LONGEST * 86_400)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"0000{days:02d}{hours:02d}{minutes:02d}{seconds:02d}000R"


def _text(octets: bytes | None) -> str:
    return (octets or b"").rstrip(b"\0").decode("ascii", "replace")
