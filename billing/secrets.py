"""Secrets at rest: encrypted, bound to their row, and rotated without a stop.

The keyset is a Tink AEAD keyset: several keys, one of which encrypts and all of which decrypt. The associated data names
table, column, biller and row, so that a ciphertext copied to another row or another biller's does not open there.
"""

from __future__ import annotations

import base64
import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models


class SecretUnreadable(Exception):
    """A stored secret cannot be opened: it was made with a key that is gone, or moved from another row."""


@functools.cache
def _aead(keyset: str) -> Any:
    # Imported here: Tink loads protobuf, which processes that open no secret need not pay for.
    import tink
    from tink import aead, json_proto_keyset_format, secret_key_access

    aead.register()
    try:
        handle = json_proto_keyset_format.parse(keyset, secret_key_access.TOKEN)
        return handle.primitive(aead.Aead)
    except tink.TinkError as error:
        raise ImproperlyConfigured("RATEPAYER_KEYSET is not an AEAD keyset in Tink's JSON form.") from error


def make_keyset() -> str:
    """Make a new keyset with one AES-256-GCM key, as JSON; keep it as you keep a password."""
    import tink
    from tink import aead, json_proto_keyset_format, secret_key_access

    aead.register()
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    return str(json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN))


def add_key(keyset: str) -> str:
    """Give the keyset with a new primary key before the ones it has; those go on opening what they made."""
    new, old = json.loads(make_keyset()), json.loads(keyset)
    return json.dumps({"primaryKeyId": new["primaryKeyId"], "key": [*new["key"], *old["key"]]})


def is_current(ciphertext: str) -> bool:
    """Say whether a ciphertext was made with the primary key; an empty one needs none."""
    if not ciphertext:
        return True
    # Tink writes the key's id, four bytes, behind a first byte that says so.
    key = int.from_bytes(base64.b64decode(ciphertext)[1:5], "big")
    return bool(key == json.loads(settings.KEYSET)["primaryKeyId"])


def encrypt(text: str, *, bound_to: str) -> str:
    """Encrypt a text for one place; ``bound_to`` must be given again to decrypt it."""
    sealed = _aead(settings.KEYSET).encrypt(text.encode(), bound_to.encode())
    return base64.b64encode(sealed).decode("ascii")


def decrypt(ciphertext: str, *, bound_to: str) -> str:
    """Decrypt what ``encrypt`` made.

    :raises SecretUnreadable: the key is gone, or the text was bound to another place.
    """
    import tink

    try:
        opened = _aead(settings.KEYSET).decrypt(base64.b64decode(ciphertext), bound_to.encode())
        return str(opened, "utf-8")
    except (tink.TinkError, ValueError) as error:
        raise SecretUnreadable("A stored secret cannot be opened with the keys at hand.") from error


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as the database holds it."""

    ciphertext: str


class _Opening:
    """Opens a sealed value when it is read from an instance, which alone knows what it is bound to."""

    def __init__(self, field: EncryptedTextField) -> None:
        self.field = field

    def __get__(self, instance: models.Model | None, owner: type[models.Model]) -> Any:
        if instance is None:
            return self
        value = instance.__dict__.get(self.field.attname, "")
        if isinstance(value, Sealed):
            return decrypt(value.ciphertext, bound_to=self.field.binding(instance)) if value.ciphertext else ""
        return value

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


if TYPE_CHECKING:
    _TextField = models.TextField[str, str]
else:
    _TextField = models.TextField


class EncryptedTextField(_TextField):
    """A text that is encrypted at rest and bound to its row by the fields named in ``bound_to``, which never change."""

    def __init__(self, *args: Any, bound_to: tuple[str, ...] = ("pk",), **kwargs: Any) -> None:
        self.bound_to = bound_to
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        """Tell migrations what the field is bound to."""
        name, path, args, kwargs = super().deconstruct()
        return name, path, list(args), {**kwargs, "bound_to": self.bound_to}

    def contribute_to_class(self, cls: type[models.Model], name: str, private_only: bool = False) -> None:
        """Open the value whenever it is read from an instance."""
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, self.attname, _Opening(self))

    def binding(self, instance: models.Model) -> str:
        """Name the one place in which a value of this field opens."""
        row = ":".join(str(getattr(instance, name)) for name in self.bound_to)
        biller = getattr(instance, "biller_id", "")
        return f"{instance._meta.db_table}.{self.column}:{biller}:{row}"

    def sealed(self, instance: models.Model) -> str:
        """Give the ciphertext of a row that was read from the database."""
        value = instance.__dict__.get(self.attname, "")
        return value.ciphertext if isinstance(value, Sealed) else ""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Sealed | None:
        """Keep the ciphertext as it is until somebody reads it."""
        return None if value is None else Sealed(value)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Seal the value for its row."""
        value = model_instance.__dict__.get(self.attname, "")
        if isinstance(value, Sealed):
            return value
        return Sealed(encrypt(value, bound_to=self.binding(model_instance)) if value else "")

    def get_prep_value(self, value: Any) -> Any:
        """Let only sealed values through to the database."""
        if isinstance(value, Sealed):
            return value.ciphertext
        if not value:
            return ""
        # A queryset's update() knows no row to bind to and would store the text as it is.
        raise TypeError("A secret is saved with its row: set the attribute and call save().")
