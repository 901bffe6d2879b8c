"""Rotation of the keys that encrypt secrets: every stored secret is encrypted anew under the keyset's first key."""

from __future__ import annotations

from collections.abc import Iterator

from allauth.mfa.models import Authenticator
from django.apps import apps
from django.db import models, transaction

from billing import audit, second_factors, secrets, tenancy
from billing.actors import Actor
from billing.secrets import EncryptedTextField, is_current


def rotate(*, actor: Actor) -> int:
    """Encrypt every stored secret under the primary key that is not yet; gives how many were.

    Row by row, each in a transaction of its own: it may be stopped and begun again, and the application goes on working,
    since every key of the keyset opens what it made. A key may leave the keyset once this gives 0.

    :raises billing.secrets.SecretUnreadable: a secret was made with a key that is gone.
    """
    changed = 0
    with tenancy.acting_for(tenancy.EVERY_BILLER):
        for model, field in _places():
            for pk in list(model._default_manager.order_by("pk").values_list("pk", flat=True)):
                changed += _rotate_row(model, field, pk)
        for pk in list(Authenticator.objects.order_by("pk").values_list("pk", flat=True)):
            changed += _rotate_factor(pk)
        if changed:
            with transaction.atomic(durable=True):
                audit.record(actor=actor, event="secrets.rotated", facts={"count": changed})
    return changed


def _places() -> Iterator[tuple[type[models.Model], EncryptedTextField]]:
    for model in apps.get_models():
        for field in model._meta.get_fields():
            if isinstance(field, EncryptedTextField):
                yield model, field


@transaction.atomic(durable=True)
def _rotate_row(model: type[models.Model], field: EncryptedTextField, pk: object) -> int:
    row = model._default_manager.select_for_update().filter(pk=pk).first()
    if row is None or is_current(field.sealed(row)):
        return 0
    setattr(row, field.attname, getattr(row, field.attname))
    row.save(update_fields=[field.name])
    return 1


@transaction.atomic(durable=True)
def _rotate_factor(pk: int) -> int:
    row = Authenticator.objects.select_for_update().filter(pk=pk).first()
    old = [name for name in second_factors.SEALED if row and name in row.data and not is_current(row.data[name])]
    if row is None or not old:
        return 0
    bound_to = second_factors.BOUND_TO
    row.data |= {
        name: secrets.encrypt(secrets.decrypt(row.data[name], bound_to=bound_to), bound_to=bound_to) for name in old
    }
    row.save(update_fields=["data"])
    return 1
