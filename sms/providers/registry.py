"""Which text provider drivers there are: a row keeps the name, this module gives the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sms.providers.base import Misconfigured, Provider
from sms.providers.lines import ExchangeHook
from sms.providers.simulator import SimulatorProvider
from sms.providers.smpp.provider import SmppProvider
from sms.providers.twilio import TwilioProvider

DRIVERS: dict[str, Callable[..., Provider]] = {
    SimulatorProvider.name: SimulatorProvider,
    TwilioProvider.name: TwilioProvider,
    SmppProvider.name: SmppProvider,
}

LISTENING = frozenset(name for name, driver in DRIVERS.items() if hasattr(driver, "listen"))
"""The drivers of providers that tell over a connection (``base.Listener``)."""


def open_provider(
    driver: str,
    options: Mapping[str, Any],
    secret: str,
    *,
    callback_url: str,
    on_exchange: ExchangeHook | None = None,
) -> Provider:
    """Give the named driver, set up for one account.

    ``options`` are the driver's own, as the row keeps them; ``secret`` is the account's. ``callback_url`` is the public
    address of its webhook. ``on_exchange`` is told every message sent, phone numbers masked.

    :raises Misconfigured: there is no such driver, or it does not take these options.
    """
    if driver not in DRIVERS:
        raise Misconfigured(f"there is no text provider driver {driver}")
    try:
        return DRIVERS[driver](**options, secret=secret, callback_url=callback_url, on_exchange=on_exchange)
    except TypeError as error:
        raise Misconfigured(f"the options of text provider driver {driver} are wrong: {error}") from None
