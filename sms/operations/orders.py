"""Orders: what a text asks to be paid, charged through the payment engine's own door, once, and what came of it.

Nothing is charged but what the payer was told: a balance that was never told, or that changed since, is told first, and a fee
is asked for. The text's own id is the request key, so that the same text charges once however often it is dealt with.

Source: PBT-16, PBT-17; evidence 3.3.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal

from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Customer
from billing.money import ZERO
from payments.gateways.base import Misconfigured, Result
from payments.models import Channel, Instrument, InstrumentState, Payment, PaymentState
from payments.operations import balances, charges, dues, prepayments
from sms.conversations import findings
from sms.conversations.findings import Finding
from sms.conversations.states import AcceptBalance, Account, ConfirmFee, Pay, TellBalance
from sms.models import Programme, Text
from sms.operations import links
from sms.operations.talks import Talk, account_of

# How long a question about money stays open.
OPEN_FOR = datetime.timedelta(hours=4)
# The same sum ordered again in this time is taken for the same order.
_SAME_ORDER = datetime.timedelta(hours=24)

_NOT_REACHED = frozenset({Result.NO_ANSWER, Result.SERVICE_UNAVAILABLE, Result.TECHNICAL_PROBLEM})


def carry_out(
    *,
    text: Text,
    action: Pay | ConfirmFee | AcceptBalance,
    talk: Talk,
    programme: Programme,
    actor: Actor,
    now: datetime.datetime,
) -> tuple[Finding, Payment | None]:
    """Pay as a text orders, or find why not; gives the payment where there is one.

    No transaction may be open: the processor is spoken to.
    """
    key = request_key(text)
    if earlier := Payment.objects.filter(biller_id=text.biller_id, request_key=key).select_related("customer").first():
        return outcome(earlier, now=now), earlier
    if programme.stopped:
        return findings.Unavailable(), None
    if talk.stale or action.account is None:
        return _which(talk), None
    customer = talk.customer(action.account)
    if customer is None:
        return findings.NotEnrolled(), None
    if not _refreshed(customer):
        return findings.Unavailable(), None
    due = dues.due(customer=customer)
    account = account_of(customer)
    if due.full <= 0:
        return _nothing_due(customer, account, now), None
    if due.being_paid:
        return findings.InProgress(account, due.in_flight), None
    trouble, instrument = _method(customer, account, now)
    if instrument is None:
        assert trouble is not None
        return trouble, None
    told = _told(talk, customer, text)
    amount = action.amount if action.amount is not None else due.full
    if isinstance(action, Pay) and action.amount is not None:
        if (same := _ordered_before(customer, amount, now)) is not None:
            return (
                findings.InProgress(account, amount)
                if same.state == PaymentState.PROCESSING
                else findings.AlreadyPaid(account, amount)
            ), None
    elif isinstance(action, Pay):
        if told != due.full:
            return findings.BalanceChanged(account, due.full, now + OPEN_FOR), None
    elif (isinstance(action, AcceptBalance) or amount == told) and amount != due.full:
        # What was agreed to was all of it: of a balance that is another now, it would be a part or too much.
        return findings.BalanceChanged(account, due.full, now + OPEN_FOR), None
    if amount > due.full or (amount < due.full and due.parts and amount < due.least):
        return findings.AmountRefused(account, due.full), None
    if amount < due.full and not due.parts:
        return findings.PartialRefused(account, due.full), None
    fee = programme.fee
    if fee and not (isinstance(action, ConfirmFee) and action.fee == fee):
        return findings.FeeApplies(account, amount, fee, now + OPEN_FOR), None
    return _charge(customer, account, amount, fee, instrument, actor, key, now)


def _refreshed(customer: Customer) -> bool:
    """Ask the biller's system what the account owes, where it can be asked; gives whether a charge may go by what is known."""
    standing = balances.refresh(biller=customer.biller, customers=[customer.pk]).get(customer.pk)
    if standing is None:
        return True
    customer.refresh_from_db(fields=["balance", "cis_blocks_card", "cis_blocks_bank"])
    return standing.usable


def tell_balances(*, action: TellBalance, talk: Talk, owed: Mapping[int, dues.Due]) -> Finding:
    """Say what is due, reckoned before by the customers' ids: of one account, or of all; of prepaid ones what is left."""
    if not talk.conversation.accounts:
        return findings.NotEnrolled()
    accounts = (action.account,) if action.account is not None and not talk.stale else talk.conversation.accounts
    if (left := prepayments.left_on([talk.customers[one.reference].pk for one in accounts])) is not None:
        return findings.PrepaidLeft(tuple((one, left[talk.customers[one.reference].pk]) for one in accounts))
    return findings.Balances(tuple((one, owed[talk.customers[one.reference].pk].full) for one in accounts))


