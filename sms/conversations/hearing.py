"""Hearing a text: from the state and the words to the next state, what is meant, what to do and what to say.

The order is fixed: opt-out, help, opt-in, answers that the state expects, pay, balance, unknown. YES never moves money (a late
or repeated YES to a registration must not pay a bill); CONFIRM alone agrees to a fee; a question mark agrees to nothing.

Source: PBT-14, PBT-15, PBT-16, PBT-17; evidence 3.2, 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from sms.conversations import opt_outs, words
from sms.conversations.amounts import Order, read_number, read_order
from sms.conversations.answers import repeat
from sms.conversations.bodies import Body, read
from sms.conversations.states import (
    AcceptBalance,
    Account,
    Action,
    Asked,
    ConfirmFee,
    ConfirmRegistration,
    Conversation,
    DeclinePayment,
    DeclineRegistration,
    Facts,
    Heard,
    Intent,
    Language,
    Match,
    Message,
    OptIn,
    OptOut,
    Pay,
    Question,
    Reply,
    Review,
    Rule,
    Standing,
    TellBalance,
)

# Help for what was not understood, at most once in this time: two machines must not talk to each other for ever.
GUIDANCE_EVERY = timedelta(hours=24)

_NOTHING = Rule(Match.NOTHING)


def hear(conversation: Conversation, text: str, *, now: datetime, media: int = 0) -> Heard:
    """Hear one text; any text is heard in any state, and the same gives the same.

    ``now`` is aware. ``media`` is how many pictures came with the text. An opted-out phone is answered nothing at all, HELP
    included: what it writes goes before a CSR.

    Source: PBT-14, PBT-15, PBT-16, PBT-17; evidence 3.2.
    """
    body = read(text)
    if body.reaction:
        return Heard(conversation, Intent.COURTESY, Rule(Match.PHRASE, "reaction"))
    rule = opt_outs.find(body)
    if rule is not None:
        return _opt_out(conversation, body, rule)
    if conversation.standing is Standing.OPTED_OUT:
        return _hear_opted_out(conversation, body, now, media)
    return _hear(conversation, body, now, media)


def _opt_out(conversation: Conversation, body: Body, rule: Rule) -> Heard:
    review = opt_outs.review(body, rule)
    gone = Conversation(
        standing=Standing.OPTED_OUT, guided_at=conversation.guided_at, language=_language(conversation, rule)
    )
    message = Message.OPTED_OUT_CANCEL if review is Review.CANCEL else Message.OPTED_OUT
    # One confirmation, or none: who is out already was told.
    told = conversation.standing is Standing.OPTED_OUT
    reply = None if told else Reply(message)
    return Heard(conversation if told else gone, Intent.OPT_OUT, rule, reply, OptOut(), review)


def _hear_opted_out(conversation: Conversation, body: Body, now: datetime, media: int) -> Heard:
    heard = _hear(Conversation(), body, now, media)
    if heard.intent is Intent.OPT_IN:
        lifted = replace(conversation, standing=Standing.STRANGER, language=_language(conversation, heard.rule))
        return Heard(lifted, Intent.OPT_IN, heard.rule, action=OptIn())
    review = None if heard.intent is Intent.COURTESY else Review.AFTER_OPT_OUT
    return Heard(conversation, heard.intent, heard.rule, review=review)


def _hear(conversation: Conversation, body: Body, now: datetime, media: int) -> Heard:
    if conversation.standing is not Standing.ENROLLED:
        # Whoever was unenrolled meanwhile agrees to nothing that was asked before.
        conversation = replace(conversation, question=None, bill_offered=False)
    if (rule := _help(body)) is not None:
        return _heard(conversation, Intent.HELP, rule, Reply(Message.HELP))
    if (rule := _only(body, words.OPT_IN)) is not None:
        return _opt_in(conversation, rule, now)
    if opt_outs.is_doubtful(body):
        return _unknown(conversation, Review.DOUBTFUL_OPT_OUT, now)
    if not body.asks:
        expected = _expected(conversation, body, now)
        if expected is not None:
            return expected
    order = read_order(body, ok_pays=_ok_pays(conversation, now))
    if order is not None:
        return _pay(conversation, body, order, now)
    balance = _balance(conversation, body, now)
    if balance is not None:
        return balance
    if (rule := _thanks(body)) is not None:
        return _heard(conversation, Intent.COURTESY, rule)
    if not body.asks:
        late = _late(conversation, body)
        if late is not None:
            return late
    wordless = Review.MEDIA if media else Review.EMPTY
    return _unknown(conversation, Review.UNKNOWN if body.raw.strip() else wordless, now)


def _opt_in(conversation: Conversation, rule: Rule, now: datetime) -> Heard:
    if conversation.standing is Standing.ENROLLED and not _pending(conversation, now):
        return _heard(conversation, Intent.OPT_IN, rule, Reply(Message.ALREADY_ENROLLED))
    return _heard(conversation, Intent.OPT_IN, rule, action=OptIn())


def _expected(conversation: Conversation, body: Body, now: datetime) -> Heard | None:
    """Hear an answer to what is open: a registration first, for it moves no money."""
    yes, no, confirm = _only(body, words.YES), _only(body, words.NO), _only(body, words.CONFIRM)
    question = _open(conversation, now)
    if yes and _pending(conversation, now):
        return _heard(conversation, Intent.CONFIRM_REGISTRATION, yes, action=ConfirmRegistration())
    if question is not None:
        answered = replace(conversation, question=None)
        if no:
            # No to the sum is no to the bill as well: a later OK must not pay it.
            answered = replace(answered, bill_offered=False)
            declined = DeclinePayment(question.account, question.amount)
            return _heard(answered, Intent.DECLINE_PAYMENT, no, Reply(Message.PAYMENT_CALLED_OFF), declined)
        if question.about is Asked.FEE and confirm:
            paid = ConfirmFee(question.account, question.amount, question.fee)
            return _heard(answered, Intent.CONFIRM_FEE, confirm, action=paid)
        if question.about is Asked.BALANCE and yes and _says_ok(body):
            return _heard(answered, Intent.ACCEPT_BALANCE, yes, action=AcceptBalance(question.account, question.amount))
        if yes or confirm:
            intent = Intent.CONFIRM_FEE if question.about is Asked.FEE else Intent.ACCEPT_BALANCE
            return _heard(conversation, intent, yes or confirm or _NOTHING, repeat(question))
    elif conversation.question is not None and (confirm or no or (yes and _says_ok(body))):
        forgotten = replace(conversation, question=None)
        if no:
            late = DeclinePayment(conversation.question.account, conversation.question.amount)
            called_off = replace(forgotten, bill_offered=False)
            return _heard(called_off, Intent.DECLINE_PAYMENT, no, Reply(Message.PAYMENT_CALLED_OFF), late)
        intent = Intent.CONFIRM_FEE if conversation.question.about is Asked.FEE else Intent.ACCEPT_BALANCE
        return _heard(forgotten, intent, yes or confirm or _NOTHING, Reply(Message.QUESTION_EXPIRED))
    if _pending(conversation, now):
        if confirm:
            return _heard(conversation, Intent.CONFIRM_REGISTRATION, confirm, action=ConfirmRegistration())
        if no:
            ended = replace(conversation, pending_until=None)
            reply = Reply(Message.REGISTRATION_DECLINED)
            return _heard(ended, Intent.DECLINE_REGISTRATION, no, reply, DeclineRegistration())
    if no and conversation.bill_offered:
        unpaid = replace(conversation, bill_offered=False)
        return _heard(unpaid, Intent.DECLINE_PAYMENT, no, Reply(Message.PAYMENT_CALLED_OFF))
    return None


def _late(conversation: Conversation, body: Body) -> Heard | None:
    """Answer a YES, OK or CONFIRM that nothing waits for: late, or from another number."""
    if (rule := _only(body, words.CONFIRM)) is not None:
        return _heard(conversation, Intent.CONFIRM_FEE, rule, Reply(Message.NOTHING_TO_CONFIRM))
    if (rule := _only(body, words.YES)) is not None:
        return _heard(conversation, Intent.CONFIRM_REGISTRATION, rule, Reply(Message.NOTHING_TO_CONFIRM))
    return None


def _pay(conversation: Conversation, body: Body, order: Order, now: datetime) -> Heard:
    match = Match.EXACT if body.raw.strip().casefold() == order.word else Match.NORMALISED
    rule = Rule(match, order.word, order.language)
    if conversation.standing is not Standing.ENROLLED:
        waits = _pending(conversation, now)
        reply = Reply(Message.CONFIRM_FIRST if waits else Message.NOT_ENROLLED)
        return _heard(conversation, Intent.PAY, rule, reply)
    if not order.clear:
        return _heard(conversation, Intent.PAY, rule, Reply(Message.PAY_UNCLEAR), review=Review.DOUBTFUL_PAY)
    account = _sole(conversation)
    if order.index is not None:
        if not 1 <= order.index <= len(conversation.accounts):
            return _heard(conversation, Intent.PAY, rule, _no_such(conversation, order.index))
        account = conversation.accounts[order.index - 1]
    question = _open(conversation, now)
    if question is not None and order.amount is None:
        same = order.index is None or account == question.account
        if same and question.about is Asked.FEE:
            return _heard(conversation, Intent.PAY, rule, repeat(question))
        if same:
            accepted = AcceptBalance(question.account, question.amount)
            return _heard(replace(conversation, question=None), Intent.ACCEPT_BALANCE, rule, action=accepted)
    return _heard(replace(conversation, question=None), Intent.PAY, rule, action=Pay(account, order.amount))


def _no_such(conversation: Conversation, index: int) -> Reply:
    """Answer a whole number that is no account's: one account has no numbers, so an amount was meant, and is asked for."""
    if len(conversation.accounts) > 1:
        return Reply(Message.NO_SUCH_ACCOUNT)
    return Reply(Message.AMOUNT_UNCLEAR, Facts(amount=Decimal(index).quantize(Decimal("0.01"))))


