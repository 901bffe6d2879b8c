"""Which gateway drivers there are: a route keeps the name, this module gives the driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from payments.gateways.base import Gateway, Misconfigured
from payments.gateways.lines import ExchangeHook
from payments.gateways.options import OptionField, unknown
from payments.gateways.simulator import SimulatorGateway
from payments.gateways.stripe import StripeGateway

DRIVERS: dict[str, Callable[..., Gateway]] = {
    SimulatorGateway.name: SimulatorGateway,
    StripeGateway.name: StripeGateway,
}


OPTIONS: dict[str, Sequence[OptionField]] = {
    SimulatorGateway.name: SimulatorGateway.options,
    StripeGateway.name: StripeGateway.options,
}


def open_gateway(
    driver: str, options: Mapping[str, Any], secret: str, *, on_exchange: ExchangeHook | None = None
) -> Gateway:
    """Give the named driver, set up for one merchant.

    ``options`` are the driver's own, as the route keeps them; ``secret`` is the merchant's. ``on_exchange`` is told
    every message, numbers masked (PAY-13).

    :raises Misconfigured: there is no such driver, or it does not take these options.
    """
    if driver not in DRIVERS:
        raise Misconfigured(f"there is no gateway driver {driver}")
    if strange := unknown(options, OPTIONS[driver]):
        raise Misconfigured(f"gateway driver {driver} has no option {', '.join(strange)}")
    try:
        return DRIVERS[driver](**options, secret=secret, on_exchange=on_exchange)
    except TypeError as error:
        raise Misconfigured(f"the options of gateway driver {driver} are wrong: {error}") from None
