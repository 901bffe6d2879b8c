"""One bound connection to a message centre: octets in and out, and who still owes whom an answer.

smpplib makes and reads the messages. Its client is not used: it loses its place in the stream when a time-out falls into
a message, checks no host name under TLS, and logs whole messages with numbers and texts.

Source: SMPP 3.4, issue 1.2.
"""

from __future__ import annotations

import itertools
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from smpplib import consts, smpp
from smpplib.exceptions import UnknownCommandError

from sms.providers.base import Misconfigured, NotSent, OutcomeUnknown

_HEADER = 16
_LARGEST = 70_000  # a payload is at most 65,535
_RESPONSE = 0x80000000
_DELIVER = 0x00000005
_SEQUENCES = 0x7FFFFFFF

# A bind that is refused with another status may be let in later.
_SHUT_OUT = frozenset(
    {
        consts.SMPP_ESME_RBINDFAIL, consts.SMPP_ESME_RINVPASWD, consts.SMPP_ESME_RINVSYSID, consts.SMPP_ESME_RINVSYSTYP,
        consts.SMPP_ESME_RINVCMDID,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Account:
    """Where a message centre is and who we are there; ``trusted`` is None where the connection is in the clear.

    Times are in seconds: ``timeout`` for each answer.
    """

    host: str
    port: int
    system_id: str
    password: str = field(repr=False)
    system_type: str
    trusted: ssl.SSLContext | None
    timeout: float
    connect_timeout: float


class Link:
    """A connection that is bound; used by one thread.

    :raises NotSent: it cannot be made now.
    :raises Misconfigured: the message centre does not let us in, or its certificate is not to be trusted.
    """

    def __init__(self, account: Account, command: str) -> None:
        self._timeout = account.timeout
        self._sequence = itertools.count(1)
        self._received = bytearray()
        self._socket = _connect(account)
        try:
            answer = self.ask(
                command, system_id=account.system_id, password=account.password, system_type=account.system_type
            )
        except OutcomeUnknown as error:
            self._socket.close()
            raise NotSent(f"cannot bind: {error}") from None
        except BaseException:
            self._socket.close()
            raise
        if answer.status != consts.SMPP_ESME_ROK:
            self._socket.close()
            refused = Misconfigured if answer.status in _SHUT_OUT else NotSent
            raise refused(f"the message centre does not let us in: {status_code(answer.status)}")

    def write(self, command: str, **fields: Any) -> int:
        """Send a request and give its sequence number, by which its answer is known.

        :raises OutcomeUnknown: the line broke; it may have gone.
        """
        sequence = next(self._sequence) % _SEQUENCES or 1
        self._put(command, sequence, **fields)
        return sequence

    def answer(self, request: Any, status: int = consts.SMPP_ESME_ROK) -> None:
        """Answer a request of the message centre.

        :raises OutcomeUnknown: the line broke; it may not have heard it.
        """
        self._put(f"{request.command}_resp", request.sequence, status=status)

    def read(self, seconds: float) -> Any | None:
        """Give the next message, None where none came whole in that time.

        Questions whether we are there are answered here, and so is what nobody can read.

        :raises OutcomeUnknown: the line broke, or the message centre hung up.
        """
        ends = time.monotonic() + seconds
        while True:
            raw = self._whole()
            if raw is None:
                if not self._more(max(0.0, ends - time.monotonic())):
                    return None
                continue
            message = self._parsed(raw)
            if message is None:
                continue
            if message.command == "enquire_link":
                self.answer(message)
            elif message.command == "unbind":
                self.answer(message)
                raise OutcomeUnknown("the message centre hung up")
            else:
                return message

    def ask(self, command: str, **fields: Any) -> Any:
        """Send a request where no other is under way, and give its answer.

        :raises OutcomeUnknown: the line broke, or no answer came in time.
        """
        sequence, ends = self.write(command, **fields), time.monotonic() + self._timeout
        while (left := ends - time.monotonic()) > 0:
            message = self.read(left)
            if message is not None and message.sequence == sequence and message.is_response():
                return message
        raise OutcomeUnknown("no answer in time")

    def close(self, *, politely: bool = True) -> None:
        """Take leave and close; a line that broke is only closed."""
        try:
            if politely:
                self.ask("unbind")
        except OutcomeUnknown:
            pass
        finally:
            self._socket.close()

    def _put(self, command: str, sequence: int, **fields: Any) -> None:
        message = smpp.make_pdu(command, sequence=sequence, **fields)
        message.sequence = sequence
        self._put_raw(message.generate())

    def _put_raw(self, octets: bytes) -> None:
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(octets)
        except OSError as failure:
            raise OutcomeUnknown(f"the line broke: {type(failure).__name__}") from None

    def _more(self, seconds: float) -> bool:
        try:
            # What TLS holds decrypted, no selector sees.
            held = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
            if not held and not select.select([self._socket], [], [], seconds)[0]:
                return False
            self._socket.settimeout(self._timeout)
            some = self._socket.recv(65_536)
        except (OSError, ValueError) as failure:
            raise OutcomeUnknown(f"the line broke: {type(failure).__name__}") from None
        if not some:
            raise OutcomeUnknown("the message centre hung up")
        self._received += some
        return True

    def _whole(self) -> bytes | None:
        if len(self._received) < _HEADER:
            return None
        (length,) = struct.unpack(">L", self._received[:4])
        if not _HEADER <= length <= _LARGEST:
            raise OutcomeUnknown("the message centre says what nobody can read")
        if len(self._received) < length:
            return None
        raw = bytes(self._received[:length])
        del self._received[:length]
        return raw

    def _parsed(self, raw: bytes) -> Any | None:
        try:
            message = smpp.parse_pdu(raw, sequence=0, allow_unknown_opt_params=True)
            if message.command == "deliver_sm" and message.data_coding is None:
                raise ValueError("cut short")
            return message
        except (UnknownCommandError, struct.error, LookupError, TypeError, ValueError, AttributeError):
            _, command, _, sequence = struct.unpack(">LLLL", raw[:_HEADER])
            if command & _RESPONSE:
                raise OutcomeUnknown("the message centre's answer cannot be read") from None
            # Unanswered it would be said again for ever.
            if command == _DELIVER:
                self._put("deliver_sm_resp", sequence, status=consts.SMPP_ESME_RX_R_APPN)
            else:
                self._put("generic_nack", sequence, status=consts.SMPP_ESME_RINVCMDID)
            return None


def status_code(status: int) -> str:
    """Write a command status as the reference does, such as "0x00000058"."""
    return f"0x{status:08X}"


def _connect(account: Account) -> socket.socket:
    plain: socket.socket | None = None
    try:
        plain = socket.create_connection((account.host, account.port), account.connect_timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if account.trusted is None:
            return plain
        return account.trusted.wrap_socket(plain, server_hostname=account.host)
    except ssl.SSLCertVerificationError:
        _close(plain)
        raise Misconfigured("the message centre's certificate is not to be trusted") from None
    except OSError as failure:
        _close(plain)
        raise NotSent(f"cannot connect: {type(failure).__name__}") from None


def _close(plain: socket.socket | None) -> None:
    if plain is not None:
        plain.close()
