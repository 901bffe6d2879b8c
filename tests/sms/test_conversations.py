"""Conversations: what every text means in every state, and what never happens, whatever is texted."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms import segments
from sms.conversations import answer, findings, hear, wordings
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

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
SOON, GONE = NOW + timedelta(minutes=10), NOW - timedelta(minutes=10)
HOME, SHOP = Account("41", "9001"), Account("42", "7002")
ENROLLED = Conversation(Standing.ENROLLED, accounts=(HOME,))
FEE = Question(Asked.FEE, HOME, Decimal("84.10"), Decimal("2.95"), SOON)
CHANGED = Question(Asked.BALANCE, HOME, Decimal("91.20"), Decimal("0.00"), SOON)
STATES = {
    "stranger": Conversation(),
    "pending": Conversation(pending_until=SOON),
    "late": Conversation(pending_until=GONE),
    "idle": ENROLLED,
    "billed": replace(ENROLLED, bill_offered=True),
    "both": replace(ENROLLED, accounts=(HOME, SHOP), bill_offered=True),
    "fee": replace(ENROLLED, bill_offered=True, question=FEE),
    "fee late": replace(ENROLLED, bill_offered=True, question=replace(FEE, expires_at=GONE)),
    "changed": replace(ENROLLED, bill_offered=True, question=CHANGED),
    "changed late": replace(ENROLLED, bill_offered=True, question=replace(CHANGED, expires_at=GONE)),
    "second": replace(ENROLLED, bill_offered=True, pending_until=SOON),  # enrolled, and another account pending
    "second fee": replace(ENROLLED, bill_offered=True, pending_until=SOON, question=FEE),
    "gone": Conversation(bill_offered=True, question=FEE),  # unenrolled elsewhere while a question was open
    "out": Conversation(Standing.OPTED_OUT),
    "guided": replace(ENROLLED, guided_at=NOW - timedelta(hours=23)),
}

OUT, FLAGGED = ("opt_out", "opted_out", OptOut(), None), ("opt_out", "opted_out_cancel", OptOut(), "cancel")
WRONG = ("opt_out", "opted_out", OptOut(), "wrong_number")
DOUBT = ("unknown", "stop_unclear", None, "doubtful_opt_out")
HELP = ("help", "help", None, None)
UNKNOWN = ("unknown", "unknown", None, "unknown")
CONFIRMED = ("confirm_registration", None, ConfirmRegistration(), None)
NOTHING = ("confirm_registration", "nothing_to_confirm", None, None)
NO_FEE = ("confirm_fee", "nothing_to_confirm", None, None)
STRANGE = ("pay", "not_enrolled", None, None)
FIRST = ("pay", "confirm_first", None, None)
UNCLEAR = ("pay", "pay_unclear", None, "doubtful_pay")
COURTESY = ("courtesy", None, None, None)
CALLED_OFF = ("decline_payment", "payment_called_off", DeclinePayment(HOME, Decimal("84.10")), None)
FEE_PAID = ("confirm_fee", None, ConfirmFee(HOME, Decimal("84.10"), Decimal("2.95")), None)
ACCEPTED = ("accept_balance", None, AcceptBalance(HOME, Decimal("91.20")), None)
HIDDEN = "after_opt_out"

Expected = tuple[str, str | None, Action | None, str | None]


def pays(account: Account | None = HOME, amount: str | None = None) -> Expected:
    return ("pay", None, Pay(account, None if amount is None else Decimal(amount)), None)


def tells(account: Account | None = HOME) -> Expected:
    return ("balance", None, TellBalance(account), None)


def listed(texts: str) -> list[str]:
    return texts.split(",")


# Evidence 3.2, all of it: text → what is expected in "billed", the state in which most texts arrive.
KNOWN_TRAPS: dict[str, Expected] = {
    "stop": OUT,
    " Stop. ": OUT,
    "STOP PLEASE": OUT,
    "opt out": OUT,
    "opt-out": OUT,
    "OPTOUT": OUT,
    "ＳＴＯＰ": OUT,
    "🛑": OUT,
    "cancel": FLAGGED,
    "Cancel my payment": FLAGGED,
    "end": OUT,
    "don't stop": DOUBT,
    "pay": pays(),
    "PAY 2": ("pay", "amount_unclear", None, None),
    "ok!": pays(),
    "yes": NOTHING,
    "": ("unknown", "unknown", None, "empty"),
    "x" * 1600: UNKNOWN,
}
OPTS_OUT = [
    *listed("STOP,STOPALL,UNSUBSCRIBE,END,QUIT,REVOKE,OPTOUT,Opt Out,ARRET,REMOVE,TD,delete,go away,leave,cease,block,halt"),
    *listed("🛑,🚫,❌,⛔,🔕,📴,🛑🛑🛑,🛑 please,Stop 🛑,🔕 stop texting me,🖕,🖕🏽"),
    *listed("stop!!!,S.T.O.P.,s t o p,st-op,*STOP*,“stop”,stop\u200b,STOP NOW,Please stop,stop it,pls stop thx,ok stop,STOP ALL"),
    *listed("stop stop stop,stop 2,Stop sending me these,stop to end,STOP2END,no stop,quit it,ⓢⓣⓞⓟ,𝐒𝐓𝐎𝐏,ｓｔｏｐ！"),
    *listed("stop texting me,Stop sending me these messages,leave me alone,take me off your list,remove my number"),
    *listed("do not text me,DON’T TEXT ME,dont contact me,no more texts,no more,I don't want these texts,lose my number"),
    *listed("Who is this? STOP,I already paid. Stop.,pay; stop,unsubscribe me please,I revoke my consent,fuck off,get lost"),
    "If you don't stop texting me I'll call a lawyer", "How do I unsubscribe?", "I don't know you, stop texting me",
    "No, don't. Stop texting me", "why dont you stop texting me", "I want to stop",
    "Why didn't you stop texting me?", "please opt me out of this", "end these messages",
    *listed("alto,¡ALTO!,Alto por favor,no más,NO MAS,ya no más,basta,ya basta,para,para ya,baja,fin,salir,parar,borrar"),
    *listed("no más mensajes,no me escriban,No me manden más textos,dejen de mandarme mensajes,deje de molestar"),
    *listed("déjenme en paz,quiero darme de baja,quítenme de la lista,no quiero recibir mensajes"),
    "x " * 790 + "stop texting me",
]  # fmt: skip
FLAGS = [
    *listed(
        "CANCEL,cancel it,please cancel,Cancel payment,cancel my autopay,I want to cancel,no cancel,cancelar,CANCELAR!"
    ),
]
DOUBTS = [
    *listed(
        "Don't stop,DON’T STOP,don´t stop,please do not stop texting me,never stop,I can't stop,I don't want to stop texts"
    ),
    *listed(
        "stop paper bills,stop by the office,stop payment on my check,why did you stop texting me,did you cancel it"
    ),
    *listed(
        "dont cancel,was it cancelled?,pay stop,PAY ❌,help stop,non stop noise,no pares de parar,no dejen de parar"
    ),
    *listed("quiero cancelar mi factura,Voy a cancelar la cuenta mañana,stop autopay"),
]
UNKNOWNS = [
    *listed("hello,what is this,el recibo está muy alto,leave it at the door,the end of the month,i will move out,ahora no sé"),
    *listed("no dejen de mandarme mensajes,👍,12345,$25.00,the weekend,restart,no,paid,ya pagué,pagué ayer,nonstop,bal pay"),
    *listed("I paid yesterday,will pay later,yes no,si no,confirm no,para mañana,my block is dark,what fee,confirm?,yes?"),
    "\ud83d", "\x00", "日本語", "ﷺ" * 80, "Ҟ" * 1600,
]  # fmt: skip

BY_STATE: list[tuple[str, str, Expected]] = [
    *(("billed", text, expected) for text, expected in KNOWN_TRAPS.items()),
    *(("idle", text, OUT) for text in OPTS_OUT),
    *(("idle", text, FLAGGED) for text in FLAGS),
    # Characters that nobody sees change nothing.
    ("idle", "st\u200bop tex\u00adting me", OUT),
    ("billed", "P\u200bA\u2060Y", pays()),
    *(("idle", text, WRONG) for text in ("wrong number", "You have the wrong number", "Wrong person!", "número equivocado")),
    *(("idle", text, DOUBT) for text in DOUBTS),
    *(("idle", text, UNKNOWN) for text in UNKNOWNS),
    # The word for opting out comes first in every state, a pending question or not.
    *((state, "stop", OUT) for state in STATES if state != "out"),
    *((state, "Cancel my payment", FLAGGED) for state in STATES if state != "out"),
    # Help
    *((state, text, HELP) for state in ("stranger", "pending", "billed", "fee", "both") for text in ("HELP", "ayuda", "?")),
    *(("billed", text, HELP) for text in ("Info", "help me please", "I need help", "información", "¿?", "ＨＥＬＰ")),
    ("billed", "necesito ayuda", HELP),
    # Opting in
    *(
        (state, text, ("opt_in", None, OptIn(), None))
        for state in ("stranger", "pending", "late", "out", "second")
        for text in ("START", "unstop", "Start please", "opt in", "ALTA", "¡Iniciar!")
    ),
    *(("billed", text, ("opt_in", "already_enrolled", None, None)) for text in ("start", "UNSTOP")),
    *(("out", text, (intent, None, None, HIDDEN)) for text, intent in (
        ("yes", "confirm_registration"), ("pay", "pay"), ("HELP", "help"), ("hello", "unknown"), ("", "unknown"),
        ("bal", "balance"), ("ok", "confirm_registration"), ("don't stop", "unknown"), ("restart", "unknown"),
        ("don't start", "unknown"),
    )),
    ("out", "thanks", COURTESY),
    *(("out", text, ("opt_out", None, OptOut(), None)) for text in ("stop", "🛑", "no más")),
    ("out", "cancel", ("opt_out", None, OptOut(), "cancel")),
    # YES, Y, OK to a pending registration, in time
    *(("pending", text, CONFIRMED) for text in (
        "yes", "Y", "OK", "y.", "Yes!", "YES PLEASE", "ok 👍", "Sí", "SI", "sí, gracias", "yeah", "ＹＥＳ", "okay", "acepto",
        "confirm", "yes yes", "ok thanks",
    )),
    *(("second", text, CONFIRMED) for text in ("yes", "ok", "sí", "confirm")),
    ("second fee", "yes", CONFIRMED),
    ("second fee", "ok", CONFIRMED),
    ("second fee", "confirm", FEE_PAID),
    ("second fee", "no", CALLED_OFF),
    ("pending", "no", ("decline_registration", "registration_declined", DeclineRegistration(), None)),
    ("pending", "No gracias", ("decline_registration", "registration_declined", DeclineRegistration(), None)),
    ("pending", "yes?", ("unknown", "confirm_first", None, "unknown")),
    ("pending", "yes no", ("unknown", "confirm_first", None, "unknown")),
    ("pending", "hello", ("unknown", "confirm_first", None, "unknown")),
    *(("pending", text, FIRST) for text in ("pay", "PAY 25.00", "yes pay", "pagar")),
    ("pending", "bal", ("balance", "confirm_first", None, None)),
    *((state, text, NOTHING) for state in ("stranger", "late", "idle", "billed") for text in ("yes", "Y", "sí")),
    *((state, "ok", NOTHING) for state in ("stranger", "late", "idle")),
    *((state, "CONFIRM", NO_FEE) for state in ("stranger", "late", "idle", "billed", "both")),
    ("stranger", "pay", STRANGE),
    ("gone", "confirm", NO_FEE),
    ("gone", "ok", NOTHING),
    ("gone", "pay", STRANGE),
    ("late", "PAY 1", STRANGE),
    ("stranger", "saldo", ("balance", "not_enrolled", None, None)),
    ("stranger", "hello", ("unknown", "not_enrolled", None, "unknown")),
    ("stranger", "thank you", COURTESY),
    # A pending fee: CONFIRM or NO, and nothing else
    *(("fee", text, FEE_PAID) for text in ("CONFIRM", "confirm!", "Confirmar", "confirmo", "please confirm", "ｃｏｎｆｉｒｍ")),
    *(("fee", text, CALLED_OFF) for text in ("NO", "no.", "No thanks", "nope")),
    ("fee late", "no", CALLED_OFF),
    *(("fee", text, ("confirm_fee", "fee_question", None, None)) for text in ("yes", "ok", "OK!", "sí", "y")),
    *(("fee", text, ("pay", "fee_question", None, None)) for text in ("pay", "PAGAR", "pay 1", "ok pay")),
    ("fee", "PAY 10.00", pays(amount="10.00")),
    ("fee", "bal", tells()),
    ("fee", "what fee", UNKNOWN),
    ("fee", "confirm?", UNKNOWN),
    ("fee late", "confirm", ("confirm_fee", "question_expired", None, None)),
    ("fee late", "pay", pays()),
    # A changed balance: a new OK, or PAY; YES asks again
    *(("changed", text, ACCEPTED) for text in ("ok", "OK!", "okay", "pay", "PAGAR", "PAY 1", "pay now", "ok ok")),
    *(("changed", text, ("accept_balance", "balance_question", None, None)) for text in ("yes", "sí", "confirm")),
    ("changed", "no", ("decline_payment", "payment_called_off", DeclinePayment(HOME, Decimal("91.20")), None)),
    ("changed", "PAY 20.00", pays(amount="20.00")),
    ("changed late", "ok", ("accept_balance", "question_expired", None, None)),
    ("changed late", "pay", pays()),
    # Paying
    *(("billed", text, pays()) for text in (
        "PAY", "Pay.", "pay!", "PAY PLEASE", "please pay", "pay now", "pay my bill", "ok pay", "yes pay", "PAGAR", "pagar ahora",
        "Pago", "PAY 1", "pay #1", "PAY1", "ok", "OKAY", "Ok.", "ok 1", "PAY 👍", "ＰＡＹ", "pay all", "pagar todo",
        "pay the balance", "pay acct 1",
    )),
    *(("billed", text, pays(amount="25.00")) for text in (
        "PAY 25.00", "pay $25", "PAY $25.00", "pay $ 25", "pay 25$", "PAY 25 dollars", "pagar 25,00", "PAGAR $25", "pay 25.0",
        "pay25.00", "ok 25.00", "pay 25.00 please", "PAY 1 $25", "pay $25 dollars", "PAY: 25.00.", "pagar 25 dólares", "pay 25 usd",
        "ＰＡＹ ２５．００", "pay 1 25.00",
    )),
    *(("billed", text, pays(amount="1234.50")) for text in ("pay 1,234.50", "PAY $1,234.50", "pagar 1.234,50", "pay 1234.5")),
    *(("billed", text, UNCLEAR) for text in (
        "pay later", "pay half", "PAY?", "pay 25.00?", "pay 12/5", "pay -5.00", "pay 50%", "pay 25.005", "pay 1.234", "pay $",
        "pay 0.00", "PAY $0", "pay 1 2", "pay $25 $30", "pay both", "pay tomorrow", "ok thanks", "ok later", "ok?", "pay no",
        "pay €25", "pay on 1",
        "pay 25.00 1 2", "pay 12345678901", "pay twenty", "pay it tomorrow", "pagar mañana", "pay 1e3", "pay (25.00)",
        "pay 25,00,00",
    )),
    ("billed", "ok?", UNCLEAR),
    *(("billed", text, ("pay", "amount_unclear", None, None)) for text in ("PAY 25", "pay 0", "ok 84")),
    ("billed", "no", ("decline_payment", "payment_called_off", None, None)),
    ("idle", "pay", pays()),
    ("idle", "ok thanks", COURTESY),
    ("second", "pay", pays()),
    # Several accounts: plain PAY guesses nothing
    *(("both", text, pays(None)) for text in ("pay", "PAY!", "ok", "pagar", "pay all")),
    ("both", "PAY 1", pays(HOME)),
    *(("both", text, pays(SHOP)) for text in ("PAY 2", "pay 2.", "pay #2", "ok 2", "PAGAR 2", "pay account 2", "PAY2")),
    ("both", "PAY $25", pays(None, "25.00")),
    *(("both", text, pays(SHOP, "25.00")) for text in ("PAY 2 25.00", "pay 2 $25", "pay $25 2", "PAGAR 2 25,00", "ok 2 $25")),
    *(("both", text, ("pay", "no_such_account", None, None)) for text in ("PAY 3", "pay 25", "PAY 0")),
    # Balance
    *(("billed", text, tells()) for text in (
        "BAL", "balance", "Balance?", "my balance", "What's my balance?", "SALDO", "mi saldo por favor", "how much do I owe",
        "¿Cuánto debo?", "bal 1", "nomás quiero saber mi saldo",
    )),
    *(("both", text, tells(None)) for text in ("bal", "saldo", "bal 7")),
    *(("both", text, tells(SHOP)) for text in ("bal 2", "SALDO 2", "balance 2?")),
    # Courtesies, and what phones send by themselves
    *(("idle", text, COURTESY) for text in (
        "thanks", "Thank you!", "muchas gracias", "perfect, thank you", "Liked “Reply PAY to pay, STOP to end.”",
        "Loved “Reply PAY, HELP, STOP”", "Le gustó “STOP: fin.”",
    )),
    # Help for the unknown once a day; the text goes to a CSR all the same
    *(("guided", text, ("unknown", None, None, review)) for text, review in (
        ("hello", "unknown"), ("don't stop", "doubtful_opt_out"), ("", "empty"),
    )),
    ("guided", "help", HELP),
]  # fmt: skip


def seen(heard: Heard) -> tuple[str, str | None, Action | None, str | None]:
    reply = heard.reply.message if heard.reply else None
    return (heard.intent, reply, heard.action, heard.review)


@pytest.mark.parametrize("state", STATES)
def test_what_is_meant_in_this_state(state: str) -> None:
    wrong = [
        (text[:60], expected, seen(hear(STATES[state], text, now=NOW)))
        for which, text, expected in BY_STATE
        if which == state and seen(hear(STATES[state], text, now=NOW)) != expected
    ]

    assert wrong == []
    assert sum(which == state for which, _, _ in BY_STATE) > 1


def test_vectors_are_many() -> None:
    assert len({(state, text) for state, text, _ in BY_STATE}) > 150 + len(KNOWN_TRAPS)


@pytest.mark.parametrize(
    ("text", "rule", "shown"),
    [
        ("STOP", Rule(Match.EXACT, "stop"), "exact: stop"),
        (" Stop. ", Rule(Match.NORMALISED, "stop"), "normalised: stop"),
        ("🛑", Rule(Match.EMOJI, "🛑"), "emoji: 🛑"),
        ("stop sending me texts", Rule(Match.PHRASE, "stop texts"), "phrase: stop texts"),
        ("No más", Rule(Match.NORMALISED, "nomas", Language.SPANISH), "normalised: nomas"),
        ("Dejen de mandarme", Rule(Match.PHRASE, "dejen de mandarme", Language.SPANISH), "phrase: dejen de mandarme"),
        ("you have the wrong number", Rule(Match.PHRASE, "wrong number"), "phrase: wrong number"),
        ("hello", Rule(Match.NOTHING), "nothing"),
    ],
)
def test_rule_that_matched_is_kept(text: str, rule: Rule, shown: str) -> None:
    heard = hear(ENROLLED, text, now=NOW)

    assert heard.rule == rule
    assert str(heard.rule) == shown


def test_opting_out_forgets_what_was_open_and_answers_once() -> None:
    first = hear(replace(STATES["second fee"], accounts=(HOME, SHOP)), "stop", now=NOW)
    second = hear(first.conversation, "STOP", now=NOW)

    assert first.conversation == Conversation(Standing.OPTED_OUT)
    assert first.reply == Reply(Message.OPTED_OUT)
    assert (second.conversation, second.reply, second.action) == (first.conversation, None, OptOut())


def test_opting_in_again_takes_effect_once_the_operation_restored_it() -> None:
    lifted = hear(Conversation(Standing.OPTED_OUT), "START", now=NOW)
    restored = answer(lifted.conversation, findings.Enrolled((HOME, SHOP)))

    assert (lifted.conversation.standing, lifted.reply, lifted.action) == (Standing.STRANGER, None, OptIn())
    assert restored.conversation == Conversation(Standing.ENROLLED, accounts=(HOME, SHOP))
    assert restored.reply == Reply(Message.ENROLLED)
    assert answer(lifted.conversation, findings.NotEnrolled()).reply == Reply(Message.NOT_ENROLLED)


def test_media_without_words_is_heard() -> None:
    heard = hear(ENROLLED, "", now=NOW, media=2)

    assert seen(heard) == ("unknown", "unknown", None, "media")
    assert seen(hear(STATES["billed"], "PAY", now=NOW, media=1)) == pays()
    assert heard.conversation.guided_at == NOW


def test_help_for_the_unknown_comes_again_after_a_day() -> None:
    asked = hear(ENROLLED, "hello", now=NOW)
    early = hear(asked.conversation, "hello", now=NOW + timedelta(hours=24) - timedelta(microseconds=1))
    late = hear(early.conversation, "hello", now=NOW + timedelta(hours=24))

    assert [heard.reply for heard in (asked, early, late)] == [Reply(Message.UNKNOWN), None, Reply(Message.UNKNOWN)]
    assert [heard.review for heard in (asked, early, late)] == [Review.UNKNOWN] * 3
    assert late.conversation.guided_at == NOW + timedelta(hours=24)


def test_deadlines_end_on_the_instant() -> None:
    instant, just_before = SOON, SOON - timedelta(microseconds=1)

    assert seen(hear(STATES["pending"], "yes", now=just_before)) == CONFIRMED
    assert seen(hear(STATES["pending"], "yes", now=instant)) == NOTHING
    assert seen(hear(STATES["fee"], "confirm", now=just_before)) == FEE_PAID
    assert seen(hear(STATES["fee"], "confirm", now=instant)) == ("confirm_fee", "question_expired", None, None)


def test_spanish_is_answered_in_spanish_from_then_on() -> None:
    assert hear(ENROLLED, "SALDO", now=NOW).conversation.language is Language.SPANISH
    assert hear(ENROLLED, "alto", now=NOW).conversation.language is Language.SPANISH
    assert hear(ENROLLED, "pay", now=NOW).conversation.language is Language.ENGLISH
    assert hear(replace(ENROLLED, language=Language.SPANISH), "PAY", now=NOW).conversation.language is Language.SPANISH


def test_a_whole_payment_is_talked_through() -> None:
    amount, fee = Decimal("84.10"), Decimal("2.95")
    said = answer(Conversation(), findings.RegistrationAsked(SOON))
    assert said.reply == Reply(Message.REGISTRATION)
    heard = hear(said.conversation, "Yes", now=NOW)
    assert heard.action == ConfirmRegistration()
    said = answer(heard.conversation, findings.Enrolled((HOME,)))
    assert said.conversation == ENROLLED
    # A second OK to the registration pays nothing: no bill waits for it.
    assert seen(hear(said.conversation, "OK", now=NOW)) == NOTHING

    said = answer(said.conversation, findings.BillReady(HOME, amount, date(2026, 12, 5)))
    assert said.reply == Reply(Message.BILL_READY, Facts(tail="9001", amount=amount, due_on=date(2026, 12, 5)))
    heard = hear(said.conversation, "OK", now=NOW)
    assert heard.action == Pay(HOME, None)
    said = answer(heard.conversation, findings.BalanceChanged(HOME, Decimal("91.20"), SOON))
    assert said.reply == Reply(
        Message.BALANCE_QUESTION, Facts(tail="9001", amount=Decimal("91.20"), fee=Decimal("0.00"))
    )
    heard = hear(said.conversation, "ok", now=NOW)
    assert heard.action == AcceptBalance(HOME, Decimal("91.20"))
    said = answer(heard.conversation, findings.FeeApplies(HOME, Decimal("91.20"), fee, SOON))
    assert said.reply == Reply(Message.FEE_QUESTION, Facts(tail="9001", amount=Decimal("91.20"), fee=fee))
    heard = hear(said.conversation, "Confirm", now=NOW)
    assert heard.action == ConfirmFee(HOME, Decimal("91.20"), fee)
    said = answer(heard.conversation, findings.Paid(HOME, Decimal("91.20"), "R-1", fee))
    assert said.reply == Reply(Message.PAID, Facts(tail="9001", amount=Decimal("91.20"), fee=fee, reference="R-1"))

    # Once it is paid, neither a second CONFIRM nor an OK leads to a payment; a second PAY is the engine's to answer.
    assert hear(said.conversation, "confirm", now=NOW).action is None
    assert hear(said.conversation, "ok", now=NOW).action is None
    said = answer(hear(said.conversation, "pay", now=NOW).conversation, findings.AlreadyPaid(HOME, Decimal("91.20")))
    assert said.reply == Reply(Message.ALREADY_PAID, Facts(tail="9001", amount=Decimal("91.20")))


def test_numbers_are_those_of_the_list_that_was_told() -> None:
    due = ((SHOP, Decimal("31.75")), (HOME, Decimal("84.10")))
    said = answer(STATES["both"], findings.SeveralAccounts(due))

    assert said.reply == Reply(Message.SEVERAL_ACCOUNTS, Facts(due=due))
    assert hear(said.conversation, "PAY 2", now=NOW).action == Pay(HOME, None)
    assert hear(STATES["both"], "PAY 2", now=NOW).action == Pay(SHOP, None)


def test_a_bill_text_names_the_order_that_pays_it() -> None:
    def say(account: Account, conversation: Conversation) -> str:
        reply = answer(conversation, findings.BillReady(account, Decimal("31.75"), date(2026, 12, 5))).reply
        assert reply is not None
        return wordings.word(reply, programme=PROGRAMME, language=Language.ENGLISH)

    assert "Reply PAY 2 to pay" in say(SHOP, STATES["both"])
    assert "Reply PAY 1 to pay" in say(HOME, STATES["both"])
    assert "Reply PAY to pay" in say(HOME, STATES["idle"])
    assert "Reply PAY to pay" in say(Account("43", "1111"), STATES["both"])


AMOUNT = Decimal("84.10")
FINDINGS: list[tuple[findings.Finding, Message, bool, bool]] = [
    # finding → message, whether an OK pays afterwards, whether the question stays open ("fee" is the state before)
    (findings.Declined(HOME, AMOUNT, "https://x"), Message.DECLINED, True, False),
    (findings.NothingDue(HOME), Message.NOTHING_DUE, False, False),
    (findings.AlreadyPaid(HOME, AMOUNT), Message.ALREADY_PAID, False, False),
    (findings.InProgress(HOME, AMOUNT), Message.IN_PROGRESS, False, False),
    (findings.NoMethod(HOME, "https://x"), Message.NO_METHOD, False, False),
    (findings.ExpiredMethod(HOME, "https://x"), Message.EXPIRED_METHOD, False, False),
    (findings.Blocked(HOME), Message.BLOCKED, False, False),
    (findings.PartialRefused(HOME, AMOUNT), Message.PARTIAL_REFUSED, True, False),
    (findings.AmountRefused(HOME, AMOUNT), Message.AMOUNT_REFUSED, True, False),
    (findings.Unavailable(), Message.UNAVAILABLE, True, False),
    (findings.Paid(HOME, AMOUNT, "R-1"), Message.PAID, False, False),
    (findings.NothingPending(), Message.NOTHING_TO_CONFIRM, True, True),
    (findings.Balances(((HOME, AMOUNT),)), Message.BALANCES, True, True),
    (findings.PrepaidLow(HOME, AMOUNT, "https://x"), Message.PREPAID_LOW, True, True),
    (findings.PrepaidLeft(((HOME, AMOUNT),)), Message.PREPAID_LEFT, True, True),
    (findings.Enrolled((HOME, SHOP)), Message.ENROLLED, True, True),
    (findings.RegistrationAsked(SOON), Message.REGISTRATION, True, True),
    (findings.SeveralAccounts(((HOME, AMOUNT), (SHOP, AMOUNT))), Message.SEVERAL_ACCOUNTS, True, False),
    (findings.BillReady(HOME, AMOUNT, date(2026, 12, 5)), Message.BILL_READY, True, False),
    (findings.BillReady(SHOP, AMOUNT, date(2026, 12, 5), "https://x"), Message.BILL_READY_LINK, True, True),
    (findings.Unenrolled((HOME,)), Message.UNENROLLED, True, True),
    (findings.Unenrolled(), Message.UNENROLLED, False, False),
    (findings.NumberReleased(), Message.NUMBER_RELEASED, False, False),
    (findings.NumberReleased((SHOP,)), Message.NUMBER_RELEASED, True, False),
    (findings.NotEnrolled(), Message.NOT_ENROLLED, False, False),
    (findings.FeeApplies(HOME, AMOUNT, Decimal("2.95"), SOON), Message.FEE_QUESTION, True, True),
    (findings.BalanceChanged(HOME, AMOUNT, SOON), Message.BALANCE_QUESTION, True, True),
]


def test_every_finding_has_its_message_and_its_next_state() -> None:
    for finding, message, offered, open_after in FINDINGS:
        said = answer(STATES["fee"], finding)
        assert said.reply is not None
        after = (said.reply.message, said.conversation.bill_offered, said.conversation.question is not None)
        assert after == (message, offered, open_after), finding

    told = {type(finding) for finding, *_ in FINDINGS}
    assert told == set(findings.Finding.__args__)


def test_nothing_found_is_told_to_a_phone_that_opted_out() -> None:
    out = Conversation(Standing.OPTED_OUT, language=Language.SPANISH)

    for finding, *_ in FINDINGS:
        said = answer(out, finding)
        assert (said.conversation, said.reply) == (out, None)


# --- what never happens, whatever is texted ---

# The lists of the law, the carriers and ACE, written down apart from ours.
LAW = ("stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe", "stopall", "optout", "no mas", "no más", "alto",
       "delete", "go away", "leave", "cease", "block", "halt", "stop texting me", "leave me alone")  # fmt: skip
SIGNS = tuple("🛑🚫❌⛔🔕📴")
PUNCTUATION = st.text(st.sampled_from(" .!?,;:*-_~\"'()¡¿…“”’\t\n\u00a0\u200b\ufe0f。！👍"), max_size=4)
WORDS = ("stop", "help", "start", "yes", "ok", "y", "sí", "no", "confirm", "pay", "pagar", "PAY 1", "PAY 2", "PAY $25", "bal",
         "cancel", "🛑", "hello", "don't stop", "thanks", "", "unstop", "alto", "HELP ME", "pay 25.00", "ok!", "what?")  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=60),
    st.lists(st.sampled_from((*WORDS, "don't", "not", "me", "the", "2", "$", ".", "texts", "?")), max_size=8).map(
        " ".join
    ),
)
STATE = st.builds(
    Conversation,
    standing=st.sampled_from(Standing),
    pending_until=st.sampled_from((None, SOON, GONE)),
    accounts=st.sampled_from(((), (HOME,), (HOME, SHOP))),
    bill_offered=st.booleans(),
    question=st.sampled_from(
        (None, FEE, CHANGED, replace(FEE, expires_at=GONE), replace(CHANGED, expires_at=GONE, account=SHOP))
    ),
    guided_at=st.sampled_from((None, NOW, NOW - timedelta(days=2), NOW + timedelta(hours=1))),
    language=st.sampled_from(Language),
)
MONEY = (Pay, ConfirmFee, AcceptBalance)


def wide(text: str) -> str:
    return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text)


@given(STATE, TEXTS, st.integers(0, 3))
def test_any_text_is_heard_in_any_state_and_always_alike(state: Conversation, text: str, media: int) -> None:
    heard = hear(state, text, now=NOW, media=media)

    assert hear(state, text, now=NOW, media=media) == heard
    # Silence is for who opted out, for courtesies, and while an action is being done; the rest is answered or reviewed.
    quiet = heard.reply is None and heard.action is None and heard.review is None
    assert not quiet or heard.intent is Intent.COURTESY
    if heard.reply is not None:
        programme = wordings.Programme("Springfield Water", "(503) 555-0100")
        assert wordings.word(heard.reply, programme=programme, language=heard.conversation.language)


@given(STATE, st.sampled_from(LAW), PUNCTUATION, PUNCTUATION, st.data())
def test_an_opt_out_word_opts_out_however_it_is_written(
    state: Conversation, word: str, before: str, after: str, data: st.DataObject
) -> None:
    cased = "".join(letter.upper() if data.draw(st.booleans()) else letter for letter in word)
    heard = hear(state, before + data.draw(st.sampled_from((cased, wide(cased)))) + after, now=NOW)

    assert (heard.intent, heard.action) == (Intent.OPT_OUT, OptOut())
    assert heard.conversation.standing is Standing.OPTED_OUT
    assert (heard.reply is None) is (state.standing is Standing.OPTED_OUT)
    assert (heard.review is Review.CANCEL) is (word == "cancel")


@given(STATE, st.sampled_from(SIGNS), st.integers(1, 5), st.sampled_from(("", " ", "\ufe0f", "!", " please")))
def test_an_opt_out_sign_opts_out(state: Conversation, sign: str, times: int, after: str) -> None:
    heard = hear(state, sign * times + after, now=NOW)

    assert heard.conversation.standing is Standing.OPTED_OUT
    assert heard.rule.wording == sign


@given(STATE, st.one_of(TEXTS, st.sampled_from(WORDS), st.sampled_from(("pay", "confirm", "ok", "yes")).map(str.title)))
def test_money_moves_only_for_the_enrolled_and_never_for_a_yes_or_a_question(state: Conversation, text: str) -> None:
    heard = hear(state, text, now=NOW)
    if not isinstance(heard.action, MONEY):
        return
    assert state.standing is Standing.ENROLLED
    assert "?" not in text
    assert "stop" not in text.lower().split() and "cancel" not in text.lower()
    assert text.strip().lower() not in {"yes", "y", "sí"}
    if isinstance(heard.action, ConfirmFee):
        assert state.question == FEE
        assert (heard.action.account, heard.action.amount, heard.action.fee) == (HOME, FEE.amount, FEE.fee)
    if isinstance(heard.action, AcceptBalance):
        assert state.question == CHANGED
        assert (heard.action.account, heard.action.amount) == (HOME, CHANGED.amount)
    # What was agreed to is closed: the same text again does not agree to it twice.
    assert heard.conversation.question is None


@given(
    st.lists(st.tuples(TEXTS, st.sampled_from((0, 1, 3, 11, 24)), st.sampled_from((None, *FINDINGS))), max_size=25),
    STATE,
)
def test_no_sequence_leads_out_of_an_opt_out_or_to_two_helps_a_day(
    steps: list[tuple[str, int, tuple[findings.Finding, Message, bool, bool] | None]], state: Conversation
) -> None:
    now = NOW
    guided: list[datetime] = []
    state = replace(state, guided_at=None)
    for text, hours, found in steps:
        now += timedelta(hours=hours)
        was = state.standing
        heard = hear(state, text, now=now)
        if was is Standing.OPTED_OUT:
            assert heard.reply is None
            assert heard.action in (None, OptOut(), OptIn())
            assert heard.conversation.standing is was or heard.intent is Intent.OPT_IN
        if heard.intent is Intent.UNKNOWN and heard.reply is not None:
            guided.append(now)
        state = heard.conversation
        if found is not None:
            said = answer(state, found[0])
            assert state.standing is not Standing.OPTED_OUT or (said.reply is None and said.conversation == state)
            state = said.conversation
    assert all(later - earlier >= timedelta(hours=24) for earlier, later in pairwise(guided))


@given(
    st.decimals("0.01", "99999999.99", places=2),
    st.sampled_from(
        ("pay ${}", "PAY {}", "pagar ${}", "ok {}", "pay {} dollars", "Pay {}.", "pay 1 ${}", "pay ${:,}", "PAY {:,}")
    ),
)
def test_an_amount_is_read_to_the_cent(amount: Decimal, form: str) -> None:
    assert hear(STATES["billed"], form.format(amount), now=NOW).action == Pay(HOME, amount)


@given(st.integers(0, 999_999_999), st.sampled_from(("pay {}", "PAY{}", "ok {}", "pagar #{}.")))
def test_a_bare_whole_number_is_never_an_amount(number: int, form: str) -> None:
    heard = hear(STATES["both"], form.format(number), now=NOW)

    expected = Pay((HOME, SHOP)[number - 1], None) if number in (1, 2) else None
    assert heard.action == expected


# --- words ---

PROGRAMME = wordings.Programme("Springfield Utility.", "(503) 555-0100")
FULL = Facts(
    tail="9001",
    index=2,
    amount=Decimal("1234.56"),
    fee=Decimal("12.95"),
    due_on=date(2026, 12, 15),
    reference="R-10023456",
    link="https://pay.example.com/t/Ab3dE6",
    due=((HOME, Decimal("1084.10")), (SHOP, Decimal("31.75"))),
)
NOT_PAID = {
    Message.NOT_ENROLLED, Message.CONFIRM_FIRST, Message.NOTHING_TO_CONFIRM, Message.STOP_UNCLEAR, Message.FEE_QUESTION,
    Message.BALANCE_QUESTION, Message.QUESTION_EXPIRED, Message.PAYMENT_CALLED_OFF, Message.PAY_UNCLEAR, Message.AMOUNT_UNCLEAR,
    Message.NO_SUCH_ACCOUNT, Message.SEVERAL_ACCOUNTS, Message.DECLINED, Message.NOTHING_DUE, Message.NO_METHOD,
    Message.EXPIRED_METHOD, Message.BLOCKED, Message.PARTIAL_REFUSED, Message.AMOUNT_REFUSED, Message.UNAVAILABLE,
}  # fmt: skip


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("message", Message)
def test_every_message_is_one_plain_part_and_says_what_it_must(message: Message, language: Language) -> None:
    text = wordings.word(Reply(message, FULL), programme=PROGRAMME, language=language)
    counted = segments.count(text)

    assert (counted.offender, counted.segments) == (None, 1), text
    assert text.startswith(PROGRAMME.name)
    assert "{" not in text
    if message in NOT_PAID:
        assert {"en": "no money has been taken", "es": "no se ha cobrado nada"}[language] in text.lower()
    if message in {Message.REGISTRATION, Message.ENROLLED, Message.HELP}:
        assert {"en": "Msg & data rates may apply", "es": "Pueden aplicar tarifas de msj y datos"}[language] in text
        assert {"en": "Msg frequency varies", "es": "Frecuencia variable"}[language] in text
        assert "STOP" in text
        assert "HELP" in text or PROGRAMME.contact in text
    if message in {Message.BILL_READY, Message.BILL_READY_LINK, Message.ALREADY_ENROLLED, Message.CONFIRM_FIRST}:
        assert "STOP" in text and "HELP" in text
    # What we send must not be taken for an order when a phone quotes it back.
    assert hear(STATES["billed"], f"Liked “{text}”", now=NOW).action is None


def test_words_carry_the_facts() -> None:
    def english(message: Message, facts: Facts = FULL) -> str:
        return wordings.word(Reply(message, facts), programme=PROGRAMME, language=Language.ENGLISH)

    def spanish(message: Message, facts: Facts = FULL) -> str:
        return wordings.word(Reply(message, facts), programme=PROGRAMME, language=Language.SPANISH)

    assert english(Message.PAID) == (
        "Springfield Utility.: Thank you. We took $1,247.51 for acct *9001, including a fee of $12.95. Receipt R-10023456."
    )
    assert english(Message.PAID, replace(FULL, fee=Decimal("0.00"))) == (
        "Springfield Utility.: Thank you. We took $1,234.56 for acct *9001. Receipt R-10023456."
    )
    assert english(Message.SEVERAL_ACCOUNTS) == (
        "Springfield Utility.: Which account? Reply PAY 1 for acct *9001 ($1,084.10), PAY 2 for acct *7002 ($31.75)."
        " No money has been taken yet."
    )
    assert english(Message.BALANCES) == (
        "Springfield Utility.: Due: 1: acct *9001 $1,084.10, 2: acct *7002 $31.75. Reply PAY to pay. HELP for help."
    )
    assert "Due: acct *9001 -$5.00." in english(Message.BALANCES, Facts(due=((HOME, Decimal("-5.00")),)))
    assert english(Message.DECLINED).endswith("No money has been taken. Pay: https://pay.example.com/t/Ab3dE6")
    assert english(Message.DECLINED, replace(FULL, link="")).endswith("Please call (503) 555-0100.")
    assert english(Message.NOTHING_DUE, Facts()) == (
        "Springfield Utility.: Nothing is due for your account. No money has been taken."
    )
    assert "es $1,234.56, vence el 15 dic." in spanish(Message.BILL_READY)
    assert "PAGAR 2 para cta *7002 ($31.75)" in spanish(Message.SEVERAL_ACCOUNTS)
    assert "is $1,234.56, due Dec 15." in english(Message.BILL_READY)
    assert wordings.money(Decimal("1234.5"), "CAD") == "1,234.50 CAD"


def test_a_billers_own_words_are_filled_once_and_only_with_known_fields() -> None:
    reply = Reply(Message.PAID, FULL)
    sly = replace(PROGRAMME, name="{amount}")

    def say(template: str) -> str:
        return wordings.word(reply, programme=sly, language=Language.ENGLISH, template=template)

    assert say("{programme}: {total}, {reference}") == "{amount}: $1,247.51, R-10023456"
    assert wordings.fields(Message.PAID) == {"programme", "contact", "total", "account", "including", "reference"}
    for template in ("{link}", "{nothing}", "{}"):
        with pytest.raises(wordings.UnknownField, match="is no field of this message"):
            say(template)
    assert say("{total.__class__} {0!r}") == "{total.__class__} {0!r}"


def test_conversations_and_segments_know_no_django() -> None:
    program = (
        "import sys, sms.conversations.wordings, sms.segments;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'django', 'billing', 'payments', 'datapump'}))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == "[]"
