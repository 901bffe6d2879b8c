"""SMS modes: the two operations that write them, and the DataPump update and change logs that each makes.

Everything that enrols, confirms, changes or ends pay by text, through whatever door, asks for a state here.

Source: PBT-2 to PBT-8, PBT-13
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace

from django.db import transaction
from django.utils import timezone

from billing import audit
from billing.actors import Actor, Requestor
from billing.errors import Conflict, DomainError
from billing.failpoints import failpoint
from billing.models import Customer
from datapump.models import OptionalSetting
from datapump.operations import records
from datapump.operations.records import Change
from sms.models import PENDING_FOR, Consent, SmsMode


class AlreadyInserted(Conflict):
    """The customer has an SMS mode: it is updated, not inserted."""


class NoConsent(DomainError):
    """Nobody agreed to texts at this number."""

    def __init__(self) -> None:
        super().__init__("Say how the customer agreed to get texts at this number.", field="how")


@dataclass(frozen=True, slots=True)
class State:
    """What is written of an enrolment: the number that serves, the one that waits to be confirmed, whether it is on."""

    number: str = ""
    pending_number: str = ""
    registered: bool = False

    @classmethod
    def of(cls, mode: SmsMode) -> State:
        """Give the state of a row."""
        return cls(mode.number, mode.pending_number, mode.registered)

    @property
    def phone(self) -> str:
        """The telephone that the biller's system has in mind: the one that serves, else the one that waits."""
        return self.number if self.registered else self.pending_number or self.number


def _nothing(_before: State) -> None:
    """Say nothing."""


def insert_sms_mode(
    *,
    customer: Customer,
    state: State,
    consent: Consent,
    actor: Actor,
    say: Callable[[State], None] = _nothing,
    now: datetime.datetime | None = None,
) -> SmsMode:
    """Write a customer's first SMS mode and its update for the biller's system; no change log (PBT-8).

    ``state`` is registered, or has a pending number. ``say`` gets the state before and writes texts in the same transaction.

    :raises AlreadyInserted: the customer has one.
    """
    now = now or timezone.now()
    if not state.registered and not state.pending_number:
        raise ValueError("A first SMS mode is registered or pending.")
    with transaction.atomic(durable=True):
        customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
        if SmsMode.objects.filter(customer=customer).exists():
            raise AlreadyInserted
        mode = SmsMode(biller_id=customer.biller_id, customer=customer)
        mode.agree(consent, actor, now)
        _put(mode, state, now)
        failpoint("modes.written")
        status = "enrolled" if state.registered else "pending"
        _tell(customer, State(), state, status, OptionalSetting.INSERTED, (), actor, now)
        _note(customer, status, state, actor)
        say(State())
    failpoint("modes.committed")
    return mode


def update_sms_mode(
    *,
    customer: Customer,
    state: State | Callable[[State], State],
    actor: Actor,
    consent: Consent | None = None,
    ran_out: bool = False,
    stopped: bool = False,
    say: Callable[[State], None] = _nothing,
    now: datetime.datetime | None = None,
) -> bool:
    """Change a customer's SMS mode, with its update for the biller's system and a change log for each field that changes.

    ``state`` may be a function of the state that is found. One that is as it was changes nothing and gives False (PBT-13).
    A number that the customer has not agreed to needs
    ``consent``. ``ran_out`` says that nobody confirmed a number in time: that makes change logs and no update. ``stopped``
    says that the phone's own STOP ends it. ``say`` gets the state before and writes texts in the same transaction.

    :raises NoConsent: a number is new and nobody agreed to it.
    """
    now = now or timezone.now()
    with transaction.atomic(durable=True):
        customer = Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
        mode = SmsMode.objects.select_for_update().get(customer=customer)
        before = State.of(mode)
        if callable(state):
            state = state(before)
        if state == before:
            return False
        new = {state.number, state.pending_number} - {before.number, before.pending_number, ""}
        if consent is None and new:
            raise NoConsent
        if consent is not None:
            mode.agree(consent, actor, now)
        mode.stopped = stopped
        _put(mode, state, now)
        failpoint("modes.written")
        status = "" if ran_out else _status(before, state, actor)
        _tell(customer, before, state, status, OptionalSetting.UPDATED, _changes(before, state), actor, now)
        _note(customer, status, state, actor)
        say(before)
    failpoint("modes.committed")
    return True


def ended(state: State) -> State:
    """Give the state after pay by text is turned off: the number stays known."""
    return State(number=state.phone)


def run_out(state: State) -> State:
    """Give the state after a confirmation did not come in time."""
    return replace(state, number=state.number or state.pending_number, pending_number="")


def _put(mode: SmsMode, state: State, now: datetime.datetime) -> None:
    if state.pending_number != mode.pending_number:
        mode.pending_until = now + PENDING_FOR if state.pending_number else None
    mode.number, mode.pending_number, mode.registered = state.number, state.pending_number, state.registered
    mode.changed_at = now
    mode.save()


def _status(before: State, after: State, actor: Actor) -> str:
    """Say which of the four updates a change is (PBT-2); empty where it is none."""
    if after.registered and not before.registered:
        return "enrolled"
    if after.pending_number and after.pending_number != before.pending_number:
        # A CSR who corrects a number that waits changes the number; a payer begins anew.
        changed = before.pending_number and actor.requestor == Requestor.CSR
        return "number_changed" if changed else "pending"
    if after.registered and after.number != before.number:
        return "enrolled" if after.number == before.pending_number else "number_changed"
    return "" if after.registered or after.pending_number else "unenrolled"


def _changes(before: State, after: State) -> list[Change]:
    pairs = [
        ("phone", before.phone, after.phone),
        ("pending registration", _yes(before.pending_number), _yes(after.pending_number)),
        ("registered", _yes(before.registered), _yes(after.registered)),
    ]
    return [Change(field, old, new) for field, old, new in pairs if old != new]


def _yes(value: object) -> str:
    return "Yes" if value else "No"


_WORDS = {"pending": "Pending", "enrolled": "Enrolled", "unenrolled": "Unenrolled"}


def _tell(
    customer: Customer,
    before: State,
    after: State,
    status: str,
    optional_setting: OptionalSetting,
    changes: list[Change] | tuple[()],
    actor: Actor,
    now: datetime.datetime,
) -> None:
    if not status:
        records.write_changes(
            actor=actor, biller_id=customer.biller_id, customer_id=customer.pk, changes=changes, now=now
        )
        return
    phone = after.pending_number if status == "pending" else after.phone
    facts = {"status": status, "phone": phone}
    if before.phone and before.phone != phone:
        facts["old_phone"] = before.phone
    records.write_with_changes(
        actor=actor,
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        facts=facts,
        before=before.phone if status == "number_changed" else "",
        after=phone if status == "number_changed" else _WORDS[status],
        optional_setting=optional_setting,
        changes=changes,
        now=now,
    )


def _note(customer: Customer, status: str, state: State, actor: Actor) -> None:
    audit.record(
        actor=actor,
        event=f"pay_by_text.{status or 'ran_out'}",
        biller_id=customer.biller_id,
        customer_id=customer.pk,
        subject=f"customer:{customer.pk}",
        facts={"phone": f"•••• {state.phone[-4:]}"},
    )
