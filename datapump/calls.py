"""Calls: prepared envelopes posted over HTTP, and documents fetched, by one event loop in a thread of its own.

Each endpoint has a lane with a bound of its own on calls under way, so that a slow or dead system holds up nobody else.
The thread knows no database and no rules: it posts, and hands back what came, through ``answers``.

Connections, TLS, names and the reading of HTTP are aiohttp's. Its client, which makes a request and a response anew for
each call, is left out: what goes to one address differs from call to call in its body alone, and costs half without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import queue
import re
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import ResolveResult
from aiohttp.http import HttpProcessingError
from yarl import URL

from datapump.connectors.base import (
    MAX_ANSWER,
    ConnectorError,
    Envelope,
    Misconfigured,
    NotSent,
    OutcomeUnknown,
)

CONNECT_SECONDS = 10.0
LONGEST_REST = timedelta(hours=1)
"""What is believed of a ``Retry-After`` at most: a mistake in it must not keep a biller's updates for days."""
_LOOKUPS = 64  # names that may be looked up at once; a dead name server holds one each
_ADDRESSES_KEPT = 60
# A system that closes an idle connection just as we use it leaves an unknown outcome, so ours are closed first.
_IDLE_SECONDS = 8.0
_PIECE = 1 << 16  # bytes read at once
_WAYS_KEPT = 1_000
_OURS = {hdrs.USER_AGENT: "Ratepayer", hdrs.ACCEPT_ENCODING: "identity"}
_ASKS_FOR_REST = (429, 503)
_OF_THE_BODY = (hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.CONTENT_TYPE)
_NO_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Call:
    """One envelope to post in one lane; ``ticket`` is the caller's own. It is handed back unsent after ``not_after``
    (seconds of the loop's monotonic clock). No more than about ``most`` bytes of the answer are read.

    With ``method`` GET the envelope's address is asked for, and it has no body.
    """

    lane: str
    envelope: Envelope
    timeout: float
    ticket: Any = None
    not_after: float = float("inf")
    method: str = hdrs.METH_POST
    most: int = MAX_ANSWER


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call: a status and a body, or the error that kept them from coming; neither where it was not sent.

    ``seconds`` is how long it took; ``ended`` the moment it ended on the loop's monotonic clock. ``rest`` is for how long
    the other side asked to be left alone, beside HTTP 429 or 503.
    """

    call: Call
    sent: bool
    seconds: float = 0.0
    ended: float = 0.0
    status: int | None = None
    body: bytes = b""
    error: ConnectorError | None = None
    rest: timedelta | None = None


@dataclass(frozen=True, slots=True)
class _Way:
    """One address: what connects to it, and how each of its requests begins."""

    request: aiohttp.ClientRequest
    head: bytes


class _Lane:
    __slots__ = ("limit", "waiting", "workers")

    def __init__(self) -> None:
        self.waiting: deque[Call] = deque()
        self.workers = 0
        self.limit = 1


class Calls:
    """The thread that posts. ``networks`` are private networks that may be reached beside the public ones; ``None``
    allows every address, for demonstrations and tests.
    """

    def __init__(self, networks: Sequence[str] | None = ()) -> None:
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._guard = Guard(networks)
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ways: dict[tuple[str, str], _Way] = {}
        self._connector: aiohttp.TCPConnector | None = None
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lookup"))
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, name="calls", daemon=True)
        self._thread.start()
        self._opened.wait()

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def clock(self) -> float:
        """Give the moment on the loop's monotonic clock."""
        return self._loop.time()

    def feed(self, lane: str, limit: int, calls: Iterable[Call]) -> None:
        """Post these calls in this order, at most ``limit`` of the lane at once."""
        self._loop.call_soon_threadsafe(self._feed, lane, limit, list(calls))

    def recall(self, lane: str) -> None:
        """Hand back what the lane has not sent yet, as unsent answers."""
        self._loop.call_soon_threadsafe(self._recall, lane)

    def close(self) -> None:
        """Drop calls under way and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    # ---- in the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            try:
                self._connector = self._loop.run_until_complete(self._open())
            finally:
                self._opened.set()
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._shut())
            self._loop.close()

    async def _open(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(
            limit=0,
            ttl_dns_cache=_ADDRESSES_KEPT,
            keepalive_timeout=_IDLE_SECONDS,
            resolver=_GuardedResolver(self._guard),
        )

    async def _shut(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connector is not None:
            await self._connector.close()
        # Threads that look up names cannot be interrupted; nobody waits for them.
        self._loop._default_executor.shutdown(wait=False)  # type: ignore[attr-defined]  # no public way before 3.12

    def _feed(self, name: str, limit: int, calls: list[Call]) -> None:
        lane = self._lanes.setdefault(name, _Lane())
        lane.limit = limit
        lane.waiting.extend(calls)
        for _ in range(min(limit - lane.workers, len(lane.waiting))):
            lane.workers += 1
            task = self._loop.create_task(self._work(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _recall(self, name: str) -> None:
        lane = self._lanes.get(name)
        while lane is not None and lane.waiting:
            self.answers.put(Answer(lane.waiting.popleft(), sent=False))

    async def _work(self, lane: _Lane) -> None:
        try:
            while lane.waiting and lane.workers <= lane.limit:
                call = lane.waiting.popleft()
                if self._loop.time() > call.not_after:
                    self.answers.put(Answer(call, sent=False))
                else:
                    self.answers.put(await self._post(call))
        finally:
            lane.workers -= 1

    async def _post(self, call: Call) -> Answer:
        began = self._loop.time()
        status, body, error, rest = None, b"", None, None
        try:
            status, body, rest = await self._exchange(call)
        except ConnectorError as known:
            error = known
        except Exception as problem:  # whatever a socket or a peer can raise is an outcome, not our end
            error = _meaning(problem, call.timeout)
        ended = self._loop.time()
        return Answer(
            call, sent=True, seconds=ended - began, ended=ended, status=status, body=body, error=error, rest=rest
        )

    async def _exchange(self, call: Call) -> tuple[int, bytes, timedelta | None]:
        assert self._connector is not None
        envelope = call.envelope
        way = self._way(call.method, envelope.url)
        own = _written(envelope.headers)
        async with asyncio.timeout(call.timeout):
            connecting = aiohttp.ClientTimeout(sock_connect=min(CONNECT_SECONDS, call.timeout))
            try:
                connection = await self._connector.connect(way.request, [], connecting)
            except TimeoutError as late:
                raise aiohttp.ConnectionTimeoutError from late
            whole = False
            try:
                protocol, transport = connection.protocol, connection.transport
                if protocol is None or transport is None:
                    raise aiohttp.ServerDisconnectedError
                protocol.set_response_params(read_until_eof=True)
                if call.method == hdrs.METH_POST:
                    own += b"Content-Length: %d\r\n" % len(envelope.body)
                transport.write(b"%b%b\r\n%b" % (way.head, own, envelope.body))
                message, content = await protocol.read()
                while 100 <= message.code <= 199 and message.code != 101:
                    message, content = await protocol.read()
                body = await content.read(_PIECE)
                if not content.at_eof():
                    pieces = bytearray(body)
                    while not content.at_eof() and len(pieces) <= call.most:
                        pieces += await content.read(_PIECE)
                    body = bytes(pieces)
                whole = content.at_eof()
                if message.code not in _ASKS_FOR_REST:
                    return message.code, body, None
                return message.code, body, read_rest(message.headers.get(hdrs.RETRY_AFTER, ""), now=datetime.now(UTC))
            finally:
                # Whoever is not at the end of an answer cannot send another request.
                if whole:
                    connection.release()
                else:
                    connection.close()

    def _way(self, method: str, url: str) -> _Way:
        way = self._ways.get((method, url))
        if way is None:
            if len(self._ways) >= _WAYS_KEPT:
                self._ways.clear()
            way = self._ways[method, url] = self._make_way(method, url)
        return way

    def _make_way(self, method: str, url: str) -> _Way:
        request = aiohttp.ClientRequest(method, self._guard.checked(url), headers=_OURS, loop=self._loop)
        lines = [f"{method} {request.url.raw_path_qs} HTTP/1.1"]
        lines += [f"{name}: {text}" for name, text in request.headers.items() if name not in _OF_THE_BODY]
        return _Way(request, "\r\n".join([*lines, ""]).encode())


def read_rest(said: str, *, now: datetime) -> timedelta | None:
    """Read a ``Retry-After``, seconds or a date of HTTP: how long from ``now``, ``LONGEST_REST`` at most; None for anything else.

    Source: RFC 9110, 10.2.3
    """
    said = said.strip()
    if said.isascii() and said.isdigit():
        rest = timedelta(seconds=int(said)) if len(said) <= 6 else LONGEST_REST
    else:
        try:
            moment = parsedate_to_datetime(said)
        except (ValueError, OverflowError):
            return None
        # The oldest of the three forms names no zone; all three are in UTC.
        rest = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return min(rest, LONGEST_REST) if rest > timedelta(0) else None


def _written(headers: Mapping[str, str]) -> bytes:
    """Write an envelope's own headers."""
    if any(_NO_HEADER.search(text) for header in headers.items() for text in header):
        raise Misconfigured("The endpoint's headers hold a character that a header cannot have.")
    return "".join([f"{name}: {text}\r\n" for name, text in headers.items()]).encode()


