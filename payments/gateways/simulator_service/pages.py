"""The HTML of the processor's card and bank forms, in English and Spanish.

Each page works without JavaScript; ``hosted_fields.js`` only keeps it from reloading, and tells the page that frames it
its height and the token.

Source: PAY-16, PAY-17; WCAG 2.2 AA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from payments.gateways.simulator_service.hosted_fields import BANK_FIELDS, CARD_FIELDS
from payments.gateways.test_numbers import ACCOUNTS, CARDS

LANGUAGES = ("en", "es")

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "card_title": "Card details",
        "bank_title": "Bank account details",
        "site": "Simulated processor",
        "error": "Error",
        "demo": "Simulated processor: no money moves, and only test numbers are accepted.",
        "test_cards": "Test cards",
        "test_accounts": "Test accounts",
        "meaning": "What it does",
        "optional": "Any future expiry date, security code and ZIP code will do.",
        "may_be_empty": "optional",
        "holder_card": "Name on card",
        "holder_bank": "Name on the account",
        "number": "Card number",
        "expiry": "Expiry date",
        "expiry_hint": "Month and year, for example 04/29",
        "cvv": "Security code",
        "cvv_hint": "3 digits on the back; on American Express 4 digits on the front",
        "address": "Billing street address",
        "zip": "Billing ZIP or postal code",
        "routing": "Routing number",
        "routing_hint": "9 digits, at the bottom left of a check",
        "account": "Account number",
        "account_hint": "4 to 17 digits",
        "account_type": "Account type",
        "checking": "Checking",
        "savings": "Savings",
        "card_submit": "Use this card",
        "bank_submit": "Use this account",
        "checking_now": "Checking…",
        "problem": "There is a problem",
        "nothing_taken": "No money has been taken.",
        "no_connection": "The details could not be checked. Try again.",
        "type_again": "For your safety, type the numbers again.",
        "card_ready": "Card ending in {last4} is ready.",
        "bank_ready": "Account ending in {last4} is ready.",
        "change": "Use other details",
        "holder_missing": "Enter the name",
        "holder_wrong": "Enter the name without numbers, in up to 100 characters",
        "number_missing": "Enter the card number",
        "number_wrong": "Check the card number: a digit is missing or wrong",
        "number_not_test": "Enter a test card number: this processor takes no real cards",
        "expiry_missing": "Enter the expiry date",
        "expiry_wrong": "Enter the expiry date as month and year, for example 04/29",
        "expiry_past": "Enter an expiry date in the future",
        "cvv_missing": "Enter the security code",
        "cvv_three": "Enter the 3 digits of the security code",
        "cvv_four": "Enter the 4 digits of the security code",
        "address_wrong": "Enter the street address in up to 100 characters",
        "zip_missing": "Enter the billing ZIP or postal code",
        "zip_wrong": "Enter a ZIP code such as 80202, or a postal code such as K1A 0B1",
        "routing_missing": "Enter the routing number",
        "routing_wrong": "Check the routing number: it has 9 digits, and one is missing or wrong",
        "account_missing": "Enter the account number",
        "account_wrong": "Enter an account number of 4 to 17 digits",
        "account_not_test": "Enter a test account: this processor takes no real accounts",
        "account_type_missing": "Choose checking or savings",
        "card_refused": "The card was not accepted. Use another card.",
        "bank_refused": "The account was not accepted. Use another account.",
        "not_allowed": "This page cannot be shown here.",
        "not_allowed_why": "The address that asked for it is not registered with the processor.",
    },
    "es": {
        "card_title": "Datos de la tarjeta",
        "bank_title": "Datos de la cuenta bancaria",
        "site": "Procesador simulado",
        "error": "Error",
        "demo": "Procesador simulado: no se mueve dinero y solo se aceptan números de prueba.",
        "test_cards": "Tarjetas de prueba",
        "test_accounts": "Cuentas de prueba",
        "meaning": "Qué hace",
        "optional": "Sirve cualquier fecha de vencimiento futura, código de seguridad y código postal.",
        "may_be_empty": "opcional",
        "holder_card": "Nombre en la tarjeta",
        "holder_bank": "Nombre del titular de la cuenta",
        "number": "Número de tarjeta",
        "expiry": "Fecha de vencimiento",
        "expiry_hint": "Mes y año, por ejemplo 04/29",
        "cvv": "Código de seguridad",
        "cvv_hint": "3 dígitos al dorso; en American Express, 4 dígitos al frente",
        "address": "Dirección de facturación",
        "zip": "Código postal de facturación",
        "routing": "Número de ruta",
        "routing_hint": "9 dígitos, abajo a la izquierda en un cheque",
        "account": "Número de cuenta",
        "account_hint": "De 4 a 17 dígitos",
        "account_type": "Tipo de cuenta",
        "checking": "Corriente",
        "savings": "De ahorros",
        "card_submit": "Usar esta tarjeta",
        "bank_submit": "Usar esta cuenta",
        "checking_now": "Comprobando…",
        "problem": "Hay un problema",
        "nothing_taken": "No se ha cobrado nada.",
        "no_connection": "No se pudieron comprobar los datos. Inténtelo de nuevo.",
        "type_again": "Por su seguridad, escriba los números de nuevo.",
        "card_ready": "La tarjeta terminada en {last4} está lista.",
        "bank_ready": "La cuenta terminada en {last4} está lista.",
        "change": "Usar otros datos",
        "holder_missing": "Escriba el nombre",
        "holder_wrong": "Escriba el nombre sin números, en 100 caracteres como máximo",
        "number_missing": "Escriba el número de tarjeta",
        "number_wrong": "Revise el número de tarjeta: falta un dígito o hay uno equivocado",
        "number_not_test": "Escriba un número de prueba: este procesador no acepta tarjetas reales",
        "expiry_missing": "Escriba la fecha de vencimiento",
        "expiry_wrong": "Escriba la fecha de vencimiento con mes y año, por ejemplo 04/29",
        "expiry_past": "Escriba una fecha de vencimiento futura",
        "cvv_missing": "Escriba el código de seguridad",
        "cvv_three": "Escriba los 3 dígitos del código de seguridad",
        "cvv_four": "Escriba los 4 dígitos del código de seguridad",
        "address_wrong": "Escriba la dirección en 100 caracteres como máximo",
        "zip_missing": "Escriba el código postal de facturación",
        "zip_wrong": "Escriba un código postal como 80202 o K1A 0B1",
        "routing_missing": "Escriba el número de ruta",
        "routing_wrong": "Revise el número de ruta: tiene 9 dígitos y falta uno o hay uno equivocado",
        "account_missing": "Escriba el número de cuenta",
        "account_wrong": "Escriba un número de cuenta de 4 a 17 dígitos",
        "account_not_test": "Escriba una cuenta de prueba: este procesador no acepta cuentas reales",
        "account_type_missing": "Elija corriente o de ahorros",
        "card_refused": "La tarjeta no fue aceptada. Use otra tarjeta.",
        "bank_refused": "La cuenta no fue aceptada. Use otra cuenta.",
        "not_allowed": "Esta página no se puede mostrar aquí.",
        "not_allowed_why": "La dirección que la pidió no está registrada en el procesador.",
    },
}

FIELDS = {"card": CARD_FIELDS, "bank": BANK_FIELDS}
# What may be written back into the form: never a number that opens an account.
KEPT = frozenset({"holder", "expiry", "address", "zip", "account_type"})


@dataclass(frozen=True, slots=True)
class Input:
    """How one field behaves in a browser."""

    autocomplete: str
    numeric: bool = False
    longest: int = 100
    hint: bool = False
    short: bool = False


INPUTS: dict[str, Input] = {
    "holder": Input("cc-name"),
    "number": Input("cc-number", numeric=True, longest=30),
    "expiry": Input("cc-exp", numeric=True, longest=9, hint=True, short=True),
    "cvv": Input("cc-csc", numeric=True, longest=4, hint=True, short=True),
    "address": Input("billing address-line1"),
    "zip": Input("billing postal-code", longest=10, short=True),
    "routing": Input("off", numeric=True, longest=15, hint=True),
    "account": Input("off", numeric=True, longest=30, hint=True),
}


def form_page(
    *,
    kind: str,
    language: str,
    theme: str,
    parent: str,
    values: Mapping[str, str],
    errors: Mapping[str, str],
    optional: frozenset[str],
) -> str:
    """Draw the card or bank form, some of its fields ``optional``.

    ``parent`` is the origin that frames it, empty where it is a page of its own.
    """
    words = WORDS[language]
    title = words[f"{kind}_title"]
    fields = "\n".join(_field(name, kind, words, values, errors, optional) for name in FIELDS[kind])
    head = f"{words['error']}: {title}" if errors else title
    return _page(
        language=language,
        theme=theme,
        title=f"{head} – {words['site']}",
        attributes={
            "data-parent": parent,
            "data-checking": words["checking_now"],
            "data-no-connection": words["no_connection"],
            "data-error": words["error"],
        },
        main=f"""
