"""Customer records: what is said of a customer outside of the invoice file (MSP-29), and what is blocked (MSP-25)."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from billing import audit, phone_numbers
from billing.actors import Actor
from billing.errors import DomainError
from billing.models import Customer, CustomerStatus
from billing.portal_settings import keeps_blocks

# What of a record may be said here, and how long it may be.
LENGTHS = {
    "name": 120,
    "phone": 20,
    "address1": 120,
    "address2": 120,
    "city": 60,
    "state": 40,
    "zip": 12,
    "segment": 20,
}


class BadRecord(DomainError):
    """A value of the record is none."""


def read_record(record: Mapping[str, str]) -> dict[str, str]:
    """Give the values of a record as they are kept; the phone in E.164, American where it has no country code.

    :raises BadRecord: a value is too long, a name is empty, or the phone is no number.
    """
    kept = {name: " ".join(value.split()) for name, value in record.items()}
    if kept.get("name") == "":
        raise BadRecord("A customer has a name.", field="name")
    if kept.get("phone"):
        number = phone_numbers.read(kept["phone"])
        if number is None:
            raise BadRecord("Enter a telephone number with its area code.", field="phone")
        kept["phone"] = number
    for name, value in kept.items():
        if len(value) > LENGTHS[name]:
            raise BadRecord(f"Enter at most {LENGTHS[name]} characters.", field=name)
    return kept


class BlocksKept(DomainError):
    """Only the invoice file blocks methods."""

    default = "What is blocked is read-only here: the invoice file says it."


@transaction.atomic(durable=True)
def change_record(*, customer: Customer, record: Mapping[str, str], actor: Actor) -> list[str]:
    """Keep what a record says, values that :func:`read_record` gave; gives the names of what changed."""
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    changed = [name for name, value in record.items() if getattr(customer, name) != value]
    if not changed:
        return []
    for name in changed:
        setattr(customer, name, record[name])
    customer.save(update_fields=changed)
    audit.record(
        actor=actor,
        event="customer.record_changed",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"customer:{customer.pk}",
        facts={"fields": ", ".join(changed)},
    )
    return changed


@transaction.atomic(durable=True)
def change_blocks(*, customer: Customer, card: bool, bank: bool, actor: Actor) -> bool:
    """Block cards or bank accounts of an account, or allow them again; gives False where it was so already (MSP-25).

    :raises BlocksKept: the biller lets its invoice file alone do this (setting 32).
    """
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if keeps_blocks(customer.biller):
        raise BlocksKept
    wanted = {"blocks_card": card, "blocks_bank": bank}
    changed = [name for name, value in wanted.items() if getattr(customer, name) != value]
    if not changed:
        return False
    for name in changed:
        setattr(customer, name, wanted[name])
    customer.save(update_fields=changed)
    words = {"blocks_card": "cards", "blocks_bank": "bank accounts"}
    audit.record(
        actor=actor,
        event="customer.blocks_changed",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"customer:{customer.pk}",
        facts={"changes": ", ".join(f"{words[name]} {'blocked' if wanted[name] else 'allowed'}" for name in changed)},
    )
    return True


@transaction.atomic(durable=True)
def change_standing(*, customer: Customer, status: CustomerStatus, segment: str, actor: Actor) -> bool:
    """Say whether an account is active, and of which segment it is; gives False where it was so already.

    :raises BadRecord: the segment is too long.
    """
    segment = " ".join(segment.split())
    if len(segment) > LENGTHS["segment"]:
        raise BadRecord(f"Enter at most {LENGTHS['segment']} characters.", field="segment")
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    wanted = {"status": status.value, "segment": segment}
    changes = {
        name: (getattr(customer, name), value) for name, value in wanted.items() if getattr(customer, name) != value
    }
    if not changes:
        return False
    for name, (_old, new) in changes.items():
        setattr(customer, name, new)
    customer.save(update_fields=list(changes))
    audit.record(
        actor=actor,
        event="customer.standing_changed",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"customer:{customer.pk}",
        facts={
            "changes": ", ".join(f"{name} {old or 'none'} → {new or 'none'}" for name, (old, new) in changes.items())
        },
    )
    return True
