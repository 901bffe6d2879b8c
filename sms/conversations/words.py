"""The words that are understood, in English and Spanish: in lower case, without accents and apostrophes.

A phrase is matched anywhere in a text, with any ``SKIPPED`` words between its own: ``stop texts`` also finds "stop sending
me these texts". It does not count after a word that turns it round ("don't stop texting").

Source: evidence 3.2 (47 CFR 64.1200(a)(10), Twilio's and AWS's lists, ACE's phrases, signs and insults).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from sms.conversations.states import Language

OPT_OUT_SIGNS = "🛑🚫❌⛔🔕📴🖕"


def _split(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(heads: Iterable[str], objects: Iterable[str] = ("",)) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(f"{head} {thing}".split()) for head, thing in product(heads, objects))


# Said with a keyword, these change nothing about it.
COURTESIES: frozenset[str] = _split(
    "please pls plz pleas thanks thank thx ty you now today hi hello hey sir maam just kindly immediately asap"
    " por favor gracias muchas ya ahora hola hoy senor senora"
)

# Said with a strong opt-out word, these change nothing about it either.
_OPT_OUT_FILLERS = COURTESIES | _split(
    "ok okay it this that all me my the these those everything already right away sending send to any your of with getting"
    " receiving receive us such so freaking damn being be"
    " todo todos toda esto eso me mi de los las la el lo mas estos"
)

# Opt out by themselves, among fillers, or as a clause of their own ("Who is this? Stop.").
STRONG: Mapping[str, Language] = {
    **dict.fromkeys(
        ("stop", "stopall", "unsubscribe", "end", "quit", "revoke", "optout", "cancel", "stopp", "unsuscribe"),
        Language.ENGLISH,
    ),
    **dict.fromkeys(
        ("pare", "parar", "parenle", "basta", "detener", "detenganse", "cancelar", "cancele"), Language.SPANISH
    ),
    **dict.fromkeys(OPT_OUT_SIGNS, Language.ENGLISH),
}
# Opt out only as the whole text: inside a sentence they are everyday words ("el recibo está alto", "leave it at the door").
WEAK: Mapping[str, Language] = {
    **dict.fromkeys(
        (
            "delete", "leave", "cease", "block", "halt", "remove", "td", "arret", "optmeout", "optout", "nomore", "goaway",
            "stop2end", "stop2stop", "stoptoend", "shutup", "spam",
        ),
        Language.ENGLISH,
    ),
    **dict.fromkeys(
        (
            "alto", "para", "paren", "fin", "baja", "salir", "borrar", "eliminar", "terminar", "nomas", "nomasya",
            "yanomas", "dejeme", "dejenme", "dejame", "bloquear", "desuscribir", "desuscribirse",
        ),
        Language.SPANISH,
    ),
}  # fmt: skip
# FCC's word, that people also say of a payment or a service; in Latin America "cancelar" is also "to pay".
CANCEL_WORDS: frozenset[str] = _split("cancel cancelar cancele")

_TEXTS = (
    "texts", "text", "texting", "txt", "txts", "txting", "messages", "message", "messaging", "msgs", "msg", "messeges", "sms",
    "notifications", "notifying", "alerts", "contacting", "bothering", "harassing", "spamming", "spam", "calling", "writing",
)  # fmt: skip
_MENSAJES = ("mensajes", "mensaje", "textos", "texto", "sms", "notificaciones", "alertas")

ENGLISH_PHRASES = (
    _phrases(("stop", "quit", "end", "cease", "halt", "block", "no more", "dont want", "do not want"), _TEXTS)
    | _phrases(("dont", "do not", "never"), ("text me", "message me", "contact me", "send me texts", "send me messages"))
    | _phrases(("dont", "do not"), ("text this number", "contact this number", "send texts", "send messages"))
    | _phrases(
        (
            "opt out", "opt me out", "opting out", "optout", "unsubscribe", "unsuscribe", "revoke", "leave me alone", "go away",
            "take me off", "remove me", "remove my number", "remove this number", "delete my number", "delete me",
            "lose my number", "wrong number", "wrong person", "cancel", "stopall",
            "fuck off", "fuck you", "piss off", "screw you", "get lost", "buzz off", "bugger off", "go to hell", "eff off",
        )
    )
)  # fmt: skip
SPANISH_PHRASES = (
    _phrases(("no mas", "no quiero", "no quiero recibir", "basta de", "alto a", "cancelar", "cancele"), _MENSAJES)
    | _phrases(
        ("no envien", "no envie", "no envies", "no manden", "no mande", "no mandes", "no enviar", "no mandar"), _MENSAJES
    )
    | _phrases(
        ("dejen de", "deje de", "deja de", "paren de", "pare de", "para de"),
        ("enviar", "enviarme", "mandar", "mandarme", "molestar", "molestarme", "escribir", "escribirme", "textearme", "textear"),
    )
    | _phrases(
        (
            "no escriban", "no escriba", "no escribas", "no texteen", "no textees", "no molesten", "no moleste", "no molestes",
            "no molestar", "no contacten", "no contacte", "dejeme en paz", "dejenme en paz", "dejame en paz", "darme de baja",
            "dame de baja", "denme de baja", "deme de baja", "quitenme", "quiteme", "quitame", "borrenme", "borreme", "borrame",
            "saquenme", "saqueme", "sacame", "eliminenme", "desuscribirme", "desuscribir", "numero equivocado",
            "vete al carajo", "vete al diablo", "vete a la mierda", "vayanse al carajo", "vete a la chingada",
        )
    )
)  # fmt: skip
WRONG_NUMBER: frozenset[tuple[str, ...]] = _phrases(("wrong number", "wrong person", "numero equivocado"))
SKIPPED: frozenset[str] = _split(
    "me my the these this those all sending send to any your of please with getting get receiving receive us such so freaking"
    " damn being more no from you guys stupid fucking"
    " mas me los las estos esos sus tus de favor por recibir enviarme mandarme mi a el la"
)
NEGATORS: Mapping[Language, frozenset[str]] = {
    Language.ENGLISH: _split(
        "dont not never didnt wont cant cannot doesnt shouldnt wouldnt couldnt isnt havent without nor"
    ),
    Language.SPANISH: _split("no nunca jamas sin ni"),
}
# What is asked about or supposed is not asked for: "why did you stop texting". With a negator it is, after all: "if you don't
# stop texting", "why don't you stop texting".
SUPPOSERS: frozenset[str] = _split("did if why")
# Between a negator and what it turns round.
LINKS: frozenset[str] = _split(
    "you ever want to wanna please me i we they going gonna need have think plan mean just even really ask asking it"
    " quiero que se te lo deje dejen de por favor quisiera quieren"
)
# A text that has one of these, and is no opt-out by the rules above, goes before a CSR and moves no money.
DOUBTFUL: frozenset[str] = _split(
    "stop stops stopped stopping unsubscribe unsubscribed optout quit revoke revoked cancel canceled cancelled cancelling"
    " canceling cancelation cancellation cancelar cancele cancelen cancela parar basta desuscribir"
) | frozenset(OPT_OUT_SIGNS)
OPT_OUT_FILLERS: Mapping[Language, frozenset[str]] = {
    Language.ENGLISH: _OPT_OUT_FILLERS | _split("no i want wanna would like"),
    # "No pare" is "do not stop".
    Language.SPANISH: _OPT_OUT_FILLERS,
}

HELP: Mapping[str, Language] = {
    **dict.fromkeys(("help", "info", "information", "hlp", "helpme"), Language.ENGLISH),
    **dict.fromkeys(("ayuda", "ayudame", "ayudenme", "informacion", "auxilio"), Language.SPANISH),
}
HELP_PHRASES: Mapping[tuple[str, ...], Language] = {
    **dict.fromkeys(
        (("i", "need", "help"), ("need", "help"), ("can", "help", "me"), ("more", "info")), Language.ENGLISH
    ),
    **dict.fromkeys((("necesito", "ayuda"), ("quiero", "ayuda"), ("mas", "informacion")), Language.SPANISH),
}
# Consent is asked for in so many words: no phrases here, and no YES (a provider may take it so; we never do).
OPT_IN: Mapping[str, Language] = {
    **dict.fromkeys(("start", "unstop", "optin", "subscribe", "resubscribe"), Language.ENGLISH),
    **dict.fromkeys(("iniciar", "inicio", "comenzar", "empezar", "alta", "reanudar", "suscribir"), Language.SPANISH),
}
YES: Mapping[str, Language] = {
    **dict.fromkeys(("yes", "y", "ok", "okay", "yeah", "yep", "yup"), Language.ENGLISH),
    **dict.fromkeys(("si", "acepto", "claro"), Language.SPANISH),
}
OK: frozenset[str] = _split("ok okay")
NO: Mapping[str, Language] = dict.fromkeys(("no", "n", "nope", "nah"), Language.ENGLISH)
CONFIRM: Mapping[str, Language] = {
    **dict.fromkeys(("confirm", "confirmed"), Language.ENGLISH),
    **dict.fromkeys(("confirmar", "confirmo"), Language.SPANISH),
}
# With their accents: "pagó" and "pagué" tell of a payment, and ask for none.
PAY: Mapping[str, Language] = {"pay": Language.ENGLISH, "pagar": Language.SPANISH, "pago": Language.SPANISH}
PAY_BEFORE: frozenset[str] = _split("please pls plz ok okay yes hi hello hola por favor si sí quiero")
PAY_AFTER: frozenset[str] = _split(
    "now please pls plz thanks thank you thx my the this it bill balance all full account acct amount"
    " ahora mi la el este esta factura cuenta recibo saldo todo por favor gracias"
)
DOLLARS: frozenset[str] = _split("dollars dollar usd dolares dólares dólar dolar")
BALANCE: Mapping[str, Language] = {
    **dict.fromkeys(("bal", "balance", "due"), Language.ENGLISH),
    **dict.fromkeys(("saldo", "saldos"), Language.SPANISH),
}
BALANCE_FILLERS: frozenset[str] = COURTESIES | _split(
    "my what whats is the current account acct check show me amount i have for"
    " mi cual es el cuenta cuanto actual ver consultar tengo que quiero saber nomas"
)
BALANCE_PHRASES: Mapping[tuple[str, ...], Language] = {
    **dict.fromkeys(
        (("do", "i", "owe"), ("i", "owe", "how", "much"), ("how", "much", "is", "my", "bill")), Language.ENGLISH
    ),
    **dict.fromkeys((("cuanto", "debo"), ("que", "debo"), ("cuanto", "tengo", "que", "pagar")), Language.SPANISH),
}
THANKS: Mapping[str, Language] = {
    **dict.fromkeys(
        (
            "thanks",
            "thank",
            "you",
            "thx",
            "ty",
            "great",
            "cool",
            "perfect",
            "awesome",
            "good",
            "nice",
            "so",
            "much",
            "very",
        ),
        Language.ENGLISH,
    ),
    **dict.fromkeys(("gracias", "muchas", "muy", "amable", "perfecto", "bueno", "vale", "listo"), Language.SPANISH),
}
THANKS_CORE: frozenset[str] = _split("thanks thank thx ty gracias great cool perfect awesome perfecto listo")
