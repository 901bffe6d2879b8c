"""The line to a provider: one HTTP exchange that says truthfully whether anything can have been taken.

What failed before a connection stood is ``NotSent``; whatever goes wrong afterwards is ``OutcomeUnknown``, and nothing is
repeated here. Redirects are not followed, no proxy is used, certificates are checked, and nothing is logged.
"""

from __future__ import annotations

import functools
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    SSLError,
)

from sms.providers.base import Misconfigured, NotSent, OutcomeUnknown

# Called with "sent" or "received" and the text of a message, phone numbers masked.
ExchangeHook = Callable[[str, str], None]

ANSWER_LARGEST = 4 * 1024 * 1024
_CHUNK = 65_536
_NUMBER = re.compile(r"(?<![0-9A-Za-z])(?:\+|%2B)?[0-9]{7,15}(?![0-9A-Za-z])")

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that arrived whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Line:
    """Exchanges over kept connections; safe to use from many threads. Times are in seconds.

    ``timeout`` is for a whole answer, ``connect_timeout`` for the connection. ``most`` is how many connections are kept.

    :raises Misconfigured: the file of certificate authorities cannot be read.
    """

    def __init__(
        self,
        *,
        timeout: float,
        connect_timeout: float,
        most: int,
        ca_file: str | None = None,
        on_exchange: ExchangeHook | None = None,
    ) -> None:
        if min(timeout, connect_timeout) <= 0 or most < 1:
            raise Misconfigured("time-outs and concurrency are above zero")
        self._pool = urllib3.PoolManager(
            maxsize=most,
            retries=False,
            timeout=urllib3.Timeout(connect=connect_timeout, read=timeout),
            ssl_context=trusted(ca_file),
        )
        self._timeout = timeout
        self._on_exchange = on_exchange

    def exchange(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send one request once and read its whole answer.

        :raises NotSent: no connection could be made; not one byte of the request was written.
        :raises OutcomeUnknown: anything else went wrong.
        :raises Misconfigured: the address is none, or its certificate is not to be trusted.
        """
        deadline = time.monotonic() + self._timeout
        self._tell("sent", f"{method} {url}", body)
        try:
            response = self._pool.request(
                method, url, body=body or None, headers=dict(headers), redirect=False, preload_content=False
            )
            try:
                answer = _whole(response, deadline)
                # What an unread rest could bring belongs to nobody's next question.
                response.release_conn()
            except BaseException:
                response.close()
                raise
        except (NewConnectionError, ConnectTimeoutError) as failure:
            raise NotSent(f"cannot connect: {type(failure).__name__}") from None
        except LocationParseError:
            raise Misconfigured("the provider's address is not a URL") from None
        except SSLError as failure:
            if isinstance(failure.args[0] if failure.args else None, ssl.SSLCertVerificationError):
                raise Misconfigured("the provider's certificate is not to be trusted") from None
            raise OutcomeUnknown("the line broke: TLS") from None
        except (HTTPError, OSError) as failure:
            raise OutcomeUnknown(f"the line broke: {type(failure).__name__}") from None
        self._tell("received", str(response.status), answer)
        return Reply(response.status, dict(response.headers), answer)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.clear()

    def _tell(self, direction: str, first: str, body: bytes) -> None:
        if self._on_exchange is not None:
            self._on_exchange(direction, mask_numbers(f"{first}\n{body.decode('utf-8', 'replace')}"))


@functools.cache
def trusted(ca_file: str | None) -> ssl.SSLContext:
    """Give what certificates are checked against: a file of authorities, None for those of the machine.

    :raises Misconfigured: the file cannot be read.
    """
    # Reading every certificate authority of the machine takes longer than reading a webhook.
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as failure:
        raise Misconfigured(f"the file of certificate authorities cannot be read: {failure}") from None


def _whole(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    body = bytearray()
    while True:
        if time.monotonic() > deadline:
            raise OutcomeUnknown("no whole answer in time")
        some = response.read1(_CHUNK)
        if not some:
            return bytes(body)
        body += some
        if len(body) > ANSWER_LARGEST:
            raise OutcomeUnknown("the answer is too large")


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Read how long the other side wants to be left alone; None where it does not say so in seconds."""
    said = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return timedelta(seconds=int(said)) if said.isascii() and said.isdigit() and len(said) <= 6 else None


def mask_numbers(text: str) -> str:
    """Replace whatever could be a phone number by asterisks and its last four digits."""
    return _NUMBER.sub(lambda found: f"****{found[0][-4:]}", text)


def in_parallel(work: Callable[[_Item], _Result], items: Sequence[_Item], *, at_once: int) -> Iterator[_Result]:
    """Do the same with each item, so many at once, and give the results as they come."""
    if len(items) == 1 or at_once == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        pending = [pool.submit(work, item) for item in items]
        try:
            for done in as_completed(pending):
                yield done.result()
        finally:
            # Whoever stops listening stops the sending of what has not begun.
            for waiting in pending:
                waiting.cancel()
