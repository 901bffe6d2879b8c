"""Every word a payer can meet is there in Spanish, and what is compiled is what is written."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext

ROOT = Path(settings.BASE_DIR)
SPANISH = ROOT / "locale" / "es" / "LC_MESSAGES"
# What payers see: their portal, the parts and frames that both portals use, the operations that refuse them something.
TEMPLATES = (
    "*.html",
    "account/**/*.html",
    "allauth/**/*.html",
    "components/**/*.html",
    "customer_portal/**/*.html",
    "notices/*.txt",
)
CODE = (
    "billing/*.py",
    "billing/lists/*.py",
    "billing/templatetags/*.py",
    "*/customer_portal/**/*.py",
    "payments/operations/*.py",
    "billing/operations/payers.py",
    "billing/operations/sign_ons.py",
    "sms/operations/enrolments.py",
    "sms/operations/programmes.py",
)
# History and its sentences are read by the biller's people.
NOT_FOR_PAYERS = {"billing/audit.py"}

_TRANSLATE = re.compile(r"""{%\s*(?:translate|trans)\s+(["'])(.+?)\1""")
_MARKED = re.compile(r"""\b_\((["'])(.+?)\1\)""")
_BLOCK = re.compile(r"{%\s*blocktrans(?:late)?\b.*?%}(.*?){%\s*endblocktrans(?:late)?\s*%}", re.DOTALL)
_PLURAL = re.compile(r"{%\s*plural\s*%}")
_VALUE = re.compile(r"{{\s*(\w+)\s*}}")
_FUNCTIONS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy", "pgettext", "pgettext_lazy"}


def in_template(source: str) -> Iterator[str]:
    yield from (found[2] for found in _TRANSLATE.finditer(source))
    yield from (found[2] for found in _MARKED.finditer(source))
    for block in _BLOCK.finditer(source):
        yield _VALUE.sub(r"%(\1)s", _PLURAL.split(block[1])[0])


def in_code(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in _FUNCTIONS:
            continue
        texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if texts:
            yield texts[1] if name.startswith("pgettext") else texts[0]


def catalogue() -> Catalog:
    with (SPANISH / "django.po").open("rb") as file:
        return read_po(file, locale="es")


def test_payers_read_everything_in_spanish() -> None:
    known = {}
    for message in catalogue():
        first = message.id[0] if isinstance(message.id, tuple) else message.id
        known[first] = any(message.string or ()) and not message.fuzzy
    missing = set()
    for pattern in TEMPLATES:
        for path in (ROOT / "templates").glob(pattern):
            missing |= {f"{path.name}: {words}" for words in in_template(path.read_text()) if not known.get(words)}
    for pattern in CODE:
        for path in ROOT.glob(pattern):
            if str(path.relative_to(ROOT)) not in NOT_FOR_PAYERS:
                missing |= {f"{path.name}: {words}" for words in in_code(path.read_text()) if not known.get(words)}
    assert not missing, "Run `manage.py messages` and translate in locale/es:\n" + "\n".join(sorted(missing))


def test_what_is_compiled_is_what_is_written() -> None:
    with (SPANISH / "django.mo").open("rb") as file:
        compiled = dict(_pair(message) for message in read_mo(file) if message.id)
    assert compiled == dict(_pair(m) for m in catalogue() if m.id and any(m.string or ()) and not m.fuzzy)


def _pair(message: Message) -> tuple[str, str]:
    return " / ".join(_forms(message.id)), " / ".join(_forms(message.string))


def _forms(text: str | Sequence[str] | None) -> Sequence[str]:
    return () if text is None else (text,) if isinstance(text, str) else text


def test_values_in_a_translation_are_those_of_the_original() -> None:
    for message in catalogue():
        expected = set(re.findall(r"%\((\w+)\)s", " ".join(_forms(message.id))))
        for one in _forms(message.string):
            if one and message.id:
                assert set(re.findall(r"%\((\w+)\)s", one)) == expected, message.id


@pytest.mark.parametrize(("language", "words"), [("en", "Sign in"), ("es", "Iniciar sesión")])
def test_the_language_of_the_request_is_used(language: str, words: str) -> None:
    with translation.override(language):
        assert gettext("Sign in") == words