<h1>{title}</h1>
<p class="demo">{words["demo"]}</p>
{_summary(words, errors)}
<form method="post" novalidate>
{fields}
<button type="submit">{words[f"{kind}_submit"]}</button>
</form>
{_published(kind, words)}""",
    )


def ready_page(*, kind: str, language: str, theme: str, parent: str, last4: str, token: str) -> str:
    """Draw what a frame shows when the details are good; its script tells the token to the page around it."""
    words = WORDS[language]
    return _page(
        language=language,
        theme=theme,
        title=f"{words[f'{kind}_title']} – {words['site']}",
        attributes={"data-parent": parent, "data-token": token},
        main=f"""
<h1>{words[f"{kind}_title"]}</h1>
<p class="ready" role="status" tabindex="-1" id="ready">{words[f"{kind}_ready"].format(last4=escape(last4))}</p>
<p><a href="">{words["change"]}</a></p>""",
    )


def refusal_page(*, language: str) -> str:
    """Draw what is shown where the address that asks is not registered."""
    words = WORDS[language]
    return _page(
        language=language,
        theme="auto",
        title=f"{words['error']}: {words['site']}",
        attributes={},
        main=f"\n<h1>{words['not_allowed']}</h1>\n<p>{words['not_allowed_why']}</p>",
    )


def messages_of(*, language: str, errors: Mapping[str, str]) -> dict[str, str]:
    """Put errors into words: field name to sentence."""
    return {name: WORDS[language][message] for name, message in errors.items()}


def _page(*, language: str, theme: str, title: str, attributes: Mapping[str, str], main: str) -> str:
    extra = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"""<!doctype html>