def _balance(conversation: Conversation, body: Body, now: datetime) -> Heard | None:
    rule = _phrase(body, words.BALANCE_PHRASES)
    index: int | None = None
    if rule is None:
        asked = body.without(words.BALANCE_FILLERS)
        named = [token for token in asked if token in words.BALANCE]
        rest = [token for token in asked if token not in words.BALANCE]
        index = read_number(rest)
        if not named or (rest and index is None):
            return None
        match = Match.EXACT if body.raw.strip().casefold() == named[0] else Match.NORMALISED
        rule = Rule(match, named[0], words.BALANCE[named[0]])
    if conversation.standing is not Standing.ENROLLED:
        waits = _pending(conversation, now)
        return _heard(
            conversation, Intent.BALANCE, rule, Reply(Message.CONFIRM_FIRST if waits else Message.NOT_ENROLLED)
        )
    if index is None:
        return _heard(conversation, Intent.BALANCE, rule, action=TellBalance(_sole(conversation)))
    if 1 <= index <= len(conversation.accounts):
        return _heard(conversation, Intent.BALANCE, rule, action=TellBalance(conversation.accounts[index - 1]))
    # Told all of them, the payer sees which numbers there are.
    return _heard(conversation, Intent.BALANCE, rule, action=TellBalance(None))


