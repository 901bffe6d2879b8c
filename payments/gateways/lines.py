"""The line to a processor: one HTTP exchange that says truthfully whether anything can have been received.

A driver needs three things that ordinary HTTP clients blur. What failed before the first byte of a request was
written is ``NotSent``; whatever goes wrong afterwards is ``OutcomeUnknown``, and is never repeated here; and a time-out
is the time for the whole exchange, so that a peer that answers one byte a minute cannot hold a worker. Redirects are
not followed, no proxy is used, and certificates are checked.

Source: PAY-13, PAY-22.
"""

from __future__ import annotations

import http.client
import io
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from payments.gateways.base import Misconfigured, NotSent, OutcomeUnknown

# Called with "sent" or "received" and the text of a message, its numbers masked.
ExchangeHook = Callable[[str, str], None]

IDLE_LONGEST = 5.0  # seconds; shorter than any server keeps a silent line, so that a request never meets a closing one
IDLE_MOST = 32
ANSWER_LARGEST = 64 * 1024 * 1024
RETRY_PAUSE = 0.1

_NUMBER = re.compile(r"(?<![0-9A-Za-z_-])[0-9](?:[ -]?[0-9]){11,18}(?![0-9A-Za-z_-])")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that arrived whole."""

    status: int
    body: bytes


class Line:
    """Exchanges with one base address; safe to use from many threads, each exchange has a connection of its own.

    ``connect_timeout`` is for one attempt to connect, ``connect_retries`` how many further attempts are made (PAY-22).
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        connect_timeout: float = 10.0,
        connect_retries: int = 2,
        ca_file: str | None = None,
        on_exchange: ExchangeHook | None = None,
    ) -> None:
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            raise Misconfigured("the processor's address is not a URL") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
            raise Misconfigured("the processor's address is not of the form https://host[:port][/path]")
        if not all(_HEADER_VALUE.fullmatch(value) for value in headers.values()):
            raise Misconfigured("the processor's merchant name or secret has characters that cannot be sent")
        self._host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._path = parts.path.rstrip("/")
        host_header = f"[{self._host}]" if ":" in self._host else self._host
        self._headers = {"Host": f"{host_header}:{self._port}", **headers}
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca_file)
            except OSError as failure:
                raise Misconfigured(f"the file of certificate authorities cannot be read: {failure}") from None
        self._connect_timeout = connect_timeout
        self._connect_retries = connect_retries
        self._on_exchange = on_exchange
        self._idle: list[tuple[socket.socket, float]] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections that are kept for the next exchange."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def exchange(
        self, method: str, path: str, body: bytes = b"", *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request once and read its whole answer within ``timeout`` seconds.

        ``headers`` go with this request beside those of the line; a body without a content type is JSON.

        :raises NotSent: no connection could be made; not one byte of the request was written.
        :raises OutcomeUnknown: anything else went wrong.
        :raises Misconfigured: the other side's certificate is not to be trusted.
        """
        head = [f"{method} {self._path}{path} HTTP/1.1"]
        all_headers = {"Content-Type": "application/json"} if body else {}
        all_headers.update(self._headers)
        all_headers.update(headers or {})
        if not all(_HEADER_VALUE.fullmatch(value) for value in all_headers.values()):
            raise Misconfigured("a header has characters that cannot be sent")
        head += [f"{name}: {value}" for name, value in all_headers.items()]
        head.append(f"Content-Length: {len(body)}")
        message = "\r\n".join([*head, "", ""]).encode("ascii") + body
        connection = self._take_idle() or self._connect()
        deadline = time.monotonic() + timeout
        keep = False
        self._tell("sent", f"{method} {path}", body)
        try:
            connection.settimeout(timeout)
            connection.sendall(message)
            response = http.client.HTTPResponse(_Deadline(connection, deadline), method=method)  # type: ignore[arg-type]  # it needs makefile and no more
            response.begin()
            answer = _whole_body(response)
            keep = not response.will_close
            status = response.status
        except TimeoutError:
            raise OutcomeUnknown(f"no whole answer within {timeout:g} seconds") from None
        except (OSError, http.client.HTTPException) as failure:
            raise OutcomeUnknown(f"the line broke: {failure or type(failure).__name__}") from None
        finally:
            if not keep:
                connection.close()
        self._keep_idle(connection)
        self._tell("received", str(status), answer)
        return Reply(status, answer)

    def _connect(self) -> socket.socket:
        failure: OSError | None = None
        for attempt in range(1 + self._connect_retries):
            if attempt:
                time.sleep(RETRY_PAUSE * attempt)
            try:
                plain = socket.create_connection((self._host, self._port), timeout=self._connect_timeout)
            except (OSError, UnicodeError) as refusal:
                failure = refusal if isinstance(refusal, OSError) else OSError(str(refusal))
                continue
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._tls is None:
                    return plain
                return self._tls.wrap_socket(plain, server_hostname=self._host)
            except ssl.SSLCertVerificationError as refusal:
                plain.close()
                raise Misconfigured(f"the certificate is not to be trusted: {refusal.verify_message}") from None
            except OSError as refusal:
                plain.close()
                failure = refusal
        raise NotSent(f"cannot connect: {failure}")

    def _take_idle(self) -> socket.socket | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection, since = self._idle.pop()
            # A line with something to read was closed by the other side, or holds an answer that nobody asked for.
            waiting = select.poll()
            try:
                waiting.register(connection, select.POLLIN)
                silent = not waiting.poll(0)
            except (OSError, ValueError):
                silent = False
            if silent and time.monotonic() - since < IDLE_LONGEST:
                return connection
            connection.close()

    def _keep_idle(self, connection: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < IDLE_MOST:
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()

    def _tell(self, direction: str, first: str, body: bytes) -> None:
        if self._on_exchange is not None:
            self._on_exchange(direction, mask_numbers(f"{first}\n{body.decode('utf-8', 'replace')}"))


class _Deadline:
    """What ``http.client`` takes for a socket, with one deadline for all reads together."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, *_: Any, **__: Any) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._connection, self._deadline))


class _DeadlineReader(io.RawIOBase):
    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._connection.settimeout(remaining)
        return self._connection.recv_into(buffer)


def _whole_body(response: http.client.HTTPResponse) -> bytes:
    if response.length is None and not response.chunked:
        # Where only the end of the line ends the answer, a cut one looks whole.
        raise http.client.HTTPException("an answer without a length")
    if response.length is not None:
        if response.length > ANSWER_LARGEST:
            raise http.client.HTTPException("an answer too large")
        return response.read()
    body = response.read(ANSWER_LARGEST + 1)
    if len(body) > ANSWER_LARGEST:
        raise http.client.HTTPException("an answer too large")
    return body


def mask_numbers(text: str) -> str:
    """Replace whatever could be a card number by asterisks and its last four digits (PAY-13, PAY-17)."""
    return _NUMBER.sub(lambda found: f"****{found[0][-4:]}", text)
