"""What was found when an action was carried out, or what happened meanwhile: told to ``answer``.

Amounts are in the biller's currency, without the fee unless it says so.

Source: PBT-16, PBT-17; evidence 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sms.conversations.states import Account


@dataclass(frozen=True, slots=True)
class RegistrationAsked:
    """A registration waits for the payer's YES until then."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The phone is enrolled; ``accounts`` are all that it serves now, in the order of ``PAY 1``, ``PAY 2``."""

    accounts: tuple[Account, ...]


@dataclass(frozen=True, slots=True)
class NothingPending:
    """There was nothing to confirm: it was late, or already done."""


@dataclass(frozen=True, slots=True)
class NotEnrolled:
    """No account of this biller is served by this phone, nor was before."""


@dataclass(frozen=True, slots=True)
class Unenrolled:
    """Accounts were unenrolled elsewhere (portal, CSR, biller); ``accounts`` are what the phone still serves."""

    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True, slots=True)
class NumberReleased:
    """The account moved to another number; ``accounts`` are what this one still serves."""

    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True, slots=True)
class BillReady:
    """A bill loaded.

    ``link`` is given where there is no method on file, and PAY would not do; ``collected_on`` where AutoPay collects it.
    """

    account: Account
    amount: Decimal
    due_on: date
    link: str = ""
    collected_on: date | None = None


@dataclass(frozen=True, slots=True)
class Balances:
    """What each account owes, the phone's accounts in their order; one, or all."""

    due: tuple[tuple[Account, Decimal], ...]


@dataclass(frozen=True, slots=True)
class PrepaidLow:
    """``left`` is all that is left on a prepaid account, which is under its threshold; ``link`` adds money."""

    account: Account
    left: Decimal
    link: str


@dataclass(frozen=True, slots=True)
class PrepaidLeft:
    """What is left on each account that was asked for, all of them prepaid."""

    left: tuple[tuple[Account, Decimal], ...]


@dataclass(frozen=True, slots=True)
class SeveralAccounts:
    """Plain PAY, and several accounts owe: which one? ``due`` has all accounts of the phone in their order."""

    due: tuple[tuple[Account, Decimal], ...]


@dataclass(frozen=True, slots=True)
class FeeApplies:
    """A fee comes on top: CONFIRM is asked for."""

    account: Account
    amount: Decimal
    fee: Decimal
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class BalanceChanged:
    """The balance is not what was told: a new OK is asked for."""

    account: Account
    amount: Decimal
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Paid:
    """Money was taken: ``amount`` and ``fee``."""

    account: Account
    amount: Decimal
    reference: str
    fee: Decimal = Decimal("0.00")


@dataclass(frozen=True, slots=True)
class Declined:
    """The method was declined. No money moved. ``link`` pays otherwise."""

    account: Account
    amount: Decimal
    link: str = ""


@dataclass(frozen=True, slots=True)
class NothingDue:
    """Nothing is owed. No money moved."""

    account: Account


@dataclass(frozen=True, slots=True)
class AlreadyPaid:
    """This bill was paid before. No money moved now."""

    account: Account
    amount: Decimal


@dataclass(frozen=True, slots=True)
class InProgress:
    """A payment is under way, or its outcome is being looked up: money may move once, and never twice."""

    account: Account
    amount: Decimal


@dataclass(frozen=True, slots=True)
class NoMethod:
    """No method is on file. No money moved."""

    account: Account
    link: str


@dataclass(frozen=True, slots=True)
class ExpiredMethod:
    """The default method has expired. No money moved."""

    account: Account
    link: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """The account may not pay this way; a CSR knows why. No money moved."""

    account: Account


@dataclass(frozen=True, slots=True)
class PartialRefused:
    """The biller takes the whole ``amount`` that is due only. No money moved."""

    account: Account
    amount: Decimal


@dataclass(frozen=True, slots=True)
class AmountRefused:
    """The amount is more than ``most`` that may be paid, or less than the least. No money moved."""

    account: Account
    most: Decimal


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The payment could not be begun (a system is down, texting is switched off). No money moved."""


Finding = (
    RegistrationAsked
    | Enrolled
    | NothingPending
    | NotEnrolled
    | Unenrolled
    | NumberReleased
    | BillReady
    | Balances
    | PrepaidLow
    | PrepaidLeft
    | SeveralAccounts
    | FeeApplies
    | BalanceChanged
    | Paid
    | Declined
    | NothingDue
    | AlreadyPaid
    | InProgress
    | NoMethod
    | ExpiredMethod
    | Blocked
    | PartialRefused
    | AmountRefused
    | Unavailable
)
