"""Opening the door to a processor for one route, and what its messages say to payers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from payments import transmissions
from payments.gateways.base import ChargeRequest, Gateway
from payments.gateways.registry import open_gateway
from payments.models import AnswerCode, Route


def open_route(route: Route) -> Gateway:
    """Give the gateway of a route, with its secret and the administrator's table of what its codes mean (PAY-4).

    :raises payments.gateways.base.Misconfigured: the route's driver or options are wrong.
    """
    options = {**route.options, "merchant": route.merchant}
    if codes := dict(AnswerCode.objects.filter(driver=route.driver).values_list("code", "result")):
        options["codes"] = {**route.options.get("codes", {}), **codes}
    return open_gateway(route.driver, options, route.secret, on_exchange=transmissions.log_of(route))


def described(route: Route, requests: Sequence[ChargeRequest]) -> Sequence[ChargeRequest]:
    """Give messages with what payers' statements are to say of them, where the route has that (PAY-21)."""
    if not route.descriptor:
        return requests
    return [
        replace(request, descriptor=route.descriptor, descriptor_phone=route.descriptor_phone) for request in requests
    ]
