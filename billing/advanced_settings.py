"""The registry of numbered settings: what each means, what it may be, and where its one value is kept.

An app registers its own when it is loaded. Faces draw their fields from here and change them through ``change``.

Source: MSP-35
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import transaction
from django.utils.functional import Promise

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Biller, Setting

Words = str | Promise


class BadSetting(DomainError):
    """The value is none that the setting may have; the text says what it may be."""

    default = "This value is not possible."


class UnknownSetting(LookupError):
    """Nobody has registered a setting of this number."""


class Kind(StrEnum):
    """What a value is, and with which form field it is edited."""

    TEXT = "text"
    URL = "url"
    SECRET = "secret"  # noqa: S105  # a kind, not a secret
    CHOICE = "choice"
    FLAG = "flag"
    JSON = "json"


class Store(Protocol):
    """Where a setting's one value is kept."""

    @property
    def where(self) -> str:
        """Say where, for the documentation and for tests that nothing is kept twice."""
        ...

    def read(self, biller_id: int) -> Any:
        """Give the value, or ``None`` where none is kept."""
        ...

    def write(self, biller_id: int, value: Any) -> None:
        """Keep the value, inside the caller's transaction; the default is kept as nothing at all."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """Keeps a value in the table of settings."""

    number: int

    @property
    def where(self) -> str:
        """Say where the value is kept."""
        return f"billing.Setting[{self.number}]"

    def read(self, biller_id: int) -> Any:
        """Give the value, or ``None`` where none is kept."""
        return Setting.objects.filter(biller_id=biller_id, number=self.number).values_list("value", flat=True).first()

    def write(self, biller_id: int, value: Any) -> None:
        """Keep the value, inside the caller's transaction."""
        Setting.objects.update_or_create(biller_id=biller_id, number=self.number, defaults={"value": value})


@dataclass(frozen=True, slots=True)
class AdvancedSetting:
    """One numbered setting.

    ``clean`` reads what a person gave into the value to keep and raises ``BadSetting``; ``check`` refuses a value that does
    not go with the biller's others, and ``warning`` says where one that is kept does not; ``schema`` is the JSON schema of a
    JSON setting. ``differs`` says that two billers hardly ever have the same value. A secret is written and never read
    back by a face.
    """

    number: int
    name: Words
    help: Words
    kind: Kind
    store: Store
    default: Any = ""
    differs: bool = True
    clean: Callable[[Any], Any] = field(default=lambda value: value)
    check: Callable[[Biller, Any], None] = field(default=lambda biller, value: None)
    warning: Callable[[Biller, Any], Words] = field(default=lambda biller, value: "")
    choices: tuple[tuple[str, Words], ...] = ()
    schema: Mapping[str, Any] | None = None

    @property
    def secret(self) -> bool:
        """Whether the value is encrypted at rest and never shown again."""
        return self.kind is Kind.SECRET

    def read(self, given: Any) -> Any:
        """Read what a person gave.

        :raises BadSetting: it is none of the values that the setting may have.
        """
        if isinstance(given, str):
            given = given.strip()
        if given in ("", None):
            return self.default
        match self.kind:
            case Kind.URL:
                try:
                    URLValidator(schemes=["http", "https"])(given)
                except ValidationError:
                    raise BadSetting("Enter an address that begins with http:// or https://.") from None
            case Kind.CHOICE:
                if str(given) not in {value for value, _ in self.choices}:
                    raise BadSetting(f"Choose one of {', '.join(value for value, _ in self.choices)}.")
                given = str(given)
            case Kind.FLAG:
                given = given in (True, "1", "true", "on")
            case Kind.JSON:
                given = _read_json(given, self.schema)
        return self.clean(given)


_registered: dict[int, AdvancedSetting] = {}


def register(*settings: AdvancedSetting) -> None:
    """Add settings to the registry.

    :raises ValueError: a number is there already with another meaning.
    """
    for one in settings:
        if _registered.setdefault(one.number, one) is not one:
            raise ValueError(f"Setting {one.number} is registered twice.")


def registered() -> list[AdvancedSetting]:
    """Give every setting by its number."""
    return [_registered[number] for number in sorted(_registered)]


def setting(number: int) -> AdvancedSetting:
    """Give one setting.

    :raises UnknownSetting: there is none of this number.
    """
    try:
        return _registered[number]
    except KeyError:
        raise UnknownSetting(f"There is no setting {number}.") from None


def value(number: int, biller_id: int) -> Any:
    """Give a biller's value, or the default. For use by the machinery: a face shows a secret's presence alone.

    :raises UnknownSetting: there is none of this number.
    """
    found = setting(number)
    kept = found.store.read(biller_id)
    return found.default if kept is None else kept


@dataclass(frozen=True, slots=True)
class Standing:
    """One setting as it stands for a biller, to be shown: ``words`` are its value, of a secret only whether there is one.
    ``given`` says that it is not the default.
    """

    setting: AdvancedSetting
    words: str
    given: bool


def standing(biller_id: int) -> list[Standing]:
    """Give every numbered setting of a biller as it may be shown, by number."""
    found = []
    for one in registered():
        kept = one.store.read(biller_id)
        given = kept not in (None, "", one.default)
        if one.secret:
            words = "Set; never shown" if given else ""
        else:
            value = kept if given else one.default
            words = json.dumps(value, ensure_ascii=False) if one.kind is Kind.JSON and value else str(value or "")
        found.append(Standing(one, words, given))
    return found


@transaction.atomic(durable=True)
def change(*, actor: Actor, biller: Biller, number: int, given: Any) -> Any:
    """Change a biller's value to what a person gave; gives the value as it is kept.

    An empty secret changes nothing, since a form never shows the old one.

    :raises UnknownSetting: there is none of this number.
    :raises BadSetting: it is none of the values that the setting may have.
    """
    found = setting(number)
    wanted = found.read(given)
    if found.secret and not wanted:
        return None
    if not found.secret and wanted == value(number, biller.pk):
        return wanted
    found.check(biller, wanted)
    found.store.write(biller.pk, wanted)
    audit.record(
        actor=actor, event="setting.changed", biller_id=biller.pk, subject=str(number), facts={"number": number}
    )
    return wanted


def _read_json(given: Any, schema: Mapping[str, Any] | None) -> Any:
    if isinstance(given, str):
        try:
            given = json.loads(given, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            raise BadSetting(f"Enter valid JSON{place}.") from None
    if schema is not None:
        problem = next(iter(_validator(json.dumps(schema)).iter_errors(given)), None)
        if problem is not None:
            place = ".".join(str(part) for part in problem.absolute_path)
            raise BadSetting(f"{place + ': ' if place else ''}{problem.message[:200]}.")
    return given


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


@functools.cache
def _validator(schema: str) -> Any:
    import jsonschema  # only the few pages that take JSON pay for it

    return jsonschema.Draft202012Validator(json.loads(schema))
