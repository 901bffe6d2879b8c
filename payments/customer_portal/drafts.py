"""A payment that is being prepared: what was chosen so far, kept in the session until it is sent.

Its key is made when the first page is drawn and becomes the payment's request key, so that reload and Back find the
payment that was made and never make a second one.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict, dataclass
from decimal import Decimal

from django.contrib.sessions.backends.base import SessionBase

from billing.models import Customer

SECONDS = 60 * 60
MOST = 8
_DRAFTS = "drafts"

NEW_CARD, NEW_BANK = "card", "bank"


@dataclass(slots=True)
class Draft:
    """What was chosen: ``method`` is an instrument's id, or ``card`` or ``bank`` while one is still to be entered.

    ``amount`` is plain text, because a session holds no decimals.
    """

    customer_id: int
    amount: str
    method: str
    keep: bool = False
    email: str = ""
    until: float = 0.0

    @property
    def money(self) -> Decimal:
        """The amount in the biller's currency."""
        return Decimal(self.amount)

    @property
    def kind(self) -> str:
        """What is still to be entered: ``card``, ``bank``, or nothing."""
        return self.method if self.method in {NEW_CARD, NEW_BANK} else ""


def new_key() -> str:
    """Make a key for a form that is about to be drawn."""
    return uuid.uuid4().hex


def read(session: SessionBase, key: str, customer: Customer) -> Draft | None:
    """Give a draft of this account, or nothing where it is gone or its time is over."""
    held = session.get(_DRAFTS, {}).get(key)
    if held is None:
        return None
    draft = Draft(**held)
    return draft if draft.customer_id == customer.pk and draft.until >= time.time() else None


def keep(session: SessionBase, key: str, draft: Draft) -> None:
    """Keep a draft; the oldest go where there are many."""
    draft.until = time.time() + SECONDS
    drafts = {other: held for other, held in session.get(_DRAFTS, {}).items() if held["until"] >= time.time()}
    drafts[key] = asdict(draft)
    while len(drafts) > MOST:
        del drafts[min(drafts, key=lambda other: float(drafts[other]["until"]))]
    session[_DRAFTS] = drafts