def post_once(envelope: Envelope, timeout: float, networks: Sequence[str] | None = ()) -> Answer:
    """Post one envelope and wait for what comes."""
    with Calls(networks) as calls:
        calls.feed("one", 1, [Call("one", envelope, timeout)])
        return calls.answers.get()


def get_once(url: str, *, timeout: float, most: int, networks: Sequence[str] | None = ()) -> Answer:
    """Fetch what lies at an address, ``most`` bytes of it or a little more, within ``timeout`` seconds."""
    with Calls(networks) as calls:
        calls.feed("one", 1, [Call("one", Envelope("GET", url, {}, b""), timeout, method=hdrs.METH_GET, most=most)])
        return calls.answers.get()


def _meaning(problem: Exception, timeout: float) -> ConnectorError:
    """Say what an exception means for the message: provably not sent, or unknown."""
    match problem:
        case aiohttp.ClientConnectorDNSError():
            return NotSent("The name of the biller's system cannot be found.")
        case aiohttp.ClientConnectorCertificateError():
            return NotSent("The certificate of the biller's system cannot be trusted.")
        case aiohttp.ClientConnectorSSLError():
            return NotSent("No secure connection to the biller's system can be made.")
        case aiohttp.ConnectionTimeoutError():
            return NotSent("The biller's system could not be reached in time.")
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return NotSent("The biller's system refuses connections.")
        case aiohttp.ClientConnectorError():
            return NotSent("The biller's system cannot be reached.")
        case aiohttp.InvalidURL():
            return Misconfigured("The endpoint's address is no address.")
        case TimeoutError():
            return OutcomeUnknown(f"The biller's system did not answer within {timeout:g} seconds.")
        case HttpProcessingError():
            return OutcomeUnknown("The biller's system answered something that is not HTTP.")
        case (
            aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | aiohttp.ClientPayloadError() | ssl.SSLError()
        ):
            return OutcomeUnknown("The connection broke before the biller's system had answered.")
        case aiohttp.ClientError():
            return OutcomeUnknown("The biller's system answered something that is not HTTP.")
    return OutcomeUnknown(f"The call ended in a way nobody foresaw ({type(problem).__name__}).")