def _unknown(conversation: Conversation, review: Review, now: datetime) -> Heard:
    if conversation.guided_at is not None and now - conversation.guided_at < GUIDANCE_EVERY:
        return Heard(conversation, Intent.UNKNOWN, _NOTHING, review=review)
    if review is Review.DOUBTFUL_OPT_OUT:
        message = Message.STOP_UNCLEAR
    elif conversation.standing is Standing.ENROLLED:
        message = Message.UNKNOWN
    else:
        message = Message.CONFIRM_FIRST if _pending(conversation, now) else Message.NOT_ENROLLED
    return Heard(replace(conversation, guided_at=now), Intent.UNKNOWN, _NOTHING, Reply(message), review=review)


def _help(body: Body) -> Rule | None:
    if body.marked.strip() and not body.marked.strip(" ?¿!"):
        return Rule(Match.EXACT, "?")
    return _only(body, words.HELP) or _phrase(body, words.HELP_PHRASES)


def _thanks(body: Body) -> Rule | None:
    rest = [token for token in body.tokens if token not in words.OK]
    if rest and all(token in words.THANKS for token in rest) and any(token in words.THANKS_CORE for token in rest):
        return Rule(Match.NORMALISED, rest[0], words.THANKS[rest[0]])
    return None


def _only(body: Body, known: Mapping[str, Language]) -> Rule | None:
    """Match a text of known words and courtesies alone."""
    word = body.raw.strip().casefold()
    if word in known:
        return Rule(Match.EXACT, word, known[word])
    rest = body.without(words.COURTESIES)
    if rest and all(token in known for token in rest):
        return Rule(Match.NORMALISED, rest[0], known[rest[0]])
    for compact in (body.compact, "".join(rest)):
        if compact in known:
            return Rule(Match.NORMALISED, compact, known[compact])
    return None


def _phrase(body: Body, phrases: Mapping[tuple[str, ...], Language]) -> Rule | None:
    for phrase, language in phrases.items():
        if any(body.tokens[start : start + len(phrase)] == phrase for start in range(len(body.tokens))):
            return Rule(Match.PHRASE, " ".join(phrase), language)
    return None


def _says_ok(body: Body) -> bool:
    return any(token in words.OK for token in body.tokens)


def _pending(conversation: Conversation, now: datetime) -> bool:
    return conversation.pending_until is not None and now < conversation.pending_until


def _open(conversation: Conversation, now: datetime) -> Question | None:
    question = conversation.question
    return question if question is not None and now < question.expires_at else None


def _ok_pays(conversation: Conversation, now: datetime) -> bool:
    return conversation.bill_offered and not _pending(conversation, now)


def _sole(conversation: Conversation) -> Account | None:
    return conversation.accounts[0] if len(conversation.accounts) == 1 else None


def _heard(
    conversation: Conversation,
    intent: Intent,
    rule: Rule,
    reply: Reply | None = None,
    action: Action | None = None,
    review: Review | None = None,
) -> Heard:
    spoken = replace(conversation, language=_language(conversation, rule))
    return Heard(spoken, intent, rule, reply, action, review)


def _language(conversation: Conversation, rule: Rule) -> Language:
    """Answer in Spanish whoever writes Spanish; PAY, OK and STOP are said in every language and change nothing."""
    return Language.SPANISH if rule.language is Language.SPANISH else conversation.language
