"""What is said, and what state follows, once an action's finding is known.

Source: PBT-14, PBT-15, PBT-16, PBT-17; evidence 3.3.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from sms.conversations import findings
from sms.conversations.states import (
    Account,
    Asked,
    Conversation,
    Facts,
    Message,
    Question,
    Reply,
    Said,
    Standing,
)

_METHOD_TROUBLE = {
    findings.NoMethod: Message.NO_METHOD,
    findings.ExpiredMethod: Message.EXPIRED_METHOD,
}


def answer(conversation: Conversation, finding: findings.Finding) -> Said:
    """Give the next state and the text to send for what was found.

    An opted-out phone is told nothing and stays as it is, whatever was found: a payment may end after a STOP. Where an
    opt-in came otherwise than by the phone (a CSR records new consent), the caller hands in the lifted standing.

    Source: PBT-15, PBT-16.
    """
    if conversation.standing is Standing.OPTED_OUT:
        return Said(conversation)
    match finding:
        case findings.RegistrationAsked(until):
            return Said(replace(conversation, pending_until=until), Reply(Message.REGISTRATION))
        case findings.Enrolled(accounts):
            # A bill or a question that is open for another account stays open.
            enrolled = replace(conversation, standing=Standing.ENROLLED, pending_until=None, accounts=accounts)
            return Said(enrolled, Reply(Message.ENROLLED))
        case findings.NothingPending():
            return Said(replace(conversation, pending_until=None), Reply(Message.NOTHING_TO_CONFIRM))
        case findings.NotEnrolled():
            return Said(_serving(conversation, ()), Reply(Message.NOT_ENROLLED))
        case findings.Unenrolled(accounts):
            return Said(_serving(conversation, accounts), Reply(Message.UNENROLLED))
        case findings.NumberReleased(accounts):
            return Said(_serving(conversation, accounts), Reply(Message.NUMBER_RELEASED))
        case findings.BillReady(account, amount, due_on, link, collected_on):
            message = Message.BILL_READY_LINK if link else Message.BILL_READY
            if collected_on is not None:
                message, due_on, link = Message.BILL_READY_AUTOPAY, collected_on, ""
            index = _index(conversation, account)
            facts = Facts(tail=account.tail, index=index, amount=amount, due_on=due_on, link=link)
            # What was asked about this account no longer holds: its balance is new.
            question = conversation.question
            if question is not None and question.account == account:
                question = None
            offered = conversation.bill_offered or message is Message.BILL_READY
            return Said(replace(conversation, bill_offered=offered, question=question), Reply(message, facts))
        case findings.Balances(due):
            return Said(_listing(conversation, due), Reply(Message.BALANCES, Facts(due=due)))
        case findings.PrepaidLow(account, left, link):
            return Said(conversation, Reply(Message.PREPAID_LOW, Facts(tail=account.tail, amount=left, link=link)))
        case findings.PrepaidLeft(left):
            return Said(_listing(conversation, left), Reply(Message.PREPAID_LEFT, Facts(due=left)))
        case findings.SeveralAccounts(due):
            listed = replace(_listing(conversation, due), question=None)
            return Said(listed, Reply(Message.SEVERAL_ACCOUNTS, Facts(due=due)))
        case findings.FeeApplies(account, amount, fee, expires_at):
            asked = Question(Asked.FEE, account, amount, fee, expires_at)
            return Said(replace(conversation, question=asked), repeat(asked))
        case findings.BalanceChanged(account, amount, expires_at):
            asked = Question(Asked.BALANCE, account, amount, Decimal("0.00"), expires_at)
            return Said(replace(conversation, question=asked), repeat(asked))
        case findings.Paid(account, amount, reference, fee):
            facts = Facts(tail=account.tail, amount=amount, fee=fee, reference=reference)
            return Said(_closed(conversation), Reply(Message.PAID, facts))
        case findings.NothingDue(account):
            return Said(_closed(conversation), Reply(Message.NOTHING_DUE, Facts(tail=account.tail)))
        case findings.AlreadyPaid(account, amount):
            return Said(_closed(conversation), Reply(Message.ALREADY_PAID, Facts(tail=account.tail, amount=amount)))
        case findings.InProgress(account, amount):
            return Said(_closed(conversation), Reply(Message.IN_PROGRESS, Facts(tail=account.tail, amount=amount)))
        case findings.Declined(account, amount, link):
            facts = Facts(tail=account.tail, amount=amount, link=link)
            return Said(_unanswered(conversation), Reply(Message.DECLINED, facts))
        case findings.NoMethod(account, link) | findings.ExpiredMethod(account, link):
            facts = Facts(tail=account.tail, link=link)
            return Said(_closed(conversation), Reply(_METHOD_TROUBLE[type(finding)], facts))
        case findings.Blocked(account):
            return Said(_closed(conversation), Reply(Message.BLOCKED, Facts(tail=account.tail)))
        case findings.PartialRefused(account, amount):
            facts = Facts(tail=account.tail, amount=amount)
            return Said(_unanswered(conversation), Reply(Message.PARTIAL_REFUSED, facts))
        case findings.AmountRefused(account, most):
            facts = Facts(tail=account.tail, amount=most)
            return Said(_unanswered(conversation), Reply(Message.AMOUNT_REFUSED, facts))
        case findings.Unavailable():
            return Said(_unanswered(conversation), Reply(Message.UNAVAILABLE))


def repeat(question: Question) -> Reply:
    """Ask an open question, for the first time or again."""
    message = Message.FEE_QUESTION if question.about is Asked.FEE else Message.BALANCE_QUESTION
    return Reply(message, Facts(tail=question.account.tail, amount=question.amount, fee=question.fee))


def _index(conversation: Conversation, account: Account) -> int | None:
    """Give the number of an account among several: plain PAY would only be asked which."""
    if len(conversation.accounts) < 2 or account not in conversation.accounts:
        return None
    return conversation.accounts.index(account) + 1


def _closed(conversation: Conversation) -> Conversation:
    """Take the bill off the table: an OK after this thanks for the answer, and pays nothing."""
    return replace(conversation, bill_offered=False, question=None)


def _unanswered(conversation: Conversation) -> Conversation:
    """Leave the bill on the table, and forget the question."""
    return replace(conversation, question=None)


def _serving(conversation: Conversation, accounts: tuple[Account, ...]) -> Conversation:
    standing = Standing.ENROLLED if accounts else Standing.STRANGER
    question = conversation.question
    if question is not None and question.account not in accounts:
        question = None
    offered = conversation.bill_offered and bool(accounts)
    return replace(conversation, standing=standing, accounts=accounts, question=question, bill_offered=offered)


def _listing(conversation: Conversation, due: tuple[tuple[Account, Decimal], ...]) -> Conversation:
    """Remember the numbers as they were told, so that ``PAY 2`` is the second of this list and no other."""
    if len(due) < 2:
        return conversation
    return replace(conversation, accounts=tuple(account for account, _ in due))