# ---- Which addresses may be reached ------------------------------------------------------------------------------------


class Guard:
    """Keeps calls from reaching our own network: an address is given by a biller's administrator, not by ours."""

    def __init__(self, networks: Sequence[str] | None) -> None:
        self._networks = None if networks is None else [ipaddress.ip_network(network) for network in networks]

    def allows(self, address: str) -> bool:
        """Tell whether an IP address may be reached: a public one, or one of the networks given."""
        if self._networks is None:
            return True
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address):
            # A gateway on the way leads such an address to the IPv4 address inside it, which is what must be allowed.
            found = _within(found) or found
        if any(found in network for network in self._networks):
            return True
        return found.is_global and not found.is_multicast

    def checked(self, url: str) -> URL:
        """Read an address.

        :raises Misconfigured: it is no http or https address, or leads where nothing may be sent.
        """
        try:
            read = URL(url)
        except ValueError:
            raise Misconfigured("The endpoint's address is no address.") from None
        if read.scheme not in ("http", "https") or not read.host:
            raise Misconfigured("The endpoint's address must begin with http:// or https://.")
        # Names are checked when they are looked up; a number is not looked up.
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(read.host)
            if not self.allows(read.host):
                raise Misconfigured("The endpoint's address lies in a network that may not be reached.")
        return read


_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def _within(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Give the IPv4 address that an IPv6 address stands for, if it does."""
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if address in _TRANSLATED or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


class _GuardedResolver(aiohttp.ThreadedResolver):
    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        allowed = [address for address in found if self._guard.allows(address["host"])]
        if found and not allowed:
            raise Misconfigured("The endpoint's address lies in a network that may not be reached.")
        return allowed