<html lang="{language}" data-theme="{theme}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/fields.css">
<script src="/fields.js" defer></script>
</head>
<body{extra}>
<main>{main}
</main>
</body>
</html>
"""


def _summary(words: Mapping[str, str], errors: Mapping[str, str]) -> str:
    lines = "".join(
        f'<li><a href="#{name}">{words[message]}</a></li>' if name else f"<li>{words[message]}</li>"
        for name, message in errors.items()
    )
    again = f" {words['type_again']}" if errors else ""
    return (
        f'<div id="summary" class="summary" role="alert" tabindex="-1"{"" if errors else " hidden"}>'
        f"<h2>{words['problem']}</h2><ul>{lines}</ul>"
        f'<p>{words["nothing_taken"]}<span class="again">{again}</span></p></div>'
    )


def _field(
    name: str,
    kind: str,
    words: Mapping[str, str],
    values: Mapping[str, str],
    errors: Mapping[str, str],
    optional: frozenset[str],
) -> str:
    error = words[errors[name]] if name in errors else ""
    error_line = f'<p class="error" id="{name}-error"{"" if error else " hidden"}>{error}</p>'
    if name == "account_type":
        choices = "".join(
            f'<label class="choice"><input type="radio" name="account_type" value="{value}" id="{identity}"'
            f"{' checked' if values.get(name) == value else ''}> {words[value]}</label>"
            for value, identity in (("checking", "account_type"), ("savings", "account_type_savings"))
        )
        described = ' aria-describedby="account_type-error"' if error else ""
        return f'<fieldset class="field"{described}><legend>{words[name]}</legend>{error_line}{choices}</fieldset>'
    field = INPUTS[name]
    label = words[f"holder_{kind}"] if name == "holder" else words[name]
    if name in optional:
        label = f"{label} ({words['may_be_empty']})"
    autocomplete = "name" if name == "holder" and kind == "bank" else field.autocomplete
    hint = f'<p class="hint" id="{name}-hint">{words[f"{name}_hint"]}</p>' if field.hint else ""
    described_by = " ".join([f"{name}-hint"] * field.hint + [f"{name}-error"] * bool(error))
    attributes = [
        f'id="{name}"',
        f'name="{name}"',
        'type="text"',
        f'autocomplete="{autocomplete}"',
        f'maxlength="{field.longest}"',
        'spellcheck="false"',
        *(["required"] if name not in optional else []),
    ]
    if field.numeric:
        attributes.append('inputmode="numeric"')
    if described_by:
        attributes.append(f'aria-describedby="{described_by}"')
    if error:
        attributes.append('aria-invalid="true"')
    if name in KEPT and values.get(name):
        attributes.append(f'value="{escape(values[name])}"')
    short = " short" if field.short else ""
    return (
        f'<div class="field{short}"><label for="{name}">{label}</label>{hint}{error_line}'
        f"<input {' '.join(attributes)}></div>"
    )


def _published(kind: str, words: Mapping[str, str]) -> str:
    if kind == "card":
        title, label = words["test_cards"], words["number"]
        rows = [(_grouped(card.number), card.meaning) for card in CARDS.values()]
    else:
        title, label = words["test_accounts"], f"{words['routing']}, {words['account']}"
        rows = [(f"{known.routing} {known.account}", known.meaning) for known in ACCOUNTS.values()]
    lines = "".join(f'<tr><td>{number}</td><td lang="en">{escape(meaning)}</td></tr>' for number, meaning in rows)
    return (
        f"<details><summary>{title}</summary><p>{words['optional'] if kind == 'card' else ''}</p>"
        f'<table><thead><tr><th scope="col">{label}</th><th scope="col">{words["meaning"]}</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></details>"
    )


def _grouped(number: str) -> str:
    return " ".join(number[start : start + 4] for start in range(0, len(number), 4))
