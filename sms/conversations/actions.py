"""Actions written down and read back: what a text asks for is kept before it is done, so that a crash forgets nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any

from sms.conversations.states import (
    AcceptBalance,
    Account,
    Action,
    ConfirmFee,
    ConfirmRegistration,
    DeclinePayment,
    DeclineRegistration,
    OptIn,
    OptOut,
    Pay,
    TellBalance,
)

_KINDS: Mapping[str, type[Action]] = {
    kind.__name__: kind
    for kind in (
        AcceptBalance,
        ConfirmFee,
        ConfirmRegistration,
        DeclinePayment,
        DeclineRegistration,
        OptIn,
        OptOut,
        Pay,
        TellBalance,
    )
}


def write(action: Action) -> dict[str, Any]:
    """Write an action as plain values."""
    written: dict[str, Any] = {"do": type(action).__name__}
    for field in fields(action):
        value = getattr(action, field.name)
        if isinstance(value, Account):
            value = [value.reference, value.tail]
        elif isinstance(value, Decimal):
            value = str(value)
        written[field.name] = value
    return written


def read(written: Mapping[str, Any]) -> Action:
    """Read an action that :func:`write` wrote."""
    values: dict[str, Any] = {}
    for name, value in written.items():
        if name == "do":
            continue
        if name == "account":
            values[name] = Account(*value) if value is not None else None
        else:
            values[name] = Decimal(value) if value is not None else None
    return _KINDS[written["do"]](**values)