def outcome(payment: Payment, *, now: datetime.datetime) -> Finding:
    """Say what came of a payment."""
    customer = payment.customer
    account, amount = account_of(customer), payment.amount
    if payment.state == PaymentState.PROCESSING:
        return findings.InProgress(account, amount)
    if payment.state != PaymentState.FAILED:
        return findings.Paid(account, amount, payment.confirmation, payment.fee)
    if payment.result in _NOT_REACHED:
        return findings.Unavailable()
    return findings.Declined(account, amount, links.make(customer=customer, now=now))


def request_key(text: Text) -> str:
    """Give the key under which a text's order is charged."""
    return f"text:{text.pk}"


def default_method(customer: Customer) -> Instrument | None:
    """Give the method that a text charges; none where none is on file."""
    mine = Instrument.objects.filter(customer=customer, state=InstrumentState.ACTIVE).select_related("route")
    return mine.filter(is_default=True).first()


def _charge(
    customer: Customer,
    account: Account,
    amount: Decimal,
    fee: Decimal,
    instrument: Instrument,
    actor: Actor,
    key: str,
    now: datetime.datetime,
) -> tuple[Finding, Payment | None]:
    try:
        payment = charges.pay(
            customer=customer, amount=amount, fee=fee, instrument=instrument, channel=Channel.TEXT, actor=actor,
            request_key=key, now=now,
        )  # fmt: skip
    except charges.NothingDue:
        return _nothing_due(customer, account, now), None
    except charges.AlreadyBeingPaid:
        return findings.InProgress(account, amount), None
    except charges.AmountRefused:
        # The balance moved under our feet.
        owed = dues.due(customer=customer).full
        if owed <= 0:
            return _nothing_due(customer, account, now), None
        return findings.BalanceChanged(account, owed, now + OPEN_FOR), None
    except charges.MethodBlocked:
        return findings.Blocked(account), None
    except charges.MethodUnusable:
        return findings.ExpiredMethod(account, links.make(customer=customer, now=now)), None
    except (DomainError, Misconfigured):
        return findings.Unavailable(), None
    return outcome(payment, now=now), payment


def _method(customer: Customer, account: Account, now: datetime.datetime) -> tuple[Finding | None, Instrument | None]:
    instrument = default_method(customer)
    if instrument is None:
        return findings.NoMethod(account, links.make(customer=customer, now=now)), None
    if customer.blocks(instrument.kind):
        return findings.Blocked(account), None
    if instrument.expired(customer.biller.business_date(now)):
        return findings.ExpiredMethod(account, links.make(customer=customer, now=now)), None
    return None, instrument


def _told(talk: Talk, customer: Customer, text: Text) -> Decimal | None:
    """Give what the payer was told that the account owes, before this text was written."""
    told = talk.phone.told.get(str(customer.pk))
    if told is None:
        return None
    written, heard_of = text.sent_at, talk.phone.told_at
    if written is not None and heard_of is not None and written < heard_of - datetime.timedelta(minutes=1):
        return None  # an answer to an earlier text, come late
    return Decimal(told)


def _ordered_before(customer: Customer, amount: Decimal, now: datetime.datetime) -> Payment | None:
    return (
        Payment.objects.filter(
            customer=customer, channel=Channel.TEXT, amount=amount, created_at__gt=now - _SAME_ORDER,
            state__in=[PaymentState.POSTED, PaymentState.PROCESSING],
        )
        .order_by("-created_at")
        .first()
    )  # fmt: skip


def _nothing_due(customer: Customer, account: Account, now: datetime.datetime) -> Finding:
    recent = charges.paid_today(customer=customer, now=now)
    paid = next((one for one in recent if one.state == PaymentState.POSTED), None)
    return findings.AlreadyPaid(account, paid.amount) if paid is not None else findings.NothingDue(account)


def _which(talk: Talk) -> Finding:
    """Ask which account is meant; where one is left of several, what it owes is told before it is paid."""
    accounts = talk.conversation.accounts
    if not accounts:
        return findings.NotEnrolled()
    owed = _dues(talk, accounts)
    if len(accounts) > 1 and any(amount > ZERO for _account, amount in owed):
        return findings.SeveralAccounts(owed)
    return findings.Balances(owed)


def _dues(talk: Talk, accounts: tuple[Account, ...]) -> tuple[tuple[Account, Decimal], ...]:
    owed = dues.dues_of(talk.customers.values())
    return tuple((account, owed[talk.customers[account.reference].pk].full) for account in accounts)
