"""The words of every message, in English and Spanish; a biller may give its own.

Each is meant to be one GSM-7 part with a programme's name of twenty characters: no typographic signs, and Spanish words chosen
without á, í, ó and ú, which GSM-7 lacks. Whatever speaks of a payment that was not made says that no money was taken. An account is
shown by its last digits alone.

Source: PBT-16, PBT-17; evidence 3.4 (CTIA: programme name, frequency, rates, HELP, STOP), 3.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sms.conversations.states import Facts, Language, Message, Reply

_FIELD = re.compile(r"\{(\w*)\}")
_SYMBOLS = {"USD": "$"}

TEMPLATES: Mapping[Language, Mapping[Message, str]] = {
    Language.ENGLISH: {
        Message.REGISTRATION: (
            "{programme}: Reply YES for bills by text, and pay by reply. Msg frequency varies. Msg & data rates may apply."
            " HELP for help, STOP to end."
        ),
        Message.BILL_READY: (
            "{programme}: The bill for {account} is {amount}, due {due}. Reply {order} to pay with your saved method."
            " HELP for help, STOP to end."
        ),
        Message.BILL_READY_LINK: (
            "{programme}: The bill for {account} is {amount}, due {due}. Pay: {link} HELP for help, STOP to end."
        ),
        Message.BILL_READY_AUTOPAY: (
            "{programme}: The bill for {account} is {amount}. AutoPay pays it on {due}: nothing to do. HELP for help, STOP to end."
        ),
        Message.PREPAID_LOW: (
            "{programme}: {amount} is left on prepaid {account}. Add money: {link} HELP for help, STOP to end."
        ),
        Message.NUMBER_RELEASED: (
            "{programme}: Pay by Text for your account moved to another number. This one gets no more of its bills."
            " Not you? Call {contact}."
        ),
        Message.UNENROLLED: "{programme}: Pay by Text is turned off for your account. Questions? Call {contact}.",
        Message.OPTED_OUT: "{programme}: You are unsubscribed and get no more texts. Reply START to get them again.",
        Message.OPTED_OUT_CANCEL: (
            "{programme}: You are unsubscribed and get no more texts. No payment was cancelled: for that call {contact}."
            " START to get texts."
        ),
        Message.ENROLLED: (
            "{programme}: You get bills by text now. Reply PAY to pay. Msg frequency varies. Msg & data rates may apply."
            " HELP for help, STOP to end."
        ),
        Message.ALREADY_ENROLLED: (
            "{programme}: You already get your bills by text. Reply PAY to pay, BAL for your balance, HELP for help,"
            " STOP to end."
        ),
        Message.REGISTRATION_DECLINED: (
            "{programme}: You are not enrolled and get no bills by text. You can enroll at any time in your online account."
        ),
        Message.CONFIRM_FIRST: (
            "{programme}: Pay by Text is not confirmed yet. Reply YES to confirm. No money has been taken."
            " HELP for help, STOP to end."
        ),
        Message.NOT_ENROLLED: (
            "{programme}: This phone is not enrolled in Pay by Text. No money has been taken. Enroll online or call {contact}."
        ),
        Message.NOTHING_TO_CONFIRM: (
            "{programme}: Nothing was waiting for this answer. Nothing changed, no money has been taken."
            " HELP for help, or call {contact}."
        ),
        Message.HELP: (
            "{programme} Pay by Text: PAY to pay, BAL for balance. Help: {contact}. Msg frequency varies."
            " Msg & data rates may apply. STOP to end."
        ),
        Message.UNKNOWN: (
            "{programme}: Sorry, we did not understand. Reply PAY to pay, BAL for balance, HELP for help, STOP to end."
            " Or call {contact}."
        ),
        Message.STOP_UNCLEAR: (
            "{programme}: To end texts reply STOP and nothing else. Nothing changed, no money has been taken."
            " Questions? Call {contact}."
        ),
        Message.FEE_QUESTION: (
            "{programme}: A fee of {fee} applies. Reply CONFIRM to pay {total} for {account}, or NO."
            " No money has been taken yet."
        ),
        Message.BALANCE_QUESTION: (
            "{programme}: The balance of {account} is {amount} now. Reply OK to pay it, or NO. No money has been taken yet."
        ),
        Message.QUESTION_EXPIRED: "{programme}: Your answer came too late. No money has been taken. Reply PAY to pay.",
        Message.PAYMENT_CALLED_OFF: "{programme}: As you asked, no payment was made. No money has been taken. Reply PAY to pay.",
        Message.PAY_UNCLEAR: (
            "{programme}: We could not read this surely. No money has been taken."
            " Reply PAY and nothing else to pay what is due."
        ),
        Message.AMOUNT_UNCLEAR: (
            "{programme}: No money has been taken. If you mean an amount, reply PAY {amount}."
            " To pay all that is due, reply PAY."
        ),
        Message.NO_SUCH_ACCOUNT: (
            "{programme}: None of your accounts has this number. No money has been taken. Reply BAL to see them."
        ),
        Message.SEVERAL_ACCOUNTS: "{programme}: Which account? Reply {choices}. No money has been taken yet.",
        Message.BALANCES: "{programme}: Due: {balances}. Reply PAY to pay. HELP for help.",
        Message.PREPAID_LEFT: "{programme}: Prepaid, left: {balances}. HELP for help, STOP to end.",
        Message.PAID: "{programme}: Thank you. We took {total} for {account}{including}. Receipt {reference}.",
        Message.DECLINED: "{programme}: {amount} for {account} was declined. No money has been taken. {way}",
        Message.NOTHING_DUE: "{programme}: Nothing is due for {account}. No money has been taken.",
        Message.ALREADY_PAID: "{programme}: {amount} for {account} is already paid. You were not charged again.",
        Message.IN_PROGRESS: (
            "{programme}: Your payment of {amount} for {account} is in progress. You will not be charged twice."
            " We will text the result."
        ),
        Message.NO_METHOD: "{programme}: No payment method is saved for {account}. No money has been taken. {way}",
        Message.EXPIRED_METHOD: (
            "{programme}: The payment method saved for {account} has expired. No money has been taken. {way}"
        ),
        Message.BLOCKED: (
            "{programme}: We cannot take a payment for {account} by text. No money has been taken. Please call {contact}."
        ),
        Message.PARTIAL_REFUSED: (
            "{programme}: Only all of {amount} can be paid for {account}. No money has been taken. Reply PAY to pay it."
        ),
        Message.AMOUNT_REFUSED: (
            "{programme}: This amount cannot be paid for {account}. The most is {amount}. No money has been taken."
        ),
        Message.UNAVAILABLE: (
            "{programme}: We cannot take payments right now. No money has been taken."
            " Please try again later, or call {contact}."
        ),
    },
    Language.SPANISH: {
        Message.REGISTRATION: (
            "{programme}: Responda SI para recibir y pagar facturas por texto. Frecuencia variable."
            " Pueden aplicar tarifas de msj y datos. HELP: ayuda, STOP: fin."
        ),
        Message.BILL_READY: (
            "{programme}: La factura de {account} es {amount}, vence el {due}. Responda {order} para pagarla."
            " HELP: ayuda, STOP: fin."
        ),
        Message.BILL_READY_LINK: (
            "{programme}: La factura de {account} es {amount}, vence el {due}. Pague: {link} HELP: ayuda, STOP: fin."
        ),
        Message.BILL_READY_AUTOPAY: (
            "{programme}: La factura de {account} es {amount}. AutoPay la paga el {due}. HELP: ayuda, STOP: fin."
        ),
        Message.PREPAID_LOW: (
            "{programme}: Quedan {amount} en {account} (prepago). Agregue dinero: {link} HELP: ayuda, STOP: fin."
        ),
        Message.NUMBER_RELEASED: (
            "{programme}: Los textos de su cuenta van ahora a otro celular. Este ya no recibe sus facturas."
            " ¿No fue usted? Llame al {contact}."
        ),
        Message.UNENROLLED: (
            "{programme}: El pago por texto fue desactivado para su cuenta. ¿Preguntas? Llame al {contact}."
        ),
        Message.OPTED_OUT: "{programme}: Ya no recibe textos. Responda START para volver a recibirlos.",
        Message.OPTED_OUT_CANCEL: (
            "{programme}: Ya no recibe textos. No se ha cancelado pago alguno: para eso llame al {contact}."
            " START para recibir textos."
        ),
        Message.ENROLLED: (
            "{programme}: Ya recibe facturas por texto. PAGAR para pagar. Frecuencia variable."
            " Pueden aplicar tarifas de msj y datos. HELP: ayuda, STOP: fin."
        ),
        Message.ALREADY_ENROLLED: (
            "{programme}: Usted ya recibe sus facturas por texto. Responda PAGAR para pagar, SALDO para su saldo,"
            " HELP: ayuda, STOP: fin."
        ),
        Message.REGISTRATION_DECLINED: (
            "{programme}: No se ha inscrito y no recibe facturas por texto. Puede inscribirse en su cuenta en internet."
        ),
        Message.CONFIRM_FIRST: (
            "{programme}: Falta confirmar el pago por texto. Responda SI para confirmar. No se ha cobrado nada."
            " HELP: ayuda, STOP: fin."
        ),
        Message.NOT_ENROLLED: (
            "{programme}: Este celular no tiene pago por texto. No se ha cobrado nada."
            " Puede inscribirse en internet o llamar al {contact}."
        ),
        Message.NOTHING_TO_CONFIRM: (
            "{programme}: No se esperaba esta respuesta. Nada ha cambiado, no se ha cobrado nada."
            " HELP: ayuda, o llame al {contact}."
        ),
        Message.HELP: (
            "{programme} por texto: PAGAR paga, SALDO da el saldo. Ayuda: {contact}. Frecuencia variable."
            " Pueden aplicar tarifas de msj y datos. STOP: fin."
        ),
        Message.UNKNOWN: (
            "{programme}: No entendemos su texto. Responda PAGAR para pagar, SALDO, HELP: ayuda, STOP: fin."
            " O llame al {contact}."
        ),
        Message.STOP_UNCLEAR: (
            "{programme}: Para no recibir textos responda solo STOP. Nada ha cambiado, no se ha cobrado nada."
            " ¿Preguntas? Llame al {contact}."
        ),
        Message.FEE_QUESTION: (
            "{programme}: Hay un cargo de {fee}. Responda CONFIRMAR para pagar {total} de {account}, o NO."
            " No se ha cobrado nada."
        ),
        Message.BALANCE_QUESTION: (
            "{programme}: El saldo de {account} es ahora {amount}. Responda OK para pagarlo, o NO. No se ha cobrado nada."
        ),
        Message.QUESTION_EXPIRED: (
            "{programme}: Su respuesta llega tarde. No se ha cobrado nada. Responda PAGAR para pagar."
        ),
        Message.PAYMENT_CALLED_OFF: (
            "{programme}: Como lo pide, no hay pago. No se ha cobrado nada. Responda PAGAR para pagar."
        ),
        Message.PAY_UNCLEAR: (
            "{programme}: No entendemos bien su texto. No se ha cobrado nada. Responda solo PAGAR para pagar lo que debe."
        ),
        Message.AMOUNT_UNCLEAR: (
            "{programme}: No se ha cobrado nada. Para pagar esa cantidad responda PAGAR {amount}."
            " Para pagar todo, responda PAGAR."
        ),
        Message.NO_SUCH_ACCOUNT: (
            "{programme}: Ninguna de sus cuentas tiene ese lugar en la lista. No se ha cobrado nada."
            " Responda SALDO para verlas."
        ),
        Message.SEVERAL_ACCOUNTS: "{programme}: ¿Qué cuenta? Responda {choices}. No se ha cobrado nada.",
        Message.BALANCES: "{programme}: Debe: {balances}. Responda PAGAR para pagar. HELP: ayuda.",
        Message.PREPAID_LEFT: "{programme}: Prepago, queda: {balances}. HELP: ayuda, STOP: fin.",
        Message.PAID: "{programme}: Gracias. Se han cobrado {total} de {account}{including}. Recibo {reference}.",
        Message.DECLINED: "{programme}: El pago de {amount} de {account} fue rechazado. No se ha cobrado nada. {way}",
        Message.NOTHING_DUE: "{programme}: No se debe nada de {account}. No se ha cobrado nada.",
        Message.ALREADY_PAID: "{programme}: {amount} de {account} ya fue pagado. No se le ha cobrado de nuevo.",
        Message.IN_PROGRESS: (
            "{programme}: Su pago de {amount} de {account} sigue en curso. No se le cobra dos veces."
            " Le mandaremos el resultado."
        ),
        Message.NO_METHOD: ("{programme}: No hay forma de pago guardada para {account}. No se ha cobrado nada. {way}"),
        Message.EXPIRED_METHOD: (
            "{programme}: La forma de pago guardada para {account} ya vence. No se ha cobrado nada. {way}"
        ),
        Message.BLOCKED: (
            "{programme}: No podemos cobrar de {account} por texto. No se ha cobrado nada. Por favor llame al {contact}."
        ),
        Message.PARTIAL_REFUSED: (
            "{programme}: Solo se puede pagar todo: {amount} de {account}. No se ha cobrado nada."
            " Responda PAGAR para pagarlo."
        ),
        Message.AMOUNT_REFUSED: (
            "{programme}: Esa cantidad no se puede pagar de {account}. Puede pagar hasta {amount}. No se ha cobrado nada."
        ),
        Message.UNAVAILABLE: (
            "{programme}: Ahora no podemos cobrar. No se ha cobrado nada. Intente de nuevo luego, o llame al {contact}."
        ),
    },
}

_MONTHS: Mapping[Language, tuple[str, ...]] = {
    Language.ENGLISH: ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    Language.SPANISH: ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"),
}


class UnknownField(ValueError):
    """A template names a field that its message does not have."""


@dataclass(frozen=True, slots=True)
class Programme:
    """Who speaks: ``name`` as registered with the carriers, ``contact`` a phone number to call, ``currency`` by ISO 4217."""

    name: str
    contact: str
    currency: str = "USD"


def word(reply: Reply, *, programme: Programme, language: Language, template: str | None = None) -> str:
    """Put a message into words: the biller's ``template``, or our own.

    :raises UnknownField: the template names a field that the message does not have.
    """
    known = fields(reply.message)
    values = _values(reply.facts, programme, language)

    def fill(field: re.Match[str]) -> str:
        if field[1] not in known:
            raise UnknownField(f"“{field[0]}” is no field of this message.")
        return values[field[1]]

    # A value is put in as it is: one that looks like a field is not filled again.
    return _FIELD.sub(fill, TEMPLATES[language][reply.message] if template is None else template)


def fields(message: Message) -> frozenset[str]:
    """Give the fields that a template of the message may name."""
    used = {name for texts in TEMPLATES.values() for name in _FIELD.findall(texts[message])}
    return frozenset(used | {"programme", "contact"})


def money(amount: Decimal, currency: str) -> str:
    """Write an amount: ``$1,234.50``, ``1,234.50 CAD``; with no sign that GSM-7 lacks."""
    written = f"{abs(amount):,.2f}"
    sign = "-" if amount < 0 else ""
    symbol = _SYMBOLS.get(currency)
    return f"{sign}{symbol}{written}" if symbol else f"{sign}{written} {currency}"


def _values(facts: Facts, programme: Programme, language: Language) -> Mapping[str, str]:
    spanish = language is Language.SPANISH
    amount = facts.amount if facts.amount is not None else Decimal("0.00")
    fee = facts.fee if facts.fee is not None else Decimal("0.00")
    numbered = len(facts.due) > 1
    pay = "PAGAR" if spanish else "PAY"
    listed = [
        (str(number), _account(account.tail, language), money(owed, programme.currency))
        for number, (account, owed) in enumerate(facts.due, start=1)
    ]
    return {
        "programme": programme.name,
        "contact": programme.contact,
        "account": _account(facts.tail, language),
        "amount": money(amount, programme.currency),
        "fee": money(fee, programme.currency),
        "total": money(amount + fee, programme.currency),
        "including": _including(fee, programme.currency, language),
        "due": _day(facts.due_on, language) if facts.due_on else "",
        "reference": facts.reference,
        "link": facts.link,
        "order": f"{pay} {facts.index}" if facts.index else pay,
        "way": _way(facts.link, programme.contact, language),
        "choices": ", ".join(
            f"{pay} {number} {'para' if spanish else 'for'} {account} ({owed})" for number, account, owed in listed
        ),
        "balances": ", ".join(
            f"{number}: {account} {owed}" if numbered else f"{account} {owed}" for number, account, owed in listed
        ),
    }


def _account(tail: str, language: Language) -> str:
    if not tail:
        return "su cuenta" if language is Language.SPANISH else "your account"
    return f"cta *{tail}" if language is Language.SPANISH else f"acct *{tail}"


def _including(fee: Decimal, currency: str, language: Language) -> str:
    if not fee:
        return ""
    written = money(fee, currency)
    return f", incluido un cargo de {written}" if language is Language.SPANISH else f", including a fee of {written}"


def _way(link: str, contact: str, language: Language) -> str:
    if language is Language.SPANISH:
        return f"Pague: {link}" if link else f"Llame al {contact}."
    return f"Pay: {link}" if link else f"Please call {contact}."


def _day(day: date, language: Language) -> str:
    month = _MONTHS[language][day.month - 1]
    return f"{day.day} {month}" if language is Language.SPANISH else f"{month} {day.day}"
