"""Who did it: every operation takes an actor, and every audit entry, payment and record keeps it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from billing.models import User


class Requestor(enum.IntEnum):
    """Through which door somebody acted (PBT-11); the payer is number 2, the others are ours."""

    CSR = 1
    PAYER = 2
    INBOUND_TEXT = 3
    SYSTEM = 4
    API = 5
    OPERATOR = 6


@dataclass(frozen=True, slots=True)
class Actor:
    """One person, machine or job. ``label`` is the name as history shows it; ``address`` is where a person came from."""

    requestor: Requestor
    label: str
    user_id: int | None = None
    address: str | None = None

    @classmethod
    def csr(cls, user: User, address: str | None = None) -> Actor:
        """Make the actor for a biller's own person in the biller portal."""
        return cls(Requestor.CSR, user.get_full_name(), user.pk, address)

    @classmethod
    def payer(cls, user: User | None, label: str = "", address: str | None = None) -> Actor:
        """Make the actor for a payer, signed in or a guest."""
        if user is None:
            return cls(Requestor.PAYER, label or "Guest", None, address)
        return cls(Requestor.PAYER, user.get_full_name(), user.pk, address)

    @classmethod
    def operator(cls, user: User, address: str | None = None) -> Actor:
        """Make the actor for an administrator in Django admin."""
        return cls(Requestor.OPERATOR, user.get_full_name(), user.pk, address)

    @classmethod
    def api(cls, name: str, address: str | None = None) -> Actor:
        """Make the actor for a machine, by the name of its API token."""
        return cls(Requestor.API, name, None, address)

    @classmethod
    def system(cls, job: str) -> Actor:
        """Make the actor for a job, by its name."""
        return cls(Requestor.SYSTEM, job)
