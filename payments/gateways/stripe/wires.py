"""The wire below Stripe's library: our own line instead of its HTTP client.

The library shapes requests and reads answers; the line tells what was not sent from what nobody knows, keeps one
deadline for an exchange, follows nothing and repeats nothing. Only what Stripe needs of the library's headers goes out:
those that describe this machine do not.

Source: PAY-13, PAY-22.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from payments.gateways.base import Misconfigured
from payments.gateways.lines import ExchangeHook, Line

if TYPE_CHECKING:
    from stripe import StripeClient

API = "https://api.stripe.com"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SENT_ON = ("Authorization", "Content-Type", "Idempotency-Key", "Stripe-Version")
# A secret of the browser's, given to it once and worth nothing in a log.
_CLIENT_SECRET = re.compile(r'("client_secret"\s*:\s*)"[^"]*"')


def open_client(
    base_url: str,
    secret: str,
    *,
    timeout: float,
    connect_timeout: float,
    connect_retries: int,
    ca_file: str | None,
    on_exchange: ExchangeHook | None,
) -> tuple[StripeClient, Line]:
    """Give Stripe's client over a line of ours; times are in seconds.

    :raises Misconfigured: the address is neither Stripe's nor on this machine.
    """
    parts = urlsplit(base_url)
    # The key that moves a biller's money goes to Stripe, or to what stands in for it on the same machine.
    if parts.path.strip("/") or not (
        base_url.rstrip("/") == API or (parts.scheme in {"http", "https"} and parts.hostname in _LOOPBACK)
    ):
        raise Misconfigured(f"base_url is {API}, or http://127.0.0.1:port where something stands in for it")
    line = Line(
        base_url,
        headers={"User-Agent": "Ratepayer"},
        connect_timeout=connect_timeout,
        connect_retries=connect_retries,
        ca_file=ca_file,
        on_exchange=_masking(on_exchange),
    )
    # Stripe's library takes a quarter of a second and some memory, which only those pay who use it.
    from stripe import HTTPClient, StripeClient

    class Wire(HTTPClient):
        """What the library takes for its HTTP client."""

        name = "ratepayer"

        def request(
            self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
        ) -> tuple[str, int, Mapping[str, str]]:
            """Send what the library shaped, once."""
            asked = urlsplit(url)
            sent = {name: value for name, value in (headers or {}).items() if name in _SENT_ON}
            body = post_data.encode() if isinstance(post_data, str) else post_data or b""
            path = f"{asked.path}?{asked.query}" if asked.query else asked.path
            reply = line.exchange(method.upper(), path, body, timeout=timeout, headers=sent)
            return reply.body.decode("utf-8", "replace"), reply.status, {}

        def close(self) -> None:
            """Leave the line open: it is its owner's."""

    client = StripeClient(secret, http_client=Wire(), max_network_retries=0, base_addresses={"api": API})
    return client, line


def _masking(hook: ExchangeHook | None) -> ExchangeHook | None:
    if hook is None:
        return None

    def told(direction: str, text: str) -> None:
        hook(direction, _CLIENT_SECRET.sub(r'\1"****"', text))

    return told
