"""Calls: prepared envelopes posted over HTTP by one event loop in a thread of its own.

Each endpoint has a lane with a bound of its own on calls under way, so that a slow or dead system holds up nobody else.
The thread knows no database and no rules: it posts, and hands back what came, through ``answers``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import queue
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import ResolveResult
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
_LOOKUPS = 64  # names that may be looked up at once; a dead name server holds one each
_ADDRESSES_KEPT = 60
# A system that closes an idle connection just as we use it leaves an unknown outcome, so ours are closed first.
_IDLE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Call:
    """One envelope to post in one lane; ``ticket`` is the caller's own. It is handed back unsent after ``not_after``
    (seconds of the loop's monotonic clock).
    """

    lane: str
    envelope: Envelope
    timeout: float
    ticket: Any = None
    not_after: float = float("inf")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call: a status and a body, or the error that kept them from coming; neither where it was not sent.

    ``seconds`` is how long it took; ``ended`` the moment it ended on the loop's monotonic clock.
    """

    call: Call
    sent: bool
    seconds: float = 0.0
    ended: float = 0.0
    status: int | None = None
    body: bytes = b""
    error: ConnectorError | None = None


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
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None
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
                self._session = self._loop.run_until_complete(self._open())
            finally:
                self._opened.set()
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._shut())
            self._loop.close()

    async def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,
            ttl_dns_cache=_ADDRESSES_KEPT,
            keepalive_timeout=_IDLE_SECONDS,
            resolver=_GuardedResolver(self._guard),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "Ratepayer", "Accept-Encoding": "identity"},
        )

    async def _shut(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
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
        status, body, error = None, b"", None
        try:
            status, body = await self._exchange(call)
        except ConnectorError as known:
            error = known
        except Exception as problem:  # whatever a socket or a peer can raise is an outcome, not our end
            error = _meaning(problem, call.timeout)
        ended = self._loop.time()
        return Answer(call, sent=True, seconds=ended - began, ended=ended, status=status, body=body, error=error)

    async def _exchange(self, call: Call) -> tuple[int, bytes]:
        assert self._session is not None
        url = self._urls.get(call.envelope.url)
        if url is None:
            url = self._urls[call.envelope.url] = self._guard.checked(call.envelope.url)
        timeout = aiohttp.ClientTimeout(total=call.timeout, sock_connect=min(CONNECT_SECONDS, call.timeout))
        async with self._session.post(
            url, data=call.envelope.body, headers=call.envelope.headers, allow_redirects=False, timeout=timeout
        ) as response:
            length = response.content_length
            if length is not None and length <= MAX_ANSWER and "Content-Encoding" not in response.headers:
                return response.status, await response.read()
            pieces = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                pieces += piece
                if len(pieces) > MAX_ANSWER:
                    break
            return response.status, bytes(pieces)


def post_once(envelope: Envelope, timeout: float, networks: Sequence[str] | None = ()) -> Answer:
    """Post one envelope and wait for what comes."""
    with Calls(networks) as calls:
        calls.feed("one", 1, [Call("one", envelope, timeout)])
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
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return found.is_global or any(found in network for network in self._networks)

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
