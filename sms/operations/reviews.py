"""Reviews: what a person did about a text that was not understood surely.

Source: PBT-15, evidence 3.2.
"""

from __future__ import annotations

import datetime

from django.db import transaction
from django.utils import timezone

from billing import audit
from billing.actors import Actor
from billing.errors import Conflict, DomainError
from sms.models import Text
from sms.operations import phones

NOTE_LONGEST = 200


class NothingToReview(Conflict):
    """The text waits for nobody, or somebody else has read it."""

    default = "Nobody waits for this text to be read any more."


class NoteMissing(DomainError):
    """Nobody said what was done."""

    def __init__(self) -> None:
        super().__init__(f"Say what you did, in at most {NOTE_LONGEST} characters.", field="note")


def close(*, text: Text, note: str, actor: Actor, opt_out: bool = False, now: datetime.datetime | None = None) -> None:
    """Take a text out of the queue, with a note of what was done; ``opt_out`` takes it for a stop from its phone first.

    :raises NoteMissing: there is no note.
    :raises NothingToReview: it is not in the queue.
    """
    now = now or timezone.now()
    note = " ".join(note.split())
    if not note or len(note) > NOTE_LONGEST:
        raise NoteMissing
    if not text.review or text.reviewed_at is not None:
        raise NothingToReview
    if opt_out:
        by = f"a text that {actor.label} read: {note}"
        phones.opt_out(biller=text.biller, number=text.phone, by=by[:120], actor=actor, now=now)
    with transaction.atomic(durable=True):
        waiting = Text.objects.filter(pk=text.pk, reviewed_at__isnull=True).exclude(review="")
        if not waiting.update(reviewed_at=now, reviewed_by=actor.label[:120], review_note=note):
            raise NothingToReview
        audit.record(
            actor=actor, event="text.reviewed", biller_id=text.biller_id, customer_id=text.customer_id,
            subject=f"text:{text.pk}", facts={"phone": f"•••• {text.phone[-4:]}", "note": note},
        )  # fmt: skip
