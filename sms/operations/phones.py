"""Phones: how each stands with a biller; its STOP and START, and a person's word when texts do not arrive.

Source: PBT-15, evidence 3.3, 3.4.
"""

from __future__ import annotations

import datetime

from django.db import connection, transaction
from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.errors import DomainError
from billing.failpoints import failpoint
from billing.models import Biller
from sms.models import (
    EVERYTHING,
    OPT_OUT_CONFIRMATION,
    Consent,
    Direction,
    Phone,
    ProgrammeKind,
    SmsMode,
    Text,
    TextState,
)
from sms.operations import modes
from sms.operations.programmes import programme_of
from sms.providers.base import Reason


class NotSuspended(DomainError):
    """Nothing holds up texts to this phone."""

    default = "Texts to this phone are not suspended."


def hold(biller_id: int, number: str) -> Phone:
    """Give a phone's row, made where it is new, held until the caller's transaction ends."""
    if not connection.in_atomic_block:
        raise RuntimeError("A phone is held inside a transaction.")
    Phone.objects.bulk_create([Phone(biller_id=biller_id, number=number)], ignore_conflicts=True)
    return Phone.objects.select_for_update(no_key=True).get(biller_id=biller_id, number=number)


def opt_out(
    *,
    biller: Biller,
    number: str,
    by: str,
    actor: Actor,
    kind: ProgrammeKind = ProgrammeKind.PAY_BY_TEXT,
    now: datetime.datetime | None = None,
) -> int:
    """Take a phone's stop: nothing goes to it any more, and pay by text ends for every account that it serves or waits for.

    Each account makes its own update for the biller's system (PBT-15). What waited to be sent to it is dropped. Gives how
    many accounts were enrolled; repeating it changes nothing.
    """
    now = now or timezone.now()
    with transaction.atomic(durable=True):
        programme = programme_of(biller, kind)
        phone = hold(biller.pk, number)
        if not phone.refuses(kind):
            ends = EVERYTHING if programme.stop_ends_everything else str(kind)
            phone.opted_out_of = sorted({*phone.opted_out_of, ends})
            phone.opted_out_at, phone.opted_out_by = now, by[:120]
            phone.question, phone.bill_offered, phone.told = None, False, {}
            phone.save(
                update_fields=["opted_out_of", "opted_out_at", "opted_out_by", "question", "bill_offered", "told"]
            )
            audit.record(
                actor=actor, event="phone.opted_out", biller_id=biller.pk, subject=f"phone:{phone.pk}",
                facts={"phone": str(phone), "by": by[:120]},
            )  # fmt: skip
        Text.objects.filter(biller=biller, phone=number, direction=Direction.OUT, state=TextState.WAITING).exclude(
            kind=OPT_OUT_CONFIRMATION
        ).update(state=TextState.FAILED, reason=Reason.UNSUBSCRIBED)
    failpoint("phones.opted_out")
    ended = 0
    serving = SmsMode.objects.filter(biller=biller, number=number, registered=True)
    waiting = SmsMode.objects.filter(biller=biller, pending_number=number)
    for mode in (serving | waiting).select_related("customer").order_by("customer_id"):
        before = modes.State.of(mode)
        # A new number that refuses ends nothing at the old one, which goes on serving.
        other = before.registered and before.number != number
        state = modes.run_out(before) if other else modes.ended(before)
        ended += modes.update_sms_mode(customer=mode.customer, state=state, actor=actor, stopped=not other, now=now)
    return ended


def opt_in(
    *,
    biller: Biller,
    number: str,
    actor: Actor,
    kind: ProgrammeKind = ProgrammeKind.PAY_BY_TEXT,
    now: datetime.datetime | None = None,
) -> int:
    """Take a phone's start: it may be texted again, and what its stop ended is as before. Gives how many accounts came back.

    The word came from the phone itself, which proves who holds it: nothing is left to confirm (evidence 3.3).
    """
    now = now or timezone.now()
    with transaction.atomic(durable=True):
        phone = hold(biller.pk, number)
        if phone.refuses(kind):
            # Whoever left every programme comes back to the one that was asked for alone.
            phone.opted_out_of = (
                [one for one in ProgrammeKind.values if one != kind]
                if EVERYTHING in phone.opted_out_of
                else [one for one in phone.opted_out_of if one != kind]
            )
            if not phone.opted_out_of:
                phone.opted_out_at, phone.opted_out_by = None, ""
            phone.save(update_fields=["opted_out_of", "opted_out_at", "opted_out_by"])
            audit.record(
                actor=actor, event="phone.opted_in", biller_id=biller.pk, subject=f"phone:{phone.pk}",
                facts={"phone": str(phone)},
            )  # fmt: skip
    failpoint("phones.opted_in")
    restored = 0
    ended = SmsMode.objects.filter(biller=biller, number=number, registered=False, stopped=True)
    for mode in ended.select_related("customer").order_by("customer_id"):
        consent = Consent("The phone sent START.", mode.consent_text, mode.consent_version)
        state = modes.State(number=number, registered=True)
        restored += modes.update_sms_mode(customer=mode.customer, state=state, consent=consent, actor=actor, now=now)
    return restored


def suspend(*, biller_id: int, number: str, reason: str, after: int, actor: Actor, customer_id: int | None) -> None:
    """Count a text that the carrier would not bring, and send nothing more to the phone after so many in a row."""
    with transaction.atomic(durable=True):
        phone = hold(biller_id, number)
        phone.failures += 1
        if phone.failures >= after and not phone.suspended_for:
            phone.suspended_for = f"Texts do not arrive ({reason})."
            audit.record(
                actor=actor, event="phone.suspended", biller_id=biller_id, customer_id=customer_id,
                subject=f"phone:{phone.pk}", facts={"phone": str(phone), "reason": reason},
            )  # fmt: skip
        phone.save(update_fields=["failures", "suspended_for"])


@transaction.atomic(durable=True)
def resume(*, phone: Phone, actor: Actor) -> None:
    """Send to a suspended phone again, because somebody looked into it.

    :raises NotSuspended: nothing holds it up.
    """
    changed = Phone.objects.filter(pk=phone.pk).exclude(suspended_for="").update(suspended_for="", failures=0)
    if not changed:
        raise NotSuspended
    audit.record(
        actor=actor, event="phone.resumed", biller_id=phone.biller_id, subject=f"phone:{phone.pk}",
        facts={"phone": str(phone)},
    )  # fmt: skip


def arrived(*, biller_id: int, number: str) -> None:
    """Forget earlier failures of a phone that a text has reached."""
    Phone.objects.filter(biller_id=biller_id, number=number).exclude(failures=0).update(failures=0)
